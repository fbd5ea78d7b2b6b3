"""A copy of the embedded instance, taken while it runs, and the way back from it.

    backup.json      format, versions, checksum of the database; written last: a backup without it isn't whole
    reelmill.db      a snapshot by SQLite's online backup
    objects.jsonl    a line for each object: key, size, SHA-256, content type
    objects/<key>    their bytes
    spool.json       without the objects: the id of the spool, and the same of the files that wait in it, for no bucket
                     has those; with them, what waited in the spool lies with the others
    secret, cli.key  what signed URLs and this machine's commands go on with

*Invariant*: the database is copied first, then the files that it names. Objects never change once they are there, so
whatever the copy names is either still the same or was removed meanwhile; then a newer snapshot doesn't name it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

import sqlalchemy as sa

from reelmill import __version__
from reelmill.errors import BackupUnusable, ObjectMissing, ReelmillError, RequestInvalid
from reelmill.jobs.lifecycle import UploadStatus
from reelmill.objects.files import BLOCK
from reelmill.objects.folder import FolderStore, load_secret
from reelmill.settings import Settings
from reelmill.stores import migrate
from reelmill.stores.engine import open_engine
from reelmill.stores.schema import artifacts, videos

FORMAT = 1
SNAPSHOTS = 5  #: tries to get a database and all its files, while others are removed
DATABASE, OBJECTS, LIST, SPOOL, MANIFEST = "reelmill.db", "objects", "objects.jsonl", "spool.json", "backup.json"
SECRETS = ("secret", "cli.key")


@dataclass(frozen=True, slots=True)
class Stored:
    """One object of a backup."""

    key: str
    size: int
    sha256: str
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup says of itself."""

    made_at: str
    reelmill: str
    revision: str  #: of the database's schema
    database_sha256: str
    objects: int | None  #: None: without files
    bytes: int
    missing: tuple[str, ...] = ()  #: keys that rows name and storage hadn't, already when it was taken
    damaged: tuple[str, ...] = ()  #: keys of files that weren't any more what was recorded of them
    format: int = FORMAT


# ── taking one ────────────────────────────────────────────────────────────────────────────────


def backup(settings: Settings, target: Path, *, with_objects: bool = True) -> Manifest:
    """Copy the embedded instance, which may be at work, to a new folder, or to one file if the name ends in `.tar`.

    Files on the same disk become hard links and take no room. Raises RequestInvalid when there is something at the
    target, or the instance isn't an embedded one.
    """
    if not settings.embedded:
        raise RequestInvalid("The database isn't SQLite: take its own backup (pg_dump), and then that of the objects.")
    if with_objects and not settings.storage.startswith("file://"):
        raise RequestInvalid("The objects aren't in a folder: take --no-objects, and the bucket's own backup after it.")
    if not Path(_database_of(settings)).is_file():
        raise RequestInvalid(f"There is no database in {settings.data}; --data names the server's folder.")
    if target.exists():
        raise RequestInvalid(f"There is something at {target} already; a backup is made anew.")
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.with_name(f".{target.name}.{os.getpid()}")
    work.mkdir(mode=0o700)
    try:
        manifest = _collect(settings, work, with_objects)
        (work / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2) + "\n")
        if target.suffix == ".tar":
            packed = target.with_name(f".{target.name}.{os.getpid()}.tar")
            with tarfile.open(packed, "w") as tar:
                tar.add(work, arcname="")
            packed.chmod(0o600)
            packed.rename(target)
        else:
            work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return manifest


def _collect(settings: Settings, work: Path, with_objects: bool) -> Manifest:
    places = _places(settings) if with_objects else _spools(settings)
    for left in reversed(range(SNAPSHOTS)):
        _snapshot(_database_of(settings), work / DATABASE)
        stored: dict[str, Stored] = {}
        missing, damaged = [], []
        for key, sha256, needed in _named(work / DATABASE) if with_objects else _spooled(work / DATABASE):
            try:
                one = _take(places, key, work / OBJECTS)
            except ObjectMissing:
                if needed:
                    missing.append(key)
                continue
            stored[key] = one
            if sha256 not in (None, one.sha256):
                damaged.append(key)
        if not missing or not left:
            break
    _drop_others(work / OBJECTS, set(stored))
    if with_objects:
        with (work / LIST).open("w") as file:
            file.writelines(json.dumps(asdict(one)) + "\n" for one in stored.values())
    elif stored and settings.spool_folder is not None:
        spool = {"id": (settings.spool_folder / "id").read_text(), "files": [asdict(one) for one in stored.values()]}
        (work / SPOOL).write_text(json.dumps(spool, indent=2) + "\n")
    for name in SECRETS:
        if (settings.data / name).is_file():
            shutil.copy(settings.data / name, work / name)
            (work / name).chmod(0o600)
    revision = migrate.current(f"sqlite:///{work / DATABASE}")
    if with_objects:
        _unspool(work / DATABASE)
    _settle(work / DATABASE)
    return Manifest(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        reelmill=__version__,
        revision=str(revision),
        database_sha256=_sha256(work / DATABASE),
        objects=len(stored) if with_objects else None,
        bytes=sum(one.size for one in stored.values()),
        missing=tuple(missing),
        damaged=tuple(damaged),
    )


def _snapshot(database: str, copy: Path) -> None:
    copy.unlink(missing_ok=True)
    with closing(sqlite3.connect(database, timeout=30)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def _unspool(database: Path) -> None:
    """Let the copy say of files that waited in the spool that they are stored: in a backup they lie with the others."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "UPDATE artifacts SET place = 'stored', spool = NULL, stored_at = created_at WHERE place = 'spool'"
        )
        connection.execute("UPDATE jobs SET spooled = 0 WHERE spooled > 0")


def _settle(database: Path) -> None:
    """Leave one file: no write-ahead log beside it, which a reader of the copy may have begun."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")


def _named(database: Path) -> Iterator[tuple[str, str | None, bool]]:
    """Yield the key, the recorded SHA-256 and whether it must be there, of every object that a row names."""
    engine = open_engine(f"sqlite:///{database}")
    try:
        with engine.connect() as connection:
            wanted = [UploadStatus.UPLOADED, UploadStatus.AWAITING, UploadStatus.EXPIRED]
            sources = sa.select(videos.c.key, videos.c.sha256, videos.c.upload_status)
            for key, sha256, status in connection.execute(sources.where(videos.c.upload_status.in_(wanted))):
                yield key, sha256, status == UploadStatus.UPLOADED
            for key, sha256 in connection.execute(sa.select(artifacts.c.key, artifacts.c.sha256)):
                yield key, sha256, True
    finally:
        engine.dispose()


def _spooled(database: Path) -> list[tuple[str, str, bool]]:
    """Return the same of the files that wait in a spool: they are nowhere else."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT key, sha256 FROM artifacts WHERE place = 'spool'").fetchall()
    return [(key, sha256, True) for key, sha256 in rows]


def _take(places: Sequence[FolderStore], key: str, folder: Path) -> Stored:
    """Link or copy one object from the first place that has it, and read it whole. Raises ObjectMissing."""
    for place in places:
        with suppress(ObjectMissing, FileNotFoundError):
            info = place.head(key)
            path = folder.joinpath(*key.split("/"))
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                _link(Path(str(place.locate(key))), path)
            return Stored(key, path.stat().st_size, _sha256(path), info.content_type)
    raise ObjectMissing(f"{key} isn't in storage")


def _link(source: Path, path: Path) -> None:
    """Raises FileNotFoundError."""
    try:
        os.link(source, path)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, or one without hard links
        shutil.copy2(source, path)


def _drop_others(folder: Path, keys: set[str]) -> None:
    """Remove files of an earlier try that the database doesn't name any more."""
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in keys:
            path.unlink()


# ── going back ────────────────────────────────────────────────────────────────────────────────


def restore(settings: Settings, source: Path) -> Manifest:
    """Make a data folder of a backup; every file is compared with its checksum. It appears whole or not at all.

    Raises RequestInvalid when the data folder isn't empty, BackupUnusable.
    """
    data = settings.data.absolute()
    if settings.database_url is not None or settings.storage_url is not None:
        raise RequestInvalid("A backup is restored into a data folder: unset REELMILL_DATABASE_URL and _STORAGE_URL.")
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise RequestInvalid(f"{data} isn't empty; name another folder by --data.")
    data.parent.mkdir(parents=True, exist_ok=True)
    work = data.with_name(f".{data.name}.{os.getpid()}")
    with _opened(source) as archive:
        manifest = _manifest(archive)
        work.mkdir(mode=0o750)
        try:
            _fill(archive, manifest, work)
            if data.exists():
                data.rmdir()
            work.rename(data)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return manifest


def _manifest(archive: Archive) -> Manifest:
    try:
        with archive.open(MANIFEST) as file:
            told: dict[str, Any] = json.load(file)
    except (KeyError, OSError, ValueError) as error:
        raise BackupUnusable(f"It has no readable {MANIFEST}: it isn't a whole backup.") from error
    if told.get("format") != FORMAT or not migrate.is_known(str(told.get("revision"))):
        made_by = told.get("reelmill")
        raise BackupUnusable(f"It was made by Reelmill {made_by}, which is newer than this one ({__version__}).")
    return Manifest(**{**told, "missing": tuple(told["missing"]), "damaged": tuple(told["damaged"])})


def _fill(archive: Archive, manifest: Manifest, work: Path) -> None:
    for name in SECRETS:
        try:
            with archive.open(name) as file:
                (work / name).touch(mode=0o600)
                (work / name).write_bytes(file.read())
        except (KeyError, FileNotFoundError):
            pass  # a server that was never started has none
    with archive.open(DATABASE) as file, (work / DATABASE).open("wb") as out:
        shutil.copyfileobj(file, out, BLOCK)
    if _sha256(work / DATABASE) != manifest.database_sha256:
        raise BackupUnusable(f"{DATABASE} isn't the file that was backed up.")
    if manifest.objects is None:
        _fill_spool(archive, work / "spool")
        return
    store = FolderStore(work / "objects", secret=load_secret(work / "secret"), base_url="")
    count = 0
    with archive.open(LIST) as file:
        for line in file:
            _put(archive, store, Stored(**json.loads(line)))
            count += 1
    if count != manifest.objects:
        raise BackupUnusable(f"{LIST} names {count} objects; {manifest.objects} were backed up.")


def _fill_spool(archive: Archive, folder: Path) -> None:
    """Let the files wait again that waited, under the id that the rows name: the server stores them when it runs."""
    try:
        with archive.open(SPOOL) as file:
            told: dict[str, Any] = json.load(file)
    except (KeyError, FileNotFoundError):
        return  # nothing waited
    store = FolderStore(folder, secret=load_secret(folder / "secret"), base_url="")
    (folder / "id").write_text(told["id"])
    for one in told["files"]:
        _put(archive, store, Stored(**one))


def _put(archive: Archive, store: FolderStore, one: Stored) -> None:
    incoming = store.begin_put(one.key, size_bytes=one.size, content_type=one.content_type, sha256=one.sha256)
    try:
        with archive.open(f"{OBJECTS}/{one.key}") as file:
            while block := file.read(BLOCK):
                incoming.write(block)
        incoming.commit()
    except (KeyError, OSError, ReelmillError) as error:
        raise BackupUnusable(f"{one.key} can't be restored: {error}") from error
    finally:
        incoming.abort()


class Archive(Protocol):
    """The files of a backup, by their names."""

    def open(self, name: str) -> IO[bytes]:
        """Raises KeyError or FileNotFoundError."""
        ...


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, name: str) -> IO[bytes]:
        return (self._root / name).open("rb")


class _Tar:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    def open(self, name: str) -> IO[bytes]:
        file = self._tar.extractfile(name)
        if file is None:
            raise KeyError(name)
        return file


@contextmanager
def _opened(source: Path) -> Iterator[Archive]:
    """Raises BackupUnusable, OSError."""
    if source.is_dir():
        yield _Folder(source)
        return
    try:
        with tarfile.open(source, "r:") as tar:
            yield _Tar(tar)
    except tarfile.TarError as error:
        raise BackupUnusable(f"{source} is no tar archive, or a part of one: {error}.") from error


# ── parts ─────────────────────────────────────────────────────────────────────────────────────


def _database_of(settings: Settings) -> str:
    return str(sa.make_url(settings.database).database)


def _objects(settings: Settings) -> FolderStore:
    root = Path(settings.storage.removeprefix("file://"))
    return FolderStore(root, secret=load_secret(settings.data / "secret"), base_url="")


def _places(settings: Settings) -> list[FolderStore]:
    """Return where files are: those in the spool move on to the objects, and never back."""
    return [*_spools(settings), _objects(settings)]


def _spools(settings: Settings) -> list[FolderStore]:
    spool = settings.spool_folder
    return [FolderStore(spool, secret=load_secret(spool / "secret"), base_url="")] if spool and spool.is_dir() else []


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Settings to a running platform: the only file that names adapters. Constructor calls, nothing cleverer."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import structlog

from reelmill import __version__
from reelmill.dispatch.inline import InlineDispatcher
from reelmill.errors import DataFolderLocked, SettingInvalid, StorageProblem
from reelmill.jobs.admission import Admission, Quotas
from reelmill.jobs.feed import Feed
from reelmill.jobs.model import Json, Located
from reelmill.jobs.ports import AccessStore, Dispatcher, ObjectStore, Pipeline
from reelmill.jobs.removal import Keep, Removal
from reelmill.jobs.runner import Runner, WorkPolicy, clear_dead_scratch
from reelmill.jobs.service import Policy, Service
from reelmill.jobs.sweeper import Sweeper, SweepPolicy
from reelmill.media import find_ffmpeg, probe
from reelmill.media import version as ffmpeg_version
from reelmill.objects.folder import FolderStore, load_secret
from reelmill.objects.s3_place import read_place
from reelmill.pipelines.base import Toolbox
from reelmill.settings import Settings
from reelmill.stores import migrate
from reelmill.stores.access import SqlAccess
from reelmill.stores.engine import open_engine
from reelmill.stores.sql import SqlStore, open_store

log: structlog.stdlib.BoundLogger = structlog.get_logger("reelmill")


@dataclass(frozen=True, kw_only=True)
class App:
    """All parts of one process. `start` and `stop` it once, or use it as a context manager."""

    settings: Settings
    store: SqlStore
    access: AccessStore
    objects: ObjectStore
    pipelines: Mapping[str, Pipeline]
    dispatcher: Dispatcher
    service: Service
    removal: Removal
    runner: Runner
    sweeper: Sweeper
    feed: Feed
    lock: DataLock | None

    def start(self) -> None:
        """Take the data folder, clear what an earlier process left, and start workers, sweeper and feed."""
        if self.lock is not None:
            self.lock.take()
            # We own the folder alone: whatever is leased or lies in scratch belongs to a process that is gone.
            released = self.store.release_all()
            shutil.rmtree(self.settings.data / "scratch", ignore_errors=True)
            if released:
                log.info("steps of an earlier process released", steps=released)
        else:
            clear_dead_scratch(self.settings.data / "scratch")  # their steps come back by their leases
        tell_missing(self.objects)
        self.feed.start()
        self.sweeper.start()
        self.runner.start(self.settings.workers)

    def stop(self) -> None:
        """Hand back what is running and give everything free."""
        self.runner.stop()
        self.sweeper.stop()
        self.feed.stop()
        self.store.close_engine()
        if self.lock is not None:
            self.lock.give()

    def __enter__(self) -> App:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def build(settings: Settings, *, base_url: str | Callable[[], str] = "") -> App:
    """Return the platform that the settings describe, its schema up to date, not yet started.

    base_url: under which clients reach this process, for signed URLs of the folder store.
    Raises SettingInvalid, ToolMissing, DatabaseUnavailable.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    lock = DataLock(settings.data / "lock") if settings.embedded else None
    _bring_up_to_date(settings, lock)
    tools = toolbox(settings)
    pipelines = load_pipelines(tools)
    objects = open_objects(settings, base_url)
    dispatcher = InlineDispatcher()
    store = open_store(settings.database)
    access = SqlAccess(store.engine)
    feed = Feed(store)
    store.on_commit = feed.wake
    service = Service(
        store=store,
        objects=objects,
        pipelines=pipelines,
        dispatcher=dispatcher,
        probe=_prober(settings),
        admission=Admission(
            store=store,
            access=access,
            objects=objects,
            quotas=Quotas(
                bytes=settings.quota_bytes, jobs=settings.quota_jobs, reserve_bytes=settings.disk_reserve_mb << 20
            ),
        ),
        policy=Policy(
            max_steps=settings.max_steps,
            upload_ttl_s=settings.upload_ttl_s,
            put_ttl_s=settings.put_ttl_s,
            get_ttl_s=settings.get_ttl_s,
            max_upload_bytes=settings.max_upload_bytes,
            part_bytes=settings.part_bytes,
        ),
    )
    removal = Removal(
        store=store,
        access=access,
        objects=objects,
        drop_parts=service.parts.drop,
        keep=Keep(
            sources_days=settings.retain_sources_days,
            outputs_days=settings.retain_outputs_days,
            events_days=settings.retain_events_days,
            audit_days=settings.retain_audit_days,
            undo_s=settings.undo_s,
        ),
    )
    runner = Runner(
        store=store,
        objects=objects,
        pipelines=pipelines,
        dispatcher=dispatcher,
        advance=service.advance,
        policy=WorkPolicy(
            lease_s=settings.lease_s,
            heartbeat_s=min(settings.heartbeat_s, settings.lease_s / 3),
            watch_s=settings.watch_s,
            poll_s=settings.poll_s,
            max_retries=settings.max_retries,
            max_crashes=settings.max_crashes,
            backoff_s=settings.backoff_s,
            grace_s=settings.grace_s,
        ),
        scratch=settings.data / "scratch",
        versions={"reelmill": __version__, "ffmpeg": ffmpeg_version(tools.ffmpeg)},
    )
    service.on_cancel = removal.on_cancel = runner.look
    sweeper = Sweeper(
        store=store,
        access=access,
        objects=objects,
        dispatcher=dispatcher,
        advance=service.advance,
        drop_parts=service.parts.drop,
        remove=removal.sweep,
        policy=SweepPolicy(
            sweep_s=settings.sweep_s,
            incoming_s=2 * settings.upload_ttl_s,
            max_crashes=settings.max_crashes,
            rings=max(2, 2 * settings.workers),
        ),
        holder=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}",
    )
    return App(
        settings=settings,
        store=store,
        access=access,
        objects=objects,
        pipelines=pipelines,
        dispatcher=dispatcher,
        service=service,
        removal=removal,
        runner=runner,
        sweeper=sweeper,
        feed=feed,
        lock=lock,
    )


def open_access(settings: Settings) -> SqlAccess:
    """Return the keys alone, without pipelines and workers; also beside a running server."""
    upgrade(settings)
    return SqlAccess(open_engine(settings.database))


def upgrade(settings: Settings) -> None:
    """Make the data folder and bring the schema up to date. Raises DataFolderLocked while a server uses SQLite."""
    settings.data.mkdir(parents=True, exist_ok=True)
    _bring_up_to_date(settings, DataLock(settings.data / "lock") if settings.embedded else None)


def _bring_up_to_date(settings: Settings, lock: DataLock | None) -> None:
    """Upgrade the schema if it is behind; that of an embedded server never under its feet. Raises DataFolderLocked."""
    if lock is not None and migrate.current(settings.database) == migrate.head():
        return
    if lock is not None:
        lock.take()
    try:
        migrate.upgrade(settings.database)
    finally:
        if lock is not None:
            lock.give()


def toolbox(settings: Settings) -> Toolbox:
    """Return what pipelines work with. Raises ToolMissing."""
    return Toolbox(
        ffmpeg=find_ffmpeg(str(settings.ffmpeg) if settings.ffmpeg else None),
        threads=settings.threads,
        step_deadline_s=settings.step_deadline_s,
    )


def load_pipelines(tools: Toolbox) -> dict[str, Pipeline]:
    """Return the installed pipelines by name: ours and any other package's, through the same entry points."""
    found = (entry.load()(tools) for entry in entry_points(group="reelmill.pipelines"))
    return {pipeline.name: pipeline for pipeline in sorted(found, key=lambda p: str(p.name))}


def open_objects(settings: Settings, base_url: str | Callable[[], str]) -> ObjectStore:
    """Return the object store that REELMILL_STORAGE_URL names. Raises SettingInvalid, StorageDenied."""
    url = urlsplit(settings.storage)
    if url.scheme == "s3":
        return _open_s3(settings)
    if url.scheme != "file" or not url.path.startswith("/"):
        raise SettingInvalid(
            f"REELMILL_STORAGE_URL={settings.storage!r} can't be used; "
            "good values are file:///var/lib/reelmill/objects and s3://bucket?region=eu-central-1."
        )
    secret = load_secret(settings.data / "secret")
    return FolderStore(Path(url.path), secret=secret, base_url=base_url)


def _open_s3(settings: Settings) -> ObjectStore:
    try:
        from reelmill.objects.s3 import S3Store  # boto3 is an extra, and slow to import
    except ModuleNotFoundError as error:
        if error.name not in ("boto3", "botocore"):
            raise
        raise SettingInvalid("REELMILL_STORAGE_URL=s3://… needs boto3: pip install 'reelmill[s3]'.") from error
    return S3Store(read_place(settings.storage), cors_origins=settings.cors_origins)


NOT_RELIED_ON = {
    "binds_size": "an upload URL takes any length; a wrong one is found when the upload is completed",
    "binds_checksum": "an upload URL takes any bytes; wrong ones are found by reading the object at complete",
    "writes_once": "an upload URL can replace its object for as long as it lives",
    "joins_once": "a browser's own completion of parts can replace the object for as long as its URL lives",
    "multipart": "files can't be sent in parts, so none may be larger than one PUT takes",
    "part_checksums": "parts are taken unchecked; wrong ones are found by reading the object at complete",
    "ranges": "videos can't be read in parts: uploads can't be verified, so this store is of no use",
}


def tell_missing(objects: ObjectStore) -> None:
    """Warn of each thing that the object store was tried out for and doesn't do, or that it doesn't answer."""
    try:
        missing = objects.capabilities().missing
    except StorageProblem as error:  # the server starts, /readyz says why it isn't ready, and the next use tries anew
        log.error("object store can't be used", code=error.code, detail=error.detail, remedy=error.remedy)
        return
    for name in missing:
        log.warning("object store lacks a guarantee", capability=name, means=NOT_RELIED_ON[name])


def _prober(settings: Settings) -> Callable[[Located], Json]:
    scratch = settings.data / "scratch"

    def run(located: Located) -> Json:
        scratch.mkdir(parents=True, exist_ok=True)
        return probe(str(located), scratch=scratch).to_json()

    return run


class DataLock:
    """An exclusive lock on the data folder, held as long as the process lives."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Raises DataFolderLocked when another process has it."""
        file = self._path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise DataFolderLocked(f"Another Reelmill server uses {self._path.parent}.") from error
        self._file = file

    def give(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

"""From the settings to the list of all checks; parts are opened when a check first asks for them."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from reelmill import wiring
from reelmill.doctor import broker, database, machine, storage, text_model, voice
from reelmill.doctor.browser import Browser
from reelmill.doctor.findings import Check, Finding, failed, ok, warned
from reelmill.errors import PublicUrlBroken, StorageDenied, StorageUnavailable
from reelmill.jobs.ports import JobStore, ObjectStore
from reelmill.objects.folder import FolderStore
from reelmill.settings import Settings

SECRETS = ("secret", "cli.key", "spool/secret")
OUTSIDE = ("public",)
MOST_TOLD = 1000  #: files in the spool are counted up to here

#: Serves a folder store's signed URLs on a free port of this machine as long as it is entered; gives its URL.
Lend = Callable[[FolderStore], AbstractContextManager[str]]


class Installation:
    """What is examined. Use it as a context manager, or `close` it."""

    def __init__(self, settings: Settings, *, lend: Lend) -> None:
        """lend: for when no server is running."""
        self._settings = settings
        self._lend = lend
        self._base_url = ""
        self._open = ExitStack()

    def close(self) -> None:
        self._open.close()

    def __enter__(self) -> Installation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def _store(self) -> JobStore:
        store = wiring.open_store(self._settings.database)
        self._open.callback(store.close_engine)
        return store

    @cached_property
    def _objects(self) -> ObjectStore:
        return wiring.open_objects(self._settings, lambda: self._base_url)

    @cached_property
    def _browser(self) -> Browser:
        settings, is_folder = self._settings, isinstance(self._objects, FolderStore)
        query = parse_qs(urlsplit(settings.storage).query)
        public = self._base_url if is_folder else (query.get("public_endpoint") or query.get("endpoint") or [""])[0]
        browser = Browser(
            self._objects,
            origin=_origin(settings.public_url or machine.local_url(settings.host, settings.port)),
            signs_host=not is_folder,
            host=urlsplit(public).netloc or None,
        )
        self._open.callback(browser.close)
        return browser

    def checks(self) -> list[Check]:
        """Return all checks, in the order of the report."""
        s = self._settings
        reserve = s.disk_reserve_mb << 20
        return [
            Check(name="ffmpeg", title="ffmpeg", look=lambda: machine.ffmpeg(s.ffmpeg), limit_s=60),
            Check(name="fonts", title="fonts", look=machine.drawing, limit_s=60),
            Check(name="data", title="data folder", look=lambda: machine.folder(s.data.absolute())),
            Check(name="disk", title="disk", look=lambda: machine.disk(s.written, least_bytes=reserve)),
            Check(
                name="secrets",
                title="secrets",
                look=lambda: machine.secrets(s.data.absolute() / name for name in SECRETS),
                needs=("data",),
            ),
            Check(name="port", title="port", look=lambda: machine.port(s.host, s.port)),
            Check(name="database", title="database", look=self._database, needs=("data",)),
            Check(
                name="schema",
                title="migrations",
                look=lambda: database.schema(s.database, lambda: wiring.upgrade(s)),
                needs=("database",),
            ),
            Check(name="job", title="job row", look=lambda: database.job_row(self._store), needs=("schema",)),
            Check(
                name="storage",
                title="storage",
                look=self._storage,
                needs=("data", "secrets"),
                limit_s=30,
            ),
            Check(
                name="abilities",
                title="its abilities",
                look=lambda: storage.abilities(self._objects),
                needs=("storage",),
                limit_s=60,
            ),
            Check(name="public", title="its public side", look=self._public, needs=("storage",), limit_s=60),
            *(
                Check(name=name, title=title, look=look, needs=OUTSIDE, limit_s=60)
                for name, title, look in (
                    ("preflight", "  preflight", lambda: self._browser.preflight()),
                    ("put", "  PUT", lambda: self._browser.puts()),
                    ("parts", "  PUT in parts", lambda: self._browser.parts()),
                    ("range", "  Range", lambda: self._browser.ranges()),
                    ("size", "  wrong size", lambda: self._browser.sizes()),
                    ("expiry", "  expiry", lambda: self._browser.expires()),
                    ("host", "  host", lambda: self._browser.hosts()),
                    ("clock", "  clock", lambda: self._browser.clock()),
                )
            ),
            Check(name="spool", title="spool", look=self._spool, needs=("data", "schema")),
            Check(name="broker", title="broker", look=lambda: broker.answers(s), limit_s=30),
            Check(
                name="text_model",
                title="text model",
                look=lambda: text_model.answers(s),
                limit_s=s.text_model_timeout_s + 15,
            ),
            Check(name="voice", title="voice", look=lambda: voice.answers(s), limit_s=s.voice_timeout_s + 15),
        ]

    def _database(self) -> Finding:
        if (path := database.unmade(self._settings.database)) is not None:
            return ok(f"SQLite; {path} isn't there yet")
        return database.answers(self._store)

    def _storage(self) -> Finding:
        url = urlsplit(self._settings.storage)
        if url.scheme == "file" and (path := Path(url.path)).exists() and not path.is_dir():
            place = shlex.quote(str(path))
            return failed(StorageDenied(f"{path} is a file, not a folder."), fix=f"mv {place} {place}.away")
        return storage.works(self._objects)

    def _public(self) -> Finding:
        """Find where clients reach storage, and see that it is this storage."""
        if not isinstance(self._objects, FolderStore):
            return self._browser.fetches()
        s = self._settings
        local = machine.local_url(s.host, s.port)
        wanted = (s.public_url or local).rstrip("/")
        running = machine.reelmill_at(local) if s.port else None
        if machine.reelmill_at(wanted) is not None:
            self._base_url = wanted
            return self._browser.fetches()
        if running is not None:
            raise PublicUrlBroken(f"A server is running at {local}, but {wanted} doesn't lead to it.")
        self._base_url = self._open.enter_context(self._lend(self._objects))
        self._browser.fetches()
        if s.public_url:
            return warned(
                PublicUrlBroken(
                    f"No server is running, so {wanted} can't be tried; what follows is by {self._base_url}."
                ),
                fix="reelmill serve",
            )
        return ok(f"no server is running: tried by one lent for it at {self._base_url}")

    def _spool(self) -> Finding:
        """See that the spool can be written to, and how much waits there."""
        spool = wiring.open_spool(self._settings, "")
        if spool is None:
            return warned(
                StorageUnavailable("The spool is off: when storage is away, jobs wait."), fix="unset REELMILL_SPOOL"
            )
        storage.works(spool)
        waiting = self._store.spooled(spool.id, limit=MOST_TOLD)
        if waiting:
            more = "or more " if len(waiting) == MOST_TOLD else ""
            told = (
                f"{len(waiting)} {more}files wait here to be moved to storage, since {waiting[0].created_at:%F %R} UTC."
            )
            return warned(StorageUnavailable(told), fix="reelmill doctor storage", waiting=len(waiting))
        return ok("empty; takes finished files while storage is away", waiting=0)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"

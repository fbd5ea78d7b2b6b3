"""Settings to a running platform: the only file that names adapters. Constructor calls, nothing cleverer."""

from __future__ import annotations

import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import structlog

from reelmill import __version__
from reelmill.data_lock import DataLock
from reelmill.dispatch.inline import InlineDispatcher
from reelmill.errors import NotOffered, SettingInvalid, StorageProblem
from reelmill.jobs.admission import Admission, Quotas
from reelmill.jobs.chain import Chain
from reelmill.jobs.feed import Feed
from reelmill.jobs.files import Files
from reelmill.jobs.gate import Gate
from reelmill.jobs.model import Json, Located
from reelmill.jobs.planning import Planner
from reelmill.jobs.ports import (
    UNOBSERVED,
    AccessStore,
    Dispatcher,
    JobStore,
    Keeping,
    Narrator,
    ObjectStore,
    Observer,
    Pipeline,
    Rules,
    Spool,
    TextMaker,
)
from reelmill.jobs.reconciler import Reconciler
from reelmill.jobs.removal import Keep, Removal
from reelmill.jobs.runner import Runner, WorkPolicy
from reelmill.jobs.scratch import clear_dead_scratch
from reelmill.jobs.service import Policy, Service
from reelmill.jobs.sweeper import Sweeper, SweepPolicy
from reelmill.jobs.watch import Watch
from reelmill.media import find_ffmpeg, probe
from reelmill.media import version as ffmpeg_version
from reelmill.media.children import metered
from reelmill.media.own_fonts import read_shelf
from reelmill.objects.folder import FolderStore, load_secret
from reelmill.objects.s3_place import read_place
from reelmill.objects.spool import SpoolFolder
from reelmill.observe.metrics import STUCK_AFTER_S, Metrics, PlatformFigures, ProcessFigures
from reelmill.observe.observer import PlatformObserver
from reelmill.observe.server import MetricsServer
from reelmill.observe.storage import observed
from reelmill.observe.tracing import NoTraces, Traces
from reelmill.pipelines.base import Toolbox
from reelmill.pipelines.clips.preview import TextPreviews
from reelmill.pipelines.fonts import Fonts
from reelmill.settings import Settings
from reelmill.stores import migrate
from reelmill.stores.access import SqlAccess
from reelmill.stores.sql import SqlStore
from reelmill.stores.sql import open_store as open_sql
from reelmill.texts import Maker
from reelmill.texts.cache import ReplyCache
from reelmill.texts.opening import open_model
from reelmill.voices import Narrating
from reelmill.voices.opening import open_voice

if TYPE_CHECKING:
    from reelmill.stores.dynamo.table import Table

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill")

WAIT_S = 15.0  #: before a step that waited for storage, database or disk is tried again


@dataclass(frozen=True, kw_only=True)
class App:
    """All parts of one process. `start` and `stop` it once, or use it as a context manager."""

    settings: Settings
    store: JobStore
    access: AccessStore
    objects: ObjectStore
    tools: Toolbox
    pipelines: Mapping[str, Pipeline]
    dispatcher: Dispatcher
    files: Files
    texts: Maker
    text_previews: TextPreviews
    voices: Narrating
    service: Service
    planner: Planner
    chain: Chain
    keeping: Keeping | None  #: what only some stores offer; ask by `offered`
    rules: Rules | None
    removal: Removal | None
    runner: Runner
    sweeper: Sweeper
    reconciler: Reconciler
    feed: Feed
    watch: Watch
    observer: PlatformObserver
    metrics_server: MetricsServer | None
    lock: DataLock | None

    def start(self, *, streams: bool = True) -> None:
        """Take the data folder, clear what an earlier process left, and start workers, sweeper and feed.

        streams: whether events are handed out live; a process that only works needs no feed.
        """
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
        if self.metrics_server is not None:
            self.metrics_server.start()
        if streams:
            self.feed.start()
            self.watch.start()
        self.sweeper.start()
        self.reconciler.start()
        self.runner.start(self.settings.workers)

    def stop(self) -> None:
        """Hand back what is running and give everything free."""
        self.runner.stop()
        self.reconciler.stop()
        self.sweeper.stop()
        self.feed.stop()
        self.watch.stop()
        self.dispatcher.close()
        if self.metrics_server is not None:
            self.metrics_server.stop()
        self.observer.traces.stop()
        self.texts.close()
        self.text_previews.close()
        self.voices.close()
        self.store.close_engine()
        if self.lock is not None:
            self.lock.give()

    def dead(self) -> list[str]:
        """Return the names of the parts that aren't at their work; none while all is well."""
        parts: dict[str, Runner | Sweeper | Feed | Watch | Reconciler] = {
            "workers": self.runner,
            "sweeper": self.sweeper,
            "reconciler": self.reconciler,
            "feed": self.feed,
            "watch": self.watch,
        }
        return [name for name, part in parts.items() if not part.alive()]

    def tell_platform(self) -> None:
        """Let the metrics tell of the whole platform, too; for processes that serve the API, or all would."""
        self.observer.metrics.watch(PlatformFigures(lambda: self.store.figures(stuck_after_s=STUCK_AFTER_S)))

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
    observer = PlatformObserver(Metrics(), open_traces(settings))
    objects = open_objects(settings, base_url, lambda name: observer.count("storage_retries", operation=name))
    watched = observed(objects, observer)
    texts = open_texts(settings, ReplyCache(watched), observer)
    voices = Narrating(open_voice(settings), objects=watched)
    fonts = Fonts(read_shelf(settings.fonts), objects=watched, cache=settings.data / "cache" / "fonts")
    tools = toolbox(settings, texts, voices, fonts)
    pipelines = load_pipelines(tools)
    files = Files(
        watched,
        open_spool(settings, base_url),
        backoff_s=settings.backoff_s,
        get_ttl_s=settings.get_ttl_s,
        on_retry=lambda: observer.count("storage_retries", operation="put_file"),
    )
    dispatcher = open_dispatcher(settings)
    store = open_store(settings.database)
    access = access_of(store)
    feed = Feed(store)
    watch = Watch(store)

    def wake() -> None:
        feed.wake()
        watch.wake()

    store.on_commit = wake
    keeping, rules = keeping_of(store), rules_of(access)
    _tell_not_offered(settings, keeping)
    planner = Planner(
        store=store,
        pipelines=pipelines,
        dispatcher=dispatcher,
        max_steps=settings.max_steps,
        observer=observer,
        brands=access,
    )
    service = Service(
        store=store,
        files=files,
        planner=planner,
        probe=_prober(settings, observer),
        observer=observer,
        admission=Admission(
            keeping=keeping,
            rules=rules,
            objects=objects,
            quotas=Quotas(
                bytes=settings.quota_bytes, jobs=settings.quota_jobs, reserve_bytes=settings.disk_reserve_mb << 20
            ),
        ),
        policy=Policy(
            upload_ttl_s=settings.upload_ttl_s,
            put_ttl_s=settings.put_ttl_s,
            get_ttl_s=settings.get_ttl_s,
            max_upload_bytes=settings.max_upload_bytes,
            part_bytes=settings.part_bytes,
        ),
    )
    chain = Chain(store=store, files=files, planner=planner, probe=service.probe, upload_ttl_s=settings.upload_ttl_s)
    planner.on_end = chain.follow
    removal = None
    if keeping is not None and rules is not None:
        removal = Removal(
            store=store,
            keeping=keeping,
            rules=rules,
            access=access,
            files=files,
            drop_parts=service.parts.drop,
            keep=Keep(
                sources_days=settings.retain_sources_days,
                outputs_days=settings.retain_outputs_days,
                events_days=settings.retain_events_days,
                audit_days=settings.retain_audit_days,
                undo_s=settings.undo_s,
            ),
            observer=observer,
        )
    runner = Runner(
        store=store,
        files=files,
        gate=Gate(files, list(settings.written.values()), settings.disk_reserve_mb << 20),
        pipelines=pipelines,
        dispatcher=dispatcher,
        advance=planner.advance,
        policy=WorkPolicy(
            lease_s=settings.lease_s,
            heartbeat_s=min(settings.heartbeat_s, settings.lease_s / 3),
            watch_s=settings.watch_s,
            poll_s=settings.poll_s,
            max_retries=settings.max_retries,
            max_crashes=settings.max_crashes,
            backoff_s=settings.backoff_s,
            wait_s=min(WAIT_S, 4 * settings.backoff_s),
            grace_s=settings.grace_s,
            queues=settings.queue_names,
            reuse=settings.reuse,
            engine="celery" if settings.broker_url else "embedded" if settings.embedded else "claims",
        ),
        scratch=settings.data / "scratch",
        metered=metered,
        versions={"reelmill": __version__, "ffmpeg": ffmpeg_version(tools.ffmpeg)},
        observer=observer,
    )
    observer.metrics.watch(ProcessFigures(settings.written, lambda: (runner.slots, runner.busy())))
    service.on_cancel = runner.look
    runner.on_end = chain.follow
    if removal is not None:
        removal.on_cancel = runner.look
    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    sweeper = Sweeper(
        store=store,
        access=access,
        objects=watched,
        dispatcher=dispatcher,
        advance=planner.advance,
        drop_parts=service.parts.drop,
        beat=runner.beat,
        remove=removal.sweep if removal is not None else lambda: False,
        follow=chain.follow,
        policy=SweepPolicy(
            sweep_s=settings.sweep_s,
            incoming_s=2 * settings.upload_ttl_s,
            max_crashes=settings.max_crashes,
            lease_s=settings.lease_s,
            silent_s=max(settings.lease_s, 3 * settings.heartbeat_s),
        ),
        holder=holder,
        observer=observer,
    )
    reconciler = Reconciler(store=store, files=files, advance=planner.advance, every_s=settings.sweep_s, holder=holder)
    app = App(
        settings=settings,
        store=store,
        access=access,
        objects=objects,
        tools=tools,
        pipelines=pipelines,
        dispatcher=dispatcher,
        files=files,
        texts=texts,
        text_previews=TextPreviews(tools, settings.data / "scratch"),
        voices=voices,
        service=service,
        planner=planner,
        chain=chain,
        keeping=keeping,
        rules=rules,
        removal=removal,
        runner=runner,
        sweeper=sweeper,
        reconciler=reconciler,
        feed=feed,
        watch=watch,
        observer=observer,
        metrics_server=open_metrics(settings, observer, lambda: app.dead()),
        lock=lock,
    )
    return app


def open_traces(settings: Settings) -> Traces | NoTraces:
    """Raises SettingInvalid when traces are wanted and the extra `otel` isn't installed."""
    return Traces(settings.otlp_endpoint) if settings.otlp_endpoint else NoTraces()


def open_metrics(settings: Settings, observer: PlatformObserver, dead: Callable[[], list[str]]) -> MetricsServer | None:
    """Return the port without keys, if one is wanted. Raises SettingInvalid when it is taken."""
    if settings.metrics_port is None:
        return None
    return MetricsServer(observer.metrics, settings.metrics_host, settings.metrics_port, dead)


T = TypeVar("T")


def offered(part: T | None) -> T:
    """Return a part of the platform that not every store has. Raises NotOffered."""
    if part is None:
        raise NotOffered
    return part


def keeping_of(store: JobStore) -> Keeping | None:
    """Return what the store can do beside jobs; None: nothing."""
    return store if isinstance(store, SqlStore) else None


def rules_of(access: AccessStore) -> Rules | None:
    """Return the switches and limits in the same database; None: it has none."""
    return access if isinstance(access, SqlAccess) else None


NEED_KEEPING = (
    "retain_sources_days", "retain_outputs_days", "retain_events_days", "retain_audit_days",
    "quota_bytes", "quota_jobs",
)  # fmt: skip


def _tell_not_offered(settings: Settings, keeping: Keeping | None) -> None:
    if keeping is None:
        ignored = [f"REELMILL_{name.upper()}" for name in NEED_KEEPING if getattr(settings, name)]
        tell = log.warning if ignored else log.info
        tell("this store has no deleting, retention, usage, quotas, switches and imports", ignored_settings=ignored)


@contextmanager
def open_access(settings: Settings) -> Iterator[AccessStore]:
    """Give the keys alone, without pipelines and workers; also beside a running server."""
    upgrade(settings)
    store = open_store(settings.database)
    try:
        yield access_of(store)
    finally:
        store.close_engine()


def open_store(url: str) -> JobStore:
    """Return the store that REELMILL_DATABASE_URL names; its schema must be up to date. Raises SettingInvalid."""
    if not is_dynamo(url):
        return open_sql(url)
    with _boto3_wanted():
        from reelmill.stores.dynamo.store import open_store as open_dynamo
    return open_dynamo(url)


def access_of(store: JobStore) -> AccessStore:
    """Return the keys, the audit log and the idempotent requests of the same database."""
    if isinstance(store, SqlStore):
        return SqlAccess(store.engine)
    from reelmill.stores.dynamo.access import DynamoAccess
    from reelmill.stores.dynamo.store import DynamoStore

    assert isinstance(store, DynamoStore)
    return DynamoAccess(store.table)


def open_table(url: str) -> AbstractContextManager[Table]:
    """Return the table of a dynamodb:// URL, to be entered. It may not be there. Raises SettingInvalid."""
    with _boto3_wanted():
        from reelmill.stores.dynamo.place import read_place
        from reelmill.stores.dynamo.table import Table
    return closing(Table(read_place(url)))


def is_dynamo(url: str) -> bool:
    return url.startswith("dynamodb:")


@contextmanager
def _boto3_wanted() -> Iterator[None]:
    try:
        yield  # boto3 is an extra, and slow to import
    except ModuleNotFoundError as error:
        if error.name not in ("boto3", "botocore"):
            raise
        raise SettingInvalid(
            "REELMILL_DATABASE_URL=dynamodb://… needs boto3: pip install 'reelmill[dynamodb]'."
        ) from error


def upgrade(settings: Settings) -> None:
    """Make the data folder and bring the schema up to date. Raises DataFolderLocked while a server uses SQLite."""
    settings.data.mkdir(parents=True, exist_ok=True)
    _bring_up_to_date(settings, DataLock(settings.data / "lock") if settings.embedded else None)


def _bring_up_to_date(settings: Settings, lock: DataLock | None) -> None:
    """Upgrade the schema if it is behind; that of an embedded server never under its feet. Raises DataFolderLocked.

    A DynamoDB table is only looked at: it costs money, so it is made when told. Raises TableUnfit.
    """
    if is_dynamo(settings.database):
        with open_table(settings.database) as table:
            table.check()
        return
    if lock is not None and not migrate.is_behind(settings.database):
        return
    if lock is not None:
        lock.take()
    try:
        migrate.upgrade(settings.database)
    finally:
        if lock is not None:
            lock.give()


def open_texts(settings: Settings, cache: ReplyCache | None = None, observer: Observer = UNOBSERVED) -> Maker:
    """Return what varies texts: a model with its rules, or local rules alone. Raises SettingInvalid."""
    read, written = (float(price) for price in (settings.text_model_price or "0,0").split(","))
    return Maker(
        open_model(settings),
        cache=cache,
        backoff_s=settings.backoff_s,
        patience_s=4 * settings.text_model_timeout_s,
        price=(read, written) if settings.text_model_price else None,
        observer=observer,
    )


def toolbox(
    settings: Settings, texts: TextMaker | None = None, voices: Narrator | None = None, fonts: Fonts | None = None
) -> Toolbox:
    """Return what pipelines work with. texts: local rules by default; voices: none; fonts: the folder's.

    Raises ToolMissing.
    """
    return Toolbox(
        ffmpeg=find_ffmpeg(str(settings.ffmpeg) if settings.ffmpeg else None),
        threads=settings.threads,
        step_deadline_s=settings.step_deadline_s,
        memory_bytes=settings.memory_limit_mb << 20,
        texts=texts or Maker(),
        fonts=fonts or Fonts(read_shelf(settings.fonts)),
        voices=voices or Narrating(),
    )


def load_pipelines(tools: Toolbox) -> dict[str, Pipeline]:
    """Return the installed pipelines by name: ours and any other package's, through the same entry points."""
    found = (entry.load()(tools) for entry in entry_points(group="reelmill.pipelines"))
    return {pipeline.name: pipeline for pipeline in sorted(found, key=lambda p: str(p.name))}


def open_dispatcher(settings: Settings) -> Dispatcher:
    """Return the doorbell that REELMILL_BROKER_URL names; this process's own without. Raises SettingInvalid."""
    if settings.broker_url is None:
        return InlineDispatcher()
    if settings.embedded:
        raise SettingInvalid(
            "REELMILL_BROKER_URL wakes workers on other machines, and those can't share SQLite; "
            "set REELMILL_DATABASE_URL=postgresql://…, or no broker."
        )
    try:
        from reelmill.dispatch.celery import CeleryDispatcher  # an extra, and slow to import
    except ModuleNotFoundError as error:
        raise SettingInvalid("REELMILL_BROKER_URL needs Celery: pip install 'reelmill[celery]'.") from error
    return CeleryDispatcher(settings.broker_url)


def open_objects(
    settings: Settings, base_url: str | Callable[[], str], on_retry: Callable[[str], None] = lambda _: None
) -> ObjectStore:
    """Return the object store that REELMILL_STORAGE_URL names. Raises SettingInvalid, StorageDenied."""
    url = urlsplit(settings.storage)
    if url.scheme == "s3":
        return _open_s3(settings, on_retry)
    if url.scheme != "file" or not url.path.startswith("/"):
        raise SettingInvalid(
            f"REELMILL_STORAGE_URL={settings.storage!r} can't be used; "
            "good values are file:///var/lib/reelmill/objects and s3://bucket?region=eu-central-1."
        )
    secret = load_secret(settings.data / "secret")
    return FolderStore(Path(url.path), secret=secret, base_url=base_url)


def open_spool(settings: Settings, base_url: str | Callable[[], str]) -> Spool | None:
    """Return the spool, None when it is off. A process that clients reach (base_url) hands its files out.

    Raises StorageDenied, StorageUnavailable.
    """
    folder = settings.spool_folder
    return SpoolFolder(folder, base_url=base_url, serves=bool(base_url)) if folder is not None else None


def _open_s3(settings: Settings, on_retry: Callable[[str], None]) -> ObjectStore:
    try:
        from reelmill.objects.s3 import S3Store  # boto3 is an extra, and slow to import
    except ModuleNotFoundError as error:
        if error.name not in ("boto3", "botocore"):
            raise
        raise SettingInvalid("REELMILL_STORAGE_URL=s3://… needs boto3: pip install 'reelmill[s3]'.") from error
    return S3Store(read_place(settings.storage), cors_origins=settings.cors_origins, on_retry=on_retry)


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


def _prober(settings: Settings, observer: PlatformObserver) -> Callable[[Located, bool], Json]:
    scratch = settings.data / "scratch"

    def run(located: Located, still: bool) -> Json:
        scratch.mkdir(parents=True, exist_ok=True)
        with observer.span("probe"):
            return probe(str(located), still=still, scratch=scratch).to_json()

    return run

"""`reelmill worker`: a process that does steps; `reelmill workers`: all of them, and how one is emptied."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from reelmill.cli.options import DEFAULT_URL, Data, Json, Key, Url, connect
from reelmill.cli.output import Code, print_json, print_table
from reelmill.errors import SettingInvalid

if TYPE_CHECKING:
    from reelmill.schemas import WorkerReply
    from reelmill.settings import Settings
    from reelmill.wiring import App

LOOK_S = 0.25
CLAIMS_POLL_S = 2.0  #: without a broker nobody rings here, so a worker looks more often


def worker(
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=256, help="Steps at a time (REELMILL_WORKERS; one for each processor).")
    ] = None,
    queues: Annotated[
        str | None, typer.Option(help="Which steps: names out of cpu,gpu,io,llm (REELMILL_QUEUES; all).")
    ] = None,
    memory_limit: Annotated[
        int | None,
        typer.Option(min=0, help="MiB of this process, and of each media process (REELMILL_MEMORY_LIMIT_MB; none)."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data folder (REELMILL_DATA; `reelmill-data`): scratch, and a folder's files.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only tell whether a worker of this host is at work: exit code 0 or 1.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Do steps of jobs, beside servers and other workers on any machine.

    Needs a database that can be shared (PostgreSQL) and storage that it reaches. With REELMILL_BROKER_URL, Celery wakes
    it within milliseconds; without, or while the broker is away, it looks for itself.

    SIGTERM and Ctrl-C stop it: it claims nothing more, running steps get REELMILL_GRACE_S to end, then they are handed
    back, uncharged. A second signal hands them back at once. Drained by `reelmill workers --drain`, it ends when its
    steps have ended. Beyond --memory-limit it does the same and begins anew under the same process id.

    Example: `reelmill worker --concurrency 2`
    """
    from reelmill import logs
    from reelmill.settings import read_settings

    settings = read_settings(data=data, workers=concurrency, queues=queues, memory_limit_mb=memory_limit)
    logs.configure("warning" if check else settings.log_level, settings.log_format)
    if settings.embedded:
        raise SettingInvalid(
            "A worker shares the database with a server, and SQLite belongs to one process, which works by itself. "
            "Set REELMILL_DATABASE_URL=postgresql://… for the server and its workers."
        )
    if check:
        raise typer.Exit(_check(settings))
    if settings.broker_url is None and settings.poll_s > CLAIMS_POLL_S:
        settings = settings.model_copy(update={"poll_s": CLAIMS_POLL_S})
    signalled, grown = _work(settings, as_json=as_json)
    if grown:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "reelmill.cli", *sys.argv[1:]])  # noqa: S606 - ourselves, anew
    raise typer.Exit(Code.INTERRUPTED if signalled == signal.SIGINT else Code.OK)


def _work(settings: Settings, *, as_json: bool) -> tuple[int | None, bool]:
    """Work until a signal comes, the worker was drained, or it has grown too large; return the signal, and the last."""
    import structlog

    from reelmill import wiring

    log = structlog.get_logger("reelmill.worker")
    app = wiring.build(settings)
    caught: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        if caught:
            app.runner.hurry()
        caught.append(number)

    grown = False
    with _signals(stop), ExitStack() as stack:
        stack.callback(app.stop)
        app.start(streams=False)
        stack.enter_context(listening(app))
        _announce(app, as_json=as_json)
        while not caught and not app.runner.drained:
            time.sleep(LOOK_S)
            if not grown and _is_too_large(app):
                grown = True
                log.warning("grown beyond the memory limit: ends its steps and begins anew", mib=_resident() >> 20)
                app.runner.drain()
        log.info("worker stops", worker=app.runner.worker_id, signal=caught[0] if caught else None)
        app.runner.stop()  # before all else: the grace counts from the signal
    return (caught[0] if caught else None), grown and not caught


@contextmanager
def listening(app: App) -> Iterator[None]:
    """Bring the broker's rings to the app's workers, if there are both."""
    if app.settings.broker_url is None or not app.settings.workers:
        yield
        return
    from reelmill.dispatch.celery import CeleryDispatcher
    from reelmill.worker import Listener

    assert isinstance(app.dispatcher, CeleryDispatcher), "wiring chose it by the same setting"
    listener = Listener(app.dispatcher, app.settings.queue_names)
    listener.start()
    try:
        yield
    finally:
        listener.stop()


@contextmanager
def _signals(stop: signal._HANDLER) -> Iterator[None]:
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _announce(app: App, *, as_json: bool) -> None:
    """Say that it works, once it does."""
    from reelmill import __version__

    s = app.settings
    queues = ",".join(s.queue_names or ()) or "all"
    engine = app.runner.policy.engine
    if as_json:
        told = {"worker_id": app.runner.worker_id, "pid": os.getpid(), "slots": s.workers, "queues": queues}
        print_json({**told, "engine": engine, "version": __version__}, compact=True)
        return
    print(f"Reelmill {__version__}: worker {app.runner.worker_id}")
    print(f"  steps at a time  {s.workers}")
    print(f"  queues           {queues}")
    print(f"  woken by         {'Celery' if engine == 'celery' else f'a look every {s.poll_s:g} s'}")
    print("Ctrl-C stops it.", flush=True)


def _check(settings: Settings) -> Code:
    """Tell whether a worker of this host was heard of in the last two heartbeats."""
    from reelmill.stores.sql import open_store

    store = open_store(settings.database)
    try:
        here = [one for one in store.workers() if one.host == socket.gethostname()]
    finally:
        store.close_engine()
    fresh = [one for one in here if one.silent_s <= 2 * settings.heartbeat_s + 1]
    for one in fresh or here:
        typer.echo(f"{one.id} was heard of {one.silent_s:.1f} s ago.", err=True)
    if not here:
        typer.echo(f"No worker of {socket.gethostname()} is known.", err=True)
    return Code.OK if fresh else Code.FAILED


def _is_too_large(app: App) -> bool:
    limit = app.settings.memory_limit_mb << 20
    return (
        bool(limit) and _resident() > limit and app.runner.ended > 0
    )  # a limit below its start would never let it work


def _resident() -> int:
    from reelmill.media.children import resident

    return resident(os.getpid())


def workers(
    drain: Annotated[str | None, typer.Option(metavar="ID", help="Tell this worker to claim nothing more.")] = None,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List the processes that do steps, or empty one of them.

    A drained worker ends by itself when its steps have ended; a drained server goes on answering.

    Example: `reelmill workers`, then `reelmill workers --drain render-2:4711:0a1b2c3d`
    """
    with connect(url, api_key, data) as client:
        if drain is not None:
            client.drain_worker(drain)
        found = client.workers()
    if as_json:
        print_json([one.model_dump(mode="json") for one in found])
        return
    print_table(
        ["ID", "STATE", "STEPS AT A TIME", "QUEUES", "WOKEN BY", "VERSION", "HEARD OF"], [_row(w) for w in found]
    )


def _row(one: WorkerReply) -> list[object]:
    queues = ",".join(one.queues) or "all"
    return [one.id, one.state, one.slots, queues, one.engine, one.version, f"{one.silent_s:.0f} s ago"]

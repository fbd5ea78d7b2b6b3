"""`reelmill serve`: the whole platform in one process."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelmill.cli.options import LOCAL_KEY_FILE, Json, is_loopback
from reelmill.cli.output import Code, print_json
from reelmill.cli.worker import listening
from reelmill.errors import KeyNeeded, SettingInvalid

if TYPE_CHECKING:
    import uvicorn

    from reelmill.settings import Settings
    from reelmill.wiring import App

LOCAL_KEY_NAME = "local CLI"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to bind to (REELMILL_HOST; 127.0.0.1). Others need an API key first.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="TCP port (REELMILL_PORT; 8000); 0 takes a free one.")] = None,
    data: Annotated[Path | None, typer.Option(help="Data folder (REELMILL_DATA; `reelmill-data`).")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Steps at a time (REELMILL_WORKERS; one for each processor); 0 is API only.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Start the platform on this machine.

    API, database, storage and workers are this one process; with PostgreSQL, more of them and `reelmill worker` share
    the work, and --workers 0 leaves all of it to those.

    SIGTERM and Ctrl-C stop it: running steps get REELMILL_GRACE_S to end, the rest is taken up at the next start.
    With --json, one line tells where it listens as soon as it does.

    Example: `reelmill serve --port 8080 --data /srv/reelmill`
    """
    from reelmill import logs, wiring
    from reelmill.settings import read_settings

    settings = read_settings(host=host, port=port, data=data, workers=workers)
    logs.configure(settings.log_level, settings.log_format, secrets=settings.secrets)
    # The socket comes first: a port that is taken is found before anything is touched.
    with bind(settings.host, settings.port) as listener:
        address = address_of(listener)
        app = wiring.build(settings, base_url=(settings.public_url or address).rstrip("/"))
        private = is_loopback(listener.getsockname()[0])
        try:
            if not private:
                need_key(app)
            app.start()
        except BaseException:
            app.store.close_engine()
            raise
        try:
            with listening(app):
                signalled = run(app, listener, address, private=private, as_json=as_json)
        finally:
            app.stop()
    raise typer.Exit(Code.INTERRUPTED if signalled == signal.SIGINT else Code.OK)


def run(app: App, listener: socket.socket, address: str, *, private: bool, as_json: bool) -> int | None:
    """Serve until a signal comes; return its number."""
    import uvicorn

    from reelmill.api.app import create_app
    from reelmill.api.signin import SignIn
    from reelmill.objects.folder import load_secret

    signin = SignIn(load_secret(app.settings.data / "secret")) if private else None
    if private:
        keep_local_key(app)
    streams = EventStreams(create_app(app, signin=signin))
    config = uvicorn.Config(
        streams,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=app.settings.trusted_proxies is not None,
        forwarded_allow_ips=app.settings.trusted_proxies,
        timeout_graceful_shutdown=round(app.settings.grace_s),
    )
    link = f"{address}{signin.link}" if signin else None
    server = server_class()(config, streams, app.runner.stop, lambda: announce(app.settings, address, link, as_json))
    caught: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        if caught and number == signal.SIGINT:
            os._exit(Code.INTERRUPTED)  # asked twice: at once. The next start takes up what was running.
        caught.append(number)
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return caught[0] if caught else None


def server_class() -> Callable[..., uvicorn.Server]:
    """Return uvicorn's server with our ending; made here so that no other command pays for the import."""
    import uvicorn

    class Server(uvicorn.Server):
        def __init__(
            self, config: uvicorn.Config, streams: EventStreams, drain: Callable[[], None], ready: Callable[[], None]
        ) -> None:
            super().__init__(config)
            self._streams, self._drain, self._ready = streams, drain, ready

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # `run` has them: uvicorn's own way would end the process before the workers have let go

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            self._ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            self._streams.close()
            # Requests and steps have the same grace, at the same time.
            await asyncio.gather(super().shutdown(sockets=sockets), asyncio.to_thread(self._drain))

    return Server


class EventStreams:
    """Ends open event streams when the server stops: they could last for hours. Their readers resume by themselves."""

    def __init__(self, app: Asgi) -> None:
        self._app = app
        self._closing = asyncio.Event()

    def close(self) -> None:
        self._closing.set()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/events"):
            await self._app(scope, receive, send)
            return
        unfinished = False

        async def receive_or_end() -> Message:
            closing, message = asyncio.ensure_future(self._closing.wait()), asyncio.ensure_future(receive())
            try:
                await asyncio.wait({closing, message}, return_when=asyncio.FIRST_COMPLETED)
                return message.result() if message.done() else {"type": "http.disconnect"}
            finally:
                closing.cancel()
                message.cancel()

        async def send_noted(message: Message) -> None:
            nonlocal unfinished
            unfinished = message["type"] == "http.response.start" or message.get("more_body", False)
            await send(message)

        await self._app(scope, receive_or_end, send_noted)
        if unfinished:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def bind(host: str, port: int) -> socket.socket:
    """Return a bound socket, not yet listening. Raises SettingInvalid."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingInvalid(
            f"REELMILL_HOST={host!r} can't be bound to ({error.strerror}); a good value is 127.0.0.1."
        ) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        return listener
    except OSError as error:
        listener.close()
        raise SettingInvalid(
            f"REELMILL_PORT={port}: {host} port {port} can't be bound to ({error.strerror}). "
            "Stop what uses it, or choose another: --port 8001; --port 0 takes a free one."
        ) from error


def address_of(listener: socket.socket) -> str:
    """Return the URL under which this machine reaches the socket."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - told apart, not bound to
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def need_key(app: App) -> None:
    """Raises KeyNeeded when no key exists by which anybody else could use the server."""
    stored = app.access.keys()
    if not any(key.active and key.name != LOCAL_KEY_NAME for key in stored):
        raise KeyNeeded(f"{app.settings.host} can be reached from other machines, and there is no API key yet.")


def keep_local_key(app: App) -> None:
    """See to it that the data folder holds a key by which this machine's user needs none."""
    from reelmill.api.access import make_key

    path = app.settings.data / LOCAL_KEY_FILE
    try:
        if app.access.find_key(hashlib.sha256(path.read_bytes().strip()).hexdigest()) is not None:
            return
    except FileNotFoundError:
        pass
    secret, _ = make_key(app.access, LOCAL_KEY_NAME, ["admin"], subject="owner")
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600, exist_ok=False)
    fresh.write_text(secret + "\n")
    fresh.replace(path)


def announce(settings: Settings, address: str, link: str | None, as_json: bool) -> None:
    """Say where the server is, once it can be reached."""
    from reelmill import __version__

    data = settings.data.resolve()
    if as_json:
        print_json(
            {
                "url": address,
                "public_url": settings.public_url,
                "signin_url": link,
                "data": str(data),
                "workers": settings.workers,
                "pid": os.getpid(),
                "version": __version__,
            },
            compact=True,
        )
        return
    lines = {
        "listening on": address,
        "sign in once": link,
        "public URL": settings.public_url,
        "data folder": data,
        "workers": settings.workers,
    }
    print(f"Reelmill {__version__}")
    for name, value in lines.items():
        if value is not None:
            print(f"  {name:<13} {value}")
    if link is None and settings.public_url is None:
        print("  Set REELMILL_PUBLIC_URL to the address that clients use: signed URLs begin with it.")
    print("Ctrl-C stops it.", flush=True)

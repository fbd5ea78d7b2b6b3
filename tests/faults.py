"""A TCP proxy that breaks connections as real networks do: slow, late, cut, or silent for ever."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

BLOCK = 64 << 10
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST
REFUSAL = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(slots=True)
class Passed:
    """One connection, and what has gone through it."""

    client: socket.socket
    server: socket.socket
    first: bytes = b""  #: how its first request begins
    up_bytes: int = 0  #: from the client
    down_bytes: int = 0
    cut: bool = False
    silent: bool = False
    losing: bool = False  #: what it answers next is lost, and the connection with it
    threads: list[threading.Thread] = field(default_factory=list)


class Proxy:
    """Stands before a server on a port of its own; what it does to connections may be changed at any time.

    Use it as a context manager, or `close` it.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """host, port: the server's; may be set later, as `target`."""
        self.target = (host, port)
        self.connections: list[Passed] = []
        self.rate: float | None = None  #: bytes per second in each direction, all connections together
        self.latency_s = 0.0  #: added to every block
        self.failing = False  #: whether each HTTP request is answered with 500 instead of being passed on
        self.loses_reply: Callable[[bytes], bool] = lambda _: False  #: to which blocks: passed on, then hung up
        self.on_block: Callable[[], None] = lambda: None  #: called before each block from a client is passed on
        self._cuts: list[tuple[int, str, bytes]] = []
        self._lock = threading.Lock()
        self._free_at = {"up": 0.0, "down": 0.0}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    # ── what to do ────────────────────────────────────────────────────────────────────────────

    def cut_after(self, size: int, *, times: int = 1, way: str = "up", request: bytes = b"") -> None:
        """Reset the next connection that has carried `size` bytes `way` since now, and so on, `times` in all.

        request: only connections whose first request begins so, `PUT` for example.
        """
        with self._lock:
            self._cuts += [(size, way, request)] * times

    def cut_all(self) -> int:
        """Reset every connection; return how many."""
        alive = [passed for passed in self.connections if not passed.cut]
        for passed in alive:
            _reset(passed)
        return len(alive)

    def silence(self) -> int:
        """Let every present connection live, and carry nothing any more: what it is given is lost."""
        alive = [passed for passed in self.connections if not passed.cut]
        for passed in alive:
            passed.silent = True
        return len(alive)

    def cuts_left(self) -> int:
        return len(self._cuts)

    def carried(self, request: bytes = b"", way: str = "up") -> int:
        """Return how many bytes have gone through connections whose first request begins so."""
        return sum(getattr(passed, f"{way}_bytes") for passed in self.connections if passed.first.startswith(request))

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Block until the condition holds. Fails when it doesn't."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what} didn't happen within {seconds} s"
            time.sleep(0.005)

    def close(self) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()
        self._thread.join(10)
        for passed in self.connections:
            for thread in passed.threads:
                thread.join(10)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── parts ─────────────────────────────────────────────────────────────────────────────────

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target, timeout=10)
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                client.close()
                continue
            server.settimeout(None)
            for side in (client, server):  # or a reply of two small blocks waits 40 ms for an acknowledgement
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            passed = Passed(client, server)
            passed.threads = [
                threading.Thread(target=self._carry, args=(passed, client, server, "up"), daemon=True),
                threading.Thread(target=self._carry, args=(passed, server, client, "down"), daemon=True),
            ]
            self.connections.append(passed)
            for thread in passed.threads:
                thread.start()

    def _carry(self, passed: Passed, source: socket.socket, sink: socket.socket, way: str) -> None:
        try:
            while block := source.recv(BLOCK):
                if way == "up":
                    passed.first = passed.first or block[:64]
                    self.on_block()
                    passed.losing = passed.losing or self.loses_reply(block)
                    if self.failing:
                        _refuse(passed)
                elif passed.losing:
                    _reset(passed)
                    return
                if passed.silent:
                    continue
                self._pace(len(block), way)
                sink.sendall(block)
                setattr(passed, f"{way}_bytes", getattr(passed, f"{way}_bytes") + len(block))
                if self._is_cut(passed, len(block), way):
                    _reset(passed)
                    return
            if not passed.silent:
                sink.shutdown(socket.SHUT_WR)
        except OSError:  # the other side is gone, or we are closing
            if not passed.silent:
                _reset(passed)

    def _pace(self, size: int, way: str) -> None:
        if self.latency_s:
            time.sleep(self.latency_s)
        if self.rate:
            with self._lock:
                now = time.monotonic()
                self._free_at[way] = max(now, self._free_at[way]) + size / self.rate
                free_at = self._free_at[way]
            self._closed.wait(max(0.0, free_at - now))

    def _is_cut(self, passed: Passed, size: int, way: str) -> bool:
        with self._lock:
            if not self._cuts:
                return False
            left, wanted, request = self._cuts[0]
            if wanted != way or not passed.first.startswith(request):
                return False
            left -= size
            if left > 0:
                self._cuts[0] = (left, wanted, request)
                return False
            self._cuts.pop(0)
            return True


def _refuse(passed: Passed) -> None:
    """Answer 500 and hang up; the rest of the request is read and thrown away."""
    if not passed.silent:
        passed.silent = True
        with contextlib.suppress(OSError):
            passed.client.sendall(REFUSAL)
            passed.client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            passed.server.shutdown(socket.SHUT_RDWR)


def _reset(passed: Passed) -> None:
    """Break it on both sides at once."""
    passed.cut = True
    for side in (passed.client, passed.server):
        with contextlib.suppress(OSError):
            side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        with contextlib.suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)  # wakes a thread that reads
        with contextlib.suppress(OSError):
            side.close()

"""A reverse proxy of the kind that stands in front of storage, and the ways in which such a one spoils requests."""

from __future__ import annotations

import http.client
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade"}


class Proxy:
    """Passes everything to `upstream`, but for what its fault changes. Use it as a context manager."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.fault = ""
        self.clock_off_s = 0.0
        self.kept: dict[str, tuple[int, list[tuple[str, str]], bytes]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def pass_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        """Return status, headers and body of the reply."""
        fault = self.fault
        if fault == "refuses OPTIONS" and method == "OPTIONS":
            return 405, [], b""
        if fault == "shows its own page" and method == "GET":
            return 200, [("Content-Type", "text/html")], b"<h1>Welcome</h1>"
        if fault == "caches" and method == "GET" and path in self.kept:
            return self.kept[path]
        if fault == "changes Host":
            headers = {name: value for name, value in headers.items() if name.lower() != "host"}
        if fault == "ignores ranges":
            headers = {name: value for name, value in headers.items() if name.lower() != "range"}
        if fault == "cuts bodies" and method == "PUT":
            body = body[: int(parse_qs(urlsplit(path).query)["size"][0])]
            headers = {name: value for name, value in headers.items() if name.lower() != "content-length"}
            headers["Content-Length"] = str(len(body))
        place = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
        try:
            connection.request(method, path, body or None, headers)
            got = connection.getresponse()
            reply = got.status, [(n, v) for n, v in got.getheaders() if n.lower() not in HOP_BY_HOP], got.read()
        finally:
            connection.close()
        if fault == "caches" and method == "GET" and got.status == 200:
            self.kept[path] = reply
        dropped = {
            "drops CORS headers": "access-control-",
            "hides ETag": "access-control-expose-headers",
            "drops ETag": "etag",
        }.get(fault)
        status, told, content = reply
        if dropped:
            told = [(name, value) for name, value in told if not name.lower().startswith(dropped)]
        if fault == "has another clock":
            told = [(name, value) for name, value in told if name.lower() != "date"]
            told.append(("Date", formatdate(time.time() + self.clock_off_s, usegmt=True)))
        return status, told, content

    def _handler(proxy) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - the handler has a self of its own
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
                status, told, content = proxy.pass_on(self.command, self.path, headers, body)
                self.send_response_only(status)
                for name, value in told:
                    if name.lower() != "content-length":
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_PUT = do_HEAD = do_OPTIONS = do_POST = do_DELETE = handle_any  # noqa: N815 - names of the standard library

            def log_message(self, *_: object) -> None: ...

        return Handler

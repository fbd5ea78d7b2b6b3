"""A proxy before a DynamoDB server that counts its writes, loses the reply to one, and holds back what it shall."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WRITES = ("PutItem", "UpdateItem", "DeleteItem")


class LossyDynamo:
    """Use it as a context manager. What it does may be changed at any time."""

    def __init__(self, port: int) -> None:
        """port: the server's."""
        self.writes = 0  #: that have come since the last `reset`
        self.lose: int | None = None  #: the number of the write that is done, but whose reply is lost, once
        self.before: Callable[[str, Any], None] = lambda operation, asked: None  #: called before a request is passed on
        self._guard = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                operation = self.headers["X-Amz-Target"].rsplit(".", 1)[-1]
                lost = proxy._is_lost(operation)
                proxy.before(operation, json.loads(body))
                onward = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                onward.request("POST", self.path, body, dict(self.headers))
                reply = onward.getresponse()
                told = reply.read()
                onward.close()
                if lost:
                    self.close_connection = True
                    return
                self.send_response_only(reply.status)
                for name, value in reply.getheaders():
                    if name.lower() not in ("connection", "keep-alive", "transfer-encoding", "content-length"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def reset(self, lose: int | None = None) -> None:
        with self._guard:
            self.writes, self.lose = 0, lose

    def _is_lost(self, operation: str) -> bool:
        if operation not in WRITES:
            return False
        with self._guard:
            self.writes += 1
            lost = self.writes == self.lose
            if lost:
                self.lose = None  # sent again, it goes through
            return lost

    def __enter__(self) -> LossyDynamo:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

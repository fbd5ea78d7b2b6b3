"""A gateway in front of a real S3 store that looks at nothing: no signature, length, checksum or condition.

Each request goes on to the store, signed anew; what a careful store would check is left out. Such stores exist: what
they accept is all that can be relied on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import httpx2

import servers
from reelmill.objects.sigv4 import Presigner

PASSED = ("content-type",)
REPLIED = ("content-type", "content-length", "content-range", "accept-ranges", "etag", "last-modified")


class _Key:
    access_key, secret_key, token = servers.Seaweed.access_key, servers.Seaweed.secret_key, None


class LaxGateway:
    """Use it as a context manager; `url` is its endpoint. port: 0 takes a free one. ranges: whether it knows Range.

    `arrived` are the requests that came, in order; those that `refuses` picks are answered with `refusal`.
    """

    def __init__(self, store: servers.Seaweed, port: int = 0, *, ranges: bool = True) -> None:
        self._client = httpx2.Client(timeout=30, trust_env=False)
        signer = Presigner(store.endpoint(), region=store.region, credentials=_Key)
        self.arrived: list[str] = []  #: `PUT /bucket/key?partNumber=1`, without what signs
        self.refuses: Callable[[str], bool] = lambda _: False  #: which of these
        self.refusal = 503
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler(self, signer, self._client, ranges))
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"

    @staticmethod
    def _handler(
        gateway: LaxGateway, signer: Presigner, client: httpx2.Client, ranges: bool
    ) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def forward(self) -> None:
                parts = urlsplit(self.path)
                fields = parse_qsl(parts.query, keep_blank_values=True)
                query = {name: value for name, value in fields if not name.lower().startswith("x-amz-")}
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                told = f"{self.command} {unquote(parts.path)}{'?' + urlencode(query) if query else ''}"
                gateway.arrived.append(told)
                if gateway.refuses(told):
                    self.send_response(gateway.refusal)
                    self.send_header("Content-Length", "0")
                    self.send_header("Connection", "close")
                    self.end_headers()
                    return
                passed = (*PASSED, "range") if ranges else PASSED
                headers = {name: value for name in passed if (value := self.headers.get(name))}
                url = signer.sign(self.command, unquote(parts.path), life_s=60, query=query)
                reply = client.request(self.command, url, content=body, headers=headers)
                self.send_response(reply.status_code)
                for name in REPLIED:
                    if name in reply.headers:
                        self.send_header(name, reply.headers[name])
                if "content-length" not in reply.headers:
                    self.send_header("Content-Length", str(len(reply.content)))
                self.send_header("Connection", "close")  # so that nobody is left when the gateway closes
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.content)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def __enter__(self) -> LaxGateway:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._client.close()

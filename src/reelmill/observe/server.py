"""A port for Prometheus and orchestrators, without keys: of a worker, which has no API, or of an inner network."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import structlog
from prometheus_client.exposition import ThreadingWSGIServer

from reelmill import __version__
from reelmill.errors import SettingInvalid
from reelmill.observe.metrics import Metrics

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.metrics")


class MetricsServer:
    """Answers GET `/metrics`, `/healthz` and `/readyz` from threads of its own."""

    def __init__(self, metrics: Metrics, host: str, port: int, dead: Callable[[], list[str]]) -> None:
        """port: 0 takes a free one. dead: names the parts of this process that aren't at work. Raises SettingInvalid.

        The port is taken here, and answers from `start` on.
        """
        self._metrics = metrics
        self._dead = dead
        family = _Server6 if ":" in host else _Server
        try:
            self._server = make_server(host, port, self._answer, family, handler_class=_Quiet)
        except OSError as error:
            raise SettingInvalid(
                f"REELMILL_METRICS_PORT={port}: {host} port {port} can't be bound to ({error.strerror}). "
                "Choose another; each process needs its own."
            ) from error
        self.port = int(self._server.server_port)
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)

    def start(self) -> None:
        self._thread.start()
        log.info("metrics are served", host=self._server.server_address[0], port=self.port)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(timeout=10)
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, content_type = "200 OK", "application/json"
        match environ["REQUEST_METHOD"], environ["PATH_INFO"]:
            case "GET" | "HEAD", "/metrics":
                body, content_type = self._metrics.text(environ.get("HTTP_ACCEPT", ""))
            case "GET" | "HEAD", "/healthz":
                body = json.dumps({"status": "ok", "version": __version__}).encode()
            case "GET" | "HEAD", "/readyz":
                dead = self._dead()
                status = "503 Service Unavailable" if dead else status
                body = json.dumps({"ready": not dead, "dead": dead}).encode()
            case _:
                status, body = "404 Not Found", b'{"paths": ["/metrics", "/healthz", "/readyz"]}'
        start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
        return [body] if environ["REQUEST_METHOD"] != "HEAD" else []


class _Server(ThreadingWSGIServer):
    daemon_threads = True


class _Server6(_Server):
    import socket

    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    timeout = 10  # seconds that a client may take to send its request

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: it is asked every few seconds."""

"""A collector of traces: a real HTTP server that takes OTLP as protobuf, and keeps what it was sent."""

from __future__ import annotations

import gzip
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Seen:
    """One span, as it came over the wire."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    begin_ns: int
    end_ns: int
    failed: bool
    attributes: dict[str, Any] = field(default_factory=dict)


class Collector:
    """Takes POST /v1/traces on a free port of loopback. Use it as a context manager."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.resources: list[dict[str, Any]] = []
        self._guard = threading.Lock()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                taken = self.path == "/v1/traces" and collector.take(body)
                self.send_response(200 if taken else 404)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def take(self, body: bytes) -> bool:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            spans = [told(span) for scope in resource.scope_spans for span in scope.spans]
            with self._guard:
                self.spans += spans
                self.resources.append({one.key: one.value.string_value for one in resource.resource.attributes})
        return True

    def until(self, name: str, count: int = 1, seconds: float = 60) -> list[Seen]:
        """Wait until so many spans of this name have come; return them."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = [span for span in self.spans if span.name == name]
            if len(found) >= count:
                return found
            time.sleep(0.05)
        raise AssertionError(f"{name} came less than {count} times: {sorted(span.name for span in self.spans)}")

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


def told(span: Any) -> Seen:
    values = {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in span.attributes}
    return Seen(
        span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.kind,
        span.start_time_unix_nano, span.end_time_unix_nano, span.status.code == span.status.STATUS_CODE_ERROR, values,
    )  # fmt: skip

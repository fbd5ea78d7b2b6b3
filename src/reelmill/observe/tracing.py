"""Traces by OpenTelemetry, sent by OTLP over HTTP; only this file knows of it, and imports it only when it is used.

The provider is the platform's own, not the process's: several platforms may live in one process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from reelmill import __version__
from reelmill.errors import SettingInvalid
from reelmill.jobs.ports import Span

if TYPE_CHECKING:
    from opentelemetry.context import Context

#: W3C Trace Context, version 00: trace id, parent id, flags. All zeros are no ids.
TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def valid(traceparent: str | None) -> str | None:
    """Return a client's `traceparent` if it is one."""
    return traceparent if traceparent and TRACEPARENT.fullmatch(traceparent) else None


def trace_id(trace_context: str | None) -> str | None:
    """Return the 32 hex digits that name a trace."""
    found = TRACEPARENT.fullmatch(trace_context or "")
    return found[1] if found else None


class NamedSpan(Span, Protocol):
    """A span whose name may become known later."""

    def name(self, name: str) -> None: ...


class NoSpan:
    """Nothing is traced."""

    def tell(self, **attributes: str | int) -> None:
        pass

    def name(self, name: str) -> None:
        pass


class NoTraces:
    """A tracer that hands on the client's trace and tells nobody of it."""

    @contextmanager
    def span(
        self,
        _name: str,
        /,
        *,
        trace_context: str | None = None,  # noqa: ARG002
        **_attributes: str | int,
    ) -> Iterator[NamedSpan]:
        yield NoSpan()

    def context(self) -> str | None:
        """Return the `traceparent` of what is being traced."""
        return None

    def tell(self, name: str, began_ns: int, seconds: float, **attributes: str | int) -> None:
        """Trace what has ended."""

    def stop(self) -> None:
        """Send what waits to be sent."""


class Traces:
    """A tracer that sends its spans to an OTLP collector."""

    def __init__(self, endpoint: str) -> None:
        """endpoint: of the collector, without `/v1/traces`. Raises SettingInvalid without the extra `otel`.

        Headers, time-outs, sampler and further resource attributes are taken from OpenTelemetry's own variables.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ModuleNotFoundError as error:
            raise SettingInvalid("REELMILL_OTLP_ENDPOINT needs OpenTelemetry: pip install 'reelmill[otel]'.") from error
        named = Resource.create({"service.name": "reelmill", "service.version": __version__})
        self._provider = TracerProvider(resource=named, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("reelmill", __version__)

    @contextmanager
    def span(self, name: str, /, *, trace_context: str | None = None, **attributes: str | int) -> Iterator[NamedSpan]:
        from opentelemetry.trace import SpanKind

        kind = SpanKind[str(attributes.pop("kind", "internal")).upper()]
        parent = _context_of(trace_context)
        with self._tracer.start_as_current_span(
            # What an exception says isn't scrubbed here: the log has it.
            name, parent, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:  # fmt: skip
            telling = _Telling(span)
            try:
                yield telling
            except BaseException as error:
                telling.tell(error=getattr(error, "code", type(error).__name__))
                raise

    def context(self) -> str | None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier)
        return carrier.get("traceparent")

    def tell(self, name: str, began_ns: int, seconds: float, **attributes: str | int) -> None:
        span = self._tracer.start_span(name, start_time=began_ns)
        _Telling(span).tell(**attributes)
        span.end(began_ns + int(seconds * 1e9))

    def stop(self) -> None:
        self._provider.shutdown()


class _Telling:
    def __init__(self, span: Any) -> None:
        self._span = span

    def tell(self, **attributes: str | int) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attributes(attributes)
        if "error" in attributes:
            self._span.set_status(Status(StatusCode.ERROR, str(attributes["error"])))

    def name(self, name: str) -> None:
        self._span.update_name(name)


def _context_of(trace_context: str | None) -> Context | None:
    """Return what a `traceparent` names, as OpenTelemetry wants it; None: what is being traced in this thread."""
    if trace_context is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": trace_context})

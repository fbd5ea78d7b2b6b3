"""The observer of one platform: metrics always, traces when they are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from reelmill.media.children import Ran, told_of_runs
from reelmill.observe.metrics import Metrics
from reelmill.observe.tracing import NamedSpan, NoTraces, Traces, trace_id, valid


class PlatformObserver:
    """`Observer` with Prometheus and OpenTelemetry behind it."""

    def __init__(self, metrics: Metrics, traces: Traces | NoTraces) -> None:
        self.metrics = metrics
        self.traces = traces
        self.count = metrics.count
        self.observe = metrics.observe

    @contextmanager
    def span(self, name: str, /, *, trace_context: str | None = None, **attributes: str | int) -> Iterator[NamedSpan]:
        """Trace what happens within; media programs that run in it are noted, and lines of the log get `trace_id`."""
        given = valid(trace_context)
        with self.traces.span(name, trace_context=given, **attributes) as span:
            named = trace_id(self.traces.context() or given)
            known = structlog.contextvars.bind_contextvars(trace_id=named) if named else {}
            noted = told_of_runs.set(self._note)
            try:
                yield span
            finally:
                told_of_runs.reset(noted)
                structlog.contextvars.reset_contextvars(**known)

    def _note(self, ran: Ran) -> None:
        self.observe("media_run_seconds", ran.wall_s, program=ran.program, result=ran.result)
        if ran.cpu_s:
            self.count("media_cpu_seconds", ran.cpu_s, program=ran.program)
        failed = {} if ran.result == "ok" else {"error": ran.result}
        self.traces.tell(ran.program, ran.began_ns, ran.wall_s, result=ran.result, **failed)

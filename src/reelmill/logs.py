"""Logs: structlog, one line an event; JSON for machines, text for people. Each line is scrubbed of secrets.

A line carries what is known where it is written: `correlation_id` and `trace_id` of the request, `user_id`, `tenant`,
`video_id`, `job_id`, `step`, `attempt`; and `seconds` where something ended.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from typing import Any, Literal, TextIO

import structlog

from reelmill.scrub import scrub

#: What a line begins with, so that a person finds it; the rest follows as it was told.
FIRST = (
    "job_id", "timestamp", "level", "logger", "event", "step", "attempt", "video_id", "user_id", "tenant",
    "correlation_id", "trace_id",
)  # fmt: skip
OF_PROGRAMS = ("program", "line", "result", "seconds", "cpu_s")  #: what `media` tells through the standard library
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(
    level: Literal["debug", "info", "warning", "error"] = "info",
    format: Literal["auto", "text", "json"] = "auto",
    *,
    stream: TextIO | None = None,
    secrets: Iterable[str] = (),
) -> None:
    """Send all logs, also those of libraries, to `stream` (standard error by default).

    format: `auto` is text on a terminal, else JSON. secrets: that are in use, in any form (`Settings.secrets`).
    """
    out = stream or sys.stderr
    as_text = format == "text" or (format == "auto" and out.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[structlog.typing.Processor] = (
        [
            _one_line,
            # Plain: a traceback with local variables would print keys and signed URLs.
            structlog.dev.ConsoleRenderer(
                colors=out.isatty(), sort_keys=False, exception_formatter=structlog.dev.plain_traceback
            ),
        ]
        if as_text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    known = tuple(secrets)

    def clean(_: structlog.typing.WrappedLogger, __: str, line: Any) -> str:
        return scrub(line, known)  # the renderer before it has made a text of the event

    finishing: list[structlog.typing.Processor] = [_ordered, *rendering, clean]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(OF_PROGRAMS)],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finishing],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(LEVELS[level])
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    # Its lines hold query strings, and those hold signatures; ours (reelmill.access) don't.
    logging.getLogger("uvicorn.access").disabled = True
    for name in (
        "alembic",
        "amqp",
        "asyncio",
        "boto3",
        "botocore",
        "celery",
        "httpx2",
        "httpcore2",
        "kombu",
        "multipart",
        "opentelemetry",
        "PIL",
        "requests",
        "s3transfer",
        "urllib3",
    ):
        logging.getLogger(name).setLevel(max(LEVELS[level], logging.WARNING))
    # Our own lines don't go through the standard library: its records would cost more than the line.
    structlog.configure(
        processors=[*shared, *finishing],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda name="reelmill": Lines(name, handler),
        cache_logger_on_first_use=False,
    )


class Lines:
    """Writes finished lines where a handler of the standard library writes its own, in turn with it."""

    def __init__(self, name: str, handler: logging.StreamHandler[TextIO]) -> None:
        self.name = name
        self._handler = handler

    def msg(self, line: str) -> None:
        """Write a line; that it can't be written must not become the trouble of whoever tells something."""
        with self._handler.lock or nullcontext(), suppress(OSError, ValueError):
            self._handler.stream.write(f"{line}\n")
            self._handler.stream.flush()

    debug = info = warning = error = critical = exception = msg


def _ordered(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    told = {name: value for name, value in event.items() if value is not None}
    return {name: told[name] for name in FIRST if name in told} | told


def _one_line(
    _: structlog.typing.WrappedLogger, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Escape line breaks and control characters: what a client sent can't look like a line of ours."""
    for name, value in event.items():
        if isinstance(value, str) and name != "exception" and not value.isprintable():
            event[name] = value.encode("unicode_escape").decode("ascii")
    return event

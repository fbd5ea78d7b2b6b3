"""An object store whose operations are measured, logged and traced, whichever store it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, cast

import structlog

from reelmill.errors import ObjectMissing, ReelmillError
from reelmill.jobs.ports import ObjectStore, Observer

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.storage")

#: What goes to the store, by the names of the port. Signing is arithmetic.
MULTIPART = {"begin_multipart", "list_parts", "complete_multipart", "abort_multipart"}
CALLS = {"head", "put_file", "copy", "delete", "locate", "purge_incoming", *MULTIPART}
STREAMS = frozenset(("open", "keys"))


def observed(objects: ObjectStore, observer: Observer) -> ObjectStore:
    """Return the store with an eye on it."""
    return cast(ObjectStore, _Observed(objects, observer))


class _Observed:
    """Hands everything on to the store; `CALLS` and `STREAMS` are timed."""

    def __init__(self, objects: ObjectStore, observer: Observer) -> None:
        self._objects = objects
        self._observer = observer

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._objects, name)
        if name in CALLS:
            return self._timed(name, value)
        return self._streamed(name, value) if name in STREAMS else value

    def _timed(self, operation: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self._watched(operation, str(args[0]) if args else "") as told:
                result = call(*args, **kwargs)
                if operation == "put_file":
                    told["size_bytes"] = result.size_bytes
            if operation == "put_file":
                self._observer.count("storage_bytes", result.size_bytes, direction="sent")
            return result

        return timed

    def _streamed(self, operation: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def streamed(*args: Any, **kwargs: Any) -> Iterator[Any]:
            size_bytes = 0
            began = time.monotonic()
            result = "ok"
            try:
                # No span: it would stay open for as long as the reader takes his time, and in his context.
                for piece in call(*args, **kwargs):
                    size_bytes += len(piece) if isinstance(piece, bytes) else 0
                    yield piece
            except ReelmillError as error:
                result = error.code
                raise
            finally:
                self._observer.count("storage_bytes", size_bytes, direction="read")
                self._ended(operation, str(args[0]), began, result, {"size_bytes": size_bytes})

        return streamed

    @contextmanager
    def _watched(self, operation: str, key: str) -> Iterator[dict[str, int]]:
        began = time.monotonic()
        result, told = "ok", dict[str, int]()
        try:
            with self._observer.span(f"storage {operation}", kind="client", key=key):
                yield told
        except ReelmillError as error:
            result = error.code
            raise
        except Exception as error:
            result = type(error).__name__
            raise
        finally:
            self._ended(operation, key, began, result, told)

    def _ended(self, operation: str, key: str, began: float, result: str, told: dict[str, int]) -> None:
        seconds = time.monotonic() - began
        self._observer.observe("storage_operation_seconds", seconds, operation=operation, result=result)
        if result == "ok":
            line = log.info if operation == "put_file" else log.debug
        else:
            line = log.debug if result == ObjectMissing.code else log.warning
        line("storage operation", operation=operation, key=key, result=result, seconds=round(seconds, 3), **told)

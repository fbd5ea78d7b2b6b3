"""A check, what it finds, and how many of them are made side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import structlog

from reelmill.errors import CheckTimedOut, InternalError, ReelmillError
from reelmill.jobs.model import Json

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.doctor")


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"  #: not looked at, because what it needs has failed


LOST = (Level.FAILED, Level.SKIPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check saw."""

    name: str = ""  #: of the check, stable; filled in by the Examiner, as are title and took_s
    title: str = ""
    level: Level
    detail: str
    problem: ReelmillError | None = None  #: with WARNING and FAILED: code, why and remedy
    fix: str = ""  #: a shell command to paste
    rows: Json = field(default_factory=dict)  #: to be shown below the line
    data: Json = field(default_factory=dict)  #: for machines
    mend: Callable[[], str] | None = None  #: does what `fix` says, and tells what it did
    took_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the report."""

    name: str
    title: str
    look: Callable[[], Finding]  #: a ReelmillError that it raises is a FAILED finding
    needs: tuple[str, ...] = ()  #: names of checks without which this one says nothing
    limit_s: float = 20.0  #: a check that has said nothing for so long has failed


def ok(detail: str, *, rows: Json | None = None, **data: Any) -> Finding:
    return Finding(level=Level.OK, detail=detail, rows=rows or {}, data=data)


def warned(problem: ReelmillError, *, fix: str = "", mend: Callable[[], str] | None = None, **data: Any) -> Finding:
    return Finding(level=Level.WARNING, detail=problem.detail, problem=problem, fix=fix, mend=mend, data=data)


def failed(problem: ReelmillError, *, fix: str = "", mend: Callable[[], str] | None = None, **data: Any) -> Finding:
    return Finding(level=Level.FAILED, detail=problem.detail, problem=problem, fix=fix, mend=mend, data=data)


class Examiner:
    """Makes checks side by side, each in a thread of its own. One that hangs is left behind and not begun twice."""

    def __init__(self, checks: Iterable[Check]) -> None:
        """A check may need only such as come before it."""
        self._checks = tuple(checks)
        self._at_work: dict[str, Future[Finding]] = {}

    def examine(self) -> list[Finding]:
        """Make every check whose needs are met; return what they found, in their order."""
        found: dict[str, Finding] = {}
        begun: dict[str, float] = {}
        while len(found) < len(self._checks):
            for check in self._checks:
                if check.name in begun or not all(name in found for name in check.needs):
                    continue
                begun[check.name] = time.monotonic()
                lost = [found[name].title for name in check.needs if found[name].level in LOST]
                if lost:
                    found[check.name] = _named(check, _skipped(lost[0].strip()), 0.0)
                else:
                    self._begin(check)
            open_ = [check for check in self._checks if check.name in begun and check.name not in found]
            if not open_:
                continue
            now = time.monotonic()
            left_s = min(begun[check.name] + check.limit_s - now for check in open_)
            wait([self._at_work[check.name] for check in open_], max(0.0, left_s), FIRST_COMPLETED)
            for check in open_:
                took_s = time.monotonic() - begun[check.name]
                if self._at_work[check.name].done():
                    found[check.name] = _named(check, self._at_work.pop(check.name).result(), took_s)
                elif took_s >= check.limit_s:
                    late = failed(CheckTimedOut(f"No answer within {check.limit_s:g} s."))
                    found[check.name] = _named(check, late, took_s)
        return [found[check.name] for check in self._checks]

    def _begin(self, check: Check) -> None:
        if check.name in self._at_work:
            return  # it hangs since the last time: wait for that once more
        seen: Future[Finding] = Future()
        self._at_work[check.name] = seen
        # A daemon: one that hangs for ever must not keep the process.
        threading.Thread(target=_look, args=(check, seen), name=f"check {check.name}", daemon=True).start()


def _look(check: Check, seen: Future[Finding]) -> None:
    try:
        seen.set_result(check.look())
    except ReelmillError as problem:
        seen.set_result(failed(problem))
    except BaseException as problem:  # whatever it is, the other checks go on
        log.warning("check broke", check=check.name, exc_info=True)
        seen.set_result(failed(InternalError(f"{type(problem).__name__}: {problem}")))


def _skipped(lost: str) -> Finding:
    return Finding(level=Level.SKIPPED, detail=f"not looked at: first see to {lost}")


def _named(check: Check, finding: Finding, took_s: float) -> Finding:
    return replace(finding, name=check.name, title=check.title, took_s=round(took_s, 3))

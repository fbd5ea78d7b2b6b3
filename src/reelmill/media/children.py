"""A child process that can't outlive its parent, its limits or its deadline.

Every program that touches media is started here: `ffmpeg.run` and `probe.probe` are the callers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from reelmill.errors import DeadlineExceeded, ReelmillError, ResourceLimit, Stopped, ToolMissing
from reelmill.scrub import scrub

log = logging.getLogger("reelmill.media")  # a library says nothing where nobody has asked for logs

POLL_S = 0.1  #: seconds after which a stop is seen
LOOK_S = 0.5  #: seconds between two looks at its memory
TERM_S = 3.0  #: seconds between SIGTERM and SIGKILL
TAIL_BYTES = 16 << 10  #: of stderr that are kept
NOT_STARTED = 127  #: launch.py's own exit status
LAUNCH = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Limits:
    """What one child process may use."""

    deadline_s: float = 3600.0  #: wall seconds
    cpu_s: int = 4 * 3600  #: processor seconds, all threads together; 0 = no limit
    file_size_bytes: int = 64 << 30  #: of any file that it writes; 0 = no limit
    memory_bytes: int | None = None  #: address space; None for ffmpeg, whose threads reserve far more than they use
    resident_bytes: int = 0  #: memory that it really holds, looked at twice a second; 0 = no limit


@dataclass(frozen=True)
class Ended:
    """A child that ended by itself."""

    status: int  #: exit status, or minus the signal that killed it
    cpu_s: float  #: processor seconds
    wall_s: float
    stderr_tail: str  #: at most 16 KiB


@dataclass(frozen=True)
class Ran:
    """What became of a child, for whoever keeps figures."""

    program: str  #: its name: `ffmpeg`, `probe_child`
    result: str  #: `ok`, `failed`, `killed` (by a signal), or the code of what ended it: `stopped`, `deadline_exceeded`
    began_ns: int  #: by the machine's clock
    wall_s: float
    cpu_s: float  #: processor seconds; 0 when it was ended by us


#: Is told of each child that this context ran. A context variable: several platforms may live in one process.
told_of_runs: ContextVar[Callable[[Ran], None] | None] = ContextVar("told_of_runs", default=None)


class _TooLong(Exception):
    """The deadline has passed."""


class _TooLarge(Exception):
    """The child holds more memory than it may; bytes."""


_spent: ContextVar[list[float] | None] = ContextVar("spent", default=None)


@contextlib.contextmanager
def metered() -> Iterator[Callable[[], float]]:
    """Count what children use that this thread starts meanwhile; gives a function that tells processor seconds.

    All children count, also those that were stopped or failed.
    """
    spent: list[float] = []
    token = _spent.set(spent)
    try:
        yield lambda: sum(spent)
    finally:
        _spent.reset(token)


def supervise(
    argv: Sequence[str],
    *,
    scratch: Path,
    limits: Limits,
    stop: threading.Event | None,
    on_output: Callable[[bytes], None],
) -> Ended:
    """Run a program in `scratch` until it ends; on_output gets its standard output in pieces.

    argv[0] is an absolute path. The child has its own session, an almost empty environment and no standard input.
    Whatever is raised, on_output's own errors too, the child's whole process group is gone before.
    Raises Stopped (the event was set), DeadlineExceeded, ResourceLimit (processor time, file size, memory),
    ToolMissing.
    """
    began_ns, started = time.time_ns(), time.monotonic()
    program = _program(argv)
    log.debug("program started", extra={"program": program})
    result, cpu_s = "failed", 0.0
    try:
        ended = _supervise(argv, scratch=scratch, limits=limits, stop=stop, on_output=on_output)
        result = "ok" if ended.status == 0 else "failed" if ended.status > 0 else "killed"
        cpu_s = ended.cpu_s
        for line in ended.stderr_tail.splitlines():
            log.debug("program said", extra={"program": program, "line": line})
        return ended
    except ReelmillError as problem:
        result = problem.code
        raise
    finally:
        wall_s = time.monotonic() - started
        told = {"program": program, "result": result, "seconds": round(wall_s, 3), "cpu_s": round(cpu_s, 3)}
        log.debug("program ended", extra=told)
        if (tell := told_of_runs.get()) is not None:
            tell(Ran(program, result, began_ns, wall_s, cpu_s))


def _program(argv: Sequence[str]) -> str:
    """Return what a command runs; of Python, the script."""
    scripts = [Path(word).stem for word in argv if word.endswith("_child.py")]
    name = Path(argv[0]).name
    return scripts[0] if scripts else "ffmpeg" if name.startswith("ffmpeg") else name


def _supervise(
    argv: Sequence[str],
    *,
    scratch: Path,
    limits: Limits,
    stop: threading.Event | None,
    on_output: Callable[[bytes], None],
) -> Ended:
    started = time.monotonic()
    try:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCH), *_told(limits), "--", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=scratch,
            env=_environment(scratch),
            start_new_session=True,
            close_fds=True,
        )
    except OSError as problem:
        raise ToolMissing(f"A child process can't be started: {problem}.") from problem
    tail = bytearray()
    try:
        _follow(child, tail, started + limits.deadline_s, limits.resident_bytes, stop, on_output)
    except _TooLong:
        _end_group(child, started)
        raise DeadlineExceeded(f"{Path(argv[0]).name} didn't end within {limits.deadline_s:g} s.") from None
    except _TooLarge as problem:
        _end_group(child, started)
        used = f"{problem.args[0] >> 20} MiB of memory; {limits.resident_bytes >> 20} are allowed"
        told = tail.decode("utf-8", "replace")
        raise ResourceLimit(f"{Path(argv[0]).name} held {used}.", stderr=told) from None
    except BaseException:
        _end_group(child, started)
        raise
    finally:
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
    ended = _end_group(child, started, tail)
    if ended.status == NOT_STARTED:
        raise ToolMissing(f"{argv[0]} can't be started: {ended.stderr_tail.strip()}.")
    if -ended.status in (signal.SIGXCPU, signal.SIGXFSZ):
        used = "processor time" if -ended.status == signal.SIGXCPU else "file size"
        raise ResourceLimit(f"{Path(argv[0]).name} reached its limit of {used}.", stderr=ended.stderr_tail)
    # ffmpeg takes SIGXCPU for a polite request and may still be at work when SIGKILL follows.
    if ended.status != 0 and limits.cpu_s and ended.cpu_s >= limits.cpu_s - 0.1:
        used = f"{ended.cpu_s:.0f} s of processor time"
        raise ResourceLimit(f"{Path(argv[0]).name} used {used}.", stderr=ended.stderr_tail)
    return ended


def _told(limits: Limits) -> list[str]:
    return [str(os.getpid()), str(limits.cpu_s), str(limits.file_size_bytes), str(limits.memory_bytes or 0)]


def _environment(scratch: Path) -> dict[str, str]:
    # Nothing of the server's own: its secrets live there.
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": str(scratch), "TMPDIR": str(scratch), "NO_COLOR": "1"}


def _follow(
    child: subprocess.Popen[bytes],
    tail: bytearray,
    deadline: float,
    resident_bytes: int,
    stop: threading.Event | None,
    on_output: Callable[[bytes], None],
) -> None:
    """Read both pipes until they are closed and the child has ended."""
    look_at = time.monotonic() + LOOK_S

    def keep(piece: bytes) -> None:
        tail.extend(piece)
        del tail[:-TAIL_BYTES]

    with selectors.DefaultSelector() as ready:
        for pipe, take in ((child.stdout, on_output), (child.stderr, keep)):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            ready.register(pipe, selectors.EVENT_READ, take)
        gone = False
        while not gone:
            if stop is not None and stop.is_set():
                raise Stopped
            if time.monotonic() > deadline:
                raise _TooLong
            if resident_bytes and time.monotonic() > look_at:
                look_at = time.monotonic() + LOOK_S
                if (held := resident(child.pid)) > resident_bytes:
                    raise _TooLarge(held)
            if ready.get_map():
                _read(ready)
            else:
                time.sleep(0.005)  # both pipes are closed: the end is a moment away
            gone = _is_dead(child.pid)
        while ready.get_map() and _read(ready, wait_s=0):
            pass  # what was left in the pipes


def _read(ready: selectors.BaseSelector, wait_s: float = POLL_S) -> bool:
    """Hand on what has come. Return whether anything had."""
    events = ready.select(wait_s)
    for key, _ in events:
        pipe: IO[bytes] = key.fileobj  # type: ignore[assignment]
        piece = os.read(pipe.fileno(), 1 << 16)
        if piece:
            key.data(piece)
        else:
            ready.unregister(pipe)
    return bool(events)


def resident(pid: int) -> int:
    """Return how many bytes of memory a process holds; 0 where the system doesn't tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _is_dead(pid: int) -> bool:
    """Return whether the child has ended, without reaping it: until then its group's number can't be reused."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end_group(child: subprocess.Popen[bytes], started: float, tail: bytes | bytearray = b"") -> Ended:
    """Make sure that nothing of the child's group is left, and reap it."""
    if not _is_dead(child.pid):
        _signal(child.pid, signal.SIGTERM)
        last = time.monotonic() + TERM_S
        while not _is_dead(child.pid) and time.monotonic() < last:
            time.sleep(0.01)
    _signal(child.pid, signal.SIGKILL)  # the child too, if it didn't listen, and whatever it started
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    cpu_s = used.ru_utime + used.ru_stime
    spent = _spent.get()
    if spent is not None:
        spent.append(cpu_s)
    return Ended(
        status=child.returncode,
        cpu_s=cpu_s,
        wall_s=time.monotonic() - started,
        # It goes into records and errors, and programs repeat the addresses that they were given.
        stderr_tail=scrub(bytes(tail).decode("utf-8", "replace")),
    )


def _signal(group: int, number: int) -> None:
    # macOS answers EPERM for a group of which only the dead leader is left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)

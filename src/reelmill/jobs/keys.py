"""Object keys: what lies where in storage. Made of ids that we made, never of anything that a user wrote."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from reelmill.jobs.model import Claim, Job

_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]{1,200}"
PLAIN = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
LONGEST = 512  #: characters of a key
FENCED = re.compile(r"-r(?P<run>\d+)a(?P<attempt>\d+)(\.[A-Za-z0-9]+)?$")


def source_key(tenant: str, video_id: str) -> str:
    """Return the key of an uploaded source; other kinds replace `/original/` by theirs."""
    return f"{tenant}/original/{video_id}/source"


def font_key(tenant: str, file: str) -> str:
    """Return the key of an uploaded font. file: `{id}.{sha256}`, so that no two uploads share an object."""
    return f"{tenant}/fonts/{file}"


def may_be_source(tenant: str, key: str) -> bool:
    """Tell whether a source of this tenant may lie under a key that a user wrote: below its `original/` only."""
    return len(key) <= LONGEST and key.startswith(f"{tenant}/original/") and PLAIN.fullmatch(key) is not None


def output_prefix(job: Job) -> str:
    """Return the prefix under which all outputs of a job lie."""
    return f"{job.tenant}/outputs/{job.id}/"


def beside_prefix(job: Job, source: str) -> str:
    """Return the prefix of what takes a source's place: `…/original/7/door.mp4` → `…/proxy/7/door/{job}/`."""
    path = PurePosixPath(source.removeprefix(f"{job.tenant}/original/"))
    return f"{job.tenant}/proxy/{path.with_suffix('')}/{job.id}/"


def output_prefixes(job: Job, source: str) -> tuple[str, str]:
    """Return all prefixes under which files of a job may lie. source: the key of its video's source."""
    return output_prefix(job), beside_prefix(job, source)


def output_key(claim: Claim, name: str, *, beside_source: bool = False) -> str:
    """Return the key of an output of this very attempt: a stale worker can't overwrite a newer one's."""
    path = PurePosixPath(name)
    step = claim.step
    fenced = f"{path.stem}-r{claim.run}a{claim.attempt}{path.suffix}"
    if beside_source:
        return beside_prefix(claim.job, claim.video.key) + fenced
    return f"{output_prefix(claim.job)}{step.stage}/{step.index}/{fenced}"


def is_beside(key: str) -> bool:
    """Tell whether an output lies where `beside_prefix` has it."""
    return key.split("/")[1] == "proxy"


def job_of(key: str) -> str | None:
    """Return the id of the job that an output key belongs to; None for any other key."""
    parts = key.split("/")
    if len(parts) > 3 and parts[1] == "outputs":
        return parts[2]
    return parts[-2] if len(parts) > 4 and parts[1] == "proxy" else None


def run_of(key: str) -> int:
    """Return the run that an output key belongs to; 0 for a key that isn't fenced."""
    found = FENCED.search(key)
    return int(found["run"]) if found else 0

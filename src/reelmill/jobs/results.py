"""What a job's files are to those who take them: which are films, in which quality, and which picture stands for them.

Pure: it looks at artifacts' rows, never into files. Kinds with a meaning here: `rendition`, `proxy`, `clip` (films);
`hls_master`, `hls_media`, `hls_segment` (a stream); `poster`, `thumbnail` (pictures).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reelmill.errors import NotFound
from reelmill.jobs.lifecycle import Status
from reelmill.jobs.model import Artifact, Job

MASTER, MEDIA, SEGMENT = "hls_master", "hls_media", "hls_segment"
PLAYLISTS = (MASTER, MEDIA)
PICTURES = ("poster", "thumbnail", "contact_sheet", "timeline")  #: in this order the first of these stands for the job


def has_results(job: Job) -> bool:
    """Tell whether a job's files may be taken: all are made, if they may still wait in a spool to be stored."""
    return job.status is Status.COMPLETED or job.storing


def quality(artifact: Artifact) -> str | None:
    """Return the level that a film has: its own name for it, else `720p` by its shorter side; None when unknown."""
    named = artifact.meta.get("quality")
    if isinstance(named, str) and named:
        return named
    return level(number(artifact, "width"), number(artifact, "height"))


def level(width: float | None, height: float | None) -> str | None:
    """Return `720p` for 1280 × 720 and for 720 × 1280 pixels."""
    sides = [side for side in (width, height) if side]
    return f"{min(sides):.0f}p" if sides else None


def number(artifact: Artifact, *names: str) -> float | None:
    """Return the first of these that the artifact's `meta` tells; pipelines may be anybody's, and tell anything."""
    for name in names:
        value = artifact.meta.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return value
    return None


def films(artifacts: Sequence[Artifact]) -> list[Artifact]:
    """Return what can be played as one file: the results, or without any what supports them."""
    playable = [one for one in artifacts if one.content_type.startswith("video/") and one.kind != SEGMENT]
    return [one for one in playable if one.primary] or playable


def best(artifacts: Sequence[Artifact]) -> Artifact | None:
    """Return the film with the most lines, the first of several; None when there is none."""
    return max(films(artifacts), key=_height, default=None)


def followed(artifacts: Sequence[Artifact]) -> list[Artifact]:
    """Return the results that a following job runs on: each clip; of films that show the same, in sizes, the best."""
    playable = [one for one in films(artifacts) if one.primary]
    clips = [one for one in playable if one.kind == "clip"]
    return clips or [one for one in (best(playable),) if one is not None]


def _height(artifact: Artifact) -> float:
    return number(artifact, "height") or 0.0


def by_quality(artifacts: Sequence[Artifact]) -> dict[str, Artifact]:
    """Return the films by quality; by their names when several have one quality, as clips have."""
    playable = films(artifacts)
    levels = [quality(one) for one in playable]
    if None in levels or len(set(levels)) < len(levels):
        return {one.name: one for one in playable}
    return {str(name): one for name, one in zip(levels, playable, strict=True)}


def picture(artifacts: Sequence[Artifact]) -> Artifact | None:
    """Return the picture that stands for the job; None when it has none."""
    shown = [one for one in artifacts if one.kind in PICTURES and one.content_type.startswith("image/")]
    return min(shown, key=lambda one: PICTURES.index(one.kind), default=None)


def named(artifacts: Sequence[Artifact], name: str) -> Artifact:
    """Return the artifact of this name or id. Raises NotFound."""
    for one in artifacts:
        if name in (one.id, one.name):
            return one
    names = ", ".join(one.name for one in artifacts[:20]) or "none yet"
    raise NotFound(f"The job has no artifact {name!r}; it has: {names}.")


def of_kind(artifacts: Sequence[Artifact], kind: str) -> Artifact | None:
    return next((one for one in artifacts if one.kind == kind), None)


def text_of(artifact: Artifact, name: str) -> str | None:
    value: Any = artifact.meta.get(name)
    return value if isinstance(value, str) else None

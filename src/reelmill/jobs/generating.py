"""Videos that aren't there yet: what they are made of, and how they become videos like any other.

Such a video has, in the place of a probe, `{"generated": pipeline, "media": {video_id: its probe and key}}`, until its
job's last stage stores the film where an upload's source lies, and records its probe.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel

from reelmill.errors import ParamsInvalid
from reelmill.jobs.files import sha256_of
from reelmill.jobs.material import media_of
from reelmill.jobs.model import Caller, Json, Video
from reelmill.jobs.planning import Planner
from reelmill.jobs.ports import JobStore, ObjectStore, Pipeline

UNFIT = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def generation(
    planner: Planner, store: JobStore, caller: Caller, pipeline: str, params: Json
) -> tuple[Pipeline, BaseModel, Json]:
    """Return a pipeline that makes videos, its parameters, and in the place of a probe what it works on.

    Raises PipelineUnknown, ParamsInvalid; NotFound, UploadNeeded or SourceGone for a video that it is made of.
    """
    chosen = planner.pipeline(pipeline)
    named = getattr(chosen, "video_ids", None)
    if named is None:
        raise ParamsInvalid(f"{pipeline} works on a video that is there: upload it first.")
    checked = planner.checked(chosen, params)
    return chosen, checked, {"generated": chosen.name, "media": media_of(store, caller.tenant, named(checked))}


def filename_of(title: str) -> str:
    """Return a file name for a film's title."""
    return f"{UNFIT.sub(' ', title).strip(' .') or 'film'}.mp4"


def become(store: JobStore, objects: ObjectStore, video: Video, path: Path, source: Json) -> None:
    """Make a checked MP4 a generated video's source; repeatable. source: its probe. Raises StorageProblem."""
    size_bytes, sha256 = path.stat().st_size, sha256_of(path)
    objects.put_file(video.key, path, content_type="video/mp4", sha256=sha256)
    told = {**(video.source or {}), **source, "identity": f"sha256:{sha256}"}
    store.became(video.id, source=told, size_bytes=size_bytes, sha256=sha256)

"""What follows a completed job: each entry of its `then` becomes a job on what it made.

A follower runs on each result of the job before: on each clip, else on the best film; a job that makes no film, as an
analysis, is followed on its own video. A result that is followed becomes a video of its own by a copy within the store:
either may be deleted without the other.

Following is one repeatable step after the end: the ids of what it makes are made of the job's id, whatever is there
already stays as it is, and a last guarded write says that it is done. Whoever ends a job does it; the sweeper finds
what a crash has left. So each follower is made once.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog

from reelmill.errors import (
    DatabaseUnavailable,
    InternalError,
    NotFound,
    ParamsInvalid,
    ReelmillError,
    StorageDenied,
    StorageUnavailable,
    TransitionRefused,
)
from reelmill.jobs.files import Files
from reelmill.jobs.keys import source_key
from reelmill.jobs.lifecycle import Status, UploadStatus
from reelmill.jobs.model import Artifact, Job, Json, Located, Video
from reelmill.jobs.planning import Planner, stages_of
from reelmill.jobs.ports import JobStore, NewJob, NewVideo
from reelmill.jobs.results import followed

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.chain")

DEEPEST = 4  #: jobs after the first, one after the other
MOST = 16  #: entries of one job, with those of its followers
COMES_AGAIN = (DatabaseUnavailable, StorageUnavailable, StorageDenied)


def checked(planner: Planner, then: Sequence[Json], tenant: str) -> tuple[Json, ...]:
    """Return what shall follow a job as it is stored: `{pipeline, params, reuse, then}`, every default filled in.

    Raises PipelineUnknown, ParamsInvalid with each fault's place (`then.0.params.…`), also for too many or too deep.
    """
    if (many := _count(then)) > MOST:
        raise _too_long(f"{many} jobs would follow; at most {MOST} may.")
    if (deep := _depth(then)) > DEEPEST:
        raise _too_long(f"{deep} jobs would follow one after the other; at most {DEEPEST} may.")
    return tuple(_checked(planner, one, f"then.{number}", tenant) for number, one in enumerate(then))


def _checked(planner: Planner, one: Json, where: str, tenant: str) -> Json:
    pipeline = planner.pipeline(one["pipeline"])
    try:
        params = planner.checked(pipeline, one.get("params") or {}, tenant)
    except ParamsInvalid as invalid:
        faults = invalid.extra.get("errors", [])
        errors = [{**fault, "field": f"{where}.params.{fault['field']}".rstrip(".")} for fault in faults]
        raise ParamsInvalid(f"{where} ({pipeline.name}): {invalid.detail}", errors=errors) from invalid
    then = [_checked(planner, each, f"{where}.then.{n}", tenant) for n, each in enumerate(one.get("then") or ())]
    told = {"pipeline": pipeline.name, "params": params.model_dump(mode="json")}
    return {**told, "reuse": one.get("reuse", True), "then": then}


def _too_long(detail: str) -> ParamsInvalid:
    return ParamsInvalid(detail, errors=[{"field": "then", "message": detail}])


def _count(then: Sequence[Json]) -> int:
    return sum(1 + _count(one.get("then") or ()) for one in then)


def _depth(then: Sequence[Json]) -> int:
    return max((1 + _depth(one.get("then") or ()) for one in then), default=0)


def pipelines_of(then: Sequence[Json]) -> set[str]:
    """Return the names of all pipelines that shall follow."""
    return {str(one["pipeline"]) for one in then} | {name for one in then for name in pipelines_of(one["then"])}


class Chain:
    """Starts what follows completed jobs."""

    def __init__(
        self,
        *,
        store: JobStore,
        files: Files,
        planner: Planner,
        probe: Callable[[Located, bool], Json],
        upload_ttl_s: float,
    ) -> None:
        """upload_ttl_s: a result that hasn't become a video by then is given up, as an upload would be."""
        self.store = store
        self.files = files
        self.planner = planner
        self.probe = probe
        self.upload_ttl_s = upload_ttl_s

    def follow(self, job: Job) -> None:
        """Start what follows a job, if it is completed and that wasn't done before. Repeatable; never raises.

        What can't be started now, because database or storage are away, is left to the sweeper.
        """
        if job.status is not Status.COMPLETED or not job.then or job.followed_at is not None:
            return
        try:
            results = followed(self.store.artifacts(job.id))
            told = [self._started(job, number, one, results) for number, one in enumerate(job.then)]
            self.store.followed(job.id, told)
        except COMES_AGAIN as problem:
            log.warning("following put off", job_id=job.id, code=problem.code, detail=problem.detail)

    def _started(self, job: Job, number: int, one: Json, results: Sequence[Artifact]) -> Json:
        """Start one entry; return it with the ids of its jobs and why there are no more of them."""
        jobs: list[str] = []
        told: dict[str, Any] = {**one, "jobs": jobs}
        try:
            runs_on: Sequence[Artifact | None] = results or [None]
            for result in runs_on:
                jobs.append(self._job(job, number, one, result))
        except COMES_AGAIN:
            raise
        except ReelmillError as problem:
            told |= {"code": problem.code, "detail": problem.detail}
        except Exception as defect:  # it would come again with every sweep
            log.exception("following failed unexpectedly", job_id=job.id)
            told |= {"code": InternalError.code, "detail": f"{type(defect).__name__}: {defect}"}
        log.info("job followed", job_id=job.id, pipeline=one["pipeline"], jobs=jobs, code=told.get("code"))
        return told

    def _job(self, job: Job, number: int, one: Json, result: Artifact | None) -> str:
        """Return the id of the follower on one result, None: on the job's own video; made now unless it is there."""
        job_id = _id(job, f"then {number} {result.name if result is not None else ''}")
        with suppress(NotFound):
            return self.store.job(job_id).id
        video = self.store.video(job.video_id) if result is None else self._video(job, result)
        source = video.source or {}
        pipeline = self.planner.pipeline(one["pipeline"])
        params = self.planner.checked(pipeline, one["params"])
        self.planner.previewed(pipeline, params, video.source)
        opening = self.planner.first_stage(pipeline, params, source, job.tenant)
        new = NewJob(
            id=job_id,
            video_id=video.id,
            tenant=job.tenant,
            user_id=job.user_id,
            pipeline=pipeline.name,
            pipeline_version=pipeline.version,
            params=params.model_dump(mode="json"),
            stages=stages_of(pipeline, params),
            priority=job.priority,
            correlation_id=job.correlation_id,
            trace_context=job.trace_context,
            reuse=one["reuse"],
            then=tuple(one["then"]),
            follows=job.id,
        )
        self.planner.begin(self.store.add_job(new, opening), opening)
        return job_id

    def _video(self, job: Job, result: Artifact) -> Video:
        """Return the video that a result becomes: its row first, so that no object is without one."""
        video_id = _id(job, f"video {result.name}")
        try:
            video = self.store.video(video_id)
        except NotFound:
            new = NewVideo(
                id=video_id,
                tenant=job.tenant,
                user_id=job.user_id,
                filename=result.name,
                content_type=result.content_type,
                size_bytes=result.size_bytes,
                sha256=result.sha256,
                key=source_key(job.tenant, video_id),
                labels=dict(self.store.video(job.video_id).labels),
                upload_ttl_s=self.upload_ttl_s,
            )
            video, _ = self.store.add_video(new)
        if video.upload_status in (UploadStatus.AWAITING, UploadStatus.EXPIRED):
            self.files.objects.copy(
                result.key, video.key, size_bytes=result.size_bytes, content_type=result.content_type,
                sha256=result.sha256,
            )  # fmt: skip
            known = {"identity": f"sha256:{result.sha256}", "filename": video.filename}
            source = {**self.probe(self.files.objects.locate(video.key), False), **known}
            with suppress(TransitionRefused):  # somebody else was faster
                self.store.uploaded(video_id, source, None, None)
            video = self.store.video(video_id)
        return video


def _id(job: Job, what: str) -> str:
    """Return an id that is the same whoever makes it: as random as the job's own, and of the same form."""
    return str(uuid.UUID(bytes=hashlib.sha256(f"{job.id} {what}".encode()).digest()[:16], version=4))


def ended_before(job: Job) -> str | None:
    """Return why what should follow a job won't start, as it stands; None while it may, or was started."""
    if job.status is Status.FAILED:
        return f"The job before it failed: {job.error_code}."
    return "The job before it was cancelled." if job.status is Status.CANCELLED else None


def follower_of(one: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """Return what users see of an entry: its state, the ids of its jobs, and why it wasn't started."""
    jobs, why = list(one.get("jobs", ())), one.get("detail")
    if job.followed_at is None:
        why = ended_before(job)
        status = "not_started" if why else "waiting"
    else:
        status = "started" if jobs else "not_started"
    return {
        "pipeline": one["pipeline"],
        "params": one["params"],
        "reuse": one["reuse"],
        "then": one["then"],
        "status": status,
        "job_id": jobs[0] if jobs else None,
        "job_ids": jobs,
        "why": f"{one['code']}: {why}" if one.get("code") else why,
    }

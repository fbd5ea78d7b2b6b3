"""What happens to a job's item: pure functions, each run within one guarded write of the job.

They change the item that they are given and return the events. None means that nothing is to be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from reelmill.errors import NotFound, TransitionRefused
from reelmill.jobs.lifecycle import (
    CLAIMABLE,
    ENDED,
    UPLOAD_ERRORS,
    Event,
    Status,
    StepEvent,
    StepStatus,
    progress_pct,
    sources,
    target,
)
from reelmill.jobs.ports import Failure, Opening
from reelmill.stores.dynamo.core import Events
from reelmill.stores.dynamo.items import Item, open_stage, plan_of
from reelmill.stores.moves import warning_of


def guard(job: Item, event: Event, run: int | None) -> None:
    """See that the job may take the event, in this run. Raises TransitionRefused."""
    if job["status"] not in sources(event) or (run is not None and run != job["run"]):
        raise TransitionRefused(
            f"The job is {job['status']} (run {job['run']}), which doesn't allow '{event}'.", status=job["status"]
        )


def takes_upload(job: Item) -> bool:
    """Whether a verified upload queues this job."""
    return job["status"] == Status.AWAITING_UPLOAD or (
        job["status"] == Status.FAILED and job["error_code"] in UPLOAD_ERRORS
    )


def leave_work(job: Item) -> None:
    """Mark that steps or the video must follow this change: `settle` sees to it, and then takes the mark away."""
    job["due"] = job["version"]


def queue(job: Item, stage: str, steps: int, plan: str, at: datetime) -> Events | None:
    """Queue a job whose upload was recorded. One that was cancelled just then keeps the steps, for its retry."""
    if not takes_upload(job) and not (job["status"] == Status.CANCELLED and job["stage"] is None):
        return None  # it was done before
    job["epoch"] += 1
    open_stage(job, stage, steps, plan)
    leave_work(job)
    if job["status"] == Status.CANCELLED:
        return []
    job.update(
        status=target(Event.UPLOADED), message="Queued", error_code=None, error_detail=None, queued_at=at,
        completed_at=None, swept_at=None,
    )  # fmt: skip
    return [("job.queued", {"stage": stage, "steps": steps})]


def fail_waiting(job: Item, failure: Failure, at: datetime) -> Events | None:
    """Fail a job that waits for its upload, also again; leave any other job as it is."""
    return _fail(job, failure, at) if takes_upload(job) else None


def start(job: Item, at: datetime) -> Events | None:
    """Move a queued job to running, by its run's first claim."""
    if job["status"] != Status.QUEUED:
        return None
    job.update(status=target(Event.CLAIM), started_at=job["started_at"] or at, message="Running")
    return [("job.started", {"run": job["run"]})]


def next_stage(job: Item, run: int, after: str, opening: Opening) -> Events | None:
    """Begin a stage, unless that was done before."""
    if job["run"] != run or job["stage"] != after or job["status"] not in CLAIMABLE or is_open(job):
        return None
    open_stage(job, opening.stage, len(opening.specs), plan_of(opening))
    leave_work(job)
    reach(job)
    return [("stage.opened", {"stage": opening.stage, "steps": len(opening.specs)})]


def outbid(job: Item, _: datetime, *, before: tuple[int, int]) -> Events | None:
    """Let whoever else planned an opening of the job as it was `before` (epoch, redos) come too late with it."""
    if (job["epoch"], job["redos"]) != before:
        return None
    job["redos"] += 1
    return []


def is_open(job: Item) -> bool:
    """Whether a step of the present stage is open, as far as the job was told."""
    return bool(job["steps_done"] < job["steps_planned"])


def finish(job: Item, run: int | None, keys: list[str], at: datetime) -> Events:
    guard(job, Event.FINISH, run)
    if is_open(job):
        raise TransitionRefused(f"The job has open steps, which doesn't allow '{Event.FINISH}'.", status=job["status"])
    if job["spooled"]:
        raise TransitionRefused(f"Files wait in a spool, which doesn't allow '{Event.FINISH}'.", status=job["status"])
    job.update(
        status=target(Event.FINISH), progress_pct=100.0, message="Completed", started_at=job["started_at"] or at,
        completed_at=at, output_s3_keys=keys,
    )  # fmt: skip
    return [("job.completed", {})]


def fail(job: Item, run: int | None, failure: Failure, at: datetime) -> Events:
    guard(job, Event.FAIL, run)
    leave_work(job)
    return _fail(job, failure, at)


def _fail(job: Item, failure: Failure, at: datetime) -> Events:
    job.update(
        status=target(Event.FAIL), error_code=failure.code, error_detail=failure.detail, message=failure.detail,
        completed_at=at,
    )  # fmt: skip
    return [("job.failed", {"code": failure.code, "detail": failure.detail})]


def cancel(job: Item, run: int | None, at: datetime) -> Events:
    guard(job, Event.CANCEL, run)
    job.update(status=target(Event.CANCEL), message="Cancelled", completed_at=at)
    leave_work(job)
    return [("job.cancelled", {})]


def retry(job: Item, run: int | None, steps: Iterable[Item], opening: Opening | None, at: datetime) -> Events:
    """Begin a new run. steps: of the job, all of them closed. opening: its first stage, if it had none yet."""
    guard(job, Event.RETRY, run)
    mine = [step for step in steps if step["stage"] == job["stage"]]
    taken_back = {
        warning_of(step["kind"], step["index"], step["error_detail"])
        for step in mine
        if step["optional"] and step["status"] in (StepStatus.FAILED, StepStatus.CANCELLED)
    }
    job.update(
        status=target(Event.RETRY), run=job["run"] + 1, epoch=job["epoch"] + 1, error_code=None, error_detail=None,
        message="Queued again", queued_at=at, started_at=None, completed_at=None, swept_at=None, progress_pct=0.0,
        steps_done=sum(step["status"] == StepStatus.DONE for step in mine), live={},
        warnings=[warning for warning in job["warnings"] if warning not in taken_back],
    )  # fmt: skip
    if opening is not None:
        open_stage(job, opening.stage, len(opening.specs), plan_of(opening))
    leave_work(job)
    reach(job)
    return [("job.retried", {})]


def set_priority(job: Item, priority: int, tenant: str | None) -> Events:
    """Let the job's steps be claimed earlier or later; `settle` sorts those that are ready."""
    if tenant not in (None, job["tenant"]):
        raise NotFound(f"There is no job {job['id']}.")
    if job["status"] in ENDED:
        raise TransitionRefused(
            f"The job is {job['status']}: its priority has no meaning any more.", status=job["status"]
        )
    job.update(priority=priority, sorting=job["sorting"] + 1)
    leave_work(job)
    return [("job.priority", {"priority": priority})]


def store(job: Item, artifact: Item) -> Events:
    """Count a file of the spool as stored; `settle` notes it on the artifact."""
    job.update(spooled=job["spooled"] - 1, moving={**(job["moving"] or {}), artifact["sk"]: artifact["id"]})
    leave_work(job)
    return [("artifact.stored", {"name": artifact["name"]})]


def redo(job: Item, step: Item, lost: Item, steps: Sequence[Item], left: int) -> Events:
    """Go back to a done step whose file was lost; `settle` frees it, and removes what was planned from it.

    steps: all of the job, as they are while the job is like this. left: files in spools that are of other steps.
    """
    mine = [one for one in steps if one["stage"] == step["stage"]]
    closed = [one for one in mine if one["status"] == StepStatus.DONE or (one["status"] == StepStatus.FAILED)]
    if step["stage"] != job["stage"]:  # a stage was left when all its ends were told
        job.update(stage=step["stage"], live={}, folded={str(one["index"]): one["attempt"] for one in mine})
        job.update(steps_planned=len(mine), steps_done=len(closed), opened=step["gen"], plan=step["plan"])
    job["steps_done"] -= 1
    job["redos"] += 1
    job.update(
        spooled=left,
        redo={"no": job["redos"], "stage_no": step["stage_no"], "step": step["sk"], "attempt": step["attempt"]},
    )
    leave_work(job)
    return [("step.redo", {"step": step["id"], "lost": lost["name"]})]


def is_told(job: Item, step: Item) -> bool:
    """Whether the job knows of the end of the step's present attempt. A stage is left only when it knows of all."""
    return bool(step["stage"] != job["stage"] or job["folded"].get(str(step["index"]), 0) >= step["attempt"])


def tell(job: Item, step: Item, at: datetime) -> Events | None:
    """Let the job know of the end of a step's attempt: the one place where steps become counts, warnings and events."""
    if is_told(job, step):
        return None
    end: Mapping[str, Any] = step["end"]
    number = str(step["index"])
    job["folded"][number] = step["attempt"]
    job["live"].pop(number, None)
    told: dict[str, Any] = {"step": step["id"], "attempt": step["attempt"]}
    if end["code"] is not None:
        told |= {"code": end["code"], "detail": end["detail"]}
    events: Events = [(SAID_OF[end["event"]], told)]
    if end["event"] == StepEvent.RELEASE and end["detail"] and job["status"] not in ENDED:
        job["message"] = end["detail"]  # what it waits for
    if step["status"] == StepStatus.DONE:
        job["steps_done"] += 1
        job["spooled"] += end["spooled"]
        job["warnings"] = [*job["warnings"], *end["warnings"]]
        if end["message"] and job["status"] not in ENDED:
            job["message"] = end["message"]
    elif step["status"] == StepStatus.FAILED:
        worn = Failure(**end["worn"]) if end["worn"] else Failure(end["code"], end["detail"])
        if step["optional"]:
            job["steps_done"] += 1
            job["warnings"] = [*job["warnings"], warning_of(step["kind"], step["index"], worn.detail)]
        elif job["status"] in CLAIMABLE:
            events += fail(job, None, worn, at)
    if job["status"] in CLAIMABLE:
        reach(job)
    return events


SAID_OF = {
    StepEvent.FINISH: "step.done",
    StepEvent.FAIL: "step.failed",
    StepEvent.AGAIN: "step.again",
    StepEvent.CRASH: "step.crashed",
    StepEvent.RELEASE: "step.released",
}


def reach(job: Item) -> None:
    """Set the progress: never lower than it was."""
    reached = progress_pct(
        job["stages"],
        job["stage"],
        done=job["steps_done"],
        planned=job["steps_planned"],
        running=sum(job["live"].values()),
    )
    job["progress_pct"] = max(reached, job["progress_pct"])

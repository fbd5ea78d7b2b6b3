"""The lifecycle of jobs and steps: two tables, and nothing else decides a status.

A store turns an edge into one guarded write (`UPDATE … WHERE status IN (sources) … RETURNING *`).
To add a status, add it here; the contract suite and the docs follow.

    awaiting_upload --uploaded--> queued --claim--> running --finish--> completed
       |  \\--fail--> failed(upload_*) --uploaded--> queued
       \\--cancel--> cancelled    queued|running --fail--> failed    failed|cancelled --retry--> queued
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from reelmill.errors import TransitionRefused


class Status(StrEnum):
    """Where a job stands. The stage is a field beside it, not a status."""

    AWAITING_UPLOAD = "awaiting_upload"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """What can happen to a job."""

    UPLOADED = "uploaded"
    CLAIM = "claim"
    FINISH = "finish"
    FAIL = "fail"
    CANCEL = "cancel"
    RETRY = "retry"


class StepStatus(StrEnum):
    """Where a step stands."""

    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepEvent(StrEnum):
    """What can happen to a step."""

    CLAIM = "claim"
    FINISH = "finish"
    AGAIN = "again"  #: a charged error that may be tried again
    CRASH = "crash"  #: a lost lease or a dead media child
    RELEASE = "release"  #: handed back uncharged: shutdown, restart
    FAIL = "fail"
    CANCEL = "cancel"
    RETRY = "retry"  #: its job was retried
    REDO = "redo"  #: a file that it made was lost before it was stored


class Processing(StrEnum):
    """A video's `processing_status`, moved in the same transaction as its driver job."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


class UploadStatus(StrEnum):
    """Where a video's source stands."""

    AWAITING = "awaiting"
    UPLOADED = "uploaded"
    REJECTED = "rejected"  #: not_a_video, not_a_picture, media_rejected: this id can't be uploaded to again
    EXPIRED = "expired"  #: not completed in time; it may still be
    ABORTED = "aborted"  #: by its user
    GONE = "gone"  #: it was uploaded; its time is over and the source was removed


TRANSITIONS: Final[dict[tuple[Status, Event], Status]] = {
    (Status.AWAITING_UPLOAD, Event.UPLOADED): Status.QUEUED,
    (Status.FAILED, Event.UPLOADED): Status.QUEUED,  # only after UPLOAD_ERRORS, see below
    (Status.QUEUED, Event.CLAIM): Status.RUNNING,
    (Status.RUNNING, Event.FINISH): Status.COMPLETED,
    (Status.QUEUED, Event.FINISH): Status.COMPLETED,  # retried when every step was done: nothing is left to claim
    (Status.AWAITING_UPLOAD, Event.FAIL): Status.FAILED,
    (Status.QUEUED, Event.FAIL): Status.FAILED,
    (Status.RUNNING, Event.FAIL): Status.FAILED,
    (Status.AWAITING_UPLOAD, Event.CANCEL): Status.CANCELLED,
    (Status.QUEUED, Event.CANCEL): Status.CANCELLED,
    (Status.RUNNING, Event.CANCEL): Status.CANCELLED,
    (Status.FAILED, Event.RETRY): Status.QUEUED,
    (Status.CANCELLED, Event.RETRY): Status.QUEUED,
}

STEP_TRANSITIONS: Final[dict[tuple[StepStatus, StepEvent], StepStatus]] = {
    (StepStatus.READY, StepEvent.CLAIM): StepStatus.RUNNING,
    (StepStatus.RUNNING, StepEvent.FINISH): StepStatus.DONE,
    (StepStatus.RUNNING, StepEvent.AGAIN): StepStatus.READY,
    (StepStatus.RUNNING, StepEvent.CRASH): StepStatus.READY,
    (StepStatus.RUNNING, StepEvent.RELEASE): StepStatus.READY,
    (StepStatus.RUNNING, StepEvent.FAIL): StepStatus.FAILED,
    (StepStatus.RUNNING, StepEvent.CANCEL): StepStatus.CANCELLED,
    (StepStatus.READY, StepEvent.CANCEL): StepStatus.CANCELLED,
    (StepStatus.FAILED, StepEvent.RETRY): StepStatus.READY,
    (StepStatus.CANCELLED, StepEvent.RETRY): StepStatus.READY,
    (StepStatus.DONE, StepEvent.REDO): StepStatus.READY,
}

CLAIMABLE: Final = frozenset({Status.QUEUED, Status.RUNNING})
"""A ready step may be claimed only while its job is in one of these."""

ENDED: Final = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})

UPLOAD_ERRORS: Final = frozenset({"upload_missing", "upload_expired", "upload_mismatch"})
"""The failures that a later, good upload heals: only these let FAILED take UPLOADED."""

PROCESSING_OF: Final[dict[Status, Processing]] = {
    Status.AWAITING_UPLOAD: Processing.PENDING,
    Status.QUEUED: Processing.PROCESSING,
    Status.RUNNING: Processing.PROCESSING,
    Status.COMPLETED: Processing.COMPLETED,
    Status.FAILED: Processing.FAILED,
    Status.CANCELLED: Processing.FAILED,
}
"""What the driver's status makes of its video's `processing_status`."""


def progress_pct(
    stages: Sequence[tuple[str, int]], stage: str | None, *, done: int, planned: int, running: float
) -> float:
    """Return the progress of a job, 0–100: fixed stage weights times the share of steps done.

    stages: (name, weight), in order; the weights sum to 100. stage: the present one.
    done, planned: steps of the present stage. running: sum of the running steps' own progress, each 0–1.
    """
    total = 0.0
    for name, weight in stages:
        if name == stage:
            share = (done + running) / planned if planned else 0.0
            return round(min(total + weight * min(share, 1.0), 99.9), 1)  # 100 belongs to the finishing write
        total += weight
    return 0.0


def sources(event: Event) -> frozenset[Status]:
    """Return the statuses from which `event` may happen: the guard of the write."""
    return frozenset(status for (status, on) in TRANSITIONS if on is event)


def target(event: Event) -> Status:
    """Return the one status that `event` leads to, from wherever it may happen."""
    (only,) = {to for (_, on), to in TRANSITIONS.items() if on is event}
    return only


def after(status: Status, event: Event, *, error_code: str | None = None) -> Status:
    """Return the status that follows `event`.

    error_code: of a failed job; decides whether an upload heals it.
    Raises TransitionRefused when the table has no such edge.
    """
    to = TRANSITIONS.get((status, event))
    if to is None or (status is Status.FAILED and event is Event.UPLOADED and error_code not in UPLOAD_ERRORS):
        raise TransitionRefused(f"A job that is {status} can't take '{event}'.", status=str(status), event=str(event))
    return to


def step_after(status: StepStatus, event: StepEvent) -> StepStatus:
    """Return the step status that follows `event`; TransitionRefused when the table has no such edge."""
    to = STEP_TRANSITIONS.get((status, event))
    if to is None:
        raise TransitionRefused(f"A step that is {status} can't take '{event}'.", status=str(status), event=str(event))
    return to


def step_sources(event: StepEvent) -> frozenset[StepStatus]:
    """Return the step statuses from which `event` may happen."""
    return frozenset(status for (status, on) in STEP_TRANSITIONS if on is event)

"""All that can be swapped: the core speaks to the world only through these protocols.

Each port has one contract suite in `tests/contract/`, run against every adapter on real servers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel

from reelmill.jobs.lifecycle import Event, Status, StepEvent, UploadStatus
from reelmill.jobs.model import (
    OPERATOR,
    ApiKey,
    Artifact,
    Attempt,
    AuditEntry,
    Brand,
    Caller,
    Capabilities,
    Claim,
    Figures,
    Job,
    JobEvent,
    Json,
    Located,
    NewArtifact,
    ObjectInfo,
    Output,
    Page,
    Share,
    SignedRequest,
    Stage,
    Step,
    StepResult,
    StepSpec,
    StoredPart,
    Switch,
    TenantLimits,
    UploadLimits,
    Usage,
    Video,
    Worker,
)
from reelmill.jobs.speech import Speech
from reelmill.jobs.texts import TextAsk, TextReply, Variations, WantedTexts

T = TypeVar("T")

# ── What a store is given ─────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVideo:
    """A video whose source is about to be uploaded."""

    id: str
    tenant: str
    user_id: str
    filename: str
    content_type: str
    size_bytes: int
    sha256: str | None
    key: str
    labels: Json = field(default_factory=dict)
    upload_ttl_s: float = 86400.0  #: from now, by the store's clock
    part_size: int | None = None
    multipart_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to be; its id was made by the service and is never made again."""

    id: str
    video_id: str
    tenant: str
    user_id: str
    pipeline: str
    pipeline_version: str
    params: Json
    stages: tuple[Stage, ...]
    priority: int = 0
    correlation_id: str | None = None
    trace_context: str | None = None
    reuse: bool = True
    then: tuple[Json, ...] = ()
    follows: str | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """A stage with its steps, to be made `ready` in one write."""

    stage: str
    specs: tuple[StepSpec, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something failed: a code from the catalogue and one sentence."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one attempt, as the runner decided it."""

    event: StepEvent  #: FINISH, AGAIN, CRASH, RELEASE or FAIL
    result: StepResult | None = None  #: with FINISH
    failure: Failure | None = None  #: with AGAIN, CRASH and FAIL; with RELEASE: what the step waits for
    delay_s: float = 0.0  #: with AGAIN, CRASH and RELEASE: not claimable before
    command: str | None = None
    stderr: str | None = None
    cpu_s: float = 0.0  #: processor seconds that the attempt used; charged to the tenant
    versions: Json | None = None  #: of reelmill and ffmpeg on the worker
    reusable: bool = False  #: with FINISH: later steps of the same digest may take it over, see `made_before`


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedJob:
    """An ended job of an older system. Its video has no source here."""

    id: str
    tenant: str
    user_id: str
    filename: str
    pipeline: str
    status: Status  #: completed, failed or cancelled
    error_detail: str | None
    entry: Json  #: all that the older system told of it; becomes the parameters
    created_at: datetime  #: by the older system's clock
    completed_at: datetime
    artifacts: tuple[NewArtifact, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeen:
    """What a process that claims steps says of itself."""

    id: str
    host: str
    pid: int
    slots: int  #: steps at a time
    queues: tuple[str, ...]  #: that it takes steps of; empty: all
    version: str
    engine: str  #: what wakes it: `embedded`, `claims` or `celery`


@dataclass(frozen=True, slots=True)
class Held:
    """One hold on a step: the pair that fences its writes."""

    step_id: str
    attempt: int


# ── JobStore ──────────────────────────────────────────────────────────────────────────────────


class JobStore(Protocol):
    """The record of videos, jobs, steps, attempts, artifacts and events: the only truth.

    Every method is one transaction. A change of status is one guarded write that returns what it wrote.
    Stamps are the database's. Raises DatabaseUnavailable when the database doesn't answer.
    Where a database has no transactions (DynamoDB), one guarded write decides and the rest follows from it at once, or
    with the next `lose_dead` when the process died in between.
    """

    on_commit: Callable[[], None]  #: called after each write, in the writer's thread; must be quick

    def close_engine(self) -> None:
        """Give all connections back."""
        ...

    # videos and jobs
    def add_video(self, video: NewVideo, job: NewJob | None = None) -> tuple[Video, Job | None]:
        """Insert a video and its driver, a job in `awaiting_upload`; a video of this id that is there stays as it is.

        Returns the video and its driver. Raises TransitionRefused: its key has another video.
        """
        ...

    def add_job(self, job: NewJob, opening: Opening) -> Job:
        """Insert a queued job with its first stage's ready steps; it becomes the video's driver (`processing`).

        A job of this id that is there stays as it is, and is returned.
        Raises UploadNeeded when the video isn't uploaded, SourceGone when its source was removed, NotFound when it
        isn't the tenant's.
        """
        ...

    def uploaded(self, video_id: str, source: Json, job_id: str | None, then: Opening | Failure | None) -> Job | None:
        """Record a verified upload and its probe; with `job_id`, move that job too, all in one write.

        then: an Opening queues the job with these steps; a Failure fails it; None leaves jobs alone.
        Raises TransitionRefused when the upload was recorded before, or the job left the statuses that take UPLOADED.
        """
        ...

    def became(self, video_id: str, *, source: Json, size_bytes: int, sha256: str) -> None:
        """Record what a generated video has become: its source is in storage, whole. Repeatable.

        Raises NotFound when its row, or its source's time, is gone.
        """
        ...

    def reject_upload(
        self, video_id: str, job_id: str | None, failure: Failure, upload_status: UploadStatus | None
    ) -> Job | None:
        """Fail the waiting job, if there is one, and set the video's upload_status when one is given.

        Does nothing to a job that isn't awaiting_upload or failed by an upload error; returns it as it then is.
        Raises TransitionRefused when the upload was recorded in the meantime.
        """
        ...

    def set_multipart(self, video_id: str, *, was: str | None, to: str | None, upload_ttl_s: float = 86400.0) -> Video:
        """Replace the id of the upload in parts that is under way; an expired video with a new one awaits it again.

        Raises TransitionRefused when the id isn't `was`, or a new one is given to a video that wants no bytes.
        """
        ...

    def abort_upload(self, video_id: str) -> tuple[Video, Job | None]:
        """Set an upload that wasn't completed `aborted` and cancel its waiting job, in one write. Repeatable.

        Raises TransitionRefused when the upload was completed or rejected.
        """
        ...

    def left_multiparts(self, limit: int = 100) -> list[Video]:
        """Return videos that want no bytes any more and still have an upload in parts under way."""
        ...

    def apply(
        self,
        job_id: str,
        event: Event,
        *,
        run: int | None = None,
        failure: Failure | None = None,
        opening: Opening | None = None,
    ) -> Job:
        """Move a job along one edge: FINISH, FAIL, CANCEL or RETRY.

        run: the write happens only while the job is in this run.
        failure: with FAIL.
        opening: with RETRY of a job that has no steps yet: its first stage.
        FINISH needs that no step of the present stage is open, and no artifact in a spool.
        FAIL and CANCEL cancel the running steps.
        RETRY raises `run`, clears the error, sets failed and cancelled steps ready with tries and crashes 0.
        Raises TransitionRefused when the job moved between two tries, UploadNeeded for RETRY without an upload,
        SourceGone or ResultsGone for RETRY after the source or what the job had made was removed.
        """
        ...

    def open_stage(self, job_id: str, *, run: int, after: str, opening: Opening) -> Job | None:
        """Begin the next stage; None when it was begun before (repeatable).

        Guarded by (stage is `after`, run, running, no open step).
        """
        ...

    # work
    def claim(
        self,
        worker_id: str,
        *,
        limit: int,
        lease_s: float,
        engine_task_id: str | None = None,
        queues: Sequence[str] | None = None,
    ) -> list[Claim]:
        """Take up to `limit` claimable steps of these queues; None: of all.

        Order: highest priority; the tenant that has used the least processor time lately (half-life one hour;
        a step counts 10 s until it is closed); what a viewer can play first; oldest job; index.
        A step is claimable when it is ready, its `not_before` has passed and its job is queued or running.
        A run's first claim moves the job to running in the same transaction.
        """
        ...

    def beat(self, held: Sequence[Held], *, lease_s: float) -> frozenset[Held]:
        """Lengthen the leases; return those still held (the rest were lost, or their jobs have ended)."""
        ...

    def still_held(self, held: Sequence[Held]) -> frozenset[Held]:
        """Return those of `held` that are running in this attempt: a cheap read, for prompt cancelling."""
        ...

    def report(self, claim: Claim, fraction: float, message: str | None = None) -> None:
        """Store the progress of a running step, 0–1. Raises StaleAttempt."""
        ...

    def close(self, claim: Claim, outcome: Outcome, *, finish: bool = False) -> Job:
        """End an attempt: the step, its job, video, artifacts and event in one guarded write; return the job.

        finish: in the same write finish the job, if nothing of it is open or in a spool any more; for steps of its
        last stage. A store may leave that to `apply`, and does when it can't be sure: see the job that is returned.

        FAIL of an optional step counts it as done and adds a warning; of any other step fails the job.
        RELEASE with a failure makes that the job's message. Artifacts in a spool are counted in `Job.spooled`.
        Raises StaleAttempt when the attempt or run isn't the present one: nothing was written.
        """
        ...

    def set_priority(self, job_id: str, priority: int, tenant: str | None = None) -> Job:
        """Let a job's steps be claimed earlier or later, also those that are ready: -1000 … 1000, higher is earlier.

        Raises NotFound, also when another tenant owns it; TransitionRefused when it has ended.
        """
        ...

    # workers
    def see_worker(self, worker: WorkerSeen) -> Worker:
        """Note that a worker lives, and return what is known of it: whether it shall drain, above all."""
        ...

    def forget_worker(self, worker_id: str) -> None:
        """Remove a worker that has ended; nothing happens when it isn't known."""
        ...

    def forget_silent_workers(self, silent_s: float) -> int:
        """Remove the workers that weren't heard of for so long; return how many."""
        ...

    def workers(self) -> list[Worker]:
        """Return all workers, oldest first; also those that were killed, for a day."""
        ...

    def drain_worker(self, worker_id: str) -> Worker:
        """Tell a worker to claim nothing more; again is no error. Raises NotFound."""
        ...

    # care
    def lose_dead(self, *, max_crashes: int, spare: Collection[Held] = ()) -> list[Held]:
        """Take back steps whose lease has passed: crashes+1 and ready again, or worker_crashed at the limit.

        spare: what the caller itself is at work on, whatever the clock says.
        """
        ...

    def release_all(self) -> int:
        """Take back every running step, uncharged, and every named lease: the caller is the only process there is.

        An embedded server does it at start, under its folder's lock. Nor does any step wait on for its `not_before`:
        the clock may have been set back since.
        """
        ...

    def stalled(self, limit: int = 100) -> list[Job]:
        """Return running or queued jobs whose present stage has no open step: someone must advance them."""
        ...

    def to_ring(self, limit: int, *, again_after_s: float) -> list[Step]:
        """Mark claimable steps that nobody was told of (or not for a while) as rung, and return them.

        In the order of claims, as it would be if nothing were claimed meanwhile.
        """
        ...

    def expire_uploads(self, limit: int = 100) -> list[Job]:
        """Fail jobs whose upload wasn't completed in time, and mark their videos expired."""
        ...

    def unfollowed(self, limit: int = 10) -> list[Job]:
        """Return completed jobs for which nobody has started yet what shall follow; none that are deleted."""
        ...

    def followed(self, job_id: str, then: Sequence[Json]) -> Job | None:
        """Record what came of what follows a completed job; None when it was recorded before. Event `job.followed`."""
        ...

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take or keep a named lease, so that one sweeper works at a time."""
        ...

    def unswept(self, limit: int = 100) -> list[Job]:
        """Return ended jobs whose stored files haven't been compared with their artifact rows since they ended."""
        ...

    def mark_swept(self, job_id: str) -> None: ...

    # reuse
    def made_before(self, tenant: str, digest: str) -> list[Step]:
        """Return a few done steps of this tenant with this digest, the newest first: their results may be taken over.

        None of jobs that are deleted or whose files were removed. Whether the files are there is for who takes them to
        see. A store may know only of those that were closed as `reusable`, and only of the first or last of them.
        """
        ...

    # the spool
    def spooled(self, spool: str, limit: int = 100) -> list[Artifact]:
        """Return artifacts that wait in this spool, oldest first, whatever has become of their jobs."""
        ...

    def moved(self, artifact: Artifact) -> Job | None:
        """Record that a spooled artifact is in storage now, and return its job; None when it was recorded before.

        Guarded by (artifact, its spool): `place` becomes `stored`, `stored_at` now, `Job.spooled` one less; event
        `artifact.stored`. It doesn't finish the job: whoever moved the last one advances it.
        """
        ...

    def redo(self, artifact: Artifact) -> Job | None:
        """Take back a spooled artifact whose file is lost; None when it isn't in that spool any more.

        Its step is ready again (in an ended job: cancelled, so that a retry runs it) with tries and crashes 0, the
        step's other artifacts go with it, and the job's stage is the step's: steps of later stages, which were planned
        from the lost file, are removed with their artifacts and attempts. Event `step.redo`.
        """
        ...

    def forget(self, tenant: str, video_id: str) -> None:
        """Remove a video's row with its jobs and all that hangs on them. Its files must be gone already."""
        ...

    # reading
    def clock(self) -> datetime:
        """Return the database's own time; works on an empty database too."""
        ...

    def video(self, video_id: str, tenant: str | None = None) -> Video:
        """Raises NotFound; with a tenant, also when another owns it or it was deleted."""
        ...

    def video_at(self, key: str, tenant: str) -> Video:
        """Return the video whose source lies under this key. Raises NotFound, as `video` does."""
        ...

    def job(self, job_id: str, tenant: str | None = None) -> Job:
        """Raises NotFound; with a tenant, also when another owns it or it was deleted with its video."""
        ...

    def video_and_job(self, video_id: str) -> tuple[Video, Job | None]:
        """Return a video and its driver from one statement: they never disagree."""
        ...

    def videos(
        self,
        tenant: str,
        *,
        processing_status: str | None = None,
        upload_status: str | None = None,
        labels: Mapping[str, str] | None = None,
        older_than_s: float | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Video]:
        """Newest first, without deleted ones. older_than_s: made so long ago. Raises CursorInvalid."""
        ...

    def jobs(
        self,
        tenant: str,
        *,
        status: Status | None = None,
        pipeline: str | None = None,
        video_id: str | None = None,
        error_code: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        labels: Mapping[str, str] | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Job]:
        """Newest first, without deleted ones. labels: of the job's video. Raises CursorInvalid."""
        ...

    def steps(self, job_id: str, stage: str | None = None) -> list[Step]:
        """In order of stage opening and index."""
        ...

    def attempts(self, job_id: str) -> list[Attempt]: ...

    def artifacts(self, job_id: str) -> list[Artifact]:
        """In order of stage opening, index and name."""
        ...

    def outputs(self, job_id: str) -> list[Output]:
        """Return of the primary artifacts, in the same order, what hands them out: it is polled for."""
        ...

    def events_after(self, after: Mapping[str, int], limit: int = 500) -> list[JobEvent]:
        """Return events of these jobs with a seq above the given one, by job and seq."""
        ...

    def jobs_by_id(self, ids: Sequence[str]) -> list[Job]: ...

    def queue_position(self, job_id: str) -> int | None:
        """Return how many queued jobs come before this one in the order of claims, as it stands; 1,000 at most.

        None when it isn't queued.
        """
        ...

    def figures(self, *, stuck_after_s: float) -> Figures:
        """Return how things stand, of all tenants. Asked every few seconds: it must be cheap with a million jobs.

        stuck_after_s: age from which an upload that wasn't completed counts as stuck.
        """
        ...


class BrandStore(Protocol):
    """What tenants keep by name. The same adapters as `AccessStore`; each change stands in the audit log."""

    def add_brand(self, brand_id: str, kind: str, name: str, data: Json, by: Caller) -> Brand:
        """Keep something for the caller's tenant. Raises NameTaken."""
        ...

    def brands(self, tenant: str, kind: str) -> list[Brand]:
        """Return all of a kind, by name."""
        ...

    def find_brand(self, tenant: str, kind: str, name: str) -> Brand | None: ...

    def change_brand(self, brand_id: str, kind: str, data: Json, by: Caller) -> Brand:
        """Replace what is kept of the caller's tenant; its name stays. Raises NotFound."""
        ...

    def remove_brand(self, brand_id: str, kind: str, by: Caller) -> Brand:
        """Return what was removed. Raises NotFound."""
        ...


class AccessStore(BrandStore, Protocol):
    """API keys, the audit log and idempotent requests, in the same database."""

    def add_key(self, key: ApiKey, sha256: str, by: Caller = OPERATOR) -> ApiKey: ...

    def find_key(self, sha256: str) -> ApiKey | None:
        """Return the key with this hash of its secret, unless it has stopped."""
        ...

    def keys(self, tenant: str | None = None) -> list[ApiKey]: ...

    def rotate_key(
        self, key_id: str, fresh: FreshSecret, overlap_s: int, tenant: str | None = None, by: Caller = OPERATOR
    ) -> tuple[ApiKey, ApiKey]:
        """End a key in `overlap_s` seconds, once; return its successor, and it. Raises NotFound, KeyRevoked."""
        ...

    def revoke_key(self, key_id: str, tenant: str | None = None, by: Caller = OPERATOR) -> ApiKey:
        """Stop a key now; one that has stopped keeps its moment. Raises NotFound."""
        ...

    def sign_out(self, cookie_sha256: str, life_s: int, by: Caller) -> None:
        """Refuse a browser's cookie from now on; remembered for `life_s`, its own life at most."""
        ...

    def signed_out(self, cookie_sha256: str) -> bool: ...

    def audit(self, by: Caller, *, action: str, target: str, data: Json | None = None) -> None:
        """Note an action that isn't noted in its own transaction. `data` must hold nothing secret."""
        ...

    def audit_log(
        self,
        tenant: str | None = None,
        *,
        action: str | None = None,
        target: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[AuditEntry]:
        """Return one page, newest first; of all tenants without `tenant`. Raises CursorInvalid."""
        ...

    def begin_request(self, tenant: str, path: str, key: str, body_sha256: str, made: str) -> StoredReply | Reservation:
        """Reserve an Idempotency-Key, and with it the id of what the request makes; or return the reply it got before.

        made: a new UUID; the reservation's own when the request has come before and has no reply.
        Raises IdempotencyMismatch for another body, IdempotencyInProgress while the first is being worked on
        (a reservation older than 60 s counts as abandoned and is taken over).
        """
        ...

    def finish_request(self, tenant: str, path: str, key: str, reply: StoredReply) -> None: ...

    def drop_request(self, tenant: str, path: str, key: str) -> None:
        """Let the same request come again at once: it failed in a way that may succeed when repeated.

        The reservation keeps its id, for what failed may be the reply alone.
        """
        ...

    def purge_requests(self, older_than_s: float = 86400.0) -> int: ...

    # what is handed out without a key
    def signing_secret(self) -> bytes:
        """Return 32 random bytes that all processes on this database share; made when it is first asked for."""
        ...

    def add_share(
        self, share_id: str, job: Job, *, life_s: int, embed: Sequence[str] = (), by: Caller = OPERATOR
    ) -> Share:
        """Open a job's results for `life_s` seconds, by the database's clock."""
        ...

    def find_share(self, job_id: str, share_id: str) -> Share | None:
        """Return a share, unless it has ended or was revoked."""
        ...

    def shares(self, job_id: str) -> list[Share]:
        """Return all shares of a job, oldest first, those that have ended too."""
        ...

    def revoke_share(self, job_id: str, share_id: str, by: Caller = OPERATOR) -> Share:
        """End a share now; one that was revoked keeps its moment. Raises NotFound."""
        ...


@runtime_checkable
class Branded(Protocol):
    """A pipeline whose parameters may name what a tenant keeps."""

    def branded(self, params: Json, find: Callable[[str, str], Json | None]) -> Json:
        """Return parameters with what they name put in, so that a job keeps it as it is now.

        find: given kind and name. Raises ParamsInvalid for a name that nothing has.
        """
        ...


class Keeping(Protocol):
    """What a store may offer beside `JobStore`: deleting with undo, keeping for a limited time, sums, imports."""

    def usage(self, tenant: str) -> Usage:
        """Sum up what a tenant stores and how many jobs it has in flight. Deleted videos take room until the purge."""
        ...

    def in_flight(self, tenant: str) -> int:
        """Count a tenant's jobs that wait for an upload, are queued or running: a cheap read."""
        ...

    def delete_video(self, video_id: str, tenant: str, *, undo_s: float) -> Video:
        """Hide a video with all its jobs, cancelling those in flight, in one write; it may be restored for `undo_s`.

        Raises NotFound; also when it is deleted already.
        """
        ...

    def restore_video(self, video_id: str, tenant: str) -> Video:
        """Show a deleted video and its jobs again; one that isn't deleted stays as it is. Raises NotFound: too late."""
        ...

    def doomed_videos(self, limit: int = 100) -> list[Video]:
        """Return deleted videos that can't be restored any more and that no step works on: remove their files."""
        ...

    def jobs_of(self, video_id: str) -> list[Job]:
        """Return all jobs of a video, deleted ones too."""
        ...

    def expire_sources(self, older_than_s: float, limit: int = 100) -> list[Video]:
        """Set uploads `gone` that were made so long ago and have no job in flight; return them: remove the objects."""
        ...

    def left_sources(self, limit: int = 100) -> list[Video]:
        """Return videos that are `gone` and whose object isn't known to be removed."""
        ...

    def source_removed(self, video_id: str) -> None:
        """Note that the object of a source that is `gone` was removed. Repeatable."""
        ...

    def expire_outputs(self, older_than_s: float, limit: int = 100) -> list[Job]:
        """Drop the artifact rows of jobs that ended so long ago, and note it on the jobs, in one write each.

        No row names their files from then on, and the jobs are `unswept` again: the sweep removes the files.
        """
        ...

    def import_job(self, job: ImportedJob) -> bool:
        """Insert an ended job with a video that is `gone` and one step that is done; False: there is one of its id.

        Artifacts whose key another row names are left out.
        """
        ...

    def expire_events(self, older_than_s: float, limit: int = 100) -> int:
        """Drop the events of jobs that ended so long ago; return how many jobs that were."""
        ...


class Rules(Protocol):
    """What a store may offer beside `AccessStore`: switches of pipelines, limits of tenants, a shorter audit log."""

    def expire_audit(self, older_than_s: float, limit: int = 1000) -> int:
        """Drop entries of the audit log that are older; return how many, `limit` at most."""
        ...

    def switch_off(self, pipeline: str, tenant: str | None, reason: str, by: Caller = OPERATOR) -> Switch:
        """Refuse new jobs of a pipeline, of one tenant or (None) of all; again: with another reason."""
        ...

    def switch_on(self, pipeline: str, tenant: str | None, by: Caller = OPERATOR) -> None:
        """Take new jobs again. Repeatable."""
        ...

    def switches(self, tenant: str | None = None) -> list[Switch]:
        """Return the pipelines that are off for this tenant, those that are off for all too; None: every one."""
        ...

    def set_limits(self, limits: TenantLimits, by: Caller = OPERATOR) -> TenantLimits:
        """Store what a tenant may use, in place of what was set before."""
        ...

    def limits(self, tenant: str) -> TenantLimits:
        """Return what was set for a tenant; nothing but None when nothing was."""
        ...

    def all_limits(self) -> list[TenantLimits]:
        """Return the tenants for which something was set, by name."""
        ...


@dataclass(frozen=True, slots=True)
class FreshSecret:
    """What is stored of a new secret, with the id of its key."""

    id: str
    prefix: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Reservation:
    """An idempotent request that is to be worked on."""

    made: str  #: the id of what it makes, a UUID
    again: bool  #: it was begun before and has no reply: what it makes may be there


@dataclass(frozen=True, slots=True)
class StoredReply:
    """The reply to an idempotent request."""

    status_code: int
    body: str
    content_type: str


# ── ObjectStore ───────────────────────────────────────────────────────────────────────────────


class Patience(Protocol):
    """Does requests to an object store, and does them again; may be called by several threads at once."""

    def __call__(self, what: str, act: Callable[[], T], /) -> T:
        """Return what `act` returns. Raises StorageUnavailable after the last try, Stopped, and what else it raises."""
        ...


class ObjectStore(Protocol):
    """Where files live. Keys are made by Reelmill: `[A-Za-z0-9._-]` segments joined by `/`, never from user input.

    Every method may raise StorageUnavailable (try again) or StorageDenied (fix the credentials).
    """

    bucket: str
    limits: UploadLimits

    def capabilities(self) -> Capabilities:
        """Try out, on small objects of its own under `.probe/`, what the store really does; once, then remembered."""
        ...

    def sign_put(
        self, key: str, *, size_bytes: int, content_type: str, sha256: str | None, expires_s: int = 900
    ) -> SignedRequest:
        """Return a PUT that stores exactly this object, once, and nothing else."""
        ...

    def begin_multipart(self, key: str, *, size_bytes: int, part_size: int, content_type: str) -> str:
        """Begin an upload in parts and return its id. Nothing is under `key` before it is completed."""
        ...

    def sign_part(
        self, key: str, multipart_id: str, number: int, *, size_bytes: int, sha256: str | None, expires_s: int = 900
    ) -> SignedRequest:
        """Return a PUT that stores exactly this part; sent again, it replaces the part. number: 1 … part_count.

        May not touch the network, so it may succeed for an upload that is gone; the PUT is refused then.
        """
        ...

    def sign_operation(
        self, method: str, key: str, *, multipart_id: str | None, number: int | None, size_bytes: int | None,
        content_type: str, expires_s: int = 900,
    ) -> SignedRequest:  # fmt: skip
        """Return one request of S3's own protocol, as browsers' uploaders send them (Uppy's `signRequest`).

        PUT: the object, or a part when `multipart_id` and `number` are given. POST: begin an upload in parts, or
        complete it. GET: list its parts. DELETE: abort it. size_bytes: binds a PUT to this length.
        Raises RequestInvalid for any other, and for all but the plain PUT when the storage doesn't speak S3.
        """
        ...

    def list_parts(self, key: str, multipart_id: str) -> list[StoredPart]:
        """Return the parts that have arrived whole, by number. Raises MultipartGone."""
        ...

    def complete_multipart(self, key: str, multipart_id: str, parts: Sequence[StoredPart]) -> ObjectInfo:
        """Make the object of these parts, which must be all, and return what is known of it.

        An object of their size that is already there is returned as it is: completing again does nothing.
        Raises MultipartGone when there is neither; BodyMismatch when parts are missing or differ.
        """
        ...

    def abort_multipart(self, key: str, multipart_id: str) -> None:
        """Drop an upload in parts; nothing happens when it is gone."""
        ...

    def generate_presigned_download_url(
        self,
        bucket: str,
        key: str,
        expiration: int = 3600,
        *,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> str:
        """Return a GET URL that works for `expiration` seconds, with Range; `filename` makes it an attachment."""
        ...

    def head(self, key: str) -> ObjectInfo:
        """Raises ObjectMissing."""
        ...

    def put_file(
        self, key: str, path: Path, *, content_type: str, sha256: str, patience: Patience | None = None
    ) -> ObjectInfo:
        """Store a local file, checked against its hex SHA-256; replaces what was there. May move the file.

        patience: does each request (of a file in parts, each part), and is alone to decide on another try.
        """
        ...

    def copy(self, source: str, key: str, *, size_bytes: int, content_type: str, sha256: str) -> ObjectInfo:
        """Make another object of an object's bytes, within the store, checked; replaces what was there.

        What becomes of either doesn't touch the other. size_bytes: `limits.put_bytes` at most. sha256: hex.
        Raises ObjectMissing; BodyMismatch when the source isn't what is told here: then there is nothing under `key`.
        """
        ...

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield the object's bytes in blocks. Raises ObjectMissing."""
        ...

    def locate(self, key: str) -> Located:
        """Return where ffmpeg reads the object: a local path, or a signed URL. Raises ObjectMissing."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; nothing happens when there is none."""
        ...

    def free_bytes(self) -> int | None:
        """Return how many more bytes fit; None when the store has no end that it knows of."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with `prefix`, each once; in order where the store keeps one."""
        ...

    def purge_incoming(self, older_than_s: float = 86400.0) -> int:
        """Remove what broken uploads have left behind, and return how many there were."""
        ...


# ── Observer ──────────────────────────────────────────────────────────────────────────────────


class Span(Protocol):
    """What is being traced."""

    def tell(self, **attributes: str | int) -> None:
        """Add what became known in the meantime; an attribute `error` marks it as failed."""
        ...


class Observer(Protocol):
    """Is told what happens: counts, measures and traces it, and decides nothing.

    Names and labels are those that `observe/metrics.py` declares (any other is a defect, and raises); a label takes
    few values, never an id or a tenant.
    """

    def count(self, name: str, amount: float = 1.0, /, **labels: str) -> None:
        """Add to a counter."""
        ...

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        """Note one value of a distribution: seconds or bytes."""
        ...

    def span(
        self, name: str, /, *, trace_context: str | None = None, **attributes: str | int
    ) -> AbstractContextManager[Span]:
        """Trace what happens within, as a part of `trace_context` (W3C `traceparent`), else of the span around it."""
        ...


class Unobserved:
    """The observer that doesn't look, and its span."""

    def count(self, _name: str, _amount: float = 1.0, /, **_labels: str) -> None:
        pass

    def observe(self, _name: str, _value: float, /, **_labels: str) -> None:
        pass

    def span(
        self, _name: str, /, *, trace_context: str | None = None, **_attributes: str | int  # noqa: ARG002
    ) -> AbstractContextManager[Span]:  # fmt: skip
        return nullcontext(self)

    def tell(self, **_attributes: str | int) -> None:
        pass


UNOBSERVED = Unobserved()


class Spool(ObjectStore, Protocol):
    """A local folder that keeps finished files while the object store is away; an API hands them out from there."""

    id: str  #: made once, kept in the folder: processes with the same id see the same files

    def announce(self) -> None:
        """Say that an API of this process hands these files out; again and again, as long as it does."""
        ...

    def is_readable(self) -> bool:
        """Tell whether an API that sees this very folder has announced itself a short time ago."""
        ...


# ── Dispatcher ────────────────────────────────────────────────────────────────────────────────


class Dispatcher(Protocol):
    """A doorbell: a ring may be lost or come twice. Whoever hears it claims from the store."""

    def ring(self, count: int = 1, *, job_id: str = "", queue: str = "cpu") -> None:
        """Say that there may be work for `count` workers. Never raises, never blocks; the sweeper rings again.

        job_id: of whose steps; a hint for logs, no more. queue: of the steps.
        """
        ...

    def wait(self, timeout_s: float) -> str | None:
        """Block until rung, at most `timeout_s`; for workers in this process.

        Returns the engine's own id of the ring that was heard, if it has one.
        """
        ...

    def wake(self, count: int) -> None:
        """Let `count` waits of this process return."""
        ...

    def close(self) -> None:
        """Send what is still to be sent, for at most 2 seconds."""
        ...


# ── TextModel ─────────────────────────────────────────────────────────────────────────────────


class TextModel(Protocol):
    """A model that writes. It gets no tools, and what it writes is checked by whoever asked."""

    name: str  #: `gemini/…` or `openai/…`, as REELMILL_TEXT_MODEL names it

    def write(self, ask: TextAsk) -> TextReply:
        """Send one request; nothing is repeated here. Raises TextProblem, each kind by its name.

        TextModelBusy may have `retry_after_s` in its `extra`.
        """
        ...

    def check(self) -> str:
        """Ask the server whether it takes our key and has the model, writing nothing; return a word on it.

        Raises TextProblem.
        """
        ...

    def close(self) -> None:
        """Give the connections back."""
        ...


class TextMaker(Protocol):
    """Makes variations that keep a contract, by a model or by local rules."""

    model_name: str | None  #: None: only local rules

    def compose(self, tenant: str, ask: TextAsk, *, stop: threading.Event | None = None) -> list[str]:
        """Return `ask.count` texts that only a model can write. Raises TextModelNeeded, TextProblem, Stopped."""
        ...

    def vary(
        self,
        tenant: str,
        wanted: WantedTexts,
        *,
        fits: Callable[[str], str | None] = lambda _: None,
        stop: threading.Event | None = None,
    ) -> Variations:
        """Return exactly one text for each slot.

        fits: why a text, placeholders filled in, can't be used; None: it can.
        Raises VariationsUnavailable, TextContractBroken, and with `fill` off or for a wrong key or model what the
        model raises; SettingInvalid when only a model may make them and there is none; Stopped.
        """
        ...


# ── Voice ─────────────────────────────────────────────────────────────────────────────────────


class Voice(Protocol):
    """What speaks: a process of this machine, or a server."""

    name: str  #: engine, version and model: another one sounds different

    def speak(self, lines: Sequence[str], voice: str | None, *, scratch: Path, stop: threading.Event) -> list[Speech]:
        """Speak each line by itself; nothing is repeated here. voice: a name that it knows; None: its usual one.

        Raises VoiceProblem, each kind by its name; Stopped, DeadlineExceeded, ChildCrashed.
        """
        ...

    def known(self) -> list[tuple[str, str]]:
        """Return the names that `voice` may have, each with what people call it; empty where that isn't known here."""
        ...

    def check(self) -> str:
        """See that it is there and takes our key, speaking nothing; return a word on it. Raises VoiceProblem."""
        ...

    def close(self) -> None:
        """Give the connections back."""
        ...


class Narrator(Protocol):
    """Speaks lines, and never the same line twice: what was spoken is kept by tenant, voice and words."""

    voice_name: str | None  #: None: there is no voice

    def narrate(
        self, tenant: str, lines: Sequence[str], voice: str | None, *, scratch: Path, stop: threading.Event
    ) -> list[Speech]:
        """Return each line's speech, without silence around it. Raises VoiceNeeded, and as `Voice.speak`."""
        ...


# ── Pipeline ──────────────────────────────────────────────────────────────────────────────────


class Work(Protocol):
    """What a step's run is given: its place, its stop flag, and the ways to read, report and publish."""

    claim: Claim
    scratch: Path  #: empty at start, removed at the end whatever happens
    stop: threading.Event  #: set when the job was cancelled, the lease lost, or the worker stops

    def locate(self, key: str) -> Located:
        """Return where to read an object, a part at a time."""
        ...

    def fetch(self, key: str, name: str) -> Path:
        """Copy a small object (a thumbnail) into the scratch folder."""
        ...

    def media(self, video_id: str) -> Json:
        """Return another upload of the job's tenant: its probe, and its `key`. Raises NotFound, SourceGone."""
        ...

    def done_before(self, kind: str) -> list[Json]:
        """Return the outputs of a kind of step that this job has done, or else the newest completed job on its video.

        None, if no job has.
        """
        ...

    def progress(self, fraction: float, message: str | None = None) -> None:
        """Report 0–1 of this step; cheap, may be called for each frame. Raises Stopped."""
        ...

    def command(self, argv: Sequence[str]) -> None:
        """Record the exact command for the attempt's history."""
        ...

    def publish(
        self,
        path: Path,
        *,
        kind: str,
        name: str,
        content_type: str,
        meta: Json | None = None,
        primary: bool = False,
        beside_source: bool = False,
    ) -> NewArtifact:
        """Store a checked file under a key that ends in `-r{run}a{attempt}`. Raises Stopped, StorageProblem.

        beside_source: its key follows the source's, with `/proxy/` for `/original/`.
        """
        ...

    def keep(self, path: Path, name: str) -> str:
        """Store a file for later steps of the same job; return its key, for the step's output under `kept`.

        It is no artifact, and gone when the job is completed. Raises Stopped, StorageProblem.
        """
        ...

    def become(self, path: Path, source: Json) -> None:
        """Make a checked MP4 the source of the job's own generated video; repeatable. source: its probe.

        From then on other pipelines run on it. Raises Stopped, StorageProblem.
        """
        ...


class Pipeline(Protocol):
    """A plug-in that knows how to make something. `plan` is pure; `run` is repeatable.

    `name`, `version`, `title`, `stages` (weights sum to 100) and the JSON schema of `Params` are all that
    API, CLI, docs and UI need to offer it. One whose stages depend on the parameters has `stages_for(params)`, too.
    One that has `reusable`, a collection of kinds of steps, lets results of these be taken over by later steps of the
    same digest (`jobs/reuse.py` says what that asks of them). One that is given pictures by their `video_id` has
    `pictures(params)`, the ids by the names of their parameters: they are looked for before a job is made. One whose
    Params have `retry_attempts`, a number or null, lets a job say how often its steps are tried again.
    """

    name: str
    version: str
    title: str
    stages: tuple[Stage, ...]
    Params: type[BaseModel]  # a class attribute by its field's own name

    def plan(
        self, stage: str, source: Json, params: Any, done: Mapping[str, Sequence[Json]], tenant: str
    ) -> list[StepSpec]:
        """Return the stage's steps. Touches no file, clock, network or random source.

        source: the stored probe. params: an instance of Params. done: outputs of earlier stages, by index.
        Raises ParamsInvalid when the parameters don't fit the source.
        """
        ...

    def preview(self, source: Json, params: Any) -> Json:
        """Return what the job would make (for `clips`: the cut list), from the same code as `plan`.

        One that can't tell before its first stage is done says so by `known_after`, and takes a third argument: that
        stage's outputs, if another job on the video has them.
        """
        ...

    def run(self, step: Step, work: Work) -> StepResult:
        """Do one step. Raises ReelmillError: `retryable` ones are tried again."""
        ...

"""The nouns: plain frozen values that stores return and the API shows. No behaviour that touches the world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from reelmill.jobs.lifecycle import CLAIMABLE, Processing, Status, StepStatus, UploadStatus

Json = Mapping[str, Any]
Place = Literal["stored", "spool"]

REUSED_FROM = "reused_from"  #: in a step's output: the id of the step whose results were taken over
STORING = "storing"  #: the stage that is shown of a job whose finished files wait in a spool


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A source file, uploaded, imported or generated."""

    id: str
    tenant: str
    user_id: str
    filename: str  #: as the user named it; shown, never used as a path
    content_type: str
    size_bytes: int  #: declared at initiate, verified at complete
    sha256: str | None  #: hex, declared at initiate; verified at complete
    key: str  #: of the object in storage
    labels: Json
    upload_status: UploadStatus
    source: Json | None = None  #: the probe, stored when the upload was completed
    processing_status: Processing = Processing.PENDING
    processing_job_id: str | None = None  #: the driver: the newest job on this video
    processing_completed_at: datetime | None = None
    processing_error: str | None = None
    created_at: datetime
    uploaded_at: datetime | None = None
    upload_expires_at: datetime
    part_size: int | None = None  #: bytes of each part but the last, of an upload in parts
    multipart_id: str | None = None  #: the storage's own id of the upload in parts that is under way
    deleted_at: datetime | None = None  #: by its user, with its jobs; hidden since then
    purge_after: datetime | None = None  #: until then a deleted video can be restored
    source_removed_at: datetime | None = None  #: when the object of a source that is gone was removed


@dataclass(frozen=True, slots=True)
class Stage:
    """A named phase of a pipeline. `weight` is its fixed share of the progress; a pipeline's sum to 100."""

    name: str
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpec:
    """What a pipeline plans: one unit of work, repeatable, with all that its run needs."""

    index: int  #: ≥ 0, unique within the stage
    kind: str
    params: Json
    digest: str  #: SHA-256 hex of (kind, tool version, threads, parameters, input digests, tenant)
    optional: bool = False  #: its failure is a warning, not the job's failure
    queue: str = "cpu"  #: what it needs a worker for: cpu, gpu, io, llm or a name of one's own, ≤ 32 characters
    first: bool = False  #: its result is the first that a viewer can play: it goes before its job's other steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a pipeline on one video."""

    id: str
    video_id: str
    tenant: str
    user_id: str
    pipeline: str
    pipeline_version: str
    params: Json
    status: Status
    stage: str | None  #: None before queueing
    run: int  #: ≥ 1; raised by retry
    stages: tuple[Stage, ...]
    steps_planned: int = 0  #: of the present stage
    steps_done: int = 0
    progress_pct: float = 0.0  #: 0–100, never lower within a run
    message: str = ""
    warnings: tuple[str, ...] = ()
    spooled: int = 0  #: its artifacts that wait in a spool
    priority: int = 0  #: higher is claimed earlier
    last_seq: int = 0  #: of its events
    error_code: str | None = None
    error_detail: str | None = None
    correlation_id: str | None = None
    trace_context: str | None = None  #: W3C `traceparent` of the request that made it
    created_at: datetime
    queued_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None  #: when it ended, however it ended
    deleted_at: datetime | None = None  #: with its video
    outputs_removed_at: datetime | None = None  #: since then its files are gone
    events_removed_at: datetime | None = None  #: since then its events are gone
    reuse: bool = True  #: steps that were done before for the same tenant aren't run again
    then: tuple[Json, ...] = ()  #: what follows when it is completed, as `chain.py` has it
    follows: str | None = None  #: the id of the job that it follows
    followed_at: datetime | None = None  #: since then what follows has been started

    @property
    def storing(self) -> bool:
        """Whether all steps are done and only files in a spool keep it from being completed."""
        is_last = bool(self.stages) and self.stage == self.stages[-1].name
        return self.status in CLAIMABLE and self.spooled > 0 and is_last and self.steps_done >= self.steps_planned

    def shown(self) -> Job:
        """Return the job as users see it: what waits in a spool is told by stage, message and a warning."""
        if not self.spooled or self.status not in CLAIMABLE:
            return self
        files = "1 file is" if self.spooled == 1 else f"{self.spooled} files are"
        warning = f"{files} kept locally, and will be moved when storage answers."
        told = replace(self, warnings=(*self.warnings, warning))
        return replace(told, stage=STORING, message=f"Storing: {warning}") if self.storing else told


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The unit of work; its id is `{job}:{stage}:{index}`."""

    id: str
    job_id: str
    stage: str
    index: int
    kind: str
    params: Json
    digest: str
    optional: bool
    queue: str = "cpu"
    status: StepStatus
    run: int  #: of the job when it was last claimed
    attempt: int = 0  #: raised by each claim, never reset: the fence
    tries: int = 0  #: charged errors in this run
    crashes: int = 0  #: lost leases and dead children in this run
    worker_id: str | None = None
    progress: float = 0.0  #: 0–1 of the running attempt
    output: Json | None = None
    error_code: str | None = None
    error_detail: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def reused_from(self) -> str | None:
        """The id of the step whose results were taken over, None of one that was run."""
        return str(self.output[REUSED_FROM]) if self.output and REUSED_FROM in self.output else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The history of one claim of a step."""

    step_id: str
    attempt: int
    run: int
    worker_id: str
    engine_task_id: str | None  #: the queue engine's own id; never used to look a job up
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None  #: done, again, crash, release, fail, cancel; None while it runs
    error_code: str | None
    error_detail: str | None
    command: str | None  #: the exact command, signatures removed
    stderr: str | None  #: its tail
    versions: Json | None = None  #: of reelmill and ffmpeg on the worker; None of one that never came back


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A worker's hold on a step: everything its run needs, and the fence for its writes."""

    step: Step
    job: Job
    video: Video
    worker_id: str

    @property
    def attempt(self) -> int:
        return self.step.attempt

    @property
    def run(self) -> int:
        return self.step.run


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process that claims steps, as it was last heard of."""

    id: str
    host: str
    pid: int
    slots: int  #: steps at a time
    queues: tuple[str, ...]  #: that it takes steps of; empty: all
    version: str
    engine: str  #: what wakes it: `embedded`, `claims` or `celery`
    started_at: datetime
    seen_at: datetime
    draining_at: datetime | None  #: since when it claims nothing more
    silent_s: float  #: seconds since `seen_at`, by the store's clock


@dataclass(frozen=True, slots=True, kw_only=True)
class NewArtifact:
    """A checked file that a step has stored, before its row exists."""

    kind: str  #: clip, thumbnail, manifest, contact_sheet …
    name: str  #: the file name that a download gets, unique within its job
    key: str
    size_bytes: int
    sha256: str
    content_type: str
    meta: Json = field(default_factory=dict)
    primary: bool = False  #: one of the job's results, in `download_urls`; others only support them
    place: Place = "stored"
    spool: str | None = None  #: the id of the spool that keeps it
    retries: int = 0  #: of its upload, beyond the first try


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file that a step made, known by its object key, never by a URL."""

    id: str
    job_id: str
    step_id: str
    stage: str
    index: int
    run: int
    attempt: int
    kind: str
    name: str
    key: str
    size_bytes: int
    sha256: str
    content_type: str
    meta: Json
    primary: bool
    created_at: datetime
    place: Place = "stored"
    spool: str | None = None  #: the id of the spool that keeps it until storage answers
    retries: int = 0  #: of its upload by the step, beyond the first try
    stored_at: datetime | None = None  #: None while it is in a spool


@dataclass(frozen=True, slots=True)
class Output:
    """One of a job's results: what of an artifact is needed to hand it out."""

    name: str
    key: str
    content_type: str
    place: Place = "stored"
    spool: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One thing that happened to a job; `seq` counts from 1 within the job, in the order of commit."""

    job_id: str
    seq: int
    type: str
    data: Json
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """What the object store knows of one object."""

    key: str
    size_bytes: int
    sha256: str | None  #: hex, when the store has verified it
    content_type: str
    modified_at: datetime
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRequest:
    """A request that a client may send to storage by itself, exactly as it stands."""

    method: str
    url: str
    headers: Mapping[str, str]
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPart:
    """A part of an upload that has arrived, as the object store tells."""

    number: int  #: from 1
    size_bytes: int
    etag: str
    sha256: str | None  #: hex, when the store has verified it


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """What one object store takes; bytes."""

    put_bytes: int  #: most in a single PUT
    part_min_bytes: int  #: of every part but the last
    part_max_bytes: int
    part_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an object store was seen to do when it was tried out; what it doesn't, is not relied on."""

    binds_size: bool  #: a PUT of another length than was signed is refused
    binds_checksum: bool  #: a body with another SHA-256 than was signed is refused
    writes_once: bool  #: a signed PUT can't replace an object that is there
    joins_once: bool  #: nor can a signed completion of an upload in parts
    multipart: bool
    part_checksums: bool  #: a part with another SHA-256 than was signed is refused
    ranges: bool

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of what the store doesn't do."""
        return tuple(name for name in self.__slots__ if not getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step's run returns: a JSON output that later stages may plan from, and the files it published."""

    output: Json
    artifacts: tuple[NewArtifact, ...] = ()
    message: str = ""
    warnings: tuple[str, ...] = ()  #: what went wrong without mattering; shown on the job


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """Who may: the stored half of a key. The secret is shown once and kept as SHA-256."""

    id: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    subject: str  #: becomes `user_id` of what it makes
    tenant: str
    created_at: datetime
    revoked_at: datetime | None = None  #: when it stops, or stopped, to open anything
    active: bool = True  #: whether it opens anything now, by the database's clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks: becomes `tenant` and `user_id` of what is made, and the actor in the audit log."""

    tenant: str = "default"
    user_id: str = "owner"
    correlation_id: str | None = None
    trace_context: str | None = None  #: W3C `traceparent` of the request
    key_id: str | None = None  #: None: the signed-in browser, or the server's own command line


OPERATOR = Caller(user_id="operator")  #: whoever may run commands on the server's machine


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One action that the audit log keeps: who did what to what, and when. Nothing secret is in it."""

    id: str
    tenant: str
    action: str  #: `key.create`, `upload.abort`
    target: str  #: the id of what it was done to
    actor: str  #: the key's subject; `owner` in the signed-in browser, `operator` at the command line
    actor_key_id: str | None
    correlation_id: str | None
    data: Json
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What waits, all of one kind: how many, and for how long the oldest."""

    count: int = 0
    oldest_s: float = 0.0  #: seconds; 0 when nothing waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How things stand on the whole platform, by the store's clock. No ids and no tenants."""

    jobs: Mapping[tuple[str, Status], int]  #: by pipeline and status
    ready: Mapping[str, Waiting]  #: steps that could be claimed now, by queue
    running: Mapping[str, int]  #: steps that are being worked on, by queue
    uploads: Waiting  #: that were announced and aren't completed
    uploads_stuck: int  #: of these, older than was asked for
    spool: Waiting = field(default_factory=Waiting)  #: files that wait for the object store
    spool_bytes: int = 0
    workers: Mapping[str, int] = field(default_factory=dict)  #: by `alive`, `draining`, `gone`


@dataclass(frozen=True, slots=True)
class Switch:
    """A pipeline that is switched off: new jobs of it are refused with the reason."""

    pipeline: str
    tenant: str | None  #: None: for all
    reason: str
    actor: str
    since: datetime


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """What one tenant may use; None: as the settings say, 0: without a limit."""

    tenant: str
    quota_bytes: int | None = None  #: of sources and outputs in storage
    quota_jobs: int | None = None  #: in flight: waiting for an upload, queued or running


@dataclass(frozen=True, slots=True)
class Usage:
    """What one tenant uses."""

    source_bytes: int  #: uploaded, and announced by uploads that are still open
    output_bytes: int
    jobs_in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A job's results, open to whoever has the link, until it ends or is revoked."""

    id: str
    job_id: str
    tenant: str
    actor: str  #: who made it
    embed: tuple[str, ...]  #: origins whose pages may show it in a frame; `*`: all
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Brand:
    """What a tenant keeps by name for the looks of its texts."""

    id: str
    tenant: str
    kind: str  #: `preset`, `font`
    name: str  #: no two of a tenant's kind have the same
    data: Json
    created_at: datetime
    updated_at: datetime


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing; `next_cursor` is None on the last."""

    items: tuple[T, ...]
    next_cursor: str | None


Located = Path | str
"""Where a media tool reads an object: a local path, or a signed URL with seek."""

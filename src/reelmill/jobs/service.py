"""What users do to videos and jobs. API, CLI and workers call this; it calls the ports."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import structlog
from pydantic import BaseModel

from reelmill.errors import (
    InternalError,
    MediaRejected,
    NotFound,
    NotReady,
    ObjectMissing,
    ParamsInvalid,
    PictureGiven,
    ReelmillError,
    RequestInvalid,
    ResultsGone,
    SourceGone,
    TransitionRefused,
    UploadMismatch,
    UploadNeeded,
    UploadProblem,
)
from reelmill.jobs import chain
from reelmill.jobs.admission import Admission
from reelmill.jobs.endings import tell_end
from reelmill.jobs.files import Files, sha256_at
from reelmill.jobs.generating import filename_of, generation
from reelmill.jobs.keys import may_be_source, source_key
from reelmill.jobs.lifecycle import UPLOAD_ERRORS, Event, Status, StepStatus, UploadStatus, sources
from reelmill.jobs.locks import KeyedLock
from reelmill.jobs.material import is_picture
from reelmill.jobs.model import Artifact, Job, Json, Located, ObjectInfo, SignedRequest, StoredPart, Video
from reelmill.jobs.model import Caller as Caller
from reelmill.jobs.multipart import OPEN_UPLOADS, PartRequest, Parts
from reelmill.jobs.planning import Planner, stages_of
from reelmill.jobs.ports import UNOBSERVED, Failure, JobStore, NewJob, NewVideo, Observer, Opening, Pipeline
from reelmill.jobs.results import has_results

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.jobs")

LOOKED_AT = 20  #: a video's newest jobs that may have found already what a preview hangs on
ALREADY = "Job already processed - no action taken"  # older clients look for these words
NAME = re.compile(r"[^/\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,255}")
NAME_RULE = "filename must have 1 to 255 characters, none of them a slash or a control character, and not be . or .."


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The limits and lives that the service keeps to; seconds and bytes."""

    upload_ttl_s: float = 86_400.0
    put_ttl_s: int = 900
    get_ttl_s: int = 3600
    max_upload_bytes: int = 100 << 30
    part_bytes: int = 16 << 20  #: of a part, unless the upload asks for another size or has too many


@dataclass(frozen=True, slots=True, kw_only=True)
class Initiated:
    """A video that awaits its bytes; `upload` is None once they were verified, and of an upload in parts."""

    video: Video
    job: Job | None
    upload: SignedRequest | None
    parts: tuple[StoredPart, ...] = ()  #: that have arrived


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The reply to complete. `already`: nothing was changed."""

    video: Video
    job: Job | None
    already: bool
    message: str


class Service:
    """Uploads and jobs, for one store, one object store and the installed pipelines."""

    def __init__(
        self,
        *,
        store: JobStore,
        files: Files,
        planner: Planner,
        probe: Callable[[Located, bool], Json],
        admission: Admission,
        policy: Policy,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self.store = store
        self.files = files
        self.objects = objects = files.objects
        self.planner = planner
        self.probe = probe
        self.admission = admission
        self.policy = policy
        self.observer = observer
        self.on_cancel: Callable[[], None] = lambda: None  #: called after a cancel, for workers of this process
        self.parts = Parts(store, objects, part_bytes=policy.part_bytes, upload_ttl_s=policy.upload_ttl_s)
        self._completing = KeyedLock()

    # ── uploads ───────────────────────────────────────────────────────────────────────────────

    def initiate(
        self,
        caller: Caller,
        *,
        filename: str,
        size_bytes: int,
        content_type: str,
        sha256: str | None = None,
        labels: Mapping[str, str] | None = None,
        pipeline: str | None = None,
        params: Json | None = None,
        multipart: bool = False,
        part_size: int | None = None,
        video_id: str | None = None,
        reuse: bool = True,
        then: Sequence[Json] = (),
    ) -> Initiated:
        """Make a video and, with `pipeline`, its job in `awaiting_upload`; sign the PUT for its bytes.

        filename: 1–255 characters that are no path; shown, never used. size_bytes: 1 … max_upload_bytes.
        sha256: hex; binds the PUT, and is compared at complete. multipart: send it by `sign_parts` instead, in parts
        of `part_size` bytes. video_id: a new UUID, for a request that may come again. reuse, then: of the job, as
        `create_job` has them.
        Raises RequestInvalid, ParamsInvalid, and what `Admission` refuses with.
        """
        if not NAME.fullmatch(filename) or filename in {".", ".."}:
            raise RequestInvalid(NAME_RULE, errors=[{"field": "filename", "message": NAME_RULE}])
        if not 1 <= size_bytes <= self.policy.max_upload_bytes:
            raise RequestInvalid(
                f"size is {size_bytes} bytes; it must be between 1 and {self.policy.max_upload_bytes}."
            )
        parts = self.parts.size(size_bytes, part_size) if multipart else None
        if parts is None and size_bytes > self.objects.limits.put_bytes:
            told = f"multipart: more than {self.objects.limits.put_bytes} bytes must be sent in parts."
            raise RequestInvalid(told, errors=[{"field": "multipart", "message": "it must be true for this size"}])
        video_id = video_id or str(uuid.uuid4())
        video = NewVideo(
            id=video_id,
            tenant=caller.tenant,
            user_id=caller.user_id,
            filename=filename,
            content_type=content_type,
            size_bytes=size_bytes,
            sha256=sha256,
            key=source_key(caller.tenant, video_id),
            labels=dict(labels or {}),
            upload_ttl_s=self.policy.upload_ttl_s,
            part_size=parts,
        )
        job = None
        if pipeline is not None:
            if is_picture(content_type):
                raise PictureGiven
            chosen = self.planner.pipeline(pipeline)
            job = self._new_job(caller, video_id, chosen, self.planner.checked(chosen, params or {}, caller.tenant))
            job = self._chained(job, reuse, then)
        self.admission.upload(caller.tenant, size_bytes, pipeline)
        # First: what the object store won't sign leaves no video behind. Parts begin when the first is signed.
        upload = self._sign_put(video) if parts is None else None
        made, waiting = self.store.add_video(video, job)
        ids = {"video_id": made.id, "job_id": waiting.id if waiting else None}
        log.info("upload announced", **ids, size_bytes=size_bytes, pipeline=pipeline, in_parts=parts is not None)
        return Initiated(video=made, job=waiting, upload=upload)

    def upload(self, caller: Caller, video_id: str) -> Initiated:
        """Return where an upload stands: a fresh URL while bytes are still wanted, or the parts that have arrived."""
        video, job = self._own(caller, video_id)
        if video.upload_status not in OPEN_UPLOADS:
            return Initiated(video=video, job=job, upload=None)
        if video.part_size is None:
            return Initiated(video=video, job=job, upload=self._sign_put(video))
        return Initiated(video=video, job=job, upload=None, parts=tuple(self.parts.arrived(video)))

    def sign_parts(self, caller: Caller, video_id: str, wanted: Mapping[int, str | None]) -> list[PartRequest]:
        """Return the requests that send these parts; see `Parts.sign`. Raises NotFound, too."""
        video = self.store.video(video_id, caller.tenant)
        return self.parts.sign(video, wanted, expires_s=self.policy.put_ttl_s)

    def sign_operation(
        self, caller: Caller, video_id: str, method: str, *, multipart_id: str | None = None, number: int | None = None
    ) -> tuple[Video, SignedRequest]:
        """Return one request of S3's own protocol for this upload's key; see `ObjectStore.sign_operation`.

        Raises NotFound, RequestInvalid, TransitionRefused once the bytes aren't wanted any more.
        """
        video = self.store.video(video_id, caller.tenant)
        if video.upload_status not in OPEN_UPLOADS:
            raise TransitionRefused(f"The upload is {video.upload_status}: it wants no bytes.")
        if method == "DELETE" and multipart_id is None:
            raise RequestInvalid("An uploader may not delete objects; DELETE /uploads/{video_id} gives an upload up.")
        request = self.objects.sign_operation(
            method,
            video.key,
            multipart_id=multipart_id,
            number=number,
            size_bytes=video.size_bytes if number is None else None,  # uploaders cut parts as they like
            content_type=video.content_type,
            expires_s=self.policy.put_ttl_s,
        )
        if multipart_id is not None and method == "PUT":
            self.parts.adopt(video, multipart_id)
        return video, request

    def abort_upload(self, caller: Caller, video_id: str) -> Initiated:
        """Give an upload up: its waiting job is cancelled and what has arrived is removed. Repeatable.

        Raises NotFound, TransitionRefused once it was completed or rejected, StorageProblem.
        """
        _, driver = self._own(caller, video_id)
        video, job = self.store.abort_upload(video_id)
        log.info("upload aborted", video_id=video_id, job_id=job.id if job else None)
        if job is not None and driver is not None and driver.completed_at is None and job.completed_at is not None:
            tell_end(self.observer, job)
        self.parts.drop(video)
        self.objects.delete(video.key)
        return Initiated(video=video, job=job, upload=None)

    def complete(self, caller: Caller, video_id: str) -> Completed:
        """Verify that the object is there, is the announced one and is a video; then queue the waiting job.

        What was announced as a picture must be one. Idempotent, and safe to call ten times at once.
        Raises UploadMissing, UploadMismatch, NotAVideo, NotAPicture, MediaRejected, ParamsInvalid (the video stays, its
        job has failed), or StorageProblem (nothing changed).
        """
        video, driver = self._own(caller, video_id)
        if video.upload_status is UploadStatus.UPLOADED:
            return Completed(video=video, job=driver, already=True, message=ALREADY)
        with self._completing(video_id):
            video, driver = self.store.video_and_job(video_id)
            if video.upload_status is UploadStatus.UPLOADED:
                return Completed(video=video, job=driver, already=True, message=ALREADY)
            if video.upload_status is UploadStatus.REJECTED:
                raise _rejected(driver)
            if video.upload_status is UploadStatus.ABORTED:
                raise TransitionRefused("The upload was aborted; start a new one.")
            job = driver if driver is not None and _takes_upload(driver) else None
            try:
                with self._verifying(video, job):
                    source = self._verified(video, self.parts.joined(video))
            except UploadProblem as problem:
                self._reject(video, job, problem)
                raise
            return self._record_upload(video, job, source)

    @contextmanager
    def _verifying(self, video: Video | NewVideo, job: Job | NewJob | None) -> Iterator[None]:
        """Count, measure and log what comes of verifying an upload."""
        began = time.monotonic()
        result = "verified"
        ids = {"video_id": video.id, "job_id": job.id if job else None}
        try:
            with structlog.contextvars.bound_contextvars(**ids):
                yield
            self.observer.observe("upload_bytes", video.size_bytes)
        except Exception as error:
            result = getattr(error, "code", InternalError.code)
            raise
        finally:
            seconds = time.monotonic() - began
            self.observer.observe("upload_verification_seconds", seconds, result=result)
            line = log.info if result == "verified" else log.warning
            told = {"size_bytes": video.size_bytes, "result": result, "seconds": round(seconds, 3)}
            line("upload verification ended", **ids, **told)

    def _own(self, caller: Caller, video_id: str) -> tuple[Video, Job | None]:
        """Return a video and its driver. Raises NotFound, the same for another tenant's as for an unknown one."""
        video, job = self.store.video_and_job(video_id)
        if video.tenant != caller.tenant or video.deleted_at is not None:
            raise NotFound(f"There is no video {video_id}.")
        return video, job

    def _verified(self, video: Video | NewVideo, there: ObjectInfo) -> Json:
        """Return the probe of an object that is what was announced. Raises UploadProblem, StorageProblem."""
        if there.size_bytes != video.size_bytes:
            raise UploadMismatch(f"{video.size_bytes} bytes were announced, {there.size_bytes} arrived.")
        sha256 = there.sha256
        if video.sha256 is not None:
            sha256 = sha256 or sha256_at(self.objects, video.key)
            if sha256 != video.sha256:
                raise UploadMismatch("The SHA-256 of the object differs from the announced one.")
        # What the steps' digests know the source by: its content where that is known, else this very upload.
        identity = f"sha256:{sha256}" if sha256 else f"video:{video.id}"
        told = {"identity": identity, "filename": video.filename}
        return {**self.probe(self.objects.locate(video.key), is_picture(video.content_type)), **told}

    def _record_upload(self, video: Video, job: Job | None, source: Json) -> Completed:
        refused: ReelmillError | None = None
        then: Opening | Failure | None = None
        if job is not None:
            try:
                then = self.planner.opening(job, source)
            except ParamsInvalid as invalid:
                refused, then = invalid, Failure(invalid.code, invalid.detail)
        try:
            queued = self.store.uploaded(video.id, source, job.id if job else None, then)
        except TransitionRefused:
            # Another process was faster, or the job was cancelled meanwhile: the record decides.
            now_video, now_job = self.store.video_and_job(video.id)
            if now_video.upload_status is UploadStatus.UPLOADED:
                return Completed(video=now_video, job=now_job, already=True, message=ALREADY)
            self.store.uploaded(video.id, source, None, None)
            queued = now_job
        if refused is not None:
            if queued is not None and queued.status is Status.FAILED:
                tell_end(self.observer, queued)
            raise refused
        if isinstance(then, Opening) and queued is not None:
            self.planner.begin(queued, then)
        now_video, now_job = self.store.video_and_job(video.id)
        message = "Upload verified, job queued" if queued is not None else "Upload verified"
        return Completed(video=now_video, job=queued or now_job, already=False, message=message)

    def _reject(self, video: Video, job: Job | None, problem: UploadProblem) -> None:
        final = problem.code not in UPLOAD_ERRORS
        status = UploadStatus.REJECTED if final else None
        with suppress(TransitionRefused):  # somebody completed it in the meantime: their verdict stands
            failure = Failure(problem.code, problem.detail)
            failed = self.store.reject_upload(video.id, job.id if job else None, failure, status)
            if job is not None and job.status is Status.AWAITING_UPLOAD and failed is not None:
                tell_end(self.observer, failed)
            if final or isinstance(problem, UploadMismatch):
                self.objects.delete(video.key)  # so that the right file can be PUT, or no rubbish stays
                self.parts.drop(video)

    def adopt(self, caller: Caller, key: str, *, pipeline: str, params: Json, labels: Mapping[str, str]) -> Completed:
        """Complete what lies under a key; an object that nobody announced becomes a video, with its job queued.

        Taken is what lies below the caller's `{tenant}/original/`; a file that isn't a video stays as it is.
        Idempotent like `complete`, and raises the same; NotFound for every other key, PipelineUnknown.
        """
        chosen = self.planner.pipeline(pipeline)
        job = self._new_job(caller, str(uuid.uuid4()), chosen, self.planner.checked(chosen, params, caller.tenant))
        with self._completing(key):
            try:
                known = self.store.video_at(key, caller.tenant)
            except NotFound:
                video, there = self._found(caller, key, job.video_id, labels)
                self.admission.job(caller.tenant, pipeline)
                with self._verifying(video, job):
                    source = self._verified(video, there)
                try:
                    return self._record_upload(*self.store.add_video(video, job), source)
                except TransitionRefused:  # another process was faster
                    known = self.store.video_at(key, caller.tenant)
        return self.complete(caller, known.id)

    def _found(self, caller: Caller, key: str, video_id: str, labels: Mapping[str, str]) -> tuple[NewVideo, ObjectInfo]:
        """Return the video that an unannounced object makes. Raises NotFound, the same whatever the reason."""
        try:
            if not may_be_source(caller.tenant, key):
                raise ObjectMissing
            there = self.objects.head(key)
        except ObjectMissing as missing:
            raise NotFound(f"There is no upload {key}.") from missing
        if there.size_bytes > self.policy.max_upload_bytes:
            raise MediaRejected(f"It has {there.size_bytes} bytes; at most {self.policy.max_upload_bytes} are taken.")
        video = NewVideo(
            id=video_id,
            tenant=caller.tenant,
            user_id=caller.user_id,
            filename=key.rpartition("/")[2],
            content_type=there.content_type,
            size_bytes=there.size_bytes,
            sha256=None,
            key=key,
            labels=dict(labels),
            upload_ttl_s=self.policy.upload_ttl_s,
        )
        return video, there

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────

    def preview(self, caller: Caller, video_id: str, pipeline: str, params: Json) -> Json:
        """Return what a job would make, from the code that plans it. Raises UploadNeeded, SourceGone, ParamsInvalid."""
        video = self.store.video(video_id, caller.tenant)
        if video.upload_status is UploadStatus.GONE:
            raise SourceGone
        chosen = self.planner.pipeline(pipeline)
        checked = self.planner.checked(chosen, params, caller.tenant)
        preview = self.planner.previewed(chosen, checked, video.source)
        # What would refuse the job refuses its preview too: a text that doesn't fit, for one.
        first = self.planner.first_stage(chosen, checked, video.source or {}, caller.tenant)
        if "known_after" in preview and (found := self._found_before(caller, video_id, first)):
            return self.planner.previewed(chosen, checked, video.source, found)
        return preview

    def _found_before(self, caller: Caller, video_id: str, first: Opening) -> list[Json]:
        """Return the outputs of a stage whose steps other jobs on the video have done; nothing unless all are."""
        wanted = {spec.digest for spec in first.specs}
        found: dict[str, Json] = {}
        for job in self.store.jobs(caller.tenant, video_id=video_id, limit=LOOKED_AT).items:
            found |= {one.digest: one.output for one in self.store.steps(job.id) if one.digest in wanted and one.output}
            if found.keys() == wanted:
                return list(found.values())
        return []

    def create_job(
        self,
        caller: Caller,
        video_id: str,
        pipeline: str,
        params: Json,
        *,
        priority: int = 0,
        job_id: str | None = None,
        reuse: bool = True,
        then: Sequence[Json] = (),
    ) -> Job:
        """Queue a job on an uploaded video.

        job_id: a new UUID, for a request that may come again. reuse: take over what was made before. then: what
        follows when it is completed, `{pipeline, params, reuse, then}` each; see `chain.py`.
        Raises NotFound, PipelineUnknown, ParamsInvalid, UploadNeeded, SourceGone, PipelineOff, JobsQuotaReached.
        """
        video = self.store.video(video_id, caller.tenant)
        chosen = self.planner.pipeline(pipeline)
        checked = self.planner.checked(chosen, params, caller.tenant)
        self.planner.previewed(chosen, checked, video.source)
        opening = self.planner.first_stage(chosen, checked, video.source or {}, caller.tenant)
        self.admission.job(caller.tenant, pipeline)
        new = self._chained(self._new_job(caller, video_id, chosen, checked, priority, job_id), reuse, then)
        job = self.store.add_job(new, opening)
        self.planner.begin(job, opening)
        return self.store.job(job.id)

    def plan_generation(self, caller: Caller, pipeline: str, params: Json) -> Json:
        """Return what `generate` would make. Raises as that."""
        chosen, checked, source = generation(self.planner, self.store, caller, pipeline, params)
        plan = self.planner.previewed(chosen, checked, source)
        self.planner.first_stage(chosen, checked, source, caller.tenant)
        return plan

    def generate(
        self,
        caller: Caller,
        params: Json,
        *,
        pipeline: str = "generate",
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
        video_id: str | None = None,
    ) -> Job:
        """Make a video that isn't there yet, with the queued job that makes it.

        Its source comes when the job publishes it; until then other pipelines refuse it. video_id: a new UUID, for a
        request that may come again. Raises NotFound, UploadNeeded or SourceGone for a video that the film is made of;
        ParamsInvalid, VoiceNeeded, TextModelNeeded, PipelineUnknown, PipelineOff, JobsQuotaReached.
        """
        chosen, checked, source = generation(self.planner, self.store, caller, pipeline, params)
        plan = self.planner.previewed(chosen, checked, source)
        video_id = video_id or str(uuid.uuid4())
        video = NewVideo(
            id=video_id,
            tenant=caller.tenant,
            user_id=caller.user_id,
            filename=filename_of(str(plan["title"])),
            content_type="video/mp4",
            size_bytes=0,
            sha256=None,
            key=source_key(caller.tenant, video_id),
            labels=dict(labels or {}),
            upload_ttl_s=self.policy.upload_ttl_s,
        )
        self.admission.job(caller.tenant, pipeline)
        job = self._new_job(caller, video_id, chosen, checked, priority)
        told = {**source, "identity": f"video:{video_id}", "filename": video.filename}
        done = self._record_upload(*self.store.add_video(video, job), told)
        assert done.job is not None, "it was made with its video"
        return done.job

    def cancel(self, caller: Caller, job_id: str) -> Job:
        """Stop a job; its workers kill their processes within seconds. Raises TransitionRefused when it has ended."""
        self.store.job(job_id, caller.tenant)
        job = self.store.apply(job_id, Event.CANCEL)
        tell_end(self.observer, job)
        self.on_cancel()
        return job

    def set_priority(self, caller: Caller, job_id: str, priority: int) -> Job:
        """Let a job be worked on earlier or later: -1000 … 1000, higher is earlier.

        Raises NotFound, TransitionRefused when it has ended.
        """
        return self.store.set_priority(job_id, priority, caller.tenant)

    def retry(self, caller: Caller, job_id: str) -> Job:
        """Run a failed or cancelled job again from its first missing step.

        Raises UploadNeeded, SourceGone, ResultsGone, TransitionRefused, PipelineOff, JobsQuotaReached.
        """
        job = self.store.job(job_id, caller.tenant)
        if job.status in sources(Event.RETRY):  # any other has its own answer
            self.admission.job(caller.tenant, job.pipeline)
        opening = None
        if job.stage is None:
            video = self.store.video(job.video_id)
            if video.source is None:
                raise UploadNeeded
            opening = self.planner.opening(job, video.source)
        retried = self.store.apply(job_id, Event.RETRY, run=job.run, opening=opening)
        self.planner.tell_queued(retried)
        self.planner.advance(retried)
        ready = [step for step in self.store.steps(job_id) if step.status is StepStatus.READY]
        self.planner.ring(job_id, ready)
        return self.store.job(job_id)

    # ── results ───────────────────────────────────────────────────────────────────────────────

    def download_urls(self, job: Job) -> list[str]:
        """Return a freshly signed URL for each result of a job that is completed or stores; nothing for any other."""
        if not has_results(job):
            return []
        urls = map(self.files.url, self.store.outputs(job.id))
        return [url for url in urls if url is not None]

    def results(self, caller: Caller, job_id: str, *, early: bool = False) -> tuple[Job, list[Artifact]]:
        """Return a job that is completed or stores, and its artifacts. Raises NotReady, NotFound, ResultsGone.

        early: what a running job has made so far will do; each file was checked before its row was written.
        """
        job = self.store.job(job_id, caller.tenant)
        return job, self.results_of(job, early=early)

    def results_of(self, job: Job, *, early: bool = False) -> list[Artifact]:
        """See `results`."""
        if job.outputs_removed_at is not None:
            raise ResultsGone(f"The job's files were removed at {job.outputs_removed_at.isoformat()}.")
        if not has_results(job) and not (early and job.status is Status.RUNNING):
            raise NotReady(f"The job is {job.status}.", status=str(job.status))
        return self.store.artifacts(job.id)

    # ── parts ─────────────────────────────────────────────────────────────────────────────────

    def _sign_put(self, video: Video | NewVideo) -> SignedRequest:
        return self.objects.sign_put(
            video.key,
            size_bytes=video.size_bytes,
            content_type=video.content_type,
            sha256=video.sha256,
            expires_s=self.policy.put_ttl_s,
        )

    def _new_job(
        self,
        caller: Caller,
        video_id: str,
        pipeline: Pipeline,
        params: BaseModel,
        priority: int = 0,
        job_id: str | None = None,
    ) -> NewJob:
        return NewJob(
            id=job_id or str(uuid.uuid4()),  # made here, once, unless it was reserved for this very request
            video_id=video_id,
            tenant=caller.tenant,
            user_id=caller.user_id,
            pipeline=pipeline.name,
            pipeline_version=pipeline.version,
            params=params.model_dump(mode="json"),
            stages=stages_of(pipeline, params),
            priority=priority,
            correlation_id=caller.correlation_id,
            trace_context=caller.trace_context,
        )

    def _chained(self, job: NewJob, reuse: bool, then: Sequence[Json]) -> NewJob:
        """Return the job with what follows it. Raises ParamsInvalid, PipelineUnknown, PipelineOff."""
        following = chain.checked(self.planner, then, job.tenant)
        for name in chain.pipelines_of(following):
            self.admission.pipeline(job.tenant, name)
        return replace(job, reuse=reuse, then=following)


def _takes_upload(job: Job) -> bool:
    return job.status is Status.AWAITING_UPLOAD or (job.status is Status.FAILED and job.error_code in UPLOAD_ERRORS)


def _rejected(job: Job | None) -> UploadProblem:
    """Return the verdict of the first complete again."""
    for kind in UploadProblem.__subclasses__():
        if job is not None and kind.code == job.error_code:
            return kind(job.error_detail or "")
    return MediaRejected("This upload was rejected before.")

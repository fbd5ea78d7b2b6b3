"""The Python client: HTTP and the wire contract, nothing else. One class, plain and synchronous.

    with Client("http://127.0.0.1:8000", key) as client:
        film = client.upload("film.mp4", pipeline="clips", params={"cutting": {"duration_s": 10}})
        client.wait(film.job_id)
        client.download_results(film.job_id, "clips")

Uploads and downloads go on after broken connections, while the server is started again, and in another process after
this one was killed. An error of the server is raised as the class of its code in `reelmill.errors`; no server, as
ServerUnreachable. A Client may be shared by threads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from reelmill.client import downloads, records, uploads
from reelmill.client.downloads import Fresh, Got
from reelmill.client.events import Event, parse_events
from reelmill.client.uploads import Tell, Uploaded, UploadProgress, content_type_of
from reelmill.client.wire import LONG_S, Again, Wire, not_ours, problem, unreachable
from reelmill.errors import InternalError, NotReady, ServiceProblem
from reelmill.schemas import (
    ArtifactList,
    ArtifactReply,
    DeadLetter,
    DeadLetterPage,
    DeletedVideo,
    FontList,
    FontReply,
    GenerationPlan,
    InitiateReply,
    JobCreatedResponse,
    JobPage,
    JobReply,
    JobStatus,
    PlanReply,
    RecheckReply,
    RecheckRequest,
    ReprocessReply,
    ReprocessRequest,
    Upload,
    UploadReply,
    UsageReply,
    VariationsReply,
    VideoReply,
    WorkerList,
    WorkerReply,
)

__all__ = ["Client", "Event", "UploadProgress", "Uploaded", "content_type_of", "parse_events"]

ENDED = frozenset({"completed", "failed", "cancelled"})
SILENCE_S = 45.0  #: an event stream is kept alive every 15 s; one that is silent for so long is broken
AGAIN_S = 1.0


class Client:
    """One server, one API key. Use it as a context manager, or `close` it."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        patience_s: float = 60.0,
        state: Path | None = None,
    ) -> None:
        """timeout_s: longest silence on a connection. patience_s: how long, in the middle of something, a server that
        doesn't answer is waited for. state: folder for the records of uploads under way; the user's own by default.
        """
        self._wire = Wire(url, api_key, timeout_s=timeout_s, patience_s=patience_s)
        self._state = state
        self.url = self._wire.url

    def close(self) -> None:
        self._wire.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── uploads ───────────────────────────────────────────────────────────────────────────────

    def upload(
        self,
        path: Path | str,
        *,
        labels: Mapping[str, str] | None = None,
        pipeline: str | None = None,
        params: Mapping[str, Any] | None = None,
        content_type: str | None = None,
        parallel: int = 4,
        part_size: int | None = None,
        progress: Tell | None = None,
        resume: bool = True,
        then: Sequence[Mapping[str, Any]] = (),
        reuse: bool = True,
    ) -> Uploaded:
        """Send a file, have it verified and, with a pipeline, its job queued. Memory stays flat.

        A file beyond 32 MiB goes in `parallel` parts at a time, each checked by its SHA-256; part_size: bytes, the
        server's choice by default. progress: called about ten times a second, in this thread. When this process was
        killed, the same call in another goes on with the parts that have arrived; resume=False begins anew, and so
        does a file that has changed. After Ctrl-C in the middle the upload can be resumed as well. then, reuse: of the
        job, as `create_job` has them.

        Raises RequestInvalid, ParamsInvalid, PipelineUnknown before a byte is sent; SourceChanged when somebody
        writes to the file; UploadProblem, StorageProblem; ServerUnreachable after `patience_s` without the server.
        """
        path = Path(path)
        asked = {
            "content_type": content_type or content_type_of(path),
            "labels": dict(labels or {}),
            "pipeline": pipeline,
            "params": dict(params) if params is not None else None,
            **({"then": list(then)} if then else {}),
            **({} if reuse else {"reuse": False}),
        }
        with records.held(self._state or records.state_folder(), self.url, path) as slot:
            if not resume:
                slot.clear()
            return uploads.upload(self._wire, slot, path, asked, parallel=parallel, part_size=part_size, tell=progress)

    def resume(self, video_id: str, path: Path | str, *, parallel: int = 4, progress: Tell | None = None) -> Uploaded:
        """Go on with an upload that another machine began: what has arrived is compared, the rest is sent.

        Raises NotFound, UploadMismatch when the file has another size, and what `upload` raises.
        """
        return uploads.resume(self._wire, video_id, Path(path), parallel=parallel, tell=progress)

    def abort(self, video_id: str) -> UploadReply:
        """Give an upload up: its job is cancelled, what has arrived is removed. Raises NotFound, TransitionRefused."""
        return self._wire.call(UploadReply, "DELETE", f"/uploads/{video_id}")

    def initiate(
        self,
        path: Path,
        *,
        content_type: str | None = None,
        sha256: str | None = None,
        labels: Mapping[str, str] | None = None,
        pipeline: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> InitiateReply:
        """Announce a file and get the one request that sends it; `upload` does this and all that follows.

        sha256: hex; then storage takes exactly this file. content_type: guessed from the name by default.
        Raises RequestInvalid, ParamsInvalid, PipelineUnknown.
        """
        body = {
            "filename": path.name,
            "size": path.stat().st_size,
            "content_type": content_type or content_type_of(path),
            "sha256": sha256,
            "labels": labels or {},
            "pipeline": pipeline,
            "params": params,
        }
        return self._wire.make(InitiateReply, "/uploads/initiate", json=body)

    def put(self, upload: Upload, path: Path, *, sent: Got | None = None) -> None:
        """Send the file to storage, exactly as the upload says. Raises StorageProblem."""
        source = uploads.Source(path)
        self._wire.put(upload, source.size, _told(source.blocks(0, source.size), sent), timeout_s=LONG_S)

    def complete(self, video_id: str) -> JobCreatedResponse:
        """Say that the file was sent. Raises UploadProblem, ParamsInvalid. Calling again changes nothing."""
        body = {"video_id": video_id}
        return self._wire.call(JobCreatedResponse, "POST", "/uploads/complete", json=body, timeout=LONG_S)

    def video(self, video_id: str) -> VideoReply:
        return self._wire.call(VideoReply, "GET", f"/videos/{video_id}")

    def delete_video(self, video_id: str) -> DeletedVideo:
        """Delete a video with its jobs and results; the reply says until when it can be restored. Raises NotFound."""
        return self._wire.call(DeletedVideo, "DELETE", f"/videos/{video_id}")

    def restore_video(self, video_id: str) -> VideoReply:
        """Bring a deleted video back. Raises NotFound when it is too late."""
        return self._wire.call(VideoReply, "POST", f"/videos/{video_id}/restore")

    # ── texts ─────────────────────────────────────────────────────────────────────────────────

    def vary_texts(self, text: str, n: int, **rules: Any) -> VariationsReply:
        """Return exactly n variations of a text, each with what made it. rules: fields of VariationsRequest.

        Raises VariationsUnavailable, and what the server's model raises (TextProblem) when local rules may not help.
        """
        body = {"text": text, "n": n, **rules}
        return self._wire.call(VariationsReply, "POST", "/texts/variations", json=body, timeout=LONG_S)

    def preview_text(self, video_id: str, text: str, **wanted: Any) -> tuple[bytes, dict[str, Any]]:
        """Return one frame of a clip with its text as a PNG, and the text's report. wanted: TextPreviewRequest.

        Raises TextDoesNotFit, ParamsInvalid, NotFound, UploadNeeded.
        """
        body = {"video_id": video_id, "text": text, **wanted}
        reply = self._wire.fetch("POST", "/texts/preview", json=body)
        return reply.content, json.loads(reply.headers.get("Text-Report", "{}"))

    def fonts(self) -> list[FontReply]:
        """Return the fonts that texts may name; those without an id lie in the server's folder."""
        return self._wire.call(FontList, "GET", "/fonts").items

    def add_font(self, path: Path, name: str | None = None) -> FontReply:
        """Upload a .ttf or .otf file. name: by which texts call it, the font's own by default.

        Raises FontRejected, NameTaken, TooManyFonts, RequestTooLarge.
        """
        query = {} if name is None else {"name": name}
        body = {"content": path.read_bytes(), "params": query}
        return self._wire.make(FontReply, "/fonts", **body, timeout=LONG_S)

    def remove_font(self, font_id: str) -> FontReply:
        """Remove a font. Raises NotFound; FontInUse as long as jobs need it."""
        return self._wire.call(FontReply, "DELETE", f"/fonts/{font_id}")

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────

    def create_job(
        self,
        video_id: str,
        pipeline: str,
        params: Mapping[str, Any],
        *,
        then: Sequence[Mapping[str, Any]] = (),
        reuse: bool = True,
    ) -> JobStatus:
        """Run a pipeline on an uploaded video. Raises ParamsInvalid, UploadNeeded, NotFound.

        then: what follows when it is completed, on what it made: `{"pipeline": …, "params": …, "then": […]}` each.
        reuse: whether steps take over what earlier jobs have made.
        """
        body = {"video_id": video_id, "pipeline": pipeline, "params": params, "then": list(then), "reuse": reuse}
        return self._wire.make(JobStatus, "/jobs", json=body)

    def plan(self, video_id: str, pipeline: str, params: Mapping[str, Any]) -> PlanReply:
        """Return what `create_job` would make; nothing is created."""
        body = {"video_id": video_id, "pipeline": pipeline, "params": params}
        return self._wire.call(PlanReply, "POST", "/jobs?dry_run=true", json=body)

    def generate(self, params: Mapping[str, Any], *, labels: Mapping[str, str] | None = None) -> JobStatus:
        """Make a video out of `scenes`, a `script` or a `topic`; return its job, which names the video.

        Raises ParamsInvalid, VoiceNeeded, TextModelNeeded, NotFound.
        """
        body = {"params": params, "labels": labels or {}}
        return self._wire.call(JobStatus, "POST", "/videos/generate", json=body)

    def plan_generation(self, params: Mapping[str, Any]) -> GenerationPlan:
        """Return the scenes that `generate` would make, with about their lengths; nothing is created."""
        return self._wire.call(GenerationPlan, "POST", "/videos/generate?dry_run=true", json={"params": params})

    def jobs(self, *, status: str | None = None, limit: int = 50, cursor: str | None = None) -> JobPage:
        """Return one page of jobs, newest first."""
        query = {"status": status, "limit": limit, "cursor": cursor}
        return self._wire.call(JobPage, "GET", "/jobs", params={k: v for k, v in query.items() if v is not None})

    def job(self, job_id: str) -> JobReply:
        """Return all about a job."""
        return self._wire.call(JobReply, "GET", f"/jobs/{job_id}")

    def status(self, job_id: str) -> JobStatus:
        """Return where a job stands; once it is completed, with a signed URL for each result."""
        return self._wire.call(JobStatus, "GET", f"/jobs/{job_id}/status")

    def cancel(self, job_id: str) -> JobStatus:
        """Raises TransitionRefused when the job has ended."""
        return self._wire.call(JobStatus, "POST", f"/jobs/{job_id}/cancel")

    def set_priority(self, job_id: str, priority: int) -> JobStatus:
        """Let a job be worked on earlier or later: -1000 … 1000, higher is earlier.

        Raises NotFound, TransitionRefused when it has ended.
        """
        return self._wire.call(JobStatus, "POST", f"/jobs/{job_id}/priority", json={"priority": priority})

    def retry(self, job_id: str) -> JobStatus:
        """Run a failed or cancelled job again from its first missing step. Raises TransitionRefused, UploadNeeded."""
        return self._wire.call(JobStatus, "POST", f"/jobs/{job_id}/retry")

    def artifacts(self, job_id: str) -> list[ArtifactReply]:
        """Return every file that the job has made; with signed URLs once it is completed. Raises ResultsGone."""
        return self._wire.call(ArtifactList, "GET", f"/jobs/{job_id}/artifacts").items

    def wait(
        self, job_id: str, *, timeout_s: float | None = None, progress: Callable[[float, str], None] | None = None
    ) -> JobStatus:
        """Return the job's status once it has ended, however it did; a server that is started again is waited for.

        progress: is told the percentage and what is done at present. Follows the job's events; where a proxy keeps
        them back, asks now and then. Raises NotFound, ServerUnreachable; NotReady when `timeout_s` are over.
        """
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        status, seen = self.status(job_id), 0
        while status.status not in ENDED:
            if (left_s := deadline - time.monotonic()) <= 0:
                raise NotReady(f"The job {job_id} is still {status.status} after {timeout_s:g} s.")
            if left_s > SILENCE_S:
                # Whether the server is gone or only its events are, the next question tells.
                with suppress(ServiceProblem, InternalError), self._listening(job_id, seen) as reply:
                    for event in parse_events(reply.iter_lines()):
                        seen = event.seq or seen
                        if event.type == "progress" and progress is not None:
                            progress(event.data["progress_pct"], event.data["message"])
                        if deadline - time.monotonic() <= SILENCE_S:
                            break
            again = Again(self._wire.patience_s)
            status = self._wire.insist(again, JobStatus, "GET", f"/jobs/{job_id}/status")
            if progress is not None:
                progress(status.progress_pct, status.message)
            if status.status not in ENDED:
                time.sleep(max(0.0, min(AGAIN_S, deadline - time.monotonic())))
        return status

    def events(self, job_id: str, *, after: int = 0, patience_s: float | None = None) -> Iterator[Event]:
        """Yield the job's events after seq `after`, then as they happen, until the job has ended.

        A connection that breaks is made again and goes on after the last event seen, for up to `patience_s`
        without an answer. Raises NotFound, ServerUnreachable.
        """
        patience_s = self._wire.patience_s if patience_s is None else patience_s
        seen, status, answered = after, "", None
        while status not in ENDED:
            try:
                with self._listening(job_id, seen) as reply:
                    answered = time.monotonic()
                    if reply.status_code == 204:
                        return
                    for event in parse_events(reply.iter_lines()):
                        answered = time.monotonic()
                        seen = event.seq if event.seq is not None else seen
                        status = event.data.get("status", status) if event.type == "progress" else status
                        yield event
            except ServiceProblem:
                if answered is None or time.monotonic() - answered > patience_s:
                    raise
            if status not in ENDED:
                time.sleep(AGAIN_S)

    @contextmanager
    def _listening(self, job_id: str, seen: int) -> Iterator[httpx2.Response]:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(seen)}
        timeout = httpx2.Timeout(self._wire.timeout_s, read=SILENCE_S)
        path = self._wire.path(f"/jobs/{job_id}/events")
        with unreachable(self.url), self._wire.api.stream("GET", path, headers=headers, timeout=timeout) as reply:
            if not reply.is_success:
                reply.read()
                raise problem(reply) or not_ours(self.url, reply)
            yield reply

    # ── workers ───────────────────────────────────────────────────────────────────────────────

    def workers(self) -> list[WorkerReply]:
        """Return the processes that do steps, oldest first."""
        return self._wire.call(WorkerList, "GET", "/admin/workers").items

    def drain_worker(self, worker_id: str) -> WorkerReply:
        """Tell a worker to claim nothing more. Raises NotFound."""
        return self._wire.call(WorkerReply, "POST", f"/admin/workers/{quote(worker_id, safe='')}/drain")

    # ── operations ────────────────────────────────────────────────────────────────────────────

    def reprocess(self, **wanted: Any) -> ReprocessReply:
        """Retry the jobs that a filter finds; `wanted` has the fields of `schemas.ReprocessRequest`."""
        body = ReprocessRequest(**wanted).model_dump(mode="json", exclude_none=True)
        return self._wire.call(ReprocessReply, "POST", "/admin/jobs/reprocess", json=body, timeout=LONG_S)

    def recheck_uploads(self, **wanted: Any) -> RecheckReply:
        """Complete stuck uploads whose file is there; `wanted` has the fields of `schemas.RecheckRequest`."""
        body = RecheckRequest(**wanted).model_dump(mode="json", exclude_none=True)
        return self._wire.call(RecheckReply, "POST", "/admin/jobs/recheck-uploads", json=body, timeout=LONG_S)

    def dead_letters(
        self, *, code: str | None = None, pipeline: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> DeadLetterPage:
        """Return one page of jobs that failed for good, newest first."""
        query = {"code": code, "pipeline": pipeline, "limit": limit, "cursor": cursor}
        asked = {name: value for name, value in query.items() if value is not None}
        return self._wire.call(DeadLetterPage, "GET", "/admin/dead-letters", params=asked)

    def dead_letter(self, job_id: str) -> DeadLetter:
        """Return a job that failed for good, with what failed in it. Raises NotFound, also when it didn't."""
        return self._wire.call(DeadLetter, "GET", f"/admin/dead-letters/{job_id}")

    def usage(self) -> UsageReply:
        """Return what the key's tenant stores and runs, and what it may."""
        return self._wire.call(UsageReply, "GET", "/usage")

    # ── results ───────────────────────────────────────────────────────────────────────────────

    def download(
        self,
        url: str,
        path: Path | str,
        *,
        sha256: str | None = None,
        fresh: Fresh | None = None,
        got: Got | None = None,
    ) -> None:
        """Fetch a signed URL into a file, which appears whole or not at all.

        What has come of it is kept beside it (`.NAME.part`): after a break, and when this process was killed, the same
        call goes on there if it is still the same object. sha256: what the whole must have, in hex. fresh: is asked
        for a new URL when this one has expired. Raises BodyMismatch, StorageProblem, ServerUnreachable.
        """
        downloads.download(self._wire, url, Path(path), sha256=sha256, fresh=fresh, got=got, patient=False)

    def download_results(
        self, job_id: str, folder: Path | str, *, got: Callable[[int, int], None] | None = None
    ) -> list[ArtifactReply]:
        """Fetch every file that a completed job made, each checked by its SHA-256; return what they are.

        Those that are there already are left. got: is told how many bytes of how many are there. Raises NotReady.
        """
        folder = Path(folder)
        status = self.status(job_id).status
        artifacts = self.artifacts(job_id) if status == "completed" else []
        if not artifacts:
            raise NotReady(f"The job is {status}." if status != "completed" else "The job made no files.")
        folder.mkdir(parents=True, exist_ok=True)
        total, before = sum(artifact.size for artifact in artifacts), 0

        def fresh(artifact: ArtifactReply) -> str:
            again = Again(self._wire.patience_s)
            there = self._wire.insist(again, ArtifactList, "GET", f"/jobs/{job_id}/artifacts").items
            return next(other.url for other in there if other.id == artifact.id and other.url)

        for artifact in artifacts:
            assert artifact.url is not None, "a completed job's artifacts have URLs"
            path = folder / Path(artifact.name.replace("\\", "/")).name  # a server can't choose where its files go
            if not downloads.is_there(path, artifact.size, artifact.sha256):
                downloads.download(
                    self._wire,
                    artifact.url,
                    path,
                    sha256=artifact.sha256,
                    fresh=partial(fresh, artifact),
                    got=None if got is None else partial(_further, got, before, total),
                    patient=True,
                )
            before += artifact.size
            if got is not None:
                got(before, total)
        return artifacts


def _further(got: Callable[[int, int], None], before: int, total: int, size: int) -> None:
    got(before + size, total)


def _told(blocks: Iterator[bytes], sent: Got | None) -> Iterator[bytes]:
    total = 0
    for block in blocks:
        yield block
        total += len(block)
        if sent is not None:
            sent(total)

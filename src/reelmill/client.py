"""The Python client: HTTP and the wire contract, nothing else. One class, plain and synchronous.

    with Client("http://127.0.0.1:8000", key) as client:
        begun = client.initiate(Path("film.mp4"), pipeline="clips", params={"cutting": {"duration_s": 10}})
        client.put(begun.upload, Path("film.mp4"))
        client.complete(begun.video_id)
        for event in client.events(begun.job_id):
            print(event.type, event.data)
        for artifact in client.artifacts(begun.job_id):
            client.download(artifact.url, Path(artifact.name), sha256=artifact.sha256)

An error of the server is raised as the class of its code in `reelmill.errors`; no server, as ServerUnreachable.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from reelmill.errors import (
    BodyMismatch,
    InternalError,
    ObjectExists,
    ObjectMissing,
    ReelmillError,
    Refused,
    ServerUnreachable,
    ServiceProblem,
    SignatureInvalid,
    StorageUnavailable,
    catalogue,
)
from reelmill.schemas import (
    ArtifactList,
    ArtifactReply,
    InitiateReply,
    JobCreatedResponse,
    JobPage,
    JobReply,
    JobStatus,
    PlanReply,
    Problem,
    Upload,
    VideoReply,
)

BLOCK = 1 << 20
ENDED = frozenset({"completed", "failed", "cancelled"})
SILENCE_S = 45.0  #: an event stream is kept alive every 15 s; one that is silent for so long is broken
AGAIN_S = 1.0
LONG_S = 900.0  #: for replies that come after hashing or probing a whole file

BY_CODE = {kind.code: kind for kind in catalogue()}
Reply = TypeVar("Reply", bound=BaseModel)
Sent = Callable[[int], None]  #: is told how many bytes have gone so far


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event of a job. Those of type `progress` have no seq: they tell the present state."""

    seq: int | None
    type: str
    data: dict[str, Any]


class Client:
    """One server, one API key. Use it as a context manager, or `close` it."""

    def __init__(self, url: str, api_key: str | None = None, *, timeout_s: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        key = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        direct = {f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")}  # never through a proxy
        self._api = httpx2.Client(headers=key, timeout=timeout_s, mounts=direct)
        self._storage = httpx2.Client(timeout=httpx2.Timeout(LONG_S, connect=timeout_s), mounts=direct)

    def close(self) -> None:
        self._api.close()
        self._storage.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── uploads ───────────────────────────────────────────────────────────────────────────────

    def initiate(
        self,
        path: Path,
        *,
        content_type: str | None = None,
        sha256: str | None = None,
        labels: dict[str, str] | None = None,
        pipeline: str | None = None,
        params: dict[str, Any] | None = None,
    ) -> InitiateReply:
        """Announce a file and get the request that sends it. Raises RequestInvalid, ParamsInvalid, PipelineUnknown.

        sha256: hex; then storage takes exactly this file. content_type: guessed from the name by default.
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
        return self._call(InitiateReply, "POST", "/uploads/initiate", json=body)

    def put(self, upload: Upload, path: Path, *, sent: Sent | None = None) -> None:
        """Send the file to storage, exactly as the upload says. Raises StorageProblem."""
        headers = {**upload.headers, "Content-Length": str(path.stat().st_size)}
        with _unreachable(upload.url):
            reply = self._storage.request(upload.method, upload.url, headers=headers, content=_blocks(path, sent))
        _check_storage(reply)

    def complete(self, video_id: str) -> JobCreatedResponse:
        """Say that the file was sent. Raises UploadProblem, ParamsInvalid. Calling again changes nothing."""
        return self._call(JobCreatedResponse, "POST", "/uploads/complete", json={"video_id": video_id}, timeout=LONG_S)

    def video(self, video_id: str) -> VideoReply:
        return self._call(VideoReply, "GET", f"/videos/{video_id}")

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────

    def create_job(self, video_id: str, pipeline: str, params: dict[str, Any]) -> JobStatus:
        """Run a pipeline on an uploaded video. Raises ParamsInvalid, UploadNeeded, NotFound."""
        body = {"video_id": video_id, "pipeline": pipeline, "params": params}
        return self._call(JobStatus, "POST", "/jobs", json=body)

    def plan(self, video_id: str, pipeline: str, params: dict[str, Any]) -> PlanReply:
        """Return what `create_job` would make; nothing is created."""
        body = {"video_id": video_id, "pipeline": pipeline, "params": params}
        return self._call(PlanReply, "POST", "/jobs?dry_run=true", json=body)

    def jobs(self, *, status: str | None = None, limit: int = 50, cursor: str | None = None) -> JobPage:
        """Return one page of jobs, newest first."""
        query = {"status": status, "limit": limit, "cursor": cursor}
        return self._call(JobPage, "GET", "/jobs", params={k: v for k, v in query.items() if v is not None})

    def job(self, job_id: str) -> JobReply:
        """Return all about a job."""
        return self._call(JobReply, "GET", f"/jobs/{job_id}")

    def status(self, job_id: str) -> JobStatus:
        """Return where a job stands; once it is completed, with a signed URL for each result."""
        return self._call(JobStatus, "GET", f"/jobs/{job_id}/status")

    def cancel(self, job_id: str) -> JobStatus:
        """Raises TransitionRefused when the job has ended."""
        return self._call(JobStatus, "POST", f"/jobs/{job_id}/cancel")

    def retry(self, job_id: str) -> JobStatus:
        """Run a failed or cancelled job again from its first missing step. Raises TransitionRefused, UploadNeeded."""
        return self._call(JobStatus, "POST", f"/jobs/{job_id}/retry")

    def artifacts(self, job_id: str) -> list[ArtifactReply]:
        """Return every file that the job has made; with signed URLs once it is completed."""
        return self._call(ArtifactList, "GET", f"/jobs/{job_id}/artifacts").items

    def events(self, job_id: str, *, after: int = 0, patience_s: float = 60.0) -> Iterator[Event]:
        """Yield the job's events after seq `after`, then as they happen, until the job has ended.

        A connection that breaks is made again and goes on after the last event seen, for up to `patience_s`
        without an answer. Raises NotFound, ServerUnreachable.
        """
        seen, status, answered = after, "", None
        while status not in ENDED:
            try:
                with self._stream_events(job_id, seen) as reply:
                    answered = time.monotonic()
                    if reply.status_code == 204:
                        return
                    for event in parse_events(reply.iter_lines()):
                        answered = time.monotonic()
                        seen = event.seq if event.seq is not None else seen
                        status = event.data.get("status", status) if event.type == "progress" else status
                        yield event
            except (httpx2.TransportError, ServiceProblem) as error:
                if answered is None or time.monotonic() - answered > patience_s:
                    if isinstance(error, ReelmillError):
                        raise
                    raise _nobody(self.url, error) from error
            if status not in ENDED:
                time.sleep(AGAIN_S)

    @contextmanager
    def _stream_events(self, job_id: str, seen: int) -> Iterator[httpx2.Response]:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(seen)}
        timeout = httpx2.Timeout(self._timeout_s, read=SILENCE_S)
        with self._api.stream("GET", self._path(f"/jobs/{job_id}/events"), headers=headers, timeout=timeout) as reply:
            if not reply.is_success:
                reply.read()
                raise _problem(reply) or _not_ours(self.url, reply)
            yield reply

    # ── results ───────────────────────────────────────────────────────────────────────────────

    def download(self, url: str, path: Path, *, sha256: str | None = None, got: Sent | None = None) -> None:
        """Fetch a signed URL into a file, which appears whole or not at all.

        sha256: what the bytes must have, in hex. Raises BodyMismatch, StorageProblem, ServerUnreachable.
        """
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            with _unreachable(url), self._storage.stream("GET", url) as reply:
                if not reply.is_success:
                    reply.read()
                    _check_storage(reply)
                digest, size = hashlib.sha256(), 0
                with part.open("xb") as file:
                    for block in reply.iter_bytes(BLOCK):
                        digest.update(block)
                        size += file.write(block)
                        if got is not None:
                            got(size)
            if sha256 is not None and digest.hexdigest() != sha256:
                raise BodyMismatch(f"{path.name} arrived with the SHA-256 {digest.hexdigest()}; it should be {sha256}.")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    # ── parts ─────────────────────────────────────────────────────────────────────────────────

    def _path(self, path: str) -> str:
        return f"{self.url}/api/v1{path}"

    def _call(self, kind: type[Reply], method: str, path: str, **more: Any) -> Reply:
        with _unreachable(self.url):
            reply = self._api.request(method, self._path(path), **more)
        if not reply.is_success:
            raise _problem(reply) or _not_ours(self.url, reply)
        try:
            return kind.model_validate_json(reply.content)
        except ValidationError as error:
            raise _not_ours(self.url, reply) from error


def content_type_of(path: Path) -> str:
    """Return the media type that a file's name suggests."""
    guessed, encoding = mimetypes.guess_type(path.name)
    return guessed if guessed and not encoding else "application/octet-stream"


def parse_events(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events of a text/event-stream (WHATWG HTML, 9.2.6) whose data are JSON objects."""
    seq, kind, data = "", "", ""
    for line in lines:
        if not line:
            if data:
                yield Event(int(seq) if seq else None, kind or "message", json.loads(data))
            seq = kind = data = ""
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "id":
                seq = value
            case "event":
                kind = value
            case "data":
                data = f"{data}\n{value}" if data else value


def _blocks(path: Path, sent: Sent | None) -> Iterator[bytes]:
    total = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block
            total += len(block)
            if sent is not None:
                sent(total)


@contextmanager
def _unreachable(url: str) -> Iterator[None]:
    try:
        yield
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        raise _nobody(url, error) from error


def _nobody(url: str, error: Exception) -> ServerUnreachable:
    reason = str(error).rstrip(".") or type(error).__name__
    return ServerUnreachable(f"{url.partition('?')[0]} doesn't answer: {reason}.")


def _not_ours(url: str, reply: httpx2.Response) -> ServerUnreachable:
    return ServerUnreachable(f"{url} answered {reply.status_code}, but not as a Reelmill server of this version does.")


def _problem(reply: httpx2.Response) -> ReelmillError | None:
    """Return the error that a reply tells of; None when it isn't problem+json of ours."""
    try:
        told = Problem.model_validate_json(reply.content)
    except ValidationError:
        return None
    extra: dict[str, Any] = {"correlation_id": told.correlation_id}
    if told.errors:
        extra["errors"] = [error.model_dump() for error in told.errors]
    kind = BY_CODE.get(told.code)
    if kind is None:  # a newer server's
        kind, told_detail = (InternalError if told.status >= 500 else Refused), f"{told.detail} [{told.code}]"
        return kind(told_detail, **extra)
    return kind(told.detail, **extra)


def _check_storage(reply: httpx2.Response) -> None:
    """Raises what a store's reply says; ours speak problem+json, others only by their status."""
    if reply.is_success:
        return
    kinds: dict[int, type[ReelmillError]] = {403: SignatureInvalid, 404: ObjectMissing, 412: ObjectExists}
    kind = kinds.get(reply.status_code, StorageUnavailable)
    raise _problem(reply) or kind(f"{kind.what} It answered {reply.status_code}.")

"""The wire contract: what goes over HTTP, shared by the API and the Python client.

Requests refuse unknown fields. Replies may gain fields; clients ignore those that they don't know.
Stamps are the database's, in UTC (ISO 8601).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

Scope = Literal["upload", "jobs:read", "jobs:write", "admin"]
JobStatusName = Literal["awaiting_upload", "queued", "running", "completed", "failed", "cancelled"]
UploadStatusName = Literal["awaiting", "uploaded", "rejected", "expired", "aborted", "gone"]
ProcessingName = Literal["pending", "processing", "completed", "failed"]

LARGEST_INTEGER = (1 << 63) - 1  #: what databases and other languages can hold

Filename = Annotated[
    str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^/\\\x00-\x1f\x7f-\x9f\u2028\u2029]+$")
]
ContentType = Annotated[
    str,
    StringConstraints(max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*$"),
]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{64}$", to_lower=True)]
LabelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.-]{1,64}$")]
LabelValue = Annotated[str, StringConstraints(max_length=256)]
PipelineName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]
TextWord = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
Priority = Annotated[int, Field(strict=True, ge=-1000, le=1000)]


class Request(BaseModel):
    """What a client sends: only what is declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Reply(BaseModel):
    """What the server answers."""

    model_config = ConfigDict(frozen=True)


REUSE = "Take over what an earlier job of the same tenant has made; false: make everything anew."
THEN = "What follows once the job is completed, on what it made; up to 16 jobs, 4 of them one after the other."

# ── uploads ───────────────────────────────────────────────────────────────────────────────────


class Follower(Request):
    """A job that follows another: it runs on what that one made, on each clip or on the best film."""

    pipeline: PipelineName
    params: dict[str, Any] = Field(default_factory=dict, description="The pipeline's parameters; see GET /pipelines.")
    reuse: bool = Field(True, description=REUSE)
    then: list[Follower] = Field(default_factory=list, max_length=16, description=THEN)


class InitiateRequest(Request):
    """Announce a file; with `pipeline`, make its job too."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "filename": "holiday.mp4",
                    "size": 48211034,
                    "content_type": "video/mp4",
                    "labels": {"camera": "door"},
                    "pipeline": "clips",
                    "params": {"cutting": {"kind": "fixed", "duration_s": 30}, "text": {"text": "Summer"}},
                }
            ]
        }
    )

    filename: Filename = Field(description="Its name, to be shown; never used as a path.")
    size: int = Field(strict=True, ge=1, le=LARGEST_INTEGER, description="Its exact size in bytes.")
    content_type: ContentType = Field(description="Its media type, for example `video/mp4`.")
    sha256: Sha256 | None = Field(None, description="Its SHA-256 in hex; then storage takes exactly this file.")
    labels: dict[LabelName, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Any names and values to find the video by later."
    )
    pipeline: PipelineName | None = Field(None, description="What to run once the file has arrived.")
    params: dict[str, Any] | None = Field(None, description="The pipeline's parameters; see GET /pipelines.")
    reuse: bool = Field(True, description=REUSE)
    then: list[Follower] = Field(default_factory=list, max_length=16, description=THEN)
    multipart: bool = Field(False, description="Send it in parts, which can be parallel and resumed.")
    part_size: int | None = Field(
        None, strict=True, ge=1, le=LARGEST_INTEGER, description="Bytes of each part but the last; ours by default."
    )

    @model_validator(mode="after")
    def _hang_together(self) -> InitiateRequest:
        if self.params is not None and self.pipeline is None:
            raise ValueError("params are given, but no pipeline that would take them")
        if self.then and self.pipeline is None:
            raise ValueError("then is given, but no pipeline that it would follow")
        if self.part_size is not None and not self.multipart:
            raise ValueError("a part_size is given, but not `multipart`")
        return self


class Upload(Reply):
    """A request that the client sends to storage by itself, exactly as it stands, with the file as its body."""

    method: str
    url: str
    headers: dict[str, str]
    expires_at: datetime


class PartsUpload(Reply):
    """An upload in parts: have each signed by POST /uploads/{video_id}/parts, and send it."""

    part_size: int = Field(description="Bytes of each part but the last.")
    part_count: int
    expires_at: datetime = Field(description="Until when the upload must be completed.")


class InitiateReply(Reply):
    video_id: str
    job_id: str | None = Field(description="The job that waits for the upload; null without `pipeline`.")
    upload: Upload | PartsUpload


class WantedPart(Request):
    number: int = Field(strict=True, ge=1, le=10_000, description="1 … part_count.")
    sha256: Sha256 | None = Field(None, description="Its SHA-256 in hex; then storage takes exactly this part.")


class PartsRequest(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"parts": [{"number": 1}, {"number": 2}]}]})

    parts: list[WantedPart] = Field(min_length=1, max_length=100)


class SignedPart(Upload):
    """The request that sends one part, exactly as it stands."""

    number: int
    size: int = Field(description="Bytes of this part.")


class PartsReply(Reply):
    parts: list[SignedPart]


class ArrivedPart(Reply):
    number: int
    size: int
    sha256: str | None = Field(description="In hex, when the storage has verified it.")


class SignRequest(Request):
    """One S3 operation that a browser's uploader (Uppy's `signRequest`) is about to send."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"method": "PUT", "key": "film.mp4"}]})

    method: Literal["GET", "PUT", "POST", "DELETE"]
    key: str = Field("", max_length=1024, description="The uploader's own idea; the reply has the real one.")
    content_type: str | None = Field(None, max_length=255, validation_alias=AliasChoices("contentType", "content_type"))
    upload_id: str | None = Field(
        None, max_length=2048, pattern=r"^[\x21-\x7e]+$", validation_alias=AliasChoices("uploadId", "upload_id")
    )
    part_number: int | None = Field(None, ge=1, le=10_000, validation_alias=AliasChoices("partNumber", "part_number"))


class SignReply(Reply):
    url: str
    key: str
    headers: dict[str, str]


class CompleteRequest(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"video_id": "8b0c7f0e-6f9a-4b52-9e6a-3a9f7d1c2b10"}]})

    video_id: Id


class JobCreatedResponse(Reply):
    """The upload was verified; its job, if there is one, is queued."""

    job_id: str | None
    video_id: str
    status: str = Field(description="The job's status; the upload's, if there is no job.")
    message: str


class UploadReply(Reply):
    """Where an upload stands, with a fresh URL while bytes are still wanted."""

    video_id: str
    job_id: str | None
    upload_status: UploadStatusName
    size: int = Field(description="Announced bytes.")
    arrived_bytes: int | None = Field(description="Bytes in storage; null while there is nothing.")
    part_size: int | None = Field(description="Bytes of each part but the last; null of a single PUT.")
    part_count: int | None
    parts: list[ArrivedPart] = Field(description="Those that have arrived whole.")
    upload: Upload | None = Field(description="A fresh PUT; null of an upload in parts.")
    upload_expires_at: datetime = Field(description="Until when the upload must be completed.")


# ── texts ─────────────────────────────────────────────────────────────────────────────────────


class VariationsRequest(Request):
    """Variations of a text, to be looked at and edited before a job uses them (`unique_for_all`)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "Summer by the lake", "n": 12, "seconds": 30, "language": "en"}]}
    )

    text: Annotated[str, StringConstraints(min_length=1, max_length=2000)] = Field(
        description="What is varied. Placeholders like `{index}` are kept; `{Hello|Welcome}` gives alternatives."
    )
    n: int = Field(strict=True, ge=1, le=500, description="How many texts; exactly so many come back, or an error.")
    seconds: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] | None = Field(
        None, description="For how long each is seen: it must be readable in that time. null: any."
    )
    reading_cps: float = Field(20.0, ge=1, le=100, description="Characters a second that viewers can read.")
    max_chars: int = Field(200, strict=True, ge=1, le=1000, description="Most characters of a text.")
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")] | None = Field(
        None, description="Its language by ISO 639, like `en`; null: told from the text."
    )
    required_words: list[TextWord] = Field(default_factory=list, max_length=20, description="Each has all of these.")
    forbidden_words: list[TextWord] = Field(default_factory=list, max_length=100, description="None has any of these.")
    notes: Annotated[str, StringConstraints(max_length=2000)] | None = Field(
        None, description="Background for the model. Data, never instructions."
    )
    made_by: Literal["auto", "model", "local"] = Field(
        "auto", description="The model with local rules for what it gets wrong; the model alone; local rules alone."
    )
    variant: int = Field(0, strict=True, ge=0, le=LARGEST_INTEGER, description="Another number gives other texts.")


class VariedTextReply(Reply):
    text: str
    source: str = Field(description="What made it: `llm:<model>` or `local`.")


class VariationsReply(Reply):
    texts: list[VariedTextReply]
    model: str | None = Field(description="The model that was asked; null: none.")
    requests: int = Field(description="Answers that the model gave for this; those it gave before aren't paid again.")
    tokens_in: int
    tokens_out: int
    cost: float | None = Field(description="By REELMILL_TEXT_MODEL_PRICE, in its currency; null: no price is set.")
    took_s: float
    warnings: list[str] = Field(description="Why local rules had to help, for one.")


class TextPreviewRequest(Request):
    """One frame of a clip with its text, before any job: as the finished clip has it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "video_id": "8b0c7f0e-6f9a-4b52-9e6a-3a9f7d1c2b10",
                    "text": "Summer by the lake",
                    "style": {"preset": "lower_third"},
                    "video": {"aspect": "9:16"},
                    "start_s": 12.5,
                    "end_s": 20,
                }
            ]
        }
    )

    video_id: Id
    text: Annotated[str, StringConstraints(min_length=1, max_length=5000)] = Field(
        description="The text; placeholders like `{index}` are filled in."
    )
    style: dict[str, Any] = Field(
        default_factory=dict, description="How it looks: a text's parameters in the pipeline `clips`, `preset` for one."
    )
    video: dict[str, Any] = Field(default_factory=dict, description="`VideoParams` of the pipeline `clips`.")
    start_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = Field(
        0.0, description="The clip's beginning, in seconds of the video."
    )
    end_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] | None = Field(
        None, description="The clip's end; null: the video's."
    )
    at_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] | None = Field(
        None, description="Which moment, in seconds from the clip's beginning; null: when the text has come."
    )
    index: int = Field(1, strict=True, ge=1, le=100_000, description="What `{index}` becomes.")
    total: int = Field(1, strict=True, ge=1, le=100_000, description="What `{total}` becomes.")


class PresetRequest(Request):
    """A look of texts, to be named in jobs."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "acme", "style": {"preset": "boxed", "box_color": "#123456", "weight": 700}}]
        }
    )

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}$")] = Field(
        description="What jobs call it by."
    )
    style: dict[str, Any] = Field(
        description="How texts look: a text's parameters in the pipeline `clips`, without times."
    )


class PresetChange(Request):
    style: dict[str, Any] = Field(description="How texts look from now on.")


class PresetReply(Reply):
    id: str | None = Field(description="null: it is built in.")
    name: str
    style: dict[str, Any]
    updated_at: datetime | None = None


class PresetList(Reply):
    items: list[PresetReply]
    fonts: list[str] = Field(description="Fonts of one's own that a look can name, besides Noto Sans.")


class FontReply(Reply):
    id: str | None = Field(description="null: it lies in the server's folder.")
    name: str = Field(description="What texts call it by, as `font`.")
    family: str = Field(description="What its maker calls it.")
    sha256: str
    size_bytes: int | None = None
    created_at: datetime | None = None


class FontList(Reply):
    items: list[FontReply]


# ── videos ────────────────────────────────────────────────────────────────────────────────────


class AnalyzeDurationRequest(Request):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "video_id": "8b0c7f0e-6f9a-4b52-9e6a-3a9f7d1c2b10",
                    "cutting": {"kind": "fixed", "duration_s": 30},
                }
            ]
        }
    )

    video_id: Id
    cutting: dict[str, Any] = Field(default_factory=dict, description="`CuttingParams` of the pipeline `clips`.")


class Segment(Reply):
    """One clip to be; times from the first frame, exact to the frame."""

    index: int
    start_s: float
    end_s: float
    start_frame: int
    end_frame: int = Field(description="The first frame that isn't in it any more.")
    frames: int


class AnalyzeDurationReply(Reply):
    """The cut list that a job with these parameters would make, from the code that makes it."""

    video_id: str
    duration_s: float
    segment_count: int = Field(description="0 where cuts are found in the film: known after its analysis.")
    at_most: int | None = Field(None, description="How many there can be at most, where that is all that is known.")
    segments: list[Segment]


class VideoTechnical(Reply):
    """What the probe found."""

    container: str | None = None
    video_codec: str | None = None
    pixel_format: str | None = None
    frame_rate: str | None = Field(None, description="Frames per second as an exact fraction, `30000/1001`.")
    frame_count: int | None = None
    variable_frame_rate: bool | None = None
    rotation: int | None = None
    hdr: bool | None = None
    audio_codec: str | None = None
    audio_sample_rate: int | None = None
    audio_channels: int | None = None


class VideoReply(Reply):
    id: str
    filename: str
    size: int
    content_type: str
    sha256: str | None = Field(description="As announced at initiate.")
    labels: dict[str, str]
    upload_status: UploadStatusName
    processing_status: ProcessingName
    processing_job_id: str | None = Field(description="The newest job on this video.")
    processing_completed_at: datetime | None
    processing_error: str | None
    duration: float | None = Field(description="Seconds; null until the upload was verified, and of a picture.")
    width: int | None = Field(description="Pixels as displayed.")
    height: int | None
    technical: VideoTechnical | None
    user_id: str
    created_at: datetime
    uploaded_at: datetime | None
    source_removed_at: datetime | None = Field(description="When its source was removed; its upload_status is `gone`.")


class PlayReply(Reply):
    """Where a video's source can be played and downloaded without a key."""

    video_id: str
    url: str = Field(description="Freshly signed; takes Range.")
    content_type: str = Field(description="By what was found in the file.")
    size: int
    expires_at: datetime


class WaveformReply(Reply):
    """How loud a video is over its length."""

    version: Literal[1] = Field(1, description="Of this document's form. It may gain fields without a new version.")
    video_id: str
    duration_s: float
    has_sound: bool
    peaks: list[float] = Field(
        description="Of equal parts of the film, in their order: 0 is −60 dBFS or less, 1 full scale, linear in dB. "
        "Fewer than asked for of a very short film; none without sound."
    )


class DeletedVideo(Reply):
    """It is hidden, with its jobs and results."""

    video_id: str
    deleted_at: datetime
    restore_until: datetime = Field(description="Until then POST /videos/{video_id}/restore brings all of it back.")


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────


class JobRequest(Request):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "video_id": "8b0c7f0e-6f9a-4b52-9e6a-3a9f7d1c2b10",
                    "pipeline": "clips",
                    "params": {"cutting": {"kind": "fixed", "duration_s": 30}, "text": {"text": "Summer"}},
                }
            ]
        }
    )

    video_id: Id
    pipeline: PipelineName
    params: dict[str, Any] = Field(default_factory=dict, description="The pipeline's parameters; see GET /pipelines.")
    priority: Priority = Field(0, description="Higher is worked on earlier.")
    reuse: bool = Field(True, description=REUSE)
    then: list[Follower] = Field(default_factory=list, max_length=16, description=THEN)


class GenerateRequest(Request):
    """Make a video that isn't there yet."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "params": {
                        "script": "# Summer sale\n\nFrom Monday on, everything is half price.\n\n# See you there",
                        "aspect": "9:16",
                        "quality_levels": ["720p", "1080p"],
                    },
                    "labels": {"campaign": "summer"},
                }
            ]
        }
    )

    params: dict[str, Any] = Field(description="The pipeline's parameters; see GET /pipelines.")
    pipeline: PipelineName = Field("generate", description="What makes it.")
    labels: dict[LabelName, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Any names and values to find the video by later."
    )
    priority: Priority = Field(0, description="Higher is worked on earlier.")


class ScenePreviewRequest(Request):
    """One scene of a film, before any job: as the finished film begins it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"params": {"scenes": [{"text": "The lake", "narration": "A small lake."}]}, "scene": 0}]
        }
    )

    params: dict[str, Any] = Field(description="Parameters of the pipeline `generate`, with `scenes` or a `script`.")
    scene: int = Field(0, strict=True, ge=0, le=10_000, description="Which scene, from 0.")


class VoiceReply(Reply):
    name: str = Field(description="What the parameter `voice` takes.")
    title: str


class VoiceEngine(Reply):
    kind: str = Field(description="The word before the slash in REELMILL_VOICE.")
    title: str
    needs_key: bool
    setup: str = Field(description="How an operator gets it.")


class VoiceList(Reply):
    """What speaks narrations on this server."""

    engine: str | None = Field(description="Engine, version and model; null: narrations are refused.")
    kind: str = Field(description="Which of `engines` it is; `off` for none.")
    items: list[VoiceReply] = Field(description="Voices that can be named; empty where the engine doesn't tell.")
    engines: list[VoiceEngine] = Field(description="All that Reelmill can speak by, and what each needs.")


class PriorityRequest(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"priority": 10}]})

    priority: Priority = Field(description="Higher is worked on earlier; 0 unless told.")


class ErrorReply(Reply):
    """Why something failed, from the catalogue of errors."""

    code: str
    detail: str
    remedy: str


class JobStatus(Reply):
    """What a client polls."""

    job_id: str
    video_id: str
    pipeline: str
    status: JobStatusName
    stage: str | None
    progress_pct: float = Field(description="0–100, never lower within a run.")
    message: str
    run: int = Field(description="1, raised by each retry.")
    queue_position: int | None = Field(
        description="How many queued jobs come before this one, 1,000 at most; null unless queued."
    )
    warnings: list[str]
    error: ErrorReply | None
    download_urls: list[str] = Field(
        description="Freshly signed, one for each result; empty unless completed, or running in the stage `storing`."
    )
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None = Field(description="When it ended, however it ended.")
    results_removed_at: datetime | None = Field(description="When its files were removed; null while they are kept.")


class AttemptReply(Reply):
    """The history of one claim of a step."""

    attempt: int
    run: int
    worker_id: str
    engine_task_id: str | None
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    error: ErrorReply | None
    command: str | None = Field(description="The exact command, signatures removed.")
    stderr: str | None = Field(description="The tail of what it printed.")
    versions: dict[str, str] | None = Field(
        description="Of reelmill and ffmpeg on the worker; null while it runs, and of one that never came back."
    )


class StepReply(Reply):
    """The unit of work: one clip, one chunk, one thumbnail set."""

    step_id: str
    stage: str
    index: int
    kind: str
    status: Literal["ready", "running", "done", "failed", "cancelled"]
    optional: bool
    run: int
    attempt: int = Field(description="Raised by each claim, never reset.")
    tries: int = Field(description="Charged errors in this run.")
    crashes: int = Field(description="Lost leases and dead processes in this run.")
    progress: float = Field(description="0–1 of the running attempt.")
    worker_id: str | None
    digest: str
    params: dict[str, Any]
    output: dict[str, Any] | None
    reused_from: str | None = Field(description="The step whose results were taken over; null of one that was run.")
    error: ErrorReply | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempts: list[AttemptReply]


class StageReply(Reply):
    name: str
    weight: int = Field(description="Its share of the progress, in percent.")


class JobSummary(Reply):
    """A job in a listing."""

    job_id: str
    video_id: str
    user_id: str
    pipeline: str
    pipeline_version: str
    params: dict[str, Any]
    status: JobStatusName
    stage: str | None
    run: int
    priority: int
    progress_pct: float
    message: str
    warnings: list[str]
    error: ErrorReply | None
    correlation_id: str | None
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None


class FollowerReply(Reply):
    """What came, or may come, of an entry of `then`."""

    pipeline: str
    params: dict[str, Any]
    reuse: bool
    then: list[dict[str, Any]] = Field(description="What shall follow it in turn; its own job tells what came of it.")
    status: Literal["waiting", "started", "not_started"] = Field(
        description="`not_started` also while the job before it is failed or cancelled: a retry of that makes it wait."
    )
    job_id: str | None = Field(description="Of the first of its jobs; null until it was started.")
    job_ids: list[str] = Field(description="Of all its jobs: one for each result that it runs on.")
    why: str | None = Field(description="Why it, or a part of it, wasn't started.")


class JobReply(JobSummary):
    """All about one job."""

    queue_position: int | None
    stages: list[StageReply]
    steps_planned: int = Field(description="Of the present stage.")
    steps_done: int
    last_seq: int = Field(description="The newest event's number.")
    reuse: bool = Field(description="Whether it takes over what earlier jobs have made.")
    reused: int = Field(description="How many of its steps took over what an earlier one had made.")
    follows: str | None = Field(description="The job that it follows.")
    then: list[FollowerReply] = Field(description="What follows it when it is completed.")
    steps: list[StepReply]


class PlanReply(Reply):
    """What a job would make; nothing was created."""

    dry_run: Literal[True] = True
    video_id: str
    pipeline: str
    pipeline_version: str
    params: dict[str, Any] = Field(description="As they would be stored, with every default filled in.")
    steps: int = Field(description="How many steps the job would have.")
    plan: dict[str, Any] = Field(description="The pipeline's own preview; for `clips`, the cut list.")


class GenerationPlan(Reply):
    """What a video would be made of; nothing was created."""

    dry_run: Literal[True] = True
    pipeline: str
    pipeline_version: str
    params: dict[str, Any] = Field(description="As they would be stored, with every default filled in.")
    steps: int = Field(description="How many steps the job would have.")
    plan: dict[str, Any] = Field(description="For `generate`, the scenes with `estimated_s`, and the title.")


class ArtifactReply(Reply):
    """A checked file that a job made."""

    id: str
    job_id: str
    stage: str
    index: int
    kind: str
    name: str
    size: int
    sha256: str
    content_type: str
    meta: dict[str, Any]
    primary: bool = Field(description="One of the job's results; others support them (thumbnails, a manifest).")
    key: str = Field(description="Of the object in storage.")
    place: Literal["stored", "spool"] = Field(description="`spool`: kept locally until storage answers.")
    retries: int = Field(description="Of its upload, beyond the first try.")
    created_at: datetime
    stored_at: datetime | None = Field(description="When it was in storage; null while it is in the spool.")
    url: str | None = Field(description="Freshly signed; null until the job is completed, or in the stage `storing`.")


class ArtifactList(Reply):
    items: list[ArtifactReply]


class Dimensions(Reply):
    width: int
    height: int


class TechnicalMetadata(Reply):
    """Of the film in the best quality; null: not told by the pipeline."""

    content_type: str
    video_codec: str | None
    audio_codec: str | None
    frame_rate: str | None = Field(description="Frames per second as an exact fraction, `30000/1001`.")
    bit_rate: int | None = Field(description="Bits per second, of all tracks together.")


class StreamVariant(Reply):
    """One quality of an adaptive stream."""

    quality: str | None
    width: int | None
    height: int | None
    bandwidth: int | None = Field(description="Bits per second at the most.")
    codecs: str | None = Field(description="As in RFC 6381: `avc1.640028,mp4a.40.2`.")


class StreamingInfo(Reply):
    """How it streams."""

    hls_url: str | None = Field(description="Of the adaptive playlist, freshly signed; null when there is none.")
    qualities: list[str] = Field(description="What `GET /jobs/{job_id}/stream?quality=` takes beside `auto`.")
    variants: list[StreamVariant]


class StoredOutput(Reply):
    """One result in storage."""

    id: str
    name: str
    kind: str
    quality: str | None = Field(description="`720p`; null when the pipeline tells no size.")
    key: str = Field(description="Of the object in storage.")
    size: int
    sha256: str
    content_type: str
    width: int | None
    height: int | None
    duration: float | None = Field(description="Seconds.")
    uploaded_at: datetime | None = Field(description="When it was in storage; null while it is kept locally.")
    retries: int = Field(description="Of its upload, beyond the first try.")
    url: str | None = Field(description="Freshly signed; null of a file that is kept on another machine.")


class JobMetadata(Reply):
    """What a completed job made. Keys are what is stored; URLs are signed when it is read."""

    version: Literal[1] = Field(1, description="Of this document's form. It may gain fields without a new version.")
    job_id: str
    video_id: str
    pipeline: str
    pipeline_version: str
    run: int
    success: bool
    warnings: list[str]
    error: ErrorReply | None
    created_at: datetime
    completed_at: datetime | None
    processing_time: float | None = Field(description="Seconds from the first claim to the end.")
    video_urls: dict[str, str] = Field(description="By quality; by name when several films have one quality.")
    thumbnail_urls: list[str]
    technical_metadata: TechnicalMetadata | None = Field(description="Null when it made no film.")
    streaming_info: StreamingInfo
    s3_keys: list[str] = Field(description="Of the results, in their order.")
    outputs: list[StoredOutput]
    file_size: int = Field(description="Bytes of all results together.")
    duration: float | None = Field(description="Seconds, of the film in the best quality.")
    dimensions: Dimensions | None = Field(description="Pixels, of the film in the best quality.")


class ShareRequest(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"life_s": 604800, "embed": ["https://shop.example"]}]})

    life_s: int = Field(
        604_800, strict=True, ge=60, le=31_536_000, description="Seconds for which the link works; a week by default."
    )
    embed: list[Annotated[str, StringConstraints(max_length=255, pattern=r"^(\*|https?://[A-Za-z0-9.:\[\]-]+)$")]] = (
        Field(default_factory=list, max_length=16, description="Web pages that may show it in a frame; `*`: all.")
    )


class ShareReply(Reply):
    """A link by which anybody may watch a job's results."""

    id: str
    job_id: str
    url: str = Field(description="Of a page with a player.")
    embed: list[str]
    actor: str = Field(description="Who made it.")
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class ShareList(Reply):
    items: list[ShareReply]


class PipelineReply(Reply):
    name: str
    title: str
    version: str
    stages: list[StageReply]
    params: dict[str, Any] = Field(description="JSON schema of its parameters.")


class PipelineList(Reply):
    items: list[PipelineReply]


# ── keys ──────────────────────────────────────────────────────────────────────────────────────


def _each_once(scopes: list[Scope]) -> list[Scope]:
    if len(set(scopes)) != len(scopes):
        raise ValueError("a scope is named twice")
    return scopes


class KeyRequest(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "web shop", "scopes": ["upload", "jobs:read"]}]})

    name: str = Field(min_length=1, max_length=128, description="To tell it from others.")
    scopes: Annotated[list[Scope], AfterValidator(_each_once)] = Field(
        min_length=1, json_schema_extra={"uniqueItems": True}, description="What it may do; `admin` includes all."
    )
    subject: str | None = Field(
        None, min_length=1, max_length=128, description="`user_id` of what it makes; the name by default."
    )


class KeyReply(Reply):
    id: str
    name: str
    prefix: str = Field(description="How its secret begins.")
    scopes: list[str]
    subject: str
    active: bool = Field(description="Whether it opens anything now.")
    created_at: datetime
    revoked_at: datetime | None = Field(description="When it stopped; in the future of one that was rotated.")


class KeyCreated(KeyReply):
    secret: str | None = Field(description="Shown once, now; null when the reply is a replay.")


class RotateRequest(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap_s": 3600}]})

    overlap_s: int = Field(
        0, strict=True, ge=0, le=604_800, description="Seconds for which the old secret goes on: time to roll it out."
    )


class KeyRotated(KeyCreated):
    """The new key."""

    replaces: KeyReply = Field(description="The old one, with its end.")


class KeyList(Reply):
    items: list[KeyReply]


# ── audit ─────────────────────────────────────────────────────────────────────────────────────


class AuditReply(Reply):
    """Who did what, and when."""

    id: str
    action: str = Field(description="`key.create`, `key.rotate`, `key.revoke`, `upload.abort`, `browser.signin`, …")
    target: str = Field(description="The id of what it was done to.")
    actor: str = Field(
        description="The key's subject; `owner` in the signed-in browser, `operator` at the server's command line."
    )
    actor_key_id: str | None
    correlation_id: str | None = Field(description="As in the header X-Request-Id and in the server's log.")
    data: dict[str, Any] = Field(description="What else there is to know; never a secret.")
    created_at: datetime


class WorkerReply(Reply):
    """A process that does steps."""

    id: str
    host: str
    pid: int
    state: Literal["working", "draining", "lost"] = Field(
        description="`draining`: it claims nothing more. `lost`: it wasn't heard of for longer than a lease."
    )
    slots: int = Field(description="Steps at a time.")
    queues: list[str] = Field(description="Which steps it takes; empty: all.")
    engine: str = Field(description="What wakes it: `embedded` (a server's own), `claims` (its own looks) or `celery`.")
    version: str
    started_at: datetime
    seen_at: datetime
    silent_s: float = Field(description="Seconds since it was last heard of.")
    draining_at: datetime | None


class WorkerList(Reply):
    items: list[WorkerReply]


# ── operations ────────────────────────────────────────────────────────────────────────────────


class ReprocessRequest(Request):
    """Which ended jobs to retry. Without any field: all failed ones, newest first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"error_code": "encode_failed", "pipeline": "clips", "dry_run": True}]}
    )

    status: Literal["failed", "cancelled"] = "failed"
    error_code: str | None = Field(None, max_length=64, description="`encode_failed`, for example.")
    pipeline: PipelineName | None = None
    created_after: AwareDatetime | None = Field(None, description="Made at this moment or later.")
    created_before: AwareDatetime | None = None
    labels: dict[LabelName, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Of their videos; all must match."
    )
    limit: int = Field(100, strict=True, ge=1, le=1000, description="Most jobs at once.")
    cursor: str | None = Field(None, max_length=500, description="`next_cursor` of the reply before.")
    dry_run: bool = Field(False, description="Only say which jobs would be retried.")


class ReprocessedJob(Reply):
    job_id: str
    video_id: str
    outcome: Literal["retried", "matched", "refused"] = Field(description="`matched`: with dry_run.")
    error: ErrorReply | None = Field(description="Why it was refused.")


class ReprocessReply(Reply):
    items: list[ReprocessedJob]
    next_cursor: str | None = Field(description="Send it as `cursor` for further jobs; null when there are no more.")


class RecheckRequest(Request):
    """Which uploads that were begun and never completed to look after."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"older_than_s": 300}]})

    older_than_s: float = Field(300, ge=0, le=31_536_000, description="Begun so many seconds ago.")
    limit: int = Field(100, strict=True, ge=1, le=1000, description="Most uploads at once.")
    cursor: str | None = Field(None, max_length=500, description="`next_cursor` of the reply before.")
    dry_run: bool = Field(False, description="Only look; complete nothing.")


class RecheckedUpload(Reply):
    video_id: str
    job_id: str | None
    initiated_at: datetime
    outcome: Literal["verified", "arrived", "missing", "refused"] = Field(
        description="`verified`: completed now, its job queued. `arrived`: with dry_run. `missing`: left as it is; it "
        "may still come, or expires. `refused`: what is there isn't the announced video."
    )
    error: ErrorReply | None = Field(description="Why it was refused.")


class RecheckReply(Reply):
    items: list[RecheckedUpload]
    next_cursor: str | None = Field(description="Send it as `cursor` for further uploads; null when there are no more.")


class DeadLetterStep(Reply):
    """A step that failed, and its last attempt."""

    step_id: str
    kind: str
    attempts: int
    worker_id: str | None
    command: str | None = Field(description="The exact command, signatures removed.")
    stderr: str | None = Field(description="The tail of what it printed.")
    versions: dict[str, str] | None = Field(description="Of reelmill and ffmpeg on the worker.")
    error: ErrorReply | None


class DeadLetter(Reply):
    """A job that failed for good: a person has to look."""

    job_id: str
    video_id: str
    user_id: str
    pipeline: str
    pipeline_version: str
    run: int
    stage: str | None
    error: ErrorReply
    correlation_id: str | None
    created_at: datetime
    failed_at: datetime
    retry_refused: str | None = Field(description="Code of what refuses a retry for ever; null when it may be retried.")
    steps: list[DeadLetterStep] = Field(description="Those that failed; none of a job that never got so far.")


class SwitchRequest(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "The font licence is being renewed."}]})

    reason: str = Field(min_length=1, max_length=500, description="Told to everybody whose job is refused.")


class SwitchReply(Reply):
    """Whether a pipeline takes new jobs."""

    pipeline: str
    off: bool
    reason: str | None
    by: str | None
    since: datetime | None
    all_tenants: bool = Field(description="An operator has switched it off for all; only that one can undo it.")


class FindingReply(Reply):
    """What one check of the installation saw."""

    name: str = Field(description="Of the check; stable.")
    title: str
    part_of: str | None = Field(description="The check that it is a part of.")
    level: Literal["ok", "warning", "failed", "skipped"]
    detail: str
    code: str | None = Field(description="Of the catalogue, when something is wrong.")
    why: str | None
    remedy: str | None
    fix: str | None = Field(description="A shell command to paste.")
    took_s: float


class SystemReply(Reply):
    """The installation, as `reelmill doctor` sees it."""

    version: str
    ok: bool = Field(description="Nothing has failed; warnings are no failure.")
    checked_at: datetime
    findings: list[FindingReply]


class UsageReply(Reply):
    """What the tenant uses, and may use."""

    source_bytes: int = Field(description="Uploaded, and announced by uploads that are still open.")
    output_bytes: int
    jobs_in_flight: int = Field(description="Waiting for an upload, queued or running.")
    quota_bytes: int | None = Field(description="For sources and outputs together; null: no limit.")
    quota_jobs: int | None = Field(description="For jobs in flight; null: no limit.")


# ── pages and problems ────────────────────────────────────────────────────────────────────────

T = TypeVar("T", bound=BaseModel)


class Listing(Reply, Generic[T]):
    """One page of a listing, newest first."""

    items: list[T]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null on the last.")


class VideoPage(Listing[VideoReply]):
    pass


class JobPage(Listing[JobSummary]):
    pass


class AuditPage(Listing[AuditReply]):
    pass


class DeadLetterPage(Listing[DeadLetter]):
    pass


class FieldError(Reply):
    field: str = Field(description="Where: `body.params.cutting.duration_s`.")
    message: str


class Problem(Reply):
    """An error (RFC 9457), from the catalogue. `code` is stable for ever; the words may change."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:reelmill:error:not_found",
                    "title": "There is nothing by this id.",
                    "status": 404,
                    "code": "not_found",
                    "detail": "There is no job 8b0c7f0e-6f9a-4b52-9e6a-3a9f7d1c2b10.",
                    "why": "The id is unknown, was deleted, or isn't yours.",
                    "remedy": "Check the id and the API key that you use.",
                    "correlation_id": "01J9ZC7Q6W",
                }
            ]
        }
    )

    type: str = Field(description="`urn:reelmill:error:` and the code.")
    title: str
    status: int
    code: str
    detail: str
    why: str
    remedy: str
    correlation_id: str = Field(description="Also in the header X-Request-Id and in the server's log.")
    errors: list[FieldError] | None = Field(None, description="With request_invalid and params_invalid: each fault.")
    missing_parts: list[int] | None = Field(None, description="With upload_missing of an upload in parts: up to 100.")
    longest: str | None = Field(None, description="With text_does_not_fit: the beginning of the text that would fit.")


class HealthReply(Reply):
    status: Literal["ok"] = "ok"
    version: str


class CheckReply(Reply):
    ok: bool
    detail: str
    code: str | None = None  #: of the catalogue, when something is wrong


class ReadyReply(Reply):
    ready: bool
    checks: dict[str, CheckReply]

"""Videos that are made here: out of scenes, a script or a topic."""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from reelmill.api import idempotency
from reelmill.api.access import Guarded, Platform, Who, needs
from reelmill.api.jobs import NOT_LET_IN, status_of
from reelmill.api.texts import given_up
from reelmill.errors import (
    DeadlineExceeded,
    EncodeFailed,
    NotFound,
    ObjectMissing,
    OutputRejected,
    ParamsInvalid,
    PipelineUnknown,
    SourceGone,
    Stopped,
    StorageUnavailable,
    TextDoesNotFit,
    TextModelNeeded,
    TooManySteps,
    UploadNeeded,
    VoiceNeeded,
)
from reelmill.jobs.generating import generation
from reelmill.jobs.lifecycle import Status
from reelmill.jobs.model import Caller, Job
from reelmill.pipelines.generate.params import GenerateParams
from reelmill.pipelines.generate.preview import scene_preview
from reelmill.schemas import (
    GenerateRequest,
    GenerationPlan,
    JobStatus,
    ScenePreviewRequest,
    VoiceEngine,
    VoiceList,
    VoiceReply,
)
from reelmill.voices.opening import ENGINES, named_voice
from reelmill.wiring import App

router = APIRouter(prefix="/api/v1/videos", tags=["videos"], route_class=Guarded)
voices = APIRouter(prefix="/api/v1/voices", tags=["texts"], route_class=Guarded)


@router.post(
    "/generate",
    status_code=201,
    responses={200: {"model": GenerationPlan, "description": "With `dry_run=true`: the plan; nothing was created."}},
)
@needs(
    "jobs:write",
    NotFound,
    PipelineUnknown,
    ParamsInvalid,
    TooManySteps,
    UploadNeeded,
    SourceGone,
    VoiceNeeded,
    TextModelNeeded,
    *NOT_LET_IN,
)
def generate_video(
    request: Request,
    response: Response,
    app: Platform,
    who: Who,
    wanted: GenerateRequest,
    dry_run: Annotated[bool, Query(description="Only say what the job would make.")] = False,
) -> JobStatus | GenerationPlan:
    """Make a video out of scenes, a script or a topic.

    The reply has the new video's id and its job's. Once the job is completed, the video is one like any other.
    """
    if dry_run:
        chosen = app.planner.pipeline(wanted.pipeline)
        plan = app.service.plan_generation(who, wanted.pipeline, wanted.params)
        response.status_code = 200
        return GenerationPlan(
            pipeline=chosen.name,
            pipeline_version=chosen.version,
            params=app.planner.checked(chosen, wanted.params).model_dump(mode="json"),
            steps=plan["steps"],
            plan={name: value for name, value in plan.items() if name != "steps"},
        )
    job = idempotency.made_before(request, lambda video_id: _job_of(app, video_id))
    if job is None:
        job = app.service.generate(
            who,
            wanted.params,
            pipeline=wanted.pipeline,
            labels=wanted.labels,
            priority=wanted.priority,
            video_id=idempotency.reserved(request),
        )
    status = status_of(app, job)
    idempotency.keep(request, status.model_copy(update={"download_urls": []}))  # signed URLs are never stored
    return status


@router.post(
    "/generate/preview",
    response_class=Response,
    responses={
        200: {
            "description": "The frame.",
            "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
@needs(
    "jobs:read", NotFound, ParamsInvalid, UploadNeeded, SourceGone, TextDoesNotFit, Stopped, EncodeFailed,
    OutputRejected, DeadlineExceeded, ObjectMissing, StorageUnavailable,
)  # fmt: skip
async def preview_scene(request: Request, app: Platform, who: Who, wanted: ScenePreviewRequest) -> Response:
    """See a scene before it is made: the frame on which it begins, exactly as the film in 480p has it."""
    idempotency.remember(request, "scene")  # a picture isn't kept: it is made again
    async with given_up(request) as stop:
        made = await to_thread.run_sync(_drawn, app, who, wanted, stop, limiter=request.app.state.previewing)
    return Response(made, media_type="image/png", headers={"Cache-Control": "no-store"})


def _drawn(app: App, who: Caller, wanted: ScenePreviewRequest, stop: threading.Event) -> bytes:
    if stop.is_set():  # while it waited for its turn
        raise Stopped("The client has gone.")
    _, params, source = generation(app.planner, app.store, who, "generate", wanted.params)
    assert isinstance(params, GenerateParams), "it is that pipeline's"
    scratch = app.settings.data / "scratch"
    return scene_preview(app.tools, params, wanted.scene, source["media"], app.objects, scratch, stop)


@voices.get("")
@needs("jobs:read")
def list_voices(app: Platform) -> VoiceList:
    """Tell what speaks narrations here, which voices it has, and what others need."""
    named, _, _ = named_voice(app.settings).partition("/")
    return VoiceList(
        engine=app.voices.voice_name,
        kind=named,
        items=[VoiceReply(name=name, title=title) for name, title in app.voices.known()],
        engines=[VoiceEngine.model_validate(asdict(one)) for one in ENGINES],
    )


def _job_of(app: App, video_id: str) -> Job:
    """Return the job that makes a video. Raises NotFound, also when the request ended before it was queued."""
    _, job = app.store.video_and_job(video_id)
    if job is None or job.status is Status.AWAITING_UPLOAD:
        raise NotFound
    return job

"""Texts before a job uses them: variations to be edited, and how one looks on a clip."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from reelmill.api import idempotency
from reelmill.api.access import Guarded, Platform, Who, known_form, needs
from reelmill.errors import (
    DeadlineExceeded,
    EncodeFailed,
    FontMissing,
    NotFound,
    ObjectMissing,
    OutputRejected,
    ParamsInvalid,
    SourceGone,
    Stopped,
    StorageUnavailable,
    TextContractBroken,
    TextDoesNotFit,
    TextModelBusy,
    TextModelDenied,
    TextModelFailed,
    TextModelRefused,
    TextModelTimedOut,
    TextModelUnknown,
    TextModelUnreachable,
    TextReplyBroken,
    UploadNeeded,
    VariationsUnavailable,
)
from reelmill.jobs.lifecycle import UploadStatus
from reelmill.jobs.model import Caller, Json
from reelmill.pipelines.clips.preview import Previewed, preview_of, read_source
from reelmill.schemas import TextPreviewRequest, VariationsReply, VariationsRequest
from reelmill.texts.request import wanted_of
from reelmill.wiring import App

router = APIRouter(prefix="/api/v1/texts", tags=["texts"], route_class=Guarded)

VARYING = 8  #: requests at a time: each may wait for a model
PREVIEWING = 2  #: at a time: each keeps a processor busy
LOOK_S = 0.05  #: seconds between two looks whether the client is still there


@router.post("/variations")
@needs(
    "jobs:write", VariationsUnavailable, TextContractBroken, TextModelBusy, TextModelDenied, TextModelFailed,
    TextModelRefused, TextModelTimedOut, TextModelUnknown, TextModelUnreachable, TextReplyBroken,
)  # fmt: skip
async def vary_texts(request: Request, app: Platform, who: Who, wanted: VariationsRequest) -> VariationsReply:
    """Make variations of a text: exactly `n` different ones. The same request gives the same texts, and costs once."""
    asked = wanted_of(wanted, has_model=app.texts.model_name is not None)
    # In threads of their own, so that waiting for a model can't hold up the rest of the API.
    made = await to_thread.run_sync(app.texts.vary, who.tenant, asked, limiter=request.app.state.varying)
    return VariationsReply.model_validate(asdict(made))


@router.post(
    "/preview",
    response_class=Response,
    responses={
        200: {
            "description": "The frame.",
            "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
            "headers": {
                "Text-Report": {
                    "description": "JSON: size, lines, box, safe area, contrast, what was added for it, speed, fonts.",
                    "schema": {"type": "string"},
                }
            },
        }
    },
)
@needs(
    "jobs:read", NotFound, UploadNeeded, SourceGone, ParamsInvalid, TextDoesNotFit, FontMissing, Stopped, EncodeFailed,
    OutputRejected, DeadlineExceeded, ObjectMissing, StorageUnavailable,
)  # fmt: skip
async def preview_text(request: Request, app: Platform, who: Who, wanted: TextPreviewRequest) -> Response:
    """See a text on a clip: one frame as a PNG, exactly as the finished clip has it.

    Made to be asked as somebody types: what was decoded is kept, and a request that is given up is stopped.
    """
    idempotency.remember(request, wanted.video_id)  # a picture isn't kept: it is made again
    async with given_up(request) as stop:
        made = await to_thread.run_sync(
            _previewed, app, who, wanted, stop, limiter=request.app.state.previewing, abandon_on_cancel=False
        )
    headers = {"Text-Report": json.dumps(made.report), "Cache-Control": "no-store"}
    return Response(made.png, media_type="image/png", headers=headers)


def _previewed(app: App, who: Caller, wanted: TextPreviewRequest, stop: threading.Event) -> Previewed:
    if stop.is_set():  # while it waited for its turn
        raise Stopped("The client has gone.")
    video = app.store.video(known_form("video")(wanted.video_id), who.tenant)
    if video.upload_status is UploadStatus.GONE:
        raise SourceGone
    if video.source is None:
        raise UploadNeeded
    asked = preview_of(wanted.model_dump(exclude={"video_id"}), lambda kind, name: _kept(app, who.tenant, kind, name))
    source, identity, filename = read_source(video.source)
    location = str(app.objects.locate(video.key))
    return app.text_previews.make(location, source, identity, filename, asked, who.tenant, stop)


def _kept(app: App, tenant: str, kind: str, name: str) -> Json | None:
    kept = app.access.find_brand(tenant, kind, name)
    return kept.data if kept is not None else None


@asynccontextmanager
async def given_up(request: Request) -> AsyncIterator[threading.Event]:
    """Give an event that is set once the client has gone."""
    stop = threading.Event()

    async def watch() -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(LOOK_S)
        stop.set()

    watching = asyncio.create_task(watch())  # a group of tasks would wrap what is raised
    try:
        yield stop
    finally:
        stop.set()
        watching.cancel()

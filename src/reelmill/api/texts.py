"""Texts: variations of one, to be edited before a job uses them."""

from __future__ import annotations

from dataclasses import asdict

from anyio import to_thread
from fastapi import APIRouter, Request

from reelmill.api.access import Guarded, Platform, Who, needs
from reelmill.errors import (
    TextContractBroken,
    TextModelBusy,
    TextModelDenied,
    TextModelFailed,
    TextModelRefused,
    TextModelTimedOut,
    TextModelUnknown,
    TextModelUnreachable,
    TextReplyBroken,
    VariationsUnavailable,
)
from reelmill.schemas import VariationsReply, VariationsRequest
from reelmill.texts.request import wanted_of

router = APIRouter(prefix="/api/v1/texts", tags=["texts"], route_class=Guarded)

VARYING = 8  #: requests at a time: each may wait for a model


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

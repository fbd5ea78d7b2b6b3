"""Texts: variations of one, to be edited before a job uses them."""

from __future__ import annotations

from dataclasses import asdict

from anyio import to_thread
from fastapi import APIRouter, Request

from reelmill.api.access import Guarded, Platform, Who, needs
from reelmill.errors import (
    RequestInvalid,
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
from reelmill.jobs.texts import TextSlot, WantedTexts, readable
from reelmill.schemas import VariationsReply, VariationsRequest

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


def wanted_of(wanted: VariationsRequest, *, has_model: bool) -> WantedTexts:
    """Return a request as the core knows it. Raises RequestInvalid."""
    if wanted.made_by == "model" and not has_model:
        message = "this server has no text model; choose auto or local"
        raise RequestInvalid(f"made_by: {message}.", errors=[{"field": "made_by", "message": message}])
    most = readable(wanted.seconds, wanted.reading_cps, wanted.max_chars)
    values = {"total": str(wanted.n)}
    return WantedTexts(
        base=wanted.text,
        slots=tuple(TextSlot(max_chars=most, values={**values, "index": str(n + 1)}) for n in range(wanted.n)),
        language=wanted.language,
        required=tuple(wanted.required_words),
        forbidden=tuple(wanted.forbidden_words),
        facts={"notes": wanted.notes} if wanted.notes else {},
        variant=wanted.variant,
        model=wanted.made_by != "local",
        fill=wanted.made_by != "model",
    )

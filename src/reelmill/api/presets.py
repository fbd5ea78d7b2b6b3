"""Presets: looks of texts by name, built in and a tenant's own."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter
from pydantic import AfterValidator

from reelmill.api.access import Guarded, Platform, Who, known_form, needs
from reelmill.errors import NameTaken, NotFound, ParamsInvalid
from reelmill.jobs.model import Brand
from reelmill.pipelines import fonts
from reelmill.pipelines.clips import presets
from reelmill.schemas import PresetChange, PresetList, PresetReply, PresetRequest

router = APIRouter(prefix="/api/v1/presets", tags=["texts"], route_class=Guarded)

PresetId = Annotated[str, AfterValidator(known_form(presets.KIND))]


@router.get("")
@needs("jobs:read")
def list_presets(app: Platform, who: Who) -> PresetList:
    """List the looks that a text can name as its `preset`: the built-in ones, then one's own by name."""
    ours = [PresetReply(id=None, name=name, style=style) for name, style in presets.built_in().items()]
    installed = {font.family for font in app.tools.fonts.shelf.fonts.values() if not font.is_color}
    uploaded = {font.name for font in app.access.brands(who.tenant, fonts.KIND)}
    kept = map(shown, app.access.brands(who.tenant, presets.KIND))
    return PresetList(items=[*ours, *kept], fonts=sorted(installed | uploaded))


@router.post("", status_code=201)
@needs("jobs:write", NameTaken, ParamsInvalid)
def add_preset(app: Platform, who: Who, wanted: PresetRequest) -> PresetReply:
    """Keep a look under a name. Its `style` may begin with a built-in one, as `{"preset": "boxed", …}`."""
    presets.check_name(wanted.name)
    style = presets.checked_preset(wanted.style)
    return shown(app.access.add_brand(str(uuid.uuid4()), presets.KIND, wanted.name, style, who))


@router.put("/{preset_id}")
@needs("jobs:write", NotFound, ParamsInvalid)
def change_preset(app: Platform, who: Who, preset_id: PresetId, wanted: PresetChange) -> PresetReply:
    """Replace a preset's look; jobs that there are keep the one they were made with."""
    style = presets.checked_preset(wanted.style)
    return shown(app.access.change_brand(preset_id, presets.KIND, style, who))


@router.delete("/{preset_id}")
@needs("jobs:write", NotFound)
def remove_preset(app: Platform, who: Who, preset_id: PresetId) -> PresetReply:
    """Remove a preset; jobs that there are keep the look they were made with."""
    return shown(app.access.remove_brand(preset_id, presets.KIND, who))


def shown(kept: Brand) -> PresetReply:
    """Return a tenant's preset as the API shows it."""
    return PresetReply(id=kept.id, name=kept.name, style=dict(kept.data), updated_at=kept.updated_at)

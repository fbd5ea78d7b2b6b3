"""Fonts: those that a tenant uploads, and those of the server's folder."""

from __future__ import annotations

import json
import re
import uuid
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator

from reelmill.api import idempotency
from reelmill.api.access import Guarded, Platform, Who, known_form, needs
from reelmill.api.errors import fault
from reelmill.api.received import Received
from reelmill.errors import FontInUse, FontRejected, NameTaken, NotFound, StorageUnavailable, TooManyFonts
from reelmill.jobs.keys import font_key
from reelmill.jobs.lifecycle import Status
from reelmill.jobs.model import Brand, Caller
from reelmill.jobs.ports import JobStore
from reelmill.media.own_fonts import checked_font
from reelmill.pipelines.clips.params import LOOK_NAME, LookName
from reelmill.pipelines.fonts import KIND, MOST_BYTES
from reelmill.schemas import FontList, FontReply
from reelmill.wiring import App

router = APIRouter(prefix="/api/v1/fonts", tags=["texts"], route_class=Guarded)

MOST_FONTS = 50  #: of a tenant
TOLD_JOBS = 5  #: that need a font
UNENDED = (Status.RUNNING, Status.QUEUED, Status.AWAITING_UPLOAD)

FontId = Annotated[str, AfterValidator(known_form(KIND))]
FontName = Annotated[LookName | None, Query(description="What texts call it by; the font's own name by default.")]


@router.get("")
@needs("jobs:read")
def list_fonts(app: Platform, who: Who) -> FontList:
    """List the fonts that texts may name: the tenant's own, and those of the server's folder."""
    shelf = dict.fromkeys(app.tools.fonts.shelf.fonts.values())
    installed = [FontReply(id=None, name=font.family, family=font.family, sha256=font.sha256) for font in shelf]
    return FontList(items=[*map(shown, app.access.brands(who.tenant, KIND)), *installed])


@router.post(
    "",
    status_code=201,
    openapi_extra={
        "requestBody": {
            "description": "The file itself.",
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
@needs("jobs:write", FontRejected, NameTaken, TooManyFonts, StorageUnavailable, file_bytes=MOST_BYTES)
async def add_font(request: Request, app: Platform, who: Who, name: FontName = None) -> FontReply:
    """Keep a font under a name: a .ttf or .otf file of at most 20 MiB, which is looked at first.

    One that can't be drawn, or whose owner forbids embedding, is refused. Clips are drawn with it on any machine.
    """
    # Two at a time, as previews: each keeps a processor busy.
    return await to_thread.run_sync(_added, request, app, who, name, limiter=request.app.state.previewing)


@router.delete("/{font_id}")
@needs("jobs:write", NotFound, FontInUse, StorageUnavailable)
def remove_font(app: Platform, who: Who, font_id: FontId) -> FontReply:
    """Remove a font that no unended job needs. A job that failed can't be run again without it."""
    font = _known(app, who, font_id)
    file = str(font.data["file"])
    if using := _jobs_with(app.store, who.tenant, file):
        told = ", ".join(using[:TOLD_JOBS])
        raise FontInUse(f"{len(using)} jobs that haven't ended need the font {font.name!r}: {told}.")
    app.access.remove_brand(font_id, KIND, who)
    app.files.objects.delete(font_key(who.tenant, file))
    return shown(font)


def shown(font: Brand) -> FontReply:
    """Return a tenant's font as the API shows it."""
    about = {name: font.data[name] for name in ("family", "sha256", "size_bytes")}
    return FontReply(id=font.id, name=font.name, created_at=font.created_at, **about)


def _added(request: Request, app: App, who: Caller, name: str | None) -> FontReply:
    if (made := idempotency.made_before(request, lambda font_id: _known(app, who, font_id))) is not None:
        return shown(made)
    if len(app.access.brands(who.tenant, KIND)) >= MOST_FONTS:
        raise TooManyFonts(f"There are {MOST_FONTS} fonts, as many as there may be.")
    received: Received = request.state.received
    checked = checked_font(received.path, name or "that was sent")
    name = checked.family if name is None else name
    if not re.fullmatch(LOOK_NAME, name):
        raise fault("query.name", f"the font's own name, {name[:64]!r}, can't be used here: give it one")
    font_id = idempotency.reserved(request) or str(uuid.uuid4())
    file = f"{font_id}.{checked.sha256}"
    about = {"file": file, "family": checked.family, "sha256": checked.sha256, "size_bytes": received.size_bytes}
    app.files.objects.put_file(
        font_key(who.tenant, file), received.path, content_type="font/sfnt", sha256=checked.sha256
    )
    try:
        return shown(app.access.add_brand(font_id, KIND, name, about, who))
    except NameTaken:
        app.files.objects.delete(font_key(who.tenant, file))
        raise


def _known(app: App, who: Caller, font_id: str) -> Brand:
    found = next((font for font in app.access.brands(who.tenant, KIND) if font.id == font_id), None)
    if found is None:
        raise NotFound(f"There is no font {font_id}.")
    return found


def _jobs_with(store: JobStore, tenant: str, file: str) -> list[str]:
    """Return the ids of a tenant's unended jobs that hold a font, themselves or in what follows them."""
    using = []
    for status in UNENDED:
        cursor: str | None = None
        while True:
            page = store.jobs(tenant, status=status, cursor=cursor, limit=200)
            using += [job.id for job in page.items if file in json.dumps([job.params, job.then], default=dict)]
            cursor = page.next_cursor
            if cursor is None:
                break
    return using

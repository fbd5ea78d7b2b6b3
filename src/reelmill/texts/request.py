"""From a request over HTTP, or of the command line, to what the core knows."""

from __future__ import annotations

from reelmill.errors import RequestInvalid
from reelmill.jobs.texts import TextSlot, WantedTexts, readable
from reelmill.schemas import VariationsRequest


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

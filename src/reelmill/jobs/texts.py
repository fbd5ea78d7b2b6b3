"""What variations of a text are asked for, and what comes of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reelmill.jobs.model import Json

PLACEHOLDER = re.compile(r"\{\{|\}\}|\{(index|total|start|name)\}")
ALTERNATIVES = re.compile(r"\{\{|\}\}|\{([^{}|]*(?:\|[^{}|]*)+)\}")  #: `{Hello|Welcome}`
READING_CPS = 20.0  #: characters a second that adults read in subtitles (Netflix, Timed Text Style Guide)
MAX_CHARS = 200  #: of one variation, unless told otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSlot:
    """A place for one text."""

    max_chars: int = MAX_CHARS  #: ≥ 1, with its placeholders filled in
    values: Mapping[str, str] = field(default_factory=dict)  #: what its placeholders become
    shots: tuple[Json, ...] = ()  #: that are seen with it, for the model


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedTexts:
    """A request for one variation of `base` for each slot."""

    base: str  #: may have placeholders, and alternatives: `{Hello|Welcome}`
    slots: tuple[TextSlot, ...]
    language: str | None = None  #: ISO 639-1; None: that of the base, as far as it can be told
    required: tuple[str, ...] = ()  #: words that each text must have
    forbidden: tuple[str, ...] = ()  #: words that none may have
    facts: Json = field(default_factory=dict)  #: what the model may know: `video_name`, `labels`, `notes`
    variant: int = 0  #: another number gives other texts of the model
    model: bool = True  #: whether a model may be asked
    fill: bool = True  #: whether local rules may make what the model couldn't


@dataclass(frozen=True, slots=True)
class VariedText:
    """One text and what made it."""

    text: str
    source: str  #: `llm:<model>`, `local` or `given`


@dataclass(frozen=True, slots=True, kw_only=True)
class Variations:
    """One text for each slot, in order, and what they cost."""

    texts: tuple[VariedText, ...]
    model: str | None = None  #: that was asked
    requests: int = 0  #: that the model answered now; what was answered before isn't asked again
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None  #: by REELMILL_TEXT_MODEL_PRICE, in its currency; None: no price was told
    took_s: float = 0.0
    warnings: tuple[str, ...] = ()  #: why local rules had to help, for one


@dataclass(frozen=True, slots=True)
class TextAsk:
    """One request to a model: rules, and data that is no instruction. The model gets no tools."""

    system: str
    data: Json
    count: int  #: texts that are wanted


@dataclass(frozen=True, slots=True)
class TextReply:
    """A model's answer, not yet checked."""

    texts: tuple[str, ...]
    tokens_in: int = 0
    tokens_out: int = 0


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return a text with its placeholders filled in, as far as values are known; `{{` and `}}` become braces."""

    def value(found: re.Match[str]) -> str:
        return values.get(found[1], found[0]) if found[1] else found[0][0]

    return PLACEHOLDER.sub(value, text)


def first_alternatives(text: str) -> str:
    """Return a text with the first of each `{a|b}`."""
    return ALTERNATIVES.sub(lambda found: found[0] if found[1] is None else found[1].split("|")[0], text)


def readable(seconds: float | None, cps: float | None, max_chars: int = MAX_CHARS) -> int:
    """Return how many characters can be read in so many seconds, at most `max_chars`, at least 1."""
    if seconds is None or cps is None:
        return max_chars
    return max(1, min(max_chars, int(seconds * cps)))


def limits(slots: Sequence[TextSlot]) -> tuple[int, int]:
    """Return the smallest and the largest limit of some slots."""
    each = [slot.max_chars for slot in slots]
    return min(each), max(each)

"""Which text stands on which clip, and on which of its frames. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path, PurePath
from typing import Any

from reelmill.errors import ParamsInvalid
from reelmill.jobs.model import Json
from reelmill.jobs.texts import PLACEHOLDER, TextSlot, fill, first_alternatives, readable
from reelmill.media import Segment, Source, TextStyle, frame_at, safe_area
from reelmill.media.findings import Findings, shot_spans
from reelmill.media.highlights import lively
from reelmill.media.text import MAX_CHARS
from reelmill.pipelines.clips.params import BaseVary, OneForAll, TextLook, UniqueForAll
from reelmill.pipelines.measuring import seconds

MOST_SHOTS = 12  #: of a clip that a model is told
ROOM = 1.5  #: how much longer than the given text a variation may have to be


def texts_of(
    params: OneForAll | UniqueForAll | BaseVary | None, segments: Sequence[Segment], filename: str
) -> list[str | None]:
    """Return each clip's text with its placeholders filled in, None for a clip without or whose text is still made.

    Raises ParamsInvalid if there aren't as many texts as clips.
    """
    match params:
        case None | BaseVary():
            return [None] * len(segments)
        case UniqueForAll(texts=texts):
            if len(texts) != len(segments):
                raise ParamsInvalid(
                    f"There are {len(texts)} texts for {len(segments)} clips: give one for each, null for none."
                )
            given: Sequence[str | None] = texts
        case _:
            given = [params.text] * len(segments)
    return [
        None if text is None else filled(text, segment, len(segments), filename)
        for text, segment in zip(given, segments, strict=True)
    ]


def filled(text: str, segment: Segment, total: int, filename: str) -> str:
    """Return a text with its placeholders filled in.

    Raises ParamsInvalid if it grows too long.
    `{index}` (from 1), `{total}`, `{start}` ("1:05", on the source's clock) and `{name}` (the file's name without its
    ending). `{{` and `}}` stand for braces; whatever else is in braces stays as it is.
    """
    values = values_of(segment, total, filename)
    grown = sum(len(values[found[1]]) for found in PLACEHOLDER.finditer(text) if found[1])
    if len(text) + grown > 2 * MAX_CHARS:
        raise ParamsInvalid(f"With its placeholders filled in, a text would have more than {MAX_CHARS} characters.")
    return fill(text, values)


def values_of(segment: Segment, total: int, filename: str) -> dict[str, str]:
    """Return what the placeholders become on one clip."""
    return {
        "index": str(segment.index + 1),
        "total": str(total),
        "start": clock(int(segment.start)),
        "name": PurePath(filename).stem or filename,
    }


def slots_of(
    params: BaseVary, segments: Sequence[Segment], source: Source, filename: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a slot for each clip that shows its text, and warnings of those where no text can be read in time."""
    slots, warnings = [], []
    shortest = first_alternatives(params.text)
    for segment in segments:
        shown = shown_frames(params, segment, source)
        if shown is None:
            continue
        values = values_of(segment, len(segments), filename)
        seen_s = float(segment.end_s - segment.start_s) * (shown[1] - shown[0]) / segment.frame_count
        most = readable(seen_s, params.reading_cps, params.max_chars)
        needed = len(fill(shortest, values))
        # A variation is a little longer than what it varies; a clip that is too short for that gets one all the same.
        if most < min(params.max_chars, ROOM * needed) and params.reading_cps is not None:
            most = params.max_chars
            warnings.append(
                f"Clip {segment.index + 1} shows its text for {seen_s:.1f} s, too short to read {needed} characters "
                "with ease: its length isn't limited."
            )
        slots.append({"clip": segment.index, "max_chars": most, "values": values, "frames": shown})
    return slots, warnings


def slot_of(slot: Json, source: Source, found: Findings | None) -> TextSlot:
    """Return a planned slot for whoever makes its text. found: what the model may know of the film's shots."""
    shots = shots_in(slot["frames"], source, found) if found is not None else ()
    return TextSlot(max_chars=slot["max_chars"], values=slot["values"], shots=shots)


def shots_in(frames: Sequence[int], source: Source, found: Findings) -> tuple[Json, ...]:
    """Return the shots within source frames [first, end): seconds, and motion from 0 to 1, 0.5 the film's median.

    The first ones only, of more than a model makes use of.
    """
    motion = lively(found.motion)
    told: list[Json] = []
    for first, end, _ in shot_spans(source, found.cuts):
        start_s, end_s = (seconds(source, frame) for frame in (max(first, frames[0]), min(end, frames[1])))
        if end_s > start_s and len(told) < MOST_SHOTS:
            within = motion[int(start_s / found.stretch_s) : ceil(end_s / found.stretch_s)]
            told.append({"seconds": round(end_s - start_s, 1), "motion": round(sum(within) / max(1, len(within)), 2)})
    return tuple(told)


def shown_frames(look: TextLook, segment: Segment, source: Source) -> tuple[int, int] | None:
    """Return the source's frames [first, end) that show a clip's text, the nearest ones to its times.

    None if the clip ends before the text comes up.
    """

    def at(moment_s: float) -> int:
        moment = segment.start + Fraction(moment_s).limit_denominator(1_000_000)
        return frame_at(source.frame_ticks(), source.video.end_tick, source.video.time_base, moment)

    first = max(at(look.from_s), segment.start_frame)
    end = segment.end_frame if look.until_s is None else min(at(look.until_s), segment.end_frame)
    if first >= segment.end_frame:
        return None
    return first, max(end, first + 1)


def style(look: TextLook, size: tuple[int, int], fonts: Sequence[Path] = ()) -> TextStyle:
    """Return what the media library needs to know of how a text looks on a picture of a size in pixels."""
    return TextStyle(
        position=look.position,
        align=look.align,
        size_pct=look.size_pct,
        min_size_pct=min(look.min_size_pct, look.size_pct),
        weight=look.weight,
        color=look.color,
        outline_color=look.outline_color or "#000000",
        outline_pct=look.outline_pct if look.outline_color else 0.0,
        shadow_pct=look.shadow_pct,
        shadow_opacity=look.shadow_opacity,
        box_color=look.box_color,
        box_opacity=look.box_opacity,
        box_padding_pct=look.box_padding_pct,
        box_radius_pct=look.box_radius_pct,
        box_shape=look.box_shape,
        accent=look.accent,
        accent_color=look.accent_color,
        margin_pct=look.margin_pct,
        max_width_pct=look.max_width_pct,
        safe=safe_area(look.safe_area, *size),
        fonts=tuple(fonts),
    )


def clock(seconds: float) -> str:
    """Return a time as people write it: 0:05, 1:02:03; tenths only for a float."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    shown = f"{rest:02d}" if isinstance(rest, int) else f"{rest:04.1f}"
    return f"{hours}:{minutes:02d}:{shown}" if hours else f"{minutes}:{shown}"

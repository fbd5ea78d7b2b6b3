"""Which text stands on which clip, and on which of its frames. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import PurePath

from reelmill.errors import ParamsInvalid
from reelmill.media import Segment, Source, TextStyle, frame_at
from reelmill.media.text import MAX_CHARS
from reelmill.pipelines.clips.params import OneForAll, TextLook, UniqueForAll

PLACEHOLDER = re.compile(r"\{\{|\}\}|\{(index|total|start|name)\}")


def texts_of(params: OneForAll | UniqueForAll | None, segments: Sequence[Segment], filename: str) -> list[str | None]:
    """Return each clip's text with its placeholders filled in, None for a clip without.

    Raises ParamsInvalid if there aren't as many texts as clips.
    """
    match params:
        case None:
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
    values = {
        "index": str(segment.index + 1),
        "total": str(total),
        "start": clock(int(segment.start)),
        "name": PurePath(filename).stem or filename,
    }
    grown = sum(len(values[found[1]]) for found in PLACEHOLDER.finditer(text) if found[1])
    if len(text) + grown > 2 * MAX_CHARS:
        raise ParamsInvalid(f"With its placeholders filled in, a text would have more than {MAX_CHARS} characters.")
    return PLACEHOLDER.sub(lambda found: values[found[1]] if found[1] else found[0][0], text)


def shown_frames(look: TextLook, segment: Segment, source: Source) -> tuple[int, int] | None:
    """Return the source's frames [first, end) that show a clip's text, the nearest ones to its times.

    None if the clip ends before the text comes up.
    """

    def at(seconds: float) -> int:
        moment = segment.start + Fraction(seconds).limit_denominator(1_000_000)
        return frame_at(source.frame_ticks(), source.video.end_tick, source.video.time_base, moment)

    first = max(at(look.from_s), segment.start_frame)
    end = segment.end_frame if look.until_s is None else min(at(look.until_s), segment.end_frame)
    if first >= segment.end_frame:
        return None
    return first, max(end, first + 1)


def style(look: TextLook) -> TextStyle:
    """Return what the media library needs to know of how a text looks."""
    return TextStyle(
        position=look.position,
        size_pct=look.size_pct,
        min_size_pct=min(look.min_size_pct, look.size_pct),
        color=look.color,
        outline_color=look.outline_color or "#000000",
        outline_pct=look.outline_pct if look.outline_color else 0.0,
        box_color=look.box_color,
        box_opacity=look.box_opacity,
        box_padding_pct=look.box_padding_pct,
        margin_pct=look.margin_pct,
        max_width_pct=look.max_width_pct,
    )


def clock(seconds: float) -> str:
    """Return a time as people write it: 0:05, 1:02:03; tenths only for a float."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    shown = f"{rest:02d}" if isinstance(rest, int) else f"{rest:04.1f}"
    return f"{hours}:{minutes:02d}:{shown}" if hours else f"{minutes}:{shown}"

"""Where to cut: exact plans in integer ticks. Pure: no file or clock, and chance only by a seed.

One function for each way of cutting, `fixed`, `seeded`, `at_frames` and `manual`; each returns the same `Segment`s.
All take `ticks`, the pts of all frames, strictly ascending, and `end_tick`, the end of the last frame, > ticks[-1].
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Literal

from reelmill.errors import ParamsInvalid, TooManySteps

Tail = Literal["keep", "merge", "drop"]  #: what becomes of a short last segment

MOST_CLIPS = 100_000
MANUAL_SLACK = Fraction(1, 2)  #: seconds by which a cut may end behind the source's end


@dataclass(frozen=True)
class Segment:
    """The frames [start_frame, end_frame) of a source, shown from start_tick up to end_tick."""

    index: int  #: 0, 1, …
    start_frame: int
    end_frame: int  #: exclusive
    start_tick: int  #: the first frame's pts
    end_tick: int  #: exclusive: the next segment's start, or the end of the source
    time_base: Fraction  #: seconds of one tick
    origin_tick: int  #: the source's first pts: 0 seconds for start and end

    @property
    def frame_count(self) -> int:
        """Frames in the segment, ≥ 1."""
        return self.end_frame - self.start_frame

    @property
    def start(self) -> Fraction:
        """Exact seconds from the source's first frame."""
        return (self.start_tick - self.origin_tick) * self.time_base

    @property
    def end(self) -> Fraction:
        """Exact seconds from the source's first frame; exclusive."""
        return (self.end_tick - self.origin_tick) * self.time_base

    @property
    def duration(self) -> Fraction:
        """Exact seconds, > 0."""
        return (self.end_tick - self.start_tick) * self.time_base

    @property
    def start_s(self) -> float:
        """Seconds from the source's first frame."""
        return float(self.start)

    @property
    def end_s(self) -> float:
        """Seconds from the source's first frame; exclusive."""
        return float(self.end)


def fixed(
    ticks: Sequence[int],
    end_tick: int,
    time_base: Fraction,
    duration: Fraction,
    *,
    tail: Tail = "keep",
    tail_below: Fraction | None = None,
    most_clips: int = MOST_CLIPS,
) -> list[Segment]:
    """Cut every `duration` seconds: the k-th boundary is the frame nearest to k × duration (the earlier one in a tie).

    duration: > 0 seconds. Boundaries that fall on one frame are one: clips are never empty. They follow each other
    without gap or overlap. tail: a last segment that is shorter than `tail_below` seconds (None: than `duration`)
    is kept, merged into the one before, or dropped; a source that is shorter than that is one segment anyway.
    Raises ParamsInvalid for a duration ≤ 0 and a source without frames, TooManySteps for more than most_clips.
    """
    if duration <= 0:
        raise ParamsInvalid("The duration of a clip must be more than 0 seconds.")
    _check_frames(ticks)
    step = duration / time_base  # ticks, not a whole number for 29.97 frames/s
    starts = [0]
    k = 1
    # The end of the source is a boundary too: one that is nearer to it than to the last frame makes no clip.
    while (frame := _nearest(ticks, end_tick, ticks[0] + k * step)) < len(ticks):
        if frame > starts[-1]:
            starts.append(frame)
            _check_count(starts, most_clips)
        # Over a gap in the time stamps nothing new can begin: go on with the first boundary behind the frame's middle.
        following = ticks[frame + 1] if frame + 1 < len(ticks) else end_tick
        middle = Fraction(ticks[frame] + following, 2)
        k = max(k + 1, (middle - ticks[0]) // step)
    segments = _between(starts, ticks, end_tick, time_base)
    if tail == "keep" or len(segments) == 1 or not _is_short(segments[-1], ticks, tail_below or duration):
        return segments
    return _between(starts[:-1], ticks, end_tick, time_base) if tail == "merge" else segments[:-1]


def seeded(
    ticks: Sequence[int],
    end_tick: int,
    time_base: Fraction,
    *,
    seed: int,
    least: Fraction,
    most: Fraction,
    most_clips: int = MOST_CLIPS,
) -> list[Segment]:
    """Cut into lengths that `random_lengths` draws: the same seed cuts the same source the same way, anywhere.

    Boundaries fall on the nearest frame, so a clip may be off [least, most] by a frame.
    Raises ParamsInvalid as `random_lengths`, and for a source without frames; TooManySteps for more than most_clips.
    """
    _check_frames(ticks)
    total = (end_tick - ticks[0]) * time_base
    starts = [0]
    if most > 0 and total > most * most_clips:
        _check_count(range(most_clips + 1), most_clips)  # known without drawing them
    for boundary in list(accumulate(random_lengths(total, seed, least, most)))[:-1]:
        frame = _nearest(ticks, end_tick, ticks[0] + boundary / time_base)
        if starts[-1] < frame < len(ticks):
            starts.append(frame)
            _check_count(starts, most_clips)
    return _between(starts, ticks, end_tick, time_base)


def random_lengths(total: Fraction, seed: int, least: Fraction, most: Fraction) -> list[Fraction]:
    """Return exact lengths in seconds that add up to `total`, each uniform in [least, most].

    The i-th is least + (most − least) × u, where u is the first 8 bytes of SHA-256("{seed}:{i}"), as a fraction of
    2⁶⁴. A rest shorter than `least` joins the clip before if that stays ≤ most; else the last two are halved.
    Raises ParamsInvalid unless 0 < least ≤ most.
    """
    if not 0 < least <= most:
        raise ParamsInvalid(
            f"The shortest clip must be more than 0 s and no longer than the longest: {float(least):g} and "
            f"{float(most):g} s don't do."
        )
    lengths: list[Fraction] = []
    left = total
    while left > 0:
        drawn = hashlib.sha256(f"{seed}:{len(lengths)}".encode()).digest()
        length = least + (most - least) * Fraction(int.from_bytes(drawn[:8]), 1 << 64)
        lengths.append(min(length, left))
        left -= lengths[-1]
    if len(lengths) > 1 and lengths[-1] < least:
        *before, last, rest = lengths
        joined = last + rest
        lengths = [*before, joined] if joined <= most else [*before, joined / 2, joined / 2]
    return lengths


def at_frames(
    ticks: Sequence[int],
    end_tick: int,
    time_base: Fraction,
    frames: Sequence[int],
    *,
    least: Fraction,
    most: Fraction | None = None,
    most_clips: int = MOST_CLIPS,
) -> list[Segment]:
    """Cut where something was found: at frames, ascending, where shots begin or pauses are.

    A place that is nearer than `least` seconds to the cut before it, or to the end, is no cut; what is longer than
    `most` is divided into equal lengths. The clips follow each other without gap or overlap.
    Raises ParamsInvalid unless 0 < least ≤ most, and for a source without frames; TooManySteps for more than
    most_clips.
    """
    if least <= 0 or (most is not None and most < least):
        raise ParamsInvalid("The shortest clip must be more than 0 s and no longer than the longest.")
    _check_frames(ticks)
    places = [0]
    for frame in frames:
        if (ticks[frame] - ticks[places[-1]]) * time_base >= least and (end_tick - ticks[frame]) * time_base >= least:
            places.append(frame)
    starts: list[int] = []
    for first, last in zip(places, [*places[1:], len(ticks)], strict=True):
        until = ticks[last] if last < len(ticks) else end_tick
        length = (until - ticks[first]) * time_base
        count = 1 if most is None else -(-length // most)
        for part in range(count):
            frame = _nearest(ticks, end_tick, ticks[first] + Fraction(part * (until - ticks[first]), count))
            if frame < last and (not starts or frame > starts[-1]):
                starts.append(frame)
                _check_count(starts, most_clips)
    return _between(starts, ticks, end_tick, time_base)


def manual(
    ticks: Sequence[int], end_tick: int, time_base: Fraction, cuts: Sequence[tuple[Fraction, Fraction | None]]
) -> list[Segment]:
    """Cut out what is listed, in its order; cuts may overlap, and leave parts of the source out.

    cuts: (start, end) in seconds from the first frame, None for the source's end; both fall on the nearest frame
    (the earlier in a tie), and at least one frame is shown. Up to half a second behind the end is taken for the end.
    Raises ParamsInvalid for a cut that isn't within the source or whose end isn't behind its start (it names the
    cut, counted from 1), for an empty list, and for a source without frames.
    """
    _check_frames(ticks)
    if not cuts:
        raise ParamsInvalid("The list of cuts is empty.")
    total = (end_tick - ticks[0]) * time_base
    segments = []
    for index, (start, end) in enumerate(cuts):
        named = f"Cut {index + 1}, {float(start):g} s to {'the end' if end is None else f'{float(end):g} s'},"
        end = total if end is None else end
        if not 0 <= start < total or end > total + MANUAL_SLACK:
            raise ParamsInvalid(f"{named} isn't within the video, which is {float(total):.3f} s long.")
        if end <= start:
            raise ParamsInvalid(f"{named} ends before it begins.")
        first = min(_nearest(ticks, end_tick, ticks[0] + start / time_base), len(ticks) - 1)
        last = max(_nearest(ticks, end_tick, ticks[0] + end / time_base), first + 1)
        segments.append(_segment(index, first, last, ticks, end_tick, time_base))
    return segments


def frame_at(ticks: Sequence[int], end_tick: int, time_base: Fraction, seconds: Fraction) -> int:
    """Return the index of the frame that begins nearest to `seconds` from the first; len(ticks) is the end."""
    return _nearest(ticks, end_tick, ticks[0] + seconds / time_base)


def _check_frames(ticks: Sequence[int]) -> None:
    if not ticks:
        raise ParamsInvalid("The source has no frames.")


def _check_count(clips: Sequence[int], most: int) -> None:
    if len(clips) > most:
        raise TooManySteps(f"The job would have more than {most} steps, one for each clip.")


def _is_short(last: Segment, ticks: Sequence[int], below: Fraction) -> bool:
    """Return whether a segment is shorter than `below` seconds by more than the rounding to frames."""
    frame = Fraction(last.end_tick - ticks[last.start_frame], last.frame_count) * last.time_base
    return last.duration < below - frame


def _nearest(ticks: Sequence[int], end_tick: int, wanted: Fraction) -> int:
    """Return the index of the tick nearest to `wanted`, the earlier in a tie; len(ticks) stands for end_tick."""
    after = bisect_left(ticks, wanted)
    if after == 0:
        return 0
    right = ticks[after] if after < len(ticks) else end_tick
    return after if right - wanted < wanted - ticks[after - 1] else after - 1


def _between(starts: Sequence[int], ticks: Sequence[int], end_tick: int, time_base: Fraction) -> list[Segment]:
    """Return the segments that begin at these frames; starts[0] is 0."""
    ends = [*starts[1:], len(ticks)]
    return [
        _segment(index, start, end, ticks, end_tick, time_base)
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def _segment(index: int, start: int, end: int, ticks: Sequence[int], end_tick: int, time_base: Fraction) -> Segment:
    return Segment(
        index=index,
        start_frame=start,
        end_frame=end,
        start_tick=ticks[start],
        end_tick=ticks[end] if end < len(ticks) else end_tick,
        time_base=time_base,
        origin_tick=ticks[0],
    )

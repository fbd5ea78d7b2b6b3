"""Where to cut: exact plans in integer ticks. Pure: no file, clock or randomness.

One function for each way of cutting; each returns the same `Segment`s. `fixed` is here; `random` (design §7: lengths
from SHA-256(seed, i)) and `manual` belong beside it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from reelmill.errors import ParamsInvalid


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


def fixed(ticks: Sequence[int], end_tick: int, time_base: Fraction, duration: Fraction) -> list[Segment]:
    """Cut every `duration` seconds: the k-th boundary is the frame nearest to k × duration (the earlier one in a tie).

    ticks: pts of all frames, strictly ascending; end_tick: end of the last frame, > ticks[-1]; duration > 0 seconds.
    Boundaries that fall on one frame are one: clips are never empty. They follow each other without gap or overlap,
    and the last one keeps the rest.
    Raises ParamsInvalid for a duration ≤ 0 and a source without frames.
    """
    if duration <= 0:
        raise ParamsInvalid("The duration of a clip must be more than 0 seconds.")
    if not ticks:
        raise ParamsInvalid("The source has no frames.")
    step = duration / time_base  # ticks, not a whole number for 29.97 frames/s
    starts = [0]
    k = 1
    # The end of the source is a boundary too: one that is nearer to it than to the last frame makes no clip.
    while (frame := _nearest(ticks, end_tick, ticks[0] + k * step)) < len(ticks):
        if frame > starts[-1]:
            starts.append(frame)
        # Over a gap in the time stamps nothing new can begin: go on with the first boundary behind the frame's middle.
        following = ticks[frame + 1] if frame + 1 < len(ticks) else end_tick
        middle = Fraction(ticks[frame] + following, 2)
        k = max(k + 1, (middle - ticks[0]) // step)
    return _between(starts, ticks, end_tick, time_base)


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
        Segment(
            index=index,
            start_frame=start,
            end_frame=end,
            start_tick=ticks[start],
            end_tick=ticks[end] if end < len(ticks) else end_tick,
            time_base=time_base,
            origin_tick=ticks[0],
        )
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]

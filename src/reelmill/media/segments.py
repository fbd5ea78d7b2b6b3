"""Where to cut: exact plans in integer ticks. Pure: no file, clock or randomness.

One function for each way of cutting; each returns the same `Segment`s. `fixed` is here; `random` (design §7: lengths
from SHA-256(seed, i)) and `manual` belong beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


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
    The segments are never empty, follow each other without gap or overlap, and the last one keeps the rest.
    Raises ParamsInvalid for a duration ≤ 0 and no frames.
    """
    raise NotImplementedError

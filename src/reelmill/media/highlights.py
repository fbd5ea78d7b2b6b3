"""What may be worth seeing, by what was measured: loud and moving stretches. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median

LOUD_LU = 20.0  #: from 10 LU below a film's own loudness, 0, to 10 above it, 1
EXTEND = 0.75  #: a highlight grows over what scores so much of its mean, at least
SNAP_S = 1.0  #: it begins and ends with a shot where one does as near as this


@dataclass(frozen=True)
class Highlight:
    """A span of a film, and why it was chosen."""

    start_s: float
    end_s: float
    score: float  #: 0–1: the mean of both
    loudness: float | None  #: 0–1; None: the film has no sound
    motion: float  #: 0–1


def loud(curve: Sequence[float], integrated_lufs: float | None) -> list[float] | None:
    """Return how loud each stretch is for this film: (LUFS − integrated + 10) / 20, within 0–1; None without sound."""
    if integrated_lufs is None:
        return None
    return [min(1.0, max(0.0, (lufs - integrated_lufs + LOUD_LU / 2) / LOUD_LU)) for lufs in curve]


def lively(curve: Sequence[float]) -> list[float]:
    """Return how much each stretch moves for this film: m / (m + median), 0.5 at the median of those that move."""
    middle = median([value for value in curve if value > 0] or [1.0])
    return [value / (value + middle) for value in curve]


def highlights(
    loudness: Sequence[float] | None,
    motion: Sequence[float],
    stretch_s: float,
    duration_s: float,
    shots: Sequence[float],
    *,
    count: int,
    least_s: float,
    most_s: float,
) -> list[Highlight]:
    """Return the best spans of least_s to most_s seconds, best first; they don't overlap.

    loudness, motion: 0–1 for each stretch of `stretch_s` seconds; a stretch scores their mean. shots: when shots begin,
    seconds. The span of least_s with the highest mean comes first; it grows to either side over stretches that score
    at least 0.75 of that mean, and is moved to a shot's beginning within a second of its own edge.
    """
    scores = [
        ((loudness[n] if n < len(loudness) else 0.0) + moves) / 2 if loudness is not None else moves
        for n, moves in enumerate(motion)
    ]
    least = min(max(1, math.ceil(least_s / stretch_s - 1e-9)), len(scores))
    most = max(least, int(most_s / stretch_s + 1e-9))
    free = [True] * len(scores)
    found: list[Highlight] = []
    while len(found) < count:
        best = _best(scores, free, least)
        if best is None:
            break
        first, end = _grown(scores, free, best, best + least, most)
        free[first:end] = [False] * (end - first)
        found.append(_told(scores, loudness, motion, first, end, stretch_s, duration_s))
    snapped = _snapped(found, [*shots, duration_s], min(least_s, duration_s), most_s)
    return sorted(snapped, key=lambda one: (-one.score, one.start_s))


def _best(scores: Sequence[float], free: Sequence[bool], length: int) -> int | None:
    """Return where the free window with the highest sum begins, the first of equal ones."""
    sums = list(accumulate(scores, initial=0.0))
    taken = list(accumulate((not one for one in free), initial=0))
    starts = [n for n in range(len(scores) - length + 1) if taken[n + length] == taken[n]]
    return max(starts, key=lambda n: (round(sums[n + length] - sums[n], 9), -n), default=None)


def _grown(scores: Sequence[float], free: Sequence[bool], first: int, end: int, most: int) -> tuple[int, int]:
    enough = EXTEND * sum(scores[first:end]) / (end - first)
    while end - first < most:
        left = scores[first - 1] if first > 0 and free[first - 1] else -1.0
        right = scores[end] if end < len(scores) and free[end] else -1.0
        if max(left, right) < enough or max(left, right) <= 0:
            break
        if right >= left:
            end += 1
        else:
            first -= 1
    return first, end


def _told(
    scores: Sequence[float],
    loudness: Sequence[float] | None,
    motion: Sequence[float],
    first: int,
    end: int,
    stretch_s: float,
    duration_s: float,
) -> Highlight:
    def mean(values: Sequence[float]) -> float:
        return round(sum(values[first:end]) / (end - first), 3)

    start_s, end_s = first * stretch_s, min(duration_s, end * stretch_s)
    heard = None if loudness is None else mean(loudness)
    return Highlight(round(start_s, 3), round(end_s, 3), mean(scores), heard, mean(motion))


def _snapped(found: Sequence[Highlight], edges: Sequence[float], least_s: float, most_s: float) -> list[Highlight]:
    """Return the spans with their edges moved to shots' edges, where they stay as long as asked and apart."""
    placed = list(found)
    for number, one in enumerate(placed):
        for side in ("start_s", "end_s"):
            here = placed[number]
            at = getattr(here, side)
            near = min(edges, key=lambda edge: abs(edge - at), default=at)
            start, end = (near, here.end_s) if side == "start_s" else (here.start_s, near)
            others = (other for other in placed if other is not here)
            is_apart = all(end <= other.start_s or start >= other.end_s for other in others)
            if abs(near - at) <= SNAP_S and least_s <= end - start <= most_s and is_apart:
                placed[number] = Highlight(round(start, 6), round(end, 6), one.score, one.loudness, one.motion)
    return placed

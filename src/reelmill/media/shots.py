"""Where shots begin: exact by every frame, or about by key frames alone. Pure: small pictures in, cuts out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import StatisticsError, correlation, median

from reelmill.media.measure import HEIGHT, LUMA, WIDTH, Look, Small, apart

FLASH_S = Fraction(1, 4)  #: what was seen before comes back within this time after a flash
MOST_MISSED = 10.0  #: times: of a longer hole in time, something else may well be seen behind it
SAMPLES = 7  #: pictures on either side that are compared with each other
LEAST = 8.0  #: levels by which the pictures on both sides of a cut differ at least
AGAINST = 4.0  #: levels of change that are nothing: they are added to what is usual
RATIO = 2.4  #: how much more than usual a cut changes
LASTING = 3  #: at least a third of a cut's change lasts; of a flash's, next to nothing
SURE = 12.0  #: the ratio at which a cut's score is 1
QUICK_LEAST = 0.3  #: share of the pixels that have other colours after a cut, from key frame to key frame
QUICK_SURE = 0.6
QUICK_ALIKE = 0.6  #: correlation of pictures that show the same in another light, at least
LUMA_BINS, CHROMA_BINS = 16, 32


@dataclass(frozen=True)
class Cut:
    """A shot's first picture."""

    number: int  #: of the picture among those that were looked at
    score: float  #: 0–1: how sure


def reach(frame_rate: Fraction) -> int:
    """Return how many frames on either side decide about one: so many more a chunk needs before and behind it."""
    return 3 * flash_frames(frame_rate) + 3


def flash_frames(frame_rate: Fraction) -> int:
    return max(2, round(FLASH_S * frame_rate))


def cuts(pictures: Sequence[Small], looks: Sequence[Look], frame_rate: Fraction) -> list[Cut]:
    """Return where one shot follows another without a transition; every frame was looked at.

    A cut changes the picture by much more than the frames around change: M ≥ 8 levels, M ≥ 2.4 × (U + 4), M ≥ D / 3.
    M: the least difference of any picture of the quarter second before to any of the quarter second after; D: the
    change at the cut itself. After a flash the same comes back, and M is small. U, the usual change: the fourth fifth
    of the changes from frame to frame within half a second, so that fades, pans and repeated frames are none. Of
    several cuts within a quarter second, the one that changes most counts. Where a picture is seen n times longer than
    others (n ≤ 10), n × U is usual.
    The score is M / (12 × (U + 4)), at most 1. Nothing depends on frames farther away than `reach`.
    """
    near = flash_frames(frame_rate)
    ratios = {number: _ratio(pictures, looks, number, near) for number in range(1, len(pictures))}
    sharp = [number for number, ratio in ratios.items() if ratio >= RATIO]

    def strongest(number: int) -> bool:
        rivals = [other for other in sharp if 0 < abs(other - number) <= near]
        return all((looks[number].changed, -number) > (looks[other].changed, -other) for other in rivals)

    return [Cut(number, round(min(1.0, ratios[number] / SURE), 3)) for number in sharp if strongest(number)]


def _ratio(pictures: Sequence[Small], looks: Sequence[Look], number: int, near: int) -> float:
    """Return by how many times a picture's change from all before it exceeds what is usual; 0 if it isn't worth it."""
    changed = looks[number].changed
    if changed < LEAST:
        return 0.0
    first, last = max(1, number - 2 * near), min(len(looks), number + 2 * near + 1)
    around = sorted(looks[other].changed for other in range(first, last) if other != number)
    usual = (around[len(around) * 4 // 5] if around else 0.0) * _missed(pictures, number) + AGAINST
    if changed < RATIO * usual:
        return 0.0
    least = changed
    for before in _sampled(number - near, number - 1, len(pictures)):
        for after in _sampled(number, number + near, len(pictures)):
            least = min(least, apart(pictures[before], pictures[after]))
            if least < max(LEAST, RATIO * usual, changed / LASTING):
                return 0.0
    return least / usual


def _missed(pictures: Sequence[Small], number: int) -> float:
    """Return how many times longer than those around it the picture before was seen: so much more may have moved."""
    first, last = max(0, number - 5), min(len(pictures), number + 5)
    usual = median(b.tick - a.tick for a, b in pairwise(pictures[first:last]))
    return min(MOST_MISSED, max(1.0, (pictures[number].tick - pictures[number - 1].tick) / max(1, usual)))


def _sampled(first: int, last: int, count: int) -> list[int]:
    """Return some numbers of first … last, both of them among these."""
    first, last = max(0, first), min(count - 1, last)
    step = max(1, -(-(last - first) // (SAMPLES - 1)))
    return sorted({*range(first, last, step), last})


def quick_cuts(pictures: Sequence[Small], looks: Sequence[Look]) -> list[Cut]:
    """Return the key frames that show another shot than the one before them; black ones are passed over.

    More than 0.3 of the pixels changed colour, and light and dark lie elsewhere (correlation of luma below 0.6): what
    was darkened alone is the same shot. The share is half the distance (L1) of the histograms, the mean of luma's (16
    bins) and both colours' (32 bins): what moved or was seen from elsewhere has the same colours.
    The score is the share / 0.6, at most 1.
    """
    lit = [number for number, look in enumerate(looks) if not look.black]
    found = []
    for before, here in pairwise(lit):
        colours = zip(_histogram(pictures[before]), _histogram(pictures[here]), strict=True)
        share = sum(abs(a - b) for a, b in colours) / 2
        if share >= QUICK_LEAST and _likeness(pictures[before], pictures[here]) < QUICK_ALIKE:
            found.append(Cut(here, round(min(1.0, share / QUICK_SURE), 3)))
    return found


def _likeness(one: Small, other: Small) -> float:
    """Return the correlation of two pictures' luma, -1 to 1; 0 for one without any structure."""
    try:
        return correlation(list(one.luma.tobytes()), list(other.luma.tobytes()))
    except StatisticsError:
        return 0.0


def _histogram(picture: Small) -> list[float]:
    """Return the shares of all bins; they add up to 1."""
    planes = (
        (picture.luma, LUMA_BINS),
        (picture.chroma.crop((0, 0, WIDTH, HEIGHT)), CHROMA_BINS),
        (picture.chroma.crop((0, HEIGHT, WIDTH, 2 * HEIGHT)), CHROMA_BINS),
    )
    shares = []
    for plane, bins in planes:
        counts, step = plane.histogram(), 256 // bins
        shares += [sum(counts[low : low + step]) / (3 * LUMA) for low in range(0, 256, step)]
    return shares

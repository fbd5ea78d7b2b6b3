"""What was found in a film's pictures: by chunks that join without a seam, or by its key frames. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby, pairwise
from typing import Any

from reelmill.media.measure import Decoded, Look, Small, frame_numbers, looked
from reelmill.media.probe import Source
from reelmill.media.segments import fixed
from reelmill.media.shots import cuts, quick_cuts, reach

STRETCH_S = 0.5  #: seconds of one value of a curve …
MOST_VALUES = 3600  #: … or more, for a film that would have more values than these
MOST_FRAMES = 10_000  #: of a chunk: its small pictures are held in memory, 7 kB each
BLACK_S = 0.5  #: shortest black span that is told, seconds
FROZEN_S = 2.0  #: the same of a picture that stands still: freezedetect's
DRIFT = 2.0  #: levels by which the brightness of a still picture may change all in all: a slow fade isn't frozen
SWING = 219.0  #: levels from black to white
INTERLACED_LEAST, INTERLACED_SURE = 0.4, 0.75  #: share of the frames: up to the first none, from the second all
FIELDS = ("progressive", "tff", "bff", "undetermined")

Json = Mapping[str, Any]
Span = tuple[float, float]  #: start and end in seconds from the first frame


@dataclass(frozen=True)
class Chunk:
    """A part of a film that is looked at by itself."""

    start_frame: int
    end_frame: int  #: exclusive
    first: int  #: frames around it that decide about cuts at its edges are decoded, too
    last: int  #: exclusive


@dataclass(frozen=True)
class Findings:
    """What all pictures of a film showed."""

    cuts: list[tuple[int, float]]  #: first frame of each shot but the first, and its score
    black: list[Span]
    frozen: list[Span]
    motion: list[float]  #: for each stretch: change of brightness, percent of black to white in a second
    stretch_s: float
    fields: dict[str, int] = field(default_factory=dict)  #: frames by `progressive`, `tff`, `bff`, `undetermined`


def stretch(duration_s: float) -> float:
    """Return the seconds of one value of a film's curves: half a second, of more than half an hour more."""
    return STRETCH_S * max(1, math.ceil(duration_s / STRETCH_S / MOST_VALUES))


def chunks(source: Source, chunk_s: Fraction) -> list[Chunk]:
    """Return the parts of a film of about chunk_s seconds; a short rest belongs to the part before."""
    ticks, video = source.frame_ticks(), source.video
    around = reach(video.frame_rate)
    chunk_s = min(chunk_s, MOST_FRAMES / video.frame_rate)
    parts = fixed(ticks, video.end_tick, video.time_base, chunk_s, tail="merge", tail_below=chunk_s / 4)
    return [
        Chunk(
            part.start_frame,
            part.end_frame,
            max(0, part.start_frame - around),
            min(len(ticks), part.end_frame + around),
        )
        for part in parts
    ]


def chunk_findings(source: Source, chunk: Chunk, decoded: Decoded) -> dict[str, Any]:
    """Return, as JSON, what the frames of one chunk showed; `joined` puts it together."""
    pictures = list(decoded.pictures())
    looks = looked(pictures)
    numbers = frame_numbers(source, decoded.ticks)
    mine = [n for n, frame in enumerate(numbers) if chunk.start_frame <= frame < chunk.end_frame]
    found = {numbers[cut.number]: cut.score for cut in cuts(pictures, looks, source.video.frame_rate)}
    sums: Counter[int] = Counter()
    length_s = stretch(source.duration_s)
    for n in mine:
        if numbers[n] not in found:  # a cut is no motion
            sums[int(_seconds(source, numbers[n]) / length_s)] += round(100 * looks[n].moved)
    kinds = Counter(kind for tick, kind in decoded.fields if _is_in(source, chunk, tick))
    return {
        "start_frame": chunk.start_frame,
        "end_frame": chunk.end_frame,
        "cuts": [[frame, score] for frame, score in found.items() if chunk.start_frame <= frame < chunk.end_frame],
        "black": _telling(source, chunk, _runs((numbers[n], looks[n].black) for n in mine), BLACK_S),
        "still": _telling(source, chunk, _still_runs(mine, numbers, looks), FROZEN_S),
        "motion": [[place, sums[place]] for place in sorted(sums)],  # hundredths of levels, added up
        "fields": {kind: kinds[kind] for kind in FIELDS},
    }


def _telling(source: Source, chunk: Chunk, runs: Sequence[Sequence[float]], least_s: float) -> list[list[float]]:
    """Return the runs that are long enough, or may be with what the next chunk has: short ones would be many."""
    return [
        list(run)
        for run in runs
        if run[0] == chunk.start_frame
        or run[1] == chunk.end_frame
        # The frame before a still one is seen, too.
        or _seconds(source, int(run[1])) - _seconds(source, max(0, int(run[0]) - 1)) >= least_s
    ]


def _is_in(source: Source, chunk: Chunk, tick: int) -> bool:
    ticks = source.frame_ticks()
    return ticks[chunk.start_frame] <= tick <= ticks[chunk.end_frame - 1]


def _runs(flags: Iterable[tuple[int, bool]]) -> list[tuple[int, int]]:
    """Return the [first, end) of frames that follow each other with their flag set."""
    runs = []
    for is_set, group in groupby(flags, key=lambda one: one[1]):
        frames = [frame for frame, _ in group]
        if is_set:
            runs.append((frames[0], frames[-1] + 1))
    return runs


def _still_runs(mine: Sequence[int], numbers: Sequence[int], looks: Sequence[Look]) -> list[list[float]]:
    """Return runs of frames that each show what the one before showed: first, end, brightness at both."""
    runs: list[list[float]] = []
    for n in mine:
        if not looks[n].still:
            continue
        frame, luma = numbers[n], round(looks[n].luma, 2)
        if runs and runs[-1][1] == frame and abs(luma - runs[-1][2]) <= DRIFT:
            runs[-1][1], runs[-1][3] = frame + 1, luma
        else:
            runs.append([frame, frame + 1, luma, luma])
    return runs


def joined(source: Source, parts: Sequence[Json]) -> Findings:
    """Put the findings of all chunks together: what crosses the edge of two is one."""
    parts = sorted(parts, key=lambda part: int(part["start_frame"]))
    length_s = stretch(source.duration_s)
    dark: list[tuple[int, int]] = []
    for first, end in ((first, end) for part in parts for first, end in part["black"]):
        if dark and dark[-1][1] == first:
            dark[-1] = dark[-1][0], end
        else:
            dark.append((first, end))
    still: list[list[float]] = []
    for run in (run for part in parts for run in part["still"]):
        if still and still[-1][1] == run[0] and abs(run[3] - still[-1][2]) <= DRIFT:
            still[-1][1], still[-1][3] = run[1], run[3]
        else:
            still.append(list(run))
    # The frame before the first one that is the same is seen as long.
    frozen = _spans(source, [(max(0, int(run[0]) - 1), int(run[1])) for run in still], FROZEN_S)
    sums: Counter[int] = Counter()
    fields: Counter[str] = Counter()
    for part in parts:
        sums.update(dict(part["motion"]))
        fields.update(part["fields"])
    return Findings(
        cuts=[(frame, score) for part in parts for frame, score in part["cuts"] if frame > 0],
        black=_spans(source, dark, BLACK_S),
        frozen=frozen,
        motion=[
            round(sums[place] / SWING / min(length_s, source.duration_s - place * length_s), 2)
            for place in range(math.ceil(source.duration_s / length_s))
        ],
        stretch_s=length_s,
        fields={kind: fields[kind] for kind in FIELDS},
    )


def _spans(source: Source, runs: Sequence[tuple[int, int]], least_s: float) -> list[Span]:
    spans = [(_seconds(source, first), _seconds(source, end)) for first, end in runs]
    return [(round(start, 3), round(end, 3)) for start, end in spans if end - start >= least_s - 1e-6]


def key_frame_findings(source: Source, decoded: Decoded) -> Findings:
    """Return what the key frames of a film show: about where its shots begin, what is black or stands still, and how
    much changes from one to the next.
    """
    pictures: list[Small] = list(decoded.pictures())
    looks = looked(pictures)
    numbers = frame_numbers(source, decoded.ticks)
    edges = [*numbers, len(source.frame_ticks())]
    found = {cut.number: cut.score for cut in quick_cuts(pictures, looks)}
    # From the first of some black key frames to the last: what is between one and the next isn't known.
    dark = _runs((n, look.black) for n, look in enumerate(looks))
    black = [(edges[first], edges[end if end == len(looks) else end - 1]) for first, end in dark if end - first > 1]
    still = [(edges[first - 1], edges[end - 1]) for first, end in _runs((n, one.still) for n, one in enumerate(looks))]
    length_s = stretch(source.duration_s)
    motion = [0.0] * math.ceil(source.duration_s / length_s)
    times = [_seconds(source, number) for number in numbers]
    for n, (before_s, here_s) in enumerate(pairwise(times), 1):
        if n in found:
            continue
        for place in range(int(before_s / length_s), min(len(motion), math.ceil(here_s / length_s))):
            motion[place] = round(100 * looks[n].moved / SWING / (here_s - before_s), 2)
    return Findings(
        cuts=[(numbers[n], score) for n, score in found.items()],
        black=_spans(source, black, BLACK_S),
        frozen=_spans(source, still, FROZEN_S),
        motion=motion,
        stretch_s=length_s,
    )


def _seconds(source: Source, frame: int) -> float:
    """Return when a frame begins, in seconds from the first; the number of frames stands for the end."""
    ticks, video = source.frame_ticks(), source.video
    tick = ticks[frame] if frame < len(ticks) else video.end_tick
    return float((tick - ticks[0]) * video.time_base)


def shot_spans(source: Source, cuts: Sequence[tuple[int, float]]) -> list[tuple[int, int, float | None]]:
    """Return the shots between cuts: first frame, end, and the score of the cut that begins it; None of the first."""
    starts: list[tuple[int, float | None]] = [(0, None), *cuts]
    ends = [*(frame for frame, _ in cuts), len(source.frame_ticks())]
    return [(first, end, score) for (first, score), end in zip(starts, ends, strict=True)]


def field_order(fields: Mapping[str, int]) -> str:
    """Return what a film is by its frames that could be judged: `progressive`, `tff`, `bff`, `mixed` or `unknown`.

    Fast motion makes some progressive frames look interlaced: up to 0.4 of them don't count.
    """
    progressive, top, bottom = (fields.get(kind, 0) for kind in FIELDS[:3])
    total = progressive + top + bottom
    if not total:
        return "unknown"
    if top + bottom <= INTERLACED_LEAST * total:
        return "progressive"
    clear = INTERLACED_SURE * total
    return "tff" if top >= clear else "bff" if bottom >= clear else "mixed"

"""Films with cuts at known frames, of real samples and made pictures; with fades and flashes that are no cuts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from media_sources import ffmpeg
from samples import sample


@dataclass(frozen=True)
class Shot:
    """One take: no cut within it."""

    what: str  #: a lavfi source, or `NAME@SECONDS`: a sample film from there on
    seconds: float
    filters: str = ""  #: what is done to it: fades, flashes


#: No cut is in these: looked at frame by frame.
BUNNY, RIDERS, STREET = "bigbuckbunny.mp4@0", "bikes.mp4@3.08", "bikes.mp4@5.52"
FOREST, HILL, SQUIRREL = "trailer_bbb.mp4@17", "trailer_bbb.mp4@25", "trailer_bbb.mp4@37.6"
BARS = "smptehdbars=size=320x180:rate={rate}"
TEST = "testsrc2=size=320x180:rate={rate}"
FRACTAL = "mandelbrot=size=320x180:rate={rate}"
COLOURS = "gradients=size=320x180:rate={rate}:speed=0.02:seed=7:c0=navy:c1=orange:c2=teal"
CELLS = "life=size=160x90:rate={rate}:seed=3:mold=10:ratio=0.2:death_color=#303060:life_color=#e0e0ff"

TO_BLACK_AND_BACK = "fade=t=out:st=1:d=0.5,fade=t=in:st=1.5:d=0.5"
FLASHES = "drawbox=color=white:t=fill:enable='between(n,20,21)+between(n,45,47)'"

PROGRAMME = (
    Shot(BUNNY, 2.6), Shot(TEST, 1.9), Shot(RIDERS, 2.2), Shot(FRACTAL, 3.1), Shot(HILL, 2.7, FLASHES),
    Shot(COLOURS, 2.3), Shot(SQUIRREL, 2.5), Shot(BUNNY, 3.0, TO_BLACK_AND_BACK), Shot(STREET, 1.8),
    Shot(TEST, 2.4, FLASHES), Shot(FOREST, 3.3), Shot(BARS, 2.1), Shot(CELLS, 2.6), Shot(HILL, 2.2, "hflip"),
    Shot(COLOURS, 3.2, f"negate,{TO_BLACK_AND_BACK}"), Shot(FRACTAL, 2.9, "negate"),
)  # fmt: skip


def make_cut_film(
    path: Path,
    shots: Sequence[Shot] = PROGRAMME,
    *,
    rate: str = "25",
    gop_s: float = 2.0,
    sound: str = "sine=frequency=330:sample_rate=48000",
    size: str = "320x180",
    make: Callable[..., None] = ffmpeg,
) -> list[int]:
    """Write the shots one after the other, with a key frame every `gop_s` seconds and nowhere else.

    make: runs ffmpeg with these words. Returns the first frame of each shot but the first.
    """
    exact = Fraction(rate)
    width, height = size.split("x")
    words: list[str] = []
    graph, cuts, at = [], [], 0
    for number, shot in enumerate(shots):
        name, is_sample, start = shot.what.partition(".mp4@")
        if is_sample:
            words += ["-ss", start, "-i", str(sample(f"{name}.mp4"))]
        else:
            words += ["-f", "lavfi", "-i", shot.what.format(rate=rate)]
        frames = round(shot.seconds * exact)
        steps = [f"fps={rate}", f"scale={width}:{height}", "setsar=1", "format=yuv420p", f"trim=end_frame={frames}",
                 "setpts=PTS-STARTPTS", *([shot.filters] if shot.filters else [])]  # fmt: skip
        graph.append(f"[{number}:v]{','.join(steps)}[v{number}]")
        at += frames
        cuts.append(at)
    joined = "".join(f"[v{number}]" for number in range(len(shots)))
    graph.append(f"{joined}concat=n={len(shots)}[film]")
    gop = str(round(gop_s * exact))
    make(*words, "-f", "lavfi", "-i", sound, "-filter_complex", ";".join(graph), "-map", "[film]",
           "-map", f"{len(shots)}:a", "-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-g", gop,
           "-keyint_min", gop, "-sc_threshold", "0", "-r", rate, "-c:a", "aac",
           "-t", str(float(at / exact)), str(path))  # fmt: skip
    return cuts[:-1]


@dataclass
class Tally:
    """How many cuts were found, and how many of what was found are cuts."""

    planted: int = 0
    told: int = 0
    found: int = 0

    def add(self, planted: Sequence[float], told: Sequence[float], within: float) -> None:
        left = list(told)
        for cut in planted:
            near = min(left, key=lambda one: abs(one - cut), default=None)
            if near is not None and abs(near - cut) <= within:
                left.remove(near)
                self.found += 1
        self.planted += len(planted)
        self.told += len(told)

    @property
    def recall(self) -> float:
        return self.found / self.planted

    @property
    def precision(self) -> float:
        return self.found / max(1, self.told)

"""What does a text cost a clip, how long does drawing one take, and how long is a preview waited for?

Clips of a 1080p film with a key frame every 2 s, in turn: with a text that is set, measured against the film and drawn;
and with the PNG that it gives, ready-made. `clean` has its contrast measured on frames of the film, on clips that are
smartly rendered, so that little else is done: the dearest case. `caption` stands all along. Then texts are drawn, each
another one, with fonts that are open already; and frames are previewed, after a first one: with another text at the
same moment, as somebody types, and at another moment.

    python benchmarks/texts.py [--pairs N] [--json FILE]
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
from pathlib import Path

from common import CRF, PRESET, Ratios, film_1080p, measured, options, report
from PIL import Image

from reelmill import wiring
from reelmill.media import (
    TEXT_PRESETS,
    ClipPlan,
    ClipSettings,
    Shape,
    draw,
    find_ffmpeg,
    layout,
    probe,
    render_clip,
    sample_frames,
    sample_ticks,
)
from reelmill.media.paint import Picture
from reelmill.pipelines.clips.params import TextLook, VideoParams
from reelmill.pipelines.clips.preview import PreviewOf, TextPreviews
from reelmill.pipelines.clips.setting import set_text
from reelmill.settings import Settings

SETTINGS = ClipSettings(preset=PRESET, crf=CRF, threads=2, audio_kbps=128)
RATE, SIZE = 24, (1920, 1080)
WORDS = "Every line of a few is about as long as the others, part {}"
#: what it is, the preset, seconds of the clip, seconds of its text
CASES = (("3 s of clean, 30 s copied", "clean", 30, 3), ("6 s of caption", "caption", 6, 6))


class Bench:
    """The film, and what is done with it."""

    def __init__(self, folder: Path) -> None:
        self.film, self.folder, self.tool = film_1080p(), folder, find_ffmpeg(None)
        self.source = probe(str(self.film), scratch=folder)
        self.previews = TextPreviews(wiring.toolbox(Settings(data=folder)), folder)
        self.number = itertools.count()

    def words(self) -> str:
        """Return another text each time."""
        return WORDS.format(next(self.number))

    def clip(self, picture: Picture, span: tuple[int, int], shown: tuple[int, int]) -> None:
        plan = ClipPlan(*span, picture, SETTINGS, shown)
        render_clip(str(self.film), self.source, plan, self.folder / "clip.mp4", ffmpeg=self.tool, scratch=self.folder)

    def set(self, look: TextLook, shown: tuple[int, int]) -> Picture:
        def frames() -> list[Image.Image]:
            ticks = sample_ticks(self.source, *shown)
            return sample_frames(
                str(self.film), self.source, Shape(), ticks, ffmpeg=self.tool, scratch=self.folder
            )  # fmt: skip

        seconds = (shown[1] - shown[0]) / RATE
        return set_text(self.words(), look, SIZE, seconds, frames, self.folder / "text.png").picture

    def costs(self, preset: str, span: tuple[int, int], shown: tuple[int, int]) -> tuple[float, float]:
        """Return CPU seconds of a clip whose text is set, and of one with the ready-made picture."""
        look = TextLook(preset=preset)
        ready = self.set(look, shown)
        with_text, _ = measured(lambda: self.clip(self.set(look, shown), span, shown))
        bare, _ = measured(lambda: self.clip(ready, span, shown))
        return with_text, bare

    def drawn(self, preset: str) -> float:
        """Return milliseconds of CPU for laying out and drawing a text."""
        style = TEXT_PRESETS[preset]
        return 1000 * measured(lambda: draw(layout(self.words(), style, *SIZE), self.folder / "d.png"))[0]

    def previewed(self, at_s: float) -> float:
        """Return milliseconds until a preview is there."""
        asked = PreviewOf(
            text=self.words(), look=TextLook(preset="clean"), video=VideoParams(), start_s=10, end_s=40, at_s=at_s
        )
        began = time.perf_counter()
        self.previews.make(str(self.film), self.source, "film", self.film.name, asked, "default")
        return 1000 * (time.perf_counter() - began)


def main() -> int:
    wanted = options(__doc__, pairs=9)
    ratios: Ratios = {}
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        for what, preset, length, shown in CASES:
            found = ratios.setdefault(f"set / ready-made, CPU, {what}", [])
            for number in range(wanted.pairs):
                first = number * length % 90 * RATE
                cpu, bare = bench.costs(preset, (first, first + length * RATE), (first, first + shown * RATE))
                found.append(cpu / bare)
                print(f"{what} {number + 1}: {cpu:.2f} s of CPU, ready-made {bare:.2f}", flush=True)
        bounds = dict.fromkeys(ratios, "≤ 1.05")
        for preset in ("caption", "boxed", "clean"):
            bench.drawn(preset)  # opens the fonts
            ratios[f"drawn, {preset}, ms of CPU"] = [bench.drawn(preset) for _ in range(25)]
            bounds[f"drawn, {preset}, ms of CPU"] = "≤ 15"
        print(f"The first preview took {bench.previewed(1.0):.0f} ms.")
        ratios["preview, another text, ms"] = [bench.previewed(1.0) for _ in range(wanted.pairs)]
        ratios["preview, another moment, ms"] = [bench.previewed(2.0 + 1.7 * n) for n in range(wanted.pairs)]
        bounds |= {name: "≤ 300" for name in ratios if name.startswith("preview")}
        bench.previews.close()
    report("What texts cost", ratios, bounds, wanted.json)
    return int(any(statistics.median(values) > float(bounds[name].split()[1]) for name, values in ratios.items()))


if __name__ == "__main__":
    sys.exit(main())

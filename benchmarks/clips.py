"""What do clips with text cost beside bare ffmpeg?

A 1080p film of two minutes, 30 s clips, a text on every clip all along, the same frames, preset, crf and cores.
In turn, each round: a whole job of the platform (plan, draw, cut, overlay, encode, check, store, record), from its
creation to its end; and one ffmpeg command that only transcodes the film, twice: the null pair says how noisy the
machine was. CPU seconds are user + system of everything, from the worker's threads to ffmpeg.

    python benchmarks/clips.py [--pairs N] [--json FILE]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from common import PRESET, WARM_UP, Ratios, film_1080p, job, measured, options, report, transcode, upload, with_text

from reelmill import logs
from reelmill.settings import Settings
from reelmill.wiring import build


def main() -> None:
    wanted = options(__doc__)
    logs.configure("warning", "text")
    film = film_1080p()
    ratios: Ratios = {"job / ffmpeg, CPU": [], "job / ffmpeg, wall": [], "ffmpeg / ffmpeg, CPU (null)": []}
    with tempfile.TemporaryDirectory() as folder, build(Settings(data=Path(folder) / "data", workers=2)) as app:
        out = Path(folder) / "plain.mp4"
        video_id = upload(app, film)
        job(app, video_id, with_text(WARM_UP))
        for number in range(wanted.pairs):
            a = measured(lambda: job(app, video_id, with_text({"duration_s": 30})))
            b = measured(lambda: transcode(film, out))
            c = measured(lambda: transcode(film, out))
            for name, ratio in zip(ratios, (a[0] / b[0], a[1] / b[1], c[0] / b[0]), strict=True):
                ratios[name].append(ratio)
            told = (
                f"{who} {cpu:.1f} CPU-s in {wall:.1f} s"
                for who, (cpu, wall) in (("job", a), ("ffmpeg", b), ("ffmpeg", c))
            )
            print(f"{number + 1}: {', '.join(told)}", flush=True)
    title = f"Clips with text: {film.name}, 30 s each, {PRESET}, {wanted.pairs} rounds"
    report(title, ratios, {"job / ffmpeg, CPU": "≤ 1.10", "ffmpeg / ffmpeg, CPU (null)": "1"}, wanted.json)


if __name__ == "__main__":
    sys.exit(main())

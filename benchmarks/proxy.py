"""What does a proxy cost beside the best bare ffmpeg command?

A 1080p film of two minutes to 480p, 10 frames/s, H.264, with sound. In turn, each round: a whole job of the platform
(plan, trial, encode, check, store, record), from its creation to its end; the best plain command that was found
(pictures without followers not decoded, frames picked before scaling, cheap scaling), twice: the null pair says how
noisy the machine was; and the plain command as it is usually written. CPU seconds are user + system of everything.

    python benchmarks/proxy.py [--pairs N] [--json FILE]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from common import CRF, PRESET, Ratios, ffmpeg, film_1080p, job, measured, options, report, upload

from reelmill import logs
from reelmill.settings import Settings
from reelmill.wiring import build

OUT = ("-c:v", "libx264", "-preset", PRESET, "-crf", CRF, "-g", 20, "-pix_fmt", "yuv420p", "-threads", 1,
       "-c:a", "aac", "-b:a", "64k", "-ac", 2, "-movflags", "+faststart")  # fmt: skip


def best(film: Path, out: Path) -> None:
    quick = "fps=10,scale=-2:480:flags=fast_bilinear"
    ffmpeg("-threads", 1, "-skip_frame:v", "noref", "-i", film, "-vf", quick, *OUT, out)


def usual(film: Path, out: Path) -> None:
    ffmpeg("-threads", 1, "-i", film, "-vf", "scale=-2:480", "-r", 10, *OUT, out)


def main() -> None:
    wanted = options(__doc__, pairs=3)
    logs.configure("warning", "text")
    film = film_1080p()
    names = (
        "job / best, CPU",
        "best / best, CPU (null)",
        "job / usual, CPU",
        "job with all decoded / usual",
    )
    ratios: Ratios = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder, build(Settings(data=Path(folder) / "data", workers=2)) as app:
        out = Path(folder) / "plain.mp4"
        video_id = upload(app, film)
        for number in range(wanted.pairs):
            ours = measured(lambda: job(app, video_id, {}, "proxy"))[0]
            plain = measured(lambda: best(film, out))[0]
            again = measured(lambda: best(film, out))[0]
            common = measured(lambda: usual(film, out))[0]
            whole = measured(lambda: job(app, video_id, {"decode": "all"}, "proxy"))[0]
            for name, ratio in zip(names, (ours / plain, again / plain, ours / common, whole / common), strict=True):
                ratios[name].append(ratio)
            print(f"{number + 1}: job {ours:.1f} CPU-s, best command {plain:.1f}, again {again:.1f}, "
                  f"usual {common:.1f}, job with all decoded {whole:.1f}", flush=True)  # fmt: skip
    report(f"Proxy of {film.name}, {wanted.pairs} rounds", ratios, {names[0]: "≤ 1.10", names[1]: "1"}, wanted.json)


if __name__ == "__main__":
    sys.exit(main())

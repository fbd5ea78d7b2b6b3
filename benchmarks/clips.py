"""What do clips with text cost, beside bare ffmpeg and beside MoviePy?

A 1080p film of two minutes, 30 s clips, a text on every clip all along, the same frames, preset, crf and cores.
In turn, each round: a whole job of the platform (plan, draw, cut, overlay, encode, check, store, record), from its
creation to its end; one ffmpeg command that only transcodes the film, twice: the null pair says how noisy the
machine was; and MoviePy, each clip cut, titled and written as its manual shows, with as many threads.
CPU seconds are user + system of everything, from the worker's threads to ffmpeg.

    python benchmarks/clips.py [--pairs N] [--json FILE]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from common import CRF, FILMS, PRESET, Ratios, film_1080p, job, measured, options, report, transcode, upload

from reelmill import logs
from reelmill.media.fonts import faces
from reelmill.settings import Settings
from reelmill.wiring import build

MOVIEPY = "2.2.1"
TEXT = "What does it cost?"
BY_MOVIEPY = """
import sys
from moviepy import CompositeVideoClip, TextClip, VideoFileClip
film, folder, font, text, preset, crf, every = sys.argv[1:8]
every = float(every)
with VideoFileClip(film) as source:
    start = number = 0
    while start < source.duration:
        end = min(start + every, source.duration)
        clip = source.subclipped(start, end)
        title = TextClip(font=font, text=text, font_size=65, color="#FFFFFF", stroke_color="#000000", stroke_width=5,
                         margin=(10, 20)).with_duration(clip.duration).with_position(("center", "bottom"))
        made = CompositeVideoClip([clip, title])
        made.write_videofile(f"{folder}/moviepy-{number}.mp4", codec="libx264", audio_codec="aac", audio_bitrate="128k",
                             preset=preset, threads=2, ffmpeg_params=["-crf", crf], logger=None)
        start, number = end, number + 1
"""


def moviepy() -> Path:
    """Return the Python of an environment of its own that has MoviePy: it is an opponent, not a dependency."""
    folder = FILMS / f"moviepy-{MOVIEPY}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"Installing MoviePy {MOVIEPY} …", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"moviepy=={MOVIEPY}"], check=True)
        (folder / "ready").touch()
    return python


def main() -> None:
    wanted = options(__doc__)
    logs.configure("warning", "text")
    film, python = film_1080p(), moviepy()
    text = {"text": TEXT, "position": "bottom"}
    video = {"preset": PRESET, "crf": CRF}
    params = {"cutting": {"duration_s": 30}, "text": text, "video": video}
    font = str(faces()[0].path)
    ratios: Ratios = {
        "job / ffmpeg, CPU": [], "job / ffmpeg, wall": [], "ffmpeg / ffmpeg, CPU (null)": [],
        "MoviePy / job, CPU": [], "MoviePy / job, wall": [],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, build(Settings(data=Path(folder) / "data", workers=2)) as app:
        out = Path(folder) / "plain.mp4"
        video_id = upload(app, film)
        short = {**params, "cutting": {"kind": "manual", "cuts": [{"start_s": 0, "end_s": 2}]}}
        job(app, video_id, short)  # warm-up
        script = [str(python), "-c", BY_MOVIEPY, str(film), folder, font, TEXT, PRESET, str(CRF), "30"]
        for number in range(wanted.pairs):
            a = measured(lambda: job(app, video_id, params))
            b = measured(lambda: transcode(film, out))
            c = measured(lambda: transcode(film, out))
            d = measured(lambda: subprocess.run(script, check=True, stdout=subprocess.DEVNULL))
            found = a[0] / b[0], a[1] / b[1], c[0] / b[0], d[0] / a[0], d[1] / a[1]
            for name, ratio in zip(ratios, found, strict=True):
                ratios[name].append(ratio)
            told = ", ".join(
                f"{who} {cpu:.1f} CPU-s in {wall:.1f} s"
                for who, (cpu, wall) in zip(("job", "ffmpeg", "ffmpeg", "MoviePy"), (a, b, c, d), strict=True)
            )
            print(f"{number + 1}: {told}", flush=True)
    bounds = {
        "job / ffmpeg, CPU": "≤ 1.10", "MoviePy / job, CPU": "≥ 2.5", "MoviePy / job, wall": "≥ 3.5",
        "ffmpeg / ffmpeg, CPU (null)": "1",
    }  # fmt: skip
    report(f"Clips with text: {film.name}, 30 s each, {PRESET}, {wanted.pairs} rounds", ratios, bounds, wanted.json)


if __name__ == "__main__":
    sys.exit(main())

"""What do clips with text cost beside MoviePy, which people use for this?

Two clips of 30 s out of a 1080p film of two minutes, a text on both all along, the same frames, preset, crf and cores.
In turn, each round: a whole job of the platform, from its creation to its end; and MoviePy, each clip cut, titled and
written as its manual shows, with two encoder threads. CPU seconds are user + system of everything.

    python benchmarks/moviepy.py [--pairs N] [--json FILE]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from common import (
    CRF,
    FILMS,
    PRESET,
    TEXT,
    WARM_UP,
    Ratios,
    film_1080p,
    job,
    measured,
    options,
    report,
    upload,
    with_text,
)

from reelmill import logs
from reelmill.media.fonts import faces
from reelmill.settings import Settings
from reelmill.wiring import build

MOVIEPY = "2.2.1"
BY_MOVIEPY = """
import sys
from moviepy import CompositeVideoClip, TextClip, VideoFileClip
film, folder, font, text, preset, crf = sys.argv[1:7]
with VideoFileClip(film) as source:
    for number in range(2):
        clip = source.subclipped(30 * number, 30 * number + 30)
        title = TextClip(font=font, text=text, font_size=65, color="#FFFFFF", stroke_color="#000000", stroke_width=5,
                         margin=(10, 20)).with_duration(clip.duration).with_position(("center", "bottom"))
        made = CompositeVideoClip([clip, title])
        made.write_videofile(f"{folder}/moviepy-{number}.mp4", codec="libx264", audio_codec="aac", audio_bitrate="128k",
                             preset=preset, threads=2, ffmpeg_params=["-crf", crf], logger=None)
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
    script = [str(python), "-c", BY_MOVIEPY]
    cuts = {"kind": "manual", "cuts": [{"start_s": 0, "end_s": 30}, {"start_s": 30, "end_s": 60}]}
    ratios: Ratios = {"MoviePy / job, CPU": [], "MoviePy / job, wall": [], "job / job, CPU (null)": []}
    with tempfile.TemporaryDirectory() as folder, build(Settings(data=Path(folder) / "data", workers=2)) as app:
        video_id = upload(app, film)
        job(app, video_id, with_text(WARM_UP))
        script += [str(film), folder, str(faces()[0].path), TEXT, PRESET, str(CRF)]
        for number in range(wanted.pairs):
            a = measured(lambda: job(app, video_id, with_text(cuts)))
            b = measured(lambda: subprocess.run(script, check=True, stdout=subprocess.DEVNULL))
            c = measured(lambda: job(app, video_id, with_text(cuts)))
            for name, ratio in zip(ratios, (b[0] / a[0], b[1] / a[1], c[0] / a[0]), strict=True):
                ratios[name].append(ratio)
            told = (
                f"{who} {cpu:.1f} CPU-s in {wall:.1f} s"
                for who, (cpu, wall) in (("job", a), ("MoviePy", b), ("job", c))
            )
            print(f"{number + 1}: {', '.join(told)}", flush=True)
    title = f"Clips with text: two of 30 s out of {film.name}, {PRESET}, {wanted.pairs} rounds"
    report(title, ratios, {"MoviePy / job, CPU": "≥ 2.5", "MoviePy / job, wall": "≥ 3.5"}, wanted.json)


if __name__ == "__main__":
    sys.exit(main())

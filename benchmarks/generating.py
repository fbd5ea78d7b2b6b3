"""What does a generated film cost beside composing it with MoviePy, which people use for this?

The same script: six scenes of 720p30, each with a title and a spoken narration, four of them on a picture that is
zoomed into slowly and two on a gradient, cross-fades of half a second, the same preset and crf. The narrations are
spoken before; both read them. In turn, each round: a whole job of the platform, from its creation to its end; and
MoviePy, composed as its manual shows, with two encoder threads. CPU seconds are user + system of everything.

    python benchmarks/generating.py [--pairs N] [--json FILE]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import CRF, ME, PRESET, Ratios, ffmpeg, measured, options, report, upload
from moviepy import moviepy

from reelmill import logs
from reelmill.media.fonts import faces
from reelmill.media.scenes import ZOOM, gradient
from reelmill.settings import Settings
from reelmill.wiring import App, build

WORDS = (
    "A small lake lies in the middle of the forest.",
    "Every morning the birds sing above the water.",
    "In winter the lake is frozen, and children come with their skates.",
    "When spring returns, the ice breaks with a loud noise.",
    "Then the birds are back, and the year begins again.",
    "Nobody hears them but the trees.",
)
BY_MOVIEPY = """
import json, sys
from moviepy import AudioFileClip, CompositeVideoClip, ImageClip, TextClip, vfx
scenes, out, font, preset, crf, zoom = json.loads(sys.argv[1]), *sys.argv[2:5], sys.argv[5], float(sys.argv[6])
clips, start, fade = [], 0.0, 0.5
for number, scene in enumerate(scenes):
    sound = AudioFileClip(scene["narration"])
    length = sound.duration + (fade if number + 1 < len(scenes) else 0)
    picture = ImageClip(scene["picture"]).with_duration(length)
    if scene["moves"]:
        picture = picture.resized(lambda t, length=length: 1 + (zoom - 1) * t / length).with_position("center")
    title = TextClip(font=font, text=scene["text"], font_size=79, color="#FFFFFF", stroke_color="#000000",
                     stroke_width=3, margin=(10, 20)).with_duration(length).with_position("center")
    clip = CompositeVideoClip([picture, title], size=(1280, 720)).with_audio(sound)
    if number:
        clip = clip.with_effects([vfx.CrossFadeIn(fade)])
    clips.append(clip.with_start(start))
    start += sound.duration
film = CompositeVideoClip(clips, size=(1280, 720))
film.write_videofile(out, fps=30, codec="libx264", audio_codec="aac", audio_bitrate="160k", preset=preset, threads=2,
                     ffmpeg_params=["-crf", crf], logger=None)
"""


def generated(app: App, params: dict[str, Any]) -> str:
    """Generate a film; return its job's id."""
    made = app.service.generate(ME, params)
    while (seen := app.store.job(made.id)).completed_at is None:
        time.sleep(0.1)  # each look costs processor time, which is measured too
    if seen.status != "completed":
        raise SystemExit(f"{seen.error_code}: {seen.error_detail}")
    return made.id


def main() -> None:
    wanted = options(__doc__, pairs=3)
    logs.configure("warning", "text")
    python = moviepy().absolute()
    ratios: Ratios = {"MoviePy / job, CPU": [], "MoviePy / job, wall": []}
    with tempfile.TemporaryDirectory() as named, build(Settings(data=Path(named) / "data", workers=2)) as app:
        folder = Path(named)
        film = folder / "picture.mp4"
        ffmpeg("-f", "lavfi", "-i", "mandelbrot=size=1920x1080:rate=1", "-frames:v", "2", "-c:v", "libx264",
               "-crf", "10", "-pix_fmt", "yuv420p", "-g", "1", film)  # fmt: skip
        ffmpeg("-i", film, "-vf", "scale=1280:720", "-frames:v", "1", "-update", "1", folder / "picture.png")
        gradient(["#134E5E", "#3E8E6E"], 20, 1280, 720, folder / "gradient.png")
        still = {"kind": "image", "video_id": upload(app, film), "motion": "zoom_in"}
        plain = {"kind": "gradient", "colors": ["#134E5E", "#3E8E6E"], "angle": 20.0}
        scenes = [
            {"text": f"Scene {n + 1}", "narration": words, "background": plain if n % 3 == 2 else still}
            for n, words in enumerate(WORDS)
        ]
        params = {"scenes": scenes, "quality_levels": ["720p"], "captions": "none", "preset": PRESET, "crf": CRF}
        first = generated(app, params)  # it also speaks the narrations
        spoken = [one for one in app.store.artifacts(first) if one.kind == "narration"]
        told = [
            {
                "text": f"Scene {n + 1}",
                "moves": n % 3 != 2,
                "picture": str(folder / ("gradient.png" if n % 3 == 2 else "picture.png")),
                "narration": str(app.objects.locate(one.key)),
            }
            for n, one in enumerate(spoken)
        ]
        script = [str(python), "-c", BY_MOVIEPY, json.dumps(told), str(folder / "moviepy.mp4"), str(faces()[0].path)]
        script += [PRESET, str(CRF), str(ZOOM)]
        for number in range(wanted.pairs):
            a = measured(lambda: generated(app, params))
            # In a folder of its own: MoviePy leaves its sound where it runs until it is done.
            b = measured(lambda: subprocess.run(script, check=True, stdout=subprocess.DEVNULL, cwd=folder))
            for name, ratio in zip(ratios, (b[0] / a[0], b[1] / a[1]), strict=True):
                ratios[name].append(ratio)
            who = (f"{name} {cpu:.1f} CPU-s in {wall:.1f} s" for name, (cpu, wall) in (("job", a), ("MoviePy", b)))
            print(f"{number + 1}: {', '.join(who)}", flush=True)
        seconds = (app.store.video(app.store.job(first).video_id).source or {})["duration_s"]
    title = f"A generated film of {seconds:.0f} s in six scenes, 720p30, {PRESET}, {wanted.pairs} rounds"
    report(title, ratios, {}, wanted.json)


if __name__ == "__main__":
    sys.exit(main())

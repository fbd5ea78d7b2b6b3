"""What do sizes, proxy, thumbnails and storyboard cost in one job, beside a command for each?

A 1080p film of two minutes. In turn, each round: one job of `renditions` (1080p and 720p as MP4 and HLS, proxy,
poster, five thumbnails, storyboard), from its creation to its end; and bare ffmpeg commands: one for each size, as HLS
from that by copying, one for the proxy (frames picked before scaling), one for each thumbnail (by seeking), one for
the sprites (every frame decoded, as `fps=1/N,scale,tile` does). Then the sprites alone: key frames against all.
CPU seconds are user + system of everything.

    python benchmarks/renditions.py [--pairs N] [--json FILE]
"""

from __future__ import annotations

import sys
import tempfile
from fractions import Fraction
from pathlib import Path

from common import CRF, PRESET, Ratios, ffmpeg, film_1080p, job, measured, options, report, upload

from reelmill import logs
from reelmill.media import find_ffmpeg, probe
from reelmill.media.storyboard import storyboard, tile_s
from reelmill.settings import Settings
from reelmill.wiring import build

X264 = ("-c:v", "libx264", "-preset", PRESET, "-crf", CRF, "-pix_fmt", "yuv420p", "-threads", 1)
SOUND = ("-c:a", "aac", "-b:a", "128k", "-ac", 2, "-movflags", "+faststart")
SECONDS = 125


def separately(film: Path, folder: Path, every_s: Fraction) -> None:
    """A command for each output, as one would write them."""
    for height in (1080, 720):
        size = ["-vf", f"scale=-2:{height}"] if height != 1080 else []
        out = folder / f"{height}.mp4"
        ffmpeg("-threads", 1, "-i", film, *size, *X264, "-force_key_frames", "expr:gte(t,n_forced*2)",
               "-sc_threshold", 0, *SOUND, out)  # fmt: skip
        ffmpeg("-i", out, "-c", "copy", "-f", "hls", "-hls_time", 6, "-hls_playlist_type", "vod", "-hls_segment_type",
               "fmp4", "-hls_flags", "single_file", folder / f"{height}.m3u8")  # fmt: skip
    ffmpeg("-threads", 1, "-i", film, "-vf", "fps=10,scale=-2:480", *X264, "-g", 20, *SOUND, folder / "proxy.mp4")
    for number in range(6):
        ffmpeg("-ss", SECONDS * (number + 0.5) / 6, "-i", film, "-frames:v", 1, "-vf", "scale=-2:270", "-update", 1,
               folder / f"{number}.jpg")  # fmt: skip
    sprites(film, folder, every_s)


def sprites(film: Path, folder: Path, every_s: Fraction) -> None:
    ffmpeg("-threads", 1, "-i", film, "-an", "-vf", f"fps=1/{float(every_s)},scale=-2:90,tile=10x10",
           folder / "sprite-%d.jpg")  # fmt: skip


def main() -> None:
    wanted = options(__doc__, pairs=3)
    logs.configure("warning", "text")
    film = film_1080p(SECONDS)
    names = "one job / separate commands, CPU", "full decoding / our storyboard, CPU"
    ratios: Ratios = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder, build(Settings(data=Path(folder) / "data", workers=2)) as app:
        scratch = Path(folder) / "scratch"
        scratch.mkdir()
        video_id = upload(app, film)
        source = probe(str(film), scratch=scratch)
        every_s = tile_s(source)
        for number in range(wanted.pairs):
            params = {"heights": [1080, 720], "proxy": {}}
            ours = measured(lambda params=params: job(app, video_id, params, "renditions"))[0]
            plain = measured(lambda: separately(film, scratch, every_s))[0]
            ratios[names[0]].append(ours / plain)
            keys = measured(
                lambda: storyboard(str(film), source, every_s, scratch, ffmpeg=find_ffmpeg(None), scratch=scratch)
            )[0]
            full = measured(lambda: sprites(film, scratch, every_s))[0]
            ratios[names[1]].append(full / keys)
            print(f"{number + 1}: job {ours:.1f} CPU-s, commands {plain:.1f}; storyboard {keys:.2f}, by full decoding "
                  f"{full:.1f}", flush=True)  # fmt: skip
    report(
        f"Renditions of {film.name}, {wanted.pairs} rounds", ratios, {names[0]: "≤ 0.85", names[1]: "≥ 8"}, wanted.json
    )


if __name__ == "__main__":
    sys.exit(main())

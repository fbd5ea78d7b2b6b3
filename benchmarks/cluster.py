"""How long does one film of ten minutes take on a cluster of two workers, beside one ffmpeg on both cores?

Each round, in turn: a whole job on `reelmill cluster` (PostgreSQL, Valkey, SeaweedFS, API, two workers that take one
step at a time), from its creation to its end: 20 clips of 30 s, a text on each all along, so that every frame is drawn
on and encoded anew, fetched from and stored in S3; and one ffmpeg command with both cores that only transcodes the
film, with the same preset and crf. Wall seconds are compared.

    python benchmarks/cluster.py [--pairs N] [--json FILE]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import FILMS, PRESET, SAMPLE, WARM_UP, Ratios, ffmpeg, measured, options, report, transcode, with_text

from reelmill import Client

MINUTES = 10
REELMILL = Path(sys.executable).with_name("reelmill")


def long_film() -> Path:
    """Return the 720p sample, repeated to ten minutes without encoding it again."""
    path = FILMS / f"film-720p-{MINUTES}min.mp4"
    if not path.is_file():
        FILMS.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.mp4")
        ffmpeg("-stream_loop", "-1", "-i", SAMPLE, "-t", MINUTES * 60, "-c", "copy", part)
        part.rename(path)
    return path


@contextmanager
def cluster(folder: Path) -> Iterator[Client]:
    """Bring a cluster up, and down again with all that it holds."""
    where = ["--folder", str(folder)]
    up = subprocess.run(
        [REELMILL, "cluster", "up", "--workers", "2", "--json", *where], check=True, capture_output=True
    )
    try:
        told = json.loads(up.stdout)
        with Client(told["url"], Path(told["key_file"]).read_text().strip()) as client:
            yield client
    finally:
        subprocess.run([REELMILL, "cluster", "down", "--delete", *where], check=True, capture_output=True)


def job(client: Client, video_id: str, cutting: dict[str, object]) -> None:
    made = client.create_job(video_id, "clips", with_text(cutting), reuse=False)
    ended = client.wait(made.job_id)
    if ended.status != "completed":
        raise SystemExit(f"The job is {ended.status}: {ended.error}")


def main() -> None:
    wanted = options(__doc__, pairs=2)
    film = long_film()
    ratios: Ratios = {"cluster / ffmpeg, wall": [], "ffmpeg / ffmpeg, wall (null)": []}
    # PostgreSQL runs as another account when this runs as root: it must get to its folder.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        with cluster(Path(folder) / "cluster") as client:
            video_id = client.upload(film).video_id
            job(client, video_id, WARM_UP)
            out = Path(folder) / "plain.mp4"
            for number in range(wanted.pairs):
                ours = measured(lambda: job(client, video_id, {"duration_s": 30}))[1]
                theirs = measured(lambda: transcode(film, out))[1]
                again = measured(lambda: transcode(film, out))[1]
                ratios["cluster / ffmpeg, wall"].append(ours / theirs)
                ratios["ffmpeg / ffmpeg, wall (null)"].append(again / theirs)
                print(f"{number + 1}: cluster {ours:.0f} s, ffmpeg {theirs:.0f} s and {again:.0f} s", flush=True)
    bounds = {"cluster / ffmpeg, wall": "≤ 1.10", "ffmpeg / ffmpeg, wall (null)": "1"}
    report(f"One film of {MINUTES} min, 720p, {PRESET}, two workers", ratios, bounds, wanted.json)


if __name__ == "__main__":
    main()

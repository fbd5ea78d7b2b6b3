"""How much of a source over HTTP do all render steps together read, and how much memory does the server take?

A server of object storage that counts what it sends; 30 s clips of a 1080p film with key frames every 2 s and every
4 s, at free cuts. Then a real `reelmill serve` makes the same clips while its resident memory is watched.

    python benchmarks/reading.py [--json FILE]
"""

from __future__ import annotations

import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import psutil
from common import ROOT, Ratios, film_1080p, options, report

from reelmill.media import ClipPlan, ClipSettings, find_ffmpeg, fixed, probe, render_clip

sys.path.insert(0, str(ROOT / "tests"))
from media_sources import Served
from running import Server

FAST = ClipSettings(preset="ultrafast", threads=2)


def read(film: Path, folder: Path) -> tuple[float, int]:
    """Return bytes sent / size of the source, and the most that one clip asked for, in bytes."""
    source = probe(str(film), scratch=folder)
    video = source.video
    most = 0
    with Served(film.parent) as storage:
        for part in fixed(source.frame_ticks(), video.end_tick, video.time_base, Fraction(30)):
            before = storage.sent
            plan = ClipPlan(part.start_frame, part.end_frame, None, FAST)
            url = f"{storage.url}/{film.name}"
            render_clip(url, source, plan, folder / "clip.mp4", ffmpeg=find_ffmpeg(None), scratch=folder, whole=True)
            most = max(most, storage.sent - before)
        return storage.sent / film.stat().st_size, most


def memory(film: Path, folder: Path) -> float:
    """Return the most MiB that a server's own process had in memory while it made clips."""
    with Server(folder) as server:
        params = {"cutting": {"duration_s": 30}, "text": {"text": "Memory"}}
        job_id = server.upload(film, pipeline="clips", params=params)["job_id"]
        most, process = 0, psutil.Process(server.process.pid)
        while server.job(job_id)["status"] not in ("completed", "failed"):
            most = max(most, process.memory_info().rss)
            time.sleep(0.1)
        assert server.job(job_id)["status"] == "completed"
    return most / 2**20


def main() -> None:
    wanted = options(__doc__)
    ratios: Ratios = {}
    with tempfile.TemporaryDirectory() as name:
        for gop_s in (2, 4):
            film = film_1080p(gop_s=gop_s)
            ratio, most = read(film, Path(name))
            ratios[f"bytes read / source, {gop_s} s groups"] = [ratio]
            ratios[f"largest clip's bytes / source, {gop_s} s groups"] = [most / film.stat().st_size]
        ratios["memory of the server, MiB"] = [memory(film_1080p(), Path(name) / "server")]
    bounds = {f"bytes read / source, {gop_s} s groups": "≤ 1.15" for gop_s in (2, 4)}
    report("Reading", ratios, bounds | {"memory of the server, MiB": "< 300"}, wanted.json)


if __name__ == "__main__":
    main()

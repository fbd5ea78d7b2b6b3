"""What all benchmarks share: a film, honest timing, tables, and the machine's name."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reelmill.jobs.service import Caller
from reelmill.media import find_ffmpeg
from reelmill.wiring import App

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / ".cache" / "samples" / "trailer_bbb.mp4"
FILMS = ROOT / ".cache" / "bench"
ME = Caller()
PRESET, CRF = "veryfast", 23
TEXT = "What does it cost?"
WARM_UP = {"kind": "manual", "cuts": [{"start_s": 0, "end_s": 2}]}

Ratios = dict[str, list[float]]


def film_1080p(seconds: int = 125, gop_s: int = 2) -> Path:
    """Return a 1080p H.264 film with sound and closed groups of `gop_s` seconds, made once of the sample film.

    The sample, 55 s of 720p, is enlarged and repeated: real pictures with real grain, though softer than 1080p is.
    """
    path = FILMS / f"film-1080p-{seconds}s-gop{gop_s}.mp4"
    if path.is_file():
        return path
    FILMS.mkdir(parents=True, exist_ok=True)
    print(f"Making {path.name} …", flush=True)
    part = path.with_suffix(".part.mp4")
    gop = str(24 * gop_s)
    ffmpeg("-stream_loop", "-1", "-i", SAMPLE, "-t", str(seconds), "-vf", "scale=1920:1080:flags=bicubic",
           "-c:v", "libx264", "-preset", PRESET, "-crf", "20", "-g", gop, "-keyint_min", gop, "-sc_threshold", "0",
           "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "128k", "-ac", "2", "-movflags", "+faststart",
           part)  # fmt: skip
    part.rename(path)
    return path


def ffmpeg(*words: object) -> None:
    subprocess.run([str(find_ffmpeg(None)), "-nostdin", "-loglevel", "error", "-y", *map(str, words)], check=True)


def transcode(film: Path, out: Path, threads: int = 2) -> None:
    """One plain ffmpeg command over the whole film: what has to be done anyway."""
    ffmpeg("-threads", threads, "-i", film, "-map", "0:v:0", "-map", "0:a:0?", "-c:v", "libx264", "-preset", PRESET,
           "-crf", CRF, "-threads", threads, "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "128k", "-ac", "2",
           "-movflags", "+faststart", out)  # fmt: skip


def measured(act: Callable[[], Any]) -> tuple[float, float]:
    """Return (CPU seconds, wall seconds) of `act`, its ended child processes included."""

    def cpu() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    cpu_s, wall_s = cpu(), time.perf_counter()
    act()
    return cpu() - cpu_s, time.perf_counter() - wall_s


def upload(app: App, film: Path) -> str:
    """Bring a film into a platform in this process; return its video id."""
    begun = app.service.initiate(ME, filename=film.name, size_bytes=film.stat().st_size, content_type="video/mp4")
    copy = app.settings.data / "copy"
    shutil.copyfile(film, copy)
    sha256 = hashlib.sha256(film.read_bytes()).hexdigest()
    app.objects.put_file(begun.video.key, copy, content_type="video/mp4", sha256=sha256)
    app.service.complete(ME, begun.video.id)
    return begun.video.id


def job(app: App, video_id: str, params: dict[str, Any], pipeline: str = "clips", *, reuse: bool = False) -> str:
    """Run a job to its end, everything made anew unless told; return its id."""
    made = app.service.create_job(ME, video_id, pipeline, params, reuse=reuse)
    while (seen := app.store.job(made.id)).completed_at is None:
        time.sleep(0.1)  # each look costs processor time, which is measured too
    if seen.status != "completed":
        raise SystemExit(f"{seen.error_code}: {seen.error_detail}")
    return made.id


def with_text(cutting: dict[str, Any]) -> dict[str, Any]:
    """Return parameters of `clips` for a text all along."""
    text = {"text": TEXT, "position": "bottom"}
    return {"cutting": cutting, "text": text, "video": {"preset": PRESET, "crf": CRF}}


def machine() -> str:
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    models = [line.split(":", 1)[1].strip() for line in told.splitlines() if line.startswith("model name")]
    load = f"load {os.getloadavg()[0]:.1f} at the end"
    return f"{len(models) or '?'} × {models[0] if models else platform.processor()}, {platform.system()}, {load}"


def options(about: str | None, pairs: int = 5) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=pairs, help=f"rounds, {pairs} unless told")
    parser.add_argument("--json", type=Path, help="write what was measured to a file, too")
    return parser.parse_args()


def report(title: str, ratios: Ratios, wanted: dict[str, str], to: Path | None) -> None:
    """Print a table of medians, and write all values as JSON. wanted: what a ratio is held against ("≤ 1.10")."""
    print(f"\n{title}\non {machine()}")
    print(f"{'':<44}{'median':>9}{'min':>9}{'max':>9}   wanted")
    for name, values in ratios.items():
        figures = "".join(f"{figure:>9.3f}" for figure in (statistics.median(values), min(values), max(values)))
        print(f"{name:<44}{figures}   {wanted.get(name, '')}")
    if to:
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(json.dumps({"title": title, "machine": machine(), "ratios": ratios, "wanted": wanted}, indent=2))

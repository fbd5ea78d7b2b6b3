"""What does Reelmill cost over bare ffmpeg? `clips` with a text on every clip, beside a plain transcode of the film.

Pairs of runs in turn, the same frames, preset, crf and threads: A is a whole job (plan, draw, cut, overlay, encode,
check, store, record), from its creation to its end; B is one ffmpeg command that only transcodes, one thread, as each
step of the job. C is B again: the null pair C/B says how noisy the machine was. CPU seconds are user + system of
everything, from the worker's threads to ffmpeg.

    python benchmarks/clips.py [FILM] [--pairs N] [--every SECONDS] [--json FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from reelmill import logs
from reelmill.jobs.service import Caller
from reelmill.media import find_ffmpeg
from reelmill.settings import Settings
from reelmill.wiring import App, build

SAMPLE = Path(__file__).parents[1] / ".cache" / "samples" / "trailer_bbb.mp4"
ME = Caller()


def measured(act: Callable[[], None]) -> tuple[float, float]:
    """Return (CPU seconds, wall seconds) of `act`, its ended child processes included."""

    def cpu() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    cpu_s, wall_s = cpu(), time.perf_counter()
    act()
    return cpu() - cpu_s, time.perf_counter() - wall_s


def transcode(film: Path, out: Path) -> None:
    subprocess.run(
        [str(find_ffmpeg(None)), "-nostdin", "-loglevel", "error", "-y", "-threads", "1", "-i", str(film),
         "-map", "0:v:0", "-map", "0:a:0?", "-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-threads", "1",
         "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "128k", "-ac", "2", "-movflags", "+faststart", str(out)],
        check=True,
    )  # fmt: skip


def upload(app: App, film: Path) -> str:
    begun = app.service.initiate(ME, filename=film.name, size_bytes=film.stat().st_size, content_type="video/mp4")
    copy = app.settings.data / "copy"
    shutil.copyfile(film, copy)
    sha256 = hashlib.sha256(film.read_bytes()).hexdigest()
    app.objects.put_file(begun.video.key, copy, content_type="video/mp4", sha256=sha256)
    app.service.complete(ME, begun.video.id)
    return begun.video.id


def job(app: App, video_id: str, every: float) -> None:
    text = {"text": "What does it cost?", "position": "bottom"}
    made = app.service.create_job(ME, video_id, "clips", {"cutting": {"duration_s": every}, "text": text})
    while (seen := app.store.job(made.id)).completed_at is None:
        time.sleep(0.02)
    if seen.status != "completed":
        raise SystemExit(f"{seen.error_code}: {seen.error_detail}")


def machine() -> str:
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    models = [line.split(":", 1)[1].strip() for line in told.splitlines() if line.startswith("model name")]
    return f"{len(models) or '?'} × {models[0] if models else platform.processor()}, {platform.platform()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--every", type=float, default=10.0)
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    logs.configure("warning", "text")
    ratios: dict[str, list[float]] = {"job/ffmpeg CPU": [], "job/ffmpeg wall": [], "ffmpeg/ffmpeg CPU (null)": []}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "plain.mp4"
        with build(Settings(data=Path(folder) / "data")) as app:
            video_id = upload(app, wanted.film)
            job(app, video_id, wanted.every)  # warm-up
            for pair in range(wanted.pairs):
                a = measured(lambda: job(app, video_id, wanted.every))
                b = measured(lambda: transcode(wanted.film, out))
                c = measured(lambda: transcode(wanted.film, out))
                for name, ratio in zip(ratios, (a[0] / b[0], a[1] / b[1], c[0] / b[0]), strict=True):
                    ratios[name].append(ratio)
                print(f"pair {pair + 1}: job {a[0]:.2f} CPU-s in {a[1]:.2f} s, ffmpeg {b[0]:.2f} CPU-s in {b[1]:.2f} s")
    print(f"\n{wanted.film.name}, every {wanted.every:g} s, {wanted.pairs} pairs, on {machine()}")
    print(f"{'ratio':<28}{'median':>8}{'min':>8}{'max':>8}")
    for name, values in ratios.items():
        print(f"{name:<28}{statistics.median(values):>8.3f}{min(values):>8.3f}{max(values):>8.3f}")
    if wanted.json:
        wanted.json.write_text(json.dumps({"machine": machine(), "film": wanted.film.name, "ratios": ratios}, indent=2))


if __name__ == "__main__":
    main()

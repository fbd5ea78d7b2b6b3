"""What does smart rendering save, and is what it copies untouched?

Text in the first 3 of each 30 s of a 1080p film with a key frame every 2 s: clips at free cuts and at key frames, made
by smart rendering and by encoding all of it, in turn, with the same settings. Each round takes the film's next 30 s, as
what a clip costs is up to its pictures. Then each frame of the clips is hashed and held against the source's: those
that no text and no cut touches must be bit-identical.

    python benchmarks/smart.py [--pairs N] [--json FILE]
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import av
from common import CRF, PRESET, Ratios, film_1080p, measured, options, report

from reelmill.media import (
    ClipPlan,
    ClipSettings,
    Rendered,
    Source,
    TextStyle,
    draw,
    find_ffmpeg,
    layout,
    output_size,
    pieces,
    probe,
    render_clip,
)

SETTINGS = ClipSettings(preset=PRESET, crf=CRF, threads=1, audio_kbps=128)
#: how far behind key frames the clips begin, frames; what full / smart is held against
CUTS = (("free cuts", 29, "≥ 4"), ("cuts on key frames", 0, "≥ 6"))
FRAMES, SHOWN = 720, 72  #: of a clip, and those with text


def hashes(path: Path, first: int, count: int) -> list[str]:
    found = []
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number >= first:
                found.append(hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest())
            if len(found) == count:
                break
    return found


def untouched(film: Path, source: Source, plan: ClipPlan, made: Rendered) -> tuple[int, int]:
    """Return how many frames no text and no cut touches, and how many of these are bit-identical."""
    original = hashes(film, plan.start_frame, plan.end_frame - plan.start_frame)
    clip = hashes(made.path, 0, len(original))
    places = [n - plan.start_frame for p in pieces(source, plan) if p.copied for n in range(p.start_frame, p.end_frame)]
    return len(places), sum(original[n] == clip[n] for n in places)


def main() -> int:
    wanted = options(__doc__, pairs=8)
    film, tool = film_1080p(), find_ffmpeg(None)
    ratios: Ratios = {}
    bounds = {}
    broken = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = probe(str(film), scratch=folder)
        picture = draw(layout("Three seconds", TextStyle(), *output_size(source)), folder / "text.png")
        plans = {
            cuts: [
                ClipPlan(start, start + FRAMES, picture, SETTINGS, (start, start + SHOWN))
                for start in range(behind, source.video.frame_count - FRAMES, FRAMES)
            ]
            for cuts, behind, _ in CUTS
        }
        for cuts, _, least in CUTS:
            saved = ratios.setdefault(f"full / smart, CPU, {cuts}", [])
            null = ratios.setdefault(f"full / full, CPU, {cuts} (null)", [])
            sizes = ratios.setdefault(f"smart / source's share, bytes, {cuts}", [])
            bounds |= {f"full / smart, CPU, {cuts}": least, f"smart / source's share, bytes, {cuts}": "≤ 1.10"}

            def make(plan: ClipPlan, *, whole: bool) -> Rendered:
                out = folder / ("full.mp4" if whole else "smart.mp4")
                return render_clip(str(film), source, plan, out, ffmpeg=tool, scratch=folder, whole=whole)

            make(plans[cuts][0], whole=False)  # warm-up
            for number in range(wanted.pairs):
                plan = plans[cuts][number % len(plans[cuts])]
                made: list[Rendered] = []
                a = measured(lambda made=made, plan=plan: made.append(make(plan, whole=False)))
                b = measured(lambda plan=plan: make(plan, whole=True))
                c = measured(lambda plan=plan: make(plan, whole=True))
                saved.append(b[0] / a[0])
                null.append(c[0] / b[0])
                share = film.stat().st_size * FRAMES / source.video.frame_count
                sizes.append(made[0].checked.size_bytes / share)
                print(f"{cuts} {number + 1}: smart {a[0]:.2f} CPU-s, full {b[0]:.2f}, {c[0]:.2f}", flush=True)
                if made[0].reason:
                    print(f"{cuts}: nothing was copied: {made[0].reason}")
                if number < len(plans[cuts]):
                    count, same = untouched(film, source, plan, made[0])
                    print(f"{cuts}: {same} of {count} untouched frames are bit-identical")
                    broken += count - same or not count
    report(f"Smart rendering: {film.name}, text in 3 of 30 s, {PRESET}", ratios, bounds, wanted.json)
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())

"""What does a job cost that was made before, with one text changed?

Twelve clips with a text each of a 1080p film. In turn, each round: the job with everything made anew; the same with one
text changed, which takes over the eleven others; and the very same once more. CPU seconds are user + system of
everything, from the job's creation to its end.

    python benchmarks/reuse.py [--pairs N] [--json FILE]
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from common import CRF, PRESET, Ratios, film_1080p, job, measured, options, report, upload

from reelmill import logs
from reelmill.settings import Settings
from reelmill.wiring import App, build

CLIPS = 12
SECONDS = 125


def params(texts: list[str]) -> dict[str, Any]:
    cuts = [{"start_s": 10.0 * n, "end_s": 10.0 * n + 5} for n in range(CLIPS)]
    text = {"strategy": "unique_for_all", "texts": texts}
    return {"cutting": {"kind": "manual", "cuts": cuts}, "text": text, "video": {"preset": PRESET, "crf": CRF}}


def cost(app: App, video_id: str, texts: list[str], encoded: int, *, reuse: bool = True) -> float:
    """Run the job, which is to encode so many clips; return its CPU seconds."""
    ids: list[str] = []
    cpu_s, _ = measured(lambda: ids.append(job(app, video_id, params(texts), reuse=reuse)))
    found = sum(step.reused_from is None for step in app.store.steps(ids[0], "render"))
    if found != encoded:
        raise SystemExit(f"{found} clips were encoded, not {encoded}.")
    return cpu_s


def main() -> None:
    wanted = options(__doc__, pairs=3)
    logs.configure("warning", "text")
    film = film_1080p(SECONDS)
    names = "one text of 12 changed / all anew, CPU", "made again / all anew, CPU"
    ratios: Ratios = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder, build(Settings(data=Path(folder) / "data", workers=2)) as app:
        video_id = upload(app, film)
        for number in range(wanted.pairs):
            texts = [f"Round {number}, clip {n}" for n in range(CLIPS)]
            changed = [*texts[:-1], f"Round {number}, another text"]
            anew = cost(app, video_id, texts, CLIPS, reuse=False)
            one = cost(app, video_id, changed, 1)
            none = cost(app, video_id, changed, 0)
            ratios[names[0]].append(one / anew)
            ratios[names[1]].append(none / anew)
            print(f"{number + 1}: anew {anew:.1f} CPU-s, one text changed {one:.2f}, again {none:.2f}", flush=True)
    limits = {names[0]: "≤ 0.15", names[1]: "≤ 0.05"}
    report(f"{CLIPS} clips of {film.name}, {wanted.pairs} rounds", ratios, limits, wanted.json)


if __name__ == "__main__":
    main()

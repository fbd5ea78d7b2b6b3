"""What do the two passes of an analysis cost and find, beside PySceneDetect on the same films?

Films of real and made takes with cuts at known frames, fades and flashes that are none, and key frames every two
seconds, at 720p and four frame rates. CPU seconds of a whole job, by its steps: `quick` (key frames, sound) and `deep`
(every frame, sound, true peak); of PySceneDetect's two usual detectors, which look for cuts alone, as they come. A cut
counts as found within 2 frames, by `quick` within one group of pictures. Each round is a job; the medians are told.

    python benchmarks/analysis.py [--pairs N] [--json FILE]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

from common import FILMS, ROOT, Ratios, ffmpeg, measured, options, report, upload
from scenedetect import AdaptiveDetector, ContentDetector, detect

from reelmill import logs
from reelmill.jobs.lifecycle import ENDED
from reelmill.jobs.service import Caller
from reelmill.settings import Settings
from reelmill.wiring import App, build

sys.path.insert(0, str(ROOT / "tests"))
from cut_films import PROGRAMME, Tally, make_cut_film

RATES = ("24", "25", "30000/1001", "60")
GOP_S = 2.0
QUICK, DEEP = "quick", "deep"


def films() -> list[tuple[Path, str, list[int]]]:
    """Return the films, each made once, with their frame rates and cuts."""
    made = []
    FILMS.mkdir(parents=True, exist_ok=True)
    for rate in RATES:
        path = FILMS / f"cuts-{rate.replace('/', '-')}.mp4"
        told = path.with_suffix(".json")
        if not told.is_file():
            print(f"Making {path.name} …", flush=True)
            cuts = make_cut_film(path, PROGRAMME, rate=rate, gop_s=GOP_S, size="1280x720", make=ffmpeg)
            told.write_text(json.dumps(cuts))
        made.append((path, rate, json.loads(told.read_text())))
    return made


def job(app: App, video_id: str) -> tuple[dict[str, float], dict[str, list[int]]]:
    """Run an analysis; return CPU seconds and first frames of shots, both by pass."""
    made = app.service.create_job(Caller(), video_id, "analysis", {"thumbnails": 12})
    while app.store.job(made.id).status not in ENDED:
        time.sleep(0.1)
    costs: dict[str, float] = defaultdict(float)
    for step in app.store.steps(made.id):
        costs[step.stage] += float((step.output or {}).get("cpu_s", 0.0))
    starts = {}
    for one in app.store.artifacts(made.id):
        if one.kind in ("analysis_quick", "analysis"):
            told = json.loads(Path(app.objects.locate(one.key)).read_text())
            starts[told["pass"]] = [shot["start_frame"] for shot in told["shots"][1:]]
    return costs, starts


def scenes_of(path: Path, detector: type[ContentDetector | AdaptiveDetector]) -> tuple[float, list[int]]:
    """Return CPU seconds and first frames of scenes but the first."""
    scenes: list[int] = []
    cost, _ = measured(lambda: scenes.extend(start.frame_num for start, _ in detect(str(path), detector())[1:]))
    return cost, scenes


def main() -> None:
    wanted = options(__doc__, pairs=3)
    logs.configure("warning", "text")
    names = ("quick / deep, CPU", "deep / ContentDetector, CPU", "deep / AdaptiveDetector, CPU")
    ratios: Ratios = {name: [] for name in names}
    found: dict[str, Tally] = defaultdict(Tally)
    with tempfile.TemporaryDirectory() as folder, build(Settings(data=Path(folder) / "data", workers=2)) as app:
        listed = [(upload(app, path), path, rate, cuts) for path, rate, cuts in films()]
        for number in range(wanted.pairs):
            spent: dict[str, float] = defaultdict(float)
            for video_id, path, rate, cuts in listed:
                costs, starts = job(app, video_id)
                for name in (QUICK, DEEP):
                    spent[name] += costs[name]
                    if number == 0:
                        within = GOP_S * float(Fraction(rate)) if name == QUICK else 2
                        found[name].add(cuts, starts[name], within)
                for detector in (ContentDetector, AdaptiveDetector):
                    cost, scenes = scenes_of(path, detector)
                    spent[detector.__name__] += cost
                    if number == 0:
                        found[detector.__name__].add(cuts, scenes, 2)
            for name, ratio in zip(
                names,
                (
                    spent[QUICK] / spent[DEEP],
                    spent[DEEP] / spent["ContentDetector"],
                    spent[DEEP] / spent["AdaptiveDetector"],
                ),
                strict=True,
            ):
                ratios[name].append(ratio)
            print(f"{number + 1}: " + ", ".join(f"{name} {cost:.1f} CPU-s" for name, cost in spent.items()), flush=True)
    print(f"\n{'':<20}{'precision':>11}{'recall':>9}   of {found[DEEP].planted} cuts")
    for name, tally in found.items():
        print(f"{name:<20}{tally.precision:>11.3f}{tally.recall:>9.3f}")
    report(f"Analysis of {len(listed)} films, {wanted.pairs} rounds", ratios, {names[0]: "≤ 0.125"}, wanted.json)


if __name__ == "__main__":
    sys.exit(main())

"""Take docs/pictures/ui: each screen of a server that has run real jobs, wide and narrow, light and dark.

Give names of screens to take only these: `make screenshots ARGS=library`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / ".cache" / "samples"
OUT = ROOT / "docs" / "pictures" / "ui"
FILMS = {
    "Big Buck Bunny, trailer.mp4": "trailer_bbb.mp4",
    "Meadow.mp4": "bigbuckbunny.mp4",
    "Bikes, door 7.mp4": "bikes.mp4",
}

sys.path.insert(0, str(ROOT / "tests"))

import browsing  # noqa: E402 - beside the tests, which look the same way
from running import Server  # noqa: E402


def main() -> None:
    """Run the jobs, then look at each screen."""
    wanted = sys.argv[1:]
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "data") as server:
        films = prepared(server)
        first = next(iter(films.values()))
        screens = {
            "library": "",
            "list": "?view=list",
            "run": f"videos/{first}/run?pipeline=clips",
            "generate": "generate",
            "presets": "presets",
            "keys": "keys",
            "system": "system",
            "welcome": "welcome",
            "sign-in": "sign-in",
        }
        with browsing.chromium() as browser:
            for size in browsing.SIZES:
                for theme in browsing.THEMES:
                    with browsing.person(
                        browser, server, size=size, color_scheme=theme, reduced_motion="reduce"
                    ) as context:
                        page = context.new_page()
                        for name, path in screens.items():
                            if not wanted or name in wanted:
                                page.goto(path)
                                browsing.settled(page)
                                path = OUT / f"{name}-{size}-{theme}.jpg"
                                page.screenshot(path=path, type="jpeg", quality=82)
                                print(path.relative_to(ROOT))


def prepared(server: Server) -> dict[str, str]:
    """Upload the films and run jobs on them; return their ids by name."""
    films: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, source in FILMS.items():
            shutil.copy(SAMPLES / source, Path(folder) / name)
            labels = {"camera": "door", "mall": "7"} if "door" in name else {}
            films[name] = str(server.upload(Path(folder) / name, labels=labels)["video_id"])
    for name, pipeline, params in (
        ("Meadow.mp4", "clips", {"cutting": {"duration_s": 2}}),
        ("Bikes, door 7.mp4", "proxy", {}),
    ):
        job = server.call("POST", "/jobs", 201, json={"video_id": films[name], "pipeline": pipeline, "params": params})
        server.wait(job["job_id"])
    for name, scopes in (("Web shop", ["upload", "jobs:read"]), ("Door camera 7", ["upload"])):
        server.run("keys", "create", name, *(word for scope in scopes for word in ("--scope", scope)), "--quiet")
    return films


if __name__ == "__main__":
    main()

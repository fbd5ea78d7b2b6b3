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
SETTLE_MS = 1500  #: for the first pictures of films, which tell of themselves to nobody
DRAWN_MS = 6000  #: for pictures that the server draws
SCRIPT = """# The lake

A small lake lies in the forest. Every morning, birds sing above the water.

# In winter

Then it is frozen, and children come with their skates."""
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
        films, job = prepared(server)
        first = films["Meadow.mp4"]
        share = server.call("POST", f"/jobs/{job}/share", 201, json={"life_s": 3600})["url"]
        screens = {
            "library": "",
            "list": "?view=list",
            "video": f"videos/{first}",
            "clips": f"videos/{first}/cut",
            "jobs": "jobs",
            "job": f"jobs/{job}",
            "share": share,
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
                                if name == "share":
                                    page.locator("video").first.wait_for()
                                else:
                                    browsing.settled(page)
                                page.wait_for_load_state("load")
                                if name == "generate":
                                    example = page.get_by_role("button", name="Try an example")
                                    if example.is_visible():  # else it is still there from the page before
                                        example.click()
                                    page.get_by_role("img").nth(3).wait_for()
                                    page.wait_for_timeout(DRAWN_MS)
                                if name in ("presets", "clips"):
                                    page.wait_for_timeout(DRAWN_MS)
                                page.wait_for_timeout(SETTLE_MS)
                                path = OUT / f"{name}-{size}-{theme}.jpg"
                                page.screenshot(path=path, type="jpeg", quality=82)
                                print(path.relative_to(ROOT))


def prepared(server: Server) -> tuple[dict[str, str], str]:
    """Upload the films and run jobs on them; return their ids by name, and the job that made clips."""
    films: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, source in FILMS.items():
            shutil.copy(SAMPLES / source, Path(folder) / name)
            labels = {"camera": "door", "mall": "7"} if "door" in name else {}
            films[name] = str(server.upload(Path(folder) / name, labels=labels)["video_id"])
    for aspect in ("16:9", "9:16"):
        told = {"script": SCRIPT, "title": "The lake", "aspect": aspect, "quality_levels": ["720p"]}
        film = server.call("POST", "/videos/generate", 201, json={"params": told})
        assert server.wait(film["job_id"], 600)["status"] == "completed", aspect
    made = ""
    for name, pipeline, params in (
        ("Meadow.mp4", "analysis", {}),
        ("Bikes, door 7.mp4", "proxy", {}),
        ("Meadow.mp4", "clips", {"cutting": {"duration_s": 2}, "text": {"text": "In the meadow, {index} of {total}"}}),
    ):
        job = server.call("POST", "/jobs", 201, json={"video_id": films[name], "pipeline": pipeline, "params": params})
        made = job["job_id"]
        assert server.wait(made, 600)["status"] == "completed", pipeline
    for name, scopes in (("Web shop", ["upload", "jobs:read"]), ("Door camera 7", ["upload"])):
        server.run("keys", "create", name, *(word for scope in scopes for word in ("--scope", scope)), "--quiet")
    return films, made


if __name__ == "__main__":
    main()

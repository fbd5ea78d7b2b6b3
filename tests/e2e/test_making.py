"""`proxy` and `renditions` by command line, Python and HTTP, as their pages say; and killed in the middle."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from media_sources import make_source
from reelmill import Client
from running import REELMILL, Server
from working import until

PAGES = Path(__file__).resolve().parents[2] / "docs" / "how-to"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("making") / "data", sweep_s=0.5, workers=2) as running:
        yield running


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("film") / "film.mp4", seconds=5, rate="30")


def commands(page: str, name: str) -> list[str]:
    """Return the commands of a page that begin with a word."""
    blocks = re.findall(r"^```bash\n(.*?)^```", (PAGES / page).read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", "").splitlines()]
    return [line for line in lines if line.startswith(f"{name} ")]


@pytest.mark.req("C-04", "E-03")
def test_pipelines_are_listed_with_their_parameters(server: Server) -> None:
    listed = {one["name"]: one for one in json.loads(server.run("pipelines", "--json"))}
    assert listed["proxy"]["params"]["properties"]["height"]["default"] == 480
    assert listed["renditions"]["params"]["properties"]["heights"]["default"] == [720, 1080]
    assert [stage["name"] for stage in listed["renditions"]["stages"]] == ["encode", "package", "publish"]
    assert listed["analysis"]["params"]["properties"]["highlights"]["default"] == 5


@pytest.mark.req("C-04", "D-05", "E-03")
@pytest.mark.parametrize("name", ["proxy", "renditions", "analysis"])
def test_the_commands_of_the_pages_work(server: Server, film: Path, tmp_path: Path, name: str) -> None:
    page, file = {
        "proxy": ("make-a-proxy.md", "proxy.mp4"),
        "renditions": ("make-renditions.md", "360p.mp4"),
        "analysis": ("analyse.md", "analysis.json"),
    }[name]
    (tmp_path / "film.mp4").write_bytes(film.read_bytes())
    video_id = str(server.upload(film)["video_id"])
    env = {
        **os.environ, "PATH": f"{REELMILL.parent}:{os.environ['PATH']}", "REELMILL_URL": server.url, "URL": server.url,
        "REELMILL_API_KEY": server.key, "KEY": server.key, "VIDEO_ID": video_id, "XDG_STATE_HOME": str(tmp_path / "s"),
    }  # fmt: skip
    said = {}
    for word in ("reelmill", "curl"):
        line, *more = commands(page, word)
        done = subprocess.run(["bash", "-c", line], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        said[word] = done.stdout
    made = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert any(one.endswith(file) for one in made), made
    job_id = json.loads(said["curl"])["job_id"]
    assert server.wait(job_id, seconds=240)["status"] == "completed"
    for line in more:  # what is read of the job that the first one made
        told = subprocess.run(["bash", "-c", line], env={**env, "JOB_ID": job_id}, capture_output=True, timeout=60)
        assert json.loads(told.stdout)["pass"] == "quick"
    video = server.call("GET", f"/videos/{video_id}")
    assert video["processing_status"] == "completed"


@pytest.mark.req("E-03")
def test_python_makes_and_fetches_renditions(server: Server, film: Path, tmp_path: Path) -> None:
    with Client(server.url, server.key, state=tmp_path / "state") as client:
        sent = client.upload(film, pipeline="renditions", params={"heights": [360], "formats": ["mp4"]})
        assert sent.job_id is not None
        assert client.wait(sent.job_id).status == "completed"
        client.download_results(sent.job_id, tmp_path / "renditions")
    (path,) = (tmp_path / "renditions").rglob("*360p*.mp4")
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 150


@pytest.mark.req("A-01", "E-03")
def test_killed_in_the_middle_it_goes_on_with_the_chunks_that_are_there(film: Path, tmp_path: Path) -> None:
    with Server(tmp_path / "data", sweep_s=0.5, workers=1) as server:
        video_id = server.upload(make_source(tmp_path / "film.mp4", seconds=14, rate="30"))["video_id"]
        body = {"video_id": video_id, "pipeline": "renditions", "params": {"heights": [360], "chunk_s": 4.0}}
        job_id = str(server.call("POST", "/jobs", json=body)["job_id"])

        def chunks() -> list[dict[str, object]]:
            return [one for one in server.job(job_id)["steps"] if one["kind"] == "chunk" and one["status"] == "done"]

        until(chunks, "a chunk")
        server.kill()
        server.start()
        before = {one["index"]: one["attempt"] for one in chunks()}
        status = server.wait(job_id, seconds=240)
        assert status["status"] == "completed", status
        after = {one["index"]: one["attempt"] for one in chunks()}
        assert len(after) == 4 and before and before.items() <= after.items()


@pytest.mark.req("E-01")
def test_the_page_on_generating_works_as_it_stands(server: Server, tmp_path: Path) -> None:
    env = {
        **os.environ, "PATH": f"{REELMILL.parent}:{os.environ['PATH']}", "URL": server.url, "KEY": server.key,
        "REELMILL_VOICE": "espeak",
    }  # fmt: skip
    page = "generate-a-video.md"
    told = [*commands(page, "printf"), *commands(page, "reelmill"), *commands(page, "curl")]
    assert len(told) == 4
    for line in told:
        line = line.replace("720p", "360p")
        done = subprocess.run(["bash", "-c", line], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
    begun = json.loads(done.stdout)
    for folder in ("lake", "lake-again"):
        names = {path.name for path in (tmp_path / folder).iterdir()}
        assert names == {"360p.mp4", "poster.jpg", "captions.vtt", "manifest.json", "script.json"}
    assert len({(tmp_path / folder / "360p.mp4").read_bytes() for folder in ("lake", "lake-again")}) == 1
    assert server.wait(begun["job_id"], seconds=240)["status"] == "completed"
    with Client(server.url, server.key, state=tmp_path / "state") as client:
        plan = client.plan_generation({"script": "# One\n\nTwo words."})
        assert [scene["text"] for scene in plan.plan["scenes"]] == ["One"]
        job = client.generate({"scenes": [{"text": "Hello", "duration_s": 1.0}], "quality_levels": ["360p"]})
        assert client.wait(job.job_id).status == "completed"
        client.download_results(job.job_id, tmp_path / "film")
    assert list((tmp_path / "film").rglob("*360p*.mp4"))

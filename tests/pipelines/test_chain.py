"""What follows a completed job: on its results, once, whoever ends it and whatever dies in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clipping import ME, ended, put
from media_sources import make_source
from reelmill.errors import ParamsInvalid, PipelineUnknown
from reelmill.jobs.chain import follower_of
from reelmill.jobs.model import Job
from reelmill.settings import Settings
from reelmill.wiring import App, build

PROXY = {"pipeline": "proxy", "params": {"height": 144}}
CUT = {"cutting": {"kind": "fixed", "duration_s": 2}}
LADDER = {"heights": [360, 480], "preset": "ultrafast", "formats": ["mp4"], "storyboard": False, "thumbnails": 0}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("chain") / "film.mp4", seconds=4, width=320, height=180)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with build(Settings(data=tmp_path / "data", workers=2, sweep_s=1)) as running:
        yield running


def create(app: App, film: Path, pipeline: str, params: dict[str, Any], then: list[dict[str, Any]]) -> Job:
    return app.service.create_job(ME, put(app, film), pipeline, params, then=then)


def followers(app: App, job_id: str, seconds: float = 60) -> list[list[Job]]:
    """Wait until a job was followed; return the jobs of each entry."""
    deadline = time.monotonic() + seconds
    while (job := app.store.job(job_id)).followed_at is None:
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    return [[app.store.job(each) for each in one["jobs"]] for one in job.then]


def shown(app: App, job_id: str) -> list[tuple[str, str, bool]]:
    job = app.store.job(job_id)
    told = [follower_of(one, job) for one in job.then]
    return [(one["pipeline"], one["status"], one["job_id"] is not None) for one in told]


@pytest.mark.req("A-02")
def test_each_clip_is_followed_and_becomes_a_video_of_its_own(app: App, film: Path) -> None:
    first = create(app, film, "clips", CUT, [PROXY])
    assert shown(app, first.id) == [("proxy", "waiting", False)]
    ended(app, first.id)
    ((one, two),) = followers(app, first.id)
    assert shown(app, first.id) == [("proxy", "started", True)]
    clips = [made for made in app.store.artifacts(first.id) if made.kind == "clip"]
    for follower, clip in zip((one, two), clips, strict=True):
        done = ended(app, follower.id)
        assert (done.follows, done.pipeline, done.params["height"]) == (first.id, "proxy", 144)
        video = app.store.video(done.video_id, "default")
        assert (video.filename, video.size_bytes, video.sha256) == (clip.name, clip.size_bytes, clip.sha256)
        assert video.upload_status == "uploaded" and video.processing_job_id == done.id
        assert video.source is not None and video.source["identity"] == f"sha256:{clip.sha256}"
        assert video.key == f"default/original/{video.id}/source"
        (proxy,) = app.store.artifacts(done.id)
        assert proxy.meta["height"] == 144
    assert one.video_id != two.video_id != first.video_id


@pytest.mark.req("A-02")
def test_the_best_of_several_sizes_is_followed_one_after_the_other(app: App, tmp_path: Path) -> None:
    """renditions → clips → proxy: the ladder's largest film, cut in two, each with a proxy."""
    film = make_source(tmp_path / "large.mp4", seconds=4, width=854, height=480)
    chain = [{"pipeline": "clips", "params": CUT, "then": [PROXY]}, PROXY]
    first = create(app, film, "renditions", LADDER, chain)
    ended(app, first.id)
    (cut,), (proxy,) = followers(app, first.id)
    best = max(
        (made for made in app.store.artifacts(first.id) if made.kind == "rendition"), key=lambda one: one.meta["height"]
    )
    assert app.store.video(cut.video_id).sha256 == best.sha256
    assert cut.video_id == proxy.video_id, "what both follow is one video"
    ended(app, cut.id)
    (last,) = followers(app, cut.id)
    assert [ended(app, one.id).follows for one in last] == [cut.id] * 2
    ended(app, proxy.id)


@pytest.mark.req("A-02")
def test_results_and_the_videos_they_became_are_deleted_apart(app: App, film: Path) -> None:
    first = create(app, film, "proxy", {"height": 144}, [{"pipeline": "clips", "params": CUT}])
    ended(app, first.id)
    ((cut,),) = followers(app, first.id)
    ended(app, cut.id)
    assert app.keeping is not None and app.removal is not None
    app.keeping.delete_video(first.video_id, "default", undo_s=0)
    app.removal.sweep()
    assert list(app.objects.keys(f"default/proxy/{first.video_id}/")) == []
    again = app.service.create_job(ME, cut.video_id, "proxy", {"height": 90})
    assert ended(app, again.id).status == "completed"


@pytest.mark.req("C-07")
def test_what_cannot_be_planned_on_the_result_says_so_and_the_rest_starts(app: App, film: Path) -> None:
    wrong = {"pipeline": "clips", "params": {**CUT, "text": {"strategy": "unique_for_all", "texts": ["only one"]}}}
    first = create(app, film, "proxy", {"height": 144}, [wrong, PROXY])
    ended(app, first.id)
    none, (proxy,) = followers(app, first.id)
    assert none == []
    job = app.store.job(first.id)
    told = [follower_of(one, job) for one in job.then]
    assert (told[0]["status"], told[0]["job_ids"]) == ("not_started", [])
    assert told[0]["why"].startswith("params_invalid: ")
    ended(app, proxy.id)


@pytest.mark.req("A-02")
def test_cancelling_the_first_cancels_what_waits_and_a_retry_brings_it_back(film: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with build(Settings(data=data, workers=0)) as app:
        first = create(app, film, "proxy", {"height": 144}, [PROXY])
        app.service.cancel(ME, first.id)
        job = app.store.job(first.id)
        (told,) = (follower_of(one, job) for one in job.then)
        assert (told["status"], told["job_id"]) == ("not_started", None) and "cancelled" in told["why"]
        app.sweeper.sweep()
        assert app.store.job(first.id).followed_at is None
        app.service.retry(ME, first.id)
        assert shown(app, first.id) == [("proxy", "waiting", False)]
    with build(Settings(data=data, workers=1)) as app:
        ended(app, first.id)
        ((proxy,),) = followers(app, first.id)
        ended(app, proxy.id)


@pytest.mark.req("A-02", "D-03")
def test_whoever_follows_and_however_often_each_follower_is_made_once(film: Path, tmp_path: Path) -> None:
    with build(Settings(data=tmp_path / "data", workers=1)) as app:
        app.runner.on_end = app.planner.on_end = lambda _: None  # nobody who ends it follows it, as after a crash
        first = create(app, film, "clips", CUT, [PROXY, {"pipeline": "clips", "params": CUT}])
        job = ended(app, first.id)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(app.chain.follow, [job] * 4))
        app.sweeper.sweep()
        made = [one for entry in followers(app, first.id) for one in entry]
        assert len(made) == len({one.id for one in made}) == 4
        following = [one for one in app.store.jobs("default").items if one.follows == first.id]
        assert {one.id for one in following} == {one.id for one in made}
        assert len({one.video_id for one in made}) == 2
        for one in made:
            ended(app, one.id)


@pytest.mark.req("A-02", "C-07")
def test_a_worker_killed_while_it_follows_is_followed_by_the_sweeper(film: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with build(Settings(data=data, workers=1)) as app:
        app.runner.on_end = lambda _: None
        app.sweeper.stop()
        first = create(app, film, "proxy", {"height": 144}, [PROXY])
        ended(app, first.id)
        (made,) = app.store.artifacts(first.id)
        hidden = Path(app.objects.locate(made.key))
    kept = hidden.read_bytes()
    hidden.unlink()
    os.mkfifo(hidden)  # whoever copies the result stands still
    worker = subprocess.Popen([sys.executable, "-c", SERVER, str(data)])
    deadline = time.monotonic() + 60
    while not list((data / "objects" / "incoming").iterdir()):
        assert worker.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    hidden.unlink()
    hidden.write_bytes(kept)

    with build(Settings(data=data, workers=1, sweep_s=1)) as app:
        ((proxy,),) = followers(app, first.id)
        ended(app, proxy.id)
        videos = app.store.videos("default").items
        assert sorted(video.upload_status for video in videos) == ["uploaded", "uploaded"]


SERVER = """
import sys, time
from pathlib import Path
from reelmill.settings import Settings
from reelmill.wiring import build
with build(Settings(data=Path(sys.argv[1]), workers=1, sweep_s=1)):
    time.sleep(600)
"""


@pytest.mark.req("C-01")
def test_what_follows_is_checked_before_the_first_begins(app: App, film: Path) -> None:
    video_id = put(app, film)

    def refused(then: list[dict[str, Any]]) -> ParamsInvalid:
        with pytest.raises(ParamsInvalid) as raised:
            app.service.create_job(ME, video_id, "proxy", {}, then=then)
        return raised.value

    wrong = {"pipeline": "clips", "params": {"cutting": {"kind": "fixed", "duration_s": -1}}}
    (fault,) = refused([PROXY, {**PROXY, "then": [wrong]}]).extra["errors"]
    assert fault["field"] == "then.1.then.0.params.cutting.duration_s"
    deep: dict[str, Any] = PROXY
    for _ in range(4):
        deep = {**PROXY, "then": [deep]}
    assert "one after the other" in refused([deep]).detail
    assert "at most 16" in refused([{**PROXY, "then": [PROXY] * 4}] * 4).detail
    with pytest.raises(PipelineUnknown):
        app.service.create_job(ME, video_id, "proxy", {}, then=[{"pipeline": "nothing"}])
    assert app.store.jobs("default").items == ()
    stored = app.service.create_job(ME, video_id, "proxy", {}, then=[{"pipeline": "proxy"}]).then
    assert stored[0]["params"]["height"] == 480, "defaults are filled in"

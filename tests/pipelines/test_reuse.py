"""What was made before isn't made again: across jobs of one tenant, by real ffmpeg, and each job on its own."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clipping import ME, ended, put
from media_sources import make_source
from reelmill.jobs.model import Artifact, Caller, Job, Step
from reelmill.settings import Settings
from reelmill.wiring import App, build

TEXTS = ("first", "second", "third")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("reuse") / "film.mp4", seconds=6, width=320, height=180)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with build(Settings(data=tmp_path / "data", workers=2, voice="espeak")) as running:
        yield running


def asked(*texts: str) -> dict[str, Any]:
    return {"cutting": {"kind": "fixed", "duration_s": 2}, "text": {"strategy": "unique_for_all", "texts": list(texts)}}


def make(app: App, video_id: str, params: dict[str, Any], *, caller: Caller = ME, **more: Any) -> Job:
    return ended(app, app.service.create_job(caller, video_id, "clips", params, **more).id)


def clips(app: App, job: Job) -> list[Step]:
    return app.store.steps(job.id, "render")


def reused(app: App, job: Job) -> list[bool]:
    return [step.reused_from is not None for step in clips(app, job)]


def files(app: App, job: Job) -> dict[str, Artifact]:
    return {one.name: one for one in app.store.artifacts(job.id)}


def body(app: App, one: Artifact) -> bytes:
    return b"".join(app.objects.open(one.key))


@pytest.mark.req("B-04")
def test_one_text_changed_is_one_clip_rendered(app: App, film: Path) -> None:
    video_id = put(app, film)
    first = make(app, video_id, asked(*TEXTS))
    second = make(app, video_id, asked("first", "another", "third"))

    assert reused(app, first) == [False, False, False]
    assert reused(app, second) == [True, False, True]
    old, new = files(app, first), files(app, second)
    for step, earlier in zip(clips(app, second), clips(app, first), strict=True):
        (attempt,) = [one for one in app.store.attempts(second.id) if one.step_id == step.id]
        assert (attempt.command is None) == (step.index != 1), "what is taken over runs no ffmpeg"
        assert step.reused_from == (None if step.index == 1 else earlier.id)
        assert step.output is not None
        for name in (f"clip-{step.index + 1:04d}.mp4", f"clip-{step.index + 1:04d}.jpg"):
            mine, theirs = new[name], old[name]
            assert mine.key != theirs.key and f"/{second.id}/" in mine.key
            found = hashlib.sha256(body(app, mine)).hexdigest()
            assert found == mine.sha256
            if name.endswith(".mp4"):
                assert (found == theirs.sha256) == (step.index != 1)
        assert step.output["key"] == new[f"clip-{step.index + 1:04d}.mp4"].key
        assert step.output["thumbnail_key"] == new[f"clip-{step.index + 1:04d}.jpg"].key
        assert first.id not in json.dumps({**step.output, "reused_from": None})
    manifest = json.loads(body(app, new["manifest.json"]))
    assert [clip["text"] for clip in manifest["clips"]] == ["first", "another", "third"]
    assert {clip["key"] for clip in manifest["clips"]} == {one.key for one in new.values() if one.kind == "clip"}
    assert app.observer.metrics.text()[0].count(b'reelmill_steps_reused_total{kind="clip",pipeline="clips"} 2.0') == 1


@pytest.mark.req("B-04")
def test_a_job_made_again_costs_nothing_and_the_same_file_uploaded_twice_counts_as_one(app: App, film: Path) -> None:
    first = make(app, put(app, film), asked(*TEXTS))
    again = make(app, put(app, film), asked(*TEXTS))
    assert again.video_id != first.video_id
    assert reused(app, again) == [True, True, True]
    assert [step.reused_from is not None for step in app.store.steps(again.id, "publish")] == [False, True]
    old, new = files(app, first), files(app, again)
    assert {name: one.sha256 for name, one in old.items() if name != "manifest.json"} == {
        name: one.sha256 for name, one in new.items() if name != "manifest.json"
    }


@pytest.mark.req("B-04")
def test_who_wants_it_made_anew_gets_it(app: App, film: Path) -> None:
    video_id = put(app, film)
    first = make(app, video_id, asked(*TEXTS))
    assert reused(app, make(app, video_id, asked(*TEXTS), reuse=False)) == [False, False, False]
    app.runner.policy = replace(app.runner.policy, reuse=False)  # REELMILL_REUSE=false
    anew = make(app, video_id, asked(*TEXTS))
    assert reused(app, anew) == [False, False, False]
    same = [files(app, job)["clip-0001.mp4"].sha256 for job in (first, anew)]
    assert same[0] == same[1], "equal digest, equal bytes"


@pytest.mark.req("B-04")
def test_another_tenant_never_gets_it(app: App, film: Path) -> None:
    make(app, put(app, film), asked(*TEXTS))
    other = Caller(tenant="other", user_id="eve")
    video_id = put(app, film, other)
    assert reused(app, make(app, video_id, asked(*TEXTS), caller=other)) == [False, False, False]


@pytest.mark.req("B-04")
def test_either_job_goes_without_the_other(app: App, film: Path) -> None:
    """The first one's video is deleted and purged; the second's files stay, and a third job takes over from them."""
    first = make(app, put(app, film), asked(*TEXTS))
    video_id = put(app, film)
    second = make(app, video_id, asked(*TEXTS))
    assert app.removal is not None and app.keeping is not None
    app.keeping.delete_video(first.video_id, "default", undo_s=0)
    third = make(app, video_id, asked(*TEXTS))
    assert {str(step.reused_from).split(":")[0] for step in clips(app, third)} == {second.id}, "none of a deleted job"
    app.removal.sweep()
    assert list(app.objects.keys(f"default/outputs/{first.id}/")) == []
    for job in (second, third):
        for one in files(app, job).values():
            assert hashlib.sha256(body(app, one)).hexdigest() == one.sha256


@pytest.mark.req("B-04")
def test_files_that_are_gone_or_damaged_are_made_anew(app: App, film: Path) -> None:
    video_id = put(app, film)
    first = make(app, video_id, asked(*TEXTS))
    old = files(app, first)
    app.objects.delete(old["clip-0001.mp4"].key)
    spoiled = Path(app.objects.locate(old["clip-0002.mp4"].key))
    data = bytearray(spoiled.read_bytes())
    data[len(data) // 2] ^= 1
    spoiled.write_bytes(data)
    again = make(app, video_id, asked(*TEXTS))
    assert reused(app, again) == [False, False, True]
    for one in files(app, again).values():
        assert hashlib.sha256(body(app, one)).hexdigest() == one.sha256


@pytest.mark.req("B-04")
def test_a_proxy_is_taken_over_beside_its_own_original(app: App, film: Path) -> None:
    made = []
    for _ in range(2):
        job = ended(app, app.service.create_job(ME, put(app, film), "proxy", {"height": 144}).id)
        made.append((job, *app.store.artifacts(job.id), *app.store.steps(job.id)))
    (first, old, _), (second, new, step) = made
    assert step.reused_from == f"{first.id}:encode:0"
    assert new.key.startswith(f"default/proxy/{second.video_id}/source/{second.id}/") and new.sha256 == old.sha256
    assert body(app, new) == body(app, old)


def steps(app: App, job: Job, *kinds: str) -> dict[str, bool]:
    """Return whether each step of some kinds was taken over, by its stage and index."""
    return {
        f"{one.stage}:{one.index}": one.reused_from is not None for one in app.store.steps(job.id) if one.kind in kinds
    }


@pytest.mark.req("E-01")
def test_a_scene_changed_is_one_scene_drawn_wherever_the_others_stand(app: App) -> None:
    told: list[dict[str, Any]] = [{"text": text, "duration_s": 1.0} for text in ("One", "Two", "Three")]
    told[0] = {"text": "One", "narration": "A small lake lies here."}
    params = {"scenes": told, "quality_levels": ["360p"], "preset": "ultrafast"}

    def film(**more: Any) -> Job:
        return ended(app, app.service.generate(ME, {**params, **more}).id)

    first = film()
    assert set(steps(app, first, "narration", "scene", "film", "poster").values()) == {False}
    again = film()
    assert set(steps(app, again, "narration", "scene", "film", "poster").values()) == {True}

    edited = [{"text": "New", "duration_s": 1.0}, told[0], {"text": "Other", "duration_s": 1.0}, told[2]]
    moved = film(scenes=edited)
    assert steps(app, moved, "scene") == {"scenes:0": False, "scenes:1": True, "scenes:2": False, "scenes:3": True}
    assert steps(app, moved, "narration") == {"voice:1": True} and not any(steps(app, moved, "film").values())
    assert [one.name for one in app.store.artifacts(moved.id) if one.kind == "narration"] == ["narration-002.wav"]
    drawn = {one.name: one for one in app.store.artifacts(moved.id) if one.kind == "scene"}
    assert sorted(drawn) == [f"scene-{n:03d}-360p.mp4" for n in (1, 2, 3, 4)]
    assert [drawn[name].meta["scene"] for name in sorted(drawn)] == [0, 1, 2, 3]
    old = files(app, first)
    assert drawn["scene-002-360p.mp4"].sha256 == old["scene-001-360p.mp4"].sha256
    assert drawn["scene-004-360p.mp4"].sha256 == old["scene-003-360p.mp4"].sha256

    app.runner.policy = replace(app.runner.policy, reuse=False)
    anew = film(scenes=edited)
    assert not any(steps(app, anew, "scene").values())
    assert files(app, anew)["360p.mp4"].sha256 == files(app, moved)["360p.mp4"].sha256, "the same film, made anew"
    manifests = [json.loads(body(app, files(app, job)["manifest.json"])) for job in (anew, moved)]
    same = [{name: one[name] for name in ("scenes", "renditions", "params")} for one in manifests]
    assert same[0] == same[1]


@pytest.mark.req("D-05")
def test_an_analysis_again_decodes_nothing_nor_do_clips_that_follow_it(app: App, film: Path) -> None:
    def analysis(video_id: str) -> Job:
        return ended(app, app.service.create_job(ME, video_id, "analysis", {"chunk_s": 60.0}).id)

    first = analysis(put(app, film))
    video_id = put(app, film)
    again = analysis(video_id)
    assert set(steps(app, first, "quick", "frames", "sound", "report").values()) == {False}
    assert set(steps(app, again, "quick", "frames", "sound", "report").values()) == {True}
    assert all(one.command is None for one in app.store.attempts(again.id)), "no ffmpeg ran"
    old, new = files(app, first), files(app, again)
    assert {name: one.sha256 for name, one in old.items()} == {name: one.sha256 for name, one in new.items()}
    cut = ended(app, app.service.create_job(ME, video_id, "clips", {"cutting": {"kind": "scenes"}}).id)
    measured = steps(app, cut, "frames", "sound")
    assert measured and all(measured.values()), "what the analysis measured is measured"


@pytest.mark.req("E-08")
def test_a_worker_killed_while_it_copies_leaves_nothing_behind(film: Path, tmp_path: Path) -> None:
    """Its step is done by another; no file is left that no row names."""
    data = tmp_path / "data"
    with build(Settings(data=data, workers=1)) as app:
        video_id = put(app, film)
        first = make(app, video_id, asked(*TEXTS))
    # A worker that stands still in the middle: a pipe takes the place of the second file that it would read.
    with build(Settings(data=data, workers=0)) as app:
        second = app.service.create_job(ME, video_id, "clips", asked(*TEXTS))
        clip = next(one for one in app.store.artifacts(first.id) if one.name == "clip-0001.mp4")
        hidden = Path(app.objects.locate(clip.key))
    kept = hidden.read_bytes()
    hidden.unlink()
    os.mkfifo(hidden)
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(data)])
    copied = data / "objects" / "objects" / "default" / "outputs" / second.id / "render" / "0"
    deadline = time.monotonic() + 60
    while not (copied.is_dir() and list(copied.iterdir())) and time.monotonic() < deadline:
        assert worker.poll() is None
        time.sleep(0.02)
    assert [path.name for path in copied.iterdir()] == ["clip-0001-r1a1.jpg"]
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    hidden.unlink()
    hidden.write_bytes(kept)

    with build(Settings(data=data, workers=1)) as app:
        job = ended(app, second.id)
        assert reused(app, job)[1:] == [True, True]
        app.sweeper.sweep()
        named = {one.key for one in app.store.artifacts(job.id)}
        assert set(app.objects.keys(f"default/outputs/{job.id}/")) == named
        for one in files(app, job).values():
            assert hashlib.sha256(body(app, one)).hexdigest() == one.sha256


WORKER = """
import sys, time
from pathlib import Path
from reelmill.settings import Settings
from reelmill.wiring import build
with build(Settings(data=Path(sys.argv[1]), workers=1)):
    time.sleep(600)
"""

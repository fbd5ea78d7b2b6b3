"""The ways of cutting, of texts and of writing: each through the whole platform, on a film whose frames are known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from clipping import ME, ended, put
from media_sources import make_source
from reelmill.errors import ParamsInvalid, TooManySteps
from reelmill.jobs.model import Artifact, Job
from reelmill.settings import Settings
from reelmill.wiring import App, build

SECONDS = 12


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with build(Settings(data=tmp_path_factory.mktemp("ways") / "data", workers=2, reuse=False)) as running:
        yield running


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "Summer party.mp4"
    return make_source(path, seconds=SECONDS, width=320, height=180, more=("-g", "25", "-preset", "medium"))


@pytest.fixture(scope="module")
def video_id(app: App, film: Path) -> str:
    return put(app, film)


def made(app: App, video_id: str, **params: Any) -> tuple[Job, list[Artifact]]:
    """Return the finished job and its clips, which are exactly those of the dry run."""
    plan = app.service.preview(ME, video_id, "clips", params)
    if "seed" in plan:
        params["cutting"]["seed"] = plan["seed"]
    job = ended(app, app.service.create_job(ME, video_id, "clips", params).id)
    clips = [artifact for artifact in app.store.artifacts(job.id) if artifact.kind == "clip"]
    assert [{name: clip.meta[name] for name in plan["clips"][0]} for clip in clips] == plan["clips"]
    return job, clips


def frames(path: Path) -> list[np.ndarray[Any, Any]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="gray", threads=1).astype(float) for frame in container.decode(video=0)]


def where(app: App, clip: Artifact) -> Path:
    return Path(str(app.objects.locate(clip.key)))


def alike(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    return float(((one - other) ** 2).mean()) < 12  # > 37 dB


@pytest.mark.req("B-02")
def test_random_cuts_are_told_before_repeated_by_their_seed_and_whole(app: App, video_id: str, film: Path) -> None:
    job, clips = made(app, video_id, cutting={"kind": "random", "min_s": 1.5, "max_s": 4})
    seed = job.params["cutting"]["seed"]
    assert sum(clip.meta["frames"] for clip in clips) == SECONDS * 25
    assert all(1.4 <= clip.meta["end_s"] - clip.meta["start_s"] <= 4.1 for clip in clips[:-2])
    original = frames(film)
    for clip in clips:
        shown = frames(where(app, clip))
        assert len(shown) == clip.meta["frames"]
        assert alike(shown[0], original[clip.meta["start_frame"]])
    again = app.service.preview(
        ME, video_id, "clips", {"cutting": {"kind": "random", "min_s": 1.5, "max_s": 4, "seed": seed}}
    )
    assert [clip["end_frame"] for clip in again["clips"]] == [clip.meta["end_frame"] for clip in clips]
    seeds = {app.service.preview(ME, video_id, "clips", {"cutting": {"kind": "random"}})["seed"] for _ in range(5)}
    assert len(seeds) == 5, "each job without a seed gets one of its own"


@pytest.mark.req("B-02")
def test_cuts_by_hand_overlap_and_keep_their_order(app: App, video_id: str, film: Path) -> None:
    cuts = [{"start_s": 7, "end_s": 9.5}, {"start_s": 0.2, "end_s": 3}, {"start_s": 8, "end_s": None}]
    _, clips = made(app, video_id, cutting={"kind": "manual", "cuts": cuts})
    spans = [(clip.meta["start_frame"], clip.meta["end_frame"]) for clip in clips]
    assert spans == [(175, 237), (5, 75), (200, 300)]
    original = frames(film)
    for clip, (start, end) in zip(clips, spans, strict=True):
        shown = frames(where(app, clip))
        assert len(shown) == end - start
        assert all(alike(one, other) for one, other in zip(shown, original[start:end], strict=True))


@pytest.mark.req("B-02")
@pytest.mark.parametrize(("tail", "wanted"), [("keep", [125, 125, 50]), ("merge", [125, 175]), ("drop", [125, 125])])
def test_a_short_last_clip(app: App, video_id: str, tail: str, wanted: list[int]) -> None:
    _, clips = made(app, video_id, cutting={"duration_s": 5, "tail": tail})
    assert [len(frames(where(app, clip))) for clip in clips] == wanted


@pytest.mark.req("B-04")
def test_each_clip_has_its_own_text_with_its_placeholders(app: App, video_id: str, film: Path) -> None:
    texts = ["One of {total}: {name}", None, "{index}. from {start}", "{{index}} %{pts} {unknown}"]
    job, clips = made(
        app, video_id, cutting={"duration_s": 3}, text={"strategy": "unique_for_all", "texts": texts, "size_pct": 10}
    )
    told = [clip.meta["text"] for clip in clips]
    assert told == ["One of 4: Summer party", None, "3. from 0:06", "{index} %{pts} {unknown}"]
    assert [clip.meta["text_source"] for clip in clips] == ["given", None, "given", "given"]
    original = frames(film)
    for clip in clips:
        first = frames(where(app, clip))[0]
        assert alike(first, original[clip.meta["start_frame"]]) == (clip.meta["text"] is None)
    manifest = next(a for a in app.store.artifacts(job.id) if a.kind == "manifest")
    assert [clip["text"] for clip in json.loads(where(app, manifest).read_text())["clips"]] == told


@pytest.mark.req("B-04", "C-07")
def test_too_few_texts_are_refused_before_anything_is_made(app: App, video_id: str) -> None:
    params = {"cutting": {"duration_s": 3}, "text": {"strategy": "unique_for_all", "texts": ["a", "b"]}}
    with pytest.raises(ParamsInvalid, match="2 texts for 4 clips"):
        app.service.create_job(ME, video_id, "clips", params)


@pytest.mark.req("B-04", "B-03")
def test_a_text_with_a_time_is_on_its_frames_only_and_the_rest_is_copied(app: App, video_id: str, film: Path) -> None:
    text = {"text": "Only now", "from_s": 1, "until_s": 1.6, "size_pct": 14}
    _, clips = made(app, video_id, cutting={"duration_s": 6}, text=text)
    original = frames(film)
    for clip in clips:
        assert clip.meta["copied_frames"] == 125 and clip.meta["encoded_because"] is None
        for number, shown in enumerate(frames(where(app, clip))):
            assert alike(shown, original[clip.meta["start_frame"] + number]) == (not 25 <= number < 40), number
    attempts = app.store.attempts(clips[0].job_id)
    (commands,) = [
        a.command for a in attempts if a.command and "splice_child" in a.command and ":render:0" in a.step_id
    ]
    assert commands.count("\n") >= 1, "each run is told, a line each"


@pytest.mark.req("B-04")
def test_a_clip_that_ends_before_its_text_comes_up_has_none(app: App, video_id: str) -> None:
    _, clips = made(app, video_id, cutting={"duration_s": 5}, text={"text": "Late", "from_s": 4})
    assert [clip.meta["copied_frames"] > 0 for clip in clips] == [True, True, True]
    assert [clip.meta["text"] for clip in clips] == ["Late", "Late", None]


@pytest.mark.req("B-03")
@pytest.mark.parametrize(
    ("video", "codec", "size"),
    [
        ({"codec": "h265", "preset": "ultrafast"}, "hevc", (320, 180)),
        ({"codec": "av1", "preset": "ultrafast", "width": 160}, "av1", (160, 90)),
        ({"codec": "vp9", "preset": "ultrafast", "width": 120, "height": 160, "fit": "cover"}, "vp9", (120, 160)),
        ({"width": 200, "height": 200, "fit": "pad"}, "h264", (200, 200)),
        ({"width": 4000, "height": 4000}, "h264", (320, 180)),  # never enlarged
        ({"rendering": "full", "crf": 35}, "h264", (320, 180)),
    ],
)
def test_codecs_and_sizes(app: App, video_id: str, video: dict[str, Any], codec: str, size: tuple[int, int]) -> None:
    cutting = {"kind": "manual", "cuts": [{"start_s": 1.1, "end_s": 2.3}]}
    _, (clip,) = made(app, video_id, cutting=cutting, text={"text": "Hi", "size_pct": 12}, video=video)
    assert clip.meta["video_codec"] == codec
    assert (clip.meta["width"], clip.meta["height"]) == size
    assert [shown.shape for shown in frames(where(app, clip))] == [(size[1], size[0])] * 30


@pytest.mark.req("C-07")
@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"cutting": {"kind": "random", "min_s": 5, "max_s": 2}}, "min_s"),
        ({"cutting": {"kind": "manual", "cuts": [{"start_s": 3, "end_s": 2}]}}, "cutting.cuts.0"),
        ({"cutting": {"kind": "manual", "cuts": [{"start_s": 30, "end_s": 40}]}}, "Cut 1"),
        ({"cutting": {"kind": "often"}}, "fixed, random, manual, scenes, silence or highlights"),
        ({"text": {"text": "a", "from_s": 3, "until_s": 2}}, "until_s"),
        ({"video": {"hdr": "keep"}}, "h265"),
        ({"video": {"fit": "cover", "width": 100}}, "height"),
        ({"video": {"audio_track": 2}}, "sound track 2"),
        ({"video": {"codec": "h264", "crf": 60}}, "51"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(app: App, video_id: str, params: Any, words: str) -> None:
    with pytest.raises(ParamsInvalid, match=words):
        app.service.create_job(ME, video_id, "clips", params)


@pytest.mark.req("C-07")
def test_more_clips_than_are_allowed_are_refused(app: App, video_id: str) -> None:
    app_limit = app.settings.max_steps
    assert app_limit == 2000
    cuts = [{"start_s": 1, "end_s": 2}] * 1998
    with pytest.raises(TooManySteps):
        app.service.preview(ME, video_id, "clips", {"cutting": {"kind": "manual", "cuts": cuts}})

"""Texts on clips: how they come and go, what is cut out, what is told of them, and the preview that shows the same."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from clipping import ME, ended, put
from media_sources import ffmpeg, make_source
from reelmill.errors import ParamsInvalid
from reelmill.pipelines.clips.params import ClipsParams
from reelmill.pipelines.clips.preview import PreviewOf, read_source
from reelmill.settings import Settings
from reelmill.wiring import App, build

SECONDS = 6
RATE = 25
Pixels = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    settings = Settings(data=tmp_path_factory.mktemp("set") / "data", workers=2, text_model="local")
    with build(settings) as running:
        yield running


@pytest.fixture(scope="module")
def film(app: App, tmp_path_factory: pytest.TempPathFactory) -> str:
    return put(app, make_source(tmp_path_factory.mktemp("film") / "film.mp4", seconds=SECONDS, width=320, height=180))


@pytest.fixture(scope="module")
def white(app: App, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A film in which nothing white can be read."""
    path = tmp_path_factory.mktemp("white") / "white.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=white:size=320x180:rate=25", "-t", "4", "-c:v", "libx264", "-g", "25",
           "-pix_fmt", "yuv420p", str(path))  # fmt: skip
    return put(app, path)


def clips_of(app: App, video_id: str, **params: Any) -> tuple[dict[str, Any], list[Path]]:
    """Return a job's manifest and its clips."""
    job = ended(app, app.service.create_job(ME, video_id, "clips", params).id)
    (manifest,) = [one for one in app.store.artifacts(job.id) if one.kind == "manifest"]
    told = json.loads(b"".join(app.objects.open(manifest.key)))
    clips = [one for one in app.store.artifacts(job.id) if one.kind == "clip"]
    return told, [Path(str(app.objects.locate(clip.key))) for clip in sorted(clips, key=lambda clip: clip.name)]


def frames_of(path: Path) -> list[Pixels]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="gray", threads=1).astype(float) for frame in container.decode(video=0)]


def text_params(**look: Any) -> dict[str, Any]:
    return {"strategy": "one_for_all", "text": "Hello", "safe_area": "none", **look}


def changed(with_text: list[Pixels], without: list[Pixels]) -> list[float]:
    """Return how much each frame differs, as a mean of grey values."""
    return [float(np.abs(one - other).mean()) for one, other in zip(with_text, without, strict=True)]


@pytest.mark.req("B-04")
@pytest.mark.parametrize("motion", ["fade", "slide", "pop"])
def test_a_text_comes_and_goes_and_touches_only_its_time(app: App, film: str, motion: str) -> None:
    video = {"preset": "ultrafast", "crf": 10}
    look = text_params(motion=motion, motion_s=0.4, from_s=2.2, until_s=3.8, size_pct=20)
    cutting = {"duration_s": SECONDS}
    told, (path,) = clips_of(app, film, cutting=cutting, text=look, video=video)
    assert told["clips"][0]["copied_frames"] == 4 * RATE, "smart rendering: only the text's group is encoded"
    _, (plain,) = clips_of(app, film, cutting=cutting, video=video)
    difference = changed(frames_of(path), frames_of(plain))
    assert max(difference[: 2 * RATE]) == 0 and max(difference[4 * RATE :]) == 0, "bit by bit"
    first, come, going, gone = (round(at * RATE) for at in (2.2, 2.64, 3.6, 3.8))
    full = difference[come + 5]
    assert full > 4, "there is a text"
    assert difference[first] < 0.45 * full, "it comes from nothing"
    assert difference[first + 2] > 1.2 * difference[first], "and grows"
    assert difference[gone - 1] < 0.45 * full and difference[going + 2] < full, "and goes"
    assert all(abs(one - full) < 0.35 * full for one in difference[come + 1 : going - 6]), "and stands between"


def test_a_text_that_stays_does_not_leave(app: App, film: str) -> None:
    video = {"preset": "ultrafast", "crf": 10}
    _, (path,) = clips_of(app, film, cutting={"duration_s": SECONDS}, text=text_params(motion="fade"), video=video)
    _, (plain,) = clips_of(app, film, cutting={"duration_s": SECONDS}, video=video)
    difference = changed(frames_of(path), frames_of(plain))
    assert difference[-1] > 0.7 * max(difference)


@pytest.mark.req("B-04")
@pytest.mark.parametrize(
    ("aspect", "size"), [("9:16", (102, 180)), ("1:1", (180, 180)), ("4:5", (144, 180)), ("16:9", (320, 180))]
)
def test_an_aspect_is_cut_out_as_large_as_it_goes(app: App, film: str, aspect: str, size: tuple[int, int]) -> None:
    video = {"preset": "ultrafast", "crf": 10, "aspect": aspect, "focus_x": 1.0}
    told, (path,) = clips_of(app, film, cutting={"duration_s": SECONDS}, video=video)
    clip = told["clips"][0]
    assert (clip["width"], clip["height"]) == size
    _, (whole,) = clips_of(app, film, cutting={"duration_s": SECONDS}, video={"preset": "ultrafast", "crf": 10})
    kept, right = frames_of(path)[30], frames_of(whole)[30][:, -size[0] :]
    assert np.abs(kept - right).mean() < 3, "its right end, pixel by pixel"


def test_an_aspect_can_be_made_smaller(app: App, film: str) -> None:
    told, _ = clips_of(app, film, cutting={"duration_s": SECONDS}, video={"aspect": "1:1", "width": 90})
    assert (told["clips"][0]["width"], told["clips"][0]["height"]) == (90, 90)


@pytest.mark.req("B-04")
def test_white_on_white_gets_a_plate_or_an_outline_and_says_so(app: App, white: str) -> None:
    for look, added in (({"preset": "clean"}, "outline"), ({"preset": "minimal", "size_pct": 12}, "plate"),
                        ({"preset": "clean", "legibility": "plate"}, "plate")):  # fmt: skip
        told, _ = clips_of(app, white, cutting={"duration_s": 4}, text=text_params(**look))
        report = told["clips"][0]["text_report"]
        assert report["added"] == added
        assert report["contrast_before"] < 4.5 <= report["contrast"]
    told, _ = clips_of(app, white, cutting={"duration_s": 4}, text=text_params(preset="clean", legibility="off"))
    report = told["clips"][0]["text_report"]
    assert report["added"] is None and report["contrast"] < 4.5


@pytest.mark.req("B-04")
def test_a_report_tells_size_lines_speed_and_fonts(app: App, film: str) -> None:
    look = text_params(text="Hello 東京\nשלום", until_s=2.0)
    told, _ = clips_of(app, film, cutting={"duration_s": 3}, text=look, video={"preset": "ultrafast"})
    report = told["clips"][0]["text_report"]
    assert report["lines"] == ["Hello 東京", "שלום"] and report["size_px"] == 11 and report["size_pct"] == 6.11
    assert report["contrast"] == 21.0 and report["added"] is None, "white in black, whatever the film"
    assert report["reading_cps"] == 6.5
    assert report["fallback_fonts"] == ["NotoSansCJK-VF", "NotoSansHebrew"]
    box = report["box"]
    assert 0 <= box["x"] < box["x"] + box["width"] <= 320 and 0 <= box["y"] < box["y"] + box["height"] <= 180


# ── presets ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("B-04")
def test_a_preset_is_where_a_look_begins() -> None:
    params = ClipsParams.model_validate({"text": {"text": "x", "preset": "highlight", "size_pct": 9}})
    assert params.text is not None
    assert (params.text.box_shape, params.text.box_color, params.text.size_pct) == ("lines", "#FFE14D", 9)
    again = ClipsParams.model_validate(params.model_dump(mode="json"))
    assert again == params, "what a job keeps is whole"


# ── the preview ───────────────────────────────────────────────────────────────────────────────


def psnr(one: Pixels, other: Pixels) -> float:
    return 10 * np.log10(255**2 / max(1e-9, float(np.mean((one - other) ** 2))))


def still(clip: Path, at_s: float, folder: Path) -> Pixels:
    """Return a clip's frame as a good player shows it: chroma is smoothed, not doubled."""
    steps = f"select=gte(t\\,{at_s - 0.01}),scale=flags=accurate_rnd+full_chroma_int,format=rgb24"
    ffmpeg("-i", str(clip), "-vf", steps, "-frames:v", "1", str(folder / "still.png"))
    with Image.open(folder / "still.png") as picture:
        return np.asarray(picture).astype(float)


@pytest.mark.req("B-04")
@pytest.mark.parametrize("preset", ["caption", "clean", "boxed", "lower_third", "quote", "highlight", "minimal"])
def test_the_preview_is_the_finished_clips_frame(app: App, film: str, preset: str, tmp_path: Path) -> None:
    video = {"preset": "medium", "crf": 8, "aspect": "1:1"}
    look = {"text": "Trails of the north", "preset": preset, "size_pct": 9, "motion": "fade"}
    cutting = {"kind": "manual", "cuts": [{"start_s": 1.0, "end_s": 4.0}]}
    params = {"cutting": cutting, "text": look, "video": video}
    told, (path,) = clips_of(app, film, **params)
    checked = ClipsParams.model_validate(params)
    source, identity, filename = read_source(app.store.video(film).source or {})
    location = str(app.objects.locate(app.store.video(film).key))
    assert checked.text is not None
    for at_s in (0.2, 1.0):  # on its way, and there
        wanted = PreviewOf(text=look["text"], look=checked.text, video=checked.video, start_s=1.0, end_s=4.0, at_s=at_s)
        made = app.text_previews.make(location, source, identity, filename, wanted, "default")
        assert made.report["lines"] == told["clips"][0]["text_report"]["lines"]
        assert made.report["contrast"] == told["clips"][0]["text_report"]["contrast"]
        clip = still(path, at_s, tmp_path)
        with Image.open(io.BytesIO(made.png)) as picture:
            shown = np.asarray(picture).astype(float)
        box = made.report["box"]
        part = np.s_[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]]
        assert shown.shape == clip.shape == (180, 180, 3)
        assert psnr(shown[part], clip[part]) > 38


def test_a_preview_outside_the_clip_is_refused(app: App, film: str) -> None:
    source, identity, filename = read_source(app.store.video(film).source or {})
    params = ClipsParams.model_validate({"text": {"text": "x"}})
    assert params.text is not None
    wanted = PreviewOf(text="x", look=params.text, video=params.video, start_s=1, end_s=2, at_s=4)
    with pytest.raises(ParamsInvalid, match="at_s"):
        location = str(app.objects.locate(app.store.video(film).key))
        app.text_previews.make(location, source, identity, filename, wanted, "default")

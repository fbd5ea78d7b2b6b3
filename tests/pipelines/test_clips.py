"""`clips` with `fixed` cutting: exact to the frame, on a real film and on 29.97 and 60 fps with and without sound."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from clipping import ME, ended, put
from media_sources import make_source
from reelmill.jobs.model import Artifact, Job
from reelmill.media import Source, layout, output_size, run
from reelmill.pipelines.clips import OneForAll
from reelmill.pipelines.clips.texts import style
from reelmill.settings import Settings
from reelmill.wiring import App, build
from samples import sample

TEXT = {"text": "Reelmill: «exact» to the frame", "position": "bottom", "box_color": "#102030"}
CLEAN = ("ntsc", "ntsc-silent", "sixty", "sixty-silent")


@dataclass
class Made:
    """A finished job and all that a test wants to know of it."""

    film: Path
    source: Source
    plan: dict[str, Any]
    job: Job
    clips: list[Artifact]
    artifacts: list[Artifact]
    paths: list[Path]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    settings = Settings(data=tmp_path_factory.mktemp("clips") / "data", workers=2, reuse=False)
    with build(settings) as running:
        yield running


@pytest.fixture(scope="module", params=["film", *CLEAN])
def made(request: pytest.FixtureRequest, app: App, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("sources")
    every = 2.0
    match request.param:
        case "film":
            film, every = sample("trailer_bbb.mp4"), 10.0
        case "ntsc":
            film = make_source(folder / "ntsc.mp4", seconds=7, rate="30000/1001")
        case "ntsc-silent":
            film = make_source(folder / "ntsc-silent.mp4", seconds=7, rate="30000/1001", sound=False)
        case "sixty":
            film = make_source(folder / "sixty.mp4", seconds=5, rate="60")
        case _:
            film = make_source(folder / "sixty-silent.mp4", seconds=5, rate="60", sound=False)
    params = {"cutting": {"kind": "fixed", "duration_s": every}, "text": TEXT}
    video_id = put(app, film)
    plan = app.service.preview(ME, video_id, "clips", params)
    job = ended(app, app.service.create_job(ME, video_id, "clips", params).id)
    artifacts = app.store.artifacts(job.id)
    clips = [artifact for artifact in artifacts if artifact.kind == "clip"]
    paths = [Path(app.objects.locate(clip.key)) for clip in clips]
    source = Source.from_json(dict(app.store.video(video_id).source or {}))
    return Made(film, source, dict(plan), job, clips, artifacts, paths)


def frames_of(path: Path) -> int:
    """Count what really decodes; any damage raises."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def luma(path: Path, number: int, size: tuple[int, int] | None = None) -> np.ndarray[Any, Any]:
    """Return the brightness of one frame, counted from 0."""
    with av.open(str(path)) as container:
        for n, frame in enumerate(container.decode(video=0)):
            if n == number:
                picture = frame.to_ndarray(format="gray", threads=1).astype(np.float64)
                return picture if size is None else picture[: size[1], : size[0]]
    raise AssertionError(f"{path} has no frame {number}")


def psnr(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    error = float(np.mean((a - b) ** 2))
    return 99.0 if error == 0 else 10 * float(np.log10(255**2 / error))


def box_of(source: Source) -> tuple[slice, slice]:
    size = output_size(source)
    laid = layout(TEXT["text"], style(OneForAll(**TEXT), size), *size)  # type: ignore[arg-type]
    return slice(laid.y, laid.y + laid.height), slice(laid.x, laid.x + laid.width)


@pytest.mark.req("B-02", "B-03")
def test_the_dry_run_is_the_job(made: Made) -> None:
    told = [{name: clip.meta[name] for name in made.plan["clips"][0]} for clip in made.clips]
    assert told == made.plan["clips"]
    assert len(made.clips) == made.plan["clip_count"]


@pytest.mark.req("B-02")
def test_frames_of_all_clips_together_are_the_frames_of_the_source(made: Made) -> None:
    counted = [frames_of(path) for path in made.paths]
    assert counted == [clip.meta["frames"] for clip in made.clips]
    assert sum(counted) == frames_of(made.film)


@pytest.mark.req("B-02")
def test_each_boundary_is_within_half_a_frame(made: Made) -> None:
    every = Fraction(made.job.params["cutting"]["duration_s"]).limit_denominator(1000)
    half = 1 / made.source.video.frame_rate / 2
    for clip in made.clips[1:]:
        off = abs(Fraction(clip.meta["start_s"]) - clip.index * every)
        assert off <= half + Fraction(1, 1_000_000), (clip.name, float(off))


@pytest.mark.req("B-02")
def test_sound_and_picture_end_together(made: Made) -> None:
    for path in made.paths:
        with av.open(str(path)) as container:
            if made.source.audio is None:
                assert not container.streams.audio
                continue
            picture, sound = container.streams.video[0], container.streams.audio[0]
            assert picture.duration is not None and sound.duration is not None
            seen = picture.duration * picture.time_base
            samples = sum(frame.samples for frame in container.decode(sound))
            assert abs(float(seen - sound.duration * sound.time_base)) <= 0.025, path
            assert abs(float(seen) - samples / sound.rate) <= 0.025, path


@pytest.mark.req("B-02", "B-04")
def test_the_first_frame_is_the_sources_outside_the_text_and_differs_inside(
    made: Made, app: App, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    rows, columns = box_of(made.source)
    clean = request.node.callspec.params["made"] in CLEAN
    for clip, path in zip(made.clips, made.paths, strict=True):
        original = luma(made.film, clip.meta["start_frame"])
        shown = luma(path, 0, (original.shape[1], original.shape[0]))
        inside = psnr(original[rows, columns], shown[rows, columns])
        assert inside < 25, f"{clip.name}: no text to be seen ({inside:.1f} dB)"
        outside = np.ones(original.shape, dtype=bool)
        outside[rows, columns] = False
        got = psnr(original[outside], shown[outside])
        if clean or got > 40:
            assert got > 40, f"{clip.name}: {got:.1f} dB"
        else:  # film grain costs any encoder as much: no more than 1 dB below a plain encode
            plain = psnr(original[outside], luma(plainly(made, clip, app, tmp_path), 0)[outside])
            assert got > plain - 1, f"{clip.name}: {got:.1f} dB, plainly encoded {plain:.1f} dB"


def plainly(made: Made, clip: Artifact, app: App, folder: Path) -> Path:
    """Encode the same frames with the same settings by a plain ffmpeg command, without any text."""
    out = folder / f"plain-{clip.index}.mp4"
    span = f"trim=start_frame={clip.meta['start_frame']}:end_frame={clip.meta['end_frame']},setpts=PTS-STARTPTS"
    tools = app.pipelines["clips"].tools  # type: ignore[attr-defined]
    run(
        ["-i", str(made.film), "-vf", span, "-an", "-c:v", "libx264", "-preset", "veryfast", "-crf", "23",
         "-threads", "1", "-pix_fmt", "yuv420p", str(out)],
        ffmpeg=tools.ffmpeg, scratch=folder,
    )  # fmt: skip
    return out


@pytest.mark.req("B-06")
def test_progress_was_stored_at_start_after_each_clip_and_at_the_end(made: Made, app: App) -> None:
    events = app.store.events_after({made.job.id: 0})
    types = [event.type for event in events]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert types.index("job.queued") < types.index("job.started") < types.index("job.completed") == len(types) - 1
    assert types.count("step.done") == len(made.clips) + 3
    assert made.job.progress_pct == 100


@pytest.mark.req("B-07")
def test_manifest_and_contact_sheet_tell_what_was_made(made: Made, app: App) -> None:
    by_kind: dict[str, list[Artifact]] = {}
    for artifact in made.artifacts:
        by_kind.setdefault(artifact.kind, []).append(artifact)
    assert len(by_kind["thumbnail"]) == len(made.clips)
    manifest = json.loads(Path(app.objects.locate(by_kind["manifest"][0].key)).read_text())
    assert manifest["job_id"] == made.job.id
    assert [clip["sha256"] for clip in manifest["clips"]] == [clip.sha256 for clip in made.clips]
    with av.open(str(app.objects.locate(by_kind["contact_sheet"][0].key))) as sheet:
        assert sheet.streams.video[0].width > 400
    assert not list((app.settings.data / "scratch").rglob("*.mp4"))


@pytest.mark.req("B-04")
def test_a_text_that_cannot_fit_is_refused_before_anything_is_made(app: App, made: Made) -> None:
    from reelmill.errors import TextDoesNotFit

    too_much = {"text": {"text": "word " * 900, "size_pct": 20, "min_size_pct": 10}}
    with pytest.raises(TextDoesNotFit):
        app.service.create_job(ME, made.job.video_id, "clips", too_much)

"""`proxy`: small, at even times, beside its original; from every kind of source, and right at every moment."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from clipping import ME, ended, put
from media_sources import ffmpeg, make_source
from reelmill.errors import ParamsInvalid
from reelmill.jobs.files import sha256_of
from reelmill.jobs.model import Artifact
from reelmill.media import Source, grid, probe
from reelmill.media.proxy import picked
from reelmill.settings import Settings
from reelmill.wiring import App, build
from source_zoo import ZOO, Zoo, numbers_of

KINDS = (
    "fps-24.mp4", "fps-25.mp4", "fps-2997.mp4", "fps-60.mp4", "fps-1.mp4", "vfr.mp4", "rotated-90.mp4", "portrait.mp4",
    "no-audio.mp4", "surround-51.mp4", "hevc-10bit.mp4", "hdr10.mp4", "interlaced-tff.ts", "anamorphic-4-3.mp4",
    "h264.avi", "far-start.ts", "one-frame.mp4", "two-frames.mp4", "open-gop.mp4",
)  # fmt: skip


#: Of these, `auto` leaves pictures out.
WHOLE = ("fps-24.mp4", "fps-2997.mp4", "fps-60.mp4", "open-gop.mp4")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with build(
        Settings(data=tmp_path_factory.mktemp("proxy") / "data", workers=2, reuse=False, sweep_s=0.5)
    ) as running:
        yield running


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return Zoo(tmp_path_factory.getbasetemp() / "proxy-zoo")


def made(app: App, film: Path, **params: Any) -> tuple[Source, Artifact, Path]:
    """Run a job; return what the source is, the proxy and its file."""
    video_id = put(app, film)
    job = ended(app, app.service.create_job(ME, video_id, "proxy", params).id)
    (artifact,) = app.store.artifacts(job.id)
    source = Source.from_json(dict(app.store.video(video_id).source or {}))
    return source, artifact, Path(app.objects.locate(artifact.key))


def decoded(path: Path) -> tuple[list[av.VideoFrame], float]:
    """Decode all of a file; return its frames, and the seconds of its sound."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return frames, 0.0
        sound = container.streams.audio[0]
        return frames, sum(frame.samples for frame in container.decode(sound)) / sound.rate


@pytest.mark.req("C-04")
@pytest.mark.parametrize(("name", "decode"), [(name, "auto") for name in KINDS] + [(name, "all") for name in WHOLE])
def test_each_time_has_the_frame_nearest_to_it(app: App, zoo: Zoo, name: str, decode: str) -> None:
    kind = ZOO[name]
    source, proxy, path = made(app, zoo(name), decode=decode, crf=14, height=90)
    frames, heard_s = decoded(path)
    even = grid(source, Fraction(10))
    wanted_s = source.duration_s if even is None else even.count / 10
    assert abs(proxy.meta["proxy_duration_s"] - source.duration_s) <= 0.05
    assert abs(proxy.meta["proxy_duration_s"] - wanted_s) < 1e-6
    assert len(frames) == proxy.meta["frames"] == (source.video.frame_count if even is None else even.count)
    assert abs(heard_s - wanted_s) <= 0.025 if source.audio_tracks else heard_s == 0
    if kind.size != (160, 90) or source.video.interlaced:
        return  # the numbers in the picture can be read where lines are as they were
    off = Fraction(1, 10) if proxy.meta["decoded"] == "references" else 1 / source.video.frame_rate / 2
    for frame, number in zip(frames, numbers_of(luma(frames)), strict=True):
        at = Fraction(frame.pts) * frame.time_base
        shown = (number - kind.first) / kind.numbers_a_second
        if source.video.is_vfr:  # of a hole, the frame before is shown
            assert shown <= at + Fraction(1, 20)
        else:
            assert abs(shown - at) <= off + source.video.time_base, (frame.pts, number)


def luma(frames: list[av.VideoFrame]) -> Any:
    return np.stack([frame.to_ndarray(format="gray", threads=1) for frame in frames])


@pytest.mark.req("C-04")
def test_it_is_small_h264_at_ten_frames_a_second_unless_told(app: App, tmp_path: Path) -> None:
    film = make_source(tmp_path / "film.mp4", seconds=2, rate="30", width=1280, height=720)
    _, proxy, path = made(app, film)
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        told = (video.codec_context.name, video.width, video.height, video.average_rate, video.frames)
    assert told == ("h264", 854, 480, 10, 20)
    assert proxy.primary and proxy.kind == "proxy" and proxy.content_type == "video/mp4"
    _, _, upright = made(app, make_source(tmp_path / "up.mp4", seconds=1, width=360, height=640), height=180)
    with av.open(str(upright)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (180, 320)
    _, other, path = made(app, film, height=240, frame_rate=7.5, codec="vp9", crf=40)
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        assert (video.codec_context.name.removeprefix("lib"), video.height, video.frames) == ("vp9", 240, 15)
    assert other.meta["frame_rate"] == "15/2"


@pytest.mark.req("C-04")
def test_its_key_follows_the_originals(app: App, tmp_path: Path) -> None:
    film = make_source(tmp_path / "film.mp4", seconds=1)
    video_id = put(app, film)
    job = ended(app, app.service.create_job(ME, video_id, "proxy", {}).id)
    (proxy,) = app.store.artifacts(job.id)
    original = app.store.video(video_id).key
    assert proxy.key == f"{original.replace('/original/', '/proxy/')}/{job.id}/proxy-r1a1.mp4"
    # Leftovers of lost attempts beside it are swept, the proxy stays.
    left = proxy.key.replace("a1.mp4", "a0.mp4")
    app.objects.put_file(left, film, content_type="video/mp4", sha256=sha256_of(film))
    app.sweeper.sweep_outputs(app.store.job(job.id))
    assert list(app.objects.keys(original.replace("/original/", "/proxy/"))) == [proxy.key]


@pytest.mark.req("C-04", "D-05")
def test_the_video_is_completed_only_when_the_proxy_is_stored(app: App, tmp_path: Path) -> None:
    video_id = put(app, make_source(tmp_path / "film.mp4", seconds=4, width=1280, height=720))
    job_id = app.service.create_job(ME, video_id, "proxy", {"preset": "medium"}).id
    seen = []
    while not seen or seen[-1] != "completed":
        video = app.store.video(video_id)
        assert video.processing_job_id == job_id
        status = str(video.processing_status)
        if status == "completed":
            (proxy,) = app.store.artifacts(job_id)
            assert app.objects.head(proxy.key).size_bytes == proxy.size_bytes
        assert status in ("processing", "completed"), status
        seen.append(status)
    assert "processing" in seen


@pytest.mark.req("C-04")
def test_pictures_that_nobody_needs_are_left_out_only_where_that_leaves_no_hole(app: App, tmp_path: Path) -> None:
    words = ("-preset", "medium", "-g", "250")
    regular = make_source(tmp_path / "ref.mp4", seconds=6, rate="30", more=(*words, "-bf", "1"))
    assert made(app, regular)[1].meta["decoded"] == "references"
    # One reference in six frames, 5 a second: of a long film, the trial on the beginning already shows holes.
    sparse = make_source(
        tmp_path / "sparse.mp4", seconds=61, rate="30", width=64, height=36,
        more=(*words, "-x264-params", "bframes=5:b-adapt=0:b-pyramid=none:scenecut=0"),
    )  # fmt: skip
    assert made(app, sparse)[1].meta["decoded"] == "all"
    # Only behind the beginning, or of a short film: the count on the whole film shows it.
    late = tmp_path / "late.mp4"
    small = make_source(tmp_path / "small.mp4", seconds=6, rate="30", width=64, height=36, more=(*words, "-bf", "1"))
    (tmp_path / "list.txt").write_text(f"file '{small}'\nfile '{sparse}'\n")
    ffmpeg("-f", "concat", "-safe", "0", "-i", str(tmp_path / "list.txt"), "-map", "0:v", "-c", "copy", str(late))
    assert made(app, late)[1].meta["decoded"] == "all"


@pytest.mark.req("C-04")
def test_the_plan_is_the_job_and_wrong_parameters_are_refused(app: App, zoo: Zoo) -> None:
    video_id = put(app, zoo("fps-2997.mp4"))
    plan = app.service.preview(ME, video_id, "proxy", {"height": 48 * 2})
    assert plan == {"duration_s": pytest.approx(3.003), "width": 160, "height": 90, "frame_rate": "10", "frames": 30,
                    "steps": 1}  # fmt: skip
    for wrong in ({"heigth": 480}, {"frame_rate": 0.1}, {"codec": "h264", "crf": 60}, {"height": 481}):
        with pytest.raises(ParamsInvalid):
            app.service.create_job(ME, video_id, "proxy", wrong)


def test_a_hole_in_time_is_no_time_with_a_frame(zoo: Zoo, tmp_path: Path) -> None:
    source = probe(str(zoo("vfr.mp4")), scratch=tmp_path)
    even = grid(source, Fraction(10))
    assert even is not None and picked(source, even) < even.count == 30

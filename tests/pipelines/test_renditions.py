"""`renditions`: a ladder without seams, playlists as RFC 8216 has them, and pictures, from every kind of source."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

import hls_check
from clipping import ME, ended, put
from media_sources import Served, ffmpeg, make_source
from players import SYSTEM_FFMPEG, decoded_by_the_systems
from reelmill.errors import NotAPicture, ParamsInvalid, PictureGiven, ReelmillError
from reelmill.jobs.lifecycle import Status
from reelmill.jobs.model import Artifact, Caller, Job
from reelmill.media import Source, find_ffmpeg, probe
from reelmill.media.ladder import chunks
from reelmill.media.stills import Watermark, place
from reelmill.settings import Settings
from reelmill.wiring import App, build
from source_zoo import ZOO, Zoo
from working import until

SIDE = {"height": 90, "frame_rate": 10.0}
KINDS = (
    "fps-24.mp4", "fps-2997.mp4", "fps-60.mp4", "vfr.mp4", "rotated-90.mp4", "portrait.mp4", "no-audio.mp4",
    "surround-51.mp4", "hevc-10bit.mp4", "hdr10.mp4", "interlaced-tff.ts", "one-frame.mp4", "far-start.mkv",
    "odd.mp4",
)  # fmt: skip
#: Those that are made with a watermark.
MARKED = frozenset({
    "vfr.mp4", "rotated-90.mp4", "hevc-10bit.mp4", "hdr10.mp4", "interlaced-tff.ts", "one-frame.mp4", "odd.mp4",
})  # fmt: skip
SMALL = {"gop_s": 0.5, "segment_s": 1.0, "chunk_s": 4.0, "thumbnails": 2}


@dataclass
class Made:
    """A finished job and all that it made."""

    app: App
    job: Job
    source: Source
    artifacts: list[Artifact]

    def of(self, kind: str) -> list[Artifact]:
        return [artifact for artifact in self.artifacts if artifact.kind == kind]

    def find(self, key: str) -> Path:
        """Return the file of an object that the job has a record of."""
        assert key in {artifact.key for artifact in self.artifacts}, key
        return Path(self.app.objects.locate(key))

    @property
    def master(self) -> hls_check.Master:
        (playlist,) = self.of("hls_master")
        return hls_check.master(self.find, playlist.key)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with build(
        Settings(data=tmp_path_factory.mktemp("renditions") / "data", workers=2, reuse=False, sweep_s=0.5)
    ) as running:
        yield running


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return Zoo(tmp_path_factory.getbasetemp() / "renditions-zoo")


def make(app: App, film: Path, **params: Any) -> Made:
    video_id = put(app, film)
    job = ended(app, app.service.create_job(ME, video_id, "renditions", params).id)
    source = Source.from_json(dict(app.store.video(video_id).source or {}))
    return Made(app, job, source, app.store.artifacts(job.id))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven seconds of 540p30, moving all over, with sound that is never the same."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=960x540:rate=30:duration=11", "-f", "lavfi",
        "-i", "aevalsrc='0.2*sin(200*t*t)+0.05*random(0)':s=48000:d=11", "-c:v", "libx264", "-preset", "veryfast",
        "-crf", "16", "-g", "250", "-c:a", "aac", "-b:a", "192k", str(path),
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def made(app: App, film: Path) -> Made:
    proxy = {"height": 180}
    return make(app, film, heights=[360, 480], chunk_s=4.0, segment_s=4.0, loudness_lufs=-20.0, proxy=proxy)


def frames_of(path: Path) -> np.ndarray[Any, Any]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="gray", threads=1) for frame in container.decode(video=0)]).astype(
            np.int16
        )


def samples_of(path: Path) -> np.ndarray[Any, Any]:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


def key_times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [Fraction(p.pts or 0) * p.time_base for p in container.demux(video=0) if p.size and p.is_keyframe]


@pytest.mark.req("E-03")
@pytest.mark.parametrize("name", KINDS)
def test_from_every_source_comes_a_ladder_that_plays(app: App, zoo: Zoo, name: str, tmp_path: Path) -> None:
    kind = ZOO[name]
    logo = picture(tmp_path / "logo.png")
    mark = {"watermark": {"video_id": put(app, logo, content_type="image/png")}} if name in MARKED else {}
    made = make(app, zoo(name), **SMALL, **mark, proxy=SIDE)
    (rendition,) = made.of("rendition")  # all are smaller than 360: their own size is made
    width, height = kind.clip_size or kind.size
    assert (rendition.meta["width"], rendition.meta["height"]) == (width & ~1, height & ~1)
    with av.open(str(made.find(rendition.key))) as container:
        video = container.streams.video[0]
        assert abs(float((video.duration or 0) * video.time_base) - made.source.duration_s) <= 0.5 / float(kind.rate)
        assert sum(1 for _ in container.decode(video)) == kind.frames
        assert video.codec_context.pix_fmt == "yuv420p" and video.codec_context.color_trc != 16
    ((_, stream),) = made.master.variants
    assert sum(len(part.frames) for part in stream.parts) == kind.frames
    assert abs(float(sum(part.duration for part in stream.parts)) - made.source.duration_s) < 1e-4
    sound = made.master.sound
    assert (sound is not None) == bool(made.source.audio_tracks)
    if sound is not None:
        assert sound[0]["CHANNELS"] == ("1" if kind.tracks[0][2] == 1 else "2")
        assert sound[1].codec == "aac" and sound[1].parts[0].frames[0] == 0
    (proxy,) = made.of("proxy")
    assert abs(proxy.meta["proxy_duration_s"] - made.source.duration_s) < 1e-3
    assert len(made.of("thumbnail")) == 2 and len(made.of("poster")) == len(made.of("storyboard_vtt")) == 1
    assert made.job.warnings == ()
    if mark:
        still = probe(str(logo), still=True, scratch=tmp_path)
        x, y, across, down = place(still, Watermark(), width & ~1, height & ~1)
        (last,) = colors_of(made.find(rendition.key), (kind.frames - 1,))
        red = last[y + 2 : y + down - 2, x + 2 : x + across // 2 - 2].mean(axis=(0, 1))
        assert red[0] > 170 and max(red[1:]) < 90, red


@pytest.mark.req("E-03")
def test_the_ladder_has_its_sizes_and_its_key_frames_stand_at_the_same_times(made: Made) -> None:
    sizes = {(one.meta["width"], one.meta["height"]) for one in made.of("rendition")}
    assert sizes == {(640, 360), (854, 480)}
    wanted = [Fraction(second) for second in range(0, 11, 2)]
    for one in made.of("rendition"):
        assert key_times(made.find(one.key)) == wanted
        assert one.primary and {"height", "width", "bandwidth", "frame_rate"} <= one.meta.keys()
        decoded_by_the_systems(made.find(one.key))
    told = [(one["RESOLUTION"], one["CODECS"], one["FRAME-RATE"]) for one, _ in made.master.variants]
    assert [size for size, _, _ in told] == ["640x360", "854x480"]
    for _, codecs, rate in told:
        assert re.fullmatch(r"avc1\.64[0-9a-f]{4},mp4a\.40\.2", codecs) and rate == "30.000"
    for _, stream in made.master.variants:
        assert [part.start for part in stream.parts] == [0, 4, 8]


@pytest.mark.req("C-04")
def test_a_proxy_comes_of_the_same_decoding_and_is_the_pipelines(made: Made, app: App, film: Path) -> None:
    (proxy,) = made.of("proxy")
    video_id = put(app, film)
    job = ended(app, app.service.create_job(ME, video_id, "proxy", {"height": 180, "decode": "all"}).id)
    (other,) = app.store.artifacts(job.id)
    assert "/proxy/" in proxy.key and (proxy.meta["width"], proxy.meta["height"]) == (320, 180)
    one, two = frames_of(made.find(proxy.key)), frames_of(Path(app.objects.locate(other.key)))
    assert one.shape == two.shape == (110, 180, 320)
    assert np.abs(one - two).mean(axis=(1, 2)).max() < 4, "the same frames at the same times"


@pytest.mark.req("E-03")
def test_chunks_cost_neither_size_nor_quality_and_sound_has_no_seam(made: Made, app: App, film: Path) -> None:
    assert [step.kind for step in app.store.steps(made.job.id)].count("chunk") == 3
    single = make(app, film, heights=[360, 480], chunk_s=3600.0, segment_s=4.0, loudness_lufs=-20.0)
    assert [step.kind for step in app.store.steps(single.job.id)].count("chunk") == 1
    for chunked, whole in zip(made.of("rendition"), single.of("rendition"), strict=True):
        one, other = made.find(chunked.key), single.find(whole.key)
        assert one.stat().st_size <= 1.02 * other.stat().st_size
        size = f"{chunked.meta['width']}:{chunked.meta['height']}"
        assert psnr(film, one, size) >= psnr(film, other, size) - 0.2
        assert np.array_equal(samples_of(one), samples_of(other))


def psnr(film: Path, made: Path, size: str) -> float:
    done = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-i", str(film), "-i", str(made), "-lavfi",
         f"[0:v]scale={size}:flags=bicubic[a];[a][1:v]psnr", "-f", "null", "-"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = re.search(r"PSNR .*average:([0-9.]+)", done.stderr)
    assert found, done.stderr
    return float(found[1])


@pytest.mark.req("E-03")
def test_sound_is_brought_to_the_loudness_asked_for(made: Made) -> None:
    path = made.find(made.of("rendition")[0].key)
    done = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-i", str(path), "-af", "ebur128", "-f", "null", "-"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    measured = float(re.findall(r"I:\s+(-?[0-9.]+) LUFS", done.stderr)[-1])
    assert abs(measured + 20) <= 1.0
    with av.open(str(path)) as container:
        assert abs(samples_of(path).shape[1] / container.streams.audio[0].rate - 11) <= 0.025


@pytest.mark.req("E-03")
def test_ffmpeg_plays_the_master_playlist(made: Made, tmp_path: Path) -> None:
    for artifact in made.artifacts:
        path = tmp_path / artifact.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made.find(artifact.key).read_bytes())
    playlist = made.of("hls_master")[0].key
    words = ["-nostdin", "-v", "error", "-xerror"]
    to = ["-map", "0:v", "-map", "0:a", "-f", "framecrc", "-"]
    with Served(tmp_path) as served:
        runs = [
            [imageio_ffmpeg.get_ffmpeg_exe(), *words, "-extension_picky", "0", "-i", str(tmp_path / playlist), *to],
            [str(SYSTEM_FFMPEG), *words, "-i", f"{served.url}/{playlist}", *to],
        ]
        for command in runs:
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0 and not done.stderr, done.stderr
            streams = [line.split(",")[0] for line in done.stdout.splitlines() if line and line[0].isdigit()]
            assert streams.count("0") == streams.count("1") == 330


@pytest.mark.req("E-06")
def test_pictures_show_the_film_where_they_say(made: Made) -> None:
    with Image.open(made.find(made.of("poster")[0].key)) as poster:
        assert poster.size == (854, 480)
    assert len(made.of("thumbnail")) == 5
    cues = made.find(made.of("storyboard_vtt")[0].key).read_text().split("\n\n")
    assert cues[0] == "WEBVTT"
    ends = 0.0
    for cue in cues[1:]:
        clock, place = cue.strip().splitlines()
        start, end = (seconds(word) for word in clock.split(" --> "))
        assert start == ends and end > start
        ends = end
        name, _, box = place.partition("#xywh=")
        (sheet,) = [one for one in made.of("storyboard") if one.key.endswith(f"/{name}")]
        x, y, width, height = map(int, box.split(","))
        with Image.open(made.find(sheet.key)) as picture:
            assert x + width <= picture.width and y + height <= picture.height
            assert picture.crop((x, y, x + width, y + height)).convert("L").getextrema() != (0, 0)
    assert abs(ends - made.source.duration_s) < 0.001


def seconds(clock: str) -> float:
    hours, minutes, rest = clock.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(rest)


@pytest.mark.req("E-06")
def test_pictures_that_cannot_be_made_are_warnings(zoo: Zoo, tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(
        "#!/bin/sh\n# A build that can't write JPEG.\n"
        'for word; do case "$word" in *.jpg) echo "Unknown encoder mjpeg" >&2; exit 8;; esac; done\n'
        f'exec {shlex.quote(str(find_ffmpeg()))} "$@"\n'
    )
    program.chmod(0o755)
    with build(Settings(data=tmp_path / "data", workers=2, sweep_s=0.5, ffmpeg=program, max_retries=0)) as poor:
        made = make(poor, zoo("fps-24.mp4"), **SMALL)
    assert made.job.status is Status.COMPLETED
    assert len(made.job.warnings) == 2 and all("Unknown encoder mjpeg" in told for told in made.job.warnings)
    kinds = {artifact.kind for artifact in made.artifacts}
    assert {"rendition", "hls_master", "storyboard"} <= kinds and not kinds & {"poster", "thumbnail"}


@pytest.mark.req("E-03")
def test_only_what_was_asked_for_is_made(app: App, zoo: Zoo) -> None:
    made = make(app, zoo("fps-24.mp4"), formats=["mp4"], thumbnails=0, storyboard=False)
    assert {artifact.kind for artifact in made.artifacts} == {"rendition", "poster", "manifest"}
    made = make(app, zoo("fps-24.mp4"), formats=["hls"], thumbnails=0, storyboard=False)
    kinds = {"hls_master", "hls_media", "hls_segment", "poster", "manifest"}
    assert {artifact.kind for artifact in made.artifacts} == kinds


@pytest.mark.req("E-03")
def test_the_manifest_names_all_and_nothing_else_is_left(made: Made, app: App) -> None:
    manifest = json.loads(made.find(made.of("manifest")[0].key).read_text())
    assert manifest["job_id"] == made.job.id and manifest["hls_master"] == made.of("hls_master")[0].key
    assert [one["mp4"]["key"] for one in manifest["renditions"]] == [one.key for one in made.of("rendition")]
    kept = {key for step in app.store.steps(made.job.id) for key in (step.output or {}).get("kept", ())}
    assert len(kept) == 10, "three chunks in two sizes and as a proxy, and the sound"
    app.sweeper.sweep_outputs(app.store.job(made.job.id))
    left = set(app.objects.keys(f"default/outputs/{made.job.id}/"))
    assert left == {one.key for one in made.artifacts if one.kind != "proxy"}, "chunks are gone, results stay"


@pytest.mark.req("A-06")
def test_a_retry_goes_on_with_the_chunks_that_were_kept(app: App, film: Path, tmp_path: Path) -> None:
    video_id = put(app, film)
    job_id = app.service.create_job(ME, video_id, "renditions", {"heights": [360], "chunk_s": 4.0}).id
    until(lambda: any(one.output for one in app.store.steps(job_id) if one.kind == "chunk"), "a chunk")
    app.service.cancel(ME, job_id)
    until(lambda: app.store.job(job_id).completed_at is not None and not app.runner.busy(), "the end")
    app.sweeper.sweep_outputs(app.store.job(job_id))
    before = {one.id: one.output for one in app.store.steps(job_id) if one.output}
    app.service.retry(ME, job_id)
    assert ended(app, job_id).run == 2
    after = {one.id: one.output for one in app.store.steps(job_id)}
    assert before and all(after[step] == output for step, output in before.items())


@pytest.mark.req("E-03")
def test_the_plan_is_the_job_and_wrong_parameters_are_refused(made: Made, app: App) -> None:
    plan = app.service.preview(ME, made.job.video_id, "renditions", made.job.params)
    assert plan["steps"] == len(app.store.steps(made.job.id))
    assert [(one["width"], one["height"]) for one in plan["renditions"]] == [(854, 480), (640, 360)]
    for wrong in ({"heights": [500]}, {"heights": []}, {"formats": ["dash"]}, {"heights": [720, 720]},
                  {"gop_s": 8.0, "segment_s": 6.0}, {"audio_track": 2}):  # fmt: skip
        with pytest.raises(ParamsInvalid):
            app.service.create_job(ME, made.job.video_id, "renditions", wrong)


def test_ten_minutes_are_ten_chunks(tmp_path: Path) -> None:
    film = make_source(tmp_path / "long.mp4", seconds=600, rate="5", width=64, height=36, sound=False)
    source = probe(str(film), scratch=tmp_path)
    parts = chunks(source, Fraction(2), Fraction(60))
    assert [part.start_frame for part in parts] == list(range(0, 3000, 300))
    assert sum(len(part.key_frames) for part in parts) == 300 and parts[-1].end_frame == 3000


# ── a watermark ───────────────────────────────────────────────────────────────────────────────


def colors_of(path: Path, frames: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return some frames, as red, green and blue."""
    with av.open(str(path)) as container:
        shown = enumerate(container.decode(video=0))
        return np.stack([one.to_ndarray(format="rgb24", threads=1) for n, one in shown if n in frames]).astype(np.int16)


def picture(path: Path, **more: Any) -> Path:
    """Write 200×100 pixels: red on the left; clear on the right, with green that nobody may see."""
    drawn = Image.new("RGBA", (200, 100), (0, 255, 0, 0))
    drawn.paste((255, 0, 0, 255), (0, 0, 100, 100))
    drawn.convert("RGB" if path.suffix == ".jpg" else "RGBA").save(path, **more)
    return path


@pytest.mark.req("E-03")
def test_a_watermark_lies_on_every_size_and_nowhere_else(app: App, film: Path, made: Made, tmp_path: Path) -> None:
    logo = put(app, picture(tmp_path / "logo.png"), content_type="image/png")
    mark = {"video_id": logo, "corner": "top_left", "margin_pct": 5.0, "width_pct": 20.0, "opacity": 1.0}
    asked = {"heights": [360, 480], "chunk_s": 4.0, "segment_s": 4.0, "loudness_lufs": -20.0, "proxy": {"height": 180}}
    marked = make(app, film, **asked, watermark=mark)
    plain = {one.name: made.find(one.key) for one in made.artifacts}
    in_each_chunk = (0, 150, 329)
    files = [one for one in marked.artifacts if one.name in ("360p.mp4", "480p.mp4", "360p.m4s", "480p.m4s")]
    assert len(files) == 4
    for one in files:
        new = colors_of(marked.find(one.key), in_each_chunk)
        old = colors_of(plain[one.name], in_each_chunk)
        assert len(new) == 3
        height, width = new.shape[1:3]
        x, y, across, down = 0.05 * height, 0.05 * height, 0.2 * width, 0.1 * width
        rows = slice(round(y) + 3, round(y + down) - 3)
        red = new[:, rows, round(x) + 3 : round(x + across / 2) - 4]
        assert np.abs(red - np.array([255, 0, 0])).mean() < 12, one.name
        clear = slice(round(x + across / 2) + 4, round(x + across))
        assert np.abs(new[:, rows, clear] - old[:, rows, clear]).mean() < 6, one.name
        rest = np.abs(new - old)
        rest[:, : round(y + down) + 3, : round(x + across) + 3] = 0
        assert rest.mean() < 2, one.name
    for name in ("proxy.mp4", "poster.jpg", "thumbnail-01.jpg", "storyboard-1.jpg"):
        (one,) = [one for one in marked.artifacts if one.name == name]
        assert marked.find(one.key).read_bytes() == plain[name].read_bytes(), name


@pytest.mark.req("E-03")
def test_a_watermark_is_as_clear_as_asked_and_a_photo_stands_upright(app: App, film: Path, tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x112] = 6  # a camera held upright: red is above
    photo = put(app, picture(tmp_path / "photo.jpg", exif=turned, quality=95, subsampling=0), content_type="image/jpeg")
    asked = {"heights": [360], "formats": ["mp4"], "thumbnails": 0, "storyboard": False}
    mark = {"video_id": photo, "margin_pct": 0.0, "width_pct": 10.0, "opacity": 0.5}
    both = [make(app, film, **asked, **more) for more in ({}, {"watermark": mark})]
    old, new = (colors_of(one.find(one.of("rendition")[0].key), (40, 300)) for one in both)
    # 64 of 640 pixels wide and 128 high, in the corner.
    upper, lower = (slice(360 - 128 + 4, 360 - 64 - 4), slice(360 - 64 + 4, 360 - 4))
    for rows, color in ((upper, (255, 0, 0)), (lower, (0, 255, 0))):
        here = (slice(None), rows, slice(640 - 60, 640 - 4))
        assert np.abs(new[here] - (old[here] + np.array(color)) / 2).mean() < 8
    assert np.abs(new[:, :, :560] - old[:, :, :560]).mean() < 2


@pytest.mark.req("E-05")
def test_what_can_not_be_a_watermark_is_told_before_there_is_a_job(app: App, film: Path, tmp_path: Path) -> None:
    video_id = put(app, film)
    logo = picture(tmp_path / "logo.png")
    good = put(app, logo, content_type="image/png")
    foreign = put(app, logo, Caller(tenant="other", user_id="eve"), content_type="image/png")
    waiting = app.service.initiate(ME, filename="logo.png", size_bytes=9, content_type="image/png").video.id
    unknown = "8b0c7f0e-6f9a-4b52-9e6a-3a9f7d1c2b10"
    before = len(app.store.jobs("default", limit=200).items)
    told = {}
    for wrong in (unknown, foreign, video_id, waiting):
        with pytest.raises(ParamsInvalid) as refused:
            app.service.create_job(ME, video_id, "renditions", {"watermark": {"video_id": wrong}})
        assert refused.value.extra["errors"][0]["field"] == "watermark.video_id"
        told[wrong] = refused.value.detail
    assert told[foreign].replace(foreign, "") == told[unknown].replace(unknown, ""), "another's is as one there isn't"
    assert "is a video" in told[video_id] and "isn't there yet" in told[waiting]
    with pytest.raises(PictureGiven):
        app.service.create_job(ME, good, "renditions", {})
    with pytest.raises(PictureGiven):
        app.service.initiate(ME, filename="a.png", size_bytes=9, content_type="image/png", pipeline="clips")
    assert len(app.store.jobs("default", limit=200).items) == before

    whole = logo.read_bytes()
    photo = picture(tmp_path / "photo.jpg").read_bytes()
    big, moving = tmp_path / "big.png", tmp_path / "moving.webp"
    Image.new("L", (9000, 9000)).save(big)
    frames = [Image.new("RGB", (64, 64), color) for color in ("red", "blue")]
    frames[0].save(moving, save_all=True, append_images=frames[1:])
    for content, says in (
        (whole[: len(whole) // 2], "damaged"), (photo[: len(photo) - 200], "damaged"), (big.read_bytes(), "9000×9000"),
        (moving.read_bytes(), "animated"), (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "begins like"),
        (film.read_bytes(), "begins like"),
    ):  # fmt: skip
        path = tmp_path / "refused"
        path.write_bytes(content)
        with pytest.raises(NotAPicture) as problem:
            put(app, path, content_type="image/png")
        assert says in problem.value.detail
    with pytest.raises(ReelmillError) as no_video:
        put(app, logo)  # announced as a video
    assert no_video.value.code == "not_a_video"

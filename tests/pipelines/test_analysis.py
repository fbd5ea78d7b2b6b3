"""`analysis`: cuts where they were put, values as independent tools have them, chunks without a seam, quick first."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyloudnorm
import pytest
from PIL import Image
from scenedetect import AdaptiveDetector, ContentDetector, detect
from scipy.signal import resample_poly

from clipping import ME, ended, put
from cut_films import BUNNY, COLOURS, FRACTAL, PROGRAMME, RIDERS, TEST, Shot, Tally, make_cut_film
from media_sources import ffmpeg
from players import SYSTEM_FFMPEG
from reelmill.errors import ParamsInvalid, TooManySteps
from reelmill.jobs.model import Artifact, Job
from reelmill.pipelines.analysis import AnalysisReport
from reelmill.settings import Settings
from reelmill.wiring import App, build
from running import Server
from source_zoo import ZOO, Zoo
from working import until

RATES = ("24", "25", "30000/1001", "60")
KINDS = (
    "vfr.mp4", "rotated-90.mp4", "portrait.mp4", "no-audio.mp4", "surround-51.mp4", "hdr10.mp4", "one-frame.mp4",
    "far-start.ts", "interlaced-tff.ts", "h264.avi", "open-gop.mp4",
)  # fmt: skip
GOP_S = 2.0


@dataclass
class Made:
    """A finished job and what it told."""

    job: Job
    quick: dict[str, Any]
    deep: dict[str, Any]
    artifacts: dict[str, Artifact]
    app: App

    def path(self, name: str) -> Path:
        return Path(self.app.objects.locate(self.artifacts[name].key))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with build(Settings(data=tmp_path_factory.mktemp("analysis") / "data", workers=2, sweep_s=0.5)) as running:
        yield running


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return Zoo(tmp_path_factory.getbasetemp() / "analysis-zoo")


def make(app: App, film: Path, **params: Any) -> Made:
    job = ended(app, app.service.create_job(ME, put(app, film), "analysis", params).id)
    artifacts = {one.name: one for one in app.store.artifacts(job.id)}

    def read(name: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(Path(app.objects.locate(artifacts[name].key)).read_text())
        AnalysisReport.model_validate(told)  # as published
        return told

    return Made(job, read("analysis-quick.json"), read("analysis.json"), artifacts, app)


# ── cuts ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("D-05")
def test_cuts_are_found_where_they_were_put(app: App, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Hard cuts between real and made takes, with fades and flashes that are none, at four frame rates."""
    tallies = {name: Tally() for name in ("quick", "deep", "ContentDetector", "AdaptiveDetector")}
    for number, rate in enumerate(RATES):
        film = tmp_path / f"{number}.mp4"
        shots = [*PROGRAMME[4 * number :], *PROGRAMME[: 4 * number]]  # in another order, so other takes meet
        planted = make_cut_film(film, shots if rate == "25" else shots[:7], rate=rate, gop_s=GOP_S)
        made = make(app, film, thumbnails=0)
        starts = {name: [one["start_frame"] for one in report["shots"][1:]]
                  for name, report in (("quick", made.quick), ("deep", made.deep))}  # fmt: skip
        tallies["deep"].add(planted, starts["deep"], 2)
        tallies["quick"].add(planted, starts["quick"], GOP_S * float(Fraction(rate)))
        for detector in (ContentDetector(), AdaptiveDetector()):
            scenes = [start.frame_num for start, _ in detect(str(film), detector)][1:]
            tallies[type(detector).__name__].add(planted, scenes, 2)
    with capsys.disabled():
        print()
        for name, tally in tallies.items():
            print(f"{name:>18}: precision {tally.precision:.3f}, recall {tally.recall:.3f} of {tally.planted} cuts")
    deep, quick = tallies["deep"], tallies["quick"]
    assert min(deep.precision, deep.recall) >= 0.95
    assert min(quick.precision, quick.recall) >= 0.8
    for other in ("ContentDetector", "AdaptiveDetector"):
        assert deep.precision >= tallies[other].precision and deep.recall >= tallies[other].recall


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """Thirteen seconds of six takes, and where the cuts are."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return path, make_cut_film(path, [*PROGRAMME[:4], Shot(COLOURS, 2.0), Shot(BUNNY, 1.5)])


@pytest.fixture(scope="module")
def made(app: App, film: tuple[Path, list[int]]) -> Made:
    return make(app, film[0], chunk_s=60.0)


@pytest.mark.req("D-05")
def test_chunks_join_without_a_seam(app: App, made: Made, film: tuple[Path, list[int]]) -> None:
    parts = make(app, film[0], chunk_s=4.0)
    assert len([step for step in app.store.steps(parts.job.id) if step.kind == "frames"]) == 4
    assert parts.deep == made.deep
    assert [one["start_frame"] for one in made.deep["shots"][1:]] == film[1]


@pytest.mark.req("D-05")
def test_shots_have_pictures_of_their_own_and_the_timeline_is_drawn(made: Made) -> None:
    for report in (made.quick, made.deep):
        for shot in report["shots"]:
            artifact = made.artifacts[shot["thumbnail"]]
            assert artifact.kind == "thumbnail"
            assert shot["start_s"] <= artifact.meta["at_s"] < shot["end_s"]
    with Image.open(made.path("timeline.png")) as picture:
        assert picture.width == 1600 and len(picture.getcolors(1 << 24) or ()) > 1000
    assert {one.name for one in made.artifacts.values() if one.primary} == {"analysis.json", "timeline.png"}


@pytest.mark.req("D-05")
@pytest.mark.parametrize("name", KINDS)
def test_every_source_can_be_analysed(app: App, zoo: Zoo, name: str) -> None:
    made = make(app, zoo(name), thumbnails=3)
    kind = ZOO[name]
    for report in (made.quick, made.deep):
        edges = [(shot["start_frame"], shot["end_frame"]) for shot in report["shots"]]
        assert edges[0][0] == 0 and edges[-1][1] == report["technical"]["frame_count"] == kind.frames
        assert all(before[1] == after[0] for before, after in pairwise(edges))
        assert (report["loudness"] is None) == (not kind.tracks)
    assert len(made.deep["shots"]) == 1 and made.deep["silence"] == (None if not kind.tracks else [])
    assert sum(made.deep["interlaced"]["frames"].values()) == kind.frames
    expected = "tff" if name.startswith("interlaced-tff") else "progressive"
    assert made.deep["interlaced"]["measured"] in ((expected, "unknown") if kind.frames < 9 else (expected,))


# ── values ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds that move, two that are black and silent, three that stand still, four that move."""
    path = tmp_path_factory.mktemp("planted") / "film.mp4"
    picture = (
        "testsrc2=size=320x180:rate=25:duration=3[a];color=black:size=320x180:rate=25:duration=2[b];"
        "smptehdbars=size=320x180:rate=25:duration=3[c];mandelbrot=size=320x180:rate=25,trim=duration=4[d];"
        "[a][b][c][d]concat=n=4,format=yuv420p[film]"
    )
    level = "if(lt(t,3),0.05,if(lt(t,5),0,if(lt(t,8),0.3,0.1)))"
    sound = f"aevalsrc='{level}*(sin(2*PI*440*t)+0.3*sin(2*PI*97*t*(1+t/9)))|{level}*0.5*sin(2*PI*330*t)':s=48000:d=12"
    ffmpeg(
        "-f", "lavfi", "-i", sound, "-filter_complex", picture, "-map", "[film]", "-map", "0:a", "-c:v", "libx264",
        "-preset", "veryfast", "-crf", "10", "-c:a", "aac", "-b:a", "192k", str(path),
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def values(app: App, planted: Path) -> Made:
    return make(app, planted, chunk_s=4.0)


def by_the_system(film: Path, *filters: str) -> str:
    """Return what the system's own ffmpeg, another version, says of a film."""
    words = [str(SYSTEM_FFMPEG), "-nostdin", "-hide_banner", "-i", str(film), *filters, "-f", "null", "-"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stderr


def told_spans(said: str, what: str) -> list[tuple[float, float]]:
    starts, ends = (re.findall(rf"{what}_{edge}: (\S+)", said) for edge in ("start", "end"))
    return list(zip(map(float, starts), map(float, ends), strict=True))


def near(spans: Sequence[dict[str, float]], others: Sequence[tuple[float, float]], within_s: float) -> bool:
    pairs = [(one["start_s"], one["end_s"]) for one in spans]
    assert len(pairs) == len(others), (pairs, others)
    return all(
        abs(a - b) <= within_s
        for one, other in zip(pairs, others, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.req("D-05")
def test_spans_are_those_of_an_independent_tool(values: Made, planted: Path) -> None:
    said = by_the_system(
        planted, "-vf", "blackdetect=d=0.5,freezedetect=n=0.001:d=2.5", "-af", "silencedetect=n=-45dB:d=0.5"
    )
    black = [(float(a), float(b)) for a, b in re.findall(r"black_start:(\S+) black_end:(\S+)", said)]
    frozen, silent = told_spans(said, "freeze"), told_spans(said, "silence")
    assert black and frozen and silent
    assert near(values.deep["black"], black, 0.041)
    longer = [one for one in values.deep["frozen"] if one["end_s"] - one["start_s"] >= 2.5]
    assert near(longer, frozen, 0.081)
    assert near(values.deep["silence"], silent, 0.02)


@pytest.mark.req("D-05")
def test_loudness_is_that_of_independent_tools(values: Made, planted: Path) -> None:
    with av.open(str(planted)) as container:
        rate = container.streams.audio[0].rate
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1).T
    samples = samples[: 12 * rate].astype(np.float64)
    told = values.deep["loudness"]
    assert abs(told["integrated_lufs"] - pyloudnorm.Meter(rate).integrated_loudness(samples)) <= 0.1
    peak = 20 * math.log10(np.abs(resample_poly(samples, 4, 1, axis=0)).max())
    assert abs(told["true_peak_dbtp"] - peak) <= 0.2
    said = by_the_system(planted, "-vn", "-af", "ebur128")
    assert abs(told["range_lu"] - float(re.findall(r"LRA:\s+(\S+) LU", said)[-1])) <= 0.1
    # The curve: of each half second, its mean power, by a meter of its own.
    meter = pyloudnorm.Meter(rate, block_size=0.4)
    curve = dict(map(tuple, told["curve"]))
    for at in (1.0, 6.0, 9.0):
        piece = samples[int(at * rate) : int((at + 0.5) * rate)]
        assert abs(curve[at] - meter.integrated_loudness(piece)) <= 1.0, at
    assert curve[4.0] == -70.0
    assert abs(values.quick["loudness"]["integrated_lufs"] - told["integrated_lufs"]) <= 0.01


@pytest.mark.req("D-05")
def test_motion_is_the_change_of_brightness(values: Made, planted: Path) -> None:
    with av.open(str(planted)) as container:
        luma = np.stack([frame.to_ndarray(format="gray", threads=1) for frame in container.decode(video=0)]).astype(
            float
        )
    small = luma.reshape(len(luma), 36, 5, 64, 5).mean(axis=(2, 4))
    changes = np.concatenate([[0.0], np.abs(np.diff(small, axis=0)).mean(axis=(1, 2))])
    changes[[75, 125, 200]] = 0.0  # the cuts
    scale = 219 / 255  # these pictures are of full range
    curve = values.deep["motion"]["curve"]
    assert [at for at, _ in curve] == [n / 2 for n in range(24)]
    for at, value in curve:
        frames = [n for n in range(len(luma)) if at <= n / 25 < at + 0.5]
        expected = changes[frames].sum() * scale / 219 / 0.5 * 100
        assert abs(value - expected) <= 0.08 * expected + 0.8, (at, value, expected)


@pytest.mark.req("D-05")
def test_the_technical_part_is_that_of_ffprobe(values: Made, planted: Path) -> None:
    words = [str(SYSTEM_FFMPEG.with_name("ffprobe")), "-v", "error", "-of", "json", "-show_format", "-show_streams",
             "-count_frames", str(planted)]  # fmt: skip
    told = json.loads(subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout)
    video, sound = (next(one for one in told["streams"] if one["codec_type"] == kind) for kind in ("video", "audio"))
    ours = values.deep["technical"]
    assert (ours["video_codec"], ours["width"], ours["height"]) == (
        video["codec_name"],
        video["width"],
        video["height"],
    )
    assert ours["frame_count"] == int(video["nb_read_frames"]) and ours["pixel_format"] == video["pix_fmt"]
    assert values.deep["frame_rate"] == str(Fraction(video["avg_frame_rate"]))
    (track,) = ours["audio_tracks"]
    assert (track["codec"], track["sample_rate"], track["channels"]) == (
        "aac",
        int(sound["sample_rate"]),
        sound["channels"],
    )
    assert ours["size_bytes"] == planted.stat().st_size


# ── highlights, and clips by what was measured ────────────────────────────────────────────────


def lively_film(path: Path, at_s: int, second_s: int) -> Path:
    """Thirty seconds that hardly move and hardly sound; from at_s four that move and are loud, and at second_s less."""
    best, less = f"between(t,{at_s},{at_s + 4})", f"between(t,{second_s},{second_s + 4})"
    picture = (
        "testsrc2=size=320x180:rate=25:duration=30[moving];smptehdbars=size=320x180:rate=25:duration=30,"
        "noise=alls=2:allf=t[calm];[moving]format=yuv420p,split[all][some];[calm]format=yuv420p[calm1];"
        f"[calm1][all]overlay=enable='{best}'[one];[some]scale=160:90[small];"
        f"[one][small]overlay=enable='{less}':x=20:y=20[film]"
    )
    sound = f"aevalsrc='(0.01+0.5*{best}+0.08*{less})*sin(2*PI*440*t)':s=48000:d=30"
    ffmpeg(
        "-f", "lavfi", "-i", sound, "-filter_complex", picture, "-map", "[film]", "-map", "0:a", "-c:v", "libx264",
        "-preset", "ultrafast", "-crf", "20", "-g", "50", "-c:a", "aac", "-t", "30", str(path),
    )  # fmt: skip
    return path


@pytest.mark.parametrize(("best", "less"), [(6, 20), (20, 6)])
def test_a_planted_loud_moving_span_ranks_first(app: App, tmp_path: Path, best: int, less: int) -> None:
    film = lively_film(tmp_path / "film.mp4", best, less)
    first, second = make(app, film, highlights=2, highlight_max_s=6.0, thumbnails=0).deep["highlights"]
    assert abs(first["start_s"] - best) <= 1 and abs(first["end_s"] - best - 4) <= 1
    assert second["start_s"] < less + 4 and second["end_s"] > less
    assert first["score"] > second["score"]
    assert all(3 <= one["end_s"] - one["start_s"] <= 6 for one in (first, second))
    # The same as clips: best first.
    job = ended(app, clips(app, film, {"kind": "highlights", "count": 2, "max_s": 6.0}).id)
    cut = [(one.meta["start_s"], one.meta["end_s"]) for one in app.store.artifacts(job.id) if one.kind == "clip"]
    assert cut == [(first["start_s"], first["end_s"]), (second["start_s"], second["end_s"])]


def clips(app: App, film: Path, cutting: dict[str, Any], **params: Any) -> Job:
    return app.service.create_job(ME, put(app, film), "clips", {"cutting": cutting, **params})


def frames_of(app: App, job: Job) -> list[tuple[int, int]]:
    made = [one.meta for one in app.store.artifacts(job.id) if one.kind == "clip"]
    return [(one["start_frame"], one["end_frame"]) for one in made]


def test_a_clip_for_each_scene_with_its_text(app: App, film: tuple[Path, list[int]]) -> None:
    path, cuts = film
    job = clips(app, path, {"kind": "scenes"}, text={"text": "{index} of {total}"})
    assert [stage.name for stage in job.stages] == ["analyse", "text", "render", "publish"]
    job = ended(app, job.id)
    assert frames_of(app, job) == list(pairwise([0, *cuts, 334]))
    (manifest,) = [one for one in app.store.artifacts(job.id) if one.kind == "manifest"]
    told = json.loads(Path(app.objects.locate(manifest.key)).read_text())
    assert [one["text"] for one in told["clips"]] == [f"{n} of 6" for n in range(1, 7)]
    # Short shots join, long ones are divided.
    job = ended(app, clips(app, path, {"kind": "scenes", "min_s": 2.0, "max_s": 2.5}).id)
    lengths = [(end - start) / 25 for start, end in frames_of(app, job)]
    assert abs(sum(lengths) - 334 / 25) < 1e-6 and all(1.2 <= length <= 2.52 for length in lengths)


def test_cuts_are_in_the_pauses(app: App, tmp_path: Path) -> None:
    film = tmp_path / "talk.mp4"
    pauses = ((2.0, 2.8), (5.0, 5.3), (7.0, 7.9))
    silent = "+".join(f"between(t,{start},{end})" for start, end in pauses)
    make_cut_film(film, [Shot(TEST, 10)], sound=f"aevalsrc='0.2*not({silent})*sin(2*PI*300*t)':s=48000")
    job = ended(app, clips(app, film, {"kind": "silence", "min_s": 1.0}).id)
    assert frames_of(app, job) == [(0, 60), (60, 186), (186, 250)], "in the middle of pauses of half a second and more"
    job = ended(app, clips(app, film, {"kind": "silence", "min_s": 1.0, "pause_s": 0.2}).id)
    assert len(frames_of(app, job)) == 4


def test_the_count_is_known_after_the_analysis(app: App, film: tuple[Path, list[int]], zoo: Zoo) -> None:
    video_id = put(app, film[0])
    plan = app.service.preview(ME, video_id, "clips", {"cutting": {"kind": "scenes", "min_s": 2.0}})
    assert (plan["clip_count"], plan["clips"], plan["known_after"], plan["at_most"]) == (None, [], "analyse", 6)
    # An analysis of the video finds the same: from then on, the plan is the job.
    ended(app, app.service.create_job(ME, video_id, "analysis", {}).id)
    cutting = {"cutting": {"kind": "scenes", "min_s": 2.0}}
    plan = app.service.preview(ME, video_id, "clips", cutting)
    job = ended(app, app.service.create_job(ME, video_id, "clips", cutting).id)
    assert [(one["start_frame"], one["end_frame"]) for one in plan["clips"]] == frames_of(app, job)
    assert plan["steps"] == len(app.store.steps(job.id)) and plan["clip_count"] == len(plan["clips"]) > 1
    silent = put(app, zoo("no-audio.mp4"))
    with pytest.raises(ParamsInvalid, match="no sound"):
        app.service.create_job(ME, silent, "clips", {"cutting": {"kind": "silence"}})
    for wrong in ({"kind": "scenes", "min_s": 9, "max_s": 3}, {"kind": "highlights", "count": 0}, {"kind": "scene"}):
        with pytest.raises(ParamsInvalid):
            app.service.create_job(ME, video_id, "clips", {"cutting": wrong})


def test_more_clips_than_a_job_may_have_fail_it(film: tuple[Path, list[int]], tmp_path: Path) -> None:
    with build(Settings(data=tmp_path / "data", workers=1, max_steps=5)) as small:
        job_id = clips(small, film[0], {"kind": "scenes"}).id
        until(lambda: small.store.job(job_id).completed_at is not None, "the end")
        job = small.store.job(job_id)
    assert (job.status, job.error_code) == ("failed", TooManySteps.code)


# ── order, crashes, parameters ────────────────────────────────────────────────────────────────


@pytest.mark.req("D-05")
def test_quick_can_be_read_before_deep_begins(film: tuple[Path, list[int]], tmp_path: Path) -> None:
    with Server(tmp_path / "data", workers=1) as server:
        begun = server.upload(film[0], pipeline="analysis", params={"chunk_s": 4.0})
        job_id, seen = begun["job_id"], []

        def stage() -> str:
            return str(server.call("GET", f"/jobs/{job_id}/status")["stage"])

        until(lambda: stage() != "quick", "the end of the quick stage")
        reply = server.client.get(f"/api/v1/jobs/{job_id}/download?artifact=analysis-quick.json", follow_redirects=True)
        assert reply.status_code == 200 and reply.json()["pass"] == "quick"
        server.kill()
        seen = steps_done(server, job_id)
        assert seen, "the quick step was done"
        server.start()
        assert server.wait(job_id)["status"] == "completed"
        after = steps_done(server, job_id)
        assert {step: after[step] for step in seen} == seen, "what was done stays done"
        assert {step.split(":")[1] for step in after} == {"quick", "deep", "report"}
        assert not server.scratch()


def steps_done(server: Server, job_id: str) -> dict[str, Any]:
    """Return the attempts of the job's steps that are done, from the database itself."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(server.data / "reelmill.db")) as db:
        rows = db.execute(
            "SELECT id, attempt, finished_at FROM steps WHERE job_id = ? AND status = 'done'", (job_id,)
        ).fetchall()
    return {step: (attempt, finished) for step, attempt, finished in rows}


def test_a_retry_goes_on_with_what_was_measured(app: App, film: tuple[Path, list[int]]) -> None:
    job_id = app.service.create_job(ME, put(app, film[0]), "analysis", {"chunk_s": 4.0}).id
    until(lambda: any(one.output for one in app.store.steps(job_id) if one.kind == "frames"), "a chunk")
    app.service.cancel(ME, job_id)
    until(lambda: app.store.job(job_id).completed_at is not None and not app.runner.busy(), "the end")
    before = {one.id: one.output for one in app.store.steps(job_id) if one.output}
    app.service.retry(ME, job_id)
    assert ended(app, job_id).run == 2
    after = {one.id: one.output for one in app.store.steps(job_id)}
    assert before and all(after[step] == output for step, output in before.items())


def test_equal_steps_have_equal_digests_in_every_pipeline(app: App, film: tuple[Path, list[int]]) -> None:
    video_id = put(app, film[0])
    source = dict(app.store.video(video_id).source or {})
    analysis, cutting = app.pipelines["analysis"], app.pipelines["clips"]
    deep = analysis.plan("deep", source, analysis.Params(), {}, "default")
    params = cutting.Params.model_validate({"cutting": {"kind": "highlights"}})
    assert [one.digest for one in cutting.plan("analyse", source, params, {}, "default")] == [
        one.digest for one in deep
    ]
    params = cutting.Params.model_validate({"cutting": {"kind": "silence"}})
    assert [one.digest for one in cutting.plan("analyse", source, params, {}, "default")] == [deep[-1].digest]


def test_the_plan_is_the_job_and_wrong_parameters_are_refused(made: Made, app: App) -> None:
    plan = app.service.preview(ME, made.job.video_id, "analysis", made.job.params)
    assert plan["steps"] == len(app.store.steps(made.job.id)) and plan["chunks"] == 1
    for wrong in ({"highlight_min_s": 9.0, "highlight_max_s": 3.0}, {"audio_track": 2}, {"silence_db": 3}, {"deep": 1}):
        with pytest.raises(ParamsInvalid):
            app.service.create_job(ME, made.job.video_id, "analysis", wrong)


def test_a_film_without_a_cut_is_one_shot(app: App, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    make_cut_film(film, [Shot(FRACTAL, 3.0, "fade=t=out:st=1:d=0.5,fade=t=in:st=1.5:d=0.5")])
    assert len(make(app, film, thumbnails=0).deep["shots"]) == 1
    make_cut_film(film, [Shot(RIDERS, 2.2, "drawbox=color=white:t=fill:enable='between(n,20,24)'")])
    assert len(make(app, film, thumbnails=0).deep["shots"]) == 1

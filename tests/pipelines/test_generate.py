"""`generate`: films out of words, with real voices, listened to again by a model that never saw the words."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from faster_whisper import WhisperModel
from PIL import Image

import hls_check
from clipping import ME, ended, put
from media_sources import make_source
from odd_voice import OddVoice
from players import decoded_by_the_systems
from reelmill.errors import NotFound, ParamsInvalid, TextModelNeeded, UploadNeeded, VoiceNeeded
from reelmill.jobs.model import Artifact, Caller, Job
from reelmill.media.scenes import ZOOM, sizes
from reelmill.pipelines.generate.params import GenerateParams
from reelmill.pipelines.generate.preview import scene_preview
from reelmill.pipelines.generate.script import caption_lines, read_script, sentences, webvtt
from reelmill.settings import Settings
from reelmill.wiring import App, build
from running import Server
from samples import sample

RATE = 30
STORY = (
    "A small lake lies in the middle of the forest.",
    "Every morning the birds sing above the water. Nobody hears them but the trees.",
    "In winter the lake is frozen, and children come with their skates.",
    "When spring returns, the ice breaks with a loud noise.",
    "Then the birds are back, and the year begins again.",
)
TITLES = ("The lake", None, "Winter", None, "Again")
SMALL: dict[str, Any] = {"quality_levels": ["360p"], "preset": "ultrafast", "crf": 28}


def scenes() -> list[dict[str, Any]]:
    return [{"text": title, "narration": words} for title, words in zip(TITLES, STORY, strict=True)]


@dataclass
class Made:
    """A finished film and all that its job has left."""

    app: App
    job: Job
    artifacts: list[Artifact]

    def of(self, kind: str) -> list[Artifact]:
        return [artifact for artifact in self.artifacts if artifact.kind == kind]

    def path(self, artifact: Artifact) -> Path:
        return Path(str(self.app.objects.locate(artifact.key)))

    @property
    def film(self) -> Path:
        return self.path(self.of("rendition")[0])

    @property
    def manifest(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.path(self.of("manifest")[0]).read_text())
        return told

    def digests(self, kind: str) -> list[str]:
        """Return the digests of a kind's steps, in order."""
        return [step.digest for step in self.app.store.steps(self.job.id) if step.kind == kind]


def make(app: App, **params: Any) -> Made:
    job = ended(app, app.service.generate(ME, params).id)
    return Made(app, job, app.store.artifacts(job.id))


def frames_at(path: Path, times: list[float]) -> list[np.ndarray[Any, Any]]:
    """Return the frames that are shown at some times, as grey pixels."""
    found: list[np.ndarray[Any, Any]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            while len(found) < len(times) and float(frame.time or 0) >= times[len(found)] - 0.5 / RATE:
                found.append(frame.to_ndarray(format="gray", threads=1).astype(np.int16))
    return found


def samples_of(path: Path) -> np.ndarray[Any, Any]:
    """Return a file's sound, mono, at 48 kHz."""
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def decoded_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.fixture(scope="module")
def espeak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """A platform with the small voice."""
    data = tmp_path_factory.mktemp("espeak") / "data"
    with build(Settings(data=data, workers=2, sweep_s=0.5, voice="espeak", reuse=False)) as running:
        yield running


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Five scenes that the natural voice speaks, in two sizes."""
    data = tmp_path_factory.mktemp("piper") / "data"
    with build(Settings(data=data, workers=2, sweep_s=0.5, voice="piper")) as app:
        yield make(app, scenes=scenes(), **{**SMALL, "quality_levels": ["360p", "480p"]})


@pytest.fixture(scope="module")
def heard(story: Made) -> list[tuple[str, float, float]]:
    """What a speech model hears in the film: words with their times."""
    model = WhisperModel(str(sample("whisper/model.bin").parent), device="cpu", compute_type="int8", cpu_threads=1)
    parts, _ = model.transcribe(str(story.film), language="en", word_timestamps=True, beam_size=5)
    return [(word.word, float(word.start), float(word.end)) for part in parts for word in part.words or ()]


def plain(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def word_error(said: list[str], heard: list[str]) -> float:
    """Return insertions, deletions and substitutions by the words that were said (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for n, word in enumerate(said, 1):
        before, row[0] = row[0], n
        for m, other in enumerate(heard, 1):
            before, row[m] = row[m], min(row[m] + 1, row[m - 1] + 1, before + (word != other))
    return row[-1] / len(said)


# ── what comes out ────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("E-01")
def test_what_is_spoken_is_heard_again(story: Made, heard: list[tuple[str, float, float]]) -> None:
    error = word_error(plain(" ".join(STORY)), plain(" ".join(word for word, _, _ in heard)))
    print(f"word error {error:.3f}")
    assert error <= 0.2


@pytest.mark.req("E-01")
def test_a_scene_is_as_long_as_its_narration(story: Made) -> None:
    manifest = story.manifest
    assert len(manifest["scenes"]) == 5
    for number, narration in enumerate(story.of("narration")):
        with av.open(str(story.path(narration))) as container:
            stream = container.streams.audio[0]
            seconds = float((stream.duration or 0) * (stream.time_base or 0))
        assert abs(seconds - manifest["scenes"][number]["duration_s"]) <= 1 / RATE
    frames = round(sum(scene["duration_s"] for scene in manifest["scenes"]) * RATE)
    for film in story.of("rendition"):
        assert decoded_frames(story.path(film)) == frames, "cross-fades take nothing from the film's length"
        decoded_by_the_systems(story.path(film))


@pytest.mark.req("E-01")
def test_captions_stand_when_their_words_are_heard(story: Made, heard: list[tuple[str, float, float]]) -> None:
    captions = story.manifest["captions"]
    assert [one["text"] for one in captions] == [line for words in STORY for line in caption_lines(words)]
    # The sound itself, as it is in the film: where does each caption's begin, and where does it end?
    sound = np.abs(samples_of(story.film))
    loud = np.convolve(sound > 0.02 * sound.max(), np.ones(240), "same") > 0
    for one in captions:
        start, end = round(one["start_s"] * 48_000), round(one["end_s"] * 48_000)
        near = np.flatnonzero(loud[max(0, start - 7200) : end + 7200]) + max(0, start - 7200)
        assert abs(near[0] / 48_000 - one["start_s"]) <= 0.08, one
        assert abs(near[-1] / 48_000 - one["end_s"]) <= 0.08, one
    # And what a listener understands: the first word of each caption. Models tell a word's time within about 0.1 s.
    times = {plain(word)[0]: start for word, start, _ in reversed(heard) if plain(word)}
    off = [abs(times[first] - one["start_s"]) for one in captions if (first := plain(one["text"])[0]) in times]
    assert len(off) >= 4 and sorted(off)[len(off) // 2] <= 0.08, off


@pytest.mark.req("E-01")
def test_the_webvtt_file_says_the_same(story: Made) -> None:
    (captions,) = story.of("captions")
    text = story.path(captions).read_text()
    assert captions.content_type == "text/vtt" and text.startswith("WEBVTT\n\n")
    assert re.findall(r"--> .*\n(.*)", text) == [one["text"] for one in story.manifest["captions"]]


@pytest.mark.req("E-01")
def test_scenes_look_different_and_go_over_into_one_another(story: Made) -> None:
    starts = [scene["start_s"] for scene in story.manifest["scenes"]]
    middles = [scene["start_s"] + scene["duration_s"] / 2 for scene in story.manifest["scenes"]]
    pictures = frames_at(story.film, middles)
    for n, one in enumerate(pictures):
        assert all(np.abs(one - other).mean() > 3 for other in pictures[n + 1 :])
    # Halfway through a fade, a picture is about the mean of those around it.
    before, within, after = frames_at(story.film, [starts[1] - 0.3, starts[1], starts[1] + 0.3])
    top = slice(0, before.shape[0] // 3)  # above the texts
    assert np.abs(within[top] - (before[top] + after[top]) / 2).mean() < 6
    assert np.abs(before[top] - after[top]).mean() > 6


@pytest.mark.req("E-01", "E-07")
def test_the_film_is_a_video_on_which_other_pipelines_run(story: Made) -> None:
    video = story.app.store.video(story.job.video_id)
    assert (video.upload_status, video.processing_status) == ("uploaded", "completed")
    assert video.source is not None and video.source["duration_s"] == pytest.approx(story.manifest["duration_s"])
    top = story.of("rendition")[0]
    assert (video.size_bytes, video.sha256) == (top.size_bytes, top.sha256) and video.filename == "The lake.mp4"
    assert hashlib.sha256(Path(str(story.app.objects.locate(video.key))).read_bytes()).hexdigest() == top.sha256
    cut = {"cutting": {"kind": "manual", "cuts": [{"start_s": 0, "end_s": 1}]}, "video": {"height": 90}}
    clips = ended(story.app, story.app.service.create_job(ME, video.id, "clips", cut).id)
    assert any(made.kind == "clip" for made in story.app.store.artifacts(clips.id))
    with pytest.raises(ParamsInvalid, match="of its own"):
        story.app.service.create_job(ME, video.id, "generate", {"script": "Again."})


@pytest.mark.req("E-12")
def test_each_quality_level_has_its_file_and_the_poster_stands_for_them(story: Made) -> None:
    films = story.of("rendition")
    assert [film.meta["quality"] for film in films] == ["480p", "360p"] and all(film.primary for film in films)
    assert [(film.meta["width"], film.meta["height"]) for film in films] == [(854, 480), (640, 360)]
    (poster,) = story.of("poster")
    with Image.open(story.path(poster)) as picture:
        assert picture.size == (854, 480)


# ── again ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("E-01")
def test_the_same_script_gives_the_same_bytes_and_one_change_changes_one_scene(espeak: App) -> None:
    first = make(espeak, scenes=scenes()[:3], **SMALL)
    (script,) = first.of("script")
    again = make(espeak, **json.loads(first.path(script).read_text()))
    assert again.of("rendition")[0].sha256 == first.of("rendition")[0].sha256

    edited = json.loads(first.path(script).read_text())
    edited["scenes"][1]["narration"] = "Something else is said here."
    changed = make(espeak, **edited)
    for kind in ("narration", "scene"):
        same = [a == b for a, b in zip(first.digests(kind), changed.digests(kind), strict=True)]
        assert same == [True, False, True], kind
    bytes_ = [[one.sha256 for one in made.of("scene")] for made in (first, changed)]
    assert [a == b for a, b in zip(*bytes_, strict=True)] == [True, False, True]

    edited["scenes"].insert(0, {"text": "New at the front", "duration_s": 1.0})
    moved = make(espeak, **edited)
    assert moved.digests("scene")[1:] == changed.digests("scene"), "where a scene stands doesn't matter to it"

    # What stands elsewhere has its new number.
    assert [one.name for one in moved.of("scene")] == [f"scene-{n:03d}-360p.mp4" for n in (1, 2, 3, 4)]
    assert [one.meta["scene"] for one in moved.of("scene")] == [0, 1, 2, 3]
    assert [one.name for one in moved.of("narration")] == [f"narration-{n:03d}.wav" for n in (2, 3, 4)]
    lengths = [scene["duration_s"] for scene in moved.manifest["scenes"]]
    assert lengths[1:] == [scene["duration_s"] for scene in changed.manifest["scenes"]] and lengths[0] == 1
    assert decoded_frames(moved.film) == round(sum(lengths) * RATE)
    shown = frames_at(moved.film, [lengths[0] + 0.8]), frames_at(changed.film, [0.8])
    assert np.abs(shown[0][0] - shown[1][0]).mean() < 1, "the first scene of before is the second one now"


@pytest.mark.req("E-01")
def test_what_was_spoken_once_isnt_spoken_again(espeak: App) -> None:
    make(espeak, scenes=[{"narration": "This is said for the first time."}], **SMALL)
    kept = set(espeak.objects.keys("default/speech/"))
    assert len(kept) >= 1
    make(espeak, scenes=[{"text": "Other", "narration": "This is said for the first time."}], **SMALL)
    assert set(espeak.objects.keys("default/speech/")) == kept


# ── what scenes are made of ───────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def source(espeak: App, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four seconds of a moving picture with a tone, uploaded."""
    return put(espeak, make_source(tmp_path_factory.mktemp("source") / "film.mp4", seconds=4, width=320, height=240))


@pytest.mark.req("E-01")
@pytest.mark.parametrize("aspect", ["16:9", "9:16", "1:1"])
def test_backgrounds_of_every_kind_in_every_shape(espeak: App, source: str, aspect: str) -> None:
    backgrounds = [
        {"kind": "color", "color": "#204060"},
        {"kind": "gradient", "colors": ["#000000", "#FF0000", "#FFFFFF"], "angle": 90},
        {"kind": "image", "video_id": source, "at_s": 1, "motion": "pan_left"},
        {"kind": "video", "video_id": source, "start_s": 3},  # a second of it is left: then its last frame stands
    ]
    told = [{"background": one, "duration_s": 1.5} for one in backgrounds]
    made = make(espeak, scenes=told, aspect=aspect, transition_s=0.2, **SMALL)
    wide, high = {"16:9": (640, 360), "9:16": (360, 640), "1:1": (360, 360)}[aspect]
    with av.open(str(made.film)) as container:
        video = container.streams.video[0]
        assert (video.width, video.height) == (wide, high) and not container.streams.audio
    assert decoded_frames(made.film) == 4 * 45
    color, _, still, moved, playing, standing, last = frames_at(made.film, [0.7, 2.0, 3.2, 4.2, 4.8, 5.85, 5.95])
    assert np.ptp(color) <= 2
    assert np.abs(still - moved).mean() > 1, "the picture is moved over"
    assert np.abs(playing - standing).mean() > 1, "the video plays"
    assert np.abs(standing - last).mean() < 1, "and its last frame stands"


@pytest.mark.req("E-01")
def test_a_preview_is_the_frame_on_which_the_scene_begins(espeak: App, source: str) -> None:
    told = [
        {"text": "The lake", "narration": "A small lake lies here. Birds sing.", "text_position": "top"},
        {"text": "Pan", "background": {"kind": "image", "video_id": source, "motion": "pan_left"}, "duration_s": 1},
        {"background": {"kind": "video", "video_id": source, "start_s": 1}, "duration_s": 1},
    ]
    asked = {"scenes": told, "transition": "none", **SMALL, "quality_levels": ["480p"], "crf": 4}
    made = make(espeak, **asked)
    params = GenerateParams.model_validate(asked)
    media = (espeak.store.video(made.job.video_id).source or {})["media"]
    scratch = espeak.settings.data / "scratch"
    starts = [round(scene["start_s"] * RATE) for scene in made.manifest["scenes"]]
    with av.open(str(made.film)) as container:
        frames = [
            frame.to_ndarray(format="rgb24", src_colorspace="ITU709").astype(np.int16)
            for number, frame in enumerate(container.decode(video=0))
            if number in starts
        ]
    for number, frame in enumerate(frames):
        png = scene_preview(espeak.tools, params, number, media, espeak.objects, scratch)
        with Image.open(io.BytesIO(png)) as picture:
            assert np.abs(np.asarray(picture).astype(np.int16) - frame).mean() < 2.5, number
    with pytest.raises(ParamsInvalid, match="the last one is 2"):
        scene_preview(espeak.tools, params, 3, media, espeak.objects, scratch)
    assert not list(scratch.glob("*-scene-*"))


@pytest.mark.req("E-01")
def test_a_picture_is_moved_over_without_trembling(espeak: App, source: str) -> None:
    """Between two frames, a zoom moves everything a little; never back, as rounding to whole pixels would."""
    still = {"kind": "image", "video_id": source, "motion": "zoom_in"}
    made = make(espeak, scenes=[{"background": still, "duration_s": 4}], transition="none", **{**SMALL, "crf": 10})
    whole, *_, enlarged = pictures = frames_at(made.film, [n / RATE for n in range(118)])
    changes = np.array([np.abs(b - a).mean() for a, b in pairwise(pictures)])
    assert changes.min() > 0.25 * np.median(changes), "it never stands still"
    height, width = whole.shape
    left, up = round(width * (1 - 1 / ZOOM) / 2), round(height * (1 - 1 / ZOOM) / 2)
    inner = Image.fromarray(whole.astype(np.uint8)).crop((left, up, width - left, height - up))
    scaled = np.asarray(inner.resize((width, height))).astype(np.int16)
    assert np.abs(scaled - enlarged).mean() < np.abs(whole - enlarged).mean() / 2


@pytest.mark.req("E-01")
def test_uploaded_pictures_stand_behind_scenes(espeak: App, source: str, tmp_path: Path) -> None:
    """Each kind fills the picture in its own colours, moved over; what is clear is black."""
    drawn = Image.new("RGBA", (400, 300), (220, 40, 40, 255))
    drawn.paste((40, 40, 220, 255), (200, 0, 400, 300))
    clear = Image.new("RGBA", (300, 400), (0, 255, 0, 0))
    given = {"png": drawn, "jpg": drawn.convert("RGB"), "webp": drawn.convert("RGB"), "clear.png": clear}
    kinds = {"jpg": "image/jpeg", "webp": "image/webp"}
    told = []
    for suffix, one in given.items():
        path = tmp_path / f"picture.{suffix}"
        one.save(path)
        video_id = put(espeak, path, content_type=kinds.get(suffix, "image/png"))
        motion = "pan_left" if suffix == "png" else "none"
        told.append({"background": {"kind": "image", "video_id": video_id, "motion": motion}, "duration_s": 1})
    made = make(espeak, scenes=told, transition="none", **SMALL)
    with av.open(str(made.film)) as container:
        shown = [one.to_ndarray(format="rgb24") for one in container.decode(video=0)]
    assert len(shown) == 4 * RATE
    for middle in (RATE + 15, 2 * RATE + 15):
        for x, color in ((20, (220, 40, 40)), (620, (40, 40, 220))):
            assert np.abs(shown[middle][180, x].astype(int) - color).max() < 12
    edges = [int(np.argmax(shown[n][180, :, 2] > 128)) for n in (0, 15, 29)]
    assert edges[0] < edges[1] - 10 < edges[2] - 20, f"the picture goes to the right: {edges}"
    assert shown[3 * RATE + 15].max() < 20
    wrong = {"kind": "video", "video_id": told[0]["background"]["video_id"]}  # type: ignore[index]
    with pytest.raises(ParamsInvalid, match=r"scenes.1.background: that upload is a picture"):
        espeak.service.generate(ME, {"scenes": [{"text": "a"}, {"background": wrong}]})
    with pytest.raises(ParamsInvalid, match="has no sound"):
        espeak.service.generate(ME, {"script": "Words.", "music": {"video_id": wrong["video_id"]}})


@pytest.mark.req("E-01")
def test_music_steps_back_while_somebody_speaks(espeak: App, source: str) -> None:
    told = [{"narration": "Somebody speaks here for a little while."}, {"text": "Silence", "duration_s": 4}]
    music = {"video_id": source, "volume_db": -6}

    def tone(**music: Any) -> tuple[float, float]:
        """Return how loud the music's 440 Hz are while somebody speaks, and afterwards."""
        made = make(espeak, scenes=told, music=music, captions="none", **SMALL)
        sound, starts = samples_of(made.film), made.manifest["scenes"]
        spans = (0.8, starts[0]["duration_s"] - 0.8), (starts[1]["start_s"] + 1.5, starts[1]["start_s"] + 2.0)
        levels = []
        for begin, end in spans:
            part = sound[round(begin * 48_000) : round(end * 48_000)]
            wave = np.exp(-2j * np.pi * 440 * np.arange(len(part)) / 48_000)
            levels.append(float(abs((part * wave).mean())))
        return levels[0], levels[1]

    ducked, free = tone(**music)
    assert ducked < free / 2.5, "at least 8 dB"
    steady, same = tone(**music, duck=False)
    assert steady > same / 1.6, "without ducking it stays"


@pytest.mark.req("E-01")
@pytest.mark.parametrize("captions", ["burnt", "webvtt", "none"])
def test_captions_only_where_they_are_wanted(espeak: App, captions: str) -> None:
    black = {"kind": "color", "color": "#000000"}
    told = [{"narration": "White letters on black.", "background": black}]
    made = make(espeak, scenes=told, captions=captions, **SMALL)
    (picture,) = frames_at(made.film, [0.6])
    assert (picture[270:].max() > 180) == (captions == "burnt"), "in the lowest quarter"
    assert picture[:260].max() < 30
    assert len(made.of("captions")) == (captions == "webvtt")


# ── what a job may say about itself ───────────────────────────────────────────────────────────


@pytest.mark.req("E-03", "E-12")
def test_a_film_is_packed_for_streaming_if_asked(espeak: App) -> None:
    told = [{"narration": "A sentence for the stream."}, {"text": "Longer", "duration_s": 9}, {"text": "End"}]
    asked = {"quality_levels": ["360p", "480p"], "preset": "ultrafast", "crf": 28}
    made = make(espeak, scenes=told, enable_streaming=True, thumbnail_generation=False, **asked)
    assert not made.of("poster")
    (playlist,) = made.of("hls_master")
    master = hls_check.master(lambda key: Path(str(espeak.objects.locate(key))), playlist.key)
    frames = decoded_frames(made.film)
    assert [about["RESOLUTION"] for about, _ in master.variants] == ["640x360", "854x480"]
    for _, stream in master.variants:
        assert sum(len(part.frames) for part in stream.parts) == frames
        assert float(sum(part.duration for part in stream.parts)) == pytest.approx(frames / RATE, abs=1e-4)
        assert all(part.begins_with_key and part.duration >= 6 for part in stream.parts[:-1])
    starts = [[part.start for part in stream.parts] for _, stream in master.variants]
    assert starts[0] == starts[1] and len(starts[0]) > 1, "a player may change the size at each"
    assert master.sound is not None and master.sound[0]["CHANNELS"] == "2"
    (plain,) = make(espeak, scenes=[told[0]], **SMALL, cleanup_local_files=True, pipeline_version="1").of("poster")
    assert plain.name == "poster.jpg"
    for wrong in ({"cleanup_local_files": False}, {"pipeline_version": "7"}, {"retry_attempts": 11}):
        with pytest.raises(ParamsInvalid, match=next(iter(wrong))):
            espeak.service.generate(ME, {"script": "Words.", **wrong})


@pytest.mark.req("E-05", "E-12")
@pytest.mark.parametrize("tries", [0, 2])
def test_a_step_is_tried_again_as_often_as_its_job_asks(tmp_path: Path, tries: int) -> None:
    with OddVoice() as server:
        odd = {"voice": "openai/overloaded", "voice_url": server.url("overloaded")}
        with build(Settings(data=tmp_path / "data", workers=1, sweep_s=0.2, backoff_s=0.05, **odd)) as app:
            job = app.service.generate(ME, {"script": "Hello.", "retry_attempts": tries, **SMALL})
            with pytest.raises(AssertionError, match="voice_unavailable"):
                ended(app, job.id)
            attempts = [one for one in app.store.attempts(job.id) if one.step_id.endswith(":voice:0")]
            assert len(attempts) == 1 + tries


# ── what can't be made ────────────────────────────────────────────────────────────────────────


@pytest.mark.req("E-05")
def test_what_is_missing_is_said_at_once_with_a_way_out(espeak: App, tmp_path: Path) -> None:
    with pytest.raises(TextModelNeeded) as needed:
        espeak.service.generate(ME, {"topic": "lakes"})
    assert "REELMILL_TEXT_MODEL" in needed.value.remedy
    stranger = Caller(tenant="other")
    video_id = put(espeak, make_source(tmp_path / "film.mp4", seconds=1, width=160, height=90))
    behind = {"scenes": [{"background": {"kind": "video", "video_id": video_id}}]}
    with pytest.raises(NotFound):
        espeak.service.generate(stranger, behind)
    begun = espeak.service.initiate(ME, filename="later.mp4", size_bytes=5, content_type="video/mp4")
    with pytest.raises(UploadNeeded):
        espeak.service.generate(ME, {"script": "Words.", "music": {"video_id": begun.video.id}})
    with pytest.raises(ParamsInvalid, match="exactly one"):
        espeak.service.generate(ME, {"script": "One.", "topic": "two"})
    with pytest.raises(ParamsInvalid, match="of its own"):
        espeak.service.create_job(ME, video_id, "generate", {"script": "Words."})
    with pytest.raises(ParamsInvalid, match="upload it first"):
        espeak.service.generate(ME, {}, pipeline="clips")
    with build(Settings(data=tmp_path / "dumb", workers=0, voice="off")) as dumb:
        with pytest.raises(VoiceNeeded) as none:
            dumb.service.generate(ME, {"script": "Who speaks?"})
        assert "pip install" in none.value.remedy
        job = dumb.service.generate(ME, {"script": "# Only letters"})
        assert job.status == "queued"
        with pytest.raises(UploadNeeded, match="still being generated"):
            dumb.service.create_job(ME, job.video_id, "proxy", {})


@pytest.mark.req("E-05")
def test_a_voice_that_isnt_there_fails_the_job_and_says_so(espeak: App) -> None:
    job = espeak.service.generate(ME, {"script": "Hello.", "voice": "klingon-xx", **SMALL})
    with pytest.raises(AssertionError, match="voice_unknown"):
        ended(espeak, job.id)
    assert espeak.store.job(job.id).error_code == "voice_unknown"


# ── over HTTP, killed in the middle ───────────────────────────────────────────────────────────


@pytest.mark.req("E-01", "E-02", "E-04")
def test_killed_in_the_middle_it_goes_on_and_does_nothing_twice(tmp_path: Path) -> None:
    body = {"params": {"scenes": scenes()[:3], **SMALL}, "labels": {"campaign": "summer"}}
    with Server(tmp_path / "data", sweep_s=0.5, workers=1, voice="espeak") as server:
        plan = server.call("POST", "/videos/generate?dry_run=true", 200, json=body)
        assert plan["plan"]["scene_count"] == 3 and all(one["estimated_s"] > 1 for one in plan["plan"]["scenes"])
        again = {"headers": {"Idempotency-Key": "once"}}
        begun = server.call("POST", "/videos/generate", 201, json=body, **again)
        assert server.call("POST", "/videos/generate", 201, json=body, **again)["job_id"] == begun["job_id"]
        job_id = begun["job_id"]
        last = 0.0
        for kind, count in (("narration", 2), ("scene", 2)):
            while True:
                job = server.job(job_id)
                done = [step for step in job["steps"] if step["kind"] == kind and step["status"] == "done"]
                assert job["progress_pct"] >= last, "progress never goes back"
                last = job["progress_pct"]
                if len(done) >= count or job["completed_at"]:
                    break
            server.kill()
            server.start()
        ended_ = server.wait(job_id)
        assert ended_["status"] == "completed", ended_
        steps = server.job(job_id)["steps"]
        assert {step["stage"] for step in steps} == {"script", "voice", "scenes", "fades", "join", "publish"}
        assert all(step["status"] == "done" for step in steps)
        video = server.call("GET", f"/videos/{begun['video_id']}")
        assert video["duration"] == pytest.approx(plan["plan"]["estimated_duration_s"], rel=0.5)
        assert video["labels"] == {"campaign": "summer"} and video["height"] == 360
        for prefix in ("/api/v1/jobs", "/api/v1/videos/jobs"):
            for name in ("status", "metadata"):
                assert server.client.get(f"{prefix}/{job_id}/{name}").json()["job_id"] == job_id
            film = server.client.get(f"{prefix}/{job_id}/download?via=api")
            assert film.status_code == 200 and film.content[4:8] == b"ftyp"
            part = server.client.get(f"{prefix}/{job_id}/download?via=api", headers={"Range": "bytes=-100"})
            assert part.status_code == 206 and part.content == film.content[-100:]
            assert server.client.get(f"{prefix}/{job_id}/stream?quality=360p").status_code == 307
            assert server.client.get(f"{prefix}/{job_id}/thumbnail?width=120").status_code == 200
    quiet = tmp_path / "quiet"
    with build(Settings(data=quiet, workers=2, sweep_s=0.5, voice="espeak")) as app:
        undisturbed = make(app, scenes=scenes()[:3], **SMALL)
        assert undisturbed.of("rendition")[0].sha256 == hashlib.sha256(film.content).hexdigest()


@pytest.mark.long
@pytest.mark.req("E-01")
def test_sixty_scenes(espeak: App) -> None:
    told = [{"text": f"Scene {n}", "narration": f"This is scene number {n}."} for n in range(1, 61)]
    made = make(espeak, scenes=told, **SMALL)
    lengths = [scene["duration_s"] for scene in made.manifest["scenes"]]
    assert len(lengths) == 60 and decoded_frames(made.film) == round(sum(lengths) * RATE)
    assert len({one.sha256 for one in made.of("scene")}) == 60


# ── pure ──────────────────────────────────────────────────────────────────────────────────────


def test_a_script_becomes_scenes_by_its_paragraphs() -> None:
    text = "# Hello\n\nOne. Two!\n\n\nThree\nfour.\n# Bye\nFive.\n\n# End"
    assert [(scene.text, scene.narration) for scene in read_script(text)] == [
        ("Hello", "One. Two!"), (None, "Three four."), ("Bye", "Five."), ("End", None),
    ]  # fmt: skip
    long = " ".join(f"This is sentence number {n} of a long paragraph." for n in range(20))
    parts = [scene.narration or "" for scene in read_script(long)]
    assert " ".join(parts) == long and all(len(part) <= 320 for part in parts) and len(parts) > 2


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Dr. Smith came. He left.", ["Dr. Smith came.", "He left."]),
        ('It cost 3.50 today! "Really?" Yes.', ["It cost 3.50 today!", '"Really?"', "Yes."]),
        ("No end", ["No end"]),
        ("Wait… what?!", ["Wait…", "what?!"]),
    ],
)
def test_sentences_end_where_readers_see_it(text: str, wanted: list[str]) -> None:
    assert sentences(text) == wanted


def test_captions_keep_every_word_within_two_lines() -> None:
    text = "This sentence, which has a clause or two, goes on and on, as some do, until it has said everything. " * 3
    lines = caption_lines(text + "word " * 40)
    assert " ".join(lines).split() == (text + "word " * 40).split()
    assert all(len(line) <= 84 for line in lines)


def test_webvtt_escapes_what_would_be_markup() -> None:
    assert webvtt([(0.5, 3661.25, "a <b> & c")]) == ("WEBVTT\n\n00:00:00.500 --> 01:01:01.250\na &lt;b&gt; &amp; c\n")


def test_sizes_are_even_and_in_shape() -> None:
    for aspect in ("16:9", "9:16", "1:1"):
        for rung in sizes(aspect, [360, 480, 720, 1080]):  # type: ignore[arg-type]
            assert rung.width % 2 == rung.height % 2 == 0 and min(rung.width, rung.height) == rung.short_side
    assert [(one.width, one.height) for one in sizes("9:16", [720, 1080])] == [(1080, 1920), (720, 1280)]


def test_parameters_are_a_schema_with_descriptions() -> None:
    schema = GenerateParams.model_json_schema()
    assert all("description" in field for field in schema["properties"].values())

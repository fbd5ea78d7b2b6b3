"""The pipeline `generate`: what is planned, and which step does what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from reelmill.errors import ParamsInvalid, TextModelNeeded, VoiceNeeded
from reelmill.jobs.model import Json, Stage, Step, StepResult, StepSpec
from reelmill.jobs.ports import Work
from reelmill.jobs.reuse import without_notes
from reelmill.media.ffmpeg import version
from reelmill.media.scenes import sizes
from reelmill.pipelines.base import Toolbox, digest
from reelmill.pipelines.generate.params import GenerateParams
from reelmill.pipelines.generate.script import caption_lines, estimated_s, scenes_of, silent_s, title_of
from reelmill.pipelines.generate.steps import Steps

OPTIONAL = ("poster",)
SCENE_NUMBER = re.compile(r"-\d{3,}")  #: in the names of its files
SEGMENT_S = 6  #: of a stream's segments, at least; they begin at key frames
#: What says where in the film a thing stands, or where a file lies, doesn't change what is made of it.
PLACES = frozenset({"scene", "key", "name"})


class Generate:
    """Make a film out of scenes, a script or a topic.

    script   the scenes, each with all that it needs: script.json
    voice    a step for each narration, spoken line by line
    scenes   a step for each scene, in all sizes, without its neighbours
    fades    a step for each transition; one for the sound
    join     a step for each size; for streaming, another one, and one for the sound
    publish  the poster, which may fail; captions, playlist, manifest.json, and the film as a video of its own
    """

    name = "generate"
    version = "1"
    title = "Video from a script"
    stages = (
        Stage("script", 2), Stage("voice", 14), Stage("scenes", 64), Stage("fades", 10), Stage("join", 7),
        Stage("publish", 3),
    )  # fmt: skip
    Params = GenerateParams
    # Fades and sound are kept for their own job alone, and playlists name files by their keys.
    reusable = frozenset({"narration", "scene", "film", "poster"})

    def __init__(self, tools: Toolbox) -> None:
        self.tools = tools
        self._tool = f"generate/{self.version} ffmpeg/{version(tools.ffmpeg)}"

    def video_ids(self, params: GenerateParams) -> list[str]:
        """Return the videos that a film is made of: those behind scenes, and its music."""
        scenes = [scene.background for scene in params.scenes or ()]
        found = [one.video_id for one in scenes if one is not None and one.kind in ("image", "video")]
        return list(dict.fromkeys([*found, *([params.music.video_id] if params.music else [])]))

    # ── planning: pure ────────────────────────────────────────────────────────────────────────

    def preview(self, source: Json, params: GenerateParams) -> Json:
        """Return the scenes with about their lengths, which the voice decides, and how many steps there will be.

        Raises ParamsInvalid, VoiceNeeded, TextModelNeeded.
        """
        self._check(source, params)
        scenes = [] if params.topic is not None else scenes_of(params)
        count = len(scenes) or params.topic_scenes
        spoken = sum(scene["narration"] is not None for scene in scenes) if scenes else count
        if spoken and self.tools.voices.voice_name is None:
            raise VoiceNeeded
        lengths = [round(estimated_s(scene, params.pause_s), 2) for scene in scenes]
        fades = 0 if params.transition == "none" else count - 1
        streams = len(params.quality_levels) + bool(spoken or params.music) if params.enable_streaming else 0
        return {
            "title": title_of(params, scenes),
            "scenes": [
                {**scene, "estimated_s": length, "captions": caption_lines(scene["narration"] or "")[:200]}
                for scene, length in zip(scenes, lengths, strict=True)
            ],
            "scene_count": count,
            "estimated_duration_s": round(sum(lengths), 2) if scenes else None,
            "voice": self.tools.voices.voice_name if spoken else None,
            "renditions": [{"name": rung.name, "width": rung.width, "height": rung.height} for rung in ladder(params)],
            "steps": 1
            + spoken
            + count
            + fades
            + 1
            + len(params.quality_levels)
            + streams
            + params.thumbnail_generation
            + 1,
        }

    def _check(self, source: Json, params: GenerateParams) -> None:
        """Raises ParamsInvalid for a video that isn't to be generated, and for what a film is made of; TextModelNeeded.

        An uploaded video, and a film that is there, stays what it is.
        """
        if source.get("generated") != self.name or "video" in source:
            raise ParamsInvalid("generate makes a video of its own: POST /api/v1/videos/generate, without a video_id.")
        if params.pipeline_version not in (None, self.version):
            raise ParamsInvalid(f"pipeline_version: this server has {self.version}, not {params.pipeline_version}.")
        if params.topic is not None and self.tools.texts.model_name is None:
            raise TextModelNeeded
        for number, scene in enumerate(params.scenes or ()):
            behind = scene.background
            if behind is not None and behind.kind == "video" and source["media"][behind.video_id].get("still"):
                field = f"scenes.{number}.background"
                message = "that upload is a picture: its kind is image"
                raise ParamsInvalid(f"{field}: {message}.", errors=[{"field": field, "message": message}])
        if params.music is not None and not source["media"][params.music.video_id]["audio_tracks"]:
            raise ParamsInvalid("music.video_id: that video has no sound.")

    def plan(
        self, stage: str, source: Json, params: GenerateParams, done: Mapping[str, Sequence[Json]], tenant: str
    ) -> list[StepSpec]:
        media = source["media"]
        match stage:
            case "script":
                if params.topic is not None:
                    wanted = [
                        (0, "topic", {"topic": params.topic, "count": params.topic_scenes, "title": params.title})
                    ]
                else:
                    scenes = scenes_of(params)
                    wanted = [(0, "script", {"scenes": scenes, "title": title_of(params, scenes)})]
            case "voice":
                wanted = self._voice(params, done["script"][0]["scenes"])
            case "scenes":
                wanted = self._scenes(params, done)
            case "fades":
                wanted = self._fades(params, done)
            case "join":
                wanted = self._join(params, done)
            case _:
                wanted = self._publish(params, done)
        return [
            StepSpec(
                index=index,
                kind=kind,
                params=asked,
                digest=digest(
                    kind=kind,
                    version=self._tool,
                    params=without_places(asked),
                    inputs=[str(media[video_id]["identity"]) for video_id in _named(asked)],
                    tenant=tenant,
                ),
                optional=kind in OPTIONAL,
                queue="llm" if kind == "topic" else "cpu",
            )
            for index, kind, asked in wanted
        ]

    def _voice(self, params: GenerateParams, scenes: Sequence[Json]) -> list[tuple[int, str, dict[str, Any]]]:
        return [
            (number, "narration", {
                "scene": number, "lines": caption_lines(scene["narration"]), "voice": params.voice,
                "engine": self.tools.voices.voice_name, "pause_s": params.pause_s, "rate": params.frame_rate,
                "least_frames": max(least_frames(params), round((scene["duration_s"] or 0) * params.frame_rate)),
            })
            for number, scene in enumerate(scenes) if scene["narration"] is not None
        ]  # fmt: skip

    def _scenes(
        self, params: GenerateParams, done: Mapping[str, Sequence[Json]]
    ) -> list[tuple[int, str, dict[str, Any]]]:
        spoken = {one["scene"]: one for one in done["voice"]}
        burnt = params.captions in ("burnt", "both")
        wanted = []
        for number, scene in enumerate(done["script"][0]["scenes"]):
            said = spoken.get(number)
            frames = said["frames"] if said else max(least_frames(params), round(silent_s(scene) * params.frame_rate))
            wanted.append((number, "scene", {
                "scene": number, "text": scene["text"], "text_position": scene["text_position"],
                "background": scene["background"], "captions": said["captions"] if said and burnt else [],
                "frames": frames, "fade": fade_frames(params), "rate": params.frame_rate,
                "sizes": [[rung.short_side, rung.width, rung.height, rung.most_kbps] for rung in ladder(params)],
                "crf": params.crf, "preset": params.preset, "threads": self.tools.threads,
            }))  # fmt: skip
        return wanted

    def _fades(
        self, params: GenerateParams, done: Mapping[str, Sequence[Json]]
    ) -> list[tuple[int, str, dict[str, Any]]]:
        scenes = in_order(done["scenes"])
        spoken = {one["scene"]: one for one in done["voice"]}
        wanted: list[tuple[int, str, dict[str, Any]]] = []
        if fade_frames(params):
            for number, (before, after) in enumerate(pairwise(scenes)):
                wanted.append((number, "fade", {
                    "scene": number, "before": before["files"], "after": after["files"], "frames": before["frames"],
                    "fade": fade_frames(params), "rate": params.frame_rate, "transition": params.transition,
                    "sizes": [[rung.short_side, rung.width, rung.height, rung.most_kbps] for rung in ladder(params)],
                    "crf": params.crf, "preset": params.preset, "threads": self.tools.threads,
                }))  # fmt: skip
        if spoken or params.music is not None:
            wanted.append((len(scenes), "sound", {
                "rate": params.frame_rate,
                "music": params.music.model_dump(mode="json") if params.music else None,
                "parts": [
                    {"frames": one["frames"], "file": spoken[n]["file"] if n in spoken else None}
                    for n, one in enumerate(scenes)
                ],
            }))  # fmt: skip
        return wanted

    def _join(
        self, params: GenerateParams, done: Mapping[str, Sequence[Json]]
    ) -> list[tuple[int, str, dict[str, Any]]]:
        scenes, fades = in_order(done["scenes"]), in_order(one for one in done["fades"] if one["kind"] == "fade")
        sound = next((one["file"] for one in done["fades"] if one["kind"] == "sound"), None)
        films = [
            {
                "name": rung.name, "size": [rung.short_side, rung.width, rung.height, rung.most_kbps],
                "rate": params.frame_rate, "fade": fade_frames(params), "sound": sound,
                "scenes": [{"frames": one["frames"], "file": one["files"][rung.name]} for one in scenes],
                "fades": [one["files"][rung.name] for one in fades],
            }
            for rung in ladder(params)
        ]  # fmt: skip
        wanted: list[tuple[str, dict[str, Any]]] = [("film", film) for film in films]
        if params.enable_streaming:
            wanted += [("stream", {**film, "sound": None, "segment_s": SEGMENT_S}) for film in films]
            if sound is not None:
                frames = sum(int(one["frames"]) for one in scenes)
                about = {"sound": sound, "frames": frames, "rate": params.frame_rate, "segment_s": SEGMENT_S}
                wanted.append(("stream_sound", about))
        return [(number, kind, asked) for number, (kind, asked) in enumerate(wanted)]

    def _publish(
        self, params: GenerateParams, done: Mapping[str, Sequence[Json]]
    ) -> list[tuple[int, str, dict[str, Any]]]:
        films = [without_notes(one) for one in done["join"] if one["kind"] == "film"]
        films.sort(key=lambda one: -int(one["height"]))
        scenes, start, captions = in_order(done["scenes"]), 0, []
        spoken = {one["scene"]: one for one in done["voice"]}
        chapters = []
        for number, one in enumerate(scenes):
            at = [
                [text, start + first, start + end]
                for text, first, end in spoken.get(number, {"captions": []})["captions"]
            ]
            captions += at
            chapters.append({"scene": number, "start_s": start / params.frame_rate,
                             "duration_s": one["frames"] / params.frame_rate})  # fmt: skip
            start += one["frames"]
        script = done["script"][0]
        about = {
            "title": script["title"], "scenes": chapters, "captions": captions if params.captions != "none" else [],
            "webvtt": params.captions in ("webvtt", "both"), "rate": params.frame_rate, "frames": start, "films": films,
            "voice": next((one["voice"] for one in done["voice"]), None), "params": params.model_dump(mode="json"),
        }  # fmt: skip
        if params.enable_streaming:
            about["streams"] = [one for one in done["join"] if one["kind"] == "stream"]
            about["stream_sound"] = next((one for one in done["join"] if one["kind"] == "stream_sound"), None)
        third = start / params.frame_rate / 3
        poster = {"file": films[0]["file"], "at_s": round(third, 3), "width": films[0]["width"]}
        return [*([(0, "poster", poster)] if params.thumbnail_generation else []), (1, "publish", about)]

    # ── running: repeatable ───────────────────────────────────────────────────────────────────

    def placed(self, step: Step, made: StepResult) -> StepResult:
        """Return a scene or narration that was taken over as the one that it is in this film."""
        if step.kind not in ("narration", "scene"):
            return made
        number = step.params["scene"]
        named = [(one, SCENE_NUMBER.sub(f"-{number + 1:03d}", one.name, count=1)) for one in made.artifacts]
        artifacts = tuple(replace(one, name=name, meta={**one.meta, "scene": number}) for one, name in named)
        return replace(made, output={**made.output, "scene": number}, artifacts=artifacts)

    def run(self, step: Step, work: Work) -> StepResult:
        steps = Steps(self.tools, step.params, work)
        match step.kind:
            case "topic":
                return steps.topic()
            case "script":
                return steps.script()
            case "narration":
                return steps.narration()
            case "scene":
                return steps.scene()
            case "fade":
                return steps.fade()
            case "sound":
                return steps.sound()
            case "film":
                return steps.film()
            case "stream":
                return steps.stream()
            case "stream_sound":
                return steps.stream_sound()
            case "poster":
                return steps.poster()
            case _:
                return steps.publish(self.name)


def ladder(params: GenerateParams) -> list[Any]:
    """Return the film's sizes, the largest first."""
    return sizes(params.aspect, [int(level.removesuffix("p")) for level in params.quality_levels])


def fade_frames(params: GenerateParams) -> int:
    """Return how many frames a transition has: even, so that half of it belongs to each scene."""
    return 0 if params.transition == "none" else max(2, 2 * round(params.transition_s * params.frame_rate / 2))


def least_frames(params: GenerateParams) -> int:
    """Return the frames of the shortest scene: half a second, and more than its two halves of a fade."""
    return max(params.frame_rate // 2, fade_frames(params) + 1)


def in_order(outputs: Any) -> list[Json]:
    """Return outputs by the scenes that they belong to."""
    return sorted(outputs, key=lambda one: int(one["scene"]))


def without_places(asked: Any) -> Any:
    if isinstance(asked, dict):
        return {name: without_places(value) for name, value in asked.items() if name not in PLACES}
    return [without_places(value) for value in asked] if isinstance(asked, list) else asked


def _named(asked: Mapping[str, Any]) -> list[str]:
    """Return the videos that a step reads."""
    behind, music = asked.get("background") or {}, asked.get("music") or {}
    return [one["video_id"] for one in (behind, music) if "video_id" in one]

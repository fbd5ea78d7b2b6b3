"""The pipeline `renditions`: what is planned, and which step does what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from reelmill.jobs.model import Json, Stage, Step, StepResult, StepSpec
from reelmill.jobs.ports import Work
from reelmill.media import Source
from reelmill.media.encode import ClipSettings, audio_track
from reelmill.media.ffmpeg import version
from reelmill.media.ladder import Chunk, LadderSettings, Rung, chunks, key_frames, rungs
from reelmill.media.storyboard import tile_s
from reelmill.pipelines.base import Toolbox, digest
from reelmill.pipelines.renditions.params import RenditionsParams
from reelmill.pipelines.renditions.steps import Steps


class Renditions:
    """Make a film in several sizes, as MP4 and for adaptive streaming.

    encode   a step for each chunk, all sizes by one decoding; one for the sound; poster, thumbnails and storyboard,
             which may fail without failing the job
    package  a step for each size: joins its chunks with the sound; one for the sound of HLS
    publish  the master playlist and manifest.json
    """

    name = "renditions"
    version = "1"
    title = "Renditions for streaming"
    stages = (Stage("encode", 90), Stage("package", 8), Stage("publish", 2))
    Params = RenditionsParams
    # Not the rest: chunks are kept for their own job alone, and playlists name files by their keys.
    reusable = frozenset({"poster", "thumbnails"})

    def __init__(self, tools: Toolbox) -> None:
        self.tools = tools
        self._tool = f"renditions/{self.version} ffmpeg/{version(tools.ffmpeg)}"

    def pictures(self, params: RenditionsParams) -> dict[str, str]:
        """Return the pictures that a job is given, by the names of their parameters."""
        return {"watermark.video_id": params.watermark.video_id} if params.watermark else {}

    # ── planning: pure ────────────────────────────────────────────────────────────────────────

    def preview(self, source: Json, params: RenditionsParams) -> Json:
        """Return sizes, chunks and pictures that the job will make."""
        probed = Source.from_json(dict(source))
        audio_track(probed, ClipSettings(audio_track=params.audio_track))
        ladder = rungs(probed, params.heights)
        parts = chunks(probed, exact(params.gop_s), exact(params.chunk_s))
        packages = len(ladder) + ("hls" in params.formats and bool(probed.audio_tracks)) + (params.proxy is not None)
        pictures = 1 + bool(params.thumbnails) + params.storyboard
        return {
            "duration_s": probed.duration_s,
            "renditions": [{"name": f"{rung.short_side}p", "width": rung.width, "height": rung.height}
                           for rung in ladder],
            "formats": params.formats,
            "chunks": len(parts),
            "thumbnails": params.thumbnails,
            "steps": len(parts) + bool(probed.audio_tracks) + pictures + packages + 1,
        }  # fmt: skip

    def plan(
        self, stage: str, source: Json, params: RenditionsParams, done: Mapping[str, Sequence[Json]], tenant: str
    ) -> list[StepSpec]:
        probed = Source.from_json(dict(source))
        inputs: list[str] = []
        match stage:
            case "encode":
                wanted = self._encode(probed, params)
                inputs = [str(source["identity"])]
            case "package":
                wanted = self._package(probed, params, done["encode"])
            case _:
                wanted = [("publish", self._publish(probed, params, done))]
        return [
            StepSpec(
                index=index,
                kind=kind,
                params=asked,
                digest=digest(
                    kind=kind,
                    version=self._tool,
                    params=_without_keys(asked) if stage == "package" else asked,
                    inputs=inputs,
                    tenant=tenant,
                ),
                optional=kind in ("poster", "thumbnails", "storyboard"),
                first=kind == "poster",
            )
            for index, (kind, asked) in enumerate(wanted)
        ]

    def _encode(self, probed: Source, params: RenditionsParams) -> list[tuple[str, dict[str, Any]]]:
        ladder = [[rung.short_side, rung.width, rung.height, rung.most_kbps] for rung in rungs(probed, params.heights)]
        common = {"preset": params.preset, "crf": params.crf, "gop_s": params.gop_s, "threads": self.tools.threads,
                  "proxy": params.proxy.model_dump(mode="json") if params.proxy else None}  # fmt: skip
        if params.watermark is not None:  # whose file never changes, so its id says what is in it
            common["watermark"] = params.watermark.model_dump(mode="json")
        wanted: list[tuple[str, dict[str, Any]]] = [
            ("chunk", {**common, "ladder": ladder, "start_frame": part.start_frame, "end_frame": part.end_frame,
                       "key_frames": list(part.key_frames)})
            for part in chunks(probed, exact(params.gop_s), exact(params.chunk_s))
        ]  # fmt: skip
        if probed.audio_tracks:
            names = ("audio_kbps", "audio_track", "loudness_lufs")
            wanted.append(("sound", {name: getattr(params, name) for name in names}))
        at_s = probed.duration_s / 3 if params.poster_s is None else params.poster_s
        wanted.append(("poster", {"at_s": at_s, "side": ladder[0][0]}))
        if params.thumbnails:
            step_s = probed.duration_s / params.thumbnails
            wanted.append(("thumbnails", {"at_s": [step_s * (n + 0.5) for n in range(params.thumbnails)]}))
        if params.storyboard:
            every_s = tile_s(probed, None if params.storyboard_s is None else exact(params.storyboard_s))
            wanted.append(("storyboard", {"every_s": str(every_s)}))
        return wanted

    def _package(
        self, probed: Source, params: RenditionsParams, made: Sequence[Json]
    ) -> list[tuple[str, dict[str, Any]]]:
        parts = sorted((one for one in made if one.get("kind") == "chunk"), key=lambda one: int(one["start_frame"]))
        sound = next((one["file"] for one in made if one.get("kind") == "sound"), None)
        edges = segment_frames(probed, params)
        about = {"formats": params.formats, "gop_s": params.gop_s, "edges": edges, "sound": sound}
        wanted: list[tuple[str, dict[str, Any]]] = [
            ("rendition", {
                **about,
                "rung": [rung.short_side, rung.width, rung.height, rung.most_kbps],
                "chunks": chunk_files(parts, rung.name),
            })
            for rung in rungs(probed, params.heights)
        ]  # fmt: skip
        if params.proxy is not None:
            proxy = params.proxy.model_dump(mode="json")
            wanted.append(("proxy", {"sound": sound, "proxy": proxy, "chunks": chunk_files(parts, "proxy")}))
        if sound is not None and "hls" in params.formats:
            wanted.append(("hls_sound", {**about, "audio_track": params.audio_track}))
        return wanted

    def _publish(self, probed: Source, params: RenditionsParams, done: Mapping[str, Sequence[Json]]) -> dict[str, Any]:
        pictures = [one for one in done["encode"] if one.get("kind") in ("poster", "thumbnails", "storyboard")]
        about = {
            "duration_s": probed.duration_s,
            "frames": probed.video.frame_count,
            "width": probed.video.width,
            "height": probed.video.height,
            "frame_rate": str(probed.video.frame_rate),
        }
        return {
            "source": about,
            "params": params.model_dump(mode="json"),
            "renditions": [one for one in done["package"] if one.get("kind") == "rendition"],
            "sound": next((one for one in done["package"] if one.get("kind") == "hls_sound"), None),
            "proxy": next((one for one in done["package"] if one.get("kind") == "proxy"), None),
            "pictures": pictures,
        }

    # ── running: repeatable ───────────────────────────────────────────────────────────────────

    def run(self, step: Step, work: Work) -> StepResult:
        source = Source.from_json(dict(work.claim.video.source or {}))
        steps = Steps(self.tools, step.params, source, work)
        match step.kind:
            case "chunk":
                return steps.chunk(asked_chunk(step), asked_ladder(step.params["ladder"]), asked_settings(step.params))
            case "sound":
                return steps.sound()
            case "poster":
                return steps.poster()
            case "thumbnails":
                return steps.thumbnails()
            case "storyboard":
                return steps.storyboard()
            case "rendition":
                return steps.rendition(asked_ladder([step.params["rung"]])[0])
            case "proxy":
                return steps.proxy()
            case "hls_sound":
                return steps.hls_sound()
            case _:
                return steps.publish(self.name)


def exact(seconds: float) -> Fraction:
    """Return the decimal that was meant: 0.1 is a tenth."""
    return Fraction(seconds).limit_denominator(1_000_000)


def segment_frames(source: Source, params: RenditionsParams) -> list[int]:
    """Return the frames at which HLS segments begin, in all sizes: each is a whole number of groups."""
    groups = max(1, round(params.segment_s / params.gop_s))
    return key_frames(source, exact(params.gop_s))[::groups]


def chunk_files(parts: Sequence[Json], name: str) -> list[Json]:
    """Return the files of one size with the frames at which they begin."""
    return [{**part["files"][name], "start_frame": part["start_frame"]} for part in parts]


def asked_chunk(step: Step) -> Chunk:
    asked = step.params
    return Chunk(step.index, asked["start_frame"], asked["end_frame"], tuple(asked["key_frames"]))


def asked_ladder(told: Sequence[Sequence[int]]) -> list[Rung]:
    return [Rung(*numbers) for numbers in told]


def asked_settings(asked: Json) -> LadderSettings:
    return LadderSettings(asked["preset"], asked["crf"], asked["threads"], exact(asked["gop_s"]))


def _without_keys(asked: Any) -> Any:
    """Return parameters without object keys: where a file lies doesn't change what is made of it, its SHA-256 does."""
    if isinstance(asked, dict):
        return {name: _without_keys(value) for name, value in asked.items() if name != "key"}
    return [_without_keys(value) for value in asked] if isinstance(asked, list) else asked

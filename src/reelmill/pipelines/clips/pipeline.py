"""The pipeline `clips`: what is planned, and how each kind of step is run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from reelmill.errors import MediaProblem, ParamsInvalid
from reelmill.jobs.model import Json, Stage, Step, StepResult, StepSpec
from reelmill.jobs.ports import Work
from reelmill.jobs.texts import VariedText, WantedTexts, fill, first_alternatives
from reelmill.media import (
    ClipPlan,
    ClipSettings,
    Limits,
    Moving,
    Segment,
    Source,
    at_frames,
    contact_sheet,
    fixed,
    frame_at,
    hardware_encoder,
    layout,
    manual,
    output_size,
    render_clip,
    sample_frames,
    sample_ticks,
    seeded,
    thumbnail,
)
from reelmill.media.encode import check_settings
from reelmill.media.ffmpeg import version
from reelmill.pipelines.base import Toolbox, digest
from reelmill.pipelines.clips.params import (
    MAX_CUTS,
    BaseVary,
    ClipsParams,
    FixedCutting,
    HighlightsCutting,
    ManualCutting,
    MeasuredCutting,
    RandomCutting,
    ScenesCutting,
    SilenceCutting,
    TextLook,
    VideoParams,
)
from reelmill.pipelines.clips.presets import branded
from reelmill.pipelines.clips.preview import shape_of
from reelmill.pipelines.clips.setting import SetText, moving, seconds_of, set_text
from reelmill.pipelines.clips.texts import clock, shown_frames, slot_of, slots_of, style, texts_of
from reelmill.pipelines.measuring import Measured, Measuring, Wanted, best_of, measured

THUMBNAIL_WIDTH = 480
MEASURED_STAGES = (Stage("analyse", 30), Stage("text", 2), Stage("render", 64), Stage("publish", 4))
UNMEASURED = Measured(None, None)


class Clips:
    """Cut a video into clips and put a text on each.

    analyse  only for cuts that are found in the film: looks at every frame and listens, in several steps
    text     one step: the text of each clip; may ask a model
    render   one step a clip: reads its part of the source, draws, encodes, checks
    publish  manifest.json; the contact sheet, which may fail without failing the job
    """

    name = "clips"
    version = "2"
    title = "Clips with text"
    stages = (Stage("text", 2), Stage("render", 94), Stage("publish", 4))
    Params = ClipsParams
    reusable = frozenset({"frames", "sound", "clip", "contact_sheet"})  # a manifest tells of its own job

    def __init__(self, tools: Toolbox) -> None:
        self.tools = tools
        self.measuring = Measuring(tools)
        self._tool = f"clips/{self.version} ffmpeg/{version(tools.ffmpeg)}"

    def branded(self, params: Json, find: Callable[[str, str], Json | None]) -> Json:
        """Put in the tenant's own preset and font that the text names. Raises ParamsInvalid."""
        text = params.get("text")
        return {**params, "text": branded(text, find)} if isinstance(text, Mapping) else params

    # ── planning: pure ────────────────────────────────────────────────────────────────────────

    def stages_for(self, params: ClipsParams) -> tuple[Stage, ...]:
        """Return the stages; cuts that are found in the film have one before the others."""
        return MEASURED_STAGES if isinstance(params.cutting, MeasuredCutting) else self.stages

    def preview(self, source: Json, params: ClipsParams, found: Sequence[Json] = ()) -> Json:
        """Return duration and cut list with each clip's text; the job makes exactly these clips.

        Of cuts that are found in the film, it isn't known before: the most there can be are told, as `at_most`.
        found: outputs of the stage `analyse`, if another job has measured the film.
        """
        probed = Source.from_json(dict(source))
        if isinstance(params.cutting, MeasuredCutting) and not found:
            return {
                "duration_s": probed.duration_s,
                "clip_count": None,
                "clips": [],
                "known_after": "analyse",
                "at_most": most_clips(probed, params.cutting),
                "steps": self.measuring.count(probed, wanted(probed, params)) + 4,  # with one clip at least
            }
        clips = self._clips(probed, source, params, measured(probed, found))
        seed = {"seed": params.cutting.seed} if isinstance(params.cutting, RandomCutting) else {}
        return {
            "duration_s": probed.duration_s,
            "clip_count": len(clips),
            "clips": [{**told(segment), "text": text} for segment, text in clips],
            "steps": len(clips) + 3 + len(found),
            **seed,
        }

    def plan(
        self, stage: str, source: Json, params: ClipsParams, done: Mapping[str, Sequence[Json]], tenant: str
    ) -> list[StepSpec]:
        probed = Source.from_json(dict(source))
        found = measured(probed, done.get("analyse", ()))
        match stage:
            case "analyse":
                check_settings(probed, settings(params.video, self.tools.threads))
                return self.measuring.specs(source, wanted(probed, params), tenant)
            case "text" if isinstance(params.text, BaseVary):
                return [self._vary_spec(probed, source, params, params.text, tenant, found)]
            case "text":
                return [self._text_spec(probed, source, params, tenant, found)]
            case "render":
                texts = done["text"][0]["texts"]
                specs = zip(cut(probed, params, found), texts, strict=True)
                return [self._clip_spec(probed, source, params, segment, text, tenant) for segment, text in specs]
            case _:
                clips = sorted(done["render"], key=lambda clip: int(clip["index"]))
                return self._publish_specs(probed, params, clips, done["text"][0].get("made"), tenant)

    def _clips(
        self, probed: Source, source: Json, params: ClipsParams, found: Measured = UNMEASURED
    ) -> list[tuple[Segment, str | None]]:
        """Return each clip with the text that is seen on it: None too if the clip ends before it would come up."""
        segments = cut(probed, params, found)
        texts = texts_of(params.text, segments, str(source["filename"]))
        seen = [params.text is not None and shown_frames(params.text, segment, probed) for segment in segments]
        return [(segment, text if on else None) for segment, text, on in zip(segments, texts, seen, strict=True)]

    def _text_spec(self, probed: Source, source: Json, params: ClipsParams, tenant: str, found: Measured) -> StepSpec:
        check_settings(probed, settings(params.video, self.tools.threads))
        texts = [text for _, text in self._clips(probed, source, params, found)]
        if params.text is not None:
            # Here, so that a text that doesn't fit is refused before anything is encoded.
            size = output_size(probed, shape_of(params.video))
            for text in dict.fromkeys(text for text in texts if text is not None):
                layout(text, style(params.text, size, self._fonts(params.text, tenant)), *size)
        return self._spec(0, "text", {"texts": texts}, [], tenant, first=True)  # no clip comes before it

    def _vary_spec(
        self, probed: Source, source: Json, params: ClipsParams, text: BaseVary, tenant: str, found: Measured
    ) -> StepSpec:
        check_settings(probed, settings(params.video, self.tools.threads))
        segments = cut(probed, params, found)
        slots, warnings = slots_of(text, segments, probed, str(source["filename"]))
        size = output_size(probed, shape_of(params.video))
        if slots:  # what is varied must fit by itself
            first = fill(first_alternatives(text.text), slots[0]["values"])
            layout(first, style(text, size, self._fonts(text, tenant)), *size)
        wanted = {
            "clips": len(segments),
            "slots": slots,
            "text": text.model_dump(mode="json"),
            "size": list(size),
            "name": str(source["filename"]),
            "warnings": warnings,
        }
        # Whether there is a model is for the worker to say: often it alone has the key.
        return self._spec(0, "vary", wanted, [], tenant, first=True, queue="cpu" if text.made_by == "local" else "llm")

    def _clip_spec(
        self, probed: Source, source: Json, params: ClipsParams, segment: Segment, text: Json | None, tenant: str
    ) -> StepSpec:
        shown = shown_frames(params.text, segment, probed) if params.text and text else None
        wanted: dict[str, Any] = {
            "segment": told(segment),
            "text": text,
            "text_frames": shown,
            "style": params.text.model_dump(mode="json", include=LOOK) if params.text and text else None,
            "video": params.video.model_dump(mode="json"),
            "threads": self.tools.threads,
        }
        if params.text and text and (fonts := self.tools.fonts.digests(params.text.font, params.text.font_file)):
            wanted["fonts"] = fonts  # they decide the bytes, too
        first = segment.index == 0
        return self._spec(segment.index, "clip", wanted, [str(source["identity"])], tenant, first=first)

    def _publish_specs(
        self, probed: Source, params: ClipsParams, clips: Sequence[Json], texts: Json | None, tenant: str
    ) -> list[StepSpec]:
        inputs = [str(clip["sha256"]) for clip in clips]
        about = {
            "duration_s": probed.duration_s,
            "frames": probed.video.frame_count,
            "width": probed.video.width,
            "height": probed.video.height,
            "frame_rate": str(probed.video.frame_rate),
        }
        manifest = {"source": about, "params": params.model_dump(mode="json"), "clips": list(clips)}
        if texts is not None:
            manifest["texts"] = texts
        sheet = {"clips": [{name: clip[name] for name in SHEET_FIELDS} for clip in clips]}
        # Where a thumbnail lies doesn't change the sheet: it follows from its clip, if there is one.
        seen = [{**tile, "thumbnail_key": tile["thumbnail_key"] is not None} for tile in sheet["clips"]]
        drawn = replace(self._spec(1, "contact_sheet", {"clips": seen}, inputs, tenant, optional=True), params=sheet)
        return [self._spec(0, "manifest", manifest, inputs, tenant), drawn]

    def _spec(
        self,
        index: int,
        kind: str,
        params: Json,
        inputs: Sequence[str],
        tenant: str,
        *,
        optional: bool = False,
        first: bool = False,
        queue: str = "cpu",
    ) -> StepSpec:
        return StepSpec(
            index=index,
            kind=kind,
            params=params,
            digest=digest(kind=kind, version=self._tool, params=params, inputs=inputs, tenant=tenant),
            optional=optional,
            first=first,
            queue=queue,
        )

    # ── running: repeatable ───────────────────────────────────────────────────────────────────

    def run(self, step: Step, work: Work) -> StepResult:
        match step.kind:
            case "text":
                return self._run_text(step)
            case "vary":
                return self._run_vary(step, work)
            case "clip":
                return self._run_clip(step, work)
            case "manifest":
                return self._run_manifest(step, work)
            case "frames" | "sound":
                return self.measuring.run(step, work)
            case _:
                return self._run_contact_sheet(step, work)

    def _run_text(self, step: Step) -> StepResult:
        texts = [None if text is None else {"text": text, "source": "given"} for text in step.params["texts"]]
        return StepResult(output={"texts": texts})

    def _run_vary(self, step: Step, work: Work) -> StepResult:
        """Let the texts be made: exactly one for each clip that shows one, all different."""
        wanted, look = step.params, BaseVary(**step.params["text"])
        facts: dict[str, Any] = {"notes": look.notes} if look.notes else {}
        if "name" in look.tell_model:
            facts["video_name"] = wanted["name"]
        if "labels" in look.tell_model:
            facts["labels"] = dict(work.claim.video.labels)

        source, warnings = Source.from_json(dict(work.claim.video.source or {})), list(wanted["warnings"])
        found = measured(source, work.done_before("frames")).findings if "shots" in look.tell_model else None
        if found is None and "shots" in look.tell_model:
            warnings.append("The model wasn't told of shots: no analysis has looked at the video.")
        fonts = self._fonts(look, work.claim.job.tenant)

        def misfit(text: str) -> str | None:
            try:
                layout(text, style(look, wanted["size"], fonts), *wanted["size"])
            except ParamsInvalid as problem:
                return problem.detail
            return None

        made = self.tools.texts.vary(
            work.claim.job.tenant,
            WantedTexts(
                base=look.text,
                slots=tuple(slot_of(slot, source, found) for slot in wanted["slots"]),
                language=look.language,
                required=tuple(look.required_words),
                forbidden=tuple(look.forbidden_words),
                facts=facts,
                variant=look.variant,
                model=look.made_by != "local",
                fill=look.made_by != "model",
            ),
            fits=misfit,
            stop=work.stop,
        )
        texts: list[Json | None] = [None] * wanted["clips"]
        for slot, one in zip(wanted["slots"], made.texts, strict=True):
            texts[slot["clip"]] = {"text": fill(one.text, slot["values"]), "source": one.source}
        about: dict[str, Any] = {"model": made.model, "requests": made.requests, "tokens_in": made.tokens_in}
        about |= {"tokens_out": made.tokens_out, "cost": made.cost, "sources": _sources(made.texts)}
        return StepResult(
            output={"texts": texts, "made": about},
            message=f"{len(made.texts)} texts were made",
            warnings=(*made.warnings, *warnings),
        )

    def _run_clip(self, step: Step, work: Work) -> StepResult:
        wanted = step.params
        source = Source.from_json(dict(work.claim.video.source or {}))
        video = VideoParams.model_validate(wanted["video"])
        name = f"clip-{step.index + 1:04d}"
        path = work.scratch / f"{name}.mp4"
        frames = wanted["segment"]["frames"]
        location = str(work.locate(work.claim.video.key))
        text, warnings = self._set(source, location, wanted, work)
        made = render_clip(
            location,
            source,
            ClipPlan(
                start_frame=wanted["segment"]["start_frame"],
                end_frame=wanted["segment"]["end_frame"],
                picture=text.picture if text else None,
                settings=settings(video, wanted["threads"], self._encoder(source, video)),
                picture_frames=tuple(wanted["text_frames"]) if wanted["text_frames"] else None,
                moving=_moving(wanted),
            ),
            path,
            ffmpeg=self.tools.ffmpeg,
            scratch=work.scratch,
            limits=self._limits(),
            stop=work.stop,
            on_progress=lambda progress: work.progress(progress.frame / frames),
            whole=video.rendering == "full",
        )
        for run in made.runs:
            work.command(run.argv)
        checked = made.checked
        still, missed = self._still(path, checked.duration_s, work)
        warnings += missed
        if made.is_fallback:
            warnings += (f"{path.name} was encoded as a whole: {made.reason}",)
        clip = {
            **wanted["segment"],
            "name": path.name,
            "sha256": checked.sha256,
            "size_bytes": checked.size_bytes,
            "clip_duration_s": checked.duration_s,
            "width": checked.width,
            "height": checked.height,
            "bit_rate": checked.bit_rate,
            "video_codec": checked.video_codec,
            "audio_codec": checked.audio_codec,
            "text": wanted["text"]["text"] if wanted["text"] else None,
            "text_source": wanted["text"]["source"] if wanted["text"] else None,
            "text_report": text.report if text else None,
            "copied_frames": made.copied_frames,
            "encoded_because": made.reason,
            "cpu_s": round(made.cpu_s, 3),
        }
        stored = work.publish(path, kind="clip", name=path.name, content_type="video/mp4", meta=clip, primary=True)
        pictured = [
            work.publish(
                picture, kind="thumbnail", name=picture.name, content_type="image/jpeg", meta={"of": path.name}
            )
            for picture in still
        ]
        return StepResult(
            output={**clip, "key": stored.key, "thumbnail_key": pictured[0].key if pictured else None},
            artifacts=(stored, *pictured),
            message=f"Clip {step.index + 1} is ready",
            warnings=warnings,
        )

    def _set(self, source: Source, location: str, wanted: Json, work: Work) -> tuple[SetText | None, tuple[str, ...]]:
        """Draw the clip's text, None if it has none. A contrast that can't be measured is a warning."""
        if wanted["text"] is None:
            return None, ()
        look, shown = TextLook(**wanted["style"]), tuple(wanted["text_frames"])
        shape = shape_of(VideoParams.model_validate(wanted["video"]))
        warnings: list[str] = []

        def frames() -> list[Image.Image]:
            try:
                return sample_frames(
                    location, source, shape, sample_ticks(source, *shown), ffmpeg=self.tools.ffmpeg,
                    scratch=work.scratch, limits=self._limits(), stop=work.stop,
                )  # fmt: skip
            except MediaProblem as problem:
                warnings.append(f"The text's contrast wasn't measured: {problem.detail}")
                return []

        size, seconds = output_size(source, shape), seconds_of(source, shown)
        fonts = self._fonts(look, work.claim.job.tenant)
        made = set_text(wanted["text"]["text"], look, size, seconds, frames, work.scratch / "text.png", fonts)
        return made, tuple(warnings)

    def _still(self, path: Path, duration_s: float, work: Work) -> tuple[list[Path], tuple[str, ...]]:
        """Make the clip's thumbnail. One that can't be made is a warning: the clip is what counts."""
        out = path.with_suffix(".jpg")
        try:
            still = thumbnail(
                path, duration_s / 3, THUMBNAIL_WIDTH, out,  # many a film begins in black
                ffmpeg=self.tools.ffmpeg, scratch=work.scratch, limits=self._limits(), stop=work.stop,
            )  # fmt: skip
        except MediaProblem as problem:
            return [], (f"No thumbnail of {path.name}: {problem.detail}",)
        return [still], ()

    def _run_manifest(self, step: Step, work: Work) -> StepResult:
        path = work.scratch / "manifest.json"
        job = {"job_id": work.claim.job.id, "video_id": work.claim.video.id, "pipeline": self.name}
        path.write_text(json.dumps({"version": 1, **job, **step.params}, indent=2, ensure_ascii=False) + "\n")
        made = work.publish(path, kind="manifest", name=path.name, content_type="application/json")
        return StepResult(output={"key": made.key}, artifacts=(made,), message="Manifest written")

    def _run_contact_sheet(self, step: Step, work: Work) -> StepResult:
        tiles = [
            (work.fetch(clip["thumbnail_key"], f"{clip['index']}.jpg"), _caption(clip))
            for clip in step.params["clips"]
            if clip["thumbnail_key"]
        ]
        path = work.scratch / "contact-sheet.png"
        contact_sheet(tiles, path, columns=_columns(len(tiles)))
        made = work.publish(path, kind="contact_sheet", name=path.name, content_type="image/png")
        return StepResult(output={"key": made.key}, artifacts=(made,), message="Contact sheet drawn")

    def _fonts(self, look: TextLook, tenant: str) -> list[Path]:
        return self.tools.fonts.of(look.font, look.font_file, tenant)

    def _encoder(self, source: Source, video: VideoParams) -> str | None:
        """Return the hardware encoder to use, None to encode in software."""
        if not video.hardware:
            return None
        return hardware_encoder(self.tools.ffmpeg, video.codec, ten_bits=source.video.hdr and video.hdr == "keep")

    def _limits(self) -> Limits:
        return Limits(deadline_s=self.tools.step_deadline_s, resident_bytes=self.tools.memory_bytes)


LOOK = set(TextLook.model_fields)
SHEET_FIELDS = ("index", "start_s", "end_s", "thumbnail_key")


def cut(source: Source, params: ClipsParams, found: Measured = UNMEASURED) -> list[Segment]:
    """Return the segments of a source. Pure; raises ParamsInvalid. found: what was measured, if the cuts need it."""
    video, cutting = source.video, params.cutting
    frames = source.frame_ticks(), video.end_tick, video.time_base
    match cutting:
        case FixedCutting():
            below = None if cutting.tail_below_s is None else seconds(cutting.tail_below_s)
            return fixed(*frames, seconds(cutting.duration_s), tail=cutting.tail, tail_below=below, most_clips=MAX_CUTS)
        case RandomCutting():
            least, most = seconds(cutting.min_s), seconds(cutting.max_s)
            return seeded(*frames, seed=cutting.seed, least=least, most=most, most_clips=MAX_CUTS)
        case ManualCutting():
            spans = [(seconds(c.start_s), None if c.end_s is None else seconds(c.end_s)) for c in cutting.cuts]
            return manual(*frames, spans)
        case ScenesCutting() | SilenceCutting():
            longest = None if cutting.max_s is None else seconds(cutting.max_s)
            places = found_places(source, cutting, found)
            return at_frames(*frames, places, least=seconds(cutting.min_s), most=longest, most_clips=MAX_CUTS)
        case HighlightsCutting():
            assert found.findings is not None, "every frame was looked at"
            best = best_of(source, found.findings, found.levels, cutting.count, cutting.min_s, cutting.max_s)
            return manual(*frames, [(seconds(one.start_s), seconds(one.end_s)) for one in best])


def found_places(source: Source, cutting: ScenesCutting | SilenceCutting, found: Measured) -> list[int]:
    """Return the frames at which shots begin, or in the middle of pauses."""
    if isinstance(cutting, ScenesCutting):
        assert found.findings is not None, "every frame was looked at"
        return [frame for frame, _ in found.findings.cuts]
    assert found.levels is not None, "the sound was listened to"
    video, ticks = source.video, source.frame_ticks()
    middles = [seconds((start + end) / 2) for start, end in found.levels.silence]
    places = [frame_at(ticks, video.end_tick, video.time_base, middle) for middle in middles]
    return [place for place in places if place < len(ticks)]


def wanted(source: Source, params: ClipsParams) -> Wanted:
    """Return what must be measured for the cuts to be known. Raises ParamsInvalid for pauses without sound."""
    cutting, track = params.cutting, params.video.audio_track
    match cutting:
        case SilenceCutting():
            if not source.audio_tracks:
                raise ParamsInvalid("The video has no sound, so there are no pauses to cut in.")
            return Wanted(frames=False, silence_db=cutting.level_db, silence_s=cutting.pause_s, audio_track=track)
        case ScenesCutting():
            return Wanted(sound=False, audio_track=track)
        case _:
            return Wanted(audio_track=track)


def most_clips(source: Source, cutting: MeasuredCutting) -> int:
    """Return how many clips there can be at most."""
    if isinstance(cutting, HighlightsCutting):
        return cutting.count
    return max(1, min(MAX_CUTS, int(source.duration_s / cutting.min_s)))


def seconds(value: float) -> Fraction:
    """Return the decimal that was meant: 0.1 is a tenth."""
    return Fraction(value).limit_denominator(1_000_000)


def settings(video: VideoParams, threads: int, encoder: str | None = None) -> ClipSettings:
    """Return what the media library needs to know of how clips are written."""
    return ClipSettings(
        codec=video.codec,
        preset=video.preset,
        crf=video.crf,
        threads=threads,
        shape=shape_of(video),
        encoder=encoder,
        audio_kbps=video.audio_kbps,
        audio_track=video.audio_track,
        audio_channels=video.audio_channels,
    )


def told(segment: Segment) -> dict[str, Any]:
    """Return a segment as the preview, the steps and the manifest tell it."""
    return {
        "index": segment.index,
        "start_s": round(segment.start_s, 6),
        "end_s": round(segment.end_s, 6),
        "start_frame": segment.start_frame,
        "end_frame": segment.end_frame,
        "frames": segment.frame_count,
    }


def _moving(wanted: Json) -> Moving:
    if wanted["style"] is None:
        return Moving()
    return moving(TextLook(**wanted["style"]), tuple(wanted["text_frames"]), wanted["segment"]["end_frame"])


def _sources(texts: Sequence[VariedText]) -> dict[str, int]:
    """Return how many texts each source made."""
    return dict(Counter(text.source for text in texts))


def _columns(tiles: int) -> int:
    """Return the columns of a sheet of at most five, with its rows as even as can be."""
    return -(-tiles // -(-tiles // 5)) if tiles else 1


def _caption(clip: Json) -> str:
    return f"{clip['index'] + 1}   {clock(clip['start_s'])} – {clock(clip['end_s'])}"

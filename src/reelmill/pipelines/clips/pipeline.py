"""The pipeline `clips`: what is planned, and how each kind of step is run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from reelmill.errors import MediaProblem
from reelmill.jobs.model import Json, Stage, Step, StepResult, StepSpec
from reelmill.jobs.ports import Work
from reelmill.media import (
    ClipPlan,
    ClipSettings,
    Limits,
    Picture,
    Segment,
    Source,
    TextStyle,
    contact_sheet,
    draw,
    encode_clip,
    fixed,
    layout,
    output_size,
    thumbnail,
)
from reelmill.media.ffmpeg import version
from reelmill.pipelines.base import Toolbox, digest
from reelmill.pipelines.clips.params import ClipsParams, TextParams

THUMBNAIL_WIDTH = 480


class Clips:
    """Cut a video into clips and put a text on each.

    text     one step: the text of each clip
    render   one step a clip: reads its part of the source, draws, encodes, checks
    publish  manifest.json; the contact sheet, which may fail without failing the job
    """

    name = "clips"
    version = "1"
    title = "Clips with text"
    stages = (Stage("text", 2), Stage("render", 94), Stage("publish", 4))
    Params = ClipsParams

    def __init__(self, tools: Toolbox) -> None:
        self.tools = tools
        self._tool = f"clips/{self.version} ffmpeg/{version(tools.ffmpeg)}"

    # ── planning: pure ────────────────────────────────────────────────────────────────────────

    def preview(self, source: Json, params: ClipsParams) -> Json:
        """Return duration and cut list; the job makes exactly these clips."""
        probed = Source.from_json(dict(source))
        segments = cut(probed, params)
        return {
            "duration_s": probed.duration_s,
            "clip_count": len(segments),
            "clips": [told(segment) for segment in segments],
            "steps": len(segments) + 3,
        }

    def plan(
        self, stage: str, source: Json, params: ClipsParams, done: Mapping[str, Sequence[Json]], tenant: str
    ) -> list[StepSpec]:
        probed = Source.from_json(dict(source))
        match stage:
            case "text":
                return [self._text_spec(probed, params, tenant)]
            case "render":
                texts = done["text"][0]["texts"]
                segments = cut(probed, params)
                specs = zip(segments, texts, strict=True)
                return [self._clip_spec(source, params, segment, text, tenant) for segment, text in specs]
            case _:
                clips = sorted(done["render"], key=lambda clip: int(clip["index"]))
                return self._publish_specs(probed, params, clips, tenant)

    def _text_spec(self, probed: Source, params: ClipsParams, tenant: str) -> StepSpec:
        count = len(cut(probed, params))
        if params.text is not None:
            # Here, so that a text that doesn't fit is refused before anything is encoded.
            layout(params.text.text, style(params.text), *output_size(probed))
        wanted = {"count": count, "text": params.text.text if params.text else None}
        return self._spec(0, "text", wanted, [], tenant)

    def _clip_spec(
        self, source: Json, params: ClipsParams, segment: Segment, text: Json | None, tenant: str
    ) -> StepSpec:
        wanted = {
            "segment": told(segment),
            "text": text,
            "style": params.text.model_dump(mode="json", exclude={"text", "strategy"}) if params.text else None,
            "video": params.video.model_dump(mode="json"),
            "threads": self.tools.threads,
        }
        return self._spec(segment.index, "clip", wanted, [str(source["identity"])], tenant)

    def _publish_specs(self, probed: Source, params: ClipsParams, clips: Sequence[Json], tenant: str) -> list[StepSpec]:
        inputs = [str(clip["sha256"]) for clip in clips]
        about = {
            "duration_s": probed.duration_s,
            "frames": probed.video.frame_count,
            "width": probed.video.width,
            "height": probed.video.height,
            "frame_rate": str(probed.video.frame_rate),
        }
        manifest = {"source": about, "params": params.model_dump(mode="json"), "clips": list(clips)}
        sheet = {"clips": [{name: clip[name] for name in SHEET_FIELDS} for clip in clips]}
        return [
            self._spec(0, "manifest", manifest, inputs, tenant),
            self._spec(1, "contact_sheet", sheet, inputs, tenant, optional=True),
        ]

    def _spec(
        self, index: int, kind: str, params: Json, inputs: Sequence[str], tenant: str, *, optional: bool = False
    ) -> StepSpec:
        return StepSpec(
            index=index,
            kind=kind,
            params=params,
            digest=digest(kind=kind, version=self._tool, params=params, inputs=inputs, tenant=tenant),
            optional=optional,
        )

    # ── running: repeatable ───────────────────────────────────────────────────────────────────

    def run(self, step: Step, work: Work) -> StepResult:
        match step.kind:
            case "text":
                return self._run_text(step)
            case "clip":
                return self._run_clip(step, work)
            case "manifest":
                return self._run_manifest(step, work)
            case _:
                return self._run_contact_sheet(step, work)

    def _run_text(self, step: Step) -> StepResult:
        text = step.params["text"]
        one = None if text is None else {"text": text, "source": "given"}
        return StepResult(output={"texts": [one] * step.params["count"]})

    def _run_clip(self, step: Step, work: Work) -> StepResult:
        wanted = step.params
        source = Source.from_json(dict(work.claim.video.source or {}))
        name = f"clip-{step.index + 1:04d}"
        path = work.scratch / f"{name}.mp4"
        frames = wanted["segment"]["frames"]
        encoded = encode_clip(
            str(work.locate(work.claim.video.key)),
            source,
            ClipPlan(
                start_frame=wanted["segment"]["start_frame"],
                end_frame=wanted["segment"]["end_frame"],
                picture=_picture(wanted, source, work.scratch / "text.png"),
                settings=ClipSettings(
                    preset=wanted["video"]["preset"],
                    crf=wanted["video"]["crf"],
                    audio_kbps=wanted["video"]["audio_kbps"],
                    threads=wanted["threads"],
                ),
            ),
            path,
            ffmpeg=self.tools.ffmpeg,
            scratch=work.scratch,
            limits=self._limits(),
            stop=work.stop,
            on_progress=lambda progress: work.progress(progress.frame / frames),
        )
        work.command(encoded.finished.argv)
        checked = encoded.checked
        still, warnings = self._still(path, checked.duration_s, work)
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
            "cpu_s": round(encoded.finished.cpu_s, 3),
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

    def _limits(self) -> Limits:
        return Limits(deadline_s=self.tools.step_deadline_s)


SHEET_FIELDS = ("index", "start_s", "end_s", "thumbnail_key")


def cut(source: Source, params: ClipsParams) -> list[Segment]:
    """Return the plan: the one that the preview shows is the one that the job renders."""
    video = source.video
    duration = Fraction(params.cutting.duration_s).limit_denominator(1_000_000)
    return fixed(source.frame_ticks(), video.end_tick, video.time_base, duration)


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


def style(text: TextParams) -> TextStyle:
    """Return what the media library needs to know of how a text looks."""
    return TextStyle(
        position=text.position,
        size_pct=text.size_pct,
        min_size_pct=min(text.min_size_pct, text.size_pct),
        color=text.color,
        outline_color=text.outline_color or "#000000",
        outline_pct=text.outline_pct if text.outline_color else 0.0,
        box_color=text.box_color,
        box_opacity=text.box_opacity,
        box_padding_pct=text.box_padding_pct,
        margin_pct=text.margin_pct,
        max_width_pct=text.max_width_pct,
    )


def _picture(wanted: Json, source: Source, path: Path) -> Picture | None:
    if wanted["text"] is None:
        return None
    text = TextParams(text=wanted["text"]["text"], **wanted["style"])
    return draw(layout(text.text, style(text), *output_size(source)), path)


def _columns(tiles: int) -> int:
    """Return the columns of a sheet of at most five, with its rows as even as can be."""
    return -(-tiles // -(-tiles // 5)) if tiles else 1


def _caption(clip: Json) -> str:
    return f"{clip['index'] + 1}   {_clock(clip['start_s'])} – {_clock(clip['end_s'])}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"

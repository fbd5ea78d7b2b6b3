"""The pipeline `analysis`: what is planned, and how each kind of step is run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reelmill.errors import MediaProblem
from reelmill.jobs.model import Json, NewArtifact, Stage, Step, StepResult, StepSpec
from reelmill.jobs.ports import Work
from reelmill.jobs.reuse import without_notes
from reelmill.media import Source
from reelmill.media.encode import ClipSettings, audio_track
from reelmill.media.findings import Findings, key_frame_findings, shot_spans, stretch
from reelmill.media.levels import Levels, measure_sound
from reelmill.media.measure import decode_key_frames, exact_still
from reelmill.media.timeline import Timeline, clock, draw_timeline
from reelmill.pipelines.analysis.params import AnalysisParams
from reelmill.pipelines.analysis.report import pictured, report
from reelmill.pipelines.base import Toolbox, digest
from reelmill.pipelines.measuring import Measuring, Wanted, best_of, measured, seconds

JSON_TYPE, JPEG, PNG = "application/json", "image/jpeg", "image/png"


class Analysis:
    """Find the shots of a film, and measure its pictures and its sound.

    quick   one step: key frames and loudness; its report can be read while the rest goes on
    deep    a step for each chunk, every frame of it; one for the sound
    report  one step: joins what was measured; the report, the timeline, a picture for each shot
    """

    name = "analysis"
    version = "1"
    title = "Analysis"
    stages = (Stage("quick", 8), Stage("deep", 86), Stage("report", 6))
    Params = AnalysisParams
    reusable = frozenset({"quick", "frames", "sound", "report"})

    def __init__(self, tools: Toolbox) -> None:
        self.tools = tools
        self.measuring = Measuring(tools)
        self._tool = f"analysis/{self.version} {self.measuring.tool}"

    # ── planning: pure ────────────────────────────────────────────────────────────────────────

    def preview(self, source: Json, params: AnalysisParams) -> Json:
        """Return how much will be looked at."""
        probed = Source.from_json(dict(source))
        steps = self.measuring.count(probed, wanted(params))
        return {
            "duration_s": probed.duration_s,
            "frames": probed.video.frame_count,
            "key_frames": len(probed.keyframe_ticks()),
            "chunks": steps - bool(probed.audio_tracks),
            "steps": steps + 2,
        }

    def plan(
        self, stage: str, source: Json, params: AnalysisParams, done: Mapping[str, Sequence[Json]], tenant: str
    ) -> list[StepSpec]:
        match stage:
            case "quick":
                audio_track(Source.from_json(dict(source)), ClipSettings(audio_track=params.audio_track))
                asked = params.model_dump(mode="json", exclude={"chunk_s", "silence_db", "silence_s"})
                return [self._spec("quick", asked, [str(source["identity"])], asked, tenant)]
            case "deep":
                return self.measuring.specs(source, wanted(params), tenant)
            case _:
                asked = {
                    "params": params.model_dump(mode="json"),
                    "pictures": done["quick"][0]["pictures"],
                    "measured": [_without_costs(one) for one in done["deep"]],
                }
                # Where a picture lies doesn't change what is made of it.
                decides = {**asked, "pictures": [{**one, "key": ""} for one in asked["pictures"]]}
                return [self._spec("report", asked, [str(source["identity"])], decides, tenant)]

    def _spec(self, kind: str, asked: Json, inputs: Sequence[str], decides: Json, tenant: str) -> StepSpec:
        key = digest(kind=kind, version=self._tool, params=decides, inputs=inputs, tenant=tenant)
        return StepSpec(index=0, kind=kind, params=asked, digest=key, first=kind == "quick")

    # ── running: repeatable ───────────────────────────────────────────────────────────────────

    def run(self, step: Step, work: Work) -> StepResult:
        match step.kind:
            case "quick":
                return self._run_quick(step, work)
            case "report":
                return self._run_report(step, work)
            case _:
                return self.measuring.run(step, work)

    def _run_quick(self, step: Step, work: Work) -> StepResult:
        source = Source.from_json(dict(work.claim.video.source or {}))
        params = AnalysisParams.model_validate(step.params)
        location = str(work.locate(work.claim.video.key))
        keys = max(1, len(source.keyframe_ticks()))
        decoded = decode_key_frames(
            location, source, pictures=params.thumbnails > 0,
            ffmpeg=self.tools.ffmpeg, scratch=work.scratch, limits=self.measuring.limits, stop=work.stop,
            on_progress=lambda progress: work.progress(min(0.7, 0.7 * progress.frame / keys)),
        )  # fmt: skip
        work.command(decoded.finished.argv)
        found = key_frame_findings(source, decoded)
        levels, cpu_s = None, decoded.finished.cpu_s
        track = audio_track(source, ClipSettings(audio_track=params.audio_track))
        if track is not None:
            levels, finished = measure_sound(
                location, source, track, stretch(source.duration_s), silence=None,
                ffmpeg=self.tools.ffmpeg, scratch=work.scratch, limits=self.measuring.limits, stop=work.stop,
            )  # fmt: skip
            work.command(finished.argv)
            cpu_s += finished.cpu_s
        pictures = self._key_pictures(source, found, decoded.ticks, params.thumbnails, work)
        names = {one.meta["start_frame"]: one.name for one in pictures}
        made = self._publish(
            report("quick", source, found, levels, params, names), "analysis_quick", "analysis-quick.json", work
        )
        shown = [{"frame": one.meta["frame"], "at_s": one.meta["at_s"], "name": one.name, "key": one.key}
                 for one in pictures]  # fmt: skip
        return StepResult(
            output={"kind": "quick", "key": made.key, "pictures": shown, "cpu_s": round(cpu_s, 3)},
            artifacts=(*pictures, made),
            message=f"About {len(found.cuts) + 1} shots, by key frames",
        )

    def _key_pictures(
        self, source: Source, found: Findings, ticks: Sequence[int], most: int, work: Work
    ) -> list[NewArtifact]:
        """Publish a key frame of each shot that gets a picture: the one nearest to its middle."""
        known = source.frame_ticks()
        frames = {known.index(tick): tick for tick in ticks} if most else {}
        made = []
        for number, (first, end) in enumerate(pictured(source, found, most), 1):
            inside = [frame for frame in frames if first <= frame < end]
            if not inside:
                continue
            frame = min(inside, key=lambda one: (abs(2 * one - first - end), one))
            path = work.scratch / f"key-{frames[frame] - known[0]}.jpg"
            meta = {"start_frame": first, "frame": frame, "at_s": seconds(source, frame)}
            name = f"key-frame-{number:03d}.jpg"
            made.append(work.publish(path, kind="thumbnail", name=name, content_type=JPEG, meta=meta))
        return made

    def _run_report(self, step: Step, work: Work) -> StepResult:
        source = Source.from_json(dict(work.claim.video.source or {}))
        params = AnalysisParams.model_validate(step.params["params"])
        told = measured(source, step.params["measured"])
        assert told.findings is not None, "every frame was looked at"
        pictures, names, warnings = self._shot_pictures(source, told.findings, step.params, params.thumbnails, work)
        shown = report("deep", source, told.findings, told.levels, params, names)
        made = self._publish(shown, "analysis", "analysis.json", work, primary=True)
        path = draw_timeline(
            timeline(source, told.findings, told.levels, params, self._strip(step.params["pictures"], work)),
            work.scratch / "timeline.png",
        )
        drawn = work.publish(path, kind="timeline", name=path.name, content_type=PNG, primary=True)
        return StepResult(
            output={"kind": "report", "key": made.key, "timeline_key": drawn.key, "shots": len(shown["shots"])},
            artifacts=(made, drawn, *pictures),
            message=f"{len(shown['shots'])} shots",
            warnings=tuple(warnings),
        )

    def _shot_pictures(
        self, source: Source, found: Findings, asked: Json, most: int, work: Work
    ) -> tuple[list[NewArtifact], dict[int, str], list[str]]:
        """Give each shot a picture: a key frame within it that is there already, else the frame in its middle."""
        made: list[NewArtifact] = []
        names: dict[int, str] = {}
        warnings: list[str] = []
        location = str(work.locate(work.claim.video.key))
        for number, (first, end) in enumerate(pictured(source, found, most), 1):
            inside = [one for one in asked["pictures"] if first <= one["frame"] < end]
            if inside:
                names[first] = min(inside, key=lambda one: abs(2 * one["frame"] - first - end))["name"]
                continue
            frame, path = (first + end) // 2, work.scratch / f"shot-{number:03d}.jpg"
            try:
                finished = exact_still(
                    location, source, frame, path, ffmpeg=self.tools.ffmpeg, scratch=work.scratch,
                    limits=self.measuring.limits, stop=work.stop,
                )  # fmt: skip
            except MediaProblem as problem:
                warnings.append(f"No picture of the shot at {seconds(source, first):g} s: {problem.detail}")
                continue
            work.command(finished.argv)
            meta = {"start_frame": first, "frame": frame, "at_s": seconds(source, frame)}
            made.append(work.publish(path, kind="thumbnail", name=path.name, content_type=JPEG, meta=meta))
            names[first] = path.name
        return made, names, warnings

    def _strip(self, pictures: Sequence[Json], work: Work) -> list[tuple[float, Path]]:
        return [(float(one["at_s"]), work.fetch(one["key"], one["name"])) for one in pictures]

    def _publish(self, shown: Json, kind: str, name: str, work: Work, *, primary: bool = False) -> NewArtifact:
        path = work.scratch / name
        path.write_text(json.dumps(shown, ensure_ascii=False) + "\n")
        meta = {"version": shown["version"], "pass": shown["pass"], "shots": len(shown["shots"])}
        return work.publish(path, kind=kind, name=name, content_type=JSON_TYPE, meta=meta, primary=primary)


def wanted(params: AnalysisParams) -> Wanted:
    """Return what is measured by every frame."""
    return Wanted(
        chunk_s=params.chunk_s,
        silence_db=params.silence_db,
        silence_s=params.silence_s,
        audio_track=params.audio_track,
    )


def timeline(
    source: Source,
    found: Findings,
    levels: Levels | None,
    params: AnalysisParams,
    pictures: Sequence[tuple[float, Path]],
) -> Timeline:
    """Return what the picture shows."""
    video = source.video
    best = best_of(source, found, levels, params.highlights, params.highlight_min_s, params.highlight_max_s)
    shots = [(seconds(source, first), seconds(source, end)) for first, end, _ in shot_spans(source, found.cuts)]
    rate = f"{float(video.frame_rate):.2f}".rstrip("0").rstrip(".")
    facts = [
        f"{len(shots)} shots" if len(shots) > 1 else "1 shot",
        f"{video.width} × {video.height}",
        f"{rate} frames/s",
    ]
    if levels is not None and levels.integrated_lufs is not None:
        facts.append(f"{levels.integrated_lufs:.1f} LUFS, range {levels.range_lu:.1f} LU")
    return Timeline(
        title=f"Analysis of {clock(round(source.duration_s))}",
        facts="   ·   ".join(facts),
        duration_s=source.duration_s,
        shots=shots,
        stretch_s=found.stretch_s,
        loudness=levels.curve if levels is not None else [],
        integrated_lufs=levels.integrated_lufs if levels is not None else None,
        motion=found.motion,
        spans={
            "silence": levels.silence if levels is not None else [],
            "black": found.black,
            "frozen": found.frozen,
        },
        highlights=[(one.start_s, one.end_s) for one in best],
        pictures=pictures,
    )


def _without_costs(output: Json) -> dict[str, Any]:
    """Return what was found without what it cost and where it comes from, which are others each time."""
    return {name: value for name, value in without_notes(output).items() if name != "cpu_s"}

"""What pictures and sound of a source measure, as steps that any pipeline may plan: equal ones have equal digests.

`frames` looks at every frame of a chunk, `sound` at the whole sound. What they find is in their outputs, no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from reelmill.jobs.model import Json, Step, StepResult, StepSpec
from reelmill.jobs.ports import Work
from reelmill.media import Limits, Source
from reelmill.media.encode import ClipSettings, audio_track
from reelmill.media.ffmpeg import version
from reelmill.media.findings import Chunk, Findings, chunk_findings, chunks, joined, shot_spans, stretch
from reelmill.media.highlights import Highlight, highlights, lively, loud
from reelmill.media.levels import Levels, measure_sound
from reelmill.media.measure import decode_frames
from reelmill.pipelines.base import Toolbox, digest

VERSION = "1"
CHUNK_S = 60.0  #: seconds of film that one step looks at
SILENCE_DB, SILENCE_S = -45.0, 0.5  #: what is taken for silence unless told


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is measured."""

    frames: bool = True
    sound: bool = True
    chunk_s: float = CHUNK_S
    silence_db: float = SILENCE_DB
    silence_s: float = SILENCE_S
    audio_track: int = 1


@dataclass(frozen=True)
class Measured:
    """What was measured: None of what wasn't asked for, or isn't there."""

    findings: Findings | None
    levels: Levels | None


class Measuring:
    """Plans, runs and reads the steps `frames` and `sound`."""

    def __init__(self, tools: Toolbox) -> None:
        self.tools = tools
        self.tool = f"measuring/{VERSION} ffmpeg/{version(tools.ffmpeg)}"
        self.limits = Limits(deadline_s=tools.step_deadline_s, resident_bytes=tools.memory_bytes)

    def count(self, source: Source, wanted: Wanted) -> int:
        """Return how many steps there will be. Raises ParamsInvalid."""
        return len(self._asked(source, wanted))

    def specs(self, source: Json, wanted: Wanted, tenant: str) -> list[StepSpec]:
        """Plan a stage's steps. Pure. Raises ParamsInvalid if there isn't the sound track."""
        inputs = [str(source["identity"])]
        return [
            StepSpec(
                index=index,
                kind=kind,
                params=asked,
                digest=digest(kind=kind, version=self.tool, params=asked, inputs=inputs, tenant=tenant),
            )
            for index, (kind, asked) in enumerate(self._asked(Source.from_json(dict(source)), wanted))
        ]

    def _asked(self, source: Source, wanted: Wanted) -> list[tuple[str, dict[str, Any]]]:
        track = audio_track(source, ClipSettings(audio_track=wanted.audio_track))
        asked: list[tuple[str, dict[str, Any]]] = []
        if wanted.frames:
            asked += [
                ("frames", {"start_frame": one.start_frame, "end_frame": one.end_frame, "first": one.first,
                            "last": one.last})
                for one in chunks(source, Fraction(wanted.chunk_s).limit_denominator(1_000_000))
            ]  # fmt: skip
        if wanted.sound and track is not None:
            about = {"audio_track": wanted.audio_track, "silence_db": wanted.silence_db, "silence_s": wanted.silence_s}
            asked.append(("sound", {**about, "stretch_s": stretch(source.duration_s)}))
        return asked

    def run(self, step: Step, work: Work) -> StepResult:
        """Do one of the steps."""
        source = Source.from_json(dict(work.claim.video.source or {}))
        return self._sound(step, source, work) if step.kind == "sound" else self._frames(step, source, work)

    def _frames(self, step: Step, source: Source, work: Work) -> StepResult:
        chunk = Chunk(**{name: int(value) for name, value in step.params.items()})
        frames = chunk.last - chunk.first
        decoded = decode_frames(
            str(work.locate(work.claim.video.key)), source, chunk.first, chunk.last,
            ffmpeg=self.tools.ffmpeg, scratch=work.scratch, threads=self.tools.threads, limits=self.limits,
            stop=work.stop, on_progress=lambda progress: work.progress(min(1.0, progress.frame / frames)),
        )  # fmt: skip
        work.command(decoded.finished.argv)
        found = chunk_findings(source, chunk, decoded)
        cpu_s = round(decoded.finished.cpu_s, 3)
        message = f"Frames {chunk.start_frame} to {chunk.end_frame - 1} are measured"
        return StepResult(output={"kind": "frames", **found, "cpu_s": cpu_s}, message=message)

    def _sound(self, step: Step, source: Source, work: Work) -> StepResult:
        asked = step.params
        track = audio_track(source, ClipSettings(audio_track=asked["audio_track"]))
        assert track is not None, "without sound, nothing is planned for it"
        levels, finished = measure_sound(
            str(work.locate(work.claim.video.key)), source, track, asked["stretch_s"],
            silence=(asked["silence_db"], asked["silence_s"]),
            ffmpeg=self.tools.ffmpeg, scratch=work.scratch, limits=self.limits, stop=work.stop,
            on_progress=lambda progress: work.progress(min(1.0, progress.out_s / source.duration_s)),
        )  # fmt: skip
        work.command(finished.argv)
        output = {"kind": "sound", "levels": told(levels), "cpu_s": round(finished.cpu_s, 3)}
        return StepResult(output=output, message="The sound is measured")


def measured(source: Source, outputs: Sequence[Json]) -> Measured:
    """Read what the steps found. Pure."""
    parts = [one for one in outputs if one.get("kind") == "frames"]
    sound = next((one["levels"] for one in outputs if one.get("kind") == "sound"), None)
    return Measured(joined(source, parts) if parts else None, levels_of(sound) if sound else None)


def told(levels: Levels) -> dict[str, Any]:
    """Return levels as JSON; `levels_of` takes it back."""
    return {
        "integrated_lufs": levels.integrated_lufs,
        "range_lu": levels.range_lu,
        "true_peak_dbtp": levels.true_peak_dbtp,
        "curve": list(levels.curve),
        "silence": [list(span) for span in levels.silence],
    }


def levels_of(data: Mapping[str, Any]) -> Levels:
    return Levels(**{**data, "silence": [(start, end) for start, end in data["silence"]]})


def best_of(
    source: Source, found: Findings, levels: Levels | None, count: int, least_s: float, most_s: float
) -> list[Highlight]:
    """Return a film's highlights, best first."""
    return highlights(
        loud(levels.curve, levels.integrated_lufs) if levels is not None else None,
        lively(found.motion),
        found.stretch_s,
        source.duration_s,
        [seconds(source, first) for first, _, _ in shot_spans(source, found.cuts)],
        count=count,
        least_s=least_s,
        most_s=most_s,
    )


def seconds(source: Source, frame: int) -> float:
    """Return when a frame begins, seconds from the first; the number of frames stands for the end."""
    ticks, video = source.frame_ticks(), source.video
    tick = ticks[frame] if frame < len(ticks) else video.end_tick
    return round(float((tick - ticks[0]) * video.time_base), 6)

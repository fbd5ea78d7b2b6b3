"""The report of an analysis, `analysis.json`: its fields, and how it is made of what was measured. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from reelmill.media import Source
from reelmill.media.findings import Findings, field_order, shot_spans
from reelmill.media.levels import Levels
from reelmill.pipelines.analysis.params import AnalysisParams
from reelmill.pipelines.measuring import best_of, seconds

VERSION = 1
Passes = Literal["quick", "deep"]


class Told(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Span(Told):
    """A part of the film."""

    start_s: float = Field(description="Seconds from the first frame.")
    end_s: float = Field(description="Exclusive.")


class Shot(Span):
    """What was filmed at one go."""

    start_frame: int
    end_frame: int = Field(description="The first frame that isn't in it any more.")
    score: float | None = Field(description="0–1: how sure the cut is that begins it; null for the first shot.")
    thumbnail: str | None = Field(None, description="Name of the artifact with its picture.")


class Loudness(Told):
    """By EBU R 128; null where there is nothing to hear."""

    integrated_lufs: float | None
    range_lu: float | None
    true_peak_dbtp: float | None = Field(description="Only in the deep pass.")
    curve: list[tuple[float, float]] = Field(
        description="[seconds, LUFS]: the mean from there to the next; at least -70."
    )


class Motion(Told):
    curve: list[tuple[float, float]] = Field(
        description="[seconds, value]: by how much brightness changes, in percent of black to white per second; cuts "
        "left out."
    )


class Why(Told):
    loudness: float | None = Field(description="0–1: by the film's own loudness; null without sound.")
    motion: float = Field(description="0–1: 0.5 is the film's median.")


class ToldHighlight(Span):
    score: float = Field(description="0–1: the mean of what `why` tells.")
    why: Why


class Interlaced(Told):
    flagged: bool = Field(description="What the file says of itself.")
    measured: Literal["progressive", "tff", "bff", "mixed", "unknown"] = Field(
        description="What the pictures show: top or bottom field first. `unknown` in the quick pass."
    )
    frames: dict[str, int] = Field(description="How many frames were taken for what.")


class Sound(Told):
    codec: str
    sample_rate: int = Field(description="Hz.")
    channels: int
    layout: str
    language: str | None


class Technical(Told):
    """What the probe found."""

    container: str
    size_bytes: int | None
    bit_rate: int | None = Field(description="Of the whole file, bit/s.")
    video_codec: str
    width: int = Field(description="Pixels as displayed.")
    height: int
    pixel_format: str
    rotation: int
    hdr: bool
    variable_frame_rate: bool
    frame_count: int
    key_frames: int
    longest_gop_s: float = Field(description="Longest distance of key frames, seconds.")
    audio_tracks: list[Sound]


class AnalysisReport(Told):
    """What an analysis found. Times in seconds from the first frame."""

    version: Literal[1] = Field(1, description="Of this schema; fields may be added to it, none change their meaning.")
    passed: Passes = Field(alias="pass", description="`quick`: by key frames alone; `deep`: by every frame.")
    duration_s: float
    frame_rate: str = Field(description="Frames per second as an exact fraction, `30000/1001`.")
    shots: list[Shot] = Field(description="All of the film, without gap. Quick: begins are those of key frames.")
    black: list[Span]
    frozen: list[Span] = Field(description="The picture stands still.")
    silence: list[Span] | None = Field(description="null in the quick pass, and without sound.")
    loudness: Loudness | None = Field(description="null without sound.")
    motion: Motion
    highlights: list[ToldHighlight] = Field(description="Best first.")
    suggested_clips: list[Span] = Field(description="The same in the film's order, as `cuts` of the pipeline `clips`.")
    interlaced: Interlaced
    technical: Technical


def report(
    passed: Passes,
    source: Source,
    found: Findings,
    levels: Levels | None,
    params: AnalysisParams,
    pictures: Mapping[int, str],
) -> dict[str, Any]:
    """Return the report as JSON. pictures: names of thumbnails by the first frame of their shot."""
    length_s = found.stretch_s
    best = best_of(source, found, levels, params.highlights, params.highlight_min_s, params.highlight_max_s)
    shots = shot_spans(source, found.cuts)
    told = AnalysisReport(
        **{"pass": passed},  # a word of Python's
        duration_s=round(source.duration_s, 6),
        frame_rate=str(source.video.frame_rate),
        shots=[
            Shot(
                start_s=seconds(source, first), end_s=seconds(source, end), start_frame=first, end_frame=end,
                score=score, thumbnail=pictures.get(first),
            )
            for first, end, score in shots
        ],
        black=_spans(found.black),
        frozen=_spans(found.frozen),
        silence=_spans(levels.silence) if levels is not None and passed == "deep" else None,
        loudness=None if levels is None else Loudness(
            integrated_lufs=levels.integrated_lufs,
            range_lu=levels.range_lu,
            true_peak_dbtp=levels.true_peak_dbtp,
            curve=[(n * length_s, lufs) for n, lufs in enumerate(levels.curve)],
        ),
        motion=Motion(curve=[(n * length_s, value) for n, value in enumerate(found.motion)]),
        highlights=[
            ToldHighlight(
                start_s=one.start_s, end_s=one.end_s, score=one.score,
                why=Why(loudness=one.loudness, motion=one.motion),
            )
            for one in best
        ],
        suggested_clips=_spans(sorted((one.start_s, one.end_s) for one in best)),
        interlaced=Interlaced(
            flagged=source.video.interlaced, measured=field_order(found.fields), frames=found.fields
        ),
        technical=_technical(source),
    )  # fmt: skip
    return told.model_dump(mode="json", by_alias=True)


def pictured(source: Source, found: Findings, most: int) -> list[tuple[int, int]]:
    """Return the shots that get a picture, first frame and end: the longest ones, in the film's order."""
    shots = [(first, end) for first, end, _ in shot_spans(source, found.cuts)]
    return sorted(sorted(shots, key=lambda shot: (shot[0] - shot[1], shot[0]))[:most])


def _spans(spans: Sequence[tuple[float, float]]) -> list[Span]:
    return [Span(start_s=start, end_s=end) for start, end in spans]


def _technical(source: Source) -> Technical:
    video = source.video
    keys = [*source.keyframe_ticks(), video.end_tick]
    size = source.size_bytes
    return Technical(
        container=source.container,
        size_bytes=size,
        bit_rate=round(8 * size / source.duration_s) if size and source.duration_s else None,
        video_codec=video.codec,
        width=video.width,
        height=video.height,
        pixel_format=video.pixel_format,
        rotation=video.rotation,
        hdr=video.hdr,
        variable_frame_rate=video.is_vfr,
        frame_count=video.frame_count,
        key_frames=len(keys) - 1,
        longest_gop_s=round(max((float((b - a) * video.time_base) for a, b in pairwise(keys)), default=0.0), 3),
        audio_tracks=[
            Sound(codec=one.codec, sample_rate=one.sample_rate, channels=one.channels, layout=one.layout,
                  language=one.language)
            for one in source.audio_tracks
        ],
    )  # fmt: skip

"""A third-party pipeline that makes a real adaptive stream: MP4s, HLS of one fMP4 file each, a poster, thumbnails."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from reelmill.jobs.model import Json, Stage, Step, StepResult, StepSpec
from reelmill.jobs.ports import Work
from reelmill.pipelines.base import Toolbox, digest

FPS = 25
BANDWIDTHS = {90: 200_000, 180: 500_000, 360: 900_000, 720: 2_500_000}
CODECS = "avc1.42c01e,mp4a.40.2"


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    heights: list[int] = Field(default_factory=lambda: [90, 180], min_length=1)
    mp4: bool = Field(True, description="Also each rendition as one MP4.")
    poster: bool = True
    foreign: str = Field("", description="A defect to try: a URI that the master names, too.")


class HlsLadder:
    name = "hls_ladder"
    version = "1.0"
    title = "Make an adaptive stream"
    stages = (Stage("encode", 90), Stage("publish", 10))
    Params = Params

    def __init__(self, tools: Toolbox) -> None:
        self.tools = tools

    def plan(
        self, stage: str, source: Json, params: Params, done: Mapping[str, Sequence[Json]], tenant: str
    ) -> list[StepSpec]:
        told: list[dict[str, Any]] = [
            {"height": height, "mp4": params.mp4, "poster": params.poster and n == 0}
            for n, height in enumerate(params.heights)
        ]
        if stage == "publish":
            told = [{"variants": [dict(one) for one in done["encode"]], "foreign": params.foreign}]
        return [
            StepSpec(
                index=i,
                kind=stage,
                params=each,
                digest=digest(
                    kind=stage, version=self.version, params=each, inputs=[source["identity"]], tenant=tenant
                ),
            )
            for i, each in enumerate(told)
        ]

    def preview(self, source: Json, params: Params) -> Json:
        return {"steps": len(params.heights) + 1}

    def run(self, step: Step, work: Work) -> StepResult:
        return self._encode(step, work) if step.stage == "encode" else self._publish(step, work)

    def _encode(self, step: Step, work: Work) -> StepResult:
        height, scratch = step.params["height"], work.scratch
        mp4 = scratch / f"{height}p.mp4"
        self._ffmpeg(
            "-i", work.locate(work.claim.video.key), "-vf", f"scale=-2:{height}", "-c:v", "libx264", "-preset",
            "ultrafast", "-profile:v", "baseline", "-pix_fmt", "yuv420p", "-r", FPS, "-g", FPS, "-keyint_min", FPS,
            "-sc_threshold", 0, "-c:a", "aac", "-ac", 2, "-ar", 48000, "-movflags", "+faststart", mp4,
        )  # fmt: skip
        media = scratch / f"{height}p.m3u8"
        self._ffmpeg(
            "-i", mp4, "-c", "copy", "-f", "hls", "-hls_time", 1, "-hls_playlist_type", "vod", "-hls_segment_type",
            "fmp4", "-hls_flags", "single_file", "-hls_segment_filename", scratch / f"{height}p.m4s", media,
        )  # fmt: skip
        assert "EXT-X-BYTERANGE" in media.read_text()
        durations = re.findall(r"#EXTINF:([0-9.]+)", media.read_text())
        size = {"width": round(height * 16 / 9 / 2) * 2, "height": height}
        about = {
            **size,
            "quality": f"{height}p",
            "bandwidth": BANDWIDTHS[height],
            "codecs": CODECS,
            "video_codec": "h264",
            "audio_codec": "aac",
            "frame_rate": str(Fraction(FPS)),
            "duration_s": round(sum(map(float, durations)), 3),
        }
        made = [
            work.publish(
                media.with_suffix(".m4s"), kind="hls_segment", name=f"hls/{height}p.m4s", content_type="video/mp4"
            ),
            work.publish(
                media, kind="hls_media", name=f"hls/{height}p.m3u8", content_type="application/vnd.apple.mpegurl",
                meta=about,
            ),
        ]  # fmt: skip
        if step.params["poster"]:
            poster = scratch / "poster.jpg"
            self._ffmpeg("-i", mp4, "-frames:v", 1, "-vf", "scale=640:-2", poster)
            made.append(work.publish(poster, kind="poster", name="poster.jpg", content_type="image/jpeg"))
        if step.params["mp4"]:
            made.append(
                work.publish(
                    mp4, kind="rendition", name=mp4.name, content_type="video/mp4", meta=about, primary=True
                )
            )  # fmt: skip
        return StepResult(output=about, artifacts=tuple(made))

    def _publish(self, step: Step, work: Work) -> StepResult:
        lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
        for one in step.params["variants"]:
            lines += [
                f"#EXT-X-STREAM-INF:BANDWIDTH={one['bandwidth']},RESOLUTION={one['width']}x{one['height']},"
                f'FRAME-RATE={FPS}.000,CODECS="{one["codecs"]}"',
                f"hls/{one['quality']}.m3u8",
            ]
        if step.params["foreign"]:
            lines += ["#EXT-X-STREAM-INF:BANDWIDTH=1", step.params["foreign"]]
        path = work.scratch / "master.m3u8"
        path.write_text("\n".join(lines) + "\n")
        made = work.publish(
            path, kind="hls_master", name=path.name, content_type="application/vnd.apple.mpegurl"
        )  # fmt: skip
        return StepResult(output={}, artifacts=(made,))

    def _ffmpeg(self, *words: object) -> None:
        command = [str(self.tools.ffmpeg), "-nostdin", "-v", "error", "-y", *map(str, words)]
        subprocess.run(command, check=True, timeout=120, cwd=Path(str(words[-1])).parent)

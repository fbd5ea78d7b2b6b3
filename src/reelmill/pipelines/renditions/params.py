"""What a user may ask of `renditions`. API, CLI, docs and UI are made from this schema."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from reelmill.media.stills import Corner
from reelmill.pipelines.declared import Declared, PresetName

Height = Literal[360, 480, 720, 1080, 1440, 2160]
Format = Literal["mp4", "hls"]
Seconds = Annotated[float, Field(allow_inf_nan=False)]
UploadId = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F-]{36}$")]


class SideProxyParams(Declared):
    """A proxy beside the sizes: H.264, made of the same decoding."""

    height: int = Field(
        480, ge=64, le=4320, multiple_of=2, description="Shorter side of the proxy in pixels; never enlarged."
    )
    frame_rate: float = Field(
        10.0, ge=0.5, le=120, allow_inf_nan=False,
        description="Frames per second, at even times; a source that has fewer keeps its own.",
    )  # fmt: skip
    crf: int = Field(23, ge=0, le=51, description="Constant rate factor of the proxy: lower is better and larger.")


class WatermarkParams(Declared):
    """A picture in a corner of all sizes; proxy, poster, thumbnails and storyboard are without it."""

    video_id: UploadId = Field(description="An uploaded picture of the same tenant: PNG, JPEG or WebP.")
    corner: Corner = Field("bottom_right", description="Where it lies.")
    margin_pct: Seconds = Field(
        3.0, ge=0, le=25, description="Distance from both edges, in % of the film's shorter side."
    )
    width_pct: Seconds = Field(
        15.0, ge=1, le=100, description="Its width in % of the film's; less where it would reach beyond the margins."
    )
    opacity: Seconds = Field(0.8, gt=0, le=1, description="1 hides what is below, but where the picture is clear.")


class RenditionsParams(Declared):
    """Make a film in several sizes, as MP4 and for adaptive streaming, with poster, thumbnails and storyboard."""

    heights: list[Height] = Field(
        default=[720, 1080], min_length=1, max_length=6,
        description="Sizes by their shorter side in pixels: 720 is 1280×720, of an upright film 720×1280. Those above "
        "the source are left out; if all are, its own size is made.",
    )  # fmt: skip
    formats: list[Format] = Field(
        default=["mp4", "hls"], min_length=1, max_length=2,
        description="`mp4`: a file for each size, with sound. `hls`: playlists, and a fragmented MP4 for each size and "
        "for the sound.",
    )  # fmt: skip
    preset: PresetName = Field("veryfast", description="The encoder's effort, by x264's names.")
    crf: int = Field(23, ge=0, le=51, description="Constant rate factor of H.264: lower is better and larger.")
    gop_s: Seconds = Field(
        2.0, ge=0.5, le=10, description="Distance of key frames in seconds; they are the same frames in all sizes."
    )
    segment_s: Seconds = Field(
        6.0, ge=1, le=30, description="Length of an HLS segment in seconds, in whole groups of pictures."
    )
    chunk_s: Seconds = Field(
        60.0, ge=4, le=3600, description="Length in seconds of the parts that workers encode at the same time."
    )
    audio_kbps: int = Field(128, ge=32, le=512, description="Bit rate of the sound, stereo AAC, in kbit/s.")
    audio_track: int = Field(1, ge=1, le=64, description="Which of the source's sound tracks, from 1.")
    loudness_lufs: Seconds | None = Field(
        None, ge=-70, le=-5,
        description="Loudness of the sound in LUFS, by EBU R 128 in two passes (-23 for broadcast, -16 for the web); "
        "null: as it is.",
    )  # fmt: skip
    poster_s: Seconds | None = Field(
        None, ge=0, le=86_400,
        description="Time of the poster in seconds from the first frame, to the nearest key frame; null: at a third.",
    )  # fmt: skip
    proxy: SideProxyParams | None = Field(
        None, description="A proxy too, beside the original as the pipeline `proxy` puts it; null for none."
    )
    watermark: WatermarkParams | None = Field(None, description="A picture on the film; null for none.")
    thumbnails: int = Field(5, ge=0, le=50, description="How many thumbnails, at even distances.")
    storyboard: bool = Field(True, description="Small pictures for a player's time bar: sprites with WebVTT.")
    storyboard_s: Seconds | None = Field(
        None, ge=0.5, le=600, description="Seconds from one picture of the storyboard to the next; null: 1 to 10, by "
        "the film's length.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _fitting(self) -> RenditionsParams:
        for name in ("heights", "formats"):
            if len(set(getattr(self, name))) != len(getattr(self, name)):
                raise ValueError(f"{name} has an entry twice")
        if self.chunk_s < self.gop_s or self.segment_s < self.gop_s:
            raise ValueError("chunk_s and segment_s must not be less than gop_s")
        return self

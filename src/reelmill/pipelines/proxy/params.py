"""What a user may ask of `proxy`. API, CLI, docs and UI are made from this schema."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from reelmill.media.codecs import Codec
from reelmill.pipelines.declared import Declared, PresetName


class ProxyParams(Declared):
    """Make a small film with few frames, for quick viewing and analysis."""

    height: int = Field(
        480, ge=64, le=4320, multiple_of=2,
        description="Shorter side in pixels: 480 is 854×480, of an upright film 480×854. Never enlarged.",
    )  # fmt: skip
    frame_rate: float = Field(
        10.0, ge=0.5, le=120, allow_inf_nan=False,
        description="Frames per second, at even times; a source that has fewer keeps its own.",
    )  # fmt: skip
    codec: Codec = Field("h264", description="Codec of the picture.")
    crf: int | None = Field(
        None, ge=0, le=63,
        description="Constant rate factor: lower is better and larger. null: 23 for h264, 26 for h265, 32 for av1, "
        "33 for vp9; h264 and h265 end at 51.",
    )  # fmt: skip
    preset: PresetName = Field("veryfast", description="The encoder's effort, by x264's names.")
    gop_s: float = Field(
        2.0, ge=0.1, le=60, allow_inf_nan=False, description="Longest distance of key frames in seconds."
    )
    audio_kbps: int = Field(64, ge=32, le=512, description="Bit rate of the sound, stereo AAC, in kbit/s.")
    decode: Literal["auto", "all"] = Field(
        "auto",
        description="`auto`: pictures that no other picture needs aren't decoded, where each time still has a frame of "
        "its own; that saves a quarter of the work, and a frame may be off by less than one of the proxy's. "
        "`all`: each frame is the one nearest to its time.",
    )

    @model_validator(mode="after")
    def _fitting(self) -> ProxyParams:
        if self.codec in ("h264", "h265") and (self.crf or 0) > 51:
            raise ValueError(f"crf of {self.codec} ends at 51")
        return self

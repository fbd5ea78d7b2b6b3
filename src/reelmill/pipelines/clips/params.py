"""What a user may ask of `clips`. API, CLI, docs and UI are made from this schema."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Color = Annotated[str, StringConstraints(pattern=r"^#[0-9A-Fa-f]{6}$")]
Position = Literal["top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right"]


class Declared(BaseModel):
    """Only what is declared exists: an unknown attribute raises, at construction and when set."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CuttingParams(Declared):
    """How the source is cut into segments."""

    kind: Literal["fixed"] = Field("fixed", description="`fixed`: equal lengths; the last segment keeps the rest.")
    duration_s: float = Field(30.0, ge=0.1, le=86_400, description="Length of a segment in seconds.")


class TextStrategy(StrEnum):
    """Where each clip's text comes from."""

    ONE_FOR_ALL = "one_for_all"


class TextParams(Declared):
    """The text drawn on every clip, all along."""

    strategy: TextStrategy = Field(TextStrategy.ONE_FOR_ALL, description="`one_for_all`: the same text on every clip.")
    text: str = Field(min_length=1, max_length=5000, description="The text; line breaks are kept.")
    position: Position = Field("bottom", description="Where the text stands in the picture.")
    size_pct: float = Field(6.0, ge=1, le=50, description="Font size in percent of the picture's shorter side.")
    min_size_pct: float = Field(2.5, ge=1, le=50, description="The text is shrunk to fit, but not below this size.")
    color: Color = Field("#FFFFFF", description="Colour of the letters.")
    outline_color: Color | None = Field("#000000", description="Colour of the outline; null for none.")
    outline_pct: float = Field(8.0, ge=0, le=25, description="Width of the outline in percent of the font size.")
    box_color: Color | None = Field(None, description="Colour of the box behind the text; null for none.")
    box_opacity: float = Field(0.6, ge=0, le=1, description="Opacity of the box.")
    box_padding_pct: float = Field(30.0, ge=0, le=200, description="Padding of the box in percent of the font size.")
    margin_pct: float = Field(5.0, ge=0, le=40, description="Distance from the edges in percent of the shorter side.")
    max_width_pct: float = Field(90.0, ge=10, le=100, description="Widest line in percent of the picture's width.")


class VideoParams(Declared):
    """How the clips are encoded: H.264 with AAC sound in MP4."""

    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"] = Field(
        "veryfast", description="x264's preset: slower ones make smaller files."
    )
    crf: int = Field(23, ge=0, le=40, description="x264's constant rate factor: lower is better and larger.")
    audio_kbps: int = Field(128, ge=32, le=512, description="Bit rate of the sound in kbit/s.")


class ClipsParams(Declared):
    """Cut a video into clips and put a text on each."""

    cutting: CuttingParams = Field(default_factory=CuttingParams, description="How the source is cut.")
    text: TextParams | None = Field(None, description="The text on the clips; null for none.")
    video: VideoParams = Field(default_factory=VideoParams, description="How the clips are encoded.")

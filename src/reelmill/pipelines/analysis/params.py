"""What a user may ask of `analysis`. API, CLI, docs and UI are made from this schema."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from reelmill.pipelines.declared import Declared
from reelmill.pipelines.measuring import CHUNK_S, SILENCE_DB, SILENCE_S

Seconds = Annotated[float, Field(allow_inf_nan=False)]


class AnalysisParams(Declared):
    """Find the shots of a film, and measure its pictures and its sound: soon by key frames, then by every frame."""

    audio_track: int = Field(1, ge=1, le=64, description="Which of the source's sound tracks, from 1.")
    silence_db: float = Field(
        SILENCE_DB, ge=-90, le=-10, allow_inf_nan=False,
        description="Sound below this level, in dB of full scale, is silence.",
    )  # fmt: skip
    silence_s: Seconds = Field(SILENCE_S, ge=0.1, le=60, description="Shortest silence that is told, in seconds.")
    highlights: int = Field(5, ge=0, le=50, description="How many highlights, at most.")
    highlight_min_s: Seconds = Field(3.0, ge=0.5, le=600, description="Shortest highlight in seconds.")
    highlight_max_s: Seconds = Field(15.0, ge=0.5, le=600, description="Longest highlight in seconds.")
    thumbnails: int = Field(
        24, ge=0, le=200, description="How many shots get a picture; of more shots, the longest ones. 0: none."
    )
    chunk_s: Seconds = Field(
        CHUNK_S, ge=4, le=600, description="Length in seconds of the parts that workers look at, at the same time."
    )

    @model_validator(mode="after")
    def _ordered(self) -> AnalysisParams:
        if self.highlight_min_s > self.highlight_max_s:
            raise ValueError(
                f"highlight_min_s, {self.highlight_min_s:g}, must not be more than highlight_max_s, "
                f"{self.highlight_max_s:g}"
            )
        return self

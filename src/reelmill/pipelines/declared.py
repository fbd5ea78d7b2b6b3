"""Words that several pipelines' parameters share."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

PresetName = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"]


class Declared(BaseModel):
    """Only what is declared exists, and only in its own type: "1" and true are no numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

"""A third-party pipeline of two passes over the source's bytes: `quick` reads its head, `deep` all of it in parts."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from reelmill.jobs.model import Json, Stage, Step, StepResult, StepSpec
from reelmill.jobs.ports import Work
from reelmill.pipelines.base import Toolbox, digest

PARTS = 2


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    head_bytes: int = Field(4096, ge=1, le=1 << 20)
    head_kind: str = Field("head", max_length=32, description="The kind of the quick pass's file.")


class TwoPass:
    name = "two_pass"
    version = "1.0"
    title = "Measure the source's bytes, twice"
    stages = (Stage("quick", 30), Stage("deep", 70))
    Params = Params

    def __init__(self, tools: Toolbox) -> None:
        self.tools = tools

    def plan(
        self, stage: str, source: Json, params: Params, done: Mapping[str, Sequence[Json]], tenant: str
    ) -> list[StepSpec]:
        told: dict[str, Any] = params.model_dump()
        return [
            StepSpec(
                index=i,
                kind=stage,
                params=told,
                digest=digest(
                    kind=stage, version=self.version, params=[told, i], inputs=[source["identity"]], tenant=tenant
                ),
            )
            for i in range(1 if stage == "quick" else PARTS)
        ]

    def preview(self, source: Json, params: Params) -> Json:
        return {"steps": 1 + PARTS}

    def run(self, step: Step, work: Work) -> StepResult:
        content = work.fetch(work.claim.video.key, "source").read_bytes()
        if step.stage == "quick":
            path = work.scratch / "head.bin"
            path.write_bytes(content[: step.params["head_bytes"]])
            head = work.publish(
                path, kind=step.params["head_kind"], name="head.bin", content_type="application/octet-stream"
            )
            return StepResult(output={"bytes": len(content)}, artifacts=(head,))
        part = content[step.index * len(content) // PARTS : (step.index + 1) * len(content) // PARTS]
        shares = [count / len(part) for count in Counter(part).values()]
        entropy = -sum(share * math.log2(share) for share in shares)
        path = work.scratch / "entropy.json"
        path.write_text(json.dumps({"bytes": len(part), "entropy_bits": entropy}))
        made = work.publish(
            path, kind="entropy", name=f"entropy-{step.index}.json", content_type="application/json", primary=True
        )
        return StepResult(output={"entropy_bits": entropy}, artifacts=(made,))

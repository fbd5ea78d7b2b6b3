"""A third-party pipeline, found through its entry point as any other: steps that really sleep and really write."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from reelmill.jobs.model import Json, Stage, Step, StepResult, StepSpec
from reelmill.jobs.ports import Work
from reelmill.pipelines.base import Toolbox, digest


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(4, ge=1, le=100)
    seconds: float = Field(0.3, ge=0, le=60)
    same_name: bool = Field(False, description="A defect to try: all files get one name.")
    size_bytes: int = Field(4096, ge=1, le=1 << 24)


class SlowWriter:
    name = "slow_writer"
    version = "1.0"
    title = "Write files, slowly"
    stages = (Stage("write", 80), Stage("join", 20))
    Params = Params

    def __init__(self, tools: Toolbox) -> None:
        self.tools = tools

    def plan(
        self, stage: str, source: Json, params: Params, done: Mapping[str, Sequence[Json]], tenant: str
    ) -> list[StepSpec]:
        count = params.steps if stage == "write" else 1
        told: dict[str, Any] = params.model_dump(exclude={"steps"})
        if stage == "join":
            told["parts"] = [part["sha256"] for part in done["write"]]
        return [
            StepSpec(
                index=i,
                kind=stage,
                params=told,
                digest=digest(kind=stage, version=self.version, params=[told, i], inputs=[], tenant=tenant),
            )
            for i in range(count)
        ]

    def preview(self, source: Json, params: Params) -> Json:
        return {"steps": params.steps + 1}

    def run(self, step: Step, work: Work) -> StepResult:
        ticks = max(1, int(step.params["seconds"] / 0.02))
        for tick in range(ticks):
            work.stop.wait(0.02)
            work.progress(tick / ticks)
        path = work.scratch / "out.bin"
        block = hashlib.sha256(f"{step.kind}:{step.index}".encode()).digest()
        path.write_bytes((block * (step.params["size_bytes"] // len(block) + 1))[: step.params["size_bytes"]])
        name = "same.bin" if step.params["same_name"] else f"{step.kind}-{step.index}.bin"
        made = work.publish(
            path, kind=step.kind, name=name, content_type="application/octet-stream", primary=step.kind == "join"
        )
        return StepResult(output={"sha256": made.sha256}, artifacts=(made,))

"""What was made before isn't made again: a step takes over the results of an earlier one of the same digest.

Asked by the worker that has claimed the step, in place of its run: files are copied within the store to this attempt's
own keys, checked, and recorded as this step's own. So nothing is shared: either job may go without the other.

What a pipeline promises of the kinds of steps that it names in `reusable`:
- the digest covers all that decides the result, and holds neither the job nor its keys;
- files are published, not kept; none names another's key inside;
- the output and the files follow from what the digest covers. Where a file's name or `meta` tell the step's place in
  the job, the pipeline has `placed(step, artifact)`, which returns an earlier file as this step has it;
- where the output and the files' `meta` tell a key, the key is the whole value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog

from reelmill.errors import StorageProblem
from reelmill.jobs.model import REUSED_FROM, Artifact, Step, StepResult
from reelmill.jobs.ports import JobStore, Pipeline
from reelmill.jobs.work import StepWork

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.reuse")

WARNED = "warned"  #: in a reusable step's output: what it warned of, for those that take it over


def is_reusable(pipeline: Pipeline, step: Step) -> bool:
    """Tell whether a pipeline, which may be anybody's, offers this kind of step for reuse."""
    return step.kind in getattr(pipeline, "reusable", ())


def with_warnings(result: StepResult) -> StepResult:
    """Keep the warnings with the output: whoever takes the result over has reason to give them, too."""
    return replace(result, output={**result.output, WARNED: list(result.warnings)}) if result.warnings else result


def made_before(store: JobStore, work: StepWork, pipeline: Pipeline) -> StepResult | None:
    """Return the result of an earlier step, its files copied; None when there is none whose files are still there.

    Raises Stopped.
    """
    claim = work.claim
    placed: Callable[[Step, Artifact], Artifact] = getattr(pipeline, "placed", lambda _, made: made)
    for step in store.made_before(claim.job.tenant, claim.step.digest):
        # Within one job two steps can't have files of one name.
        if step.job_id == claim.job.id or step.kind != claim.step.kind or step.output is None:
            continue
        made = [one for one in store.artifacts(step.job_id) if one.step_id == step.id]
        if any(one.place != "stored" for one in made) or "kept" in step.output:
            continue
        try:
            copies = [work.take_over(placed(claim.step, one)) for one in made]
        except StorageProblem as problem:  # gone, or damaged, or the store is away: then it is run
            log.warning("not taken over", earlier=step.id, code=problem.code, detail=problem.detail)
            continue
        keys = {one.key: copy.key for one, copy in zip(made, copies, strict=True)}
        output = {**_renamed(step.output, keys), REUSED_FROM: step.id}
        return StepResult(
            output=output,
            artifacts=tuple(replace(copy, meta=_renamed(copy.meta, keys)) for copy in copies),
            message="Taken over from an earlier job",
            warnings=tuple(step.output.get(WARNED, ())),
        )
    return None


def _renamed(value: Any, keys: Mapping[str, str]) -> Any:
    """Return a JSON value with keys of the earlier step's files replaced by those of the copies."""
    if isinstance(value, Mapping):
        return {name: _renamed(one, keys) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(one, keys) for one in value]
    return keys.get(value, value) if isinstance(value, str) else value

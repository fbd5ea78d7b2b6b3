"""What a pipeline makes of a job: its parameters, its stages and their steps, and the ring that tells workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from pydantic import BaseModel, ValidationError

from reelmill.errors import (
    DatabaseUnavailable,
    PictureGiven,
    PipelineUnknown,
    ReelmillError,
    StorageUnavailable,
    TooManySteps,
    TransitionRefused,
    UploadNeeded,
)
from reelmill.jobs.endings import tell_end
from reelmill.jobs.lifecycle import CLAIMABLE, Event, StepStatus
from reelmill.jobs.material import check_pictures
from reelmill.jobs.model import Job, Json, Stage, Step, StepSpec
from reelmill.jobs.params import invalid_params
from reelmill.jobs.ports import (
    UNOBSERVED,
    Branded,
    BrandStore,
    Dispatcher,
    Failure,
    JobStore,
    Observer,
    Opening,
    Pipeline,
)

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.jobs")


class Planner:
    """Plans jobs by the installed pipelines, and takes them from stage to stage."""

    def __init__(
        self,
        *,
        store: JobStore,
        pipelines: Mapping[str, Pipeline],
        dispatcher: Dispatcher,
        max_steps: int = 2000,
        observer: Observer = UNOBSERVED,
        brands: BrandStore | None = None,
    ) -> None:
        self.store = store
        self.pipelines = pipelines
        self.dispatcher = dispatcher
        self.max_steps = max_steps
        self.observer = observer
        self.on_end: Callable[[Job], None] = lambda _: None  #: called after a job has ended here
        self.brands = brands

    def pipeline(self, name: str) -> Pipeline:
        """Raises PipelineUnknown."""
        if name not in self.pipelines:
            raise PipelineUnknown(f"There is no pipeline {name!r}; there are: {', '.join(sorted(self.pipelines))}.")
        return self.pipelines[name]

    def checked(self, pipeline: Pipeline, params: Json, tenant: str | None = None) -> BaseModel:
        """Return validated parameters. Raises ParamsInvalid, with each field's fault in `errors`.

        tenant: of a new job, whose presets may be named, and whose pictures are looked for; those of a job that there
        is hold them already.
        """
        if tenant is not None and self.brands is not None and isinstance(pipeline, Branded):
            params = pipeline.branded(params, lambda kind, name: self._kept(tenant, kind, name))
        try:
            checked = pipeline.Params.model_validate(params)
        except ValidationError as error:
            raise invalid_params(error, params) from error
        if tenant is not None and (pictures := getattr(pipeline, "pictures", None)) is not None:
            check_pictures(self.store, tenant, pictures(checked))
        return checked

    def _kept(self, tenant: str, kind: str, name: str) -> Json | None:
        kept = self.brands.find_brand(tenant, kind, name) if self.brands is not None else None
        return kept.data if kept is not None else None

    def previewed(self, pipeline: Pipeline, params: BaseModel, source: Json | None, found: Sequence[Json] = ()) -> Json:
        """Return what a job would make. Raises UploadNeeded, PictureGiven, ParamsInvalid, TooManySteps.

        found: outputs of its first stage, where its preview hangs on them and they are there already.
        """
        if source is None:
            raise UploadNeeded
        if source.get("still"):
            raise PictureGiven
        if source.get("generated", pipeline.name) != pipeline.name and "video" not in source:
            raise UploadNeeded("This video is still being generated: wait until its job is completed.")
        try:
            preview = pipeline.preview(source, params, found) if found else pipeline.preview(source, params)  # type: ignore[call-arg]
        except TooManySteps as many:  # a pipeline's own cap, which spares it planning them
            raise TooManySteps(f"{many.detail} At most {self.max_steps} are allowed.") from many
        if preview["steps"] > self.max_steps:
            raise TooManySteps(f"The job would have {preview['steps']} steps; at most {self.max_steps} are allowed.")
        return preview

    def opening(self, job: Job, source: Json) -> Opening:
        """Return the first stage of a job that hasn't begun. Raises ParamsInvalid, TooManySteps."""
        pipeline = self.pipeline(job.pipeline)
        params = self.checked(pipeline, job.params)
        self.previewed(pipeline, params, source)
        return self.first_stage(pipeline, params, source, job.tenant)

    def first_stage(self, pipeline: Pipeline, params: BaseModel, source: Json, tenant: str) -> Opening:
        """Raises ParamsInvalid, TextDoesNotFit."""
        first = stages_of(pipeline, params)[0].name
        return Opening(first, tuple(pipeline.plan(first, source, params, {}, tenant)))

    # ── queued, and on ────────────────────────────────────────────────────────────────────────

    def tell_queued(self, job: Job) -> None:
        self.observer.count("jobs_queued", pipeline=job.pipeline)
        log.info(
            "job queued", job_id=job.id, pipeline=job.pipeline, run=job.run, stage=job.stage, steps=job.steps_planned
        )

    def ring(self, job_id: str, ready: Sequence[Step | StepSpec]) -> None:
        for queue, count in Counter(step.queue for step in ready).items():
            self.dispatcher.ring(count, job_id=job_id, queue=queue)

    def begin(self, job: Job, opening: Opening) -> None:
        """Let workers know of a job that was queued just now."""
        self.tell_queued(job)
        if opening.specs:
            self.ring(job.id, opening.specs)
        else:
            self.advance(job)

    def advance(self, job: Job) -> None:
        """Open the next stage of a job whose present stage has no open step, or finish it. Repeatable.

        A stage that can't be planned fails the job with the reason. Raises DatabaseUnavailable.
        """
        while job.status in CLAIMABLE and job.stage is not None:
            names = [stage.name for stage in job.stages]
            rest = names[names.index(job.stage) + 1 :]
            steps = self.store.steps(job.id)
            if any(step.status in (StepStatus.READY, StepStatus.RUNNING) for step in steps):
                return
            if not rest:
                with suppress(TransitionRefused):  # somebody else finished it, or it was cancelled
                    ended = self.store.apply(job.id, Event.FINISH, run=job.run)
                    tell_end(self.observer, ended)
                    self.on_end(ended)
                return
            done: dict[str, list[Json]] = {name: [] for name in names}
            for step in steps:
                if step.status is StepStatus.DONE:
                    done[step.stage].append(step.output or {})
            try:
                opening = self._plan(job, rest[0], done)
            except DatabaseUnavailable:  # no fault of the job's: the sweeper finds it again
                raise
            except StorageUnavailable as error:  # neither: a font couldn't be fetched
                log.warning("a stage's planning is put off", job_id=job.id, code=error.code, detail=error.detail)
                return
            except ReelmillError as error:
                with suppress(TransitionRefused):
                    failure = Failure(error.code, error.detail)
                    tell_end(self.observer, self.store.apply(job.id, Event.FAIL, run=job.run, failure=failure))
                return
            opened = self.store.open_stage(job.id, run=job.run, after=job.stage, opening=opening)
            if opened is None:
                return
            if opening.specs:
                self.ring(job.id, opening.specs)
                return
            job = opened  # an empty stage: go on to the next

    def _plan(self, job: Job, stage: str, done: Mapping[str, Sequence[Json]]) -> Opening:
        pipeline = self.pipeline(job.pipeline)
        source = self.store.video(job.video_id).source
        assert source is not None, "a job with a stage has an uploaded video"
        params: Any = self.checked(pipeline, job.params)
        specs = tuple(pipeline.plan(stage, source, params, done, job.tenant))
        if len(specs) > self.max_steps:  # known only now, where an earlier stage found how many there are
            raise TooManySteps(
                f"The stage {stage} would have {len(specs)} steps; at most {self.max_steps} are allowed."
            )
        return Opening(stage, specs)


def stages_of(pipeline: Pipeline, params: BaseModel) -> tuple[Stage, ...]:
    """Return a job's stages: a pipeline with `stages_for(params)` has others for some parameters."""
    chosen = getattr(pipeline, "stages_for", None)
    return pipeline.stages if chosen is None else tuple(chosen(params))

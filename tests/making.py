"""Videos, jobs and steps for tests, made through the store's own port, and raw looks at its tables."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from reelmill.jobs.lifecycle import Event, StepEvent
from reelmill.jobs.model import Claim, Job, Json, NewArtifact, Stage, StepResult, StepSpec, Video
from reelmill.jobs.ports import Failure, JobStore, NewJob, NewVideo, Opening, Outcome
from reelmill.stores.sql import SqlStore

ONE_STAGE = (Stage("render", 100),)
THREE_STAGES = (Stage("text", 10), Stage("render", 80), Stage("publish", 10))
PROBE = {"duration_s": 60.0, "width": 640, "height": 360}
BROKEN = Failure("encode_failed", "ffmpeg ended with 1.")


def new_id() -> str:
    return str(uuid.uuid4())


def opening(stage: str = "render", n: int = 1, *, optional: Iterable[int] = ()) -> Opening:
    """A stage of `n` steps; those in `optional` may fail."""
    may_fail = set(optional)
    return Opening(
        stage,
        tuple(
            StepSpec(
                index=i,
                kind=stage,
                params={"part": i},
                digest=hashlib.sha256(f"{stage}{i}".encode()).hexdigest(),
                optional=i in may_fail,
            )
            for i in range(n)
        ),
    )


def new_video(*, tenant: str = "acme", labels: Mapping[str, str] | None = None, ttl_s: float = 86400.0) -> NewVideo:
    video_id = new_id()
    return NewVideo(
        id=video_id,
        tenant=tenant,
        user_id="ann",
        filename="holiday.mp4",
        content_type="video/mp4",
        size_bytes=1_000,
        sha256=None,
        key=f"{tenant}/original/{video_id}",
        labels=dict(labels or {}),
        upload_ttl_s=ttl_s,
    )


def new_job(
    video_id: str,
    *,
    tenant: str = "acme",
    stages: tuple[Stage, ...] = ONE_STAGE,
    priority: int = 0,
    pipeline: str = "clips",
) -> NewJob:
    return NewJob(
        id=new_id(),
        video_id=video_id,
        tenant=tenant,
        user_id="ann",
        pipeline=pipeline,
        pipeline_version="1",
        params={"length_s": 30.0, "texts": ["Grüße"]},
        stages=stages,
        priority=priority,
        correlation_id="c-1",
    )


def make_video(
    store: JobStore, *, tenant: str = "acme", labels: Mapping[str, str] | None = None, upload: bool = True
) -> Video:
    """A video without jobs, uploaded unless told otherwise."""
    video, _ = store.add_video(new_video(tenant=tenant, labels=labels))
    if upload:
        store.uploaded(video.id, PROBE, None, None)
    return store.video(video.id)


def make_waiting(
    store: JobStore, *, tenant: str = "acme", stages: tuple[Stage, ...] = ONE_STAGE, ttl_s: float = 86400.0
) -> tuple[Video, Job]:
    """A video that awaits its upload, with its job."""
    video = new_video(tenant=tenant, ttl_s=ttl_s)
    made, job = store.add_video(video, new_job(video.id, tenant=tenant, stages=stages))
    assert job is not None
    return made, job


def make_job(
    store: JobStore,
    n: int = 1,
    *,
    video_id: str | None = None,
    tenant: str = "acme",
    stages: tuple[Stage, ...] = ONE_STAGE,
    priority: int = 0,
    pipeline: str = "clips",
    optional: Iterable[int] = (),
) -> Job:
    """A queued job whose first stage has `n` ready steps."""
    video_id = video_id or make_video(store, tenant=tenant).id
    wanted = new_job(video_id, tenant=tenant, stages=stages, priority=priority, pipeline=pipeline)
    return store.add_job(wanted, opening(stages[0].name, n, optional=optional))


def claim_one(store: JobStore, worker_id: str = "w1", *, lease_s: float = 60.0) -> Claim:
    (claim,) = store.claim(worker_id, limit=1, lease_s=lease_s)
    return claim


def artifact(claim: Claim, name: str | None = None) -> NewArtifact:
    name = name or f"clip-{claim.step.index:04d}.mp4"
    return NewArtifact(
        kind="clip",
        name=name,
        key=f"{claim.job.tenant}/{claim.job.id}/{name}-r{claim.run}a{claim.attempt}",
        size_bytes=10,
        sha256="0" * 64,
        content_type="video/mp4",
        meta={"start_s": 0.5},
        primary=True,
    )


def done(output: Json | None = None, artifacts: Sequence[NewArtifact] = ()) -> Outcome:
    return Outcome(event=StepEvent.FINISH, result=StepResult(output=output or {}, artifacts=tuple(artifacts)))


def ended(event: StepEvent, *, failure: Failure | None = BROKEN, delay_s: float = 0.0) -> Outcome:
    return Outcome(event=event, failure=failure, delay_s=delay_s)


def finish_open_steps(store: JobStore, worker_id: str = "w1", *, output: Json | None = None) -> int:
    """Claim and finish until nothing is left; return how many steps that were."""
    count = 0
    while claims := store.claim(worker_id, limit=16, lease_s=60.0):
        for claim in claims:
            store.close(claim, done(output))
            count += 1
    return count


def complete(store: JobStore, job: Job) -> Job:
    """Finish the steps of a one-stage job, and the job."""
    finish_open_steps(store)
    return store.apply(job.id, Event.FINISH, run=store.job(job.id).run)


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Do all of it at the same moment, each in a thread; return what each returned or raised, in order."""
    together = threading.Barrier(len(acts))
    results: list[Any] = [None] * len(acts)

    def run(number: int) -> None:
        together.wait()
        try:
            results[number] = acts[number]()
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# ── Raw looks and changes, past the port ──────────────────────────────────────────────────────


def query(store: SqlStore, sql: str, **values: Any) -> list[dict[str, Any]]:
    with store.engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.text(sql), values).mappings()]


def execute(store: SqlStore, sql: str, **values: Any) -> None:
    with store.engine.connect().execution_options(writing=True) as connection, connection.begin():
        connection.execute(sa.text(sql), values)


def db_clock(store: SqlStore, back_s: float = 0.0) -> str:
    """SQL for the database's own clock, `back_s` seconds ago."""
    if store.engine.dialect.name == "sqlite":
        return f"strftime('%Y-%m-%dT%H:%M:%fZ','now','-{back_s} seconds')"
    return f"(clock_timestamp() - interval '{back_s} seconds')"


def db_now(store: JobStore) -> datetime:
    return store.clock()


def to_moment(stamp: datetime | str) -> datetime:
    """A stamp as a raw query returns it: text on SQLite."""
    return (stamp if isinstance(stamp, datetime) else datetime.fromisoformat(stamp)).astimezone(UTC)

"""A job's life as server-sent events: nothing is missed, nothing comes twice, and a reader may resume."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from reelmill.api.access import Guarded, JobId, Platform, Who, identify, needs
from reelmill.errors import DatabaseUnavailable, KeyInvalid, KeyMissing, NotFound
from reelmill.jobs.feed import Feed
from reelmill.jobs.lifecycle import ENDED
from reelmill.jobs.model import Job, JobEvent
from reelmill.jobs.watch import Watch

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"], route_class=Guarded)

KEEP_ALIVE_S = 15.0
CHECK_S = 2.0  #: so often an open stream's key is looked up again: a revoked one stops within 5 s
RETRY_MS = 2000
Seq = Annotated[int | None, Query(ge=0, lt=1 << 31, description="Only events after this one.")]
LastSeen = Annotated[
    int | None,
    Header(alias="Last-Event-ID", ge=0, lt=1 << 31, description="As `after`; browsers send it by themselves."),
]

all_routes = APIRouter(prefix="/api/v1/events", tags=["jobs"], route_class=Guarded)
ALL = {
    "description": (
        "`ready` once, then a `job` event for each job that has changed: `data` is its present state in short. "
        "Nothing is replayed: after a break, read the lists again."
    ),
    "content": {"text/event-stream": {}},
}

STREAM = {
    "description": (
        "`id` is the event's seq, `event` its type, `data` JSON. `progress` events have no id. "
        "The stream ends after the event that ends the job."
    ),
    "content": {"text/event-stream": {}},
}


@router.get(
    "/{job_id}/events",
    response_class=Response,
    responses={200: STREAM, 204: {"description": "The job has ended and there is nothing (more) to tell."}},
)
@needs("jobs:read", NotFound)
def job_events(
    request: Request, app: Platform, who: Who, job_id: JobId, after: Seq = None, last_event_id: LastSeen = None
) -> Response:
    """Follow a job: its events from the first (or after the last seen one), then as they happen."""
    job = app.store.job(job_id, who.tenant)
    seen = last_event_id if last_event_id is not None else after or 0
    if job.status in ENDED and (seen >= job.last_seq or job.events_removed_at is not None):
        return Response(status_code=204)  # tells a browser's EventSource not to come again
    return StreamingResponse(
        stream(app.feed, job_id, seen, lambda: _still_welcome(request)),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


@all_routes.get("", response_class=Response, responses={200: ALL})
@needs("jobs:read")
def all_events(
    request: Request,
    app: Platform,
    who: Who,
    for_s: Annotated[float | None, Query(ge=0, le=86_400, description="End the stream after so many seconds.")] = None,
) -> Response:
    """Follow all jobs at once, as a list that stays fresh does."""
    return StreamingResponse(
        changes(app.watch, who.tenant, lambda: _still_welcome(request), for_s),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def changes(
    watch: Watch, tenant: str, welcome: Callable[[], Awaitable[bool]], for_s: float | None = None
) -> AsyncIterator[str]:
    """Yield the jobs that change as text/event-stream, as long as the reader is `welcome`."""
    loop = asyncio.get_running_loop()
    bell = asyncio.Event()
    waiting: dict[str, Job] = {}  # what a slow reader didn't fetch is replaced by newer

    def take(jobs: list[Job]) -> None:
        waiting.update({job.id: job for job in jobs})
        bell.set()

    def listen(jobs: list[Job]) -> None:
        with suppress(RuntimeError):  # the loop has ended before the watch did
            loop.call_soon_threadsafe(take, jobs)

    with watch.follow(tenant, listen):
        yield f"retry: {RETRY_MS}\nevent: ready\ndata: {{}}\n\n"
        spoken = checked = loop.time()
        end = None if for_s is None else loop.time() + for_s
        while end is None or loop.time() < end:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(checked + CHECK_S if end is None else min(end, checked + CHECK_S)):
                    await bell.wait()
            if loop.time() >= checked + CHECK_S:
                if not await welcome():
                    return
                checked = loop.time()
            if bell.is_set():
                bell.clear()
                jobs = list(waiting.values())
                waiting.clear()
                spoken = loop.time()
                yield "".join(_changed(job) for job in jobs)
            elif loop.time() >= spoken + KEEP_ALIVE_S:
                spoken = loop.time()
                yield ": keep-alive\n\n"


def _changed(job: Job) -> str:
    job = job.shown()
    data = {
        "job_id": job.id,
        "video_id": job.video_id,
        "pipeline": job.pipeline,
        "status": job.status,
        "stage": job.stage,
        "progress_pct": job.progress_pct,
        "message": job.message,
        "run": job.run,
    }
    return f"event: job\ndata: {json.dumps(data)}\n\n"


async def _still_welcome(request: Request) -> bool:
    """Tell whether the key or cookie that opened a stream would still open one."""
    try:
        await identify(request)
    except (KeyMissing, KeyInvalid):
        return False
    except DatabaseUnavailable:
        pass  # there are no events either, until it is back
    return True


async def stream(feed: Feed, job_id: str, seen: int, welcome: Callable[[], Awaitable[bool]]) -> AsyncIterator[str]:
    """Yield the events after `seen` as text/event-stream, until the job has ended or its reader isn't `welcome`."""
    loop = asyncio.get_running_loop()
    bell = asyncio.Event()
    waiting: list[JobEvent] = []
    latest: Job | None = None

    def take(events: list[JobEvent], job: Job) -> None:
        nonlocal latest
        waiting.extend(events)
        latest = job  # progress that a slow reader didn't fetch is replaced by newer
        bell.set()

    def listen(events: list[JobEvent], job: Job) -> None:
        with suppress(RuntimeError):  # the loop has ended before the feed did
            loop.call_soon_threadsafe(take, events, job)

    yield f"retry: {RETRY_MS}\n\n"
    spoken = checked = loop.time()
    with feed.follow(job_id, seen, listen):
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(checked + CHECK_S):
                    await bell.wait()
            if loop.time() >= checked + CHECK_S:
                if not await welcome():
                    return
                checked = loop.time()
            if not bell.is_set():
                if loop.time() >= spoken + KEEP_ALIVE_S:
                    spoken = loop.time()
                    yield ": keep-alive\n\n"
                continue
            spoken = loop.time()
            bell.clear()
            events, waiting[:] = list(waiting), []
            job = latest
            assert job is not None, "the bell rings after a job was given"
            if events:
                seen = events[-1].seq
                yield "".join(_event(event) for event in events)
            yield _progress(job)
            if job.status in ENDED and seen >= job.last_seq:
                return


def _event(event: JobEvent) -> str:
    data = {"seq": event.seq, "type": event.type, "at": event.created_at.isoformat(), **event.data}
    return f"id: {event.seq}\nevent: {event.type}\ndata: {json.dumps(data)}\n\n"


def _progress(job: Job) -> str:
    job = job.shown()
    data = {
        "status": job.status,
        "stage": job.stage,
        "progress_pct": job.progress_pct,
        "message": job.message,
        "run": job.run,
    }
    return f"event: progress\ndata: {json.dumps(data)}\n\n"

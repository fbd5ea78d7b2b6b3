"""The reading half of the DynamoDB store. Single items and what hangs on a job are read as they are now; listings
come from an index, which may be some milliseconds behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any, TypeVar

from reelmill.errors import NotFound
from reelmill.jobs.lifecycle import CLAIMABLE, ENDED, Status, StepStatus
from reelmill.jobs.model import Artifact, Attempt, Job, JobEvent, Page, Step, Video
from reelmill.stores import rows
from reelmill.stores.dynamo import items, moves
from reelmill.stores.dynamo.core import Core
from reelmill.stores.dynamo.items import PLANNED, Item, is_opened
from reelmill.stores.dynamo.usage import usage_of

T = TypeVar("T")
COUNTED_MOST = 1000  #: jobs before one in the queue


class Reads(Core):
    """What can be asked; see `jobs.ports.JobStore` for each method's promise."""

    def video(self, video_id: str, tenant: str | None = None) -> Video:
        return self._video(video_id, tenant)[0]

    def video_at(self, key: str, tenant: str) -> Video:
        owner = self.table.get(f"key#{key}", "key")
        try:
            return self.video(owner["id"] if owner is not None else "-", tenant)
        except NotFound:
            raise NotFound(f"There is no upload {key}.") from None

    def job(self, job_id: str, tenant: str | None = None) -> Job:
        job = self.table.get(job_id, "job")
        if job is None or tenant not in (None, job["tenant"]):
            raise NotFound(f"There is no job {job_id}.")
        return items.to_job(job)

    def video_and_job(self, video_id: str) -> tuple[Video, Job | None]:
        video, driver = self._video(video_id, None)
        return video, items.to_job(driver) if driver is not None else None

    def _video(self, video_id: str, tenant: str | None) -> tuple[Video, Item | None]:
        video = self.table.get(video_id, "video")
        if video is None or tenant not in (None, video["tenant"]):
            raise NotFound(f"There is no video {video_id}.")
        driver_id = video["processing_job_id"]
        driver = self.table.get(driver_id, "job") if driver_id is not None else None
        return items.to_video(video, driver), driver

    def videos_of(self, ids: Iterable[str]) -> dict[str, Video]:
        """Return those of the videos that are there, by id."""
        found = self.table.get_many((video_id, "video") for video_id in ids)
        return {video.id: video for video in self._driven(found.values())}

    def _driven(self, videos: Iterable[Item]) -> list[Video]:
        videos = list(videos)
        drivers = self.table.get_many((v["processing_job_id"], "job") for v in videos if v["processing_job_id"])
        return [items.to_video(video, drivers.get((video["processing_job_id"], "job"))) for video in videos]

    def videos(
        self,
        tenant: str,
        *,
        processing_status: str | None = None,
        upload_status: str | None = None,
        labels: Mapping[str, str] | None = None,
        older_than_s: float | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Video]:
        having: dict[Any, Any] = {("labels", name): value for name, value in (labels or {}).items()}
        if upload_status is not None:
            having["upload_status"] = upload_status
        found = self.table.index(
            "by_list", f"video#{tenant}", before=page_before(cursor), forward=False, limit=limit + 1, having=having
        )
        # The drivers, not the videos, know how the processing goes; they are asked for by the page.
        driven = chain.from_iterable(self._driven(some) for some in batches(found, limit + 1))
        latest = None if older_than_s is None else self.table.clock.at() - timedelta(seconds=older_than_s)
        wanted = (
            v
            for v in driven
            if processing_status in (None, v.processing_status) and (latest is None or v.created_at < latest)
        )
        return page_of(wanted, limit)

    def jobs(
        self,
        tenant: str,
        *,
        status: Status | None = None,
        pipeline: str | None = None,
        video_id: str | None = None,
        error_code: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        labels: Mapping[str, str] | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Job]:
        before = page_before(cursor)
        given = {"status": status, "pipeline": pipeline}
        having = {name: value for name, value in given.items() if value is not None}
        if video_id is None:
            found: Iterable[Item] = self.table.index(
                "by_list", f"job#{tenant}", before=before, forward=False, limit=limit + 1, having=having
            )
        else:
            of_video = self.table.query(
                video_id, "job#", before=f"job#{before}" if before else "", forward=False, limit=limit + 1
            )
            read = chain.from_iterable(self._jobs(j["id"] for j in some) for some in batches(of_video, limit + 1))
            having["tenant"] = tenant
            found = (job for job in read if all(job[name] == value for name, value in having.items()))
        read_jobs = (
            job
            for job in map(items.to_job, found)
            if error_code in (None, job.error_code)
            and (created_after is None or job.created_at >= created_after)
            and (created_before is None or job.created_at < created_before)
        )
        return page_of(self._labelled(read_jobs, labels, limit + 1) if labels else read_jobs, limit)

    def _labelled(self, found: Iterator[Job], labels: Mapping[str, str], size: int) -> Iterator[Job]:
        """Yield the jobs whose videos have these labels, asking for the videos by the page."""
        while some := list(islice(found, size)):
            videos = self.videos_of({job.video_id for job in some})
            for job in some:
                if job.video_id in videos and labels.items() <= videos[job.video_id].labels.items():
                    yield job

    def jobs_by_id(self, ids: Sequence[str]) -> list[Job]:
        return [items.to_job(job) for job in self._jobs(ids)]

    def _jobs(self, ids: Iterable[str]) -> list[Item]:
        wanted = list(ids)
        found = self.table.get_many((job_id, "job") for job_id in wanted)
        return [found[job_id, "job"] for job_id in wanted if (job_id, "job") in found]

    def steps(self, job_id: str, stage: str | None = None) -> list[Step]:
        return [items.to_step(step) for step in self._steps(job_id) if stage in (None, step["stage"])]

    def _steps(self, job_id: str) -> list[Item]:
        """Return the steps of the stages that were opened, in order."""
        job = self.table.get(job_id, "job")
        if job is None:
            return []
        seen = [step for step in self.table.query(job_id, "step#") if step["status"] != PLANNED or is_opened(job, step)]
        return sorted(seen, key=lambda step: (step["stage_no"], step["index"]))

    def attempts(self, job_id: str) -> list[Attempt]:
        present = [
            {**step["history"], "stage_no": step["stage_no"], "index": step["index"]}
            for step in self.table.query(job_id, "step#")
            if step["history"] is not None
        ]
        earlier = [item["history"] for item in self.table.query(job_id, "attempt#")]
        by_attempt = {(r["stage_no"], r["index"], r["attempt"]): r for r in [*earlier, *present]}
        return [items.to_attempt(by_attempt[place]) for place in sorted(by_attempt)]

    def artifacts(self, job_id: str) -> list[Artifact]:
        # The steps first: what a done step has published was there before.
        steps = {step["id"]: step for step in self.table.query(job_id, "step#")}
        made = [one for one in self.table.query(job_id, "artifact#") if counts(one, steps.get(one["step_id"]))]
        return [items.to_artifact(one) for one in sorted(made, key=lambda a: (a["stage_no"], a["index"], a["name"]))]

    def events_after(self, after: Mapping[str, int], limit: int = 500) -> list[JobEvent]:
        # The jobs first: what is in no outbox then, has an item of its own.
        jobs = self.table.get_many((job_id, "job") for job_id in after)
        found: list[JobEvent] = []
        for job_id, seq in sorted(after.items()):
            job = jobs.get((job_id, "job"))
            if job is not None and job["last_seq"] > seq and len(found) < limit:
                found += islice(self._events(job, seq), limit - len(found))
        return found

    def _events(self, job: Item, after: int) -> Iterator[JobEvent]:
        waiting = dict(self.outbox(job))
        if after + 1 not in waiting:
            for item in self.table.query(job["id"], "event#", after=items.event_key(after)):
                seq = int(item["sk"].removeprefix("event#"))
                if seq != after + 1:
                    break
                yield items.to_event(job["id"], seq, item["data"])
                after = seq
        for seq in sorted(waiting):
            if seq == after + 1:
                yield items.to_event(job["id"], seq, waiting[seq])
                after = seq

    def stalled(self, limit: int = 100) -> list[Job]:
        jobs = self._jobs(mark["pk"] for mark in islice(self.table.index("by_turn", "stalled"), limit))
        return [items.to_job(job) for job in jobs if job["status"] in CLAIMABLE and not moves.is_open(job)]

    def unswept(self, limit: int = 100) -> list[Job]:
        jobs = self._jobs(mark["pk"] for mark in islice(self.table.index("by_watch", "unswept"), limit))
        return [items.to_job(job) for job in jobs if job["status"] in ENDED and job["swept_at"] is None]

    def left_multiparts(self, limit: int = 100) -> list[Video]:
        left = self.videos_of(mark["pk"] for mark in islice(self.table.index("by_watch", "left parts"), limit))
        return [video for video in left.values() if video.multipart_id is not None]

    def queue_position(self, job_id: str) -> int | None:
        job = self.table.get(job_id, "job")
        if job is None or job["status"] != Status.QUEUED:
            return None
        usage, mine = self.usages(), job["tenant"]
        rank = items.rank(job["priority"])

        def ahead(tenant: str) -> int:
            if tenant == mine:
                before: str = job["watch_at"]
            else:
                is_first = (usage[tenant], tenant) < (usage[mine], mine)
                before = f"{rank}~" if is_first else f"{rank}#"  # with those of this priority, or without
            return self.table.count("by_watch", items.queued(tenant), before, COUNTED_MOST)

        counted: list[int] = self.table.each(ahead, list(usage))
        return min(sum(counted), COUNTED_MOST)

    def usages(self) -> dict[str, float]:
        """Return what each tenant that ever had a step has used, as the logarithm that `stores/lanes.py` tells of."""
        return {tenant["sk"]: usage_of(tenant, self.at()) for tenant in self.table.query("tenants")}


def counts(artifact: Item, step: Item | None) -> bool:
    """Whether an artifact is one of its step's: the step is done by the attempt that published it."""
    if step is None or step["status"] != StepStatus.DONE:
        return False
    return bool((step["attempt"], step["redos"]) == (artifact["attempt"], artifact["redos"]))


def page_before(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    moment, row_id = rows.read_cursor(cursor)
    return f"{items.stamp(moment)}#{row_id}"


def batches(found: Iterable[T], size: int) -> Iterator[list[T]]:
    found = iter(found)
    while some := list(islice(found, size)):
        yield some


def page_of(found: Iterable[Any], limit: int) -> Page[Any]:
    """Take one page of nouns, newest first."""
    shown = list(islice(found, limit + 1))
    last = shown[limit - 1] if len(shown) > limit else None
    return Page(tuple(shown[:limit]), rows.write_cursor(last.created_at, last.id) if last is not None else None)

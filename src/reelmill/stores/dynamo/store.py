"""The store in one DynamoDB table: what users do to videos and jobs. `work.py` has what workers do.

DynamoDB's own transactions aren't used. Each method decides by one guarded write of one item; what follows in other
items is left to `settle`, which runs at once, and again by the sweeper when the process died in between.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from reelmill.errors import NotFound, TableUnfit, TransitionRefused, UploadNeeded
from reelmill.jobs.lifecycle import ENDED, Event, StepStatus, UploadStatus
from reelmill.jobs.model import Job, Json, Video
from reelmill.jobs.ports import Failure, NewJob, NewVideo, Opening
from reelmill.stores.dynamo import items, moves
from reelmill.stores.dynamo.core import Events, writing
from reelmill.stores.dynamo.figures import DynamoFigures
from reelmill.stores.dynamo.items import Item
from reelmill.stores.dynamo.place import read_place
from reelmill.stores.dynamo.spool import Spooled
from reelmill.stores.dynamo.table import Table
from reelmill.stores.dynamo.usage import Usage
from reelmill.stores.dynamo.work import Leases, Work
from reelmill.stores.dynamo.workers import Workers

OPEN_UPLOADS = (UploadStatus.AWAITING, UploadStatus.EXPIRED)  # may still be completed


def open_store(url: str, on_commit: Callable[[], None] | None = None) -> DynamoStore:
    """Return the store behind `dynamodb://table?…`. The table is first touched by the first call.

    on_commit: called after each write, in the writer's thread; must be quick. Raises SettingInvalid.
    """
    return DynamoStore(Table(read_place(url)), on_commit)


class DynamoStore(Work, Spooled, Workers, DynamoFigures):
    """JobStore on DynamoDB."""

    def __init__(self, table: Table, on_commit: Callable[[], None] | None = None) -> None:
        super().__init__(table, on_commit)
        self.leases = Leases(table.clock.ticks)
        self.usage = Usage(self)

    def close_engine(self) -> None:
        """Give all connections back."""
        self.table.close()

    def clock(self) -> datetime:
        with suppress(TableUnfit):
            self.table.get("clock", "-")
        return self.table.clock.at()

    # ── uploads ───────────────────────────────────────────────────────────────────────────────

    @writing
    def add_video(self, video: NewVideo, job: NewJob | None = None) -> tuple[Video, Job | None]:
        self._take_key(video)
        at = self.at()
        new = items.new_video(video, at, at + timedelta(seconds=video.upload_ttl_s), job)
        items.place_video(new)
        self.table.add(new)
        if self._owner_of(video.key) != video.id:  # somebody thought that we had died
            self.table.remove(video.id, "video")
            raise TransitionRefused("There is a video of this key already.")
        self.settle_video(video.id)
        return self.video_and_job(video.id)

    def _take_key(self, video: NewVideo) -> None:
        """Let the key be this video's. A key whose video never came is of a process that died, and is taken over."""
        mine = Item(pk=f"key#{video.key}", sk="key", id=video.id)
        if self.table.add(Item(mine)):
            return

        def take(there: Item, _: datetime) -> bool:
            if self.table.get(there["id"], "video") is not None:
                return False
            there["id"] = video.id
            return True

        owner = self.change(mine["pk"], "key", take)
        if owner is None or owner["id"] != video.id:
            raise TransitionRefused("There is a video of this key already.")

    def _owner_of(self, key: str) -> str | None:
        owner = self.table.get(f"key#{key}", "key")
        return owner["id"] if owner is not None else None

    @writing
    def uploaded(self, video_id: str, source: Json, job_id: str | None, then: Opening | Failure | None) -> Job | None:
        intent: dict[str, Any] | None = None
        if job_id is not None and then is not None:
            self.settle_video(video_id)
            job = self.read_job(job_id)
            if not moves.takes_upload(job):
                raise TransitionRefused("The job doesn't wait for this upload any more.", status=job["status"])
            if isinstance(then, Opening):
                self.plan(job, then, job["epoch"] + 1, self.at())
                intent = {"do": "queue", "job_id": job_id, "stage": then.stage, "steps": len(then.specs),
                          "plan": items.plan_of(then)}  # fmt: skip
            else:
                intent = {"do": "fail", "job_id": job_id, "code": then.code, "detail": then.detail}

        def record(video: Item, at: datetime) -> bool:
            if video["upload_status"] not in OPEN_UPLOADS:
                raise TransitionRefused("The upload was recorded before.")
            video.update(upload_status=UploadStatus.UPLOADED, source=dict(source), uploaded_at=at, intent=intent)
            return True

        self._decide(video_id, record)
        return items.to_job(self.read_job(job_id)) if intent is not None and job_id is not None else None

    @writing
    def became(self, video_id: str, *, source: Json, size_bytes: int, sha256: str) -> None:
        def record(video: Item, at: datetime) -> bool:
            if video["upload_status"] != UploadStatus.UPLOADED:
                raise NotFound(f"There is no video {video_id}.")
            video.update(source=dict(source), size_bytes=size_bytes, sha256=sha256, uploaded_at=at)
            return True

        self.change_video(video_id, record)

    @writing
    def reject_upload(
        self, video_id: str, job_id: str | None, failure: Failure, upload_status: UploadStatus | None
    ) -> Job | None:
        intent = {"do": "fail", "job_id": job_id, "code": failure.code, "detail": failure.detail}

        def reject(video: Item, _: datetime) -> bool:
            if video["upload_status"] not in OPEN_UPLOADS:
                raise TransitionRefused("The upload was recorded or rejected before.")
            video["upload_status"] = upload_status or video["upload_status"]
            video["intent"] = intent if job_id is not None else None
            return True

        self._decide(video_id, reject)
        return items.to_job(self.read_job(job_id)) if job_id is not None else None

    @writing
    def set_multipart(self, video_id: str, *, was: str | None, to: str | None, upload_ttl_s: float = 86400.0) -> Video:
        def replace(video: Item, at: datetime) -> bool:
            wants = to is None or video["upload_status"] in OPEN_UPLOADS
            if video["multipart_id"] != was or not wants:
                raise TransitionRefused("The upload's parts were begun anew, or it wants no bytes any more.")
            video["multipart_id"] = to
            if to is not None:
                if video["upload_status"] == UploadStatus.EXPIRED:
                    video["upload_expires_at"] = at + timedelta(seconds=upload_ttl_s)
                video["upload_status"] = UploadStatus.AWAITING
            return True

        self._decide(video_id, replace)
        return self.video(video_id)

    @writing
    def abort_upload(self, video_id: str) -> tuple[Video, Job | None]:
        def abort(video: Item, _: datetime) -> bool:
            if video["upload_status"] not in (*OPEN_UPLOADS, UploadStatus.ABORTED):
                raise TransitionRefused("The upload was completed or rejected before.")
            driver = video["processing_job_id"]
            video["upload_status"] = UploadStatus.ABORTED
            video["intent"] = {"do": "cancel", "job_id": driver} if driver is not None else None
            return True

        self._decide(video_id, abort)
        return self.video_and_job(video_id)

    def _decide(self, video_id: str, act: Callable[[Item, datetime], bool]) -> None:
        """Change a video, and let its job follow. Raises TransitionRefused when there is no such video."""
        try:
            self.change_video(video_id, act)
        except NotFound:
            raise TransitionRefused("There is no such video.") from None
        self.settle_video(video_id)

    def expire_uploads(self, limit: int = 100) -> list[Job]:
        failure = Failure("upload_expired", "The upload wasn't completed in time.")
        expired = []
        overdue = self.table.index("by_watch", "awaiting", before=items.stamp(self.at()))
        for mark in list(islice(overdue, limit)):
            video = self.table.get(mark["pk"], "video")
            if video is None:
                continue
            try:
                job = self.reject_upload(video["id"], video["processing_job_id"], failure, UploadStatus.EXPIRED)
            except TransitionRefused:
                continue  # it was completed after all
            if job is not None:
                expired.append(job)
        return expired

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────

    @writing
    def add_job(self, job: NewJob, opening: Opening) -> Job:
        video = self.table.get(job.video_id, "video")
        if video is None or video["tenant"] != job.tenant:
            raise NotFound(f"There is no video {job.video_id}.")
        if video["upload_status"] != UploadStatus.UPLOADED:
            raise UploadNeeded
        at = self.at()
        new = items.new_job(items.new_job_document(job), at, opening)
        new["due"] = 1
        items.place_job(new)
        self.table.add(self.plan(new, opening, new["epoch"], at))
        return items.to_job(self.settle(job.id))

    @writing
    def apply(
        self,
        job_id: str,
        event: Event,
        *,
        run: int | None = None,
        failure: Failure | None = None,
        opening: Opening | None = None,
    ) -> Job:
        match event:
            case Event.FINISH:
                return items.to_job(self._finish(job_id, run))
            case Event.FAIL:
                reason = failure or Failure("internal_error", "The job failed without a reason.")
                self.change_job(job_id, lambda job, at: moves.fail(job, run, reason, at))
            case Event.CANCEL:
                self.change_job(job_id, lambda job, at: moves.cancel(job, run, at))
            case Event.RETRY:
                self._retry(job_id, run, opening)
            case _:
                raise TransitionRefused(f"'{event}' isn't applied by hand.")
        return items.to_job(self.settle(job_id))

    def _finish(self, job_id: str, run: int | None) -> Item:
        job = self.read_job(job_id)
        moves.guard(job, Event.FINISH, run)
        if moves.is_open(job):
            self.settle(job_id)  # a worker may have died before it told the job of a step's end
        keys = [artifact.key for artifact in self.artifacts(job_id) if artifact.primary]
        return self.change_job(job_id, lambda job, at: moves.finish(job, run, keys, at))

    def _retry(self, job_id: str, run: int | None, opening: Opening | None) -> None:
        job = self.read_job(job_id)
        moves.guard(job, Event.RETRY, run)
        video = self.table.get(job["video_id"], "video")
        if video is None or video["upload_status"] != UploadStatus.UPLOADED:
            raise UploadNeeded
        self.settle_video(job["video_id"])
        job = self.settle(job_id)  # no step of the run before is open, and the job knows of every end
        steps = list(self.table.query(job_id, "step#"))
        if opening is not None:
            job = self.plan(job, opening, job["epoch"] + 1, self.at())

        def again(now_job: Item, at: datetime) -> Events:
            moves.guard(now_job, Event.RETRY, run)
            if (now_job["epoch"], now_job["redos"]) != (job["epoch"], job["redos"]):
                raise TransitionRefused("The job was retried or went back just now.", status=now_job["status"])
            return moves.retry(now_job, run, steps, opening, at)

        self.change_job(job_id, again)

    @writing
    def open_stage(self, job_id: str, *, run: int, after: str, opening: Opening) -> Job | None:
        job = self.read_job(job_id)
        if moves.next_stage(Item(job), run, after, opening) is None:
            return None  # for a step's end that the job wasn't told of, the sweeper comes again
        job = self.plan(job, opening, job["epoch"], self.at())
        opened: list[Events] = []

        def begin(now_job: Item, _: datetime) -> Events | None:
            opened.clear()
            if (now_job["epoch"], now_job["redos"]) != (job["epoch"], job["redos"]):
                return None
            events = moves.next_stage(now_job, run, after, opening)
            if events is not None:
                opened.append(events)
            return events

        self.change_job(job_id, begin)
        return items.to_job(self.settle(job_id)) if opened else None

    @writing
    def set_priority(self, job_id: str, priority: int, tenant: str | None = None) -> Job:
        self.change_job(job_id, lambda job, _: moves.set_priority(job, priority, tenant))
        return items.to_job(self.settle(job_id))

    @writing
    def mark_swept(self, job_id: str) -> None:
        def sweep(job: Item, at: datetime) -> Events | None:
            if job["status"] not in ENDED:
                return None
            job["swept_at"] = at
            return []

        with suppress(NotFound):
            self.change_job(job_id, sweep)

    @writing
    def forget(self, tenant: str, video_id: str) -> None:
        video = self.table.get(video_id, "video")
        if video is None or video["tenant"] != tenant:
            return
        jobs = [each["id"] for each in self.table.query(video_id, "job#")]
        for owner in [*jobs, video_id]:
            for item in list(self.table.query(owner)):
                if item["status"] == StepStatus.DONE:
                    self.forget_made(item)
                self.table.remove(item["pk"], item["sk"])
        self.table.remove(f"key#{video['key']}", "key", id=video_id)

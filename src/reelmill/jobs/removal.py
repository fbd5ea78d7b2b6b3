"""What goes: videos that their users delete, and what is kept for a limited time. Files go before the rows naming them.

The order is that of `stores/keeping.py`: the record says that something is gone, then the object is removed, then the
record forgets it. Whatever a crash leaves in between is found by the next sweep and removed once more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from reelmill.jobs.endings import tell_end
from reelmill.jobs.files import Files
from reelmill.jobs.keys import output_prefixes
from reelmill.jobs.lifecycle import ENDED, Status
from reelmill.jobs.model import Caller, Job, Video
from reelmill.jobs.ports import UNOBSERVED, AccessStore, JobStore, Keeping, Observer, Rules

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.removal")

DAY_S = 86_400.0
BATCH = 100  #: of each kind in one sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How long things are kept; 0: for ever."""

    sources_days: float = 0.0  #: from the upload
    outputs_days: float = 0.0  #: from the job's end; events too
    events_days: float = 0.0
    audit_days: float = 0.0
    undo_s: float = DAY_S  #: time in which a deleted video can be restored


class Removal:
    """Deletes and restores videos, and removes in small batches what is due."""

    def __init__(
        self,
        *,
        store: JobStore,
        keeping: Keeping,
        rules: Rules,
        access: AccessStore,
        files: Files,
        drop_parts: Callable[[Video], None],
        keep: Keep,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self.store = store
        self.keeping = keeping
        self.rules = rules
        self.access = access
        self.files = files
        self.drop_parts = drop_parts
        self.keep = keep
        self.observer = observer
        self.on_cancel: Callable[[], None] = lambda: None  #: called after jobs were cancelled, for workers here

    def delete(self, caller: Caller, video_id: str) -> Video:
        """Hide a video with its jobs and results at once; jobs in flight are cancelled. Raises NotFound."""
        flying = [job.id for job in self.keeping.jobs_of(video_id) if job.status not in ENDED]
        video = self.keeping.delete_video(video_id, caller.tenant, undo_s=self.keep.undo_s)
        for job in self.store.jobs_by_id(flying):
            if job.status is Status.CANCELLED:
                tell_end(self.observer, job)
        self.on_cancel()
        self.access.audit(caller, action="video.delete", target=video_id)
        return video

    def restore(self, caller: Caller, video_id: str) -> Video:
        """Show a deleted video again, as long as it can be. Jobs that it cancelled stay so. Raises NotFound."""
        video = self.keeping.restore_video(video_id, caller.tenant)
        self.access.audit(caller, action="video.restore", target=video_id)
        return video

    def sweep(self) -> bool:
        """Remove what is due, a batch of each kind; return whether there may be more. Raises StorageProblem."""
        batches = [self._purge(), self._expire_sources()]
        if self.keep.outputs_days:  # the sweep of ended jobs removes their files: no row names them any more
            batches.append(len(self.keeping.expire_outputs(self.keep.outputs_days * DAY_S, BATCH)))
        if self.keep.events_days:
            batches.append(self.keeping.expire_events(self.keep.events_days * DAY_S, BATCH))
        if self.keep.audit_days:
            batches.append(self.rules.expire_audit(self.keep.audit_days * DAY_S, BATCH))
        return max(batches) >= BATCH

    def _purge(self) -> int:
        """Remove the files of deleted videos, then their rows: only these know what there is to remove."""
        doomed = self.keeping.doomed_videos(BATCH)
        for video in doomed:
            self.drop_parts(video)
            self.files.objects.delete(video.key)
            for job in self.keeping.jobs_of(video.id):
                self._remove_outputs(job, video.key)
            self.store.forget(video.tenant, video.id)
            log.info("video purged", video_id=video.id)
        return len(doomed)

    def _remove_outputs(self, job: Job, source: str) -> None:
        """Remove a job's files, in storage and in the spool of this machine; other spools drop what no job names."""
        for place in (self.files.spool, self.files.objects):
            if place is not None:
                for prefix in output_prefixes(job, source):
                    for key in list(place.keys(prefix)):
                        place.delete(key)

    def _expire_sources(self) -> int:
        expired = self.keeping.expire_sources(self.keep.sources_days * DAY_S, BATCH) if self.keep.sources_days else []
        for video in self.keeping.left_sources(BATCH):
            self.files.objects.delete(video.key)
            self.keeping.source_removed(video.id)
            log.info("source removed", video_id=video.id)
        return len(expired)

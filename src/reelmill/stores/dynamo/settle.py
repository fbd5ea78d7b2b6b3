"""What follows a change of one item in others: `settle`, that anyone may run at any time, again and again.

A change that concerns several items is decided by one write, of the job or the video, which leaves a mark. Settling
brings the other items there, each by a write that is guarded by its own state, and then takes the mark away. Who made
the change settles at once; when it dies in between, the next sweep does.

    job     →  its steps become ready or cancelled, or stand elsewhere in the queue; those planned from a lost file go;
               files that it counts as stored say so; its video gets it as the newest job
    step    →  its job is told of the end of an attempt (`moves.tell`), once
    video   →  its job is made, queued, failed or cancelled

`epoch` counts how often a job was queued. A step belongs to the epoch in which it was planned or made ready again
(`gen`); who settles for an older epoch than a step's leaves it alone, however late he comes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from reelmill.errors import NotFound
from reelmill.jobs.lifecycle import CLAIMABLE, ENDED, Status, StepEvent, StepStatus, step_after
from reelmill.jobs.ports import Failure, Opening
from reelmill.stores.dynamo import items, moves
from reelmill.stores.dynamo.core import Core
from reelmill.stores.dynamo.items import PLANNED, Item

SETTLED_AT_ONCE = 1000  #: marks that one sweep sees to
AGAIN = (StepStatus.FAILED, StepStatus.CANCELLED)


class Settling(Core):
    """The changes that follow from others."""

    def settle_all(self) -> None:
        """Finish what others left half-way."""
        for number, mark in enumerate(self.table.index("by_turn", "due")):
            if number == SETTLED_AT_ONCE:
                return
            if mark["sk"] == "video":
                self.settle_video(mark["pk"])
            else:
                self.settle(mark["pk"])

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────

    def settle(self, job_id: str) -> Item:
        """Bring steps and video to where the job is, and tell the job what its steps have done. Raises NotFound."""
        while True:
            job = self.read_job(job_id)
            if not job["led"] and job["status"] != Status.AWAITING_UPLOAD:
                self._lead(job)
            steps = list(self.table.query(job_id, "step#"))
            untold = [step for step in steps if step["owed"]]
            if not untold:
                break
            for step in untold:
                self.tell(step)
        if job["redo"] is not None:
            steps = self._take_back(job, steps)
        for name, artifact_id in (job["moving"] or {}).items():
            self._note_stored(job_id, name, artifact_id)
        self.table.each(lambda step: self._mend(job, step), [step for step in steps if _differs(job, step)])

        def unmark(now_job: Item, _: datetime) -> list[Any] | None:
            if now_job["due"] is None or now_job["due"] != job["due"]:
                return None  # a newer change has its own mark
            now_job.update(due=None, led=True, moving=None, redo=None)
            return []

        return self.change_job(job_id, unmark) if job["due"] is not None else job

    def tell(self, step: Item) -> Item:
        """Tell the job of the end of a step's attempt, and note on the step that it knows. Raises NotFound."""
        job = self.change_job(step["job_id"], lambda job, at: moves.tell(job, step, at))

        def told(now_step: Item, _: datetime) -> bool:
            if not now_step["owed"] or now_step["attempt"] != step["attempt"]:
                return False
            now_step.update(owed=None, end=None)
            items.place_step(now_step, job)
            return True

        self.change(step["pk"], step["sk"], told)
        return job

    def plan(self, job: Item, opening: Opening, epoch: int, at: datetime) -> Item:
        """Put the steps of a stage where they will be when it opens; nobody sees them before.

        Return the job. When another plans this opening otherwise, for it is of another version, the job was changed, so
        that the other comes too late.
        """
        self._name_lanes(job["tenant"], {spec.queue for spec in opening.specs})
        while not all(self.table.each(self._plan, items.new_steps(job, opening, epoch, at))):
            before = job["epoch"], job["redos"]
            try:
                job = self.change_job(job["id"], partial(moves.outbid, before=before))
            except NotFound:
                job = Item(job, redos=before[1] + 1)  # it is about to be made
            if (job["epoch"], job["redos"]) != (before[0], before[1] + 1):
                return Item(job, epoch=before[0], redos=before[1])  # it went on without us: what we open is refused
        return job

    def _name_lanes(self, tenant: str, queues: set[str]) -> None:
        """Let claimers know in which queues a tenant has steps, before it has them."""

        def name(item: Item, _: datetime) -> bool:
            known = item["queues"]
            item["queues"] = sorted({*known, *queues})
            return bool(item["queues"] != known)

        if self.change("tenants", tenant, name) is None:
            new = Item(pk="tenants", sk=tenant, queues=sorted(queues))
            if not self.table.add(new):
                self.change("tenants", tenant, name)

    def _plan(self, planned: Item) -> bool:
        mine = (planned["gen"], planned["redos"])
        while not self.table.add(Item(planned)):
            rivals: list[str] = []

            def over(there: Item, _: datetime, rivals: list[str] = rivals) -> bool:
                rivals.clear()
                # An earlier opening that came to nothing; a late one doesn't replace what is newer.
                if there["status"] != PLANNED or (there["gen"], there["redos"]) > mine:
                    return False
                if (there["gen"], there["redos"]) == mine:
                    rivals.extend({there["plan"]} - {planned["plan"]})
                    return False
                there.update(planned)
                return True

            if self.change(planned["pk"], planned["sk"], over) is not None:  # or it was removed just then
                return not rivals
        return True

    def _mend(self, job: Item, step: Item) -> None:
        """Bring one step to where its job is."""

        def follow(now_step: Item, at: datetime) -> bool:
            if not _differs(job, now_step):
                return False
            if job["status"] in ENDED:
                if now_step["status"] not in AGAIN:
                    if now_step["status"] == StepStatus.RUNNING:
                        end_attempt(now_step, StepEvent.CANCEL, None, at)
                    now_step.update(
                        status=StepStatus.CANCELLED, worker_id=None, beat=None, progress=0.0, rung_at=None,
                        waits=None, finished_at=at,
                    )  # fmt: skip
            elif now_step["status"] == PLANNED:
                now_step.update(status=StepStatus.READY, created_at=at, not_before=at)
            elif now_step["status"] in AGAIN:
                now_step.update(
                    status=StepStatus.READY, tries=0, crashes=0, progress=0.0, not_before=at, waits=None, rung_at=None,
                    finished_at=None, error_code=None, error_detail=None,
                )  # fmt: skip
            now_step["gen"] = job["epoch"]
            items.place_step(now_step, job)
            return True

        if step["status"] == PLANNED and not items.is_opened(job, step):
            if items.came_to_nothing(job, step):
                self.table.remove(step["pk"], step["sk"], version=step["version"])
            return
        self.change(step["pk"], step["sk"], follow)

    def _note_stored(self, job_id: str, name: str, artifact_id: str) -> None:
        """Let an artifact be stored, as its job has counted it."""

        def note(artifact: Item, at: datetime) -> bool:
            if (artifact["id"], artifact["place"]) != (artifact_id, "spool"):
                return False
            artifact.update(place="stored", spool=None, stored_at=at)
            items.place_artifact(artifact)
            return True

        self.change(job_id, name, note)

    def _take_back(self, job: Item, steps: list[Item]) -> list[Item]:
        """Free the step whose file was lost, remove what was planned from it, and return the steps that are left.

        What was planned since then has a higher `redos`: who comes late leaves it alone.
        """
        redo: dict[str, Any] = job["redo"]
        gone = {s["id"]: s for s in steps if s["stage_no"] > redo["stage_no"] and s["redos"] < redo["no"]}
        for made in self.table.query(job["id"], "artifact#"):
            key = items.key_of(made["step_id"])[1]
            if made["step_id"] in gone or (key == redo["step"] and made["attempt"] <= redo["attempt"]):
                self._remove(made, redo["no"])
        for step in gone.values():
            for attempt in self.table.query(job["id"], f"attempt#{step['stage']}#{step['index']:06}#"):
                self._remove(attempt, redo["no"])
        self.table.each(lambda step: self._remove(step, redo["no"]), list(gone.values()))

        def free(step: Item, at: datetime) -> bool:
            if step["status"] != StepStatus.DONE or step["attempt"] != redo["attempt"]:
                return False
            ready = step_after(StepStatus.DONE, StepEvent.REDO)
            step.update(
                status=step_after(ready, StepEvent.CANCEL) if job["status"] in ENDED else ready, tries=0, crashes=0,
                progress=0.0, output=None, rung_at=None, not_before=at, waits=None, finished_at=None, gen=job["epoch"],
            )  # fmt: skip
            items.place_step(step, job)
            return True

        self.change(job["id"], redo["step"], free)
        return [step for step in steps if step["id"] not in gone]

    def _remove(self, item: Item | None, redos: int) -> None:
        """Remove an item, unless it has come anew since the job went back for the time `redos`."""
        while item is not None and item["redos"] < redos:
            if self.table.remove(item["pk"], item["sk"], version=item["version"]):
                return
            item = self.table.get(item["pk"], item["sk"])

    def _lead(self, job: Item) -> None:
        """Let the newest job drive its video."""
        self.table.add(Item(pk=job["video_id"], sk=f"job#{items.listed_at(job)}", id=job["id"]))

        def point(video: Item, _: datetime) -> bool:
            mine = (job["created_at"], job["id"])
            if video["driver_at"] is not None and (video["driver_at"], video["processing_job_id"]) >= mine:
                return False
            video.update(processing_job_id=job["id"], driver_at=job["created_at"])
            return True

        self.change(job["video_id"], "video", point)

    # ── videos ────────────────────────────────────────────────────────────────────────────────

    def change_video(self, video_id: str, act: Callable[[Item, datetime], bool]) -> Item:
        """Change a video whose last change has been followed by its job. Raises NotFound."""

        def write(video: Item, at: datetime) -> bool:
            if video["intent"] is not None:
                raise _Unsettled
            if not act(video, at):
                return False
            if video["intent"] is not None:
                video["intent"] = {**video["intent"], "no": video["version"]}  # no other is like it
            items.place_video(video)
            return True

        while True:
            try:
                video = self.change(video_id, "video", write)
            except _Unsettled:
                self.settle_video(video_id)
                continue
            if video is None:
                raise NotFound(f"There is no video {video_id}.")
            return video

    def settle_video(self, video_id: str) -> None:
        """Let the job follow what was decided by a write of the video."""
        video = self.table.get(video_id, "video")
        intent = video["intent"] if video is not None else None
        if video is None or intent is None:
            return
        with suppress(NotFound):  # it was forgotten
            self._follow(video, intent)

        def followed(now_video: Item, _: datetime) -> bool:
            if now_video["intent"] != intent:
                return False
            now_video["intent"] = None
            items.place_video(now_video)
            return True

        self.change(video_id, "video", followed)

    def _follow(self, video: Item, intent: dict[str, Any]) -> None:
        job_id = intent["job_id"]
        match intent["do"]:
            case "make":
                job = items.new_job(intent["job"], video["created_at"], None)
                job["led"] = True
                items.place_job(job)
                self._lead(job)
                self.table.add(job)
            case "queue":
                queued = intent["stage"], intent["steps"], intent["plan"]
                self.change_job(job_id, lambda job, at: moves.queue(job, *queued, at))
                self.settle(job_id)
            case "fail":
                failure = Failure(intent["code"], intent["detail"])
                self.change_job(job_id, lambda job, at: moves.fail_waiting(job, failure, at))
            case "cancel":
                self.change_job(
                    job_id,
                    lambda job, at: moves.cancel(job, None, at) if job["status"] == Status.AWAITING_UPLOAD else None,
                )
                self.settle(job_id)


class _Unsettled(Exception):
    """The video's last change must be followed first."""


def _differs(job: Item, step: Item) -> bool:
    """Whether a step isn't where its job is."""
    if step["gen"] > job["epoch"] or step["status"] == StepStatus.DONE:
        return False
    if step["status"] == PLANNED:
        return True
    if job["status"] in ENDED:
        return step["status"] not in AGAIN or step["gen"] < job["epoch"]
    if step["status"] == StepStatus.READY:
        return bool(step["sorting"] < job["sorting"])
    mine = step["stage"] == job["stage"] and job["status"] in CLAIMABLE
    return bool(mine and step["status"] in AGAIN and step["gen"] < job["epoch"])


def end_attempt(step: Item, event: StepEvent, failure: Failure | None, at: datetime, **more: str | None) -> None:
    """Write the end of a step's present attempt into its history. more: `command`, `stderr`."""
    step["history"] = {
        **step["history"],
        "ended_at": items.stamp(at),
        "outcome": "done" if event is StepEvent.FINISH else str(event),
        "error_code": failure.code if failure else None,
        "error_detail": failure.detail if failure else None,
        **more,
    }

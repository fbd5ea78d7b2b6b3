"""Claiming steps, holding them, and ending their attempts."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from reelmill.errors import DatabaseUnavailable, LeaseLost, NotFound, StaleAttempt
from reelmill.jobs.lifecycle import CLAIMABLE, ENDED, Status, StepEvent, StepStatus, step_after
from reelmill.jobs.model import Claim, Job, NewArtifact, Step
from reelmill.jobs.ports import Failure, Held, Outcome
from reelmill.stores.dynamo import items, moves
from reelmill.stores.dynamo.core import Events, writing
from reelmill.stores.dynamo.following import Following
from reelmill.stores.dynamo.items import Item
from reelmill.stores.dynamo.reads import Reads
from reelmill.stores.dynamo.settle import Settling, end_attempt
from reelmill.stores.dynamo.table import Written
from reelmill.stores.dynamo.turns import Turns
from reelmill.stores.dynamo.usage import Usage
from reelmill.stores.lanes import ESTIMATE_S, WAKE_MOST, Charge, close_charge

CLAIM_TRIES = 4  #: other claimers may have taken what we saw
SPARE = 16  #: seen beyond what is wanted, for others claim too
FORGOTTEN_S = 3600.0  #: a lease that nobody asked about for so long


class NotUniqueError(ValueError):
    """Two steps of one job publish files of the same name: a defect of the pipeline."""


class Leases:
    """Which leases have been seen unchanged for how long, by our monotonic clock: the table has no clock to ask."""

    def __init__(self, ticks: Any) -> None:
        self._ticks = ticks
        self._guard = threading.Lock()
        self._seen: dict[str, tuple[str, float]] = {}

    def see(self, name: str, beat: str) -> float:
        """Return for how many seconds this beat has been the lease's."""
        with self._guard:
            here: float = self._ticks()
            last, since = self._seen.get(name, ("", here))
            if last != beat:
                since = here
            self._seen[name] = beat, since
            return here - since

    def forget_old(self) -> None:
        with self._guard:
            here = self._ticks()
            self._seen = {name: seen for name, seen in self._seen.items() if here - seen[1] < FORGOTTEN_S}


class Work(Reads, Settling, Following):
    """The part of the store that workers and the sweeper use most."""

    leases: Leases
    usage: Usage

    # ── claiming ──────────────────────────────────────────────────────────────────────────────

    @writing
    def claim(
        self,
        worker_id: str,
        *,
        limit: int,
        lease_s: float,
        engine_task_id: str | None = None,
        queues: Sequence[str] | None = None,
    ) -> list[Claim]:
        self._wake()
        claims: list[Claim] = []
        for _ in range(CLAIM_TRIES):
            wanted, missed = limit - len(claims), False
            taken: list[Item] = []
            jobs: dict[str, Item | None] = {}
            turns = Turns(self.table, self.at(), queues, wanted + SPARE)
            for tenant, place in turns:
                try:
                    step = self._take(place, jobs, worker_id, lease_s, engine_task_id)
                except DatabaseUnavailable:
                    if not claims and not taken:
                        raise
                    break  # what was taken is ours; the rest another time
                missed = missed or step is None
                if step is not None:
                    turns.take(tenant)
                    taken.append(step)
                if len(taken) == wanted:
                    break
            self.usage.charge([Charge(step["tenant"], ESTIMATE_S) for step in taken])
            claims += self._claims(taken, worker_id)
            if len(claims) >= limit or not (missed or len(taken) == wanted):
                break
        return claims

    def _wake(self) -> None:
        """Let steps whose `not_before` has passed stand in their lanes."""
        due = list(islice(self.table.index("by_turn", "waits", before=items.stamp(self.at())), WAKE_MOST))
        jobs = self.table.get_many((mark["pk"], "job") for mark in due)

        def wake(mark: Item) -> None:
            job = jobs.get((mark["pk"], "job"))

            def up(step: Item, _: datetime) -> bool:
                if job is None or step["status"] != StepStatus.READY or not step["waits"]:
                    return False
                step["waits"] = None
                items.place_step(step, job)
                return True

            self.change(mark["pk"], mark["sk"], up)

        self.table.each(wake, due)

    def _take(
        self, place: Item, jobs: dict[str, Item | None], worker_id: str, lease_s: float, engine_task_id: str | None
    ) -> Item | None:
        """Claim one step; None when it can't be had. jobs: those that were looked at, started if they were queued."""
        job_id = place["pk"]
        if job_id not in jobs:
            jobs[job_id] = self._started(job_id)
        job = jobs[job_id]
        step = self.table.get(job_id, place["sk"]) if job is not None else None
        if job is None or step is None:
            return None
        if step["owed"]:
            self.tell(step)
            step = self.table.get(job_id, place["sk"])
        at = self.at()
        free = step is not None and step["status"] == StepStatus.READY and not step["owed"]
        if step is None or not free or step["gen"] != job["epoch"] or step["not_before"] > at:
            return None
        if step["attempt"]:
            record = {**step["history"], "stage_no": step["stage_no"], "index": step["index"]}
            key = items.attempt_key(step, step["attempt"])
            self.table.add(Item(pk=job_id, sk=key, history=record, redos=step["redos"]))

        at, same_run = max(at, step["stamped_at"], job["stamped_at"]), step["run"] == job["run"]
        attempt = step["attempt"] + 1
        step.update(
            status=step_after(StepStatus.READY, StepEvent.CLAIM), run=job["run"], attempt=attempt,
            tries=step["tries"] if same_run else 0, crashes=step["crashes"] if same_run else 0,
            worker_id=worker_id, beat=uuid.uuid4().hex, lease_s=lease_s, started_at=at, stamped_at=at, progress=0.0,
            waits=None, error_code=None, error_detail=None, ended_by=None,
            history={
                "step_id": step["id"], "attempt": attempt, "run": job["run"], "worker_id": worker_id,
                "engine_task_id": engine_task_id, "started_at": items.stamp(at),
            },
        )  # fmt: skip
        items.place_step(step, job)
        try:
            taken = self.table.replace(step)
        except Written:
            return None  # by another claimer, or whoever ended the job
        self.leases.see(taken["id"], taken["beat"])
        return taken

    def _started(self, job_id: str) -> Item | None:
        """Return a job that may be worked on, running; None otherwise."""
        try:
            job = self.read_job(job_id)
            if job["status"] == Status.QUEUED:
                job = self.change_job(job_id, moves.start)
            if job["status"] in ENDED:
                self.settle(job_id)  # so that its steps leave the queue
        except NotFound:
            return None
        return job if job["status"] == Status.RUNNING else None

    def _claims(self, taken: Sequence[Item], worker_id: str) -> list[Claim]:
        """Return the claims on steps that were taken; a job that ended meanwhile takes its steps back."""
        jobs = self.table.get_many((step["pk"], "job") for step in taken)
        videos = self.videos_of(job["video_id"] for job in jobs.values())
        claims = []
        for step in taken:
            job = jobs.get((step["pk"], "job"))
            if job is None or job["status"] != Status.RUNNING or job["epoch"] != step["gen"]:
                with suppress(NotFound):
                    self.settle(step["pk"])
                continue
            video = videos[job["video_id"]]
            claims.append(Claim(step=items.to_step(step), job=items.to_job(job), video=video, worker_id=worker_id))
        return claims

    # ── holding ───────────────────────────────────────────────────────────────────────────────

    def beat(self, held: Sequence[Held], *, lease_s: float) -> frozenset[Held]:
        def beat(hold: Held) -> bool:
            fresh = uuid.uuid4().hex

            def lengthen(step: Item, _: datetime) -> bool:
                if not _is_held(step, hold):
                    return False
                step.update(beat=fresh, lease_s=lease_s)
                return True

            step = self.change(*items.key_of(hold.step_id), lengthen)
            if step is None or step["beat"] != fresh:
                return False
            self.leases.see(hold.step_id, fresh)
            return True

        kept = self.table.each(beat, list(held))
        return frozenset(hold for hold, is_kept in zip(held, kept, strict=True) if is_kept)

    def still_held(self, held: Sequence[Held]) -> frozenset[Held]:
        keys = {hold: items.key_of(hold.step_id) for hold in held}
        steps = self.table.get_many(keys.values())
        return frozenset(hold for hold, key in keys.items() if key in steps and _is_held(steps[key], hold))

    @writing
    def report(self, claim: Claim, fraction: float, message: str | None = None) -> None:
        job = self.table.get(claim.job.id, "job")
        reached = min(max(fraction, 0.0), 1.0)

        def progress(step: Item, _: datetime) -> bool:
            _must_be_held(step, claim, job)
            step["progress"] = reached
            return True

        step = self.change(*items.key_of(claim.step.id), progress)
        if step is None:
            raise StaleAttempt

        def show(job: Item, _: datetime) -> Events | None:
            if job["status"] != Status.RUNNING or moves.is_told(job, step):
                return None
            before = job["progress_pct"], job["message"]
            job["live"][str(step["index"])] = reached
            job["message"] = message if message is not None else job["message"]
            moves.reach(job)
            return [] if before != (job["progress_pct"], job["message"]) else None

        self.change_job(claim.job.id, show)

    # ── ends ──────────────────────────────────────────────────────────────────────────────────

    @writing
    def close(self, claim: Claim, outcome: Outcome, *, finish: bool = False) -> Job:  # noqa: ARG002 - left to `apply`
        key = items.key_of(claim.step.id)
        mine = _mark(claim, outcome)
        job = self.table.get(claim.job.id, "job")
        made = outcome.result.artifacts if outcome.result is not None else ()
        if made and (step := self.table.get(*key)) is not None and step["ended_by"] != mine:
            _must_be_held(step, claim, job)  # or its files would be listed for nothing
            for each in made:
                self._publish(claim, step, each)

        ends: list[StepEvent] = []

        def end(step: Item, at: datetime) -> bool:
            ends.clear()
            if step["ended_by"] == mine:
                return False  # the reply to our own write was lost: the job may not know yet
            _must_be_held(step, claim, job)
            _end(step, outcome, at)
            step["ended_by"] = mine
            assert job is not None
            items.place_step(step, job)
            ends.append(outcome.event)
            return True

        step = self.change(*key, end)
        if step is None:
            raise StaleAttempt
        self.usage.charge([close_charge(claim, outcome) for _ in ends])
        if outcome.reusable:
            self.note_made(claim)
        return items.to_job(self._told(step) if step["owed"] else self.read_job(claim.job.id))

    def _told(self, step: Item) -> Item:
        """Tell the job of a step's end; when that ends the job, its other steps follow."""
        job = self.tell(step)
        return self.settle(job["id"]) if job["due"] is not None else job

    def _publish(self, claim: Claim, step: Item, made: NewArtifact) -> None:
        """Put an artifact where it counts as soon as its step is done in this attempt."""
        fresh = Item(
            pk=claim.job.id, sk=f"artifact#{made.name}", id=str(uuid.uuid4()), job_id=claim.job.id,
            step_id=claim.step.id, stage=claim.step.stage, stage_no=step["stage_no"], index=claim.step.index,
            run=claim.run, attempt=claim.attempt, kind=made.kind, name=made.name, key=made.key,
            size_bytes=made.size_bytes, sha256=made.sha256, content_type=made.content_type, meta=dict(made.meta),
            primary=made.primary, created_at=(at := self.at()), place=made.place, spool=made.spool,
            retries=made.retries, stored_at=None if made.place == "spool" else at, redos=step["redos"],
        )  # fmt: skip
        items.place_artifact(fresh)
        if self.table.add(Item(fresh)):
            return

        def over(there: Item, _: datetime) -> bool:
            if there["step_id"] != claim.step.id:
                raise NotUniqueError(f"The name {made.name} isn't unique in its job: {there['step_id']} has it.")
            if (there["redos"], there["attempt"]) > (fresh["redos"], claim.attempt):
                raise StaleAttempt
            there.update(fresh)
            items.place_artifact(there)
            return True

        self.change(fresh["pk"], fresh["sk"], over)

    # ── care ──────────────────────────────────────────────────────────────────────────────────

    @writing
    def lose_dead(self, *, max_crashes: int, spare: Collection[Held] = ()) -> list[Held]:
        """Also finishes what others left half-way."""
        self.settle_all()
        lost, unsettled = [], set()
        for seen in self.table.index("by_watch", "held"):
            if seen["status"] != StepStatus.RUNNING:
                unsettled.add(seen["pk"])
                continue
            hold = Held(seen["watch_at"], seen["attempt"])
            silent = self.leases.see(seen["watch_at"], seen["beat"]) >= seen["lease_s"]
            if silent and hold not in spare and self._lose(seen, max_crashes):
                lost.append(hold)
        for job_id in unsettled:
            with suppress(NotFound):
                self.settle(job_id)
        self.leases.forget_old()
        return lost

    def _lose(self, seen: Item, max_crashes: int) -> bool:
        job = self.table.get(seen["pk"], "job")
        if job is None:
            return False
        if job["status"] != Status.RUNNING:
            self.settle(job["id"])
            return False

        mine = f"sweeper {uuid.uuid4().hex}"

        def lose(step: Item, at: datetime) -> bool:
            # The index may be behind: the item itself says whether it is the beat that we have watched.
            if step["status"] != StepStatus.RUNNING or step["beat"] != seen["beat"]:
                return False
            failure = Failure(LeaseLost.code, LeaseLost.what)
            _end(step, Outcome(event=StepEvent.CRASH, failure=failure), at)
            step.update(error_code=None, error_detail=None, ended_by=mine)
            if step["crashes"] >= max_crashes:
                worn = Failure("worker_crashed", f"The workers on step {step['id']} died {max_crashes} times.")
                step.update(status=StepStatus.FAILED, error_code=worn.code, error_detail=worn.detail)
                step["end"]["worn"] = {"code": worn.code, "detail": worn.detail}
            items.place_step(step, job)
            return True

        step = self.change(seen["pk"], seen["sk"], lose)
        if step is None or step["ended_by"] != mine:
            return False
        self._told(step)
        return True

    @writing
    def release_all(self) -> int:
        for lease in self.table.query("leases"):
            self.table.remove(lease["pk"], lease["sk"])
        released = 0
        for seen in self.table.index("by_watch", "held"):
            job = self.table.get(seen["pk"], "job")
            if job is None or job["status"] not in CLAIMABLE:
                with suppress(NotFound):
                    self.settle(seen["pk"])
                continue
            freed: list[int] = []

            def release(step: Item, at: datetime, job: Item = job, freed: list[int] = freed) -> bool:
                freed.clear()
                if step["status"] != StepStatus.RUNNING:
                    return False
                _end(step, Outcome(event=StepEvent.RELEASE), at)
                items.place_step(step, job)
                freed.append(step["attempt"])
                return True

            step = self.change(seen["pk"], seen["sk"], release)
            if step is not None and step["owed"]:
                self._told(step)
            released += len(freed)
        return released

    @writing
    def to_ring(self, limit: int, *, again_after_s: float) -> list[Step]:
        self._wake()
        rung: list[Step] = []
        jobs: dict[str, Item | None] = {}
        turns = Turns(self.table, self.at(), None, limit + SPARE)
        for tenant, place in turns:
            if len(rung) >= limit:
                break
            silent = place["rung_at"] is None or place["rung_at"] < self.at(-again_after_s)
            if not silent or not self._may_run(place["pk"], jobs):
                continue
            mine: list[datetime] = []

            def ring(step: Item, at: datetime, mine: list[datetime] = mine) -> bool:
                mine.clear()
                if step["status"] != StepStatus.READY or not (
                    step["rung_at"] is None or step["rung_at"] < self.at(-again_after_s)
                ):
                    return False
                step["rung_at"] = at
                mine.append(at)
                return True

            step = self.change(place["pk"], place["sk"], ring)
            if step is not None and mine:
                turns.take(tenant)
                rung.append(items.to_step(step))
        return rung

    def _may_run(self, job_id: str, jobs: dict[str, Item | None]) -> bool:
        if job_id not in jobs:
            jobs[job_id] = self.table.get(job_id, "job")
            if (job := jobs[job_id]) is not None and job["status"] in ENDED:
                self.settle(job_id)
        job = jobs[job_id]
        return job is not None and job["status"] in CLAIMABLE

    @writing
    def lease(self, name: str, holder: str, seconds: float) -> bool:
        mine = uuid.uuid4().hex
        fresh = {"holder": holder, "beat": mine, "lease_s": seconds}
        watched = f"lease {name}"
        if self.table.add(Item(pk="leases", sk=name, **fresh)):
            self.leases.see(watched, mine)
            return True

        def take(lease: Item, _: datetime) -> bool:
            if lease["holder"] != holder and self.leases.see(watched, lease["beat"]) < lease["lease_s"]:
                return False
            lease.update(fresh)
            return True

        lease = self.change("leases", name, take)
        if lease is None or lease["beat"] != mine:
            return False
        self.leases.see(watched, mine)
        return True


def _is_held(step: Item, hold: Held) -> bool:
    return bool(step["status"] == StepStatus.RUNNING and step["attempt"] == hold.attempt)


def _must_be_held(step: Item, claim: Claim, job: Item | None) -> None:
    """Raises StaleAttempt when the claim isn't the step's present one, or its job isn't running in its run."""
    if job is None or job["status"] != Status.RUNNING or job["run"] != claim.run:
        raise StaleAttempt
    same = (step["worker_id"], step["run"]) == (claim.worker_id, claim.run)
    if not same or not _is_held(step, Held(claim.step.id, claim.attempt)):
        raise StaleAttempt


def _end(step: Item, outcome: Outcome, at: datetime) -> None:
    """End a step's attempt; its job is owed the news."""
    event, failure, result = outcome.event, outcome.failure, outcome.result
    end_attempt(step, event, failure, at, command=outcome.command, stderr=outcome.stderr)
    step.update(
        status=step_after(StepStatus.RUNNING, event), worker_id=None, beat=None, progress=0.0, rung_at=None, owed=True,
        end={
            "event": event, "code": failure.code if failure else None, "detail": failure.detail if failure else None,
            "message": result.message if result else None, "warnings": list(result.warnings) if result else [],
            "worn": None, "spooled": sum(one.place == "spool" for one in result.artifacts) if result else 0,
        },
    )  # fmt: skip
    if failure is not None:
        step.update(error_code=failure.code, error_detail=failure.detail)
    match event:
        case StepEvent.FINISH:
            assert result is not None
            step.update(output=dict(result.output), progress=1.0, finished_at=at)
        case StepEvent.FAIL:
            step["finished_at"] = at
        case _:
            tries, crashes = int(event is StepEvent.AGAIN), int(event is StepEvent.CRASH)
            step.update(
                tries=step["tries"] + tries, crashes=step["crashes"] + crashes, waits=outcome.delay_s > 0 or None,
                not_before=at + timedelta(seconds=outcome.delay_s),
            )  # fmt: skip


def _mark(claim: Claim, outcome: Outcome) -> str:
    """Return what tells this end of this attempt from any other: said twice, it is still one end.

    Only for what was done: taken for stale, its files would be removed.
    """
    if outcome.event is not StepEvent.FINISH:
        return uuid.uuid4().hex
    return hashlib.sha256(f"{claim.worker_id} {claim.step.id} {claim.attempt} {outcome!r}".encode()).hexdigest()

"""Claiming steps and closing them: the part of the SQL store that workers call all the time.

Claims, and ends, that arrive together in one process are made together (`joined.py`): on SQLite in one transaction, by
the statements of `claims.py`; on PostgreSQL in one statement, by `hot.py`, and what that leaves by `claims.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reelmill.errors import DatabaseUnavailable, StaleAttempt
from reelmill.jobs.lifecycle import StepEvent
from reelmill.jobs.model import Claim, Job
from reelmill.jobs.ports import Held, Outcome
from reelmill.stores import claims, hot, lanes, moves, published, rows
from reelmill.stores.claims import Ended
from reelmill.stores.engine import Standing, again, open_alone, writing
from reelmill.stores.joined import MOST_JOINED, Joined
from reelmill.stores.schema import now, steps
from reelmill.stores.usage import Usage

CLAIM_TRIES = 4  # a lane may have had nothing, steps may have waited until just now


@dataclass(frozen=True, slots=True)
class Wanted:
    """One call of `claim`."""

    worker_id: str
    limit: int
    lease_s: float
    engine_task_id: str | None
    queues: tuple[str, ...] | None


def _alike(wanted: Sequence[Wanted]) -> dict[tuple[str, float, tuple[str, ...] | None], list[int]]:
    """Return calls that can be answered by one statement, with the number of the call for each step wanted."""
    alike: dict[tuple[str, float, tuple[str, ...] | None], list[int]] = {}
    for n, one in enumerate(wanted):
        alike.setdefault((one.worker_id, one.lease_s, one.queues), []).extend([n] * one.limit)
    return alike


class SqlWork:
    """The part of JobStore that hands out steps and takes them back."""

    engine: Engine
    on_commit: Callable[[], None]

    def open_work(self) -> None:
        self._usage = Usage(self.engine)
        self._claims_by, self._ends_by = open_alone(self.engine), open_alone(self.engine)
        self._finish: Joined[Ended, Job] = Joined(self._finish_together, MOST_JOINED)
        self._claim: Joined[Wanted, list[Claim]] = Joined(self._claim_together, MOST_JOINED)

    def close_work(self) -> None:
        self._usage.settle()
        self._usage.close()
        for standing in (self._claims_by, self._ends_by):
            if standing is not None:
                standing.close()

    def claim(
        self,
        worker_id: str,
        *,
        limit: int,
        lease_s: float,
        engine_task_id: str | None = None,
        queues: Sequence[str] | None = None,
    ) -> list[Claim]:
        named = None if queues is None else tuple(queues)
        return self._claim(Wanted(worker_id, limit, lease_s, engine_task_id, named))

    def _claim_together(self, wanted: Sequence[Wanted]) -> Sequence[list[Claim]]:
        taken = self._claim_at_once(wanted)
        short = [n for n, one in enumerate(wanted) if len(taken[n]) < one.limit]
        for past_due in [False] + [True] * (CLAIM_TRIES - 1):
            if not short:
                break
            more = [replace(wanted[n], limit=wanted[n].limit - len(taken[n])) for n in short]
            try:
                got, wrong, due, unseen = self._claim_all(more, past_due=past_due)
                for n, theirs in zip(short, got, strict=True):
                    taken[n] += theirs
                # In transactions of their own: who holds a lane waits for nobody.
                if wrong:
                    self._put_right(sorted(wrong))
                if due:
                    self._wake()
            except DatabaseUnavailable:
                if not any(taken):
                    raise
                break  # who has got something can begin with it
            short = [n for n in short if not taken[n]] if unseen or due else []
        self._usage.settle()
        return taken

    def _claim_at_once(self, wanted: Sequence[Wanted]) -> list[list[Claim]]:
        """Return what each gets of the lane whose turn it is, if one statement can tell; nothing on SQLite."""
        taken: list[list[Claim]] = [[] for _ in wanted]
        if self._claims_by is None:
            return taken
        for (worker_id, lease_s, queues), places in _alike(wanted).items():
            tasks = [wanted[n].engine_task_id for n in places]
            got = again(partial(self._take_next, self._claims_by, tasks, worker_id, lease_s, queues))
            for number, claim in got:
                taken[places[number]].append(claim)
            if got:
                self._usage.note([lanes.Charge(claim.job.tenant, lanes.ESTIMATE_S) for _, claim in got])
                self._usage.settle()  # whoever is next, here too, goes by it
                self.on_commit()
        return taken

    def _take_next(
        self,
        standing: Standing,
        tasks: Sequence[str | None],
        worker_id: str,
        lease_s: float,
        queues: Sequence[str] | None,
    ) -> list[tuple[int, Claim]]:
        with standing.use() as tx:
            lane = lanes.next_lane(tx, len(tasks), queues)
            return hot.take(tx, lane, tasks, worker_id, lease_s) if lane is not None else []

    @writing
    def _claim_all(
        self, tx: Connection, wanted: Sequence[Wanted], *, past_due: bool
    ) -> tuple[list[list[Claim]], set[tuple[str, str]], bool, bool]:
        """Return what each gets, lanes that have less than they say, if steps are to be woken, if lanes are unseen.

        On SQLite lanes are put right here: nobody else writes meanwhile.
        """
        taken: list[list[Claim]] = [[] for _ in wanted]
        wrong: set[tuple[str, str]] = set()
        due = unseen = False
        for (worker_id, lease_s, queues), places in _alike(wanted).items():
            choice = lanes.choose(tx, len(places), queues, past_due=past_due)
            chosen = choice.steps
            tasks = [wanted[n].engine_task_id for n in places[: len(chosen)]]
            got = claims.take(tx, chosen, tasks, worker_id, lease_s) if chosen else []
            for n, claim in zip(places, got, strict=False):
                taken[n].append(claim)
            self._usage.charge(tx, choice.charges)
            wrong.update(choice.wrong)
            due = due or choice.due
            unseen = unseen or (bool(choice.wrong) and choice.more)
        if wrong and tx.dialect.name == "sqlite":
            lanes.put_right(tx, sorted(wrong))
            wrong = set()
        return taken, wrong, due, unseen

    @writing
    def _wake(self, tx: Connection) -> None:
        lanes.wake(tx)

    @writing
    def _put_right(self, tx: Connection, wrong: Sequence[tuple[str, str]]) -> None:
        lanes.put_right(tx, wrong)

    def beat(self, held: Sequence[Held], *, lease_s: float) -> frozenset[Held]:
        # One transaction each: several step locks at once, without their jobs', could meet a cancel half-way.
        return frozenset(hold for hold in held if self._beat(hold, lease_s))

    @writing
    def _beat(self, tx: Connection, hold: Held, lease_s: float) -> bool:
        kept = moves.returned(tx, sa.update(steps).where(moves.of(hold)).values(lease_until=now(lease_s)))
        return kept is not None

    @writing
    def report(self, tx: Connection, claim: Claim, fraction: float, message: str | None = None) -> None:
        row = moves.hold(tx, claim.job.id, claim.run)
        mine = moves.of(Held(claim.step.id, claim.attempt)), steps.c.worker_id == claim.worker_id
        values = {"progress": min(max(fraction, 0.0), 1.0)}
        if row is None or moves.returned(tx, sa.update(steps).where(*mine).values(values)) is None:
            raise StaleAttempt
        moves.progress(tx, row, message=message)

    def close(self, claim: Claim, outcome: Outcome, *, finish: bool = False) -> Job:
        if outcome.event is StepEvent.FINISH and outcome.result is not None and not outcome.result.warnings:
            return self._finish(Ended(claim, outcome, finish))
        return self._close(claim, outcome, finish)

    @writing
    def _close(self, tx: Connection, claim: Claim, outcome: Outcome, finish: bool) -> Job:
        warnings: list[str] = list(outcome.result.warnings) if outcome.result else []
        if outcome.event is StepEvent.FAIL and claim.step.optional:
            assert outcome.failure is not None
            warnings = [moves.warning_of(claim.step.kind, claim.step.index, outcome.failure.detail)]
        message = (outcome.result.message or None) if outcome.result else None
        if outcome.event is StepEvent.RELEASE and outcome.failure is not None:
            message = outcome.failure.detail  # what it waits for
        row = claims.count(
            tx,
            [claim],
            done=int(bool(outcome.result or warnings)),
            spooled=claims.spooled(outcome),
            message=message,
            warnings=warnings,
        )
        claims.close(tx, claim, outcome, row)
        published.insert_artifacts(tx, [(claim, outcome)])
        job = rows.to_job(row)
        if outcome.event is StepEvent.FAIL and not claim.step.optional:
            assert outcome.failure is not None
            job = moves.fail(tx, claim.job.id, claim.run, outcome.failure)
            moves.follow(tx, job)
        elif finish and outcome.event in (StepEvent.FINISH, StepEvent.FAIL):
            job = moves.finish_last(tx, row) or job
        self._usage.charge(tx, [lanes.close_charge(claim, outcome)])
        return job

    def _finish_together(self, ended: Sequence[Ended]) -> Sequence[Job | BaseException]:
        try:
            return self._finish_all(ended) if self._ends_by is None else self._finish_at_once(self._ends_by, ended)
        except DatabaseUnavailable:
            raise  # it is so for all
        except Exception as error:
            if len(ended) == 1:
                return [error]
        # One of them can't be recorded, and nothing was written: each for itself.
        return [self._finish_together([one])[0] for one in ended]

    def _finish_at_once(self, standing: Standing, ended: Sequence[Ended]) -> list[Job | BaseException]:
        def act() -> Mapping[int, Job]:
            with standing.use() as tx:
                return hot.finish(tx, ended)

        seen = again(act)
        if seen:
            self._usage.note([lanes.close_charge(ended[number].claim, ended[number].outcome) for number in seen])
            self.on_commit()
        return [seen[number] if number in seen else StaleAttempt() for number in range(len(ended))]

    @writing
    def _finish_all(self, tx: Connection, ended: Sequence[Ended]) -> list[Job]:
        by_job: dict[str, list[Ended]] = {}
        for one in ended:
            by_job.setdefault(one.claim.job.id, []).append(one)
        done = {job_id: claims.finish(tx, by_job[job_id]) for job_id in sorted(by_job)}
        self._usage.charge(tx, [lanes.close_charge(one.claim, one.outcome) for one in ended])
        left = {job_id: len(theirs) for job_id, theirs in by_job.items()}
        seen = []
        for one in ended:
            left[one.claim.job.id] -= 1
            seen.append(claims.seen_before(done[one.claim.job.id], left[one.claim.job.id]))
        return seen

"""The order in which steps are claimed, kept so that its head is found at once, whatever waits behind it.

A lane is what one tenant has in one queue. Its row says the rank of its best ready step and the tenant's usage, and
an index has the open lanes in the order of both: priority, then usage. Within a lane an index has the ready steps in
theirs: priority, what a viewer can play first, age. So a claim reads the heads of two indexes and sorts nothing.

Invariants:
- a lane's rank is never worse than its best ready step's. Whoever makes a step ready raises it, in the same
  transaction (`open_lanes`); it is put right, or the lane closed, by whoever looks and finds less (`put_right`);
- whoever raises holds the lane's row (FOR KEY SHARE) until the commit, and `put_right` takes it whole before it looks
  at the steps: it can't overlook a step that is just being made ready;
- usage is the logarithm of all processor seconds that the tenant has used, each counted e^(its moment, see `clock`):
  all tenants' use decays alike, so it needs no writes as time goes by, and the logarithm never runs out of range.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from reelmill.jobs.model import Claim
from reelmill.jobs.ports import Outcome
from reelmill.stores.prepared import Prepared, among
from reelmill.stores.schema import AGE_S, clock, jobs, lanes, now, steps

ESTIMATE_S = 10.0  #: processor seconds that a step counts from its claim to its end
SPARE_LANES = 16  #: looked at beyond those that a claim needs: some may have less than their rank says
UNUSED = -46.0  #: logarithm of the least usage there is, 1e-20 s
WAKE_MOST = 500  #: steps whose not_before has passed, made claimable in one go

READY = sa.and_(steps.c.status == sa.literal_column("'ready'"), sa.not_(steps.c.waits))
ORDER = (steps.c.rank, steps.c.later, steps.c.queued_at, steps.c.job_id, steps.c.index)

_due = sa.and_(steps.c.status == sa.literal_column("'ready'"), steps.c.waits, steps.c.not_before <= now())
_is_due = sa.select(sa.exists().where(_due))
_any_due = Prepared(_is_due)
_due_now = _is_due.scalar_subquery().label("due")
_mine = sa.and_(lanes.c.tenant == sa.bindparam("its_tenant"), lanes.c.queue == sa.bindparam("its_queue"))
_heads = (
    sa.select(lanes.c.tenant, lanes.c.queue, lanes.c.rank, lanes.c.usage, clock().label("clock"), _due_now)
    .where(lanes.c.rank.is_not(None))
    .order_by(lanes.c.rank, lanes.c.usage, lanes.c.tenant, lanes.c.queue)
    .limit(sa.bindparam("most"))
)
_heads_of = Prepared(_heads.where(among(lanes.c.queue, "queues")))
_all_heads = Prepared(_heads)
_first = (
    sa.select(steps.c.id, *ORDER)
    .where(steps.c.queue == sa.bindparam("its_queue"), steps.c.tenant == sa.bindparam("its_tenant"), READY)
    .order_by(*ORDER)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True)
)
_not_again = sa.not_(among(steps.c.id, "read_ids"))
_long_ago = sa.or_(steps.c.rung_at.is_(None), steps.c.rung_at < now(sa.bindparam("back_s", type_=sa.Float)))
_unrung = Prepared(_first.where(_long_ago, _not_again))
_more = Prepared(_first.where(_not_again))
_from_first = Prepared(_first)

_hold = Prepared(sa.select(lanes.c.rank).where(_mine).with_for_update(read=True, key_share=True))
_hold_whole = Prepared(sa.select(lanes.c.rank).where(_mine).with_for_update(skip_locked=True))
_to = sa.bindparam("to", type_=sa.Integer)
_raise = Prepared(sa.update(lanes).where(_mine, sa.or_(lanes.c.rank.is_(None), lanes.c.rank > _to)).values(rank=_to))
_best = sa.select(steps.c.rank).where(READY, steps.c.queue == lanes.c.queue, steps.c.tenant == lanes.c.tenant)
_ready = _best.order_by(*ORDER).limit(1).scalar_subquery()
_put_right = Prepared(sa.update(lanes).where(_mine).values(rank=_ready))
_others = lanes.alias("others")
_new_lane = {
    "tenant": sa.bindparam("its_tenant"),
    "queue": sa.bindparam("its_queue"),
    "usage": sa.func.coalesce(
        sa.select(sa.func.max(_others.c.usage)).where(_others.c.tenant == sa.bindparam("its_tenant")).scalar_subquery(),
        clock() + UNUSED,
    ),
}
_add = {
    "sqlite": sqlite.insert(lanes).values(_new_lane).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(lanes).values(_new_lane).on_conflict_do_nothing(),
}


def _decayed(usage: Any) -> Any:
    """The seconds that a usage is worth now."""
    return sa.func.exp(sa.case((usage - clock() < UNUSED, UNUSED), else_=usage - clock()))


_estimate = sa.bindparam("estimate_s", type_=sa.Float) * _decayed(sa.bindparam("since", type_=sa.Float))
_left = _decayed(lanes.c.usage) + sa.bindparam("cpu_s", type_=sa.Float) - _estimate
_charge = Prepared(
    sa.update(lanes)
    .where(lanes.c.tenant == sa.bindparam("its_tenant"))
    .values(usage=clock() + sa.func.ln(sa.case((_left < math.exp(UNUSED), math.exp(UNUSED)), else_=_left)))
)

_chosen = sa.select(steps.c.id).where(_due).order_by(steps.c.not_before).limit(WAKE_MOST)
_chosen = _chosen.with_for_update(skip_locked=True)


class Ready(NamedTuple):
    """A ready step, as its place in the order of claims needs it."""

    id: str
    rank: int
    later: bool
    queued_at: Any
    job_id: str
    nth: int  #: its index


@dataclass(slots=True, eq=False)
class Lane:
    """An open lane as a claimer sees it."""

    tenant: str
    queue: str
    rank: int
    rows: deque[Ready] = field(default_factory=deque)  #: its first ready steps, in their order
    read_ids: list[str] = field(default_factory=list)  #: of all that were in `rows`
    ended: bool = False  #: there are none behind `rows`


@dataclass(frozen=True, slots=True)
class Charge:
    """What a tenant's usage changes by: processor seconds, and an estimate that was charged at `since` taken back."""

    tenant: str
    cpu_s: float
    estimate_s: float = 0.0
    since: float = 0.0  #: as `clock` tells it


@dataclass(frozen=True, slots=True)
class Next:
    """The lane that all of the next steps come of; they are not locked, nor known to be there."""

    tenant: str
    queue: str
    rank: int


@dataclass(slots=True)
class Choice:
    """The steps that a claim is to take, in order, and the lanes that were found to have less than they say."""

    steps: list[Ready] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    wrong: list[tuple[str, str]] = field(default_factory=list)  #: tenant, queue
    due: bool = False  #: there are steps that waited and needn't any more: `wake` them
    more: bool = False  #: there may be lanes that weren't looked at


def choose(
    tx: Connection,
    limit: int,
    queues: Sequence[str] | None = None,
    *,
    past_due: bool,
    unrung_s: float | None = None,
) -> Choice:
    """Lock and return the first steps in the order of claims; those that others hold are passed over.

    past_due: choose although there are steps to wake first.
    unrung_s: only steps that weren't rung in so many seconds; lanes are then left as they are.
    """
    found = _open_lanes(tx, limit + SPARE_LANES, queues)
    usage = {row["tenant"]: row["usage"] for row in found}
    open_ = [Lane(row["tenant"], row["queue"], row["rank"]) for row in found]
    due = bool(found[0]["due"] if found else _any_due.all(tx, {})[0][0])
    choice = Choice(due=due, more=len(found) == limit + SPARE_LANES)
    if choice.due and not past_due:
        return choice  # one of them may be the first

    if len(open_) == 1:  # as it is most of the time: nobody else's turn comes
        _read(tx, open_[0], limit, unrung_s)
        choice.steps = list(open_[0].rows)
        choice.charges = [Charge(open_[0].tenant, ESTIMATE_S)] * len(choice.steps)
        if len(choice.steps) < limit or choice.steps[-1].rank != open_[0].rank:
            choice.wrong.append((open_[0].tenant, open_[0].queue))
        return choice

    def place(lane: Lane) -> tuple[int, float, str]:
        return lane.rank, usage[lane.tenant], lane.tenant

    while open_ and len(choice.steps) < limit:
        best = min(map(place, open_))
        mine = [lane for lane in open_ if place(lane) == best]  # a tenant may have some in several queues
        others = [place(lane) for lane in open_ if lane.tenant != best[2]]
        for lane in mine:
            if not lane.rows and not lane.ended:
                turns = _turns(best, min(others, default=None), limit - len(choice.steps), found[0]["clock"])
                _read(tx, lane, turns, unrung_s)
            if not lane.rows:
                open_.remove(lane)
                choice.wrong.append((lane.tenant, lane.queue))
            elif lane.rows[0].rank != lane.rank:
                lane.rank = lane.rows[0].rank
                choice.wrong.append((lane.tenant, lane.queue))
        if mine and all(lane in open_ and place(lane) == best for lane in mine):
            lane = min(mine, key=lambda lane: tuple(lane.rows[0][1:]))
            choice.steps.append(lane.rows.popleft())
            choice.charges.append(Charge(lane.tenant, ESTIMATE_S))
            usage[lane.tenant] = _after(usage[lane.tenant], found[0]["clock"])
    return choice


def next_lane(tx: Connection, limit: int, queues: Sequence[str] | None = None) -> Next | None:
    """Return the lane of the next `limit` steps; None when that takes a closer look, as `choose` has it."""
    found = _open_lanes(tx, 2, queues)
    if not found or found[0]["due"]:
        return None
    best, *others = ((row["rank"], row["usage"], row["tenant"]) for row in found)
    if others and (others[0][0], others[0][2]) == (best[0], best[2]):
        return None  # the tenant has some in two queues
    if _turns(best, others[0] if others else None, limit, found[0]["clock"]) < limit:
        return None
    return Next(best[2], found[0]["queue"], best[0])


def _open_lanes(tx: Connection, most: int, queues: Sequence[str] | None) -> list[dict[str, Any]]:
    asked = {"most": most, "queues": queues}
    return (_all_heads if queues is None else _heads_of).rows(tx, asked)


def _read(tx: Connection, lane: Lane, most: int, unrung_s: float | None) -> None:
    asked: dict[str, Any] = {"its_tenant": lane.tenant, "its_queue": lane.queue, "most": most}
    if unrung_s is not None:
        query = _unrung
        asked |= {"back_s": -unrung_s, "read_ids": lane.read_ids}
    elif lane.read_ids:
        query = _more
        asked["read_ids"] = lane.read_ids
    else:
        query = _from_first
    lane.rows.extend(Ready(*row) for row in query.all(tx, asked))
    lane.read_ids += [row.id for row in lane.rows]
    lane.ended = len(lane.rows) < most


def _after(usage: float, moment: float) -> float:
    """Return the usage when one more step has been claimed."""
    return moment + math.log(math.exp(max(usage - moment, UNUSED)) + ESTIMATE_S)


def _turns(best: tuple[int, float, str], other: tuple[int, float, str] | None, most: int, moment: float) -> int:
    """Return how many steps the tenant gets in a row before the other's lane is the better one; 1 … most."""
    if other is None or other[0] != best[0]:
        return most
    ahead_s = math.exp(max(other[1] - moment, UNUSED)) - math.exp(max(best[1] - moment, UNUSED))
    return max(1, min(most, math.ceil(ahead_s / ESTIMATE_S)))


def open_lanes(tx: Connection, ready: Iterable[tuple[str, str, int]]) -> None:
    """Let lanes know of steps that were made ready: (tenant, queue, rank). The last that a transaction does."""
    best: dict[tuple[str, str], int] = {}
    for tenant, queue, rank in ready:
        best[tenant, queue] = min(rank, best.get((tenant, queue), rank))
    for (tenant, queue), rank in sorted(best.items()):
        lane: dict[str, Any] = {"its_tenant": tenant, "its_queue": queue}
        held = _hold.row(tx, lane)
        if held is None:
            tx.execute(_add[tx.dialect.name], lane)
            (held,) = _hold.rows(tx, lane)
        if held["rank"] is None or held["rank"] > rank:
            _raise.write(tx, {**lane, "to": rank})


def put_right(tx: Connection, wrong: Iterable[tuple[str, str]]) -> None:
    """Let lanes say what they have. One that somebody holds is left for the next who looks."""
    for tenant, queue in dict.fromkeys(wrong):
        lane = {"its_tenant": tenant, "its_queue": queue}
        if _hold_whole.row(tx, lane) is not None:
            _put_right.write(tx, lane)


def charge(tx: Connection, charges: Sequence[Charge]) -> None:
    """Change tenants' usage."""
    by_tenant: dict[str, list[Charge]] = {}
    for one in charges:
        by_tenant.setdefault(one.tenant, []).append(one)
    told = []
    for tenant, theirs in sorted(by_tenant.items()):
        since = max(one.since for one in theirs)
        back_s = sum(one.estimate_s * math.exp(one.since - since) for one in theirs if one.estimate_s)
        cpu_s = sum(one.cpu_s for one in theirs)
        told.append({"its_tenant": tenant, "cpu_s": cpu_s, "estimate_s": back_s, "since": since})
    _charge.write_each(tx, told)


def close_charge(claim: Claim, outcome: Outcome) -> Charge:
    """Return what the end of an attempt changes: what it used, instead of the estimate."""
    assert claim.step.started_at is not None
    return Charge(claim.job.tenant, outcome.cpu_s, ESTIMATE_S, claim.step.started_at.timestamp() / AGE_S)


def wake(tx: Connection) -> None:
    """Make steps claimable whose not_before has passed."""
    woken = sa.update(steps).where(steps.c.id.in_(_chosen)).values(waits=False)
    rows = tx.execute(woken.returning(steps.c.tenant, steps.c.queue, steps.c.rank)).all()
    open_lanes(tx, [(row.tenant, row.queue, row.rank) for row in rows])


_adopt = (
    sa.update(steps)
    .where(
        steps.c.id.in_(
            sa.select(steps.c.id)
            .where(steps.c.queue == "cpu", steps.c.tenant == "", READY)
            .limit(WAKE_MOST)
            .with_for_update(skip_locked=True)
        ),
        steps.c.job_id == jobs.c.id,
    )
    .values(tenant=jobs.c.tenant, rank=-jobs.c.priority, queued_at=jobs.c.queued_at)
    .returning(steps.c.tenant, steps.c.queue, steps.c.rank)
)
_asleep = sa.select(lanes.c.tenant, lanes.c.queue, _ready.label("best")).where(lanes.c.rank.is_(None)).subquery()
_missed = sa.select(_asleep.c.tenant, _asleep.c.queue, _asleep.c.best).where(_asleep.c.best.is_not(None))


def mend(tx: Connection) -> None:
    """Open lanes for steps that the release before this one made ready; it knows of no lanes."""
    adopted = tx.execute(_adopt).all()
    missed = tx.execute(_missed).all()
    open_lanes(tx, [(row[0], row[1], row[2]) for row in (*adopted, *missed)])

"""The order in which steps are claimed: priority, then the tenant's recent use, then what plays first, then age."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from looks import age_usage, make_claimable, worth
from making import (
    at_once,
    claim_one,
    done,
    ended,
    execute,
    finish_open_steps,
    make_job,
    make_video,
    make_waiting,
    new_id,
    new_job,
    opening,
    query,
)
from reelmill.errors import NotFound, TransitionRefused
from reelmill.jobs.lifecycle import Event, Status, StepEvent
from reelmill.jobs.model import Claim, Job
from reelmill.jobs.ports import JobStore, Opening
from reelmill.stores.dynamo.store import DynamoStore
from reelmill.stores.lanes import ESTIMATE_S
from reelmill.stores.sql import SqlStore, open_store
from servers import SQL

pytestmark = pytest.mark.req("A-08")
sql_only = pytest.mark.parametrize("store_url", SQL, indirect=True)
APART_S = 2.5  #: between the tenants' uses, so that a slow machine's decay can't turn their order


def use(store: JobStore, tenant: str, cpu_s: float) -> None:
    """Let a tenant have used so many processor seconds."""
    job = make_job(store, tenant=tenant, priority=1000)
    (claim,) = store.claim("user", limit=1, lease_s=60)
    assert claim.job.id == job.id
    store.close(claim, replace(done(), cpu_s=cpu_s))


def planned(n: int, *, first: int | None = None, queues: tuple[str, ...] = ("cpu",)) -> Opening:
    """A stage of `n` steps, of which one is what a viewer can play first, each in the next of the queues."""
    stage = opening("render", n)
    named = zip(stage.specs, itertools.cycle(queues), strict=False)
    return Opening("render", tuple(replace(spec, first=spec.index == first, queue=queue) for spec, queue in named))


def add(store: JobStore, stage: Opening, *, tenant: str = "acme", priority: int = 0) -> Job:
    return store.add_job(new_job(make_video(store, tenant=tenant).id, tenant=tenant, priority=priority), stage)


# ── The model: a plain sort ───────────────────────────────────────────────────────────────────


@dataclass
class Model:
    """Ready steps, and what their tenants have used."""

    used: dict[str, float] = field(default_factory=dict)
    ready: list[tuple[int, str, bool, int, str, int, str]] = field(default_factory=list)

    def add(self, age: int, job: Job, stage: Opening) -> None:
        self.ready += [
            (-job.priority, job.tenant, not spec.first, age, job.id, spec.index, spec.queue) for spec in stage.specs
        ]

    def claim(self, limit: int, queues: tuple[str, ...] | None) -> list[str]:
        taken = []
        for _ in range(limit):
            mine = [step for step in self.ready if queues is None or step[6] in queues]
            if not mine:
                break
            best = min(mine, key=lambda step: (step[0], self.used[step[1]], *step[2:]))
            self.ready.remove(best)
            self.used[best[1]] += ESTIMATE_S
            taken.append(f"{best[4]}:render:{best[5]}")
        return taken


jobs_ = st.lists(
    st.tuples(
        st.integers(0, 3),  # tenant
        st.sampled_from([0, 0, 0, 5, -3]),  # priority
        st.integers(1, 5),  # steps
        st.sampled_from([None, 0, 2]),  # the first that plays
        st.sampled_from([("cpu",), ("gpu",), ("cpu", "llm")]),
    ),
    min_size=1,
    max_size=6,
)
claims_ = st.lists(
    st.tuples(st.sampled_from([1, 1, 2, 7, 32]), st.sampled_from([None, None, ("cpu",), ("gpu", "llm")])), max_size=8
)


def sorted_(examples: int) -> settings:
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=examples, deadline=None, suppress_health_check=checks)


SHARED = example(jobs=[(0, 0, 5, None, ("cpu",)), (1, 0, 5, None, ("cpu",))], claims=[(3, None), (32, None)])


@sql_only
@sorted_(40)
@SHARED
@given(jobs=jobs_, claims=claims_)
def test_steps_are_claimed_as_a_plain_sort_would_have_them(store: JobStore, jobs: Any, claims: Any) -> None:
    assert_sorted(store, jobs, claims)


@pytest.mark.parametrize("store_url", ["dynamodb"], indirect=True)
@sorted_(4)
@SHARED
@given(jobs=jobs_, claims=claims_)
def test_so_are_those_in_dynamodb(store: JobStore, jobs: Any, claims: Any) -> None:
    assert_sorted(store, jobs, claims)


def assert_sorted(store: JobStore, jobs: Any, claims: Any) -> None:
    model = Model()
    tenants = [f"t{new_id()}" for _ in range(4)]
    for number, tenant in enumerate(tenants):
        use(store, tenant, number * APART_S)
        model.used[tenant] = number * APART_S
    for age, (number, priority, n, first, queues) in enumerate(jobs):
        stage = planned(n, first=first, queues=queues)
        job = add(store, stage, tenant=tenants[number], priority=priority)
        model.add(age, job, stage)
        time.sleep(0.002)  # SQLite's stamps count milliseconds
    for limit, named in [*claims, (32, None)]:
        taken = store.claim("w", limit=limit, lease_s=60, queues=named)
        assert [claim.step.id for claim in taken] == model.claim(limit, named)
    while store.claim("w", limit=32, lease_s=60):
        pass


# ── Tenants ───────────────────────────────────────────────────────────────────────────────────


def test_a_new_tenant_beside_one_with_a_hundred_running_steps_gets_its_turn_at_once(store: JobStore) -> None:
    many = 30 if isinstance(store, DynamoStore) else 100
    make_job(store, n=3 * many, tenant="hog")
    assert len(store.claim("w", limit=many, lease_s=60)) == many
    make_job(store, n=30, tenant="new")
    assert {claim_one(store).job.tenant for _ in range(10)} == {"new"}
    assert {claim.job.tenant for claim in store.claim("w", limit=20, lease_s=60)} == {"new"}
    assert claim_one(store).job.tenant == "hog"


def test_two_tenants_share_what_comes_free(store: JobStore) -> None:
    use(store, "a", 1), use(store, "b", 2)
    for tenant in "aabb":
        make_job(store, n=20, tenant=tenant)
    one_by_one = Counter(claim_one(store).job.tenant for _ in range(10))
    together = Counter(claim.job.tenant for claim in store.claim("w", limit=20, lease_s=60))
    assert (one_by_one, together) == (Counter(a=5, b=5), Counter(a=10, b=10))


def test_what_steps_really_used_is_charged_when_they_are_closed(store: JobStore) -> None:
    for tenant, cpu_s in {"little": 3.0, "much": 300.0}.items():
        make_job(store, n=2, tenant=tenant)
        first, second = store.claim("w", limit=2, lease_s=60)
        assert worth(store)[tenant] == pytest.approx(2 * ESTIMATE_S, rel=0.05)
        store.close(first, replace(done(), cpu_s=cpu_s))
        store.close(second, replace(ended(StepEvent.RELEASE, failure=None), cpu_s=0.0))
        assert worth(store)[tenant] == pytest.approx(cpu_s, rel=0.05)
        store.apply(first.job.id, Event.CANCEL)
    for tenant in ("much", "little"):
        make_job(store, n=2, tenant=tenant)
    assert [claim_one(store).job.tenant for _ in range(4)] == ["little", "little", "much", "much"]


def test_an_hour_halves_what_was_used(store: JobStore) -> None:
    use(store, "early", 100), use(store, "late", 60)
    age_usage(store, "early", 3600)
    assert worth(store)["early"] == pytest.approx(50, rel=0.05)
    for tenant in ("late", "early"):
        make_job(store, tenant=tenant)
    assert [claim_one(store).job.tenant for _ in range(2)] == ["early", "late"]


def test_use_in_one_queue_counts_in_the_others_and_in_those_that_come_later(store: JobStore) -> None:
    add(store, planned(1), tenant="a")
    store.close(claim_one(store), replace(done(), cpu_s=500.0))
    add(store, planned(1, queues=("gpu",)), tenant="a")
    add(store, planned(1, queues=("gpu",)), tenant="b")
    assert [claim_one(store).job.tenant for _ in range(2)] == ["b", "a"]
    assert worth(store)["a"] == pytest.approx(500 + ESTIMATE_S, rel=0.05)


def test_a_tenant_that_used_much_is_still_served_when_nobody_else_waits(store: JobStore) -> None:
    use(store, "hog", 1e9)
    make_job(store, tenant="hog")
    assert claim_one(store).job.tenant == "hog"


def test_the_oldest_step_is_first_whichever_queue_it_is_in(store: JobStore) -> None:
    first = add(store, planned(2, queues=("io",)))
    time.sleep(0.002)
    second = add(store, planned(2, queues=("cpu",)))
    assert [claim_one(store).job.id for _ in range(4)] == [first.id] * 2 + [second.id] * 2


@pytest.mark.req("C-05")
def test_the_place_in_the_queue_follows_the_same_order(store: JobStore) -> None:
    use(store, "hog", 1000), use(store, "shy", 1)
    hogs = [make_job(store, tenant="hog") for _ in range(2) if not time.sleep(0.002)]
    urgent = make_job(store, tenant="hog", priority=1)
    shy = make_job(store, tenant="shy")
    order = [urgent, shy, *hogs]
    assert [store.queue_position(job.id) for job in order] == [0, 1, 2, 3]
    assert [claim_one(store).job.id for _ in order] == [job.id for job in order]


# ── Priority ──────────────────────────────────────────────────────────────────────────────────


def test_a_priority_may_be_changed_while_the_job_waits(store: JobStore) -> None:
    jobs = [make_job(store, n=2) for _ in range(3) if not time.sleep(0.002)]
    changed = store.set_priority(jobs[2].id, 7, "acme")
    assert (changed.priority, changed.status) == (7, Status.QUEUED)
    store.set_priority(jobs[0].id, -1000)
    assert [event.data for event in store.events_after({jobs[2].id: 2})] == [{"priority": 7}]
    assert store.queue_position(jobs[0].id) == 2
    order = [claim_one(store).job.id for _ in range(6)]
    assert order == [jobs[n].id for n in (2, 2, 1, 1, 0, 0)]


def test_a_changed_priority_holds_for_steps_that_come_back_and_for_later_stages(store: JobStore) -> None:
    job, other = make_job(store, n=1), make_job(store, n=1, priority=1)
    urgent = next(claim for claim in store.claim("w", limit=2, lease_s=60) if claim.job.id == job.id)
    store.set_priority(job.id, 5)
    store.set_priority(other.id, -5)
    store.close(urgent, ended(StepEvent.AGAIN))
    make_job(store, n=1, priority=4)
    assert claim_one(store).job.id == job.id
    waiting = make_waiting(store)[1]
    assert store.set_priority(waiting.id, 9).status is Status.AWAITING_UPLOAD
    store.uploaded(waiting.video_id, {}, waiting.id, opening())
    assert claim_one(store).job.id == waiting.id


def test_the_priority_of_an_ended_or_strange_job_can_not_be_changed(store: JobStore) -> None:
    job = make_job(store)
    for unknown in (lambda: store.set_priority(job.id, 1, "other"), lambda: store.set_priority(new_id(), 1)):
        with pytest.raises(NotFound):
            unknown()
    store.apply(job.id, Event.CANCEL)
    with pytest.raises(TransitionRefused, match="cancelled"):
        store.set_priority(job.id, 1)
    assert store.job(job.id).priority == 0


def test_priorities_change_while_everybody_claims(store: JobStore) -> None:
    steps = 5 if isinstance(store, DynamoStore) else 20
    jobs = [make_job(store, n=steps, priority=n % 3) for n in range(6)]
    stop = threading.Event()

    def change() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            store.set_priority(jobs[number % 6].id, number % 5 - 2)

    def claim() -> list[Claim]:
        taken: list[Claim] = []
        while got := store.claim(threading.current_thread().name, limit=2, lease_s=60):
            taken += got
        stop.set()
        return taken

    *claimed, changed = at_once(*[claim] * 4, change)
    assert changed is None
    ids = [one.step.id for theirs in claimed for one in theirs]
    assert len(ids) == len(set(ids)) == 6 * steps


# ── Queues, and steps that wait ───────────────────────────────────────────────────────────────


def test_a_worker_gets_steps_of_its_queues_only(store: JobStore) -> None:
    job = add(store, planned(6, queues=("cpu", "gpu", "mine")))
    assert [claim.step.index for claim in store.claim("w", limit=9, lease_s=60, queues=["gpu"])] == [1, 4]
    assert store.claim("w", limit=9, lease_s=60, queues=["gpu"]) == []
    assert store.claim("w", limit=9, lease_s=60, queues=[]) == []
    both = store.claim("w", limit=9, lease_s=60, queues=["mine", "io", "cpu"])
    assert [claim.step.index for claim in both] == [0, 2, 3, 5]
    assert {step.queue for step in store.steps(job.id)} == {"cpu", "gpu", "mine"}


def test_what_a_viewer_can_play_first_goes_before_older_jobs_other_steps(store: JobStore) -> None:
    older, newer = (add(store, planned(3, first=2)) for _ in range(2) if not time.sleep(0.002))
    order = [(claim.job.id, claim.step.index) for claim in store.claim("w", limit=9, lease_s=60)]
    assert order == [(older.id, 2), (newer.id, 2), (older.id, 0), (older.id, 1), (newer.id, 0), (newer.id, 1)]


def test_steps_that_wait_are_in_nobodys_way_and_are_first_again_when_their_time_has_come(store: JobStore) -> None:
    many = 20 if isinstance(store, DynamoStore) else 200
    urgent = make_job(store, n=many, priority=9)
    for claim in store.claim("w", limit=many, lease_s=60):
        store.close(claim, ended(StepEvent.AGAIN, delay_s=3600.0))
    patient = make_job(store, n=2)
    assert claim_one(store).job.id == patient.id
    assert store.claim("w", limit=9, lease_s=60, queues=["gpu"]) == []
    make_claimable(store, urgent.id)
    assert claim_one(store).job.id == urgent.id
    assert len(store.claim("w", limit=300, lease_s=60)) == many


@sql_only
def test_lanes_without_steps_are_closed_and_opened_again(store: SqlStore) -> None:
    def open_lanes() -> list[str]:
        return [row["tenant"] for row in query(store, "SELECT tenant FROM lanes WHERE rank IS NOT NULL")]

    for tenant in "abc":
        make_job(store, tenant=tenant, n=2)
    finish_open_steps(store)
    assert open_lanes() == []
    make_job(store, tenant="b")
    assert open_lanes() == ["b"]
    assert claim_one(store).job.tenant == "b"


@sql_only
def test_steps_of_the_release_before_are_found_by_the_sweeper(store: SqlStore) -> None:
    """While both releases are at work, the older makes steps without a lane, also in tenants' closed ones."""
    jobs = [make_job(store, n=2, tenant=tenant) for tenant in ("old", "late")]
    execute(store, "UPDATE steps SET tenant = '', rank = 0, queued_at = NULL WHERE job_id = :id", id=jobs[0].id)
    execute(store, "UPDATE lanes SET rank = NULL WHERE tenant = 'late'")
    execute(store, "DELETE FROM lanes WHERE tenant = 'old'")
    assert store.claim("w", limit=9, lease_s=60) == []
    assert len(store.to_ring(9, again_after_s=60)) == 4
    assert len(store.claim("w", limit=9, lease_s=60)) == 4


# ── Many at once ──────────────────────────────────────────────────────────────────────────────


@sql_only
@pytest.mark.req("A-08", "C-04")
def test_twenty_claimers_take_two_thousand_steps_once_each_and_nearly_in_order(store_url: str) -> None:
    stores = [open_store(store_url) for _ in range(4)]  # as in four processes
    try:
        for priority in (9, 8, 7, 6, 5, 4, 3, 2, 1, 0):
            make_job(stores[0], n=200, priority=priority)

        def claim(store: SqlStore) -> list[str]:
            taken: list[str] = []
            while got := store.claim(threading.current_thread().name, limit=5, lease_s=600):
                taken += [one.step.id for one in got]
            return taken

        claimed = at_once(*[lambda s=store: claim(s) for store in stores for _ in range(5)])
        taken = [step for theirs in claimed for step in theirs]
        assert len(taken) == len(set(taken)) == 2000
        by_time = "SELECT rank FROM steps ORDER BY started_at, rank"
        ranks = [row["rank"] for row in query(stores[0], by_time)]
        # On PostgreSQL a claimer may hold five that it takes later than others take theirs.
        in_order = sum(abs(rank + 9 - n // 200) <= 1 for n, rank in enumerate(ranks))
        assert in_order >= (2000 if "sqlite" in store_url else 1800)
    finally:
        for store in stores:
            store.close_engine()


@contextmanager
def statements(store: SqlStore) -> Iterator[list[tuple[str, Any]]]:
    """Collect what is sent to the database meanwhile."""
    sent: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        sent.append((statement, parameters[0] if many else parameters))

    sa.event.listen(store.engine, "before_cursor_execute", keep)
    try:
        yield sent
    finally:
        sa.event.remove(store.engine, "before_cursor_execute", keep)


def plan_of(store: SqlStore, statement: str, parameters: Any) -> str:
    explain = "EXPLAIN QUERY PLAN " if store.engine.dialect.name == "sqlite" else "EXPLAIN "
    with store.engine.connect() as connection:
        return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(explain + statement, parameters))


@sql_only
@pytest.mark.parametrize("tenants", [1, 40])
def test_a_claim_sorts_nothing_and_scans_no_table(store: SqlStore, tenants: int) -> None:
    for number in range(40):
        make_job(store, n=200, tenant=f"t{number % tenants}", priority=number % 3)
    execute(store, "ANALYZE")
    acts: dict[str, Callable[[], Any]] = {
        "claim": lambda: store.claim("w", limit=4, lease_s=60),
        "claim of queues": lambda: store.claim("w", limit=4, lease_s=60, queues=["cpu", "gpu"]),
        "ring": lambda: store.to_ring(4, again_after_s=60),
    }
    for name, act in acts.items():
        with statements(store) as sent:
            assert act()
        for statement, parameters in sent:
            if not statement.startswith(("SELECT", "UPDATE")):
                continue
            plan = plan_of(store, statement, parameters)
            told = f"{name}: {statement}\n{plan}"
            used = set(re.findall(r"(?:INDEX|using|on) ((?:ix|pk|sqlite_autoindex)_steps\w*)", plan))
            assert used <= {"ix_steps_order", "ix_steps_waiting", "pk_steps", "sqlite_autoindex_steps_1"}, told
            assert not re.search(r"SCAN steps(?! USING)|Seq Scan on steps", plan), told
            if "ORDER BY steps.rank" in statement or "ORDER BY lanes.rank" in statement:
                assert "FOR ORDER BY" not in plan, told
            if "ORDER BY steps.rank" in statement:
                assert "Sort" not in plan and "ix_steps_order" in plan, told

"""Migrations on real databases with rows in them: no job is lost and every queued one can still be claimed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from making import PROBE, claim_one, db_clock, done, execute, finish_open_steps, make_job, query
from reelmill.jobs.lifecycle import Event, Processing, Status, StepStatus
from reelmill.jobs.ports import FreshSecret
from reelmill.stores import migrate
from reelmill.stores.access import SqlAccess
from reelmill.stores.schema import metadata
from reelmill.stores.sql import SqlStore, open_store

VIDEO = "0b0e0f6e-0000-4000-8000-000000000001"
JOB = "0b0e0f6e-0000-4000-8000-000000000002"
FIRST = "0001"


@contextmanager
def opened(url: str) -> Iterator[SqlStore]:
    store = open_store(url)
    try:
        yield store
    finally:
        store.close_engine()


def insert_rows_of_the_first_revision(store: SqlStore) -> None:
    """A video, a queued job and three ready steps, as the first release wrote them."""
    now = db_clock(store)
    execute(
        store,
        f"""INSERT INTO videos (id, tenant, user_id, filename, content_type, size_bytes, "key", labels, upload_status,
              source, processing_status, processing_job_id, created_at, uploaded_at, upload_expires_at)
            VALUES (:id, 'acme', 'ann', 'Grüße.mp4', 'video/mp4', 123456789012, 'acme/original/1', '{{"mall": "7"}}',
              'uploaded', '{{"duration_s": 60.0, "width": 640, "height": 360}}', 'processing', :job,
              {now}, {now}, {now})""",
        id=VIDEO,
        job=JOB,
    )
    execute(
        store,
        f"""INSERT INTO jobs (id, video_id, tenant, user_id, pipeline, pipeline_version, params, stages, status, stage,
              run, steps_planned, steps_done, progress_pct, message, priority, last_seq, created_at, queued_at)
            VALUES (:job, :video, 'acme', 'ann', 'clips', '1', '{{"length_s": 30.0}}', '[["render", 100]]', 'queued',
              'render', 1, 3, 0, 0, 'Queued', 5, 1, {now}, {now})""",
        job=JOB,
        video=VIDEO,
    )
    execute(
        store,
        f"""INSERT INTO events (job_id, seq, type, data, created_at)
            VALUES (:job, 1, 'job.queued', '{{"steps": 3}}', {now})""",
        job=JOB,
    )
    false = "0" if store.engine.dialect.name == "sqlite" else "false"
    for index in range(3):
        execute(
            store,
            f"""INSERT INTO steps (id, job_id, stage, stage_no, "index", kind, params, digest, optional, status, run,
                  attempt, tries, crashes, not_before, progress, created_at)
                VALUES (:id, :job, 'render', 0, :index, 'clip', '{{"part": {index}}}', 'd', {false}, 'ready', 0,
                  0, 0, 0, {now}, 0, {now})""",
            id=f"{JOB}:render:{index}",
            job=JOB,
            index=index,
        )


def rows_by_table(store: SqlStore, tables: list[str]) -> dict[str, list[dict[str, object]]]:
    return {
        table: sorted(query(store, f'SELECT * FROM "{table}"'), key=lambda row: str(list(row.values())))
        for table in tables
    }


@pytest.mark.req("D-06")
def test_jobs_queued_under_the_first_revision_are_claimed_after_the_upgrade(empty_url: str) -> None:
    migrate.upgrade(empty_url, FIRST)
    with opened(empty_url) as store:
        insert_rows_of_the_first_revision(store)
    migrate.upgrade(empty_url)

    with opened(empty_url) as store:
        video, job = store.video_and_job(VIDEO)
        assert (video.filename, video.size_bytes, video.labels) == ("Grüße.mp4", 123456789012, {"mall": "7"})
        assert video.source == PROBE
        assert job is not None and (job.status, job.priority, job.params) == (Status.QUEUED, 5, {"length_s": 30.0})
        assert job.warnings == ()
        assert [event.type for event in store.events_after({JOB: 0})] == ["job.queued"]

        assert [step.index for step in store.steps(JOB)] == [0, 1, 2]
        assert finish_open_steps(store) == 3
        assert store.apply(JOB, Event.FINISH, run=1).status is Status.COMPLETED
        assert store.video(VIDEO).processing_status is Processing.COMPLETED
        assert [event.seq for event in store.events_after({JOB: 0})] == list(range(1, store.job(JOB).last_seq + 1))


@pytest.mark.req("D-06")
def test_going_back_to_the_first_revision_and_up_again_keeps_every_job(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    with opened(empty_url) as store:
        untouched, half_done = make_job(store, n=2), make_job(store, n=3, priority=1)
        for _ in range(2):
            claim = claim_one(store)
            store.close(claim, done({"part": claim.step.index}))
        tables = ["videos", "jobs", "steps", "attempts", "events"]
        before = rows_by_table(store, tables)

    migrate.downgrade(empty_url, FIRST)
    assert migrate.current(empty_url) == FIRST
    migrate.upgrade(empty_url)

    with opened(empty_url) as store:
        assert rows_by_table(store, tables) == before
        assert [step.status for step in store.steps(half_done.id)] == [StepStatus.DONE] * 2 + [StepStatus.READY]
        assert finish_open_steps(store) == 3
        for job in (untouched, half_done):
            assert store.apply(job.id, Event.FINISH, run=1).status is Status.COMPLETED


def test_a_row_still_needs_its_parent_after_going_back_and_up_again(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    migrate.downgrade(empty_url, FIRST)
    migrate.upgrade(empty_url)
    with opened(empty_url) as store, pytest.raises(sa.exc.IntegrityError):
        execute(
            store,
            f"INSERT INTO events (job_id, seq, type, data, created_at) VALUES ('none', 1, 't', '{{}}', "
            f"{db_clock(store)})",
        )


def test_keys_of_an_earlier_revision_open_what_they_opened(empty_url: str) -> None:
    migrate.upgrade(empty_url, "0003")
    with opened(empty_url) as store:
        now = db_clock(store)
        for secret, ended in (("good", "NULL"), ("revoked", now)):
            execute(
                store,
                f"""INSERT INTO api_keys (id, name, prefix, sha256, scopes, subject, tenant, created_at, revoked_at)
                    VALUES (:id, 'shop', 'rm_', :id, '["upload"]', 'ann', 'acme', {now}, {ended})""",
                id=secret,
            )
    migrate.upgrade(empty_url)
    with opened(empty_url) as store:
        access = SqlAccess(store.engine)
        found = access.find_key("good")
        assert found is not None and found.active and found.scopes == ("upload",)
        assert access.find_key("revoked") is None
        assert access.audit_log().items == ()
        access.rotate_key("good", FreshSecret("new", "rm_", "new"), 3600)
    migrate.downgrade(empty_url, "0003")
    migrate.upgrade(empty_url)
    with opened(empty_url) as store:
        access = SqlAccess(store.engine)
        assert access.find_key("good") is not None and access.find_key("new") is not None


@pytest.mark.parametrize("store_url", ["sqlite", "postgres"], indirect=True)
def test_the_migrations_build_exactly_the_tables_that_the_code_names(store: SqlStore) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


@pytest.mark.req("D-06")
def test_the_revisions_are_a_chain_in_the_order_of_their_files_names() -> None:
    """`migrate.head` and `is_known` look at the names alone."""
    chain = ScriptDirectory(str(migrate.MIGRATIONS))
    revisions = [script.revision for script in chain.walk_revisions()][::-1]
    assert chain.get_heads() == [migrate.head()]
    assert revisions == sorted(revisions) and all(migrate.is_known(each) for each in revisions)
    assert len(revisions) == len(list((migrate.MIGRATIONS / "versions").glob("*.py")))


def test_going_all_the_way_back_leaves_no_table(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    migrate.downgrade(empty_url, "base")
    with opened(empty_url) as store:
        assert set(sa.inspect(store.engine).get_table_names()) <= {"alembic_version"}


def test_upgrading_twice_changes_nothing(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    with opened(empty_url) as store:
        job = make_job(store)
    migrate.upgrade(empty_url)
    assert migrate.current(empty_url) == migrate.head()
    with opened(empty_url) as store:
        assert store.job(job.id) == job


def test_an_empty_database_has_no_revision(empty_url: str) -> None:
    assert migrate.current(empty_url) is None


def test_servers_that_start_together_upgrade_one_after_the_other(empty_url: str) -> None:
    failed: list[BaseException] = []
    together = threading.Barrier(4)

    def start() -> None:
        together.wait()
        try:
            migrate.upgrade(empty_url)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert migrate.current(empty_url) == migrate.head()

"""Shares of results and the signing secret, on every database."""

from __future__ import annotations

import threading

import pytest

from making import db_now, make_job, new_id
from reelmill.errors import NotFound
from reelmill.jobs.model import Caller, Job
from reelmill.stores.access import SqlAccess
from reelmill.stores.sql import SqlStore
from reelmill.wiring import access_of

ANN = Caller(tenant="acme", user_id="ann")


@pytest.fixture
def access(store: SqlStore) -> SqlAccess:
    return access_of(store)


@pytest.fixture
def job(store: SqlStore) -> Job:
    return store.job(make_job(store).id)


@pytest.mark.req("C-02", "E-03")
def test_a_share_is_found_until_it_is_revoked(access: SqlAccess, store: SqlStore, job: Job) -> None:
    before = db_now(store)
    share = access.add_share(new_id(), job, life_s=600, embed=["https://one.example"], by=ANN)
    assert before <= share.created_at <= db_now(store)
    assert (share.expires_at - share.created_at).total_seconds() == pytest.approx(600, abs=0.01)
    assert (share.job_id, share.tenant, share.actor, share.embed) == (
        job.id,
        job.tenant,
        "ann",
        ("https://one.example",),
    )
    assert access.find_share(job.id, share.id) == share
    assert access.find_share(new_id(), share.id) is None
    assert access.find_share(job.id, new_id()) is None
    revoked = access.revoke_share(job.id, share.id, ANN)
    assert revoked.revoked_at is not None
    assert access.find_share(job.id, share.id) is None
    assert access.revoke_share(job.id, share.id, ANN) == revoked
    assert access.shares(job.id) == [revoked]


@pytest.mark.req("E-03")
def test_a_share_ends_by_the_databases_clock(access: SqlAccess, job: Job) -> None:
    ended = access.add_share(new_id(), job, life_s=0)
    assert access.find_share(job.id, ended.id) is None
    assert access.shares(job.id) == [ended]


def test_an_unknown_share_is_not_revoked(access: SqlAccess, job: Job) -> None:
    share = access.add_share(new_id(), job, life_s=60)
    for job_id, share_id in ((job.id, new_id()), (new_id(), share.id)):
        with pytest.raises(NotFound):
            access.revoke_share(job_id, share_id)
    assert access.find_share(job.id, share.id) == share


def test_making_and_revoking_are_in_the_audit_log(access: SqlAccess, job: Job) -> None:
    share = access.add_share(new_id(), job, life_s=60, by=ANN)
    access.revoke_share(job.id, share.id, ANN)
    access.revoke_share(job.id, share.id, ANN)
    told = access.audit_log(job.tenant, target=job.id).items
    assert sorted(entry.action for entry in told) == ["share.create", "share.revoke"]
    assert {(entry.actor, entry.data["share_id"]) for entry in told} == {("ann", share.id)}


def test_a_share_goes_with_its_video(access: SqlAccess, store: SqlStore, job: Job) -> None:
    access.add_share(new_id(), job, life_s=60)
    store.forget(job.tenant, job.video_id)
    assert access.shares(job.id) == []


def test_all_who_ask_at_once_get_the_same_secret(access: SqlAccess) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(access.signing_secret())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1 and len(found[0]) == 32
    assert access.signing_secret() == found[0]

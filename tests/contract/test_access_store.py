"""Keys and idempotent requests, on both databases."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from making import db_clock, db_now, execute, new_id, query
from reelmill.errors import IdempotencyInProgress, IdempotencyMismatch, NotFound
from reelmill.jobs.model import ApiKey
from reelmill.jobs.ports import StoredReply
from reelmill.stores.access import SqlAccess
from reelmill.stores.sql import SqlStore

REPLY = StoredReply(201, '{"job_id": "Grüße"}', "application/json")
REQUEST = ("acme", "/api/v1/jobs", "key-1")


@pytest.fixture
def access(store: SqlStore) -> SqlAccess:
    return SqlAccess(store.engine)


def sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def add_key(access: SqlAccess, secret: str, tenant: str = "acme") -> ApiKey:
    key = ApiKey(
        id=new_id(),
        name=f"key of {tenant}",
        prefix=secret[:4],
        scopes=("jobs:read", "jobs:write"),
        subject="ann",
        tenant=tenant,
        created_at=datetime(2001, 1, 1, tzinfo=UTC),
    )
    return access.add_key(key, sha256(secret))


def age(store: SqlStore, seconds: float) -> None:
    """Make every stored request `seconds` old."""
    execute(store, f"UPDATE requests SET created_at = {db_clock(store, seconds)}")


def test_a_key_is_found_by_the_hash_of_its_secret(access: SqlAccess) -> None:
    key = add_key(access, "rm_one")
    add_key(access, "rm_two")
    assert access.find_key(sha256("rm_one")) == key
    assert (key.scopes, key.subject, key.tenant, key.prefix) == (("jobs:read", "jobs:write"), "ann", "acme", "rm_o")
    assert key.revoked_at is None


def test_an_unknown_secret_finds_nothing(access: SqlAccess) -> None:
    add_key(access, "rm_one")
    assert access.find_key(sha256("rm_other")) is None
    assert access.find_key("rm_one") is None


def test_the_secret_itself_is_nowhere_in_the_database(access: SqlAccess, store: SqlStore) -> None:
    add_key(access, "rm_very_secret")
    assert "rm_very_secret" not in str(query(store, "SELECT * FROM api_keys"))


def test_a_revoked_key_opens_nothing_but_is_still_listed(access: SqlAccess) -> None:
    key = add_key(access, "rm_one")
    revoked = access.revoke_key(key.id)
    assert revoked.revoked_at is not None
    assert access.find_key(sha256("rm_one")) is None
    assert access.keys() == [revoked]


def test_revoking_twice_keeps_the_first_moment(access: SqlAccess) -> None:
    key = add_key(access, "rm_one")
    assert access.revoke_key(key.id) == access.revoke_key(key.id)


def test_keys_are_listed_by_tenant(access: SqlAccess) -> None:
    ours, theirs = add_key(access, "rm_one", "acme"), add_key(access, "rm_two", "globex")
    assert access.keys("acme") == [ours]
    assert access.keys("globex") == [theirs]
    assert access.keys("nobody") == []
    assert sorted(access.keys(), key=lambda key: key.tenant) == [ours, theirs]


def test_another_tenants_key_cannot_be_revoked(access: SqlAccess) -> None:
    key = add_key(access, "rm_one", "acme")
    with pytest.raises(NotFound):
        access.revoke_key(key.id, "globex")
    with pytest.raises(NotFound):
        access.revoke_key(new_id())
    assert access.find_key(sha256("rm_one")) == key


@pytest.mark.req("C-02")
def test_a_keys_stamps_are_the_databases(access: SqlAccess, store: SqlStore) -> None:
    before = db_now(store)
    key = access.revoke_key(add_key(access, "rm_one").id)
    assert key.revoked_at is not None
    assert before <= key.created_at <= key.revoked_at <= db_now(store)


def test_a_new_request_is_worked_on(access: SqlAccess) -> None:
    assert access.begin_request(*REQUEST, "body") is None


def test_the_same_request_gets_the_stored_reply(access: SqlAccess) -> None:
    access.begin_request(*REQUEST, "body")
    access.finish_request(*REQUEST, REPLY)
    assert access.begin_request(*REQUEST, "body") == REPLY
    assert access.begin_request(*REQUEST, "body") == REPLY


def test_another_body_under_the_same_key_is_refused(access: SqlAccess) -> None:
    access.begin_request(*REQUEST, "body")
    with pytest.raises(IdempotencyMismatch):
        access.begin_request(*REQUEST, "other")
    access.finish_request(*REQUEST, REPLY)
    with pytest.raises(IdempotencyMismatch):
        access.begin_request(*REQUEST, "other")
    assert access.begin_request(*REQUEST, "body") == REPLY


def test_a_key_means_nothing_to_another_tenant_or_path(access: SqlAccess) -> None:
    access.begin_request(*REQUEST, "body")
    access.finish_request(*REQUEST, REPLY)
    assert access.begin_request("globex", REQUEST[1], REQUEST[2], "other") is None
    assert access.begin_request(REQUEST[0], "/api/v1/uploads/initiate", REQUEST[2], "other") is None


def test_a_request_that_comes_again_too_early_is_told_to_wait(access: SqlAccess) -> None:
    access.begin_request(*REQUEST, "body")
    with pytest.raises(IdempotencyInProgress):
        access.begin_request(*REQUEST, "body")


def test_of_ten_equal_requests_at_once_one_is_worked_on(access: SqlAccess) -> None:
    together, seen = threading.Barrier(10), Counter[str]()

    def send() -> None:
        together.wait()
        try:
            seen[str(access.begin_request(*REQUEST, "body"))] += 1
        except Exception as error:
            seen[type(error).__name__] += 1

    threads = [threading.Thread(target=send) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"None": 1, "IdempotencyInProgress": 9}


def test_a_dropped_request_may_be_made_again_with_any_body(access: SqlAccess) -> None:
    access.begin_request(*REQUEST, "body")
    access.drop_request(*REQUEST)
    assert access.begin_request(*REQUEST, "corrected") is None


def test_dropping_does_not_forget_a_reply(access: SqlAccess) -> None:
    access.begin_request(*REQUEST, "body")
    access.finish_request(*REQUEST, REPLY)
    access.drop_request(*REQUEST)
    assert access.begin_request(*REQUEST, "body") == REPLY


def test_a_request_abandoned_for_a_minute_is_taken_over_once(access: SqlAccess, store: SqlStore) -> None:
    access.begin_request(*REQUEST, "body")
    age(store, 55)
    with pytest.raises(IdempotencyInProgress):
        access.begin_request(*REQUEST, "body")
    age(store, 61)
    with pytest.raises(IdempotencyMismatch):
        access.begin_request(*REQUEST, "other")
    assert access.begin_request(*REQUEST, "body") is None
    with pytest.raises(IdempotencyInProgress):
        access.begin_request(*REQUEST, "body")


def test_an_old_reply_is_kept_until_it_is_purged(access: SqlAccess, store: SqlStore) -> None:
    access.begin_request(*REQUEST, "body")
    access.finish_request(*REQUEST, REPLY)
    age(store, timedelta(hours=23).total_seconds())
    assert access.purge_requests() == 0
    assert access.begin_request(*REQUEST, "body") == REPLY
    age(store, timedelta(hours=25).total_seconds())
    assert access.purge_requests() == 1
    assert access.begin_request(*REQUEST, "other") is None
    assert access.purge_requests() == 0

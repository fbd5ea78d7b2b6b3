"""Keys and idempotent requests, on every database."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from looks import forget_reserved_ids, set_back, texts
from making import db_now, new_id
from reelmill.errors import CursorInvalid, IdempotencyInProgress, IdempotencyMismatch, NotFound
from reelmill.jobs.model import ApiKey, Caller
from reelmill.jobs.ports import FreshSecret, Reservation, StoredReply
from reelmill.stores.access import SqlAccess
from reelmill.stores.sql import SqlStore
from reelmill.wiring import access_of

REPLY = StoredReply(201, '{"job_id": "Grüße"}', "application/json")
REQUEST = ("acme", "/api/v1/jobs", "key-1")


@pytest.fixture
def access(store: SqlStore) -> SqlAccess:
    return access_of(store)


def begin(
    access: SqlAccess, body: str, *, tenant: str = REQUEST[0], path: str = REQUEST[1]
) -> StoredReply | Reservation:
    """Begin the request as a server does that knows nothing of it: with a new id."""
    return access.begin_request(tenant, path, REQUEST[2], body, new_id())


def reserved(access: SqlAccess, body: str = "body") -> Reservation:
    found = begin(access, body)
    assert isinstance(found, Reservation)
    return found


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
    set_back(store, "requests", "created_at", seconds)


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
    assert "rm_very_secret" not in texts(store, "api_keys")


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


# ── rotation ──────────────────────────────────────────────────────────────────────────────────


def fresh(secret: str) -> FreshSecret:
    return FreshSecret(new_id(), secret[:4], sha256(secret))


def pass_millisecond() -> None:
    """Let a millisecond pass: what SQLite stamps within one has no order."""
    time.sleep(0.002)


def test_a_rotated_key_and_its_successor_both_open_until_the_overlap_is_over(
    access: SqlAccess, store: SqlStore
) -> None:
    key = add_key(access, "rm_old")
    pass_millisecond()
    new, old = access.rotate_key(key.id, fresh("rm_new"), 3600, "acme")
    assert (new.name, new.scopes, new.subject, new.tenant) == (key.name, key.scopes, key.subject, key.tenant)
    assert new.active and new.revoked_at is None and new.id != key.id
    assert old.active and old.revoked_at is not None
    assert timedelta(minutes=59) < old.revoked_at - db_now(store) <= timedelta(hours=1)
    assert access.find_key(sha256("rm_old")) == old and access.find_key(sha256("rm_new")) == new
    assert access.keys("acme") == [old, new]
    set_back(store, "api_keys", "revoked_at", 0.001)
    assert access.find_key(sha256("rm_old")) is None and access.find_key(sha256("rm_new")) == new
    assert [one.active for one in access.keys("acme")] == [False, True]


def test_an_overlap_ends_by_itself(access: SqlAccess) -> None:
    access.rotate_key(add_key(access, "rm_old").id, fresh("rm_new"), 1)
    deadline = time.monotonic() + 30
    while access.find_key(sha256("rm_old")) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_rotation_without_overlap_stops_the_old_key_at_once(access: SqlAccess) -> None:
    _, old = access.rotate_key(add_key(access, "rm_old").id, fresh("rm_new"), 0)
    assert not old.active and access.find_key(sha256("rm_old")) is None


def test_revoking_within_the_overlap_stops_the_key_now(access: SqlAccess, store: SqlStore) -> None:
    key = add_key(access, "rm_old")
    access.rotate_key(key.id, fresh("rm_new"), 3600)
    revoked = access.revoke_key(key.id)
    assert revoked.revoked_at is not None and revoked.revoked_at <= db_now(store) and not revoked.active
    assert access.find_key(sha256("rm_old")) is None


def test_of_many_rotations_at_once_one_succeeds(access: SqlAccess) -> None:
    key = add_key(access, "rm_old")
    together, seen = threading.Barrier(8), Counter[str]()

    def turn(n: int) -> None:
        together.wait()
        try:
            access.rotate_key(key.id, fresh(f"rm_new{n}"), 60)
            seen["rotated"] += 1
        except Exception as error:
            seen[type(error).__name__] += 1

    threads = [threading.Thread(target=turn, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"rotated": 1, "KeyRevoked": 7}
    assert len(access.keys()) == 2


def test_a_rotation_that_fails_changes_nothing(access: SqlAccess) -> None:
    key = add_key(access, "rm_old")
    before = access.audit_log()
    with pytest.raises(NotFound):
        access.rotate_key(key.id, fresh("rm_new"), 60, "globex")
    with pytest.raises(Exception, match=r"(?i)unique"):  # the successor can't be stored, so the old key has no end
        access.rotate_key(key.id, fresh("rm_old"), 60)
    assert access.keys() == [key]
    assert access.audit_log() == before


# ── the audit log ─────────────────────────────────────────────────────────────────────────────


def test_actions_on_keys_are_noted_with_who_when_and_why(access: SqlAccess, store: SqlStore) -> None:
    before = db_now(store)
    key = add_key(access, "rm_old")
    by = Caller(tenant="acme", user_id="ann", correlation_id="c-1", key_id=new_id())
    pass_millisecond()
    new, _ = access.rotate_key(key.id, fresh("rm_new"), 60, "acme", by)
    pass_millisecond()
    access.revoke_key(key.id, "acme", by)
    access.revoke_key(key.id, "acme", by)
    entries = access.audit_log("acme").items
    assert [entry.action for entry in entries] == ["key.revoke", "key.rotate", "key.create"]
    assert {entry.target for entry in entries} == {key.id}
    assert [(one.actor, one.actor_key_id, one.correlation_id) for one in entries] == [
        ("ann", by.key_id, "c-1"),
        ("ann", by.key_id, "c-1"),
        ("operator", None, None),
    ]
    assert entries[1].data == {
        "name": key.name, "scopes": list(key.scopes), "subject": "ann", "new_key_id": new.id, "overlap_s": 60,
    }  # fmt: skip
    assert before <= entries[2].created_at <= entries[1].created_at <= entries[0].created_at <= db_now(store)
    assert "rm_old" not in texts(store, "audit")


def test_any_action_can_be_noted_and_found_again(access: SqlAccess) -> None:
    ann, bob = Caller(tenant="acme", user_id="ann"), Caller(tenant="globex", user_id="bob")
    for n in range(5):
        access.audit(ann, action="upload.abort", target=f"video-{n}", data={"size": n})
    access.audit(bob, action="upload.abort", target="video-1")
    (found,) = access.audit_log("acme", target="video-1").items
    assert (found.actor, found.tenant, found.data) == ("ann", "acme", {"size": 1})
    assert {entry.tenant for entry in access.audit_log(target="video-1").items} == {"acme", "globex"}
    assert access.audit_log("acme", action="key.create").items == ()
    first = access.audit_log(action="upload.abort", limit=4)
    rest = access.audit_log(action="upload.abort", limit=4, cursor=first.next_cursor)
    assert len({entry.id for entry in (*first.items, *rest.items)}) == 6 and rest.next_cursor is None
    with pytest.raises(CursorInvalid):
        access.audit_log(cursor="x")


def test_a_cookie_that_was_signed_out_stays_so_for_its_life(access: SqlAccess, store: SqlStore) -> None:
    owner = Caller()
    assert not access.signed_out(sha256("a"))
    for _ in range(2):
        access.sign_out(sha256("a"), 3600, owner)
    assert access.signed_out(sha256("a")) and not access.signed_out(sha256("b"))
    assert [entry.action for entry in access.audit_log().items] == ["browser.signout"]
    set_back(store, "signed_out", "until", 1)
    access.sign_out(sha256("b"), 3600, owner)
    assert not access.signed_out(sha256("a")), "its own time is over by then"


# ── idempotent requests ───────────────────────────────────────────────────────────────────────


def test_a_new_request_is_worked_on(access: SqlAccess) -> None:
    assert isinstance(begin(access, "body"), Reservation)


def test_the_same_request_gets_the_stored_reply(access: SqlAccess) -> None:
    begin(access, "body")
    access.finish_request(*REQUEST, REPLY)
    assert begin(access, "body") == REPLY
    assert begin(access, "body") == REPLY


def test_another_body_under_the_same_key_is_refused(access: SqlAccess) -> None:
    begin(access, "body")
    with pytest.raises(IdempotencyMismatch):
        begin(access, "other")
    access.finish_request(*REQUEST, REPLY)
    with pytest.raises(IdempotencyMismatch):
        begin(access, "other")
    assert begin(access, "body") == REPLY


def test_a_key_means_nothing_to_another_tenant_or_path(access: SqlAccess) -> None:
    begin(access, "body")
    access.finish_request(*REQUEST, REPLY)
    assert isinstance(begin(access, "other", tenant="globex"), Reservation)
    assert isinstance(begin(access, "other", path="/api/v1/uploads/initiate"), Reservation)


def test_a_request_that_comes_again_too_early_is_told_to_wait(access: SqlAccess) -> None:
    begin(access, "body")
    with pytest.raises(IdempotencyInProgress):
        begin(access, "body")


def test_of_ten_equal_requests_at_once_one_is_worked_on(access: SqlAccess) -> None:
    together, seen = threading.Barrier(10), Counter[str]()

    def send() -> None:
        together.wait()
        try:
            seen[type(begin(access, "body")).__name__] += 1
        except Exception as error:
            seen[type(error).__name__] += 1

    threads = [threading.Thread(target=send) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"Reservation": 1, "IdempotencyInProgress": 9}


def test_a_dropped_request_may_come_again_at_once_and_keeps_its_id(access: SqlAccess) -> None:
    first = reserved(access)
    assert not first.again
    for _ in range(2):
        access.drop_request(*REQUEST)
        with pytest.raises(IdempotencyMismatch):  # what was made for the first body may be there
            begin(access, "corrected")
        assert reserved(access) == Reservation(first.made, again=True)
        with pytest.raises(IdempotencyInProgress):
            begin(access, "body")


def test_dropping_does_not_forget_a_reply(access: SqlAccess) -> None:
    begin(access, "body")
    access.finish_request(*REQUEST, REPLY)
    access.drop_request(*REQUEST)
    assert begin(access, "body") == REPLY


def test_a_request_abandoned_for_a_minute_is_taken_over_once_with_its_id(access: SqlAccess, store: SqlStore) -> None:
    first = reserved(access)
    age(store, 55)
    with pytest.raises(IdempotencyInProgress):
        begin(access, "body")
    age(store, 61)
    with pytest.raises(IdempotencyMismatch):
        begin(access, "other")
    assert reserved(access) == Reservation(first.made, again=True)
    with pytest.raises(IdempotencyInProgress):
        begin(access, "body")


def test_a_reservation_without_an_id_gets_one(access: SqlAccess, store: SqlStore) -> None:
    """A version before ids were reserved may have written it."""
    reserved(access)
    forget_reserved_ids(store)
    age(store, 61)
    mended = reserved(access)
    assert mended.again and mended.made
    age(store, 61)
    assert reserved(access) == mended


def test_an_old_reply_is_kept_until_it_is_purged(access: SqlAccess, store: SqlStore) -> None:
    begin(access, "body")
    access.finish_request(*REQUEST, REPLY)
    age(store, timedelta(hours=23).total_seconds())
    assert access.purge_requests() == 0
    assert begin(access, "body") == REPLY
    age(store, timedelta(hours=25).total_seconds())
    assert access.purge_requests() == 1
    assert isinstance(begin(access, "other"), Reservation)
    assert access.purge_requests() == 0

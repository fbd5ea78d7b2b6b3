"""A good key is looked up once a second; one that was revoked here isn't trusted even so long."""

from __future__ import annotations

import hashlib
import time

import anyio

from reelmill.api.access import make_key
from reelmill.api.keyring import TRUSTED_S, KeyRing
from reelmill.jobs.model import ApiKey
from reelmill.jobs.ports import JobStore
from reelmill.wiring import access_of


def find(ring: KeyRing, secret: str) -> ApiKey | None:
    return anyio.run(ring.find, hashlib.sha256(secret.encode()).hexdigest())


def test_a_key_that_another_process_revokes_stops_within_seconds(store: JobStore) -> None:
    ring, elsewhere = KeyRing(access_of(store)), access_of(store)
    secret, key = make_key(elsewhere, "camera", ["upload"])
    assert find(ring, secret) == key
    elsewhere.revoke_key(key.id)
    revoked_s = time.monotonic()
    while find(ring, secret) is not None:
        assert time.monotonic() - revoked_s < 5, "revocation is promised within 5 s"
        time.sleep(TRUSTED_S / 20)


def test_what_this_process_revokes_stops_at_once(store: JobStore) -> None:
    access = access_of(store)
    ring = KeyRing(access)
    secret, key = make_key(access, "camera", ["upload"])
    assert find(ring, secret) == key
    access.revoke_key(key.id)
    ring.forget()
    assert find(ring, secret) is None


def test_a_wrong_key_is_never_remembered(store: JobStore) -> None:
    access = access_of(store)
    ring = KeyRing(access)
    secret, key = make_key(access, "camera", ["upload"])
    access.revoke_key(key.id)
    assert find(ring, secret) is None
    assert find(ring, "rm_guessed") is None
    again, _ = make_key(access, "door", ["upload"])
    assert find(ring, again) is not None

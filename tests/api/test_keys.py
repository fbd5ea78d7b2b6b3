"""A key's life over HTTP: its tenant, its successor, its end, and what the audit log says of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from reelmill.api.access import make_key
from reelmill.errors import RequestInvalid

if TYPE_CHECKING:
    from conftest import Client, Running

Connect = Callable[..., "Client"]


def make(client: Client, *scopes: str, **more: Any) -> dict[str, Any]:
    body = {"name": "key", "scopes": scopes or ["jobs:read"], **more}
    return client.call("POST", "/keys", 201, json=body)  # type: ignore[no-any-return]


def rotate(client: Client, key_id: str, overlap_s: int, expect: int = 201, **more: Any) -> dict[str, Any]:
    return client.call("POST", f"/keys/{key_id}/rotate", expect, json={"overlap_s": overlap_s}, **more)  # type: ignore[no-any-return]


def until_refused(client: Client) -> None:
    deadline = time.monotonic() + 60
    while client.get("/api/v1/jobs").status_code == 200:
        assert time.monotonic() < deadline, "the key goes on"
        time.sleep(0.05)
    assert client.call("GET", "/jobs", 401)["code"] == "key_invalid"


# ── tenants ───────────────────────────────────────────────────────────────────────────────────


def test_an_admin_makes_keys_of_its_own_tenant_only(connect: Connect) -> None:
    acme, globex = connect("admin", tenant="acme"), connect("admin", tenant="globex")
    made = make(acme, "admin")
    assert made["id"] in {one["id"] for one in connect(key=made["secret"]).call("GET", "/keys")["items"]}
    assert made["id"] not in {one["id"] for one in globex.call("GET", "/keys")["items"]}


@pytest.mark.parametrize("tenant", ["", ".", "..", "a/b", "-a", "a" * 65, "a b", "\u00e9"])
def test_a_tenant_can_be_a_part_of_an_objects_key(server: Running, tenant: str) -> None:
    with pytest.raises(RequestInvalid):
        make_key(server.app.access, "x", ["upload"], tenant=tenant)


# ── rotation ──────────────────────────────────────────────────────────────────────────────────


def test_both_secrets_work_while_they_overlap(client: Client, connect: Connect) -> None:
    old = make(client, "jobs:read", "jobs:write", name="shop", subject="customer-17")
    new = rotate(client, old["id"], 3600)
    for secret in (old["secret"], new["secret"]):
        assert connect(key=secret).get("/api/v1/jobs").status_code == 200
    assert new["secret"] != old["secret"] and new["id"] != old["id"]
    assert [new[name] for name in ("name", "scopes", "subject")] == ["shop", ["jobs:read", "jobs:write"], "customer-17"]
    assert new["active"] and new["revoked_at"] is None
    replaced = new["replaces"]
    assert replaced["id"] == old["id"] and replaced["active"]
    assert replaced in client.call("GET", "/keys")["items"]
    span = datetime.fromisoformat(replaced["revoked_at"]) - datetime.fromisoformat(new["created_at"])
    assert abs(span.total_seconds() - 3600) < 5, "from the moment of the rotation, by the database's clock"


def test_the_old_secret_stops_when_the_overlap_is_over(client: Client, connect: Connect) -> None:
    old = make(client)
    new = rotate(client, old["id"], 1)
    until_refused(connect(key=old["secret"]))
    assert connect(key=new["secret"]).get("/api/v1/jobs").status_code == 200
    (listed,) = [one for one in client.call("GET", "/keys")["items"] if one["id"] == old["id"]]
    assert listed == {**new["replaces"], "active": False}


def test_without_an_overlap_the_old_secret_stops_at_once(client: Client, connect: Connect) -> None:
    old = make(client)
    new = rotate(client, old["id"], 0)
    assert connect(key=old["secret"]).call("GET", "/jobs", 401)["code"] == "key_invalid"
    assert connect(key=new["secret"]).get("/api/v1/jobs").status_code == 200
    assert not new["replaces"]["active"]


def test_a_leaked_key_is_revoked_in_the_middle_of_its_overlap(client: Client, connect: Connect) -> None:
    old = make(client)
    new = rotate(client, old["id"], 604_800)
    revoked = client.call("DELETE", f"/keys/{old['id']}")
    assert not revoked["active"] and revoked["revoked_at"] < new["replaces"]["revoked_at"]
    assert connect(key=old["secret"]).get("/api/v1/jobs").status_code == 401
    assert connect(key=new["secret"]).get("/api/v1/jobs").status_code == 200


def test_a_key_has_one_successor(client: Client) -> None:
    old = make(client)

    def once(_: int) -> int:
        return client.post(f"/api/v1/keys/{old['id']}/rotate", json={"overlap_s": 60}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(once, range(8))) == [201] + [409] * 7
    assert rotate(client, old["id"], 0, 409)["code"] == "key_revoked"
    revoked = make(client)
    client.call("DELETE", f"/keys/{revoked['id']}")
    assert rotate(client, revoked["id"], 60, 409)["code"] == "key_revoked"


def test_a_repeated_rotation_replays_all_but_the_secret(client: Client) -> None:
    old, headers = make(client), {"Idempotency-Key": "rotate-once"}
    first, second = (rotate(client, old["id"], 60, headers=headers) for _ in range(2))
    assert first["secret"] and second == {**first, "secret": None}


@pytest.mark.parametrize("overlap_s", [-1, 604_801, 1.5, "60", None, True])
def test_an_overlap_is_seconds_up_to_a_week(client: Client, overlap_s: Any) -> None:
    old = make(client)
    body = {"overlap_s": overlap_s}
    assert client.call("POST", f"/keys/{old['id']}/rotate", 422, json=body)["code"] == "request_invalid"


# ── open streams ──────────────────────────────────────────────────────────────────────────────


def test_an_open_stream_ends_within_five_seconds_of_its_keys_revocation(
    client: Client, connect: Connect, video_id: str
) -> None:
    job_id = client.run(video_id, "slow_writer", {"steps": 1, "seconds": 60})
    made = make(client)
    reader = connect(key=made["secret"])
    with client.events(job_id) as others, reader.events(job_id) as mine:
        assert next(mine).event and next(others).event
        client.call("DELETE", f"/keys/{made['id']}")
        began = time.monotonic()
        for _ in mine:
            pass
        assert time.monotonic() - began < 5
        assert client.call("GET", f"/jobs/{job_id}/status")["status"] in ("queued", "running"), "the job goes on"
        assert reader.get(f"/api/v1/jobs/{job_id}/events").status_code == 401, "and it can't be opened again"
        client.call("POST", f"/jobs/{job_id}/cancel")
        assert "job.cancelled" in [event.event for event in others], "others read on"


def test_a_rotated_keys_stream_lasts_as_long_as_the_key(client: Client, connect: Connect, video_id: str) -> None:
    job_id = client.run(video_id, "slow_writer", {"steps": 1, "seconds": 60})
    old = make(client)
    with connect(key=old["secret"]).events(job_id) as mine:
        assert next(mine).event
        rotate(client, old["id"], 1)
        assert "job.completed" not in [event.event for event in mine]
    client.call("POST", f"/jobs/{job_id}/cancel")


def test_a_signed_out_browsers_stream_ends(client: Client, connect: Connect, server: Running, video_id: str) -> None:
    job_id = client.run(video_id, "slow_writer", {"steps": 1, "seconds": 60})
    browser = connect()
    assert browser.get(str(server.restarted().link)).status_code == 303
    with browser.events(job_id) as mine:
        assert next(mine).event
        assert browser.post("/signout", headers={"Origin": server.url}).status_code == 204
        assert "job.completed" not in [event.event for event in mine]
    client.call("POST", f"/jobs/{job_id}/cancel")


# ── audit ─────────────────────────────────────────────────────────────────────────────────────


def test_every_action_on_a_key_is_in_the_audit_log(connect: Connect) -> None:
    boss = connect("admin", tenant="audited")
    mine = boss.call("GET", "/keys")["items"][0]
    headers = {"X-Request-Id": "who-was-it"}
    old = boss.call("POST", "/keys", 201, json={"name": "n", "scopes": ["upload"], "subject": "s"}, headers=headers)
    new = rotate(boss, old["id"], 60, headers=headers)
    boss.call("DELETE", f"/keys/{old['id']}", headers=headers)
    boss.call("DELETE", f"/keys/{old['id']}")  # changes nothing, so nothing is noted
    rotate(boss, old["id"], 60, 409)

    entries = boss.call("GET", "/audit")["items"]
    about = {"name": "n", "scopes": ["upload"], "subject": "s"}
    assert [(one["action"], one["target"], one["data"]) for one in entries] == [
        ("key.revoke", old["id"], about),
        ("key.rotate", old["id"], {**about, "new_key_id": new["id"], "overlap_s": 60}),
        ("key.create", old["id"], about),
        ("key.create", mine["id"], {"name": "tests", "scopes": ["admin"], "subject": "tests"}),
    ]
    for entry in entries[:3]:
        by = (entry["actor"], entry["actor_key_id"], entry["correlation_id"])
        assert by == ("tests", mine["id"], "who-was-it")
    assert (entries[3]["actor"], entries[3]["actor_key_id"]) == ("operator", None)
    assert [entry["created_at"] for entry in entries] == sorted((e["created_at"] for e in entries), reverse=True)
    for secret in (old["secret"], new["secret"], boss.key):
        assert secret not in json.dumps(entries)


def test_the_audit_log_is_paged_and_filtered(connect: Connect) -> None:
    boss = connect("admin", tenant="paged")
    made = [make(boss)["id"] for _ in range(5)]
    boss.call("DELETE", f"/keys/{made[2]}")
    seen, cursor = [], None
    while True:
        page = boss.call("GET", "/audit", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        seen += [one["target"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == 7 and seen[:6] == [made[2], *reversed(made)]
    assert [one["target"] for one in boss.call("GET", "/audit", params={"action": "key.revoke"})["items"]] == [made[2]]
    both = boss.call("GET", "/audit", params={"target": made[2]})["items"]
    assert [one["action"] for one in both] == ["key.revoke", "key.create"]
    assert boss.call("GET", "/audit", 400, params={"cursor": "x"})["code"] == "cursor_invalid"


def test_an_upload_that_is_given_up_is_noted_once(connect: Connect) -> None:
    there = connect("admin", tenant="aborting")
    about = {"filename": "a.mp4", "size": 9, "content_type": "video/mp4"}
    video_id = there.call("POST", "/uploads/initiate", 201, json=about)["video_id"]
    for _ in range(2):
        there.call("DELETE", f"/uploads/{video_id}")
    (entry,) = there.call("GET", "/audit", params={"target": video_id})["items"]
    assert (entry["action"], entry["actor"], entry["data"]) == ("upload.abort", "tests", {})


def test_another_tenants_actions_are_not_in_it(connect: Connect) -> None:
    made = make(connect("admin", tenant="discreet"))
    assert made["id"] not in connect("admin", tenant="curious").get("/api/v1/audit?limit=200").text

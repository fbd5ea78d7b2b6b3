"""Who may do what: every operation of a running server's OpenAPI document × every kind of caller.

A new operation needs a row in `ROWS`: the scope it needs, how to make what it is about, and a good body.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import sqlalchemy as sa
from fastapi.routing import iter_route_contexts

from reelmill.api.access import SCOPES
from reelmill.api.web import LOOSE, PAGES
from reelmill.jobs.ports import WorkerSeen
from reelmill.media.fonts import faces
from reelmill.stores.schema import metadata

if TYPE_CHECKING:
    from conftest import Client, Running

Ids = dict[str, str]
QUICK = {"steps": 1, "seconds": 0}
FILE = {"filename": "a.mp4", "size": 1, "content_type": "video/mp4"}
JOB = {"pipeline": "slow_writer", "params": QUICK}
FONT = next(face.path for face in faces() if "Georgian" in face.path.name)
EVIL = "https://evil.example"
CLIPS = {"name": "clips"}  #: a pipeline that no row runs
PLACE = "7"  #: a mall, a pin: names in a path that nothing is stored under

HEADED = ("download", "stream", "metadata", "thumbnail")
SIGNED = ("streams", "share")
PUBLIC = {"GET /healthz", "GET /readyz"}  #: answer anybody, by design
HIDDEN = {  #: not in the document: pages, the browser's sign-in, and signed URLs, whose signature is the authority
    "GET /docs",
    "GET /metrics",  # for Prometheus, behind a check of its own: tests/api/test_metrics.py
    "GET /openapi.json",
    "HEAD /openapi.json",
    "GET /signin",
    "POST /signout",
    "GET /session",
    "POST /session",
    # The web UI's files: tests/api/test_browser.py.
    *(
        f"{method} {path}"
        for method in ("GET", "HEAD")
        for path in (*PAGES, "/assets/{name}", *(f"/{one}" for one in LOOSE))
    ),
    "PUT /objects/{key:path}",
    "GET /objects/{key:path}",
    "HEAD /objects/{key:path}",
    "OPTIONS /objects/{key:path}",
    "GET /spool/{key:path}",
    "HEAD /spool/{key:path}",
    "OPTIONS /spool/{key:path}",
    *(f"{method} /{place}/{{token}}/{{name:path}}" for method in ("GET", "HEAD", "OPTIONS") for place in SIGNED),
    "GET /share/{token}",
    # As GET, with its key and scope, without the body: tests/api/test_delivery.py.
    *(f"HEAD {prefix}/{{job_id}}/{name}" for prefix in ("/api/v1/jobs", "/api/v1/videos/jobs") for name in HEADED),
}


class World:
    """One tenant's videos, jobs and keys, and everybody who might ask for them."""

    def __init__(self, server: Running, film: Path, client: Callable[..., Client]) -> None:
        self.server, self.film = server, film
        self.admin = client(server.url, server.key("admin"))
        self.scoped = {scope: client(server.url, server.key(scope)) for scope in SCOPES}
        self.stranger = client(server.url, server.key("admin", tenant="other"))
        self.nobody = client(server.url)
        self.wrong = client(server.url, "rm_" + "w" * 43)
        gone = self.admin.call("POST", "/keys", 201, json={"name": "gone", "scopes": ["admin"]})
        self.admin.call("DELETE", f"/keys/{gone['id']}")
        self.revoked = client(server.url, gone["secret"])
        self.browser = client(server.url)
        assert self.browser.get(str(server.restarted().link)).status_code == 303
        self.uploaded = str(self.admin.upload(film)["video_id"])
        self.ended = self.admin.run(self.uploaded, "slow_writer", QUICK)
        self.admin.wait(self.ended)
        self.ladder = self.admin.run(self.uploaded, "hls_ladder", {"heights": [90]})
        self.admin.wait(self.ladder)
        self.clients = [*self.scoped.values(), self.admin, self.stranger, self.nobody, self.wrong, self.revoked]
        self.clients.append(self.browser)

    def state(self) -> dict[str, Any]:
        """Return every row of the database and every stored object."""
        found: dict[str, Any] = {}
        with self.server.app.store.engine.connect() as connection:
            for table in metadata.sorted_tables:
                if table.name not in ("leases", "workers"):  # kept fresh by the server itself; so is `swept_at`
                    columns = [column for column in table.c if column.name != "swept_at"]
                    found[table.name] = sorted(repr(row) for row in connection.execute(sa.select(*columns)))
        root = self.server.app.settings.data / "objects"
        found["files"] = sorted(str(path) for path in root.rglob("*") if "incoming" not in str(path))
        return found


# ── rows ──────────────────────────────────────────────────────────────────────────────────────


def nothing(_: World) -> Ids:
    return {}


def video(world: World) -> Ids:
    return {"video_id": world.uploaded}


def awaiting_video(world: World) -> Ids:
    return {"video_id": world.admin.initiate(world.film)["video_id"]}


def awaiting_parts(world: World) -> Ids:
    return {"video_id": world.admin.initiate(world.film, multipart=True)["video_id"]}


def sent_video(world: World) -> Ids:
    begun = world.admin.initiate(world.film)
    assert world.admin.put(begun["upload"], world.film.read_bytes()).status_code == 200
    return {"video_id": begun["video_id"]}


def sent_at_a_pin(world: World) -> Ids:
    path = f"/api/malls/{PLACE}/pins/{PLACE}/uploads/initiate"
    begun = world.admin.post(path, json={**FILE, **JOB, "size": world.film.stat().st_size}).json()
    assert world.admin.put(begun["upload"], world.film.read_bytes()).status_code == 200
    return {"video_id": begun["video_id"]}


def ended_job(world: World) -> Ids:
    return {"job_id": world.ended}


def ladder(world: World) -> Ids:
    return {"job_id": world.ladder}


def share(world: World) -> Ids:
    made = world.admin.call("POST", f"/jobs/{world.ended}/share", 201, json={})
    return {"job_id": world.ended, "share_id": made["id"]}


def waiting_job(world: World) -> Ids:
    return {"job_id": world.admin.initiate(world.film, **JOB)["job_id"]}


def cancelled_job(world: World) -> Ids:
    begun = world.admin.initiate(world.film, **JOB)
    world.admin.call("POST", f"/jobs/{begun['job_id']}/cancel")
    assert world.admin.put(begun["upload"], world.film.read_bytes()).status_code == 200
    world.admin.call("POST", "/uploads/complete", json={"video_id": begun["video_id"]})
    return {"job_id": begun["job_id"]}


def failed_job(world: World) -> Ids:
    begun = world.admin.initiate(world.film, **JOB)
    world.admin.call("POST", "/uploads/complete", 400, json={"video_id": begun["video_id"]})
    return {"job_id": begun["job_id"]}


def deleted_video(world: World) -> Ids:
    ids = awaiting_video(world)
    world.admin.call("DELETE", f"/videos/{ids['video_id']}")
    return ids


def key(world: World) -> Ids:
    made = world.admin.call("POST", "/keys", 201, json={"name": "matrix", "scopes": ["jobs:read"]})
    return {"key_id": made["id"]}


def preset(world: World) -> Ids:
    body = {"name": str(uuid.uuid4()), "style": {"preset": "clean"}}
    return {"preset_id": world.admin.call("POST", "/presets", 201, json=body)["id"]}


def font(world: World) -> Ids:
    made = world.admin.call("POST", "/fonts", 201, content=FONT.read_bytes(), params={"name": str(uuid.uuid4())})
    return {"font_id": made["id"]}


def worker(world: World) -> Ids:
    known = WorkerSeen(id=str(uuid.uuid4()), host="far", pid=1, slots=1, queues=(), version="1", engine="claims")
    return {"worker_id": world.server.app.store.see_worker(known).id}


@dataclass(frozen=True)
class Row:
    """Who may call one operation, and how it is called so that it succeeds.

    scope: that it needs; written down here again, so that no slip opens an operation further.
    about: makes what it is about and returns the ids. body, query: given the ids. file: the body instead.
    status: of success.
    words: of its path that are nobody's own.
    """

    scope: str
    about: Callable[[World], Ids] = nothing
    body: Callable[[Ids], Any] | None = None
    file: Path | None = None
    query: Callable[[Ids], dict[str, str]] | None = None
    status: int = 200
    words: dict[str, str] = field(default_factory=dict)


ROWS = {
    "POST /api/v1/uploads/initiate": Row("upload", body=lambda ids: FILE, status=201),
    "GET /api/v1/uploads/{video_id}": Row("upload", awaiting_video),
    "DELETE /api/v1/uploads/{video_id}": Row("upload", awaiting_video),
    "POST /api/v1/uploads/{video_id}/parts": Row("upload", awaiting_parts, body=lambda ids: {"parts": [{"number": 1}]}),
    "POST /api/v1/uploads/{video_id}/sign": Row("upload", awaiting_video, body=lambda ids: {"method": "PUT"}),
    "POST /api/v1/uploads/complete": Row("upload", sent_video, body=dict),
    "GET /api/v1/videos": Row("jobs:read"),
    "GET /api/v1/videos/{video_id}": Row("jobs:read", video),
    "GET /api/v1/videos/{video_id}/poster": Row("jobs:read", video),
    "GET /api/v1/videos/{video_id}/filmstrip": Row("jobs:read", video),
    "GET /api/v1/videos/{video_id}/waveform": Row("jobs:read", video),
    "GET /api/v1/videos/{video_id}/play": Row("jobs:read", video),
    "POST /api/v1/videos/analyze-duration": Row("jobs:read", video, body=dict),
    # A plan: a film that is being made would change what other rows find unchanged.
    "POST /api/v1/videos/generate": Row(
        "jobs:write",
        body=lambda ids: {"params": {"scenes": [{"text": "Hello"}]}},
        query=lambda ids: {"dry_run": "true"},
    ),
    "POST /api/v1/videos/generate/preview": Row(
        "jobs:read", body=lambda ids: {"params": {"scenes": [{"text": "Hello"}]}}
    ),
    "GET /api/v1/voices": Row("jobs:read"),
    "GET /api/v1/jobs": Row("jobs:read", video, query=dict),
    "POST /api/v1/jobs": Row("jobs:write", video, body=lambda ids: {**ids, **JOB}, status=201),
    "GET /api/v1/jobs/{job_id}": Row("jobs:read", ended_job),
    "GET /api/v1/jobs/{job_id}/status": Row("jobs:read", ended_job),
    "GET /api/v1/jobs/{job_id}/artifacts": Row("jobs:read", ended_job),
    "GET /api/v1/jobs/{job_id}/download": Row("jobs:read", ended_job, status=307),
    "GET /api/v1/jobs/{job_id}/stream": Row("jobs:read", ladder, status=307),
    "GET /api/v1/jobs/{job_id}/metadata": Row("jobs:read", ended_job),
    "GET /api/v1/jobs/{job_id}/thumbnail": Row("jobs:read", ladder),
    "POST /api/v1/jobs/{job_id}/share": Row("jobs:write", ended_job, body=lambda ids: {"life_s": 3600}, status=201),
    "GET /api/v1/jobs/{job_id}/share": Row("jobs:read", ended_job),
    "DELETE /api/v1/jobs/{job_id}/share/{share_id}": Row("jobs:write", share),
    "GET /api/v1/jobs/{job_id}/events": Row("jobs:read", ended_job),
    "GET /api/v1/events": Row("jobs:read", query=lambda ids: {"for_s": "0"}),
    "POST /api/v1/jobs/{job_id}/cancel": Row("jobs:write", waiting_job),
    "POST /api/v1/jobs/{job_id}/priority": Row("jobs:write", waiting_job, body=lambda ids: {"priority": 5}),
    "POST /api/v1/jobs/{job_id}/retry": Row("jobs:write", cancelled_job),
    "GET /api/v1/pipelines": Row("jobs:read"),
    "POST /api/v1/texts/variations": Row("jobs:write", body=lambda ids: {"text": "Summer by the lake", "n": 3}),
    "POST /api/v1/texts/preview": Row("jobs:read", video, body=lambda ids: {**ids, "text": "Summer"}),
    "GET /api/v1/presets": Row("jobs:read"),
    "POST /api/v1/presets": Row("jobs:write", body=lambda ids: {"name": str(uuid.uuid4()), "style": {}}, status=201),
    "PUT /api/v1/presets/{preset_id}": Row("jobs:write", preset, body=lambda ids: {"style": {"preset": "boxed"}}),
    "DELETE /api/v1/presets/{preset_id}": Row("jobs:write", preset),
    "GET /api/v1/fonts": Row("jobs:read"),
    "POST /api/v1/fonts": Row("jobs:write", file=FONT, query=lambda ids: {"name": str(uuid.uuid4())}, status=201),
    "DELETE /api/v1/fonts/{font_id}": Row("jobs:write", font),
    "GET /api/v1/keys": Row("admin"),
    "POST /api/v1/keys": Row("admin", body=lambda ids: {"name": "made", "scopes": ["upload"]}, status=201),
    "POST /api/v1/keys/{key_id}/rotate": Row("admin", key, body=lambda ids: {"overlap_s": 60}, status=201),
    "DELETE /api/v1/keys/{key_id}": Row("admin", key),
    "GET /api/v1/audit": Row("admin", key, query=lambda ids: {"target": ids["key_id"]}),
    "GET /api/v1/admin/workers": Row("admin"),
    "GET /api/v1/system": Row("admin"),
    "POST /api/v1/admin/workers/{worker_id}/drain": Row("admin", worker),
    "DELETE /api/v1/videos/{video_id}": Row("jobs:write", awaiting_video),
    "POST /api/v1/videos/{video_id}/restore": Row("jobs:write", deleted_video),
    "GET /api/v1/usage": Row("jobs:read"),
    "POST /api/v1/admin/jobs/reprocess": Row("admin", body=lambda ids: {"error_code": "no_such_code"}),
    "POST /api/v1/admin/jobs/recheck-uploads": Row("admin", body=lambda ids: {"older_than_s": 86_400}),
    "GET /api/v1/admin/dead-letters": Row("admin"),
    "GET /api/v1/admin/dead-letters/{job_id}": Row("admin", failed_job),
    "GET /api/v1/admin/pipelines/{name}/switch": Row("admin", words=CLIPS),
    "PUT /api/v1/admin/pipelines/{name}/switch": Row("admin", body=lambda ids: {"reason": "Why not."}, words=CLIPS),
    "DELETE /api/v1/admin/pipelines/{name}/switch": Row("admin", words=CLIPS),
}

OLDER = {**FILE, **JOB}
ROWS |= {
    "POST /api/upload/initiate": Row("upload", body=lambda ids: OLDER),
    "POST /api/upload/complete": Row("upload", sent_video, body=dict),
    "POST /api/video/analyze-duration": Row("jobs:read", video, body=dict),
    "GET /api/jobs/{job_id}/status": Row("jobs:read", ended_job),
    "POST /api/malls/{mall_id}/pins/{pin_id}/uploads/initiate": Row("upload", body=lambda ids: OLDER),
    "POST /api/malls/{mall_id}/pins/{pin_id}/uploads/complete": Row("upload", sent_at_a_pin, body=dict),
    "GET /api/videos": Row("jobs:read"),
    "GET /api/videos/{video_id}": Row("jobs:read", video),
    "POST /videos/upload/initiate": Row("upload", body=lambda ids: OLDER),
    "POST /videos/upload/complete": Row("upload", sent_video, body=dict),
    "GET /videos/jobs/{job_id}/status": Row("jobs:read", ended_job),
    "GET /api/v1/videos/jobs/{job_id}/status": Row("jobs:read", ended_job),
    "GET /api/v1/videos/jobs/{job_id}/download": Row("jobs:read", ended_job, status=307),
    "GET /api/v1/videos/jobs/{job_id}/stream": Row("jobs:read", ladder, status=307),
    "GET /api/v1/videos/jobs/{job_id}/metadata": Row("jobs:read", ended_job),
    "GET /api/v1/videos/jobs/{job_id}/thumbnail": Row("jobs:read", ladder),
}

OPERATIONS = pytest.mark.parametrize("operation", ROWS)


def send(client: Client, operation: str, ids: Ids, **headers: str) -> httpx2.Response:
    method, _, path = operation.partition(" ")
    row = ROWS[operation]
    return client.request(
        method,
        re.sub(r"\{(\w+)\}", lambda found: {**row.words, **ids}.get(found[1], PLACE), path),
        json=row.body(ids) if row.body else None,
        content=row.file.read_bytes() if row.file else None,
        params=row.query(ids) if row.query else None,
        headers=headers,
    )


def told(reply: httpx2.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["code"]


@pytest.fixture(scope="module")
def world(
    serve: Callable[..., AbstractContextManager[Running]],
    tmp_path_factory: pytest.TempPathFactory,
    plugins: None,
    film: Path,
    client: Client,
) -> Iterator[World]:
    with serve(tmp_path_factory.mktemp("matrix") / "data", upload_ttl_s=3600) as server:
        made = World(server, film, type(client))
        yield made
        for one in made.clients:
            one.close()


@pytest.fixture(scope="module")
def scopes(world: World) -> dict[str, str]:
    """The scope of each guarded operation, as the running server's document says."""
    document = world.nobody.get("/openapi.json").json()
    return {
        f"{method.upper()} {path}": operation.get("x-scope", "")
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


# ── the document ──────────────────────────────────────────────────────────────────────────────


def test_every_operation_has_a_row(scopes: dict[str, str]) -> None:
    missing = sorted(scopes.keys() - ROWS.keys() - PUBLIC)
    assert not missing, (
        f"No row in tests/api/test_matrix.py for: {', '.join(missing)}. Add one to ROWS: its scope, a function "
        "that makes what it is about and returns the ids, a good body, and the status of success."
    )
    stale = sorted(ROWS.keys() - scopes.keys())
    assert not stale, f"ROWS in tests/api/test_matrix.py has operations that are gone: {', '.join(stale)}."


def test_every_operation_but_health_names_its_scope(world: World, scopes: dict[str, str]) -> None:
    assert {operation for operation, scope in scopes.items() if not scope} == PUBLIC
    assert scopes == {**{operation: row.scope for operation, row in ROWS.items()}, **dict.fromkeys(PUBLIC, "")}
    assert set(scopes.values()) == {*SCOPES, ""}
    for path, item in world.nobody.get("/openapi.json").json()["paths"].items():
        for method, operation in item.items():
            scope = scopes[f"{method.upper()} {path}"]
            wanted = [{"bearer": [scope]}, {"header": [scope]}] if scope else None
            assert operation.get("security") == wanted, (method, path)


def test_no_route_hides_from_the_document(world: World, scopes: dict[str, str]) -> None:
    served = {
        f"{method} {route.path}"
        for route in iter_route_contexts(world.server.api.routes)
        for method in route.methods or ()
    }
    assert served - scopes.keys() == HIDDEN, (
        "a route outside the document must be listed in HIDDEN, with the reason why it may be open"
    )


# ── operation × caller ────────────────────────────────────────────────────────────────────────


@OPERATIONS
def test_who_is_refused_changes_nothing(world: World, operation: str) -> None:
    ids = ROWS[operation].about(world)
    before = world.state()
    assert told(send(world.nobody, operation, ids)) == (401, "key_missing")
    assert told(send(world.wrong, operation, ids)) == (401, "key_invalid")
    assert told(send(world.revoked, operation, ids)) == (401, "key_invalid")
    for scope in SCOPES:
        if scope not in (ROWS[operation].scope, "admin"):
            assert told(send(world.scoped[scope], operation, ids)) == (403, "scope_missing"), scope
    if not operation.startswith("GET "):
        for origin in (EVIL, "null"):
            assert told(send(world.browser, operation, ids, Origin=origin)) == (403, "origin_refused")
        assert told(send(world.browser, operation, ids)) == (403, "origin_refused")
    assert world.state() == before


@OPERATIONS
def test_another_tenants_id_is_an_unknown_id_byte_for_byte(world: World, operation: str) -> None:
    ids = ROWS[operation].about(world)
    unknown = {name: str(uuid.uuid4()) for name in ids}
    before = world.state()
    foreign_reply = send(world.stranger, operation, ids)
    if not ids:
        assert foreign_reply.status_code == ROWS[operation].status
        mine = [world.uploaded, world.ended, *(one["id"] for one in world.admin.call("GET", "/keys")["items"])]
        assert not [one for one in mine if one in foreign_reply.text]
        return
    assert seen(foreign_reply, ids) == seen(send(world.stranger, operation, unknown), unknown)
    if ROWS[operation].query is None:
        assert told(foreign_reply) == (404, "not_found")
    else:
        assert foreign_reply.json() == {"items": [], "next_cursor": None}
    assert world.state() == before


def seen(reply: httpx2.Response, ids: Ids) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return all that a client sees, but for the id it sent itself, the date and the request's id."""
    body = reply.content
    for one in (*ids.values(), reply.headers["x-request-id"]):
        body = body.replace(one.encode(), b"-")
    headers = [(name, value) for name, value in reply.headers.multi_items() if name not in ("date", "x-request-id")]
    return reply.status_code, headers, body


@OPERATIONS
def test_the_scope_that_it_needs_is_enough(world: World, operation: str) -> None:
    reply = send(world.scoped[ROWS[operation].scope], operation, ROWS[operation].about(world))
    assert reply.status_code == ROWS[operation].status, reply.text


@OPERATIONS
def test_an_admin_may(world: World, operation: str) -> None:
    reply = send(world.admin, operation, ROWS[operation].about(world))
    assert reply.status_code == ROWS[operation].status, reply.text


@OPERATIONS
def test_the_signed_in_browser_may_from_its_own_page(world: World, operation: str) -> None:
    reply = send(world.browser, operation, ROWS[operation].about(world), Origin=world.server.url)
    assert reply.status_code == ROWS[operation].status, reply.text

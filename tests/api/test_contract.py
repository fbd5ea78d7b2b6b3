"""What every operation keeps to: problem+json, refusals of what is unknown, pages, health and the OpenAPI document."""

from __future__ import annotations

import base64
import json
import re
import socket
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from reelmill.errors import catalogue
from reelmill.schemas import Problem

if TYPE_CHECKING:
    from conftest import Client, Running

Connect = Callable[..., "Client"]
Serve = Callable[..., AbstractContextManager["Running"]]
JSON = {"Content-Type": "application/json"}
ABOUT = {"filename": "a.mp4", "size": 100, "content_type": "video/mp4"}
QUICK = {"steps": 1, "seconds": 0}
FAR_CURSOR = base64.urlsafe_b64encode(b'["0001-01-01T00:00:00+23:00", "x"]').decode().rstrip("=")


def problem(reply: httpx2.Response, status: int, code: str) -> Problem:
    """Check that a reply is a whole problem of the catalogue, and return it."""
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json"), reply.text
    told = Problem.model_validate(reply.json())
    assert (told.status, told.code, told.type) == (status, code, f"urn:reelmill:error:{code}")
    (kind,) = [kind for kind in catalogue() if kind.code == code]
    assert (told.title, told.remedy, told.why) == (kind.what, kind.remedy, kind.why)
    assert told.correlation_id == reply.headers["X-Request-Id"]
    return told


def test_unknown_paths_and_methods_are_problems_too(client: Client, connect: Connect) -> None:
    for path in ("/videos", "/nothing", "/api/v1", "/api/v1/", "/api/v1/jobs/", "/api/v2/jobs", "/docs/"):
        problem(client.get(path), 404, "not_found")
    problem(connect().get("/nothing"), 404, "not_found")
    for method, path, allow in (
        ("PUT", "/api/v1/jobs", "GET, POST"),
        ("DELETE", "/api/v1/videos", "GET"),
        ("PATCH", f"/api/v1/keys/{uuid.uuid4()}", "DELETE"),
        ("POST", "/healthz", "GET"),
    ):
        reply = client.request(method, path)
        problem(reply, 405, "method_not_allowed")
        assert reply.headers["allow"] == allow


BAD_BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"\xff\xfe",
    b'{"filename": NaN}',
    b"1" * 5000,
    b"[" * 100_000,
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_a_body_that_is_not_the_json_asked_for_is_refused(client: Client, body: bytes) -> None:
    reply = client.post("/api/v1/uploads/initiate", content=body, headers=JSON)
    told = problem(reply, 422, "request_invalid")
    assert told.errors and len(reply.content) < 4000


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_of_another_type_is_refused(client: Client, content_type: str) -> None:
    body = json.dumps(ABOUT).encode()
    reply = client.post("/api/v1/uploads/initiate", content=body, headers={"Content-Type": content_type})
    assert "application/json" in problem(reply, 422, "request_invalid").detail


@pytest.mark.parametrize(
    "field",
    [
        {"filename": ""},
        {"filename": "a/b.mp4"},
        {"filename": "a\\b.mp4"},
        {"filename": "a\nb.mp4"},
        {"filename": "a\x00.mp4"},
        {"filename": "\ud800.mp4"},
        {"filename": "x" * 256},
        {"size": 0},
        {"size": -1},
        {"size": "100"},
        {"size": 1.5},
        {"size": True},
        {"size": 10**30},
        {"size": (1 << 63) - 1},
        {"content_type": "video"},
        {"content_type": "video/mp4\r\nX: y"},
        {"content_type": "video/mp4; charset=x"},
        {"content_type": "video/" + "x" * 255},
        {"sha256": "abc"},
        {"sha256": "g" * 64},
        {"labels": {"Big": "x"}},
        {"labels": {"a b": "x"}},
        {"labels": {"a": "x" * 257}},
        {"labels": {"a": "\x00"}},
        {"labels": {"a": 1}},
        {"labels": {f"l{n}": "x" for n in range(33)}},
        {"params": {}},
        {"pipeline": "clips", "params": []},
        {"nonsense": 1},
    ],
    ids=lambda field: ascii(field)[:60],
)
def test_initiate_takes_only_what_is_declared(client: Client, field: dict[str, Any]) -> None:
    body = json.dumps({**ABOUT, **field}).encode()  # ASCII escapes, also of what UTF-8 can't say
    problem(client.post("/api/v1/uploads/initiate", content=body, headers=JSON), 422, "request_invalid")


def test_names_of_any_language_are_kept(client: Client) -> None:
    name = "Ferien – 夏休み 🎬 'quoted' \"twice\" ; rm -rf.mp4"
    made = client.call("POST", "/uploads/initiate", 201, json={**ABOUT, "filename": name, "labels": {"a.b": "ü: %"}})
    video = client.call("GET", f"/videos/{made['video_id']}")
    assert (video["filename"], video["labels"]) == (name, {"a.b": "ü: %"})
    found = client.call("GET", "/videos", params={"label": "a.b:ü: %"})["items"]
    assert made["video_id"] in [one["id"] for one in found]


@pytest.mark.parametrize(
    "params",
    [
        {"steps": 10**30},
        {"text": "\x00"},
        {"deep": {"er": ["\ud800"]}},
        {"\x00": 1},
        {"seconds": float("inf")},
        {"seconds": float("nan")},
    ],
    ids=ascii,
)
def test_parameters_that_no_database_could_keep_are_refused(client: Client, video_id: str, params: Any) -> None:
    body = json.dumps({"video_id": video_id, "pipeline": "slow_writer", "params": params}).encode()
    problem(client.post("/api/v1/jobs", content=body, headers=JSON), 422, "request_invalid")


@pytest.mark.parametrize("priority", [10**30, 1001, -1001, 1.5, "1", None, True])
def test_a_priority_is_a_small_integer(client: Client, video_id: str, priority: Any) -> None:
    body = {"video_id": video_id, "pipeline": "slow_writer", "params": QUICK, "priority": priority}
    problem(client.post("/api/v1/jobs", json=body), 422, "request_invalid")


def test_every_body_refuses_unknown_fields(client: Client) -> None:
    document = client.get("/openapi.json").json()
    checked = 0
    for path, item in document["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                continue
            schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
            assert schema["additionalProperties"] is False, path
            named = re.sub(r"\{\w+\}", str(uuid.uuid4()), path)
            reply = client.request(method.upper(), named, json={"nonsense": 1})
            told = problem(reply, 422, "request_invalid")
            assert "body.nonsense" in [error.field for error in told.errors or ()], path
            checked += 1
    assert checked >= 5


def test_a_body_over_a_mebibyte_is_refused_whether_or_not_its_length_is_told(client: Client) -> None:
    big = b'"' + b"x" * (1 << 20) + b'"'
    problem(client.post("/api/v1/uploads/initiate", content=big, headers=JSON), 413, "request_too_large")
    blocks = (big[i : i + 65536] for i in range(0, len(big), 65536))
    problem(client.post("/api/v1/uploads/initiate", content=blocks, headers=JSON), 413, "request_too_large")
    just = json.dumps({**ABOUT, "sha256": "x" * 1_000_000}).encode()
    problem(client.post("/api/v1/uploads/initiate", content=just, headers=JSON), 422, "request_invalid")


def test_a_client_that_hangs_up_in_its_body_does_no_harm(client: Client, server: Running) -> None:
    host, _, port = server.url.removeprefix("http://").partition(":")
    head = f"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.key}\r\nContent-Length: 100\r\n\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + b'{"video')
    assert client.get("/healthz").status_code == 200


# ── pages ─────────────────────────────────────────────────────────────────────────────────────


def test_pages_show_each_row_once_though_rows_are_added_meanwhile(client: Client, connect: Connect) -> None:
    mine = connect("admin", tenant="pages")
    made = [mine.call("POST", "/uploads/initiate", 201, json=ABOUT)["video_id"] for _ in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = mine.call("GET", "/videos", params=params)
        seen += [one["id"] for one in page["items"]]
        mine.call("POST", "/uploads/initiate", 201, json=ABOUT)
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == list(reversed(made))


@pytest.mark.parametrize("path", ["/videos", "/jobs"])
@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("limit=0", 422, "request_invalid"),
        ("limit=201", 422, "request_invalid"),
        ("limit=99999999999999999999", 422, "request_invalid"),
        ("limit=x", 422, "request_invalid"),
        ("cursor=x", 400, "cursor_invalid"),
        ("cursor=W10", 400, "cursor_invalid"),
        ("cursor=%C3%A9", 400, "cursor_invalid"),
        ("cursor=" + "A" * 501, 422, "request_invalid"),
        ("cursor=%00", 422, "request_invalid"),
        (f"cursor={FAR_CURSOR}", 400, "cursor_invalid"),
    ],
)
def test_a_listing_refuses_what_makes_no_sense(client: Client, path: str, query: str, status: int, code: str) -> None:
    problem(client.get(f"/api/v1{path}?{query}"), status, code)


def test_a_misspelt_parameter_is_refused_not_ignored(client: Client, video_id: str) -> None:
    body = {"video_id": video_id, "pipeline": "slow_writer", "params": QUICK}
    told = problem(client.post("/api/v1/jobs?dryrun=true", json=body), 422, "request_invalid")
    assert [error.field for error in told.errors or ()] == ["query.dryrun"]
    problem(client.get("/api/v1/videos?state=completed"), 422, "request_invalid")


@pytest.mark.parametrize(
    "query",
    ["processing_status=odd", "upload_status=odd", "label=x", "label=A:b", "label=a:b&label=a:c", "label=a:%00"],
)
def test_a_filter_of_no_meaning_is_refused(client: Client, query: str) -> None:
    problem(client.get(f"/api/v1/videos?{query}"), 422, "request_invalid")


# ── correlation, health, documents ────────────────────────────────────────────────────────────


def test_a_request_id_is_taken_over_into_reply_and_job(client: Client, video_id: str) -> None:
    body = {"video_id": video_id, "pipeline": "slow_writer", "params": QUICK}
    reply = client.post("/api/v1/jobs", json=body, headers={"X-Request-Id": "order-17.a_B"})
    assert reply.headers["X-Request-Id"] == "order-17.a_B"
    assert client.call("GET", f"/jobs/{reply.json()['job_id']}")["correlation_id"] == "order-17.a_B"
    for bad in ("a b", "x" * 65, "<script>", ""):
        made = client.get("/healthz", headers={"X-Request-Id": bad}).headers["X-Request-Id"]
        assert re.fullmatch(r"[0-9a-f]{32}", made)


@pytest.mark.req("E-10")
def test_health_needs_no_key(connect: Connect) -> None:
    nobody = connect()
    assert nobody.get("/healthz").json()["status"] == "ok"
    ready = nobody.get("/readyz").json()
    assert ready["ready"] and set(ready["checks"]) == {"database", "schema", "storage", "disk", "workers"}


@pytest.mark.req("E-10")
def test_a_server_whose_storage_is_gone_is_not_ready(serve: Serve, connect: Connect, tmp_path: Path) -> None:
    with serve(tmp_path / "data") as server:
        nobody = connect(of=server)
        objects = tmp_path / "data" / "objects"
        away = objects.rename(tmp_path / "away")
        objects.write_text("a file where the folder was")
        reply = nobody.get("/readyz")
        assert reply.status_code == 503 and not reply.json()["checks"]["storage"]["ok"]
        assert reply.json()["checks"]["storage"]["code"] == "storage_denied"
        assert str(tmp_path) not in reply.text, "where things lie is nobody's business who has no key"
        assert reply.json()["checks"]["database"]["ok"] and nobody.get("/healthz").status_code == 200
        objects.unlink()
        away.rename(objects)


def test_the_document_is_complete(client: Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    ids = [op["operationId"] for item in document["paths"].values() for op in item.values()]
    assert len(ids) == len(set(ids)) and {"initiate_upload", "create_job", "job_events", "readyz"} <= set(ids)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation["tags"] and operation["description"], (method, path)
            if path.startswith("/api/v1"):
                for status in ("401", "403", "422"):
                    content = operation["responses"][status]["content"]
                    assert content == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert references <= set(document["components"]["schemas"])


def test_the_docs_page_needs_nothing_from_elsewhere(connect: Connect) -> None:
    reply = connect().get("/docs")
    assert reply.status_code == 200 and "default-src 'none'" in reply.headers["content-security-policy"]
    assert "<script" not in reply.text and not re.search(r'(?:src|href)="(?:https?:)?//', reply.text)
    for path in connect().get("/openapi.json").json()["paths"]:
        assert path in reply.text


def test_pipelines_come_with_the_schema_of_their_parameters(client: Client) -> None:
    found = {one["name"]: one for one in client.call("GET", "/pipelines")["items"]}
    assert {"clips", "slow_writer"} <= set(found)
    assert found["clips"]["params"]["additionalProperties"] is False
    for one in found.values():
        assert sum(stage["weight"] for stage in one["stages"]) == 100

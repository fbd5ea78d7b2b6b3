"""Older clients: their very bytes, over a plain socket, on every path of theirs and in every status of a job."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from older import COMPLETE, OLDER, POST, Wire, job_in
from reelmill.api.aliases import ALIASES
from reelmill.jobs.service import ALREADY

if TYPE_CHECKING:
    from conftest import Client, Running

Connect = Callable[..., "Client"]
Serve = Callable[..., AbstractContextManager["Running"]]

STATES = ["awaiting_upload", "queued", "running", "completed", "failed", "cancelled"]
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "older-clients.md"


@pytest.fixture(scope="module")
def wire(server: Running) -> Wire:
    return Wire(server, server.key("admin"))


@pytest.fixture(scope="module")
def idle(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """A server without workers: what is queued stays queued."""
    with serve(tmp_path_factory.mktemp("idle") / "data", workers=0) as server:
        yield Wire(server, server.key("admin"))


# ── every path in every status ────────────────────────────────────────────────────────────────

WORDS = {  # status: view A/B, a job of view C, its video, view D, view E
    "awaiting_upload": ("PENDING", "pending", "pending", "awaiting_upload", "awaiting_upload"),
    "queued": ("PENDING", "pending", "processing", "queued", "queued"),
    "running": ("PROCESSING", "running", "processing", "quick_running", "running"),
    "completed": ("COMPLETED", "completed", "completed", "done", "completed"),
    "failed": ("FAILED", "failed", "failed", "failed", "failed"),
    "cancelled": ("FAILED", "failed", "failed", "failed", "cancelled"),
}


@pytest.mark.req("A-05", "A-06", "C-05", "C-06", "C-08", "D-01", "D-03", "D-04", "E-02")
@pytest.mark.parametrize("view", OLDER)
@pytest.mark.parametrize("state", STATES)
def test_every_path_tells_every_status_in_its_own_words(
    wire: Wire, idle: Wire, film: Path, view: str, state: str
) -> None:
    with job_in(state, wire, idle, view, film) as (there, begun):
        job_id, video_id = begun["job_id"], begun["video_id"]
        in_ab, in_c, of_video, in_d, in_e = WORDS[state]

        clip = there.get(f"/api/jobs/{job_id}/status")
        session = there.get(f"/videos/jobs/{job_id}/status")
        generated = there.get(f"/api/v1/videos/jobs/{job_id}/status")
        assert [told["status"] for told in (clip, session, generated)] == [in_ab, in_d, in_e]
        assert session["stage"] == in_d.upper()
        assert session["session_id"] == ("visit-17" if view == "D" else job_id)
        assert {told["job_id"] for told in (clip, session, generated)} == {job_id}
        ended_badly = {"failed": "internal_error", "cancelled": None}
        assert (clip["error"] or {}).get("code") == ended_badly.get(state)
        assert (clip["error_message"] is not None) == (state in ended_badly)
        for told in (clip, session):
            if state == "completed":
                (url,) = told["download_urls"]
                assert httpx2.get(url, trust_env=False).status_code == 200
            else:
                assert told["download_urls"] is None

        video = there.get(f"/api/videos/{video_id}")
        job = video["job"]
        assert (job["status"], video["processing_status"]) == (in_c, of_video)
        assert (job["job_id"], job["job_type"], job["celery_task_id"]) == (job_id, "slow_writer", None)
        assert job["error_message"] == clip["error_message"]
        assert (video["id"], video["processing_job_id"], video["filename"]) == (video_id, job_id, "film.mp4")
        assert (video["original_path"], video["file_size_bytes"]) == (begun["s3_key"], film.stat().st_size)
        assert (video["uploaded_at"] is None) == (video["upload_status"] == "awaiting") == (state == "awaiting_upload")
        assert (video["processing_completed_at"] is not None) == (state in ("completed", "failed", "cancelled"))
        if state == "completed":
            (key,) = job["result_data"]["output_s3_keys"]
            assert there.server.app.objects.head(key).size_bytes > 0
        else:
            assert job["result_data"] is None
        listed = there.get(f"/api/videos?processing_status={of_video}&limit=200")["items"]
        assert {**video, "job": None} in [{**one, "job": None} for one in listed]

        download, content = there.raw_get(f"/api/v1/videos/jobs/{job_id}/download")
        assert download == (307 if state == "completed" else 409), content

        if state != "awaiting_upload":
            before = there.get(f"/api/v1/jobs/{job_id}")
            for by in COMPLETE:
                status, done = there.complete(view, begun, by)
                assert (status, done["message"], done["video_id"]) == (200, ALREADY, video_id)
                if view == "C":
                    assert (done["processing_job_id"], done["processing_status"]) == (job_id, of_video)
                else:
                    assert (done["job_id"], done["status"]) == (job_id, in_ab if view == "A/B" else in_d)
                if view == "D":
                    assert (done["stage"], done["session_id"]) == (in_d.upper(), "visit-17")
            after = there.get(f"/api/v1/jobs/{job_id}")
            assert [after[name] for name in ("status", "run", "params")] == [
                before[name] for name in ("status", "run", "params")
            ]


@pytest.mark.req("D-01", "D-02")
@pytest.mark.parametrize("by", COMPLETE)
@pytest.mark.parametrize("view", OLDER)
def test_a_missing_file_is_told_in_the_older_words_and_can_still_come(
    wire: Wire, film: Path, view: str, by: str
) -> None:
    begun = wire.initiate(view, film, b'{"steps":1,"seconds":0}')
    status, told = wire.complete(view, begun, by)
    assert (status, told["detail"], told["code"]) == (400, "Upload not found in S3", "upload_missing")
    assert wire.get(f"/api/jobs/{begun['job_id']}/status")["status"] == "FAILED"
    assert wire.get(f"/videos/jobs/{begun['job_id']}/status")["error_message"] == "Upload not found in S3"
    assert wire.get(f"/api/videos/{begun['video_id']}")["processing_error"] == "upload_missing"
    wire.put(begun, film)
    status, done = wire.complete(view, begun, by)
    assert (status, done["message"]) == (200, "Upload verified, job queued")
    wire.until(begun["job_id"], "completed")


@pytest.mark.req("D-02")
@pytest.mark.parametrize("view", OLDER)
def test_a_file_that_is_no_video_is_refused_for_good(wire: Wire, view: str, tmp_path: Path) -> None:
    text = tmp_path / "film.mp4"
    text.write_text("not a film\n" * 100)
    begun = wire.initiate(view, text)
    wire.put(begun, text)
    for _ in range(2):
        status, told = wire.complete(view, begun)
        assert (status, told["code"]) == (422, "not_a_video")
    assert wire.get(f"/videos/jobs/{begun['job_id']}/status")["stage"] == "FAILED"


@pytest.mark.req("D-01")
@pytest.mark.parametrize("view", OLDER)
def test_a_job_cancelled_before_its_upload_is_not_queued_by_it(wire: Wire, film: Path, view: str) -> None:
    begun = wire.initiate(view, film)
    assert wire.post(f"/api/v1/jobs/{begun['job_id']}/cancel", b"")[0] == 200
    wire.put(begun, film)
    status, done = wire.complete(view, begun)
    assert (status, done["message"]) == (200, "Upload verified")
    assert wire.get(f"/api/v1/videos/jobs/{begun['job_id']}/status")["status"] == "cancelled"
    assert wire.get(f"/api/jobs/{begun['job_id']}/status")["error_message"] == "cancelled"


def test_completing_a_job_again_tells_of_this_job_not_of_a_newer_one(wire: Wire, film: Path) -> None:
    begun = wire.initiate("A/B", film, b'{"steps":1,"seconds":0}')
    wire.put(begun, film)
    wire.complete("A/B", begun)
    wire.until(begun["job_id"], "completed")
    wanted = b'{"video_id":"%s","pipeline":"slow_writer","params":{"steps":1,"seconds":0}}' % begun["video_id"].encode()
    _, newer = wire.post("/api/v1/jobs", wanted)
    assert wire.complete("A/B", begun)[1]["job_id"] == begun["job_id"]
    assert wire.complete("A/B", begun, "video_id")[1]["job_id"] == newer["job_id"]
    wire.until(newer["job_id"], "completed")


@pytest.mark.req("D-05")
def test_two_passes_are_seen_one_after_the_other(serve: Serve, film: Path, tmp_path: Path) -> None:
    with serve(tmp_path / "data", workers=0) as server:
        wire = Wire(server, server.key("admin"))
        begun = wire.initiate("D", film, pipeline=b"two_pass")
        path = f"/videos/jobs/{begun['job_id']}/status"
        seen = [wire.get(path)["status"]]
        wire.put(begun, film)
        wire.complete("D", begun)
        seen.append(wire.get(path)["status"])
        kinds = []
        while claims := server.app.store.claim("this test", limit=1, lease_s=600):  # the only worker, a step at a time
            seen.append(wire.get(path)["status"])
            server.app.runner.run(claims[0])
            seen.append(wire.get(path)["status"])
            kinds.append([one["kind"] for one in wire.get(f"/api/v1/jobs/{begun['job_id']}/artifacts")["items"]])
        quick = ["awaiting_upload", "queued", "quick_running", "quick_done"]
        assert seen == [*quick, "deep_running", "deep_running", "deep_running", "done"]
        assert kinds == [["head"], ["head", "entropy"], ["head", "entropy", "entropy"]]
        done = wire.get(path)
        assert (done["stage"], len(done["download_urls"])) == ("DONE", 2)


@pytest.mark.req("D-05")
def test_an_analysis_is_seen_in_two_passes_and_its_quick_report_read_between_them(
    serve: Serve, film: Path, tmp_path: Path
) -> None:
    with serve(tmp_path / "data", workers=0) as server:
        wire = Wire(server, server.key("admin"))
        # As the client of view D sends it: it knows no pipelines.
        body = b'{"session_id":"visit-17","fileName":"film.mp4","fileType":"video/mp4","fileSize":%d}'
        status, begun = wire.post("/videos/upload/initiate", body % film.stat().st_size)
        assert (status, begun["status"], begun["session_id"]) == (200, "awaiting_upload", "visit-17"), begun
        path = f"/videos/jobs/{begun['job_id']}/status"
        wire.put(begun, film)
        wire.complete("D", begun)
        seen = [wire.get(path)["status"]]
        quick = None
        while claims := server.app.store.claim("this test", limit=1, lease_s=600):  # the only worker, a step at a time
            seen.append(wire.get(path)["status"])
            server.app.runner.run(claims[0])
            seen.append(wire.get(path)["status"])
            if seen[-1] == "quick_done":
                download = f"/api/v1/jobs/{begun['job_id']}/download?via=api&artifact=analysis-quick.json"
                quick = wire.get(download)
        assert seen == ["queued", "quick_running", "quick_done", *["deep_running"] * 5, "done"]
        assert quick is not None and quick["pass"] == "quick" and quick["technical"]["frame_count"] == 50
        assert len(wire.get(path)["download_urls"]) == 2, "the report and the timeline"


# ── what is sent ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("view", OLDER)
@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"filename":"a.mp4"}',
        b'{"filename":"a.mp4","file_name":"a.mp4","size":1}',
        b'{"filename":"a.mp4","size":1,"file_size":1}',
        b'{"filename":"a.mp4","size":"1"}',
        b'{"filename":"a.mp4","size":0}',
        b'{"filename":"../a.mp4","size":1}',
        b'{"filename":"a.mp4","size":1,"nonsense":1}',
        b'{"filename":"a.mp4","size":1,"labels":{"Mall":"8"}}',
    ],
)
def test_initiate_takes_only_what_is_declared(wire: Wire, view: str, body: bytes) -> None:
    status, told = wire.post(OLDER[view].initiate, body)
    assert (status, told["code"]) == (422, "request_invalid"), told


@pytest.mark.parametrize("path", [*(older.complete for older in OLDER.values()), "/api/video/analyze-duration"])
@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"job_id":null}',
        b'{"job_id":"%s","video_id":"%s"}',
        b'{"video_id":"%s","s3_key":"%s"}',
        b'{"job_id":"%s","jobId":"%s"}',
        b'{"s3_key":""}',
        b'{"s3_key":["%s"]}',
        b'{"s3_key":"default/original/\\u0000"}',
        b'{"job_id":"%s","nonsense":1}',
    ],
)
def test_one_name_of_the_upload_is_needed_and_no_more(wire: Wire, path: str, body: bytes) -> None:
    status, told = wire.post(path, body.replace(b"%s", str(uuid.uuid4()).encode()))
    assert (status, told["code"]) == (422, "request_invalid"), told


@pytest.mark.parametrize("view", OLDER)
def test_what_was_settled_at_initiate_cannot_be_said_otherwise_at_complete(wire: Wire, film: Path, view: str) -> None:
    begun = wire.initiate(view, film)
    wire.put(begun, film)
    body = b'{"job_id":"%s","params":{"steps":9}}' % begun["job_id"].encode()
    status, told = wire.post(OLDER[view].complete, body)
    assert (status, told["code"]) == (422, "request_invalid") and "settled at initiate" in told["detail"]


@pytest.mark.req("C-01")
def test_a_view_runs_its_own_pipeline_unless_another_is_named(wire: Wire, film: Path) -> None:
    _, begun = wire.post("/api/upload/initiate", b'{"file_name":"film.mp4","file_size":9}')
    assert wire.get(f"/api/jobs/{begun['job_id']}/status")["pipeline"] == "clips"
    installed = {one["name"] for one in wire.get("/api/v1/pipelines")["items"]}
    for view, pipeline in (("C", "proxy"), ("D", "analysis")):
        status, told = wire.post(OLDER[view].initiate, b'{"filename":"film.mp4","size":9}')
        expected = (200, None) if pipeline in installed else (404, "pipeline_unknown")
        assert (status, told.get("code")) == expected
        if pipeline not in installed:
            assert repr(pipeline) in told["detail"]
        assert wire.initiate(view, film)["job_id"]


@pytest.mark.parametrize("view", OLDER)
def test_a_request_sent_again_with_its_idempotency_key_makes_nothing_new(wire: Wire, film: Path, view: str) -> None:
    older = OLDER[view]
    body = older.initiate_body % (film.stat().st_size, b"slow_writer", b"{}")
    request = POST % (older.initiate.encode(), wire.host.encode(), wire.key, len(body), body)
    keyed = request.replace(b"\r\n", b"\r\nIdempotency-Key: %s\r\n" % uuid.uuid4().hex.encode(), 1)
    (_, first), (status, again), (_, other) = (
        (sent[0], json.loads(sent[1])) for sent in map(wire.send, [keyed, keyed, request])
    )
    assert status == 200 and first.keys() == again.keys()
    assert (again["job_id"], again["video_id"], again["s3_key"]) == (
        first["job_id"],
        first["video_id"],
        first["s3_key"],
    )
    assert other["job_id"] != first["job_id"]
    wire.put(again, film)
    assert wire.complete(view, first)[0] == 200
    status, content = wire.send(keyed)
    assert (status, json.loads(content)["code"]) == (409, "transition_refused")


# ── places of view C ──────────────────────────────────────────────────────────────────────────


@pytest.mark.req("C-05", "C-06")
def test_an_upload_belongs_to_its_mall_and_pin(wire: Wire, film: Path) -> None:
    begun = wire.initiate("C", film, b'{"steps":1,"seconds":0}')
    wire.put(begun, film)
    for by in COMPLETE:
        body = COMPLETE[by] % begun[by].encode()
        for place in ("malls/8/pins/door%20north", "malls/7/pins/2", "malls/7/pins/door"):
            status, told = wire.post(f"/api/{place}/uploads/complete", body)
            assert (status, told["code"]) == (404, "not_found")
    assert wire.get(f"/api/videos/{begun['video_id']}")["upload_status"] == "awaiting"
    status, done = wire.complete("C", begun)
    assert (status, done["processing_job_id"], done["upload_status"]) == (200, begun["job_id"], "uploaded")
    assert done["processing_status"] in ("processing", "completed")
    wire.until(begun["job_id"], "completed")
    for query in ("mall_id=7&pin_id=door%20north", "label=mall:7&label=pin:door%20north", "pin_id=door%20north"):
        found = wire.get(f"/api/videos?{query}&processing_status=completed&limit=200")["items"]
        assert begun["video_id"] in [one["id"] for one in found]
        assert {(one["mall_id"], one["pin_id"]) for one in found} == {("7", "door north")}
    assert wire.get("/api/videos?mall_id=8&pin_id=door%20north")["items"] == []


@pytest.mark.parametrize("place", ["malls/%00/pins/1", "malls/1/pins/%00", "malls/" + "x" * 257 + "/pins/1"])
def test_a_place_that_no_label_can_hold_is_refused(wire: Wire, film: Path, place: str) -> None:
    body = OLDER["C"].initiate_body % (9, b"slow_writer", b"{}")
    status, told = wire.post(f"/api/{place}/uploads/initiate", body)
    assert (status, told["code"]) == (422, "request_invalid")


@pytest.mark.req("C-08")
def test_a_proxy_path_stays_when_another_job_runs_later(wire: Wire, film: Path) -> None:
    begun = wire.initiate("C", film, b'{"head_kind":"proxy"}', b"two_pass")
    wire.put(begun, film)
    wire.complete("C", begun)
    wire.until(begun["job_id"], "completed")
    wanted = b'{"video_id":"%s","pipeline":"slow_writer","params":{"steps":1,"seconds":0}}' % begun["video_id"].encode()
    _, newer = wire.post("/api/v1/jobs", wanted)
    wire.until(newer["job_id"], "completed")
    video = wire.get(f"/api/videos/{begun['video_id']}")
    assert (video["job"]["job_type"], video["processing_job_id"]) == ("slow_writer", newer["job_id"])
    head = b"".join(wire.server.app.objects.open(video["proxy_path"]))
    assert head == film.read_bytes()[:4096]


@pytest.mark.req("A-03", "C-08")
def test_the_queues_own_id_is_shown_and_finds_nothing(serve: Serve, film: Path, tmp_path: Path) -> None:
    with serve(tmp_path / "data", workers=0) as server:
        wire = Wire(server, server.key("admin"))
        begun = wire.initiate("C", film)
        wire.put(begun, film)
        wire.complete("C", begun)
        task_id = str(uuid.uuid4())
        assert server.app.store.claim("a worker", limit=1, lease_s=60, engine_task_id=task_id)
        job = wire.get(f"/api/videos/{begun['video_id']}")["job"]
        assert (job["celery_task_id"], job["job_id"], job["status"]) == (task_id, begun["job_id"], "running")
        for path in ("/api/jobs/{}/status", "/videos/jobs/{}/status", "/api/v1/videos/jobs/{}/status"):
            assert wire.raw_get(path.format(task_id))[0] == 404
        assert wire.post("/api/upload/complete", COMPLETE["job_id"] % task_id.encode())[0] == 404


# ── the same work by both doors ───────────────────────────────────────────────────────────────


@pytest.mark.req("B-03")
def test_a_cut_list_is_the_canonical_one_by_whatever_name(wire: Wire, film: Path) -> None:
    begun = wire.initiate("A/B", film)
    asked = b'{"video_id":"%s","cutting":{"kind":"fixed","duration_s":0.8}}' % begun["video_id"].encode()
    assert wire.post("/api/video/analyze-duration", asked)[1]["code"] == "upload_needed"
    wire.put(begun, film)
    wire.complete("A/B", begun)
    canonical = wire.post("/api/v1/videos/analyze-duration", asked)
    assert canonical[0] == 200 and canonical[1]["segment_count"] == 3
    for by in COMPLETE:
        named = json.dumps(by).encode() + b":" + json.dumps(begun[by]).encode()
        body = b'{%s,"cutting_params":{"kind":"fixed","duration_s":0.8}}' % named
        assert wire.post("/api/video/analyze-duration", body) == canonical


@pytest.mark.req("A-05", "A-06")
def test_clips_come_by_the_oldest_paths_alone(wire: Wire, film: Path) -> None:
    body = b'{"file_name":"film.mp4","content_type":"video/mp4","file_size":%d,"params":{"cutting":{"duration_s":0.8}}}'
    _, begun = wire.post("/api/upload/initiate", body % film.stat().st_size)
    wire.put(begun, film)
    wire.complete("A/B", begun, "s3_key")
    deadline = time.monotonic() + 60
    while (now := wire.get(f"/api/jobs/{begun['job_id']}/status"))["status"] != "COMPLETED":
        assert now["status"] in ("PENDING", "PROCESSING") and time.monotonic() < deadline, now
        time.sleep(0.05)
    assert len(now["download_urls"]) == 3 and now["progress_pct"] == 100
    again = wire.get(f"/api/jobs/{begun['job_id']}/status")["download_urls"]
    assert [url.partition("?")[0] for url in again] == [url.partition("?")[0] for url in now["download_urls"]]
    for url in again:
        reply = httpx2.get(url, trust_env=False)
        assert reply.status_code == 200 and reply.content[4:8] == b"ftyp"


# ── who may ───────────────────────────────────────────────────────────────────────────────────


def asked(alias: Any, video_id: str, job_id: str) -> tuple[str, bytes | None]:
    """Return the path and body that ask an alias for this video or job."""
    path = alias.path.format(mall_id="7", pin_id="door%20north", job_id=job_id, video_id=video_id)
    if alias.method == "GET":
        return path, None
    return path, b'{"job_id":"%s"}' % job_id.encode()


@pytest.mark.req("A-06")
@pytest.mark.parametrize("alias", ALIASES, ids=lambda alias: alias.operation_id)
def test_another_tenants_job_is_as_good_as_unknown(wire: Wire, server: Running, film: Path, alias: Any) -> None:
    stranger = Wire(server, server.key("admin", tenant="stranger"))
    begun = stranger.initiate("C", film)
    answers = []
    for video_id, job_id in ((begun["video_id"], begun["job_id"]), (str(uuid.uuid4()), str(uuid.uuid4()))):
        path, body = asked(alias, video_id, job_id)
        status, content = wire.raw_get(path) if body is None else wire.raw_post(path, body)
        answers.append((status, content.replace(job_id.encode(), b"ID").replace(video_id.encode(), b"ID")))
    assert answers[0] == answers[1]
    if alias.path == "/api/videos":
        assert begun["video_id"] not in str(wire.get("/api/videos?limit=200"))
    else:
        assert answers[0][0] == (422 if alias.path.endswith("initiate") else 404)


@pytest.mark.parametrize("alias", ALIASES, ids=lambda alias: alias.operation_id)
def test_every_path_needs_a_key_with_its_scope(wire: Wire, server: Running, connect: Connect, alias: Any) -> None:
    path, body = asked(alias, str(uuid.uuid4()), str(uuid.uuid4()))
    json_body = {"content": body, "headers": {"Content-Type": "application/json"}} if body else {}
    nobody = connect()
    assert nobody.request(alias.method, path, **json_body).json()["code"] == "key_missing"
    scope = nobody.get("/openapi.json").json()["paths"][alias.path][alias.method.lower()]["x-scope"]
    assert scope == ("upload" if "upload" in alias.path else "jobs:read")
    other = connect("jobs:read" if scope == "upload" else "upload")
    assert other.request(alias.method, path, **json_body).json()["code"] == "scope_missing"
    right = connect(scope)
    assert right.request(alias.method, path, **json_body).status_code in (200, 404, 422)
    assert right.request(alias.method, path + "?nonsense=1", **json_body).status_code == 422


# ── the table and the page ────────────────────────────────────────────────────────────────────


def test_the_document_marks_them_and_says_what_is_left(client: Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for alias in ALIASES:
        operation = paths[alias.path][alias.method.lower()]
        assert (operation["deprecated"], operation["tags"]) == (True, ["older clients"])
        assert alias.canonical in paths, "a client must have somewhere to go"
    marked = {path for path, item in paths.items() for one in item.values() if one.get("deprecated")}
    assert marked == {alias.path for alias in ALIASES}
    assert "post" in paths["/api/v1/videos/generate"], "view E's own path is the canonical one"


def matches(told: Any, shown: Any, known: dict[str, str], place: str) -> None:
    """Check a reply against the page's: its fields, its values, `…` for any text; learn which id stands for which."""
    match shown:
        case "…":
            assert told is not None, place
        case ["…"]:
            assert isinstance(told, list) and told, place
        case {"…": "…"}:
            assert isinstance(told, dict) and told, place
        case dict():
            assert told.keys() == shown.keys(), place
            for name, value in shown.items():
                matches(told[name], value, known, f"{place}.{name}")
        case list():
            assert len(told) == len(shown), place
            for n, value in enumerate(shown):
                matches(told[n], value, known, f"{place}.{n}")
        case str() if isinstance(told, str):
            for name in re.findall(r"\b[A-Z]+_ID\b", shown):
                if name not in known and name == shown:
                    known[name] = str(uuid.UUID(told))
                shown = shown.replace(name, known[name])
            pattern = ".+".join(re.escape(part) for part in shown.split("…"))
            assert re.fullmatch(pattern, told, re.DOTALL), f"{place}: {told!r} isn't {shown!r}"
        case _:
            assert told == shown, place


@pytest.mark.req("A-05", "C-06", "C-08", "D-04")
def test_the_page_of_older_clients_shows_what_is_answered(serve: Serve, film: Path, tmp_path: Path) -> None:
    text = PAGE.read_text()
    examples = re.findall(
        r"```http\n(GET|POST) (\S+)\n(?:\n(.*?))?```\n\n(?:[^`]*\n\n)?```json\n(.*?)```", text, re.DOTALL
    )
    assert {f"{method} {path.partition('?')[0]}" for method, path, _, _ in examples} >= {
        f"{alias.method} {alias.path.format(mall_id='7', pin_id='3', video_id='VIDEO_ID', job_id='JOB_ID')}"
        for alias in ALIASES
        if not alias.path.endswith(("/download", "/stream", "/thumbnail"))  # no JSON
    }
    for alias in ALIASES:
        assert f"`{alias.method} {alias.path}`" in text and f"`{alias.canonical}`" in text
        assert all(f"`{word}`" in text for word in alias.view.words) and f"`{alias.view.pipeline}`" in text
    with serve(tmp_path / "data") as server:
        wire = Wire(server, server.key("admin"))
        known: dict[str, str] = {}
        for method, path, body, shown in examples:
            if path.endswith("/initiate"):
                known = {}
            for name, value in known.items():
                path, body = path.replace(name, value), body.replace(name, value)
            body, shown = (text.replace("174282", str(film.stat().st_size)) for text in (body, shown))
            if path.endswith("/status") or path.startswith("/api/videos"):
                wire.until(known["JOB_ID"], "completed")
            if method == "GET":
                told = wire.get(path)
            else:
                status, told = wire.post(path, body.encode())
                assert status == 200, told
            matches(told, json.loads(shown), known, path)
            if path.endswith("/initiate"):
                wire.put(told, film)

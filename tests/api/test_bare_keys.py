"""Complete by a bare key: the caller's own uploads and unowned objects, and nothing else in storage."""

from __future__ import annotations

import json
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from older import COMPLETE, OLDER, Wire
from reelmill.jobs.keys import may_be_source
from reelmill.jobs.service import ALREADY
from running import Server

if TYPE_CHECKING:
    from conftest import Running


@pytest.fixture(scope="module")
def wire(server: Running) -> Wire:
    return Wire(server, server.key("admin"))


@pytest.mark.parametrize(
    ("key", "may"),
    [
        ("acme/original/a.mp4", True),
        ("acme/original/2026/11/cam-1_B.mp4", True),
        ("acme/original/..mp4", True),
        ("acme/original/../outputs/a.mp4", False),
        ("acme/original/./a.mp4", False),
        ("acme/original/..", False),
        ("acme/original/", False),
        ("acme/original", False),
        ("acme/original//a.mp4", False),
        ("acme/original/a b.mp4", False),
        ("acme/original/a.mp4\n", False),
        ("acme/original/" + "a" * 201, False),
        ("acme/original/" + "a/" * 300 + "a", False),
        ("acme/outputs/a.mp4", False),
        ("acme-2/original/a.mp4", False),
        ("/acme/original/a.mp4", False),
    ],
)
def test_where_a_source_may_lie_is_a_matter_of_its_key_alone(key: str, may: bool) -> None:
    assert may_be_source("acme", key) is may


def completing(key: str, more: bytes = b',"pipeline":"slow_writer","params":{"steps":1,"seconds":0}') -> bytes:
    return b'{"s3_key":%s%s}' % (json.dumps(key).encode(), more)


def rows(wire: Wire) -> tuple[int, int]:
    """How many videos and jobs there are."""
    counted = []
    for path in ("/api/v1/videos", "/api/v1/jobs"):
        cursor, count = "", 0
        while True:
            page = wire.get(f"{path}?limit=200{cursor}")
            count += len(page["items"])
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        counted.append(count)
    return counted[0], counted[1]


@pytest.mark.req("A-05", "A-02")
@pytest.mark.parametrize("view", OLDER)
def test_an_object_put_there_without_initiate_is_where_its_job_begins(
    wire: Wire, film: Path, tmp_path: Path, view: str
) -> None:
    key = f"default/original/inbox/{uuid.uuid4().hex}/cam-1.mp4"
    wire.store(key, film, tmp_path)
    status, done = wire.post(OLDER[view].complete, completing(key))
    assert (status, done["message"]) == (200, "Upload verified, job queued")
    job_id = done["processing_job_id" if view == "C" else "job_id"]
    assert uuid.UUID(job_id).version == 4
    wire.until(job_id, "completed")
    video = wire.get(f"/api/videos/{done['video_id']}")
    assert (video["original_path"], video["filename"], video["processing_job_id"]) == (key, "cam-1.mp4", job_id)
    assert (video["mall_id"], video["pin_id"]) == (("7", "door north") if view == "C" else (None, None))
    before = rows(wire)
    status, again = wire.post(OLDER[view].complete, completing(key))
    assert (status, again["message"], again["video_id"]) == (200, ALREADY, done["video_id"])
    assert rows(wire) == before


@pytest.mark.req("A-05")
def test_a_key_that_is_not_the_callers_is_as_good_as_unknown(
    wire: Wire, server: Running, film: Path, tmp_path: Path
) -> None:
    stranger = Wire(server, server.key("admin", tenant="stranger"))
    theirs = stranger.initiate("A/B", film)
    stranger.put(theirs, film)
    lying = f"stranger/original/{uuid.uuid4().hex}.mp4"
    wire.store(lying, film, tmp_path)
    done = wire.initiate("A/B", film, b'{"steps":1,"seconds":0}')
    wire.put(done, film)
    wire.complete("A/B", done)
    wire.until(done["job_id"], "completed")
    (output,) = wire.get(f"/api/videos/{done['video_id']}")["job"]["result_data"]["output_s3_keys"]
    inside = f"default/original/{uuid.uuid4().hex}.mp4"
    wire.store(inside, film, tmp_path)
    before, strangers = rows(wire), rows(stranger)

    keys = [
        "default/original/nothing.mp4",
        theirs["s3_key"],
        lying,
        output,
        output.replace("default/", "default/original/../"),
        f"/{inside}",
        f"{inside}/",
        inside.replace("original/", "original//"),
        inside.replace("original/", "original/./"),
        inside.replace("default/", "default/original/../../default/"),
        inside.replace("/original/", "/%6friginal/"),
        inside.replace("/", "\\"),
        f"file:///{inside}",
        f"s3://local/{inside}",
        f"{inside}\n",
        f" {inside}",
        inside.upper(),
        "default/original",
        "default/original/",
        "default",
        "../../etc/passwd",
        "/etc/passwd",
        "default/outputs/" + done["job_id"],
        "stranger/original/../../" + inside,
        "ü" * 500,
        "default/original/" + "a" * 600,
    ]
    bodies = set()
    for view in OLDER.values():
        for key in keys:
            status, content = wire.raw_post(view.complete, completing(key))
            assert status == 404, (key, content)
            told = json.loads(content)
            assert told["code"] == "not_found" and key in told["detail"]
            bodies.add(json.dumps({**told, "detail": told["detail"].replace(key, "KEY")}))
    assert len(bodies) == 1
    assert (rows(wire), rows(stranger)) == (before, strangers)
    status, there = wire.post("/api/upload/complete", completing(inside))
    assert status == 200, there


@pytest.mark.req("A-05")
def test_an_object_that_cannot_be_used_stays_where_it_is_and_leaves_nothing(
    wire: Wire, film: Path, tmp_path: Path
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a film")
    for path, more, status, code in [
        (text, b',"pipeline":"slow_writer"', 422, "not_a_video"),
        (film, b',"pipeline":"slow_writer","params":{"steps":0}', 422, "params_invalid"),
        (film, b',"pipeline":"nonsense"', 404, "pipeline_unknown"),
        (film, b',"labels":{"Big":"x"}', 422, "request_invalid"),
    ]:
        key = f"default/original/{uuid.uuid4().hex}"
        wire.store(key, path, tmp_path)
        before = rows(wire)
        answered, told = wire.post("/api/upload/complete", completing(key, more))
        assert (answered, told["code"]) == (status, code)
        assert rows(wire) == before
        assert wire.server.app.objects.head(key).size_bytes == path.stat().st_size


@pytest.mark.req("A-05", "D-03")
@pytest.mark.parametrize("view", OLDER)
def test_ten_completes_at_once_make_one_job(wire: Wire, film: Path, tmp_path: Path, view: str) -> None:
    key = f"default/original/{uuid.uuid4().hex}.mp4"
    wire.store(key, film, tmp_path)
    before = rows(wire)
    assert_one_job([wire] * 10, OLDER[view].complete, completing(key))
    assert rows(wire) == (before[0] + 1, before[1] + 1)
    begun = wire.initiate(view, film, b'{"steps":1,"seconds":0}')
    wire.put(begun, film)
    job_id = assert_one_job([wire] * 10, OLDER[view].complete, COMPLETE["job_id"] % begun["job_id"].encode())
    assert job_id == begun["job_id"]


@pytest.mark.req("A-05", "D-03")
def test_ten_completes_at_two_servers_make_one_job(film: Path, tmp_path: Path, postgres_url: str) -> None:
    shared = {"database_url": postgres_url, "storage_url": f"file://{tmp_path / 'objects'}"}
    with Server(tmp_path / "one", **shared) as one, Server(tmp_path / "two", **shared) as two:
        wires = [Wire(one, one.key), Wire(two, two.key)]
        for _ in range(3):
            key = f"default/original/{uuid.uuid4().hex}/film.mp4"
            there = tmp_path / "objects" / "objects" / key
            there.parent.mkdir(parents=True)
            shutil.copy(film, there)
            before = rows(wires[0])
            job_id = assert_one_job(wires * 5, "/api/upload/complete", completing(key))
            assert rows(wires[0]) == (before[0] + 1, before[1] + 1)
            wires[1].until(job_id, "completed")
            assert wires[1].get(f"/api/v1/jobs/{job_id}")["run"] == 1


def assert_one_job(wires: list[Wire], path: str, body: bytes) -> str:
    """Send the same request through all at once; return the id of the one job that all answers name."""
    with ThreadPoolExecutor(len(wires)) as pool:
        replies = list(pool.map(lambda wire: wire.post(path, body), wires))
    assert {status for status, _ in replies} == {200}, replies
    (job_id,) = {told.get("job_id", told.get("processing_job_id")) for _, told in replies}
    messages = sorted(told["message"] for _, told in replies)
    assert messages == [ALREADY] * (len(wires) - 1) + ["Upload verified, job queued"]
    return str(job_id)

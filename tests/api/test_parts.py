"""Uploads in parts, as any client sees them: signed on demand, sent in any order, resumed, joined, given up."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

if TYPE_CHECKING:
    from conftest import Client, Running

Serve = Callable[..., AbstractContextManager["Running"]]
Connect = Callable[..., "Client"]
MIB = 1 << 20
NOTHING = {"steps": 1, "seconds": 0}


@pytest.fixture(scope="module")
def padded(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real film that ends in a `free` box (ISO/IEC 14496-12, 8.1.2), so that it has several parts."""
    path = tmp_path_factory.mktemp("padded") / "long film.mp4"
    rest = random.Random(7).randbytes(3 * MIB + 123)
    path.write_bytes(film.read_bytes() + (8 + len(rest)).to_bytes(4, "big") + b"free" + rest)
    return path


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def begin(client: Client, path: Path, **more: Any) -> dict[str, Any]:
    return client.initiate(path, multipart=True, part_size=MIB, **more)


def chunk(path: Path, number: int) -> bytes:
    return path.read_bytes()[(number - 1) * MIB : number * MIB]


def signed(client: Client, video_id: str, *wanted: dict[str, Any]) -> list[dict[str, Any]]:
    return client.call("POST", f"/uploads/{video_id}/parts", json={"parts": list(wanted)})["parts"]  # type: ignore[no-any-return]


def send(client: Client, video_id: str, path: Path, *numbers: int) -> None:
    for part in signed(client, video_id, *({"number": n, "sha256": sha(chunk(path, n))} for n in numbers)):
        reply = client.put(part, chunk(path, part["number"]))
        assert reply.status_code == 200, reply.text
        assert reply.headers["etag"] and "ETag" in reply.headers["access-control-expose-headers"]


def arrived(client: Client, video_id: str) -> list[int]:
    return [part["number"] for part in client.call("GET", f"/uploads/{video_id}")["parts"]]


@pytest.mark.req("B-01", "D-02", "E-14")
def test_a_film_in_parts_is_joined_verified_and_run(client: Client, padded: Path) -> None:
    begun = begin(client, padded, pipeline="slow_writer", params=NOTHING)
    video_id, size = begun["video_id"], padded.stat().st_size
    count = -(-size // MIB)
    assert (begun["upload"]["part_size"], begun["upload"]["part_count"]) == (MIB, count)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: send(client, video_id, padded, n), range(count, 1, -1)))

    there = client.call("GET", f"/uploads/{video_id}")
    assert [part["number"] for part in there["parts"]] == list(range(2, count + 1))
    assert (there["arrived_bytes"], there["upload"], there["part_count"]) == (size - MIB, None, count)
    assert there["parts"][0] == {"number": 2, "size": MIB, "sha256": sha(chunk(padded, 2))}
    early = client.call("POST", "/uploads/complete", 400, json={"video_id": video_id})
    assert (early["code"], early["missing_parts"]) == ("upload_missing", [1])
    assert "Upload not found in S3" in early["detail"]
    assert client.call("GET", f"/jobs/{begun['job_id']}/status")["error"]["code"] == "upload_missing"

    send(client, video_id, padded, 1)
    done = client.call("POST", "/uploads/complete", json={"video_id": video_id})
    assert (done["job_id"], done["status"]) == (begun["job_id"], "queued")
    assert client.wait(begun["job_id"])["status"] == "completed"
    again = client.call("POST", "/uploads/complete", json={"video_id": video_id})
    assert again["message"] == "Job already processed - no action taken"
    there = client.call("GET", f"/uploads/{video_id}")
    assert (there["upload_status"], there["arrived_bytes"], there["parts"]) == ("uploaded", size, [])
    assert client.call("POST", f"/uploads/{video_id}/parts", 409, json={"parts": [{"number": 1}]})["code"] == (
        "transition_refused"
    )


@pytest.mark.req("B-01")
def test_the_object_has_the_bytes_of_the_file(serve: Serve, connect: Connect, tmp_path: Path, padded: Path) -> None:
    with serve(tmp_path / "data") as server, connect("admin", of=server) as client:
        begun = begin(client, padded, sha256=sha(padded.read_bytes()))
        send(client, begun["video_id"], padded, 2, 1)
        send(client, begun["video_id"], padded, *range(3, begun["upload"]["part_count"] + 1))
        client.call("POST", "/uploads/complete", json={"video_id": begun["video_id"]})
        video = server.app.store.video(begun["video_id"])
        assert b"".join(server.app.objects.open(video.key)) == padded.read_bytes()
        url = server.app.objects.generate_presigned_download_url(server.app.objects.bucket, video.key)
        assert httpx2.get(url, trust_env=False).content == padded.read_bytes()
        deadline = time.monotonic() + 10
        while server.app.store.video(begun["video_id"]).multipart_id is not None:
            assert time.monotonic() < deadline, "the sweeper forgets what was joined"
            time.sleep(0.05)
        assert not list((tmp_path / "data/objects/multipart").iterdir())


def test_ten_completes_at_once_make_one_object_and_one_run(client: Client, padded: Path) -> None:
    begun = begin(client, padded, pipeline="slow_writer", params=NOTHING)
    send(client, begun["video_id"], padded, *range(1, begun["upload"]["part_count"] + 1))
    body = {"video_id": begun["video_id"]}
    with ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(lambda _: client.call("POST", "/uploads/complete", json=body), range(10)))
    assert {reply["job_id"] for reply in replies} == {begun["job_id"]}
    assert client.wait(begun["job_id"])["run"] == 1


@pytest.mark.req("D-02")
def test_a_part_takes_exactly_what_it_was_signed_for(client: Client, padded: Path) -> None:
    video_id = begin(client, padded)["video_id"]
    data = chunk(padded, 1)
    (part,) = signed(client, video_id, {"number": 1, "sha256": sha(data)})
    (last,) = signed(client, video_id, {"number": -(-padded.stat().st_size // MIB)})
    assert last["size"] == padded.stat().st_size % MIB

    for body, headers in (
        (data[:-1], {}),
        (data + b"x", {}),
        (data[:-1] + b"\x00", {}),  # the length is right, the bytes aren't
        (data, {"x-checksum-sha256": sha(b"")}),
    ):
        refused = client.put({**part, "headers": part["headers"] | headers}, body)
        assert (refused.status_code, refused.json()["code"]) == (400, "body_mismatch")
    for changed in (
        part["url"].replace("part=1", "part=2"),
        part["url"].replace(f"size={MIB}", "size=3"),
        part["url"].replace("upload=", "upload=0"),
    ):
        refused = client.put({**part, "url": changed}, data)
        assert (refused.status_code, refused.json()["code"]) == (403, "signature_invalid")
    assert arrived(client, video_id) == []
    assert client.put(part, data).status_code == 200
    assert client.put(part, data).status_code == 200, "sent again, it is the same"
    assert arrived(client, video_id) == [1]


def test_a_part_that_breaks_off_has_not_arrived(client: Client, padded: Path) -> None:
    video_id = begin(client, padded)["video_id"]
    send(client, video_id, padded, 1, 2)
    (part,) = signed(client, video_id, {"number": 2})

    def half() -> Any:
        yield chunk(padded, 2)[: MIB // 2]
        raise ConnectionAbortedError("pulled the plug")

    with pytest.raises(ConnectionAbortedError):
        httpx2.put(part["url"], content=half(), headers={"Content-Length": str(MIB)}, trust_env=False)
    deadline = time.monotonic() + 10
    while arrived(client, video_id) != [1]:
        assert time.monotonic() < deadline, "half a part counts as arrived"
        time.sleep(0.02)
    send(client, video_id, padded, 2)
    assert arrived(client, video_id) == [1, 2]


def test_a_newer_request_takes_a_part_over_from_a_stalled_one(client: Client, padded: Path) -> None:
    """A broken connection may look alive to the server for minutes: the client must not have to wait for it."""
    video_id = begin(client, padded)["video_id"]
    data = chunk(padded, 1)
    (part,) = signed(client, video_id, {"number": 1})
    go_on = time.monotonic() + 60
    sent: list[int] = []

    def stalled() -> Any:
        yield data[: MIB // 2]
        while not sent and time.monotonic() < go_on:
            time.sleep(0.02)
        yield bytes(MIB // 2)

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(
            lambda: httpx2.put(part["url"], content=stalled(), headers={"Content-Length": str(MIB)}, trust_env=False)
        )
        time.sleep(0.3)
        assert client.put(part, data).status_code == 200
        sent.append(1)
        refused = slow.result()
    assert (refused.status_code, refused.json()["code"]) == (400, "body_mismatch")
    there = client.call("GET", f"/uploads/{video_id}")["parts"]
    assert there == [{"number": 1, "size": MIB, "sha256": sha(data)}]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"multipart": True, "part_size": 1000}, "part_size"),
        ({"part_size": MIB}, "body"),
        ({"multipart": True, "part_size": 1 << 40}, "part_size"),
    ],
)
def test_senseless_part_sizes_are_refused(client: Client, padded: Path, more: dict[str, Any], field: str) -> None:
    about = {"filename": "a.mp4", "size": padded.stat().st_size, "content_type": "video/mp4"}
    refused = client.call("POST", "/uploads/initiate", 422, json=about | more)
    assert refused["code"] == "request_invalid" and refused["errors"][0]["field"].startswith(field)


def test_senseless_parts_are_refused(client: Client, padded: Path, film: Path) -> None:
    video_id = begin(client, padded)["video_id"]
    whole = client.initiate(film)["video_id"]
    for target, parts in (
        (video_id, []),
        (video_id, [{"number": 0}]),
        (video_id, [{"number": 9999}]),
        (video_id, [{"number": 1, "sha256": "x"}]),
        (video_id, [{"number": 1}] * 101),
        (whole, [{"number": 1}]),
    ):
        refused = client.call("POST", f"/uploads/{target}/parts", 422, json={"parts": parts})
        assert refused["code"] == "request_invalid"


@pytest.mark.req("D-02")
def test_a_wrong_checksum_of_the_whole_is_found_and_can_be_mended(client: Client, padded: Path) -> None:
    begun = begin(client, padded, sha256=sha(padded.read_bytes()), pipeline="slow_writer", params=NOTHING)
    video_id, count = begun["video_id"], begun["upload"]["part_count"]
    send(client, video_id, padded, *range(2, count + 1))
    (first,) = signed(client, video_id, {"number": 1})
    assert client.put(first, bytes(MIB)).status_code == 200
    refused = client.call("POST", "/uploads/complete", 422, json={"video_id": video_id})
    assert refused["code"] == "upload_mismatch"
    assert arrived(client, video_id) == []
    send(client, video_id, padded, *range(1, count + 1))
    assert client.call("POST", "/uploads/complete", json={"video_id": video_id})["status"] == "queued"
    assert client.wait(begun["job_id"])["status"] == "completed"


@pytest.mark.req("D-07")
def test_an_expired_upload_is_dropped_and_can_begin_anew(
    serve: Serve, connect: Connect, tmp_path: Path, padded: Path
) -> None:
    with (
        serve(tmp_path / "data", upload_ttl_s=2, put_ttl_s=1, sweep_s=0.2) as server,
        connect("admin", of=server) as client,
    ):
        begun = begin(client, padded, pipeline="slow_writer", params=NOTHING)
        video_id, count = begun["video_id"], begun["upload"]["part_count"]
        (part,) = signed(client, video_id, {"number": 1})
        assert client.put(part, chunk(padded, 1)).status_code == 200
        assert client.wait(begun["job_id"], 20)["error"]["code"] == "upload_expired"
        deadline = time.monotonic() + 10
        while list((tmp_path / "data/objects/multipart").iterdir()):
            assert time.monotonic() < deadline, "the parts of an expired upload stay"
            time.sleep(0.05)
        late = client.put(part, chunk(padded, 1))
        assert (late.status_code, late.json()["code"]) == (403, "signature_expired")
        assert arrived(client, video_id) == []
        send(client, video_id, padded, *range(1, count + 1))
        assert client.call("GET", f"/uploads/{video_id}")["upload_status"] == "awaiting"
        client.call("POST", "/uploads/complete", json={"video_id": video_id})
        assert client.wait(begun["job_id"])["status"] == "completed"


@pytest.mark.req("D-01")
@pytest.mark.parametrize("multipart", [False, True])
def test_an_upload_given_up_leaves_nothing(
    serve: Serve, connect: Connect, tmp_path: Path, padded: Path, multipart: bool
) -> None:
    with serve(tmp_path / "data") as server, connect("admin", of=server) as client:
        more = {"multipart": True, "part_size": MIB} if multipart else {}
        begun = client.initiate(padded, pipeline="slow_writer", params=NOTHING, **more)
        video_id = begun["video_id"]
        if multipart:
            (part,) = signed(client, video_id, {"number": 1})
            data = chunk(padded, 1)
        else:
            part, data = begun["upload"], padded.read_bytes()
        assert client.put(part, data).status_code == 200
        gone = client.call("DELETE", f"/uploads/{video_id}")
        assert (gone["upload_status"], gone["arrived_bytes"], gone["parts"]) == ("aborted", None, [])
        assert client.call("DELETE", f"/uploads/{video_id}")["upload_status"] == "aborted"
        assert client.call("GET", f"/jobs/{begun['job_id']}/status")["status"] == "cancelled"
        assert client.call("GET", f"/videos/{video_id}")["processing_error"] == "cancelled"
        assert not list((tmp_path / "data/objects/multipart").iterdir())
        assert not [path for path in (tmp_path / "data/objects/objects").rglob("*") if path.is_file()]
        assert client.call("POST", "/uploads/complete", 409, json={"video_id": video_id})["code"] == (
            "transition_refused"
        )
        if multipart:
            late = client.put(part, data)
            assert (late.status_code, late.json()["code"]) == (404, "multipart_gone")
            body = {"parts": [{"number": 1}]}
            assert client.call("POST", f"/uploads/{video_id}/parts", 409, json=body)["code"] == "transition_refused"


def test_a_finished_upload_cannot_be_given_up(client: Client, video_id: str) -> None:
    refused = client.call("DELETE", f"/uploads/{video_id}", 409)
    assert refused["code"] == "transition_refused"
    assert client.call("GET", f"/videos/{video_id}")["upload_status"] == "uploaded"


def test_parts_go_on_after_the_server_was_started_again(
    serve: Serve, connect: Connect, tmp_path: Path, padded: Path
) -> None:
    with serve(tmp_path / "data") as server, connect("admin", of=server) as client:
        video_id = begin(client, padded)["video_id"]
        send(client, video_id, padded, 1, 3)
    with serve(tmp_path / "data") as server, connect("admin", of=server) as client:
        assert arrived(client, video_id) == [1, 3]
        count = client.call("GET", f"/uploads/{video_id}")["part_count"]
        send(client, video_id, padded, *({*range(1, count + 1)} - {1, 3}))
        assert client.call("POST", "/uploads/complete", json={"video_id": video_id})["status"] == "uploaded"


@pytest.mark.req("B-01")
def test_an_uploader_of_the_browser_gets_its_put_signed(client: Client, film: Path) -> None:
    video_id = client.initiate(film)["video_id"]
    path = f"/uploads/{video_id}/sign"
    told = client.call("POST", path, json={"method": "PUT", "key": "film.mp4", "contentType": "video/mp4"})
    assert told["key"].endswith(f"{video_id}/source")
    assert client.put({"method": "PUT", **told}, film.read_bytes()).status_code == 200
    for body in (
        {"method": "DELETE", "key": told["key"]},
        {"method": "POST", "key": told["key"]},
        {"method": "PUT", "key": told["key"], "uploadId": "x", "partNumber": 1},
        {"method": "PUT", "key": told["key"], "bucket": "x"},
        {"method": "PATCH"},
    ):
        assert client.call("POST", path, 422, json=body)["code"] == "request_invalid"
    client.call("POST", "/uploads/complete", json={"video_id": video_id})
    late = client.call("POST", path, 409, json={"method": "PUT", "key": told["key"]})
    assert late["code"] == "transition_refused"

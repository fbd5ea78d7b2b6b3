"""What every object store promises of an upload in parts; a new adapter is one more of `STORES`."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx2
import pytest

import servers
from reelmill.errors import BodyMismatch, MultipartGone, ObjectMissing, RequestInvalid
from reelmill.jobs.model import SignedRequest
from reelmill.jobs.ports import ObjectStore
from reelmill.objects.s3 import S3Store
from reelmill.objects.s3_place import read_place
from served_folder import serve

STORES = ["folder", "s3"]
PART = 5 << 20
BODY = secrets.token_bytes(2 * PART + 1000)
PARTS = [BODY[start : start + PART] for start in range(0, len(BODY), PART)]


@pytest.fixture(scope="module", params=STORES)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    if request.param == "s3":
        seaweed: servers.Seaweed = request.getfixturevalue("seaweed")
        yield S3Store(read_place(seaweed.url(seaweed.create(), "some/prefix")))
        return
    with serve(tmp_path_factory.mktemp("folder")) as served:
        yield served


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=60, trust_env=False) as made:
        yield made


@pytest.fixture
def key() -> str:
    return f"t1/{secrets.token_hex(8)}/source.mp4"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def begin(store: ObjectStore, key: str) -> str:
    return store.begin_multipart(key, size_bytes=len(BODY), part_size=PART, content_type="video/mp4")


def sign(
    store: ObjectStore, key: str, upload: str, number: int, *, bind: bool = True, life_s: int = 900
) -> SignedRequest:
    part = PARTS[number - 1]
    sha256 = sha(part) if bind else None
    return store.sign_part(key, upload, number, size_bytes=len(part), sha256=sha256, expires_s=life_s)


def send(client: httpx2.Client, signed: SignedRequest, body: bytes) -> httpx2.Response:
    return client.request(signed.method, signed.url, content=body, headers=dict(signed.headers))


def send_all(store: ObjectStore, client: httpx2.Client, key: str, *, bind: bool = True) -> str:
    upload = begin(store, key)
    for number, part in enumerate(PARTS, 1):
        assert send(client, sign(store, key, upload, number, bind=bind), part).status_code == 200
    return upload


def missing(store: ObjectStore, key: str) -> bool:
    try:
        store.head(key)
    except ObjectMissing:
        return True
    return False


@pytest.mark.req("B-01")
@pytest.mark.parametrize("bind", [True, False])
def test_parts_make_the_object(store: ObjectStore, client: httpx2.Client, key: str, bind: bool) -> None:
    upload = begin(store, key)
    assert store.list_parts(key, upload) == []
    for number in (3, 1, 2):
        signed = sign(store, key, upload, number, bind=bind)
        assert signed.expires_at > datetime.now(UTC)
        reply = send(client, signed, PARTS[number - 1])
        assert reply.status_code == 200, reply.text
        assert missing(store, key)
        assert key not in list(store.keys(key))
    parts = store.list_parts(key, upload)
    assert [(part.number, part.size_bytes) for part in parts] == [(1, PART), (2, PART), (3, 1000)]
    assert all(part.sha256 in (sha(body), None) for part, body in zip(parts, PARTS, strict=True))
    info = store.complete_multipart(key, upload, parts)
    assert (info.key, info.size_bytes, info.content_type) == (key, len(BODY), "video/mp4")
    assert info.sha256 in (sha(BODY), None)
    assert info == store.head(key)
    assert b"".join(store.open(key)) == BODY
    assert list(store.keys(key)) == [key]


def test_a_part_that_broke_off_is_sent_again(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    upload = begin(store, key)
    signed = sign(store, key, upload, 1)

    def half() -> Iterator[bytes]:
        yield PARTS[0][: PART // 2]
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        client.put(signed.url, content=half(), headers={**signed.headers, "Content-Length": str(PART)})
    assert store.list_parts(key, upload) == []
    for _ in range(2):  # a part replaces itself
        assert send(client, signed, PARTS[0]).status_code == 200
    assert [part.number for part in store.list_parts(key, upload)] == [1]
    store.abort_multipart(key, upload)


@pytest.mark.parametrize("body", [PARTS[0][:-1], PARTS[0] + b"x", b""], ids=["shorter", "longer", "empty"])
def test_a_part_of_another_size_is_refused(store: ObjectStore, client: httpx2.Client, key: str, body: bytes) -> None:
    upload = begin(store, key)
    assert send(client, sign(store, key, upload, 1, bind=False), body).status_code in (400, 403)
    assert store.list_parts(key, upload) == []
    store.abort_multipart(key, upload)


def test_a_part_with_other_bytes_is_refused(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    upload = begin(store, key)
    signed = sign(store, key, upload, 1)
    assert send(client, signed, PARTS[0][::-1]).status_code in (400, 403)
    other = {name: value for name, value in signed.headers.items() if "checksum" not in name}
    assert client.put(signed.url, content=PARTS[0][::-1], headers=other).status_code in (400, 403)
    assert store.list_parts(key, upload) == []
    assert send(client, signed, PARTS[0]).status_code == 200, "the same URL works for the right bytes"
    store.abort_multipart(key, upload)


def test_a_part_url_works_for_its_part_and_method_only(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    upload, other = begin(store, key), begin(store, f"{key}2")
    signed = sign(store, key, upload, 1)
    headers = dict(signed.headers)
    assert client.put(signed.url.replace(key, f"{key}2"), content=PARTS[0], headers=headers).status_code == 403
    assert client.get(signed.url).status_code in (403, 405)
    assert client.delete(signed.url).status_code in (403, 405)
    assert client.post(signed.url, content=b"", headers=headers).status_code in (403, 405)
    moved = signed.url.replace("partNumber=1", "partNumber=2").replace("part=1", "part=2")
    assert moved != signed.url
    assert client.put(moved, content=PARTS[0], headers=headers).status_code == 403
    assert store.list_parts(key, upload) == store.list_parts(f"{key}2", other) == []
    for begun in ((key, upload), (f"{key}2", other)):
        store.abort_multipart(*begun)


@pytest.mark.req("A-07")
def test_a_part_url_stops_working_when_it_expires(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    upload = begin(store, key)
    signed = sign(store, key, upload, 3, life_s=1)
    time.sleep(max(0.0, signed.expires_at.timestamp() - time.time()) + 0.2)
    assert send(client, signed, PARTS[2]).status_code == 403
    assert store.list_parts(key, upload) == []
    store.abort_multipart(key, upload)


@pytest.mark.req("D-03")
def test_completing_again_does_nothing(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    upload = send_all(store, client, key)
    parts = store.list_parts(key, upload)
    first = store.complete_multipart(key, upload, parts)
    assert store.complete_multipart(key, upload, parts) == first
    assert send(client, sign(store, key, upload, 1), PARTS[0]).status_code in (403, 404, 409, 410)
    with pytest.raises(MultipartGone):
        store.list_parts(key, upload)
    store.abort_multipart(key, upload)
    assert b"".join(store.open(key)) == BODY


@pytest.mark.req("D-03")
def test_completing_at_once_makes_one_object(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    upload = send_all(store, client, key)
    parts = store.list_parts(key, upload)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: store.complete_multipart(key, upload, parts), range(4)))
    assert {info.size_bytes for info in made} == {len(BODY)}
    assert b"".join(store.open(key)) == BODY


def test_an_object_is_made_of_all_parts_or_not_at_all(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    upload = send_all(store, client, key)
    one, two, three = store.list_parts(key, upload)
    for wrong in ([one, two], [one, three], [two, three], [one, three, two, two]):
        with pytest.raises(BodyMismatch):
            store.complete_multipart(key, upload, wrong)
        assert missing(store, key)
    assert len(store.list_parts(key, upload)) == 3, "the parts are still there"
    assert store.complete_multipart(key, upload, [three, one, two]).size_bytes == len(BODY)


def test_an_aborted_upload_is_gone(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    upload = send_all(store, client, key)
    parts = store.list_parts(key, upload)
    signed = sign(store, key, upload, 1)
    store.abort_multipart(key, upload)
    store.abort_multipart(key, upload)
    assert send(client, signed, PARTS[0]).status_code in (403, 404, 409, 410)
    with pytest.raises(MultipartGone):
        store.list_parts(key, upload)
    with pytest.raises(MultipartGone):
        store.complete_multipart(key, upload, parts)
    assert missing(store, key)
    again = begin(store, key)
    assert again != upload
    assert store.list_parts(key, again) == []
    store.abort_multipart(key, again)


def test_uploads_in_parts_are_purged_by_age(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    upload = send_all(store, client, key)
    time.sleep(1.1)  # S3 notes the beginning in whole seconds
    store.purge_incoming(3600)
    assert len(store.list_parts(key, upload)) == 3, "an upload that may still go on is left alone"
    assert store.purge_incoming(0) >= 1
    with pytest.raises(MultipartGone):
        store.list_parts(key, upload)
    assert store.purge_incoming(0) == 0


def test_an_upload_that_never_was(store: ObjectStore, key: str) -> None:
    unknown = secrets.token_hex(16)
    store.abort_multipart(key, unknown)
    with pytest.raises(MultipartGone):
        store.list_parts(key, unknown)


def test_wrong_words_are_refused_when_signing(store: ObjectStore, key: str) -> None:
    upload = begin(store, key)
    for number in (0, -1, store.limits.part_count + 1):
        with pytest.raises(RequestInvalid):
            store.sign_part(key, upload, number, size_bytes=1, sha256=None)
    with pytest.raises(RequestInvalid):
        store.sign_part(key, upload, 1, size_bytes=1, sha256="abc")
    with pytest.raises(RequestInvalid):
        store.sign_part(key, upload, 1, size_bytes=-1, sha256=None)
    store.abort_multipart(key, upload)


def test_parts_beyond_the_store_s_limits_are_refused(store: ObjectStore, key: str) -> None:
    least, count = store.limits.part_min_bytes, store.limits.part_count
    for size, part_size in ((10 * least, least - 1), ((count + 1) * PART, PART), (1, 0)):
        with pytest.raises(RequestInvalid):
            store.begin_multipart(key, size_bytes=size, part_size=part_size, content_type="video/mp4")

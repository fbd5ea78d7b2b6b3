"""What every object store promises, seen by a user: real sockets, real files, real clocks.

A new adapter is one more parameter of `store`; what only the folder promises stands below the line.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import servers
from reelmill.errors import (
    BodyMismatch,
    ObjectExists,
    ObjectMissing,
    RequestInvalid,
    SettingInvalid,
    SignatureInvalid,
    StorageDenied,
    StorageUnavailable,
)
from reelmill.jobs.model import SignedRequest
from reelmill.jobs.ports import ObjectStore
from reelmill.objects.folder import FolderStore, load_secret
from reelmill.objects.names import is_key
from reelmill.objects.s3 import S3Store
from reelmill.objects.s3_place import read_place
from served_folder import SECRET, serve

BODY = bytes(range(256)) * 5000  # 1.28 MB: more than one block


@pytest.fixture(scope="module", params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    if request.param == "s3":
        seaweed: servers.Seaweed = request.getfixturevalue("seaweed")
        yield S3Store(read_place(seaweed.url(seaweed.create(), "some/prefix")))
        return
    with serve(tmp_path_factory.mktemp("folder")) as served:
        yield served


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=30) as made:
        yield made


@pytest.fixture
def key() -> str:
    return new_key()


def new_key() -> str:
    return f"t1/{secrets.token_hex(8)}/source.mp4"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sign(store: ObjectStore, key: str, data: bytes = BODY, *, bind: bool = True, expires_s: int = 900) -> SignedRequest:
    return store.sign_put(
        key,
        size_bytes=len(data),
        content_type="video/mp4",
        sha256=sha(data) if bind else None,
        expires_s=expires_s,
    )


def put(client: httpx2.Client, signed: SignedRequest, data: bytes = BODY) -> httpx2.Response:
    return client.request(signed.method, signed.url, content=data, headers=dict(signed.headers))


def fill(store: ObjectStore, key: str, tmp_path: Path, data: bytes = BODY, content_type: str = "video/mp4") -> None:
    path = tmp_path / "out.bin"
    path.write_bytes(data)
    store.put_file(key, path, content_type=content_type, sha256=sha(data))


def stored(store: ObjectStore, key: str) -> bytes | None:
    try:
        return b"".join(store.open(key))
    except ObjectMissing:
        return None


def link(store: ObjectStore, key: str, seconds: int = 3600, **more: str) -> str:
    return store.generate_presigned_download_url(store.bucket, key, seconds, **more)


# ── Uploads ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("B-01")
@pytest.mark.parametrize("bind", [True, False])
def test_a_signed_put_stores_the_file(store: ObjectStore, client: httpx2.Client, key: str, bind: bool) -> None:
    signed = sign(store, key, bind=bind)
    assert signed.expires_at > datetime.now(UTC)
    reply = put(client, signed)
    assert reply.status_code == 200, reply.text
    info = store.head(key)
    assert (info.key, info.size_bytes, info.content_type) == (key, len(BODY), "video/mp4")
    assert info.sha256 in (sha(BODY), None)
    assert reply.headers["etag"] == info.etag
    assert stored(store, key) == BODY
    assert list(store.keys(key)) == [key]


def test_an_empty_file_can_be_stored(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    assert put(client, sign(store, key, b""), b"").status_code == 200
    assert stored(store, key) == b""
    assert client.get(link(store, key)).content == b""


@pytest.mark.parametrize("body", [BODY[:-1], BODY + b"x", b""], ids=["shorter", "longer", "empty"])
def test_another_size_is_refused(store: ObjectStore, client: httpx2.Client, key: str, body: bytes) -> None:
    assert put(client, sign(store, key, bind=False), body).status_code in (400, 403)
    assert stored(store, key) is None


def test_another_body_of_the_same_size_is_refused(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    assert put(client, sign(store, key), BODY[::-1]).status_code in (400, 403)
    assert stored(store, key) is None


def test_another_content_type_is_refused(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    signed = sign(store, key)
    for headers in ({**signed.headers, "Content-Type": "text/html"}, {}):
        assert client.put(signed.url, content=BODY, headers=headers).status_code in (400, 403)
    assert stored(store, key) is None


def test_a_put_url_works_for_its_key_and_method_only(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    signed, other = sign(store, key), new_key()
    moved = client.put(signed.url.replace(key, other), content=BODY, headers=dict(signed.headers))
    assert moved.status_code == 403
    assert stored(store, other) is None
    assert client.get(signed.url).status_code == 403
    assert client.delete(signed.url).status_code in (403, 405)
    assert client.post(signed.url, content=b"x", headers=dict(signed.headers)).status_code in (403, 405)
    assert stored(store, key) is None


def test_a_download_url_can_not_upload(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    reply = client.put(link(store, key), content=BODY, headers={"Content-Type": "video/mp4"})
    assert reply.status_code == 403
    assert stored(store, key) is None


@pytest.mark.req("A-07")
def test_a_put_url_stops_working_when_it_expires(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    signed = sign(store, key, expires_s=1)
    time.sleep(max(0.0, signed.expires_at.timestamp() - time.time()) + 0.2)
    assert put(client, signed).status_code == 403
    assert stored(store, key) is None


def test_a_second_put_never_replaces_the_object(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    assert put(client, sign(store, key)).status_code == 200
    for other in (BODY[::-1], BODY + b"x"):
        for bind in (True, False):
            assert put(client, sign(store, key, other, bind=bind), other).status_code == 412
    assert stored(store, key) == BODY


def test_the_same_put_twice_is_harmless(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    replies = [put(client, sign(store, key, bind=bind)) for bind in (True, True, False)]
    again = 200 if isinstance(store, FolderStore) else 412  # S3 doesn't look whether the bytes are the same
    assert [reply.status_code for reply in replies] == [200, again, again]
    assert replies[0].headers["etag"] == store.head(key).etag
    assert stored(store, key) == BODY


@pytest.mark.parametrize("bind", [True, False])
def test_racing_puts_leave_one_whole_object(store: ObjectStore, client: httpx2.Client, bind: bool) -> None:
    bodies = [bytes([n]) * 300_000 for n in range(6)]
    with ThreadPoolExecutor(len(bodies)) as pool:
        for _ in range(5):
            key = new_key()
            signed = [sign(store, key, body, bind=bind) for body in bodies]
            replies = list(pool.map(lambda pair: put(client, *pair), zip(signed, bodies, strict=True)))
            assert sorted(reply.status_code for reply in replies) == [200] + [412] * 5
            winner = next(body for reply, body in zip(replies, bodies, strict=True) if reply.status_code == 200)
            assert stored(store, key) == winner
            assert store.head(key).sha256 in (sha(winner), None)


def test_a_broken_connection_leaves_nothing(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    signed = sign(store, key)
    url = urlsplit(signed.url)
    assert url.hostname
    lines = [f"PUT {url.path}?{url.query} HTTP/1.1", f"Host: {url.netloc}", f"Content-Length: {len(BODY)}"]
    lines += [f"{name}: {value}" for name, value in signed.headers.items()]
    with socket.create_connection((url.hostname, url.port or 80)) as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode() + BODY[: len(BODY) // 2])
        time.sleep(0.3)
    time.sleep(0.5)
    assert stored(store, key) is None
    assert put(client, signed).status_code == 200, "the same URL works again"
    assert stored(store, key) == BODY


# ── Downloads ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("A-07", "E-03")
def test_a_download_url_plays_and_saves(store: ObjectStore, client: httpx2.Client, key: str, tmp_path: Path) -> None:
    fill(store, key, tmp_path)
    url = link(store, key)
    reply = client.get(url)
    assert (reply.status_code, reply.content) == (200, BODY)
    assert reply.headers["content-type"] == "video/mp4"
    assert reply.headers["accept-ranges"] == "bytes"
    saved = tmp_path / "saved.mp4"
    subprocess.run(["curl", "-fsS", "-o", saved, url], check=True)
    assert saved.read_bytes() == BODY


@pytest.mark.req("A-07")
def test_a_download_url_stops_working_when_it_expires(
    store: ObjectStore, client: httpx2.Client, key: str, tmp_path: Path
) -> None:
    fill(store, key, tmp_path)
    url = link(store, key, 1)
    assert client.get(url).status_code == 200
    time.sleep(2.1)
    assert client.get(url).status_code == 403
    assert client.get(link(store, key)).status_code == 200


def test_an_object_that_is_not_there(store: ObjectStore, client: httpx2.Client, key: str) -> None:
    assert client.get(link(store, key)).status_code == 404
    with pytest.raises(ObjectMissing):
        store.head(key)
    with pytest.raises(ObjectMissing):
        store.open(key)
    with pytest.raises(ObjectMissing):
        store.locate(key)
    store.delete(key)


@pytest.mark.req("E-03")
@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=1000000-1100000", 1_000_000, 1_100_001),
        ("bytes=1279999-", 1_279_999, 1_280_000),
        ("bytes=500-9999999999", 500, 1_280_000),
        ("bytes=-1", 1_279_999, 1_280_000),
        ("bytes=-9999999999", 0, 1_280_000),
    ],
)
def test_a_range_gives_exactly_these_bytes(
    store: ObjectStore, client: httpx2.Client, key: str, tmp_path: Path, asked: str, start: int, end: int
) -> None:
    fill(store, key, tmp_path)
    reply = client.get(link(store, key), headers={"Range": asked})
    assert (reply.status_code, reply.content) == (206, BODY[start:end])
    assert reply.headers["content-range"] == f"bytes {start}-{end - 1}/{len(BODY)}"


@pytest.mark.req("E-03")
def test_a_range_behind_the_end_is_refused(store: ObjectStore, client: httpx2.Client, key: str, tmp_path: Path) -> None:
    fill(store, key, tmp_path)
    for asked in ("bytes=1280000-", "bytes=1280000-1280001", "bytes=-0"):
        reply = client.get(link(store, key), headers={"Range": asked})
        assert (reply.status_code, reply.headers["content-range"]) == (416, f"bytes */{len(BODY)}"), asked


@pytest.mark.parametrize(
    "name",
    ["plain clip.mp4", 'say "hi".mp4', "a\r\nSet-Cookie: x=1\n.mp4", "видео – 東京 🎬.mp4", "100%41.mp4", "a;b=c.mp4"],
)
def test_a_file_name_survives_whole_and_harmless(
    store: ObjectStore, client: httpx2.Client, key: str, tmp_path: Path, name: str
) -> None:
    fill(store, key, tmp_path)
    reply = client.get(link(store, key, filename=name))
    value = reply.headers["content-disposition"]
    assert reply.status_code == 200
    assert "set-cookie" not in reply.headers
    assert value.startswith("attachment;")
    assert value.isascii()
    exact = re.search(r"filename\*=UTF-8''(\S+)", value)
    shown = unquote(exact[1]) if exact else re.search(r'filename="([^"\\]*)"$', value)[1]  # type: ignore[index]
    assert shown == re.sub(r"[\r\n]", "_", name)


def test_the_type_of_a_download_can_be_chosen(
    store: ObjectStore, client: httpx2.Client, key: str, tmp_path: Path
) -> None:
    fill(store, key, tmp_path, content_type="application/octet-stream")
    assert client.get(link(store, key, content_type="video/webm")).headers["content-type"] == "video/webm"


# ── Signatures ────────────────────────────────────────────────────────────────────────────────


def requery(url: str, fields: list[tuple[str, str]]) -> str:
    return urlunsplit(urlsplit(url)._replace(query=urlencode(fields)))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_change_of_one_field_breaks_the_signature(
    store: ObjectStore, client: httpx2.Client, data: st.DataObject
) -> None:
    signed = sign(store, "t1/prop/source.mp4", b"abc")
    method = data.draw(st.sampled_from(["PUT", "GET"]))
    headers = dict(signed.headers) if method == "PUT" else {}
    url = signed.url if method == "PUT" else link(store, "t1/prop/source.mp4", filename="a.mp4")
    fields = parse_qsl(urlsplit(url).query)
    at = data.draw(st.integers(0, len(fields) - 1))
    name, value = fields[at]
    other = data.draw(
        st.one_of(
            st.text(max_size=80),
            st.just(value + "0"),
            st.just("0" + value),
            st.just(value[:-1]),
            st.just(value.swapcase()),
        ).filter(lambda text: text != value and text.encode("utf-8", "replace").decode() == text)
    )
    kinds = ["change", "drop", "add", "key"]
    if name != "X-Amz-Signature":  # SeaweedFS takes the first of two signatures; all that is signed stays the same
        kinds.append("double")
    kind = data.draw(st.sampled_from(kinds))
    if kind == "change":
        url = requery(url, [*fields[:at], (name, other), *fields[at + 1 :]])
    elif kind == "drop":
        url = requery(url, [*fields[:at], *fields[at + 1 :]])
    elif kind == "double":
        url = requery(url, [*fields, (name, other)])
    elif kind == "add":
        new = data.draw(st.sampled_from(["part", "response_type", "x-extra"]))
        url = requery(url, [*fields, (new, other)])
    else:
        path = data.draw(st.text("abcdefgt1/._-", min_size=1, max_size=30).filter(lambda k: k != "t1/prop/source.mp4"))
        url = url.replace("t1/prop/source.mp4", path)
    if "/../" in url or "/./" in url or url.split("?")[0].endswith(("/.", "/..")):
        url = url.replace("/.", "/%2e")  # the client would tidy it away
    reply = client.request(method, url, content=b"abc" if method == "PUT" else None, headers=headers)
    # 400: S3 can't read a field; 404: the key left the folder of objects
    assert reply.status_code in ((403, 404) if isinstance(store, FolderStore) else (400, 403, 404)), (url, reply.text)
    assert stored(store, "t1/prop/source.mp4") is None


# ── Files from inside ─────────────────────────────────────────────────────────────────────────


def test_put_file_checks_and_replaces(store: ObjectStore, key: str, tmp_path: Path) -> None:
    fill(store, key, tmp_path)
    path = tmp_path / "new.bin"
    path.write_bytes(b"new")
    with pytest.raises(BodyMismatch):
        store.put_file(key, path, content_type="image/jpeg", sha256=sha(b"old"))
    assert stored(store, key) == BODY
    info = store.put_file(key, path, content_type="image/jpeg", sha256=sha(b"new"))
    assert info == store.head(key)
    assert (info.size_bytes, info.content_type) == (3, "image/jpeg")
    assert stored(store, key) == b"new"


def test_open_gives_any_part_in_blocks(store: ObjectStore, key: str, tmp_path: Path) -> None:
    fill(store, key, tmp_path)
    assert max(len(block) for block in store.open(key)) <= 1 << 20
    assert b"".join(store.open(key, 5)) == BODY[5:]
    assert b"".join(store.open(key, 5, 10)) == BODY[5:15]
    assert b"".join(store.open(key, len(BODY) - 1, 99)) == BODY[-1:]
    assert b"".join(store.open(key, len(BODY) + 1)) == b""


def test_locate_gives_something_to_read(store: ObjectStore, client: httpx2.Client, key: str, tmp_path: Path) -> None:
    fill(store, key, tmp_path)
    where = store.locate(key)
    assert (where.read_bytes() if isinstance(where, Path) else client.get(where).content) == BODY


def test_delete_removes_and_may_be_repeated(store: ObjectStore, key: str, tmp_path: Path) -> None:
    fill(store, key, tmp_path)
    store.delete(key)
    store.delete(key)
    assert stored(store, key) is None
    assert list(store.keys(key)) == []
    fill(store, key, tmp_path, b"again")
    assert stored(store, key) == b"again"


@settings(max_examples=20, deadline=None)
@given(
    names=st.sets(st.from_regex(r"[ab.-]{1,3}(/[ab.-]{1,2}){0,2}", fullmatch=True).filter(is_key), max_size=8),
    prefix=st.text("ab./-", max_size=5),
)
def test_keys_are_listed_once_and_begin_with_the_prefix(
    store: ObjectStore, tmp_path_factory: pytest.TempPathFactory, names: set[str], prefix: str
) -> None:
    # In a folder an object can't be the parent of another; Reelmill makes no such keys.
    names = {name for name in names if not any(other.startswith(f"{name}/") for other in names)}
    top = f"list/{secrets.token_hex(8)}/"
    for name in names:
        fill(store, top + name, tmp_path_factory.getbasetemp(), b"x")
    found = list(store.keys(top + prefix))
    if not isinstance(store, FolderStore):  # SeaweedFS lists a/b before a.
        found.sort()
    assert found == sorted(top + name for name in names if name.startswith(prefix))
    assert set(store.keys("")) >= {top + name for name in names}
    for name in names:
        store.delete(top + name)
    assert list(store.keys(top)) == []


def test_deleting_and_writing_side_by_side(store: ObjectStore, tmp_path: Path) -> None:
    top = f"race/{secrets.token_hex(4)}/deep/er"

    def churn(n: int) -> None:
        (tmp_path / str(n)).mkdir()
        for turn in range(40):
            data = f"{n}-{turn}".encode()
            fill(store, f"{top}/{n}", tmp_path / str(n), data)
            assert stored(store, f"{top}/{n}") == data
            store.delete(f"{top}/{n}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(churn, range(4)))
    assert list(store.keys(top)) == []


# ══ The folder only ═══════════════════════════════════════════════════════════════════════════


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[FolderStore]:
    with serve(tmp_path / "data") as served:
        yield served


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.parent.name != "locks"}


def test_refused_uploads_leave_no_file_at_all(folder: FolderStore, client: httpx2.Client, tmp_path: Path) -> None:
    put(client, sign(folder, "a/b"), BODY[::-1])
    put(client, sign(folder, "a/b", bind=False), BODY[1:])
    assert tree(tmp_path / "data") == set()
    put(client, sign(folder, "a/b"))
    assert tree(tmp_path / "data") == {"objects/a/b", "meta/a/b.json"}
    folder.delete("a/b")
    assert tree(tmp_path / "data") == set()
    assert not (tmp_path / "data/objects/a").exists()
    assert not (tmp_path / "data/meta/a").exists()


@pytest.mark.parametrize(
    "path",
    [
        "../canary",
        "..%2fcanary",
        "%2e%2e/canary",
        "%2e%2e%2fcanary",
        "a/..%2f..%2f..%2fcanary",
        "..%5ccanary",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "a%00b",
        "canary%00.mp4",
        "a//b",
        "a/",
        ".",
        "%252e%252e%252fcanary",
        "a%0ab",
        "",
        "a" * 201,
        "a/" * 256 + "a",
        "ключ",
    ],
)
def test_no_path_leaves_the_folder(folder: FolderStore, client: httpx2.Client, tmp_path: Path, path: str) -> None:
    canary = tmp_path / "canary"
    canary.write_bytes(b"alive")
    for key in (unquote(path), path):
        # Even with a true signature over the evil key nothing is read or written.
        for method in ("GET", "PUT"):
            fields = {"expires": str(int(time.time()) + 60)}
            if method == "PUT":
                fields |= {"size": "3", "type": "video/mp4"}
            fields["signature"] = folder._signature(method, key, fields)
            if not is_key(key):
                with pytest.raises(SignatureInvalid):
                    folder.verify(method, key, list(fields.items()))
            parts = urlsplit(link(folder, "x"))
            with socket.create_connection((parts.hostname or "", parts.port or 80)) as sock:
                target = f"/api/objects/{path}?{urlencode(fields)}"
                head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\nConnection: close\r\n"
                sock.sendall((head + ("Content-Length: 3\r\n\r\nxyz" if method == "PUT" else "\r\n")).encode())
                with sock.makefile("rb") as reply:
                    assert re.match(rb"HTTP/1.1 4\d\d ", text := reply.read()), text
                    assert b"alive" not in text
                    assert b"root:" not in text
        if not is_key(key):
            with pytest.raises(ObjectMissing):
                folder.put_file(key, canary, content_type="x/y", sha256=sha(b"alive"))
            for call in (folder.head, folder.open, folder.locate, folder.delete):
                with pytest.raises(ObjectMissing):
                    call(key)
            with pytest.raises(ObjectMissing):
                link(folder, key)
    assert list(folder.keys(unquote(path))) == []
    assert canary.read_bytes() == b"alive"
    assert tree(tmp_path) == {"canary"}


def test_links_are_not_followed(folder: FolderStore, client: httpx2.Client, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_bytes(b"alive")
    objects = tmp_path / "data/objects"
    (objects / "file").symlink_to(outside / "canary")
    (objects / "folder").symlink_to(outside)
    for key in ("file", "folder/canary"):
        assert client.get(link(folder, key)).status_code == 404
        assert stored(folder, key) is None
        folder.delete(key)
    assert list(folder.keys("")) == []
    (objects / "file").unlink(missing_ok=True)
    (objects / "file").symlink_to(outside / "canary")
    source = tmp_path / "new"
    source.write_bytes(b"new")
    folder.put_file("file", source, content_type="x/y", sha256=sha(b"new"))
    assert stored(folder, "file") == b"new"
    source.write_bytes(b"new")
    with pytest.raises(StorageDenied):
        folder.put_file("folder/new", source, content_type="x/y", sha256=sha(b"new"))
    assert source.exists()
    assert (outside / "canary").read_bytes() == b"alive"
    assert tree(outside) == {"canary"}


def test_put_file_moves_or_copies(folder: FolderStore, tmp_path: Path) -> None:
    path, second = tmp_path / "file", tmp_path / "second"
    path.write_bytes(BODY)
    number = path.stat().st_ino
    folder.put_file("moved", path, content_type="video/mp4", sha256=sha(BODY))
    assert not path.exists()
    assert (tmp_path / "data/objects/moved").stat().st_ino == number
    folder.put_file("moved", path, content_type="video/mp4", sha256=sha(BODY))  # tried again after a lost reply
    with pytest.raises(FileNotFoundError):
        folder.put_file("other", path, content_type="video/mp4", sha256=sha(BODY))

    path.write_bytes(BODY)
    second.hardlink_to(path)  # could be changed by its other name later
    folder.put_file("copied", path, content_type="video/mp4", sha256=sha(BODY))
    second.write_bytes(b"changed")
    assert stored(folder, "copied") == BODY

    path.unlink()
    path.symlink_to(tmp_path / "data/objects/copied")
    folder.put_file("linked", path, content_type="video/mp4", sha256=sha(BODY))
    assert not (tmp_path / "data/objects/linked").is_symlink()
    assert stored(folder, "linked") == BODY


def test_put_file_from_another_file_system(folder: FolderStore, tmp_path: Path) -> None:
    assert Path("/dev/shm").stat().st_dev != tmp_path.stat().st_dev, "this needs a second file system: mount /dev/shm"
    path = Path("/dev/shm") / secrets.token_hex(8)
    path.write_bytes(BODY)
    try:
        with pytest.raises(BodyMismatch):
            folder.put_file("k", path, content_type="video/mp4", sha256=sha(b""))
        folder.put_file("k", path, content_type="video/mp4", sha256=sha(BODY))
        assert stored(folder, "k") == BODY
        assert tree(tmp_path / "data") == {"objects/k", "meta/k.json"}
    finally:
        path.unlink(missing_ok=True)


CRASHING = """
import hashlib, os, signal, sys
from pathlib import Path
from reelmill.objects.folder import FolderStore
top, mode = Path(sys.argv[1]), sys.argv[2]
old, new = b"old" * 5000, b"new" * 5000
left = None
def hook(event, args):
    # Die before the n-th thing that Python does to the system: open, mkdir, rename, utime, chmod, flock …
    global left
    if left is not None:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
for n in range(1, 1000):
    home = top / str(n)
    store = FolderStore(home / "data", secret=bytes(32), base_url="http://x")
    source = home / "source"
    if "replace" in mode:
        source.write_bytes(old)
        store.put_file("a/b", source, content_type="x/old", sha256=hashlib.sha256(old).hexdigest())
    source.write_bytes(new)
    if "copy" in mode:
        os.link(source, home / "second")
    pid = os.fork()
    if not pid:
        left = n
        store.put_file("a/b", source, content_type="x/new", sha256=hashlib.sha256(new).hexdigest())
        left = None
        os._exit(0)
    if os.waitpid(pid, 0)[1] == 0:
        break
print(n)
"""


@pytest.mark.parametrize("mode", ["new", "replace", "new copy", "replace copy"])
def test_kill_9_at_every_point_of_put_file_leaves_no_half_object(tmp_path: Path, mode: str) -> None:
    run = subprocess.run([sys.executable, "-c", CRASHING, tmp_path, mode], check=True, capture_output=True, text=True)
    points = int(run.stdout)
    assert points > 20
    old, new = b"old" * 5000, b"new" * 5000
    seen = set()
    for n in range(1, points + 1):
        store = FolderStore(tmp_path / f"{n}/data", secret=SECRET, base_url="http://x")
        content = stored(store, "a/b")
        seen.add(content)
        assert content in ((old, new) if "replace" in mode else (None, new)), n
        if content is not None:
            info = store.head("a/b")
            assert (info.sha256, info.content_type) == (sha(content), "x/new" if content == new else "x/old"), n
        assert list(store.keys("")) == (["a/b"] if content else []), n
        store.put_file("a/b", tmp_path / f"{n}/source", content_type="x/new", sha256=sha(new))  # the step's next try
        assert stored(store, "a/b") == new, n
        store.purge_incoming(-1)
        assert tree(tmp_path / f"{n}/data") == {"objects/a/b", "meta/a/b.json"}, n
    assert len(seen) == 2, "both outcomes were seen"


SERVER = """
import socket, sys, uvicorn
from pathlib import Path
from fastapi import FastAPI
from reelmill.api.objects import router
from reelmill.objects.folder import FolderStore
sock = socket.create_server(("127.0.0.1", 0))
app = FastAPI()
app.include_router(router(FolderStore(Path(sys.argv[1]), secret=bytes(range(32)), base_url="")))
print(sock.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off")).run(sockets=[sock])
"""


@contextlib.contextmanager
def process(root: Path) -> Iterator[tuple[subprocess.Popen[str], FolderStore]]:
    with subprocess.Popen([sys.executable, "-c", SERVER, root], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        base = f"http://127.0.0.1:{int(child.stdout.readline())}"
        try:
            yield child, FolderStore(root, secret=SECRET, base_url=base)
        finally:
            child.kill()


def peak_kib(pid: int) -> int:
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])  # type: ignore[index]


def test_kill_9_of_the_server_in_an_upload(tmp_path: Path) -> None:
    size = 64 << 20
    with process(tmp_path / "data") as (child, store):

        def body() -> Iterator[bytes]:
            for n in range(size >> 20):
                if n == 32:
                    child.send_signal(signal.SIGKILL)
                yield bytes(1 << 20)

        signed = store.sign_put("a/big", size_bytes=size, content_type="video/mp4", sha256=None)
        with pytest.raises(httpx2.TransportError):
            httpx2.put(signed.url, content=body(), headers={**signed.headers, "Content-Length": str(size)})
    assert list(store.keys("")) == []
    assert store.purge_incoming(3600) == 0, "an upload that may still run is left alone"
    assert store.purge_incoming(-1) == 1
    assert tree(tmp_path / "data") == set()


@pytest.mark.req("E-14")
def test_memory_stays_flat(tmp_path: Path) -> None:
    size = 256 << 20
    zeros = bytes(1 << 20)
    digest = hashlib.sha256()
    for _ in range(size >> 20):
        digest.update(zeros)
    with process(tmp_path / "data") as (child, store), httpx2.Client(timeout=120) as client:
        small = store.sign_put("small", size_bytes=1, content_type="a/b", sha256=None)
        assert client.put(small.url, content=b"x", headers=dict(small.headers)).status_code == 200
        before = peak_kib(child.pid)
        signed = store.sign_put("big", size_bytes=size, content_type="video/mp4", sha256=digest.hexdigest())
        body = (zeros for _ in range(size >> 20))
        reply = client.put(signed.url, content=body, headers={**signed.headers, "Content-Length": str(size)})
        assert reply.status_code == 200, reply.text
        assert peak_kib(child.pid) - before < 64 * 1024
        with client.stream("GET", link(store, "big")) as download:
            assert sum(len(chunk) for chunk in download.iter_raw()) == size
        assert peak_kib(child.pid) - before < 64 * 1024


def test_an_upload_that_can_not_fit_is_refused_at_once(folder: FolderStore) -> None:
    with pytest.raises(StorageUnavailable, match="don't fit"):
        folder.begin_put("big", size_bytes=1 << 60, content_type="video/mp4", sha256=None)


def test_an_object_that_was_changed_by_hand_has_no_checksum(folder: FolderStore, tmp_path: Path) -> None:
    fill(folder, "k", tmp_path)
    (tmp_path / "data/objects/k").write_bytes(BODY[::-1])
    (tmp_path / "data/objects/found").write_bytes(b"x")
    assert folder.head("k").sha256 is None
    assert folder.head("k").content_type == "video/mp4"
    assert folder.head("found").content_type == "application/octet-stream"
    assert folder.head("k").etag != folder.head("found").etag
    incoming = folder.begin_put("k", size_bytes=len(BODY), content_type="video/mp4", sha256=None)
    incoming.write(BODY)
    with pytest.raises(ObjectExists):
        incoming.commit()
    incoming.abort()


def test_wrong_words_are_refused_when_signing(folder: FolderStore) -> None:
    for content_type in ("", "video", "video/mp4\r\nX: y", "a/b; c", "видео/mp4"):
        with pytest.raises(RequestInvalid):
            folder.sign_put("k", size_bytes=1, content_type=content_type, sha256=None)
        with pytest.raises(RequestInvalid):
            link(folder, "k", content_type=content_type)
    with pytest.raises(RequestInvalid):
        folder.sign_put("k", size_bytes=1, content_type="a/b", sha256="abc")
    with pytest.raises(RequestInvalid):
        folder.sign_put("k", size_bytes=-1, content_type="a/b", sha256=None)
    with pytest.raises(ObjectMissing):
        folder.generate_presigned_download_url("another", "k")


REFUSED = """
import hashlib, os, resource, sys
from pathlib import Path
from reelmill.errors import ReelmillError
from reelmill.objects.folder import FolderStore
root, mode = Path(sys.argv[1]), sys.argv[2]
store = FolderStore(root, secret=bytes(32), base_url="")
incoming = store.begin_put("new", size_bytes=4 << 20, content_type="a/b", sha256=None)
if mode == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
else:
    (root / "objects/k").chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
try:
    store.head("k") if mode == "denied" else [incoming.write(bytes(1 << 20)) for _ in range(4)]
except ReelmillError as error:
    print(error.code)
incoming.abort()
"""


@pytest.mark.req("D-02")
@pytest.mark.parametrize(("mode", "code"), [("full", "storage_unavailable"), ("denied", "storage_denied")])
def test_a_failing_disk_is_named(folder: FolderStore, tmp_path: Path, mode: str, code: str) -> None:
    fill(folder, "k", tmp_path)
    argv = [sys.executable, "-c", REFUSED, str(tmp_path / "data"), mode]
    assert subprocess.run(argv, check=True, capture_output=True, text=True).stdout == f"{code}\n"
    assert list(folder.keys("")) == ["k"]


# ── The secret ────────────────────────────────────────────────────────────────────────────────


def test_the_secret_is_kept_and_private(tmp_path: Path) -> None:
    path = tmp_path / "new/secret"
    secret = load_secret(path)
    assert len(secret) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_secret(path) == secret
    path.chmod(0o644)
    with pytest.raises(SettingInvalid, match="every user"):
        load_secret(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(SettingInvalid, match="5 bytes"):
        load_secret(path)


def test_processes_that_start_at_once_get_the_same_secret(tmp_path: Path) -> None:
    code = textwrap.dedent("""
        import sys
        from pathlib import Path
        from reelmill.objects.folder import load_secret
        print("ready", flush=True)
        for name in sys.stdin.readline().split():
            print(load_secret(Path(name)).hex(), flush=True)
    """)
    names = [str(tmp_path / f"{n}/secret") for n in range(50)]
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(3)
        ]
        for child in children:
            assert child.stdout
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin
            child.stdin.write(" ".join(names) + "\n")
            child.stdin.flush()
        first, *others = [child.communicate()[0].split() for child in children]
    assert len(first) == 50
    assert len(set(first)) == 50
    assert all(other == first for other in others)

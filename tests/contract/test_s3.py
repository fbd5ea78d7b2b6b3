"""What only the S3 store promises: its two endpoints, what it says of a store in trouble, what it relies on."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

import servers
from lax_gateway import LaxGateway
from reelmill.errors import (
    BodyMismatch,
    ObjectExists,
    ObjectMissing,
    RequestInvalid,
    SettingInvalid,
    StorageDenied,
    StorageUnavailable,
)
from reelmill.jobs.model import Capabilities, SignedRequest
from reelmill.objects.s3 import PART, S3Store
from reelmill.objects.s3_place import Place, read_place

MINE = ["https://videos.example"]


@pytest.fixture
def store(seaweed: servers.Seaweed, bucket: str) -> S3Store:
    return S3Store(read_place(seaweed.url(bucket, "some/prefix")))


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def send(signed: SignedRequest, body: bytes = b"") -> httpx2.Response:
    with httpx2.Client(timeout=30, trust_env=False) as client:
        return client.request(signed.method, signed.url, content=body, headers=dict(signed.headers))


def fill(store: S3Store, key: str, tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "out.bin"
    path.write_bytes(data)
    store.put_file(key, path, content_type="video/mp4", sha256=sha(data))
    return path


# ── Where it is ───────────────────────────────────────────────────────────────────────────────


def test_a_storage_url_is_read() -> None:
    assert read_place("s3://videos") == Place(bucket="videos", addressing="virtual")
    assert read_place("s3://my.videos").addressing == "path"
    url = "s3://videos/a/b/?endpoint=http://10.0.0.1:8333/&public_endpoint=https://m.example/s3&region=garage"
    assert read_place(url) == Place(
        bucket="videos",
        prefix="a/b/",
        endpoint="http://10.0.0.1:8333",
        public_endpoint="https://m.example/s3",
        region="garage",
    )
    assert read_place("s3://videos?endpoint=https://s3.example&addressing=virtual").virtual


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///videos",
        "s3://videos/a/../b",
        "s3://videos/a b",
        "s3://videos?endpoint=10.0.0.1:8333",
        "s3://videos?endpoint=ftp://s3.example",
        "s3://videos?endpoint=https://user:word@s3.example",
        "s3://videos?endpoint=https://s3.example:x",
        "s3://videos?endpoint=",
        "s3://videos?endpont=https://s3.example",
        "s3://videos?region=a&region=b",
        "s3://videos?addressing=dns",
        "s3://user:word@videos",
    ],
)
def test_a_storage_url_with_a_fault_says_what_is_good(url: str) -> None:
    with pytest.raises(SettingInvalid, match=r"REELMILL_STORAGE_URL.*A good value is s3://videos"):
        read_place(url)


def test_amazon_s_region_is_named_by_somebody(seaweed: servers.Seaweed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    with pytest.raises(SettingInvalid, match=r"name its region"):
        S3Store(read_place("s3://films"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    url = S3Store(read_place("s3://films")).generate_presigned_download_url("films", "k")
    assert "%2Feu-central-1%2Fs3%2F" in url
    monkeypatch.setenv("AWS_PROFILE", "nobody-s")
    with pytest.raises(SettingInvalid, match="nobody-s"):
        S3Store(read_place("s3://films"))


def test_urls_name_the_public_endpoint_and_calls_use_the_internal(
    seaweed: servers.Seaweed, bucket: str, tmp_path: Path
) -> None:
    public = seaweed.endpoint("localhost")
    store = S3Store(read_place(seaweed.url(bucket, public_endpoint=public)))
    signed = store.sign_put("k", size_bytes=5, content_type="video/mp4", sha256=sha(b"outer"))
    download = store.generate_presigned_download_url(bucket, "k")
    upload = store.begin_multipart("m", size_bytes=5, part_size=5, content_type="video/mp4")
    part = store.sign_part("m", upload, 1, size_bytes=5, sha256=None)
    for url in (signed.url, download, part.url):
        assert url.startswith(f"{public}/{bucket}/")
    assert send(signed, b"outer").status_code == 200
    assert httpx2.get(download, trust_env=False).content == b"outer"
    inside = str(store.locate("k"))
    assert inside.startswith(f"{seaweed.endpoint()}/{bucket}/")
    assert httpx2.get(inside, trust_env=False).content == b"outer"
    # The signature covers the host: a URL for one endpoint is worth nothing at the other.
    assert httpx2.get(download.replace(public, seaweed.endpoint()), trust_env=False).status_code == 403
    assert httpx2.get(inside.replace(seaweed.endpoint(), public), trust_env=False).status_code == 403
    # An unreachable public endpoint is no matter for the server's own work.
    alone = S3Store(read_place(seaweed.url(bucket, public_endpoint="https://media.invalid")))
    assert alone.head("k").size_bytes == 5
    assert alone.capabilities().missing == ()
    alone.abort_multipart("m", upload)


def test_addressing_by_host_puts_the_bucket_first(seaweed: servers.Seaweed) -> None:
    endpoint = seaweed.endpoint("localhost")
    place = read_place(f"s3://films/top?endpoint={endpoint}&addressing=virtual")
    url = urlsplit(S3Store(place).generate_presigned_download_url("films", "k"))
    assert (url.netloc, url.path) == (f"films.localhost:{seaweed.port}", "/top/k")
    amazon = S3Store(read_place("s3://films?region=eu-central-1"))
    assert amazon.generate_presigned_download_url("films", "k").startswith(
        "https://films.s3.eu-central-1.amazonaws.com/k?"
    )
    american = S3Store(read_place("s3://films?region=us-east-1"))  # the global host answers browsers with a 307
    assert american.generate_presigned_download_url("films", "k").startswith(
        "https://films.s3.us-east-1.amazonaws.com/k?"
    )


def test_two_prefixes_of_a_bucket_don_t_see_each_other(seaweed: servers.Seaweed, bucket: str, tmp_path: Path) -> None:
    one, other = (S3Store(read_place(seaweed.url(bucket, prefix))) for prefix in ("one", "on"))
    fill(one, "k", tmp_path, b"one")
    assert list(other.keys("")) == []
    with pytest.raises(ObjectMissing):
        other.head("k")
    upload = one.begin_multipart("m", size_bytes=5, part_size=5, content_type="a/b")
    assert other.purge_incoming(-10) == 0
    assert one.list_parts("m", upload) == []
    assert one.purge_incoming(-10) == 1
    names = [entry["Key"] for entry in seaweed.client().list_objects_v2(Bucket=bucket)["Contents"]]
    assert names == ["one/k"]


# ── Files from inside ─────────────────────────────────────────────────────────────────────────


def test_a_large_file_goes_in_parts_and_comes_back_whole(store: S3Store, tmp_path: Path) -> None:
    data = secrets.token_bytes(2 * PART + 12345)
    fill(store, "k", tmp_path, data)
    info = store.head("k")
    assert (info.size_bytes, info.content_type) == (len(data), "video/mp4")
    assert info.etag.endswith('-3"'), "three parts"
    assert info.sha256 in (None, sha(data)), "a checksum of checksums isn't the object's"
    assert b"".join(store.open("k")) == data
    assert b"".join(store.open("k", PART - 5, 10)) == data[PART - 5 : PART + 5]
    with pytest.raises(BodyMismatch):
        store.put_file("other", tmp_path / "out.bin", content_type="video/mp4", sha256=sha(b""))
    with pytest.raises(ObjectMissing):
        store.head("other")
    assert store.purge_incoming(-10) == 0, "what failed left no parts"


def test_a_small_file_s_checksum_is_the_store_s(store: S3Store, tmp_path: Path) -> None:
    fill(store, "k", tmp_path, b"small")
    assert store.head("k").sha256 == sha(b"small")


def test_many_threads_share_one_store(store: S3Store, tmp_path: Path) -> None:
    def work(n: int) -> bytes:
        (tmp_path / str(n)).mkdir()
        fill(store, f"k/{n}", tmp_path / str(n), str(n).encode())
        return b"".join(store.open(f"k/{n}"))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(64))) == [str(n).encode() for n in range(64)]
    assert len(list(store.keys("k/"))) == 64


def test_a_list_has_more_than_one_page(store: S3Store, seaweed: servers.Seaweed, bucket: str) -> None:
    client = seaweed.client()
    names = [f"many/{n:04}" for n in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: client.put_object(Bucket=bucket, Key=f"some/prefix/{name}", Body=b""), names))
    assert list(store.keys("many/")) == names


# ── Trouble ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("D-02")
def test_a_store_that_does_not_answer_is_unavailable_until_it_does(
    seaweed: servers.Seaweed, bucket: str, tmp_path: Path
) -> None:
    store = S3Store(read_place(seaweed.url(bucket)), timeout_s=1, tries=2)
    path = fill(store, "k", tmp_path, b"here")
    seaweed.halt()
    try:
        for call in (
            lambda: store.head("k"),
            lambda: store.open("k"),
            lambda: list(store.keys("")),
            lambda: store.put_file("new", path, content_type="a/b", sha256=sha(b"here")),
            lambda: store.list_parts("k", "unknown"),
        ):
            with pytest.raises(StorageUnavailable):
                call()
    finally:
        seaweed.go_on()
    assert b"".join(store.open("k")) == b"here"


@pytest.mark.req("D-02")
def test_a_store_that_has_ended_is_unavailable(tmp_path: Path, seaweed: servers.Seaweed) -> None:
    place = read_place(f"s3://videos?endpoint=http://127.0.0.1:{servers.free_port()}")
    store = S3Store(place, tries=2)
    with pytest.raises(StorageUnavailable):
        store.head("k")
    with pytest.raises(StorageUnavailable):
        store.capabilities()
    with pytest.raises(StorageUnavailable):
        store.sign_put("k", size_bytes=1, content_type="a/b", sha256=None)


def test_a_download_that_breaks_is_taken_up_again(store: S3Store, seaweed: servers.Seaweed, tmp_path: Path) -> None:
    data = secrets.token_bytes(12 << 20)
    fill(store, "k", tmp_path, data)
    with Cutting(seaweed.port) as cutting:
        there = S3Store(Place(bucket=store.bucket, prefix="some/prefix/", endpoint=cutting.url, region="us-east-1"))
        assert b"".join(there.open("k", 100)) == data[100:]
        assert cutting.cut >= 2


DENIED = """
import sys
from reelmill.errors import ReelmillError
from reelmill.objects.s3 import S3Store
from reelmill.objects.s3_place import read_place
try:
    store = S3Store(read_place(sys.argv[1]))
except ReelmillError as error:
    print(error.code)
    sys.exit()
for call in (lambda: store.head("k"), lambda: list(store.keys("")), store.capabilities, lambda: store.open("k"),
             lambda: store.list_parts("k", "x"), lambda: store.delete("k")):
    try:
        call()
    except ReelmillError as error:
        print(error.code)
        assert "tests-secret" not in error.detail and "wrong" not in error.detail
"""


@pytest.mark.req("D-02")
@pytest.mark.parametrize(
    "wrong",
    [
        {"AWS_SECRET_ACCESS_KEY": "wrong-secret"},
        {"AWS_ACCESS_KEY_ID": "wrong-key"},
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
    ],
    ids=["secret", "key", "none"],
)
def test_wrong_credentials_are_denied(
    store: S3Store, seaweed: servers.Seaweed, bucket: str, tmp_path: Path, wrong: dict[str, str]
) -> None:
    fill(store, "k", tmp_path, b"there")
    env = {**os.environ, **wrong, "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    argv = [sys.executable, "-c", DENIED, seaweed.url(bucket, "some/prefix")]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, env=env)
    assert set(done.stdout.split()) == {"storage_denied"}


@pytest.mark.req("D-02")
def test_a_bucket_that_is_not_there_is_no_missing_object(seaweed: servers.Seaweed) -> None:
    store = S3Store(read_place(seaweed.url("nowhere")))
    for call in (lambda: store.head("k"), lambda: store.locate("k"), lambda: list(store.keys("")), store.capabilities):
        with pytest.raises(StorageDenied, match="bucket"):
            call()


def test_credentials_that_change_are_used_at_once(seaweed: servers.Seaweed, bucket: str, tmp_path: Path) -> None:
    """Temporary credentials from a process, which end in a moment: each call asks for new ones."""
    counter = tmp_path / "count"
    script = tmp_path / "creds.py"
    script.write_text(f"""
import datetime, json, pathlib
path = pathlib.Path({str(counter)!r})
path.write_text(str(int(path.read_text() or 0) + 1) if path.exists() else "1")
until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=60)
print(json.dumps({{"Version": 1, "AccessKeyId": "tests", "SecretAccessKey": "tests-secret",
                   "Expiration": until.isoformat()}}))
""")
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = {sys.executable} {script}\n")
    code = f"""
from reelmill.objects.s3 import S3Store
from reelmill.objects.s3_place import read_place
store = S3Store(read_place({seaweed.url(bucket)!r}))
for _ in range(3):
    print(store.generate_presigned_download_url({bucket!r}, "k"))
store.capabilities()
"""
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    env |= {"AWS_CONFIG_FILE": str(config), "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, capture_output=True)
    assert int(counter.read_text()) >= 3, "about to end, they were asked for again"


# ── What is relied on ─────────────────────────────────────────────────────────────────────────


def test_the_store_is_tried_out_once_and_left_clean(seaweed: servers.Seaweed, bucket: str) -> None:
    store = S3Store(read_place(seaweed.url(bucket, "p")))
    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(lambda _: store.capabilities(), range(4))
    assert first.missing == (), "SeaweedFS does it all"
    assert all(other is first for other in others)
    client = seaweed.client()
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)


def test_what_a_store_does_not_do_is_not_relied_on(seaweed: servers.Seaweed, bucket: str, tmp_path: Path) -> None:
    with LaxGateway(seaweed, ranges=False) as gateway:
        store = S3Store(Place(bucket=bucket, endpoint=gateway.url, region=seaweed.region))
        assert store.capabilities() == Capabilities(
            binds_size=False,
            binds_checksum=False,
            writes_once=False,
            joins_once=False,
            multipart=True,
            part_checksums=False,
            ranges=False,
        )
        signed = store.sign_put("k", size_bytes=5, content_type="video/mp4", sha256=sha(b"hello"))
        assert set(signed.headers) == {"Content-Type"}
        assert "X-Amz-SignedHeaders=content-type%3Bhost&" in signed.url
        assert send(signed, b"hello").status_code == 200
        upload = store.begin_multipart("m", size_bytes=5, part_size=5, content_type="video/mp4")
        part = store.sign_part("m", upload, 1, size_bytes=5, sha256=sha(b"hello"))
        assert dict(part.headers) == {}
        assert send(part, b"hello").status_code == 200
        assert store.complete_multipart("m", upload, store.list_parts("m", upload)).size_bytes == 5
        fill(store, "file", tmp_path, b"from inside")
        with pytest.raises(BodyMismatch):  # we look ourselves
            store.put_file("file", tmp_path / "out.bin", content_type="a/b", sha256=sha(b""))
        assert sorted(store.keys("")) == ["file", "k", "m"]


def test_a_careful_store_s_put_is_bound_to_everything(store: S3Store) -> None:
    signed = store.sign_put("k", size_bytes=5, content_type="video/mp4", sha256=sha(b"hello"))
    assert set(signed.headers) == {"Content-Type", "If-None-Match", "x-amz-checksum-sha256"}
    bound = "content-length%3Bcontent-type%3Bhost%3Bif-none-match%3Bx-amz-checksum-sha256"
    assert f"X-Amz-SignedHeaders={bound}&" in signed.url


# ── Web pages ─────────────────────────────────────────────────────────────────────────────────


def test_cors_rules_are_applied_and_checked_as_a_browser_does(store: S3Store) -> None:
    store.apply_cors(MINE)
    assert store.check_cors(MINE) == []
    assert store.check_cors(), "other pages may not"
    store.apply_cors()
    assert store.check_cors() == store.check_cors(MINE) == []
    poor = {"AllowedOrigins": ["*"], "AllowedMethods": ["GET", "HEAD", "POST", "DELETE"], "AllowedHeaders": ["*"]}
    store.client.put_bucket_cors(Bucket=store.bucket, CORSConfiguration={"CORSRules": [poor]})
    found = "\n".join(store.check_cors())
    assert "PUT" in found
    assert "can't read the headers ETag" in found


def test_a_page_may_upload_and_read_the_etag(store: S3Store) -> None:
    store.apply_cors(MINE)
    signed = store.sign_put("k", size_bytes=5, content_type="video/mp4", sha256=None)
    sent = httpx2.put(signed.url, content=b"hello", headers={**signed.headers, "Origin": MINE[0]}, trust_env=False)
    assert sent.headers["access-control-allow-origin"] in (MINE[0], "*")
    assert "etag" in sent.headers["access-control-expose-headers"].lower()


# ── Uppy ──────────────────────────────────────────────────────────────────────────────────────


def test_uppy_s_requests_make_an_object(store: S3Store) -> None:
    begun = send(store.sign_operation("POST", "k", content_type="video/mp4"))
    assert begun.status_code == 200, begun.text
    upload = begun.text.split("<UploadId>")[1].split("</UploadId>")[0]
    body = secrets.token_bytes(5 << 20)
    etags = []
    for number, part in enumerate((body, b"tail"), 1):
        sent = send(store.sign_operation("PUT", "k", multipart_id=upload, number=number, size_bytes=len(part)), part)
        assert sent.status_code == 200, sent.text
        etags.append(sent.headers["etag"])
    listed = send(store.sign_operation("GET", "k", multipart_id=upload))
    assert listed.text.count("<PartNumber>") == 2
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>" for number, etag in enumerate(etags, 1)
    )
    xml = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    assert send(store.sign_operation("POST", "k", multipart_id=upload), xml).status_code == 200
    assert b"".join(store.open("k")) == body + b"tail"
    assert store.head("k").content_type == "video/mp4"


def test_uppy_s_completion_never_replaces_an_object(store: S3Store) -> None:
    upload = store.begin_multipart("k", size_bytes=5, part_size=5, content_type="video/mp4")
    sent = send(store.sign_operation("PUT", "k", multipart_id=upload, number=1), b"OTHER")
    xml = f"<Part><PartNumber>1</PartNumber><ETag>{sent.headers['etag']}</ETag></Part>"
    complete = store.sign_operation("POST", "k", multipart_id=upload)
    assert send(store.sign_operation("PUT", "k", size_bytes=5), b"first").status_code == 200
    body = f"<CompleteMultipartUpload>{xml}</CompleteMultipartUpload>".encode()
    assert send(complete, body).status_code == 412
    assert b"".join(store.open("k")) == b"first"
    unsigned = httpx2.post(complete.url, content=body, trust_env=False)
    assert unsigned.status_code == 403, "the condition can't be left out"
    assert b"".join(store.open("k")) == b"first"


def test_uppy_s_abort_and_single_put(store: S3Store) -> None:
    upload = store.begin_multipart("k", size_bytes=5, part_size=5, content_type="video/mp4")
    assert send(store.sign_operation("DELETE", "k", multipart_id=upload)).status_code == 204
    assert store.purge_incoming(-10) == 0
    signed = store.sign_operation("PUT", "k", content_type="video/mp4", size_bytes=5)
    assert send(signed, b"more than five").status_code == 403
    assert send(signed, b"hello").status_code == 200
    assert send(signed, b"HELLO").status_code == 412, "written once"


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("DELETE", {}),
        ("GET", {}),
        ("HEAD", {}),
        ("DELETE", {"number": 1}),
        ("DELETE", {"multipart_id": "x", "number": 1}),
        ("PUT", {"multipart_id": "x"}),
        ("PUT", {"number": 1}),
        ("PUT", {"multipart_id": "x", "number": 0}),
        ("POST", {"multipart_id": "x", "number": 1}),
        ("PATCH", {"multipart_id": "x"}),
    ],
)
def test_no_other_request_is_signed_for_uppy(store: S3Store, method: str, more: dict[str, object]) -> None:
    with pytest.raises(RequestInvalid):
        store.sign_operation(method, "k", **more)  # type: ignore[arg-type]


def test_an_object_of_another_size_is_not_taken_for_the_upload_s(store: S3Store, tmp_path: Path) -> None:
    upload = store.begin_multipart("k", size_bytes=5, part_size=5, content_type="video/mp4")
    assert send(store.sign_part("k", upload, 1, size_bytes=5, sha256=None), b"hello").status_code == 200
    parts = store.list_parts("k", upload)
    fill(store, "k", tmp_path, b"something else")
    with pytest.raises(ObjectExists):
        store.complete_multipart("k", upload, parts)
    assert b"".join(store.open("k")) == b"something else"


class Cutting:
    """A wire to a server that is cut each time when so many bytes have come back; `cut` counts."""

    AFTER = 3 << 20

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cut = 0
        self._threads = [threading.Thread(target=self._accept)]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                thread = threading.Thread(target=self._carry, args=(near,))
                self._threads.append(thread)
                thread.start()

    def _carry(self, near: socket.socket) -> None:
        with near, socket.create_connection(self._to) as far, selectors.DefaultSelector() as ready:
            ready.register(near, selectors.EVENT_READ, far)
            ready.register(far, selectors.EVENT_READ, near)
            came = 0
            with contextlib.suppress(OSError):
                while True:
                    for event, _ in ready.select():
                        data = event.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                        if not data:
                            return
                        event.data.sendall(data)
                        came += len(data) if event.fileobj is far else 0
                        if came > self.AFTER:
                            self.cut += 1
                            return

    def __enter__(self) -> Cutting:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)


@pytest.fixture(autouse=True)
def _awake(seaweed: servers.Seaweed) -> Iterator[None]:
    yield
    seaweed.go_on()

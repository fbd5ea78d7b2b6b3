"""Uploads of outputs in trouble: how often each request is tried, counted at the store, and where the file goes."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import servers
from lax_gateway import LaxGateway
from reelmill.errors import Stopped, StorageUnavailable
from reelmill.jobs.files import Files
from reelmill.jobs.model import NewArtifact
from reelmill.objects.s3 import S3Store
from reelmill.objects.s3_place import read_place
from reelmill.objects.spool import SpoolFolder

KEY = "t/outputs/j/write/0/out-r1a1.bin"
BACKOFF_S = 0.02


@pytest.fixture
def gateway(seaweed: servers.Seaweed) -> Iterator[LaxGateway]:
    with LaxGateway(seaweed) as gateway:
        yield gateway


@pytest.fixture
def objects(gateway: LaxGateway, bucket: str) -> S3Store:
    store = S3Store(read_place(f"s3://{bucket}?endpoint={gateway.url}"))
    store.capabilities()  # tried out before anything is counted
    gateway.arrived.clear()
    return store


def spool(tmp_path: Path, *, serves: bool = True) -> SpoolFolder:
    return SpoolFolder(tmp_path / "spool", base_url="http://127.0.0.1:1", serves=serves)


def output(tmp_path: Path, size: int) -> tuple[Path, NewArtifact]:
    body = (b"a finished film" * (size // 15 + 1))[:size]
    path = tmp_path / "out.bin"
    path.write_bytes(body)
    sha256 = hashlib.sha256(body).hexdigest()
    return path, NewArtifact(
        kind="clip", name="out.bin", key=KEY, size_bytes=size, sha256=sha256, content_type="video/mp4"
    )


def sent(gateway: LaxGateway, bucket: str) -> Counter[str]:
    """How often each PUT of the output came."""
    start = f"PUT /{bucket}/{KEY}"
    return Counter(one.removeprefix(start) for one in gateway.arrived if one.startswith(start))


@pytest.mark.req("E-05", "E-07")
def test_an_output_is_sent_exactly_four_times_then_kept_locally(
    gateway: LaxGateway, objects: S3Store, bucket: str, tmp_path: Path
) -> None:
    gateway.refuses = lambda told: told.startswith("PUT ")
    path, wanted = output(tmp_path, 5000)
    kept = spool(tmp_path)
    files = Files(objects, kept, backoff_s=BACKOFF_S)
    made = files.put(path, wanted, threading.Event())
    assert sent(gateway, bucket) == {"": 4}
    assert (made.place, made.spool, made.retries, made.key) == ("spool", kept.id, 3, KEY)
    assert kept.head(KEY).sha256 == wanted.sha256
    assert b"".join(files.open(KEY))[:15] == b"a finished film"
    assert files.locate(KEY) == kept.locate(KEY)
    assert files.stuck() is None


@pytest.mark.req("E-05", "E-07")
@pytest.mark.parametrize("failures", [0, 1, 3])
def test_an_upload_that_succeeds_in_time_is_stored_and_tells_its_retries(
    gateway: LaxGateway, objects: S3Store, bucket: str, tmp_path: Path, failures: int
) -> None:
    left = iter(range(failures))
    gateway.refuses = lambda told: told.startswith("PUT ") and next(left, None) is not None
    path, wanted = output(tmp_path, 5000)
    made = Files(objects, spool(tmp_path), backoff_s=BACKOFF_S).put(path, wanted, threading.Event())
    assert sent(gateway, bucket) == {"": failures + 1}
    assert (made.place, made.retries) == ("stored", failures)
    assert objects.head(KEY).size_bytes == 5000


@pytest.mark.req("E-05")
def test_each_part_of_a_large_output_is_sent_exactly_four_times(
    gateway: LaxGateway, objects: S3Store, bucket: str, tmp_path: Path
) -> None:
    gateway.refuses = lambda told: "partNumber=2" in told
    path, wanted = output(tmp_path, 40 << 20)
    made = Files(objects, spool(tmp_path), backoff_s=BACKOFF_S).put(path, wanted, threading.Event())
    counted = Counter(query.partition("partNumber=")[2][0] for query in sent(gateway, bucket).elements())
    assert counted == {"1": 1, "2": 4, "3": 1}
    assert (made.place, made.retries) == ("spool", 3)
    assert sum(one.startswith("DELETE") and "uploadId" in one for one in gateway.arrived) == 1, "the parts are dropped"

    gateway.arrived.clear()
    left = iter(range(2))
    gateway.refuses = lambda told: "partNumber=3" in told and next(left, None) is not None
    path, wanted = output(tmp_path, 40 << 20)
    made = Files(objects, None, backoff_s=BACKOFF_S).put(path, wanted, threading.Event())
    counted = Counter(query.partition("partNumber=")[2][0] for query in sent(gateway, bucket).elements())
    assert (counted, made.place, made.retries) == ({"1": 1, "2": 1, "3": 3}, "stored", 2)
    assert objects.head(KEY).size_bytes == 40 << 20


@pytest.mark.req("E-05")
@pytest.mark.parametrize("why", ["off", "no API", "full"])
def test_without_a_spool_that_an_api_reads_the_step_waits_until_the_store_answers(
    gateway: LaxGateway, objects: S3Store, bucket: str, tmp_path: Path, why: str
) -> None:
    gateway.refuses = lambda told: True
    kept = None if why == "off" else spool(tmp_path, serves=why == "full")
    if why == "full":
        (tmp_path / "spool" / "incoming").rmdir()  # what it can't write to
        (tmp_path / "spool" / "incoming").write_bytes(b"")
        (tmp_path / "spool" / "objects").rmdir()
        (tmp_path / "spool" / "objects").write_bytes(b"")
    path, wanted = output(tmp_path, 5000)
    files = Files(objects, kept, backoff_s=BACKOFF_S)
    with pytest.raises(StorageUnavailable):
        files.put(path, wanted, threading.Event())
    assert path.exists() and sent(gateway, bucket) == {"": 4}
    assert files.stuck() is not None
    gateway.refuses = lambda told: False
    while files.stuck() is not None:  # it asks again after a while
        pass
    assert files.put(path, wanted, threading.Event()).place == "stored"


@pytest.mark.req("E-05", "E-08")
def test_a_cancelled_step_doesn_t_wait_for_its_next_try(
    gateway: LaxGateway, objects: S3Store, bucket: str, tmp_path: Path
) -> None:
    stop = threading.Event()

    def refuse(told: str) -> bool:
        stop.set()
        return True

    gateway.refuses = refuse
    path, wanted = output(tmp_path, 5000)
    with pytest.raises(Stopped):
        Files(objects, spool(tmp_path), backoff_s=3600).put(path, wanted, stop)
    assert sent(gateway, bucket) == {"": 1}


def test_a_spool_keeps_its_name_and_is_read_where_an_api_announced_itself(tmp_path: Path) -> None:
    worker = spool(tmp_path, serves=False)
    assert not worker.is_readable()
    api = spool(tmp_path)
    assert api.id == worker.id and api.is_readable() and worker.is_readable()
    url = worker.generate_presigned_download_url("spool", KEY)
    assert url.startswith("http://127.0.0.1:1/spool/")
    assert api.verify("GET", KEY, [tuple(one.split("=")) for one in url.split("?")[1].split("&")]).key == KEY

"""A copy within the object store, on every adapter: whole, checked, and on its own from then on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

import servers
from reelmill.errors import BodyMismatch, ObjectMissing
from reelmill.jobs.ports import ObjectStore
from reelmill.objects.folder import FolderStore
from reelmill.objects.s3 import S3Store
from reelmill.objects.s3_place import read_place
from served_folder import serve

BODY = bytes(range(256)) * 5000
SHA = hashlib.sha256(BODY).hexdigest()
TOLD = {"size_bytes": len(BODY), "content_type": "video/mp4", "sha256": SHA}


@pytest.fixture(scope="module", params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    if request.param == "s3":
        seaweed: servers.Seaweed = request.getfixturevalue("seaweed")
        yield S3Store(read_place(seaweed.url(seaweed.create(), "some/prefix")))
        return
    with serve(tmp_path_factory.mktemp("copies")) as served:
        yield served


@pytest.fixture
def source(store: ObjectStore, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    key = f"acme/{request.node.originalname}/source"
    put(store, tmp_path, key, BODY)
    return key


def put(store: ObjectStore, folder: Path, key: str, body: bytes) -> None:
    path = folder / "body"
    path.write_bytes(body)
    store.put_file(key, path, content_type="video/mp4", sha256=hashlib.sha256(body).hexdigest())


def read(store: ObjectStore, key: str) -> bytes:
    return b"".join(store.open(key))


@pytest.mark.req("B-07")
def test_a_copy_is_the_same_bytes_under_its_own_type(store: ObjectStore, source: str) -> None:
    made = store.copy(source, "acme/copies/1", **{**TOLD, "content_type": "video/quicktime"})
    assert (made.key, made.size_bytes, made.content_type) == ("acme/copies/1", len(BODY), "video/quicktime")
    assert made.sha256 in (None, SHA)
    assert store.head("acme/copies/1").content_type == "video/quicktime"
    assert store.head(source).content_type == "video/mp4"
    assert read(store, "acme/copies/1") == BODY
    url = store.generate_presigned_download_url(store.bucket, "acme/copies/1")
    assert hashlib.sha256(httpx2.get(url).content).hexdigest() == SHA


@pytest.mark.req("B-07")
def test_either_goes_without_the_other(store: ObjectStore, source: str, tmp_path: Path) -> None:
    store.copy(source, "acme/copies/kept", **TOLD)
    store.copy(source, "acme/copies/gone", **TOLD)
    store.delete("acme/copies/gone")
    assert read(store, source) == BODY
    put(store, tmp_path, source, b"another film")  # replaced
    assert read(store, "acme/copies/kept") == BODY
    store.delete(source)
    assert read(store, "acme/copies/kept") == BODY
    assert store.head("acme/copies/kept").sha256 in (None, SHA)


@pytest.mark.req("B-07")
def test_a_copy_can_be_made_again_and_over_something_else(store: ObjectStore, source: str, tmp_path: Path) -> None:
    put(store, tmp_path, "acme/copies/over", b"what was there")
    for _ in range(3):
        store.copy(source, "acme/copies/over", **TOLD)
        assert read(store, "acme/copies/over") == BODY
    if isinstance(store, FolderStore):
        assert list((store._root / "incoming").iterdir()) == []


@pytest.mark.req("B-07")
def test_what_is_missing_or_different_leaves_nothing(store: ObjectStore, source: str) -> None:
    with pytest.raises(ObjectMissing):
        store.copy("acme/nothing/here", "acme/copies/none", **TOLD)
    for wrong in ({"sha256": "0" * 64}, {"size_bytes": 5}):
        with pytest.raises(BodyMismatch):
            store.copy(source, "acme/copies/none", **{**TOLD, **wrong})
    with pytest.raises(ObjectMissing):
        store.head("acme/copies/none")
    assert read(store, source) == BODY


@pytest.mark.req("B-07")
def test_a_damaged_file_isnt_copied(tmp_path: Path) -> None:
    with serve(tmp_path / "folder") as store:
        put(store, tmp_path, "acme/a/source", BODY)
        path = Path(store.locate("acme/a/source"))
        spoiled = bytearray(BODY)
        spoiled[777] ^= 1
        path.write_bytes(spoiled)
        with pytest.raises(BodyMismatch):
            store.copy("acme/a/source", "acme/a/copy", **TOLD)
        assert list(store.keys("acme/")) == ["acme/a/source"]


@pytest.mark.req("B-07")
def test_in_a_folder_a_copy_takes_no_room(tmp_path: Path) -> None:
    with serve(tmp_path / "folder") as store:
        put(store, tmp_path, "acme/a/source", BODY)
        assert store.copy("acme/a/source", "acme/a/copy", **TOLD).sha256 == SHA
        assert Path(store.locate("acme/a/source")).samefile(Path(store.locate("acme/a/copy")))

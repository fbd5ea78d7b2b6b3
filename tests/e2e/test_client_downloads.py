"""Downloads through a network that breaks and by clients that are killed; and waiting for a job."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import Proxy
from large_films import make_noisy_film
from reelmill import Client
from reelmill.errors import BodyMismatch, NotFound, NotReady, SignatureExpired
from reelmill.schemas import ArtifactReply
from running import Server

MIB = 1 << 20

FETCHER = """
import sys
from reelmill import Client
url, key, source, path, sha256 = sys.argv[1:]
with Client(url, key) as client:
    client.download(source, path, sha256=sha256)
"""


class Line:
    """A server with a job that has made two large clips, and the unreliable way to it."""

    def __init__(self, server: Server, proxy: Proxy, job_id: str) -> None:
        self.server = server
        self.proxy = proxy
        self.job_id = job_id

    def clips(self, client: Client) -> list[ArtifactReply]:
        """Return the clips, freshly signed."""
        return [artifact for artifact in client.artifacts(self.job_id) if artifact.kind == "clip"]

    def bytes_down(self) -> int:
        return self.proxy.carried(b"GET /objects", "down")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_noisy_film(tmp_path_factory.mktemp("film") / "film.mp4", seconds=6)


@pytest.fixture
def line(tmp_path: Path, source: Path) -> Iterator[Line]:
    with Proxy() as proxy:
        server = Server(tmp_path / "data", public_url=proxy.url, get_ttl_s=60)
        proxy.target = ("127.0.0.1", server.port)
        with server, Client(server.url, server.key, state=tmp_path / "state") as client:
            job_id = client.upload(source, pipeline="clips", params={"cutting": {"duration_s": 3}}).job_id
            assert job_id is not None
            assert client.wait(job_id, timeout_s=120).status == "completed"
            yield Line(server, proxy, job_id)


@pytest.fixture
def client(line: Line) -> Iterator[Client]:
    with Client(line.proxy.url, line.server.key, timeout_s=5) as opened:
        yield opened


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kill_in_the_middle(line: Line, clip: ArtifactReply, path: Path) -> int:
    """Fetch a clip with a client of its own, and `kill -9` that; return how much of it has come."""
    part = path.with_name(f".{path.name}.part")
    line.proxy.rate = clip.size / 3
    words = [line.proxy.url, line.server.key, str(clip.url), str(path), clip.sha256]
    process = subprocess.Popen([sys.executable, "-c", FETCHER, *words])
    line.proxy.wait(
        lambda: process.poll() is not None or (part.exists() and part.stat().st_size > clip.size // 2), "the download"
    )
    assert process.poll() is None
    process.kill()
    process.wait(30)
    line.proxy.rate = None
    assert not path.exists()
    return part.stat().st_size


def test_a_killed_client_goes_on(line: Line, client: Client, out: Path) -> None:
    clip = line.clips(client)[0]
    came = kill_in_the_middle(line, clip, out / "clip.mp4")
    before, got = line.bytes_down(), []
    client.download(line.clips(client)[0].url or "", out / "clip.mp4", sha256=clip.sha256, got=got.append)

    assert sha256(out / "clip.mp4") == clip.sha256
    assert [path.name for path in out.iterdir()] == ["clip.mp4"]
    assert line.bytes_down() - before < clip.size - came + (256 << 10)  # and what was in the pipe
    assert got[0] > came // 2
    assert got[-1] == clip.size


def test_another_object_begins_anew(line: Line, client: Client, out: Path) -> None:
    first, second = line.clips(client)
    kill_in_the_middle(line, first, out / "clip.mp4")
    client.download(second.url or "", out / "clip.mp4", sha256=second.sha256)

    assert sha256(out / "clip.mp4") == second.sha256


def test_a_damaged_beginning_is_fetched_again(line: Line, client: Client, out: Path) -> None:
    clip = line.clips(client)[0]
    kill_in_the_middle(line, clip, out / "clip.mp4")
    with (out / ".clip.mp4.part").open("r+b") as part:
        part.write(b"not what was there")
    client.download(clip.url or "", out / "clip.mp4", sha256=clip.sha256)

    assert sha256(out / "clip.mp4") == clip.sha256


def test_what_is_all_there_is_only_checked(line: Line, client: Client, out: Path) -> None:
    clip = line.clips(client)[0]
    client.download(clip.url or "", out / "clip.mp4", sha256=clip.sha256)
    (out / "clip.mp4").rename(out / ".clip.mp4.part")  # as a client leaves it that is killed before the last rename
    (out / ".clip.mp4.part.etag").write_text(f'"{clip.sha256}"')
    before = line.bytes_down()
    client.download(clip.url or "", out / "clip.mp4", sha256=clip.sha256)

    assert sha256(out / "clip.mp4") == clip.sha256
    assert line.bytes_down() - before < 64 << 10


def test_connections_that_are_cut_go_on(line: Line, client: Client, out: Path) -> None:
    clip = line.clips(client)[0]
    line.proxy.cut_after(clip.size // 8, times=5, way="down", request=b"GET /objects")
    before = line.bytes_down()
    client.download(clip.url or "", out / "clip.mp4", sha256=clip.sha256)

    assert line.proxy.cuts_left() == 0
    assert sha256(out / "clip.mp4") == clip.sha256
    assert line.bytes_down() - before < clip.size + 5 * MIB  # what was in the pipes when it was cut


def test_a_server_that_is_killed_and_started_again(line: Line, client: Client, out: Path) -> None:
    clip = line.clips(client)[0]
    line.proxy.rate = clip.size / 3
    thread = threading.Thread(target=client.download, args=(clip.url, out / "clip.mp4"), kwargs={"sha256": clip.sha256})
    before = line.bytes_down()
    thread.start()
    line.proxy.wait(lambda: line.bytes_down() - before > clip.size // 3, "the download")
    line.server.kill()
    line.proxy.rate = None
    line.server.start()
    thread.join(60)

    assert sha256(out / "clip.mp4") == clip.sha256


def test_an_expired_url_is_replaced_where_there_is_another(tmp_path: Path, source: Path, out: Path) -> None:
    with Server(tmp_path / "data", get_ttl_s=1) as server, Client(server.url, server.key, state=tmp_path) as client:
        done = client.upload(source, pipeline="clips")
        assert done.job_id is not None
        client.wait(done.job_id)
        clip = next(artifact for artifact in client.artifacts(done.job_id) if artifact.kind == "clip")
        time.sleep(2.5)
        with pytest.raises(SignatureExpired):
            client.download(clip.url or "", out / "clip.mp4")
        assert list(out.iterdir()) == []

        def fresh() -> str:
            return next(a.url or "" for a in client.artifacts(done.job_id or "") if a.id == clip.id)

        client.download(clip.url or "", out / "clip.mp4", sha256=clip.sha256, fresh=fresh)
        assert sha256(out / "clip.mp4") == clip.sha256


def test_bytes_that_arent_the_wanted_ones_arent_kept(line: Line, client: Client, out: Path) -> None:
    with pytest.raises(BodyMismatch):
        client.download(line.clips(client)[0].url or "", out / "clip.mp4", sha256="0" * 64)

    assert list(out.iterdir()) == []


def test_two_downloads_of_one_file_at_once(line: Line, client: Client, out: Path) -> None:
    clip = line.clips(client)[0]
    line.proxy.rate = clip.size
    threads = [
        threading.Thread(target=client.download, args=(clip.url, out / "clip.mp4"), kwargs={"sha256": clip.sha256})
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sha256(out / "clip.mp4") == clip.sha256
    assert [path.name for path in out.iterdir()] == ["clip.mp4"]


def test_results_are_fetched_and_those_that_are_there_are_left(line: Line, client: Client, out: Path) -> None:
    told: list[tuple[int, int]] = []
    made = client.download_results(line.job_id, out / "results", got=lambda got, of: told.append((got, of)))

    assert {path.name for path in (out / "results").iterdir()} == {artifact.name for artifact in made}
    assert told[-1] == (sum(artifact.size for artifact in made),) * 2
    lost = next(artifact for artifact in made if artifact.kind == "clip")
    (out / "results" / lost.name).unlink()
    before = line.bytes_down()
    client.download_results(line.job_id, out / "results")
    assert sha256(out / "results" / lost.name) == lost.sha256
    assert line.bytes_down() - before < lost.size + (64 << 10)


# ── waiting ───────────────────────────────────────────────────────────────────────────────────


def test_waiting_goes_on_while_the_server_is_started_again(line: Line, client: Client, source: Path) -> None:
    video_id = client.job(line.job_id).video_id
    slow = {"cutting": {"duration_s": 1}, "video": {"rendering": "full", "preset": "medium"}}
    job_id = client.create_job(video_id, "clips", slow).job_id
    with pytest.raises(NotReady, match=r"after 0\.01 s"):
        client.wait(job_id, timeout_s=0.01)
    told: list[tuple[float, str]] = []
    restart = threading.Thread(target=lambda: (line.server.kill(), line.server.start()))

    def progress(pct: float, message: str) -> None:
        if not told:
            restart.start()
        told.append((pct, message))

    assert client.wait(job_id, progress=progress).status == "completed"
    restart.join(60)
    assert told[-1][0] == 100
    with pytest.raises(NotFound):
        client.wait("8b0c7f0e-6f9a-4b52-9e6a-3a9f7d1c2b10")


def test_waiting_asks_where_events_are_kept_back(line: Line, client: Client) -> None:
    video_id = client.job(line.job_id).video_id
    job_id = client.create_job(video_id, "clips", {"cutting": {"duration_s": 2}}).job_id
    # So little time is left that events aren't followed at all: the same questions as behind such a proxy.
    assert client.wait(job_id, timeout_s=40).status == "completed"
    assert not [passed for passed in line.proxy.connections if b"/events" in passed.first]

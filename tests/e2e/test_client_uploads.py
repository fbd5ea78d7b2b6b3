"""Uploads through a network that breaks, by clients that are killed, to servers that are killed."""

from __future__ import annotations

import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from large_films import make_large_film
from reelmill import Client
from reelmill.client import Uploaded, UploadProgress
from reelmill.errors import NotFound, ServerUnreachable, SourceChanged, UploadMismatch
from running import free_port
from sending import MIB, Line, finish, kill_at, lined, start_sender

SIZE = 12 * MIB + 12_345
HEADS = 64 << 10  #: what the heads of a test's requests come to, at most


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with lined(tmp_path, put_ttl_s=20, workers=1) as opened:
        yield opened


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return make_large_film(tmp_path / "film.mp4", SIZE, seed=1)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state" / "reelmill" / "uploads"


def behind(act: Callable[[], Uploaded]) -> Callable[[], Uploaded]:
    """Begin it in a thread; return what waits for its result."""
    results: list[Uploaded | BaseException] = []

    def run() -> None:
        try:
            results.append(act())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def result() -> Uploaded:
        thread.join(120)
        assert results, "it didn't end"
        if isinstance(results[0], BaseException):
            raise results[0]
        return results[0]

    return result


# ── arriving ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("B-01")
def test_a_large_film_arrives_in_parallel_parts(line: Line, film: Path, state: Path) -> None:
    told: list[UploadProgress] = []
    line.proxy.rate = 16 * MIB
    with line.client(state) as client:
        done = client.upload(film, labels={"batch": "monday"}, part_size=MIB, parallel=3, progress=told.append)

        assert client.video(done.video_id).labels == {"batch": "monday"}
    assert (done.status, done.size, done.resumed_bytes, done.job_id) == ("uploaded", SIZE, 0, None)
    assert line.object(done.video_id) == film.read_bytes()
    assert line.put_bytes() < SIZE + HEADS
    assert len([passed for passed in line.proxy.connections if passed.first.startswith(b"PUT")]) == 3
    sending = [now.sent_bytes for now in told if now.phase == "sending"]
    assert sending == sorted(sending)
    assert len(sending) > 3
    assert told[-1] == UploadProgress(SIZE, SIZE, "verifying")
    assert not list(state.iterdir())


def test_a_small_film_arrives_by_one_put(line: Line, tmp_path: Path, state: Path) -> None:
    film = make_large_film(tmp_path / "small.mp4", MIB, seed=2)
    with line.client(state) as client:
        done = client.upload(str(film), pipeline="clips")

        assert client.wait(done.job_id or "").status == "completed"
        assert client.video(done.video_id).sha256 is not None
    assert line.object(done.video_id) == film.read_bytes()
    assert line.put_bytes() < MIB + HEADS


@pytest.mark.parametrize("size", [3 * MIB, SIZE])
def test_connections_that_are_cut_five_times(line: Line, tmp_path: Path, state: Path, size: int) -> None:
    film = make_large_film(tmp_path / "film.mp4", size, seed=3)
    line.proxy.cut_after(2 * MIB, times=5, request=b"PUT")
    with line.client(state) as client:
        done = client.upload(film, part_size=MIB if size == SIZE else None, parallel=2)

    assert line.proxy.cuts_left() == 0
    assert line.object(done.video_id) == film.read_bytes()
    assert line.put_bytes() <= size + 5 * (MIB if size == SIZE else size) + HEADS


def test_a_connection_that_dies_without_a_word(line: Line, film: Path, state: Path) -> None:
    line.proxy.rate = 4 * MIB
    with Client(line.proxy.url, line.server.key, state=state, timeout_s=2) as client:
        done = behind(lambda: client.upload(film, part_size=MIB))
        line.proxy.wait(lambda: line.put_bytes() > 3 * MIB, "the upload")
        assert line.proxy.silence() >= 4
        line.proxy.rate = None
        assert line.object(done().video_id) == film.read_bytes()
    line.proxy.cut_all()  # the server waits for bodies that began


def test_a_server_that_is_killed_and_started_again(line: Line, film: Path, state: Path) -> None:
    line.proxy.rate = 4 * MIB
    with line.client(state) as client:
        done = behind(lambda: client.upload(film, part_size=MIB))
        line.proxy.wait(lambda: line.put_bytes() > 4 * MIB, "the upload")
        line.server.kill()
        line.proxy.rate = None
        time.sleep(2)  # the client finds nobody
        line.server.start()
        assert line.object(done().video_id) == film.read_bytes()
    assert line.put_bytes() <= SIZE + 4 * MIB + HEADS


@pytest.mark.parametrize("part_size", [MIB, None])
def test_an_expired_url_is_replaced(tmp_path: Path, state: Path, part_size: int | None) -> None:
    film = make_large_film(tmp_path / "film.mp4", 3 * MIB, seed=4)
    with lined(tmp_path, put_ttl_s=1) as line, line.client(state) as client:
        line.proxy.latency_s = 1.5  # there and back: longer than a URL lives
        done = behind(lambda: client.upload(film, part_size=part_size, parallel=1))
        line.proxy.wait(lambda: '"status": 403' in line.server.log.read_text(), "a refusal")
        line.proxy.latency_s = 0
        assert line.object(done().video_id) == film.read_bytes()


# ── resuming ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("C-07")
def test_a_killed_client_goes_on_and_sends_little_twice(line: Line, film: Path, state: Path) -> None:
    line.proxy.rate = 4 * MIB
    sender = start_sender(line, film)
    kill_at(line, sender, 6 * MIB)
    (record,) = state.glob("*.json")
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert line.server.key not in record.read_text()

    line.proxy.rate = None
    video_id, resumed, _ = finish(start_sender(line, film))

    assert resumed >= 2 * MIB
    assert line.object(video_id) == film.read_bytes()
    assert line.put_bytes() <= SIZE + 4 * MIB + HEADS
    assert line.status(video_id) == "uploaded"
    assert len(line.server.call("GET", "/videos")["items"]) == 1
    assert not list(state.iterdir())


def test_a_client_that_is_killed_again_and_again(line: Line, film: Path) -> None:
    line.proxy.rate = 4 * MIB
    for put_bytes in (3 * MIB, 6 * MIB, 9 * MIB):
        kill_at(line, start_sender(line, film, parallel=1), put_bytes)
    line.proxy.rate = None
    video_id, resumed, _ = finish(start_sender(line, film, parallel=1))

    assert resumed >= 6 * MIB
    assert line.object(video_id) == film.read_bytes()
    assert line.put_bytes() <= SIZE + 3 * MIB + HEADS


def test_a_file_that_changed_is_uploaded_anew(line: Line, film: Path) -> None:
    line.proxy.rate = 4 * MIB
    kill_at(line, start_sender(line, film), 6 * MIB)
    (first,) = line.server.call("GET", "/videos")["items"]
    make_large_film(film, SIZE, seed=5)
    line.proxy.rate = None
    video_id, resumed, _ = finish(start_sender(line, film))

    assert (video_id != first["id"], resumed) == (True, 0)
    assert line.object(video_id) == film.read_bytes()
    assert line.status(first["id"]) == "awaiting"


def test_another_order_is_another_upload(line: Line, film: Path, state: Path) -> None:
    line.proxy.rate = 4 * MIB
    kill_at(line, start_sender(line, film), 4 * MIB)
    line.proxy.rate = None
    with line.client(state) as client:
        done = client.upload(film, part_size=MIB, labels={"batch": "b"})

    assert done.resumed_bytes == 0
    assert len(line.server.call("GET", "/videos")["items"]) == 2


def test_begun_anew_when_it_is_asked_for(line: Line, film: Path, state: Path) -> None:
    line.proxy.rate = 4 * MIB
    kill_at(line, start_sender(line, film), 4 * MIB)
    line.proxy.rate = None
    with line.client(state) as client:
        assert client.upload(film, part_size=MIB, resume=False).resumed_bytes == 0


def test_another_device_goes_on(line: Line, film: Path, tmp_path: Path, state: Path) -> None:
    line.proxy.rate = 4 * MIB
    kill_at(line, start_sender(line, film), 6 * MIB)
    line.proxy.rate = None
    (video,) = line.server.call("GET", "/videos")["items"]
    copy = shutil.copy(film, tmp_path / "copy.mp4")
    with Client(line.proxy.url, line.server.key, state=tmp_path / "elsewhere") as client:
        done = client.resume(video["id"], copy)

        assert done.video_id == video["id"]
        assert done.resumed_bytes >= 2 * MIB
        assert line.object(video["id"]) == film.read_bytes()
        assert client.resume(video["id"], copy).status == "uploaded"  # it is there: nothing is sent
        with pytest.raises(NotFound):
            client.resume("8b0c7f0e-6f9a-4b52-9e6a-3a9f7d1c2b10", copy)
        with pytest.raises(UploadMismatch):
            client.resume(video["id"], make_large_film(tmp_path / "other.mp4", SIZE - 1))
    assert line.put_bytes() <= SIZE + 4 * MIB + HEADS


def test_parts_that_arent_the_files_are_sent_again(line: Line, film: Path, tmp_path: Path, state: Path) -> None:
    line.proxy.rate = 4 * MIB
    kill_at(line, start_sender(line, film), 6 * MIB)
    line.proxy.rate = None
    (video,) = line.server.call("GET", "/videos")["items"]
    other = make_large_film(tmp_path / "other.mp4", SIZE, seed=6)  # of the same size, with other parts
    with line.client(state) as client:
        done = client.resume(video["id"], other)

    assert done.resumed_bytes == 0
    assert line.object(video["id"]) == other.read_bytes()


def test_parts_that_the_storage_has_lost_are_sent_again(line: Line, film: Path, state: Path) -> None:
    line.proxy.rate = 4 * MIB
    kill_at(line, start_sender(line, film), 6 * MIB)
    (lost,) = (line.server.data / "objects" / "multipart").iterdir()
    shutil.rmtree(lost)
    line.proxy.rate = None
    video_id, resumed, _ = finish(start_sender(line, film))

    assert resumed == 0
    assert line.object(video_id) == film.read_bytes()
    assert len(line.server.call("GET", "/videos")["items"]) == 1


def test_the_storage_loses_parts_while_they_are_sent(line: Line, film: Path, state: Path) -> None:
    line.proxy.rate = 4 * MIB
    with line.client(state) as client:
        done = behind(lambda: client.upload(film, part_size=MIB))
        line.proxy.wait(lambda: line.put_bytes() > 6 * MIB, "the upload")
        (lost,) = (line.server.data / "objects" / "multipart").iterdir()
        shutil.rmtree(lost)
        line.proxy.rate = None
        assert line.object(done().video_id) == film.read_bytes()


def test_an_upload_whose_end_was_missed_isnt_sent_again(line: Line, film: Path, state: Path) -> None:
    line.proxy.rate = 4 * MIB
    kill_at(line, start_sender(line, film), 4 * MIB)
    (record,) = state.glob("*.json")
    kept = record.read_bytes()
    line.proxy.rate = None
    video_id, _, _ = finish(start_sender(line, film))
    record.write_bytes(kept)  # as a client leaves it that is killed after `complete` and before it forgets
    before = line.put_bytes()

    assert finish(start_sender(line, film))[0] == video_id
    assert line.put_bytes() == before
    assert not list(state.iterdir())


def test_two_uploads_of_one_file_at_once(line: Line, film: Path, state: Path) -> None:
    line.proxy.rate = 8 * MIB
    both = [start_sender(line, film), start_sender(line, film)]
    videos = {finish(sender)[0] for sender in both}

    assert len(videos) == 2
    assert all(line.object(video_id) == film.read_bytes() for video_id in videos)
    assert not list(state.iterdir())


def test_a_file_that_changes_while_it_is_sent(line: Line, film: Path, state: Path) -> None:
    line.proxy.rate = 4 * MIB
    with line.client(state) as client:
        done = behind(lambda: client.upload(film, part_size=MIB))
        line.proxy.wait(lambda: line.put_bytes() > 4 * MIB, "the upload")
        with film.open("r+b") as file:
            file.seek(-100, 2)
            file.write(b"x" * 100)
        with pytest.raises(SourceChanged):
            done()
        line.proxy.rate = None
        assert line.object(client.upload(film, part_size=MIB).video_id) == film.read_bytes()


def test_nobody_is_told_at_once(tmp_path: Path, state: Path) -> None:
    film = make_large_film(tmp_path / "film.mp4", MIB)
    with Client(f"http://127.0.0.1:{free_port()}", state=state) as client, pytest.raises(ServerUnreachable):
        client.upload(film)


def test_a_state_folder_that_cant_be_made_only_costs_the_memory_of_it(line: Line, film: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with line.client(tmp_path / "file" / "state") as client:
        assert client.upload(film, part_size=MIB).status == "uploaded"


# ── memory ────────────────────────────────────────────────────────────────────────────────────


def test_memory_stays_flat(line: Line, tmp_path: Path) -> None:
    film = make_large_film(tmp_path / "film.mp4", 512 * MIB)
    video_id, _, memory_kb = finish(start_sender(line, film, part_size=64 * MIB))

    assert memory_kb < 150_000
    assert line.status(video_id) == "uploaded"

"""Hostile files through a real server: each gets its own code and remedy; nothing is read, asked, hurt or left."""

from __future__ import annotations

import ctypes
import io
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import httpx2
import imageio_ffmpeg
import psutil
import pytest

from hostile_files import ACCEPTED, HOSTILE, MARKER, Hostile, Kit
from reelmill.errors import catalogue
from reelmill.media import probe
from reelmill.objects.folder import FolderStore, load_secret
from running import Server

STATUS = {kind.code: kind.status_code for kind in catalogue()}
VERDICT_S = 15.0  #: wall seconds from asking to the verdict
MEMORY_BYTES = 1_000_000_000
LONG_CLIPS = {"cutting": {"kind": "fixed", "duration_s": 86_400}}
IN_ACCESS, IN_OPEN = 0x1, 0x20  #: inotify(7)
TEXT = {"text": f"Good: {chr(0x201C)}a{chr(0x201D)}"}


# ── what is watched ───────────────────────────────────────────────────────────────────────────


class Canaries:
    """A file and an address that notice whoever comes near."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "canary.ts"
        self.file.write_text(MARKER)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._watch = self._libc.inotify_init1(os.O_NONBLOCK)
        assert self._libc.inotify_add_watch(self._watch, bytes(self.file), IN_ACCESS | IN_OPEN) > 0

    def opened(self) -> bool:
        """Return whether anybody has opened the file since the last time."""
        try:
            return bool(os.read(self._watch, 1 << 16))
        except BlockingIOError:
            return False

    def called(self) -> bool:
        """Return whether anybody has connected since the last time."""
        try:
            self.listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        os.close(self._watch)
        self.listener.close()


class Probes:
    """Looks at the server's probing children, every few milliseconds, from outside."""

    def __init__(self, server: int) -> None:
        self.server = server
        self.seen: dict[int, int] = {}  #: largest resident memory of each, bytes
        self.limits: set[int] = set()  #: of their address space, bytes
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._ended.wait(0.005):
            for child in self._children():
                with suppress(OSError):  # it has just ended
                    self._look_at(child)

    def _children(self) -> list[int]:
        found = []
        for task in Path(f"/proc/{self.server}/task").iterdir():
            with suppress(OSError):  # a thread that has just ended
                found += [int(word) for word in (task / "children").read_text().split()]
        return found

    def _look_at(self, child: int) -> None:
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\x00")
        if not any(word.endswith(b"probe_child.py") for word in words):
            return
        limit = Path(f"/proc/{child}/limits").read_text().partition("Max address space")[2].split()[0]
        if limit == "unlimited":
            return  # a probe that hasn't put on its limits yet, and so has opened nothing
        told = dict(line.split(":", 1) for line in Path(f"/proc/{child}/status").read_text().splitlines())
        if "VmHWM" in told:
            self.seen[child] = max(self.seen.get(child, 0), int(told["VmHWM"].split()[0]) << 10)
            self.limits.add(int(limit))


@dataclass
class Place:
    """A server at work, and everything around it that is watched."""

    server: Server
    kit: Kit
    canaries: Canaries
    probes: Probes
    threads: set[int]  #: of the server, from its start
    pid: int
    replies: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")

    def ask(self, path: str, body: dict[str, Any]) -> httpx2.Response:
        """Send a request; its JSON has only ASCII letters, so that any name can be said."""
        reply = self.server.client.post(
            f"/api/v1{path}", content=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )
        self.replies.append(reply.text)
        return reply


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("hostile")
    canaries = Canaries(folder / "canaries")
    (folder / "kit").mkdir()
    with Server(folder / "data", workers=2, sweep_s=0.5, grace_s=1, backoff_s=0.1) as server:
        assert server.process is not None
        pid = server.process.pid
        probes = Probes(pid)
        threads = {thread.id for thread in psutil.Process(pid).threads()}
        try:
            yield Place(server, Kit(folder / "kit", canaries.file, canaries.url), canaries, probes, threads, pid)
        finally:
            probes.close()
            canaries.close()


# ── one file ──────────────────────────────────────────────────────────────────────────────────


def send(place: Place, hostile: Hostile, name: str, content: bytes, pipeline: bool) -> tuple[httpx2.Response, Any]:
    """Announce, send and complete as a client does; return the first refusal or the last reply, and the first one."""
    about = {"filename": name, "size": len(content), "content_type": "video/mp4"} | hostile.announced
    if pipeline:
        about |= {"pipeline": "clips", "params": LONG_CLIPS}
    reply = place.ask("/uploads/initiate", about)
    if reply.status_code != 201:
        return reply, None
    begun = reply.json()
    if hostile.through == "put":
        upload = begun["upload"]
        sent = httpx2.put(upload["url"], content=content, headers=upload["headers"], timeout=60, trust_env=False)
        place.replies.append(sent.text)
        if sent.status_code != 200:
            return sent, begun
    elif hostile.through == "store":
        put_around(place, begun["video_id"], content)
    began = time.monotonic()
    reply = place.ask("/uploads/complete", {"video_id": begun["video_id"]})
    took = time.monotonic() - began
    place.slowest = max(place.slowest, (took, hostile.name))
    assert took <= VERDICT_S, f"the verdict took {took:.1f} s"
    return reply, begun


def put_around(place: Place, video_id: str, content: bytes) -> None:
    """Put an object where the upload belongs, as whoever shares the bucket could."""
    data = place.server.data
    store = FolderStore(data / "objects", secret=load_secret(data / "secret"), base_url=place.server.url)
    incoming = store.begin_put(
        f"default/original/{video_id}/source", size_bytes=len(content), content_type="video/mp4", sha256=None
    )
    try:
        incoming.write(content)
        incoming.commit()
    finally:
        incoming.abort()


def check_refusal(place: Place, hostile: Hostile, reply: httpx2.Response, begun: Any) -> None:
    told = reply.json()
    assert (reply.status_code, told["code"]) == (STATUS[hostile.code], hostile.code), told
    assert told["remedy"] and told["why"] and told["detail"], told
    assert hostile.says in told["detail"], told
    assert str(place.server.data) not in reply.text, "where files lie is the server's own business"
    if begun is None or hostile.code == "body_mismatch":
        return
    there = place.server.call("GET", f"/uploads/{begun['video_id']}")
    assert there["arrived_bytes"] is None, "rubbish is thrown away"
    if begun["job_id"]:
        status = place.server.call("GET", f"/jobs/{begun['job_id']}/status")
        assert (status["status"], status["error"]["code"]) == ("failed", hostile.code)
        assert status["error"]["remedy"]
    if hostile.through == "put":
        again = place.ask("/uploads/complete", {"video_id": begun["video_id"]}).json()
        assert again["code"] == hostile.code or (begun["job_id"] is None and again["code"] == "media_rejected")
        assert again["remedy"], "whoever asks again is told again what to do"


def check_clips(place: Place, begun: Any) -> None:
    """The job makes clips that hold every frame of the source."""
    status = place.server.wait(begun["job_id"])
    assert status["status"] == "completed", status
    cut = place.server.call("POST", "/videos/analyze-duration", json={"video_id": begun["video_id"], **LONG_CLIPS})
    assert len(status["download_urls"]) == cut["segment_count"]
    for segment, url in zip(cut["segments"], status["download_urls"], strict=True):
        film = httpx2.get(url, timeout=60, trust_env=False).content
        with av.open(io.BytesIO(film)) as container:
            assert sum(1 for _ in container.decode(video=0)) == segment["frames"]


@pytest.mark.req("B-02", "C-07", "D-01")
@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_a_hostile_file_gets_its_verdict(place: Place, hostile: Hostile) -> None:
    content = hostile.make(place.kit)
    for number, name in enumerate(hostile.names):
        reply, begun = send(place, hostile, name, content, pipeline=number == 0)
        if hostile.code == ACCEPTED:
            assert reply.status_code == 200, reply.text
            if number == 0:
                check_clips(place, begun)
            video = place.server.call("GET", f"/videos/{begun['video_id']}")
            assert video["filename"] == name
        else:
            check_refusal(place, hostile, reply, begun)


# ── what became of everything else, after all of them ─────────────────────────────────────────


def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE) >= 45
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE)
    assert {hostile.code for hostile in HOSTILE} <= {*STATUS, ACCEPTED}


@pytest.mark.req("C-07")
def test_nothing_was_read_and_nobody_was_asked(place: Place) -> None:
    assert not place.canaries.opened(), "the canary file was opened"
    assert not place.canaries.called(), "the canary address was called"
    assert not [reply for reply in place.replies if MARKER in reply]
    marker = MARKER.encode()
    for path in place.server.data.rglob("*"):
        if path.is_file() and path.stat().st_size < 64 << 20:
            assert marker not in path.read_bytes(), path
    assert MARKER not in place.server.log.read_text()


@pytest.mark.req("C-07", "E-08")
def test_nobody_was_hurt_and_nothing_is_left(place: Place) -> None:
    process = place.server.process
    assert process is not None and process.poll() is None and process.pid == place.pid
    assert place.threads <= {thread.id for thread in psutil.Process(place.pid).threads()}, "a worker's thread is gone"
    assert not place.server.children(), "a child process is left"
    assert not place.server.scratch(), "scratch isn't empty"
    lines = place.server.log.read_text().splitlines()
    assert not [line for line in lines if "Traceback" in line]
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    assert logged and not [line for line in logged if line["level"] in ("error", "critical")]


@pytest.mark.req("C-07")
def test_probes_stay_within_their_memory(place: Place) -> None:
    assert place.probes.seen, "no probe was seen"
    assert place.probes.limits and max(place.probes.limits) <= MEMORY_BYTES, "the kernel keeps the limit"
    assert max(place.probes.seen.values()) < MEMORY_BYTES
    print(
        f"{len(place.probes.seen)} probes seen, largest {max(place.probes.seen.values()) / 1e6:.0f} MB; "
        f"slowest verdict {place.slowest[0]:.1f} s ({place.slowest[1]}); {len(HOSTILE)} files, "
        f"{sum(len(hostile.names) for hostile in HOSTILE)} uploads"
    )


@pytest.mark.req("B-02", "B-04", "C-07")
def test_an_honest_film_is_cut_as_ever(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "good.mp4"
    path.write_bytes(place.kit.film())
    params = {"cutting": {"kind": "fixed", "duration_s": 0.25}, "text": TEXT}
    begun = place.server.upload(path, pipeline="clips", params=params)
    status = place.server.wait(begun["job_id"])
    assert (status["status"], len(status["download_urls"])) == ("completed", 4)


def test_an_honest_film_of_the_largest_picture_is_taken(tmp_path: Path) -> None:
    """The limit of memory refuses nobody who keeps to the limit of pixels."""
    words = ("-c:v", "libx264", "-preset", "ultrafast", "-refs", "8", "-bf", "3", "-an")
    path = tmp_path / "large.mp4"
    path.write_bytes(Kit(tmp_path, tmp_path, "").film("mp4", *words, size="8192x8192", seconds=0.2))
    assert probe(str(path), scratch=tmp_path).video.frame_count == 5


# ── the traps work ────────────────────────────────────────────────────────────────────────────


@contextmanager
def fresh(folder: Path) -> Iterator[Canaries]:
    canaries = Canaries(folder)
    try:
        yield canaries
    finally:
        canaries.close()


@pytest.mark.parametrize(
    ("name", "suffix", "options"),
    [
        ("hls-of-a-file", "m3u8", ["-extension_picky", "0", "-allowed_extensions", "ALL"]),
        ("hls-of-an-address", "m3u8", ["-extension_picky", "0", "-protocol_whitelist", "file,http,tcp"]),
        ("concat-of-a-file", "txt", ["-safe", "0"]),
        ("concat-of-an-address", "txt", ["-safe", "0", "-protocol_whitelist", "file,http,tcp"]),
        ("dash-manifest", "mpd", ["-protocol_whitelist", "file,http,tcp"]),
        ("alias-to-a-file", "mov", ["-enable_drefs", "1", "-use_absolute_path", "1"]),
    ],
)
def test_a_careless_ffmpeg_walks_into_the_trap(tmp_path: Path, name: str, suffix: str, options: list[str]) -> None:
    """Else the canaries above would prove nothing."""
    with fresh(tmp_path / "canaries") as canaries:
        hostile = next(one for one in HOSTILE if one.name == name)
        path = tmp_path / f"film.{suffix}"
        path.write_bytes(hostile.make(Kit(tmp_path, canaries.file, canaries.url)))
        words = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-rw_timeout", "300000", *options]
        careless = subprocess.Popen([*words, "-i", str(path), "-f", "null", "-"], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        try:
            while not (noticed := canaries.opened() or canaries.called()) and time.monotonic() < deadline:
                if careless.poll() is not None:
                    noticed = canaries.opened() or canaries.called()
                    break
                time.sleep(0.02)
        finally:
            careless.kill()
            careless.wait(10)
        assert noticed

"""The command line as its users meet it: real processes, real videos."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import sqlite3
import stat
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import av
import httpx2
import psutil
import pytest

from reelmill.cli.options import LOCAL_KEY_FILE
from reelmill.client import Client
from reelmill.media import find_ffmpeg
from running import REELMILL, Server, free_port

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("REELMILL_")}


def make_film(path: Path, seconds: float = 6, rate: int = 25) -> Path:
    """Make a small film with sound."""
    command = [
        find_ffmpeg(None), "-nostdin", "-loglevel", "error", "-y",
        "-f", "lavfi", "-i", f"testsrc2=size=320x240:rate={rate}:duration={seconds}",
        "-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds}",
        "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", path,
    ]  # fmt: skip
    subprocess.run([str(word) for word in command], check=True, timeout=60)
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4")


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long enough to be interrupted in the middle of its clips."""
    return make_film(tmp_path_factory.mktemp("film") / "long.mp4", seconds=300)


SLOW = json.dumps({"cutting": {"duration_s": 150}, "video": {"preset": "medium", "crf": 10, "rendering": "full"}})


def run(folder: Path, *words: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `reelmill …` in a folder, its data folder there too."""
    command = [str(REELMILL), *(str(word) for word in words)]
    return subprocess.run(
        command, cwd=folder, env=CLEAN | env, capture_output=True, text=True, timeout=120, check=False
    )


def ran(folder: Path, *words: object, **env: str) -> str:
    done = run(folder, *words, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def serving(folder: Path, *words: str, **env: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Start `reelmill serve --json`; yield its process and what it said."""
    command = [str(REELMILL), "serve", "--json", "--port", "0", *words]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=CLEAN | env, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (folder / "server.log").read_text()
        yield process, json.loads(line)
    finally:
        process.terminate()
        process.wait(45)
        process.stdout.close()


def frames(path: Path) -> int:
    with av.open(str(path)) as media:
        return sum(1 for _ in media.decode(video=0))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def working_below(folder: Path) -> list[str]:
    """Return the command lines of processes that name a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(folder) in word for word in words):
            found.append(" ".join(words))
    return found


def gone_below(folder: Path, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while working_below(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


# ── serve ─────────────────────────────────────────────────────────────────────────────────────


def test_serve_says_where_it_is_and_its_link_signs_in_once(tmp_path: Path) -> None:
    command = [str(REELMILL), "serve", "--port", "0", "--workers", "1"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=CLEAN, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = []
    while not lines or not lines[-1].startswith("Ctrl-C"):
        lines.append(process.stdout.readline())
        assert lines[-1], process.communicate()[1]
    said = {line[2:15].strip(): line[16:].strip() for line in lines if line.startswith("  ")}
    try:
        assert said["listening on"].startswith("http://127.0.0.1:")
        assert said["data folder"] == str(tmp_path / "reelmill-data")
        assert said["workers"] == "1"
        link = said["sign in once"]
        assert link.startswith(f"{said['listening on']}/signin?token=")
        with httpx2.Client(trust_env=False) as browser:
            first = browser.get(link)
            assert (first.status_code, "httponly" in first.headers["set-cookie"].lower()) == (303, True)
            assert browser.get(f"{said['listening on']}/api/v1/jobs").status_code == 200
            assert browser.get(link).status_code == 401
    finally:
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        rest, log = process.communicate(timeout=20)

    assert process.returncode == 0, log
    assert rest == ""
    assert time.monotonic() - began < 5
    assert "token=" not in log


def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, said):
        second = run(tmp_path, "serve", "--port", "0")

        assert second.returncode == 2
        assert "data_folder_locked" in second.stderr
        assert "--data DIR" in second.stderr
        assert httpx2.get(f"{said['url']}/readyz", trust_env=False).status_code == 200


def test_a_port_in_use_is_named_before_anything_is_made(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, said):
        port = said["url"].rpartition(":")[2]
        done = run(tmp_path, "serve", "--port", port, "--data", "other")

        assert done.returncode == 2
        assert f"REELMILL_PORT={port}" in done.stderr
        assert not (tmp_path / "other").exists()


def test_a_host_that_isnt_ours(tmp_path: Path) -> None:
    done = run(tmp_path, "serve", "--host", "192.0.2.1", "--port", "0", "--data", "other")

    assert done.returncode == 2
    assert "192.0.2.1" in done.stderr
    assert not (tmp_path / "other").exists()


def test_a_public_address_needs_a_key(tmp_path: Path) -> None:
    with serving(tmp_path):
        pass  # leaves the key of this machine's user, which is nobody else's
    refused = run(tmp_path, "serve", "--host", "0.0.0.0", "--port", "0")

    assert refused.returncode == 2
    assert "key_needed" in refused.stderr
    assert "reelmill keys create" in refused.stderr

    key = ran(tmp_path, "keys", "create", "me", "--quiet").strip()
    with serving(tmp_path, "--host", "0.0.0.0") as (_, said):
        assert said["signin_url"] is None
        assert "jobs" not in ran(tmp_path, "jobs", "list", "--url", said["url"], REELMILL_API_KEY=key)


def test_a_stop_doesnt_wait_for_event_streams(tmp_path: Path, film: Path) -> None:
    with serving(tmp_path) as (process, said), Client(said["url"], key_of(tmp_path)) as client:
        job_id = client.initiate(film, pipeline="clips").job_id
        headers = {"Authorization": f"Bearer {key_of(tmp_path)}"}
        url = f"{said['url']}/api/v1/jobs/{job_id}/events"
        with httpx2.stream("GET", url, headers=headers, timeout=30, trust_env=False) as stream:
            lines = stream.iter_lines()
            assert any(line == "event: job.created" for line in lines)
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            for _ in lines:
                pass  # ends properly: no exception
        assert process.wait(20) == 0
        assert time.monotonic() - began < 5

    assert "ERROR" not in (tmp_path / "server.log").read_text()
    assert '"level": "error"' not in (tmp_path / "server.log").read_text()


def test_ctrl_c_ends_a_server_with_130(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


def test_a_bad_setting_is_named_with_a_good_value(tmp_path: Path) -> None:
    done = run(tmp_path, "serve", REELMILL_PORT="eighty")

    assert done.returncode == 2
    assert "REELMILL_PORT='eighty'" in done.stderr


# ── keys ──────────────────────────────────────────────────────────────────────────────────────


def key_of(folder: Path) -> str:
    return (folder / "reelmill-data" / LOCAL_KEY_FILE).read_text().strip()


def test_the_first_key_needs_no_server_and_a_revoked_one_stops_working(tmp_path: Path) -> None:
    key = ran(tmp_path, "keys", "create", "shop", "--scope", "upload", "--scope", "jobs:read", "--quiet").strip()
    (listed,) = json.loads(ran(tmp_path, "keys", "list", "--json"))
    assert (listed["name"], listed["scopes"], listed["tenant"]) == ("shop", ["upload", "jobs:read"], "default")
    assert key.startswith(listed["prefix"])
    assert key not in json.dumps(listed)

    with serving(tmp_path) as (_, said):
        env = {"REELMILL_URL": said["url"], "REELMILL_API_KEY": key}
        ran(tmp_path, "jobs", "list", **env)
        forbidden = run(tmp_path, "jobs", "cancel", uuid.uuid4(), "--json", **env)
        assert forbidden.returncode == 4
        assert json.loads(forbidden.stderr)["error"]["code"] == "scope_missing"
        assert "revoked" in ran(tmp_path, "keys", "revoke", listed["id"])
        denied = run(tmp_path, "jobs", "list", **env)
        assert denied.returncode == 4
        assert "key_invalid" in denied.stderr


def test_a_key_with_an_unknown_scope_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "keys", "create", "x", "--scope", "everything")

    assert done.returncode == 2
    assert "jobs:read" in done.stderr
    assert json.loads(ran(tmp_path, "keys", "list", "--json")) == []


@pytest.mark.parametrize("words", [["x" * 129], [""], ["x", "--tenant", ".."], ["x", "--tenant", "a/b"]])
def test_a_key_with_a_name_that_cannot_be_kept_is_refused(tmp_path: Path, words: list[str]) -> None:
    done = run(tmp_path, "keys", "create", *words, "--json")

    assert (done.returncode, json.loads(done.stderr)["error"]["code"]) == (2, "request_invalid")


@pytest.mark.parametrize("value", ["proxy.example", "10.0.0.1/8", "*", ""])
def test_trusted_proxies_are_addresses(tmp_path: Path, value: str) -> None:
    done = run(tmp_path, "serve", REELMILL_TRUSTED_PROXIES=value)

    assert done.returncode == 2
    assert f"REELMILL_TRUSTED_PROXIES={value!r}" in done.stderr and "10.0.0.1,192.168.0.0/24" in done.stderr


def test_a_key_is_printed_as_json(tmp_path: Path) -> None:
    made = json.loads(ran(tmp_path, "keys", "create", "x", "--tenant", "acme", "--json"))

    assert made["key"].startswith(made["prefix"])
    assert (made["tenant"], made["revoked_at"]) == ("acme", None)


def test_revoking_a_key_that_isnt_there(tmp_path: Path) -> None:
    assert run(tmp_path, "keys", "revoke", uuid.uuid4()).returncode == 2


def test_a_key_is_rotated_while_the_server_runs_and_the_audit_log_tells(tmp_path: Path) -> None:
    old = json.loads(ran(tmp_path, "keys", "create", "shop", "--tenant", "acme", "--scope", "jobs:read", "--json"))
    with serving(tmp_path) as (_, said):
        url = {"REELMILL_URL": said["url"]}
        new = json.loads(ran(tmp_path, "keys", "rotate", old["id"], "--overlap", "1h", "--json"))
        assert (new["name"], new["tenant"], new["scopes"]) == ("shop", "acme", ["jobs:read"])
        assert new["replaces"]["id"] == old["id"] and new["replaces"]["active"]
        for key in (old["key"], new["key"]):
            ran(tmp_path, "jobs", "list", REELMILL_API_KEY=key, **url)
        table = ran(tmp_path, "keys", "list")
        assert "until 2" in table and "valid" in table
        last = ran(tmp_path, "keys", "rotate", new["id"], "--quiet").strip()
        assert run(tmp_path, "jobs", "list", REELMILL_API_KEY=new["key"], **url).returncode == 4
        ran(tmp_path, "jobs", "list", REELMILL_API_KEY=last, **url)
        again = run(tmp_path, "keys", "rotate", new["id"], "--json")
        assert (again.returncode, json.loads(again.stderr)["error"]["code"]) == (2, "key_revoked")

    entries = json.loads(ran(tmp_path, "audit", "--tenant", "acme", "--json"))
    assert [(one["action"], one["target"], one["actor"]) for one in entries] == [
        ("key.rotate", new["id"], "operator"),
        ("key.rotate", old["id"], "operator"),
        ("key.create", old["id"], "operator"),
    ]
    everything = ran(tmp_path, "audit")
    assert "acme" in everything and "default" in everything, "the server's own key was made in another tenant"
    assert len(ran(tmp_path, "audit", "--action", "key.rotate", "--limit", "1").splitlines()) == 2
    for key in (old["key"], new["key"], last):
        assert key not in json.dumps(entries) + everything


@pytest.mark.parametrize("overlap", ["8d", "1w", "-1h", "1.5h", "h", "", "99999999"])
def test_an_overlap_that_cannot_be_is_refused(tmp_path: Path, overlap: str) -> None:
    done = run(tmp_path, "keys", "rotate", uuid.uuid4(), f"--overlap={overlap}", "--json")

    assert done.returncode == 2
    assert json.loads(done.stderr)["error"]["code"] == "request_invalid"


def test_this_machines_user_needs_no_key(tmp_path: Path) -> None:
    for _ in range(2):  # a second start takes the same key
        with serving(tmp_path) as (_, said):
            path = tmp_path / "reelmill-data" / LOCAL_KEY_FILE
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert "ID" in ran(tmp_path, "jobs", "list", REELMILL_URL=said["url"])
            stranger = run(tmp_path, "jobs", "list", REELMILL_URL=said["url"], REELMILL_DATA=str(tmp_path / "none"))
            assert stranger.returncode == 4
            assert "key_missing" in stranger.stderr
    assert len(json.loads(ran(tmp_path, "keys", "list", "--json"))) == 1


def test_no_server(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run(tmp_path, "jobs", "list", "--json", REELMILL_URL=url)

    assert (done.returncode, done.stdout) == (3, "")
    told = json.loads(done.stderr)["error"]
    assert told["code"] == "server_unreachable"
    assert url in told["detail"]
    assert "reelmill serve" in told["remedy"]


# ── pipelines, version ────────────────────────────────────────────────────────────────────────


def test_pipelines_are_told_with_stages_and_schemas(tmp_path: Path) -> None:
    told = {pipeline["name"]: pipeline for pipeline in json.loads(ran(tmp_path, "pipelines", "--json"))}

    clips = told["clips"]
    assert [stage["name"] for stage in clips["stages"]] == ["text", "render", "publish"]
    assert sum(stage["weight"] for stage in clips["stages"]) == 100
    assert set(clips["params"]["properties"]) >= {"cutting", "text", "video"}
    assert "clips" in ran(tmp_path, "pipelines")
    assert list(tmp_path.iterdir()) == [], "looking leaves nothing behind"


def test_version(tmp_path: Path) -> None:
    from reelmill import __version__

    assert ran(tmp_path, "version") == ran(tmp_path, "--version") == f"reelmill {__version__}\n"
    assert json.loads(ran(tmp_path, "version", "--json"))["version"] == __version__


def test_a_mistyped_command(tmp_path: Path) -> None:
    done = run(tmp_path, "jobs", "lits")

    assert done.returncode == 2
    assert "lits" in done.stderr


# ── clip ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("B-02", "B-04", "B-07")
def test_clip_makes_the_same_bytes_as_the_server(tmp_path: Path, film: Path) -> None:
    before = (sha256(film), film.stat().st_ino)
    options = ["--every", "2.5", "--text", "Same", "--position", "top", "--box", "#102030", "--outline", "none"]
    out = ran(tmp_path, "clip", film, *options)

    folder = tmp_path / "film-clips"
    assert "3 clips" in out
    names = {path.name for path in folder.iterdir()}
    clips = [f"clip-000{n}.mp4" for n in (1, 2, 3)]
    assert names == {*clips, "clip-0001.jpg", "clip-0002.jpg", "clip-0003.jpg", "manifest.json", "contact-sheet.png"}
    assert sum(frames(folder / name) for name in clips) == frames(film)
    assert (sha256(film), film.stat().st_ino) == before, "the user's file is as it was, where it was"
    assert {path.name for path in tmp_path.iterdir()} == {"film-clips"}, "nothing else is left"
    mask = os.umask(0)
    os.umask(mask)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o666 & ~mask}

    params = {
        "cutting": {"duration_s": 2.5},
        "text": {"text": "Same", "position": "top", "box_color": "#102030", "outline_color": None},
    }
    with Server(tmp_path / "server") as server:
        job_id = server.upload(film, pipeline="clips", params=params)["job_id"]
        env = {"REELMILL_URL": server.url, "REELMILL_API_KEY": server.key}
        ran(tmp_path, "watch", job_id, **env)
        ran(tmp_path, "jobs", "download", job_id, "--out", "served", **env)
    for name in names - {"manifest.json"}:  # which names the job
        assert sha256(tmp_path / "served" / name) == sha256(folder / name), name


def test_clip_json_is_the_manifest_and_nothing_else(tmp_path: Path, film: Path) -> None:
    done = run(tmp_path, "clip", film, "--every", "3", "--out", "here", "--json")

    assert (done.returncode, done.stderr) == (0, "")
    manifest = json.loads(done.stdout)
    assert manifest["folder"] == "here"
    assert [clip["frames"] for clip in manifest["clips"]] == [75, 75]
    assert manifest["source"]["frames"] == 150
    for clip in manifest["clips"]:
        assert sha256(tmp_path / "here" / clip["name"]) == clip["sha256"]


def test_clip_again_replaces_its_clips_and_nothing_of_yours(tmp_path: Path, film: Path) -> None:
    ran(tmp_path, "clip", film, "--every", "2")
    folder = tmp_path / "film-clips"
    (folder / "notes.txt").write_text("mine")
    ran(tmp_path, "clip", film, "--every", "4")

    assert {path.name for path in folder.iterdir()} == {
        "clip-0001.mp4", "clip-0001.jpg", "clip-0002.mp4", "clip-0002.jpg",
        "manifest.json", "contact-sheet.png", "notes.txt",
    }  # fmt: skip


@pytest.mark.req("C-07")
def test_one_bad_file_doesnt_stop_the_others(tmp_path: Path, film: Path) -> None:
    (tmp_path / "text.mp4").write_text("This is no video.\n" * 100)
    done = run(tmp_path, "clip", tmp_path / "text.mp4", film, "--out", "all", "--json")

    assert done.returncode == 1
    bad, good = (json.loads(line) for line in done.stdout.splitlines())
    assert bad["error"]["code"] == "not_a_video"
    assert good["folder"] == "all/film"
    assert {path.name for path in (tmp_path / "all").iterdir()} == {"film"}


def test_a_file_that_isnt_there(tmp_path: Path) -> None:
    done = run(tmp_path, "clip", "nowhere.mp4")

    assert done.returncode == 2
    assert "nowhere.mp4" in done.stderr
    assert "does not exist" in done.stderr


def test_a_file_that_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("This is no video.\n" * 100)
    done = run(tmp_path, "clip", "notes.txt")

    assert (done.returncode, done.stdout) == (1, "")
    assert "notes.txt" in done.stderr
    assert "not_a_video" in done.stderr
    assert "remedy:" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt"}


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()

    assert run(tmp_path, "clip", "empty.mp4").returncode in (1, 2)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--every", "0"], "cutting.duration_s"),
        (["--text", "x", "--position", "middle"], "text.position"),
        (["--text", "x", "--color", "red"], "text.color"),
        (["--position", "top"], "text.text"),
        (["--params", '{"video": {"crf": 99}}'], "video.crf"),
        (["--params", '{"unknown": 1}'], "unknown"),
        (["--params", "{"], "--params"),
        (["--text", "word " * 900, "--size", "40"], "text"),
    ],
)
def test_bad_parameters_are_named(tmp_path: Path, film: Path, options: list[str], named: str) -> None:
    done = run(tmp_path, "clip", film, *options)

    assert done.returncode == 2, done.stderr
    assert named in done.stderr
    assert "remedy:" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_progress_is_plain_lines_when_nobody_watches(tmp_path: Path, film: Path) -> None:
    done = run(tmp_path, "clip", film, "--every", "2")

    assert "film.mp4  100 %" in done.stderr
    assert "\x1b" not in done.stderr
    assert len(done.stderr.splitlines()) < 30


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, long_film: Path) -> None:
    process = subprocess.Popen(
        [str(REELMILL), "clip", str(long_film), "--params", SLOW], cwd=tmp_path, env=CLEAN, start_new_session=True
    )
    wait_for_ffmpeg(tmp_path)
    process.send_signal(signal.SIGINT)

    assert process.wait(20) == 130
    assert gone_below(tmp_path), working_below(tmp_path)
    assert list(tmp_path.iterdir()) == []


def wait_for_ffmpeg(folder: Path) -> None:
    deadline = time.monotonic() + 30
    while not any("ffmpeg" in line and "libx264" in line for line in working_below(folder)):
        assert time.monotonic() < deadline, "no ffmpeg was started"
        time.sleep(0.05)


# ── jobs, watch ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("jobs") / "data", workers=2) as running:
        yield running


def at(server: Server) -> dict[str, str]:
    return {"REELMILL_URL": server.url, "REELMILL_API_KEY": server.key}


def test_a_job_is_watched_listed_shown_and_downloaded(tmp_path: Path, film: Path, server: Server) -> None:
    job_id = server.upload(film, pipeline="clips", params={"cutting": {"duration_s": 3}})["job_id"]
    watched = run(tmp_path, "watch", job_id, **at(server))

    assert watched.returncode == 0, watched.stderr
    assert f"{job_id} is completed: 2 results." in watched.stdout
    assert "100 %" in watched.stderr
    events = [json.loads(line) for line in ran(tmp_path, "watch", job_id, "--json", **at(server)).splitlines()]
    seqs = [event["seq"] for event in events if event["seq"] is not None]
    assert seqs == list(range(1, len(seqs) + 1)), "each event once, in order"
    assert job_id in ran(tmp_path, "jobs", "list", "--status", "completed", **at(server))
    listed = json.loads(ran(tmp_path, "jobs", "list", "--json", **at(server)))["items"]
    assert job_id in [job["job_id"] for job in listed]
    page = ran(tmp_path, "jobs", "show", job_id, **at(server))
    assert "completed, 100 %" in page
    assert "render" in page
    assert any(
        step["attempts"][0]["command"]
        for step in json.loads(ran(tmp_path, "jobs", "show", job_id, "--json", **at(server)))["steps"]
    )
    ran(tmp_path, "jobs", "download", job_id, **at(server))
    folder = tmp_path / f"clips-{job_id[:8]}"
    assert sum(frames(path) for path in folder.glob("*.mp4")) == frames(film)
    assert run(tmp_path, "jobs", "cancel", job_id, **at(server)).returncode == 2


def test_a_cancelled_job_is_said_to_be_and_runs_again(tmp_path: Path, long_film: Path, server: Server) -> None:
    job_id = server.upload(long_film, pipeline="clips", params=json.loads(SLOW))["job_id"]
    early = run(tmp_path, "jobs", "download", job_id, **at(server))
    assert early.returncode == 2
    assert "not_ready" in early.stderr
    assert "is cancelled" in ran(tmp_path, "jobs", "cancel", job_id, **at(server))
    watched = run(tmp_path, "watch", job_id, **at(server))
    assert (watched.returncode, "cancelled" in watched.stderr) == (1, True)
    assert "queued" in ran(tmp_path, "jobs", "retry", job_id, **at(server)) + "queued"
    assert json.loads(ran(tmp_path, "jobs", "show", job_id, "--json", **at(server)))["run"] == 2
    ran(tmp_path, "jobs", "cancel", job_id, **at(server))


@pytest.mark.req("A-08")
def test_a_jobs_priority_is_changed_until_it_ends(tmp_path: Path, film: Path, server: Server) -> None:
    about = {"filename": "x.mp4", "size": 9, "content_type": "video/mp4", "pipeline": "clips"}
    job_id = server.call("POST", "/uploads/initiate", json=about)["job_id"]
    assert f"{job_id} is awaiting_upload, with priority -7." in ran(
        tmp_path, "jobs", "priority", job_id, "-7", **at(server)
    )
    assert server.call("GET", f"/jobs/{job_id}")["priority"] == -7
    assert json.loads(ran(tmp_path, "jobs", "priority", job_id, 1000, "--json", **at(server)))["job_id"] == job_id
    assert server.call("GET", f"/jobs/{job_id}")["priority"] == 1000
    assert run(tmp_path, "jobs", "priority", job_id, 1001, **at(server)).returncode == 2
    ran(tmp_path, "jobs", "cancel", job_id, **at(server))
    late = run(tmp_path, "jobs", "priority", job_id, 1, **at(server))
    assert (late.returncode, "cancelled: its priority has no meaning any more" in late.stderr) == (2, True)


@pytest.mark.req("A-08")
def test_what_a_jobs_children_used_is_charged_to_its_tenant(film: Path, server: Server) -> None:
    def used_s() -> float:
        with closing(sqlite3.connect(server.data / "reelmill.db")) as database:
            clock = "(julianday('now') - 2440587.5) * 86400"
            (row,) = database.execute(f"SELECT max(usage), {clock} FROM lanes WHERE tenant = 'default'")
        return 0.0 if row[0] is None else math.exp(row[0] - row[1] * math.log(2) / 3600)

    before = used_s()
    job_id = server.upload(film, pipeline="clips", params={"cutting": {"duration_s": 3}})["job_id"]
    server.wait(job_id)
    clips = server.call("GET", f"/jobs/{job_id}/artifacts")["items"]
    made_s = sum(clip["meta"]["cpu_s"] for clip in clips if clip["kind"] == "clip")
    assert made_s > 0
    assert used_s() > before * 0.9 + made_s * 0.9


def test_a_failed_job_is_told_with_its_remedy(tmp_path: Path, film: Path, server: Server) -> None:
    begun = server.call(
        "POST", "/uploads/initiate",
        json={"filename": "x", "size": 9, "content_type": "video/mp4", "pipeline": "clips"},
    )  # fmt: skip
    server.call("POST", "/uploads/complete", expect=400, json={"video_id": begun["video_id"]})
    watched = run(tmp_path, "watch", begun["job_id"], "--json", **at(server))

    assert watched.returncode == 1
    assert json.loads(watched.stderr)["error"]["code"] == "upload_missing"
    assert "remedy:" in run(tmp_path, "watch", begun["job_id"], **at(server)).stderr


def test_an_unknown_job(tmp_path: Path, server: Server) -> None:
    for words in (["jobs", "show"], ["watch"], ["jobs", "download"]):
        done = run(tmp_path, *words, uuid.uuid4(), **at(server))
        assert done.returncode == 2
        assert "not_found" in done.stderr


@pytest.mark.req("D-03")
def test_watch_goes_on_when_the_server_was_killed_and_started_again(tmp_path: Path, film: Path) -> None:
    with Server(tmp_path / "data", sweep_s=0.5) as server:
        with Client(server.url, server.key) as client:
            begun = client.initiate(film, pipeline="clips", params={"cutting": {"duration_s": 2}})
        assert begun.job_id is not None
        watching = subprocess.Popen(
            [str(REELMILL), "watch", begun.job_id, "--json"],
            env=CLEAN | at(server), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        server.kill()
        time.sleep(1)
        server.start()
        with Client(server.url, server.key) as client:
            client.put(begun.upload, film)
            client.complete(begun.video_id)
        rest, errors = watching.communicate(timeout=90)

    assert watching.returncode == 0, errors
    events = [first, *(json.loads(line) for line in rest.splitlines())]
    seqs = [event["seq"] for event in events if event["seq"] is not None]
    assert seqs == list(range(1, len(seqs) + 1)), "none is missing, none came twice"


# ── the client ────────────────────────────────────────────────────────────────────────────────


def test_the_client_tells_how_far_it_is_and_raises_what_the_server_says(
    tmp_path: Path, film: Path, server: Server
) -> None:
    from reelmill.errors import BodyMismatch, ParamsInvalid, SignatureInvalid, UploadMissing

    sent: list[int] = []
    with Client(server.url, server.key) as client:
        with pytest.raises(ParamsInvalid) as refused:
            client.initiate(film, pipeline="clips", params={"cutting": {"duration_s": -1}})
        assert refused.value.extra["errors"][0]["field"] == "cutting.duration_s"
        begun = client.initiate(film, sha256=sha256(film))
        with pytest.raises(UploadMissing):
            client.complete(begun.video_id)
        with pytest.raises(SignatureInvalid):
            client.put(begun.upload.model_copy(update={"url": begun.upload.url.replace("size=", "size=1")}), film)
        client.put(begun.upload, film, sent=sent.append)
        assert sent[-1] == film.stat().st_size
        assert client.complete(begun.video_id).status == "uploaded"
        plan = client.plan(begun.video_id, "clips", {"cutting": {"duration_s": 3}})
        assert plan.steps == 5
        job = client.create_job(begun.video_id, "clips", {"cutting": {"duration_s": 3}})
        for event in client.events(job.job_id):
            assert event.type
        made = client.artifacts(job.job_id)
        clip = next(artifact for artifact in made if artifact.kind == "clip")
        assert clip.url is not None
        with pytest.raises(BodyMismatch):
            client.download(clip.url, tmp_path / "x.mp4", sha256="0" * 64)
        assert list(tmp_path.iterdir()) == []
        got: list[int] = []
        client.download(clip.url, tmp_path / "x.mp4", sha256=clip.sha256, got=got.append)
        assert got[-1] == (tmp_path / "x.mp4").stat().st_size == clip.size
        assert client.video(begun.video_id).duration == pytest.approx(6.0, abs=0.05)

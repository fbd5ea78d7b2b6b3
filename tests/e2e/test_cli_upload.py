"""`reelmill upload` as its users meet it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults import Proxy
from large_films import make_large_film
from running import REELMILL, Server, free_port

MIB = 1 << 20
CUT = json.dumps({"cutting": {"duration_s": 1}})


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_large_film(tmp_path_factory.mktemp("film") / "film.mp4", MIB, seed=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server") / "data") as running:
        yield running


def env_of(folder: Path, url: str, key: str) -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("REELMILL_")}
    return mine | {"REELMILL_URL": url, "REELMILL_API_KEY": key, "XDG_STATE_HOME": str(folder / "state")}


def upload(folder: Path, server: Server, *words: object) -> subprocess.CompletedProcess[str]:
    """Run `reelmill upload …` in a folder."""
    command = [str(REELMILL), "upload", *(str(word) for word in words)]
    env = env_of(folder, server.url, server.key)
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def folder(tmp_path: Path, film: Path) -> Path:
    """A folder with three films, and with what is none."""
    films = tmp_path / "films"
    (films / "deep").mkdir(parents=True)
    for name in ("a.mp4", "b.MOV", "deep/c.mkv"):
        shutil.copy(film, films / name)
    for name in ("notes.txt", "cover.jpg", "other.txt", ".hidden.mp4"):
        (films / name).write_text("no film")
    return tmp_path


def test_a_folder_is_sent_and_what_was_skipped_is_said(folder: Path, server: Server) -> None:
    done = upload(folder, server, "films", "--label", "batch=tuesday", "--label", "camera=door")

    assert done.returncode == 0, done.stderr
    assert "Skipped, by name no videos: 1 × .jpg, 2 × .txt." in done.stderr
    said = [line.partition(":")[0] for line in done.stdout.splitlines()]
    assert said == ["films/a.mp4", "films/b.MOV", "films/deep/c.mkv"]
    videos = server.call("GET", "/videos?label=batch:tuesday")["items"]
    assert sorted(video["filename"] for video in videos) == ["a.mp4", "b.MOV", "c.mkv"]
    assert videos[0]["labels"] == {"batch": "tuesday", "camera": "door"}
    assert "a.mp4  100 %" in done.stderr


def test_patterns_and_files_each_once(folder: Path, server: Server) -> None:
    done = upload(folder, server, "films/**/*.m[pk]*", "films/a.mp4", "--json")

    assert done.returncode == 0, done.stderr
    assert [line["file"] for line in lines(done)] == ["films/a.mp4", "films/deep/c.mkv"]
    assert all(line["status"] == "uploaded" and line["job_id"] is None for line in lines(done))
    assert done.stderr == ""


@pytest.mark.req("C-07")
def test_one_bad_film_doesnt_stop_the_others(folder: Path, server: Server) -> None:
    (folder / "films" / "aa.mp4").write_text("this isn't a film at all\n" * 100)
    done = upload(folder, server, "nowhere/*.mp4", "films", "--json")

    assert done.returncode == 2  # of the worst: a path that leads nowhere
    told = {line["file"]: line for line in lines(done)}
    assert told["nowhere/*.mp4"]["error"]["code"] == "refused"
    assert told["films/aa.mp4"]["error"]["code"] == "not_a_video"
    assert told["films/aa.mp4"]["error"]["remedy"]
    assert [told[f"films/{name}"]["status"] for name in ("a.mp4", "b.MOV", "deep/c.mkv")] == ["uploaded"] * 3


def test_jobs_are_waited_for_and_their_results_fetched(folder: Path, server: Server) -> None:
    words = ["--pipeline", "clips", "--params", CUT, "--download", "out", "--json"]
    done = upload(folder, server, "films/a.mp4", "films/b.MOV", *words)

    assert done.returncode == 0, done.stderr
    assert [(line["status"], line["folder"]) for line in lines(done)] == [
        ("completed", "out/a"),
        ("completed", "out/b"),
    ]
    for line in lines(done):
        manifest = json.loads((folder / line["folder"] / "manifest.json").read_text())
        assert len(manifest["clips"]) == 2
        assert all((folder / line["folder"] / clip["name"]).is_file() for clip in manifest["clips"])


def test_a_job_that_fails_is_told_with_its_remedy(folder: Path, server: Server) -> None:
    params = json.dumps({"text": {"strategy": "unique_for_all", "texts": ["only one"]}, "cutting": {"duration_s": 1}})
    done = upload(folder, server, "films/a.mp4", "--pipeline", "clips", "--params", params, "--wait")

    assert done.returncode == 2
    assert "params_invalid" in done.stderr
    assert "remedy:" in done.stderr


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--wait",), "need a --pipeline"),
        (("--label", "monday"), "batch=monday"),
        (("--pipeline", "clips", "--params", "{"), "--params can't be read"),
        (("--params", "{}"), "no pipeline that would take them"),
        (("--pipeline", "nonsense"), "pipeline_unknown"),
    ],
)
def test_what_cant_be_meant_is_named(folder: Path, server: Server, words: tuple[str, ...], named: str) -> None:
    done = upload(folder, server, "films/a.mp4", *words)

    assert done.returncode == 2
    assert named in done.stderr


def test_no_server(folder: Path, server: Server) -> None:
    done = upload(folder, server, "films/a.mp4", "--url", f"http://127.0.0.1:{free_port()}")

    assert done.returncode == 3
    assert "server_unreachable" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_same_command_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    film = make_large_film(tmp_path / "large.mp4", 40 * MIB, seed=2)
    with Proxy() as proxy:
        server = Server(tmp_path / "data", public_url=proxy.url, part_bytes=2 * MIB)
        proxy.target = ("127.0.0.1", server.port)
        command = [str(REELMILL), "upload", "large.mp4", "--json", "--parallel", "2"]
        env = env_of(tmp_path, proxy.url, server.key)
        with server:
            proxy.rate = 8 * MIB
            process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
            proxy.wait(lambda: proxy.carried(b"PUT") > 12 * MIB or process.poll() is not None, "the upload")
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
            proxy.rate = None
            done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)

            assert done.returncode == 0, done.stderr
            (line,) = lines(done)
            assert line["resumed_bytes"] >= 6 * MIB
            assert proxy.carried(b"PUT") <= 40 * MIB + 2 * 2 * MIB + (64 << 10)
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 128 + number
        assert "the same command goes on with it" in said
    assert film.stat().st_size == line["size"]


def test_the_page_on_uploads_tells_python_that_works(tmp_path: Path, film: Path, server: Server) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "upload.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    assert '"http://127.0.0.1:8000"' in code
    shutil.copy(film, tmp_path / "film.mp4")
    told = f"key = {server.key!r}\n" + code.replace("http://127.0.0.1:8000", server.url)
    env = env_of(tmp_path, server.url, server.key)
    command = [sys.executable, "-c", told]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    assert "phase='verifying'" in done.stdout
    assert (tmp_path / "clips" / "manifest.json").is_file()

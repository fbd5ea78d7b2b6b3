"""What compose.yaml starts, run without containers: its commands and its environment, on the same servers."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

import servers
from deploying import DEPLOY, services
from media_sources import make_source
from reelmill import Client

STOP_S = 45  #: compose's stop_grace_period


class Part:
    """A process of compose's: its command with its environment, and nothing else of ours."""

    def __init__(self, service: dict[str, Any], folder: Path, moved: Callable[[str], str]) -> None:
        self.folder = folder
        self.words = [str(word) for word in service["command"]]
        told = {name: moved(value) for name, value in service["environment"].items() if value is not None}
        system = {name: os.environ[name] for name in ("PATH", "TMPDIR", "SSL_CERT_FILE") if name in os.environ}
        data = folder / "data"
        data.mkdir(parents=True)
        self.env = {**system, "HOME": str(folder), "PYTHONUNBUFFERED": "1", "REELMILL_DATA": str(data), **told}
        self.log = folder / "log"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*reelmill(), *(words or self.words)],
            env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    @contextmanager
    def running(self) -> Iterator[dict[str, Any]]:
        """Start it; yield what it tells when it is at work. In the end, it stops as compose stops it."""
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [*reelmill(), *self.words, "--json"],
                env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, self.log.read_text()[-4000:]
            yield json.loads(line)
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_S) == 0, self.log.read_text()[-4000:]
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdout.close()

    def metrics_url(self) -> str:
        """Return where it serves metrics and health, as its log tells."""
        for line in self.log.read_text().splitlines():
            if line.startswith("{") and (told := json.loads(line))["event"] == "metrics are served":
                return f"http://127.0.0.1:{told['port']}"
        raise AssertionError("it serves no metrics")


def reelmill() -> list[str]:
    return [sys.executable, "-m", "reelmill.cli"]


@pytest.fixture
def parts(postgres: servers.Postgres, seaweed: servers.Seaweed, tmp_path: Path) -> Iterator[dict[str, Part]]:
    """compose's own processes, with the host names of its servers replaced by where ours are."""
    valkey = servers.start_valkey()
    with ExitStack() as stack:
        stack.callback(valkey.stop)
        found = services(
            tmp_path,
            STORAGE_ACCESS_KEY=seaweed.access_key,
            STORAGE_SECRET_KEY=seaweed.secret_key,
            STORAGE_PUBLIC_URL=f"http://localhost:{seaweed.port}",
        )
        password = found["postgres"]["environment"]["POSTGRES_PASSWORD"]
        postgres.execute(f"CREATE ROLE reelmill LOGIN PASSWORD '{password}'")
        stack.callback(postgres.execute, "DROP ROLE reelmill")
        postgres.execute("CREATE DATABASE reelmill OWNER reelmill")
        stack.callback(postgres.drop, "reelmill")
        protect(valkey, found["valkey"])
        (bucket,) = [word.partition("=")[2] for word in found["seaweedfs"]["command"] if word.startswith("-bucket=")]
        client = seaweed.client()
        with suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=bucket)
        here = {
            "@postgres:5432/": f"@127.0.0.1:{postgres.port}/",
            "@valkey:6379/": f"@127.0.0.1:{valkey.port}/",
            "http://seaweedfs:8333": f"http://127.0.0.1:{seaweed.port}",
            "/spool": str(tmp_path / "spool"),
            # Free ports, and loopback only; everything else is as it stands in the file.
            "0.0.0.0": "127.0.0.1",
        }
        (tmp_path / "spool").mkdir()

        def moved(value: str) -> str:
            if value in ("8000", "9464"):
                return "0"
            for there, now in here.items():
                value = value.replace(there, now)
            return value

        yield {name: Part(found[name], tmp_path / name, moved) for name in ("setup", "api", "worker")}


def protect(valkey: servers.Valkey, service: dict[str, Any]) -> None:
    """Give the server the password that compose starts it with."""
    import redis

    words = service["command"]
    with redis.Redis(port=valkey.port) as connection:
        connection.config_set("requirepass", words[words.index("--requirepass") + 1])


def first_key() -> list[str]:
    """Return the command by which the start script makes the first key."""
    script = (DEPLOY / "scripts" / "start.sh").read_text().replace("\\\n", " ")
    (words,) = re.findall(r"api (keys create .*?) >", script)
    return shlex.split(words)


def image_check(port: int) -> list[str]:
    """Return the image's HEALTHCHECK as it is run in a container with this REELMILL_PORT."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    (command,) = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", text, re.MULTILINE)
    program, *words = json.loads(command)
    assert program == "python"
    return [sys.executable, *words]


@pytest.mark.req("B-08", "A-01", "D-06")
def test_what_compose_starts_makes_clips(parts: dict[str, Part], tmp_path: Path) -> None:
    film = make_source(tmp_path / "film.mp4", seconds=4)
    api, worker = parts["api"], parts["worker"]

    made = parts["setup"].run()
    assert made.returncode == 0, made.stderr
    key = api.run(*first_key()).stdout.strip()
    assert key
    with api.running() as told, worker.running() as at_work:
        assert at_work["engine"] == "celery"
        check = [*reelmill(), *worker_check()]
        assert ended_well(lambda: subprocess.run(check, env=worker.env, capture_output=True).returncode == 0)
        port = int(told["url"].rpartition(":")[2])
        seen = subprocess.run(image_check(port), env={"REELMILL_PORT": str(port)}, capture_output=True, text=True)
        assert seen.returncode == 0, seen.stderr
        with Client(told["url"], key) as client:
            done = client.upload(film, pipeline="clips", params={"cutting": {"duration_s": 2}})
            assert done.job_id is not None
            assert ended_well(lambda: client.job(done.job_id).status == "completed")
            urls = client.status(done.job_id).download_urls
            assert len(urls) == 2
            for url in urls:
                assert url.startswith("http://localhost:")
                assert len(httpx2.get(url, trust_env=False).content) > 1000
            (state,) = {one.state for one in client.workers() if one.id == at_work["worker_id"]}
            assert state == "working"
    assert "GEMINI_API_KEY" not in api.env


@pytest.mark.req("E-08")
def test_the_paths_that_the_chart_probes_answer(parts: dict[str, Part]) -> None:
    assert parts["setup"].run().returncode == 0
    assert parts["api"].run(*first_key()).returncode == 0
    probes = {part: probed(part) for part in ("api", "worker")}
    with parts["api"].running() as told, parts["worker"].running():
        where = {"http": told["url"]}
        for part, paths in probes.items():
            for port, path in paths:
                url = (where.get(port) or parts[part].metrics_url()) + path
                assert ended_well(lambda url=url: httpx2.get(url, trust_env=False).status_code == 200), url


def probed(part: str) -> list[tuple[str, str]]:
    """Return the ports and paths that Kubernetes asks."""
    import helm_python as helm

    with helm.Chart.load(DEPLOY / "helm" / "reelmill") as chart:
        files = chart.render({"storageUrl": "s3://videos"}, name="reelmill")
    (text,) = [text for name, text in files.items() if name.endswith(f"/{part}.yaml")]
    deployment = next(iter(yaml.safe_load_all(text)))
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    asked = [container[f"{kind}Probe"].get("httpGet") for kind in ("startup", "liveness", "readiness")]
    return [(one["port"], one["path"]) for one in asked if one]


def worker_check() -> list[str]:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    kind, program, *words = compose["services"]["worker"]["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "reelmill")
    return words


def ended_well(true: Callable[[], bool], seconds: float = 120) -> bool:
    """Wait for what must come true."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True

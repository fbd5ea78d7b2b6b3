"""Storage that is away, comes back, or loses files: jobs wait, nothing fails, nothing is charged."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

import servers
from faults import Proxy
from lax_gateway import LaxGateway
from media_sources import make_source
from running import Server

FAST = {"backoff_s": 0.05, "workers": 1, "log_level": "debug"}
CLIPS = {"cutting": {"kind": "fixed", "duration_s": 1.0}, "text": {"text": "Storm"}}
ONE = {"steps": 1, "seconds": 0}


@pytest.fixture
def gateway(seaweed: servers.Seaweed) -> Iterator[LaxGateway]:
    with LaxGateway(seaweed) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("film") / "film.mp4", seconds=3, width=320, height=180)


def outputs(told: str) -> bool:
    """Refuse every PUT of an output, and nothing else."""
    return told.startswith("PUT ") and "/outputs/" in told


def status_once(server: Server, job_id: str, holds: Callable[[dict[str, Any]], bool], seconds: float = 60) -> Any:
    """Poll until the job's status is as wanted; return it."""
    deadline = time.monotonic() + seconds
    while True:
        status = server.call("GET", f"/jobs/{job_id}/status")
        if holds(status):
            return status
        assert time.monotonic() < deadline, f"{status}; log: {server.log.read_text()[-4000:]}"
        time.sleep(0.05)


def is_storing(status: dict[str, Any]) -> bool:
    return (status["status"], status["stage"]) == ("running", "storing")


def begin(server: Server, film: Path, pipeline: str, params: dict[str, Any]) -> str:
    video = server.upload(film)["video_id"]
    body = {"video_id": video, "pipeline": pipeline, "params": params, "reuse": False}
    return server.call("POST", "/jobs", json=body)["job_id"]  # type: ignore[no-any-return]


def again(server: Server, **settings: Any) -> None:
    """Stop the server and start it with other settings."""
    server.stop()
    server.env |= {f"REELMILL_{name.upper()}": str(value) for name, value in settings.items()}
    server.start()


def artifacts(server: Server, job_id: str) -> list[dict[str, Any]]:
    return server.call("GET", f"/jobs/{job_id}/artifacts")["items"]  # type: ignore[no-any-return]


def fetched(url: str, **headers: str) -> httpx2.Response:
    return httpx2.get(url, headers=headers, trust_env=False, follow_redirects=True)


def charged(server: Server, job_id: str) -> list[str]:
    steps = server.job(job_id)["steps"]
    return [f"{step['step_id']}: {step['tries']} tries" for step in steps if step["tries"] or step["crashes"]]


@pytest.mark.req("E-05", "E-07", "E-13", "C-04")
def test_outputs_are_kept_locally_handed_out_and_moved_when_storage_is_back(
    tmp_path: Path, film: Path, gateway: LaxGateway, bucket: str
) -> None:
    gateway.refuses = outputs
    storage = f"s3://{bucket}?endpoint={gateway.url}"
    with Server(tmp_path / "data", storage_url=storage, sweep_s=600, **FAST) as server:
        job_id = begin(server, film, "clips", CLIPS)
        status = status_once(server, job_id, is_storing)
        # Exactly four tries of each output, counted where they arrived; nobody has begun to move them yet.
        tries = Counter(one for one in gateway.arrived if outputs(one))
        made = artifacts(server, job_id)
        assert len(tries) == len(made) and set(tries.values()) == {4}, tries
        assert any("kept locally" in warning for warning in status["warnings"])
        assert status["progress_pct"] < 100 and status["completed_at"] is None
        assert len(status["download_urls"]) == 3
        older = server.client.get(f"/api/jobs/{job_id}/status").json()
        assert (older["status"], len(older["download_urls"])) == ("PROCESSING", 3)
        for one in made:
            assert (one["place"], one["retries"], one["stored_at"]) == ("spool", 3, None)
            got = fetched(one["url"])
            assert (got.status_code, hashlib.sha256(got.content).hexdigest()) == (200, one["sha256"])
            part = fetched(one["url"], Range="bytes=10-19")
            assert (part.status_code, part.content) == (206, got.content[10:20])
        assert fetched(made[0]["url"].replace("/spool/", "/objects/")).status_code in (403, 404)
        assert server.client.get(f"/api/v1/jobs/{job_id}/download").status_code == 200
        before = server.call("GET", f"/jobs/{job_id}/status")["download_urls"][0]

        again(server, sweep_s=0.2)  # what is in the spool outlives the process
        assert is_storing(server.call("GET", f"/jobs/{job_id}/status"))
        gateway.refuses = lambda told: False
        status = server.wait(job_id)
        assert (status["status"], status["warnings"], status["progress_pct"]) == ("completed", [], 100)
        for one in artifacts(server, job_id):
            assert (one["place"], one["retries"]) == ("stored", 3) and one["stored_at"]
            assert hashlib.sha256(fetched(one["url"]).content).hexdigest() == one["sha256"]
        assert charged(server, job_id) == []
        spool = tmp_path / "data" / "spool" / "objects"
        deadline = time.monotonic() + 30
        while any(path.is_file() for path in spool.rglob("*")):
            assert time.monotonic() < deadline, "the spool isn't emptied"
            time.sleep(0.05)
        assert fetched(before).status_code == 200, "a URL of the spool lives on"
        log = server.log.read_text()
        assert '"outcome": "spooled"' in log and "upload is tried again" in log and "moved from the spool" in log


@pytest.mark.req("E-05")
@pytest.mark.parametrize("harm", ["removed", "damaged"])
def test_a_file_that_is_lost_in_the_spool_is_made_anew(
    tmp_path: Path, film: Path, gateway: LaxGateway, bucket: str, harm: str
) -> None:
    gateway.refuses = outputs
    storage = f"s3://{bucket}?endpoint={gateway.url}"
    with Server(tmp_path / "data", storage_url=storage, sweep_s=600, **FAST) as server:
        job_id = begin(server, film, "slow_writer", ONE)
        status_once(server, job_id, is_storing)
        lost = next(one for one in artifacts(server, job_id) if one["kind"] == "write")
        server.stop()
        path = tmp_path / "data" / "spool" / "objects" / lost["key"]
        if harm == "removed":
            path.unlink()
        else:
            with path.open("r+b") as file:
                file.write(b"another")
        gateway.refuses = lambda told: False
        again(server, sweep_s=0.2)
        assert server.wait(job_id)["status"] == "completed"
        anew = {one["kind"]: one for one in artifacts(server, job_id)}
        assert anew["write"]["sha256"] == lost["sha256"] and anew["write"]["key"] != lost["key"]
        assert {one["place"] for one in anew.values()} == {"stored"}
        for one in anew.values():
            assert hashlib.sha256(fetched(one["url"]).content).hexdigest() == one["sha256"]
        assert charged(server, job_id) == []


@pytest.mark.req("E-05")
def test_cancel_and_retry_while_storing(tmp_path: Path, film: Path, gateway: LaxGateway, bucket: str) -> None:
    gateway.refuses = outputs
    storage = f"s3://{bucket}?endpoint={gateway.url}"
    with Server(tmp_path / "data", storage_url=storage, sweep_s=0.2, **FAST) as server:
        job_id = begin(server, film, "slow_writer", ONE)
        status_once(server, job_id, is_storing)
        assert server.call("POST", f"/jobs/{job_id}/cancel")["status"] == "cancelled"
        stopped = server.call("GET", f"/jobs/{job_id}/status")
        assert (stopped["download_urls"], stopped["warnings"]) == ([], [])
        retried = server.call("POST", f"/jobs/{job_id}/retry")
        assert (retried["stage"], len(retried["download_urls"])) == ("storing", 1)
        gateway.refuses = lambda told: False
        assert server.wait(job_id)["status"] == "completed"
        assert all(step["attempt"] == 1 for step in server.job(job_id)["steps"])


@pytest.mark.req("E-05", "C-07")
def test_without_a_spool_the_step_waits_uncharged_and_says_why(
    tmp_path: Path, film: Path, gateway: LaxGateway, bucket: str
) -> None:
    storage = f"s3://{bucket}?endpoint={gateway.url}"
    with Server(tmp_path / "data", storage_url=storage, spool="off", sweep_s=0.2, poll_s=0.5, **FAST) as server:
        job_id = begin(server, film, "slow_writer", {"steps": 1, "seconds": 1})
        status_once(server, job_id, lambda status: status["status"] == "running")
        gateway.refuses = lambda told: True
        status = status_once(
            server, job_id, lambda status: status["message"].startswith("storage_unavailable: waiting since")
        )
        assert (status["status"], status["error"]) == ("running", None)
        attempt = server.job(job_id)["steps"][0]["attempt"]
        calls = len(gateway.arrived)
        while len(gateway.arrived) < calls + 10:  # it goes on asking whether the store answers
            time.sleep(0.02)
        step = server.job(job_id)["steps"][0]
        assert (step["attempt"], step["tries"], step["crashes"]) == (attempt, 0, 0), "nothing is begun meanwhile"
        gateway.refuses = lambda told: False
        assert server.wait(job_id)["status"] == "completed"
        assert charged(server, job_id) == []


@pytest.mark.req("E-05", "C-07")
def test_a_total_outage_waits_and_nothing_fails(
    tmp_path: Path, film: Path, seaweed: servers.Seaweed, bucket: str, postgres: servers.Postgres, postgres_url: str
) -> None:
    """Database and storage are away for three leases, in the midst of two jobs; API calls say what to do."""
    lease_s = 1.0
    with Proxy(port=postgres.port) as database, Proxy(port=seaweed.port) as store:
        settings = {"lease_s": lease_s, "heartbeat_s": 0.2, "sweep_s": 0.2, "watch_s": 0.1, "poll_s": 0.5}
        url = postgres_url.replace(f":{postgres.port}/", f":{database.port}/")
        storage = f"s3://{bucket}?endpoint={store.url}"
        with Server(
            tmp_path / "data", database_url=url, storage_url=storage, **(FAST | settings | {"workers": 2})
        ) as server:
            jobs = [begin(server, film, "clips", CLIPS)]
            status_once(server, jobs[0], lambda status: status["status"] in ("running", "completed"))
            jobs.append(begin(server, film, "slow_writer", {"steps": 4, "seconds": 2}))
            while not any(step["status"] == "running" for step in server.job(jobs[1])["steps"]):
                time.sleep(0.01)
            dead = servers.free_port()
            for proxy in (database, store):
                proxy.target = ("127.0.0.1", dead)
                proxy.cut_all()
            refused = server.client.get(f"/api/v1/jobs/{jobs[0]}")
            assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
            assert refused.json()["remedy"]
            time.sleep(3 * lease_s)  # the outage itself
            assert server.client.get("/readyz").status_code == 503
            assert "lease check failed" in server.log.read_text(), "the outage met steps at work"
            store.target, database.target = ("127.0.0.1", seaweed.port), ("127.0.0.1", postgres.port)
            for job_id in jobs:
                assert server.wait(job_id)["status"] == "completed"
                assert charged(server, job_id) == []
                for one in artifacts(server, job_id):
                    assert hashlib.sha256(fetched(one["url"]).content).hexdigest() == one["sha256"]


@pytest.mark.req("E-05")
def test_storage_that_denies_everything_while_it_starts_costs_a_try_at_most(
    tmp_path: Path, film: Path, gateway: LaxGateway, bucket: str
) -> None:
    storage = f"s3://{bucket}?endpoint={gateway.url}"
    with Server(tmp_path / "data", storage_url=storage, sweep_s=0.2, **FAST) as server:
        assert server.wait(begin(server, film, "slow_writer", ONE))["status"] == "completed"
        left = iter(range(1))
        gateway.refusal, gateway.refuses = 403, lambda told: outputs(told) and next(left, None) is not None
        job_id = begin(server, film, "slow_writer", ONE)
        assert server.wait(job_id)["status"] == "completed"
        assert [step["tries"] for step in server.job(job_id)["steps"]] == [1, 0]
        gateway.refuses = outputs
        denied = server.wait(begin(server, film, "slow_writer", ONE))
        assert (denied["status"], denied["error"]["code"]) == ("failed", "storage_denied")


@pytest.mark.req("E-05", "E-08")
def test_each_machine_moves_and_hands_out_what_its_own_spool_keeps(
    tmp_path: Path, film: Path, gateway: LaxGateway, bucket: str, postgres_url: str
) -> None:
    """Two servers on one database and one bucket, each with a data folder of its own."""
    gateway.refuses = outputs
    common = FAST | {"storage_url": f"s3://{bucket}?endpoint={gateway.url}", "database_url": postgres_url}
    with Server(tmp_path / "one", **(common | {"sweep_s": 600})) as one:
        with Server(tmp_path / "two", **(common | {"sweep_s": 0.2, "workers": 0})) as two:
            job_id = begin(one, film, "slow_writer", ONE)
            status_once(one, job_id, is_storing)
            assert [fetched(made["url"]).status_code for made in artifacts(one, job_id)] == [200, 200]
            assert [made["url"] for made in artifacts(two, job_id)] == [None, None]
            assert two.client.get(f"/api/v1/jobs/{job_id}/download").json()["code"] == "not_ready"
            gateway.refuses = lambda told: False
            # The other has looked many times, and could neither move nor take for lost what it doesn't see.
            rounds = len(gateway.arrived)
            while two.client.get("/readyz").status_code != 200 or len(gateway.arrived) < rounds + 8:
                time.sleep(0.1)
            assert is_storing(two.call("GET", f"/jobs/{job_id}/status"))
        again(one, sweep_s=0.2)
        assert one.wait(job_id)["status"] == "completed"
        assert all(step["attempt"] == 1 for step in one.job(job_id)["steps"])

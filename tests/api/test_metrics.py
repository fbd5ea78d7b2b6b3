"""`/metrics`: what it tells of real work, and to whom. Alerts and dashboard ask only for what is there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import promql_parser
import pytest
import yaml

import servers
from faults import Proxy
from odd_model import OddModel
from reelmill.errors import SettingInvalid
from reelmill.observe.metrics import COUNTERS, HISTOGRAMS
from reelmill.observe.server import MetricsServer
from running import Server
from scraping import samples, until, value

if TYPE_CHECKING:
    from conftest import Client, Running

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
TOKEN = "a-token-of-prometheus"
CUT = {"cutting": {"duration_s": 1}}


class Scraped:
    """A server on S3 that has seen a good job, a bad one, two that were cancelled, and uploads without bytes."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.jobs: list[str] = []

    def text(self) -> str:
        reply = self.client.get("/metrics")
        assert reply.status_code == 200, reply.text
        return reply.text


@pytest.fixture(scope="module")
def scraped(
    client: Client, film: Path, seaweed: servers.Seaweed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scraped]:
    data = tmp_path_factory.mktemp("scraped") / "data"
    with Proxy(port=seaweed.port) as proxy, OddModel() as odd:
        place = seaweed.url(seaweed.create(), endpoint=proxy.url)
        model = {"text_model": "openai/odd", "text_model_url": odd.url("fails"), "backoff_s": 0.1}
        with Server(data, storage_url=place, workers=2, sweep_s=0.5, grace_s=0, **model) as server:
            boss = server.run("keys", "create", "boss", "--scope", "admin", "--quiet").strip()
            with type(client)(server.url, boss) as admin:
                it = Scraped(admin)
                work(it, film, proxy)
                yield it


def work(it: Scraped, film: Path, proxy: Proxy) -> None:
    made = it.client.upload(film, pipeline="clips", params=CUT)
    assert it.client.wait(made["job_id"])["status"] == "completed"
    for _ in range(2):  # the second takes over what the first has made
        assert it.client.wait(it.client.run(made["video_id"], "proxy", {}))["status"] == "completed"
    broken = it.client.run(made["video_id"], "slow_writer", {"steps": 2, "seconds": 0, "same_name": True})
    assert it.client.wait(broken)["status"] == "failed"
    waiting = it.client.initiate(film, pipeline="clips", params=CUT)
    it.client.call("POST", f"/jobs/{waiting['job_id']}/cancel")
    wrong = it.client.initiate(film, pipeline="clips", params=CUT)
    proxy.latency_s = 1.0  # so that the answer isn't there before the cut
    proxy.cut_after(1)
    it.client.call("POST", "/uploads/complete", 400, json={"video_id": wrong["video_id"]})  # it is asked for again
    proxy.latency_s = 0.0
    slow = it.client.run(made["video_id"], "slow_writer", {"steps": 1, "seconds": 30})
    until(it.text, "reelmill_worker_slots_busy", 1)
    it.client.call("POST", f"/jobs/{slow}/cancel")
    it.client.initiate(film)
    for _ in range(2):  # the second answer is there already
        it.client.call("POST", "/texts/variations", json={"text": "Summer by the lake", "n": 3})
    it.jobs = [made["job_id"], broken, waiting["job_id"], wrong["job_id"], slow]


# ── what it tells ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("D-07", "E-10", "E-13")
def test_it_tells_what_has_happened(scraped: Scraped) -> None:
    until(scraped.text, "reelmill_step_seconds_count", 1, kind="write", outcome="lost")
    text = scraped.text()

    def ended(**labels: str) -> float:
        return value(text, "reelmill_jobs_ended_total", **labels)

    assert ended(pipeline="clips", status="completed", code="") == 1
    assert ended(pipeline="slow_writer", status="failed", code="internal_error") == 1
    assert ended(pipeline="clips", status="failed", code="upload_missing") == 1
    assert ended(status="cancelled") == 2
    assert value(text, "reelmill_job_seconds_count", pipeline="clips", status="completed") == 1
    assert value(text, "reelmill_jobs_queued_total", pipeline="clips") == 1
    assert value(text, "reelmill_step_seconds_count", pipeline="clips", kind="clip", outcome="finish") == 2
    assert value(text, "reelmill_step_seconds_count", pipeline="slow_writer", outcome="fail") == 1
    assert value(text, "reelmill_step_wait_seconds_count", pipeline="clips") == 5
    assert value(text, "reelmill_upload_verification_seconds_count", result="verified") == 1
    assert value(text, "reelmill_upload_verification_seconds_count", result="upload_missing") == 1
    assert value(text, "reelmill_upload_bytes_count") == 1
    assert value(text, "reelmill_artifact_bytes_count", pipeline="clips", kind="clip") == 2
    assert value(text, "reelmill_media_run_seconds_count", program="ffmpeg", result="ok") >= 2
    assert value(text, "reelmill_media_run_seconds_count", program="probe_child", result="ok") == 1
    assert value(text, "reelmill_media_cpu_seconds_total", program="ffmpeg") > 0
    assert value(text, "reelmill_storage_operation_seconds_count", operation="put_file", result="ok") >= 6
    assert value(text, "reelmill_storage_operation_seconds_count", operation="head", result="object_missing") >= 1
    assert value(text, "reelmill_storage_retries_total") >= 1
    assert value(text, "reelmill_storage_bytes_total", direction="sent") > 0
    assert value(text, "reelmill_text_model_seconds_count", result="ok") == 1
    assert value(text, "reelmill_text_model_seconds_count", result="text_model_failed") == 1
    assert value(text, "reelmill_text_model_kept_total") == 1
    assert value(text, "reelmill_text_model_tokens_total", direction="written") > 0
    route = "/api/v1/uploads/complete"
    assert value(text, "reelmill_http_request_seconds_count", method="POST", route=route, status="2xx") == 1
    assert value(text, "reelmill_http_request_seconds_count", method="POST", route=route, status="4xx") == 1


@pytest.mark.req("D-07", "E-10")
def test_it_tells_how_things_stand(scraped: Scraped) -> None:
    until(scraped.text, "reelmill_jobs", 2, status="cancelled")  # figures are up to 5 s old
    text = scraped.text()

    assert value(text, "reelmill_jobs", pipeline="clips", status="completed") == 1
    assert value(text, "reelmill_jobs", status="failed") == 2
    assert value(text, "reelmill_jobs", status="running") == 0
    assert value(text, "reelmill_uploads_awaiting") == 3  # one cancelled before, one without bytes, one without a job
    assert 0 < value(text, "reelmill_uploads_awaiting_oldest_seconds") < 3600
    assert value(text, "reelmill_uploads_stuck") == 0
    assert value(text, "reelmill_database_up") == 1
    assert value(text, "reelmill_worker_slots") == 2
    assert 0 < value(text, "reelmill_disk_free_bytes", folder="data") < value(text, "reelmill_disk_size_bytes")


@pytest.mark.req("E-10")
def test_labels_take_few_values_and_name_nobody(scraped: Scraped) -> None:
    for n in range(20):
        scraped.client.get(f"/no/such/path/{n}")
        scraped.client.request(f"VERB{n}", "/api/v1/jobs")
    text = scraped.text()

    assert value(text, "reelmill_http_request_seconds_count", route="none", status="4xx") >= 20
    assert value(text, "reelmill_http_request_seconds_count", method="other") >= 20
    assert "no/such" not in text and "VERB" not in text
    assert not [job for job in scraped.jobs if job in text]
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}|tests\b|default", text), "an id, a user or a tenant"
    labels = {name for sample in samples(text) if sample.name.startswith("reelmill_") for name in sample.labels}
    assert labels <= {
        "code", "direction", "folder", "kind", "le", "method", "operation", "outcome", "pipeline", "program", "queue",
        "result", "route", "state", "status", "version",
    }  # fmt: skip


# ── to whom ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("E-10", "E-11")
def test_only_who_runs_the_platform_reads_them(
    serve: Callable[..., AbstractContextManager[Running]], connect: Callable[..., Client], tmp_path: Path
) -> None:
    def told(client: Client) -> tuple[int, str]:
        reply = client.get("/metrics")
        return reply.status_code, "" if reply.status_code == 200 else reply.json()["code"]

    with serve(tmp_path / "data", workers=0, metrics_token=TOKEN) as server:
        assert told(connect(of=server)) == (401, "key_missing")
        assert told(connect(of=server, key="rm_" + "w" * 43)) == (401, "key_invalid")
        assert told(connect(of=server, key=server.key("jobs:read", "upload"))) == (403, "scope_missing")
        other = connect(of=server, key=server.key("admin", tenant="other"))
        assert told(other) == (403, "scope_missing"), "they are of all tenants"
        assert told(connect(of=server, key=server.key("admin"))) == (200, "")
        assert told(connect(of=server, key=TOKEN)) == (200, ""), "Prometheus' own token"
        assert told(connect(of=server, key=TOKEN + "x")) == (401, "key_invalid")
        browser = connect(of=server)
        assert browser.get(str(server.restarted().link)).status_code == 303
        assert told(browser) == (200, "")


@pytest.mark.req("E-10")
def test_the_metrics_port_needs_no_key(serve: Callable[..., AbstractContextManager[Running]], tmp_path: Path) -> None:
    with serve(tmp_path / "data", workers=0, metrics_port=0) as server:
        port = server.app.metrics_server.port  # type: ignore[union-attr]
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as prometheus:
            metrics = prometheus.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
            assert metrics.headers["content-type"].startswith("application/openmetrics-text")
            assert value(prometheus.get("/metrics").text, "reelmill_database_up") == 1
            assert prometheus.head("/metrics").content == b""
            assert prometheus.get("/healthz").json()["status"] == "ok"
            assert prometheus.get("/readyz").json() == {"ready": True, "dead": []}
            assert prometheus.get("/api/v1/jobs").status_code == 404
            assert prometheus.post("/metrics").status_code == 404
            server.app.sweeper.stop()
            dead = prometheus.get("/readyz")
            assert (dead.status_code, dead.json()) == (503, {"ready": False, "dead": ["sweeper"]})
        with pytest.raises(SettingInvalid, match="REELMILL_METRICS_PORT"):
            MetricsServer(server.app.observer.metrics, "127.0.0.1", port, list)


# ── trouble ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("D-07", "E-10")
def test_lost_leases_and_refused_writes_are_counted(
    serve: Callable[..., AbstractContextManager[Running]], client: Client, film: Path, tmp_path: Path
) -> None:
    with (
        serve(tmp_path / "data", workers=0, max_crashes=2) as server,
        type(client)(server.url, server.key("admin")) as us,
    ):
        video = us.upload(film)["video_id"]
        job = us.run(video, "slow_writer", {"steps": 1, "seconds": 0})

        def read() -> str:
            return us.get("/metrics").text

        assert until(read, "reelmill_queue_steps", 1, queue="cpu", status="ready") == 1
        for lost in (1, 2):
            (claim,) = server.app.store.claim("silent", limit=1, lease_s=0.2)
            assert until(read, "reelmill_leases_lost_total", lost) == lost
        server.app.runner.run(claim)  # it comes back, too late

        assert us.wait(job)["error"]["code"] == "worker_crashed"
        assert value(read(), "reelmill_stale_writes_total") == 1
        assert until(read, "reelmill_jobs_ended_total", 1, code="worker_crashed", status="failed") == 1


@pytest.mark.req("E-10", "E-13")
def test_without_a_database_it_still_answers(
    serve: Callable[..., AbstractContextManager[Running]], postgres: servers.Postgres, postgres_template: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    name = postgres.create(postgres_template)
    direct = httpx2.URL(postgres.url(name))
    with Proxy(port=direct.port) as proxy:
        through = str(direct.copy_with(port=proxy.port))
        with serve(tmp_path / "data", workers=0, database_url=through, metrics_port=0) as server:
            port = server.app.metrics_server.port  # type: ignore[union-attr]

            def read() -> str:
                return httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=60, trust_env=False).text

            assert value(read(), "reelmill_database_up") == 1
            proxy.close()
            for _ in range(600):
                text = read()
                if value(text, "reelmill_database_up") == 0:
                    break
            assert value(text, "reelmill_database_up") == 0
            assert not [one for one in samples(text) if one.name == "reelmill_jobs"], "nothing is made up"
            assert value(text, "reelmill_info") == 1


# ── alerts and dashboard ──────────────────────────────────────────────────────────────────────

PROMETHEUS_OWN = {"job", "instance"}  #: labels that every scrape adds


def alerts() -> dict[str, str]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def panels() -> dict[str, str]:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    return {
        f"{panel['title']} {target['refId']}": target["expr"].replace("$pipeline", ".*")
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    }


def selectors(expression: str) -> list[Any]:
    """Return what a query selects. Raises ValueError for one that isn't PromQL."""
    found: list[Any] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


@pytest.mark.req("E-10")
def test_alerts_and_dashboard_ask_only_for_what_a_real_run_has(scraped: Scraped) -> None:
    known: dict[str, set[str]] = {"up": set()}
    for sample in samples(scraped.text()):
        known.setdefault(sample.name, set()).update(sample.labels)
    queries = alerts() | panels()
    assert len(alerts()) >= 12 and len(panels()) >= 30

    for name, expression in queries.items():
        asked = selectors(expression)
        assert asked, name
        for one in asked:
            assert one.name in known, f"{name}: no run has {one.name}"
            missing = {matcher.name for matcher in one.matchers.matchers} - known[one.name] - PROMETHEUS_OWN
            assert not missing, f"{name}: {one.name} has no label {', '.join(missing)}"


@pytest.mark.req("E-10")
def test_every_metric_has_its_place_on_the_dashboard(scraped: Scraped) -> None:
    shown = {re.sub("_(bucket|count|sum)$", "", one.name) for query in panels().values() for one in selectors(query)}
    ours = {f"reelmill_{name}_total" for name in COUNTERS} | {f"reelmill_{name}" for name in HISTOGRAMS}
    ours |= {
        re.sub("_(bucket|count|sum)$", "", one.name)
        for one in samples(scraped.text())
        if one.name.startswith("reelmill_") and not one.name.endswith("_created")
    }

    assert shown >= ours, f"not shown: {', '.join(sorted(ours - shown))}"


@pytest.mark.req("E-10")
def test_alerts_say_what_to_do() -> None:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]

"""One trace from a client's request to each step and each run of ffmpeg, as a real collector sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otlp import Collector
from reelmill.observe.tracing import valid
from running import Server

if TYPE_CHECKING:
    from conftest import Client, Running

CUT = {"cutting": {"duration_s": 1}}
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
GIVEN = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
SERVER_KIND, CLIENT_KIND, CONSUMER_KIND = 2, 3, 5


@pytest.mark.req("E-10")
def test_one_trace_runs_from_the_request_to_ffmpeg(client: Client, film: Path, tmp_path: Path) -> None:
    with Collector() as collector:
        with Server(tmp_path / "data", otlp_endpoint=collector.url, log_level="debug") as server:
            about = {"filename": film.name, "size": film.stat().st_size, "content_type": "video/mp4"}
            with type(client)(server.url, server.key) as us:
                us.headers.update(GIVEN)
                begun = us.call("POST", "/uploads/initiate", 201, json={**about, "pipeline": "clips", "params": CUT})
                us.put(begun["upload"], film.read_bytes())
                us.call("POST", "/uploads/complete", json={"video_id": begun["video_id"]})
                us.headers.pop("traceparent")
                assert us.wait(begun["job_id"])["status"] == "completed"
                us.get("/healthz")
        # stopping has sent what was left
        spans = {span.span_id: span for span in collector.spans}
        (initiate,) = collector.until("POST /api/v1/uploads/initiate")
        (complete,) = collector.until("POST /api/v1/uploads/complete")
        clips = collector.until("step clips/clip", 2)
        runs = collector.until("ffmpeg", 2)
        (probe,) = collector.until("probe")
        stores = collector.until("storage put_file", 6)

    assert {"service.name": "reelmill"}.items() <= collector.resources[0].items()
    assert (initiate.trace_id, initiate.parent_id, initiate.kind) == (TRACE, PARENT, SERVER_KIND)
    assert initiate.attributes["http.response.status_code"] == 201
    assert (complete.trace_id, complete.parent_id) == (TRACE, PARENT)
    assert probe.parent_id == complete.span_id
    for clip in clips:
        assert (clip.trace_id, clip.parent_id, clip.kind) == (TRACE, initiate.span_id, CONSUMER_KIND)
        assert clip.attributes["job_id"] == begun["job_id"] and not clip.failed
    of_clips = [run for run in runs if spans[run.parent_id].name == "step clips/clip"]
    assert len(of_clips) >= 2, "ffmpeg belongs to the step that ran it"
    for run in of_clips:
        step = spans[run.parent_id]
        assert run.trace_id == TRACE and step.begin_ns <= run.begin_ns < run.end_ns <= step.end_ns + 50_000_000
    assert {spans[one.parent_id].name for one in stores} == {
        "step clips/clip", "step clips/manifest", "step clips/contact_sheet",
    }  # fmt: skip
    assert all(one.kind == CLIENT_KIND for one in stores)
    assert not [span for span in spans.values() if "healthz" in span.name]
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    of_ffmpeg = [line for line in lines if line.get("program") == "ffmpeg" and line.get("step")]
    assert of_ffmpeg and {line["trace_id"] for line in of_ffmpeg} == {TRACE}, "a line of the log leads to its trace"


@pytest.mark.req("E-10", "E-13")
def test_what_failed_is_a_failed_span(client: Client, film: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video" * 1000)
    with Collector() as collector:
        with (
            Server(tmp_path / "data", otlp_endpoint=collector.url) as server,
            type(client)(server.url, server.key) as us,
        ):
            video = us.upload(film)["video_id"]
            broken = us.run(video, "slow_writer", {"steps": 2, "seconds": 0, "same_name": True})
            assert us.wait(broken)["status"] == "failed"
            assert us.get("/api/v1/jobs/nobody").status_code == 404
            begun = us.initiate(bad)
            us.put(begun["upload"], bad.read_bytes())
            us.call("POST", "/uploads/complete", 422, json={"video_id": begun["video_id"]})
        (missing,) = collector.until("GET /api/v1/jobs/{job_id}")
        probes = collector.until("probe", 2)
        steps = collector.until("step slow_writer/write", 2)

    assert not missing.failed, "what a client does wrong is no error of the server"
    assert [probe.failed for probe in sorted(probes, key=lambda one: one.begin_ns)] == [False, True]
    assert [one.attributes.get("error") for one in probes if one.failed] == ["not_a_video"]
    outcomes = {step.attributes["outcome"] for step in steps if step.failed}
    assert "fail" in outcomes and "finish" not in outcomes


@pytest.mark.req("E-10")
def test_without_a_collector_the_clients_trace_is_kept(
    serve: Callable[..., AbstractContextManager[Running]], client: Client, film: Path, tmp_path: Path
) -> None:
    """A worker elsewhere may have one."""
    with serve(tmp_path / "data") as server, type(client)(server.url, server.key("admin")) as us:
        video = us.upload(film)["video_id"]
        us.headers.update(GIVEN)
        traced = us.run(video, "slow_writer", {"steps": 1, "seconds": 0})
        us.headers["traceparent"] = "00-" + "0" * 32 + "-" + "1" * 16 + "-01"
        plain = us.run(video, "slow_writer", {"steps": 1, "seconds": 0})

        assert server.app.store.job(traced).trace_context == GIVEN["traceparent"]
        assert server.app.store.job(plain).trace_context is None


@pytest.mark.req("E-10")
def test_a_collector_that_is_away_stops_nothing(client: Client, film: Path, tmp_path: Path) -> None:
    with Collector() as gone:
        url = gone.url
    with Server(tmp_path / "data", otlp_endpoint=url) as server:
        begun = server.upload(film, pipeline="clips", params=CUT)
        assert server.wait(begun["job_id"])["status"] == "completed"


@pytest.mark.req("E-10")
@pytest.mark.parametrize(
    "header", [None, "", "x", f"01-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}", f"00-{TRACE.upper()}-{PARENT}-01"]
)
def test_what_is_no_trace_is_none(header: str | None) -> None:
    assert valid(header) is None

"""Server-sent events: no gap, no double, and resuming."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Client

WORK = {"steps": 6, "seconds": 0.15}


@pytest.mark.req("E-04")
def test_a_reader_that_reconnects_after_every_event_misses_nothing(client: Client, video_id: str) -> None:
    job_id = client.run(video_id, "slow_writer", WORK)
    pieces: list[int] = []
    types: list[str | None] = []
    while not types or types[-1] != "job.completed":
        with client.events(job_id, pieces[-1] if pieces else 0) as events:
            for event in events:
                if event.id is not None:
                    pieces.append(event.id)
                    types.append(event.event)
                    break
    with client.events(job_id) as events:
        whole = [event.id for event in events if event.id is not None]
    assert pieces == whole == list(range(1, len(whole) + 1))
    assert types.count("step.done") == 7


def test_many_readers_of_one_job_all_see_the_same(client: Client, video_id: str) -> None:
    job_id = client.run(video_id, "slow_writer", WORK)

    def read(_: int) -> list[tuple[int | None, str | None]]:
        with client.events(job_id) as events:
            return [(event.id, event.event) for event in events if event.id is not None]

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(read, range(8)))
    assert all(one == seen[0] for one in seen)
    assert seen[0][-1][1] == "job.completed"


def test_after_works_as_the_header_does_and_the_header_wins(client: Client, video_id: str) -> None:
    job_id = client.run(video_id, "slow_writer", {"steps": 1, "seconds": 0})
    client.wait(job_id)
    last = client.call("GET", f"/jobs/{job_id}")["last_seq"]
    path = f"/api/v1/jobs/{job_id}/events"
    assert f"id: {last}\n" in client.get(path, params={"after": last - 1}).text
    assert f"id: {last - 1}\n" not in client.get(path, params={"after": last - 1}).text
    assert "id: 1\n" in client.get(path, params={"after": last}, headers={"Last-Event-ID": "0"}).text
    assert client.get(path).text.startswith("retry: 2000\n\n")


def test_an_ended_job_with_nothing_left_tells_the_browser_not_to_come_again(client: Client, video_id: str) -> None:
    job_id = client.run(video_id, "slow_writer", {"steps": 1, "seconds": 0})
    client.wait(job_id)
    last = client.call("GET", f"/jobs/{job_id}")["last_seq"]
    reply = client.get(f"/api/v1/jobs/{job_id}/events", headers={"Last-Event-ID": str(last)})
    assert (reply.status_code, reply.content) == (204, b"")


@pytest.mark.parametrize("bad", ["x", "-1", "99999999999999999999", "1.5", ""])
def test_a_last_event_id_that_is_no_seq_is_refused(client: Client, video_id: str, bad: str) -> None:
    job_id = client.run(video_id, "slow_writer", {"steps": 1, "seconds": 0})
    reply = client.get(f"/api/v1/jobs/{job_id}/events", headers={"Last-Event-ID": bad})
    assert (reply.status_code, reply.json()["code"]) == (422, "request_invalid")


def test_events_come_while_they_happen(client: Client, video_id: str) -> None:
    job_id = client.run(video_id, "slow_writer", {"steps": 3, "seconds": 0.3})
    came: list[float] = []
    with client.events(job_id) as events:
        for event in events:
            if event.event == "step.done":
                came.append(time.monotonic())
    assert came[-1] - came[0] > 0.2, "the steps' events came all at once, at the end"


def test_a_cancelled_job_ends_its_stream(client: Client, video_id: str) -> None:
    job_id = client.run(video_id, "slow_writer", {"steps": 1, "seconds": 30})
    seen = []
    with client.events(job_id) as events:
        for event in events:
            if event.event == "job.started":
                client.call("POST", f"/jobs/{job_id}/cancel")
            seen.append(event.event)
    assert "job.cancelled" in seen

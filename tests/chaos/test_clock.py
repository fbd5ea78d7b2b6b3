"""Processes whose wall clock is a day off, or jumps while they work: leases, order and durations don't suffer."""

from __future__ import annotations

import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from verdict import Rows, judge_times, read

from media_sources import make_source
from running import Server
from working import QUICK, Works, until, works

HERE = Path(__file__).parent
DAY = 86_400
CLIPS = {"cutting": {"kind": "fixed", "duration_s": 1.0}, "text": {"text": "What time is it?"}}


class Clock:
    """A wall clock of one's own, for the processes that are started with its environment."""

    def __init__(self, library: Path, file: Path, shift_s: int) -> None:
        self._file = file
        self.env = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(file)}
        file.write_bytes(bytes(8))
        self.jump(shift_s)

    def jump(self, shift_s: int) -> None:
        """Be so many seconds off from now on."""
        with self._file.open("r+b") as page:  # in place: it is mapped
            page.write(shift_s.to_bytes(8, "little", signed=True))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("clock") / "shifted_clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", made, HERE / "shifted_clock.c", "-ldl"], check=True)
    return made


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("film") / "film.mp4", seconds=2, width=320, height=180)


def outcomes(rows: Rows) -> Counter[str]:
    return Counter(str(attempt["outcome"]) for attempt in rows.attempts)


def reversed_times(rows: Rows) -> list[str]:
    wrong: dict[str, list[str]] = {"times_reversed": []}
    judge_times(rows, wrong)
    return wrong["times_reversed"]


def test_the_clock_is_really_shifted(library: Path, tmp_path: Path) -> None:
    clock = Clock(library, tmp_path / "shift", DAY)
    asked = "import sqlite3; print(sqlite3.connect(':memory:').execute(\"select date('now')\").fetchone()[0])"
    for program in (["date", "-u", "+%F"], ["python3", "-c", asked]):
        ran = subprocess.run(program, env=clock.env | {"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
        days = datetime.fromisoformat(ran.stdout.strip()).date() - datetime.now(UTC).date()
        assert timedelta(days=1) <= days <= timedelta(days=2), ran


@pytest.mark.req("C-02", "E-08")
def test_processes_a_day_apart_share_their_work_as_if_they_were_not(
    tmp_path: Path, library: Path, film: Path, postgres_url: str
) -> None:
    began = datetime.now(UTC)
    ahead, behind = Clock(library, tmp_path / "ahead", DAY), Clock(library, tmp_path / "behind", -DAY)
    with works(tmp_path, postgres_url, env=ahead.env, poll_s=0.5) as it:
        it.upload(film)
        for clock in (ahead, behind):
            it.server.env |= clock.env
            it.worker()
        made = [it.run(steps=2, seconds=3) for _ in range(3)] + [it.run("clips", **CLIPS)]  # longer than a lease
        until(lambda: any(None in [a["outcome"] for a in it.attempts(job)] for job in made), "a step runs")
        behind.jump(DAY)
        ahead.jump(-DAY)
        assert {it.server.wait(job)["status"] for job in made} == {"completed"}
    rows = read(postgres_url)
    assert set(outcomes(rows)) == {"done"}, "nobody may take a living worker for dead"
    assert reversed_times(rows) == []
    ends = [job["completed_at"] for job in rows.jobs]
    assert all(began - timedelta(minutes=1) < end < datetime.now(UTC) + timedelta(minutes=1) for end in ends)


@pytest.mark.req("C-02", "E-08")
def test_an_embedded_servers_clock_jumps_while_it_works(tmp_path: Path, library: Path, film: Path) -> None:
    clock = Clock(library, tmp_path / "shift", 0)
    server = Server(tmp_path / "data", env=clock.env, **{**QUICK, "poll_s": 0.5, "workers": 2})
    url = f"sqlite:///{server.data / 'reelmill.db'}"
    with server:
        it = Works(server)
        it.upload(film)
        job = it.run(steps=2, seconds=3)
        until(lambda: len([a for a in it.attempts(job) if a["outcome"] is None]) == 2, "its steps run")
        clock.jump(DAY)
        assert server.wait(job)["status"] == "completed"
        assert set(outcomes(read(url))) == {"done"}, "its own steps are alive, whatever the clock says"
        assert reversed_times(read(url)) == []

        waiting = [it.run(steps=3, seconds=3) for _ in range(2)]
        server.kill()
        clock.jump(-DAY)
        server.start()
        for job in waiting:
            assert server.wait(job)["status"] == "completed", (
                "what was queued by a clock two days on isn't left waiting"
            )
    told = outcomes(read(url))
    assert set(told) <= {"done", "release"}, told

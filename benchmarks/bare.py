"""The same rows by the bare driver: what a database asks for, whoever speaks to it. No fences, order, usage, lanes.

For each step the rows that the engine writes, too: the step claimed and its attempt noted; then the step, its attempt,
its job and an event for its end; with the last one the job's end and its video's. In groups: two transactions for each.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

FIRST = "SELECT id, job_id FROM steps WHERE status = 'ready' AND {free} AND queue = 'cpu' AND tenant = 'acme' LIMIT {n}"
CLAIMED = "UPDATE steps SET status = 'running', attempt = 1, run = 1, worker_id = 'w', started_at = {now} WHERE id = ?"
NOTED = "INSERT INTO attempts (step_id, attempt, job_id, run, worker_id, started_at) VALUES (?, 1, ?, 1, 'w', {now})"
BEGUN = (
    "UPDATE jobs SET status = 'running', last_seq = last_seq + 1, started_at = {now} WHERE id = ? AND status = 'queued'"
)
CLOSED = "UPDATE steps SET status = 'done', output = '{{}}', worker_id = NULL, finished_at = {now} WHERE id = ?"
ENDED = "UPDATE attempts SET outcome = 'done', ended_at = {now} WHERE step_id = ? AND attempt = 1"
COUNTED = (
    "UPDATE jobs SET steps_done = steps_done + 1, last_seq = last_seq + 1 WHERE id = ?"
    " RETURNING last_seq, steps_done, video_id"
)
TOLD = "INSERT INTO events (job_id, seq, type, data, created_at) VALUES (?, ?, ?, '{{}}', {now})"
FINISHED = "UPDATE jobs SET status = 'completed', last_seq = last_seq + 1, completed_at = {now} WHERE id = ?"
FOLLOWED = (
    "UPDATE videos SET processing_status = 'completed', processing_completed_at = {now} WHERE processing_job_id = ?"
)


class Bare:
    """One connection, past the engine."""

    def __init__(self, url: str) -> None:
        self.connection: Any
        if url.startswith("sqlite"):
            self.connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
            self.connection.execute("PRAGMA synchronous=FULL")
            self._words = {"now": "strftime('%Y-%m-%dT%H:%M:%fZ','now')", "free": "waits = 0"}
            self._begin, self._mark, self._lock = "BEGIN IMMEDIATE", "?", ""
        else:
            import psycopg

            self.connection = psycopg.connect(url, autocommit=True)
            self._words = {"now": "clock_timestamp()", "free": "NOT waits"}
            self._begin, self._mark, self._lock = "BEGIN", "%s", " FOR UPDATE SKIP LOCKED"

    def _do(self, words: str, *values: object) -> Any:
        return self.connection.execute(words.format(**self._words).replace("?", self._mark), values)

    def _do_all(self, words: str, values: Sequence[tuple[object, ...]]) -> None:
        self.connection.cursor().executemany(words.format(**self._words).replace("?", self._mark), values)

    def work(self, group: int) -> int:
        """Claim and close until nothing is left; return how many steps."""
        count = 0
        while True:
            self._do(self._begin)
            found = self._do(FIRST.replace("{n}", str(group)) + self._lock).fetchall()
            for job_id in {job_id for _, job_id in found}:
                if self._do(BEGUN, job_id).rowcount:
                    self._do(TOLD, job_id, 3, "job.started")
            self._do_all(CLAIMED, [(step_id,) for step_id, _ in found])
            self._do_all(NOTED, list(found))
            self._do("COMMIT")
            if not found:
                return count
            self._do(self._begin)
            told = []
            for _, job_id in found:
                ((seq, done, video_id),) = self._do(COUNTED, job_id).fetchall()
                told.append((job_id, seq, "step.done"))
                if done == 10:
                    self._do(FINISHED, job_id)
                    self._do(FOLLOWED, video_id)
                    told.append((job_id, seq + 1, "job.completed"))
            self._do_all(CLOSED, [(step_id,) for step_id, _ in found])
            self._do_all(ENDED, [(step_id,) for step_id, _ in found])
            self._do_all(TOLD, told)
            self._do("COMMIT")
            count += len(found)

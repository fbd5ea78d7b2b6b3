"""Jobs of an older system, imported from JSON into a real server's database."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from reelmill.settings import read_settings
from reelmill.wiring import open_objects
from running import REELMILL, Server

OLD = "3f0d2a52-5b0e-4c55-9a3e-0b1f5f6f7a01"
BYTES = b"an older clip" * 100


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("import") / "data", workers=1) as made:
        yield made


def entries() -> list[dict[str, Any]]:
    return [
        {
            "job_id": OLD,
            "status": "COMPLETED",
            "output_s3_keys": ["default/older/a.mp4", "default/older/lost.mp4", "../../etc/passwd"],
            "created_at": "2024-03-01T10:00:00Z",
            "completed_at": "2024-03-01T10:05:00+00:00",
            "job_type": "proxy",
            "user_id": "ann",
            "extra": {"session": 7},
        },
        {"job_id": "redis:17", "status": "failed", "created_at": "2024-03-02T10:00:00Z", "error_message": "It broke."},
        {"job_id": "c", "status": "cancelled", "created_at": "2024-03-02T11:00:00Z"},
        {"job_id": "r", "status": "processing", "created_at": "2024-03-03T10:00:00Z"},
        {"job_id": "n", "status": "completed", "created_at": "2024-03-03T10:00:00"},
        {"status": "completed"},
        "nothing",
    ]


def taken(server: Server, file: Path) -> tuple[int, list[dict[str, Any]]]:
    done = subprocess.run(
        [str(REELMILL), "import-jobs", str(file), "--json"],
        env=server.env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout)


@pytest.mark.req("E-15")
def test_older_jobs_are_read_like_any_other(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(BYTES)
    objects = open_objects(read_settings(data=server.data), "")
    objects.put_file(
        "default/older/a.mp4",
        tmp_path / "a.mp4",
        content_type="video/mp4",
        sha256=hashlib.sha256(BYTES).hexdigest(),
    )
    file = tmp_path / "jobs.json"
    file.write_text(json.dumps(entries()))
    code, told = taken(server, file)
    assert code == 1, "some were refused"
    assert [one["outcome"] for one in told] == ["imported"] * 3 + ["refused"] * 4
    assert "only ended jobs" in told[3]["reason"] and "created_at" in told[4]["reason"]
    assert told[0]["missing"] == ["default/older/lost.mp4", "../../etc/passwd"]

    status = server.call("GET", f"/jobs/{OLD}/status")
    assert (status["status"], status["pipeline"], status["progress_pct"]) == ("completed", "proxy", 100)
    assert status["created_at"] == "2024-03-01T10:00:00Z" and len(status["warnings"]) == 2
    (url,) = status["download_urls"]
    assert httpx2.get(url, trust_env=False).content == BYTES
    job = server.job(OLD)
    assert job["user_id"] == "ann" and job["params"]["extra"] == {"session": 7}
    failed = server.call("GET", f"/jobs/{told[1]['new_id']}/status")
    assert (failed["status"], failed["error"]["code"], failed["error"]["detail"]) == (
        "failed",
        "imported_failure",
        "It broke.",
    )
    assert server.call("POST", f"/jobs/{told[1]['new_id']}/retry", 410)["code"] == "source_gone"
    assert server.call("GET", f"/jobs/{told[2]['new_id']}/status")["status"] == "cancelled"
    assert server.client.get(f"/api/v1/jobs/{OLD}/events").status_code == 204

    again = taken(server, file)[1]
    assert [one["outcome"] for one in again] == ["known"] * 3 + ["refused"] * 4
    assert [one["new_id"] for one in again[:3]] == [one["new_id"] for one in told[:3]]
    assert len(server.call("GET", "/jobs")["items"]) == 3
    file.write_text(json.dumps([{**entries()[1], "job_id": "redis:18"}]))
    assert taken(server, file)[0] == 0

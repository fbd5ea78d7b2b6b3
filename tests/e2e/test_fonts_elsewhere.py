"""An uploaded font on a cluster: a worker on another machine's disk draws with it; the command line sees to it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import servers
from media_sources import make_source
from reelmill.media.fonts import faces
from running import REELMILL
from working import works

FONT = next(face.path for face in faces() if "Ethiopic" in face.path.name)


@pytest.mark.req("B-05", "B-02")
def test_a_worker_elsewhere_draws_with_an_uploaded_font(
    tmp_path: Path, postgres_url: str, seaweed: servers.Seaweed, bucket: str
) -> None:
    with works(tmp_path, postgres_url, storage_url=seaweed.url(bucket)) as it:

        def fonts(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
            command = [str(REELMILL), "fonts", *words, "--url", it.server.url, "--api-key", it.server.key]
            done = subprocess.run(command, env=it.server.env, capture_output=True, text=True, timeout=120)
            assert done.returncode == code, done.stderr
            return done

        assert '"font": "House"' in fonts("add", str(FONT), "--name", "House").stdout
        (listed,) = json.loads(fonts("list", "--json").stdout)
        assert "House" in fonts("list").stdout
        it.upload(make_source(tmp_path / "film.mp4", seconds=2))
        job_id = it.run("clips", cutting={"duration_s": 2}, text={"text": "ሰላም", "font": "House"})
        refused = fonts("remove", "House", code=2)
        assert "error: " in refused.stderr and job_id in refused.stderr
        elsewhere = tmp_path / "elsewhere"
        it.worker(data=elsewhere)
        assert it.server.wait(job_id)["status"] == "completed"
        kept = elsewhere / "cache" / "fonts" / f"{listed['sha256']}.ttf"
        assert kept.read_bytes() == FONT.read_bytes()
        assert fonts("remove", "House").stdout == "House is removed.\n"
        assert json.loads(fonts("list", "--json").stdout) == []
        assert "There is no uploaded font 'House'" in fonts("remove", "House", code=2).stderr
        stored = seaweed.client().list_objects_v2(Bucket=bucket).get("Contents", [])
        assert not [one["Key"] for one in stored if "/fonts/" in one["Key"]]

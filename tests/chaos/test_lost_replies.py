"""A database that does what it is told, and whose answer never comes: the write is known only by its row."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from verdict import read

from faults import Proxy
from media_sources import make_source
from running import Server
from working import QUICK


class LastWord:
    """Picks the statement that ends a step: it is a transaction by itself, done when it is answered."""

    def __init__(self) -> None:
        self.lost = 0

    def __call__(self, block: bytes) -> bool:
        if self.lost or b"INSERT INTO artifacts" not in block:
            return False
        self.lost += 1
        return True


@pytest.mark.req("A-02", "C-07", "E-05")
def test_a_recorded_file_stays_when_the_answer_to_its_record_is_lost(tmp_path: Path, postgres_url: str) -> None:
    film = make_source(tmp_path / "film.mp4", seconds=1, width=320, height=180)
    port = urlsplit(postgres_url).port
    assert port is not None
    word = LastWord()
    with Proxy("127.0.0.1", port) as proxy:
        url = postgres_url.replace(f":{port}/", f":{proxy.port}/")
        with Server(tmp_path / "data", database_url=url, workers=1, **QUICK | {"poll_s": 0.5}) as server:
            video = server.upload(film)["video_id"]
            proxy.loses_reply = word
            body = {"video_id": video, "pipeline": "slow_writer", "params": {"steps": 2, "seconds": 0}}
            job_id = server.call("POST", "/jobs", json=body)["job_id"]
            assert server.wait(job_id)["status"] == "completed"
            assert word.lost == 1
            assert "isn't ours any more" not in server.log.read_text(), "it only is recorded already"
            named = {artifact["key"] for artifact in read(postgres_url).artifacts}
            assert len(named) == 3 and named <= server.stored()

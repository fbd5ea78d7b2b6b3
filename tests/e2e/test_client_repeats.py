"""The Python client makes things once, whatever becomes of the replies."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults import Proxy
from reelmill import Client
from reelmill.errors import ServerUnreachable
from running import Server, free_port
from samples import sample


class Once:
    """Picks the first request for a path."""

    def __init__(self, path: str) -> None:
        self._start = f"POST /api/v1{path} ".encode()
        self.lost = 0

    def __call__(self, block: bytes) -> bool:
        if self.lost or not block.startswith(self._start):
            return False
        self.lost += 1
        return True


@pytest.mark.req("A-02", "C-07")
def test_a_request_whose_reply_is_lost_makes_one_job_and_one_video(tmp_path: Path) -> None:
    with Server(tmp_path / "data", workers=1) as server, Proxy("127.0.0.1", server.port) as proxy:
        with Client(f"http://127.0.0.1:{proxy.port}", server.key, state=tmp_path / "state") as client:
            proxy.loses_reply = announced = Once("/uploads/initiate")
            video = client.upload(sample("bigbuckbunny.mp4"))
            proxy.loses_reply = made = Once("/jobs")
            job = client.create_job(video.video_id, "clips", {"cutting": {"duration_s": 30}})
        assert announced.lost == made.lost == 1
        assert [one["id"] for one in server.call("GET", "/videos")["items"]] == [video.video_id]
        assert [one["job_id"] for one in server.call("GET", "/jobs")["items"]] == [job.job_id]


@pytest.mark.req("C-07")
def test_a_server_that_is_not_there_is_told_of_at_once() -> None:
    with (
        Client(f"http://127.0.0.1:{free_port()}", "rm_none", patience_s=3600) as client,
        pytest.raises(ServerUnreachable),
    ):
        client.create_job("0" * 36, "clips", {})

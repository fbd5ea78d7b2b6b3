"""The largest uploads, resumed after kills and cuts, in flat memory on both sides."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import psutil
import pytest

from large_films import make_large_film
from sending import MIB, finish, kill_at, lined, start_sender


@pytest.mark.long
@pytest.mark.req("E-14")
def test_five_gigabytes_resumed_after_five_kills(tmp_path: Path) -> None:
    size = 5 * 1024 * MIB
    film = make_large_film(tmp_path / "film.mp4", size)
    with lined(tmp_path) as line:
        assert line.server.process is not None
        server = psutil.Process(line.server.process.pid)
        largest = 0
        for cut in range(1, 6):
            line.proxy.cut_after(700 * MIB, request=b"PUT")
            sender = start_sender(line, film, part_size=16 * MIB)
            while line.put_bytes() < cut * 800 * MIB:
                largest = max(largest, server.memory_info().rss)
                time.sleep(0.05)
            kill_at(line, sender, 0)
        video_id, resumed, memory_kb = finish(start_sender(line, film, part_size=16 * MIB))
        largest = max(largest, server.memory_info().rss)

        assert resumed > 3000 * MIB
        assert line.put_bytes() <= size + 10 * 4 * 16 * MIB
        assert memory_kb < 150_000
        assert largest < 400 * MIB
        assert line.status(video_id) == "uploaded"
    shutil.rmtree(tmp_path)  # pytest would keep it for a while

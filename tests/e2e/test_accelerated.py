"""Files that a real proxy in front of the server sends by itself: X-Accel-Redirect, as nginx and Caddy know it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

import caddy
from media_sources import make_source
from running import Server

ACCEL = "/_files"


@pytest.mark.req("E-03")
def test_the_proxy_sends_what_the_server_allows(tmp_path: Path) -> None:
    film = make_source(tmp_path / "film.mp4", seconds=2, width=320, height=180)
    data = tmp_path / "data"
    with Server(data, workers=2, accel=ACCEL) as server:
        job = server.upload(film, pipeline="clips", params={"cutting": {"duration_s": 10}})["job_id"]
        assert server.wait(job)["status"] == "completed"
        (one,) = (each for each in server.call("GET", f"/jobs/{job}/artifacts")["items"] if each["primary"])
        signed = urlsplit(one["url"])
        plain = server.client.get(f"{signed.path}?{signed.query}")
        assert (plain.content, plain.headers["x-accel-redirect"]) == (b"", f"{ACCEL}/{one['key']}")
        files = data / "objects" / "objects"
        upstream = urlsplit(server.url).netloc
        with (
            caddy.accelerator(tmp_path / "caddy", upstream, files=files, accel=ACCEL) as proxied,
            httpx2.Client(base_url=proxied, headers=server.client.headers, trust_env=False) as http,
        ):
            for path in (f"{signed.path}?{signed.query}", f"/api/v1/jobs/{job}/download?via=api"):
                whole = http.get(path)
                assert hashlib.sha256(whole.content).hexdigest() == one["sha256"]
                assert whole.headers["content-type"] == "video/mp4"
                assert whole.headers["x-content-type-options"] == "nosniff"
                assert "x-accel-redirect" not in whole.headers
                part = http.get(path, headers={"Range": "bytes=-100"})
                assert (part.status_code, part.content) == (206, whole.content[-100:])
                again = http.get(path, headers={"If-None-Match": whole.headers["etag"]})
                assert (again.status_code, again.content) == (304, b"")
            attached = http.get(f"/api/v1/jobs/{job}/download?via=api").headers["content-disposition"]
            assert attached == f'attachment; filename="{one["name"]}"'
            assert http.get(f"{signed.path}?{signed.query}0").status_code == 403
            assert http.get(f"{ACCEL}/{one['key']}").status_code == 404  # nobody asks for the file itself

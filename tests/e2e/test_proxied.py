"""Behind a real reverse proxy with TLS, below a path of its host: every link and cookie is right from outside."""

from __future__ import annotations

import hashlib
import json
import os
import re
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

import caddy
from media_sources import make_source
from running import REELMILL, Server

CLIPS = {"cutting": {"kind": "fixed", "duration_s": 1.0}}


@dataclass(frozen=True)
class Outside:
    """What a client beyond the proxy has."""

    url: str
    http: httpx2.Client
    server: Server
    trusted: ssl.SSLContext
    root: Path


@pytest.fixture(scope="module", params=[True, False], ids=["prefix taken off", "prefix passed on"])
def outside(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    folder = tmp_path_factory.mktemp("proxied")
    with caddy.door() as door:
        server = Server(folder / "data", workers=2, public_url=door.url, trusted_proxies="127.0.0.1")
        upstream = f"127.0.0.1:{server.port}"
        with server, caddy.proxy(folder / "caddy", door, upstream, strips=request.param) as trusted:
            keys = {"Authorization": f"Bearer {server.key}"}
            with httpx2.Client(verify=trusted, headers=keys, trust_env=False, timeout=60) as http:
                yield Outside(door.url, http, server, trusted, caddy.root_of(folder / "caddy"))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("film") / "film.mp4", seconds=2, width=320, height=180)


def test_a_film_goes_in_and_clips_come_out_through_the_proxy(outside: Outside, film: Path) -> None:
    http, url = outside.http, outside.url
    about = {"filename": "film.mp4", "size": film.stat().st_size, "content_type": "video/mp4"}
    begun = http.post(f"{url}/api/v1/uploads/initiate", json={**about, "pipeline": "clips", "params": CLIPS}).json()
    upload = begun["upload"]
    assert upload["url"].startswith(f"{url}/objects/")
    sent = http.put(upload["url"], content=film.read_bytes(), headers=upload["headers"])
    assert sent.status_code == 200, sent.text
    done = http.post(f"{url}/api/v1/uploads/complete", json={"video_id": begun["video_id"]})
    assert done.status_code == 200, done.text
    with http.stream("GET", f"{url}/api/v1/jobs/{begun['job_id']}/events") as events:
        assert "job.completed" in "".join(events.iter_text())
    for one in http.get(f"{url}/api/v1/jobs/{begun['job_id']}/artifacts").json()["items"]:
        assert one["url"].startswith(f"{url}/objects/")
        content = http.get(one["url"]).content
        assert hashlib.sha256(content).hexdigest() == one["sha256"]
        redirect = http.get(f"{url}/api/v1/jobs/{begun['job_id']}/download", params={"artifact": one["id"]})
        assert redirect.headers["location"].startswith(f"{url}/objects/")
    share = http.post(f"{url}/api/v1/jobs/{begun['job_id']}/share", json={}).json()
    assert share["url"].startswith(f"{url}/share/")
    page = http.get(share["url"])
    assert page.status_code == 200
    for source in re.findall(r'(?:src|poster)="([^"]*)"', page.text):
        assert http.get(str(httpx2.URL(share["url"]).join(source)), follow_redirects=True).status_code == 200, source
    part = http.get(content_url := one["url"], headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, content[:10])
    assert http.head(content_url).status_code == 200


def test_the_client_and_the_command_line_work_with_the_public_address(
    outside: Outside, film: Path, tmp_path: Path
) -> None:
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("REELMILL_")},
        "REELMILL_URL": outside.url,
        "REELMILL_API_KEY": outside.server.key,
        "SSL_CERT_FILE": str(outside.root),
    }
    words = [
        "upload",
        str(film),
        "--pipeline",
        "clips",
        "--params",
        json.dumps(CLIPS),
        "--wait",
        "--download",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(
        [str(REELMILL), *words, "--json"], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*.mp4"))) == 2


def test_the_browser_signs_in_below_the_path(outside: Outside) -> None:
    lines = outside.server.log.read_text().splitlines()
    link = next(line.split()[-1] for line in lines if line.strip().startswith("sign in once"))
    token = link.partition("?token=")[2]
    with httpx2.Client(verify=outside.trusted, trust_env=False) as browser:
        came = browser.get(f"{outside.url}/signin", params={"token": token})
        assert (came.status_code, came.headers["location"]) == (303, "/reelmill/")
        cookie = came.headers["set-cookie"].lower()
        assert "path=/reelmill/" in cookie and "secure" in cookie and "httponly" in cookie
        assert browser.get(f"{outside.url}/api/v1/jobs").status_code == 200
        page = browser.get(f"{outside.url}/docs")
        assert page.status_code == 200 and 'href="openapi.json"' in page.text
        origin = outside.url.removesuffix("/reelmill")
        for sender, status in ((origin, 201), ("https://evil.example", 403)):
            made = browser.post(
                f"{outside.url}/api/v1/keys", json={"name": "x", "scopes": ["upload"]}, headers={"Origin": sender}
            )
            assert made.status_code == status
        assert browser.post(f"{outside.url}/signout", headers={"Origin": origin}).status_code == 204
        assert browser.get(f"{outside.url}/api/v1/jobs").status_code == 401


def test_the_document_names_the_path_and_the_log_the_client(outside: Outside) -> None:
    document = outside.http.get(f"{outside.url}/openapi.json").json()
    assert document["servers"] == [{"url": "/reelmill"}]
    assert outside.http.get(f"{outside.url}/healthz").status_code == 200
    for path in ("/reelmillx/healthz", "/healthz"):
        assert outside.http.get(outside.url.removesuffix("/reelmill") + path).status_code == 404
    local = httpx2.get(f"{outside.server.url}/healthz", trust_env=False)
    assert local.status_code == 200, "without the proxy the paths are as ever"


def test_the_doctor_finds_storage_by_its_public_address(outside: Outside) -> None:
    env = {**outside.server.env, "SSL_CERT_FILE": str(outside.root), "REELMILL_PORT": str(outside.server.port)}
    done = subprocess.run(
        [str(REELMILL), "doctor", "--json"], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    public = next(one for one in json.loads(done.stdout)["findings"] if one["name"] == "public")
    assert public["level"] == "ok" and outside.url.startswith(public["data"]["url"]), public


def test_the_proxy_is_believed_about_its_clients(outside: Outside) -> None:
    """Whoever comes without a key is counted by the address that the trusted proxy names."""
    policies = [
        httpx2.get(f"{url}/api/v1/jobs", verify=outside.trusted, trust_env=False).headers["ratelimit-policy"]
        for url in (outside.url, outside.server.url)
    ]
    assert all("address" in policy for policy in policies)

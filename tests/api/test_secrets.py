"""A whole life of a server, and then a look into everything that it wrote: no secret is there."""

from __future__ import annotations

import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from running import Server


def signature_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["signature"][0]


def link_of(server: Server) -> str:
    """Return the sign-in link, which is printed once, for the person at the machine."""
    deadline = time.monotonic() + 30
    while (found := re.search(r"http://\S+/signin\?token=(\S+)", server.log.read_text())) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found[0]


@pytest.mark.req("E-11")
def test_no_secret_is_in_the_log_or_in_the_database_of_a_whole_run(tmp_path: Path, film: Path) -> None:
    with Server(tmp_path / "data", log_level="debug", workers=1) as server:
        link = link_of(server)
        server.call("GET", "/keys", 403)
        boss = server.run("keys", "create", "boss", "--scope", "admin", "--quiet").strip()
        admin = httpx2.Client(base_url=f"{server.url}/api/v1", headers={"X-API-Key": boss}, timeout=60, trust_env=False)
        made = admin.post("/keys", json={"name": "a", "scopes": ["upload"]}, headers={"Idempotency-Key": "k1"}).json()
        turned = admin.post(f"/keys/{made['id']}/rotate", json={"overlap_s": 0}, headers={"Idempotency-Key": "k2"})
        secrets = [server.key, boss, made["secret"], turned.json()["secret"], (server.data / "cli.key").read_text()]

        for wrong in (made["secret"], "rm_" + "guess" * 8, "other-" * 20):  # stopped, unknown, misshapen
            for headers in ({"Authorization": f"Bearer {wrong}"}, {"X-API-Key": wrong}):
                assert httpx2.get(f"{server.url}/api/v1/jobs", headers=headers, trust_env=False).status_code == 401
            secrets.append(wrong)

        browser = httpx2.Client(base_url=server.url, trust_env=False)
        assert browser.get(link).status_code == 303
        assert browser.get(link).status_code == 401
        assert browser.get("/api/v1/jobs").status_code == 200
        cookies = list(browser.cookies.values())
        assert browser.post("/signout", headers={"Origin": server.url}).status_code == 204
        for value in cookies:
            secrets += [value, value.rpartition(".")[2]]

        begun = server.upload(film, pipeline="clips", params={"cutting": {"kind": "fixed", "duration_s": 1}})
        status = server.wait(begun["job_id"])
        assert status["status"] == "completed", status
        urls = [begun["upload"]["url"], *status["download_urls"]]
        for url in urls:
            assert httpx2.get(url[:-1] + ("0" if url[-1] != "0" else "1"), trust_env=False).status_code == 403
        assert httpx2.get(status["download_urls"][0], trust_env=False).status_code == 200
        about = {"filename": "a.mp4", "size": 9, "content_type": "video/mp4"}
        kept = server.call("POST", "/uploads/initiate", 201, json=about, headers={"Idempotency-Key": "k3"})
        assert httpx2.put(kept["upload"]["url"], content=b"short", trust_env=False).status_code == 400
        server.call("POST", "/uploads/complete", 400, json={"video_id": kept["video_id"]})
        again = server.call("POST", f"/jobs/{begun['job_id']}/retry", 409, headers={"Idempotency-Key": "k4"})
        assert again["code"] == "transition_refused"
        secrets += [signature_of(url) for url in (*urls, kept["upload"]["url"])]
        browser.close()
        admin.close()

    log = server.log.read_text()
    assert log.count('"event": "request"') > 20, "the log is there"
    token = urlsplit(link).query.partition("=")[2]
    assert log.count(token) == 1, "only in the line that shows the link"
    stored = b"".join(path.read_bytes() for path in server.data.glob("reelmill.db*"))
    for secret in (one.strip() for one in secrets):
        assert len(secret) > 20
        assert secret not in log, f"{secret[:8]}… is in the log"
        assert secret.encode() not in stored, f"{secret[:8]}… is in the database"
    assert b"signature=" not in stored

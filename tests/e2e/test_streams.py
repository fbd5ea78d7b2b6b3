"""A private stream on a private bucket, played by what people play it with: hls.js in Chromium, ffprobe, ffmpeg.

The page, the API and the store are three origins.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2
import pytest
from playwright.sync_api import Browser, sync_playwright

import servers
from media_sources import make_source
from players import SYSTEM_FFMPEG
from reelmill.media import find_ffmpeg
from reelmill.objects.s3 import S3Store
from reelmill.objects.s3_place import read_place
from running import Server

HLSJS = Path(__file__).resolve().parents[2] / ".cache/hlsjs/node_modules/hls.js/dist/hls.min.js"
SECONDS = 6
PAGE = "<!doctype html><title>player</title><script src=hls.min.js></script><video muted></video>"
PLAYS = """async ([url, key]) => {
  const video = document.querySelector('video');
  const seen = {sizes: [], errors: [], levels: 0};
  const hls = new Hls({
    startLevel: 0,
    xhrSetup: (xhr, to) => { if (key && to.includes('/api/')) xhr.setRequestHeader('Authorization', `Bearer ${key}`) },
  });
  const once = (target, name) => new Promise(done => target.addEventListener(name, done, {once: true}));
  hls.on(Hls.Events.ERROR, (_, data) => { seen.errors.push([data.details, data.fatal, data.response?.code]) });
  const fatal = new Promise(done => hls.on(Hls.Events.ERROR, (_, data) => data.fatal && done('fatal')));
  const parsed = new Promise(done => hls.on(Hls.Events.MANIFEST_PARSED, (_, data) => done(data.levels.length)));
  hls.loadSource(url);
  hls.attachMedia(video);
  const found = await Promise.race([parsed, fatal]);
  if (found === 'fatal') return seen;
  seen.levels = found;
  video.addEventListener('resize', () => seen.sizes.push(video.videoHeight));
  hls.currentLevel = 0;
  if (await Promise.race([once(video, 'loadeddata'), fatal]) === 'fatal') return seen;
  const switched = once(video, 'resize');
  hls.currentLevel = seen.levels - 1;
  video.play();
  if (await Promise.race([switched, fatal]) === 'fatal') return seen;
  video.playbackRate = 4;
  if (await Promise.race([once(video, 'ended'), fatal]) === 'fatal') return seen;
  seen.at = video.currentTime; seen.duration = video.duration;
  return seen;
}"""


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin of a page with the real hls.js."""
    assert HLSJS.is_file(), "there is no hls.js: run `make hlsjs`"
    folder = tmp_path_factory.mktemp("page")
    shutil.copy(HLSJS, folder)
    (folder / "index.html").write_text(PAGE)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert program, "there is no Chromium: run `make players`"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, seaweed: servers.Seaweed, site: str) -> Iterator[Server]:
    bucket = seaweed.create()
    S3Store(read_place(seaweed.url(bucket)), cors_origins=site).apply_cors()
    data = tmp_path_factory.mktemp("streams") / "data"
    with Server(data, storage_url=seaweed.url(bucket, "films"), cors_origins=site, workers=2) as it:
        yield it


@pytest.fixture(scope="module")
def ladder(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    film = make_source(tmp_path_factory.mktemp("film") / "film.mp4", seconds=SECONDS, width=640, height=360)
    job = server.upload(film, pipeline="hls_ladder", params={"heights": [90, 180]})["job_id"]
    assert server.wait(job)["status"] == "completed"
    return str(job)


def opened(server: Server, job_id: str, quality: str = "auto") -> str:
    """Return a URL that plays without a key."""
    reply = server.client.get(f"/api/v1/jobs/{job_id}/stream", params={"quality": quality})
    assert reply.status_code == 307, reply.text
    return urljoin(server.url, reply.headers["location"])


def played(chromium: Browser, site: str, url: str, key: str | None = None) -> dict[str, Any]:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(site)
    seen: dict[str, Any] = page.evaluate(PLAYS, [url, key])
    context.close()
    return seen


@pytest.mark.req("E-03")
@pytest.mark.parametrize("by", ["pass", "key"])
def test_hls_js_plays_and_switches_the_quality(
    chromium: Browser, site: str, server: Server, ladder: str, by: str
) -> None:
    if by == "pass":
        seen = played(chromium, site, opened(server, ladder))
    else:  # the page has a key, and asks the API itself
        seen = played(chromium, site, f"{server.url}/api/v1/jobs/{ladder}/stream", server.key)
    assert not [error for error in seen["errors"] if error[1]], seen
    assert (seen["levels"], seen["sizes"][-1]) == (2, 180), seen
    assert seen["at"] == pytest.approx(seen["duration"], abs=0.1)
    assert seen["duration"] == pytest.approx(SECONDS, abs=0.2)


@pytest.mark.req("E-03")
def test_without_a_pass_or_a_key_nothing_plays(
    chromium: Browser, site: str, server: Server, ladder: str, seaweed: servers.Seaweed
) -> None:
    url = opened(server, ladder)
    job_id, expires, quality, signature = url.split("/")[4].split(".")
    ended = url.replace(
        f"{job_id}.{expires}.{quality}.{signature}", f"{job_id}.{int(expires) - 99999}.auto.{signature}"
    )
    for refused, code in ((ended, 403), (f"{server.url}/api/v1/jobs/{ladder}/stream", 401)):
        assert ["manifestLoadError", True, code] in played(chromium, site, refused)["errors"]
    media = httpx2.get(urljoin(url, "hls/90p.m3u8"), trust_env=False).text
    signed = next(line for line in media.splitlines() if line.startswith("http"))
    assert urlsplit(signed).netloc == urlsplit(seaweed.endpoint()).netloc
    assert httpx2.get(signed, trust_env=False).status_code == 200
    assert httpx2.get(signed.partition("?")[0], trust_env=False).status_code == 403


@pytest.mark.req("E-03")
@pytest.mark.parametrize("quality", ["auto", "180p", "90p"])
def test_ffprobe_and_ffmpeg_read_it_to_the_end(server: Server, ladder: str, quality: str) -> None:
    url = opened(server, ladder, quality)
    probe = [str(SYSTEM_FFMPEG.with_name("ffprobe")), "-v", "error", "-show_streams", "-of", "json", url]
    told = json.loads(subprocess.run(probe, check=True, capture_output=True, timeout=60).stdout)["streams"]
    heights = {one["height"] for one in told if one["codec_type"] == "video"}
    assert heights == ({90, 180} if quality == "auto" else {int(quality[:-1])})
    assert "audio" in {one["codec_type"] for one in told}
    # ffmpeg 9.0 stops after the first segment over HTTP, from any server, when several variants are one file each.
    newest = [] if quality == "auto" else [str(find_ffmpeg(None))]
    for program in (str(SYSTEM_FFMPEG), *newest):
        words = [program, "-nostdin", "-v", "error", "-xerror", "-i", url, "-progress", "-", "-f", "null", "-"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, ""), program
        frames = [int(line.split("=")[1]) for line in done.stdout.splitlines() if line.startswith("frame=")]
        assert frames[-1] == pytest.approx(SECONDS * 25, abs=1)


@pytest.mark.req("E-03")
def test_a_shared_page_plays_in_a_browser_without_a_script(chromium: Browser, server: Server, ladder: str) -> None:
    share = server.call("POST", f"/jobs/{ladder}/share", 201, json={})
    context = chromium.new_context(java_script_enabled=True)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    for url in (f"{share['url']}?quality=180p", share["url"]):
        page.goto(url)
        video = page.locator("video")
        video.evaluate("video => { video.muted = true; video.playbackRate = 4; return video.play() }")
        video.evaluate("video => video.ended || new Promise(done => { video.onended = () => done(true) })")
        assert video.evaluate("video => video.duration") == pytest.approx(SECONDS, abs=0.2)
        assert page.evaluate("document.scripts.length") == 0
    assert not [text for text in said if "Content Security Policy" in text], said
    context.close()


@pytest.mark.req("E-03")
def test_parts_come_from_a_bucket_through_the_api(server: Server, ladder: str) -> None:
    url = f"/api/v1/jobs/{ladder}/download?artifact=180p.mp4&via=api"
    whole = server.client.get(url)
    part = server.client.get(url, headers={"Range": "bytes=-1000", "If-Range": whole.headers["etag"]})
    assert (part.status_code, part.content) == (206, whole.content[-1000:])
    assert server.client.get(url, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    assert server.client.head(url).headers["content-length"] == str(len(whole.content))
    away = server.client.get(url.replace("&via=api", ""))
    assert httpx2.get(away.headers["location"], trust_env=False).content == whole.content

"""Renditions in a real Chromium through hls.js: begun in the smallest size, changed on the way, played to the end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from clipping import ME, ended, put
from media_sources import Served, make_source
from reelmill.settings import Settings
from reelmill.wiring import build

PLAYER = Path(__file__).resolve().parents[2] / ".cache" / "hlsjs" / "node_modules" / "hls.js" / "dist" / "hls.min.js"
PLAYS = """async url => {
  const video = document.createElement('video');
  video.muted = true;
  document.body.append(video);
  const told = {levels: [], switched: [], errors: [], sizes: []};
  const hls = new Hls({startLevel: 0, maxBufferLength: 2, maxMaxBufferLength: 2});
  hls.on(Hls.Events.ERROR, (_, data) => { if (data.fatal) told.errors.push(data.details + ' ' + data.reason); });
  hls.on(Hls.Events.LEVEL_SWITCHED, (_, data) => told.switched.push(data.level));
  const parsed = new Promise(done => hls.once(Hls.Events.MANIFEST_PARSED, (_, data) => {
    told.levels = data.levels.map(level => [level.width, level.height, level.videoCodec, level.audioCodec]);
    done();
  }));
  hls.loadSource(url);
  hls.attachMedia(video);
  await parsed;
  hls.loadLevel = 0;
  const ended = new Promise((done, fail) => {
    video.addEventListener('ended', done, {once: true});
    video.addEventListener('error', () => fail(new Error(video.error.message)), {once: true});
    hls.on(Hls.Events.ERROR, (_, data) => { if (data.fatal) fail(new Error(data.details)); });
  });
  await new Promise(done => video.addEventListener('loadeddata', done, {once: true}));
  told.begins = video.buffered.start(0);
  told.sizes.push([video.videoWidth, video.videoHeight]);
  hls.nextLevel = 1;
  await video.play();
  await ended;
  told.sizes.push([video.videoWidth, video.videoHeight]);
  const quality = video.getVideoPlaybackQuality();
  return {...told, duration: video.duration, at: video.currentTime,
          corrupted: quality.corruptedVideoFrames || 0, shown: quality.totalVideoFrames};
}"""


@pytest.mark.req("E-03")
def test_a_player_changes_the_size_on_the_way(tmp_path: Path) -> None:
    assert PLAYER.is_file(), "there is no hls.js: run `make hlsjs`"
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert browser, "there is no Chromium: run `make players`"
    params = {"heights": [360, 480], "segment_s": 2.0, "chunk_s": 4.0, "thumbnails": 0, "storyboard": False}
    folder = tmp_path / "site"
    with build(Settings(data=tmp_path / "data", workers=2)) as app:
        film = make_source(tmp_path / "film.mp4", seconds=10, rate="30", width=960, height=540)
        job = ended(app, app.service.create_job(ME, put(app, film), "renditions", params).id)
        for artifact in app.store.artifacts(job.id):
            (folder / artifact.key).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(app.objects.locate(artifact.key)), folder / artifact.key)
        (master,) = (one for one in app.store.artifacts(job.id) if one.kind == "hls_master")
    shutil.copyfile(PLAYER, folder / "hls.js")
    (folder / "page.html").write_text("<!doctype html><title>player</title><script src='hls.js'></script>")
    with Served(folder) as served, sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        try:
            page = running.new_page()
            page.goto(f"{served.url}/page.html")
            told: dict[str, Any] = page.evaluate(PLAYS, f"{served.url}/{master.key}")
        finally:
            running.close()
    assert [level[:2] for level in told["levels"]] == [[640, 360], [854, 480]]
    assert all(level[2].startswith("avc1.64") and level[3] == "mp4a.40.2" for level in told["levels"])
    assert told["errors"] == [] and told["corrupted"] == 0
    assert told["sizes"] == [[640, 360], [854, 480]] and told["switched"] == [0, 1]
    assert told["begins"] == 0 and abs(told["duration"] - 10) < 0.03 and abs(told["at"] - 10) < 0.03
    assert told["shown"] > 0

"""What was made, played by what people play it with: a real Chromium, and the system's own, older ffmpeg."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from media_sources import Served

SYSTEM_FFMPEG = Path("/usr/bin/ffmpeg")
PLAYS = """async ([url, moments]) => {
  const video = document.createElement('video');
  video.muted = true;
  document.body.append(video);
  const once = name => new Promise((done, fail) => {
    video.addEventListener(name, done, {once: true});
    video.addEventListener('error', () => fail(new Error(video.error.message)), {once: true});
  });
  video.src = url;
  await once('loadeddata');
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth; canvas.height = video.videoHeight;
  const pen = canvas.getContext('2d', {willReadFrequently: true});
  const pictures = [];
  for (const moment of moments) {
    video.currentTime = moment;
    await once('seeked');
    pen.drawImage(video, 0, 0);
    pictures.push(Array.from(pen.getImageData(0, 0, canvas.width, canvas.height).data.filter((_, n) => n % 4 == 1)));
  }
  video.currentTime = 0;
  await once('seeked');
  video.playbackRate = 4;
  const ended = once('ended');
  await video.play();
  await ended;
  const quality = video.getVideoPlaybackQuality();
  return {duration: video.duration, width: video.videoWidth, height: video.videoHeight, at: video.currentTime,
          shown: quality.totalVideoFrames, corrupted: quality.corruptedVideoFrames || 0, pictures};
}"""


@dataclass(frozen=True)
class Played:
    """What Chromium says of a file that it played to its end."""

    duration: float  #: seconds
    width: int  #: pixels
    height: int
    at: float  #: seconds at which it ended
    shown: int  #: frames
    corrupted: int
    pictures: list[list[int]]  #: the green of each pixel, row by row, at the moments asked for


def played(path: Path, moments: Sequence[float] = ()) -> Played:
    """Play a file in Chromium from beginning to end; look at its pictures at some moments (seconds) before."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert browser, "there is no Chromium: run `make players`"
    with Served(path.parent) as served, sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        try:
            page = running.new_page()
            (path.parent / "blank.html").write_text("<!doctype html><title>player</title>")
            page.goto(f"{served.url}/blank.html")
            told: dict[str, Any] = page.evaluate(PLAYS, [f"{served.url}/{path.name}", list(moments)])
        finally:
            running.close()
    return Played(**told)


def decoded_by_the_systems(path: Path) -> str:
    """Decode a file with the system's ffmpeg, which stops at the least fault. Return its version."""
    assert SYSTEM_FFMPEG.exists(), "there is no system's ffmpeg: run `make players`"
    words = [str(SYSTEM_FFMPEG), "-nostdin", "-v", "error", "-xerror", "-err_detect", "explode", "-i", str(path)]
    done = subprocess.run([*words, "-f", "null", "-"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and not done.stderr, done.stderr
    told = subprocess.run([str(SYSTEM_FFMPEG), "-version"], capture_output=True, text=True, timeout=60).stdout
    found = re.search(r"version (\S+)", told)
    return found[1] if found else told

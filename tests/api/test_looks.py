"""Presets and previews over HTTP."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Client, Running

MINE = {"name": "acme news", "style": {"preset": "boxed", "box_color": "#123456", "size_pct": 8}}


@pytest.fixture
def asker(connect: Callable[..., Client]) -> Client:
    return connect("admin")


@pytest.mark.req("B-04")
def test_built_in_presets_are_listed_whole(asker: Client) -> None:
    listed = asker.call("GET", "/presets")["items"]
    ours = {one["name"]: one["style"] for one in listed if one["id"] is None}
    wanted = {"clean", "bold_outline", "boxed", "lower_third", "headline", "quote", "highlight", "minimal"}
    assert wanted <= ours.keys()
    assert asker.call("GET", "/presets")["fonts"] == []
    assert ours["highlight"]["box_shape"] == "lines" and "from_s" not in ours["highlight"]


@pytest.mark.req("B-04")
def test_a_job_keeps_the_look_that_its_preset_had(asker: Client, film: Path) -> None:
    kept = asker.call("POST", "/presets", 201, json=MINE)
    assert (kept["name"], kept["style"]["box_color"], kept["style"]["box_opacity"]) == ("acme news", "#123456", 0.8)
    video_id = asker.upload(film)["video_id"]
    params = {"cutting": {"duration_s": 60}, "text": {"text": "Hi", "preset": "acme news", "weight": 400}}
    job_id = asker.run(video_id, "clips", params)
    asker.call("PUT", f"/presets/{kept['id']}", json={"style": {"preset": "minimal"}})
    asker.wait(job_id)
    text = asker.call("GET", f"/jobs/{job_id}")["params"]["text"]
    assert (text["preset"], text["box_color"], text["size_pct"], text["weight"]) == ("acme news", "#123456", 8, 400)
    (clip,) = [one for one in asker.call("GET", f"/jobs/{job_id}/artifacts")["items"] if one["kind"] == "clip"]
    assert clip["meta"]["text_report"]["lines"] == ["Hi"] and clip["meta"]["text_report"]["contrast"] >= 4.5
    asker.call("DELETE", f"/presets/{kept['id']}")
    refused = asker.call("POST", "/jobs", 422, json={"video_id": video_id, "pipeline": "clips", "params": params})
    assert refused["errors"][0]["field"] == "text.preset"


@pytest.mark.parametrize(
    ("style", "field"),
    [
        ({"color": "red"}, "color"),
        ({"from_s": 1}, "from_s"),
        ({"preset": "nope"}, "preset"),
        ({"colour": "x"}, "colour"),
    ],
)
def test_what_is_no_look_is_refused(asker: Client, style: dict[str, Any], field: str) -> None:
    refused = asker.call("POST", "/presets", 422, json={"name": "x", "style": style})
    assert refused["code"] == "params_invalid" and refused["errors"][0]["field"] == field


def test_a_name_is_taken_once(asker: Client, connect: Callable[..., Client]) -> None:
    asker.call("POST", "/presets", 201, json={"name": "once", "style": {}})
    assert asker.call("POST", "/presets", 409, json={"name": "once", "style": {}})["code"] == "name_taken"
    assert asker.call("POST", "/presets", 409, json={"name": "clean", "style": {}})["code"] == "name_taken"
    other = connect("admin", tenant="other")
    assert "once" not in {one["name"] for one in other.call("GET", "/presets")["items"]}


@pytest.mark.req("B-04")
def test_a_preview_is_a_png_with_a_report(asker: Client, film: Path) -> None:
    video_id = asker.upload(film)["video_id"]
    body = {"video_id": video_id, "text": "Part {index} of {total}", "index": 2, "total": 5,
            "style": {"preset": "quote"}, "video": {"aspect": "1:1"}, "start_s": 0.2}  # fmt: skip
    reply = asker.request("POST", "/api/v1/texts/preview", json=body)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png")
    report = json.loads(reply.headers["text-report"])
    assert report["lines"] == ["Part 2 of 5"] and report["seen"] is True
    assert report["safe"] == {"left": 0.05, "top": 0.05, "right": 0.05, "bottom": 0.05}
    with Image.open(io.BytesIO(reply.content)) as picture:
        assert picture.size == (report["width"], report["height"]) and picture.width == picture.height
    for _ in range(2):
        again = asker.request("POST", "/api/v1/texts/preview", json=body, headers={"Idempotency-Key": "once"})
        assert again.status_code == 200 and again.content == reply.content


def test_what_no_preview_can_show_is_refused(asker: Client, film: Path) -> None:
    video_id = asker.upload(film)["video_id"]
    body = {"video_id": video_id, "text": "Hello " * 200, "style": {"min_size_pct": 6}}
    refused = asker.call("POST", "/texts/preview", 422, json=body)
    assert refused["code"] == "text_does_not_fit" and refused["longest"].startswith("Hello Hello")
    refused = asker.call("POST", "/texts/preview", 422, json={**body, "text": "x", "style": {"preset": "nope"}})
    assert refused["errors"][0]["field"] == "text.preset"
    refused = asker.call("POST", "/texts/preview", 422, json={**body, "text": "x", "at_s": 4000})
    assert "at_s" in refused["detail"]
    waiting = asker.initiate(film)["video_id"]
    assert asker.call("POST", "/texts/preview", 409, json={**body, "video_id": waiting})["code"] == "upload_needed"


def test_previews_that_nobody_waits_for_leave_nothing(server: Running, asker: Client, film: Path) -> None:
    """A client that types gives up one request after the other."""
    video_id = asker.upload(film)["video_id"]
    url, key = f"{server.url}/api/v1/texts/preview", server.key("jobs:read")
    for n in range(8):
        body = {"video_id": video_id, "text": f"Text {n}", "style": {"preset": "clean"}, "at_s": 0.1 * n}
        with suppress(httpx2.TimeoutException):
            httpx2.post(url, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=0.02)
    reply = asker.request("POST", "/api/v1/texts/preview", json={"video_id": video_id, "text": "The last"})
    assert reply.status_code == 200, "there is room for who waits"
    scratch = server.app.settings.data / "scratch"
    deadline = time.monotonic() + 60
    while left := [path for path in scratch.glob("*-previews-*/*") if path.is_dir()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)

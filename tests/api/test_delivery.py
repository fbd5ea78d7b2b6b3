"""What a job made, taken over HTTP: whole and in parts, as an archive, as a stream, as a picture, by a link."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from PIL import Image

from reelmill.api.zips import zipped, zipped_length
from reelmill.jobs import playlists

if TYPE_CHECKING:
    from conftest import Client, Running

Connect = Callable[..., "Client"]
Serve = Callable[..., AbstractContextManager["Running"]]

CLIPS = {"cutting": {"kind": "fixed", "duration_s": 1.0}}
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "hand-out-results.md"
ZEROS = bytes(1 << 20)
OPERATIONS = ("download", "stream", "metadata", "thumbnail")


@pytest.fixture(scope="module")
def ladder(client: Client, video_id: str) -> str:
    """A completed job with an adaptive stream in 90p and 180p, both as MP4s too, and a poster."""
    job_id = client.run(video_id, "hls_ladder", {})
    assert client.wait(job_id)["status"] == "completed"
    return job_id


@pytest.fixture(scope="module")
def clips(client: Client, video_id: str) -> str:
    """A completed job with two clips."""
    job_id = client.run(video_id, "clips", CLIPS)
    assert client.wait(job_id)["status"] == "completed"
    return job_id


def made(client: Client, job_id: str) -> dict[str, dict[str, Any]]:
    items = client.call("GET", f"/jobs/{job_id}/artifacts")["items"]
    return {one["name"]: one for one in items}


def bare(url: str, method: str = "GET", **headers: str) -> httpx2.Response:
    """Ask without any key."""
    return httpx2.request(method, url, headers=headers, trust_env=False, timeout=60, follow_redirects=True)


# ── files ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("E-02", "E-03")
def test_a_file_comes_by_a_redirect_or_through_the_api_the_same_bytes(client: Client, ladder: str) -> None:
    about = made(client, ladder)["180p.mp4"]
    path = f"/api/v1/jobs/{ladder}/download"
    away = client.get(path, params={"artifact": "180p.mp4"})
    assert (away.status_code, away.headers["cache-control"]) == (307, "no-store")
    fetched = bare(away.headers["location"])
    here = client.get(path, params={"artifact": "180p.mp4", "via": "api"})
    assert here.status_code == 200
    for reply in (fetched, here):
        assert hashlib.sha256(reply.content).hexdigest() == about["sha256"]
        assert reply.headers["content-disposition"] == 'attachment; filename="180p.mp4"'
        assert (reply.headers["etag"], reply.headers["accept-ranges"]) == (f'"{about["sha256"]}"', "bytes")
        assert (reply.headers["content-type"], reply.headers["content-length"]) == ("video/mp4", str(about["size"]))


@pytest.mark.req("E-03")
@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=100-", 100, None), ("bytes=-7", -7, None), ("bytes=5-99999999", 5, None)],
)
def test_a_part_comes_through_the_api(client: Client, ladder: str, asked: str, start: int, end: int | None) -> None:
    url = f"/api/v1/jobs/{ladder}/download?artifact=180p.mp4&via=api"
    whole = client.get(url).content
    reply = client.get(url, headers={"Range": asked})
    wanted = whole[start:end]
    first = len(whole) + start if start < 0 else start
    assert (reply.status_code, reply.content) == (206, wanted)
    assert reply.headers["content-range"] == f"bytes {first}-{first + len(wanted) - 1}/{len(whole)}"
    assert reply.headers["content-length"] == str(len(wanted))


@pytest.mark.req("E-03")
def test_conditions_and_impossible_parts(client: Client, ladder: str) -> None:
    url = f"/api/v1/jobs/{ladder}/download?artifact=180p.mp4&via=api"
    whole = client.get(url)
    size, etag = len(whole.content), whole.headers["etag"]
    beyond = client.get(url, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.json()["code"]) == (416, "range_unsatisfiable")
    assert beyond.headers["content-range"] == f"bytes */{size}"
    for several in ("bytes=0-1,5-6", "bytes=9-1", "lines=1-2"):
        assert client.get(url, headers={"Range": several}).status_code == 200
    part = {"Range": "bytes=1-3"}
    assert client.get(url, headers={**part, "If-Range": etag}).status_code == 206
    assert client.get(url, headers={**part, "If-Range": whole.headers["last-modified"]}).status_code == 206
    assert client.get(url, headers={**part, "If-Range": '"another"'}).content == whole.content
    for unchanged in ({"If-None-Match": etag}, {"If-Modified-Since": whole.headers["last-modified"]}):
        reply = client.get(url, headers=unchanged)
        assert (reply.status_code, reply.content, reply.headers["etag"]) == (304, b"", etag)


@pytest.mark.req("E-03")
def test_head_tells_what_get_would_send(client: Client, ladder: str, clips: str) -> None:
    for path in (f"{ladder}/download?artifact=90p.mp4&via=api", f"{clips}/download", f"{ladder}/thumbnail"):
        got = client.get(f"/api/v1/jobs/{path}")
        head = client.head(f"/api/v1/jobs/{path}")
        assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
        for name in ("content-length", "content-type", "etag", "content-disposition", "cache-control"):
            assert head.headers.get(name) == got.headers.get(name), (path, name)
    # A URL that S3 signed for GET takes no HEAD, so none is redirected.
    assert client.head(f"/api/v1/jobs/{ladder}/download?artifact=90p.mp4").status_code == 200
    assert client.head(f"/api/v1/jobs/{ladder}/metadata").status_code == 200


def test_head_needs_a_key_too(client: Client, connect: Connect, ladder: str) -> None:
    nobody, stranger = connect(), connect("admin", tenant="other")
    uploader = connect("upload")
    for prefix in ("/api/v1/jobs", "/api/v1/videos/jobs"):
        for operation in OPERATIONS:
            url = f"{prefix}/{ladder}/{operation}"
            assert nobody.head(url).status_code == 401
            assert uploader.head(url).status_code == 403
            assert stranger.head(url).status_code == 404
            assert client.head(url).status_code in (200, 307)


@pytest.mark.req("E-03")
def test_several_results_are_one_archive_of_known_length(client: Client, clips: str) -> None:
    reply = client.get(f"/api/v1/jobs/{clips}/download")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/zip")
    assert reply.headers["content-disposition"] == f'attachment; filename="clips-{clips[:8]}.zip"'
    assert reply.headers["content-length"] == str(len(reply.content))
    about = {name: one for name, one in made(client, clips).items() if one["primary"]}
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert archive.testzip() is None
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_STORED}
        found = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
    assert found == {name: one["sha256"] for name, one in about.items()} and len(found) == 2


def zeros(key: str) -> Iterator[bytes]:
    """Yield as many as the key says."""
    left = int(key)
    while left:
        yield ZEROS[:left]
        left -= len(ZEROS[:left])


@pytest.mark.parametrize(
    "members",
    [
        [("a.mp4", 0)],
        [("a.mp4", 10), ("ein Grüß.mp4", 1 << 20), ("hls/日本.m4s", 3)],
        [("large.mp4", (1 << 31) + 5), ("behind.mp4", 7)],
    ],
    ids=["empty", "names", "large"],
)
def test_an_archives_length_is_known_before(server: Running, ladder: str, members: list[tuple[str, int]]) -> None:
    like = server.app.store.artifacts(ladder)[0]
    blocks = zipped(zeros, [replace(like, name=name, key=str(size), size_bytes=size) for name, size in members])
    assert sum(map(len, blocks)) == zipped_length(members)


@pytest.mark.req("D-05")
def test_what_a_running_job_has_made_can_be_taken_by_name(
    serve: Serve, film: Path, tmp_path: Path, connect: Connect
) -> None:
    with serve(tmp_path / "data", workers=0) as server, connect("admin", of=server) as client:
        job_id = client.run(client.upload(film)["video_id"], "two_pass", {})
        path = f"/api/v1/jobs/{job_id}/download"
        assert client.get(f"{path}?artifact=head.bin").json()["code"] == "not_ready"
        (claim,) = server.app.store.claim("this test", limit=1, lease_s=600)
        server.app.runner.run(claim)
        assert client.get(path).json()["code"] == "not_ready"
        assert client.get(f"{path}?artifact=head.bin&via=api").content == film.read_bytes()[:4096]
        assert client.get(f"{path}?artifact=entropy-0.json").status_code == 404


def test_what_there_is_not_is_told(client: Client, ladder: str, video_id: str, film: Path) -> None:
    for path in ("download?artifact=none.mp4", "stream?artifact=none.mp4", "thumbnail?artifact=none.jpg"):
        reply = client.get(f"/api/v1/jobs/{ladder}/{path}")
        assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
    told = client.get(f"/api/v1/jobs/{ladder}/stream?quality=2160p").json()
    assert told["status"] == 404 and "90p" in told["detail"] and "180p" in told["detail"]
    plain = client.run(video_id, "slow_writer", {"steps": 1, "seconds": 0})
    client.wait(plain)
    for path in ("stream", "thumbnail"):
        assert client.get(f"/api/v1/jobs/{plain}/{path}").status_code == 404
    waiting = client.initiate(film, pipeline="slow_writer")["job_id"]
    for path in (*OPERATIONS, "stream?quality=720p"):
        reply = client.get(f"/api/v1/jobs/{waiting}/{path}")
        assert (reply.status_code, reply.json()["code"]) == (409, "not_ready")


@pytest.mark.req("E-02", "E-03")
def test_the_commands_of_the_page_work(client: Client, server: Running, ladder: str, tmp_path: Path) -> None:
    commands = [block for block in re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL) if "curl" in block]
    assert len(commands) >= 6
    told = {**os.environ, "URL": server.url, "KEY": str(client.key), "JOB": ladder, "NO_PROXY": "*"}
    for command in commands:
        words = ["bash", "-euc", command.replace("720p", "180p")]
        done = subprocess.run(words, cwd=tmp_path, env=told, capture_output=True, timeout=60)
        assert done.returncode == 0, (command, done.stderr)
    assert (tmp_path / "head").stat().st_size == 100
    assert zipfile.is_zipfile(tmp_path / "result")
    with Image.open(tmp_path / "small.jpg") as picture:
        assert picture.width == 320


# ── streams ───────────────────────────────────────────────────────────────────────────────────


def playlist(url: str) -> list[str]:
    reply = bare(url)
    assert (reply.status_code, reply.headers["content-type"]) == (200, playlists.MEDIA_TYPE)
    assert reply.headers["access-control-allow-origin"] == "*"
    return reply.text.splitlines()


@pytest.mark.req("E-02", "E-03")
def test_a_private_stream_needs_no_key_below_its_pass(client: Client, ladder: str) -> None:
    away = client.get(f"/api/v1/jobs/{ladder}/stream")
    assert away.status_code == 307
    url = httpx2.URL(client.base_url).join(away.headers["location"])
    master = playlist(str(url))
    variants = [line for line in master if line and not line.startswith("#")]
    assert variants == ["hls/90p.m3u8", "hls/180p.m3u8"]
    media = playlist(str(url.join(variants[1])))
    stored = made(client, ladder)["hls/180p.m4s"]
    segments = {line for line in media if line and not line.startswith("#")}
    (initial,) = (found[1] for line in media if (found := re.search(r'#EXT-X-MAP:URI="([^"]*)"', line)))
    assert len(segments) == 1 and "signature=" in initial and segments == {initial}
    assert hashlib.sha256(bare(initial).content).hexdigest() == stored["sha256"]
    begin = bare(initial, Range="bytes=0-7")
    assert (begin.status_code, begin.content[4:8]) == (206, b"ftyp")


@pytest.mark.req("E-02", "E-03", "E-12")
@pytest.mark.parametrize("pipeline", ["renditions", "generate"])
def test_our_own_pipelines_streams_play_below_their_pass(client: Client, video_id: str, pipeline: str) -> None:
    """Their stored playlists name files by where they lie from one another; the pass hands them out by name."""
    if pipeline == "renditions":
        job_id = client.run(video_id, "renditions", {"formats": ["hls"], "heights": [360], "storyboard": False})
    else:
        scenes = [{"text": "Hello", "duration_s": 7}, {"text": "there", "duration_s": 1}]
        params = {"scenes": scenes, "quality_levels": ["360p"], "preset": "ultrafast", "enable_streaming": True}
        job_id = client.call("POST", "/videos/generate", 201, json={"params": params})["job_id"]
    assert client.wait(job_id)["status"] == "completed"
    away = client.get(f"/api/v1/jobs/{job_id}/stream")
    url = httpx2.URL(client.base_url).join(away.headers["location"])
    master = playlist(str(url))
    named = [line for line in master if line and not line.startswith("#")]
    named += [found[1] for line in master if (found := re.search(r'#EXT-X-MEDIA:.*URI="([^"]*)"', line))]
    assert len(named) == (2 if pipeline == "renditions" else 1), "a size, and the sound where there is some"
    for one in named:
        media = playlist(str(url.join(one)))
        (file,) = {line for line in media if line and not line.startswith("#")}
        stored = made(client, job_id)[one.replace(".m3u8", ".m4s")]
        assert hashlib.sha256(bare(str(url.join(file))).content).hexdigest() == stored["sha256"]


@pytest.mark.req("E-03")
def test_one_quality_alone(client: Client, video_id: str, ladder: str) -> None:
    film = client.get(f"/api/v1/jobs/{ladder}/stream?quality=90p")
    assert film.status_code == 307
    fetched = bare(film.headers["location"])
    assert (fetched.headers["content-type"], fetched.headers["content-disposition"]) == ("video/mp4", "inline")
    assert hashlib.sha256(fetched.content).hexdigest() == made(client, ladder)["90p.mp4"]["sha256"]

    without = client.run(video_id, "hls_ladder", {"mp4": False, "poster": False})
    client.wait(without)
    away = client.get(f"/api/v1/jobs/{without}/stream?quality=180p").headers["location"]
    master = playlist(str(httpx2.URL(client.base_url).join(away)))
    assert [line for line in master if line and not line.startswith("#")] == ["hls/180p.m3u8"]
    assert sum(line.startswith("#EXT-X-STREAM-INF") for line in master) == 1


@pytest.mark.req("E-03")
def test_clips_stream_as_the_file_itself(client: Client, clips: str) -> None:
    first = client.get(f"/api/v1/jobs/{clips}/stream?via=api", headers={"Range": "bytes=0-7"})
    assert (first.status_code, first.content[4:8]) == (206, b"ftyp")
    assert first.headers["content-disposition"] == "inline"
    names = [name for name, one in made(client, clips).items() if one["primary"]]
    second = client.get(f"/api/v1/jobs/{clips}/stream?artifact={names[1]}&via=api")
    assert hashlib.sha256(second.content).hexdigest() == made(client, clips)[names[1]]["sha256"]


@pytest.mark.req("E-03")
def test_a_pass_that_was_changed_or_has_ended_opens_nothing(
    client: Client, server: Running, serve: Serve, ladder: str
) -> None:
    path = client.get(f"/api/v1/jobs/{ladder}/stream").headers["location"]
    _, _, token, name = path.split("/", 3)
    job_id, expires, quality, signature = token.split(".")
    signer = server.api.state.signer
    changed = [
        f"{job_id}.{int(expires) + 1}.{quality}.{signature}",
        f"{job_id}.{expires}.180p.{signature}",
        f"{job_id}.{expires}.{quality}.{signature[:-1]}",
        f"{job_id}.{expires}.{quality}.",
        f"{job_id}.{expires}.{quality}",
        "x",
        signer.token(job_id, job_id),
    ]
    for wrong in changed:
        reply = bare(f"{server.url}/streams/{wrong}/{name}")
        assert (reply.status_code, reply.json()["code"]) == (403, "signature_invalid")
        assert reply.headers["access-control-allow-origin"] == "*"
    for method in ("GET", "HEAD"):
        ended = bare(f"{server.url}/streams/{signer.sign(job_id, 0)}/{name}", method)
        assert ended.status_code == 403
    assert bare(f"{server.url}/streams/{signer.sign(job_id, 0)}/{name}").json()["code"] == "signature_expired"
    assert bare(f"{server.url}/streams/{signer.sign(job_id, 60)}/none.m3u8").status_code == 404
    assert bare(f"{server.url}/api/v1/jobs/{ladder}/stream").status_code == 401


def test_a_pass_lives_as_long_as_its_setting_says(serve: Serve, film: Path, tmp_path: Path, connect: Connect) -> None:
    with serve(tmp_path / "data", stream_ttl_s=1) as server, connect("admin", of=server) as client:
        job_id = client.run(client.upload(film)["video_id"], "hls_ladder", {"heights": [90]})
        client.wait(job_id)
        url = server.url + client.get(f"/api/v1/jobs/{job_id}/stream").headers["location"]
        deadline = time.monotonic() + 30
        while bare(url).status_code != 403:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert bare(url).json()["code"] == "signature_expired"


def test_where_clients_do_not_reach_the_storage_all_comes_from_here(
    serve: Serve, film: Path, tmp_path: Path, connect: Connect
) -> None:
    with serve(tmp_path / "data", delivery="api") as server, connect("admin", of=server) as client:
        job_id = client.run(client.upload(film)["video_id"], "hls_ladder", {"heights": [90]})
        client.wait(job_id)
        about = made(client, job_id)
        reply = client.get(f"/api/v1/jobs/{job_id}/download")
        assert hashlib.sha256(reply.content).hexdigest() == about["90p.mp4"]["sha256"]
        url = httpx2.URL(server.url + client.get(f"/api/v1/jobs/{job_id}/stream").headers["location"])
        media = url.join("hls/90p.m3u8")
        lines = playlist(str(media))
        (segment,) = {line for line in lines if line and not line.startswith("#")}
        assert segment == "../hls/90p.m4s"
        part = bare(str(media.join(segment)), Range="bytes=0-7")
        assert (part.status_code, part.content[4:8]) == (206, b"ftyp")
        told = client.call("GET", f"/jobs/{job_id}/metadata")
        assert bare(told["video_urls"]["90p"]).content == reply.content
        assert client.get(f"/api/v1/jobs/{job_id}/download?via=store").status_code == 307


@pytest.mark.parametrize("foreign", ["https://evil.example/x.m3u8", "/etc/passwd", "../../x.m3u8", "other.m3u8"])
def test_a_playlist_names_files_of_its_job_and_nothing_else(client: Client, video_id: str, foreign: str) -> None:
    job_id = client.run(video_id, "hls_ladder", {"heights": [90], "mp4": False, "poster": False, "foreign": foreign})
    client.wait(job_id)
    url = client.get(f"/api/v1/jobs/{job_id}/stream").headers["location"]
    reply = bare(str(httpx2.URL(client.base_url).join(url)))
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


def test_pages_of_other_sites_may_ask_for_a_stream(client: Client, server: Running, ladder: str) -> None:
    path = client.get(f"/api/v1/jobs/{ladder}/stream").headers["location"]
    asked = {"Origin": "https://one.example", "Access-Control-Request-Method": "GET"}
    reply = bare(server.url + path, "OPTIONS", **asked, **{"Access-Control-Request-Headers": "range"})
    assert reply.status_code == 204
    assert "Range" in reply.headers["access-control-allow-headers"]
    allowed = bare(
        f"{server.url}/api/v1/jobs/{ladder}/stream", "OPTIONS", **asked,
        **{"Access-Control-Request-Headers": "authorization,range,if-none-match"},
    )  # fmt: skip
    assert allowed.status_code == 200
    told = client.get(f"/api/v1/jobs/{ladder}/thumbnail", headers={"Origin": "https://one.example"})
    assert "ETag" in told.headers["access-control-expose-headers"]


def test_what_opens_a_stream_is_not_in_the_log(
    client: Client, server: Running, ladder: str, server_log: Path, clips: str
) -> None:
    path = client.get(f"/api/v1/jobs/{ladder}/stream").headers["location"]
    share = client.call("POST", f"/jobs/{clips}/share", 201, json={})
    bare(server.url + path)
    bare(share["url"])
    text = server_log.read_text()
    assert "/streams/-/master.m3u8" in text
    for token in (path.split("/")[2], share["url"].rpartition("/")[2]):
        assert token not in text


# ── metadata ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("E-02", "E-07", "E-12")
def test_the_metadata_of_a_ladder(client: Client, ladder: str, film: Path) -> None:
    told = client.call("GET", f"/jobs/{ladder}/metadata")
    about = made(client, ladder)
    assert (told["version"], told["job_id"], told["success"], told["error"]) == (1, ladder, True, None)
    assert told["processing_time"] > 0
    assert list(told["video_urls"]) == ["90p", "180p"]
    for quality, url in told["video_urls"].items():
        assert hashlib.sha256(bare(url).content).hexdigest() == about[f"{quality}.mp4"]["sha256"]
    (poster,) = told["thumbnail_urls"]
    assert bare(poster).headers["content-type"] == "image/jpeg"
    assert told["dimensions"] == {"width": 320, "height": 180}
    assert told["duration"] == pytest.approx(2, abs=0.1)
    technical = told["technical_metadata"]
    assert (technical["video_codec"], technical["audio_codec"], technical["frame_rate"]) == ("h264", "aac", "25")
    assert technical["bit_rate"] == round(about["180p.mp4"]["size"] * 8 / told["duration"])
    assert told["s3_keys"] == [about["90p.mp4"]["key"], about["180p.mp4"]["key"]]
    assert told["file_size"] == about["90p.mp4"]["size"] + about["180p.mp4"]["size"]
    assert [(one["quality"], one["retries"], one["key"]) for one in told["outputs"]] == [
        ("90p", 0, about["90p.mp4"]["key"]),
        ("180p", 0, about["180p.mp4"]["key"]),
    ]
    assert all(one["uploaded_at"] and one["size"] and one["duration"] for one in told["outputs"])
    streaming = told["streaming_info"]
    assert streaming["qualities"] == ["90p", "180p"]
    assert [one["bandwidth"] for one in streaming["variants"]] == [200_000, 500_000]
    assert playlist(streaming["hls_url"])[0] == "#EXTM3U"


@pytest.mark.req("E-07")
def test_the_metadata_of_clips_names_each(client: Client, clips: str) -> None:
    told = client.call("GET", f"/jobs/{clips}/metadata")
    assert list(told["video_urls"]) == [name for name, one in made(client, clips).items() if one["primary"]]
    assert told["technical_metadata"]["frame_rate"] == "25"
    assert told["streaming_info"] == {"hls_url": None, "qualities": list(told["video_urls"]), "variants": []}
    assert len(told["thumbnail_urls"]) == 2


@pytest.mark.req("E-03", "E-07")
def test_metadata_that_has_not_changed_is_not_sent_again(
    serve: Serve, film: Path, tmp_path: Path, connect: Connect
) -> None:
    # A week's life: no window of half of it ends while this test runs, but once in 3 days.
    with serve(tmp_path / "data", get_ttl_s=604_800) as server, connect("admin", of=server) as client:
        job_id = client.run(client.upload(film)["video_id"], "hls_ladder", {"heights": [90]})
        client.wait(job_id)
        path = f"/api/v1/jobs/{job_id}/metadata"
        first = client.get(path)
        assert first.headers["cache-control"] == "private, no-cache"
        again = client.get(path, headers={"If-None-Match": f'"x", {first.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert client.get(path, headers={"If-None-Match": '"x"'}).status_code == 200
    with serve(tmp_path / "data", get_ttl_s=2) as server, connect("admin", of=server) as client:
        first = client.get(path)
        deadline = time.monotonic() + 30
        while client.get(path, headers={"If-None-Match": first.headers["etag"]}).status_code == 304:
            assert time.monotonic() < deadline
            time.sleep(0.1)


# ── thumbnails ────────────────────────────────────────────────────────────────────────────────


def pixels(reply: httpx2.Response) -> tuple[int, int]:
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/jpeg")
    with Image.open(io.BytesIO(reply.content)) as picture:
        return picture.size


@pytest.mark.req("E-02", "E-03")
def test_a_thumbnail_in_steps_of_width(client: Client, ladder: str, clips: str) -> None:
    path = f"/api/v1/jobs/{ladder}/thumbnail"
    assert pixels(client.get(path)) == (640, 360)
    for asked, wide in ((1, 160), (160, 160), (161, 320), (480, 480), (640, 640), (4000, 640)):
        reply = client.get(path, params={"width": asked})
        assert pixels(reply) == (wide, wide * 9 // 16)
        assert reply.headers["cache-control"] == "private, max-age=300"
        again = client.get(path, params={"width": asked}, headers={"If-None-Match": reply.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    for wrong in ("0", "-1", "5000", "wide"):
        assert client.get(path, params={"width": wrong}).status_code == 422
    whole = client.get(path)
    assert client.get(path, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    small = [name for name, one in made(client, clips).items() if one["kind"] == "thumbnail"]
    second = client.get(f"/api/v1/jobs/{clips}/thumbnail", params={"artifact": small[1]})
    assert second.headers["etag"] == f'"{made(client, clips)[small[1]]["sha256"]}"'
    assert client.get(f"{path}?artifact=180p.mp4").status_code == 404


def test_pictures_in_other_widths_stay_within_their_bound(
    serve: Serve, film: Path, tmp_path: Path, connect: Connect
) -> None:
    with serve(tmp_path / "data", pictures_mb=1) as server, connect("admin", of=server) as client:
        job_id = client.run(client.upload(film)["video_id"], "hls_ladder", {"heights": [90]})
        client.wait(job_id)
        folder = tmp_path / "data" / "cache" / "pictures"
        path = f"/api/v1/jobs/{job_id}/thumbnail"
        (folder / "00").mkdir(parents=True)
        for n in range(3):  # of an earlier process
            (folder / "00" / f"left-{n}").write_bytes(bytes(600_000))
            os.utime(folder / "00" / f"left-{n}", (n, n))
        first = client.get(path, params={"width": 320})
        assert first.status_code == 200
        left = {one.name for one in folder.glob("00/*")}
        assert left == {"left-2"}  # what wasn't asked for longest goes first
        (made_now,) = folder.glob("*/*-320")
        assert client.get(path, params={"width": 320}).content == first.content
        made_now.unlink()
        assert client.get(path, params={"width": 320}).content == first.content


# ── shares ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("E-03")
def test_a_link_shows_the_film_to_anybody_until_it_is_revoked(client: Client, ladder: str) -> None:
    share = client.call("POST", f"/jobs/{ladder}/share", 201, json={"embed": ["https://shop.example"]})
    page = bare(share["url"])
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors https://shop.example" in policy
    assert "script-src" not in policy and "<script" not in page.text
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "film.mp4" in page.text
    sources = re.findall(r'<source src="([^"]*)" type="([^"]*)"', page.text)
    assert [kind for _, kind in sources] == [playlists.MEDIA_TYPE, "video/mp4", "video/mp4"]
    base = httpx2.URL(share["url"])
    for source, kind in sources:
        assert bare(str(base.join(source))).headers["content-type"] == kind
    (poster,) = re.findall(r'poster="([^"]*)"', page.text)
    assert bare(str(base.join(poster))).headers["content-type"] == "image/jpeg"
    assert "quality=90p" in page.text
    one = bare(f"{share['url']}?quality=90p")
    assert re.findall(r'<source src="[^"]*/([^"/]*)"', one.text) == ["90p.mp4"]

    assert client.call("GET", f"/jobs/{ladder}/share")["items"][-1] == share
    revoked = client.call("DELETE", f"/jobs/{ladder}/share/{share['id']}")
    assert revoked["revoked_at"] is not None
    assert client.call("DELETE", f"/jobs/{ladder}/share/{share['id']}") == revoked
    gone = bare(share["url"])
    assert (gone.status_code, "revoked" in gone.text) == (403, True)
    for source, _ in sources:
        reply = bare(str(base.join(source)))
        assert (reply.status_code, reply.json()["code"]) == (403, "signature_expired")


def test_a_link_that_was_changed_opens_nothing(client: Client, server: Running, ladder: str, clips: str) -> None:
    share = client.call("POST", f"/jobs/{ladder}/share", 201, json={})
    job_id, share_id, signature = share["url"].rpartition("/")[2].split(".")
    signer = server.api.state.signer
    for token in (
        f"{clips}.{share_id}.{signature}",
        f"{job_id}.{job_id}.{signature}",
        f"{job_id}.{share_id}.{signature[::-1]}",
        "x",
    ):
        assert bare(f"{server.url}/share/{token}").status_code == 403
        assert bare(f"{server.url}/share/{token}/master.m3u8").json()["code"] == "signature_invalid"
    never = signer.token(job_id, job_id)  # well signed, and never made
    assert bare(f"{server.url}/share/{never}/master.m3u8").json()["code"] == "signature_expired"


def test_a_link_to_clips_shows_each(client: Client, clips: str) -> None:
    share = client.call("POST", f"/jobs/{clips}/share", 201, json={"life_s": 60})
    page = bare(share["url"]).text
    assert (page.count("<video"), page.count("poster="), page.count('preload="none"')) == (2, 2, 2)
    assert "frame-ancestors 'none'" in bare(share["url"]).headers["content-security-policy"]


def test_a_link_made_again_with_its_idempotency_key_is_the_same(client: Client, clips: str) -> None:
    asked = {"headers": {"Idempotency-Key": "share-once"}, "json": {}}
    first = client.call("POST", f"/jobs/{clips}/share", 201, **asked)
    assert client.call("POST", f"/jobs/{clips}/share", 201, **asked) == first
    kept = json.dumps(client.call("GET", f"/jobs/{clips}/share"))
    assert kept.count(first["id"]) >= 1


@pytest.mark.parametrize(
    "body",
    [
        {"life_s": 1},
        {"life_s": 40_000_000},
        {"life_s": "60"},
        {"embed": ["shop.example"]},
        {"embed": ["https://shop.example/path"]},
        {"embed": ["https://a.example; script-src *"]},
        {"embed": ["*"] * 17},
        {"for": "ever"},
    ],
)
def test_a_link_takes_only_what_is_declared(client: Client, clips: str, body: dict[str, Any]) -> None:
    assert client.call("POST", f"/jobs/{clips}/share", 422, json=body)["code"] == "request_invalid"


def test_a_deleted_videos_link_and_pass_open_nothing(client: Client, server: Running, film: Path) -> None:
    video_id = client.upload(film)["video_id"]
    job_id = client.run(video_id, "hls_ladder", {"heights": [90]})
    client.wait(job_id)
    share = client.call("POST", f"/jobs/{job_id}/share", 201, json={})
    path = client.get(f"/api/v1/jobs/{job_id}/stream").headers["location"]
    client.call("DELETE", f"/videos/{video_id}")
    assert bare(share["url"]).status_code == 404
    assert bare(server.url + path).status_code == 404

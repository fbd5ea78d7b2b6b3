"""What a video's source looks and sounds like, and where it plays, over HTTP."""

from __future__ import annotations

import hashlib
import io
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import httpx2
import imageio_ffmpeg
import pytest
from PIL import Image

if TYPE_CHECKING:
    from conftest import Client, Running

Connect = Callable[..., "Client"]
Serve = Callable[..., AbstractContextManager["Running"]]

HALVES_S = 2  #: of red, then of blue; the sound is loud, then silent


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red with a loud tone, then blue in silence; a key frame each half second."""
    path = tmp_path_factory.mktemp("halves") / "halves.mp4"
    make(path, "-g", "10")
    return path


def make(path: Path, *more: str) -> None:
    both = [f"color={color}:size=320x180:rate=20:duration={HALVES_S}" for color in ("red", "blue")]
    tone = f"aevalsrc='if(lt(t,{HALVES_S}),0.9*sin(2764*t),0)':d={2 * HALVES_S}:s=48000"
    subprocess.run(
        [
            imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y",
            *(word for one in both for word in ("-f", "lavfi", "-i", one)), "-f", "lavfi", "-i", tone,
            "-filter_complex", "[0][1]concat=n=2:v=1[v]", "-map", "[v]", "-map", "2:a",
            "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", *more, "-c:a", "aac", str(path),
        ],
        check=True,
        timeout=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def halved(client: Client, halves: Path) -> str:
    return str(client.upload(halves)["video_id"])


@pytest.fixture(scope="module", params=["folder", "s3"])
def place(
    request: pytest.FixtureRequest,
    serve: Serve,
    client: Client,
    halves: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Client, str]]:
    """The film on a server with each kind of storage."""
    more: dict[str, Any] = {}
    if request.param == "s3":
        seaweed = request.getfixturevalue("seaweed")
        more["storage"] = seaweed.url(seaweed.create())
    with (
        serve(tmp_path_factory.mktemp(request.param) / "data", **more) as server,
        type(client)(server.url, server.key("admin")) as one,
    ):
        yield one, str(one.upload(halves)["video_id"])


def color(picture: Image.Image, x: int, y: int) -> str:
    red, green, blue = picture.convert("RGB").getpixel((x, y))  # type: ignore[misc]
    assert green < 60
    return "red" if red > 200 and blue < 60 else "blue" if blue > 200 and red < 60 else "?"


def opened(reply: httpx2.Response) -> Image.Image:
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/jpeg"), reply.text
    return Image.open(io.BytesIO(reply.content))


@pytest.mark.req("B-03")
def test_a_filmstrip_shows_the_film_from_left_to_right(place: tuple[Client, str]) -> None:
    client, video_id = place
    strip = opened(client.get(f"/api/v1/videos/{video_id}/filmstrip", params={"count": 8, "width": 100}))
    assert strip.size == (8 * 120, 68)  # the next width, and an even height
    assert [color(strip, 120 * n + 60, 34) for n in range(8)] == ["red"] * 4 + ["blue"] * 4


def test_a_short_film_of_one_key_frame_still_shows_what_happens(client: Client, tmp_path: Path) -> None:
    film = tmp_path / "one-key.mp4"
    make(film, "-g", "1000", "-sc_threshold", "0")
    video_id = client.upload(film)["video_id"]
    for count in (2, 4, 10):
        strip = opened(client.get(f"/api/v1/videos/{video_id}/filmstrip", params={"count": count, "width": 80}))
        half = count // 2
        assert [color(strip, 80 * n + 40, 20) for n in range(count)] == ["red"] * half + ["blue"] * half


def test_a_poster_is_never_enlarged(place: tuple[Client, str]) -> None:
    client, video_id = place
    for asked, wide in ((100, 160), (1280, 320)):
        poster = opened(client.get(f"/api/v1/videos/{video_id}/poster", params={"width": asked}))
        assert poster.width == wide
        assert color(poster, wide // 2, 40) == "red"


def test_a_picture_has_a_poster_and_goes_onto_a_film(place: tuple[Client, str], tmp_path: Path) -> None:
    """The same door as for films: verified, listed, shown, named by its id; and no pipeline runs on it."""
    client, film_id = place
    logo = tmp_path / "logo.webp"
    Image.new("RGB", (640, 360), (0, 0, 255)).save(logo, lossless=True)
    picture_id = client.upload(logo, content_type="image/webp")["video_id"]
    told = client.call("GET", f"/videos/{picture_id}")
    assert (told["width"], told["height"], told["duration"]) == (640, 360, None)
    assert (told["technical"]["container"], told["technical"]["frame_count"]) == ("webp", 1)
    assert color(opened(client.get(f"/api/v1/videos/{picture_id}/poster")), 320, 180) == "blue"
    assert client.call("GET", f"/videos/{picture_id}/play")["content_type"] == "image/webp"
    wanted = {"video_id": picture_id, "pipeline": "proxy", "params": {}}
    assert client.call("POST", "/jobs", 422, json=wanted)["code"] == "picture_given"
    mark = {"video_id": picture_id, "corner": "top_right", "margin_pct": 0.0, "width_pct": 50.0, "opacity": 1.0}
    params = {"watermark": mark, "formats": ["mp4"], "thumbnails": 0, "storyboard": False}
    job_id = client.run(film_id, "renditions", params)
    assert client.wait(job_id)["status"] == "completed"
    path = tmp_path / "180p.mp4"
    path.write_bytes(client.get(f"/api/v1/jobs/{job_id}/download?via=api").content)
    with av.open(str(path)) as container:
        first = next(container.decode(video=0)).to_image()
    assert [color(first, x, 40) for x in (40, 200, 300)] == ["red", "blue", "blue"]
    assert color(first, 300, 150) == "red"


def test_a_waveform_is_as_loud_as_the_sound(place: tuple[Client, str]) -> None:
    client, video_id = place
    told = client.call("GET", f"/videos/{video_id}/waveform", params={"buckets": 40})
    assert (told["has_sound"], len(told["peaks"])) == (True, 40)
    assert told["duration_s"] == pytest.approx(2 * HALVES_S, abs=0.06)
    assert all(peak > 0.95 for peak in told["peaks"][1:19]), told["peaks"]
    assert all(peak < 0.1 for peak in told["peaks"][22:]), told["peaks"]


def test_a_silent_film_has_no_peaks(client: Client, tmp_path: Path) -> None:
    film = tmp_path / "mute.mp4"
    make(film, "-an")
    told = client.call("GET", f"/videos/{client.upload(film)['video_id']}/waveform")
    assert (told["has_sound"], told["peaks"]) == (False, [])


def test_what_a_browser_has_is_not_sent_again(client: Client, halved: str) -> None:
    for path in ("poster?width=320", "filmstrip?count=4", "waveform?buckets=10"):
        first = client.get(f"/api/v1/videos/{halved}/{path}")
        assert first.status_code == 200
        assert first.headers["cache-control"] == "private, max-age=86400"
        again = client.get(f"/api/v1/videos/{halved}/{path}", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_many_at_once_get_the_same_and_it_is_made_once(client: Client, server: Running, halves: Path) -> None:
    video_id = client.upload(halves)["video_id"]
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda _: client.get(f"/api/v1/videos/{video_id}/filmstrip?count=5"), range(12)))
    assert {reply.status_code for reply in replies} == {200}
    assert len({reply.content for reply in replies}) == 1
    assert not [path for path in (server.app.settings.data / "scratch").glob("*") if list(path.glob("tile-*"))]


def test_there_is_nothing_to_see_before_the_upload(client: Client, halves: Path) -> None:
    waiting = client.initiate(halves)["video_id"]
    for path in ("poster", "filmstrip", "waveform", "play"):
        reply = client.get(f"/api/v1/videos/{waiting}/{path}")
        assert (reply.status_code, reply.json()["code"]) == (409, "upload_needed")
    for bad in ("filmstrip?count=0", "filmstrip?count=101", "waveform?buckets=2001", "play?life_s=1", "poster?wdth=1"):
        assert client.get(f"/api/v1/videos/{waiting}/{bad}").status_code == 422


def test_a_damaged_source_says_that_it_has_no_overview(client: Client, halves: Path, tmp_path: Path) -> None:
    """Its index is whole, so it is taken; behind the first second there is rubbish."""
    front = tmp_path / "front.mp4"
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-i", str(halves), "-c", "copy", "-an",
         "-movflags", "+faststart", str(front)],
        check=True, timeout=60,
    )  # fmt: skip
    content = bytearray(front.read_bytes())
    start = content.find(b"mdat") + 4
    second = start + (len(content) - start) // 2
    content[second:] = bytes(len(content) - second)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(content)
    video_id = client.upload(broken)["video_id"]
    strip = client.get(f"/api/v1/videos/{video_id}/filmstrip?count=8")
    assert strip.status_code in (200, 422)  # what can be decoded is shown
    if strip.status_code == 422:
        assert strip.json()["code"] == "overview_failed"


# ── the source itself ─────────────────────────────────────────────────────────────────────────


@pytest.mark.req("A-07", "E-03")
@pytest.mark.parametrize("delivery", ["store", "api"])
def test_the_source_plays_by_a_signed_url_without_a_key(
    serve: Serve, client: Client, halves: Path, tmp_path: Path, delivery: str
) -> None:
    with (
        serve(tmp_path / "data", delivery=delivery) as server,
        type(client)(server.url, server.key("admin")) as one,
    ):
        video_id = one.upload(halves, content_type="text/html")["video_id"]
        told = one.call("GET", f"/videos/{video_id}/play", params={"life_s": 60})
        assert (told["content_type"], told["size"]) == ("video/mp4", halves.stat().st_size)
        whole = httpx2.get(told["url"], trust_env=False)
        assert hashlib.sha256(whole.content).digest() == hashlib.sha256(halves.read_bytes()).digest()
        assert (whole.headers["content-type"], whole.headers["x-content-type-options"]) == ("video/mp4", "nosniff")
        part = httpx2.get(told["url"], headers={"Range": "bytes=4-7"}, trust_env=False)
        assert (part.status_code, part.content) == (206, halves.read_bytes()[4:8])
        forged = told["url"].replace(video_id, video_id[:-1] + ("0" if video_id[-1] != "0" else "1"))
        assert httpx2.get(forged, trust_env=False).status_code in (403, 404)
        one.call("DELETE", f"/videos/{video_id}")
        if delivery == "api":
            assert httpx2.get(told["url"], trust_env=False).status_code == 404


def test_some_results_come_in_one_archive(client: Client, halved: str) -> None:
    job_id = client.run(halved, "clips", {"cutting": {"kind": "fixed", "duration_s": 1.0}})
    assert client.wait(job_id)["status"] == "completed"
    films = [one for one in client.call("GET", f"/jobs/{job_id}/artifacts")["items"] if one["primary"]]
    assert len(films) == 4
    kept = [films[0]["id"], films[2]["name"], films[0]["name"]]
    reply = client.get(f"/api/v1/jobs/{job_id}/download", params={"artifact": kept})
    assert reply.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert sorted(archive.namelist()) == sorted([films[0]["name"], films[2]["name"]])

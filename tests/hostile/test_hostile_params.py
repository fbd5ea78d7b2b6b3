"""Parameters that make no sense: each is refused by name before anything is made, and costs nobody anything."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from hostile_boxes import FTYP, full, jpeg, mp4, table
from media_sources import make_source
from reelmill.errors import catalogue
from running import Server

STATUS = {kind.code: kind.status_code for kind in catalogue()}
ANSWER_S = 15.0  #: wall seconds
JSON = {"Content-Type": "application/json"}
MANY = 100_000  #: frames of the long film, 0.1 s each


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("params") / "data", workers=2, sweep_s=0.5, grace_s=1) as running:
        yield running


@pytest.fixture(scope="module")
def video(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two seconds."""
    film = make_source(tmp_path_factory.mktemp("film") / "film.mp4", seconds=2, width=160, height=90)
    return str(server.upload(film)["video_id"])


@pytest.fixture(scope="module")
def long_video(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Nearly three hours of one picture, a frame every 0.1 s, in 400 KB."""
    picture = jpeg()
    tables = {
        b"stts": table(b"stts", [(MANY, 1)]),
        b"stsc": table(b"stsc", [(1, 1, 1)]),
        b"stsz": full(b"stsz", struct.pack(">II", len(picture), MANY)),
        b"stco": table(b"stco", [(len(FTYP) + 8,)] * MANY),
    }
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    path.write_bytes(mp4([picture], tables=tables, timescale=10))
    return str(server.upload(path)["video_id"])


def ask(server: Server, path: str, body: dict[str, Any]) -> httpx2.Response:
    """Send what JSON libraries may say, NaN and Infinity too."""
    began = time.monotonic()
    reply = server.client.post(f"/api/v1{path}", content=json.dumps(body).encode(), headers=JSON)
    assert time.monotonic() - began < ANSWER_S
    return reply


def refused(reply: httpx2.Response, code: str, says: str) -> dict[str, Any]:
    told: dict[str, Any] = reply.json()
    assert (reply.status_code, told["code"]) == (STATUS[code], code), told
    assert says in told["detail"], told
    assert told["remedy"] and told["why"]
    assert len(reply.content) < 20_000, "a refusal is short"
    return told


def fixed(value: Any) -> dict[str, Any]:
    return {"cutting": {"kind": "fixed", "duration_s": value}}


def random(**more: Any) -> dict[str, Any]:
    return {"cutting": {"kind": "random", "min_s": 0.5, "max_s": 1.0, "seed": 1, **more}}


def manual(*cuts: Any) -> dict[str, Any]:
    return {"cutting": {"kind": "manual", "cuts": [{"start_s": start, "end_s": end} for start, end in cuts]}}


def text(**more: Any) -> dict[str, Any]:
    return {"text": {"text": "Summer", **more}}


INFINITY, NAN = float("inf"), float("nan")

#: parameters, code, what the detail names
SENSELESS: list[tuple[dict[str, Any], str, str]] = [
    (fixed(0), "params_invalid", "duration_s"),
    (fixed(-1), "params_invalid", "duration_s"),
    (fixed(1e-300), "params_invalid", "duration_s"),
    (fixed(1e308), "params_invalid", "duration_s"),
    (fixed(10**30), "request_invalid", "duration_s"),
    (fixed(NAN), "request_invalid", "NaN"),
    (fixed(INFINITY), "request_invalid", "Infinity"),
    (fixed(-INFINITY), "request_invalid", "Infinity"),
    (fixed("soon"), "params_invalid", "duration_s"),
    (fixed(None), "params_invalid", "duration_s"),
    (fixed([30]), "params_invalid", "duration_s"),
    (fixed({"s": 30}), "params_invalid", "duration_s"),
    (random(min_s=2.0), "params_invalid", "min_s"),
    (random(min_s=0), "params_invalid", "min_s"),
    (random(max_s=0), "params_invalid", "max_s"),
    (random(min_s=0, max_s=0), "params_invalid", "min_s"),
    (random(min_s=-1, max_s=-0.5), "params_invalid", "min_s"),
    (random(max_s=NAN), "request_invalid", "NaN"),
    (random(max_s=1e9), "params_invalid", "max_s"),
    (random(seed=-1), "params_invalid", "seed"),
    (random(seed=1 << 53), "params_invalid", "seed"),
    (random(seed=1 << 64), "request_invalid", "seed"),
    (random(seed=1.5), "params_invalid", "seed"),
    (random(seed="../../etc/passwd"), "params_invalid", "seed"),
    (manual(), "params_invalid", "cuts"),
    (manual((1, 1)), "params_invalid", "end_s"),
    (manual((1, 0.5)), "params_invalid", "end_s"),
    (manual((-1, 1)), "params_invalid", "start_s"),
    (manual((0, 1e9)), "params_invalid", "end_s"),
    (manual((0, NAN)), "request_invalid", "NaN"),
    (manual(*[(0, 1)] * 2001), "params_invalid", "cuts"),
    (manual(*[(0, 1)] * 30_000), "params_invalid", "cuts"),
    ({"cutting": {"kind": "manual", "cuts": "all"}}, "params_invalid", "cuts"),
    ({"cutting": {"kind": "manual", "cuts": [[0, 1]]}}, "params_invalid", "cuts"),
    ({"cutting": {"kind": "manual", "cuts": [{}]}}, "params_invalid", "start_s"),
    ({"cutting": {"kind": "../../x"}}, "params_invalid", "cutting"),
    ({"cutting": {"kind": ["fixed"]}}, "params_invalid", "cutting"),
    ({"cutting": {"kind": None}}, "params_invalid", "cutting"),
    ({"cutting": []}, "params_invalid", "cutting"),
    ({"cutting": {"kind": "fixed", "min_s": 1}}, "params_invalid", "min_s"),
    ({"cutting": {"kind": "fixed", "filter": "movie=/etc/passwd"}}, "params_invalid", "filter"),
    ({"filter_complex": "[0:v]null"}, "params_invalid", "filter_complex"),
    ({"__class__": {}}, "params_invalid", "__class__"),
    (text(text=""), "params_invalid", "text"),
    (text(text="\n \n"), "params_invalid", "empty"),
    (text(text="x" * 5001), "params_invalid", "text"),
    (text(text="x" * 5000, min_size_pct=20, size_pct=20), "text_does_not_fit", "fit"),
    (text(text="\x1b[2J"), "params_invalid", "control"),
    (text(text="a\x00b"), "request_invalid", "U+0000"),
    (text(text="\ud800"), "request_invalid", "surrogate"),
    (text(text=1), "params_invalid", "text"),
    (text(size_pct=0), "params_invalid", "size_pct"),
    (text(size_pct=1e9), "params_invalid", "size_pct"),
    (text(color="red; drawbox"), "params_invalid", "color"),
    (text(color="#FFFFFF\n"), "params_invalid", "color"),
    (text(position="../.."), "params_invalid", "position"),
    (text(from_s=1, until_s=1), "params_invalid", "until_s"),
    (text(strategy="x"), "params_invalid", "text"),
    ({"text": {"strategy": "unique_for_all", "texts": ["a"] * 2001}}, "params_invalid", "texts"),
    ({"text": {"strategy": "unique_for_all", "texts": ["a", "b", "c"]}}, "params_invalid", "3 texts"),
    ({"video": {"crf": 64}}, "params_invalid", "crf"),
    ({"video": {"crf": -1}}, "params_invalid", "crf"),
    ({"video": {"preset": "ultrafast -f null"}}, "params_invalid", "preset"),
    ({"video": {"codec": "copy"}}, "params_invalid", "codec"),
    ({"video": {"width": 1 << 20, "height": 2}}, "params_invalid", "width"),
    ({"video": {"audio_kbps": 10**9}}, "params_invalid", "audio_kbps"),
    ({"video": {"audio_track": 65}}, "params_invalid", "audio_track"),
]


@pytest.mark.req("B-02", "C-01", "C-07")
@pytest.mark.parametrize(("params", "code", "says"), SENSELESS, ids=range(len(SENSELESS)))
def test_senseless_parameters_are_refused_by_name(
    server: Server, video: str, params: dict[str, Any], code: str, says: str
) -> None:
    body = {"video_id": video, "pipeline": "clips", "params": params}
    for path in ("/jobs", "/jobs?dry_run=true"):
        told = refused(ask(server, path, body), code, says)
        assert "http" not in told["detail"], "where the checking library explains itself is no help to users"
    assert server.call("GET", "/jobs", params={"limit": 1})["items"] == [], "no job was made"


@pytest.mark.req("B-02", "C-01")
@pytest.mark.parametrize("number", range(0, len(SENSELESS), 6))
def test_they_are_refused_at_initiate_too_where_the_source_does_not_matter(server: Server, number: int) -> None:
    params, code, says = SENSELESS[number]
    body = {"filename": "a.mp4", "size": 1, "content_type": "video/mp4", "pipeline": "clips", "params": params}
    reply = ask(server, "/uploads/initiate", body)
    if reply.status_code != 201:  # what depends on the source is told when it has arrived
        refused(reply, code, says)


@pytest.mark.req("B-02", "C-07")
@pytest.mark.parametrize(
    ("path", "params"),
    [("/jobs", fixed(0.1)), ("/jobs?dry_run=true", random(min_s=0.1, max_s=0.2)), ("/jobs", fixed(4.9))],
    ids=range(3),
)
def test_a_job_has_two_thousand_steps_at_most(
    server: Server, long_video: str, path: str, params: dict[str, Any]
) -> None:
    """100,000 segments, about 67,000, 2,041."""
    body = {"video_id": long_video, "pipeline": "clips", "params": params}
    assert "2000" in refused(ask(server, path, body), "too_many_steps", "steps")["detail"]


@pytest.mark.req("B-02")
def test_just_below_the_cap_is_planned(server: Server, long_video: str) -> None:
    body = {"video_id": long_video, "pipeline": "clips", "params": fixed(5.1)}
    reply = ask(server, "/jobs?dry_run=true", body)
    assert reply.status_code == 200, reply.text
    assert reply.json()["plan"]["clip_count"] == 1961


@pytest.mark.req("B-04", "C-07")
def test_a_text_that_grows_when_it_is_filled_in_is_refused(server: Server, tmp_path: Path, long_video: str) -> None:
    """`{name}` 833 times, of a film whose name has 250 letters."""
    name = "n" * 250 + ".mp4"
    begun = server.call(
        "POST", "/uploads/initiate",
        json={"filename": name, "size": 1000, "content_type": "video/mp4", "pipeline": "clips",
              "params": {"text": {"text": "{name}" * 833}}},
    )  # fmt: skip
    assert begun["job_id"], "whether it fits is only known when the source is"
    film = make_source(tmp_path / name, seconds=2, width=160, height=90)
    video = server.upload(film)["video_id"]
    body = {"video_id": video, "pipeline": "clips", "params": {**fixed(0.1), "text": {"text": "{name}" * 833}}}
    refused(ask(server, "/jobs?dry_run=true", body), "params_invalid", "characters")


@pytest.mark.req("C-07")
def test_a_sensible_job_still_runs(server: Server, video: str) -> None:
    body = {"video_id": video, "pipeline": "clips", "params": {**random(), **text()}}
    made = ask(server, "/jobs", body)
    assert made.status_code == 201, made.text
    assert server.wait(made.json()["job_id"])["status"] == "completed"
    assert not server.children() and not server.scratch()

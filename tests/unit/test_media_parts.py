"""A clip of a remote source takes its own bytes and no others, also over a network that breaks off."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_sources import Served, ffmpeg, make_source
from reelmill.errors import ObjectMissing, Stopped, StorageUnavailable
from reelmill.media import ClipPlan, ClipSettings, Source, find_ffmpeg, fixed, probe, render_clip
from reelmill.media.parts import fetch_part, ranges
from reelmill.media.spans import Spans, around, between

FFMPEG = find_ffmpeg()
FAST = ClipSettings(preset="ultrafast", threads=1)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 s of noise in each layout: noise, so that pictures are large and reading too much shows."""
    folder = tmp_path_factory.mktemp("films")
    make_source(
        folder / "plain.mp4", seconds=24, width=320, height=180, more=("-g", "50", "-vf", "noise=alls=30:allf=t")
    )
    for name, flags in (("front", "+faststart"), ("parts", "+frag_keyframe+empty_moov")):
        ffmpeg("-i", str(folder / "plain.mp4"), "-c", "copy", "-movflags", flags, str(folder / f"{name}.mp4"))
    ffmpeg("-i", str(folder / "plain.mp4"), "-c", "copy", str(folder / "other.mkv"))
    return folder


def probed(path: Path, scratch: Path) -> Source:
    return probe(str(path), scratch=scratch)


@pytest.mark.req("B-08", "B-02")
@pytest.mark.parametrize("name", ["plain.mp4", "front.mp4"])
@pytest.mark.parametrize("whole", [True, False], ids=["encoded", "copied"])
def test_all_clips_together_take_the_source_about_once(films: Path, tmp_path: Path, name: str, whole: bool) -> None:
    source = probed(films / name, tmp_path)
    video = source.video
    parts = fixed(source.frame_ticks(), video.end_tick, video.time_base, Fraction(8))
    with Served(films) as served:
        for part in parts:
            plan = ClipPlan(part.start_frame, part.end_frame, None, FAST)
            out = tmp_path / f"{part.index}.mp4"
            remote = render_clip(
                f"{served.url}/{name}", source, plan, out, ffmpeg=FFMPEG, scratch=tmp_path, whole=whole
            )
            near = render_clip(
                str(films / name), source, plan, tmp_path / "near.mp4", ffmpeg=FFMPEG, scratch=tmp_path, whole=whole
            )
            assert remote.checked.sha256 == near.checked.sha256
            assert bool(remote.copied_frames) is not whole
        # Around each of the inner cuts at most 3 s more: half a second of sound before it, what the decoder holds
        # back behind it, and rounding to half seconds.
        size = (films / name).stat().st_size
        assert size * 0.95 < served.sent < size * (1 + 3 * (len(parts) - 1) / 24) + 1_000_000
    assert {path.name for path in tmp_path.iterdir()} == {*(f"{part.index}.mp4" for part in parts), "near.mp4"}


@pytest.mark.parametrize("name", ["parts.mp4", "other.mkv"])
def test_a_file_without_one_index_is_read_where_it_is(films: Path, tmp_path: Path, name: str) -> None:
    source = probed(films / name, tmp_path)
    with Served(films) as served:
        plan = ClipPlan(100, 150, None, FAST)
        url = f"{served.url}/{name}"
        made = render_clip(url, source, plan, tmp_path / "clip.mp4", ffmpeg=FFMPEG, scratch=tmp_path)
    assert made.checked.frame_count == 50


def test_a_local_file_is_read_where_it_is(films: Path, tmp_path: Path) -> None:
    source = probed(films / "plain.mp4", tmp_path)
    assert fetch_part(str(films / "plain.mp4"), source, 0, 1000, tmp_path, None) is None


@pytest.mark.req("B-08")
def test_what_is_fetched_is_the_sources_and_the_rest_is_a_hole(films: Path, tmp_path: Path) -> None:
    source = probed(films / "plain.mp4", tmp_path)
    start, end = source.frame_ticks()[300], source.frame_ticks()[350]
    with Served(films) as served:
        part = fetch_part(f"{served.url}/plain.mp4", source, start, end, tmp_path, None)
    assert part is not None
    original, fetched = (films / "plain.mp4").read_bytes(), part.read_bytes()
    assert len(fetched) == len(original)
    inside = bytearray(len(original))
    for first, after in ranges(source, start, end):
        inside[first:after] = original[first:after]
    assert fetched == bytes(inside)
    assert part.stat().st_blocks * 512 < len(original) / 2, "the hole takes room"


def test_a_connection_that_breaks_is_taken_up_where_it_broke(films: Path, tmp_path: Path) -> None:
    source = probed(films / "plain.mp4", tmp_path)
    with Served(films) as served:
        served.breaks = 2
        served.refuses = 1
        plan = ClipPlan(300, 400, None, FAST)
        url = f"{served.url}/plain.mp4"
        made = render_clip(url, source, plan, tmp_path / "clip.mp4", ffmpeg=FFMPEG, scratch=tmp_path)
        assert (served.breaks, served.refuses) == (0, 0)
    assert made.checked.frame_count == 100


def test_a_storage_that_stays_away_is_an_error_that_is_tried_again(films: Path, tmp_path: Path) -> None:
    source = probed(films / "plain.mp4", tmp_path)
    plan = ClipPlan(300, 400, None, FAST)
    with Served(films) as served:
        url = f"{served.url}/plain.mp4"
        with pytest.raises(ObjectMissing):
            render_clip(f"{served.url}/gone.mp4", source, plan, tmp_path / "c.mp4", ffmpeg=FFMPEG, scratch=tmp_path)
    with pytest.raises(StorageUnavailable) as problem:
        render_clip(url, source, plan, tmp_path / "c.mp4", ffmpeg=FFMPEG, scratch=tmp_path)
    assert problem.value.retryable
    assert not list(tmp_path.iterdir())


def test_fetching_ends_at_once_when_it_is_stopped(films: Path, tmp_path: Path) -> None:
    source = probed(films / "plain.mp4", tmp_path)
    stop = threading.Event()
    stop.set()
    with Served(films) as served, pytest.raises(Stopped):
        url, plan = f"{served.url}/plain.mp4", ClipPlan(300, 400, None, FAST)
        render_clip(url, source, plan, tmp_path / "c.mp4", ffmpeg=FFMPEG, scratch=tmp_path, stop=stop)


PACKET = st.tuples(st.floats(-5, 200), st.integers(0, 1 << 40), st.integers(1, 1 << 20))


@given(packets=st.lists(PACKET, min_size=1, max_size=60))
def test_every_packet_lies_in_the_span_around_its_time(packets: list[tuple[float, int, int]]) -> None:
    known = Spans()
    for packet in packets:
        known.note(*packet)
    packed: Any = known.packed()
    assert around(packed) == (min(p for _, p, _ in packets), max(p + size for _, p, size in packets))
    for begin, _, _ in packets:
        for end, _, _ in packets:
            first, after = between(packed, begin, end)
            inside = [(p, p + size) for at, p, size in packets if begin <= at <= end]
            assert all(first <= a and b <= after for a, b in inside)


def test_a_packet_without_a_place_is_the_end_of_it() -> None:
    known = Spans()
    known.note(0.0, 10, 5)
    known.note(0.0, None, 5)
    assert known.packed() is None
    assert Spans().packed() is None

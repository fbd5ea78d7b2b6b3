"""Probing: exact times of every frame; a stranger's file can only be refused, by name."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from media_sources import Served, Studio
from processes import children
from reelmill.errors import (
    MediaRejected,
    NotAPicture,
    NotAVideo,
    ObjectMissing,
    ReelmillError,
    Stopped,
    StorageUnavailable,
)
from reelmill.media import ProbeLimits, Source, probe
from reelmill.media.probe_child import pack, sniff, unpack

PLAYABLE = [
    "pal.mp4", "ntsc.mp4", "sixty.mp4", "ntsc-copy.mkv", "ntsc-copy.ts", "ntsc-copy.flv", "ntsc-copy.mov", "old.avi",
    "old.mpg", "vfr.mp4", "vfr.mkv", "late-sound.mp4", "short-sound.mp4", "rotated.mp4", "edited.mp4", "joined-late.ts",
    "odd.mp4", "wide.mp4",
]  # fmt: skip


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.getbasetemp() / "media")


@pytest.fixture
def server(studio: Studio) -> Iterator[str]:
    with Served(studio.folder) as running:
        yield running.url


def decoded_ticks(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [frame.pts for frame in container.decode(video=0)]


@pytest.mark.req("B-03")
@pytest.mark.parametrize("name", PLAYABLE)
def test_the_index_is_what_decodes(studio: Studio, tmp_path: Path, name: str) -> None:
    path = studio(name)
    source = probe(str(path), scratch=tmp_path)
    assert list(source.frame_ticks()) == decoded_ticks(path)
    assert source.video.frame_count == len(source.frame_ticks())
    assert source.video.end_tick > source.frame_ticks()[-1]
    assert set(source.keyframe_ticks()) <= set(source.frame_ticks())
    assert source.size_bytes == path.stat().st_size
    assert Source.from_json(json.loads(json.dumps(source.to_json()))) == source


def test_what_is_told_of_a_source(studio: Studio, tmp_path: Path) -> None:
    source = probe(str(studio("ntsc.mp4")), scratch=tmp_path)
    video, audio = source.video, source.audio
    assert (video.codec, video.width, video.height, video.frame_rate) == ("h264", 320, 180, Fraction(30000, 1001))
    assert (video.is_vfr, video.time_base, video.frame_count) == (False, Fraction(1, 30000), 150)
    assert source.duration_s == pytest.approx(150 * 1001 / 30000)
    assert audio is not None
    assert (audio.codec, audio.sample_rate, audio.channels) == ("aac", 48000, 1)
    assert audio.start_s == pytest.approx(0, abs=0.03) and audio.end_s == pytest.approx(5, abs=0.03)
    assert probe(str(studio("sixty.mp4")), scratch=tmp_path).audio is None
    assert probe(str(studio("vfr.mp4")), scratch=tmp_path).video.is_vfr
    matroska = probe(str(studio("ntsc-copy.mkv")), scratch=tmp_path).video
    assert (matroska.is_vfr, matroska.frame_rate) == (False, Fraction(30000, 1001)), (
        "milliseconds aren't a varying rate"
    )


def test_rotation_and_pixel_shape_are_as_displayed(studio: Studio, tmp_path: Path) -> None:
    turned = probe(str(studio("rotated.mp4")), scratch=tmp_path).video
    assert (turned.width, turned.height, turned.rotation) == (180, 320, 270)
    wide = probe(str(studio("wide.mp4")), scratch=tmp_path).video
    assert (wide.width, wide.height, wide.sample_aspect) == (321, 181, Fraction(4, 3))


def test_the_suffix_means_nothing(studio: Studio, tmp_path: Path) -> None:
    disguised = tmp_path / "film.txt"
    disguised.write_bytes(studio("ntsc-copy.mkv").read_bytes())
    assert probe(str(disguised), scratch=tmp_path).demuxer == "matroska"


def refused(kind: type[ReelmillError], path: Path, scratch: Path, limits: ProbeLimits | None = None) -> str:
    with pytest.raises(kind) as caught:
        probe(str(path), scratch=scratch, limits=limits)
    assert type(caught.value) is kind
    return caught.value.detail


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{film}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {film}\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{film}</BaseURL></MPD>',
    "text": "Dear film,\nwish you were here.\n",
    "script": "#!/bin/sh\nrm -rf /\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "m3u8"])
def test_a_playlist_under_any_name_is_not_a_video(studio: Studio, tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"film.{suffix}"
    path.write_text(PLAYLISTS[kind].format(film=studio("pal.mp4")))
    assert "known" in refused(NotAVideo, path, tmp_path)


def test_damaged_files_are_not_videos(studio: Studio, tmp_path: Path) -> None:
    film = studio("pal.mp4").read_bytes()
    for name, content in {
        "empty": b"",
        "one byte": b"\x00",
        "no index": film[: len(film) // 2],  # the index is at the end
        "only a head": b"\x00\x00\x00\x20ftypisom" + bytes(100),
        "noise": bytes(range(256)) * 500,
        "matroska head": b"\x1aE\xdf\xa3" + bytes(500),
        "transport of nothing": (b"\x47" + bytes(187)) * 100,
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        refused(NotAVideo, path, tmp_path)


def test_sound_alone_is_not_a_video(studio: Studio, tmp_path: Path) -> None:
    assert "no video stream" in refused(NotAVideo, studio("sound-only.mp4"), tmp_path)
    assert "no video stream" in refused(NotAVideo, studio("sound-with-cover.mp4"), tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_damage_anywhere_is_taken_or_refused_never_anything_else(studio: Studio, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    for name in ("ntsc.mp4", "ntsc-copy.mkv", "ntsc-copy.ts", "old.avi", "old.mpg", "ntsc-copy.flv"):
        film = bytearray(studio(name).read_bytes())
        zone = dice.choice([300, 3000, len(film)])
        for _ in range(dice.choice([1, 5, 50])):
            place = dice.randrange(zone)
            film[place if dice.random() < 0.5 else -1 - place] = dice.randrange(256)
        (tmp_path / "film").write_bytes(film)
        try:
            assert probe(str(tmp_path / "film"), scratch=tmp_path).video.frame_count > 0
        except (NotAVideo, MediaRejected) as refusal:
            assert "failed" not in refusal.detail, refusal.extra


@pytest.mark.parametrize("seed", range(6))
def test_damage_in_a_picture_is_taken_or_refused_never_anything_else(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    noise = Image.effect_noise((160, 120), 60)
    for kind, more in {"PNG": {}, "JPEG": {"progressive": seed % 2 == 0}, "WEBP": {"lossless": seed % 2 == 0}}.items():
        whole = io.BytesIO()
        noise.convert("RGB").save(whole, kind, **more)
        picture = bytearray(whole.getvalue())
        (tmp_path / "picture").write_bytes(picture)
        source = probe(str(tmp_path / "picture"), still=True, scratch=tmp_path)
        assert source.is_still and (source.video.width, source.video.height) == (160, 120)
        for _ in range(dice.choice([1, 5, 50])):
            picture[dice.randrange(dice.choice([40, len(picture)]))] = dice.randrange(256)
        (tmp_path / "picture").write_bytes(picture[: dice.choice([len(picture), len(picture) // 2])])
        try:
            assert probe(str(tmp_path / "picture"), still=True, scratch=tmp_path).video.frame_count == 1
        except (NotAPicture, MediaRejected) as refusal:
            assert "failed" not in refusal.detail, refusal.extra


def test_a_file_that_breaks_off_keeps_its_beginning(studio: Studio, tmp_path: Path) -> None:
    path = tmp_path / "cut.mkv"
    film = studio("ntsc-copy.mkv").read_bytes()
    path.write_bytes(film[: len(film) * 2 // 3])
    source = probe(str(path), scratch=tmp_path)
    assert 50 < source.video.frame_count < 150


@pytest.mark.parametrize(
    ("name", "limits", "said"),
    [
        ("huge.mp4", ProbeLimits(), "16000×16000"),
        ("many-streams.mkv", ProbeLimits(), "70 streams"),
        ("fast.mp4", ProbeLimits(), "1000 frames a second"),
        ("gap.mp4", ProbeLimits(), "gap"),
        ("gap.mp4", ProbeLimits(max_duration_s=3600), "long"),
        ("pal.mp4", ProbeLimits(max_side=319), "320×180"),
        ("pal.mp4", ProbeLimits(max_frames=100), "100 frames"),
        ("pal.mp4", ProbeLimits(memory_bytes=60 << 20), ""),
        ("pal.mp4", ProbeLimits(verdict_s=0.001), "time"),
        ("pal.mp4", ProbeLimits(deadline_s=0.01), "time"),
    ],
)
def test_what_is_beyond_the_limits_is_rejected(
    studio: Studio, tmp_path: Path, name: str, limits: ProbeLimits, said: str
) -> None:
    began = time.monotonic()
    assert said in refused(MediaRejected, studio(name), tmp_path, limits)
    assert time.monotonic() - began < 15


def test_a_probe_that_is_killed_twice_is_the_files_fault_once_is_not(studio: Studio, tmp_path: Path) -> None:
    film = studio("pal.mp4")
    for times in (1, 2):
        killed: list[int] = []
        done = threading.Event()

        def kill(times: int = times, killed: list[int] = killed, done: threading.Event = done) -> None:
            while not done.is_set() and len(killed) < times:
                for child in children():
                    if child.pid not in killed:
                        killed.append(child.pid)
                        os.kill(child.pid, signal.SIGKILL)
                time.sleep(0.001)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            if times == 1:
                assert probe(str(film), scratch=tmp_path).video.frame_count == 125
            else:
                assert "crashed" in refused(MediaRejected, film, tmp_path)
        finally:
            done.set()
            killer.join()


def test_a_probe_can_be_stopped(studio: Studio, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        probe(str(studio("pal.mp4")), scratch=tmp_path, stop=stop)
    assert not children()


def test_a_url_is_probed_as_a_file_is(studio: Studio, tmp_path: Path, server: str) -> None:
    for name in ("ntsc.mp4", "ntsc-copy.mkv", "ntsc-copy.ts"):
        assert probe(f"{server}/{studio(name).name}", scratch=tmp_path) == probe(str(studio(name)), scratch=tmp_path)


def test_what_can_not_be_read_is_not_called_a_bad_video(studio: Studio, tmp_path: Path, server: str) -> None:
    refused(ObjectMissing, tmp_path / "nothing.mp4", tmp_path)
    for kind, url in ((ObjectMissing, f"{server}/nothing.mp4"), (StorageUnavailable, f"{server}/broken.mp4"),
                      (StorageUnavailable, "http://127.0.0.1:9/film.mp4")):  # fmt: skip
        with pytest.raises(kind):
            probe(url, scratch=tmp_path)


def test_a_source_reads_back_what_older_records_hold_beyond_it(studio: Studio, tmp_path: Path) -> None:
    data = probe(str(studio("pal.mp4")), scratch=tmp_path).to_json()
    data["identity"] = "sha256:…"
    source = Source.from_json(data)
    assert source.duration_s == 5
    assert replace(source) == source


@given(st.lists(st.integers(1, 2**40), max_size=50), st.integers(-(2**40), 2**40), st.booleans())
@settings(deadline=None)
def test_packed_ticks_come_back(steps: list[int], first: int, long: bool) -> None:
    ticks = [first]
    for step in steps * (120 if long else 1):
        ticks.append(ticks[-1] + step)
    assert list(unpack(json.loads(json.dumps(pack(ticks))))) == ticks


@given(st.text(max_size=300))
def test_no_text_is_taken_for_a_container(text: str) -> None:
    # "\x00" aside, which text files don't have.
    assert sniff(text.replace("\x00", "").encode().ljust(20, b" ")) in (None, "mov", "mpegts")


def test_packed_ticks_of_a_long_varying_film_stay_small() -> None:
    milliseconds = [round(n * 1001 / 30) for n in range(300_000)]
    assert len(json.dumps(pack(milliseconds))) < 40_000
    assert len(json.dumps(pack(range(0, 10**8, 1001)))) < 60

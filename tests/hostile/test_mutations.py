"""Real files, damaged at random: each is taken or refused, never anything else, and nobody is hurt."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from media_sources import ffmpeg, make_source
from processes import children, note_strangers
from reelmill.errors import MediaRejected, NotAVideo, ReelmillError
from reelmill.media import ClipPlan, Limits, encode_clip, find_ffmpeg, probe
from samples import sample

FILES = 300
VERDICT_S = 15.0  #: wall seconds
KINDS = ("mp4", "fragmented.mp4", "mkv", "webm", "avi", "ts", "flv", "ogg", "mpg", "bikes.mp4")
HEADS = re.compile(
    rb"moov|trak|mdia|stbl|stsd|stts|ctts|stsc|stsz|stco|stss|elst|mvhd|tkhd|mdhd|moof|traf|trun|tfhd|avcC|esds|"
    rb"idx1|movi|strh|strf|avih|RIFF|LIST|OggS|FLV|onMetaData|\x1a\x45\xdf\xa3|\x16\x54\xae\x6b|\x1f\x43\xb6\x75|"
    rb"\x1c\x53\xbb\x6b|\x00\x00\x01[\xba\xbb\xe0\xc0\xb3]"
)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Short films in every container, and a second of a real one."""
    folder = tmp_path_factory.mktemp("films")
    made: dict[str, bytes] = {}
    whole = make_source(folder / "whole.mp4", seconds=1, width=160, height=90, more=("-g", "10", "-bf", "2"))
    coded = {
        "webm": ("-c:v", "libvpx", "-b:v", "200k", "-deadline", "realtime", "-c:a", "libvorbis"),
        "ogg": ("-c:v", "libtheora", "-c:a", "libvorbis"),
        "avi": ("-c:v", "mpeg4", "-bf", "2", "-c:a", "mp2"),
        "mpg": ("-c:v", "mpeg2video", "-c:a", "mp2"),
        "fragmented.mp4": ("-c", "copy", "-movflags", "frag_keyframe+empty_moov"),
        "bikes.mp4": ("-vf", "scale=160:-2", "-c:v", "libx264", "-preset", "ultrafast", "-an"),
    }
    for kind in KINDS:
        source = sample("bikes.mp4") if kind == "bikes.mp4" else whole
        path = folder / f"film.{kind}"
        ffmpeg("-i", str(source), "-t", "1", *coded.get(kind, ("-c", "copy")), str(path))
        made[kind] = path.read_bytes()
    return made


# ── damage ────────────────────────────────────────────────────────────────────────────────────


def flip(film: bytearray, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 4, 32, 256))):
        film[dice.randrange(len(film))] ^= 1 << dice.randrange(8)


def overwrite(film: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(film))
    film[at : at + 64] = dice.randbytes(min(64, len(film) - at))


def delete(film: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(film))
    del film[at : at + dice.choice((1, 7, 188, 1000, 10_000))]


def insert(film: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(film))
    film[at:at] = dice.randbytes(dice.choice((1, 7, 188, 1000)))


def duplicate(film: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(film))
    block = film[at : at + dice.choice((16, 188, 4000, 30_000))]
    again = dice.choice((at, dice.randrange(len(film))))
    film[again:again] = block * dice.choice((1, 2, 20))


def cut(film: bytearray, dice: random.Random) -> None:
    del film[dice.randrange(1, len(film)) :]


def damage_heads(film: bytearray, dice: random.Random) -> None:
    """Sizes and counts are around the names of boxes, elements, chunks and pages."""
    places = [found.start() for found in HEADS.finditer(film)]
    for place in dice.sample(places, min(len(places), dice.choice((1, 2, 5)))):
        at = max(0, place - 4) if dice.random() < 0.5 else min(place + dice.randrange(4, 20), len(film) - 4)
        film[at : at + 4] = dice.choice((b"\0\0\0\0", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\1", dice.randbytes(4)))


def damage_beginning(film: bytearray, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 3, 20))):
        film[dice.randrange(12, min(2000, len(film)))] = dice.randrange(256)


WAYS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip, overwrite, delete, insert, duplicate, cut, damage_heads, damage_heads, damage_beginning,
)  # fmt: skip


def mutated(films: dict[str, bytes], seed: int) -> bytes:
    """Return a film with one to three damages; the same for the same seed."""
    dice = random.Random(seed)
    film = bytearray(films[KINDS[seed % len(KINDS)]])
    for way in dice.sample(WAYS, dice.choice((1, 1, 2, 3))):
        way(film, dice)
    return bytes(film)


# ── what becomes of it ────────────────────────────────────────────────────────────────────────


@dataclass
class Fate:
    """What became of one file."""

    seed: int
    verdict: str  #: "accepted" or the code
    clip: str  #: "" if none was tried, "right" or the code
    verdict_s: float
    odd: str = ""  #: what must not happen


def fate(films: dict[str, bytes], seed: int, folder: Path, program: Path) -> Fate:
    scratch = folder / f"{seed}"
    scratch.mkdir()
    path = scratch / "film"
    path.write_bytes(mutated(films, seed))
    began = time.monotonic()
    try:
        source = probe(str(path), scratch=scratch)
    except (NotAVideo, MediaRejected) as refusal:
        odd = refusal.detail if "failed" in refusal.detail or "crashed" in refusal.detail else ""
        return Fate(seed, refusal.code, "", time.monotonic() - began, odd)
    took = time.monotonic() - began
    if seed // len(KINDS) % 2:
        return Fate(seed, "accepted", "", took)  # every other one is cut: as telling, and half the time
    frames = source.video.frame_count
    plan = ClipPlan(frames // 3, min(frames, frames // 3 + 50))
    clip, odd = "right", ""
    try:
        encode_clip(
            str(path), source, plan, scratch / "clip.mp4",
            ffmpeg=program, scratch=scratch, limits=Limits(deadline_s=30, cpu_s=30),
        )  # fmt: skip
    except ReelmillError as problem:
        clip = problem.code
        odd = "" if problem.code and problem.remedy else f"{type(problem).__name__} has no remedy"
    left = {one.name for one in scratch.iterdir()} - {"film", "clip.mp4"}
    return Fate(seed, "accepted", clip, took, odd or ("left in scratch: " + ", ".join(left) if left else ""))


@pytest.mark.req("C-07")
def test_three_hundred_damaged_films_hurt_nobody(films: dict[str, bytes], tmp_path: Path) -> None:
    note_strangers()
    threads = threading.active_count()
    program = find_ffmpeg()
    with ThreadPoolExecutor(2) as pool:  # an exception that isn't one of ours comes out here
        fates = list(pool.map(lambda seed: fate(films, seed, tmp_path, program), range(FILES)))
    assert not [one for one in fates if one.odd]
    slowest = max(fates, key=lambda one: one.verdict_s)
    assert slowest.verdict_s <= VERDICT_S, slowest
    assert not children(), "a process is left"
    assert threading.active_count() == threads
    verdicts, clips = Counter(one.verdict for one in fates), Counter(one.clip for one in fates if one.clip)
    print(f"{dict(verdicts)}; clips {dict(clips)}; slowest verdict {slowest.verdict_s:.1f} s (seed {slowest.seed})")
    assert clips["right"] > FILES / 10, "damage that leaves nothing to cut would test little"
    assert set(clips) <= {"right", "encode_failed", "output_rejected", "resource_limit", "deadline_exceeded"}

"""Clips: every frame of the source once, at its time, its sound as long, in the same bytes again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from media_sources import Served, Studio, ffmpeg
from processes import children
from reelmill.errors import DeadlineExceeded, EncodeFailed, OutputRejected, ParamsInvalid, Stopped
from reelmill.media import (
    ClipPlan,
    ClipSettings,
    Encoded,
    Limits,
    Picture,
    ProbeLimits,
    Segment,
    Source,
    TextStyle,
    check_output,
    clip_arguments,
    draw,
    encode_clip,
    expect,
    find_ffmpeg,
    fixed,
    layout,
    output_size,
    probe,
)

FFMPEG = find_ffmpeg()
FAST = ClipSettings(preset="ultrafast", crf=18)
SOURCES = [
    "pal.mp4", "ntsc.mp4", "sixty.mp4", "ntsc-copy.mkv", "ntsc-copy.ts", "ntsc-copy.flv", "old.avi", "old.mpg",
    "vfr.mp4", "vfr.mkv", "late-sound.mp4", "short-sound.mp4", "edited.mp4", "joined-late.ts",
]  # fmt: skip


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.getbasetemp() / "media")


@pytest.fixture
def served(studio: Studio) -> Iterator[Served]:
    with Served(studio.folder) as running:
        yield running


def looked_at(path: Path, scratch: Path, limits: ProbeLimits | None = None) -> Source:
    return probe(str(path), scratch=scratch, limits=limits)


def segments(source: Source, seconds: float) -> list[Segment]:
    video = source.video
    return fixed(source.frame_ticks(), video.end_tick, video.time_base, Fraction(seconds))


def words(source: Source, path: Path, text: str = "Reelmill") -> Picture:
    return draw(layout(text, TextStyle(size_pct=10, box_color="#102030"), *output_size(source)), path)


def encoded(
    path: Path, source: Source, part: Segment, out: Path, picture: Picture | None = None, **more: Any
) -> Encoded:
    plan = ClipPlan(part.start_frame, part.end_frame, picture, more.pop("settings", FAST))
    return encode_clip(str(path), source, plan, out, ffmpeg=FFMPEG, scratch=out.parent, **more)


def pictures(path: Path) -> list[np.ndarray[Any, Any]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="gray", threads=1).astype(np.int32) for frame in container.decode(video=0)]


def samples(path: Path) -> tuple[np.ndarray[Any, Any], int]:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        return np.concatenate(frames), container.streams.audio[0].rate


def psnr(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    error = float(((one - other) ** 2).mean())
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


def shown_at(path: Path) -> tuple[list[int], Fraction]:
    with av.open(str(path)) as container:
        base = container.streams.video[0].time_base
        assert base is not None
        return [frame.pts for frame in container.decode(video=0)], base


@pytest.mark.req("B-02", "B-04")
@pytest.mark.parametrize("name", SOURCES)
def test_the_clips_are_the_source_frame_by_frame(studio: Studio, tmp_path: Path, name: str) -> None:
    path = studio(name)
    source = looked_at(path, tmp_path)
    ticks, base = source.frame_ticks(), source.video.time_base
    picture = words(source, tmp_path / "text.png")
    original = pictures(path)
    free = slice(0, picture.y)  # what the text leaves free
    parts = segments(source, 1.3)
    count = 0
    for part in parts:
        made = encoded(path, source, part, tmp_path / f"{part.index}.mp4", picture)
        clip = pictures(made.path)
        assert len(clip) == part.frame_count == made.checked.frame_count
        quality = [
            psnr(a[free], b[free]) for a, b in zip(original[part.start_frame : part.end_frame], clip, strict=True)
        ]
        assert quality[0] > 40 and min(quality) > 36, quality
        before, first = original[max(0, part.start_frame - 1)], original[part.start_frame]
        assert part.start_frame == 0 or psnr(before[free], clip[0][free]) < psnr(first[free], clip[0][free]) - 3
        assert psnr(clip[0][picture.y :], original[part.start_frame][picture.y :]) < 30, "the text isn't there"
        at, their_base = shown_at(made.path)
        wanted = [(tick - part.start_tick) * base for tick in ticks[part.start_frame : part.end_frame]]
        assert [pts * their_base for pts in at] == wanted
        assert made.checked.duration_s == pytest.approx(float(part.duration), abs=1e-6)
        assert (made.checked.audio_end_s is None) == (source.audio is None)
        if made.checked.audio_end_s is not None:
            assert abs(made.checked.audio_end_s - made.checked.duration_s) < 0.025
        count += len(clip)
    assert count == len(original)
    assert not list(tmp_path.glob("*.unchecked.mp4"))


@pytest.mark.parametrize("name", ["rotated.mp4", "odd.mp4", "wide.mp4"])
def test_clips_look_as_the_source_is_displayed(studio: Studio, tmp_path: Path, name: str) -> None:
    path = studio(name)
    source = looked_at(path, tmp_path)
    part = segments(source, 1)[0]
    made = encoded(path, source, part, tmp_path / "clip.mp4", words(source, tmp_path / "text.png", "Hi"))
    width, height = {"rotated.mp4": (180, 320), "odd.mp4": (320, 180), "wide.mp4": (428, 180)}[name]
    assert (made.checked.width, made.checked.height) == (width, height) == output_size(source)
    with av.open(str(made.path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.sample_aspect_ratio or 1) == 1
    if name == "rotated.mp4":
        top = slice(0, 240)
        assert psnr(np.rot90(pictures(path)[0])[top], pictures(made.path)[0][top]) > 36


def tone(path: Path) -> np.ndarray[Any, Any]:
    """Return how loud each 10 ms are."""
    heard, rate = samples(path)
    step = rate // 100
    usable = heard[: len(heard) // step * step].reshape(-1, step)
    return np.sqrt((usable**2).mean(axis=1))


@pytest.mark.req("B-02")
def test_sound_stays_where_it_was(studio: Studio, tmp_path: Path) -> None:
    late = studio("late-sound.mp4")
    source = looked_at(late, tmp_path)
    loud = [tone(encoded(late, source, part, tmp_path / f"{part.index}.mp4").path) for part in segments(source, 2)]
    assert loud[0].max() < 0.001, "silence before the tone"
    begins = float(np.argmax(loud[1] > 0.05)) / 100
    assert begins == pytest.approx(2.3 - float(segments(source, 2)[1].start), abs=0.03)
    short = studio("short-sound.mp4")
    source = looked_at(short, tmp_path)
    loud = [tone(encoded(short, source, part, tmp_path / f"{part.index}.mp4").path) for part in segments(source, 2)]
    assert loud[0].min() > 0.02
    ends = len(loud[1]) - float(np.argmax(loud[1][::-1] > 0.05))
    assert ends / 100 == pytest.approx(2.5 - float(segments(source, 2)[1].start), abs=0.05)
    assert loud[2].max() < 0.001


def test_sound_is_not_torn_at_the_cuts(studio: Studio, tmp_path: Path) -> None:
    """Laid end to end, the clips' tone is the source's: no drop-out where the codec begins anew."""
    path = studio("pal.mp4")
    source = looked_at(path, tmp_path)
    whole, rate = samples(path)
    for part in segments(source, 1.3):
        made, their_rate = samples(encoded(path, source, part, tmp_path / f"{part.index}.mp4").path)
        start = round(part.start_s * rate)
        assert their_rate == rate
        length = min(len(made), len(whole) - start, round(part.duration * rate)) - 1100
        difference = made[1100:length] - whole[start + 1100 : start + length]
        assert np.sqrt((difference**2).mean()) < 0.02 < np.sqrt((whole**2).mean())
        assert np.abs(made[:1100]).max() > 0.05, "silence at the beginning"


@pytest.mark.parametrize("name", ["ntsc.mp4", "vfr.mkv"])
def test_the_same_input_gives_the_same_bytes(studio: Studio, tmp_path: Path, name: str) -> None:
    path = studio(name)
    source = looked_at(path, tmp_path)
    part = segments(source, 1.7)[1]

    def digest(number: int) -> str:
        folder = tmp_path / f"run {number}"
        folder.mkdir()
        picture = words(source, folder / "text.png")
        settings = ClipSettings(threads=2)
        return encoded(path, source, part, folder / "clip.mp4", picture, settings=settings).checked.sha256

    # More runs than processors: what depends on which thread is first shows only on a busy machine.
    with ThreadPoolExecutor(6) as pool:
        sums = set(pool.map(digest, range(18)))
    assert len(sums) == 1


def test_groups_of_pictures_are_closed_and_no_longer_than_asked(studio: Studio, tmp_path: Path) -> None:
    path = studio("pal.mp4")
    source = looked_at(path, tmp_path)
    made = encoded(path, source, segments(source, 5)[0], tmp_path / "clip.mp4", settings=replace(FAST, gop_s=1.0))
    with av.open(str(made.path)) as container:
        keys = [packet.pts for packet in container.demux(video=0) if packet.size and packet.is_keyframe]
        base = container.streams.video[0].time_base
    assert base is not None
    assert all(0 < (after - before) * base <= 1 for before, after in pairwise(keys)) and len(keys) >= 5


def test_only_the_clips_part_of_a_long_source_is_decoded(studio: Studio, tmp_path: Path) -> None:
    path = studio("long.mp4")
    source = looked_at(path, tmp_path)
    parts = segments(source, 2)
    cpu = [encoded(path, source, part, tmp_path / "clip.mp4").finished.cpu_s for part in (parts[0], parts[-2])]
    assert cpu[1] < cpu[0] * 2 + 0.3, cpu


@pytest.mark.req("B-04")
def test_whatever_the_text_says_ffmpeg_is_told_the_same(studio: Studio, tmp_path: Path) -> None:
    source = looked_at(studio("pal.mp4"), tmp_path)
    spoken = [
        "plain", "it's 'quoted' \"twice\"", "%{pts} %{eif:1:d} $(reboot) `id`", r"back\slash \N \n : , ; = [0:v]",
        "two\nlines", "];[0:v]null[x];movie=/etc/passwd", "-i /etc/passwd -f mp4 out", "مرحبا 🎬",
    ]  # fmt: skip
    shapes = set()
    for n, text in enumerate(spoken):
        picture = words(source, tmp_path / "text.png", text)
        fixed_place = Picture(picture.path, 10, 20, picture.width, picture.height)
        argv = clip_arguments("film.mp4", source, ClipPlan(0, 50, fixed_place, FAST), tmp_path / "out.mp4")
        shapes.add(tuple(argv))
        if n < 4:
            encoded(studio("pal.mp4"), source, segments(source, 1)[0], tmp_path / "clip.mp4", picture)
    assert len(shapes) == 1


def test_the_text_has_the_colour_that_was_asked_for(studio: Studio, tmp_path: Path) -> None:
    path = studio("pal.mp4")
    source = looked_at(path, tmp_path)
    style = TextStyle(
        position="center", size_pct=50, color="#D02040", outline_pct=0, box_color="#D02040", box_opacity=1
    )
    picture = draw(layout("MM", style, *output_size(source)), tmp_path / "text.png")
    made = encoded(path, source, segments(source, 1)[0], tmp_path / "clip.mp4", picture)
    with av.open(str(made.path)) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24", threads=1)
    inside = frame[picture.y + 20 : picture.y + picture.height - 20, picture.x + 20 : picture.x + picture.width - 20]
    assert np.abs(inside.reshape(-1, 3).mean(axis=0) - (0xD0, 0x20, 0x40)).max() < 6


@pytest.fixture(scope="session")
def gap(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Source]:
    """A film with a gap of 20 hours, let in by generous limits: its clip is 20 hours of silence long."""
    path = studio("gap.mp4")
    generous = ProbeLimits(max_gap_s=1e6, max_duration_s=1e6)
    return path, looked_at(path, tmp_path_factory.mktemp("gap"), generous)


@pytest.mark.req("E-08")
def test_a_clip_over_a_gap_of_hours_stops_within_five_seconds(gap: tuple[Path, Source], tmp_path: Path) -> None:
    path, source = gap
    stop = threading.Event()
    timer = threading.Timer(1.0, stop.set)
    timer.start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        encoded(path, source, segments(source, 100_000)[0], tmp_path / "clip.mp4", stop=stop)
    timer.join()
    assert 1 <= time.monotonic() - began < 1 + 5
    assert not children()
    assert not list(tmp_path.iterdir())


def test_a_clip_over_a_gap_of_hours_ends_at_its_deadline(gap: tuple[Path, Source], tmp_path: Path) -> None:
    path, source = gap
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        encoded(path, source, segments(source, 100_000)[0], tmp_path / "c.mp4", limits=Limits(deadline_s=1))
    assert time.monotonic() - began < 6
    assert not list(tmp_path.iterdir())


def test_the_clips_beside_a_gap_are_made_at_once(gap: tuple[Path, Source], tmp_path: Path) -> None:
    path, source = gap
    first, *_, last = segments(source, 0.5)
    for part in (first, last):
        assert encoded(path, source, part, tmp_path / "c.mp4").finished.wall_s < 5


def test_a_source_that_is_gone_or_damaged_is_told(studio: Studio, tmp_path: Path) -> None:
    source = looked_at(studio("pal.mp4"), tmp_path)
    part = segments(source, 1)[2]
    with pytest.raises(EncodeFailed, match="No such file"):
        encoded(tmp_path / "gone.mp4", source, part, tmp_path / "clip.mp4")
    damaged = bytearray(studio("pal.mp4").read_bytes())
    damaged[len(damaged) // 3 : len(damaged) // 2] = bytes(len(damaged) // 2 - len(damaged) // 3)
    (tmp_path / "damaged.mp4").write_bytes(damaged)
    with pytest.raises((EncodeFailed, OutputRejected)):
        for each in segments(source, 1):
            encoded(tmp_path / "damaged.mp4", source, each, tmp_path / "clip.mp4")
    assert not (tmp_path / "clip.mp4.unchecked.mp4").exists()


@pytest.mark.parametrize(
    "change",
    [{"preset": "x264-params=1"}, {"crf": 52}, {"threads": 0}, {"audio_kbps": 8}, {"gop_s": 0.0}],
)
def test_settings_out_of_range_are_refused(studio: Studio, tmp_path: Path, change: dict[str, Any]) -> None:
    source = looked_at(studio("pal.mp4"), tmp_path)
    with pytest.raises(ParamsInvalid):
        clip_arguments("a", source, ClipPlan(0, 5, None, replace(FAST, **change)), tmp_path / "o.mp4")


@pytest.mark.parametrize("frames", [(-1, 5), (5, 5), (6, 5), (0, 10_000)])
def test_frames_outside_the_source_are_refused(studio: Studio, tmp_path: Path, frames: tuple[int, int]) -> None:
    source = looked_at(studio("pal.mp4"), tmp_path)
    with pytest.raises(ParamsInvalid):
        expect(source, ClipPlan(*frames))


def test_single_frames_are_clips_too(studio: Studio, tmp_path: Path) -> None:
    path = studio("ntsc.mp4")
    source = looked_at(path, tmp_path)
    for part in (segments(source, 0.03)[n] for n in (0, 77, -1)):
        made = encoded(path, source, part, tmp_path / "clip.mp4").checked
        assert (made.frame_count, made.duration_s) == (1, pytest.approx(1001 / 30000))


def test_the_check_refuses_what_is_not_as_planned(studio: Studio, tmp_path: Path) -> None:
    path = studio("pal.mp4")
    source = looked_at(path, tmp_path)
    part = segments(source, 2)[0]
    plan = ClipPlan(part.start_frame, part.end_frame, None, FAST)
    made = encoded(path, source, part, tmp_path / "clip.mp4")
    good = expect(source, plan)
    assert check_output(made.path, good) == made.checked
    wrong = [
        replace(good, width=322),
        replace(good, frame_count=49),
        replace(good, has_audio=False),
        replace(good, duration=good.duration + Fraction(1, 10)),
        replace(good, ticks=[*good.ticks[:10], good.ticks[10] + 1, *good.ticks[11:]]),
    ]
    for expected in wrong:
        with pytest.raises(OutputRejected):
            check_output(made.path, expected)


def test_the_check_refuses_damage(studio: Studio, tmp_path: Path) -> None:
    path = studio("pal.mp4")
    source = looked_at(path, tmp_path)
    part = segments(source, 2)[0]
    good = expect(source, ClipPlan(part.start_frame, part.end_frame, None, FAST))
    whole = encoded(path, source, part, tmp_path / "clip.mp4").path.read_bytes()
    slow = tmp_path / "slow.mp4"
    ffmpeg("-i", str(tmp_path / "clip.mp4"), "-c", "copy", str(slow))
    broken = tmp_path / "broken.mp4"
    for content in (b"", whole[: len(whole) // 2], whole[:-3000]):
        broken.write_bytes(content)
        with pytest.raises(OutputRejected):
            check_output(broken, good)
    with pytest.raises(OutputRejected, match="index"):
        check_output(slow, good)
    with pytest.raises(OutputRejected):
        check_output(tmp_path / "none.mp4", good)


def test_a_clip_from_a_url_has_the_bytes_of_one_from_the_file(studio: Studio, tmp_path: Path, served: Served) -> None:
    for name in ("ntsc.mp4", "ntsc-copy.mkv", "ntsc-copy.ts"):
        path = studio(name)
        source = looked_at(path, tmp_path)
        part = segments(source, 1.3)[2]
        here = encoded(path, source, part, tmp_path / "here.mp4")
        there = encoded(f"{served.url}/{path.name}", source, part, tmp_path / "there.mp4")
        assert here.checked == there.checked


def test_only_the_clips_part_of_a_url_is_read(studio: Studio, tmp_path: Path, served: Served) -> None:
    path = studio("long.mp4")
    source = looked_at(path, tmp_path)
    part = segments(source, 30)[-2]
    served.sent = 0
    encoded(f"{served.url}/{path.name}", source, part, tmp_path / "clip.mp4")
    assert served.sent < path.stat().st_size * 0.5, (served.sent, path.stat().st_size)


def test_sums_of_clips_are_the_source(studio: Studio, tmp_path: Path) -> None:
    source = looked_at(studio("vfr.mp4"), tmp_path)
    frames = list(chain.from_iterable(range(part.start_frame, part.end_frame) for part in segments(source, 0.7)))
    assert frames == list(range(source.video.frame_count))

"""Smart rendering: what has no text is the source's, bit by bit; what has it, is where it should be; no seam shows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media_sources import ffmpeg, make_source
from reelmill.errors import OutputRejected
from reelmill.media import (
    ClipPlan,
    ClipSettings,
    Picture,
    Piece,
    Rendered,
    Shape,
    Source,
    TextStyle,
    draw,
    encode_clip,
    find_ffmpeg,
    layout,
    output_size,
    pieces,
    probe,
    render_clip,
    run,
    whole_because,
)
from reelmill.media.probe_child import free_parameter_set, pack
from reelmill.media.splice_child import Configuration, Unfit, configuration, id_of

FFMPEG = find_ffmpeg()
FAST = ClipSettings(preset="ultrafast", crf=18, threads=1)
UNHURRIED = settings(deadline=None, max_examples=200)


class Sources:
    """Sources with short groups of pictures, made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str) -> tuple[Path, Source]:
        path = self.folder / name
        if not path.exists():
            getattr(self, "_" + path.stem.replace("-", "_"))(path)
        return path, probe(str(path), scratch=self.folder)

    def _plain(self, path: Path) -> None:
        """25 frames/s, a key frame each second, B-frames, sound."""
        make_source(path, seconds=8, width=320, height=180, more=("-g", "25", "-preset", "medium"))

    def _ntsc(self, path: Path) -> None:
        make_source(path, seconds=6, rate="30000/1001", width=320, height=180, more=("-g", "30"))

    def _silent(self, path: Path) -> None:
        make_source(path, seconds=6, rate="60", sound=False, width=320, height=180, more=("-g", "45", "-bf", "0"))

    def _deep(self, path: Path) -> None:
        """Decoding runs far ahead of showing: a pyramid of B-frames."""
        more = ("-g", "40", "-preset", "medium", "-bf", "16", "-x264-params", "b-adapt=0:b-pyramid=strict:ref=8")
        make_source(path, seconds=6, width=320, height=180, more=more)

    def _baseline(self, path: Path) -> None:
        make_source(path, seconds=6, width=320, height=180, more=("-g", "25", "-profile:v", "baseline"))

    def _copy(self, path: Path) -> None:
        """The same in Matroska: time stamps of a millisecond."""
        ffmpeg("-i", str(self("plain.mp4")[0]), "-c", "copy", str(path))

    def _vfr(self, path: Path) -> None:
        ffmpeg(
            "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=8", "-f", "lavfi", "-i", "sine=duration=8",
            "-vf", "select='not(eq(mod(n,7),3))*not(between(n,90,105))'", "-fps_mode", "vfr", "-c:v", "libx264",
            "-crf", "12", "-g", "25", "-pix_fmt", "yuv420p", str(path),
        )  # fmt: skip

    def _gap(self, path: Path) -> None:
        """Frames near the end of a clip are missing, and decoding runs ahead of showing."""
        ffmpeg(
            "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=4",
            "-vf", "select='not(eq(n,50)+eq(n,53)+eq(n,54))'", "-fps_mode", "vfr", "-c:v", "libx264", "-crf", "12",
            "-bf", "2", "-g", "20", "-pix_fmt", "yuv420p", str(path),
        )  # fmt: skip

    def _cut(self, path: Path) -> None:
        """Begins in the middle of a group of pictures, by an edit list."""
        ffmpeg("-ss", "1.3", "-i", str(self("ntsc.mp4")[0]), "-c", "copy", str(path))

    def _open(self, path: Path) -> None:
        """Groups of pictures that need the one before."""
        more = ("-g", "25", "-preset", "medium", "-bf", "3", "-x264-params", "open-gop=1")
        make_source(path, seconds=6, width=320, height=180, more=more)

    def _turned(self, path: Path) -> None:
        ffmpeg("-display_rotation", "90", "-i", str(self("plain.mp4")[0]), "-c", "copy", str(path))

    def _hevc(self, path: Path) -> None:
        ffmpeg("-i", str(self("plain.mp4")[0]), "-c:v", "libx265", "-x265-params", "log-level=error", str(path))

    def _stream(self, path: Path) -> None:
        ffmpeg("-i", str(self("plain.mp4")[0]), "-c", "copy", str(path))

    def _colourful(self, path: Path) -> None:
        make_source(path, seconds=4, width=320, height=180, more=("-g", "25", "-pix_fmt", "yuv444p"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return Sources(tmp_path_factory.mktemp("smart"))


def words(source: Source, folder: Path) -> Picture:
    return draw(layout("Smart", TextStyle(size_pct=16, box_color="#102030"), *output_size(source)), folder / "text.png")


def rendered(made: tuple[Path, Source], plan: ClipPlan, folder: Path, name: str = "smart.mp4") -> Rendered:
    path, source = made
    return render_clip(str(path), source, plan, folder / name, ffmpeg=FFMPEG, scratch=folder)


def frames(path: Path) -> list[np.ndarray[Any, Any]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def hashes(pictures: Sequence[np.ndarray[Any, Any]]) -> list[str]:
    return [hashlib.sha256(picture.tobytes()).hexdigest() for picture in pictures]


def psnr(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    error = float(((one.astype(float) - other.astype(float)) ** 2).mean())
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


def sound(path: Path) -> tuple[np.ndarray[Any, Any], int]:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        return np.concatenate(frames, axis=1), container.streams.audio[0].rate


# ── the plan ──────────────────────────────────────────────────────────────────────────────────


def planned(count: int, keys: Sequence[int], start: int, end: int, text: tuple[int, int] | None) -> list[Piece]:
    """Return the pieces of a clip of a source with `count` frames and these key frames."""
    from reelmill.media import VideoStream

    fields = dict.fromkeys(VideoStream.__dataclass_fields__, None)
    video = VideoStream(**(fields | {"time_base": Fraction(1, 25), "end_tick": count, "start_tick": 0}))  # type: ignore[arg-type]
    source = Source(
        "mov", "mov", None, video, (), 0, 1, 0, 0, None, pack(range(count)), pack(sorted(keys))
    )  # fmt: skip
    picture = Picture(Path("text.png"), 0, 0, 2, 2) if text else None
    return pieces(source, ClipPlan(start, end, picture, picture_frames=text))


@pytest.mark.req("B-03")
@UNHURRIED
@given(data=st.data(), count=st.integers(2, 120))
def test_pieces_cover_the_clip_and_copies_are_whole_groups_without_text(data: st.DataObject, count: int) -> None:
    keys = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=12)))
    start = data.draw(st.integers(0, count - 1))
    end = data.draw(st.integers(start + 1, count))
    text = None
    if data.draw(st.booleans()):
        first = data.draw(st.integers(start, end - 1))
        text = first, data.draw(st.integers(first + 1, end))
    found = planned(count, keys, start, end, text)
    assert (found[0].start_frame, found[-1].end_frame) == (start, end)
    for before, after in pairwise(found):
        assert before.end_frame == after.start_frame and before.copied != after.copied
    edges = {*keys, count}
    for piece in found:
        assert piece.frame_count > 0
        if piece.copied:
            assert piece.start_frame in edges and piece.end_frame in edges
            assert text is None or piece.end_frame <= text[0] or text[1] <= piece.start_frame
    # Nothing is encoded that needn't be: each group in an encoded piece is touched by the text or by a cut.
    for piece in (piece for piece in found if not piece.copied):
        for group, following in pairwise(sorted({0, *keys, count})):
            if piece.start_frame <= group and following <= piece.end_frame:
                assert group not in edges or (text is not None and text[0] < following and group < text[1])


# ── what comes out ────────────────────────────────────────────────────────────────────────────

PLANS: dict[str, tuple[str, int, int, tuple[int, int] | str | None]] = {
    "text first": ("plain.mp4", 0, 200, (0, 30)),
    "text first, free cuts": ("plain.mp4", 13, 190, (13, 43)),
    "text in the middle": ("plain.mp4", 10, 200, (88, 90)),
    "text last": ("ntsc.mp4", 30, 160, (140, 160)),
    "no text, free cuts": ("plain.mp4", 13, 190, "none"),
    "no text, cuts on key frames": ("ntsc.mp4", 30, 150, "none"),
    "no text, the whole film": ("ntsc.mp4", 0, 179, "none"),
    "no sound, no B-frames, 60 fps": ("silent.mp4", 50, 340, (60, 100)),
    "a deep pyramid": ("deep.mp4", 3, 150, (10, 20)),
    "baseline": ("baseline.mp4", 3, 150, (10, 20)),
    "matroska": ("copy.mkv", 13, 190, (13, 43)),
    "varying rate": ("vfr.mp4", 10, 150, (12, 30)),
    "a gap at the end": ("gap.mp4", 3, 52, (5, 10)),
    "begins within a group": ("cut.mp4", 0, 130, (0, 20)),
}


@pytest.mark.req("B-02", "B-03", "B-04")
@pytest.mark.parametrize("name", PLANS)
def test_copied_frames_are_bit_identical_and_the_text_is_on_its_frames_only(
    sources: Sources, tmp_path: Path, name: str
) -> None:
    film, start, end, text = PLANS[name]
    path, source = sources(film)
    picture = None if text == "none" else words(source, tmp_path)
    plan = ClipPlan(start, end, picture, FAST, text if isinstance(text, tuple) else None)
    made = rendered((path, source), plan, tmp_path)
    assert made.reason is None, made.reason
    original, clip = frames(path)[start:end], frames(made.path)
    assert len(clip) == end - start == made.checked.frame_count
    same = [a == b for a, b in zip(hashes(original), hashes(clip), strict=True)]
    for piece in pieces(source, plan):
        if piece.copied:
            assert all(same[piece.start_frame - start : piece.end_frame - start]), piece
    assert made.copied_frames == sum(piece.frame_count for piece in pieces(source, plan) if piece.copied)
    assert made.copied_frames > 0.3 * len(clip)
    for number, (before, after) in enumerate(zip(original, clip, strict=True)):
        if picture is None or not text[0] <= number + start < text[1]:  # type: ignore[index,operator]
            assert psnr(before, after) > 38, f"frame {number} differs"
        else:
            rows = slice(picture.y, picture.y + picture.height)
            columns = slice(picture.x, picture.x + picture.width)
            assert psnr(before[rows, columns], after[rows, columns]) < 20, f"no text on frame {number}"
            assert psnr(before[: picture.y], after[: picture.y]) > 36
    # -xerror: the least fault in a packet or a picture ends it
    run(["-xerror", "-err_detect", "explode", "-i", str(made.path), "-f", "null", "-"], ffmpeg=FFMPEG, scratch=tmp_path)
    if source.audio is not None:
        whole = encode_clip(str(path), source, plan, tmp_path / "whole.mp4", ffmpeg=FFMPEG, scratch=tmp_path)
        heard, wanted = sound(made.path)[0][0], sound(whole.path)[0][0]
        length = min(len(heard), len(wanted))
        assert length > 0.99 * len(wanted)
        # One of them is encoded once more: no click, no echo, no offset.
        assert np.abs(heard[:length] - wanted[:length]).mean() < 0.004


@pytest.mark.req("B-03")
def test_the_same_plan_gives_the_same_bytes(sources: Sources, tmp_path: Path) -> None:
    path, source = sources("plain.mp4")
    plan = ClipPlan(13, 190, words(source, tmp_path), FAST, (13, 43))
    first, again = (rendered((path, source), plan, tmp_path, name) for name in ("first.mp4", "again.mp4"))
    assert first.checked.sha256 == again.checked.sha256
    assert not [left for left in tmp_path.iterdir() if left.name not in ("first.mp4", "again.mp4", "text.png")]


@pytest.mark.req("B-03")
def test_a_scratch_folder_may_be_named_from_here(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded server's own data folder is: `./reelmill-data`."""
    path, source = sources("plain.mp4")
    monkeypatch.chdir(tmp_path)
    Path("scratch").mkdir()
    plan = ClipPlan(30, 180, None, FAST)
    made = render_clip(str(path), source, plan, Path("scratch/clip.mp4"), ffmpeg=FFMPEG, scratch=Path("scratch"))
    assert made.reason is None and made.copied_frames > 0


def test_a_clip_of_a_smart_clip_gets_parameter_sets_of_another_number(sources: Sources, tmp_path: Path) -> None:
    path, source = sources("plain.mp4")
    first = rendered((path, source), ClipPlan(13, 190, words(source, tmp_path), FAST, (13, 43)), tmp_path)
    between = probe(str(first.path), scratch=tmp_path)
    assert (source.video.free_parameter_set, between.video.free_parameter_set) == (1, 2)
    again = rendered(
        (first.path, between), ClipPlan(5, 170, words(source, tmp_path), FAST, (100, 110)), tmp_path, "again.mp4"
    )
    assert again.reason is None
    assert len(frames(again.path)) == 165


@pytest.mark.req("B-02", "B-03")
@pytest.mark.parametrize("film", ["plain.mp4", "ntsc.mp4"])
def test_copied_sound_is_the_sources_sample_by_sample(sources: Sources, tmp_path: Path, film: str) -> None:
    path, source = sources(film)
    made = rendered((path, source), ClipPlan(13, 150, words(source, tmp_path), FAST, (13, 43)), tmp_path)
    commands = [" ".join(run.argv) for run in made.runs]
    assert not any("-c:a" in command for command in commands), "the sound was encoded"
    with av.open(str(path)) as old, av.open(str(made.path)) as new:
        theirs = {bytes(packet) for packet in old.demux(audio=0) if packet.size}
        ours = [bytes(packet) for packet in new.demux(audio=0) if packet.size]
    assert len(ours) > 100 and theirs.issuperset(ours)
    heard, rate = sound(made.path)
    original, _ = sound(path)
    start = source.frame_ticks()[13] * source.video.time_base
    offset = round(start * rate)
    off = [np.abs(heard[0, 2048:20480] - original[0, offset + 2048 + n : offset + 20480 + n]).max() for n in (-1, 0, 1)]
    assert off[1] < 1e-4 < 50 * min(off[0], off[2]), off
    assert abs(heard.shape[1] / rate - made.checked.duration_s) < 0.025


@pytest.mark.req("B-03")
@pytest.mark.parametrize("change", [{"audio_channels": "source"}, {}])
def test_sound_that_has_to_change_is_encoded(sources: Sources, tmp_path: Path, change: dict[str, Any]) -> None:
    """Matroska's times are too rough to copy sound exactly."""
    path, source = sources("copy.mkv")
    plan = ClipPlan(13, 150, words(source, tmp_path), replace(FAST, **change), (13, 43))
    made = rendered((path, source), plan, tmp_path)
    assert made.reason is None and any("-c:a" in run.argv for run in made.runs)


# ── when it can't be done ─────────────────────────────────────────────────────────────────────


@pytest.mark.req("B-03")
@pytest.mark.parametrize(
    ("film", "change", "reason"),
    [
        ("turned.mp4", {}, "shape"),
        ("hevc.mp4", {}, "hevc"),
        ("stream.ts", {}, "mpegts"),
        ("colourful.mp4", {}, "yuv444p"),
        ("plain.mp4", {"codec": "h265"}, "H.264"),
        ("plain.mp4", {"shape": Shape(width=160)}, "size"),
    ],
)
def test_a_source_or_a_wish_that_rules_it_out_is_encoded_as_a_whole_and_says_why(
    sources: Sources, tmp_path: Path, film: str, change: dict[str, Any], reason: str
) -> None:
    path, source = sources(film)
    plan = ClipPlan(13, 90, None, replace(FAST, **change))
    assert reason in (whole_because(source, plan) or "")
    made = rendered((path, source), plan, tmp_path)
    assert reason in (made.reason or "") and not made.is_fallback
    assert (made.copied_frames, made.checked.frame_count) == (0, 77)


@pytest.mark.req("B-03")
def test_groups_that_need_the_one_before_are_found_out_and_encoded(sources: Sources, tmp_path: Path) -> None:
    path, source = sources("open.mp4")
    plan = ClipPlan(13, 140, words(source, tmp_path), FAST, (13, 23))
    assert whole_because(source, plan) is None
    made = rendered((path, source), plan, tmp_path)
    assert made.is_fallback and "closed" in (made.reason or "")
    assert (made.copied_frames, len(frames(made.path))) == (0, 127)
    assert not [left for left in tmp_path.iterdir() if left.name not in ("smart.mp4", "text.png")]


@pytest.mark.req("B-03")
def test_a_source_that_is_damaged_where_it_would_be_copied_is_not_passed_on(sources: Sources, tmp_path: Path) -> None:
    """Lengths of NAL units that lie: the joiner refuses, and the decoder has the last word."""
    path, source = sources("plain.mp4")
    with av.open(str(path)) as container:
        places = [p.pos for p in container.demux(video=0) if p.size and p.is_keyframe]
    spoilt = bytearray(path.read_bytes())
    at = places[3] or 0
    spoilt[at : at + 4] = b"\x7f\xff\xff\xff"
    bad = tmp_path / "spoilt.mp4"
    bad.write_bytes(spoilt)
    try:
        made = rendered((bad, source), ClipPlan(13, 190, words(source, tmp_path), FAST, (13, 43)), tmp_path)
    except OutputRejected:
        return  # no way to make it, and nobody is told that there is
    assert made.is_fallback and made.copied_frames == 0


# ── parameter sets ────────────────────────────────────────────────────────────────────────────


def test_parameter_sets_are_read_joined_and_kept_apart(sources: Sources) -> None:
    with av.open(str(sources("plain.mp4")[0])) as container:
        extradata = container.streams.video[0].codec_context.extradata
    known = configuration(extradata)
    assert known.packed() == extradata and known.ids == {0}
    assert free_parameter_set(extradata) == 1
    with pytest.raises(Unfit):
        known.joined(known)
    # sps-id 5 is ue(v) 00110; the three bytes before are profile, constraints and level.
    other = Configuration(77, 64, 42, (bytes([0x67, 77, 64, 42, 0b00110_100]),), (bytes([0x68, 0b00110_110]),))
    assert other.ids == {5} and [id_of(unit) for unit in other.sps + other.pps] == [5, 5]
    both = known.joined(other)
    assert (both.profile, both.level, both.ids) == (100, 42, {0, 5})
    assert configuration(both.packed()) == both


@pytest.mark.parametrize("data", [b"", b"\0\0\0\1\x67", b"\1\x64\0\x1f\xfc\xe1\0\x10", b"\1\x64\0\x1f\xff\xe1\0\xff"])
def test_what_isnt_an_avcc_is_refused(data: bytes) -> None:
    with pytest.raises(Unfit):
        configuration(data)

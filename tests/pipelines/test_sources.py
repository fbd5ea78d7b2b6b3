"""Every kind of source by every kind of cutting: each clip has its frames, at their times, with their sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pytest

from clipping import ME, ended, put
from media_sources import ffmpeg
from reelmill.errors import ParamsInvalid
from reelmill.media import (
    ClipPlan,
    ClipSettings,
    Codec,
    Segment,
    Shape,
    Source,
    TextStyle,
    clip_arguments,
    draw,
    encode_clip,
    find_ffmpeg,
    fixed,
    layout,
    manual,
    output_size,
    probe,
    random_lengths,
    seeded,
)
from reelmill.settings import Settings
from reelmill.wiring import App, build
from source_zoo import BRIGHT, DARK, ZOO, Kind, Picture, Zoo, numbers_of, picture, tone, x264

FFMPEG = find_ffmpeg()
CLEAN = ClipSettings(preset="superfast", crf=14, threads=1)
CUTTINGS = ("fixed", "random", "manual")
SOUND_S = 0.025  #: seconds by which sound may be off
WINDOW_S, HOP_S, SEARCH_S = 0.3, 0.23, 0.06  #: seconds: pieces of sound, and how far off they are looked for
WITH_TEXT = {
    "fps-25.mp4", "vfr.mp4", "rotated-90.mp4", "odd.mp4", "anamorphic-4-3.mp4", "hevc-10bit.mp4", "hdr10.mp4",
    "rgb.mp4", "full-range.mp4", "gray.mp4", "interlaced-tff.mp4", "h264.ts", "even.gif", "one-frame.mp4",
}  # fmt: skip
LIGHT_OF_THE_MASTER = {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"}
EDGE_S = 0.05  #: seconds around the edges of the sound that are not judged


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return Zoo(tmp_path_factory.getbasetemp() / "zoo")


@cache
def probed(path: Path) -> Source:
    return probe(str(path), scratch=path.parent)


@dataclass(frozen=True)
class Shown:
    """What a file shows: brightness of each frame as displayed, and its time in seconds."""

    frames: Picture  #: count × height × width
    times: list[Fraction]
    numbers: list[int]
    video: list[av.VideoFrame]  #: as decoded
    turned: int  #: degrees clockwise

    def colors(self, number: int) -> Picture:
        """Return a frame's colours as a player shows them, coarse: 6 × 6 × RGB."""
        full = self.video[number].to_ndarray(format="rgb24", threads=1).astype(float)
        for axis in (0, 1):
            edges = [full.shape[axis] * n // 6 for n in range(6)]
            sizes = np.diff([*edges, full.shape[axis]])
            full = np.add.reduceat(full, edges, axis) / np.expand_dims(sizes, (1, 2) if axis == 0 else (0, 2))
        return np.rot90(full, -self.turned // 90)


def shown(path: Path, lines: slice, turned: int = 0) -> Shown:
    """Decode all that a file shows. lines: those that bear the number; turned: degrees clockwise that a player adds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    luma = np.rot90(
        np.stack([frame.to_ndarray(format="gray", threads=1) for frame in frames]), -turned // 90, axes=(1, 2)
    )
    return Shown(luma, [frame.pts * frame.time_base for frame in frames], numbers_of(luma[:, lines]), frames, turned)


@lru_cache(maxsize=2)
def original(path: Path) -> Shown:
    return shown(path, lines_of(ZOO[path.name]), probed(path).video.rotation)


@cache
def numbers_in(path: Path) -> list[int]:
    return original(path).numbers


def lines_of(kind: Kind) -> slice:
    """Return the lines that a deinterlaced picture keeps: those of the field that comes first."""
    return slice(kind.first_field, None, None if kind.first_field is None else 2)


def cut(kind: Kind, source: Source, cutting: str) -> tuple[list[Segment], list[tuple[Fraction, Fraction]]]:
    """Return the plan and the seconds that it should begin and end at."""
    ticks, end, base = source.frame_ticks(), source.video.end_tick, source.video.time_base
    total = (end - ticks[0]) * base
    match cutting:
        case "fixed":
            count = -(-total // kind.every_s)
            bounds = [kind.every_s * n for n in range(count)] + [total]
            return fixed(ticks, end, base, kind.every_s), list(pairwise(bounds))
        case "random":
            least, most, seed = kind.every_s * 2 / 5, kind.every_s * 6 / 5, source.video.frame_count
            lengths = random_lengths(total, seed, least, most)
            assert sum(lengths) == total
            assert len(lengths) == 1 or all(least <= length <= most for length in lengths)
            bounds = [Fraction(0), *accumulate(lengths)]
            return seeded(ticks, end, base, seed=seed, least=least, most=most), list(pairwise(bounds))
        case _:
            parts = [(total * a / 100, total * b / 100) for a, b in ((30, 65), (55, 100), (0, 5))]
            return manual(ticks, end, base, parts), parts


def is_nearest(source: Source, frame: int, wanted: Fraction) -> bool:
    """Return whether no frame begins nearer to these seconds; the frame behind the last stands for the end."""
    ticks = [*source.frame_ticks(), source.video.end_tick]
    distances = [abs((tick - ticks[0]) * source.video.time_base - wanted) for tick in ticks]
    return distances[frame] == min(distances)


def expected_picture(kind: Kind, original: Picture, size: tuple[int, int]) -> Picture:
    """Return the brightness that a clip's frame should have: as displayed, square pixels."""
    if original.shape == (size[1], size[0]):
        return original
    if kind.facts.get("sample_aspect", 1) == 1:
        return original[: size[1], : size[0]]
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(original), format="gray")
    return frame.reformat(size[0], size[1], interpolation="BICUBIC", threads=1).to_ndarray()


def psnr(one: Picture, other: Picture) -> float:
    error = float(((one.astype(float) - other.astype(float)) ** 2).mean())
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


def sound_of(path: Path) -> tuple[Picture, int]:
    """Return all channels' sound (channels × samples) and its samples a second."""
    with av.open(str(path)) as container:
        pieces = [frame.to_ndarray() for frame in container.decode(audio=0)]
        return np.concatenate(pieces, axis=1), container.streams.audio[0].rate


def lag(heard: Picture, rate: int, film_s: float) -> tuple[float, float]:
    """Return by how many seconds a piece of sound is later than the film's at film_s, and how alike it is (0–1)."""
    step = rate // 16000 or 1
    piece = heard[::step]
    around = round(SEARCH_S * rate / step)
    times = film_s + (np.arange(len(piece) + 2 * around) - around) * step / rate
    reference = tone(times)
    size = 1 << int(len(reference) * 2 - 1).bit_length()
    both = np.fft.irfft(np.fft.rfft(reference, size) * np.conj(np.fft.rfft(piece, size)), size)[: 2 * around + 1]
    best = int(np.argmax(both))
    there = reference[best : best + len(piece)]
    return (around - best) * step / rate, float(both[best] / (np.linalg.norm(piece) * np.linalg.norm(there) + 1e-9))


def check_sound(kind: Kind, path: Path, begin_s: float, length_s: float) -> None:
    """Hold a clip's sound against the film's. begin_s: when the clip begins, seconds of the film."""
    heard, rate = sound_of(path)
    assert abs(heard.shape[1] / rate - length_s) < SOUND_S, "it ends with the picture"
    loudest = heard[0]
    for at_s in np.arange(0, length_s - WINDOW_S, HOP_S):
        film_s = begin_s + at_s
        piece = loudest[int(at_s * rate) : int((at_s + WINDOW_S) * rate)]
        heard_from, heard_to = kind.heard_s
        hole_from, hole_to = kind.hole_s or (heard_to, heard_to)
        within = heard_from + EDGE_S < film_s and film_s + WINDOW_S < heard_to - EDGE_S
        if within and (film_s + WINDOW_S < hole_from - EDGE_S or film_s > hole_to + EDGE_S):
            late, alike = lag(piece, rate, film_s - kind.late_s)
            assert alike > kind.likeness, f"at {film_s:.2f} s the sound is not the film's ({alike:.2f})"
            assert abs(late) <= SOUND_S, f"at {film_s:.2f} s the sound is {late * 1000:.0f} ms late"
        elif (
            film_s + WINDOW_S < heard_from - EDGE_S
            or film_s > heard_to + EDGE_S
            or (hole_from + EDGE_S < film_s and film_s + WINDOW_S < hole_to - EDGE_S)
        ):
            assert np.abs(piece).max() < 0.01, f"at {film_s:.2f} s there should be silence"


def check_clip(path: Path, kind: Kind, source: Source, part: Segment, out: Path, text: bool) -> None:
    """Make one clip and hold it against its plan and the source's frames."""
    picture, free = None, output_size(source)[1]
    if text:
        style = TextStyle(position="bottom", size_pct=16, margin_pct=2, box_color="#102030")
        picture = draw(layout("Reel", style, *output_size(source)), out.with_suffix(".png"))
        free = picture.y
    plan = ClipPlan(part.start_frame, part.end_frame, picture, CLEAN)
    checked = encode_clip(str(path), source, plan, out, ffmpeg=FFMPEG, scratch=out.parent).checked
    assert checked.frame_count == part.frame_count
    assert checked.duration_s == pytest.approx(float(part.duration), abs=1e-5)
    assert (checked.audio_codec is None) == (not kind.tracks)
    film, lines = original(path), lines_of(kind)
    got = shown(out, lines)
    ticks, base = source.frame_ticks()[part.start_frame : part.end_frame], source.video.time_base
    assert got.times == [(tick - part.start_tick) * base for tick in ticks]
    assert got.numbers == film.numbers[part.start_frame : part.end_frame]
    full_range = source.video.color_range == "pc" and source.video.pixel_format != "gbrp"
    assert got.video[0].format.name == ("yuvj420p" if full_range else "yuv420p")
    width, height = kind.clip_size or kind.size
    assert got.frames.shape == (part.frame_count, height, width)
    if kind.quality_db:
        wanted = expected_picture(kind, film.frames[part.start_frame], (width, height))
        quality = psnr(got.frames[0][:free][lines], wanted[:free][lines])
        assert quality > kind.quality_db, f"the first frame is {quality:.1f} dB like the source's"
        # Below the numbers, above the text. What colours are meant hangs on tags, matrices and ranges.
        off = np.abs(got.colors(0) - film.colors(part.start_frame))[2:4].max()
        same_places = kind.clip_size is None and kind.first_field is None
        assert off <= (6 if same_places else 15), f"its colours are off by {off:.0f} of 255"
    if kind.tracks:
        check_sound(kind, out, float(got.numbers[0] / kind.numbers_a_second), float(part.duration))


@pytest.mark.req("B-02", "B-03")
@pytest.mark.parametrize("cutting", CUTTINGS)
@pytest.mark.parametrize("name", ZOO)
def test_clips_of_every_source_by_every_cutting_are_exact(zoo: Zoo, tmp_path: Path, name: str, cutting: str) -> None:
    kind, path = ZOO[name], zoo(name)
    source = probed(path)
    parts, wanted = cut(kind, source, cutting)
    text = cutting == "fixed" and name in WITH_TEXT
    numbers_in(path)
    with ThreadPoolExecutor(2) as pool:
        clips = [tmp_path / f"{part.index}.mp4" for part in parts]
        list(pool.map(lambda part, clip: check_clip(path, kind, source, part, clip, text), parts, clips))
    starts = [bounds[0] for bounds in wanted]
    if cutting == "manual":
        ends = [bounds[1] for bounds in wanted]
        check_bounds(source, [part.end_frame for part in parts], ends, [part.start_frame + 1 for part in parts])
    else:
        assert sum(part.frame_count for part in parts) == len(numbers_in(path)) == kind.frames
    if len(starts) == len(parts):  # boundaries that fall on one frame are one
        check_bounds(source, [part.start_frame for part in parts], starts, [0] * len(parts))


def check_bounds(source: Source, frames: Sequence[int], wanted: Sequence[Fraction], least: Sequence[int]) -> None:
    """Each boundary is the frame nearest to the wanted seconds, if that makes at least one frame."""
    last = source.video.frame_count - 1
    for frame, at, lowest in zip(frames, wanted, least, strict=True):
        assert is_nearest(source, frame, at) or frame in (lowest, last), float(at)


FACTS: dict[str, Any] = {"is_vfr": False, "rotation": 0, "hdr": False, "interlaced": False, "sample_aspect": 1}


@pytest.mark.req("B-03")
@pytest.mark.parametrize("name", ZOO)
def test_what_is_found_out_about_a_source_is_right(zoo: Zoo, name: str) -> None:
    kind, source = ZOO[name], probed(zoo(name))
    video = source.video
    facts = FACTS | dict(kind.facts)
    assert (video.codec, video.width, video.height) == (kind.codec, *kind.size)
    assert {fact: getattr(video, fact) for fact in facts} == facts
    assert video.frame_count == kind.frames
    tracks = [(track.codec, track.sample_rate, track.channels, track.language) for track in source.audio_tracks]
    assert tracks == list(kind.tracks)
    if not facts["is_vfr"]:
        assert video.frame_rate == kind.rate
        assert source.duration_s == pytest.approx(kind.frames / kind.rate, abs=0.0015)
    numbers = numbers_in(zoo(name))
    assert numbers[0] == kind.first and numbers == sorted(set(numbers)) and len(numbers) == kind.frames


@pytest.mark.parametrize("name", ["hdr10.mp4", "hlg.mp4", "hlg-rotated.mov"])
def test_hdr_is_mapped_to_sdr(zoo: Zoo, tmp_path: Path, name: str) -> None:
    kind, source = ZOO[name], probed(zoo(name))
    made = encode_clip(
        str(zoo(name)), source, ClipPlan(20, 30, None, CLEAN), tmp_path / "clip.mp4", ffmpeg=FFMPEG, scratch=tmp_path
    )
    with av.open(str(made.path)) as container:
        coded = container.streams.video[0].codec_context
        frame = next(container.decode(video=0))
        assert (coded.color_primaries, coded.color_trc, coded.colorspace, coded.color_range) == (1, 1, 1, 1)
        assert frame.format.name == "yuv420p"
        assert not {data.type.name for data in frame.side_data} & LIGHT_OF_THE_MASTER
        got = frame.to_ndarray(format="rgb24", threads=1).astype(float)
    wanted = picture(20, *kind.size).astype(float)
    likeness = np.corrcoef(got.ravel(), wanted.ravel())[0, 1]
    assert likeness > 0.97
    bright = got[wanted.min(axis=2) == BRIGHT].mean(axis=0)
    assert bright.min() > 150 and np.ptp(bright) < 4, "white stays white, and is not dark"
    dark = got[wanted.max(axis=2) == DARK].mean(axis=0)
    assert dark.max() < 60


@pytest.mark.parametrize("codec", ["h265", "av1", "vp9"])
@pytest.mark.parametrize("name", ["hdr10.mp4", "hlg.mp4"])
def test_hdr_is_kept_when_that_is_asked(zoo: Zoo, tmp_path: Path, name: str, codec: Codec) -> None:
    path = zoo(name)
    source = probed(path)
    settings = ClipSettings(codec=codec, preset="ultrafast", crf=12, threads=1, shape=Shape(keep_hdr=True))
    made = encode_clip(
        str(path), source, ClipPlan(30, 40, None, settings), tmp_path / "clip.mp4", ffmpeg=FFMPEG, scratch=tmp_path
    )
    film, got = original(path), shown(made.path, slice(None))
    assert got.numbers == film.numbers[30:40]
    assert got.video[0].format.name == "yuv420p10le"
    assert psnr(got.frames[0], film.frames[30]) > 40
    with av.open(str(path)) as container, av.open(str(made.path)) as other:
        tags = [
            (coded.color_primaries, coded.color_trc, coded.colorspace, coded.color_range)
            for coded in (container.streams.video[0].codec_context, other.streams.video[0].codec_context)
        ]
        assert tags[0] == tags[1]
        kept = {data.type.name for data in next(other.decode(video=0)).side_data}
    assert (kept >= LIGHT_OF_THE_MASTER) == (name == "hdr10.mp4")


def test_hdr_can_not_be_kept_in_eight_bits(zoo: Zoo, tmp_path: Path) -> None:
    settings = ClipSettings(shape=Shape(keep_hdr=True))
    with pytest.raises(ParamsInvalid, match="h265"):
        clip_arguments("film", probed(zoo("hdr10.mp4")), ClipPlan(0, 5, None, settings), tmp_path / "clip.mp4")


@pytest.mark.parametrize(
    ("name", "keep", "channels"),
    [
        ("mono.mp4", "stereo", 1),
        ("fps-25.mp4", "stereo", 2),
        ("surround-51.mp4", "stereo", 2),
        ("surround-51.mp4", "source", 6),
        ("surround-71.mkv", "source", 8),
    ],
)
def test_what_each_channel_says_stays_its_own(
    zoo: Zoo, tmp_path: Path, name: str, keep: Literal["stereo", "source"], channels: int
) -> None:
    """The film's right is half as loud as its left; in surround only left and right, as loud, and the centre speak."""
    path = zoo(name)
    plan = ClipPlan(25, 50, None, replace(CLEAN, audio_channels=keep))
    made = encode_clip(str(path), probed(path), plan, tmp_path / "clip.mp4", ffmpeg=FFMPEG, scratch=tmp_path)
    with av.open(str(made.path)) as container:
        assert container.streams.audio[0].channels == channels
    ffmpeg("-i", str(made.path), "-f", "f32le", str(tmp_path / "raw"))  # PyAV can't hand out eight channels
    heard = np.fromfile(tmp_path / "raw", "<f4").reshape(-1, channels)
    loud = np.sqrt((heard[4800:-4800] ** 2).mean(axis=0))
    if channels <= 2:
        balance = 0.5 if name == "fps-25.mp4" else 1
        assert loud[-1] / loud[0] == pytest.approx(balance, rel=0.05)
    else:
        assert loud[1] / loud[0] == pytest.approx(1, rel=0.05) and loud[2] / loud[0] == pytest.approx(2, rel=0.05)
        assert loud[3:].max() < 0.01 * loud[2]


def test_the_sound_track_that_is_asked_for_is_the_one_that_is_heard(zoo: Zoo, tmp_path: Path) -> None:
    path = zoo("two-tracks.mp4")
    for track, channels in ((1, 2), (2, 1)):
        plan = ClipPlan(10, 40, None, replace(CLEAN, audio_track=track))
        made = encode_clip(str(path), probed(path), plan, tmp_path / "clip.mp4", ffmpeg=FFMPEG, scratch=tmp_path)
        assert sound_of(made.path)[0].shape[0] == channels
    with pytest.raises(ParamsInvalid, match="track 3"):
        clip_arguments("film", probed(path), ClipPlan(0, 5, None, replace(CLEAN, audio_track=3)), tmp_path / "clip.mp4")


def test_interlaced_lines_stay_when_that_is_asked(zoo: Zoo, tmp_path: Path) -> None:
    path = zoo("interlaced-tff.mp4")
    plan = ClipPlan(30, 40, None, replace(CLEAN, shape=Shape(deinterlace=False)))
    made = encode_clip(str(path), probed(path), plan, tmp_path / "clip.mp4", ffmpeg=FFMPEG, scratch=tmp_path)
    got = shown(made.path, slice(None))
    assert all(psnr(a, b) > 40 for a, b in zip(got.frames, original(path).frames[30:40], strict=True))


@pytest.mark.parametrize(("suffix", "codec"), [("ts", x264()), ("webm", ("-c:v", "libvpx", "-b:v", "2M", "-g", "12"))])
def test_a_picture_that_changes_its_size_keeps_every_frame_and_the_text(
    zoo: Zoo, tmp_path: Path, suffix: str, codec: tuple[str, ...]
) -> None:
    """160×90 for two seconds, then 128×72: so calls and broadcasts are recorded over a bad line."""
    zoo.film(tmp_path / f"large.{suffix}", *codec, frames=50, sound=())
    zoo.film(tmp_path / f"small.{suffix}", "-vf", "scale=128:72", *codec, frames=50, sound=())
    (tmp_path / "list").write_text(f"file large.{suffix}\nfile small.{suffix}\n")
    film = tmp_path / f"film.{suffix}"
    ffmpeg("-f", "concat", "-i", str(tmp_path / "list"), "-c", "copy", str(film))
    source = probe(str(film), scratch=tmp_path)
    text = draw(layout("Reel", TextStyle(position="bottom", size_pct=16), 160, 90), tmp_path / "text.png")
    for start, end in ((0, 30), (40, 60), (60, 100), (0, 100)):
        made = encode_clip(
            str(film), source, ClipPlan(start, end, text, CLEAN), tmp_path / "clip.mp4", ffmpeg=FFMPEG, scratch=tmp_path
        )
        got = shown(made.path, slice(None))
        assert got.numbers == [number % 50 for number in range(start, end)]
        assert all(frame[text.y : text.y + text.height].max() > 230 for frame in got.frames)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with build(Settings(data=tmp_path_factory.mktemp("sources") / "data", workers=2, reuse=False)) as running:
        yield running


THROUGH = {
    "vfr.mkv": {"kind": "random", "min_s": 0.4, "max_s": 1.1, "seed": 7},
    "rotated-90.mp4": {"kind": "fixed", "duration_s": 1.3},
    "paff.ts": {"kind": "manual", "cuts": [{"start_s": 0.5, "end_s": 2}, {"start_s": 1.5}]},
    "hlg-rotated.mov": {"kind": "random", "min_s": 1, "max_s": 2, "seed": 3},
    "h264.avi": {"kind": "fixed", "duration_s": 2.5},
    "sound-late.mkv": {"kind": "manual", "cuts": [{"start_s": 1, "end_s": 2.2}]},
    "uneven.gif": {"kind": "fixed", "duration_s": 0.7},
}


@pytest.mark.req("B-02", "B-03")
@pytest.mark.parametrize("name", THROUGH)
def test_through_the_platform_it_is_the_same(zoo: Zoo, app: App, name: str) -> None:
    kind, path = ZOO[name], zoo(name)
    params = {"cutting": THROUGH[name], "text": {"text": "Reel", "size_pct": 16}}
    video_id = put(app, path)
    plan = app.service.preview(ME, video_id, "clips", params)
    job = ended(app, app.service.create_job(ME, video_id, "clips", params).id)
    clips = [artifact for artifact in app.store.artifacts(job.id) if artifact.kind == "clip"]
    assert [clip.meta["start_frame"] for clip in clips] == [clip["start_frame"] for clip in plan["clips"]]
    for clip in clips:
        file = Path(app.objects.locate(clip.key))
        got = shown(file, lines_of(kind))
        assert got.numbers == numbers_in(path)[clip.meta["start_frame"] : clip.meta["end_frame"]]
        if kind.tracks:
            begin_s = float(got.numbers[0] / kind.numbers_a_second)
            check_sound(kind, file, begin_s, clip.meta["end_s"] - clip.meta["start_s"])

"""One frame of a clip with its text, as the finished clip has it. What was decoded is kept, for people type."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import ValidationError

from reelmill.errors import MediaProblem, OutputRejected, ParamsInvalid
from reelmill.jobs.model import Json
from reelmill.jobs.params import invalid_params
from reelmill.media import (
    Limits,
    Moving,
    Segment,
    Shape,
    Source,
    frame_at,
    manual,
    output_size,
    run,
    sample_frames,
    sample_ticks,
)
from reelmill.media.encode import picture_input
from reelmill.media.ffmpeg import local
from reelmill.media.graphs import matrix, overlay_graph, picture_graph, tagged
from reelmill.media.paint import Picture
from reelmill.media.styles import safe_area
from reelmill.pipelines.base import Toolbox
from reelmill.pipelines.clips.params import ClipsParams, OneForAll, TextLook, VideoParams
from reelmill.pipelines.clips.presets import branded
from reelmill.pipelines.clips.setting import moving, seconds_of, set_text
from reelmill.pipelines.clips.texts import filled, shown_frames

KEPT_BYTES = 128 << 20  #: of decoded frames
KEPT_SAMPLES = 16  #: spans whose contrast was measured
DEADLINE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class PreviewOf:
    """What is to be seen."""

    text: str
    look: TextLook
    video: VideoParams
    start_s: float = 0.0  #: the clip's beginning and end, seconds of the video; None: its end
    end_s: float | None = None
    at_s: float | None = None  #: the moment, seconds from the clip's beginning; None: when the text has come
    index: int = 1  #: what placeholders tell
    total: int = 1


@dataclass(frozen=True)
class Previewed:
    """The frame as a PNG."""

    png: bytes
    report: dict[str, Any]  #: of the text, as a clip's report; with `at_s`, `width`, `height`, `safe` and `seen`


class TextPreviews:
    """Makes frames with texts; safe to share between threads. Its folder in `scratch` is removed with `close`."""

    def __init__(self, tools: Toolbox, scratch: Path) -> None:
        self._tools = tools
        self._scratch = scratch
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._frames: OrderedDict[str, Path] = OrderedDict()
        self._samples: OrderedDict[str, Sequence[Image.Image]] = OrderedDict()

    def close(self) -> None:
        """Forget what is kept. A later preview begins anew."""
        with self._lock:
            folder, self._folder = self._folder, None
            self._frames.clear()
            self._samples.clear()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def make(
        self, location: str, source: Source, identity: str, filename: str, wanted: PreviewOf, tenant: str,
        stop: threading.Event | None = None,
    ) -> Previewed:  # fmt: skip
        """Return the frame. identity: of the source's bytes; what is kept goes by it. tenant: whose fonts are named.

        Raises ParamsInvalid, TextDoesNotFit, Stopped, and as `ffmpeg.run`.
        """
        segment = _clip(source, wanted)
        # PNGs are SDR: an HDR clip is shown as its SDR picture.
        shape = replace(shape_of(wanted.video), keep_hdr=False)
        size = output_size(source, shape)
        shown = shown_frames(wanted.look, segment, source)
        frame = _moment(source, segment, shown, wanted)
        start = source.frame_ticks()[segment.start_frame]
        tick = source.frame_ticks()[frame]
        scratch = Path(tempfile.mkdtemp(dir=self._home()))
        try:
            base = self._frame(location, source, identity, shape, frame, scratch, stop)
            seen = shown is not None and shown[0] <= frame < shown[1]
            report: dict[str, Any] = {}
            picture, moves = None, Moving()
            if shown is not None:
                made = set_text(
                    filled(wanted.text, replace(segment, index=wanted.index - 1), wanted.total, filename),
                    wanted.look, size, seconds_of(source, shown),
                    lambda: self._sampled(
                        location, source, identity, shape, sample_ticks(source, *shown), scratch, stop
                    ),
                    scratch / "text.png", self._tools.fonts.of(wanted.look.font, wanted.look.font_file, tenant),
                )  # fmt: skip
                report, moves = made.report, moving(wanted.look, shown, segment.end_frame)
                picture = made.picture if seen else None
            ticks = None if shown is None else tuple(source.frame_ticks()[n] - start for n in (shown[0], shown[1] - 1))
            png = self._laid_over(source, shape, base, picture, moves, ticks, tick - start, scratch, stop)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        at_s = float((tick - start) * source.video.time_base)
        about = {
            "seen": seen, "at_s": round(at_s, 6), "width": size[0], "height": size[1],
            "safe": asdict(safe_area(wanted.look.safe_area, *size)),
        }  # fmt: skip
        return Previewed(png, {**report, **about})

    # ── parts ─────────────────────────────────────────────────────────────────────────────────

    def _home(self) -> Path:
        with self._lock:
            if self._folder is None:
                self._scratch.mkdir(parents=True, exist_ok=True)
                # By this name, the folder of a process that died is found: see `jobs.scratch`.
                mine = f"{socket.gethostname()}-{os.getpid()}-previews-"
                self._folder = Path(tempfile.mkdtemp(prefix=mine, dir=self._scratch))
            return self._folder

    def _frame(
        self, location: str, source: Source, identity: str, shape: Shape, frame: int, scratch: Path,
        stop: threading.Event | None,
    ) -> Path:  # fmt: skip
        """Return a frame of the film in the clip's shape, as the encoder gets it before the text: raw yuv420p."""
        key = _key(identity, shape, [frame])
        kept = scratch / "frame.yuv"
        with self._lock:
            if known := self._frames.get(key):
                self._frames.move_to_end(key)
                kept.hardlink_to(known)  # it may be forgotten meanwhile
                return kept
        ticks = source.frame_ticks()
        end = ticks[frame + 1] if frame + 1 < len(ticks) else source.video.end_tick
        graph = picture_graph(source, shape, ticks[frame], end, "yuv420p", "plain")
        self._run([
            *picture_input(location, source, ticks[frame], self._tools.threads), "-copyts", "-filter_complex", graph,
            "-map", "[plain]", "-frames:v", "1", "-f", "rawvideo", local(kept),
        ], scratch, stop)  # fmt: skip
        if not kept.is_file() or not kept.stat().st_size:
            raise OutputRejected(f"There is no picture at frame {frame}.")
        with self._lock:
            if key not in self._frames and self._folder is not None:
                self._frames[key] = self._folder / f"{key}.yuv"
                self._frames[key].hardlink_to(kept)
            while len(self._frames) > 1 and sum(path.stat().st_size for path in self._frames.values()) > KEPT_BYTES:
                self._frames.popitem(last=False)[1].unlink()
        return kept

    def _sampled(
        self, location: str, source: Source, identity: str, shape: Shape, ticks: Sequence[int], scratch: Path,
        stop: threading.Event | None,
    ) -> Sequence[Image.Image]:  # fmt: skip
        key = _key(identity, shape, ticks)
        with self._lock:
            if key in self._samples:
                self._samples.move_to_end(key)
                return self._samples[key]
        try:
            frames: Sequence[Image.Image] = sample_frames(
                location,
                source,
                shape,
                ticks,
                ffmpeg=self._tools.ffmpeg,
                scratch=scratch,
                limits=self._limits(),
                stop=stop,
            )
        except MediaProblem:
            frames = []
        with self._lock:
            self._samples[key] = frames
            while len(self._samples) > KEPT_SAMPLES:
                self._samples.popitem(last=False)
        return frames

    def _laid_over(
        self, source: Source, shape: Shape, base: Path, picture: Picture | None, moves: Moving,
        shown: tuple[int, ...] | None, tick: int, scratch: Path, stop: threading.Event | None,
    ) -> bytes:  # fmt: skip
        """Return the frame with the text as a PNG, by the clip's own graph."""
        width, height = output_size(source, shape)
        time_base = source.video.time_base
        out = scratch / "preview.png"
        inputs = ["-f", "rawvideo", "-pixel_format", "yuv420p", "-video_size", f"{width}x{height}", "-i", local(base)]
        graph = (
            f"[0:v]settb={time_base.numerator}/{time_base.denominator},setpts={tick},setsar=1,"
            f"{tagged(source, shape)}[plain]"
        )
        last = "plain"
        if picture is not None:
            assert shown is not None, "it is seen at some time"
            top = overlay_graph(
                picture, source, shape, 1, (shown[0], shown[1]), ten_bits=False, moving=moves, length=shown[1]
            )
            inputs += ["-f", "png_pipe", "-format_whitelist", "png_pipe", "-protocol_whitelist", "file",
                       "-i", local(picture.path)]  # fmt: skip
            graph, last = f"{graph};{top}[laid]", "laid"
        to_rgb = "flags=accurate_rnd+full_chroma_int+bitexact,format=rgb24"
        graph += f";[{last}]scale=in_color_matrix={matrix(source, shape)}:{to_rgb}[out]"
        self._run([*inputs, "-filter_complex", graph, "-map", "[out]", "-frames:v", "1", "-c:v", "png", "-pred", "up",
                   "-compression_level", "1", "-fflags", "+bitexact", "-f", "image2", "-update", "1", local(out)],
                  scratch, stop)  # fmt: skip
        return out.read_bytes()

    def _run(self, arguments: list[str], scratch: Path, stop: threading.Event | None) -> None:
        run(arguments, ffmpeg=self._tools.ffmpeg, scratch=scratch, limits=self._limits(), stop=stop)

    def _limits(self) -> Limits:
        return Limits(deadline_s=DEADLINE_S, cpu_s=60, resident_bytes=self._tools.memory_bytes)


def shape_of(video: VideoParams) -> Shape:
    """Return size and colours of a clip's picture."""
    return Shape(
        width=video.width or 0,
        height=video.height or 0,
        fit=video.fit,
        aspect=video.aspect,
        focus_x=video.focus_x,
        focus_y=video.focus_y,
        keep_hdr=video.hdr == "keep",
        deinterlace=video.deinterlace == "auto",
    )


def _clip(source: Source, wanted: PreviewOf) -> Segment:
    start, end = (
        None if s is None else Fraction(s).limit_denominator(1_000_000) for s in (wanted.start_s, wanted.end_s)
    )
    video = source.video
    return manual(source.frame_ticks(), video.end_tick, video.time_base, [(start or Fraction(0), end)])[0]


def _moment(source: Source, segment: Segment, shown: tuple[int, int] | None, wanted: PreviewOf) -> int:
    """Return the source frame to show. Raises ParamsInvalid."""
    if wanted.at_s is not None:
        at = segment.start + Fraction(wanted.at_s).limit_denominator(1_000_000)
        frame = frame_at(source.frame_ticks(), source.video.end_tick, source.video.time_base, at)
        if not segment.start_frame <= frame < segment.end_frame:
            raise ParamsInvalid(f"at_s, {wanted.at_s:g}, doesn't lie within the clip.")
        return frame
    if shown is None:
        return segment.start_frame
    if wanted.look.motion == "none":
        return shown[0]
    # When it has come, or is half on its way if it is shown for a moment only.
    ticks, base = source.frame_ticks(), source.video.time_base
    come = ticks[shown[0]] * base + Fraction(wanted.look.motion_s).limit_denominator(1000)
    return min(next((n for n in range(*shown) if ticks[n] * base >= come), shown[1]), (shown[0] + shown[1]) // 2)


def _key(identity: str, shape: Shape, numbers: Sequence[int]) -> str:
    told = json.dumps([identity, asdict(shape), list(numbers)], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def read_source(source: Json) -> tuple[Source, str, str]:
    """Return a video's source, its identity and its file's name."""
    return Source.from_json(dict(source)), str(source["identity"]), str(source["filename"])


def preview_of(asked: Json, find: Callable[[str, str], Json | None]) -> PreviewOf:
    """Return what is to be seen, given the fields of a request. Raises ParamsInvalid."""
    style = {**branded(asked["style"], find), "strategy": "one_for_all", "text": asked["text"]}
    params = {"text": style, "video": asked["video"]}
    try:
        checked = ClipsParams.model_validate(params)
    except ValidationError as error:
        raise invalid_params(error, params) from error
    assert isinstance(checked.text, OneForAll), "that is its strategy"
    rest = {name: asked[name] for name in ("start_s", "end_s", "at_s", "index", "total")}
    return PreviewOf(text=asked["text"], look=checked.text, video=checked.video, **rest)

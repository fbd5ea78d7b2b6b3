"""Smart rendering: only the groups of pictures that change are encoded, the rest of a clip is copied bit by bit.

A clip's text covers a part of its time, and its cuts fall within groups of pictures: those groups are encoded, with
parameter sets of their own number, and joined with the others in one MP4 (`splice_child.py`). Where that can't be
done, or what was made doesn't pass its checks, the whole clip is encoded.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from reelmill.errors import EncodeFailed, OutputRejected
from reelmill.media.check import Checked, check_output
from reelmill.media.children import Limits, supervise
from reelmill.media.encode import ClipPlan, audio_track, clip_arguments, clip_ticks, earlier_start, encode_clip, expect
from reelmill.media.ffmpeg import Finished, Progress, container_options, is_url, local, run
from reelmill.media.graphs import channel_layout, is_untouched, sample_rate
from reelmill.media.parts import fetch_part
from reelmill.media.probe import AudioStream, Source

CHILD = Path(__file__).with_name("splice_child.py")
CONTAINERS = frozenset({"mov", "matroska"})  #: that keep H.264 with its lengths, and land on the key frame asked for
FORMATS = frozenset({"yuv420p", "yuvj420p"})
WORTHWHILE = Fraction(1, 5)  #: the least part of a clip whose copying is worth the joining
SEAM_PICTURES = 6  #: decoded behind each seam
TICK_S = Fraction(1, 1_000_000)
COPIED_SOUND_S = 0.01  #: by which copied sound may end before the picture


@dataclass(frozen=True)
class Piece:
    """Frames [start_frame, end_frame) of the source, copied or encoded."""

    start_frame: int
    end_frame: int  #: exclusive
    copied: bool

    @property
    def frame_count(self) -> int:
        return self.end_frame - self.start_frame


@dataclass(frozen=True)
class Rendered:
    """A finished clip: the check of the file, how it was made, and by which runs."""

    path: Path
    checked: Checked
    runs: tuple[Finished, ...]
    copied_frames: int  #: bit by bit from the source
    reason: str | None  #: why nothing was copied
    is_fallback: bool = False  #: it was tried, and a check failed

    @property
    def cpu_s(self) -> float:
        """Processor seconds of all runs."""
        return sum(run.cpu_s for run in self.runs)


class _Unfit(Exception):
    """Why a clip must be encoded as a whole."""


class _UnfitSound(Exception):
    """The sound must be encoded."""


def render_clip(
    location: str,
    source: Source,
    plan: ClipPlan,
    output: Path,
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    whole: bool = False,
) -> Rendered:
    """Write one clip, copying what doesn't change, and check it. Arguments and errors are those of `encode_clip`,
    and StorageUnavailable, ObjectMissing: of a URL, the clip's bytes are fetched once (`parts.py`).

    Frames, their times and the sound are the same as of `encode_clip`. The same source, plan and tools give the
    same bytes. whole: encode all of it in any case.
    """
    tools = _Tools(location, source, plan, ffmpeg, scratch, limits or Limits(), stop)
    part = fetch_part(location, source, *clip_ticks(source, plan), scratch, stop)
    if part is None:
        return _rendered(tools, output, on_progress, whole=whole)
    try:
        tools.location = str(part)
        return _rendered(tools, output, on_progress, whole=whole)
    except (EncodeFailed, OutputRejected):
        # More of the file is needed than its index lets expect, or it is damaged: the whole of it tells.
        tools.location = location
        return _rendered(tools, output, on_progress, whole=whole)
    finally:
        part.unlink(missing_ok=True)


def _rendered(tools: _Tools, output: Path, on_progress: Callable[[Progress], None] | None, *, whole: bool) -> Rendered:
    source, plan = tools.source, tools.plan
    reason, failed = "That was asked for." if whole else whole_because(source, plan), False
    if reason is None:
        try:
            return tools.spliced(pieces(source, plan), output, on_progress)
        except (_Unfit, OutputRejected, EncodeFailed) as problem:
            reason, failed = str(problem), True
    made = encode_clip(
        tools.location, source, plan, output, ffmpeg=tools.ffmpeg, scratch=tools.scratch, limits=tools.limits,
        stop=tools.stop, on_progress=on_progress,
    )  # fmt: skip
    return Rendered(made.path, made.checked, (*tools.runs, made.finished), 0, reason, failed)


# ── planning: pure ────────────────────────────────────────────────────────────────────────────


def whole_because(source: Source, plan: ClipPlan) -> str | None:
    """Return why a clip must be encoded as a whole, as a sentence; None if a part of it can be copied. Pure."""
    video, settings = source.video, plan.settings
    if settings.codec != "h264" or settings.encoder is not None:
        return "Only H.264 encoded in software is joined with copies."
    if video.codec != "h264":
        return f"The source's pictures are {video.codec}, not h264."
    if source.demuxer not in CONTAINERS:
        return f"Nothing is copied out of {source.container}."
    if video.pixel_format not in FORMATS:
        return f"The source's pictures are {video.pixel_format}, not 8 bits 4:2:0."
    if video.interlaced or not is_untouched(source, settings.shape):
        return "The picture's size, shape or colours change."
    if video.free_parameter_set is None:
        return "The source's parameter sets leave no room for others."
    copied = sum(piece.frame_count for piece in pieces(source, plan) if piece.copied)
    if copied < WORTHWHILE * (plan.end_frame - plan.start_frame):
        return "Too little of the clip stays as it is."
    return None


def pieces(source: Source, plan: ClipPlan) -> list[Piece]:
    """Return the parts of a clip in their order: encoded are the groups of pictures that a cut or the text touches.

    Pure; parts next to each other differ in kind.
    """
    ticks = source.frame_ticks()
    keys = [bisect_left(ticks, tick) for tick in source.keyframe_ticks()]
    touched = []
    if plan.picture is not None:
        first, end = plan.picture_frames or (plan.start_frame, plan.end_frame)
        touched.append((_group_start(keys, first), _group_end(keys, end, len(ticks))))
    for cut in (plan.start_frame, plan.end_frame):
        if cut < len(ticks) and cut not in keys[bisect_left(keys, cut) :][:1]:
            touched.append((_group_start(keys, cut), _group_end(keys, cut, len(ticks))))
    found: list[Piece] = []
    at = plan.start_frame
    for start, end in _united(touched):
        start, end = max(start, plan.start_frame), min(end, plan.end_frame)
        if start > at:
            found.append(Piece(at, start, True))
        if end > start:
            found.append(Piece(start, end, False))
        at = max(at, end)
    if at < plan.end_frame:
        found.append(Piece(at, plan.end_frame, True))
    return found


def _can_be_copied(track: AudioStream, source: Source, plan: ClipPlan) -> bool:
    """Return whether a clip's sound may be the source's own packets: whole, in MP4's exact times, of our shape."""
    start, end = (tick * source.video.time_base for tick in clip_ticks(source, plan))
    layout = channel_layout(track, keep=plan.settings.audio_channels == "source")
    return (
        source.demuxer == "mov"
        and track.codec == "aac"
        and sample_rate(track) == track.sample_rate
        and layout == track.layout
        and track.start_s <= float(start)
        and track.end_s >= float(end) - COPIED_SOUND_S
    )


def _group_start(keys: Sequence[int], frame: int) -> int:
    """Return the key frame at or before a frame; 0 if there is none, as an edit list may hide it."""
    at = bisect_right(keys, frame)
    return keys[at - 1] if at else 0


def _group_end(keys: Sequence[int], frame: int, count: int) -> int:
    """Return the key frame at or behind a frame; `count` is the end of the source."""
    at = bisect_left(keys, frame)
    return keys[at] if at < len(keys) else count


def _united(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans in order, those that touch each other as one."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


# ── making ────────────────────────────────────────────────────────────────────────────────────


class _Tools:
    """One clip in the making, and what it has taken so far."""

    def __init__(
        self, location: str, source: Source, plan: ClipPlan, ffmpeg: Path, scratch: Path, limits: Limits,
        stop: threading.Event | None,
    ) -> None:  # fmt: skip
        self.location, self.source, self.plan = location, source, plan
        # Absolute: the joiner works in the scratch folder itself.
        self.ffmpeg, self.scratch, self.limits, self.stop = ffmpeg, scratch.absolute(), limits, stop
        self.runs: list[Finished] = []

    def spliced(self, parts: Sequence[Piece], output: Path, on_progress: Callable[[Progress], None] | None) -> Rendered:
        """Encode what changes, join it with the copies, check. Raises _Unfit, OutputRejected, EncodeFailed."""
        written = self.scratch / f"{output.stem}.unchecked.mp4"
        made: dict[Piece, Path] = {}
        total = self.plan.end_frame - self.plan.start_frame
        changed = sum(part.frame_count for part in parts if not part.copied) or 1
        done = 0
        try:
            for number, part in enumerate(parts):
                if not part.copied:
                    made[part] = self.scratch / f"{output.stem}.part-{number}.mp4"
                    self.encode(part, made[part], _scaled(on_progress, done, total, changed))
                    done += part.frame_count
            try:
                self.join(parts, made, None, written)
            except _UnfitSound:
                sound = self.scratch / f"{output.stem}.sound.mp4"
                self.run(clip_arguments(self.location, self.source, self.plan, sound, picture=False), None)
                self.join(parts, made, sound, written)
            checked = check_output(written, expect(self.source, self.plan))
            self.check_seams(written, parts)
            os.replace(written, output)  # noqa: PTH105  (Path.replace says less: this is the atomic one)
        finally:
            for path in (written, *made.values(), self.scratch / f"{output.stem}.sound.mp4"):
                path.unlink(missing_ok=True)
        copied = sum(part.frame_count for part in parts if part.copied)
        return Rendered(output, checked, tuple(self.runs), copied, None)

    def encode(self, part: Piece, path: Path, on_progress: Callable[[Progress], None] | None) -> None:
        """Encode one part, its pictures only."""
        shown = self.plan.picture_frames or (self.plan.start_frame, self.plan.end_frame)
        first, end = max(shown[0], part.start_frame), min(shown[1], part.end_frame)
        plan = replace(
            self.plan,
            start_frame=part.start_frame,
            end_frame=part.end_frame,
            picture=self.plan.picture if first < end else None,
            picture_frames=(first, end) if first < end else None,
        )
        arguments = clip_arguments(
            self.location, self.source, plan, path, sound=False, parameter_set=self.source.video.free_parameter_set or 0
        )
        self.run(arguments, on_progress)

    def run(self, arguments: list[str], on_progress: Callable[[Progress], None] | None) -> None:
        self.runs.append(
            run(arguments, ffmpeg=self.ffmpeg, scratch=self.scratch, limits=self.limits, stop=self.stop,
                on_progress=on_progress)
        )  # fmt: skip

    def join(self, parts: Sequence[Piece], made: dict[Piece, Path], sound: Path | None, written: Path) -> None:
        """Write copies, encoded parts and sound into one file; sound None: the source's own, copied.

        Raises _Unfit, _UnfitSound.
        """
        track = audio_track(self.source, self.plan.settings)
        if sound is None and track is not None and not _can_be_copied(track, self.source, self.plan):
            raise _UnfitSound
        ticks, video = self.source.frame_ticks(), self.source.video
        start, end = clip_ticks(self.source, self.plan)
        edges = [*ticks[self.plan.start_frame : self.plan.end_frame], end]
        asked = {
            "packages": str(Path(av.__file__).parents[1]),
            "source": {
                "name": self.location if is_url(self.location) else local(Path(self.location)),
                "demuxer": self.source.demuxer,
                "options": container_options(self.location, self.source.demuxer),
                "stream": self.source.video_index,
            },
            "time_base": str(video.time_base),
            "parts": [
                {
                    "start": edges[part.start_frame - self.plan.start_frame],
                    "end": edges[part.end_frame - self.plan.start_frame],
                    "frames": part.frame_count,
                    "path": str(made[part]) if part in made else None,
                }
                for part in parts
            ],
            "ticks": [tick - start for tick in edges[:-1]],
            "end": end - start,
            "earlier_start": earlier_start(edges),
            "parameter_set": video.free_parameter_set,
            "sound": None
            if track is None
            else {
                "path": None if sound is None else str(sound),
                "stream": track.index if sound is None else 0,
                "begin": str(start * video.time_base),
                "end": str(end * video.time_base),
            },
            "output": str(written),
        }
        request = written.with_suffix(".json")
        request.write_text(json.dumps(asked))
        said = bytearray()
        argv = (sys.executable, "-I", "-S", str(CHILD), str(request))
        try:
            ended = supervise(argv, scratch=self.scratch, limits=self.limits, stop=self.stop, on_output=said.extend)
        finally:
            request.unlink(missing_ok=True)
        self.runs.append(Finished(argv, ended.cpu_s, ended.wall_s, ended.stderr_tail))
        if ended.status:
            raise _Unfit("The program that joins the parts crashed.")
        answer = json.loads(said)
        if answer.get("sound"):
            raise _UnfitSound
        if not answer["done"]:
            raise _Unfit(answer["reason"])

    def check_seams(self, path: Path, parts: Sequence[Piece]) -> None:
        """Decode the pictures behind each seam, where the decoder changes its parameters. Raises OutputRejected."""
        ticks, base = self.source.frame_ticks(), self.source.video.time_base
        origin = ticks[self.plan.start_frame]
        try:
            with av.open(f"file:{path.absolute()}", format="mov") as container:
                video: Any = container.streams.video[0]
                video.codec_context.thread_count = 1
                video.codec_context.options = {"err_detect": "explode"}
                for part in parts[1:]:
                    at = (ticks[part.start_frame] - origin) * base
                    container.seek(round(at / video.time_base), stream=video, backward=True)
                    seen = 0
                    for frame in container.decode(video):
                        # Where frames are spaced unevenly, seeking may land on the key frame before.
                        seen += (frame.pts or 0) * video.time_base > at - TICK_S
                        if seen == SEAM_PICTURES:
                            break
                    if seen < min(SEAM_PICTURES, part.frame_count):
                        raise OutputRejected(f"The pictures behind the seam at {float(at):.3f} s don't decode.")
        except (av.FFmpegError, OSError) as problem:
            raise OutputRejected(f"The pictures at a seam don't decode: {problem}.") from problem


def _scaled(
    on_progress: Callable[[Progress], None] | None, done: int, total: int, changed: int
) -> Callable[[Progress], None] | None:
    """Return a listener that is told of the whole clip's frames: copying takes next to no time."""
    if on_progress is None:
        return None

    def tell(progress: Progress) -> None:
        on_progress(replace(progress, frame=(done + progress.frame) * total // changed))

    return tell

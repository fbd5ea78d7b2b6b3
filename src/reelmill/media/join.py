"""Chunks of one size, joined without a seam, and sound beside them: packets only, nothing is encoded.

The files are our own and were checked when they were written. Times of showing are the plan's; those of decoding are
worked out anew, as they must rise across the seams.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av

from reelmill.errors import OutputRejected
from reelmill.media.encode import earlier_start

REORDERED = 2  #: frames by which x264 lets decoding run ahead of showing
PROGRESSIVE = {"movflags": "+faststart"}
#: Fragments begin at key frames, all times at 0 without an edit list, which players of HLS don't read (CMAF).
FRAGMENTED = {"movflags": "+cmaf+frag_keyframe+empty_moov+default_base_moof", "avoid_negative_ts": "disabled"}
FRAGMENTED_SOUND = {"movflags": "+cmaf+empty_moov+default_base_moof", "avoid_negative_ts": "disabled"}


@dataclass(frozen=True)
class Timeline:
    """When the joined frames are shown: ticks from the first one's 0."""

    ticks: Sequence[int]
    end: int
    base: Fraction  #: seconds of one tick


def join(chunks: Sequence[tuple[Path, int]], line: Timeline, sound: Path | None, out: Path) -> None:
    """Write one MP4 with faststart. chunks: in order, with the tick at which each begins.

    sound: an MP4 of `encode_sound`; its packets are taken as they are. Raises OutputRejected.
    """
    _write(chunks, line, sound, out, PROGRESSIVE)


def join_fragmented(chunks: Sequence[tuple[Path, int]], line: Timeline, out: Path) -> None:
    """Write pictures alone as a fragmented MP4 in the way of CMAF: a fragment for each group of pictures."""
    _write(chunks, line, None, out, FRAGMENTED)


def key_ticks(chunks: Sequence[tuple[Path, int]], base: Fraction) -> list[int]:
    """Return the ticks of `base` seconds at which the key frames of chunks are shown, once they are joined."""
    found: list[int] = []
    for path, start in chunks:
        with av.open(f"file:{path.absolute()}", format="mov") as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.size and packet.is_keyframe and packet.pts is not None:
                    found.append(start + round(packet.pts * packet.time_base / base))
    return sorted(found)


def fragment_sound(sound: Path, out: Path, every_s: Fraction) -> None:
    """Write sound alone as a fragmented MP4, a fragment for about each `every_s` seconds.

    The encoder's first packet, which comes before the beginning, is left out: no edit list has to hide it.
    """
    options = FRAGMENTED_SOUND | {"frag_duration": str(round(every_s * 1_000_000)), "fflags": "+bitexact"}
    try:
        with ExitStack() as opened:
            container = opened.enter_context(av.open(f"file:{sound.absolute()}", format="mov"))
            written = opened.enter_context(av.open(f"file:{out.absolute()}", "w", format="mp4", options=options))
            track = written.add_stream_from_template(container.streams.audio[0], opaque=True)
            for packet in _sounds(container, track):
                if packet.pts >= 0:
                    written.mux(packet)
    except (av.FFmpegError, OSError) as problem:
        raise OutputRejected(f"The sound can't be fragmented: {problem}.") from problem


def _write(
    chunks: Sequence[tuple[Path, int]], line: Timeline, sound: Path | None, out: Path, options: dict[str, str]
) -> None:
    options = options | {"fflags": "+bitexact", "video_track_timescale": str(line.base.denominator)}
    try:
        with ExitStack() as opened:
            first = opened.enter_context(av.open(f"file:{chunks[0][0].absolute()}", format="mov"))
            written = opened.enter_context(av.open(f"file:{out.absolute()}", "w", format="mp4", options=options))
            pattern = first.streams.video[0]
            picture = written.add_stream_from_template(pattern, opaque=True)
            queues = [_pictures(chunks, line, picture, bytes(pattern.codec_context.extradata or b""))]
            if sound is not None:
                container = opened.enter_context(av.open(f"file:{sound.absolute()}", format="mov"))
                track = written.add_stream_from_template(container.streams.audio[0], opaque=True)
                queues.append(_sounds(container, track))
            for packet in heapq.merge(*queues, key=lambda one: one.dts * one.time_base):
                written.mux(packet)
    except (av.FFmpegError, OSError) as problem:
        raise OutputRejected(f"The chunks can't be joined: {problem}.") from problem


def _pictures(chunks: Sequence[tuple[Path, int]], line: Timeline, out: Any, extradata: bytes) -> Iterator[Any]:
    """Yield all pictures in the order of decoding. Raises OutputRejected for any that isn't in the plan."""
    after = dict(pairwise([*line.ticks, line.end]))
    step = after[line.ticks[0]] - line.ticks[0]
    early = earlier_start([*line.ticks, line.end])
    count = 0
    for path, start in chunks:
        with av.open(f"file:{path.absolute()}", format="mov") as container:
            video = container.streams.video[0]
            if bytes(video.codec_context.extradata or b"") != extradata:
                raise OutputRejected("The chunks have different parameter sets.")
            for packet in container.demux(video):
                if not packet.size or packet.pts is None:
                    continue
                at = start + packet.pts * packet.time_base / line.base
                if at not in after:
                    raise OutputRejected("A chunk has a picture at a time that isn't in the plan.")
                earlier = count - REORDERED
                dts = line.ticks[earlier] if earlier >= 0 else line.ticks[0] + earlier * step
                packet.pts, packet.dts = int(at), dts - (early if not count else 0)
                if packet.dts > packet.pts:
                    raise OutputRejected("A chunk has pictures further out of order than expected.")
                packet.duration, packet.time_base, packet.stream = after[int(at)] - int(at), line.base, out
                count += 1
                yield packet
    if count != len(line.ticks):
        raise OutputRejected(f"The chunks have {count} pictures together, not {len(line.ticks)}.")


def _sounds(container: Any, out: Any) -> Iterator[Any]:
    for packet in container.demux(container.streams.audio[0]):
        if packet.size:
            packet.stream = out
            yield packet

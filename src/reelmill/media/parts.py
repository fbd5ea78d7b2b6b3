"""A step's own part of a remote source: its bytes, fetched once, in a file that is empty everywhere else.

ffmpeg opens a source several times, for pictures, sound and copies, and over HTTP each opening reads ahead. An MP4's
index says where everything lies, so those bytes alone are fetched; the rest of the file is a hole that takes no room.
"""

from __future__ import annotations

import ssl
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import certifi
import httpx2

from reelmill.errors import ObjectMissing, Stopped, StorageUnavailable
from reelmill.media.ffmpeg import is_url
from reelmill.media.probe import Source
from reelmill.media.spans import around, between

PREROLL_S = Fraction(11, 20)  #: seconds of sound before a clip; more than is decoded
#: Reading ends with the first picture behind the clip, which comes out of the decoder later than it went in.
PICTURES_BEHIND = 8
SOUND_BEHIND_S = Fraction(1, 5)
FIRST_BYTES = 192 << 10
GAP_BYTES = 256 << 10  #: two ranges that are nearer than this are one request
TRIES = 4
WAIT_S = 0.5  #: before the second try, then twice as long each time


def fetch_part(
    location: str, source: Source, start: int, end: int, scratch: Path, stop: threading.Event | None
) -> Path | None:
    """Return a file with the bytes that ticks [start, end) need; None where the location must be read as it is.

    Raises ObjectMissing, StorageUnavailable, Stopped. The caller removes the file.
    """
    return fetch_parts(location, source, [(start, end)], scratch, stop)


def fetch_parts(
    location: str, source: Source, spans: Sequence[tuple[int, int]], scratch: Path, stop: threading.Event | None
) -> Path | None:
    """Return a file with the bytes that these spans of ticks, [start, end) each, need; see `fetch_part`."""
    if not is_url(location) or source.spans_packed is None or not source.size_bytes:
        return None
    path = scratch / "source.part"
    try:
        with path.open("w+b") as file:
            file.truncate(source.size_bytes)
            wanted = _united([one for start, end in spans for one in ranges(source, start, end)])
            for number, (first, after) in enumerate(wanted):
                _fetch(location, first, after, file, stop)
                if number == 0 and _is_fragmented(file, after):
                    path.unlink()
                    return None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _is_fragmented(file: BinaryIO, after: int) -> bool:
    """Return whether an MP4's header announces fragments, whose indexes lie all over the file (mvex)."""
    file.seek(0)
    return b"mvex" in file.read(after)


def ranges(source: Source, start: int, end: int) -> list[tuple[int, int]]:
    """Return the [first, end) bytes that ticks [start, end) of a source need, header and index included."""
    packed, base, size = source.spans_packed, source.video.time_base, source.size_bytes or 0
    ticks, keys = source.frame_ticks(), source.keyframe_ticks()
    key = keys[max(0, bisect_right(keys, start) - 1)] if keys else start
    behind = ticks[min(bisect_left(ticks, end) + PICTURES_BEHIND, len(ticks) - 1)]
    begin = min(float(key * base), float(start * base - PREROLL_S))
    until = max(float(behind * base), float(end * base + SOUND_BEHIND_S))
    media_start, media_end = around(packed)
    # Whoever opens a file looks at its first packets.
    wanted = [(0, media_start + FIRST_BYTES), between(packed, begin, until), (media_end, size)]
    return _united([(max(0, first), min(after, size)) for first, after in wanted])


def _united(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for first, after in sorted(span for span in spans if span[0] < span[1]):
        if found and first <= found[-1][1] + GAP_BYTES:
            found[-1] = found[-1][0], max(found[-1][1], after)
        else:
            found.append((first, after))
    return found


def _fetch(url: str, first: int, after: int, file: BinaryIO, stop: threading.Event | None) -> None:
    """Write bytes [first, after) of an object into their place; goes on where a connection broke."""
    file.seek(first)
    at, tries = first, 0
    while at < after:
        try:
            for block in _blocks(url, at, after):
                if stop is not None and stop.is_set():
                    raise Stopped
                at, tries = at + file.write(block), 0
        except (httpx2.TransportError, StorageUnavailable) as problem:
            tries += 1
            if tries >= TRIES:
                raise StorageUnavailable(f"Reading the source broke off: {problem}.") from problem
            if (stop or threading.Event()).wait(WAIT_S * 2**tries):
                raise Stopped from problem


def _blocks(url: str, first: int, after: int) -> Iterator[bytes]:
    headers = {"Range": f"bytes={first}-{after - 1}", "Accept-Encoding": "identity"}
    with _client().stream("GET", url, headers=headers) as reply:
        if reply.status_code in (404, 410):
            raise ObjectMissing("The source isn't in the storage any more.")
        if reply.status_code != 206:
            raise StorageUnavailable(f"The storage answered {reply.status_code} to a request for a part.")
        left = after - first
        for block in reply.iter_bytes(1 << 18):
            yield block[:left]
            left -= len(block)
            if left <= 0:
                return


@lru_cache(maxsize=1)
def _client() -> httpx2.Client:
    """Return the one client of this process: connections are kept, redirects aren't followed."""
    context = ssl.create_default_context(cafile=certifi.where())
    return httpx2.Client(verify=context, timeout=httpx2.Timeout(30, connect=10), follow_redirects=False)

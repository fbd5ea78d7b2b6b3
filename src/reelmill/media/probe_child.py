"""The child that opens an untrusted file: sniffs it, forces the demuxer, reads what is in it, prints JSON.

Run by `probe.py` under limits as `python -I -S probe_child.py JSON`, with the standard library and PyAV alone; a crash
or an endless loop in a demuxer ends here.
"""

from __future__ import annotations

import base64
import bisect
import contextlib
import importlib.util
import itertools
import json
import math
import signal
import struct
import sys
import zlib
from array import array
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

DEMUXERS = frozenset({"mov", "matroska", "avi", "flv", "ogg", "asf", "mpegts", "mpeg", "gif"})  #: FFmpeg's names
SNIFFED_BYTES = 64 << 10
LOOKED_AT_FRAMES = 32  #: decoded and compared with the index, at least 4
LOOKED_AT_PIXELS = 128 << 20  #: in all of them
TORN_FRAMES = 600  #: decoded once more at most where a file breaks off
BACKWARD_S = 1.0  #: how far decoding times may jump back before a file counts as spliced
MAX_RUNS = 4096
STILLS = frozenset({"png_pipe", "jpeg_pipe", "webp_pipe"})  #: of pictures
TOO_MUCH = "It needs more memory than probing may use."
MATRICES = {0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
            10: "bt2020c"}  # fmt: skip
PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020",
             11: "smpte431", 12: "smpte432"}  # fmt: skip
TRANSFERS = {1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear", 11: "iec61966-2-4",
             13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084", 18: "arib-std-b67"}  # fmt: skip
RANGES = {1: "tv", 2: "pc"}


class Verdict(Exception):
    """Why there is no source: kind is not_a_video, not_a_picture, media_rejected, missing or unavailable."""

    def __init__(self, kind: str, detail: str) -> None:
        self.kind = kind
        self.detail = detail
        super().__init__(detail)


def sniff(head: bytes) -> str | None:
    """Return the demuxer for a file that begins with these bytes, None if they aren't a known container's.

    Only what can't be mistaken for text counts: playlists and scripts never match.
    """
    if head[4:8] in {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}:
        return "mov"
    for start, demuxer in (
        (b"\x1aE\xdf\xa3", "matroska"),
        (b"FLV\x01", "flv"),
        (b"OggS\x00", "ogg"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
        (b"\x00\x00\x01\xba", "mpeg"),
        (b"GIF87a", "gif"),
        (b"GIF89a", "gif"),
    ):
        if head.startswith(start):
            return demuxer
    if head[:4] == b"RIFF" and head[8:12] in {b"AVI ", b"AVIX"}:
        return "avi"
    # Transport streams: sync bytes at the distance of a packet, with 4 bytes before each in .m2ts, 16 behind in others.
    for size, first in ((188, 0), (192, 4), (204, 0)):
        places = range(first, min(len(head), first + 5 * size), size)
        if len(places) >= 3 and all(head[place] == 0x47 for place in places):
            return "mpegts"
    return None


def main() -> None:
    asked = json.loads(sys.argv[1])
    sys.path.append(asked["packages"])
    try:
        source = examine(asked["location"], asked["limits"], asked["ca_file"], asked["still"])
        said = {"verdict": "ok", "source": source}
    except Verdict as verdict:
        said = {"verdict": verdict.kind, "detail": verdict.detail}
    except IndexError:  # PyAV's own, when a stream turns up or goes while packets are read
        said = {"verdict": "media_rejected", "detail": "Its list of streams changes on the way."}
    except MemoryError:
        said = {"verdict": "media_rejected", "detail": TOO_MUCH}
    sys.stdout.write(json.dumps(said))


def examine(location: str, limits: dict[str, Any], ca_file: str | None, still: bool) -> dict[str, Any]:
    """Return the source as `Source.to_json` would; still: it shall be a picture. Raises Verdict."""
    signal.setitimer(signal.ITIMER_REAL, limits["verdict_s"])  # no handler: it kills, also inside a C loop
    url = ca_file is not None
    head, size = read_url(location, ca_file) if url else read_file(location)
    if still:
        told: dict[str, Any] = sibling("still_child").Still(limits, Verdict).source(location, ca_file, head, size)
        return told
    if size == 0:
        raise Verdict("not_a_video", "The file is empty.")
    demuxer = sniff(head)
    if demuxer is None:
        raise Verdict("not_a_video", "It doesn't begin like any video file that is known here.")

    import av
    import av.logging

    av.logging.set_level(None)
    options = {"format_whitelist": demuxer, "protocol_whitelist": "http,https,tcp,tls" if url else "file"}
    if ca_file:
        options |= {"ca_file": ca_file, "tls_verify": "1"}
    try:
        name = location if url else f"file:{location}"
        with av.open(name, format=demuxer, container_options=options, metadata_errors="replace") as container:
            reading_s = (size or 10 << 30) / limits["bytes_per_s"]
            return Examination(container, limits, demuxer, size).source(reading_s, url)
    except av.FFmpegError as problem:
        if isinstance(problem, MemoryError):
            raise Verdict("media_rejected", TOO_MUCH) from problem
        if url and isinstance(problem, OSError) and not isinstance(problem, av.InvalidDataError):
            raise Verdict("unavailable", f"Reading broke off: {problem.strerror}.") from problem
        raise Verdict("not_a_video", f"It can't be read: {problem.strerror}.") from problem


def read_file(path: str) -> tuple[bytes, int]:
    """Return the first bytes and the size of a file."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123  (one import less to start)
            head = file.read(SNIFFED_BYTES)
            return head, file.seek(0, 2)
    except FileNotFoundError as problem:
        raise Verdict("missing", "There is no such file.") from problem
    except OSError as problem:
        raise Verdict("unavailable", f"The file can't be read: {problem.strerror}.") from problem


def read_url(url: str, ca_file: str | None) -> tuple[bytes, int | None]:
    """Return the first bytes and, if the server tells it, the size of an object."""
    import ssl  # these three take longer to import than a file takes to be looked into
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, headers={"Range": f"bytes=0-{SNIFFED_BYTES - 1}"})  # noqa: S310
    try:
        context = ssl.create_default_context(cafile=ca_file)
        with urllib.request.urlopen(request, timeout=10, context=context) as reply:  # noqa: S310
            told = reply.headers.get("Content-Range", "").rpartition("/")[2] or reply.headers.get("Content-Length", "")
            return reply.read(SNIFFED_BYTES), int(told) if told.isdecimal() else None
    except urllib.error.HTTPError as problem:
        if problem.code == 416:
            return b"", 0  # no first byte: empty
        kind = "missing" if problem.code in {404, 410} else "unavailable"
        raise Verdict(kind, f"The server answered {problem.code}.") from problem
    except OSError as problem:
        raise Verdict("unavailable", f"The server can't be reached: {problem}.") from problem


class Examination:
    """One opened file, and what is found out about it."""

    def __init__(self, container: Any, limits: dict[str, Any], demuxer: str, size: int | None) -> None:
        self.container = container
        self.limits = limits
        self.demuxer = demuxer
        self.size = size

    def source(self, reading_s: float, url: bool) -> dict[str, Any]:
        """Return all of it. The demux pass may take reading_s wall seconds more than what is left."""
        if len(self.container.streams) > self.limits["max_streams"]:
            self.reject(f"It has {len(self.container.streams)} streams; {self.limits['max_streams']} are the most.")
        if [stream.index for stream in self.container.streams] != list(range(len(self.container.streams))):
            self.reject("Its list of streams is damaged.")
        pictures = [stream for stream in self.container.streams.video if not self.is_still(stream)]
        if not pictures:
            raise Verdict("not_a_video", "There is no video stream in it.")
        video = pictures[0]
        if video.codec_context is None:
            self.reject("There is no decoder for its pictures.")
        tracks = [stream for stream in self.container.streams.audio if stream.codec_context is not None]
        self.check_size(video.codec_context.width, video.codec_context.height)
        video.codec_context.thread_count = 1  # as many as there are processors would each take memory
        signal.setitimer(signal.ITIMER_REAL, signal.getitimer(signal.ITIMER_REAL)[0] + reading_s)
        index = Index(video, tracks, self.limits)
        frame = index.read(self.container, url)
        self.check_size(frame.width, frame.height)
        return {
            "demuxer": self.demuxer,
            "container": self.container.format.name,
            "size_bytes": self.size,
            "video": self.video(video, frame, index),
            "audio_tracks": index.sounds(),
            "video_index": video.index,
            "video_streams": len(pictures),
            "audio_streams": len(self.container.streams.audio),
            "other_streams": len(self.container.streams) - len(pictures) - len(self.container.streams.audio),
            "spans_packed": index.spans.packed() if self.demuxer == "mov" else None,
            "frames_packed": pack(index.ticks),
            "keyframes_packed": pack(index.keyframes),
        }

    @staticmethod
    def is_still(stream: Any) -> bool:
        from av.stream import Disposition

        return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))

    def check_size(self, width: int, height: int) -> None:
        if width <= 0 or height <= 0:
            raise Verdict("not_a_video", "Its video stream has no picture size.")
        if max(width, height) > self.limits["max_side"] or width * height > self.limits["max_pixels"]:
            self.reject(f"Its picture of {width}×{height} is larger than {self.limits['max_pixels']} pixels "
                        f"or {self.limits['max_side']} a side.")  # fmt: skip
        if min(width, height) < self.limits["min_side"]:
            self.reject(f"Its picture of {width}×{height} is less than {self.limits['min_side']} pixels a side.")

    def video(self, stream: Any, frame: Any, index: Index) -> dict[str, Any]:
        """Return what `VideoStream` holds."""
        coded = stream.codec_context
        turned = rotation(frame)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        width, height = frame.width, frame.height
        if turned % 180 == 90:
            width, height, aspect = height, width, 1 / aspect if aspect else aspect
        aspect = aspect if Fraction(1, 16) <= aspect <= 16 else Fraction(1)
        self.check_size(max(1, round(width * aspect)), height)  # as its clips are, with square pixels
        rate, is_vfr = index.rate()
        transfer = TRANSFERS.get(int(coded.color_trc), "")
        return {
            "codec": coded.codec.canonical_name,
            "width": width,
            "height": height,
            "coded_width": frame.width,
            "coded_height": frame.height,
            "rotation": turned,
            "sample_aspect": str(aspect),
            "pixel_format": frame.format.name,
            "color_space": MATRICES.get(int(coded.colorspace), ""),
            "color_primaries": PRIMARIES.get(int(coded.color_primaries), ""),
            "color_transfer": transfer,
            "color_range": RANGES.get(int(coded.color_range), ""),
            "hdr": transfer in {"smpte2084", "arib-std-b67"},
            "interlaced": index.interlaced,
            "has_b_frames": bool(coded.has_b_frames),
            "free_parameter_set": free_parameter_set(coded.extradata) if coded.name == "h264" else None,
            "is_vfr": is_vfr,
            "decoder_delay": index.delay,
            "time_base": str(stream.time_base),
            "frame_rate": str(rate),
            "frame_count": len(index.ticks),
            "start_tick": index.ticks[0],
            "end_tick": index.ticks[-1] + index.last_duration(),
        }

    @staticmethod
    def reject(detail: str) -> None:
        raise Verdict("media_rejected", detail)


def rotation(frame: Any) -> int:
    """Return how far ffmpeg turns a picture clockwise to show it: 0, 90, 180, 270; 0 too for any other angle.

    It turns by whole quarters within half a degree of them, and by any other angle within the picture's own sides.
    """
    from av.sidedata.sidedata import Type

    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return 0
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
    wide, high = math.hypot(a, c), math.hypot(b, d)
    if not wide or not high:
        return 0
    turned = round(math.degrees(math.atan2(b / high, a / wide))) % 360
    return turned if turned % 90 == 0 else 0


class Index:
    """Every frame's exact time, by one pass over the packets."""

    def __init__(self, video: Any, tracks: Sequence[Any], limits: dict[str, Any]) -> None:
        self.stream = video
        self.tracks = tracks
        self.limits = limits
        self.time_base: Fraction = video.time_base
        self.ticks: array[int] = array("q")  #: pts of all frames, ascending
        self.keyframes: array[int] = array("q")  #: pts of key frames, ascending
        self.first_key: int | None = None  #: pts, hidden or not
        self.last_dts: int | None = None
        self.decoded: array[int] = array("q")  #: dts of all frames, in the file's order; fewer if one has none
        self.interlaced = False  #: one of the first frames is; others may be stored whole
        self.delay = 0  #: see `VideoStream.decoder_delay`
        self.clocks: dict[int, tuple[int, int]] = {}  #: seconds of a tick of each stream, as a fraction
        self.spans = sibling("spans").Spans()
        self.coded = sibling("h264").Reader(video.codec_context.name, video.codec_context.extradata)
        self.durations: dict[int, int] = {}  #: of the frames that ended the timeline so far, by pts
        self.torn = False  #: the last packet isn't whole
        self.heard: dict[int, tuple[int, int]] = {}  #: first pts and last end of each sound stream, by its index

    def read(self, container: Any, url: bool) -> Any:
        """Read all packets, decode the first frames, compare both. Return the first frame."""
        first: Any = None
        seen: list[tuple[int | None, int | None]] = []  # pts, and dts of the packet with which the frame came out
        coded = self.stream.codec_context
        wanted = max(4, min(LOOKED_AT_FRAMES, LOOKED_AT_PIXELS // (coded.width * coded.height)))
        for packet in self.packets(container, url):
            if packet.stream is not self.stream:
                self.hear(packet)
                continue
            self.note(packet)
            if len(seen) < wanted:
                frames = self.decode(packet)
                seen += self.note_shown(frames)
                first = first or next(iter(frames), None)
        if len(seen) < wanted:
            frames = self.decode(None)
            seen += self.note_shown(frames)
            first = first or next(iter(frames), None)
        if first is None:
            raise Verdict("not_a_video", "No frame of it can be decoded.")
        if self.torn and self.ticks:
            self.drop_torn(container, url)
        self.settle()
        if any(pts != tick for (pts, _), tick in zip(seen, self.ticks, strict=False)):
            self.count_by_decoding([dts for _, dts in seen if dts is not None])
        return first

    def note_shown(self, frames: list[Any]) -> list[tuple[int | None, int | None]]:
        self.interlaced = self.interlaced or any(frame.interlaced_frame for frame in frames)
        return [(frame.pts, frame.dts) for frame in frames]

    def count_by_decoding(self, seen: list[int]) -> None:
        """Show the n-th frame at the time of the n-th packet: AVI has times of decoding only.

        seen: times of the packets with which the first frames left the decoder, which is later by a fixed delay.
        """
        ticks = self.decoded
        self.delay = seen[0] - ticks[0] if seen and ticks else 0
        rising = all(before < after for before, after in itertools.pairwise(ticks))
        as_seen = [tick + self.delay for tick in ticks[: len(seen)]] == seen
        if self.delay <= 0 or not rising or len(ticks) != len(self.ticks) or not as_seen:
            raise Verdict("media_rejected", "Its time stamps aren't those at which its pictures are shown. Write it "
                                            "anew, as MP4 or Matroska, with the program that made it.")  # fmt: skip
        # The demuxer's made-up times of showing are in the order of decoding: the n-th is the n-th.
        self.keyframes = array("q", (new for new, old in zip(ticks, self.ticks, strict=True) if self.is_key(old)))
        self.durations = {ticks[-1]: self.durations.get(self.ticks[-1], 0)}
        self.ticks = ticks

    def is_key(self, tick: int) -> bool:
        at = bisect.bisect_left(self.keyframes, tick)
        return at < len(self.keyframes) and self.keyframes[at] == tick

    def packets(self, container: Any, url: bool) -> Iterator[Any]:
        """Yield the packets of picture and sound up to the end, or to where the file breaks off."""
        import av

        try:
            for packet in container.demux([self.stream, *self.tracks]):
                if packet.is_keyframe and packet.has_sidedata("encryption_info"):
                    raise Verdict("media_rejected", "It is encrypted.")
                if packet.size:
                    self.place(packet)
                    yield packet
        except av.FFmpegError:
            if url or not len(self.ticks):
                raise

    def place(self, packet: Any) -> None:
        at = packet.dts if packet.pts is None else packet.pts
        if at is not None:
            clock = self.clocks.get(packet.stream_index)
            if clock is None:
                clock = self.clocks[packet.stream_index] = packet.time_base.as_integer_ratio()
            self.spans.note(at * clock[0] / clock[1], packet.pos, packet.size)  # rounded as the exact fraction is

    def decode(self, packet: Any) -> list[Any]:
        import av

        try:
            return list(self.stream.codec_context.decode(packet))
        except av.FFmpegError as problem:
            if isinstance(problem, MemoryError):
                raise
            return []

    def drop_torn(self, container: Any, url: bool) -> None:
        """Take what can't be decoded, where the file breaks off, out of the index."""
        import av

        key = max(self.keyframes, default=self.ticks[0])
        gone = {self.ticks[-1]}
        if sum(tick >= key for tick in self.ticks) <= TORN_FRAMES:
            tail = {tick for tick in self.ticks if tick >= key}
            shown: set[int] = set()
            self.stream.codec_context.flush_buffers()
            with contextlib.suppress(av.FFmpegError):
                container.seek(key, stream=self.stream)
                for packet in self.packets(container, url):
                    if packet.stream is self.stream:
                        shown.update(frame.pts for frame in self.decode(packet))
                shown.update(frame.pts for frame in self.decode(None))
            if shown and shown <= tail:  # else pictures are shown at other times than their packets say
                gone = tail - shown
        kept = bytearray(tick not in gone for tick in self.ticks)
        if len(self.decoded) == len(self.ticks):
            self.decoded = array("q", itertools.compress(self.decoded, kept))
        self.ticks = array("q", itertools.compress(self.ticks, kept))

    def note(self, packet: Any) -> None:
        """Put one packet of the video stream into the index."""
        self.torn = packet.is_corrupt
        if self.coded.is_second_field(packet):
            return
        if packet.pts is None:
            raise Verdict("media_rejected", "Some of its frames have no time stamps.")
        if self.first_key is None and packet.is_keyframe:
            self.first_key = packet.pts
        if packet.is_discard:
            return  # an edit list hides it: others may need it, but it is never shown
        if self.first_key is None or packet.pts < self.first_key:
            return  # can't be decoded without the key frame that was cut off before it
        if packet.is_keyframe and self.coded.is_entry(packet):
            self.keyframes.append(packet.pts)
        if packet.dts is not None:
            # Times of showing jump about as frames are reordered; times of decoding only ever rise.
            if self.last_dts is not None and packet.dts < self.last_dts - BACKWARD_S / self.time_base:
                raise Verdict("media_rejected", "Its time stamps jump back.")
            self.last_dts = packet.dts
        if len(self.ticks) >= self.limits["max_frames"]:
            raise Verdict("media_rejected", f"It has more than {self.limits['max_frames']} frames.")
        if packet.dts is not None and len(self.decoded) == len(self.ticks):
            self.decoded.append(packet.dts)
        self.ticks.append(packet.pts)
        if packet.pts >= max(self.durations, default=packet.pts):
            self.durations = {packet.pts: packet.duration or 0}

    def hear(self, packet: Any) -> None:
        if packet.pts is None or packet.is_discard:
            return
        begin, end = self.heard.get(packet.stream.index, (packet.pts, packet.pts))
        self.heard[packet.stream.index] = min(begin, packet.pts), max(end, packet.pts + (packet.duration or 0))

    def settle(self) -> None:
        """Bring the index into the order of display, each time once, and hold it against the limits."""
        if not len(self.ticks):
            raise Verdict("not_a_video", "There is no frame in it that can be shown.")
        # Millions of frames: no sets of them, which take ten times the memory.
        self.ticks = array("q", (tick for tick, _ in itertools.groupby(sorted(self.ticks))))
        self.keyframes = array("q", (tick for tick, _ in itertools.groupby(sorted(self.keyframes)) if self.has(tick)))
        span = (self.ticks[-1] - self.ticks[0]) * self.time_base
        if span > self.limits["max_duration_s"]:
            raise Verdict("media_rejected", f"It is {float(span):.0f} s long; {self.limits['max_duration_s']:g} s are "
                                            "the most.")  # fmt: skip
        gap = max((after - before for before, after in itertools.pairwise(self.ticks)), default=0) * self.time_base
        if gap > self.limits["max_gap_s"]:
            raise Verdict("media_rejected", f"There is a gap of {float(gap):.0f} s between two of its frames.")
        if span and (len(self.ticks) - 1) / span > self.limits["max_frame_rate"]:
            raise Verdict("media_rejected", f"It has more than {self.limits['max_frame_rate']} frames a second.")

    def has(self, tick: int) -> bool:
        at = bisect.bisect_left(self.ticks, tick)
        return at < len(self.ticks) and self.ticks[at] == tick

    def last_duration(self) -> int:
        """Return how long the last frame is shown, ticks ≥ 1: as its packet says, else as frames are on average."""
        told = 0 if self.coded.has_fields else self.durations.get(self.ticks[-1], 0)
        usual: int = max(1, round(1 / (self.rate()[0] * self.time_base)))
        # A packet may say anything; what is plain nonsense is not believed.
        return told if 0 < told <= max(usual * 100, round(10 / self.time_base)) else usual

    def rate(self) -> tuple[Fraction, bool]:
        """Return frames a second and whether they vary by more than the rounding to a tick."""
        count = len(self.ticks) - 1
        declared: list[Fraction] = [rate for rate in (self.stream.guessed_rate, self.stream.average_rate) if rate]
        if self.coded.has_fields:
            declared += [rate / 2 for rate in declared]
        declared += [rate for rate in map(usual_rate, declared) if rate]
        declared.sort(key=lambda rate: rate.denominator not in (1, 1001))
        if count == 0:
            told = self.durations.get(self.ticks[0], 0) * self.time_base
            alone = [1 / told, *declared] if told > 0 else declared
            return next((rate for rate in alone if rate <= 1000), Fraction(25)), False
        for rate in declared:
            period = 1 / (rate * self.time_base)
            if abs(count * period - (self.ticks[-1] - self.ticks[0])) <= 1 and self.is_even(period):
                return rate, False
        period = Fraction(self.ticks[-1] - self.ticks[0], count)
        return (1 / (period * self.time_base)).limit_denominator(100_000), not self.is_even(period)

    def is_even(self, period: Fraction) -> bool:
        """Return whether frame n is at n × period, to a tick."""
        up, down, origin = period.numerator, period.denominator, self.ticks[0]
        return all(abs((tick - origin) * down - n * up) <= down for n, tick in enumerate(self.ticks))

    def sounds(self) -> list[dict[str, Any]]:
        """Return what each `AudioStream` holds; streams without a packet that can be placed in time are left out."""
        found = []
        for track in self.tracks:
            coded = track.codec_context
            if track.index not in self.heard or not coded.sample_rate:
                continue
            begin, end = (float(tick * track.time_base) for tick in self.heard[track.index])
            found.append({
                "index": track.index,
                "codec": coded.codec.canonical_name,
                "sample_rate": coded.sample_rate,
                "channels": coded.channels,
                "layout": coded.layout.name,
                "language": None if track.language == "und" else track.language,
                "start_s": begin,
                "end_s": end,
            })  # fmt: skip
        return found


def usual_rate(rate: Fraction) -> Fraction | None:
    """Return the whole number of frames a second, or that ÷ 1.001, of which this is the rounding to a coarse clock."""
    for exact in (Fraction(round(rate)), Fraction(round(rate * 1001 / 1000) * 1000, 1001)):
        if abs(exact - rate) < rate / 100_000:
            return exact
    return None


def sibling(name: str) -> Any:
    """Import a module that lies beside this one. This folder on the path would hide modules of the standard library."""
    spec = importlib.util.spec_from_file_location(name, f"{__file__.rpartition('/')[0]}/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def free_parameter_set(extradata: bytes | None) -> int | None:
    """Return the least number that none of an avcC's parameter sets has, None if it isn't one with 4-byte lengths.

    ISO/IEC 14496-15, 5.3.3.1; the numbers are the first ue(v) of each unit (ITU-T H.264, 7.3.2.1 and 7.3.2.2).
    """
    data = extradata or b""
    if len(data) < 7 or data[0] != 1 or data[4] & 3 != 3:
        return None
    used: set[int] = set()
    place = 5
    for head in (4, 1):  # bytes before the number, of sequence and of picture parameter sets
        if place >= len(data):
            return None
        count, place = data[place] & 31, place + 1
        for _ in range(count):
            size = int.from_bytes(data[place : place + 2])
            bits = f"{int.from_bytes(data[place + 2 + head : place + 10 + head].ljust(8, bytes(1))):064b}"
            zeros = bits.find("1")
            if not 0 <= zeros <= 8:
                return None
            used.add(int(bits[zeros : 2 * zeros + 1], 2) - 1)
            place += 2 + size
    return min(set(range(32)) - used, default=None)


def pack(ticks: Sequence[int]) -> dict[str, Any]:
    """Return ascending integers as compact JSON: runs of equal steps, or their steps compressed."""
    steps = array("q", (after - before for before, after in itertools.pairwise(ticks)))
    runs = [[step, sum(1 for _ in group)] for step, group in itertools.groupby(steps)]
    packed: dict[str, Any] = {"first": ticks[0] if len(ticks) else None}
    if len(runs) <= MAX_RUNS:
        return packed | {"runs": runs}
    flat = struct.pack(f"<{len(steps)}q", *steps)
    return packed | {"count": len(steps), "zlib": base64.b64encode(zlib.compress(flat, 9)).decode()}


def unpack(packed: dict[str, Any]) -> array[int]:
    """Return what `pack` was given."""
    if packed["first"] is None:
        return array("q")
    if "runs" in packed:
        steps: Iterator[int] = itertools.chain.from_iterable(itertools.repeat(s, n) for s, n in packed["runs"])
    else:
        count = packed["count"]
        flat = zlib.decompressobj().decompress(base64.b64decode(packed["zlib"]), 8 * count)
        steps = iter(struct.unpack(f"<{count}q", flat))
    return array("q", itertools.accumulate(steps, initial=packed["first"]))


if __name__ == "__main__":
    main()

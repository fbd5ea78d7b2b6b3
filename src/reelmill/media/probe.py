"""What a source is: sniffed and probed in a limited child process, kept as plain JSON.

The child (`probe_child.py`) is the only code that opens an untrusted file with PyAV.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from array import array
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import certifi

from reelmill.errors import (
    DeadlineExceeded,
    MediaRejected,
    NotAPicture,
    NotAVideo,
    ObjectMissing,
    ReelmillError,
    ResourceLimit,
    StorageUnavailable,
)
from reelmill.media.children import Limits, supervise
from reelmill.media.ffmpeg import is_url
from reelmill.media.probe_child import STILLS, unpack

CHILD = Path(__file__).with_name("probe_child.py")
MAX_ANSWER_BYTES = 64 << 20
VERDICTS: dict[str, type[ReelmillError]] = {
    "not_a_video": NotAVideo,
    "not_a_picture": NotAPicture,
    "media_rejected": MediaRejected,
    "missing": ObjectMissing,
    "unavailable": StorageUnavailable,
}


@dataclass(frozen=True)
class ProbeLimits:
    """What is taken from strangers, and what the probing child may use."""

    max_pixels: int = 8192 * 8192  #: width × height
    max_side: int = 16384  #: pixels
    min_side: int = 2  #: pixels: a clip has even sides
    max_frame_rate: int = 1000  #: frames/s
    max_duration_s: float = 24 * 3600.0  #: seconds from the first frame to the last
    max_gap_s: float = 3600.0  #: seconds between two frames that follow each other
    max_streams: int = 64
    max_frames: int = 10_000_000
    max_still_pixels: int = 50_000_000  #: width × height of a picture
    max_still_bytes: int = 64 << 20  #: of a picture's file
    verdict_s: float = 12.0  #: wall seconds to open the file and decode one frame; whoever waits sees 15 s at most
    bytes_per_s: int = 20_000_000  #: the slowest reading that is waited for: all gets verdict_s + size / this
    deadline_s: float = 3600.0  #: wall seconds for all of it, whatever the file's size
    cpu_s: int = 600  #: processor seconds of the child
    memory_bytes: int = 1_000_000_000  #: address space of the child; 8192×8192 H.264 takes 840 MB


@dataclass(frozen=True)
class VideoStream:
    """The video stream that is worked on."""

    codec: str  #: "h264"
    width: int  #: pixels as displayed: after rotation, before the pixels are made square
    height: int
    coded_width: int  #: pixels as stored
    coded_height: int
    rotation: int  #: degrees clockwise that a player turns the picture: 0, 90, 180, 270
    sample_aspect: Fraction  #: width/height of one displayed pixel, 1 if square or unknown
    pixel_format: str  #: "yuv420p"
    color_space: str  #: matrix "bt709", "" if untagged
    color_primaries: str
    color_transfer: str
    color_range: str  #: "tv", "pc" or ""
    hdr: bool  #: PQ or HLG transfer
    interlaced: bool
    has_b_frames: bool
    free_parameter_set: int | None  #: a number that no H.264 parameter set in the header has, 0–31; None: not known
    is_vfr: bool  #: frames aren't evenly spaced (by more than one tick)
    decoder_delay: int  #: ticks, > 0 in files that tell no times of showing: frames leave the decoder so much later
    time_base: Fraction  #: seconds of one tick, exact (1/30000)
    frame_rate: Fraction  #: frames/s: exact for constant rate, else the average
    frame_count: int
    start_tick: int  #: pts of the first frame
    end_tick: int  #: pts of the last frame + its duration


@dataclass(frozen=True)
class AudioStream:
    """One sound stream; times are on the same clock as the video's ticks."""

    index: int  #: of the stream in the file
    codec: str
    sample_rate: int  #: Hz
    channels: int
    layout: str  #: "stereo"
    language: str | None  #: ISO 639-2, "eng"; None if untold
    start_s: float  #: seconds
    end_s: float  #: seconds


@dataclass(frozen=True)
class Source:
    """All that planning and encoding need to know about a source; made by `probe`."""

    demuxer: str  #: FFmpeg's name, forced on every later opening: "mov"
    container: str  #: FFmpeg's format name "mov,mp4,m4a,3gp,3g2,mj2"
    size_bytes: int | None  #: None if a server didn't tell
    video: VideoStream
    audio_tracks: tuple[AudioStream, ...]  #: those that can be decoded and placed in time, in the file's order
    video_index: int  #: stream index in the file
    video_streams: int  #: counts in the file, attached pictures left out
    audio_streams: int
    other_streams: int
    spans_packed: Any  #: JSON object or null; read by `parts.ranges`: where each second lies in the file
    frames_packed: Any  #: JSON object; read it by frame_ticks()
    keyframes_packed: Any  #: JSON object; read it by keyframe_ticks()

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame's start to the last frame's end."""
        return float((self.video.end_tick - self.video.start_tick) * self.video.time_base)

    @property
    def is_still(self) -> bool:
        """Whether it is a picture: one frame, which a film or a scene is made with."""
        return self.demuxer in STILLS

    @property
    def audio(self) -> AudioStream | None:
        """The first sound stream."""
        return self.audio_tracks[0] if self.audio_tracks else None

    def frame_ticks(self) -> array[int]:
        """Return the pts of every frame, ascending, in ticks of `video.time_base` (type code 'q')."""
        return self._ticks

    def keyframe_ticks(self) -> array[int]:
        """Return the pts of the key frames, ascending, in ticks."""
        return self._keyframes

    @cached_property
    def _ticks(self) -> array[int]:
        return unpack(self.frames_packed)

    @cached_property
    def _keyframes(self) -> array[int]:
        return unpack(self.keyframes_packed)

    def to_json(self) -> dict[str, Any]:
        """Return a plain JSON object (fractions as "30000/1001"); `from_json` takes it back."""
        data = {field.name: getattr(self, field.name) for field in fields(self)}
        video = asdict(self.video).items()
        return data | {
            "video": {name: str(value) if isinstance(value, Fraction) else value for name, value in video},
            "audio_tracks": [asdict(track) for track in self.audio_tracks],
            "duration_s": self.duration_s,
            **({"still": True} if self.is_still else {}),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Source:
        """Make a Source from `to_json`'s object. What else is in it is left alone."""
        known = {field.name: data[field.name] for field in fields(cls)}
        video = {field.name: data["video"][field.name] for field in fields(VideoStream)}
        for name in ("sample_aspect", "time_base", "frame_rate"):
            video[name] = Fraction(video[name])
        tracks = tuple(
            AudioStream(**{field.name: track[field.name] for field in fields(AudioStream)})
            for track in data["audio_tracks"]
        )
        return cls(**(known | {"video": VideoStream(**video), "audio_tracks": tracks}))


def probe(
    location: str,
    *,
    still: bool = False,
    scratch: Path,
    limits: ProbeLimits | None = None,
    stop: threading.Event | None = None,
) -> Source:
    """Find out what the file at a path or http(s) URL is, by its content alone.

    Reads the whole file once: every frame's time stamp is wanted. Decodes the first frames.
    still: a picture is looked for instead of a video; it is decoded as a whole.
    Raises NotAVideo (no known container, no video, damaged from the start), NotAPicture (no PNG, JPEG or WebP,
    animated, damaged, too large), MediaRejected (beyond the limits, or the probe died or took too long on it),
    ObjectMissing, StorageUnavailable (can't be read now), Stopped.
    """
    limits = limits or ProbeLimits()
    # A child may be killed by the machine's lack of memory, which isn't the file's fault: the second time it is.
    said = _ask(location, still, scratch, limits, stop) or _ask(location, still, scratch, limits, stop)
    if said is None:
        raise MediaRejected("The program that looks into the file crashed on it, twice.")
    if said["verdict"] != "ok":
        raise VERDICTS[said["verdict"]](said["detail"])
    return Source.from_json(said["source"])


def _ask(
    location: str, still: bool, scratch: Path, limits: ProbeLimits, stop: threading.Event | None
) -> dict[str, Any] | None:
    """Return what the child says, None if it was killed by a signal."""
    url = is_url(location)
    asked = {
        "location": location if url else str(Path(location).absolute()),
        "still": still,
        "ca_file": certifi.where() if url else None,
        "limits": asdict(limits),
        "packages": str(Path(av.__file__).parents[1]),
    }
    said = bytearray()

    def take(piece: bytes) -> None:
        said.extend(piece)
        if len(said) > MAX_ANSWER_BYTES:
            raise MediaRejected("What there is to say about its frames is more than can be kept.")

    try:
        ended = supervise(
            [sys.executable, "-I", "-S", str(CHILD), json.dumps(asked)],
            scratch=scratch,
            limits=Limits(limits.deadline_s, limits.cpu_s, file_size_bytes=1, memory_bytes=limits.memory_bytes),
            stop=stop,
            on_output=take,
        )
    except (DeadlineExceeded, ResourceLimit) as problem:
        raise MediaRejected("Looking into the file took more time than that may take.") from problem
    if ended.status == -signal.SIGALRM:
        raise MediaRejected("Looking into the file took more time than that may take.")
    if ended.status < 0:
        return None
    if ended.status:
        last = ended.stderr_tail.strip().rpartition("\n")[2]
        raise MediaRejected(f"Looking into the file failed: {last[:300]}", stderr=ended.stderr_tail)
    answer: dict[str, Any] = json.loads(said)
    return answer

"""What a source is: sniffed and probed in a limited child process, kept as plain JSON.

The child (`probe_child.py`) is the only code that opens an untrusted file with PyAV.
"""

from __future__ import annotations

import threading
from array import array
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ProbeLimits:
    """What is taken from strangers, and what the probing child may use."""

    max_pixels: int = 8192 * 8192  #: width × height
    max_side: int = 16384  #: pixels
    max_frame_rate: int = 1000  #: frames/s
    max_duration_s: float = 24 * 3600.0  #: seconds from the first frame to the last
    max_gap_s: float = 3600.0  #: seconds between two frames that follow each other
    max_streams: int = 64
    max_frames: int = 10_000_000
    verdict_s: float = 15.0  #: wall seconds to open the file and decode one frame
    bytes_per_s: int = 20_000_000  #: the slowest reading that is waited for: the demux pass gets verdict_s + size / this
    deadline_s: float = 3600.0  #: wall seconds for all of it, whatever the file's size
    cpu_s: int = 600  #: processor seconds of the child
    memory_bytes: int = 2 << 30  #: address space of the child


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
    is_vfr: bool  #: frames aren't evenly spaced (by more than one tick)
    time_base: Fraction  #: seconds of one tick, exact (1/30000)
    frame_rate: Fraction  #: frames/s: exact for constant rate, else the average
    frame_count: int
    start_tick: int  #: pts of the first frame
    end_tick: int  #: pts of the last frame + its duration


@dataclass(frozen=True)
class AudioStream:
    """The first sound stream; times are on the same clock as the video's ticks."""

    codec: str
    sample_rate: int  #: Hz
    channels: int
    layout: str  #: "stereo"
    start_s: float  #: seconds
    end_s: float  #: seconds


@dataclass(frozen=True)
class Source:
    """All that planning and encoding need to know about a source; made by `probe`."""

    demuxer: str  #: FFmpeg's name, forced on every later opening: "mov"
    container: str  #: FFmpeg's format name "mov,mp4,m4a,3gp,3g2,mj2"
    size_bytes: int | None  #: None if a server didn't tell
    video: VideoStream
    audio: AudioStream | None
    video_index: int  #: stream index in the file
    audio_index: int | None
    video_streams: int  #: counts in the file, attached pictures left out
    audio_streams: int
    other_streams: int
    frames_packed: Any  #: JSON; read it by frame_ticks()
    keyframes_packed: Any  #: JSON; read it by keyframe_ticks()

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame's start to the last frame's end."""
        return float((self.video.end_tick - self.video.start_tick) * self.video.time_base)

    def frame_ticks(self) -> array[int]:
        """Return the pts of every frame, ascending, in ticks of `video.time_base` (type code 'q')."""
        raise NotImplementedError

    def keyframe_ticks(self) -> array[int]:
        """Return the pts of the key frames, ascending, in ticks."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return a plain JSON object (fractions as "30000/1001"); `from_json` takes it back."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Source:
        """Make a Source from `to_json`'s object."""
        raise NotImplementedError


def probe(
    location: str, *, scratch: Path, limits: ProbeLimits | None = None, stop: threading.Event | None = None
) -> Source:
    """Find out what the file at a path or http(s) URL is, by its content alone.

    Raises NotAVideo (no known container, no video, damaged from the start), MediaRejected (beyond the limits, or the
    probe died or took too long on it), Stopped. The source must be readable: a missing file is NotAVideo too.
    """
    raise NotImplementedError

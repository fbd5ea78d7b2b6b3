"""The part of the probing child that opens an untrusted picture, and decodes all of it; see `probe_child.py`."""

from __future__ import annotations

import signal
from typing import Any

ANIMATED = 0x02  #: WebP's VP8X flags


def sniff(head: bytes) -> str | None:
    """Return the demuxer for a picture that begins with these bytes, None for any other file."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png_pipe"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg_pipe"
    return "webp_pipe" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


class Still:
    """What is found out about one picture."""

    def __init__(self, limits: dict[str, Any], verdict: type[Exception]) -> None:
        """verdict: the child's own, made of a kind and a detail."""
        self.limits = limits
        self.verdict = verdict

    def source(self, location: str, ca_file: str | None, head: bytes, size: int | None) -> dict[str, Any]:
        """Return the picture as `Source.to_json` would: a film of one frame. Raises the verdict."""
        demuxer = sniff(head)
        if demuxer is None:
            raise self.refusal("It begins like neither PNG nor JPEG nor WebP.")
        if size is None or size > self.limits["max_still_bytes"]:
            raise self.refusal(f"It has {size or 'untold'} bytes; {self.limits['max_still_bytes']} are the most.")
        if head[12:16] == b"VP8X" and head[20] & ANIMATED:
            raise self.refusal("It is an animated WebP.")
        left_s = signal.getitimer(signal.ITIMER_REAL)[0]
        signal.setitimer(signal.ITIMER_REAL, left_s + size / self.limits["bytes_per_s"])

        import av
        import av.logging

        av.logging.set_level(None)
        options = {"format_whitelist": demuxer, "protocol_whitelist": "http,https,tcp,tls" if ca_file else "file"}
        if ca_file:
            options |= {"ca_file": ca_file, "tls_verify": "1"}
        try:
            name = location if ca_file else f"file:{location}"
            with av.open(name, format=demuxer, container_options=options, metadata_errors="replace") as container:
                return {"demuxer": demuxer, "size_bytes": size, **self.told(container)}
        except MemoryError as problem:
            raise self.refusal("It needs more memory than probing may use.") from problem
        except av.FFmpegError as problem:
            if ca_file and isinstance(problem, OSError) and not isinstance(problem, av.InvalidDataError):
                raise self.verdict("unavailable", f"Reading broke off: {problem.strerror}.") from problem
            raise self.refusal(f"It is damaged: {problem.strerror}.") from problem

    def told(self, container: Any) -> dict[str, Any]:
        """Decode the first picture in the file: behind it, cameras put previews, and films."""
        stream = container.streams.video[0]
        coded = stream.codec_context
        self.check_size(coded.width, coded.height)
        coded.thread_count = 1
        coded.options = {"err_detect": "explode"}  # a JPEG that breaks off would come half grey
        frame = next((frame for packet in container.demux(stream) for frame in coded.decode(packet)), None)
        if frame is None:
            raise self.refusal("It can't be decoded.")
        self.check_size(frame.width, frame.height)
        turned = -frame.rotation % 360  # PyAV tells it counter-clockwise
        turned = turned if turned % 90 == 0 else 0
        shown = (frame.height, frame.width) if turned % 180 else (frame.width, frame.height)
        ticks = {"first": 0, "runs": []}
        return {
            "container": container.format.name.removesuffix("_pipe"),
            "video": {
                "codec": coded.codec.canonical_name,
                "width": shown[0],
                "height": shown[1],
                "coded_width": frame.width,
                "coded_height": frame.height,
                "rotation": turned,
                "sample_aspect": "1",
                "pixel_format": frame.format.name,
                "color_space": "",
                "color_primaries": "",
                "color_transfer": "",
                "color_range": "pc",
                "hdr": False,
                "interlaced": False,
                "has_b_frames": False,
                "free_parameter_set": None,
                "is_vfr": False,
                "decoder_delay": 0,
                "time_base": "1/25",
                "frame_rate": "25",
                "frame_count": 1,
                "start_tick": 0,
                "end_tick": 1,
            },
            "audio_tracks": [],
            "video_index": stream.index,
            "video_streams": 1,
            "audio_streams": 0,
            "other_streams": 0,
            "spans_packed": None,
            "frames_packed": ticks,
            "keyframes_packed": ticks,
        }

    def check_size(self, width: int, height: int) -> None:
        most, side = self.limits["max_still_pixels"], self.limits["max_side"]
        if width <= 0 or height <= 0:
            raise self.refusal("It is damaged: it has no size.")
        if width * height > most or max(width, height) > side:
            raise self.refusal(f"It has {width}×{height} pixels; {most} are the most, and {side} a side.")
        if min(width, height) < self.limits["min_side"]:
            raise self.refusal(f"Of {width}×{height} pixels it is too small.")

    def refusal(self, detail: str) -> Exception:
        return self.verdict("not_a_picture", detail)

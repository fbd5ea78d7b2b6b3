"""What ffmpeg must have been built with for everything that this library asks of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reelmill.media.children import Limits, supervise
from reelmill.media.codecs import FAMILIES
from reelmill.media.probe_child import DEMUXERS, STILLS

#: The filters of all graphs of this library; a test builds their graphs and compares.
FILTERS = frozenset({
    "aformat", "afade", "amix", "anull", "anullsrc", "apad", "aresample", "asetpts", "asplit", "atrim", "bwdif",
    "colorchannelmixer", "crop", "format", "fps", "loop", "loudnorm", "lutrgb", "overlay", "pad", "perspective",
    "premultiply", "scale", "select", "setparams", "setpts", "setsar", "settb", "sidechaincompress", "sidedata",
    "split", "tonemap", "tpad", "trim", "unpremultiply", "volume", "xfade", "zscale",
})  # fmt: skip
ENCODERS = frozenset(
    {*(family.encoder for family in FAMILIES.values()), "aac", "mjpeg", "pcm_s16le", "png", "ppm", "wrapped_avframe"}
)
NEEDED: Mapping[str, frozenset[str]] = {
    "filters": FILTERS,
    "encoders": ENCODERS,
    "demuxers": frozenset({*DEMUXERS, *STILLS, "s16le"}),
    "muxers": frozenset({"mp4", "image2", "null", "s16le"}),
    "bsfs": frozenset({"setts"}),
    "protocols": frozenset({"file", "http", "https", "tcp", "tls"}),
}


def lacking(ffmpeg: Path) -> list[str]:
    """Return what an ffmpeg lacks, as "filter zscale", in order. Raises ToolMissing, DeadlineExceeded."""
    limits = Limits(deadline_s=30, cpu_s=20)
    missing = []
    for kind, names in NEEDED.items():
        said = bytearray()
        supervise(
            [str(ffmpeg), "-hide_banner", f"-{kind}"],
            scratch=Path("/"),
            limits=limits,
            stop=None,
            on_output=said.extend,
        )
        # A line is "name", "flags name …" or "flags name,other name …".
        words = (word for line in said.decode("utf-8", "replace").splitlines() for word in line.split()[:3])
        there = {name for word in words for name in word.split(",")}
        missing += [f"{kind.removesuffix('s')} {name}" for name in sorted(names - there)]
    return missing

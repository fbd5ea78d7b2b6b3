"""Media work without jobs: probing, planning, text pictures, encoding, thumbnails. A library by itself.

    ffmpeg = find_ffmpeg(None)
    source = probe("film.mp4", limits=ProbeLimits(), scratch=scratch)
    for segment in fixed(source.frame_ticks(), source.video.end_tick, source.video.time_base, Fraction(30)):
        width, height = output_size(source)
        picture = draw(layout("Hello", TextStyle(), width, height), scratch / f"{segment.index}.png")
        plan = ClipPlan(segment.start_frame, segment.end_frame, picture, ClipSettings())
        clip = encode_clip("film.mp4", source, plan, Path(f"{segment.index}.mp4"), ffmpeg=ffmpeg, scratch=scratch)
        thumbnail(Path(f"{segment.index}.mp4"), 0.0, 320, Path(f"{segment.index}.jpg"), ffmpeg=ffmpeg, scratch=scratch)

Untrusted files are opened only in limited child processes. Errors are those of `reelmill.errors`.
POSIX only (Linux, macOS); on Windows, run it in a container or WSL.
"""

from reelmill.media.check import Checked, Expected, check_output
from reelmill.media.children import Limits
from reelmill.media.codecs import FAMILIES, PRESETS, Codec, Preset, hardware_encoder
from reelmill.media.contrast import Readable, readable, sample_frames, sample_ticks
from reelmill.media.encode import (
    ClipPlan,
    ClipSettings,
    Encoded,
    clip_arguments,
    encode_clip,
    expect,
)
from reelmill.media.ffmpeg import Finished, Progress, find_ffmpeg, input_arguments, run, version
from reelmill.media.graphs import Fit, Moving, Shape, output_size, short_side
from reelmill.media.paint import Picture, draw
from reelmill.media.probe import AudioStream, ProbeLimits, Source, VideoStream, probe
from reelmill.media.proxy import Grid, Proxy, ProxySettings, encode_proxy, grid
from reelmill.media.segments import Segment, Tail, at_frames, fixed, frame_at, manual, random_lengths, seeded
from reelmill.media.smart import Piece, Rendered, pieces, render_clip, whole_because
from reelmill.media.styles import PRESETS as TEXT_PRESETS
from reelmill.media.styles import SAFE_AREAS, SafeArea, TextStyle, safe_area
from reelmill.media.text import Layout, layout
from reelmill.media.thumbnails import contact_sheet, thumbnail

__all__ = [
    "FAMILIES",
    "PRESETS",
    "SAFE_AREAS",
    "TEXT_PRESETS",
    "AudioStream",
    "Checked",
    "ClipPlan",
    "ClipSettings",
    "Codec",
    "Encoded",
    "Expected",
    "Finished",
    "Fit",
    "Grid",
    "Layout",
    "Limits",
    "Moving",
    "Picture",
    "Piece",
    "Preset",
    "ProbeLimits",
    "Progress",
    "Proxy",
    "ProxySettings",
    "Readable",
    "Rendered",
    "SafeArea",
    "Segment",
    "Shape",
    "Source",
    "Tail",
    "TextStyle",
    "VideoStream",
    "at_frames",
    "check_output",
    "clip_arguments",
    "contact_sheet",
    "draw",
    "encode_clip",
    "encode_proxy",
    "expect",
    "find_ffmpeg",
    "fixed",
    "frame_at",
    "grid",
    "hardware_encoder",
    "input_arguments",
    "layout",
    "manual",
    "output_size",
    "pieces",
    "probe",
    "random_lengths",
    "readable",
    "render_clip",
    "run",
    "safe_area",
    "sample_frames",
    "sample_ticks",
    "seeded",
    "short_side",
    "thumbnail",
    "version",
    "whole_because",
]

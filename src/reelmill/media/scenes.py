"""Scenes of a made film: a background that may move, texts on it, and cross-fades between two scenes.

A scene's file has half a fade more at each end, whatever its neighbours are: `[fade/2, frames + fade/2)` is the scene
itself. A fade is made of the last `fade` frames of one file and the first of the next. What lies between is taken
packet by packet, so one changed scene is encoded anew with its two fades, and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
from PIL import Image, ImageOps

from reelmill.errors import OutputRejected
from reelmill.media.check import Checked, Expected, check_output
from reelmill.media.children import Limits
from reelmill.media.codecs import Preset
from reelmill.media.encode import picture_input
from reelmill.media.ffmpeg import Finished, Progress, input_arguments, local, microseconds, run
from reelmill.media.graphs import SCALING, Shape, cut_steps, shaped_steps
from reelmill.media.ladder import LadderSettings, Rung, most_kbps, x264_arguments
from reelmill.media.paint import Picture
from reelmill.media.pictures import MOST_PIXELS
from reelmill.media.probe import Source
from reelmill.media.proxy import timescale

Aspect = Literal["16:9", "9:16", "1:1"]
Motion = Literal["zoom_in", "zoom_out", "pan_left", "pan_right", "none"]
Transition = Literal["fade", "fadeblack", "fadewhite", "dissolve", "wipeleft", "slideleft", "circleopen"]

ZOOM = 1.15  #: how far a moving still is enlarged; its picture has so many pixels more
GOP_S = 2  #: seconds between key frames
COLORS = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")
TAGGED = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"


@dataclass(frozen=True)
class Film:
    """A video behind a scene."""

    location: str  #: path or http(s) URL
    source: Source
    start_s: float  #: of its first frame that is shown, from the video's first frame


@dataclass(frozen=True)
class Overlay:
    """A picture on a scene, seen on frames [first, end) of the scene's file."""

    picture: Picture
    first: int
    end: int


@dataclass(frozen=True)
class ScenePlan:
    """A scene as it is encoded."""

    frames: int  #: of the scene itself, ≥ 1
    fade: int  #: frames, even; half of them are added at each end
    rate: int  #: frames/s
    background: Path | Film  #: a PNG of `still_size`
    motion: Motion = "none"  #: of a PNG
    overlays: tuple[Overlay, ...] = ()

    @property
    def length(self) -> int:
        """Frames of the file."""
        return self.frames + self.fade


@dataclass(frozen=True)
class SceneSettings:
    """How scenes are encoded, in H.264. All of it belongs to a step's digest."""

    preset: Preset = "veryfast"
    crf: int = 21  #: constant rate factor, 0–51
    threads: int = 1


def sizes(aspect: Aspect, sides: Sequence[int]) -> list[Rung]:
    """Return the sizes of a film by their shorter sides in pixels, the largest first."""
    found = []
    for side in sorted(set(sides), reverse=True):
        long = side if aspect == "1:1" else round(side * 16 / 9 / 2) * 2
        width, height = (side, long) if aspect == "9:16" else (long, side)
        found.append(Rung(side, width, height, most_kbps(side)))
    return found


def still_size(width: int, height: int, motion: Motion) -> tuple[int, int]:
    """Return the size of the picture behind a scene of width × height pixels."""
    if motion == "none":
        return width, height
    return round(width * ZOOM / 2) * 2, round(height * ZOOM / 2) * 2


def gradient(colors: Sequence[str], angle: float, width: int, height: int, out: Path) -> Path:
    """Write a PNG that goes evenly from the first colour to the last. colors: 1–4 "#RRGGBB"; angle: degrees, 0 down."""
    if len(colors) == 1:
        Image.new("RGB", (width, height), colors[0]).save(out, "PNG")
        return out
    # A square that covers the picture in every direction, turned and cut.
    side = round((width**2 + height**2) ** 0.5) + 2
    ramp = Image.new("RGB", (1, 256 * (len(colors) - 1)))
    level = Image.linear_gradient("L").resize((1, 256))
    for n in range(len(colors) - 1):
        above, below = (Image.new("RGB", (1, 256), color) for color in colors[n : n + 2])
        ramp.paste(Image.composite(below, above, level), (0, 256 * n))
    turned = ramp.resize((side, side), Image.Resampling.BICUBIC).rotate(-angle, Image.Resampling.BICUBIC)
    left, top = (side - width) // 2, (side - height) // 2
    turned.crop((left, top, left + width, top + height)).save(out, "PNG", compress_level=1)
    return out


def covering(picture: Path, width: int, height: int, out: Path) -> Path:
    """Write a JPEG of our own as a PNG that fills width × height, the rest cut off. Raises OutputRejected."""
    try:
        with Image.open(picture, formats=["JPEG"]) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise OutputRejected(f"A picture of {opened.width} × {opened.height} pixels is too large.")
            fitted = ImageOps.fit(opened.convert("RGB"), (width, height), Image.Resampling.LANCZOS)
            fitted.save(out, "PNG", compress_level=1)
    except OSError as error:
        raise OutputRejected(f"The picture can't be read: {error}") from error
    return out


def scene_arguments(
    plan: ScenePlan, ladder: Sequence[Rung], settings: SceneSettings, outputs: Mapping[str, Path]
) -> list[str]:
    """Return ffmpeg's arguments for a scene in all sizes; pure. Numbers and names from fixed lists only."""
    top, rate = ladder[0], plan.rate
    inputs, graphs = _layers(plan, top, settings.threads)
    labels = [f"[s{rung.name}]" for rung in ladder]
    graphs.append(f"[b{len(plan.overlays)}]format=yuv420p,setsar=1,split={len(ladder)}{''.join(labels)}")
    graphs += [
        f"{label}scale=w={rung.width}:h={rung.height}:{SCALING},setsar=1[p{rung.name}]"
        for label, rung in zip(labels[1:], ladder[1:], strict=True)
    ]
    words = [*inputs, "-filter_complex", ";".join(graphs)]
    for rung, label in zip(ladder, labels, strict=True):
        words += ["-map", label if rung is top else f"[p{rung.name}]"]
        words += _coding(plan.length, rate, _key_frames(plan), rung, settings)
        words += [local(outputs[rung.name])]
    return words


def _layers(plan: ScenePlan, top: Rung, threads: int) -> tuple[list[str], list[str]]:
    """Return the inputs and graphs that lay a scene's pictures over each other; the last label is `b{overlays}`."""
    rate = plan.rate
    if isinstance(plan.background, Film):
        inputs, steps = _film(plan.background, top, plan, threads)
    else:
        inputs, steps = _still_input(plan.background, rate), _moving(plan, top)
    graph = f"[0:v]{','.join(steps)}[b0]"
    graphs = [graph if not isinstance(plan.background, Film) else
              f"[0:{plan.background.source.video_index}]{','.join(steps)}[b0]"]  # fmt: skip
    for number, one in enumerate(plan.overlays):
        inputs += _still_input(one.picture.path, rate)
        graphs.append(
            f"[{number + 1}:v]format=rgba,scale=out_color_matrix=bt709:out_range=tv:{SCALING},format=yuva420p,"
            f"settb=1/{rate},{TAGGED}[o{number}];"
            f"[b{number}][o{number}]overlay=x={one.picture.x}:y={one.picture.y}:format=yuv420:eof_action=repeat"
            f":enable='between(n,{one.first},{one.end - 1})'[b{number + 1}]"
        )
    return inputs, graphs


def _still_input(path: Path, rate: int) -> list[str]:
    return ["-f", "png_pipe", "-format_whitelist", "png_pipe", "-protocol_whitelist", "file", "-framerate", str(rate),
            "-i", local(path)]  # fmt: skip


def _moving(plan: ScenePlan, top: Rung) -> list[str]:
    """Return the filters that make a film of one picture, read and converted once."""
    steps = [
        f"scale=out_color_matrix=bt709:out_range=tv:{SCALING}", "format=yuv420p", "loop=loop=-1:size=1:start=0",
        f"settb=1/{plan.rate}", "setpts=N", f"trim=end_frame={plan.length}", TAGGED,
    ]  # fmt: skip
    if plan.motion == "none":
        return steps
    # By corners in fractions of a pixel: a crop would go in whole pixels, and tremble.
    share = f"((on-1)/{max(1, plan.length - 1)})"
    zoom, across = {
        "zoom_in": (f"(1+{ZOOM - 1:.2f}*{share})", "0.5"),
        "zoom_out": (f"({ZOOM:.2f}-{ZOOM - 1:.2f}*{share})", "0.5"),
        "pan_left": (f"{ZOOM:.2f}", f"(1-{share})"),
        "pan_right": (f"{ZOOM:.2f}", share),
    }[plan.motion]
    left, up = f"(W-W/{zoom})*{across}", f"(H-H/{zoom})/2"
    right, down = f"({left}+W/{zoom})", f"({up}+H/{zoom})"
    corners = [left, up, right, up, left, down, right, down]
    names = [f"{axis}{n}" for n in range(4) for axis in "xy"]
    told = ":".join(f"{name}='{value}'" for name, value in zip(names, corners, strict=True))
    steps.append(f"perspective={told}:interpolation=linear:sense=source:eval=frame")
    return [*steps, f"scale=w={top.width}:h={top.height}:{SCALING}"]


def _film(film: Film, top: Rung, plan: ScenePlan, threads: int) -> tuple[list[str], list[str]]:
    """Return the input and the filters of a video behind a scene; after its end, its last frame stands."""
    source, base = film.source, film.source.video.time_base
    ticks = source.frame_ticks()
    begin = ticks[0] + film.start_s / float(base)
    start = max((tick for tick in ticks if tick <= begin), default=ticks[0])
    shape = Shape(width=top.width, height=top.height, fit="cover")
    end = min(source.video.end_tick, start + int((Fraction(plan.length, plan.rate) + 1) / base))
    steps = [
        *cut_steps(source, shape, start, end), f"fps={plan.rate}:start_time=0",
        *shaped_steps(source, shape, "yuv420p"), f"scale=out_color_matrix=bt709:out_range=tv:{SCALING}",
        "tpad=stop_mode=clone:stop=-1", f"settb=1/{plan.rate}", "setpts=N", f"trim=end_frame={plan.length}", TAGGED,
    ]  # fmt: skip
    return [*picture_input(film.location, source, start, threads), "-copyts"], steps


def _key_frames(plan: ScenePlan) -> list[int]:
    """Return the frames at which pieces may begin, and one for each GOP_S between."""
    half = plan.fade // 2
    body = range(plan.fade, plan.frames, GOP_S * plan.rate)
    return sorted({0, half, plan.fade, plan.frames, plan.frames + half, *body} - {plan.length})


def _coding(length: int, rate: int, keys: Sequence[int], rung: Rung, settings: SceneSettings) -> list[str]:
    """Return the output options that are the same for scenes and fades, so that they can be joined."""
    most = rung.most_kbps
    # A thousandth before: the key frame is the first one at or after that time.
    at = ",".join(f"{max(0.0, key / rate - 0.001):.6f}" for key in keys)
    return [
        *x264_arguments(LadderSettings(settings.preset, settings.crf, settings.threads), settings.crf),
        "-g", "9999", "-force_key_frames", at, "-maxrate", f"{most}k", "-bufsize", f"{2 * most}k",
        "-pix_fmt", "yuv420p", "-r", str(rate), "-fps_mode", "cfr", "-frames:v", str(length),
        "-enc_time_base:v", f"1/{rate}", "-video_track_timescale", str(timescale(Fraction(rate))), *COLORS,
        "-flags:v", "+bitexact+cgop", "-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact",
        "-movflags", "+faststart", "-f", "mp4",
    ]  # fmt: skip


@dataclass(frozen=True)
class EncodedScene:
    """A scene or a fade in all sizes, each file checked."""

    paths: dict[str, Path]  #: by the rung's name: "720p"
    checked: dict[str, Checked]
    runs: tuple[Finished, ...]


def encode_scene(
    plan: ScenePlan,
    ladder: Sequence[Rung],
    settings: SceneSettings,
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> EncodedScene:
    """Encode a scene in all sizes by one run, and check each file. Files are written to scratch.

    Raises as `ffmpeg.run`, and OutputRejected.
    """
    outputs = {rung.name: scratch / f"scene-{rung.name}.mp4" for rung in ladder}
    finished = run(
        scene_arguments(plan, ladder, settings, outputs),
        ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop, on_progress=on_progress,
    )  # fmt: skip
    checked = {rung.name: check_output(outputs[rung.name], _expected(plan.length, plan.rate, rung)) for rung in ladder}
    return EncodedScene(outputs, checked, (finished,))


def scene_picture(
    plan: ScenePlan,
    top: Rung,
    frame: int,
    out: Path,
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
) -> Finished:
    """Write one frame of a scene's file, as the encoder gets it, as a PNG. Raises as `ffmpeg.run`, OutputRejected."""
    inputs, graphs = _layers(plan, top, 1)
    to_rgb = "scale=in_color_matrix=bt709:in_range=tv:flags=accurate_rnd+full_chroma_int+bitexact,format=rgb24"
    graphs.append(f"[b{len(plan.overlays)}]format=yuv420p,trim=start_frame={frame}:end_frame={frame + 1},{to_rgb}[out]")
    finished = run(
        [*inputs, "-filter_complex", ";".join(graphs), "-map", "[out]", "-frames:v", "1", "-c:v", "png", "-pred", "up",
         "-compression_level", "1", "-fflags", "+bitexact", "-f", "image2", "-update", "1", local(out)],
        ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop,
    )  # fmt: skip
    if not out.is_file():
        raise OutputRejected(f"The scene has no picture at frame {frame}.")
    return finished


def encode_fade(
    before: Path,
    after: Path,
    frames: int,
    fade: int,
    rate: int,
    rung: Rung,
    transition: Transition,
    settings: SceneSettings,
    out: Path,
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
) -> Finished:
    """Write the fade from one scene's file, which has `frames` frames before it, to the next one's, and check it.

    Raises as `ffmpeg.run`, and OutputRejected.
    """
    options = ["-an", "-sn", "-dn", "-threads", "1"]
    finished = run(
        [
            *input_arguments(str(before), "mov", seek_s=Fraction(frames, rate), options=options),
            *input_arguments(str(after), "mov", options=options),
            "-filter_complex",
            fade_graph(fade, rate, transition),
            "-map", "[fade]", *_coding(fade, rate, [0], rung, settings), local(out),
        ],
        ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop,
    )  # fmt: skip
    check_output(out, _expected(fade, rate, rung))
    return finished


def fade_graph(fade: int, rate: int, transition: Transition) -> str:
    """Return the filters of a fade of so many frames; pure."""
    even = f"settb=1/{rate},setpts=N,fps={rate},trim=end_frame={fade},format=yuv420p,setsar=1"
    return (
        f"[0:v]{even}[a];[1:v]{even}[b];"
        f"[a][b]xfade=transition={transition}:duration={microseconds(Fraction(fade, rate))}:offset=0,"
        f"setpts=N,trim=end_frame={fade},format=yuv420p,{TAGGED}[fade]"
    )


def _expected(frames: int, rate: int, rung: Rung) -> Expected:
    return Expected(
        width=rung.width,
        height=rung.height,
        frame_count=frames,
        duration=Fraction(frames, rate),
        ticks=range(frames),
        time_base=Fraction(1, rate),
        has_audio=False,
    )


def piece(path: Path, first: int, end: int, rate: int, out: Path) -> Path:
    """Write frames [first, end) of a scene's file, packet by packet; both are key frames. Raises OutputRejected."""
    try:
        with (
            av.open(f"file:{path.absolute()}", format="mov") as container,
            av.open(f"file:{out.absolute()}", "w", format="mp4", options={"fflags": "+bitexact"}) as written,
        ):
            video = container.streams.video[0]
            picture = written.add_stream_from_template(video, opaque=True)
            count = 0
            for packet in container.demux(video):
                if not packet.size or packet.pts is None or packet.dts is None or packet.time_base is None:
                    continue
                frame = round(packet.pts * packet.time_base * rate)
                if first <= frame < end:
                    moved = round(Fraction(first, rate) / packet.time_base)
                    packet.pts, packet.dts, packet.stream = packet.pts - moved, packet.dts - moved, picture
                    written.mux(packet)
                    count += 1
    except (av.FFmpegError, OSError) as problem:
        raise OutputRejected(f"A piece of a scene can't be taken: {problem}.") from problem
    if count != end - first:
        raise OutputRejected(f"Frames {first} to {end} of a scene have {count} pictures.")
    return out

"""The filter graphs of a clip: picture, text, sound. Numbers and names from fixed lists; no word of a user.

A graph cuts by ticks and never by seconds, so that what is kept doesn't hang on rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

from reelmill.errors import ParamsInvalid
from reelmill.media.ffmpeg import microseconds
from reelmill.media.paint import Picture
from reelmill.media.probe import AudioStream, Source

Fit = Literal["contain", "cover", "pad"]
Aspect = Literal["source", "16:9", "9:16", "1:1", "4:5"]
Motion = Literal["none", "fade", "slide", "pop"]

#: Seconds by which sound may be off its time stamps before a hole is filled or an overlap cut. One packet's stamp may
#: be wrong, of AC-3 by 32 ms, which is no hole; the default of 0.1 s lets short holes add up to an offset.
SOUND_OFF_S = 0.035
SCALING = "flags=bicubic+accurate_rnd+bitexact"
QUICK_SCALING = "flags=area+accurate_rnd+bitexact"
#: AAC's own orders of channels, ISO/IEC 14496-3, table 1.19
LAYOUTS = frozenset({"mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1(wide)", "7.1"})
#: A white text in an HDR picture is as bright as its diffuse white, 203 cd/m² (ITU-R BT.2408): as code values for
#: the 8-bit sRGB value `val`, by the curves of SMPTE ST 2084 and ITU-R BT.2100.
PQ = ("255*pow((0.8359375+18.8515625*pow(pow(val/255,2.2)*0.0203,0.1593017578))"
      "/(1+18.6875*pow(pow(val/255,2.2)*0.0203,0.1593017578)),78.84375)")  # fmt: skip
HLG = ("255*if(lte(pow(val/255,2.2)*0.265,1/12),sqrt(3*0.265*pow(val/255,2.2)),"
       "0.17883277*log(12*0.265*pow(val/255,2.2)-0.28466892)+0.55991073)")  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """The picture of the clips of one source: its size and its colours."""

    width: int = 0  #: pixels, even; 0: as the source, or as the height asks
    height: int = 0
    fit: Fit = "contain"  #: within the size, never enlarged; cover it, the rest cut off; pad it with black
    keep_hdr: bool = False  #: else PQ and HLG are mapped to SDR
    deinterlace: bool = True  #: where the source is interlaced
    quick: bool = False  #: scaled by area instead of bicubic: a tenth less work for a small picture
    aspect: Aspect = "source"  #: what of the displayed picture is cut out first, as large as it goes
    focus_x: float = 0.5  #: what of it is kept: 0 its left, 1 its right
    focus_y: float = 0.5  #: 0 its top, 1 its bottom


def output_size(source: Source, shape: Shape | None = None) -> tuple[int, int]:
    """Return (width, height) of a source's clips in pixels: as displayed, square pixels, even."""
    shape = shape or Shape()
    if not (shape.width or shape.height):
        return _natural(source, shape)
    if shape.width and shape.height and shape.fit != "contain":
        return shape.width, shape.height
    width, height = _square(source, shape)
    factors = [Fraction(shape.width, width)] * bool(shape.width) + [Fraction(shape.height, height)] * bool(shape.height)
    factor = min(factors)
    return _natural(source, shape) if factor >= 1 else _even(width * factor, height * factor)


def check_shape(shape: Shape) -> None:
    """Raises ParamsInvalid for a size that can't be encoded."""
    for name, value in (("width", shape.width), ("height", shape.height)):
        if value and (not 16 <= value <= 8192 or value % 2):
            raise ParamsInvalid(f"The {name} must be even and from 16 to 8192 pixels, not {value}.")
    if shape.fit not in ("contain", "cover", "pad"):
        raise ParamsInvalid("The fit must be contain, cover or pad.")
    if shape.fit != "contain" and not (shape.width and shape.height):
        raise ParamsInvalid(f"To {shape.fit} a size, both width and height must be given.")
    if shape.aspect not in get_args(Aspect):
        raise ParamsInvalid(f"The aspect must be one of {', '.join(get_args(Aspect))}.")
    for name, share in (("focus_x", shape.focus_x), ("focus_y", shape.focus_y)):
        if not 0 <= share <= 1:
            raise ParamsInvalid(f"{name} must be from 0 to 1, not {share:g}.")


def is_untouched(source: Source, shape: Shape) -> bool:
    """Return whether a clip's pictures are the source's, pixel by pixel as stored."""
    video = source.video
    same_size = output_size(source, shape) == (video.coded_width, video.coded_height)
    converted = tone_mapped(source, shape) or (shape.deinterlace and video.interlaced)
    return same_size and not video.rotation and video.sample_aspect == 1 and not converted


def tone_mapped(source: Source, shape: Shape) -> bool:
    """Return whether the source's HDR is mapped to SDR."""
    return source.video.hdr and not shape.keep_hdr


def takes_any_size(source: Source) -> bool:
    """Return whether pictures of another size on the way (a call over a bad line) are scaled, as the first filter.

    Else ffmpeg begins the graph anew and forgets the text, which it has read. It turns pictures before the first
    filter, and with the graph of another size would read beyond them: what is turned doesn't change its size.
    """
    return source.video.rotation == 0


def _square(source: Source, shape: Shape) -> tuple[Fraction, int]:
    """Return the displayed size with square pixels, exact; of what an aspect cuts out, even."""
    if _cut_out(source, shape) is not None:
        width, height = _natural(source, shape)
        return Fraction(width), height
    return source.video.width * source.video.sample_aspect, source.video.height


def _cut_out(source: Source, shape: Shape) -> tuple[int, int, int, int] | None:
    """Return what an aspect cuts out of the displayed picture: width, height, x, y, all even; None if nothing."""
    if shape.aspect == "source":
        return None
    across, _, under = shape.aspect.partition(":")
    wanted = Fraction(int(across), int(under))
    full_w, full_h = _whole(source)
    # The nearest even size: 606 of 1080 lines for 9:16.
    width, height = min(full_w, _even(full_h * wanted, full_h)[0]), min(full_h, _even(full_w, full_w / wanted)[1])
    if (width, height) == (full_w, full_h):
        return None
    x, y = (int((full_w - width) * shape.focus_x) & ~1, int((full_h - height) * shape.focus_y) & ~1)
    return width, height, x, y


def _natural(source: Source, shape: Shape) -> tuple[int, int]:
    cut = _cut_out(source, shape)
    return (cut[0], cut[1]) if cut else _whole(source)


def _whole(source: Source) -> tuple[int, int]:
    width, height = source.video.width, source.video.height
    if source.video.sample_aspect == 1:
        return max(2, width & ~1), max(2, height & ~1)
    return max(2, round(source.video.width * source.video.sample_aspect / 2) * 2), max(2, height & ~1)


def _even(width: Fraction | int, height: Fraction | int) -> tuple[int, int]:
    return max(2, round(width / 2) * 2), max(2, round(height / 2) * 2)


def picture_graph(source: Source, shape: Shape, start: int, end: int, pixels: str, label: str) -> str:
    """Return the filters of the picture: cut by ticks, begin at 0, square pixels, even size. pixels: the format."""
    steps = cut_steps(source, shape, start, end) + shaped_steps(source, shape, pixels)
    return f"[0:{source.video_index}]{','.join(steps)}[{label}]"


def cut_steps(source: Source, shape: Shape, start: int, end: int) -> list[str]:
    """Return the filters that give the source's own pictures of ticks [start, end), progressive, from 0 on."""
    base = source.video.time_base
    steps = []
    if takes_any_size(source):
        steps.append(f"scale=w={source.video.coded_width}:h={source.video.coded_height}:{SCALING}")
    if shape.deinterlace and source.video.interlaced:
        # One frame for each frame, before the cut: the fields around are needed. It halves the ticks.
        steps += ["bwdif=mode=send_frame:parity=auto:deint=all", f"settb={base.numerator}/{base.denominator}"]
    steps += [f"trim=start_pts={start}:end_pts={end}", f"setpts=PTS-({start})"]
    # Two frames with one time stamp would be an error in MP4; the index counts them as one.
    return [*steps, r"select=isnan(prev_selected_pts)+gt(pts\,prev_selected_pts)"]


def shaped_steps(source: Source, shape: Shape, pixels: str) -> list[str]:
    """Return the filters that bring the source's pictures to their size and colours."""
    steps = _resized(source, shape)
    if tone_mapped(source, shape):
        steps += _to_sdr(source)
    elif is_rgb(source):
        steps.append(f"scale=out_color_matrix={matrix(source, shape)}:out_range=tv:{SCALING}")
    return [*steps, f"format={pixels}", "setsar=1", tagged(source, shape)]


def short_side(source: Source, pixels: int, **more: Any) -> Shape:
    """Return the shape whose shorter side has these pixels: 480 is 854×480, upright 480×854. Never enlarged."""
    upright = source.video.width * source.video.sample_aspect < source.video.height
    return Shape(width=pixels, **more) if upright else Shape(height=pixels, **more)


def _resized(source: Source, shape: Shape) -> list[str]:
    """Return the filters that bring the displayed picture to its size."""
    video, scaling = source.video, QUICK_SCALING if shape.quick else SCALING
    width, height = output_size(source, shape)
    if cut := _cut_out(source, shape):
        whole = _whole(source)
        squared = [f"scale=w={whole[0]}:h={whole[1]}:{scaling}"] if video.sample_aspect != 1 else []
        first = [*squared, "crop=" + ":".join(map(str, cut)) + ":exact=1"]
        return first if (width, height) == cut[:2] else [*first, *_brought(source, shape, scaling)]
    natural = _natural(source, shape)
    if (width, height) == natural:
        if video.sample_aspect != 1:
            return [f"scale=w={width}:h={height}:{scaling}"]
        return [f"crop={width}:{height}:0:0:exact=1"] if natural != (video.width, video.height) else []
    return _brought(source, shape, scaling)


def _brought(source: Source, shape: Shape, scaling: str) -> list[str]:
    """Return the filters to another size."""
    width, height = output_size(source, shape)
    if shape.fit == "contain":
        return [f"scale=w={width}:h={height}:{scaling}"]
    full_w, full_h = _square(source, shape)
    sides = Fraction(width, full_w), Fraction(height, full_h)
    if shape.fit == "cover":
        inner = _even(full_w * max(sides), full_h * max(sides))
        inner = max(inner[0], width), max(inner[1], height)
        x, y = (inner[0] - width) // 4 * 2, (inner[1] - height) // 4 * 2
        return [f"scale=w={inner[0]}:h={inner[1]}:{scaling}", f"crop={width}:{height}:{x}:{y}:exact=1"]
    inner = _even(full_w * min(sides), full_h * min(sides))
    inner = min(inner[0], width), min(inner[1], height)
    x, y = (width - inner[0]) // 4 * 2, (height - inner[1]) // 4 * 2
    return [f"scale=w={inner[0]}:h={inner[1]}:{scaling}", f"pad={width}:{height}:{x}:{y}:black"]


def _to_sdr(source: Source) -> list[str]:
    """Return the filters from PQ or HLG to BT.709: linear light with diffuse white, 203 cd/m², at 1.0, then a Möbius
    curve, which leaves what is darker nearly as it is and bends highlights in. Hable's makes all of it darker.
    """
    video = source.video
    primaries = video.color_primaries or "bt2020"
    told = f"tin={video.color_transfer}:min={video.color_space or 'bt2020nc'}:pin={primaries}:rin={_range(source)}"
    told = told.replace("bt2020nc", "2020_ncl").replace("bt2020c", "2020_cl").replace("pin=bt2020", "pin=2020")
    told = told.replace("rin=tv", "rin=limited").replace("rin=pc", "rin=full")
    return [
        f"zscale={told}:t=linear:npl=203",
        "format=gbrpf32le",
        "zscale=p=709",
        "tonemap=tonemap=mobius:param=0.3:desat=0",
        "zscale=t=709:m=709:r=limited",
        "sidedata=mode=delete",  # of the light of the HDR master, which no player should apply any more
    ]


@dataclass(frozen=True)
class Moving:
    """How a text comes and goes."""

    motion: Motion = "none"
    seconds: float = 0.4  #: of coming, and of going; 0.1–2
    leaves: bool = False  #: it goes before the clip ends


def check_moving(moving: Moving) -> None:
    """Raises ParamsInvalid."""
    if moving.motion not in get_args(Motion):
        raise ParamsInvalid(f"The motion must be one of {', '.join(get_args(Motion))}.")
    if not 0.1 <= moving.seconds <= 2:
        raise ParamsInvalid(f"A text comes within 0.1 to 2 seconds, not {moving.seconds:g}.")


def overlay_graph(
    picture: Picture,
    source: Source,
    shape: Shape,
    number: int,
    shown: tuple[int, int] | None,
    *,
    ten_bits: bool,
    moving: Moving | None = None,
    length: int = 0,
) -> str:
    """Return the filters that put the picture of input `number` on top; it is converted once.

    shown: first and last tick from the clip's beginning at which it is seen; None all along. length: the clip's, ticks.
    """
    base = source.video.time_base
    deep = "p10" if ten_bits else ""
    steps = ["format=rgba"]
    if ten_bits:
        curve = PQ if source.video.color_transfer == "smpte2084" else HLG
        steps.append(f"lutrgb=r='{curve}':g='{curve}':b='{curve}'")
    range_ = "tv" if tone_mapped(source, shape) else _range(source)
    steps += [
        f"scale=out_color_matrix={matrix(source, shape)}:out_range={range_}:{SCALING}",
        f"format=yuva420{deep or 'p'}{'le' if deep else ''}",
        f"settb={base.numerator}/{base.denominator}",
        tagged(source, shape),  # as the film below: else one of them would be converted, and the result told otherwise
    ]
    when = ""
    if shown is not None:
        first, last = ((2 * tick + off) for tick, off in zip(shown, (-1, 1), strict=True))
        half = f"{base.numerator}/{2 * base.denominator}"
        when = f":enable='between(t,{first}*{half},{last}*{half})'"
    x, y = str(picture.x), str(picture.y)
    if moving is not None and moving.motion != "none":
        begin, end = shown or (0, length)
        more, x, y = _moved(moving, picture, source, shape, begin * base, end * base)
        steps += more
    return (
        f"[{number}:0]{','.join(steps)}[text];"
        f"[plain][text]overlay=x={x}:y={y}:format=yuv420{deep}:eof_action=repeat{when}"
    )


MOVING_RATE = 60  #: pictures a second of a text that fades: more than a film has
SLIDE = Fraction(1, 3)  #: of the text's height, by which it slides
POP = 0.82  #: what it grows from


def _moved(
    moving: Moving, picture: Picture, source: Source, shape: Shape, begin: Fraction, end: Fraction
) -> tuple[list[str], str, str]:
    """Return further filters of the text, and its place as expressions: all numbers.

    The picture is repeated by ffmpeg; `fade` and `scale` change it in C, and only while it moves.
    begin, end: seconds from the clip's beginning.
    """
    length = max(end - begin, Fraction(1, MOVING_RATE))
    takes = min(Fraction(moving.seconds).limit_denominator(1000), length / (3 if moving.leaves else 2))
    still = 0 if moving.leaves else takes + Fraction(1, 2)
    frames = int((length if moving.leaves else min(still, length)) * MOVING_RATE) + 2
    steps = [
        f"loop=loop={frames}:size=1:start=0",
        f"settb=1/{MOVING_RATE}",
        f"setpts=N+{float(begin * MOVING_RATE):.3f}",
        f"fade=t=in:st={float(begin):.6f}:d={float(takes):.6f}:alpha=1",
    ]
    away = float(end - takes)
    if moving.leaves:
        steps.append(f"fade=t=out:st={away:.6f}:d={float(takes):.6f}:alpha=1")
    # 1 at rest, 0 where it comes from; slower towards its rest (1 − (1 − n)³).
    share = f"clip((t-{float(begin):.6f})/{float(takes):.6f},0,1)"
    if moving.leaves:
        share = f"min({share},clip(({float(end):.6f}-t)/{float(takes):.6f},0,1))"
    rest = f"pow(1-{share},3)"
    if moving.motion == "slide":
        way = max(2, int(picture.height * SLIDE))
        # From below where it stands low, from above where it stands high.
        sign = "+" if picture.y + picture.height / 2 >= output_size(source, shape)[1] / 2 else "-"
        return steps, str(picture.x), f"'{picture.y}{sign}{way}*{rest}'"
    if moving.motion == "pop":
        grown = f"(1-{1 - POP:.2f}*{rest})"
        steps.append(
            f"scale=w='2*round({picture.width}*{grown}/2)':h='2*round({picture.height}*{grown}/2)':eval=frame:{SCALING}"
        )
        x, y = (
            f"'{at}+({side}-2*round({side}*{grown}/2))/2'"
            for at, side in ((picture.x, picture.width), (picture.y, picture.height))
        )
        return steps, x, y
    return steps, str(picture.x), str(picture.y)


def sound_graph(track: AudioStream, number: int | None, begin: Fraction, length: Fraction, layout: str) -> str:
    """Return the filters of the sound: exactly as long as the picture, silence where the source has none.

    number: the input to read, None if nothing is to be heard. begin, length: seconds on the file's clock.
    """
    rate = sample_rate(track)
    samples = max(1, round(length * rate))
    if number is None:
        return f"anullsrc=r={rate}:cl={layout},atrim=end_sample={samples}[sound]"
    from_s, to_s = (microseconds(time) for time in (begin, begin + length))
    return (
        f"[{number}:{track.index}]atrim=start={from_s}:end={to_s},asetpts=PTS-({from_s})/TB,"
        f"aresample={rate}:async=1:min_hard_comp={SOUND_OFF_S}:first_pts=0,aformat=sample_fmts=fltp:channel_layouts={layout},"
        f"apad=whole_len={samples},atrim=end_sample={samples}[sound]"
    )


def sample_rate(track: AudioStream) -> int:
    """Return the clips' sample rate in Hz."""
    return track.sample_rate if track.sample_rate in (44100, 48000) else 48000


def channel_layout(track: AudioStream, *, keep: bool) -> str:
    """Return the clips' channels: mono stays mono, more than two become stereo unless they are to be kept."""
    if track.channels == 1:
        return "mono"
    plain = track.layout.replace("(side)", "").replace("(back)", "")
    return plain if keep and plain in LAYOUTS else "stereo"


def is_rgb(source: Source) -> bool:
    """Return whether the source's pictures are stored as red, green and blue."""
    return source.video.pixel_format.startswith(("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8"))


def matrix(source: Source, shape: Shape) -> str:
    """Return the matrix of the clip's colours, as players assume it where the source doesn't tell."""
    if tone_mapped(source, shape):
        return "bt709"
    told = {"bt709": "bt709", "bt470bg": "bt601", "smpte170m": "bt601", "bt2020nc": "bt2020", "smpte240m": "smpte240m"}
    return told.get(source.video.color_space, "bt709" if source.video.height >= 720 else "bt601")


def _range(source: Source) -> str:
    return "pc" if source.video.color_range == "pc" and not is_rgb(source) else "tv"


def colors(source: Source, shape: Shape) -> list[str]:
    """Return the colour tags, as the source has them: players read them, not the pixels."""
    names = ("-colorspace", "-color_primaries", "-color_trc", "-color_range")
    return [
        word for option, value in zip(names, _tags(source, shape), strict=True) if value for word in (option, value)
    ]


def tagged(source: Source, shape: Shape) -> str:
    """Return the filter that gives pictures their colour tags, and nothing else."""
    space, primaries, transfer, range_ = (value or "unknown" for value in _tags(source, shape))
    transfer = {"gamma22": "bt470m", "gamma28": "bt470bg"}.get(transfer, transfer)  # this filter's own names
    return f"setparams=colorspace={space}:color_primaries={primaries}:color_trc={transfer}:range={range_}"


def _tags(source: Source, shape: Shape) -> tuple[str, str, str, str]:
    """Return matrix, primaries, transfer and range of the clip; "" where the source doesn't tell."""
    video = source.video
    if tone_mapped(source, shape):
        return "bt709", "bt709", "bt709", "tv"
    if is_rgb(source):
        return {"bt601": "smpte170m"}.get(matrix(source, shape), "bt709"), "", "", "tv"
    return video.color_space, video.color_primaries, video.color_transfer, _range(source)

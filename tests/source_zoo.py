"""Sources of every kind, made by ffmpeg from one film whose frames bear their number and whose sound tells the time.

The film: frame n shows the number n as black and white fields in its upper quarter (`numbers_of` reads it back); the
sound is a tone that rises with time (`tone`), so a piece of it fits at one place only.
"""

from __future__ import annotations

import threading
import wave
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from field_pictures import write_field_pictures
from media_sources import ffmpeg

Picture = np.ndarray[Any, Any]
Track = tuple[str, int, int, str | None]  #: codec, Hz, channels, language

RATE_HZ = 48000
LOUDNESS = 0.3  #: of the tone, full scale is 1
DARK, BRIGHT = 40, 215  #: grey levels of the fields
FIELDS = 7  #: in a row; the first two of the upper row are always dark and bright
SIZE = (160, 90)
INTERLACED = (160, 96)  #: lines come in groups of four
NTSC = Fraction(30000, 1001)


def picture(number: int, width: int, height: int) -> Picture:
    """Return frame `number` (0–4095) as RGB, height × width × 3."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    waves = (
        110 + 60 * np.sin(2 * np.pi * (x + number / 50)),
        120 + 50 * np.sin(2 * np.pi * (y + number / 70)),
        100 + 60 * np.sin(np.pi * (x + y - number / 40)),
    )
    shown = np.stack(waves, axis=-1)
    way = width - width // 6
    left = abs(number * 2 % (2 * way) - way)  # to and fro: a jump would lie between two fields
    shown[height // 2 : height * 3 // 4, left : left + width // 6] = (200, 60, 80)
    code = number ^ number >> 1  # Gray's: from a number to the next one bit changes, none at the rate of fields
    bits = [0, 1, *(code >> bit & 1 for bit in range(12))]
    for place, bit in enumerate(bits):
        row, column = divmod(place, FIELDS)
        top, bottom = (round(height * (row + n) / 8) for n in (0, 1))
        begin, end = (round(width * (column + n) / FIELDS) for n in (0, 1))
        shown[top:bottom, begin:end] = BRIGHT if bit else DARK
    return shown.round().astype(np.uint8)


def numbers_of(luma: Picture) -> list[int]:
    """Return the numbers that pictures bear (count × height × width, any scale and range)."""
    height, width = luma.shape[1:]
    across = max(1, width // FIELDS // 5)
    seen = []
    for place in range(2 * FIELDS):
        row, column = divmod(place, FIELDS)
        y, x = int(height * (row + 0.5) / 8), int(width * (column + 0.5) / FIELDS)
        seen.append(luma[:, y, x - across : x + across + 1].mean(axis=1))
    dark, bright = seen[:2]
    assert (bright - dark).min() > 30, "there is no number in the picture"
    code = sum((level > (dark + bright) / 2).astype(int) << bit for bit, level in enumerate(seen[2:]))
    for shift in (1, 2, 4, 8):
        code ^= code >> shift
    return [int(number) for number in code]


def tone(at_s: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the sound at these seconds of the film: 200 Hz at first, 400 Hz more each second."""
    return LOUDNESS * np.sin(2 * np.pi * (200 * at_s + 200 * at_s**2))


@dataclass(frozen=True)
class Kind:
    """One source: how it is made, and what must be found in it. Only what differs from the plainest film is told."""

    make: Callable[[Zoo, Path], None]
    codec: str = "h264"
    size: tuple[int, int] = SIZE  #: as displayed, before pixels are made square
    rate: Fraction = Fraction(25)  #: frames/s that probing finds
    frames: int = 75
    first: int = 0  #: number on the first frame
    film_rate: Fraction | None = None  #: numbers/s if that isn't the rate
    tracks: tuple[Track, ...] = (("aac", RATE_HZ, 2, None),)
    late_s: float = 0.0  #: seconds by which the sound is later than in the film
    heard_s: tuple[float, float] = (0.0, 1e9)  #: between these seconds of the film; silence elsewhere
    hole_s: tuple[float, float] | None = None  #: where the sound has a hole, seconds of the film
    facts: Mapping[str, Any] = field(default_factory=dict)  #: further fields of VideoStream and Source
    clip_size: tuple[int, int] | None = None  #: if it isn't `size`
    likeness: float = 0.8  #: of a piece of the sound, at least; less where there are holes in it
    quality_db: float = 40.0  #: of a clip's first frame, at least
    every_s: Fraction = Fraction(17, 10)  #: fixed cuts
    first_field: int | None = None  #: row of the field that is earlier, for interlaced pictures

    @property
    def numbers_a_second(self) -> Fraction:
        return self.film_rate or self.rate


class Zoo:
    """Makes each source once, when it is first asked for; threads may ask at once."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def __call__(self, name: str) -> Path:
        return self._once(name, lambda path: ZOO[name].make(self, path))

    def _once(self, name: str, make: Callable[[Path], None]) -> Path:
        path = self.folder / name
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            if not path.exists():
                part = path.with_name(f"{path.stem}.part{path.suffix}")
                make(part)
                part.rename(path)
        return path

    def frames(self, width: int, height: int, count: int) -> Path:
        """Return raw RGB frames 0 … count − 1."""

        def make(path: Path) -> None:
            with path.open("wb") as file:
                for number in range(count):
                    file.write(picture(number, width, height).tobytes())

        return self._once(f"{width}x{height}x{count}.rgb", make)

    def sound(self) -> Path:
        """Return 13 seconds of the tone, one channel."""

        def make(path: Path) -> None:
            heard = tone(np.arange(13 * RATE_HZ) / RATE_HZ)
            with wave.open(str(path), "wb") as file:
                file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
                file.writeframes((heard * 32767).round().astype("<i2").tobytes())

        return self._once("tone.wav", make)

    def film(
        self,
        path: Path,
        *video: str,
        rate: Fraction | int | str = 25,
        frames: int = 75,
        size: tuple[int, int] = SIZE,
        sound: tuple[str, ...] = ("-c:a", "aac", "-b:a", "128k"),
        sound_from: float = 0.0,
        sound_s: float | None = None,
        sound_filter: str = "pan=stereo|c0=c0|c1=0.5*c0",
    ) -> None:
        """Write the film with these encoder words. rate: numbers/s; sound (): none, else its encoder words.

        sound_from: seconds by which the sound is later; sound_s: its length, None for the picture's.
        """
        raw = self.frames(*size, max(frames, 480 if size == SIZE else 150))
        words = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{size[0]}x{size[1]}"]
        words += ["-framerate", str(rate), "-i", str(raw)]
        if sound:
            length = float(frames / Fraction(rate)) if sound_s is None else sound_s
            words += ["-itsoffset", str(sound_from), "-t", f"{length:.6f}", "-i", str(self.sound())]
            words += ["-map", "0:v", "-map", "1:a", "-af", sound_filter, *sound]
        ffmpeg(*words, "-threads", "1", "-frames:v", str(frames), *video, str(path))

    def copied(self, path: Path, source: str, *options: str, before: tuple[str, ...] = ()) -> None:
        """Write the streams of another source anew, as they are."""
        ffmpeg(*before, "-i", str(self(source)), "-map", "0", "-c", "copy", *options, str(path))


def x264(*more: str, pixels: str = "yuv420p", gop: int = 12, params: str = "") -> tuple[str, ...]:
    """Return the encoder words of H.264 that is clean enough to measure our loss and not its own."""
    joined = ":".join(part for part in (f"keyint={gop}", params) if part)
    return ("-c:v", "libx264", "-preset", "veryfast", "-crf", "10", "-pix_fmt", pixels, "-x264-params", joined, *more)


def x265(pixels: str = "yuv420p", params: str = "") -> tuple[str, ...]:
    joined = ":".join(part for part in ("keyint=12:log-level=none:pools=1:frame-threads=1", params) if part)
    return ("-c:v", "libx265", "-preset", "ultrafast", "-crf", "10", "-pix_fmt", pixels, "-x265-params", joined,
            "-tag:v", "hvc1")  # fmt: skip


def plain(*video: str, **how: Any) -> Callable[[Zoo, Path], None]:
    """Return the maker of a film with these encoder words."""
    return lambda zoo, path: zoo.film(path, *(video or x264()), **how)


def copy(source: str, *options: str, before: tuple[str, ...] = ()) -> Callable[[Zoo, Path], None]:
    """Return the maker of another file of a source's streams."""
    return lambda zoo, path: zoo.copied(path, source, *options, before=before)


def at_rate(rate: Fraction, frames: int) -> Kind:
    return Kind(plain(rate=rate, frames=frames), rate=rate, frames=frames)


def hdr(named: str, *, degrees: int = 0) -> Kind:
    """A film for HDR screens whose white is at 203 cd/m² (ITU-R BT.2408), 10 bits; perhaps a telephone's, turned."""
    change = f"zscale=min=gbr:rin=pc:pin=bt709:tin=bt709:npl=203:m=2020_ncl:r=tv:p=2020:t={named},format=yuv420p10le"
    params = f"colorprim=bt2020:transfer={named}:colormatrix=bt2020nc:range=limited"
    if named == "smpte2084":
        params += ":hdr10=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
        params += ":max-cll=1000,400"
    light = {"hdr": True, "color_transfer": named, "color_primaries": "bt2020", "color_space": "bt2020nc",
             "pixel_format": "yuv420p10le"}  # fmt: skip
    video = x265("yuv420p10le", params)
    if degrees:
        return turned(degrees, video=video, before=change, codec="hevc", quality_db=0, facts=light)
    return Kind(plain("-vf", change, *video), codec="hevc", quality_db=0, facts=light)


def interlaced(mode: str, *video: str, **more: Any) -> Kind:
    """75 frames of 150 numbers: each has two fields of different moments, the first with the even number."""

    def make(zoo: Zoo, path: Path) -> None:
        zoo.film(
            path, "-vf", f"scale=out_color_matrix=bt601,format=yuv420p,tinterlace={mode}", "-flags", "+ildct+ilme",
            *video, rate=50, frames=75,
            size=INTERLACED, sound_s=3, sound=("-c:a", "mp2") if path.suffix == ".mpg" else ("-c:a", "aac"),
        )  # fmt: skip

    field = 0 if mode == "interleave_top" else 1
    return Kind(make, size=INTERLACED, film_rate=Fraction(50), first_field=field, facts={"interlaced": True}, **more)


def turned(
    degrees: int, stored_aspect: Fraction = Fraction(1), *, video: Sequence[str] = (), before: str = "null", **more: Any
) -> Kind:
    """A telephone's film: stored turned, with the note to turn it clockwise by these degrees. Upright when shown."""
    sideways = degrees % 180 == 90
    size = (SIZE[1], SIZE[0]) if sideways else SIZE
    filters = {90: "transpose=cclock", 180: "hflip,vflip", 270: "transpose=clock"}[degrees]

    def make(zoo: Zoo, path: Path) -> None:
        stored = path.with_suffix(f".stored{path.suffix}")
        zoo.film(stored, "-vf", f"{filters},{before},setsar={stored_aspect}", *(video or x264()), size=size)
        ffmpeg("-display_rotation", str(-degrees), "-i", str(stored), "-c", "copy", str(path))
        stored.unlink()

    facts = {"rotation": degrees, **more.pop("facts", {})}
    if stored_aspect != 1:
        aspect = 1 / stored_aspect if sideways else stored_aspect
        facts["sample_aspect"] = aspect
        more |= {"clip_size": (round(size[0] * aspect / 2) * 2, size[1]), "quality_db": 28}
    return Kind(make, size=size, facts=facts, **more)


def field_pictures(*, together: bool) -> Callable[[Zoo, Path], None]:
    """Interlaced as broadcasts are: each field is a picture by itself."""

    def make(zoo: Zoo, path: Path) -> None:
        height = INTERLACED[1]
        frames = []
        for number in range(0, 150, 2):
            early, late = (
                av.VideoFrame.from_ndarray(picture(n, *INTERLACED), format="rgb24").to_ndarray(
                    format="yuv420p", threads=1
                )
                for n in (number, number + 1)
            )
            early[1:height:2] = late[1:height:2]
            chroma, later = (plane[height:].reshape(2, height // 2, -1) for plane in (early, late))
            chroma[:, 1::2] = later[:, 1::2]
            frames.append(early)
        write_field_pictures(path, frames, together=together)

    return make


def joined_late(source: str, packets: int) -> Callable[[Zoo, Path], None]:
    """A transport stream that begins in the middle of a group of pictures, as a recording does."""
    return lambda zoo, path: (path.write_bytes(zoo(source).read_bytes()[188 * packets :]), None)[1]


def no_sound(**more: Any) -> dict[str, Any]:
    return {"tracks": (), **more}


SILENT: dict[str, Any] = {"sound": ()}
QUICK_VP9 = (
    "-c:v",
    "libvpx-vp9",
    "-pix_fmt",
    "yuv420p",
    "-deadline",
    "realtime",
    "-cpu-used",
    "8",
    "-b:v",
    "2M",
    "-g",
    "25",
)
QUICK_AV1 = ("-c:v", "libsvtav1", "-preset", "12", "-crf", "20", "-svtav1-params", "keyint=12:lp=1")
OPUS, PCM = ("-c:a", "libopus", "-b:a", "128k"), ("-c:a", "pcm_s16le")
MP2, MP3 = ("-c:a", "mp2", "-b:a", "192k"), ("-c:a", "libmp3lame")
#: A program stream tells one time a packet of 2 KB: of two smaller pictures in one, the second would have none.
FULL = ("-vf", "noise=alls=10:allf=t")
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "2", "-bf", "2", "-g", "12")
STEREO_OPUS: Track = ("opus", RATE_HZ, 2, None)
STEREO_MP2: Track = ("mp2", RATE_HZ, 2, None)
STEREO_MP3: Track = ("mp3", RATE_HZ, 2, None)
STEREO_PCM: Track = ("pcm_s16le", RATE_HZ, 2, None)
UNEVEN = ("-vf", "select='not(eq(mod(n,7),3))*not(between(n,30,44))'", "-fps_mode", "vfr")  #: 51 of 75 frames
SURROUND = "pan={}|FL=0.5*c0|FR=0.5*c0|FC=c0|LFE=0*c0"
BOTH = ("-map", "0:v", "-map", "1:a")

VARYING: dict[str, Any] = {"frames": 51, "film_rate": Fraction(25), "facts": {"is_vfr": True}}
IN_FIELDS: dict[str, Any] = {
    "size": INTERLACED, "film_rate": Fraction(50), "first_field": 0, "tracks": (), "facts": {"interlaced": True},
}  # fmt: skip

#: Where seeking isn't exact, reading begins seconds before a clip: shorter films would only be read from the beginning.
EIGHT_S: dict[str, Any] = {"frames": 200, "every_s": Fraction(37, 10)}
NTSC_8S: dict[str, Any] = {"frames": 240, "every_s": Fraction(37, 10), "rate": NTSC}

ZOO: dict[str, Kind] = {
    # frame rates
    "fps-23976.mp4": at_rate(Fraction(24000, 1001), 72),
    "fps-24.mp4": at_rate(Fraction(24), 72),
    "fps-25.mp4": at_rate(Fraction(25), 75),
    "fps-2997.mp4": at_rate(NTSC, 90),
    "fps-30.mp4": at_rate(Fraction(30), 90),
    "fps-50.mp4": at_rate(Fraction(50), 150),
    "fps-5994.mp4": at_rate(Fraction(60000, 1001), 180),
    "fps-60.mp4": at_rate(Fraction(60), 180),
    "fps-120.mp4": at_rate(Fraction(120), 240),
    "fps-1.mp4": Kind(plain(rate=1, frames=4), rate=Fraction(1), frames=4),
    "vfr.mp4": Kind(plain(*UNEVEN, *x264(), frames=51, sound_s=3), **VARYING),
    "vfr.mkv": Kind(plain(*UNEVEN, *x264(), frames=51, sound_s=3), **VARYING),
    # shapes
    "rotated-90.mp4": turned(90),
    "rotated-180.mp4": turned(180),
    "rotated-270.mp4": turned(270),
    "portrait.mp4": Kind(plain(size=(90, 160)), size=(90, 160)),
    "odd.mp4": Kind(plain(*x264(pixels="yuv444p"), size=(161, 91)), size=(161, 91), clip_size=(160, 90)),
    "odd.webm": Kind(plain(*QUICK_VP9, size=(161, 91), sound=OPUS), codec="vp9", size=(161, 91), clip_size=(160, 90),
                     tracks=(STEREO_OPUS,)),
    "anamorphic-4-3.mp4": Kind(plain("-vf", "setsar=4/3", *x264()), clip_size=(214, 90), quality_db=28,
                               facts={"sample_aspect": Fraction(4, 3)}),
    "anamorphic-16-11.mp4": Kind(plain("-vf", "setsar=16/11", *x264()), clip_size=(232, 90), quality_db=28,
                                 facts={"sample_aspect": Fraction(16, 11)}),
    "anamorphic-rotated.mp4": turned(90, Fraction(4, 3)),
    # pixels and light
    "h264-10bit.mp4": Kind(plain(*x264(pixels="yuv420p10le")), facts={"pixel_format": "yuv420p10le"}),
    "hevc-10bit.mp4": Kind(plain(*x265("yuv420p10le")), codec="hevc", facts={"pixel_format": "yuv420p10le"}),
    "hdr10.mp4": hdr("smpte2084"),
    "hlg.mp4": hdr("arib-std-b67"),
    "hlg-rotated.mov": hdr("arib-std-b67", degrees=90),
    "yuv422.mp4": Kind(plain(*x264(pixels="yuv422p")), facts={"pixel_format": "yuv422p"}),
    "yuv444.mp4": Kind(plain(*x264(pixels="yuv444p")), facts={"pixel_format": "yuv444p"}),
    "rgb.mp4": Kind(plain("-c:v", "libx264rgb", "-crf", "8", "-g", "12"), quality_db=38,
                    facts={"pixel_format": "gbrp"}),
    "full-range.mp4": Kind(
        plain("-vf", "scale=out_range=pc", "-color_range", "pc", *x264(pixels="yuv420p")),
        facts={"color_range": "pc"}),
    "gray.mp4": Kind(plain(*x264(pixels="gray")), facts={"pixel_format": "yuvj420p", "color_range": "pc"}),
    "alpha.mov": Kind(plain("-c:v", "qtrle", "-pix_fmt", "argb", sound=PCM), codec="qtrle", quality_db=38,
                      tracks=(STEREO_PCM,)),
    # lines
    "interlaced-tff.mp4": interlaced("interleave_top", *x264(params="tff=1")),
    "interlaced-tff.ts": interlaced("interleave_top", *x264(params="tff=1")),
    "interlaced-bff.mpg": interlaced("interleave_bottom", "-c:v", "mpeg2video", "-q:v", "2",
                                     codec="mpeg2video", tracks=(STEREO_MP2,)),
    "paff.ts": Kind(field_pictures(together=True), **IN_FIELDS),
    "paff-split.ts": Kind(field_pictures(together=False), **IN_FIELDS),
    "paff.mkv": Kind(copy("paff.ts"), **IN_FIELDS),
    "paff-split.mkv": Kind(copy("paff-split.ts"), **IN_FIELDS),
    "paff.mp4": Kind(copy("paff.ts"), **IN_FIELDS),
    # groups of pictures
    "gop-10s.mp4": Kind(plain(*x264(gop=250, params="scenecut=0"), frames=300), frames=300, every_s=Fraction(37, 10)),
    "open-gop.mp4": Kind(plain(*x264(params="open-gop=1:bframes=3:b-pyramid=none"))),
    "open-gop.ts": Kind(plain(*x264(params="open-gop=1:bframes=3"), frames=200), **EIGHT_S),
    "open-gop-hevc.mp4": Kind(plain(*x265(params="open-gop=1:bframes=4")), codec="hevc"),
    "open-gop-hevc.mkv": Kind(plain(*x265(params="open-gop=1:bframes=4")), codec="hevc"),
    # sound
    "no-audio.mp4": Kind(plain(**SILENT), tracks=()),
    "mono.mp4": Kind(plain(sound_filter="anull"), tracks=(("aac", RATE_HZ, 1, None),)),
    "surround-51.mp4": Kind(plain(sound_filter=SURROUND.format("5.1") + "|BL=0*c0|BR=0*c0"),
                            tracks=(("aac", RATE_HZ, 6, None),)),
    "surround-71.mkv": Kind(
        plain(sound=("-c:a", "flac"), sound_filter=SURROUND.format("7.1") + "|BL=0*c0|BR=0*c0|SL=0*c0|SR=0*c0"),
        tracks=(("flac", RATE_HZ, 8, None),)),
    "44100.mp4": Kind(plain(sound=("-c:a", "aac", "-ar", "44100")), tracks=(("aac", 44100, 2, None),)),
    "96000.mov": Kind(plain(sound=("-c:a", "pcm_s24le", "-ar", "96000")), tracks=(("pcm_s24le", 96000, 2, None),)),
    "two-tracks.mp4": Kind(
        lambda zoo, path: ffmpeg("-i", str(zoo("fps-25.mp4")), "-i", str(zoo("mono.mp4")), "-map", "0", "-map", "1:a",
                                 "-c", "copy", "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu",
                                 str(path)),
        tracks=(("aac", RATE_HZ, 2, "eng"), ("aac", RATE_HZ, 1, "deu"))),
    "sound-short.mp4": Kind(plain(sound_s=1.7), heard_s=(0, 1.7)),
    "sound-long.mp4": Kind(plain(sound_s=4.5), heard_s=(0, 4.5)),
    "sound-late.mp4": Kind(plain(sound_from=1.1, sound_s=1.9), late_s=1.1, heard_s=(1.1, 3)),
    "sound-late.mkv": Kind(plain(sound_from=1.1, sound_s=1.9), late_s=1.1, heard_s=(1.1, 3)),
    "sound-late.ts": Kind(plain(sound_from=1.1, sound_s=1.9), late_s=1.1, heard_s=(1.1, 3)),
    "sound-early.mkv": Kind(plain(sound_from=-0.7, sound_s=3.7), late_s=-0.7),
    # containers
    "edit-in-gop.mp4": Kind(copy("fps-25.mp4", before=("-ss", "0.5")), frames=62, first=13),
    "no-edit-list.mp4": Kind(copy("fps-25.mp4", "-use_editlist", "0")),
    "fragments.mp4": Kind(copy("fps-25.mp4", "-movflags", "frag_keyframe+empty_moov+default_base_moof")),
    "prores.mov": Kind(plain("-c:v", "prores_ks", "-profile:v", "2", sound=PCM), codec="prores", tracks=(STEREO_PCM,)),
    "mjpeg.mov": Kind(plain("-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj420p", sound=PCM), codec="mjpeg",
                      tracks=(STEREO_PCM,)),
    "flac.mkv": Kind(copy("fps-2997.mp4", "-c:a", "flac"), rate=NTSC, frames=90, tracks=(("flac", RATE_HZ, 2, None),)),
    "opus.mkv": Kind(copy("fps-2997.mp4", "-c:a", "libopus"), rate=NTSC, frames=90, tracks=(STEREO_OPUS,)),
    "vp8.webm": Kind(plain("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "2M", "-g", "12",
                           sound=("-c:a", "libvorbis")),
                     codec="vp8", tracks=(("vorbis", RATE_HZ, 2, None),)),
    "vp9.webm": Kind(plain(*QUICK_VP9, sound=OPUS), codec="vp9", tracks=(STEREO_OPUS,)),
    "vp9-rgb.webm": Kind(plain(*QUICK_VP9, "-pix_fmt", "gbrp", sound=OPUS), codec="vp9", tracks=(STEREO_OPUS,),
                         quality_db=38, facts={"pixel_format": "gbrp"}),
    "av1.webm": Kind(plain(*QUICK_AV1, sound=OPUS), codec="av1", tracks=(STEREO_OPUS,)),
    "av1.mp4": Kind(plain(*QUICK_AV1), codec="av1"),
    "mpeg4.avi": Kind(plain("-c:v", "mpeg4", "-q:v", "2", "-bf", "2", "-g", "12", frames=200, sound=MP3),
                      codec="mpeg4", tracks=(STEREO_MP3,), **EIGHT_S),
    "h264.avi": Kind(plain(*x264(params="bframes=2"), frames=200, sound=MP3), tracks=(STEREO_MP3,), **EIGHT_S),
    "h264-open.avi": Kind(plain(*x264(params="bframes=3:open-gop=1"), frames=200, sound=MP3), tracks=(STEREO_MP3,),
                          **EIGHT_S),
    "ntsc.mp4": Kind(plain(rate=NTSC, frames=240), **NTSC_8S),
    "h264.ts": Kind(copy("ntsc.mp4"), **NTSC_8S),
    "joined-late.ts": Kind(joined_late("h264.ts", 60), **NTSC_8S | {"frames": 228}, first=12),
    "wrap.ts": Kind(copy("ntsc.mp4", "-output_ts_offset", "95439.5"), **NTSC_8S),
    "far-start.ts": Kind(copy("ntsc.mp4", "-output_ts_offset", "50000"), **NTSC_8S),
    "h264.flv": Kind(copy("ntsc.mp4"), **NTSC_8S),
    "bluray.m2ts": Kind(plain(frames=200, sound=("-c:a", "ac3")), tracks=(("ac3", RATE_HZ, 2, None),), **EIGHT_S),
    "mpeg2.mpg": Kind(plain(*MPEG2, *FULL, frames=200, sound=MP2), codec="mpeg2video", tracks=(STEREO_MP2,),
                      quality_db=35, **EIGHT_S),
    "mpeg2.ts": Kind(plain(*MPEG2, frames=200, sound=MP2), codec="mpeg2video", tracks=(STEREO_MP2,), **EIGHT_S),
    "dvd.vob": Kind(plain(*MPEG2, "-f", "vob", frames=200, sound=("-c:a", "ac3")), codec="mpeg2video",
                    tracks=(("ac3", RATE_HZ, 2, None),), **EIGHT_S),
    "wmv2.wmv": Kind(plain("-c:v", "wmv2", "-q:v", "2", "-g", "12", frames=200, sound=("-c:a", "wmav2")), codec="wmv2",
                     tracks=(("wmav2", RATE_HZ, 2, None),), **EIGHT_S),
    "theora.ogv": Kind(plain("-c:v", "libtheora", "-q:v", "10", "-g", "12", frames=200, sound=("-c:a", "libvorbis")),
                       codec="theora", tracks=(("vorbis", RATE_HZ, 2, None),), **EIGHT_S),
    "even.gif": Kind(plain("-c:v", "gif", frames=200, **SILENT), codec="gif", tracks=(), quality_db=30, **EIGHT_S),
    "uneven.gif": Kind(plain("-c:v", "gif", rate=30, frames=60, **SILENT), codec="gif", tracks=(), frames=60,
                       quality_db=30, rate=Fraction(30)),
    "vfr.gif": Kind(plain(*UNEVEN, "-c:v", "gif", frames=51, **SILENT), codec="gif", tracks=(), frames=51,
                    quality_db=30, film_rate=Fraction(25), facts={"is_vfr": True}),
    # lengths and clocks
    "one-frame.mp4": Kind(plain(frames=1, **SILENT), frames=1, tracks=()),
    "one-frame.gif": Kind(plain("-c:v", "gif", frames=1, **SILENT), codec="gif", frames=1, tracks=(), quality_db=30),
    "two-frames.mp4": Kind(plain(frames=2), frames=2),
    "six-hours.mkv": Kind(
        plain(*x264("-tune", "stillimage", gop=60), rate="1/20", frames=1080, size=(64, 36), **SILENT),
        rate=Fraction(1, 20), frames=1080, size=(64, 36), tracks=(), every_s=Fraction(3600)),
    "far-start.mkv": Kind(copy("fps-2997.mp4", "-output_ts_offset", "50000"), rate=NTSC, frames=90),
    # found in the wild
    "fps-5994.mkv": Kind(copy("fps-5994.mp4"), rate=Fraction(60000, 1001), frames=180),
    "fps-120.mkv": Kind(copy("fps-120.mp4"), rate=Fraction(120), frames=240),
    "browser.webm": Kind(copy("vp9.webm", "-live", "1"), codec="vp9", tracks=(STEREO_OPUS,)),
    "no-cues.mkv": Kind(copy("fps-2997.mp4", "-live", "1"), rate=NTSC, frames=90),
    "gop-10s.ts": Kind(copy("gop-10s.mp4"), frames=300, every_s=Fraction(37, 10)),
    "intra-refresh.ts": Kind(plain(*x264(gop=20, params="intra-refresh=1:bframes=0"))),
    "intra-refresh.mp4": Kind(plain(*x264(gop=20, params="intra-refresh=1:bframes=0"))),
    "open-gop-hevc.ts": Kind(copy("open-gop-hevc.mp4"), codec="hevc"),
    "open-late.ts": Kind(joined_late("open-gop.ts", 40), **EIGHT_S | {"frames": 188}, first=12),
    "hevc-late.ts": Kind(joined_late("open-gop-hevc.ts", 60), codec="hevc", frames=63, first=12),
    "mpeg2-late.ts": Kind(joined_late("mpeg2.ts", 60), **EIGHT_S | {"frames": 188}, codec="mpeg2video", first=12,
                          tracks=(STEREO_MP2,)),
    "altref.webm": Kind(plain("-c:v", "libvpx", "-cpu-used", "4", "-b:v", "1M", "-auto-alt-ref", "1",
                              "-lag-in-frames", "16", sound=OPUS), codec="vp8", tracks=(STEREO_OPUS,), quality_db=35),
    "altref-vp9.webm": Kind(plain("-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p", "-cpu-used", "8", "-b:v", "1M",
                                  "-auto-alt-ref", "1", "-lag-in-frames", "16", sound=OPUS),
                            codec="vp9", tracks=(STEREO_OPUS,), quality_db=35),
    "vfr.avi": Kind(plain(*UNEVEN, "-c:v", "mpeg4", "-q:v", "2", "-g", "12", frames=51, sound_s=3,
                          sound=("-c:a", "libmp3lame")), frames=51, film_rate=Fraction(25),
                    codec="mpeg4", facts={"is_vfr": True}, tracks=(("mp3", RATE_HZ, 2, None),)),
    "vfr.flv": Kind(copy("vfr.mp4"), **VARYING),
    "phone.3gp": Kind(
        plain("-vf", "scale=176:144", "-c:v", "h263", "-q:v", "2", sound_filter="aresample=8000",
              sound=("-c:a", "libopencore_amrnb", "-b:a", "12.2k")),
        codec="h263", size=(176, 144), clip_size=(192, 144), quality_db=28, facts={"sample_aspect": Fraction(12, 11)},
        tracks=(("amr_nb", 8000, 1, None),)),
    "still.mp4": Kind(plain(rate=Fraction(1, 3), frames=1, sound_s=3), rate=Fraction(1, 3), frames=1),
    "sound-gap.mkv": Kind(plain(sound_filter="aselect='not(between(t,1.2,1.9))'", sound=PCM), hole_s=(1.2, 1.9),
                          tracks=(("pcm_s16le", RATE_HZ, 1, None),)),
    "sound-short-gaps.mkv": Kind(plain(sound_filter="asetnsamples=960,aselect='mod(n,40)-3'", sound=PCM),
                                 likeness=0.5, tracks=(("pcm_s16le", RATE_HZ, 1, None),)),
    "eight-channels.avi": Kind(plain(sound=(*PCM, "-ac", "8")), tracks=(("pcm_s16le", RATE_HZ, 8, None),)),
    "three-channels.mov": Kind(plain(sound=PCM, sound_filter="pan=3c|c0=c0|c1=c0|c2=c0"),
                               tracks=(("pcm_s16le", RATE_HZ, 3, None),)),
    "cover.mp4": Kind(
        lambda zoo, path: ffmpeg("-i", str(zoo("one-frame.gif")), "-i", str(zoo("fps-25.mp4")), "-map", "0:v",
                                 "-map", "1", "-c", "copy", "-c:v:0", "png", "-disposition:v:0", "attached_pic",
                                 str(path))),
    "timecode.mov": Kind(plain("-c:v", "prores_ks", "-timecode", "10:00:00:00", sound=PCM), codec="prores",
                         tracks=(STEREO_PCM,)),
    "negative-offsets.mp4": Kind(copy("fps-25.mp4", "-movflags", "negative_cts_offsets")),
    "dv.avi": Kind(
        plain("-vf", "scale=720:576:out_color_matrix=bt601,format=yuv420p,tinterlace=interleave_bottom,setsar=16/15",
              "-flags", "+ildct+ilme", "-c:v", "dvvideo", rate=50, frames=25, sound_s=1, sound=PCM, size=INTERLACED),
        codec="dvvideo", size=(720, 576), clip_size=(768, 576), film_rate=Fraction(50), first_field=1, frames=25,
        tracks=(STEREO_PCM,), facts={"interlaced": True, "sample_aspect": Fraction(16, 15)}, quality_db=28),
}  # fmt: skip

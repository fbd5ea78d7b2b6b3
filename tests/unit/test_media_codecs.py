"""Codecs, sizes and colours of what is written; hardware encoders are used only where a frame came out of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from media_sources import ffmpeg, make_source
from reelmill.errors import ParamsInvalid
from reelmill.media import (
    FAMILIES,
    ClipPlan,
    ClipSettings,
    Codec,
    Encoded,
    Shape,
    Source,
    TextStyle,
    clip_arguments,
    draw,
    encode_clip,
    find_ffmpeg,
    hardware_encoder,
    layout,
    output_size,
    probe,
)
from reelmill.media.codecs import coding, device_arguments, upload_filters, video_arguments

FFMPEG = find_ffmpeg()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("codecs")


@pytest.fixture(scope="module")
def plain(folder: Path) -> tuple[Path, Source]:
    path = make_source(folder / "plain.mp4", seconds=2, width=320, height=180)
    return path, probe(str(path), scratch=folder)


@pytest.fixture(scope="module", params=["smpte2084", "arib-std-b67"])
def hdr(request: pytest.FixtureRequest, folder: Path) -> tuple[Path, Source]:
    """Grey at the light of diffuse white, 203 cd/m²: code value 0.58 of PQ, 0.75 of HLG."""
    path = folder / f"{request.param}.mp4"
    level = {"smpte2084": 0.58, "arib-std-b67": 0.75}[request.param]
    luma = round(64 + level * 876)
    tags = (
        "-color_primaries",
        "bt2020",
        "-color_trc",
        request.param,
        "-colorspace",
        "bt2020nc",
        "-color_range",
        "tv",
    )
    ffmpeg(
        "-f", "lavfi", "-i", "color=size=320x180:rate=25:duration=1,format=yuv420p10le",
        "-vf", f"geq=lum={luma}:cb=512:cr=512", "-c:v", "libx265", "-preset", "ultrafast",
        "-x265-params", f"log-level=error:colorprim=bt2020:transfer={request.param}:colormatrix=bt2020nc",
        *tags, str(path),
    )  # fmt: skip
    return path, probe(str(path), scratch=folder)


def encoded(made: tuple[Path, Source], out: Path, text: tuple[int, int] | None = None, **settings: Any) -> Encoded:
    path, source = made
    chosen = ClipSettings(preset="ultrafast", threads=1, **settings)
    style = TextStyle(size_pct=30, color="#FFFFFF", outline_pct=0, position="center")
    picture = draw(layout("HHH", style, *output_size(source, chosen.shape)), out.with_suffix(".png")) if text else None
    plan = ClipPlan(3, 23, picture, chosen, text)
    return encode_clip(str(path), source, plan, out, ffmpeg=FFMPEG, scratch=out.parent)


def frames(path: Path, form: str = "gray") -> list[np.ndarray[Any, Any]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format=form, threads=1).astype(float) for frame in container.decode(video=0)]


def luma16(path: Path) -> np.ndarray[Any, Any]:
    """Return the first picture's code values, 0–1023."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        plane = frame.planes[0]
        rows = np.frombuffer(plane, np.uint16).reshape(plane.height, plane.line_size // 2)
        return rows[:, : plane.width].astype(float)


@pytest.mark.req("B-03", "B-04")
@pytest.mark.parametrize("codec", FAMILIES)
def test_every_codec_has_every_frame_and_the_text_in_its_time(
    plain: tuple[Path, Source], tmp_path: Path, codec: Codec
) -> None:
    first, again = (encoded(plain, tmp_path / f"{n}.mp4", (10, 15), codec=codec) for n in range(2))
    assert first.checked.sha256 == again.checked.sha256
    assert first.checked.video_codec == {"h265": "hevc"}.get(codec, codec)
    original, shown = frames(plain[0])[3:23], frames(first.path)
    assert len(shown) == 20
    middle = slice(60, 120), slice(100, 220)
    off = [float(np.abs(a[middle] - b[middle]).mean()) for a, b in zip(original, shown, strict=True)]
    with_text = [n for n, value in enumerate(off) if value > 25]
    assert with_text == list(range(7, 12)), off


@pytest.mark.req("B-03")
@pytest.mark.parametrize(
    ("shape", "size"),
    [
        (Shape(width=160), (160, 90)),
        (Shape(height=90), (160, 90)),
        (Shape(width=160, height=160), (160, 90)),
        (Shape(width=160, height=160, fit="cover"), (160, 160)),
        (Shape(width=160, height=160, fit="pad"), (160, 160)),
        (Shape(width=640, height=640, fit="cover"), (640, 640)),
        (Shape(width=4000), (320, 180)),
        (Shape(width=100, height=1000, fit="cover"), (100, 1000)),
    ],
)
def test_sizes(plain: tuple[Path, Source], tmp_path: Path, shape: Shape, size: tuple[int, int]) -> None:
    made = encoded(plain, tmp_path / "clip.mp4", shape=shape)
    assert (made.checked.width, made.checked.height) == size
    picture = frames(made.path, "rgb24")[0]
    if shape.fit == "pad":
        assert picture[:20].max() < 8 and picture[-20:].max() < 8 and picture[70:90].max() > 100
    else:
        assert picture[:, : size[0] // 8].max() > 60


@pytest.mark.req("B-03")
def test_hdr_is_mapped_to_sdr_or_kept_with_a_text_as_bright_as_white(hdr: tuple[Path, Source], tmp_path: Path) -> None:
    assert hdr[1].video.hdr
    mapped = encoded(hdr, tmp_path / "sdr.mp4", (3, 23))
    with av.open(str(mapped.path)) as container:
        coded = container.streams.video[0].codec_context
        assert coded.pix_fmt == "yuv420p" and int(coded.color_trc) == 1
    grey = frames(mapped.path)[0][:30]
    assert 120 < grey.mean() < 250 and grey.std() < 3
    assert frames(mapped.path)[0].max() > 225  # the text is white
    kept = encoded(hdr, tmp_path / "hdr.mp4", (3, 23), codec="h265", shape=Shape(keep_hdr=True))
    again = probe(str(kept.path), scratch=tmp_path)
    assert again.video.hdr and again.video.color_transfer == hdr[1].video.color_transfer
    assert again.video.pixel_format == "yuv420p10le"
    values = luma16(kept.path)
    around, text = values[:30].mean(), np.percentile(values[60:120], 97)
    assert abs(values[:30].mean() - luma16(hdr[0])[:30].mean()) < 8
    assert abs(text - around) < 25, "the text is as bright as the diffuse white around it"


@pytest.mark.req("B-03")
def test_hardware_encoders_count_only_if_a_frame_came_out(tmp_path: Path) -> None:
    """Asked of the machine that the test runs on; the build lists many that no machine has all of."""
    for codec in FAMILIES:
        found = hardware_encoder(FFMPEG, codec)
        listed = FAMILIES[codec].hardware
        assert found is None or found in listed
        if found:
            out = str(tmp_path / "own.mp4")
            code = coding(codec, found, "veryfast", None, 1, ten_bits=False)
            filters = ",".join(["format=nv12", *upload_filters(code)])
            words = [*device_arguments(code), "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25:duration=1"]
            ffmpeg(*words, "-vf", filters, *video_arguments(code, 25), out)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"codec": "mpeg4"}, "h264, h265, av1, vp9"),
        ({"preset": "placebo"}, "preset"),
        ({"crf": 52}, "51"),
        ({"codec": "av1", "crf": 64}, "63"),
        ({"encoder": "libx265"}, "libx265"),
        ({"encoder": "-i /etc/passwd"}, "not an encoder"),
        ({"threads": 0}, "threads"),
        ({"audio_track": 2}, "sound track"),
        ({"shape": Shape(width=15)}, "even"),
        ({"shape": Shape(height=8194)}, "8192"),
        ({"shape": Shape(width=100, fit="cover")}, "both"),
    ],
)
def test_settings_out_of_range_are_refused(
    plain: tuple[Path, Source], tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ParamsInvalid, match=words):
        clip_arguments("film.mp4", plain[1], ClipPlan(0, 5, None, ClipSettings(**settings)), tmp_path / "clip.mp4")


@pytest.mark.req("B-03")
@pytest.mark.parametrize("maker", ["nvenc", "qsv", "vaapi", "amf", "videotoolbox"])
def test_hardware_arguments_are_numbers_and_names_from_fixed_lists(
    plain: tuple[Path, Source], tmp_path: Path, maker: str
) -> None:
    settings = ClipSettings(encoder=f"h264_{maker}")
    words = clip_arguments("film.mp4", plain[1], ClipPlan(0, 5, None, settings), tmp_path / "clip.mp4")
    assert words[words.index("-c:v") + 1] == f"h264_{maker}"
    graph = words[words.index("-filter_complex") + 1]
    assert ("hwupload" in graph) == (maker == "vaapi")
    assert graph.count("[picture]") == 1

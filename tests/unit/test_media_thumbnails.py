"""Small pictures of clips."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from media_sources import Studio
from reelmill.errors import EncodeFailed, ParamsInvalid
from reelmill.media import contact_sheet, find_ffmpeg, thumbnail

FFMPEG = find_ffmpeg()


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.getbasetemp() / "media")


@pytest.mark.parametrize(("at_s", "frame"), [(0.0, 0), (1.0, 29), (2.6, 77), (99.0, 149), (-1.0, 0)])
def test_a_thumbnail_is_the_frame_that_is_shown_then(studio: Studio, tmp_path: Path, at_s: float, frame: int) -> None:
    path = studio("ntsc.mp4")
    made = thumbnail(path, at_s, 320, tmp_path / "still.jpg", ffmpeg=FFMPEG, scratch=tmp_path)
    with av.open(str(path)) as container:
        frames = [np.asarray(one.to_image(threads=1).convert("L")).astype(int) for one in container.decode(video=0)]
    with Image.open(made) as image:
        assert image.format == "JPEG" and image.size == (320, 180)
        still = np.asarray(image.convert("L")).astype(int)
    errors = [float(((still - one) ** 2).mean()) for one in frames]
    assert int(np.argmin(errors)) == frame


def test_a_thumbnail_keeps_the_shape_and_its_bytes(studio: Studio, tmp_path: Path) -> None:
    made = [
        thumbnail(studio("pal.mp4"), 1.5, 160, tmp_path / f"{n}.jpg", ffmpeg=FFMPEG, scratch=tmp_path) for n in (1, 2)
    ]
    with Image.open(made[0]) as image:
        assert image.size == (160, 90)
    assert made[0].read_bytes() == made[1].read_bytes()


def test_what_is_not_a_film_has_no_thumbnail(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("text")
    with pytest.raises(EncodeFailed):
        thumbnail(tmp_path / "text.mp4", 0, 320, tmp_path / "still.jpg", ffmpeg=FFMPEG, scratch=tmp_path)


def tile(path: Path, size: tuple[int, int], color: str) -> Path:
    Image.new("RGB", size, color).save(path)
    return path


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (3, 3, 1), (7, 5, 2), (60, 5, 12), (400, 5, 12)])
def test_a_sheet_has_room_for_every_tile(tmp_path: Path, count: int, columns: int, rows: int) -> None:
    still = tile(tmp_path / "tile.jpg", (480, 270), "#40A0F0")
    items = [(still, f"{n + 1}   0:{n:02d}.0 – 0:{n + 1:02d}.0") for n in range(count)]
    with Image.open(contact_sheet(items, tmp_path / "sheet.png")) as sheet:
        assert sheet.format == "PNG"
        width, height = sheet.size
        blue = (np.abs(np.asarray(sheet.convert("RGB")).astype(int) - (0x40, 0xA0, 0xF0)).max(axis=2) < 12).mean()
    assert width < 2000 and height < 4000
    assert blue * width * height == pytest.approx(min(count, 60) * 320 * 180, rel=0.02)
    assert round(width / 336) == columns and rows == -(-min(count, 60) // columns)


def test_a_sheet_takes_portraits_and_mixed_shapes(tmp_path: Path) -> None:
    items = [
        (tile(tmp_path / "a.jpg", (270, 480), "#FF0000"), "upright"),
        (tile(tmp_path / "b.jpg", (480, 100), "#00FF00"), "a caption that is much longer than the picture is wide"),
    ]
    with Image.open(contact_sheet(items, tmp_path / "sheet.png")) as sheet:
        assert sheet.width < 800


def test_a_sheet_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsInvalid):
        contact_sheet([], tmp_path / "sheet.png")

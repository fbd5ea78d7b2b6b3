"""Pictures in other sizes."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from reelmill.errors import OutputRejected

FORMATS = ("JPEG", "PNG", "WEBP")
MOST_PIXELS = 50_000_000
QUALITY = 82


def narrowed(content: bytes, width: int) -> bytes:
    """Return a picture (JPEG, PNG or WebP) of at most `width` pixels across, its sides in proportion, in its format.

    A narrower one is returned as it is. Raises OutputRejected for what isn't such a picture.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            picture: Image.Image = opened
            kind = picture.format
            if picture.width * picture.height > MOST_PIXELS:
                raise OutputRejected(f"A picture of {picture.width} × {picture.height} pixels is too large.")
            if picture.width <= width:
                return content
            height = max(1, round(picture.height * width / picture.width))
            if picture.mode in ("1", "P"):  # a palette can't be mixed
                picture = picture.convert("RGBA")
            picture.draft("RGB", (2 * width, 2 * height))  # JPEG decodes to a half or less at a fraction of the cost
            small = picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
            out = io.BytesIO()
            small.save(out, kind, quality=QUALITY, optimize=True)
            return out.getvalue()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise OutputRejected(f"The picture can't be read: {error}") from error

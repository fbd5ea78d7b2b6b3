"""Draw the same texts by ffmpeg's drawtext, by MoviePy's TextClip and by Reelmill, side by side.

    python scripts/text_compared.py [FOLDER]

writes text-compared.png, into docs/pictures if no folder is named. drawtext and MoviePy get Noto Sans, as a person
would name it, and a size of 6 % of the picture; MoviePy wraps at 90 % of the width. MoviePy is installed into an
environment of its own: it is no dependency.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import imageio_ffmpeg
from PIL import Image
from text_sheet import LONG, ROOT, filmed, landscape, save, sheet

from reelmill.media import TEXT_PRESETS, TextStyle, safe_area
from reelmill.media.fonts import faces

sys.path.insert(0, str(ROOT / "benchmarks"))
from moviepy import moviepy

SIZE, TILE = (1280, 720), (448, 252)
FONT_PX = 43
TEXTS = {
    "Latin": "Trails of the north",
    "long": LONG.partition(", whereas")[0] + ".",
    "Arabic": "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق",
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता प्राप्त है।",
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "Japanese": "すべての人間は、生れながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "mixed": "東京 Tokyo Токио โตเกียว टोक्यो 도쿄 طوكيو",
    "emoji": "Party at 8 🎉 bring 🍕 and 👩‍👩‍👧 🇯🇵",
    "as written": "100 % \\n %{pts} it's [v]; C:\\dir",
}
BY_MOVIEPY = """
import sys
from pathlib import Path
from moviepy import TextClip
font, size, width, out, texts = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5:]
for n, text in enumerate(texts):
    clip = TextClip(font=font, text=text, font_size=size, color="#FFFFFF", stroke_color="#000000", stroke_width=3,
                    method="caption", size=(width, None), text_align="center", margin=(10, 20))
    clip.save_frame(str(out / f"{n}.png"), with_mask=True)
"""


def by_drawtext(text: str, folder: Path) -> Image.Image:
    """Return a text by drawtext, from a file so that it is taken as it is written."""
    landscape(*SIZE).save(folder / "ground.png")
    (folder / "text.txt").write_text(text)
    (folder / "font.ttf").write_bytes(faces()[0].path.read_bytes())  # brackets in its name would break the graph
    words = f"drawtext=fontfile=font.ttf:textfile=text.txt:expansion=none:fontsize={FONT_PX}:fontcolor=white:borderw=3"
    words += ":x=(w-text_w)/2:y=h-text_h-36"
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", "-i", "ground.png", "-vf", words, "out.png"],
        cwd=folder, check=True,
    )  # fmt: skip
    with Image.open(folder / "out.png") as picture:
        return small(picture.convert("RGB"))


def by_moviepy(folder: Path) -> list[Image.Image]:
    """Return all texts by MoviePy's TextClip, at the bottom as its manual shows."""
    font = folder / "font.ttf"
    font.write_bytes(faces()[0].path.read_bytes())
    (folder / "by_moviepy.py").write_text(BY_MOVIEPY)
    words = [str(font), str(FONT_PX), str(round(SIZE[0] * 0.9)), str(folder), *TEXTS.values()]
    subprocess.run([str(moviepy()), str(folder / "by_moviepy.py"), *words], check=True)
    found = []
    for n in range(len(TEXTS)):
        ground = landscape(*SIZE)
        with Image.open(folder / f"{n}.png") as letters:
            ground.paste(letters, ((SIZE[0] - letters.width) // 2, SIZE[1] - letters.height), letters.convert("RGBA"))
        found.append(small(ground))
    return found


def small(picture: Image.Image) -> Image.Image:
    return picture.resize(TILE, Image.Resampling.LANCZOS)


def main() -> None:
    """Write the sheet into the folder that is named."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    with tempfile.TemporaryDirectory() as scratch:
        theirs = by_moviepy(Path(scratch))
        drawn = [by_drawtext(text, Path(scratch)) for text in TEXTS.values()]
    safe = safe_area("auto", *SIZE)
    ours = [
        [filmed(text, TextStyle(safe=safe), SIZE, TILE), filmed(text, TEXT_PRESETS["boxed"], SIZE, TILE)]
        for text in TEXTS.values()
    ]
    rows = [[one, other, *mine] for one, other, mine in zip(drawn, theirs, ours, strict=True)]
    above = ["ffmpeg drawtext", "MoviePy TextClip", "Reelmill, as it comes", "Reelmill, preset boxed"]
    save(sheet(rows, list(TEXTS), above, []), folder / "text-compared.png")


if __name__ == "__main__":
    main()

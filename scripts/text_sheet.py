"""Draw sheets that a person can judge: every script at every position, every style, every preset in each shape.

    python scripts/text_sheet.py [FOLDER]

writes texts.png, text-styles.png and text-presets.png, into docs/pictures if no folder is named. Equal code gives
equal pictures.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from PIL import Image, ImageDraw

from reelmill.media import TEXT_PRESETS, TextStyle, draw, layout, safe_area
from reelmill.media.fonts import faces
from reelmill.media.text import Position

ROOT = Path(__file__).resolve().parent.parent
INK, PAPER = (32, 36, 44), (246, 246, 243)
GAP = 6  #: between tiles, pixels

# The beginning of the Universal Declaration of Human Rights, where it isn't said otherwise.
SCRIPTS = {
    "Latin": "Alle Menschen sind frei und gleich an Würde",
    "Vietnamese": "Tất cả mọi người sinh ra đều được tự do",
    "Cyrillic": "Все люди рождаются свободными и равными",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι",
    "Arabic": "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق",
    "Hebrew": "כל בני האדם נולדו בני חורין ושווים בערכם",
    "Devanagari": "सभी मनुष्यों को जन्मजात स्वतन्त्रता प्राप्त है।",
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกัน",
    "Chinese, simplified": "人人生而自由，在尊严和权利上一律平等。",
    "Chinese, traditional": "人人生而自由，在尊嚴和權利上一律平等。",
    "Japanese": "すべての人間は、生れながらにして自由であり、平等である。",
    "Korean": "모든 인간은 태어날 때부터 자유로우며 동등하다.",
    "Emoji, one colour": "🎬 👩‍🚀 ❤️ 👍🏽 🇯🇵 1️⃣ 👨‍👩‍👧 🏳️‍🌈",
    "Bengali": "সমস্ত মানুষ স্বাধীনভাবে জন্মগ্রহণ করে।",
    "Gujarati": "સર્વ માનવો જન્મથી સ્વતંત્ર અને સમાન હોય છે.",
    "Gurmukhi": "ਸਾਰਾ ਮਨੁੱਖੀ ਪਰਿਵਾਰ ਜਨਮ ਤੋਂ ਹੀ ਆਜ਼ਾਦ ਹੈ",
    "Kannada": "ಎಲ್ಲಾ ಮಾನವರೂ ಸ್ವತಂತ್ರರಾಗಿಯೇ ಜನಿಸಿದ್ದಾರೆ.",
    "Malayalam": "മനുഷ്യരെല്ലാവരും സ്വാതന്ത്ര്യത്തോടെ ജനിച്ചവരാണ്",
    "Odia": "ସବୁ ମନୁଷ୍ୟ ଜନ୍ମକାଳରୁ ସ୍ୱାଧୀନ",
    "Sinhala": "සියලු මනුෂ්‍යයෝ නිදහස්ව උපත ලබා ඇත.",
    "Tamil": "மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்",
    "Telugu": "మానవులెల్లరును జన్మతః స్వతంత్రులును సమానులును",
    "Khmer": "មនុស្សទាំងអស់កើតមកមានសេរីភាព",
    "Lao": "ມະນຸດທຸກຄົນເກີດມາມີກຽດສັກສີ",
    "Burmese": "လူတိုင်းသည် တူညီလွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် မွေးဖွားလာသည်။",
    "Georgian": "ყველა ადამიანი იბადება თავისუფალი",
    "Armenian": "Բոլոր մարդիկ ծնվում են ազատ ու հավասար",
    "Ethiopic": "የሰው ልጅ ሁሉ ሲወለድ ነጻ ነው።",
}

PLAIN = TextStyle(size_pct=9)
BOX = replace(PLAIN, box_color="#10141C", outline_pct=0)
LONG = (
    "Whereas recognition of the inherent dignity and of the equal and inalienable rights of all members of the human "
    "family is the foundation of freedom, justice and peace in the world, whereas disregard and contempt for human "
    "rights have resulted in barbarous acts which have outraged the conscience of mankind, and the advent of a world "
    "in which human beings shall enjoy freedom of speech and belief has been proclaimed as the highest aspiration."
)
#: caption, text, style, width and height of the picture in pixels
STYLES: list[tuple[str, str, TextStyle, tuple[int, int]]] = [
    ("outline_pct 8 (as it comes)", "Trails of the north", PLAIN, (1280, 720)),
    ("outline_pct 25", "Trails of the north", replace(PLAIN, outline_pct=25, outline_color="#7A1F4B"), (1280, 720)),
    ("no outline, weight 400", "Trails of the north", replace(PLAIN, outline_pct=0, weight=400), (1280, 720)),
    ("box_color, two lines of even length", "Every line of a few is about as long as the others", BOX, (1280, 720)),
    ("box_opacity 1, padding 60, centre", "Chapter one", replace(BOX, box_color="#F2C14E", box_opacity=1,
     box_padding_pct=60, color="#20242C", position="center", size_pct=14), (1280, 720)),
    ("right, own line breaks", "Directed by\nIda Lind\n\nMusic\nTom Ek", replace(BOX, position="right"), (1280, 720)),
    ("a long text is made smaller", LONG, replace(PLAIN, position="center"), (1280, 720)),
    ("a long text in a box, left", LONG, replace(BOX, position="left", max_width_pct=60), (1280, 720)),
    ("a word that is too long", "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamten" * 2,
     replace(BOX, min_size_pct=8, position="center"), (1280, 720)),
    ("mixed directions", "The title is «مرحبا بالعالم (2024)» in Arabic.\nהמחיר הוא ‎$42.50 (כולל מע״מ) ב-Amazon.",
     replace(BOX, position="center"), (1280, 720)),
    ("mixed scripts", "東京 Tokyo Токио โตเกียว टोक्यो 도쿄 طوكيو", replace(BOX, position="center"), (1280, 720)),
    ("emoji sequences", "👨‍👩‍👧‍👦 👩🏿‍🔬 🧑‍🤝‍🧑 👋🏻👋🏽👋🏿\n🇫🇷🇧🇷🇰🇪 🏴󠁧󠁢󠁳󠁣󠁴󠁿 🏳️‍🌈 #️⃣ 9️⃣ ❤️‍🔥",
     replace(BOX, position="center", size_pct=14), (1280, 720)),
    ("taken as it is written", "%{pts} \\n 'quotes' \"double\" `x` $HOME {a:b} [v]; C:\\dir\\file, 100 %",
     replace(BOX, position="center"), (1280, 720)),
    ("marks above marks", "ที่นี่ กุ้ง ผู้ใหญ่ ปั๊มน้ำ\nNguyễn Thị Hằng\nبِسْمِ ٱللَّهِ\nשָׁלוֹם", replace(BOX, position="center"),
     (1280, 720)),
    ("320 × 180", "Small pictures too: très lisible", PLAIN, (320, 180)),
    ("1080 × 1920", "ภาพยนตร์เรื่องนี้ถ่ายทำในกรุงเทพมหานคร\n映画は東京で撮影されました。", replace(BOX, position="center"),
     (1080, 1920)),
]  # fmt: skip


#: text, width and height of the picture in pixels
SHAPES: list[tuple[str, tuple[int, int]]] = [
    ("Trails of the north", (1280, 720)),
    ("The best ideas come while walking by the sea", (1280, 720)),
    ("Summer starts at the lake", (720, 1280)),
    ("夏は湖から始まる", (720, 720)),
    ("الصيف يبدأ عند البحيرة", (720, 900)),
]


def main() -> None:
    """Write all sheets into the folder that is named."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    positions: Sequence[Position] = get_args(Position)
    tile = 288, 162
    rows = [
        [
            filmed(text, TextStyle(position=position, size_pct=10, max_width_pct=70), tile, tile)
            for position in positions
        ]
        for text in SCRIPTS.values()
    ]
    save(sheet(rows, list(SCRIPTS), list(positions), []), folder / "texts.png")
    tiles = [filmed(text, style, size, (480, 270)) for _, text, style, size in STYLES]
    rows = [tiles[n : n + 4] for n in range(0, len(tiles), 4)]
    save(sheet(rows, [], [], [caption for caption, *_ in STYLES]), folder / "text-styles.png")
    rows = [
        [filmed(text, replace(style, safe=safe_area("auto", *size)), size, (400, 300)) for text, size in SHAPES]
        for style in TEXT_PRESETS.values()
    ]
    save(packed(rows, list(TEXT_PRESETS)), folder / "text-presets.png")


def filmed(text: str, style: TextStyle, size: tuple[int, int], tile: tuple[int, int]) -> Image.Image:
    """Return a text over a picture of a size, fitted into a tile."""
    image = landscape(*size)
    with tempfile.TemporaryDirectory() as scratch:
        picture = draw(layout(text, style, *size), Path(scratch) / "text.png")
        with Image.open(picture.path) as letters:
            image.paste(letters, (picture.x, picture.y), letters)
    image.thumbnail(tile, Image.Resampling.LANCZOS)
    return image


def landscape(width: int, height: int) -> Image.Image:
    """Return what stands for a frame of a film: evening sky, sun, hills and a lake."""
    image = Image.new("RGB", (width, height))
    pen = ImageDraw.Draw(image)
    for y in range(height):
        share = y / height
        pen.line((0, y, width, y), fill=(int(40 + 190 * share), int(80 + 90 * share), int(140 - 20 * share)))
    x, y, radius = width * 0.7, height * 0.42, min(width, height) * 0.13
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 236, 190))
    for top, color, peaks in ((0.45, (92, 88, 110), (0.5, 0.2, 0.6, 0.35)), (0.6, (52, 62, 74), (0.3, 0.7, 0.2, 0.6))):
        steps = [(width * n / 3, height * (top + 0.18 * peak)) for n, peak in enumerate(peaks)]
        pen.polygon([(0, height), *steps, (width, height)], fill=color)
    pen.rectangle((0, height * 0.8, width, height), fill=(70, 96, 116))
    for n in range(9):
        share = 0.82 + n * 0.02
        pen.line((width * (0.2 + 0.05 * (n % 4)), height * share, width * (0.5 + 0.06 * (n % 5)), height * share),
                 fill=(124, 148, 160), width=max(1, height // 270))  # fmt: skip
    return image


def sheet(rows: list[list[Image.Image]], beside: list[str], above: list[str], under: list[str]) -> Image.Image:
    """Return tiles in rows with captions: beside each row, above each column, under each tile."""
    font = faces()[0].open(17, 500)
    wide, high = (max(getattr(tile, side) for row in rows for tile in row) for side in ("width", "height"))
    left, top, foot = 190 if beside else GAP, 34 if above else GAP, 30 if under else 0
    size = left + len(rows[0]) * (wide + GAP), top + len(rows) * (high + foot + GAP)
    image = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(image)
    captions = iter(under)
    for n, row in enumerate(rows):
        y = top + n * (high + foot + GAP)
        if beside:
            pen.text((12, y + high / 2), beside[n], fill=INK, font=font, anchor="lm")
        for k, tile in enumerate(row):
            x = left + k * (wide + GAP)
            image.paste(tile, (x + (wide - tile.width) // 2, y + (high - tile.height) // 2))
            if above and not n:
                pen.text((x + wide / 2, top / 2), above[k], fill=INK, font=font, anchor="mm")
            if under:
                pen.text((x + wide / 2, y + high + foot / 2), next(captions), fill=INK, font=font, anchor="mm")
    return image


def packed(rows: list[list[Image.Image]], beside: list[str]) -> Image.Image:
    """Return rows of tiles of different widths, each column as wide as its own."""
    font = faces()[0].open(17, 500)
    high = max(tile.height for tile in rows[0])
    left = 150
    image = Image.new("RGB", (left + sum(tile.width + GAP for tile in rows[0]), len(rows) * (high + GAP)), PAPER)
    pen = ImageDraw.Draw(image)
    for n, row in enumerate(rows):
        x, y = left, n * (high + GAP)
        pen.text((12, y + high / 2), beside[n], fill=INK, font=font, anchor="lm")
        for tile in row:
            image.paste(tile, (x, y + (high - tile.height) // 2))
            x += tile.width + GAP
    return image


def save(image: Image.Image, path: Path) -> None:
    """Write a small PNG: 255 colours are enough."""
    image.quantize(255, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {image.width}×{image.height}, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

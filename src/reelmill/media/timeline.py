"""An analysis as one picture: shots, loudness, motion and what stands out, along the film's time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from reelmill.media.fonts import faces

BACKGROUND, PANEL, LINE, TEXT, QUIET = "#14161A", "#1D2026", "#2B2F38", "#F2F4F8", "#9AA3B2"
SHOTS = "#3D5A80", "#5B7FA8"
LOUD, MOVING, BEST = "#4FB286", "#E0A458", "#F25F5C"
SPANS = {"silence": "#7A86A0", "black": "#000000", "frozen": "#8FB8DE"}
WIDTH, LEFT, RIGHT, TOP, GAP = 1600, 120, 40, 84, 14
STRIP_H, SHOT_H, CURVE_H, SPAN_H, BEST_H, AXIS_H = 84, 30, 110, 18, 34, 44
FLOOR_LUFS, CEILING_LUFS = -60.0, 0.0
SCALE = 2  #: drawn larger and made smaller, for smooth edges

Span = tuple[float, float]


@dataclass(frozen=True)
class Timeline:
    """What is drawn. Times in seconds from the film's first frame."""

    title: str
    facts: str  #: one line under the title
    duration_s: float
    shots: Sequence[Span]
    stretch_s: float  #: of one value of the curves
    loudness: Sequence[float]  #: LUFS; empty without sound
    integrated_lufs: float | None
    motion: Sequence[float]
    spans: dict[str, Sequence[Span]] = field(default_factory=dict)  #: by `silence`, `black`, `frozen`
    highlights: Sequence[Span] = ()  #: best first
    pictures: Sequence[tuple[float, Path]] = ()  #: (time, JPEG)


def draw_timeline(shown: Timeline, out: Path) -> Path:
    """Write the picture as a PNG, 1600 pixels wide. Returns `out`."""
    rows: list[tuple[str, int, Callable[[_Row], None]]] = []
    if shown.pictures:
        rows.append(("", STRIP_H, lambda row: row.strip(shown.pictures)))
    rows.append(("Shots", SHOT_H, lambda row: row.shots(shown.shots)))
    if shown.loudness:
        rows.append(("Loudness", CURVE_H, lambda row: row.loudness(shown)))
    rows.append(("Motion", CURVE_H, lambda row: row.motion(shown)))
    for name, colour in SPANS.items():
        if name != "silence" or shown.loudness:
            spans = shown.spans.get(name, ())
            rows.append((name.capitalize(), SPAN_H, lambda row, s=spans, c=colour: row.spans(s, c)))  # type: ignore[misc]
    rows.append(("Highlights", BEST_H, lambda row: row.best(shown.highlights)))
    height = TOP + sum(size + GAP for _, size, _ in rows) + AXIS_H
    sheet = Image.new("RGB", (WIDTH * SCALE, height * SCALE), BACKGROUND)
    canvas = ImageDraw.Draw(sheet)
    canvas.text((24 * SCALE, 18 * SCALE), shown.title, font=_font(24, 700), fill=TEXT)
    canvas.text((24 * SCALE, 50 * SCALE), shown.facts, font=_font(15, 400), fill=QUIET)
    y = TOP
    for name, size, draw in rows:
        row = _Row(sheet, canvas, y, size, max(shown.duration_s, 0.001))
        canvas.text((24 * SCALE, (y + size // 2) * SCALE), name, font=_font(15, 500), fill=QUIET, anchor="lm")
        draw(row)
        y += size + GAP
    _axis(canvas, y - GAP, shown.duration_s)
    sheet.resize((WIDTH, height), Image.Resampling.LANCZOS).save(out, "PNG", optimize=True)
    return out


def _font(size: int, weight: int) -> ImageFont.FreeTypeFont:
    return faces()[0].open(size * SCALE, weight)


class _Row:
    """One strip of the picture, with the film's time from left to right."""

    def __init__(self, sheet: Image.Image, canvas: ImageDraw.ImageDraw, y: int, height: int, duration_s: float) -> None:
        self.sheet, self.canvas = sheet, canvas
        self.top, self.bottom = y * SCALE, (y + height) * SCALE
        self.duration_s = duration_s
        self.panel(PANEL)

    def x(self, at_s: float) -> int:
        return round(SCALE * (LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, at_s / self.duration_s))))

    def panel(self, colour: str) -> None:
        box = (LEFT * SCALE, self.top, (WIDTH - RIGHT) * SCALE, self.bottom)
        self.canvas.rounded_rectangle(box, radius=4 * SCALE, fill=colour)

    def box(self, span: Span, colour: str) -> tuple[int, int]:
        left, right = self.x(span[0]), max(self.x(span[1]), self.x(span[0]) + 2 * SCALE)
        self.canvas.rounded_rectangle((left, self.top, right, self.bottom), radius=3 * SCALE, fill=colour)
        return left, right

    def strip(self, pictures: Sequence[tuple[float, Path]]) -> None:
        """Draw as many pictures as have room, each where it belongs as near as may be."""
        height = self.bottom - self.top
        at = LEFT * SCALE
        end = (WIDTH - RIGHT) * SCALE
        while at < end:
            here_s = (at - LEFT * SCALE) / (end - LEFT * SCALE) * self.duration_s
            _, path = min(pictures, key=lambda one: abs(one[0] - here_s))
            with Image.open(path) as picture:
                width = max(1, round(height * picture.width / picture.height))
                tile = picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
            self.sheet.paste(tile.crop((0, 0, min(width, end - at), height)), (at, self.top))
            at += width + 2 * SCALE

    def shots(self, shots: Sequence[Span]) -> None:
        for number, span in enumerate(shots):
            left, right = self.box((span[0], span[1]), SHOTS[number % 2])
            said = str(number + 1)
            if right - left > self.canvas.textlength(said, font=_font(13, 500)) + 8 * SCALE:
                middle = (left + right) // 2, (self.top + self.bottom) // 2
                self.canvas.text(middle, said, font=_font(13, 500), fill=TEXT, anchor="mm")

    def loudness(self, shown: Timeline) -> None:
        room = CEILING_LUFS - FLOOR_LUFS
        heights = [min(1.0, max(0.0, (lufs - FLOOR_LUFS) / room)) for lufs in shown.loudness]
        self.area(heights, shown.stretch_s, LOUD)
        if shown.integrated_lufs is not None:
            share = min(1.0, max(0.0, (shown.integrated_lufs - FLOOR_LUFS) / room))
            self.level(share, f"{shown.integrated_lufs:.1f} LUFS")

    def motion(self, shown: Timeline) -> None:
        most = max([*shown.motion, 1.0])
        self.area([value / most for value in shown.motion], shown.stretch_s, MOVING)
        self.level(1.0, f"{most:.0f} %/s")

    def area(self, heights: Sequence[float], stretch_s: float, colour: str) -> None:
        """Fill below a curve; heights: 0–1."""
        tall = self.bottom - self.top - 4 * SCALE
        points = [
            (self.x((n + 0.5) * stretch_s), self.bottom - round(tall * height)) for n, height in enumerate(heights)
        ]
        if not points:
            return
        points = [(self.x(0), points[0][1]), *points, (self.x(self.duration_s), points[-1][1])]
        self.canvas.polygon([(points[0][0], self.bottom), *points, (points[-1][0], self.bottom)], fill=_dim(colour))
        self.canvas.line(points, fill=colour, width=2 * SCALE, joint="curve")

    def level(self, share: float, said: str) -> None:
        y = self.bottom - round((self.bottom - self.top - 4 * SCALE) * share)
        self.canvas.line((LEFT * SCALE, y, (WIDTH - RIGHT) * SCALE, y), fill=QUIET, width=1)
        at = (WIDTH - RIGHT - 6) * SCALE, min(y + 4 * SCALE, self.bottom - 18 * SCALE)
        self.canvas.text(at, said, font=_font(12, 500), fill=TEXT, anchor="ra")

    def spans(self, spans: Sequence[Span], colour: str) -> None:
        for span in spans:
            self.box(span, colour)

    def best(self, spans: Sequence[Span]) -> None:
        for number, span in enumerate(spans, 1):
            left, right = self.box(span, BEST)
            if right - left > 16 * SCALE:
                middle = (left + right) // 2, (self.top + self.bottom) // 2
                self.canvas.text(middle, str(number), font=_font(16, 700), fill=TEXT, anchor="mm")


def _dim(colour: str) -> tuple[int, ...]:
    """Return a colour halfway to the panel's."""
    return tuple((int(colour[at : at + 2], 16) + int(PANEL[at : at + 2], 16)) // 2 for at in (1, 3, 5))


def _axis(canvas: ImageDraw.ImageDraw, y: int, duration_s: float) -> None:
    """Write times under the rows, at about ten even places."""
    steps = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
    step = next((one for one in steps if duration_s / one <= 12), steps[-1])
    n = 0
    while n * step <= duration_s:
        at_s = n * step
        x = round(SCALE * (LEFT + (WIDTH - LEFT - RIGHT) * at_s / max(duration_s, 0.001)))
        canvas.line((x, (y + 4) * SCALE, x, (y + 10) * SCALE), fill=QUIET, width=SCALE)
        canvas.text((x, (y + 14) * SCALE), clock(at_s), font=_font(13, 400), fill=QUIET, anchor="ma")
        n += 1


def clock(seconds: float) -> str:
    """Return a time as people write it: 0:05, 0:01.5, 1:02:03."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    shown = f"{rest:04.1f}" if rest % 1 else f"{int(rest):02d}"
    return f"{hours}:{minutes:02d}:{shown}" if hours else f"{minutes}:{shown}"

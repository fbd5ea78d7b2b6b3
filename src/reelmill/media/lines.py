"""A line of text as runs: each in one font and one direction, in the order in which they are seen.

Within a run HarfBuzz and FriBiDi (raqm) shape and order. Between runs, as a line may need several fonts, the rules
W, N and L2 of the Unicode bidirectional algorithm (UAX #9) are followed for one level of embedding.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reelmill.media.fonts import Face

JOINERS = frozenset("\u200c\u200d\u200e\u200f\u00ad\u2060")  #: need no glyph, change how others look
STRONG_RIGHT = frozenset({"R", "AL"})
NO_LINE_START = frozenset("、。，．・：；？！）」』】〕〉》ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ,.!?:;)]}»”’%")
NO_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
NO_LINE_END = frozenset("（「『【〔〈《([{«“‘")


@dataclass(frozen=True)
class Run:
    """A piece of a line."""

    text: str
    face: Face
    right_to_left: bool


def is_invisible(char: str) -> bool:
    """Return whether a character needs no glyph of its own."""
    return char in JOINERS or unicodedata.category(char) == "Cf" or 0xFE00 <= ord(char) <= 0xFE0F


def missing(text: str, fonts: Sequence[Face]) -> list[str]:
    """Return the characters, each once, for which there is no glyph in any font."""
    wanted = dict.fromkeys(char for char in text if char != "\n" and not is_invisible(char))
    return [char for char in wanted if not any(ord(char) in face.covers for face in fonts)]


def is_right_to_left(text: str) -> bool:
    """Return a paragraph's direction: that of its first letter (rule P2)."""
    for char in text:
        kind = unicodedata.bidirectional(char)
        if kind in STRONG_RIGHT:
            return True
        if kind == "L":
            return False
    return False


def visual_runs(line: str, fonts: Sequence[Face], base: bool) -> list[Run]:
    """Return a line's runs from left to right. base: the paragraph runs from right to left."""
    pieces = _by_font(line, fonts)
    sides = [_side(text) for text, _ in pieces]
    runs: list[Run] = []
    for n, (text, face) in enumerate(pieces):
        side = base if sides[n] is None else bool(sides[n])
        follows = next((later for later in sides[n + 1 :] if later is not None), base)
        if side != base and follows != side:
            # What stands between the directions belongs to the paragraph's (rule N2).
            kept = len(text) - len(_neutral_end(text))
            runs.append(Run(text[:kept], face, side))
            if text[kept:]:
                runs.append(Run(text[kept:], face, base))
        else:
            runs.append(Run(text, face, side))
    return _reordered(runs, base)


def _by_font(line: str, fonts: Sequence[Face]) -> list[tuple[str, Face]]:
    pieces: list[tuple[str, Face]] = []
    for char in line:
        face = _face(char, pieces[-1][1] if pieces else None, fonts)
        if pieces and pieces[-1][1] is face:
            pieces[-1] = (pieces[-1][0] + char, face)
        else:
            pieces.append((char, face))
    return pieces


def _face(char: str, before: Face | None, fonts: Sequence[Face]) -> Face:
    if before is not None:
        if is_invisible(char):
            return before
        kind = unicodedata.category(char)
        # Spaces, punctuation and marks go with their neighbour: a mark in another font would stand beside its letter.
        goes_along = kind[0] == "M" if before.is_emoji else kind[0] in "MZP"
        if (goes_along or 0x1F3FB <= ord(char) <= 0x1F3FF) and ord(char) in before.covers:
            return before
    return next((face for face in fonts if ord(char) in face.covers), before or fonts[0])


def _side(text: str) -> bool | None:
    """Return whether a run goes from right to left; None if nothing in it says so. Numbers go from left to right."""
    for char in text:
        kind = unicodedata.bidirectional(char)
        if kind in STRONG_RIGHT or kind == "AN":
            return True
        if kind in {"L", "EN"}:
            return False
    return None


def _neutral_end(text: str) -> str:
    kept = len(text)
    while kept and unicodedata.bidirectional(text[kept - 1]) in {"WS", "ON", "CS", "ES", "ET", "B", "S"}:
        kept -= 1
    return text[kept:]


def _reordered(runs: list[Run], base: bool) -> list[Run]:
    """Return runs in visual order (rule L2 for two levels)."""
    levels = [int(base) if run.right_to_left == base else int(base) + 1 for run in runs]
    order = list(range(len(runs)))
    for level in (2, 1):
        start = 0
        while start < len(order):
            end = start
            while end < len(order) and levels[order[end]] >= level:
                end += 1
            order[start:end] = reversed(order[start:end])
            start = max(end, start + 1)
    return [runs[n] for n in order]


def clusters(text: str) -> Iterator[str]:
    """Yield what mustn't be torn apart: a letter with its marks, joined emoji, a pair of regional indicators."""
    held = ""
    for char in text:
        code = ord(char)
        joins = (
            unicodedata.category(char)[0] == "M"
            or is_invisible(char)
            or 0x1F3FB <= code <= 0x1F3FF
            or held.endswith("\u200d")
            or (0x1F1E6 <= code <= 0x1F1FF and re.fullmatch("[\U0001f1e6-\U0001f1ff]", held) is not None)
            or (bool(held) and unicodedata.combining(held[-1]) == 9)  # a virama: the next letter joins
        )
        if held and not joins:
            yield held
            held = ""
        held += char
    if held:
        yield held


def words(line: str) -> list[str]:
    """Return the pieces between which a line may be broken; spaces stay at the end of the piece before them."""
    pieces: list[str] = []
    for piece in re.findall(r"[^ \u3000]+[ \u3000]*|[ \u3000]+", line):
        held = ""
        for cluster in clusters(piece):
            if held and _may_break(held[-1], cluster[0]):
                pieces.append(held)
                held = ""
            held += cluster
        pieces.append(held)
    return pieces


def _may_break(before: str, after: str) -> bool:
    if not (_stands_alone(before) or _stands_alone(after)) or after in " \u3000" or after in NO_LINE_START or before in NO_LINE_END:
        return False
    return True


def _stands_alone(char: str) -> bool:
    """Return whether lines may be broken at any such letter: its script writes no spaces between words.

    Thai, Lao, Khmer and Myanmar should be broken by a dictionary; at a letter is what is left without one.
    """
    return unicodedata.category(char) == "Lo" and unicodedata.name(char, "").startswith(NO_SPACES)

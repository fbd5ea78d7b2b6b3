"""A line of text as runs: each in one font and one direction, in the order in which they are seen.

Within a run HarfBuzz and FriBiDi (raqm) shape and order. Between runs, as a line may need several fonts, rules
W1, W4, W5, W7, N1, N2 and L2 of the Unicode bidirectional algorithm (UAX #9) are followed for text without
explicit embedding.
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
    runs: list[tuple[Run, int]] = []
    face: Face | None = None
    for char, level in zip(line, levels(line, base), strict=True):
        face = _face(char, face, fonts)
        if runs and runs[-1][0].face is face and runs[-1][1] == level:
            runs[-1] = Run(runs[-1][0].text + char, face, level == 1), level
        else:
            runs.append((Run(char, face, level == 1), level))
    return _reordered(runs)


def levels(line: str, base: bool) -> list[int]:
    """Return each character's embedding level: 0 left to right, 1 right to left, 2 left to right within that."""
    kinds = _numbers([unicodedata.bidirectional(char) or "L" for char in line], base)
    found: list[int | None] = []
    for kind, char in zip(kinds, line, strict=True):
        if kind == "NSM" or is_invisible(char):
            found.append(found[-1] if found else None)  # W1: a mark is as its letter
        else:
            found.append({"L": 2 * base, "EN": 2, "R": 1, "AL": 1, "AN": 1}.get(kind))
    return _neutrals(found, int(base))


def _numbers(kinds: list[str], base: bool) -> list[str]:
    """Return the kinds with numbers settled: separators and signs join them (W4, W5); after left-to-right letters
    they are as those (W7)."""
    for n, kind in enumerate(kinds):
        around = kinds[n - 1 : n] + kinds[n + 1 : n + 2]
        if (kind in {"CS", "ES"} and around == ["EN", "EN"]) or (kind == "ET" and "EN" in around):
            kinds[n] = "EN"
    strong = "R" if base else "L"
    for n, kind in enumerate(kinds):
        if kind in {"L", "R", "AL"}:
            strong = kind
        elif kind == "EN" and strong == "L":
            kinds[n] = "L"
    return kinds


def _neutrals(found: list[int | None], base: int) -> list[int]:
    """Return the levels with punctuation settled: between equals as those, else as the paragraph (N1, N2)."""
    settled: list[int] = []
    for n, level in enumerate(found):
        if level is not None:
            settled.append(level)
            continue
        before = next((told for told in reversed(found[:n]) if told is not None), base)
        after = next((told for told in found[n + 1 :] if told is not None), base)
        # A number among right-to-left letters counts as one of them here; between left-to-right words it doesn't.
        sides = {1 if side == 2 and not base else side for side in (before, after)}
        settled.append(sides.pop() if len(sides) == 1 else base)
    return settled


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


def _reordered(runs: list[tuple[Run, int]]) -> list[Run]:
    """Return runs in the order in which they are seen (L2)."""
    order = list(range(len(runs)))
    for level in (2, 1):
        start = 0
        while start < len(order):
            end = start
            while end < len(order) and runs[order[end]][1] >= level:
                end += 1
            order[start:end] = reversed(order[start:end])
            start = max(end, start + 1)
    return [runs[n][0] for n in order]


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
    if after in " \u3000" or after in NO_LINE_START or before in NO_LINE_END:
        return False
    return _stands_alone(before) or _stands_alone(after)


def _stands_alone(char: str) -> bool:
    """Return whether lines may be broken at any such letter: its script writes no spaces between words.

    Thai, Lao, Khmer and Myanmar should be broken by a dictionary; at a letter is what is left without one.
    """
    return unicodedata.category(char) == "Lo" and unicodedata.name(char, "").startswith(NO_SPACES)

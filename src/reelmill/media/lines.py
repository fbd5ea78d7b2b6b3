"""A paragraph of text made ready to be set: its language, where it may be broken, how wide each part is, in which
font and direction each character goes, and what is seen from left to right.

Lines end where ICU allows it: rules UAX #14, with dictionaries for Thai, Lao, Khmer and Burmese, which write no spaces
between words, and by phrases in short Japanese and Korean texts. What belongs together in one place (a letter with
its marks, joined emoji, a flag) is a grapheme cluster of UAX #29. Directions are those of the Unicode bidirectional
algorithm, UAX #9, without its explicit codes: those are refused before.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby

from icu4py.breakers import CharacterBreaker, LineBreaker

from reelmill.errors import ParamsInvalid
from reelmill.media.fonts import Face, Glyph, Language, faces

PHRASES = {"ja": "ja-u-lw-phrase", "ko": "ko-u-lw-phrase"}
MOST_FOR_PHRASES = 100  #: characters; longer texts are run on as in a book
SPACES = " \u3000\u200b"
SOFT_HYPHEN = "\u00ad"

# Default_Ignorable_Code_Point (Unicode 17): needs no glyph, changes how its neighbours look.
_IGNORED = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A piece of a line in one font and one direction, in the order in which it is read."""

    text: str
    face: Face
    right_to_left: bool


class Paragraph:
    """One paragraph, measured at a font size of 1. Raises ParamsInvalid naming what no installed font can draw.

    weight: 400–700. language: whose Han characters, and whose phrases.
    """

    def __init__(self, text: str, language: Language, weight: int) -> None:
        self.text = text
        self.weight = weight
        self.fonts = faces(language)
        self.right_to_left = is_right_to_left(text)
        self.clusters = clusters(text)
        self.levels = levels(text, self.right_to_left)
        self.faces = [
            face
            for cluster, face in zip(self.clusters, chosen_faces(self.clusters, self.fonts), strict=True)
            for _ in cluster
        ]
        #: where a line may end, the best places first: phrases, words, clusters
        self.stops = [
            _line_ends(text, PHRASES.get(language, "en") if len(text) <= MOST_FOR_PHRASES else "en"),
            _line_ends(text, "en"),
            list(accumulate(map(len, self.clusters))),
        ]
        self.up, self.down = 0.0, 0.0  #: how far its glyphs reach above and below the baseline, font sizes
        widths = [0.0] * len(text)
        start = 0
        for run in self._runs(range(len(text))):
            for glyph in _shaped(run, self.weight):
                widths[start + glyph.char] += glyph.advance
                self.up, self.down = max(self.up, glyph.up), max(self.down, glyph.down)
            start += len(run.text)
        self._before = [0.0, *accumulate(widths)]  # the width of all before a character

    @cached_property
    def _reach(self) -> list[list[float]]:
        """How far the line reaches that ends at each stop, without the spaces at its end."""
        return [[self._before[self._seen_end(0, stop)] for stop in stops] for stops in self.stops]

    def _seen_end(self, start: int, end: int) -> int:
        while end > start and self.text[end - 1] in SPACES:
            end -= 1
        return end

    def broken(self, room: float, torn: bool) -> list[tuple[int, int]] | None:
        """Return start and end of each line, at most `room` font sizes wide; None if a word is wider.

        torn: a word that is wider than the room may be broken between any two clusters.
        """
        lines = []
        start = 0
        while start < len(self.text):
            for stops, reach in list(zip(self.stops, self._reach, strict=True))[: 3 if torn else 2]:
                n = bisect_right(reach, self._before[start] + room)
                if n and stops[n - 1] > start:
                    break
            else:
                return None
            lines.append((start, self._seen_end(start, stops[n - 1])))
            start = stops[n - 1]
        return lines or [(0, 0)]

    def balanced(self, room: float, torn: bool) -> list[tuple[int, int]] | None:
        """Return the same number of lines as `broken`, of lengths as even as can be if they are few."""
        lines = self.broken(room, torn)
        if lines is None or not 1 < len(lines) <= 6 or self.broken(room, False) is None:
            return lines
        narrow, wide = room / 2, room
        for _ in range(12):
            middle = (narrow + wide) / 2
            tried = self.broken(middle, False)
            if tried is not None and len(tried) <= len(lines):
                wide, lines = middle, tried
            else:
                narrow = middle
        return lines

    def line(self, start: int, end: int) -> tuple[str, list[tuple[Run, list[Glyph]]]]:
        """Return a line's text and its shaped runs from left to right (rule L2)."""
        hyphen = end < len(self.text) and self.text[end - 1 : end] == SOFT_HYPHEN
        text = self.text[start:end].replace(SOFT_HYPHEN, "") + "-" * hyphen
        shown = [n for n in range(start, end) if self.text[n] != SOFT_HYPHEN]
        runs = self._runs(shown)
        sides = [self.levels[place] for place in accumulate([0, *(len(run.text) for run in runs[:-1])])] if 0 else []
        return text, [(run, _shaped(run, self.weight)) for run in runs] if not sides else []

    def _runs(self, places: Sequence[int]) -> list[Run]:
        return []

"""A paragraph of text made ready to be set: where it may be broken, how wide each part is, what is seen from left
to right.

Lines end where ICU allows it: rules UAX #14, with dictionaries for Thai, Lao, Khmer and Burmese, which write no spaces
between words, and by phrases in short Japanese and Korean texts. What is never torn apart (a letter with its marks,
joined emoji, a flag) is a grapheme cluster of UAX #29. Directions are those of the Unicode bidirectional algorithm,
UAX #9, without its explicit codes: those are refused before.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Literal

from icu4py.breakers import CharacterBreaker, LineBreaker

from reelmill.errors import ParamsInvalid
from reelmill.media.fonts import Face, Glyph, Language, faces

PHRASES: dict[Language, str] = {"ja": "ja-u-lw-phrase", "ko": "ko-u-lw-phrase"}
MOST_FOR_PHRASES = 100  #: characters; longer texts are run on as in a book
MOST_BALANCED = 6  #: lines
SOFT_HYPHEN = "\u00ad"
NEUTRAL = frozenset({"Zs", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po"})
OPENING = frozenset({"Ps", "Pi"})

#: What the old national character sets tell of a text in Han characters alone: all of it is in the first that fits.
HAN_CODECS: dict[Language, str] = {"zh-Hans": "gb2312", "zh-Hant": "big5", "ja": "shift_jis", "zh-HK": "big5hkscs"}

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

    @property
    def direction(self) -> Literal["rtl", "ltr"]:
        return "rtl" if self.right_to_left else "ltr"


class Paragraph:
    """One paragraph, measured at a font size of 1. Raises ParamsInvalid naming what no installed font can draw.

    language: whose Han characters, and whose phrases. weight: 400–700. own: fonts before the installed ones.
    """

    def __init__(self, text: str, language: Language, weight: int, own: Sequence[Face] = ()) -> None:
        parts = clusters(text)
        self.text = text
        self.weight = weight
        self.fonts = (*own, *faces(language))
        self.levels = levels(text, is_right_to_left(text))
        chosen = chosen_faces(parts, self.fonts)
        self.faces = [face for part, face in zip(parts, chosen, strict=True) for _ in part]
        by_phrase = PHRASES.get(language, "en") if len(text) <= MOST_FOR_PHRASES else "en"
        #: where a line may end, the better places first: after phrases, words, clusters
        self.stops = [line_ends(text, by_phrase), line_ends(text, "en"), list(accumulate(map(len, parts)))]
        self.up, self.down = 0.0, 0.0  #: how far its glyphs reach above and below the baseline, font sizes
        widths = [0.0] * len(text)
        start = 0
        for run, _ in _runs(text, self.faces, self.levels):
            for glyph in self._shaped(run):
                widths[start + glyph.char] += glyph.advance
                self.up, self.down = max(self.up, glyph.up), max(self.down, glyph.down)
            start += len(run.text)
        self._before = [0.0, *accumulate(widths)]  # the width of all before a character
        self._reach = [[self._reached(stop) for stop in stops] for stops in self.stops]

    def broken(self, room: float, torn: bool) -> list[tuple[int, int]] | None:
        """Return start and end of each line, at most `room` font sizes wide; None if a word is wider.

        torn: a word that is wider than the room may be broken between any two clusters.
        """
        lines = []
        start = 0
        while start < len(self.text):
            for stops, reach in zip(self.stops[: 2 + torn], self._reach[: 2 + torn], strict=True):
                n = bisect_right(reach, self._before[start] + room)
                if n and stops[n - 1] > start:
                    break
            else:
                return None
            lines.append((start, self._seen_end(start, stops[n - 1])))
            start = stops[n - 1]
        return lines or [(0, 0)]

    def balanced(self, room: float, torn: bool) -> list[tuple[int, int]] | None:
        """Return as many lines as `broken` does, as even as can be if they are few and no word is torn."""
        lines = self.broken(room, torn)
        if lines is None or not 1 < len(lines) <= MOST_BALANCED or self.broken(room, False) is None:
            return lines
        narrow, wide = room / 2, room
        for _ in range(10):
            middle = (narrow + wide) / 2
            tried = self.broken(middle, False)
            if tried is not None and len(tried) <= len(lines):
                wide, lines = middle, tried
            else:
                narrow = middle
        return lines

    def line(self, start: int, end: int) -> tuple[str, list[Run]]:
        """Return a line's text, and its runs from left to right."""
        text, fonts, directions = self.text[start:end], self.faces[start:end], self.levels[start:end]
        if text.endswith(SOFT_HYPHEN) and end < len(self.text):
            text = text[:-1] + "-"
            fonts[-1] = next(face for face in (*fonts[-2:-1], *self.fonts) if face.covers("-"))
        return text, _reordered(_runs(text, fonts, directions))

    def _shaped(self, run: Run) -> list[Glyph]:
        try:
            return run.face.shaped(run.text, run.right_to_left, self.weight)
        except KeyError as error:
            raise _not_drawn([run.text[error.args[0]]]) from None

    def _reached(self, stop: int) -> float:
        """Return how far a line reaches that ends at a stop."""
        hyphen = 0.35 if self.text[stop - 1] == SOFT_HYPHEN else 0.0
        return self._before[self._seen_end(0, stop)] + hyphen

    def _seen_end(self, start: int, end: int) -> int:
        """Return the end of what is seen of a line: spaces at its end aren't."""
        while end > start and (self.text[end - 1].isspace() or self.text[end - 1] == "\u200b"):
            end -= 1
        return end


def language_of(text: str) -> Language:
    """Return the language whose forms of Han characters suit a text.

    Japanese if it has kana, Korean if it has Hangul, the more frequent if both, traditional Chinese if it has Bopomofo;
    without them what HAN_CODECS tell, and simplified Chinese at last.
    """
    far = [char for char in text if char > "\u10ff"]
    scripts = Counter(unicodedata.name(char, "").partition(" ")[0] for char in far)
    kana, hangul = scripts["HIRAGANA"] + scripts["KATAKANA"], scripts["HANGUL"]
    if kana or hangul:
        return "ja" if kana >= hangul else "ko"
    if scripts["BOPOMOFO"]:
        return "zh-Hant"
    han = "".join(char for char in far if unicodedata.name(char, "").startswith("CJK UNIFIED"))
    return next((language for language, codec in HAN_CODECS.items() if _encodes(han, codec)), "zh-Hans")


def _encodes(text: str, codec: str) -> bool:
    try:
        text.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


def clusters(text: str) -> list[str]:
    """Return what mustn't be torn apart: a letter with its marks, joined emoji, a pair of regional indicators."""
    return list(CharacterBreaker(text, "en"))


def line_ends(text: str, locale: str) -> list[int]:
    """Return where a line may end, by ICU's rules for a locale."""
    return list(accumulate(map(len, LineBreaker(text, locale))))  # its segments() count in UTF-16


def is_invisible(char: str) -> bool:
    """Return whether a character needs no glyph of its own."""
    return any(first <= ord(char) <= last for first, last in _IGNORED)


def chosen_faces(parts: Sequence[str], fonts: Sequence[Face]) -> list[Face]:
    """Return each cluster's font. Raises ParamsInvalid naming the clusters that no font can draw."""
    known = {part: _first_face(part, fonts) for part in dict.fromkeys(parts)}
    unknown = [part for part, face in known.items() if face is None]
    if unknown:
        raise _not_drawn(list(dict.fromkeys(_undrawn(part, fonts) for part in unknown)))
    found = [known[part] or fonts[0] for part in parts]
    # Punctuation and spaces look like the letters that they belong to: opening marks like the next, others like those
    # before them.
    kinds = [unicodedata.category(part[0]) for part in parts]
    pairs = zip(kinds, found, strict=True)
    letters = [None if kind in NEUTRAL or kind[0] == "S" or face.is_emoji else face for kind, face in pairs]
    before, after = _held(letters), _held(letters[::-1])[::-1]
    for n, kind in enumerate(kinds):
        if kind in NEUTRAL and not found[n].is_emoji:
            beside = (after[n], before[n]) if kind in OPENING else (before[n], after[n])
            found[n] = next((face for face in beside if face and face.covers(parts[n])), found[n])
    return found


def _held(letters: Sequence[Face | None]) -> list[Face | None]:
    """Return for each place the last face so far."""
    found: list[Face | None] = []
    for face in letters:
        found.append(face or (found[-1] if found else None))
    return found


def _first_face(cluster: str, fonts: Sequence[Face]) -> Face | None:
    """Return the first font that has all of a cluster, so that no mark stands beside its letter in another font."""
    seen = "".join(char for char in cluster if not is_invisible(char))
    emoji = "\ufe0e" not in cluster and ("\ufe0f" in cluster or cluster[0] >= "\U0001f000")
    in_order = (
        sorted(fonts, key=lambda face: (not face.is_emoji, not face.is_color))
        if emoji
        else [face for face in fonts if not face.is_color]
    )
    # HarfBuzz takes letters apart that a font doesn't have as one.
    for text in (seen, unicodedata.normalize("NFD", seen)):
        for face in in_order:
            if face.covers(text):
                return face
    return None


def _undrawn(cluster: str, fonts: Sequence[Face]) -> str:
    """Return the character to blame; the cluster if fonts have all its characters, but none has them together."""
    seen = [char for char in cluster if not is_invisible(char)]
    return next((char for char in seen if not any(face.covers(char) for face in fonts)), "".join(seen[:4]))


def _not_drawn(wanted: Sequence[str]) -> ParamsInvalid:
    return ParamsInvalid(f"No installed font can draw {named(wanted)}. Leave it out or write it in another way.")


def named(wanted: Sequence[str]) -> str:
    """Return characters, or letters with marks, by number and name; at most eight of them."""
    told = [
        " with ".join(f"U+{ord(char):04X} {unicodedata.name(char, '').title()}".strip() for char in cluster)
        for cluster in wanted[:8]
    ]
    return ", ".join(told) + (f" and {len(wanted) - 8} more" if len(wanted) > 8 else "")


def _runs(text: str, fonts: Sequence[Face], directions: Sequence[int]) -> list[tuple[Run, int]]:
    """Return runs in the order in which they are read, each with its level."""
    runs = []
    start = 0
    for (face, level), group in groupby(zip(fonts, directions, strict=True)):
        end = start + sum(1 for _ in group)
        runs.append((Run(text[start:end], face, level % 2 == 1), level))
        start = end
    return runs


def _reordered(runs: Sequence[tuple[Run, int]]) -> list[Run]:
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


def is_right_to_left(text: str) -> bool:
    """Return a paragraph's direction: that of its first letter (P2, P3)."""
    kinds = map(unicodedata.bidirectional, text)
    return next((kind != "L" for kind in kinds if kind in {"L", "R", "AL"}), False)


def levels(text: str, right_to_left: bool) -> list[int]:
    """Return each character's embedding level: 0 left to right, 1 right to left, 2 left to right within that.

    text: a paragraph without explicit directional codes. right_to_left: its direction.
    """
    kinds = [unicodedata.bidirectional(char) or "L" for char in text]
    if not right_to_left and not {"R", "AL", "AN"} & set(kinds):
        return [0] * len(text)
    base = "R" if right_to_left else "L"
    kept = [n for n, kind in enumerate(kinds) if kind != "BN"]
    chars, original = [text[n] for n in kept], [kinds[n] for n in kept]
    solved = _weak(original, base)
    _brackets(chars, original, solved, base)
    _neutral(solved, base)
    found = [int(right_to_left)] * len(text)
    for n, kind in zip(kept, solved, strict=True):
        found[n] = {"L": 2 if right_to_left else 0, "R": 1}.get(kind, 2)  # I1, I2
    for n, kind in enumerate(kinds):
        if kind == "BN" and n:
            found[n] = found[n - 1]
    return found


def _weak(original: Sequence[str], base: str) -> list[str]:
    """Return the kinds with marks, signs and numbers settled: L, R, EN, AN or neutral."""
    kinds = list(original)
    before = strong = base
    for n, kind in enumerate(original):
        before = before if kind == "NSM" else kind  # W1
        strong = before if before in {"L", "R", "AL"} else strong
        kinds[n] = "AN" if before == "EN" and strong == "AL" else before  # W2
    kinds = ["R" if kind == "AL" else kind for kind in kinds]  # W3
    for n in range(1, len(kinds) - 1):
        if kinds[n - 1] == kinds[n + 1] and (kinds[n], kinds[n - 1]) in {("ES", "EN"), ("CS", "EN"), ("CS", "AN")}:
            kinds[n] = kinds[n - 1]  # W4
    for start, end in _stretches(kinds, {"ET"}):
        if "EN" in kinds[max(start - 1, 0) : end + 1]:
            kinds[start:end] = ["EN"] * (end - start)  # W5
    strong = base
    for n, kind in enumerate(kinds):
        strong = kind if kind in {"L", "R"} else strong
        if kind in {"ES", "ET", "CS"}:
            kinds[n] = "ON"  # W6
        elif kind == "EN" and strong == "L":
            kinds[n] = "L"  # W7
    return kinds


def _brackets(chars: Sequence[str], original: Sequence[str], kinds: list[str], base: str) -> None:
    """Give both brackets of a pair one direction (N0)."""
    for opening, closing in _pairs(chars, kinds):
        inside = {_side(kind) for kind in kinds[opening + 1 : closing]} - {None}
        if not inside:
            continue
        side = base
        if base not in inside:
            side = next((told for kind in reversed(kinds[:opening]) if (told := _side(kind))), base)
        for n in (opening, closing):
            kinds[n] = side
            while n + 1 < len(kinds) and original[n + 1] == "NSM":
                n += 1
                kinds[n] = side


def _pairs(chars: Sequence[str], kinds: Sequence[str]) -> list[tuple[int, int]]:
    """Return the places of brackets that belong together (BD16), by their beginning."""
    pairs = []
    stack: list[tuple[str, int]] = []
    for n, (char, kind) in enumerate(zip(chars, kinds, strict=True)):
        if kind != "ON" or not unicodedata.mirrored(char):
            continue
        # All closing brackets but those of ASCII and fullwidth come right behind their opening ones.
        if unicodedata.category(char) == "Ps":
            if len(stack) == 63:
                break
            stack.append((chr(ord(char) + (2 if char in "[{［｛" else 1)), n))
        elif unicodedata.category(char) == "Pe":
            match = next((k for k in range(len(stack) - 1, -1, -1) if stack[k][0] == char), None)
            if match is not None:
                pairs.append((stack[match][1], n))
                del stack[match:]
    return sorted(pairs)


def _neutral(kinds: list[str], base: str) -> None:
    """Settle spaces and signs: between equals as those, else as the paragraph (N1, N2)."""
    for start, end in _stretches(kinds, {"B", "S", "WS", "ON"}):
        left = _side(kinds[start - 1]) if start else base
        right = _side(kinds[end]) if end < len(kinds) else base
        kinds[start:end] = [left if left == right and left else base] * (end - start)


def _side(kind: str) -> str | None:
    return {"L": "L", "R": "R", "EN": "R", "AN": "R"}.get(kind)


def _stretches(kinds: Sequence[str], wanted: set[str]) -> list[tuple[int, int]]:
    """Return start and end of each stretch of wanted kinds."""
    ends = list(accumulate(len(list(group)) for _, group in groupby(kinds, wanted.__contains__)))
    found = zip([0, *ends], ends, strict=False)
    return [(start, end) for start, end in found if kinds[start] in wanted]

"""What every variation must keep, whoever made it; the reason is told when it doesn't."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable

from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import extractOne

from reelmill.jobs.texts import PLACEHOLDER, TextSlot, WantedTexts, fill, first_alternatives
from reelmill.texts import languages

LEAST_EDITS = 4  #: between any two texts; of short ones a quarter of their letters is enough
MOST_LINES = 3
TAG = re.compile(r"</?[A-Za-z!][^<>]*>")
MARKUP = re.compile(r"\*\*|__|```|`|^\s*(?:[#>]+|[-*•]|\d{1,3}[.)])\s|\]\(|&[a-z]{2,8};", re.MULTILINE)
LINK = re.compile(
    r"(?i)https?:|www\.|\b[\w.-]{1,64}@[\w-]{1,63}\.\w|(?<!\w)[@#]\w|\b[\w-]{1,63}\.(?:com|org|net|io|ru|cn|info|xyz)\b",
    re.I,
)
WORD = re.compile(r"\w")
ECHO_CHARS = 30  #: a run of our own instructions that is no coincidence
QUOTES = {'"': '"', "“": "”", "„": "“", "«": "»", "'": "'", "‘": "’"}


class Contract:
    """The texts that were accepted so far, and whether another may join them."""

    def __init__(self, wanted: WantedTexts, fits: Callable[[str], str | None], *, instructions: str = "") -> None:
        self.wanted = wanted
        self.base = first_alternatives(wanted.base)
        self.language = wanted.language or languages.language_of(self.base)
        self._fits = fits
        self._instructions = normalised(instructions)
        self._placeholders = placeholders(self.base)
        self._scripts = languages.scripts_of(self.base)
        self._lines = max(MOST_LINES, self.base.count("\n") + 1)
        self._filled = {normalised(self.base)}  #: with placeholders filled in
        self._bare = [normalised(self.base)]  #: without: a number alone doesn't make a model's text another one

    def accept(self, text: str, slot: TextSlot, *, by_model: bool) -> str | None:
        """Return why the text can't stand in this slot; None: it was accepted."""
        reason = self.fault(text) or self.too_long(text, slot) or self._too_alike(text, slot, by_model=by_model)
        if reason is None:
            reason = self._fits(fill(text, slot.values))
        if reason is None:
            self._filled.add(normalised(fill(text, slot.values)))
            self._bare.append(normalised(text))
        return reason

    def too_long(self, text: str, slot: TextSlot) -> str | None:
        length = len(fill(text, slot.values))
        return None if length <= slot.max_chars else f"{length} characters; at most {slot.max_chars} can be read here"

    def fault(self, text: str) -> str | None:
        """Return why the text can't stand anywhere."""
        if not WORD.search(text):
            return "it has no words"
        for char in text:
            if char != "\n" and unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp"):
                return f"it has a control character, U+{ord(char):04X}"
            if char == "\ufffd":
                return "a part of it is lost: it has U+FFFD"
            if char in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069":
                return f"it has a code for the direction of letters, U+{ord(char):04X}"
        if text.count("\n") >= self._lines:
            return f"it has more than {self._lines} lines"
        for pattern, what in ((TAG, "markup"), (MARKUP, "markup"), (LINK, "a link or an account")):
            found = pattern.search(text)
            if found and found[0].strip() not in self.base:
                return f"it has {what}: {found[0].strip()}"
        return self._wording(text)

    def _wording(self, text: str) -> str | None:
        if placeholders(text) != self._placeholders:
            kept = ", ".join(sorted(self._placeholders)) or "none"
            return f"the words in braces must be kept exactly: {kept}"
        plain = normalised(text)
        for word in self.wanted.required:
            if not holds(plain, word):
                return f"it must have the word {word!r}"
        for word in self.wanted.forbidden:
            if holds(plain, word):
                return f"it must not have the word {word!r}"
        strange = languages.scripts_of(PLACEHOLDER.sub("", text)) - self._scripts
        if self._scripts and strange:
            return f"it is written in {', '.join(sorted(strange)).lower()}, the text isn't"
        if self.language and (other := languages.differs_in_language(text, self.language)):
            return f"it is in {other}, not in {self.language}"
        if self._instructions and len(plain) >= ECHO_CHARS:
            own = normalised(self.base)
            for start in range(0, len(plain) - ECHO_CHARS + 1, 5):
                part = plain[start : start + ECHO_CHARS]
                if part in self._instructions and part not in own:
                    return "it repeats the instructions"
        return None

    def _too_alike(self, text: str, slot: TextSlot, *, by_model: bool) -> str | None:
        if normalised(fill(text, slot.values)) in self._filled:
            return "it is there already"
        if by_model or not has_digit(fill(text, slot.values)):
            bare = normalised(text)
            edits = max(1, min(LEAST_EDITS, len(bare) // 4))
            near = extractOne(bare, self._bare, scorer=Levenshtein.distance, score_cutoff=edits - 1)
            if near is not None:
                return f"it is nearly the same as {near[0]!r}"
        return None


def placeholders(text: str) -> Counter[str]:
    """Return what stands in braces, and how often."""
    rest = text.replace("{{", "").replace("}}", "")
    return Counter(re.findall(r"\{[^{}\n]*\}?|\}", rest))


def cleaned(text: str) -> str:
    """Return a text without what surrounds it: spaces, and quotation marks around the whole."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
    if len(text) > 1 and QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return "\n".join(" ".join(line.split()) for line in text.split("\n"))


def normalised(text: str) -> str:
    """Return what two texts must differ in: letters, marks and digits, without case, punctuation and line breaks."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(char if unicodedata.category(char)[0] in "LMN" else " " for char in folded)
    return " ".join(kept.split()) or "".join(folded.split())


def holds(plain: str, word: str) -> bool:
    """Whether a normalised text has a word, or several in a row."""
    wanted = normalised(word)
    spaced = re.search(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]", wanted) is None
    return f" {wanted} " in f" {plain} " if spaced else wanted in plain


def has_digit(text: str) -> bool:
    return any(char.isdigit() for char in text)

"""Local rules: what can be made of a text without any model. Pure; the same text gives the same variations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice, permutations, product

from reelmill.jobs.texts import ALTERNATIVES, PLACEHOLDER, TextSlot, WantedTexts, first_alternatives
from reelmill.texts import languages

PARTS = re.compile(r"(\n+|(?<=[.!?…。！？])\s*|\s+[–—|·•]\s+)")  #: between what may stand in another order
MOST_PARTS = 4
MOST_EXPANSIONS = 1000  #: of alternatives
MOST_BASES = 40  #: of these, that get phrases
ENDS = ".!?…。！？:;"


def candidates(wanted: WantedTexts, language: str | None) -> Iterator[str]:
    """Yield variations that need no clip, best first: alternatives, another order, phrases before and after."""
    bases = list(islice(expansions(wanted.base), MOST_EXPANSIONS))
    for base in bases:
        yield base
    for base in bases:
        yield from reordered(base)
    del bases[MOST_BASES:]
    phrases = languages.BANK.get(language or "")
    if phrases is None:
        return
    # One phrase first, then two: short texts are the better ones. Bases take turns.
    openings, closings = phrases.openings, phrases.closings
    for n in range(len(openings)):
        for m, base in enumerate(bases, n):
            yield opened(openings[m % len(openings)], base, m)
    for n in range(len(closings)):
        for m, base in enumerate(bases, n):
            yield closed(base, closings[m % len(closings)], m)
    for n, (opening, closing) in enumerate(_diagonal(openings, closings)):
        for base in bases:
            yield closed(opened(opening, base, 0), closing, n)


def numbered(wanted: WantedTexts, slot: TextSlot) -> Iterator[str]:
    """Yield texts that are one clip's own by its number or time."""
    for base in islice(expansions(wanted.base), 8):
        if any(found[1] in ("index", "start") for found in PLACEHOLDER.finditer(base)):
            yield base
        if "start" in slot.values:
            yield f"{base} · {slot.values['start']}"
            yield f"{slot.values['start']} – {base}"


def expansions(text: str) -> Iterator[str]:
    """Yield the text with each choice of its `{a|b}`, so that neighbours differ in the first ones."""
    groups = [found[1].split("|") for found in ALTERNATIVES.finditer(text) if found[1] is not None]
    for chosen in product(*reversed(groups)):
        left = list(chosen)  # the first group's choice is last
        yield ALTERNATIVES.sub(lambda found: left.pop() if found[1] is not None else found[0], text)  # noqa: B023


def reordered(text: str) -> Iterator[str]:
    """Yield the text with its sentences, lines or parts between dashes in another order, and each line break moved."""
    pieces = PARTS.split(text)
    parts = [piece.strip() for piece in pieces[::2] if piece.strip()]
    between = next((piece for piece in pieces[1::2] if piece.strip(" ")), " ")
    if not 2 <= len(parts) <= MOST_PARTS:
        return
    for order in islice(permutations(parts), 1, None):
        yield between.join(order)


def opened(opening: str, text: str, n: int) -> str:
    """Put a phrase before a text, with a colon, a dash or on a line of its own."""
    return f"{opening}{(': ', ' – ', chr(10))[n % 3]}{text}"


def closed(text: str, closing: str, n: int) -> str:
    """Put a phrase behind a text, in the same line or the next."""
    ended = text if text[-1:] in ENDS else f"{text}."
    if n % 2:
        return f"{text}\n{closing}"
    return f"{ended} {closing if closing[-1] in ENDS else closing + '.'}"


def missing(wanted: WantedTexts, language: str | None) -> str:
    """Return what would give more variations."""
    advice = []
    if language not in languages.BANK:
        known = ", ".join(sorted(languages.BANK))
        advice.append(f"name the language if it is one of {known}")
    if first_alternatives(wanted.base) == wanted.base:
        advice.append("add alternatives like {Hello|Welcome}")
    else:
        advice.append("add more alternatives in {…|…}")
    advice.append("allow more characters or longer clips")
    return "; ".join(advice)


def _diagonal(first: tuple[str, ...], second: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield all pairs, so that neighbours share neither."""
    for shift in range(len(second)):
        for n, one in enumerate(first):
            yield one, second[(n + shift) % len(second)]

"""Local rules: what they make of a text alone, and the phrases that they know."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from reelmill.errors import VariationsUnavailable
from reelmill.jobs.texts import TextSlot, WantedTexts, fill, first_alternatives, readable
from reelmill.texts import Maker, languages, rules
from reelmill.texts.contract import cleaned, normalised

BASES = {
    "en": "Summer by the lake",
    "de": "Sommer am See und im Wald",
    "es": "El verano junto al lago",
    "fr": "Un été sur le lac",
    "it": "L'estate sulla riva del lago, con gli amici",
    "nl": "Zomer aan het meer",
    "pt": "O verão não acaba no lago",
}


def made(base: str, n: int, max_chars: int = 90, **more: object) -> list[str]:
    wanted = WantedTexts(base=base, slots=(TextSlot(max_chars=max_chars),) * n, **more)  # type: ignore[arg-type]
    texts = Maker().vary("acme", wanted).texts
    assert {one.source for one in texts} == {"local"}
    return [one.text for one in texts]


@pytest.mark.req("B-05")
@pytest.mark.parametrize("language", languages.BANK)
def test_a_plain_text_has_a_hundred_variations_in_each_language_of_the_docs(language: str) -> None:
    base = BASES[language]
    assert languages.language_of(base) == language
    texts = made(base, 100)
    assert len({normalised(text) for text in texts}) == 100
    assert all(base in text for text in texts), "the user's own words stay"
    assert made(base, 100) == texts, "the same request gives the same texts"


@pytest.mark.parametrize("language", languages.BANK)
def test_phrases_are_clearly_different_and_in_their_language(language: str) -> None:
    bank = languages.BANK[language]
    phrases = [*bank.openings, *bank.closings]
    for one, two in itertools.combinations(phrases, 2):
        assert Levenshtein.distance(normalised(one), normalised(two)) >= 4, (one, two)
    for phrase in phrases:
        assert languages.differs_in_language(f"{BASES[language]} {phrase}", language) is None, phrase


def test_alternatives_are_all_used_first() -> None:
    texts = made("{Hello|Welcome|Good morning} {friends|everybody}", 5, 40)
    assert set(texts) == {
        "Welcome friends", "Good morning friends", "Hello everybody", "Welcome everybody", "Good morning everybody",
    }  # fmt: skip
    assert first_alternatives("{{a|b}} {c|d|} {index}") == "{{a|b}} c {index}"


def test_sentences_and_lines_change_places() -> None:
    assert made("Der Wald.\nDas Licht.", 1, 30) == ["Das Licht.\nDer Wald."]
    assert "Sun\nWind – Sea" not in made("Sea – Wind", 1, 30) and made("Sea – Wind", 1, 30) == ["Wind – Sea"]


@pytest.mark.req("B-05")
def test_too_few_say_what_to_add() -> None:
    with pytest.raises(VariationsUnavailable) as told:
        made("夏の湖", 3)
    assert "found 0 of 3 texts" in told.value.detail and "name the language if it is one of de, en" in told.value.detail
    assert "alternatives like {Hello|Welcome}" in told.value.detail
    with pytest.raises(VariationsUnavailable, match="at most 20 characters"):
        made("Summer by the lake", 12, readable(1.0, 20.0))
    with pytest.raises(VariationsUnavailable, match="it must have the word 'winter'"):
        made("Summer by the lake", 2, required=("winter",))


def test_clip_times_tell_texts_apart_where_no_phrase_does() -> None:
    slots = tuple(TextSlot(max_chars=30, values={"start": f"{n}:00"}) for n in range(5))
    texts = Maker().vary("acme", WantedTexts(base="夏の湖", slots=slots)).texts
    assert [one.text for one in texts] == [f"夏の湖 · {n}:00" for n in range(5)]


def test_forbidden_words_keep_phrases_away() -> None:
    texts = made("Summer by the lake", 30, forbidden=("look", "watch"))
    assert not any("look" in text.lower() or "Watch this" in text for text in texts)


def test_a_thousand_clips_are_quick_and_different() -> None:
    slots = tuple(TextSlot(max_chars=120, values={"start": f"{n // 60}:{n % 60:02d}"}) for n in range(1000))
    texts = [one.text for one in Maker().vary("acme", WantedTexts(base=BASES["de"], slots=slots)).texts]
    assert len({normalised(text) for text in texts}) == 1000


@settings(deadline=None, max_examples=60)
@given(base=st.text(min_size=1, max_size=60), n=st.integers(1, 20), limit=st.integers(1, 90))
def test_whatever_is_given_the_count_is_exact_or_it_is_refused(base: str, n: int, limit: int) -> None:
    try:
        texts = made(base, n, limit)
    except VariationsUnavailable as told:
        assert told.extra["wanted"] == n > told.extra["made"]
    else:
        assert len({normalised(text) for text in texts}) == n and all(len(fill(text, {})) <= limit for text in texts)


def test_language_is_only_told_where_it_is_clear() -> None:
    assert languages.language_of("Lake") is None
    assert languages.differs_in_language("Le Mans", "de") is None, "a name isn't another language"
    assert languages.differs_in_language("the dog and the cat", "de") == "en"


def test_quotation_marks_around_the_whole_are_taken_off() -> None:
    assert cleaned(' "Summer" \r\n') == "Summer"
    assert cleaned('"Summer" by the "lake"') == '"Summer" by the "lake"'
    assert list(rules.reordered("One.")) == []

"""Highlights and cuts where something was found, of numbers alone."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.errors import ParamsInvalid
from reelmill.media import at_frames
from reelmill.media.findings import field_order
from reelmill.media.highlights import highlights, lively, loud

UNITS = st.lists(st.floats(0, 1), min_size=1, max_size=120)


@given(motion=UNITS, count=st.integers(0, 8), least=st.integers(1, 8), more=st.integers(0, 20), shots=st.data())
def test_highlights_stay_within_the_film_their_lengths_and_apart(
    motion: list[float], count: int, least: int, more: int, shots: st.DataObject
) -> None:
    length = len(motion) / 2
    edges = shots.draw(st.lists(st.floats(0, length), max_size=8).map(sorted))
    found = highlights(None, motion, 0.5, length, edges, count=count, least_s=least / 2, most_s=(least + more) / 2)
    assert len(found) <= count
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    for one in found:
        assert 0 <= one.start_s < one.end_s <= length
        assert min(least / 2, length) - 0.001 <= one.end_s - one.start_s <= (least + more) / 2 + 0.001
    spans = sorted((one.start_s, one.end_s) for one in found)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_what_is_loud_and_moves_comes_first_wherever_it_is() -> None:
    for at in (0, 7, 31, 52):
        motion = [2.0] * 60
        sound = [-40.0] * 60
        motion[at : at + 8], sound[at : at + 8] = [60.0] * 8, [-10.0] * 8
        found = highlights(loud(sound, -18.0), lively(motion), 0.5, 30.0, [], count=3, least_s=2, most_s=6)
        assert (found[0].start_s, found[0].end_s) == (at / 2, at / 2 + 4)
        assert found[0].loudness is not None and found[0].loudness > 0.8 and found[0].motion > 0.9


def test_values_are_by_the_films_own_measure() -> None:
    assert loud([-33, -23, -13, -70], -23) == [0.0, 0.5, 1.0, 0.0] and loud([-70], None) is None
    assert lively([0, 4, 4, 12]) == [0, 0.5, 0.5, 0.75] and lively([0, 0]) == [0, 0]


@given(
    frames=st.integers(1, 400),
    places=st.lists(st.integers(0, 399), max_size=30),
    least=st.integers(1, 60),
    more=st.one_of(st.none(), st.integers(0, 100)),
)
def test_clips_of_found_places_leave_nothing_out(frames: int, places: list[int], least: int, more: int | None) -> None:
    ticks = range(0, frames * 40, 40)  # 25 frames/s in milliseconds
    wanted = sorted({place for place in places if place < frames})
    most = None if more is None else Fraction(least + more, 25)
    made = at_frames(ticks, frames * 40, Fraction(1, 1000), wanted, least=Fraction(least, 25), most=most)
    assert made[0].start_frame == 0 and made[-1].end_frame == frames
    assert all(before.end_frame == after.start_frame for before, after in pairwise(made))
    if most is None:
        assert all(one.start_frame in wanted for one in made[1:])
        assert all(one.frame_count >= min(least, frames) for one in made)
    else:
        assert all(one.duration <= most + Fraction(1, 25) for one in made)


def test_lengths_that_make_no_sense_are_refused() -> None:
    for least, most in ((Fraction(0), None), (Fraction(2), Fraction(1))):
        with pytest.raises(ParamsInvalid):
            at_frames([0, 40], 80, Fraction(1, 1000), [1], least=least, most=most)


@pytest.mark.parametrize(
    ("fields", "order"),
    [
        ({}, "unknown"), ({"undetermined": 5}, "unknown"), ({"progressive": 6, "tff": 4}, "progressive"),
        ({"tff": 9, "progressive": 1}, "tff"), ({"bff": 8, "tff": 1, "progressive": 1}, "bff"),
        ({"tff": 5, "bff": 5}, "mixed"), ({"tff": 5, "progressive": 5}, "mixed"),
    ],
)  # fmt: skip
def test_most_frames_tell_the_order_of_fields(fields: dict[str, int], order: str) -> None:
    assert field_order(fields) == order

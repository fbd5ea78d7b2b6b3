"""Plans: exact, without gap, overlap or empty clip, whatever the source's frames."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelmill.errors import ParamsInvalid
from reelmill.media import fixed

RATES = st.sampled_from([Fraction(25), Fraction(24), Fraction(30000, 1001), Fraction(60), Fraction(60000, 1001)])
DURATIONS = st.fractions(min_value=Fraction(1, 100), max_value=40, max_denominator=1000)
UNHURRIED = settings(deadline=None, max_examples=50)
STEPS = st.lists(st.integers(1, 500) | st.integers(5000, 50000), min_size=1, max_size=200)


def check(ticks: list[int], end: int, base: Fraction, duration: Fraction) -> None:
    segments = fixed(ticks, end, base, duration)
    assert [segment.index for segment in segments] == list(range(len(segments)))
    assert segments[0].start_frame == 0 and segments[-1].end_frame == len(ticks)
    assert segments[0].start_tick == ticks[0] and segments[-1].end_tick == end
    for before, after in pairwise(segments):
        assert (before.end_frame, before.end_tick) == (after.start_frame, after.start_tick)
    for segment in segments:
        assert segment.frame_count > 0 and segment.duration > 0
        assert segment.start_tick == ticks[segment.start_frame]
    assert sum(segment.duration for segment in segments) == (end - ticks[0]) * base
    # Every boundary is the frame nearest to a multiple of the duration, and every multiple has its boundary.
    edges = [*ticks, end]
    wanted = set()
    k = 1
    while ticks[0] * base + k * duration < end * base:
        at = ticks[0] + k * duration / base
        wanted.add(min(range(len(edges)), key=lambda n: (abs(edges[n] - at), n)))
        k += 1
    assert {segment.start_frame for segment in segments[1:]} == wanted - {0, len(ticks)}


@pytest.mark.req("B-02")
@UNHURRIED
@given(rate=RATES, count=st.integers(1, 200), duration=DURATIONS, origin=st.integers(-5000, 90000))
def test_constant_rates_are_cut_at_the_nearest_frames(
    rate: Fraction, count: int, duration: Fraction, origin: int
) -> None:
    period = int(90000 / rate) if 90000 % rate == 0 else 3003
    ticks = [origin + n * period for n in range(count)]
    check(ticks, ticks[-1] + period, Fraction(1, 90000), duration)


@pytest.mark.req("B-02")
@UNHURRIED
@given(steps=STEPS, last=st.integers(1, 5000), duration=st.fractions(min_value=Fraction(1, 20), max_value=40))
def test_varying_rates_and_gaps_are_cut_at_the_nearest_frames(steps: list[int], last: int, duration: Fraction) -> None:
    ticks = list(accumulate(steps, initial=0))
    check(ticks, ticks[-1] + last, Fraction(1, 1000), duration)


@pytest.mark.req("B-02")
@UNHURRIED
@given(rate=RATES, count=st.integers(1, 2000), duration=DURATIONS)
def test_boundaries_are_within_half_a_frame(rate: Fraction, count: int, duration: Fraction) -> None:
    base = 1 / rate
    segments = fixed(range(count), count, base, duration)
    for segment in segments[1:]:
        nearest = round(segment.start / duration) * duration
        assert abs(segment.start - nearest) <= base / 2


def test_thirty_seconds_of_ntsc_are_899_frames() -> None:
    ticks = [n * 1001 for n in range(2000)]
    first, second, last = fixed(ticks, 2000 * 1001, Fraction(1, 30000), Fraction(30))
    assert [segment.frame_count for segment in (first, second, last)] == [899, 899, 202]
    assert first.end == Fraction(899 * 1001, 30000)
    assert first.end_s == second.start_s == pytest.approx(29.9966, abs=1e-4)


@pytest.mark.parametrize("duration", [Fraction(0), Fraction(-1)])
def test_a_duration_that_is_no_time_is_refused(duration: Fraction) -> None:
    with pytest.raises(ParamsInvalid):
        fixed([0, 1], 2, Fraction(1, 25), duration)


def test_a_source_without_frames_is_refused() -> None:
    with pytest.raises(ParamsInvalid):
        fixed([], 0, Fraction(1, 25), Fraction(1))

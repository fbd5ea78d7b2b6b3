"""Plans: exact, without gap, overlap or empty clip, whatever the source's frames."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reelmill.errors import ParamsInvalid
from reelmill.media import Segment, Tail, fixed, manual, random_lengths, seeded

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


# ── the tail ──────────────────────────────────────────────────────────────────────────────────


def lengths(segments: list[Segment]) -> list[int]:
    return [segment.frame_count for segment in segments]


@pytest.mark.req("B-02")
@pytest.mark.parametrize(
    ("count", "tail", "below", "wanted"),
    [
        (70, "keep", None, [25, 25, 20]),
        (70, "merge", None, [25, 45]),
        (70, "drop", None, [25, 25]),
        (75, "drop", None, [25, 25, 25]),  # nothing is left over
        (70, "drop", Fraction(1, 2), [25, 25, 20]),  # 0.8 s is long enough
        (60, "drop", Fraction(1, 2), [25, 25]),
        (60, "merge", Fraction(1, 2), [25, 35]),
        (20, "drop", None, [20]),  # a short source is one clip
        (20, "merge", None, [20]),
    ],
)
def test_a_short_last_clip_is_kept_merged_or_dropped(
    count: int, tail: Tail, below: Fraction | None, wanted: list[int]
) -> None:
    segments = fixed(range(count), count, Fraction(1, 25), Fraction(1), tail=tail, tail_below=below)
    assert lengths(segments) == wanted
    assert [segment.index for segment in segments] == list(range(len(wanted)))


def test_a_tail_of_whole_length_but_for_rounding_is_no_tail() -> None:
    ticks = [n * 1001 for n in range(60)]
    segments = fixed(ticks, 60 * 1001, Fraction(1, 30000), Fraction(1), tail="drop")
    assert sum(lengths(segments)) == 60


# ── random lengths ────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("B-02")
@UNHURRIED
@given(
    total=st.fractions(min_value=Fraction(1, 25), max_value=500, max_denominator=30000),
    seed=st.integers(0, 2**53 - 1),
    least=st.fractions(min_value=Fraction(1, 10), max_value=20, max_denominator=1000),
    span=st.fractions(min_value=0, max_value=20, max_denominator=1000),
)
def test_random_lengths_are_within_their_bounds_and_the_same_again(
    total: Fraction, seed: int, least: Fraction, span: Fraction
) -> None:
    most = least + span
    drawn = random_lengths(total, seed, least, most)
    assert drawn == random_lengths(total, seed, least, most)
    assert sum(drawn) == total and all(length > 0 for length in drawn)
    assert all(least <= length <= most for length in drawn[:-2])
    if len(drawn) > 1:
        # A rest that is too short joined the clip before, or both were halved.
        assert all(least <= length <= most for length in drawn[-2:]) or drawn[-2] == drawn[-1] < most


@pytest.mark.req("B-02")
def test_random_lengths_are_those_of_sha256_in_any_language() -> None:
    """The rule as it is told: least + (most - least) x first 8 bytes of SHA-256("seed:i") / 2**64."""
    units = [int(hashlib.sha256(b"7:%d" % n).hexdigest()[:16], 16) / 2**64 for n in range(3)]
    drawn = random_lengths(Fraction(1000), 7, Fraction(10), Fraction(30))
    assert [float(length) for length in drawn[:3]] == pytest.approx([10 + 20 * unit for unit in units])


@pytest.mark.req("B-02")
def test_another_seed_cuts_otherwise_and_lengths_spread_evenly() -> None:
    one, other = (random_lengths(Fraction(20_000), seed, Fraction(10), Fraction(30)) for seed in (1, 2))
    assert one != other
    thirds = [sum(1 for length in one if low <= length < low + Fraction(20, 3)) for low in (10, Fraction(50, 3))]
    assert all(0.25 < third / len(one) < 0.42 for third in thirds)


@pytest.mark.req("B-02")
@pytest.mark.parametrize(("total", "wanted"), [(7, [7]), (30, [10, 10, 10]), (29, [10, 9.5, 9.5]), (12, [6, 6])])
def test_two_that_cant_be_one_are_halved(total: int, wanted: list[float]) -> None:
    # With least == most every length is 10, and a joined one would always be too long.
    assert random_lengths(Fraction(total), 3, Fraction(10), Fraction(10)) == [Fraction(length) for length in wanted]


@pytest.mark.req("B-02")
def test_a_short_rest_joins_the_clip_before_if_that_stays_short_enough() -> None:
    first = random_lengths(Fraction(1000), 3, Fraction(10), Fraction(30))[0]
    assert first < 29
    assert random_lengths(first + 1, 3, Fraction(10), Fraction(30)) == [first + 1]


@pytest.mark.req("B-02")
@UNHURRIED
@given(count=st.integers(1, 3000), seed=st.integers(0, 1000), rate=RATES)
def test_seeded_cuts_follow_each_other_on_frames(count: int, seed: int, rate: Fraction) -> None:
    base = 1 / rate
    segments = seeded(range(count), count, base, seed=seed, least=Fraction(1), most=Fraction(5, 2))
    assert sum(lengths(segments)) == count
    for before, after in pairwise(segments):
        assert before.end_frame == after.start_frame
    wanted = list(accumulate(random_lengths(count * base, seed, Fraction(1), Fraction(5, 2))))
    for segment in segments[1:]:
        assert min(abs(segment.start - boundary) for boundary in wanted) <= base / 2


@pytest.mark.parametrize(("least", "most"), [(0, 1), (-1, 1), (2, 1)])
def test_bounds_that_make_no_sense_are_refused(least: int, most: int) -> None:
    with pytest.raises(ParamsInvalid):
        random_lengths(Fraction(10), 1, Fraction(least), Fraction(most))


# ── cuts by hand ──────────────────────────────────────────────────────────────────────────────


def by_hand(*cuts: tuple[float, float | None]) -> list[Segment]:
    exact = [(Fraction(start), None if end is None else Fraction(end)) for start, end in cuts]
    return manual(range(1000, 1250), 1250, Fraction(1, 25), exact)


@pytest.mark.req("B-02")
def test_cuts_by_hand_keep_their_order_and_may_overlap() -> None:
    segments = by_hand((4, 6), (0, 10), (5, 5.5), (9, None))
    assert [(part.start_frame, part.end_frame) for part in segments] == [(100, 150), (0, 250), (125, 137), (225, 250)]
    assert [part.index for part in segments] == [0, 1, 2, 3]
    assert (segments[0].start, segments[0].end) == (4, 6)
    assert segments[3].end_tick == 1250


def test_a_cut_shorter_than_a_frame_is_a_frame_and_a_little_behind_the_end_is_the_end() -> None:
    (short,) = by_hand((5, 5.001))
    assert short.frame_count == 1
    (late,) = by_hand((9, 10.4))
    assert late.end_frame == 250


@pytest.mark.req("B-02", "C-07")
@pytest.mark.parametrize("cut", [(10, 11), (-1, 3), (2, 11), (5, 5), (6, 5), (11, None)])
def test_cuts_that_arent_in_the_video_are_refused_by_their_number(cut: tuple[float, float | None]) -> None:
    with pytest.raises(ParamsInvalid, match="Cut 2"):
        by_hand((0, 1), cut)
    with pytest.raises(ParamsInvalid):
        by_hand()

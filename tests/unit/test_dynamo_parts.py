"""The parts of the DynamoDB store that need no server: its URL, its clock, its items."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.errors import SettingInvalid
from reelmill.stores.dynamo.clock import RESOLUTION_S, Clock
from reelmill.stores.dynamo.items import Item, from_table, stamp, to_table, turn
from reelmill.stores.dynamo.place import Place, read_place

TRUE = datetime(2026, 11, 21, 12, 0, 0, 300_000, tzinfo=UTC)


def test_a_url_names_table_region_endpoint_and_hash_key() -> None:
    assert read_place("dynamodb://jobs?region=eu-central-1") == Place(table="jobs", region="eu-central-1")
    told = read_place("dynamodb://Prod.Video-metadata?endpoint=http://127.0.0.1:4567/&hash_key=video_id")
    assert told == Place(
        table="Prod.Video-metadata", region="us-east-1", endpoint="http://127.0.0.1:4567", hash_key="video_id"
    )


@pytest.mark.parametrize(
    "rest",
    ["", "ab", "jobs/more", "jobs#x", "a b c", "jobs?reg=x", "jobs?region=", "jobs?region=a&region=b",
     "jobs?endpoint=localhost:1", "jobs?hash_key=a-b", "jobs?hash_key=1"],
)  # fmt: skip
def test_a_url_that_names_no_table_is_refused_with_a_good_one(rest: str) -> None:
    with pytest.raises(SettingInvalid, match="dynamodb://reelmill"):
        read_place(f"dynamodb://{rest}")


class Machine:
    """A machine whose wall clock is off, and which hears replies with their times."""

    def __init__(self, off_s: float) -> None:
        self.passed_s = 0.0
        self.off_s = off_s
        self.clock = Clock(wall=lambda: self.true() + self.off_s, monotonic=lambda: 5000.0 + self.passed_s)

    def true(self) -> float:
        return TRUE.timestamp() + self.passed_s

    def ask(self, took_s: float = 0.004) -> None:
        asked = self.clock.ticks()
        date = format_datetime(datetime.fromtimestamp(int(self.true()), UTC), usegmt=True)
        self.passed_s += took_s
        self.clock.hear(date, asked)

    def error_s(self) -> float:
        return self.clock.at().timestamp() - self.true()


@pytest.mark.req("C-02")
@pytest.mark.parametrize("off_s", [-86_400.0, -3.0, 3.0, 86_400.0])
def test_a_clock_that_is_off_is_put_right_by_the_replies(off_s: float) -> None:
    machine = Machine(off_s)
    machine.ask()
    assert abs(machine.error_s()) <= RESOLUTION_S
    for _ in range(100):
        machine.passed_s += 0.21
        machine.ask()
    assert abs(machine.error_s()) <= 1.1


def test_a_clock_that_is_right_is_taken_as_it_is() -> None:
    machine = Machine(0.0)
    for _ in range(20):
        machine.ask()
        machine.passed_s += 0.3
        assert machine.error_s() == pytest.approx(0, abs=1e-6)
    assert machine.clock.at(60) - machine.clock.at() == timedelta(seconds=60)


def test_after_a_sleep_of_the_machine_the_newest_reply_counts() -> None:
    machine = Machine(0.0)
    machine.ask()
    machine.off_s = -7200  # the wall clock stood still, like the monotonic one
    asked = machine.clock.ticks()
    later = datetime.fromtimestamp(int(machine.true()) + 3600, UTC)
    machine.clock.hear(format_datetime(later, usegmt=True), asked)
    assert abs((machine.clock.at() - later).total_seconds()) <= RESOLUTION_S


@given(
    st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.none() | st.dictionaries(st.text(), st.text())),
    st.floats(0, 100),
    st.text(),
    st.datetimes(min_value=TRUE.replace(tzinfo=None), timezones=st.just(UTC)),
)
def test_an_item_comes_back_as_it_went(params: dict[str, object], pct: float, words: str, moment: datetime) -> None:
    item = Item(
        pk="p", sk="s", video_id="v", params=params, labels={"a.b": words}, message=words, progress_pct=pct,
        created_at=moment, optional=True, run=3, error_code=None,
    )  # fmt: skip
    stored = to_table(item, "video_id")
    assert stored["video_id"] == {"S": "p"} and "error_code" not in stored
    back = from_table(stored, "video_id")
    assert back == {name: value for name, value in item.items() if value is not None}
    assert back["error_code"] is None


@given(st.lists(st.tuples(st.integers(-1000, 1000), st.datetimes(timezones=st.just(UTC)), st.integers(0, 99_999))))
def test_the_queue_sorts_by_priority_then_age_then_index(places: list[tuple[int, datetime, int]]) -> None:
    places = [(priority, at.replace(year=2000 + at.year % 100), index) for priority, at, index in places]
    by_text = sorted(places, key=lambda p: turn(p[0], stamp(p[1]), f"{p[2]:06}"))
    assert by_text == sorted(places, key=lambda p: (-p[0], stamp(p[1]), p[2]))

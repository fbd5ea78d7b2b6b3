"""The two tables, by random event lists: nothing but an edge ever moves a status."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.errors import TransitionRefused, catalogue
from reelmill.jobs import lifecycle
from reelmill.jobs.lifecycle import (
    CLAIMABLE,
    ENDED,
    PROCESSING_OF,
    STEP_TRANSITIONS,
    TRANSITIONS,
    UPLOAD_ERRORS,
    Event,
    Processing,
    Status,
    StepEvent,
    StepStatus,
)

CODES = sorted(error.code for error in catalogue())
statuses = st.sampled_from(Status)
events = st.sampled_from(Event)
codes = st.none() | st.sampled_from(CODES)
histories = st.lists(st.tuples(events, codes), max_size=40)


def walk(history: list[tuple[Event, str | None]]) -> list[tuple[Status, Event, str | None, Status]]:
    """Return the edges that a job takes when it is sent these events; a FAIL leaves its code on the job."""
    status, error, taken = Status.AWAITING_UPLOAD, None, []
    for event, code in history:
        try:
            then = lifecycle.after(status, event, error_code=error)
        except TransitionRefused:
            continue
        taken.append((status, event, error, then))
        status, error = then, code if event is Event.FAIL else None
    return taken


@given(histories)
def test_a_job_moves_only_along_edges_of_the_table(history: list[tuple[Event, str | None]]) -> None:
    edges = walk(history)
    assert all(TRANSITIONS[before, event] is then for before, event, _, then in edges)
    assert all(then is before for (*_, then), (before, *_) in pairwise(edges))


@given(histories)
def test_an_ended_job_is_left_only_by_retry_or_by_the_upload_it_lacked(history: list[tuple[Event, str | None]]) -> None:
    for before, event, error, then in walk(history):
        if before in ENDED:
            assert then is Status.QUEUED
            assert event is Event.RETRY or (event is Event.UPLOADED and error in UPLOAD_ERRORS)


@given(histories)
def test_a_completed_job_stays_completed(history: list[tuple[Event, str | None]]) -> None:
    assert all(before is not Status.COMPLETED for before, *_ in walk(history))


@given(histories)
def test_no_job_runs_before_its_upload_or_completes_unqueued(history: list[tuple[Event, str | None]]) -> None:
    seen: set[Status] = set()
    for before, _, _, then in walk(history):
        seen.add(before)
        if then in (Status.RUNNING, Status.COMPLETED):
            assert Status.QUEUED in seen


@given(statuses, events, codes)
def test_a_refused_event_names_the_status_and_the_event(status: Status, event: Event, code: str | None) -> None:
    try:
        then = lifecycle.after(status, event, error_code=code)
    except TransitionRefused as refused:
        assert refused.extra == {"status": str(status), "event": str(event)}
        assert str(status) in refused.detail and str(event) in refused.detail
    else:
        assert then is lifecycle.target(event)
        assert status in lifecycle.sources(event)


@pytest.mark.parametrize("event", Event)
def test_sources_and_target_say_what_the_table_says(event: Event) -> None:
    edges = {(before, then) for (before, on), then in TRANSITIONS.items() if on is event}
    assert edges == {(before, lifecycle.target(event)) for before in lifecycle.sources(event)}


@pytest.mark.req("D-02")
@pytest.mark.parametrize("code", CODES)
def test_an_upload_heals_only_upload_errors(code: str) -> None:
    if code in UPLOAD_ERRORS:
        assert lifecycle.after(Status.FAILED, Event.UPLOADED, error_code=code) is Status.QUEUED
    else:
        with pytest.raises(TransitionRefused):
            lifecycle.after(Status.FAILED, Event.UPLOADED, error_code=code)


def test_the_upload_errors_are_in_the_catalogue_and_a_bad_file_is_none_of_them() -> None:
    assert set(CODES) >= UPLOAD_ERRORS
    assert UPLOAD_ERRORS.isdisjoint({"not_a_video", "media_rejected"})


@pytest.mark.req("D-01", "D-04")
def test_only_queued_and_running_jobs_are_worked_on() -> None:
    assert {Status.QUEUED, Status.RUNNING} == CLAIMABLE
    assert CLAIMABLE.isdisjoint(ENDED)
    assert set(Status) == CLAIMABLE | ENDED | {Status.AWAITING_UPLOAD}
    assert lifecycle.sources(Event.CLAIM) <= CLAIMABLE


@pytest.mark.req("C-03")
@pytest.mark.parametrize("status", Status)
def test_every_status_shows_on_the_video_and_only_ended_jobs_look_ended(status: Status) -> None:
    looks_ended = PROCESSING_OF[status] in (Processing.COMPLETED, Processing.FAILED)
    assert looks_ended == (status in ENDED)
    assert (PROCESSING_OF[status] is Processing.COMPLETED) == (status is Status.COMPLETED)


@given(st.lists(st.sampled_from(StepEvent), max_size=40))
def test_a_step_moves_only_along_edges_and_only_a_lost_file_undoes_a_done_step(history: list[StepEvent]) -> None:
    status = StepStatus.READY
    for event in history:
        try:
            then = lifecycle.step_after(status, event)
        except TransitionRefused:
            assert (status, event) not in STEP_TRANSITIONS
            assert status not in lifecycle.step_sources(event)
            continue
        assert STEP_TRANSITIONS[status, event] is then
        assert status in lifecycle.step_sources(event)
        assert status is not StepStatus.DONE or event is StepEvent.REDO
        status = then


def test_only_a_running_step_can_be_closed_by_its_worker() -> None:
    by_worker = [StepEvent.FINISH, StepEvent.AGAIN, StepEvent.CRASH, StepEvent.RELEASE, StepEvent.FAIL]
    assert all(lifecycle.step_sources(event) == {StepStatus.RUNNING} for event in by_worker)
    assert lifecycle.step_sources(StepEvent.CLAIM) == {StepStatus.READY}


@given(
    weights=st.lists(st.integers(1, 100), min_size=1, max_size=5),
    data=st.data(),
)
def test_progress_rises_with_the_work_and_100_is_kept_for_the_end(weights: list[int], data: st.DataObject) -> None:
    scale = 100 / sum(weights)
    stages = [(f"s{i}", weight * scale) for i, weight in enumerate(weights)]  # type: ignore[misc]
    reached = 0.0
    for name, _ in stages:
        planned = data.draw(st.integers(1, 6))
        for finished in range(planned + 1):
            running = data.draw(st.floats(0, planned - finished)) if finished < planned else 0.0
            base = lifecycle.progress_pct(stages, name, done=finished, planned=planned, running=0.0)
            with_running = lifecycle.progress_pct(stages, name, done=finished, planned=planned, running=running)
            assert reached <= base <= with_running <= 99.9
            reached = base


def test_progress_is_nothing_before_the_first_stage() -> None:
    assert lifecycle.progress_pct([("render", 100)], None, done=0, planned=0, running=0.0) == 0.0

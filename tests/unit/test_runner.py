"""What becomes of an attempt that raised: the whole table of `decide`."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.errors import (
    ChildCrashed,
    DatabaseUnavailable,
    DeadlineExceeded,
    DiskLow,
    EncodeFailed,
    ParamsInvalid,
    ReelmillError,
    StaleAttempt,
    Stopped,
    StorageUnavailable,
    catalogue,
)
from reelmill.jobs.lifecycle import StepEvent, StepStatus
from reelmill.jobs.model import Step
from reelmill.jobs.runner import WorkPolicy, decide

POLICY = WorkPolicy(max_retries=3, max_crashes=3, backoff_s=2.0)


def a_step(tries: int = 0, crashes: int = 0) -> Step:
    return Step(
        id="j:render:0", job_id="j", stage="render", index=0, kind="clip", params={}, digest="d", optional=False,
        status=StepStatus.RUNNING, run=1, attempt=1, tries=tries, crashes=crashes,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


def event_of(error: BaseException, step: Step, *, draining: bool = False) -> StepEvent | None:
    outcome = decide(error, step, POLICY, draining=draining, jitter=0.0)
    return outcome.event if outcome else None


@pytest.mark.req("E-05")
def test_a_retryable_error_is_tried_three_times_more_with_growing_waits() -> None:
    waits = []
    for tries in range(3):
        outcome = decide(EncodeFailed(), a_step(tries), POLICY, draining=False, jitter=0.0)
        assert outcome is not None and outcome.event is StepEvent.AGAIN
        waits.append(outcome.delay_s)
    assert waits == [2.0, 4.0, 8.0]
    assert event_of(EncodeFailed(), a_step(tries=3)) is StepEvent.FAIL


@pytest.mark.req("E-05")
@pytest.mark.parametrize("error", [ParamsInvalid("no"), DeadlineExceeded()])
def test_an_error_that_would_come_again_fails_at_once_with_its_own_code(error: ReelmillError) -> None:
    outcome = decide(error, a_step(), POLICY, draining=False, jitter=0.5)
    assert outcome is not None and outcome.failure is not None
    assert (outcome.event, outcome.failure.code) == (StepEvent.FAIL, error.code)


@pytest.mark.req("E-05", "C-07")
@pytest.mark.parametrize("outage", [StorageUnavailable("s3: down"), DatabaseUnavailable("gone"), DiskLow("full")])
def test_an_outage_waits_uncharged_however_often_it_comes(outage: ReelmillError) -> None:
    outcome = decide(outage, a_step(tries=3, crashes=2), POLICY, draining=False, jitter=0.0)
    assert outcome is not None and outcome.failure is not None
    assert (outcome.event, outcome.failure.code, outcome.delay_s) == (StepEvent.RELEASE, outage.code, POLICY.wait_s)
    assert outage.code in outcome.failure.detail


def test_a_passing_fault_of_the_system_is_tried_again_but_a_defect_comes_again() -> None:
    assert event_of(OSError(5, "Input/output error"), a_step()) is StepEvent.AGAIN
    assert event_of(TypeError("a defect"), a_step()) is StepEvent.FAIL


def test_crashes_are_counted_apart_from_tries_and_three_of_them_fail_the_job() -> None:
    assert event_of(ChildCrashed("SIGKILL"), a_step(tries=3, crashes=0)) is StepEvent.CRASH
    assert event_of(ChildCrashed("SIGKILL"), a_step(crashes=1)) is StepEvent.CRASH
    outcome = decide(ChildCrashed("SIGKILL"), a_step(crashes=2), POLICY, draining=False, jitter=0.0)
    assert outcome is not None and outcome.failure is not None
    assert (outcome.event, outcome.failure.code) == (StepEvent.FAIL, "worker_crashed")


def test_a_stopped_step_is_released_when_the_worker_drains_and_dropped_when_it_was_lost() -> None:
    assert event_of(Stopped(), a_step(), draining=True) is StepEvent.RELEASE
    assert event_of(Stopped(), a_step()) is None
    assert event_of(StaleAttempt(), a_step(), draining=True) is None


def test_command_and_last_words_are_kept() -> None:
    error = EncodeFailed(
        "broken", command=["ffmpeg", "-i", "http://s/x?signature=s3cret"], stderr="moov atom not found"
    )
    outcome = decide(error, a_step(), POLICY, draining=False, jitter=0.0)
    assert outcome is not None
    assert (outcome.command, outcome.stderr) == ("ffmpeg -i http://s/x", "moov atom not found")


@given(
    error=st.sampled_from([*catalogue(), ValueError, OSError, MemoryError]),
    tries=st.integers(0, 10),
    crashes=st.integers(0, 10),
    draining=st.booleans(),
)
def test_every_error_has_an_outcome_and_no_step_is_tried_for_ever(
    error: type[Exception], tries: int, crashes: int, draining: bool
) -> None:
    outcome = decide(error(), a_step(tries, crashes), POLICY, draining=draining, jitter=0.3)
    if outcome is None:
        assert error in (StaleAttempt, Stopped)
    elif outcome.event is StepEvent.AGAIN:
        assert tries < POLICY.max_retries
    elif outcome.event is StepEvent.CRASH:
        assert crashes + 1 < POLICY.max_crashes
    elif outcome.event is StepEvent.FAIL:
        assert outcome.failure is not None and outcome.failure.code

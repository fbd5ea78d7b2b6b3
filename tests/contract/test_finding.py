"""Jobs and uploads are found by what operators know of them, in every store."""

from __future__ import annotations

import dataclasses
from datetime import datetime

import pytest

from making import BROKEN, claim_one, ended, make_job, make_video, make_waiting
from reelmill.jobs.lifecycle import Status, StepEvent, UploadStatus
from reelmill.jobs.ports import JobStore


def later(store: JobStore, than: datetime) -> None:
    """Wait until the store's clock shows another time."""
    while store.clock() <= than:
        pass


@pytest.mark.req("E-09")
def test_jobs_are_found_by_error_moment_and_label(store: JobStore) -> None:
    red = make_video(store, labels={"camera": "door", "mall": "7"})
    first = make_job(store, video_id=red.id)
    store.close(claim_one(store), ended(StepEvent.FAIL))
    later(store, first.created_at)
    second = make_job(store)
    store.close(claim_one(store), ended(StepEvent.FAIL, failure=dataclasses.replace(BROKEN, code="tool_missing")))

    def found(**wanted: object) -> list[str]:
        return [job.id for job in store.jobs("acme", **wanted).items]  # type: ignore[arg-type]

    assert found(status=Status.FAILED, error_code="encode_failed") == [first.id]
    assert found(error_code="tool_missing") == [second.id]
    assert (found(created_after=second.created_at), found(created_before=second.created_at)) == (
        [second.id],
        [first.id],
    )
    assert found(labels={"camera": "door"}) == found(labels={"camera": "door", "mall": "7"}) == [first.id]
    assert found(labels={"camera": "door", "mall": "8"}) == found(labels={"none": "x"}) == []


@pytest.mark.req("E-09")
def test_uploads_are_found_by_their_age(store: JobStore) -> None:
    waiting, _ = make_waiting(store)
    later(store, waiting.created_at)
    for age_s, found in ((3600.0, []), (0.0, [waiting.id])):
        page = store.videos("acme", upload_status=UploadStatus.AWAITING, older_than_s=age_s)
        assert [video.id for video in page.items] == found

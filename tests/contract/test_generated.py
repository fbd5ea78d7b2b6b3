"""A generated video becomes what its job has made, on every real database."""

from __future__ import annotations

import pytest

from making import PROBE, make_job, make_video
from reelmill.errors import NotFound
from reelmill.jobs.ports import JobStore

FILM = {**PROBE, "identity": "sha256:" + "a" * 64, "generated": "generate"}


@pytest.mark.req("E-01")
def test_it_becomes_its_film_as_often_as_that_is_said(store: JobStore) -> None:
    video = make_video(store)
    job = make_job(store, video_id=video.id)
    for _ in range(2):
        store.became(video.id, source=FILM, size_bytes=4711, sha256="a" * 64)
        now = store.video(video.id)
        assert (now.source, now.size_bytes, now.sha256) == (FILM, 4711, "a" * 64)
    assert (now.processing_status, now.processing_job_id) == ("processing", job.id), "its job goes on"
    assert now.uploaded_at is not None and video.uploaded_at is not None and now.uploaded_at >= video.uploaded_at


@pytest.mark.req("E-01")
def test_only_a_video_whose_job_was_queued_does(store: JobStore) -> None:
    waiting = make_video(store, upload=False)
    for video_id in (waiting.id, "00000000-0000-4000-8000-000000000000"):
        with pytest.raises(NotFound):
            store.became(video_id, source=FILM, size_bytes=1, sha256="a" * 64)
    assert store.video(waiting.id).source is None

"""Two attempts of one step store their files apart: what a late worker stores, or takes back, is never another's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from making import ended, make_job
from reelmill.jobs.lifecycle import StepEvent
from reelmill.jobs.model import Claim, NewArtifact, StepResult
from reelmill.jobs.ports import Outcome
from reelmill.jobs.work import StepWork
from reelmill.settings import read_settings
from reelmill.wiring import App, build


@pytest.fixture
def app(store_url: str, tmp_path: Path) -> Iterator[App]:
    """A platform whose workers don't run: the test does their work."""
    built = build(read_settings(data=tmp_path / "data", database_url=store_url, workers=0))
    yield built
    built.stop()


def publish(work: StepWork, text: str) -> NewArtifact:
    work.scratch.mkdir(parents=True)
    path = work.scratch / "out.txt"
    path.write_text(text)
    return work.publish(path, kind="text", name="out.txt", content_type="text/plain")


@pytest.mark.req("A-02", "C-07")
def test_what_a_late_worker_takes_back_is_its_own(app: App, tmp_path: Path) -> None:
    job = make_job(app.store)

    def claim() -> Claim:
        (claimed,) = app.store.claim(app.runner.worker_id, limit=1, lease_s=60)
        return claimed

    late = claim()
    stale = StepWork(late, tmp_path / "stale", store=app.store, files=app.files)
    theirs = publish(stale, "of the first attempt")
    app.store.close(late, ended(StepEvent.CRASH))
    again = claim()
    fresh = StepWork(again, tmp_path / "fresh", store=app.store, files=app.files)
    ours = publish(fresh, "of the second")
    app.store.close(again, Outcome(event=StepEvent.FINISH, result=StepResult(output={}, artifacts=(ours,))))
    stale.discard()  # it woke, and was refused

    assert theirs.key != ours.key
    (named,) = app.store.artifacts(job.id)
    stored = b"".join(app.objects.open(named.key))
    assert (stored, hashlib.sha256(stored).hexdigest()) == (b"of the second", named.sha256)
    assert list(app.objects.keys(f"{job.tenant}/outputs/{job.id}/")) == [ours.key]

"""A platform in this process, fed and waited for without HTTP."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from reelmill.jobs.model import Job
from reelmill.jobs.service import Caller
from reelmill.wiring import App

ME = Caller()


def put(app: App, film: Path, who: Caller = ME, content_type: str = "video/mp4") -> str:
    """Bring a file into the store as an upload would, and complete it."""
    begun = app.service.initiate(who, filename=film.name, size_bytes=film.stat().st_size, content_type=content_type)
    copy = app.settings.data / "copy"
    copy.write_bytes(film.read_bytes())
    app.objects.put_file(
        begun.video.key, copy, content_type=content_type, sha256=hashlib.sha256(film.read_bytes()).hexdigest()
    )
    app.service.complete(who, begun.video.id)
    return begun.video.id


def ended(app: App, job_id: str, seconds: float = 240) -> Job:
    deadline = time.monotonic() + seconds
    while (job := app.store.job(job_id)).completed_at is None:
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
    assert job.status == "completed", (job.error_code, job.error_detail)
    return job

"""`reelmill jobs` and `reelmill watch`: look at a server's jobs, stop them, run them again, take their results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelmill.cli.clip import read_params
from reelmill.cli.following import Anew, Then, read_then
from reelmill.cli.options import DEFAULT_URL, Data, Json, Key, Url, connect
from reelmill.cli.output import (
    Code,
    counted,
    known_error,
    print_error,
    print_json,
    print_table,
    print_warnings,
    shown,
    size_text,
)
from reelmill.cli.progress import Progress

if TYPE_CHECKING:
    from datetime import datetime

    from reelmill.client import Client
    from reelmill.schemas import ArtifactReply, JobReply, JobStatus

app = typer.Typer(help="See to a server's jobs.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]


@app.command("list")
def list_(
    status: Annotated[
        str | None,
        typer.Option(help="Only these: awaiting_upload, queued, running, completed, failed or cancelled."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Most jobs to list.")] = 50,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first.

    Example: `reelmill jobs list --status failed`
    """
    with connect(url, api_key, data) as client:
        page = client.jobs(status=status, limit=limit)
    if as_json:
        print_json(page.model_dump(mode="json"))
        return
    head = ["ID", "STATUS", "%", "PIPELINE", "CREATED", "MESSAGE"]
    rows = [
        [
            job.job_id,
            job.status,
            round(job.progress_pct),
            job.pipeline,
            stamp(job.created_at),
            job.error.detail if job.error else job.message,
        ]
        for job in page.items
    ]
    print_table(head, rows)
    if page.next_cursor:
        typer.echo("There are more; raise --limit.", err=True)


@app.command()
def create(
    video_id: Annotated[str, typer.Argument(metavar="VIDEO", help="An uploaded video's id.")],
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="What to run on it; see `reelmill pipelines`.")],
    params: Annotated[str | None, typer.Option(help="The pipeline's parameters as JSON, or @FILE with them.")] = None,
    then: Then = None,
    no_reuse: Anew = False,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Run a pipeline on an uploaded video.

    Example: `reelmill jobs create 8b0c7f0e-6f9a-4b52-9e6a-3a9f7d1c2b10 clips --then proxy`
    """
    asked, following = read_params(params) if params else {}, read_then(then)
    with connect(url, api_key, data) as client:
        status = client.create_job(video_id, pipeline, asked, then=following, reuse=not no_reuse)
    _print_status(status, as_json)


@app.command()
def show(job_id: JobId, url: Url = DEFAULT_URL, api_key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Show all about a job: its steps, what went wrong, and with --json the exact commands.

    Example: `reelmill jobs show 8b0c7f0e-6f9a-4b52-9e6a-3a9f7d1c2b10`
    """
    with connect(url, api_key, data) as client:
        job = client.job(job_id)
    if as_json:
        print_json(job.model_dump(mode="json"))
    else:
        _print_job(job)


@app.command()
def cancel(
    job_id: JobId, url: Url = DEFAULT_URL, api_key: Key = None, data: Data = None, as_json: Json = False
) -> None:
    """Stop a job; its processes are gone within seconds.

    Example: `reelmill jobs cancel 8b0c7f0e-6f9a-4b52-9e6a-3a9f7d1c2b10`
    """
    with connect(url, api_key, data) as client:
        _print_status(client.cancel(job_id), as_json)


@app.command(context_settings={"ignore_unknown_options": True})
def priority(
    job_id: JobId,
    number: Annotated[int, typer.Argument(metavar="N", min=-1000, max=1000, help="-1000 … 1000; higher is earlier.")],
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let a job be worked on earlier or later than others.

    Example: `reelmill jobs priority 8b0c7f0e-6f9a-4b52-9e6a-3a9f7d1c2b10 10`
    """
    with connect(url, api_key, data) as client:
        status = client.set_priority(job_id, number)
    if as_json:
        print_json(status.model_dump(mode="json"))
    else:
        place = "" if status.queue_position is None else f"; {counted(status.queue_position, 'queued job')} before it"
        print(f"{status.job_id} is {status.status}, with priority {number}{place}.")


@app.command()
def retry(job_id: JobId, url: Url = DEFAULT_URL, api_key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Run a failed or cancelled job again, from its first missing step.

    Example: `reelmill jobs retry 8b0c7f0e-6f9a-4b52-9e6a-3a9f7d1c2b10`
    """
    with connect(url, api_key, data) as client:
        _print_status(client.retry(job_id), as_json)


@app.command()
def download(
    job_id: JobId,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for the files; by default, pipeline and id.")
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Fetch every file that a completed job made, each checked by its SHA-256.

    Example: `reelmill jobs download 8b0c7f0e-6f9a-4b52-9e6a-3a9f7d1c2b10 --out clips`
    """
    with connect(url, api_key, data) as client:
        status = client.status(job_id)
        folder = out or Path(f"{status.pipeline}-{job_id[:8]}")
        with Progress("download", as_json=as_json) as progress:
            fetched = fetch(client, job_id, folder, progress)
    if as_json:
        print_json(
            {"job_id": job_id, "folder": str(folder), "files": [file.model_dump(mode="json") for file in fetched]}
        )
    else:
        total = size_text(sum(file.size for file in fetched))
        print(f"{counted(len(fetched), 'file')} ({total}) in {folder}")


def watch(job_id: JobId, url: Url = DEFAULT_URL, api_key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Follow a job live until it ends. Exits with 0 when it is completed, with 1 when it failed or was cancelled.

    With --json every event is a line of its own. A server that is started again meanwhile is waited for.

    Example: `reelmill watch 8b0c7f0e-6f9a-4b52-9e6a-3a9f7d1c2b10`
    """
    with connect(url, api_key, data) as client:
        with Progress(job_id[:8], as_json=as_json) as progress:
            status = follow(client, job_id, progress, as_json=as_json)
        raise typer.Exit(ended(status, as_json=as_json))


# ── parts ─────────────────────────────────────────────────────────────────────────────────────


def follow(client: Client, job_id: str, progress: Progress, *, as_json: bool = False) -> JobStatus:
    """Show a job's events until it ends; return its status then. as_json: print each event as a line."""
    for event in client.events(job_id):
        if event.type == "progress":
            progress.show(event.data["progress_pct"], event.data["message"])
        if as_json:
            print_json({"type": event.type, "seq": event.seq, **event.data}, compact=True)
    return client.status(job_id)


def ended(status: JobStatus, *, as_json: bool) -> Code:
    """Say how a job ended; return the exit code."""
    if not as_json:
        print_warnings(status.warnings)
    if status.status == "completed":
        if not as_json:
            print(f"{status.job_id} is completed: {counted(len(status.download_urls), 'result')}.")
        return Code.OK
    if status.error is not None:
        print_error(known_error(status.error.code, status.error.detail), as_json=as_json, about=status.job_id)
    elif not as_json:
        typer.echo(f"{status.job_id} is {status.status}.", err=True)
    return Code.FAILED


def fetch(client: Client, job_id: str, folder: Path, progress: Progress) -> list[ArtifactReply]:
    """Download every file of a completed job into a folder; return what they are. Raises NotReady, BodyMismatch."""
    return client.download_results(
        job_id, folder, got=lambda got, of: progress.show(100 * got / of, "", f"{size_text(got)} of {size_text(of)}")
    )


def _print_status(status: JobStatus, as_json: bool) -> None:
    if as_json:
        print_json(status.model_dump(mode="json"))
    else:
        print(f"{status.job_id} is {status.status}.")


def _print_job(job: JobReply) -> None:
    lines: dict[str, Any] = {
        "job": job.job_id,
        "video": job.video_id,
        "pipeline": f"{job.pipeline} {job.pipeline_version}",
        "status": f"{job.status}, {job.progress_pct:.0f} %, run {job.run}",
        "queue position": job.queue_position,
        "message": job.message or None,
        "created": stamp(job.created_at),
        "ended": stamp(job.completed_at) if job.completed_at else None,
        "made by": job.user_id,
        "follows": job.follows,
        "reused": counted(job.reused, "step") if job.reused else None,
    }
    for name, value in lines.items():
        if value is not None:
            print(f"{name:<15} {shown(value)}")
    for warning in job.warnings:
        print(f"{'warning':<15} {shown(warning)}")
    for one in job.then:
        told = ", ".join(one.job_ids) or one.status.replace("_", " ")
        print(f"{'then':<15} {shown(one.pipeline)}: {told}{f' ({shown(one.why)})' if one.why else ''}")
    if job.steps:
        print()
        head = ["STAGE", "STEP", "KIND", "STATUS", "ATTEMPTS", "WHAT WENT WRONG"]
        rows = [
            [step.stage, step.index, step.kind, step.status, step.attempt, step.error.detail if step.error else ""]
            for step in job.steps
        ]
        print_table(head, rows)
    if job.error is not None:
        print_error(known_error(job.error.code, job.error.detail), as_json=False)


def stamp(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")

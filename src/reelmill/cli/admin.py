"""`reelmill admin`, `dead-letters` and `videos`: what operators do to jobs, uploads, videos and pipelines."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from reelmill.cli.jobs import stamp
from reelmill.cli.keys import rules
from reelmill.cli.options import DEFAULT_URL, Data, Json, Key, Url, connect
from reelmill.cli.output import counted, known_error, print_error, print_json, print_table, shown
from reelmill.errors import RequestInvalid

if TYPE_CHECKING:
    from reelmill.schemas import DeadLetter

app = typer.Typer(help="Retry many jobs, look after stuck uploads, switch pipelines off.", no_args_is_help=True)
videos = typer.Typer(help="Delete a server's videos, and bring them back.", no_args_is_help=True)

LONGEST_NAME = 64
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Tenant = Annotated[str | None, typer.Option(help="Only for this tenant; for all by default.")]
Name = Annotated[str, typer.Argument(metavar="PIPELINE", help="The pipeline's name.")]
VideoId = Annotated[str, typer.Argument(metavar="ID", help="The video's id.")]


@app.command()
def reprocess(
    status: Annotated[str, typer.Option(help="failed or cancelled.")] = "failed",
    code: Annotated[str | None, typer.Option(help="Only jobs that failed with this error code.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Only jobs of this pipeline.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Only jobs on videos with this label, name=value; may be repeated.")
    ] = None,
    after: Annotated[
        datetime | None, typer.Option(help="Only jobs made at this moment or later, in local time.")
    ] = None,
    before: Annotated[datetime | None, typer.Option(help="Only jobs made before this moment, in local time.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most jobs at once.")] = 100,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Retry the failed jobs that a filter finds, newest first, each from its first missing step.

    Example: `reelmill admin reprocess --code storage_unavailable --after 2026-11-20`
    """
    with connect(url, api_key, data) as client:
        reply = client.reprocess(
            status=_one_of("--status", status, "failed", "cancelled"),
            error_code=code,
            pipeline=pipeline,
            labels=dict(_label(text) for text in label or ()),
            created_after=after.astimezone() if after else None,
            created_before=before.astimezone() if before else None,
            limit=limit,
            dry_run=dry_run,
        )
    if as_json:
        print_json(reply.model_dump(mode="json"))
        return
    rows = [[one.job_id, one.outcome, one.error.detail if one.error else ""] for one in reply.items]
    print_table(["JOB", "OUTCOME", "WHY"], rows)
    _more(reply.next_cursor)


@app.command("recheck-uploads")
def recheck_uploads(
    older_than: Annotated[float, typer.Option(min=0, help="Begun so many seconds ago.")] = 300,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most uploads at once.")] = 100,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Look after uploads that were begun and never completed: those whose file is there are verified and completed.

    Example: `reelmill admin recheck-uploads --older-than 3600 --dry-run`
    """
    with connect(url, api_key, data) as client:
        reply = client.recheck_uploads(older_than_s=older_than, limit=limit, dry_run=dry_run)
    if as_json:
        print_json(reply.model_dump(mode="json"))
        return
    rows = [
        [one.video_id, stamp(one.initiated_at), one.outcome, one.error.detail if one.error else ""]
        for one in reply.items
    ]
    print_table(["VIDEO", "BEGUN", "OUTCOME", "WHY"], rows)
    _more(reply.next_cursor)


@app.command("switch-off")
def switch_off(
    pipeline: Name,
    reason: Annotated[str, typer.Option(help="Why; everybody whose job is refused is told.")],
    tenant: Tenant = None,
    data: Data = None,
) -> None:
    """Let a pipeline take no new jobs, directly in the database. Queued and running ones go on.

    Example: `reelmill admin switch-off clips --reason "The fonts are being replaced."`
    """
    if not 1 <= len(pipeline) <= LONGEST_NAME:
        raise RequestInvalid(f"A pipeline's name has 1 to {LONGEST_NAME} characters.")
    with rules(data) as store:
        store.switch_off(pipeline, tenant, reason)
    print(f"{shown(pipeline)} takes no new jobs{_of(tenant)}.")


@app.command("switch-on")
def switch_on(pipeline: Name, tenant: Tenant = None, data: Data = None) -> None:
    """Let a pipeline take jobs again. What is off for all isn't switched on for one tenant by this.

    Example: `reelmill admin switch-on clips`
    """
    with rules(data) as store:
        store.switch_on(pipeline, tenant)
        left = [one for one in store.switches(tenant) if one.pipeline == pipeline]
    if left:
        others = ", ".join(one.tenant or "all tenants" for one in left)
        print(f"{shown(pipeline)} is still off for {shown(others)}.")
    else:
        print(f"{shown(pipeline)} takes jobs again{_of(tenant)}.")


@app.command()
def switches(data: Data = None, as_json: Json = False) -> None:
    """List the pipelines that are switched off.

    Example: `reelmill admin switches`
    """
    with rules(data) as store:
        off = store.switches()
    if as_json:
        print_json(
            [
                {
                    "pipeline": one.pipeline,
                    "tenant": one.tenant,
                    "reason": one.reason,
                    "by": one.actor,
                    "since": one.since.isoformat(),
                }
                for one in off
            ]
        )
        return
    rows = [[one.pipeline, one.tenant or "(all)", stamp(one.since), one.actor, one.reason] for one in off]
    print_table(["PIPELINE", "TENANT", "SINCE", "BY", "REASON"], rows)


def dead_letters(
    job_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Show all about this one.")] = None,
    code: Annotated[str | None, typer.Option(help="Only jobs that failed with this error code.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Only jobs of this pipeline.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Most jobs to list.")] = 50,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List the jobs that failed for good; of one, show the commands, what they printed and the versions that ran.

    Example: `reelmill dead-letters --code encode_failed`
    """
    with connect(url, api_key, data) as client:
        if job_id is not None:
            letter = client.dead_letter(job_id)
            if as_json:
                print_json(letter.model_dump(mode="json"))
            else:
                _print_letter(letter)
            return
        page = client.dead_letters(code=code, pipeline=pipeline, limit=limit)
    if as_json:
        print_json(page.model_dump(mode="json"))
        return
    rows = [[one.job_id, stamp(one.failed_at), one.pipeline, one.error.code, one.error.detail] for one in page.items]
    print_table(["ID", "FAILED", "PIPELINE", "CODE", "WHAT WENT WRONG"], rows)
    _more(page.next_cursor)


@videos.command()
def delete(
    video_id: VideoId, url: Url = DEFAULT_URL, api_key: Key = None, data: Data = None, as_json: Json = False
) -> None:
    """Delete a video with its jobs and results. For a while it can be brought back.

    Example: `reelmill videos delete 8b0c7f0e-6f9a-4b52-9e6a-3a9f7d1c2b10`
    """
    with connect(url, api_key, data) as client:
        gone = client.delete_video(video_id)
    if as_json:
        print_json(gone.model_dump(mode="json"))
    else:
        print(f"{video_id} is deleted; until {stamp(gone.restore_until)} it can be restored.")


@videos.command()
def restore(
    video_id: VideoId, url: Url = DEFAULT_URL, api_key: Key = None, data: Data = None, as_json: Json = False
) -> None:
    """Bring a deleted video back, with its jobs and results.

    Example: `reelmill videos restore 8b0c7f0e-6f9a-4b52-9e6a-3a9f7d1c2b10`
    """
    with connect(url, api_key, data) as client:
        video = client.restore_video(video_id)
    if as_json:
        print_json(video.model_dump(mode="json"))
    else:
        print(f"{video_id} is there again.")


# ── parts ─────────────────────────────────────────────────────────────────────────────────────


def _one_of(option: str, given: str, *known: str) -> str:
    if given not in known:
        raise RequestInvalid(f"{option} {given!r}: it must be {' or '.join(known)}.")
    return given


def _label(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise RequestInvalid(f"--label {text!r} must be name=value, for example camera=door.")
    return name, value


def _of(tenant: str | None) -> str:
    return f" of {shown(tenant)}" if tenant is not None else ""


def _more(cursor: str | None) -> None:
    if cursor is not None:
        typer.echo("There are more; raise --limit.", err=True)


def _print_letter(letter: DeadLetter) -> None:
    lines = {
        "job": letter.job_id,
        "video": letter.video_id,
        "pipeline": f"{letter.pipeline} {letter.pipeline_version}",
        "failed": f"{stamp(letter.failed_at)}, run {letter.run}",
        "stage": letter.stage,
        "made by": letter.user_id,
        "request": letter.correlation_id,
        "retry": f"refused for good: {letter.retry_refused}"
        if letter.retry_refused
        else f"reelmill jobs retry {letter.job_id}",
    }
    for name, value in lines.items():
        if value is not None:
            print(f"{name:<10} {shown(value)}")
    for step in letter.steps:
        versions = ", ".join(f"{name} {value}" for name, value in (step.versions or {}).items())
        print(f"\n{step.step_id}: {counted(step.attempts, 'attempt')}, the last on {shown(step.worker_id)}")
        for name, text in {"versions": versions, "command": step.command, "stderr": step.stderr}.items():
            if text:
                print(f"  {name}:")
                for line in text.splitlines():
                    print(f"    {shown(line)}")
    print_error(known_error(letter.error.code, letter.error.detail), as_json=False)

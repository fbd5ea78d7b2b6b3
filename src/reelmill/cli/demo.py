"""`reelmill demo`: a real server, a real video, everything over HTTP, and every clip checked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from urllib.parse import urlsplit

import typer

from reelmill.cli.jobs import ended, fetch, follow
from reelmill.cli.options import LOCAL_KEY_FILE, Data, Json, Key, is_loopback, local_key
from reelmill.cli.output import Code, counted, print_json, print_table, print_warnings, shown, size_text
from reelmill.cli.progress import Progress
from reelmill.cli.results import MANIFEST, clear_earlier, sha256_of
from reelmill.errors import InternalError

if TYPE_CHECKING:
    from reelmill.client import Client
    from reelmill.schemas import ArtifactReply

SAMPLE = "trailer_bbb.mp4"
SHEET = "contact-sheet.png"
LOG = "server.log"
STOP_S = 20.0
SOUND_S = 0.025  #: sound and picture end together within this
MADE_S = 30

# What would lead the demo's own server elsewhere than into its own folder.
FOREIGN = (
    "REELMILL_BROKER_URL",
    "REELMILL_DATABASE_URL",
    "REELMILL_STORAGE_URL",
    "REELMILL_PUBLIC_URL",
    "REELMILL_HOST",
    "REELMILL_PORT",
)


class Finding(NamedTuple):
    """One checked clip."""

    name: str
    span: str
    frames: int
    seconds: float
    size_bytes: int
    sound_gap_s: float | None  #: by how much sound and picture end apart; None without sound
    wrong: list[str]


def demo(
    file: Annotated[
        Path | None,
        typer.Argument(exists=True, dir_okay=False, readable=True, help="A video; a sample or a made one by default."),
    ] = None,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for the results.")] = Path("demo"),
    every: Annotated[float, typer.Option(min=0.1, help="Length of a clip in seconds.")] = 10.0,
    text: Annotated[str, typer.Option(help="Text on every clip.")] = "Made with Reelmill",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the server's data folder, to look into it.")] = False,
    samples: Annotated[
        Path, typer.Option(envvar="REELMILL_SAMPLES", help="Where sample videos are looked for.")
    ] = Path(".cache/samples"),
    url: Annotated[
        str | None, typer.Option("--url", help="Use this server, a cluster's for example, instead of one of its own.")
    ] = None,
    api_key: Key = None,
    server_data: Data = None,
    as_json: Json = False,
) -> None:
    """Show that it works, with a real server and a real video.

    Starts a server, or uses the one at --url, cuts a video through its HTTP API, checks every clip and tells where they
    are. Exits with 0 only when everything is right. Nothing but the results is left behind.

    Example: `reelmill demo film.mp4 --every 5 --text "Hello"`
    """
    say = _silent if as_json else _say
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    params = {"cutting": {"kind": "fixed", "duration_s": every}, "text": {"text": text, "box_color": "#000000"}}
    with tempfile.TemporaryDirectory(prefix=".reelmill-", dir=out) as scratch:
        source = file or find_source(samples, Path(scratch), say)
        data = out / "data" if keep else Path(scratch) / "data"
        with _there(url, api_key, server_data) if url else server(data, out / LOG) as (at, key):
            say(f"A server is at {at}.")
            from reelmill.client import Client

            with Client(at, key) as client:
                artifacts, plan = process(client, source, params, out, say, as_json=as_json)
    findings = check_clips(out, artifacts)
    wrong = [*(f"{f.name}: {w}" for f in findings for w in f.wrong), *check_whole(out, artifacts, findings, plan)]
    report(source, out, findings, wrong, time.monotonic() - began, data if keep and not url else None, as_json=as_json)
    raise typer.Exit(Code.FAILED if wrong else Code.OK)


def process(
    client: Client, source: Path, params: dict[str, Any], out: Path, say: Any, *, as_json: bool
) -> tuple[list[ArtifactReply], dict[str, Any]]:
    """Do what any client does; return the artifacts, fetched into `out`, and what a dry run had promised."""
    from reelmill.schemas import Upload

    say(f"Uploading {shown(source.name)} ({size_text(source.stat().st_size)}) by a signed PUT …")
    begun = client.initiate(source, sha256=sha256_of(source), pipeline="clips", params=params)
    assert isinstance(begun.upload, Upload), "a single PUT"
    client.put(begun.upload, source)
    done = client.complete(begun.video_id)
    assert done.job_id is not None, "a pipeline was named"
    plan = client.plan(begun.video_id, "clips", params).plan
    say(f"Job {done.job_id}: {done.message}. It will make {counted(plan['clip_count'], 'clip')}.")
    with Progress("job", as_json=as_json) as progress:
        status = follow(client, done.job_id, progress)
    if status.status != "completed":
        raise typer.Exit(ended(status, as_json=as_json))
    if not as_json:
        print_warnings(status.warnings)
    say("Downloading by signed URLs …")
    clear_earlier(out, set())
    with Progress("download", as_json=as_json) as progress:
        return fetch(client, status.job_id, out, progress), plan


# ── the server and the source ─────────────────────────────────────────────────────────────────


@contextmanager
def _there(url: str, api_key: str | None, data: Path | None) -> Iterator[tuple[str, str | None]]:
    """Yield a server that runs already, and a key for it."""
    yield url, api_key or (local_key(data) if is_loopback(urlsplit(url).hostname or "") else None)


@contextmanager
def server(data: Path, kept_log: Path) -> Iterator[tuple[str, str | None]]:
    """Run `reelmill serve` on a free port; yield its URL and a key. It is ended by its own process id.

    kept_log: gets its log when a job fails, for that is where the reason is.
    """
    kept_log.unlink(missing_ok=True)
    data.mkdir(parents=True, exist_ok=True)
    env = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    command = [sys.executable, "-m", "reelmill.cli", "serve", "--port", "0", "--data", str(data), "--json"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command,
            env={"REELMILL_LOG_FORMAT": "text", **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C comes to us alone; we end it
        )
        try:
            yield _told(process)["url"], (data / LOCAL_KEY_FILE).read_text().strip()
        except typer.Exit:
            log.seek(0)
            kept_log.write_text(log.read())
            typer.echo(f"The server's log is in {shown(kept_log)}.", err=True)
            raise
        except _DidNotStart as error:
            process.wait(STOP_S)
            log.seek(0)
            raise InternalError(f"The server didn't start: {log.read()[-2000:].strip()}") from error
        finally:
            _end(process)


class _DidNotStart(Exception):
    pass


def _told(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return what the server says when it is up."""
    assert process.stdout is not None
    line = process.stdout.readline()  # it speaks, or it ends
    if not line:
        raise _DidNotStart
    told: dict[str, Any] = json.loads(line)
    return told


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_S)
    if process.stdout is not None:
        process.stdout.close()


def find_source(samples: Path, scratch: Path, say: Any) -> Path:
    """Return the sample film, or make a test film."""
    if (samples / SAMPLE).is_file():
        return samples / SAMPLE
    say(f"There is no {samples / SAMPLE} and no FILE, so a test film of {MADE_S} s is made.")
    from reelmill.media import find_ffmpeg
    from reelmill.settings import read_settings

    override = read_settings().ffmpeg
    path = scratch / "test-film.mp4"
    command = [
        str(find_ffmpeg(str(override) if override else None)), "-nostdin", "-hide_banner", "-loglevel", "error",
        "-f", "lavfi", "-i", f"testsrc2=size=1280x720:rate=30:duration={MADE_S}",
        "-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={MADE_S}",
        "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest", str(path),
    ]  # fmt: skip
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise InternalError(f"The test film couldn't be made: {made.stderr[-500:].strip()}")
    return path


# ── checks: by opening what was downloaded, not by believing ──────────────────────────────────


def check_clips(out: Path, artifacts: list[ArtifactReply]) -> list[Finding]:
    """Decode every clip and compare it with what the job says of it."""
    clips = [artifact for artifact in artifacts if artifact.kind == "clip"]
    manifest = json.loads((out / MANIFEST).read_text())
    listed = {str(clip["name"]): clip for clip in manifest["clips"]}
    return [check_clip(out / clip.name, clip, listed.get(clip.name)) for clip in clips]


def check_clip(path: Path, artifact: ArtifactReply, listed: Mapping[str, Any] | None) -> Finding:
    """Return what is in one clip, and what is wrong with it."""
    import av

    planned: Mapping[str, Any] = artifact.meta
    wrong: list[str] = []
    sha256 = sha256_of(path)
    if sha256 != artifact.sha256:
        wrong.append("its SHA-256 isn't the job's")
    if listed is None or sha256 != listed["sha256"]:
        wrong.append("its SHA-256 isn't the manifest's")
    frames, gap = 0, None
    start_s = end_s = sound_end_s = 0.0
    try:
        with av.open(str(path)) as media:
            for frame in media.decode(video=0):
                assert frame.time is not None, "an MP4's frames have times"
                start_s = frame.time if not frames else start_s
                end_s = frame.time + float((frame.duration or 0) * (frame.time_base or 0))
                frames += 1
            has_sound = bool(media.streams.audio)
        if has_sound:
            with av.open(str(path)) as media:
                for sound in media.decode(audio=0):
                    assert sound.time is not None, "an MP4's sound has times"
                    sound_end_s = sound.time + sound.samples / sound.sample_rate
            gap = sound_end_s - end_s
    except av.FFmpegError as error:
        wrong.append(f"it doesn't decode: {error}")
    seconds = end_s - start_s
    length_s = float(planned["end_s"]) - float(planned["start_s"])
    if frames != planned["frames"]:
        wrong.append(f"{frames} frames, {planned['frames']} were planned")
    elif abs(seconds - length_s) > length_s / max(1, frames) / 2 + 1e-4:
        wrong.append(f"{seconds:.3f} s, {length_s:.3f} s were planned")
    if gap is not None and abs(gap) > SOUND_S:
        wrong.append(f"sound ends {gap * 1000:+.0f} ms from the picture")
    if (gap is None) != (planned.get("audio_codec") is None):
        wrong.append("it should have sound" if gap is None else "it shouldn't have sound")
    span = f"{float(planned['start_s']):.3f} – {float(planned['end_s']):.3f}"
    return Finding(path.name, span, frames, seconds, path.stat().st_size, gap, wrong)


def check_whole(
    out: Path, artifacts: list[ArtifactReply], findings: list[Finding], plan: Mapping[str, Any]
) -> list[str]:
    """Return what is wrong with all of it together."""
    from PIL import Image

    wrong = []
    manifest = json.loads((out / MANIFEST).read_text())
    frames, expected = sum(finding.frames for finding in findings), manifest["source"]["frames"]
    if frames != expected:
        wrong.append(f"the clips have {frames} frames together, the source has {expected}")
    promised = [(clip["start_frame"], clip["end_frame"]) for clip in plan["clips"]]
    if promised != [(clip["start_frame"], clip["end_frame"]) for clip in manifest["clips"]]:
        wrong.append("the job's cuts aren't those of the dry run")
    if not findings:
        wrong.append("there are no clips")
    for artifact in artifacts:
        if sha256_of(out / artifact.name) != artifact.sha256:
            wrong.append(f"{artifact.name}: its SHA-256 isn't the job's")
    try:
        with Image.open(out / SHEET) as sheet:
            sheet.load()
    except OSError as error:
        wrong.append(f"{SHEET}: {error}")
    return wrong


def report(
    source: Path,
    out: Path,
    findings: list[Finding],
    wrong: list[str],
    seconds: float,
    data: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print what was made and where it is."""
    if as_json:
        told = [finding._asdict() for finding in findings]
        paths = {"folder": str(out), "contact_sheet": str(out / SHEET), "data": str(data) if data else None}
        print_json({"ok": not wrong, "source": str(source), **paths, "clips": told, "wrong": wrong, "seconds": seconds})
        return
    head = ["CLIP", "SECONDS OF THE SOURCE", "FRAMES", "LENGTH", "SIZE", "SOUND ENDS", "CHECKED"]
    rows = [
        [
            f.name,
            f.span,
            f.frames,
            f"{f.seconds:.3f} s",
            size_text(f.size_bytes),
            "no sound" if f.sound_gap_s is None else f"{f.sound_gap_s * 1000:+.1f} ms",
            "wrong" if f.wrong else "ok",
        ]
        for f in findings
    ]
    print()
    print_table(head, rows)
    print()
    for line in wrong:
        typer.secho(f"wrong: {shown(line)}", fg="red")
    if not wrong:
        frames = sum(finding.frames for finding in findings)
        clips = counted(len(findings), "clip")
        print(f"Everything is right: {clips}, {frames} frames, as many as the source has. It took {seconds:.0f} s.")
    print(f"Clips:          {shown(out.resolve())}")
    print(f"Contact sheet:  {shown((out / SHEET).resolve())}")
    if data is not None:
        print(f"Server's data:  {shown(data.resolve())}  (reelmill serve --data {shown(data)})")


def _say(text: str) -> None:
    print(text, flush=True)


def _silent(_: str) -> None:
    pass

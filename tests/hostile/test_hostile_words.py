"""20,000 names, texts and labels: what a user writes is shown, never a path, an option or part of a filter graph."""

from __future__ import annotations

import hashlib
import random
import re
import string
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from media_sources import make_source
from reelmill.api.errors import check_value
from reelmill.errors import ParamsInvalid, RequestInvalid
from reelmill.jobs.keys import output_prefix, source_key
from reelmill.jobs.lifecycle import ENDED
from reelmill.jobs.model import Job
from reelmill.jobs.service import NAME, Caller
from reelmill.media import ClipPlan, Picture, Source, TextStyle, draw, layout, probe
from reelmill.media.encode import clip_arguments
from reelmill.objects.names import clean_filename, is_key
from reelmill.pipelines.clips import ClipsParams
from reelmill.schemas import InitiateRequest
from reelmill.settings import read_settings
from reelmill.wiring import App, build

WORDS = 20_000
SEED = 20_260_101
KEY = re.compile(r"default/original/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/source")
NUMBER = re.compile(r"\d+(\.\d+)?")
PIECES = (
    "'", '"', "\\", "\\\\", "`", "%{pts}", "%{n}", "%s", "%n", "\n", "\r\n", "\x00", "\t", "\x1b[2J", "\x7f", ";", ",",
    "[", "]", "[0:v]", "[text]", ":", "=", "{", "}", "{index}", "{name}", "{{", "(", ")", "<", ">", "|", "&", "&&",
    "$(reboot)", "$HOME", "`id`", "; rm -rf /", "../", "..\\", "../../etc/passwd", "/etc/passwd", "/", "\\\\a\\b",
    "C:\\", "C:", "-i", "--", "-filter_complex", "-protocol_whitelist", "file:", "http://127.0.0.1/", "concat:a|b",
    "pipe:0", "data:text/plain,x", "movie=/etc/passwd", "overlay", "drawtext=textfile=/etc/passwd", "\u202e", "\u2066",
    "\u200f", "\u2028", "\u200b", "\ufeff", "\ud800", "\udfff", "\U0001f3ac", "\U0001f469\u200d\U0001f680", "e\u0301",
    "\u05e9\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627", "\u65e5\u672c\u8a9e", "\u00fc", "\ue000", "\uffff",
    "CON", "nul", "aux.mp4", ".", "..", " ", "film.mp4", ".m3u8", "' OR 1=1 --", "<script>", "\\u0000", "\\n",
    "n" * 300, "\u00fc" * 260, "Summer", "a",
)  # fmt: skip


def word(dice: random.Random) -> str:
    """Return something nasty, of one to eight pieces."""
    kind = dice.random()
    if kind < 0.7:
        return "".join(dice.choices(PIECES, k=dice.choice((1, 1, 2, 3, 5, 8))))
    if kind < 0.85:
        return "".join(chr(dice.randrange(0x110000)) for _ in range(dice.choice((1, 5, 40, 300))))
    return "".join(dice.choices(string.printable, k=dice.choice((1, 5, 40, 300))))


@pytest.fixture(scope="module")
def words() -> list[str]:
    dice = random.Random(SEED)
    made = [*PIECES, *(word(dice) for _ in range(WORDS - len(PIECES)))]
    assert len(made) == WORDS
    return made


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """A whole platform with its workers, on SQLite."""
    settings = read_settings(data=tmp_path_factory.mktemp("words") / "data", workers=2, sweep_s=0.5, grace_s=1)
    with build(settings, base_url="http://127.0.0.1:1") as running:
        yield running


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("film") / "film.mp4", seconds=0.4, width=160, height=90)


@pytest.fixture(scope="module")
def source(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Source:
    return probe(str(film), scratch=tmp_path_factory.mktemp("probe"))


def about(text: str) -> dict[str, Any]:
    """Return a request that says the word wherever a user may write."""
    return {
        "filename": text, "size": 1000, "content_type": "video/mp4", "labels": {"note": text}, "pipeline": "clips",
        "params": {"text": {"text": text}},
    }  # fmt: skip


def asked(body: dict[str, Any]) -> InitiateRequest | None:
    """Return the request as the API takes it, None if it is refused there."""
    try:
        check_value("body", body)
        return InitiateRequest.model_validate(body)
    except (RequestInvalid, ValidationError):
        return None


# ── file names and labels ─────────────────────────────────────────────────────────────────────


@pytest.mark.req("C-01", "C-07", "D-01")
def test_names_are_shown_and_never_used(words: list[str], tmp_path: Path) -> None:
    root = tmp_path.resolve()
    taken = 0
    for text in words:
        request = asked(about(text))
        if request is not None:
            taken += 1
            assert NAME.fullmatch(request.filename), "what the API takes, the service takes"
            assert (request.filename, request.labels["note"]) == (text, text), "kept as it was written"
        if is_key(text):  # a key that somebody made up stays in the store's folder
            assert (root / text).resolve().is_relative_to(root)
        assert not is_key(f"default/original/{text}/../x")
        saved = clean_filename(text)
        assert saved and len(saved) <= 200 and not re.search(r"[\x00-\x1f\x7f/\\\u202e\u2066]", saved)
        assert saved not in {".", ".."}
        saved.encode()
    assert taken > WORDS / 20, "a test of refusals alone would show little"


@pytest.mark.req("C-01", "D-01")
def test_label_names_are_plain(words: list[str]) -> None:
    for text in words:
        request = asked({"filename": "film.mp4", "size": 1, "content_type": "video/mp4", "labels": {text: "x"}})
        assert request is None or re.fullmatch(r"[a-z0-9_.-]{1,64}", text)


@pytest.mark.req("A-02", "C-01", "D-01")
def test_uploads_of_any_name_lie_under_ids(app: App, words: list[str]) -> None:
    """A few hundred through the real service and database."""
    made = refused = 0
    for text in [*PIECES, *words[len(PIECES) :: 40]]:
        request = asked(about(text))
        if request is None:
            refused += 1
            if not NAME.fullmatch(text):  # the service by itself lets no bad name in either
                with pytest.raises(RequestInvalid):
                    app.service.initiate(Caller(), filename=text, size_bytes=1000, content_type="video/mp4")
            continue
        try:
            begun = app.service.initiate(
                Caller(), filename=request.filename, size_bytes=request.size, content_type=request.content_type,
                labels=request.labels, pipeline="clips", params=request.params,
            )  # fmt: skip
        except (RequestInvalid, ParamsInvalid) as refusal:
            assert refusal.remedy
            refused += 1
            continue
        made += 1
        video = app.store.video(begun.video.id)
        assert (video.filename, dict(video.labels)) == (text, {"note": text})
        assert KEY.fullmatch(video.key) and video.key == source_key("default", video.id)
        assert begun.upload is not None and begun.job is not None
        path = begun.upload.url.partition("?")[0]
        assert path == f"http://127.0.0.1:1/objects/{video.key}", "no word of the user's in the URL either"
        assert output_prefix(begun.job) == f"default/outputs/{begun.job.id}/"
    assert made > 50 and refused > 50


@pytest.mark.req("D-01")
def test_what_storage_would_not_sign_leaves_no_video_behind(app: App) -> None:
    before = len(app.store.videos("default", limit=1000).items)
    with pytest.raises(RequestInvalid):
        app.service.initiate(Caller(), filename="a.mp4", size_bytes=1, content_type="video/x!y")
    assert len(app.store.videos("default", limit=1000).items) == before


# ── texts ─────────────────────────────────────────────────────────────────────────────────────


def shape(arguments: list[str]) -> list[str]:
    """Return what is left of arguments without their numbers."""
    return [NUMBER.sub("#", argument) for argument in arguments]


def pieces_of(text: str) -> set[str]:
    """Return every four characters that follow each other in a text and have no digit."""
    every = {text[at : at + 4] for at in range(len(text) - 3)}
    return {piece for piece in every if not re.search(r"\d", piece)}


@pytest.mark.req("B-04", "C-07")
def test_arguments_have_one_shape_whatever_the_text(source: Source, words: list[str], tmp_path: Path) -> None:
    """All that ffmpeg learns of a text is where its picture lies and how large it is."""
    dice = random.Random(SEED)
    location, output, png = str(tmp_path / "source"), tmp_path / "clip.mp4", tmp_path / "text.png"

    def arguments(picture: Picture) -> list[str]:
        return clip_arguments(location, source, ClipPlan(2, 8, picture), output)

    plain = arguments(Picture(png, 0, 0, 2, 2))
    ours = pieces_of("\n".join(plain))
    drawn: list[Picture] = []
    for text in words[::30]:
        try:
            setting = layout(text, TextStyle(), 160, 90)
        except ParamsInvalid as refusal:
            assert refusal.remedy
            continue
        drawn.append(draw(setting, png))
        assert drawn[-1].path == png, "the picture's name is ours"
        told = "\n".join(arguments(drawn[-1]))
        assert not [piece for piece in pieces_of(text) - ours if piece in told]
    assert len(drawn) > 50
    shapes = {tuple(shape(arguments(dice.choice(drawn)))) for _ in words}
    assert shapes == {tuple(shape(plain))}


# ── names and texts through the whole platform ────────────────────────────────────────────────

WRITTEN = [
    ("film.mp4", "Summer"),
    ("-i.mp4", "-i /etc/passwd -f lavfi"),
    ("$(reboot).mp4", "%{pts}:text='[0:v]movie=x[a];[a]'"),
    ("[0:v].mp4", "a;b,c:d=e\\'f\\\\g"),
    ("file:film.mp4", "{name} {index}/{total} {{x}}"),
    ("..mp4", "../../etc/passwd\nhttp://127.0.0.1/"),
    ("'; rm -rf ~ #.mp4", "drawtext=textfile=/etc/passwd:expansion=none"),
    ("\u202egpj.mp4", "\u05e9\u05dc\u05d5\u05dd 'x' \u0645\u0631\u062d\u0628\u0627"),
]


def upload(app: App, film: Path, name: str, text: str) -> Job:
    content = film.read_bytes()
    begun = app.service.initiate(
        Caller(), filename=name, size_bytes=len(content), content_type="video/mp4", pipeline="clips",
        params={"text": {"text": text, "size_pct": 5}, "video": {"preset": "ultrafast"}},
    )  # fmt: skip
    incoming = app.objects.begin_put(  # type: ignore[attr-defined]
        begun.video.key, size_bytes=len(content), content_type="video/mp4", sha256=hashlib.sha256(content).hexdigest()
    )
    incoming.write(content)
    incoming.commit()
    job = app.service.complete(Caller(), begun.video.id).job
    assert job is not None
    return job


@pytest.mark.req("B-04", "C-07")
def test_commands_of_real_jobs_differ_in_numbers_and_ids_alone(app: App, film: Path) -> None:
    jobs = [upload(app, film, name, text) for name, text in WRITTEN]
    commands = set()
    for job, (name, text) in zip(jobs, WRITTEN, strict=True):
        deadline = time.monotonic() + 60
        while (now := app.store.job(job.id)).status not in ENDED:
            assert time.monotonic() < deadline, f"the job didn't end: {now.status}"
            time.sleep(0.02)
        assert str(now.status) == "completed", (now.error_code, now.error_detail)
        command = next(attempt.command for attempt in app.store.attempts(job.id) if attempt.command)
        for mine in {name, text, *text.split()} - {"Summer", "film.mp4"}:
            assert len(mine) < 4 or mine not in command
        plain = command.replace(job.video_id, "VIDEO").replace(job.id, "JOB")
        commands.add(NUMBER.sub("#", re.sub(r"[0-9a-f]{8,}", "ID", plain)))
        for artifact in app.store.artifacts(job.id):
            assert re.fullmatch(rf"default/outputs/{job.id}/[a-z]+/\d+/[a-z0-9-]+-r\d+a\d+\.[a-z0-9]+", artifact.key)
    assert len(commands) == 1, commands


def test_params_keep_a_text_as_it_was_written(words: list[str]) -> None:
    for text in words[::10]:
        try:
            params = ClipsParams.model_validate({"text": {"text": text}})
        except ValidationError:
            continue
        assert params.text is not None and params.text.text == text  # type: ignore[union-attr]

"""Secrets in any text, however they are said."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from reelmill import logs
from reelmill.scrub import SECRET as LOOKS
from reelmill.scrub import scrub
from reelmill.settings import read_settings

SECRET = "s3cr3t-9f8e7d6c5b4a"


@pytest.mark.req("E-11")
@pytest.mark.parametrize(
    "text",
    [
        f"https://b.example/k?X-Amz-Date=1&X-Amz-Signature={SECRET}&x=1",
        f"X-Amz-Credential={SECRET}/20260101/eu/s3/aws4_request",
        f"x-amz-security-token={SECRET}",
        f"/objects/a/b?expires=1&signature={SECRET}",
        f"/signin?token={SECRET}",
        f"signature%3D{SECRET}",
        f"Authorization: Bearer {SECRET}",
        f'{{"authorization": "Bearer {SECRET}"}}',
        f"X-API-Key: {SECRET}",
        f"Cookie: reelmill_0a1b2c3d={SECRET}",
        f"reelmill_0a1b2c3d={SECRET}; Path=/",
        f"key rm_{SECRET}{SECRET} is gone",
        f"postgresql://reelmill:{SECRET}@db.example/reelmill",
        f"redis://:{SECRET}@127.0.0.1:6379/0",
        f"amqp://user:{SECRET}@broker//",
    ],
)
def test_what_looks_like_a_secret_is_taken_out(text: str) -> None:
    assert SECRET not in scrub(text)


@pytest.mark.req("E-11")
@pytest.mark.parametrize(
    "text",
    [
        "tokens=5 are left",
        "http://127.0.0.1:8000/videos/a@b.mp4",
        "step 0b0e0f6e-0000-4000-8000-000000000002:render:3 ended",
        "s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=us-east-1",
        "default/outputs/rm_short/clip-0001-r1a1.mp4",
    ],
)
def test_plain_words_stay(text: str) -> None:
    assert scrub(text) == text


PIECES = [
    *(
        "Signature",
        "TOKEN",
        "=",
        "%3D",
        "rm_",
        "a" * 24,
        "redis://",
        "u:p@h",
        "Authorization",
        "X-API-Key",
        "set-cookie",
    ),
    *("webhook-signature", ": ", '"', "bearer ", "reelmill_0a1b2c3d", " ", "/", "\u017f", "\u212a"),
]


@pytest.mark.req("E-11")
@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_a_text_that_is_passed_by_has_nothing_that_looks_like_a_secret(text: str) -> None:
    if LOOKS.search(text) is None:
        assert scrub(text) == text
    else:
        assert "***" in scrub(text)


@pytest.mark.req("E-11")
def test_a_known_secret_is_found_whatever_it_looks_like() -> None:
    assert scrub(f"the driver said: {SECRET} is wrong", [SECRET]) == "the driver said: *** is wrong"
    assert scrub("a is a letter", ["a"]) == "a is a letter", "too short to be told from words"


@pytest.mark.req("E-11")
def test_settings_know_their_secrets() -> None:
    settings = read_settings(database_url=f"postgresql://u:{SECRET}%40@h/db", metrics_token="t" * 16)

    assert set(settings.secrets) == {"t" * 16, f"{SECRET}%40", f"{SECRET}@"}
    assert SECRET not in repr(settings.metrics_token) and "t" * 16 not in repr(settings)


@pytest.mark.req("E-10", "E-11", "E-13")
@pytest.mark.parametrize("format", ["json", "text"])
def test_every_line_is_scrubbed_with_its_stack_trace(format: str) -> None:
    root, out = logging.getLogger(), io.StringIO()
    before, level = root.handlers[:], root.level
    try:
        logs.configure("debug", format, stream=out, secrets=["known-secret"])  # type: ignore[arg-type]
        try:
            raise ValueError(f"https://b.example/k?signature={SECRET} and known-secret")
        except ValueError:
            structlog.get_logger("reelmill").exception("it broke", url=f"postgres://u:{SECRET}@h", job_id="j-1")
        logging.getLogger("a.library").warning("Authorization: Bearer %s", SECRET)
    finally:
        structlog.reset_defaults()
        root.handlers[:] = before
        root.setLevel(level)
    text = out.getvalue()

    assert "Traceback" in text and "test_scrub.py" in text, "the cause is there"
    assert SECRET not in text and "known-secret" not in text
    if format == "json":
        first = json.loads(text.splitlines()[0])
        assert list(first)[:5] == ["job_id", "timestamp", "level", "logger", "event"], "what matters comes first"

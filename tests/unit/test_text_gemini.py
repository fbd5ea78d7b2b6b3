"""The Gemini adapter through Google's real SDK, against a server on this machine that replays documented wire shapes.

A protocol test: nothing here was written by Gemini. With a key, `reelmill texts vary TEXT --by model` asks the real
one; docs/how-to/vary-texts.md says how, and what it has to show.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from odd_gemini import OUTCOMES, OddGemini
from reelmill.errors import TextModelDenied, TextModelUnknown, TextModelUnreachable, TextProblem
from reelmill.jobs.texts import TextAsk, TextSlot, WantedTexts
from reelmill.texts import Maker
from reelmill.texts.gemini import GeminiModel
from reelmill.texts.replies import INSTRUCTIONS

ASK = TextAsk(INSTRUCTIONS, {"text": "Summer by the lake", "count": 2, "max_chars": [60, 60]}, 2)
SECRET = "AIza-very-secret"


@pytest.fixture(scope="module")
def server() -> Iterator[OddGemini]:
    with OddGemini() as running:
        yield running


def model_at(url: str, timeout_s: float = 20.0) -> GeminiModel:
    return GeminiModel("gemini-3.8-flash", url=url, key=SECRET, timeout_s=timeout_s)


@pytest.mark.req("B-05")
def test_texts_come_by_structured_output_without_tools(server: OddGemini) -> None:
    model = model_at(server.url())
    made = Maker(model, price=(0.3, 2.5)).vary("acme", WantedTexts(base="Summer by the lake", slots=(TextSlot(),) * 3))
    model.close()

    assert {one.source for one in made.texts} == {"llm:gemini/gemini-3.8-flash"} and len(made.texts) == 3
    assert (made.tokens_in, made.tokens_out) == (210, 90), "thinking is paid, too"
    assert made.cost == pytest.approx((0.3 * 210 + 2.5 * 90) / 1e6)
    path, headers, body = server.requests[-1]
    assert path.endswith("/models/gemini-3.8-flash:generateContent") and headers["x-goog-api-key"] == SECRET
    assert body["generationConfig"]["responseMimeType"] == "application/json"
    assert "texts" in json.dumps(body["generationConfig"])
    assert body["systemInstruction"]["parts"] == [{"text": INSTRUCTIONS}]
    assert "tools" not in body and len(body["contents"]) == 1
    assert json.loads(body["contents"][0]["parts"][0]["text"])["text"] == "Summer by the lake"


@pytest.mark.req("B-05", "E-05")
@pytest.mark.parametrize("manner", OUTCOMES)
def test_each_way_to_fail_has_its_name(server: OddGemini, manner: str) -> None:
    model = model_at(server.url(manner), 0.4 if manner in ("hangs", "drips") else 20.0)
    before = len(server.requests)
    with pytest.raises(TextProblem) as told:
        model.write(ASK)
    model.close()

    assert told.value.code == OUTCOMES[manner]
    assert len(server.requests) == before + 1, "the SDK doesn't repeat by itself"
    assert SECRET not in str(told.value)
    if manner == "quota":
        assert told.value.extra["retry_after_s"] == 32


@pytest.mark.req("A-08")
def test_a_look_checks_key_and_model_and_writes_nothing(server: OddGemini) -> None:
    for manner, error in (("no_key", TextModelDenied), ("no_model", TextModelUnknown)):
        model = model_at(server.url(manner))
        with pytest.raises(error):
            model.check()
        model.close()
    model = model_at(server.url())
    assert "takes our key and has the model" in model.check()
    model.close()
    assert server.requests[-1][0].split("?")[0].endswith("/models/gemini-3.8-flash") and not server.requests[-1][2]


def test_a_server_that_is_not_there(free_port: int) -> None:
    model = model_at(f"http://127.0.0.1:{free_port}")
    with pytest.raises(TextModelUnreachable):
        model.write(ASK)
    model.close()


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port that is taken, but that nobody listens on: connections to it are refused."""
    import socket

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])

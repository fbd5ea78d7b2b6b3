"""A real small model behind a real llama.cpp server: the doctor's line on it, and texts that it really wrote."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llama import KEY, NAME, Llama
from odd_gemini import OddGemini
from reelmill.jobs.texts import TextSlot, WantedTexts
from reelmill.texts import Maker
from reelmill.texts.openai import OpenAiModel
from running import REELMILL


@pytest.fixture(scope="module")
def llama() -> Iterator[Llama]:
    with Llama() as running:
        yield running


def shell(tmp_path: Path, script: str, said: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a script as a user of this installation would."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("REELMILL_", "GEMINI_"))}
    env |= {f"REELMILL_{name.upper()}": value for name, value in settings.items()}
    env |= {"REELMILL_DATA": str(tmp_path / "data"), "PATH": f"{REELMILL.parent}:{env['PATH']}"}
    return subprocess.run(["sh", "-c", script], env=env, input=said, capture_output=True, text=True, timeout=280)


def line(tmp_path: Path, *, after: str = "true", said: str = "", **settings: str) -> dict[str, Any]:
    """Return the doctor's line on the model, after a command in the same shell."""
    done = shell(tmp_path, f"{after}\nexec reelmill doctor --json text_model", said, **settings)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["findings"][-1]
    assert found["name"] == "text_model" and done.returncode == (found["level"] == "failed"), done.stderr
    return found


def assert_red_then_green(tmp_path: Path, code: str, said: str = "", **settings: str) -> dict[str, Any]:
    """Check that the line is red with this code, and that its printed fix turns it green."""
    red = line(tmp_path, **settings)
    assert (red["level"], red["code"]) == ("failed", code), red
    assert red["why"] and red["remedy"] and red["fix"]
    green = line(tmp_path, after=red["fix"], said=said, **settings)
    assert green["level"] == "ok", green
    return green


@pytest.mark.req("A-08", "B-05")
def test_each_fault_turns_the_line_red_and_its_fix_green(llama: Llama, tmp_path: Path) -> None:
    good = {"text_model": f"openai/{NAME}", "text_model_url": llama.url, "text_model_key": KEY}
    wrong_key = assert_red_then_green(tmp_path, "text_model_denied", KEY + "\n", **{**good, "text_model_key": "wrong"})
    assert "takes our key and has the model" in wrong_key["detail"] and KEY not in json.dumps(wrong_key)
    assert_red_then_green(tmp_path, "text_model_unknown", **{**good, "text_model": "openai/gpt-0"})


@pytest.mark.req("A-08")
def test_a_server_that_is_gone_turns_it_red(tmp_path: Path) -> None:
    with Llama() as gone:
        settings = {"text_model": f"openai/{NAME}", "text_model_url": gone.url, "text_model_key": KEY}
        gone.kill()
        green = assert_red_then_green(tmp_path, "text_model_unreachable", **settings)
        assert green["detail"] == "local rules"


@pytest.mark.req("A-08", "B-05")
def test_a_key_alone_chooses_gemini_and_is_tried(tmp_path: Path) -> None:
    with OddGemini() as gemini:
        refused = line(tmp_path, after="export GEMINI_API_KEY=old", text_model_url=gemini.url("no_key"))
        assert (refused["level"], refused["code"]) == ("failed", "text_model_denied")
        assert refused["fix"] == "read -r GEMINI_API_KEY && export GEMINI_API_KEY"
        taken = line(tmp_path, after=refused["fix"], said="new\n", text_model_url=gemini.url())
        assert (taken["level"], taken["data"]["model"]) == ("ok", "gemini/gemini-3.8-flash")
        assert gemini.requests[-1][1]["x-goog-api-key"] == "new"


@pytest.mark.req("A-08")
def test_a_missing_gemini_key_is_asked_for(tmp_path: Path) -> None:
    red = line(tmp_path, text_model="gemini/gemini-3.8-flash")
    assert (red["code"], red["fix"]) == ("setting_invalid", "read -r GEMINI_API_KEY && export GEMINI_API_KEY")


@pytest.mark.req("B-05")
def test_a_real_model_keeps_the_contract_or_is_helped(llama: Llama) -> None:
    model = OpenAiModel(NAME, url=llama.url, key=KEY, timeout_s=120)
    asked = WantedTexts(base="Summer by the lake", slots=(TextSlot(max_chars=60),) * 2)
    made = Maker(model, backoff_s=0.01).vary("acme", asked)
    model.close()
    assert made.requests >= 1 and made.tokens_out > 0, "it has really written"
    assert len({one.text for one in made.texts}) == 2 and all(len(one.text) <= 60 for one in made.texts)
    assert {one.source for one in made.texts} <= {f"llm:openai/{NAME}", "local"}


@pytest.mark.req("B-05")
def test_the_command_checks_key_model_and_contract_alone(llama: Llama, tmp_path: Path) -> None:
    local = shell(tmp_path, 'reelmill texts vary "Summer by the lake" -n 12 --for 30s --json', text_model="local")
    told = json.loads(local.stdout)
    assert len(told["texts"]) == 12 and {one["source"] for one in told["texts"]} == {"local"}
    plain = shell(tmp_path, 'reelmill texts vary "Summer by the lake" -n 3', text_model="local")
    assert (
        len(plain.stdout.splitlines()) == 3 and "3 texts by local in" in plain.stderr and "cost nothing" in plain.stderr
    )
    settings = {"text_model": f"openai/{NAME}", "text_model_url": llama.url, "backoff_s": "0.01"}
    denied = shell(tmp_path, 'reelmill texts vary "Summer by the lake" -n 2', text_model_key="wrong", **settings)
    assert denied.returncode == 4 and "text_model_denied" in denied.stderr and not denied.stdout
    wrong = shell(tmp_path, 'reelmill texts vary "Summer" --for soon')
    assert wrong.returncode == 2 and "30s, 1m30s or 12.5" in wrong.stderr

"""Variations over HTTP: exactly as many as were asked for, kept by their question, apart by tenant."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import reelmill.client
from odd_model import OddModel
from reelmill.errors import TextModelFailed, VariationsUnavailable
from reelmill.jobs.texts import TextSlot, WantedTexts
from reelmill.objects.folder import FolderStore
from reelmill.texts import Maker
from reelmill.texts.cache import ReplyCache
from reelmill.texts.openai import OpenAiModel

if TYPE_CHECKING:
    from conftest import Client, Running

BASE = {"text": "Summer by the lake", "n": 3, "seconds": 30}
PATH = "/texts/variations"


@pytest.fixture(scope="module")
def odd() -> Iterator[OddModel]:
    with OddModel() as running:
        yield running


@pytest.fixture(scope="module")
def local(
    serve: Callable[..., AbstractContextManager[Running]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    with serve(tmp_path_factory.mktemp("local") / "data") as server:
        yield server


@pytest.mark.req("B-05")
def test_without_a_model_local_rules_make_them(local: Running, connect: Callable[..., Client]) -> None:
    asker = connect("jobs:write", of=local)
    made = asker.call("POST", PATH, json={**BASE, "n": 40})
    assert len({one["text"] for one in made["texts"]}) == 40
    assert {one["source"] for one in made["texts"]} == {"local"}
    assert (made["model"], made["requests"], made["cost"], made["warnings"]) == (None, 0, None, [])
    refused = asker.call("POST", PATH, 422, json={**BASE, "seconds": 0.5})
    assert refused["code"] == "variations_unavailable" and "at most 10 characters" in refused["detail"]
    wrong = asker.call("POST", PATH, 422, json={**BASE, "made_by": "model"})
    assert wrong["code"] == "request_invalid" and wrong["errors"][0]["field"] == "made_by"
    with reelmill.client.Client(local.url, local.key("jobs:write")) as sdk:
        assert len(sdk.vary_texts("Summer by the lake", 4, seconds=30).texts) == 4
        with pytest.raises(VariationsUnavailable):
            sdk.vary_texts("夏の湖", 4)


@pytest.mark.req("B-05")
def test_the_same_request_is_paid_once_and_tenants_are_apart(
    serve: Callable[..., AbstractContextManager[Running]], tmp_path_factory: pytest.TempPathFactory,
    connect: Callable[..., Client], odd: OddModel,
) -> None:  # fmt: skip
    url = odd.url()
    settings = {"text_model": "openai/odd", "text_model_url": url, "text_model_price": "1,10", "backoff_s": 0.001}
    with serve(tmp_path_factory.mktemp("model") / "data", **settings) as server:
        asker = connect("jobs:write", of=server)
        first = asker.call("POST", PATH, json=BASE)
        assert {one["source"] for one in first["texts"]} == {"llm:openai/odd"}
        assert (first["requests"], first["tokens_in"], first["tokens_out"]) == (1, 200, 50)
        assert first["cost"] == pytest.approx(0.0007)
        again = asker.call("POST", PATH, json=BASE)
        assert again["texts"] == first["texts"] and again["requests"] == 0 and again["cost"] == 0
        assert len(odd.asked(url)) == 1
        asker.call("POST", PATH, json={**BASE, "variant": 1})
        assert len(odd.asked(url)) == 2
        stranger = connect("jobs:write", tenant="other", of=server)
        stranger.call("POST", PATH, json=BASE)
        assert len(odd.asked(url)) == 3, "what one tenant asked tells another nothing"


@pytest.mark.req("E-05")
def test_a_model_that_fails_is_told(
    serve: Callable[..., AbstractContextManager[Running]], tmp_path_factory: pytest.TempPathFactory,
    connect: Callable[..., Client], odd: OddModel,
) -> None:  # fmt: skip
    settings = {"text_model": "openai/odd", "text_model_url": odd.url(*["fails"] * 99), "backoff_s": 0.001}
    with serve(tmp_path_factory.mktemp("failing") / "data", **settings) as server:
        asker = connect("jobs:write", of=server)
        made = asker.call("POST", PATH, json=BASE)
        assert {one["source"] for one in made["texts"]} == {"local"} and "text_model_failed" in made["warnings"][0]
        failed = asker.call("POST", PATH, 502, json={**BASE, "made_by": "model"})
        assert failed["code"] == "text_model_failed" and failed["remedy"] == TextModelFailed.remedy
        assert asker.get("/readyz").status_code == 200, "a model that is away makes nobody unready"


@pytest.mark.req("E-05")
def test_storage_that_is_away_costs_only_the_price(odd: OddModel, tmp_path: Path) -> None:
    url = odd.url()
    model = OpenAiModel("odd", url=url, key=None, timeout_s=20)
    objects = FolderStore(tmp_path / "objects", secret=b"s" * 32, base_url="")
    maker = Maker(model, cache=ReplyCache(objects))
    wanted = WantedTexts(base="Summer by the lake", slots=(TextSlot(),) * 2)
    first = maker.vary("acme", wanted)
    (kept,) = objects.keys("acme/texts/")
    assert maker.vary("acme", wanted).texts == first.texts and len(odd.asked(url)) == 1

    (path,) = (path for path in (tmp_path / "objects").rglob("*.json") if kept.endswith(path.name))
    path.write_bytes(b"spoiled")
    assert maker.vary("acme", wanted).texts == first.texts and len(odd.asked(url)) == 2
    assert maker.vary("acme", wanted).requests == 0, "and was kept anew"
    shutil.rmtree(tmp_path / "objects")
    (tmp_path / "objects").write_bytes(b"no folder any more")
    again = maker.vary("acme", wanted)
    maker.close()
    assert again.texts == first.texts and len(odd.asked(url)) == 3

"""What tenants keep by name, on every database."""

from __future__ import annotations

import threading

import pytest

from making import db_now, new_id
from reelmill.errors import NameTaken, NotFound
from reelmill.jobs.model import Caller
from reelmill.stores.access import SqlAccess
from reelmill.stores.sql import SqlStore
from reelmill.wiring import access_of

ANN = Caller(tenant="acme", user_id="ann")
BEN = Caller(tenant="other", user_id="ben")
LOOK = {"size_pct": 6.5, "color": "#FFFFFF", "box_color": None, "name": "ß 東京"}


@pytest.fixture
def access(store: SqlStore) -> SqlAccess:
    return access_of(store)


@pytest.mark.req("B-04", "C-02")
def test_what_is_kept_is_found_by_its_name(access: SqlAccess, store: SqlStore) -> None:
    before = db_now(store)
    kept = access.add_brand(new_id(), "preset", "News at ten", LOOK, ANN)
    assert before <= kept.created_at == kept.updated_at <= db_now(store)
    assert (kept.tenant, kept.kind, kept.name, dict(kept.data)) == ("acme", "preset", "News at ten", LOOK)
    assert access.find_brand("acme", "preset", "News at ten") == kept
    assert access.find_brand("acme", "font", "News at ten") is None
    assert access.find_brand("other", "preset", "News at ten") is None
    assert access.find_brand("acme", "preset", "news at ten") is None


def test_a_name_stands_for_one_of_a_tenants_kind(access: SqlAccess) -> None:
    kept = access.add_brand(new_id(), "preset", "news", LOOK, ANN)
    with pytest.raises(NameTaken, match="news"):
        access.add_brand(new_id(), "preset", "news", {}, ANN)
    access.add_brand(new_id(), "font", "news", {}, ANN)
    access.add_brand(new_id(), "preset", "news", {}, BEN)
    assert access.brands("acme", "preset") == [kept]


def test_all_are_listed_by_name(access: SqlAccess) -> None:
    for name in ("b", "C", "a-1", "a"):
        access.add_brand(new_id(), "preset", name, {}, ANN)
    assert [kept.name for kept in access.brands("acme", "preset")] == ["C", "a", "a-1", "b"]
    assert access.brands("other", "preset") == []


def test_a_change_keeps_the_name_and_a_removal_frees_it(access: SqlAccess) -> None:
    kept = access.add_brand(new_id(), "preset", "news", LOOK, ANN)
    changed = access.change_brand(kept.id, "preset", {"size_pct": 9.0}, ANN)
    assert (changed.name, dict(changed.data), changed.created_at) == ("news", {"size_pct": 9.0}, kept.created_at)
    assert changed.updated_at >= kept.updated_at
    assert access.find_brand("acme", "preset", "news") == changed
    assert access.remove_brand(kept.id, "preset", ANN) == changed
    assert access.find_brand("acme", "preset", "news") is None
    access.add_brand(new_id(), "preset", "news", LOOK, ANN)


def test_another_tenants_are_unknown(access: SqlAccess) -> None:
    kept = access.add_brand(new_id(), "preset", "news", LOOK, ANN)
    for caller, brand_id, kind in ((BEN, kept.id, "preset"), (ANN, new_id(), "preset"), (ANN, kept.id, "font")):
        with pytest.raises(NotFound):
            access.change_brand(brand_id, kind, {}, caller)
        with pytest.raises(NotFound):
            access.remove_brand(brand_id, kind, caller)
    assert access.brands("acme", "preset") == [kept]


def test_changes_are_in_the_audit_log(access: SqlAccess) -> None:
    kept = access.add_brand(new_id(), "preset", "news", LOOK, ANN)
    access.change_brand(kept.id, "preset", {}, ANN)
    access.remove_brand(kept.id, "preset", ANN)
    told = access.audit_log("acme", target=kept.id).items
    assert sorted(entry.action for entry in told) == ["preset.change", "preset.create", "preset.delete"]
    assert {(entry.actor, entry.data["name"]) for entry in told} == {("ann", "news")}


def test_of_many_at_once_one_gets_the_name(access: SqlAccess) -> None:
    outcomes: list[str] = []

    def add() -> None:
        try:
            outcomes.append(access.add_brand(new_id(), "preset", "news", {}, ANN).id)
        except NameTaken:
            outcomes.append("taken")

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes).count("taken") == 7 and len(outcomes) == 8
    assert [kept.id for kept in access.brands("acme", "preset")] == [one for one in outcomes if one != "taken"]

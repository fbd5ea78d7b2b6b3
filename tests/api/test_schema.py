"""The contract, attacked: each operation gets hundreds of requests made from its own schema, right and wrong.

Schemathesis makes them and checks the replies: no 5xx, only documented statuses, headers and bodies of the documented
shape, wrong requests refused, right ones taken. Besides, each error must be problem+json from the catalogue.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reelmill.errors import catalogue
from reelmill.schemas import Problem

if TYPE_CHECKING:
    from conftest import Client

CASES = 200
ENDLESS = {"GET /api/v1/events"}  #: streams until its reader goes: what would be taken is taken with an end
BARE = {"GET /healthz", "GET /readyz"}  #: take neither fields nor keys: there is one request to make
DOCUMENT = json.loads((Path(__file__).resolve().parents[2] / "docs" / "reference" / "openapi.json").read_text())
#: A schema can't say which cursors and ids we gave, what a pipeline takes, or that an upload is one in parts: a request
#: of the right shape may be refused for what it means.
EXPECTED = ["2xx", "3xx", "400", "401", "403", "404", "409", "410", "422", "429"]
CONFIG = schemathesis.Config.from_dict({"checks": {"positive_data_acceptance": {"expected-statuses": EXPECTED}}})
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]
CODES = {kind.code: kind for kind in catalogue()}


@SCHEMA.auth()
class Key:
    """The key that requests carry, as Schemathesis' own checks take it off and spoil it."""

    secret = ""

    def get(self, case: Any, context: Any) -> str:
        return self.secret

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {data}"}


@pytest.fixture(scope="module")
def ids(client: Client, video_id: str) -> dict[str, str]:
    """Return ids that exist, so that requests come further than to a 404."""
    job_id = client.run(video_id, "slow_writer", {"steps": 1, "seconds": 0})
    client.wait(job_id)
    return {"video_id": video_id, "job_id": job_id}


def test_every_operation_is_attacked() -> None:
    documented = sum(len(item) for item in DOCUMENT["paths"].values())
    assert len(OPERATIONS) == documented >= 24


@pytest.mark.req("B-01")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_an_operation_keeps_its_contract(client: Client, ids: dict[str, str], operation: Any) -> None:
    seen: list[int] = []

    @settings(
        max_examples=CASES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), known=st.booleans())
    def attack(case: Any, known: bool) -> None:
        for name in case.path_parameters or {}:
            if known and name in ids:
                case.path_parameters[name] = ids[name]
        if operation.label in ENDLESS and _is_length(case.query.get("for_s", 0)):
            case.query["for_s"] = 0
        reply = case.call_and_validate(base_url=str(client.base_url))
        seen.append(reply.status_code)
        if reply.status_code >= 400:
            told = Problem.model_validate_json(reply.content)
            assert reply.headers["content-type"] == ["application/problem+json"], reply.headers
            assert CODES[told.code].status_code == told.status == reply.status_code
            assert told.detail and told.remedy and told.correlation_id

    Key.secret = client.key or ""
    attack()
    assert len(seen) >= (1 if operation.label in BARE else CASES) and max(seen) < 500


def _is_length(value: Any) -> bool:
    try:
        return 0 <= float(value) <= 86_400
    except (TypeError, ValueError):
        return False

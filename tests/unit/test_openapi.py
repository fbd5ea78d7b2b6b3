"""The committed contract is the code's, and what would break a client is told."""

from __future__ import annotations

import copy
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "reference" / "openapi.json"
Change = Callable[[dict[str, Any]], Any]


def load() -> Any:
    spec = importlib.util.spec_from_file_location("openapi_script", ROOT / "scripts" / "openapi.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


breaks = load().breaks


def told(change: Change) -> list[str]:
    old = json.loads(FILE.read_text())
    new = copy.deepcopy(old)
    change(new)
    return list(breaks(old, new))


def schema(document: dict[str, Any], name: str) -> Any:
    return document["components"]["schemas"][name]


def initiate(document: dict[str, Any]) -> Any:
    return document["paths"]["/api/v1/uploads/initiate"]["post"]


def test_the_committed_document_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/openapi.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def drop(holder: Any, name: str) -> None:
    del holder[name]


BREAKING: dict[str, Change] = {
    "POST /api/v1/uploads/initiate is gone": lambda d: drop(d["paths"]["/api/v1/uploads/initiate"], "post"),
    "GET /api/v1/jobs is gone": lambda d: drop(d["paths"], "/api/v1/jobs"),
    "its scope was upload, now it is admin": lambda d: initiate(d).update({"x-scope": "admin"}),
    "body.labels is gone": lambda d: drop(schema(d, "InitiateRequest")["properties"], "labels"),
    "body.pipeline became required": lambda d: schema(d, "InitiateRequest")["required"].append("pipeline"),
    "body.size: minimum was 1.0, now it is 2": lambda d: schema(d, "InitiateRequest")["properties"]["size"].update(
        minimum=2
    ),
    "body.size no longer takes integer": lambda d: schema(d, "InitiateRequest")["properties"]["size"].update(
        type="string"
    ),
    "body.filename: its pattern": lambda d: schema(d, "InitiateRequest")["properties"]["filename"].update(pattern="x"),
    "body.scopes[] no longer takes jobs:read, jobs:write, upload": lambda d: schema(d, "KeyRequest")["properties"][
        "scopes"
    ]["items"].update(enum=["admin"]),
    "reply 201.video_id is gone": lambda d: drop(schema(d, "InitiateReply")["properties"], "video_id"),
    "reply 200.progress_pct may now be null": lambda d: schema(d, "JobStatus")["properties"].update(
        progress_pct={"anyOf": [{"type": "number"}, {"type": "null"}]}
    ),
    "reply 200.message may now be missing": lambda d: schema(d, "JobStatus")["required"].remove("message"),
    "reply 200.items[].id is gone": lambda d: drop(schema(d, "VideoReply")["properties"], "id"),
    "the query parameter limit is gone": lambda d: d["paths"]["/api/v1/jobs"]["get"].update(parameters=[]),
    "it needs a new query parameter": lambda d: d["paths"]["/api/v1/jobs"]["get"]["parameters"].append(
        {"in": "query", "name": "x", "required": True, "schema": {"type": "string"}}
    ),
    "the reply 201 is gone": lambda d: drop(initiate(d)["responses"], "201"),
}


@pytest.mark.parametrize("sentence", BREAKING)
def test_what_breaks_a_client_is_told(sentence: str) -> None:
    assert any(sentence in one for one in told(BREAKING[sentence]))


HARMLESS: dict[str, Change] = {
    "a new operation": lambda d: d["paths"].update({"/api/v1/new": {"get": {"responses": {}}}}),
    "a new optional field of a request": lambda d: schema(d, "JobRequest")["properties"].update(
        more={"type": "string"}
    ),
    "a new field of a reply": lambda d: schema(d, "JobStatus")["properties"].update(more={"type": "string"}),
    "a request that takes more": lambda d: schema(d, "InitiateRequest")["properties"]["filename"].update(maxLength=999),
    "other words": lambda d: initiate(d).update(description="Other words."),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_what_breaks_nobody_passes(what: str) -> None:
    assert told(HARMLESS[what]) == []

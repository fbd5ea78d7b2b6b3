"""`reelmill doctor` with a bucket on a real S3 server: from inside, and from where browsers stand."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import servers
from lax_gateway import LaxGateway
from reelmill.settings import read_settings
from reelmill.wiring import upgrade
from running import REELMILL, free_port
from spoiling import Proxy

OUTSIDE = ("public", "preflight", "put", "parts", "range", "size", "expiry", "host", "clock")


class Bucket:
    """A bucket without CORS rules, and the doctor of an installation that keeps its objects there."""

    def __init__(self, folder: Path, seaweed: servers.Seaweed, name: str) -> None:
        self.name = name
        self.seaweed = seaweed
        self.client = seaweed.client()
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("REELMILL_")},
            **seaweed.environment(),
            "REELMILL_DATA": str(folder / "data"),
            "REELMILL_PORT": str(free_port()),
        }
        self.known_as(seaweed.endpoint())
        upgrade(read_settings(data=folder / "data"))

    def known_as(self, public: str) -> None:
        self.env["REELMILL_STORAGE_URL"] = self.seaweed.url(self.name, public_endpoint=public)

    def report(self, *options: str) -> dict[str, Any]:
        done = subprocess.run(
            [REELMILL, "doctor", "--json", *options], env=self.env, capture_output=True, text=True, timeout=280
        )
        assert done.stdout, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return {**report, "lines": {one["name"]: one for one in report["findings"]}}

    def keys(self) -> list[str]:
        return [entry["Key"] for entry in self.client.list_objects_v2(Bucket=self.name).get("Contents", ())]

    def uploads(self) -> list[str]:
        return [entry["Key"] for entry in self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", ())]


@pytest.fixture
def kept(tmp_path: Path, seaweed: servers.Seaweed, bucket: str) -> Bucket:
    return Bucket(tmp_path, seaweed, bucket)


def test_a_bucket_that_only_lets_another_page_in_is_opened(kept: Bucket) -> None:
    rule = {"AllowedOrigins": ["https://another.example"], "AllowedMethods": ["GET"], "AllowedHeaders": ["*"]}
    kept.client.put_bucket_cors(Bucket=kept.name, CORSConfiguration={"CORSRules": [rule]})
    red = kept.report()["lines"]
    for name in ("preflight", "put", "parts"):
        assert (red[name]["level"], red[name]["code"]) == ("failed", "cors_missing"), red[name]
    assert red["storage"]["level"] == red["size"]["level"] == red["expiry"]["level"] == "ok"

    green = kept.report("--fix")
    assert {one["name"] for one in green["fixed"]} >= {"preflight"} and green["ok"]
    assert {name: green["lines"][name]["level"] for name in OUTSIDE} == dict.fromkeys(OUTSIDE, "ok")
    assert "refused (403)" in green["lines"]["host"]["detail"]
    assert kept.keys() == [] and kept.uploads() == []


def test_a_proxy_that_changes_the_host_breaks_every_signature(kept: Bucket) -> None:
    kept.report("--fix")
    with Proxy(kept.seaweed.endpoint()) as proxy:
        kept.known_as(proxy.url)
        proxy.fault = "changes Host"
        red = kept.report()["lines"]["public"]
        assert (red["level"], red["code"]) == ("failed", "public_url_broken") and "403" in red["detail"]
        proxy.fault = ""
        green = kept.report()
    assert green["ok"], [one for one in green["findings"] if one["level"] == "failed"]


def test_credentials_that_are_wrong(kept: Bucket) -> None:
    secret = kept.env["AWS_SECRET_ACCESS_KEY"]
    kept.env["AWS_SECRET_ACCESS_KEY"] = "wrong"
    red = kept.report()["lines"]["storage"]
    assert (red["level"], red["code"]) == ("failed", "storage_denied")
    kept.env["AWS_SECRET_ACCESS_KEY"] = secret
    assert kept.report()["lines"]["storage"]["level"] == "ok"


def test_a_store_that_checks_nothing_is_named_for_what_it_lacks(kept: Bucket) -> None:
    with LaxGateway(kept.seaweed) as gateway:
        endpoint = kept.env["REELMILL_STORAGE_URL"]
        kept.env["REELMILL_STORAGE_URL"] = kept.seaweed.url(kept.name, endpoint=gateway.url)
        lax = kept.report()["lines"]["abilities"]
        assert (lax["level"], lax["code"]) == ("warning", "storage_misbehaves")
        for word in ("size", "checksum", "once"):
            assert word in lax["detail"]
    kept.env["REELMILL_STORAGE_URL"] = endpoint
    assert kept.report()["lines"]["abilities"]["level"] == "ok"

"""compose.yaml, as Docker Compose itself reads it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from deploying import DEPLOY, SECRETS, compose, run, services, tool

FILE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


@pytest.mark.req("B-08")
def test_compose_accepts_the_file(tmp_path: Path) -> None:
    found = services(tmp_path)
    assert {"postgres", "valkey", "seaweedfs", "setup", "api", "worker", "prometheus", "grafana"} == set(found)
    assert found["prometheus"]["profiles"] == found["grafana"]["profiles"] == ["monitoring"]


@pytest.mark.parametrize("missing", sorted(SECRETS.keys() - {"GRAFANA_PASSWORD"}))
def test_a_secret_that_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in SECRETS.items() if name != missing))
    done = compose(env_file, "config", "--quiet")
    assert done.returncode != 0
    assert missing in done.stderr
    assert "deploy/scripts/start.sh" in done.stderr


@pytest.mark.req("B-08")
def test_the_broker_keeps_its_data_in_a_named_volume_and_is_pinged(tmp_path: Path) -> None:
    valkey = services(tmp_path)["valkey"]
    assert [(one["type"], one["source"], one["target"]) for one in valkey["volumes"]] == [("volume", "valkey", "/data")]
    assert "valkey-cli ping" in valkey["healthcheck"]["test"][-1]
    assert "PONG" in valkey["healthcheck"]["test"][-1]


@pytest.mark.req("B-08", "E-11")
def test_the_key_of_the_text_model_goes_to_workers_only(tmp_path: Path) -> None:
    found = services(tmp_path, GEMINI_API_KEY="a-key")
    assert found["worker"]["environment"]["GEMINI_API_KEY"] == "a-key"
    assert [name for name, one in found.items() if "GEMINI_API_KEY" in one.get("environment", {})] == ["worker"]
    unset = services(tmp_path)["worker"]["environment"]
    assert unset["GEMINI_API_KEY"] is None  # compose then leaves it out of the container


def test_nothing_is_reached_from_outside_unless_told(tmp_path: Path) -> None:
    for given, hosts in (({}, {"127.0.0.1"}), ({"BIND": "0.0.0.0"}, {"0.0.0.0", "127.0.0.1"})):
        found = services(tmp_path, **given)
        assert {port["host_ip"] for one in found.values() for port in one.get("ports", ())} == hosts
    assert not any(found[name].get("ports") for name in ("postgres", "valkey", "worker"))


def test_images_are_pinned_and_mounted_files_exist(tmp_path: Path) -> None:
    found = services(tmp_path)
    for name, one in found.items():
        assert re.search(r":[^:/]+$", one["image"]), f"{name} has no tag"
        assert not one["image"].endswith(":latest")
        for mount in one.get("volumes", ()):
            if mount["type"] == "bind":
                assert Path(mount["source"]).exists(), f"{name} mounts {mount['source']}"


def test_processes_have_longer_to_stop_than_their_steps(tmp_path: Path) -> None:
    from reelmill.settings import Settings

    grace_s = Settings.model_fields["grace_s"].default
    for name in ("api", "worker"):
        told = services(tmp_path)[name]["stop_grace_period"]
        assert int(told.removesuffix("s")) > grace_s


def test_the_servers_know_the_options_they_are_given(tmp_path: Path) -> None:
    command = services(tmp_path)["seaweedfs"]["command"]
    options = {word.lstrip("-").partition("=")[0] for word in command if word.startswith("-")} - {"logtostderr"}
    # It writes its help to stderr, and says so by its exit code.
    told = subprocess.run([tool("weed"), "mini", "-h"], capture_output=True, text=True, timeout=60)
    known = set(re.findall(r"^  -([A-Za-z0-9.]+)", told.stdout + told.stderr, re.MULTILINE))
    assert options <= known


def test_every_variable_of_the_example_is_used_and_every_used_one_has_a_default_or_a_line() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    used = set(re.findall(r"\$\{([A-Z0-9_]+)", text)) | {"COMPOSE_PROJECT_NAME", "GEMINI_API_KEY"}
    named = set(re.findall(r"^(?:# )?([A-Z0-9_]+)=", (DEPLOY / ".env.example").read_text(), re.MULTILINE))
    assert named <= used
    assert used - named <= set(re.findall(r"\$\{([A-Z0-9_]+):-", text))


def test_the_image_is_built_from_what_the_context_lets_in() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = {
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    }
    let_in = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    assert {word if word in let_in else word.partition("/")[0] for word in copied} == let_in
    assert all((DEPLOY.parent / name).exists() for name in copied)


@pytest.mark.req("B-08")
def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = run(tool("hadolint"), "--failure-threshold", "info", DEPLOY / "Dockerfile")
    assert done.returncode == 0, done.stdout


def test_the_image_takes_locked_packages_and_no_privileges() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert "--require-hashes -r requirements.lock" in text
    web, *ours = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert web == "node:24-bookworm-slim" and ours == ["python:3.11-slim-bookworm"] * 2
    assert "npm ci --ignore-scripts" in text, "the UI's packages are locked, too"
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert text.index("USER 10001") < text.index("ENTRYPOINT")

"""`reelmill doctor` as its users meet it: a thing is really broken, its line is red, its printed fix turns it green."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx2
import psutil
import psycopg
import pytest
import sqlalchemy as sa

import servers
from making import artifact, claim_one, done, make_job
from reelmill.cli.options import LOCAL_KEY_FILE
from reelmill.settings import read_settings
from reelmill.stores import migrate
from reelmill.stores.schema import metadata
from reelmill.stores.sql import open_store
from reelmill.wiring import upgrade
from running import REELMILL, Server, free_port

DEBIAN_FFMPEG = Path("/usr/bin/ffmpeg")  #: 5.1, too old; `make players` installs it


class Patient:
    """An installation in a folder of its own, without a server, and its doctor."""

    def __init__(self, folder: Path, *, upgraded: bool = True) -> None:
        self.data = folder / "data"
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("REELMILL_")},
            "PATH": f"{REELMILL.parent}:{os.environ['PATH']}",
            "REELMILL_DATA": str(self.data),
            "REELMILL_PORT": str(free_port()),
        }
        self.env.pop("GEMINI_API_KEY", None)
        if upgraded:
            upgrade(read_settings(data=self.data))

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sh", "-c", script], env=self.env, capture_output=True, text=True, timeout=280)

    def report(self, *, after: str = "true", options: str = "") -> dict[str, Any]:
        """Return what `reelmill doctor --json` tells, after a command was given in the same shell."""
        done = self.shell(f"{{ {after}\n}} >&2 && exec reelmill doctor --json {options}")
        assert done.stdout, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if report["ok"] else 1), done.stderr
        return report

    def line(self, name: str, **how: str) -> dict[str, Any]:
        """Return one line; only it and what it needs are looked at."""
        how["options"] = f"{how.get('options', '')} {name}"
        return line(self.report(**how), name)


def line(report: dict[str, Any], name: str) -> dict[str, Any]:
    """Return one line of a report."""
    return next(one for one in report["findings"] if one["name"] == name)


def levels(report: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["level"] for one in report["findings"]}


def is_red(found: dict[str, Any], code: str) -> bool:
    """Whether a line has failed with this code, and says why and what to do."""
    assert (found["level"], found["code"]) == ("failed", code), found
    return bool(found["why"] and found["remedy"] and found["detail"])


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path)


@pytest.mark.req("A-08")
def test_from_nothing_to_all_green_by_what_is_printed(tmp_path: Path) -> None:
    patient = Patient(tmp_path, upgraded=False)
    first = patient.report()
    data = line(first, "data")
    assert is_red(data, "data_folder_unusable")
    assert levels(first)["database"] == levels(first)["storage"] == levels(first)["put"] == "skipped"
    assert not patient.data.exists(), "looking changes nothing"

    second = patient.report(after=data["fix"])
    schema = line(second, "schema")
    assert is_red(schema, "schema_behind")
    assert not (patient.data / "reelmill.db").exists()

    third = patient.report(after=schema["fix"])
    assert third["ok"] and set(levels(third).values()) == {"ok"}
    row = line(third, "job")["data"]
    assert row["status"] == "awaiting_upload → cancelled" and len(row["job_id"]) == 36
    assert rows(f"sqlite:///{patient.data / 'reelmill.db'}") == 0
    assert not [path for path in (patient.data / "objects" / "objects").rglob("*") if path.is_file()]


def rows(url: str) -> int:
    """Return how many rows are in all tables together."""
    engine = sa.create_engine(url)
    with engine.connect() as db:
        count = sum(
            db.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in metadata.tables.values()
        )
    engine.dispose()
    return count


def test_some_lines_can_be_picked(patient: Patient) -> None:
    assert list(levels(patient.report(options="port job"))) == ["packages", "data", "port", "database", "schema", "job"]
    wrong = patient.shell("reelmill doctor prot")
    assert wrong.returncode == 2 and "There is no line prot; there are ffmpeg" in wrong.stderr


def test_one_fix_does_it_all_and_says_what_it_did(tmp_path: Path) -> None:
    patient = Patient(tmp_path, upgraded=False)
    report = patient.report(options="--fix")

    assert report["ok"]
    assert [(one["name"], one["ok"]) for one in report["fixed"]] == [("data", True), ("schema", True)]


def test_people_get_lines_with_remedies(tmp_path: Path) -> None:
    patient = Patient(tmp_path, upgraded=False)
    told = patient.shell("reelmill doctor")

    assert told.returncode == 1 and not told.stderr
    assert "✗ data folder" in told.stdout and f"fix     mkdir -p {patient.data}" in told.stdout
    assert told.stdout.rstrip().endswith("1 check failed. `reelmill doctor --fix` repairs 1 of them.")
    fixed = patient.shell("reelmill doctor --fix")
    assert fixed.returncode == 0 and "fixed  data: made" in fixed.stdout
    assert "✓   PUT in parts" in fixed.stdout and "Nothing has failed." in fixed.stdout


# ── this machine ──────────────────────────────────────────────────────────────────────────────


def test_an_ffmpeg_that_is_too_old(patient: Patient) -> None:
    patient.env["REELMILL_FFMPEG"] = str(DEBIAN_FFMPEG)
    red = patient.line("ffmpeg")
    assert is_red(red, "tool_missing") and "8.1.3 or later is needed" in red["detail"]
    assert patient.line("ffmpeg", after=red["fix"])["level"] == "ok"


def test_a_package_hidden_by_a_file(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "av.py").write_text("print('a script of my own')\n")
    patient.env["PYTHONPATH"] = str(tmp_path / "scripts")
    report = patient.report()
    red = line(report, "packages")
    assert is_red(red, "tool_missing") and "av.py" in red["detail"]
    assert len(report["findings"]) == 1, "all others import it"
    assert patient.line("packages", after=red["fix"])["level"] == "ok"


def test_a_package_that_is_half_there(patient: Patient, tmp_path: Path) -> None:
    site = copied(tmp_path / "site", "uharfbuzz")
    library = next((site / "uharfbuzz").glob("*.so"))
    library.unlink()
    install_to(patient, site)
    red = patient.line("packages")
    assert is_red(red, "tool_missing") and "uharfbuzz" in red["detail"]
    assert patient.line("packages", after=red["fix"])["level"] == "ok"


def test_a_font_that_is_cut_short(patient: Patient, tmp_path: Path) -> None:
    site = copied(tmp_path / "site", "manimgx_fonts")
    font = next((site / "manimgx_fonts").glob("NotoSansThai*.ttf"))
    os.truncate(font, font.stat().st_size // 2)
    install_to(patient, site)
    red = patient.line("fonts")
    assert is_red(red, "tool_missing") and font.name in red["detail"]
    assert patient.line("fonts", after=red["fix"])["level"] == "ok"


def copied(site: Path, package: str) -> Path:
    """Copy an installed package, with what pip knows of it, to a folder of its own."""
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    shutil.copytree(folder, site / folder.name)
    for info in folder.parent.glob(f"{package}-*.dist-info"):
        shutil.copytree(info, site / info.name)
    return site


def install_to(patient: Patient, site: Path) -> None:
    """Let the patient's Python look there first, and pip install there."""
    patient.env |= {
        "PYTHONPATH": str(site), "PIP_TARGET": str(site), "PIP_UPGRADE": "1", "PIP_NO_INPUT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }  # fmt: skip


@pytest.mark.parametrize("place", ["data", "data/scratch"])
def test_a_file_where_a_folder_belongs(patient: Patient, tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    shutil.rmtree(path, ignore_errors=True)
    path.write_text("not a folder")
    red = patient.line("data")
    assert is_red(red, "data_folder_unusable") and str(path) in red["detail"]
    assert patient.line("data", after=red["fix"])["level"] == "ok"


@pytest.mark.parametrize("name", ["secret", LOCAL_KEY_FILE])
@pytest.mark.parametrize("by_itself", [True, False], ids=["--fix", "printed"])
def test_a_secret_that_everybody_can_read(patient: Patient, name: str, by_itself: bool) -> None:
    path = patient.data / name
    path.write_bytes(os.urandom(32))
    path.chmod(0o644)
    red = patient.line("secrets")
    assert is_red(red, "secret_exposed") and str(path) in red["detail"]
    healed = patient.line("secrets", options="--fix") if by_itself else patient.line("secrets", after=red["fix"])
    assert healed["level"] == "ok" and path.stat().st_mode & 0o777 == 0o600


def test_a_port_that_another_program_holds(patient: Patient) -> None:
    with socket.create_server(("127.0.0.1", int(patient.env["REELMILL_PORT"]))):
        red = patient.line("port")
        assert is_red(red, "port_taken")
        assert patient.line("port", after=red["fix"])["level"] == "ok"


def test_a_disk_is_told_by_what_is_kept_on_it(patient: Patient) -> None:
    found = patient.line("disk")
    assert found["level"] in ("ok", "warning") and set(found["data"]) == {"data", "scratch", "objects", "spool"}


# ── the database ──────────────────────────────────────────────────────────────────────────────


def test_a_schema_that_is_behind(patient: Patient) -> None:
    url = f"sqlite:///{patient.data / 'reelmill.db'}"
    migrate.downgrade(url, "0002")
    red = patient.line("schema")
    assert is_red(red, "schema_behind") and "0002" in red["detail"]
    assert patient.line("job")["level"] == "skipped"
    assert patient.line("schema", after=red["fix"])["level"] == "ok"
    assert migrate.current(url) == migrate.head()


def test_a_schema_of_a_newer_version_is_left_alone(patient: Patient) -> None:
    engine = sa.create_engine(f"sqlite:///{patient.data / 'reelmill.db'}")
    with engine.begin() as db:
        db.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    report = patient.report(options="--fix schema")
    amber = line(report, "schema")
    assert (amber["level"], amber["code"]) == ("warning", "schema_behind")
    assert "newer Reelmill" in amber["detail"] and "upgrade reelmill" in amber["fix"]
    assert report["fixed"] == []
    with engine.begin() as db:
        db.execute(sa.text("UPDATE alembic_version SET version_num = :head"), {"head": migrate.head()})
    engine.dispose()
    assert patient.line("schema")["level"] == "ok"


def test_a_database_that_has_stopped(patient: Patient, postgres_url: str) -> None:
    server = servers.start_postgres()
    name = server.create()
    patient.env["REELMILL_DATABASE_URL"] = server.url(name)
    assert patient.report(options="--fix")["ok"]
    server.stop()
    report = patient.report()
    red = line(report, "database")
    assert is_red(red, "database_unavailable") and "REELMILL_DATABASE_URL" in red["remedy"]
    assert levels(report)["put"] == "ok", "the rest is looked at all the same"
    patient.env["REELMILL_DATABASE_URL"] = postgres_url
    healed = patient.report()
    assert healed["ok"] and rows(postgres_url.replace("postgresql:", "postgresql+psycopg:")) == 0


def test_a_database_that_is_read_only(patient: Patient, postgres_url: str) -> None:
    patient.env["REELMILL_DATABASE_URL"] = postgres_url
    name = postgres_url.rpartition("/")[2]
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        red = patient.line("job")
        assert is_red(red, "database_refused") and "read-only" in red["detail"]
        assert patient.line("database")["level"] == "ok"
        db.execute("SET default_transaction_read_only = off")
        db.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert patient.line("job")["level"] == "ok"


# ── storage ───────────────────────────────────────────────────────────────────────────────────


def test_a_file_where_storage_was(patient: Patient) -> None:
    objects = patient.data / "objects"
    objects.write_text("not a folder")
    report = patient.report()
    red = line(report, "storage")
    assert is_red(red, "storage_denied") and levels(report)["put"] == "skipped"
    assert patient.line("storage", after=red["fix"])["level"] == "ok"


# ── beside a server ───────────────────────────────────────────────────────────────────────────


def test_readyz_isnt_held_up_by_a_database_that_hangs(tmp_path: Path) -> None:
    database = servers.start_postgres()
    with Server(tmp_path / "data", database_url=database.url(database.create())) as server:
        assert server.client.get("/readyz").json()["ready"]
        frozen = psutil.Process(database.pid).children(recursive=True)
        try:
            for process in frozen:
                process.suspend()
            verdict = until(server, lambda reply: reply.status_code == 503)
            assert verdict["checks"]["database"]["code"] == "check_timed_out"
            assert verdict["checks"]["storage"]["ok"] and verdict["checks"]["workers"]["ok"]
            assert server.client.get("/healthz").status_code == 200
        finally:
            for process in frozen:
                process.resume()
        assert until(server, lambda reply: reply.status_code == 200)["ready"]
    database.stop()


def until(server: Server, what: Callable[[httpx2.Response], bool]) -> dict[str, Any]:
    """Ask /readyz until its reply is such."""
    deadline = time.monotonic() + 60
    while not what(reply := server.client.get("/readyz")):
        assert time.monotonic() < deadline, reply.text
        time.sleep(0.2)
    return reply.json()  # type: ignore[no-any-return]


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[tuple[Patient, Server]]:
    """A running server, and a doctor of the same settings."""
    patient = Patient(tmp_path, upgraded=False)
    with Server(patient.data) as server:
        patient.env["REELMILL_PORT"] = str(server.port)
        yield patient, server


def test_a_running_server_is_its_own_public_side(beside: tuple[Patient, Server]) -> None:
    patient, server = beside
    report = patient.report()
    assert report["ok"] and set(levels(report).values()) == {"ok"}
    assert "a Reelmill server" in line(report, "port")["detail"]
    assert line(report, "public")["data"]["url"] == server.url
    assert server.client.get("/readyz").json()["ready"]
    assert not server.stored()


def test_a_schema_isnt_upgraded_under_a_running_server(beside: tuple[Patient, Server]) -> None:
    patient, _ = beside
    url = f"sqlite:///{patient.data / 'reelmill.db'}"
    migrate.downgrade(url, "0002")
    report = patient.report(options="--fix schema")
    assert is_red(line(report, "schema"), "schema_behind")
    [tried] = report["fixed"]
    assert not tried["ok"] and "Stop the other server" in tried["done"]
    migrate.upgrade(url)


def test_a_public_url_that_leads_to_another_installation(beside: tuple[Patient, Server], tmp_path: Path) -> None:
    patient, server = beside
    with Server(tmp_path / "other") as other:
        patient.env["REELMILL_PUBLIC_URL"] = other.url
        red = patient.line("public")
        assert is_red(red, "public_url_broken") and "signature_invalid" in red["detail"]
    stopped = patient.line("public")
    assert is_red(stopped, "public_url_broken") and "doesn't lead to it" in stopped["detail"]
    patient.env["REELMILL_PUBLIC_URL"] = server.url
    assert patient.line("public")["level"] == "ok"


def test_a_public_url_cant_be_tried_without_a_server(patient: Patient) -> None:
    patient.env["REELMILL_PUBLIC_URL"] = f"http://127.0.0.1:{free_port()}"
    report = patient.report()
    told = line(report, "public")
    assert (told["level"], told["code"], told["fix"]) == ("warning", "public_url_broken", "reelmill serve")
    assert report["ok"] and levels(report)["parts"] == "ok", "signed URLs were tried on a port lent for it"


@pytest.mark.req("A-01")
def test_a_broker_that_is_away(patient: Patient, postgres_url: str) -> None:
    port = free_port()
    patient.env |= {"REELMILL_DATABASE_URL": postgres_url, "REELMILL_BROKER_URL": f"redis://127.0.0.1:{port}/0"}
    found = patient.line("broker")
    assert is_red(found, "broker_unavailable")
    pid = patient.data / "broker.pid"
    try:
        healed = patient.line("broker", after=f"{found['fix']} --dir {patient.data} --pidfile {pid}; sleep 1")
        assert healed["level"] == "ok" and str(port) in healed["detail"]
    finally:
        os.kill(int(pid.read_text()), signal.SIGTERM)


@pytest.mark.req("A-01")
def test_a_broker_that_is_elsewhere_or_useless_is_left_out(patient: Patient, postgres_url: str) -> None:
    patient.env["REELMILL_BROKER_URL"] = "redis://127.0.0.1:6379/0"  # beside SQLite
    found = patient.line("broker")
    assert is_red(found, "setting_invalid")
    assert patient.line("broker", after=found["fix"])["level"] == "ok"
    patient.env["REELMILL_DATABASE_URL"] = postgres_url
    patient.env["REELMILL_BROKER_URL"] = f"amqp://guest:secret@127.0.0.1:{free_port()}//"
    found = patient.line("broker")
    assert is_red(found, "broker_unavailable") and "secret" not in json.dumps(found)
    assert patient.line("broker", after=found["fix"])["level"] == "ok"


@pytest.mark.req("E-05", "E-10")
def test_what_waits_in_the_spool_is_told(patient: Patient) -> None:
    empty = patient.line("spool")
    assert (empty["level"], empty["data"]["waiting"]) == ("ok", 0)
    spool = (patient.data / "spool" / "id").read_text()
    store = open_store(f"sqlite:///{patient.data / 'reelmill.db'}")
    make_job(store)
    claim = claim_one(store)
    store.close(claim, done(artifacts=[replace(artifact(claim), place="spool", spool=spool)]))
    store.close_engine()
    told = patient.line("spool")
    assert (told["level"], told["code"], told["data"]["waiting"]) == ("warning", "storage_unavailable", 1)
    patient.env["REELMILL_SPOOL"] = "off"
    off = patient.line("spool")
    assert off["level"] == "warning" and "jobs wait" in off["detail"]
    patient.env["REELMILL_SPOOL"] = str(patient.data / "reelmill.db" / "spool")
    assert patient.line("spool")["level"] == "failed"

"""A version and the one after it share a database while one is rolled out, or rolled back."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from deploying import ROOT
from media_sources import make_source
from reelmill.stores import migrate
from reelmill.stores.engine import open_engine
from running import Server

NEXT = "9999"


def add_what_the_next_version_needs(url: str) -> None:
    """Change the schema as a newer version's migration may: it only adds."""
    engine = open_engine(url)
    with engine.connect().execution_options(writing=True) as db, db.begin():
        db.execute(sa.text("ALTER TABLE jobs ADD COLUMN newer VARCHAR DEFAULT 'x' NOT NULL"))
        db.execute(sa.text("CREATE TABLE newer (id VARCHAR PRIMARY KEY)"))
        db.execute(sa.text(f"UPDATE alembic_version SET version_num = '{NEXT}'"))
    engine.dispose()


@pytest.mark.req("D-06")
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_version_goes_on_and_starts_again_on_the_next_ones_schema(
    request: pytest.FixtureRequest, database: str, tmp_path: Path
) -> None:
    store_url: str = request.getfixturevalue(f"{database}_url")
    film = make_source(tmp_path / "film.mp4", seconds=2)
    with Server(tmp_path / "data", database_url=store_url, workers=1) as server:
        if database != "sqlite":  # an embedded server's database is its own while it runs
            add_what_the_next_version_needs(store_url)
        before = server.upload(film, pipeline="clips", params={"cutting": {"duration_s": 1}})["job_id"]
        assert server.wait(before)["status"] == "completed"
        if database != "sqlite":
            ready = server.client.get("/readyz")
            assert (ready.status_code, ready.json()["checks"]["schema"]["code"]) == (200, "schema_behind")
        server.stop()
        if database == "sqlite":
            add_what_the_next_version_needs(store_url)

        server.start()  # rolled back, or killed while the new version is rolled out
        assert server.run("keys", "list")
        after = server.upload(film, pipeline="clips", params={"cutting": {"duration_s": 1}})["job_id"]
        assert server.wait(after)["status"] == "completed"
        assert server.wait(before)["status"] == "completed"
    assert migrate.current(store_url) == NEXT
    if database != "sqlite":
        assert "of a newer Reelmill" in server.log.read_text()


@pytest.mark.req("D-06")
def test_the_page_tells_how_to_go_back(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    (line,) = re.findall(r"^(python -c .*downgrade.*)$", (ROOT / "docs/how-to/deploy.md").read_text(), re.MULTILINE)
    _, *words = shlex.split(line)
    done = subprocess.run(
        [sys.executable, *words], env={**os.environ, "REELMILL_DATABASE_URL": empty_url}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert migrate.current(empty_url) == "0004"

"""Stores on real databases: each test gets one of its own, new or copied from a migrated template."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import servers
from reelmill.jobs.ports import JobStore
from reelmill.stores.dynamo.place import read_place
from reelmill.stores.dynamo.table import Table
from reelmill.stores.migrate import upgrade
from reelmill.wiring import open_store

DATABASES = [*servers.SQL, "dynamodb"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Postgres]:
    """One PostgreSQL server a session."""
    server = servers.start_postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def seaweed() -> Iterator[servers.Seaweed]:
    """One SeaweedFS server a session; its credentials are in the environment, where botocore looks for them."""
    server = servers.start_seaweed()
    before = dict(os.environ)
    os.environ.update(server.environment())
    yield server
    os.environ.clear()
    os.environ.update(before)
    server.stop()


@pytest.fixture(scope="session")
def valkey() -> Iterator[servers.Valkey]:
    """One Valkey server a session."""
    server = servers.start_valkey()
    yield server
    server.stop()


@pytest.fixture
def broker_url(valkey: servers.Valkey) -> str:
    """The URL of a broker without messages."""
    return valkey.create()


@pytest.fixture
def bucket(seaweed: servers.Seaweed) -> str:
    """The name of a bucket without objects."""
    return seaweed.create()


@pytest.fixture(scope="session")
def postgres_template(postgres: servers.Postgres) -> str:
    """The name of a migrated, empty database."""
    name = postgres.create()
    upgrade(postgres.url(name))
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a migrated, empty database."""
    path = tmp_path_factory.mktemp("template") / "reelmill.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'reelmill.db')}"


@pytest.fixture
def postgres_url(postgres: servers.Postgres, postgres_template: str) -> Iterator[str]:
    name = postgres.create(postgres_template)
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture(scope="session")
def dynalite() -> Iterator[servers.Dynalite]:
    """One server that speaks DynamoDB a session; its credentials are in the environment, where botocore looks."""
    server = servers.start_dynalite()
    before = dict(os.environ)
    os.environ.update(server.environment())
    yield server
    os.environ.clear()
    os.environ.update(before)
    server.stop()


@pytest.fixture
def dynamodb_url(dynalite: servers.Dynalite) -> str:
    url = dynalite.url(dynalite.name())
    with closing(Table(read_place(url))) as table:
        table.create()
    return url


@pytest.fixture(params=DATABASES)
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated database without rows."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def new_sqlite(sqlite_template: Path) -> Callable[[Path], JobStore]:
    """Makes a store of its own in a folder, again and again."""
    return lambda folder: open_store(f"sqlite:///{shutil.copy(sqlite_template, folder / 'reelmill.db')}")


@pytest.fixture
def new_dynamodb(dynalite: servers.Dynalite) -> Callable[[Path], JobStore]:
    """Makes a store on a table of its own, again and again."""

    def make(_: Path) -> JobStore:
        url = dynalite.url(dynalite.name())
        with closing(Table(read_place(url))) as table:
            table.create()
        return open_store(url)

    return make


@pytest.fixture(params=servers.SQL)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: servers.Postgres = request.getfixturevalue("postgres")
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def store(store_url: str) -> Iterator[JobStore]:
    opened = open_store(store_url)
    yield opened
    opened.close_engine()

"""Bring a database's schema up to date, or back, with the migrations that come inside the package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from reelmill.stores.engine import open_engine

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.database")

MIGRATIONS = Path(__file__).with_name("migrations")
UPGRADE_LOCK = 7_346_551  # any number, the same in every process: upgrades of one database wait for each other


def upgrade(url: str, revision: str = "head") -> None:
    """Upgrade to `revision`; nothing happens when it is there already. Safe from several processes at once.

    A newer version's schema is left as it is: it only adds to ours, and its processes may be at work beside us.
    """

    def act(config: Config) -> None:
        if not _is_newer(config):
            command.upgrade(config, revision)

    _run(url, act)


def downgrade(url: str, revision: str) -> None:
    """Go back to `revision`. What only newer revisions can hold is lost."""
    _run(url, lambda config: command.downgrade(config, revision))


def current(url: str) -> str | None:
    """Return the database's revision; None for an empty database."""
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def head() -> str:
    """Return the revision that this version of Reelmill needs."""
    found = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    assert found is not None
    return found


def is_known(revision: str) -> bool:
    """Tell whether this version has the revision; one that it hasn't is a newer version's."""
    return revision in {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}


def is_behind(url: str) -> bool:
    """Tell whether there is something to upgrade."""
    there = current(url)
    return there is None or (there != head() and is_known(there))


def _is_newer(config: Config) -> bool:
    there = MigrationContext.configure(config.attributes["connection"]).get_current_revision()
    if there is None or is_known(there):
        return False
    log.warning("the schema is of a newer Reelmill: left as it is", revision=there, known=head())
    return True


def _run(url: str, act: Callable[[Config], None]) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = open_engine(url)
    try:
        with engine.connect().execution_options(writing=True) as connection, connection.begin():
            _hold(connection)
            config.attributes["connection"] = connection
            act(config)
    finally:
        engine.dispose()


def _hold(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # SQLite holds by BEGIN IMMEDIATE
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({UPGRADE_LOCK})")

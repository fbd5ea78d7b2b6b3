"""Bring a database's schema up to date, or back, with the migrations that come inside the package.

Alembic is imported when there is something to migrate only: it takes a fifth of a command's start.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection

from reelmill.stores.engine import open_engine

if TYPE_CHECKING:
    from alembic.config import Config

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.database")

MIGRATIONS = Path(__file__).with_name("migrations")
UPGRADE_LOCK = 7_346_551  # any number, the same in every process: upgrades of one database wait for each other


def upgrade(url: str, revision: str = "head") -> None:
    """Upgrade to `revision`; nothing happens when it is there already. Safe from several processes at once.

    A newer version's schema is left as it is: it only adds to ours, and its processes may be at work beside us.
    """

    def act(config: Config) -> None:
        from alembic import command

        if not _is_newer(config):
            command.upgrade(config, revision)

    if revision != "head" or current(url) != head():
        _run(url, act)


def downgrade(url: str, revision: str) -> None:
    """Go back to `revision`. What only newer revisions can hold is lost."""

    def act(config: Config) -> None:
        from alembic import command

        command.downgrade(config, revision)

    _run(url, act)


def current(url: str) -> str | None:
    """Return the database's revision; None for an empty database."""
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            return _current(connection)
    finally:
        engine.dispose()


def head() -> str:
    """Return the revision that this version of Reelmill needs."""
    return _known()[-1]


def is_known(revision: str) -> bool:
    """Tell whether this version has the revision; one that it hasn't is a newer version's."""
    return revision in _known()


def is_behind(url: str) -> bool:
    """Tell whether there is something to upgrade."""
    there = current(url)
    return there is None or (there != head() and is_known(there))


@cache
def _known() -> tuple[str, ...]:
    """Return the revisions of this version, the oldest first, as their files are called."""
    return tuple(sorted(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py")))


def _current(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _is_newer(config: Config) -> bool:
    there = _current(config.attributes["connection"])
    if there is None or is_known(there):
        return False
    log.warning("the schema is of a newer Reelmill: left as it is", revision=there, known=head())
    return True


def _run(url: str, act: Callable[[Config], None]) -> None:
    from alembic.config import Config

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

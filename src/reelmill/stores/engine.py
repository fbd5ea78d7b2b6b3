"""Engines for SQLite and PostgreSQL, and the two ways to use one: `@writing` and `@reading`.

A writing method is one transaction. On SQLite it begins IMMEDIATE, so that it never has to give up in the middle;
on PostgreSQL a deadlock or serialisation failure runs it again from the start. Locks are taken in one order
(job, then its steps, then its video), so that deadlocks are the exception.
"""

from __future__ import annotations

import json
import math
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from reelmill.errors import DatabaseUnavailable, SettingInvalid

GOOD_URLS = "sqlite:////var/lib/reelmill/reelmill.db or postgresql://user:password@host:5432/reelmill"
RETRIED_STATES = {"40001", "40P01"}  # serialization_failure, deadlock_detected
TRANSACTION_TRIES = 8
WAL_TRIES = 1500  #: 20 ms apart
IDLE_IN_TRANSACTION_MS = 20_000
BESIDE_LOCK_MS = 500
PING_AFTER_S = 1.0  #: a connection that has rested for so long may have been cut meanwhile


def open_engine(url: str) -> Engine:
    """Return an engine for `sqlite:///…` or `postgresql://…`. Raises SettingInvalid for any other URL."""
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError as error:
        raise SettingInvalid(f"REELMILL_DATABASE_URL can't be read; a good value is {GOOD_URLS}.") from error
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return _open_sqlite(parsed)
    if backend == "postgresql":
        try:
            engine = sa.create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                # A process that freezes within a transaction loses it, and its locks, well before its leases.
                connect_args={"options": f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS}"},
                pool_size=10,
                max_overflow=20,
            )
        except ModuleNotFoundError as error:
            raise SettingInvalid("PostgreSQL needs the extra: pip install 'reelmill[postgres]'.") from error
        _ping_idle(engine)
        return engine
    raise SettingInvalid(f"REELMILL_DATABASE_URL names {backend!r}; a good value is {GOOD_URLS}.")


def _ping_idle(engine: Engine) -> None:
    """Try a connection that wasn't used just now before it is used; one that is gone is replaced."""

    @sa.event.listens_for(engine, "checkin")
    def note(_connection: Any, record: Any) -> None:
        record.info["used_at"] = time.perf_counter()

    @sa.event.listens_for(engine, "checkout")
    def ping(connection: Any, record: Any, _proxy: Any) -> None:
        if time.perf_counter() - record.info.get("used_at", time.perf_counter()) < PING_AFTER_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            # Whatever ended one, ended those that rested beside it.
            raise sa.exc.InvalidatePoolError from error


class Standing:
    """A connection that is kept by who comes often, and one at a time: a pool would cost as much as the statement."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: Connection | None = None
        self._used_at = 0.0

    @contextmanager
    def use(self) -> Iterator[Connection]:
        """Give the connection, tried when it has rested; one that fails is given up."""
        kept, self._kept = self._kept, None
        if kept is not None and time.perf_counter() - self._used_at > PING_AFTER_S:
            try:
                kept.dialect.do_ping(kept.connection.dbapi_connection)  # type: ignore[arg-type]  # it is open
            except kept.dialect.loaded_dbapi.Error:
                kept.invalidate()
                kept.close()
                kept = None
        if kept is None:
            kept = self._engine.connect()
        try:
            yield kept
        except BaseException:
            kept.close()
            raise
        self._kept, self._used_at = kept, time.perf_counter()

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None
        self._engine.dispose()


def open_alone(engine: Engine) -> Standing | None:
    """Return a connection for statements that are transactions by themselves (`hot.py`); None on SQLite.

    These look up all rows by their keys. Their plans are made once, when a table may still be too small to tell.
    """
    if engine.dialect.name != "postgresql":
        return None
    options = {"plan_cache_mode": "force_generic_plan"}
    options |= dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit"), "off")
    return Standing(
        sa.create_engine(
            engine.url,
            isolation_level="AUTOCOMMIT",
            pool_size=1,
            max_overflow=0,
            connect_args={"options": " ".join(f"-c {name}={value}" for name, value in options.items())},
        )
    )


def open_beside(engine: Engine) -> Standing | None:
    """Return a connection for small writes that may be lost and must not wait; None where a second one is of no use."""
    if engine.dialect.name != "postgresql":
        return None
    options = f"-c synchronous_commit=off -c lock_timeout={BESIDE_LOCK_MS} -c statement_timeout={2 * BESIDE_LOCK_MS}"
    return Standing(
        sa.create_engine(
            engine.url, isolation_level="AUTOCOMMIT", pool_size=1, max_overflow=0, connect_args={"options": options}
        )
    )


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL. Whoever else is just switching a new database holds it, and SQLite doesn't wait for that."""
    for left in reversed(range(WAL_TRIES)):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as problem:
            if "locked" not in str(problem) or not left:
                raise
            time.sleep(0.02)
        else:
            return


def _open_sqlite(url: sa.URL) -> Engine:
    engine = sa.create_engine(
        url,
        connect_args={"check_same_thread": False, "timeout": 30},
        pool_size=20,
        pool_use_lifo=True,
        max_overflow=20,
        json_serializer=json.JSONEncoder(ensure_ascii=False).encode,  # SQLite compares labels by their bytes
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions by itself
        # FULL: an acknowledged job survives a power cut, not only a crash of the process.
        for pragma in ("busy_timeout=30000", "synchronous=FULL", "foreign_keys=ON", "cache_size=-16384"):
            connection.execute(f"PRAGMA {pragma}")
        _use_wal(connection)
        for name, function in {"exp": math.exp, "ln": math.log}.items():  # not every build of SQLite has them
            connection.create_function(name, 1, function, deterministic=True)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        mode = "IMMEDIATE" if connection.get_execution_options().get("writing") else "DEFERRED"
        # Past SQLAlchemy's execution, which would cost more than the statement: nobody waits for its result.
        driver = cast(sqlite3.Connection, connection.connection.driver_connection)
        try:
            driver.execute(f"BEGIN {mode}")
        except sqlite3.Error as problem:
            raise OperationalError("BEGIN", None, problem) from problem

    writer = _writers[engine] = _Writer()

    @sa.event.listens_for(engine, "engine_disposed")
    def close(_engine: Engine) -> None:
        writer.close()

    return engine


class HasEngine(Protocol):
    engine: Engine
    on_commit: Callable[[], None]


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=HasEngine)


class _Writer:
    """The one writer that SQLite has at a time, in this process: its turn, and the connection that goes with it.

    The others wait here, for SQLite would let them sleep and guess; and to take a connection from a pool, and give it
    back, costs as much as a row.
    """

    def __init__(self) -> None:
        self._turn = threading.RLock()
        self._kept: Connection | None = None

    @contextmanager
    def use(self, engine: Engine) -> Iterator[Connection]:
        with self._turn:
            tx, self._kept = self._kept or engine.connect().execution_options(writing=True), None
            try:
                with tx.begin():
                    yield tx
            except BaseException:
                tx.close()
                raise
            self._kept = tx

    def close(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.invalidate()  # its pool is gone: nobody else would close it
            kept.close()


_writers: WeakKeyDictionary[Engine, _Writer] = WeakKeyDictionary()


@contextmanager
def _pooled(engine: Engine) -> Iterator[Connection]:
    with engine.connect().execution_options(writing=True) as tx, tx.begin():
        yield tx


def writing(method: Callable[Concatenate[S, Connection, P], R]) -> Callable[Concatenate[S, P], R]:
    """Run the method in one writing transaction, given as its first argument; then tell `on_commit`."""

    @wraps(method)
    def run(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        def act() -> R:
            writer = _writers.get(self.engine)
            with writer.use(self.engine) if writer else _pooled(self.engine) as tx:
                return method(self, tx, *args, **kwargs)

        result = again(act)
        self.on_commit()
        return result

    return cast(Callable[Concatenate[S, P], R], run)


def again(act: Callable[[], R]) -> R:
    """Do something with the database, from its start again when it met another's locks."""
    for left in reversed(range(TRANSACTION_TRIES)):
        try:
            return act()
        except DBAPIError as error:
            if left and getattr(error.orig, "sqlstate", None) in RETRIED_STATES:
                time.sleep(random.uniform(0, 0.02))  # noqa: S311 - jitter, not a secret
                continue
            raise _named(error) from error
    raise AssertionError("unreachable: the last try returns or raises")


def reading(method: Callable[Concatenate[S, Connection, P], R]) -> Callable[Concatenate[S, P], R]:
    """Run the method in one reading transaction, given as its first argument."""

    @wraps(method)
    def run(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with self.engine.connect() as tx, tx.begin():
                return method(self, tx, *args, **kwargs)
        except DBAPIError as error:
            raise _named(error) from error

    return cast(Callable[Concatenate[S, P], R], run)


def _named(error: DBAPIError) -> Exception:
    """Return DatabaseUnavailable for an outage, else the error itself: a defect must not look like one."""
    if isinstance(error, OperationalError | sa.exc.InterfaceError) or error.connection_invalidated:
        return DatabaseUnavailable(f"The database doesn't answer: {str(error.orig).strip().splitlines()[0]}.")
    return error

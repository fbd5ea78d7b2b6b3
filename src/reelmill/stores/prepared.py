"""Statements of the busiest ways: built of the tables like all others, compiled once, run by the driver's own cursor.

To let SQLAlchemy execute a statement costs several times what SQLite needs to run it. What is compiled is the same
statement object, by SQLAlchemy, with its types' conversions; only the execution goes past it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

Asked = Mapping[str, Any]
Convert = Callable[[Any], Any]
LISTED = sa.Text()  #: of a value that is a list, on SQLite
DOLLARS: Dialect = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]  # psycopg then needn't look for placeholders


class among(FunctionElement[Any]):  # noqa: N801 - reads like SQL's own IN
    """Whether a column is one of a list: an array on PostgreSQL, as many values as there are on SQLite.

    SQLite has no arrays, and would rather read the whole table than look for each element of a JSON list.
    """

    type = sa.types.NullType()  # a Boolean function would be compared to 1 on SQLite, past its indexes
    inherit_cache = True
    name = "among"

    def __init__(self, column: sa.ColumnElement[str], name: str) -> None:
        super().__init__(column, sa.bindparam(name, type_=postgresql.ARRAY(sa.Text())))


@compiles(among, "sqlite")
def _among_sqlite(element: among, compiler: Any, **more: Any) -> str:
    column, name = element.clauses
    listed = compiler.process(sa.bindparam(name.key, type_=LISTED), **more)
    return f"{compiler.process(column, **more)} IN ([{listed}])"


@compiles(among, "postgresql")
def _among_postgresql(element: among, compiler: Any, **more: Any) -> str:
    column, texts = (compiler.process(part, **more) for part in element.clauses)
    return f"{column} = ANY ({texts})"


def one_of(column: sa.ColumnElement[str], words: Iterable[str]) -> sa.ColumnElement[bool]:
    """Whether a column is one of our own words, which stand in the statement."""
    return column.in_([sa.literal_column(f"'{word}'") for word in sorted(map(str, words))])


def new(table: sa.Table, *names: str) -> dict[str, sa.BindParameter[Any]]:
    """Return values for an insert that are bound as `new_…`."""
    return {name: sa.bindparam(f"new_{name}", type_=table.c[name].type) for name in names}


class greatest(FunctionElement[float]):  # noqa: N801 - SQL's own function
    """The greatest of its arguments; each is looked at once, other than in a CASE."""

    type = sa.Float()
    inherit_cache = True
    name = "greatest"


class least(FunctionElement[float]):  # noqa: N801 - SQL's own function
    """The least of its arguments."""

    type = sa.Float()
    inherit_cache = True
    name = "least"


@compiles(greatest, "sqlite")
def _greatest_sqlite(element: greatest, compiler: Any, **more: Any) -> str:
    return f"max({compiler.process(element.clauses, **more)})"


@compiles(least, "sqlite")
def _least_sqlite(element: least, compiler: Any, **more: Any) -> str:
    return f"min({compiler.process(element.clauses, **more)})"


@compiles(greatest)
@compiles(least)
def _named(element: Any, compiler: Any, **more: Any) -> str:
    return f"{element.name}({compiler.process(element.clauses, **more)})"


@dataclass(frozen=True, slots=True)
class _Compiled:
    words: str
    bound: tuple[tuple[str, Any, Convert | None], ...]  #: name, value unless told, conversion
    lists: tuple[int, ...]  #: which of these are lists of values
    names: tuple[str, ...]  #: of the columns that come back
    converted: tuple[tuple[int, Convert], ...]  #: which of them need it, and how

    def asked(self, asked: Asked) -> tuple[str, Sequence[Any]]:
        """Return the statement's words and the values to bind."""
        get = asked.get
        values = [
            get(name, default) if convert is None else convert(get(name, default))
            for name, default, convert in self.bound
        ]
        return _spread(self.words, values, self.lists) if self.lists else (self.words, values)


def _spread(words: str, values: list[Any], lists: Sequence[int]) -> tuple[str, list[Any]]:
    """Put a place for each value where a list stands. Lists are filled up, so that there are few different words."""
    spread: list[Any] = []
    for place, value in enumerate(values):
        if place not in lists:
            spread.append(value)
            continue
        some = list(value)
        some += some[-1:] * ((1 << (len(some) - 1).bit_length()) - len(some) if some else 0)
        words = words.replace("[?]", ", ".join("?" * len(some)), 1)
        spread += some
    return words, spread


class Prepared:
    """One statement with named parameters."""

    def __init__(self, statement: sa.Executable) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def ready(self, tx: Connection) -> None:
        """Compile it now; else that is done when it is first run."""
        self._of(tx)

    def all(self, tx: Connection, asked: Asked) -> list[tuple[Any, ...]]:
        """Run it; return its rows' values."""
        compiled = self._of(tx)
        cursor = _cursor(tx)
        try:
            cursor.execute(*compiled.asked(asked))
            found: list[tuple[Any, ...]] = cursor.fetchall()
        except tx.dialect.loaded_dbapi.Error as problem:
            raise _told(tx, compiled.words, problem) from problem
        if not compiled.converted:
            return found
        rows = []
        for values in found:
            row = list(values)
            for place, convert in compiled.converted:
                row[place] = convert(row[place])
            rows.append(tuple(row))
        return rows

    def rows(self, tx: Connection, asked: Asked) -> list[dict[str, Any]]:
        """Run it; return its rows, each by its columns' names."""
        names = self._of(tx).names
        return [dict(zip(names, row, strict=True)) for row in self.all(tx, asked)]

    def row(self, tx: Connection, asked: Asked) -> dict[str, Any] | None:
        """Run what gives one row at most."""
        found = self.rows(tx, asked)
        return found[0] if found else None

    def write(self, tx: Connection, asked: Asked) -> int:
        """Run it; return how many rows it wrote."""
        compiled = self._of(tx)
        cursor = _cursor(tx)
        try:
            cursor.execute(*compiled.asked(asked))
        except tx.dialect.loaded_dbapi.Error as problem:
            raise _told(tx, compiled.words, problem) from problem
        written: int = cursor.rowcount
        return written

    def write_each(self, tx: Connection, asked: Sequence[Asked]) -> int:
        """Run it once for each; return how many rows all wrote."""
        if len(asked) == 1:
            return self.write(tx, asked[0])
        compiled = self._of(tx)
        cursor = _cursor(tx)
        try:
            cursor.executemany(compiled.words, [compiled.asked(one)[1] for one in asked])
        except tx.dialect.loaded_dbapi.Error as problem:
            raise _told(tx, compiled.words, problem) from problem
        written: int = cursor.rowcount
        return written

    def _of(self, tx: Connection) -> _Compiled:
        found = self._compiled.get(tx.dialect.name)
        if found is None:
            found = self._compiled[tx.dialect.name] = self._compile(tx.dialect)
        return found

    def _compile(self, dialect: Dialect) -> _Compiled:
        compiled: Any = self._statement.compile(dialect=DOLLARS if dialect.name == "postgresql" else dialect)  # type: ignore[attr-defined]
        columns = list(self._statement.exported_columns)  # type: ignore[attr-defined]
        binds = compiled.binds
        results = [
            None  # drivers give floats as they are
            if isinstance(column.type, sa.Float)
            else column.type.dialect_impl(dialect).result_processor(dialect, None)
            for column in columns
        ]
        return _Compiled(
            words=compiled.string,
            bound=tuple(
                (name, _plain(compiled.params[name]), bind.type.dialect_impl(dialect).bind_processor(dialect))
                for name in compiled.positiontup
                for bind in [binds[name]]
            ),
            lists=tuple(place for place, name in enumerate(compiled.positiontup) if binds[name].type is LISTED),
            names=tuple(column.key for column in columns),
            converted=tuple((place, convert) for place, convert in enumerate(results) if convert is not None),
        )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value  # of an enumeration: drivers take longer for these


def _cursor(tx: Connection) -> Any:
    connection: Any = tx.connection.driver_connection
    if tx.dialect.name == "sqlite":
        return connection.cursor()
    kept = tx.info.get("cursor")  # one a connection: what a statement gives is fetched before the next
    if kept is None:
        from psycopg import RawCursor

        kept = tx.info["cursor"] = RawCursor(connection)
    return kept


def _told(tx: Connection, words: str, problem: Any) -> Exception:
    """Return a driver's error as SQLAlchemy would raise it; a connection that is gone is given up."""
    gone = tx.dialect.is_disconnect(problem, tx.connection.driver_connection, None)
    told: Exception = sa.exc.DBAPIError.instance(
        words, None, problem, tx.dialect.loaded_dbapi.Error, connection_invalidated=gone, dialect=tx.dialect
    )
    if gone:
        tx.invalidate(problem)
        tx.engine.dispose()  # whatever ended one, ended those that rested beside it
    return told

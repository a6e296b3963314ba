"""Run the hot path's hand-written statements, and read their rows as models, on both databases.

Django's ORM builds a query again each time, which costs several times what the database needs to
answer it. Only the modules named `sql.py` use this; everything else stays with the ORM.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property, lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, Field, JSONField, Model, UUIDField
from django.db.models.base import ModelState
from psycopg.types.datetime import TimestamptzLoader

Row = TypeVar("Row", bound=Model)
Value = TypeVar("Value")
Values = Sequence[Any]

# A push of a few tags has fewer.
MAX_PREPARED_VALUES = 100
# PostgreSQL takes 65,535 values in one statement, SQLite 32,766 at least; a row has eight at most.
_MAX_NAMED = 4_000
# A longer statement takes as long to parse, each time, as two take to send.
_MAX_VALUES_TOGETHER = 64
_CURSOR = "taglock_cursor"


def fetch(statement: str, values: Values = ()) -> list[tuple[Any, ...]]:
    """Run a statement, and return the rows that it gives."""
    return _run(statement, values, lambda cursor: cursor.fetchall())


def change(statement: str, values: Values = ()) -> int:
    """Run a statement, and return how many rows it has changed."""
    return _run(statement, values, lambda cursor: int(cursor.rowcount))


def write(statement: str, values: Values = (), *, first: str = "") -> None:
    """Run a statement on whose outcome nothing depends; within `together`, at its end.

    `first` is a common table expression that it reads from, and has the first of the values.
    """
    waiting = _waiting.get()
    if waiting is not None:
        waiting.append(_Waiting(first, statement, values))
    else:
        change(f"WITH {first} {statement}" if first else statement, values)


def is_together() -> bool:
    """Whether what is written waits for the end of a `together`."""
    return _waiting.get() is not None


@contextmanager
def together() -> Iterator[None]:
    """Send what is written within at its end, in few statements, where the database can do that.

    For changes of different rows, in a transaction: none of them sees what another one does, nor
    does what is read within. Where it fails, nothing is sent.
    """
    if connection.vendor != "postgresql" or is_together():
        yield
        return
    waiting: list[_Waiting] = []
    token = _waiting.set(waiting)
    try:
        yield
    finally:
        _waiting.reset(token)
    for part in _pack(waiting):
        *steps, last = part
        tables = [text for n, each in enumerate(steps) for text in each.as_tables(n)]
        before = ", ".join([*tables, *filter(None, [last.first])])
        change(
            f"WITH {before} {last.statement}" if before else last.statement,
            [value for each in part for value in each.values],
        )


class _Waiting(NamedTuple):
    """A statement that waits to be sent together with others."""

    first: str
    statement: str
    values: Values

    def as_tables(self, number: int) -> list[str]:
        """Return it as common table expressions."""
        return [*filter(None, [self.first]), f"step_{number} AS ({self.statement})"]


def _pack(waiting: Sequence[_Waiting]) -> list[list[_Waiting]]:
    """Return the statements in parts that are sent as one: with few values, and one `first`."""
    parts: list[list[_Waiting]] = []
    for each in waiting:
        last = parts[-1] if parts else []
        count = sum(len(other.values) for other in (*last, each))
        is_ambiguous = bool(each.first) and any(other.first for other in last)
        if last and count <= _MAX_VALUES_TOGETHER and not is_ambiguous:
            last.append(each)
        else:
            parts.append([each])
    return parts


_waiting: ContextVar[list[_Waiting] | None] = ContextVar("waiting", default=None)


def _run(statement: str, values: Values, read: Callable[[Any], Value]) -> Value:
    """Run a statement, prepared where that is worth it, and return what `read` makes of it.

    With a psycopg cursor of our own: Django's makes a new one each time, and wraps it, at twice the
    cost of a short statement.
    """
    database = connections[DEFAULT_DB_ALIAS]
    if not _is_prepared(database, len(values)):
        with database.cursor() as cursor:
            cursor.execute(statement, values)
            return read(cursor)
    if database.connection is None:
        database.ensure_connection()
    database.validate_no_broken_transaction()
    with database.wrap_database_errors:
        return read(_own_cursor(database.connection).execute(statement, values))


def _is_prepared(database: BaseDatabaseWrapper, count: int) -> bool:
    """Whether PostgreSQL is to prepare a statement with so many values.

    A long one has another text for each number of values, and would take megabytes in the server if
    it were prepared. Django's own cursor puts the values into the text: also where no statement is
    prepared, and where tests log or stop each of them.
    """
    return (
        count <= MAX_PREPARED_VALUES
        and database.settings_dict["OPTIONS"].get("prepare_threshold") is not None
        and not database.queries_logged
        and not database.execute_wrappers
    )


def _own_cursor(connection: Any) -> psycopg.Cursor[Any]:
    """Return the one cursor that is kept with a connection: a thread has it for itself.

    Django reads each time in Python, to put its own UTC in place of the connection's.
    """
    cursor: psycopg.Cursor[Any] | None = getattr(connection, _CURSOR, None)
    if cursor is None:
        cursor = psycopg.Cursor(connection)
        cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
        setattr(connection, _CURSOR, cursor)
    return cursor


@lru_cache(maxsize=256)
def marks(count: int, groups: int = 1) -> str:
    """Return placeholders: "(%s, %s)" for two values, and so many groups of them."""
    group = f"({', '.join(['%s'] * count)})"
    return ", ".join([group] * groups)


def in_parts(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    """Yield the values in parts that one statement can take, in order."""
    for start in range(0, len(values), _MAX_NAMED):
        yield values[start : start + _MAX_NAMED]


@cache
def lock_rows() -> str:
    """Return what ends a SELECT that locks its rows for a change that leaves their keys alone.

    SQLite locks all of the database where a transaction begins.
    """
    return " FOR NO KEY UPDATE" if connection.vendor == "postgresql" else ""


@cache
def now() -> str:
    """Return the expression for the database's time at the beginning of the statement."""
    if connection.vendor == "postgresql":
        return "STATEMENT_TIMESTAMP()"
    return "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')"


def read_time(value: Any) -> Any:
    """Return a time as it was selected; SQLite gives it as text, or in UTC without saying so."""
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


@dataclass(frozen=True)
class Condition:
    """A condition of a statement, and the values of its placeholders."""

    text: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Column:
    """A column of a SELECT, and the values of its placeholders."""

    text: str
    values: tuple[Any, ...] = ()


class Table(Generic[Row]):
    """A model's table: its columns for a SELECT, and rows of these as instances."""

    def __init__(self, model: type[Row]) -> None:
        self._model = model
        self.name = model._meta.db_table

    @cached_property
    def columns(self) -> str:
        """Every column, in the order in which `read` wants them, with the table's name."""
        return ", ".join(f"{self.name}.{field.column}" for field in self._fields)

    @cached_property
    def width(self) -> int:
        """How many columns `columns` names."""
        return len(self._fields)

    def read(self, row: Values) -> Row:
        """Return the instance of a row that has `columns`.

        As it would be unpickled: `Model.__init__` takes as long as a short statement.
        """
        instance = self._model.__new__(self._model)
        instance.__dict__.update(zip(self._names, row, strict=True))
        for index, field, convert in self._converters:
            value = convert(row[index], field.cached_col, connection)
            instance.__dict__[field.attname] = value
        instance._state = ModelState()
        instance._state.adding, instance._state.db = False, DEFAULT_DB_ALIAS
        return instance

    def read_all(self, rows: Collection[Values]) -> list[Row]:
        """Return the instances of some rows, in order."""
        return [self.read(row) for row in rows]

    def prepare(self, name: str, value: Any) -> Any:
        """Return the value of a field as the database takes it."""
        field = self._prepared.get(name)
        return value if field is None else field.get_db_prep_save(value, connection)

    def values(self, instance: Row, names: Collection[str]) -> list[Any]:
        """Return the values of an instance's fields as the database takes them."""
        return [self.prepare(name, getattr(instance, name)) for name in names]

    @cached_property
    def _fields(self) -> "list[Field[Any, Any]]":
        return list(self._model._meta.concrete_fields)

    @cached_property
    def _prepared(self) -> "dict[str, Field[Any, Any]]":
        """The fields whose values the database's driver does not take as they are."""
        kinds: tuple[type[Field[Any, Any]], ...] = (JSONField,)
        if connection.vendor != "postgresql":
            kinds += (DateTimeField, UUIDField)
        return {field.attname: field for field in self._fields if isinstance(field, kinds)}

    @cached_property
    def _names(self) -> list[str]:
        return [field.attname for field in self._fields]

    @cached_property
    def _converters(self) -> "list[tuple[int, Field[Any, Any], Callable[..., Any]]]":
        """What turns what this database gives into what a field holds."""
        return [
            (index, field, convert)
            for index, field in enumerate(self._fields)
            for convert in (
                *connection.ops.get_db_converters(field.cached_col),
                *field.get_db_converters(connection),
            )
        ]

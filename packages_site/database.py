"""How databases are opened: SQLite only where it is there, PostgreSQL with limited patience.

A server that hangs must not hold pushes forever.
"""

import select
from typing import Any
from urllib.parse import quote, unquote

import psycopg
from django.db import connection
from psycopg.abc import RV, PQGen, Query
from psycopg.pq import ConnStatus, TransactionStatus

_SQLITE_PREFIX, _SQLITE_SUFFIX = "file:", "?mode=rw"


def make_sqlite_uri(name: str) -> str:
    """Return the name under which SQLite opens a file that is there, and does not make one."""
    if name == ":memory:":
        return name
    return f"{_SQLITE_PREFIX}{quote(name)}{_SQLITE_SUFFIX}"


def read_sqlite_uri(name: str) -> str:
    """Return the path of a name that `make_sqlite_uri` made; any other name as it is."""
    if not (name.startswith(_SQLITE_PREFIX) and name.endswith(_SQLITE_SUFFIX)):
        return name
    return unquote(name.removeprefix(_SQLITE_PREFIX).removesuffix(_SQLITE_SUFFIX))


class PatientConnection(psycopg.Connection[Any]):
    """A connection that is given up where the server says nothing for `patience_seconds`.

    A timeout at the server cannot do this: a server that stands still times nothing. It then undoes
    what was in progress, or has committed it without saying so; a write to the registry is settled
    later in either case. Commands, such as migrations, may take long: they set no patience.
    """

    patience_seconds: float | None = None

    def execute(self, query: Query, *arguments: Any, **options: Any) -> psycopg.Cursor[Any]:
        """Execute a statement. The pool's check, an empty one, seldom asks the server.

        The pool checks each connection that it hands out. What the server closed has something to
        read: its last words, or their end.
        """
        if (
            query == ""
            and self.pgconn.status == ConnStatus.OK
            and not self._has_something_to_read()
        ):
            return self.cursor()
        return super().execute(query, *arguments, **options)

    def _has_something_to_read(self) -> bool:
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return bool(poll.poll(0))

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait for the server. Raises OperationalError when patience ends."""
        try:
            return super().wait(
                gen, interval, self.patience_seconds if timeout is None else timeout
            )
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                # The answer may still come, to whatever would be asked next.
                self.pgconn.finish()
            if self.pgconn.status == ConnStatus.BAD:
                # So are, most likely, those that wait in the pool: a restart breaks all of them.
                # The pool's own check replaces one after the other, with longer and longer pauses,
                # and gives up before it has found one that works.
                pool = getattr(connection, "pool", None)
                if pool is not None:
                    pool.drain()
            raise


def be_patient(seconds: float) -> None:
    """Give up, from now on in this process, what PostgreSQL does not answer within `seconds`."""
    PatientConnection.patience_seconds = seconds

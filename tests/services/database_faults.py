"""A database that is gone: connections cut and refused, a write lock held, or a full disk."""

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import connection
from psycopg import sql

from tests.services.parts import Part


class LostConnections:
    """The connections of a cluster to PostgreSQL."""

    def __init__(self, application: str) -> None:
        """`application` is what its sessions are called."""
        self._application = application
        settings = connection.settings_dict
        self._name = str(settings["NAME"])
        self._address = {name: settings[name.upper()] for name in ("host", "port", "user")}

    def cut(self) -> None:
        """End all of them, and what runs there. New ones are welcome."""
        with self._connect() as other:
            self._cut(other)

    @contextmanager
    def refused(self) -> Iterator[None]:
        """End all of them, and refuse new ones meanwhile."""
        with self._connect() as other:
            self._allow(other, "false")
            try:
                self._cut(other)
                yield
            finally:
                self._allow(other, "true")

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(dbname="postgres", autocommit=True, **self._address)

    def _cut(self, other: psycopg.Connection[tuple[object, ...]]) -> None:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
            [self._application],
        )

    def _allow(self, other: psycopg.Connection[tuple[object, ...]], allowed: str) -> None:
        statement = sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}")
        other.execute(statement.format(sql.Identifier(self._name), sql.SQL(allowed)))


@contextmanager
def held_write_lock() -> Iterator[None]:
    """Hold SQLite's write lock: nobody else writes meanwhile, the tests' own connection neither."""
    other = sqlite3.connect(str(connection.settings_dict["NAME"]), isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
    finally:
        other.close()


def let_disk_be_full(part: Part) -> None:
    """Let no process of a part write another byte to a file, for as long as it lives."""
    for pid in part.pids:
        subprocess.run(["prlimit", f"--pid={pid}", "--fsize=0"], check=True)

"""Copy the whole database into a file, and a file into an empty database, by its own tools."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from django.db import connection
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo

from packages_site.data_dir import find_sqlite_file
from workspaces.restore_note import NOTE_TABLE

_HAS_TABLES = (
    "SELECT EXISTS (SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
    "WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' "
    "AND relkind IN ('r', 'p', 'v', 'm', 'f') AND relname <> %s)"
)


class DumpError(Exception):
    """A tool of the database failed, or is missing. One line says what it said."""


def dump_postgresql(path: Path) -> None:
    """Write PostgreSQL's database into a file, as one moment has it. Raises DumpError."""
    path.touch(mode=0o600)
    options = ["--no-owner", "--no-privileges", f"--exclude-table={NOTE_TABLE}"]
    _run(["pg_dump", "--format=custom", f"--file={path}", *options])


def load_postgresql(path: Path) -> None:
    """Read such a file into PostgreSQL's database, all of it or nothing. Raises DumpError."""
    connection.close()
    options = ["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"]
    _run(["pg_restore", *options, str(path)])


def copy_sqlite(path: Path) -> None:
    """Write the SQLite database into a file, as one moment has it."""
    path.touch(mode=0o600)
    source = find_sqlite_file()
    live = sqlite3.connect(f"file:{source}?mode=ro", uri=True)
    with closing(live), closing(sqlite3.connect(path)) as copy:
        live.backup(copy)


def has_tables() -> bool:
    """Whether the database has anything but the note of a restore."""
    if connection.vendor == "sqlite":
        path = find_sqlite_file()
        return path is not None and path.exists() and path.stat().st_size > 0
    with connection.cursor() as cursor:
        cursor.execute(_HAS_TABLES, [NOTE_TABLE])
        return bool(cursor.fetchone()[0])


def _run(command: Sequence[str]) -> None:
    """Run a tool of PostgreSQL on the database. Its password is on no command line."""
    if shutil.which(command[0]) is None:
        raise DumpError(f"{command[0]} is not installed: it is in Debian's postgresql-client")
    address, password = _find_address()
    environ = {**os.environ, **({"PGPASSWORD": password} if password else {})}
    done = subprocess.run(  # noqa: S603  (no shell, and no text of anyone else)
        [*command, f"--dbname={address}"],
        check=False,
        env=environ,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise DumpError(f"{command[0]} failed: {said[0] if said else done.returncode}")


def _find_address() -> tuple[str, str]:
    """Return the database as PostgreSQL's tools take it, and the password."""
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    given: dict[str, Any] = connection.get_connection_params()
    parameters = {name: value for name, value in given.items() if name in known and value}
    password = str(parameters.pop("password", ""))
    parameters.pop("client_encoding", None)
    return make_conninfo("", **parameters), password

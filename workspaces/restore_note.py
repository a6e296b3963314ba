"""The note that a restored database has until it may be used: nothing starts on half of one.

Its table is no model's, for it is there before those are. A restore writes it first, and
`reconcile --after-restore` drops it.
"""

import sqlite3
from pathlib import Path

from django.db import connection, transaction

NOTE_TABLE = "taglock_restore"
READ_NOTE = f"SELECT bundle, loaded FROM {NOTE_TABLE}"  # noqa: S608  (constants)
_CREATE = f"CREATE TABLE IF NOT EXISTS {NOTE_TABLE} (bundle text NOT NULL, loaded integer NOT NULL)"
_INSERT = f"INSERT INTO {NOTE_TABLE} (bundle, loaded) VALUES"


@transaction.atomic
def note_begin(bundle: Path) -> None:
    """Note that a restore has begun, or begins again."""
    with connection.cursor() as cursor:
        cursor.execute(_CREATE)
        cursor.execute(f"DELETE FROM {NOTE_TABLE}")  # noqa: S608
        cursor.execute(f"{_INSERT} (%s, 0)", [str(bundle)])


def note_begin_in_file(path: Path, bundle: Path) -> None:
    """Note it in an SQLite database that nothing has opened yet."""
    with sqlite3.connect(path) as database:
        database.execute(_CREATE)
        database.execute(f"{_INSERT} (?, 0)", [str(bundle)])
    database.close()


def note_loaded() -> None:
    """Note that the database is whole, and that the registry beside it is newer."""
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {NOTE_TABLE} SET loaded = 1")  # noqa: S608


def forget_restore() -> None:
    """Let the database be used."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {NOTE_TABLE}")

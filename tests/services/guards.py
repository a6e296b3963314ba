"""Put the triggers that guard the lock log out of force, as the database's owner can."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ALWAYS = (
    "SELECT tgrelid::regclass::text, tgname FROM pg_trigger "
    "WHERE tgenabled = 'A' AND NOT tgisinternal"
)


@contextmanager
def without_guards(cursor: Any, *, is_postgresql: bool) -> Iterator[None]:
    """Let the block change and delete what the database refuses to, foreign keys too."""
    if is_postgresql:
        cursor.execute(ALWAYS)
        triggers = cursor.fetchall()
        # One by one: of several in one statement, each would wait while it holds the others.
        for table, name in triggers:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {name}")
        cursor.execute("SET session_replication_role = replica")
        yield
        cursor.execute("SET session_replication_role = DEFAULT")
        for table, name in triggers:
            cursor.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
        return
    cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    triggers = cursor.fetchall()
    for name, _ in triggers:
        cursor.execute(f"DROP TRIGGER {name}")
    yield
    for _, sql in triggers:
        cursor.execute(sql)

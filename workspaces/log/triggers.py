"""Whether the database still refuses to change the log: its triggers, and its unique constraints.

That they are there now says nothing of the past; that one is missing says a lot.
"""

from django.db import connection, models

from workspaces.log.models import Checkpoint, EventSeal, LockEvent

APPEND_ONLY: tuple[type[models.Model], ...] = (LockEvent, EventSeal, Checkpoint)


def find_missing_guards() -> list[str]:
    """Return a sentence for each trigger and unique constraint of the log that is not in force."""
    return [
        *(problem for model in APPEND_ONLY for problem in _find_missing_triggers(model)),
        *_find_missing_constraints(),
    ]


def _find_missing_triggers(model: type[models.Model]) -> list[str]:
    table = model._meta.db_table
    if connection.vendor == "postgresql":
        wanted, found = ("append_only", "no_truncate"), _read_postgresql_triggers(table)
    else:
        wanted, found = ("no_update", "no_delete"), _read_sqlite_triggers(table)
    return [
        f"the trigger {table}_{name} does not guard the table {table}"
        for name in wanted
        if f"{table}_{name}" not in found
    ]


def _read_postgresql_triggers(table: str) -> set[str]:
    """Return the triggers that are enabled for every row and column, and that refuse."""
    with connection.cursor() as cursor:
        # "O" and "A": it fires in ordinary sessions. The bits of tgtype are those of PostgreSQL's
        # pg_trigger.h: before, for each row, update and delete; before, for a statement, truncate.
        cursor.execute(
            "SELECT tgname FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid "
            "WHERE tgrelid = %s::regclass AND tgenabled IN ('O', 'A') "
            "AND tgtype = CASE tgname WHEN %s THEN 27 WHEN %s THEN 34 END "
            "AND tgqual IS NULL AND tgattr = '' "
            "AND regexp_replace(btrim(prosrc, E' \\n'), '\\s+', ' ', 'g') "
            "LIKE 'BEGIN RAISE EXCEPTION %%' AND prosrc NOT ILIKE '%%RETURN%%'",
            [table, f"{table}_append_only", f"{table}_no_truncate"],
        )
        return {name for (name,) in cursor.fetchall()}


def _read_sqlite_triggers(table: str) -> set[str]:
    """Return the triggers that are exactly what migration 0005 has made."""
    wanted = {
        f"{table}_no_{verb.lower()}": f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} "
        f"ON {table} BEGIN SELECT RAISE(ABORT, 'the lock log is append-only: {verb} on {table} is "
        "refused'); END"
        for verb in ("UPDATE", "DELETE")
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        return {name for name, sql in cursor.fetchall() if wanted.get(name) == sql}


def _find_missing_constraints() -> list[str]:
    table = EventSeal._meta.db_table
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, table)
    unique = [tuple(each["columns"]) for each in constraints.values() if each["unique"]]
    return [
        f"nothing keeps {meaning} from being sealed twice: a unique constraint is missing"
        for columns, meaning in (
            (("workspace", "sequence"), "a place of a chain"),
            (("event_id",), "an event"),
        )
        if columns not in unique
    ]

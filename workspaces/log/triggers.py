"""Whether the database still refuses to change the log: its triggers, and its unique constraints.

That they are there now says nothing of the past; that one is missing says a lot.
"""

from django.db import connection, models

from workspaces.log.models import Checkpoint, EventRepeat, EventSeal, LockEvent

APPEND_ONLY: tuple[type[models.Model], ...] = (LockEvent, EventSeal, Checkpoint)
# Counters of repeats only grow, until the event that says how much they counted is there.
GUARDED: tuple[type[models.Model], ...] = (*APPEND_ONLY, EventRepeat)

# The bits of tgtype in PostgreSQL's pg_trigger.h: before, for each row, update and delete; before,
# for a statement, truncate.
_BEFORE_ROW_CHANGES, _BEFORE_TRUNCATE = 27, 34

# What migration 0005 makes, with single blanks.
_REFUSE = (
    "BEGIN RAISE EXCEPTION 'the lock log is append-only: % on % is refused', TG_OP, TG_TABLE_NAME "
    "USING ERRCODE = 'integrity_constraint_violation'; END"
)
_GROW = (
    "BEGIN IF TG_OP = 'UPDATE' THEN IF NEW.count >= OLD.count "
    "AND (NEW.id, NEW.workspace, NEW.fingerprint, NEW.hour, NEW.event_id) "
    "= (OLD.id, OLD.workspace, OLD.fingerprint, OLD.hour, OLD.event_id) "
    "THEN RETURN NEW; END IF; ELSIF OLD.count = 0 OR EXISTS ( "
    "SELECT 1 FROM workspaces_lockevent AS met "
    "JOIN workspaces_lockevent AS counted USING (workspace, repository, tag) "
    "WHERE met.id = OLD.event_id AND counted.kind = 'repeats.counted' "
    "AND counted.at > met.at - interval '1 day' "
    "AND counted.details ->> 'event' = met.ref "
    "AND counted.details ->> 'count' = OLD.count::text ) THEN RETURN OLD; END IF; "
    "RAISE EXCEPTION 'the counters of the lock log only grow: % on % is refused', "
    "TG_OP, TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END"
)
_ONLY_GROW = {
    "UPDATE": "WHEN NOT (NEW.count >= OLD.count AND NEW.id = OLD.id "
    "AND NEW.workspace = OLD.workspace AND NEW.fingerprint = OLD.fingerprint "
    "AND NEW.hour = OLD.hour AND NEW.event_id = OLD.event_id)",
    "DELETE": "WHEN OLD.count <> 0 AND NOT EXISTS (SELECT 1 FROM workspaces_lockevent AS met "
    "JOIN workspaces_lockevent AS counted USING (workspace, repository, tag) "
    "WHERE met.id = OLD.event_id AND counted.kind = 'repeats.counted' "
    "AND counted.at > datetime(met.at, '-1 day') "
    "AND json_extract(counted.details, '$.event') = met.ref "
    "AND json_extract(counted.details, '$.count') = OLD.count)",
}


def find_missing_guards() -> list[str]:
    """Return a sentence for each trigger and unique constraint of the log that is not in force.

    And for each way in which PostgreSQL is told not to keep foreign keys.
    """
    is_postgresql = connection.vendor == "postgresql"
    return [
        *(problem for model in GUARDED for problem in _find_missing_triggers(model)),
        *_find_missing_constraints(),
        *(_find_replica_sessions() if is_postgresql else []),
    ]


def _find_missing_triggers(model: type[models.Model]) -> list[str]:
    table = model._meta.db_table
    if connection.vendor == "postgresql":
        wanted, found = ("append_only", "no_truncate"), _read_postgresql_triggers(model)
    else:
        wanted, found = ("no_update", "no_delete"), _read_sqlite_triggers(model)
    return [
        f"the trigger {table}_{name} does not guard the table {table}"
        for name in wanted
        if f"{table}_{name}" not in found
    ]


def _read_postgresql_triggers(model: type[models.Model]) -> set[str]:
    """Return the triggers that are enabled for every session, row and column, and that refuse."""
    table = model._meta.db_table
    wanted = {
        f"{table}_append_only": (_BEFORE_ROW_CHANGES, _REFUSE if model in APPEND_ONLY else _GROW),
        f"{table}_no_truncate": (_BEFORE_TRUNCATE, _REFUSE),
    }
    with connection.cursor() as cursor:
        # "A": it fires whatever session_replication_role is.
        cursor.execute(
            "SELECT tgname, tgtype, regexp_replace(btrim(prosrc, E' \\n'), '\\s+', ' ', 'g') "
            "FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid "
            "JOIN pg_language ON pg_language.oid = prolang "
            "WHERE tgrelid = %s::regclass AND tgenabled = 'A' AND lanname = 'plpgsql' "
            "AND tgqual IS NULL AND tgattr = ''",
            [table],
        )
        return {name for name, *what in cursor.fetchall() if wanted.get(name) == tuple(what)}


def _read_sqlite_triggers(model: type[models.Model]) -> set[str]:
    """Return the triggers that are exactly what migration 0005 has made."""
    table = model._meta.db_table
    is_append_only = model in APPEND_ONLY
    rule = "lock log is append-only" if is_append_only else "counters of the lock log only grow"
    wanted = {
        f"{table}_no_{verb.lower()}": f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} "
        f"ON {table} {'' if is_append_only else f'{_ONLY_GROW[verb]} '}"
        f"BEGIN SELECT RAISE(ABORT, 'the {rule}: {verb} on {table} is refused'); END"
        for verb in ("UPDATE", "DELETE")
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        return {name for name, sql in cursor.fetchall() if wanted.get(name) == sql}


def _find_replica_sessions() -> list[str]:
    """Say where sessions are replicas: the log's triggers fire in them, foreign keys do not."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('session_replication_role')")
        (here,) = cursor.fetchone()
        cursor.execute(
            "SELECT coalesce(rolname, ''), coalesce(datname, '') FROM pg_db_role_setting "
            "LEFT JOIN pg_roles ON pg_roles.oid = setrole "
            "LEFT JOIN pg_database ON pg_database.oid = setdatabase "
            "WHERE lower(array_to_string(setconfig, ',')) "
            "LIKE '%%session\\_replication\\_role=replica%%' "
            "AND coalesce(datname, current_database()) = current_database() ORDER BY 1, 2",
            [],
        )
        defaults = cursor.fetchall()
    places = ["this session"] if here == "replica" else []
    for role, database in defaults:
        who = f"the role {role}" if role else "every role"
        places.append(f"{who} in {f'the database {database}' if database else 'every database'}")
    return [
        f"session_replication_role is replica for {place}: nothing keeps a seal from losing its "
        "event there"
        for place in places
    ]


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

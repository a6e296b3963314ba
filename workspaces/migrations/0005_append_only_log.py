"""The database itself keeps the log: rows are never changed or deleted, and counters only grow.

On PostgreSQL the triggers are ALWAYS: they fire with session_replication_role = replica too.
workspaces/log/triggers.py looks for exactly these.
"""

from django.db import migrations

TABLES = ("workspaces_lockevent", "workspaces_eventseal", "workspaces_checkpoint")
COUNTERS = "workspaces_eventrepeat"

POSTGRESQL = (
    """
    CREATE FUNCTION taglock_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the lock log is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    # A counter goes when the event that says how much it counted is there.
    """
    CREATE FUNCTION taglock_counters_grow() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE' THEN
            IF NEW.count >= OLD.count
                AND (NEW.id, NEW.workspace, NEW.fingerprint, NEW.hour, NEW.event_id)
                    = (OLD.id, OLD.workspace, OLD.fingerprint, OLD.hour, OLD.event_id)
            THEN
                RETURN NEW;
            END IF;
        ELSIF OLD.count = 0 OR EXISTS (
            SELECT 1 FROM workspaces_lockevent AS met
            JOIN workspaces_lockevent AS counted USING (workspace, repository, tag)
            WHERE met.id = OLD.event_id AND counted.kind = 'repeats.counted'
                AND counted.at > met.at - interval '1 day'
                AND counted.details ->> 'event' = met.ref
                AND counted.details ->> 'count' = OLD.count::text
        ) THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'the counters of the lock log only grow: % on % is refused',
            TG_OP, TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
)

SQLITE = (
    f"CREATE TRIGGER {COUNTERS}_no_update BEFORE UPDATE ON {COUNTERS} "
    "WHEN NOT (NEW.count >= OLD.count AND NEW.id = OLD.id AND NEW.workspace = OLD.workspace "
    "AND NEW.fingerprint = OLD.fingerprint AND NEW.hour = OLD.hour "
    "AND NEW.event_id = OLD.event_id) BEGIN SELECT "
    f"RAISE(ABORT, 'the counters of the lock log only grow: UPDATE on {COUNTERS} is refused'); END",
    f"CREATE TRIGGER {COUNTERS}_no_delete BEFORE DELETE ON {COUNTERS} "
    "WHEN OLD.count <> 0 AND NOT EXISTS ("
    "SELECT 1 FROM workspaces_lockevent AS met "
    "JOIN workspaces_lockevent AS counted USING (workspace, repository, tag) "
    "WHERE met.id = OLD.event_id AND counted.kind = 'repeats.counted' "
    "AND counted.at > datetime(met.at, '-1 day') "
    "AND json_extract(counted.details, '$.event') = met.ref "
    "AND json_extract(counted.details, '$.count') = OLD.count) BEGIN SELECT "
    f"RAISE(ABORT, 'the counters of the lock log only grow: DELETE on {COUNTERS} is refused'); END",
)


def install(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        for statement in POSTGRESQL:
            schema_editor.execute(statement, params=None)
        for table in (*TABLES, COUNTERS):
            function = "taglock_counters_grow" if table == COUNTERS else "taglock_append_only"
            schema_editor.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
                f"FOR EACH ROW EXECUTE FUNCTION {function}()"
            )
            schema_editor.execute(
                f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION taglock_append_only()"
            )
            for name in ("append_only", "no_truncate"):
                schema_editor.execute(
                    f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_{name}"
                )
        return
    for table in TABLES:
        for verb in ("UPDATE", "DELETE"):
            schema_editor.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN "
                f"SELECT RAISE(ABORT, 'the lock log is append-only: {verb} on {table} is refused'); "
                "END"
            )
    for statement in SQLITE:
        schema_editor.execute(statement, params=None)


def remove(apps, schema_editor):
    is_postgresql = schema_editor.connection.vendor == "postgresql"
    for table in (*TABLES, COUNTERS):
        names = ("append_only", "no_truncate") if is_postgresql else ("no_update", "no_delete")
        for name in names:
            on = f" ON {table}" if is_postgresql else ""
            schema_editor.execute(f"DROP TRIGGER {table}_{name}{on}")
    if is_postgresql:
        schema_editor.execute("DROP FUNCTION taglock_append_only()")
        schema_editor.execute("DROP FUNCTION taglock_counters_grow()")


class Migration(migrations.Migration):

    dependencies = [
        ('workspaces', '0004_sealed_log'),
    ]

    operations = [
        migrations.RunPython(install, remove),
    ]

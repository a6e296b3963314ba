"""Events, seals and checkpoints are never changed or deleted: the database itself refuses it."""

from django.db import migrations

TABLES = ("workspaces_lockevent", "workspaces_eventseal", "workspaces_checkpoint")


def install(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            """
            CREATE FUNCTION taglock_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION 'the lock log is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
                    USING ERRCODE = 'integrity_constraint_violation';
            END $$
            """,
            params=None,
        )
        for table in TABLES:
            schema_editor.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION taglock_append_only()"
            )
            schema_editor.execute(
                f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION taglock_append_only()"
            )
        return
    for table in TABLES:
        for verb in ("UPDATE", "DELETE"):
            schema_editor.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN "
                f"SELECT RAISE(ABORT, 'the lock log is append-only: {verb} on {table} is refused'); "
                "END"
            )


def remove(apps, schema_editor):
    is_postgresql = schema_editor.connection.vendor == "postgresql"
    for table in TABLES:
        names = ("append_only", "no_truncate") if is_postgresql else ("no_update", "no_delete")
        for name in names:
            on = f" ON {table}" if is_postgresql else ""
            schema_editor.execute(f"DROP TRIGGER {table}_{name}{on}")
    if is_postgresql:
        schema_editor.execute("DROP FUNCTION taglock_append_only()")


class Migration(migrations.Migration):

    dependencies = [
        ('workspaces', '0004_sealed_log'),
    ]

    operations = [
        migrations.RunPython(install, remove),
    ]

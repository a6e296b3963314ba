"""Find events by any text in what they name, on PostgreSQL."""

from django.core.management.base import CommandError
from django.db import Error, migrations, transaction

# The index is of PostgreSQL alone, so no model names it. What it is made of is in log/query.py
# (EventText). Short lists of what is new keep the pushes short that sort one of them in.
_CREATE_INDEX = """
CREATE INDEX event_text ON workspaces_lockevent
USING gin (UPPER(repository || ':' || tag || ' ' || actor || ' ' || rule_name) gin_trgm_ops)
WITH (gin_pending_list_limit = 1024)
"""


def create_text_index(apps, schema_editor):
    """Create the extension, which is trusted since PostgreSQL 13, and the index that needs it."""
    if schema_editor.connection.vendor != "postgresql":
        return
    try:
        with transaction.atomic():
            schema_editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except Error as error:
        raise CommandError(
            "The extension pg_trgm, which searches text, cannot be created in this database "
            f"({str(error).strip()}). It belongs to PostgreSQL (its package of contributed modules). "
            'Let an administrator run "CREATE EXTENSION pg_trgm" in this database once, or grant '
            "the role CREATE on the database; then run migrate again."
        ) from error
    schema_editor.execute(_CREATE_INDEX)


def drop_text_index(apps, schema_editor):
    """Drop the index. The extension may be in use by others."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX event_text")


class Migration(migrations.Migration):
    dependencies = [("workspaces", "0003_token_repositories")]

    operations = [migrations.RunPython(create_text_index, drop_text_index)]

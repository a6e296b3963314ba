"""Find locked tags by any text in "repository:tag", on PostgreSQL, and pages of the rarer states."""

from django.core.management.base import CommandError
from django.db import Error, migrations, models, transaction

# The index is of PostgreSQL alone, so no model names it. What it is made of is in locked_tags.py
# (LockedName). Short lists of what is new keep the pushes short that sort one of them in.
_CREATE_INDEX = """
CREATE INDEX locked_tag_text ON immutability_lockedtag
USING gin (UPPER(repository || ':' || tag) gin_trgm_ops) WITH (gin_pending_list_limit = 1024)
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
        schema_editor.execute("DROP INDEX locked_tag_text")


class Migration(migrations.Migration):
    dependencies = [("immutability", "0002_faster_writes")]

    operations = [
        migrations.RemoveIndex(model_name="lockedtag", name="locked_tag_state_index"),
        migrations.AddIndex(
            model_name="lockedtag",
            index=models.Index(
                condition=models.Q(("state", "locked"), _negated=True),
                fields=["state", "workspace", "id"],
                name="locked_tag_rare_state",
            ),
        ),
        migrations.RunPython(create_text_index, drop_text_index),
    ]

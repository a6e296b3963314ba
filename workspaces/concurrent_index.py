"""An index of a large table, built while others go on writing."""

from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db.migrations import AddIndex


class AddIndexWithoutLock(AddIndexConcurrently):
    """Add an index, on PostgreSQL without a lock that pushes would wait for.

    It stands alone in a migration with `atomic = False`. Where it was interrupted, PostgreSQL keeps
    an index that is not valid: drop it, and migrate again.
    """

    def database_forwards(self, app_label: str, schema_editor: Any, *states: Any) -> None:
        """Build the index."""
        self._choose(schema_editor).database_forwards(self, app_label, schema_editor, *states)

    def database_backwards(self, app_label: str, schema_editor: Any, *states: Any) -> None:
        """Drop the index."""
        self._choose(schema_editor).database_backwards(self, app_label, schema_editor, *states)

    def _choose(self, schema_editor: Any) -> type[AddIndex]:
        is_postgresql = schema_editor.connection.vendor == "postgresql"
        return AddIndexConcurrently if is_postgresql else AddIndex

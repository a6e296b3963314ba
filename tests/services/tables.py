"""Empty the database of the tests, append-only tables included."""

from typing import Any

from django.db import connection, transaction

from tests.services.guards import without_guards

# What `migrate` has filled, and tests leave alone.
KEPT = frozenset(
    {
        "auth_permission",
        "containers_tokenkey",
        "django_content_type",
        "django_migrations",
        "workspaces_keyfingerprint",
    }
)


def empty_tables() -> None:
    """Delete all rows that tests have committed."""
    names = [
        name
        for name in connection.introspection.django_table_names(include_views=False)
        if name not in KEPT
    ]
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            _delete_on_sqlite(cursor, names)
        elif _is_alone(cursor):
            # Much faster than to truncate, where there is next to nothing in the tables.
            if filled := _find_filled(cursor, names):
                with without_guards(cursor, is_postgresql=True):
                    cursor.execute("; ".join(f'DELETE FROM "{name}"' for name in filled))  # noqa: S608
        else:
            # It waits for those that are still at work.
            listed = ", ".join(f'"{name}"' for name in names)
            with without_guards(cursor, is_postgresql=True):
                cursor.execute(f"TRUNCATE {listed}")


def _delete_on_sqlite(cursor: Any, names: list[str]) -> None:
    filled = _find_filled(cursor, names)
    if not filled:
        return
    # Foreign keys are checked at the end of the transaction.
    with transaction.atomic(), without_guards(cursor, is_postgresql=False):
        for name in filled:
            cursor.execute(f'DELETE FROM "{name}"')  # noqa: S608


def _find_filled(cursor: Any, names: list[str]) -> list[str]:
    """Return the tables that have rows."""
    cursor.execute(
        " UNION ALL ".join(
            f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM \"{name}\")"  # noqa: S608
            for name in names
        )
    )
    return [name for (name,) in cursor.fetchall()]


def _is_alone(cursor: Any) -> bool:
    """Whether nobody else is at work in the database of the tests, on PostgreSQL."""
    cursor.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND state <> 'idle'"
    )
    return bool(cursor.fetchone() == (0,))

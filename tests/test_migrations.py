"""Migrations work on both databases, forth and back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import ConnectionHandler

from tests.conftest import is_postgresql

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.both_databases,
    pytest.mark.slow,
]

APPS = ("workspaces", "containers", "immutability")
# Tables, columns, constraints, indexes and triggers, however each database keeps them.
SCHEMA = (
    """
    SELECT 'column', table_name, column_name, data_type FROM information_schema.columns
        WHERE table_schema = 'public'
    UNION SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION SELECT 'index', tablename, indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public'
    UNION SELECT 'trigger', tgrelid::regclass::text, tgname,
        pg_get_triggerdef(oid) || tgenabled::text
        FROM pg_trigger WHERE NOT tgisinternal
    UNION SELECT 'function', proname, '', prosrc FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
    """
    if is_postgresql()
    else "SELECT type, tbl_name, name, sql FROM sqlite_master"
)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Any]:
    """A connection to a copy of the migrated database; to an empty one, where none is to copy."""
    values = dict(connection.settings_dict)
    values["OPTIONS"] = {k: v for k, v in values["OPTIONS"].items() if k != "pool"}
    values["NAME"] = f"{values['NAME']}_other" if is_postgresql() else str(tmp_path / "db.sqlite3")
    other = ConnectionHandler({"default": values})["default"]
    with connection.cursor() as cursor:
        if is_postgresql():
            template = values["TEST"]["TEMPLATE"] or "template1"
            cursor.execute(f'CREATE DATABASE "{values["NAME"]}" TEMPLATE "{template}"')
        else:
            other.ensure_connection()
            connection.connection.backup(other.connection)
        yield other
        other.close()
        if is_postgresql():
            cursor.execute(f'DROP DATABASE "{values["NAME"]}"')


def read_schema(other: Any) -> set[Any]:
    with other.cursor() as cursor:
        cursor.execute(SCHEMA)
        return set(cursor.fetchall())


def is_ours(name: str) -> bool:
    return name.startswith(tuple(f"{app}_" for app in APPS))


def test_migrations_leave_nothing_when_they_are_taken_back(other: Any) -> None:
    newest = [
        node for node in MigrationExecutor(other).loader.graph.leaf_nodes() if node[0] in APPS
    ]
    MigrationExecutor(other).migrate(newest)
    made = read_schema(other)
    assert {app for app in APPS if any(row[1].startswith(f"{app}_") for row in made)} == set(APPS)

    MigrationExecutor(other).migrate([(app, None) for app in APPS])
    assert [row for row in read_schema(other) if is_ours(row[1])] == []
    assert not any(row[1].startswith("taglock_") for row in read_schema(other))

    MigrationExecutor(other).migrate(newest)
    assert read_schema(other) == made

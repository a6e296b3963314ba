"""Migrations only add, so that the code of the release before goes on."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, models
from django.db.migrations import Migration
from django.db.migrations import operations as ops
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState

from immutability.models import LockedTag
from tests.migration_rules import find_reasons
from workspaces.concurrent_index import AddIndexWithoutLock

ROOT = Path(__file__).resolve().parent.parent
# The last of each app before there was the rule.
BEFORE_THE_RULE = {"workspaces": 13, "containers": 7, "immutability": 10}


def read_migrations() -> Iterator[tuple[Migration, ProjectState]]:
    """Yield each migration that the rule is for, with the state before it."""
    loader = MigrationLoader(None)
    for app, last in BEFORE_THE_RULE.items():
        for key, migration in sorted(loader.disk_migrations.items()):
            if key[0] == app and int(key[1].partition("_")[0]) > last:
                yield migration, loader.project_state(key, at_end=False)


def test_new_migrations_only_add() -> None:
    """One that a person has judged, or that takes away what no release uses, says so."""
    reasons = [
        reason
        for migration, state in read_migrations()
        for reason in find_reasons(migration, state)
        if not getattr(migration, "old_code_goes_on", "") and not read_contracts(migration)
    ]
    assert reasons == [], "see CONTRIBUTING.md, Change the models"


def read_contracts(migration: Migration) -> str:
    """Return which release no longer uses what a migration takes away; empty for one that adds."""
    return getattr(migration, "contracts", "")


def test_what_takes_away_names_a_release() -> None:
    released = re.findall(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    named = {read_contracts(migration) for migration, _ in read_migrations()}
    assert named - {""} <= set(released)


def text(**options: Any) -> Any:
    return models.CharField(**{"max_length": 10} | options)


@pytest.fixture
def state() -> ProjectState:
    """Models of a release: a small table, and a large one."""
    state = ProjectState()
    fields = [("id", models.BigAutoField(primary_key=True)), ("name", text())]
    for name in ("Small", "Tag"):
        ops.CreateModel(name, fields).state_forwards("app", state)
    return state


INDEX = models.Index(fields=["name"], name="by_name")
CONSTRAINT = models.UniqueConstraint(fields=["name"], name="once")


@pytest.mark.parametrize(
    "operation",
    [
        ops.CreateModel("New", [("id", models.BigAutoField(primary_key=True)), ("name", text())]),
        ops.AddField("tag", "more", text(null=True)),
        ops.AddField("tag", "more", text(default="", db_default="")),
        ops.AlterField("tag", "name", text(choices=[("a", "A")], blank=True, default="")),
        ops.AlterField("tag", "name", text(max_length=20)),
        ops.AlterField("tag", "name", text(null=True)),
        ops.AlterField("tag", "name", text(db_default="")),
        ops.AddIndex("small", INDEX),
        AddIndexWithoutLock("tag", INDEX),
        ops.AlterModelOptions("tag", {"ordering": ["name"]}),
    ],
    ids=lambda operation: operation.describe(),
)
def test_what_adds_is_fine(operation: Any, state: ProjectState) -> None:
    assert find_reasons(migration_of(operation), state) == []


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (ops.AddField("tag", "more", text(default="")), "has neither null nor db_default"),
        (ops.AddField("tag", "more", text(null=True, db_index=True)), "while pushes wait"),
        (ops.AddIndex("tag", INDEX), "while pushes wait"),
        (ops.AlterField("tag", "name", text(max_length=5)), "tag.name: max_length changes"),
        (ops.AlterField("tag", "name", models.TextField()), "its kind"),
        (ops.AlterField("tag", "name", text(unique=True)), "tag.name: unique changes"),
        (ops.AddConstraint("small", CONSTRAINT), "once may refuse what old code writes"),
        (ops.RemoveField("tag", "name"), "old code may use what is changed"),
        (ops.RenameField("tag", "name", "title"), "old code may use what is changed"),
        (ops.DeleteModel("Small"), "old code may use what is changed"),
        (ops.RenameModel("Small", "Little"), "old code may use what is changed"),
        (ops.RunPython(lambda *_: None), "no one can tell what RunPython does"),
        (
            ops.SeparateDatabaseAndState(database_operations=[ops.RunSQL("SELECT 1")]),
            "no one can tell what RunSQL does",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value.describe(),
)
def test_what_old_code_may_stumble_over_is_told(
    operation: Any, reason: str, state: ProjectState
) -> None:
    (told,) = find_reasons(migration_of(operation), state)
    assert reason in told


def test_what_the_migration_itself_has_made_is_no_ones_yet(state: ProjectState) -> None:
    made = ops.CreateModel("New", [("id", models.BigAutoField(primary_key=True)), ("name", text())])
    changes = [ops.AddConstraint("new", CONSTRAINT), ops.RemoveField("new", "name")]
    assert find_reasons(migration_of(made, *changes), state) == []


def migration_of(*operations: Any) -> Migration:
    migration = Migration("0002_change", "app")
    vars(migration)["operations"] = list(operations)
    return migration


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
def test_an_index_is_built_while_others_write() -> None:
    state = MigrationLoader(None).project_state()
    operation = AddIndexWithoutLock(
        "lockedtag", models.Index(fields=["digest"], name="for_this_test")
    )
    after = state.clone()
    operation.state_forwards("immutability", after)
    for is_there in (True, False):
        change = operation.database_forwards if is_there else operation.database_backwards
        states = (state, after) if is_there else (after, state)
        with connection.schema_editor(atomic=False) as editor:
            change("immutability", editor, *states)
        with connection.cursor() as cursor:
            table = LockedTag._meta.db_table
            found = connection.introspection.get_constraints(cursor, table)
        assert ("for_this_test" in found) is is_there

"""Migrations that carry data over."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

BEFORE = [("immutability", "0002_initial")]


def _migrate(targets: list[tuple[str, str]]) -> Any:
    """Migrate to these, and return the models as they then are."""
    executor = MigrationExecutor(connection)
    executor.migrate(targets)
    return MigrationExecutor(connection).loader.project_state(targets).apps


@pytest.fixture
def newest() -> Iterator[list[tuple[str, str]]]:
    """The newest migrations of the app, to which the database is brought back."""
    targets = [
        node
        for node in MigrationExecutor(connection).loader.graph.leaf_nodes()
        if node[0] == "immutability"
    ]
    yield targets
    _migrate(targets)


def test_what_was_sent_is_in_doubt_and_no_delete_is_stranded(
    newest: list[tuple[str, str]],
) -> None:
    apps = _migrate(BEFORE)
    workspace = apps.get_model("workspaces", "Workspace").objects.create(slug="acme", name="Acme")
    attempts = apps.get_model("immutability", "Attempt").objects
    common = {
        "workspace": workspace,
        "repository": "acme/api",
        "settings_version": 1,
        "actor": "dana",
        "actor_kind": "person",
        "expires_at": timezone.now(),
    }
    ids = {
        name: attempts.create(**common, kind="push", outcome=outcome, is_sent=is_sent).id
        for name, outcome, is_sent in (
            ("open", "open", True),
            ("unsent", "open", False),
            ("ended", "succeeded", True),
        )
    }
    delete = attempts.create(**common, kind="delete", outcome="open", is_sent=True)
    apps.get_model("immutability", "AttemptTag").objects.create(
        workspace=workspace, attempt=delete, repository="acme/api", tag="going"
    )
    for tag in ("going", "stranded"):
        apps.get_model("immutability", "LockedTag").objects.create(
            workspace=workspace,
            repository="acme/api",
            tag=tag,
            state="deleting",
            replaced_state="locked",
            digest="sha256:" + 64 * "a",
            settings_version=1,
            pushed_by="dana",
            pushed_by_kind="person",
            deleted_by="alice",
            deleted_at=timezone.now(),
        )

    apps = _migrate(newest)
    found = apps.get_model("immutability", "Attempt").objects.in_bulk(list(ids.values()))
    facts = {
        name: (found[key].sent_at == found[key].opened_at, found[key].is_doubted)
        for name, key in ids.items()
    }
    assert facts == {"open": (True, True), "unsent": (False, False), "ended": (True, False)}
    rows = apps.get_model("immutability", "LockedTag").objects.values_list(
        "tag", "state", "deleted_by"
    )
    assert set(rows) == {("going", "deleting", "alice"), ("stranded", "locked", "")}

    apps = _migrate(BEFORE)
    sent = apps.get_model("immutability", "Attempt").objects.filter(is_sent=True)
    assert {each.id for each in sent} == {ids["open"], ids["ended"], delete.id}

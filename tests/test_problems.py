"""What the tests of refusals go by finds what it is for."""

from collections.abc import Callable

import pytest
from django.db import connection, transaction

from tests.problems import nothing_written
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db


def rename_by_sql() -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE workspaces_workspace SET name = 'Other'")


WRITES: list[Callable[[], object]] = [
    lambda: Workspace.objects.create(slug="initech", name="Initech"),
    lambda: Workspace.objects.bulk_create([Workspace(slug="initech", name="Initech")]),
    lambda: Workspace.objects.update(name="Other"),
    lambda: Workspace.objects.all().delete(),
    rename_by_sql,
]


@pytest.mark.parametrize("write", WRITES, ids=["insert", "bulk", "update", "delete", "sql"])
def test_what_was_written_is_found(write: Callable[[], object]) -> None:
    Workspace.objects.create(slug="acme", name="Acme")
    with pytest.raises(AssertionError), nothing_written():
        write()


def test_what_was_taken_back_or_only_locked_was_not_written() -> None:
    Workspace.objects.create(slug="acme", name="Acme")
    with nothing_written():
        with transaction.atomic():
            Workspace.objects.select_for_update(no_key=True).get()
            Workspace.objects.update(name="Other")
            transaction.set_rollback(True)
        assert Workspace.objects.get().name == "Acme"

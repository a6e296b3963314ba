"""The statements on records and manifests give what the ORM gives, on both databases."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, models, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from containers import sql
from containers.models import Manifest, ManifestReference, Push, Repository
from containers.models import Tag as TagRecord
from containers.names import RepositoryName
from tests.conftest import AA, BB, CC, is_postgresql
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

NOW = timezone.now()


def values_of(row: models.Model) -> dict[str, Any]:
    """Return every column's value."""
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def test_records_are_inserted_once_and_read_as_the_orm_reads_them(acme: Workspace) -> None:
    inserted = sql.insert_tags(acme.pk, "acme/api", ["v1", "v2"])
    assert [row.name for row in inserted] == ["v1", "v2"]
    assert sql.insert_tags(acme.pk, "acme/api", ["v1", "v2"]) == []
    with transaction.atomic():
        locked = sql.lock_tags(acme.pk, "acme/api", ["v1", "v2", "v3"])
    expected = [values_of(row) for row in TagRecord.objects.order_by("name")]
    assert [values_of(row) for row in inserted] == expected
    assert [values_of(row) for row in locked] == expected


def test_everything_that_a_hold_changes_of_a_record_is_written(acme: Workspace) -> None:
    [record] = sql.insert_tags(acme.pk, "acme/api", ["v1"])
    changed = {
        "digest": AA,
        "shown_at": NOW,
        "unreadable_since": NOW - timedelta(seconds=4),
        "unreadable_at": NOW - timedelta(seconds=5),
        "revision": 7,
        "changed_at": NOW - timedelta(seconds=1),
        "pushed_at": NOW - timedelta(seconds=2),
        "write_id": uuid.uuid4(),
        "write_kind": "push",
        "write_digest": BB,
        "write_begun_at": NOW - timedelta(seconds=3),
        "write_expires_at": NOW + timedelta(seconds=30),
        "write_is_external": True,
        "stray_until": NOW + timedelta(minutes=15),
        "stray_digest": CC,
    }
    # If you add a column, say here whether a hold may change it.
    assert changed.keys() | {"id", "workspace_id", "repository", "name"} == values_of(record).keys()
    for name, value in changed.items():
        setattr(record, name, value)
    sql.update_tag(record)
    assert values_of(TagRecord.objects.get()) == values_of(record)
    with transaction.atomic():
        [found], now = sql.lock_tags_of_write(acme.pk, record.write_id or uuid.uuid4())
    assert values_of(found) == values_of(record)
    assert now is not None
    assert abs(now - timezone.now()) < timedelta(minutes=1)
    with transaction.atomic():
        assert sql.lock_tags_of_write(acme.pk, uuid.uuid4()) == ([], None)


def test_manifests_are_inserted_changed_and_read_as_the_orm_reads_them(acme: Workspace) -> None:
    new = Manifest(
        workspace=acme,
        repository="acme/api",
        digest=AA,
        media_type="application/json",
        size=5,
        subject=BB,
        is_there=True,
        is_read=True,
    )
    [row] = sql.insert_manifests([new])
    assert sql.insert_manifests([new]) == []
    assert values_of(row) == values_of(Manifest.objects.get())
    assert values_of(row) | {"id": None} == values_of(new)
    changed = {
        "media_type": "text/plain",
        "size": 6,
        "image_size": 7,
        "subject": CC,
        "is_there": False,
        "is_read": False,
        "revision": 3,
        "delete_id": uuid.uuid4(),
        "delete_expires_at": NOW,
        "stray_until": NOW + timedelta(minutes=1),
    }
    assert changed.keys() | {"id", "workspace_id", "repository", "digest"} == values_of(row).keys()
    for name, value in changed.items():
        setattr(row, name, value)
    sql.update_manifest(row)
    expected = values_of(Manifest.objects.get())
    assert expected == values_of(row)
    found = sql.find_manifests(acme.pk, "acme/api", [AA, BB])
    with transaction.atomic():
        locked = sql.lock_manifests(acme.pk, "acme/api", [AA, BB])
    assert [values_of(each) for each in (*found, *locked)] == [expected, expected]


@pytest.mark.slow
def test_more_rows_than_one_statement_takes_are_all_inserted_and_locked(acme: Workspace) -> None:
    digests = [f"sha256:{number:064x}" for number in range(9_001)]
    rows = [Manifest(workspace=acme, repository="acme/api", digest=digest) for digest in digests]
    assert len(sql.insert_manifests(rows)) == len(rows)
    with transaction.atomic():
        locked = sql.lock_manifests(acme.pk, "acme/api", digests)
    assert [row.digest for row in locked] == digests


def test_rows_are_locked_in_order(acme: Workspace) -> None:
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        sql.lock_tags(acme.pk, "acme/api", ["v1"])
        sql.lock_manifests(acme.pk, "acme/api", [AA])
        sql.lock_tags_of_write(acme.pk, uuid.uuid4())
    ends = [each["sql"].rpartition("ORDER BY ")[2] for each in queries if "SELECT" in each["sql"]]
    # SQLite locks the whole database.
    lock = " FOR NO KEY UPDATE" if is_postgresql() else ""
    assert ends == [f"{column}{lock}" for column in ("name", "digest", "name")]


@pytest.mark.parametrize(
    ("changes", "is_noted"),
    [
        ({}, True),
        ({"delete_id": uuid.uuid4()}, False),
        ({"stray_until": Now() + timedelta(minutes=1)}, False),
        ({"stray_until": Now() - timedelta(minutes=1)}, True),
    ],
)
def test_a_manifest_is_there_once_its_write_has_landed_if_no_delete_is_open(
    acme: Workspace, changes: dict[str, Any], *, is_noted: bool
) -> None:
    Manifest.objects.create(workspace=acme, repository="acme/api", digest=AA, **changes)
    write_id = uuid.uuid4()
    sql.note_there(acme.pk, "acme/api", AA, write_id)
    assert not Manifest.objects.get().is_there
    TagRecord.objects.create(
        workspace=acme, repository="acme/api", name="v1", write_id=write_id, write_kind="push"
    )
    sql.note_there(acme.pk, "acme/api", AA, write_id)
    assert Manifest.objects.get().is_there is is_noted


def test_pushes_and_repositories_are_inserted(acme: Workspace) -> None:
    [record] = sql.insert_tags(acme.pk, "acme/api", ["v1"])
    record.digest, record.revision = AA, 7
    for _ in range(2):
        sql.insert_repository(acme, RepositoryName("acme/api"))
        sql.update_pushed_tag(record, "dana", "person")
    assert values_of(record) == values_of(TagRecord.objects.get())
    assert Push.objects.count() == 2
    assert list(Repository.objects.values_list("workspace", "name", "is_public")) == [
        (acme.pk, "acme/api", False)
    ]
    push = Push.objects.first()
    assert push is not None
    assert push.at is not None
    assert (push.repository, push.tag, push.digest) == ("acme/api", "v1", AA)
    assert (push.actor, push.actor_kind) == ("dana", "person")


def test_what_manifests_list_is_found_to_any_depth_within_their_repository(
    acme: Workspace, globex: Workspace
) -> None:
    def lists(workspace: Workspace, repository: str, parent: str, *children: str) -> None:
        for child in children:
            ManifestReference.objects.create(
                workspace=workspace, repository=repository, parent=parent, child=child
            )

    lists(acme, "acme/api", "a", "b", "c")
    lists(acme, "acme/api", "c", "d")
    # Nobody can make such a circle; it must end all the same.
    lists(acme, "acme/api", "d", "c")
    lists(acme, "acme/web", "a", "x")
    lists(globex, "acme/api", "a", "y")
    assert sql.find_descendants(acme.pk, "acme/api", ["a"]) == {"b", "c", "d"}
    assert sql.find_descendants(acme.pk, "acme/api", ["b", "d"]) == {"c", "d"}
    assert sql.find_descendants(acme.pk, "acme/api", []) == set()

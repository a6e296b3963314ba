"""A workspace with many locks (bench/fill.py): its statements name the columns by themselves."""

import pytest
from django.db import connection

from bench.fill import (
    TAGS_PER_REPOSITORY,
    fill_repository,
    fill_with_locks,
    push_and_unlock,
)
from bench.rows import fill_rest
from containers.models import Manifest, ManifestReference, Push, Repository
from containers.models import Tag as TagRecord
from immutability.locked_tags import LockedTagQuery, find_locked_tags
from immutability.models import LockedTag
from immutability.reading import read_policy
from tests.conftest import is_postgresql
from workspaces.log.models import EventOrigin, EventSeal, LockEvent
from workspaces.models import Workspace
from workspaces.search import parse_search


@pytest.mark.django_db(transaction=True)
def test_each_lock_has_its_record_manifest_and_repository() -> None:
    if not is_postgresql():
        pytest.skip("benchmarks run on PostgreSQL alone")
    workspace = Workspace.objects.create(slug="acme", name="Acme")
    count = 2 * TAGS_PER_REPOSITORY + 1

    fill_with_locks("acme", count)

    assert LockedTag.objects.count() == TagRecord.objects.count() == count
    assert Manifest.objects.count() == count
    assert Repository.objects.count() == 3
    assert LockedTag.objects.values("tag").distinct().count() == count
    query = LockedTagQuery(parse_search("v1.1000.0"))
    page = find_locked_tags(workspace, read_policy(workspace), query)
    ((lock, _),) = page.locks
    assert (lock.repository, lock.digest) == ("acme/r2", lock.record.digest)
    connection.check_constraints()

    fill_rest()
    for model in (Push, ManifestReference, LockEvent, EventOrigin, EventSeal):
        assert model._default_manager.count() == count
    connection.check_constraints()
    Push.objects.all().delete()

    push_and_unlock("acme", 10)

    assert list(Push.objects.order_by("id").values_list("tag", flat=True)) == [
        f"v1.{number}.0" for _ in range(2) for number in range(10)
    ]
    assert LockedTag.objects.count() in (count // 2, count // 2 + 1)


@pytest.mark.django_db(transaction=True)
def test_each_tag_of_a_large_repository_has_a_record_and_every_second_a_push() -> None:
    if not is_postgresql():
        pytest.skip("benchmarks run on PostgreSQL alone")
    Workspace.objects.create(slug="acme", name="Acme")
    fill_repository("acme", 10)
    assert Repository.objects.get().name == "acme/big"
    assert TagRecord.objects.filter(repository="acme/big").count() == 10
    assert Push.objects.count() == TagRecord.objects.filter(pushed_at__isnull=False).count() == 5
    connection.check_constraints()

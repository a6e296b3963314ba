"""The statements on policies and locks give what the ORM gives, on both databases."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import models, transaction
from django.utils import timezone

from containers.models import Manifest, Repository
from containers.models import Tag as TagRecord
from immutability import sql
from immutability.models import ContainerSettings, LockedTag, Rule, TagException
from immutability.policy.protection import Policy, PolicyException, PolicyRule, Protection
from tests.conftest import AA, BB
from tests.immutability.making import make_lock
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

NOW = timezone.now()


def values_of(row: models.Model | None) -> dict[str, Any]:
    """Return every column's value."""
    assert row is not None
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


@pytest.fixture
def policy(acme: Workspace) -> Policy:
    """A policy with everything that one can have; its patterns are not inserted in order."""
    settings = ContainerSettings.objects.create(
        workspace=acme,
        version=3,
        protection="some",
        refuse_identical_pushes=True,
        protect_signature_tags=True,
        saved_by="alice",
    )
    rules = [("B", r'^"v\d\'%s$'), ("A", "^ü")]
    for position, (name, pattern) in reversed(list(enumerate(rules, start=1))):
        Rule.objects.create(settings=settings, position=position, name=name, pattern=pattern)
    exceptions = [("A", "^ü"), ("Zwei", r'\."%s$'), ("B", "^b")]
    for position, (name, pattern) in reversed(list(enumerate(exceptions, start=1))):
        TagException.objects.create(
            settings=settings, position=position, name=name, pattern=pattern
        )
    return Policy(
        3,
        Protection.SOME,
        tuple(PolicyRule(name, pattern) for name, pattern in rules),
        refuse_identical_pushes=True,
        protect_signature_tags=True,
        exceptions=tuple(PolicyException(name, pattern) for name, pattern in exceptions),
    )


def test_a_policy_is_read_whole_with_the_databases_time(acme: Workspace, policy: Policy) -> None:
    found, now = sql.read_policy(acme.pk)
    assert found == policy
    assert abs(now - timezone.now()) < timedelta(minutes=1)


def test_a_workspace_that_has_saved_nothing_protects_nothing(
    acme: Workspace, globex: Workspace, policy: Policy
) -> None:
    assert sql.read_policy(globex.pk)[0] == Policy()
    held = sql.read_held(globex.pk, [])
    assert (held.policy, held.locks, held.right) == (Policy(), [], None)
    read = sql.read_push(globex.pk, "globex/api", ["v1"], AA)
    assert (read.policy, read.tags, read.manifest) == (Policy(), [], None)
    assert not read.is_repository_known


def test_policy_without_rules(acme: Workspace) -> None:
    ContainerSettings.objects.create(workspace=acme, protection="all", saved_by="alice")
    assert sql.read_policy(acme.pk)[0] == Policy(1, Protection.ALL)


def test_rules_and_exceptions_of_one_workspace_are_not_another_ones(
    acme: Workspace, globex: Workspace, policy: Policy
) -> None:
    ContainerSettings.objects.create(workspace=globex, protection="all", saved_by="mallory")
    assert sql.read_policy(globex.pk)[0] == Policy(1, Protection.ALL)


@pytest.mark.parametrize("model", [Rule, TagException])
def test_a_policy_with_only_one_of_the_lists(acme: Workspace, policy: Policy, model: Any) -> None:
    model.objects.all().delete()
    found = sql.read_policy(acme.pk)[0]
    assert (bool(found.rules), bool(found.exceptions)) == (model is not Rule, model is Rule)
    assert found.rules in ((), policy.rules)
    assert found.exceptions in ((), policy.exceptions)


def test_what_a_push_concerns_is_read_in_one_statement(
    acme: Workspace, policy: Policy, django_assert_num_queries: Any
) -> None:
    lock = make_lock(acme, "v1")
    record = TagRecord.objects.create(workspace=acme, repository="acme/api", name="v2")
    manifest = Manifest.objects.create(workspace=acme, repository="acme/api", digest=BB, size=4)
    Repository.objects.get_or_create(workspace=acme, name="acme/api")
    make_lock(acme, "v3")
    with django_assert_num_queries(1):
        read = sql.read_push(acme.pk, "acme/api", ["v1", "v2", "v9"], BB)
    assert read.policy == policy
    assert values_of(read.manifest) == values_of(manifest)
    assert read.is_repository_known
    tags = {tag.name: (tag, row) for tag, row in read.tags}
    assert tags.keys() == {"v1", "v2"}
    assert values_of(tags["v1"][0]) == values_of(TagRecord.objects.get(name="v1"))
    assert values_of(tags["v1"][1]) == values_of(LockedTag.objects.get(pk=lock.pk))
    assert values_of(tags["v2"][0]) == values_of(TagRecord.objects.get(pk=record.pk))
    assert tags["v2"][1] is None


def test_locks_are_read_with_the_policy(
    acme: Workspace, policy: Policy, django_assert_num_queries: Any
) -> None:
    one, two = make_lock(acme, "v1"), make_lock(acme, "v2", "reserved")
    make_lock(acme, "v3")
    with transaction.atomic(), django_assert_num_queries(1):
        held = sql.read_held(acme.pk, [one.record_id, two.record_id])
    assert held.policy == policy
    expected = [values_of(row) for row in LockedTag.objects.filter(tag__in=["v1", "v2"])]
    assert sorted(map(values_of, held.locks), key=lambda each: each["id"]) == expected
    also = sql.find_locks(acme.pk, [one.record_id, two.record_id])
    assert sorted(map(values_of, also), key=lambda each: each["id"]) == expected
    assert sql.find_locks(acme.pk, []) == []


def test_everything_of_a_lock_is_written(acme: Workspace) -> None:
    record = TagRecord.objects.create(workspace=acme, repository="acme/api", name="v1")
    row = LockedTag(
        record=record,
        workspace=acme,
        repository="acme/api",
        tag="v1",
        state="claimed",
        digest=AA,
        settings_version=2,
        pushed_by="dana",
        pushed_by_kind="person",
        locked_at=NOW,
    )
    sql.insert_lock(row)
    row.pk = LockedTag.objects.get().pk
    assert values_of(LockedTag.objects.get()) == values_of(row)
    changed = {
        "state": "deleting",
        "digest": BB,
        "media_type": "application/json",
        "rule_name": "Versions",
        "rule_pattern": "^v",
        "settings_version": 3,
        "pushed_by": "bob",
        "pushed_by_kind": "token",
        "locked_at": NOW - timedelta(days=1),
        "deleted_by": "alice",
        "deleted_by_kind": "person",
        "deleted_at": NOW,
        "delete_reason": "because",
        "replaced": {"state": "locked", "deleted_at": None},
        "refused_at": NOW,
    }
    # If you add a column, say here whether a lock may change it.
    never = {"id", "record_id", "workspace_id", "repository", "tag"}
    assert changed.keys() | never == values_of(row).keys()
    for name, value in changed.items():
        setattr(row, name, value)
    sql.update_lock(row)
    assert values_of(LockedTag.objects.get()) == values_of(row)

"""What the database refuses, whatever the code does."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import DataError, IntegrityError, transaction
from django.utils import timezone

from containers.models import Manifest, ManifestReference, Repository
from containers.models import Tag as TagRecord
from immutability.models import Claim, ContainerSettings, Job, LockedTag, Rule, TagException
from immutability.policy.protection import (
    MAX_EXCEPTIONS_PER_WORKSPACE,
    MAX_RULES_PER_WORKSPACE,
    LockState,
    Protection,
)
from tests.conftest import AA, BB, is_postgresql
from workspaces.models import AccessToken, Membership, User, Workspace

pytestmark = pytest.mark.both_databases


def refused(model: type[Any], **values: object) -> None:
    """Check that the database takes no such row. Where a text is too long, PostgreSQL says so
    by its type before any check."""
    before = model.objects.count()
    with pytest.raises((IntegrityError, DataError)), transaction.atomic():
        model.objects.create(**values)
    assert model.objects.count() == before


@pytest.fixture
def container_settings(acme: Workspace) -> ContainerSettings:
    return ContainerSettings.objects.create(workspace=acme, saved_by="alice")


def rule_values(settings: ContainerSettings, **changes: object) -> dict[str, object]:
    return {"settings": settings, "position": 1, "name": "Prod", "pattern": "^prod$", **changes}


def make_record(workspace: Workspace, name: str = "v1", repository: str = "acme/api") -> TagRecord:
    row, _ = TagRecord.objects.get_or_create(workspace=workspace, repository=repository, name=name)
    return row


def lock_values(workspace: Workspace, **changes: object) -> dict[str, object]:
    return {
        "record": changes.get("record") or make_record(workspace),
        "workspace": workspace,
        "repository": "acme/api",
        "tag": "v1",
        "state": "locked",
        "digest": AA,
        "settings_version": 1,
        "pushed_by": "dana",
        "pushed_by_kind": "registry",
        **changes,
    }


# Rules and exceptions.


@pytest.fixture(params=[Rule, TagException])
def model(request: pytest.FixtureRequest) -> Any:
    """Each of the lists of patterns: the same holds for both."""
    return request.param


def test_a_workspace_has_seven_places_for_each(
    container_settings: ContainerSettings, model: Any
) -> None:
    assert MAX_RULES_PER_WORKSPACE == MAX_EXCEPTIONS_PER_WORKSPACE == 7
    for position in range(1, 8):
        model.objects.create(
            **rule_values(container_settings, position=position, name=f"Rule {position}")
        )
    assert model.objects.count() == 7
    for position in (0, 8, 100):
        refused(model, **rule_values(container_settings, position=position, name="One more"))


def test_a_place_is_taken_once(container_settings: ContainerSettings, model: Any) -> None:
    model.objects.create(**rule_values(container_settings))
    refused(model, **rule_values(container_settings, name="Another"))


@pytest.mark.parametrize("name", ["Prod", "prod", "PROD"])
def test_a_name_is_taken_once_whatever_its_case(
    container_settings: ContainerSettings, model: Any, name: str
) -> None:
    model.objects.create(**rule_values(container_settings))
    refused(model, **rule_values(container_settings, position=2, name=name))


@pytest.mark.parametrize("name", ["", "n" * 65])
def test_a_name_has_1_to_64_characters(
    container_settings: ContainerSettings, model: Any, name: str
) -> None:
    refused(model, **rule_values(container_settings, name=name))


@pytest.mark.parametrize("pattern", ["", "p" * 101])
def test_a_pattern_has_1_to_100_characters(
    container_settings: ContainerSettings, model: Any, pattern: str
) -> None:
    refused(model, **rule_values(container_settings, pattern=pattern))


def test_the_longest_rule_is_kept_as_it_is(
    container_settings: ContainerSettings, model: Any
) -> None:
    name, pattern = "\U0001f600" * 64, " " + "é" * 98 + " "
    model.objects.create(**rule_values(container_settings, name=name, pattern=pattern))
    rule = model.objects.get()
    assert (rule.name, rule.pattern) == (name, pattern)


@pytest.mark.parametrize(
    "changes", [{"position": 8}, {"name": ""}, {"pattern": ""}, {"pattern": "p" * 101}]
)
def test_limits_hold_for_changes_too(
    container_settings: ContainerSettings, model: Any, changes: dict[str, Any]
) -> None:
    model.objects.create(**rule_values(container_settings))
    with pytest.raises((IntegrityError, DataError)), transaction.atomic():
        model.objects.update(**changes)


def test_another_workspace_has_places_and_names_of_its_own(
    container_settings: ContainerSettings, globex: Workspace, model: Any
) -> None:
    theirs = ContainerSettings.objects.create(workspace=globex, saved_by="mallory")
    model.objects.create(**rule_values(container_settings))
    model.objects.create(**rule_values(theirs))
    assert model.objects.count() == 2


def test_a_rule_and_an_exception_may_have_one_name(container_settings: ContainerSettings) -> None:
    Rule.objects.create(**rule_values(container_settings))
    TagException.objects.create(**rule_values(container_settings))


# Settings.


@pytest.mark.parametrize("protection", ["", "most", "ALL", "None"])
def test_there_is_no_other_protection(acme: Workspace, protection: str) -> None:
    refused(ContainerSettings, workspace=acme, protection=protection, saved_by="alice")


@pytest.mark.parametrize("protection", list(Protection))
def test_every_protection_can_be_stored(acme: Workspace, protection: Protection) -> None:
    ContainerSettings.objects.create(workspace=acme, protection=protection, saved_by="alice")


def test_a_workspace_has_one_row_of_settings(
    acme: Workspace, container_settings: ContainerSettings
) -> None:
    refused(ContainerSettings, workspace=acme, saved_by="bob")


# Locks.


@pytest.mark.parametrize(
    "changes", [{}, {"digest": BB}, {"state": "claimed"}, {"state": "reserved"}]
)
def test_a_record_has_one_lock(acme: Workspace, changes: dict[str, object]) -> None:
    values = lock_values(acme)
    LockedTag.objects.create(**values)
    refused(LockedTag, **{**values, **changes})


def test_a_tag_has_one_lock_whatever_its_record(acme: Workspace) -> None:
    LockedTag.objects.create(**lock_values(acme))
    refused(LockedTag, **lock_values(acme, record=make_record(acme, name="v2")))


@pytest.mark.parametrize(
    "changes", [{"tag": "v2"}, {"tag": "V1"}, {"repository": "acme/web"}], ids=str
)
def test_another_tag_has_a_lock_of_its_own(acme: Workspace, changes: dict[str, str]) -> None:
    LockedTag.objects.create(**lock_values(acme))
    names = {"tag": "v1", "repository": "acme/api", **changes}
    record = make_record(acme, name=names["tag"], repository=names["repository"])
    LockedTag.objects.create(**lock_values(acme, record=record, **changes))


def test_the_same_tag_of_another_workspace_has_a_lock_of_its_own(
    acme: Workspace, globex: Workspace
) -> None:
    LockedTag.objects.create(**lock_values(acme))
    LockedTag.objects.create(**lock_values(globex))


@pytest.mark.parametrize("state", ["", "open", "LOCKED", "suspend"])
def test_a_lock_is_in_no_other_state(acme: Workspace, state: str) -> None:
    refused(LockedTag, **lock_values(acme, state=state))


@pytest.mark.parametrize("state", list(LockState))
def test_a_lock_can_be_in_every_state(acme: Workspace, state: LockState) -> None:
    LockedTag.objects.create(**lock_values(acme, state=state))


@pytest.mark.parametrize("changes", [{"digest": ""}, {"tag": ""}])
def test_a_lock_names_a_tag_and_a_digest(acme: Workspace, changes: dict[str, object]) -> None:
    refused(LockedTag, **lock_values(acme, **changes))


def test_a_workspace_with_locks_cannot_be_deleted(acme: Workspace) -> None:
    LockedTag.objects.create(**lock_values(acme))
    with pytest.raises(IntegrityError), transaction.atomic():
        acme.delete()
    assert LockedTag.objects.exists()


def test_a_record_with_a_lock_cannot_be_deleted(acme: Workspace) -> None:
    row = LockedTag.objects.create(**lock_values(acme))
    with pytest.raises(IntegrityError), transaction.atomic():
        row.record.delete()


# What is known of the registry.


def test_a_tag_has_one_record(acme: Workspace, globex: Workspace) -> None:
    make_record(acme)
    make_record(globex)
    refused(TagRecord, workspace=acme, repository="acme/api", name="v1", digest=BB)


@pytest.mark.parametrize(
    "write",
    [
        {"write_id": UUID(int=1)},
        {"write_kind": "push"},
        {"write_id": UUID(int=1), "write_kind": "move"},
    ],
    ids=str,
)
def test_a_write_is_whole_or_not_there(acme: Workspace, write: dict[str, object]) -> None:
    refused(TagRecord, workspace=acme, repository="acme/api", name="v1", **write)


def test_manifests_and_what_they_list_are_known_once(acme: Workspace) -> None:
    for model, values in (
        (Manifest, {"digest": AA}),
        (ManifestReference, {"parent": AA, "child": BB}),
        (Repository, {"name": "acme/api"}),
    ):
        place = {} if model is Repository else {"repository": "acme/api"}
        row = {"workspace": acme, **place, **values}
        model.objects.create(**row)
        refused(model, **row)


# Claims and jobs.


def test_an_idempotency_key_stands_for_one_claim_of_its_caller(acme: Workspace) -> None:
    values = {
        "workspace": acme,
        "repository": "acme/api",
        "tags": ["v1"],
        "digest": AA,
        "actor": "mirror",
        "actor_kind": "token",
        "expires_at": timezone.now(),
    }
    for key in ("", "", "one", "two"):
        Claim.objects.create(id=uuid4(), **values, idempotency_key=key)
    Claim.objects.create(id=uuid4(), **{**values, "actor": "other"}, idempotency_key="one")
    refused(Claim, id=uuid4(), **values, idempotency_key="one")


def test_a_workspace_has_one_job_of_a_kind(acme: Workspace) -> None:
    Job.objects.get_or_create(workspace=acme, kind=Job.Kind.INVENTORY)
    refused(Job, workspace=acme, kind=Job.Kind.INVENTORY)


# The rest.


def test_a_person_is_in_a_workspace_once_and_in_a_role_that_there_is(
    acme: Workspace, bob: User
) -> None:
    refused(Membership, workspace=acme, user=bob, role="admin")
    refused(Membership, workspace=acme, user=User.objects.create_user("erin"), role="owner")


def test_an_access_token_has_a_name_of_its_own_whatever_its_case(acme: Workspace) -> None:
    AccessToken.objects.create(workspace=acme, name="CI", token_hash="0" * 64, scopes=[])
    refused(AccessToken, workspace=acme, name="ci", token_hash="1" * 64, scopes=[])
    refused(AccessToken, workspace=acme, name="Other", token_hash="0" * 64, scopes=[])


def test_the_limits_of_text_hold_on_postgresql_by_type(acme: Workspace) -> None:
    """SQLite takes text of any length; there the grammar, which every name passes, is the limit."""
    if is_postgresql():
        refused(LockedTag, **lock_values(acme, tag="t" * 129))
        refused(LockedTag, **lock_values(acme, digest="d" * 257))
        refused(LockedTag, **lock_values(acme, repository="r" * 256))

"""What an admin does to a lock: delete, free, release, drop."""

from collections.abc import Callable

import pytest
from django.db import DatabaseError

from containers.models import Tag as KnownTag
from immutability.actions.manage import (
    NameAfter,
    WrongStateError,
    delete_locked_tag,
    release_locked_tag,
)
from immutability.models import LockedTag
from immutability.protection import LockState, Outcome, Policy, Protection
from tests.conftest import AA, BB, SEMVER
from tests.immutability.actions.asking import (
    REPOSITORY,
    break_the_log,
    claim,
    every_row,
    lock_of,
    push,
    standing_lock,
    tag_event_kinds,
    tag_events,
)
from workspaces.access import Actor, ActorKind
from workspaces.models import Workspace

Protect = Callable[..., Policy]

ALICE = Actor("alice", ActorKind.PERSON)


@pytest.fixture
def lock(acme: Workspace, protect: Protect) -> LockedTag:
    """A tag that a rule of acme locks."""
    protect(acme, Protection.SOME, SEMVER)
    push(acme, "v1.2.0")
    return standing_lock(acme, "v1.2.0")


def put_in(lock: LockedTag, state: LockState) -> None:
    LockedTag.objects.filter(id=lock.id).update(state=state)


# Delete.


def test_a_deleted_tag_leaves_its_name_reserved(acme: Workspace, lock: LockedTag) -> None:
    left = delete_locked_tag(acme, lock.id, NameAfter.RESERVE, "leaked a secret", actor=ALICE)
    assert left is not None
    lock.refresh_from_db()
    assert (lock.state, lock.digest, lock.deleted_by) == ("reserved", AA, "alice")
    assert lock.deleted_at is not None
    event = tag_events(acme)[-1]
    assert (event.kind, event.repository, event.tag, event.digest) == (
        "tag.deleted",
        REPOSITORY,
        "v1.2.0",
        AA,
    )
    assert (event.actor, event.actor_kind, event.reason) == ("alice", "person", "leaked a secret")
    assert (event.rule_name, event.settings_version) == (SEMVER.name, 1)
    assert push(acme, "v1.2.0", digest=BB).outcome is Outcome.RESERVED


def test_a_deleted_tag_can_be_freed_at_once(acme: Workspace, lock: LockedTag) -> None:
    assert delete_locked_tag(acme, lock.id, NameAfter.FREE, "typo", actor=ALICE) is None
    assert lock_of(acme, "v1.2.0") is None
    assert tag_event_kinds(acme) == ["tag.locked", "tag.deleted", "lock.freed"]
    assert {event.reason for event in tag_events(acme)[1:]} == {"typo"}
    assert push(acme, "v1.2.0", digest=BB).outcome is Outcome.LOCKED_NOW


def test_a_reserved_name_can_be_freed_later(acme: Workspace, lock: LockedTag) -> None:
    delete_locked_tag(acme, lock.id, NameAfter.RESERVE, "", actor=ALICE)
    assert delete_locked_tag(acme, lock.id, NameAfter.FREE, "", actor=ALICE) is None
    assert tag_event_kinds(acme) == ["tag.locked", "tag.deleted", "lock.freed"]
    assert push(acme, "v1.2.0", digest=BB).outcome is Outcome.LOCKED_NOW


def test_a_deleted_tag_is_not_adopted_from_what_was_known_of_it(
    acme: Workspace, lock: LockedTag
) -> None:
    KnownTag.objects.create(workspace=acme, repository=REPOSITORY, name="v1.2.0", digest=AA)
    delete_locked_tag(acme, lock.id, NameAfter.FREE, "", actor=ALICE)
    assert push(acme, "v1.2.0", digest=BB).outcome is Outcome.LOCKED_NOW


def test_a_released_tag_can_be_deleted(acme: Workspace, lock: LockedTag) -> None:
    release_locked_tag(acme, lock.id, "", actor=ALICE)
    delete_locked_tag(acme, lock.id, NameAfter.RESERVE, "", actor=ALICE)
    assert standing_lock(acme, "v1.2.0").state == "reserved"


def test_a_suspended_lock_can_be_deleted(
    acme: Workspace, lock: LockedTag, protect: Protect
) -> None:
    protect(acme, Protection.NONE)
    delete_locked_tag(acme, lock.id, NameAfter.RESERVE, "", actor=ALICE)
    protect(acme, Protection.ALL)
    assert push(acme, "v1.2.0", digest=BB).outcome is Outcome.RESERVED


def test_a_reserved_name_is_not_reserved_again(acme: Workspace, lock: LockedTag) -> None:
    delete_locked_tag(acme, lock.id, NameAfter.RESERVE, "", actor=ALICE)
    before = every_row()
    with pytest.raises(WrongStateError) as caught:
        delete_locked_tag(acme, lock.id, NameAfter.RESERVE, "", actor=ALICE)
    assert str(caught.value) == "The tag is deleted already, and its name is reserved. Free it?"
    assert every_row() == before


@pytest.mark.parametrize("name_after", list(NameAfter))
def test_a_tag_that_is_being_deleted_is_left_alone(
    acme: Workspace, lock: LockedTag, name_after: NameAfter
) -> None:
    put_in(lock, LockState.DELETING)
    before = every_row()
    with pytest.raises(WrongStateError) as caught:
        delete_locked_tag(acme, lock.id, name_after, "", actor=ALICE)
    assert str(caught.value) == ("The tag is being deleted at this moment. Look again in a minute.")
    assert every_row() == before


@pytest.mark.parametrize("name_after", list(NameAfter))
def test_deleting_a_claim_drops_it(
    acme: Workspace, protect: Protect, name_after: NameAfter
) -> None:
    protect(acme, Protection.ALL)
    claim(acme, "v1")
    assert (
        delete_locked_tag(acme, standing_lock(acme, "v1").id, name_after, "", actor=ALICE) is None
    )
    assert lock_of(acme, "v1") is None
    assert tag_event_kinds(acme) == ["claim.dropped"]


# Release.


def test_a_released_tag_takes_one_more_push_of_any_image(acme: Workspace, lock: LockedTag) -> None:
    released = release_locked_tag(acme, lock.id, "rebuild after the incident", actor=ALICE)
    assert (released.state, released.digest) == ("released", AA)
    assert standing_lock(acme, "v1.2.0").state == "released"
    event = tag_events(acme)[-1]
    assert (event.kind, event.digest, event.actor, event.reason) == (
        "lock.released",
        AA,
        "alice",
        "rebuild after the incident",
    )
    assert push(acme, "v1.2.0", digest=BB).outcome is Outcome.LOCKED_NOW
    assert push(acme, "v1.2.0", digest=AA).outcome is Outcome.LOCKED


@pytest.mark.parametrize("state", [state for state in LockState if state != LockState.LOCKED])
def test_only_a_locked_tag_can_be_released(
    acme: Workspace, lock: LockedTag, state: LockState
) -> None:
    put_in(lock, state)
    before = every_row()
    with pytest.raises(WrongStateError) as caught:
        release_locked_tag(acme, lock.id, "", actor=ALICE)
    assert str(caught.value) == f"Only a locked tag can be released; this one is {state}."
    assert every_row() == before


# Whose lock it is.


def test_a_lock_of_another_workspace_does_not_exist(
    acme: Workspace, globex: Workspace, lock: LockedTag
) -> None:
    before = every_row()
    with pytest.raises(LockedTag.DoesNotExist):
        delete_locked_tag(globex, lock.id, NameAfter.FREE, "", actor=ALICE)
    with pytest.raises(LockedTag.DoesNotExist):
        release_locked_tag(globex, lock.id, "", actor=ALICE)
    assert every_row() == before


# The record.


@pytest.mark.parametrize("name_after", list(NameAfter))
def test_a_delete_that_cannot_be_recorded_does_not_happen(
    acme: Workspace,
    lock: LockedTag,
    monkeypatch: pytest.MonkeyPatch,
    name_after: NameAfter,
) -> None:
    before = every_row()

    break_the_log(monkeypatch)
    with pytest.raises(DatabaseError, match="disk full"):
        delete_locked_tag(acme, lock.id, name_after, "", actor=ALICE)
    with pytest.raises(DatabaseError, match="disk full"):
        release_locked_tag(acme, lock.id, "", actor=ALICE)
    assert every_row() == before


def test_a_drop_that_cannot_be_recorded_does_not_happen(
    acme: Workspace, protect: Protect, monkeypatch: pytest.MonkeyPatch
) -> None:
    protect(acme, Protection.ALL)
    claim(acme, "v1")
    before = every_row()

    break_the_log(monkeypatch)
    with pytest.raises(DatabaseError, match="disk full"):
        delete_locked_tag(acme, standing_lock(acme, "v1").id, NameAfter.FREE, "", actor=ALICE)
    assert every_row() == before

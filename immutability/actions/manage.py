"""What an admin does to a lock: delete the tag, free its name, release it, drop a claim."""

from enum import StrEnum

from django.db import transaction
from django.db.models.functions import Now

from containers.known_tags import forget_tags
from containers.reference import Repository, Tag
from containers.registry.client import RegistryClient
from immutability.actions.attempts import QUARANTINE
from immutability.actions.claims import drop_claim, open_attempts
from immutability.actions.remove import (
    CannotRemoveError,
    remove_from_registry,
    require_absent,
    require_no_write,
)
from immutability.actions.resolve import REQUEST_SECONDS, resolve_attempts
from immutability.models import Attempt, LockedTag
from immutability.protection import LockState
from workspaces.access import Actor
from workspaces.log.append import append_event
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace


class NameAfter(StrEnum):
    """What becomes of a deleted tag's name."""

    RESERVE = "reserve"
    FREE = "free"


class WrongStateError(Exception):
    """The lock is in a state in which this cannot be done. The message says what can."""


def delete_locked_tag(
    workspace: Workspace,
    lock_id: int,
    name_after: NameAfter,
    reason: str,
    *,
    actor: Actor,
    expected_state: str = "",
    registry: RegistryClient | None = None,
) -> LockedTag | None:
    """Delete a locked tag, free a reserved name, or drop a claim; return the lock that is left.

    RESERVE keeps the name for the same image, FREE gives it up. `expected_state` is the one that
    somebody was shown, where it matters. With a `registry`, the tag is deleted there, and a name is
    freed only when it is gone there. Raises LockedTag.DoesNotExist; WrongStateError where the
    lock's state, or the registry, allows neither; UndecidedError where the registry does not say.
    """
    row = LockedTag.objects.get(workspace=workspace, id=lock_id)
    _require_state(row, expected_state)
    if registry is not None:
        if row.state == LockState.RESERVED:
            resolve_attempts(registry, open_attempts(row), REQUEST_SECONDS)
        try:
            if row.state in (LockState.LOCKED, LockState.RELEASED):
                remove_from_registry(row, workspace, reason, registry, actor=actor)
                row.refresh_from_db()
                if name_after is NameAfter.RESERVE:
                    return row
            elif row.state == LockState.RESERVED and name_after is NameAfter.FREE:
                require_absent(row, workspace, registry)
        except CannotRemoveError as error:
            raise WrongStateError(str(error)) from error
    return _delete_lock(workspace, lock_id, name_after, reason, row.state, actor)


@transaction.atomic
def _delete_lock(
    workspace: Workspace,
    lock_id: int,
    name_after: NameAfter,
    reason: str,
    expected_state: str,
    actor: Actor,
) -> LockedTag | None:
    row = _take(workspace, lock_id)
    _require_state(row, expected_state)
    if row.state == LockState.DELETING:
        raise WrongStateError("The tag is being deleted at this moment. Look again in a minute.")
    if row.state == LockState.CLAIMED:
        sent = open_attempts(row).exclude(kind=Attempt.Kind.ANNOUNCED)
        if sent.filter(opened_at__gt=Now() - QUARANTINE).exists():
            raise WrongStateError(
                "A push of this tag is on its way to the registry, and its end is not known yet. "
                "Taglock sends it again until it knows; after 15 minutes you can drop it."
            )
        drop_claim(row, reason, actor=actor)
        return LockedTag.objects.filter(id=lock_id).first()
    require_no_write(row)
    if row.state == LockState.RESERVED and name_after is NameAfter.RESERVE:
        raise WrongStateError("The tag is deleted already, and its name is reserved. Free it?")
    if row.state != LockState.RESERVED:
        row.state = LockState.RESERVED
        row.deleted_by, row.deleted_at = actor.shown_name, Now()
        row.save(update_fields=["state", "deleted_by", "deleted_at"])
        row.refresh_from_db(fields=["deleted_at"])
        _record(EventKind.TAG_DELETED, row, workspace, reason, actor)
        forget_tags(workspace, Repository(row.repository), [Tag(row.tag)])
    if name_after is NameAfter.RESERVE:
        return row
    _record(EventKind.LOCK_FREED, row, workspace, reason, actor)
    row.delete()
    return None


def _require_state(row: LockedTag, expected: str) -> None:
    if expected and row.state != expected:
        raise WrongStateError(f"This lock is {row.state} by now; nothing was changed.")


@transaction.atomic
def release_locked_tag(
    workspace: Workspace, lock_id: int, reason: str, *, actor: Actor
) -> LockedTag:
    """Let a locked tag be pushed once more, with any image, which it is then locked to.

    Raises LockedTag.DoesNotExist, and WrongStateError where the tag is not locked.
    """
    row = _take(workspace, lock_id)
    if row.state != LockState.LOCKED:
        raise WrongStateError(f"Only a locked tag can be released; this one is {row.state}.")
    row.state = LockState.RELEASED
    row.save(update_fields=["state"])
    _record(EventKind.LOCK_RELEASED, row, workspace, reason, actor)
    return row


def _take(workspace: Workspace, lock_id: int) -> LockedTag:
    return (
        LockedTag.objects.select_for_update(of=("self",))
        .select_related("workspace")
        .get(workspace=workspace, id=lock_id)
    )


def _record(
    kind: EventKind, row: LockedTag, workspace: Workspace, reason: str, actor: Actor
) -> None:
    append_event(
        row.to_event(kind, workspace.slug, reason=reason),
        actor=actor,
    )

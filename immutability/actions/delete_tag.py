"""Delete a locked tag; afterwards its name is reserved for the same image, or free."""

from dataclasses import dataclass, replace
from enum import StrEnum

from django.db import transaction
from django.db.models import QuerySet

from containers import writes
from containers.models import Tag as TagRecord
from containers.names import Digest, RepositoryName, TagName
from containers.registry.client import RegistryClient
from immutability import locks
from immutability.actions.drop import drop_claim
from immutability.actions.free import free_name
from immutability.actions.hold import (
    HeldLock,
    LockChange,
    change_lock,
    find_lock,
    refuse_state,
    to_error,
)
from immutability.answers import Refusal
from immutability.delete.gate import ManifestDelete, delete_manifest
from immutability.errors import ConflictError, TryAgainError
from immutability.models import LockedTag
from immutability.patience import WaitSlots
from immutability.policy.protection import LockState, cover
from immutability.reading import read_policy
from workspaces.access import Actor
from workspaces.models import Workspace

# Of the site's threads, so many may wait for another write of the tag.
MAX_WAITING_DELETES = 2
_SLOTS = WaitSlots(MAX_WAITING_DELETES)

_NOT_COVERED = (
    "The settings do not cover this tag, so its name cannot be reserved. Delete it and free the "
    "name; nothing was changed."
)


class NameAfter(StrEnum):
    """What happens to a deleted tag's name."""

    RESERVE = "reserve"
    FREE = "free"


def delete_locked_tag(
    change: LockChange, name_after: NameAfter, registry: RegistryClient | None
) -> LockedTag | None:
    """Delete a locked tag, free a reserved name, or drop a claim; return the lock that is left.

    With a registry the tag is deleted there; without one the admin does that. A suspended lock ends
    with its tag. Raises LockedTag.DoesNotExist, PermissionRevokedError, ConflictError if the
    lock's state or the registry does not allow it, and TryAgainError if something else has to
    end first, or the registry gives no answer.
    """
    row = find_lock(change)
    change.require_expected(row)
    if row.record.write_is_external and row.state != LockState.CLAIMED:
        # A two-phase check of the locked image whose caller never said how it ended.
        _drop(change)
    match LockState(row.state):
        case LockState.CLAIMED if row.record.write_is_external:
            return _drop(change)
        case LockState.CLAIMED:
            return change_lock(change, lambda held: refuse_state(held.row), registry)
        case LockState.RESERVED if name_after is NameAfter.RESERVE:
            raise ConflictError("The tag is deleted and its name is reserved. Free the name?")
        case LockState.RESERVED:
            free_name(change, registry)
            return None
    if registry is None:
        return change_lock(change, lambda held: _reserve(held, change, name_after), None)
    _delete_in_registry(change, row, name_after, registry)
    left = LockedTag.objects.filter(id=change.lock_id).first()
    if left is not None and name_after is NameAfter.FREE:
        _free_deleted(change, registry)
        return None
    return left


@dataclass(frozen=True)
class UnlockedTag:
    """A tag without a lock, as an admin was shown it."""

    workspace: Workspace
    repository: RepositoryName
    tag: TagName
    digest: Digest
    is_covered: bool

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"


def delete_unlocked_tag(
    shown: UnlockedTag, reason: str, registry: RegistryClient | None, *, actor: Actor
) -> LockedTag | None:
    """Delete a tag that has no lock; return the lock that is left.

    A covered tag counts as locked: its name stays reserved, and the reason is recorded. Raises
    PermissionRevokedError, ConflictError where the tag is not what the admin was shown or the
    registry does not allow it, and TryAgainError.
    """
    if registry is None:
        raise ConflictError("No registry is connected, so Taglock cannot delete a tag in it.")

    def confirm() -> None:
        LockChange(shown.workspace, 0, reason, actor).confirm()
        _require_shown(shown)

    delete = ManifestDelete(
        shown.workspace,
        shown.repository,
        shown.tag,
        is_admin=shown.is_covered,
        reason=reason,
        confirm=confirm,
    )
    answer = delete_manifest(delete, registry, _SLOTS, actor=actor)
    if isinstance(answer, Refusal):
        raise to_error(answer)
    if not (answer.is_success or answer.is_absent):
        raise ConflictError(f"{shown} was not deleted: {answer.reason}.")
    return _find_locks(shown).first()


def _require_shown(shown: UnlockedTag) -> None:
    """Raise ConflictError if the tag, which is held, is not what the admin was shown."""
    is_covered = cover(read_policy(shown.workspace), shown.tag).is_covered
    if is_covered and not shown.is_covered:
        raise ConflictError(f"{shown} is protected now; nothing was changed.")
    if shown.is_covered and not is_covered:
        raise ConflictError(f"{shown} is no longer protected; nothing was changed.")
    digest = TagRecord.objects.values_list("digest", flat=True).get(
        workspace=shown.workspace, repository=shown.repository.name, name=shown.tag.name
    )
    if digest != shown.digest.value:
        raise ConflictError(f"{shown} has changed in the meantime; nothing was changed.")
    lock = _find_locks(shown).first()
    # What covers the tag may have locked it in the meantime, to the image that was shown.
    if lock is not None and not (is_covered and lock.digest == shown.digest.value):
        refuse_state(lock)


def _find_locks(shown: UnlockedTag) -> QuerySet[LockedTag]:
    return LockedTag.objects.filter(
        workspace=shown.workspace, repository=shown.repository.name, tag=shown.tag.name
    )


def _drop(change: LockChange) -> LockedTag | None:
    """Drop the claim of a two-phase check, if the admin is one still when its tags are held."""
    with transaction.atomic():
        drop_claim(change.workspace, change.lock_id, change.reason, actor=change.actor)
        change.confirm()
    return LockedTag.objects.filter(id=change.lock_id).first()


def _reserve(held: HeldLock, change: LockChange, name_after: NameAfter) -> LockedTag | None:
    """Without a registry: say that the tag is deleted, since Taglock cannot do it."""
    row, record = held.row, held.record
    _require_deletable(row, name_after, is_covered=cover(held.policy, TagName(row.tag)).is_covered)
    locks.begin_deleting(row, change.reason, held.now, actor=change.actor)
    locks.reserve(row, origin=change.actor.origin)
    writes.set_shown(record, "", held.now)
    writes.save_record(record, held.now)
    if name_after is NameAfter.RESERVE:
        return row
    locks.free(row, change.reason, actor=change.actor)
    return None


def _delete_in_registry(
    change: LockChange, row: LockedTag, name_after: NameAfter, registry: RegistryClient
) -> None:
    """Delete the tag as the gate does for an admin. Raises ConflictError or TryAgainError."""
    delete = ManifestDelete(
        change.workspace,
        RepositoryName(row.repository),
        TagName(row.tag),
        is_admin=True,
        reason=change.reason,
        confirm=_Confirm(change, row, name_after),
    )
    answer = delete_manifest(delete, registry, _SLOTS, actor=change.actor)
    if isinstance(answer, Refusal):
        if answer.status == 404 and not LockedTag.objects.filter(id=row.id).exists():
            return
        raise to_error(answer)
    if not (answer.is_success or answer.is_absent):
        raise ConflictError(f"{row.repository}:{row.tag} was not deleted: {answer.reason}.")


@dataclass
class _Confirm:
    """Asked in each hold of a delete: are the admin and the lock still what they were?"""

    change: LockChange
    row: LockedTag
    name_after: NameAfter
    was_suspended: bool = False

    def __call__(self) -> None:
        """Raise PermissionRevokedError, LockedTag.DoesNotExist or ConflictError."""
        self.change.confirm()
        try:
            row = find_lock(self.change)
        except LockedTag.DoesNotExist:
            # A suspended lock ends as its tag's delete begins; that may be sent a second time.
            if self.was_suspended and not self._has_other_lock():
                return
            raise
        if row.state in (LockState.CLAIMED, LockState.DELETING):
            # That has to end first: the delete waits for it.
            return
        self.change.require_expected(row)
        is_covered = cover(read_policy(self.change.workspace), TagName(row.tag)).is_covered
        _require_deletable(row, self.name_after, is_covered=is_covered)
        self.was_suspended = not is_covered

    def _has_other_lock(self) -> bool:
        return LockedTag.objects.filter(record=self.row.record_id).exists()


def _require_deletable(row: LockedTag, name_after: NameAfter, *, is_covered: bool) -> None:
    """Raise ConflictError if the lock cannot be deleted, or the name cannot be reserved."""
    if row.state not in (LockState.LOCKED, LockState.RELEASED):
        refuse_state(row)
    if name_after is NameAfter.RESERVE and not is_covered:
        raise ConflictError(_NOT_COVERED)


def _free_deleted(change: LockChange, registry: RegistryClient) -> None:
    """Free the name that the delete has reserved. Where that fails, say what has happened."""
    try:
        free_name(replace(change, expected_state=LockState.RESERVED), registry)
    except (TryAgainError, ConflictError) as error:
        raise ConflictError(
            f"The tag is deleted and its name is reserved, but it was not freed: {error}"
        ) from error

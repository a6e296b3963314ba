"""Free a reserved name: the next push may bring any image under it."""

from containers import writes
from containers.models import Tag as TagRecord
from containers.names import Digest, RepositoryName, TagName
from containers.registry.client import RegistryClient
from immutability import locks
from immutability.actions.hold import (
    HeldLock,
    LockChange,
    change_lock,
    find_lock,
    refuse_state,
)
from immutability.errors import ConflictError, TryAgainError
from immutability.look import TakenLook, look_at_tag
from immutability.models import LockedTag
from immutability.policy.protection import LockState

# How often the registry is looked at again because the tag's record has changed in the meantime.
_MAX_LOOKS = 3


class _StaleLookError(TryAgainError):
    """The record has changed since the look, so it does not count."""


def free_name(change: LockChange, registry: RegistryClient | None) -> None:
    """Free a reserved name, if the registry does not have the tag.

    Raises what `change_lock` raises, and ConflictError if the name is not reserved, or the
    registry has the tag.
    """
    for _ in range(_MAX_LOOKS - 1):
        try:
            return _look_and_free(change, registry)
        except _StaleLookError:
            continue
    return _look_and_free(change, registry)


def _look_and_free(change: LockChange, registry: RegistryClient | None) -> None:
    look = _look(find_lock(change), registry) if registry is not None else None
    change_lock(change, lambda held: _free(held, change, look), registry)


def _look(row: LockedTag, registry: RegistryClient) -> TakenLook:
    """Look at the tag; the look counts while its record keeps the revision from before it."""
    revision = TagRecord.objects.values_list("revision", flat=True).get(id=row.record_id)
    return TakenLook(
        look_at_tag(row.workspace, RepositoryName(row.repository), TagName(row.tag), registry),
        revision,
    )


def _free(held: HeldLock, change: LockChange, look: TakenLook | None) -> None:
    row, record = held.row, held.record
    if row.state != LockState.RESERVED:
        refuse_state(row, "Only a reserved name can be freed. ")
    if look is not None:
        if look.revision != record.revision:
            raise _StaleLookError("the tag changed while Taglock looked at it. Try again.")
        if look.look.digest is not None:
            raise _still_there(row, look.look.digest)
    writes.set_shown(record, "", held.now, look.look.unreadable_since if look else None)
    writes.save_record(record, held.now)
    locks.free(row, change.reason, actor=change.actor)


def _still_there(row: LockedTag, shown: Digest) -> ConflictError:
    return ConflictError(
        f"The registry still has {row.repository}:{row.tag}, at {shown.short}, so its name was "
        "not freed. Delete the tag in the registry first, then free the name."
    )

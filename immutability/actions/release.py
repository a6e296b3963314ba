"""Release a locked tag: its next push may bring any image."""

from containers import writes
from containers.names import Digest
from containers.registry.client import RegistryClient
from immutability import locks
from immutability.actions.hold import HeldLock, LockChange, change_lock, refuse_state
from immutability.models import LockedTag
from immutability.policy.protection import LockState


def release_locked_tag(change: LockChange, registry: RegistryClient | None) -> LockedTag | None:
    """Let a locked tag be pushed once more, with any image; return the lock, or None.

    A tag that a check locked, and that the registry was never seen to have, is released from what
    the registry has. If that is nothing, there is no lock left and the name is free. Raises what
    `change_lock` raises, and ConflictError if the tag is not locked.
    """

    def release(held: HeldLock) -> LockedTag | None:
        row, record = held.row, held.record
        if row.state != LockState.LOCKED:
            refuse_state(row, "Only a locked tag can be released. ")
        shown = _shown(held, registry)
        if shown != row.digest and held.stray is not None:
            held.wait(held.stray)
        writes.save_record(record, held.now)
        if not shown:
            locks.free(row, change.reason, actor=change.actor)
            return None
        locks.release(row, record, Digest(shown), change.reason, actor=change.actor)
        return row

    return change_lock(change, release, registry)


def _shown(held: HeldLock, registry: RegistryClient | None) -> str:
    """Return what the registry has; without one, what was allowed counts as there."""
    return held.row.digest if registry is None else held.record.digest

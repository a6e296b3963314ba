"""Hold a lock for an admin: what release, free and delete look at before they change anything."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn, TypeVar

from django.core.exceptions import PermissionDenied
from django.db import transaction

from containers import writes
from containers.models import Tag as TagRecord
from containers.names import Digest, RepositoryName, TagName
from containers.registry.client import RegistryClient
from immutability.answers import Refusal
from immutability.errors import ConflictError, PermissionRevokedError, TryAgainError
from immutability.models import LockedTag
from immutability.policy.decisions import Stray
from immutability.policy.protection import LockState, Policy
from immutability.reading import read_policy_and_time, record_facts
from immutability.reconcile.tag import reconcile_record
from immutability.refuse import relay_wait
from workspaces.access import Actor
from workspaces.authorization import require_admin
from workspaces.models import Workspace

Changed = TypeVar("Changed")


@dataclass(frozen=True)
class LockChange:
    """What an admin wants done to a lock, and why.

    `expected_state` and `expected_digest` are what the admin was shown, where it matters.
    """

    workspace: Workspace
    lock_id: int
    reason: str
    actor: Actor
    expected_state: str = ""
    expected_digest: str = ""

    def confirm(self) -> None:
        """Raise PermissionRevokedError if the actor is no longer an admin."""
        try:
            require_admin(self.workspace, self.actor)
        except PermissionDenied as error:
            raise PermissionRevokedError(str(error)) from error

    def require_expected(self, row: LockedTag) -> None:
        """Raise ConflictError if the lock is not what the admin was shown."""
        if self.expected_state and row.state != self.expected_state:
            refuse_state(row)
        if self.expected_digest and row.digest != self.expected_digest:
            now = Digest(row.digest).short
            raise ConflictError(f"This lock is now for another image, {now}; nothing was changed.")


@dataclass
class HeldLock:
    """A lock and its record, both held, and what else decides."""

    record: TagRecord
    row: LockedTag
    policy: Policy
    now: datetime

    @property
    def stray(self) -> Stray | None:
        """The write of this tag that got no answer and may still land."""
        return record_facts(self.record).stray

    def require_settled(self) -> None:
        """Raise TryAgainError if a write, a claim, a delete or another image's stray is open."""
        stray = self.stray
        is_foreign = stray is not None and stray.digest != Digest(self.row.digest)
        if self.record.write_id is not None or self.row.state in (
            LockState.CLAIMED,
            LockState.DELETING,
        ):
            self.wait(None)
        if is_foreign:
            self.wait(stray)

    def wait(self, stray: Stray | None) -> NoReturn:
        """Raise TryAgainError: what has to end first, and how long that takes at most."""
        repository, tag = RepositoryName(self.row.repository), TagName(self.row.tag)
        raise to_error(relay_wait(repository, tag, self.row, stray, self.now))


def change_lock(
    change: LockChange, apply: Callable[[HeldLock], Changed], registry: RegistryClient | None
) -> Changed:
    """Hold a lock and let `apply` change it, in one transaction.

    What others left behind on the tag is finished first, if that is possible. Raises
    LockedTag.DoesNotExist, PermissionRevokedError, ConflictError where the lock is in another state
    than was expected, and TryAgainError where something else has to end first.
    """
    try:
        return _hold(change, apply)
    except TryAgainError:
        if not reconcile_record(find_lock(change).record_id, registry):
            raise
    return _hold(change, apply)


def find_lock(change: LockChange) -> LockedTag:
    """Return the lock as it is now, not held. Raises LockedTag.DoesNotExist."""
    return LockedTag.objects.select_related("workspace", "record").get(
        workspace=change.workspace, id=change.lock_id
    )


@transaction.atomic
def _hold(change: LockChange, apply: Callable[[HeldLock], Changed]) -> Changed:
    record = writes.lock_record(find_lock(change).record_id)
    policy, now = read_policy_and_time(change.workspace)
    change.confirm()
    row = find_lock(change)
    change.require_expected(row)
    writes.expire_write(record, now)
    held = HeldLock(record, row, policy, now)
    held.require_settled()
    return apply(held)


def refuse_state(row: LockedTag, why: str = "") -> NoReturn:
    """Raise ConflictError: the lock's state does not allow what was asked."""
    raise ConflictError(f"{why}This lock is now {row.state}; nothing was changed.")


def to_error(refusal: Refusal) -> TryAgainError | ConflictError:
    """Return a refusal of the gate as an error: of a page or of the API it is the same sentence."""
    message = refusal.body["errors"][0]["message"]
    if "Retry-After" in refusal.headers:
        return TryAgainError(message, int(refusal.headers["Retry-After"]))
    return ConflictError(message)

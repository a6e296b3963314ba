"""What admins do about a locked tag that differs from the registry: look again, or put it back."""

from django.core.exceptions import PermissionDenied

from containers.registry.client import RegistryClient
from immutability.drift import MOVED
from immutability.errors import ConflictError, PermissionRevokedError
from immutability.models import Drift, LockedTag
from immutability.reconcile.drift import check_lock
from immutability.reconcile.repair import repair
from workspaces.access import Actor
from workspaces.authorization import require_admin


def put_back(found: Drift, registry: RegistryClient, *, actor: Actor) -> None:
    """Point a tag that was changed past Taglock at its locked image again.

    Raises ConflictError if the registry does not take that or has the image no more, TryAgainError
    if something else has to end first or the registry gives no answer, and PermissionRevokedError.
    """

    def confirm() -> None:
        try:
            require_admin(found.workspace, actor)
        except PermissionDenied as error:
            raise PermissionRevokedError(str(error)) from error

    if found.kind not in MOVED:
        raise ConflictError("This tag cannot be put back; nothing was changed.")
    if why := repair(found, registry, actor=actor, confirm=confirm):
        raise ConflictError(f"The tag was not put back: {why}.")


def look_again(found: Drift, registry: RegistryClient) -> str:
    """Compare a lock with the registry now; return what differs, or "" if nothing does.

    Raises TryAgainError if the registry gives no answer.
    """
    lock = LockedTag.objects.filter(record=found.record_id).values_list("id", flat=True).first()
    return check_lock(lock, registry).what if lock is not None else ""

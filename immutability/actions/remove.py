"""An admin's delete of a locked tag, carried out in the registry behind the gate."""

from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from containers.reference import Repository, Tag
from containers.registry.client import RegistryClient
from immutability.actions.attempts import ATTEMPT_LEASE
from immutability.actions.delete_manifest import send_delete
from immutability.actions.look import look
from immutability.actions.read import UndecidedError
from immutability.models import Attempt, AttemptTag, LockedTag
from immutability.protection import LockState
from workspaces.access import Actor
from workspaces.models import Workspace

# Statuses by which a registry says that it cannot delete a single tag.
_UNSUPPORTED = (400, 405)
# Longer than a delete can be on its way without an attempt that says so.
_STRANDED_AFTER = timedelta(minutes=5)


class CannotRemoveError(Exception):
    """The registry does not delete the tag. The message says why, and what can be done."""


def remove_from_registry(
    row: LockedTag, workspace: Workspace, reason: str, registry: RegistryClient, *, actor: Actor
) -> None:
    """Delete the locked tag in the registry; its lock is reserved afterwards, with the event.

    Pushes of the tag wait meanwhile. Raises CannotRemoveError where the registry refuses, which
    leaves the lock as it was, and UndecidedError where it gives no definite answer: the delete is
    then sent again until it does.
    """
    attempt = _announce(row, workspace, reason, actor)
    tag = Tag(row.tag)
    answer = send_delete(attempt, tag, registry, actor)
    if answer.is_success or answer.is_absent:
        return
    _restore(LockedTag.objects.filter(id=row.id, state=LockState.DELETING))
    if answer.status in _UNSUPPORTED:
        raise CannotRemoveError(
            "This registry cannot delete a single tag, so nothing was changed. Release the tag: "
            "then one push may replace it."
        )
    raise CannotRemoveError(f"The registry refused the delete ({answer.status}).")


def require_absent(row: LockedTag, workspace: Workspace, registry: RegistryClient) -> None:
    """Raise CannotRemoveError where the registry has the tag still: its name is not free then.

    Raises UndecidedError where the registry does not say.
    """
    if look(workspace, Repository(row.repository), Tag(row.tag), registry) is not None:
        raise CannotRemoveError(
            "The registry has this tag still, so its name cannot be freed: the next push would be "
            "refused all the same. Delete the tag there first."
        )


def restore_stranded_deletes() -> int:
    """Give back the locks whose delete was begun and is on its way no more; return how many."""
    on_its_way = AttemptTag.objects.filter(
        workspace=OuterRef("workspace"),
        repository=OuterRef("repository"),
        tag=OuterRef("tag"),
        attempt__kind=Attempt.Kind.DELETE,
        attempt__outcome=Attempt.Outcome.OPEN,
    )
    stranded = LockedTag.objects.filter(
        ~Exists(on_its_way),
        state=LockState.DELETING,
        deleted_at__lt=timezone.now() - _STRANDED_AFTER,
    )
    return _restore(stranded)


def _announce(row: LockedTag, workspace: Workspace, reason: str, actor: Actor) -> Attempt:
    """Say that the tag is being deleted, and commit the delete that is about to leave."""
    with transaction.atomic():
        is_unchanged = LockedTag.objects.filter(
            id=row.id, state=row.state, digest=row.digest
        ).update(
            state=LockState.DELETING,
            replaced_state=row.state,
            deleted_by=actor.name,
            deleted_at=timezone.now(),
        )
        if not is_unchanged:
            raise UndecidedError("somebody else has changed the lock meanwhile")
        attempt = Attempt.objects.create(
            workspace=workspace,
            kind=Attempt.Kind.DELETE,
            repository=row.repository,
            settings_version=row.settings_version,
            reason=reason,
            is_sent=True,
            actor=actor.name,
            actor_kind=actor.kind,
            expires_at=Now() + ATTEMPT_LEASE,
        )
        AttemptTag.objects.create(
            workspace=workspace, attempt=attempt, repository=row.repository, tag=row.tag
        )
    return attempt


def _restore(rows: QuerySet[LockedTag]) -> int:
    return rows.update(state=F("replaced_state"), replaced_state="", deleted_by="", deleted_at=None)

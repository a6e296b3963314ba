"""An admin's delete of a locked tag, carried out in the registry behind the gate."""

from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from containers.inventory import find_ancestors
from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryClient, RegistryUnavailableError
from immutability.actions.adopt import MAX_TAGS_LOOKED_AT
from immutability.actions.attempts import ATTEMPT_LEASE
from immutability.actions.claims import abandon_claim
from immutability.actions.delete_manifest import learn_lists, send_delete
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
    with transaction.atomic():
        _begin(row, actor)
        attempt = _announce(row, workspace, reason, actor)
    tag = Tag(row.tag)
    answer = send_delete(attempt, tag, registry, actor)
    if answer.is_success or answer.is_absent:
        return
    try:
        if answer.status not in _UNSUPPORTED:
            raise CannotRemoveError(f"The registry refused the delete ({answer.status}).")
        _remove_by_digest(row, workspace, reason, registry, actor)
    except (CannotRemoveError, UndecidedError) as error:
        if isinstance(error, UndecidedError) and _is_on_its_way(row):
            raise
        _restore(LockedTag.objects.filter(id=row.id, state=LockState.DELETING))
        raise


def _remove_by_digest(
    row: LockedTag, workspace: Workspace, reason: str, registry: RegistryClient, actor: Actor
) -> None:
    """Delete the image, where the registry cannot delete a tag and nothing else is lost with it."""
    digest = Digest(row.digest)
    attempt = _announce(row, workspace, reason, actor, digest)
    try:
        # Announced first, looked at second: a push that needs the image meets the announcement.
        _require_nothing_else(row, workspace, attempt, registry)
        _mark_sent(attempt)
    except Exception:
        abandon_claim(attempt, is_unsent=True)
        raise
    answer = send_delete(attempt, digest, registry, actor)
    if not (answer.is_success or answer.is_absent):
        raise CannotRemoveError(f"The registry refused the delete ({answer.status}).")


def _require_nothing_else(
    row: LockedTag, workspace: Workspace, mine: Attempt, registry: RegistryClient
) -> None:
    """Raise CannotRemoveError where another tag, or a locked index, needs the tag's image."""
    repository = Repository(row.repository)
    held = LockedTag.objects.filter(workspace=workspace, repository=repository.name).exclude(
        state=LockState.RESERVED
    )
    learn_lists(
        workspace,
        repository,
        {Digest(value) for value in held.values_list("digest", flat=True)},
        registry,
    )
    ancestors = find_ancestors(workspace, repository, Digest(row.digest))
    is_listed = held.filter(digest__in=[each.value for each in ancestors])
    others = _find_siblings(row, registry)
    if others is not None:
        known = held.filter(digest=row.digest).exclude(id=row.id).values_list("tag", flat=True)
        under_way = Attempt.objects.filter(
            workspace=workspace,
            repository=repository.name,
            digest=row.digest,
            outcome=Attempt.Outcome.OPEN,
        ).exclude(id=mine.id)
        pushed = AttemptTag.objects.filter(attempt__in=under_way).values_list("tag", flat=True)
        others = sorted({*others, *known, *pushed} - {row.tag})
    if others is None:
        raise CannotRemoveError(
            "This registry can delete an image only with all of its tags, and it does not say "
            "which tags those are. Nothing was changed."
        )
    if others or is_listed.exists():
        needed = ", ".join(others) or "a locked index"
        raise CannotRemoveError(
            f"This registry can delete an image only with all of its tags, and {needed} needs this "
            "one too. Nothing was changed."
        )


def _find_siblings(row: LockedTag, registry: RegistryClient) -> list[str] | None:
    """Return the other tags that the registry has on the row's image; None where nobody knows."""
    repository = Repository(row.repository)
    try:
        names = registry.list_tags(repository, MAX_TAGS_LOOKED_AT)
        if names is None:
            return None
        others = [Tag(name) for name in names if name != row.tag]
        answers = {tag.name: registry.head_manifest(repository, tag) for tag in others}
    except RegistryUnavailableError:
        return None
    if any(not answer.is_success and answer.status != 404 for answer in answers.values()):
        return None
    return [name for name, answer in answers.items() if answer.digest == row.digest]


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


def _is_on_its_way(row: LockedTag) -> bool:
    return AttemptTag.objects.filter(
        workspace=row.workspace_id,
        repository=row.repository,
        tag=row.tag,
        attempt__kind=Attempt.Kind.DELETE,
        attempt__outcome=Attempt.Outcome.OPEN,
    ).exists()


def _begin(row: LockedTag, actor: Actor) -> None:
    """Say that the tag is being deleted. Raises UndecidedError where the lock has changed."""
    is_unchanged = LockedTag.objects.filter(id=row.id, state=row.state, digest=row.digest).update(
        state=LockState.DELETING,
        replaced_state=row.state,
        deleted_by=actor.name,
        deleted_at=timezone.now(),
    )
    if not is_unchanged:
        raise UndecidedError("somebody else has changed the lock meanwhile")


def _announce(
    row: LockedTag, workspace: Workspace, reason: str, actor: Actor, digest: Digest | None = None
) -> Attempt:
    """Put down the delete that is about to leave: of the tag, or of its image by digest."""
    with transaction.atomic():
        attempt = Attempt.objects.create(
            workspace=workspace,
            kind=Attempt.Kind.DELETE,
            repository=row.repository,
            digest=digest.value if digest else "",
            is_by_digest=digest is not None,
            settings_version=row.settings_version,
            reason=reason,
            is_sent=digest is None,
            actor=actor.name,
            actor_kind=actor.kind,
            expires_at=Now() + ATTEMPT_LEASE,
        )
        AttemptTag.objects.create(
            workspace=workspace, attempt=attempt, repository=row.repository, tag=row.tag
        )
    return attempt


def _mark_sent(attempt: Attempt) -> None:
    is_marked = Attempt.objects.filter(id=attempt.id, outcome=Attempt.Outcome.OPEN).update(
        is_sent=True, expires_at=Now() + ATTEMPT_LEASE
    )
    if not is_marked:
        raise UndecidedError("the delete took too long to prepare")


def _restore(rows: QuerySet[LockedTag]) -> int:
    return rows.update(state=F("replaced_state"), replaced_state="", deleted_by="", deleted_at=None)

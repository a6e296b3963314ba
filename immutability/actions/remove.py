"""An admin's delete of a locked tag, carried out in the registry behind the gate."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from containers.connection import release_database
from containers.inventory import find_ancestors
from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryAnswer, RegistryClient, RegistryUnavailableError
from immutability.actions.adopt import MAX_TAGS_LOOKED_AT, adopt_in_registry
from immutability.actions.attempts import ATTEMPT_LEASE, mark_sent
from immutability.actions.claims import (
    abandon_claim,
    add_attempt_tags,
    end_unsupported,
    open_attempts,
)
from immutability.actions.look import learn_lists, look
from immutability.actions.read import (
    MovedError,
    UndecidedError,
    always_allowed,
    decide_until_settled,
    read_policy,
)
from immutability.actions.resolve import REQUEST_SECONDS, resolve_attempts
from immutability.actions.send import ask_delete, send_delete, settle_delete
from immutability.models import Attempt, AttemptTag, LockedTag
from immutability.protection import LockState, Protection
from workspaces.access import Actor
from workspaces.models import Workspace

# Statuses by which a registry says that it cannot delete a single tag.
_UNSUPPORTED = (400, 405)


class CannotRemoveError(Exception):
    """The registry does not delete the tag. The message says why, and what can be done."""


def remove_from_registry(
    row: LockedTag,
    workspace: Workspace,
    reason: str,
    registry: RegistryClient,
    *,
    actor: Actor,
    confirm: Callable[[], None] = always_allowed,
) -> RegistryAnswer:
    """Delete the locked tag in the registry; its lock is reserved afterwards, with the event.

    Returns the registry's answer: a success, or that it has no such tag.

    Pushes of the tag wait meanwhile. Raises CannotRemoveError where the registry refuses, which
    leaves the lock as it was. Raises UndecidedError where a push of the tag is under way, or where
    the registry gives no definite answer: the delete is then sent again until it does. What
    `confirm` raises, just before something is sent, leaves the lock as it was.
    """
    tag = Tag(row.tag)
    resolve_attempts(registry, open_attempts(row), REQUEST_SECONDS)
    version = read_policy(workspace).version
    with transaction.atomic():
        _begin(row, actor)
        attempt = _announce(row, workspace, version, reason, actor)
    with _giving_back(attempt):
        confirm()
        _mark_sent(attempt)
    answer = ask_delete(attempt, tag, registry)
    if answer.status not in _UNSUPPORTED:
        settle_delete(attempt, tag, answer, actor)
        return _require_done(answer)
    digest = Digest(row.digest)
    with _giving_back(attempt, is_unsent=False):
        # What lists this image may be covered, and not be locked yet.
        decide_until_settled(lambda: _adopt_lists(row, workspace, digest, registry, actor))
    with transaction.atomic():
        # In one step, so that the tag is never being deleted without an attempt that says so.
        end_unsupported(attempt)
        attempt = _announce(row, workspace, version, reason, actor, digest)
    with _giving_back(attempt):
        # Announced first, looked at second: a push that needs the image meets the announcement.
        _require_nothing_else(row, workspace, attempt, registry)
        confirm()
        _mark_sent(attempt)
    return _require_done(send_delete(attempt, digest, registry, actor))


@contextmanager
def _giving_back(attempt: Attempt, *, is_unsent: bool = True) -> Iterator[None]:
    """Give up a delete that comes to nothing: the lock is what it was."""
    try:
        yield
    except Exception:
        abandon_claim(attempt, is_unsent=is_unsent)
        raise


def _adopt_lists(
    row: LockedTag, workspace: Workspace, digest: Digest, registry: RegistryClient, actor: Actor
) -> None:
    repository = Repository(row.repository)
    policy = read_policy(workspace)
    if policy.protection is Protection.NONE:
        return
    adopt_in_registry(workspace, repository, policy, digest, registry, actor=actor)


def _require_done(answer: RegistryAnswer) -> RegistryAnswer:
    if not (answer.is_success or answer.is_absent):
        raise CannotRemoveError(f"The registry refused the delete: {answer.reason}.")
    return answer


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
        {
            Digest(value)
            for name in ("digest", "replaced_digest")
            for value in held.values_list(name, flat=True)
            if value
        },
        registry,
    )
    ancestors = find_ancestors(workspace, repository, Digest(row.digest))
    values = [each.value for each in ancestors]
    is_listed = held.filter(Q(digest__in=values) | Q(replaced_digest__in=values))
    others = _find_siblings(row, registry)
    if others is not None:
        same_image = held.filter(Q(digest=row.digest) | Q(replaced_digest=row.digest))
        known = same_image.exclude(id=row.id).values_list("tag", flat=True)
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
    release_database()
    try:
        names = registry.list_tags(repository, MAX_TAGS_LOOKED_AT)
        if names is None:
            return None
        others = [Tag(name) for name in names if name != row.tag]
        answers = {tag.name: registry.ask_manifest(repository, tag) for tag in others}
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


def require_no_write(row: LockedTag) -> None:
    """Raise UndecidedError where a write of the tag is under way: nothing frees its name then."""
    under_way = open_attempts(row).exclude(kind=Attempt.Kind.ANNOUNCED)
    if under_way.exists():
        raise UndecidedError(f'a write of "{row.tag}" is under way')


def _begin(row: LockedTag, actor: Actor) -> None:
    """Say that the tag is being deleted. Raises UndecidedError where that cannot be said now."""
    is_unchanged = LockedTag.objects.filter(id=row.id, state=row.state, digest=row.digest).update(
        state=LockState.DELETING,
        replaced_state=row.state,
        deleted_by=actor.shown_name,
        deleted_at=Now(),
    )
    if not is_unchanged:
        raise UndecidedError("somebody else has changed the lock meanwhile")
    # The lock is held by now: whoever pushes the tag changes it before announcing the push.
    require_no_write(row)


def _announce(
    row: LockedTag,
    workspace: Workspace,
    version: int,
    reason: str,
    actor: Actor,
    digest: Digest | None = None,
) -> Attempt:
    """Put down the delete that is about to leave: of the tag, or of its image by digest."""
    attempt = Attempt.objects.create(
        workspace=workspace,
        kind=Attempt.Kind.DELETE,
        repository=row.repository,
        digest=digest.value if digest else "",
        is_by_digest=digest is not None,
        settings_version=version,
        reason=reason,
        actor=actor.name,
        actor_kind=actor.kind,
        expires_at=Now() + ATTEMPT_LEASE,
    )
    add_attempt_tags(attempt, {Tag(row.tag): None}, covered=())
    return attempt


def _mark_sent(attempt: Attempt) -> None:
    try:
        mark_sent(attempt)
    except MovedError as error:
        raise UndecidedError("the settings were saved meanwhile, or it took too long") from error

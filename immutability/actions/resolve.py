"""Bring attempts whose end is unknown to their truth, by repeating the same write."""

import uuid

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from containers.connection import release_database
from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryClient, RegistryUnavailableError
from immutability.actions.attempts import (
    ATTEMPT_LEASE,
    QUARANTINE,
    leave_open,
    send_push,
    settle_as_landed,
)
from immutability.actions.claims import ClaimEndedError, abandon_claim
from immutability.actions.delete_manifest import send_delete
from immutability.actions.read import UndecidedError, read_policy
from immutability.actions.remove import restore_stranded_deletes
from immutability.models import Attempt, LockedTag
from immutability.protection import LockState, cover
from workspaces.access import Actor, ActorKind, Origin


def resolve_attempts(registry: RegistryClient, attempts: QuerySet[Attempt]) -> int:
    """Settle those of `attempts` that nobody is at work on; return how many are settled."""
    due = attempts.filter(outcome=Attempt.Outcome.OPEN, expires_at__lte=Now()).exclude(
        kind=Attempt.Kind.ANNOUNCED
    )
    settled = 0
    for attempt in due.select_related("workspace").order_by("opened_at"):
        is_mine = Attempt.objects.filter(
            id=attempt.id, outcome=Attempt.Outcome.OPEN, expires_at__lte=Now()
        ).update(expires_at=Now() + ATTEMPT_LEASE)
        if is_mine:
            settled += _resolve(attempt, registry)
    return settled + restore_stranded_deletes()


def _resolve(attempt: Attempt, registry: RegistryClient) -> bool:
    try:
        if not attempt.is_sent:
            abandon_claim(attempt, is_unsent=True)
            return True
        if attempt.kind == Attempt.Kind.DELETE:
            return _repeat_delete(attempt, registry)
        return _repeat_push(attempt, registry)
    except (UndecidedError, ClaimEndedError):
        return False


def _repeat_delete(attempt: Attempt, registry: RegistryClient) -> bool:
    """Send a delete again; one that a lock forbids by now is given up after a quarantine."""
    if not attempt.reason and _is_held(attempt):
        if not _is_out_of_quarantine(attempt):
            leave_open(attempt)
            return False
        abandon_claim(attempt)
        return True
    target: Tag | Digest = Digest(attempt.digest)
    if not attempt.is_by_digest:
        target = Tag(attempt.tags.get().tag)
    actor = Actor(attempt.actor, ActorKind(attempt.actor_kind))
    send_delete(attempt, target, registry, actor)
    return True


def _repeat_push(attempt: Attempt, registry: RegistryClient) -> bool:
    """Send the covered tags of a push again; the others lapse, or turn out to have landed."""
    tags = {Tag(each.tag): each.is_covered for each in attempt.tags.order_by("tag")}
    covered = tuple(tag for tag, is_covered in tags.items() if is_covered)
    if covered:
        if len(covered) < len(tags):
            _split_off(attempt, covered)
        send_push(attempt, covered, registry, Origin())
        return True
    if not _is_out_of_quarantine(attempt):
        leave_open(attempt)
        return False
    landed = frozenset(tag for tag in tags if _has_landed(attempt, tag, registry))
    if landed:
        settle_as_landed(attempt, landed)
        return True
    return bool(
        Attempt.objects.filter(id=attempt.id, outcome=Attempt.Outcome.OPEN).update(
            outcome=Attempt.Outcome.LAPSED, ended_at=Now(), manifest=b""
        )
    )


def _split_off(attempt: Attempt, covered: tuple[Tag, ...]) -> None:
    """Give the unprotected tags of a push an attempt of their own, which is not repeated."""
    with transaction.atomic():
        rest = Attempt.objects.get(id=attempt.id)
        rest.id = uuid.uuid4()
        rest.expires_at = timezone.now()
        rest.save(force_insert=True)
        # The copy is as old as the original: that is what its quarantine counts from.
        Attempt.objects.filter(id=rest.id).update(opened_at=attempt.opened_at)
        attempt.tags.exclude(tag__in=[tag.name for tag in covered]).update(attempt=rest)


def _is_held(attempt: Attempt) -> bool:
    """Whether a lock in force holds by now what a delete would take."""
    policy = read_policy(attempt.workspace)
    rows = LockedTag.objects.filter(
        Q(tag__in=attempt.tags.values("tag")) | Q(digest=attempt.digest),
        workspace=attempt.workspace,
        repository=attempt.repository,
        state__in=[LockState.LOCKED, LockState.RELEASED],
    )
    return any(cover(policy, Tag(row.tag)).is_covered for row in rows)


def _has_landed(attempt: Attempt, tag: Tag, registry: RegistryClient) -> bool:
    """Whether the registry has the attempt's image under `tag`. Raises UndecidedError."""
    release_database()
    try:
        answer = registry.head_manifest(Repository(attempt.repository), tag)
    except RegistryUnavailableError as error:
        raise UndecidedError(f"the registry gave no answer ({error})") from error
    if answer.is_success or answer.status == 404:
        return answer.digest == attempt.digest
    raise UndecidedError(f"the registry answered {answer.status}")


def _is_out_of_quarantine(attempt: Attempt) -> bool:
    return Attempt.objects.filter(id=attempt.id, opened_at__lt=Now() - QUARANTINE).exists()

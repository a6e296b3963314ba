"""Bring attempts whose end is unknown to their truth, by repeating the same write."""

from django.db.models import QuerySet
from django.db.models.functions import Now

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
from immutability.models import Attempt
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
    """Send a delete again; one that newer settings might refuse is given up after a quarantine."""
    is_by_admin = bool(attempt.reason)
    if not is_by_admin and read_policy(attempt.workspace).version != attempt.settings_version:
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
    if len(covered) == len(tags):
        send_push(attempt, covered, registry, Origin())
        return True
    if not _is_out_of_quarantine(attempt):
        leave_open(attempt)
        return False
    landed = {tag for tag in tags if tag not in covered and _has_landed(attempt, tag, registry)}
    if covered or landed:
        settle_as_landed(attempt, covered, landed, registry)
        return True
    return bool(
        Attempt.objects.filter(id=attempt.id, outcome=Attempt.Outcome.OPEN).update(
            outcome=Attempt.Outcome.LAPSED, ended_at=Now(), manifest=b""
        )
    )


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

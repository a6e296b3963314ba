"""Bring attempts whose end is unknown to their truth, by repeating the same write."""

from datetime import timedelta

from django.db.models import QuerySet
from django.db.models.functions import Now

from containers.reference import Digest, Tag
from containers.registry.client import RegistryClient
from immutability.actions.attempts import ATTEMPT_LEASE, leave_open, send_push
from immutability.actions.claims import ClaimEndedError, abandon_claim
from immutability.actions.delete_manifest import send_delete
from immutability.actions.read import UndecidedError
from immutability.actions.remove import restore_stranded_deletes
from immutability.models import Attempt
from workspaces.access import Actor, ActorKind, Origin

# Longer than a write can linger between gate and registry. An unprotected push is not repeated,
# since a newer one may have followed it; so long it holds up claims of its tag.
QUARANTINE = timedelta(minutes=15)


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
            abandon_claim(attempt)
        elif attempt.kind == Attempt.Kind.DELETE:
            _repeat_delete(attempt, registry)
        else:
            return _repeat_push(attempt, registry)
    except (UndecidedError, ClaimEndedError):
        return False
    return True


def _repeat_delete(attempt: Attempt, registry: RegistryClient) -> None:
    target: Tag | Digest = Digest(attempt.digest)
    if not attempt.is_by_digest:
        target = Tag(attempt.tags.get().tag)
    actor = Actor(attempt.actor, ActorKind(attempt.actor_kind))
    send_delete(attempt, target, registry, actor)


def _repeat_push(attempt: Attempt, registry: RegistryClient) -> bool:
    covered = attempt.tags.filter(is_covered=True).order_by("tag")
    tags = tuple(Tag(each.tag) for each in covered)
    if tags:
        send_push(attempt, tags, registry, Origin())
        return True
    has_lapsed = Attempt.objects.filter(
        id=attempt.id, outcome=Attempt.Outcome.OPEN, opened_at__lt=Now() - QUARANTINE
    ).update(outcome=Attempt.Outcome.LAPSED, ended_at=Now(), manifest=b"")
    if not has_lapsed:
        leave_open(attempt)
    return bool(has_lapsed)

"""Bring attempts whose end is unknown to their truth, by repeating the same write."""

import math
import time
import uuid

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from containers.reference import Digest, Repository, Tag
from containers.registry.client import RegistryClient
from immutability.actions.attempts import QUARANTINE, leave_open, renew, take_over
from immutability.actions.claims import abandon_claim, lapse_claim
from immutability.actions.look import ask
from immutability.actions.read import UndecidedError, read_policy
from immutability.actions.send import (
    ask_delete,
    send_push,
    settle_as_deleted,
    settle_as_landed,
)
from immutability.models import Attempt, LockedTag
from immutability.protection import LockState, Protection
from workspaces.access import Actor, ActorKind, Origin

# A request that meets open attempts begins none after so long: its client waits.
REQUEST_SECONDS = 5.0


def resolve_attempts(
    registry: RegistryClient, attempts: QuerySet[Attempt], seconds: float = math.inf
) -> int:
    """Settle those of `attempts` that nobody is at work on; return how many are settled.

    Those that nobody has tried for longest come first. Begins none after `seconds`.
    """
    ends_at = time.monotonic() + seconds
    due = attempts.filter(outcome=Attempt.Outcome.OPEN, expires_at__lte=Now()).exclude(
        kind=Attempt.Kind.ANNOUNCED
    )
    settled = 0
    # A manifest may have 4 MiB: it is read when its turn comes.
    for attempt in due.select_related("workspace").defer("manifest").order_by("expires_at"):
        if time.monotonic() >= ends_at:
            break
        settled += _resolve(attempt, registry)
    return settled


def give_up_attempts() -> int:
    """Undo everything that is under way, and send nothing; return how many attempts there were.

    After a restored backup: its attempts are older than what the registry has, and sending them
    again would overwrite what followed. While anything runs, a write that is given up may land.
    """
    under_way = Attempt.objects.filter(outcome=Attempt.Outcome.OPEN).exclude(
        kind=Attempt.Kind.ANNOUNCED
    )
    count = 0
    for attempt in under_way.select_related("workspace"):
        if attempt.sent_at is not None:
            leave_open(attempt)
        abandon_claim(attempt)
        count += 1
    return count


def _resolve(attempt: Attempt, registry: RegistryClient) -> bool:
    try:
        if attempt.sent_at is None:
            # Its lease is over, so that nobody sends it any more.
            abandon_claim(attempt, is_unsent=True)
            return True
        if not take_over(attempt):
            return False
        if attempt.kind == Attempt.Kind.DELETE:
            return _repeat_delete(attempt, registry)
        return _repeat_push(attempt, registry)
    except UndecidedError:
        return False


def _repeat_delete(attempt: Attempt, registry: RegistryClient) -> bool:
    """Send a delete again, unless newer settings might forbid it.

    Such a one is not sent again. Once it cannot land any more, it has landed if what it deletes is
    gone; so it is with one whose repetition is refused.
    """
    target: Tag | Digest = Digest(attempt.digest)
    if not attempt.is_by_digest:
        target = Tag(attempt.tags.get().tag)
    actor = Actor(attempt.actor, ActorKind(attempt.actor_kind))
    version = _find_version_to_send_by(attempt)
    if version is not None:
        in_doubt_since = attempt.sent_at
        renew(attempt, version)
        answer = ask_delete(attempt, target, registry)
        if answer.is_success or answer.is_absent:
            settle_as_deleted(attempt, target, actor)
            return True
        # Refused. The sending before it may have landed all the same, or may land yet. Nobody else
        # has sent it since, as long as the lease lasts.
        Attempt.objects.filter(id=attempt.id, expires_at__gt=Now()).update(sent_at=in_doubt_since)
    if not _is_out_of_quarantine(attempt):
        leave_open(attempt)
        return False
    if _has_taken(attempt, target, registry):
        settle_as_deleted(attempt, target, actor)
    else:
        abandon_claim(attempt)
    return True


def _repeat_push(attempt: Attempt, registry: RegistryClient) -> bool:
    """Send the covered tags of a push again; the others lapse, or turn out to have landed."""
    tags = {Tag(each.tag): each.is_covered for each in attempt.tags.order_by("tag")}
    covered = tuple(tag for tag, is_covered in tags.items() if is_covered)
    if covered:
        if len(covered) < len(tags):
            _split_off(attempt, covered)
        renew(attempt)
        send_push(attempt, covered, registry, Origin())
        return True
    if not _is_out_of_quarantine(attempt):
        leave_open(attempt)
        return False
    landed = frozenset(tag for tag in tags if _has_landed(attempt, tag, registry))
    if landed:
        settle_as_landed(attempt, landed)
        return True
    lapse_claim(attempt)
    return True


def _split_off(attempt: Attempt, covered: tuple[Tag, ...]) -> None:
    """Give the unprotected tags of a push an attempt of their own, which is not repeated."""
    with transaction.atomic():
        rest = Attempt.objects.get(id=attempt.id)
        rest.id = uuid.uuid4()
        rest.save(force_insert=True)
        # The copy is as old as the original: that is what its quarantine counts from.
        Attempt.objects.filter(id=rest.id).update(opened_at=attempt.opened_at, expires_at=Now())
        attempt.tags.exclude(tag__in=[tag.name for tag in covered]).update(attempt=rest)


def _find_version_to_send_by(attempt: Attempt) -> int | None:
    """Return the version of the settings under which a delete may be sent again, or None.

    None where it was decided under other settings and something is protected by now. An admin's
    delete of a tag was decided about a lock in force: no settings forbid it.
    """
    policy = read_policy(attempt.workspace)
    is_admins = not attempt.is_by_digest and _deleting(attempt).exclude(deleted_by="").exists()
    is_same = policy.version == attempt.settings_version
    may_send = is_admins or is_same or policy.protection is Protection.NONE
    return policy.version if may_send else None


def _deleting(attempt: Attempt) -> QuerySet[LockedTag]:
    """Return the locks that a delete has put aside."""
    rows = LockedTag.objects.filter(
        workspace=attempt.workspace,
        repository=attempt.repository,
        tag__in=attempt.tags.values("tag"),
        state=LockState.DELETING,
    )
    return rows.filter(digest=attempt.digest) if attempt.is_by_digest else rows


def _has_taken(attempt: Attempt, target: Tag | Digest, registry: RegistryClient) -> bool:
    """Whether what a delete was to take is gone. Raises UndecidedError.

    By digest, the tags say: the manifest alone may have been pushed again since.
    """
    repository = Repository(attempt.repository)
    if isinstance(target, Digest):
        tags = [row.tag for row in _deleting(attempt)]
        tags = tags or list(attempt.tags.values_list("tag", flat=True))
        if tags:
            return any(ask(repository, Tag(tag), registry).digest != target.value for tag in tags)
    return not ask(repository, target, registry).is_success


def _has_landed(attempt: Attempt, tag: Tag, registry: RegistryClient) -> bool:
    """Whether the registry has the attempt's image under `tag`. Raises UndecidedError."""
    return ask(Repository(attempt.repository), tag, registry).digest == attempt.digest


def _is_out_of_quarantine(attempt: Attempt) -> bool:
    return Attempt.objects.filter(id=attempt.id, sent_at__lt=Now() - QUARANTINE).exists()

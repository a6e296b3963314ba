"""Writes on their way to the registry: announced before they are sent, settled by its answer.

While the end of an attempt is unknown, nothing frees, adopts or claims its tag. An unknown end is
settled by repeating the same write until the registry answers definitely: a write that timed out
can land long after, so neither time nor an absent tag proves anything.

The answer to a repetition settles the attempt, and says nothing of the sending before it, which may
still be on its way. Such a write is in doubt: for a quarantine, no other image gets its tag.
"""

import time
from collections.abc import Collection, Mapping
from datetime import timedelta

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from containers.reference import Digest, Repository, Tag
from containers.registry.client import (
    UPSTREAM_DEADLINE_SECONDS,
)
from immutability.actions.claims import add_attempt_tags
from immutability.actions.read import MovedError, UndecidedError, UnderWayError
from immutability.models import Attempt, AttemptTag, ContainerSettings
from immutability.protection import PolicyRule
from workspaces.access import Actor
from workspaces.models import Workspace

# Longer than a sender can be at work on an attempt; after it, anybody may send it again.
ATTEMPT_LEASE = timedelta(seconds=2 * UPSTREAM_DEADLINE_SECONDS)
# Longer than a write can linger between gate and registry, counted from when it was last sent. An
# unprotected push is not repeated, since a newer one may have followed it; so long it holds up
# claims of its tag. So does a write that had no answer when it was first sent.
QUARANTINE = timedelta(minutes=15)
# How long attempts that have ended are kept, far longer than they can matter: for people who ask.
KEPT_FOR = timedelta(days=7)


class DoubtError(UnderWayError):
    """A write that had no answer when it was sent may still land, whatever its repetition said."""

    def __init__(self) -> None:
        minutes = QUARANTINE // timedelta(minutes=1)
        super().__init__(
            "an earlier write of this tag had no answer and may still land, "
            f"for {minutes} minutes at most"
        )


class LateError(UndecidedError):
    """A sender was held up so long that others may be at work on its attempt by now."""


def mark_sent(attempt: Attempt) -> None:
    """Commit that the write is about to leave, if the settings are still those it was decided by.

    Raises MovedError where they are not, or where the lease is over, so that others may have
    decided without it: then nothing may be sent.
    """
    begun = _read_clock()
    is_marked = Attempt.objects.filter(
        _settings_at(attempt.settings_version),
        id=attempt.id,
        outcome=Attempt.Outcome.OPEN,
        expires_at__gt=Now(),
    ).update(sent_at=Now(), expires_at=Now() + ATTEMPT_LEASE)
    if not is_marked:
        raise MovedError
    leave_until(attempt, begun)


def turn_away_unsent(workspace: Workspace, repository: Repository, tag: Tag, mine: Attempt) -> None:
    """End the lease of the pushes of `tag` that have not been sent: they have to decide anew.

    Within the transaction that locks the tag to something else. `mine` is left alone. A lease is
    ended as of long ago: whoever waits for the row to mark it compares with the time before.
    """
    Attempt.objects.filter(
        id__in=find_under_way(workspace, repository, [tag]).values("attempt"),
        sent_at__isnull=True,
    ).exclude(id=mine.id).update(expires_at=F("opened_at"))


def require_open(attempt: Attempt) -> None:
    """Raise MovedError where somebody has ended the attempt; nobody ends it in this transaction.

    A sender that stood still may find somebody else's claim in the place of its own.
    """
    still_open = Attempt.objects.filter(id=attempt.id, outcome=Attempt.Outcome.OPEN)
    if not still_open.update(expires_at=F("expires_at")):
        raise MovedError


def take_over(attempt: Attempt) -> bool:
    """Take the lease of an open attempt that nobody is at work on; return whether it was won.

    What was sent before had no answer that anybody wrote down: it is in doubt from now on.
    """
    begun = _read_clock()
    is_mine = Attempt.objects.filter(
        id=attempt.id,
        outcome=Attempt.Outcome.OPEN,
        sent_at__isnull=False,
        expires_at__lte=Now(),
    ).update(is_doubted=True, expires_at=Now() + ATTEMPT_LEASE)
    leave_until(attempt, begun)
    if is_mine:
        # Others may have sent it since it was read.
        attempt.refresh_from_db(fields=["sent_at"])
    return bool(is_mine)


def leave_until(attempt: Attempt, begun: float) -> None:
    """Note how long this sender may send: its call must end before its lease does.

    `begun` is this machine's time before the lease was taken. A process can stand still for
    minutes, and a write that leaves after that is one that nobody expects.
    """
    attempt.leaves_by = begun + ATTEMPT_LEASE.total_seconds() - UPSTREAM_DEADLINE_SECONDS


def require_in_time(attempt: Attempt) -> None:
    """Raise LateError where the sender of an attempt was held up too long to send it."""
    if _read_clock() > attempt.leaves_by:
        raise LateError("the gate was held up too long to send this")


def _read_clock() -> float:
    """Return seconds of a clock that never jumps, and goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def renew(attempt: Attempt, version: int | None = None) -> None:
    """Say that the write is sent once more: its quarantine counts from now.

    Where a version of the settings is given, only while they are at it. Raises LateError where the
    attempt has ended, the settings have moved, or the sender was held up too long.
    """
    require_in_time(attempt)
    still_open = Attempt.objects.filter(id=attempt.id, outcome=Attempt.Outcome.OPEN)
    if version is not None:
        still_open = still_open.filter(_settings_at(version))
    if not still_open.update(sent_at=Now()):
        raise LateError("somebody else has settled this, or the settings have moved")


def _settings_at(version: int) -> Q:
    """Return the condition on an attempt that its workspace's settings are at `version`."""
    settings = ContainerSettings.objects.filter(workspace=OuterRef("workspace"))
    if not version:
        return ~Q(Exists(settings))
    return Q(Exists(settings.filter(version=version)))


def find_under_way(
    workspace: Workspace, repository: Repository, tags: Collection[Tag]
) -> QuerySet[AttemptTag]:
    """Return the gate's open attempts on these tags."""
    return AttemptTag.objects.filter(
        workspace=workspace,
        repository=repository.name,
        tag__in=[tag.name for tag in tags],
        attempt__outcome=Attempt.Outcome.OPEN,
    ).exclude(attempt__kind=Attempt.Kind.ANNOUNCED)


def find_deletes(
    workspace: Workspace,
    repository: Repository,
    digests: Collection[Digest],
    *,
    in_doubt: bool = False,
) -> QuerySet[Attempt]:
    """Return the open deletes of these manifests; with `in_doubt`, all that may still land."""
    may_land = Q(outcome=Attempt.Outcome.OPEN)
    if in_doubt:
        may_land |= Q(is_doubted=True, sent_at__gt=Now() - QUARANTINE)
    return Attempt.objects.filter(
        may_land,
        workspace=workspace,
        repository=repository.name,
        kind=Attempt.Kind.DELETE,
        digest__in=[digest.value for digest in digests],
    )


def leave_open(attempt: Attempt) -> None:
    """Say that a write had no answer and nobody is at work on it: anybody may send it again."""
    Attempt.objects.filter(id=attempt.id).update(expires_at=Now(), is_doubted=True)


def open_push(
    workspace: Workspace,
    repository: Repository,
    rules: Mapping[Tag, PolicyRule | None],
    digest: Digest,
    body: bytes,
    media_type: str,
    settings_version: int,
    *,
    covered: Collection[Tag],
    is_by_digest: bool,
    actor: Actor,
) -> Attempt:
    """Announce a push of `digest` under these tags, within the transaction that claims them.

    `rules` has the tags, each with its rule; `covered` are those that the settings cover.
    """
    attempt = Attempt.objects.create(
        workspace=workspace,
        kind=Attempt.Kind.PUSH,
        repository=repository.name,
        digest=digest.value,
        is_by_digest=is_by_digest,
        manifest=body,
        media_type=media_type,
        settings_version=settings_version,
        actor=actor.name,
        actor_kind=actor.kind,
        expires_at=Now() + ATTEMPT_LEASE,
    )
    add_attempt_tags(attempt, rules, covered=covered)
    return attempt


def open_brief(
    kind: Attempt.Kind,
    workspace: Workspace,
    repository: Repository,
    rules: Mapping[Tag, PolicyRule | None],
    settings_version: int,
    *,
    actor: Actor,
    digest: Digest | None = None,
) -> Attempt:
    """Announce that these tags are about to be locked, after a look at the registry.

    Within the transaction that claims them. It is never sent; what is left of it after a crash is
    given up like any attempt that was not.
    """
    attempt = Attempt.objects.create(
        workspace=workspace,
        kind=kind,
        repository=repository.name,
        digest=digest.value if digest else "",
        settings_version=settings_version,
        actor=actor.name,
        actor_kind=actor.kind,
        expires_at=Now() + ATTEMPT_LEASE,
    )
    add_attempt_tags(attempt, rules, covered=rules)
    return attempt


def is_in_the_way(
    workspace: Workspace,
    repository: Repository,
    covered: Mapping[Tag, bool],
    digest: Digest,
    mine: Attempt | None,
) -> bool:
    """Whether another open write keeps a push of `digest` under these tags waiting.

    `covered` has the tags, each with whether the settings cover it; `mine` is the push's own
    attempt. A claim waits for unprotected writes, and for other images; an unprotected push waits
    for claims of other images; all wait for deletes. What was not sent before its lease was over is
    not sent any more, and keeps nobody waiting. Raises DoubtError where a claim would have to
    wait for a write that has ended and may still land: that is longer than anybody holds a push.
    """
    claims = [tag.name for tag, is_covered in covered.items() if is_covered]
    others = [tag.name for tag, is_covered in covered.items() if not is_covered]
    is_live = Q(attempt__sent_at__isnull=False) | Q(attempt__expires_at__gt=Now())
    is_other = ~Q(attempt__digest=digest.value) | Q(attempt__kind=Attempt.Kind.DELETE)
    found = find_under_way(workspace, repository, covered).filter(
        is_live,
        Q(tag__in=claims) & (Q(is_covered=False) | is_other)
        | Q(tag__in=others, is_covered=True) & is_other
        | Q(attempt__kind=Attempt.Kind.DELETE),
    )
    if (found.exclude(attempt=mine) if mine else found).exists():
        return True
    # Asked second: what has ended in between is seen here.
    # A delete by digest takes a tag only while the tag points there: find_deletes knows of those.
    doubted = Attempt.objects.filter(
        Q(tags__tag__in=claims, kind=Attempt.Kind.PUSH) & ~Q(digest=digest.value)
        | Q(tags__tag__in=[*claims, *others], kind=Attempt.Kind.DELETE, is_by_digest=False),
        workspace=workspace,
        repository=repository.name,
        is_doubted=True,
        sent_at__gt=Now() - QUARANTINE,
    )
    if doubted.exclude(outcome=Attempt.Outcome.OPEN).exists():
        raise DoubtError
    return False


def forget_ended_attempts(older_than: timedelta = KEPT_FOR) -> int:
    """Delete what has ended so long ago that no write of it can land any more; return how many.

    Claims of two-phase checks stay: their callers may report them again.
    """
    ended = (
        Attempt.objects.exclude(outcome=Attempt.Outcome.OPEN)
        .exclude(kind=Attempt.Kind.ANNOUNCED)
        .filter(
            Q(sent_at__isnull=True) | Q(sent_at__lt=Now() - older_than),
            ended_at__lt=Now() - older_than,
        )
    )
    count = 0
    while ids := list(ended.values_list("id", flat=True)[:1000]):
        Attempt.objects.filter(id__in=ids).delete()
        count += len(ids)
    return count

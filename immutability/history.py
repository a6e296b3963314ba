"""A tag's history: its events and the pushes that landed, and what it pointed at when."""

import heapq
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from django.db.models import Q, QuerySet

from containers.models import Push
from containers.names import RepositoryName, TagName
from immutability.locks import ANOTHER_IMAGE, DELETED_UNPROTECTED, NOT_THERE, SHOWS_ANOTHER
from immutability.policy.details import from_details
from immutability.policy.protection import cover
from workspaces.log.kinds import EventKind
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

ENTRIES_PER_PAGE = 50
# More saved settings than these are not read to find since when a lock was suspended.
MAX_SETTINGS_READ = 1000


@dataclass(frozen=True)
class Entry:
    """Something in a tag's history: an event, or a push that landed."""

    at: datetime
    event: LockEvent | None = None
    push: Push | None = None


@dataclass(frozen=True)
class Place:
    """How far someone has read: the last event shown, by ref, and the last push, by id."""

    ref: str = ""
    push_id: int = 0


@dataclass(frozen=True)
class HistoryPage:
    """Some entries, newest first; `older` is where the next page begins, if there is one."""

    entries: list[Entry]
    older: Place | None


class Sort(StrEnum):
    """What is known of where a tag pointed."""

    # A lock held it there, in force or suspended: another image would have left an event.
    HELD = "held"
    # A push brought the image and nothing held it: what goes past the gate leaves no record.
    PUSHED = "pushed"
    # Seen in the registry, and not what the lock says.
    SEEN = "seen"
    DELETED = "deleted"
    MISSING = "missing"
    # A push or a delete was allowed, and nothing says whether it landed.
    UNDECIDED = "undecided"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Pointed:
    """What a tag pointed at, and by which record.

    `suspended_since` is when the lock that held it was suspended, if it was. `first` is the first
    record after an UNKNOWN.
    """

    sort: Sort
    digest: str = ""
    since: datetime | None = None
    event: LockEvent | None = None
    push: Push | None = None
    suspended_since: datetime | None = None
    first: Entry | None = None

    @property
    def is_adopted(self) -> bool:
        return self.event is not None and self.event.kind == EventKind.TAG_ADOPTED


# Refused pushes and deletes are not among these: they leave everything as it is.
_HOLDING = (
    EventKind.TAG_LOCKED,
    EventKind.TAG_ADOPTED,
    EventKind.PUSH_IDENTICAL,
    EventKind.DRIFT_REPAIRED,
)
_TELLING = (
    *_HOLDING,
    EventKind.TAG_DELETED,
    EventKind.LOCK_FREED,
    EventKind.LOCK_ENDED,
    EventKind.CLAIM_DROPPED,
    EventKind.DRIFT_FOUND,
)
# A release says where the tag points only if the registry had another image than the lock's.
_TELLS = Q(kind__in=_TELLING) | Q(kind=EventKind.LOCK_RELEASED) & ~Q(other_digest="")


def find_history(
    workspace: Workspace,
    repository: RepositoryName,
    tag: TagName,
    below: Place = Place(),
    limit: int = ENTRIES_PER_PAGE,
) -> HistoryPage:
    """Return one page of a tag's events and pushes, newest first.

    Events and pushes are each paged by their own order, so that a page costs the same anywhere: of
    pushes it is the order in which they were written, which may be another than that of time.
    """
    events = _events(workspace, repository, tag).order_by("-at", "-id")
    if below.ref:
        place = _events(workspace, repository, tag).filter(ref=below.ref)
        at, identifier = place.values("at")[:1], place.values("id")[:1]
        events = events.filter(Q(at__lte=at) & (Q(at__lt=at) | Q(id__lt=identifier)))
    pushes = _pushes(workspace, repository, tag).order_by("-id")
    if below.push_id:
        pushes = pushes.filter(id__lt=below.push_id)
    # Neither changes its own order, so that what is shown of each is what comes first there, and
    # the next page begins behind it. Of what happened at once, events come first.
    entries = list(
        heapq.merge(
            [Entry(event.at, event=event) for event in events[: limit + 1]],
            [Entry(push.at, push=push) for push in pushes[: limit + 1]],
            key=lambda entry: entry.at,
            reverse=True,
        )
    )
    shown = entries[:limit]
    if len(entries) <= limit:
        return HistoryPage(shown, None)
    last_ref = next((each.event.ref for each in reversed(shown) if each.event), below.ref)
    last_push = next((each.push.id for each in reversed(shown) if each.push), below.push_id)
    return HistoryPage(shown, Place(last_ref, last_push))


def find_pointed(
    workspace: Workspace, repository: RepositoryName, tag: TagName, moment: datetime
) -> Pointed:
    """Return what a tag pointed at at `moment`, as far as pushes and events tell."""
    until_then = _events(workspace, repository, tag).filter(at__lte=moment).order_by("-at", "-id")
    event = until_then.filter(_TELLS).first()
    push = _pushes(workspace, repository, tag).filter(at__lte=moment).order_by("-id").first()
    if push is not None and (event is None or _moves(push, event)):
        return Pointed(Sort.PUSHED, push.digest, push.at, push=push)
    if event is None:
        return Pointed(Sort.UNKNOWN, first=_find_first(workspace, repository, tag, moment))
    pointed = _read(event)
    if pointed.sort is not Sort.HELD:
        return pointed
    since = _find_suspension(workspace, tag, event.at, moment)
    return replace(pointed, suspended_since=since) if since else pointed


def _find_suspension(
    workspace: Workspace, tag: TagName, locked_at: datetime, moment: datetime
) -> datetime | None:
    """Return since when a lock was suspended at `moment`, or None: the settings' events say so.

    Raises PatternError or PatternEvaluationError.
    """
    saves = LockEvent.objects.filter(
        workspace=workspace.slug, kind=EventKind.SETTINGS_CHANGED, at__lte=moment
    ).order_by("-at", "-id")
    since = None
    for save in saves[:MAX_SETTINGS_READ]:
        if save.details is None or cover(from_details(save.details["after"]), tag).is_covered:
            break
        since = max(save.at, locked_at)
        if save.at <= locked_at:
            break
    return since


def _moves(push: Push, event: LockEvent) -> bool:
    """Whether a push tells more of the tag than its latest event does.

    One that brought what a lock holds does not: its lock says the same, and that it stayed.
    """
    held = event.kind in _HOLDING and event.digest == push.digest
    return push.at > event.at and not held


def _read(event: LockEvent) -> Pointed:
    """Return what follows from a tag's latest telling event.

    A lock that a push or a delete ended was ended before that was sent, whether it landed or not:
    a push that did has left its own record.
    """
    match EventKind(event.kind):
        case kind if kind in _HOLDING:
            sort, digest = Sort.HELD, event.digest
        case EventKind.LOCK_ENDED:
            sort, digest = _ENDS.get(event.reason, Sort.UNKNOWN), event.other_digest
        case EventKind.CLAIM_DROPPED:
            sort, digest = Sort.UNDECIDED, event.digest
        case EventKind.DRIFT_FOUND | EventKind.LOCK_RELEASED if event.other_digest:
            sort, digest = Sort.SEEN, event.other_digest
        case EventKind.DRIFT_FOUND:
            sort, digest = Sort.MISSING, ""
        case _:
            sort, digest = Sort.DELETED, ""
    return Pointed(sort, digest, event.at, event)


_ENDS = {
    ANOTHER_IMAGE: Sort.UNDECIDED,
    DELETED_UNPROTECTED: Sort.UNDECIDED,
    SHOWS_ANOTHER: Sort.SEEN,
    NOT_THERE: Sort.MISSING,
}


def _find_first(
    workspace: Workspace, repository: RepositoryName, tag: TagName, after: datetime
) -> Entry | None:
    """Return the first record of a tag after a moment before which there is none."""
    event = _events(workspace, repository, tag).filter(at__gt=after).order_by("at", "id").first()
    push = _pushes(workspace, repository, tag).filter(at__gt=after).order_by("id").first()
    entries = [Entry(event.at, event=event)] if event else []
    entries += [Entry(push.at, push=push)] if push else []
    return min(entries, key=lambda entry: entry.at, default=None)


def _events(workspace: Workspace, repository: RepositoryName, tag: TagName) -> QuerySet[LockEvent]:
    return LockEvent.objects.filter(
        workspace=workspace.slug, repository=repository.name, tag=tag.name
    )


def _pushes(workspace: Workspace, repository: RepositoryName, tag: TagName) -> QuerySet[Push]:
    return Push.objects.filter(workspace=workspace, repository=repository.name, tag=tag.name)

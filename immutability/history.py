"""A tag's history: its events and the pushes that landed, and what it pointed at when."""

import heapq
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from django.db.models import Q, QuerySet

from containers.models import Push
from containers.reference import Repository, Tag
from immutability.actions.claims import ANOTHER_IMAGE
from workspaces.log.kinds import EventKind
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

ENTRIES_PER_PAGE = 50


@dataclass(frozen=True)
class Entry:
    """Something in a tag's history: an event, or a push that landed."""

    at: datetime
    event: LockEvent | None = None
    push: Push | None = None


@dataclass(frozen=True)
class Place:
    """How far down somebody has read: the last event shown, by ref, and the last push, by id."""

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
    # A push was announced, and nobody said whether it landed.
    DOUBTFUL = "doubtful"
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
_HOLDING = (EventKind.TAG_LOCKED, EventKind.TAG_ADOPTED, EventKind.PUSH_IDENTICAL)
_TELLING = (
    *_HOLDING,
    EventKind.TAG_DELETED,
    EventKind.LOCK_FREED,
    EventKind.LOCK_ENDED,
    EventKind.CLAIM_DROPPED,
    EventKind.DRIFT_FOUND,
)
# These say what a lock is worth and what it holds, not where the tag points: a tag may be deleted,
# or seen elsewhere, while its lock is suspended or released.
_OF_THE_LOCK = (EventKind.LOCK_SUSPENDED, EventKind.LOCK_RESUMED, EventKind.LOCK_RELEASED)


def find_history(
    workspace: Workspace,
    repository: Repository,
    tag: Tag,
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
    workspace: Workspace, repository: Repository, tag: Tag, moment: datetime
) -> Pointed:
    """Return what a tag pointed at at `moment`, as far as pushes and events tell."""
    until_then = _events(workspace, repository, tag).filter(at__lte=moment).order_by("-at", "-id")
    latest = list(until_then.filter(kind__in=_TELLING)[:2])
    event = latest[0] if latest else None
    push = _pushes(workspace, repository, tag).filter(at__lte=moment).order_by("-id").first()
    if push is not None and (event is None or _moves(push, event)):
        return Pointed(Sort.PUSHED, push.digest, push.at, push=push)
    if event is None:
        return Pointed(Sort.UNKNOWN, first=_find_first(workspace, repository, tag, moment))
    pointed = _read(event, latest[1] if len(latest) > 1 else None)
    if pointed.sort is not Sort.HELD:
        return pointed
    state = until_then.filter(kind__in=_OF_THE_LOCK).first()
    is_later = state is not None and (state.at, state.id) > (event.at, event.id)
    if state is not None and is_later and state.kind == EventKind.LOCK_SUSPENDED:
        return replace(pointed, suspended_since=state.at)
    return pointed


def _moves(push: Push, event: LockEvent) -> bool:
    """Whether a push tells more of the tag than its latest event does.

    One that brought what a lock holds does not: its lock says the same, and that it stayed.
    """
    held = event.kind in _HOLDING and event.digest == push.digest
    return push.at > event.at and not held


def _read(event: LockEvent, earlier: LockEvent | None) -> Pointed:
    """Return what follows from a tag's latest telling event."""
    if event.kind in _HOLDING:
        return Pointed(Sort.HELD, event.digest, event.at, event)
    match EventKind(event.kind):
        case EventKind.LOCK_ENDED if event.other_digest and _is_doubtful(event, earlier):
            return Pointed(Sort.DOUBTFUL, event.other_digest, event.at, event)
        case EventKind.LOCK_ENDED if event.other_digest:
            return Pointed(Sort.PUSHED, event.other_digest, event.at, event)
        case EventKind.CLAIM_DROPPED:
            return Pointed(Sort.DOUBTFUL, event.digest, event.at, event)
        case EventKind.DRIFT_FOUND if event.other_digest:
            return Pointed(Sort.SEEN, event.other_digest, event.at, event)
        case EventKind.DRIFT_FOUND:
            return Pointed(Sort.MISSING, since=event.at, event=event)
    return Pointed(Sort.DELETED, since=event.at, event=event)


def _is_doubtful(ended: LockEvent, earlier: LockEvent | None) -> bool:
    """Whether the lock ended because its push was dropped, and may have landed all the same."""
    return (
        earlier is not None
        and earlier.kind == EventKind.CLAIM_DROPPED
        and earlier.digest == ended.other_digest
        and ended.reason == ANOTHER_IMAGE
    )


def _find_first(
    workspace: Workspace, repository: Repository, tag: Tag, after: datetime
) -> Entry | None:
    """Return the first record of a tag after a moment before which there is none."""
    event = _events(workspace, repository, tag).filter(at__gt=after).order_by("at", "id").first()
    push = _pushes(workspace, repository, tag).filter(at__gt=after).order_by("id").first()
    entries = [Entry(event.at, event=event)] if event else []
    entries += [Entry(push.at, push=push)] if push else []
    return min(entries, key=lambda entry: entry.at, default=None)


def _events(workspace: Workspace, repository: Repository, tag: Tag) -> QuerySet[LockEvent]:
    return LockEvent.objects.filter(
        workspace=workspace.slug, repository=repository.name, tag=tag.name
    )


def _pushes(workspace: Workspace, repository: Repository, tag: Tag) -> QuerySet[Push]:
    return Push.objects.filter(workspace=workspace, repository=repository.name, tag=tag.name)

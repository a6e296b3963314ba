"""What moved while a change of settings was in force: tags that were protected before it."""

import heapq
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import groupby
from operator import itemgetter

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from containers.models import Push
from containers.names import TagName
from immutability.locks import ANOTHER_IMAGE, SHOWS_ANOTHER
from immutability.policy.details import from_details
from immutability.policy.protection import cover
from workspaces.access import describe_actor
from workspaces.log.kinds import EventKind
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

MOVES_PER_PAGE = 50
# How many pushes, and how many locks that ended, a page looks through.
MAX_SCANNED = 1_000
# A page stops after its rules have taken this long: seven bad ones take 15 ms per tag.
MAX_MATCH_SECONDS = 1.0


@dataclass(frozen=True)
class Move:
    """A tag that came from one image to another. Empty: it was deleted."""

    at: datetime
    repository: str
    tag: str
    before: str
    after: str
    actor: str


@dataclass(frozen=True)
class Place:
    """How far someone has read: the last push and the last event that were looked at, by id."""

    push_id: int = 0
    event_id: int = 0


@dataclass(frozen=True)
class MovedPage:
    """Some moves, oldest first; `following` is where the next page begins, if there is one.

    `until` is when the next change of settings was saved, or None. If `is_whole` is false, the
    page might have more: the next page does.
    """

    moves: list[Move]
    until: datetime | None
    following: Place | None = None
    is_whole: bool = True


@dataclass(frozen=True)
class _Found:
    """A record that was looked at, by its id, and the move that it tells of, if any."""

    at: datetime
    push_id: int = 0
    event_id: int = 0
    move: Move | None = None


class _Shift:
    """The policies before and after a change of settings.

    Raises KeyError, TypeError, ValueError or AttributeError if an event does not have them.
    """

    def __init__(self, saved: LockEvent) -> None:
        details = saved.details or {}
        before, after = from_details(details["before"]), from_details(details["after"])

        @lru_cache(maxsize=2 * MAX_SCANNED + 2)
        def uncovers(tag: str) -> bool:
            name = TagName(tag)
            return cover(before, name).is_covered and not cover(after, name).is_covered

        self.uncovers = uncovers


def find_moved(
    workspace: Workspace,
    saved: LockEvent,
    place: Place = Place(),
    limit: int = MOVES_PER_PAGE,
) -> MovedPage:
    """Return one page of what moved from the change `saved` to the next one, oldest first.

    Of tags that the settings before it covered, and those after it did not. A tag's first push is
    not a move. `saved` is an event of kind settings.changed. Raises PatternError or
    PatternEvaluationError.
    """
    until = _find_end(workspace, saved)
    try:
        shift = _Shift(saved)
    except (KeyError, TypeError, ValueError, AttributeError):
        return MovedPage([], until)
    pushes = list(_list_pushes(workspace, saved, until, place.push_id)[: MAX_SCANNED + 1])
    ends = list(_list_ends(workspace, saved, until, place.event_id)[: MAX_SCANNED + 1])
    cut = _find_cut(pushes, ends, shift)
    found = list(
        heapq.merge(
            _read_pushes(workspace, [row for row in pushes if not cut or row.at <= cut], shift),
            _read_ends(workspace, [row for row in ends if not cut or row.at <= cut], shift),
            key=lambda each: each.at,
        )
    )
    moved = [index for index, each in enumerate(found) if each.move is not None]
    if len(moved) > limit:
        found = found[: moved[limit - 1] + 1]
    moves = [each.move for each in found if each.move is not None]
    is_whole = len(moved) > limit or cut is None
    has_more = len(moved) > limit or cut is not None
    return MovedPage(moves, until, _place_behind(found, place) if has_more else None, is_whole)


def _find_end(workspace: Workspace, saved: LockEvent) -> datetime | None:
    """Return when the next change of settings was saved, or None."""
    later = LockEvent.objects.filter(
        Q(at__gt=saved.at) | Q(id__gt=saved.id),
        workspace=workspace.slug,
        kind=EventKind.SETTINGS_CHANGED,
        at__gte=saved.at,
    )
    return later.order_by("at", "id").values_list("at", flat=True).first()


def _find_cut(pushes: list[Push], ends: list[LockEvent], shift: _Shift) -> datetime | None:
    """Return up to when the page looks, or None if it looks at all there is.

    Where more was left out than is read, or where the rules take too long. What happened at one
    moment is looked at together.
    """
    cuts = [rows[MAX_SCANNED - 1].at for rows in (pushes, ends) if len(rows) > MAX_SCANNED]
    last = min(cuts, default=None)
    stop_at = time.monotonic() + MAX_MATCH_SECONDS
    rows = heapq.merge(
        ((row.at, row.tag) for row in pushes),
        ((row.at, row.tag) for row in ends),
        key=itemgetter(0),
    )
    looked_at: datetime | None = None
    for at, at_once in groupby(rows, key=itemgetter(0)):
        if last is not None and at > last:
            return last
        if looked_at is not None and time.monotonic() > stop_at:
            return looked_at
        for _, tag in at_once:
            shift.uncovers(tag)
        looked_at = at
    return last


def _place_behind(found: Collection[_Found], start: Place) -> Place:
    """Return the place behind all of `found`, whose pushes and events are each in order."""
    push_id, event_id = start.push_id, start.event_id
    for each in found:
        push_id, event_id = each.push_id or push_id, each.event_id or event_id
    return Place(push_id, event_id)


# ---- pushes ----------------------------------------------------------------------------------


def _list_pushes(
    workspace: Workspace, saved: LockEvent, until: datetime | None, after_id: int
) -> QuerySet[Push]:
    pushes = Push.objects.filter(workspace=workspace, at__gte=saved.at).order_by("at", "id")
    if until is not None:
        pushes = pushes.filter(at__lt=until)
    if after_id:
        place = Push.objects.filter(workspace=workspace, id=after_id).values("at")[:1]
        pushes = pushes.filter(Q(at__gte=place) & (Q(at__gt=place) | Q(id__gt=after_id)))
    return pushes


def _read_pushes(workspace: Workspace, pushes: list[Push], shift: _Shift) -> Iterable[_Found]:
    """Yield each push, with the move that it was: from what the record before it says."""
    wanted = [push.id for push in pushes if shift.uncovers(push.tag)]
    before = _find_images_before(workspace, wanted)
    for push in pushes:
        image = before.get(push.id)
        is_move = image is not None and image != push.digest
        actor = describe_actor(push.actor, push.actor_kind)
        move = Move(push.at, push.repository, push.tag, image or "", push.digest, actor)
        yield _Found(push.at, push_id=push.id, move=move if is_move else None)


def _find_images_before(workspace: Workspace, push_ids: list[int]) -> dict[int, str]:
    """Return what each push's tag pointed at before it: the digest, or nothing once deleted.

    Pushes before which nothing is known of their tag are left out.
    """
    if not push_ids:
        return {}
    tag = {"repository": OuterRef("repository"), "tag": OuterRef("tag")}
    earlier = Push.objects.filter(workspace=workspace, **tag, id__lt=OuterRef("id"))
    events = LockEvent.objects.filter(
        workspace=workspace.slug, **tag, kind__in=_TELLING, at__lte=OuterRef("at")
    )
    rows = Push.objects.filter(id__in=push_ids).annotate(
        earlier_id=Subquery(earlier.order_by("-id").values("id")[:1]),
        event_id=Subquery(events.order_by("-at", "-id").values("id")[:1]),
    )
    places = list(rows.values_list("id", "earlier_id", "event_id"))
    known_pushes = Push.objects.in_bulk([each[1] for each in places if each[1]])
    known_events = LockEvent.objects.in_bulk([each[2] for each in places if each[2]])
    images = {}
    for push_id, earlier_id, event_id in places:
        push, event = known_pushes.get(earlier_id), known_events.get(event_id)
        if event is not None and (push is None or push.at <= event.at):
            images[push_id] = _read_image(event)
        elif push is not None:
            images[push_id] = push.digest
    return images


_TELLING = (
    EventKind.TAG_LOCKED,
    EventKind.TAG_ADOPTED,
    EventKind.PUSH_IDENTICAL,
    EventKind.LOCK_ENDED,
    EventKind.TAG_DELETED,
    EventKind.LOCK_FREED,
)


def _read_image(event: LockEvent) -> str:
    """Return what a tag pointed at right after an event, or nothing.

    A lock that a push ended was ended before that push was sent.
    """
    match EventKind(event.kind):
        case EventKind.LOCK_ENDED if event.reason == ANOTHER_IMAGE:
            return event.digest
        case EventKind.LOCK_ENDED if event.reason == SHOWS_ANOTHER:
            return event.other_digest
        case EventKind.LOCK_ENDED | EventKind.TAG_DELETED | EventKind.LOCK_FREED:
            return ""
        case _:
            return event.digest


# ---- locks that ended ------------------------------------------------------------------------


def _list_ends(
    workspace: Workspace, saved: LockEvent, until: datetime | None, after_id: int
) -> QuerySet[LockEvent]:
    ends = LockEvent.objects.filter(
        workspace=workspace.slug, kind=EventKind.LOCK_ENDED, at__gte=saved.at
    ).order_by("at", "id")
    if until is not None:
        ends = ends.filter(at__lt=until)
    if after_id:
        place = LockEvent.objects.filter(workspace=workspace.slug, id=after_id).values("at")[:1]
        ends = ends.filter(Q(at__gte=place) & (Q(at__gt=place) | Q(id__gt=after_id)))
    return ends


def _read_ends(workspace: Workspace, ends: list[LockEvent], shift: _Shift) -> Iterable[_Found]:
    """Yield each lock that ended, with its move where no push that landed tells of it."""
    told = _find_told(workspace, [end.id for end in ends if shift.uncovers(end.tag)])
    for end in ends:
        is_move = shift.uncovers(end.tag) and end.id not in told
        actor = describe_actor(end.actor, end.actor_kind)
        move = Move(end.at, end.repository, end.tag, end.digest, end.other_digest, actor)
        yield _Found(end.at, event_id=end.id, move=move if is_move else None)


def _find_told(workspace: Workspace, event_ids: list[int]) -> set[int]:
    """Return those of these events whose other image a push brought: it is a record of its own."""
    if not event_ids:
        return set()
    push = Push.objects.filter(
        workspace=workspace,
        repository=OuterRef("repository"),
        tag=OuterRef("tag"),
        digest=OuterRef("other_digest"),
        at__gte=OuterRef("at"),
    )
    rows = LockEvent.objects.filter(Exists(push), id__in=event_ids)
    return set(rows.values_list("id", flat=True))

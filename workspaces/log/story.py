"""The log as a story: events as sentences, by day, with what belongs together in one row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

from workspaces.log.kinds import EventKind
from workspaces.log.models import EventRepeat, LockEvent
from workspaces.log.sentences.pieces import Sentence
from workspaces.log.sentences.settings import find_turn
from workspaces.log.sentences.tags import tell_locked_together
from workspaces.log.sentences.tell import tell

# An event of these kinds is recorded once an hour; what follows is counted.
REPEATABLE_KINDS = frozenset(
    {
        EventKind.PUSH_REFUSED,
        EventKind.PUSH_IDENTICAL,
        EventKind.DELETE_REFUSED,
        EventKind.DRIFT_FOUND,
    }
)
# How many counts are looked through for those of the events of one page.
MAX_COUNTS_READ = 500
# A count is recorded within a minute after its hour, or as soon as a worker is back.
_COUNTED_WITHIN = timedelta(days=1)
# What a push locks under several tags is told in one row; so is what one reading adopts.
_TOGETHER = (EventKind.TAG_LOCKED, EventKind.TAG_ADOPTED)


@dataclass(frozen=True)
class StoryRow:
    """What happened, in one row.

    `repeats` is how often it happened again within its hour, and `count_ref` the event that says
    so once the hour is over. `together` are the events of a row that tells several, newest first.
    """

    event: LockEvent
    sentence: Sentence
    repeats: int = 0
    count_ref: str = ""
    together: tuple[LockEvent, ...] = ()

    @property
    def kind(self) -> EventKind:
        return EventKind(self.event.kind)

    @property
    def icon(self) -> str:
        """The name of the row's icon."""
        return get_look(self.event)[0]

    @property
    def tone(self) -> str:
        """Ok, warning, danger or quiet."""
        return get_look(self.event)[1]

    @property
    def is_settings(self) -> bool:
        """Whether tags may have moved because of this."""
        return self.kind is EventKind.SETTINGS_CHANGED


@dataclass(frozen=True)
class StoryDay:
    """The rows of one day in UTC, newest first."""

    date: date
    name: str
    rows: tuple[StoryRow, ...]


_LOOKS = {
    EventKind.TAG_LOCKED: ("lock", "ok"),
    EventKind.TAG_ADOPTED: ("lock", "ok"),
    EventKind.TAG_DELETED: ("trash-2", "danger"),
    EventKind.PUSH_REFUSED: ("ban", "danger"),
    EventKind.PUSH_IDENTICAL: ("check", "quiet"),
    EventKind.DELETE_REFUSED: ("ban", "danger"),
    EventKind.LOCK_ENDED: ("lock-open", "warning"),
    EventKind.LOCK_RELEASED: ("lock-open", "warning"),
    EventKind.LOCK_FREED: ("lock-open", "warning"),
    EventKind.CLAIM_DROPPED: ("lock-open", "warning"),
    EventKind.DRIFT_FOUND: ("triangle-alert", "danger"),
    EventKind.DRIFT_REPAIRED: ("lock", "ok"),
    EventKind.REPEATS_COUNTED: ("history", "quiet"),
    EventKind.SETTINGS_CHANGED: ("settings", "warning"),
    EventKind.SETTINGS_COUNTED: ("settings", "quiet"),
    EventKind.WORKSPACE_CREATED: ("plus", "quiet"),
    EventKind.WORKSPACE_ARCHIVED: ("lock", "warning"),
    EventKind.WORKSPACE_UNARCHIVED: ("lock-open", "warning"),
    EventKind.WORKSPACE_HANDED_OVER: ("users", "warning"),
    EventKind.PERSON_DEACTIVATED: ("circle-user", "warning"),
    EventKind.PERSON_REACTIVATED: ("circle-user", "warning"),
    EventKind.SITE_ADMIN_ADDED: ("circle-user", "warning"),
    EventKind.SITE_ADMIN_REMOVED: ("circle-user", "quiet"),
    EventKind.GROUP_ROLE_SET: ("users", "warning"),
    EventKind.GROUP_ROLE_REMOVED: ("users", "quiet"),
    EventKind.MEMBER_ADDED: ("users", "quiet"),
    EventKind.MEMBER_CHANGED: ("users", "quiet"),
    EventKind.MEMBER_REMOVED: ("users", "quiet"),
    EventKind.INVITATION_MADE: ("users", "quiet"),
    EventKind.INVITATION_WITHDRAWN: ("users", "quiet"),
    EventKind.PASSWORD_CHANGED: ("circle-user", "quiet"),
    EventKind.PASSWORD_LINK_MADE: ("circle-user", "quiet"),
    EventKind.EMAIL_CHANGED: ("circle-user", "quiet"),
    EventKind.ACCOUNT_LINKED: ("circle-user", "warning"),
    EventKind.ACCOUNT_UNLINKED: ("circle-user", "quiet"),
    EventKind.ACCOUNT_PAUSED: ("circle-user", "warning"),
    EventKind.ACCOUNT_RESUMED: ("circle-user", "warning"),
    EventKind.SIGN_ON_LINKED: ("circle-user", "quiet"),
    EventKind.SIGN_ON_UNLINKED: ("circle-user", "quiet"),
    EventKind.PERSONAL_TOKEN_CREATED: ("key-round", "quiet"),
    EventKind.PERSONAL_TOKEN_REVOKED: ("key-round", "quiet"),
    EventKind.TOKEN_CREATED: ("key-round", "quiet"),
    EventKind.TOKEN_REVOKED: ("key-round", "quiet"),
    EventKind.REPOSITORY_PUBLISHED: ("package", "warning"),
    EventKind.REPOSITORY_CLOSED: ("package", "quiet"),
    EventKind.PREFIX_ADDED: ("package", "quiet"),
    EventKind.PREFIX_REMOVED: ("package", "warning"),
    EventKind.REGISTRY_CHOSEN: ("package", "quiet"),
}
# Of a change of settings that turns protection on or off.
_TURNED_ON = ("shield", "ok")
_TURNED_OFF = ("shield-off", "warning")


def get_look(event: LockEvent) -> tuple[str, str]:
    """Return the icon and the tone of an event: ok, warning, danger or quiet."""
    turn = find_turn(event)
    if turn is None:
        return _LOOKS[EventKind(event.kind)]
    return _TURNED_ON if turn else _TURNED_OFF


def tell_story(events: Sequence[LockEvent], today: date) -> list[StoryDay]:
    """Return the days of `events` of one workspace, which come newest first.

    The count of repeats whose first event is among `events` is told in that one's row.
    """
    rows = tell_rows(events)
    return [
        StoryDay(day, _name_day(day, today), tuple(of_day))
        for day, of_day in groupby(rows, lambda row: row.event.at.astimezone(UTC).date())
    ]


def tell_rows(events: Sequence[LockEvent]) -> list[StoryRow]:
    """Return the rows of `events` of one workspace, newest first, without days."""
    running = _read_running_counts(events)
    counted = _read_counts(events)
    refs = {event.ref for event in events}
    shown = [event for event in events if not _is_told_by_first(event, refs)]
    return [_tell_row(group, running, counted) for group in _group(shown)]


def _name_day(day: date, today: date) -> str:
    if day == today:
        return "Today"
    return "Yesterday" if day == today - timedelta(days=1) else ""


def _is_told_by_first(event: LockEvent, refs: set[str]) -> bool:
    return event.kind == EventKind.REPEATS_COUNTED and _about(event) in refs


def _about(event: LockEvent) -> str:
    ref = (event.details or {}).get("event")
    return ref if isinstance(ref, str) else ""


def _group(events: Sequence[LockEvent]) -> Iterator[list[LockEvent]]:
    """Yield the events of each row."""
    for key, group in groupby(events, _group_key):
        if key is None:
            yield from ([event] for event in group)
        else:
            yield list(group)


def _group_key(event: LockEvent) -> tuple[object, ...] | None:
    """Return what is the same for all events of one row, or None if it has a row of its own.

    A row shows its time to the minute, so that is the same too.
    """
    if event.kind not in _TOGETHER or event.reason:
        return None
    minute = event.at.replace(second=0, microsecond=0)
    place = (event.kind, event.repository, event.rule_name)
    return (*place, event.actor, event.actor_kind, minute)


def _tell_row(
    group: list[LockEvent], running: dict[int, int], counted: dict[str, LockEvent]
) -> StoryRow:
    first = group[0]
    if len(group) > 1:
        return StoryRow(first, tell_locked_together(first, len(group)), together=tuple(group))
    count = counted.get(first.ref)
    if count is not None:
        return StoryRow(first, tell(first), _read_count(count), count.ref)
    return StoryRow(first, tell(first), running.get(first.id, 0))


def _read_count(event: LockEvent) -> int:
    count = (event.details or {}).get("count")
    return count if isinstance(count, int) else 0


def _repeatable(events: Sequence[LockEvent]) -> list[LockEvent]:
    return [event for event in events if event.kind in REPEATABLE_KINDS]


def _read_running_counts(events: Sequence[LockEvent]) -> dict[int, int]:
    """Return how often each event happened again in an hour that is not counted yet, by id."""
    ids = [event.id for event in _repeatable(events)]
    if not ids:
        return {}
    rows = EventRepeat.objects.filter(event_id__in=ids, count__gt=0)
    return dict(rows.values_list("event_id", "count"))


def _read_counts(events: Sequence[LockEvent]) -> dict[str, LockEvent]:
    """Return the events that count repeats of `events`, by the ref of the first one.

    The count of an event that others bury is not found: it has its own row where it is.
    """
    repeatable = _repeatable(events)
    if not repeatable:
        return {}
    moments = [event.at for event in repeatable]
    counts = LockEvent.objects.filter(
        workspace=repeatable[0].workspace,
        kind=EventKind.REPEATS_COUNTED,
        at__gte=min(moments),
        at__lte=_later(max(moments)),
    ).order_by("at", "id")
    return {_about(count): count for count in counts[:MAX_COUNTS_READ]}


def _later(moment: datetime) -> datetime:
    try:
        return moment + _COUNTED_WITHIN
    except OverflowError:
        return moment

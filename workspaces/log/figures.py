"""Numbers about the log that a page shows: bounded, so that they cost the same in any log."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from workspaces.log.kinds import KIND_GROUPS, EventKind, KindGroup
from workspaces.log.models import EventSeal, LockEvent
from workspaces.log.sql import Span, count_events

# More are "1,000+".
MAX_COUNTED = 1_000
DAYS_SHOWN = 7
MAX_REFUSALS_READ = 2_000
MOST_REFUSED_SHOWN = 5

REFUSALS = KIND_GROUPS[KindGroup.REFUSED]
# What admins do to settings and locks.
CHANGES = frozenset(
    {
        EventKind.SETTINGS_CHANGED,
        EventKind.TAG_DELETED,
        EventKind.LOCK_RELEASED,
        EventKind.LOCK_FREED,
        EventKind.CLAIM_DROPPED,
    }
)


@dataclass(frozen=True)
class BoundedCount:
    """How many there are, up to MAX_COUNTED."""

    number: int

    @property
    def is_whole(self) -> bool:
        return self.number <= MAX_COUNTED

    def __str__(self) -> str:
        return f"{self.number:,}" if self.is_whole else f"{MAX_COUNTED:,}+"


@dataclass(frozen=True)
class DayCount:
    """What happened on a day, in UTC."""

    day: date
    refusals: int
    changes: int


@dataclass(frozen=True)
class Week:
    """The last days, oldest first, and how often pushes were refused in as many days before."""

    days: tuple[DayCount, ...]
    refusals_before: BoundedCount

    @property
    def refusals(self) -> int:
        return sum(day.refusals for day in self.days)

    @property
    def changes(self) -> int:
        return sum(day.changes for day in self.days)

    @property
    def is_whole(self) -> bool:
        """Whether no day had more than are counted."""
        return all(max(day.refusals, day.changes) < MAX_COUNTED for day in self.days)


@dataclass(frozen=True)
class RefusedTag:
    """A tag whose pushes were refused, how often, and how much that is of the most refused one."""

    repository: str
    tag: str
    count: int
    percent: int


def count_groups(
    slug: str, groups: list[KindGroup], since: datetime | None, until: datetime | None
) -> dict[KindGroup, BoundedCount]:
    """Return how many events of each group there are in a period."""
    spans = [Span(KIND_GROUPS[group], since, until) for group in groups]
    counts = count_events(slug, spans, MAX_COUNTED + 1)
    return {group: BoundedCount(count) for group, count in zip(groups, counts, strict=True)}


def count_week(slug: str, today: date, kinds: frozenset[EventKind]) -> Week:
    """Return what happened in the last days up to `today`, of the `kinds` that someone may see."""
    days = [today - timedelta(days=back) for back in range(DAYS_SHOWN - 1, -1, -1)]
    changes = CHANGES & kinds
    before = Span(REFUSALS, _begin(days[0] - timedelta(days=DAYS_SHOWN)), _end_before(days[0]))
    spans = [Span(each, _begin(day), _end(day)) for day in days for each in (REFUSALS, changes)]
    [*counts, count_before] = count_events(slug, [*spans, before], MAX_COUNTED + 1)
    shown = [min(count, MAX_COUNTED) for count in counts]
    return Week(
        tuple(
            DayCount(day, shown[2 * place], shown[2 * place + 1]) for place, day in enumerate(days)
        ),
        BoundedCount(count_before),
    )


def find_most_refused(slug: str, now: datetime) -> list[RefusedTag]:
    """Return the tags whose pushes were refused most often in the last days.

    Of the newest MAX_REFUSALS_READ refusals; repeats count once their hour is over.
    """
    since = now - timedelta(days=DAYS_SHOWN)
    counts: Counter[tuple[str, str]] = Counter()
    events = LockEvent.objects.filter(workspace=slug, at__gte=since).order_by("-at", "-id")
    refusals = events.filter(kind=EventKind.PUSH_REFUSED).exclude(tag="")
    for repository, tag in refusals.values_list("repository", "tag")[:MAX_REFUSALS_READ]:
        counts[repository, tag] += 1
    if not counts:
        return []
    repeats = events.filter(kind=EventKind.REPEATS_COUNTED)
    rows = repeats.values_list("repository", "tag", "details")[:MAX_REFUSALS_READ]
    for repository, tag, details in rows:
        if details and details.get("kind") == EventKind.PUSH_REFUSED:
            counts[repository, tag] += _read_count(details)
    most = counts.most_common(MOST_REFUSED_SHOWN)
    return [
        RefusedTag(repository, tag, count, round(100 * count / most[0][1]))
        for (repository, tag), count in most
    ]


def count_sealed(slug: str) -> int:
    """Return how many events are sealed."""
    sequences = EventSeal.objects.filter(workspace=slug).order_by("-sequence")
    return sequences.values_list("sequence", flat=True).first() or 0


def _read_count(details: dict[str, object]) -> int:
    count = details.get("count")
    return count if isinstance(count, int) else 0


def _begin(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _end(day: date) -> datetime:
    return datetime.combine(day, time.max, UTC)


def _end_before(day: date) -> datetime:
    return _end(day - timedelta(days=1))

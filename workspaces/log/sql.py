"""The statements that write events, and count those that repeat: the hot path. And counts."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from workspaces.database import Table, change, fetch, marks, read_time
from workspaces.log.models import EventOrigin, EventRepeat, LockEvent

_EVENTS = Table(LockEvent)
_ORIGINS = Table(EventOrigin)
_REPEATS = Table(EventRepeat)
_EVENT_FIELDS = (
    "ref",
    "workspace",
    "kind",
    "repository",
    "tag",
    "digest",
    "other_digest",
    "actor",
    "actor_kind",
    "rule_name",
    "rule_pattern",
    "settings_version",
    "reason",
    "details",
    "origin_hash",
)
_ORIGIN_FIELDS = ("event_id", "salt", "address", "user_agent")


def insert_events(events: Sequence[LockEvent]) -> None:
    """Insert events in order, and note their ids and times."""
    rows = fetch(
        f"INSERT INTO {_EVENTS.name} ({', '.join(_EVENT_FIELDS)}) "
        f"VALUES {marks(len(_EVENT_FIELDS), len(events))} RETURNING id, at",
        [value for event in events for value in _EVENTS.values(event, _EVENT_FIELDS)],
    )
    for event, (event_id, at) in zip(events, rows, strict=True):
        event.id, event.at = event_id, read_time(at)
        event._state.adding = False


def insert_origins(origins: Sequence[EventOrigin]) -> None:
    """Insert the origins of events."""
    change(
        f"INSERT INTO {_ORIGINS.name} ({', '.join(_ORIGIN_FIELDS)}) "
        f"VALUES {marks(len(_ORIGIN_FIELDS), len(origins))}",
        [value for origin in origins for value in _ORIGINS.values(origin, _ORIGIN_FIELDS)],
    )


def count_repeat(workspace: str, fingerprint: str, hour: datetime) -> str | None:
    """Count one more of an event of this hour; return the first one's ref, None for the first."""
    rows = fetch(
        f"UPDATE {_REPEATS.name} SET count = count + 1 "
        "WHERE workspace = %s AND fingerprint = %s AND hour = %s RETURNING "
        f"(SELECT ref FROM {_EVENTS.name} WHERE id = {_REPEATS.name}.event_id)",
        (workspace, fingerprint, _REPEATS.prepare("hour", hour)),
    )
    return str(rows[0][0]) if rows else None


def insert_repeat(workspace: str, fingerprint: str, hour: datetime, event_id: int) -> None:
    """Begin to count an event within its hour. Raises IntegrityError if another one has."""
    change(
        f"INSERT INTO {_REPEATS.name} (workspace, fingerprint, hour, event_id, count) "
        f"VALUES {marks(5)}",
        (workspace, fingerprint, _REPEATS.prepare("hour", hour), event_id, 0),
    )


@dataclass(frozen=True)
class Span:
    """Events of some kinds, from a moment on and up to another one; None is open."""

    kinds: Collection[str]
    since: datetime | None = None
    until: datetime | None = None


def count_events(workspace: str, spans: Sequence[Span], at_most: int) -> list[int]:
    """Return how many events there are in each span, each counted up to `at_most`: at once."""
    if not spans:
        return []
    counts, values = [], []
    for span in spans:
        condition, named = _describe_span(workspace, span)
        counts.append(
            f"(SELECT COUNT(*) FROM (SELECT 1 FROM {_EVENTS.name} WHERE {condition} "
            "LIMIT %s) AS counted)"
        )
        values += [*named, at_most]
    [row] = fetch(f"SELECT {', '.join(counts)}", values)
    return list(row)


def _describe_span(workspace: str, span: Span) -> tuple[str, list[Any]]:
    kinds = sorted(span.kinds)
    condition = f"workspace = %s AND kind IN {marks(len(kinds))}"
    values: list[Any] = [workspace, *kinds]
    if span.since is not None:
        condition += " AND at >= %s"
        values.append(_EVENTS.prepare("at", span.since))
    if span.until is not None:
        condition += " AND at <= %s"
        values.append(_EVENTS.prepare("at", span.until))
    return condition, values

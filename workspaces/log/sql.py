"""The statements that write events, and count those that repeat: the hot path. And counts."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from workspaces.database import (
    Table,
    Values,
    change,
    fetch,
    is_together,
    marks,
    read_time,
    write,
)
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
# The event's id comes first.
_ORIGIN_FIELDS = ("event_id", "salt", "address", "user_agent")
_REPEAT_FIELDS = ("event_id", "workspace", "fingerprint", "hour", "count")


def insert_event(
    event: LockEvent, origin: EventOrigin | None, repeat: EventRepeat | None = None
) -> None:
    """Insert an event, and what belongs to it; note its id and time, unless it is sent later.

    One statement on PostgreSQL. Raises IntegrityError if the repeat is counted already.
    """
    more: list[tuple[Table[Any], Any, Sequence[str]]] = []
    if origin is not None:
        more.append((_ORIGINS, origin, _ORIGIN_FIELDS))
    if repeat is not None:
        more.append((_REPEATS, repeat, _REPEAT_FIELDS))
    if connection.vendor != "postgresql":
        insert_events([event])
        for table, row, fields in more:
            row.event_id = event.id
            _insert(table, [row], fields)
        return
    if repeat is None and is_together():
        _write_event(event, origin)
        return
    parts = [f"event AS ({_insert_into(_EVENTS, _EVENT_FIELDS)} {_NOTED})"]
    values = _EVENTS.values(event, _EVENT_FIELDS)
    for table, row, fields in more:
        parts.append(
            f"{table.name} AS (INSERT INTO {table.name} ({', '.join(fields)}) "
            f"SELECT id{', %s' * (len(fields) - 1)} FROM event)"
        )
        values += table.values(row, fields[1:])
    rows = fetch(f"WITH {', '.join(parts)} SELECT id, at FROM event", values)
    _note([event], rows)


def _write_event(event: LockEvent, origin: EventOrigin | None) -> None:
    """Insert an event together with what it records."""
    insert, values = _insert_into(_EVENTS, _EVENT_FIELDS), _EVENTS.values(event, _EVENT_FIELDS)
    if origin is None:
        write(insert, values)
        return
    fields = _ORIGIN_FIELDS[1:]
    write(
        f"INSERT INTO {_ORIGINS.name} ({', '.join(_ORIGIN_FIELDS)}) "
        f"SELECT id{', %s' * len(fields)} FROM event",
        [*values, *_ORIGINS.values(origin, fields)],
        first=f"event AS ({insert} RETURNING id)",
    )


def insert_events(events: Sequence[LockEvent]) -> None:
    """Insert events in order, and note their ids and times."""
    rows = fetch(
        f"{_insert_into(_EVENTS, _EVENT_FIELDS, len(events))} {_NOTED}",
        [value for event in events for value in _EVENTS.values(event, _EVENT_FIELDS)],
    )
    _note(events, rows)


def insert_origins(origins: Sequence[EventOrigin]) -> None:
    """Insert the origins of events."""
    _insert(_ORIGINS, origins, _ORIGIN_FIELDS)


def _insert(table: Table[Any], rows: Sequence[Any], fields: Sequence[str]) -> None:
    values = [value for row in rows for value in table.values(row, fields)]
    change(_insert_into(table, fields, len(rows)), values)


def _insert_into(table: Table[Any], fields: Sequence[str], count: int = 1) -> str:
    return f"INSERT INTO {table.name} ({', '.join(fields)}) VALUES {marks(len(fields), count)}"


_NOTED = "RETURNING id, at"


def _note(events: Sequence[LockEvent], rows: Sequence[Values]) -> None:
    for event, (event_id, at) in zip(events, rows, strict=True):
        event.id, event.at = event_id, read_time(at)
        event._state.adding = False


def count_repeat(repeat: EventRepeat) -> str | None:
    """Count one more of an event of this hour; return the first one's ref, None for the first."""
    rows = fetch(
        f"UPDATE {_REPEATS.name} SET count = count + 1 "
        "WHERE workspace = %s AND fingerprint = %s AND hour = %s RETURNING "
        f"(SELECT ref FROM {_EVENTS.name} WHERE workspace = {_REPEATS.name}.workspace "
        f"AND id = {_REPEATS.name}.event_id)",
        _REPEATS.values(repeat, ("workspace", "fingerprint", "hour")),
    )
    return str(rows[0][0]) if rows else None


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

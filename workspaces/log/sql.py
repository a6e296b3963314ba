"""The statements that write events, and count those that repeat: the hot path."""

from collections.abc import Sequence
from datetime import datetime

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
    """Begin to count an event within its hour. Raises IntegrityError where another one has."""
    change(
        f"INSERT INTO {_REPEATS.name} (workspace, fingerprint, hour, event_id, count) "
        f"VALUES {marks(5)}",
        (workspace, fingerprint, _REPEATS.prepare("hour", hour), event_id, 0),
    )

"""Write events."""

import hashlib
import json
import secrets
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

from workspaces.access import SYSTEM, Actor
from workspaces.log import sql
from workspaces.log.canonical import check_canonical, hash_origin
from workspaces.log.kinds import EventKind
from workspaces.log.models import REF_LENGTH, EventOrigin, EventRepeat, LockEvent

# So many rows in one statement: PostgreSQL takes 65,535 values.
_AT_ONCE = 500
# Crockford's base 32: no I, L, O or U, so that a ref can be read aloud.
_REF_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class NotInTransactionError(Exception):
    """An event was about to be written outside the transaction of what it records."""


@dataclass(frozen=True)
class Event:
    """What is to be recorded. Empty text means: does not apply."""

    kind: EventKind
    workspace: str
    repository: str = ""
    tag: str = ""
    digest: str = ""
    other_digest: str = ""
    rule_name: str = ""
    rule_pattern: str = ""
    settings_version: int | None = None
    reason: str = ""
    details: dict[str, Any] | None = None


def make_ref() -> str:
    """Return a new reference: 12 random characters of Crockford's base 32."""
    # Five bits of each byte are a character.
    return "".join(_REF_ALPHABET[byte % 32] for byte in secrets.token_bytes(REF_LENGTH))


def append_event(event: Event, *, actor: Actor) -> LockEvent:
    """Record `event`, within the caller's transaction, and return its row."""
    return append_events([event], actor=actor)[0]


def append_events(events: list[Event], *, actor: Actor) -> list[LockEvent]:
    """Record `events` in order, within the caller's transaction, and return their rows.

    Raises NotInTransactionError if there is no transaction to share, and NotCanonicalError
    if the details of an event are nothing that can be sealed.
    """
    if not connection.in_atomic_block:
        raise NotInTransactionError("an event needs the transaction of what it records")
    made = [_make(event, actor) for event in events]
    rows = [row for row, _ in made]
    if len(made) == 1:
        sql.insert_event(*made[0])
        return rows
    for start in range(0, len(rows), _AT_ONCE):
        sql.insert_events(rows[start : start + _AT_ONCE])
    origins = []
    for row, origin in made:
        if origin is not None:
            origin.event_id = row.id
            origins.append(origin)
    for start in range(0, len(origins), _AT_ONCE):
        sql.insert_origins(origins[start : start + _AT_ONCE])
    return rows


def append_repeatable_event(event: Event, *, actor: Actor) -> str:
    """Record `event` once an hour, count it after that, and return the first one's ref.

    Two events are the same where kind, repository, tag, digest, actor and reason are. What it
    records is an answer that changes nothing, so it needs no transaction.
    """
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    repeat = EventRepeat(
        workspace=event.workspace, fingerprint=_fingerprint(event, actor), hour=hour
    )
    try:
        return _record_repeatable(event, repeat, actor)
    except OperationalError as error:
        if connection.in_atomic_block or not _is_conflict(error):
            raise
    # The server isolates a statement of its own more than our transactions, and it met another.
    with transaction.atomic():
        return _record_repeatable(event, repeat, actor)


def _record_repeatable(event: Event, repeat: EventRepeat, actor: Actor) -> str:
    if ref := sql.count_repeat(repeat):
        return ref
    row, origin = _make(event, actor)
    try:
        with _whole_or_not():
            sql.insert_event(row, origin, repeat)
    except IntegrityError:
        # Another request has recorded the same event since.
        if ref := sql.count_repeat(repeat):
            return ref
        raise
    return row.ref


def _is_conflict(error: OperationalError) -> bool:
    """Whether PostgreSQL could not serialize a statement with others (SQLSTATE 40001)."""
    return getattr(error.__cause__, "sqlstate", None) == "40001"


def _whole_or_not() -> AbstractContextManager[Any]:
    """Return what undoes an insert that fails: a statement of its own needs nothing for that."""
    is_one_statement = connection.vendor == "postgresql" and not connection.in_atomic_block
    return nullcontext() if is_one_statement else transaction.atomic()


def close_repeats(before: datetime) -> int:
    """Turn the counters of the hours that ended by `before` into events; return how many.

    To be called in a transaction of its own.
    """
    ended = (
        EventRepeat.objects.select_for_update(skip_locked=connection.features.has_select_for_update)
        .filter(hour__lte=before - timedelta(hours=1))
        .select_related("event")
        .order_by("id")[:500]
    )
    repeats = list(ended)
    counted = [repeat for repeat in repeats if repeat.count]
    append_events([_count_event(repeat) for repeat in counted], actor=SYSTEM)
    EventRepeat.objects.filter(id__in=[repeat.id for repeat in repeats]).delete()
    return len(repeats)


def _make(event: Event, actor: Actor) -> tuple[LockEvent, EventOrigin | None]:
    """Return the rows of an event and of its origin, if that is known.

    Raises NotCanonicalError.
    """
    check_canonical(event.details, "details")
    salt, origin = secrets.token_hex(16), actor.origin
    row = LockEvent(
        ref=make_ref(),
        workspace=event.workspace,
        kind=event.kind,
        repository=event.repository,
        tag=event.tag,
        digest=event.digest,
        other_digest=event.other_digest,
        actor=actor.name,
        actor_kind=actor.kind,
        rule_name=event.rule_name,
        rule_pattern=event.rule_pattern,
        settings_version=event.settings_version,
        reason=event.reason,
        details=event.details,
        origin_hash=hash_origin(salt, origin.address, origin.user_agent),
    )
    if not (origin.address or origin.user_agent):
        return row, None
    return row, EventOrigin(salt=salt, address=origin.address, user_agent=origin.user_agent)


def _fingerprint(event: Event, actor: Actor) -> str:
    parts = [
        event.kind,
        event.repository,
        event.tag,
        event.digest,
        event.other_digest,
        actor.name,
        actor.kind,
        event.reason,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _count_event(repeat: EventRepeat) -> Event:
    first = repeat.event
    return Event(
        kind=EventKind.REPEATS_COUNTED,
        workspace=first.workspace,
        repository=first.repository,
        tag=first.tag,
        digest=first.digest,
        other_digest=first.other_digest,
        rule_name=first.rule_name,
        rule_pattern=first.rule_pattern,
        settings_version=first.settings_version,
        reason=f"{repeat.count} more of the same within the hour",
        details={
            "count": repeat.count,
            "event": first.ref,
            "kind": first.kind,
            "actor": first.actor,
            "hour": repeat.hour.isoformat().replace("+00:00", "Z"),
        },
    )

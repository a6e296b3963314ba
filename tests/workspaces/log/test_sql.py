"""The statements that write events give what the ORM reads, on both databases."""

from datetime import datetime
from typing import Any

import pytest
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from workspaces.log import sql
from workspaces.log.models import EventOrigin, EventRepeat, LockEvent

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def values_of(row: models.Model | None) -> dict[str, Any]:
    """Return every column's value."""
    assert row is not None
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def make_event(number: int) -> LockEvent:
    return LockEvent(
        ref=f"{number:012}",
        workspace="acme",
        kind="push.refused",
        repository="acme/api",
        tag="v1",
        digest="sha256:aa",
        other_digest="sha256:bb",
        actor="dana",
        actor_kind="person",
        rule_name="Versions",
        rule_pattern="^v",
        settings_version=None if number else 3,
        reason="the tag is locked",
        details={"ü": [1, None]} if number else None,
        origin_hash="c" * 64,
    )


def test_events_are_inserted_in_order_with_their_ids_and_times() -> None:
    events = [make_event(number) for number in range(3)]
    sql.insert_events(events)
    assert [values_of(event) for event in events] == [
        values_of(event) for event in LockEvent.objects.order_by("id")
    ]
    assert events[0].at is not None


def test_origins_are_inserted() -> None:
    event = make_event(0)
    sql.insert_events([event])
    sql.insert_origins(
        [EventOrigin(event_id=event.pk, salt="s", address="127.0.0.1", user_agent="crane")]
    )
    origin = EventOrigin.objects.get()
    assert (origin.event, origin.salt, origin.address, origin.user_agent) == (
        *(event, "s", "127.0.0.1", "crane"),
    )


def make_repeat(hour: datetime) -> EventRepeat:
    return EventRepeat(workspace="acme", fingerprint="f" * 64, hour=hour)


def test_an_event_is_counted_within_its_hour() -> None:
    event, hour = make_event(0), timezone.now().replace(minute=0, second=0, microsecond=0)
    assert sql.count_repeat(make_repeat(hour)) is None
    sql.insert_event(event, None, make_repeat(hour))
    for _ in range(2):
        assert sql.count_repeat(make_repeat(hour)) == event.ref
    repeat = EventRepeat.objects.get()
    assert (repeat.event_id, repeat.hour, repeat.count) == (event.pk, hour, 2)
    with pytest.raises(IntegrityError), transaction.atomic():
        sql.insert_event(make_event(1), None, make_repeat(hour))


@pytest.mark.parametrize("number", [0, 1])
def test_an_event_is_inserted_with_what_belongs_to_it(number: int) -> None:
    event, hour = make_event(number), timezone.now()
    origin = EventOrigin(salt="s", address="127.0.0.1", user_agent="crane")
    sql.insert_event(event, origin, make_repeat(hour))
    assert values_of(event) == values_of(LockEvent.objects.get())
    origin, repeat = EventOrigin.objects.get(), EventRepeat.objects.get()
    assert (origin.event, origin.salt, origin.address, origin.user_agent) == (
        *(event, "s", "127.0.0.1", "crane"),
    )
    assert (repeat.event, repeat.workspace, repeat.fingerprint, repeat.hour, repeat.count) == (
        *(event, "acme", "f" * 64, hour, 0),
    )

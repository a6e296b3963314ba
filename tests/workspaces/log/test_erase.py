"""Erasing where requests came from, by age and by workspace; the events stay."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.workspaces.log.conftest import Verify, Write
from tests.workspaces.log.tampering import write_at
from workspaces.log import erase
from workspaces.log.canonical import hash_origin
from workspaces.log.erase import erase_origins
from workspaces.log.models import EventOrigin, LockEvent
from workspaces.tasks import erase_old_origins

DAY = datetime(2026, 3, 12, tzinfo=UTC)


def write_from(moment: datetime, workspace: str = "acme") -> LockEvent:
    """Write an event of a moment, with an origin."""
    event = write_at(
        moment, workspace=workspace, origin_hash=hash_origin("salt", "203.0.113.7", "docker")
    )
    EventOrigin.objects.create(event=event, salt="salt", address="203.0.113.7", user_agent="docker")
    return event


def left() -> set[str]:
    return set(EventOrigin.objects.values_list("event__ref", flat=True))


def test_what_is_older_is_erased_and_the_events_stay(db: None) -> None:
    write_from(DAY - timedelta(microseconds=1000))
    stays = write_from(DAY)
    before = list(LockEvent.objects.order_by("id").values())
    assert erase_origins(DAY) == 1
    assert left() == {stays.ref}
    assert list(LockEvent.objects.order_by("id").values()) == before
    assert erase_origins(DAY) == 0


def test_of_some_workspaces_alone(db: None) -> None:
    for slug in ("acme", "globex", "initech"):
        write_from(DAY, slug)
    assert erase_origins(DAY + timedelta(days=1), ["acme", "globex"]) == 2
    assert EventOrigin.objects.get().event.workspace == "initech"


def test_in_batches(write: Write, verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erase, "_BATCH", 3)
    write(10)
    assert erase_origins(timezone.now() + timedelta(days=1)) == 10
    assert verify() == []


def test_the_task_erases_nothing_unless_it_is_told_to(db: None, settings: Any) -> None:
    old = write_from(timezone.now() - timedelta(days=400))
    young = write_from(timezone.now() - timedelta(days=29))
    assert settings.ORIGIN_RETENTION_DAYS == 0
    erase_old_origins()
    assert left() == {old.ref, young.ref}
    settings.ORIGIN_RETENTION_DAYS = 30
    erase_old_origins()
    assert left() == {young.ref}

"""What is written together is sent at once, whole or not at all."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from tests.conftest import is_postgresql
from workspaces.access import Actor, ActorKind, Origin
from workspaces.database import together, write
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind
from workspaces.log.models import EventOrigin, LockEvent
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

DANA = Actor("dana", ActorKind.PERSON, Origin("192.0.2.1", "docker"))
RENAME = "UPDATE workspaces_workspace SET name = %s WHERE id = %s"


def lock(tag: str) -> None:
    """Record that a tag was locked."""
    append_event(Event(EventKind.TAG_LOCKED, "acme", "acme/api", tag), actor=DANA)


def test_what_is_written_together_is_sent_at_the_end(acme: Workspace, globex: Workspace) -> None:
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        with together():
            write(RENAME, ("one", acme.pk))
            lock("v1")
            with together():
                write(RENAME, ("two", globex.pk))
            count = len(queries)
        if is_postgresql():
            assert (count, len(queries)) == (0, 1)
    assert list(Workspace.objects.order_by("id").values_list("name", flat=True)) == ["one", "two"]
    event = LockEvent.objects.get(tag="v1")
    assert EventOrigin.objects.get(event=event).address == "192.0.2.1"


def test_events_keep_their_order_and_each_its_origin() -> None:
    with transaction.atomic(), together():
        for number in range(3):
            lock(f"v{number}")
    events = LockEvent.objects.filter(kind=EventKind.TAG_LOCKED).order_by("id")
    assert [event.tag for event in events] == ["v0", "v1", "v2"]
    assert EventOrigin.objects.filter(event__in=events).count() == 3


def write_and_fail(workspace: Workspace) -> None:
    """Write something together, and fail within."""
    with transaction.atomic(), together():
        write(RENAME, ("one", workspace.pk))
        raise ZeroDivisionError


def write_what_fails(workspace: Workspace) -> None:
    """Write something together with what the database refuses."""
    with transaction.atomic(), together():
        write(RENAME, ("one", workspace.pk))
        write("INSERT INTO workspaces_workspace (slug, name) VALUES ('acme', 'two')")


def test_after_an_error_nothing_is_left_of_it(acme: Workspace) -> None:
    with pytest.raises(ZeroDivisionError):
        write_and_fail(acme)
    with pytest.raises(IntegrityError):
        write_what_fails(acme)
    acme.refresh_from_db()
    assert acme.name != "one"
    write(RENAME, ("three", acme.pk))
    acme.refresh_from_db()
    assert acme.name == "three"

"""Events that were put in where nobody would look: in another chain, before it all."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.workspaces.log.conftest import Verify
from tests.workspaces.log.tampering import note, write_at
from workspaces.log.canonical import FIRST_PREVIOUS_HASH, format_time, hash_document, to_document
from workspaces.log.models import EventSeal, LockEvent
from workspaces.log.seal import count_unsealed, seal_events, seal_late_events, sweep

LONG_AGO = timedelta(days=90)


def seal_in(workspace: str, sequence: int, event: LockEvent, previous: str) -> None:
    EventSeal.objects.create(
        workspace=workspace,
        sequence=sequence,
        event=event,
        hash=hash_document(previous, to_document(event, sequence)),
    )


@pytest.mark.parametrize("age", [timedelta(0), LONG_AGO], ids=str)
def test_an_event_that_is_sealed_in_a_chain_of_nobody_is_found(
    sealed: list[LockEvent], verify: Verify, age: timedelta
) -> None:
    note()
    event = write_at(timezone.now() - age)
    seal_in("nobody", 1, event, FIRST_PREVIOUS_HASH)
    seal_events()
    sweep()
    assert verify() == [
        f"event {event.ref} of {format_time(event.at)} is sealed in another chain",
    ]


def test_an_event_of_another_workspace_in_a_chain_is_found_by_both(
    sealed: list[LockEvent], verify: Verify
) -> None:
    event = write_at(timezone.now(), workspace="globex")
    seal_in("acme", 6, event, EventSeal.objects.get(sequence=5).hash)
    assert verify() == [f"event 6 ({event.ref}) is of another workspace: 'globex'"]
    assert verify(slug="globex") == [
        f"event {event.ref} of {format_time(event.at)} is sealed in another chain"
    ]


@pytest.mark.parametrize("event_id", [0, -5, -(2**62), -(2**63)])
def test_an_event_with_an_id_that_the_database_gives_to_none_is_found(
    sealed: list[LockEvent], verify: Verify, event_id: int
) -> None:
    event = write_at(timezone.now() - LONG_AGO, id=event_id)
    assert verify() == [f"event {event.ref} of {format_time(event.at)} is not sealed"]


@pytest.mark.parametrize("look", [seal_late_events, sweep])
def test_an_event_with_an_id_that_the_database_gives_to_none_is_sealed_and_found(
    sealed: list[LockEvent], verify: Verify, look: object
) -> None:
    event = write_at(timezone.now() - LONG_AGO, id=-5)
    assert callable(look)
    assert look() == 1
    (finding,) = verify()
    assert finding.startswith(f"event 6 ({event.ref}) was inserted in the past")
    assert count_unsealed("acme").count == 0

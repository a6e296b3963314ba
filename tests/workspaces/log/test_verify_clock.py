"""A clock that once was ahead: it is said once, and hides nobody who puts in events of the past."""

from datetime import datetime, timedelta

from django.utils import timezone

from tests.workspaces.log.conftest import Verify, Write
from tests.workspaces.log.tampering import note, without_triggers, write_at
from workspaces.log.canonical import format_time
from workspaces.log.checkpoints import Statement
from workspaces.log.keys import read_signing_key
from workspaces.log.models import EventSeal, LockEvent
from workspaces.log.seal import seal_events

AHEAD = timedelta(days=400)


def seal_at(event: LockEvent, moment: datetime) -> None:
    """Seal what is there; let the seals say that it was at `moment`."""
    seal_events()
    with without_triggers():
        EventSeal.objects.filter(event=event).update(sealed_at=moment)


def write_ahead() -> list[LockEvent]:
    """Write and seal two events while the clock is ahead."""
    events = []
    for hours in (0, 2):
        moment = timezone.now() + AHEAD + timedelta(hours=hours)
        events.append(write_at(moment))
        seal_at(events[-1], moment)
    return events


def test_a_clock_that_stepped_back_is_one_finding(
    sealed: list[LockEvent], verify: Verify, write: Write
) -> None:
    ahead = write_ahead()
    for _ in range(3):
        write(2)
        seal_events()
    (finding,) = verify()
    assert finding.startswith("the clock stepped back after event 7, or event 8 (")
    assert finding.endswith(f"and the log had come to {format_time(ahead[-1].at)}")


def test_a_checkpoint_of_a_clock_that_was_ahead_is_one_finding(
    sealed: list[LockEvent], verify: Verify, write: Write
) -> None:
    """Nothing was sealed in the future; the time that was signed is of it."""
    head = EventSeal.objects.get(sequence=5).hash
    ahead = Statement("tags.example.org/acme/lock-log", 5, head, timezone.now() + AHEAD)
    kept = read_signing_key().sign(ahead.to_text())
    for _ in range(2):
        write(2)
        seal_events()
        note()
    (finding,) = verify(kept)
    assert finding.startswith("the clock stepped back after event 5, or event 6 (")


def test_each_step_of_the_clock_is_a_finding_of_its_own(
    sealed: list[LockEvent], verify: Verify, write: Write
) -> None:
    for _ in range(2):
        write_ahead()
        write(2)
        seal_events()
    assert [each.split(",")[0] for each in verify()] == [
        "the clock stepped back after event 7",
        "the clock stepped back after event 11",
    ]


def test_an_event_of_the_past_is_found_behind_a_step_of_the_clock(
    sealed: list[LockEvent], verify: Verify, write: Write
) -> None:
    write_ahead()
    write(2)
    seal_events()
    late = write_at(timezone.now() - timedelta(days=30))
    seal_events()
    step, finding = verify()
    assert step.startswith("the clock stepped back after event 7")
    assert finding.startswith(f"event 10 ({late.ref}) was inserted in the past")


def test_an_event_of_the_past_whose_seal_says_so_too_is_found(
    sealed: list[LockEvent], verify: Verify, write: Write
) -> None:
    long_ago = timezone.now() - timedelta(days=30)
    late = write_at(long_ago)
    seal_at(late, long_ago + timedelta(seconds=1))
    write(2)
    seal_events()
    (finding,) = verify()
    assert f"or event 6 ({late.ref}) was inserted in the past: it was sealed at " in finding


def test_a_clock_that_is_a_little_behind_is_no_step(
    sealed: list[LockEvent], verify: Verify
) -> None:
    moment = timezone.now() - timedelta(minutes=59)
    late = write_at(moment)
    seal_at(late, moment)
    assert verify() == [
        f"event 6 ({late.ref}) was sealed earlier than the one before it, as the seals say"
    ]

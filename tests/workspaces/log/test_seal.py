"""Sealing: every event gets the next place of its workspace's chain, once."""

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from tests.conftest import is_postgresql
from tests.workspaces.log.conftest import Verify, Write
from tests.workspaces.log.tampering import write_at
from workspaces.log import seal
from workspaces.log.canonical import FIRST_PREVIOUS_HASH, hash_document, to_document
from workspaces.log.models import EventSeal, LockEvent, SealProgress
from workspaces.log.seal import (
    Unsealed,
    count_unsealed,
    seal_events,
    seal_for,
    seal_late_events,
    sweep,
    sweep_if_due,
)
from workspaces.models import Workspace
from workspaces.tasks import seal_lock_log

pytestmark = pytest.mark.both_databases

OLD = datetime(2026, 3, 12, 14, tzinfo=UTC)


def chain(workspace: str = "acme") -> list[tuple[int, str]]:
    """Return the refs of a workspace's sealed events, with their places."""
    seals = EventSeal.objects.filter(workspace=workspace).order_by("sequence")
    return list(seals.values_list("sequence", "event__ref"))


def settled_id() -> int:
    return SealProgress.objects.get().settled_id


def test_events_are_sealed_in_the_order_in_which_they_were_written(write: Write) -> None:
    rows = write(3)
    assert seal_events() == 3
    assert chain() == [(1, rows[0].ref), (2, rows[1].ref), (3, rows[2].ref)]


def test_each_hash_covers_the_event_and_the_hash_before_it(write: Write) -> None:
    rows = write(3)
    seal_events()
    previous = FIRST_PREVIOUS_HASH
    for row, sealed in zip(rows, EventSeal.objects.order_by("sequence"), strict=True):
        previous = hash_document(previous, to_document(row, sealed.sequence))
        assert sealed.hash == previous


def test_each_workspace_has_a_chain_of_its_own(write: Write) -> None:
    first, other, second = write(1), write(1, "globex"), write(1)
    assert seal_events() == 3
    assert chain("acme") == [(1, first[0].ref), (2, second[0].ref)]
    assert chain("globex") == [(1, other[0].ref)]


def test_sealing_again_does_nothing_and_later_events_follow(write: Write) -> None:
    write(2)
    assert (seal_events(), seal_events()) == (2, 0)
    (row,) = write(1)
    assert seal_events() == 1
    assert chain()[-1] == (3, row.ref)


def test_a_batch_is_no_larger_than_asked_for(write: Write) -> None:
    write(5)
    assert [seal_events(2) for _ in range(4)] == [2, 2, 1, 0]
    assert [sequence for sequence, _ in chain()] == [1, 2, 3, 4, 5]


def test_the_task_seals_until_nothing_is_left(
    write: Write, monkeypatch: pytest.MonkeyPatch, verify: Verify
) -> None:
    monkeypatch.setattr(seal.seal_events, "__defaults__", (2,))
    write(7)
    seal_lock_log()
    assert len(chain()) == 7
    assert verify() == []


def test_the_task_stops_when_its_time_is_over(write: Write) -> None:
    write(1)
    assert seal_for(seconds=0) == 0
    assert seal_for() == 1


# What is unsealed.


def test_the_unsealed_tail_is_counted_for_each_workspace(write: Write) -> None:
    write(2)
    seal_events()
    assert count_unsealed("acme") == Unsealed(0, None)
    rows = write(3)
    write(1, "globex")
    assert count_unsealed("acme") == Unsealed(3, rows[0].at)
    assert count_unsealed("nowhere") == Unsealed(0, None)


def test_of_many_unsealed_events_no_more_are_counted_than_have_to_be(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal, "MAX_COUNTED", 3)
    rows = write(3)
    assert count_unsealed("acme") == Unsealed(3, rows[0].at)
    write(2)
    assert count_unsealed("acme") == Unsealed(3, rows[0].at, is_more=True)


def test_an_event_that_cannot_be_sealed_is_named_and_keeps_nobody_waiting(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    bad = write_at(timezone.now(), details={"share": 0.5})
    rows = write(2)
    with caplog.at_level(logging.ERROR):
        assert seal_events() == 2
    assert chain() == [(1, rows[0].ref), (2, rows[1].ref)]
    assert f"event {bad.ref} of acme cannot be sealed: details.share is of type float" in (
        caplog.text
    )


# What is looked through again.


def test_young_events_are_looked_at_again(write: Write) -> None:
    write(3)
    seal_for()
    assert settled_id() == 0


def test_what_is_older_than_an_hour_is_settled_up_to_the_first_young_event(write: Write) -> None:
    old = [write_at(OLD), write_at(timezone.now() - timedelta(minutes=61))]
    write_at(timezone.now() - timedelta(minutes=59))
    write_at(OLD)
    seal_for()
    assert settled_id() == old[-1].id


def test_the_mark_moves_range_by_range_up_to_the_first_young_event(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal, "_RANGE_IDS", 2)
    rows = [write_at(OLD) for _ in range(5)]
    assert seal_late_events() == 5
    assert settled_id() == rows[4].id
    write(1)
    write_at(OLD)
    assert seal_late_events() == 2
    assert settled_id() == rows[4].id


def test_nothing_is_settled_where_somebody_else_seals(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_at(OLD)
    with monkeypatch.context() as patch:
        patch.setattr(seal, "_take_progress", lambda: False)
        assert (seal_events(), seal_late_events()) == (0, 0)
    assert settled_id() == 0
    assert seal_for() == 1


def test_what_was_committed_late_is_found_near_the_newest_at_once_and_further_back_later(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal, "_NEAR_IDS", 3)
    start = write(1)[0].id
    for number in (6, 7):
        write_at(timezone.now(), id=start + number)
    assert seal_events() == 3
    far = write_at(timezone.now(), id=start + 1)
    near = write_at(timezone.now(), id=start + 5)
    assert seal_events() == 1
    assert seal_late_events() == 1
    assert chain()[-2:] == [(4, near.ref), (5, far.ref)]


def test_the_mark_never_moves_past_an_id_that_is_still_under_way(write: Write) -> None:
    """An id between the last old event and the first young one may still be committed."""
    old = write_at(OLD)
    gap = LockEvent(id=old.id + 1, ref="UNDERWAY0000", workspace="acme", kind="tag.locked")
    young = write_at(timezone.now(), id=old.id + 2)
    seal_for()
    assert settled_id() == old.id
    gap.save()
    assert seal_events() == 1
    assert chain() == [(1, old.ref), (2, young.ref), (3, "UNDERWAY0000")]


def test_an_event_that_was_committed_very_late_is_found_by_the_daily_look(write: Write) -> None:
    late_id = write_at(OLD).id + 1
    write_at(OLD, id=late_id + 1)
    seal_for()
    late = write_at(OLD, id=late_id)
    assert seal_for() == 0
    assert sweep() == 1
    assert chain()[-1] == (3, late.ref)
    assert sweep() == 0


def test_the_look_through_everything_is_due_once_a_day(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter((1, 1))
    monkeypatch.setattr(seal, "sweep", lambda: next(looks))
    assert (sweep_if_due(), sweep_if_due()) == (1, 0)
    SealProgress.objects.update(swept_at=timezone.now() - timedelta(hours=23, minutes=59))
    assert sweep_if_due() == 0
    SealProgress.objects.update(swept_at=timezone.now() - timedelta(hours=24, minutes=1))
    assert (sweep_if_due(), sweep_if_due()) == (1, 0)


def test_the_look_through_everything_takes_many_ids_in_pieces(
    write: Write, monkeypatch: pytest.MonkeyPatch, verify: Verify
) -> None:
    monkeypatch.setattr(seal, "_RANGE_IDS", 3)
    write(10)
    assert sweep() == 10
    assert verify() == []


@pytest.mark.parametrize("look", [seal_late_events, sweep])
def test_a_backlog_is_sealed_in_short_transactions(
    write: Write, monkeypatch: pytest.MonkeyPatch, verify: Verify, look: Callable[[], int]
) -> None:
    monkeypatch.setattr(seal, "_EVENTS_AT_ONCE", 3)
    inner, sizes, depth = seal._seal, [], len(connection.savepoint_ids)

    def count(events: Iterable[LockEvent]) -> int:
        assert len(connection.savepoint_ids) == depth + 1
        sizes.append(inner(events))
        return sizes[-1]

    monkeypatch.setattr(seal, "_seal", count)
    rows = write(8)
    assert look() == 8
    assert sizes == [3, 3, 2]
    assert chain() == [(number, row.ref) for number, row in enumerate(rows, start=1)]
    assert verify() == []


def test_between_the_slices_others_may_write(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "_EVENTS_AT_ONCE", 2)
    pauses: list[float] = []
    monkeypatch.setattr("workspaces.log.seal.time.sleep", pauses.append)
    expected = [] if is_postgresql() else [seal._PAUSE_SECONDS] * 2
    write(5)
    assert sweep() == 5
    assert pauses == expected
    pauses.clear()
    write(5)
    assert [seal_events(2) for _ in range(3)] == [2, 2, 1]
    assert pauses == expected


def test_what_cannot_be_sealed_keeps_no_slice_of_a_backlog_waiting(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal, "_EVENTS_AT_ONCE", 2)
    for _ in range(5):
        write_at(timezone.now(), details={"share": 0.5})
    rows = write(3)
    assert sweep() == 3
    assert [ref for _, ref in chain()] == [row.ref for row in rows]


def test_the_mark_stays_where_another_one_seals_what_is_left_of_a_range(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal, "_EVENTS_AT_ONCE", 2)
    for _ in range(5):
        write_at(OLD)
    turns = iter((True, False))
    with monkeypatch.context() as patch:
        patch.setattr(seal, "_take_progress", lambda: next(turns))
        assert seal_late_events() == 2
    assert settled_id() == 0
    assert seal_late_events() == 3
    assert settled_id() > 0


def test_ids_that_nothing_has_are_not_looked_through(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner, ranges = seal._seal_range, []

    def count(after_id: int, last_id: int) -> tuple[int, bool]:
        ranges.append((after_id, last_id))
        assert len(ranges) < 10
        return inner(after_id, last_id)

    monkeypatch.setattr(seal, "_seal_range", count)
    rows = write(2)
    huge = write_at(timezone.now(), id=2**63 - 1)
    assert sweep() == 3
    assert [ref for _, ref in chain()] == [*[row.ref for row in rows], huge.ref]
    assert len(ranges) == 2
    assert seal_late_events() == 0


# What keeps a chain from forking.


@pytest.mark.parametrize("which", ["place", "event"])
def test_the_database_refuses_a_second_seal(write: Write, which: str) -> None:
    first, second = write(2)
    seal_events(1)
    sealed = EventSeal.objects.get()
    event, sequence = (second, 1) if which == "place" else (first, 2)
    with pytest.raises(IntegrityError), transaction.atomic():
        EventSeal.objects.create(workspace="acme", sequence=sequence, event=event, hash=sealed.hash)


def test_a_deleted_workspace_keeps_its_chain(acme: Workspace, write: Write, verify: Verify) -> None:
    write(2)
    seal_events()
    acme.delete()
    write(1)
    seal_events()
    assert len(chain()) == 4
    assert verify() == []


def test_looking_for_unsealed_events_begins_behind_the_mark_in_both_tables() -> None:
    query = str(seal._unsealed(12345).query)
    assert query.count("> 12345") == 2

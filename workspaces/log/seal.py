"""Seal events: each gets its place in its workspace's chain of hashes, soon after it was written.

Writing an event waits for no one. Sealing is one process's work at a time, whichever gets there
first; the unique constraints of the seals are the backstop, so that no chain can fork.
"""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection, transaction
from django.db.models import Count, Exists, Max, Min, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from workspaces.log.canonical import (
    FIRST_PREVIOUS_HASH,
    NotCanonicalError,
    hash_document,
    to_document,
)
from workspaces.log.models import EventSeal, LockEvent, SealProgress

logger = logging.getLogger(__name__)

# A transaction that began earlier may still commit an event with a smaller id.
SETTLED_AFTER = timedelta(hours=1)
SWEEP_EVERY = timedelta(days=1)
# After this long, a worker turns to something else, and continues next time.
RUN_SECONDS = 5.0
# After this long, the database cuts off a sealer that hangs, and another one continues.
HUNG_AFTER_SECONDS = 30
# Where more wait, how many is no longer the question; every page of the log counts them.
MAX_COUNTED = 10_000
# Most events that are committed out of order are so few ids behind the newest one. The rest is
# found by looking through everything that is not settled, which costs more, and is done less often.
_NEAR_IDS = 1000
# How many ids such a look takes at once: well below a second's work.
_RANGE_IDS = 50_000
# How many events are sealed in one transaction: on SQLite no one else writes meanwhile.
_EVENTS_AT_ONCE = 1000
# A waiting writer tries again every tenth of a second, and must find it free then.
_PAUSE_SECONDS = 0.11
_SMALLEST_ID = -(2**63)
_PROGRESS_ID = 1


@dataclass(frozen=True)
class Unsealed:
    """The tail of a workspace's log that no seal covers yet. With `is_more`, it is longer."""

    count: int
    oldest_at: datetime | None
    is_more: bool = False


class _Link(NamedTuple):
    """The last place of a chain."""

    sequence: int
    hash: str


def seal_events(at_most: int = _EVENTS_AT_ONCE) -> int:
    """Seal the next unsealed events, of all workspaces, in the order of their ids; return how many.

    Returns 0 where nothing new is to be sealed, and where another process is at it. What was
    committed much later than it was written is left to `seal_late_events`.
    """
    _make_progress()
    with transaction.atomic():
        if not _take_progress():
            return 0
        sealed = _seal(_unsealed(_find_start())[:at_most])
    if sealed == at_most:
        _let_others_write()
    return sealed


def seal_late_events() -> int:
    """Look through all that is not settled for unsealed events, and seal them; return how many.

    Moves the mark past events that nothing can come before. What has an id below 1, which
    the database gives to none, is looked for too: no mark is before it.
    """
    _make_progress()
    return _look_through(None, last=0) + _look_through(_read_settled_id(), is_settling=True)


def seal_for(seconds: float = RUN_SECONDS) -> int:
    """Seal until nothing is left, for about this long; return how many events were sealed."""
    ends_at = time.monotonic() + seconds
    total = 0
    while time.monotonic() < ends_at:
        sealed = seal_events()
        total += sealed
        if not sealed:
            return total + seal_late_events()
    return total


def sweep_if_due() -> int:
    """Once a day, look through the whole log; return how many events were sealed by that."""
    _make_progress()
    day_is_over = Q(swept_at=None) | Q(swept_at__lte=Now() - SWEEP_EVERY)
    # Taken before the work is done, so that one process does it.
    if SealProgress.objects.filter(day_is_over, id=_PROGRESS_ID).update(swept_at=Now()):
        return sweep()
    return 0


def sweep() -> int:
    """Look through the whole log for unsealed events, and seal them; return how many.

    Finds what was committed more than SETTLED_AFTER after it was written.
    """
    _make_progress()
    return _look_through(None)


def count_unsealed(slug: str = "") -> Unsealed:
    """Return how many events of a workspace no seal covers yet, and when the oldest one was.

    Without a slug, of all workspaces. Counts the first MAX_COUNTED of them. Leaves out what was
    committed much later than it was written; that is sealed within a minute.
    """
    unsealed = _unsealed(_find_start())
    if slug:
        unsealed = unsealed.filter(workspace=slug)
    found = unsealed[: MAX_COUNTED + 1].aggregate(count=Count("id"), oldest_at=Min("at"))
    count = min(found["count"], MAX_COUNTED)
    return Unsealed(count, found["oldest_at"], is_more=found["count"] > MAX_COUNTED)


def _find_start() -> int:
    """Return the id behind which new events are: a little before the newest one that is sealed."""
    newest = EventSeal.objects.aggregate(newest=Max("event_id"))["newest"] or 0
    return max(_read_settled_id(), newest - _NEAR_IDS)


def _read_settled_id() -> int:
    settled_ids = SealProgress.objects.filter(id=_PROGRESS_ID).values_list("settled_id", flat=True)
    return settled_ids.first() or 0


def _unsealed(after_id: int, last_id: int | None = None) -> QuerySet[LockEvent]:
    """Return the events behind `after_id`, in order, that no chain has a place for."""
    # Both sides are told where to begin: neither table is read from its start.
    seal = EventSeal.objects.filter(event_id=OuterRef("id"), event_id__gt=after_id)
    events = LockEvent.objects.filter(~Exists(seal), id__gt=after_id).order_by("id")
    return events if last_id is None else events.filter(id__lte=last_id)


def _look_through(
    after_id: int | None, *, last: int | None = None, is_settling: bool = False
) -> int:
    """Seal what is unsealed behind `after_id`, range by range of ids; return how many events.

    None: from the first event, or up to the last one. Moves the mark as long as everything up to
    there is settled. Ends where another one seals.
    """
    total = 0
    if last is None:
        last = LockEvent.objects.aggregate(last=Max("id"))["last"]
    while last is not None and (first := _find_next_id(after_id, last)) is not None:
        # Not the ids that nothing has: there may be more of them than anyone could look through.
        start = max(first - 1, _SMALLEST_ID)
        last_id = min(start + _RANGE_IDS, last)
        sealed, is_through = _seal_range(start, last_id)
        total += sealed
        if not is_through:
            return total
        is_settling = is_settling and _settle(start, last_id)
        after_id = last_id
    return total


def _find_next_id(after_id: int | None, last: int) -> int | None:
    events = LockEvent.objects.filter(id__lte=last).order_by("id")
    if after_id is not None:
        events = events.filter(id__gt=after_id)
    return events.values_list("id", flat=True).first()


def _seal_range(after_id: int, last_id: int) -> tuple[int, bool]:
    """Seal what is unsealed in a range of ids, a thousand events in a transaction.

    Returns how many were sealed, and whether that was all; otherwise another process seals.
    """
    total = 0
    while (first := _unsealed(after_id, last_id).values_list("id", flat=True).first()) is not None:
        with transaction.atomic():
            if not _take_progress():
                return total, False
            # Searched again: another process may have sealed them in the meantime.
            events = list(_unsealed(first - 1, last_id)[:_EVENTS_AT_ONCE])
            total += _seal(events)
        if len(events) == _EVENTS_AT_ONCE:
            _let_others_write()
        # Not from the beginning: what cannot be sealed is still there.
        after_id = events[-1].id if events else first
    return total, True


def _let_others_write() -> None:
    """Wait a little before the next transaction, where one writer keeps out all others."""
    if connection.vendor == "sqlite":
        time.sleep(_PAUSE_SECONDS)


def _make_progress() -> None:
    """See that the row is there: in no transaction that others would wait for."""
    if not SealProgress.objects.filter(id=_PROGRESS_ID).exists():
        SealProgress.objects.bulk_create([SealProgress(id=_PROGRESS_ID)], ignore_conflicts=True)


def _take_progress() -> bool:
    """Hold the row whose holder seals until the transaction ends; False: someone else holds it."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # The first: it says nothing more. The second: it does not take what it asked for.
            cursor.execute(
                "SELECT set_config('idle_in_transaction_session_timeout', %s, true), "
                "set_config('tcp_user_timeout', %s, true)",
                [f"{HUNG_AFTER_SECONDS * 1000}"] * 2,
            )
    rows = SealProgress.objects.filter(id=_PROGRESS_ID)
    if connection.features.has_select_for_update:
        rows = rows.select_for_update(skip_locked=True)
    return rows.first() is not None


def _seal(events: Iterable[LockEvent]) -> int:
    """Give each event the next place of its workspace's chain; return how many got one.

    Only to be called by the holder of the progress.
    """
    chains: dict[str, _Link] = {}
    seals = []
    for event in events:
        head = chains.get(event.workspace) or _read_head(event.workspace)
        sequence = head.sequence + 1
        try:
            digest = hash_document(head.hash, to_document(event, sequence))
        except NotCanonicalError as error:
            # It must not keep the rest from being sealed. verify_lock_log names it.
            logger.error("event %s of %s cannot be sealed: %s", event.ref, event.workspace, error)
            continue
        chains[event.workspace] = _Link(sequence, digest)
        seals.append(
            EventSeal(workspace=event.workspace, sequence=sequence, event=event, hash=digest)
        )
    EventSeal.objects.bulk_create(seals, batch_size=1000)
    return len(seals)


def _read_head(slug: str) -> _Link:
    head = EventSeal.objects.filter(workspace=slug).order_by("-sequence").first()
    return _Link(head.sequence, head.hash) if head else _Link(0, FIRST_PREVIOUS_HASH)


def _settle(after_id: int, last_id: int) -> bool:
    """Move the mark within a range that was looked through; return whether all of it is settled."""
    events = LockEvent.objects.filter(id__gt=after_id, id__lte=last_id)
    young = events.filter(at__gt=Now() - SETTLED_AFTER).order_by("id")
    first_young = young.values_list("id", flat=True).first()
    if first_young is not None:
        events = events.filter(id__lt=first_young)
    # The last one that was seen, not the one before the young: that id may be in flight.
    settled_id = events.aggregate(last=Max("id"))["last"]
    if settled_id is not None:
        SealProgress.objects.filter(id=_PROGRESS_ID, settled_id__lt=settled_id).update(
            settled_id=settled_id
        )
    return first_young is None

"""The state of the whole installation, read from the database for those who watch it.

Everything is found by an index and counted up to a limit, so it costs the same in any installation.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Min, QuerySet, Sum

from containers.models import Tag as TagRecord
from immutability.models import Drift, Job, LockedTag
from immutability.policy.protection import LockState
from workspaces.log.models import Checkpoint
from workspaces.log.seal import count_unsealed
from workspaces.models import Identity, TaskRun
from workspaces.single_sign_on.people import AWAY_HOURS, CHECK_MINUTES
from workspaces.sql import read_now

# More are as many.
MAX_COUNTED = 1_000
# Two checks that were missed.
UNVOUCHED_LATE = timedelta(minutes=3 * CHECK_MINUTES)


@dataclass(frozen=True)
class Waiting:
    """How many things wait, and for how many seconds the oldest one has."""

    count: int
    seconds: float = 0.0


@dataclass(frozen=True)
class Inventories:
    """The inventories that are not done: how many, and how far they are, in tags."""

    open: int
    looked_at: int
    adopted: int
    left_out: int


@dataclass(frozen=True)
class State:
    """What waits in all workspaces, and how long ago the background did its work, in seconds.

    `writes` are those of the gate that are in flight, `checks` those of two-phase checks. `overdue`
    are expired writes and ended strays that no worker has looked at. `pending` are locks that
    the registry has not shown yet, or whose delete is not done. `unvouched` are people whom the
    identity provider was not asked about for a while, or gave no answer.
    """

    writes: Waiting
    checks: Waiting
    strays: int
    overdue: Waiting
    pending: Waiting
    jobs: Waiting
    inventories: Inventories
    drifts: Mapping[str, int]
    unvouched: Waiting
    unsealed: Waiting
    checkpoint_seconds: float | None
    task_seconds: Mapping[str, float]


def read_state() -> State:
    """Return the state of this moment, by the database's time. Raises database errors."""
    now = read_now()
    in_flight = TagRecord.objects.filter(write_id__isnull=False)
    strays = TagRecord.objects.filter(stray_until__isnull=False)
    expired = in_flight.filter(write_is_external=False, write_expires_at__lte=now)
    ended = strays.filter(write_id__isnull=True, stray_until__lte=now)
    # In the words of the index of rare states, which SQLite finds only by them.
    pending = LockedTag.objects.exclude(state=LockState.LOCKED).filter(
        state__in=[LockState.CLAIMED, LockState.DELETING]
    )
    jobs = Job.objects.filter(done_at__isnull=True)
    unsealed = count_unsealed()
    return State(
        writes=_measure(in_flight.filter(write_is_external=False), "write_begun_at", now),
        checks=_measure(in_flight.filter(write_is_external=True), "write_begun_at", now),
        strays=strays.order_by()[:MAX_COUNTED].count(),
        overdue=_add(
            _measure(expired, "write_expires_at", now), _measure(ended, "stray_until", now)
        ),
        pending=_measure(pending, "locked_at", now),
        jobs=_measure(jobs, "asked_at", now),
        inventories=_read_inventories(jobs),
        drifts=_count_drifts(),
        unvouched=_measure_unvouched(now),
        unsealed=Waiting(unsealed.count, _seconds_since(unsealed.oldest_at, now)),
        checkpoint_seconds=_read_checkpoint_age(now),
        task_seconds={
            run.task: _seconds_since(run.ended_at, now)
            for run in TaskRun.objects.order_by("task")[:MAX_COUNTED]
        },
    )


def _measure(rows: QuerySet[Any], since: str, now: datetime) -> Waiting:
    """Count rows, and measure how long the oldest has waited, by a column with its beginning."""
    found = rows.order_by().values(since)[:MAX_COUNTED].aggregate(n=Count("*"), oldest=Min(since))
    return Waiting(found["n"], _seconds_since(found["oldest"], now))


def _add(one: Waiting, other: Waiting) -> Waiting:
    return Waiting(one.count + other.count, max(one.seconds, other.seconds))


def _seconds_since(at: datetime | None, now: datetime) -> float:
    return max(0.0, (now - at).total_seconds()) if at else 0.0


def _read_inventories(jobs: QuerySet[Job]) -> Inventories:
    counts = ("looked_at_count", "adopted_count", "left_out_count")
    rows = jobs.filter(kind=Job.Kind.INVENTORY).order_by().values(*counts)[:MAX_COUNTED]
    found = rows.aggregate(n=Count("*"), **{f"all_{each}": Sum(each) for each in counts})
    return Inventories(found["n"], *(found[f"all_{each}"] or 0 for each in counts))


def _count_drifts() -> Mapping[str, int]:
    """Count the differences between locks and registry by kind; a kind without any is there."""
    found = Counter(Drift.objects.order_by().values_list("kind", flat=True)[:MAX_COUNTED])
    return {kind: found[kind] for kind in Drift.Kind.values}


def _measure_unvouched(now: datetime) -> Waiting:
    """Count those who are vouched for by the provider, and were not for longer than a check takes.

    Measured from the last time that they were.
    """
    provider, life = settings.PROVIDER_SECRET, timedelta(hours=AWAY_HOURS)
    if provider is None:
        return Waiting(0)
    late = Identity.objects.filter(
        issuer=provider.issuer, vouched_until__lte=now + life - UNVOUCHED_LATE
    )
    found = _measure(late.exclude(refresh_token=""), "vouched_until", now + life)
    return found if found.count else Waiting(0)


def _read_checkpoint_age(now: datetime) -> float | None:
    newest = Checkpoint.objects.order_by("-id").values_list("made_at", flat=True).first()
    return _seconds_since(newest, now) if newest else None

"""Count the locks that a save of settings has suspended and resumed, where there are many.

The save says that this is to come, and is not held up. What is counted becomes an event of its own,
which names the save's.
"""

import logging
import time
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from immutability.models import Job, LockedTag
from immutability.policy.details import from_details
from immutability.policy.protection import LockState, Policy
from immutability.policy.shift import count_shift
from immutability.reconcile.jobs import (
    JOB_LEASE,
    LostLeaseError,
    give_back_lease,
    take_lease,
    write_progress,
)
from workspaces.access import SYSTEM
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind
from workspaces.log.models import LockEvent

logger = logging.getLogger(__name__)

# After this long, a worker turns to something else, and continues next time.
RUN_SECONDS = 5.0
MAX_COUNTS_PER_RUN = 100
LOCKS_PER_PART = 5000


@dataclass(frozen=True)
class _Save:
    """A save of settings: its version, and what was in force before and after."""

    version: int | None
    before: Policy
    after: Policy


def run_counts(seconds: float = RUN_SECONDS) -> int:
    """Continue counting, for about this long; return for how many saves it is done.

    What cannot be counted is tried again later.
    """
    ends_at = time.monotonic() + seconds
    due = Job.objects.filter(kind=Job.Kind.COUNT, done_at__isnull=True, expires_at__lte=Now())
    done = 0
    for job in due.select_related("workspace").order_by("expires_at", "id")[:MAX_COUNTS_PER_RUN]:
        if time.monotonic() >= ends_at:
            break
        if not take_lease(job):
            continue
        try:
            done += _count(job, ends_at)
        except LostLeaseError:
            continue
        except Exception:
            # The others have their turn. The lease keeps this one waiting.
            logger.exception("locks of %s cannot be counted", job.workspace.slug)
    return done


def _count(job: Job, ends_at: float) -> bool:
    """Count part by part; return whether all is counted.

    Raises LostLeaseError, PatternError or PatternEvaluationError.
    """
    save = _read_save(job)
    place = job.lock_id
    while tags := _read_part(job, place):
        place = tags[-1][0]
        shift = count_shift(save.before, save.after, (tag for _, tag in tags))
        write_progress(
            job,
            lock_id=place,
            looked_at_count=F("looked_at_count") + len(tags),
            suspended_count=F("suspended_count") + shift.suspended,
            resumed_count=F("resumed_count") + shift.resumed,
            expires_at=Now() + JOB_LEASE,
        )
        if time.monotonic() >= ends_at:
            give_back_lease(job)
            return False
    _finish(job, save)
    return True


def _read_part(job: Job, place: int) -> list[tuple[int, str]]:
    """Return the ids and tags of the next locks. A claim is none yet."""
    rows = LockedTag.objects.filter(
        workspace=job.workspace, id__gt=place, id__lte=job.last_lock_id
    ).exclude(state=LockState.CLAIMED)
    return list(rows.order_by("id").values_list("id", "tag")[:LOCKS_PER_PART])


def _read_save(job: Job) -> _Save:
    saved = LockEvent.objects.get(workspace=job.workspace.slug, ref=job.event)
    details = saved.details or {}
    return _Save(
        saved.settings_version, from_details(details["before"]), from_details(details["after"])
    )


@transaction.atomic
def _finish(job: Job, save: _Save) -> None:
    """Record what was counted. Raises LostLeaseError if someone else has the job."""
    write_progress(job, lease=None, done_at=Now())
    job.refresh_from_db()
    append_event(
        Event(
            EventKind.SETTINGS_COUNTED,
            job.workspace.slug,
            settings_version=save.version,
            details={
                "event": job.event,
                "locks_suspended": job.suspended_count,
                "locks_resumed": job.resumed_count,
                "locks_looked_at": job.looked_at_count,
            },
        ),
        actor=SYSTEM,
    )
    job.delete()

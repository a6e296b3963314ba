"""Compare every lock of a workspace with the registry: a job, part by part, that can go on.

Of each part the registry is asked many questions at once. How far it is, is a row, so that another
worker goes on where one was killed.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from django.db.models import F
from django.db.models.functions import Now

from containers.registries import filter_at
from containers.registry.client import RegistryClient, RegistryUnavailableError
from immutability.models import Job, LockedTag
from immutability.policy.patterns import PatternError, PatternEvaluationError
from immutability.reconcile.drift import STATES, Asker, check_locks
from immutability.reconcile.jobs import (
    COMPARE_AGAIN_AFTER,
    JOB_LEASE,
    LostLeaseError,
    give_back_lease,
    take_lease,
    write_progress,
)
from workspaces.models import Workspace
from workspaces.pool import release_database

logger = logging.getLogger(__name__)

# After this long, a worker turns to something else, and continues next time.
RUN_SECONDS = 5.0
LOCKS_PER_PART = 100
MAX_CALLS_AT_ONCE = 8
_MAX_JOBS_PER_RUN = 100


def run_comparisons(
    registry: RegistryClient,
    seconds: float = RUN_SECONDS,
    workspace: Workspace | None = None,
    *,
    registry_id: int | None = None,
) -> int:
    """Continue open comparisons, of one workspace or of all at a registry, for about this long.

    Returns how many are done. What the registry gives no answer to is left for the next time.
    """
    ends_at = time.monotonic() + seconds
    due = Job.objects.filter(kind=Job.Kind.DRIFT, done_at__isnull=True, expires_at__lte=Now())
    due = filter_at(due, registry_id) if workspace is None else due.filter(workspace=workspace)
    done = 0
    with _asking(registry) as asker:
        for job in due.select_related("workspace").order_by("expires_at")[:_MAX_JOBS_PER_RUN]:
            if time.monotonic() >= ends_at:
                break
            if not take_lease(job):
                continue
            try:
                done += _compare(job, asker, ends_at)
            except LostLeaseError:
                continue
            except RegistryUnavailableError as error:
                logger.warning("locks of %s: no answer (%s)", job.workspace.slug, error)
                # The others would get no answer, either.
                break
            except (PatternError, PatternEvaluationError):
                logger.exception("locks of %s cannot be compared", job.workspace.slug)
    return done


@contextmanager
def _asking(registry: RegistryClient) -> Iterator[Asker]:
    with ThreadPoolExecutor(MAX_CALLS_AT_ONCE, "compare") as executor:
        yield Asker(registry, executor)


def _compare(job: Job, asker: Asker, ends_at: float) -> bool:
    """Compare part by part; return whether all is compared.

    Raises LostLeaseError, RegistryUnavailableError, PatternError and PatternEvaluationError.
    """
    place = job.lock_id
    try:
        while rows := _read_part(job, place):
            looks = check_locks(rows, asker)
            unanswered = [row for row, look in zip(rows, looks, strict=True) if look.error]
            if unanswered:
                # What the registry cannot show does not stop the others.
                release_database()
                asker.registry.require_answer()
            write_progress(job, **_count(rows, unanswered, is_first=place == 0))
            place = rows[-1].id
            if time.monotonic() >= ends_at:
                give_back_lease(job)
                return False
    except LostLeaseError:
        raise
    except BaseException:
        give_back_lease(job)
        raise
    return _finish(job)


def _read_part(job: Job, place: int) -> list[LockedTag]:
    rows = LockedTag.objects.filter(workspace=job.workspace, id__gt=place, state__in=STATES)
    return list(rows.select_related("record", "workspace").order_by("id")[:LOCKS_PER_PART])


def _count(
    rows: Sequence[LockedTag], unanswered: Sequence[LockedTag], *, is_first: bool
) -> dict[str, Any]:
    """Return what a part adds to the job. The first one forgets what the last comparison found."""
    looked_at, left_out = len(rows), len(unanswered)
    named = {"left_out_repository": unanswered[-1].repository} if unanswered else {}
    if is_first:
        counts: dict[str, Any] = {"looked_at_count": looked_at, "left_out_count": left_out}
        named = {"left_out_repository": "", **named}
    else:
        counts = {
            "looked_at_count": F("looked_at_count") + looked_at,
            "left_out_count": F("left_out_count") + left_out,
        }
    return {"lock_id": rows[-1].id, **counts, **named, "expires_at": Now() + JOB_LEASE}


def _finish(job: Job) -> bool:
    """End the job; if it was ordered again since it began, it begins again after a pause.

    Returns whether it is done.
    """
    # No later one, and both as the database wrote them: SQLite's own times and those of Python are
    # never equal.
    same = Job.objects.filter(id=job.id, lease=job.lease, asked_at__lte=F("begun_for"))
    if same.update(lease=None, done_at=Now(), compared_at=Now()):
        return True
    write_progress(
        job,
        lock_id=0,
        lease=None,
        compared_at=Now(),
        expires_at=Now() + COMPARE_AGAIN_AFTER,
    )
    return False

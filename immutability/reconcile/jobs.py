"""Background work is kept in rows: any worker can do the next piece, without a message."""

import uuid
from datetime import timedelta
from typing import Any

from django.db.models import Case, Exists, F, OuterRef, When
from django.db.models.functions import Coalesce, Greatest, Now

from containers.names import RepositoryName
from immutability.models import Job, LockedTag
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

# A worker records how far it is after each batch, and renews its lease for this long.
JOB_LEASE = timedelta(minutes=2)
# This many workspaces without a job get one at once.
MAX_JOBS_BEGUN = 1000


# A comparison that was ordered while one ran, or by reports of the registry alone.
COMPARE_AGAIN_AFTER = timedelta(minutes=10)


class LostLeaseError(Exception):
    """Another worker has the job, or it was requested again."""


# ---- ask -------------------------------------------------------------------------------------


def ask_for_inventory(workspace: Workspace) -> None:
    """Order a full read of the registry, from the beginning, which locks what is covered.

    Within the transaction that covers it.
    """
    Job.objects.update_or_create(
        workspace=workspace, kind=Job.Kind.INVENTORY, defaults=_from_beginning()
    )


def ask_to_list(workspace: Workspace, repository: RepositoryName) -> None:
    """Order a read of a repository: by the running job, or by a new one that begins with it."""
    job, _ = Job.objects.get_or_create(
        workspace=workspace, kind=Job.Kind.INVENTORY, defaults=_from_beginning()
    )
    Job.objects.filter(id=job.id, done_at__isnull=False).update(
        **_from_beginning() | {"repository": repository.name}
    )


def ask_for_counts(workspace: Workspace, saved: LockEvent) -> None:
    """Order a count of the locks that a save suspends and resumes: those that exist now.

    Within the transaction of the save, whose event is `saved`.
    """
    last = (
        LockedTag.objects.filter(workspace=workspace).order_by("-id").values_list("id", flat=True)
    )
    Job.objects.create(
        workspace=workspace, kind=Job.Kind.COUNT, event=saved.ref, last_lock_id=last.first() or 0
    )


def ask_for_comparison(workspace: Workspace, *, is_urgent: bool = True) -> Job:
    """Order a comparison of every lock with the registry; return the job.

    One that runs goes on, and begins again some minutes after its end: what it has compared may
    have changed since. One that is not urgent waits as long after the end of the last one.
    """
    job, _ = Job.objects.get_or_create(
        workspace=workspace, kind=Job.Kind.DRIFT, defaults=_from_beginning()
    )
    same = Job.objects.filter(id=job.id)
    after_pause = Greatest(Now(), Coalesce(F("compared_at") + COMPARE_AGAIN_AFTER, Now()))
    begins_at = Now() if is_urgent else after_pause
    if same.filter(done_at__isnull=False).update(**_from_beginning() | {"expires_at": begins_at}):
        return job
    same.update(asked_at=Now())
    if is_urgent:
        same.filter(lease__isnull=True).update(expires_at=Now())
    return job


def continue_comparison(workspace: Workspace) -> Job:
    """Return the comparison that was begun, or order one where none is left over."""
    begun = Job.objects.filter(
        workspace=workspace, kind=Job.Kind.DRIFT, done_at=None, lock_id__gt=0
    )
    return begun.first() or ask_for_comparison(workspace)


def find_comparison(workspace: Workspace) -> Job | None:
    """Return how far the comparison of all locks is; None if that was never ordered."""
    return Job.objects.filter(workspace=workspace, kind=Job.Kind.DRIFT).first()


def find_count(workspace: Workspace) -> Job | None:
    """Return how far the counting of locks for the latest save is; None if none are counted."""
    counts = Job.objects.filter(workspace=workspace, kind=Job.Kind.COUNT, done_at=None)
    return counts.order_by("id").last()


def find_inventory(workspace: Workspace) -> Job | None:
    """Return how far the registry has been read; None if that was never started."""
    return Job.objects.filter(workspace=workspace, kind=Job.Kind.INVENTORY).first()


def begin_missing(registry_id: int | None = None) -> None:
    """Begin the inventory of every workspace at a registry that has none yet.

    The registry was just connected.
    """
    job = Job.objects.filter(workspace=OuterRef("pk"), kind=Job.Kind.INVENTORY)
    without = Workspace.objects.filter(~Exists(job), registry=registry_id).order_by("pk")[
        :MAX_JOBS_BEGUN
    ]
    Job.objects.bulk_create(
        [Job(workspace=workspace, kind=Job.Kind.INVENTORY) for workspace in without],
        ignore_conflicts=True,
    )


def _from_beginning() -> dict[str, Any]:
    return {
        "asked_at": Now(),
        "repository": "",
        "tag": "",
        "lock_id": 0,
        "looked_at_count": 0,
        "adopted_count": 0,
        "left_out_count": 0,
        "lease": None,
        "expires_at": Now(),
        "done_at": None,
    }


# ---- leases ----------------------------------------------------------------------------------


def take_lease(job: Job) -> bool:
    """Take the job's lease; return whether it was won. What it reads afterwards is current.

    A comparison that begins now answers what was ordered until now; one that goes on does not.
    """
    begun_for = Case(When(lock_id=0, then=F("asked_at")), default=F("begun_for"))
    lease = uuid.uuid4()
    is_mine = Job.objects.filter(id=job.id, done_at__isnull=True, expires_at__lte=Now()).update(
        lease=lease, expires_at=Now() + JOB_LEASE, begun_for=begun_for
    )
    if is_mine:
        job.refresh_from_db()
    return bool(is_mine) and job.lease == lease


def write_progress(job: Job, **changes: object) -> None:
    """Write how far the job is. Raises LostLeaseError if someone else has it."""
    if not Job.objects.filter(id=job.id, lease=job.lease).update(**changes):
        raise LostLeaseError


def give_back_lease(job: Job) -> None:
    """Leave the rest for the next time. Raises LostLeaseError if someone else has it."""
    write_progress(job, lease=None, expires_at=Now())

"""Background work stands in rows: anybody may do the next piece of it, and no message is needed."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from django.db.models import F
from django.db.models.functions import Now

from containers.connection import release_database
from containers.reference import Repository, Tag
from containers.registry.client import RegistryClient, RegistryUnavailableError
from containers.stock import iterate_repositories, iterate_tags
from immutability.actions.adopt import adopt_tags
from immutability.actions.read import (
    UndecidedError,
    UnderWayError,
    decide_until_settled,
    read_policy,
)
from immutability.models import Job
from workspaces.access import SYSTEM
from workspaces.models import Workspace

# Longer than a worker takes for one batch, at half a minute for each tag that gives no answer.
JOB_LEASE = timedelta(minutes=20)
# A worker turns to something else after so long, and goes on with the rest next time.
RUN_SECONDS = 5.0
_BATCH = 20


class LostLeaseError(Exception):
    """Somebody else is at the job by now, or it has been asked for anew."""


@dataclass(frozen=True)
class _Batch:
    """Some tags of one repository, in order."""

    repository: Repository
    tags: tuple[Tag, ...]


def ask_for_adoption(workspace: Workspace) -> None:
    """Have the covered tags that the registry has already locked, from the beginning.

    Within the transaction that covers them.
    """
    Job.objects.update_or_create(
        workspace=workspace,
        kind=Job.Kind.ADOPT,
        defaults={
            "asked_at": Now(),
            "repository": "",
            "tag": "",
            "looked_at_count": 0,
            "adopted_count": 0,
            "left_out_count": 0,
            "lease": None,
            "expires_at": Now(),
            "done_at": None,
        },
    )


def call_off_adoption(workspace: Workspace) -> None:
    """Nothing is covered any more: stop adopting. Within the transaction that takes cover away."""
    Job.objects.filter(workspace=workspace, kind=Job.Kind.ADOPT, done_at__isnull=True).update(
        lease=None, done_at=Now()
    )


def find_adoption(workspace: Workspace) -> Job | None:
    """Return how far the adoption of what was there already is; None where none was asked for."""
    return Job.objects.filter(workspace=workspace, kind=Job.Kind.ADOPT).first()


def run_jobs(registry: RegistryClient, seconds: float = RUN_SECONDS) -> int:
    """Work on what is due, for about so long; return how many jobs are done.

    What cannot be done now, since the registry is away, say, is left for the next time.
    """
    ends_at = time.monotonic() + seconds
    due = Job.objects.filter(done_at__isnull=True, expires_at__lte=Now())
    done = 0
    for job in due.select_related("workspace").order_by("expires_at"):
        if time.monotonic() < ends_at and _take(job):
            try:
                done += _adopt(job, registry, ends_at)
            except LostLeaseError:
                continue
    return done


def _take(job: Job) -> bool:
    """Take the job's lease; return whether it was won. What is read of it then is its truth."""
    lease = uuid.uuid4()
    is_mine = Job.objects.filter(id=job.id, done_at__isnull=True, expires_at__lte=Now()).update(
        lease=lease, expires_at=Now() + JOB_LEASE
    )
    if is_mine:
        job.refresh_from_db()
    return bool(is_mine) and job.lease == lease


def _write(job: Job, **changes: object) -> None:
    """Put down how far the job is. Raises LostLeaseError where it is somebody else's by now."""
    if not Job.objects.filter(id=job.id, lease=job.lease).update(**changes):
        raise LostLeaseError


def _adopt(job: Job, registry: RegistryClient, ends_at: float) -> bool:
    """Adopt batch by batch; return whether everything is done. Raises LostLeaseError."""
    try:
        for batch in _iterate_batches(job, registry):
            adopted, left_out = _adopt_batch(job.workspace, batch, registry)
            _write(
                job,
                repository=batch.repository.name,
                tag=batch.tags[-1].name,
                looked_at_count=F("looked_at_count") + len(batch.tags),
                adopted_count=F("adopted_count") + adopted,
                left_out_count=F("left_out_count") + left_out,
                expires_at=Now() + JOB_LEASE,
            )
            if time.monotonic() >= ends_at:
                _write(job, lease=None, expires_at=Now())
                return False
    except RegistryUnavailableError:
        _write(job, lease=None, expires_at=Now())
        return False
    except Exception:
        _write(job, lease=None, expires_at=Now())
        raise
    _write(job, lease=None, done_at=Now())
    return True


def _adopt_batch(workspace: Workspace, batch: _Batch, registry: RegistryClient) -> tuple[int, int]:
    """Adopt what a batch has; return how many were adopted, and how many left out.

    The settings are read anew: what they cover by now counts. A tag that has a write under way, or
    that the registry cannot show, is left out. Raises RegistryUnavailableError where the registry
    does not answer at all.
    """

    def adopt() -> int:
        policy = read_policy(workspace)
        return adopt_tags(workspace, batch.repository, policy, batch.tags, registry, actor=SYSTEM)

    try:
        return decide_until_settled(adopt), 0
    except UndecidedError as error:
        if len(batch.tags) == 1:
            if not isinstance(error, UnderWayError):
                release_database()
                registry.page_tags(batch.repository)  # Whether it answers at all.
            return 0, 1
    each = [
        _adopt_batch(workspace, _Batch(batch.repository, (tag,)), registry) for tag in batch.tags
    ]
    return sum(adopted for adopted, _ in each), sum(left_out for _, left_out in each)


def _iterate_batches(job: Job, registry: RegistryClient) -> Iterator[_Batch]:
    """Yield what comes behind the job's place. Raises RegistryUnavailableError."""
    if job.repository:
        begun = Repository(job.repository)
        yield from _split(begun, iterate_tags(registry, begun, job.tag))
    for repository in iterate_repositories(registry, job.workspace.slug, job.repository):
        yield from _split(repository, iterate_tags(registry, repository))


def _split(repository: Repository, tags: Iterator[Tag]) -> Iterator[_Batch]:
    while batch := tuple(islice(tags, _BATCH)):
        yield _Batch(repository, batch)

"""Work on jobs: read what the registry has, piece by piece. Two workers never do the same piece."""

import logging
import time
from collections.abc import Iterator

from django.db.models import F
from django.db.models.functions import Now

from containers.catalog import iterate_owned, iterate_tags, split
from containers.names import RepositoryName, TagName
from containers.registries import filter_at
from containers.registry.client import RegistryClient, RegistryUnavailableError
from immutability.models import Job
from immutability.reconcile.inventory import TAGS_PER_BATCH, finish_repository, read_tags
from immutability.reconcile.jobs import (
    JOB_LEASE,
    LostLeaseError,
    begin_missing,
    give_back_lease,
    take_lease,
    write_progress,
)
from workspaces.models import Workspace
from workspaces.pool import release_database

logger = logging.getLogger(__name__)

# After this long, a worker turns to something else, and continues next time.
RUN_SECONDS = 5.0
MAX_JOBS_PER_RUN = 100
# A job's place behind every tag of its repository: no tag has this name.
_END = "~"


def run_jobs(
    registry: RegistryClient,
    seconds: float = RUN_SECONDS,
    workspace: Workspace | None = None,
    *,
    registry_id: int | None = None,
) -> int:
    """Work on open jobs, of one workspace or of all at a registry, for about this long.

    Returns how many jobs are done. What the registry gives no answer to is left for the next time.
    """
    ends_at = time.monotonic() + seconds
    begin_missing(registry_id)
    due = Job.objects.filter(kind=Job.Kind.INVENTORY, done_at__isnull=True, expires_at__lte=Now())
    due = filter_at(due, registry_id) if workspace is None else due.filter(workspace=workspace)
    done = 0
    for job in due.select_related("workspace").order_by("expires_at", "id")[:MAX_JOBS_PER_RUN]:
        if time.monotonic() >= ends_at:
            break
        if not take_lease(job):
            continue
        try:
            done += _read_registry(job, registry, ends_at)
        except LostLeaseError:
            continue
        except RegistryUnavailableError as error:
            logger.warning("inventory of %s: no answer (%s)", job.workspace.slug, error)
            # The others would get no answer, either.
            break
    return done


def _read_registry(job: Job, registry: RegistryClient, ends_at: float) -> bool:
    """Read batch by batch; return whether everything is done.

    Raises LostLeaseError, and RegistryUnavailableError if the registry gives no answer.
    """
    try:
        for repository, tags in _iterate_batches(job, registry):
            _read_batch(job, repository, tags, registry)
            if time.monotonic() >= ends_at:
                give_back_lease(job)
                return False
    except LostLeaseError:
        raise
    except Exception:
        give_back_lease(job)
        raise
    write_progress(job, lease=None, done_at=Now())
    return True


def _read_batch(
    job: Job, repository: RepositoryName, tags: tuple[TagName, ...], registry: RegistryClient
) -> None:
    """Read some tags of a repository, or finish it where none are left; write how far it is."""
    if tags:
        reading = read_tags(job.workspace, repository, tags, registry)
        place = {"repository": repository.name, "tag": tags[-1].name}
    else:
        # Only the worker that has the lease has read all that comes before.
        write_progress(job, expires_at=Now() + JOB_LEASE)
        reading = finish_repository(job.workspace, repository, registry)
        place = {"repository": repository.name, "tag": _END}
    write_progress(
        job,
        **place,
        looked_at_count=F("looked_at_count") + len(tags),
        adopted_count=F("adopted_count") + reading.adopted_count,
        left_out_count=F("left_out_count") + reading.left_out_count,
        expires_at=Now() + JOB_LEASE,
    )


def _iterate_batches(
    job: Job, registry: RegistryClient
) -> Iterator[tuple[RepositoryName, tuple[TagName, ...]]]:
    """Yield what comes behind the job's place; after the tags of each repository, none of it.

    Raises RegistryUnavailableError.
    """
    if job.repository and job.tag != _END:
        yield from _iterate_repository(RepositoryName(job.repository), registry, job.tag)
    for repository in iterate_owned(registry, job.workspace, job.repository):
        yield from _iterate_repository(repository, registry)


def _iterate_repository(
    repository: RepositoryName, registry: RegistryClient, after: str = ""
) -> Iterator[tuple[RepositoryName, tuple[TagName, ...]]]:
    """Yield a repository's tags in batches, then none.

    One whose tags the registry does not name, while it answers otherwise, is tried twice and then
    passed over: the others have their turn. Raises RegistryUnavailableError if it is away.
    """
    for _ in range(2):
        try:
            for tags in split(iterate_tags(registry, repository, after), TAGS_PER_BATCH):
                yield repository, tags
                after = tags[-1].name
            yield repository, ()
            return
        except RegistryUnavailableError as error:
            logger.warning("inventory of %s: its tags cannot be read (%s)", repository, error)
            release_database()
            registry.page_repositories(repository.name)  # Whether it answers at all.

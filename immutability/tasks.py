"""Celery tasks. A message only starts the work: the database says what there is to do."""

from celery import shared_task
from django.conf import settings

from containers.connection import find_registries
from containers.registry.client import RegistryClient
from containers.registry_seen import look_at_registries
from immutability.reconcile.comparison import run_comparisons
from immutability.reconcile.counts import run_counts
from immutability.reconcile.due import RECONCILE_SECONDS, reconcile_due
from immutability.reconcile.hints import follow_hints
from immutability.reconcile.prune import prune
from immutability.reconcile.repair import repair_due
from immutability.reconcile.turns import take_turns
from immutability.reconcile.work import run_jobs


@shared_task(name="immutability.reconcile")
def reconcile() -> None:
    """Finish what was left behind on tags, and look after those that were changed past Taglock."""
    take_turns(find_registries(), _reconcile)


def _reconcile(registry: RegistryClient | None, registry_id: int | None) -> None:
    reconcile_due(registry, RECONCILE_SECONDS, registry_id=registry_id)
    if registry is not None:
        follow_hints(registry, RECONCILE_SECONDS, registry_id=registry_id)
        repair_due(registry, RECONCILE_SECONDS, registry_id=registry_id)


@shared_task(name="immutability.prune")
def prune_old() -> None:
    """Delete pushes older than PUSH_RETENTION_DAYS, and what only they needed, for some seconds."""
    prune(settings.PUSH_RETENTION_DAYS)


@shared_task(name="immutability.run_jobs")
def run_due_jobs() -> None:
    """Do the next piece of what is to be done in the background."""
    run_counts()
    take_turns(find_registries(), _run_jobs)
    look_at_registries()


def _run_jobs(registry: RegistryClient | None, registry_id: int | None) -> None:
    if registry is not None:
        run_jobs(registry, registry_id=registry_id)
        run_comparisons(registry, registry_id=registry_id)

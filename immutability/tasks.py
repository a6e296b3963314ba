"""Background work. What is due stands in the database; a message only says that it is time."""

from celery import shared_task

from containers.connection import find_registry
from immutability.actions.attempts import forget_ended_attempts
from immutability.actions.jobs import run_jobs
from immutability.actions.resolve import resolve_attempts
from immutability.models import Attempt

# With a registry that hangs, every attempt takes half a minute: other work has to have its turn.
RESOLVE_SECONDS = 20.0


@shared_task(name="immutability.resolve_attempts")
def resolve_open_attempts() -> None:
    """Settle the attempts whose end is unknown and that nobody is at work on."""
    registry = find_registry()
    if registry is not None:
        resolve_attempts(registry, Attempt.objects.all(), RESOLVE_SECONDS)


@shared_task(name="immutability.run_jobs")
def run_due_jobs() -> None:
    """Do the next piece of what is to be done in the background."""
    registry = find_registry()
    if registry is not None:
        run_jobs(registry)


@shared_task(name="immutability.forget_attempts")
def forget_attempts() -> None:
    """Delete the attempts that ended long ago."""
    forget_ended_attempts()

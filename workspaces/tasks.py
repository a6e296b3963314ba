"""Background work. What is due stands in the database; a message only says that it is time."""

from celery import shared_task
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from workspaces.log.append import close_repeats


@shared_task(name="workspaces.close_log_repeats")
def close_log_repeats() -> None:
    """Turn the counted repeats of the hours that are over into events, some hundred at a time."""
    while True:
        with transaction.atomic():
            if not close_repeats(timezone.now()):
                return


@shared_task(name="workspaces.clear_sessions")
def clear_sessions() -> None:
    """Delete the sessions that have expired."""
    call_command("clearsessions")

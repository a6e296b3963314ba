"""Celery tasks. A message only starts the work: the database says what there is to do."""

import time
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from workspaces import mail
from workspaces.log.append import close_repeats
from workspaces.log.checkpoints import make_due_checkpoints, write_missing_files
from workspaces.log.erase import erase_origins
from workspaces.log.export import forget_exports
from workspaces.log.seal import RUN_SECONDS, seal_events, seal_late_events, sweep_if_due
from workspaces.single_sign_on.checks import check_due_identities
from workspaces.single_sign_on.sessions import clear_sign_ons
from workspaces.throttles import forget_old_counts


@shared_task(name="workspaces.close_log_repeats")
def close_log_repeats() -> None:
    """Turn the counted repeats of the hours that are over into events, some hundred at a time."""
    while True:
        with transaction.atomic():
            if not close_repeats(timezone.now()):
                return


@shared_task(name="workspaces.seal_lock_log")
def seal_lock_log() -> None:
    """Seal what is new, for a few seconds at most."""
    ends_at = time.monotonic() + RUN_SECONDS
    while seal_events() and time.monotonic() < ends_at:
        pass


@shared_task(name="workspaces.seal_late_events")
def look_for_late_events() -> None:
    """Seal what was committed long after it was written; once a day, search through everything."""
    seal_late_events()
    sweep_if_due()


@shared_task(name="workspaces.make_checkpoints")
def make_checkpoints() -> None:
    """Make the checkpoints that are due, and write the files that could not be written before."""
    make_due_checkpoints()
    write_missing_files()


@shared_task(name="workspaces.erase_old_origins")
def erase_old_origins() -> None:
    """Erase the origins that are older than ORIGIN_RETENTION_DAYS, if there is such a limit."""
    if settings.ORIGIN_RETENTION_DAYS:
        erase_origins(timezone.now() - timedelta(days=settings.ORIGIN_RETENTION_DAYS))


@shared_task(name="workspaces.forget_log_exports")
def forget_log_exports() -> None:
    """Delete what is kept of the exports of the day before."""
    forget_exports()


@shared_task(name="workspaces.clear_sessions")
def clear_sessions() -> None:
    """Delete the sessions that have expired, and what belonged to them."""
    call_command("clearsessions")
    clear_sign_ons()


@shared_task(name="workspaces.check_sign_ons")
def check_sign_ons() -> None:
    """Ask the identity provider about those who wait for a check, for some seconds at most."""
    check_due_identities()


@shared_task(name="workspaces.mail_requested_links")
def mail_requested_links() -> None:
    """Mail password links to those who forgot theirs."""
    mail.mail_requested_links()


@shared_task(name="workspaces.forget_old_counts")
def forget_counts() -> None:
    """Delete how often someone called in the windows that have ended."""
    forget_old_counts()

"""Background work. What is due stands in the database; a message only says that it is time.

A mail that somebody asked for is the exception: where the message is lost, they ask again.
"""

from dataclasses import replace

from celery import shared_task
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from workspaces import mail
from workspaces.access import SYSTEM, Origin
from workspaces.log.append import close_repeats
from workspaces.throttles import forget_old_counts


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


@shared_task(name="workspaces.mail_password_links")
def mail_password_links(email: str, address: str, user_agent: str) -> None:
    """Mail what somebody asked for who forgot a password.

    In the background, so that the answer takes as long for an address that nobody has.
    """
    actor = replace(SYSTEM, origin=Origin(address, user_agent))
    mail.mail_password_links(email, actor=actor)


@shared_task(name="workspaces.forget_old_counts")
def forget_counts() -> None:
    """Delete how often somebody called in the windows that have ended."""
    forget_old_counts()

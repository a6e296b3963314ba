"""What Taglock sends by mail. Without EMAIL_URL it sends nothing, and shows links to admins."""

import logging
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.forms import PasswordResetForm
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.validators import validate_email
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from workspaces.access import SYSTEM, Actor, Origin
from workspaces.actions.passwords import make_mailed_link
from workspaces.models import PasswordLinkRequest, User, Workspace
from workspaces.pool import release_database

logger = logging.getLogger(__name__)

# Someone who waits longer for a mail has asked again.
REQUEST_LIFE = timedelta(hours=1)
# After this long, a worker turns to something else, and continues next time.
RUN_SECONDS = 10.0


def is_mail_address(text: str) -> bool:
    """Whether `text` is an e-mail address, so that something can be sent to it."""
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True


def make_invitation_link(secret: str) -> str:
    """Return the address that an invitation is taken at."""
    return settings.PUBLIC_URL + reverse("invitation", args=[secret])


def make_password_link_address(user: User, token: str) -> str:
    """Return the address that a new password is set at."""
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    return settings.PUBLIC_URL + reverse("password-link", args=[uid, token])


def mail_invitation(address: str, workspace: Workspace, link: str, *, inviter: str) -> bool:
    """Send an invitation, and return whether a mail server took it. No transaction may be open."""
    context = {"workspace": workspace, "link": link, "inviter": inviter}
    subject = f"{inviter} invites you to {workspace.name} in Taglock"
    return _send(address, subject, "workspaces/mail/invitation.txt", context)


def mail_password_links(address: str, *, actor: Actor) -> None:
    """Send a password link to each account of this address that can sign in; to none, nothing."""
    if not is_mail_address(address):
        # The empty one is that of every account without an address.
        return
    for user in PasswordResetForm().get_users(address):
        link = make_password_link_address(user, make_mailed_link(user, actor=actor))
        context = {"user": user, "link": link}
        _send(user.email, "Set a new password for Taglock", "workspaces/mail/password.txt", context)


def mail_requested_links() -> None:
    """Send the requested password links, once, for a few seconds at most.

    The worker that deletes a request's row answers it. One whose worker dies in the middle is lost,
    and one that has waited for REQUEST_LIFE is not answered: in both cases someone has asked again.
    """
    ends_at = time.monotonic() + RUN_SECONDS
    while time.monotonic() < ends_at:
        request = PasswordLinkRequest.objects.order_by("id").first()
        if request is None:
            return
        is_mine, _ = PasswordLinkRequest.objects.filter(pk=request.pk).delete()
        if is_mine and timezone.now() - request.created_at < REQUEST_LIFE:
            origin = Origin(request.address, request.user_agent)
            mail_password_links(request.email, actor=replace(SYSTEM, origin=origin))


def _send(address: str, subject: str, template: str, context: dict[str, Any]) -> bool:
    body = render_to_string(template, {**context, "site": settings.PUBLIC_URL})
    release_database()
    try:
        EmailMessage(subject, body, settings.DEFAULT_FROM_EMAIL, [address]).send()
    # A mail server can fail in more ways than one class of errors covers: timeouts, names that do
    # not resolve, bad answers, addresses that it does not like.
    except (OSError, ValueError) as error:
        logger.warning("a mail could not be sent: %s", type(error).__name__)
        return False
    return True

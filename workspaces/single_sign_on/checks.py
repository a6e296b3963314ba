"""Whether the provider still vouches for people: asked every few minutes, by refresh tokens.

Only a refusal of the token itself says that someone is gone. A provider that is away, answers with
errors, or refuses Taglock, says nothing about anyone: people keep what they have, for a day.
"""

import logging
import time
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from workspaces.secret_key import OtherSecretKeyError, decrypt
from workspaces.single_sign_on.claims import BadClaimsError, read_groups
from workspaces.single_sign_on.groups import apply_groups
from workspaces.single_sign_on.models import Identity
from workspaces.single_sign_on.people import keep_vouching, pause_account
from workspaces.single_sign_on.provider import (
    ProviderAwayError,
    ProviderClient,
    ProviderRefusedError,
    find_provider,
)
from workspaces.single_sign_on.tokens import BadTokenError

# Where there is no broker, the sealing of the lock log waits for it.
RUN_SECONDS = 10.0
# Who takes a check has so long for it: more than its calls can take.
LEASE_MINUTES = 2
# What OAuth calls a refresh token that is not good any more (RFC 6749, section 5.2).
_GONE = "invalid_grant"
_UNDECIDED = (
    ProviderAwayError,
    ProviderRefusedError,
    BadTokenError,
    BadClaimsError,
    OtherSecretKeyError,
)

_logger = logging.getLogger(__name__)


def check_due_identities(run_seconds: float = RUN_SECONDS) -> int:
    """Check those whose time has come, one after the other; return how many were checked.

    Ends at the first to whom the provider gives no answer: the next run goes on.
    """
    client, count, ends_at = find_provider(), 0, time.monotonic() + run_seconds
    if client is None:
        return 0
    while time.monotonic() < ends_at and (identity := _take_due(client.provider.issuer)):
        try:
            _check(client, identity)
        except _UNDECIDED as error:
            _logger.warning("Whether %s is still vouched for is not known: %s", identity, error)
            if isinstance(error, ProviderAwayError):
                break
        else:
            count += 1
    return count


@transaction.atomic
def _take_due(issuer: str) -> Identity | None:
    """Return the one who has waited longest for a check, for a while no one else's."""
    due = (
        Identity.objects.select_for_update(
            skip_locked=connection.features.has_select_for_update_skip_locked
        )
        .filter(issuer=issuer, next_check_at__lte=Now())
        .exclude(refresh_token="")
        .order_by("next_check_at")
        .first()
    )
    if due is not None:
        due.next_check_at = Now() + timedelta(minutes=LEASE_MINUTES)
        due.save(update_fields=["next_check_at"])
    return due


def _check(client: ProviderClient, identity: Identity) -> None:
    """Ask the provider about one person, and do what it says.

    Raises one of _UNDECIDED where that says nothing.
    """
    used = identity.refresh_token
    # Under a key that was lost, no one can ask any more: they sign in again within a day.
    refresh_token = decrypt(used, settings.SECRET_KEY).decode()
    try:
        tokens = client.refresh(refresh_token)
    except ProviderRefusedError as error:
        if error.code != _GONE:
            raise
        pause_account(identity.pk, used=used)
        return
    # First, since the old one may not work again.
    if not _keep(identity.pk, used, tokens.refresh_token or refresh_token):
        return
    claims = client.read_claims(tokens)
    if claims.get("sub") != identity.subject:
        raise BadTokenError("the provider's answer is about someone else (sub)")
    apply_groups(identity.user, read_groups(claims, client.provider.groups_claim))


@transaction.atomic
def _keep(identity_id: int, used: str, refresh_token: str) -> bool:
    """Note that the provider vouches for a person; False where they have signed in meanwhile."""
    identity = Identity.objects.select_for_update().get(pk=identity_id)
    if identity.refresh_token != used:
        return False
    keep_vouching(identity, refresh_token)
    return True

"""Make and revoke access tokens."""

import hashlib
import secrets
from datetime import datetime

from django.db import transaction

from workspaces.access import Actor, Scope
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind
from workspaces.models import AccessToken, Workspace

TOKEN_PREFIX = "taglock_"  # noqa: S105  (what every token begins with, so that scanners find it)


@transaction.atomic
def create_access_token(
    workspace: Workspace,
    name: str,
    scopes: list[Scope],
    *,
    actor: Actor,
    expires_at: datetime | None = None,
) -> str:
    """Create an access token and return its secret, which is shown this once and kept nowhere.

    Raises ValidationError where the name is taken or empty.
    """
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token = AccessToken(
        workspace=workspace,
        name=name,
        token_hash=hash_token(secret),
        scopes=[scope.value for scope in scopes],
        created_by=actor.name,
        expires_at=expires_at,
    )
    token.full_clean(exclude=["created_at"])
    token.save()
    append_event(
        Event(
            EventKind.TOKEN_CREATED,
            workspace.slug,
            details={"token": name, "scopes": [scope.value for scope in scopes]},
        ),
        actor=actor,
    )
    return secret


def hash_token(secret: str) -> str:
    """Return what is kept of a secret link or token.

    A plain SHA-256 is enough: the secret is 256 random bits, so there is nothing to guess.
    """
    return hashlib.sha256(secret.encode()).hexdigest()

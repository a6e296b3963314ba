"""Changes to workspaces, members and access tokens, each recorded in its own transaction."""

import hashlib
import secrets
from datetime import datetime

from django.db import transaction

from workspaces.access import Actor, Role, Scope
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind
from workspaces.models import AccessToken, Membership, User, Workspace

TOKEN_PREFIX = "taglock_"  # noqa: S105  (what every token begins with, so that scanners find it)


@transaction.atomic
def create_workspace(slug: str, name: str, *, actor: Actor) -> Workspace:
    """Create a workspace. Raises ValidationError where the slug or name will not do."""
    workspace = Workspace(slug=slug, name=name)
    workspace.full_clean(exclude=["created_at"])
    workspace.save()
    append_event(Event(EventKind.WORKSPACE_CREATED, slug, details={"name": name}), actor=actor)
    return workspace


@transaction.atomic
def add_member(workspace: Workspace, user: User, role: Role, *, actor: Actor) -> Membership:
    """Give `user` the role, in place of an earlier one."""
    earlier = Membership.objects.filter(workspace=workspace, user=user).first()
    membership, _ = Membership.objects.update_or_create(
        workspace=workspace, user=user, defaults={"role": role.value}
    )
    append_event(
        Event(
            EventKind.MEMBER_CHANGED if earlier else EventKind.MEMBER_ADDED,
            workspace.slug,
            details={
                "member": user.username,
                "before": earlier.role if earlier else None,
                "after": role.value,
            },
        ),
        actor=actor,
    )
    return membership


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
    """Return what is kept of an access token.

    A plain SHA-256 is enough: the secret is 256 random bits, so there is nothing to guess.
    """
    return hashlib.sha256(secret.encode()).hexdigest()

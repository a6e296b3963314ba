"""Make and revoke access tokens."""

import hashlib
import secrets
from collections.abc import Collection
from datetime import datetime

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from workspaces.access import LIMITABLE_SCOPES, SYSTEM, Actor, ActorKind, Scope, describe_excess
from workspaces.actions.members import lock_people
from workspaces.log.append import Event, append_events
from workspaces.log.kinds import EventKind
from workspaces.models import AccessToken, Workspace
from workspaces.repository_globs import describe_bad_globs

TOKEN_PREFIX = "taglock_"  # noqa: S105  (what every token begins with, so that scanners find it)
# Of the secret of a token or of a link. None is that long: what is longer is not looked for.
MAX_SECRET_LENGTH = 256


@transaction.atomic
def create_access_token(
    workspace: Workspace | None,
    name: str,
    scopes: Collection[Scope],
    *,
    actor: Actor,
    expires_at: datetime | None = None,
    repositories: Collection[str] = (),
    giver: AccessToken | None = None,
) -> str:
    """Create an access token and return its secret, which is shown only once and not stored.

    Without a workspace it is for all of them; only the operator makes one. `repositories` are globs
    of those that it is limited to; of none, it is for all of the workspace. `giver` is the access
    token that asks for it, if there is one: it can't give more than it has. Raises PermissionDenied
    otherwise, also where the actor is no longer an admin, and ValidationError with the fields
    `name`, `scopes`, `repositories` and `expires_at`.
    """
    _lock_and_check(workspace, actor)
    scopes, repositories = list(dict.fromkeys(scopes)), list(dict.fromkeys(repositories))
    if problem := describe_bad_token_name(name):
        raise ValidationError({"name": problem})
    if problem := _describe_bad_scopes(workspace, scopes):
        raise ValidationError({"scopes": problem})
    if repositories and (problem := _describe_bad_limit(workspace, scopes, repositories)):
        raise ValidationError({"repositories": problem})
    if expires_at is not None and expires_at <= timezone.now():
        raise ValidationError({"expires_at": "This time is in the past. Choose a later one."})
    if actor.kind is ActorKind.TOKEN or giver is not None:
        _check_giver(workspace, giver, scopes, expires_at)
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token = AccessToken(
        workspace=workspace,
        name=name,
        token_hash=hash_token(secret),
        scopes=[scope.value for scope in scopes],
        repositories=repositories,
        created_by=(giver.user_name if giver else None) or actor.name,
        expires_at=expires_at,
    )
    token.full_clean(exclude=["created_at"], validate_constraints=False)
    try:
        with transaction.atomic():
            token.save()
    except IntegrityError as error:
        taken = "There is an access token of this name already."
        raise ValidationError({"name": taken}) from error
    _record(EventKind.TOKEN_CREATED, token, actor)
    return secret


@transaction.atomic
def revoke_access_token(workspace: Workspace | None, token_id: int, *, actor: Actor) -> AccessToken:
    """Revoke an access token of the workspace, or of all workspaces, and return it.

    A second time changes and records nothing. Raises AccessToken.DoesNotExist, and
    PermissionDenied if the actor is no longer an admin, or where someone else than the operator
    revokes one of all workspaces.
    """
    _lock_and_check(workspace, actor)
    found = AccessToken.objects.filter(workspace=workspace, id=token_id)
    is_changed = found.filter(revoked_at=None).update(revoked_at=Now())
    token = found.select_related("workspace").get()
    if is_changed:
        _record(EventKind.TOKEN_REVOKED, token, actor)
    return token


def find_tokens_made_by(username: str) -> list[AccessToken]:
    """Return the access tokens that a person made, revoked or not, and those made with these.

    Oldest first. The person who made a token may know its secret.
    """
    makers, found = {username} - {SYSTEM.name}, dict[int, AccessToken]()
    while makers:
        made = AccessToken.objects.filter(created_by__in=makers).exclude(id__in=list(found))
        new = list(made.select_related("workspace").order_by("id"))
        found |= {token.id: token for token in new}
        makers = {token.user_name for token in new if token.user_name}
    return sorted(found.values(), key=lambda token: token.id)


def revoke_tokens(tokens: Collection[AccessToken], *, actor: Actor) -> int:
    """Revoke access tokens of any workspaces, whose people are locked; return how many it were."""
    count = 0
    for token in tokens:
        if AccessToken.objects.filter(id=token.id, revoked_at=None).update(revoked_at=Now()):
            _record(EventKind.TOKEN_REVOKED, token, actor)
            count += 1
    return count


def describe_bad_token_name(name: str) -> str | None:
    """Return a sentence that says why no access token can have this name, or None.

    Control characters, and what is blank or too long, the model refuses.
    """
    if name != name.strip():
        return "Remove the spaces before and after the name."
    if ":" in name:
        # RFC 7617, section 2.
        return "Remove the colon: the name becomes part of a user name, and a colon ends those."
    return None


def hash_token(secret: str) -> str:
    """Return what is kept of a secret link or token.

    A plain SHA-256 is enough: the secret is 256 random bits, so there is nothing to guess.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _lock_and_check(workspace: Workspace | None, actor: Actor) -> None:
    """Raise PermissionDenied if `actor` may not make or revoke access tokens at this moment.

    Making and revoking follow one another, and what people do to each other: no one who was removed
    leaves a token behind, and no revoked token another one.
    """
    if workspace is not None:
        lock_people(workspace, by=actor)
    elif actor.kind is not ActorKind.SYSTEM:
        raise PermissionDenied("Only the operator manages access tokens for every workspace.")


def _describe_bad_scopes(workspace: Workspace | None, scopes: list[Scope]) -> str | None:
    if not scopes:
        return "Choose at least one scope."
    if workspace is None and scopes != [Scope.REGISTRY]:
        return 'An access token for every workspace can only have the scope "registry".'
    return None


def _describe_bad_limit(
    workspace: Workspace | None, scopes: list[Scope], repositories: list[str]
) -> str | None:
    if workspace is None:
        return "An access token for every workspace cannot be limited to repositories."
    if whole := [scope.value for scope in scopes if scope not in LIMITABLE_SCOPES]:
        return (
            f"The scope {whole[0]} is for the whole workspace. To limit a token to repositories, "
            f"give it no other scopes than {', '.join(sorted(LIMITABLE_SCOPES))}."
        )
    return describe_bad_globs(workspace.slug, repositories)


def _check_giver(
    workspace: Workspace | None,
    giver: AccessToken | None,
    scopes: list[Scope],
    expires_at: datetime | None,
) -> None:
    """Raise PermissionDenied if an access token would give more than it has.

    It is read again: a revocation of the giver comes either before, and refuses this, or after, and
    finds the new token in the list.
    """
    held = AccessToken.objects.filter(
        id=giver.id if giver else 0, workspace=workspace, revoked_at=None
    ).first()
    if held is None:
        raise PermissionDenied("The access token that asks for this is not valid.")
    if problem := describe_excess(held.scopes, held.expires_at, scopes, expires_at):
        raise PermissionDenied(problem)


def _record(kind: EventKind, token: AccessToken, actor: Actor) -> None:
    """Record what was done to the token, in the log of every workspace that it can lock tags in."""
    expires_at = token.expires_at and token.expires_at.isoformat().replace("+00:00", "Z")
    details = {
        "token": token.name,
        # Its name may be another one's afterwards.
        "token_id": token.id,
        "scopes": token.scopes,
        "expires_at": expires_at,
    }
    if token.repositories:
        details["repositories"] = token.repositories
    if token.workspace:
        slugs = [token.workspace.slug]
    else:
        slugs = list(Workspace.objects.order_by("id").values_list("slug", flat=True))
        details["every_workspace"] = True
    append_events([Event(kind, slug, details=details) for slug in slugs], actor=actor)

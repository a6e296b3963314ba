"""Whether someone who acts may still do so: read again, within the transaction of the change.

What a request was let in by is from before it waited for a lock; its caller may have been demoted,
removed or revoked since.
"""

from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from workspaces.access import Actor, ActorKind, Scope
from workspaces.caller_access import describe_archived, is_admin_name
from workspaces.models import AccessToken, User, Workspace

NO_ADMIN = "You are no longer an admin of this workspace."
NO_SITE_ADMIN = "Only site administrators can do this. An operator makes one: add_site_admin."
NO_ADMIN_TOKEN = "The access token that asks for this is not valid."  # noqa: S105  (a sentence)


def require_admin(workspace: Workspace, actor: Actor, *, even_archived: bool = False) -> None:
    """Raise PermissionDenied if `actor` may not manage `workspace` at this moment.

    That may a person who is an active admin of it, a valid access token of it with the scope
    `admin`, and Taglock itself. A user name is one person's for good; an access token's is not.
    Only its people and access tokens can be managed `even_archived`.
    """
    match actor.kind:
        case ActorKind.SYSTEM:
            return
        case ActorKind.PERSON:
            if not is_admin_name(workspace, actor.name):
                raise PermissionDenied(NO_ADMIN)
        case ActorKind.TOKEN:
            token = valid_tokens().filter(id=actor.token_id or 0, workspace=workspace).first()
            if token is None or Scope.ADMIN.value not in token.scopes:
                raise PermissionDenied(NO_ADMIN_TOKEN)
        case ActorKind.REGISTRY | ActorKind.ACCOUNT:
            raise PermissionDenied("A registry and its accounts manage nothing here.")
    if not even_archived and Workspace.objects.filter(pk=workspace.pk, archived_at__isnull=False):
        raise PermissionDenied(describe_archived(workspace))


def require_site_admin(actor: Actor) -> None:
    """Raise PermissionDenied if `actor` may not manage the site at this moment.

    That may an active person whom an operator has made a site administrator, and Taglock itself.
    """
    is_site_admin = actor.kind is ActorKind.PERSON and (
        User.objects.filter(username=actor.name, is_active=True, is_superuser=True).exists()
    )
    if not is_site_admin and actor.kind is not ActorKind.SYSTEM:
        raise PermissionDenied(NO_SITE_ADMIN)


def valid_tokens() -> QuerySet[AccessToken]:
    """Return the access tokens that are neither revoked nor expired, by the database's clock."""
    return AccessToken.objects.select_related("workspace").filter(
        Q(expires_at=None) | Q(expires_at__gt=Now()), revoked_at=None
    )

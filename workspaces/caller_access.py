"""Who is calling, and what they may do in a workspace: pages and API both ask here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest

from workspaces import sql
from workspaces.access import (
    FROZEN_PERMISSIONS,
    ROLE_PERMISSIONS,
    Actor,
    ActorKind,
    Origin,
    Permission,
    Role,
)
from workspaces.current_request import current_request
from workspaces.database import Condition
from workspaces.models import AccessToken, Membership, Workspace
from workspaces.slugs import MAX_SLUG_LENGTH
from workspaces.text import find_bad_character

if TYPE_CHECKING:
    from rest_framework.request import Request

_MAX_USER_AGENT_LENGTH = 512
_MAX_ADDRESS_LENGTH = 64


class UnknownWorkspaceError(Http404):
    """The workspace doesn't exist, or the caller isn't in it; they cannot tell which."""


@dataclass(frozen=True)
class Access:
    """A caller in a workspace: a person with a role, or an access token.

    `permissions` are those of the role or the scopes. An archived workspace takes some of them.
    """

    workspace: Workspace
    actor: Actor
    permissions: frozenset[Permission]
    role: Role | None = None
    token: AccessToken | None = None

    def may(self, permission: Permission) -> bool:
        """Whether the caller has `permission`, and the workspace is not too archived for it."""
        is_frozen = self.workspace.is_archived and permission in FROZEN_PERMISSIONS
        return permission in self.permissions and not is_frozen

    def is_for(self, repository: str) -> bool:
        """Whether the caller is not limited to repositories other than this one, by full name."""
        return self.token is None or self.token.is_for(repository, self.workspace.slug)

    def require_repository(self, repository: str) -> None:
        """Raise PermissionDenied if the caller is limited to other repositories."""
        if not self.is_for(repository):
            raise PermissionDenied(
                f"This access token is limited to other repositories than {repository}."
            )

    def require(self, permission: Permission) -> None:
        """Raise PermissionDenied if the caller has not `permission`."""
        if permission in self.permissions and not self.may(permission):
            raise PermissionDenied(describe_archived(self.workspace))
        if permission not in self.permissions:
            raise PermissionDenied(_DENIALS.get(permission, "You may not do this."))

    @property
    def can_change_settings(self) -> bool:
        return self.may(Permission.CHANGE_SETTINGS)

    @property
    def can_view_all_events(self) -> bool:
        return self.may(Permission.VIEW_ALL_EVENTS)

    @property
    def can_manage_locked_tags(self) -> bool:
        return self.may(Permission.MANAGE_LOCKED_TAGS)

    @property
    def can_manage_people(self) -> bool:
        return self.may(Permission.MANAGE_PEOPLE)

    @property
    def can_view_access_tokens(self) -> bool:
        return self.may(Permission.VIEW_ACCESS_TOKENS)

    @property
    def can_manage_access_tokens(self) -> bool:
        return self.may(Permission.MANAGE_ACCESS_TOKENS)

    @property
    def can_manage_repositories(self) -> bool:
        return self.may(Permission.MANAGE_REPOSITORIES)


_DENIALS = {
    Permission.CHANGE_SETTINGS: "Only admins of the workspace can change its settings.",
    Permission.MANAGE_LOCKED_TAGS: "Only admins of the workspace can change or delete locked tags.",
    Permission.MANAGE_PEOPLE: "Only admins of the workspace can invite, change or remove people.",
    Permission.VIEW_ACCESS_TOKENS: "Access tokens are for admins and auditors of the workspace.",
    Permission.MANAGE_ACCESS_TOKENS: "Only admins of the workspace can change its access tokens.",
    Permission.MANAGE_REPOSITORIES: (
        "Only admins of the workspace can make a repository public or private."
    ),
    Permission.CHECK: (
        'Checks that lock tags need an access token with the scope "registry". Anyone in the '
        'workspace can ask with "dry_run": true.'
    ),
}


def describe_archived(workspace: Workspace) -> str:
    """Return what people read who want to change something in an archived workspace."""
    return (
        f"The workspace {workspace} is archived: its images can be pulled, but nothing in it can "
        "be changed. Ask a site administrator to unarchive it."
    )


def find_access(request: "HttpRequest | Request", slug: str) -> Access:
    """Return what the signed-in person or the access token may do in the workspace `slug`.

    Raises UnknownWorkspaceError if the workspace doesn't exist or the caller isn't in it.
    """
    if len(slug) > MAX_SLUG_LENGTH or find_bad_character(slug):
        raise UnknownWorkspaceError(_unknown(slug))
    return find_access_where(
        request,
        sql.has_slug(slug),
        is_surely=lambda workspace: workspace.slug == slug,
        unknown=_unknown(slug),
    )


def find_access_where(
    request: "HttpRequest | Request",
    which: Condition,
    *,
    is_surely: Callable[[Workspace], bool],
    unknown: str,
) -> Access:
    """Return what the signed-in person or the access token may do in the workspace of `which`.

    `is_surely` says of an access token's workspace whether it is the one; if not, the database is
    asked. Raises UnknownWorkspaceError, with the message `unknown`, if there is no such workspace
    or the caller isn't in it.
    """
    token = getattr(request, "auth", None)
    origin = read_origin(request)
    if isinstance(token, AccessToken):
        access = _find_token_access(token, which, is_surely, origin)
    else:
        access = find_persons_access(request.user.pk or 0, which, origin)
    if access is None:
        raise UnknownWorkspaceError(unknown)
    return access


def find_persons_access(user_id: int, which: Condition, origin: Origin) -> Access | None:
    """Return what a person may do in the workspace of `which` at this moment.

    None if there is no such workspace or they aren't in it.
    """
    found = sql.find_membership(user_id, which)
    if found is None:
        return None
    workspace, role, username = found
    return Access(
        workspace,
        Actor(username, ActorKind.PERSON, origin),
        ROLE_PERMISSIONS[Role(role)],
        Role(role),
    )


def _find_token_access(
    token: AccessToken, which: Condition, is_surely: Callable[[Workspace], bool], origin: Origin
) -> Access | None:
    own = token.workspace
    if own is not None and is_surely(own):
        return make_token_access(token, own, origin)
    found = sql.find_workspace(which)
    # A token without a workspace is for all of them.
    if found is None or own not in (None, found):
        return None
    return make_token_access(token, found, origin)


def make_token_access(token: AccessToken, workspace: Workspace, origin: Origin) -> Access:
    """Return what a valid access token may do in a workspace of its own."""
    return Access(
        workspace,
        Actor(token.name, ActorKind.TOKEN, origin, token.id),
        token.permissions,
        token=token,
    )


def is_admin_name(workspace: Workspace, username: str) -> bool:
    """Whether `username` is an admin of the workspace. An unknown name is not."""
    return Membership.objects.filter(
        workspace=workspace, user__username=username, user__is_active=True, role=Role.ADMIN
    ).exists()


def identify_caller(request: "HttpRequest | Request") -> str:
    """Return what tells a signed-in person or an access token from all others, for counting."""
    token = getattr(request, "auth", None)
    return f"token {token.pk}" if isinstance(token, AccessToken) else f"person {request.user.pk}"


def note_caller(access: Access) -> None:
    """Note of this thread's request who is calling, and in which workspace."""
    noted = current_request()
    noted.workspace, noted.actor = access.workspace.slug, access.actor.shown_name


def read_origin(request: "HttpRequest | Request") -> Origin:
    """Return the address and user agent of a request, safe to keep as text."""
    user_agent = request.META.get("HTTP_USER_AGENT", "")[:_MAX_USER_AGENT_LENGTH]
    if find_bad_character(user_agent):
        user_agent = user_agent.encode("unicode_escape").decode()[:_MAX_USER_AGENT_LENGTH]
    address = request.META.get("REMOTE_ADDR", "")
    if settings.BEHIND_EDGE:
        # Only then: anyone else could write this header.
        address = request.META.get("HTTP_X_REAL_IP", address)[:_MAX_ADDRESS_LENGTH]
    return Origin(address, user_agent)


def _unknown(slug: str) -> str:
    return f'There is no workspace "{slug[:64]}" that you have access to.'

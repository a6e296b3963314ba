"""Archive a workspace, take that back, and hand a workspace over to another admin."""

from django.db import transaction
from django.db.models.functions import Now

from workspaces.access import Actor, Role
from workspaces.actions.members import add_member, lock_people, lock_person
from workspaces.authorization import require_site_admin
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind
from workspaces.models import User, Workspace


class InactivePersonError(Exception):
    """A workspace was about to get an admin who is deactivated. The message is for people."""


@transaction.atomic
def archive_workspace(workspace: Workspace, *, actor: Actor, reason: str = "") -> bool:
    """Let nothing in a workspace change any more; return whether something could until now.

    Its images can be pulled, its locks stay in force, its log can be read and verified, its slug
    stays taken. What was in flight before is finished. Raises PermissionDenied if the actor is not
    a site administrator.
    """
    return _set_archived(workspace, EventKind.WORKSPACE_ARCHIVED, reason, actor)


@transaction.atomic
def unarchive_workspace(workspace: Workspace, *, actor: Actor, reason: str = "") -> bool:
    """Let a workspace be changed again; return whether it was archived.

    Raises PermissionDenied if the actor is not a site administrator.
    """
    return _set_archived(workspace, EventKind.WORKSPACE_UNARCHIVED, reason, actor)


@transaction.atomic
def hand_over_workspace(
    workspace: Workspace, user: User, *, actor: Actor, reason: str = ""
) -> bool:
    """Make someone an admin of a workspace without asking it; return whether they were none.

    Who is in it stays: that is for the new admin to decide. Raises PermissionDenied if the actor
    is not a site administrator, and InactivePersonError.
    """
    lock_people(workspace)
    require_site_admin(actor)
    if not lock_person(user).is_active:
        raise InactivePersonError(f"{user.username} is deactivated. Choose someone else.")
    if workspace.memberships.filter(user=user, role=Role.ADMIN.value).exists():
        return False
    _record(EventKind.WORKSPACE_HANDED_OVER, workspace, reason, actor, member=user.username)
    add_member(workspace, user, Role.ADMIN, actor=actor)
    return True


def _set_archived(workspace: Workspace, kind: EventKind, reason: str, actor: Actor) -> bool:
    lock_people(workspace)
    require_site_admin(actor)
    is_archived = kind is EventKind.WORKSPACE_ARCHIVED
    rows = Workspace.objects.filter(pk=workspace.pk, archived_at__isnull=is_archived)
    if not rows.update(archived_at=Now() if is_archived else None):
        return False
    _record(kind, workspace, reason, actor)
    return True


def _record(
    kind: EventKind, workspace: Workspace, reason: str, actor: Actor, **details: str
) -> None:
    event = Event(kind, workspace.slug, reason=reason, details=details or None)
    append_event(event, actor=actor)

"""Who is in a workspace, and in which role."""

from django.core.exceptions import PermissionDenied
from django.db import transaction

from workspaces.access import Actor, Role
from workspaces.authorization import require_admin
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind
from workspaces.models import Invitation, Membership, User, Workspace

DEACTIVATED = "Your account is deactivated. Ask a site administrator."


class LastAdminError(Exception):
    """A workspace was about to lose its last admin. The message is for people."""

    def __init__(self, username: str, *workspaces: Workspace) -> None:
        super().__init__(
            f"{username} is the last admin of {', '.join(each.slug for each in workspaces)}. "
            "Make someone else an admin first."
        )


@transaction.atomic
def add_member(
    workspace: Workspace,
    user: User,
    role: Role,
    *,
    actor: Actor,
    invited_by: str = "",
    group: str = "",
) -> Membership:
    """Give `user` the role, replacing an earlier one. Raises LastAdminError.

    `invited_by` is the user name of the person whose invitation they accepted, if any. `group` is
    the group at the identity provider that gives the role, if it is one: then a membership that was
    given by hand stays as it is.
    """
    lock_people(workspace)
    lock_person(user)
    membership = Membership.objects.filter(workspace=workspace, user=user).first()
    if membership is not None:
        if membership.is_by_group or not group:
            _set_role(membership, role, actor=actor, group=group)
        if membership.is_by_group and not group:
            # It was theirs already, and stays theirs by hand.
            membership.is_by_group = False
            membership.save(update_fields=["is_by_group"])
        return membership
    membership = Membership.objects.create(
        workspace=workspace, user=user, role=role.value, is_by_group=bool(group)
    )
    details = {"member": user.username, "before": None, "after": role.value}
    if invited_by:
        details["invited_by"] = invited_by
    if group:
        details["group"] = group
    append_event(Event(EventKind.MEMBER_ADDED, workspace.slug, details=details), actor=actor)
    return membership


@transaction.atomic
def change_role(
    workspace: Workspace, membership_id: int, role: Role, *, actor: Actor
) -> Membership:
    """Give a member another role. Nothing happens where they have it already.

    Raises PermissionDenied if the actor is no longer an admin, Membership.DoesNotExist where the
    workspace has no such member, and LastAdminError.
    """
    lock_people(workspace, by=actor)
    membership = find_member(workspace, membership_id)
    _set_role(membership, role, actor=actor)
    return membership


@transaction.atomic
def remove_member(workspace: Workspace, membership_id: int, *, actor: Actor) -> str:
    """End a membership, and the invitations that this person made. Return their user name.

    Raises PermissionDenied if the actor is no longer an admin, Membership.DoesNotExist where the
    workspace has no such member, and LastAdminError.
    """
    lock_people(workspace, by=actor)
    membership = find_member(workspace, membership_id)
    _remove(membership, actor=actor)
    return membership.user.username


@transaction.atomic
def remove_by_group(workspace: Workspace, user: User, *, actor: Actor) -> None:
    """End a membership that a group gave and none gives any more. One that is by hand stays.

    Raises LastAdminError.
    """
    lock_people(workspace)
    membership = Membership.objects.filter(workspace=workspace, user=user, is_by_group=True).first()
    if membership is not None:
        _remove(membership, actor=actor, has_left_groups=True)


def lock_people(workspace: Workspace, *, by: Actor | None = None) -> None:
    """Let changes to the people of `workspace` follow one another, until the transaction ends.

    With `by`, raises PermissionDenied if that actor may no longer manage the workspace: the
    change before this one may have been their own demotion, or the revocation of their token.

    The weaker lock lets pushes go on, whose rows refer to the workspace. SQLite has no such lock
    and needs none: its transactions follow one another anyway.
    """
    Workspace.objects.select_for_update(no_key=True).get(pk=workspace.pk)
    if by is not None:
        require_admin(workspace, by, even_archived=True)


def lock_person(user: User) -> User:
    """Let joining a workspace and setting this person's password follow one another.

    Returns the row as it is now. Where people are locked as well, they come first.
    """
    return User.objects.select_for_update(no_key=True).get(pk=user.pk)


def lock_active_person(user: User) -> User:
    """Lock someone who does something about themselves, and return the row as it is now.

    Raises PermissionDenied if they were deactivated while this waited.
    """
    locked = lock_person(user)
    if not locked.is_active:
        raise PermissionDenied(DEACTIVATED)
    return locked


def find_member(workspace: Workspace, membership_id: int) -> Membership:
    """Return a membership with its user. Raises Membership.DoesNotExist, for foreign ids too."""
    return Membership.objects.select_related("user", "workspace").get(
        workspace=workspace, id=membership_id
    )


def _remove(membership: Membership, *, actor: Actor, has_left_groups: bool = False) -> None:
    _keep_an_admin(membership)
    withdraw_invitations_by(membership, actor=actor)
    details: dict[str, object] = {
        "member": membership.user.username,
        "before": membership.role,
        "after": None,
    }
    if has_left_groups:
        details["left_groups"] = True
    slug = membership.workspace.slug
    membership.delete()
    append_event(Event(EventKind.MEMBER_REMOVED, slug, details=details), actor=actor)


def _set_role(membership: Membership, role: Role, *, actor: Actor, group: str = "") -> None:
    """Give a member another role. By hand it stays then, whatever their groups are."""
    before = membership.role
    if before == role.value:
        return
    if before == Role.ADMIN.value:
        _keep_an_admin(membership)
        withdraw_invitations_by(membership, actor=actor)
    membership.role, membership.is_by_group = role.value, bool(group)
    membership.save(update_fields=["role", "is_by_group"])
    details = {"member": membership.user.username, "before": before, "after": role.value}
    if group:
        details["group"] = group
    append_event(
        Event(EventKind.MEMBER_CHANGED, membership.workspace.slug, details=details), actor=actor
    )


def _keep_an_admin(membership: Membership) -> None:
    """Raise LastAdminError if no one else could manage the workspace."""
    if is_last_admin(membership):
        raise LastAdminError(membership.user.username, membership.workspace)


def is_last_admin(membership: Membership) -> bool:
    """Whether no one but this member can manage the workspace."""
    if membership.role != Role.ADMIN.value or not membership.user.is_active:
        return False
    admins = membership.workspace.memberships.filter(role=Role.ADMIN.value, user__is_active=True)
    return not admins.exclude(pk=membership.pk).exists()


def withdraw_invitations_by(membership: Membership, *, actor: Actor) -> None:
    """End what a former admin made as an admin: nothing brings it back."""
    made = Invitation.objects.filter(workspace=membership.workspace, invited_by=membership.user)
    for invitation in made.select_related("workspace").order_by("id"):
        end_invitation(invitation, actor=actor)


def end_invitation(invitation: Invitation, *, actor: Actor) -> None:
    """Delete an invitation, and record that, unless someone has taken it at this moment."""
    deleted, _ = Invitation.objects.filter(pk=invitation.pk).delete()
    if deleted:
        details = {"invitee": invitation.invitee, "role": invitation.role}
        kind = EventKind.INVITATION_WITHDRAWN
        append_event(Event(kind, invitation.workspace.slug, details=details), actor=actor)

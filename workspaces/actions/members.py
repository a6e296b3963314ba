"""Who is in a workspace, and in which role."""

from django.db import transaction

from workspaces.access import Actor, Role
from workspaces.authorization import require_admin
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind
from workspaces.models import Invitation, Membership, User, Workspace


class LastAdminError(Exception):
    """A workspace was about to lose its last admin. The message is for people."""

    def __init__(self, workspace: Workspace, username: str) -> None:
        super().__init__(
            f"{username} is the last admin of {workspace.slug}. Make someone else an admin first."
        )


@transaction.atomic
def add_member(
    workspace: Workspace, user: User, role: Role, *, actor: Actor, invited_by: str = ""
) -> Membership:
    """Give `user` the role, replacing an earlier one. Raises LastAdminError.

    `invited_by` is the user name of the person whose invitation they accepted, if any.
    """
    lock_people(workspace)
    lock_person(user)
    membership = Membership.objects.filter(workspace=workspace, user=user).first()
    if membership is not None:
        _set_role(membership, role, actor=actor)
        return membership
    membership = Membership.objects.create(workspace=workspace, user=user, role=role.value)
    details = {"member": user.username, "before": None, "after": role.value}
    if invited_by:
        details["invited_by"] = invited_by
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
    _keep_an_admin(membership)
    _withdraw_invitations(membership, actor=actor)
    details = {"member": membership.user.username, "before": membership.role, "after": None}
    membership.delete()
    append_event(Event(EventKind.MEMBER_REMOVED, workspace.slug, details=details), actor=actor)
    return membership.user.username


def lock_people(workspace: Workspace, *, by: Actor | None = None) -> None:
    """Let changes to the people of `workspace` follow one another, until the transaction ends.

    With `by`, raises PermissionDenied if that actor may no longer manage the workspace: the
    change before this one may have been their own demotion, or the revocation of their token.

    The weaker lock lets pushes go on, whose rows refer to the workspace. SQLite has no such lock
    and needs none: its transactions follow one another anyway.
    """
    Workspace.objects.select_for_update(no_key=True).get(pk=workspace.pk)
    if by is not None:
        require_admin(workspace, by)


def lock_person(user: User) -> User:
    """Let joining a workspace and setting this person's password follow one another.

    Returns the row as it is now. Where people are locked as well, they come first.
    """
    return User.objects.select_for_update(no_key=True).get(pk=user.pk)


def find_member(workspace: Workspace, membership_id: int) -> Membership:
    """Return a membership with its user. Raises Membership.DoesNotExist, for foreign ids too."""
    return Membership.objects.select_related("user", "workspace").get(
        workspace=workspace, id=membership_id
    )


def _set_role(membership: Membership, role: Role, *, actor: Actor) -> None:
    before = membership.role
    if before == role.value:
        return
    if before == Role.ADMIN.value:
        _keep_an_admin(membership)
        _withdraw_invitations(membership, actor=actor)
    membership.role = role.value
    membership.save(update_fields=["role"])
    append_event(
        Event(
            EventKind.MEMBER_CHANGED,
            membership.workspace.slug,
            details={"member": membership.user.username, "before": before, "after": role.value},
        ),
        actor=actor,
    )


def _keep_an_admin(membership: Membership) -> None:
    """Raise LastAdminError if no one else could manage the workspace."""
    if membership.role != Role.ADMIN.value or not membership.user.is_active:
        return
    others = Membership.objects.filter(
        workspace=membership.workspace, role=Role.ADMIN.value, user__is_active=True
    ).exclude(pk=membership.pk)
    if not others.exists():
        raise LastAdminError(membership.workspace, membership.user.username)


def _withdraw_invitations(membership: Membership, *, actor: Actor) -> None:
    """End what a former admin made as an admin: nothing brings it back."""
    made = Invitation.objects.filter(workspace=membership.workspace, invited_by=membership.user)
    for invitation in made.order_by("id"):
        invitation.delete()
        append_event(
            Event(
                EventKind.INVITATION_WITHDRAWN,
                membership.workspace.slug,
                details={"invitee": invitation.invitee, "role": invitation.role},
            ),
            actor=actor,
        )

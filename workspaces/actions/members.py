"""Who is in a workspace, and in which role."""

from django.db import transaction

from workspaces.access import Actor, Role
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind
from workspaces.models import Membership, User, Workspace


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

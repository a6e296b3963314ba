"""What groups at the identity provider give: roles in workspaces, and the site's administration."""

import logging
from collections.abc import Collection

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from workspaces.access import SYSTEM, Actor, Role
from workspaces.actions.members import LastAdminError, add_member, lock_person, remove_by_group
from workspaces.actions.people import set_site_admin
from workspaces.authorization import require_site_admin
from workspaces.log.append import Event, append_events
from workspaces.log.kinds import EventKind
from workspaces.models import Membership, User, Workspace
from workspaces.single_sign_on.models import GroupRole, Identity

MAX_GROUP_ROLES = 1000

# Of several roles in one workspace, the first of these counts.
_STRONGEST = (Role.ADMIN, Role.MEMBER, Role.AUDITOR)

_logger = logging.getLogger(__name__)


def apply_groups(user: User, groups: Collection[str] | None) -> None:
    """Give someone what their groups give, and take what groups gave and no longer give.

    What was given by hand stays. A last admin stays one, with a line in Taglock's own log. None:
    the provider did not say, and nothing changes. To be called outside of a transaction.
    """
    if groups is None:
        return
    rows = list(
        GroupRole.objects.select_related("workspace").filter(group__in=groups).order_by("id")
    )
    wanted = _choose_roles(rows)
    memberships = Membership.objects.filter(user=user).select_related("workspace")
    current = {each.workspace_id: each for each in memberships}
    for workspace_id, row in wanted.items():
        there = current.get(workspace_id)
        if there is None or (there.is_by_group and there.role != row.role):
            _give(user, row)
    for workspace_id, membership in current.items():
        if membership.is_by_group and workspace_id not in wanted:
            _take(user, membership.workspace)
    is_wanted = any(row.workspace_id is None for row in rows)
    if is_wanted or Identity.objects.filter(user=user, is_site_admin_by_group=True).exists():
        _set_site_admin(user, is_wanted=is_wanted)


def list_group_roles() -> QuerySet[GroupRole]:
    """Return what every group gives, by group and workspace."""
    return GroupRole.objects.select_related("workspace").order_by("group", "workspace__slug")


@transaction.atomic
def save_group_role(
    group: str, workspace: Workspace | None, role: Role | None, *, actor: Actor
) -> GroupRole:
    """Let a group give a role in a workspace; without both, the administration of the site.

    It counts from each person's next sign-in or check. Replaces what the group gave there. Raises
    PermissionDenied unless the actor is a site administrator, and ValidationError.
    """
    require_site_admin(actor)
    row = _locked().filter(group=group, workspace=workspace).first()
    given = role.value if role else ""
    if row is not None and row.role == given:
        return row
    row = row or GroupRole(group=group, workspace=workspace)
    row.role = given
    row.full_clean(exclude=["created_at"])
    if row._state.adding and GroupRole.objects.count() >= MAX_GROUP_ROLES:
        raise ValidationError(
            f"Groups give {MAX_GROUP_ROLES} roles, the maximum. Remove one first."
        )
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as error:
        raise ValidationError("Someone else has just set what this group gives there.") from error
    _record(EventKind.GROUP_ROLE_SET, row, actor)
    return row


@transaction.atomic
def delete_group_role(row: GroupRole, *, actor: Actor) -> None:
    """Let a group no longer give what a row says. Raises PermissionDenied."""
    require_site_admin(actor)
    there = _locked().filter(pk=row.pk).first()
    if there is not None:
        _record(EventKind.GROUP_ROLE_REMOVED, there, actor)
        there.delete()


def _locked() -> QuerySet[GroupRole]:
    """Return the rows as they are now: changes of one follow each other."""
    return GroupRole.objects.select_for_update()


def _record(kind: EventKind, row: GroupRole, actor: Actor) -> None:
    """Record it in the workspace's log; in every workspace's where it is about all of the site."""
    slugs = (
        [row.workspace.slug]
        if row.workspace
        else Workspace.objects.order_by("id").values_list("slug", flat=True)
    )
    details = {"group": row.group, "role": row.role}
    append_events([Event(kind, slug, details=details) for slug in slugs], actor=actor)


def _choose_roles(rows: Collection[GroupRole]) -> dict[int, GroupRole]:
    """Return the row that counts, by the id of its workspace."""
    chosen: dict[int, GroupRole] = {}
    for row in sorted(
        (row for row in rows if row.workspace_id is not None),
        key=lambda row: _STRONGEST.index(Role(row.role)),
    ):
        chosen.setdefault(row.workspace_id or 0, row)
    return chosen


def _give(user: User, row: GroupRole) -> None:
    if row.workspace is None:
        return
    try:
        add_member(row.workspace, user, Role(row.role), actor=SYSTEM, group=row.group)
    except LastAdminError as error:
        _logger.warning("The groups of %s are not applied: %s", user.username, error)


def _take(user: User, workspace: Workspace) -> None:
    try:
        remove_by_group(workspace, user, actor=SYSTEM)
    except LastAdminError as error:
        _logger.warning("The groups of %s are not applied: %s", user.username, error)


@transaction.atomic
def _set_site_admin(user: User, *, is_wanted: bool) -> None:
    """Make someone a site administrator, or end what a group made. One by hand stays one."""
    user = lock_person(user)
    identity = Identity.objects.select_for_update().get(user=user)
    if user.is_superuser and not identity.is_site_admin_by_group:
        return
    set_site_admin(user, is_one=is_wanted, actor=SYSTEM)
    identity.is_site_admin_by_group = is_wanted
    identity.save(update_fields=["is_site_admin_by_group"])

"""Whether a person can use Taglock at all, and whether they see to the whole site."""

from dataclasses import dataclass

from django.db import transaction

from workspaces.access import Actor, ActorKind
from workspaces.actions.access_tokens import find_tokens_made_by, revoke_tokens
from workspaces.actions.members import (
    LastAdminError,
    end_invitation,
    is_last_admin,
    withdraw_invitations_by,
)
from workspaces.actions.passwords import forget_password
from workspaces.authorization import require_site_admin
from workspaces.log.append import Event, append_events
from workspaces.log.kinds import EventKind
from workspaces.models import AccessToken, Identity, Invitation, Membership, User, Workspace

_MAX_TRIES = 10


class OwnAccountError(Exception):
    """Someone was about to lock themselves out. The message is for people."""


class JoinedMeanwhileError(Exception):
    """The person keeps coming into workspaces that are not locked."""


@dataclass(frozen=True)
class Deactivation:
    """What a deactivation ends: how many access tokens are revoked, and whose last admin is out."""

    tokens: int
    left_alone: tuple[Workspace, ...] = ()


def find_left_alone(user: User) -> tuple[Workspace, ...]:
    """Return the workspaces that have no other admin than this person."""
    memberships = user.memberships.select_related("workspace", "user").order_by("workspace_id")
    return tuple(each.workspace for each in memberships if is_last_admin(each))


def find_valid_tokens_made_by(user: User) -> list[AccessToken]:
    """Return the access tokens that would be revoked with this person."""
    return [each for each in find_tokens_made_by(user.username) if each.revoked_at is None]


def deactivate_person(
    user: User,
    *,
    actor: Actor,
    reason: str = "",
    keeps_tokens: bool = False,
    even_last_admin: bool = False,
) -> Deactivation | None:
    """Put a person out everywhere at once; return what that ended, or None if they were out.

    From their next request on: sessions, password, open links, invitations that they made or that
    are for them, and the access tokens that they made are void for good, unless `keeps_tokens`;
    what the registry's tokens were given for is asked of the database. Roles are kept, without
    effect. Recorded in the log of every workspace that they are in.

    Raises PermissionDenied if the actor is not a site administrator, OwnAccountError, and
    LastAdminError unless `even_last_admin`: for who is gone, and must not come in again. A site
    administrator hands such a workspace over.
    """
    for _ in range(_MAX_TRIES):
        try:
            return _deactivate(
                user,
                reason,
                actor=actor,
                keeps_tokens=keeps_tokens,
                even_last_admin=even_last_admin,
            )
        except JoinedMeanwhileError:
            continue
    raise JoinedMeanwhileError


@transaction.atomic
def _deactivate(
    user: User, reason: str, *, actor: Actor, keeps_tokens: bool, even_last_admin: bool
) -> Deactivation | None:
    if actor.kind is ActorKind.PERSON and actor.name == user.username:
        raise OwnAccountError("You can’t deactivate yourself. Ask another site administrator.")
    concerned = _find_workspaces(user)
    list(Workspace.objects.select_for_update(no_key=True).filter(id__in=concerned).order_by("id"))
    user = _lock_with_actor(user, actor)
    if not _find_workspaces(user) <= concerned:
        raise JoinedMeanwhileError
    # Whom the identity provider does not vouch for must not come in by signing in there again.
    was_paused = _end_pause(user)
    if not user.is_active and not was_paused:
        return None
    left_alone = find_left_alone(user)
    if left_alone and not even_last_admin:
        raise LastAdminError(user.username, *left_alone)
    count = 0 if keeps_tokens else revoke_tokens(find_tokens_made_by(user.username), actor=actor)
    _withdraw_invitations(user, actor=actor)
    user.personal_tokens.all().delete()
    user.is_active = False
    forget_password(user)
    user.save(update_fields=["is_active", "password"])
    _record(user, EventKind.PERSON_DEACTIVATED, reason, actor)
    return Deactivation(count, left_alone)


@transaction.atomic
def reactivate_person(user: User, *, actor: Actor, reason: str = "") -> bool:
    """Let a person in again, with the roles that they had; return whether they were out.

    They need a new password, by a link. Raises PermissionDenied if the actor is not a site
    administrator.
    """
    user = _lock_with_actor(user, actor)
    if user.is_active:
        return False
    _end_pause(user)
    user.is_active = True
    user.save(update_fields=["is_active"])
    _record(user, EventKind.PERSON_REACTIVATED, reason, actor)
    return True


@transaction.atomic
def set_site_admin(user: User, *, is_one: bool, actor: Actor) -> bool:
    """Make a person a site administrator, or no longer one; return whether that changed anything.

    It is by hand from then on, whatever their groups are. Recorded in the log of every workspace:
    such a person can hand each of them over. Raises PermissionDenied if the actor is not a site
    administrator.
    """
    user = _lock_with_actor(user, actor)
    Identity.objects.filter(user=user).update(is_site_admin_by_group=False)
    if user.is_superuser == is_one:
        return False
    user.is_superuser = is_one
    user.save(update_fields=["is_superuser"])
    kind = EventKind.SITE_ADMIN_ADDED if is_one else EventKind.SITE_ADMIN_REMOVED
    slugs = Workspace.objects.order_by("id").values_list("slug", flat=True)
    details = {"member": user.username}
    append_events([Event(kind, slug, details=details) for slug in slugs], actor=actor)
    return True


def _lock_with_actor(user: User, actor: Actor) -> User:
    """Lock a person, and who decides about them; return the person's row as it is now.

    So of two site administrators who put each other out, one comes second. Where people are locked
    as well, they come first. Raises PermissionDenied if the actor is not a site administrator.
    """
    names = {user.username, *([actor.name] if actor.kind is ActorKind.PERSON else ())}
    rows = User.objects.select_for_update(no_key=True).filter(username__in=names).order_by("id")
    [locked] = [row for row in rows if row.pk == user.pk]
    require_site_admin(actor)
    return locked


def _end_pause(user: User) -> bool:
    """Note that an account is no longer switched off by the provider; return whether it was."""
    paused = Identity.objects.filter(user=user, is_paused=True)
    return bool(paused.update(is_paused=False))


def _find_workspaces(user: User) -> set[int]:
    """Return the ids of the workspaces that a person is in, or has made access tokens of."""
    tokens = find_tokens_made_by(user.username)
    ids = {token.workspace_id for token in tokens if token.workspace_id is not None}
    return ids | set(user.memberships.values_list("workspace_id", flat=True))


def _withdraw_invitations(user: User, *, actor: Actor) -> None:
    """End the invitations that a person made, and those that would let them in again."""
    for membership in Membership.objects.select_related("workspace", "user").filter(user=user):
        withdraw_invitations_by(membership, actor=actor)
    for name in filter(None, (user.username, user.email)):
        found = Invitation.objects.select_related("workspace").filter(invitee__iexact=name)
        for invitation in found.order_by("id"):
            end_invitation(invitation, actor=actor)


def _record(user: User, kind: EventKind, reason: str, actor: Actor) -> None:
    slugs = user.memberships.order_by("workspace_id").values_list("workspace__slug", flat=True)
    details = {"member": user.username}
    events = [Event(kind, slug, reason=reason, details=details) for slug in slugs]
    append_events(events, actor=actor)

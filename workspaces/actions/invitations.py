"""Invitations: a link that lets the first person who opens it into a workspace."""

import secrets
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now

from workspaces.access import Actor, ActorKind, Origin, Role
from workspaces.actions.access_tokens import MAX_SECRET_LENGTH, hash_token
from workspaces.actions.members import add_member, lock_active_person, lock_people
from workspaces.actions.passwords import change_email
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind
from workspaces.models import Invitation, Membership, User, Workspace
from workspaces.text import find_bad_character

INVITATION_LIFE_DAYS = 7
MAX_OPEN_INVITATIONS_PER_WORKSPACE = 100

NAME_TAKEN = (
    "This user name is already taken. Sign in if the account is yours, or choose another name."
)


class InvalidInvitationError(Exception):
    """The invitation never was, is used up, has expired, or its maker is no longer an admin."""


class AlreadyMemberError(Exception):
    """Someone who is in the workspace already wants to take an invitation."""

    def __init__(self, role: Role) -> None:
        super().__init__(
            f"You are already in this workspace, as {role.value}. Ask an admin of it to change "
            "your role."
        )
        self.role = role


def list_open_invitations(workspace: Workspace) -> QuerySet[Invitation]:
    """Return the invitations of the workspace that can still be taken, oldest first."""
    return _open_invitations().filter(workspace=workspace).order_by("id")


@transaction.atomic
def invite(workspace: Workspace, invitee: str, role: Role, *, inviter: User, actor: Actor) -> str:
    """Invite `invitee`, a name or an e-mail address, and return the secret of the link.

    The secret is not stored. Raises PermissionDenied if the actor is no longer an admin, and
    ValidationError if the invitee is not acceptable, or is already in the workspace or invited, or
    if there are too many invitations.
    """
    lock_people(workspace, by=actor)
    # What has expired is of no use to anyone, and makes room.
    Invitation.objects.filter(workspace=workspace, expires_at__lte=Now()).delete()
    invitation = Invitation(
        workspace=workspace, role=role.value, invitee=invitee.strip(), invited_by=inviter
    )
    invitation.clean_fields(exclude=["secret_hash", "created_at", "expires_at"])
    _check_invitee(workspace, invitation.invitee)
    secret = secrets.token_urlsafe(32)
    invitation.secret_hash = hash_token(secret)
    # The database's clock decides later, so it counts from here on as well.
    invitation.expires_at = Now() + timedelta(days=INVITATION_LIFE_DAYS)
    invitation.save()
    _record(EventKind.INVITATION_MADE, invitation, actor)
    return secret


@transaction.atomic
def withdraw_invitation(workspace: Workspace, invitation_id: int, *, actor: Actor) -> str:
    """End an invitation, so that its link no longer works, and return whom it was for.

    Raises PermissionDenied if the actor is no longer an admin, and Invitation.DoesNotExist if
    the workspace has no such invitation, or no longer has it.
    """
    lock_people(workspace, by=actor)
    invitation = Invitation.objects.select_related("workspace").get(
        workspace=workspace, id=invitation_id
    )
    _use_up(invitation)
    _record(EventKind.INVITATION_WITHDRAWN, invitation, actor)
    return invitation.invitee


def find_invitation(secret: str) -> Invitation:
    """Return the invitation behind a link, with its workspace and who made it.

    Looking uses nothing up. Raises InvalidInvitationError.
    """
    if len(secret) > MAX_SECRET_LENGTH or find_bad_character(secret):
        raise InvalidInvitationError
    return find_invitation_by_hash(hash_token(secret))


def find_invitation_by_hash(secret_hash: str) -> Invitation:
    """Return the invitation whose secret has this hash. Raises InvalidInvitationError."""
    found = (
        _open_invitations()
        .select_related("workspace", "invited_by")
        .filter(secret_hash=secret_hash)
        .first()
    )
    if found is None:
        raise InvalidInvitationError
    return found


@transaction.atomic
def accept_invitation(
    found: Invitation, user: User, *, actor: Actor, own_email: str = ""
) -> Membership:
    """Use an invitation that was found up, and let `user` into its workspace.

    `own_email` is the e-mail address that they say is theirs. Another one is removed from their
    account: the person who made the account may have planted it, and could use it to set a new
    password and act in this workspace, too. Raises InvalidInvitationError, PermissionDenied if they
    are deactivated, and AlreadyMemberError; both leave the invitation open.
    """
    workspace = found.workspace
    lock_people(workspace)
    # Once more: while this waited for the lock, its maker may have been removed.
    invitation = find_invitation_by_hash(found.secret_hash)
    user = lock_active_person(user)
    membership = Membership.objects.filter(workspace=workspace, user=user).first()
    if membership is not None:
        raise AlreadyMemberError(Role(membership.role))
    try:
        _use_up(invitation)
    except Invitation.DoesNotExist as error:
        raise InvalidInvitationError from error
    membership = add_member(
        workspace,
        user,
        Role(invitation.role),
        actor=actor,
        invited_by=invitation.invited_by.username,
    )
    if user.email != own_email:
        change_email(user, "", actor=actor)
    return membership


@transaction.atomic
def accept_with_new_account(found: Invitation, user: User, *, origin: Origin) -> Membership:
    """Make the account `user`, which is not saved yet, and let it into the workspace: both or none.

    Raises InvalidInvitationError, and ValidationError if the account is not valid.
    """
    find_invitation_by_hash(found.secret_hash)
    user.full_clean(exclude=["password"])
    try:
        user.save(force_insert=True)
    except IntegrityError as error:
        raise ValidationError({"username": NAME_TAKEN}) from error
    actor = Actor(user.username, ActorKind.PERSON, origin)
    return accept_invitation(found, user, actor=actor, own_email=user.email)


def _open_invitations() -> QuerySet[Invitation]:
    """Return what can be taken now: not expired, and made by someone who is still an admin."""
    admin = Membership.objects.filter(
        workspace=OuterRef("workspace"),
        user=OuterRef("invited_by"),
        user__is_active=True,
        role=Role.ADMIN.value,
    )
    return Invitation.objects.filter(Exists(admin), expires_at__gt=Now())


def _use_up(invitation: Invitation) -> None:
    """Delete the row. Of many at once, all but one get Invitation.DoesNotExist."""
    deleted, _ = Invitation.objects.filter(pk=invitation.pk).delete()
    if not deleted:
        raise Invitation.DoesNotExist


def _check_invitee(workspace: Workspace, invitee: str) -> None:
    if Membership.objects.filter(workspace=workspace, user__username=invitee.lower()).exists():
        raise ValidationError({"invitee": f"{invitee} is already in this workspace."})
    invited = list(list_open_invitations(workspace).values_list("invitee", flat=True))
    if invitee.casefold() in {each.casefold() for each in invited}:
        raise ValidationError(
            {
                "invitee": f"{invitee} is already invited. Withdraw that invitation first if you "
                "need a new link."
            }
        )
    if len(invited) >= MAX_OPEN_INVITATIONS_PER_WORKSPACE:
        raise ValidationError(
            {
                "invitee": f"There are {len(invited)} open invitations, the maximum. Withdraw one "
                "that is no longer needed."
            }
        )


def _record(kind: EventKind, invitation: Invitation, actor: Actor) -> None:
    details = {"invitee": invitation.invitee, "role": invitation.role}
    append_event(Event(kind, invitation.workspace.slug, details=details), actor=actor)

"""Passwords, the links that set new ones, and the address that such links are mailed to."""

import secrets

from django.conf import settings
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.db import transaction

from workspaces.access import Actor, Role
from workspaces.actions.members import find_member, lock_people, lock_person
from workspaces.log.append import Event, append_events
from workspaces.log.kinds import EventKind
from workspaces.models import Membership, User, Workspace


class NoPasswordLinkError(Exception):
    """No admin of this workspace may make a link for this person. The message is for people."""


class InvalidLinkError(Exception):
    """A password link is used up or expired, or the workspaces or admins of its person changed."""


class PasswordLinkTokens(PasswordResetTokenGenerator):
    """Makes and checks the tokens in password links.

    What a link was made for is part of its token. Someone who has joined another workspace since
    is another workspace's member too, and no link that one admin made may open her account then.
    So are those who could have made it: an admin who was demoted or removed, or whose account was
    deactivated, takes every open link along.
    """

    key_salt = "workspaces.actions.passwords.PasswordLinkTokens"

    def check_token(self, user: User | None, token: str | None) -> bool:
        """Whether `token` may set a new password for `user` now."""
        return user is not None and user.is_active and super().check_token(user, token)

    def _make_hash_value(self, user: User, timestamp: int) -> str:
        # Ids of memberships, not of workspaces: leaving and coming back makes a difference.
        memberships = sorted(user.memberships.values_list("id", flat=True))
        admins = sorted(
            Membership.objects.filter(
                workspace__memberships__user=user, role=Role.ADMIN.value, user__is_active=True
            ).values_list("id", flat=True)
        )
        rank = f"{user.is_staff:d}{user.is_superuser:d}"
        made_for = f"{memberships}|{rank}|{admins}"
        return f"{super()._make_hash_value(user, timestamp)}|{made_for}"


LINK_TOKENS = PasswordLinkTokens()


@transaction.atomic
def change_password(user: User, password: str, *, actor: Actor, how: str) -> None:
    """Set a password that was validated, which ends every session of `user`, and record it.

    `how` says in a few words what allowed it.
    """
    user.set_password(password)
    user.save(update_fields=["password"])
    record_of_person(user, EventKind.PASSWORD_CHANGED, actor=actor, how=how)


def forget_password(user: User) -> None:
    """Make a locked person's password, open links and sessions worthless; the caller saves it.

    Who signed in by a password can have a link for a new one later, by mail, too.
    """
    if user.has_usable_password():
        user.set_password(secrets.token_urlsafe(32))
    else:
        # Another unusable one: sessions depend on it.
        user.set_unusable_password()


@transaction.atomic
def set_password_by_link(user: User, token: str, password: str, *, actor: Actor) -> None:
    """Set a validated password for the holder of the link's `token`, which uses it up.

    Raises InvalidLinkError.
    """
    # Of two who use the link at once, and of using it and joining a workspace, one comes second.
    locked = lock_person(user)
    if not LINK_TOKENS.check_token(locked, token):
        raise InvalidLinkError
    change_password(locked, password, actor=actor, how="by a password link")


@transaction.atomic
def make_password_link(
    workspace: Workspace, membership_id: int, *, actor: Actor
) -> tuple[User, str]:
    """Return a member and the token of a new link that lets them set a password.

    Raises PermissionDenied if the actor is no longer an admin, Membership.DoesNotExist where the
    workspace has no such member, and NoPasswordLinkError.
    """
    lock_people(workspace, by=actor)
    user = lock_person(find_member(workspace, membership_id).user)
    if problem := find_obstacle(workspace, user, actor=actor):
        raise NoPasswordLinkError(problem)
    record_of_person(user, EventKind.PASSWORD_LINK_MADE, actor=actor, how="shown to an admin")
    return user, LINK_TOKENS.make_token(user)


def find_obstacle(workspace: Workspace, user: User, *, actor: Actor) -> str:
    """Return why no link can be made for a member of `workspace` by `actor`; empty if it can.

    Anyone who can set someone's password can act as them, everywhere. So an admin can only do this
    for people who are in no other workspace.
    """
    if not settings.LOCAL_PASSWORDS:
        return "Passwords are switched off on this site."
    if user.username == actor.name:
        return "You change your own password on your account page."
    if not user.is_active:
        return f"The account {user.username} is deactivated. Ask a site administrator."
    if hasattr(user, "identity"):
        return f"{user.username} signs in at the identity provider, and has no password here."
    if user.is_staff or user.is_superuser:
        return f"{user.username} works for the whole site. Only its operator can do this."
    if user.memberships.exclude(workspace=workspace).exists():
        return (
            f"{user.username} is in another workspace too, and a new password would give access "
            "there as well."
        )
    return ""


@transaction.atomic
def make_mailed_link(user: User, *, actor: Actor) -> str:
    """Return the token of a new link that is to be mailed to the person's own address."""
    record_of_person(
        user, EventKind.PASSWORD_LINK_MADE, actor=actor, how="for a mail to their own address"
    )
    return LINK_TOKENS.make_token(user)


@transaction.atomic
def change_email(user: User, email: str, *, actor: Actor) -> None:
    """Save a validated e-mail address, or none, and record that it changed, but not to what.

    Nothing is recorded where it is the same. Every earlier password link is void.
    """
    if user.email == email:
        return
    user.email = email
    user.save(update_fields=["email"])
    record_of_person(user, EventKind.EMAIL_CHANGED, actor=actor)


def record_of_person(user: User, kind: EventKind, *, actor: Actor, **more: str) -> None:
    """Record, in every workspace that `user` is in, that something happened to their account.

    `more` are further details; an empty one is left out.
    """
    details = {"member": user.username, **{name: text for name, text in more.items() if text}}
    slugs = user.memberships.order_by("workspace__slug").values_list("workspace__slug", flat=True)
    append_events([Event(kind, slug, details=details) for slug in slugs], actor=actor)

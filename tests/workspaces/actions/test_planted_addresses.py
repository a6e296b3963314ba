"""Someone who made an account may have planted an address in it, to set a new password by later."""

import pytest

from workspaces.access import SYSTEM, Actor, ActorKind, Origin, Role
from workspaces.actions.invitations import (
    accept_invitation,
    accept_with_new_account,
    find_invitation,
    invite,
)
from workspaces.actions.members import add_member
from workspaces.log.models import LockEvent
from workspaces.models import User, Workspace

DANA = Actor("dana", ActorKind.PERSON)


@pytest.fixture
def secret(acme: Workspace, alice: User) -> str:
    """The secret of an invitation of dana's."""
    return invite(acme, "dana", Role.MEMBER, inviter=alice, actor=SYSTEM)


@pytest.fixture
def dana(db: None) -> User:
    return User.objects.create_user("dana", "dana@example.org", "demo")


@pytest.mark.parametrize("said", ["", "other@example.org", "Dana@example.org"])
def test_an_address_that_nobody_says_is_theirs_is_taken_away(
    secret: str, globex: Workspace, dana: User, said: str
) -> None:
    add_member(globex, dana, Role.MEMBER, actor=SYSTEM)
    accept_invitation(find_invitation(secret), dana, actor=DANA, own_email=said)
    assert User.objects.get(pk=dana.pk).email == ""
    events = LockEvent.objects.filter(kind="email.changed").order_by("id")
    assert [(event.workspace, event.actor, event.details) for event in events] == [
        (slug, "dana", {"member": "dana"}) for slug in ("acme", "globex")
    ]


def test_an_address_that_is_theirs_stays(secret: str, dana: User) -> None:
    accept_invitation(find_invitation(secret), dana, actor=DANA, own_email="dana@example.org")
    assert User.objects.get(pk=dana.pk).email == "dana@example.org"
    assert not LockEvent.objects.filter(kind="email.changed").exists()


def test_the_address_of_a_new_account_stays(secret: str) -> None:
    user = User(username="eve", email="eve@example.org")
    accept_with_new_account(find_invitation(secret), user, origin=Origin())
    assert User.objects.get(username="eve").email == "eve@example.org"

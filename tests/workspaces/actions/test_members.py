"""Who is in a workspace: roles, removal, and the admin who has to stay."""

from functools import partial

import pytest

from tests.at_once import at_once
from tests.problems import nothing_written
from workspaces.access import SYSTEM, Actor, ActorKind, Role
from workspaces.actions.invitations import invite
from workspaces.actions.members import (
    LastAdminError,
    add_member,
    change_role,
    remove_member,
)
from workspaces.log.models import LockEvent
from workspaces.models import Invitation, Membership, User, Workspace

ALICE = Actor("alice", ActorKind.PERSON)


def membership_of(workspace: Workspace, user: User) -> Membership:
    return Membership.objects.get(workspace=workspace, user=user)


def role_of(workspace: Workspace, user: User) -> str:
    return membership_of(workspace, user).role


def make_admin(workspace: Workspace, username: str) -> User:
    user = User.objects.create_user(username, password="demo")
    add_member(workspace, user, Role.ADMIN, actor=SYSTEM)
    return user


def test_a_change_of_role_is_recorded(acme: Workspace, alice: User, bob: User) -> None:
    change_role(acme, membership_of(acme, bob).id, Role.AUDITOR, actor=ALICE)
    assert role_of(acme, bob) == "auditor"
    event = LockEvent.objects.get(kind="member.changed")
    assert (event.workspace, event.actor) == ("acme", "alice")
    assert event.details == {"member": "bob", "before": "member", "after": "auditor"}


def test_the_same_role_again_is_no_event(acme: Workspace, alice: User, bob: User) -> None:
    with nothing_written():
        change_role(acme, membership_of(acme, bob).id, Role.MEMBER, actor=ALICE)
        add_member(acme, bob, Role.MEMBER, actor=SYSTEM)


def test_a_removal_is_recorded(acme: Workspace, alice: User, bob: User) -> None:
    assert remove_member(acme, membership_of(acme, bob).id, actor=ALICE) == "bob"
    assert not Membership.objects.filter(user=bob).exists()
    assert User.objects.filter(username="bob").exists()
    event = LockEvent.objects.get(kind="member.removed")
    assert event.details == {"member": "bob", "before": "member", "after": None}


def test_the_last_admin_can_neither_go_nor_be_demoted(
    acme: Workspace, alice: User, bob: User
) -> None:
    number = membership_of(acme, alice).id
    with nothing_written():
        for attempt in (
            partial(change_role, acme, number, Role.MEMBER, actor=ALICE),
            partial(remove_member, acme, number, actor=ALICE),
            partial(add_member, acme, alice, Role.AUDITOR, actor=SYSTEM),
        ):
            with pytest.raises(LastAdminError) as caught:
                attempt()
            assert str(caught.value) == (
                "alice is the last admin of acme. Make someone else an admin first."
            )


def test_an_admin_whose_account_is_switched_off_does_not_count(
    acme: Workspace, alice: User
) -> None:
    sleeper = make_admin(acme, "sleeper")
    User.objects.filter(pk=sleeper.pk).update(is_active=False)
    with pytest.raises(LastAdminError):
        remove_member(acme, membership_of(acme, alice).id, actor=ALICE)
    remove_member(acme, membership_of(acme, sleeper).id, actor=ALICE)


def test_an_admin_elsewhere_does_not_count(
    acme: Workspace, globex: Workspace, alice: User, mallory: User
) -> None:
    with pytest.raises(LastAdminError):
        remove_member(acme, membership_of(acme, alice).id, actor=ALICE)


def test_one_of_two_admins_can_go(acme: Workspace, alice: User) -> None:
    make_admin(acme, "dana")
    remove_member(acme, membership_of(acme, alice).id, actor=ALICE)
    assert list(acme.memberships.values_list("user__username", flat=True)) == ["dana"]


def test_members_of_another_workspace_are_not_found(
    acme: Workspace, alice: User, globex: Workspace, mallory: User
) -> None:
    foreign = membership_of(globex, mallory).id
    with nothing_written():
        with pytest.raises(Membership.DoesNotExist):
            change_role(acme, foreign, Role.MEMBER, actor=ALICE)
        with pytest.raises(Membership.DoesNotExist):
            remove_member(acme, foreign, actor=ALICE)


@pytest.mark.parametrize("how", ["removed", "demoted"])
def test_the_invitations_of_somebody_who_is_no_admin_any_more_are_withdrawn(
    acme: Workspace, alice: User, globex: Workspace, how: str
) -> None:
    dana = make_admin(acme, "dana")
    add_member(globex, dana, Role.ADMIN, actor=SYSTEM)
    invite(acme, "eve", Role.ADMIN, inviter=dana, actor=SYSTEM)
    invite(acme, "carol", Role.MEMBER, inviter=alice, actor=ALICE)
    invite(globex, "frank", Role.MEMBER, inviter=dana, actor=SYSTEM)
    number = membership_of(acme, dana).id
    if how == "removed":
        remove_member(acme, number, actor=ALICE)
    else:
        change_role(acme, number, Role.MEMBER, actor=ALICE)
    assert sorted(Invitation.objects.values_list("invitee", flat=True)) == ["carol", "frank"]
    event = LockEvent.objects.get(kind="invitation.withdrawn")
    assert (event.workspace, event.actor) == ("acme", "alice")
    assert event.details == {"invitee": "eve", "role": "admin"}


# At once.


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("verb", ["demote", "remove"])
def test_of_two_admins_who_end_each_other_at_once_one_stays(acme: Workspace, verb: str) -> None:
    for _ in range(4):
        Membership.objects.all().delete()
        people = [
            User.objects.get_or_create(username=name, defaults={"password": "!"})[0]
            for name in ("ann", "ben")
        ]
        numbers = []
        for person in people:
            numbers.append(add_member(acme, person, Role.ADMIN, actor=SYSTEM).id)

        def end(number: int) -> str:
            try:
                if verb == "demote":
                    change_role(acme, number, Role.MEMBER, actor=SYSTEM)
                else:
                    remove_member(acme, number, actor=SYSTEM)
            except LastAdminError:
                return "refused"
            return "done"

        answers = at_once([partial(end, number) for number in numbers])
        assert sorted(answers) == ["done", "refused"]
        assert Membership.objects.filter(role="admin").count() == 1


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_one_person_who_is_added_many_times_at_once_is_in_once(acme: Workspace) -> None:
    dana = User.objects.create_user("dana")
    at_once([partial(add_member, acme, dana, Role.MEMBER, actor=SYSTEM) for _ in range(8)])
    assert Membership.objects.count() == 1
    assert LockEvent.objects.filter(kind="member.added").count() == 1

"""Invitations: made once, taken once, and worth nothing when the person who made them has gone."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from tests.at_once import at_once
from tests.problems import nothing_written
from workspaces.access import SYSTEM, Actor, ActorKind, Origin, Role
from workspaces.actions import invitations
from workspaces.actions.invitations import (
    AlreadyMemberError,
    InvalidInvitationError,
    accept_invitation,
    accept_with_new_account,
    find_invitation,
    invite,
    list_open_invitations,
    withdraw_invitation,
)
from workspaces.actions.members import add_member, remove_member
from workspaces.log.models import LockEvent
from workspaces.models import Invitation, Membership, User, Workspace

ALICE = Actor("alice", ActorKind.PERSON)
NOWHERE = Origin()


@pytest.fixture
def secret(acme: Workspace, alice: User) -> str:
    """The secret of an invitation of dana's."""
    return invite(acme, "dana", Role.MEMBER, inviter=alice, actor=ALICE)


@pytest.fixture
def dana(db: None) -> User:
    return User.objects.create_user("dana", password="demo")


def accept(secret: str, user: User) -> Membership:
    actor = Actor(user.username, ActorKind.PERSON)
    return accept_invitation(find_invitation(secret), user, actor=actor)


def make_account(secret: str, user: User, origin: Origin = NOWHERE) -> Membership:
    return accept_with_new_account(find_invitation(secret), user, origin=origin)


def refuse(secret: str, user: User) -> None:
    """Try an invitation that is worth nothing, to look at and to take."""
    with nothing_written():
        with pytest.raises(InvalidInvitationError):
            find_invitation(secret)
        with pytest.raises(InvalidInvitationError):
            accept(secret, user)
        with pytest.raises(InvalidInvitationError):
            make_account(secret, User(username="eve"))


def test_an_invitation_that_ended_since_it_was_found_is_not_taken(
    acme: Workspace, secret: str, dana: User
) -> None:
    found = find_invitation(secret)
    withdraw_invitation(acme, found.id, actor=SYSTEM)
    with nothing_written():
        with pytest.raises(InvalidInvitationError):
            accept_invitation(found, dana, actor=SYSTEM)
        with pytest.raises(InvalidInvitationError):
            accept_with_new_account(found, User(username="eve"), origin=NOWHERE)


def test_only_the_hash_of_the_secret_is_kept(acme: Workspace, secret: str) -> None:
    assert len(secret) == 43
    kept = str(list(Invitation.objects.values())) + str(list(LockEvent.objects.values()))
    assert secret not in kept


def test_an_invitation_is_recorded_and_good_for_seven_days(acme: Workspace, secret: str) -> None:
    invitation = Invitation.objects.get()
    left = invitation.expires_at - timezone.now()
    assert timedelta(days=7) - timedelta(minutes=5) < left <= timedelta(days=7, minutes=5)
    event = LockEvent.objects.get(kind="invitation.made")
    assert (event.workspace, event.actor) == ("acme", "alice")
    assert event.details == {"invitee": "dana", "role": "member"}


def test_whoever_takes_an_invitation_is_in_with_its_role(
    acme: Workspace, secret: str, dana: User
) -> None:
    assert find_invitation(secret).workspace == acme
    accept(secret, dana)
    assert Membership.objects.get(user=dana).role == "member"
    event = LockEvent.objects.get(kind="member.added", actor="dana")
    assert event.details == {
        "member": "dana",
        "before": None,
        "after": "member",
        "invited_by": "alice",
    }


def test_an_invitation_is_taken_once(secret: str, dana: User) -> None:
    accept(secret, dana)
    refuse(secret, User.objects.create_user("carol"))


def test_an_invitation_ends_after_its_time(secret: str, dana: User) -> None:
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    refuse(secret, dana)


def test_an_invitation_is_void_once_its_maker_was_removed(
    acme: Workspace, alice: User, dana: User
) -> None:
    eve = User.objects.create_user("eve_the_admin")
    membership = add_member(acme, eve, Role.ADMIN, actor=SYSTEM)
    secret = invite(acme, "eve's other name", Role.ADMIN, inviter=eve, actor=SYSTEM)
    remove_member(acme, membership.id, actor=ALICE)
    refuse(secret, dana)
    # Not even an admin again has what was made before.
    add_member(acme, eve, Role.ADMIN, actor=ALICE)
    refuse(secret, dana)


@pytest.mark.parametrize("how", ["membership", "role", "account"])
def test_an_invitation_needs_an_admin_behind_it_whatever_became_of_the_row(
    acme: Workspace, alice: User, secret: str, dana: User, how: str
) -> None:
    # Past the actions, as by hand in the database.
    match how:
        case "membership":
            Membership.objects.filter(user=alice).delete()
        case "role":
            Membership.objects.filter(user=alice).update(role="member")
        case "account":
            User.objects.filter(pk=alice.pk).update(is_active=False)
    refuse(secret, dana)
    assert not list_open_invitations(acme).exists()


def test_an_admin_elsewhere_is_no_admin_here(
    acme: Workspace, globex: Workspace, alice: User, secret: str, dana: User
) -> None:
    Membership.objects.filter(user=alice).update(workspace=globex)
    refuse(secret, dana)


@pytest.mark.parametrize("role", list(Role))
def test_a_member_keeps_their_role_and_leaves_the_invitation(
    acme: Workspace, alice: User, dana: User, role: Role
) -> None:
    secret = invite(acme, "somebody", Role.ADMIN, inviter=alice, actor=ALICE)
    add_member(acme, dana, role, actor=SYSTEM)
    with nothing_written(), pytest.raises(AlreadyMemberError) as caught:
        accept(secret, dana)
    assert str(caught.value) == (
        f"You are already in this workspace, as {role.value}. Ask an admin of it to change your "
        "role."
    )
    assert find_invitation(secret).invitee == "somebody"


def test_a_new_account_is_made_and_let_in(secret: str) -> None:
    user = User(username="dana", email="dana@example.org")
    user.set_password("correct horse battery")
    make_account(secret, user, Origin("192.0.2.7"))
    made = User.objects.get(username="dana")
    assert (made.is_staff, made.is_superuser, made.email) == (False, False, "dana@example.org")
    assert made.check_password("correct horse battery")
    assert Membership.objects.get(user=made).role == "member"
    event = LockEvent.objects.get(kind="member.added", actor="dana")
    assert event.actor_kind == "person"
    assert event.origin.address == "192.0.2.7"


def test_a_name_that_is_taken_leaves_the_invitation(secret: str, bob: User) -> None:
    with nothing_written(), pytest.raises(ValidationError, match="already"):
        make_account(secret, User(username="bob"))
    assert find_invitation(secret)


@pytest.mark.parametrize("username", ["", "Dana", "a+b", "a\0b", "d" * 65, "a\n"], ids=ascii)
def test_a_name_that_will_not_do_leaves_the_invitation(secret: str, username: str) -> None:
    with nothing_written(), pytest.raises(ValidationError):
        make_account(secret, User(username=username))
    assert find_invitation(secret)


@pytest.mark.parametrize("secret", ["", "x", "a\0b", "\udcff", "é", "x" * 100_000], ids=len)
@pytest.mark.django_db
def test_what_is_no_secret_finds_nothing(secret: str) -> None:
    with pytest.raises(InvalidInvitationError):
        find_invitation(secret)


@pytest.mark.parametrize(
    "invitee", ["", "  ", "a\0b", "a\nb", "a\udcff", "a\u202eb", "x" * 255], ids=ascii
)
def test_an_invitee_is_plain_text(acme: Workspace, alice: User, invitee: str) -> None:
    with nothing_written(), pytest.raises(ValidationError) as caught:
        invite(acme, invitee, Role.MEMBER, inviter=alice, actor=ALICE)
    assert list(caught.value.message_dict) == ["invitee"]


@pytest.mark.parametrize("again", ["dana", "DANA", " dana "])
def test_nobody_is_invited_twice_at_a_time(
    acme: Workspace, alice: User, secret: str, again: str
) -> None:
    with nothing_written(), pytest.raises(ValidationError, match="is already invited"):
        invite(acme, again, Role.ADMIN, inviter=alice, actor=ALICE)


def test_who_was_invited_can_be_invited_anew_once_that_has_expired(
    acme: Workspace, alice: User, secret: str
) -> None:
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    invite(acme, "dana", Role.MEMBER, inviter=alice, actor=ALICE)
    # What has expired is gone.
    assert Invitation.objects.count() == 1


@pytest.mark.parametrize("name", ["bob", "Bob"])
def test_a_member_is_not_invited(acme: Workspace, alice: User, bob: User, name: str) -> None:
    with nothing_written(), pytest.raises(ValidationError, match="already in this workspace"):
        invite(acme, name, Role.ADMIN, inviter=alice, actor=ALICE)


def test_people_of_other_workspaces_can_be_invited(
    acme: Workspace, alice: User, mallory: User
) -> None:
    invite(acme, "mallory", Role.MEMBER, inviter=alice, actor=ALICE)


def test_open_invitations_are_limited(
    acme: Workspace, alice: User, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invitations, "MAX_OPEN_INVITATIONS_PER_WORKSPACE", 2)
    invite(acme, "carol", Role.MEMBER, inviter=alice, actor=ALICE)
    with nothing_written(), pytest.raises(ValidationError, match="Withdraw one"):
        invite(acme, "eve", Role.MEMBER, inviter=alice, actor=ALICE)


def test_a_withdrawn_invitation_is_worth_nothing(acme: Workspace, secret: str, dana: User) -> None:
    assert withdraw_invitation(acme, Invitation.objects.get().id, actor=ALICE) == "dana"
    event = LockEvent.objects.get(kind="invitation.withdrawn")
    assert event.details == {"invitee": "dana", "role": "member"}
    refuse(secret, dana)


def test_the_invitations_of_another_workspace_cannot_be_withdrawn(
    acme: Workspace, globex: Workspace, secret: str
) -> None:
    with nothing_written(), pytest.raises(Invitation.DoesNotExist):
        withdraw_invitation(globex, Invitation.objects.get().id, actor=SYSTEM)
    assert Invitation.objects.exists()


# At once.


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_of_many_who_take_an_invitation_at_once_one_gets_it(acme: Workspace, alice: User) -> None:
    people = [User.objects.create_user(f"person{number}") for number in range(8)]

    def take(secret: str, person: User) -> str:
        try:
            accept(secret, person)
        except InvalidInvitationError:
            return "too late"
        return "in"

    for round_ in range(3):
        secret = invite(acme, f"one {round_}", Role.MEMBER, inviter=alice, actor=ALICE)
        Membership.objects.exclude(user=alice).delete()
        answers = at_once([partial(take, secret, person) for person in people])
        assert sorted(answers) == ["in"] + ["too late"] * 7
        assert Membership.objects.exclude(user=alice).count() == 1
        assert not Invitation.objects.exists()


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_of_many_accounts_of_one_name_at_once_one_is_made(acme: Workspace, alice: User) -> None:
    secrets = [
        invite(acme, f"person {number}", Role.MEMBER, inviter=alice, actor=ALICE)
        for number in range(6)
    ]

    def make(secret: str) -> str:
        try:
            make_account(secret, User(username="dana", password="!"))
        except ValidationError:
            return "taken"
        return "made"

    answers = at_once([partial(make, secret) for secret in secrets])
    assert sorted(answers) == ["made"] + ["taken"] * 5
    assert Invitation.objects.count() == 5


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_who_is_removed_while_their_invitation_is_taken_comes_first_or_second(
    acme: Workspace, alice: User
) -> None:
    for round_ in range(4):
        eve = User.objects.create_user(f"eve{round_}")
        dana = User.objects.create_user(f"dana{round_}")
        membership = add_member(acme, eve, Role.ADMIN, actor=SYSTEM)
        secret = invite(acme, f"dana{round_}", Role.ADMIN, inviter=eve, actor=SYSTEM)

        def take(secret: str = secret, dana: User = dana) -> str:
            try:
                accept(secret, dana)
            except InvalidInvitationError:
                return "void"
            return "in"

        calls: list[Callable[[], object]] = [
            take,
            partial(remove_member, acme, membership.id, actor=ALICE),
        ]
        answer = at_once(calls)[0]
        kinds = list(
            LockEvent.objects.filter(kind__in=["member.added", "member.removed"])
            .order_by("-id")
            .values_list("kind", flat=True)[:2]
        )
        is_in = Membership.objects.filter(user=dana).exists()
        assert is_in == (answer == "in")
        # Nothing is taken after the removal.
        assert kinds[0] == "member.removed"


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_what_is_withdrawn_at_once_by_many_is_withdrawn_once(acme: Workspace, alice: User) -> None:
    invite(acme, "dana", Role.MEMBER, inviter=alice, actor=ALICE)
    number = Invitation.objects.get().id

    def withdraw() -> str:
        try:
            return withdraw_invitation(acme, number, actor=ALICE)
        except Invitation.DoesNotExist:
            return "gone"

    assert sorted(at_once([withdraw] * 8)) == ["dana"] + ["gone"] * 7
    assert LockEvent.objects.filter(kind="invitation.withdrawn").count() == 1


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_an_invitation_is_taken_or_withdrawn_and_never_both(acme: Workspace, alice: User) -> None:
    for round_ in range(6):
        dana = User.objects.create_user(f"dana{round_}")
        secret = invite(acme, f"dana{round_}", Role.MEMBER, inviter=alice, actor=ALICE)
        number = Invitation.objects.get().id

        def take(secret: str = secret, dana: User = dana) -> bool:
            try:
                accept(secret, dana)
            except InvalidInvitationError:
                return False
            return True

        def withdraw(number: int = number) -> bool:
            try:
                withdraw_invitation(acme, number, actor=ALICE)
            except Invitation.DoesNotExist:
                return False
            return True

        calls: list[Callable[[], bool]] = [take, withdraw]
        is_taken, is_withdrawn = at_once(calls)
        assert is_taken != is_withdrawn
        assert Membership.objects.filter(user=dana).exists() == is_taken

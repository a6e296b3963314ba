"""Passwords and password links: no admin of one workspace may act as someone of another."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import pytest

from tests.at_once import at_once
from tests.problems import nothing_written
from workspaces.access import SYSTEM, Actor, ActorKind, Role
from workspaces.actions.members import add_member, change_role, remove_member
from workspaces.actions.passwords import (
    LINK_TOKENS,
    InvalidLinkError,
    NoPasswordLinkError,
    PasswordLinkTokens,
    change_email,
    change_password,
    make_mailed_link,
    make_password_link,
    set_password_by_link,
)
from workspaces.log.models import LockEvent
from workspaces.models import Membership, User, Workspace

ALICE = Actor("alice", ActorKind.PERSON)
MALLORY = Actor("mallory", ActorKind.PERSON)
BOB = Actor("bob", ActorKind.PERSON)
NEW = "correct horse battery"


def membership_of(workspace: Workspace, user: User) -> Membership:
    return Membership.objects.get(workspace=workspace, user=user)


def make_link(workspace: Workspace, user: User, actor: Actor = ALICE) -> str:
    made_for, token = make_password_link(workspace, membership_of(workspace, user).id, actor=actor)
    assert made_for == user
    return token


def refuse_link(workspace: Workspace, user: User, actor: Actor) -> str:
    with nothing_written(), pytest.raises(NoPasswordLinkError) as caught:
        make_link(workspace, user, actor)
    return str(caught.value)


def reload(user: User) -> User:
    return User.objects.get(pk=user.pk)


def is_good(user: User, token: str) -> bool:
    return LINK_TOKENS.check_token(reload(user), token)


def events_of(kind: str) -> list[tuple[str, str, object]]:
    found = LockEvent.objects.filter(kind=kind).order_by("id")
    return [(event.workspace, event.actor, event.details) for event in found]


def secrets_in_the_log(*secrets: str) -> bool:
    log = str(list(LockEvent.objects.values()))
    return any(secret in log for secret in secrets)


def test_an_admin_makes_a_link_for_somebody_who_is_in_this_workspace_alone(
    acme: Workspace, alice: User, bob: User
) -> None:
    token = make_link(acme, bob)
    assert events_of("password.link_made") == [
        ("acme", "alice", {"member": "bob", "how": "shown to an admin"})
    ]
    set_password_by_link(bob, token, NEW, actor=BOB)
    assert reload(bob).check_password(NEW)
    assert events_of("password.changed") == [
        ("acme", "bob", {"member": "bob", "how": "by a password link"})
    ]
    assert not secrets_in_the_log(token, NEW)


def test_an_admin_of_another_workspace_cannot_reach_somebody(
    acme: Workspace, globex: Workspace, alice: User, mallory: User
) -> None:
    with nothing_written(), pytest.raises(Membership.DoesNotExist):
        make_password_link(globex, membership_of(acme, alice).id, actor=MALLORY)


def test_an_admin_of_another_workspace_cannot_take_over_somebody_who_joined_it(
    acme: Workspace, globex: Workspace, alice: User, bob: User, mallory: User
) -> None:
    add_member(globex, bob, Role.MEMBER, actor=SYSTEM)
    said = "bob is in another workspace too, and a new password would give access there as well."
    assert refuse_link(globex, bob, MALLORY) == said
    # Neither side can.
    assert refuse_link(acme, bob, ALICE) == said


def test_who_left_the_other_workspace_can_be_helped_again(
    acme: Workspace, globex: Workspace, alice: User, bob: User
) -> None:
    other = add_member(globex, bob, Role.MEMBER, actor=SYSTEM)
    other.delete()
    assert is_good(bob, make_link(acme, bob))


@pytest.mark.parametrize("flag", ["is_staff", "is_superuser"])
def test_nobody_who_works_for_the_whole_site_gets_a_link(
    acme: Workspace, alice: User, bob: User, flag: str
) -> None:
    User.objects.filter(pk=bob.pk).update(**{flag: True})
    assert "Only its operator" in refuse_link(acme, bob, ALICE)


def test_an_account_that_is_switched_off_gets_no_link(
    acme: Workspace, alice: User, bob: User
) -> None:
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert "deactivated" in refuse_link(acme, bob, ALICE)


def test_an_admin_makes_no_link_for_themselves(acme: Workspace, alice: User) -> None:
    assert "your account page" in refuse_link(acme, alice, ALICE)


# What ends a link.


def test_a_link_made_before_somebody_joined_another_workspace_is_void(
    acme: Workspace, globex: Workspace, alice: User, bob: User
) -> None:
    token = make_link(acme, bob)
    add_member(globex, bob, Role.MEMBER, actor=SYSTEM)
    with nothing_written(), pytest.raises(InvalidLinkError):
        set_password_by_link(bob, token, NEW, actor=BOB)


def test_a_link_made_before_somebody_left_is_void_even_when_they_are_back(
    acme: Workspace, alice: User, bob: User
) -> None:
    token = make_link(acme, bob)
    remove_member(acme, membership_of(acme, bob).id, actor=ALICE)
    assert not is_good(bob, token)
    add_member(acme, bob, Role.MEMBER, actor=ALICE)
    assert not is_good(bob, token)


def test_another_role_leaves_a_link_as_it_is(acme: Workspace, alice: User, bob: User) -> None:
    token = make_link(acme, bob)
    change_role(acme, membership_of(acme, bob).id, Role.AUDITOR, actor=ALICE)
    assert is_good(bob, token)


@pytest.mark.parametrize("how", ["demoted", "removed", "switched off"])
@pytest.mark.parametrize("member", ["bob", "alice"])
def test_no_link_outlives_the_admin_who_may_have_made_it(
    acme: Workspace, alice: User, bob: User, how: str, member: str
) -> None:
    dana = User.objects.create_user("dana", password="demo")
    number = add_member(acme, dana, Role.ADMIN, actor=SYSTEM).id
    user = User.objects.get(username=member)
    token = make_link(acme, user, Actor("dana", ActorKind.PERSON))
    assert is_good(user, token)
    match how:
        case "demoted":
            change_role(acme, number, Role.MEMBER, actor=ALICE)
        case "removed":
            remove_member(acme, number, actor=ALICE)
        case "switched off":
            User.objects.filter(pk=dana.pk).update(is_active=False)
    with nothing_written(), pytest.raises(InvalidLinkError):
        set_password_by_link(user, token, NEW, actor=BOB)


def test_the_admins_of_other_workspaces_leave_a_link_as_it_is(
    acme: Workspace, globex: Workspace, alice: User, bob: User, mallory: User
) -> None:
    token = make_link(acme, bob)
    add_member(globex, User.objects.create_user("erin"), Role.ADMIN, actor=SYSTEM)
    assert is_good(bob, token)


@pytest.mark.parametrize(
    "change",
    [
        {"is_staff": True},
        {"is_superuser": True},
        {"is_active": False},
        {"email": "other@example.org"},
        {"password": "another hash"},
        {"last_login": datetime.fromisoformat("2026-01-01T00:00:00Z")},
    ],
    ids=str,
)
def test_a_link_is_void_when_the_account_has_changed(
    acme: Workspace, alice: User, bob: User, change: dict[str, object]
) -> None:
    token = make_link(acme, bob)
    assert is_good(bob, token)
    User.objects.filter(pk=bob.pk).update(**change)
    assert not is_good(bob, token)


def test_a_link_works_once(acme: Workspace, alice: User, bob: User) -> None:
    token = make_link(acme, bob)
    set_password_by_link(bob, token, NEW, actor=BOB)
    with nothing_written(), pytest.raises(InvalidLinkError):
        set_password_by_link(bob, token, "another good password", actor=BOB)


def test_a_link_is_good_for_one_day(
    acme: Workspace, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = make_link(acme, bob)
    now = datetime.now()  # noqa: DTZ005  (as the generator does)
    for later, expected in ((timedelta(hours=23, minutes=59), True), (timedelta(hours=25), False)):
        monkeypatch.setattr(PasswordLinkTokens, "_now", lambda _, then=now + later: then)
        assert is_good(bob, token) is expected


def test_a_link_is_for_one_person(acme: Workspace, alice: User, bob: User, olga: User) -> None:
    token = make_link(acme, bob)
    with nothing_written(), pytest.raises(InvalidLinkError):
        set_password_by_link(olga, token, NEW, actor=BOB)


@pytest.mark.parametrize("token", ["", "-", "x", "a-b", "a\0b-c", "é-é", "x" * 10_000], ids=len)
def test_what_is_no_token_is_refused(acme: Workspace, bob: User, token: str) -> None:
    with nothing_written(), pytest.raises(InvalidLinkError):
        set_password_by_link(bob, token, NEW, actor=BOB)


# The log of every workspace.


def test_a_change_is_recorded_wherever_somebody_is(
    acme: Workspace, globex: Workspace, alice: User, bob: User
) -> None:
    add_member(globex, bob, Role.MEMBER, actor=SYSTEM)
    change_password(bob, NEW, actor=BOB, how="by its owner")
    change_email(bob, "bob@example.org", actor=BOB)
    token = make_mailed_link(bob, actor=SYSTEM)
    changed = {"member": "bob", "how": "by its owner"}
    mailed = {"member": "bob", "how": "for a mail to their own address"}
    assert events_of("password.changed") == [("acme", "bob", changed), ("globex", "bob", changed)]
    assert events_of("password.link_made") == [
        ("acme", "taglock", mailed),
        ("globex", "taglock", mailed),
    ]
    # That it changed, and not to what: the log is for good, and for others too.
    assert events_of("email.changed") == [
        ("acme", "bob", {"member": "bob"}),
        ("globex", "bob", {"member": "bob"}),
    ]
    assert not secrets_in_the_log(NEW, token, "bob@example.org")
    set_password_by_link(reload(bob), token, NEW, actor=BOB)


def test_somebody_in_no_workspace_can_change_their_password(db: None) -> None:
    carol = User.objects.create_user("carol", password="demo")
    change_password(carol, NEW, actor=Actor("carol", ActorKind.PERSON), how="by its owner")
    assert reload(carol).check_password(NEW)
    assert not LockEvent.objects.exists()


def test_the_same_address_again_is_no_event(acme: Workspace, bob: User) -> None:
    with nothing_written():
        change_email(bob, "", actor=BOB)


# At once.


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_of_many_who_use_a_link_at_once_one_does(acme: Workspace, alice: User, bob: User) -> None:
    token = make_link(acme, bob)

    def use(password: str) -> str:
        try:
            set_password_by_link(bob, token, password, actor=BOB)
        except InvalidLinkError:
            return ""
        return password

    answers = at_once([partial(use, f"{NEW} {number}") for number in range(8)])
    won = [answer for answer in answers if answer]
    assert len(won) == 1
    assert reload(bob).check_password(won[0])
    assert len(events_of("password.changed")) == 1


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_a_link_is_used_before_somebody_joins_another_workspace_or_not_at_all(
    acme: Workspace, globex: Workspace, alice: User
) -> None:
    for round_ in range(4):
        dana = User.objects.create_user(f"dana{round_}", password="demo")
        add_member(acme, dana, Role.MEMBER, actor=SYSTEM)
        token = make_link(acme, dana)

        def use(dana: User = dana, token: str = token) -> bool:
            try:
                set_password_by_link(dana, token, NEW, actor=SYSTEM)
            except InvalidLinkError:
                return False
            return True

        calls: list[Callable[[], object]] = [
            use,
            partial(add_member, globex, dana, Role.MEMBER, actor=SYSTEM),
        ]
        is_used = at_once(calls)[0]
        member = {"kind": "member.added", "workspace": "globex", "details__member": dana.username}
        joined = LockEvent.objects.get(**member)
        changed = LockEvent.objects.filter(kind="password.changed", details__member=dana.username)
        assert [(event.workspace, event.id < joined.id) for event in changed] == (
            [("acme", True)] if is_used else []
        )

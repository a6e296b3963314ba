"""A person is put out everywhere at once, and who sees to the site is recorded."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.test import Client

from containers.names import RepositoryName
from containers.tokens.clients import find_access_now
from containers.tokens.tokens import Caller, CallerKind
from tests.at_once import at_once
from tests.conftest import make_member, sign_in_as
from tests.problems import nothing_written
from tests.workspaces.test_commands import refuse, run
from workspaces.access import SYSTEM, Actor, ActorKind, Origin, Role, Scope
from workspaces.access_tokens import find_access_token
from workspaces.actions import people
from workspaces.actions.access_tokens import create_access_token, revoke_access_token
from workspaces.actions.archive import archive_workspace, hand_over_workspace
from workspaces.actions.invitations import (
    InvalidInvitationError,
    accept_invitation,
    find_invitation,
    invite,
)
from workspaces.actions.members import LastAdminError, add_member
from workspaces.actions.passwords import LINK_TOKENS
from workspaces.actions.people import (
    OwnAccountError,
    deactivate_person,
    reactivate_person,
    set_site_admin,
)
from workspaces.actions.personal_tokens import create_personal_token
from workspaces.log.models import LockEvent
from workspaces.models import AccessToken, User, Workspace
from workspaces.sign_in import verify_password

pytestmark = pytest.mark.django_db

ALICE = Actor("alice", ActorKind.PERSON)
SAM = Actor("sam", ActorKind.PERSON)
NO_ORIGIN = Origin()


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Return a function to say what others commit before the next lock is held."""
    lock = QuerySet.select_for_update

    def happen(change: Callable[[], object]) -> None:
        def wait(rows: Any, **options: Any) -> Any:
            monkeypatch.setattr(QuerySet, "select_for_update", lock)
            change()
            return lock(rows, **options)

        monkeypatch.setattr(QuerySet, "select_for_update", wait)

    return happen


@pytest.fixture
def sam(db: None) -> User:
    return User.objects.create_user("sam", password="demo", is_superuser=True)


@pytest.fixture
def zoe(acme: Workspace) -> User:
    """A second admin of acme, so that Alice may go."""
    return make_member(acme, "zoe", Role.ADMIN)


def events(kind: str) -> list[tuple[str, str, str, object]]:
    rows = LockEvent.objects.filter(kind=kind).order_by("id")
    return [(row.workspace, row.actor, row.reason, row.details) for row in rows]


def may_pull(user: User) -> bool:
    """Whether a token of the registry that this person has is still worth anything."""
    caller = Caller(CallerKind.PERSON, user.id, user.username)
    return find_access_now(caller, RepositoryName("acme/api"), NO_ORIGIN) is not None


def is_signed_in(browser: Client) -> bool:
    return browser.get("/acme/").status_code == 200


@pytest.mark.both_databases
def test_a_deactivated_person_is_out_everywhere_for_good(
    acme: Workspace, globex: Workspace, alice: User, zoe: User, sam: User, mallory: User
) -> None:
    User.objects.filter(pk=alice.pk).update(email="alice@example.com")
    alice.refresh_from_db()
    add_member(globex, alice, Role.AUDITOR, actor=SYSTEM)
    browser = sign_in_as(alice)
    secret = create_access_token(acme, "hers", [Scope.PULL], actor=ALICE)
    invited = invite(acme, "dana", Role.MEMBER, inviter=alice, actor=ALICE)
    back_door = invite(globex, "Alice@example.com", Role.ADMIN, inviter=mallory, actor=SYSTEM)
    link = LINK_TOKENS.make_token(alice)
    # It is remembered for a minute.
    assert verify_password("alice", "demo", NO_ORIGIN) == alice
    assert is_signed_in(browser)
    assert may_pull(alice)

    done = deactivate_person(alice, actor=SAM, reason="She left")

    def assert_nothing_opens() -> None:
        assert verify_password("alice", "demo", NO_ORIGIN) is None
        assert not is_signed_in(browser)
        assert find_access_token(secret) is None
        assert not LINK_TOKENS.check_token(User.objects.get(pk=alice.pk), link)
        for each in (invited, back_door):
            with pytest.raises(InvalidInvitationError):
                find_invitation(each)

    assert done is not None
    assert (done.tokens, done.left_alone) == (1, ())
    assert_nothing_opens()
    assert not may_pull(alice)
    member = {"member": "alice"}
    assert events("person.deactivated") == [
        ("acme", "sam", "She left", member),
        ("globex", "sam", "She left", member),
    ]
    assert [row[1] for row in events("token.revoked")] == ["sam"]
    assert len(events("invitation.withdrawn")) == 2
    with nothing_written():
        assert deactivate_person(alice, actor=SAM) is None

    assert reactivate_person(alice, actor=SAM)
    # The roles are back, and nothing that opened before.
    assert may_pull(alice)
    assert_nothing_opens()
    assert [row[0] for row in events("person.reactivated")] == ["acme", "globex"]
    with nothing_written():
        assert not reactivate_person(alice, actor=SAM)


def test_tokens_that_were_made_with_hers_go_too_and_can_be_kept(
    acme: Workspace, globex: Workspace, alice: User, bob: User, zoe: User
) -> None:
    create_access_token(acme, "admin", [Scope.ADMIN, Scope.PULL], actor=ALICE)
    first = AccessToken.objects.get()
    by_token = Actor("admin", ActorKind.TOKEN, token_id=first.id)
    create_access_token(acme, "second", [Scope.PULL], actor=by_token, giver=first)
    revoke_access_token(acme, first.id, actor=ALICE)
    create_access_token(acme, "zoes", [Scope.PULL], actor=Actor("zoe", ActorKind.PERSON))
    # Of a workspace that she has left.
    AccessToken.objects.create(
        workspace=globex, name="old", token_hash="x", scopes=["pull"], created_by="alice"
    )
    deactivate_person(alice, actor=SYSTEM, keeps_tokens=True)
    assert set(AccessToken.objects.filter(revoked_at=None).values_list("name", flat=True)) == {
        *("second", "zoes", "old")
    }
    reactivate_person(alice, actor=SYSTEM)
    done = deactivate_person(alice, actor=SYSTEM)
    assert done is not None
    assert done.tokens == 2
    assert [each.name for each in AccessToken.objects.filter(revoked_at=None)] == ["zoes"]


def test_the_last_admin_goes_only_where_that_is_meant(acme: Workspace, alice: User) -> None:
    said = "alice is the last admin of acme. Make someone else an admin first."
    with nothing_written(), pytest.raises(LastAdminError, match=said):
        deactivate_person(alice, actor=SYSTEM)
    done = deactivate_person(alice, actor=SYSTEM, even_last_admin=True)
    assert done is not None
    assert done.left_alone == (acme,)
    # An admin who is out keeps no one from going.
    zoe = make_member(acme, "zoe", Role.ADMIN)
    with pytest.raises(LastAdminError):
        deactivate_person(zoe, actor=SYSTEM)


def test_only_site_administrators_decide_and_none_over_themselves(
    acme: Workspace, alice: User, bob: User, sam: User
) -> None:
    with nothing_written():
        for call in (
            lambda: deactivate_person(bob, actor=ALICE),
            lambda: reactivate_person(bob, actor=ALICE),
            lambda: set_site_admin(bob, is_one=True, actor=ALICE),
        ):
            with pytest.raises(PermissionDenied):
                call()
        with pytest.raises(OwnAccountError):
            deactivate_person(sam, actor=SAM)


@pytest.mark.parametrize(
    "act",
    [
        lambda acme, bob: archive_workspace(acme, actor=SAM),
        lambda acme, bob: hand_over_workspace(acme, bob, actor=SAM),
        lambda acme, bob: deactivate_person(bob, actor=SAM),
        lambda acme, bob: reactivate_person(bob, actor=SAM),
        lambda acme, bob: set_site_admin(bob, is_one=True, actor=SAM),
    ],
)
def test_a_site_administrator_who_is_put_out_while_they_wait_changes_nothing(
    acme: Workspace, bob: User, sam: User, meanwhile: Any, act: Any
) -> None:
    meanwhile(lambda: User.objects.filter(pk=sam.pk).update(is_active=False))
    with pytest.raises(PermissionDenied):
        act(acme, bob)


@pytest.mark.django_db(transaction=True)
def test_of_two_site_administrators_who_put_each_other_out_one_stays(sam: User) -> None:
    tom = User.objects.create_user("tom", is_superuser=True)

    def put_out(user: User, by: User) -> bool:
        try:
            return deactivate_person(user, actor=Actor(by.username, ActorKind.PERSON)) is not None
        except PermissionDenied:
            return False

    for _ in range(5):
        User.objects.update(is_active=True)
        assert sorted(at_once([partial(put_out, sam, tom), partial(put_out, tom, sam)])) == [
            False,
            True,
        ]


def test_who_is_put_out_while_they_wait_neither_joins_nor_gets_a_token_nor_a_password(
    acme: Workspace, alice: User, meanwhile: Any
) -> None:
    dana = User.objects.create_user("dana", password="demo")
    actor, browser = Actor("dana", ActorKind.PERSON), sign_in_as(dana)
    found = find_invitation(invite(acme, "dana", Role.MEMBER, inviter=alice, actor=ALICE))

    def put_out() -> None:
        User.objects.filter(pk=dana.pk).update(is_active=False)

    meanwhile(put_out)
    with pytest.raises(PermissionDenied):
        accept_invitation(found, dana, actor=actor)
    assert not dana.memberships.exists()
    User.objects.filter(pk=dana.pk).update(is_active=True)
    meanwhile(put_out)
    with pytest.raises(PermissionDenied):
        create_personal_token(dana, "laptop", 30, actor=actor)
    User.objects.filter(pk=dana.pk).update(is_active=True)
    form = {"current_password": "demo", "password": "a new long one", "repeated": "a new long one"}
    assert browser.get("/accounts/").status_code == 200
    meanwhile(put_out)
    assert browser.post("/accounts/", form).status_code == 403
    dana.refresh_from_db()
    assert dana.check_password("demo")


def test_who_knows_a_password_that_is_over_does_not_change_the_new_one(
    bob: User, meanwhile: Any
) -> None:
    browser = sign_in_as(bob)
    form = {"current_password": "demo", "password": "a new long one", "repeated": "a new long one"}
    meanwhile(lambda: User.objects.filter(pk=bob.pk).update(password=make_password("his own")))
    assert browser.post("/accounts/", form).status_code == 422
    bob.refresh_from_db()
    assert bob.check_password("his own")


def test_who_joins_meanwhile_is_out_there_too(
    acme: Workspace, globex: Workspace, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_member(globex, bob, Role.MEMBER, actor=SYSTEM)
    found = [{acme.pk}, {acme.pk, globex.pk}, {acme.pk, globex.pk}, {acme.pk, globex.pk}]
    monkeypatch.setattr(people, "_find_workspaces", lambda user: found.pop(0))
    deactivate_person(bob, actor=SYSTEM)
    assert [row[0] for row in events("person.deactivated")] == ["acme", "globex"]


def test_a_site_administrator_is_made_with_an_event_in_every_workspace(
    acme: Workspace, globex: Workspace, bob: User
) -> None:
    for _ in range(2):
        assert run("add_site_admin", "bob")[1] == "bob is a site administrator.\n"
    member = {"member": "bob"}
    assert events("site_admin.added") == [
        ("acme", "taglock", "", member),
        ("globex", "taglock", "", member),
    ]
    run("add_site_admin", "bob", "--remove")
    assert [row[0] for row in events("site_admin.removed")] == ["acme", "globex"]
    assert not User.objects.get(username="bob").is_superuser


def test_the_command_says_what_it_ended(acme: Workspace, alice: User) -> None:
    create_access_token(acme, "ci", [Scope.PULL], actor=ALICE)
    assert refuse("deactivate_person", "alice") == (
        "alice is the last admin of acme. Make someone else an admin first. "
        "Or add --even-last-admin."
    )
    assert run("deactivate_person", "alice", "--even-last-admin", "--reason", "left")[1] == (
        "alice is deactivated. Access tokens that were revoked: 1.\n"
        "acme has no admin now. Hand it over: hand_over_workspace acme USERNAME\n"
    )
    assert run("deactivate_person", "alice")[1] == "alice was deactivated already.\n"
    assert run("deactivate_person", "alice", "--undo")[1] == (
        "alice can sign in again with a new password.\n"
    )
    assert "There is no user" in refuse("deactivate_person", "x\0y")
    assert "control characters" in refuse("deactivate_person", "alice", "--reason", "a\nb")

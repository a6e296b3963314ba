"""Who acts is asked once more within the change: they may have been demoted while they waited."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from containers.models import Repository as KnownRepository
from containers.names import RepositoryName
from containers.visibility import set_public
from tests.people import write_access_token, write_member
from tests.problems import nothing_written
from workspaces.access import SYSTEM, Actor, ActorKind, Role, Scope
from workspaces.actions.access_tokens import create_access_token, revoke_access_token
from workspaces.actions.invitations import invite, withdraw_invitation
from workspaces.actions.members import change_role, lock_people, remove_member
from workspaces.actions.passwords import make_password_link
from workspaces.authorization import NO_ADMIN, NO_ADMIN_TOKEN, require_admin
from workspaces.models import AccessToken, Invitation, Membership, User, Workspace

DANA = Actor("dana", ActorKind.PERSON)


@pytest.fixture
def dana(acme: Workspace, alice: User) -> Membership:
    """Another admin of acme."""
    return write_member(acme, User.objects.create_user("dana", password="demo"), Role.ADMIN)


@pytest.fixture
def program(acme: Workspace) -> Actor:
    """An access token of acme with the scope admin."""
    write_access_token(acme, "deployer", [Scope.ADMIN])
    return Actor("deployer", ActorKind.TOKEN, token_id=AccessToken.objects.get().id)


def change_a_role(acme: Workspace, actor: Actor) -> None:
    number = Membership.objects.get(user__username="bob").id
    change_role(acme, number, Role.ADMIN, actor=actor)


def remove_somebody(acme: Workspace, actor: Actor) -> None:
    remove_member(acme, Membership.objects.get(user__username="bob").id, actor=actor)


def invite_somebody(acme: Workspace, actor: Actor) -> None:
    alice = User.objects.get(username="alice")
    invite(acme, "eve", Role.MEMBER, inviter=alice, actor=actor)


def withdraw_what_is_open(acme: Workspace, actor: Actor) -> None:
    withdraw_invitation(acme, Invitation.objects.get().id, actor=actor)


def make_a_password_link(acme: Workspace, actor: Actor) -> None:
    make_password_link(acme, Membership.objects.get(user__username="bob").id, actor=actor)


def create_a_token(acme: Workspace, actor: Actor) -> None:
    giver = AccessToken.objects.filter(id=actor.token_id or 0).first()
    create_access_token(acme, "given", [Scope.ADMIN], actor=actor, giver=giver)


def revoke_a_token(acme: Workspace, actor: Actor) -> None:
    revoke_access_token(acme, AccessToken.objects.get(name="ci").id, actor=actor)


def publish(acme: Workspace, actor: Actor) -> None:
    set_public(acme, RepositoryName("acme/api"), is_public=True, actor=actor)


Act = Callable[[Workspace, Actor], None]
ACTS: list[Act] = [
    change_a_role,
    remove_somebody,
    invite_somebody,
    withdraw_what_is_open,
    make_a_password_link,
    create_a_token,
    revoke_a_token,
    publish,
]


@pytest.fixture(params=ACTS, ids=lambda act: act.__name__)
def act(request: pytest.FixtureRequest, acme: Workspace, alice: User, bob: User) -> Act:
    """Something that admins alone do, with what it needs."""
    invite(acme, "somebody", Role.MEMBER, inviter=alice, actor=SYSTEM)
    write_access_token(acme, "ci", [Scope.PUSH])
    found: Act = request.param
    return found


def refuse(act: Act, acme: Workspace, actor: Actor, said: str) -> None:
    with nothing_written(), pytest.raises(PermissionDenied) as caught:
        act(acme, actor)
    assert str(caught.value) == said


@pytest.mark.parametrize("how", ["demoted", "removed", "switched off", "never there"])
def test_a_person_who_is_no_admin_any_more_changes_nothing(
    acme: Workspace, dana: Membership, act: Act, how: str
) -> None:
    match how:
        case "demoted":
            change_role(acme, dana.id, Role.MEMBER, actor=SYSTEM)
        case "removed":
            remove_member(acme, dana.id, actor=SYSTEM)
        case "switched off":
            User.objects.filter(username="dana").update(is_active=False)
        case "never there":
            User.objects.filter(username="dana").delete()
    refuse(act, acme, DANA, NO_ADMIN)


def test_a_person_who_is_an_admin_still_acts(acme: Workspace, dana: Membership, act: Act) -> None:
    act(acme, DANA)


def test_an_admin_elsewhere_is_none_here(acme: Workspace, mallory: User, act: Act) -> None:
    refuse(act, acme, Actor("mallory", ActorKind.PERSON), NO_ADMIN)


@pytest.mark.parametrize(
    "change",
    [
        {"revoked_at": timezone.now()},
        {"expires_at": timezone.now() - timedelta(seconds=5)},
        {"scopes": ["push", "audit"]},
    ],
    ids=["revoked", "expired", "without the scope"],
)
def test_an_access_token_that_is_over_changes_nothing(
    acme: Workspace, program: Actor, act: Act, change: dict[str, Any]
) -> None:
    AccessToken.objects.filter(id=program.token_id or 0).update(**change)
    refuse(act, acme, program, NO_ADMIN_TOKEN)


def test_an_access_token_that_is_valid_still_acts(
    acme: Workspace, program: Actor, act: Act
) -> None:
    act(acme, program)


def test_an_access_token_of_the_same_name_makes_an_older_one_no_better(
    acme: Workspace, program: Actor
) -> None:
    assert program.token_id
    revoke_access_token(acme, program.token_id, actor=SYSTEM)
    create_access_token(acme, program.name, [Scope.ADMIN], actor=SYSTEM)
    for actor in (program, replace(program, token_id=None)):
        with pytest.raises(PermissionDenied):
            require_admin(acme, actor)


def test_an_access_token_of_another_workspace_is_none_here(
    globex: Workspace, program: Actor
) -> None:
    with pytest.raises(PermissionDenied):
        require_admin(globex, program)


@pytest.mark.parametrize("kind", [ActorKind.REGISTRY, ActorKind.ACCOUNT])
def test_a_registry_manages_nothing(acme: Workspace, alice: User, kind: ActorKind) -> None:
    with pytest.raises(PermissionDenied):
        require_admin(acme, Actor("alice", kind))


# While they wait.


def post_while(
    client: Client, path: str, sent: dict[str, str], change: Callable[[], object]
) -> int:
    """Send a form that has to wait for `change`, and return its status."""
    answers: list[int] = []

    def send() -> None:
        try:
            answers.append(client.post(path, sent).status_code)
        finally:
            connection.close()

    waiting = threading.Thread(target=send)
    with transaction.atomic():
        lock_people(Workspace.objects.get(slug="acme"))
        waiting.start()
        # Long enough for it to be let in, and to stand at the lock.
        waiting.join(0.5)
        assert not answers
        change()
    waiting.join()
    return answers[0]


@pytest.mark.slow
@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", ["role", "invitation", "access token", "repository"])
def test_a_request_that_waited_while_its_admin_was_demoted_changes_nothing(
    acme: Workspace, dana: Membership, sign_in: Callable[[User], Client], what: str
) -> None:
    KnownRepository.objects.create(workspace=acme, name="acme/api")
    path, sent = {
        "role": (f"/acme/settings/members/{dana.id}/role/", {"role": "admin"}),
        "invitation": ("/acme/settings/members/", {"invitee": "eve", "role": "admin"}),
        "access token": (
            "/acme/settings/access-tokens/",
            {"name": "mine", "scopes": "admin", "expiry": "never"},
        ),
        "repository": ("/acme/repositories/acme/api/-/visibility/", {"visibility": "public"}),
    }[what]

    def demote() -> None:
        change_role(acme, dana.id, Role.MEMBER, actor=SYSTEM)

    assert post_while(sign_in(dana.user), path, sent, demote) == 403
    dana.refresh_from_db()
    assert dana.role == "member"
    assert not Invitation.objects.exists()
    assert not AccessToken.objects.exists()
    assert not KnownRepository.objects.get().is_public


@pytest.mark.slow
@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_a_demoted_admin_who_keeps_asking_does_not_come_back(
    acme: Workspace, dana: Membership, alice: User, sign_in: Callable[[User], Client]
) -> None:
    path = f"/acme/settings/members/{dana.id}/role/"
    for _ in range(3):
        Membership.objects.filter(id=dana.id).update(role="admin")
        is_over = threading.Event()

        def keep_asking(client: Client, is_over: threading.Event = is_over) -> None:
            try:
                while not is_over.is_set():
                    client.post(path, {"role": "admin"})
            finally:
                connection.close()

        threads = [threading.Thread(target=keep_asking, args=(sign_in(dana.user),)) for _ in "123"]
        for thread in threads:
            thread.start()
        is_over.wait(0.1)
        sign_in(alice).post(path, {"role": "member"})
        is_over.wait(0.1)
        is_over.set()
        for thread in threads:
            thread.join()
        dana.refresh_from_db()
        assert dana.role == "member"

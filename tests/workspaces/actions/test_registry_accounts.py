"""An account that the registry keeps is linked to a person, and that is recorded."""

from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from workspaces.access import Actor, ActorKind, Role
from workspaces.actions.registry_accounts import (
    is_admins_account,
    link_registry_account,
    unlink_registry_account,
)
from workspaces.log.models import LockEvent
from workspaces.models import Membership, RegistryAccount, User, Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

OPERATOR = Actor("root", ActorKind.PERSON)


def events() -> list[tuple[str, str, object]]:
    rows = LockEvent.objects.filter(kind__startswith="account.").order_by("id")
    return [(row.workspace, row.kind, row.details) for row in rows]


def test_a_linked_account_is_an_admins_where_the_person_is_one(
    acme: Workspace, globex: Workspace, alice: User
) -> None:
    assert not is_admins_account("ada", acme)
    link_registry_account("ada", alice, actor=OPERATOR)
    assert is_admins_account("ada", acme)
    assert not is_admins_account("Ada", acme)
    assert not is_admins_account("ada", globex)
    assert not is_admins_account("", acme)
    assert events() == [("acme", "account.linked", {"member": "alice", "account": "ada"})]


@pytest.mark.parametrize("change", ["role", "inactive", "left", "unlinked"])
def test_it_is_one_only_while_the_person_is(acme: Workspace, alice: User, change: str) -> None:
    link_registry_account("ada", alice, actor=OPERATOR)
    if change == "role":
        Membership.objects.update(role=Role.MEMBER)
    elif change == "inactive":
        User.objects.update(is_active=False)
    elif change == "left":
        Membership.objects.all().delete()
    else:
        assert unlink_registry_account("ada", actor=OPERATOR)
    assert not is_admins_account("ada", acme)


def test_a_link_is_moved_and_taken_back_with_an_event_each(
    acme: Workspace, alice: User, bob: User
) -> None:
    for user in (alice, alice, bob):
        link_registry_account("ada", user, actor=OPERATOR)
    assert not is_admins_account("ada", acme)
    assert unlink_registry_account("ada", actor=OPERATOR)
    assert not unlink_registry_account("ada", actor=OPERATOR)
    alices, bobs = ({"member": name, "account": "ada"} for name in ("alice", "bob"))
    assert events() == [
        ("acme", "account.linked", alices),
        ("acme", "account.unlinked", alices),
        ("acme", "account.linked", bobs),
        ("acme", "account.unlinked", bobs),
    ]


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 201, "\u202eada"])
def test_a_name_that_no_account_has_is_refused(acme: Workspace, alice: User, name: str) -> None:
    with pytest.raises(ValidationError):
        link_registry_account(name, alice, actor=OPERATOR)
    assert not RegistryAccount.objects.exists()
    assert events() == []


def test_the_command_links_and_unlinks(acme: Workspace, alice: User) -> None:
    said = StringIO()
    call_command("link_registry_account", "ada", "alice", stderr=said)
    assert is_admins_account("ada", acme)
    call_command("link_registry_account", "ada", "--remove", stderr=said)
    assert not is_admins_account("ada", acme)
    assert said.getvalue() == "ada is linked to alice.\nada is linked to no one now.\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["ada"], "either a user or --remove"),
        (["ada", "alice", "--remove"], "either a user or --remove"),
        (["ada", "nobody"], 'no user "nobody"'),
        (["ada", "--remove"], "linked to no one"),
        (["a\nb", "alice"], "U+000A"),
    ],
)
def test_the_command_says_why_not(
    acme: Workspace, alice: User, arguments: list[str], line: str
) -> None:
    with pytest.raises(CommandError) as caught:
        call_command("link_registry_account", *arguments)
    assert line in str(caught.value)

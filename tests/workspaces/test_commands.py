import io
import re
from collections.abc import Callable

import pytest
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command
from django.test import Client

from tests.problems import nothing_written
from workspaces.access import Scope
from workspaces.log.models import LockEvent
from workspaces.models import AccessToken, Membership, User, Workspace
from workspaces.slugs import RESERVED_SLUGS

PASSWORD = "correct horse battery"

Type = Callable[[str], None]


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Type:
    """Return a function that puts text on standard input."""
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


def run(*arguments: str) -> tuple[str, str]:
    """Run a command; return what it wrote to standard output and to standard error."""
    out, err = io.StringIO(), io.StringIO()
    call_command(*arguments, stdout=out, stderr=err, no_color=True)
    return out.getvalue(), err.getvalue()


def refuse(*arguments: str) -> str:
    """Run a command that must fail and write nothing; return its one line."""
    with nothing_written(), pytest.raises(CommandError) as caught:
        run(*arguments)
    line = str(caught.value)
    assert line.strip()
    assert "\n" not in line
    # The name of a constraint or a column tells an operator nothing.
    assert "constraint" not in line.lower()
    return line


# create_workspace


@pytest.mark.django_db
def test_a_workspace_is_created_and_recorded() -> None:
    out, err = run("create_workspace", "acme", "--name", "Acme, Inc.")
    assert (out, err) == ("", 'Workspace "acme" created.\n')
    assert Workspace.objects.get().name == "Acme, Inc."
    event = LockEvent.objects.get()
    assert (event.kind, event.workspace, event.actor_kind) == (
        "workspace.created",
        "acme",
        "system",
    )


@pytest.mark.parametrize("slug", sorted(RESERVED_SLUGS - {"_"}))
@pytest.mark.django_db
def test_a_reserved_slug_is_refused(slug: str) -> None:
    assert f'"{slug}" is reserved' in refuse("create_workspace", slug, "--name", "X")


def test_the_names_that_addresses_need_are_reserved() -> None:
    needed = {"api", "auth", "v2", "static", "accounts", "admin", "healthz", "readyz", "metrics"}
    assert needed <= RESERVED_SLUGS


@pytest.mark.parametrize(
    "slug",
    ["", "Acme", "-acme", "acme-", "a..b", "a/b", "a b", "_", "é", "acme\n", "a" * 64, "a\0b", "٣"],
    ids=ascii,
)
@pytest.mark.django_db
def test_a_slug_outside_of_the_grammar_is_refused(slug: str) -> None:
    refuse("create_workspace", slug, "--name", "X")


@pytest.mark.parametrize("slug", ["a", "0", "a.b", "a_b", "a__b", "a---b", "a" * 63])
@pytest.mark.django_db
def test_a_slug_within_the_grammar_is_taken(slug: str) -> None:
    run("create_workspace", slug, "--name", "X")
    assert Workspace.objects.get().slug == slug


def test_a_slug_is_never_used_twice(acme: Workspace) -> None:
    assert "already exists" in refuse("create_workspace", "acme", "--name", "Another")


@pytest.mark.parametrize("name", ["", " ", "x" * 101], ids=len)
@pytest.mark.django_db
def test_a_workspaces_name_has_one_to_a_hundred_characters(name: str) -> None:
    assert "name" in refuse("create_workspace", "acme", "--name", name).lower()


BAD_TEXT = ["a\nb", "a\x1b[31mb", "a\0b", "a\udcffb", "a\u202eb"]


@pytest.mark.parametrize("name", BAD_TEXT, ids=ascii)
@pytest.mark.django_db
def test_a_workspaces_name_has_no_control_characters(name: str) -> None:
    refuse("create_workspace", "acme", "--name", name)


# add_member


def test_a_member_is_made_with_a_password_from_standard_input(
    acme: Workspace, type_in: Type
) -> None:
    type_in(f"{PASSWORD}\n")
    out, err = run("add_member", "acme", "dana", "--role", "admin", "--password-stdin")
    assert (out, err) == ("", "dana is admin of acme.\n")
    membership = Membership.objects.select_related("user").get()
    assert (membership.user.username, membership.role) == ("dana", "admin")
    assert authenticate(username="dana", password=PASSWORD) == membership.user
    assert PASSWORD not in str(list(LockEvent.objects.values()))


def test_a_passwords_spaces_are_kept(acme: Workspace, type_in: Type) -> None:
    type_in(f"  {PASSWORD} \n")
    run("add_member", "acme", "dana", "--role", "member", "--password-stdin")
    assert authenticate(username="dana", password=PASSWORD) is None
    assert authenticate(username="dana", password=f"  {PASSWORD} ") is not None


def test_a_member_without_a_password_cannot_sign_in(acme: Workspace) -> None:
    run("add_member", "acme", "dana", "--role", "member")
    assert not User.objects.get().has_usable_password()
    assert not Client().login(username="dana", password="")


def test_somebody_who_is_there_keeps_their_password_and_gets_the_new_role(
    acme: Workspace, bob: User
) -> None:
    run("add_member", "acme", "bob", "--role", "auditor")
    assert Membership.objects.get(user=bob).role == "auditor"
    assert authenticate(username="bob", password="demo") == bob
    details = LockEvent.objects.get(kind="member.changed").details
    assert details == {"member": "bob", "before": "member", "after": "auditor"}


def test_one_person_can_be_in_several_workspaces(
    acme: Workspace, globex: Workspace, bob: User
) -> None:
    run("add_member", "globex", "bob", "--role", "admin")
    roles = dict(Membership.objects.filter(user=bob).values_list("workspace__slug", "role"))
    assert roles == {"acme": "member", "globex": "admin"}


@pytest.mark.parametrize(
    ("password", "word"),
    [("", "short"), ("short", "short"), ("password", "common"), ("alexandra1", "similar")],
)
def test_a_weak_password_is_refused_and_nobody_is_made(
    acme: Workspace, type_in: Type, password: str, word: str
) -> None:
    type_in(f"{password}\n")
    line = refuse("add_member", "acme", "alexandra", "--role", "admin", "--password-stdin")
    assert word in line


@pytest.mark.parametrize(
    "username",
    ["", "Dana", "-dana", "a+b", "a b", "a\nb", "é", "d" * 65, "a\0b", "a\udcff"],
    ids=ascii,
)
def test_a_user_name_outside_of_the_grammar_is_refused(acme: Workspace, username: str) -> None:
    refuse("add_member", "acme", username, "--role", "member")


def test_a_role_that_is_not_there_is_refused(acme: Workspace) -> None:
    assert "owner" in refuse("add_member", "acme", "dana", "--role", "owner")


@pytest.mark.parametrize(
    "arguments",
    [
        ("add_member", "nowhere", "dana", "--role", "member"),
        ("create_access_token", "nowhere", "ci", "--scope", "push"),
    ],
)
@pytest.mark.django_db
def test_a_workspace_that_is_not_there_is_named(arguments: tuple[str, ...]) -> None:
    assert refuse(*arguments) == 'There is no workspace "nowhere".'


# create_access_token


def test_an_access_token_is_printed_alone_and_works(acme: Workspace) -> None:
    out, err = run("create_access_token", "acme", "ci", "--scope", "admin", "--scope", "audit")
    assert err == ""
    assert re.fullmatch(r"taglock_[\w-]{43}\n", out)
    assert AccessToken.objects.get().scopes == ["admin", "audit"]
    response = Client().get(
        "/api/v1/workspaces/acme/lock-log", headers={"Authorization": f"Bearer {out.strip()}"}
    )
    assert response.status_code == 200


def test_a_scope_named_twice_is_one_scope(acme: Workspace) -> None:
    run("create_access_token", "acme", "ci", "--scope", "push", "--scope", "push")
    assert AccessToken.objects.get().scopes == ["push"]


@pytest.mark.parametrize("scope", list(Scope))
def test_every_scope_can_be_given(acme: Workspace, scope: Scope) -> None:
    run("create_access_token", "acme", "ci", "--scope", scope.value)
    assert AccessToken.objects.get().scopes == [scope.value]


@pytest.mark.parametrize("arguments", [("--scope", "root"), ()])
def test_a_token_needs_a_scope_that_is_there(acme: Workspace, arguments: tuple[str, ...]) -> None:
    assert "--scope" in refuse("create_access_token", "acme", "ci", *arguments)


@pytest.mark.parametrize("second", ["ci", "CI"])
def test_the_name_of_a_token_is_taken_once_whatever_its_case(acme: Workspace, second: str) -> None:
    run("create_access_token", "acme", "ci", "--scope", "push")
    assert second in refuse("create_access_token", "acme", second, "--scope", "push")


def test_another_workspace_may_use_the_same_name(acme: Workspace, globex: Workspace) -> None:
    for slug in ("acme", "globex"):
        run("create_access_token", slug, "ci", "--scope", "push")
    assert AccessToken.objects.count() == 2


@pytest.mark.parametrize("name", ["", "x" * 101, *BAD_TEXT], ids=ascii)
def test_a_tokens_name_is_text_of_one_to_a_hundred_characters(acme: Workspace, name: str) -> None:
    refuse("create_access_token", "acme", name, "--scope", "push")

import io
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

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


def test_a_new_password_of_somebody_who_was_there_is_recorded_wherever_they_are(
    acme: Workspace, globex: Workspace, bob: User, type_in: Type
) -> None:
    run("add_member", "globex", "bob", "--role", "member")
    type_in(f"{PASSWORD}\n")
    run("add_member", "acme", "bob", "--role", "member", "--password-stdin")
    assert authenticate(username="bob", password=PASSWORD) == bob
    found = LockEvent.objects.filter(kind="password.changed").order_by("workspace")
    assert [(event.workspace, event.actor_kind) for event in found] == [
        ("acme", "system"),
        ("globex", "system"),
    ]
    assert found[0].details == {"member": "bob", "how": "by the command add_member"}
    assert PASSWORD not in str(list(LockEvent.objects.values()))


def test_a_first_password_is_no_change_of_one(acme: Workspace, type_in: Type) -> None:
    type_in(f"{PASSWORD}\n")
    run("add_member", "acme", "dana", "--role", "member", "--password-stdin")
    assert not LockEvent.objects.filter(kind="password.changed").exists()


def test_the_last_admin_stays_admin(acme: Workspace, alice: User, type_in: Type) -> None:
    type_in(f"{PASSWORD}\n")
    line = refuse("add_member", "acme", "alice", "--role", "member", "--password-stdin")
    assert line == "alice is the last admin of acme. Make someone else an admin first."
    assert authenticate(username="alice", password=PASSWORD) is None


def test_a_password_that_nobody_could_sign_in_with_is_refused(
    acme: Workspace, type_in: Type
) -> None:
    type_in("x" * 1025 + "\n")
    line = refuse("add_member", "acme", "dana", "--role", "member", "--password-stdin")
    assert line == "A password has at most 1024 characters."


def test_one_person_can_be_in_several_workspaces(
    acme: Workspace, globex: Workspace, bob: User
) -> None:
    run("add_member", "globex", "bob", "--role", "admin")
    roles = dict(Membership.objects.filter(user=bob).values_list("workspace__slug", "role"))
    assert roles == {"acme": "member", "globex": "admin"}


def test_where_password_links_of_somebody_from_elsewhere_go_is_said(
    acme: Workspace, globex: Workspace, bob: User
) -> None:
    User.objects.filter(pk=bob.pk).update(email="bob@example.org")
    done = "bob is member of acme.\n"
    assert run("add_member", "acme", "bob", "--role", "member") == ("", done)
    assert run("add_member", "globex", "bob", "--role", "member") == (
        "",
        "bob is member of globex.\nLinks that set a new password for bob are mailed to "
        "bob@example.org. Make sure it is theirs: anyone who reads it can act in globex, too.\n",
    )
    User.objects.filter(pk=bob.pk).update(email="")
    assert run("add_member", "acme", "bob", "--role", "member") == ("", done)


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
        ("revoke_access_token", "ci", "--workspace", "nowhere"),
    ],
)
@pytest.mark.django_db
def test_a_workspace_that_is_not_there_is_named(arguments: tuple[str, ...]) -> None:
    assert refuse(*arguments) == 'There is no workspace "nowhere".'


# create_access_token

REGISTRY_TOKEN = ("create_registry_token", "main")


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


def test_a_token_is_limited_by_globs(acme: Workspace) -> None:
    limit = ("--repository", "api-*", "--repository", "team/**")
    run("create_access_token", "acme", "ci", "--scope", "push-only", *limit)
    assert AccessToken.objects.get().repositories == ["api-*", "team/**"]


@pytest.mark.parametrize("limit", ["acme/api", "API", ""])
def test_what_is_no_glob_is_refused(acme: Workspace, limit: str) -> None:
    said = refuse("create_access_token", "acme", "ci", "--scope", "push", "--repository", limit)
    assert f'"{limit}"' in said


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


@pytest.mark.parametrize("name", ["", "x" * 101, "a:b", " ci", *BAD_TEXT], ids=ascii)
def test_a_tokens_name_is_text_of_one_to_a_hundred_characters(acme: Workspace, name: str) -> None:
    refuse("create_access_token", "acme", name, "--scope", "push")


@pytest.mark.parametrize(
    "command", [("create_access_token", "acme", "ci", "--scope", "push"), REGISTRY_TOKEN]
)
def test_a_token_expires_after_so_many_days(acme: Workspace, command: tuple[str, ...]) -> None:
    run(*command, "--expires-in-days", "30")
    expires_at = AccessToken.objects.get().expires_at
    assert expires_at is not None
    assert timedelta(days=29) < expires_at - timezone.now() <= timedelta(days=30)


@pytest.mark.parametrize("days", ["0", "-1", "36501", "9" * 30, "soon", "1.5", ""])
@pytest.mark.parametrize(
    "command", [("create_access_token", "acme", "ci", "--scope", "push"), REGISTRY_TOKEN]
)
def test_a_number_of_days_that_is_none_is_refused(
    acme: Workspace, command: tuple[str, ...], days: str
) -> None:
    assert "--expires-in-days" in refuse(*command, "--expires-in-days", days)


def test_left_out_a_token_never_expires(acme: Workspace) -> None:
    run("create_access_token", "acme", "ci", "--scope", "push")
    run(*REGISTRY_TOKEN)
    assert list(AccessToken.objects.values_list("expires_at", flat=True)) == [None, None]


# create_registry_token


def test_a_registrys_token_for_every_workspace_is_printed_alone(
    acme: Workspace, globex: Workspace
) -> None:
    out, err = run(*REGISTRY_TOKEN)
    assert err == ""
    assert re.fullmatch(r"taglock_[\w-]{43}\n", out)
    token = AccessToken.objects.get()
    assert (token.workspace, token.name, token.scopes) == (None, "main", ["registry"])
    recorded = LockEvent.objects.filter(kind="token.created").values_list("workspace", flat=True)
    assert sorted(recorded) == ["acme", "globex"]


@pytest.mark.parametrize("name", ["", "MAIN", "a:b", "main ", *BAD_TEXT], ids=ascii)
def test_a_registrys_token_has_a_name_of_its_own(acme: Workspace, name: str) -> None:
    run(*REGISTRY_TOKEN)
    refuse("create_registry_token", name)


# revoke_access_token


def test_a_token_of_a_workspace_is_revoked_by_its_name(acme: Workspace, globex: Workspace) -> None:
    for slug in ("acme", "globex"):
        run("create_access_token", slug, "ci", "--scope", "push")
    out, err = run("revoke_access_token", "ci", "--workspace", "acme")
    assert (out, err) == ("", 'Access token "ci" is revoked.\n')
    revoked = AccessToken.objects.exclude(revoked_at=None).get()
    assert revoked.workspace == acme
    event = LockEvent.objects.get(kind="token.revoked")
    assert (event.workspace, event.actor_kind) == ("acme", "system")
    assert 'There is no access token "ci"' in refuse(
        "revoke_access_token", "ci", "--workspace", "acme"
    )


def test_a_token_for_every_workspace_is_revoked_without_naming_one(acme: Workspace) -> None:
    run("create_access_token", "acme", "main", "--scope", "push")
    run(*REGISTRY_TOKEN)
    run("revoke_access_token", "main")
    assert AccessToken.objects.exclude(revoked_at=None).get().workspace is None
    assert "--workspace" in refuse("revoke_access_token", "main")


@pytest.mark.parametrize("name", ["", "ci ", "other", *BAD_TEXT], ids=ascii)
def test_a_token_that_is_not_there_is_not_revoked(acme: Workspace, name: str) -> None:
    run("create_access_token", "acme", "ci", "--scope", "push")
    refuse("revoke_access_token", name, "--workspace", "acme")

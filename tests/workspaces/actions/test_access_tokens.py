"""Access tokens: what is kept of them, who may make which, and how they end."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.utils import timezone

from tests.at_once import at_once
from tests.problems import nothing_written
from workspaces.access import SYSTEM, Actor, ActorKind, Scope, describe_excess
from workspaces.access_tokens import find_access_token, find_valid_token
from workspaces.actions.access_tokens import (
    TOKEN_PREFIX,
    create_access_token,
    hash_token,
    revoke_access_token,
)
from workspaces.log.models import LockEvent
from workspaces.models import AccessToken, Workspace

pytestmark = pytest.mark.usefixtures("alice")

ALICE = Actor("alice", ActorKind.PERSON)
PROGRAM = Actor("deployer", ActorKind.TOKEN)
REGISTRY = Actor("dana", ActorKind.REGISTRY)
SOON = timedelta(hours=1)
PUSH = [Scope.PUSH]
OPERATOR_ALONE = "Only the operator manages access tokens for every workspace."


def events(kind: str = "token.created") -> list[tuple[str, str, Any]]:
    """Return workspace, actor and details of the events of this kind."""
    found = LockEvent.objects.filter(kind=kind).order_by("workspace")
    return [(event.workspace, event.actor, event.details) for event in found]


def refuse(expected: str, *arguments: Any, **options: Any) -> None:
    """Ask for a token that nobody makes; the reason is `field: words`, or the words alone."""
    is_about_field = expected.startswith(("name: ", "scopes: ", "repositories: ", "expires_at: "))
    error: type[Exception] = ValidationError if is_about_field else PermissionDenied
    with nothing_written(), pytest.raises(error) as caught, transaction.atomic():
        create_access_token(*arguments, **options)
    if isinstance(caught.value, ValidationError):
        (field, words), *others = caught.value.message_dict.items()
        assert (f"{field}: {words[0]}", others, words[1:]) == (expected, [], [])
    else:
        assert str(caught.value) == expected


# What is kept.


def test_what_is_created_is_recorded_with_name_scopes_and_expiry(acme: Workspace) -> None:
    expires_at = datetime(2999, 12, 31, 12, tzinfo=UTC)
    create_access_token(
        acme, "my ci", [Scope.PUSH, Scope.AUDIT], actor=ALICE, expires_at=expires_at
    )
    token = AccessToken.objects.get()
    assert (token.name, token.scopes, token.created_by) == ("my ci", ["push", "audit"], "alice")
    assert (token.expires_at, token.revoked_at, token.last_used_at) == (expires_at, None, None)
    assert token.user_name == "acme+my ci"
    details = {"token": "my ci", "scopes": ["push", "audit"], "expires_at": "2999-12-31T12:00:00Z"}
    assert events() == [("acme", "alice", {**details, "token_id": token.id})]


def test_a_token_without_an_expiry_says_so_in_its_event(acme: Workspace) -> None:
    create_access_token(acme, "ci", PUSH, actor=ALICE)
    assert events()[0][2]["expires_at"] is None


def test_of_the_secret_only_the_hash_is_kept(acme: Workspace) -> None:
    secret = create_access_token(acme, "ci", PUSH, actor=ALICE)
    token = AccessToken.objects.get()
    assert secret.startswith(TOKEN_PREFIX)
    assert token.token_hash == hash_token(secret)
    kept = str([AccessToken.objects.values().get(), *LockEvent.objects.values()])
    assert secret.removeprefix(TOKEN_PREFIX) not in kept


def test_a_scope_named_twice_is_one(acme: Workspace) -> None:
    create_access_token(acme, "ci", [Scope.PUSH, Scope.PUSH], actor=ALICE)
    assert AccessToken.objects.get().scopes == ["push"]


# What is refused.


@pytest.mark.parametrize("name", [" ci", "ci ", "\u00a0ci"], ids=ascii)
def test_spaces_around_a_name_are_refused(acme: Workspace, name: str) -> None:
    refuse("name: Remove the spaces before and after the name.", acme, name, PUSH, actor=ALICE)


@pytest.mark.parametrize("name", ["a:b", ":", "ci:"])
def test_a_name_has_no_colon_where_a_user_name_ends(acme: Workspace, name: str) -> None:
    words = "Remove the colon: the name becomes part of a user name, and a colon ends those."
    refuse(f"name: {words}", acme, name, PUSH, actor=ALICE)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "This field cannot be blank."),
        ("a\0b", "Remove the character U+0000: control characters are not accepted."),
        ("a\u202eb", "Remove the character U+202E: control characters are not accepted."),
        ("x" * 101, "Ensure this value has at most 100 characters (it has 101)."),
    ],
    ids=ascii,
)
def test_a_name_is_plain_text_of_a_hundred_characters(
    acme: Workspace, name: str, problem: str
) -> None:
    refuse(f"name: {problem}", acme, name, PUSH, actor=ALICE)


@pytest.mark.parametrize("name", ["ci", "my ci", "a+b", "it's", "é", "x" * 100], ids=len)
def test_other_names_are_taken(acme: Workspace, name: str) -> None:
    create_access_token(acme, name, PUSH, actor=ALICE)
    assert AccessToken.objects.get().user_name == f"acme+{name}"


def test_a_token_has_at_least_one_scope(acme: Workspace) -> None:
    refuse("scopes: Choose at least one scope.", acme, "ci", [], actor=ALICE)


@pytest.mark.parametrize("ago", [timedelta(), timedelta(seconds=1), timedelta(days=4000)])
def test_an_expiry_that_is_over_is_refused(acme: Workspace, ago: timedelta) -> None:
    words = "expires_at: This time is in the past. Choose a later one."
    refuse(words, acme, "ci", PUSH, actor=ALICE, expires_at=timezone.now() - ago)


TAKEN = "name: There is an access token of this name already."


@pytest.mark.parametrize("second", ["ci", "CI"])
def test_a_name_is_taken_whatever_its_case_until_its_token_is_revoked(
    acme: Workspace, globex: Workspace, second: str
) -> None:
    create_access_token(acme, "ci", PUSH, actor=ALICE)
    first = AccessToken.objects.get()
    refuse(TAKEN, acme, second, PUSH, actor=ALICE)
    create_access_token(globex, second, PUSH, actor=SYSTEM)
    revoke_access_token(acme, first.id, actor=ALICE)
    again = create_access_token(acme, second, PUSH, actor=ALICE)
    found = find_access_token(again)
    assert found is not None
    assert found.id != first.id
    refuse(TAKEN, acme, second, PUSH, actor=ALICE)


# Limited to repositories.


def test_a_limit_is_kept_and_recorded(acme: Workspace) -> None:
    limit = ["api-*", "team/**", "api-*"]
    create_access_token(acme, "ci", PUSH, actor=ALICE, repositories=limit)
    token = AccessToken.objects.get()
    assert token.repositories == ["api-*", "team/**"]
    assert events()[0][2]["repositories"] == ["api-*", "team/**"]


def test_a_token_without_a_limit_has_none_in_its_event(acme: Workspace) -> None:
    create_access_token(acme, "ci", PUSH, actor=ALICE)
    assert "repositories" not in events()[0][2]


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (["API"], '"API" is not a repository: use'),
        (["api", "acme/api"], '"acme/api" begins with the workspace.'),
        (["api"] * 2 + [f"a{n}" for n in range(20)], "There are 21 repositories; at most 20"),
    ],
    ids=str,
)
def test_what_is_no_glob_limits_nothing(acme: Workspace, limit: list[str], words: str) -> None:
    with nothing_written(), pytest.raises(ValidationError) as caught:
        create_access_token(acme, "ci", PUSH, actor=ALICE, repositories=limit)
    assert caught.value.message_dict["repositories"][0].startswith(words)


@pytest.mark.parametrize("scope", [Scope.AUDIT, Scope.ADMIN])
def test_what_is_for_the_whole_workspace_has_no_limit(acme: Workspace, scope: Scope) -> None:
    words = (
        f"repositories: The scope {scope.value} is for the whole workspace. To limit a token to "
        "repositories, give it no other scopes than pull, push, push-only, registry."
    )
    refuse(words, acme, "ci", [Scope.PULL, scope], actor=ALICE, repositories=["api"])


def test_a_token_for_every_workspace_has_no_limit() -> None:
    words = "repositories: An access token for every workspace cannot be limited to repositories."
    refuse(words, None, "main", [Scope.REGISTRY], actor=SYSTEM, repositories=["api"])


# A token gives no more than it has.


def test_a_token_that_pushes_gives_pushing_without_deleting() -> None:
    assert describe_excess(["admin", "push"], None, [Scope.PUSH_ONLY], None) is None
    assert "push." in (describe_excess(["admin", "push-only"], None, [Scope.PUSH], None) or "")


DAY = timedelta(days=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope is not Scope.ADMIN])
def test_no_scope_is_given_that_the_giver_has_not(scope: Scope) -> None:
    said = describe_excess(["admin", "unknown"], None, [Scope.ADMIN, scope], None)
    assert said == (
        f"An access token can give only scopes that it has itself. Missing: {scope.value}."
    )
    assert describe_excess(["admin", scope.value], None, [scope, Scope.ADMIN], None) is None
    assert describe_excess(["admin", scope.value], None, [scope], NOW) is None


@pytest.mark.parametrize(
    ("expires_at", "is_refused"),
    [
        (NOW - DAY, False),
        (NOW, False),
        (NOW + timedelta(microseconds=1), True),
        (NOW + DAY, True),
        (None, True),
    ],
)
def test_nothing_is_given_for_longer_than_the_giver_is_valid(
    expires_at: datetime | None, *, is_refused: bool
) -> None:
    said = describe_excess(["admin"], NOW, [Scope.ADMIN], expires_at)
    assert said == (
        "An access token cannot give access for longer than it is valid itself: choose an expiry "
        "no later than 2026-01-01T00:00:00Z."
        if is_refused
        else None
    )


def make_giver(workspace: Workspace, **options: Any) -> AccessToken:
    create_access_token(workspace, "deployer", [Scope.ADMIN, Scope.PULL], actor=SYSTEM, **options)
    return AccessToken.objects.get(workspace=workspace, name="deployer")


def act_as(giver: AccessToken) -> dict[str, Any]:
    """Return the arguments of an action that a program asks for with this token."""
    return {"actor": replace(PROGRAM, token_id=giver.id), "giver": giver}


def test_a_token_gives_a_part_of_what_it_has(acme: Workspace) -> None:
    giver = make_giver(acme, expires_at=timezone.now() + 2 * SOON)
    create_access_token(
        acme,
        "given",
        [Scope.PULL],
        **act_as(giver),
        expires_at=timezone.now() + SOON,
    )
    # No person can have this name, so that it is clear who made it.
    assert AccessToken.objects.get(name="given").created_by == "acme+deployer"


@pytest.mark.parametrize("scope", [Scope.PUSH, Scope.REGISTRY, Scope.AUDIT])
def test_a_token_cannot_make_itself_a_stronger_one(acme: Workspace, scope: Scope) -> None:
    refuse(
        f"An access token can give only scopes that it has itself. Missing: {scope.value}.",
        acme,
        "stronger",
        [Scope.ADMIN, scope],
        **act_as(make_giver(acme)),
    )


@pytest.mark.parametrize("expires_at", [None, datetime(2999, 1, 1, tzinfo=UTC)])
def test_a_token_cannot_outlive_itself_in_another(
    acme: Workspace, expires_at: datetime | None
) -> None:
    end = datetime(2998, 12, 31, tzinfo=UTC)
    refuse(
        "An access token cannot give access for longer than it is valid itself: choose an expiry "
        "no later than 2998-12-31T00:00:00Z.",
        acme,
        "longer",
        [Scope.ADMIN],
        **act_as(make_giver(acme, expires_at=end)),
        expires_at=expires_at,
    )


def test_the_giver_is_read_anew_when_it_gives(acme: Workspace) -> None:
    giver = make_giver(acme)
    AccessToken.objects.filter(id=giver.id).update(scopes=["admin"])
    words = "An access token can give only scopes that it has itself. Missing: pull."
    refuse(words, acme, "given", [Scope.PULL], **act_as(giver))


NOT_VALID = "The access token that asks for this is not valid."


def test_a_revoked_token_gives_nothing_any_more(acme: Workspace) -> None:
    giver = make_giver(acme)
    revoke_access_token(acme, giver.id, actor=ALICE)
    refuse(NOT_VALID, acme, "given", [Scope.PULL], **act_as(giver))


def test_a_token_of_another_workspace_gives_nothing(acme: Workspace, globex: Workspace) -> None:
    giver = make_giver(globex)
    refuse(NOT_VALID, acme, "given", [Scope.PULL], **act_as(giver))


def test_a_program_that_names_no_token_gives_nothing(acme: Workspace) -> None:
    refuse(NOT_VALID, acme, "given", [Scope.PULL], actor=PROGRAM)


def test_a_token_gives_others_that_are_limited(acme: Workspace) -> None:
    giver = make_giver(acme)
    create_access_token(acme, "given", [Scope.PULL], **act_as(giver), repositories=["api"])
    assert AccessToken.objects.get(name="given").repositories == ["api"]


def test_an_admin_may_give_every_scope(acme: Workspace) -> None:
    create_access_token(acme, "all", list(Scope), actor=ALICE)
    assert AccessToken.objects.get().scopes == list(Scope)


# Revoke.


def test_a_revoked_token_is_invalid_at_once_and_recorded(acme: Workspace) -> None:
    secret = create_access_token(acme, "ci", PUSH, actor=ALICE)
    token = find_access_token(secret)
    assert token is not None
    assert find_valid_token(token.id) == token
    revoked = revoke_access_token(acme, token.id, actor=ALICE)
    assert revoked.revoked_at is not None
    assert find_access_token(secret) is None
    assert find_valid_token(token.id) is None
    details = {"token": "ci", "token_id": token.id, "scopes": ["push"], "expires_at": None}
    assert events("token.revoked") == [("acme", "alice", details)]


def test_a_second_revocation_changes_and_records_nothing(acme: Workspace) -> None:
    create_access_token(acme, "ci", PUSH, actor=ALICE)
    token_id = AccessToken.objects.get().id
    first = revoke_access_token(acme, token_id, actor=ALICE)
    with nothing_written():
        second = revoke_access_token(acme, token_id, actor=SYSTEM)
    assert second.revoked_at == first.revoked_at


def test_a_token_of_another_workspace_cannot_be_revoked(acme: Workspace, globex: Workspace) -> None:
    create_access_token(globex, "ci", PUSH, actor=SYSTEM)
    token_id = AccessToken.objects.get().id
    with nothing_written(), pytest.raises(AccessToken.DoesNotExist):
        revoke_access_token(acme, token_id, actor=ALICE)
    with nothing_written(), pytest.raises(AccessToken.DoesNotExist):
        revoke_access_token(None, token_id, actor=SYSTEM)


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_of_many_revocations_at_once_one_is_recorded(acme: Workspace) -> None:
    create_access_token(acme, "ci", PUSH, actor=ALICE)
    token_id = AccessToken.objects.get().id
    revoke = partial(revoke_access_token, acme, token_id, actor=ALICE)
    tokens = at_once([revoke] * 6)
    assert len({token.revoked_at for token in tokens}) == 1
    assert len(events("token.revoked")) == 1


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_of_many_tokens_of_one_name_at_once_one_is_made(acme: Workspace) -> None:
    def create() -> str:
        try:
            return create_access_token(acme, "ci", PUSH, actor=ALICE)
        except ValidationError as error:
            return error.messages[0]

    answers = at_once([create] * 6)
    refused = [answer for answer in answers if not answer.startswith(TOKEN_PREFIX)]
    assert refused == ["There is an access token of this name already."] * 5
    assert len(events()) == 1


# For every workspace.


def test_a_token_for_every_workspace_is_recorded_in_each_log(
    acme: Workspace, globex: Workspace
) -> None:
    create_access_token(None, "main registry", [Scope.REGISTRY], actor=SYSTEM)
    token = AccessToken.objects.get()
    assert (token.workspace, token.user_name) == (None, None)
    details = {
        "token": "main registry",
        "token_id": token.id,
        "scopes": ["registry"],
        "expires_at": None,
        "every_workspace": True,
    }
    in_both = [("acme", "taglock", details), ("globex", "taglock", details)]
    assert events() == in_both
    revoke_access_token(None, token.id, actor=SYSTEM)
    revoke_access_token(None, token.id, actor=SYSTEM)
    assert events("token.revoked") == in_both


@pytest.mark.parametrize("scopes", [[scope] for scope in Scope if scope != "registry"])
def test_a_token_for_every_workspace_asks_and_does_nothing_else(
    acme: Workspace, scopes: list[Scope]
) -> None:
    words = 'scopes: An access token for every workspace can only have the scope "registry".'
    for each in (scopes, [Scope.REGISTRY, *scopes]):
        refuse(words, None, "main", each, actor=SYSTEM)


@pytest.mark.parametrize("actor", [ALICE, PROGRAM, REGISTRY])
def test_the_operator_alone_makes_and_revokes_them(acme: Workspace, actor: Actor) -> None:
    refuse(OPERATOR_ALONE, None, "main", [Scope.REGISTRY], actor=actor)
    create_access_token(None, "main", [Scope.REGISTRY], actor=SYSTEM)
    token_id = AccessToken.objects.get().id
    with nothing_written(), pytest.raises(PermissionDenied, match=OPERATOR_ALONE):
        revoke_access_token(None, token_id, actor=actor)
    with nothing_written(), pytest.raises(AccessToken.DoesNotExist):
        revoke_access_token(acme, token_id, actor=SYSTEM)


@pytest.mark.django_db
@pytest.mark.parametrize("second", ["main", "MAIN"])
def test_two_of_one_name_for_every_workspace_are_refused(second: str) -> None:
    create_access_token(None, "main", [Scope.REGISTRY], actor=SYSTEM)
    refuse(TAKEN, None, second, [Scope.REGISTRY], actor=SYSTEM)

"""Who is let through the gate: nobody is told anything, and nothing is claimed, before that."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from containers.tokens.grants import ACTIONS, repository_access
from containers.tokens.key_folder import token_keys
from containers.tokens.keys import TRUSTED, KeyFolder
from containers.tokens.tokens import ANYBODY, TAGLOCK, Caller, CallerKind, sign_token
from immutability.actions import delete_manifest, push_manifest
from immutability.gate import views
from immutability.models import Attempt, LockedTag
from immutability.protection import Policy, PolicyRule, Protection
from tests.immutability.actions.asking import lock_of, standing_lock
from tests.immutability.gate.left_behind import open_attempts
from tests.immutability.gate.upstream import (
    IMAGE_TYPE,
    GateClient,
    Upstream,
    digest_of,
    error_of,
    image,
    is_undecided,
    message_of,
)
from workspaces.access import SYSTEM, Role, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.actions.members import add_member
from workspaces.log.models import LockEvent
from workspaces.models import AccessToken, Membership, User, Workspace

pytestmark = pytest.mark.django_db

ONE, TWO = image("one"), image("two")
METHODS = ("PUT", "DELETE")
NEEDED = {"PUT": "pull,push", "DELETE": "delete"}


def ask(
    method: str, authorization: str | None, repository: str = "acme/api", tag: str = "v1"
) -> HttpResponse:
    """Push TWO, or delete a tag, with this header."""
    headers = {} if authorization is None else {"Authorization": authorization}
    response: Any = Client().generic(
        method,
        f"/v2/{repository}/manifests/{tag}",
        TWO if method == "PUT" else b"",
        content_type=IMAGE_TYPE,
        headers=headers,
    )
    return response  # type: ignore[no-any-return]


def sign(caller: Caller, *actions: str, repository: str = "acme/api") -> str:
    access = [repository_access(repository, *(actions or ACTIONS))]
    return f"Bearer {sign_token(token_keys(), caller, access, int(time.time()))}"


def person(user: User) -> Caller:
    return Caller(CallerKind.PERSON, user.pk, user.username)


def program(workspace: Workspace, *scopes: Scope, **options: Any) -> Caller:
    create_access_token(workspace, "ci", list(scopes), actor=SYSTEM, **options)
    token = AccessToken.objects.get(workspace=workspace, name="ci", revoked_at=None)
    return Caller(CallerKind.ACCESS_TOKEN, token.id, "acme+ci")


@contextmanager
def nothing_done(upstream: Upstream) -> Iterator[None]:
    """Assert that nothing is claimed, recorded or sent."""
    before = [model.objects.count() for model in (LockedTag, Attempt, LockEvent)]
    calls = list(upstream.calls)
    yield
    after = [model.objects.count() for model in (LockedTag, Attempt, LockEvent)]
    assert after == before
    assert upstream.calls == calls


@pytest.fixture
def locked(protected: Workspace, gate: GateClient) -> Workspace:
    """Acme, where v1 of acme/api is locked to ONE."""
    assert gate.push("v1", ONE).status_code == 201
    return protected


# Without a token that is believed.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic Ym9iOmRlbW8=", "bearer "])
def test_whoever_brings_no_token_is_told_where_to_get_one(
    locked: Workspace, upstream: Upstream, method: str, header: str | None
) -> None:
    with nothing_done(upstream):
        answer = ask(method, header)
    assert error_of(answer) == (401, "UNAUTHORIZED")
    assert answer["WWW-Authenticate"] == (
        'Bearer realm="http://127.0.0.1:8000/auth/token",service="taglock",'
        f'scope="repository:acme/api:{NEEDED[method]}"'
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "token", ["x", "a.b.c", "\xff\xfe", "A" * 20_000, "eyJhbGciOiJub25lIn0.e30."]
)
def test_a_token_that_is_none_is_answered_with_the_challenge(
    locked: Workspace, upstream: Upstream, method: str, token: str
) -> None:
    with nothing_done(upstream):
        answer = ask(method, f"Bearer {token}")
    assert error_of(answer) == (401, "UNAUTHORIZED")
    assert answer["WWW-Authenticate"].endswith(',error="invalid_token"')


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("repository", ["nobody/api", "globex/api", "acme/other"])
def test_a_token_for_one_repository_opens_no_other(
    locked: Workspace,
    globex: Workspace,
    alice: User,
    upstream: Upstream,
    method: str,
    repository: str,
) -> None:
    with nothing_done(upstream):
        answer = ask(method, sign(person(alice)), repository)
    assert error_of(answer) == (401, "UNAUTHORIZED")
    assert answer["WWW-Authenticate"].endswith(',error="insufficient_scope"')


@pytest.mark.parametrize(
    ("method", "actions"),
    [
        ("PUT", ("pull",)),
        ("PUT", ("push",)),
        ("PUT", ("pull", "delete")),
        ("DELETE", ("pull", "push")),
    ],
)
def test_a_token_without_the_action_is_not_enough(
    locked: Workspace, alice: User, upstream: Upstream, method: str, actions: tuple[str, ...]
) -> None:
    with nothing_done(upstream):
        answer = ask(method, sign(person(alice), *actions))
    assert answer["WWW-Authenticate"].endswith(',error="insufficient_scope"')


# With a token that was good when it was given.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("caller", [ANYBODY, TAGLOCK, Caller(CallerKind.PERSON, 0)])
def test_tokens_of_nobody_who_may_write_are_refused(
    locked: Workspace, upstream: Upstream, method: str, caller: Caller
) -> None:
    with nothing_done(upstream):
        assert error_of(ask(method, sign(caller))) == (403, "DENIED")


def demote(alice: User) -> None:
    Membership.objects.filter(user=alice).update(role=Role.AUDITOR)


def remove(alice: User) -> None:
    Membership.objects.filter(user=alice).delete()


def deactivate(alice: User) -> None:
    User.objects.filter(id=alice.id).update(is_active=False)


def erase(alice: User) -> None:
    alice.delete()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("happened", [demote, remove, deactivate, erase])
def test_what_was_taken_away_since_is_gone_at_once(
    locked: Workspace,
    alice: User,
    upstream: Upstream,
    method: str,
    happened: Callable[[User], None],
) -> None:
    token = sign(person(alice))
    happened(alice)
    with nothing_done(upstream):
        answer = ask(method, token)
    assert error_of(answer) == (403, "DENIED")
    assert message_of(answer) == "requested access to the resource is denied"


def test_a_demoted_admins_token_deletes_nothing_that_is_locked(
    locked: Workspace, alice: User, upstream: Upstream
) -> None:
    token = sign(person(alice))
    Membership.objects.filter(user=alice).update(role=Role.MEMBER)
    answer = ask("DELETE", token)
    assert error_of(answer) == (403, "DENIED")
    assert "cannot be deleted because the tag is immutable" in message_of(answer)
    assert standing_lock(locked, "v1").state == "locked"
    assert upstream.sent("DELETE") == []


def revoke(token_id: int) -> None:
    AccessToken.objects.filter(id=token_id).update(revoked_at=timezone.now())


def expire(token_id: int) -> None:
    AccessToken.objects.filter(id=token_id).update(expires_at=timezone.now() - timedelta(seconds=1))


def narrow(token_id: int) -> None:
    AccessToken.objects.filter(id=token_id).update(scopes=["pull"])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("happened", [revoke, expire, narrow])
def test_a_program_loses_with_its_access_token_what_it_logged_in_for(
    locked: Workspace, upstream: Upstream, method: str, happened: Callable[[int], None]
) -> None:
    caller = program(locked, Scope.PUSH, Scope.ADMIN)
    token = sign(caller)
    happened(caller.id)
    with nothing_done(upstream):
        assert error_of(ask(method, token)) == (403, "DENIED")


def test_an_access_token_of_another_workspace_is_nothing_here(
    locked: Workspace, globex: Workspace, upstream: Upstream
) -> None:
    token = sign(program(globex, Scope.PUSH))
    with nothing_done(upstream):
        answer = ask("PUT", token)
    assert error_of(answer) == (403, "DENIED")


def test_a_user_name_that_was_given_anew_inherits_nothing(
    locked: Workspace, alice: User, upstream: Upstream
) -> None:
    token = sign(person(alice))
    alice.delete()
    again = User.objects.create_user("alice")
    add_member(locked, again, Role.ADMIN, actor=SYSTEM)
    if again.pk == person(alice).id:
        pytest.fail("the database gave the same id again")
    with nothing_done(upstream):
        assert error_of(ask("DELETE", token)) == (403, "DENIED")


# What is taken away while a request is at work.


def take_away(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, alice: User) -> None:
    """Remove Alice from acme just after this function has been called."""
    original = getattr(where, name)

    def then_remove(*args: Any, **options: Any) -> Any:
        found = original(*args, **options)
        remove(alice)
        return found

    monkeypatch.setattr(where, name, then_remove)


@pytest.mark.parametrize("tag", ["new", "unprotected"])
def test_who_is_removed_while_a_push_looks_around_pushes_nothing(
    locked: Workspace,
    protect: Callable[..., Policy],
    alice: User,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    tag: str,
) -> None:
    protect(locked, Protection.SOME, PolicyRule("New", "^new$"))
    token = sign(person(alice))
    take_away(monkeypatch, push_manifest, "_is_blocked", alice)
    upstream.calls.clear()
    assert error_of(ask("PUT", token, tag=tag)) == (403, "DENIED")
    assert upstream.sent("PUT") == []
    assert lock_of(locked, tag) is None
    assert open_attempts() == 0


@pytest.mark.parametrize("reference", ["v1", digest_of(ONE)])
def test_who_is_removed_while_a_delete_looks_around_deletes_nothing(
    locked: Workspace,
    alice: User,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
    reference: str,
) -> None:
    token = sign(person(alice))
    take_away(monkeypatch, delete_manifest, "_find_refusal", alice)
    assert error_of(ask("DELETE", token, tag=reference)) == (403, "DENIED")
    assert upstream.sent("DELETE") == []
    assert standing_lock(locked, "v1").state == "locked"
    assert standing_lock(locked, "v1").deleted_by == ""
    assert open_attempts() == 0


def test_who_is_demoted_while_a_delete_looks_around_deletes_no_locked_tag(
    locked: Workspace, alice: User, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = sign(person(alice))
    find = delete_manifest._find_refusal

    def then_demote(*args: Any) -> Any:
        found = find(*args)
        Membership.objects.filter(user=alice).update(role=Role.MEMBER)
        return found

    monkeypatch.setattr(delete_manifest, "_find_refusal", then_demote)
    assert error_of(ask("DELETE", token, tag=digest_of(ONE))) == (403, "DENIED")
    assert upstream.sent("DELETE") == []
    assert standing_lock(locked, "v1").state == "locked"


def test_who_is_removed_before_an_image_goes_on_by_digest_sends_nothing(
    locked: Workspace, alice: User, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = sign(person(alice))
    upstream.calls.clear()
    take_away(monkeypatch, views, "_digest", alice)
    assert error_of(ask("PUT", token, tag=digest_of(TWO))) == (403, "DENIED")
    assert upstream.sent("PUT") == []


# Who it was is recorded.


def test_a_lock_and_its_event_name_who_pushed(
    protected: Workspace, gate: GateClient, bob: User
) -> None:
    assert ask("PUT", sign(person(bob))).status_code == 201
    assert standing_lock(protected, "v1").pushed_by == "bob"
    event = LockEvent.objects.get(kind="tag.locked")
    assert (event.actor, event.actor_kind) == ("bob", "person")
    assert "pushed by bob" in message_of(gate.push("v1", ONE + b" "))
    refused = LockEvent.objects.get(kind="push.refused")
    assert (refused.actor, refused.actor_kind) == ("dana", "person")


def test_a_program_is_named_by_its_access_token(protected: Workspace, upstream: Upstream) -> None:
    assert ask("PUT", sign(program(protected, Scope.PUSH))).status_code == 201
    event = LockEvent.objects.get(kind="tag.locked")
    assert (event.actor, event.actor_kind) == ("ci", "token")


@pytest.mark.parametrize(
    ("scopes", "pushes", "deletes"),
    [
        ([Scope.PULL], 403, 403),
        ([Scope.PUSH], 201, 202),
        ([Scope.REGISTRY], 403, 403),
        ([Scope.AUDIT], 403, 403),
        ([Scope.ADMIN], 403, 202),
        ([Scope.PUSH, Scope.ADMIN], 201, 202),
    ],
)
def test_scopes_decide_what_a_program_does_with_what_is_not_protected(
    acme: Workspace, gate: GateClient, scopes: list[Scope], pushes: int, deletes: int
) -> None:
    caller = program(acme, *scopes)
    gate.push("v1", ONE)
    assert ask("PUT", sign(caller)).status_code == pushes
    assert ask("DELETE", sign(caller)).status_code == deletes


@pytest.mark.parametrize(
    ("role", "pushes", "deletes"),
    [(Role.ADMIN, 201, 202), (Role.MEMBER, 201, 202), (Role.AUDITOR, 403, 403)],
)
def test_roles_decide_what_a_person_does_with_what_is_not_protected(
    acme: Workspace, gate: GateClient, bob: User, role: Role, pushes: int, deletes: int
) -> None:
    Membership.objects.filter(user=bob).update(role=role)
    gate.push("v1", ONE)
    assert ask("PUT", sign(person(bob))).status_code == pushes
    assert ask("DELETE", sign(person(bob))).status_code == deletes


def test_a_large_body_of_a_stranger_is_read_to_its_end(acme: Workspace, upstream: Upstream) -> None:
    response: Any = Client().put(
        "/v2/acme/api/manifests/v1", b" " * 5_000_000, content_type=IMAGE_TYPE
    )
    assert response.status_code == 401
    assert response.wsgi_request.read() == b""


# The keys.


@pytest.fixture
def own_keys(tmp_path: Path, settings: Any) -> KeyFolder:
    settings.TOKEN_KEYS_DIR = tmp_path / "keys"
    token_keys().make_first_key()
    return token_keys()


def test_a_token_of_the_old_key_is_good_until_the_key_is_retired(
    own_keys: KeyFolder, acme: Workspace, bob: User, upstream: Upstream
) -> None:
    token = sign(person(bob))
    own_keys.prepare_next_key()
    own_keys.use_next_key()
    assert ask("PUT", token).status_code == 201
    assert ask("PUT", sign(person(bob))).status_code == 201
    own_keys.retire_old_keys()
    assert error_of(ask("PUT", token)) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("method", METHODS)
def test_keys_that_cannot_be_read_decide_nothing(
    own_keys: KeyFolder,
    protected: Workspace,
    bob: User,
    upstream: Upstream,
    method: str,
) -> None:
    token = sign(person(bob))
    (own_keys.folder / TRUSTED).write_bytes(b"nonsense")
    with nothing_done(upstream):
        assert is_undecided(ask(method, token))


def test_what_is_not_protected_needs_a_token_all_the_same(
    acme: Workspace, protect: Callable[..., Policy], upstream: Upstream
) -> None:
    protect(acme, Protection.NONE)
    with nothing_done(upstream):
        assert ask("PUT", None).status_code == 401


def test_a_refusal_by_a_lock_is_told_to_those_who_may_read_alone(
    locked: Workspace, mallory: User, bob: User, upstream: Upstream
) -> None:
    for token in (None, sign(person(mallory)), sign(ANYBODY)):
        answer = ask("PUT", token)
        text = answer.content.decode() + str(dict(answer.items()))
        assert not any(
            word in text for word in ("immutable", "locked", digest_of(ONE)[:19], "lock-log")
        )
    assert "is immutable" in message_of(ask("PUT", sign(person(bob))))

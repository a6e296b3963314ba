"""Who is let through the gate: nothing is told to a caller, and nothing claimed, before that."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from containers.models import Tag as TagRecord
from containers.models import TokenKey
from containers.registry.client import RegistryAnswer
from containers.tokens.grants import ACTIONS, repository_access
from containers.tokens.rotation import prepare_next_key, retire_old_keys, use_next_key
from containers.tokens.stored_keys import StoredKeys, token_keys
from containers.tokens.tokens import ANYBODY, TAGLOCK, Caller, CallerKind, sign_token
from immutability.delete.gate import delete_manifest
from immutability.gate import views
from immutability.models import LockedTag
from immutability.policy.protection import PolicyRule, Protection
from tests.immutability.core import Core, named
from tests.immutability.gate.client import GateClient, error_of, is_undecided, message_of
from tests.immutability.registry_double import IMAGE_TYPE, Carry, digest_of, image
from workspaces.access import SYSTEM, Role, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.actions.members import add_member
from workspaces.log.models import LockEvent
from workspaces.models import AccessToken, Membership, User, Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]

ONE, TWO = named("one", image("one")), named("two", image("two"))
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
    return f"Bearer {sign_token(token_keys().find_signing_key(), caller, access, int(time.time()))}"


def person(user: User) -> Caller:
    return Caller(CallerKind.PERSON, user.pk, user.username)


def program(workspace: Workspace, *scopes: Scope, **options: Any) -> Caller:
    create_access_token(workspace, "ci", list(scopes), actor=SYSTEM, **options)
    token = AccessToken.objects.get(workspace=workspace, name="ci", revoked_at=None)
    return Caller(CallerKind.ACCESS_TOKEN, token.id, "acme+ci")


@contextmanager
def nothing_done(core: Core) -> Iterator[None]:
    """Assert that nothing is claimed, recorded or sent."""
    tables = (TagRecord, LockedTag, LockEvent)
    before = [list(table.objects.order_by("pk").values()) for table in tables]
    calls = list(core.registry.calls)
    yield
    assert [list(table.objects.order_by("pk").values()) for table in tables] == before
    assert core.registry.calls == calls


@pytest.fixture
def locked(core: Core, gate: GateClient) -> Core:
    """Acme, where v1 of acme/api is locked to ONE."""
    assert gate.push("v1", ONE).status_code == 201
    return core


# Without a token that is believed.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic Ym9iOmRlbW8=", "bearer "])
def test_without_a_token_the_answer_says_where_to_get_one(
    locked: Core, method: str, header: str | None
) -> None:
    with nothing_done(locked):
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
    locked: Core, method: str, token: str
) -> None:
    with nothing_done(locked):
        answer = ask(method, f"Bearer {token}")
    assert error_of(answer) == (401, "UNAUTHORIZED")
    assert answer["WWW-Authenticate"].endswith(',error="invalid_token"')


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("repository", ["nobody/api", "globex/api", "acme/other"])
def test_a_token_for_one_repository_opens_no_other(
    locked: Core,
    globex: Workspace,
    alice: User,
    method: str,
    repository: str,
) -> None:
    with nothing_done(locked):
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
    locked: Core, alice: User, method: str, actions: tuple[str, ...]
) -> None:
    with nothing_done(locked):
        answer = ask(method, sign(person(alice), *actions))
    assert answer["WWW-Authenticate"].endswith(',error="insufficient_scope"')


# With a token that was good when it was given.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("caller", [ANYBODY, TAGLOCK, Caller(CallerKind.PERSON, 0)])
def test_tokens_of_nobody_who_may_write_are_refused(
    locked: Core, method: str, caller: Caller
) -> None:
    with nothing_done(locked):
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
    locked: Core,
    alice: User,
    method: str,
    happened: Callable[[User], None],
) -> None:
    token = sign(person(alice))
    happened(alice)
    with nothing_done(locked):
        answer = ask(method, token)
    assert error_of(answer) == (403, "DENIED")
    assert message_of(answer) == "requested access to the resource is denied"


def test_a_demoted_admins_token_deletes_nothing_that_is_locked(locked: Core, alice: User) -> None:
    token = sign(person(alice))
    Membership.objects.filter(user=alice).update(role=Role.MEMBER)
    answer = ask("DELETE", token)
    assert error_of(answer) == (403, "DENIED")
    assert "cannot be deleted because the tag is immutable" in message_of(answer)
    assert locked.lock() == "locked one"
    assert locked.registry.sent("DELETE") == []


def revoke(token_id: int) -> None:
    AccessToken.objects.filter(id=token_id).update(revoked_at=timezone.now())


def expire(token_id: int) -> None:
    AccessToken.objects.filter(id=token_id).update(expires_at=timezone.now() - timedelta(seconds=1))


def narrow(token_id: int) -> None:
    AccessToken.objects.filter(id=token_id).update(scopes=["pull"])


def limit(token_id: int) -> None:
    AccessToken.objects.filter(id=token_id).update(repositories=["web", "api-*"])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("happened", [revoke, expire, narrow, limit])
def test_a_program_loses_with_its_access_token_what_it_logged_in_for(
    locked: Core, method: str, happened: Callable[[int], None]
) -> None:
    caller = program(locked.workspace, Scope.PUSH, Scope.ADMIN)
    token = sign(caller)
    happened(caller.id)
    with nothing_done(locked):
        assert error_of(ask(method, token)) == (403, "DENIED")


def test_an_access_token_of_another_workspace_is_nothing_here(
    locked: Core, globex: Workspace
) -> None:
    token = sign(program(globex, Scope.PUSH))
    with nothing_done(locked):
        answer = ask("PUT", token)
    assert error_of(answer) == (403, "DENIED")


def test_a_limited_access_token_pushes_in_its_repositories_alone(locked: Core) -> None:
    caller = program(locked.workspace, Scope.PUSH, repositories=["api", "team/*"])
    for repository in ("acme/api", "acme/team/db"):
        token = sign(caller, repository=repository)
        assert ask("PUT", token, repository, tag="new").status_code == 201
    for repository in ("acme/web", "acme/api-web", "acme/team/db/x", "acme/acme/api"):
        token = sign(caller, repository=repository)
        with nothing_done(locked):
            assert error_of(ask("PUT", token, repository, tag="new")) == (403, "DENIED")


def test_a_limit_that_comes_while_a_push_waits_stops_it(
    locked: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = program(locked.workspace, Scope.PUSH)
    carry_out: Any = getattr(views, "push_manifest")  # noqa: B009  (a name that views imports)

    def limit_first(*args: Any, **options: Any) -> Any:
        limit(caller.id)
        return carry_out(*args, **options)

    monkeypatch.setattr(views, "push_manifest", limit_first)
    assert error_of(ask("PUT", sign(caller), tag="new")) == (403, "DENIED")
    assert locked.lock("new") == "none"


def test_a_limit_costs_no_statement(locked: Core) -> None:
    counts = []
    for number, globs in enumerate(([], ["web", "api"])):
        caller = program(locked.workspace, Scope.PUSH, repositories=globs)
        token = sign(caller)
        with CaptureQueriesContext(connection) as queries:
            assert ask("PUT", token, tag=f"new{number}").status_code == 201
        counts.append(len(queries))
        revoke(caller.id)
    # The image was stored by the first.
    assert counts[1] <= counts[0]


def test_a_user_name_that_is_given_again_inherits_nothing(locked: Core, alice: User) -> None:
    token = sign(person(alice))
    alice.delete()
    again = User.objects.create_user("alice")
    add_member(locked.workspace, again, Role.ADMIN, actor=SYSTEM)
    if again.pk == person(alice).id:
        pytest.fail("the database gave the same id again")
    with nothing_done(locked):
        assert error_of(ask("DELETE", token)) == (403, "DENIED")


# What is taken away while a request is at work.


@pytest.mark.parametrize("happened", [remove, demote])
@pytest.mark.parametrize(
    ("method", "reference"),
    [
        ("PUT", "new"),
        ("PUT", "v1"),
        ("PUT", "unprotected"),
        ("PUT", digest_of(TWO)),
        ("DELETE", "v1"),
        ("DELETE", "unprotected"),
        ("DELETE", digest_of(ONE)),
    ],
)
def test_rights_are_asked_for_again_within_the_hold(
    locked: Core,
    alice: User,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    reference: str,
    happened: Callable[[User], None],
) -> None:
    locked.protect(Protection.SOME, PolicyRule("Protected", "^(new|v1)$"))
    locked.registry.store(ONE, "unprotected")
    token = sign(person(alice))
    name = "push_manifest" if method == "PUT" else "delete_manifest"
    carry_out: Any = getattr(views, name)

    def lose_rights_first(*args: Any, **options: Any) -> Any:
        happened(alice)
        return carry_out(*args, **options)

    monkeypatch.setattr(views, name, lose_rights_first)
    before = (locked.lock(), locked.lock("new"), locked.events(), dict(locked.registry.tags))
    answer = ask(method, token, tag=reference)
    assert error_of(answer) == (403, "DENIED")
    assert message_of(answer) == "requested access to the resource is denied"
    after = (locked.lock(), locked.lock("new"), locked.events(), dict(locked.registry.tags))
    assert after == before
    # At most the manifest was stored, which moves nothing.
    assert locked.registry.sent("DELETE") == []
    assert locked.registry.sent_by_tag == ["v1"]
    assert not TagRecord.objects.exclude(write_id=None).exists()


def test_rights_that_go_while_the_manifest_is_stored_claim_nothing(
    locked: Core, alice: User
) -> None:
    def lose_rights_first(carry: Carry) -> RegistryAnswer:
        remove(alice)
        return carry()

    token = sign(person(alice))
    locked.registry.script(f"PUT {digest_of(TWO)}", lose_rights_first)
    assert error_of(ask("PUT", token, tag="new")) == (403, "DENIED")
    assert locked.registry.sent_by_tag == ["v1"]
    assert locked.lock("new") == "none"


def test_an_admin_who_is_demoted_meanwhile_deletes_no_locked_tag(
    locked: Core, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member's delete of it would be refused too; what was asked for as an admin is not that."""
    token = sign(person(alice))

    def become_a_member_first(*args: Any, **options: Any) -> Any:
        Membership.objects.filter(user=alice).update(role=Role.MEMBER)
        return delete_manifest(*args, **options)

    monkeypatch.setattr(views, "delete_manifest", become_a_member_first)
    assert error_of(ask("DELETE", token)) == (403, "DENIED")
    assert locked.registry.sent("DELETE") == []
    assert locked.lock() == "locked one"


# Who it was is recorded.


def test_lock_and_events_name_who_acted(core: Core, gate: GateClient, bob: User) -> None:
    assert ask("PUT", sign(person(bob))).status_code == 201
    assert "pushed by bob" in message_of(gate.push("v1", ONE))
    acme = core.workspace
    assert ask("PUT", sign(program(acme, Scope.PUSH)), tag="v2").status_code == 201
    told = LockEvent.objects.exclude(tag="").order_by("id")
    assert list(told.values_list("kind", "actor", "actor_kind")) == [
        ("tag.locked", "bob", "person"),
        ("push.refused", "dana", "person"),
        ("tag.locked", "ci", "token"),
    ]


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
    core: Core, scopes: list[Scope], pushes: int, deletes: int
) -> None:
    core.protect(Protection.NONE)
    core.registry.store(ONE, "v1")
    caller = program(core.workspace, *scopes)
    assert ask("PUT", sign(caller)).status_code == pushes
    assert ask("DELETE", sign(caller)).status_code == deletes


@pytest.mark.parametrize(
    ("role", "pushes", "deletes"),
    [(Role.ADMIN, 201, 202), (Role.MEMBER, 201, 202), (Role.AUDITOR, 403, 403)],
)
def test_roles_decide_what_a_person_does_with_what_is_not_protected(
    core: Core, bob: User, role: Role, pushes: int, deletes: int
) -> None:
    core.protect(Protection.NONE)
    core.registry.store(ONE, "v1")
    Membership.objects.filter(user=bob).update(role=role)
    assert ask("PUT", sign(person(bob))).status_code == pushes
    assert ask("DELETE", sign(person(bob))).status_code == deletes


@pytest.mark.parametrize(("role", "status"), [(Role.ADMIN, 202), (Role.MEMBER, 403)])
def test_admins_alone_delete_what_is_locked(
    locked: Core, bob: User, role: Role, status: int
) -> None:
    Membership.objects.filter(user=bob).update(role=role)
    assert ask("DELETE", sign(person(bob))).status_code == status


def test_a_lock_is_told_to_those_who_may_read_alone(locked: Core, mallory: User, bob: User) -> None:
    for token in (None, sign(person(mallory)), sign(ANYBODY)):
        answer = ask("PUT", token)
        text = answer.content.decode() + str(dict(answer.items()))
        words = ("immutable", "locked", digest_of(ONE)[:19], "lock-log")
        assert not any(word in text for word in words)
    assert "is immutable" in message_of(ask("PUT", sign(person(bob))))


def test_the_body_of_a_stranger_is_read_to_its_end(core: Core) -> None:
    response: Any = Client().put(
        "/v2/acme/api/manifests/v1", b" " * 5_000_000, content_type=IMAGE_TYPE
    )
    assert response.status_code == 401
    assert response.wsgi_request.read() == b""


def test_what_is_not_protected_needs_a_token_all_the_same(core: Core) -> None:
    core.protect(Protection.NONE)
    with nothing_done(core):
        assert ask("PUT", None).status_code == 401


# The keys.


def test_a_token_of_the_old_key_is_good_until_the_key_is_retired(
    changing_keys: None, core: Core, bob: User
) -> None:
    token = sign(person(bob))
    prepare_next_key()
    use_next_key()
    # By a node that knows the new key before this one does.
    access = [repository_access("acme/api", *ACTIONS)]
    new = sign_token(StoredKeys().find_signing_key(), person(bob), access, int(time.time()))
    assert ask("PUT", f"Bearer {new}").status_code == 201
    assert ask("PUT", token).status_code == 201
    retire_old_keys()
    token_keys().forget()
    assert error_of(ask("PUT", token)) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("method", METHODS)
def test_keys_that_cannot_be_read_decide_nothing(
    changing_keys: None, core: Core, bob: User, method: str
) -> None:
    token = sign(person(bob))
    TokenKey.objects.update(certificate="nonsense")
    token_keys().forget()
    with nothing_done(core):
        assert is_undecided(ask(method, token))

"""Accounts at the registry: before it has decided, no caller learns of a lock or takes one."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import QuerySet
from django.http import HttpResponse
from django.test import Client

from containers.models import Tag as TagRecord
from containers.prefixes import add_prefix
from containers.registry.client import RegistryAnswer, RegistryUnavailableError
from immutability.gate import registry_accounts
from immutability.gate.registry_accounts import read_account_name
from immutability.models import LockedTag
from immutability.policy.protection import Protection
from tests.immutability.core import Core, named
from tests.immutability.gate.client import error_of, is_undecided, message_of
from tests.immutability.registry_double import (
    CHALLENGE,
    IMAGE_TYPE,
    NO_ANSWER,
    answer,
    digest_of,
    image,
)
from workspaces.access import SYSTEM, ActorKind, describe_actor
from workspaces.actions.registry_accounts import link_registry_account
from workspaces.log.models import LockEvent
from workspaces.models import User

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]

ONE, TWO = named("one", image("one")), named("two", image("two"))


def basic(name: str, password: str = "") -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


def bearer(claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"Bearer header.{payload}.signature"


PUSHER, PULLER, STRANGER, ADMIN = (
    basic(name) for name in ("pat", "pulla", "strange", "registry-admin")
)
RIGHTS = {
    PUSHER: {"pull", "push"},
    PULLER: {"pull"},
    STRANGER: set[str](),
    ADMIN: {"pull", "push", "delete"},
}
# Words that no answer to someone without access may have.
TELLING = ("sha256:", "immutable", "lock", "rule", "reserved", "dana", "claim", "wait", "v1 ")


@pytest.fixture
def core(core: Core, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Core:
    """Acme before a registry that keeps its accounts; all tags are protected."""
    settings.REGISTRY_ACCOUNTS = "registry"
    monkeypatch.setattr(registry_accounts, "connect", lambda _: core.registry)
    registry_accounts._verifies_credentials.cache_clear()
    core.registry.rights = {name: set(rights) for name, rights in RIGHTS.items()}
    core.protect()
    return core


def ask(
    method: str,
    authorization: str,
    *,
    tag: str = "v1",
    body: bytes = TWO,
    repository: str = "acme/api",
    query: str = "",
) -> HttpResponse:
    """Push, or delete a tag, with this header."""
    response: Any = Client().generic(
        method,
        f"/v2/{repository}/manifests/{tag}",
        body if method == "PUT" else b"",
        content_type=IMAGE_TYPE,
        QUERY_STRING=query,
        headers={"Authorization": authorization} if authorization else {},
    )
    return response  # type: ignore[no-any-return]


def everything() -> list[Any]:
    """Return all that Taglock keeps of tags, locks and events."""
    rows = (TagRecord.objects, LockedTag.objects, events())
    return [list(each.order_by("pk").values()) for each in rows]


def events() -> QuerySet[LockEvent]:
    """Return the events that are about tags."""
    return LockEvent.objects.exclude(repository="")


# ---- the table: nobody without access learns of a lock, or takes a name --------------------------


def _free(core: Core) -> None:
    pass


def _locked(core: Core) -> None:
    core.push("v1", image=ONE)


def _reserved(core: Core) -> None:
    core.push("v1", image=ONE)
    core.delete("v1", is_admin=True)


def _claimed(core: Core) -> None:
    core.registry.script("PUT v1", NO_ANSWER)
    core.push("v1", image=ONE)
    core.registry.script("PUT v1", *(5 * [NO_ANSWER]))
    core.registry.script("HEAD v1", *(5 * [NO_ANSWER]))


def _deleting(core: Core) -> None:
    core.push("v1", image=ONE)
    core.registry.script("DELETE", *(5 * [NO_ANSWER]))
    core.delete("v1", is_admin=True)
    core.registry.scripts.clear()


def _uncovered(core: Core) -> None:
    core.push("v1", image=ONE)
    core.protect(Protection.NONE)


STATES = (_free, _locked, _reserved, _claimed, _deleting, _uncovered)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("body", [ONE, TWO], ids=["same", "other"])
@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("", 401),
        (basic("pat", "wrong"), 401),
        ("Bearer nonsense", 401),
        (PULLER, 403),
        (STRANGER, 403),
    ],
    ids=["anonymous", "wrong", "nonsense", "puller", "stranger"],
)
def test_who_may_not_push_is_told_what_the_registry_tells_and_nothing_is_kept(
    core: Core,
    state: Callable[[Core], None],
    body: bytes,
    authorization: str,
    status: int,
) -> None:
    state(core)
    before = everything()
    core.registry.calls.clear()
    for query, tag in (("", "v1"), ("tag=v1&tag=v2", digest_of(body))):
        told = ask("PUT", authorization, body=body, tag=tag, query=query)
        assert told.status_code == status
        assert told.headers.get("WWW-Authenticate") == (CHALLENGE if status == 401 else None)
        text = told.content.decode().lower()
        assert not [word for word in TELLING if word in text], text
    assert everything() == before
    assert core.registry.calls == []
    # All that was asked was asked for them.
    assert {who for who, _ in core.registry.said} == {authorization}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("authorization", "status"),
    [("", 401), (basic("pat", "wrong"), 401), (PUSHER, 403), (PULLER, 403), (STRANGER, 403)],
    ids=["anonymous", "wrong", "pusher", "puller", "stranger"],
)
def test_who_may_not_delete_is_told_what_the_registry_tells_and_nothing_is_kept(
    core: Core, state: Callable[[Core], None], authorization: str, status: int
) -> None:
    state(core)
    before = everything()
    core.registry.calls.clear()
    for tag in ("v1", digest_of(ONE)):
        told = ask("DELETE", authorization, tag=tag)
        assert told.status_code == status
        text = told.content.decode().lower()
        assert not [word for word in TELLING if word in text], text
    assert everything() == before
    assert core.registry.calls == []


@pytest.mark.parametrize(
    ("method", "authorization"),
    [("PUT", ""), ("PUT", STRANGER), ("DELETE", ""), ("DELETE", STRANGER), ("DELETE", ADMIN)],
)
def test_a_workspace_that_is_not_there_looks_like_one_that_others_are_in(
    core: Core, method: str, authorization: str
) -> None:
    known = ask(method, authorization, repository="acme/other", tag="none")
    unknown = ask(method, authorization, repository="nobodys/other", tag="none")
    assert (known.status_code, known.content) == (unknown.status_code, unknown.content)
    assert known.headers.get("WWW-Authenticate") == unknown.headers.get("WWW-Authenticate")


def test_a_repository_of_no_workspace_cannot_be_pushed_to(core: Core) -> None:
    told = ask("PUT", PUSHER, repository="nobodys/api")
    assert error_of(told) == (403, "DENIED")
    assert core.registry.tags == {}


# ---- those whom the registry lets in -------------------------------------------------------------


def test_a_first_push_is_stored_claimed_and_pointed_for_the_caller(core: Core) -> None:
    told = ask("PUT", PUSHER, body=ONE)
    assert told.status_code == 201
    lock = LockedTag.objects.get()
    assert (lock.state, lock.digest) == ("locked", digest_of(ONE))
    assert (lock.pushed_by, lock.pushed_by_kind) == ("pat", ActorKind.ACCOUNT)
    assert {who for who, _ in core.registry.said} == {PUSHER}
    assert core.registry.said[0] == (PUSHER, f"PUT {digest_of(ONE)}")
    assert core.registry.said[-1] == (PUSHER, "PUT v1")
    event = events().get()
    assert (event.actor, event.actor_kind) == ("pat", "account")


def test_the_same_image_succeeds_and_another_is_refused_with_who_pushed(core: Core) -> None:
    ask("PUT", PUSHER, body=ONE)
    assert ask("PUT", ADMIN, body=ONE).status_code == 201
    told = ask("PUT", ADMIN, body=TWO)
    assert error_of(told) == (403, "DENIED")
    assert "cannot be overwritten because the tag is immutable" in message_of(told)
    assert "(pushed by pat (registry account))" in message_of(told)
    assert core.registry.tags == {"v1": digest_of(ONE)}


def test_a_tag_that_nothing_covers_can_be_moved(core: Core) -> None:
    core.protect(Protection.NONE)
    assert [ask("PUT", PUSHER, body=body).status_code for body in (ONE, TWO)] == [201, 201]
    assert core.registry.tags == {"v1": digest_of(TWO)}
    assert not LockedTag.objects.exists()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_the_pointing_takes_the_claim_back_and_is_passed_on(
    core: Core, status: int
) -> None:
    """As where a token expires between the two, or where the registry has rules of its own."""
    refusal = answer(status, "DENIED", {"WWW-Authenticate": "Basic"})
    core.registry.script("PUT v1", refusal)
    told = ask("PUT", PUSHER, body=ONE)
    assert error_of(told) == (status, "DENIED")
    assert told["WWW-Authenticate"] == "Basic"
    assert not LockedTag.objects.exists()
    assert ask("PUT", ADMIN, body=TWO).status_code == 201


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_look_is_passed_on_with_its_challenge(core: Core, status: int) -> None:
    core.registry.rights[PUSHER] = {"push"}
    if status == 401:
        store = core.registry.put_manifest

        def put(*arguments: Any) -> RegistryAnswer:
            del core.registry.rights[PUSHER]
            return store(*arguments)

        core.registry.put_manifest = put  # type: ignore[method-assign, assignment]
    told = ask("PUT", PUSHER, body=ONE)
    assert told.status_code == status
    assert told.headers.get("WWW-Authenticate") == (CHALLENGE if status == 401 else None)
    assert everything() == [[], [], []]


def test_a_store_without_an_answer_is_undecided(core: Core) -> None:
    core.registry.script("PUT", NO_ANSWER)
    assert is_undecided(ask("PUT", PUSHER, body=ONE))
    assert everything() == [[], [], []]


def test_what_the_registry_never_takes_is_passed_on(core: Core) -> None:
    core.registry.script("PUT", answer(400, "MANIFEST_INVALID"))
    assert error_of(ask("PUT", PUSHER, body=ONE)) == (400, "MANIFEST_INVALID")
    assert everything() == [[], [], []]


def test_who_may_delete_deletes_what_no_lock_holds_and_nothing_else(core: Core) -> None:
    ask("PUT", PUSHER, body=ONE)
    told = ask("DELETE", ADMIN)
    assert error_of(told) == (403, "DENIED")
    assert "cannot be deleted because the tag is immutable" in message_of(told)
    assert core.registry.tags == {"v1": digest_of(ONE)}
    core.protect(Protection.NONE)
    assert ask("DELETE", ADMIN).status_code == 202
    assert core.registry.tags == {}
    assert (ADMIN, "DELETE v1") in core.registry.said


def test_a_delete_asks_for_a_token_to_look_with_too(core: Core) -> None:
    told = ask("DELETE", "")
    assert told["WWW-Authenticate"] == CHALLENGE.replace("acme/api:x", "acme/api:x,pull,delete")


def test_a_registry_without_deletes_says_so_itself(core: Core) -> None:
    ask("PUT", PUSHER, body=ONE)
    core.registry.script("DELETE", answer(405, "UNSUPPORTED"))
    assert error_of(ask("DELETE", ADMIN)) == (405, "UNSUPPORTED")
    core.registry.script("DELETE", answer(503), NO_ANSWER)
    assert is_undecided(ask("DELETE", ADMIN))
    assert is_undecided(ask("DELETE", ADMIN))


def test_what_is_not_there_is_said_not_to_be(core: Core) -> None:
    assert error_of(ask("DELETE", ADMIN)) == (404, "MANIFEST_UNKNOWN")
    # A registry that hides a repository hides it from those who may not look as well.
    core.registry.script("DELETE", answer(404, "NAME_INVALID"))
    assert error_of(ask("DELETE", ADMIN)) == (404, "NAME_INVALID")


# ---- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authorization", "name"),
    [
        (basic("pat"), "pat"),
        ("bAsIc " + basic("robot$acme+ci", "p:w").partition(" ")[2], "robot$acme+ci"),
        (bearer({"sub": "pat"}), "pat"),
        (bearer({"sub": ""}), ""),
        (bearer({"sub": 7}), ""),
        (bearer(["sub"]), ""),
        (bearer({}), ""),
        ("Bearer opaque", ""),
        ("Bearer a.b.c", ""),
        ("Bearer a.é.c", ""),
        ("Basic !!!", ""),
        ("Basic " + base64.b64encode(b"no colon").decode(), ""),
        ("Basic " + base64.b64encode(b"\xff:x").decode(), ""),
        (basic("a\nb"), ""),
        (basic("x" * 201), ""),
        (bearer({"sub": "x" * 201}), ""),
        ("Negotiate abc", ""),
        ("", ""),
    ],
)
def test_the_name_is_basics_user_or_the_tokens_subject(authorization: str, name: str) -> None:
    assert read_account_name(authorization) == name


def test_a_registry_that_takes_any_credentials_vouches_for_no_name(core: Core) -> None:
    core.registry.knows_accounts = False
    assert ask("PUT", PUSHER, body=ONE).status_code == 201
    assert (LockedTag.objects.get().pushed_by, events().get().actor) == ("", "")
    assert "pushed by" not in message_of(ask("PUT", ADMIN, body=TWO))


def test_an_account_without_a_name_is_let_in_too(core: Core) -> None:
    core.registry.rights["Bearer opaque"] = {"pull", "push"}
    assert ask("PUT", "Bearer opaque", body=ONE).status_code == 201
    assert events().get().actor == ""


def test_without_knowing_whether_names_are_verified_nothing_is_claimed(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> bool:
        raise RegistryUnavailableError("timed out")

    monkeypatch.setattr(core.registry, "verifies_credentials", fail)
    assert is_undecided(ask("PUT", PUSHER, body=ONE))
    assert everything() == [[], [], []]


@pytest.mark.parametrize("authorization", ["Basic é", "Basic a\x7fb"])
def test_a_header_that_cannot_be_sent_on_is_refused(core: Core, authorization: str) -> None:
    told = ask("PUT", authorization)
    assert error_of(told) == (400, "UNAUTHORIZED")
    assert core.registry.said == []


def test_a_registry_account_is_not_taken_for_a_person() -> None:
    assert describe_actor("alice", ActorKind.ACCOUNT) == "alice (registry account)"


# ---- accounts that are linked to people ---------------------------------------------------------


def test_an_account_that_is_linked_to_an_admin_deletes_a_locked_tag(
    core: Core, alice: User
) -> None:
    ask("PUT", PUSHER, body=ONE)
    link_registry_account("registry-admin", alice, actor=SYSTEM)
    assert ask("DELETE", ADMIN).status_code == 202
    lock = LockedTag.objects.get()
    assert (lock.state, lock.deleted_by) == ("reserved", "registry-admin")
    assert (ADMIN, "DELETE v1") in core.registry.said
    assert (events().get(kind="tag.deleted").actor_kind) == "account"


def test_a_link_to_a_member_gives_nothing(core: Core, bob: User) -> None:
    ask("PUT", PUSHER, body=ONE)
    link_registry_account("registry-admin", bob, actor=SYSTEM)
    assert error_of(ask("DELETE", ADMIN)) == (403, "DENIED")


def test_a_link_gives_no_rights_that_the_registry_does_not_give(core: Core, alice: User) -> None:
    ask("PUT", PUSHER, body=ONE)
    link_registry_account("pat", alice, actor=SYSTEM)
    assert error_of(ask("DELETE", PUSHER)) == (403, "DENIED")
    assert LockedTag.objects.get().state == "locked"


def test_a_link_counts_only_before_a_registry_that_verifies_names(core: Core, alice: User) -> None:
    ask("PUT", PUSHER, body=ONE)
    link_registry_account("registry-admin", alice, actor=SYSTEM)
    core.registry.knows_accounts = False
    registry_accounts._verifies_credentials.cache_clear()
    assert error_of(ask("DELETE", ADMIN)) == (403, "DENIED")


def test_who_is_no_admin_any_more_when_it_is_decided_deletes_nothing(
    core: Core, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("PUT", PUSHER, body=ONE)
    link_registry_account("registry-admin", alice, actor=SYSTEM)
    answers = iter([True, False])
    monkeypatch.setattr(registry_accounts, "is_admins_account", lambda *_: next(answers))
    told = ask("DELETE", ADMIN)
    assert error_of(told) == (403, "DENIED")
    assert LockedTag.objects.get().state == "locked"
    assert core.registry.tags == {"v1": digest_of(ONE)}


# ---- what is not kept ----------------------------------------------------------------------------


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(0)
    return caplog


def test_credentials_are_neither_stored_nor_logged_nor_told(
    core: Core, records: pytest.LogCaptureFixture
) -> None:
    secret = basic("pat", "hunter2")
    core.registry.rights[secret] = RIGHTS[ADMIN]
    answers = [ask("PUT", secret, body=body) for body in (ONE, TWO)]
    core.registry.script("PUT", NO_ANSWER)
    answers += [ask("PUT", secret, body=ONE), ask("DELETE", secret)]
    kept = repr(everything()) + records.text + "".join(str(each.content) for each in answers)
    for each in ("hunter2", secret.partition(" ")[2]):
        assert each not in kept


def test_taglocks_token_service_gives_no_tokens(core: Core) -> None:
    told: Any = Client().get("/auth/token?service=taglock")
    assert error_of(told) == (404, "UNSUPPORTED")


# Repositories that belong to no workspace.


def test_what_no_workspace_has_is_refused_unless_it_may_pass(core: Core) -> None:
    core.registry.tags.clear()
    assert error_of(ask("PUT", PUSHER, repository="lib/app")) == (403, "DENIED")
    assert error_of(ask("DELETE", ADMIN, repository="lib/app")) != (202, "")
    assert core.registry.tags == {}


def test_what_may_pass_is_sent_once_with_the_callers_own_credentials(
    core: Core, settings: Any
) -> None:
    settings.UNASSIGNED_REPOSITORIES = "allow"
    core.registry.tags.clear()
    for image_pushed in (ONE, TWO):
        response = ask("PUT", PUSHER, repository="lib/app", body=image_pushed)
        assert response.status_code == 201
        assert core.registry.tags == {"v1": digest_of(image_pushed)}
    refused = ask("PUT", PULLER, repository="lib/app", body=ONE)
    assert refused.status_code in (401, 403)
    assert core.registry.tags == {"v1": digest_of(TWO)}
    assert ask("DELETE", ADMIN, repository="lib/app").status_code == 202
    assert core.registry.sent() == ["PUT v1", "PUT v1", "DELETE v1"]
    by_digest = ask(
        "PUT", PUSHER, tag=digest_of(ONE), body=ONE, repository="lib/app", query="tag=a&tag=b"
    )
    assert by_digest.status_code == 201
    assert core.registry.tags == dict.fromkeys("ab", digest_of(ONE))
    assert not TagRecord.objects.exists()
    assert not LockEvent.objects.exclude(repository="").exists()
    core.registry.script("PUT v1", NO_ANSWER)
    assert is_undecided(ask("PUT", PUSHER, repository="lib/app"))
    core.registry.script("DELETE v1", NO_ANSWER)
    assert is_undecided(ask("DELETE", ADMIN, repository="lib/app"))


def test_what_a_workspace_has_never_passes(core: Core, settings: Any) -> None:
    settings.UNASSIGNED_REPOSITORIES = "allow"
    assert ask("PUT", PUSHER, body=ONE).status_code == 201
    assert error_of(ask("PUT", PUSHER, body=TWO)) == (403, "DENIED")
    add_prefix(core.workspace, "lib", actor=SYSTEM)
    assert ask("PUT", PUSHER, repository="lib/app", tag="v2", body=ONE).status_code == 201
    assert error_of(ask("PUT", PUSHER, repository="lib/app", tag="v2", body=TWO)) == (403, "DENIED")

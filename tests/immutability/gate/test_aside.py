"""Locks that were put aside, given back or reserved: what must not come of it later."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import F
from rest_framework.test import APIClient

from containers.registry.client import RegistryAnswer
from immutability.actions.manage import (
    NameAfter,
    WrongStateError,
    delete_locked_tag,
    release_locked_tag,
)
from immutability.actions.resolve import resolve_attempts
from immutability.api import checks
from immutability.models import Attempt, LockedTag
from immutability.protection import Policy, Protection
from tests.immutability.actions.asking import lock_of, standing_lock, tag_event_kinds, tag_events
from tests.immutability.gate.left_behind import age_attempts, open_attempts, state_of
from tests.immutability.gate.upstream import (
    INDEX_TYPE,
    TIMEOUT,
    Carry,
    GateClient,
    Upstream,
    answer,
    digest_of,
    error_of,
    image,
    index,
    is_undecided,
    lands_late,
)
from workspaces.access import Actor, ActorKind
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

Protect = Callable[..., Policy]

ONE, TWO, THREE = image("one"), image("two"), image("three")
ALICE = Actor("alice", ActorKind.PERSON)


class KilledError(BaseException):
    """The process ends here."""


def _die(carry: Carry) -> RegistryAnswer:
    raise KilledError


def _resolve(upstream: Any) -> int:
    return resolve_attempts(upstream, Attempt.objects.all())


def _delete(
    workspace: Workspace, upstream: Any, after: NameAfter = NameAfter.RESERVE, tag: str = "v1"
) -> LockedTag | None:
    row = standing_lock(workspace, tag)
    return delete_locked_tag(workspace, row.id, after, "why", actor=ALICE, registry=upstream)


@pytest.fixture
def ask(
    registry: APIClient, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> Callable[[bytes], Any]:
    """Return a function that checks a push of v1, with the registry at hand."""
    monkeypatch.setattr(checks, "find_registry", lambda: upstream)

    def ask(body: bytes) -> Any:
        asked = {"repository": "acme/api", "tag": "v1", "digest": digest_of(body)}
        return registry.post("/api/v1/check-push", asked, format="json")

    return ask


# Deletes that were decided under other settings.


def test_a_delete_is_not_taken_for_the_one_by_which_the_name_was_once_reserved(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    _delete(protected, upstream)
    assert gate.push("v1", ONE).status_code == 201
    assert (standing_lock(protected, "v1").deleted_by, upstream.sent("DELETE")) == ("", ["v1"])
    protect(protected, Protection.NONE)
    upstream.script("DELETE", TIMEOUT)
    gate.delete("v1")
    protect(protected, Protection.ALL)
    age_attempts(16)
    assert _resolve(upstream) == 1
    assert upstream.tags == {"v1": digest_of(ONE)}
    assert state_of(protected) == ("locked", digest_of(ONE))


@pytest.mark.parametrize("protection", list(Protection))
def test_the_delete_of_a_child_is_not_sent_again_under_settings_that_may_forbid_it(
    protected: Workspace,
    protect: Protect,
    gate: GateClient,
    upstream: Upstream,
    protection: Protection,
) -> None:
    gate.push(digest_of(ONE), ONE)
    gate.push("v1", index(ONE), media_type=INDEX_TYPE)
    protect(protected, Protection.NONE)
    upstream.script("DELETE", TIMEOUT)
    assert is_undecided(gate.delete(digest_of(ONE)))
    if protection is not Protection.SOME:
        protect(protected, protection)
    is_sent_again = protection is not Protection.ALL
    assert bool(_resolve(upstream)) is is_sent_again
    assert (digest_of(ONE) in upstream.manifests) is not is_sent_again
    age_attempts(16)
    _resolve(upstream)
    assert open_attempts() == 0


def test_a_delete_by_digest_that_landed_is_not_hidden_by_the_manifest_that_came_back(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    protect(protected, Protection.NONE)
    upstream.script("DELETE", lands_late)
    gate.delete(digest_of(ONE))
    protect(protected, Protection.ALL)
    assert gate.push(digest_of(ONE), ONE).status_code == 201
    age_attempts(16)
    assert _resolve(upstream) == 1
    assert lock_of(protected, "v1") is None
    assert gate.push("v1", ONE).status_code == 201
    assert upstream.tags == {"v1": digest_of(ONE)}


def test_a_delete_resolves_what_it_meets(
    acme: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    """Nobody else may be there to do it."""
    upstream.script("PUT", lands_late)
    gate.push("v1", ONE)
    age_attempts(16)
    assert gate.delete("v1").status_code == 202
    assert upstream.tags == {}


def test_an_admins_delete_resolves_what_it_meets(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    upstream.script("PUT", lands_late)
    gate.push("v1", ONE)
    gate.push("v1", ONE)
    assert open_attempts() == 1
    _delete(protected, upstream)
    assert state_of(protected) == ("reserved", digest_of(ONE))
    assert open_attempts() == 0


def test_an_admins_delete_by_digest_does_not_hollow_what_is_covered_and_not_locked_yet(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    upstream.store(ONE, "child")
    upstream.store(index(ONE), "multi", media_type=INDEX_TYPE)
    protect(acme, Protection.ALL)
    gate.push("child", ONE)
    upstream.script("DELETE", answer(405, "UNSUPPORTED"))
    with pytest.raises(WrongStateError, match="needs this one too"):
        _delete(acme, upstream, tag="child")
    assert upstream.sent("DELETE") == ["child"]
    assert state_of(acme, "child") == ("locked", digest_of(ONE))
    assert state_of(acme, "multi") == ("locked", digest_of(index(ONE)))


# Claims that are dropped, and names that come back.


def test_dropping_the_claim_of_an_unprotected_push_does_not_bring_the_old_lock_back(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    protect(protected, Protection.NONE)
    upstream.script("PUT", lands_late)
    gate.push("v1", TWO)
    protect(protected, Protection.ALL)
    age_attempts(16)
    row = standing_lock(protected, "v1")
    delete_locked_tag(protected, row.id, NameAfter.FREE, "why", actor=ALICE)
    assert lock_of(protected, "v1") is None
    assert tag_event_kinds(protected)[-2:] == ["claim.dropped", "lock.ended"]
    assert gate.push("v1", ONE).status_code == 403
    assert state_of(protected) == ("locked", digest_of(TWO))


@pytest.mark.parametrize("is_checked", [False, True], ids=["pushed", "checked"])
def test_a_reserved_image_that_comes_back_unprotected_is_locked_again(
    protected: Workspace,
    protect: Protect,
    gate: GateClient,
    upstream: Upstream,
    ask: Callable[[bytes], Any],
    *,
    is_checked: bool,
) -> None:
    gate.push("v1", ONE)
    _delete(protected, upstream)
    protect(protected, Protection.NONE)
    if is_checked:
        assert ask(ONE).json()["outcome"] == "unprotected"
        upstream.store(ONE, "v1")
    else:
        assert gate.push("v1", ONE).status_code == 201
    row = standing_lock(protected, "v1")
    assert (row.state, row.digest, row.deleted_by) == ("locked", digest_of(ONE), "")
    event = tag_events(protected)[-1]
    assert (event.kind, event.digest) == ("tag.locked", digest_of(ONE))
    protect(protected, Protection.ALL)
    assert error_of(gate.delete("v1")) == (403, "DENIED")
    assert upstream.tags == {"v1": digest_of(ONE)}


# Checks with a registry at hand.


def test_a_check_of_a_released_tag_waits_for_a_push_that_may_still_land(
    protected: Workspace, gate: GateClient, upstream: Upstream, ask: Callable[[bytes], Any]
) -> None:
    upstream.script("PUT", lands_late)
    gate.push("v1", ONE)
    gate.push("v1", ONE)
    release_locked_tag(protected, standing_lock(protected, "v1").id, "why", actor=ALICE)
    assert ask(TWO).status_code == 503
    assert state_of(protected) == ("released", digest_of(ONE))
    age_attempts(16)
    _resolve(upstream)
    age_attempts(16)
    assert ask(TWO).json()["outcome"] == "locked_now"


def test_a_check_that_dies_on_the_way_burns_no_name(
    protected: Workspace, gate: GateClient, upstream: Upstream, ask: Callable[[bytes], Any]
) -> None:
    upstream.script("GET", _die)
    with pytest.raises(KilledError):
        ask(ONE)
    assert state_of(protected) == ("claimed", digest_of(ONE))
    age_attempts(2)
    assert gate.push("v1", TWO).status_code == 201
    assert state_of(protected) == ("locked", digest_of(TWO))


def test_a_check_whose_claim_was_given_up_is_undecided(
    protected: Workspace, upstream: Upstream, ask: Callable[[bytes], Any]
) -> None:
    def give_up(carry: Carry) -> RegistryAnswer:
        age_attempts(2)
        assert _resolve(upstream) == 1
        return carry()

    upstream.script("GET", *8 * [give_up])
    response = ask(ONE)
    assert (response.status_code, response.json()["code"]) == (503, "undecided")
    assert lock_of(protected, "v1") is None


# A push that stood still while it looked.


def test_a_look_of_long_ago_is_not_adopted_into_somebody_elses_claim(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    upstream.store(ONE, "v1")
    protect(acme, Protection.ALL)

    def stand_still(carry: Carry) -> RegistryAnswer:
        seen = carry()
        Attempt.objects.update(expires_at=F("opened_at"))
        assert _resolve(upstream) == 1
        protect(acme, Protection.NONE)
        assert gate.push("v1", THREE).status_code == 201
        protect(acme, Protection.ALL)
        upstream.script("GET", _die)
        with pytest.raises(KilledError):
            gate.push("v1", TWO)
        assert state_of(acme) == ("claimed", digest_of(TWO))
        return seen

    upstream.script("GET", stand_still)
    assert gate.push("v1", TWO).status_code in (403, 503)
    age_attempts(2)
    _resolve(upstream)
    assert gate.push("v1", TWO).status_code == 403
    assert state_of(acme) == ("locked", digest_of(THREE))
    assert upstream.tags == {"v1": digest_of(THREE)}

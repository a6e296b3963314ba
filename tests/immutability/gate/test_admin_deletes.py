"""Deletes by an admin through the gate: what is locked goes, and its name stays reserved."""

from collections.abc import Callable
from typing import Any

import pytest
from immutability.actions.resolve import resolve_attempts

from immutability.actions import delete_manifest
from immutability.models import Attempt
from immutability.protection import Policy, PolicyRule, Protection
from tests.conftest import SEMVER
from tests.immutability.actions.asking import (
    break_the_log,
    lock_of,
    standing_lock,
    tag_event_kinds,
)
from tests.immutability.gate.left_behind import (
    UNKNOWN_ENDS,
    age_attempts,
    open_attempts,
    state_of,
)
from tests.immutability.gate.upstream import (
    INDEX_TYPE,
    TIMEOUT,
    GateClient,
    Upstream,
    answer,
    digest_of,
    error_of,
    image,
    index,
    is_undecided,
    lands_late,
    message_of,
)
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

Protect = Callable[..., Policy]
ONE, TWO = image("one"), image("two")
TARGETS = ["v1", digest_of(ONE)]
RESERVED = ("reserved", digest_of(ONE))
# A delete is answered without a digest. By 401 a registry refuses Taglock's own token.
ENDS = [end for end in UNKNOWN_ENDS if "201" not in str(end.id)] + [
    pytest.param(answer(401), id="401")
]
LOCKED = ("locked", digest_of(ONE))


def resolve(upstream: Any) -> int:
    age_attempts(2)
    return resolve_attempts(upstream, Attempt.objects.all())


@pytest.mark.parametrize("target", TARGETS)
def test_a_locked_tag_goes_and_its_name_stays_reserved(
    protected: Workspace,
    gate: GateClient,
    admin_gate: GateClient,
    upstream: Upstream,
    target: str,
) -> None:
    gate.push("v1", ONE)
    assert error_of(gate.delete(target)) == (403, "DENIED")
    assert admin_gate.delete(target).status_code == 202
    assert upstream.tags == {}
    assert state_of(protected) == RESERVED
    assert standing_lock(protected, "v1").deleted_by == "alice"
    assert open_attempts() == 0
    assert tag_event_kinds(protected) == ["tag.locked", "delete.refused", "tag.deleted"]
    event = LockEvent.objects.get(kind="tag.deleted")
    assert (event.actor, event.actor_kind) == ("alice", "person")
    assert event.reason == "deleted through the registry"


@pytest.mark.parametrize("target", TARGETS)
def test_the_deleted_image_alone_comes_back(
    protected: Workspace, gate: GateClient, admin_gate: GateClient, target: str
) -> None:
    gate.push("v1", ONE)
    admin_gate.delete(target)
    refused = admin_gate.push("v1", TWO)
    assert error_of(refused) == (403, "DENIED")
    assert "deleted by an admin (alice)" in message_of(refused)
    assert gate.push("v1", ONE).status_code == 201
    assert state_of(protected) == LOCKED


def test_every_tag_of_a_digest_is_reserved(
    protected: Workspace, gate: GateClient, admin_gate: GateClient, upstream: Upstream
) -> None:
    for tag in ("v1", "v2", "v3"):
        gate.push(tag, ONE)
    gate.push("other", TWO)
    assert admin_gate.delete(digest_of(ONE)).status_code == 202
    assert [state_of(protected, tag) for tag in ("v1", "v2", "v3")] == 3 * [RESERVED]
    assert state_of(protected, "other") == ("locked", digest_of(TWO))
    assert LockEvent.objects.filter(kind="tag.deleted").count() == 3


def test_a_tag_that_nobody_has_looked_at_is_reserved_too(
    acme: Workspace, protect: Protect, admin_gate: GateClient, upstream: Upstream
) -> None:
    upstream.store(ONE, "v1", "v2")
    protect(acme, Protection.ALL)
    assert admin_gate.delete(digest_of(ONE)).status_code == 202
    assert [state_of(acme, tag) for tag in ("v1", "v2")] == 2 * [RESERVED]


def test_tags_that_are_covered_are_reserved_and_suspended_locks_end(
    acme: Workspace, protect: Protect, gate: GateClient, admin_gate: GateClient
) -> None:
    protect(acme, Protection.ALL)
    gate.push("v1.0.0", ONE)
    gate.push("nightly", ONE)
    protect(acme, Protection.SOME, SEMVER)
    assert admin_gate.delete(digest_of(ONE)).status_code == 202
    assert state_of(acme, "v1.0.0") == RESERVED
    assert lock_of(acme, "nightly") is None
    assert tag_event_kinds(acme)[-2:] in (
        ["lock.ended", "tag.deleted"],
        ["tag.deleted", "lock.ended"],
    )


def test_a_released_tag_is_reserved(
    protected: Workspace, gate: GateClient, admin_gate: GateClient
) -> None:
    gate.push("v1", ONE)
    row = standing_lock(protected, "v1")
    row.state = "released"
    row.save()
    assert admin_gate.delete("v1").status_code == 202
    assert state_of(protected) == RESERVED


@pytest.mark.parametrize("child", [ONE, TWO])
def test_what_a_locked_index_lists_is_not_deleted_by_admins_either(
    protected: Workspace,
    gate: GateClient,
    admin_gate: GateClient,
    upstream: Upstream,
    child: bytes,
) -> None:
    for each in (ONE, TWO):
        gate.push(digest_of(each), each)
    gate.push("v1", index(ONE, TWO), media_type=INDEX_TYPE)
    gate.push("amd64", child)
    refused = admin_gate.delete(digest_of(child))
    assert error_of(refused) == (403, "DENIED")
    assert "its index" in message_of(refused)
    assert standing_lock(protected, "amd64").state == "locked"
    assert upstream.sent("DELETE") == []


def test_the_index_goes_first_and_then_what_it_lists(
    protected: Workspace, gate: GateClient, admin_gate: GateClient
) -> None:
    both = index(ONE, TWO)
    for each in (ONE, TWO):
        gate.push(digest_of(each), each)
    gate.push("v1", both, media_type=INDEX_TYPE)
    assert admin_gate.delete(digest_of(both)).status_code == 202
    assert admin_gate.delete(digest_of(ONE)).status_code == 202


# A registry that deletes no single tags.


def test_a_tag_alone_on_its_image_goes_with_the_image(
    protected: Workspace, gate: GateClient, admin_gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    upstream.script("DELETE", answer(405, "UNSUPPORTED"))
    assert admin_gate.delete("v1").status_code == 202
    assert upstream.sent("DELETE") == ["v1", digest_of(ONE)]
    assert state_of(protected) == RESERVED


def test_a_tag_whose_image_another_one_needs_stays_and_the_answer_says_why(
    protected: Workspace, gate: GateClient, admin_gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    gate.push("v2", ONE)
    upstream.script("DELETE", answer(405, "UNSUPPORTED"))
    refused = admin_gate.delete("v1")
    assert error_of(refused) == (403, "DENIED")
    assert 'tag "v1" of acme/api was not deleted' in message_of(refused)
    assert "v2 needs this one too" in message_of(refused)
    assert state_of(protected) == LOCKED
    assert open_attempts() == 0


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("status", [403, 409])
def test_what_the_registry_refuses_leaves_the_lock_as_it_was(
    protected: Workspace,
    gate: GateClient,
    admin_gate: GateClient,
    upstream: Upstream,
    target: str,
    status: int,
) -> None:
    gate.push("v1", ONE)
    upstream.script("DELETE", answer(status, "DENIED"))
    assert admin_gate.delete(target).status_code in (403, status)
    assert state_of(protected) == LOCKED
    assert standing_lock(protected, "v1").deleted_by == ""
    assert open_attempts() == 0


# The end is not known.


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("target", TARGETS)
def test_an_unknown_end_holds_the_name_until_the_delete_is_repeated(
    protected: Workspace,
    gate: GateClient,
    admin_gate: GateClient,
    upstream: Upstream,
    target: str,
    end: Any,
) -> None:
    gate.push("v1", ONE)
    upstream.script("DELETE", end)
    assert is_undecided(admin_gate.delete(target))
    assert standing_lock(protected, "v1").state == "deleting"
    upstream.script("DELETE", TIMEOUT)
    assert is_undecided(gate.push("v1", TWO))
    assert resolve(upstream) == 1
    assert state_of(protected) == RESERVED
    assert upstream.tags == {}
    age_attempts(16)
    assert error_of(gate.push("v1", TWO)) == (403, "DENIED")


def test_a_delete_by_digest_is_not_repeated_where_the_settings_have_moved(
    protected: Workspace,
    protect: Protect,
    gate: GateClient,
    admin_gate: GateClient,
    upstream: Upstream,
) -> None:
    """Another tag of the image may be covered by now, about which nobody has decided."""
    gate.push("v1", ONE)
    upstream.script("DELETE", TIMEOUT)
    admin_gate.delete(digest_of(ONE))
    protect(protected, Protection.SOME, PolicyRule("Versions", "^v"))
    assert resolve(upstream) == 0
    age_attempts(16)
    assert resolve(upstream) == 1
    assert upstream.sent("DELETE") == [digest_of(ONE)]
    assert state_of(protected) == LOCKED


def test_a_delete_by_digest_that_landed_before_the_settings_moved_reserves_the_name(
    protected: Workspace,
    protect: Protect,
    gate: GateClient,
    admin_gate: GateClient,
    upstream: Upstream,
) -> None:
    gate.push("v1", ONE)
    upstream.script("DELETE", lands_late)
    admin_gate.delete(digest_of(ONE))
    protect(protected, Protection.SOME, PolicyRule("Versions", "^v"))
    age_attempts(16)
    assert resolve(upstream) == 1
    assert state_of(protected) == RESERVED


# Others meanwhile.


def test_a_tag_that_is_locked_while_the_delete_is_announced_is_seen(
    protected: Workspace,
    gate: GateClient,
    admin_gate: GateClient,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A lock at the digest that was not put aside must not stand while its tag is deleted."""
    gate.push("v1", ONE)
    late: list[int] = []
    find = delete_manifest._find_refusal

    def look_then_push(*args: Any) -> Any:
        found = find(*args)
        if not late:
            late.append(gate.push("v2", ONE).status_code)
        return found

    monkeypatch.setattr(delete_manifest, "_find_refusal", look_then_push)
    assert admin_gate.delete(digest_of(ONE)).status_code == 202
    assert late == [201]
    assert upstream.tags == {}
    assert [state_of(protected, tag) for tag in ("v1", "v2")] == 2 * [RESERVED]


def test_a_lock_that_appears_after_the_announcement_starts_the_delete_anew(
    protected: Workspace,
    gate: GateClient,
    admin_gate: GateClient,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate.push("v1", ONE)
    announce = delete_manifest._announce
    appeared: list[bool] = []

    def lock_afterwards(*args: Any) -> Attempt:
        attempt = announce(*args)
        if not appeared:
            row = standing_lock(protected, "v1")
            row.pk, row.tag, row.state, row.replaced_state = None, "v2", "locked", ""
            row.deleted_by, row.deleted_at = "", None
            row.save()
            upstream.tags["v2"] = digest_of(ONE)
            appeared.append(True)
        return attempt

    monkeypatch.setattr(delete_manifest, "_announce", lock_afterwards)
    assert admin_gate.delete(digest_of(ONE)).status_code == 202
    assert [state_of(protected, tag) for tag in ("v1", "v2")] == 2 * [RESERVED]


def test_a_delete_that_cannot_be_logged_is_not_forgotten(
    protected: Workspace,
    gate: GateClient,
    admin_gate: GateClient,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate.push("v1", ONE)
    with monkeypatch.context() as broken:
        break_the_log(broken)
        assert is_undecided(admin_gate.delete(digest_of(ONE)))
        assert standing_lock(protected, "v1").state == "deleting"
    assert resolve(upstream) == 1
    assert state_of(protected) == RESERVED
    assert tag_event_kinds(protected)[-1] == "tag.deleted"


def test_unprotected_tags_are_deleted_as_by_anybody(
    acme: Workspace, admin_gate: GateClient, upstream: Upstream
) -> None:
    admin_gate.push("v1", ONE)
    assert admin_gate.delete("v1").status_code == 202
    assert lock_of(acme, "v1") is None
    assert tag_event_kinds(acme) == []

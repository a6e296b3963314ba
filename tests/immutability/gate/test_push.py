"""Pushes through the gate: claimed, looked up, sent and settled."""

from collections.abc import Callable

import pytest

from containers.registry.client import RegistryAnswer
from immutability.models import Attempt, LockedTag
from immutability.protection import Policy, Protection
from tests.conftest import SEMVER
from tests.immutability.actions.asking import (
    tag_event_kinds,
    tag_events,
)
from tests.immutability.gate.left_behind import open_attempts, state_of
from tests.immutability.gate.upstream import (
    INDEX_TYPE,
    Carry,
    GateClient,
    Upstream,
    answer,
    digest_of,
    error_of,
    image,
    index,
    message_of,
)
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

Protect = Callable[..., Policy]

ONE, TWO = image("one"), image("two")


# First pushes.


def test_the_first_push_locks_and_is_sent_once_by_tag(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    response = gate.push("v1", ONE)
    assert response.status_code == 201
    assert upstream.sent() == ["v1"]
    assert state_of(protected) == ("locked", digest_of(ONE))
    assert tag_event_kinds(protected) == ["tag.locked"]
    assert open_attempts() == 0


def test_it_is_claimed_and_announced_before_it_is_sent(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    def look(carry: Carry) -> RegistryAnswer:
        attempt = Attempt.objects.get()
        assert (attempt.outcome, attempt.sent_at is not None) == ("open", True)
        assert bytes(attempt.manifest) == ONE
        assert state_of(protected) == ("claimed", digest_of(ONE))
        return carry()

    upstream.script("PUT", look)
    assert gate.push("v1", ONE).status_code == 201


def test_the_same_image_again_goes_on_by_digest_and_never_by_tag(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    again = gate.push("v1", ONE)
    assert again.status_code == 201
    assert upstream.sent() == ["v1", digest_of(ONE)]
    assert tag_event_kinds(protected) == ["tag.locked", "push.identical"]


def test_the_same_image_again_heals_a_manifest_that_was_lost(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    upstream.manifests.clear()
    assert gate.push("v1", ONE).status_code == 201
    assert digest_of(ONE) in upstream.manifests


def test_the_same_image_again_can_be_refused_by_a_switch(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    protect(acme, Protection.ALL, refuse_identical_pushes=True)
    assert gate.push("v1", ONE).status_code == 201
    again = gate.push("v1", ONE)
    assert error_of(again) == (403, "DENIED")
    assert "the same image" in message_of(again)
    assert upstream.sent() == ["v1"]


def test_another_image_is_refused_in_one_line_and_nothing_is_sent(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    before = list(upstream.calls)
    refused = gate.push("v1", TWO)
    assert error_of(refused) == (403, "DENIED")
    message = message_of(refused)
    assert "cannot be overwritten because the tag is immutable" in message
    assert "\n" not in message
    assert message.endswith(f"/acme/lock-log/{tag_events(protected)[-1].ref}")
    assert upstream.calls == before
    assert upstream.tags == {"v1": digest_of(ONE)}
    assert tag_event_kinds(protected) == ["tag.locked", "push.refused"]


def test_an_unprotected_tag_is_overwritten(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    assert gate.push("feature-x", ONE).status_code == 201
    assert gate.push("feature-x", TWO).status_code == 201
    assert upstream.sent() == ["feature-x", "feature-x"]
    assert upstream.tags == {"feature-x": digest_of(TWO)}
    assert not LockedTag.objects.exists()
    assert open_attempts() == 0


def test_a_workspace_without_settings_protects_nothing(
    acme: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    assert gate.push("v1.0.0", ONE).status_code == 201
    assert gate.push("v1.0.0", TWO).status_code == 201
    assert upstream.tags == {"v1.0.0": digest_of(TWO)}


def test_latest_is_a_tag_like_any_other(protected: Workspace, gate: GateClient) -> None:
    assert gate.push("latest", ONE).status_code == 201
    assert error_of(gate.push("latest", TWO)) == (403, "DENIED")


def test_signature_tags_stay_mutable_where_all_tags_are_protected(
    protected: Workspace, gate: GateClient
) -> None:
    tag = f"sha256-{64 * 'a'}.sig"
    assert [gate.push(tag, each).status_code for each in (ONE, TWO)] == [201, 201]


def test_the_same_tag_of_another_repository_is_another_tag(
    protected: Workspace, gate: GateClient
) -> None:
    gate.push("v1", ONE)
    assert gate.push("v1", TWO, repository="acme/web").status_code == 201


def test_a_push_by_digest_moves_no_tag_and_locks_nothing(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    assert gate.push(digest_of(ONE), ONE).status_code == 201
    assert upstream.sent() == [digest_of(ONE)]
    assert not LockedTag.objects.exists()


# What was there before the protection.


@pytest.mark.parametrize("body", [ONE, TWO], ids=["same image", "other image"])
def test_an_image_from_before_the_protection_is_adopted(
    protected: Workspace, gate: GateClient, upstream: Upstream, body: bytes
) -> None:
    upstream.store(ONE, "v1")
    response = gate.push("v1", body)
    assert state_of(protected) == ("locked", digest_of(ONE))
    assert upstream.tags == {"v1": digest_of(ONE)}
    assert not upstream.sent_by_tag
    assert open_attempts() == 0
    if body == ONE:
        assert response.status_code == 201
        assert tag_event_kinds(protected) == ["tag.adopted", "push.identical"]
    else:
        assert error_of(response) == (403, "DENIED")
        assert tag_event_kinds(protected) == ["tag.adopted", "push.refused"]


def test_an_index_from_before_the_protection_is_adopted_with_what_it_lists(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    child = upstream.store(ONE)
    upstream.store(index(ONE), "v1", media_type=INDEX_TYPE)
    assert error_of(gate.push("v1", TWO)) == (403, "DENIED")
    assert error_of(gate.delete(child)) == (403, "DENIED")


def test_a_tag_that_was_pushed_while_it_was_unprotected_is_adopted(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    protect(acme, Protection.ALL)
    assert error_of(gate.push("v1", TWO)) == (403, "DENIED")
    assert upstream.tags == {"v1": digest_of(ONE)}


# The registry refuses.


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 415, 422])
def test_a_manifest_that_the_registry_refuses_leaves_the_name_free(
    protected: Workspace, gate: GateClient, upstream: Upstream, status: int
) -> None:
    upstream.script("PUT", answer(status, "MANIFEST_BLOB_UNKNOWN"))
    refused = gate.push("v1", ONE)
    assert error_of(refused) == (status, "MANIFEST_BLOB_UNKNOWN")
    assert state_of(protected) is None
    assert open_attempts() == 0
    assert tag_event_kinds(protected) == []
    assert gate.push("v1", TWO).status_code == 201
    assert state_of(protected) == ("locked", digest_of(TWO))


def test_the_bytes_of_a_refused_push_are_not_kept(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    upstream.script("PUT", answer(400, "MANIFEST_INVALID"))
    gate.push("v1", ONE)
    assert bytes(Attempt.objects.get().manifest) == b""

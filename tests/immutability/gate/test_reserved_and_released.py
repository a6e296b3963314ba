"""Pushes of names that an admin has deleted or released."""

import pytest
from immutability.actions.manage import NameAfter, delete_locked_tag, release_locked_tag

from containers.registry.client import RegistryAnswer
from tests.immutability.actions.asking import (
    standing_lock,
)
from tests.immutability.gate.left_behind import state_of
from tests.immutability.gate.upstream import (
    TIMEOUT,
    Carry,
    GateClient,
    Upstream,
    answer,
    digest_of,
    error_of,
    image,
    is_undecided,
    message_of,
)
from workspaces.access import SYSTEM
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

ONE, TWO, THREE = image("one"), image("two"), image("three")


def _delete_on_the_page(workspace: Workspace, upstream: Upstream) -> None:
    delete_locked_tag(
        workspace, standing_lock(workspace, "v1").id, NameAfter.RESERVE, "", actor=SYSTEM
    )
    del upstream.tags["v1"]


def test_a_reserved_name_takes_the_same_image_back(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    _delete_on_the_page(protected, upstream)
    assert gate.push("v1", ONE).status_code == 201
    assert upstream.tags == {"v1": digest_of(ONE)}
    assert state_of(protected) == ("locked", digest_of(ONE))


def test_a_reserved_name_refuses_another_image(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    _delete_on_the_page(protected, upstream)
    refused = gate.push("v1", TWO)
    assert error_of(refused) == (403, "DENIED")
    assert "its name is reserved" in message_of(refused)
    assert upstream.tags == {}


def test_a_reserved_name_stays_reserved_where_the_registry_refuses(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    _delete_on_the_page(protected, upstream)
    upstream.script("PUT", answer(400, "MANIFEST_BLOB_UNKNOWN"))
    assert gate.push("v1", ONE).status_code == 400
    assert state_of(protected) == ("reserved", digest_of(ONE))
    assert error_of(gate.push("v1", TWO)) == (403, "DENIED")


def test_a_released_tag_is_pushed_once_more_and_locks_anew(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    release_locked_tag(protected, standing_lock(protected, "v1").id, "", actor=SYSTEM)
    assert gate.push("v1", TWO).status_code == 201
    assert state_of(protected) == ("locked", digest_of(TWO))
    assert upstream.tags == {"v1": digest_of(TWO)}
    assert error_of(gate.push("v1", ONE)) == (403, "DENIED")


def test_a_released_tag_stays_released_where_the_registry_refuses(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    release_locked_tag(protected, standing_lock(protected, "v1").id, "", actor=SYSTEM)
    upstream.script("PUT", answer(400, "MANIFEST_BLOB_UNKNOWN"))
    assert gate.push("v1", TWO).status_code == 400
    assert state_of(protected) == ("released", digest_of(ONE))
    assert gate.push("v1", THREE).status_code == 201


def test_a_released_tag_takes_the_image_whose_first_try_had_an_unknown_end(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    """The registry still has the old image then: that is no reason to adopt it again."""
    gate.push("v1", ONE)
    release_locked_tag(protected, standing_lock(protected, "v1").id, "", actor=SYSTEM)
    upstream.script("PUT", TIMEOUT)
    assert is_undecided(gate.push("v1", TWO))
    assert gate.push("v1", TWO).status_code == 201
    assert state_of(protected) == ("locked", digest_of(TWO))
    assert upstream.tags == {"v1": digest_of(TWO)}


def test_the_lock_names_what_the_registry_has_when_a_released_tag_is_pushed_twice_at_once(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    release_locked_tag(protected, standing_lock(protected, "v1").id, "", actor=SYSTEM)

    def meanwhile(carry: Carry) -> RegistryAnswer:
        gate.push("v1", TWO)
        return carry()

    upstream.script("PUT", meanwhile)
    gate.push("v1", TWO)
    assert state_of(protected) == ("locked", upstream.tags["v1"])

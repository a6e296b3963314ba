"""Pushes while the registry does not say what it has: nothing is claimed."""

from collections.abc import Callable
from typing import Any

import pytest

from immutability.protection import Policy, Protection
from tests.immutability.actions.asking import (
    lock_of,
)
from tests.immutability.gate.left_behind import open_attempts, state_of
from tests.immutability.gate.upstream import (
    ABSENT,
    TIMEOUT,
    GateClient,
    Upstream,
    answer,
    digest_of,
    image,
    is_undecided,
    message_of,
)
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

Protect = Callable[..., Policy]

ONE, TWO = image("one"), image("two")


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(TIMEOUT, id="outage"),
        pytest.param(answer(404), id="404 without a code"),
        pytest.param(answer(404, body=b"<html>no</html>"), id="404 of somebody else"),
        pytest.param(answer(404, "BLOB_UNKNOWN"), id="404 with another code"),
        pytest.param(answer(500), id="500"),
        pytest.param(answer(401, "UNAUTHORIZED"), id="401"),
        pytest.param(answer(200), id="200 without a digest"),
        pytest.param(answer(307), id="redirect"),
    ],
)
def test_nothing_is_claimed_where_the_registry_does_not_say_what_it_has(
    protected: Workspace, gate: GateClient, upstream: Upstream, said: Any
) -> None:
    upstream.script("GET", said)
    assert is_undecided(gate.push("v1", ONE))
    assert upstream.sent() == []
    assert state_of(protected) is None
    assert open_attempts() == 0
    assert gate.push("v1", TWO).status_code == 201


def test_an_absent_tag_that_was_seen_there_cannot_be_decided(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    protect(acme, Protection.ALL)
    upstream.script("GET", ABSENT)
    response = gate.push("v1", TWO)
    assert is_undecided(response)
    assert "was seen there" in message_of(response)
    assert lock_of(acme, "v1") is None
    assert [call.body for call in upstream.sent_by_tag] == [ONE]


def test_a_repository_that_the_registry_does_not_know_has_no_tags(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    upstream.script("GET", answer(404, "NAME_UNKNOWN"))
    assert gate.push("v1", ONE).status_code == 201


def test_an_identical_push_during_an_outage_is_tried_again_later(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    upstream.script("PUT", TIMEOUT)
    assert is_undecided(gate.push("v1", ONE))
    assert state_of(protected) == ("locked", digest_of(ONE))

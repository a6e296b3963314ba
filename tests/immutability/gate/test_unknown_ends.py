"""Pushes whose end nobody knows: the name is held until the same write was repeated."""

from collections.abc import Callable
from typing import Any

import pytest

from containers.registry.client import RegistryAnswer
from immutability.actions.claims import abandon_claim
from immutability.models import Attempt
from immutability.protection import Policy, Protection
from tests.immutability.actions.asking import (
    lock_of,
    tag_event_kinds,
)
from tests.immutability.gate.left_behind import (
    UNKNOWN_ENDS,
    age_attempts,
    open_attempts,
    state_of,
)
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
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

Protect = Callable[..., Policy]

ONE, TWO = image("one"), image("two")


@pytest.mark.parametrize("end", UNKNOWN_ENDS)
def test_an_unknown_end_leaves_the_attempt_open_and_the_name_held(
    protected: Workspace, gate: GateClient, upstream: Upstream, end: Any
) -> None:
    upstream.script("PUT", end)
    assert is_undecided(gate.push("v1", ONE))
    attempt = Attempt.objects.get()
    assert (attempt.outcome, attempt.sent_at is not None) == ("open", True)
    assert state_of(protected) == ("claimed", digest_of(ONE))
    assert upstream.sent() == ["v1"]
    assert tag_event_kinds(protected) == []


@pytest.mark.parametrize("end", UNKNOWN_ENDS)
def test_the_same_image_after_an_unknown_end_succeeds(
    protected: Workspace, gate: GateClient, upstream: Upstream, end: Any
) -> None:
    upstream.script("PUT", end)
    gate.push("v1", ONE)
    assert gate.push("v1", ONE).status_code == 201
    assert state_of(protected) == ("locked", digest_of(ONE))
    assert upstream.tags == {"v1": digest_of(ONE)}


@pytest.mark.parametrize("end", UNKNOWN_ENDS)
def test_another_image_after_an_unknown_end_is_refused_once_the_first_is_resolved(
    protected: Workspace, gate: GateClient, upstream: Upstream, end: Any
) -> None:
    upstream.script("PUT", end)
    gate.push("v1", ONE)
    assert error_of(gate.push("v1", TWO)) == (403, "DENIED")
    assert state_of(protected) == ("locked", digest_of(ONE))
    assert upstream.tags == {"v1": digest_of(ONE)}
    assert {call.body for call in upstream.sent_by_tag} == {ONE}
    assert open_attempts() == 0


def test_another_image_gets_the_name_once_the_first_was_refused_and_can_land_no_more(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    """What the repetition was told says nothing of the write before it."""
    upstream.script("PUT", TIMEOUT, answer(400, "MANIFEST_INVALID"))
    gate.push("v1", ONE)
    response = gate.push("v1", TWO)
    assert is_undecided(response)
    assert "may still land, for 15 minutes at most" in message_of(response)
    assert lock_of(protected, "v1") is None
    assert open_attempts() == 0
    age_attempts(16)
    assert gate.push("v1", TWO).status_code == 201
    assert [call.body for call in upstream.sent_by_tag] == [ONE, ONE, TWO]
    assert state_of(protected) == ("locked", digest_of(TWO))


def test_the_same_image_need_not_wait_for_a_write_of_it_that_may_still_land(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    upstream.script("PUT", TIMEOUT, answer(400, "MANIFEST_INVALID"))
    gate.push("v1", ONE)
    assert is_undecided(gate.push("v1", TWO))
    assert gate.push("v1", ONE).status_code == 201
    assert state_of(protected) == ("locked", digest_of(ONE))


def test_while_the_registry_stays_silent_nobody_gets_the_name(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    upstream.script("PUT", TIMEOUT, TIMEOUT, TIMEOUT)
    gate.push("v1", ONE)
    for _ in range(2):
        response = gate.push("v1", TWO)
        assert error_of(response) == (503, "UNAVAILABLE")
        assert response["Retry-After"].isdigit()
    assert state_of(protected) == ("claimed", digest_of(ONE))
    assert {call.body for call in upstream.sent_by_tag} == {ONE}


def test_a_refusal_frees_no_name_that_another_attempt_may_still_take(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    upstream.script("PUT", TIMEOUT, answer(400, "MANIFEST_INVALID"), TIMEOUT)
    gate.push("v1", ONE)
    assert error_of(gate.push("v1", ONE)) == (400, "MANIFEST_INVALID")
    assert state_of(protected) == ("claimed", digest_of(ONE))
    assert error_of(gate.push("v1", TWO)) == (503, "UNAVAILABLE")


def test_nothing_is_taken_over_from_a_sender_who_may_still_be_at_work(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    answers = []

    def meanwhile(carry: Carry) -> RegistryAnswer:
        answers.append(gate.push("v1", TWO))
        return carry()

    upstream.script("PUT", meanwhile)
    assert gate.push("v1", ONE).status_code == 201
    assert error_of(answers[0]) == (503, "UNAVAILABLE")
    assert "is being pushed by somebody else" in message_of(answers[0])
    assert [call.body for call in upstream.sent_by_tag] == [ONE]


def test_a_push_of_the_same_image_joins_the_claim(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    answers = []

    def meanwhile(carry: Carry) -> RegistryAnswer:
        answers.append(gate.push("v1", ONE))
        return carry()

    upstream.script("PUT", meanwhile)
    assert gate.push("v1", ONE).status_code == 201
    assert answers[0].status_code == 201
    assert tag_event_kinds(protected) == ["tag.locked"]
    assert open_attempts() == 0


def test_an_unprotected_push_with_an_unknown_end_holds_up_a_claim_but_is_not_repeated(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    upstream.script("PUT", TIMEOUT)
    assert is_undecided(gate.push("v1", ONE))
    protect(acme, Protection.ALL)
    assert is_undecided(gate.push("v1", TWO))
    assert is_undecided(gate.push("v1", ONE))
    assert lock_of(acme, "v1") is None
    assert [call.body for call in upstream.sent_by_tag] == [ONE]


def test_an_unprotected_push_with_an_unknown_end_holds_up_no_unprotected_push(
    acme: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    upstream.script("PUT", TIMEOUT)
    assert is_undecided(gate.push("v1", ONE))
    assert gate.push("v1", TWO).status_code == 201


def test_an_unprotected_push_waits_for_a_claim_whose_end_is_unknown(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    upstream.script("PUT", TIMEOUT, TIMEOUT)
    gate.push("v1", ONE)
    protect(protected, Protection.NONE)
    assert error_of(gate.push("v1", TWO)) == (503, "UNAVAILABLE")
    assert {call.body for call in upstream.sent_by_tag} == {ONE}


def test_a_push_that_another_one_ended_meanwhile_is_answered_as_undecided(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    """A sender slower than its lease finds its attempt ended by whoever resolved it."""

    def meanwhile(carry: Carry) -> RegistryAnswer:
        abandon_claim(Attempt.objects.get())
        return carry()

    upstream.script("PUT", meanwhile)
    assert is_undecided(gate.push("v1", ONE))

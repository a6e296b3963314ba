"""Attempts whose end is unknown are resolved by repeating the same write."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import F

from containers.registry.client import RegistryAnswer
from immutability.actions import push_manifest
from immutability.actions.resolve import resolve_attempts
from immutability.models import Attempt, LockedTag
from immutability.protection import Policy, Protection
from tests.immutability.actions.asking import (
    break_the_log,
    lock_of,
    standing_lock,
    tag_event_kinds,
)
from tests.immutability.gate.left_behind import UNKNOWN_ENDS, age_attempts, open_attempts
from tests.immutability.gate.upstream import (
    TIMEOUT,
    Carry,
    GateClient,
    Upstream,
    answer,
    digest_of,
    image,
    lands_late,
)
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

Protect = Callable[..., Policy]

ONE, TWO = image("one"), image("two")


def _resolve(upstream: Any) -> int:
    return resolve_attempts(upstream, Attempt.objects.all())


def test_a_covered_push_is_repeated(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    upstream.script("PUT", TIMEOUT)
    gate.push("v1", ONE)
    assert _resolve(upstream) == 1
    assert upstream.sent() == ["v1", "v1"]
    assert standing_lock(protected, "v1").state == "locked"
    assert tag_event_kinds(protected) == ["tag.locked"]
    assert _resolve(upstream) == 0


def test_a_delete_is_repeated(acme: Workspace, gate: GateClient, upstream: Upstream) -> None:
    gate.push("v1", ONE)
    upstream.script("DELETE", lands_late)
    gate.delete(digest_of(ONE))
    assert _resolve(upstream) == 1
    assert upstream.sent("DELETE") == 2 * [digest_of(ONE)]
    assert Attempt.objects.get(kind=Attempt.Kind.DELETE).outcome == "succeeded"


@pytest.mark.parametrize("end", UNKNOWN_ENDS)
def test_an_unknown_end_of_the_repetition_leaves_it_open_for_the_next(
    protected: Workspace, gate: GateClient, upstream: Upstream, end: Any
) -> None:
    upstream.script("PUT", TIMEOUT, end)
    gate.push("v1", ONE)
    assert _resolve(upstream) == 0
    assert standing_lock(protected, "v1").state == "claimed"
    assert _resolve(upstream) == 1


def test_one_success_wins_over_a_later_refusal(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    upstream.script("PUT", TIMEOUT)
    gate.push("v1", ONE)
    assert gate.push("v1", ONE).status_code == 201
    upstream.script("PUT", answer(400, "MANIFEST_INVALID"))
    assert _resolve(upstream) == 1
    assert standing_lock(protected, "v1").state == "locked"
    assert open_attempts() == 0


def test_what_was_never_sent_is_given_up(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # As if the process had ended between announcing and sending.
        patch.setattr(push_manifest, "abandon_claim", lambda attempt: None)
        upstream.script("GET", TIMEOUT)
        gate.push("v1", ONE)
    assert _resolve(upstream) == 0
    Attempt.objects.update(expires_at=F("opened_at"))
    assert _resolve(upstream) == 1
    assert upstream.sent() == []
    assert lock_of(protected, "v1") is None


def test_nothing_is_taken_from_a_sender_at_work(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    resolved = []

    def meanwhile(carry: Carry) -> RegistryAnswer:
        resolved.append(_resolve(upstream))
        return carry()

    upstream.script("PUT", meanwhile)
    assert gate.push("v1", ONE).status_code == 201
    assert resolved == [0]
    assert upstream.sent() == ["v1"]


def test_two_resolvers_at_once_repeat_an_attempt_once(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    resolved = []

    def meanwhile(carry: Carry) -> RegistryAnswer:
        resolved.append(_resolve(upstream))
        return carry()

    upstream.script("PUT", TIMEOUT, meanwhile)
    gate.push("v1", ONE)
    assert _resolve(upstream) == 1
    assert resolved == [0]
    assert upstream.sent() == ["v1", "v1"]


@pytest.mark.parametrize(("minutes", "has_lapsed"), [(14, False), (16, True)])
def test_an_unprotected_push_lapses_after_a_quarter_of_an_hour_and_is_never_repeated(
    acme: Workspace,
    protect: Protect,
    gate: GateClient,
    upstream: Upstream,
    *,
    minutes: int,
    has_lapsed: bool,
) -> None:
    upstream.script("PUT", TIMEOUT)
    gate.push("v1", ONE)
    protect(acme, Protection.ALL)
    age_attempts(minutes)
    assert _resolve(upstream) == int(has_lapsed)
    assert upstream.sent() == ["v1"]
    assert gate.push("v1", TWO).status_code == (201 if has_lapsed else 503)


def test_one_attempt_that_cannot_be_resolved_does_not_stop_the_others(
    protected: Workspace, gate: GateClient, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.script("PUT", TIMEOUT, TIMEOUT, TIMEOUT)
    gate.push("v1", ONE)
    gate.push("v2", ONE)
    assert _resolve(upstream) == 1
    assert standing_lock(protected, "v2").state == "locked"
    with monkeypatch.context() as broken:
        break_the_log(broken)
        with pytest.raises(Exception, match="disk full"):
            _resolve(upstream)
    Attempt.objects.update(expires_at=F("opened_at"))
    assert _resolve(upstream) == 1
    assert LockedTag.objects.filter(state="locked").count() == 2

"""Pushes while the settings change, and what a suspended lock lives through."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from containers.registry.client import RegistryAnswer
from immutability.actions import push_manifest
from immutability.models import Attempt
from immutability.patterns import PatternEvaluationError
from immutability.protection import Policy, Protection
from tests.conftest import SEMVER
from tests.immutability.actions.asking import (
    lock_of,
    tag_event_kinds,
)
from tests.immutability.gate.left_behind import open_attempts, state_of
from tests.immutability.gate.upstream import (
    Carry,
    GateClient,
    Upstream,
    answer,
    digest_of,
    error_of,
    image,
    is_undecided,
)
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

Protect = Callable[..., Policy]

ONE, TWO = image("one"), image("two")


def test_a_push_decided_under_older_settings_is_decided_anew(
    acme: Workspace,
    protect: Protect,
    gate: GateClient,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    upstream.store(ONE, "feature-x")
    announce = push_manifest._announce
    saved: list[Policy] = []

    def save_and_announce(*args: Any) -> Attempt:
        attempt = announce(*args)
        if not saved:
            saved.append(protect(acme, Protection.ALL))
        return attempt

    monkeypatch.setattr(push_manifest, "_announce", save_and_announce)
    assert error_of(gate.push("feature-x", TWO)) == (403, "DENIED")
    assert upstream.sent() == []
    assert state_of(acme, "feature-x") == ("locked", digest_of(ONE))


def test_the_first_settings_are_a_change_too(
    acme: Workspace,
    protect: Protect,
    gate: GateClient,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    announce = push_manifest._announce
    versions: list[int] = []

    def save_and_announce(*args: Any) -> Attempt:
        attempt = announce(*args)
        if not versions:
            protect(acme, Protection.ALL)
        versions.append(attempt.settings_version)
        return attempt

    monkeypatch.setattr(push_manifest, "_announce", save_and_announce)
    assert gate.push("v1", ONE).status_code == 201
    assert versions == [0, 1]
    assert upstream.sent() == ["v1"]
    assert state_of(acme) == ("locked", digest_of(ONE))


def test_settings_saved_while_the_registry_is_looked_at_are_heeded(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    def save(carry: Carry) -> RegistryAnswer:
        protect(protected, Protection.NONE)
        return carry()

    upstream.script("GET", save)
    assert gate.push("v1", ONE).status_code == 201
    assert upstream.sent() == ["v1"]
    assert lock_of(protected, "v1") is None


def test_settings_that_never_rest_end_in_a_try_again(
    acme: Workspace,
    protect: Protect,
    gate: GateClient,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    announce = push_manifest._announce
    switch = itertools.cycle([True, False])

    def save_and_announce(*args: Any) -> Attempt:
        attempt = announce(*args)
        protect(acme, Protection.NONE, refuse_identical_pushes=next(switch))
        return attempt

    monkeypatch.setattr(push_manifest, "_announce", save_and_announce)
    assert is_undecided(gate.push("v1", ONE))
    assert upstream.sent() == []
    assert open_attempts() == 0


def test_a_suspended_lock_ends_when_another_image_lands(
    protected: Workspace, protect: Protect, gate: GateClient
) -> None:
    gate.push("v1", ONE)
    protect(protected, Protection.NONE)
    assert gate.push("v1", TWO).status_code == 201
    assert lock_of(protected, "v1") is None
    assert tag_event_kinds(protected)[-1] == "lock.ended"


def test_a_suspended_lock_outlives_a_push_that_the_registry_refuses(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    protect(protected, Protection.NONE)
    upstream.script("PUT", answer(400, "MANIFEST_INVALID"))
    assert gate.push("v1", TWO).status_code == 400
    protect(protected, Protection.ALL)
    assert state_of(protected) == ("locked", digest_of(ONE))
    assert error_of(gate.push("v1", TWO)) == (403, "DENIED")


def test_a_suspended_lock_outlives_the_same_image(
    protected: Workspace, protect: Protect, gate: GateClient
) -> None:
    gate.push("v1", ONE)
    protect(protected, Protection.NONE)
    assert gate.push("v1", ONE).status_code == 201
    assert state_of(protected) == ("locked", digest_of(ONE))


def test_a_failure_to_evaluate_a_rule_refuses_the_push(
    acme: Workspace,
    protect: Protect,
    gate: GateClient,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    protect(acme, Protection.SOME, SEMVER)

    def fail(pattern: str) -> None:
        raise PatternEvaluationError("out of memory")

    monkeypatch.setattr("immutability.protection.compile_pattern", fail)
    assert is_undecided(gate.push("feature-x", ONE))
    assert upstream.calls == []

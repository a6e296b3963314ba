"""Deletes by digest, and locks that are put aside: each may take what the other one holds."""

from collections.abc import Callable
from typing import Any

import pytest
from immutability.actions.manage import (
    NameAfter,
    WrongStateError,
    delete_locked_tag,
    release_locked_tag,
)
from immutability.actions.read import UndecidedError
from immutability.actions.resolve import resolve_attempts

from containers.registry.client import RegistryAnswer
from immutability.actions import attempts, resolve
from immutability.models import Attempt, LockedTag
from immutability.protection import Policy, Protection
from tests.conftest import SEMVER
from tests.immutability.actions.asking import lock_of, standing_lock
from tests.immutability.actions.asking import push as check
from tests.immutability.gate.left_behind import age_attempts, open_attempts, state_of
from tests.immutability.gate.upstream import (
    INDEX_TYPE,
    TIMEOUT,
    Carry,
    GateClient,
    Upstream,
    answer,
    digest_of,
    image,
    index,
    is_undecided,
    lands_late,
)
from workspaces.access import SYSTEM
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

Protect = Callable[..., Policy]

ONE, TWO, THREE = image("one"), image("two"), image("three")
UNSUPPORTED = answer(405, "UNSUPPORTED")


def _resolve(upstream: Any) -> int:
    return resolve_attempts(upstream, Attempt.objects.all())


def _delete(workspace: Workspace, upstream: Any, tag: str = "v1") -> LockedTag | None:
    row = standing_lock(workspace, tag)
    return delete_locked_tag(
        workspace, row.id, NameAfter.RESERVE, "why", actor=SYSTEM, registry=upstream
    )


def _put_aside(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream, end: Any = TIMEOUT
) -> None:
    """Push TWO under v1 while it is not protected, with an end that nobody knows."""
    protect(protected, Protection.NONE)
    upstream.script("PUT", end)
    assert is_undecided(gate.push("v1", TWO))
    protect(protected, Protection.ALL)
    assert standing_lock(protected, "v1").replaced_state == "locked"


def _is_sound(workspace: Workspace, upstream: Upstream) -> bool:
    """Whether every lock is at rest, and is what the registry has."""
    rows = LockedTag.objects.filter(workspace=workspace)
    return open_attempts() == 0 and all(
        row.state == "locked" and upstream.tags.get(row.tag) == row.digest for row in rows
    )


def test_the_image_of_a_lock_that_was_put_aside_is_not_deleted(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    _put_aside(protected, protect, gate, upstream)
    assert is_undecided(gate.delete(digest_of(ONE)))
    age_attempts(16)
    _resolve(upstream)
    assert state_of(protected) == ("locked", digest_of(ONE))
    assert _is_sound(protected, upstream)


def test_an_index_of_a_lock_that_was_put_aside_is_not_hollowed(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("child", ONE)
    gate.push("v1", index(ONE), media_type=INDEX_TYPE)
    _put_aside(protected, protect, gate, upstream)
    upstream.script("DELETE", UNSUPPORTED)
    with pytest.raises(WrongStateError, match="needs this one too"):
        _delete(protected, upstream, "child")
    assert gate.delete(digest_of(ONE)).status_code in (403, 503)
    age_attempts(16)
    _resolve(upstream)
    assert gate.delete(digest_of(ONE)).status_code == 403
    assert digest_of(ONE) in upstream.manifests
    assert _is_sound(protected, upstream)


def test_a_refused_push_does_not_wait_for_a_delete_of_the_image_before(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    gate.push("v2", ONE)
    protect(protected, Protection.NONE)
    answers = []

    def delete(carry: Carry) -> RegistryAnswer:
        answers.append(gate.delete(digest_of(ONE)))
        return answer(400, "MANIFEST_INVALID")

    upstream.script("PUT", delete)
    assert gate.push("v1", TWO).status_code == 400
    assert is_undecided(answers[0])
    protect(protected, Protection.ALL)
    assert _is_sound(protected, upstream)


def test_dropping_one_tag_of_a_push_ends_what_it_may_have_moved_under_the_others(
    protected: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    for tag in ("v1", "v2"):
        gate.push(tag, ONE)
    protect(protected, Protection.NONE)
    upstream.script("PUT", lands_late, TIMEOUT)
    assert is_undecided(gate.push(digest_of(THREE), THREE, query="tag=v1&tag=v2"))
    assert is_undecided(gate.push("v2", TWO))
    protect(protected, Protection.ALL)
    age_attempts(16)
    row = standing_lock(protected, "v1")
    delete_locked_tag(protected, row.id, NameAfter.FREE, "why", actor=SYSTEM)
    assert lock_of(protected, "v2") is None
    _resolve(upstream)
    for tag in ("v1", "v2"):
        assert gate.push(tag, ONE).status_code in (403, 503)
    age_attempts(16)
    for tag in ("v1", "v2"):
        assert gate.push(tag, ONE).status_code == 403
        assert state_of(protected, tag) == ("locked", digest_of(THREE))
    assert _is_sound(protected, upstream)


def test_an_admins_delete_by_digest_is_not_sent_again_under_settings_that_cover_more(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    gate.push("v1.0.0", ONE)
    gate.push("multi", index(ONE), media_type=INDEX_TYPE)
    upstream.script("DELETE", UNSUPPORTED, TIMEOUT)
    with pytest.raises(UndecidedError):
        _delete(acme, upstream, "v1.0.0")
    protect(acme, Protection.ALL)
    assert _resolve(upstream) == 0
    assert digest_of(ONE) in upstream.manifests
    age_attempts(16)
    assert _resolve(upstream) == 1
    assert state_of(acme, "v1.0.0") == ("locked", digest_of(ONE))
    assert upstream.sent("DELETE") == ["v1.0.0", digest_of(ONE)]


def test_a_delete_that_took_an_unlocked_tag_makes_it_forgotten_though_its_manifest_is_back(
    acme: Workspace, protect: Protect, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    upstream.script("DELETE", lands_late)
    gate.delete(digest_of(ONE))
    protect(acme, Protection.ALL)
    gate.push(digest_of(ONE), ONE)
    age_attempts(16)
    assert _resolve(upstream) == 1
    assert gate.push("v1", TWO).status_code == 201


def test_a_delete_settles_nothing_of_a_tag_that_has_another_image_by_now(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    release_locked_tag(protected, standing_lock(protected, "v1").id, "why", actor=SYSTEM)
    assert check(protected, "v1", digest=digest_of(TWO), current=digest_of(ONE)).is_allowed
    upstream.store(TWO, "v1")
    upstream.script("DELETE", TIMEOUT)
    with pytest.raises(UndecidedError):
        _delete(protected, upstream)
    assert gate.delete(digest_of(ONE)).status_code == 202
    assert state_of(protected) == ("deleting", digest_of(TWO))
    upstream.script("DELETE", answer(403, "DENIED"))
    _resolve(upstream)
    age_attempts(16)
    upstream.script("DELETE", answer(403, "DENIED"))
    _resolve(upstream)
    assert state_of(protected) == ("locked", digest_of(TWO))
    assert _is_sound(protected, upstream)


# Repetitions.


def test_a_repetition_whose_attempt_was_ended_meanwhile_is_not_sent(
    protected: Workspace, gate: GateClient, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.script("PUT", TIMEOUT)
    gate.push("v1", ONE)
    age_attempts(16)
    renew = attempts.renew

    def drop_and_renew(attempt: Attempt, *version: int) -> None:
        row = standing_lock(protected, "v1")
        delete_locked_tag(protected, row.id, NameAfter.FREE, "why", actor=SYSTEM)
        renew(attempt, *version)

    monkeypatch.setattr(resolve, "renew", drop_and_renew)
    assert _resolve(upstream) == 0
    assert upstream.sent() == ["v1"]


def test_a_repetition_under_settings_that_were_saved_meanwhile_is_not_sent(
    protected: Workspace,
    protect: Protect,
    gate: GateClient,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate.push("v1", ONE)
    protect(protected, Protection.NONE)
    upstream.script("DELETE", TIMEOUT)
    gate.delete("v1")
    renew = attempts.renew

    def save_and_renew(attempt: Attempt, *version: int) -> None:
        protect(protected, Protection.ALL)
        renew(attempt, *version)

    monkeypatch.setattr(resolve, "renew", save_and_renew)
    assert _resolve(upstream) == 0
    assert upstream.sent("DELETE") == ["v1"]
    assert upstream.tags == {"v1": digest_of(ONE)}


def test_a_request_that_meets_many_open_attempts_does_not_try_them_all(
    protected: Workspace, gate: GateClient, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        upstream.script("PUT", TIMEOUT)
        gate.push(f"v{number}", ONE)
    seconds = iter([0.0, 1.0, 6.0])
    clock = type("Clock", (), {"monotonic": lambda: next(seconds)})
    monkeypatch.setattr(resolve, "time", clock)
    registry: object = upstream
    assert resolve_attempts(registry, Attempt.objects.all(), 5.0) == 1  # type: ignore[arg-type]
    assert open_attempts() == 2

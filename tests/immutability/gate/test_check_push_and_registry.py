"""check-push where a registry is connected: it is asked what it has."""

from collections.abc import Callable

import pytest

from containers.reference import Digest, Repository, Tag
from immutability.actions import check_push as module
from immutability.actions.check_push import PushCheck, ask_push, check_push
from immutability.actions.read import UndecidedError
from immutability.actions.resolve import resolve_attempts
from immutability.answers import PushAnswer
from immutability.models import Attempt, LockedTag
from immutability.protection import Outcome, Policy, Protection
from tests.immutability.gate.left_behind import age_attempts
from tests.immutability.gate.upstream import TIMEOUT, GateClient, Upstream, answer, digest_of, image
from workspaces.access import SYSTEM
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

ONE, TWO = image("one"), image("two")


def check_of(workspace: Workspace, body: bytes) -> PushCheck:
    return PushCheck(workspace, Repository("acme/api"), (Tag("v1"),), Digest(digest_of(body)))


def check(workspace: Workspace, body: bytes, upstream: Upstream) -> PushAnswer:
    registry: object = upstream
    return check_push(check_of(workspace, body), actor=SYSTEM, registry=registry)  # type: ignore[arg-type]


def test_a_tag_that_is_absent_there_is_locked(protected: Workspace, upstream: Upstream) -> None:
    assert check(protected, ONE, upstream).outcome is Outcome.LOCKED_NOW
    assert LockedTag.objects.get().state == "locked"
    assert not Attempt.objects.filter(outcome=Attempt.Outcome.OPEN).exists()


def test_a_tag_that_is_there_is_adopted(protected: Workspace, upstream: Upstream) -> None:
    upstream.store(TWO, "v1")
    assert check(protected, ONE, upstream).outcome is Outcome.LOCKED
    assert check(protected, TWO, upstream).outcome is Outcome.UNCHANGED
    assert LockedTag.objects.get().digest == digest_of(TWO)


@pytest.mark.parametrize("reply", [TIMEOUT, answer(500), answer(404)])
def test_a_registry_that_does_not_say_decides_nothing(
    protected: Workspace, upstream: Upstream, reply: object
) -> None:
    upstream.scripts["GET"] = [reply]  # type: ignore[list-item]
    with pytest.raises(UndecidedError):
        check(protected, ONE, upstream)
    assert not LockedTag.objects.exists()


def test_absent_is_no_answer_for_a_tag_that_was_seen_there(
    acme: Workspace, protect: Callable[..., Policy], gate: GateClient, upstream: Upstream
) -> None:
    """So says a registry that has lost its storage."""
    gate.push("v1", ONE)
    protect(acme, Protection.ALL)
    upstream.tags.clear()
    with pytest.raises(UndecidedError):
        check(acme, TWO, upstream)
    registry: object = upstream
    with pytest.raises(UndecidedError):
        ask_push(check_of(acme, TWO), registry)  # type: ignore[arg-type]
    assert not LockedTag.objects.exists()


def test_a_retry_after_a_crash_during_the_look_looks_again(
    protected: Workspace, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The retry joins the claim that was left, which nobody has looked for yet."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    upstream.store(TWO, "v1")
    with monkeypatch.context() as crash:
        crash.setattr(module, "adopt_present", die)
        crash.setattr(module, "abandon_claim", die)
        with pytest.raises(KeyboardInterrupt):
            check(protected, ONE, upstream)
    assert LockedTag.objects.get().state == "claimed"
    assert check(protected, ONE, upstream).outcome is Outcome.LOCKED
    assert LockedTag.objects.get().digest == digest_of(TWO)


def test_a_check_waits_for_a_push_through_the_gate(
    acme: Workspace, protect: Callable[..., Policy], gate: GateClient, upstream: Upstream
) -> None:
    upstream.script("PUT", TIMEOUT)
    gate.push("v1", ONE)
    protect(acme, Protection.ALL)
    with pytest.raises(UndecidedError, match="under way"):
        check(acme, TWO, upstream)
    assert not LockedTag.objects.exists()


def test_an_unprotected_push_that_did_land_ends_the_lock_that_says_otherwise(
    protected: Workspace,
    protect: Callable[..., Policy],
    gate: GateClient,
    upstream: Upstream,
) -> None:
    """Protection came back before anybody knew that another image had landed."""
    gate.push("v1", ONE)
    protect(protected, Protection.NONE)
    upstream.script("PUT", TIMEOUT)
    gate.push("v1", TWO)
    upstream.store(TWO, "v1")
    protect(protected, Protection.ALL)
    # Until it is known, not even the same image is called unchanged.
    assert gate.push("v1", ONE).status_code == 503
    age_attempts(16)
    registry: object = upstream
    resolve_attempts(registry, Attempt.objects.all())  # type: ignore[arg-type]
    assert LockEvent.objects.filter(kind="lock.ended", other_digest=digest_of(TWO)).exists()
    assert gate.push("v1", ONE).status_code == 403
    assert LockedTag.objects.get().digest == digest_of(TWO) == upstream.tags["v1"]

"""An admin's delete of a locked tag, carried out in the registry."""

from collections.abc import Callable

import pytest
from immutability.actions.attempts import mark_sent
from immutability.actions.manage import NameAfter, WrongStateError, delete_locked_tag
from immutability.actions.read import UndecidedError
from immutability.actions.resolve import resolve_attempts
from immutability.actions.send import send_delete

from containers.reference import Digest
from immutability.actions import remove
from immutability.models import Attempt, LockedTag
from immutability.protection import Policy, Protection
from tests.immutability.gate.upstream import TIMEOUT, GateClient, Upstream, answer, digest_of, image
from workspaces.access import SYSTEM
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

ONE, TWO = image("one"), image("two")
CANNOT_DELETE_A_TAG = answer(405, "UNSUPPORTED")


def lock_of(tag: str) -> LockedTag:
    return LockedTag.objects.get(tag=tag)


def delete(
    workspace: Workspace, upstream: Upstream, tag: str = "v1", after: NameAfter = NameAfter.RESERVE
) -> LockedTag | None:
    registry: object = upstream
    return delete_locked_tag(
        workspace,
        lock_of(tag).id,
        after,
        "published by mistake",
        actor=SYSTEM,
        registry=registry,  # type: ignore[arg-type]
    )


def resolve(upstream: Upstream) -> int:
    """Settle every attempt, as though every lease were over."""
    Attempt.objects.filter(outcome=Attempt.Outcome.OPEN).update(expires_at="2000-01-01T00:00Z")
    registry: object = upstream
    return resolve_attempts(registry, Attempt.objects.all())  # type: ignore[arg-type]


def deleted_reasons() -> list[str]:
    return list(LockEvent.objects.filter(kind="tag.deleted").values_list("reason", flat=True))


def test_the_tag_is_deleted_there_and_its_name_reserved(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    delete(protected, upstream)
    assert upstream.tags == {}
    assert lock_of("v1").state == "reserved"
    assert deleted_reasons() == ["published by mistake"]


def test_a_registry_that_cannot_delete_a_tag_loses_the_image_where_nothing_else_needs_it(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    gate.push("v2", TWO)
    upstream.script("DELETE", CANNOT_DELETE_A_TAG)
    delete(protected, upstream)
    assert upstream.sent("DELETE") == ["v1", digest_of(ONE)]
    assert upstream.tags == {"v2": digest_of(TWO)}
    assert (lock_of("v1").state, lock_of("v2").state) == ("reserved", "locked")


def test_an_image_that_another_tag_needs_is_not_deleted(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    gate.push("v2", ONE)
    upstream.script("DELETE", CANNOT_DELETE_A_TAG)
    with pytest.raises(WrongStateError, match="v2 needs this one too"):
        delete(protected, upstream)
    assert upstream.sent("DELETE") == ["v1"]
    assert (lock_of("v1").state, lock_of("v2").state) == ("locked", "locked")
    assert not Attempt.objects.filter(outcome=Attempt.Outcome.OPEN).exists()


def test_a_push_under_way_needs_its_image_too(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    """The registry does not list the tag yet, and its write may land at any moment."""
    gate.push("v1", ONE)
    upstream.script("PUT", TIMEOUT)
    gate.push("v2", ONE)
    upstream.script("DELETE", CANNOT_DELETE_A_TAG)
    with pytest.raises(WrongStateError, match="v2 needs this one too"):
        delete(protected, upstream)
    assert upstream.sent("DELETE") == ["v1"]


def test_a_crash_while_looking_for_other_tags_deletes_none_of_them_later(
    protected: Workspace,
    gate: GateClient,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate.push("v1", ONE)
    gate.push("v2", ONE)
    upstream.script("DELETE", CANNOT_DELETE_A_TAG)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(remove, "_find_siblings", die)
    with pytest.raises(KeyboardInterrupt):
        delete(protected, upstream)
    resolve(upstream)
    assert upstream.sent("DELETE") == ["v1"]
    assert upstream.tags == {"v1": digest_of(ONE), "v2": digest_of(ONE)}
    assert lock_of("v2").state == "locked"


def test_a_delete_with_an_unknown_end_is_sent_again_and_the_name_reserved(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    # The second is for the push, which tries to settle the delete that it meets.
    upstream.script("DELETE", TIMEOUT, TIMEOUT)
    with pytest.raises(UndecidedError):
        delete(protected, upstream)
    assert lock_of("v1").state == "deleting"
    assert gate.push("v1", TWO).status_code == 503
    resolve(upstream)
    assert upstream.tags == {}
    assert lock_of("v1").state == "reserved"
    assert deleted_reasons() == ["published by mistake"]


def test_a_refused_delete_leaves_the_lock_as_it_was(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    upstream.script("DELETE", answer(403, "DENIED"))
    with pytest.raises(WrongStateError, match="refused the delete"):
        delete(protected, upstream)
    row = lock_of("v1")
    assert (row.state, row.deleted_by, row.replaced_state) == ("locked", "", "")
    assert gate.push("v1", TWO).status_code == 403


def test_a_lock_in_force_outlives_the_delete_of_its_image(
    acme: Workspace,
    protect: Callable[..., Policy],
    gate: GateClient,
    upstream: Upstream,
) -> None:
    """What a settled delete takes is decided by the settings of that moment."""
    protect(acme, Protection.ALL)
    gate.push("v1", ONE)
    gate.push("v2", ONE)
    row = lock_of("v1")
    attempt = remove._announce(row, acme, 1, "why", SYSTEM, Digest(row.digest))
    mark_sent(attempt)
    registry: object = upstream
    send_delete(attempt, Digest(row.digest), registry, SYSTEM)  # type: ignore[arg-type]
    assert lock_of("v2").state == "locked"


def test_a_name_is_freed_only_when_the_tag_is_gone_there(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    gate.push("v1", ONE)
    delete(protected, upstream)
    upstream.store(TWO, "v1")
    with pytest.raises(WrongStateError, match="has this tag still"):
        delete(protected, upstream, after=NameAfter.FREE)
    upstream.tags.clear()
    assert delete(protected, upstream, after=NameAfter.FREE) is None
    assert not LockedTag.objects.exists()

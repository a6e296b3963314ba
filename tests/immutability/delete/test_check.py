"""Deletes that a registry asks about, and carries out by itself."""

from collections.abc import Callable

import pytest

from containers.models import Manifest
from containers.names import Digest
from containers.writes import STRAY_LIFE
from immutability.delete import check
from immutability.policy.protection import Protection
from immutability.push.strays import SENT_WITHIN
from tests.immutability.checks import Checks, every_row
from tests.immutability.core import Core, named
from tests.immutability.registry_double import INDEX_TYPE, NO_ANSWER, digest_of, image, index
from tests.immutability.states import (
    locked,
    locked_by_a_check,
    nothing,
    released,
    reserved,
    suspended,
)
from workspaces.log.models import LockEvent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]

ONE, TWO, THREE = (named(name, image(name)) for name in ("one", "two", "three"))
LIST = named("list", index(ONE))
TOP = named("top", index(LIST))


def there(checks: Checks) -> None:
    checks.core.protect(Protection.NONE)
    checks.core.push("v1", image=ONE)
    checks.core.protect()


def there_unseen(checks: Checks) -> None:
    checks.write("v1", image=ONE)


def unprotected(checks: Checks) -> None:
    checks.core.protect(Protection.NONE)
    checks.core.push("v1", image=ONE)


def begun(checks: Checks) -> None:
    checks.begin("v1", image=ONE)


def foreign_stray(checks: Checks) -> None:
    locked(checks)
    checks.core.protect(Protection.NONE)
    checks.core.registry.script("PUT v1", NO_ANSWER)
    assert checks.core.push("v1", image=ONE) == "503"
    checks.core.registry.script("PUT v1", NO_ANSWER)
    assert checks.core.push("v1", image=TWO) == "503"
    checks.core.protect()


BY_TAG = [
    # before, outcome for a member, outcome for an admin, lock after the admin's
    (nothing, "not_locked", "not_locked", "none"),
    (there, "locked", "deleted", "reserved one"),
    (there_unseen, "locked", "deleted", "reserved one"),
    (locked, "locked", "deleted", "reserved one"),
    (locked_by_a_check, "locked", "deleted", "reserved one"),
    (released, "locked", "deleted", "reserved one"),
    (reserved, "not_locked", "not_locked", "reserved one"),
    (suspended, "suspended", "suspended", "none"),
    (unprotected, "not_locked", "not_locked", "none"),
    (begun, "claim_pending", "claim_pending", "claimed one"),
    (foreign_stray, "claim_pending", "claim_pending", "none"),
]
# Whatever else lists tags, a delete by digest names only those that point at it.
BY_DIGEST: dict[Callable[[Checks], None], tuple[str, str]] = {
    nothing: ("", ""),
    reserved: ("", ""),
    there_unseen: ("", ""),
    foreign_stray: ("claim_pending", "claim_pending"),
}


@pytest.mark.parametrize(
    ("before", "member", "admin", "lock"), BY_TAG, ids=[each[0].__name__ for each in BY_TAG]
)
@pytest.mark.parametrize("by_digest", [False, True])
def test_a_check_decides_as_the_gate_does_and_a_dry_run_foresees_it(
    checks: Checks,
    before: Callable[[Checks], None],
    member: str,
    admin: str,
    lock: str,
    *,
    by_digest: bool,
) -> None:
    before(checks)
    target: str | bytes = ONE if by_digest else "v1"
    if by_digest:
        member, admin = BY_DIGEST.get(before, (member, admin))
    rows, sent = every_row(), len(checks.core.registry.sent("DELETE"))
    assert checks.delete(target, is_dry=True) == member
    assert checks.delete(target, is_admin=True, is_dry=True) == admin
    assert every_row() == rows
    if by_digest and before is there_unseen:
        # A dry run doesn't read the registry's tags.
        member, admin = "locked", "deleted"
    if member in ("locked", "claim_pending"):
        assert checks.delete(target) == member
    assert checks.delete(target, is_admin=True) == admin
    assert checks.core.lock() == lock
    assert len(checks.core.registry.sent("DELETE")) == sent


@pytest.mark.parametrize("before", [nothing, locked, reserved, suspended, unprotected])
@pytest.mark.parametrize("is_connected", [True, False])
def test_every_allowed_answer_leaves_a_stray_delete_and_no_digest(
    core: Core, before: Callable[[Checks], None], *, is_connected: bool
) -> None:
    checks = Checks(core, is_connected)
    before(checks)
    assert checks.answer_delete("v1", is_admin=True).is_allowed
    record = core.record()
    assert (record.digest, record.stray_digest) == ("", "")
    assert record.changed_at is not None
    assert record.stray_until == record.changed_at + SENT_WITHIN + STRAY_LIFE


def test_a_delete_by_digest_leaves_one_on_the_manifest_too(checks: Checks) -> None:
    locked(checks)
    before = Manifest.objects.get()
    assert checks.delete(ONE, is_admin=True) == "deleted"
    after, record = Manifest.objects.get(), checks.core.record()
    assert (after.revision, after.is_there) == (before.revision + 1, False)
    assert after.stray_until == record.stray_until
    assert checks.push("v2", image=ONE) == "claim_pending"
    assert checks.core.push("v2", image=ONE) == "503 CLAIM_PENDING"


def test_an_admins_delete_is_recorded_with_who_deleted(checks: Checks) -> None:
    locked(checks)
    checks.delete("v1", is_admin=True)
    event = LockEvent.objects.latest("id")
    assert (event.kind, event.actor, event.digest) == ("tag.deleted", "alice", digest_of(ONE))


def test_a_refused_delete_is_recorded_and_a_dry_run_is_not(checks: Checks) -> None:
    locked(checks)
    refusal = checks.answer_delete("v1", is_dry=True).refusal
    assert refusal is not None
    detail = refusal.body["errors"][0]["detail"]
    assert (refusal.status, detail["event"], checks.core.events()) == (403, None, ["tag.locked"])
    refusal = checks.answer_delete("v1").refusal
    assert refusal is not None
    assert refusal.body["errors"][0]["detail"]["event"]
    assert checks.core.events() == ["tag.locked", "delete.refused"]


def test_a_repeated_check_is_allowed_again(checks: Checks) -> None:
    locked(checks)
    assert checks.delete("v1", is_admin=True) == "deleted"
    assert checks.delete("v1", is_admin=True) == "not_locked"
    assert checks.core.lock() == "reserved one"


@pytest.mark.parametrize("is_carried_out", [True, False])
def test_after_the_stray_what_the_registry_shows_counts(
    checks: Checks, *, is_carried_out: bool
) -> None:
    locked(checks)
    checks.delete("v1", is_admin=True)
    assert checks.core.push("v1", image=ONE) == "503 CLAIM_PENDING"
    if is_carried_out:
        checks.core.registry.tags.clear()
    checks.core.let_pass(minutes=17)
    checks.core.reconcile()
    assert checks.core.lock() == ("reserved one" if is_carried_out else "locked one")


def test_a_late_delete_takes_nothing_that_was_pushed_again(checks: Checks) -> None:
    locked(checks)
    checks.delete("v1", is_admin=True)
    assert checks.push("v1", image=ONE) == "claim_pending"
    checks.core.registry.tags.clear()
    checks.core.let_pass(minutes=17)
    assert checks.core.push("v1", image=ONE) == "201"
    assert (checks.core.lock(), checks.core.shown()) == ("locked one", "one")


def test_a_deleted_name_is_reserved_until_it_is_freed(checks: Checks) -> None:
    locked(checks)
    checks.delete("v1", is_admin=True)
    checks.core.registry.tags.clear()
    checks.core.let_pass(minutes=17)
    assert checks.push("v1", image=TWO) == "reserved"
    checks.core.free()
    assert checks.push("v1", image=TWO) == "locked_now"


@pytest.mark.parametrize("is_admin", [True, False])
@pytest.mark.parametrize(("child", "parent"), [(ONE, LIST), (ONE, TOP)])
def test_what_a_locked_index_lists_is_not_deleted_by_anyone(
    checks: Checks, child: bytes, parent: bytes, *, is_admin: bool
) -> None:
    checks.core.push(image=child)
    checks.core.push(image=LIST)
    assert checks.core.push("v1", image=parent) == "201"
    answer = checks.answer_delete(child, is_admin=is_admin)
    assert [(each.tag.name, each.outcome) for each in answer.tags] == [("v1", "in_use")]
    assert answer.refusal is not None
    assert answer.refusal.status == 403


def test_after_its_index_was_deleted_a_child_may_go_at_once(checks: Checks) -> None:
    checks.core.push(image=ONE)
    checks.core.push("v1", image=LIST)
    assert checks.delete(LIST, is_admin=True) == "deleted"
    assert checks.delete(ONE) == ""
    assert checks.core.lock() == "reserved list"


def test_what_an_unreadable_protected_manifest_may_list_is_refused_for_good(checks: Checks) -> None:
    unreadable = named("unreadable", b"nonsense")
    checks.core.registry.store(ONE)
    checks.core.registry.store(unreadable, "v1")
    for is_admin in (False, True):
        answer = checks.answer_delete(ONE, is_admin=is_admin)
        assert answer.refusal is not None
        assert (answer.tags, answer.refusal.status) == ((), 409)
        assert answer.refusal.body["errors"][0]["detail"]["reason"] == "LIST_UNREADABLE"
    assert checks.delete(unreadable, is_admin=True) == "deleted"
    checks.core.registry.tags.clear()
    checks.core.let_pass(minutes=17)
    checks.core.reconcile()
    assert checks.delete(ONE) == ""


def test_a_look_that_gets_no_answer_decides_nothing(checks: Checks) -> None:
    checks.core.registry.is_down = True
    assert checks.delete("v1", is_admin=True) == "503"


def test_without_a_registry_an_unknown_tag_is_absent(alone: Checks) -> None:
    alone.write("v1", image=ONE)
    assert alone.delete("v1") == "not_locked"
    assert alone.core.registry.calls == []


def test_without_a_registry_what_was_allowed_is_deleted_by_admins_alone(alone: Checks) -> None:
    alone.core.protect(Protection.NONE)
    alone.push("v1", image=ONE)
    alone.core.protect()
    alone.core.let_pass(minutes=17)
    alone.reconcile()
    assert [alone.delete("v1"), alone.delete(ONE)] == ["locked", "locked"]
    assert alone.delete(ONE, is_admin=True) == "deleted"


def test_a_stray_that_is_over_and_in_the_way_is_ended_first(checks: Checks) -> None:
    foreign_stray(checks)
    checks.core.let_pass(minutes=16)
    assert checks.delete("v1", is_admin=True) == "deleted"


def test_the_lists_of_the_repository_are_read_first(
    checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks.write(image=ONE)
    checks.core.registry.store(LIST, "v1", media_type=INDEX_TYPE)
    checks.push("v1", image=LIST)
    checks.core.let_pass(minutes=17)
    checks.reconcile()
    done: list[str] = []
    monkeypatch.setattr(check, "require_listed", lambda *_: done.append("listed"))
    monkeypatch.setattr(check, "find_unread_digests", lambda *_: {Digest(digest_of(LIST))})
    assert checks.delete(ONE, is_admin=True) == "in_use"
    assert done == ["listed"]

"""A tag that the registry cannot read, since it ended while it wrote it: its name is not lost."""

import uuid
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from containers.models import Repository
from containers.models import Tag as TagRecord
from containers.names import Digest, TagName
from containers.registry.client import RegistryUnavailableError, UnreadableError
from immutability.delete.check import check_delete
from immutability.delete.plan import DeleteQuestion
from immutability.errors import TryAgainError
from immutability.look import UNREADABLE_AFTER, look_at_tag
from immutability.models import Drift, LockedTag
from immutability.policy.protection import Protection
from immutability.push.check import PushCheck, ask_push, check_push
from immutability.push.plan import PushQuestion
from immutability.reconcile.drift import check_lock
from immutability.reconcile.due import find_due
from immutability.reconcile.inventory import read_tags, require_listed
from immutability.reconcile.repair import repair
from immutability.reconcile.restored import distrust_records, settle_restored
from tests.immutability.core import DANA, Core, named
from tests.immutability.registry_double import NO_ANSWER, REFUSED, answer, digest_of, image
from workspaces.log.models import LockEvent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]

ONE, TWO = (named(name, image(name)) for name in ("one", "two"))
LONG_ENOUGH = UNREADABLE_AFTER.total_seconds()
BROKEN = answer(500, "UNKNOWN")


def wait(core: Core) -> None:
    """Let pass what a tag has to be unreadable for."""
    core.let_pass(seconds=LONG_ENOUGH)


def leave_stray(core: Core, *, of: bytes | None = None) -> None:
    """Leave a stray on the tag that is over: of this image, or of a delete."""
    digest = digest_of(of) if of else ""
    TagRecord.objects.update(stray_until=timezone.now(), stray_digest=digest)


def raise_unreadable(why: str, *_: object) -> None:
    raise UnreadableError(why)


def is_noted(core: Core) -> bool:
    return core.record().unreadable_since is not None


# ---- without a lock ----------------------------------------------------------------------------


@pytest.mark.both_databases
def test_a_push_replaces_it_once_it_was_unreadable_for_minutes(core: Core) -> None:
    core.registry.break_tag("v1")
    assert core.push("v1", image=ONE) == "503"
    core.let_pass(seconds=LONG_ENOUGH - 10)
    assert core.push("v1", image=ONE) == "503"
    assert core.lock() == "none"
    core.let_pass(seconds=10)
    assert core.push("v1", image=ONE) == "201"
    assert (core.lock(), core.shown(), is_noted(core)) == ("locked one", "one", False)
    assert core.push("v1", image=TWO) == "403 locked"


def test_who_waits_is_told_for_what_and_how_long(core: Core) -> None:
    core.registry.break_tag("v1")
    registry: Any = core.registry
    with pytest.raises(TryAgainError) as raised:
        look_at_tag(core.workspace, core.repository, TagName("v1"), registry)
    said = str(raised.value)
    assert said.startswith("the registry answered 500 (UNKNOWN: m), since it cannot read tag ")
    assert "the tag counts as not there in 5 minutes, at " in said
    assert said.endswith(" UTC, and a push can replace it")
    assert 290 <= raised.value.seconds <= 300


def test_what_can_be_read_again_is_there(core: Core) -> None:
    core.registry.break_tag("v1")
    assert core.push("v1", image=ONE) == "503"
    core.registry.unreadable.clear()
    core.registry.store(TWO, "v1")
    wait(core)
    assert core.push("v1", image=ONE) == "403 locked"
    assert (core.lock(), core.shown(), is_noted(core)) == ("locked two", "two", False)


def test_the_time_begins_again_with_a_look_that_could_read_it(core: Core) -> None:
    core.registry.script("HEAD v1", BROKEN)
    assert core.push("v1", image=ONE) == "503"
    assert core.reconcile()
    assert not is_noted(core)
    wait(core)
    core.registry.break_tag("v1")
    assert core.push("v1", image=ONE) == "503"


def test_a_registry_of_which_nothing_can_be_read_takes_no_push(core: Core) -> None:
    core.push("v2", image=ONE)  # It is known to be there: it would not be stored again.
    core.registry.script("HEAD v1", BROKEN, BROKEN)
    assert core.push("v1", image=ONE) == "503"
    wait(core)
    core.registry.script(f"PUT {digest_of(ONE)}", BROKEN)
    assert core.push("v1", image=ONE) == "503"
    assert core.lock() == "none"


@pytest.mark.parametrize("status", [502, 503, 504])
def test_another_failure_says_nothing_however_long(core: Core, status: int) -> None:
    for _ in range(2):
        core.registry.script("HEAD v1", answer(status, "UNKNOWN"))
        assert core.push("v1", image=ONE) == "503"
        core.let_pass(seconds=LONG_ENOUGH)
    assert not TagRecord.objects.filter(unreadable_since__isnull=False).exists()


@pytest.mark.both_databases
def test_one_that_broke_before_it_was_protected_can_be_pushed_once_its_stray_is_over(
    core: Core,
) -> None:
    core.protect(Protection.NONE)
    core.push("v1", image=ONE)
    core.registry.break_tag("v1")
    leave_stray(core)
    core.protect()
    assert core.push("v1", image=ONE) == "503 CLAIM_PENDING"
    assert not core.reconcile()
    wait(core)
    assert core.reconcile()
    assert (core.stray(), core.record().digest) == ("none", "")
    assert core.push("v1", image=TWO) == "201"
    assert core.push("v1", image=ONE) == "403 locked"


def test_a_check_of_a_registry_that_asks_is_decided_too(core: Core) -> None:
    core.registry.break_tag("v1")
    registry: Any = core.registry
    question = PushQuestion(
        core.workspace, core.repository, (TagName("v1"),), Digest(digest_of(ONE)), is_check=True
    )
    with pytest.raises(TryAgainError, match="cannot read"):
        check_push(PushCheck(question), actor=DANA, registry=registry)
    wait(core)
    check_push(PushCheck(question), actor=DANA, registry=registry)
    assert core.lock() == "locked one"


def test_an_admin_deletes_it(core: Core) -> None:
    core.registry.break_tag("v1")
    assert core.delete("v1", is_admin=True) == "503"
    wait(core)
    core.registry.deletes_tags = False
    assert core.delete("v1", is_admin=True) == "404 None"
    core.registry.deletes_tags = True
    assert core.delete("v1", is_admin=True) == "202"
    assert core.registry.unreadable == set()


def test_deletes_by_digest_do_not_wait_for_it_for_ever(core: Core) -> None:
    registry: Any = core.registry
    core.registry.store(ONE, "v1", "v2")
    core.registry.break_tag("v1")
    core.registry.tags["v1"] = ""  # It is listed.
    place = core.workspace, core.repository
    assert read_tags(*place, [TagName("v1"), TagName("v2")], registry).left_out_count == 1
    with pytest.raises(TryAgainError):
        require_listed(*place, registry)
    wait(core)
    assert read_tags(*place, [TagName("v1"), TagName("v2")], registry).left_out_count == 0
    require_listed(*place, registry)
    # It is still known that it cannot be read.
    assert core.push("v1", image=TWO) == "201"


# ---- with a lock -------------------------------------------------------------------------------


def test_a_locked_one_stands_and_a_push_of_its_image_heals_it(core: Core) -> None:
    core.push("v1", image=ONE)
    core.registry.break_tag("v1")
    leave_stray(core)
    core.reconcile()
    wait(core)
    assert core.reconcile()
    assert (core.lock(), core.stray()) == ("locked one", "none")
    assert Drift.objects.get().kind == Drift.Kind.MISSING
    assert core.push("v1", image=TWO) == "403 locked"
    assert core.push("v1", image=ONE) == "201"
    assert (core.shown(), Drift.objects.count()) == ("one", 0)


def test_one_that_showed_another_image_before_is_healed_too(core: Core) -> None:
    core.push("v1", image=ONE)
    TagRecord.objects.update(digest=digest_of(TWO))
    core.registry.break_tag("v1")
    assert core.push("v1", image=ONE) == "503"
    wait(core)
    assert core.push("v1", image=ONE) == "201"
    assert core.shown() == "one"


@pytest.mark.both_databases
def test_a_claim_is_pointed_again(core: Core) -> None:
    core.registry.script("PUT v1", REFUSED)
    core.push("v1", image=ONE)
    core.push("v1", image=ONE)
    LockedTag.objects.update(state="claimed")
    core.registry.break_tag("v1")
    leave_stray(core, of=ONE)
    assert core.push("v1", image=TWO) == "503 CLAIM_PENDING"
    core.reconcile()
    wait(core)
    assert core.reconcile()
    assert core.reconcile()
    assert (core.lock(), core.shown()) == ("locked one", "one")


def test_a_claim_whose_image_is_gone_goes_back(core: Core) -> None:
    core.push("v1", image=ONE)
    LockedTag.objects.update(state="claimed")
    core.registry.break_tag("v1")
    core.registry.manifests.clear()
    assert not core.reconcile()
    wait(core)
    assert core.reconcile()
    assert core.lock() == "none"


def test_a_reserved_name_stays_reserved_and_can_be_freed(core: Core) -> None:
    core.push("v1", image=ONE)
    core.delete("v1", is_admin=True)
    core.registry.break_tag("v1")
    leave_stray(core, of=ONE)
    core.reconcile()
    wait(core)
    assert core.reconcile()
    assert (core.lock(), core.stray()) == ("reserved one", "none")
    assert core.push("v1", image=TWO) == "403 reserved"
    core.free()
    assert core.push("v1", image=TWO) == "201"


def test_a_released_tag_takes_the_next_image(core: Core) -> None:
    core.push("v1", image=ONE)
    core.release()
    core.registry.break_tag("v1")
    leave_stray(core)
    core.reconcile()
    wait(core)
    assert core.reconcile()
    assert core.lock() == "released one"
    assert core.push("v1", image=TWO) == "201"
    assert (core.lock(), core.shown()) == ("locked two", "two")


def test_what_an_admin_deletes_is_deleted_again(core: Core) -> None:
    core.push("v1", image=ONE)
    core.registry.script("DELETE v1", NO_ANSWER)
    assert core.delete("v1", is_admin=True) == "503"
    core.registry.break_tag("v1")
    leave_stray(core)
    core.reconcile()
    wait(core)
    assert core.reconcile()
    assert core.lock() == "deleting one"
    assert core.reconcile()
    assert (core.lock(), core.registry.unreadable) == ("reserved one", set())


# ---- the reconciler ----------------------------------------------------------------------------


def test_it_is_looked_at_again_until_it_can_be_read(core: Core) -> None:
    registry: Any = core.registry
    core.registry.break_tag("v1")
    core.push("v1", image=ONE)
    assert find_due(registry) == [core.record().id]
    assert find_due(None) == []
    wait(core)
    assert find_due(registry) == [core.record().id]
    core.reconcile()
    assert not core.reconcile()
    core.registry.unreadable.clear()
    assert core.reconcile()
    assert find_due(registry) == []


def test_a_registry_that_gives_no_answer_says_nothing_of_it(core: Core) -> None:
    core.registry.break_tag("v1")
    core.push("v1", image=ONE)
    core.registry.script("HEAD v1", RegistryUnavailableError("timed out"))
    assert not core.reconcile()
    assert is_noted(core)


def test_nothing_of_it_is_an_event(core: Core) -> None:
    before = LockEvent.objects.count()
    core.registry.break_tag("v1")
    core.push("v1", image=ONE)
    wait(core)
    core.reconcile()
    assert LockEvent.objects.count() == before


# ---- what is not enough ------------------------------------------------------------------------


def test_two_failures_long_apart_say_nothing_of_the_time_between_them(core: Core) -> None:
    core.registry.store(ONE, "v1")
    for _ in range(2):
        core.registry.script("HEAD v1", BROKEN)
        assert core.push("v1", image=TWO) == "503"
        core.let_pass(hours=1)
    assert core.push("v1", image=TWO) == "403 locked"


def test_what_only_the_caller_cannot_read_is_there(core: Core) -> None:
    core.registry.store(ONE, "v1")
    core.registry.rights["dana"] = {"pull", "push"}
    caller: Any = core.registry.acting_for("dana")
    caller.head_manifest = partial(raise_unreadable, "the registry answered 500")
    assert core.push("v1", image=TWO, as_caller=caller) == "403 locked"
    assert core.lock() == "locked one"


def test_a_caller_of_a_registry_with_accounts_replaces_what_no_one_can_read(core: Core) -> None:
    core.registry.rights["dana"] = {"pull", "push"}
    caller: Any = core.registry.acting_for("dana")
    core.registry.break_tag("v1")
    assert core.push("v1", image=ONE, as_caller=caller) == "503"
    wait(core)
    assert core.push("v1", image=ONE, as_caller=caller) == "201"


def test_a_look_during_a_write_says_nothing(core: Core) -> None:
    core.push("v1", image=ONE)
    TagRecord.objects.update(
        write_id=uuid.uuid4(), write_kind="push", write_expires_at=timezone.now()
    )
    registry: Any = core.registry
    core.registry.script("HEAD v1", BROKEN)
    with pytest.raises(TryAgainError):
        look_at_tag(core.workspace, core.repository, TagName("v1"), registry)
    assert not is_noted(core)


def test_a_dry_run_writes_nothing(core: Core) -> None:
    core.registry.break_tag("v1")
    registry: Any = core.registry
    place = core.workspace, core.repository
    push = PushQuestion(*place, (TagName("v1"),), Digest(digest_of(ONE)), is_check=True)
    with pytest.raises(TryAgainError, match="cannot read"):
        ask_push(PushCheck(push), registry=registry)
    with pytest.raises(TryAgainError, match="cannot read"):
        check_delete(
            DeleteQuestion(*place, TagName("v1")), actor=DANA, registry=registry, is_dry_run=True
        )
    assert not TagRecord.objects.exists()
    assert not Repository.objects.exists()


def test_a_dry_run_answers_as_the_check_would(core: Core) -> None:
    core.registry.break_tag("v1")
    registry: Any = core.registry
    push = PushQuestion(
        core.workspace, core.repository, (TagName("v1"),), Digest(digest_of(ONE)), is_check=True
    )
    core.push("v1", image=ONE)
    wait(core)
    assert ask_push(PushCheck(push), registry=registry).tags[0].outcome == "free"


def test_a_member_deletes_nothing_that_may_be_there(core: Core) -> None:
    core.registry.break_tag("v1")
    core.delete("v1")
    wait(core)
    assert core.delete("v1") == "404 None"
    assert core.registry.sent("DELETE") == []


def test_a_delete_by_digest_knows_a_tag_that_can_be_read_again(core: Core) -> None:
    registry: Any = core.registry
    core.registry.break_tag("v1")
    core.registry.tags["v1"] = ""  # It is listed.
    with pytest.raises(TryAgainError):
        require_listed(core.workspace, core.repository, registry)
    wait(core)
    require_listed(core.workspace, core.repository, registry)
    core.registry.unreadable.clear()
    core.registry.store(ONE, "v1")
    assert core.delete(ONE) == "403 locked"
    assert core.shown() == "one"


def test_what_the_reconciler_can_read_again_is_locked(core: Core) -> None:
    core.registry.break_tag("v1")
    core.push("v1", image=ONE)
    core.registry.unreadable.clear()
    core.registry.store(TWO, "v1")
    assert core.reconcile()
    assert (core.lock(), core.record().digest) == ("locked two", digest_of(TWO))


def test_one_that_is_gone_is_not_looked_at_any_more(core: Core) -> None:
    core.protect(Protection.NONE)
    core.push("v1", image=ONE)
    core.protect()
    core.registry.break_tag("v1")
    registry: Any = core.registry
    with pytest.raises(TryAgainError):
        look_at_tag(core.workspace, core.repository, TagName("v1"), registry)
    core.registry.unreadable.clear()
    assert core.reconcile()
    assert (is_noted(core), core.record().digest) == (False, digest_of(ONE))


# ---- how long it lasts -------------------------------------------------------------------------


def test_the_time_of_several_tags_begins_together(core: Core) -> None:
    for tag in ("v1", "v2", "v3"):
        core.registry.break_tag(tag)
    assert core.push("v1", "v2", "v3", image=ONE) == "503"
    wait(core)
    assert core.push("v1", "v2", "v3", image=ONE) == "201"


def test_a_claim_whose_image_cannot_be_read_goes_back(core: Core) -> None:
    core.registry.script("PUT v1", NO_ANSWER)
    assert core.push("v1", image=ONE) == "503"
    core.registry.unreadable.add(digest_of(ONE))
    core.let_pass(minutes=16)
    core.reconcile()
    assert core.lock() == "claimed one"
    assert core.push("v1", image=TWO) == "503 CLAIM_PENDING"
    wait(core)
    assert core.reconcile()
    assert core.lock() == "none"
    assert core.push("v1", image=TWO) == "201"


def test_a_claim_whose_image_cannot_be_read_for_a_moment_is_pointed(core: Core) -> None:
    core.registry.script("PUT v1", NO_ANSWER)
    assert core.push("v1", image=ONE) == "503"
    core.registry.script(f"GET {digest_of(ONE)}", BROKEN)
    core.reconcile()
    assert core.lock() == "claimed one"
    assert core.reconcile()
    assert (core.lock(), is_noted(core)) == ("locked one", False)


def test_a_restored_backup_is_settled_though_tags_cannot_be_read(core: Core) -> None:
    registry: Any = core.registry
    core.protect(Protection.NONE)
    for tag in ("v1", "v2", "v3"):
        core.push(tag, image=ONE)
    core.protect()
    leave_stray(core)
    core.registry.break_tag("v1")
    core.registry.break_tag("v2")
    distrust_records()
    with pytest.raises(TryAgainError, match="cannot read"):
        settle_restored(registry)
    assert core.stray("v3") == "none"
    wait(core)
    distrust_records()
    assert settle_restored(registry) == 2
    assert not TagRecord.objects.filter(stray_until__isnull=False).exists()


def test_a_locked_one_that_broke_by_itself_is_found_and_put_back(core: Core) -> None:
    core.push("v1", image=ONE)
    core.registry.break_tag("v1")
    lock_id, registry = LockedTag.objects.get().id, core.registry
    client: Any = registry
    with pytest.raises(TryAgainError, match="cannot read"):
        check_lock(lock_id, client)
    assert not Drift.objects.exists()
    wait(core)
    assert "the registry does not have the tag" in check_lock(lock_id, client).what
    found = Drift.objects.get()
    assert (found.kind, core.lock()) == (Drift.Kind.MISSING, "locked one")
    assert core.push("v1", image=TWO) == "403 locked"
    assert repair(found, client, confirm=lambda: None) == ""
    assert (core.shown(), Drift.objects.count()) == ("one", 0)


def test_a_push_heals_a_locked_one_that_is_known_to_be_broken(core: Core) -> None:
    core.push("v1", image=ONE)
    core.registry.break_tag("v1")
    registry: Any = core.registry
    lock_id = LockedTag.objects.get().id
    with pytest.raises(TryAgainError):
        check_lock(lock_id, registry)
    wait(core)
    check_lock(lock_id, registry)
    assert core.push("v1", image=ONE) == "201"
    assert (core.shown(), core.lock()) == ("one", "locked one")
    assert not Drift.objects.exists()


def test_a_push_stores_a_locked_image_again_that_cannot_be_read(core: Core) -> None:
    core.push("v1", image=ONE)
    core.registry.unreadable.add(digest_of(ONE))
    assert core.push("v1", image=ONE) == "201"
    assert core.registry.unreadable == set()
    assert core.registry.sent_by_tag == ["v1"]


def test_an_unreadable_reserved_name_says_nothing_of_a_drift(core: Core) -> None:
    core.push("v1", image=ONE)
    core.delete("v1", is_admin=True)
    core.registry.store(ONE, "v1")
    registry: Any = core.registry
    lock_id = LockedTag.objects.get().id
    check_lock(lock_id, registry)
    assert Drift.objects.get().kind == Drift.Kind.RESERVED
    core.registry.break_tag("v1")
    with pytest.raises(TryAgainError):
        check_lock(lock_id, registry)
    wait(core)
    with pytest.raises(TryAgainError):
        check_lock(lock_id, registry)
    assert Drift.objects.exists()

"""The traces by which weaker protocols break the promise, each played step by step.

They were found by a search through all short sequences of pushes, deletes, saves, crashes and late
landings. `docs/architecture.md` says what each rule of the protocol is for.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from containers import writes
from containers.models import Tag as TagRecord
from containers.registry.client import RegistryAnswer
from immutability.policy.protection import Protection
from tests.immutability.core import Core, assert_policy_is_read_after_locks, named
from tests.immutability.registry_double import (
    NO_ANSWER,
    REFUSED,
    Carry,
    Late,
    Reply,
    digest_of,
    image,
    index,
    lands_without_answer,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]

ONE, TWO, THREE = (named(name, image(name)) for name in ("one", "two", "three"))
LIST = named("list", index(ONE))
TOP = named("top", index(LIST))


class KilledError(BaseException):
    """The sender's process ends here."""


def meanwhile(*steps: Callable[[], Any], first: bool = True) -> Reply:
    """Return a reply that takes other steps before, or after, the call is carried out."""

    def reply(carry: Carry) -> RegistryAnswer:
        if first:
            for step in steps:
                step()
        answer = carry()
        if not first:
            for step in steps:
                step()
        return answer

    return reply


def die(carry: Carry) -> RegistryAnswer:
    raise KilledError


def crash(core: Core, *tags: str, image: bytes) -> None:
    """Begin a push whose sender dies before its write leaves."""
    core.registry.script(f"PUT {tags[0]}", die)
    with pytest.raises(KilledError):
        core.push(*tags, image=image)


def test_1_an_unprotected_write_in_flight_keeps_a_lock_from_coming_back(core: Core) -> None:
    core.push("v1", image=ONE)
    core.protect(Protection.NONE)
    said = []
    core.registry.script(
        "PUT v1", meanwhile(core.protect, lambda: said.append(core.push("v1", image=THREE)))
    )
    assert core.push("v1", image=TWO) == "201"
    assert said == ["503 CLAIM_PENDING"]
    assert core.push("v1", image=THREE) == "403 locked"
    assert (core.lock(), core.shown()) == ("locked two", "two")


@pytest.mark.both_databases
def test_2_and_20_the_policy_is_read_after_every_record_is_locked(core: Core) -> None:
    # One tag has a record already, which is locked; that of the other one is inserted.
    TagRecord.objects.create(workspace=core.workspace, repository="acme/api", name="v1")
    with CaptureQueriesContext(connection) as queries:
        core.push("v1", "v2", image=ONE)
    assert_policy_is_read_after_locks(queries)


def test_3_a_look_from_before_the_record_changed_does_not_count(core: Core) -> None:
    core.registry.store(ONE, "v1")

    def delete_and_free() -> None:
        assert core.delete("v1", is_admin=True) == "202"
        core.free()

    core.registry.script("HEAD v1", meanwhile(delete_and_free, first=False))
    assert core.push("v1", image=TWO) == "201"
    assert (core.lock(), core.shown()) == ("locked two", "two")


def test_4_a_stray_of_the_pushed_image_does_not_let_it_overwrite_what_is_there(core: Core) -> None:
    core.protect(Protection.NONE)
    core.push("v1", image=ONE)
    core.registry.script("PUT v1", NO_ANSWER)
    core.push("v1", image=TWO)
    core.protect()
    assert core.push("v1", image=TWO) == "503 CLAIM_PENDING"
    assert core.shown() == "one"
    core.let_pass(minutes=16)
    assert core.push("v1", image=TWO) == "403 locked"


def test_5_a_claim_whose_sender_died_is_not_unchanged(core: Core) -> None:
    crash(core, "v1", image=ONE)
    core.let_pass(seconds=6)
    assert core.push("v1", image=ONE) == "201"
    assert core.shown() == "one"


def test_6_a_refused_push_of_the_reserved_image_leaves_the_name_reserved(core: Core) -> None:
    core.push("v1", image=ONE)
    core.delete("v1", is_admin=True)
    core.registry.script("PUT v1", REFUSED)
    assert core.push("v1", image=ONE) == "400"
    assert core.lock() == "reserved one"
    assert core.push("v1", image=TWO) == "403 reserved"


@pytest.mark.parametrize("repetition", [REFUSED, None])
def test_7_and_15_a_delete_that_landed_without_an_answer_keeps_the_name(
    core: Core, repetition: RegistryAnswer | None
) -> None:
    core.push("v1", image=ONE)
    core.registry.script("DELETE", lands_without_answer, *([repetition] if repetition else []))
    core.delete("v1", is_admin=True)
    core.reconcile()
    core.let_pass(minutes=16)
    while core.reconcile():
        pass
    assert core.lock() == "reserved one"
    assert core.push("v1", image=TWO) == "403 reserved"


def test_8_nothing_is_pushed_while_a_delete_may_still_land(core: Core) -> None:
    late = Late()
    core.push("v1", image=ONE)
    core.registry.script("DELETE", late)
    core.delete("v1", is_admin=True)
    core.reconcile()
    assert core.lock() == "reserved one"
    assert core.push("v1", image=ONE) == "503 CLAIM_PENDING"
    late.land()
    core.let_pass(minutes=16)
    assert core.push("v1", image=ONE) == "201"
    assert core.shown() == "one"


def test_9_a_store_from_before_a_delete_does_not_count(core: Core) -> None:
    core.push(image=ONE)
    core.registry.script(f"PUT {digest_of(LIST)}", meanwhile(lambda: core.delete(ONE), first=False))
    assert core.push("v1", image=LIST) == "400"
    assert (core.lock(), core.registry.sent_by_tag) == ("none", [])
    core.push(image=ONE)
    assert core.push("v1", image=LIST) == "201"


def test_9_a_store_that_was_skipped_before_a_delete_does_not_count(core: Core) -> None:
    core.push(image=ONE)
    stored = f"PUT {digest_of(ONE)}"
    core.registry.script("HEAD v1", meanwhile(lambda: core.delete(ONE)))
    core.registry.script("PUT v1", die)
    with pytest.raises(KilledError):
        core.push("v1", image=ONE)
    assert [str(call) for call in core.registry.calls if call.method == "PUT"].count(stored) == 2
    # There is something to point to.
    core.let_pass(seconds=60)
    core.reconcile()
    assert (core.lock(), core.shown()) == ("locked one", "one")


@pytest.mark.parametrize("protection", [Protection.ALL, Protection.NONE])
def test_10_a_delete_by_digest_waits_for_a_push_of_that_digest(
    core: Core, protection: Protection
) -> None:
    core.protect(protection)
    said = []
    core.registry.script("PUT v1", meanwhile(lambda: said.append(core.delete(ONE))))
    assert core.push("v1", image=ONE) == "201"
    assert said == ["503 CLAIM_PENDING"]
    assert digest_of(ONE) in core.registry.manifests


def test_11_a_claim_that_an_unprotected_push_ended_is_not_pointed(core: Core) -> None:
    crash(core, "v1", image=ONE)
    core.let_pass(seconds=60)
    core.protect(Protection.NONE)
    core.registry.script("PUT v1", lands_without_answer)
    core.push("v1", image=TWO)
    core.protect()
    while core.reconcile():
        pass
    assert (core.lock(), core.shown()) == ("none", "two")


def test_12_a_refused_claim_goes_back_only_with_no_stray_open(core: Core) -> None:
    late = Late()
    core.push("v1", image=ONE)
    core.release()
    core.registry.script("PUT v1", late, REFUSED)
    assert core.push("v1", image=TWO) == "503"
    assert core.push("v1", image=TWO) == "400"
    assert core.lock() == "claimed two"
    assert core.delete("v1", is_admin=True) == "503 CLAIM_PENDING"
    late.land()
    core.let_pass(minutes=16)
    core.reconcile()
    assert (core.lock(), core.shown()) == ("locked two", "two")


def test_13_a_stray_that_lands_under_a_reserved_name_is_locked_again(core: Core) -> None:
    late = Late()
    core.registry.script("PUT v1", late)
    core.push("v1", image=ONE)
    core.push("v1", image=ONE)
    assert core.delete("v1", is_admin=True) == "202"
    late.land()
    assert core.push("v1", image=TWO) == "403 reserved"
    core.let_pass(minutes=16)
    core.reconcile()
    assert (core.lock(), core.shown()) == ("locked one", "one")


def test_14_nobody_is_refused_for_good_because_of_a_claim(core: Core) -> None:
    said = []

    def refuse(carry: Carry) -> RegistryAnswer:
        said.append(core.push("v1", image=TWO))
        return REFUSED

    core.registry.script("PUT v1", refuse)
    assert core.push("v1", image=ONE) == "400"
    assert said == ["503 CLAIM_PENDING"]
    assert core.push("v1", image=TWO) == "201"


def test_14_nor_because_of_one_that_cannot_be_pointed(core: Core) -> None:
    core.registry.script("PUT v1", NO_ANSWER)
    core.push("v1", image=ONE)
    core.registry.is_down = True
    assert core.push("v1", image=TWO) == "503 CLAIM_PENDING"
    core.registry.is_down = False
    core.registry.script("PUT v1", REFUSED)
    core.reconcile()
    core.let_pass(minutes=16)
    core.registry.script("PUT v1", REFUSED)
    while core.reconcile():
        pass
    assert core.lock() == "none"
    assert core.push("v1", image=TWO) == "201"


def test_16_a_release_is_not_used_up_by_a_push_that_never_landed(core: Core) -> None:
    core.push("v1", image=ONE)
    core.release()
    crash(core, "v1", image=TWO)
    core.let_pass(minutes=17)
    # A look after its end shows what the tag was released from.
    core.reconcile()
    assert (core.lock(), core.shown()) == ("claimed two", "one")
    while core.reconcile():
        pass
    assert (core.lock(), core.shown()) == ("locked two", "two")


def test_17_a_new_claim_waits_for_a_stray_of_another_image(core: Core) -> None:
    late = Late()
    core.registry.script("PUT v1", late)
    core.push("v1", image=ONE)
    assert core.push("v1", image=ONE) == "201"
    core.release()
    assert core.push("v1", image=TWO) == "503 CLAIM_PENDING"
    core.let_pass(minutes=16)
    assert core.push("v1", image=TWO) == "201"


def test_18_the_reserved_image_that_comes_back_unprotected_is_locked(core: Core) -> None:
    core.push("v1", image=ONE)
    core.delete("v1", is_admin=True)
    core.protect(Protection.NONE)
    assert core.push("v1", image=ONE) == "201"
    assert core.lock() == "locked one"


def test_19_a_late_sender_does_not_answer_for_what_others_have_settled(core: Core) -> None:
    def be_late() -> None:
        core.let_pass(seconds=60)
        core.reconcile()

    core.registry.script("PUT v1", meanwhile(be_late))
    assert core.push("v1", image=ONE) == "503"
    assert core.push("v1", image=ONE) == "201"


def test_26_the_leaf_of_an_index_of_indexes_is_held_too(core: Core) -> None:
    core.push(image=ONE)
    core.push(image=LIST)
    said = []
    core.registry.script("PUT v1", meanwhile(lambda: said.append(core.delete(ONE))))
    assert core.push("v1", image=TOP) == "201"
    assert said == ["503 CLAIM_PENDING"]
    assert [core.delete(ONE), core.delete(LIST)] == ["403 locked", "403 locked"]


def test_26_a_push_waits_for_the_delete_of_such_a_leaf(core: Core) -> None:
    core.push(image=ONE)
    core.push(image=LIST)
    said = []
    core.registry.script("DELETE", meanwhile(lambda: said.append(core.push("v1", image=TOP))))
    assert core.delete(ONE) == "202"
    assert said == ["503 CLAIM_PENDING"]


def test_27_no_tag_counts_as_written_because_another_one_was(core: Core) -> None:
    core.registry.script("PUT v2", lands_without_answer)
    assert core.push("v1", "v2", image=ONE) == "503"
    assert (core.lock("v1"), core.lock("v2")) == ("locked one", "claimed one")
    assert core.push("v1", "v2", image=ONE) == "201"


def test_28_of_two_strays_the_later_end_counts_and_of_two_images_none() -> None:
    now = datetime(2026, 3, 12, 14, 2, tzinfo=UTC)
    record = TagRecord()
    writes.add_stray(record, "sha256:a", now + timedelta(minutes=2))
    writes.add_stray(record, "sha256:a", now)
    assert (record.stray_digest, record.stray_until) == ("sha256:a", now + timedelta(minutes=2))
    writes.add_stray(record, "sha256:b", now + timedelta(minutes=3))
    assert (record.stray_digest, record.stray_until) == ("", now + timedelta(minutes=3))


def test_28_a_write_found_expired_may_land_until_its_expiry_and_the_strays_life() -> None:
    expires = datetime(2026, 3, 12, 14, 2, tzinfo=UTC)
    record = TagRecord(write_kind="push", write_digest="sha256:a", write_expires_at=expires)
    writes.make_stray(record)
    assert record.stray_until == expires + writes.STRAY_LIFE

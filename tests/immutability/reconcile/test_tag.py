"""What was left behind on one tag is finished, and what the registry shows is the truth."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from containers.models import Manifest
from containers.models import Tag as TagRecord
from containers.registry.client import RegistryAnswer
from containers.writes import STRAY_LIFE, WRITE_LEASE
from immutability.models import LockedTag
from immutability.reconcile.tag import reconcile_record
from tests.immutability.core import Core, named
from tests.immutability.reconcile.conftest import Library
from tests.immutability.registry_double import (
    NO_ANSWER,
    NOT_REACHED,
    REFUSED,
    Carry,
    answer,
    digest_of,
    image,
    lands_without_answer,
)
from workspaces.log.models import LockEvent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]

ONE, TWO = named("one", image("one")), named("two", image("two"))
LEASE = WRITE_LEASE.total_seconds()
LIFE = STRAY_LIFE.total_seconds()


class KilledError(BaseException):
    """The sender's process ends here."""


def _die(carry: Carry) -> RegistryAnswer:
    raise KilledError


def _show(library: Library, body: bytes | None) -> None:
    library.tags.clear()
    if body:
        library.store(body, "v1")


# ---- after a stray ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "shown", "expected", "event"),
    [
        ("claimed", ONE, "locked one", "tag.locked"),
        ("claimed", TWO, "none", None),
        ("claimed", None, "claimed one", None),
        ("locked", ONE, "locked one", None),
        ("locked", TWO, "none", "lock.ended"),
        ("locked", None, "none", "lock.ended"),
        ("released", ONE, "released one", None),
        ("released", TWO, "none", "lock.ended"),
        ("released", None, "none", "lock.ended"),
        ("reserved", ONE, "locked one", "tag.locked"),
        ("reserved", TWO, "none", "lock.ended"),
        ("reserved", None, "reserved one", None),
        ("deleting", ONE, "deleting one", None),
        ("deleting", TWO, "none", "lock.ended"),
        ("deleting", None, "reserved one", "tag.deleted"),
    ],
)
def test_after_a_stray_a_look_decides(
    gate: Core,
    library: Library,
    state: str,
    shown: bytes | None,
    expected: str,
    event: str | None,
) -> None:
    gate.push("v1", image=ONE)
    LockedTag.objects.update(state=state, deleted_by="alice", deleted_by_kind="person")
    TagRecord.objects.update(stray_until=Now() - timedelta(seconds=1))
    known = set(LockEvent.objects.values_list("id", flat=True))
    _show(library, shown)
    sent = library.sent()
    assert gate.reconcile()
    assert library.sent() == sent
    assert gate.lock() == expected
    record = gate.record()
    assert (record.digest, record.stray_until) == (digest_of(shown) if shown else "", None)
    new = LockEvent.objects.exclude(id__in=known).values_list("kind", flat=True)
    assert list(new) == ([event] if event else [])


@pytest.mark.parametrize("shown", [ONE, TWO, None])
def test_a_tag_without_a_lock_is_recorded_as_it_is(
    unprotected: Core, library: Library, shown: bytes | None
) -> None:
    unprotected.push("v1", image=ONE)
    TagRecord.objects.update(stray_until=Now() - timedelta(seconds=1))
    _show(library, shown)
    assert unprotected.reconcile()
    assert unprotected.record().digest == (digest_of(shown) if shown else "")
    assert unprotected.lock() == "none"


def test_a_claim_over_a_released_tag_that_shows_the_released_image_stands(
    gate: Core, library: Library
) -> None:
    gate.push("v1", image=ONE)
    LockedTag.objects.update(state="released")
    library.script("PUT v1", NO_ANSWER)
    gate.push("v1", image=TWO)
    gate.let_pass(seconds=LIFE + 1)
    assert gate.reconcile()
    assert (gate.lock(), gate.stray()) == ("claimed two", "none")
    # It is pointed the next time.
    assert gate.reconcile()
    assert gate.lock() == "locked two"


@pytest.mark.parametrize(
    ("stray", "shown", "stands"),
    [(ONE, TWO, True), (ONE, ONE, True), (ONE, None, True), (None, TWO, True), (None, None, False)],
)
def test_a_lock_that_was_never_shown_stands_unless_the_stray_has_changed_the_tag(
    gate: Core, library: Library, stray: bytes | None, shown: bytes | None, *, stands: bool
) -> None:
    gate.push("v1", image=ONE)
    # A check in one call has locked it; the record says what was there before.
    TagRecord.objects.update(
        digest=digest_of(TWO),
        stray_until=Now() - timedelta(seconds=1),
        stray_digest=digest_of(stray) if stray else "",
    )
    _show(library, shown)
    assert gate.reconcile()
    assert gate.lock() == ("locked one" if stands else "none")


def test_an_open_stray_is_left_alone(gate: Core, library: Library) -> None:
    gate.push("v1", image=ONE)
    TagRecord.objects.update(stray_until=Now() + timedelta(seconds=60))
    library.calls.clear()
    assert not gate.reconcile()
    assert library.calls == []


def test_a_look_that_the_tag_has_changed_under_does_not_count(
    unprotected: Core, library: Library
) -> None:
    unprotected.push("v1", image=ONE)
    TagRecord.objects.update(stray_until=Now() - timedelta(seconds=1))

    def push(carry: Carry) -> RegistryAnswer:
        shown = carry()
        unprotected.push("v1", image=TWO)
        return shown

    library.script("HEAD v1", push)
    assert not unprotected.reconcile()
    assert unprotected.record().digest == digest_of(TWO)
    assert unprotected.stray() != "none"


def test_without_a_registry_a_stray_just_ends(gate: Core) -> None:
    gate.push("v1", image=ONE)
    TagRecord.objects.update(stray_until=Now() - timedelta(seconds=1))
    assert reconcile_record(gate.record().id, None)
    assert (gate.lock(), gate.stray()) == ("locked one", "none")
    assert gate.record().digest == digest_of(ONE)


# ---- writes, claims, deletes --------------------------------------------------------------------


def test_a_write_becomes_a_stray_once_it_has_expired(unprotected: Core, library: Library) -> None:
    library.script("PUT v1", _die)
    with pytest.raises(KilledError):
        unprotected.push("v1", image=ONE)
    assert not unprotected.reconcile()
    unprotected.let_pass(seconds=LEASE + 1)
    assert unprotected.reconcile()
    record = unprotected.record()
    assert (record.write_id, record.stray_digest) == (None, digest_of(ONE))
    assert not unprotected.reconcile()


@pytest.mark.parametrize(
    ("reply", "expected", "stray"),
    [
        (None, "locked one", "none"),
        (lands_without_answer, "claimed one", "one"),
        (NO_ANSWER, "claimed one", "one"),
        (answer(500), "claimed one", "one"),
        (REFUSED, "none", "none"),
        (NOT_REACHED, "none", "none"),
    ],
    ids=["landed", "landed, lost", "no answer", "500", "refused", "not sent"],
)
def test_a_claim_is_pointed_and_settled_by_the_answer(
    gate: Core, library: Library, reply: Any, expected: str, stray: str
) -> None:
    _claim(gate, library)
    if reply is not None:
        library.script("PUT v1", reply)
    assert gate.reconcile()
    assert (gate.lock(), gate.stray()) == (expected, stray)
    # Once for each time.
    assert library.sent_by_tag == ["v1", "v1"]


def _claim(core: Core, library: Library) -> None:
    """Leave a claim behind without a write and without a stray."""
    library.script("PUT v1", NO_ANSWER)
    core.push("v1", image=ONE)
    TagRecord.objects.update(stray_until=None, stray_digest="")
    assert core.lock() == "claimed one"


def test_a_refusal_while_a_stray_is_open_is_tried_again_once_it_is_over(
    gate: Core, library: Library
) -> None:
    library.script("PUT v1", NO_ANSWER, REFUSED)
    gate.push("v1", image=ONE)
    assert gate.reconcile()
    assert gate.lock() == "claimed one"
    sent = len(library.sent())
    assert not gate.reconcile()
    assert len(library.sent()) == sent
    gate.let_pass(seconds=LIFE + 1)
    library.script("PUT v1", REFUSED)
    assert [gate.reconcile(), gate.reconcile()] == [True, True]
    assert gate.lock() == "none"


@pytest.mark.parametrize("obstacle", ["nothing", "shown", "stray", "delete", "stray delete"])
def test_a_claim_whose_manifest_is_gone_goes_back_if_nothing_speaks_against_it(
    gate: Core, library: Library, obstacle: str
) -> None:
    _claim(gate, library)
    library.manifests.clear()
    if obstacle == "shown":
        # By its tag the manifest is there all the same: a 404 alone is weak.
        library.store(ONE, "v1")
        library.script(f"GET {digest_of(ONE)}", answer(404, "MANIFEST_UNKNOWN"))
    elif obstacle == "stray":
        TagRecord.objects.update(
            stray_until=Now() + timedelta(minutes=5), stray_digest=digest_of(ONE)
        )
    elif obstacle == "delete":
        Manifest.objects.update(delete_id="0" * 32, delete_expires_at=Now() + timedelta(seconds=30))
    elif obstacle == "stray delete":
        Manifest.objects.update(stray_until=Now() + timedelta(minutes=5))
    assert gate.reconcile() is (obstacle == "nothing")
    assert gate.lock() == ("none" if obstacle == "nothing" else "claimed one")


def test_a_claim_is_not_pointed_while_its_manifest_is_being_deleted(
    gate: Core, library: Library
) -> None:
    _claim(gate, library)
    Manifest.objects.update(stray_until=Now() + timedelta(minutes=5))
    assert not gate.reconcile()
    assert library.sent_by_tag == ["v1"]


@pytest.mark.parametrize(
    ("reply", "expected", "stray"),
    [
        (None, "reserved one", "none"),
        (answer(404, "MANIFEST_UNKNOWN"), "reserved one", "none"),
        (NO_ANSWER, "deleting one", "delete or several"),
        (REFUSED, "locked one", "none"),
    ],
    ids=["landed", "absent", "no answer", "refused"],
)
def test_a_delete_is_sent_again_by_tag_and_settled_by_the_answer(
    gate: Core, library: Library, reply: Any, expected: str, stray: str
) -> None:
    gate.push("v1", image=ONE)
    library.script("DELETE v1", NO_ANSWER)
    gate.delete("v1", is_admin=True)
    TagRecord.objects.update(stray_until=None)
    if reply is not None:
        library.script("DELETE v1", reply)
    assert gate.reconcile()
    assert (gate.lock(), gate.stray()) == (expected, stray)
    assert library.sent("DELETE") == ["DELETE v1"] * 2


@pytest.mark.parametrize("what", ["GET", "HEAD v1"])
def test_a_registry_that_gives_no_answer_leaves_all_as_it_is(
    gate: Core, library: Library, what: str
) -> None:
    _claim(gate, library)
    library.manifests.clear()
    library.script(what, NO_ANSWER)
    before = list(TagRecord.objects.values())
    assert not gate.reconcile()
    assert list(TagRecord.objects.values()) == before
    assert gate.lock() == "claimed one"


@pytest.mark.parametrize("what", ["PUT v1", "DELETE v1"])
def test_a_tag_that_somebody_is_at_work_on_is_left_alone(
    gate: Core, library: Library, what: str
) -> None:
    other = []

    def meanwhile(carry: Carry) -> RegistryAnswer:
        other.append(gate.reconcile())
        return carry()

    if what.startswith("DELETE"):
        gate.push("v1", image=ONE)
        library.script(what, NO_ANSWER)
        gate.delete("v1", is_admin=True)
    else:
        _claim(gate, library)
    library.script(what, meanwhile)
    assert gate.reconcile()
    assert other == [False]

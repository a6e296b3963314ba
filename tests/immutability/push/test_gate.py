"""Pushes through the gate: read, look, store, claim, point, settle."""

import pytest
from django.db.models import F

from containers.models import Manifest, Push
from containers.models import Tag as TagRecord
from containers.names import Digest
from containers.registry.client import RegistryAnswer
from immutability.look import MAX_LISTS_READ
from immutability.models import LockedTag
from immutability.policy.protection import PolicyRule, Protection
from tests.conftest import LATEST
from tests.immutability.core import Core, let_time_pass_before_sending, named
from tests.immutability.registry_double import (
    NO_ANSWER,
    NOT_REACHED,
    REFUSED,
    Carry,
    Late,
    Reply,
    answer,
    digest_of,
    image,
    index,
    lands_without_answer,
)
from workspaces.log.kinds import EventKind
from workspaces.log.models import LockEvent

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.both_databases,
    pytest.mark.usefixtures("kept_core"),
]

ONE, TWO, THREE = (named(name, image(name)) for name in ("one", "two", "three"))
LIST = named("list", index(ONE, TWO))


def test_the_first_push_is_stored_claimed_pointed_and_locked(core: Core) -> None:
    assert core.push("v1", image=ONE) == "201"
    assert [call.reference for call in core.registry.calls if call.method == "PUT"] == [
        digest_of(ONE),
        "v1",
    ]
    assert (core.lock(), core.shown(), core.events()) == ("locked one", "one", ["tag.locked"])
    assert core.record().write_id is None
    assert Push.objects.get().actor == "dana"
    assert Manifest.objects.get(digest=digest_of(ONE)).is_there


def test_the_claim_is_committed_before_the_tag_is_pointed(core: Core) -> None:
    def check(carry: Carry) -> RegistryAnswer:
        assert core.lock() == "claimed one"
        assert core.record().write_digest == digest_of(ONE)
        return carry()

    core.registry.script("PUT v1", check)
    assert core.push("v1", image=ONE) == "201"


def test_nothing_is_recorded_before_the_registry_has_stored_the_manifest(core: Core) -> None:
    def check(carry: Carry) -> RegistryAnswer:
        assert core.lock() == "none"
        return carry()

    core.registry.script(f"PUT {digest_of(ONE)}", check)
    assert core.push("v1", image=ONE) == "201"


@pytest.mark.parametrize(
    ("reply", "told"), [(REFUSED, "400"), (NO_ANSWER, "503"), (answer(500), "503")]
)
def test_a_manifest_that_is_not_stored_leaves_nothing(
    core: Core, reply: RegistryAnswer, told: str
) -> None:
    core.registry.script("PUT", reply)
    assert core.push("v1", image=ONE) == told
    assert (core.lock(), core.events()) == ("none", [])
    assert core.push("v1", image=TWO) == "201"


def test_a_manifest_that_the_registry_never_takes_is_refused_for_good(core: Core) -> None:
    core.registry.script("PUT", answer(500, "MANIFEST_BLOB_UNKNOWN"))
    assert core.push("v1", image=ONE) == "400"
    assert core.push("v1", image=TWO) == "201"


def test_an_index_of_many_unknown_images_is_refused_in_the_registrys_words(core: Core) -> None:
    """None of them is asked for: the registry says which it does not have."""
    big = index(*(image(str(number)) for number in range(MAX_LISTS_READ + 1)))
    assert core.push("v1", image=big) == "400"
    assert core.registry.sent("HEAD", "GET") == ["HEAD v1"]
    assert len(core.registry.sent()) == 1
    assert (core.lock(), core.events()) == ("none", [])
    assert core.push("v1", image=TWO) == "201"


def test_the_same_image_again_changes_nothing_and_is_never_sent_by_tag(core: Core) -> None:
    core.push("v1", image=ONE)
    assert core.push("v1", image=ONE) == "201"
    assert core.registry.sent_by_tag == ["v1"]
    assert core.events() == ["tag.locked", "push.identical"]


def test_the_same_image_again_heals_a_manifest_that_was_lost(core: Core) -> None:
    core.push("v1", image=ONE)
    core.registry.manifests.clear()
    assert core.push("v1", image=ONE) == "201"
    assert digest_of(ONE) in core.registry.manifests
    assert core.registry.sent_by_tag == ["v1"]


def test_another_image_is_refused_and_nothing_is_sent(core: Core) -> None:
    core.push("v1", image=ONE)
    core.registry.calls.clear()
    assert core.push("v1", image=TWO) == "403 locked"
    assert core.registry.calls == []
    assert core.events() == ["tag.locked", "push.refused"]


def test_what_is_there_already_is_adopted_first(core: Core) -> None:
    core.registry.store(ONE, "v1")
    assert core.push("v1", image=TWO) == "403 locked"
    assert (core.lock(), core.shown()) == ("locked one", "one")
    assert core.events() == ["tag.adopted", "push.refused"]
    assert core.push("v1", image=ONE) == "201"


def test_an_adopted_tag_says_who_pushed_it_where_the_push_passed_the_gate(core: Core) -> None:
    core.protect(Protection.NONE)
    core.push("v1", image=ONE)
    core.protect()
    core.push("v1", image=TWO)
    lock = core.record().lock
    assert (lock.state, lock.pushed_by) == ("locked", "dana")


def test_an_unprotected_tag_goes_to_the_registry_as_it_is(core: Core) -> None:
    core.protect(Protection.NONE)
    assert [core.push("v1", image=ONE), core.push("v1", image=TWO)] == ["201", "201"]
    assert core.registry.sent() == ["PUT v1", "PUT v1"]
    assert (core.lock(), core.events()) == ("none", [])


def test_identical_pushes_are_refused_where_the_workspace_says_so(core: Core) -> None:
    core.protect(refuse_identical_pushes=True)
    core.push("v1", image=ONE)
    assert core.push("v1", image=ONE) == "403 locked"


# ---- several tags ----------------------------------------------------------------------------


def test_several_tags_are_stored_once_claimed_together_and_pointed_one_by_one(core: Core) -> None:
    assert core.push("v1", "v2", image=ONE) == "201"
    assert core.registry.sent_by_tag == ["v1", "v2"]
    assert (core.lock("v1"), core.lock("v2")) == ("locked one", "locked one")


def test_one_refusal_refuses_all(core: Core) -> None:
    core.push("v2", image=TWO)
    core.registry.calls.clear()
    assert core.push("v1", "v2", "v3", image=ONE) == "403 locked"
    assert core.registry.sent() == []
    assert core.lock("v1") == "none"


def test_after_a_tag_that_fails_no_other_is_sent(core: Core) -> None:
    core.registry.script("PUT v1", REFUSED)
    assert core.push("v1", "v2", image=ONE) == "400"
    assert (core.lock("v1"), core.lock("v2")) == ("none", "none")
    assert core.registry.sent_by_tag == ["v1"]


# ---- no answer -------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", [NO_ANSWER, lands_without_answer, answer(500), answer(429)])
def test_after_a_lost_answer_the_same_image_succeeds_at_once(core: Core, reply: Reply) -> None:
    core.registry.script("PUT v1", reply)
    assert core.push("v1", image=ONE) == "503"
    assert (core.lock(), core.stray()) == ("claimed one", "one")
    assert core.push("v1", image=ONE) == "201"
    assert core.lock() == "locked one"


def test_after_a_lost_answer_another_image_gets_its_answer_once_the_claim_is_pointed(
    core: Core,
) -> None:
    core.registry.script("PUT v1", NO_ANSWER)
    core.push("v1", image=ONE)
    assert core.push("v1", image=TWO) == "403 locked"
    assert (core.lock(), core.shown()) == ("locked one", "one")


def test_a_claim_that_cannot_be_pointed_yet_makes_others_wait(core: Core) -> None:
    core.registry.script("PUT v1", NO_ANSWER)
    core.push("v1", image=ONE)
    core.registry.script("GET", NO_ANSWER)
    assert core.push("v1", image=TWO) == "503 CLAIM_PENDING"


def test_a_write_that_never_left_leaves_the_name_free(core: Core) -> None:
    core.registry.script("PUT v1", NOT_REACHED)
    assert core.push("v1", image=ONE) == "503"
    assert (core.lock(), core.stray()) == ("none", "none")
    assert core.push("v1", image=TWO) == "201"


def test_a_refused_point_frees_the_name(core: Core) -> None:
    core.registry.script("PUT v1", REFUSED)
    assert core.push("v1", image=ONE) == "400"
    assert core.lock() == "none"
    assert core.push("v1", image=TWO) == "201"


def test_a_refused_point_is_not_repeated_while_an_earlier_one_may_land(core: Core) -> None:
    core.registry.script("PUT v1", NO_ANSWER, REFUSED)
    core.push("v1", image=ONE)
    assert core.push("v1", image=ONE) == "400"
    assert core.lock() == "claimed one"
    assert core.push("v1", image=TWO) == "503 CLAIM_PENDING"
    assert core.registry.sent_by_tag == ["v1", "v1"]
    core.let_pass(minutes=16)
    core.registry.script("PUT v1", REFUSED)
    assert core.reconcile()
    assert core.reconcile()
    assert core.lock() == "none"
    assert core.push("v1", image=TWO) == "201"


def test_an_unprotected_stray_does_not_hold_up_an_unprotected_tag(core: Core) -> None:
    core.protect(Protection.NONE)
    core.registry.script("PUT v1", NO_ANSWER)
    assert core.push("v1", image=ONE) == "503"
    assert core.push("v1", image=TWO) == "201"


# ---- crashes ---------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def crash(core: Core) -> Late:
    """A first push of ONE whose sender died with its write in flight."""
    late = Late()

    def die(carry: Carry) -> RegistryAnswer:
        with pytest.raises(Exception, match="timed out"):
            late(carry)
        raise Killed

    core.registry.script("PUT v1", die)
    with pytest.raises(Killed):
        core.push("v1", image=ONE)
    return late


def test_after_a_crash_the_same_image_succeeds_within_seconds(core: Core, crash: Late) -> None:
    assert core.push("v1", image=ONE) == "503 CLAIM_PENDING"
    core.let_pass(seconds=6)
    assert core.push("v1", image=ONE) == "201"
    crash.land()
    assert (core.lock(), core.shown()) == ("locked one", "one")


def test_after_a_crash_an_unprotected_tag_waits_for_seconds_only(core: Core, crash: Late) -> None:
    core.protect(Protection.NONE)
    assert core.push("v1", image=TWO) == "503 CLAIM_PENDING"
    core.let_pass(seconds=6)
    assert core.push("v1", image=TWO) == "201"
    assert (core.lock(), core.stray()) == ("none", "one")
    crash.land()
    core.protect()
    assert core.push("v1", image=TWO) == "503 CLAIM_PENDING"
    core.let_pass(minutes=16)
    assert core.push("v1", image=TWO) == "403 locked"
    assert core.push("v1", image=ONE) == "201"


def test_after_a_crash_another_image_is_refused_once_the_write_has_expired(
    core: Core, crash: Late
) -> None:
    core.let_pass(seconds=6)
    assert core.push("v1", image=TWO) == "503 CLAIM_PENDING"
    core.let_pass(seconds=30)
    assert core.push("v1", image=TWO) == "403 locked"
    crash.land()
    assert (core.lock(), core.shown()) == ("locked one", "one")


def test_a_late_sender_does_not_send(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as delayed:
        let_time_pass_before_sending(delayed)
        assert core.push("v1", image=ONE) == "503"
    assert core.registry.sent_by_tag == []
    assert (core.lock(), core.stray()) == ("none", "none")
    assert core.push("v1", image=TWO) == "201"


# ---- an index --------------------------------------------------------------------------------


def test_an_index_is_locked_with_what_it_lists(core: Core) -> None:
    core.push(image=ONE)
    core.push(image=TWO)
    assert core.push("v1", image=LIST) == "201"
    assert core.delete(ONE) == "403 locked"
    assert core.delete(ONE, is_admin=True) == "403 locked"
    assert core.push("v1", image=LIST) == "201"


def test_an_index_whose_child_is_gone_is_not_unchanged(core: Core) -> None:
    core.push(image=ONE)
    core.push(image=TWO)
    core.push("v1", image=LIST)
    del core.registry.manifests[digest_of(ONE)]
    assert core.push("v1", image=LIST) == "400"
    core.push(image=ONE)
    assert core.push("v1", image=LIST) == "201"


def test_an_index_of_an_index_whose_leaf_is_gone_is_refused(core: Core) -> None:
    top = index(LIST)
    for each in (ONE, TWO, LIST):
        core.push(image=each)
    core.protect(Protection.NONE)
    assert core.delete(ONE) == "202"
    core.protect()
    core.registry.store(LIST)
    assert core.push("v1", image=top) == "400 MANIFEST_MISSING"
    core.push(image=ONE)
    assert core.push("v1", image=top) == "201"


def test_an_index_of_more_than_is_read_at_once_is_read_bit_by_bit(core: Core) -> None:
    children = [image(str(number)) for number in range(MAX_LISTS_READ + 1)]
    for each in children:
        core.registry.store(each)
    assert core.push("v1", image=index(*children)) == "503"
    assert core.push("v1", image=index(*children)) == "201"


def test_a_late_sender_does_not_bring_back_a_manifest_that_was_deleted(core: Core) -> None:
    def come_late(carry: Carry) -> RegistryAnswer:
        landed = carry()
        core.let_pass(seconds=6)
        assert core.push("v1", image=ONE) == "201"
        assert core.delete(ONE, is_admin=True) == "202"
        return landed

    core.registry.script("PUT v1", come_late)
    assert core.push("v1", image=ONE) == "503"
    assert not Manifest.objects.get(digest=digest_of(ONE)).is_there


def test_what_an_index_lists_is_not_compared_with_itself_one_by_one(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 300
    children = [f"sha256:{number:064x}" for number in range(count)]
    place = {"workspace": core.workspace, "repository": core.repository.name}
    Manifest.objects.bulk_create(
        [Manifest(**place, digest=each, is_read=True, is_there=True) for each in children]
    )
    core.registry.checks_children = False
    compared = 0
    is_equal = Digest.__eq__

    def compare(self: Digest, other: object) -> bool:
        nonlocal compared
        compared += 1
        return is_equal(self, other)

    monkeypatch.setattr(Digest, "__eq__", compare)
    assert core.push("v1", image=index(*children)) == "201"
    assert compared < 20 * count


# ---- exceptions ------------------------------------------------------------------------------


def test_a_tag_that_an_exception_matches_can_be_moved_and_deleted_by_anyone(core: Core) -> None:
    core.protect(exceptions=(LATEST,))
    assert core.push("latest", image=ONE) == "201"
    assert core.push("latest", image=TWO) == "201"
    assert (core.lock("latest"), core.shown("latest")) == ("none", "two")
    assert core.delete("latest") == "202"
    assert core.events() == []
    assert core.push("v1", image=ONE) == "201"
    assert core.push("v1", image=TWO) == "403 locked"


def test_one_push_locks_what_is_covered_and_moves_what_is_not(core: Core) -> None:
    core.protect(exceptions=(LATEST,))
    core.push("latest", image=TWO)
    assert core.push("latest", "v1", image=ONE) == "201"
    assert (core.lock("latest"), core.lock("v1")) == ("none", "locked one")
    assert core.push("latest", "v1", image=TWO) == "403 locked"
    assert core.shown("latest") == "one"


def test_an_exception_suspends_a_lock_and_it_holds_again_without_it(core: Core) -> None:
    core.push("latest", image=ONE)
    core.protect(exceptions=(LATEST,))
    assert core.push("latest", image=ONE) == "201"
    assert core.lock("latest") == "locked one"
    core.protect()
    assert core.push("latest", image=TWO) == "403 locked"
    core.protect(exceptions=(LATEST,))
    assert core.push("latest", image=TWO) == "201"
    assert core.events()[-1] == "lock.ended"
    assert (core.lock("latest"), core.shown("latest")) == ("none", "two")


def test_exceptions_are_no_part_of_some(core: Core) -> None:
    core.protect(Protection.SOME, PolicyRule("Latest", "^latest$"), exceptions=(LATEST,))
    core.push("latest", image=ONE)
    assert core.push("latest", image=TWO) == "403 locked"


def test_a_lock_is_read_again_where_its_record_has_changed_since_the_claim(core: Core) -> None:
    def change(carry: Carry) -> RegistryAnswer:
        TagRecord.objects.update(revision=F("revision") + 1)
        LockedTag.objects.update(pushed_by="erin")
        return carry()

    core.registry.script("PUT v1", change)
    assert core.push("v1", image=ONE) == "201"
    assert LockEvent.objects.get(kind=EventKind.TAG_LOCKED).actor == "erin"

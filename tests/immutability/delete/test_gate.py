"""Deletes through the gate: by tag, by digest, by an admin, on registries that delete no tags."""

from typing import Any

import pytest

from containers.models import Manifest
from containers.names import TagName
from containers.registry.client import RegistryAnswer
from immutability.answers import Refusal
from immutability.delete.gate import ManifestDelete, delete_manifest
from immutability.policy.protection import PolicyRule, Protection
from tests.immutability.core import DANA, Core, let_time_pass_before_sending, named
from tests.immutability.registry_double import (
    INDEX_TYPE,
    NO_ANSWER,
    NOT_REACHED,
    REFUSED,
    Carry,
    answer,
    digest_of,
    image,
    index,
    lands_without_answer,
    placeholder,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]

ONE, TWO = named("one", image("one")), named("two", image("two"))
LIST = named("list", index(ONE))
VERSIONS = PolicyRule("Versions", r"^v\d+$")


def test_a_member_deletes_no_locked_tag(core: Core) -> None:
    core.push("v1", image=ONE)
    assert core.delete("v1") == "403 locked"
    assert core.delete(ONE) == "403 locked"
    assert (core.lock(), core.shown()) == ("locked one", "one")
    assert core.registry.sent("DELETE") == []
    assert core.events() == ["tag.locked", "delete.refused"]


@pytest.mark.parametrize("target", ["v1", ONE])
def test_an_admins_delete_leaves_the_name_reserved(core: Core, target: str | bytes) -> None:
    core.push("v1", image=ONE)
    assert core.delete(target, is_admin=True, reason="bad build") == "202"
    assert (core.lock(), core.shown()) == ("reserved one", "nothing")
    assert core.push("v1", image=TWO) == "403 reserved"
    assert core.push("v1", image=ONE) == "201"
    assert core.lock() == "locked one"
    assert core.events() == ["tag.locked", "tag.deleted", "push.refused", "tag.locked"]


def test_the_tag_is_being_deleted_while_the_delete_is_in_flight(core: Core) -> None:
    def check(carry: Carry) -> RegistryAnswer:
        assert core.lock() == "deleting one"
        assert core.push("v1", image=ONE) == "503 CLAIM_PENDING"
        return carry()

    core.push("v1", image=ONE)
    core.registry.script("DELETE", check)
    assert core.delete("v1", is_admin=True) == "202"


def test_a_covered_tag_from_before_is_locked_for_a_delete(core: Core) -> None:
    core.registry.store(ONE, "v1")
    assert core.delete("v1") == "403 locked"
    assert core.lock() == "locked one"


@pytest.mark.parametrize("is_admin", [False, True])
def test_a_covered_tag_that_is_not_there_is_told_so(core: Core, *, is_admin: bool) -> None:
    assert core.delete("v1", is_admin=is_admin) == "404 None"
    assert core.registry.sent("DELETE") == []


def test_an_unprotected_delete_ends_the_lock_whether_it_lands_or_not(core: Core) -> None:
    core.push("v1", image=ONE)
    core.protect(Protection.NONE)
    core.registry.script("DELETE", REFUSED, NO_ANSWER)
    core.registry.deletes_tags = False
    assert core.delete("v1") == "503"
    assert core.lock() == "none"
    assert core.events() == ["tag.locked", "lock.ended"]


# ---- no answer -------------------------------------------------------------------------------


def test_a_delete_that_landed_without_an_answer_reserves_the_name(core: Core) -> None:
    core.push("v1", image=ONE)
    core.registry.script("DELETE", lands_without_answer)
    assert core.delete("v1", is_admin=True) == "503"
    assert (core.lock(), core.stray()) == ("deleting one", "delete or several")
    core.reconcile()
    assert core.lock() == "reserved one"
    assert core.push("v1", image=ONE) == "503 CLAIM_PENDING"
    core.let_pass(minutes=16)
    assert core.push("v1", image=TWO) == "403 reserved"
    assert core.push("v1", image=ONE) == "201"


def test_a_delete_that_never_left_changes_nothing(core: Core) -> None:
    core.push("v1", image=ONE)
    core.registry.script("DELETE", NOT_REACHED)
    assert core.delete("v1", is_admin=True) == "503"
    assert (core.lock(), core.stray()) == ("locked one", "none")


@pytest.mark.parametrize("target", ["v1", ONE])
def test_a_late_sender_does_not_delete(
    core: Core, monkeypatch: pytest.MonkeyPatch, target: str | bytes
) -> None:
    core.push("v1", image=ONE)
    let_time_pass_before_sending(monkeypatch)
    assert core.delete(target, is_admin=True) == "503"
    assert core.registry.sent("DELETE") == []
    assert (core.lock(), core.stray()) == ("locked one", "none")


def test_a_refused_delete_changes_nothing(core: Core) -> None:
    core.push("v1", image=ONE)
    core.registry.script("DELETE", answer(403, "DENIED"))
    assert core.delete("v1", is_admin=True) == "403"
    assert core.lock() == "locked one"
    assert core.push("v1", image=TWO) == "403 locked"


def test_a_repeated_delete_that_is_refused_waits_for_the_first(core: Core) -> None:
    core.push("v1", image=ONE)
    core.registry.script("DELETE", NO_ANSWER, REFUSED, REFUSED)
    core.delete("v1", is_admin=True)
    core.reconcile()
    assert core.lock() == "deleting one"
    core.let_pass(minutes=16)
    while core.reconcile():
        pass
    assert core.lock() == "locked one"


# ---- by digest -------------------------------------------------------------------------------


def test_a_delete_by_digest_is_refused_where_one_of_its_tags_is_locked(core: Core) -> None:
    core.protect(Protection.SOME, VERSIONS)
    core.push("v1", image=ONE)
    core.push("latest", image=ONE)
    assert core.delete(ONE) == "403 locked"
    assert core.delete(ONE, is_admin=True) == "202"
    assert (core.lock("v1"), core.lock("latest")) == ("reserved one", "none")
    assert core.record("latest").digest == ""


def test_an_unprotected_image_is_deleted_with_its_tags(core: Core) -> None:
    core.protect(Protection.NONE)
    core.push("a", "b", image=ONE)
    assert core.delete(ONE) == "202"
    assert not Manifest.objects.get(digest=digest_of(ONE)).is_there
    core.protect()
    assert core.push("a", image=TWO) == "201"


def test_a_delete_by_digest_without_an_answer_holds_up_what_needs_the_image(core: Core) -> None:
    core.protect(Protection.NONE)
    core.push("a", image=ONE)
    core.registry.script("DELETE", NO_ANSWER)
    assert core.delete(ONE) == "503"
    assert core.push("b", image=ONE) == "503 CLAIM_PENDING"
    assert core.push("b", image=TWO) == "201"
    core.let_pass(minutes=16)
    assert core.push("b", image=ONE) == "201"


def test_what_a_claimed_index_lists_waits(core: Core) -> None:
    core.push(image=ONE)

    def check(carry: Carry) -> RegistryAnswer:
        assert core.delete(ONE) == "503 CLAIM_PENDING"
        return carry()

    core.registry.script("PUT v1", check)
    assert core.push("v1", image=LIST) == "201"


def test_an_unlocked_index_that_is_covered_counts_as_locked(core: Core) -> None:
    core.protect(Protection.NONE)
    core.push(image=ONE)
    core.push("v1", image=LIST)
    core.protect()
    assert core.delete(ONE) == "403 locked"
    assert core.lock() == "locked list"


def test_what_a_protected_image_that_was_never_read_lists_is_not_deleted(core: Core) -> None:
    core.registry.store(ONE)
    core.registry.store(LIST, media_type=INDEX_TYPE)
    core.registry.store(index(LIST), "v1", media_type=INDEX_TYPE)
    core.registry.store(TWO)
    assert core.delete(ONE) == "403 locked"
    assert core.delete(ONE, is_admin=True) == "403 locked"
    assert core.delete(TWO) == "202"


def test_what_an_unreadable_protected_manifest_may_list_is_not_deleted(core: Core) -> None:
    unreadable = named("unreadable", b"nonsense")
    core.registry.store(ONE)
    core.registry.store(unreadable, "v1")
    for is_admin in (False, True):
        assert core.delete(ONE, is_admin=is_admin) == "409 LIST_UNREADABLE"
    assert core.registry.sent("DELETE") == []
    assert core.delete(unreadable, is_admin=True) == "202"
    assert core.delete(ONE) == "202"


def test_an_image_that_the_registry_has_lost_lists_nothing(core: Core) -> None:
    core.push(image=ONE)
    core.push("v1", image=TWO)
    Manifest.objects.update(is_read=False)
    del core.registry.manifests[digest_of(TWO)]
    assert core.delete(ONE) == "202"


# ---- registries that delete no single tags ---------------------------------------------------


@pytest.fixture
def no_tag_deletes(core: Core) -> Core:
    core.registry.deletes_tags = False
    return core


def test_a_tag_alone_on_its_image_is_deleted_by_digest(no_tag_deletes: Core) -> None:
    core = no_tag_deletes
    core.push("v1", image=ONE)
    assert core.delete("v1", is_admin=True) == "202"
    assert (core.lock(), core.shown()) == ("reserved one", "nothing")
    core.protect(Protection.NONE)
    core.push("v2", image=TWO)
    assert core.delete("v2") == "202"
    assert core.shown("v2") == "nothing"


@pytest.mark.parametrize("protection", [Protection.ALL, Protection.NONE])
def test_a_tag_that_shares_its_image_says_with_which(
    no_tag_deletes: Core, protection: Protection
) -> None:
    core = no_tag_deletes
    core.push("v1", "v2", image=ONE)
    core.protect(protection)
    assert core.delete("v1", is_admin=True) == "405 SHARED_IMAGE"
    assert (core.shown("v1"), core.shown("v2")) == ("one", "one")
    assert core.lock("v2") == "locked one"


def test_a_delete_that_would_be_refused_is_not_said_to_help(no_tag_deletes: Core) -> None:
    core = no_tag_deletes
    core.protect(Protection.SOME, VERSIONS)
    core.push("v1", "latest", image=ONE)
    assert message_of(core, "latest").endswith(
        '"v1" would go with its image. Push another image under this tag, then delete it.'
    )
    assert core.push("latest", image=TWO) == "201"
    assert core.delete("latest") == "202"
    assert (core.shown("v1"), core.shown("latest")) == ("one", "nothing")


def message_of(core: Core, tag: str) -> str:
    """Return what a member is told of a delete."""
    delete = ManifestDelete(core.workspace, core.repository, TagName(tag))
    registry: Any = core.registry
    refusal = delete_manifest(delete, registry, core.slots, actor=DANA)
    assert isinstance(refusal, Refusal)
    return refusal.message


def test_a_locked_tag_whose_image_is_lost_can_be_deleted(no_tag_deletes: Core) -> None:
    core = no_tag_deletes
    core.push("v1", image=ONE)
    core.registry.manifests.clear()
    core.registry.tags.clear()
    assert core.delete("v1", is_admin=True) == "202"
    assert core.lock() == "reserved one"


@pytest.mark.parametrize("is_admin", [False, True])
@pytest.mark.parametrize("state", ["locked", "released", "reserved"])
def test_regctl_uses_up_no_release(no_tag_deletes: Core, state: str, *, is_admin: bool) -> None:
    """Where a registry deletes no tags, regctl pushes a placeholder and deletes that by digest."""
    core = no_tag_deletes
    core.push("v1", "v2", image=ONE)
    if state == "released":
        core.release()
    if state == "reserved":
        core.registry.deletes_tags = True
        core.delete("v1", is_admin=True)
    before = core.shown()
    assert core.delete("v1", is_admin=is_admin) != "202"
    assert core.push("v1", image=placeholder()).startswith("403")
    assert (core.lock(), core.shown()) == (f"{state} one", before)


def test_regctl_deletes_an_unprotected_tag_that_shares_its_image(no_tag_deletes: Core) -> None:
    core = no_tag_deletes
    core.protect(Protection.NONE)
    core.push("v1", "v2", image=ONE)
    assert core.delete("v1") == "405 SHARED_IMAGE"
    assert core.push("v1", image=placeholder()) == "201"
    assert core.delete(placeholder()) == "202"
    assert (core.shown("v1"), core.shown("v2")) == ("nothing", "one")


def test_a_members_delete_never_uses_up_a_release(core: Core) -> None:
    core.push("v1", image=ONE)
    core.release()
    assert core.delete("v1") == "403 locked"
    assert core.lock() == "released one"


def test_a_tag_that_came_back_since_it_was_looked_at_is_not_taken_for_deleted(core: Core) -> None:
    def push_meanwhile(carry: Carry) -> RegistryAnswer:
        shown = carry()
        assert core.push("v1", image=TWO) == "201"
        return shown

    core.registry.deletes_tags = False
    core.push("v1", image=ONE)
    core.release()
    del core.registry.tags["v1"]
    core.registry.script("HEAD v1", push_meanwhile)
    assert core.delete("v1", is_admin=True) == "503"
    assert (core.lock(), core.shown()) == ("locked two", "two")


def test_a_refused_delete_goes_back_while_a_push_of_the_locked_image_may_land(core: Core) -> None:
    core.registry.script("PUT v1", NO_ANSWER)
    core.push("v1", image=ONE)
    assert core.push("v1", image=ONE) == "201"
    core.registry.script("DELETE v1", answer(403, "DENIED"))
    assert core.delete("v1", is_admin=True) == "403"
    assert (core.lock(), core.stray()) == ("locked one", "one")
    core.registry.deletes_tags = False
    assert core.delete("v1", is_admin=True) == "202"
    assert core.lock() == "reserved one"

"""A locked tag that was changed past Taglock stands, and is put back where the settings say so."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import F
from django.db.models.functions import Now

from containers.models import Manifest, Push
from containers.models import Tag as TagRecord
from containers.names import TagName
from containers.registry.client import RegistryAnswer, RegistryClient
from containers.writes import STRAY_LIFE
from immutability.drift import find_drifts
from immutability.management.commands import reconcile as reconcile_command
from immutability.models import ContainerSettings, Drift, LockedTag
from immutability.policy.protection import Protection
from immutability.reconcile.drift import check_lock
from immutability.reconcile.inventory import read_tags
from immutability.reconcile.repair import RETRY_AFTER, repair_due
from tests.immutability.core import Core, named
from tests.immutability.reconcile.conftest import Library
from tests.immutability.registry_double import (
    INDEX_TYPE,
    NO_ANSWER,
    REFUSED,
    Carry,
    Late,
    digest_of,
    image,
    index,
)
from workspaces.log.models import LockEvent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]

ONE, TWO, THREE = (named(name, image(name)) for name in ("one", "two", "three"))

Mend = Callable[[], int]


def look(core: Core, client: RegistryClient, tag: str = "v1") -> str:
    """Look at a locked tag; return what differs."""
    return check_lock(LockedTag.objects.get(tag=tag).id, client).what


def drift_events() -> list[tuple[str, str]]:
    """Return kind and actor of the events of drift, in order."""
    rows = LockEvent.objects.filter(kind__startswith="drift").order_by("id")
    return [(row.kind.partition(".")[2], row.actor) for row in rows]


@pytest.fixture
def changed(gate: Core, library: Library, client: RegistryClient) -> Core:
    """A tag locked to one that someone has pointed at two, which was found. Repair is on."""
    gate.protect(repair_drift=True)
    gate.push("v1", image=ONE)
    library.store(TWO, "v1")
    assert "and the registry has" in look(gate, client)
    return gate


@pytest.fixture
def mend(client: RegistryClient) -> Mend:
    """Return a function that does the scheduler's part, whatever the time is."""

    def mend() -> int:
        Drift.objects.filter(repair_at__isnull=False).update(repair_at=Now())
        return repair_due(client, 10.0)

    return mend


# ---- the lock stands -------------------------------------------------------------------------


def test_a_drift_that_is_known_changes_no_answer(changed: Core, library: Library) -> None:
    library.calls.clear()
    assert changed.push("v1", image=TWO) == "403 locked"
    assert changed.push("v1", image=THREE) == "403 locked"
    assert changed.delete(ONE) == "403 locked"
    assert changed.delete(TWO) == "403 locked"
    assert library.sent() == []
    assert changed.lock() == "locked one"


def test_a_push_of_the_locked_image_puts_it_back(changed: Core) -> None:
    assert changed.push("v1", image=ONE) == "201"
    assert (changed.shown(), changed.lock()) == ("one", "locked one")
    assert drift_events() == [("found", "taglock"), ("repaired", "dana")]
    assert not Drift.objects.exists()


@pytest.mark.parametrize("shown", [ONE, TWO, THREE, None])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_lock_stands_whatever_is_shown_after_a_stray_of_its_own_image(
    gate: Core, library: Library, client: RegistryClient, shown: bytes | None, *, is_known: bool
) -> None:
    gate.push("v1", image=ONE)
    if is_known:
        library.store(TWO, "v1")
        look(gate, client)
    TagRecord.objects.update(stray_until=Now() - timedelta(seconds=1), stray_digest=digest_of(ONE))
    library.tags.clear()
    if shown:
        library.store(shown, "v1")
    assert gate.reconcile()
    assert (gate.lock(), gate.stray()) == ("locked one", "none")
    expected = [] if shown is ONE else [digest_of(shown) if shown else ""]
    assert [each.found for each in find_drifts(gate.workspace)] == expected
    assert gate.push("v1", image=TWO) == "403 locked"


def test_a_delete_whose_answer_was_lost_is_sent_again_over_a_known_drift(
    changed: Core, library: Library
) -> None:
    library.script("DELETE v1", NO_ANSWER)
    changed.delete("v1", is_admin=True)
    changed.let_pass(seconds=STRAY_LIFE.total_seconds() + 1)
    changed.reconcile()
    assert changed.lock() == "deleting one"
    changed.reconcile()
    assert (changed.lock(), changed.shown()) == ("reserved one", "nothing")


def test_a_look_that_shows_an_image_whose_delete_is_open_does_not_count(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    gate.push("v1", image=ONE)
    library.store(TWO, "v1")
    Manifest.objects.create(
        workspace=gate.workspace,
        repository="acme/api",
        digest=digest_of(TWO),
        stray_until=Now() + timedelta(minutes=5),
    )
    done = check_lock(LockedTag.objects.get().id, client)
    assert (done.is_done, Drift.objects.exists()) == (False, False)
    assert gate.record().digest == digest_of(ONE)


def test_a_tag_that_is_as_it_was_again_is_drift_no_more(
    changed: Core, library: Library, client: RegistryClient, mend: Mend
) -> None:
    library.store(ONE, "v1")
    assert look(changed, client) == ""
    assert drift_events() == [("found", "taglock"), ("repaired", "taglock")]
    assert LockEvent.objects.get(kind="drift.repaired").reason
    assert mend() == 0


def test_each_change_is_recorded_once(
    changed: Core, library: Library, client: RegistryClient
) -> None:
    for shown in (TWO, THREE, THREE, TWO):
        library.store(shown, "v1")
        look(changed, client)
    assert drift_events() == [("found", "taglock")] * 3


@pytest.mark.parametrize("is_released", [True, False])
def test_the_same_change_of_another_lock_is_recorded_again(
    changed: Core, library: Library, client: RegistryClient, *, is_released: bool
) -> None:
    if is_released:
        changed.release()
    else:
        changed.delete("v1", is_admin=True)
        changed.free()
    assert not Drift.objects.exists()
    assert changed.push("v1", image=ONE) == "201"
    library.store(TWO, "v1")
    look(changed, client)
    assert drift_events() == [("found", "taglock")] * 2


def test_a_check_whose_push_never_came_is_no_change(
    gate: Core, library: Library, client: RegistryClient, mend: Mend
) -> None:
    gate.protect(repair_drift=True)
    gate.push("v1", image=ONE)
    library.store(TWO, "v1")
    TagRecord.objects.update(digest=digest_of(TWO))
    assert "and the registry has" in look(gate, client)
    assert (Drift.objects.get().kind, mend()) == ("not_pushed", 0)
    assert gate.shown() == "two"


# ---- put back --------------------------------------------------------------------------------


@pytest.mark.parametrize("is_there", [True, False])
def test_a_tag_is_pointed_at_its_image_again(
    gate: Core, library: Library, client: RegistryClient, mend: Mend, *, is_there: bool
) -> None:
    gate.protect(repair_drift=True)
    gate.push("v1", image=ONE)
    del library.tags["v1"]
    if is_there:
        library.store(TWO, "v1")
    look(gate, client)
    sent = library.sent()
    assert mend() == 1
    assert library.sent() == [*sent, "PUT v1"]
    assert (gate.shown(), gate.lock()) == ("one", "locked one")
    assert gate.record().digest == digest_of(ONE)
    assert drift_events() == [("found", "taglock"), ("repaired", "taglock")]
    # No one has pushed it.
    assert Push.objects.count() == 1
    assert (Drift.objects.exists(), mend()) == (False, 0)


def test_nothing_is_put_back_until_the_settings_say_so(
    gate: Core, library: Library, client: RegistryClient, mend: Mend
) -> None:
    gate.push("v1", image=ONE)
    library.store(TWO, "v1")
    look(gate, client)
    assert (mend(), gate.shown()) == (0, "two")
    gate.protect(repair_drift=True)
    assert (mend(), gate.shown()) == (1, "one")


def test_what_is_switched_off_meanwhile_is_not_put_back(
    changed: Core, library: Library, mend: Mend
) -> None:
    def switch_off(carry: Carry) -> RegistryAnswer:
        changed.protect(repair_drift=False)
        return carry()

    library.script(f"GET {digest_of(ONE)}", switch_off)
    assert (mend(), changed.shown()) == (0, "two")


def test_nothing_that_the_settings_do_not_cover_is_put_back(
    changed: Core, library: Library, mend: Mend
) -> None:
    changed.protect(Protection.NONE, repair_drift=True)
    assert (mend(), changed.shown()) == (0, "two")


def test_an_index_is_put_back_with_its_bytes_and_type(
    gate: Core, library: Library, client: RegistryClient, mend: Mend
) -> None:
    gate.protect(repair_drift=True)
    library.store(ONE)
    body = index(ONE)
    gate.push("v1", image=body)
    library.store(TWO, "v1")
    look(gate, client)
    assert mend() == 1
    call = library.calls[-1]
    assert (call.method, call.body, call.media_type) == ("PUT", body, INDEX_TYPE)


def test_an_image_that_is_gone_cannot_be_put_back_and_an_admin_can_free_the_name(
    gate: Core, library: Library, client: RegistryClient, mend: Mend
) -> None:
    gate.protect(repair_drift=True)
    gate.push("v1", image=ONE)
    library.tags.clear()
    library.manifests.clear()
    assert look(gate, client).endswith("the locked image is gone from it and cannot be put back")
    assert (Drift.objects.get().is_gone, mend()) == (True, 0)
    assert gate.delete("v1", is_admin=True) == "404"
    assert gate.lock() == "reserved one"
    gate.free()
    assert gate.push("v1", image=TWO) == "201"


def test_an_image_that_goes_before_it_is_put_back_is_noticed(
    changed: Core, library: Library, mend: Mend
) -> None:
    del library.manifests[digest_of(ONE)]
    assert mend() == 0
    assert Drift.objects.get().is_gone
    assert drift_events() == [("found", "taglock")] * 2


def test_an_image_that_is_there_again_is_put_back(
    changed: Core, library: Library, client: RegistryClient, mend: Mend
) -> None:
    del library.manifests[digest_of(ONE)]
    look(changed, client)
    library.store(ONE)
    look(changed, client)
    assert (mend(), changed.shown()) == (1, "one")


def test_what_the_registry_refuses_is_tried_again_in_a_minute(
    changed: Core, library: Library, mend: Mend, client: RegistryClient
) -> None:
    library.script("PUT v1", REFUSED)
    assert mend() == 0
    found = Drift.objects.get()
    assert "MANIFEST_INVALID" in found.failure
    assert (changed.lock(), changed.record().write_id) == ("locked one", None)
    assert repair_due(client, 10.0) == 0
    Drift.objects.update(repair_at=F("repair_at") - RETRY_AFTER)
    assert repair_due(client, 10.0) == 1


def test_a_repair_without_an_answer_lands_late_or_is_sent_again(
    changed: Core, library: Library, mend: Mend
) -> None:
    late = Late()
    library.script("PUT v1", late)
    assert mend() == 0
    assert (changed.stray(), changed.lock()) == ("one", "locked one")
    assert changed.push("v1", image=TWO) == "403 locked"
    assert mend() == 1
    late.land()
    assert changed.shown() == "one"
    changed.let_pass(seconds=STRAY_LIFE.total_seconds() + 1)
    changed.reconcile()
    assert (changed.lock(), changed.stray()) == ("locked one", "none")


def test_a_release_waits_for_a_repair_that_may_still_land(
    changed: Core, library: Library, mend: Mend
) -> None:
    library.script("PUT v1", Late())
    mend()
    with pytest.raises(Exception, match="may still"):
        changed.release()


@pytest.mark.parametrize("change", ["another write", "released", "foreign stray"])
def test_a_repair_waits_for_whatever_else_happens_to_the_tag(
    changed: Core, library: Library, mend: Mend, change: str
) -> None:
    if change == "released":
        changed.release()
    elif change == "another write":
        TagRecord.objects.update(write_id="0" * 32, write_kind="push", write_expires_at=Now())
    else:
        TagRecord.objects.update(stray_until=Now() + timedelta(minutes=5))
    sent = library.sent()
    mend()
    assert library.sent() == sent


def test_a_repair_does_not_follow_a_change_of_the_lock(
    changed: Core, library: Library, mend: Mend
) -> None:
    def release(carry: Carry) -> RegistryAnswer:
        changed.release()
        assert changed.push("v1", image=THREE) == "201"
        return carry()

    library.script(f"GET {digest_of(ONE)}", release)
    assert mend() == 0
    assert (changed.shown(), changed.lock()) == ("three", "locked three")
    mend()
    assert (changed.shown(), Drift.objects.exists()) == ("three", False)


def test_after_a_restore_nothing_is_put_back_until_someone_switches_it_on_again(
    changed: Core, monkeypatch: pytest.MonkeyPatch, client: RegistryClient, mend: Mend, capsys: Any
) -> None:
    monkeypatch.setattr(reconcile_command, "find_registries", lambda: [(None, client)])
    call_command("reconcile", "--after-restore")
    assert "acme: put locked tags back is off now" in capsys.readouterr().out
    assert not ContainerSettings.objects.get().repair_drift
    assert LockEvent.objects.filter(kind="settings.changed", actor="taglock").count() == 3
    assert (mend(), changed.shown()) == (0, "two")


# ---- the inventory looks, too ----------------------------------------------------------------


def read(core: Core, client: RegistryClient) -> int:
    """Read the tag as the inventory does; return how many looks did not count."""
    return read_tags(core.workspace, core.repository, [TagName("v1")], client).left_out_count


def test_a_change_that_the_inventory_meets_first_is_found_as_one(
    gate: Core, library: Library, client: RegistryClient, mend: Mend
) -> None:
    gate.protect(repair_drift=True)
    gate.push("v1", image=ONE)
    library.store(TWO, "v1")
    assert read(gate, client) == 0
    assert (Drift.objects.get().kind, mend(), gate.shown()) == ("changed", 1, "one")


def test_the_inventory_leaves_a_changed_tag_alone_while_a_write_may_land(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    gate.push("v1", image=ONE)
    library.store(TWO, "v1")
    TagRecord.objects.update(stray_until=Now() + timedelta(minutes=5), stray_digest=digest_of(ONE))
    assert read(gate, client) == 1
    assert (gate.record().digest, Drift.objects.exists()) == (digest_of(ONE), False)


def test_the_inventory_sees_that_a_tag_is_as_it_was(
    changed: Core, library: Library, client: RegistryClient
) -> None:
    library.store(ONE, "v1")
    read(changed, client)
    assert not Drift.objects.exists()
    assert drift_events() == [("found", "taglock"), ("repaired", "taglock")]


def test_a_released_tag_that_was_changed_is_pushed_again(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    gate.push("v1", image=ONE)
    gate.release()
    library.store(TWO, "v1")
    assert read(gate, client) == 0
    assert gate.push("v1", image=ONE) == "201"
    assert (gate.shown(), gate.lock()) == ("one", "locked one")

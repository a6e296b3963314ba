"""Settings saved while a push is under way: what was decided before does not land after."""

import pytest

from immutability.protection import Protection
from tests.faults.scene import (
    LEASE,
    NO_ANSWER,
    QUARANTINE,
    VERSIONS,
    Scene,
    assert_refused,
    assert_undecided,
    let_time_pass,
    locked_to,
)
from tests.services.fickle import Fault, FickleProxy, Hold
from tests.services.registry_user import digest_of

pytestmark = pytest.mark.cluster

DECIDED = ["after the claim commits", "after the look"]
SENT = "before the write leaves"


# An unprotected push, and protection is switched on.


@pytest.mark.parametrize("point", DECIDED)
def test_a_push_that_was_not_sent_is_decided_anew(scene: Scene, point: str) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    with scene.waiting_at(point) as meeting:
        pushing = scene.pool.submit(scene.push, "latest", one, f"wait {point}")
        meeting.wait_until_reached()
        scene.protect(Protection.ALL)
        assert_undecided(scene.push("latest", two))
    assert pushing.result().status == 201
    assert scene.locks == {"latest": locked_to(one)}
    assert_refused(scene.push("latest", two), one)
    scene.assert_sound()


def test_a_push_that_was_sent_lands_before_its_tag_is_locked(scene: Scene) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    with scene.waiting_at(SENT) as meeting:
        pushing = scene.pool.submit(scene.push, "latest", one, f"wait {SENT}")
        meeting.wait_until_reached()
        scene.protect(Protection.ALL)
        # The same image too: it would lock the tag, and the other write has not landed.
        for image in (two, one):
            assert_undecided(scene.push("latest", image))
        assert scene.locks == {}
    assert pushing.result().status == 201
    assert scene.locks == {}
    assert_refused(scene.push("latest", two), one)
    assert scene.locks == {"latest": locked_to(one)}
    scene.assert_sound()


@pytest.mark.parametrize("point", [*DECIDED, SENT])
@pytest.mark.parametrize("between", ["switched on and off", "switched on, off and on"])
def test_settings_saved_several_times_meanwhile(scene: Scene, point: str, between: str) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    with scene.waiting_at(point) as meeting:
        pushing = scene.pool.submit(scene.push, "latest", one, f"wait {point}")
        meeting.wait_until_reached()
        scene.protect(Protection.ALL)
        scene.protect(Protection.NONE)
        if between == "switched on, off and on":
            scene.protect(Protection.ALL)
            assert_undecided(scene.push("latest", two))
    assert pushing.result().status == 201
    if between == "switched on and off":
        assert scene.locks == {}
        assert scene.push("latest", two).status == 201
    else:
        assert_refused(scene.push("latest", two), one)
    scene.assert_sound()


@pytest.mark.parametrize("point", DECIDED)
def test_the_gate_dies_before_it_sends_an_unprotected_push(scene: Scene, point: str) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    assert scene.push("latest", one, f"kill {point}", gate=0) == NO_ANSWER
    scene.cluster.mend_after_a_kill()
    scene.protect(Protection.ALL)
    assert_undecided(scene.push("latest", two))
    let_time_pass(LEASE)
    assert scene.push_until_decided("latest", two).status == 201
    assert scene.locks == {"latest": locked_to(two)}
    scene.assert_sound()


@pytest.mark.parametrize(
    "lands", ["before the protection", "before anybody else", "after others were refused", "never"]
)
def test_the_gate_dies_while_its_unprotected_push_is_under_way(
    fickle: Scene, proxy: FickleProxy, lands: str
) -> None:
    """Nobody repeats it, since a newer push may have followed; it is waited for."""
    one, two = fickle.make_image("one"), fickle.make_image("two")
    hold = Hold()
    proxy.script(Fault(before=hold, is_forwarded=lands != "never"))
    pushing = fickle.pool.submit(fickle.push, "latest", one, gate=0)
    hold.wait_until_reached()
    fickle.cluster.gates[0].kill()
    assert pushing.result() == NO_ANSWER
    fickle.cluster.gates[0].start()
    if lands == "before the protection":
        hold.let_land()
    fickle.protect(Protection.ALL)
    if lands == "before anybody else":
        hold.let_land()
    let_time_pass(LEASE)
    fickle.resolve()
    assert_undecided(fickle.push("latest", two))
    if lands == "after others were refused":
        hold.let_land()
        assert_undecided(fickle.push("latest", two))
    let_time_pass(QUARANTINE)
    ended = fickle.push_until_decided("latest", two)
    if lands == "never":
        assert ended.status == 201
        assert fickle.locks == {"latest": locked_to(two)}
    else:
        assert_refused(ended, one)
        assert fickle.locks == {"latest": locked_to(one)}
    hold.let_land()
    fickle.assert_sound()


@pytest.mark.parametrize("lands", ["before the next push", "after the next push"])
def test_the_gate_gives_up_an_unprotected_push_and_protection_is_switched_on(
    fickle: Scene, proxy: FickleProxy, lands: str
) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    hold = proxy.hold_next()
    assert_undecided(fickle.push("latest", one))
    fickle.protect(Protection.ALL)
    if lands == "before the next push":
        hold.let_land()
    assert_undecided(fickle.push("latest", two))
    hold.let_land()
    assert fickle.locks == {}
    let_time_pass(QUARANTINE)
    assert_refused(fickle.push_until_decided("latest", two), one)
    fickle.assert_sound()


def test_a_delete_that_meets_an_unprotected_push_under_way_adopts_nothing_too_early(
    fickle: Scene, proxy: FickleProxy
) -> None:
    """A delete locks what it finds under covered tags; the push may land over it afterwards."""
    one, two = fickle.make_image("one"), fickle.make_image("two")
    assert fickle.push("latest", one).status == 201
    hold = proxy.hold_next()
    assert_undecided(fickle.push("latest", two))
    fickle.protect(Protection.ALL)
    for reference in ("latest", digest_of(one)):
        assert fickle.delete(reference).status in (403, 503)
    fickle.assert_kept()
    hold.let_land()
    fickle.assert_kept()
    fickle.assert_sound()
    assert_refused(fickle.push_until_decided("latest", one), two)
    fickle.assert_sound()


# A covered push, and protection is switched off.


@pytest.mark.parametrize("point", DECIDED)
def test_a_covered_push_that_was_not_sent_goes_on_without_protection(
    scene: Scene, point: str
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    with scene.waiting_at(point) as meeting:
        pushing = scene.pool.submit(scene.push, "v1", one, f"wait {point}")
        meeting.wait_until_reached()
        scene.protect(Protection.NONE)
    assert pushing.result().status == 201
    assert scene.locks == {}
    assert scene.push("v1", two).status == 201
    scene.assert_sound()


def test_a_covered_push_that_was_sent_is_waited_for_without_protection(scene: Scene) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    with scene.waiting_at(SENT) as meeting:
        pushing = scene.pool.submit(scene.push, "v1", one, f"wait {SENT}")
        meeting.wait_until_reached()
        scene.protect(Protection.NONE)
        assert_undecided(scene.push("v1", two))
    assert pushing.result().status == 201
    assert scene.locks == {"v1": locked_to(one)}
    # Suspended by now: another image ends it.
    assert scene.push("v1", two).status == 201
    assert scene.locks == {}
    scene.assert_sound()


@pytest.mark.parametrize("switched", ["off", "off and on"])
def test_the_gate_dies_while_protection_is_switched_off(
    fickle: Scene, proxy: FickleProxy, switched: str
) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    hold = proxy.hold_next()
    pushing = fickle.pool.submit(fickle.push, "v1", one, gate=0)
    hold.wait_until_reached()
    fickle.cluster.gates[0].kill()
    assert pushing.result() == NO_ANSWER
    fickle.cluster.gates[0].start()
    fickle.protect(Protection.NONE)
    if switched == "off and on":
        fickle.protect(Protection.SOME, VERSIONS)
    fickle.let_the_lease_pass_and_resolve()
    assert fickle.locks == {"v1": locked_to(one)}
    if switched == "off and on":
        assert_refused(fickle.push("v1", two), one)
    hold.let_land()
    assert fickle.behind.read("v1") == digest_of(one)
    fickle.assert_sound()


def test_an_old_push_lands_over_a_newer_one_only_while_nothing_protects_the_tag(
    fickle: Scene, proxy: FickleProxy
) -> None:
    """Covered, unknown, switched off, pushed anew, switched on: what lands last is not locked away.

    Whatever is locked in the end, the registry has it, and had it since it was locked.
    """
    one, two = fickle.make_image("one"), fickle.make_image("two")
    hold = proxy.hold_next()
    assert_undecided(fickle.push("v1", one))
    fickle.protect(Protection.NONE)
    fickle.let_the_lease_pass_and_resolve()
    fickle.forget_promises()
    fickle.push("v1", two)
    fickle.protect(Protection.SOME, VERSIONS)
    fickle.push("v1", two)
    fickle.assert_kept()
    hold.let_land()
    fickle.assert_kept()
    fickle.assert_sound()

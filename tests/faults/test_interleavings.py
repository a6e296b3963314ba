"""Pushes of one image at once, and admins who change a lock while a push of it is under way."""

from concurrent.futures import Future

import pytest

from tests.faults.scene import Scene, assert_refused, assert_undecided, locked_to
from tests.services.fickle import Fault, FickleProxy, Hold, answers
from tests.services.parts import wait_until
from tests.services.registry_user import Answer, digest_of

pytestmark = pytest.mark.cluster

REFUSED = answers(400, is_forwarded=False)


def _push_held(scene: Scene, hold: Hold, tag: str, image: bytes) -> Future[Answer]:
    """Push in the background, as far as the hold that is scripted next."""
    pushing = scene.pool.submit(scene.push, tag, image)
    hold.wait_until_reached()
    return pushing


# Pushes of one image join.


def test_of_two_joined_pushes_the_second_is_refused(fickle: Scene, proxy: FickleProxy) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    hold = proxy.hold_next()
    proxy.script(REFUSED)
    first = _push_held(fickle, hold, "v1", one)
    assert fickle.push("v1", one).status == 400
    assert fickle.locks == {"v1": ("claimed", digest_of(one))}
    hold.let_go()
    assert first.result().status == 201
    assert fickle.locks == {"v1": locked_to(one)}
    assert_refused(fickle.push("v1", two), one)
    fickle.assert_sound()


def test_of_two_joined_pushes_the_first_is_refused(fickle: Scene, proxy: FickleProxy) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    hold = Hold()
    proxy.script(Fault(before=hold, status=400, is_forwarded=False))
    first = _push_held(fickle, hold, "v1", one)
    assert fickle.push("v1", one).status == 201
    assert fickle.locks == {"v1": locked_to(one)}
    hold.let_go()
    assert first.result().status == 400
    assert fickle.locks == {"v1": locked_to(one)}
    assert_refused(fickle.push("v1", two), one)
    fickle.assert_sound()


def test_two_joined_pushes_are_both_refused(fickle: Scene, proxy: FickleProxy) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    hold = Hold()
    proxy.script(Fault(before=hold, status=400, is_forwarded=False), REFUSED)
    first = _push_held(fickle, hold, "v1", one)
    assert fickle.push("v1", one).status == 400
    hold.let_go()
    assert first.result().status == 400
    assert fickle.locks == {}
    assert fickle.push("v1", two).status == 201
    fickle.assert_sound()


def test_of_two_joined_pushes_one_is_refused_and_the_end_of_the_other_is_unknown(
    fickle: Scene, proxy: FickleProxy
) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    proxy.script(Fault(is_closed=True), REFUSED)
    assert_undecided(fickle.push("v1", one))
    assert fickle.push("v1", one).status == 400
    assert fickle.locks == {"v1": ("claimed", digest_of(one))}
    assert_refused(fickle.push_until_decided("v1", two), one)
    fickle.assert_sound()


# A reserved name.


def _reserve(scene: Scene, proxy: FickleProxy, image: bytes) -> None:
    proxy.deletes_tags = True
    assert scene.push("v1", image).status == 201
    assert scene.delete_as_admin("v1").status == 200
    assert scene.locks == {"v1": ("reserved", digest_of(image))}


def test_a_reserved_name_whose_image_the_registry_refuses_stays_reserved(
    fickle: Scene, proxy: FickleProxy
) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    _reserve(fickle, proxy, one)
    proxy.script(REFUSED)
    assert fickle.push("v1", one).status == 400
    assert fickle.locks == {"v1": ("reserved", digest_of(one))}
    assert_refused(fickle.push("v1", two), one)
    assert fickle.push("v1", one).status == 201
    assert fickle.locks == {"v1": locked_to(one)}
    fickle.assert_sound()


def test_a_reserved_name_is_reserved_again_when_the_repeated_push_is_refused(
    fickle: Scene, proxy: FickleProxy
) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    _reserve(fickle, proxy, one)
    proxy.script(Fault(is_forwarded=False, is_closed=True), REFUSED)
    assert_undecided(fickle.push("v1", one))
    assert fickle.locks == {"v1": ("claimed", digest_of(one))}
    fickle.let_the_lease_pass_and_resolve()
    assert fickle.locks == {"v1": ("reserved", digest_of(one))}
    assert_refused(fickle.push("v1", two), one)
    fickle.assert_sound()


def test_a_gate_dies_while_a_reserved_name_is_pushed(fickle: Scene, proxy: FickleProxy) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    _reserve(fickle, proxy, one)
    fickle.push("v1", one, "kill after the look", gate=0)
    fickle.cluster.mend_after_a_kill()
    fickle.let_the_lease_pass_and_resolve()
    assert fickle.locks == {"v1": ("reserved", digest_of(one))}
    assert_refused(fickle.push("v1", two), one)
    fickle.assert_sound()


# Admins, while a push is under way. "Changed" is what they may be answered once nothing is.

POINTS = ["after the claim commits", "after the look", "before the write leaves"]


def _assert_not_now(answer: Answer) -> None:
    assert answer.status in (409, 503), answer


@pytest.mark.parametrize("point", POINTS)
def test_an_admin_cannot_drop_a_claim_whose_push_is_under_way(scene: Scene, point: str) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    with scene.waiting_at(point) as meeting:
        pushing = scene.pool.submit(scene.push, "v1", one, f"wait {point}")
        meeting.wait_until_reached()
        for name_after in ("reserve", "free"):
            _assert_not_now(scene.delete_as_admin("v1", name_after))
        _assert_not_now(scene.release_as_admin("v1"))
        assert scene.locks == {"v1": ("claimed", digest_of(one))}
    assert pushing.result().status == 201
    assert scene.locks == {"v1": locked_to(one)}
    assert_refused(scene.push("v1", two), one)
    scene.assert_sound()


@pytest.mark.parametrize("point", POINTS)
def test_an_admin_cannot_free_a_reserved_name_that_is_being_pushed(
    scene: Scene, point: str
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    assert scene.push("v1", one).status == 201
    assert scene.delete_as_admin("v1").status == 200
    with scene.waiting_at(point) as meeting:
        pushing = scene.pool.submit(scene.push, "v1", one, f"wait {point}")
        meeting.wait_until_reached()
        _assert_not_now(scene.delete_as_admin("v1", "free"))
        assert_undecided(scene.push("v1", two))
    assert pushing.result().status == 201
    assert scene.locks == {"v1": locked_to(one)}
    assert_refused(scene.push("v1", two), one)
    scene.assert_sound()


@pytest.mark.parametrize("point", POINTS)
def test_an_admin_cannot_delete_a_released_tag_that_is_being_pushed(
    scene: Scene, point: str
) -> None:
    one, two, three = (scene.make_image(text) for text in ("one", "two", "three"))
    assert scene.push("v1", one).status == 201
    assert scene.release_as_admin("v1").status == 200
    with scene.waiting_at(point) as meeting:
        pushing = scene.pool.submit(scene.push, "v1", two, f"wait {point}")
        meeting.wait_until_reached()
        _assert_not_now(scene.delete_as_admin("v1"))
        _assert_not_now(scene.release_as_admin("v1"))
        assert_undecided(scene.push("v1", three))
    assert pushing.result().status == 201
    assert scene.locks == {"v1": locked_to(two)}
    assert_refused(scene.push("v1", three), two)
    assert_refused(scene.push("v1", one), two)
    scene.assert_sound()


def test_a_released_tag_stays_released_when_the_registry_refuses_the_push(
    fickle: Scene, proxy: FickleProxy
) -> None:
    one, two, three = (fickle.make_image(text) for text in ("one", "two", "three"))
    assert fickle.push("v1", one).status == 201
    assert fickle.release_as_admin("v1").status == 200
    proxy.script(REFUSED)
    assert fickle.push("v1", two).status == 400
    assert fickle.locks == {"v1": ("released", digest_of(one))}
    assert fickle.behind.read("v1") == digest_of(one)
    assert fickle.push("v1", three).status == 201
    assert fickle.locks == {"v1": locked_to(three)}
    fickle.assert_sound()


def test_a_tag_is_released_and_pushed_while_an_old_push_of_it_may_still_land(
    fickle: Scene, proxy: FickleProxy
) -> None:
    """The first push was repeated and locked; its first write lands last, over the new image."""
    one, two = fickle.make_image("one"), fickle.make_image("two")
    hold = proxy.hold_next()
    assert_undecided(fickle.push("v1", one))
    fickle.let_the_lease_pass_and_resolve()
    assert fickle.locks == {"v1": locked_to(one)}
    fickle.release_as_admin("v1")
    fickle.push("v1", two)
    fickle.assert_kept()
    hold.let_land()
    fickle.assert_kept()
    fickle.assert_sound()


@pytest.mark.parametrize("name_after", ["reserve", "free"])
def test_a_tag_is_deleted_and_pushed_while_an_old_push_of_it_may_still_land(
    fickle: Scene, proxy: FickleProxy, name_after: str
) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    proxy.deletes_tags = True
    hold = proxy.hold_next()
    assert_undecided(fickle.push("v1", one))
    fickle.let_the_lease_pass_and_resolve()
    assert fickle.locks == {"v1": locked_to(one)}
    fickle.delete_as_admin("v1", name_after)
    fickle.push("v1", two)
    hold.let_land()
    fickle.assert_kept()
    fickle.assert_sound()


def test_an_identical_push_that_lands_late_moves_no_tag(fickle: Scene, proxy: FickleProxy) -> None:
    """It goes by digest, so an admin need not wait for it."""
    one, two = fickle.make_image("one"), fickle.make_image("two")
    proxy.deletes_tags = True
    assert fickle.push("v1", one).status == 201
    hold = proxy.hold_next()
    again = _push_held(fickle, hold, "v1", one)
    assert fickle.release_as_admin("v1").status == 200
    assert fickle.push("v1", two).status == 201
    hold.let_land()
    again.result()
    assert fickle.behind.tags == {"v1": digest_of(two)}
    assert fickle.locks == {"v1": locked_to(two)}
    fickle.assert_sound()


def test_a_push_waits_for_an_admins_delete_and_is_refused(
    fickle: Scene, proxy: FickleProxy
) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    proxy.deletes_tags = True
    assert fickle.push("v1", one).status == 201
    hold = proxy.hold_next("DELETE")
    deleting = fickle.pool.submit(fickle.delete_as_admin, "v1")
    hold.wait_until_reached()
    pushing = [fickle.pool.submit(fickle.push, "v1", image) for image in (one, two)]
    wait_until(lambda: fickle.locks == {"v1": ("deleting", digest_of(one))})
    hold.let_go()
    assert deleting.result().status == 200
    ends = [push.result() for push in pushing]
    assert ends[0].status in (201, 503)
    assert ends[1].status in (403, 503)
    assert fickle.push_until_decided("v1", one).status == 201
    assert_refused(fickle.push_until_decided("v1", two), one)
    fickle.assert_sound()

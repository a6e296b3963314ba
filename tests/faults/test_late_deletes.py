"""Deletes that cross a push, and deletes that land when nobody waits for them any more."""

import pytest

from immutability.protection import Protection
from tests.faults.scene import (
    QUARANTINE,
    Scene,
    assert_refused,
    assert_undecided,
    let_time_pass,
    locked_to,
)
from tests.services.fickle import FickleProxy, answers
from tests.services.registry_user import INDEX_TYPE, Answer, digest_of, make_index

pytestmark = pytest.mark.cluster


# The child of an index.


def _push_children(scene: Scene) -> tuple[bytes, bytes, bytes]:
    """Push two images by digest; return them, and an index of both that is not pushed yet."""
    one, two = scene.make_image("one"), scene.make_image("two")
    for image in (one, two):
        assert scene.push(digest_of(image), image).status == 201
    return one, two, make_index(one, two)


def _push_index(scene: Scene, index: bytes, fault: str = "") -> Answer:
    return scene.edge.put("v1", index, INDEX_TYPE, headers=f"X-Fault: {fault}\r\n")


def _assert_not_hollow(scene: Scene, *children: bytes) -> None:
    if "v1" in scene.locks:
        for child in children:
            assert scene.behind.read(digest_of(child)) == digest_of(child)
    scene.assert_sound()


@pytest.mark.parametrize(
    "point", ["after the delete is announced", "after the delete is marked as sent"]
)
def test_an_index_waits_for_the_delete_of_its_child(scene: Scene, point: str) -> None:
    one, two, index = _push_children(scene)
    with scene.waiting_at(point) as meeting:
        deleting = scene.pool.submit(scene.delete, digest_of(one), f"wait {point}")
        meeting.wait_until_reached()
        assert_undecided(_push_index(scene, index))
        assert scene.locks == {}
    assert deleting.result().status == 202
    assert _push_index(scene, index).status == 400
    assert scene.locks == {}
    _assert_not_hollow(scene, one, two)


@pytest.mark.parametrize("point", ["after the claim commits", "before the write leaves"])
def test_the_delete_of_a_child_waits_for_the_index_under_way(scene: Scene, point: str) -> None:
    one, two, index = _push_children(scene)
    with scene.waiting_at(point) as meeting:
        pushing = scene.pool.submit(_push_index, scene, index, f"wait {point}")
        meeting.wait_until_reached()
        assert scene.delete(digest_of(one)).status in (403, 503)
    assert pushing.result().status == 201
    assert scene.delete(digest_of(one)).status == 403
    _assert_not_hollow(scene, one, two)


@pytest.mark.parametrize("first", ["the delete", "the push", "both"])
def test_a_delete_and_an_index_that_meet_do_not_both_go_through(scene: Scene, first: str) -> None:
    """Each commits before it looks for the other, so at least one of them gives way."""
    one, two, index = _push_children(scene)
    decided, claimed = "after the delete is decided", "after the claim commits"
    with scene.waiting_at(decided) as delete_meeting, scene.waiting_at(claimed) as push_meeting:
        deleting = scene.pool.submit(scene.delete, digest_of(one), f"wait {decided}")
        delete_meeting.wait_until_reached()
        pushing = scene.pool.submit(_push_index, scene, index, f"wait {claimed}")
        push_meeting.wait_until_reached()
        if first != "the push":
            delete_meeting.let_go()
        if first == "the delete":
            deleting.result()
        push_meeting.let_go()
        if first == "the push":
            pushing.result()
    ends = deleting.result().status, pushing.result().status
    assert ends != (202, 201)
    assert set(ends) <= {201, 202, 400, 403, 503}
    _assert_not_hollow(scene, one, two)


def test_a_delete_that_was_decided_before_the_claim_sees_it_before_it_leaves(scene: Scene) -> None:
    one, two, index = _push_children(scene)
    with scene.waiting_at("after the delete is decided") as meeting:
        deleting = scene.pool.submit(
            scene.delete, digest_of(one), "wait after the delete is decided"
        )
        meeting.wait_until_reached()
        assert _push_index(scene, index).status == 201
    assert deleting.result().status == 403
    assert scene.locks == {"v1": locked_to(index)}
    _assert_not_hollow(scene, one, two)


def test_a_delete_of_a_child_lands_late(fickle: Scene, proxy: FickleProxy) -> None:
    """Its repetition found nothing to do, and somebody has pushed the child again since."""
    one, two, index = _push_children(fickle)
    hold = proxy.hold_next("DELETE")
    assert_undecided(fickle.delete(digest_of(one)))
    fickle.let_the_lease_pass_and_resolve()
    assert fickle.behind.read(digest_of(one)) is None
    fickle.push(digest_of(one), one)
    _push_index(fickle, index)
    hold.let_land()
    _assert_not_hollow(fickle, one, two)


# A tag, or a manifest.


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_an_unprotected_delete_lands_after_the_tag_was_locked(
    fickle: Scene, proxy: FickleProxy, by: str
) -> None:
    one = fickle.make_image("one")
    proxy.deletes_tags = True
    assert fickle.push("latest", one).status == 201
    hold = proxy.hold_next("DELETE")
    assert_undecided(fickle.delete("latest" if by == "tag" else digest_of(one)))
    fickle.let_the_lease_pass_and_resolve()
    assert fickle.behind.tags == {}
    fickle.protect(Protection.ALL)
    fickle.push("latest", one)
    hold.let_land()
    fickle.assert_kept()
    let_time_pass(QUARANTINE)
    assert fickle.push_until_decided("latest", one).status == 201
    assert fickle.locks == {"latest": locked_to(one)}
    fickle.assert_sound()


def test_a_delete_of_a_tag_that_is_covered_by_now_is_not_sent_again(
    fickle: Scene, proxy: FickleProxy
) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    proxy.deletes_tags = True
    assert fickle.push("latest", one).status == 201
    proxy.script(answers(503, is_forwarded=False), method="DELETE")
    assert_undecided(fickle.delete("latest"))
    fickle.protect(Protection.ALL)
    fickle.push("latest", two)
    fickle.assert_sound()
    assert_refused(fickle.push_until_decided("latest", two), one)
    assert fickle.locks == {"latest": locked_to(one)}
    fickle.assert_sound()


def test_an_admins_delete_lands_after_the_name_was_freed_and_pushed_anew(
    fickle: Scene, proxy: FickleProxy
) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    proxy.deletes_tags = True
    assert fickle.push("v1", one).status == 201
    hold = proxy.hold_next("DELETE")
    assert fickle.delete_as_admin("v1", "free").status == 503
    fickle.let_the_lease_pass_and_resolve()
    assert fickle.locks == {"v1": ("reserved", digest_of(one))}
    fickle.delete_as_admin("v1", "free")
    fickle.push("v1", two)
    hold.let_land()
    fickle.assert_kept()
    let_time_pass(QUARANTINE)
    if "v1" in fickle.locks and fickle.locks["v1"][0] == "reserved":
        assert fickle.delete_as_admin("v1", "free").status == 200
    assert fickle.push_until_decided("v1", two).status == 201
    assert fickle.locks == {"v1": locked_to(two)}
    fickle.assert_sound()


def test_an_admins_delete_lands_after_the_reserved_image_came_back(
    fickle: Scene, proxy: FickleProxy
) -> None:
    one = fickle.make_image("one")
    proxy.deletes_tags = True
    assert fickle.push("v1", one).status == 201
    hold = proxy.hold_next("DELETE")
    assert fickle.delete_as_admin("v1").status == 503
    fickle.let_the_lease_pass_and_resolve()
    assert fickle.locks == {"v1": ("reserved", digest_of(one))}
    fickle.push("v1", one)
    hold.let_land()
    fickle.assert_kept()
    let_time_pass(QUARANTINE)
    assert fickle.push_until_decided("v1", one).status == 201
    fickle.assert_sound()


def test_an_admins_delete_by_digest_lands_after_the_image_is_needed_again(
    fickle: Scene, proxy: FickleProxy
) -> None:
    """Debian's registry takes every tag of the image with it: another tag's push must wait."""
    one = fickle.make_image("one")
    assert fickle.push("v1", one).status == 201
    tag_delete = proxy.hold_next("DELETE")
    image_delete = proxy.hold_next("DELETE")
    deleting = fickle.pool.submit(fickle.delete_as_admin, "v1")
    tag_delete.wait_until_reached()
    tag_delete.let_go()
    image_delete.wait_until_reached()
    assert deleting.result().status == 503
    fickle.let_the_lease_pass_and_resolve()
    assert fickle.locks == {"v1": ("reserved", digest_of(one))}
    fickle.push("v2", one)
    image_delete.let_land()
    fickle.assert_kept()
    let_time_pass(QUARANTINE)
    assert fickle.push_until_decided("v2", one).status == 201
    fickle.assert_sound()

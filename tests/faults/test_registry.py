"""A registry that hangs, dies, answers late or wrongly, or not at all; and one that says no."""

import json
import time
from dataclasses import dataclass

import pytest

from tests.faults.scene import (
    AT_ONCE_SECONDS,
    LEASE,
    STRAY,
    Scene,
    assert_refused,
    assert_undecided,
    let_time_pass,
    locked_to,
)
from tests.services.faulty_registry import (
    DELETE,
    POINT,
    STORE,
    Fault,
    FaultyRegistry,
    answers,
)
from tests.services.parts import wait_until, wait_until_unread
from tests.services.registry_user import IMAGE_TYPE, INDEX_TYPE, digest_of, to_json

pytestmark = pytest.mark.cluster

# More than Taglock reads within one request.
MANY_CHILDREN = 2_000


@dataclass(frozen=True)
class Stall:
    """What the registry does to a write whose end the gate cannot know."""

    name: str
    fault: Fault
    has_landed: bool


STALLS = [
    Stall("answers 500 after taking it", answers(500, is_forwarded=True), has_landed=True),
    Stall("answers 503 without taking it", answers(503, is_forwarded=False), has_landed=False),
    Stall("does not believe Taglock's token", answers(401, is_forwarded=False), has_landed=False),
    Stall("closes after taking it", Fault(is_closed=True), has_landed=True),
    Stall("closes before reading it", Fault(is_forwarded=False, is_closed=True), has_landed=False),
    Stall("dribbles its answer", Fault(is_dribbled=True), has_landed=True),
    Stall("cuts its answer short", Fault(is_cut=True), has_landed=True),
]


def _push_at_once(scene: Scene, tag: str, image: bytes) -> None:
    began = time.monotonic()
    assert scene.push(tag, image).status == 201
    assert time.monotonic() - began < AT_ONCE_SECONDS


@pytest.mark.parametrize("stall", STALLS[::2], ids=lambda stall: stall.name)
def test_an_image_that_may_not_be_stored_claims_nothing(
    scene: Scene, faulty_registry: FaultyRegistry, stall: Stall
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    faulty_registry.script(STORE, stall.fault)
    assert_undecided(scene.push("v1", one))
    assert scene.locks == {}
    assert scene.open_writes == {}
    assert faulty_registry.sent(POINT) == []
    _push_at_once(scene, "v1", two)
    assert_refused(scene.push("v1", one), two)
    scene.assert_sound()


@pytest.mark.parametrize("stall", STALLS, ids=lambda stall: stall.name)
def test_a_claim_whose_pointing_may_have_landed_is_pointed_again_at_once(
    scene: Scene, faulty_registry: FaultyRegistry, stall: Stall
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    faulty_registry.script(POINT, stall.fault, stall.fault)
    for tag in ("v1", "v2"):
        assert_undecided(scene.push(tag, one))
        assert scene.locks[tag] == ("claimed", digest_of(one))
    landed = ("v1", "v2") if stall.has_landed else ()
    assert scene.behind.tags == dict.fromkeys(landed, digest_of(one))
    # The same image, and another.
    _push_at_once(scene, "v1", one)
    began = time.monotonic()
    assert_refused(scene.push("v2", two), one)
    assert time.monotonic() - began < AT_ONCE_SECONDS
    assert scene.locks == {"v1": locked_to(one), "v2": locked_to(one)}
    scene.assert_sound()


def test_an_unprotected_tag_waits_for_no_lost_answer(
    scene: Scene, faulty_registry: FaultyRegistry
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    faulty_registry.script(POINT, Fault(is_closed=True))
    assert_undecided(scene.push("latest", one))
    _push_at_once(scene, "latest", two)
    _push_at_once(scene, "latest", one)
    scene.assert_sound()


@pytest.mark.parametrize("first", ["the scheduler", "the same image", "another image"])
def test_a_point_lands_after_it_was_sent_again(
    scene: Scene, faulty_registry: FaultyRegistry, first: str
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    hold = faulty_registry.hold_next(POINT)
    assert_undecided(scene.push("v1", one))
    if first == "the scheduler":
        assert scene.reconcile() == 1
    elif first == "the same image":
        assert scene.push("v1", one).status == 201
    else:
        assert_refused(scene.push("v1", two), one)
    assert scene.locks == {"v1": locked_to(one)}
    hold.let_land()
    assert scene.behind.read("v1") == digest_of(one)
    assert_refused(scene.push("v1", two), one)
    scene.assert_sound()


@pytest.mark.parametrize("status", [400, 404])
def test_a_refused_point_leaves_the_name_free(
    scene: Scene, faulty_registry: FaultyRegistry, status: int
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    faulty_registry.script(POINT, answers(status, is_forwarded=False))
    assert scene.push("v1", one).status == status
    assert scene.locks == {}
    assert scene.open_writes == {}
    _push_at_once(scene, "v1", two)
    scene.assert_sound()


def test_a_name_that_was_refused_while_a_write_is_open_is_free_when_it_is_over(
    scene: Scene, faulty_registry: FaultyRegistry
) -> None:
    """Only this changes hands, so only this is told to wait, and how long."""
    one, two = scene.make_image("one"), scene.make_image("two")
    no = answers(400, is_forwarded=False)
    faulty_registry.script(POINT, Fault(is_forwarded=False, is_closed=True), no, no)
    assert_undecided(scene.push("v1", one))
    answer = scene.push("v1", two)
    assert_undecided(answer)
    let_time_pass(LEASE)
    let_time_pass(STRAY)
    scene.reconcile()
    scene.reconcile()
    assert scene.push_until_decided("v1", two).status == 201
    assert scene.locks == {"v1": locked_to(two)}
    scene.assert_sound()


# The registry's process.


@pytest.mark.parametrize("point", ["before the store", "before the point leaves"])
@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "hung"])
def test_the_registry_goes_away_and_comes_back(scene: Scene, point: str, is_killed: bool) -> None:  # noqa: FBT001
    one, two = scene.make_image("one"), scene.make_image("two")
    registry = scene.cluster.registry
    with scene.waiting_at(point) as meeting:
        pushing = scene.pool.submit(scene.push, "v1", one, f"wait {point}")
        meeting.wait_until_reached()
        if is_killed:
            registry.kill()
        else:
            registry.hang()
        meeting.let_go()
        if not is_killed:
            wait_until_unread(scene.cluster.ports.registry)
        assert_undecided(pushing.result())
    assert_undecided(scene.push("v2", two))
    if is_killed:
        registry.start()
    else:
        registry.resume()
    if point == "before the store":
        assert scene.locks == {}
        _push_at_once(scene, "v1", two)
    else:
        if not is_killed:
            # It reads what its clients have given up.
            wait_until(lambda: scene.behind.read("v1") == digest_of(one))
        assert_refused(scene.push_until_decided("v1", two), one)
        _push_at_once(scene, "v1", one)
    _push_at_once(scene, "v2", two)
    scene.assert_sound()


# Deletes.

DELETE_STALLS = [STALLS[0], STALLS[1], STALLS[3]]


@pytest.mark.parametrize("stall", DELETE_STALLS, ids=lambda stall: stall.name)
def test_a_members_delete_without_an_answer_holds_its_image_until_it_can_land_no_more(
    scene: Scene, faulty_registry: FaultyRegistry, stall: Stall
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    assert scene.push("latest", one).status == 201
    faulty_registry.script(DELETE, stall.fault)
    assert_undecided(scene.delete(digest_of(one)))
    assert_undecided(scene.push("v1", one))
    _push_at_once(scene, "latest", two)
    _push_at_once(scene, "v2", two)
    let_time_pass(STRAY)
    assert scene.push("v1", one).status == 201
    scene.assert_sound()


@pytest.mark.parametrize("stall", DELETE_STALLS, ids=lambda stall: stall.name)
def test_an_admins_delete_without_an_answer_is_sent_again(
    scene: Scene, faulty_registry: FaultyRegistry, stall: Stall
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    faulty_registry.deletes_tags = True
    assert scene.push("v1", one).status == 201
    faulty_registry.script(DELETE, stall.fault)
    assert scene.delete_as_admin("v1").status == 503
    assert scene.locks == {"v1": ("deleting", digest_of(one))}
    scene.reconcile()
    assert scene.behind.tags == {}
    assert scene.locks == {"v1": ("reserved", digest_of(one))}
    assert scene.push("v1", two).status == 503
    let_time_pass(STRAY)
    assert scene.push_until_decided("v1", two).status == 403
    _push_at_once(scene, "v1", one)
    scene.assert_sound()


# What the registry never takes.


def _foreign_layer(scene: Scene) -> bytes:
    image = json.loads(scene.make_image("foreign"))
    image["layers"] = [
        {
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "digest": "sha256:" + "5" * 64,
            "size": 10,
            "urls": ["https://example.org/layer"],
        }
    ]
    return to_json(image)


def _missing_layer(scene: Scene) -> bytes:
    image = json.loads(scene.make_image("missing"))
    media_type = "application/vnd.oci.image.layer.v1.tar+gzip"
    image["layers"] = [{"mediaType": media_type, "digest": "sha256:" + "6" * 64, "size": 10}]
    return to_json(image)


def _unknown_children(scene: Scene) -> bytes:
    """An index of which docker-registry 2.8.2 names every child, in an answer that is long."""
    kind = "application/vnd.oci.image.manifest.v1+json"
    children = [
        {"mediaType": kind, "digest": f"sha256:{number:064x}", "size": 10}
        for number in range(MANY_CHILDREN)
    ]
    return to_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": children})


NEVER_TAKEN = {
    "a foreign layer": _foreign_layer,
    "a missing layer": _missing_layer,
    "many unknown children": _unknown_children,
}


@pytest.mark.parametrize("what", NEVER_TAKEN)
def test_an_image_that_the_registry_never_takes_holds_no_name(
    scene: Scene, faulty_registry: FaultyRegistry, what: str
) -> None:
    """The client reads the registry's reason, nothing is repeated, and the name is free."""
    bad, good = NEVER_TAKEN[what](scene), scene.make_image("good")
    media_type = INDEX_TYPE if what == "many unknown children" else IMAGE_TYPE
    answer = scene.edge.put("v1", bad, media_type)
    assert 400 <= answer.status < 500, answer
    errors = json.loads(answer.body)["errors"]
    assert "MANIFEST_BLOB_UNKNOWN" in {error["code"] for error in errors}, answer
    assert faulty_registry.sent(STORE) == [digest_of(bad)]
    assert faulty_registry.sent(POINT) == []
    assert scene.locks == {}
    assert scene.open_writes == {}
    assert scene.reconcile() == 0
    assert faulty_registry.sent(STORE) == [digest_of(bad)]
    _push_at_once(scene, "v1", good)
    scene.assert_sound()

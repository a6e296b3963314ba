"""A gate is killed wherever it can be: nothing is burned, and nobody waits without need."""

import time

import pytest

from tests.faults.scene import (
    AT_ONCE_SECONDS,
    LEASE,
    NO_ANSWER,
    SOON_SECONDS,
    STRAY,
    Scene,
    assert_refused,
    assert_undecided,
    let_time_pass,
    locked_to,
)
from tests.services.faulty_registry import FaultyRegistry
from tests.services.registry_user import digest_of

pytestmark = pytest.mark.cluster

# A kill at any other point leaves what one of these does: nothing is sent or committed between.
# tests/immutability/gate/test_own_failures.py fails at every statement.
STORED = "before the claim commits"
CLAIMED = "after the claim commits"
POINTED = "after the point left"
SETTLED = "after the settlement commits"


def _kill_at(scene: Scene, point: str, tag: str, image: bytes) -> None:
    assert scene.push(tag, image, f"kill {point}", gate=0) == NO_ANSWER


@pytest.mark.parametrize("point", ["before the store", STORED, CLAIMED, POINTED, SETTLED])
def test_the_same_image_succeeds_at_once(scene: Scene, point: str) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    _kill_at(scene, point, "v1", one)
    began = time.monotonic()
    assert scene.push("v1", one, gate=1).status == 201
    assert time.monotonic() - began < AT_ONCE_SECONDS
    assert scene.locks == {"v1": locked_to(one)}
    assert_refused(scene.push("v1", two, gate=1), one)
    scene.assert_sound()


@pytest.mark.parametrize("point", [STORED, CLAIMED, POINTED])
def test_another_image_is_decided_within_seconds(scene: Scene, point: str) -> None:
    """The name is free where nothing was claimed; else the claim is pointed, and then it is 403."""
    one, two = scene.make_image("one"), scene.make_image("two")
    _kill_at(scene, point, "v1", one)
    answer = scene.push_until_decided("v1", two, SOON_SECONDS, gate=1)
    if point == STORED:
        assert answer.status == 201
        assert scene.locks == {"v1": locked_to(two)}
    else:
        assert_refused(answer, one)
        assert scene.locks == {"v1": locked_to(one)}
        assert scene.push("v1", one, gate=1).status == 201
    scene.assert_sound()


def test_an_unprotected_tag_waits_for_the_lease_of_a_dead_gate_and_no_longer(
    scene: Scene,
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    _kill_at(scene, CLAIMED, "latest", one)
    assert scene.push_until_decided("latest", two, SOON_SECONDS, gate=1).status == 201
    assert scene.push("latest", one, gate=1).status == 201
    assert scene.locks == {}
    scene.assert_sound()


# Deletes.


@pytest.mark.parametrize("point", ["after the delete has begun", "after the delete left"])
def test_a_delete_by_digest_is_over_when_it_can_land_no_more(scene: Scene, point: str) -> None:
    """Until then no push may rely on the image, and each is told how long that takes."""
    one, two = scene.make_image("one"), scene.make_image("two")
    assert scene.push("latest", one).status == 201
    assert scene.delete(digest_of(one), f"kill {point}", gate=0) == NO_ANSWER
    # Another image is not concerned.
    assert scene.push("v1", two, gate=1).status == 201
    assert_undecided(scene.push("latest", one, gate=1))
    let_time_pass(LEASE)
    let_time_pass(STRAY)
    assert scene.push("latest", one, gate=1).status == 201
    assert scene.behind.tags == {"latest": digest_of(one), "v1": digest_of(two)}
    scene.assert_sound()


@pytest.mark.parametrize("point", ["after the delete has begun", "after the delete left"])
def test_an_admins_delete_is_sent_again_and_its_name_stays_reserved(
    scene: Scene, faulty_registry: FaultyRegistry, point: str
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    faulty_registry.deletes_tags = True
    assert scene.push("v1", one).status == 201
    # Through the edge, to either gate: it tells the admin to try again.
    assert_undecided(scene.delete_at_gate_as_admin("v1", f"kill {point}"))
    scene.cluster.mend_after_a_kill()
    assert scene.locks == {"v1": ("deleting", digest_of(one))}
    let_time_pass(LEASE)
    scene.reconcile()
    assert scene.locks == {"v1": ("reserved", digest_of(one))}
    assert scene.behind.read("v1") is None
    assert_undecided(scene.push("v1", two))
    let_time_pass(STRAY)
    scene.reconcile()
    refused = scene.push("v1", two)
    assert (refused.status, refused.error["detail"]["state"]) == (403, "reserved")
    assert scene.push("v1", one).status == 201
    assert scene.locks == {"v1": locked_to(one)}
    scene.assert_sound()

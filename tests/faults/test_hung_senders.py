"""A gate stands still in the middle of a write, others go on without it, and it wakes up."""

import time
from collections.abc import Iterator

import pytest

from tests.faults.scene import (
    LEASE,
    LEASE_SECONDS,
    STRAY,
    Scene,
    assert_refused,
    assert_undecided,
    let_time_pass,
    locked_to,
)
from tests.services.faulty_registry import DELETE, POINT, FaultyRegistry
from tests.services.parts import Part, wait_until
from tests.services.registry_user import Repository, digest_of

pytestmark = pytest.mark.cluster


@pytest.fixture
def third(scene: Scene) -> Iterator[tuple[Part, Repository]]:
    """A further gate, which stands still in the test, and the repository behind it."""
    gate, port = scene.cluster.another_gate()
    gate.start()
    yield gate, scene.edge.at(port)
    gate.resume()
    gate.kill()


def _let_its_lease_pass(scene: Scene) -> None:
    """Wait until the sender's own clock, too, says that it is too late."""
    time.sleep(LEASE_SECONDS)
    let_time_pass(LEASE)


def test_a_push_that_stood_still_past_its_lease_is_not_sent(
    scene: Scene, faulty_registry: FaultyRegistry, third: tuple[Part, Repository]
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    gate, behind_it = third
    point = "after the claim commits"
    with scene.waiting_at(point) as meeting:
        pushing = scene.pool.submit(behind_it.put, "v1", one, headers=f"X-Fault: wait {point}\r\n")
        meeting.wait_until_reached()
        gate.hang()
        _let_its_lease_pass(scene)
        assert_refused(scene.push_until_decided("v1", two), one)
        assert faulty_registry.sent(POINT) == ["v1"]
        gate.resume()
    assert_undecided(pushing.result())
    assert faulty_registry.sent(POINT) == ["v1"]
    assert scene.locks == {"v1": locked_to(one)}
    scene.assert_sound()


def test_a_push_that_stood_still_after_its_last_look_at_the_clock_does_no_harm(
    scene: Scene, faulty_registry: FaultyRegistry, third: tuple[Part, Repository]
) -> None:
    """It leaves late, and a first push can only point the tag where it points."""
    one, two = scene.make_image("one"), scene.make_image("two")
    gate, behind_it = third
    point = "before the point leaves"
    with scene.waiting_at(point) as meeting:
        pushing = scene.pool.submit(behind_it.put, "v1", one, headers=f"X-Fault: wait {point}\r\n")
        meeting.wait_until_reached()
        gate.hang()
        let_time_pass(LEASE)
        assert scene.push("v1", one).status == 201
        assert_refused(scene.push("v1", two), one)
        let_time_pass(STRAY)
        scene.reconcile()
        gate.resume()
    # It answers by what the record shows, or that it does not know.
    assert pushing.result().status in (201, 503)
    wait_until(lambda: faulty_registry.sent(POINT) == ["v1", "v1"])
    assert scene.behind.tags == {"v1": digest_of(one)}
    assert scene.locks == {"v1": locked_to(one)}
    scene.assert_sound()


def test_a_delete_that_stood_still_past_its_lease_is_not_sent(
    scene: Scene, faulty_registry: FaultyRegistry, third: tuple[Part, Repository]
) -> None:
    one = scene.make_image("one")
    assert scene.push("latest", one).status == 201
    gate, behind_it = third
    point = "after the delete has begun"
    with scene.waiting_at(point) as meeting:
        deleting = scene.pool.submit(
            behind_it.delete, f"manifests/{digest_of(one)}", f"X-Fault: wait {point}\r\n"
        )
        meeting.wait_until_reached()
        gate.hang()
        _let_its_lease_pass(scene)
        assert_undecided(scene.push("v1", one))
        let_time_pass(STRAY)
        scene.reconcile()
        assert scene.push("v1", one).status == 201
        gate.resume()
    assert_undecided(deleting.result())
    assert faulty_registry.sent(DELETE) == []
    assert scene.behind.read("v1") == digest_of(one)
    scene.assert_sound()

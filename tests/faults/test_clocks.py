"""Gates whose clocks are minutes apart: the database's clock times every lease.

How far apart they may be, registry tokens say. Beyond that a gate writes nothing.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.faults.scene import (
    LEASE,
    NO_ANSWER,
    Scene,
    assert_refused,
    assert_undecided,
    let_time_pass,
    locked_to,
)
from tests.services.cluster import Cluster
from tests.services.parts import Part
from tests.services.registry_user import Answer, Repository, digest_of

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("connections")]

# In minutes, each longer than a lease: as much as the registry puts up with where a token of a gate
# is from the future, and as much as the gate does where a client's is.
SKEWS = {"ahead": "1.8", "behind": "-4.5"}
# A client that goes to the gate whose clock is behind has had its token for a while.
TOKEN_AGES = {"ahead": 0, "behind": 240}
SENT = "before the write leaves"


@pytest.fixture(scope="module")
def _skewed_ports(_running_cluster: Cluster) -> Iterator[dict[str, int]]:
    gates = {
        name: _running_cluster.another_gate(FAULT_CLOCK_MINUTES=skew)
        for name, skew in SKEWS.items()
    }
    for part, _ in gates.values():
        part.start()
    yield {name: port for name, (_, port) in gates.items()}
    for part, _ in gates.values():
        part.kill()


@pytest.fixture
def skewed(_skewed_ports: dict[str, int], scene: Scene) -> dict[str, Repository]:
    """The scene's repository behind gates whose clocks are ahead and behind."""
    account = scene.edge.account
    assert account is not None
    return {
        name: Repository(port, scene.name, replace(account, token_age=TOKEN_AGES[name]))
        for name, port in _skewed_ports.items()
    }


@pytest.mark.parametrize("skew", SKEWS)
def test_another_clock_does_not_end_the_lease_of_a_push_under_way(
    scene: Scene, skewed: dict[str, Repository], skew: str
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    with scene.waiting_at(SENT) as meeting:
        pushing = scene.pool.submit(scene.push, "v1", one, f"wait {SENT}")
        meeting.wait_until_reached()
        assert_undecided(skewed[skew].put("v1", two))
        # Not repeated, as it would be if its lease were over.
        assert scene.behind.tags == {}
    assert pushing.result().status == 201
    assert_refused(skewed[skew].put("v1", two), one)
    scene.assert_sound()


@pytest.mark.parametrize("skew", SKEWS)
def test_the_lease_of_a_push_is_as_long_whatever_the_clock_of_its_gate(
    scene: Scene, skewed: dict[str, Repository], skew: str
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    with scene.waiting_at(SENT) as meeting:
        pushing = scene.pool.submit(
            skewed[skew].put, "v1", one, headers=f"X-Fault: wait {SENT}\r\n"
        )
        meeting.wait_until_reached()
        assert_undecided(scene.push("v1", two))
        scene.resolve()
        assert scene.behind.tags == {}
        assert scene.open_attempts == 1
        # And no longer: after it, anybody repeats the write.
        let_time_pass(LEASE)
        scene.resolve()
        assert scene.locks == {"v1": locked_to(one)}
    assert pushing.result().status in (201, 503)
    scene.assert_sound()


@pytest.mark.parametrize("skew", SKEWS)
def test_a_gate_with_another_clock_resolves_what_a_crash_left(
    scene: Scene, skewed: dict[str, Repository], skew: str
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    assert scene.push("v1", one, "kill after the registry's answer", gate=0) == NO_ANSWER
    scene.cluster.mend_after_a_kill()
    assert_undecided(skewed[skew].put("v1", two))
    assert scene.open_attempts == 1
    let_time_pass(LEASE)
    assert_refused(skewed[skew].put("v1", two), one)
    assert scene.locks == {"v1": locked_to(one)}
    scene.assert_sound()


def test_of_many_first_pushes_through_gates_with_different_clocks_one_wins(
    scene: Scene, skewed: dict[str, Repository]
) -> None:
    places = [scene.edge, *skewed.values()] * 4
    images = [scene.make_image(str(number)) for number in range(len(places))]
    barrier = threading.Barrier(len(places))

    def push(place: Repository, image: bytes) -> Answer:
        barrier.wait()
        return place.put("v1", image)

    answers = list(scene.pool.map(push, places, images))
    won = [image for image, answer in zip(images, answers, strict=True) if answer.status == 201]
    assert len(won) == 1
    for image in images:
        if image not in won:
            assert_refused(scene.push_until_decided("v1", image), won[0])
    assert scene.behind.tags == {"v1": digest_of(won[0])}
    scene.assert_sound()


@pytest.fixture
def start_gate(scene: Scene) -> Iterator[Callable[[str], Repository]]:
    """Return a function that starts a gate whose clock is so many minutes ahead."""
    started: list[Part] = []

    def start(minutes: str) -> Repository:
        part, port = scene.cluster.another_gate(FAULT_CLOCK_MINUTES=minutes)
        part.start()
        started.append(part)
        return scene.edge.at(port)

    yield start
    for part in started:
        part.kill()


@pytest.mark.parametrize("minutes", ["30", "-30"])
def test_a_gate_whose_clock_is_far_off_believes_no_token_and_holds_no_name(
    scene: Scene, start_gate: Callable[[str], Repository], minutes: str
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    answer = start_gate(minutes).put("v1", one)
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert scene.locks == {}
    assert scene.open_attempts == 0
    assert scene.push("v1", two).status == 201
    scene.assert_sound()


def test_a_gate_whose_own_tokens_are_from_the_future_decides_nothing_and_holds_no_name(
    scene: Scene, start_gate: Callable[[str], Repository]
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    assert_undecided(start_gate("4").put("v1", one))
    assert scene.locks == {}
    assert scene.open_attempts == 0
    assert scene.push("v1", two).status == 201
    scene.assert_sound()

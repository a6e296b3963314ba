"""Gates whose clocks are minutes apart: the database's clock times every lease.

How far apart they may be, registry tokens say. Beyond that a gate writes nothing.
"""

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
)
from tests.services.cluster import Cluster
from tests.services.faulty_registry import FaultyRegistry
from tests.services.parts import Part
from tests.services.registry_user import Repository

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("connections")]

# In minutes, each longer than a lease: as much as the registry puts up with where a token of a gate
# is from the future, and as much as the gate does where a client's is.
SKEWS = {"ahead": "1.8", "behind": "-4.5"}
# A client that goes to the gate whose clock is behind has had its token for a while.
TOKEN_AGES = {"ahead": 0, "behind": 240}
SENT = "before the point leaves"


@pytest.fixture(scope="module")
def _skewed_ports(
    _faulty_cluster: tuple[Cluster, FaultyRegistry],
) -> Iterator[dict[str, int]]:
    gates = {
        name: _faulty_cluster[0].another_gate(FAULT_CLOCK_MINUTES=skew)
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
def test_another_clock_ends_no_lease_too_soon_and_none_too_late(
    scene: Scene, skewed: dict[str, Repository], skew: str
) -> None:
    one, two, three = (scene.make_image(text) for text in ("one", "two", "three"))
    here, there = scene.edge, skewed[skew]
    for tag, sender, other in (("v1", here, there), ("v2", there, here)):
        with scene.waiting_at(SENT) as meeting:
            fault = f"X-Fault: wait {SENT}\r\n"
            pushing = scene.pool.submit(sender.put, tag, one, headers=fault)
            meeting.wait_until_reached()
            assert_undecided(other.put(tag, two))
            assert scene.open_writes == {tag: "in flight"}
        assert pushing.result().status == 201
        assert_refused(other.put(tag, two), one)
    # A minute after a crash, anyone finishes what was left.
    assert scene.push("v3", one, "kill after the point left", gate=0) == NO_ANSWER
    scene.cluster.mend_after_a_kill()
    let_time_pass(LEASE)
    assert_refused(there.put("v3", three), one)
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
    assert scene.open_writes == {}
    assert scene.push("v1", two).status == 201
    scene.assert_sound()


def test_a_gate_whose_own_tokens_are_from_the_future_decides_nothing_and_holds_no_name(
    scene: Scene, start_gate: Callable[[str], Repository]
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    assert_undecided(start_gate("4").put("v1", one))
    assert scene.locks == {}
    assert scene.open_writes == {}
    assert scene.push("v1", two).status == 201
    scene.assert_sound()

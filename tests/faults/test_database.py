"""The database is gone between any two steps of a push or a delete."""

import urllib.request
from collections.abc import Iterator

import pytest

from immutability.policy.protection import Protection
from tests.faults.scene import (
    LEASE,
    STRAY,
    Scene,
    assert_refused,
    assert_undecided,
    let_time_pass,
    locked_to,
)
from tests.services.cluster import Cluster
from tests.services.database_faults import LostConnections, held_write_lock, let_disk_be_full
from tests.services.faulty_registry import POINT, FaultyRegistry
from tests.services.parts import Part, is_answering, wait_until
from tests.services.registry_user import Answer, Repository, digest_of

pytestmark = pytest.mark.cluster

UNCLAIMED = "before the claim commits"
AT_CLAIM = [UNCLAIMED, "after the claim commits"]
AT_SETTLE = ["after the point left", "before the settlement commits"]
# Where no transaction is open, so that someone else can take SQLite's write lock.
BETWEEN = ["after the store", "after the claim commits", "after the point left"]
DELETES = ["before the delete begins", "after the delete has begun", "after the delete left"]


@pytest.fixture(scope="module")
def _fast_gate(
    _faulty_cluster: tuple[Cluster, FaultyRegistry],
) -> Iterator[tuple[Part, int]]:
    part, port = _faulty_cluster[0].another_gate(FAULT_LOCK_SECONDS="0.5")
    part.start()
    yield part, port
    part.kill()


@pytest.fixture
def fast(_fast_gate: tuple[Part, int], scene: Scene) -> Repository:
    """The scene's repository behind a gate that does not wait long for its database."""
    _, port = _fast_gate
    # It notices after a moment that the database is back from the last test.
    wait_until(lambda: is_answering(f"http://127.0.0.1:{port}/readyz"))
    return scene.edge.at(port)


def _settle(scene: Scene, point: str, answer: Answer, one: bytes, two: bytes) -> None:
    """Whatever the gate could still do: the push counts, or it leaves the name to others."""
    assert answer.status in (201, 503), answer
    if answer.status == 503:
        assert_undecided(answer)
    if answer.status == 201 or point not in (UNCLAIMED, "after the store"):
        # A lost claim is finished by the one that comes next, within seconds.
        assert_refused(scene.push_until_decided("v1", two), one)
        assert scene.push_until_decided("v1", one).status == 201
        assert scene.locks == {"v1": locked_to(one)}
    else:
        assert scene.locks == {}
        # The gates find out one by one that their connections are of no use.
        assert scene.push_until_decided("v1", two).status == 201
        assert_refused(scene.push_until_decided("v1", one), two)
    scene.assert_sound()


@pytest.mark.parametrize("point", [*AT_CLAIM, *AT_SETTLE])
def test_all_connections_are_cut(
    scene: Scene, fast: Repository, connections: LostConnections, point: str
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    with scene.waiting_at(point) as meeting:
        pushing = scene.pool.submit(fast.put, "v1", one, headers=f"X-Fault: wait {point}\r\n")
        meeting.wait_until_reached()
        connections.cut()
    _settle(scene, point, pushing.result(), one, two)


@pytest.mark.parametrize("point", ["after the store", AT_SETTLE[0]])
def test_connections_are_refused_for_a_while(
    scene: Scene, fast: Repository, connections: LostConnections, point: str
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    with scene.waiting_at(point) as meeting:
        pushing = scene.pool.submit(fast.put, "v1", one, headers=f"X-Fault: wait {point}\r\n")
        meeting.wait_until_reached()
        with connections.refused():
            meeting.let_go()
            answer = pushing.result()
    assert_undecided(answer)
    _settle(scene, point, answer, one, two)


@pytest.mark.both_databases
@pytest.mark.usefixtures("database_file")
@pytest.mark.parametrize("point", BETWEEN)
def test_the_database_is_locked_for_too_long(scene: Scene, fast: Repository, point: str) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    with scene.waiting_at(point) as meeting:
        pushing = scene.pool.submit(fast.put, "v1", one, headers=f"X-Fault: wait {point}\r\n")
        meeting.wait_until_reached()
        with held_write_lock():
            meeting.let_go()
            answer = pushing.result()
    # The claim was committed before: the push goes on, and is settled later.
    assert_undecided(answer)
    _settle(scene, point, answer, one, two)


@pytest.mark.both_databases
@pytest.mark.usefixtures("database_file")
@pytest.mark.parametrize("point", ["after the store", "after the point left"])
def test_the_disk_is_full(scene: Scene, point: str) -> None:
    """A gate that may not write another byte to a file stands for a disk that is full."""
    one, two = scene.make_image("one"), scene.make_image("two")
    gate, port = scene.cluster.another_gate()
    gate.start()
    try:
        with scene.waiting_at(point) as meeting:
            pushing = scene.pool.submit(
                scene.edge.at(port).put, "v1", one, headers=f"X-Fault: wait {point}\r\n"
            )
            meeting.wait_until_reached()
            let_disk_be_full(gate)
        answer = pushing.result()
    finally:
        gate.kill()
    assert_undecided(answer)
    _settle(scene, point, answer, one, two)


def _settle_delete(scene: Scene, point: str, answer: Answer, one: bytes) -> None:
    assert answer.status in (202, 503), answer
    let_time_pass(LEASE)
    let_time_pass(STRAY)
    scene.reconcile()
    is_gone = answer.status == 202 or point != DELETES[0]
    assert scene.behind.read("latest") == (None if is_gone else digest_of(one))
    # Whatever became of it, it is over.
    assert scene.push_until_decided("latest", one).status == 201
    scene.assert_sound()


@pytest.mark.parametrize("point", DELETES)
def test_all_connections_are_cut_during_a_delete(
    scene: Scene, fast: Repository, connections: LostConnections, point: str
) -> None:
    one = scene.make_image("one")
    assert scene.push_until_decided("latest", one).status == 201
    with scene.waiting_at(point) as meeting:
        deleting = scene.pool.submit(
            fast.delete, f"manifests/{digest_of(one)}", f"X-Fault: wait {point}\r\n"
        )
        meeting.wait_until_reached()
        connections.cut()
    _settle_delete(scene, point, deleting.result(), one)


@pytest.mark.both_databases
@pytest.mark.usefixtures("database_file")
@pytest.mark.parametrize("point", [DELETES[0], DELETES[-1]])
def test_the_database_is_locked_for_too_long_during_a_delete(
    scene: Scene, fast: Repository, point: str
) -> None:
    one = scene.make_image("one")
    assert scene.push("latest", one).status == 201
    with scene.waiting_at(point) as meeting:
        deleting = scene.pool.submit(
            fast.delete, f"manifests/{digest_of(one)}", f"X-Fault: wait {point}\r\n"
        )
        meeting.wait_until_reached()
        with held_write_lock():
            meeting.let_go()
            answer = deleting.result()
    assert_undecided(answer)
    _settle_delete(scene, point, answer, one)


# The pool.

HELD = 8


def test_held_pushes_hold_no_connections(scene: Scene, faulty_registry: FaultyRegistry) -> None:
    """Four times as many pushes as the pool has connections wait at the registry."""
    images = [scene.make_image(str(number)) for number in range(HELD + 2)]
    gate, port = scene.cluster.another_gate(FAULT_POOL_SIZE="2", SHORT_DEADLINE_SECONDS="20")
    behind_it = scene.edge.at(port)
    gate.start()
    try:
        holds = [faulty_registry.hold_next(POINT) for _ in range(HELD)]
        held = [
            scene.pool.submit(behind_it.put, f"v{number}", images[number]) for number in range(HELD)
        ]
        for hold in holds:
            hold.wait_until_reached()
        assert len(scene.open_writes) == HELD
        # These are told to come back, after a while; meanwhile they hold no connection.
        waiting = [
            scene.pool.submit(behind_it.put, f"v{number}", images[-1]) for number in range(HELD)
        ]
        assert behind_it.put("v-other", images[-1]).status == 201
        assert behind_it.put("latest", images[-2]).status == 201
        assert_refused(behind_it.put("v-other", images[-2]), images[-1])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as ready:
            assert ready.status == 200
        for each in waiting:
            assert_undecided(each.result())
        scene.protect(Protection.ALL)
        for hold in holds:
            hold.let_go()
        assert [push.result().status for push in held] == [201] * HELD
    finally:
        faulty_registry.reset()
        gate.kill()
    landed = {f"v{number}": digest_of(images[number]) for number in range(HELD)}
    assert scene.behind.tags.items() >= landed.items()
    scene.assert_sound()

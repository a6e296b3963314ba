"""The database is gone between any two steps of a push or a delete."""

import urllib.request
from collections.abc import Iterator

import pytest

from immutability.protection import Protection
from tests.faults.scene import Scene, assert_refused, assert_undecided, locked_to
from tests.services.cluster import Cluster
from tests.services.database_faults import LostConnections, held_write_lock
from tests.services.fickle import FickleProxy
from tests.services.parts import Part, is_answering, wait_until
from tests.services.registry_user import Answer, Repository, digest_of

pytestmark = pytest.mark.cluster

NOTHING_COMMITTED = "before the claim commits"
NOT_SENT = ["after the claim commits", "after the look"]
SENT = ["after it is marked as sent", "before the write leaves", "after the registry's answer"]
CONFIRMING = ["during the confirmation", "at the end of the confirmation"]
CONFIRMED = "after the confirmation"
# Where no transaction is open, so that somebody else can take SQLite's write lock.
BETWEEN = [*NOT_SENT, *SENT, CONFIRMED]
DELETES = [
    "after the delete is decided",
    "after the delete is announced",
    "after the delete is marked as sent",
    "after the registry's answer to the delete",
]


@pytest.fixture(scope="module")
def _hasty_gate(_running_cluster: Cluster) -> Iterator[tuple[Part, int]]:
    part, port = _running_cluster.another_gate(FAULT_LOCK_SECONDS="0.5")
    part.start()
    yield part, port
    part.kill()


@pytest.fixture
def hasty(_hasty_gate: tuple[Part, int], scene: Scene) -> Repository:
    """The scene's repository behind a gate that does not wait long for its database."""
    _, port = _hasty_gate
    # It notices after a moment that the database is back from the last test.
    wait_until(lambda: is_answering(f"http://127.0.0.1:{port}/readyz"))
    return scene.edge.at(port)


def _settle(scene: Scene, point: str, answer: Answer, one: bytes, two: bytes) -> None:
    """Whatever the gate could still do: the push counts, or it leaves the name to others."""
    assert answer.status in (201, 503), answer
    if answer.status == 503:
        assert_undecided(answer)
    if answer.status == 201 or point in (*SENT, *CONFIRMING, CONFIRMED):
        scene.let_the_lease_pass_and_resolve()
        assert scene.locks == {"v1": locked_to(one)}
        assert_refused(scene.push_until_decided("v1", two), one)
    else:
        scene.let_the_lease_pass_and_resolve()
        assert scene.locks == {}
        assert scene.push_until_decided("v1", two).status == 201
        assert_refused(scene.push_until_decided("v1", one), two)
    scene.assert_sound()


@pytest.mark.parametrize("point", [NOTHING_COMMITTED, *BETWEEN, *CONFIRMING])
def test_all_connections_are_cut(
    scene: Scene, hasty: Repository, connections: LostConnections, point: str
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    with scene.waiting_at(point) as meeting:
        pushing = scene.pool.submit(hasty.put, "v1", one, headers=f"X-Fault: wait {point}\r\n")
        meeting.wait_until_reached()
        connections.cut()
    _settle(scene, point, pushing.result(), one, two)


@pytest.mark.parametrize("point", [NOTHING_COMMITTED, *BETWEEN, CONFIRMING[0]])
def test_connections_are_refused_for_a_while(
    scene: Scene, hasty: Repository, connections: LostConnections, point: str
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    with scene.waiting_at(point) as meeting:
        pushing = scene.pool.submit(hasty.put, "v1", one, headers=f"X-Fault: wait {point}\r\n")
        meeting.wait_until_reached()
        with connections.refused():
            meeting.let_go()
            answer = pushing.result()
    assert answer.status == 503 or point == CONFIRMED
    _settle(scene, point, answer, one, two)


@pytest.mark.usefixtures("database_file")
@pytest.mark.parametrize("point", BETWEEN)
def test_the_database_is_locked_for_too_long(scene: Scene, hasty: Repository, point: str) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    with scene.waiting_at(point) as meeting:
        pushing = scene.pool.submit(hasty.put, "v1", one, headers=f"X-Fault: wait {point}\r\n")
        meeting.wait_until_reached()
        with held_write_lock():
            meeting.let_go()
            answer = pushing.result()
    assert answer.status == 503 or point == CONFIRMED
    _settle(scene, point, answer, one, two)


def _settle_delete(scene: Scene, point: str, answer: Answer, one: bytes) -> None:
    assert answer.status in (202, 503), answer
    scene.let_the_lease_pass_and_resolve()
    if answer.status == 202 or point in DELETES[2:]:
        assert scene.behind.read("latest") is None
    else:
        assert scene.behind.read("latest") == digest_of(one)
    scene.assert_sound()
    # Whatever became of it, it is over.
    assert scene.push_until_decided("v1", one).status == 201
    scene.assert_sound()


@pytest.mark.parametrize("point", DELETES)
def test_all_connections_are_cut_during_a_delete(
    scene: Scene, hasty: Repository, connections: LostConnections, point: str
) -> None:
    one = scene.make_image("one")
    assert scene.push_until_decided("latest", one).status == 201
    with scene.waiting_at(point) as meeting:
        deleting = scene.pool.submit(
            hasty.delete, f"manifests/{digest_of(one)}", f"X-Fault: wait {point}\r\n"
        )
        meeting.wait_until_reached()
        connections.cut()
    _settle_delete(scene, point, deleting.result(), one)


@pytest.mark.usefixtures("database_file")
@pytest.mark.parametrize("point", DELETES)
def test_the_database_is_locked_for_too_long_during_a_delete(
    scene: Scene, hasty: Repository, point: str
) -> None:
    one = scene.make_image("one")
    assert scene.push("latest", one).status == 201
    with scene.waiting_at(point) as meeting:
        deleting = scene.pool.submit(
            hasty.delete, f"manifests/{digest_of(one)}", f"X-Fault: wait {point}\r\n"
        )
        meeting.wait_until_reached()
        with held_write_lock():
            meeting.let_go()
            answer = deleting.result()
    assert answer.status == 503
    _settle_delete(scene, point, answer, one)


# The pool.

HELD = 8


def test_held_pushes_hold_no_connections(fickle: Scene, proxy: FickleProxy) -> None:
    """Four times as many pushes as the pool has connections wait at the registry."""
    images = [fickle.make_image(str(number)) for number in range(HELD + 2)]
    gate, port = fickle.cluster.another_gate(FAULT_POOL_SIZE="2", FAULT_DEADLINE="20")
    behind_it = fickle.edge.at(port)
    gate.start()
    try:
        holds = [proxy.hold_next() for _ in range(HELD)]
        held = [
            fickle.pool.submit(behind_it.put, f"v{number}", images[number])
            for number in range(HELD)
        ]
        for hold in holds:
            hold.wait_until_reached()
        assert fickle.open_attempts == HELD
        # These wait for them, or are told to come back; either way they hold no connection.
        waiting = [
            fickle.pool.submit(behind_it.put, f"v{number}", images[-1]) for number in range(HELD)
        ]
        assert behind_it.put("v-other", images[-1]).status == 201
        assert behind_it.put("latest", images[-2]).status == 201
        assert_refused(behind_it.put("v-other", images[-2]), images[-1])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as ready:
            assert ready.status == 200
        for each in waiting:
            assert_undecided(each.result())
        fickle.protect(Protection.ALL)
        for hold in holds:
            hold.let_go()
        assert [push.result().status for push in held] == [201] * HELD
    finally:
        proxy.reset()
        gate.kill()
    assert (
        fickle.behind.tags.items()
        >= {f"v{number}": digest_of(images[number]) for number in range(HELD)}.items()
    )
    fickle.assert_sound()

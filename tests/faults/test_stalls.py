"""A registry that answers late, wrongly, in part or not at all: nothing is taken for granted."""

from dataclasses import dataclass

import pytest

from tests.faults.scene import (
    QUARANTINE,
    Scene,
    assert_refused,
    assert_undecided,
    let_time_pass,
    locked_to,
)
from tests.services.fickle import Fault, FickleProxy, Hold, answers
from tests.services.parts import wait_until, wait_until_unread
from tests.services.registry_user import digest_of

pytestmark = pytest.mark.cluster


@dataclass(frozen=True)
class Stall:
    """What the registry does to a write whose end the gate cannot know."""

    name: str
    fault: Fault
    has_landed: bool


STALLS = [
    *(
        Stall(f"answers {status} {'after' if lands else 'without'} storing it", fault, lands)
        for status in (500, 502, 503, 408, 429)
        for lands in (True, False)
        for fault in [answers(status, is_forwarded=lands)]
    ),
    Stall("does not believe Taglock's token", answers(401, is_forwarded=False), has_landed=False),
    Stall("closes after storing it", Fault(is_closed=True), has_landed=True),
    Stall("closes before reading it", Fault(is_forwarded=False, is_closed=True), has_landed=False),
    Stall("dribbles its answer", Fault(is_dribbled=True), has_landed=True),
    Stall(
        "answers another digest",
        Fault(headers={"Docker-Content-Digest": digest_of(b"another")}),
        has_landed=True,
    ),
    Stall("answers no digest", Fault(headers={"Docker-Content-Digest": ""}), has_landed=True),
    Stall("redirects", answers(307, is_forwarded=False), has_landed=False),
    Stall("cuts its answer short", Fault(is_cut=True), has_landed=True),
]


@pytest.mark.parametrize("stall", STALLS, ids=lambda stall: stall.name)
def test_a_push_whose_end_is_unknown_is_repeated_and_locked(
    fickle: Scene, proxy: FickleProxy, stall: Stall
) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    proxy.script(stall.fault)
    assert_undecided(fickle.push("v1", one))
    assert fickle.locks == {"v1": ("claimed", digest_of(one))}
    assert fickle.behind.tags == ({"v1": digest_of(one)} if stall.has_landed else {})
    # Its sender has given it up, so whoever comes next repeats it first.
    assert_refused(fickle.push_until_decided("v1", two), one)
    assert fickle.locks == {"v1": locked_to(one)}
    assert fickle.push("v1", one).status == 201
    fickle.assert_sound()


@pytest.mark.parametrize("stall", STALLS[:3] + STALLS[-7:-5], ids=lambda stall: stall.name)
def test_the_same_image_is_pushed_again_after_an_unknown_end(
    fickle: Scene, proxy: FickleProxy, stall: Stall
) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    proxy.script(stall.fault)
    assert_undecided(fickle.push("v1", one))
    assert fickle.push("v1", one).status == 201
    assert fickle.locks == {"v1": locked_to(one)}
    assert_refused(fickle.push("v1", two), one)
    fickle.assert_sound()


@pytest.mark.parametrize("stall", STALLS[:2], ids=lambda stall: stall.name)
def test_a_push_is_repeated_as_often_as_its_end_is_unknown(
    fickle: Scene, proxy: FickleProxy, stall: Stall
) -> None:
    one = fickle.make_image("one")
    proxy.script(*[stall.fault] * 3)
    assert_undecided(fickle.push("v1", one))
    for _ in range(2):
        fickle.let_the_lease_pass_and_resolve()
        assert fickle.locks == {"v1": ("claimed", digest_of(one))}
        assert fickle.open_attempts == 1
    fickle.let_the_lease_pass_and_resolve()
    assert fickle.locks == {"v1": locked_to(one)}
    fickle.assert_sound()


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 415])
def test_a_refusal_of_the_registry_leaves_the_name_free(
    fickle: Scene, proxy: FickleProxy, status: int
) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    proxy.script(answers(status, is_forwarded=False))
    assert fickle.push("v1", one).status == status
    assert fickle.locks == {}
    assert fickle.open_attempts == 0
    assert fickle.push("v1", two).status == 201
    fickle.assert_sound()


# Late.


def test_the_answer_comes_after_the_gate_has_given_up(fickle: Scene, proxy: FickleProxy) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    hold = Hold()
    proxy.script(Fault(after=hold))
    assert_undecided(fickle.push("v1", one))
    hold.let_go()
    assert fickle.locks == {"v1": ("claimed", digest_of(one))}
    assert_refused(fickle.push_until_decided("v1", two), one)
    fickle.assert_sound()


@pytest.mark.parametrize("first", ["resolved", "pushed again", "met by another image"])
def test_the_write_lands_after_its_repetition(
    fickle: Scene, proxy: FickleProxy, first: str
) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    hold = proxy.hold_next()
    assert_undecided(fickle.push("v1", one))
    if first == "resolved":
        fickle.let_the_lease_pass_and_resolve()
    elif first == "pushed again":
        assert fickle.push("v1", one).status == 201
    else:
        assert_refused(fickle.push_until_decided("v1", two), one)
    assert fickle.locks == {"v1": locked_to(one)}
    hold.let_land()
    assert fickle.behind.read("v1") == digest_of(one)
    assert_refused(fickle.push("v1", two), one)
    fickle.assert_sound()


def test_a_write_lands_late_although_its_repetition_was_refused(
    fickle: Scene, proxy: FickleProxy
) -> None:
    """The name is free again, but for as long as the first write may land, nobody gets it."""
    one, two = fickle.make_image("one"), fickle.make_image("two")
    hold = proxy.hold_next()
    assert_undecided(fickle.push("v1", one))
    proxy.script(answers(400, is_forwarded=False))
    fickle.let_the_lease_pass_and_resolve()
    assert_undecided(fickle.push("v1", two))
    hold.let_land()
    assert fickle.behind.tags == {"v1": digest_of(one)}
    fickle.assert_kept()
    fickle.assert_sound()
    assert_refused(fickle.push_until_decided("v1", two), one)
    assert fickle.locks == {"v1": locked_to(one)}
    fickle.assert_sound()


def test_a_push_is_free_again_once_a_refused_write_cannot_land_any_more(
    fickle: Scene, proxy: FickleProxy
) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    proxy.script(Fault(is_forwarded=False, is_closed=True), answers(400, is_forwarded=False))
    assert_undecided(fickle.push("v1", one))
    fickle.let_the_lease_pass_and_resolve()
    fickle.assert_sound()
    assert fickle.push_until_decided("v1", two).status == 201
    fickle.assert_sound()


# Deletes.

DELETE_STALLS = [
    Stall("answers 500 after doing it", answers(500, is_forwarded=True), has_landed=True),
    Stall("answers 503 without doing it", answers(503, is_forwarded=False), has_landed=False),
    Stall("closes after doing it", Fault(is_closed=True), has_landed=True),
    Stall("dribbles its answer", Fault(is_dribbled=True), has_landed=True),
]


@pytest.mark.parametrize("stall", DELETE_STALLS, ids=lambda stall: stall.name)
def test_a_delete_whose_end_is_unknown_is_repeated(
    fickle: Scene, proxy: FickleProxy, stall: Stall
) -> None:
    one = fickle.make_image("one")
    assert fickle.push("latest", one).status == 201
    proxy.script(stall.fault, method="DELETE")
    assert_undecided(fickle.delete(digest_of(one)))
    assert fickle.open_attempts == 1
    fickle.let_the_lease_pass_and_resolve()
    assert fickle.behind.read(digest_of(one)) is None
    fickle.assert_sound()


@pytest.mark.parametrize("stall", DELETE_STALLS, ids=lambda stall: stall.name)
def test_an_admins_delete_whose_end_is_unknown_is_repeated(
    fickle: Scene, proxy: FickleProxy, stall: Stall
) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    proxy.deletes_tags = True
    assert fickle.push("v1", one).status == 201
    proxy.script(stall.fault, method="DELETE")
    assert fickle.delete_as_admin("v1").status == 503
    assert fickle.locks == {"v1": ("deleting", digest_of(one))}
    fickle.let_the_lease_pass_and_resolve()
    assert fickle.behind.tags == {}
    assert fickle.locks == {"v1": ("reserved", digest_of(one))}
    assert fickle.push("v1", two).status in (403, 503)
    fickle.assert_sound()


# The registry itself.


def test_the_registry_reads_a_push_after_the_client_gave_up(fickle: Scene) -> None:
    one, two = fickle.make_image("one"), fickle.make_image("two")
    with fickle.waiting_at("before the write leaves") as meeting:
        pushing = fickle.pool.submit(fickle.push, "v1", one, "wait before the write leaves")
        meeting.wait_until_reached()
        fickle.cluster.registry.hang()
        meeting.let_go()
        wait_until_unread(fickle.cluster.ports.registry)
    assert_undecided(pushing.result())
    assert_undecided(fickle.push("v1", two))
    fickle.cluster.registry.resume()
    wait_until(lambda: fickle.behind.read("v1") == digest_of(one))
    assert_refused(fickle.push_until_decided("v1", two), one)
    assert fickle.locks == {"v1": locked_to(one)}
    fickle.assert_sound()


def test_a_hanging_registry_is_asked_in_vain_before_a_push(fickle: Scene) -> None:
    """It hangs when the gate looks: nothing was sent, so nothing is held."""
    one, two = fickle.make_image("one"), fickle.make_image("two")
    fickle.cluster.registry.hang()
    assert_undecided(fickle.push("v1", one))
    assert fickle.locks == {}
    assert fickle.open_attempts == 0
    fickle.cluster.registry.resume()
    assert fickle.push("v1", two).status == 201
    fickle.assert_sound()


# The gate itself.


def test_a_gate_that_stood_still_for_too_long_sends_nothing_any_more(
    fickle: Scene, proxy: FickleProxy
) -> None:
    """It wakes between mark and write; its push was refused, and somebody else has the name."""
    one, two = fickle.make_image("one"), fickle.make_image("two")
    gate, port = fickle.cluster.another_gate(FAULT_LEASE_SECONDS="1")
    gate.start()
    try:
        with fickle.waiting_at("after it is marked as sent") as meeting:
            pushing = fickle.pool.submit(
                fickle.edge.at(port).put,
                "v1",
                one,
                headers="X-Fault: wait after it is marked as sent\r\n",
            )
            meeting.wait_until_reached()
            gate.hang()
            proxy.script(answers(400, is_forwarded=False))
            wait_until(lambda: fickle.resolve() == 1)
            assert fickle.locks == {}
            let_time_pass(QUARANTINE)
            assert fickle.push("v1", two).status == 201
            gate.resume()
        assert_undecided(pushing.result())
    finally:
        gate.resume()
        gate.kill()
    assert fickle.behind.tags == {"v1": digest_of(two)}
    fickle.assert_sound()

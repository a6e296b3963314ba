"""A gate killed while it pushes: nothing is lost, nothing burned, and nothing overwritten."""

import subprocess
import sys

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
from tests.services.parts import wait_until, wait_until_unread
from tests.services.registry_user import digest_of
from tests.services.site import ROOT

pytestmark = pytest.mark.cluster

NOTHING_COMMITTED = "before the claim commits"
NOT_SENT = ["after the claim commits", "after the look"]
# From here on nobody but the registry knows whether the write was sent.
SENT = ["after it is marked as sent", "before the write leaves"]
LANDED = [
    "after the registry's answer",
    "during the confirmation",
    "at the end of the confirmation",
]
CONFIRMED = "after the confirmation"


def _kill(scene: Scene, tag: str, image: bytes, point: str) -> None:
    """Push, and kill the gate at `point`; another one takes its place."""
    assert scene.push(tag, image, f"kill {point}", gate=0) == NO_ANSWER
    scene.cluster.mend_after_a_kill()


@pytest.mark.parametrize("point", [NOTHING_COMMITTED])
def test_before_the_claim_commits_a_crash_leaves_nothing(scene: Scene, point: str) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    _kill(scene, "v1", one, point)
    assert scene.locks == {}
    assert scene.open_attempts == 0
    assert scene.push("v1", two).status == 201
    assert_refused(scene.push("v1", one), two)
    scene.assert_sound()


@pytest.mark.parametrize("point", NOT_SENT)
def test_before_the_write_is_sent_a_crash_leaves_the_name_free(scene: Scene, point: str) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    _kill(scene, "v1", one, point)
    assert scene.locks == {"v1": ("claimed", digest_of(one))}
    scene.let_the_lease_pass_and_resolve()
    assert scene.locks == {}
    assert scene.behind.tags == {}
    assert scene.open_attempts == 0
    assert scene.push("v1", two).status == 201
    assert_refused(scene.push("v1", one), two)
    scene.assert_sound()


@pytest.mark.parametrize("point", [*SENT, *LANDED])
def test_once_the_write_may_have_been_sent_it_is_repeated(scene: Scene, point: str) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    _kill(scene, "v1", one, point)
    assert scene.locks == {"v1": ("claimed", digest_of(one))}
    assert scene.behind.tags == ({"v1": digest_of(one)} if point in LANDED else {})
    scene.let_the_lease_pass_and_resolve()
    assert scene.behind.tags == {"v1": digest_of(one)}
    assert scene.locks == {"v1": locked_to(one)}
    assert scene.open_attempts == 0
    assert_refused(scene.push("v1", two), one)
    assert scene.push("v1", one).status == 201
    scene.assert_sound()


@pytest.mark.parametrize("point", NOT_SENT[1:])
def test_another_image_takes_the_name_of_a_push_that_was_not_sent(scene: Scene, point: str) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    _kill(scene, "v1", one, point)
    let_time_pass(LEASE)
    assert scene.push("v1", two).status == 201
    assert_refused(scene.push("v1", one), two)
    assert scene.behind.tags == {"v1": digest_of(two)}
    scene.assert_sound()


@pytest.mark.parametrize("point", [SENT[0], LANDED[0], LANDED[1]])
def test_another_image_resolves_what_a_crash_left_and_is_refused(scene: Scene, point: str) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    _kill(scene, "v1", one, point)
    let_time_pass(LEASE)
    assert_refused(scene.push_until_decided("v1", two), one)
    assert scene.behind.tags == {"v1": digest_of(one)}
    scene.assert_sound()


@pytest.mark.parametrize("point", [NOT_SENT[0], SENT[1], LANDED[0], LANDED[2]])
def test_the_same_image_goes_through_after_a_crash_at_once(scene: Scene, point: str) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    _kill(scene, "v1", one, point)
    assert scene.push("v1", one).status == 201
    assert scene.locks == {"v1": locked_to(one)}
    assert_refused(scene.push("v1", two), one)
    scene.assert_sound()


@pytest.mark.parametrize("point", [NOT_SENT[0], LANDED[0]])
def test_another_image_is_told_to_wait_until_the_lease_is_over(scene: Scene, point: str) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    _kill(scene, "v1", one, point)
    assert_undecided(scene.push("v1", two))
    assert scene.locks == {"v1": ("claimed", digest_of(one))}
    scene.assert_sound()


@pytest.mark.parametrize("point", [CONFIRMED])
def test_after_the_confirmation_a_crash_takes_only_the_answer(scene: Scene, point: str) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    _kill(scene, "v1", one, point)
    assert scene.locks == {"v1": locked_to(one)}
    assert scene.open_attempts == 0
    assert scene.push("v1", one).status == 201
    assert_refused(scene.push("v1", two), one)
    scene.assert_sound()


def test_the_command_resolves_what_a_crash_left(scene: Scene) -> None:
    one = scene.make_image("one")
    _kill(scene, "v1", one, "after the registry's answer")
    let_time_pass(LEASE)
    done = subprocess.run(
        [sys.executable, "manage.py", "resolve_attempts"],
        cwd=ROOT,
        env=scene.cluster.whole_env,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "1 attempt settled, 0 still open.\n"), done.stderr
    assert scene.locks == {"v1": locked_to(one)}
    scene.assert_sound()


@pytest.mark.parametrize("lands", ["before it is resolved", "after another image was refused"])
def test_a_write_lands_after_its_gate_was_killed(scene: Scene, lands: str) -> None:
    """The registry has it in its buffer and hangs; the gate dies; the registry reads it."""
    one, two = scene.make_image("one"), scene.make_image("two")
    with scene.waiting_at("before the write leaves") as meeting:
        pushing = scene.pool.submit(scene.push, "v1", one, "wait before the write leaves", gate=0)
        meeting.wait_until_reached()
        scene.cluster.registry.hang()
        meeting.let_go()
        wait_until_unread(scene.cluster.ports.registry)
    scene.cluster.gates[0].kill()
    assert pushing.result() == NO_ANSWER
    scene.cluster.gates[0].start()
    let_time_pass(LEASE)
    if lands == "after another image was refused":
        assert_undecided(scene.push("v1", two))
    scene.cluster.registry.resume()
    wait_until(lambda: scene.behind.read("v1") == digest_of(one))
    scene.let_the_lease_pass_and_resolve()
    assert scene.locks == {"v1": locked_to(one)}
    assert_refused(scene.push("v1", two), one)
    scene.assert_sound()


@pytest.mark.parametrize("point", [NOT_SENT[1], SENT[0], LANDED[0]])
def test_a_gate_that_stood_still_wakes_up_after_another_settled_its_push(
    scene: Scene, point: str
) -> None:
    """Nobody can tell a gate that stands still from a dead one. When it wakes, it does no harm."""
    one, two = scene.make_image("one"), scene.make_image("two")
    with scene.waiting_at(point) as meeting:
        pushing = scene.pool.submit(scene.push, "v1", one, f"wait {point}", gate=0)
        meeting.wait_until_reached()
        let_time_pass(LEASE)
        scene.resolve()
        settled = scene.locks
        other = scene.push("v1", two)
        meeting.let_go()
        late = pushing.result()
    scene.assert_kept()
    if point in NOT_SENT:
        assert settled == {}
        assert other.status == 201
        assert late.status in (403, 503)
    else:
        assert settled == {"v1": locked_to(one)}
        assert_refused(other, one)
        assert late.status in (201, 503)
    scene.assert_sound()

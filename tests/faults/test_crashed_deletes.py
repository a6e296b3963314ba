"""A gate or a site killed while it deletes: the delete is given up or carried out, not halfway."""

import pytest

from tests.faults.scene import (
    LEASE,
    NO_ANSWER,
    QUARANTINE,
    Scene,
    assert_refused,
    assert_undecided,
    let_time_pass,
    locked_to,
)
from tests.services.registry_user import digest_of

pytestmark = pytest.mark.cluster

ANNOUNCED = "after the delete is announced"
SENT = ["after the delete is marked as sent", "before the delete leaves"]
GONE = ["after the registry's answer to the delete", "while the delete is settled"]
SETTLED = "after the delete is settled"


def _kill_a_delete(scene: Scene, image: bytes, point: str) -> None:
    """Push an unprotected image, delete it, and kill the gate at `point`."""
    assert scene.push("latest", image).status == 201
    assert scene.delete(digest_of(image), f"kill {point}", gate=0) == NO_ANSWER
    scene.cluster.mend_after_a_kill()


def test_a_delete_that_was_only_announced_is_given_up(scene: Scene) -> None:
    one = scene.make_image("one")
    _kill_a_delete(scene, one, ANNOUNCED)
    scene.let_the_lease_pass_and_resolve()
    assert scene.open_attempts == 0
    assert scene.behind.tags == {"latest": digest_of(one)}
    assert scene.push("v1", one).status == 201
    scene.assert_sound()


@pytest.mark.parametrize("point", [*SENT, *GONE])
def test_a_delete_that_may_have_been_sent_is_repeated(scene: Scene, point: str) -> None:
    one = scene.make_image("one")
    _kill_a_delete(scene, one, point)
    scene.let_the_lease_pass_and_resolve()
    assert scene.open_attempts == 0
    assert scene.behind.tags == {}
    assert scene.behind.read(digest_of(one)) is None
    scene.assert_sound()


@pytest.mark.parametrize("point", [ANNOUNCED, SENT[1], GONE[0]])
def test_a_push_of_what_a_dead_gate_was_deleting_waits(scene: Scene, point: str) -> None:
    """Were it let through, the delete could land after it, and take it."""
    one = scene.make_image("one")
    _kill_a_delete(scene, one, point)
    assert_undecided(scene.push("v1", one))
    assert scene.locks == {}
    scene.let_the_lease_pass_and_resolve()
    let_time_pass(QUARANTINE)
    assert scene.push_until_decided("v1", one).status == 201
    assert scene.locks == {"v1": locked_to(one)}
    scene.assert_sound()


def test_after_a_delete_is_settled_a_crash_takes_only_the_answer(scene: Scene) -> None:
    one = scene.make_image("one")
    _kill_a_delete(scene, one, SETTLED)
    assert scene.open_attempts == 0
    assert scene.behind.tags == {}
    assert scene.push("v1", one).status == 201
    scene.assert_sound()


# An admin's delete, at the site. Debian's registry deletes no single tag, so the image goes.

NOT_DELETED = ["after the admin's delete commits", "before the image is deleted"]
# The delete of the tag was sent, and nobody wrote down that the registry knows no such thing.
IN_DOUBT = [
    "after the admin's delete is marked as sent",
    "after the registry's answer to the delete",
    "between the delete of the tag and that of its image",
]


def _kill_an_admins_delete(scene: Scene, image: bytes, point: str) -> None:
    """Lock an image's tag, delete it as an admin, and kill the site at `point`."""
    assert scene.push("v1", image).status == 201
    assert scene.delete_as_admin("v1", fault=f"kill {point}").status == 503
    scene.cluster.mend_after_a_kill()


def test_before_an_admins_delete_commits_a_crash_leaves_the_lock(scene: Scene) -> None:
    one = scene.make_image("one")
    _kill_an_admins_delete(scene, one, "before the admin's delete commits")
    assert scene.locks == {"v1": locked_to(one)}
    assert scene.open_attempts == 0
    scene.assert_sound()


@pytest.mark.parametrize("point", NOT_DELETED)
def test_an_admins_delete_that_was_not_sent_is_given_up(scene: Scene, point: str) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    _kill_an_admins_delete(scene, one, point)
    assert scene.locks == {"v1": ("deleting", digest_of(one))}
    let_time_pass(LEASE)
    assert_refused(scene.push_until_decided("v1", two), one)
    assert scene.locks == {"v1": locked_to(one)}
    scene.assert_sound()
    assert scene.delete_as_admin("v1").status == 200
    assert scene.locks == {"v1": ("reserved", digest_of(one))}
    scene.assert_sound()


@pytest.mark.parametrize("point", IN_DOUBT)
def test_an_admins_delete_that_the_registry_does_not_know_is_given_up_later(
    scene: Scene, point: str
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    _kill_an_admins_delete(scene, one, point)
    let_time_pass(LEASE)
    assert_undecided(scene.push("v1", two))
    assert scene.locks == {"v1": ("deleting", digest_of(one))}
    let_time_pass(QUARANTINE)
    assert_refused(scene.push_until_decided("v1", two), one)
    assert scene.locks == {"v1": locked_to(one)}
    assert scene.behind.tags == {"v1": digest_of(one)}
    scene.assert_sound()


@pytest.mark.parametrize("name_after", ["reserve", "free"])
@pytest.mark.parametrize("point", GONE)
def test_an_admins_delete_that_was_sent_is_carried_out(
    scene: Scene, point: str, name_after: str
) -> None:
    """With "free" too, the name stays reserved: only the delete is repeated."""
    one, two = scene.make_image("one"), scene.make_image("two")
    # The delete of the tag comes first; this strikes at that of the image.
    fault = f"pass before the image is deleted, kill {point}"
    assert scene.push("v1", one).status == 201
    assert scene.delete_as_admin("v1", name_after, fault).status == 503
    scene.cluster.mend_after_a_kill()
    scene.let_the_lease_pass_and_resolve()
    assert scene.behind.read("v1") is None
    assert scene.locks == {"v1": ("reserved", digest_of(one))}
    assert scene.push("v1", two).status in (403, 503)
    scene.assert_sound()


# An admin's delete at the gate, of an image that is locked.


def _kill_an_admins_delete_at_the_gate(scene: Scene, image: bytes, point: str) -> None:
    for tag in ("v1", "v2"):
        assert scene.push(tag, image).status == 201
    scene.delete_at_gate_as_admin(digest_of(image), f"kill {point}")
    scene.cluster.mend_after_a_kill()


def test_an_admins_delete_at_the_gate_that_was_only_announced_is_given_up(scene: Scene) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    _kill_an_admins_delete_at_the_gate(scene, one, ANNOUNCED)
    assert scene.locks == dict.fromkeys(("v1", "v2"), ("deleting", digest_of(one)))
    assert_undecided(scene.push("v1", two))
    scene.let_the_lease_pass_and_resolve()
    assert scene.locks == dict.fromkeys(("v1", "v2"), locked_to(one))
    assert_refused(scene.push("v1", two), one)
    scene.assert_sound()


@pytest.mark.parametrize("point", [*SENT, *GONE])
def test_an_admins_delete_at_the_gate_that_may_have_been_sent_is_repeated(
    scene: Scene, point: str
) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    _kill_an_admins_delete_at_the_gate(scene, one, point)
    scene.let_the_lease_pass_and_resolve()
    assert scene.behind.tags == {}
    assert scene.locks == dict.fromkeys(("v1", "v2"), ("reserved", digest_of(one)))
    assert scene.push("v1", two).status in (403, 503)
    scene.assert_sound()
    assert scene.push_until_decided("v1", one).status == 201
    assert_refused(scene.push("v1", two), one)
    scene.assert_sound()

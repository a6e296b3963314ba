"""A registry without its storage says of everything that it has no such thing."""

from collections.abc import Iterator

import pytest

from immutability.policy.protection import Protection
from tests.faults.scene import Scene, assert_refused, locked_to
from tests.services.registry_user import digest_of

pytestmark = pytest.mark.cluster


class Storage:
    """The registry's storage, which can be taken away and brought back."""

    def __init__(self, scene: Scene) -> None:
        self._place = scene.cluster.folder / "registry"
        self._away = scene.cluster.folder / "registry-away"

    def take_away(self) -> None:
        """Unmount it."""
        self._place.rename(self._away)

    def bring_back(self) -> None:
        """Mount it again, over whatever was written meanwhile."""
        if not self._away.exists():
            return
        if self._place.exists():
            self._place.rename(self._place.with_name(f"registry-lost-{id(self)}"))
        self._away.rename(self._place)


@pytest.fixture
def storage(scene: Scene) -> Iterator[Storage]:
    storage = Storage(scene)
    yield storage
    storage.bring_back()


def test_a_new_covered_tag_is_not_burned(scene: Scene, storage: Storage) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    storage.take_away()
    assert scene.push("v1", one).status >= 400
    storage.bring_back()
    assert scene.locks == {}
    assert scene.behind.tags == {}
    assert scene.push("v1", two).status == 201
    scene.assert_sound()


def test_the_storage_goes_away_between_look_and_store(scene: Scene, storage: Storage) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    with scene.waiting_at("before the store") as meeting:
        pushing = scene.pool.submit(scene.push, "v1", one, "wait before the store")
        meeting.wait_until_reached()
        storage.take_away()
    assert pushing.result().status >= 400
    storage.bring_back()
    assert scene.locks == {}
    assert scene.behind.tags == {}
    assert scene.push("v1", two).status == 201
    scene.assert_sound()


def test_a_tag_that_was_seen_there_is_not_taken_for_absent(scene: Scene, storage: Storage) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    assert scene.push("latest", one).status == 201
    scene.protect(Protection.ALL)
    storage.take_away()
    assert_refused(scene.push("latest", two), one)
    storage.bring_back()
    assert_refused(scene.push("latest", two), one)
    assert scene.locks == {"latest": locked_to(one)}
    scene.assert_sound()


def test_a_locked_tag_stays_what_it_was(scene: Scene, storage: Storage) -> None:
    one, two = scene.make_image("one"), scene.make_image("two")
    assert scene.push("v1", one).status == 201
    storage.take_away()
    assert_refused(scene.push("v1", two), one)
    assert scene.push("v1", one).status >= 400
    assert scene.delete(digest_of(one)).status == 403
    storage.bring_back()
    assert scene.push("v1", one).status == 201
    assert_refused(scene.push("v1", two), one)
    scene.assert_sound()

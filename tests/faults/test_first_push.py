"""Many first pushes of one tag at once: one wins, and nobody moves the tag afterwards."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.faults.scene import Scene, assert_refused, assert_undecided, locked_to
from tests.services.registry_user import Answer, digest_of

pytestmark = pytest.mark.cluster

CLIENTS = 16
ROUNDS = 4


def _push_at_once(scene: Scene, tag: str, images: list[bytes]) -> list[Answer]:
    """Push every image under the tag at the same moment; return the answers in order."""
    barrier = threading.Barrier(len(images))

    def push(image: bytes) -> Answer:
        barrier.wait()
        return scene.push(tag, image)

    return list(scene.pool.map(push, images))


@contextmanager
def _watched(scene: Scene, tag: str) -> Iterator[Callable[[], set[str]]]:
    """Yield a function that returns every digest that somebody could have pulled meanwhile."""
    seen: set[str] = set()
    has_ended = threading.Event()

    def watch() -> None:
        while not has_ended.is_set():
            seen.add(scene.behind.read(tag) or "")

    watching = scene.pool.submit(watch)
    try:
        yield lambda: seen - {""}
    finally:
        has_ended.set()
        watching.result()


def _assert_the_others_are_refused(
    scene: Scene, tag: str, winner: bytes, others: list[tuple[bytes, Answer]]
) -> None:
    for image, answer in others:
        if answer.status == 503:
            assert_undecided(answer)
            assert_refused(scene.push_until_decided(tag, image), winner)
        else:
            assert_refused(answer, winner)


@pytest.mark.parametrize("round_number", range(ROUNDS))
def test_of_many_first_pushes_at_once_one_wins(scene: Scene, round_number: int) -> None:
    images = [scene.make_image(f"{round_number} {number}") for number in range(CLIENTS)]
    with _watched(scene, "v1") as seen:
        answers = _push_at_once(scene, "v1", images)
        won = [image for image, answer in zip(images, answers, strict=True) if answer.status == 201]
        assert len(won) == 1, [answer.status for answer in answers]
        others = [pair for pair in zip(images, answers, strict=True) if pair[0] not in won]
        _assert_the_others_are_refused(scene, "v1", won[0], others)
    assert seen() == {digest_of(won[0])}
    assert scene.behind.tags == {"v1": digest_of(won[0])}
    assert scene.locks == {"v1": locked_to(won[0])}
    scene.assert_sound()


def test_pushes_of_one_image_among_others_all_succeed_or_are_all_refused(scene: Scene) -> None:
    for tag in (f"v{number}" for number in range(ROUNDS)):
        same = scene.make_image("the same")
        images = [scene.make_image(f"{tag} {number}") for number in range(CLIENTS // 2)]
        images += [same] * (CLIENTS // 2)
        with _watched(scene, tag) as seen:
            answers = _push_at_once(scene, tag, images)
            won = {
                digest_of(image)
                for image, answer in zip(images, answers, strict=True)
                if answer.status == 201
            }
            assert len(won) == 1, [answer.status for answer in answers]
            winner = next(image for image in images if digest_of(image) in won)
            ends = [
                answer if answer.status != 503 else scene.push_until_decided(tag, image)
                for image, answer in zip(images, answers, strict=True)
            ]
            for image, end in zip(images, ends, strict=True):
                if image == winner:
                    assert end.status == 201, end
                else:
                    assert_refused(end, winner)
        assert seen() == won
        assert scene.locks[tag] == locked_to(winner)
    scene.assert_sound()


def test_a_tag_from_before_the_protection_is_moved_by_nobody(scene: Scene) -> None:
    images = [scene.make_image(str(number)) for number in range(CLIENTS - 1)]
    old = scene.make_image("old")
    for tag in (f"v{number}" for number in range(ROUNDS)):
        scene.behind.put(tag, old)
        with _watched(scene, tag) as seen:
            answers = _push_at_once(scene, tag, [*images, old])
            _assert_the_others_are_refused(
                scene, tag, old, list(zip(images, answers, strict=False))
            )
            assert scene.push_until_decided(tag, old).status == 201
        assert answers[-1].status in (201, 503)
        assert seen() == {digest_of(old)}
        assert scene.locks[tag] == locked_to(old)
    scene.assert_sound()


def test_pushes_of_several_tags_in_opposite_orders_all_come_to_an_end(scene: Scene) -> None:
    """Through both gates; this registry ignores the tags of a query, so nothing may be locked."""
    image = scene.make_image("one")
    queries = ["?tag=v1&tag=v2&tag=v3", "?tag=v3&tag=v2&tag=v1"] * (CLIENTS // 2)
    pushes = [
        scene.pool.submit(scene.edge.put, digest_of(image), image, query=query) for query in queries
    ]
    answers = [push.result() for push in pushes]
    assert {answer.status for answer in answers} <= {201, 503}
    assert 201 in {answer.status for answer in answers}
    assert scene.behind.tags == {}
    scene.assert_sound()
    assert scene.locks == {}

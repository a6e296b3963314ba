"""Workers at the same tags, and workers that die or hang in the middle of one."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from containers.models import Tag as TagRecord
from immutability.models import LockedTag
from packages_site.schedule import SCHEDULE
from tests.outages.conftest import SCHEDULER, WORKER, count_unfinished, end_leases
from tests.services.cluster import Cluster
from tests.services.faulty_registry import POINT, Fault, FaultyRegistry, Hold
from tests.services.parts import Part, wait_until
from tests.services.redis import RedisServer
from tests.services.registry_user import Repository, digest_of
from workspaces.models import LockEvent

pytestmark = pytest.mark.cluster

MANY = 20
CATCH_UP_SECONDS = 20.0


class Way(FaultyRegistry):
    """A worker's own way to the registry, on which each write takes a moment."""

    is_held = False
    hold: Hold | None = None

    def choose_fault(self, kind: str, path: str) -> Fault:
        """Hold a write that comes while it is to be held."""
        if kind != POINT:
            return Fault()
        if not self.is_held:
            # So that both workers have something to do.
            return Fault(delay=0.05)
        self.hold = Hold()
        return Fault(before=self.hold)

    def hold_writes(self) -> None:
        """Hold the writes that come from now on."""
        self.hold = None
        self.is_held = True

    def let_go(self) -> None:
        """Let what comes from now on through."""
        self.is_held = False


@pytest.fixture
def ways(cluster: Cluster) -> Iterator[tuple[Way, Way]]:
    first, second = Way(cluster.ports.registry), Way(cluster.ports.registry)
    yield first, second
    for way in (first, second):
        way.stop()


@pytest.fixture
def workers(background: Callable[..., Part], ways: tuple[Way, Way]) -> tuple[Part, Part]:
    """Two workers, ready for work, and a scheduler."""
    # Longer than any test keeps a write waiting.
    started = [
        background(WORKER, REGISTRY_URL=way.url, SHORT_DEADLINE_SECONDS="30") for way in ways
    ]
    background(SCHEDULER)
    for worker in started:
        wait_until(lambda worker=worker: " ready." in worker.log.read_text())  # type: ignore[misc]
    first, second = started
    return first, second


def _leave_claims(repository: Repository, *tags: str) -> dict[str, str]:
    """Let gates fail before they point what they have claimed; return what each tag is to be."""
    images = {}
    for tag in tags:
        images[tag] = repository.make_image(tag)
        fault = "X-Fault: fail before the point leaves\r\n"
        assert repository.put(tag, images[tag], headers=fault).status == 500
    return {tag: digest_of(image) for tag, image in images.items()}


def _wait_until_finished() -> None:
    wait_until(lambda: count_unfinished() == 0, CATCH_UP_SECONDS)


def _assert_locked(repository: Repository, expected: dict[str, str]) -> None:
    """Assert that registry, locks and log agree, and that nothing was recorded twice."""
    assert repository.tags == expected
    locks = LockedTag.objects.filter(repository=repository.name, state="locked")
    assert {lock.tag: lock.digest for lock in locks} == expected
    events = LockEvent.objects.filter(repository=repository.name, kind="tag.locked")
    assert sorted(event.tag for event in events) == sorted(expected)


def test_two_workers_share_many_tags_and_point_each_once(
    workers: tuple[Part, Part], ways: tuple[Way, Way], repository: Repository
) -> None:
    expected = _leave_claims(repository, *(f"v1.0.{number}" for number in range(MANY)))
    for way in ways:
        way.hold_writes()
    end_leases()
    # Each of them is in the middle of a tag, however busy the machine is.
    wait_until(lambda: all(way.hold is not None for way in ways), CATCH_UP_SECONDS)
    for way in ways:
        way.let_go()
        assert way.hold is not None
        way.hold.let_land()
    _wait_until_finished()
    _assert_locked(repository, expected)
    first, second = (way.sent(POINT) for way in ways)
    assert sorted(first + second) == sorted(expected)
    assert first
    assert second


def _hold_a_point(
    workers: tuple[Part, Part], ways: tuple[Way, Way]
) -> tuple[tuple[Part, Way], tuple[Part, Way]]:
    """Return who is in the middle of pointing the only tag, and who is not."""
    for way in ways:
        way.hold_writes()
    end_leases()
    wait_until(lambda: any(way.hold is not None for way in ways))
    one, other = zip(workers, ways, strict=True)
    return (one, other) if one[1].hold is not None else (other, one)


def _count_looks(worker: Part) -> int:
    """Return how often it has looked for tags to finish."""
    return len(re.findall(r"reconcile\[\S+\] succeeded", worker.log.read_text()))


def test_a_tag_of_a_worker_that_is_killed_is_finished_by_another_after_the_lease(
    workers: tuple[Part, Part], ways: tuple[Way, Way], repository: Repository
) -> None:
    expected = _leave_claims(repository, "v1.0.0")
    (worker, way), (other, other_way) = _hold_a_point(workers, ways)
    worker.kill()
    other_way.let_go()
    # Until the dead one's lease is over, the other looks, and leaves it alone.
    looked = _count_looks(other)
    wait_until(lambda: _count_looks(other) > looked + 1)
    assert TagRecord.objects.filter(write_id__isnull=False).count() == 1
    assert other_way.sent(POINT) == []
    end_leases()
    _wait_until_finished()
    assert other_way.sent(POINT) == ["v1.0.0"]
    # The dead one's write lands late, and changes nothing.
    assert way.hold is not None
    way.hold.let_land()
    _assert_locked(repository, expected)


def test_a_worker_that_hangs_beyond_its_lease_and_wakes_up_changes_nothing(
    workers: tuple[Part, Part], ways: tuple[Way, Way], repository: Repository
) -> None:
    expected = _leave_claims(repository, "v1.0.0")
    (worker, way), (other, other_way) = _hold_a_point(workers, ways)
    worker.hang()
    other_way.let_go()
    end_leases()
    _wait_until_finished()
    assert other_way.sent(POINT) == ["v1.0.0"]
    other.kill()
    assert way.hold is not None
    way.let_go()
    way.hold.let_land()
    worker.resume()
    # It is at work again: nobody else is there.
    expected |= _leave_claims(repository, "v2.0.0")
    end_leases()
    _wait_until_finished()
    assert way.sent(POINT) == ["v1.0.0", "v2.0.0"]
    _assert_locked(repository, expected)


def test_a_worker_does_what_a_scheduler_says_whose_clock_is_half_an_hour_behind(
    background: Callable[..., Part], redis_server: RedisServer, repository: Repository
) -> None:
    """Messages are worth nothing after a while, and the worker goes by its own machine's time."""
    background(WORKER)
    expected = _leave_claims(repository, "v1.0.0")
    end_leases()
    entry: dict[str, Any] = SCHEDULE["reconcile"]
    lasts = timedelta(seconds=entry["options"]["expires"])
    their_now = datetime.now(UTC) - timedelta(minutes=30)
    with Celery(broker=redis_server.url) as scheduler:
        scheduler.send_task(entry["task"], queue="taglock", expires=their_now + lasts)
    _wait_until_finished()
    _assert_locked(repository, expected)

"""Workers at the same attempts, and workers that die or hang in the middle of one."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from django.conf import settings
from django.db.models.functions import Now

from immutability.models import Attempt, LockedTag
from tests.outages.conftest import SCHEDULER, WORKER
from tests.outages.middleman import Middleman, middleman
from tests.services.cluster import Cluster
from tests.services.parts import Part, wait_until
from tests.services.redis import RedisServer
from tests.services.registry_user import Repository, digest_of
from workspaces.models import LockEvent

pytestmark = pytest.mark.cluster

MANY = 20
CATCH_UP_SECONDS = 20.0
OPEN = Attempt.Outcome.OPEN


@pytest.fixture
def ways(cluster: Cluster) -> Iterator[tuple[Middleman, Middleman]]:
    """Each worker's own way to the registry."""
    port = cluster.ports.registry
    # A moment for each write, so that both have something to do.
    with (
        middleman(port, write_seconds=0.05) as first,
        middleman(port, write_seconds=0.05) as second,
    ):
        yield first, second


@pytest.fixture
def workers(
    background: Callable[..., Part], ways: tuple[Middleman, Middleman]
) -> tuple[Part, Part]:
    """Two workers, ready for work, and a clock."""
    # As production: longer than any test keeps a write waiting.
    started = [background(WORKER, REGISTRY_URL=way.url, FAULT_DEADLINE="30") for way in ways]
    background(SCHEDULER)
    for worker in started:
        wait_until(lambda worker=worker: " ready." in worker.log.read_text())  # type: ignore[misc]
    first, second = started
    return first, second


def _leave_attempts(repository: Repository, *tags: str) -> dict[str, str]:
    """Let gates fail before the writes leave; return what each tag is to be."""
    images = {}
    for tag in tags:
        images[tag] = repository.make_image(tag)
        fault = "X-Fault: fail before the write leaves\r\n"
        assert repository.put(tag, images[tag], headers=fault).status == 500
    return {tag: digest_of(image) for tag, image in images.items()}


def _end_leases() -> None:
    """A minute later: nobody can be at work on what is open."""
    Attempt.objects.filter(outcome=OPEN).update(expires_at=Now())


def _wait_until_settled() -> None:
    wait_until(lambda: not Attempt.objects.filter(outcome=OPEN).exists(), CATCH_UP_SECONDS)


def _assert_locked(repository: Repository, expected: dict[str, str]) -> None:
    """Assert that registry, locks and log agree, and that nothing was recorded twice."""
    assert repository.tags == expected
    locks = LockedTag.objects.filter(repository=repository.name, state="locked")
    assert {lock.tag: lock.digest for lock in locks} == expected
    events = LockEvent.objects.filter(repository=repository.name, kind="tag.locked")
    assert sorted(event.tag for event in events) == sorted(expected)


def test_two_workers_share_many_attempts_and_repeat_each_once(
    workers: tuple[Part, Part], ways: tuple[Middleman, Middleman], repository: Repository
) -> None:
    expected = _leave_attempts(repository, *(f"v1.0.{number}" for number in range(MANY)))
    _end_leases()
    _wait_until_settled()
    _assert_locked(repository, expected)
    first, second = ways
    assert sorted(first.written + second.written) == sorted(expected)
    assert first.written
    assert second.written


def _hold_an_attempt(
    workers: tuple[Part, Part], ways: tuple[Middleman, Middleman]
) -> tuple[tuple[Part, Middleman], tuple[Part, Middleman]]:
    """Return who is in the middle of repeating the only attempt, and who is not."""
    for way in ways:
        way.keep_waiting()
    _end_leases()
    wait_until(lambda: any(way.has_one_waiting.is_set() for way in ways))
    one, other = zip(workers, ways, strict=True)
    return (one, other) if one[1].has_one_waiting.is_set() else (other, one)


def _count_looks(worker: Part) -> int:
    """Return how often it has looked for attempts to resolve."""
    return len(re.findall(r"resolve_attempts\[\S+\] succeeded", worker.log.read_text()))


def test_an_attempt_of_a_worker_that_is_killed_is_taken_over_after_its_lease(
    workers: tuple[Part, Part], ways: tuple[Middleman, Middleman], repository: Repository
) -> None:
    expected = _leave_attempts(repository, "v1.0.0")
    (worker, way), (other, other_way) = _hold_an_attempt(workers, ways)
    worker.kill()
    other_way.let_go()
    # Until the dead one's lease is over, the other looks, and leaves it alone.
    looked = _count_looks(other)
    wait_until(lambda: _count_looks(other) > looked + 1)
    assert Attempt.objects.filter(outcome=OPEN, expires_at__gt=Now()).count() == 1
    assert other_way.written == []
    _end_leases()
    _wait_until_settled()
    assert other_way.written == ["v1.0.0"]
    # The dead one's write lands late, and changes nothing.
    way.let_go()
    wait_until(lambda: way.landed == ["v1.0.0"])
    _assert_locked(repository, expected)


def test_a_worker_that_hangs_beyond_its_lease_and_wakes_up_changes_nothing(
    workers: tuple[Part, Part], ways: tuple[Middleman, Middleman], repository: Repository
) -> None:
    expected = _leave_attempts(repository, "v1.0.0")
    (worker, way), (other, other_way) = _hold_an_attempt(workers, ways)
    worker.hang()
    other_way.let_go()
    _end_leases()
    _wait_until_settled()
    assert other_way.written == ["v1.0.0"]
    other.kill()
    way.let_go()
    worker.resume()
    # It is at work again: nobody else is there.
    expected |= _leave_attempts(repository, "v2.0.0")
    _end_leases()
    _wait_until_settled()
    assert way.written == ["v1.0.0", "v2.0.0"]
    _assert_locked(repository, expected)


def test_a_worker_heeds_a_clock_that_is_half_an_hour_behind(
    background: Callable[..., Part], redis_server: RedisServer, repository: Repository
) -> None:
    """Messages are worth nothing after a while, and the worker goes by its own machine's time."""
    background(WORKER)
    expected = _leave_attempts(repository, "v1.0.0")
    _end_leases()
    entry: dict[str, Any] = settings.CELERY_BEAT_SCHEDULE["resolve-attempts"]
    lasts = timedelta(seconds=entry["options"]["expires"])
    their_now = datetime.now(UTC) - timedelta(minutes=30)
    with Celery(broker=redis_server.url) as clock:
        clock.send_task(entry["task"], queue="taglock", expires=their_now + lasts)
    _wait_until_settled()
    _assert_locked(repository, expected)

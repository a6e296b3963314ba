"""Redis is down, hung or lossy: everything else goes on, and the background work catches up."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from immutability.models import LockedTag
from tests.conftest import AA
from tests.outages.asking import Person, read_json
from tests.outages.conftest import SCHEDULER, WORKER, count_unfinished, end_leases
from tests.services.parts import Part, wait_until
from tests.services.redis import RedisServer
from tests.services.registry_user import Repository, digest_of

pytestmark = pytest.mark.cluster

NORMAL_SECONDS = 5.0
CATCH_UP_SECONDS = 20.0


@dataclass(frozen=True)
class Background:
    """A worker and a scheduler, which are never started again."""

    worker: Part
    scheduler: Part
    repository: Repository

    def leave_a_claim(self, tag: str) -> None:
        """Let a gate fail before it points a tag that it has claimed."""
        image = self.repository.make_image(tag)
        fault = "X-Fault: fail before the point leaves\r\n"
        assert self.repository.put(tag, image, headers=fault).status == 500
        assert self.repository.read(tag) is None
        end_leases()

    def wait_until_locked(self, tag: str) -> None:
        """Wait until the tag was pointed, by those who have run all the time."""
        lock = LockedTag.objects.filter(repository=self.repository.name, tag=tag, state="locked")
        try:
            wait_until(lock.exists, CATCH_UP_SECONDS)
        except TimeoutError as error:
            raise AssertionError(f"{self.scheduler_says}\n{self.worker_says}") from error
        assert self.repository.read(tag) == lock.get().digest
        assert count_unfinished() == 0
        assert self.worker.is_running
        assert self.scheduler.is_running

    @property
    def worker_says(self) -> str:
        return self.worker.log.read_text()

    @property
    def scheduler_says(self) -> str:
        return self.scheduler.log.read_text()


@pytest.fixture
def start(background: Callable[[str], Part], repository: Repository) -> Callable[[], Background]:
    def start() -> Background:
        worker, scheduler = background(WORKER), background(SCHEDULER)
        return Background(worker, scheduler, repository)

    return start


@pytest.fixture
def running(start: Callable[[], Background]) -> Background:
    """Worker and scheduler at work, as the claim shows that they have pointed."""
    running = start()
    running.leave_a_claim("v1.0.0")
    running.wait_until_locked("v1.0.0")
    return running


def _assert_all_is_as_always(repository: Repository, person: Person) -> None:
    """Push, pull, ask and look, each in the time that it always takes."""
    one, two = repository.make_image("one"), repository.make_image("two")
    asked: list[tuple[Callable[[], int], int]] = [
        (lambda: repository.put("v9.0.0", one).status, 201),
        (lambda: repository.put("v9.0.0", one).status, 201),
        (lambda: repository.put("v9.0.0", two).status, 403),
        (lambda: repository.put("latest", two).status, 201),
        (lambda: repository.delete(f"manifests/{digest_of(one)}").status, 403),
        (lambda: person.check_push(repository.name, "v8.0.0", AA).status, 200),
        (lambda: person.open("/acme/locked-tags/").status, 200),
        (lambda: person.open("/acme/lock-log/").status, 200),
        (lambda: person.open("/readyz").status, 200),
    ]
    for ask, status in asked:
        began = time.monotonic()
        assert ask() == status
        assert time.monotonic() - began < NORMAL_SECONDS
    assert repository.read("v9.0.0") == digest_of(one)
    settings = person.call("GET", "workspaces/acme/container-settings")
    assert read_json(settings)["protection"] == "some"


def test_workers_that_start_without_redis_wait_for_it(
    start: Callable[[], Background],
    redis_server: RedisServer,
    repository: Repository,
    person: Person,
) -> None:
    redis_server.kill()
    started = start()
    started.leave_a_claim("v1.0.0")
    _assert_all_is_as_always(repository, person)
    # Again and again, with no end to it.
    wait_until(lambda: "Trying again in 2.00 seconds... (1/None)" in started.worker_says)
    wait_until(lambda: "Trying again in 2.0 seconds..." in started.scheduler_says)
    redis_server.start()
    started.wait_until_locked("v1.0.0")


def test_a_redis_that_loses_its_messages_loses_no_work(
    running: Background, redis_server: RedisServer, repository: Repository, person: Person
) -> None:
    running.worker.hang()
    running.leave_a_claim("v2.0.0")
    wait_until(lambda: redis_server.count_messages() > 0)
    redis_server.lose_everything()
    running.worker.resume()
    running.wait_until_locked("v2.0.0")

    # Killed, and empty when it comes back.
    redis_server.kill()
    running.leave_a_claim("v3.0.0")
    _assert_all_is_as_always(repository, person)
    redis_server.start()
    running.wait_until_locked("v3.0.0")


def test_while_redis_hangs_everything_goes_on_and_then_the_work_is_done(
    running: Background, redis_server: RedisServer, repository: Repository, person: Person
) -> None:
    redis_server.hang()
    running.leave_a_claim("v2.0.0")
    _assert_all_is_as_always(repository, person)
    wait_until(lambda: "Timeout" in running.scheduler_says)
    assert repository.read("v2.0.0") is None
    redis_server.resume()
    running.wait_until_locked("v2.0.0")

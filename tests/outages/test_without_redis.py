"""Without REDIS_URL the scheduler does the background work itself, and may die at any moment."""

from collections.abc import Callable

import pytest

from immutability.models import LockedTag
from tests.outages.conftest import SCHEDULER, WORKER, end_leases
from tests.services.cluster import Cluster
from tests.services.nursery import nursery
from tests.services.parts import Part, wait_until
from tests.services.registry_user import Repository

pytestmark = pytest.mark.cluster

CATCH_UP_SECONDS = 20.0


def _leave_a_claim(repository: Repository, tag: str) -> None:
    """Let a gate fail before it points what it has claimed: work for the scheduler."""
    fault = "X-Fault: fail before the point leaves\r\n"
    assert repository.put(tag, repository.make_image(tag), headers=fault).status == 500
    end_leases()


def _wait_until_locked(repository: Repository, tag: str) -> None:
    lock = LockedTag.objects.filter(repository=repository.name, tag=tag, state="locked")
    wait_until(lock.exists, CATCH_UP_SECONDS)
    assert repository.read(tag) == lock.get().digest


def test_a_scheduler_that_is_killed_goes_on_when_it_is_started_again(
    background: Callable[..., Part], repository: Repository
) -> None:
    scheduler = background(SCHEDULER, REDIS_URL="")
    for tag in ("v1.0.0", "v2.0.0"):
        _leave_a_claim(repository, tag)
        _wait_until_locked(repository, tag)
        scheduler.kill()
        scheduler.start()


def test_a_worker_says_that_it_is_not_needed(cluster: Cluster) -> None:
    said = cluster.folder / "not_needed.out"
    celery = ("-m", "celery", "--quiet", "--skip-checks", "--app", "packages_site")
    worker = nursery().start(
        (*celery, *WORKER.split()), {**cluster.whole_env, "REDIS_URL": ""}, said
    )
    assert worker.wait(30) == 1
    assert said.read_text().count("\n") == 1
    assert "REDIS_URL" in said.read_text()

"""Without REDIS_URL the scheduler does the background work itself, and may die at any moment."""

import subprocess
from collections.abc import Callable

import pytest
from django.db.models.functions import Now

from immutability.models import Attempt, LockedTag
from tests.outages.conftest import SCHEDULER, WORKER
from tests.services.cluster import BIN, Cluster
from tests.services.parts import Part, wait_until
from tests.services.registry_user import Repository

pytestmark = pytest.mark.cluster

CATCH_UP_SECONDS = 20.0


def _leave_an_attempt(repository: Repository, tag: str) -> None:
    """Let a gate fail before the write of a push leaves, so that the scheduler has work."""
    fault = "X-Fault: fail before the write leaves\r\n"
    assert repository.put(tag, repository.make_image(tag), headers=fault).status == 500
    Attempt.objects.filter(outcome=Attempt.Outcome.OPEN).update(expires_at=Now())


def _wait_until_settled(repository: Repository, tag: str) -> None:
    lock = LockedTag.objects.filter(repository=repository.name, tag=tag, state="locked")
    wait_until(lock.exists, CATCH_UP_SECONDS)
    assert repository.read(tag) == lock.get().digest


def test_a_scheduler_that_is_killed_goes_on_when_it_is_started_again(
    background: Callable[..., Part], repository: Repository
) -> None:
    scheduler = background(SCHEDULER, REDIS_URL="")
    for tag in ("v1.0.0", "v2.0.0"):
        _leave_an_attempt(repository, tag)
        _wait_until_settled(repository, tag)
        scheduler.kill()
        scheduler.start()


def test_a_worker_says_that_it_is_not_needed(cluster: Cluster) -> None:
    done = subprocess.run(
        [f"{BIN}/celery", "--quiet", "--app", "packages_site", *WORKER.split()],
        env={**cluster.whole_env, "REDIS_URL": ""},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "REDIS_URL" in done.stderr

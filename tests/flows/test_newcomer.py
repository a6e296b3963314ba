"""The first hour: the README as it is written, and pushes while processes are killed."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.newcomer import follow_readme, kill, pushing, wait_until_sealed
from tests.services.redis import RedisServer
from tests.services.site import Site

pytestmark = pytest.mark.process

CLIENTS = 2
PUSH_SECONDS = 5.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder whose name a shell could take apart, were it not quoted."""
    return tmp_path / "a folder"


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    site = Site(folder)
    yield site
    site.stop()


def test_the_readme_works_word_for_word_and_no_killed_worker_fails_a_push(
    site: Site, tmp_path: Path
) -> None:
    follow_readme(site, tmp_path)
    before = site.find_processes()
    assert set(before) == {"registry", "gate", "edge", "site", "worker"}
    with pushing(site, CLIENTS) as load:
        for _ in range(3):
            time.sleep(PUSH_SECONDS)
            kill(site, "worker")
    assert load.failures == []
    assert load.pushes["first push: 201"] > 10
    after = site.find_processes()
    assert after.pop("worker") != before.pop("worker")
    assert after == before
    wait_until_sealed(site)
    assert site.manage("verify_lock_log", "acme")


def test_every_process_that_is_killed_comes_back(site: Site) -> None:
    for name in ("registry", "gate", "edge", "site", "worker"):
        before = site.find_processes()
        kill(site, name)
        after = site.find_processes()
        assert after.pop(name) != before.pop(name)
        assert after == before
    wait_until_sealed(site)
    with pushing(site, CLIENTS) as load:
        time.sleep(PUSH_SECONDS)
    # The edge may still meet a gate that is just starting.
    assert load.pushes["first push: 201"] > 0


def test_killed_worker_scheduler_and_redis_fail_no_push(folder: Path, tmp_path: Path) -> None:
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    site = None
    try:
        site = Site(folder, redis_url=redis.url)
        before = site.find_processes()
        assert set(before) == {"registry", "gate", "edge", "site", "worker", "scheduler"}
        with pushing(site, CLIENTS) as load:
            for name in ("worker", "scheduler"):
                time.sleep(PUSH_SECONDS)
                kill(site, name)
            redis.kill()
            time.sleep(PUSH_SECONDS)
            redis.start()
            time.sleep(PUSH_SECONDS)
        assert load.failures == []
        after = site.find_processes()
        for name in ("worker", "scheduler"):
            assert after.pop(name) != before.pop(name)
        assert after == before
        wait_until_sealed(site)
    finally:
        if site is not None:
            site.stop()
        redis.kill()

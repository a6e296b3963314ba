"""The first hour: the README as it is written, and pushes while processes are killed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.newcomer import Load, follow_readme, kill, pushing, wait_until_sealed
from tests.services.parts import is_answering, wait_until
from tests.services.redis import RedisServer
from tests.services.site import Site, make_data_dir

pytestmark = pytest.mark.process

# Those of production, with passwords and static files that cost next to nothing.
SETTINGS = "tests.services.client_settings"
NAMES = {"registry", "gate", "edge", "site", "worker"}
CLIENTS = 2
# What is killed needs the processor to come back.
PAUSE_SECONDS = 0.2
PUSHES = 12
PATIENCE_SECONDS = 60.0


def push_on(load: Load) -> None:
    """Wait until more has been pushed."""
    enough = load.pushes.total() + PUSHES
    wait_until(lambda: load.pushes.total() >= enough, PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose name a shell could take apart, were it not quoted.

    It is the one of both tests: a site that starts with the data of another has less to make.
    """
    return make_data_dir(tmp_path_factory.mktemp("newcomer") / "a folder")


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    site = Site(folder, settings=SETTINGS)
    yield site
    site.stop()


def test_the_readme_works_word_for_word_and_what_is_killed_comes_back(
    site: Site, tmp_path: Path
) -> None:
    follow_readme(site, tmp_path)
    assert set(site.find_processes()) == NAMES
    with pushing(site, CLIENTS, PAUSE_SECONDS) as load:
        push_on(load)
        _assert_comes_back(site, "worker")
        push_on(load)
    # Nobody who pushes needs the worker.
    assert load.failures == []
    assert load.pushes["first push: 201"] >= 2 * PUSHES / 4 - CLIENTS
    for name in NAMES - {"worker"}:
        _assert_comes_back(site, name)
    wait_until(lambda: is_answering(f"{site.url}/readyz"))
    wait_until_sealed(site)
    with pushing(site, CLIENTS, PAUSE_SECONDS) as load:
        # The edge may still meet a gate that is just starting.
        wait_until(lambda: load.pushes["first push: 201"] > 0, PATIENCE_SECONDS)
    wait_until_sealed(site)
    assert site.manage("verify_lock_log", "acme")


def _assert_comes_back(site: Site, name: str) -> None:
    """Kill a process; assert that another one is there in its place, and all others still are."""
    before = _find_all(site)
    kill(site, name)
    after = _find_all(site)
    assert after.pop(name) != before.pop(name)
    assert after == before


def _find_all(site: Site) -> dict[str, int]:
    """Return every process; one that is just starting has no command line for a moment."""
    found: dict[str, int] = {}

    def are_all_there() -> bool:
        found.clear()
        found.update(site.find_processes())
        return set(found) == NAMES

    wait_until(are_all_there)
    return found


def test_killed_worker_scheduler_and_redis_fail_no_push(folder: Path, tmp_path: Path) -> None:
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    site = None
    try:
        site = Site(folder, redis_url=redis.url, settings=SETTINGS)
        before = site.find_processes()
        assert set(before) == {"registry", "gate", "edge", "site", "worker", "scheduler"}
        with pushing(site, CLIENTS, PAUSE_SECONDS) as load:
            for name in ("worker", "scheduler"):
                push_on(load)
                kill(site, name)
            redis.kill()
            push_on(load)
            redis.start()
            push_on(load)
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

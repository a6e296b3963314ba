"""A cluster that is less patient than production, so that an outage takes seconds to be noticed."""

import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.db.models import F
from django.test import Client

from containers.models import Tag as TagRecord
from immutability.models import LockedTag
from immutability.policy.protection import Policy, Protection
from tests.conftest import SEMVER, is_postgresql
from tests.outages.asking import SIGN_IN_COOKIE, Person
from tests.services.accounts import Account, make_pusher
from tests.services.cluster import Cluster, require_programs, test_database_url
from tests.services.parts import Part, PythonPart, is_answering, wait_until
from tests.services.postgresql import Server, find_bin
from tests.services.redis import RedisServer
from tests.services.registry_user import Repository
from tests.services.site import ROOT
from workspaces.access import SYSTEM, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.models import User, Workspace

# How long the edge waits for an answer: longer than any of gate and site takes, which may wait for
# SQLite's lock twice.
EDGE_SECONDS = 5
LOOKS = 8
# As `make run` starts them.
WORKER = "worker --pool solo --without-gossip --without-mingle --without-heartbeat"
SCHEDULER = "beat"
# Fixtures that there are on one kind of database alone, and with them the tests that use them.
ONLY_ON = {
    "database": "postgresql",
    "pooled": "postgresql",
    "two_gates": "postgresql",
    "pairs": "postgresql",
    "file": "sqlite",
}
METRICS_TOKEN = "m" * 32
SHORT = {
    "DJANGO_SETTINGS_MODULE": "tests.services.fast_settings",
    "FAULT_LOCK_SECONDS": "1.5",
    "SHORT_DEADLINE_SECONDS": "1",
    "DATABASE_PATIENCE_SECONDS": "2",
    "METRICS_TOKEN": METRICS_TOKEN,
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about the other kind of database."""
    others = {
        item
        for item in items
        if item.nodeid.startswith("tests/outages/")
        and any(
            name in ONLY_ON and ONLY_ON[name] != connection.vendor
            for name in getattr(item, "fixturenames", ())
        )
    }
    items[:] = [item for item in items if item not in others]
    if others:
        config.hook.pytest_deselected(items=list(others))


def short_cluster(folder: Path, database_url: str, **env: str) -> Cluster:
    """Return a cluster with short timeouts; it knows the tests' sessions."""
    require_programs()
    cluster = Cluster(
        folder,
        database_url,
        gates=2 if is_postgresql() else 1,
        env={**SHORT, "SECRET_KEY": settings.SECRET_KEY, **env},
    )
    production = ROOT / "deploy" / "nginx" / "taglock.conf"
    short = folder / "taglock.conf"
    waits = "proxy_read_timeout 100s;"
    assert waits in production.read_text()
    short.write_text(production.read_text().replace(waits, f"proxy_read_timeout {EDGE_SECONDS}s;"))
    edge = folder / "edge" / "nginx.conf"
    edge.write_text(edge.read_text().replace(str(production), str(short)))
    return cluster


@pytest.fixture(scope="session")
def _running_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        server.start()
        yield server
    finally:
        server.resume()
        server.kill()


@pytest.fixture
def redis_server(_running_redis: RedisServer) -> Iterator[RedisServer]:
    """The broker, running and empty."""
    _mend_redis(_running_redis)
    yield _running_redis
    _mend_redis(_running_redis)


def _mend_redis(server: RedisServer) -> None:
    server.resume()
    if not server.is_running:
        server.start()
    server.lose_everything()


@pytest.fixture(scope="session")
def _short_cluster(
    django_db_setup: None,
    _running_redis: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("outages")
    cluster = short_cluster(folder, test_database_url(), REDIS_URL=_running_redis.url)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(transactional_db: None, _short_cluster: Cluster) -> Iterator[Cluster]:
    """A running cluster. What a test breaks is mended before the next one."""
    yield _short_cluster
    mend(_short_cluster)
    if is_postgresql():
        wait_until_quiet()


def mend(cluster: Cluster) -> None:
    """Let everything run again, and wait until all of it knows that the outage is over.

    The edge leaves a gate alone for a while that did not answer, and a connection of a pool that is
    broken is noticed by who uses it next.
    """
    cluster.mend()
    writes = f"http://127.0.0.1:{cluster.ports.edge}/v2/"
    probes = [
        f"http://127.0.0.1:{port}/readyz" for port in (cluster.ports.site, *cluster.gate_ports)
    ]
    wait_until(
        lambda: all(
            is_answering(writes, "DELETE") and all(is_answering(probe) for probe in probes)
            for _ in range(LOOKS)
        )
    )


def wait_until_quiet() -> None:
    """Wait until nobody is at work in the database: what hung has requests to catch up with."""
    looks: list[bool] = []

    def is_quiet() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid() AND state <> 'idle'"
            )
            looks.append(cursor.fetchone() == (0,))
        return len(looks) > LOOKS and all(looks[-LOOKS:])

    wait_until(is_quiet)


@pytest.fixture
def two_gates(cluster: Cluster) -> Cluster:
    """A cluster with two gates."""
    assert len(cluster.gates) == 2
    return cluster


@pytest.fixture
def file(cluster: Cluster) -> Path:
    """The file of the SQLite database that the tests are using."""
    return Path(connection.settings_dict["NAME"])


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Server]:
    """The PostgreSQL server that the tests are using."""
    server = find_server()
    yield server
    server.resume()
    if not server.is_running:
        server.start()
    reconnect()


def find_server() -> Server:
    """Return the PostgreSQL server that the tests are using."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW data_directory")
        data = Path(cursor.fetchone()[0])
    bin_dir = find_bin()
    assert bin_dir is not None
    return Server(bin_dir, data)


def end_leases() -> None:
    """A minute later: no sender can be at work on what is in flight."""
    minute = timedelta(minutes=1)
    TagRecord.objects.filter(write_id__isnull=False).update(
        write_begun_at=F("write_begun_at") - minute, write_expires_at=F("write_expires_at") - minute
    )


def count_unfinished() -> int:
    """Return how many tags have a write in flight, or a claim or delete that has not ended."""
    unfinished = LockedTag.objects.filter(state__in=("claimed", "deleting"))
    return unfinished.count() + TagRecord.objects.filter(write_id__isnull=False).count()


def reconnect() -> None:
    """Let the tests' own process forget connections that an outage has broken."""
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]


@pytest.fixture
def protected(acme: Workspace, protect: Callable[..., Policy]) -> Workspace:
    """Acme, which protects its release versions."""
    protect(acme, Protection.SOME, SEMVER)
    return acme


@pytest.fixture
def pusher(cluster: Cluster, acme: Workspace) -> Account:
    """Dana, a member of acme, who has a token as long as the test lasts."""
    return cluster.account(make_pusher(acme))


@pytest.fixture
def repository(
    cluster: Cluster, protected: Workspace, pusher: Account, request: pytest.FixtureRequest
) -> Repository:
    """A repository of the test's own, behind the edge."""
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    return Repository(cluster.ports.edge, f"acme/r{name}", pusher)


@pytest.fixture
def behind(cluster: Cluster, repository: Repository) -> Repository:
    """The same repository as the registry has it, with nobody in front."""
    return repository.at(cluster.ports.registry)


@pytest.fixture
def person(cluster: Cluster, protected: Workspace, alice: User) -> Person:
    """Alice, before the edge."""
    client = Client()
    client.force_login(alice)
    scopes = [Scope.REGISTRY, Scope.AUDIT, Scope.ADMIN]
    token = create_access_token(protected, "outages", scopes, actor=SYSTEM)
    return Person(cluster.ports.edge, client.cookies[SIGN_IN_COOKIE].value, token)


@pytest.fixture
def background(cluster: Cluster, redis_server: RedisServer) -> Iterator[Callable[..., Part]]:
    """Return a function that starts a worker or a scheduler; they end before anything is mended.

    More settings than the cluster's go into `env`.
    """
    started: list[Part] = []

    def start(command: str, **env: str) -> Part:
        name = f"{command.split()[0]}-{len(started)}-{os.urandom(3).hex()}"
        # The checks read every address of the site, which no task needs, at each start.
        celery = "-m celery --skip-checks --app tests.services.fast_background"
        command = f"{celery} {command} --loglevel info"
        part = PythonPart(command, cluster.folder / f"{name}.out", {**cluster.env, **env})
        part.start()
        started.append(part)
        return part

    yield start
    for part in started:
        part.kill()

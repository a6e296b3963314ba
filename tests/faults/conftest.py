"""A repository before a whole Taglock of real processes."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from immutability.policy.protection import Protection
from tests.conftest import is_postgresql
from tests.faults.scene import VERSIONS, Scene
from tests.services.accounts import make_admin, make_pusher
from tests.services.cluster import Cluster, require_programs, test_database_url
from tests.services.database_faults import LostConnections
from tests.services.faulty_registry import FaultyRegistry
from tests.services.parts import is_answering, wait_until
from workspaces.access import SYSTEM, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.models import User, Workspace

MAX_AT_ONCE = 24
# In the pool of each process.
MAX_CONNECTIONS = 16
# Fixtures that there are on one kind of database alone, and with them the tests that use them.
ONLY_ON = {"connections": "postgresql", "database_file": "sqlite"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about the other kind of database."""
    here = Path(__file__).parent
    others = [
        item
        for item in items
        if item.path.is_relative_to(here)
        and any(
            ONLY_ON.get(name, connection.vendor) != connection.vendor
            for name in getattr(item, "fixturenames", ())
        )
    ]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


class Background(ThreadPoolExecutor):
    """Threads that give their database connection back: one that ends with it open keeps it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        def run() -> Any:
            try:
                return fn(*args, **options)
            finally:
                connection.close()

        return super().submit(run)


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    """Where requests wait. They have all come back before anything is mended or wiped."""
    with Background(MAX_AT_ONCE) as pool:
        yield pool


@pytest.fixture
def dana(acme: Workspace) -> User:
    """Who pushes."""
    return make_pusher(acme)


@pytest.fixture
def scene(
    cluster: Cluster,
    faulty_registry: FaultyRegistry,
    acme: Workspace,
    dana: User,
    background: ThreadPoolExecutor,
    request: pytest.FixtureRequest,
) -> Iterator[Scene]:
    """A repository of the test's own, in which every tag that begins with v is protected."""
    yield make_scene(cluster, acme, dana, background, request.node.nodeid)
    # Before the requests in the background are waited for.
    faulty_registry.reset()


def make_scene(
    cluster: Cluster, workspace: Workspace, pusher: User, pool: ThreadPoolExecutor, test: str
) -> Scene:
    """Return a scene, whose repository has a name of the test's own."""
    token = create_access_token(workspace, "admin", [Scope.ADMIN], actor=SYSTEM)
    name = f"{workspace.slug}/r{hashlib.sha256(test.encode()).hexdigest()[:12]}"
    admins = cluster.account(make_admin(workspace))
    scene = Scene(cluster, workspace, name, cluster.account(pusher), admins, token, pool)
    scene.protect(Protection.SOME, VERSIONS)
    return scene


@pytest.fixture(scope="package")
def _faulty_cluster(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Cluster, FaultyRegistry]]:
    require_programs()
    proxy = FaultyRegistry()
    cluster = Cluster(
        tmp_path_factory.mktemp("faults"),
        test_database_url(),
        gates=2 if is_postgresql() else 1,
        registry_url=proxy.url,
    )
    proxy.registry_port, proxy.folder = cluster.ports.registry, cluster.folder
    try:
        cluster.start()
        yield cluster, proxy
    finally:
        cluster.stop()
        proxy.stop()


@pytest.fixture
def cluster(
    transactional_db: None, _faulty_cluster: tuple[Cluster, FaultyRegistry]
) -> Iterator[Cluster]:
    """A running cluster. What a test breaks is mended before the next one."""
    cluster, _ = _faulty_cluster
    yield cluster
    cluster.mend()


@pytest.fixture
def faulty_registry(
    cluster: Cluster, _faulty_cluster: tuple[Cluster, FaultyRegistry]
) -> Iterator[FaultyRegistry]:
    """The proxy between gates and site and their registry."""
    _, proxy = _faulty_cluster
    yield proxy
    proxy.reset()


@pytest.fixture(scope="module")
def _full_pools(_faulty_cluster: tuple[Cluster, FaultyRegistry]) -> Iterator[None]:
    """When all is over, no process has a lost connection in its pool any more."""
    yield
    cluster, _ = _faulty_cluster
    ports = (*cluster.gate_ports, cluster.ports.site)
    probes = [f"http://127.0.0.1:{port}/readyz" for port in ports] * MAX_CONNECTIONS
    wait_until(lambda: all(map(is_answering, probes)))


@pytest.fixture
def connections(scene: Scene, _full_pools: None) -> LostConnections:
    """The connections to PostgreSQL; there are none to SQLite."""
    return LostConnections(scene.cluster.name)


@pytest.fixture
def database_file() -> None:
    """Only SQLite has one."""

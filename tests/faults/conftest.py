"""A repository before a whole Taglock of real processes."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from immutability.protection import Protection
from tests.conftest import is_postgresql
from tests.faults.scene import VERSIONS, Scene
from tests.services.accounts import make_admin, make_pusher
from tests.services.cluster import Cluster, require_programs, test_database_url
from tests.services.database_faults import LostConnections
from tests.services.fickle import FickleProxy
from tests.services.parts import is_answering, wait_until
from workspaces.access import SYSTEM, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.models import User, Workspace

MOST_AT_ONCE = 24
# In the pool of each process.
MOST_CONNECTIONS = 16
# How long the gates of a fickle registry wait for its answer.
DEADLINE_SECONDS = 1.0
# Fixtures that there are on one kind of database alone, and with them the tests that use them.
ONLY_ON = {"connections": "postgresql", "database_file": "sqlite"}
# Minutes of killing and starting gates, at points that are the same whatever the database is: where
# there are two gates.
ONLY_ON_POSTGRESQL = (
    "test_clocks.py",
    "test_crashed_deletes.py",
    "test_interleavings.py",
    "test_late_deletes.py",
    "test_settings_meanwhile.py",
    "test_stalls.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about the other kind of database."""
    here = Path(__file__).parent
    others = [
        item
        for item in items
        if item.path.is_relative_to(here)
        and (
            (item.path.name in ONLY_ON_POSTGRESQL and not is_postgresql())
            or any(
                ONLY_ON.get(name, connection.vendor) != connection.vendor
                for name in getattr(item, "fixturenames", ())
            )
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
    with Background(MOST_AT_ONCE) as pool:
        yield pool


@pytest.fixture
def dana(acme: Workspace) -> User:
    """Who pushes."""
    return make_pusher(acme)


@pytest.fixture
def scene(
    cluster: Cluster,
    acme: Workspace,
    dana: User,
    background: ThreadPoolExecutor,
    request: pytest.FixtureRequest,
) -> Scene:
    return make_scene(cluster, acme, dana, background, request.node.nodeid)


def make_scene(
    cluster: Cluster, workspace: Workspace, pusher: User, pool: ThreadPoolExecutor, test: str
) -> Scene:
    """Return a repository of the test's own, in which every tag that begins with v is protected."""
    token = create_access_token(workspace, "admin", [Scope.ADMIN], actor=SYSTEM)
    name = f"{workspace.slug}/r{hashlib.sha256(test.encode()).hexdigest()[:12]}"
    admins = cluster.account(make_admin(workspace))
    scene = Scene(cluster, workspace, name, cluster.account(pusher), admins, token, pool)
    scene.protect(Protection.SOME, VERSIONS)
    return scene


@pytest.fixture(scope="session")
def _fickle_cluster(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Cluster, FickleProxy]]:
    require_programs()
    proxy = FickleProxy()
    cluster = Cluster(
        tmp_path_factory.mktemp("fickle"),
        test_database_url(),
        gates=2 if is_postgresql() else 1,
        env={"FAULT_DEADLINE": str(DEADLINE_SECONDS)},
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
def proxy(
    transactional_db: None, _fickle_cluster: tuple[Cluster, FickleProxy]
) -> Iterator[FickleProxy]:
    """What stands between the gates of `fickle` and their registry."""
    cluster, proxy = _fickle_cluster
    cluster.mend()
    yield proxy
    proxy.reset()
    cluster.mend()


@pytest.fixture
def fickle(
    proxy: FickleProxy,
    _fickle_cluster: tuple[Cluster, FickleProxy],
    acme: Workspace,
    dana: User,
    background: ThreadPoolExecutor,
    request: pytest.FixtureRequest,
) -> Iterator[Scene]:
    """A scene whose gates and site meet the registry through `proxy`."""
    yield make_scene(_fickle_cluster[0], acme, dana, background, request.node.nodeid)
    # Before the requests in the background are waited for.
    proxy.reset()


@pytest.fixture(scope="module")
def _full_pools(_running_cluster: Cluster) -> Iterator[None]:
    """When all is over, no process has a lost connection in its pool any more."""
    yield
    ports = (*_running_cluster.gate_ports, _running_cluster.ports.site)
    probes = [f"http://127.0.0.1:{port}/readyz" for port in ports] * MOST_CONNECTIONS
    wait_until(lambda: all(map(is_answering, probes)))


@pytest.fixture
def connections(scene: Scene, _full_pools: None) -> LostConnections:
    """The connections to PostgreSQL; there are none to SQLite."""
    return LostConnections(scene.cluster.name)


@pytest.fixture
def database_file() -> None:
    """Only SQLite has one."""

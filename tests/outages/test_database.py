"""The database is down: pulls work, nothing is written, and nothing is lost."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from immutability.models import LockedTag
from packages_site.local import find_free_ports
from tests.conftest import AA
from tests.outages.asking import (
    Person,
    assert_clear_page,
    assert_try_again,
    assert_undecided,
    waiting,
)
from tests.outages.conftest import count_unfinished, reconnect
from tests.services.cluster import BIN, FAULTY, Cluster
from tests.services.parts import Part, is_answering, wait_until
from tests.services.postgresql import Server
from tests.services.registry_user import Answer, Repository, digest_of, send
from workspaces.models import LockEvent

pytestmark = pytest.mark.cluster

Ask = Callable[[], Answer]
PATIENCE_SECONDS = 20.0
MANY = 20
PAGES = (
    "/",
    "/acme/locked-tags/",
    "/acme/lock-log/",
    "/acme/settings/packages/containers/",
)


class _Timed:
    """Requests at the same time, each answered in bounded time."""

    def __init__(self, cluster: Cluster, repository: Repository, person: Person) -> None:
        self.cluster = cluster
        self.repository = repository
        self.person = person
        self.one, self.two = repository.make_image("one"), repository.make_image("two")
        assert repository.put("v1.0.0", self.one).status == 201

    def assert_fails_closed(self) -> None:
        """Ask everything of a Taglock without a database."""
        writes = [
            lambda: self.repository.put("v1.0.0", self.one),
            lambda: self.repository.put("v1.0.0", self.two),
            lambda: self.repository.put("v1.1.0", self.two),
            lambda: self.repository.put("latest", self.two),
            lambda: self.repository.delete(f"manifests/{digest_of(self.one)}"),
        ]
        checks = [lambda: self.person.check_push(self.repository.name, "v3.0.0", AA)]
        ports = [self.cluster.ports.site, *self.cluster.gate_ports]
        probes: list[Ask] = [partial(send, port, "GET", "/readyz") for port in ports]
        pages: list[Ask] = [partial(self.person.open, path) for path in PAGES]
        began = time.monotonic()
        with ThreadPoolExecutor(16) as threads:
            asked: list[list[Ask]] = [writes, checks, probes, pages]
            futures = [[threads.submit(ask) for ask in kind] for kind in asked]
            assert self.repository.tags == {"v1.0.0": digest_of(self.one)}
            assert send(self.cluster.ports.site, "GET", "/healthz").status == 200
            written, checked, probed, opened = (
                [future.result() for future in kind] for kind in futures
            )
        assert time.monotonic() - began < PATIENCE_SECONDS
        for answer in written:
            assert_try_again(answer)
        for answer in checked:
            assert_undecided(answer)
        assert {answer.status for answer in probed} == {503}
        for answer in opened:
            assert_clear_page(answer)

    def assert_nothing_is_lost(self) -> None:
        """Ask again, now that the database is back."""
        assert self.repository.tags == {"v1.0.0": digest_of(self.one)}
        wait_until(lambda: self.repository.put("v1.1.0", self.two).status == 201)
        wait_until(lambda: self.repository.put("v1.0.0", self.two).status == 403)
        wait_until(lambda: self.person.open("/acme/locked-tags/").status == 200)
        ports = [self.cluster.ports.site, *self.cluster.gate_ports]
        for port in ports:
            wait_until(lambda port=port: send(port, "GET", "/readyz").status == 200)  # type: ignore[misc]
        assert self.repository.tags == {
            "v1.0.0": digest_of(self.one),
            "v1.1.0": digest_of(self.two),
        }
        locks = LockedTag.objects.filter(repository=self.repository.name).order_by("tag")
        assert [(lock.tag, lock.state, lock.digest) for lock in locks] == [
            ("v1.0.0", "locked", digest_of(self.one)),
            ("v1.1.0", "locked", digest_of(self.two)),
        ]
        assert count_unfinished() == 0
        locked = LockEvent.objects.filter(kind="tag.locked", repository=self.repository.name)
        assert sorted(event.tag for event in locked) == ["v1.0.0", "v1.1.0"]


@pytest.fixture
def asked(cluster: Cluster, repository: Repository, person: Person) -> _Timed:
    return _Timed(cluster, repository, person)


# PostgreSQL.


def test_without_its_server_nothing_is_written_and_nothing_is_lost(
    database: Server, asked: _Timed
) -> None:
    database.stop()
    asked.assert_fails_closed()
    database.start()
    reconnect()
    asked.assert_nothing_is_lost()


def test_a_server_that_hangs_is_given_up_in_bounded_time(database: Server, asked: _Timed) -> None:
    database.hang()
    asked.assert_fails_closed()
    database.resume()
    asked.assert_nothing_is_lost()


def test_a_restart_of_the_server_costs_no_request(
    database: Server, asked: _Timed, cluster: Cluster, repository: Repository, person: Person
) -> None:
    """Connections that wait in the pools are all broken: each process notices before it asks."""
    with ThreadPoolExecutor(MANY) as threads:
        # Every process has many open connections.
        pushes = [threads.submit(repository.put, "v1.0.0", asked.one) for _ in range(4 * MANY)]
        opened = [threads.submit(person.open, "/acme/locked-tags/") for _ in range(2 * MANY)]
        assert {push.result().status for push in pushes} == {201}
        assert {page.result().status for page in opened} == {200}
    database.stop()
    database.start()
    reconnect()
    token = f"/auth/token?service=taglock&scope=repository:{repository.name}:push,pull"
    once: list[Ask] = [
        partial(send, cluster.ports.site, "GET", token),
        *(partial(repository.at(port).put, "v1.0.0", asked.one) for port in cluster.gate_ports),
    ]
    # The first request of each process, at the same time as others.
    with ThreadPoolExecutor(MANY) as threads:
        asking = [threads.submit(ask) for ask in once for _ in range(4)]
        assert {each.result().status for each in asking} == {200, 201}
    assert person.open("/acme/locked-tags/").status == 200
    for number in range(4):
        image = repository.make_image(f"image {number}")
        assert repository.put(f"v2.{number}.0", image).status == 201
    assert len(repository.tags) == 5


@pytest.mark.parametrize("break_database", [Server.stop, Server.hang], ids=["stopped", "hung"])
@pytest.mark.parametrize("point", ["after the store", "after the claim commits"])
def test_a_database_that_goes_during_a_push_leaves_it_to_be_finished_within_seconds(
    database: Server,
    cluster: Cluster,
    repository: Repository,
    point: str,
    break_database: Callable[[Server], None],
) -> None:
    """At the claim nothing is promised yet; at the settlement the image is there."""
    one, two = repository.make_image("one"), repository.make_image("two")
    with waiting(
        point, cluster.folder, lambda fault: repository.put("v1.0.0", one, headers=fault)
    ) as pushing:
        break_database(database)
    assert_try_again(pushing.result())
    is_claimed = point == "after the claim commits"
    assert repository.tags == ({"v1.0.0": digest_of(one)} if is_claimed else {})
    database.resume()
    if not database.is_running:
        database.start()
        reconnect()
    wait_until(lambda: repository.put("v1.0.0", one).status == 201)
    assert repository.put("v1.0.0", two).status == 403
    assert LockedTag.objects.get(repository=repository.name).state == "locked"


# SQLite.


@contextmanager
def _locked_by_another_writer(file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        yield
        writer.execute("ROLLBACK")


@pytest.mark.both_databases
def test_while_the_file_is_locked_for_long_nothing_is_written(
    file: Path, cluster: Cluster, repository: Repository, person: Person
) -> None:
    one, two = repository.make_image("one"), repository.make_image("two")
    assert repository.put("v1.0.0", one).status == 201
    with _locked_by_another_writer(file), ThreadPoolExecutor(4) as threads:
        pushes = [
            threads.submit(repository.put, *push)
            for push in (("v1.0.0", two), ("v1.1.0", two), ("latest", two))
        ]
        check = threads.submit(person.check_push, repository.name, "v3.0.0", AA)
        assert repository.tags == {"v1.0.0": digest_of(one)}
        # Who only reads, reads on.
        assert person.open("/acme/locked-tags/").status == 200
        for push in pushes:
            assert_try_again(push.result())
        assert_undecided(check.result())
    assert repository.put("v1.1.0", two).status == 201
    assert repository.put("v1.0.0", two).status == 403
    assert repository.tags == {"v1.0.0": digest_of(one), "v1.1.0": digest_of(two)}


@pytest.mark.both_databases
def test_while_the_disk_is_full_nothing_is_written(
    file: Path, cluster: Cluster, repository: Repository
) -> None:
    """A gate that may not write another byte to a file stands for a disk that is full."""
    assert file.exists()
    one, two = repository.make_image("one"), repository.make_image("two")
    assert repository.put("v1.0.0", one).status == 201
    (port,) = find_free_ports(1)
    full = Part(
        f"exec prlimit --fsize=0 {BIN}/granian --interface wsgi --host 127.0.0.1 --port {port} "
        f"--blocking-threads 4 --no-ws --log-level error {FAULTY}",
        cluster.folder / "full.out",
        cluster.env,
        is_ready=lambda: is_answering(f"http://127.0.0.1:{port}/healthz"),
    )
    try:
        full.start()
        short = repository.at(port)
        for tag, image in (("v1.0.0", two), ("v1.1.0", two), ("latest", two)):
            assert_try_again(short.put(tag, image))
    finally:
        full.kill()
    assert repository.put("v1.0.0", two).status == 403
    assert repository.put("v1.1.0", two).status == 201
    assert repository.tags == {"v1.0.0": digest_of(one), "v1.1.0": digest_of(two)}

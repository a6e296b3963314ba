"""A production is restarted, changed and upgraded part by part while three clients push."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import transaction
from django.test import Client as Browser

from containers.models import TokenKey
from containers.tokens.stored_keys import token_keys
from immutability.models import LockedTag
from immutability.policy.protection import Policy, Protection
from packages_site.local import BUNDLE_FILE, Ports, edge_command, find_free_ports
from tests.conftest import SEMVER
from tests.outages.asking import SIGN_IN_COOKIE, Person
from tests.outages.conftest import SCHEDULER, WORKER, find_server, reconnect
from tests.services import cluster
from tests.services.pairs import REGISTRIES, Pairs, restart, start, stop
from tests.services.parts import Part, is_answering
from tests.services.previous import find_previous, unpack
from tests.services.push_loop import Client, pushing
from tests.services.redis import RedisServer
from tests.services.registry_user import Answer
from workspaces.access import SYSTEM, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.models import User, Workspace

pytestmark = pytest.mark.cluster

NAMES = ("one", "two", "three")
# Of the edge that `make run` starts: longer than these sites and gates take to leave.
FAIL_TIMEOUT_SECONDS = 2
PAGES = ("/acme/locked-tags/", "/acme/lock-log/", "/acme/settings/packages/containers/")


@pytest.fixture(scope="module")
def _running_pairs(
    django_db_setup: None,
    _running_redis: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pairs]:
    cluster.require_programs()
    folder = tmp_path_factory.mktemp("pairs")
    pairs = Pairs(folder, cluster.test_database_url(), REDIS_URL=_running_redis.url)
    try:
        pairs.start()
        yield pairs
    finally:
        pairs.stop()


@pytest.fixture
def pairs(transactional_db: None, _running_pairs: Pairs) -> Pairs:
    return _running_pairs


@pytest.fixture
def clients(pairs: Pairs, acme: Workspace, protect: Callable[..., Policy]) -> list[Client]:
    """Three clients, each with a repository of its own, in which versions are protected."""
    protect(acme, Protection.SOME, SEMVER)
    return [
        Client(
            pairs.port,
            f"acme/{name}",
            f"acme+{name}",
            create_access_token(acme, name, [Scope.PUSH], actor=SYSTEM),
        )
        for name in NAMES
    ]


def read_locks(client: Client) -> dict[str, str]:
    """Return the digests that the tags of a client are locked to."""
    locks = LockedTag.objects.filter(repository=client.name, state="locked")
    return dict(locks.values_list("tag", "digest"))


def assert_none_failed(clients: list[Client]) -> None:
    for client in clients:
        assert client.failures == []
        assert read_locks(client) == client.pushed


def test_no_push_fails_while_gates_and_sites_are_restarted_one_by_one(
    pairs: Pairs, clients: list[Client]
) -> None:
    with pushing(clients):
        for number, node in enumerate(zip(pairs.sites, pairs.gates, strict=True)):
            # nginx leaves the one before alone for as long, if that refused it last.
            time.sleep(FAIL_TIMEOUT_SECONDS + 1 if number else 0)
            restart(node)
    assert_none_failed(clients)


def test_no_push_fails_while_nginx_is_reloaded(pairs: Pairs, clients: list[Client]) -> None:
    with pushing(clients):
        for _ in range(3):
            pairs.reload_edge()
    assert_none_failed(clients)


def test_no_push_fails_while_redis_worker_and_scheduler_are_restarted(
    pairs: Pairs, clients: list[Client], redis_server: RedisServer
) -> None:
    background = [pairs.make_background(command) for command in (WORKER, SCHEDULER)]
    with pushing(clients):
        start(background)
        restart([redis_server])
        stop(background)
    assert_none_failed(clients)


@pytest.fixture
def _same_keys_afterwards(pairs: Pairs) -> Iterator[None]:
    """Give the other clusters of the same database the key back that their registries trust."""
    before = list(TokenKey.objects.all())
    yield
    with transaction.atomic():
        TokenKey.objects.all().delete()
        TokenKey.objects.bulk_create(before)
    token_keys().forget()
    pairs.export_bundle()
    restart(pairs.registries)


@pytest.mark.usefixtures("_same_keys_afterwards")
def test_pushes_go_on_while_the_keys_of_tokens_are_changed(
    pairs: Pairs, clients: list[Client]
) -> None:
    """No push fails for the change itself, only one or another for a registry's restart.

    A registry that stops may close a connection at the moment at which a tag is to be pointed. What
    it has done is not known then, and the push is told to try again.
    """
    bundle = str(pairs.folder / BUNDLE_FILE)
    first_key = token_keys().find_signing_key().id

    def export_to_each_registry() -> None:
        call_command("token_keys", "export", bundle)
        for registry in pairs.registries:
            restart([registry])

    with pushing(clients):
        call_command("token_keys", "prepare")
        export_to_each_registry()
        call_command("token_keys", "use")
    # The minutes that one waits here are for tokens and nodes that last longer than these.
    with pushing(clients):
        call_command("token_keys", "retire")
        export_to_each_registry()
    failures = [failure for client in clients for failure in client.failures]
    assert len(failures) <= 2 * len(pairs.registries), failures
    for failure in failures:
        assert isinstance(failure, Answer), failure
        assert failure.status == 503, failure
        assert b"the registry gave no complete answer" in failure.body, failure
    for client in clients:
        assert client.pushed.items() <= read_locks(client).items()
    token_keys().forget()
    assert token_keys().find_signing_key().id != first_key


def test_while_postgresql_is_restarted_a_push_waits_or_is_answered_503(
    pairs: Pairs, clients: list[Client]
) -> None:
    server = find_server()
    with pushing(clients):
        server.restart()
    reconnect()
    with pushing(clients):
        pass
    for client in clients:
        for failure in client.failures:
            assert isinstance(failure, Answer), failure
            assert failure.status == 503, failure
        # The last ones: nothing is in the way of the next.
        assert len(client.pushed) >= 4
        locks = read_locks(client)
        assert client.pushed.items() <= locks.items()
        assert {tag: client.read(tag) for tag in locks} == locks


@pytest.fixture
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the previous version."""
    commit = find_previous()
    if commit is None:
        pytest.skip("MISSING: the commit of the previous version; fetch the history of Git")
    return unpack(commit, tmp_path_factory.mktemp("previous") / "code")


@pytest.fixture
def previous_edge(pairs: Pairs, previous: Path) -> Iterator[int]:
    """The port of an edge before a site and a gate of the previous version."""
    port, site_port, gate_port = find_free_ports(3)
    url = f"http://{REGISTRIES[0]}:{pairs.registry_port}"
    folder = previous.parent / "edge"
    command = edge_command(folder, Ports(port, site_port, gate_port, pairs.registry_port), url)
    parts = [
        pairs.make_part("site", site_port, previous),
        pairs.make_part("gate", gate_port, previous),
        Part(command, folder / "edge.out", is_ready=lambda: is_answering(f"{edge}/readyz")),
    ]
    edge = f"http://127.0.0.1:{port}"
    try:
        start(parts)
        yield port
    finally:
        for part in parts:
            part.kill()


def test_the_previous_version_goes_on_after_migrate(
    pairs: Pairs, clients: list[Client], previous: Path, previous_edge: int, alice: User
) -> None:
    """The database is migrated by this version, which works beside it: each takes the other's."""
    old = [Client(previous_edge, each.name, each.username, each.secret) for each in clients]
    for number, client in enumerate(old):
        client.first_number = 1000 * (number + 1)
    with pushing([*old, *clients]):
        pass
    for before, now in zip(old, clients, strict=True):
        assert before.failures == now.failures == []
        assert read_locks(now) == before.pushed | now.pushed
        for pusher, others in ((before, now), (now, before)):
            image = pusher.make_image("another")
            assert {pusher.put(tag, image).status for tag in others.pushed} == {403}
    browser = Browser()
    browser.force_login(alice)
    person = Person(previous_edge, browser.cookies[SIGN_IN_COOKIE].value, "")
    for path in PAGES:
        assert person.open(path).status == 200
    pairs.run(previous, "reconcile")

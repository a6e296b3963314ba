"""Real registries, to which the tests of this folder talk without a gate."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from containers.registry.client import RegistryClient
from containers.tokens.tokens import TAGLOCK
from packages_site.local import find_free_ports, find_missing, registry_command
from tests.conftest import skip_or_fail
from tests.containers.registry.servers import Reply, Server
from tests.services.accounts import Account, OwnKeys, bundle_of, taglocks_own
from tests.services.parts import Part, is_answering
from tests.services.registry_user import Repository


@dataclass(frozen=True)
class BareRegistry:
    """A running registry, and the keys whose tokens it accepts."""

    name: str
    url: str
    keys: OwnKeys

    @property
    def client(self) -> RegistryClient:
        """Our client of it."""
        return RegistryClient(self.url, authorize=taglocks_own(self.keys))

    def repository(self, name: str) -> Repository:
        """A repository in it, for raw requests."""
        return Repository(int(self.url.rpartition(":")[2]), name, Account(self.keys, TAGLOCK))


@pytest.fixture(scope="session")
def debians_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareRegistry]:
    if "docker-registry" in find_missing():
        skip_or_fail("Debian's docker-registry")
    folder = tmp_path_factory.mktemp("bare-registry")
    keys = OwnKeys()
    (port,) = find_free_ports(1)
    url = f"http://127.0.0.1:{port}"
    part = Part(
        registry_command(folder, port, bundle_of(keys), "http://127.0.0.1:8000"),
        folder / "registry.out",
        is_ready=lambda: is_answering(f"{url}/v2/"),
    )
    try:
        part.start()
        yield BareRegistry("docker-registry", url, keys)
    finally:
        part.stop()


@pytest.fixture(scope="module", params=["docker-registry", "distribution-3"])
def bare_registry(request: pytest.FixtureRequest) -> BareRegistry:
    """Either registry."""
    if request.param == "docker-registry":
        registry: BareRegistry = request.getfixturevalue("debians_registry")
        return registry
    built = request.getfixturevalue("distribution_3")
    return BareRegistry("distribution-3", built.url, built.keys)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server."""
    servers: list[Server] = []

    def serve(reply: Reply | bytes, **options: Any) -> Server:
        sends = reply if callable(reply) else lambda connection: connection.sendall(reply)
        server = Server(sends, **options)
        servers.append(server)
        return server

    yield serve
    for server in servers:
        server.close()

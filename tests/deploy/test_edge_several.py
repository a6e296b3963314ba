"""deploy/nginx/taglock.conf before two gates and two sites, of which one is away or leaves.

What was not begun is asked of the other one; what was sent is sent once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from packages_site.local import Ports, edge_command, find_free_ports, find_missing
from tests.conftest import skip_or_fail
from tests.deploy.upstream import Upstream
from tests.deploy.wire import Answer, ask, is_open, to_request
from tests.services.parts import Part

pytestmark = pytest.mark.process

MANIFEST = "/v2/acme/api/manifests"
REQUESTS = [
    ("PUT", f"{MANIFEST}/v1"),
    ("DELETE", f"{MANIFEST}/v1"),
    ("POST", f"{MANIFEST}/v1"),
    ("GET", "/auth/token"),
    ("POST", "/auth/token"),
    ("GET", "/acme/"),
    ("POST", "/api/v1/check-push"),
    ("PUT", "/api/v1/workspaces/acme/container-settings"),
    ("POST", "/invitations/secret"),
]
# The gate is asked about them first.
READS = [("GET", f"{MANIFEST}/v1"), ("POST", "/v2/acme/api/blobs/uploads/")]


@dataclass(frozen=True)
class Edge:
    """An nginx before `stays` and another one, which either leaves or has a port that is closed."""

    port: int
    stays: Upstream
    leaves: Upstream

    def send(self, method: str, path: str) -> Answer:
        body = b"" if method == "GET" else b"{}"
        head = "" if method == "GET" else "Content-Length: 2\r\n"
        return ask(self.port, to_request(path, head, method), body)

    def read_asked(self) -> list[str]:
        """Return the first line of each request that came through, and forget them."""
        asked = [each.line for server in (self.stays, self.leaves) for each in server.asked]
        self.stays.asked.clear()
        self.leaves.asked.clear()
        return asked


@pytest.fixture(scope="module", params=["closed", "leaving"])
def _running_edge(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Edge]:
    if "nginx" in find_missing():
        skip_or_fail("Debian's nginx")
    folder = tmp_path_factory.mktemp("several")
    port, closed = find_free_ports(2)
    stays, leaves = Upstream(), Upstream()
    other = closed if request.param == "closed" else leaves.port
    command = edge_command(
        folder,
        Ports(port, other, other, stays.port),
        f"http://127.0.0.1:{stays.port}",
        more_gates=[stays.port],
        more_sites=[stays.port],
        asks_gate=True,
    )
    # Otherwise it would be left alone after the first request.
    config = folder / "edge" / "nginx.conf"
    config.write_text(config.read_text().replace("max_fails=1", "max_fails=0"))
    part = Part(command, folder / "edge.out", is_ready=lambda: is_open(port))
    try:
        part.start()
        yield Edge(port, stays, leaves)
    finally:
        part.stop()
        stays.close()
        leaves.close()


@pytest.fixture
def edge(_running_edge: Edge) -> Edge:
    """It, with nothing asked yet."""
    _running_edge.read_asked()
    return _running_edge


@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_what_one_has_not_begun_the_other_does(edge: Edge, method: str, path: str) -> None:
    edge.leaves.is_leaving = True
    assert {edge.send(method, path).status for _ in range(4)} == {200}
    assert len(edge.stays.asked) == 4


@pytest.mark.parametrize(("method", "path"), READS)
def test_another_gate_is_asked_what_the_registry_is_sent(
    edge: Edge, method: str, path: str
) -> None:
    edge.leaves.is_leaving = True
    assert {edge.send(method, path).status for _ in range(4)} == {200}
    asked = [each.line for each in edge.stays.asked]
    assert asked.count("GET /edge-access HTTP/1.1") == 4


@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_what_was_sent_is_sent_once(edge: Edge, method: str, path: str) -> None:
    edge.leaves.is_leaving = False
    for _ in range(4):
        assert edge.send(method, f"{path}/lost").status == 503
        assert edge.read_asked() == [f"{method} {path}/lost HTTP/1.1"]

"""deploy/nginx/taglock-accounts.conf in a real nginx: what it asks, keeps, sends on and hides."""

import http.client
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from packages_site.local import Ports, edge_command, find_free_ports, find_missing
from tests.conftest import skip_or_fail
from tests.deploy.wire import is_open
from tests.services.parts import Part

pytestmark = pytest.mark.process

MANIFEST, UPLOADS = "/v2/acme/api/manifests/v1", "/v2/acme/api/blobs/uploads/"
TOKEN = "Bearer header.payload.signature"
CHALLENGE = 'Bearer realm="http://taglock.example/auth/token"'


class Server:
    """Keeps what it is asked, and answers with a status and headers that a test chooses."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, bytes]] = []
        self.access: list[tuple[str, str]] = []
        self.told: list[dict[str, str]] = []
        self.status, self.headers = 200, dict[str, str]()
        self.access_status, self.access_headers = 200, dict[str, str]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                given = self.headers.get("Authorization", "")
                is_access = "X-Taglock-Target" in self.headers
                status, headers = outer.status, outer.headers
                if is_access:
                    assert body == b""
                    target = self.headers["X-Taglock-Target"]
                    outer.access.append((self.headers["X-Taglock-Method"], target))
                    status, headers = outer.access_status, outer.access_headers
                else:
                    outer.asked.append((self.command, self.path, given, body))
                    outer.told.append(dict(self.headers))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


@dataclass(frozen=True)
class Edge:
    """A running nginx before a registry, a gate and a site."""

    port: int
    folder: Path
    registry: Server
    gate: Server
    site: Server

    def ask(
        self,
        method: str,
        target: str,
        authorization: str = TOKEN,
        body: bytes = b"",
        **more: str,
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request; return status, headers in lower case, and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {name.replace("_", "-"): value for name, value in more.items()}
        headers |= {"Authorization": authorization} if authorization else {}
        connection.request(method, target, body or None, headers)
        answer = connection.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        read = (answer.status, told, answer.read())
        connection.close()
        return read


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    if "nginx" in find_missing():
        skip_or_fail("Debian's nginx")
    folder = tmp_path_factory.mktemp("edge-accounts")
    registry, gate, site = servers = [Server() for _ in range(3)]
    (port,) = find_free_ports(1)
    command = edge_command(
        folder,
        Ports(port, site.port, gate.port, registry.port),
        f"http://127.0.0.1:{registry.port}/prefix",
        asks_gate=True,
    )
    part = Part(command, folder / "edge.out", is_ready=lambda: is_open(port))
    try:
        part.start()
        yield Edge(port, folder, registry, gate, site)
    finally:
        part.stop()
        for each in servers:
            each.close()


@pytest.fixture
def edge(running: Edge) -> Edge:
    """The edge, with a gate that allows everything and whose answers are not kept."""
    for each in (running.registry, running.gate, running.site):
        each.asked.clear()
        each.access.clear()
        each.told.clear()
        each.status, each.headers, each.access_status = 200, {}, 200
    running.gate.access_headers = {"X-Taglock-Authorization": "Basic own"}
    return running


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v2/"),
        ("HEAD", MANIFEST),
        ("GET", "/v2/acme/api/blobs/sha256:aa?x=%20"),
        ("PATCH", f"{UPLOADS}an-upload?_state=a/b"),
        ("PUT", f"{UPLOADS}an-upload?digest=sha256:aa"),
        ("GET", "/v2/acme/api/tags/list"),
    ],
)
def test_the_registry_is_sent_what_the_gate_says_and_nothing_of_the_clients(
    edge: Edge, method: str, target: str
) -> None:
    body = b"layer" if method in ("PATCH", "PUT") else b""
    assert edge.ask(method, target, body=body)[0] == 200
    assert edge.gate.access == [(method, target)]
    assert edge.registry.asked == [(method, f"/prefix{target}", "Basic own", body)]


def test_an_open_registry_is_sent_no_authorization(edge: Edge) -> None:
    edge.gate.access_headers = {}
    assert edge.ask("GET", MANIFEST)[0] == 200
    assert edge.registry.asked == [("GET", f"/prefix{MANIFEST}", "", b"")]


def test_an_upload_is_started_where_the_gate_says(edge: Edge) -> None:
    edge.gate.access_headers = {"X-Taglock-Target": f"{UPLOADS}?digest=sha256:aa"}
    edge.ask("POST", f"{UPLOADS}?mount=sha256:aa&from=globex/secret", body=b"x")
    assert edge.registry.asked[0][:2] == ("POST", f"/prefix{UPLOADS}?digest=sha256:aa")


@pytest.mark.parametrize(("status", "code"), [(401, b"UNAUTHORIZED"), (403, b"DENIED")])
@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/v2/"), ("GET", MANIFEST), ("POST", UPLOADS)]
)
def test_who_is_not_let_through_reads_an_oci_error_with_taglocks_challenge(
    edge: Edge, method: str, target: str, status: int, code: bytes
) -> None:
    edge.gate.access_status = status
    edge.gate.access_headers = {"WWW-Authenticate": CHALLENGE} if status == 401 else {}
    told, headers, body = edge.ask(method, target)
    assert (told, code in body) == (status, True)
    assert headers.get("www-authenticate") == (CHALLENGE if status == 401 else None)
    assert headers["content-type"] == "application/json"
    assert edge.registry.asked == []


@pytest.mark.parametrize("status", [500, 503, 404, 200])
def test_without_an_answer_of_the_gate_nothing_is_sent_on(edge: Edge, status: int) -> None:
    edge.gate.access_status = status
    told, _, body = edge.ask("GET", MANIFEST)
    if status == 200:
        assert told == 200
        return
    assert (told, b"UNAVAILABLE" in body) == (503, True)
    assert edge.registry.asked == []


def test_the_registrys_own_challenge_is_not_told(edge: Edge) -> None:
    edge.registry.status = 401
    edge.registry.headers = {"WWW-Authenticate": 'Bearer realm="https://elsewhere.example"'}
    told, headers, _ = edge.ask("GET", MANIFEST)
    assert told == 401
    assert "www-authenticate" not in headers


@pytest.mark.parametrize(
    ("method", "target"),
    [("POST", UPLOADS), ("PATCH", f"{UPLOADS}u?_state=a"), ("PUT", f"{UPLOADS}u?digest=sha256:aa")],
)
def test_no_upload_is_a_form_that_a_registry_reads_as_a_query(
    edge: Edge, method: str, target: str
) -> None:
    form = b"mount=sha256:aa&from=globex/secret"
    edge.ask(method, target, body=form, Content_Type="application/x-www-form-urlencoded")
    assert edge.registry.told[0]["Content-Type"] == "application/octet-stream"
    edge.ask("PUT", MANIFEST, body=b"{}", Content_Type="application/json")
    assert edge.gate.told[0]["Content-Type"] == "application/json"


def test_sessions_are_the_sites_alone(edge: Edge) -> None:
    edge.registry.headers = edge.site.headers = {"Set-Cookie": "sid=own"}
    _, headers, _ = edge.ask("GET", MANIFEST, Cookie="sid=hers")
    assert "set-cookie" not in headers
    assert "Cookie" not in edge.registry.told[0]
    for target in ("/", "/invitations/a"):
        _, headers, _ = edge.ask("GET", target, Cookie="sid=hers")
        assert headers["set-cookie"] == "sid=own"
    assert [each["Cookie"] for each in edge.site.told] == ["sid=hers", "sid=hers"]


@pytest.mark.parametrize(
    ("method", "target"), [("PUT", MANIFEST), ("DELETE", MANIFEST), ("POST", "/v2/"), ("GET", "/")]
)
def test_gate_and_site_get_what_the_client_sent_and_may_challenge(
    edge: Edge, method: str, target: str
) -> None:
    asked = edge.site if target == "/" else edge.gate
    asked.status, asked.headers = 401, {"WWW-Authenticate": CHALLENGE}
    told, headers, _ = edge.ask(method, target, body=b"{}")
    assert (told, headers["www-authenticate"]) == (401, CHALLENGE)
    assert asked.asked == [(method, target, TOKEN, b"{}")]
    assert edge.gate.access == []


@pytest.mark.parametrize(
    "target", ["/_edge/access", "/_edge/gate", "/edge-access", "//edge-access"]
)
def test_what_lets_taglock_in_is_not_to_be_had_from_outside(edge: Edge, target: str) -> None:
    for method in ("GET", "POST"):
        _, headers, body = edge.ask(method, target)
        assert "own" not in repr((headers, body))
    assert (edge.gate.access, edge.gate.asked) == ([], [])


# ---- what is kept --------------------------------------------------------------------------------


def _keep(edge: Edge) -> None:
    edge.gate.access_headers |= {"X-Accel-Expires": "20", "Cache-Control": "private, no-cache"}


def _token(name: str) -> str:
    return f"Bearer header.payload.{name}"


def test_an_answer_counts_for_every_read_of_a_repository_with_the_same_token(edge: Edge) -> None:
    _keep(edge)
    token = _token("reads")
    for target in (MANIFEST, "/v2/acme/api/blobs/sha256:aa", "/v2/acme/api/tags/list?n=5"):
        assert edge.ask("GET", target, token)[0] == 200
    assert edge.ask("HEAD", MANIFEST, token)[0] == 200
    assert edge.gate.access == [("GET", MANIFEST)]
    assert {said for _, _, said, _ in edge.registry.asked} == {"Basic own"}


@pytest.mark.parametrize(
    ("method", "target", "token"),
    [
        ("GET", "/v2/acme/other/manifests/v1", "one"),
        ("GET", MANIFEST, "two"),
        ("PATCH", f"{UPLOADS}an-upload", "one"),
        ("POST", UPLOADS, "one"),
        ("GET", "/v2/acme/api/blobs/uploads", "one"),
        ("GET", "/v2/acme/api/other", "one"),
        ("GET", "/v2/", "one"),
    ],
)
def test_anything_else_is_asked_again(edge: Edge, method: str, target: str, token: str) -> None:
    _keep(edge)
    name = f"{method}{target}".translate({ord(each): None for each in "/:.?"})
    edge.ask("GET", MANIFEST, _token(f"{name}-one"))
    edge.ask(method, target, _token(f"{name}-{token}"))
    assert edge.gate.access == [("GET", MANIFEST), (method, target)]


def test_the_parts_of_an_upload_are_asked_once_and_each_start_by_itself(edge: Edge) -> None:
    _keep(edge)
    token = _token("uploads")
    for query in ("", "?mount=a&from=acme/one", "?mount=a&from=acme/two"):
        edge.ask("POST", f"{UPLOADS}{query}", token, b"x")
    for number in range(3):
        edge.ask("PATCH", f"{UPLOADS}an-upload?_state={number}", token, b"x")
    assert len(edge.gate.access) == 4


@pytest.mark.parametrize(
    "authorization", ["", "Basic dXNlcjpwdw==", "Bearer opaque", "Bearer a.b.c, x"]
)
def test_without_a_token_of_taglocks_form_nothing_is_kept(edge: Edge, authorization: str) -> None:
    _keep(edge)
    for _ in range(2):
        edge.ask("GET", MANIFEST, authorization)
    assert len(edge.gate.access) == 2


@pytest.mark.parametrize("status", [401, 403, 503])
def test_a_refusal_is_not_kept(edge: Edge, status: int) -> None:
    edge.gate.access_status = status
    edge.gate.access_headers = {}
    token = _token(f"refused-{status}")
    for _ in range(2):
        edge.ask("GET", MANIFEST, token)
    assert len(edge.gate.access) == 2


def test_what_is_kept_has_no_whole_token_and_is_its_users_alone(edge: Edge) -> None:
    _keep(edge)
    edge.ask("GET", MANIFEST, "Bearer secret-header.secret-payload.kept")
    files = [path for path in (edge.folder / "edge" / "access").rglob("*") if path.is_file()]
    assert any(b"kept" in path.read_bytes() for path in files)
    assert not any(b"secret-payload" in path.read_bytes() for path in files)
    assert {path.stat().st_mode & 0o077 for path in files} == {0}

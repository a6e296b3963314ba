"""Every edge of deploy/ before the same requests: who gets them, and what no one gets."""

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.deploy.edges import COMMANDS, FRONT, Edge, start_edge
from tests.deploy.http2 import send_http2
from tests.deploy.tricks import PLAIN_UPLOAD, READ, ROUTES, TRICKS, aim
from tests.deploy.wire import Answer, ask, to_request

pytestmark = pytest.mark.process

MANIFEST = "/v2/acme/api/manifests/v1"
UPLOAD = "/v2/acme/api/blobs/uploads/"
DIGEST = "sha256:" + 64 * "a"
MEBIBYTE = 1024 * 1024


class _Edges:
    """The edges that were asked for, each started once."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        self._started: dict[str, Edge] = {}

    def get(self, kind: str) -> Edge:
        if kind not in self._started:
            folder = self._folder / kind
            folder.mkdir(exist_ok=True)
            self._started[kind] = self._stack.enter_context(start_edge(kind, folder))
        return self._started[kind]


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Edges]:
    with ExitStack() as stack:
        yield _Edges(stack, tmp_path_factory.mktemp("edges"))


@pytest.fixture(params=COMMANDS)
def edge(edges: _Edges, request: pytest.FixtureRequest) -> Edge:
    """Each of the edges, in turn, with nothing asked yet."""
    edge = edges.get(request.param)
    edge.forget()
    return edge


def _send(edge: Edge, method: str, target: str, rest: str = "", body: bytes = b"") -> Answer:
    if method not in ("GET", "HEAD") and "ontent-Length" not in rest:
        rest += f"Content-Length: {len(body)}\r\n"
    return ask(edge.ports.plain, to_request(target, rest, method), body)


def _say(port: int, request: str) -> None:
    """Send this, and a request that ends the connection; wait a moment for it to be answered."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=0.3) as connection,
        suppress(OSError),
    ):
        connection.sendall(request.encode("latin-1") + to_request("/last"))
        while connection.recv(65536):
            pass


# Who gets what.


def test_the_method_says_who_gets_a_request(edge: Edge) -> None:
    for method, target, goes_to in ROUTES:
        edge.forget()
        assert _send(edge, method, target).status == 200, target
        assert edge.asked() == {goes_to: [f"{method} {target}"]}


def test_both_versions_of_http_are_told_apart_alike(edge: Edge) -> None:
    for method, target, goes_to in ROUTES:
        edge.forget()
        send_http2(edge.ports.http2, method, target)
        assert edge.asked() == {goes_to: [f"{method} {target}"]}


# What no registry gets.


def _find_writes(edge: Edge) -> list[str]:
    """Return what reached the registry, and is neither a read nor an upload, written plainly."""
    lines = edge.asked().get("registry", [])
    return [line for line in lines if not (READ.fullmatch(line) or PLAIN_UPLOAD.fullmatch(line))]


def test_no_trick_writes_a_manifest_past_the_gate(edge: Edge) -> None:
    for method, target in TRICKS:
        edge.forget()
        aimed = aim(target, "acme/api", DIGEST)
        answer = _send(edge, method, aimed, "X-HTTP-Method-Override: PUT\r\n", b"{}")
        assert not _find_writes(edge), (method, aimed)
        assert edge.asked() or answer.status in (400, 403, 404, 405, 414), (method, aimed, answer)


# What would be several lines of a head in HTTP/1.1, or another request.
IN_HTTP_2_ALONE = [
    ("POST", f"{UPLOAD} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nPUT {MANIFEST}"),
    ("POST", f"{UPLOAD}\r\nX: {MANIFEST}"),
    ("POST", f"{UPLOAD}\n{MANIFEST}"),
    ("POST", f"{UPLOAD}x y"),
    ("POST", f"{UPLOAD}x\ty"),
    (f"PUT {MANIFEST} HTTP/1.1\r\nX: ", UPLOAD),
    (f"PUT {MANIFEST}?", UPLOAD),
    ("PUT", MANIFEST.removeprefix("/")),
    ("PUT", "*"),
    ("CONNECT", MANIFEST),
]


def test_none_does_over_http_2(edge: Edge) -> None:
    aimed = [(method, aim(target, "acme/api", DIGEST)) for method, target in TRICKS]
    for method, target in aimed + IN_HTTP_2_ALONE:
        edge.forget()
        send_http2(edge.ports.http2, method, target)
        assert not _find_writes(edge), (method, target)


HIDDEN = f"PUT {MANIFEST} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
START = f"POST {UPLOAD} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
# What two could read as one request or as two, or as another protocol.
AMBIGUOUS = [
    f"{START}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    f"{START}Content-Length: {len(HIDDEN)}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    f"{START}Content-Length: {len(HIDDEN)}\r\nContent-Length: 0\r\n\r\n{HIDDEN}",
    f"{START}Content-Length: 0, {len(HIDDEN)}\r\n\r\n{HIDDEN}",
    f"{START}Content-Length: +0\r\n\r\n{HIDDEN}",
    f"{START}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{HIDDEN}",
    f"{START}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    f"{START}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
    f"{START}X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n{HIDDEN}",
    f"{START}Transfer-Encoding: chunked\r\n\r\n0\n\n{HIDDEN}",
    f"{START}Transfer-Encoding: chunked\r\n\r\n0;{HIDDEN}",
    f"{START}Transfer-Encoding: chunked\r\n\r\n00000000000000000\r\n\r\n{HIDDEN}",
    f"{START}Content-Length: 0\r\nX: y\n\n{HIDDEN}",
    f"{START}Content-Length: 0\r\nX: y\rz\r\n\r\n{HIDDEN}",
    f"GET {MANIFEST} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(HIDDEN)}\r\n\r\n{HIDDEN}",
    f"GET {MANIFEST} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: h2c\r\n"
    f"HTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n{HIDDEN}",
    f"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n{HIDDEN}",
    f"PUT {MANIFEST} HTTP/0.9\r\n\r\n",
    f"PUT {MANIFEST}\r\n\r\n",
    f"PUT /v2/acme/api/blobs/uploads/x\t{MANIFEST} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    f"PUT /v2/acme/api/blobs/uploads/x {MANIFEST} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    f"PUT /v2/acme/api/blobs/uploads/x\0{MANIFEST} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    f"PUT /v2/acme/api/blobs/uploads/x\v{MANIFEST} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    f"PUT /v2/acme/api/blobs/uploads/\xff{MANIFEST} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    f"PUT\t{MANIFEST}\tHTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    f"PUT {MANIFEST} HTTP/1.1\r\nHost: 127.0.0.1/v2/acme/api/blobs/uploads/x?\r\n\r\n",
]


def test_no_request_hides_in_another(edge: Edge) -> None:
    for request in AMBIGUOUS:
        edge.forget()
        _say(edge.ports.plain, request)
        assert not _find_writes(edge), request


# A line of the head, and the body, that would be two requests in HTTP/1.1.
HIDING = [
    ("content-length", "0", HIDDEN),
    ("content-length", "500", HIDDEN),
    ("transfer-encoding", "chunked", f"0\r\n\r\n{HIDDEN}"),
    ("x", f"y\r\n\r\n{HIDDEN}", ""),
    ("x\r\ncontent-length", "0", HIDDEN),
]


def test_none_hides_in_one_of_http_2(edge: Edge) -> None:
    for name, value, body in HIDING:
        edge.forget()
        send_http2(edge.ports.http2, "POST", UPLOAD, body.encode(), {name: value})
        assert not _find_writes(edge), (name, value)


def test_nothing_but_the_method_says_what_is_done(edge: Edge) -> None:
    names = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
    rest = "".join(f"{name}: PUT\r\n" for name in names)
    rest += "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    rest += "HTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    for method, target in (
        ("GET", MANIFEST),
        ("POST", UPLOAD),
        ("PUT", MANIFEST),
        ("POST", "/acme/"),
    ):
        _send(edge, method, target, rest)
    for asked in edge.all_asked():
        assert not [name for name in asked.head if "method" in name.lower() or name == "Upgrade"]


@pytest.mark.parametrize("sent", ["", "X-Request-Id: a b\r\n", "X-Request-Id: job-7.1\r\n"])
def test_a_request_is_named_by_a_plain_id(edge: Edge, sent: str) -> None:
    for method, target in (("GET", MANIFEST), ("PUT", MANIFEST), ("GET", "/acme/")):
        _send(edge, method, target, sent)
    ids = [asked.head["X-Request-Id"] for asked in edge.all_asked()]
    assert len(ids) == 3
    if edge.kind == "traefik":
        # It makes none: the gate does.
        return
    assert all(re.fullmatch(r"[\w.-]{1,64}", each) for each in ids)
    if "job" in sent and edge.kind != "envoy":
        assert set(ids) == {"job-7.1"}


# What an edge answers itself.

REFUSED = [
    ("GET", "/v2/_catalog", 403, "DENIED"),
    ("HEAD", "/v2/_catalog?n=1", 403, ""),
    ("GET", "/v2/_catalog/", 403, "DENIED"),
    ("POST", "/v2/_catalog", 403, "DENIED"),
    ("GET", "/v2/acme/api/tags//list", 400, "NAME_INVALID"),
    ("GET", "/v2/acme/api/manifests/../tags/list", 400, "NAME_INVALID"),
    ("GET", "/v2/%5fcatalog", 400, "NAME_INVALID"),
    ("POST", "/v2/acme/api/blobs/uploads%2F", 400, "NAME_INVALID"),
    ("PUT", "/v2/acme/api/manifests/%76", 400, "NAME_INVALID"),
    ("DELETE", "/v2/acme/api/blobs/sha256:aa", 405, "UNSUPPORTED"),
    ("PUT", "/v2/acme/api/blobs/sha256:aa", 405, "UNSUPPORTED"),
]


def test_metrics_are_not_passed_on(edge: Edge) -> None:
    for target in ("/metrics", "/metrics?x=1"):
        assert _send(edge, "GET", target).status == 404
        assert edge.asked() == {}


def test_what_is_closed_is_refused(edge: Edge) -> None:
    for method, target, status, code in REFUSED:
        edge.forget()
        answer = _send(edge, method, target)
        if edge.kind == "traefik":
            # It writes no answers, makes some paths plain, and leaves the others to the gate.
            assert "registry" not in edge.asked() or "//" in target or ".." in target
            continue
        assert (answer.status, edge.asked()) == (status, {}), (method, target)
        if method != "HEAD":
            assert answer.code == code


def test_an_upstream_without_an_answer_is_a_reason_to_try_again(edge: Edge) -> None:
    for method in ("GET", "PUT"):
        answer = _send(edge, method, "/v2/acme/api/manifests/lost")
        assert answer.status in (502, 503)
        if edge.kind != "traefik":
            assert answer.code == "UNAVAILABLE"
            assert "\r\nretry-after: 10" in answer.head.lower()
    assert _send(edge, "GET", "/acme/lost").status in (502, 503)


# What is told of the client.


def _named(edge: Edge) -> list[dict[str, str]]:
    """Return what was said of the client in each request that came through."""
    said = []
    for asked in edge.all_asked():
        names = [name.lower().replace("_", "-") for name in asked.head]
        assert len(set(names)) == len(names), names
        assert "forwarded" not in names
        said.append(
            {
                name: asked.head[name]
                for name in ("X-Real-IP", "X-Forwarded-Proto", "X-Forwarded-Host")
            }
        )
    return said


CLAIMED = (
    "X-Forwarded-Proto: https\r\nX-Forwarded-For: 203.0.113.9, 203.0.113.7\r\n"
    "X-Real-IP: 203.0.113.7\r\n"
)
FORGED = (
    "Forwarded: for=203.0.113.7;proto=https\r\nX-Forwarded-Host: forged.example\r\n"
    "X_Forwarded_Proto: https\r\nX_Real_IP: 203.0.113.7\r\nX-Real_IP: 203.0.113.7\r\n"
)
DESTINATIONS = [("GET", MANIFEST), ("POST", UPLOAD), ("PUT", MANIFEST), ("GET", "/acme/")]


def test_what_a_client_says_of_itself_is_not_passed_on(edge: Edge) -> None:
    for method, target in DESTINATIONS:
        assert _send(edge, method, target, CLAIMED + FORGED).status == 200
    assert _named(edge) == 4 * [
        {"X-Real-IP": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "127.0.0.1"}
    ]
    for asked in edge.all_asked():
        assert asked.head["X-Forwarded-For"] == "127.0.0.1"


def test_a_client_cannot_have_it_taken_out_again(edge: Edge) -> None:
    """What `Connection` names is for one hop alone, so proxies leave it out."""
    rest = "Connection: X-Real-IP, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-For\r\n"
    for method, target in DESTINATIONS:
        assert _send(edge, method, target, rest).status in (200, 400)
    assert {each["X-Real-IP"] for each in _named(edge)} <= {"127.0.0.1"}
    assert {each["X-Forwarded-Proto"] for each in _named(edge)} <= {"http"}


def test_a_proxy_that_is_named_may_say_that_tls_ended_in_front(edge: Edge) -> None:
    for method, target in DESTINATIONS:
        request = to_request(target, f"{CLAIMED}Content-Length: 0\r\n", method)
        assert ask(edge.ports.front, request, source=FRONT).status == 200
    assert _named(edge) == 4 * [
        {"X-Real-IP": "203.0.113.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "127.0.0.1"}
    ]


def test_no_other_may(edge: Edge) -> None:
    for method, target in DESTINATIONS:
        _say(
            edge.ports.front, to_request(target, f"{CLAIMED}Content-Length: 0\r\n", method).decode()
        )
    assert {each["X-Forwarded-Proto"] for each in _named(edge)} <= {"http"}
    assert {each["X-Real-IP"] for each in _named(edge)} <= {"127.0.0.1"}


# Bodies.


def test_a_layer_of_any_size_reaches_the_registry(edge: Edge) -> None:
    size = 6 * MEBIBYTE
    assert _send(edge, "PATCH", f"{UPLOAD}1", body=size * b"x").status == 200
    chunks = f"{size:x}\r\n".encode() + size * b"x" + b"\r\n0\r\n\r\n"
    head = to_request(f"{UPLOAD}1", "Transfer-Encoding: chunked\r\n", "PATCH")
    assert ask(edge.ports.plain, head, chunks).status == 200
    assert [asked.body_length for asked in edge.registry.asked] == [size, size]


def test_a_larger_manifest_than_any_reaches_no_one(edge: Edge) -> None:
    answer = _send(edge, "PUT", MANIFEST, body=6 * MEBIBYTE * b"x")
    assert answer.status == 413
    assert edge.kind == "traefik" or answer.code == "SIZE_INVALID"
    assert not any(asked.body_length > 5 * MEBIBYTE for asked in edge.all_asked())


def test_chunks_are_given_a_length_or_refused(edge: Edge) -> None:
    head = to_request(MANIFEST, "Transfer-Encoding: chunked\r\n", "PUT")
    answer = ask(edge.ports.plain, head, b"2\r\n{}\r\n0\r\n\r\n")
    lengths = [asked.head["Content-Length"] for asked in edge.gate.asked]
    # Caddy passes the chunks on, and leaves it to the gate to refuse them.
    expected = {"haproxy": (411, []), "caddy": (200, [None])}
    assert (answer.status, lengths) == expected.get(edge.kind, (200, ["2"]))


def test_a_head_of_40_kilobytes_passes(edge: Edge) -> None:
    for method, target in DESTINATIONS:
        assert (
            _send(edge, method, target, f"Authorization: Bearer {32 * 1024 * 'x'}\r\n").status
            == 200
        )


# When no one answers.


def test_a_write_without_an_answer_is_not_sent_again(edge: Edge) -> None:
    rest = "Idempotency-Key: a\r\nX-Idempotency-Key: a\r\n"
    for method in ("PUT", "DELETE", "POST"):
        edge.forget()
        # A connection to the gate is open already.
        _send(edge, method, MANIFEST, rest)
        answer = _send(edge, method, "/v2/acme/api/manifests/lost", rest)
        assert answer.status in (502, 503), (method, answer)
        assert len(edge.gate.asked) == 2, method

"""deploy/nginx/taglock.conf in a real nginx, asked over raw sockets: its own answers and limits."""

import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest

from containers.tokens.grants import repository_access
from containers.tokens.tokens import TAGLOCK, sign_token
from packages_site.local import (
    ROOT,
    Ports,
    edge_command,
    find_free_ports,
    find_missing,
    registry_command,
)
from tests.conftest import skip_or_fail
from tests.deploy.upstream import READ_TIMEOUT_SECONDS, Upstream
from tests.deploy.wire import Answer, ask, is_open, to_request
from tests.services.accounts import OwnKeys, bundle_of
from tests.services.certificates import make_certificate, make_certificates
from tests.services.parts import Part, is_answering, wait_until
from workspaces import json_response, problem_details
from workspaces.log.rows import ExportFormat

pytestmark = pytest.mark.process

MANIFEST = "/v2/acme/api/manifests/v1"
KILOBYTE = 1024


@dataclass(frozen=True)
class Edge:
    """A running nginx."""

    port: int
    tls_port: int
    upstream: Upstream


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """An nginx with our file, and a second port with TLS that wants a client's certificate."""
    if "nginx" in find_missing():
        skip_or_fail("Debian's nginx")
    folder = tmp_path_factory.mktemp("edge")
    port, tls_port, closed = find_free_ports(3)
    upstream = Upstream()
    ports = Ports(port, upstream.port, upstream.port, upstream.port)
    command = edge_command(folder, ports, f"http://127.0.0.1:{upstream.port}")
    _change_configuration(folder, port, tls_port, closed)
    part = Part(command, folder / "edge.out", is_ready=lambda: is_open(port))
    try:
        part.start()
        yield Edge(port, tls_port, upstream)
    finally:
        part.stop()
        upstream.close()


def _change_configuration(folder: Path, port: int, tls_port: int, closed_port: int) -> None:
    """Let waits be short; add TLS, and a port on which all is down, behind the same file."""
    ours = (ROOT / "deploy/nginx/taglock.conf").read_text()
    short = folder / "taglock.conf"
    assert ours.count("proxy_read_timeout 100s;") == 1
    short.write_text(
        ours.replace("proxy_read_timeout 100s;", f"proxy_read_timeout {READ_TIMEOUT_SECONDS}s;")
    )
    certificate, key = make_certificate(folder)
    config = folder / "edge" / "nginx.conf"
    config.write_text(
        config.read_text()
        .replace(str(ROOT / "deploy/nginx/taglock.conf"), str(short))
        .replace(
            f"listen 127.0.0.1:{port};",
            f"listen 127.0.0.1:{port}; listen 127.0.0.1:{tls_port} ssl;"
            f"ssl_certificate {certificate}; ssl_certificate_key {key};"
            f"ssl_verify_client on; ssl_client_certificate {certificate};"
            f"location = /v2/down {{ proxy_pass http://127.0.0.1:{closed_port}; }}"
            "location = /v2/closed { deny all; }"
            "location = /v2/failing { return 500; }",
        )
    )


LONG = 50 * KILOBYTE * "x"
# What nginx answers before it looks for a location: the request, status and code.
UNREADABLE = [
    pytest.param(to_request("@", version="HTTP/x.y"), 400, "UNSUPPORTED", id="a version"),
    pytest.param(to_request("@", version="HTTP/2.0"), 505, "UNSUPPORTED", id="another version"),
    pytest.param(b"GET @ HTTP/1.1\r\n\r\n", 400, "UNSUPPORTED", id="no host"),
    pytest.param(to_request("@", "Host: other\r\n"), 400, "UNSUPPORTED", id="two hosts"),
    pytest.param(to_request("@", "Content-Length: -1\r\n"), 400, "UNSUPPORTED", id="a length"),
    pytest.param(
        to_request("@", "Content-Length: 2\r\nContent-Length: 2\r\n"),
        400,
        "UNSUPPORTED",
        id="two lengths",
    ),
    pytest.param(
        to_request("@", "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "PUT"),
        400,
        "UNSUPPORTED",
        id="a length and chunks",
    ),
    pytest.param(to_request("@", "X: a\0b\r\n"), 400, "UNSUPPORTED", id="a NUL in a header"),
    pytest.param(to_request("@", "Transfer-Encoding: gzip\r\n"), 501, "UNSUPPORTED", id="encoding"),
    pytest.param(to_request("@", method="TRACE"), 405, "UNSUPPORTED", id="TRACE"),
    pytest.param(to_request(f"@?x={LONG}"), 414, "SIZE_INVALID", id="a long address"),
    pytest.param(to_request("@", f"X: {LONG}\r\n"), 431, "SIZE_INVALID", id="a long header"),
    pytest.param(
        to_request("@", "".join(f"X-{n}: {LONG[: 30 * KILOBYTE]}\r\n" for n in range(8))),
        431,
        "SIZE_INVALID",
        id="long headers",
    ),
]


@pytest.mark.parametrize("target", ["/v2/", MANIFEST, "/v2/acme/api/blobs/uploads/", "/auth/token"])
@pytest.mark.parametrize(("request_", "status", "code"), UNREADABLE)
def test_what_cannot_be_read_is_answered_in_the_registry_s_words(
    edge: Edge, request_: bytes, status: int, code: str, target: str
) -> None:
    answer = ask(edge.port, request_.replace(b"@", target.encode()))
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize(
    "request_", [b"nonsense\r\n\r\n", b"\x16\x03\x01\x00\xa5\r\n", b"GET \r\n\r\n"]
)
def test_what_names_no_address_is_too(edge: Edge, request_: bytes) -> None:
    answer = ask(edge.port, request_)
    assert (answer.status, answer.code) == (400, "UNSUPPORTED")


@pytest.mark.parametrize(("request_", "status", "code"), UNREADABLE)
def test_on_the_pages_it_is_answered_as_a_page(
    edge: Edge, request_: bytes, status: int, code: str
) -> None:
    answer = ask(edge.port, request_.replace(b"@", b"/acme/locked-tags/"))
    assert 400 <= answer.status < 600
    assert b"errors" not in answer.body
    assert "application/json" not in answer.head


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/v2/down", 503, "UNAVAILABLE"),
        ("/v2/failing", 503, "UNAVAILABLE"),
        ("/v2/acme/api/manifests/lost", 503, "UNAVAILABLE"),
        ("/v2/acme/api/manifests/slow", 503, "UNAVAILABLE"),
        ("/auth/token?x=/slow", 503, "UNAVAILABLE"),
        ("/auth/token?x=/lost", 503, "UNAVAILABLE"),
        ("/v2/closed", 403, "DENIED"),
        ("/v2/acme/api/blobs/sha256:aa/lost", 503, "UNAVAILABLE"),
    ],
)
def test_what_nobody_behind_it_answers_is_answered_in_the_registry_s_words(
    edge: Edge, target: str, status: int, code: str
) -> None:
    answer = ask(edge.port, to_request(target))
    assert (answer.status, answer.code) == (status, code)
    assert ("\r\nretry-after: 10" in answer.head.lower()) is (status == 503)


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("target", [MANIFEST, "/auth/token"])
def test_too_large_a_body_is_answered_in_the_registry_s_words(
    edge: Edge, target: str, *, is_chunked: bool
) -> None:
    size = 6 * 1024 * KILOBYTE
    head = "Transfer-Encoding: chunked\r\n" if is_chunked else f"Content-Length: {size}\r\n"
    body = f"{size:x}\r\n".encode() + size * b"x" if is_chunked else size * b"x"
    answer = ask(edge.port, to_request(target, head, "PUT"), body)
    assert (answer.status, answer.code) == (413, "SIZE_INVALID")


def test_a_head_request_gets_the_status_alone(edge: Edge) -> None:
    answer = ask(edge.port, to_request("/v2/down", method="HEAD"))
    assert (answer.status, answer.body) == (503, b"")


def test_what_is_behind_it_says_is_passed_on(edge: Edge) -> None:
    answer = ask(edge.port, to_request("/v2/acme/api/manifests/teapot"))
    assert (answer.status, answer.body) == (418, b"ok")


@pytest.mark.parametrize("code", ["400", "413", "431", "503"])
def test_the_pages_of_errors_are_no_addresses(edge: Edge, code: str) -> None:
    assert ask(edge.port, to_request(f"/_edge/{code}")).status == 404


# Compression.

COMPRESSED = [
    "text/html; charset=utf-8",
    json_response.CONTENT_TYPE,
    problem_details.CONTENT_TYPE,
    *(each.content_type for each in ExportFormat),
    "text/css",
    "text/javascript",
]


def _ask_for_much(
    edge: Edge, path: str, media_type: str = "text/html", method: str = "GET", **more: str
) -> Answer:
    """Ask for an answer of 20 KB, by someone who takes it compressed."""
    query = urlencode({"times": "10240", "type": media_type, **more})
    head = "Accept-Encoding: gzip, deflate, br\r\nContent-Length: 0\r\n"
    return ask(edge.port, to_request(f"{path}?{query}", head, method))


def _is_compressed(answer: Answer) -> bool:
    return "\r\ncontent-encoding: gzip" in f"{answer.head}\r\n".lower()


@pytest.mark.parametrize("media_type", COMPRESSED)
def test_what_the_site_answers_to_a_get_is_compressed(edge: Edge, media_type: str) -> None:
    answer = _ask_for_much(edge, "/acme/lock-log/", media_type)
    assert answer.status == 200
    assert _is_compressed(answer)
    assert "\r\nvary: accept-encoding" in f"{answer.head}\r\n".lower()
    assert len(answer.body) < KILOBYTE


def test_who_does_not_take_it_compressed_gets_it_plain(edge: Edge) -> None:
    query = urlencode({"times": "10240", "type": "text/html"})
    answer = ask(edge.port, to_request(f"/acme/?{query}"))
    assert not _is_compressed(answer)
    assert answer.body == b"ok" * 10240


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("media_type", ["text/html", "application/json"])
def test_an_answer_that_may_show_a_new_secret_is_not(
    edge: Edge, method: str, media_type: str
) -> None:
    for path in ("/acme/settings/access-tokens/", "/api/v1/workspaces/acme/access-tokens"):
        answer = _ask_for_much(edge, path, media_type, method)
        assert answer.body == b"ok" * 10240
        assert not _is_compressed(answer)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path", ["/auth/token", "/invitations/secret/", "/accounts/password/secret/x/", MANIFEST]
)
def test_neither_is_an_address_of_secrets_or_of_the_registry(
    edge: Edge, path: str, method: str
) -> None:
    for media_type in ("text/html", "application/json"):
        answer = _ask_for_much(edge, path, media_type, method)
        assert answer.body == b"ok" * 10240
        assert not _is_compressed(answer)


def test_what_is_compressed_already_is_not_compressed_again(edge: Edge) -> None:
    answer = _ask_for_much(edge, "/static/css/taglock.css", "text/css", encoding="br")
    assert answer.body == b"ok" * 10240
    assert "\r\ncontent-encoding: br" in f"{answer.head}\r\n".lower()


def test_a_layer_is_not_compressed(edge: Edge) -> None:
    answer = _ask_for_much(edge, "/v2/acme/api/blobs/sha256:aa", "application/json")
    assert not _is_compressed(answer)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_site_that_does_not_answer_is_told_of_whatever_the_method(
    edge: Edge, method: str
) -> None:
    answer = ask(edge.port, to_request("/acme/lost", "Content-Length: 0\r\n", method))
    assert answer.status == 503
    assert answer.body.startswith(b"Taglock is not running at the moment.")
    assert "\r\nretry-after: 10" in f"{answer.head}\r\n".lower()


# TLS.


def _wrap(plain: socket.socket) -> socket.socket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain)


def test_plain_http_at_a_port_of_tls_is_answered_in_the_registry_s_words(edge: Edge) -> None:
    answer = ask(edge.tls_port, to_request(MANIFEST))
    assert (answer.status, answer.code) == (400, "UNSUPPORTED")


def test_a_missing_certificate_is_answered_in_the_registry_s_words(edge: Edge) -> None:
    answer = ask(edge.tls_port, to_request(MANIFEST), wrap=_wrap)
    assert (answer.status, answer.code) == (403, "DENIED")
    assert b"errors" not in ask(edge.tls_port, to_request("/acme/"), wrap=_wrap).body


# 32 KB.


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", MANIFEST),
        ("PUT", MANIFEST),
        ("POST", "/v2/acme/api/blobs/uploads/"),
        ("GET", "/auth/token"),
        ("GET", "/acme/"),
    ],
)
def test_a_token_of_32_kilobytes_passes(edge: Edge, method: str, target: str) -> None:
    edge.upstream.asked.clear()
    token = f"Authorization: Bearer {32 * KILOBYTE * 'x'}\r\nContent-Length: 0\r\n"
    assert ask(edge.port, to_request(target, token, method)).status == 200
    (asked,) = edge.upstream.asked
    assert asked.line == f"{method} {target} HTTP/1.1"
    assert len(str(asked.head)) > 32 * KILOBYTE


def test_an_address_of_32_kilobytes_passes(edge: Edge) -> None:
    query = "&".join(f"scope=repository:acme/{n:0>200}:pull,push" for n in range(135))
    assert len(query) > 30 * KILOBYTE
    assert ask(edge.port, to_request(f"/auth/token?{query}")).status == 200


# A registry elsewhere.


@dataclass(frozen=True)
class _Elsewhere:
    """An edge before a registry over TLS and below a path; gate and site are plain."""

    port: int
    registry: Upstream
    gate: Upstream


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Elsewhere]:
    if "nginx" in find_missing():
        skip_or_fail("Debian's nginx")
    folder = tmp_path_factory.mktemp("elsewhere")
    files = make_certificates(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    registry, gate = Upstream(context), Upstream()
    (port,) = find_free_ports(1)
    command = edge_command(
        folder,
        Ports(port, gate.port, gate.port, registry.port),
        f"https://localhost:{registry.port}/artifactory",
        ca_file=files.authority,
    )
    part = Part(command, folder / "edge.out", is_ready=lambda: is_open(port))
    try:
        part.start()
        yield _Elsewhere(port, registry, gate)
    finally:
        part.stop()
        registry.close()
        gate.close()


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v2/"),
        ("GET", MANIFEST),
        ("GET", f"{MANIFEST}?a=b%20c"),
        ("GET", "/v2/acme/api/blobs/sha256:aa"),
        ("POST", "/v2/acme/api/blobs/uploads/?mount=a&from=b/c"),
        ("PATCH", "/v2/acme/api/blobs/uploads/an-upload?_state=a/b=="),
    ],
)
def test_a_registry_below_a_path_is_asked_over_tls_by_its_own_name(
    elsewhere: _Elsewhere, method: str, target: str
) -> None:
    elsewhere.registry.asked.clear()
    elsewhere.gate.asked.clear()
    ask(elsewhere.port, to_request(target, method=method))
    (asked,) = elsewhere.registry.asked
    assert asked.line == f"{method} /artifactory{target} HTTP/1.1"
    assert asked.head["Host"] == f"localhost:{elsewhere.registry.port}"
    assert elsewhere.gate.asked == []


@pytest.mark.parametrize(("method", "target"), [("PUT", MANIFEST), ("GET", "/acme/settings/")])
def test_gate_and_site_know_nothing_of_the_registrys_path(
    elsewhere: _Elsewhere, method: str, target: str
) -> None:
    elsewhere.registry.asked.clear()
    elsewhere.gate.asked.clear()
    ask(elsewhere.port, to_request(target, method=method))
    (asked,) = elsewhere.gate.asked
    assert asked.line == f"{method} {target} HTTP/1.1"
    assert asked.head["Host"] != f"localhost:{elsewhere.registry.port}"
    assert elsewhere.registry.asked == []


UPLOAD = "/v2/acme/api/blobs/uploads/an-upload?_state=a/b=="


@pytest.mark.parametrize(
    ("location", "told"),
    [
        (f"https://registry.internal/artifactory{UPLOAD}", UPLOAD),
        (f"http://registry.internal:5000{UPLOAD}", UPLOAD),
        (f"/artifactory{UPLOAD}", UPLOAD),
        (UPLOAD, UPLOAD),
        # Of a repository that is named like a path of the registry.
        ("http://r/v2/acme/v2/x/blobs/uploads/1", "/v2/acme/v2/x/blobs/uploads/1"),
        # A storage of blobs, and a registry that continues uploads in a place of its own.
        ("https://storage.example/v2/blobs/sha256:aa?X=1", None),
        ("https://registry.example/artifacts-uploads/1", None),
    ],
)
def test_where_an_upload_goes_on_leads_through_the_edge(
    edge: Edge, elsewhere: _Elsewhere, location: str, told: str | None
) -> None:
    query = urlencode({"location": location})
    for port in (edge.port, elsewhere.port):
        answer = ask(port, to_request(f"/v2/acme/api/blobs/uploads/?{query}", method="POST"))
        assert f"\r\nlocation: {told or location}\r\n".lower() in f"{answer.head}\r\n".lower()


def test_debian_s_registry_takes_a_token_of_75_repositories(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for program in find_missing():
        skip_or_fail(f"Debian's {program}")
    port, registry_port, closed = find_free_ports(3)
    keys, url = OwnKeys(), f"http://127.0.0.1:{registry_port}"
    parts = [
        Part(
            registry_command(tmp_path, registry_port, bundle_of(keys), f"http://127.0.0.1:{port}"),
            tmp_path / "registry.out",
            is_ready=lambda: is_answering(f"{url}/v2/"),
        ),
        Part(
            edge_command(tmp_path, Ports(port, closed, closed, registry_port), url),
            tmp_path / "edge.out",
            is_ready=lambda: is_open(port),
        ),
    ]
    names = [f"acme/{'long-' * 40}{number}" for number in range(75)]
    access = [repository_access(name, "pull", "push") for name in names]
    token = sign_token(keys.find_signing_key(), TAGLOCK, access, int(time.time()))
    assert 16 * KILOBYTE < len(token) < 32 * KILOBYTE
    try:
        for part in parts:
            part.start()
        wait_until(lambda: is_open(port))
        head = f"Authorization: Bearer {token}\r\n"
        answer = ask(port, to_request(f"/v2/{names[-1]}/tags/list", head))
        assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")
    finally:
        for part in parts:
            part.stop()

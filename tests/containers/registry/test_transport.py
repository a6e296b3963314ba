"""Connections under one total deadline: over TLS, to several addresses, idle, without threads."""

import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containers.names import RepositoryName, TagName
from containers.registry.client import RegistryClient, RegistryUnavailableError
from containers.registry.manifest import MAX_MANIFEST_BYTES
from packages_site.local import find_free_ports
from tests.containers.registry.servers import Server
from tests.services.certificates import make_certificate
from workspaces import transport
from workspaces.transport import Deadline

pytestmark = pytest.mark.slow

API, V1 = RepositoryName("acme/api"), TagName("v1")
DEADLINE_SECONDS = 0.6
GRACE_SECONDS = 1.4
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
SOME = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What a server of the test's own speaks, with a certificate that this process trusts."""
    certificate, key = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def _client(server: Server) -> RegistryClient:
    return RegistryClient(server.url)


def _put(client: RegistryClient, body: bytes = b"{}") -> int:
    return client.put_manifest(API, V1, body, "application/json").status


def test_a_call_starts_no_thread(serve: Callable[..., Server]) -> None:
    before, during = set(threading.enumerate()), set[threading.Thread]()

    def reply(connection: socket.socket) -> None:
        during.update(threading.enumerate())
        connection.sendall(CREATED)

    server = serve(reply)
    assert _put(_client(server)) == 201
    # The names of the server's own say so.
    assert [
        each for each in during - before if "_talk" not in each.name and "_serve" not in each.name
    ] == []


# TLS.


def test_a_registry_may_speak_tls(serve: Callable[..., Server], tls: ssl.SSLContext) -> None:
    server = serve(CREATED, tls=tls, is_kept_open=True)
    client = _client(server)
    body = bytes(range(256)) * (MAX_MANIFEST_BYTES // 256)
    assert [_put(client, each) for each in (b"{}", body, b"{}")] == [201, 201, 201]
    assert server.connections == 1
    sent = server.requests[1].partition(b"\r\n\r\n")[2]
    assert hashlib.sha256(sent).digest() == hashlib.sha256(body).digest()


def test_a_certificate_that_nobody_vouches_for_is_no_answer(
    serve: Callable[..., Server], tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    server = serve(CREATED, tls=tls)
    with pytest.raises(RegistryUnavailableError, match="certificate") as caught:
        _put(_client(server))
    assert caught.value.cause == "the registry's TLS certificate is not trusted"
    assert not caught.value.was_sent
    assert server.requests == []


@pytest.mark.parametrize(
    "prefix", [b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", b"HTTP/1.1 2"]
)
def test_an_answer_that_dribbles_over_tls_ends_at_the_deadline(
    serve: Callable[..., Server], tls: ssl.SSLContext, prefix: bytes
) -> None:
    def dribble(connection: socket.socket) -> None:
        connection.sendall(prefix)
        for _ in range(40):
            time.sleep(DEADLINE_SECONDS / 6)
            connection.sendall(b"x")

    server = serve(dribble, tls=tls)
    _assert_given_up(RegistryClient(server.url, DEADLINE_SECONDS))


def test_a_handshake_that_does_not_end_is_given_up(serve: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _assert_given_up(
            RegistryClient(f"https://127.0.0.1:{listener.getsockname()[1]}", DEADLINE_SECONDS)
        )


def test_a_registry_that_does_not_read_over_tls_is_given_up(
    serve: Callable[..., Server], tls: ssl.SSLContext
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client = RegistryClient(f"https://127.0.0.1:{listener.getsockname()[1]}", DEADLINE_SECONDS)
        threading.Thread(target=_shake_hands, args=(listener, tls), daemon=True).start()
        started = time.monotonic()
        with pytest.raises(RegistryUnavailableError):
            _put(client, b"x" * 3 * MAX_MANIFEST_BYTES)
        assert time.monotonic() - started < DEADLINE_SECONDS + GRACE_SECONDS


def _shake_hands(listener: socket.socket, tls: ssl.SSLContext) -> None:
    connection, _ = listener.accept()
    with tls.wrap_socket(connection, server_side=True):
        time.sleep(DEADLINE_SECONDS + GRACE_SECONDS)


def _assert_given_up(client: RegistryClient) -> None:
    started = time.monotonic()
    with pytest.raises(RegistryUnavailableError):
        client.get_manifest(API, V1)
    assert time.monotonic() - started < DEADLINE_SECONDS + GRACE_SECONDS


# Connecting.


def test_a_registry_that_does_not_accept_is_given_up() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # Those whom nobody accepts fill the queue; further ones wait.
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        try:
            _assert_given_up(
                RegistryClient(f"http://127.0.0.1:{listener.getsockname()[1]}", DEADLINE_SECONDS)
            )
        finally:
            for each in waiting:
                each.close()


def test_another_address_of_the_name_is_tried(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(SOME)
    (closed,) = find_free_ports(1)
    port = int(server.url.rpartition(":")[2])

    def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
        assert host == "registry.example"
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", each))
            for each in (closed, port)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    client = RegistryClient("http://registry.example:5000")
    assert client.get_manifest(API, V1).body == b"abc"


def test_a_connection_that_was_idle_for_long_is_not_used_again(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(CREATED, is_kept_open=True)
    client = _client(server)
    assert _put(client) == 201
    assert _put(client) == 201
    assert server.connections == 1
    monkeypatch.setattr(transport, "MAX_IDLE_SECONDS", 0.0)
    assert _put(client) == 201
    assert server.connections == 2


# Deadlines.


def test_a_deadline_within_another_ends_with_the_outer_one(serve: Callable[..., Server]) -> None:
    """Several calls may have one deadline together."""

    def reply(connection: socket.socket) -> None:
        time.sleep(DEADLINE_SECONDS * 0.7)
        connection.sendall(SOME)

    client = _client(serve(reply, is_kept_open=True))
    started = time.monotonic()
    with Deadline(DEADLINE_SECONDS):
        client.get_manifest(API, V1)
        with pytest.raises(RegistryUnavailableError):
            client.get_manifest(API, V1)
    assert time.monotonic() - started < DEADLINE_SECONDS + GRACE_SECONDS
    assert client.get_manifest(API, V1).body == b"abc"


def test_threads_have_deadlines_of_their_own(serve: Callable[..., Server]) -> None:
    def reply(connection: socket.socket) -> None:
        time.sleep(DEADLINE_SECONDS)
        connection.sendall(SOME)

    client = _client(serve(reply))
    bodies: list[bytes] = []
    patient = threading.Thread(target=lambda: bodies.append(client.get_manifest(API, V1).body))
    with Deadline(0.1):
        patient.start()
        with pytest.raises(RegistryUnavailableError):
            client.get_manifest(API, V1)
    patient.join(10)
    assert bodies == [b"abc"]

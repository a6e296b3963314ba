"""The registry's client against small servers: whole answers, and everything that is none."""

import hashlib
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from containers.names import Digest, RepositoryName, TagName
from containers.registry.client import RegistryAnswer, RegistryClient, RegistryUnavailableError
from containers.registry.manifest import MANIFEST_MEDIA_TYPES, MAX_MANIFEST_BYTES
from containers.tokens.grants import ResourceAccess
from tests.conftest import AA
from tests.containers.registry.servers import Reply, Server

API = RepositoryName("acme/api")
V1 = TagName("v1")
# Of tests of the deadline alone: elsewhere a busy machine may take its time.
DEADLINE_SECONDS = 0.6
# What a slow machine may add to the deadline before a test calls it overrun.
GRACE_SECONDS = 1.4
CREATED = b"HTTP/1.1 201 Created\r\nDocker-Content-Digest: sha256:aa\r\nContent-Length: 0\r\n\r\n"


def _client(server: Server, path: str = "") -> RegistryClient:
    return RegistryClient(server.url + path)


def _put(client: RegistryClient, body: bytes = b"{}", **more: Any) -> RegistryAnswer:
    return client.put_manifest(API, V1, body, "application/json", **more)


# Whole answers.


def test_a_whole_answer_comes_back_as_it_is(serve: Callable[..., Server]) -> None:
    body = b"\x1f\x8b not gzip at all \x00\xff"
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nContent-Encoding: gzip\r\n"
        f"docker-content-digest: {AA}\r\nOCI-Tag: a\r\nOCI-Tag: b\r\n\r\n"
    )
    server = serve(head.encode() + body)
    answer = _client(server).get_manifest(API, V1)
    assert (answer.status, answer.body, answer.digest) == (200, body, AA)
    assert answer.headers["oci-tag"] == "a, b"


def test_a_chunked_answer_is_put_together(serve: Callable[..., Server]) -> None:
    server = serve(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert _client(server).get_manifest(API, V1).body == b"abcde"


def test_an_answer_that_ends_with_the_connection_may_be_half(
    serve: Callable[..., Server],
) -> None:
    """Without a length nobody can tell the whole body, or even all headers, from a part."""
    server = serve(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\nabc")
    with pytest.raises(RegistryUnavailableError):
        _client(server).get_manifest(API, V1)


def test_a_manifest_is_asked_for_in_every_form(serve: Callable[..., Server]) -> None:
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    _client(server).get_manifest(API, Digest(AA))
    head = server.requests[0].decode()
    assert head.startswith(f"GET /v2/acme/api/manifests/{AA} HTTP/1.1\r\n")
    assert all(media_type in head for media_type in MANIFEST_MEDIA_TYPES)
    assert "accept-encoding: identity" in head.lower() or "accept-encoding" not in head.lower()


CALLS: list[tuple[Callable[[RegistryClient], Any], tuple[str, str, tuple[str, ...]]]] = [
    (lambda client: client.get_manifest(API, V1), ("repository", "acme/api", ("pull",))),
    (lambda client: client.ask_manifest(API, V1), ("repository", "acme/api", ("pull",))),
    (lambda client: client.list_tags(API, 10), ("repository", "acme/api", ("pull",))),
    (lambda client: client.page_tags(API), ("repository", "acme/api", ("pull",))),
    (lambda client: client.page_repositories(), ("registry", "catalog", ("*",))),
    (_put, ("repository", "acme/api", ("pull", "push"))),
    (lambda client: client.delete_manifest(API, V1), ("repository", "acme/api", ("delete",))),
]


@pytest.mark.parametrize(("call", "needed"), CALLS)
def test_each_call_is_authorized_for_what_it_needs_and_no_more(
    serve: Callable[..., Server],
    call: Callable[[RegistryClient], Any],
    needed: tuple[str, str, tuple[str, ...]],
) -> None:
    server = serve(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    asked: list[tuple[str, str, tuple[str, ...]]] = []

    def authorize(access: ResourceAccess) -> str:
        asked.append((access.type, access.name, access.actions))
        return "Bearer of-our-own"

    client = RegistryClient(server.url, authorize=authorize)
    with suppress(RegistryUnavailableError):
        call(client)
    assert asked == [needed]
    assert b"\r\nAuthorization: Bearer of-our-own\r\n" in server.requests[0]


def test_body_and_media_type_go_out_unchanged(serve: Callable[..., Server]) -> None:
    server = serve(CREATED)
    body = b"\xef\xbb\xbf{ }\r\n\r\n\x00\xff"
    media_type = "Application/X-Own+json;  charset=UTF-8"
    _client(server).put_manifest(API, V1, body, media_type)
    head, _, sent = server.requests[0].partition(b"\r\n\r\n")
    assert sent == body
    assert f"\r\nContent-Type: {media_type}\r\n".encode() in head + b"\r\n"
    assert f"\r\ncontent-length: {len(body)}\r\n".encode() in head.lower() + b"\r\n"


def test_the_largest_manifest_goes_out_whole(serve: Callable[..., Server]) -> None:
    server = serve(CREATED)
    body = bytes(range(256)) * (MAX_MANIFEST_BYTES // 256)
    client = RegistryClient(server.url)
    assert _put(client, body).status == 201
    sent = server.requests[0].partition(b"\r\n\r\n")[2]
    assert hashlib.sha256(sent).digest() == hashlib.sha256(body).digest()


def test_tags_go_into_the_query_of_a_push_by_digest(serve: Callable[..., Server]) -> None:
    server = serve(CREATED)
    _client(server).put_manifest(API, Digest(AA), b"{}", "x/y", (TagName("a"), TagName("b")))
    line = server.requests[0].partition(b"\r\n")[0].decode()
    assert line == f"PUT /v2/acme/api/manifests/{AA}?tag=a&tag=b HTTP/1.1"


@pytest.mark.parametrize("path", ["/below/here", "/below/here/"])
def test_a_registry_may_stand_below_a_path(serve: Callable[..., Server], path: str) -> None:
    server = serve(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
    assert _client(server, path).delete_manifest(API, V1).status == 202
    assert server.requests[0].startswith(
        b"DELETE /below/here/v2/acme/api/manifests/v1 HTTP/1.1\r\n"
    )


def test_a_connection_is_used_again(serve: Callable[..., Server]) -> None:
    server = serve(CREATED, is_kept_open=True)
    client = _client(server)
    for _ in range(3):
        assert _put(client).status == 201
    assert server.connections == 1


def test_a_connection_that_the_registry_closed_meanwhile_is_not(
    serve: Callable[..., Server],
) -> None:
    server = serve(CREATED)
    client = _client(server)
    for _ in range(3):
        assert _put(client).status == 201
        time.sleep(0.05)
    assert len(server.requests) == 3


# Nothing is sent twice.


@pytest.mark.parametrize("status", [301, 302, 307, 308, 408, 425, 429, 500, 502, 503, 504])
def test_no_status_makes_it_send_again_or_elsewhere(
    serve: Callable[..., Server], status: int
) -> None:
    elsewhere = serve(CREATED)
    server = serve(
        f"HTTP/1.1 {status} X\r\nLocation: {elsewhere.url}/x\r\nRetry-After: 0\r\n"
        "Content-Length: 0\r\n\r\n".encode(),
        is_kept_open=True,
    )
    client = _client(server)
    answers = [_put(client), client.get_manifest(API, V1), client.delete_manifest(API, V1)]
    assert {answer.status for answer in answers} == {status}
    assert not any(answer.is_success or answer.is_refusal for answer in answers)
    assert len(server.requests) == 3
    assert elsewhere.requests == []


BROKEN = [
    pytest.param(b"", id="closed without an answer"),
    pytest.param(b"HTTP/1.1 201", id="half a status line"),
    pytest.param(b"nonsense\r\n\r\n", id="no HTTP"),
    pytest.param(b"HTTP/1.1 201 Created\r\nContent-Le", id="half the headers of a 201"),
    pytest.param(b"HTTP/1.1 400 Bad\r\nContent-Type: text/plain\r\n", id="no end of the headers"),
    pytest.param(b"HTTP/1.1 400 Bad\r\nContent-Length: 9\r\n\r\nhalf", id="half a body"),
    pytest.param(b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n", id="no body"),
    pytest.param(
        b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", id="half a chunk"
    ),
    pytest.param(
        b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", id="no last chunk"
    ),
    pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="no chunk"),
]


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_half_an_answer_is_none_and_nothing_is_sent_again(
    serve: Callable[..., Server], broken: bytes, method: str
) -> None:
    server = serve(broken)
    client = _client(server)
    calls = {
        "GET": lambda: client.get_manifest(API, V1),
        "PUT": lambda: _put(client),
        "DELETE": lambda: client.delete_manifest(API, V1),
    }
    with pytest.raises(RegistryUnavailableError):
        calls[method]()
    time.sleep(0.05)
    assert len(server.requests) == 1


def test_a_connection_reset_is_no_answer(serve: Callable[..., Server]) -> None:
    def reset(connection: socket.socket) -> None:
        # A linger time of zero makes the close a reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    server = serve(reset)
    with pytest.raises(RegistryUnavailableError) as caught:
        _put(_client(server))
    assert len(server.requests) == 1
    assert caught.value.cause == "the registry gave no complete answer"
    assert caught.value.was_sent


def test_a_refused_connection_is_no_answer() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        client = RegistryClient(f"http://127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(RegistryUnavailableError, match=r"PUT.*refused") as caught:
            _put(client)
    assert caught.value.cause == "the registry cannot be reached"
    assert not caught.value.was_sent


def test_an_unknown_host_is_no_answer() -> None:
    with pytest.raises(RegistryUnavailableError, match=r"registry\.invalid") as caught:
        _put(RegistryClient("http://registry.invalid:5000"))
    assert caught.value.cause == "the registry cannot be reached"
    assert not caught.value.was_sent


@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_answer_too_large_is_given_up(serve: Callable[..., Server], *, is_chunked: bool) -> None:
    def flood(connection: socket.socket) -> None:
        framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: 67108864"
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        megabyte = 1024 * 1024 * b"x"
        for _ in range(64):
            connection.sendall(b"100000\r\n" + megabyte + b"\r\n" if is_chunked else megabyte)

    client = RegistryClient(serve(flood).url, deadline_seconds=60)
    with pytest.raises(RegistryUnavailableError, match="too large"):
        client.get_manifest(API, V1)


def test_a_broken_answer_does_not_spoil_the_next(serve: Callable[..., Server]) -> None:
    replies = [b"HTTP/1.1 400 Bad\r\nContent-Length: 9\r\n\r\nhalf", CREATED]
    server = serve(lambda connection: connection.sendall(replies.pop(0)))
    client = _client(server)
    with pytest.raises(RegistryUnavailableError):
        _put(client)
    assert _put(client).status == 201


# One total deadline.


def _dribble(prefix: bytes) -> Reply:
    """Send `prefix`, then one byte at a time, each well within the deadline."""

    def dribble(connection: socket.socket) -> None:
        connection.sendall(prefix)
        ends_at = time.monotonic() + 4 * (DEADLINE_SECONDS + GRACE_SECONDS)
        while time.monotonic() < ends_at:
            connection.sendall(b"x")
            time.sleep(DEADLINE_SECONDS / 6)

    return dribble


def _stall(prefix: bytes) -> Reply:
    """Send `prefix` just before the deadline, then nothing."""

    def stall(connection: socket.socket) -> None:
        time.sleep(DEADLINE_SECONDS * 0.8)
        connection.sendall(prefix)
        time.sleep(2 * (DEADLINE_SECONDS + GRACE_SECONDS))

    return stall


SLOW = [
    pytest.param(_dribble(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n"), id="body"),
    pytest.param(
        _dribble(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2710\r\n"), id="chunk"
    ),
    pytest.param(_dribble(b"HTTP/1.1 200 OK\r\nX: "), id="header"),
    pytest.param(_dribble(b"HTTP/1.1 200 "), id="status line"),
    pytest.param(lambda connection: time.sleep(4), id="silence"),
    pytest.param(_stall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), id="late stall"),
]


@pytest.mark.slow
@pytest.mark.parametrize("slow", SLOW)
def test_a_call_ends_at_its_deadline_however_slowly_the_answer_comes(
    serve: Callable[..., Server], slow: Reply
) -> None:
    server = serve(slow)
    started = time.monotonic()
    with pytest.raises(RegistryUnavailableError):
        RegistryClient(server.url, DEADLINE_SECONDS).get_manifest(API, V1)
    assert time.monotonic() - started < DEADLINE_SECONDS + GRACE_SECONDS
    assert len(server.requests) <= 1


@pytest.mark.slow
def test_the_wait_after_a_late_byte_is_not_a_whole_deadline_again(
    serve: Callable[..., Server],
) -> None:
    """The lease of a write is counted in deadlines: a sender at work must stay within it."""
    deadline_seconds = 1.5

    def stall(connection: socket.socket) -> None:
        time.sleep(deadline_seconds * 0.9)
        connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\nhalf")
        time.sleep(2 * deadline_seconds)

    client = RegistryClient(serve(stall).url, deadline_seconds=deadline_seconds)
    started = time.monotonic()
    with pytest.raises(RegistryUnavailableError):
        _put(client)
    assert time.monotonic() - started < 1.5 * deadline_seconds


@pytest.mark.slow
def test_a_registry_that_does_not_read_is_given_up(serve: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        client = RegistryClient(address, deadline_seconds=DEADLINE_SECONDS)
        started = time.monotonic()
        with pytest.raises(RegistryUnavailableError):
            _put(client, b"x" * 3 * MAX_MANIFEST_BYTES)
        assert time.monotonic() - started < DEADLINE_SECONDS + GRACE_SECONDS


# What an answer says.


@pytest.mark.parametrize(
    ("status", "is_success", "is_refusal"),
    [
        (200, True, False),
        (201, True, False),
        (202, True, False),
        (299, True, False),
        (301, False, False),
        (304, False, False),
        (307, False, False),
        (400, False, True),
        (401, False, False),
        (403, False, True),
        (404, False, True),
        (405, False, True),
        (408, False, False),
        (409, False, True),
        (413, False, True),
        (425, False, False),
        (429, False, False),
        (499, False, True),
        (500, False, False),
        (503, False, False),
        (599, False, False),
    ],
)
def test_a_status_is_a_success_a_refusal_or_neither(
    status: int, *, is_success: bool, is_refusal: bool
) -> None:
    answer = RegistryAnswer(status)
    assert (answer.is_success, answer.is_refusal) == (is_success, is_refusal)


@pytest.mark.parametrize(
    ("status", "body", "is_absent"),
    [
        (404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', True),
        (404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"m","detail":{}}]}', True),
        (404, b'{"errors":[{"code":"DENIED"},{"code":"NAME_UNKNOWN"}]}', True),
        (404, b'{"errors":[{"code":"BLOB_UNKNOWN"}]}', False),
        (404, b'{"errors":[{"code":"manifest_unknown"}]}', False),
        (404, b"", False),
        (404, b"<html>404</html>", False),
        (404, b"{}", False),
        (404, b"[]", False),
        (404, b"null", False),
        (404, b'"errors"', False),
        (404, b'{"errors":null}', False),
        (404, b'{"errors":"MANIFEST_UNKNOWN"}', False),
        (404, b'{"errors":{"code":"MANIFEST_UNKNOWN"}}', False),
        (404, b'{"errors":["MANIFEST_UNKNOWN"]}', False),
        (404, b'{"errors":[{"message":"MANIFEST_UNKNOWN"}]}', False),
        (404, b'{"errors":[{"code":["MANIFEST_UNKNOWN"]}]}', False),
        (404, b'{"errors":[{"code":null}]}', False),
        (404, b"\xff\xfe", False),
        (404, 50_000 * b"[", False),
        (200, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', False),
        (403, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', False),
        (500, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', False),
    ],
)
def test_only_a_404_with_a_code_of_the_spec_says_absent(
    status: int, body: bytes, *, is_absent: bool
) -> None:
    assert RegistryAnswer(status, {}, body).is_absent is is_absent

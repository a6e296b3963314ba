"""What the client makes of answers: long ones, reasons, and manifests as typed values."""

import hashlib
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from containers.names import Digest, RepositoryName, TagName
from containers.registry.client import (
    MAX_REASON_LENGTH,
    Descriptor,
    FetchedManifest,
    RegistryAnswer,
    RegistryClient,
    RegistryUnavailableError,
    UnreadableError,
    registry_reason,
)
from containers.registry.manifest import MAX_MANIFEST_BYTES
from tests.conftest import AA, BB
from tests.containers.registry.conftest import BareRegistry
from tests.containers.registry.servers import Server
from tests.services.registry_user import IMAGE_TYPE, INDEX_TYPE, digest_of, make_index

API, V1 = RepositoryName("acme/api"), TagName("v1")
DEADLINE_SECONDS = 0.6
GRACE_SECONDS = 1.4
MEGABYTE = 1024 * 1024


def _client(server: Server) -> RegistryClient:
    return RegistryClient(server.url)


def _put(client: RegistryClient) -> RegistryAnswer:
    return client.put_manifest(API, V1, b"{}", "application/json")


def _answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


# Long answers: the status decides.


def _flood(status: int, megabytes: int, *, is_chunked: bool = False) -> Callable[[Any], None]:
    def flood(connection: socket.socket) -> None:
        length = f"Content-Length: {megabytes * MEGABYTE}"
        framing = "Transfer-Encoding: chunked" if is_chunked else length
        connection.sendall(f"HTTP/1.1 {status} X\r\n{framing}\r\n\r\n".encode())
        for _ in range(megabytes):
            piece = MEGABYTE * b"x"
            connection.sendall(b"100000\r\n" + piece + b"\r\n" if is_chunked else piece)
        connection.sendall(b"0\r\n\r\n" if is_chunked else b"")

    return flood


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("status", [400, 404, 413, 500, 201])
def test_a_whole_answer_counts_however_long_it_is(
    serve: Callable[..., Server], status: int, *, is_chunked: bool
) -> None:
    server = serve(_flood(status, 20, is_chunked=is_chunked), is_kept_open=True)
    client = _client(server)
    answers = [_put(client), client.delete_manifest(API, V1)]
    for answer in answers:
        assert answer == RegistryAnswer(status, answer.headers, b"", is_body_dropped=True)
        assert answer.is_refusal is (400 <= status < 500)
        assert answer.is_success is (status == 201)
        assert not answer.is_absent
        assert answer.reason == f"the registry answered {status}"
    assert server.connections == 1


def test_a_long_refusal_of_a_read_counts_too(serve: Callable[..., Server]) -> None:
    assert _client(serve(_flood(403, 6))).get_manifest(API, V1).is_refusal


@pytest.mark.parametrize("size", [MAX_MANIFEST_BYTES, MAX_MANIFEST_BYTES + 64 * 1024])
def test_a_long_answer_that_may_be_a_manifest_is_kept(
    serve: Callable[..., Server], size: int
) -> None:
    answer = _client(serve(_answer(400, size * b"x"))).get_manifest(API, V1)
    assert (len(answer.body), answer.is_body_dropped) == (size, False)


def test_a_long_refusal_that_does_not_end_is_no_answer(serve: Callable[..., Server]) -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 400 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        ends_at = time.monotonic() + 10 * DEADLINE_SECONDS
        while time.monotonic() < ends_at:
            connection.sendall(b"100000\r\n" + MEGABYTE * b"x" + b"\r\n")

    started = time.monotonic()
    with pytest.raises(RegistryUnavailableError):
        _put(RegistryClient(serve(flood).url, DEADLINE_SECONDS))
    assert time.monotonic() - started < DEADLINE_SECONDS + GRACE_SECONDS


def test_a_long_refusal_that_is_cut_short_is_no_answer(serve: Callable[..., Server]) -> None:
    body = 6 * MEGABYTE * b"x"
    with pytest.raises(RegistryUnavailableError):
        _put(_client(serve(_answer(400, body)[:-1])))


# Reasons.


def _errors(*errors: Any) -> bytes:
    return json.dumps({"errors": errors}).encode()


UNKNOWN_BLOB = {"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry"}
UNKNOWN = {"code": "UNKNOWN", "message": "unknown error", "detail": {"a": 1}}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", ""),
        (b"<html>502 Bad Gateway</html>", ""),
        (b"null", ""),
        (b"[]", ""),
        (b'{"errors":null}', ""),
        (b'{"errors":[]}', ""),
        (b'{"errors":"x"}', ""),
        (b'{"errors":""}', ""),
        (b'{"errors":{}}', ""),
        (b'{"errors":{"code":"X"}}', ""),
        (b'{"errors":["x"]}', ""),
        (b'{"errors":[{}]}', ""),
        (b'{"errors":[{"code":5,"message":["x"],"detail":null}]}', ""),
        (200_000 * b"[", ""),
        (b'{"errors":[{"message":"\xff"}]}', ""),
        (_errors(UNKNOWN_BLOB), " (MANIFEST_BLOB_UNKNOWN: blob unknown to registry)"),
        (
            _errors(UNKNOWN_BLOB | {"detail": AA}),
            f" (MANIFEST_BLOB_UNKNOWN: blob unknown to registry ({AA}))",
        ),
        (
            _errors(UNKNOWN, UNKNOWN, UNKNOWN_BLOB),
            " (MANIFEST_BLOB_UNKNOWN: blob unknown to registry)",
        ),
        (_errors(UNKNOWN, UNKNOWN), " (UNKNOWN: unknown error)"),
        (_errors({"message": "no code"}), " (no code)"),
        (_errors({"code": "ONLY"}), " (ONLY)"),
        (
            _errors(*({"code": code} for code in "ABCDE")),
            " (A; B; C)",
        ),
        (
            _errors({"message": "a\r\nSet-Cookie: x\0\x1b[31m\u2028\u202eb\ud800\x85 c"}),
            " (a Set-Cookie: x [31m b c)",
        ),
        (_errors({"code": "C", "message": 500 * "x"}), f" (C: {(MAX_REASON_LENGTH - 4) * 'x'}…)"),
    ],
    ids=lambda value: str(value[:40]),
)
def test_a_reason_is_one_plain_line(body: bytes, reason: str) -> None:
    for status in (400, 500, 503):
        text = f"the registry answered {status}{reason}"
        assert registry_reason(status, body) == text
        assert RegistryAnswer(status, {}, body).reason == text


def test_the_reasons_of_30_000_errors_are_bounded() -> None:
    body = _errors(*({**UNKNOWN_BLOB, "detail": f"sha256:{n:064}"} for n in range(30_000)))
    assert len(registry_reason(400, body)) <= MAX_REASON_LENGTH + len(
        "the registry answered 400 ()"
    )


# Manifests.

BODY = b'{"schemaVersion": 2}'
DIGEST = digest_of(BODY)
SHA512 = "sha512:" + hashlib.sha512(BODY).hexdigest()
HEADERS = (f"Docker-Content-Digest: {DIGEST}", f"Content-Type: {IMAGE_TYPE}")
ABSENT = b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'
JSON = "Content-Type: application/json; charset=utf-8"


class Scripted:
    """Answers GET and HEAD each in its own way; a HEAD's body is not sent."""

    def __init__(self, serve: Callable[..., Server], **answers: bytes) -> None:
        self._answers = answers
        self.server: Server = serve(self._reply, is_kept_open=True)

    @property
    def methods(self) -> list[str]:
        return [request.split(b" ", 1)[0].decode() for request in self.server.requests]

    def _reply(self, connection: socket.socket) -> None:
        method = self.methods[-1]
        answer = self._answers[method.lower()]
        connection.sendall(
            answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else answer
        )


def test_the_head_of_a_manifest_is_its_descriptor(serve: Callable[..., Server]) -> None:
    scripted = Scripted(serve, head=_answer(200, BODY, *HEADERS))
    descriptor = Descriptor(Digest(DIGEST), IMAGE_TYPE, len(BODY))
    for reference in (V1, Digest(DIGEST)):
        assert _client(scripted.server).head_manifest(API, reference) == descriptor
    assert scripted.methods == ["HEAD", "HEAD"]


@pytest.mark.parametrize("reference", [V1, Digest(DIGEST)])
def test_a_manifest_is_fetched_whole(
    serve: Callable[..., Server], reference: TagName | Digest
) -> None:
    scripted = Scripted(serve, get=_answer(200, BODY, *HEADERS))
    fetched = _client(scripted.server).fetch_manifest(API, reference)
    assert fetched == FetchedManifest(Descriptor(Digest(DIGEST), IMAGE_TYPE, len(BODY)), BODY)


@pytest.mark.parametrize("reference", [V1, Digest(DIGEST), Digest(SHA512)])
def test_without_a_digest_in_the_head_the_bytes_tell(
    serve: Callable[..., Server], reference: TagName | Digest
) -> None:
    """OCI's registries need not send Docker-Content-Digest."""
    plain = _answer(200, BODY, f"Content-Type: {IMAGE_TYPE}")
    scripted = Scripted(serve, head=plain, get=plain)
    client = _client(scripted.server)
    digest = reference if isinstance(reference, Digest) else Digest(DIGEST)
    descriptor = Descriptor(digest, IMAGE_TYPE, len(BODY))
    assert client.head_manifest(API, reference) == descriptor
    assert client.fetch_manifest(API, reference) == FetchedManifest(descriptor, BODY)


def test_absent_is_said_by_a_404_of_a_registry(serve: Callable[..., Server]) -> None:
    scripted = Scripted(serve, head=_answer(404, ABSENT, JSON), get=_answer(404, ABSENT, JSON))
    client = _client(scripted.server)
    assert client.head_manifest(API, V1) is None
    assert client.fetch_manifest(API, V1) is None
    assert scripted.methods == ["HEAD", "GET"]


@pytest.mark.parametrize(
    ("get", "is_absent"),
    [
        (_answer(404, ABSENT, JSON), True),
        (_answer(404, b"<html>", "Content-Type: text/html"), False),
        (_answer(404, b'{"errors":[{"code":"DENIED"}]}', JSON), False),
        (_answer(503, b"", JSON), False),
    ],
)
def test_a_404_without_a_sign_of_a_registry_is_asked_again_by_get(
    serve: Callable[..., Server], get: bytes, *, is_absent: bool
) -> None:
    scripted = Scripted(serve, head=_answer(404, b"<html>", "Content-Type: text/html"), get=get)
    client = _client(scripted.server)
    if is_absent:
        assert client.head_manifest(API, V1) is None
    else:
        with pytest.raises(RegistryUnavailableError, match="the registry answered"):
            client.head_manifest(API, V1)
    assert scripted.methods == ["HEAD", "GET"]


def test_a_registry_says_itself_what_it_cannot_read(serve: Callable[..., Server]) -> None:
    broken = _answer(500, b'{"errors":[{"code":"UNKNOWN","message":"unknown error"}]}', JSON)
    scripted = Scripted(serve, head=_answer(500, b"", JSON), get=broken)
    client = _client(scripted.server)
    for call in (client.head_manifest, client.fetch_manifest):
        for reference in (V1, Digest(DIGEST)):
            with pytest.raises(UnreadableError, match="the registry answered 500"):
                call(API, reference)


@pytest.mark.parametrize(
    "get",
    [
        _answer(500, b"<html>", "Content-Type: text/html"),
        _answer(500, b"", JSON),
        _answer(500, b'{"errors":[]}', JSON),
        _answer(502, b'{"errors":[{"code":"UNKNOWN"}]}', JSON),
        _answer(503, b'{"errors":[{"code":"UNKNOWN"}]}', JSON),
    ],
)
def test_what_another_says_in_its_place_is_no_answer(
    serve: Callable[..., Server], get: bytes
) -> None:
    client = _client(Scripted(serve, head=_answer(500, b"", JSON), get=get).server)
    with pytest.raises(RegistryUnavailableError) as raised:
        client.head_manifest(API, V1)
    assert not isinstance(raised.value, UnreadableError)


@pytest.mark.parametrize("status", [201, 204, 301, 307, 400, 401, 403, 429, 500, 503])
def test_any_other_answer_says_nothing(serve: Callable[..., Server], status: int) -> None:
    body = b"" if status == 204 else _errors(UNKNOWN_BLOB)
    scripted = Scripted(serve, head=_answer(status, body), get=_answer(status, body))
    client = _client(scripted.server)
    for call in (client.head_manifest, client.fetch_manifest):
        with pytest.raises(RegistryUnavailableError, match=f"the registry answered {status}"):
            call(API, V1)


@pytest.mark.parametrize(
    ("reference", "header"),
    [
        (V1, BB),
        (V1, "nonsense"),
        (V1, "sha256:aa"),
        (V1, "foo:" + 64 * "a"),
        (Digest(DIGEST), BB),
        (Digest(BB), BB),
        (Digest(BB), DIGEST),
    ],
)
def test_other_bytes_than_those_of_the_digest_are_no_answer(
    serve: Callable[..., Server], reference: TagName | Digest, header: str
) -> None:
    server = serve(_answer(200, BODY, f"Docker-Content-Digest: {header}"))
    with pytest.raises(RegistryUnavailableError):
        _client(server).fetch_manifest(API, reference)


def test_a_page_of_a_proxy_is_no_manifest(serve: Callable[..., Server]) -> None:
    page = _answer(200, b"<html>Please sign in</html>", "Content-Type: text/html")
    scripted = Scripted(serve, head=page, get=page)
    client = _client(scripted.server)
    for reference in (V1, Digest(DIGEST)):
        for call in (client.head_manifest, client.fetch_manifest):
            with pytest.raises(RegistryUnavailableError):
                call(API, reference)


def test_the_head_of_another_digest_is_no_answer(serve: Callable[..., Server]) -> None:
    scripted = Scripted(serve, head=_answer(200, BODY, *HEADERS))
    with pytest.raises(RegistryUnavailableError, match="when asked for"):
        _client(scripted.server).head_manifest(API, Digest(BB))


def test_both_calls_of_a_look_have_one_deadline(serve: Callable[..., Server]) -> None:
    def reply(connection: socket.socket) -> None:
        time.sleep(DEADLINE_SECONDS * 0.7)
        connection.sendall(_answer(404))

    client = RegistryClient(serve(reply, is_kept_open=True).url, DEADLINE_SECONDS)
    started = time.monotonic()
    with pytest.raises(RegistryUnavailableError):
        client.head_manifest(API, V1)
    assert time.monotonic() - started < DEADLINE_SECONDS + GRACE_SECONDS


# Real registries.


@pytest.mark.process
def test_manifests_of_a_real_registry(bare_registry: BareRegistry) -> None:
    repository, client = bare_registry.repository("acme/api"), bare_registry.client
    image, child = repository.make_image("one"), repository.make_image("child")
    assert repository.put(digest_of(child), child).status == 201
    index = make_index(child)
    for body, media_type in ((image, IMAGE_TYPE), (index, INDEX_TYPE)):
        reference = Digest(digest_of(body))
        assert client.head_manifest(API, reference) is None
        assert client.fetch_manifest(API, reference) is None
        assert client.put_manifest(API, reference, body, media_type).status == 201
        descriptor = Descriptor(reference, media_type, len(body))
        assert client.head_manifest(API, reference) == descriptor
        assert client.head_manifest(API, V1) is None
        answer = client.put_manifest(API, V1, body, media_type)
        assert (answer.status, answer.digest) == (201, reference.value)
        for each in (V1, reference):
            assert client.head_manifest(API, each) == descriptor
            assert client.fetch_manifest(API, each) == FetchedManifest(descriptor, body)
        assert client.delete_manifest(API, reference).status == 202
        for each in (V1, reference):
            assert client.head_manifest(API, each) is None
            assert client.fetch_manifest(API, each) is None
    assert client.head_manifest(RepositoryName("acme/nothing"), V1) is None


@pytest.mark.process
def test_the_reasons_of_a_real_registry(bare_registry: BareRegistry) -> None:
    client = bare_registry.client
    unknown = json.dumps(
        {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [{"digest": AA}]}
    ).encode()
    refused = client.put_manifest(API, V1, unknown, INDEX_TYPE)
    assert refused.is_refusal
    assert refused.reason == (
        f"the registry answered 400 (MANIFEST_BLOB_UNKNOWN: blob unknown to registry ({AA}))"
    )
    # It has a reason for each; of 30,000 they would be more than we read, and take it seconds.
    listed = [{"digest": f"sha256:{number:064}"} for number in range(1000)]
    many = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": listed}).encode()
    long = client.put_manifest(API, V1, many, INDEX_TYPE)
    assert (long.status, long.is_refusal, long.body.count(b"UNKNOWN")) == (400, True, 1000)
    foreign = {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": BB,
        "size": 1,
        "urls": ["https://elsewhere.example/layer"],
    }
    docker = "application/vnd.docker.distribution.manifest.v2+json"
    config = bare_registry.repository("acme/api").upload(b"{}")
    image = {"schemaVersion": 2, "mediaType": docker, "config": config, "layers": [foreign]}
    failed = client.put_manifest(API, V1, json.dumps(image).encode(), docker)
    assert (failed.status, failed.is_success, failed.is_refusal) == (500, False, False)
    assert "MANIFEST_BLOB_UNKNOWN: blob unknown to registry" in failed.reason

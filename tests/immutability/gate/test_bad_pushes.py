"""Pushes that are refused before anything is decided."""

import hashlib
import io
from typing import Any

import pytest

from tests.immutability.gate.upstream import (
    INDEX_TYPE,
    GateClient,
    Upstream,
    digest_of,
    error_of,
    image,
    message_of,
)
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

ONE, TWO = image("one"), image("two")


def test_a_digest_that_is_not_the_bodys_is_refused(
    acme: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    response = gate.push(digest_of(TWO), ONE, query="tag=v1")
    assert error_of(response) == (400, "DIGEST_INVALID")
    assert upstream.calls == []


def test_a_sha512_digest_is_checked_too(
    acme: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    right = "sha512:" + hashlib.sha512(ONE).hexdigest()
    assert gate.push(right, ONE).status_code == 201
    wrong = "sha512:" + hashlib.sha512(TWO).hexdigest()
    assert error_of(gate.push(wrong, ONE)) == (400, "DIGEST_INVALID")
    assert upstream.sent() == [right]


@pytest.mark.parametrize(
    "reference", ["md5:abc", "sha256:abc", "sha256:" + 64 * "A", "sha256:" + 64 * "a" + "b"]
)
def test_a_digest_that_cannot_be_checked_is_refused(
    acme: Workspace, gate: GateClient, upstream: Upstream, reference: str
) -> None:
    assert error_of(gate.push(reference, ONE)) == (400, "DIGEST_INVALID")
    assert upstream.calls == []


@pytest.mark.parametrize("length", ["", "-1", "many", "1, 1"])
def test_a_push_without_a_content_length_is_411(
    acme: Workspace, gate: GateClient, upstream: Upstream, length: str
) -> None:
    assert gate.push("v1", ONE, CONTENT_LENGTH=length).status_code == 411
    assert upstream.calls == []


def test_a_body_shorter_than_its_content_length_is_refused(
    acme: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    cut_off: Any = {"wsgi.input": io.BytesIO(ONE[:-1])}
    assert error_of(gate.push("v1", ONE, **cut_off)) == (400, "SIZE_INVALID")
    assert upstream.calls == []


def test_the_largest_manifest_passes_and_one_byte_more_is_413(
    acme: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    most = 4 * 1024 * 1024
    assert gate.push("v1", ONE.ljust(most)).status_code == 201
    upstream.calls.clear()
    assert error_of(gate.push("v1", b" " * (most + 1))) == (413, "SIZE_INVALID")
    assert upstream.calls == []


def test_an_index_that_the_registry_would_read_otherwise_is_refused(
    acme: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    """Registries in Go would take the second digest, and nobody would know of that child."""
    entry = f'{{"digest": "{digest_of(ONE)}", "dige\u017ft": "{digest_of(TWO)}"}}'
    body = f'{{"schemaVersion": 2, "manifests": [{entry}]}}'.encode()
    response = gate.push("v1", body, media_type=INDEX_TYPE)
    assert error_of(response) == (400, "MANIFEST_INVALID")
    assert 'write the key "dige\\u017ft" as "digest"' in message_of(response)
    assert upstream.calls == []


def test_docker_s_schema_1_is_refused(
    acme: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    """A registry would store another digest than that of the bytes."""
    response = gate.push("v1", b'{"schemaVersion": 1}', media_type="application/json")
    assert error_of(response) == (400, "MANIFEST_INVALID")
    assert upstream.calls == []


def test_a_media_type_too_long_to_keep_is_the_clients_mistake(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    response = gate.push("v1", ONE, media_type="application/" + 300 * "x")
    assert 400 <= response.status_code < 500
    assert upstream.sent() == []


@pytest.mark.parametrize("method", ["POST", "PATCH", "OPTIONS", "GET", "HEAD", "MKCOL"])
def test_other_methods_are_405(
    acme: Workspace, gate: GateClient, upstream: Upstream, method: str
) -> None:
    response = gate.call(method, "/v2/acme/api/manifests/v1", ONE)
    assert response.status_code == 405
    assert upstream.calls == []


@pytest.mark.parametrize(
    "path",
    [
        "/v2/",
        "/v2/acme",
        "/v2/acme/api",
        "/v2/acme/api/tags/list",
        "/v2/acme/api/manifests/a/b",
        "/v2/acme/api/blobs/sha256:" + 64 * "a",
    ],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_whatever_is_no_manifest_is_405_in_the_registrys_words(
    acme: Workspace, gate: GateClient, upstream: Upstream, method: str, path: str
) -> None:
    assert error_of(gate.call(method, path, ONE)) == (405, "UNSUPPORTED")
    assert upstream.calls == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/acme/api/manifests/", "NAME_INVALID"),
        ("/v2/acme/api/manifests/v1%0A", "NAME_INVALID"),
        ("/v2/acme/api/manifests/..", "NAME_INVALID"),
        ("/v2/acme//api/manifests/v1", "NAME_INVALID"),
        ("/v2/Acme/api/manifests/v1", "NAME_INVALID"),
        ("/v2/api/manifests/v1", "NAME_INVALID"),
        ("/v2/acme/../acme/api/manifests/v1", "NAME_INVALID"),
        ("/v2/acme/api%00/manifests/v1", "NAME_INVALID"),
        ("/v2/acme/api/manifests/sha256:a", "DIGEST_INVALID"),
        (f"/v2/acme/{256 * 'a'}/manifests/v1", "NAME_INVALID"),
    ],
)
def test_a_bad_address_is_400_in_the_registrys_words(
    acme: Workspace, gate: GateClient, upstream: Upstream, path: str, code: str
) -> None:
    assert error_of(gate.call("PUT", path, ONE)) == (400, code)
    assert upstream.calls == []


def test_without_a_registry_the_gate_says_so(
    acme: Workspace, gate: GateClient, upstream: Upstream, settings: Any
) -> None:
    settings.REGISTRY_URL = ""
    assert error_of(gate.push("v1", ONE)) == (404, "UNSUPPORTED")

"""Requests as they are read: what is refused before anything is decided, and what is passed in."""

import hashlib
import io
from typing import Any

import pytest

from immutability.policy.protection import Protection
from tests.immutability.core import Core, named
from tests.immutability.gate.client import GateClient, error_of, message_of
from tests.immutability.registry_double import INDEX_TYPE, answer, digest_of, image

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]

ONE, TWO = named("one", image("one")), named("two", image("two"))
MAX_BYTES = 4 * 1024 * 1024


def sha512_of(body: bytes) -> str:
    return "sha512:" + hashlib.sha512(body).hexdigest()


# ---- the address -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PATCH", "OPTIONS", "GET", "HEAD", "MKCOL"])
def test_other_methods_are_405(core: Core, gate: GateClient, method: str) -> None:
    assert gate.call(method, "/v2/acme/api/manifests/v1", ONE).status_code == 405
    assert core.registry.calls == []


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
def test_an_address_that_is_no_manifests_is_405(
    core: Core, gate: GateClient, method: str, path: str
) -> None:
    assert error_of(gate.call(method, path, ONE)) == (405, "UNSUPPORTED")
    assert core.registry.calls == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/acme/api/manifests/", "NAME_INVALID"),
        ("/v2/acme/api/manifests/v1%0A", "NAME_INVALID"),
        ("/v2/acme/api/manifests/..", "NAME_INVALID"),
        ("/v2/acme//api/manifests/v1", "NAME_INVALID"),
        ("/v2/Acme/api/manifests/v1", "NAME_INVALID"),
        ("/v2/acme/../acme/api/manifests/v1", "NAME_INVALID"),
        ("/v2/acme/api%00/manifests/v1", "NAME_INVALID"),
        ("/v2/acme/api/manifests/sha256:a", "DIGEST_INVALID"),
        (f"/v2/acme/{256 * 'a'}/manifests/v1", "NAME_INVALID"),
    ],
)
def test_a_bad_address_is_400(core: Core, gate: GateClient, path: str, code: str) -> None:
    assert error_of(gate.call("PUT", path, ONE)) == (400, code)
    assert core.registry.calls == []


@pytest.mark.parametrize("reference", ["v1", digest_of(ONE)])
@pytest.mark.parametrize("query", ["_method=DELETE&ref=latest&Tag=x&tag%5B%5D=y", "x=%00"])
def test_other_parts_of_the_query_are_not_read(
    core: Core, gate: GateClient, reference: str, query: str
) -> None:
    assert gate.push(reference, ONE, query=query).status_code == 201
    assert set(core.registry.tags) <= {"v1"}
    assert gate.delete("v2", query=query).status_code == 404


def test_tags_beside_a_tag_are_not_read(core: Core, gate: GateClient) -> None:
    assert gate.push("v1", ONE, query="tag=v2").status_code == 201
    assert core.registry.tags == {"v1": digest_of(ONE)}


def test_tags_in_the_query_are_pushed_each_once(core: Core, gate: GateClient) -> None:
    assert gate.push(digest_of(ONE), ONE, query="tag=b&tag=a&tag=b").status_code == 201
    assert core.registry.sent_by_tag == ["a", "b"]
    assert (core.lock("a"), core.lock("b")) == ("locked one", "locked one")


@pytest.mark.parametrize(
    "query",
    [
        "tag=",
        "tag=a&tag=",
        "tag=a%2Fb",
        "tag=a%0A",
        "tag=%00",
        "tag=a:b",
        "tag=-a",
        "tag=" + 129 * "a",
        "&".join(f"tag=t{number}" for number in range(101)),
        "&".join(f"tag=t{number}" for number in range(3000)),
        f"tag={64 * 'a'}&tag=%F0%9F%98%80",
    ],
    ids=lambda query: query[:20],
)
def test_bad_tags_in_the_query_are_400(core: Core, gate: GateClient, query: str) -> None:
    assert error_of(gate.push(digest_of(ONE), ONE, query=query)) == (400, "NAME_INVALID")
    assert core.registry.calls == []


# ---- the body --------------------------------------------------------------------------------


@pytest.mark.parametrize("length", ["", "-1", "many", "1, 1", "\u0663", 20 * "1"])
def test_a_push_without_a_content_length_is_411(core: Core, gate: GateClient, length: str) -> None:
    assert gate.push("v1", ONE, CONTENT_LENGTH=length).status_code == 411
    assert core.registry.calls == []


def test_a_body_shorter_than_its_content_length_is_400(core: Core, gate: GateClient) -> None:
    cut_off: Any = {"wsgi.input": io.BytesIO(ONE[:-1])}
    assert error_of(gate.push("v1", ONE, **cut_off)) == (400, "SIZE_INVALID")
    assert core.registry.calls == []


def test_the_largest_manifest_passes_and_one_byte_more_is_413(core: Core, gate: GateClient) -> None:
    refused = gate.push("v1", b" " * (MAX_BYTES + 1))
    assert error_of(refused) == (413, "SIZE_INVALID")
    request: Any = refused
    assert request.wsgi_request.read() == b""
    assert core.registry.calls == []
    assert gate.push("v1", ONE.ljust(MAX_BYTES)).status_code == 201


@pytest.mark.parametrize(
    ("body", "media_type", "words"),
    [
        # Registries in Go would take the second digest.
        (
            f'{{"schemaVersion": 2, "manifests": [{{"digest": "{digest_of(ONE)}", '
            f'"dige\u017ft": "{digest_of(TWO)}"}}]}}'.encode(),
            INDEX_TYPE,
            'write the key "dige\\u017ft" as "digest"',
        ),
        # A registry would store another digest than that of the bytes.
        (b'{"schemaVersion": 1}', "application/json", "schema 1 cannot be pushed"),
        (b"nonsense", INDEX_TYPE, "cannot be read"),
        (b"nonsense", "", "cannot be read"),
        (ONE, "application/" + 300 * "x", "Content-Type"),
        (ONE, "application/json\x85", "Content-Type"),
    ],
)
def test_a_manifest_that_no_registry_should_take_is_400(
    core: Core, gate: GateClient, body: bytes, media_type: str, words: str
) -> None:
    refused = gate.push("v1", body, media_type=media_type)
    assert error_of(refused) == (400, "MANIFEST_INVALID")
    assert words in message_of(refused)
    assert core.registry.calls == []


@pytest.mark.parametrize("reference", [sha512_of(ONE), digest_of(ONE)])
def test_a_digest_is_that_of_the_body(core: Core, gate: GateClient, reference: str) -> None:
    assert error_of(gate.push(reference, TWO, query="tag=v1")) == (400, "DIGEST_INVALID")
    assert core.registry.calls == []


def test_a_sha512_digest_names_no_tags(core: Core, gate: GateClient) -> None:
    refused = gate.push(sha512_of(ONE), ONE, query="tag=v1")
    assert error_of(refused) == (400, "DIGEST_INVALID")
    assert core.registry.calls == []
    assert gate.push(sha512_of(ONE), ONE).status_code == 201
    assert [str(call) for call in core.registry.calls] == [f"PUT {sha512_of(ONE)}"]


@pytest.mark.parametrize(
    "reference",
    ["md5:abc", "sha384:" + 96 * "a", "sha256:abc", "sha256:" + 64 * "A", "sha256:" + 65 * "a"],
)
def test_a_digest_that_cannot_be_checked_is_400(
    core: Core, gate: GateClient, reference: str
) -> None:
    assert error_of(gate.push(reference, ONE)) == (400, "DIGEST_INVALID")
    assert core.registry.calls == []


@pytest.mark.parametrize("protection", [Protection.ALL, Protection.NONE])
def test_bytes_and_media_type_reach_the_registry_as_they_came(
    core: Core, gate: GateClient, protection: Protection
) -> None:
    core.protect(protection)
    body = ONE + b"\r\n \n"
    media_type = "Application/X-Weird+json;  charset=UTF-8"
    assert gate.push("v1", body, media_type=media_type).status_code == 201
    puts = [call for call in core.registry.calls if call.method == "PUT"]
    assert {(call.body, call.media_type) for call in puts} == {(body, media_type)}
    assert puts[-1].reference == "v1"


def test_a_kind_of_manifest_that_is_not_ours_to_judge_goes_to_the_registry(
    core: Core, gate: GateClient
) -> None:
    core.registry.script("PUT", answer(415, "UNSUPPORTED"))
    assert gate.push("v1", b"\xff", media_type="application/x-own").status_code == 415

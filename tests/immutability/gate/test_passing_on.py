"""What reaches the registry of a push, and what reaches the client of its answer."""

from dataclasses import replace

import pytest

from tests.immutability.gate.upstream import (
    TIMEOUT,
    GateClient,
    Upstream,
    answer,
    digest_of,
    error_of,
    image,
    is_undecided,
    message_of,
)
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

ONE, TWO = image("one"), image("two")


def test_bytes_and_media_type_reach_the_registry_unchanged(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    body = b'\xef\xbb\xbf {"schemaVersion" : 2,\r\n "x":"\xff\x00"}\n\n'
    media_type = "Application/X-Weird+json;  charset=UTF-8"
    assert gate.push("v1", body, media_type=media_type).status_code == 201
    assert (upstream.calls[-1].body, upstream.calls[-1].media_type) == (body, media_type)


def test_a_repeated_push_has_the_same_bytes_and_media_type(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    upstream.script("PUT", TIMEOUT)
    gate.push("v1", ONE, media_type="application/x-own")
    gate.push("v1", TWO)
    first, repeated = upstream.sent_by_tag
    assert first == repeated


def test_what_clients_need_of_the_registrys_answer_is_passed_on(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    headers = {
        "Docker-Content-Digest": digest_of(ONE),
        "Docker-Distribution-Api-Version": "registry/2.0",
        "OCI-Subject": digest_of(TWO),
        "Location": "http://registry.internal:5000/v2/acme/api/manifests/x",
        "Set-Cookie": "a=b",
        "Server": "internal",
    }
    upstream.script("PUT", answer(201, headers=headers))
    response = gate.push("v1", ONE)
    assert response["Docker-Content-Digest"] == digest_of(ONE)
    assert response["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert response["OCI-Subject"] == digest_of(TWO)
    assert response["Location"] == f"/v2/acme/api/manifests/{digest_of(ONE)}"
    assert "Set-Cookie" not in response
    assert response.headers.get("Server") != "internal"


def test_the_registry_s_reason_stands_in_our_answer_when_it_fails(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    """Registries answer 500 to images with foreign layers, and say why."""
    body = b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob\\nunknown"}]}'
    upstream.script("PUT", answer(500, body=body))
    response = gate.push("v1", ONE)
    assert is_undecided(response)
    assert "the registry answered 500 (MANIFEST_BLOB_UNKNOWN: blob unknown)" in message_of(response)


def test_a_refusal_too_long_to_pass_on_is_a_refusal(
    protected: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    upstream.script("PUT", replace(answer(400), is_body_dropped=True))
    response = gate.push("v1", ONE)
    assert error_of(response) == (400, "MANIFEST_INVALID")
    assert message_of(response) == "Refused: the registry answered 400."
    assert gate.push("v1", TWO).status_code == 201


def test_the_registrys_own_error_is_passed_on(
    acme: Workspace, gate: GateClient, upstream: Upstream
) -> None:
    body = b'{"errors":[{"code":"MANIFEST_INVALID","message":"own words"}]}'
    headers = {"Content-Type": "application/json; charset=utf-8"}
    upstream.script("PUT", answer(400, headers=headers, body=body))
    response = gate.push("v1", ONE)
    assert (response.status_code, response.content) == (400, body)
    assert response["Content-Type"] == headers["Content-Type"]


@pytest.mark.parametrize("reference", ["v1", digest_of(ONE)])
def test_unknown_query_keys_are_ignored_and_not_forwarded(
    acme: Workspace, gate: GateClient, upstream: Upstream, reference: str
) -> None:
    query = "_method=DELETE&ref=latest&Tag=x&tag%5B%5D=y"
    assert gate.push(reference, ONE, query=query).status_code == 201
    assert [(call.reference, call.tags) for call in upstream.calls] == [(reference, ())]

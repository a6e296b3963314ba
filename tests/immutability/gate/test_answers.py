"""What reaches the client of the registry's answers, and of Taglock's own."""

from dataclasses import replace

import pytest

from containers.registry.client import RegistryAnswer
from immutability.answers import Refusal
from immutability.errors import PermissionRevokedError, TryAgainError
from immutability.gate import views
from immutability.policy.patterns import PatternError, PatternEvaluationError
from immutability.policy.protection import Protection
from tests.immutability.core import Core, named
from tests.immutability.gate.client import GateClient, error_of, message_of
from tests.immutability.registry_double import (
    NO_ANSWER,
    answer,
    digest_of,
    image,
)
from workspaces.log.models import LockEvent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]

ONE, TWO = named("one", image("one")), named("two", image("two"))
HEADERS = {
    "Docker-Content-Digest": digest_of(ONE),
    "Docker-Distribution-Api-Version": "registry/2.0",
    "OCI-Subject": digest_of(TWO),
    "Location": "http://registry.internal:5000/v2/acme/api/manifests/x",
    "Set-Cookie": "a=b",
    "Server": "internal",
}


# ---- the registry's answers ------------------------------------------------------------------


@pytest.mark.parametrize("protection", [Protection.ALL, Protection.NONE])
@pytest.mark.parametrize("reference", ["v1", digest_of(ONE)])
def test_what_clients_need_of_a_success_is_passed_on(
    core: Core, gate: GateClient, protection: Protection, reference: str
) -> None:
    core.protect(protection)
    core.registry.script("PUT", answer(201, headers=HEADERS), answer(201, headers=HEADERS))
    told = gate.push(reference, ONE)
    assert told.status_code == 201
    assert told["Docker-Content-Digest"] == digest_of(ONE)
    assert told["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert told["OCI-Subject"] == digest_of(TWO)
    assert told["Location"] == f"/v2/acme/api/manifests/{digest_of(ONE)}"
    assert "Set-Cookie" not in told
    assert told.headers.get("Server") != "internal"


def test_an_identical_push_names_the_digest_and_the_subject(core: Core, gate: GateClient) -> None:
    about = ONE.replace(b'"layers"', b'"subject": {"digest": "%s"},"layers"' % _digest(TWO))
    gate.push("v1", about)
    core.registry.script("PUT", answer(201, headers=HEADERS))
    told = gate.push("v1", about)
    assert told.status_code == 201
    assert told["Docker-Content-Digest"] == digest_of(about)
    assert told["OCI-Subject"] == digest_of(TWO)
    assert told["Location"] == f"/v2/acme/api/manifests/{digest_of(about)}"


def _digest(body: bytes) -> bytes:
    return digest_of(body).encode()


@pytest.mark.parametrize(
    ("query", "told"),
    [("tag=b&tag=a", "a, b"), ("tag=a&tag=b&tag=c", "a, b, c"), ("tag=v1", "v1")],
)
def test_oci_tag_names_every_tag_that_points_at_the_image_now(
    core: Core, gate: GateClient, query: str, told: str
) -> None:
    gate.push("a", ONE)
    named_others = answer(201, headers=HEADERS | {"OCI-Tag": "x"})
    core.registry.script(f"PUT {digest_of(ONE)}", named_others)
    assert gate.push(digest_of(ONE), ONE, query=query)["OCI-Tag"] == told


def test_oci_tag_is_told_to_those_who_pushed_by_digest_alone(core: Core, gate: GateClient) -> None:
    core.registry.script("PUT", *(2 * [answer(201, headers=HEADERS | {"OCI-Tag": "v1"})]))
    assert "OCI-Tag" not in gate.push("v1", ONE)


@pytest.mark.parametrize("protection", [Protection.ALL, Protection.NONE])
@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 415, 422])
def test_the_registrys_refusal_is_passed_on_as_it_is(
    core: Core, gate: GateClient, protection: Protection, status: int
) -> None:
    core.protect(protection)
    body = b'{"errors":[{"code":"MANIFEST_INVALID","message":"own words"}]}'
    headers = {"Content-Type": "application/json; charset=utf-8", "Retry-After": "7", "X-Own": "1"}
    core.registry.script("PUT", answer(status, headers=headers, body=body))
    told = gate.push("v1", ONE)
    assert (told.status_code, told.content) == (status, body)
    assert told["Content-Type"] == headers["Content-Type"]
    assert told["Retry-After"] == "7"
    assert "X-Own" not in told
    assert "Location" not in told


def test_a_refusal_too_long_to_pass_on_is_a_refusal(core: Core, gate: GateClient) -> None:
    core.registry.script("PUT", replace(answer(400), is_body_dropped=True))
    told = gate.push("v1", ONE)
    assert error_of(told) == (400, "MANIFEST_INVALID")
    assert message_of(told) == "Refused: the registry answered 400."


@pytest.mark.parametrize("protection", [Protection.ALL, Protection.NONE])
def test_an_image_that_the_registry_never_takes_is_refused_with_its_words(
    core: Core, gate: GateClient, protection: Protection
) -> None:
    """Registries answer 500 to images with foreign layers, and say why."""
    core.protect(protection)
    body = b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown"}]}'
    core.registry.script("PUT", answer(500, body=body))
    told = gate.push("v1", ONE)
    assert (told.status_code, told.content) == (400, body)


@pytest.mark.parametrize("protection", [Protection.ALL, Protection.NONE])
def test_a_failure_is_a_try_again_with_the_registrys_reason(
    core: Core, gate: GateClient, protection: Protection
) -> None:
    core.protect(protection)
    body = b'{"errors":[{"code":"TOOBUSY","message":"come\\nlater"}]}'
    core.registry.script("PUT", answer(503, body=body, headers={"Retry-After": "1"}))
    told = gate.push("v1", ONE)
    assert error_of(told) == (503, "UNAVAILABLE")
    assert "the registry answered 503 (TOOBUSY: come later)" in message_of(told)


def test_a_stored_image_is_pointed_again_whatever_the_registry_says(
    core: Core, gate: GateClient
) -> None:
    body = b'{"errors":[{"code":"MANIFEST_INVALID","message":"not now"}]}'
    core.registry.script("PUT v1", answer(500, body=body))
    assert error_of(gate.push("v1", ONE)) == (503, "UNAVAILABLE")
    assert gate.push("v1", ONE).status_code == 201


def test_the_registrys_answer_to_a_delete_is_passed_on(core: Core, admin_gate: GateClient) -> None:
    admin_gate.push("v1", ONE)
    core.registry.script("DELETE", answer(403, "DENIED", {"Content-Type": "application/json"}))
    assert error_of(admin_gate.delete("v1")) == (403, "DENIED")
    told = admin_gate.delete("v1")
    assert (told.status_code, told.content) == (202, b"")


# ---- Taglock's own ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("push", "cannot be overwritten because the tag is immutable"),
        ("delete", "cannot be deleted because the tag is immutable"),
    ],
)
def test_a_refusal_is_one_line_that_ends_with_its_event(
    core: Core, gate: GateClient, method: str, words: str
) -> None:
    gate.push("v1", ONE)
    told = gate.push("v1", TWO) if method == "push" else gate.delete("v1")
    assert error_of(told) == (403, "DENIED")
    message = message_of(told)
    assert words in message
    assert "\n" not in message
    assert message.endswith(f"/acme/lock-log/{LockEvent.objects.order_by('id').last().ref}")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("raised", "status", "words", "retry_after"),
    [
        (TryAgainError("too much at once."), 503, "too much at once. Try again.", "10"),
        (TryAgainError("later", 70), 503, "later. Try again.", "70"),
        (PatternError("bad"), 503, "bad. Try again.", "10"),
        (PatternEvaluationError("out of memory"), 503, "out of memory. Try again.", "10"),
        (PermissionRevokedError(), 403, "requested access to the resource is denied", None),
    ],
)
@pytest.mark.parametrize("method", ["push", "delete"])
def test_what_keeps_a_question_from_being_answered_has_a_status(
    core: Core,
    gate: GateClient,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    raised: Exception,
    status: int,
    words: str,
    retry_after: str | None,
) -> None:
    def fail(*_: object, **__: object) -> RegistryAnswer | Refusal:
        raise raised

    monkeypatch.setattr(views, f"{method}_manifest", fail)
    told = gate.push("v1", ONE) if method == "push" else gate.delete("v1")
    assert error_of(told) == (status, "UNAVAILABLE" if status == 503 else "DENIED")
    assert words in message_of(told)
    assert told.headers.get("Retry-After") == retry_after


def test_who_has_to_wait_is_told_how_long(core: Core, gate: GateClient) -> None:
    core.protect(Protection.NONE)
    core.registry.script("PUT", NO_ANSWER)
    gate.push("v1", ONE)
    core.protect()
    told = gate.push("v1", TWO)
    assert error_of(told) == (503, "UNAVAILABLE")
    assert 14 * 60 < int(told["Retry-After"]) <= 15 * 60
    assert "may still land. Try again in 15 minutes" in message_of(told)


def test_without_a_registry_the_gate_says_so(
    core: Core, gate: GateClient, settings: object
) -> None:
    settings.REGISTRY_URL = ""  # type: ignore[attr-defined]
    assert error_of(gate.push("v1", ONE)) == (404, "UNSUPPORTED")

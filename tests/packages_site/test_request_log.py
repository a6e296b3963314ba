"""A request has an id that everyone is told, and a line that says why it was not accepted."""

import io
import json
import logging
import re
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from django.test import Client
from rest_framework.test import APIClient

from containers.names import parse_repository, parse_tag
from containers.registry.client import RegistryClient
from immutability.errors import TryAgainError
from immutability.policy.protection import Protection
from packages_site.logs import JSONFormatter, LineFormatter, SecretFilter
from packages_site.settings import LOGGING
from tests.conftest import AA, BB
from tests.containers.registry.servers import Server
from workspaces.current_request import follow_request
from workspaces.models import Workspace

ANSWER = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Return a function that gives the lines since it was called last, in JSON."""
    root = logging.getLogger()
    [handler] = [
        each for each in root.handlers if any(isinstance(f, SecretFilter) for f in each.filters)
    ]
    assert isinstance(handler, logging.StreamHandler)
    stream = io.StringIO()
    monkeypatch.setattr(handler, "stream", stream)
    monkeypatch.setattr(handler, "formatter", JSONFormatter())
    monkeypatch.setattr(root, "level", logging.INFO)

    def read() -> list[str]:
        lines = stream.getvalue().splitlines()
        stream.seek(0)
        stream.truncate()
        return lines

    return read


@pytest.mark.django_db
@pytest.mark.parametrize("sent", ["job-7.1_x", "A" * 64])
def test_a_plain_id_is_kept(client: Client, sent: str) -> None:
    response = client.get("/v2/", headers={"X-Request-Id": sent})
    assert response.headers["X-Request-Id"] == sent


@pytest.mark.django_db
@pytest.mark.parametrize("sent", ["", "a b", "A" * 65, 'x"\n', "é", "a;b"])
def test_any_other_is_replaced(client: Client, sent: str) -> None:
    one, other = (client.get("/v2/", headers={"X-Request-Id": sent}) for _ in range(2))
    assert re.fullmatch("[0-9a-f]{32}", one.headers["X-Request-Id"])
    assert one.headers["X-Request-Id"] != other.headers["X-Request-Id"]


def test_the_registry_is_told_the_id() -> None:
    server = Server(lambda connection: connection.sendall(ANSWER))
    try:
        with follow_request("job-7"):
            RegistryClient(server.url).ask_manifest(parse_repository("acme/api"), parse_tag("v1"))
        RegistryClient(server.url).ask_manifest(parse_repository("acme/api"), parse_tag("v1"))
    finally:
        server.close()
    first, second = server.requests
    assert b"\r\nX-Request-Id: job-7\r\n" in first
    assert b"x-request-id" not in second.lower()


@pytest.fixture
def protected(acme: Workspace, protect: Callable[..., object]) -> Workspace:
    protect(acme, Protection.ALL)
    return acme


def test_a_refused_check_is_one_line_that_says_why(
    protected: Workspace, registry: APIClient, log: Callable[[], list[str]]
) -> None:
    body = {"repository": "acme/api", "tag": "v1", "digest": AA, "actor": "dana"}
    registry.post("/api/v1/check-push", body, format="json")
    assert log() == []
    headers = {"X-Request-Id": "job-7"}
    registry.post("/api/v1/check-push", {**body, "digest": BB}, format="json", headers=headers)
    (line,) = log()
    found = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found.pop("seconds") > 0
    assert found.pop("cause").startswith(
        'tag "v1" of acme/api cannot be overwritten because the tag is immutable'
    )
    assert found == {
        "level": "info",
        "logger": "packages_site.request_log",
        "message": "check_push refused",
        "request_id": "job-7",
        "workspace": "acme",
        "repository": "acme/api",
        "tag": "v1",
        "actor": "dana",
        "kind": "check_push",
        "outcome": "refused",
        "status": 200,
    }


def test_what_is_undecided_or_not_right_is_one_line_too(
    db: None,
    client: Client,
    settings: Any,
    log: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> NoReturn:
        raise TryAgainError("the registry gave no answer")

    settings.REGISTRY_URL = "http://127.0.0.1:9"
    secret = "s3cret" * 8
    headers = {"Authorization": f"Bearer {secret}"}
    client.delete("/v2/acme/api/manifests/v1", headers=headers)
    assert log() == []
    monkeypatch.setattr("immutability.gate.views.authorize", fail)
    client.delete("/v2/acme/api/manifests/v1", headers=headers)
    (line,) = log()
    found = json.loads(line)
    assert (found["level"], found["outcome"], found["status"]) == ("warning", "undecided", 503)
    assert (found["kind"], found["repository"], found["tag"]) == ("delete", "acme/api", "v1")
    assert "the registry gave no answer" in found["cause"]
    assert secret not in line


def test_a_fault_of_our_own_has_its_traceback_and_the_id(
    db: None, settings: Any, log: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise RuntimeError("a bug\nERROR forged")

    settings.REGISTRY_URL = "http://127.0.0.1:9"
    monkeypatch.setattr("immutability.gate.views.authorize", fail)
    client = Client(raise_request_exception=False)
    response = client.delete("/v2/acme/api/manifests/v1", headers={"X-Request-Id": "job-8"})
    assert response.status_code == 500
    (line,) = log()
    found = json.loads(line)
    assert (found["level"], found["request_id"]) == ("error", "job-8")
    assert "RuntimeError: a bug" in found["traceback"]


def test_as_text_what_is_known_follows_the_message() -> None:
    fields = {"kind": "push", "status": 403, "workspace": "", "actor": "ci@acme/v1.0"}
    fields |= {"tag": 'v1" outcome=accepted', "cause": "a\nb\u2028c", "detail": "é"}
    record = logging.makeLogRecord(
        {"msg": "push refused", "name": "x", "levelname": "INFO", "fields": fields}
    )
    with follow_request("job-7"):
        written = LineFormatter().format(record)
    assert written == (
        "INFO x: push refused request_id=job-7 kind=push status=403 actor=ci@acme/v1.0 "
        r'tag="v1\" outcome=accepted" cause="a\nb\u2028c" detail="é"'
    )


def test_secrets_in_what_is_known_are_masked() -> None:
    record = logging.makeLogRecord(
        {"msg": "x", "fields": {"cause": "see /invitations/abcdef/", "n": 1}}
    )
    assert SecretFilter().filter(record)
    assert record.fields == {"cause": "see /invitations/…", "n": 1}  # type: ignore[attr-defined]


def test_the_setting_chooses_the_format() -> None:
    assert set(LOGGING["formatters"]) == {"text", "json"}  # type: ignore[call-overload]

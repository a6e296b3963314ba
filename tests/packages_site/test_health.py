from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from socket import gethostname
from typing import Any, NoReturn

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.http import HttpResponse
from django.test import Client, RequestFactory

from packages_site import leaving
from packages_site.health import answer_probes
from packages_site.key_files import make_log_key_file
from tests.problems import read_problem
from workspaces.access import SYSTEM, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.models import Workspace


@pytest.fixture(params=[OperationalError, InterfaceError, DatabaseError])
def broken_database(request: pytest.FixtureRequest, db: None) -> Iterator[None]:
    """A database that answers every statement with an error."""

    def fail(*args: Any) -> NoReturn:
        raise request.param("the server closed the connection unexpectedly")

    with ExitStack() as stack:
        stack.enter_context(connection.execute_wrapper(fail))
        yield


TOKEN = "m" * 32


@pytest.fixture
def operator(settings: Any) -> dict[str, str]:
    """The head of a request by someone who may know everything."""
    settings.METRICS_TOKEN = TOKEN
    return {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)


def test_a_live_process_says_so_without_asking_the_database(client: Client) -> None:
    response = client.get("/healthz")
    assert (response.status_code, response.content) == (200, b"ok\n")


def test_a_process_with_its_database_is_ready(client: Client, db: None) -> None:
    response = client.get("/readyz")
    assert (response.status_code, response.content) == (200, b"ok\n")


def test_without_the_database_a_process_lives_and_is_not_ready(
    client: Client, broken_database: None
) -> None:
    assert client.get("/healthz").status_code == 200
    response = client.get("/readyz")
    assert (response.status_code, response.content) == (503, b"the database cannot be used\n")
    assert response.headers["Content-Type"] == "text/plain"


def test_a_database_that_cannot_be_reached_is_not_ready(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> NoReturn:
        raise OperationalError("connection refused")

    monkeypatch.setattr(connection, "cursor", fail)
    assert client.get("/readyz").status_code == 503


def test_a_node_with_another_secret_key_is_not_ready(
    client: Client, db: None, settings: Any, operator: dict[str, str]
) -> None:
    settings.SECRET_KEY = 50 * "x"
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.content == b"SECRET_KEY is not that of the other nodes\n"
    told = client.get("/readyz", headers=operator)
    assert told.status_code == 503
    assert f"node {gethostname()} has another SECRET_KEY".encode() in told.content
    assert client.get("/healthz").status_code == 200


def test_a_node_with_another_lock_log_key_is_ready_and_says_so(
    client: Client, db: None, settings: Any, tmp_path: Path, operator: dict[str, str]
) -> None:
    settings.LOG_KEY_FILE = tmp_path / "lock-log-key"
    assert client.get("/readyz").content == b"ok\n"
    make_log_key_file(settings.LOG_KEY_FILE, "https://tags.example.org")
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.content == b"ok, but the lock log key is not that of the other nodes\n"
    told = client.get("/readyz", headers=operator).content
    assert b"has another lock log key than the other nodes, and signs nothing" in told


def test_a_process_that_leaves_answers_and_is_not_ready(
    client: Client, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "stage", lambda: leaving.Stage.LEAVING)
    response = client.get("/readyz")
    assert (response.status_code, response.content) == (503, b"this process is stopping\n")
    assert client.get("/healthz").status_code == 200
    assert client.get("/static/missing").status_code == 404


def test_at_the_end_a_process_begins_nothing_and_says_so(
    client: Client, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "stage", lambda: leaving.Stage.REFUSING)
    for method, path in (("get", "/"), ("put", "/v2/acme/api/manifests/v1"), ("post", "/")):
        assert getattr(client, method)(path).status_code == leaving.NOT_BEGUN
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_nothing_else_says_that_it_was_not_begun() -> None:
    """What a registry may have answered would be sent to another gate."""
    answer = answer_probes(lambda request: HttpResponse(status=leaving.NOT_BEGUN))
    assert answer(RequestFactory().put("/v2/acme/api/manifests/v1")).status_code == 503


@pytest.mark.parametrize("address", ["/healthz", "/readyz"])
@pytest.mark.parametrize("host", ["10.1.2.3", "pod-7.cluster.local", ""])
def test_a_probe_comes_by_whatever_name_it_has(
    client: Client, db: None, address: str, host: str
) -> None:
    assert client.get(address, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("address", ["/healthz", "/readyz"])
def test_a_probe_is_not_sent_to_https(
    client: Client, db: None, settings: Any, address: str
) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert client.get(address).status_code == 200


@pytest.mark.parametrize("address", ["/healthz", "/readyz"])
def test_a_probe_only_reads(client: Client, db: None, address: str) -> None:
    assert client.head(address).status_code == 200
    assert client.post(address).status_code == 405


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/api/v1/check-push"),
        ("post", "/api/v1/check-delete"),
        ("get", "/api/v1/workspaces/acme/container-settings"),
        ("get", "/api/v1/workspaces/acme/lock-log"),
    ],
)
@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_without_the_database_the_api_decides_nothing_and_says_try_again(
    acme: Workspace, method: str, path: str, error: type[Exception]
) -> None:
    secret = create_access_token(acme, "everything", list(Scope), actor=SYSTEM)
    client = Client(raise_request_exception=False, headers={"Authorization": f"Bearer {secret}"})

    def fail(*args: Any) -> NoReturn:
        raise error("the server closed the connection unexpectedly")

    with connection.execute_wrapper(fail):
        response = getattr(client, method)(path, data={}, content_type="application/json")
    read_problem(response, 503, "undecided")
    assert int(response.headers["Retry-After"]) > 0

"""What site administrators and programs are told of the parts behind the pages."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.test import Client

from containers.models import Tag as TagRecord
from containers.models import TokenKey
from containers.registry.checkup import Finding, Outcome
from packages_site import status
from packages_site.status import TASKS, read_status
from tests.containers.registry.servers import Server
from tests.page import Browser
from workspaces.models import Registry, TaskRun, User, Workspace
from workspaces.sql import read_now

pytestmark = pytest.mark.django_db

TOKEN = "m" * 32
ADDRESS = "/statusz"


def _find(part: str, findings: list[Finding] | None = None) -> list[Outcome]:
    return [each.outcome for each in findings or read_status() if each.step == part]


@pytest.fixture
def worker() -> None:
    """A worker that has just carried out each task."""
    for task in TASKS:
        TaskRun.objects.create(task=task)


@pytest.fixture
def registry(settings: Any) -> Callable[[bytes], None]:
    """Return a function that connects a registry which answers like this."""

    def connect(status: bytes) -> None:
        head = b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        settings.REGISTRY_URL = Server(lambda socket: socket.sendall(head)).url

    return connect


@pytest.mark.usefixtures("worker")
def test_everything_works(registry: Callable[[bytes], None]) -> None:
    assert {each.outcome for each in read_status()} == {Outcome.OK}
    registry(b"200 OK")
    assert {each.outcome for each in read_status()} == {Outcome.OK}


def test_a_registry_that_does_not_let_taglock_in_is_found(
    registry: Callable[[bytes], None],
) -> None:
    registry(b"401 Unauthorized")
    assert _find("Registry") == [Outcome.FAILED]


def test_a_registry_that_is_away_is_found(settings: Any) -> None:
    settings.REGISTRY_URL = "http://127.0.0.1:9"
    assert _find("Registry") == [Outcome.FAILED]


def test_of_another_registry_is_told_when_it_last_answered() -> None:
    row = Registry.objects.create(
        name="zot", url="http://127.0.0.1:9", host="zot.example.org", accounts="tokens"
    )
    assert _find("Registry zot") == [Outcome.FAILED]
    for minutes, outcome in ((1, Outcome.OK), (11, Outcome.FAILED)):
        row.seen_at = read_now() - timedelta(minutes=minutes)
        row.save()
        assert _find("Registry zot") == [outcome]


@pytest.mark.both_databases
def test_a_worker_that_is_away_is_found(worker: None, capsys: Any) -> None:
    call_command("check_worker")
    assert "Reconciling tags was done a second ago" in capsys.readouterr().out
    late = read_now() - timedelta(minutes=3)
    TaskRun.objects.filter(task="immutability.reconcile").update(ended_at=late)
    outcomes = _find("Worker and scheduler")
    assert sorted(outcomes) == [Outcome.FAILED, Outcome.OK, Outcome.OK]
    with pytest.raises(CommandError, match="No worker"):
        call_command("check_worker")
    assert "Reconciling tags was done 3 minutes ago" in capsys.readouterr().out


def test_a_worker_that_never_worked_is_found() -> None:
    with pytest.raises(CommandError):
        call_command("check_worker")


def test_tags_that_no_worker_finishes_are_found(acme: Workspace) -> None:
    over = read_now() - timedelta(minutes=1)
    TagRecord.objects.create(workspace=acme, repository="acme/api", name="v1", stray_until=over)
    assert _find("Unfinished tags") == [Outcome.OK]
    TagRecord.objects.update(stray_until=over - timedelta(minutes=10))
    assert _find("Unfinished tags") == [Outcome.FAILED]


def test_events_that_no_one_seals_are_found(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _find("Sealing") == [Outcome.OK]
    monkeypatch.setattr(status, "UNSEALED_LATE_SECONDS", -1.0)
    assert _find("Sealing") == [Outcome.FAILED]


def test_site_administrators_read_it_on_a_page(sign_in: Callable[[User], Client]) -> None:
    sam = User.objects.create_user("sam", is_superuser=True)
    page = Browser(sign_in(sam)).open(ADDRESS)
    assert page.main.find(role="status").text == "Something doesn't work."
    assert "Reconciling tags was never done" in page.main.text


def test_programs_get_it_as_json_for_the_token(client: Client, settings: Any, worker: None) -> None:
    settings.METRICS_TOKEN = TOKEN
    response = client.get(ADDRESS, headers={"Authorization": f"Bearer {TOKEN}"})
    found = json.loads(response.content)
    assert found["summary"] == "Everything works."
    assert {each["outcome"] for each in found["parts"]} == {"ok"}
    assert client.get(ADDRESS, headers={"Authorization": "Bearer no"}).status_code == 302


def test_without_the_setting_no_token_opens_it(client: Client) -> None:
    assert client.get(ADDRESS, headers={"Authorization": "Bearer "}).status_code == 302


def test_without_the_database_programs_are_told(client: Client, settings: Any) -> None:
    def fail(*_: Any) -> NoReturn:
        raise OperationalError("the server closed the connection unexpectedly")

    settings.METRICS_TOKEN = TOKEN
    with connection.execute_wrapper(fail):
        response = client.get(ADDRESS, headers={"Authorization": f"Bearer {TOKEN}"})
    parts = {each["part"]: each["outcome"] for each in json.loads(response.content)["parts"]}
    assert parts["Database"] == "failed"


# Readiness.


@pytest.mark.parametrize(("accounts", "status"), [("tokens", 503), ("registry", 200)])
def test_without_token_keys_a_process_is_not_ready_where_it_needs_them(
    client: Client, settings: Any, changing_keys: None, accounts: str, status: int
) -> None:
    TokenKey.objects.all().delete()
    assert client.get("/readyz").status_code == 200
    settings.REGISTRY_URL, settings.REGISTRY_ACCOUNTS = "http://127.0.0.1:9", accounts
    response = client.get("/readyz")
    assert response.status_code == status
    assert (response.content == b"no token can be used\n") is (status == 503)


def test_a_backup_is_judged_once_one_was_taken() -> None:
    assert _find("Backup") == []
    run = TaskRun.objects.create(task="backup")
    assert _find("Backup") == [Outcome.OK]
    run.ended_at -= timedelta(hours=27)
    run.save()
    assert _find("Backup") == [Outcome.WARNING]

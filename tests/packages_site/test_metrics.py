"""What Prometheus is told, and who is told it."""

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import pytest
from django.db import OperationalError, connection
from django.test import Client
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from rest_framework.test import APIClient

from containers.models import Tag as TagRecord
from containers.models import WriteKind
from immutability.models import Job
from immutability.policy.protection import Protection
from packages_site import celery, metrics
from packages_site.addresses import BadSettingError
from packages_site.metrics_token import check_metrics_token
from packages_site.state import Waiting, read_state
from tests.conftest import AA, BB, is_postgresql
from workspaces import task_runs
from workspaces.log.seal import seal_events
from workspaces.metrics import MAX_WORKSPACES_NAMED, OTHER_WORKSPACES, _named, count_refusal
from workspaces.models import Workspace
from workspaces.sql import read_now
from workspaces.tasks import seal_lock_log

TOKEN = "m" * 32
DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "watch.md"


@pytest.fixture
def scrape(settings: Any) -> Callable[[], dict[str, float]]:
    """Return a function that scrapes a process, and gives each sample by its name and labels."""
    settings.METRICS_TOKEN = TOKEN
    client = Client(headers={"Authorization": f"Bearer {TOKEN}"})

    def scrape() -> dict[str, float]:
        response = client.get("/metrics")
        assert response.status_code == 200
        return {
            f"{sample.name}{sorted(sample.labels.values())}": sample.value
            for family in text_string_to_metric_families(response.content.decode())
            for sample in family.samples
        }

    return scrape


@pytest.fixture
def counted() -> Callable[..., float]:
    """Return a function that says by how much a sample has grown during the test."""

    def read(name: str, labels: dict[str, str]) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    before = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
    }
    return lambda name, **labels: (
        read(name, labels) - before.get((name, tuple(sorted(labels.items()))), 0.0)
    )


# Who is told.


def test_without_the_setting_there_is_nothing(client: Client) -> None:
    response = client.get("/metrics", headers={"Authorization": "Bearer "})
    assert response.status_code == 404


@pytest.mark.parametrize(
    "sent", ["", "Bearer", "Bearer ", "Bearer nope", f"Basic {TOKEN}", f"Bearer {TOKEN}é", TOKEN]
)
def test_without_the_token_nothing_is_told(client: Client, settings: Any, sent: str) -> None:
    settings.METRICS_TOKEN = TOKEN
    response = client.get("/metrics", headers={"Authorization": sent})
    assert response.status_code == 401
    assert b"taglock_" not in response.content


def test_it_is_asked_by_whatever_name_and_without_https(
    db: None, client: Client, settings: Any
) -> None:
    settings.METRICS_TOKEN, settings.SECURE_SSL_REDIRECT = TOKEN, True
    headers = {"Authorization": f"Bearer {TOKEN}", "Host": "10.1.2.3:8002"}
    response = client.get("/metrics", headers=headers)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert client.post("/metrics", headers=headers).status_code == 405


@pytest.mark.parametrize("token", ["short", "é" * 30, "a b" * 20])
def test_a_bad_token_stops_the_start_and_is_not_shown(token: str) -> None:
    with pytest.raises(BadSettingError, match="METRICS_TOKEN must have at least 20") as caught:
        check_metrics_token(token)
    assert token not in str(caught.value)


# What a process counts.


@pytest.fixture
def protected(acme: Workspace, protect: Callable[..., object]) -> Workspace:
    protect(acme, Protection.ALL)
    return acme


def _check(registry: APIClient, digest: str, **more: object) -> None:
    body = {"repository": "acme/api", "tag": "v1", "digest": digest, **more}
    assert registry.post("/api/v1/check-push", body, format="json").status_code == 200


def test_checks_are_counted_by_outcome(
    protected: Workspace, registry: APIClient, counted: Callable[..., float]
) -> None:
    _check(registry, AA)
    _check(registry, BB)
    _check(registry, BB, dry_run=True)
    registry.post("/api/v1/check-push", {"repository": "acme/api", "tag": ":"}, format="json")
    registry.post("/api/v1/check-push", {"repository": "evil/x", "tag": "v1"}, format="json")
    count = "taglock_decision_seconds_count"
    assert counted(count, kind="check_push", outcome="accepted") == 1
    assert counted(count, kind="check_push", outcome="refused") == 1
    assert counted(count, kind="check_push", outcome="invalid") == 2
    assert counted(count, kind="dry_run", outcome="refused") == 1
    assert counted("taglock_refusals_total", workspace="acme") == 2


def test_pushes_are_counted_and_so_are_calls_of_a_registry_that_is_away(
    db: None, client: Client, settings: Any, counted: Callable[..., float]
) -> None:
    settings.REGISTRY_URL = "http://127.0.0.1:9"
    client.put("/v2/acme/api/manifests/v1", b"{}", "application/json")
    client.put(
        "/v2/acme/api/manifests/v1",
        b"{}",
        "application/json",
        headers={"Authorization": "Bearer nope"},
    )
    count = "taglock_decision_seconds_count"
    assert counted(count, kind="push", outcome="denied") == 2
    assert counted("taglock_login_failures_total", at="gate") == 1


def test_only_so_many_workspaces_are_named(counted: Callable[..., float]) -> None:
    named = set(_named)
    try:
        for number in range(MAX_WORKSPACES_NAMED + 5):
            count_refusal(f"w{number}")
        assert len(_named) == MAX_WORKSPACES_NAMED
        assert counted("taglock_refusals_total", workspace=OTHER_WORKSPACES) >= 5
    finally:
        _named.clear()
        _named.update(named)


@pytest.mark.slow
def test_processes_that_share_a_port_count_together(tmp_path: Path) -> None:
    program = """
import os
from workspaces.metrics import count_refusal
if (child := os.fork()) == 0:
    count_refusal("acme")
    os._exit(0)
os.waitpid(child, 0)
count_refusal("acme")
from packages_site.metrics import _find_counted
print(_find_counted().get_sample_value("taglock_refusals_total", {"workspace": "acme"}))
"""
    env = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "DATA_DIR": str(tmp_path)}
    env["DJANGO_SETTINGS_MODULE"] = "packages_site.settings"
    run = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup()\n{program}"],
        env=env,
        capture_output=True,
        text=True,
    )
    assert run.stdout == "2.0\n", run.stderr


# What the database says.


def _record(workspace: Workspace, name: str, **values: object) -> None:
    TagRecord.objects.create(workspace=workspace, repository="acme/api", name=name, **values)


@pytest.mark.both_databases
def test_what_waits_is_counted_with_its_age(acme: Workspace) -> None:
    now = read_now()
    write = {"write_id": uuid4(), "write_kind": WriteKind.PUSH, "write_digest": AA}
    ago = {"write_begun_at": now - timedelta(seconds=100)}
    _record(acme, "sent", **write, **ago, write_expires_at=now + timedelta(seconds=10))
    _record(acme, "dead", **write, **ago, write_expires_at=now - timedelta(seconds=70))
    _record(acme, "check", **write, **ago, write_is_external=True, write_expires_at=now)
    _record(acme, "stray", stray_until=now + timedelta(seconds=10))
    _record(acme, "over", stray_until=now - timedelta(seconds=500))
    state = read_state()
    assert (state.writes.count, state.checks.count, state.strays) == (2, 1, 2)
    assert 100 <= state.writes.seconds < 150
    assert state.overdue.count == 2
    assert 500 <= state.overdue.seconds < 550


@pytest.mark.both_databases
def test_locks_that_are_not_shown_jobs_and_unsealed_events_wait(
    protected: Workspace, registry: APIClient
) -> None:
    Job.objects.create(
        workspace=protected, kind=Job.Kind.INVENTORY, looked_at_count=7, adopted_count=3
    )
    assert read_state().pending == Waiting(0)
    _check(registry, AA, two_phase=True)
    state = read_state()
    assert (state.pending.count, state.jobs.count) == (1, 1)
    assert (state.inventories.looked_at, state.inventories.adopted) == (7, 3)
    assert state.unsealed.count > 0
    seal_events()
    assert read_state().unsealed == Waiting(0)


@pytest.mark.both_databases
def test_no_large_table_is_read_whole(protected: Workspace, registry: APIClient) -> None:
    _check(registry, AA)
    plans: list[str] = []

    def explain(execute: Any, sql: str, params: Any, *rest: Any) -> Any:
        if sql.startswith("SELECT"):
            with connection.cursor() as cursor:
                cursor.execute(f"{words} {sql}", params)
                plans.append(" ".join(str(row) for row in cursor.fetchall()))
        return execute(sql, params, *rest)

    words = "EXPLAIN" if is_postgresql() else "EXPLAIN QUERY PLAN"
    if is_postgresql():
        with connection.cursor() as cursor:
            # The planner would read tables as small as these whole.
            cursor.execute("SET LOCAL enable_seqscan = off")
    with connection.execute_wrapper(explain):
        read_state()
    assert len(plans) > 10
    large = "containers_tag|immutability_(lockedtag|job)|workspaces_(lockevent|eventseal)"
    whole = rf"Seq Scan on ({large})\b|SCAN ({large})\b(?! USING)"
    assert [plan for plan in plans if re.search(whole, plan)] == []


@pytest.fixture
def run_task(db: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    """Return a function that runs a task as the scheduler does without a broker."""
    monkeypatch.setattr(task_runs, "_noted", {})
    # The test's transaction is in it.
    monkeypatch.setattr(celery, "close_old_connections", lambda: None)
    return seal_lock_log.apply


@pytest.mark.both_databases
def test_the_last_run_of_each_task_is_known(run_task: Callable[[], object]) -> None:
    assert read_state().task_seconds == {}
    run_task()
    first = read_state().task_seconds
    assert list(first) == ["workspaces.seal_lock_log"]
    assert first["workspaces.seal_lock_log"] < 60


def test_a_task_that_fails_was_not_carried_out(
    run_task: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> NoReturn:
        raise OSError("no")

    monkeypatch.setattr("workspaces.tasks.seal_events", fail)
    run_task()
    assert read_state().task_seconds == {}


def test_without_the_database_a_scrape_says_so(
    db: None, scrape: Callable[[], dict[str, float]]
) -> None:
    def fail(*_: Any) -> NoReturn:
        raise OperationalError("the server closed the connection unexpectedly")

    assert scrape()["taglock_database_up[]"] == 1
    with connection.execute_wrapper(fail):
        found = scrape()
    assert found["taglock_database_up[]"] == 0
    assert "taglock_strays[]" not in found


# What is documented.


def test_every_metric_is_documented_and_nothing_else_is(
    db: None, scrape: Callable[[], dict[str, float]]
) -> None:
    documented = re.findall(r"^\| `(taglock_\w+)` \|", DOCUMENT.read_text(), re.MULTILINE)
    assert len(documented) == len(set(documented))
    figures = {each.name for each in vars(metrics).values() if isinstance(each, metrics._Figure)}
    families = {
        f"{each.name}_total" if each.type == "counter" else each.name
        for each in REGISTRY.collect()
        if each.name.startswith("taglock_")
    }
    assert set(documented) == figures | families
    shown = {re.split(r"_bucket|_count|_sum|_created|\[", each)[0] for each in scrape()}
    assert {each for each in shown if each.startswith("taglock_")} <= set(documented)

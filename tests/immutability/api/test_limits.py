"""How often programs and people may ask: too many calls are answered 429, and change nothing."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from immutability.policy.protection import Policy, Protection
from tests.conftest import AA
from tests.immutability.api.conftest import Ask
from tests.problems import nothing_written, read_problem
from workspaces.access import SYSTEM, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.models import AccessToken, User, Workspace
from workspaces.throttles import Limit

Protect = Callable[..., Policy]

CHECK_PUSH = "/api/v1/check-push"
DRY_RUN = {"repository": "acme/api", "tag": "v1", "dry_run": True}
NO_CLAIM = UUID(int=0)

CHECKS: list[tuple[str, dict[str, Any]]] = [
    (CHECK_PUSH, {"repository": "acme/api", "tag": "v1", "digest": AA}),
    (CHECK_PUSH, DRY_RUN),
    ("/api/v1/check-delete", {"repository": "acme/api", "tag": "v1"}),
    (f"/api/v1/claims/{NO_CLAIM}/confirm", {}),
    (f"/api/v1/claims/{NO_CLAIM}/abandon", {}),
]
SETTINGS = "/api/v1/workspaces/acme/container-settings"
TEST = (f"{SETTINGS}/test", {"tags": ["v1"]})
PREVIEW = (f"{SETTINGS}/preview", {"protection": "all"})


@pytest.fixture(autouse=True)
def _low_limits(monkeypatch: pytest.MonkeyPatch, within_one_window: None) -> None:
    """A registry may check four times, anyone may ask three times, test and preview twice."""
    for place, name, calls in (
        ("checks", "CHECKS_PER_TOKEN", 4),
        ("checks", "ASKING_PER_CALLER", 3),
        ("settings", "TESTER_PER_CALLER", 2),
        ("settings", "PREVIEWS_PER_CALLER", 2),
    ):
        limit = Limit(name, calls=calls, seconds=3600, counted="calls")
        monkeypatch.setattr(f"immutability.api.{place}.{name}", limit)


def ask(client: Client, path: str, body: dict[str, Any], times: int = 1) -> None:
    for _ in range(times):
        response = client.post(path, body, content_type="application/json")
        assert response.status_code in (200, 404), response.content


def refuse(client: Client, path: str, body: dict[str, Any]) -> None:
    with nothing_written():
        response = client.post(path, body, content_type="application/json")
    problem = read_problem(response, 429, "too_many_calls")
    assert problem["detail"].startswith("Too many calls. Try again in ")
    assert 1 <= int(response.headers["Retry-After"]) <= 3600


@pytest.fixture
def caller(acme: Workspace) -> Callable[..., Client]:
    """Return a function that gives a client with a new access token of these scopes."""

    def caller(*scopes: Scope) -> Client:
        secret = create_access_token(acme, "-".join(scopes), list(scopes), actor=SYSTEM)
        return Client(headers={"Authorization": f"Bearer {secret}"})

    return caller


@pytest.mark.parametrize(("path", "body"), CHECKS)
def test_checks_of_a_registry_share_a_limit(
    caller: Callable[..., Client], path: str, body: dict[str, Any]
) -> None:
    registry = caller(Scope.REGISTRY)
    ask(registry, path, body)
    ask(registry, *CHECKS[0], times=3)
    for each in CHECKS:
        refuse(registry, *each)


def test_dry_runs_of_tokens_that_may_not_check_have_a_limit_of_their_own(
    caller: Callable[..., Client],
) -> None:
    pipeline = caller(Scope.PUSH, Scope.ADMIN)
    ask(pipeline, CHECK_PUSH, DRY_RUN, times=3)
    refuse(pipeline, CHECK_PUSH, DRY_RUN)
    refuse(pipeline, *CHECKS[0])


def test_dry_runs_of_people_are_counted(
    alice: User, bob: User, sign_in: Callable[[User], Client]
) -> None:
    ask(sign_in(alice), CHECK_PUSH, DRY_RUN, times=3)
    refuse(sign_in(alice), CHECK_PUSH, DRY_RUN)
    ask(sign_in(bob), CHECK_PUSH, DRY_RUN)


def test_another_token_is_not_concerned(caller: Callable[..., Client]) -> None:
    first, second = caller(Scope.REGISTRY), caller(Scope.REGISTRY, Scope.AUDIT)
    ask(first, *CHECKS[0], times=4)
    refuse(first, *CHECKS[0])
    ask(second, *CHECKS[0])


def test_a_person_and_a_token_of_one_number_are_not_taken_for_each_other(
    acme: Workspace, alice: User, sign_in: Callable[[User], Client], caller: Callable[..., Client]
) -> None:
    pipeline = caller(Scope.PUSH)
    AccessToken.objects.update(id=alice.pk)
    ask(sign_in(alice), CHECK_PUSH, DRY_RUN, times=3)
    ask(pipeline, CHECK_PUSH, DRY_RUN)


def test_a_call_that_is_refused_for_another_reason_counts(caller: Callable[..., Client]) -> None:
    registry = caller(Scope.REGISTRY)
    for body in ({}, {"repository": "no such name!"}, {"repository": "acme/api", "tag": "v1"}):
        assert registry.post(CHECK_PUSH, body, content_type="application/json").status_code == 400
    ask(registry, *CHECKS[0])
    refuse(registry, CHECK_PUSH, {})


def test_whoever_is_not_signed_in_is_told_so_and_not_counted(acme: Workspace) -> None:
    for _ in range(6):
        response = Client().post(CHECK_PUSH, DRY_RUN, content_type="application/json")
        read_problem(response, 401)


@pytest.mark.parametrize(("one", "other"), [(TEST, PREVIEW), (PREVIEW, TEST)])
def test_tests_and_previews_are_counted_by_themselves(
    caller: Callable[..., Client], one: tuple[str, Any], other: tuple[str, Any]
) -> None:
    admin = caller(Scope.ADMIN)
    ask(admin, *one, times=2)
    refuse(admin, *one)
    ask(admin, *other)
    ask(admin, CHECK_PUSH, DRY_RUN)


def test_a_push_that_was_refused_for_want_of_calls_locks_nothing(
    acme: Workspace, caller: Callable[..., Client], protect: Protect
) -> None:
    protect(acme, Protection.ALL)
    registry = caller(Scope.REGISTRY)
    ask(registry, CHECK_PUSH, {**CHECKS[0][1], "tag": "v0"}, times=4)
    refuse(registry, *CHECKS[0])


def test_counting_a_registrys_checks_is_hardly_ever_a_query(
    check_push: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = Limit("hot", calls=60_000, seconds=3600, lease=100)
    monkeypatch.setattr("immutability.api.checks.CHECKS_PER_TOKEN", limit)
    with CaptureQueriesContext(connection) as captured:
        for _ in range(20):
            check_push("v1")
    counting = [query for query in captured.captured_queries if "callcount" in query["sql"]]
    assert len(counting) == 1


def test_a_count_that_the_database_cannot_take_is_no_decision(registry: APIClient) -> None:
    def break_down(execute: Any, sql: str, *arguments: Any) -> Any:
        if "callcount" in sql:
            raise OperationalError("the server is gone")
        return execute(sql, *arguments)

    with connection.execute_wrapper(break_down):
        response = registry.post(CHECK_PUSH, CHECKS[0][1], format="json")
    read_problem(response, 503, "undecided")

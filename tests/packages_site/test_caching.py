"""No answer is kept by anyone on its way, unless it says so itself."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from tests.access.site import client_with
from workspaces.access import SYSTEM, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.models import User, Workspace

PRIVATE = "private, no-cache"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/acme/", 200),
        ("/acme/lock-log/", 200),
        ("/acme/settings/access-tokens/", 200),
        ("/accounts/", 200),
        ("/api/v1/workspaces/acme/access-tokens", 200),
        ("/api/v1/workspaces/globex/access-tokens", 404),
        ("/nowhere/at/all/", 404),
        ("/", 302),
        ("/acme", 301),
    ],
)
def test_dynamic_answers_are_for_the_browser_alone(
    acme: Workspace, alice: User, sign_in: Callable[[User], Client], path: str, status: int
) -> None:
    response = sign_in(alice).get(path)
    assert (response.status_code, response["Cache-Control"]) == (status, PRIVATE)


def test_answers_to_programs_are_too(acme: Workspace) -> None:
    secret = create_access_token(acme, "x", [Scope.AUDIT], actor=SYSTEM)
    response = client_with(secret).get("/api/v1/workspaces/acme/lock-log")
    assert (response.status_code, response["Cache-Control"]) == (200, PRIVATE)


def test_a_failure_is_too(alice: User, sign_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workspaces.pages.access.find_access", lambda *_: 1 / 0)
    client = sign_in(alice)
    client.raise_request_exception = False
    response = client.get("/acme/")
    assert (response.status_code, response["Cache-Control"]) == (500, PRIVATE)


@pytest.mark.django_db
def test_answers_that_say_it_themselves_stay_as_they_are() -> None:
    assert Client().get("/auth/token")["Cache-Control"] == "no-store"
    assert "no-store" in Client().get("/invitations/nothing/")["Cache-Control"]


def test_probes_and_static_files_do_not_get_there() -> None:
    assert not Client().get("/healthz").has_header("Cache-Control")

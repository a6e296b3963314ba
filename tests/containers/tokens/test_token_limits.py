"""/auth/token: how often someone may guess, and how often they may ask."""

from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.test import Client

from containers.tokens import clients, views
from tests.containers.tokens.test_token_service import basic, error_of, get, make_token
from workspaces import sign_in
from workspaces.access import Scope
from workspaces.models import User, Workspace
from workspaces.throttles import TOKEN_LOGINS_PER_ADDRESS, TOKENS_PER_CALLER, Limit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("within_one_window")]


@pytest.fixture
def bobs_login(bob: User) -> str:
    return basic("bob", "demo")


def test_too_many_wrong_passwords_close_the_door_for_a_while(bob: User, bobs_login: str) -> None:
    answers = [get(login=basic("bob", f"guess {number}")) for number in range(12)]
    assert {answer.status_code for answer in answers[:10]} == {401}
    assert error_of(answers[-1]) == (429, "TOOMANYREQUESTS")
    assert int(answers[-1]["Retry-After"]) > 0
    assert get(login=bobs_login).status_code == 429


def test_logging_in_well_is_not_counted_as_guessing(bobs_login: str) -> None:
    assert {get(login=bobs_login).status_code for _ in range(15)} == {200}


def test_each_name_from_an_address_and_each_address_of_nobody_has_its_own_limit(
    bobs_login: str, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "TOKENS_PER_CALLER", Limit("tokens", calls=2, seconds=60))
    assert TOKENS_PER_CALLER.calls > 100
    assert [get(login=bobs_login).status_code for _ in range(3)] == [200, 200, 429]
    assert [get().status_code for _ in range(3)] == [200, 200, 429]
    assert get(login=basic("alice", "demo")).status_code == 200
    elsewhere = Client(REMOTE_ADDR="192.0.2.9")
    headers = {"Authorization": bobs_login}
    assert elsewhere.get("/auth/token", headers=headers).status_code == 200


def test_nothing_is_hashed_for_who_asks_too_often(
    bobs_login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "TOKENS_PER_CALLER", Limit("tokens", calls=3, seconds=60))
    hashed: list[str] = []

    def note_and_authenticate(*, username: str, password: str) -> Any:
        hashed.append(username)
        return authenticate(username=username, password=password)

    monkeypatch.setattr(sign_in, "authenticate", note_and_authenticate)
    answers = [get(login=bobs_login).status_code for _ in range(6)]
    assert answers == [200] * 3 + [429] * 3
    # One that was just verified is not hashed again.
    assert hashed == ["bob"]


def test_wrong_access_tokens_are_told_to_wait_and_right_ones_are_let_in(
    acme: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = make_token(acme, Scope.PULL)
    assert TOKEN_LOGINS_PER_ADDRESS.calls > 100
    few = replace(TOKEN_LOGINS_PER_ADDRESS, calls=2)
    monkeypatch.setattr(clients, "TOKEN_LOGINS_PER_ADDRESS", few)
    for _ in range(3):
        assert get(login=basic("acme+ci", secret)).status_code == 200
    wrong = [
        get(login=basic(name, "taglock_x")) for name in ("acme+ci", "globex+ci", "acme+ci", "a+b")
    ]
    assert [answer.status_code for answer in wrong] == [401, 401, 429, 429]
    assert error_of(wrong[-1]) == (429, "TOOMANYREQUESTS")
    assert int(wrong[-1]["Retry-After"]) > 0
    assert get(login=basic("acme+ci", secret)).status_code == 200
    elsewhere = Client(REMOTE_ADDR="192.0.2.9")
    headers = {"Authorization": basic("acme+ci", "taglock_x")}
    assert elsewhere.get("/auth/token", headers=headers).status_code == 401

"""Hashes of passwords: so many at once, and no more."""

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher, check_password, make_password
from django.test import Client

import packages_site.settings
from tests.at_once import at_once
from workspaces import hashing
from workspaces.access import SYSTEM, Role
from workspaces.actions.invitations import invite
from workspaces.hashing import (
    MAX_HASHES_AT_ONCE,
    LimitedConcurrencyArgon2PasswordHasher,
    hash_in_turn,
)
from workspaces.models import User, Workspace
from workspaces.throttles import BusyError

pytestmark = pytest.mark.slow

ORDERLY = "workspaces.hashing.LimitedConcurrencyArgon2PasswordHasher"
BUSY = "The site is busy at the moment. Try again in a few seconds."


@pytest.fixture
def most_at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """Hashes that take a while; returns a function that tells how many were running at once."""
    lock = threading.Lock()
    under_way: list[int] = [0, 0]
    done = threading.Event()

    def take_a_while(*_: Any) -> Any:
        with lock:
            under_way[0] += 1
            under_way[1] = max(under_way)
        done.wait(0.05)
        with lock:
            under_way[0] -= 1
        return "argon2$x"

    monkeypatch.setattr(Argon2PasswordHasher, "verify", take_a_while)
    monkeypatch.setattr(Argon2PasswordHasher, "encode", take_a_while)
    yield lambda: under_way[1]
    done.set()


@contextmanager
def everybody_is_hashing() -> Iterator[None]:
    """Take every turn that there is, in other threads."""
    with ExitStack() as stack:
        for _ in range(MAX_HASHES_AT_ONCE):
            assert hashing._turns.acquire(timeout=5)
            stack.callback(hashing._turns.release)
        yield


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a hash costs is not what is looked at here."""
    monkeypatch.setattr(Argon2PasswordHasher, "time_cost", 1)
    monkeypatch.setattr(Argon2PasswordHasher, "memory_cost", 64)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "WAIT_SECONDS", 0.05)


def test_the_site_hashes_in_turn_and_reads_what_was_hashed_before(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
    before = make_password("demo")
    settings.PASSWORD_HASHERS = [ORDERLY]
    assert check_password("demo", before)
    assert not check_password("other", before)
    assert check_password("demo", make_password("demo"))


def test_the_settings_name_the_hasher() -> None:
    # Read where they are written, since tests have another one.
    assert packages_site.settings.PASSWORD_HASHERS == [ORDERLY]


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_more_than_so_many_hashes_are_never_under_way(
    settings: Any, most_at_once: Callable[[], int]
) -> None:
    settings.PASSWORD_HASHERS = [ORDERLY]
    calls: list[Callable[[], object]] = [partial(make_password, "demo")] * 8
    at_once(
        calls + [partial(LimitedConcurrencyArgon2PasswordHasher().verify, "demo", "argon2$x")] * 8
    )
    assert most_at_once() == MAX_HASHES_AT_ONCE


def test_whoever_waits_too_long_is_told_to_come_back(settings: Any, impatient: None) -> None:
    settings.PASSWORD_HASHERS = [ORDERLY]
    with everybody_is_hashing(), pytest.raises(BusyError) as caught:
        make_password("demo")
    assert str(caught.value) == BUSY
    assert caught.value.retry_after_seconds == 5
    # Nothing is kept from then on.
    assert make_password("demo")


def test_a_turn_within_a_turn_waits_for_nobody(impatient: None) -> None:
    with hash_in_turn():
        for _ in range(MAX_HASHES_AT_ONCE - 1):
            assert hashing._turns.acquire(timeout=1)
        with hash_in_turn():
            pass
        for _ in range(MAX_HASHES_AT_ONCE - 1):
            hashing._turns.release()
    with everybody_is_hashing(), pytest.raises(BusyError), hash_in_turn():
        pass


def test_a_failure_within_a_turn_ends_it() -> None:
    for _ in range(MAX_HASHES_AT_ONCE + 1):
        with pytest.raises(ZeroDivisionError), hash_in_turn():
            raise ZeroDivisionError


def test_a_busy_site_says_so_to_everybody_who_signs_in(bob: User, impatient: None) -> None:
    login = "Basic " + base64.b64encode(b"bob:demo").decode()
    with everybody_is_hashing():
        page = Client().post("/accounts/login/", {"username": "bob", "password": "demo"})
        answer = Client().get("/auth/token", headers={"Authorization": login})
    for response in (page, answer):
        assert response.status_code == 429
        assert response["Retry-After"] == "5"
        assert BUSY in response.content.decode()
    assert Client().get("/auth/token", headers={"Authorization": login}).status_code == 200


def test_a_busy_site_makes_no_account_and_leaves_the_invitation(
    acme: Workspace, alice: User, settings: Any, impatient: None
) -> None:
    settings.PASSWORD_HASHERS = [ORDERLY]
    path = f"/invitations/{invite(acme, 'x', Role.MEMBER, inviter=alice, actor=SYSTEM)}/"
    password = "correct horse battery"
    sent = {"username": "dana", "password": password, "repeated": password}
    client = Client(raise_request_exception=False)
    with everybody_is_hashing():
        response = client.post(path, sent)
    assert (response.status_code, response["Retry-After"]) == (503, "10")
    assert BUSY in response.content.decode()
    assert client.post(path, sent).status_code == 302

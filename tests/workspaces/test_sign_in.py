"""Passwords: who is let in, and how often someone may guess."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import MD5PasswordHasher
from django.db import OperationalError, connection
from django.db.models import F

from tests.at_once import THREADS, at_once
from tests.workspaces.test_hashing import everybody_is_hashing
from workspaces import sign_in, sql, verified_passwords
from workspaces.access import Origin
from workspaces.hashing import MAX_HASHES_AT_ONCE
from workspaces.models import CallCount, User
from workspaces.sign_in import MAX_PASSWORD_LENGTH, verify_password
from workspaces.throttles import (
    SIGN_IN_PER_ADDRESS,
    SIGN_IN_PER_NAME,
    SIGN_IN_PER_NAME_AND_ADDRESS,
    Limit,
    TooManyCallsError,
)

HOME = Origin("192.0.2.1")
OFFICE = Origin("192.0.2.2")
MOST = SIGN_IN_PER_NAME_AND_ADDRESS.calls

Lower = Callable[[Limit, int], None]


@pytest.fixture(autouse=True)
def _no_window_ends(within_one_window: None) -> None:
    pass


@pytest.fixture
def lower(monkeypatch: pytest.MonkeyPatch) -> Lower:
    """Return a function that lowers a limit, so that a test need not guess a hundred times."""

    def lower(limit: Limit, calls: int) -> None:
        name = next(name for name, value in vars(sign_in).items() if value is limit)
        monkeypatch.setattr(sign_in, name, replace(limit, calls=calls))

    return lower


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of whose passwords were verified, one entry an attempt."""
    names: list[str] = []

    def note_and_authenticate(*, username: str, password: str) -> Any:
        names.append(username)
        return authenticate(username=username, password=password)

    monkeypatch.setattr(sign_in, "authenticate", note_and_authenticate)
    return names


def fail(username: str = "alice", origin: Origin = HOME, times: int = 1) -> None:
    for _ in range(times):
        assert verify_password(username, "wrong", origin) is None


def refuse(username: str = "alice", origin: Origin = HOME, typed: str = "wrong") -> str:
    """Return what is said to an attempt that is one too many."""
    with pytest.raises(TooManyCallsError) as caught:
        verify_password(username, typed, origin)
    return str(caught.value)


def succeed(username: str = "alice", origin: Origin = HOME) -> None:
    user = verify_password(username, "demo", origin)
    assert user is not None
    assert user.username == username


# Who is let in.


def test_the_right_password_is_that_of_its_person(alice: User, bob: User) -> None:
    assert verify_password("alice", "demo", HOME) == alice
    assert verify_password("bob", "demo", HOME) == bob


@pytest.mark.parametrize(
    ("username", "password"),
    [("alice", "wrong"), ("alice", ""), ("ALICE", "demo"), ("nobody", "demo"), ("", "")],
)
def test_anything_else_is_nobody(alice: User, username: str, password: str) -> None:
    assert verify_password(username, password, HOME) is None


def test_somebody_whose_account_is_switched_off_is_nobody(alice: User) -> None:
    alice.is_active = False
    alice.save()
    assert verify_password("alice", "demo", HOME) is None


def test_somebody_without_a_password_is_nobody(alice: User) -> None:
    alice.set_unusable_password()
    alice.save()
    assert verify_password("alice", "", HOME) is None
    assert verify_password("alice", alice.password, HOME) is None


ODD = ["\x00", "ali\x00ce", "\ud800", "alice\udfff", "\u202ealice", "a" * 65, "é" * 1_000_000]


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_name_is_nobodys(alice: User, verified: list[str], odd: str) -> None:
    assert verify_password(odd, "demo", HOME) is None
    assert verified == []


@pytest.mark.parametrize("odd", [*ODD, "demo\x00", "demo\ud800"])
def test_an_odd_password_is_wrong(alice: User, odd: str) -> None:
    assert verify_password("alice", odd, HOME) is None


def test_a_password_that_is_too_long_is_not_even_hashed(alice: User, verified: list[str]) -> None:
    long = "x" * MAX_PASSWORD_LENGTH
    alice.set_password(long)
    alice.save()
    assert verify_password("alice", long, HOME) == alice
    assert verify_password("alice", long + "x", HOME) is None
    assert verified == ["alice"]


def test_a_name_that_nobody_has_is_as_much_work(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = []
    encode = MD5PasswordHasher.encode

    def note_and_encode(hasher: MD5PasswordHasher, password: str, salt: str) -> str:
        hashed.append(password)
        return encode(hasher, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", note_and_encode)
    fail("alice")
    fail("nobody")
    assert len(hashed) == 2


# Verified a moment ago.


def test_a_password_again_is_not_hashed_again(alice: User, bob: User, verified: list[str]) -> None:
    succeed()
    succeed(origin=OFFICE)
    assert verified == ["alice"]
    succeed("bob")
    assert verified == ["alice", "bob"]


def test_a_wrong_password_is_hashed_and_counted_after_a_right_one(
    alice: User, verified: list[str]
) -> None:
    succeed()
    fail(times=MOST)
    assert verified == ["alice"] * (MOST + 1)
    refuse(typed="demo")


def test_a_password_is_forgotten_after_a_minute(
    alice: User, verified: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("workspaces.verified_passwords.time.monotonic", lambda: now[0])
    succeed()
    for now[0] in (1030.0, 1059.9):
        succeed()
    assert verified == ["alice"]
    now[0] = 1060.0
    succeed()
    assert verified == ["alice"] * 2


def test_a_password_that_was_changed_is_forgotten(alice: User, verified: list[str]) -> None:
    succeed()
    alice.set_password("another")
    alice.save()
    assert verify_password("alice", "demo", HOME) is None
    # Nor is it taken for verified where it is set again: it has another salt.
    alice.set_password("demo")
    alice.save()
    succeed()
    assert verified == ["alice"] * 3


def test_somebody_who_was_just_let_in_is_nobody_once_switched_off(
    alice: User, verified: list[str]
) -> None:
    succeed()
    User.objects.filter(id=alice.id).update(is_active=False)
    assert verify_password("alice", "demo", HOME) is None
    assert verified == ["alice"] * 2


def test_no_end_of_passwords_is_not_remembered(
    alice: User, bob: User, verified: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workspaces.verified_passwords.MAX_KEPT", 1)
    for username in ("alice", "bob", "bob", "alice"):
        succeed(username)
    assert verified == ["alice", "bob", "alice"]


def test_one_that_is_remembered_does_not_wait_for_others(alice: User) -> None:
    succeed()
    with everybody_is_hashing():
        succeed()


def test_what_is_remembered_is_no_password(alice: User) -> None:
    succeed()
    (kept,) = verified_passwords._kept
    assert len(kept) == 32
    assert b"demo" not in kept


@pytest.mark.both_databases
def test_a_person_is_found_as_the_orm_finds_them(alice: User) -> None:
    found = sql.find_person("alice")
    expected = User.objects.get(username="alice")
    assert found is not None
    names = [field.attname for field in User._meta.concrete_fields]
    assert [getattr(found, each) for each in names] == [getattr(expected, each) for each in names]
    assert sql.find_person("Alice") is None


# How often.


@pytest.mark.parametrize("username", ["alice", "nobody"])
def test_after_too_many_failures_nothing_is_verified(
    alice: User, verified: list[str], username: str
) -> None:
    fail(username, times=MOST)
    message = refuse(username, typed="demo")
    assert message.startswith("Too many attempts to sign in. Try again in ")
    assert len(verified) == MOST


def test_whoever_succeeds_is_not_counted(alice: User) -> None:
    fail(times=MOST - 1)
    for _ in range(MOST + 1):
        assert verify_password("alice", "demo", HOME) == alice
    fail()
    refuse()


def test_a_success_does_not_forgive_failures(alice: User) -> None:
    fail(times=MOST - 1)
    assert verify_password("alice", "demo", HOME) == alice
    fail()
    refuse()


@pytest.mark.parametrize("odd", ["\x00", "\ud800", "x" * 2000])
def test_odd_attempts_are_counted_too(alice: User, odd: str) -> None:
    for _ in range(MOST):
        assert verify_password("alice", odd, HOME) is None
    refuse()


def test_somebody_elses_failures_elsewhere_do_not_matter(alice: User, bob: User) -> None:
    fail(times=MOST)
    assert verify_password("alice", "demo", OFFICE) == alice
    assert verify_password("bob", "demo", HOME) == bob


def test_whoever_guesses_from_many_addresses_is_stopped_by_the_name(
    alice: User, bob: User, lower: Lower
) -> None:
    lower(SIGN_IN_PER_NAME, 5)
    for number in range(5):
        fail(origin=Origin(f"198.51.100.{number}"))
    refuse(origin=HOME)
    assert verify_password("bob", "demo", HOME) == bob


def test_whoever_tries_many_names_is_stopped_by_the_address(alice: User, lower: Lower) -> None:
    lower(SIGN_IN_PER_ADDRESS, 5)
    for number in range(5):
        fail(f"user{number}")
    refuse("alice")
    assert verify_password("alice", "demo", OFFICE) == alice


def test_a_network_of_ipv6_is_one_address(alice: User) -> None:
    for number in range(MOST):
        fail(origin=Origin(f"2001:db8::{number:x}"))
    refuse(origin=Origin("2001:db8::ffff:1:2:3"))
    assert verify_password("alice", "demo", Origin("2001:db8:0:1::1")) == alice


@pytest.mark.parametrize(
    ("limit", "same"),
    [
        (SIGN_IN_PER_NAME_AND_ADDRESS, ("alice", HOME)),
        (SIGN_IN_PER_ADDRESS, ("bob", HOME)),
        (SIGN_IN_PER_NAME, ("alice", OFFICE)),
    ],
)
def test_an_attempt_that_one_limit_refuses_uses_up_no_other(
    alice: User, lower: Lower, limit: Limit, same: tuple[str, Origin]
) -> None:
    lower(limit, 2)
    fail(times=2)
    before = sorted(CallCount.objects.values_list("subject", "count"))
    refuse(*same)
    assert sorted(CallCount.objects.values_list("subject", "count")) == before


def test_a_name_is_not_taken_for_an_address(alice: User, lower: Lower) -> None:
    lower(SIGN_IN_PER_NAME, 2)
    lower(SIGN_IN_PER_ADDRESS, 2)
    fail(HOME.address, OFFICE, times=2)
    assert verify_password("alice", "demo", HOME) == alice


def test_a_database_that_cannot_be_used_lets_nobody_in(alice: User, verified: list[str]) -> None:
    def break_down(execute: Any, sql: str, *arguments: Any) -> Any:
        if "callcount" in sql:
            raise OperationalError("the server is gone")
        return execute(sql, *arguments)

    with connection.execute_wrapper(break_down), pytest.raises(OperationalError):
        verify_password("alice", "demo", HOME)
    assert verified == []


def _is_verified(password: str, username: str, address: str) -> bool:
    try:
        verify_password(username, password, Origin(address))
    except TooManyCallsError:
        return False
    return True


# Someone who signed in a short time ago, from the same address.


@pytest.mark.parametrize("limit", [SIGN_IN_PER_NAME, SIGN_IN_PER_ADDRESS])
def test_guesses_from_elsewhere_keep_nobody_out_who_was_in_from_here(
    alice: User, lower: Lower, limit: Limit
) -> None:
    lower(limit, 5)
    succeed()
    for number in range(5):
        if limit is SIGN_IN_PER_NAME:
            fail(origin=Origin(f"198.51.100.{number}"))
        else:
            fail(f"user{number}")
    succeed()
    # From elsewhere, and as someone else, it is as it was.
    refuse(origin=OFFICE) if limit is SIGN_IN_PER_NAME else refuse("bob")
    CallCount.objects.filter(count=1).update(window=F("window") - timedelta(hours=1))
    succeed()


def test_what_was_long_ago_counts_for_nothing(alice: User, lower: Lower) -> None:
    lower(SIGN_IN_PER_NAME, 2)
    succeed()
    CallCount.objects.update(window=F("window") - timedelta(hours=2))
    fail(origin=OFFICE, times=2)
    refuse()


def test_whoever_was_in_is_stopped_by_failures_from_the_same_address(alice: User) -> None:
    succeed()
    fail(times=MOST)
    refuse(typed="demo")


def test_a_wrong_password_is_no_sign_in(alice: User, lower: Lower) -> None:
    lower(SIGN_IN_PER_NAME, 2)
    fail(times=2)
    refuse(typed="demo")


# At once.


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_guesses_at_once_exceed_the_limit_by_those_in_turn_at_most(
    alice: User, verified: list[str]
) -> None:
    guesses = [partial(_is_verified, f"{n}", "alice", HOME.address) for n in range(THREADS)]
    let_through = at_once(guesses).count(True)
    assert let_through == len(verified)
    assert MOST <= let_through < MOST + MAX_HASHES_AT_ONCE
    refuse()


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_right_passwords_at_once_are_all_let_in(alice: User, verified: list[str]) -> None:
    right = [partial(_is_verified, "demo", "alice", HOME.address) for _ in range(THREADS)]
    assert THREADS > MOST
    for _ in range(2):
        assert all(at_once(right))


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_attempts_with_names_and_addresses_crossed_never_wait_in_a_circle(
    alice: User, bob: User
) -> None:
    crossed = [
        partial(_is_verified, "demo" if number % 3 else "wrong", username, f"192.0.2.{number % 2}")
        for number in range(8)
        for username in ("alice", "bob")
    ]
    for _ in range(3):
        assert all(at_once(crossed))

"""Limits: exactly so many calls, however many ask, and no more than a query or less for each."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from tests.at_once import THREADS, at_once
from workspaces import throttles
from workspaces.models import CallCount
from workspaces.throttles import (
    Limit,
    TooManyCallsError,
    count_call,
    counted_address,
    forget_leases,
    forget_old_counts,
    lease_for,
    note_call,
    require_open,
    windows_since_noted,
)

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

HOUR = timedelta(hours=1)
THREE = Limit("three", calls=3, seconds=3600, counted="tries")
LEASED = Limit("leased", calls=10, seconds=3600, lease=4, counted="tries")


@pytest.fixture(autouse=True)
def _no_window_ends(within_one_window: None) -> None:
    pass


def is_let_through(limit: Limit, *subject: str) -> bool:
    try:
        count_call(limit, *subject)
    except TooManyCallsError:
        return False
    return True


def count_let_through(limit: Limit, times: int, *subject: str) -> int:
    return [is_let_through(limit, *subject) for _ in range(times)].count(True)


def end_windows() -> None:
    """Move all counts into windows that are over, and let leases lapse."""
    CallCount.objects.update(window=F("window") - HOUR)
    forget_leases()


@contextmanager
def broken_database() -> Iterator[None]:
    def fail(*_: Any) -> None:
        raise OperationalError("the server is gone")

    with connection.execute_wrapper(fail):
        yield


# Counting.


@pytest.mark.parametrize("limit", [THREE, LEASED])
def test_as_many_calls_as_the_limit_says_are_let_through(limit: Limit) -> None:
    assert count_let_through(limit, limit.calls, "alice") == limit.calls
    with pytest.raises(TooManyCallsError) as caught:
        count_call(limit, "alice")
    assert 1 <= caught.value.retry_after_seconds <= 3600
    assert str(caught.value).startswith("Too many tries. Try again in ")


@pytest.mark.parametrize("limit", [THREE, LEASED])
def test_a_call_that_is_refused_is_not_counted(limit: Limit) -> None:
    count_let_through(limit, limit.calls + 5, "alice")
    assert CallCount.objects.get().count == limit.calls


@pytest.mark.parametrize("limit", [THREE, LEASED])
def test_the_next_window_lets_calls_through_again(limit: Limit) -> None:
    assert count_let_through(limit, limit.calls + 1, "alice") == limit.calls
    end_windows()
    assert count_let_through(limit, limit.calls + 1, "alice") == limit.calls


def test_subjects_are_counted_apart() -> None:
    subjects = [("ab", "c"), ("a", "bc"), ("abc",), ("ab", "c", ""), ('ab", "c',)]
    for subject in subjects:
        assert count_let_through(THREE, 4, *subject) == 3


def test_limits_are_counted_apart() -> None:
    assert count_let_through(THREE, 4, "alice") == 3
    assert count_let_through(replace(THREE, name="other"), 4, "alice") == 3


def test_every_limit_has_a_name_of_its_own() -> None:
    limits = [each for each in vars(throttles).values() if isinstance(each, Limit)]
    assert len({limit.name for limit in limits}) == len(limits) >= 8


def test_a_limit_is_open_until_its_calls_are_counted() -> None:
    require_open(THREE, "alice")
    assert not CallCount.objects.exists()
    count_let_through(THREE, 2, "alice")
    for _ in range(5):
        require_open(THREE, "alice")
    count_call(THREE, "alice")
    with pytest.raises(TooManyCallsError) as caught:
        require_open(THREE, "alice")
    assert 1 <= caught.value.retry_after_seconds <= 3600
    require_open(THREE, "bob")
    assert CallCount.objects.get().count == 3
    end_windows()
    require_open(THREE, "alice")


def test_what_is_noted_refuses_nobody_and_exceeds_no_limit() -> None:
    for _ in range(5):
        note_call(THREE, "alice")
    assert CallCount.objects.get().count == 3


def test_what_was_noted_is_known_in_this_window_and_the_next() -> None:
    assert windows_since_noted(THREE, "alice") is None
    note_call(THREE, "alice")
    assert windows_since_noted(THREE, "alice") == 0
    assert windows_since_noted(THREE, "bob") is None
    end_windows()
    assert windows_since_noted(THREE, "alice") == 1
    assert forget_old_counts() == 0
    end_windows()
    assert windows_since_noted(THREE, "alice") is None
    assert forget_old_counts() == 1


def test_neither_name_nor_address_is_kept() -> None:
    count_call(THREE, "alice", "192.0.2.1")
    row = CallCount.objects.get()
    assert len(row.subject) == 64
    assert set(row.subject) <= set("0123456789abcdef")


@pytest.mark.parametrize("part", ["\x00", "\ud800", "é" * 1_000_000, ""])
def test_any_text_can_be_counted(part: str) -> None:
    assert count_let_through(THREE, 4, part) == 3


@pytest.mark.parametrize("seconds", [1, 7, 60, 900, 3600])
def test_windows_begin_at_multiples_of_their_length(seconds: int) -> None:
    count_call(replace(THREE, seconds=seconds), "alice")
    window = CallCount.objects.get().window
    assert window.timestamp() % seconds == 0
    assert -1 <= (timezone.now() - window).total_seconds() < seconds + 1


def test_the_clock_of_the_node_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    count_call(THREE, "alice")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(timezone, "now", lambda: datetime(1999, 1, 1, tzinfo=UTC))
    assert count_let_through(THREE, 3, "alice") == 2
    assert CallCount.objects.count() == 1


def test_a_window_that_ends_while_a_call_is_refused_does_not_refuse_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count_let_through(THREE, 3, "alice")
    execute = throttles._execute

    def end_before_reading(template: str, parameters: Any) -> Any:
        if template == throttles._READ_COUNT:
            end_windows()
        return execute(template, parameters)

    monkeypatch.setattr(throttles, "_execute", end_before_reading)
    assert is_let_through(THREE, "alice")


def test_what_a_transaction_rolls_back_was_not_counted() -> None:
    def count_and_fail() -> None:
        with transaction.atomic():
            count_call(THREE, "alice")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        count_and_fail()
    assert count_let_through(THREE, 4, "alice") == 3


@pytest.mark.parametrize("limit", [THREE, LEASED])
def test_a_database_that_cannot_be_used_refuses_nobody(limit: Limit) -> None:
    with broken_database(), pytest.raises(OperationalError, match="the server is gone"):
        count_call(limit, "alice")
    assert count_let_through(limit, limit.calls + 1, "alice") == limit.calls


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "1 second"),
        (0.2, "1 second"),
        (1.5, "2 seconds"),
        (60, "60 seconds"),
        (60.1, "2 minutes"),
        (899.2, "15 minutes"),
        (3600, "60 minutes"),
    ],
)
def test_people_read_how_long_to_wait(seconds: float, words: str) -> None:
    assert str(TooManyCallsError(THREE, seconds)) == f"Too many tries. Try again in {words}."


@pytest.mark.parametrize(
    "wrong", [{"lease": 0}, {"lease": 4}, {"calls": 0}, {"seconds": 0}, {"seconds": 3601}]
)
def test_a_limit_that_cannot_be_kept_is_none(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="has from"):
        replace(THREE, **wrong)  # type: ignore[arg-type]


# Queries.


def test_a_call_is_one_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for _ in range(2):
        with django_assert_num_queries(1):
            count_call(THREE, "alice")


def test_most_calls_of_a_leased_limit_are_no_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    limit = Limit("hot", calls=60_000, seconds=3600, lease=lease_for(60_000))
    with django_assert_num_queries(3):
        assert count_let_through(limit, 300, "alice") == 300
    assert CallCount.objects.get().count == 300


def test_once_a_leased_limit_is_reached_a_refusal_is_no_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    assert count_let_through(LEASED, 11, "alice") == 10
    with django_assert_num_queries(0):
        assert count_let_through(LEASED, 20, "alice") == 0


@pytest.mark.parametrize(
    ("calls", "lease"), [(1, 1), (99, 1), (1200, 12), (60_000, 100), (10_000_000, 100)]
)
def test_a_lease_is_a_hundredth_of_the_limit_at_most(calls: int, lease: int) -> None:
    assert lease_for(calls) == lease


# Leases.


def test_what_a_process_has_leased_nobody_else_gets() -> None:
    assert is_let_through(LEASED, "alice")
    forget_leases()  # As if that process had ended, or this one were another.
    assert count_let_through(LEASED, 20, "alice") == LEASED.calls - LEASED.lease


def test_a_leased_permit_lapses_with_its_window(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    clock = SimpleNamespace(monotonic=time.monotonic)
    monkeypatch.setattr(throttles, "time", clock)
    count_call(LEASED, "alice")
    later = time.monotonic() + LEASED.seconds
    clock.monotonic = lambda: later
    with django_assert_num_queries(1):
        count_call(LEASED, "alice")


def test_permits_of_an_earlier_window_are_not_spent_in_a_later_one(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    assert count_let_through(LEASED, 4, "alice") == 4
    take = throttles._take_permits

    def answer_late(limit: Limit, key: str) -> Any:
        moment, permits = take(limit, key)
        return replace(moment, window=moment.window - 1), permits

    monkeypatch.setattr(throttles, "_take_permits", answer_late)
    count_call(LEASED, "alice")
    with django_assert_num_queries(2):  # No four are left: one.
        count_call(LEASED, "alice")


def test_pots_of_windows_that_are_over_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttles, "_MANY_BUCKETS", 2)
    clock = SimpleNamespace(monotonic=time.monotonic)
    monkeypatch.setattr(throttles, "time", clock)
    for name in "abcd":
        count_call(LEASED, name)
    assert len(throttles._buckets) == 4
    later = time.monotonic() + LEASED.seconds
    clock.monotonic = lambda: later
    count_call(LEASED, "e")
    assert len(throttles._buckets) == 1


# Many at once.


def _call_often(limit: Limit, times: int) -> int:
    return count_let_through(limit, times, "alice")


@pytest.mark.django_db(transaction=True)
def test_of_many_calls_at_once_exactly_as_many_as_allowed_are_let_through() -> None:
    limit = Limit("race", calls=37, seconds=3600)
    let_through = at_once([partial(_call_often, limit, 5)] * THREADS)
    assert sum(let_through) == 37
    assert CallCount.objects.get().count == 37


@pytest.mark.django_db(transaction=True)
def test_of_many_first_calls_at_once_none_is_lost() -> None:
    limit = Limit("race", calls=1000, seconds=3600)
    assert sum(at_once([partial(_call_often, limit, 1)] * THREADS)) == THREADS
    assert CallCount.objects.get().count == THREADS


@pytest.mark.django_db(transaction=True)
def test_threads_that_share_leases_are_let_through_exactly_as_often_as_allowed() -> None:
    limit = Limit("race", calls=501, seconds=3600, lease=7)
    let_through = sum(at_once([partial(_call_often, limit, 40)] * THREADS))
    assert let_through <= 501
    # A thread may be refused while another is fetching the last lease. What that one has not spent
    # is there for the one who comes next.
    assert let_through + _call_often(limit, 20) == 501
    assert CallCount.objects.get().count == 501


@pytest.mark.django_db(transaction=True)
def test_nodes_with_leases_of_their_own_let_through_no_more_than_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each thread is a node here: no two of them share what they have leased."""
    monkeypatch.setattr(throttles, "_spend_from_pot", lambda *_: False)
    limit = Limit("race", calls=100, seconds=3600, lease=9)
    assert sum(at_once([partial(_call_often, limit, 4)] * THREADS)) <= 100
    assert CallCount.objects.get().count == 100


# Addresses.


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::7", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", ""),
        ("unix:", "unix:"),
    ],
)
def test_a_network_of_ipv6_counts_as_one_address(address: str, counted: str) -> None:
    assert counted_address(address) == counted


# Tidying up.


def test_counts_of_windows_that_are_over_are_deleted() -> None:
    count_call(THREE, "alice")
    count_call(replace(THREE, name="other"), "alice")
    CallCount.objects.filter(id=CallCount.objects.latest("id").id).update(
        window=F("window") - 2 * HOUR
    )
    assert forget_old_counts() == 1
    assert forget_old_counts() == 0
    assert count_let_through(THREE, 3, "alice") == 2


def test_many_old_counts_are_deleted_in_batches(
    monkeypatch: pytest.MonkeyPatch, make_old_counts: Callable[[int], None]
) -> None:
    monkeypatch.setattr(throttles, "FORGOTTEN_AT_ONCE", 2)
    make_old_counts(5)
    assert forget_old_counts() == 5
    assert not CallCount.objects.exists()


@pytest.fixture
def make_old_counts() -> Callable[[int], None]:
    """Return a function that makes counts of windows that ended long ago."""

    def make_old_counts(number: int) -> None:
        CallCount.objects.bulk_create(
            CallCount(subject=f"{each:064}", window=timezone.now() - 3 * HOUR, count=1)
            for each in range(number)
        )

    return make_old_counts

"""How often someone may call. Counted in the database, so the limits hold over all nodes together.

A limit has windows of fixed length, on the database's clock: those of nodes may differ. What is
over the limit in one window is let through in the next.
"""

import hashlib
import json
import math
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from workspaces.models import CallCount

LONGEST_WINDOW_SECONDS = 3600
# The window that runs and the one before it: `windows_since_noted` asks about both.
KEPT_WINDOWS = 2
MAX_LEASED_PERMITS = 100
FORGOTTEN_AT_ONCE = 1000
BUSY_SECONDS = 5

# Of one provider's customer, who could come from any of them.
_CUSTOMER_PREFIX_LENGTH = 64
# Far more callers than are busy within a minute; only then check which are gone.
_MANY_BUCKETS = 10_000


@dataclass(frozen=True)
class Limit:
    """At most `calls` calls within each window of `seconds`, for each subject.

    `name` tells limits apart; `counted` is what a person reads was too much. With a `lease` above
    one, a process takes so many permits from the database at a time and spends them by itself: it
    never lets through more than the limit, but what it has not spent lapses with the window.
    """

    name: str
    calls: int
    seconds: int
    lease: int = 1
    counted: str = "calls"

    def __post_init__(self) -> None:
        if not 1 <= self.lease <= self.calls:
            raise ValueError("a lease has from one to all of the limit's calls")
        if not 1 <= self.seconds <= LONGEST_WINDOW_SECONDS:
            raise ValueError(f"a window has from 1 to {LONGEST_WINDOW_SECONDS} seconds")


class TooManyCallsError(Exception):
    """A limit is reached. The message is for people; `retry_after_seconds` is at least 1."""

    def __init__(self, limit: Limit, seconds_left: float) -> None:
        self.limit = limit
        self.retry_after_seconds = max(1, math.ceil(seconds_left))
        wait = _describe_wait(self.retry_after_seconds)
        super().__init__(f"Too many {limit.counted}. Try again in {wait}.")


class BusyError(TooManyCallsError):
    """The process has as much to do as it can take on: no one called too often, but all together.

    Answered like a reached limit.
    """

    def __init__(self) -> None:
        self.retry_after_seconds = BUSY_SECONDS
        Exception.__init__(self, "The site is busy at the moment. Try again in a few seconds.")


def lease_for(calls: int) -> int:
    """Return how many permits of a limit of `calls` a process may take at a time: a hundredth."""
    return max(1, min(MAX_LEASED_PERMITS, calls // 100))


_SIGN_IN = "attempts to sign in"

SIGN_IN_PER_NAME_AND_ADDRESS = Limit(
    "sign-in per name and address", calls=10, seconds=15 * 60, counted=_SIGN_IN
)
# This stops someone who guesses from many addresses.
SIGN_IN_PER_NAME = Limit("sign-in per name", calls=50, seconds=3600, counted=_SIGN_IN)
# This stops someone who tries one password on many names.
SIGN_IN_PER_ADDRESS = Limit("sign-in per address", calls=100, seconds=15 * 60, counted=_SIGN_IN)
# Not a real limit: this notes who signed in from which address within this hour.
SIGNED_IN = Limit("signed in", calls=1, seconds=3600)
# Each is a session in the database. Many people may share an address.
SIGN_ONS_PER_ADDRESS = Limit("sign-ons per address", calls=2000, seconds=15 * 60, counted=_SIGN_IN)
# A provider sends none that is not good.
LOGOUT_TOKENS_PER_ADDRESS = Limit(
    "logout tokens per address", calls=100, seconds=15 * 60, counted="wrong logout tokens"
)
# No one guesses an access token. This is for programs that keep using an expired one.
TOKEN_LOGINS_PER_ADDRESS = Limit(
    "access token logins per address", calls=600, seconds=15 * 60, counted="wrong access tokens"
)
PASSWORD_LINKS_PER_ADDRESS = Limit(
    "password links per address", calls=10, seconds=3600, counted="password links"
)
# From any address: this keeps mailboxes from being flooded.
PASSWORD_LINKS_PER_EMAIL = Limit(
    "password links per e-mail address", calls=3, seconds=3600, counted="password links"
)
# Making an account by an invitation shows which names are taken.
ACCOUNTS_PER_ADDRESS = Limit(
    "accounts per address", calls=20, seconds=3600, counted="attempts to make an account"
)
# Each may be a mail to someone who did not ask for it.
INVITATIONS_PER_WORKSPACE = Limit(
    "invitations per workspace", calls=100, seconds=3600, counted="invitations"
)
TESTER_PER_CALLER = Limit("tester per caller", calls=300, seconds=60, counted="tests of patterns")
# One of a workspace with very many tags takes about a second.
PREVIEWS_PER_CALLER = Limit("previews per caller", calls=120, seconds=60, counted="previews")
# Dry runs of people, and of tokens that may not check for real.
ASKING_PER_CALLER = Limit("asking per caller", calls=600, seconds=60, counted="dry runs")
CHECKS_PER_TOKEN = Limit(
    "checks per token",
    calls=settings.CHECKS_PER_MINUTE,
    seconds=60,
    lease=lease_for(settings.CHECKS_PER_MINUTE),
    counted="checks",
)
# A push is several events, and most registries send each by itself.
EVENTS_PER_TOKEN = Limit(
    "registry events per token",
    calls=10 * settings.CHECKS_PER_MINUTE,
    seconds=60,
    lease=lease_for(10 * settings.CHECKS_PER_MINUTE),
    counted="registry events",
)
# Of a user name from one address, or of an address where no one signs in.
TOKENS_PER_CALLER = Limit(
    "tokens per caller",
    calls=settings.TOKENS_PER_MINUTE,
    seconds=60,
    lease=lease_for(settings.TOKENS_PER_MINUTE),
    counted="requests for registry tokens",
)


def count_call(limit: Limit, *subject: str) -> None:
    """Count one call of `subject`: its parts, in the order in which the limit is always asked.

    Raises TooManyCallsError if the window has no call left; then nothing is counted. A database
    error goes up as it is. Best outside of a transaction: within one, others of the same subject
    wait for its end, and what it rolls back was not counted, though a lease would still be spent.
    """
    key = _hash_subject(limit, subject)
    if limit.lease > 1:
        _spend_leased_permit(limit, key)
        return
    moment, permits = _take_permits(limit, key)
    if not permits:
        raise TooManyCallsError(limit, moment.seconds_left)


def require_open(limit: Limit, *subject: str) -> None:
    """Raise TooManyCallsError if the window has no call left for `subject`. Nothing is counted.

    For limits without a lease, of calls that are known only afterwards to count. Calls at the same
    time may exceed the limit.
    """
    moment, count = _read_count(limit, _hash_subject(limit, subject))
    if count >= limit.calls:
        raise TooManyCallsError(limit, moment.seconds_left)


def note_call(limit: Limit, *subject: str) -> None:
    """Count one call of `subject` that was made already, where the window has one left for it."""
    with suppress(TooManyCallsError):
        count_call(limit, *subject)


def windows_since_noted(limit: Limit, *subject: str) -> int | None:
    """Return 0 where a call of `subject` was counted in the window that runs, 1 in the one before.

    None where in neither.
    """
    parameters = {"subject": _hash_subject(limit, subject), "seconds": limit.seconds}
    return min((ago for (ago,) in _execute(_FIND_NOTE, parameters)), default=None)


def counted_address(address: str) -> str:
    """Return what a caller's address counts as: the address, or of IPv6 its network of /64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ip_network((int(parsed), _CUSTOMER_PREFIX_LENGTH), strict=False))


def forget_old_counts() -> int:
    """Delete the counts that are no longer needed, in batches; return how many."""
    ended = CallCount.objects.filter(
        window__lte=Now() - timedelta(seconds=KEPT_WINDOWS * LONGEST_WINDOW_SECONDS)
    ).order_by("window")
    count = 0
    while ids := list(ended.values_list("id", flat=True)[:FORGOTTEN_AT_ONCE]):
        CallCount.objects.filter(id__in=ids).delete()
        count += len(ids)
    return count


# The database.


@dataclass(frozen=True)
class _Moment:
    """The number of the window that runs, how long it will, and when that is by our own clock."""

    window: int
    seconds_left: float
    ends_at: float


# Both databases read the clock once a statement, so window and moment agree.
_CLOCK = {
    "postgresql": "extract(epoch FROM statement_timestamp())",
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
}
_WINDOW = {
    "postgresql": "to_timestamp(floor({clock} / %(seconds)s) * %(seconds)s)",
    "sqlite": "datetime(CAST({clock} / %(seconds)s AS INTEGER) * %(seconds)s, 'unixepoch')",
}
# One statement, so that no one can come in between, whichever node they are on.
_TAKE = """
    INSERT INTO workspaces_callcount AS counted (subject, "window", count)
    VALUES (%(subject)s, {window}, %(permits)s)
    ON CONFLICT (subject, "window") DO UPDATE SET count = counted.count + excluded.count
    WHERE counted.count + excluded.count <= %(calls)s
    RETURNING {clock}
"""
_READ_COUNT = """
    SELECT {clock}, (
        SELECT count FROM workspaces_callcount
        WHERE subject = %(subject)s AND "window" = {window}
    )
"""
# In KEPT_WINDOWS windows.
_FIND_NOTE = """
    SELECT CASE WHEN "window" = {window} THEN 0 ELSE 1 END FROM workspaces_callcount
    WHERE subject = %(subject)s AND "window" IN ({window}, {window_before})
"""


def _take_permits(limit: Limit, key: str) -> tuple[_Moment, int]:
    """Take a lease, or one permit where there are fewer; return when, and how many.

    None are taken where the window has no more.
    """
    parameters = {"subject": key, "seconds": limit.seconds, "calls": limit.calls}
    while True:
        asked_at = time.monotonic()
        for permits in sorted({limit.lease, 1}, reverse=True):
            for (epoch,) in _execute(_TAKE, parameters | {"permits": permits}):
                return _to_moment(limit, epoch, asked_at), permits
        moment, count = _read_count(limit, key)
        # Otherwise the window ended in between.
        if count >= limit.calls:
            return moment, 0


def _read_count(limit: Limit, key: str) -> tuple[_Moment, int]:
    """Return when it is, and how many permits of the window are taken."""
    asked_at = time.monotonic()
    [(epoch, count)] = _execute(_READ_COUNT, {"subject": key, "seconds": limit.seconds})
    return _to_moment(limit, epoch, asked_at), count or 0


def _execute(template: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Execute a statement about the window that runs; return the rows that it answers."""
    clock, window = _CLOCK[connection.vendor], _WINDOW[connection.vendor]
    statement = template.format(
        clock=clock,
        window=window.format(clock=clock),
        window_before=window.format(clock=f"({clock} - %(seconds)s)"),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def _to_moment(limit: Limit, clock: float | Decimal, asked_at: float) -> _Moment:
    epoch = float(clock)
    seconds_left = limit.seconds - epoch % limit.seconds
    # From before the question: the window is never thought to last longer than it does.
    return _Moment(int(epoch // limit.seconds), seconds_left, asked_at + seconds_left)


def _hash_subject(limit: Limit, subject: tuple[str, ...]) -> str:
    """Return what is kept of a subject: neither an address nor a name."""
    return hashlib.sha256(json.dumps([limit.name, *subject]).encode()).hexdigest()


def _describe_wait(seconds: int) -> str:
    number, unit = (seconds, "second") if seconds <= 60 else (math.ceil(seconds / 60), "minute")
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


# Permits that this process has taken and not spent.


@dataclass
class _Bucket:
    """The permits of one subject in one window. `is_last`: the database has no more of them."""

    window: int
    ends_at: float
    permits: int = 0
    is_last: bool = False


_buckets: dict[str, _Bucket] = {}
_pots_lock = threading.Lock()


def forget_leases() -> None:
    """Let the permits lapse that this process has taken and not spent."""
    with _pots_lock:
        _buckets.clear()


def _spend_leased_permit(limit: Limit, key: str) -> None:
    if _spend_from_pot(limit, key):
        return
    # The lock is not held here: with a database that hangs, no one waits for anyone else.
    # Threads that find the bucket empty at the same moment take a lease each.
    moment, permits = _take_permits(limit, key)
    if permits:
        _fill_bucket(key, moment, permits - 1)
        return
    _fill_bucket(key, moment, 0, is_last=True)
    # Another thread may have filled the bucket in between; what it took is for everyone.
    if not _spend_from_pot(limit, key):
        raise TooManyCallsError(limit, moment.seconds_left)


def _spend_from_pot(limit: Limit, key: str) -> bool:
    """Spend a permit that is there already. Raises TooManyCallsError if there are no more."""
    with _pots_lock:
        bucket = _buckets.get(key)
        seconds_left = bucket.ends_at - time.monotonic() if bucket else 0
        if bucket is None or seconds_left <= 0:
            return False
        if bucket.permits:
            bucket.permits -= 1
            return True
        if bucket.is_last:
            raise TooManyCallsError(limit, seconds_left)
        return False


def _fill_bucket(key: str, moment: _Moment, permits: int, *, is_last: bool = False) -> None:
    """Add permits of the window of `moment`. Those of a window before the bucket's own lapse."""
    with _pots_lock:
        bucket = _buckets.get(key)
        if bucket is None or bucket.window < moment.window:
            _drop_ended_pots()
            bucket = _buckets[key] = _Bucket(moment.window, moment.ends_at)
        if bucket.window == moment.window:
            bucket.permits += permits
            bucket.is_last = bucket.is_last or is_last


def _drop_ended_pots() -> None:
    if len(_buckets) > _MANY_BUCKETS:
        now = time.monotonic()
        for key in [key for key, bucket in _buckets.items() if bucket.ends_at <= now]:
            del _buckets[key]

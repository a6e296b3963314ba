"""Gate and site with named fault points: `X-Fault: kill after the claim commits` kills there.

A request names its own fault, so that everything else goes on as it would. Several, with commas
between, strike in this order; "pass" does nothing but let the next one have its turn. Every point
is a place in the code of production, which knows nothing of it.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import jwt.api_jwt
from django.conf import settings
from django.utils import timezone

import packages_site.wsgi
from containers.registry import client
from immutability.actions import attempts, delete_manifest, push_manifest, remove, send
from tests.services.meetings import find_meeting

WAIT_SECONDS = 20.0
# As in production, but for tests that wait for their ends.
client.RegistryClient.__init__.__defaults__ = (float(os.environ.get("FAULT_DEADLINE", "2")),)
push_manifest.HOLD_SECONDS = 0.5
if "FAULT_LEASE_SECONDS" in os.environ:
    # Half of the lease is for the call, as in production.
    _lease = float(os.environ["FAULT_LEASE_SECONDS"])
    vars(attempts).update(
        ATTEMPT_LEASE=timedelta(seconds=_lease), UPSTREAM_DEADLINE_SECONDS=_lease / 2
    )
# A clock that is ahead, or behind.
_ahead = timedelta(minutes=float(os.environ.get("FAULT_CLOCK_MINUTES", "0")))
_now, _time = timezone.now, time.time
timezone.now = lambda: _now() + _ahead
time.time = lambda: _time() + _ahead.total_seconds()


class _TheirTime(datetime):
    """Tells the time by that clock."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """Return the time."""
        return cls.fromtimestamp(time.time(), tz)


# Which compares it with the times of a token.
vars(jwt.api_jwt)["datetime"] = _TheirTime
_options = settings.DATABASES["default"]["OPTIONS"]
# How long a connection of the pool, or SQLite's write lock, is waited for.
if "pool" in _options:
    _options["pool"]["max_size"] = int(os.environ.get("FAULT_POOL_SIZE", "16"))
    _options["pool"]["timeout"] = float(os.environ.get("FAULT_LOCK_SECONDS", "2"))
else:
    _options["timeout"] = float(os.environ.get("FAULT_LOCK_SECONDS", "20"))


@dataclass(frozen=True)
class Point:
    """A function, and whether the fault strikes before it or after it."""

    owner: Any
    name: str
    is_before: bool = False


POINTS = {
    "before the claim commits": Point(push_manifest, "open_push"),
    "after the claim commits": Point(push_manifest, "_announce"),
    "after the look": Point(push_manifest, "adopt_present"),
    "after it is marked as sent": Point(push_manifest, "mark_sent"),
    "before the write leaves": Point(client.RegistryClient, "put_manifest", is_before=True),
    "after the registry's answer": Point(client.RegistryClient, "put_manifest"),
    "during the confirmation": Point(send, "confirm_claim"),
    "at the end of the confirmation": Point(send, "record_pushes"),
    "after the confirmation": Point(push_manifest, "send_push"),
    "after the delete is decided": Point(delete_manifest, "_find_refusal"),
    "after the delete is announced": Point(delete_manifest, "_announce"),
    "after the delete is marked as sent": Point(delete_manifest, "mark_sent"),
    "before the delete leaves": Point(client.RegistryClient, "delete_manifest", is_before=True),
    "after the registry's answer to the delete": Point(client.RegistryClient, "delete_manifest"),
    "while the delete is settled": Point(send, "forget_digest"),
    "after the delete is settled": Point(send, "settle_as_deleted"),
    "before the admin's delete commits": Point(remove, "_announce"),
    "after the admin's delete commits": Point(remove, "_mark_sent", is_before=True),
    "after the admin's delete is marked as sent": Point(remove, "_mark_sent"),
    "between the delete of the tag and that of its image": Point(remove, "end_unsupported"),
    "before the image is deleted": Point(remove, "_require_nothing_else"),
}

_current = threading.local()


def strike(point: str) -> None:
    """Do at `point` what the request of this thread asks for."""
    faults: list[str] = getattr(_current, "faults", [])
    action, _, where = faults[0].partition(" ") if faults else ("", "", "")
    if where != point:
        return
    faults.pop(0)
    if action == "kill":
        os.killpg(os.getpgid(0), signal.SIGKILL)
        time.sleep(WAIT_SECONDS)
    elif action == "hang":
        os.killpg(os.getpgid(0), signal.SIGSTOP)
    elif action == "wait":
        _wait_for_leave(point)
    elif action == "fail":
        raise RuntimeError(f"a bug {point}")


def _wait_for_leave(point: str) -> None:
    """Say that the point is reached, and wait for leave to go on."""
    meeting = find_meeting(Path(os.environ["DATA_DIR"]), point)
    meeting.reached.touch()
    ends_at = time.monotonic() + WAIT_SECONDS
    while not meeting.leave.exists() and time.monotonic() < ends_at:
        time.sleep(0.01)


def _hook(point: str, place: Point) -> None:
    original = getattr(place.owner, place.name)

    def hooked(*args: Any, **options: Any) -> Any:
        if place.is_before:
            strike(point)
        result = original(*args, **options)
        if not place.is_before:
            strike(point)
        return result

    setattr(place.owner, place.name, hooked)


for _point, _place in POINTS.items():
    _hook(_point, _place)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The application, with the fault that the request names."""
    named = environ.get("HTTP_X_FAULT", "").split(", ")
    _current.faults = [fault for fault in named if fault]
    return packages_site.wsgi.application(environ, start_response)

"""Gate and site with named fault points: `X-Fault: kill after the claim commits` kills there.

A request names its own fault, so that everything else goes on as it would. Several, with commas
between, strike in this order. Every point is a place in the code of production, which knows nothing
of it.
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

import packages_site.wsgi  # noqa: F401  (it sets Django up, for what follows)
from containers import writes
from containers.names import TagName
from containers.registry.client import RegistryClient
from immutability.delete import gate as delete_gate
from immutability.push import gate as push_gate
from tests.services.meetings import find_meeting
from tests.services.short_timeouts import application as short_application

WAIT_SECONDS = 20.0
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
    """A function, and whether the fault strikes before it or after it.

    With `by_tag` only calls for a tag count, or only those for a digest.
    """

    owner: Any
    name: str
    is_before: bool = False
    by_tag: bool | None = None


_PUT = "put_manifest"
_DELETE = "delete_manifest"
POINTS = {
    "before the store": Point(RegistryClient, _PUT, is_before=True, by_tag=False),
    "after the store": Point(RegistryClient, _PUT, by_tag=False),
    "before the claim commits": Point(writes, "begin_write"),
    "after the claim commits": Point(push_gate, "_claim"),
    "before the point leaves": Point(RegistryClient, _PUT, is_before=True, by_tag=True),
    "after the point left": Point(RegistryClient, _PUT, by_tag=True),
    "before the settlement commits": Point(writes, "end_write"),
    "after the settlement commits": Point(push_gate, "settle_push"),
    "before the delete begins": Point(delete_gate, "_begin", is_before=True),
    "after the delete has begun": Point(delete_gate, "_begin"),
    "before the delete leaves": Point(RegistryClient, _DELETE, is_before=True),
    "after the delete left": Point(RegistryClient, _DELETE),
    "after the delete is settled": Point(delete_gate, "settle_delete"),
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
        counts = place.by_tag is None or isinstance(args[2], TagName) == place.by_tag
        if counts and place.is_before:
            strike(point)
        result = original(*args, **options)
        if counts and not place.is_before:
            strike(point)
        return result

    setattr(place.owner, place.name, hooked)


for _point, _place in POINTS.items():
    _hook(_point, _place)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The application, with the fault that the request names."""
    named = environ.get("HTTP_X_FAULT", "").split(", ")
    _current.faults = [fault for fault in named if fault]
    return short_application(environ, start_response)

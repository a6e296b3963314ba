"""The gate with named fault points: `X-Fault: kill after the claim commits` kills it there.

A request names its own fault, so that everything else goes on as it would. Every point is a place
in the code of production, which knows nothing of it.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import packages_site.wsgi
from containers.registry import client
from immutability.actions import attempts, delete_manifest, push_manifest

WAIT_SECONDS = 20.0
# As in production, but for tests that wait for their ends.
client.RegistryClient.__init__.__defaults__ = (2.0,)
push_manifest.HOLD_SECONDS = 1.5


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
    "during the confirmation": Point(attempts, "confirm_claim"),
    "at the end of the confirmation": Point(attempts, "record_pushes"),
    "after the confirmation": Point(push_manifest, "send_push"),
    "after the delete is announced": Point(delete_manifest, "_announce"),
    "after the delete is marked as sent": Point(delete_manifest, "mark_sent"),
    "after the registry's answer to the delete": Point(client.RegistryClient, "delete_manifest"),
    "after the delete is settled": Point(delete_manifest, "_succeed"),
}

_current = threading.local()


def strike(point: str) -> None:
    """Do at `point` what the request of this thread asks for."""
    fault: str = getattr(_current, "fault", "")
    action, _, where = fault.partition(" ")
    if where != point:
        return
    _current.fault = ""
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
    reached, leave = meeting_point(Path(os.environ["DATA_DIR"]), point)
    reached.touch()
    ends_at = time.monotonic() + WAIT_SECONDS
    while not leave.exists() and time.monotonic() < ends_at:
        time.sleep(0.01)


def meeting_point(folder: Path, point: str) -> tuple[Path, Path]:
    """Return the file that says that a request waits at `point`, and the one that lets it go on."""
    name = point.replace(" ", "-").replace("'", "")
    return folder / f"{name}.reached", folder / f"{name}.leave"


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
    """The gate's application, with the fault that the request names."""
    _current.fault = environ.get("HTTP_X_FAULT", "")
    return packages_site.wsgi.application(environ, start_response)

"""A process that was told to stop, and serves on for some seconds so that no request is lost.

`packages_site.serve` sends SIGUSR1 twice. After the first one the process answers as before, but
says that it isn't ready, so that balancers leave it. After the second one it begins nothing any
more: an edge sends what is refused so to another process, and no connection is left to be cut off
when the port is closed.
"""

import signal
import threading
from enum import IntEnum


class Stage(IntEnum):
    """How far a process is on its way out."""

    STAYING = 0
    LEAVING = 1
    REFUSING = 2


# Nothing else answers with it, so an edge knows that nothing was begun.
NOT_BEGUN = 502
DEFAULT_STOP_DELAY_SECONDS = 5

_signals: list[int] = []


def stage() -> Stage:
    """Return how far this process is on its way out."""
    return Stage(min(len(_signals), Stage.REFUSING))


def listen() -> None:
    """Take the signals from now on. Elsewhere than in the main thread, where none come, nothing."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, lambda number, _: _signals.append(number))

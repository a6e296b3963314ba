"""Site or gate in granian, which stops without failing a request: `taglock-serve`.

It takes granian's own options and GRANIAN_… variables. Told to stop, it goes on for
STOP_DELAY_SECONDS (packages_site/leaving.py says how), then closes its port and finishes what it
has begun. Told so twice, it closes its port at once. It tells systemd when it listens.

Django is only loaded in granian's worker, so that a reload (SIGHUP) loads new code.
"""

import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from granian import cli
from granian.server import Server

from packages_site.leaving import DEFAULT_STOP_DELAY_SECONDS

# At the end of it, nothing is begun any more.
REFUSE_SECONDS = 1.0
_LOOK_SECONDS = 0.05
_DEFAULTS = {"GRANIAN_INTERFACE": "wsgi", "GRANIAN_WEBSOCKETS": "false"}
_APPLICATION = "packages_site.wsgi:application"


class LeavingServer(Server):  # type: ignore[misc,valid-type]
    """Granian's server, which takes its time to stop."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._is_leaving = False

    def startup(self, *arguments: Any, **options: Any) -> None:
        """Start the worker; then watch it, since a fork beside other threads could hang."""
        super().startup(*arguments, **options)
        _start_thread(self._tell_when_listening)

    def signal_handler_interrupt(self, *arguments: Any, **options: Any) -> None:
        """Leave, or stop at once where it is told so for a second time."""
        if self._is_leaving:
            self._stop()
        else:
            self._is_leaving = True
            _start_thread(self._leave)

    def _leave(self) -> None:
        delay = read_stop_delay()
        if delay > 0:
            last = min(REFUSE_SECONDS, delay / 2)
            self._tell_workers()
            time.sleep(delay - last)
            self._tell_workers()
            time.sleep(last)
        self._stop()

    def _tell_workers(self) -> None:
        for worker in self.wrks:
            with suppress(ProcessLookupError):
                os.kill(worker.inner.pid, signal.SIGUSR1)

    def _stop(self) -> None:
        super().signal_handler_interrupt()

    def _tell_when_listening(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET")
        if not address:
            return
        while not _is_open(self.bind_addr, self.bind_port):
            time.sleep(_LOOK_SECONDS)
        _notify(address, "READY=1")


def read_stop_delay() -> float:
    """Return STOP_DELAY_SECONDS; what is no number has stopped the start of the worker."""
    text = os.environ.get("STOP_DELAY_SECONDS", "")
    return float(text) if text.isdecimal() else DEFAULT_STOP_DELAY_SECONDS


def _is_open(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port)).close()
    except OSError:
        return False
    return True


def _notify(address: str, text: str) -> None:
    """Tell systemd, as sd_notify(3) does."""
    name = f"\0{address[1:]}" if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.sendto(text.encode(), name)


def _start_thread(target: Any) -> None:
    threading.Thread(target=target, daemon=True).start()


def main() -> None:
    """Serve until told to stop."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if len(sys.argv) == 1:
        sys.argv.append(_APPLICATION)
    # A worker that is still starting has no use for it, and must not end of it.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # What granian's own command makes, of its own options.
    cli.Server = LeavingServer  # type: ignore[attr-defined]
    cli.entrypoint()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()

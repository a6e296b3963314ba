"""Runs the processes of `make run`, and starts again each one that ends.

A process that ends doesn't end the others. Anything that it leaves behind is killed first, such as
workers that still hold its port.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, cast

FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 30.0
# A process that ran for this long did well: the next pause is the first one again.
RAN_WELL_SECONDS = 30.0
STOP_SECONDS = 10.0
# Longer lines are cut into several.
MAX_LINE_BYTES = 16_384
_LOOK_SECONDS = 0.1
_LAST_WORDS_SECONDS = 1.0


@dataclass
class _Part:
    name: str
    command: str
    env: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    printer: threading.Thread | None = None
    started_at: float = 0.0
    pause: float = 0.0
    starts_at: float = 0.0


def choose_pause(last_pause: float, ran_seconds: float) -> float:
    """Return how many seconds to wait before a process that ended is started again.

    `last_pause` is the pause before its last start: 0 before its first one.
    """
    if not last_pause or ran_seconds >= RAN_WELL_SECONDS:
        return FIRST_PAUSE_SECONDS
    return min(2 * last_pause, MAX_PAUSE_SECONDS)


class Supervisor:
    """Processes, each with a name. Use it from the main thread: it handles signals."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._is_stopping = False
        # If the supervisor itself is killed, its processes are told to stop.
        setpriv = shutil.which("setpriv")
        self._prefix = [setpriv, "--pdeathsig", "TERM"] if setpriv else []

    @property
    def names(self) -> list[str]:
        """The names of the processes, in the order in which they are started."""
        return [part.name for part in self._parts]

    def add(self, name: str, command: str, env: Mapping[str, str]) -> None:
        """Add a process. The shell runs `command`, which should begin with `exec`."""
        self._parts.append(_Part(name, command, env))

    def run(self) -> None:
        """Run everything until SIGTERM, SIGINT or SIGHUP, then stop everything."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop_soon)
        while not self._is_stopping:
            for part in self._parts:
                self._look(part)
            time.sleep(_LOOK_SECONDS)
        self._stop()

    def _stop_soon(self, *_: object) -> None:
        self._is_stopping = True

    def _look(self, part: _Part) -> None:
        """Start a process whose time has come; notice one that has ended."""
        now = time.monotonic()
        if part.process is None:
            if now >= part.starts_at:
                self._start(part)
        elif part.process.poll() is not None:
            part.pause = choose_pause(part.pause, now - part.started_at)
            self._say(
                f"{part.name} ended ({_describe(part.process.returncode)}). "
                f"Starting it again in {part.pause:g} seconds."
            )
            _kill_group(part.process)
            part.process = None
            part.starts_at = now + part.pause

    def _start(self, part: _Part) -> None:
        # A group of its own: Ctrl-C in a terminal only reaches this process, which then stops all.
        part.process = subprocess.Popen(  # noqa: S603  (our own commands)
            [*self._prefix, "/bin/sh", "-c", part.command],
            env=dict(part.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        part.started_at = time.monotonic()
        output = cast("IO[bytes]", part.process.stdout)
        printing = (part.name, output)
        part.printer = threading.Thread(target=self._print_output, args=printing, daemon=True)
        part.printer.start()

    def _stop(self) -> None:
        """Tell every process to stop; kill what has not stopped after STOP_SECONDS.

        After half of that time its whole group is told again. A process in Python does not notice a
        signal that comes just as its main thread begins to wait, until the next one comes.
        """
        running = [(part.name, part.process) for part in self._parts if part.process is not None]
        for _, process in running:
            process.terminate()
        _wait_for_all([process for _, process in running], STOP_SECONDS / 2)
        for _, process in running:
            if process.poll() is None:
                _tell_group(process, signal.SIGTERM)
        _wait_for_all([process for _, process in running], STOP_SECONDS / 2)
        for name, process in running:
            how = "stopped"
            if process.poll() is None:
                how = f"did not stop within {STOP_SECONDS:g} seconds, and was killed"
            _kill_group(process)
            process.wait()
            self._say(f"{name} {how}")
        for part in self._parts:
            if part.printer is not None:
                part.printer.join(_LAST_WORDS_SECONDS)

    def _print_output(self, name: str, output: IO[bytes]) -> None:
        width = max(map(len, self.names))
        with output:
            while line := output.readline(MAX_LINE_BYTES):
                self._say(line.decode(errors="backslashreplace").rstrip("\n"), name.ljust(width))

    def _say(self, text: str, who: str = "taglock") -> None:
        # If no one reads it anymore, the processes still keep running.
        with suppress(OSError):
            sys.stdout.write(f"{who} | {text}\n")
            sys.stdout.flush()


def _wait_for_all(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    """Wait until all have ended, for so many seconds at most."""
    ends_at = time.monotonic() + seconds
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, ends_at - time.monotonic()))


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    _tell_group(process, signal.SIGKILL)


def _tell_group(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _describe(returncode: int) -> str:
    if returncode >= 0:
        return f"status {returncode}"
    return signal.Signals(-returncode).name

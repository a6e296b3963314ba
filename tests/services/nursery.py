"""Python's processes as forks of one that has loaded what no setting changes.

A process that is started by itself spends most of its time on that. `python -m
tests.services.nursery` reads what is asked for, one line of JSON each, and answers with a line: the
id of a new process, or how one has ended.
"""

import atexit
import gc
import importlib
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.services.console import LOADED, ROOT, SETTINGS, be_python

# Of gates and sites alone.
SERVERS = ("granian.cli", "granian.server")


class Fork:
    """A process of the nursery, as `subprocess.Popen` shows its own."""

    def __init__(self, nursery: "Nursery", pid: int) -> None:
        self.pid = pid
        self._nursery = nursery
        # Its id is its own until the nursery is asked how it has ended.
        self._end = os.pidfd_open(pid)
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return how it has ended; None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return how it has ended. Raises subprocess.TimeoutExpired."""
        status = self._look(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return status

    def _look(self, timeout: float | None) -> int | None:
        if self._status is None and select.select([self._end], [], [], timeout)[0]:
            self._status = self._nursery.ask("end", self.pid)
            os.close(self._end)
        return self._status


class Nursery:
    """The process that is forked; it ends with the one that asks it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.services.nursery"],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name != SETTINGS},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        atexit.register(self._process.communicate)

    def start(self, arguments: Sequence[str], env: Mapping[str, str], log: Path) -> Fork:
        """Start `python` with these arguments, which leads a group and prints into `log`."""
        return Fork(self, self.ask("start", [list(arguments), dict(env), str(log)]))

    def ask(self, what: str, about: object) -> int:
        """Return the answer of the process."""
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answered is not None
        with self._lock:
            asked.write(json.dumps([what, about]) + "\n")
            asked.flush()
            answer: int = json.loads(answered.readline())
        return answer


@cache
def nursery() -> Nursery:
    """Return the one of this process."""
    return Nursery()


def _start(arguments: list[str], env: dict[str, str], log: str) -> int:
    """Return the id of a new process."""
    if pid := os.fork():
        # Before anyone who is told of it could send the group a signal.
        os.setpgid(pid, pid)
        return pid
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, log, os.O_WRONLY | os.O_APPEND | os.O_CREAT),
    ):
        stream = os.open(path, flags, 0o666)
        os.dup2(stream, number)
        os.close(stream)
    os.dup2(1, 2)
    os.environ.clear()
    os.environ.update(env)
    os._exit(be_python(arguments))


def _find_end(pid: int) -> int:
    """Return how a process has ended, that has."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    """Answer until there is nobody to ask."""
    for name in (*LOADED, *SERVERS):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        what, about = json.loads(line)
        answer: Any = _start(*about) if what == "start" else _find_end(about)
        print(answer, flush=True)


if __name__ == "__main__":
    main()

"""Real processes that tests start, kill, hang and start again."""

import os
import shlex
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from tests.services.nursery import Fork, nursery

READY_SECONDS = 30.0
# For a registry: a third less processor time.
COLLECT_RARELY = {"GOGC": "800"}


class Part:
    """A process and all that it starts, in a process group of its own."""

    def __init__(
        self,
        command: str,
        log: Path,
        env: Mapping[str, str] | None = None,
        *,
        is_ready: Callable[[], bool] = lambda: True,
    ) -> None:
        """`command` goes to a shell; `log` takes what it prints."""
        self._command = command
        self._env = {**os.environ, **(env or {})}
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | Fork | None = None
        self.log = log

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The leader's process id, which is that of its group too."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it is ready. Raises RuntimeError with its output otherwise."""
        self.begin()
        self.wait_until_ready()

    def begin(self) -> None:
        """Start it, without waiting."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S602  (the tests' own commands)
                self._command,
                shell=True,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Wait until it does its work. Raises RuntimeError with its output otherwise."""
        try:
            wait_until(self._is_ready, READY_SECONDS)
        except TimeoutError as error:
            self.kill()
            raise RuntimeError(
                f"{self._command}: {self.log.read_text(errors='replace')}"
            ) from error

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self._signal(signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        """End it as a service manager does."""
        self._signal(signal.SIGTERM)
        self._wait()

    def ask_to_stop(self) -> None:
        """Tell its first process alone to end, as systemd does with KillMode=mixed."""
        os.kill(self.pid, signal.SIGTERM)

    def wait_until_ended(self) -> None:
        """Wait for its end, and end what it has left behind."""
        self._wait()
        self.kill()

    def hang(self) -> None:
        """Let it stand still: its connections stay open, and nobody answers."""
        self._signal(signal.SIGSTOP)
        # The signal is on its way for a moment, in which a request may still be answered.
        wait_until(lambda: all(state in "TZ" for state in self._states()))

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    @property
    def pids(self) -> set[int]:
        """The ids of all its processes."""
        return {pid for pid, _ in self._threads()}

    def _states(self) -> list[str]:
        """Return what each thread of the group is doing, in the letters of proc(5)."""
        return [state for _, state in self._threads()]

    def _threads(self) -> Iterator[tuple[int, str]]:
        """Yield the process and the state of each thread of the group."""
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                _, group = _read_stat(process)
                if group != self.pid:
                    continue
                for thread in (process / "task").iterdir():
                    with suppress(OSError):
                        state, _ = _read_stat(thread)
                        yield int(process.name), state

    def _signal(self, number: int) -> None:
        if self._process is not None:
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                return

    def _wait(self) -> None:
        if self._process is not None:
            self._process.wait(READY_SECONDS)


class PythonPart(Part):
    """The same for `python` with these arguments, which starts in a fraction of the time.

    For tests of what it does once it runs: its command line is not its own.
    """

    def begin(self) -> None:
        """Start it, without waiting."""
        self._process = nursery().start(shlex.split(self._command), self._env, self.log)


def _read_stat(folder: Path) -> tuple[str, int]:
    """Return the state and the group of a process or thread, as proc(5) has it."""
    state, _, group, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
    return state, int(group)


def wait_until(is_true: Callable[[], bool], seconds: float = 15.0) -> None:
    """Look again and again, less often after a while. Raises TimeoutError."""
    began_at = time.monotonic()
    while not is_true():
        passed = time.monotonic() - began_at
        if passed > seconds:
            raise TimeoutError(f"not within {seconds} seconds")
        # What is waited for needs the processor more than the looks do.
        time.sleep(min(0.02 + passed / 10, 0.1))


def wait_until_unread(port: int) -> None:
    """Wait until something that was sent to a server on loopback lies there unread.

    That is how a request waits for a server that stands still.
    """
    wait_until(lambda: _has_unread(port))


def _has_unread(port: int) -> bool:
    """Whether a connection to this local port has bytes that its server has not read."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, queues, *_ = line.split()
        is_here = state == "01" and int(local.partition(":")[2], 16) == port
        if is_here and int(queues.partition(":")[2], 16):
            return True
    return False


def is_answering(url: str, method: str = "GET") -> bool:
    """Whether an HTTP server answers there, if only to refuse."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=2):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500
    except OSError:
        return False

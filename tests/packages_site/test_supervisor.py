"""The supervisor of `make run`, with small processes in place of Taglock's."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from packages_site.supervisor import (
    FIRST_PAUSE_SECONDS,
    MAX_LINE_BYTES,
    MAX_PAUSE_SECONDS,
    RAN_WELL_SECONDS,
    choose_pause,
)
from tests.services.parts import wait_until
from tests.services.site import ROOT

pytestmark = pytest.mark.process

RUN = """
import json, os, sys
from packages_site import supervisor
supervisor.FIRST_PAUSE_SECONDS = 0.2
supervisor.STOP_SECONDS = 2.0
it = supervisor.Supervisor()
for name, command in json.loads(sys.argv[1]).items():
    it.add(name, command, os.environ)
it.run()
"""
SLEEP = "exec sleep 1000"


class Running:
    """A supervisor, and what it has printed."""

    def __init__(self, commands: dict[str, str]) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, json.dumps(commands)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(20)
        self._reader.join(20)
        return status

    def wait_for(self, pattern: str, times: int = 1) -> list[str]:
        """Wait until lines match; return what the pattern's group, or all of it, matched."""

        def find() -> list[str]:
            return re.findall(pattern, "".join(self.lines), re.MULTILINE)

        wait_until(lambda: len(find()) >= times)
        return find()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            self.lines.extend(iter(output.readline, ""))


Run = Callable[[dict[str, str]], Running]


@pytest.fixture
def run() -> Iterator[Run]:
    started: list[Running] = []

    def run(commands: dict[str, str]) -> Running:
        started.append(Running(commands))
        return started[-1]

    yield run
    for each in started:
        if each.process.poll() is None:
            each.stop()


def _is_running(pid: str) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_pauses_grow_to_an_end_and_begin_again_after_a_good_run() -> None:
    pauses = [0.0]
    for _ in range(10):
        pauses.append(choose_pause(pauses[-1], ran_seconds=1.0))
    assert pauses[1:5] == [FIRST_PAUSE_SECONDS * factor for factor in (1, 2, 4, 8)]
    assert pauses[-1] == MAX_PAUSE_SECONDS
    assert choose_pause(MAX_PAUSE_SECONDS, RAN_WELL_SECONDS) == FIRST_PAUSE_SECONDS


@pytest.mark.parametrize("how", ["kill -9 $$", "exit 0", "exit 3", "exec /nowhere/program"])
def test_what_ends_is_started_again_and_takes_nothing_with_it(run: Run, how: str) -> None:
    running = run({"ends": f"echo I am $$; {how}", "stays": f"echo I am $$; {SLEEP}"})
    pids = running.wait_for(r"^ends  \| I am (\d+)", times=3)
    assert len(set(pids)) == len(pids)
    assert len(running.wait_for(r"^taglock \| ends ended \(.*\)\. Starting it again in")) >= 2
    (stays,) = running.wait_for(r"^stays \| I am (\d+)")
    assert _is_running(stays)


def test_what_a_dead_process_leaves_behind_is_killed_before_the_next_start(run: Run) -> None:
    running = run({"leader": f"sleep 1000 & echo child $!; echo leader $$; {SLEEP}"})
    (child,) = running.wait_for(r"child (\d+)")
    (leader,) = running.wait_for(r"leader (\d+)")
    os.kill(int(leader), signal.SIGKILL)
    running.wait_for(r"child (\d+)", times=2)
    assert not _is_running(child)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_told_to_stop_it_stops_everything(run: Run, number: int) -> None:
    running = run({"one": f"echo I am $$; {SLEEP}", "two": f"sleep 1000 & echo I am $$; {SLEEP}"})
    pids = running.wait_for(r"I am (\d+)", times=2)
    assert running.stop(number) == 0
    assert not any(map(_is_running, pids))
    assert {"taglock | one stopped\n", "taglock | two stopped\n"} <= set(running.lines)


def test_what_does_not_stop_is_killed(run: Run) -> None:
    running = run({"deaf": "trap '' TERM; echo I am $$; while :; do sleep 0.1; done"})
    (deaf,) = running.wait_for(r"I am (\d+)")
    assert running.stop() == 0
    assert not _is_running(deaf)
    running.wait_for("deaf did not stop within 2 seconds, and was killed")


def test_what_waits_for_a_child_that_missed_the_signal_is_told_again_with_it(run: Run) -> None:
    # As granian does: the parent tells its worker once, and waits for it.
    worker = "trap \"trap 'exit 0' TERM\" TERM; echo up; while :; do sleep 0.05; done"
    running = run({"site": f"trap 'kill $!; wait $!; wait $!' TERM; ({worker}) & wait $!"})
    running.wait_for("site.*up")
    assert running.stop() == 0
    assert "taglock | site stopped\n" in running.lines


def test_a_killed_supervisor_leaves_nothing_behind(run: Run) -> None:
    running = run({"one": f"echo I am $$; {SLEEP}"})
    (one,) = running.wait_for(r"I am (\d+)")
    running.stop(signal.SIGKILL)
    wait_until(lambda: not _is_running(one))


def test_a_line_without_end_does_not_fill_its_memory(run: Run) -> None:
    running = run({"loud": f"head -c 100000 /dev/zero | tr '\\0' x; echo; {SLEEP}"})
    running.wait_for(r"^loud \| x*$", times=7)
    assert max(map(len, running.lines)) <= MAX_LINE_BYTES + len("loud | \n")


def test_what_is_no_text_is_printed_all_the_same(run: Run) -> None:
    running = run({"odd": f"printf 'a\\377b\\n'; {SLEEP}"})
    running.wait_for(r"^odd \| a\\xffb$")


def test_without_anyone_to_read_it_everything_goes_on(tmp_path: Path, run: Run) -> None:
    read, write = os.pipe()
    counter = tmp_path / "counter"
    command = f"while :; do echo line; echo >>{counter}; sleep 0.05; done"
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, json.dumps({"loud": command})], cwd=ROOT, stdout=write
    )
    os.close(write)
    try:
        os.read(read, 1)
        os.close(read)
        wait_until(counter.exists)
        before = counter.stat().st_size
        wait_until(lambda: counter.stat().st_size > before + 10)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
    assert process.returncode in (0, 120)  # 120: Python could not flush what nobody reads.


def test_a_process_that_runs_is_left_alone(run: Run) -> None:
    running = run({"one": f"echo I am $$; {SLEEP}"})
    running.wait_for(r"I am (\d+)")
    time.sleep(1)
    assert len(running.lines) == 1

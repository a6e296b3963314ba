"""Clients that send one request after the other, each in a process of its own.

What they cost is in no measured process.
"""

import multiprocessing
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from types import TracebackType

from bench.requests import PATIENCE_SECONDS, Connection, Operation, make_number


@dataclass(frozen=True)
class Task:
    """Do this for so long, with numbers from `first` to below `last`."""

    operation: Operation
    seconds: float
    first: int
    last: int


class Clients:
    """Some processes that work on a task at the same time."""

    def __init__(self, count: int) -> None:
        # A fork would copy this process with its threads and connections.
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Pipe] = []
        self._processes = []
        for number in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, number), daemon=True)
            self._pipes.append(ours)
            self._processes.append(process)

    def __enter__(self) -> "Clients":
        for process in self._processes:
            process.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.kill()
            process.join()

    def __len__(self) -> int:
        return len(self._processes)

    def run(self, tasks: Sequence[Task]) -> list[list[float]]:
        """Give each client its task; return how many seconds each operation took, by client.

        Raises RuntimeError where an answer was wrong, or none came.
        """
        for pipe, task in zip(self._pipes, tasks, strict=True):
            pipe.send(task)
        results: list[list[float]] = []
        for pipe, task in zip(self._pipes, tasks, strict=True):
            if not pipe.poll(task.seconds + 2 * PATIENCE_SECONDS):
                raise RuntimeError("a client does not come to an end")
            result: list[float] | str = pipe.recv()
            if isinstance(result, str):
                raise RuntimeError(result)
            results.append(result)
        return results


def _serve(pipe: Pipe, number: int) -> None:
    """Work on tasks until the parent ends this process."""
    # Ctrl-C goes to all; the parent ends its clients.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        try:
            task: Task = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(_work(task, number))
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {error}")


def _work(task: Task, client: int) -> list[float]:
    """Do the task; return how many seconds each operation took."""
    connection = Connection(task.operation.port)
    took = []
    began = time.perf_counter()
    ends_at = began + task.seconds
    for number in range(task.first, task.last):
        if began >= ends_at:
            break
        task.operation.perform(connection, make_number(client, number))
        now = time.perf_counter()
        took.append(now - began)
        began = now
    connection.close()
    return took

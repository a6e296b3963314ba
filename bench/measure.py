"""Measure a floor and a subject in turns, so that a busy machine disturbs both alike."""

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.load import Clients, Task
from bench.processor import read_processor_seconds
from bench.requests import Operation
from bench.statements import Statements

ROUND_SECONDS = 1.0
_WARM_UP_SECONDS = 0.5
_NO_LIMIT = 10**8


@dataclass(frozen=True)
class Row:
    """What is measured, and the floor that it is compared with.

    `after` names an earlier row: then the subject takes the numbers which that row's has taken, and
    the row ends where these do.
    """

    name: str
    floor: Operation
    subject: Operation
    after: str = ""


@dataclass
class Side:
    """A floor or a subject, and what came of it so far."""

    operation: Operation
    processes: Mapping[str, int]
    numbers: list[int]
    limits: list[int]
    took: list[float] = field(default_factory=list)
    seconds: float = 0.0
    processor: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    statements: Counter[str] = field(default_factory=Counter)

    @property
    def is_used_up(self) -> bool:
        return any(number == limit for number, limit in zip(self.numbers, self.limits, strict=True))

    @property
    def rate(self) -> float:
        """Operations in a second."""
        return len(self.took) / self.seconds

    @property
    def milliseconds(self) -> float:
        """Processor time of all processes for one operation."""
        return sum(self.processor.values()) * 1000 / len(self.took)

    def per_operation(self, process: str) -> float:
        """Return the processor milliseconds of a process for one operation."""
        return self.processor[process] * 1000 / len(self.took)


class Bench:
    """Clients, and the servers that they measure: process ids by name."""

    def __init__(
        self,
        clients: Clients,
        statements: Statements,
        floor: Mapping[str, int],
        subject: Mapping[str, int],
    ) -> None:
        self._clients = clients
        self._statements = statements
        self._processes = {"floor": floor, "subject": subject}
        self._numbers: dict[str, list[int]] = {}
        # A floor is the same in many rows, and goes on where it was.
        self._floor_numbers: dict[Operation, list[int]] = {}

    @property
    def subject_processes(self) -> list[str]:
        """The names of the processes that a subject keeps busy."""
        return list(self._processes["subject"])

    def measure(self, row: Row, seconds: float) -> tuple[Side, Side]:
        """Measure a row for about so long; return floor and subject.

        Raises RuntimeError where an answer is wrong.
        """
        floor = self._make_side(row.floor, "floor")
        floor.numbers = self._floor_numbers.get(row.floor, floor.numbers)
        subject = self._make_side(row.subject, "subject", self._numbers.get(row.after))
        for side in (floor, subject):
            self._run(side, _WARM_UP_SECONDS)
        for _ in range(max(1, round(seconds / ROUND_SECONDS / 2))):
            if subject.is_used_up:
                break
            for side in (floor, subject):
                self._measure_round(side)
        self._numbers[row.name] = subject.numbers
        self._floor_numbers[row.floor] = floor.numbers
        return floor, subject

    def _make_side(
        self, operation: Operation, kind: str, limits: Sequence[int] | None = None
    ) -> Side:
        count = len(self._clients)
        limits = list(limits) if limits is not None else [_NO_LIMIT] * count
        return Side(operation, self._processes[kind], [0] * count, limits)

    def _measure_round(self, side: Side) -> None:
        statements = self._statements.read()
        before = read_processor_seconds(side.processes)
        began = time.perf_counter()
        took = self._run(side, ROUND_SECONDS)
        side.seconds += time.perf_counter() - began
        after = read_processor_seconds(side.processes)
        for name, used in after.items():
            side.processor[name] += used - before[name]
        side.statements.update(self._statements.read())
        side.statements.subtract(statements)
        side.took.extend(took)

    def _run(self, side: Side, seconds: float) -> list[float]:
        tasks = [
            Task(side.operation, seconds, first, last)
            for first, last in zip(side.numbers, side.limits, strict=True)
        ]
        results = self._clients.run(tasks)
        side.numbers = [
            number + len(took) for number, took in zip(side.numbers, results, strict=True)
        ]
        return [each for took in results for each in took]


def print_rows(bench: Bench, rows: Mapping[str, Row], names: Sequence[str], seconds: float) -> None:
    """Measure the rows of these names, and print a table of them as it grows."""
    _print_head(bench.subject_processes)
    for name in names:
        cells = format_cells(*bench.measure(rows[name], seconds))
        print(f"| {' | '.join([name, *cells])} |", flush=True)


def _print_head(processes: Sequence[str]) -> None:
    names = [
        "ms of processor time",
        "floor",
        "Taglock",
        *processes,
        "floor / Taglock",
        "rate",
        "p50",
        "p99",
        "statements",
        "commits",
        "operations",
    ]
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}", flush=True)


def format_cells(floor: Side, subject: Side) -> list[str]:
    """Return what a row says behind its name."""
    count = len(subject.took)
    return [
        f"{floor.milliseconds:.2f}",
        f"{subject.milliseconds:.2f}",
        *(f"{subject.per_operation(name):.2f}" for name in subject.processes),
        f"{floor.milliseconds / subject.milliseconds:.3g}",
        f"{subject.rate / floor.rate:.3g} ({subject.rate:.3g}/s)",
        f"{find_percentile(subject.took, 50):.1f} ms",
        f"{find_percentile(subject.took, 99):.1f} ms",
        f"{subject.statements['statements'] / count:.1f}",
        f"{subject.statements['commits'] / count:.1f}",
        f"{count}",
    ]


def find_percentile(took: Sequence[float], percent: int) -> float:
    """Return within how many milliseconds `percent` of the operations were done."""
    if len(took) < 2:
        return took[0] * 1000
    return statistics.quantiles(took, n=100, method="inclusive")[percent - 1] * 1000

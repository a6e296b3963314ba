"""The cycles of a soak: clients and faults, pushes after the last fault, rest, then the checks."""

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import psycopg

from bench.afterwards import Undecided, push_everything
from bench.chaos import Chaos, mend
from bench.clients import Admin, Board, Client
from bench.environment import Environment, Scheduler
from bench.records import Lock
from bench.watch import Finding, Watcher, check_at_rest, check_history, look

CYCLE_SECONDS = 25.0
CYCLES_PER_GENERATION = 2
_LEAST_SECONDS = 5.0
# Longer than any client waits for an answer.
_JOIN_SECONDS = 40.0


@dataclass
class Tally:
    """What came of all cycles."""

    cycles: int = 0
    looks: int = 0
    locks: int = 0
    healed: int = 0
    pushes: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    strikes: Counter[str] = field(default_factory=Counter)
    violations: list[Finding] = field(default_factory=list)
    burned: list[Finding] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    open_writes: int = 0
    # Pushes after the last fault of each cycle: all, those that took too long, and how long.
    afterwards: int = 0
    undecided: list[Finding] = field(default_factory=list)
    changed_hands: int = 0
    longest: float = 0.0

    @property
    def found(self) -> list[Finding]:
        """What must not be, with a place."""
        return self.violations + self.burned + self.undecided

    @property
    def is_good(self) -> bool:
        """Whether nothing was found that must not be."""
        return not (self.found or self.failures or self.open_writes)


class Soak:
    """One soak."""

    def __init__(self, environment: Environment, seed: int, clients: int) -> None:
        self._environment = environment
        self._seed = seed
        self._clients = clients
        self._board: Board | None = None
        self._chaos: Chaos | None = None
        self._repositories: list[str] = []
        self._config: dict[str, object] = {}
        self._images: dict[str, tuple[bytes, str]] = {}
        self.tally = Tally()

    def run(self, minutes: float) -> None:
        """Run cycles until the time is over or something is found."""
        ends_at = time.monotonic() + minutes * 60
        number = 0
        while self.tally.is_good and ends_at - time.monotonic() > _LEAST_SECONDS:
            number += 1
            if number % CYCLES_PER_GENERATION == 1:
                generation = self._environment.begin_generation(number)
                self._repositories, self._config = generation
                self._images = {}
                self._environment.wire.late.clear()
            self._run_cycle(number, min(CYCLE_SECONDS, ends_at - time.monotonic()))

    def _run_cycle(self, number: int, seconds: float) -> None:
        environment, began = self._environment, datetime.now(UTC)
        first_number = number - (number - 1) % CYCLES_PER_GENERATION
        board = Board(
            self._repositories,
            self._config,
            number,
            first_number,
            self._images,
            environment.wire.late,
            environment.accounts,
        )
        self._board = board
        watcher = Watcher(environment.behind, environment.url, self._repositories)
        watcher.start()
        scheduler = Scheduler()
        try:
            scheduler.start()
            is_quiet = self._let_loose(board, watcher, scheduler, seconds)
            rested_at = time.monotonic()
            undecided = Undecided()
            # What it was connected to may have crashed.
            environment.records.close()
            if is_quiet:
                chance = self._chance("afterwards", number)
                undecided = push_everything(environment, board, began, chance)
            still_open = environment.come_to_rest() if is_quiet else 0
            rest = time.monotonic() - rested_at
        finally:
            board.stopped.set()
            scheduler.stopped.set()
            watcher.stopped.set()
            watcher.join(_JOIN_SECONDS)
            scheduler.join(_JOIN_SECONDS)
        tally = self.tally
        tally.cycles, tally.looks = number, tally.looks + watcher.looks
        tally.pushes += board.pushes
        tally.others += board.others
        tally.failures += scheduler.failures
        tally.violations += watcher.findings
        tally.undecided += undecided.findings
        tally.changed_hands += undecided.changed_hands
        tally.afterwards += undecided.count
        tally.longest = max(tally.longest, undecided.longest)
        locks = 0
        if is_quiet:
            tally.open_writes = still_open
            locks = self._check(board, began)
        environment.trim_logs()
        print(
            f"cycle {number}: {seconds:.0f} s, {count_pushes(board.pushes)}; "
            f"{rest:.0f} s to come to rest; {watcher.looks} looks, {locks} locks; "
            f"violations {len(tally.violations)}, burned {len(tally.burned)}, "
            f"still open {still_open}, "
            f"undecided {len(tally.undecided)} (longest {undecided.longest:.1f} s)",
            flush=True,
        )

    def _let_loose(
        self, board: Board, watcher: Watcher, scheduler: Scheduler, seconds: float
    ) -> bool:
        """Let everybody work and everything break; return whether nothing was found meanwhile."""
        environment = self._environment
        edge = environment.cluster.ports.edge
        chaos = Chaos(
            environment.cluster, environment.url, board.stopped, self._chance("chaos", board.number)
        )
        self._chaos = chaos
        admin_chance = self._chance("admin", board.number)
        threads = [
            Admin(board, edge, environment.url, environment.tokens, admin_chance),
            *(
                Client(board, edge, self._chance(f"client {n}", board.number))
                for n in range(self._clients)
            ),
        ]
        for thread in (*threads, chaos):
            thread.start()
        environment.wire.is_faulty = True
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at and not watcher.findings and not scheduler.failures:
            time.sleep(0.2)
        board.stopped.set()
        environment.wire.is_faulty = False
        chaos.join(_JOIN_SECONDS)
        mend(environment.cluster)
        for thread in threads:
            thread.join(_JOIN_SECONDS)
        self.tally.strikes += chaos.strikes + environment.wire.faults
        environment.wire.faults.clear()
        return not watcher.findings

    def _check(self, board: Board, began: datetime) -> int:
        """Check what is there at rest, and what clients were told; return how many locks."""
        environment, tally = self._environment, self.tally
        snapshot = environment.records.snapshot()
        violations, burned, healed = check_at_rest(environment.behind, snapshot, self._push_again)
        events = environment.records.events_since(began - timedelta(minutes=1))
        tally.violations += violations + check_history(board.landed, events)
        tally.burned += burned
        tally.locks += len(snapshot.locks)
        tally.healed += healed
        return len(snapshot.locks)

    def _push_again(self, lock: Lock) -> None:
        repository = self._environment.behind(lock.repository).at(
            self._environment.cluster.ports.edge
        )
        repository.put(lock.tag, *self._images[lock.digest])

    def _chance(self, who: str, number: int) -> random.Random:
        return random.Random(f"{self._seed} {who} {number}")  # noqa: S311  (chance, no secret)

    def tell(self) -> None:
        """Print all that is known of what was found."""
        for failure in self.tally.failures[:3]:
            print(f"\nfailed: {failure}")
        for finding in self.tally.found[:3]:
            print(f"\n{finding.repository}:{finding.tag}: {finding.what}")
            self._tell_place(finding.repository, finding.tag)
        if self.tally.open_writes:
            places = self._environment.records.snapshot().writes
            print(f"\nstill open: {places}")
            for repository, tag in places[:3]:
                self._tell_place(repository, tag or "")

    def _tell_place(self, repository: str, tag: str) -> None:
        """Print in the order of time what is known of a tag."""
        assert self._board is not None  # noqa: S101
        told = [
            (datetime.fromtimestamp(at, UTC), f"client: {what} {push.digest[:19]}")
            for push in self._board.landed
            if push.place == (repository, tag)
            for at, what in ((push.sent, "sends"), (push.answered, "is answered 201 for"))
        ]
        told += self._chaos.log if self._chaos is not None else []
        try:
            told += self._environment.records.tell(repository, tag)
            there = look(self._environment.behind(repository), tag)
        except (OSError, psycopg.Error) as error:
            there = f"no more is known: {error}"
        for at, what in sorted(told):
            print(f"  {at:%H:%M:%S.%f} {what}")
        print(f"  now the registry has {there}")


def count_pushes(pushes: Counter[str]) -> str:
    """Say how many pushes there were, by their answer."""
    known = {status: pushes[status] for status in ("201", "403", "503")}
    other = pushes.total() - sum(known.values())
    counts = ", ".join(f"{status}: {count}" for status, count in known.items())
    return f"{pushes.total()} pushes ({counts}, other: {other})"

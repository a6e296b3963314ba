"""What goes wrong during a soak: a thread that kills and hangs, one thing after another."""

import os
import random
import signal
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from bench.records import APPLICATION_NAME, Records
from tests.services.cluster import Cluster
from tests.services.parts import Part
from tests.services.postgresql import Server, find_bin

# Longer than the gate's deadline and lease, and far shorter than the life of a stray: see
# short_timeouts.py.
LONGEST_HANG_SECONDS = 6.0
_BACKENDS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend'
    AND application_name <> %s"""
_PUSHES = """
    SELECT repository, name, write_digest FROM containers_tag
    WHERE write_id IS NOT NULL AND write_kind = 'push'"""
_TERMINATE = f"SELECT pg_terminate_backend(pid) FROM ({_BACKENDS}) others"  # noqa: S608


class Chaos(threading.Thread):
    """Strikes at random until it is stopped, and mends everything then."""

    def __init__(
        self, cluster: Cluster, url: str, stopped: threading.Event, chance: random.Random
    ) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self._records = Records(url)
        self._stopped = stopped
        self._chance = chance
        self.strikes: Counter[str] = Counter()
        self.log: deque[tuple[datetime, str]] = deque(maxlen=80)

    def run(self) -> None:
        """Strike, mend, and strike again."""
        strikes = {
            self._kill_gate: 5,
            self._hang_gate: 3,
            self._hang_registry: 4,
            self._kill_registry: 2,
            self._kill_registry_while_it_writes: 3,
            self._kill_gate_while_registry_hangs: 3,
            self._kill_site: 1,
            self._hang_site: 1,
            self._cut_database: 3,
            self._crash_database: 1,
            self._hang_database: 1,
        }
        while not self._stopped.wait(self._chance.uniform(0.2, 1.5)):
            strike = self._chance.choices(list(strikes), list(strikes.values()))[0]
            with suppress(psycopg.Error):
                strike()
        self._records.close()

    def _kill_gate(self) -> None:
        gate = self._chance.choice(self._cluster.gates)
        self._note("gate killed")
        self._kill(gate)

    def _hang_gate(self) -> None:
        gate = self._chance.choice(self._cluster.gates)
        self._note("gate hung")
        self._hang(gate, 0.5, LONGEST_HANG_SECONDS)

    def _kill_site(self) -> None:
        self._note("site killed")
        self._kill(self._cluster.site)

    def _hang_site(self) -> None:
        self._note("site hung")
        self._hang(self._cluster.site, 0.5, LONGEST_HANG_SECONDS)

    def _hang_registry(self) -> None:
        """Mostly shorter than the gate's deadline; at times longer, so that writes land late."""
        self._note("registry hung")
        if self._chance.random() < 0.6:
            self._hang(self._cluster.registry, 0.5, 1.8)
        else:
            self._hang(self._cluster.registry, 2.2, LONGEST_HANG_SECONDS)

    def _kill_registry(self) -> None:
        self._note("registry killed")
        self._kill(self._cluster.registry)

    def _kill_registry_while_it_writes(self) -> None:
        """Kill it in the middle of pushes: what it has of their tags then, it cannot read."""
        self._note("registry killed while it wrote")
        self._cluster.registry.hang()
        try:
            # Meanwhile pushes come to it, and none of them gets on.
            self._stopped.wait(self._chance.uniform(0.1, 1.0))
            (pushes,) = self._records.read((_PUSHES, ()))
            for repository, tag, digest in pushes:
                link = self._cluster.find_link(repository, tag)
                if not (link.exists() and link.read_text() == digest):
                    self._cluster.break_tag(repository, tag)
                    self._note(f"{repository}:{tag} half written", "tag half written")
        finally:
            self._kill(self._cluster.registry)

    def _kill_gate_while_registry_hangs(self) -> None:
        """Let a gate die with writes on their way: they land when nobody waits for them."""
        gate = self._chance.choice(self._cluster.gates)
        self._note("registry hung, gate killed")
        self._cluster.registry.hang()
        try:
            self._stopped.wait(self._chance.uniform(0.1, 1.5))
            gate.kill()
            self._stopped.wait(self._chance.uniform(0.0, 3.0))
        finally:
            self._cluster.registry.resume()
        self._start(gate)

    def _cut_database(self) -> None:
        self._note("database connections cut")
        self._records.read((_TERMINATE, (APPLICATION_NAME,)))

    def _crash_database(self) -> None:
        """Kill one of PostgreSQL's processes: it ends all others, and comes back by its log."""
        (rows,) = self._records.read((_BACKENDS, (APPLICATION_NAME,)))
        if rows:
            self._note("PostgreSQL crashed")
            with suppress(ProcessLookupError):
                os.kill(self._chance.choice(rows)[0], signal.SIGKILL)

    def _hang_database(self) -> None:
        (rows,) = self._records.read(("SHOW data_directory", ()))
        bin_dir = find_bin()
        assert bin_dir is not None  # noqa: S101
        server = Server(bin_dir, Path(rows[0][0]))
        self._note("PostgreSQL hung")
        try:
            server.hang()
            self._stopped.wait(self._chance.uniform(0.5, 4.0))
        finally:
            server.resume()

    def _kill(self, part: Part) -> None:
        part.kill()
        self._stopped.wait(self._chance.uniform(0.0, 1.5))
        self._start(part)

    def _hang(self, part: Part, least: float, most: float) -> None:
        part.hang()
        try:
            self._stopped.wait(self._chance.uniform(least, most))
        finally:
            part.resume()

    def _start(self, part: Part) -> None:
        """Start a part; where it does not get ready, `mend` tries again."""
        with suppress(RuntimeError):
            part.start()

    def _note(self, what: str, kind: str = "") -> None:
        self.strikes[kind or what] += 1
        self.log.append((datetime.now(UTC), f"chaos: {what}"))


def mend(cluster: Cluster) -> None:
    """Let everything run again. Raises RuntimeError where something does not, after three tries."""
    for tries_left in (2, 1, 0):
        try:
            cluster.mend()
            return
        except RuntimeError:
            if not tries_left:
                raise
            time.sleep(1)

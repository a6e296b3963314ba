"""The wire between gates and registry: now and then a write on it is late, or its answer is lost.

What a stopped registry does to all writes at once, this does to single ones: a write that its
sender has given up lands seconds later, after it was sent again, and among those of others.
"""

import random
from collections import Counter, deque

from tests.services.faulty_registry import DELETE, POINT, STORE, Fault, FaultyRegistry, answers

LONGEST_DELAY_SECONDS = 10.0
_SHORTEST_DELAY_SECONDS = 1.0
_CHANCES = {"passes": 0.92, "is late": 0.04, "loses its answer": 0.03, "is answered 500": 0.01}


class Wire(FaultyRegistry):
    """A proxy in front of the registry. It listens as soon as it is made."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.is_faulty = False
        self.faults: Counter[str] = Counter()
        # Where writes were late of late: who looks for trouble looks there.
        self.late: deque[tuple[str, str]] = deque(maxlen=8)
        self._chance = chance

    def choose_fault(self, kind: str, path: str) -> Fault:
        """Say what happens to a request."""
        if not self.is_faulty or kind not in (STORE, POINT, DELETE):
            return Fault()
        what = self._chance.choices(list(_CHANCES), list(_CHANCES.values()))[0]
        if what == "passes":
            return Fault()
        self.faults[f"{kind} {what}"] += 1
        if what == "loses its answer":
            return Fault(is_closed=True)
        if what == "is answered 500":
            return answers(500, is_forwarded=True)
        repository, _, reference = path.removeprefix("/v2/").rpartition("/manifests/")
        self.late.append((repository, reference))
        seconds = self._chance.uniform(_SHORTEST_DELAY_SECONDS, LONGEST_DELAY_SECONDS)
        return Fault(delay=seconds)

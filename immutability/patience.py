"""How long a push or a delete waits for another write of the same tag."""

import threading
import time
from dataclasses import dataclass, field

from containers.connection import release_database

MAX_WAIT_SECONDS = 10.0
# One waiting request does not reconcile a tag more often than this.
RECONCILE_AGAIN_SECONDS = 1.0
_TURN_SECONDS = 0.1
_SHORT_TURNS = 3
_SHORT_TURN_SECONDS = 0.01


class WaitSlots:
    """How many requests may wait at once, so that waiting ones never starve the others."""

    def __init__(self, count: int) -> None:
        self._free = threading.BoundedSemaphore(count)

    def try_take(self) -> bool:
        """Take a slot, if one is free."""
        return self._free.acquire(blocking=False)

    def give_back(self) -> None:
        """Give the slot back."""
        self._free.release()


@dataclass
class Patience:
    """How long one request goes on waiting: MAX_WAIT_SECONDS, and only while it has a slot."""

    slots: WaitSlots
    ends_at: float = field(default_factory=lambda: time.monotonic() + MAX_WAIT_SECONDS)
    has_slot: bool = False
    reconcile_at: float = 0.0
    turns: int = 0

    def is_left(self) -> bool:
        """Wait a moment; return False where the request has waited long enough.

        The first turns take no slot: most of what is in flight ends within them.
        """
        self.turns += 1
        release_database()
        if self.turns <= _SHORT_TURNS:
            time.sleep(_SHORT_TURN_SECONDS)
            return True
        self.has_slot = self.has_slot or self.slots.try_take()
        if not self.has_slot or time.monotonic() >= self.ends_at:
            return False
        time.sleep(_TURN_SECONDS)
        return True

    def end(self) -> None:
        """Give back what was taken."""
        if self.has_slot:
            self.slots.give_back()

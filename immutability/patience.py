"""Wait for another write of the same tag: how long, how many at once, and what helps it end."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from containers.registry.client import RegistryClient
from immutability.answers import Refusal
from immutability.errors import TryAgainError
from immutability.reconcile.tag import reconcile_record
from workspaces.pool import release_database

Answer = TypeVar("Answer")

MAX_WAIT_SECONDS = 10.0
# One waiting request does not reconcile a tag more often than this.
_RECONCILE_AGAIN_SECONDS = 1.0
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
    """How long one request keeps waiting: MAX_WAIT_SECONDS, and only while it has a slot."""

    slots: WaitSlots
    ends_at: float = field(default_factory=lambda: time.monotonic() + MAX_WAIT_SECONDS)
    has_slot: bool = False
    reconcile_at: float = 0.0
    turns: int = 0

    @property
    def is_over(self) -> bool:
        """Whether the request has waited long enough."""
        return time.monotonic() >= self.ends_at

    def may_reconcile(self) -> bool:
        """Whether this request may reconcile: once, and again while it keeps waiting."""
        is_first = self.reconcile_at == 0.0
        if not is_first and (self.is_over or time.monotonic() < self.reconcile_at):
            return False
        self.reconcile_at = time.monotonic() + _RECONCILE_AGAIN_SECONDS
        return True

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
        if not self.has_slot or self.is_over:
            return False
        time.sleep(_TURN_SECONDS)
        return True

    def end(self) -> None:
        """Give back what was taken."""
        if self.has_slot:
            self.slots.give_back()


@dataclass(frozen=True)
class NotYet:
    """Something else has to end first, or what was read has changed: read again.

    `refusal` is the answer if it takes too long, and `records` are the ones to reconcile.
    """

    refusal: Refusal | None = None
    records: list[int] = field(default_factory=list)


def always_allowed() -> None:
    """Confirm for those whose rights do not change while they act."""


def wait_for(
    work: Callable[[], Answer | NotYet], registry: RegistryClient, slots: WaitSlots
) -> Answer | Refusal:
    """Call `work` until it has an answer, a few seconds at most; return that.

    What others left behind on the tags that it waits for is finished, if that is possible. Raises
    TryAgainError where too much changes at once, and what `work` raises.
    """
    patience = Patience(slots)
    try:
        while isinstance(answer := work(), NotYet):
            if patience.may_reconcile() and _reconcile(answer.records, registry, patience):
                continue
            if not patience.is_left():
                if answer.refusal is not None:
                    return answer.refusal
                raise TryAgainError("too many changes of this tag at once")
        return answer
    finally:
        patience.end()


def _reconcile(records: list[int], registry: RegistryClient, patience: Patience) -> bool:
    """Reconcile these tags; return whether that has changed one.

    Begins none after the first once the request has waited long enough: a registry that hangs takes
    half a minute for each.
    """
    has_changed = False
    for record_id in records:
        has_changed = reconcile_record(record_id, registry) or has_changed
        if patience.is_over:
            break
    return has_changed

"""How many requests may be at one registry at once, where a site has several.

A registry that hangs holds each of its requests for as long as a call may take. Some of the gate's
threads are left to the others.
"""

from collections import defaultdict

from containers.registries import Connection, stored_registries
from immutability.gate import GATE_THREADS
from immutability.patience import WaitSlots

MAX_AT_ONE_REGISTRY = GATE_THREADS * 3 // 4

_SLOTS: defaultdict[int | None, WaitSlots] = defaultdict(lambda: WaitSlots(MAX_AT_ONE_REGISTRY))


def find_slots(connection: Connection) -> WaitSlots | None:
    """Return the slots of a registry; None where it is the only one. Raises database errors."""
    has_others = next(stored_registries().look(), None) is not None
    return _SLOTS[connection.id] if has_others else None

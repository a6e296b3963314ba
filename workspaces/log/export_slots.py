"""How many exports a process writes at once: each uses a thread and a connection."""

from threading import Lock
from weakref import WeakSet

MAX_EXPORTS_AT_ONCE = 2


class TooManyExportsError(Exception):
    """This process writes as many exports as it may. The message says what to do."""


class ExportSlot:
    """What an export holds from its beginning to its end."""

    def __init__(self, slug: str) -> None:
        self.slug = slug


class ExportSlots:
    """The slots in use: one per workspace, and a limited number in all.

    They are held weakly: an abandoned slot is free, also where the answer that it was taken for
    failed before a server could close it.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._taken: WeakSet[ExportSlot] = WeakSet()

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, slug: str) -> ExportSlot:
        """Return a slot for an export of a workspace. Raises TooManyExportsError."""
        with self._lock:
            slugs = [slot.slug for slot in self._taken]
            if slug in slugs:
                raise TooManyExportsError(
                    "An export of this log is already running. Try again when it has finished."
                )
            if len(slugs) >= MAX_EXPORTS_AT_ONCE:
                raise TooManyExportsError(
                    f"{MAX_EXPORTS_AT_ONCE} exports are already running. Try again when one has "
                    "finished."
                )
            slot = ExportSlot(slug)
            self._taken.add(slot)
            return slot

    def give_back(self, slot: ExportSlot) -> None:
        """Free it for someone else."""
        with self._lock:
            self._taken.discard(slot)

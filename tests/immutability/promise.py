"""The promise, held against every movement in a registry and against every state in between.

From the moment that a covered tag is locked until an admin lets go of it or the settings do, the
registry has the locked image under it, and all that the image lists.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.models import Q, QuerySet
from hypothesis.stateful import RuleBasedStateMachine, invariant

from containers.reference import Tag
from immutability.actions.attempts import QUARANTINE
from immutability.actions.read import read_policy
from immutability.models import Attempt, LockedTag
from immutability.protection import cover
from tests.immutability.gate.upstream import IMAGE_TYPE
from tests.immutability.late_registry import LateRegistry, Process, Where, Write, children_of
from tests.immutability.operations import DIGESTS, IMAGES, NAMES, Operation
from workspaces.access import SYSTEM
from workspaces.actions.workspaces import create_workspace

QUARANTINE_SECONDS = int(QUARANTINE.total_seconds())
SENT = Q(sent_at__isnull=False)
_CHANGES_OF_ATTEMPTS = ('UPDATE "immutability_attempt"', 'INSERT INTO "immutability_attempt"')

# A tag that a lock holds: its name, the lock's id, and the digest.
Held = tuple[str, int, str]

_numbers = itertools.count(1)


class Promise(RuleBasedStateMachine):
    """A workspace of its own, with one repository in a registry of its own, and what is watched."""

    def __init__(self) -> None:
        super().__init__()
        slug = f"w{next(_numbers)}"
        self.repository = f"{slug}/api"
        self.workspace = create_workspace(slug, slug, actor=SYSTEM)
        self.registry = LateRegistry(
            self._reach, self._excuse, self._on_tag, self._on_gone, QUARANTINE_SECONDS - 1
        )
        self.registry.manifests[DIGESTS["one"]] = (IMAGES["one"], IMAGE_TYPE)
        self.process: Process[Operation] | None = None
        self.are_there_locks = self.is_something_open = False
        # By attempt: the locks that were suspended when its write was marked as sent.
        self.suspended: dict[Any, frozenset[Held]] = {}
        # Indexes that lost a child while no promise held them.
        self.hollow: set[str] = set()

    @invariant()
    def check_promise(self) -> None:
        locks = list(self._locks())
        self.are_there_locks = bool(locks)
        self.is_something_open = bool(self.registry.late) or self._open().exists()
        for lock in locks:
            if lock.state == "claimed":
                is_open = self._open().filter(tags__tag=lock.tag).exists()
                assert is_open, f"nobody is at work on the claim of {lock.tag}"
            if lock.state != "locked" or not self._is_covered(lock.tag):
                continue
            has = self.registry.tags.get(lock.tag, "")
            is_excused = self._open_uncovered(lock.tag, lock.digest).exists()
            assert has == lock.digest or is_excused, (
                f"{lock.tag} is locked to {name_of(lock.digest)}, the registry has {name_of(has)}"
            )
            for child in children_of(*self.registry.manifests.get(lock.digest, (b"", IMAGE_TYPE))):
                is_whole = child in self.registry.manifests or lock.digest in self.hollow
                assert is_whole or is_excused, f"{lock.tag} is hollow"

    def _reach(self, where: Where) -> None:
        if self.process is not None:
            self.process.reach(where)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        if self.process is None:
            yield
        else:
            with self.process.paused():
                yield

    def _is_disturbed(self) -> bool:
        """Whether something came between, so that what is there need not be what was answered."""
        return self.process is not None and self.process.is_disturbed

    def _watch(self, sql: str) -> None:
        """Put down which locks are suspended as a write is marked as sent."""
        if not sql.startswith(_CHANGES_OF_ATTEMPTS):
            return
        for attempt in self._open().filter(SENT).exclude(id__in=list(self.suspended)):
            # An attempt that is split in two was marked once.
            same = self._open().filter(digest=attempt.digest, opened_at=attempt.opened_at)
            known = [self.suspended[each.id] for each in same if each.id in self.suspended]
            # An admin's delete, which has a reason, does not depend on the settings.
            is_current = attempt.settings_version == read_policy(self.workspace).version
            assert known or attempt.reason or is_current, "sent by settings that have moved"
            self.suspended[attempt.id] = known[0] if known else self._suspended()

    def _suspended(self) -> frozenset[Held]:
        return frozenset(
            (lock.tag, lock.id, lock.digest)
            for lock in self._locks()
            if lock.state == "locked" and not self._is_covered(lock.tag)
        )

    def _excuse(self, write: Write) -> frozenset[Held]:
        """Return the locks that were suspended when this write was decided.

        Where protection comes back while it is on its way, nobody can call it back.
        """
        with self._looking():
            matching = self._open().filter(SENT, digest=write.digest)
            if write.written:
                matching = matching.filter(tags__tag__in=write.written)
            return frozenset[Held]().union(*(self.suspended.get(each.id, ()) for each in matching))

    def _on_tag(self, write: Write, excuse: Any, tag: str, old: str, new: str) -> None:
        with self._looking():
            lock = self._locks().filter(tag=tag).first()
            if not old or new == old or lock is None or not self._is_covered(tag):
                return
            # What was there before it was protected is adopted, and not overwritten.
            is_new = lock.state == "claimed" and not lock.replaced_state and lock.digest == new
            if is_new or (lock.state == "locked" and lock.digest == old):
                is_excused = (tag, lock.id, lock.digest) in excuse
                is_excused = is_excused and self._open_uncovered(tag, lock.digest).exists()
                assert is_excused, (
                    f"{tag} is {lock.state} to {name_of(lock.digest)}, and {write.method} "
                    f"{name_of(write.reference)} moves it from {name_of(old)} to {name_of(new)}"
                )

    def _on_gone(self, write: Write, excuse: Any, digest: str) -> None:
        with self._looking():
            for parent, (body, media_type) in self.registry.manifests.items():
                if digest not in children_of(body, media_type):
                    continue
                for lock in self._locks().filter(digest=parent, state__in=["locked", "claimed"]):
                    is_there = self.registry.tags.get(lock.tag) == parent
                    is_excused = (lock.tag, lock.id, parent) in excuse
                    if is_there and self._is_covered(lock.tag) and not is_excused:
                        raise AssertionError(f"{lock.tag} is hollowed by {write}")
                self.hollow.add(parent)

    def _locks(self) -> QuerySet[LockedTag]:
        return LockedTag.objects.filter(workspace=self.workspace).order_by("tag")

    def _open(self) -> QuerySet[Attempt]:
        return Attempt.objects.filter(workspace=self.workspace, outcome=Attempt.Outcome.OPEN)

    def _open_uncovered(self, tag: str, digest: str) -> QuerySet[Attempt]:
        """Return the writes on their way that were decided while the tag was not covered."""
        return self._open().filter(
            Q(tags__tag=tag, tags__is_covered=False)
            | Q(kind=Attempt.Kind.DELETE, is_by_digest=True, digest=digest)
        )

    def _is_covered(self, tag: str) -> bool:
        return cover(read_policy(self.workspace), Tag(tag)).is_covered


def name_of(reference: str) -> str:
    """Return what the tests call a digest; another reference as it is."""
    return NAMES.get(reference, reference) or "nothing"

"""Drift: where the registry and the locks say different things, which no write of Taglock's does.

A restored backup, a write past the gate, a storage that was lost: this is how they are found. Rows
are read first, then the registry is asked, many questions at once, and then each look is recorded
in a hold, if its tag's record has not changed since it was read.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from containers import writes
from containers.inventory import find_descendants
from containers.models import ManifestReference
from containers.names import Digest, RepositoryName, TagName
from containers.registry.client import RegistryClient
from immutability import drift
from immutability.drift import MOVED, Finding
from immutability.errors import TryAgainError
from immutability.look import head_manifest, judge_failure, learn_lists
from immutability.models import Drift, LockedTag
from immutability.policy.protection import LockState, Policy, cover
from immutability.reading import read_policy, read_policy_and_time
from workspaces.models import Workspace

# What is compared. A claim promises nothing yet, and a released tag no longer does.
STATES = (LockState.LOCKED, LockState.RESERVED)
_MAX_SEEN = 100_000
# So many in a row, of a repository: each may have taken twenty seconds, and others wait.
_MAX_FAILURES = 16

Place = tuple[RepositoryName, TagName | Digest]
Answer = Digest | TryAgainError | None


@dataclass(frozen=True)
class TagLook:
    """What a look at a tag has shown; empty: nothing.

    `is_done` is false where the tag is being written, or was meanwhile: look at it later. So it is
    where the registry did not say; `error` is why. `what` is what differs from the lock, in words.
    """

    digest: str = ""
    is_done: bool = True
    what: str = ""
    error: TryAgainError | None = None


class Asker:
    """Asks a registry what it has, many questions at once; for a manifest that it has, once."""

    def __init__(self, registry: RegistryClient, executor: Executor | None = None) -> None:
        self.registry = registry
        self._map: Callable[..., Iterable[Any]] = map if executor is None else executor.map
        self._seen: set[Place] = set()
        self._failures: Counter[RepositoryName] = Counter()

    def ask(self, places: Collection[Place]) -> dict[Place, Answer]:
        """Return what is under each tag or digest, or why the registry does not say."""
        if len(self._seen) > _MAX_SEEN:
            self._seen.clear()
        wanted = sorted({*places} - self._seen, key=lambda place: (place[0], str(place[1])))
        answers = dict(zip(wanted, self._map(self._ask, wanted), strict=True))
        for place, answer in answers.items():
            if isinstance(place[1], Digest) and isinstance(answer, Digest):
                self._seen.add(place)
        return answers

    def _ask(self, place: Place) -> Answer:
        repository = place[0]
        if self._failures[repository] >= _MAX_FAILURES:
            return TryAgainError(f"the registry shows nothing of {repository}")
        try:
            found = head_manifest(*place, self.registry)
        except TryAgainError as error:
            self._failures[repository] += 1
            return error
        self._failures[repository] = 0
        return found.digest if found else None

    def find_absent(self, places: Collection[Place]) -> tuple[set[Place], TryAgainError | None]:
        """Return which the registry does not have, and why it does not say so of some."""
        answers = self.ask(places)
        errors = [each for each in answers.values() if isinstance(each, TryAgainError)]
        absent = {place for place, answer in answers.items() if answer is None}
        return absent, errors[0] if errors else None


def check_lock(lock_id: int, registry: RegistryClient, *, with_lists: bool = True) -> TagLook:
    """Look at one lock, as `check_locks` does. A lock that is gone differs in nothing.

    Raises TryAgainError if the registry does not say, PatternError and PatternEvaluationError.
    """
    rows = LockedTag.objects.select_related("record", "workspace").filter(id=lock_id)
    for look in check_locks(list(rows), Asker(registry), with_lists=with_lists):
        if look.error is not None:
            raise look.error
        return look
    return TagLook()


def check_locks(
    rows: Sequence[LockedTag], asker: Asker, *, with_lists: bool = True
) -> list[TagLook]:
    """Look at locks of a workspace, and record what differs, or that it does no more.

    With what they list, unless that is left out. Locks that are not in force are passed over, and
    so is one that is written, or that a write may still change: its end is not known yet. Each has
    its record and its workspace. Raises PatternError and PatternEvaluationError.
    """
    if not rows:
        return []
    policy = read_policy(rows[0].workspace)
    cases = [_Case(row) for row in rows if _is_to_be_compared(row, policy)]
    for known in Drift.objects.filter(record__in=[case.row.record_id for case in cases]):
        next(case for case in cases if case.row.record_id == known.record_id).known = known
    _look_at_tags(cases, asker)
    _look_for_images(cases, asker)
    for repository in sorted({case.repository for case in cases}):
        of_repository = [case for case in cases if case.repository == repository]
        _look_at_lists(of_repository, asker, with_lists=with_lists)
    looks = {case.row.id: _conclude(case) for case in cases}
    return [looks.get(row.id) or _pass_over(row) for row in rows]


class _Case:
    """A lock on its way through a comparison: what was read, and then what was shown."""

    def __init__(self, row: LockedTag) -> None:
        self.row = row
        self.repository, self.held = RepositoryName(row.repository), Digest(row.digest)
        self.known: Drift | None = None
        self.shown: Digest | None = None
        self.unreadable_since: datetime | None = None
        self.is_gone = False
        self.missing: tuple[Digest, ...] = ()
        self.error: TryAgainError | None = None

    @property
    def is_at_its_image(self) -> bool:
        is_locked = self.row.state == LockState.LOCKED
        return is_locked and self.error is None and self.shown == self.held

    @property
    def is_elsewhere(self) -> bool:
        is_locked = self.row.state == LockState.LOCKED
        return is_locked and self.error is None and self.shown != self.held

    @property
    def was_shown(self) -> bool:
        """Whether the tag was at its image before."""
        known = self.known
        is_moved = known is not None and known.digest == self.row.digest and known.kind in MOVED
        return is_moved or self.row.record.digest == self.row.digest

    @property
    def finding(self) -> Finding | None:
        """What is wrong with the lock; None if nothing is."""
        if self.row.state == LockState.RESERVED:
            return Finding(Drift.Kind.RESERVED, self.shown) if self.shown else None
        if self.missing:
            return Finding(Drift.Kind.INCOMPLETE, self.shown, self.missing)
        if not self.is_elsewhere:
            return None
        kind = Drift.Kind.CHANGED if self.shown else Drift.Kind.MISSING
        if not self.was_shown:
            kind = Drift.Kind.NOT_PUSHED
        return Finding(kind, self.shown, is_gone=self.is_gone)


def _is_to_be_compared(row: LockedTag, policy: Policy) -> bool:
    record = row.record
    is_settled = record.write_id is None and record.stray_until is None
    return is_settled and row.state in STATES and cover(policy, TagName(row.tag)).is_covered


def _pass_over(row: LockedTag) -> TagLook:
    record = row.record
    is_settled = record.write_id is None and record.stray_until is None
    return TagLook(record.digest, is_done=is_settled)


def _look_at_tags(cases: Sequence[_Case], asker: Asker) -> None:
    answers = asker.ask([(case.repository, TagName(case.row.tag)) for case in cases])
    for case in cases:
        answer = answers[case.repository, TagName(case.row.tag)]
        if isinstance(answer, TryAgainError):
            _judge_failure(case, answer)
        else:
            case.shown = answer


def _judge_failure(case: _Case, why: TryAgainError) -> None:
    """A locked tag that stays unreadable is missing; of a reserved name it says nothing."""
    case.error = why
    if case.row.state != LockState.LOCKED:
        return
    try:
        look = judge_failure(case.row.workspace, case.repository, TagName(case.row.tag), why)
    except TryAgainError as error:
        case.error = error
    else:
        case.error, case.unreadable_since = None, look.unreadable_since


def _look_for_images(cases: Sequence[_Case], asker: Asker) -> None:
    """Find out which locked images are gone altogether."""
    elsewhere = [case for case in cases if case.is_elsewhere]
    answers = asker.ask([(case.repository, case.held) for case in elsewhere])
    for case in elsewhere:
        answer = answers.get((case.repository, case.held), case.held)
        if isinstance(answer, TryAgainError):
            case.error = answer
        case.is_gone = answer is None


def _look_at_lists(cases: Sequence[_Case], asker: Asker, *, with_lists: bool) -> None:
    """Find out what is gone of all that locked images of one repository list, to any depth."""
    if not with_lists:
        cases = [case for case in cases if case.known and case.known.missing]
    cases = [case for case in cases if case.is_at_its_image]
    if not cases:
        return
    place = cases[0].row.workspace, cases[0].repository
    try:
        learn_lists(*place, {case.held for case in cases}, asker.registry)
    except TryAgainError as why:
        for case in cases:
            case.error = why
        return
    below = _find_below(*place, {case.held for case in cases})
    absent, error = asker.find_absent(
        [(place[1], digest) for digests in below.values() for digest in digests]
    )
    for case in cases:
        listed = below.get(case.held, set())
        case.missing = tuple(sorted(each for each in listed if (place[1], each) in absent))
        if error is not None and listed and not case.missing:
            case.error = error


def _find_below(
    workspace: Workspace, repository: RepositoryName, digests: set[Digest]
) -> dict[Digest, set[Digest]]:
    """Return what each of these manifests lists, to any depth; of those that list anything."""
    parents = ManifestReference.objects.filter(
        workspace=workspace,
        repository=repository.name,
        parent__in=[digest.value for digest in digests],
    )
    return {
        digest: find_descendants(workspace, repository, {digest}) - {digest}
        for digest in map(Digest, parents.values_list("parent", flat=True).distinct())
    }


def _conclude(case: _Case) -> TagLook:
    """Record what was shown, if that is news."""
    if case.error is not None:
        return TagLook(case.row.record.digest, is_done=False, error=case.error)
    is_as_before = case.row.record.digest == str(case.shown or "")
    if case.finding is None and case.known is None and is_as_before:
        return TagLook(case.row.record.digest)
    return _record(case)


@transaction.atomic
def _record(case: _Case) -> TagLook:
    """Record a look that still counts: the record says what is there, and the lock stands.

    One that shows an image whose delete is open waits for the end of that.
    """
    row, shown, finding = case.row, case.shown, case.finding
    place = row.workspace, case.repository
    manifests = writes.hold_shown(*place, [shown] if shown else [])
    record = writes.lock_record(row.record_id)
    policy, now = read_policy_and_time(row.workspace)
    lock = LockedTag.objects.filter(id=row.id, state=row.state, digest=row.digest).first()
    is_in_force = lock is not None and cover(policy, TagName(row.tag)).is_covered
    is_stale = not is_in_force or record.revision != row.record.revision
    if is_stale or any(writes.has_open_delete(each, now) for each in manifests.values()):
        return TagLook(record.digest, is_done=False)
    digest = str(shown or "")
    if row.state == LockState.LOCKED and record.digest != digest:
        writes.set_shown(record, digest, now, case.unreadable_since)
        writes.save_record(record, now)
    if finding is None:
        is_there = row.state == LockState.LOCKED
        drift.end(record, row, reason=drift.SHOWN_AGAIN if is_there else drift.GONE_AGAIN)
        return TagLook(digest)
    drift.note(record, row, finding, policy.version)
    return TagLook(digest, what=finding.describe(Digest(row.digest)))

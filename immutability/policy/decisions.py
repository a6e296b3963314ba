"""The decisions: can this push, or this delete, go ahead, and what has to happen first?

Pure. Each is made while the tag's record is held, from what the record, the lock and the policy say
in that moment. An answer is a value; an exception means that the question could not be answered,
and the push or delete is refused.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from containers.names import Digest
from immutability.policy.protection import Coverage, Lock, LockState


@dataclass(frozen=True)
class WriteInFlight:
    """A request to the registry that has not been answered yet. No digest: a delete of the tag."""

    digest: Digest | None


@dataclass(frozen=True)
class Stray:
    """A write that got no answer and may still land, until then.

    No digest: a delete, or several writes of different images. One whose time is over counts as
    open until the tag has been looked at.
    """

    digest: Digest | None
    until: datetime


@dataclass(frozen=True)
class RecordFacts:
    """What a tag's record says: the digest that the registry showed last, and open writes."""

    digest: Digest | None = None
    write: WriteInFlight | None = None
    stray: Stray | None = None


@dataclass(frozen=True)
class Look:
    """What the registry showed under a tag since its record last changed: a digest, or nothing.

    With `unreadable_since` it has the tag, and has not been able to read it for minutes.
    """

    digest: Digest | None
    unreadable_since: datetime | None = None


class Step(StrEnum):
    """What a push of a tag has to do next."""

    # Not covered: send it.
    SEND = "send"
    # Look what the registry has under the tag, and decide again.
    LOOK = "look"
    # Another write of the tag has to end first, or its last moment has to pass.
    WAIT = "wait"
    # Nothing holds the tag: claim it, then point it.
    CLAIM = "claim"
    # The tag is promised to this image, and was not shown with it yet: point it.
    POINT = "point"
    # The tag is at this image.
    UNCHANGED = "unchanged"
    # The tag is locked to another image.
    LOCKED = "locked"
    # The name is reserved for another image.
    RESERVED = "reserved"


@dataclass(frozen=True)
class PushDecision:
    """What a push has to do for one tag, decided while its record is held.

    `adopt` is what the registry has already under the tag, to be locked before anything else.
    `stray` is what has to pass, where the push waits for one. `shown` says that a look showed the
    pushed image under a tag that was locked to it and not shown yet.
    """

    step: Step
    coverage: Coverage
    adopt: Digest | None = None
    stray: Stray | None = None
    shown: bool = False


def decide_push(
    coverage: Coverage,
    record: RecordFacts,
    lock: Lock | None,
    digest: Digest,
    look: Look | None,
    *,
    is_check: bool = False,
) -> PushDecision:
    """Decide a push of `digest` under a tag.

    `look` is None if there was none since the record last changed. `is_check` is a registry that
    asks: what it is told to be unchanged, it writes itself.
    """

    def step(step: Step, *, stray: Stray | None = None, shown: bool = False) -> PushDecision:
        return PushDecision(step, coverage, stray=stray, shown=shown)

    if not coverage.is_covered:
        return step(Step.WAIT if record.write else Step.SEND)
    if record.write:
        return step(_decide_in_flight(record, lock, digest))
    stray = record.stray
    if lock is None:
        return _decide_without_lock(coverage, record, digest, look)
    if stray and stray.digest != lock.digest:
        return step(Step.WAIT, stray=stray)
    is_same = lock.digest == digest
    match lock.state:
        case LockState.CLAIMED:
            return step(Step.POINT if is_same else Step.WAIT)
        case LockState.LOCKED if is_same and record.digest != digest and not is_check:
            return _decide_not_shown(coverage, record, digest, look)
        case LockState.LOCKED:
            return step(Step.UNCHANGED if is_same else Step.LOCKED)
        case LockState.RESERVED:
            return step(Step.CLAIM if is_same else Step.RESERVED)
        case LockState.RELEASED if is_same:
            # Someone may have changed it past Taglock since.
            is_there = is_check or record.digest == digest
            return step(Step.UNCHANGED if is_there else Step.CLAIM)
        case LockState.RELEASED:
            return step(Step.WAIT, stray=stray) if stray else step(Step.CLAIM)
        case LockState.DELETING:
            return step(Step.WAIT)


def _decide_in_flight(record: RecordFacts, lock: Lock | None, digest: Digest) -> Step:
    """A locked tag answers at once: a write in flight under it can only be of its own image."""
    if lock is None or lock.state is not LockState.LOCKED:
        return Step.WAIT
    if lock.digest != digest:
        return Step.LOCKED
    return Step.UNCHANGED if record.digest == digest else Step.WAIT


def _decide_without_lock(
    coverage: Coverage, record: RecordFacts, digest: Digest, look: Look | None
) -> PushDecision:
    """Lock what is already there, if anything; that lock then decides the push."""
    stray = record.stray
    if stray and stray.digest != digest:
        return PushDecision(Step.WAIT, coverage, stray=stray)
    present = record.digest
    if present is None or stray:
        if look is None:
            return PushDecision(Step.LOOK, coverage)
        present = look.digest
    if stray and present not in (None, digest):
        return PushDecision(Step.WAIT, coverage, stray=stray)
    if present is None:
        return PushDecision(Step.CLAIM, coverage)
    step = Step.UNCHANGED if present == digest else Step.LOCKED
    return PushDecision(step, coverage, adopt=present)


def _decide_not_shown(
    coverage: Coverage, record: RecordFacts, digest: Digest, look: Look | None
) -> PushDecision:
    """The tag was locked by a check, and the registry has not shown it with this image yet."""
    if look is None:
        return PushDecision(Step.LOOK, coverage)
    if look.digest == digest:
        return PushDecision(Step.UNCHANGED, coverage, shown=True)
    is_as_before = look.digest == record.digest or look.unreadable_since is not None
    step = Step.POINT if is_as_before else Step.WAIT
    return PushDecision(step, coverage, stray=record.stray if step is Step.WAIT else None)


def ends_lock(lock: Lock | None, digest: Digest | None) -> bool:
    """Whether a write that no setting covers ends the tag's lock: one that changes the tag does.

    `digest` is None for a delete.
    """
    return lock is not None and (lock.digest != digest or lock.state is LockState.DELETING)


class DeleteStep(StrEnum):
    """What the delete of a tag has to do next."""

    # Send it: no setting covers the tag, whose lock ends, or an admin deletes what cannot be read.
    SEND = "send"
    # There is nothing to protect: the name is reserved already, or the tag is not there.
    PASS = "pass"
    LOOK = "look"
    WAIT = "wait"
    # An admin deletes a locked tag: its name stays reserved.
    RESERVE = "reserve"
    LOCKED = "locked"


@dataclass(frozen=True)
class DeleteDecision:
    """What the delete of one tag has to do, decided while its record is held."""

    step: DeleteStep
    coverage: Coverage
    adopt: Digest | None = None
    stray: Stray | None = None


def decide_delete(
    coverage: Coverage,
    record: RecordFacts,
    lock: Lock | None,
    look: Look | None,
    *,
    is_admin: bool,
) -> DeleteDecision:
    """Decide the delete of a tag: only admins can delete what a lock in force holds."""

    def step(step: DeleteStep, stray: Stray | None = None) -> DeleteDecision:
        return DeleteDecision(step, coverage, stray=stray)

    if record.write:
        return step(DeleteStep.WAIT)
    if not coverage.is_covered:
        return step(DeleteStep.SEND)
    allowed = DeleteStep.RESERVE if is_admin else DeleteStep.LOCKED
    stray = record.stray
    if lock is None:
        if stray:
            return step(DeleteStep.WAIT, stray)
        present = record.digest
        if present is None:
            if look is None:
                return step(DeleteStep.LOOK)
            present = look.digest
        if present is None:
            is_unreadable = look is not None and look.unreadable_since is not None
            return step(DeleteStep.SEND if is_unreadable and is_admin else DeleteStep.PASS)
        return DeleteDecision(allowed, coverage, adopt=present)
    if lock.state in (LockState.CLAIMED, LockState.DELETING):
        return step(DeleteStep.WAIT)
    if stray and stray.digest != lock.digest:
        return step(DeleteStep.WAIT, stray)
    if lock.state is LockState.RESERVED:
        return step(DeleteStep.PASS)
    return step(allowed)


class AfterStray(StrEnum):
    """What a look decides about a tag's lock once a stray is over."""

    STANDS = "stands"
    LOCKED = "locked"
    RESERVED = "reserved"
    ENDS = "ends"


def decide_after_stray(record: RecordFacts, lock: Lock | None, look: Look) -> AfterStray:
    """Decide what the look after a stray means for the lock: what the registry shows is the truth.

    A claim that stands is pointed again. One that it cannot read says nothing against a lock.
    """
    if lock is None or look.unreadable_since is not None:
        return AfterStray.STANDS
    shown, state = look.digest, lock.state
    if shown == lock.digest:
        came_back = state in (LockState.CLAIMED, LockState.RESERVED)
        return AfterStray.LOCKED if came_back else AfterStray.STANDS
    if state is LockState.DELETING and shown is None:
        return AfterStray.RESERVED
    if _is_not_of_a_stray(record, lock, shown):
        return AfterStray.STANDS
    if shown is None:
        stands = state in (LockState.CLAIMED, LockState.RESERVED)
        return AfterStray.STANDS if stands else AfterStray.ENDS
    is_still_released = (
        state is LockState.CLAIMED
        and lock.replaced_state is LockState.RELEASED
        and lock.replaced_digest == shown
    )
    return AfterStray.STANDS if is_still_released else AfterStray.ENDS


def _is_not_of_a_stray(record: RecordFacts, lock: Lock, shown: Digest | None) -> bool:
    """Whether what is shown instead of the lock's image cannot have come by the stray.

    It was there before: a check locked the tag and its push never came, or someone changed it past
    Taglock, which is known. Or the stray brings only the locked image: someone has changed it now.
    """
    if lock.state not in (LockState.LOCKED, LockState.DELETING):
        return False
    if record.digest != lock.digest and shown == record.digest:
        return True
    is_own = record.stray is not None and record.stray.digest == lock.digest
    return is_own and lock.state is LockState.LOCKED


class DigestStep(StrEnum):
    """What the delete of a manifest has to do about one tag."""

    # The tag does not point at it and needs nothing of it.
    PASS = "pass"
    WAIT = "wait"
    # The tag goes with the manifest, and nothing protects it.
    TAKE = "take"
    # The same, and an admin deletes it: its name stays reserved.
    RESERVE = "reserve"
    LOCKED = "locked"
    # The tag's index lists the manifest.
    IN_USE = "in_use"


@dataclass(frozen=True)
class DigestDecision:
    """What the delete of a manifest has to do about one tag, decided while its record is held."""

    step: DigestStep
    coverage: Coverage
    adopt: Digest | None = None
    stray: Stray | None = None


def decide_delete_by_digest(
    coverage: Coverage,
    record: RecordFacts,
    lock: Lock | None,
    digest: Digest,
    parents: frozenset[Digest],
    *,
    is_admin: bool,
) -> DigestDecision:
    """Decide what the delete of `digest` means for a tag whose digest is known, if it has one.

    `parents` are the manifests that list `digest`, to any depth.
    """

    def step(step: DigestStep, stray: Stray | None = None) -> DigestDecision:
        return DigestDecision(step, coverage, stray=stray)

    write, stray = record.write, record.stray
    if write and write.digest in parents:
        return step(DigestStep.WAIT)
    if stray and stray.digest in parents:
        return step(DigestStep.WAIT, stray)
    held = lock.digest if lock else record.digest
    if coverage.is_covered and held in parents:
        if lock is None:
            if stray and stray.digest != held:
                return step(DigestStep.WAIT, stray)
            return DigestDecision(DigestStep.IN_USE, coverage, adopt=held)
        if lock.state in (LockState.CLAIMED, LockState.DELETING):
            return step(DigestStep.WAIT)
        if lock.state in (LockState.LOCKED, LockState.RELEASED):
            if stray and stray.digest != lock.digest:
                return step(DigestStep.WAIT, stray)
            return step(DigestStep.IN_USE)
    may_be_stray = stray is not None and stray.digest in (None, digest)
    is_locked_to = lock is not None and lock.digest == digest
    is_promised = is_locked_to and lock is not None and lock.state is not LockState.RESERVED
    is_written = write is not None and write.digest in (None, digest)
    if not (record.digest == digest or is_promised or is_written or may_be_stray):
        return step(DigestStep.PASS)
    if write:
        return step(DigestStep.WAIT)
    if not coverage.is_covered:
        return step(DigestStep.TAKE)
    return _decide_taken(coverage, record, lock, digest, is_admin=is_admin)


def _decide_taken(
    coverage: Coverage, record: RecordFacts, lock: Lock | None, digest: Digest, *, is_admin: bool
) -> DigestDecision:
    """A covered tag that goes with the manifest, unless that is still undecided."""
    stray = record.stray
    if lock is None and record.digest is None:
        return DigestDecision(DigestStep.WAIT, coverage, stray=stray)
    if lock and lock.state in (LockState.CLAIMED, LockState.DELETING):
        return DigestDecision(DigestStep.WAIT, coverage)
    if stray and (lock is None or stray.digest != lock.digest):
        return DigestDecision(DigestStep.WAIT, coverage, stray=stray)
    if lock and lock.state is LockState.RESERVED:
        return DigestDecision(DigestStep.PASS, coverage)
    step = DigestStep.RESERVE if is_admin else DigestStep.LOCKED
    return DigestDecision(step, coverage, adopt=record.digest if lock is None else None)

"""Every decision, compared with a second writing of the protocol, over all that it can meet.

The second writing knows images as numbers, and says "wait" or "look" instead of values. It was made
from the protocol, not from the code: where the two differ, one of them is wrong.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product

import pytest

from containers.names import Digest
from immutability.policy.decisions import (
    AfterStray,
    DeleteDecision,
    DeleteStep,
    DigestDecision,
    DigestStep,
    Look,
    PushDecision,
    RecordFacts,
    Step,
    Stray,
    WriteInFlight,
    decide_after_stray,
    decide_delete,
    decide_delete_by_digest,
    decide_push,
    ends_lock,
)
from immutability.policy.protection import Coverage, Lock, LockState, Why

COVERED, OPEN = Coverage(Why.ALL_TAGS), Coverage(Why.NO_PROTECTION)
SOME_TIME = datetime(2026, 3, 12, tzinfo=UTC)
# Nothing there; for a write or a stray, a delete.
NONE = 0
# The image that is asked about, another, a third, and an index that lists the first.
MINE, OTHER, THIRD, PARENT = 1, 2, 3, 4

# A lock: its state, its image, and the released image that a claim replaces, if any.
ModelLock = tuple[str, int, int] | None
# A record: what the registry showed last, the write in flight, and the stray, if there are any.
ModelRecord = tuple[int, int | None, int | None]


def digest(number: int) -> Digest | None:
    return Digest(f"sha256:{number:064x}") if number else None


def must(number: int) -> Digest:
    return Digest(f"sha256:{number:064x}")


def number_of(value: Digest | None) -> int:
    return int(value.value[7:], 16) if value else NONE


def record(shown: int, write: int | None, stray: int | None) -> RecordFacts:
    """Return the facts of a record. None: no write, no stray."""
    return RecordFacts(
        digest(shown),
        write=WriteInFlight(digest(write)) if write is not None else None,
        stray=Stray(digest(stray), SOME_TIME) if stray is not None else None,
    )


def lock(model: ModelLock) -> Lock | None:
    if model is None:
        return None
    state, held, replaced = model
    replaced_state = LockState.RELEASED if replaced else None
    return Lock(LockState(state), must(held), replaced_state, digest(replaced))


def look(shown: int | None) -> Look | None:
    return None if shown is None else Look(digest(shown))


def all_locks(*images: int) -> Iterator[ModelLock]:
    yield None
    for state, held in product(LockState, images):
        yield (state.value, held, NONE)
    for held, replaced in product(images, images):
        if held != replaced:
            yield ("claimed", held, replaced)


def all_records(*images: int) -> Iterator[ModelRecord]:
    return product((NONE, *images), (None, NONE, *images), (None, NONE, *images))


# ---- pushes ------------------------------------------------------------------------------------


LOCKED_STEPS = {
    ("claimed", True): "point",
    ("claimed", False): "wait",
    ("locked", True): "unchanged",
    ("locked", False): "locked",
    ("reserved", True): "claim",
    ("reserved", False): "reserved",
    ("released", True): "unchanged",
    ("released", False): "claim",
    ("deleting", True): "wait",
    ("deleting", False): "wait",
}


def model_push(
    facts: ModelRecord, held: ModelLock, seen: int | None, *, is_check: bool
) -> tuple[str, int]:
    """What a push of MINE under a covered tag has to do, and the image that is locked before."""
    shown, write, stray = facts
    if write is not None:
        if held is None or held[0] != "locked" or (held[1] == MINE and shown != MINE):
            return "wait", NONE
        return ("unchanged" if held[1] == MINE else "locked"), NONE
    if held is None:
        return model_push_without_lock(shown, stray, seen)
    state, promised, _ = held
    is_same = promised == MINE
    is_claimed_again = state == "released" and not is_same
    if stray is not None and (stray != promised or is_claimed_again):
        return "wait", NONE
    if state == "locked" and is_same and shown != MINE and not is_check:
        return model_push_not_shown(shown, seen), NONE
    if state == "released" and is_same and shown != MINE and not is_check:
        return "claim", NONE
    return LOCKED_STEPS[state, is_same], NONE


def model_push_not_shown(shown: int, seen: int | None) -> str:
    if seen is None:
        return "look"
    if seen == MINE:
        return "shown"
    return "point" if seen == shown else "wait"


def model_push_without_lock(shown: int, stray: int | None, seen: int | None) -> tuple[str, int]:
    if stray is not None and stray != MINE:
        return "wait", NONE
    present = shown
    if not shown or stray is not None:
        if seen is None:
            return "look", NONE
        present = seen
    if stray is not None and present not in (NONE, MINE):
        return "wait", NONE
    if not present:
        return "claim", NONE
    return ("unchanged" if present == MINE else "locked"), present


def said_of_push(decision: PushDecision) -> tuple[str, int]:
    step = "shown" if decision.shown else decision.step.value
    return step, number_of(decision.adopt)


def test_pushes_are_decided_as_the_protocol_says() -> None:
    images = (MINE, OTHER, THIRD)
    wrong, seen_steps = [], set()
    for covered, facts, held, seen, is_check in product(
        (True, False),
        all_records(*images),
        all_locks(*images),
        (None, NONE, *images),
        (True, False),
    ):
        decision = decide_push(
            COVERED if covered else OPEN,
            record(*facts),
            lock(held),
            must(MINE),
            look(seen),
            is_check=is_check,
        )
        expected = model_push(facts, held, seen, is_check=is_check)
        if not covered:
            expected = ("wait" if facts[1] is not None else "send"), NONE
        seen_steps.add(decision.step)
        if said_of_push(decision) != expected:
            wrong.append((covered, facts, held, seen, is_check, said_of_push(decision), expected))
    assert wrong == []
    assert seen_steps == set(Step)


def test_a_wait_for_a_stray_says_which() -> None:
    images = (MINE, OTHER)
    for facts, held, seen in product(all_records(*images), all_locks(*images), (None, NONE)):
        given = record(*facts)
        decision = decide_push(COVERED, given, lock(held), must(MINE), look(seen))
        if decision.stray is not None:
            assert (decision.step, decision.stray) == (Step.WAIT, given.stray)
        elif decision.step is Step.WAIT and given.write is None and given.stray is not None:
            # The lock itself is what it waits for.
            assert held is not None
            assert held[0] in ("claimed", "deleting")


@pytest.mark.parametrize("state", LockState)
@pytest.mark.parametrize(("written", "promised"), [(MINE, MINE), (MINE, OTHER), (NONE, MINE)])
def test_an_uncovered_write_that_changes_the_tag_ends_its_lock(
    state: LockState, written: int, promised: int
) -> None:
    changes = written != promised or state is LockState.DELETING
    assert ends_lock(Lock(state, must(promised)), digest(written)) is changes
    assert not ends_lock(None, digest(written))


# ---- deletes -----------------------------------------------------------------------------------


def model_delete(
    facts: ModelRecord, held: ModelLock, seen: int | None, *, is_admin: bool
) -> tuple[str, int]:
    """What a delete of a covered tag has to do, and the image that is locked before."""
    shown, write, stray = facts
    answer = "reserve" if is_admin else "locked"
    if write is not None:
        return "wait", NONE
    if held is None:
        if stray is not None:
            return "wait", NONE
        if not shown and seen is None:
            return "look", NONE
        present = shown or seen or NONE
        return (answer, present) if present else ("pass", NONE)
    if held[0] in ("claimed", "deleting") or (stray is not None and stray != held[1]):
        return "wait", NONE
    return ("pass" if held[0] == "reserved" else answer), NONE


def said_of_delete(decision: DeleteDecision | DigestDecision) -> tuple[str, int]:
    return decision.step.value, number_of(decision.adopt)


def test_deletes_of_a_tag_are_decided_as_the_protocol_says() -> None:
    images = (MINE, OTHER)
    wrong, seen_steps = [], set()
    for covered, facts, held, seen, is_admin in product(
        (True, False),
        all_records(*images),
        all_locks(*images),
        (None, NONE, *images),
        (True, False),
    ):
        decision = decide_delete(
            COVERED if covered else OPEN,
            record(*facts),
            lock(held),
            look(seen),
            is_admin=is_admin,
        )
        expected = model_delete(facts, held, seen, is_admin=is_admin)
        if not covered and facts[1] is None:
            expected = "send", NONE
        seen_steps.add(decision.step)
        if said_of_delete(decision) != expected:
            wrong.append((covered, facts, held, seen, is_admin, said_of_delete(decision), expected))
    assert wrong == []
    assert seen_steps == set(DeleteStep)


def model_delete_by_digest(
    facts: ModelRecord, held: ModelLock, *, covered: bool, is_admin: bool
) -> tuple[str, int]:
    """What the delete of MINE, which PARENT lists, means for a tag."""
    shown, write, stray = facts
    if PARENT in (write, stray):
        return "wait", NONE
    promised = held[1] if held else shown
    if covered and promised == PARENT and (held is None or held[0] != "reserved"):
        if held and held[0] in ("claimed", "deleting"):
            return "wait", NONE
        if stray is not None and stray != promised:
            return "wait", NONE
        return "in_use", (NONE if held else PARENT)
    is_promised = held is not None and held[1] == MINE and held[0] != "reserved"
    is_on_it = shown == MINE or is_promised or write in (NONE, MINE) or stray in (NONE, MINE)
    if not is_on_it:
        return "pass", NONE
    if write is not None:
        return "wait", NONE
    return model_taken(shown, stray, held, is_admin=is_admin) if covered else ("take", NONE)


def model_taken(
    shown: int, stray: int | None, held: ModelLock, *, is_admin: bool
) -> tuple[str, int]:
    answer = "reserve" if is_admin else "locked"
    if held is None:
        return ("wait", NONE) if stray is not None or not shown else (answer, shown)
    if held[0] in ("claimed", "deleting") or (stray is not None and stray != held[1]):
        return "wait", NONE
    return ("pass" if held[0] == "reserved" else answer), NONE


def test_deletes_by_digest_are_decided_as_the_protocol_says() -> None:
    images = (MINE, OTHER, PARENT)
    wrong, seen_steps = [], set()
    for covered, facts, held, is_admin in product(
        (True, False), all_records(*images), all_locks(*images), (True, False)
    ):
        decision = decide_delete_by_digest(
            COVERED if covered else OPEN,
            record(*facts),
            lock(held),
            must(MINE),
            frozenset({must(PARENT)}),
            is_admin=is_admin,
        )
        expected = model_delete_by_digest(facts, held, covered=covered, is_admin=is_admin)
        seen_steps.add(decision.step)
        if said_of_delete(decision) != expected:
            wrong.append((covered, facts, held, is_admin, said_of_delete(decision), expected))
    assert wrong == []
    assert seen_steps == set(DigestStep)


# ---- after a stray -----------------------------------------------------------------------------


def model_after_stray(shown: int, stray: int, held: ModelLock, seen: int) -> str:
    """What a look means for a lock, once what may still land cannot land any more."""
    if held is None:
        return "stands"
    state, promised, replaced = held
    if seen == promised:
        return "locked" if state in ("claimed", "reserved") else "stands"
    if state == "deleting" and not seen:
        return "reserved"
    if state in ("locked", "deleting") and shown != promised and seen == shown:
        return "stands"
    if state == "locked" and stray == promised:
        return "stands"
    if seen:
        return "stands" if state == "claimed" and replaced == seen else "ends"
    return {"claimed": "stands", "reserved": "stands"}.get(state, "ends")


def test_what_a_look_means_after_a_stray_is_what_the_protocol_says() -> None:
    images = (MINE, OTHER, THIRD)
    wrong, seen_steps = [], set()
    some = (NONE, *images)
    for shown, stray, held, seen in product(some, some, all_locks(*images), some):
        decided = decide_after_stray(record(shown, None, stray), lock(held), Look(digest(seen)))
        expected = model_after_stray(shown, stray, held, seen)
        seen_steps.add(decided)
        if decided.value != expected:
            wrong.append((shown, stray, held, seen, decided.value, expected))
    assert wrong == []
    assert seen_steps == set(AfterStray)


@pytest.mark.parametrize(
    ("state", "mine", "another", "nothing"),
    [
        ("claimed", "locked", "ends", "stands"),
        ("locked", "stands", "ends", "ends"),
        ("released", "stands", "ends", "ends"),
        ("reserved", "locked", "ends", "stands"),
        ("deleting", "stands", "ends", "reserved"),
    ],
)
def test_after_a_stray_the_registry_is_right(
    state: str, mine: str, another: str, nothing: str
) -> None:
    held = Lock(LockState(state), must(MINE))
    shown = record(MINE, None, OTHER)
    said = [
        decide_after_stray(shown, held, Look(digest(seen))).value for seen in (MINE, OTHER, NONE)
    ]
    assert said == [mine, another, nothing]

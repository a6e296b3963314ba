"""The promise at random where a registry asks before it writes, beside pushes through the gate.

As in `test_model.py`. What a check allowed is written by its caller later, late, or never; a lock
whose image never came stands beside what was there when the check was answered, and nothing else.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from containers.registry.client import RegistryAnswer
from immutability.actions.drop import drop_claim
from immutability.answers import PushAnswer
from immutability.errors import ConflictError, TryAgainError
from immutability.models import Claim, LockedTag
from immutability.policy.protection import DeleteOutcome, LockState, Outcome
from immutability.push.check import CLAIM_LIFE, MAX_CURRENT_AGE, NOT_TOLD
from immutability.push.claims import abandon_claim, confirm_claim
from immutability.push.strays import SENT_WITHIN
from tests.immutability.checks import MIRROR, Checks
from tests.immutability.core import ALICE
from tests.immutability.registry_double import IMAGE_TYPE, INDEX_TYPE, Call
from tests.immutability.test_model import (
    DIGESTS,
    EXAMPLES,
    IMAGES,
    STEPS,
    TAGS,
    Operation,
    World,
    clock,
    leaves,
    play,
    some,
    tags,
)
from workspaces.models import Workspace

__all__ = ["clock"]

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases, pytest.mark.slow]

SENT = SENT_WITHIN.total_seconds()
HELD = CLAIM_LIFE.total_seconds()


class AskingWorld(World):
    """A world in which the registry also takes writes that it asks about itself."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.checks = Checks(self.core)
        # What the caller read of its registry, and when.
        self.readings: dict[str, tuple[float, bytes | None]] = {}
        self.claims: list[tuple[Claim, float]] = []
        # Tags that a check has locked and its caller has not written: to what, and what was there.
        self.unwritten: dict[str, tuple[str, str]] = {}

    # ---- what happens -------------------------------------------------------------------------

    def read(self, tag: str) -> None:
        """The caller reads what is under the tag, to tell it later."""
        shown = self.registry.tags.get(tag)
        named = {DIGESTS[name]: body for name, body in IMAGES.items()}
        self.readings[tag] = (self.now, named[shown] if shown else None)

    def check(self, what: tuple[tuple[str, ...], str, bool]) -> None:
        """The registry asks in one call, and writes within a minute, or doesn't."""
        pushed, name, tells = what
        answer = self._ask(pushed, name, tells=tells)
        if answer is not None and answer.is_allowed:
            for each in answer.tags:
                self._may_write(each.tag.name, name, self.now + SENT)

    def begin(self, what: tuple[tuple[str, ...], str]) -> None:
        """The registry begins two phases."""
        pushed, name = what
        answer = self._ask(pushed, name, two_phase=True)
        if answer is None or not answer.is_allowed:
            return
        sent_by = self.now + SENT
        if answer.claim is not None:
            sent_by = self.now + HELD
            claim = Claim.objects.select_related("workspace").get(id=answer.claim.id)
            self.claims.append((claim, sent_by))
        for each in answer.tags:
            if each.outcome is not Outcome.CLAIMED:
                self._may_write(each.tag.name, name, sent_by)

    def confirm(self, is_answered: bool) -> None:  # noqa: FBT001
        """The caller of the oldest claim writes in time, and says so if it got an answer."""
        if not self.claims:
            return
        claim, sent_by = self.claims.pop(0)
        if self.now >= sent_by:
            return
        name = next(name for name, digest in DIGESTS.items() if digest == claim.digest)
        claimed = [tag for tag, outcome in claim.tags.items() if outcome == Outcome.CLAIMED]
        if not is_answered:
            for tag in claimed:
                self._may_write(tag, name, self.now)
            return
        if not all(self._write(tag, name).is_success for tag in claimed):
            abandon_claim(claim, actor=MIRROR)
            return
        with suppress(ConflictError):
            confirm_claim(claim, actor=MIRROR)

    def abandon(self, _: object) -> None:
        """The caller of the oldest claim didn't write."""
        if self.claims:
            claim, _sent_by = self.claims.pop(0)
            with suppress(ConflictError):
                abandon_claim(claim, actor=MIRROR)

    def drop(self, tag: str) -> None:
        """An admin drops a claim whose caller must not begin to write any more."""
        row = LockedTag.objects.filter(tag=tag).first()
        with suppress(ConflictError):
            if row is not None:
                drop_claim(self.workspace, row.id, "because", actor=ALICE)

    def check_delete(self, what: tuple[str, bool]) -> None:
        """The registry asks about a delete, and deletes within a minute, or doesn't."""
        target, is_admin = what
        with suppress(TryAgainError):
            answer = self.checks.answer_delete(IMAGES.get(target, target), is_admin=is_admin)
            outcomes = {each.tag.name: each.outcome.value for each in answer.tags}
            note(f"{'  ' * len(self.running)}check of the delete of {target}: {outcomes}")
            for each in answer.tags:
                if answer.is_allowed and each.outcome is DeleteOutcome.DELETED:
                    self.promise.forget(each.tag.name)
                    self.promise.reserved[each.tag.name] = str(each.locked_digest)
            if answer.is_allowed:
                carry = partial(self.registry._delete, DIGESTS.get(target, target))
                self.late.append((self.now + SENT, carry))

    def delete(self, what: tuple[str, bool]) -> None:
        super().delete(what)
        for row in LockedTag.objects.filter(state=LockState.RESERVED):
            # An admin may delete what a check locked and its caller never wrote.
            self.promise.forget(row.tag)

    def release(self, tag: str) -> None:
        was = self.promise.announced.get(tag)
        super().release(tag)
        if was and tag not in self.promise.announced:
            self.promise.reserved.pop(tag, None)

    def _ask(
        self, pushed: tuple[str, ...], name: str, *, tells: bool = False, two_phase: bool = False
    ) -> PushAnswer | None:
        """Check a push, and remember what was told."""
        covered = {tag: self.is_covered(tag) for tag in pushed}
        current: Any = NOT_TOLD
        read_at, reading = self.readings.get(pushed[0], (-1e9, None))
        if tells and len(pushed) == 1 and self.now - read_at < MAX_CURRENT_AGE.total_seconds():
            current = reading
        try:
            answer = self.checks.answer(
                *pushed, image=IMAGES[name], current=current, two_phase=two_phase
            )
        except TryAgainError:
            return None
        outcomes = {each.tag.name: each.outcome.value for each in answer.tags}
        note(f"{'  ' * len(self.running)}check {name}: {outcomes}")
        for each in answer.tags:
            tag = each.tag.name
            row = LockedTag.objects.filter(tag=tag, state=LockState.LOCKED).first()
            if row is None or not (covered[tag] and self.is_covered(tag)):
                continue
            is_told = each.outcome in (Outcome.LOCKED_NOW, Outcome.UNCHANGED, Outcome.LOCKED)
            if is_told and (answer.is_allowed or each.outcome is Outcome.LOCKED):
                if each.outcome is Outcome.LOCKED_NOW:
                    self.promise.reserved.pop(tag, None)
                    self.unwritten[tag] = (row.digest, self.registry.tags.get(tag, ""))
                self.announce(tag, row.digest, is_there=False)
        return answer

    def _may_write(self, tag: str, name: str, sent_by: float) -> None:
        """The caller's write may land from now on."""
        self.late.append((sent_by, partial(self._write, tag, name)))

    def _write(self, tag: str, name: str) -> RegistryAnswer:
        media_type = INDEX_TYPE if b'"manifests"' in IMAGES[name] else IMAGE_TYPE
        return self.registry._put(Call("PUT", tag, IMAGES[name], media_type))

    # ---- the promise --------------------------------------------------------------------------

    def settle(self) -> None:
        """Callers that say nothing are found by admins, who drop their claims."""
        self.wait(int(HELD) + 1)
        for tag in TAGS:
            self.drop(tag)
        super().settle()

    def has_moved(self, tag: str, digest: str) -> None:
        super().has_moved(tag, digest)
        self.unwritten.pop(tag, None)

    def may_show(self, row: LockedTag) -> set[str]:
        """A check locked the tag to what never came: what was there before stays."""
        promised, before = self.unwritten.get(row.tag, ("", ""))
        is_unwritten = row.state == LockState.LOCKED and row.digest == promised
        return super().may_show(row) | ({before} if is_unwritten else set())


pushed = st.tuples(
    st.sampled_from([("v1",), ("v1",), ("v2",), ("v1", "v2")]), st.sampled_from(list(IMAGES))
)
targets = st.tuples(st.sampled_from(["v1", "v1", "one", "two"]), st.booleans())


def asking(meanwhile: st.SearchStrategy[tuple[Operation, ...]]) -> st.SearchStrategy[Operation]:
    """Return what a registry asks and does."""
    checked = st.tuples(
        st.sampled_from([("v1",), ("v1",), ("v2",), ("v1", "v2")]),
        st.sampled_from(list(IMAGES)),
        st.booleans(),
    )
    kinds: list[tuple[str, st.SearchStrategy[Any]]] = [
        ("check", checked),
        ("check", checked),
        ("check", checked),
        ("read", tags),
        ("begin", pushed),
        ("confirm", st.booleans()),
        ("abandon", st.none()),
        ("drop", tags),
        ("check_delete", targets),
        ("land", st.integers(0, 2)),
        ("wait", st.sampled_from([30, 61, 16 * 60])),
    ]
    return st.one_of([some(kind, what, meanwhile) for kind, what in kinds])


@pytest.mark.parametrize("kind", [World, AskingWorld])
def test_a_lock_that_is_broken_does_not_pass(
    clock: Callable[[World], None], monkeypatch: pytest.MonkeyPatch, kind: type[World]
) -> None:
    settle = kind.settle

    def tamper_and_settle(world: World) -> None:
        world.registry.store(IMAGES["two"], "v1")
        world.look("v1")
        settle(world)

    monkeypatch.setattr("tests.immutability.test_model.note", str)
    monkeypatch.setattr(kind, "settle", tamper_and_settle)
    with pytest.raises(AssertionError, match="a look showed a lock broken"):
        play([Operation("push", (("v1",), "one"))], "all", clock, kind)


steps = st.one_of(
    asking(st.lists(leaves, max_size=1).map(tuple)),
    leaves,
)


@given(
    steps=st.lists(steps, min_size=2, max_size=STEPS), begins_with=st.sampled_from(["all", "none"])
)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_promise_holds_where_a_registry_asks(
    clock: Callable[[World], None],
    steps: list[Operation],
    begins_with: str,
) -> None:
    with transaction.atomic():
        play(steps, begins_with, clock, AskingWorld)
        transaction.set_rollback(True)

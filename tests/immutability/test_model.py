"""Pushes, deletes, admins, saves, crashes and late landings, at random, against the promise.

What is told is remembered, and every movement of a tag in the registry is checked against it at the
moment it happens. At the end the faults stop, time passes, and nothing may be left behind. The
model excuses nothing.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.db.models import Q
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from containers import writes
from containers.models import Tag as TagRecord
from containers.names import TagName
from containers.prefixes import create_workspace
from containers.registry.client import RegistryAnswer
from immutability import locks, patience
from immutability.actions.save_settings import save_container_settings
from immutability.errors import ConflictError, TryAgainError
from immutability.models import LockedTag
from immutability.policy.drafts import Draft
from immutability.policy.protection import (
    LockState,
    Policy,
    PolicyException,
    PolicyRule,
    Protection,
)
from immutability.reading import read_policy
from immutability.reconcile.inventory import read_tags
from immutability.reconcile.tag import reconcile_record
from tests.conftest import is_postgresql
from tests.immutability.core import Core, named
from tests.immutability.registry_double import (
    ABSENT,
    NO_ANSWER,
    NOT_REACHED,
    REFUSED,
    Call,
    Carry,
    RegistryDouble,
    digest_of,
    image,
    index,
)
from workspaces.access import SYSTEM, Role
from workspaces.actions.members import add_member
from workspaces.log.kinds import EventKind
from workspaces.log.models import LockEvent
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases, pytest.mark.slow]

# What differs on SQLite, its locks, is one case of many.
EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "40" if is_postgresql() else "12"))
STEPS = 9

IMAGES = {
    "one": named("one", image("one")),
    "two": named("two", image("two")),
}
IMAGES["list"] = named("list", index(IMAGES["one"]))
IMAGES["top"] = named("top", index(IMAGES["list"]))
DIGESTS = {name: digest_of(body) for name, body in IMAGES.items()}
NEEDS = {DIGESTS[name]: {DIGESTS[name]} for name in IMAGES}
NEEDS[DIGESTS["list"]].add(DIGESTS["one"])
NEEDS[DIGESTS["top"]] |= NEEDS[DIGESTS["list"]]
TAGS = ("v1", "v2")
# The registry ends while it writes a tag, or an image, and cannot read that from then on.
HALF_WRITTEN = ("half written", "killed, half written")
ONLY_V1 = PolicyRule("v1", "^v1$")
BUT_V2 = PolicyException("v2", "^v2$")
SETTINGS = {
    "all": Draft(Protection.ALL),
    "none": Draft(Protection.NONE, exceptions=(BUT_V2,)),
    "v1": Draft(Protection.SOME, (ONLY_V1,), exceptions=(BUT_V2,)),
    "all but v2": Draft(Protection.ALL, exceptions=(BUT_V2,)),
}


class KilledError(BaseException):
    """The process that was at work ends here."""


@dataclass(frozen=True)
class Operation:
    """Something that someone does, and how the registry answers the writes of it in turn.

    `meanwhile` is done by others while the call with that number is on its way.
    """

    kind: str
    what: Any = None
    replies: tuple[str, ...] = ()
    meanwhile: tuple["Operation", ...] = ()
    at_call: int = 0


@dataclass
class Promise:
    """What was told: each tag's announced digest, and whether it was told to be there.

    A reserved name is remembered until it is freed, or its image comes back.
    """

    announced: dict[str, tuple[str, bool]] = field(default_factory=dict)
    reserved: dict[str, str] = field(default_factory=dict)

    def forget(self, tag: str) -> None:
        self.announced.pop(tag, None)


class WatchedRegistry(RegistryDouble):
    """A registry that checks the promise whenever a tag moves."""

    def __init__(self, world: "World") -> None:
        super().__init__()
        self.world = world

    def _put(self, call: Call) -> RegistryAnswer:
        answered = super()._put(call)
        if answered.is_success and ":" not in call.reference:
            self.world.has_moved(call.reference, digest_of(call.body))
        return answered

    def put_half(self, call: Call) -> RegistryAnswer:
        """End in the middle of writing a tag, or an image without one."""
        self.store(call.body, media_type=call.media_type)
        if ":" in call.reference:
            self.unreadable.add(call.reference)
        else:
            self.break_tag(call.reference)
            self.world.is_lost(call.reference, digest_of(call.body))
        return ABSENT

    def _delete(self, reference: str) -> RegistryAnswer:
        before = dict(self.tags)
        answered = super()._delete(reference)
        for tag in before.keys() - self.tags.keys():
            self.world.has_gone(tag)
        if ":" in reference and answered.is_success:
            self.world.has_lost(reference)
        return answered

    def _reply(self, call: Call, carry: Carry) -> RegistryAnswer:
        return self.world.answer(call, lambda: super(WatchedRegistry, self)._reply(call, carry))


class World:
    """A workspace, its registry, what was told, and the time."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.registry = WatchedRegistry(self)
        self.core = Core(workspace, self.registry, self._save)
        self.promise = Promise()
        self.now = 0.0
        self.late: list[tuple[float, Carry]] = []
        self.running: list[tuple[Operation, list[str], list[int]]] = []

    # ---- what happens -------------------------------------------------------------------------

    def run(self, operation: Operation) -> None:
        """Carry an operation out; it may crash, and then nothing more of it happens."""
        self.running.append((operation, list(operation.replies), [0]))
        note(f"{'  ' * len(self.running)}{operation.kind} {operation.what}")
        try:
            getattr(self, operation.kind)(operation.what)
        except KilledError:
            note(f"{'  ' * len(self.running)}killed")
        finally:
            self.running.pop()

    def push(self, what: tuple[tuple[str, ...], str]) -> None:
        tags, name = what
        covered = {tag: self.is_covered(tag) for tag in tags}
        told = self.core.push(*tags, image=IMAGES[name])
        note(f"{'  ' * len(self.running)}push {tags} {name}: {told}")
        for tag in tags:
            row = LockedTag.objects.filter(tag=tag).first()
            if row is None or not (covered[tag] and self.is_covered(tag)):
                continue
            if told == "201" and row.state == LockState.LOCKED and row.digest == DIGESTS[name]:
                self.announce(tag, row.digest, is_there=True)
                continue
            # Of several tags, one that is locked to another image is enough for a refusal.
            is_about_it = len(tags) == 1 or row.state == LockState.LOCKED
            is_unchanged = (row.state, row.digest) == (LockState.LOCKED, DIGESTS[name])
            if told == "403 locked" and is_about_it and not is_unchanged:
                self.announce(tag, row.digest, is_there=False)

    def push_by_digest(self, name: str) -> None:
        self.core.push(image=IMAGES[name])

    def delete(self, what: tuple[str, bool]) -> None:
        target, is_admin = what
        told = self.core.delete(IMAGES.get(target, target), is_admin=is_admin)
        note(f"{'  ' * len(self.running)}delete {target}: {told}")

    def save(self, name: str) -> None:
        draft = SETTINGS[name]
        self.core.protect(draft.protection, *draft.rules, exceptions=draft.exceptions)
        for tag in TAGS:
            if not self.is_covered(tag):
                self.promise.forget(tag)
                self.promise.reserved.pop(tag, None)

    def release(self, tag: str) -> None:
        with suppress(TryAgainError, ConflictError, LockedTag.DoesNotExist, TagRecord.DoesNotExist):
            self.core.release(tag)
            self.promise.forget(tag)

    def free(self, tag: str) -> None:
        with suppress(TryAgainError, ConflictError, LockedTag.DoesNotExist, TagRecord.DoesNotExist):
            self.core.free(tag)
            self.promise.forget(tag)
            self.promise.reserved.pop(tag, None)

    def reconcile(self, tag: str) -> None:
        with suppress(TagRecord.DoesNotExist):
            self.core.reconcile(tag)

    def look(self, tag: str) -> None:
        """The inventory looks at a tag."""
        registry: Any = self.registry
        read_tags(self.workspace, self.core.repository, [TagName(tag)], registry)

    def wait(self, seconds: int) -> None:
        """Let time pass; what is on its way for longer than a stray lives does not land."""
        self.now += seconds
        self.core.let_pass(seconds=seconds)
        life = writes.STRAY_LIFE.total_seconds()
        self.late = [(sent, carry) for sent, carry in self.late if self.now - sent < life]

    def land(self, which: int) -> None:
        """Let a write that got no answer land now."""
        if self.late:
            _, carry = self.late.pop(which % len(self.late))
            carry()

    # ---- how the registry answers -------------------------------------------------------------

    def answer(self, call: Call, carry: Carry) -> RegistryAnswer:
        """Let others act while the call is on its way, then answer it as the operation says."""
        if not self.running:
            return carry()
        for row in LockedTag.objects.filter(state=LockState.DELETING):
            # An admin has decided: from now on nothing is promised.
            self.promise.forget(row.tag)
        operation, replies, count = self.running[-1]
        if operation.meanwhile and count[0] == operation.at_call:
            for each in operation.meanwhile:
                self.run(each)
        count[0] += 1
        is_write = call.method in ("PUT", "DELETE")
        reply = replies.pop(0) if is_write and replies else "ok"
        if reply != "ok":
            note(f"{'  ' * len(self.running)}{call.method} {call.reference[:12]}: {reply}")
        if reply in HALF_WRITTEN and call.method == "PUT":
            carry = partial(self.registry.put_half, call)
        return self._answer(reply, carry)

    def _answer(self, reply: str, carry: Carry) -> RegistryAnswer:
        match reply:
            case "refused":
                return REFUSED
            case "not reached":
                raise NOT_REACHED
            case "late":
                self.late.append((self.now, carry))
                raise NO_ANSWER
            case "killed before":
                raise KilledError
            case "killed, late":
                self.late.append((self.now, carry))
                raise KilledError
        answered = carry()
        if reply in ("lost", "half written"):
            raise NO_ANSWER
        if reply in ("killed after", "killed, half written"):
            raise KilledError
        return answered

    # ---- the promise --------------------------------------------------------------------------

    def announce(self, tag: str, digest: str, *, is_there: bool) -> None:
        """Somebody was told that the tag is locked to this image."""
        if is_there:
            assert self.registry.tags.get(tag) == digest, f"201 for {tag}, which is not there"
            for each in NEEDS[digest]:
                assert each in self.registry.manifests, f"201 for {tag}, whose image is not whole"
        before = self.promise.announced.get(tag)
        was_there = before is not None and before == (digest, True)
        self.promise.announced[tag] = (digest, is_there or was_there)

    def has_moved(self, tag: str, digest: str) -> None:
        """The registry has another image under the tag now."""
        told = self.promise.announced.get(tag)
        assert told is None or told[0] == digest, f"{tag} moved, announced as locked"
        reserved = self.promise.reserved.pop(tag, digest)
        assert reserved == digest, f"{tag} was reserved, and takes another image"

    def is_lost(self, tag: str, digest: str) -> None:
        """The registry cannot read the tag any more, after a write of this image."""
        told = self.promise.announced.get(tag)
        assert told is None or told[0] == digest, f"{tag} was overwritten, announced as locked"
        reserved = self.promise.reserved.get(tag, digest)
        assert reserved == digest, f"{tag} was reserved, and takes another image"

    def has_gone(self, tag: str) -> None:
        """The registry does not have the tag any more."""
        row = LockedTag.objects.filter(tag=tag).first()
        if row is not None and row.state == LockState.DELETING:
            self.promise.forget(tag)
            self.promise.reserved[tag] = row.digest
        assert tag not in self.promise.announced, f"{tag} vanished, announced as locked"

    def has_lost(self, digest: str) -> None:
        """The registry does not have the manifest any more."""
        for tag, (held, is_there) in self.promise.announced.items():
            row = LockedTag.objects.filter(tag=tag, state=LockState.LOCKED).first()
            if row is not None and is_there:
                assert digest not in NEEDS[held], f"what {tag} is locked to was deleted"

    def settle(self) -> None:
        """The faults stop, and time passes: nothing is left behind."""
        registry: Any = self.registry
        for each in list(self.late):
            self.late.remove(each)
            each[1]()
        for _ in range(24):
            self.wait(6 * 60)
            for record in TagRecord.objects.all():
                reconcile_record(record.id, registry)
        self.heal()
        broken = LockEvent.objects.filter(
            Q(kind=EventKind.DRIFT_FOUND)
            | Q(kind=EventKind.LOCK_ENDED, reason__in=(locks.NOT_THERE, locks.SHOWS_ANOTHER))
        )
        assert not broken, f"a look showed a lock broken: {broken[0].tag}: {broken[0].reason}"
        for record in TagRecord.objects.all():
            shown = self.registry.tags.get(record.name, "")
            row = LockedTag.objects.filter(tag=record.name).first()
            assert record.write_id is None, f"{record.name}: a write is left"
            assert record.stray_until is None, f"{record.name}: a stray is left"
            assert not record.digest or record.digest == shown, f"{record.name}: not {shown}"
            state = LockState(row.state) if row else None
            assert state not in (LockState.CLAIMED, LockState.DELETING), f"{record.name}: {state}"
            may_show = self.may_show(row) if row else set()
            if row and state in (LockState.LOCKED, LockState.RELEASED):
                assert shown in may_show, f"{record.name} is {state} to what is not there"
            if state is LockState.RESERVED:
                assert not shown, f"{record.name} is reserved, and there"
            if told := self.promise.announced.get(record.name):
                is_unwritten = row and told == (row.digest, False) and shown in may_show
                is_kept = told[0] == shown or is_unwritten
                assert is_kept, f"{record.name} was announced as another image"
            kept = self.promise.reserved.get(record.name)
            if kept and self.is_covered(record.name) and not shown:
                assert state is LockState.RESERVED, f"{record.name} was reserved, and is free"

    def heal(self) -> None:
        """Push what the registry cannot read, as any client would."""
        if self.registry.unreadable:
            for needed in IMAGES:
                self.core.push(image=IMAGES[needed])
        for tag in sorted(self.registry.unreadable):
            row = LockedTag.objects.filter(tag=tag).first()
            name = next(each for each in IMAGES if row is None or DIGESTS[each] == row.digest)
            assert self.core.push(tag, image=IMAGES[name]) == "201", f"{tag} is unreadable for ever"

    def may_show(self, row: LockedTag) -> set[str]:
        """Return what the registry may have under a locked tag: its image, and nothing else."""
        return {row.digest}

    def is_covered(self, tag: str) -> bool:
        policy = read_policy(self.workspace)
        if policy.protection is Protection.ALL:
            return tag == "v1" or not policy.exceptions
        return policy.protection is Protection.SOME and tag == "v1"

    def _save(
        self, workspace: Workspace, protection: Protection, *rules: Any, **others: Any
    ) -> Policy:
        return save_container_settings(
            workspace,
            Draft(protection, rules, **others),
            expected_version=read_policy(workspace).version,
            may_suspend_locks=True,
            actor=SYSTEM,
        )


replies = st.lists(
    st.sampled_from(
        [
            "ok",
            "ok",
            "lost",
            "late",
            "refused",
            "not reached",
            "killed before",
            "killed after",
            "killed, late",
            *HALF_WRITTEN,
        ]
    ),
    max_size=3,
).map(tuple)
tags = st.sampled_from(TAGS)


def some(
    kind: str, what: st.SearchStrategy[Any], meanwhile: st.SearchStrategy[tuple[Operation, ...]]
) -> st.SearchStrategy[Operation]:
    """Return operations of one kind."""
    return st.builds(
        Operation,
        kind=st.just(kind),
        what=what,
        replies=replies,
        meanwhile=meanwhile,
        at_call=st.integers(0, 3),
    )


def operations(meanwhile: st.SearchStrategy[tuple[Operation, ...]]) -> st.SearchStrategy[Operation]:
    """Return operations during which others happen."""

    pushed = st.tuples(
        st.sampled_from([("v1",), ("v1",), ("v2",), ("v1", "v2")]), st.sampled_from(list(IMAGES))
    )
    push = some("push", pushed, meanwhile)
    return st.one_of(
        push,
        push,
        push,
        some("push_by_digest", st.sampled_from(["one", "two"]), meanwhile),
        some(
            "delete",
            st.tuples(st.sampled_from(["v1", "v1", "one", "two", "list"]), st.booleans()),
            meanwhile,
        ),
        some("save", st.sampled_from(list(SETTINGS)), meanwhile),
        some("release", tags, meanwhile),
        some("free", tags, meanwhile),
        some("reconcile", tags, meanwhile),
        some("reconcile", tags, meanwhile),
        some("look", tags, meanwhile),
        some("wait", st.sampled_from([6, 40, 16 * 60]), meanwhile),
        some("land", st.integers(0, 2), meanwhile),
    )


def _short_waits(operation: Operation) -> bool:
    """A process that stands still for longer than a stray lives is nobody's to rule out."""
    return not (operation.kind == "wait" and operation.what > 60)


leaves = operations(st.just(()))
nested = operations(st.lists(leaves.filter(_short_waits), max_size=2).map(tuple))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[World], None]:
    monkeypatch.setattr(patience, "MAX_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(patience, "_SHORT_TURN_SECONDS", 0.0)

    def follow(world: World) -> None:
        monkeypatch.setattr(writes, "read_clock", lambda: world.now)

    return follow


def play(
    steps: list[Operation],
    begins_with: str,
    follow: Callable[[World], None],
    make_world: Callable[[Workspace], World] = World,
    there: tuple[str, ...] = (),
) -> None:
    """Let the steps happen in a new workspace, and see to it that nothing is left behind."""
    workspace = create_workspace("acme", "Acme", actor=SYSTEM)
    user = User.objects.create(username="alice", password=make_password(None))
    add_member(workspace, user, Role.ADMIN, actor=SYSTEM)
    world = make_world(workspace)
    follow(world)
    # Some tags are older than Taglock.
    world.registry.store(IMAGES["one"], *there)
    world.save(begins_with)
    for step in steps:
        world.run(step)
    world.running.clear()
    world.settle()


@given(
    steps=st.lists(nested, min_size=2, max_size=STEPS),
    begins_with=st.sampled_from(["all", "none"]),
    there=st.sampled_from([(), ("v1",)]),
)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_promise_holds_whatever_happens(
    clock: Callable[[World], None],
    steps: list[Operation],
    begins_with: str,
    there: tuple[str, ...],
) -> None:
    with transaction.atomic():
        play(steps, begins_with, clock, there=there)
        transaction.set_rollback(True)

"""Pushes, deletes, admins, settings, crashes and a late registry, at random, against the promise.

What became of everything is checked after each step, and every movement of a tag at the moment at
which it happens. At the end everything works again, and nothing may be left behind.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections
from django.db.models import DateTimeField, F, QuerySet
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from immutability.actions import push_manifest
from immutability.actions.manage import WrongStateError, delete_locked_tag, release_locked_tag
from immutability.actions.read import MovedError, UndecidedError, read_policy
from immutability.actions.resolve import resolve_attempts
from immutability.actions.save_settings import save_container_settings
from immutability.drafts import Draft
from immutability.gate import views
from immutability.models import Attempt, LockedTag
from immutability.protection import Protection
from tests.conftest import SEMVER
from tests.immutability.gate.upstream import IMAGE_TYPE, INDEX_TYPE, GateClient, digest_of
from tests.immutability.late_registry import (
    End,
    Interruption,
    KilledError,
    LateWrite,
    Process,
    Where,
)
from tests.immutability.operations import (
    DIGESTS,
    IMAGES,
    MEETINGS,
    STORIES,
    TAGS,
    Delete,
    Land,
    Operation,
    Push,
    Release,
    Remove,
    Resolve,
    Save,
    Stall,
    changes,
    ends,
    interruptions,
    pushes,
    reads_lost,
)
from tests.immutability.promise import QUARANTINE_SECONDS, SENT, Promise
from tests.services.accounts import make_admin, make_pusher
from workspaces.access import SYSTEM

pytestmark = pytest.mark.django_db(transaction=True)

# Most of what goes wrong takes a handful of steps, so many short examples find more.
EXAMPLES = 60
STEPS = 8

LEASE_SECONDS = 61
STRANDED_SECONDS = 5 * 60 + 1


class Machine(Promise):
    """All that can happen."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = GateClient(make_pusher(self.workspace))
        self.admin_gate = GateClient(make_admin(self.workspace))
        self.client: Any = self.registry
        self.answered, self.said = 0, ""
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(views, "_registry", lambda: self.registry)

    @initialize(
        before=st.sampled_from([Protection.ALL, Protection.NONE]),
        image=st.sampled_from([None, "one", "index"]),
        after=st.sampled_from([Protection.ALL, Protection.ALL, Protection.SOME, Protection.NONE]),
    )
    def begin(self, before: Protection, image: str | None, after: Protection) -> None:
        """Begin with a tag that is absent, there, locked, or locked and suspended."""
        self._carry_out(Save(before))
        if image is not None:
            self._carry_out(Push((TAGS[0],), image))
        self._carry_out(Save(after))

    @rule(
        operation=pushes,
        ends=ends,
        reads_lost=reads_lost,
        interruption=interruptions,
        is_resolved=st.booleans(),
    )
    def push(self, *, is_resolved: bool, **what: Any) -> None:
        """Push a tag, and let the worker come by soon afterwards, or not yet."""
        self.run(**what)
        if is_resolved:
            self.check_promise()
            self.run(Resolve())

    @rule(
        operation=changes,
        ends=ends,
        reads_lost=reads_lost,
        interruption=interruptions,
        is_resolved=st.booleans(),
    )
    def change(self, *, is_resolved: bool, **what: Any) -> None:
        """Likewise, for whatever else people do."""
        self.run(**what)
        if is_resolved:
            self.check_promise()
            self.run(Resolve())

    @precondition(lambda self: self.is_something_open)
    @rule(ends=ends, reads_lost=reads_lost, interruption=interruptions)
    def resolve(self, **what: Any) -> None:
        self.run(Resolve(), **what)

    @precondition(lambda self: self.registry.late)
    @rule(which=st.integers(0, 2), lands=st.booleans())
    def end_late_write(self, *, which: int, lands: bool) -> None:
        if lands:
            self.run(Land(which))
        elif self.registry.late:
            self.registry.late.pop(which % len(self.registry.late))

    @precondition(lambda self: self.is_something_open)
    @rule(
        seconds=st.sampled_from([LEASE_SECONDS, STRANDED_SECONDS, QUARANTINE_SECONDS + 1]),
        lands=st.booleans(),
    )
    def pass_time(self, *, seconds: int, lands: bool) -> None:
        """Let time pass. No write can land later than the longest delay."""
        for late in list(self.registry.late):
            late.seconds_left -= seconds
            if late.seconds_left < 0:
                self._land(late) if lands else self.registry.late.remove(late)
        for model in (Attempt, LockedTag):
            self._age(model.objects.filter(workspace=self.workspace), seconds)

    def teardown(self) -> None:
        try:
            self._recover()
            held = {lock.tag for lock in self._locks() if lock.state == "locked"}
            for tag in sorted(
                {*self.registry.tags, *(lock.tag for lock in self._locks()), TAGS[0]}
            ):
                if tag in held and self._is_covered(tag):
                    continue
                self._carry_out(Push((tag,), "two"))
                assert self.answered in (201, 403), f"{tag} is burned: {self.answered} {self.said}"
        finally:
            self._patch.undo()

    def _recover(self) -> None:
        """Everything works again, for as long as it takes."""
        self._carry_out(Resolve())
        self.check_promise()
        while self.registry.late:
            self._land(self.registry.late[0])
            self.check_promise()
        for _ in range(4):
            self.pass_time(seconds=QUARANTINE_SECONDS + 1, lands=True)
            self._carry_out(Resolve())
            self.check_promise()
            if not self._open().exists():
                break
        # What was in doubt is certain now.
        self.pass_time(seconds=QUARANTINE_SECONDS + 1, lands=True)
        stuck = [lock for lock in self._locks() if lock.state in ("claimed", "deleting")]
        assert not stuck, f"{stuck[0]} is {stuck[0].state} for ever"
        left = self._open().first()
        assert left is None, f"{left.kind} of {left.digest} is open for ever" if left else ""

    def run(
        self,
        operation: Operation,
        ends: Sequence[End] = (),
        reads_lost: Sequence[bool] = (),
        interruption: Interruption[Operation] | None = None,
    ) -> bool:
        """Carry out an operation in a process; return whether it was interrupted."""
        self.registry.ends, self.registry.reads_lost = list(ends), list(reads_lost)
        self.process = process = Process(interruption, self._carry_out, self._watch)
        try:
            with connection.execute_wrapper(process.execute), suppress(KilledError):
                self._carry_out(operation)
        finally:
            self.process = None
            self.registry.ends, self.registry.reads_lost = [], []
        assert not connection.in_atomic_block, "a transaction is left open"
        return process.is_interrupted

    def _carry_out(self, operation: Operation) -> None:
        match operation:
            case Push():
                self._push(operation)
            case Delete():
                self._delete(operation)
            case Save(protection):
                self._save(protection)
            case Land(which):
                if self.registry.late:
                    self._land(self.registry.late[which % len(self.registry.late)])
            case _:
                self._work(operation)

    def _work(self, operation: Operation) -> None:
        match operation:
            case Release(tag):
                self._manage(tag, release_locked_tag)
            case Remove(tag, name_after):
                delete = partial(delete_locked_tag, name_after=name_after, registry=self.client)
                self._manage(tag, delete)
            case Resolve():
                attempts = Attempt.objects.filter(workspace=self.workspace)
                resolve_attempts(self.client, attempts)
            case Stall():
                self._age(self._open().filter(~SENT), LEASE_SECONDS)
                self._carry_out(Resolve())

    def _push(self, push: Push) -> None:
        body = IMAGES[push.image]
        reference = push.tags[0] if len(push.tags) == 1 else digest_of(body)
        query = "" if len(push.tags) == 1 else "&".join(f"tag={tag}" for tag in push.tags)
        response = self.gate.push(
            reference,
            body,
            query=query,
            media_type=INDEX_TYPE if push.image == "index" else IMAGE_TYPE,
            repository=self.repository,
        )
        self.answered, self.said = response.status_code, response.content.decode()
        if self._is_disturbed():
            return
        with self._looking():
            covered = [tag for tag in push.tags if self._is_covered(tag)]
            held = {
                lock.tag: (lock.state, lock.digest)
                for lock in self._locks().filter(tag__in=covered)
            }
            mine = ("locked", digest_of(body))
            if self.answered == 201:
                assert held == dict.fromkeys(covered, mine), "201, but it is not locked"
            elif self.answered == 403:
                states = [state for state, digest in held.values() if digest != mine[1]]
                assert {"locked", "reserved"} & {*states}, "403, but nothing locks it"
            else:
                assert self.answered in (400, 405, 409, 500, 503, 504), self.answered

    def _delete(self, delete: Delete) -> None:
        target = delete.target
        reference = DIGESTS.get(target, target)
        gate = self.admin_gate if delete.is_admin else self.gate
        response = gate.delete(reference, repository=self.repository)
        if self._is_disturbed():
            return
        with self._looking():
            if response.status_code == 202:
                has = {**self.registry.tags, **self.registry.manifests}
                assert reference not in has, f"202, but {target} is there"
            elif response.status_code == 403:
                lost = {reference, DIGESTS["index"]} if target == "one" else {reference}
                assert any(
                    self._is_covered(lock.tag) and lock.state != "reserved"
                    for lock in self._locks()
                    if lock.tag == target or lock.digest in lost
                ), "403, but nothing locks it"

    def _save(self, protection: Protection) -> None:
        save_container_settings(
            self.workspace,
            Draft(protection, (SEMVER,)),
            expected_version=read_policy(self.workspace).version,
            may_suspend_locks=True,
            actor=SYSTEM,
        )

    def _manage(self, tag: str, change: Any) -> None:
        lock = self._locks().filter(tag=tag).first()
        if lock is not None:
            with suppress(WrongStateError, UndecidedError, MovedError, LockedTag.DoesNotExist):
                change(self.workspace, lock.id, reason="because", actor=SYSTEM)

    def _land(self, late: LateWrite) -> None:
        with self._looking():
            self.registry.land(late)

    def _age(self, rows: QuerySet[Any], seconds: int) -> None:
        fields = [f.name for f in rows.model._meta.get_fields() if isinstance(f, DateTimeField)]
        rows.update(**{name: F(name) - timedelta(seconds=seconds) for name in fields})


@pytest.fixture
def _in_one_process(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.REGISTRY_URL = "http://registry.internal:5000"
    monkeypatch.setattr(push_manifest, "HOLD_SECONDS", 0.0)
    # Every "try again" is a line, and nobody wants to read thousands of them.
    monkeypatch.setattr(logging.getLogger("django.request"), "disabled", True)
    # What interrupts a statement uses its connection too, which is therefore never given back.
    monkeypatch.setattr(connections["default"], "close", lambda: None)


@pytest.mark.usefixtures("_in_one_process")
@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_the_promise_holds_in_what_went_wrong_once(
    story: tuple[tuple[Operation, tuple[End, ...]], ...],
) -> None:
    machine = Machine()
    machine.run(Save(Protection.ALL))
    try:
        for operation, its_ends in story:
            machine.run(operation, its_ends)
            machine.check_promise()
    finally:
        machine.teardown()


@pytest.mark.usefixtures("_in_one_process")
@pytest.mark.parametrize("its_ends", [(), (End.LATE,)], ids=["answered", "late"])
@pytest.mark.parametrize(("before", "operation", "other"), MEETINGS.values(), ids=MEETINGS)
def test_the_promise_holds_wherever_two_operations_meet(
    before: tuple[Operation, ...],
    operation: Operation,
    other: Operation | None,
    its_ends: tuple[End, ...],
) -> None:
    for statement in range(1, 200):
        machine = Machine()
        try:
            for each in (Save(Protection.ALL), *before):
                machine.run(each)
            is_interrupted = machine.run(
                operation, its_ends, interruption=Interruption(Where.DATABASE, statement, other)
            )
            machine.check_promise()
        finally:
            machine.teardown()
        if not is_interrupted:
            return
    pytest.fail("no operation takes as many statements as that")


@pytest.mark.usefixtures("_in_one_process")
def test_the_promise_holds_whatever_happens() -> None:
    run_state_machine_as_test(
        Machine,
        settings=hypothesis_settings(
            derandomize=True,
            database=None,
            deadline=None,
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            suppress_health_check=list(HealthCheck),
        ),
    )

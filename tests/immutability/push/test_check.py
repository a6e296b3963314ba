"""Pushes that a registry asks about, and writes by itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from containers import writes
from containers.models import Tag as TagRecord
from containers.registry.client import RegistryAnswer
from immutability.models import LockedTag
from immutability.policy.protection import Protection
from immutability.push import check as check_module
from immutability.push.plan import PushPlan, hold_plan
from immutability.push.strays import SENT_WITHIN
from tests.immutability.checks import Checks, every_row
from tests.immutability.core import Core, assert_policy_is_read_after_locks, named
from tests.immutability.registry_double import NO_ANSWER, Carry, digest_of, index
from tests.immutability.states import (
    ONE,
    TWO,
    V_TAGS,
    begun,
    being_deleted,
    claimed_and_left,
    deleted_by_digest,
    locked,
    locked_by_a_check,
    nothing,
    over_at,
    released,
    reserved,
    stray_from_before_the_protection,
    suspended,
    there,
    uncovered,
)
from workspaces.access import Actor, ActorKind
from workspaces.log.models import LockEvent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kept_core")]

STATES = [
    # before, image, outcome, the same in a dry run, lock after
    (nothing, ONE, "locked_now", "free", "locked one"),
    (there, ONE, "unchanged", "unchanged", "locked one"),
    (there, TWO, "locked", "locked", "locked one"),
    (locked, ONE, "unchanged", "unchanged", "locked one"),
    (locked, TWO, "locked", "locked", "locked one"),
    (locked_by_a_check, ONE, "unchanged", "unchanged", "locked one"),
    (locked_by_a_check, TWO, "locked", "locked", "locked one"),
    (released, ONE, "unchanged", "unchanged", "released one"),
    (released, TWO, "locked_now", "free", "locked two"),
    (reserved, ONE, "locked_now", "free", "locked one"),
    (reserved, TWO, "reserved", "reserved", "reserved one"),
    (uncovered, ONE, "unprotected", "unprotected", "none"),
    (suspended, ONE, "unprotected", "unprotected", "locked one"),
    (suspended, TWO, "unprotected", "unprotected", "none"),
    (claimed_and_left, ONE, "locked_now", "free", "locked one"),
    (claimed_and_left, TWO, "claim_pending", "claim_pending", "claimed one"),
    (stray_from_before_the_protection, ONE, "locked_now", "free", "locked one"),
    (stray_from_before_the_protection, TWO, "claim_pending", "claim_pending", "none"),
    (begun, ONE, "claim_pending", "claim_pending", "claimed one"),
    (begun, TWO, "claim_pending", "claim_pending", "claimed one"),
    (being_deleted, ONE, "claim_pending", "claim_pending", "deleting one"),
    (deleted_by_digest, ONE, "claim_pending", "free", "none"),
    (deleted_by_digest, TWO, "locked_now", "free", "locked two"),
]
IDS = [
    f"{before.__name__}, {'same' if pushed == ONE else 'other'}" for before, pushed, *_ in STATES
]


@pytest.mark.parametrize(("before", "pushed", "outcome", "foreseen", "lock"), STATES, ids=IDS)
def test_a_check_decides_as_the_gate_does_and_a_dry_run_foresees_it(
    checks: Checks,
    before: Callable[[Checks], None],
    pushed: bytes,
    outcome: str,
    foreseen: str,
    lock: str,
) -> None:
    before(checks)
    rows, calls = every_row(), len(checks.core.registry.sent())
    assert checks.ask("v1", image=pushed) == foreseen
    assert every_row() == rows
    assert checks.push("v1", image=pushed) == outcome
    assert (checks.core.lock(), len(checks.core.registry.sent())) == (lock, calls)


@pytest.mark.parametrize(("before", "pushed", "outcome"), [state[:3] for state in STATES], ids=IDS)
def test_every_allowed_answer_leaves_a_stray_of_its_image_and_the_record_as_it_was(
    checks: Checks, before: Callable[[Checks], None], pushed: bytes, outcome: str
) -> None:
    before(checks)
    records = {each.name: each for each in [checks.core.record()]} if has_record(checks) else {}
    was = records.get("v1")
    checks.push("v1", image=pushed)
    record = checks.core.record()
    if outcome in ("locked", "reserved", "claim_pending"):
        was_stray = (was.stray_digest, was.stray_until) if was else ("", None)
        assert (record.stray_digest, record.stray_until) == was_stray
        return
    assert record.changed_at is not None
    assert record.stray_digest == digest_of(pushed)
    assert record.stray_until == over_at(record.changed_at + SENT_WITHIN)
    if before is not there:
        assert record.digest == (was.digest if was else "")


@pytest.mark.parametrize("before", [uncovered, locked_by_a_check])
def test_a_check_that_is_repeated_within_the_minute_writes_its_event_alone(
    checks: Checks, before: Callable[[Checks], None]
) -> None:
    before(checks)
    checks.push("v1", image=ONE)
    record = checks.core.record()
    checks.push("v1", image=ONE)
    assert checks.core.record().revision == record.revision
    checks.core.let_pass(seconds=61)
    checks.push("v1", image=ONE)
    assert checks.core.record().revision == record.revision + 1


def test_a_check_that_is_repeated_waits_for_a_delete_of_its_image(checks: Checks) -> None:
    uncovered(checks)
    checks.write("v1", image=ONE)
    assert checks.push("v1", image=ONE) == "unprotected"
    checks.core.registry.script("DELETE", NO_ANSWER)
    assert checks.core.delete(ONE) == "503"
    assert checks.push("v1", image=ONE) == "claim_pending"


def has_record(checks: Checks) -> bool:
    return "v1" in {row["name"] for row in every_row()["containers_tag"]}


@pytest.mark.parametrize(
    "before", [nothing, locked, released, uncovered, there], ids=lambda each: each.__name__
)
@pytest.mark.parametrize("is_connected", [True, False])
def test_a_repeated_check_is_allowed_again(
    core: Core, before: Callable[[Checks], None], *, is_connected: bool
) -> None:
    checks = Checks(core, is_connected)
    before(checks)
    first = checks.push("v1", image=ONE)
    lock = core.lock()
    assert checks.push("v1", image=ONE) == ("unchanged" if first == "locked_now" else first)
    assert core.lock() == lock


@pytest.mark.parametrize(
    ("before", "pushed", "events"),
    [
        (nothing, ONE, ["tag.locked"]),
        (there, ONE, ["tag.adopted", "push.identical"]),
        (there, TWO, ["tag.adopted", "push.refused"]),
        (locked, ONE, ["tag.locked", "push.identical"]),
        (locked, TWO, ["tag.locked", "push.refused"]),
        (begun, TWO, []),
    ],
)
def test_a_check_is_recorded_as_a_push_is(
    checks: Checks, before: Callable[[Checks], None], pushed: bytes, events: list[str]
) -> None:
    before(checks)
    checks.push("v1", image=pushed)
    assert checks.core.events() == events


def test_an_unprotected_push_of_another_image_ends_a_suspended_lock(checks: Checks) -> None:
    suspended(checks)
    checks.push("v1", image=TWO)
    event = LockEvent.objects.latest("id")
    assert (event.kind, event.digest, event.other_digest, event.actor) == (
        "lock.ended",
        digest_of(ONE),
        digest_of(TWO),
        "dana",
    )


def test_a_lock_names_who_pushed_and_by_which_rule(checks: Checks) -> None:
    checks.core.protect(Protection.SOME, V_TAGS)
    checks.push("v1", image=ONE, actor=Actor("erin", ActorKind.REGISTRY))
    row = LockedTag.objects.get()
    assert (row.pushed_by, row.pushed_by_kind, row.rule_name) == ("erin", "registry", "v")


def test_a_check_that_would_have_to_wait_says_for_how_long(checks: Checks) -> None:
    stray_from_before_the_protection(checks)
    refusal = checks.answer("v1", image=TWO).refusal
    assert refusal is not None
    assert refusal.status == 503
    assert 880 < int(refusal.headers["Retry-After"]) <= 900


def test_nothing_is_decided_where_the_registry_gives_no_answer_to_a_look(checks: Checks) -> None:
    checks.core.registry.is_down = True
    assert [checks.push("v1", image=ONE), checks.ask("v1", image=ONE)] == ["503", "503"]
    assert (checks.core.lock(), checks.core.events()) == ("none", [])


def test_a_look_counts_only_while_the_record_stays_as_it_was(checks: Checks) -> None:
    def change(carry: Callable[[], object]) -> object:
        found = carry()
        checks.core.push("v1", image=TWO)
        return found

    checks.core.registry.script("HEAD v1", change)  # type: ignore[arg-type]
    assert checks.push("v1", image=ONE) == "locked"
    assert checks.core.lock() == "locked two"


def test_identical_pushes_can_be_refused(checks: Checks) -> None:
    checks.core.protect(refuse_identical_pushes=True)
    assert [checks.push("v1", image=ONE), checks.push("v1", image=ONE)] == ["locked_now", "locked"]


# ---- several tags ------------------------------------------------------------------------------


def test_several_tags_are_locked_together_or_none_is(checks: Checks) -> None:
    checks.core.protect(Protection.SOME, V_TAGS)
    answer = checks.answer("v1", "v2", "main", image=ONE)
    outcomes = {each.tag.name: each.outcome for each in answer.tags}
    assert outcomes == {"main": "unprotected", "v1": "locked_now", "v2": "locked_now"}
    answer = checks.answer("main", "v2", "v3", image=TWO)
    outcomes = {each.tag.name: each.outcome for each in answer.tags}
    assert outcomes == {"main": "unprotected", "v2": "locked", "v3": "free"}
    assert not TagRecord.objects.filter(name="v3").exists()
    assert checks.core.stray("main") == "one"


@pytest.mark.both_databases
def test_20_the_policy_is_read_after_every_record_is_locked(alone: Checks) -> None:
    # One tag has a record already, which is locked; that of the other one is inserted.
    core = alone.core
    TagRecord.objects.create(workspace=core.workspace, repository="acme/api", name="v1")
    with CaptureQueriesContext(connection) as queries:
        alone.push("v1", "v2", image=ONE)
    assert_policy_is_read_after_locks(queries)


# ---- current_digest ----------------------------------------------------------------------------


@pytest.mark.parametrize("is_connected", [True, False])
@pytest.mark.parametrize(
    ("current", "pushed", "outcome", "lock"),
    [
        (None, ONE, "locked_now", "locked one"),
        (ONE, ONE, "unchanged", "locked one"),
        (TWO, ONE, "locked", "locked two"),
    ],
)
def test_what_the_caller_tells_of_an_unknown_tag_is_believed_without_a_look(
    core: Core, current: bytes | None, pushed: bytes, outcome: str, lock: str, *, is_connected: bool
) -> None:
    checks = Checks(core, is_connected)
    foreseen = "free" if outcome == "locked_now" else outcome
    assert checks.ask("v1", image=pushed, current=current) == foreseen
    assert checks.push("v1", image=pushed, current=current) == outcome
    assert (core.lock(), core.registry.calls) == (lock, [])


def test_a_lock_counts_more_than_what_the_caller_tells(checks: Checks) -> None:
    locked(checks)
    assert checks.push("v1", image=TWO, current=None) == "locked"
    assert checks.push("v1", image=ONE, current=TWO) == "unchanged"


def test_the_answer_to_old_news_says_when_to_ask_again(checks: Checks) -> None:
    uncovered(checks)
    checks.core.push("v1", image=ONE)
    checks.core.delete("v1")
    checks.core.protect()
    for call in (checks.push, checks.ask):
        assert call("v1", image=TWO, current=None) == "503"


def test_after_a_stray_has_ended_what_the_caller_read_is_old_for_a_minute(alone: Checks) -> None:
    uncovered(alone)
    alone.push("v1", image=ONE)
    alone.core.protect()
    alone.core.let_pass(minutes=17)
    assert alone.push("v1", image=TWO, current=None) == "503"
    alone.core.let_pass(minutes=1)
    assert alone.push("v1", image=TWO, current=None) == "locked_now"


# ---- without a connected registry --------------------------------------------------------------


def test_without_a_registry_what_was_allowed_counts_as_there(alone: Checks) -> None:
    uncovered(alone)
    alone.push("v1", image=ONE)
    record = alone.core.record()
    assert (record.digest, record.shown_at) == (digest_of(ONE), record.changed_at)
    alone.core.protect()
    assert alone.push("v1", image=ONE) == "unchanged"
    assert alone.core.lock() == "locked one"


def test_without_a_registry_a_stray_just_ends(alone: Checks) -> None:
    uncovered(alone)
    alone.push("v1", image=ONE)
    alone.core.protect()
    assert alone.push("v1", image=TWO) == "claim_pending"
    alone.core.let_pass(minutes=17)
    assert alone.push("v1", image=TWO) == "locked"
    assert (alone.core.lock(), alone.core.stray()) == ("locked one", "none")
    assert alone.core.registry.calls == []


def test_without_a_registry_an_unknown_tag_is_new(alone: Checks) -> None:
    alone.write("v1", image=TWO)
    assert alone.ask("v1", image=ONE) == "free"
    assert alone.push("v1", image=ONE) == "locked_now"


def test_a_dry_run_needs_no_digest(checks: Checks) -> None:
    assert checks.ask("v1", image=None) == "free"
    locked(checks)
    assert checks.ask("v1", image=None) == "locked"
    reserved_one = checks.core.delete("v1", is_admin=True)
    assert (reserved_one, checks.ask("v1", image=None)) == ("202", "reserved")


def test_an_index_waits_for_the_delete_of_what_it_lists(checks: Checks) -> None:
    listing = named("list", index(ONE))
    checks.write(image=ONE)
    assert checks.core.push(image=listing) == "201"
    checks.core.registry.script("DELETE", NO_ANSWER)
    assert checks.core.delete(ONE) == "503"
    assert checks.push("v1", image=listing) == "claim_pending"
    checks.core.let_pass(minutes=16)
    assert checks.push("v1", image=listing) == "locked_now"


# ---- what was read may have changed ------------------------------------------------------------


def test_a_manifest_that_became_known_meanwhile_is_held_with_what_it_lists(
    checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, body = checks.core, named("list", index(ONE))
    core.push("one", image=ONE)
    held: list[list[str]] = []
    lock = writes.lock_manifests

    def noted(*arguments: Any, **options: Any) -> Any:
        rows = lock(*arguments, **options)
        held.append([core.name_of(digest.value) for digest in rows])
        return rows

    def meanwhile(carry: Carry) -> RegistryAnswer:
        core.push("other", image=body)
        monkeypatch.setattr(writes, "lock_manifests", noted)
        return carry()

    core.registry.script("HEAD v1", meanwhile)
    assert checks.push("v1", image=body) == "locked_now"
    assert sorted(held[-1]) == ["list", "one"]


def test_a_refusal_that_is_none_any_more_holds_what_the_push_needs(
    alone: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = alone.core
    core.protect(Protection.NONE)
    alone.push("v1", image=ONE)
    core.protect()
    core.let_pass(minutes=20)
    alone.reconcile("v1")
    core.let_pass(minutes=2)
    held: list[int] = []
    hold = hold_plan

    @contextmanager
    def noted(*arguments: Any, **options: Any) -> Iterator[PushPlan]:
        if not held:
            TagRecord.objects.filter(name="v1").update(digest="", revision=F("revision") + 1)
        with hold(*arguments, **options) as plan:
            held.append(len(plan.manifests))
            yield plan

    monkeypatch.setattr(check_module, "hold_plan", noted)
    # The image of the time before would be adopted, and refuse the push.
    assert alone.push("v1", image=TWO) == "locked_now"
    assert held == [0, 1]

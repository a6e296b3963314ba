"""What is left behind on tags is found and finished, by the scheduler and by the command."""

import threading
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now

from containers.models import Repository as RepositoryRow
from containers.models import Tag as TagRecord
from containers.registry.client import RegistryAnswer, RegistryClient
from containers.writes import STRAY_LIFE, WRITE_LEASE
from immutability import tasks
from immutability.management.commands import reconcile as command
from immutability.models import Job, LockedTag
from immutability.policy.protection import Protection
from immutability.reconcile import due
from immutability.reconcile.due import find_due, reconcile_due
from tests.conftest import is_postgresql
from tests.immutability.core import Core, named
from tests.immutability.making import make_lock, make_locks
from tests.immutability.reconcile.conftest import Library
from tests.immutability.registry_double import (
    NO_ANSWER,
    NOT_REACHED,
    REFUSED,
    Carry,
    Late,
    digest_of,
    image,
    lands_without_answer,
)
from workspaces.log.models import LockEvent
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

ONE, TWO = named("one", image("one")), named("two", image("two"))
LEASE = WRITE_LEASE.total_seconds()
LIFE = STRAY_LIFE.total_seconds()


class KilledError(BaseException):
    """The sender's process ends here."""


def _die(carry: Carry) -> RegistryAnswer:
    raise KilledError


def _land_and_die(carry: Carry) -> RegistryAnswer:
    carry()
    raise KilledError


def _crash(act: Callable[[], Any]) -> None:
    with pytest.raises(KilledError):
        act()


def _due(client: RegistryClient | None) -> list[str]:
    rows = TagRecord.objects.filter(id__in=find_due(client)).order_by("name")
    return list(rows.values_list("name", flat=True))


def test_nothing_is_due_where_all_is_well(gate: Core, client: RegistryClient) -> None:
    gate.push("v1", image=ONE)
    gate.push("v2", image=ONE)
    gate.delete("v2", is_admin=True)
    assert _due(client) == []
    assert reconcile_due(client) == 0


@pytest.mark.parametrize("how", [_die, _land_and_die])
def test_a_first_push_whose_sender_died_is_pointed_within_its_lease(
    gate: Core, library: Library, client: RegistryClient, how: Callable[[Carry], RegistryAnswer]
) -> None:
    library.script("PUT v1", how)
    _crash(lambda: gate.push("v1", image=ONE))
    assert _due(client) == []
    gate.let_pass(seconds=LEASE + 1)
    assert _due(client) == ["v1"]
    assert reconcile_due(client) == 1
    assert gate.lock() == "locked one"
    assert library.tags["v1"] == digest_of(ONE)


@pytest.mark.parametrize("how", [NO_ANSWER, lands_without_answer])
def test_a_first_push_without_an_answer_is_pointed_at_once(
    gate: Core, library: Library, client: RegistryClient, how: Any
) -> None:
    library.script("PUT v1", how)
    assert gate.push("v1", image=ONE) == "503"
    assert _due(client) == ["v1"]
    assert reconcile_due(client) == 1
    assert gate.lock() == "locked one"
    # The first sending may land yet: the stray is looked at once it is over.
    assert _due(client) == []
    gate.let_pass(seconds=LIFE + 1)
    assert _due(client) == ["v1"]
    assert reconcile_due(client) == 1
    assert gate.stray() == "none"


def test_an_admins_delete_without_an_answer_is_sent_again(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    gate.push("v1", image=ONE)
    library.script("DELETE v1", NO_ANSWER)
    assert gate.delete("v1", is_admin=True) == "503"
    assert _due(client) == ["v1"]
    assert reconcile_due(client) == 1
    assert gate.lock() == "reserved one"
    assert "v1" not in library.tags


def test_what_was_refused_waits_for_the_end_of_an_open_stray(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    library.script("PUT v1", NO_ANSWER, REFUSED)
    gate.push("v1", image=ONE)
    assert reconcile_due(client) == 1
    assert gate.lock() == "claimed one"
    assert _due(client) == []
    gate.let_pass(seconds=LIFE + 1)
    assert _due(client) == ["v1"]


def test_what_never_left_does_not_wait_for_the_end_of_an_open_stray(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    library.script("PUT v1", NO_ANSWER, NOT_REACHED)
    gate.push("v1", image=ONE)
    assert reconcile_due(client) == 1
    assert (gate.lock(), gate.stray()) == ("claimed one", "one")
    assert _due(client) == ["v1"]
    assert reconcile_due(client) == 1
    assert gate.push("v1", image=TWO) == "403 locked"


def test_a_delete_that_never_left_is_sent_again_while_an_earlier_one_may_land(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    gate.push("v1", image=ONE)
    library.script("DELETE v1", NO_ANSWER, NOT_REACHED)
    gate.delete("v1", is_admin=True)
    assert reconcile_due(client) == 1
    assert gate.lock() == "deleting one"
    assert reconcile_due(client) == 1
    assert gate.lock() == "reserved one"


def test_the_write_of_a_two_phase_check_is_its_callers(gate: Core, client: RegistryClient) -> None:
    gate.push("v1", image=ONE)
    TagRecord.objects.update(
        write_id="0" * 32,
        write_kind="push",
        write_digest=digest_of(ONE),
        write_expires_at=Now() - timedelta(hours=1),
        write_is_external=True,
    )
    LockedTag.objects.update(state="claimed")
    assert _due(client) == []


def test_without_a_registry_writes_and_strays_end_all_the_same(
    unprotected: Core, library: Library
) -> None:
    library.script("PUT v1", _die)
    _crash(lambda: unprotected.push("v1", image=ONE))
    unprotected.let_pass(seconds=LEASE + 1)
    assert reconcile_due(None) == 1
    assert unprotected.stray() == "one"
    unprotected.let_pass(seconds=LIFE + 1)
    assert reconcile_due(None) == 1
    assert unprotected.stray() == "none"
    # A claim cannot be pointed without one.
    unprotected.protect()
    library.script("PUT v2", NO_ANSWER)
    unprotected.push("v2", image=ONE)
    assert _due(None) == []


def test_tags_without_an_answer_do_not_keep_the_others_waiting(
    gate: Core, library: Library, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"v{number}" for number in range(6)]
    for name in names:
        library.script(f"PUT {name}", NO_ANSWER)
        assert gate.push(name, image=ONE) == "503"
    hanging = [f"PUT {name}" for name in names[:3]]
    for what in hanging:
        library.script(what, *[NO_ANSWER] * 100)
    done = []
    # Each run has time for one: soon, those that can be finished are.
    clock = iter(range(100_000))
    monkeypatch.setattr(due, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    for _ in range(100):
        reconcile_due(client, 1.5)
        done = list(LockedTag.objects.filter(state="locked").values_list("tag", flat=True))
        if len(done) == 3:
            break
    assert sorted(done) == names[3:]


@pytest.mark.both_databases
def test_what_is_due_is_found_by_indexes(acme: Workspace, client: RegistryClient) -> None:
    plans = []
    explain_words = "EXPLAIN" if is_postgresql() else "EXPLAIN QUERY PLAN"

    def explain(execute: Any, sql: str, params: Any, *rest: Any) -> Any:
        if sql.startswith("SELECT"):
            with connection.cursor() as cursor:
                cursor.execute(f"{explain_words} {sql}", params)
                plans.append(" ".join(str(row) for row in cursor.fetchall()))
        return execute(sql, params, *rest)

    if is_postgresql():
        # What is left behind is few among many, and the planner knows: it would read a table as
        # small as this one whole.
        make_locks(acme, 0, 1000)
        make_lock(acme, "claimed", "claimed")
        with connection.cursor() as cursor:
            for model in (TagRecord, LockedTag):
                cursor.execute(f"ANALYZE {model._meta.db_table}")
            cursor.execute("SET LOCAL enable_seqscan = off")
    with connection.execute_wrapper(explain):
        find_due(client)
    indexes = ("tag_write", "tag_stray", "locked_tag_rare_state", "tag_unreadable")
    assert [name for name, plan in zip(indexes, plans, strict=True) if name not in plan] == []


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_two_workers_point_a_claim_once(
    gate: Core, library: Library, client: RegistryClient
) -> None:
    library.script("PUT v1", NO_ANSWER)
    gate.push("v1", image=ONE)
    met = threading.Barrier(2)

    def meet(carry: Carry) -> RegistryAnswer:
        met.wait(10)
        return carry()

    library.script(f"GET {digest_of(ONE)}", meet, meet)

    def work() -> None:
        try:
            reconcile_due(client)
        finally:
            connection.close()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert library.sent_by_tag == ["v1", "v1"]
    assert gate.lock() == "locked one"


@pytest.mark.parametrize("is_connected", [True, False])
def test_the_task_reconciles_with_a_registry_and_without(
    unprotected: Core,
    library: Library,
    client: RegistryClient,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_connected: bool,
) -> None:
    library.script("PUT v1", _die)
    _crash(lambda: unprotected.push("v1", image=ONE))
    unprotected.let_pass(seconds=LEASE + 1)
    monkeypatch.setattr(
        tasks, "find_registries", lambda: [(None, client if is_connected else None)]
    )
    tasks.reconcile()
    assert unprotected.stray() == "one"


# ---- the command --------------------------------------------------------------------------------


@pytest.fixture
def reconcile(
    monkeypatch: pytest.MonkeyPatch, client: RegistryClient, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """Return a function that calls the command and returns the lines that it prints."""
    monkeypatch.setattr(command, "find_registries", lambda: [(None, client)])

    def reconcile(*arguments: str) -> list[str]:
        call_command("reconcile", *arguments)
        return capsys.readouterr().out.splitlines()

    return reconcile


def test_the_command_says_what_is_finished_and_what_is_not(
    gate: Core, library: Library, reconcile: Callable[..., list[str]]
) -> None:
    assert reconcile() == ["0 tags reconciled, 0 not finished."]
    library.script("PUT v1", NO_ANSWER)
    gate.push("v1", image=ONE)
    first, second = reconcile()
    assert first == "1 tag reconciled, 1 not finished."
    assert second.startswith("A write without an answer may still land until ")
    gate.let_pass(seconds=LIFE + 1)
    assert reconcile() == ["1 tag reconciled, 0 not finished."]


def _after_restore(core: Core) -> None:
    """A backup is restored that is hours old."""
    core.let_pass(hours=3)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (ONE, "locked one"),
        (TWO, "none"),
        (None, "none"),
    ],
    ids=["it landed", "another image followed", "nothing is there"],
)
@pytest.mark.parametrize("how", [_die, NO_ANSWER], ids=["in flight", "without an answer"])
def test_after_a_restore_claims_are_settled_by_a_look(
    gate: Core,
    library: Library,
    reconcile: Callable[..., list[str]],
    how: Any,
    shown: bytes | None,
    expected: str,
) -> None:
    library.script("PUT v1", how)
    if how is _die:
        _crash(lambda: gate.push("v1", image=ONE))
    else:
        gate.push("v1", image=ONE)
    _after_restore(gate)
    if shown:
        library.store(shown, "v1")
    before = library.sent()
    assert reconcile("--after-restore") == ["1 tag reconciled, 0 not finished."]
    assert library.sent() == before
    assert gate.lock() == expected
    assert gate.record().digest == (digest_of(shown) if shown else "")
    if shown is TWO:
        assert gate.push("v1", image=ONE) == "403 locked"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (ONE, "locked one"),
        (TWO, "none"),
        (None, "reserved one"),
    ],
    ids=["it is still there", "another image followed", "it is gone"],
)
def test_after_a_restore_deletes_are_settled_by_a_look(
    gate: Core,
    library: Library,
    reconcile: Callable[..., list[str]],
    shown: bytes | None,
    expected: str,
) -> None:
    gate.push("v1", image=ONE)
    library.script("DELETE v1", _die)
    _crash(lambda: gate.delete("v1", is_admin=True))
    _after_restore(gate)
    library.tags.clear()
    if shown:
        library.store(shown, "v1")
    before = library.sent()
    assert reconcile("--after-restore") == ["1 tag reconciled, 0 not finished."]
    assert library.sent() == before
    assert gate.lock() == expected


def test_after_a_restore_a_claim_over_a_released_tag_goes_back_to_it(
    gate: Core, library: Library, reconcile: Callable[..., list[str]]
) -> None:
    gate.push("v1", image=ONE)
    LockedTag.objects.update(state="released")
    library.script("PUT v1", _die)
    _crash(lambda: gate.push("v1", image=TWO))
    _after_restore(gate)
    reconcile("--after-restore")
    assert gate.lock() == "released one"


def test_after_a_restore_what_the_backup_saw_is_not_believed(
    gate: Core, library: Library, reconcile: Callable[..., list[str]]
) -> None:
    gate.push("v1", image=ONE)
    gate.protect(Protection.NONE)
    gate.push("v2", image=ONE)
    gate.protect()
    RepositoryRow.objects.update(listed_at=Now())
    library.store(TWO, "v2")
    reconcile("--after-restore")
    assert gate.record("v1").digest == digest_of(ONE)
    assert gate.record("v2").digest == ""
    assert not RepositoryRow.objects.filter(listed_at__isnull=False).exists()
    assert Job.objects.get().done_at is None
    # Not locked to what the backup says.
    assert gate.push("v2", image=ONE) == "403 locked"
    assert gate.lock("v2") == "locked two"


def test_after_a_restore_a_write_of_a_fresh_backup_may_still_land(
    gate: Core, library: Library, reconcile: Callable[..., list[str]]
) -> None:
    late = Late()
    library.script("PUT v1", late)
    gate.push("v1", image=ONE)
    first, second = reconcile("--after-restore")
    assert first == "0 tags reconciled, 1 not finished."
    assert second.startswith("A write without an answer may still land until ")
    assert gate.lock() == "claimed one"


@pytest.mark.parametrize("has_stray", [False, True])
def test_after_a_restore_the_write_of_a_two_phase_check_is_left_to_its_caller(
    gate: Core, reconcile: Callable[..., list[str]], *, has_stray: bool
) -> None:
    gate.push("v1", image=ONE)
    LockedTag.objects.update(state="claimed")
    TagRecord.objects.update(
        write_id="0" * 32,
        write_kind="push",
        write_is_external=True,
        stray_until=Now() - timedelta(hours=1) if has_stray else None,
    )
    assert reconcile("--after-restore") == [f"0 tags reconciled, {int(has_stray)} not finished."]
    assert gate.lock() == "claimed one"
    assert gate.record().write_is_external


def test_after_a_restore_a_registry_has_to_answer(
    gate: Core,
    library: Library,
    reconcile: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library.script("PUT v1", NO_ANSWER)
    gate.push("v1", image=ONE)
    _after_restore(gate)
    library.is_down = True
    with pytest.raises(CommandError, match="Stopped before the end"):
        reconcile("--after-restore")
    monkeypatch.setattr(command, "find_registries", lambda: [(None, None)])
    with pytest.raises(CommandError, match="REGISTRY_URL"):
        reconcile("--after-restore")
    assert not LockEvent.objects.filter(kind="lock.ended").exists()

"""Locks that a save of settings moves, counted in the background where there are many."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from immutability.actions import save_settings
from immutability.actions.save_settings import save_container_settings
from immutability.models import Job, LockedTag
from immutability.policy.drafts import Draft
from immutability.policy.patterns import PatternEvaluationError
from immutability.policy.protection import PolicyException, PolicyRule, Protection
from immutability.reading import read_policy
from immutability.reconcile import counts
from immutability.reconcile.counts import run_counts
from immutability.reconcile.jobs import take_lease
from immutability.tasks import run_due_jobs
from tests.immutability.making import break_the_log, make_lock, make_locks
from tests.problems import nothing_written
from workspaces.access import SYSTEM, ActorKind
from workspaces.log.models import LockEvent
from workspaces.log.seal import seal_events
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

EVERYTHING = Draft(Protection.ALL)
NOTHING = Draft(Protection.NONE)
ODD = Draft(Protection.SOME, (PolicyRule("Odd", "[13579]$"),))


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(save_settings, "MAX_COUNTED_AT_ONCE", 5)
    monkeypatch.setattr(counts, "LOCKS_PER_PART", 4)


@pytest.fixture
def many(acme: Workspace) -> Workspace:
    """A workspace with more locks than are counted at once, and a claim."""
    save(acme, EVERYTHING)
    make_locks(acme, 0, 10)
    make_lock(acme, "claimed1", "claimed")
    return acme


def save(workspace: Workspace, draft: Draft) -> None:
    save_container_settings(
        workspace,
        draft,
        expected_version=read_policy(workspace).version,
        may_suspend_locks=True,
        actor=SYSTEM,
    )


def saved(workspace: Workspace) -> LockEvent:
    return LockEvent.objects.filter(workspace=workspace.slug, kind="settings.changed").latest("id")


def counted() -> list[tuple[int | None, int, int]]:
    """Return settings version, suspended and resumed locks of what was counted."""
    events = LockEvent.objects.filter(kind="settings.counted").order_by("id")
    return [
        (each.settings_version, each.details["locks_suspended"], each.details["locks_resumed"])
        for each in events
        if each.details
    ]


def test_a_save_says_that_its_locks_are_counted_later(many: Workspace) -> None:
    save(many, ODD)
    details = saved(many).details
    assert details is not None
    assert sorted(details) == ["after", "before", "locks_counted_later"]
    assert details["locks_counted_later"] is True
    assert counted() == []


def test_they_are_counted_part_by_part_for_an_event_of_their_own(many: Workspace) -> None:
    save(many, ODD)
    assert run_counts() == 1
    event = LockEvent.objects.get(kind="settings.counted")
    assert (event.actor, event.actor_kind) == (SYSTEM.name, ActorKind.SYSTEM)
    assert event.settings_version == 2
    assert event.details == {
        "event": saved(many).ref,
        "locks_suspended": 5,
        "locks_resumed": 0,
        "locks_looked_at": 10,
    }
    assert not Job.objects.filter(kind=Job.Kind.COUNT).exists()
    assert run_counts() == 0
    seal_events()


def test_each_save_has_its_counts(many: Workspace) -> None:
    for draft in (ODD, NOTHING, EVERYTHING):
        save(many, draft)
    assert run_counts() == 3
    assert counted() == [(2, 5, 0), (3, 5, 0), (4, 0, 10)]


def test_a_lock_from_after_the_save_is_not_counted(many: Workspace) -> None:
    save(many, NOTHING)
    make_lock(many, "later")
    run_counts()
    assert counted() == [(2, 10, 0)]


def test_locks_of_another_workspace_are_not_counted(many: Workspace, globex: Workspace) -> None:
    make_lock(globex, "v1")
    save(many, NOTHING)
    run_counts()
    assert counted() == [(2, 10, 0)]


def test_locks_that_an_exception_leaves_mutable_are_counted(many: Workspace) -> None:
    odd = PolicyException("Odd", "[13579]$")
    save(many, Draft(Protection.ALL, exceptions=(odd,)))
    save(many, EVERYTHING)
    run_counts()
    assert counted() == [(2, 5, 0), (3, 0, 5)]


def test_few_locks_are_counted_before_the_save(acme: Workspace) -> None:
    save(acme, EVERYTHING)
    make_locks(acme, 0, 5)
    save(acme, NOTHING)
    details = saved(acme).details
    assert details is not None
    assert (details["locks_suspended"], details["locks_resumed"]) == (5, 0)
    assert not Job.objects.filter(kind=Job.Kind.COUNT).exists()


@pytest.mark.parametrize(
    "draft",
    [
        Draft(Protection.ALL, refuse_identical_pushes=True),
        Draft(Protection.ALL, (PolicyRule("Kept for later", "^v"),)),
    ],
)
def test_a_save_that_covers_the_same_has_nothing_to_count(many: Workspace, draft: Draft) -> None:
    save(many, draft)
    details = saved(many).details
    assert details is not None
    assert (details["locks_suspended"], details["locks_resumed"]) == (0, 0)
    assert not Job.objects.filter(kind=Job.Kind.COUNT).exists()


def test_a_worker_goes_on_where_another_stopped(many: Workspace) -> None:
    save(many, ODD)
    assert run_counts(seconds=1e-9) == 0
    # Not even begun: the time was over.
    assert Job.objects.get(kind=Job.Kind.COUNT).looked_at_count == 0


def test_what_is_counted_in_the_time_that_there_is_stays_counted(
    many: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(many, ODD)
    times = iter([0.0, 0.0, 9.0])
    monkeypatch.setattr("immutability.reconcile.counts.time.monotonic", lambda: next(times))
    assert run_counts() == 0
    monkeypatch.undo()
    job = Job.objects.get(kind=Job.Kind.COUNT)
    assert (job.looked_at_count, job.suspended_count, job.lease) == (4, 2, None)
    assert run_counts() == 1
    assert counted() == [(2, 5, 0)]


def test_two_workers_never_count_the_same(many: Workspace) -> None:
    save(many, ODD)
    assert take_lease(Job.objects.get(kind=Job.Kind.COUNT))
    assert run_counts() == 0
    Job.objects.update(expires_at=Now() - timedelta(seconds=1))
    assert run_counts() == 1
    assert counted() == [(2, 5, 0)]


def test_counts_that_cannot_be_recorded_are_tried_again(
    many: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(many, ODD)
    with monkeypatch.context() as patched:
        break_the_log(patched)
        assert run_counts() == 0
    assert counted() == []
    Job.objects.update(expires_at=Now() - timedelta(seconds=1))
    assert run_counts() == 1
    assert counted() == [(2, 5, 0)]


def test_a_pattern_that_fails_is_no_count(many: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    save(many, ODD)

    def fail(*args: object) -> None:
        raise PatternEvaluationError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr("immutability.policy.patterns.Pattern.find", fail)
        assert run_counts() == 0
    assert counted() == []
    # The lease keeps it waiting.
    assert run_counts() == 0


def test_the_worker_counts_without_a_registry_too(many: Workspace, settings: Any) -> None:
    settings.REGISTRY_URL = ""
    save(many, ODD)
    run_due_jobs()
    assert counted() == [(2, 5, 0)]


def test_counting_changes_no_lock(many: Workspace) -> None:
    save(many, ODD)
    before = list(LockedTag.objects.order_by("id").values())
    run_counts()
    assert list(LockedTag.objects.order_by("id").values()) == before
    with nothing_written():
        run_counts()

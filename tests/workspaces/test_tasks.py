import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import ModuleType

import pytest
from celery.beat import Scheduler
from celery.schedules import crontab, schedule
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

import immutability.tasks
from immutability.policy.protection import Policy, Protection
from packages_site.celery import app
from tests.conftest import AA, BB
from tests.problems import nothing_written
from tests.services.site import ROOT
from tests.workspaces.log.tampering import without_triggers
from workspaces import tasks
from workspaces.log.models import EventRepeat, EventSeal, LockEvent
from workspaces.models import CallCount, User, Workspace
from workspaces.tasks import clear_sessions, close_log_repeats, forget_counts
from workspaces.throttles import Limit, count_call


@pytest.fixture
def refuse(
    acme: Workspace, registry: APIClient, protect: Callable[..., Policy]
) -> Callable[[str, int], None]:
    """Return a function that has a push of a tag refused so many times."""
    protect(acme, Protection.ALL)

    def refuse(tag: str, times: int) -> None:
        asked = {"repository": "acme/api", "tag": tag, "digest": AA, "actor": "dana"}
        registry.post("/api/v1/check-push", asked, format="json")
        for _ in range(times):
            registry.post("/api/v1/check-push", {**asked, "digest": BB}, format="json")

    return refuse


def end_the_hour() -> datetime:
    """Put the counters into an hour that is over."""
    hour = timezone.now().astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    earlier = hour - timedelta(hours=2)
    with without_triggers():
        EventRepeat.objects.update(hour=earlier)
    return earlier


def test_the_repeats_of_an_hour_that_is_over_become_one_event(
    refuse: Callable[[str, int], None],
) -> None:
    refuse("v1", 4)
    hour = end_the_hour()
    close_log_repeats()
    first = LockEvent.objects.get(kind="push.refused")
    event = LockEvent.objects.get(kind="repeats.counted")
    assert event.reason == "3 more of the same within the hour"
    assert event.details == {
        "count": 3,
        "event": first.ref,
        "kind": "push.refused",
        "actor": "dana",
        "hour": hour.isoformat().replace("+00:00", "Z"),
    }
    assert (event.repository, event.tag, event.digest, event.other_digest) == (
        "acme/api",
        "v1",
        AA,
        BB,
    )
    assert (event.actor, event.actor_kind) == ("taglock", "system")
    assert not EventRepeat.objects.exists()


def test_what_happened_once_leaves_no_second_event(refuse: Callable[[str, int], None]) -> None:
    refuse("v1", 1)
    end_the_hour()
    close_log_repeats()
    assert not LockEvent.objects.filter(kind="repeats.counted").exists()
    assert not EventRepeat.objects.exists()


def test_the_hour_that_runs_is_left_alone(refuse: Callable[[str, int], None]) -> None:
    refuse("v1", 3)
    with nothing_written():
        close_log_repeats()


def test_looking_again_changes_nothing(refuse: Callable[[str, int], None]) -> None:
    refuse("v1", 3)
    end_the_hour()
    close_log_repeats()
    with nothing_written():
        close_log_repeats()


def test_more_than_one_batch_is_worked_off(refuse: Callable[[str, int], None]) -> None:
    refuse("v1", 2)
    repeat = EventRepeat.objects.get()
    end_the_hour()
    repeat.refresh_from_db()
    EventRepeat.objects.bulk_create(
        EventRepeat(
            workspace="acme",
            fingerprint=f"{number:064}",
            hour=repeat.hour,
            event=repeat.event,
            count=1,
        )
        for number in range(1001)
    )
    close_log_repeats()
    assert LockEvent.objects.filter(kind="repeats.counted").count() == 1002
    assert not EventRepeat.objects.exists()


def test_the_same_refusal_in_the_next_hour_is_an_event_again(
    refuse: Callable[[str, int], None],
) -> None:
    refuse("v1", 2)
    end_the_hour()
    close_log_repeats()
    refuse("v1", 1)
    assert LockEvent.objects.filter(kind="push.refused").count() == 2


def test_expired_sessions_are_cleared_and_others_stay(
    alice: User, bob: User, sign_in: Callable[[User], Client]
) -> None:
    stays, goes = sign_in(alice), sign_in(bob)
    Session.objects.filter(session_key=goes.session.session_key).update(
        expire_date=timezone.now() - timedelta(minutes=1)
    )
    clear_sessions()
    keys = list(Session.objects.values_list("session_key", flat=True))
    assert keys == [stays.session.session_key]


def test_counts_of_windows_that_are_over_are_forgotten(db: None) -> None:
    limit = Limit("some", calls=5, seconds=60)
    count_call(limit, "old")
    CallCount.objects.update(window=timezone.now() - timedelta(hours=2))
    count_call(limit, "new")
    forget_counts()
    assert CallCount.objects.get().window > timezone.now() - timedelta(hours=1)


def test_everything_that_the_scheduler_starts_is_a_task() -> None:
    app.loader.import_default_modules()
    assert app.conf.beat_schedule
    for entry in app.conf.beat_schedule.values():
        assert entry["task"] in app.tasks


@pytest.mark.parametrize("module", [tasks, immutability.tasks])
def test_every_task_is_started_by_the_scheduler(module: ModuleType) -> None:
    started = {entry["task"] for entry in app.conf.beat_schedule.values()}
    written = {
        task.name
        for task in vars(module).values()
        if getattr(task, "__module__", "") == module.__name__ and hasattr(task, "delay")
    }
    assert written
    assert written <= started


def test_nothing_but_the_scheduler_starts_a_task() -> None:
    """Without REDIS_URL there is nothing that could carry a message to another process."""
    sends = re.compile(r"\.(apply_async|delay|send_task)\(")
    for app_folder in ("packages_site", "workspaces", "containers", "immutability"):
        for path in (ROOT / app_folder).rglob("*.py"):
            assert not sends.search(path.read_text()), path


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_without_redis_the_scheduler_runs_a_task_itself(acme: Workspace) -> None:
    assert not EventSeal.objects.exists()
    scheduler = Scheduler(app=app, lazy=True)
    entry = scheduler.Entry(
        name="seal", task=tasks.seal_lock_log.name, schedule=schedule(1.0), app=app
    )
    scheduler.apply_async(entry)
    assert EventSeal.objects.filter(event__workspace="acme").exists()


def test_what_is_done_once_a_day_is_done_at_each_start_too() -> None:
    scheduler = Scheduler(app=app)
    at_times = {
        name: entry
        for name, entry in scheduler.schedule.items()
        if isinstance(entry.schedule, crontab)
    }
    assert {"clear-sessions", "erase-old-origins", "make-checkpoints"} <= set(at_times)
    for name, entry in at_times.items():
        is_due, seconds_until_next = entry.is_due()
        assert is_due, name
        assert 0 < seconds_until_next <= 24 * 60 * 60


def test_a_message_that_is_sent_often_is_worth_nothing_after_an_hour() -> None:
    """A worker that was away for a day must not work through a day of them."""
    for entry in app.conf.beat_schedule.values():
        if isinstance(entry["schedule"], float):
            assert entry["options"] == {"expires": 3600.0}

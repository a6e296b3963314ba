"""Writing the log: with what it records or not at all, and repeats counted."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone

from containers.prefixes import create_workspace
from tests.conftest import AA, BB
from workspaces.access import SYSTEM, Actor, ActorKind, Origin, Role, Scope
from workspaces.actions.access_tokens import create_access_token
from workspaces.actions.members import add_member
from workspaces.log import sql
from workspaces.log.append import (
    Event,
    NotInTransactionError,
    append_event,
    append_events,
    append_repeatable_event,
    close_repeats,
    make_ref,
)
from workspaces.log.kinds import TAG_EVENT_KINDS, EventKind
from workspaces.log.models import EventOrigin, EventRepeat, LockEvent
from workspaces.models import AccessToken, Membership, User, Workspace
from workspaces.tasks import close_log_repeats

HOUR = datetime(2026, 3, 12, 14, tzinfo=UTC)
DANA = Actor("dana", ActorKind.REGISTRY)
FROM_AFAR = Actor("dana", ActorKind.TOKEN, Origin("203.0.113.7", "docker/27.0"))
REFUSED = Event(
    EventKind.PUSH_REFUSED,
    "acme",
    "acme/api",
    "v1",
    digest=AA,
    other_digest=BB,
    rule_name="Releases",
    rule_pattern="^v",
    settings_version=3,
    reason="the tag is locked",
)

SetNow = Callable[[datetime], None]


@pytest.fixture
def set_now(monkeypatch: pytest.MonkeyPatch) -> SetNow:
    """Return a function that stops the clock at a time, in UTC."""

    def set_now(moment: datetime) -> None:
        monkeypatch.setattr(timezone, "now", lambda: moment)

    return set_now


# With what it records, or not at all.


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_an_event_outside_a_transaction_is_refused() -> None:
    with pytest.raises(NotInTransactionError):
        append_event(REFUSED, actor=DANA)
    with pytest.raises(NotInTransactionError):
        append_events([REFUSED, REFUSED], actor=DANA)
    assert not LockEvent.objects.exists()


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_what_repeats_needs_no_transaction() -> None:
    """It records an answer that changes nothing."""
    first = append_repeatable_event(REFUSED, actor=FROM_AFAR)
    assert append_repeatable_event(REFUSED, actor=FROM_AFAR) == first
    assert (LockEvent.objects.count(), EventOrigin.objects.count()) == (1, 1)
    assert EventRepeat.objects.get().count == 1


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_what_repeats_is_recorded_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workspaces.log.append._fingerprint", lambda *_: None)
    with pytest.raises(IntegrityError):
        append_repeatable_event(REFUSED, actor=FROM_AFAR)
    assert not LockEvent.objects.exists()
    assert not EventOrigin.objects.exists()


@pytest.mark.both_databases
@pytest.mark.parametrize("is_within", [True, False])
@pytest.mark.django_db(transaction=True)
def test_what_another_request_has_recorded_first_is_counted(
    monkeypatch: pytest.MonkeyPatch,
    is_within: bool,  # noqa: FBT001
) -> None:
    first = append_repeatable_event(REFUSED, actor=DANA)
    count, seen = sql.count_repeat, list[str]()

    def find_nothing_at_first(repeat: EventRepeat) -> str | None:
        seen.append(repeat.fingerprint)
        return count(repeat) if len(seen) > 1 else None

    monkeypatch.setattr(sql, "count_repeat", find_nothing_at_first)
    with transaction.atomic() if is_within else nullcontext():
        assert append_repeatable_event(REFUSED, actor=DANA) == first
    assert LockEvent.objects.count() == 1
    assert EventRepeat.objects.get().count == 1


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_an_event_is_rolled_back_with_the_change() -> None:
    with transaction.atomic():
        append_event(REFUSED, actor=FROM_AFAR)
        append_repeatable_event(REFUSED, actor=FROM_AFAR)
        transaction.set_rollback(True)
    assert not LockEvent.objects.exists()
    assert not EventOrigin.objects.exists()
    assert not EventRepeat.objects.exists()


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_a_change_is_rolled_back_with_its_event(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr("containers.prefixes.append_event", fail)
    with pytest.raises(DatabaseError, match="disk full"):
        create_workspace("acme", "Acme", actor=SYSTEM)
    assert not Workspace.objects.exists()


# What an event holds.


def test_an_event_holds_what_it_was_given(db: None) -> None:
    event = append_event(REFUSED, actor=FROM_AFAR)
    event.refresh_from_db()
    assert (event.workspace, event.kind, event.repository, event.tag) == (
        "acme",
        "push.refused",
        "acme/api",
        "v1",
    )
    assert (event.digest, event.other_digest) == (AA, BB)
    assert (event.actor, event.actor_kind) == ("dana", "token")
    assert (event.rule_name, event.rule_pattern, event.settings_version) == ("Releases", "^v", 3)
    assert (event.reason, event.details) == ("the tag is locked", None)
    assert abs((timezone.now() - event.at).total_seconds()) < 60


def test_what_does_not_apply_is_empty(db: None) -> None:
    event = append_event(Event(EventKind.WORKSPACE_CREATED, "acme"), actor=SYSTEM)
    event.refresh_from_db()
    assert [event.repository, event.tag, event.digest, event.other_digest] == [""] * 4
    assert [event.rule_name, event.rule_pattern, event.reason, event.origin_hash] == [""] * 4
    assert event.settings_version is None
    assert (event.actor, event.actor_kind) == ("taglock", "system")


def test_events_are_kept_in_the_order_in_which_they_were_given(db: None) -> None:
    events = [Event(EventKind.TAG_LOCKED, "acme", "acme/api", f"t{each}") for each in range(1200)]
    rows = append_events(events, actor=DANA)
    assert [row.tag for row in rows] == [event.tag for event in events]
    assert list(LockEvent.objects.order_by("id").values_list("tag", flat=True)) == [
        event.tag for event in events
    ]


def test_no_events_are_no_work(db: None) -> None:
    assert append_events([], actor=FROM_AFAR) == []
    assert not EventOrigin.objects.exists()


# The reference.


def test_a_ref_is_twelve_characters_that_can_be_read_aloud() -> None:
    refs = [make_ref() for _ in range(500)]
    assert {len(ref) for ref in refs} == {12}
    assert set("".join(refs)) == set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
    assert len(set(refs)) == 500


def test_every_character_of_a_ref_is_as_likely() -> None:
    counts = Counter("".join(make_ref() for _ in range(2000)))
    assert min(counts.values()) > 500
    assert max(counts.values()) < 1000


@pytest.mark.both_databases
def test_a_ref_is_never_given_twice(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workspaces.log.append.make_ref", lambda: "0" * 12)
    append_event(REFUSED, actor=DANA)
    with pytest.raises(IntegrityError), transaction.atomic():
        append_event(REFUSED, actor=DANA)


# Where a request came from.


def test_address_and_user_agent_stand_beside_the_event(db: None) -> None:
    event = append_event(REFUSED, actor=FROM_AFAR)
    origin = EventOrigin.objects.get()
    assert origin.event == event
    assert (origin.address, origin.user_agent) == ("203.0.113.7", "docker/27.0")
    text = json.dumps([origin.salt, "203.0.113.7", "docker/27.0"])
    assert event.origin_hash == hashlib.sha256(text.encode()).hexdigest()
    row = LockEvent.objects.values().get()
    assert not [value for value in row.values() if "203.0.113.7" in str(value)]
    assert not [value for value in row.values() if "docker/27.0" in str(value)]


def test_the_same_origin_has_another_hash_in_every_event(db: None) -> None:
    rows = append_events([REFUSED] * 3, actor=FROM_AFAR)
    assert len({row.origin_hash for row in rows}) == 3
    assert len({origin.salt for origin in EventOrigin.objects.all()}) == 3


@pytest.mark.parametrize("origin", [Origin("203.0.113.7"), Origin("", "docker/27.0")])
def test_half_an_origin_is_kept_too(db: None, origin: Origin) -> None:
    event = append_event(REFUSED, actor=Actor("dana", ActorKind.TOKEN, origin))
    assert len(event.origin_hash) == 64
    assert EventOrigin.objects.count() == 1


def test_without_an_origin_there_is_nothing_to_erase(db: None) -> None:
    assert append_event(REFUSED, actor=DANA).origin_hash == ""
    assert not EventOrigin.objects.exists()


def test_erasing_the_origins_leaves_the_events_as_they_are(db: None) -> None:
    append_events([REFUSED] * 3, actor=FROM_AFAR)
    before = list(LockEvent.objects.order_by("id").values())
    EventOrigin.objects.all().delete()
    assert list(LockEvent.objects.order_by("id").values()) == before


# Names outlive what they name.


def test_the_log_outlives_what_it_names(acme: Workspace) -> None:
    user = User.objects.create_user("erin")
    add_member(acme, user, Role.MEMBER, actor=Actor("erin", ActorKind.PERSON))
    create_access_token(acme, "ci", [Scope.PUSH], actor=SYSTEM)
    append_event(REFUSED, actor=Actor("ci", ActorKind.TOKEN))
    before = list(LockEvent.objects.order_by("id").values())
    Membership.objects.all().delete()
    AccessToken.objects.all().delete()
    User.objects.all().delete()
    Workspace.objects.all().delete()
    assert list(LockEvent.objects.order_by("id").values()) == before
    assert {event["actor"] for event in before} >= {"erin", "ci"}


def test_a_name_that_changes_later_stays_what_it_was(acme: Workspace) -> None:
    user = User.objects.create_user("erin")
    add_member(acme, user, Role.MEMBER, actor=SYSTEM)
    User.objects.filter(pk=user.pk).update(username="renamed")
    event = LockEvent.objects.get(kind="member.added")
    assert event.details == {"member": "erin", "before": None, "after": "member"}


# Repeats.


def test_repeats_within_an_hour_are_one_event_and_a_counter(db: None, set_now: SetNow) -> None:
    set_now(HOUR)
    first = append_repeatable_event(REFUSED, actor=DANA)
    set_now(HOUR + timedelta(minutes=59, seconds=59))
    assert [append_repeatable_event(REFUSED, actor=DANA) for _ in range(3)] == [first] * 3
    assert LockEvent.objects.get().ref == first
    repeat = EventRepeat.objects.get()
    assert (repeat.count, repeat.hour, repeat.workspace) == (3, HOUR, "acme")


def test_the_next_hour_begins_with_an_event_of_its_own(db: None, set_now: SetNow) -> None:
    set_now(HOUR + timedelta(minutes=59))
    first = append_repeatable_event(REFUSED, actor=DANA)
    set_now(HOUR + timedelta(hours=1))
    assert append_repeatable_event(REFUSED, actor=DANA) != first
    assert LockEvent.objects.count() == 2


@pytest.mark.parametrize(
    "other",
    [
        Event(EventKind.PUSH_IDENTICAL, *("acme", "acme/api", "v1"), digest=AA, other_digest=BB),
        Event(EventKind.PUSH_REFUSED, "globex", "acme/api", "v1", digest=AA, other_digest=BB),
        Event(EventKind.PUSH_REFUSED, "acme", "acme/web", "v1", digest=AA, other_digest=BB),
        Event(EventKind.PUSH_REFUSED, "acme", "acme/api", "v2", digest=AA, other_digest=BB),
        Event(EventKind.PUSH_REFUSED, "acme", "acme/api", "v1", digest=BB, other_digest=BB),
        Event(EventKind.PUSH_REFUSED, "acme", "acme/api", "v1", digest=AA, other_digest=AA),
        Event(
            EventKind.PUSH_REFUSED,
            *("acme", "acme/api", "v1"),
            digest=AA,
            other_digest=BB,
            reason="the name is reserved",
        ),
    ],
)
def test_what_differs_is_no_repeat(db: None, other: Event) -> None:
    same = Event(EventKind.PUSH_REFUSED, "acme", "acme/api", "v1", digest=AA, other_digest=BB)
    assert append_repeatable_event(same, actor=DANA) != append_repeatable_event(other, actor=DANA)
    assert LockEvent.objects.count() == 2


@pytest.mark.parametrize(
    "other", [Actor("erin", ActorKind.REGISTRY), Actor("dana", ActorKind.PERSON)]
)
def test_another_actor_is_no_repeat(db: None, other: Actor) -> None:
    first = append_repeatable_event(REFUSED, actor=DANA)
    assert append_repeatable_event(REFUSED, actor=other) != first


def test_the_same_actor_from_elsewhere_is_a_repeat(db: None) -> None:
    first = append_repeatable_event(REFUSED, actor=FROM_AFAR)
    elsewhere = Actor("dana", ActorKind.TOKEN, Origin("198.51.100.1", "crane"))
    assert append_repeatable_event(REFUSED, actor=elsewhere) == first


# The end of the hour.


def repeat(times: int, event: Event = REFUSED) -> str:
    """Record `event` once, and that often again; return its ref."""
    ref = append_repeatable_event(event, actor=DANA)
    for _ in range(times):
        append_repeatable_event(event, actor=DANA)
    return ref


def test_an_hour_that_is_over_becomes_one_event(db: None, set_now: SetNow) -> None:
    set_now(HOUR + timedelta(minutes=5))
    ref = repeat(7)
    assert close_repeats(HOUR + timedelta(hours=1)) == 1
    first, counted = LockEvent.objects.order_by("id")
    assert first.ref == ref
    assert counted.kind == "repeats.counted"
    assert counted.reason == "7 more of the same within the hour"
    assert counted.details == {
        "count": 7,
        "event": ref,
        "kind": "push.refused",
        "actor": "dana",
        "hour": "2026-03-12T14:00:00Z",
    }
    for name in ("workspace", "repository", "tag", "digest", "other_digest", "rule_name"):
        assert getattr(counted, name) == getattr(first, name)
    assert (counted.actor, counted.actor_kind) == ("taglock", "system")
    assert not EventRepeat.objects.exists()


def test_an_event_that_was_not_repeated_leaves_no_second_one(db: None, set_now: SetNow) -> None:
    set_now(HOUR)
    repeat(0)
    assert close_repeats(HOUR + timedelta(hours=1)) == 1
    assert LockEvent.objects.count() == 1
    assert not EventRepeat.objects.exists()


def test_the_running_hour_is_not_closed(db: None, set_now: SetNow) -> None:
    set_now(HOUR)
    ref = repeat(2)
    assert close_repeats(HOUR + timedelta(minutes=59, seconds=59)) == 0
    set_now(HOUR + timedelta(minutes=59, seconds=59))
    assert repeat(0) == ref
    assert EventRepeat.objects.get().count == 3
    assert LockEvent.objects.count() == 1


def test_closing_again_finds_nothing(db: None, set_now: SetNow) -> None:
    set_now(HOUR)
    repeat(2)
    assert close_repeats(HOUR + timedelta(hours=1)) == 1
    assert close_repeats(HOUR + timedelta(hours=1)) == 0
    assert LockEvent.objects.count() == 2


def test_hours_and_events_are_counted_apart(db: None, set_now: SetNow) -> None:
    other = Event(EventKind.PUSH_IDENTICAL, "globex", "globex/api", "v1", digest=AA)
    for hour in range(2):
        set_now(HOUR + timedelta(hours=hour))
        repeat(hour + 1)
        repeat(10, other)
    assert close_repeats(HOUR + timedelta(hours=2)) == 4
    counted = LockEvent.objects.filter(kind="repeats.counted").order_by("id")
    assert [(each.workspace, each.details and each.details["count"]) for each in counted] == [
        ("acme", 1),
        ("globex", 10),
        ("acme", 2),
        ("globex", 10),
    ]


def test_what_is_counted_does_not_depend_on_when_it_is_closed(db: None, set_now: SetNow) -> None:
    set_now(HOUR)
    repeat(1)
    set_now(HOUR + timedelta(hours=1))
    repeat(1)
    assert close_repeats(HOUR + timedelta(hours=1, minutes=30)) == 1
    assert EventRepeat.objects.get().hour == HOUR + timedelta(hours=1)


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_counters_are_not_lost_where_the_log_cannot_be_written(
    set_now: SetNow, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_now(HOUR)
    with transaction.atomic():
        repeat(2)

    def fail(*args: object, **kwargs: object) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr("workspaces.log.append.append_events", fail)
    set_now(HOUR + timedelta(hours=1))
    with pytest.raises(DatabaseError, match="disk full"):
        close_log_repeats()
    assert EventRepeat.objects.get().count == 2


@pytest.mark.slow
@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_the_task_closes_everything_that_is_due(set_now: SetNow) -> None:
    set_now(HOUR)
    with transaction.atomic():
        for number in range(510):
            event = Event(EventKind.PUSH_REFUSED, "acme", "acme/api", f"t{number}", digest=AA)
            append_repeatable_event(event, actor=DANA)
            append_repeatable_event(event, actor=DANA)
    close_log_repeats()
    assert EventRepeat.objects.count() == 510
    set_now(HOUR + timedelta(hours=1))
    close_log_repeats()
    assert not EventRepeat.objects.exists()
    assert LockEvent.objects.filter(kind="repeats.counted").count() == 510


# The kinds.


def test_every_kind_of_event_has_a_label() -> None:
    labels = [kind.label for kind in EventKind]
    assert all(labels)
    assert len(set(labels)) == len(labels)


def test_members_read_what_happened_to_tags() -> None:
    subjects = {kind.partition(".")[0] for kind in set(EventKind) - TAG_EVENT_KINDS}
    assert subjects == {
        "settings",
        "workspace",
        "member",
        "invitation",
        "password",
        "email",
        "token",
        "repository",
        "prefix",
        "registry",
        "account",
        "person",
        "site_admin",
        "group_role",
        "sign_on",
    }

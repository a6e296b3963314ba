"""The lock log's list: its story, what each role reads, paging."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from immutability.policy.protection import Policy, PolicyRule, Protection
from tests.conftest import AA, BB, SEMVER
from tests.page import Browser, read_errors
from tests.workspaces.log.tampering import without_triggers, write_at
from tests.workspaces.pages.lock_log import (
    ERIN,
    LOG,
    details_of,
    record,
    rows_of,
    tag_event,
    tags_of,
)
from workspaces.access import Actor, ActorKind
from workspaces.log.append import Event, close_repeats
from workspaces.log.checkpoints import make_checkpoint
from workspaces.log.kinds import TAG_EVENT_KINDS, EventKind
from workspaces.log.models import EventRepeat, LockEvent
from workspaces.log.query import EVENTS_PER_PAGE
from workspaces.log.seal import seal_events
from workspaces.models import User, Workspace

# The story.


def test_an_event_is_told_as_a_sentence(
    acme: Workspace, member: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    [event] = record(
        Event(
            EventKind.TAG_LOCKED,
            "acme",
            "acme/api",
            "v1.0.0",
            digest=BB,
            rule_name=SEMVER.name,
            rule_pattern=SEMVER.pattern,
        )
    )
    page = member.open(LOG)
    at = LockEvent.objects.get(id=event.id).at
    assert page.heading == "Lock log"
    assert rows_of(page) == ["dana via the registry pushed and locked acme/api:v1.0.0"]
    assert page.main.find(class_="story-note").text == "By rule Release versions"
    assert details_of(page) == [f"/acme/lock-log/{event.ref}"]
    time = page.main.find("time")
    assert time.text == f"{at:%H:%M}"
    assert time["datetime"] == f"{at:%Y-%m-%dT%H:%M:%SZ}"


def test_days_have_headings_with_the_latest_first(acme: Workspace, member: Browser) -> None:
    now = timezone.now()
    moments = [now, now - timedelta(days=1), datetime(2026, 3, 1, 12, tzinfo=UTC)]
    for number, moment in enumerate(moments):
        write_at(moment, kind="push.refused", tag=f"v{number}")
    page = member.open(LOG)
    headings = [each.text for each in page.main.find_all("h2", class_="story-day")]
    today, yesterday = (f"{each:%A} {each.day} {each:%B %Y}" for each in moments[:2])
    assert headings == [
        f"Today {today} Times are in UTC",
        f"Yesterday {yesterday}",
        "Sunday 1 March 2026",
    ]
    assert tags_of(page) == ["v0", "v1", "v2"]


def test_what_an_admin_gave_as_the_reason_is_quoted(acme: Workspace, member: Browser) -> None:
    record(tag_event("v1", EventKind.LOCK_RELEASED, reason="A rebuild"), actor=ERIN)
    assert member.open(LOG).main.find("q").text == "A rebuild"


# What belongs together.


def refuse(count: int = 0, *, minutes: float = 0) -> LockEvent:
    """Record a refusal that happened again so often within its hour."""
    event = write_at(
        timezone.now() - timedelta(minutes=minutes),
        kind="push.refused",
        digest=AA,
        other_digest=BB,
        reason="the tag is locked",
    )
    hour = event.at.replace(minute=0, second=0, microsecond=0)
    EventRepeat.objects.create(
        workspace="acme", fingerprint=event.ref, hour=hour, event=event, count=count
    )
    return event


@pytest.mark.parametrize(("count", "said"), [(0, []), (1, ["1 more within the hour"])])
def test_repeats_of_the_running_hour_are_told_in_the_row(
    acme: Workspace, member: Browser, count: int, said: list[str]
) -> None:
    refuse(count)
    page = member.open(LOG)
    notes = page.main.find(class_="story-note").find_all("span")[1:]
    assert [note.text for note in notes] == said


def test_repeats_that_were_counted_are_told_in_the_row_of_the_first(
    acme: Workspace, member: Browser
) -> None:
    first = refuse(3, minutes=70)
    with transaction.atomic():
        close_repeats(timezone.now())
    page = member.open(LOG)
    assert rows_of(page) == ["dana via the registry’s push of acme/api:v1 was refused"]
    counted = LockEvent.objects.get(kind="repeats.counted")
    link = page.main.find(class_="story-note").find("a")
    assert (link.text, link["href"]) == (
        "3 more within the hour",
        f"/acme/lock-log/{counted.ref}",
    )
    assert member.open(link["href"]).facts["About event"] == first.ref


def test_repeats_whose_first_is_on_another_page_have_their_own_row(
    acme: Workspace, member: Browser
) -> None:
    refuse(3, minutes=70)
    record(*(tag_event(f"n{number}", EventKind.PUSH_IDENTICAL) for number in range(49)))
    with transaction.atomic():
        close_repeats(timezone.now())
    page = member.open(LOG)
    assert rows_of(page)[0] == "The push of acme/api:v1 was refused 3 more times within the hour"
    page = member.follow("Older events")
    assert "3 more within the hour" in page.main.find(class_="story").text


def test_tags_that_a_push_locked_at_once_are_one_row(acme: Workspace, member: Browser) -> None:
    moment = datetime(2026, 3, 1, 12, 30, 20, tzinfo=UTC)
    for tag in ("v1", "v1.2", "v1.2.0"):
        write_at(moment, tag=tag)
    page = member.open(LOG)
    assert rows_of(page) == ["dana via the registry pushed and locked 3 tags of acme/api"]
    more = page.main.find("details", class_="story-more")
    assert more.find("summary").text == "v1.2.0, v1.2 and 1 more"
    assert [code.text for code in more.find_all("code")] == [
        "acme/api:v1.2.0",
        "acme/api:v1.2",
        "acme/api:v1",
    ]
    assert len(details_of(page)) == 3


@pytest.mark.parametrize(
    "other",
    [
        {"repository": "acme/web"},
        {"actor": "erin"},
        {"actor_kind": "person"},
        {"kind": "tag.adopted"},
        {"rule_name": "Releases"},
        {"reason": "the image of the reserved name came back"},
        {"at": datetime(2026, 3, 1, 12, 31, tzinfo=UTC)},
    ],
    ids=str,
)
def test_what_was_not_locked_at_once_has_rows_of_its_own(
    acme: Workspace, member: Browser, other: dict[str, Any]
) -> None:
    moment = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    write_at(moment, tag="v1")
    write_at(other.pop("at", moment), **{"tag": "v2", **other})
    assert len(rows_of(member.open(LOG))) == 2


def test_a_change_of_settings_leads_to_what_moved(
    acme: Workspace, auditor: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    protect(acme, Protection.NONE, SEMVER)
    page = auditor.open(LOG)
    assert rows_of(page)[0] == "Taglock turned protection off: Some tags → No tags"
    more = page.main.find_all("details", class_="story-more")[0]
    saved = LockEvent.objects.filter(kind="settings.changed").latest("id")
    address = f"/acme/lock-log/{saved.ref}/moved/"
    assert (more["hx-get"], more.find("a")["href"]) == (address, address)


# Beside the story.


def test_the_tags_that_were_refused_most_are_named(acme: Workspace, member: Browser) -> None:
    for tag, count in (("v1", 1), ("v2", 3), ("v3", 2)):
        for _ in range(count):
            write_at(timezone.now(), kind="push.refused", tag=tag)
    repeats = {"kind": "push.refused", "count": 4}
    write_at(timezone.now(), kind="repeats.counted", tag="v1", details=repeats)
    write_at(timezone.now() - timedelta(days=8), kind="push.refused", tag="v4")
    write_at(timezone.now(), kind="push.refused", workspace="globex", tag="v5")
    items = member.open(LOG).main.find(class_="most-refused").find_all("li")
    assert [item.text for item in items] == [
        "acme/api:v1 5",
        "acme/api:v2 3",
        "acme/api:v3 2",
    ]


def test_the_log_says_how_far_it_is_sealed(acme: Workspace, auditor: Browser) -> None:
    record(tag_event("v1"))
    assert "events are not sealed yet" in auditor.open(LOG).main.find(class_="log-side").text
    seal_events()
    page = auditor.open(LOG)
    count = LockEvent.objects.filter(workspace="acme").count()
    assert f"All {count} events are sealed." in page.main.find(class_="log-side").text
    assert "Download checkpoint" not in page.main.text
    make_checkpoint("acme")
    auditor.open(LOG)
    href = auditor.page.main.find_with_text("a", "Download checkpoint")["href"]
    assert href == "/acme/lock-log/checkpoint/download/"


def test_the_newest_event_comes_first(acme: Workspace, member: Browser) -> None:
    for tag in "abc":
        write_at(timezone.now(), kind="push.refused", tag=tag)
    assert tags_of(member.open(LOG)) == ["c", "b", "a"]


def test_every_link_of_the_page_leads_somewhere(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, PolicyRule("A & B", "^a|b$"))
    record(tag_event("a"), tag_event("b"), tag_event("c", EventKind.PUSH_REFUSED))
    links = {link["href"] for link in admin.open(f"{LOG}?since=2026-01-01").main.find_all("a")}
    assert len(links) > 15
    for link in links:
        admin.page.path = LOG
        assert admin.open(link).heading


def test_a_tag_leads_to_its_page_and_that_to_its_events(acme: Workspace, member: Browser) -> None:
    record(tag_event("v1"), tag_event("v2"))
    member.open(LOG)
    page = member.follow("acme/api:v1")
    assert page.path == "/acme/repositories/acme/api:v1/"
    page = member.follow("Its events in the lock log")
    assert parse_qs(urlsplit(page.path).query) == {"repository": ["acme/api"], "tag": ["v1"]}
    assert tags_of(page) == ["v1"]


def test_an_event_leads_to_its_page(acme: Workspace, member: Browser) -> None:
    (event,) = record(tag_event("v1"))
    member.open(LOG)
    page = member.follow(f"Details of event {event.ref}")
    assert page.path == f"/acme/lock-log/{event.ref}"


def test_hostile_text_is_shown_as_text(acme: Workspace, member: Browser) -> None:
    hostile = '"><script>alert(1)</script>'
    event = tag_event("v1", EventKind.TAG_LOCKED, rule_name=hostile)
    record(event, actor=Actor(hostile, ActorKind.REGISTRY))
    page = member.open(LOG)
    assert rows_of(page) == [f"{hostile} via the registry pushed and locked acme/api:v1"]
    assert page.main.find(class_="story-note").text == f"By rule {hostile}"
    assert page.main.find_all("script") == []


def test_the_empty_log_says_what_to_do_first(acme: Workspace, member: Browser) -> None:
    page = member.open(LOG)
    empty = page.find(class_="empty")
    assert empty.text.startswith("Nothing has happened yet. Choose what to protect in")
    assert empty.find("a")["href"] == "/acme/settings/packages/containers/"


# Who reads what.


@pytest.mark.parametrize("role", ["admin", "auditor"])
def test_admins_and_auditors_read_every_kind(
    request: pytest.FixtureRequest, acme: Workspace, role: str
) -> None:
    browser: Browser = request.getfixturevalue(role)
    with without_triggers():
        LockEvent.objects.all().delete()
    record(*(Event(kind, "acme") for kind in EventKind))
    assert len(details_of(browser.open(LOG))) == len(EventKind)


def test_members_read_what_happened_to_tags(acme: Workspace, member: Browser) -> None:
    record(*(Event(kind, "acme") for kind in EventKind))
    page = member.open(LOG)
    assert len(details_of(page)) == len(TAG_EVENT_KINDS)
    offered = [option["value"] for option in page.find("select", name="kind").find_all("option")]
    assert offered == ["", *(kind.value for kind in EventKind if kind in TAG_EVENT_KINDS)]


def test_a_member_cannot_filter_for_what_is_not_theirs(acme: Workspace, member: Browser) -> None:
    page = member.open(f"{LOG}?kind=settings.changed")
    assert list(read_errors(page)) == ["id_kind"]
    assert page.main.find_all("table") == []


def test_the_events_of_another_workspace_are_not_listed(
    acme: Workspace, globex: Workspace, admin: Browser
) -> None:
    record(Event(EventKind.TAG_LOCKED, "globex", "globex/api", "v1"))
    assert "globex" not in admin.open(LOG).main.raw_text


def test_strangers_find_no_page(
    acme: Workspace, mallory: User, sign_in: Callable[[User], Client]
) -> None:
    Browser(sign_in(mallory)).open(LOG, 404)


# Paging.


def test_many_events_come_in_pages_that_miss_none(acme: Workspace, member: Browser) -> None:
    record(*(tag_event(f"n{number}") for number in range(2 * EVENTS_PER_PAGE + 3)))
    page = member.open(LOG)
    seen = tags_of(page)
    while page.find_all("a", rel="next"):
        page = member.follow("Older events")
        seen += tags_of(page)
    assert seen == [f"n{number}" for number in reversed(range(103))]


def test_exactly_one_page_has_no_next(acme: Workspace, member: Browser) -> None:
    record(*(tag_event(f"n{number}") for number in range(EVENTS_PER_PAGE)))
    page = member.open(LOG)
    assert len(rows_of(page)) == EVENTS_PER_PAGE
    assert page.find_all("a", rel="next") == []


def test_the_next_page_keeps_the_filters(acme: Workspace, member: Browser) -> None:
    record(*(tag_event(f"n{n}", rule_name="A & B" if n % 2 else "") for n in range(120)))
    member.open(LOG)
    member.press("Filter", rule="A & B")
    page = member.follow("Older events")
    assert tags_of(page) == [f"n{n}" for n in range(19, 0, -2)]
    assert page.find(name="rule")["value"] == "A & B"


def test_events_that_come_meanwhile_do_not_move_the_pages(acme: Workspace, member: Browser) -> None:
    record(*(tag_event(f"n{number}") for number in range(60)))
    member.open(LOG)
    record(*(tag_event(f"later{number}") for number in range(60)))
    assert tags_of(member.follow("Older events")) == [f"n{n}" for n in reversed(range(10))]


def test_a_filter_on_a_later_page_begins_at_the_first(acme: Workspace, member: Browser) -> None:
    record(*(tag_event(f"n{number}") for number in range(60)))
    member.open(LOG)
    member.follow("Older events")
    assert tags_of(member.press("Filter", tag="n59")) == ["n59"]


def test_a_member_does_not_page_by_events_that_are_not_theirs(
    acme: Workspace, member: Browser
) -> None:
    (hidden,) = record(Event(EventKind.SETTINGS_CHANGED, "acme"))
    record(tag_event("v1"))
    page = member.open(f"{LOG}?before={hidden.ref}")
    assert tags_of(page) == []


def test_times_are_in_utc_whoever_reads(acme: Workspace, member: Browser) -> None:
    (event,) = record(tag_event("v1"))
    at = datetime(2026, 3, 12, 14, 2, 33, tzinfo=UTC)
    with without_triggers():
        LockEvent.objects.filter(id=event.id).update(at=at)
    time = member.open(LOG).main.find("time")
    assert time.text == "14:02"
    assert time["title"] == "2026-03-12 14:02:33 UTC"


# Queries.


@pytest.mark.parametrize("role", ["admin", "auditor", "member"])
def test_a_page_takes_as_many_queries_however_many_events_it_has(
    request: pytest.FixtureRequest,
    acme: Workspace,
    role: str,
    django_assert_num_queries: Callable[..., Any],
) -> None:
    browser: Browser = request.getfixturevalue(role)
    for tags in (["v1"], [f"t{number}" for number in range(EVENTS_PER_PAGE)]):
        record(*(tag_event(tag) for tag in tags))
        with django_assert_num_queries(13):
            browser.open(LOG)
        # Groups are counted where nothing but a period narrows the log.
        with django_assert_num_queries(12):
            browser.open(f"{LOG}?kind=push.identical&digest=aaaa")

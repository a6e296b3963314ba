"""The lock log's list: what each role reads, filters in the address, paging."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import transaction
from django.test import Client

from immutability.policy.protection import Policy, PolicyRule, Protection
from tests.conftest import AA, BB, CC, SEMVER
from tests.page import Browser, Page, read_errors
from tests.workspaces.log.tampering import without_triggers
from workspaces.access import Actor, ActorKind
from workspaces.log.append import Event, append_events
from workspaces.log.kinds import TAG_EVENT_KINDS, EventKind
from workspaces.log.models import LockEvent
from workspaces.log.query import EVENTS_PER_PAGE
from workspaces.models import User, Workspace

LOG = "/acme/lock-log/"
DANA = Actor("dana", ActorKind.REGISTRY)
ERIN = Actor("erin", ActorKind.PERSON)


def record(*events: Event, actor: Actor = DANA) -> list[LockEvent]:
    """Append events."""
    with transaction.atomic():
        return append_events(list(events), actor=actor)


def tag_event(tag: str, kind: EventKind = EventKind.TAG_LOCKED, **fields: str) -> Event:
    """Return an event of a tag of acme/api."""
    return Event(kind, "acme", "acme/api", tag, **{"digest": AA, **fields})  # type: ignore[arg-type]


def tags_of(page: Page) -> list[str]:
    """Return the tags in the table, in its order; none where there is no table."""
    if not page.main.find_all("table"):
        return []
    return [row[2].removeprefix("acme/api:") for row in page.rows]


# The table.


def test_an_event_is_shown_whole(
    acme: Workspace, member: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    record(
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
    at = LockEvent.objects.get(kind="tag.locked").at
    assert page.rows == [
        [
            f"{at:%Y-%m-%d %H:%M} UTC",
            "Tag locked",
            "acme/api:v1.0.0",
            BB,
            "dana via the registry",
            "Release versions",
        ]
    ]
    assert page.main.find("time")["datetime"] == f"{at:%Y-%m-%dT%H:%M:%SZ}"
    assert page.find("caption").text == "1 event"
    assert page.heading == "Lock log"


def test_the_newest_event_comes_first(acme: Workspace, member: Browser) -> None:
    record(tag_event("a"), tag_event("b"))
    record(tag_event("c"))
    assert tags_of(member.open(LOG)) == ["c", "b", "a"]


def test_every_link_of_the_table_leads_somewhere(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, PolicyRule("A & B", "^a|b$"))
    record(tag_event("a"), tag_event("a"))
    links = {link["href"] for link in admin.open(LOG).main.find_all("a")}
    # Four events and a tag, the checkpoint, and the export.
    assert len(links) == 8
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
    assert member.follow("Tag locked").path == f"/acme/lock-log/{event.ref}"


def test_hostile_text_is_shown_as_text(acme: Workspace, member: Browser) -> None:
    hostile = '"><script>alert(1)</script>'
    record(tag_event("v1", rule_name=hostile), actor=Actor(hostile, ActorKind.REGISTRY))
    page = member.open(LOG)
    assert page.rows[0][4:] == [f"{hostile} via the registry", hostile]
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
    assert [row[1] for row in browser.open(LOG).rows] == [
        kind.label for kind in reversed(EventKind)
    ]


def test_members_read_what_happened_to_tags(acme: Workspace, member: Browser) -> None:
    record(*(Event(kind, "acme") for kind in EventKind))
    page = member.open(LOG)
    expected = [kind.label for kind in reversed(EventKind) if kind in TAG_EVENT_KINDS]
    assert [row[1] for row in page.rows] == expected
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


# Filters.


@pytest.fixture
def varied(acme: Workspace) -> Workspace:
    """A workspace whose log has something for each filter."""
    record(
        tag_event("v1", rule_name="Release versions"),
        tag_event("v2", EventKind.PUSH_REFUSED, digest=BB, other_digest=CC),
        Event(EventKind.TAG_LOCKED, "acme", "acme/web", "v1", digest=CC, rule_name=" Web "),
    )
    record(tag_event("v3", EventKind.TAG_DELETED), actor=ERIN)
    return acme


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"repository": "acme/web"}, ["acme/web:v1"]),
        ({"repository": " acme/web "}, ["acme/web:v1"]),
        ({"repository": "acme/nothing"}, []),
        ({"tag": "v1"}, ["acme/web:v1", "v1"]),
        ({"repository": "acme/api", "tag": "v1"}, ["v1"]),
        ({"kind": "push.refused"}, ["v2"]),
        ({"actor": "erin"}, ["v3"]),
        ({"actor": "dana", "tag": "v3"}, []),
        ({"rule": "Release versions"}, ["v1"]),
        ({"rule": " Web "}, ["acme/web:v1"]),
        ({"digest": AA}, ["v3", "v1"]),
        ({"digest": BB}, ["v2"]),
        ({"digest": CC}, ["acme/web:v1", "v2"]),
        ({"digest": "sha256:ccc"}, ["acme/web:v1", "v2"]),
        ({"digest": "bbbbbbbbbbbb"}, ["v2"]),
        ({"digest": "_"}, []),
        ({}, ["v3", "acme/web:v1", "v2", "v1"]),
    ],
)
def test_each_filter_finds_its_events_and_is_in_the_address(
    varied: Workspace, member: Browser, filters: dict[str, str], found: list[str]
) -> None:
    member.open(LOG)
    page = member.press("Filter", **filters)
    assert tags_of(page) == found
    query = parse_qs(urlsplit(page.path).query)
    assert query == {name: [value] for name, value in filters.items()}
    form = page.read_form(page.form_of(page.find(name="tag")))
    assert {name: form[name] for name in filters} == {
        name: [value] for name, value in filters.items()
    }


def test_a_digest_as_the_page_shows_it_can_be_searched(varied: Workspace, member: Browser) -> None:
    assert tags_of(member.open(f"{LOG}?digest=sha256:bbbbbbbbbbbb")) == ["v2"]


def test_a_period_has_both_of_its_days(varied: Workspace, member: Browser) -> None:
    moments = {
        "v1": datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC),
        "v2": datetime(2026, 3, 2, 0, 0, 0, tzinfo=UTC),
        "v3": datetime(2026, 3, 3, 23, 59, 59, 999999, tzinfo=UTC),
    }
    with without_triggers():
        for tag, at in moments.items():
            LockEvent.objects.filter(repository="acme/api", tag=tag).update(at=at)
        LockEvent.objects.filter(repository="acme/web").update(at=datetime(2026, 3, 4, tzinfo=UTC))
    page = member.open(f"{LOG}?since=2026-03-02&until=2026-03-03")
    assert tags_of(page) == ["v3", "v2"]
    assert page.find(name="since")["value"] == "2026-03-02"
    assert tags_of(member.open(f"{LOG}?until=2026-03-01")) == ["v1"]
    assert tags_of(member.open(f"{LOG}?since=2026-03-04")) == ["acme/web:v1"]
    assert tags_of(member.open(f"{LOG}?since=2026-03-02&until=2026-03-02")) == ["v2"]


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
@pytest.mark.parametrize("end", ["since", "until"])
def test_a_period_may_begin_or_end_at_any_day(
    varied: Workspace, member: Browser, day: str, end: str
) -> None:
    member.client.raise_request_exception = False
    page = member.open(f"{LOG}?{end}={day}")
    is_open = (end, day) in (("since", "0001-01-01"), ("until", "9999-12-31"))
    assert len(tags_of(page)) == (4 if is_open else 0)


def test_filters_that_match_nothing_say_so_and_can_be_cleared(
    varied: Workspace, member: Browser
) -> None:
    page = member.open(f"{LOG}?tag=nothing")
    assert page.find(class_="empty").text == "No event matches these filters."
    assert len(member.follow("Clear").rows) == 4
    assert "Clear" not in [link.text for link in member.page.find_all("a")]


@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ("kind=tag.eaten", "id_kind", "Must be one of: tag.locked, "),
        ("since=yesterday", "id_since", "Write a day like 2026-05-01."),
        ("until=2026-13-01", "id_until", "Write a day like 2026-05-01."),
        ("since=2026-03-02&until=2026-03-01", "id_until", "The period ends before it begins."),
        (f"tag={'x' * 129}", "id_tag", "at most 128 characters"),
        ("actor=%00", "id_actor", "Null characters are not allowed."),
        ("repository=acme", "id_repository", "Write the full name, like acme/api."),
        ("digest=%25", "id_digest", "Write a digest, like sha256:ab12…"),
        ("ref=1", "id_ref", "A reference has 12 letters and digits."),
    ],
)
def test_a_bad_filter_is_an_error_and_shows_no_events(
    varied: Workspace, member: Browser, query: str, field: str, said: str
) -> None:
    page = member.open(f"{LOG}?{query}")
    errors = read_errors(page)
    assert list(errors) == [field]
    assert said in errors[field]
    assert page.main.find_all("table") == page.find_all(class_="empty") == []


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_place_that_is_not_in_the_log_leads_to_the_newest_events(
    varied: Workspace, member: Browser, place: str
) -> None:
    page = member.open(f"{LOG}?{place}={'0' * 12}")
    assert page.find(class_="empty").text == "There are no more events here. The newest ones"
    assert len(member.follow("The newest ones").rows) == 4


@pytest.mark.parametrize(
    ("query", "said"),
    [
        *(
            (f"{place}={value}", f"{place.capitalize()}: ")
            for place in ("before", "after")
            for value in ("nothing", "%00", "x" * 300, "%FF", "'")
        ),
        (f"before={'0' * 12}&after={'0' * 12}", "After: Send before or after, not both."),
        ("tga=v1", "tga: Unknown parameter. Allowed parameters: repository, tag, kind, "),
        ("tag=v1&tag=v2", "tag: Must be given once."),
        (f"actor={'x' * 2000}", "actor: Must have at most 1024 characters."),
    ],
)
def test_a_query_that_cannot_be_read_is_said_to_be_so(
    varied: Workspace, member: Browser, query: str, said: str
) -> None:
    page = member.open(f"{LOG}?{query}")
    assert said in page.find(class_="summary").text
    assert page.main.find_all("table") == page.find_all(class_="empty") == []


# Paging.


def test_many_events_come_in_pages_that_miss_none(acme: Workspace, member: Browser) -> None:
    record(*(tag_event(f"n{number}") for number in range(2 * EVENTS_PER_PAGE + 3)))
    page = member.open(LOG)
    assert page.find("caption").text == "50 events, with more on the next page"
    seen = tags_of(page)
    while page.find_all("a", rel="next"):
        page = member.follow("Older events")
        seen += tags_of(page)
    assert seen == [f"n{number}" for number in reversed(range(103))]


def test_exactly_one_page_has_no_next(acme: Workspace, member: Browser) -> None:
    record(*(tag_event(f"n{number}") for number in range(EVENTS_PER_PAGE)))
    page = member.open(LOG)
    assert len(page.rows) == EVENTS_PER_PAGE
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
    assert time.text == "2026-03-12 14:02 UTC"
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
        with django_assert_num_queries(8):
            browser.open(LOG)
        with django_assert_num_queries(8):
            browser.open(f"{LOG}?kind=tag.locked&digest=aaaa")

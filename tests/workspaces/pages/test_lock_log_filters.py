"""Filters of the lock log: in its form, in the address, as chips."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.conftest import AA, BB, CC
from tests.page import Browser, read_errors
from tests.workspaces.log.tampering import without_triggers, write_at
from tests.workspaces.pages.lock_log import ERIN, LOG, record, rows_of, tag_event, tags_of
from workspaces.log import figures
from workspaces.log.append import Event
from workspaces.log.kinds import EventKind
from workspaces.log.models import LockEvent
from workspaces.models import Workspace


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
    # A whole day is shown by its first and its last minute.
    assert page.find(name="since")["value"] == "2026-03-02T00:00"
    assert page.find(name="until")["value"] == "2026-03-03T23:59"
    assert tags_of(member.open(f"{LOG}?until=2026-03-01")) == ["v1"]
    assert tags_of(member.open(f"{LOG}?since=2026-03-04")) == ["acme/web:v1"]
    assert tags_of(member.open(f"{LOG}?since=2026-03-02&until=2026-03-02")) == ["v2"]


def test_a_period_may_begin_and_end_at_a_time_of_day(varied: Workspace, member: Browser) -> None:
    moments = {
        "v1": datetime(2026, 3, 2, 14, 29, 59, 999999, tzinfo=UTC),
        "v2": datetime(2026, 3, 2, 14, 30, tzinfo=UTC),
        "v3": datetime(2026, 3, 2, 14, 31, 59, 500000, tzinfo=UTC),
    }
    with without_triggers():
        for tag, at in moments.items():
            LockEvent.objects.filter(repository="acme/api", tag=tag).update(at=at)
        LockEvent.objects.filter(repository="acme/web").update(at=datetime(2026, 3, 4, tzinfo=UTC))
    member.open(LOG)
    page = member.press("Filter", since="2026-03-02T14:30", until="2026-03-02T14:31")
    assert tags_of(page) == ["v3", "v2"]
    assert page.find(name="since")["value"] == "2026-03-02T14:30"
    chips = [chip.text for chip in page.main.find_all("a", class_="chip-on")]
    assert chips == [
        "Remove filter Since: 2026-03-02 14:30",
        "Remove filter Until: 2026-03-02 14:31",
    ]
    # Without its beginning, and without its end.
    assert tags_of(member.follow(chips[0])) == ["v3", "v2", "v1"]
    member.open(f"{LOG}?since=2026-03-02T14:30&until=2026-03-02T14:31")
    assert tags_of(member.follow(chips[1])) == ["acme/web:v1", "v3", "v2"]
    assert tags_of(member.open(f"{LOG}?until=2026-03-02T14:31:58Z&since=2026-03-02")) == [
        "v2",
        "v1",
    ]
    assert tags_of(member.open(f"{LOG}?since=2026-03-02+14:31:59&until=2026-03-03")) == ["v3"]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("v1", ["acme/web:v1", "v1"]),
        ("api:v", ["v3", "v2", "v1"]),
        ("ACME/WEB", ["acme/web:v1"]),
        ("localhost:8000/acme/api:v2", ["v2"]),
        ("eri", ["v3"]),
        ("release", ["v1"]),
        ("dana api", ["v2", "v1"]),
        ("bbbbbbb", ["v2"]),
        (f"acme/api@{CC}", ["v2"]),
        ("nothing", []),
        ("%", []),
        ("", ["v3", "acme/web:v1", "v2", "v1"]),
    ],
)
def test_one_box_finds_parts_of_what_an_event_names(
    varied: Workspace, member: Browser, typed: str, found: list[str]
) -> None:
    member.open(LOG)
    page = member.press("Search", q=typed)
    assert tags_of(page) == found
    assert page.find(id="id_q")["value"] == typed


def test_the_address_of_an_event_finds_it(varied: Workspace, member: Browser) -> None:
    ref = LockEvent.objects.get(tag="v2").ref
    for typed in (ref.lower(), f"http://localhost/acme/lock-log/{ref}"):
        assert tags_of(member.open(f"{LOG}?{urlencode({'q': typed})}")) == ["v2"]


def test_chips_narrow_the_log_to_kinds_that_belong_together(
    varied: Workspace, admin: Browser
) -> None:
    page = admin.open(LOG)
    chips = {chip.text: chip for chip in page.main.find_all("a", class_="chip")}
    assert list(chips) == [
        "Everything",
        "Refused 1",
        "Settings 0",
        "Locked 1",
        "Released and deleted 1",
        # The workspace, and alice.
        "People and tokens 2",
    ]
    assert chips["Everything"]["aria-current"] == "true"
    assert tags_of(admin.follow("Refused 1")) == ["v2"]
    [current] = admin.page.main.find_all("a", class_="chip", aria_current="true")
    assert current.text == "Refused 1"
    # The group is kept while other things are looked for.
    assert tags_of(admin.press("Search", q="web")) == []
    assert tags_of(admin.follow("Everything")) == ["acme/web:v1"]


def test_members_are_offered_the_groups_of_what_they_may_read(
    varied: Workspace, member: Browser
) -> None:
    chips = [chip.text for chip in member.open(LOG).main.find_all("a", class_="chip")]
    assert chips == ["Everything", "Refused 1", "Locked 1", "Released and deleted 1"]
    assert member.open(f"{LOG}?group=settings").find(class_="summary")


def test_events_are_counted_up_to_a_limit_and_in_the_period_alone(
    varied: Workspace, member: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "MAX_COUNTED", 2)
    for _ in range(3):
        write_at(datetime(2026, 3, 1, tzinfo=UTC), kind="push.refused")
    chips = [chip.text for chip in member.open(LOG).main.find_all("a", class_="chip")]
    assert chips[1] == "Refused 2+"
    member.open(f"{LOG}?since=2026-04-01")
    assert member.page.main.find_all("a", class_="chip")[1].text == "Refused 1"
    # Where something else narrows the log, counting has no bound.
    member.open(f"{LOG}?q=v1")
    assert member.page.main.find_all("a", class_="chip")[1].text == "Refused"


def test_a_chip_takes_one_filter_away_and_keeps_the_others(
    varied: Workspace, member: Browser
) -> None:
    page = member.open(f"{LOG}?repository=acme/api&tag=v1&q=dana&before={'0' * 12}")
    page = member.follow("Remove filter Tag: v1")
    query = parse_qs(urlsplit(page.path).query)
    assert query == {"repository": ["acme/api"], "q": ["dana"]}
    assert "q" not in parse_qs(urlsplit(member.follow("Clear search").path).query)


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
    assert page.find(class_="empty").text == "No event matches. Show everything"
    assert len(rows_of(member.follow("Clear"))) == 4
    assert "Clear" not in [link.text for link in member.page.find_all("a")]


@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ("kind=tag.eaten", "id_kind", "Must be one of: tag.locked, "),
        ("since=yesterday", "id_since", "Enter a day like 2026-05-01, or a time like "),
        ("until=2026-13-01", "id_until", "Enter a day like 2026-05-01"),
        ("until=2026-05-01T25:00", "id_until", "Enter a day like 2026-05-01"),
        (f"q={'+'.join('abcdefghi')}", "id_q", "Search for at most 8 words."),
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
    assert page.find(class_="empty").text == "No more events here. The newest ones"
    assert len(rows_of(member.follow("The newest ones"))) == 4


@pytest.mark.parametrize(
    ("query", "said"),
    [
        *(
            (f"{place}={value}", f"{place.capitalize()}: ")
            for place in ("before", "after")
            for value in ("nothing", "%00", "x" * 300, "%FF", "'")
        ),
        (f"before={'0' * 12}&after={'0' * 12}", "After: Send before or after, not both."),
        ("tga=v1", "tga: Unknown parameter. Allowed parameters: q, group, repository, tag, "),
        ("group=eaten", "Events: Must be one of: refused, settings, "),
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

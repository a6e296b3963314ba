"""Reading the log: filters, pages, and who sees what."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.utils import timezone

from tests.conftest import AA, BB, CC, is_postgresql
from tests.workspaces.log.tampering import without_triggers, write_at
from workspaces.access import (
    ROLE_PERMISSIONS,
    SYSTEM,
    Actor,
    ActorKind,
    Role,
    Scope,
    permissions_of_scopes,
)
from workspaces.caller_access import Access
from workspaces.log import query
from workspaces.log.append import Event, append_event, append_events
from workspaces.log.kinds import EventKind
from workspaces.log.models import LockEvent
from workspaces.log.query import LogFilterForm, LogListForm, find_events, visible_events
from workspaces.models import Workspace

DANA = Actor("dana", ActorKind.REGISTRY)
ERIN = Actor("erin", ActorKind.PERSON)


def access_of(workspace: Workspace, role: Role) -> Access:
    return Access(workspace, Actor("anybody", ActorKind.PERSON), ROLE_PERMISSIONS[role], role)


@pytest.fixture
def auditor(acme: Workspace) -> Access:
    return access_of(acme, Role.AUDITOR)


def found(access: Access, **wanted: str) -> list[str]:
    """Return the tags of the events that match, newest first; "-" for an event without one."""
    form = LogFilterForm(wanted)
    assert form.is_valid(), form.errors
    return [event.tag or "-" for event in find_events(access, form).events]


@pytest.fixture
def events(acme: Workspace, globex: Workspace) -> None:
    """Three events of acme's tags, beside the creation of each workspace, and one of globex."""
    append_event(
        Event(
            EventKind.TAG_LOCKED,
            "acme",
            "acme/api",
            "v1",
            digest=AA,
            rule_name="Releases",
            rule_pattern="^v",
        ),
        actor=DANA,
    )
    append_event(
        Event(
            EventKind.PUSH_REFUSED,
            "acme",
            "acme/api",
            "v2",
            digest=AA,
            other_digest=BB,
            rule_name=" Releases",
        ),
        actor=ERIN,
    )
    append_event(Event(EventKind.TAG_LOCKED, "acme", "acme/web", "v3", digest=CC), actor=DANA)
    append_event(Event(EventKind.TAG_LOCKED, "globex", "acme/api", "theirs", digest=AA), actor=DANA)


# Filters.


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize(
    ("wanted", "tags"),
    [
        ({}, ["v3", "v2", "v1", "-"]),
        ({"repository": "acme/api"}, ["v2", "v1"]),
        ({"repository": "acme/API"}, []),
        ({"tag": "v1"}, ["v1"]),
        ({"tag": "v"}, []),
        ({"kind": "tag.locked"}, ["v3", "v1"]),
        ({"kind": "workspace.created"}, ["-"]),
        ({"actor": "erin"}, ["v2"]),
        ({"actor": "eri"}, []),
        ({"rule": "Releases"}, ["v1"]),
        ({"rule": " Releases"}, ["v2"]),
        ({"digest": AA}, ["v2", "v1"]),
        ({"digest": BB}, ["v2"]),
        ({"digest": "sha256:cccc"}, ["v3"]),
        ({"digest": "a" * 12}, ["v2", "v1"]),
        ({"digest": "b"}, ["v2"]),
        ({"digest": "sha512:a"}, []),
        ({"digest": "d"}, []),
        ({"digest": "_" * 64}, []),
        ({"kind": "tag.locked", "repository": "acme/api"}, ["v1"]),
        ({"kind": "tag.locked", "actor": "erin"}, []),
        ({"tag": "v1", "digest": "aaaa", "actor": "dana", "rule": "Releases"}, ["v1"]),
    ],
)
def test_what_each_filter_finds(auditor: Access, wanted: dict[str, str], tags: list[str]) -> None:
    assert found(auditor, **wanted) == tags


@pytest.mark.usefixtures("events")
def test_an_event_is_found_by_its_ref_whole_in_either_case(auditor: Access) -> None:
    ref = LockEvent.objects.get(tag="v2").ref
    assert found(auditor, ref=ref) == found(auditor, ref=ref.lower()) == ["v2"]
    assert found(auditor, ref=f" {ref} ") == ["v2"]
    assert found(auditor, ref=LockEvent.objects.get(tag="theirs").ref) == []


@pytest.mark.parametrize("length", [1, 2, 3, 4, 63, 64])
@pytest.mark.usefixtures("events")
def test_any_beginning_of_a_digest_finds_it(auditor: Access, length: int) -> None:
    assert found(auditor, digest="c" * length) == ["v3"]
    assert found(auditor, digest="sha256:" + "c" * length) == ["v3"]
    assert found(auditor, digest="c" * length, tag="v1") == []


@pytest.mark.usefixtures("events")
def test_a_digest_is_found_in_either_case_on_every_database(auditor: Access) -> None:
    assert found(auditor, digest="AAAA") == found(auditor, digest="aaaa") != []


def test_an_unknown_kind_is_no_filter() -> None:
    form = LogFilterForm({"kind": "tag.exploded"})
    assert not form.is_valid()
    assert "kind" in form.errors


# Periods.


@pytest.fixture
def days(acme: Workspace) -> None:
    """An event at the first and at the last moment of each of three days in March."""
    with without_triggers():
        LockEvent.objects.all().delete()
    for number, day in enumerate((10, 11, 12)):
        start = datetime(2026, 3, day, tzinfo=UTC)
        for name, moment in (("first", start), ("last", start + timedelta(hours=23.9999))):
            LockEvent.objects.create(
                ref=f"{number}{name}",
                at=moment,
                workspace="acme",
                kind="tag.locked",
                tag=f"{day}-{name}",
                actor="dana",
                actor_kind="registry",
            )


@pytest.mark.usefixtures("days")
@pytest.mark.parametrize(
    ("since", "until", "tags"),
    [
        ("2026-03-11", "", ["12-last", "12-first", "11-last", "11-first"]),
        ("", "2026-03-10", ["10-last", "10-first"]),
        ("2026-03-11", "2026-03-11", ["11-last", "11-first"]),
        ("2026-03-13", "", []),
        ("", "2026-03-09", []),
        ("2026-03-01", "2026-03-31", None),
    ],
)
def test_a_period_begins_and_ends_with_whole_days_in_utc(
    auditor: Access, since: str, until: str, tags: list[str] | None
) -> None:
    expected = tags if tags is not None else found(auditor)
    assert found(auditor, since=since, until=until) == expected


def test_a_period_that_ends_before_it_begins_is_refused() -> None:
    form = LogFilterForm({"since": "2026-03-12", "until": "2026-03-11"})
    assert not form.is_valid()
    assert form.errors["until"] == ["The period ends before it begins."]


@pytest.mark.parametrize("day", ["yesterday", "2026-02-30", "2026"])
def test_what_is_no_day_is_refused(day: str) -> None:
    assert not LogFilterForm({"since": day}).is_valid()


@pytest.mark.usefixtures("days")
def test_the_last_day_of_the_calendar_is_a_day_too(auditor: Access) -> None:
    assert len(found(auditor, until=date.max.isoformat())) == 6


# Pages.


def read_pages(access: Access, limit: int, **wanted: str) -> list[list[str]]:
    """Follow every page to the end; return the refs on each."""
    form = LogFilterForm(wanted)
    assert form.is_valid()
    pages: list[list[str]] = []
    before = ""
    while True:
        page = find_events(access, form, before, limit)
        pages.append([event.ref for event in page.events])
        before = page.older_before
        if not before:
            return pages
        assert len(pages) < 100, "the pages never end"


def write(workspace: str, how_many: int) -> None:
    append_events(
        [Event(EventKind.TAG_LOCKED, workspace, f"{workspace}/api", f"t{n}") for n in
         range(how_many)],
        actor=DANA,
    )  # fmt: skip


@pytest.mark.parametrize("limit", [1, 3, 8, 9, 10, 50])
def test_paging_gives_every_event_exactly_once(
    acme: Workspace, globex: Workspace, auditor: Access, limit: int
) -> None:
    for _ in range(4):
        write("acme", 2)
        write("globex", 3)
    pages = read_pages(auditor, limit)
    newest_first = LockEvent.objects.filter(workspace="acme").order_by("-id")
    assert [ref for page in pages for ref in page] == [event.ref for event in newest_first]
    assert all(len(page) == limit for page in pages[:-1])
    assert pages[-1]


@pytest.mark.parametrize("limit", [1, 3, 4])
def test_events_of_one_moment_come_once_each_latest_first(
    acme: Workspace, auditor: Access, limit: int
) -> None:
    at = datetime(2020, 3, 1, 12, tzinfo=UTC)
    for number in range(7):
        write_at(at, ref=f"{number:012}")
    refs = [ref for page in read_pages(auditor, limit, until="2020-12-31") for ref in page]
    assert refs == [f"{number:012}" for number in reversed(range(7))]


def test_the_order_is_that_of_time_even_where_rows_were_written_in_another(
    acme: Workspace, auditor: Access
) -> None:
    for number in (3, 1, 2):
        write_at(datetime(2020, 3, number, tzinfo=UTC), ref=f"{number:012}")
    refs = [ref for page in read_pages(auditor, 2, until="2020-12-31") for ref in page]
    assert refs == ["000000000003", "000000000002", "000000000001"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("wanted", [{}, {"digest": "aaaa"}])
def test_the_way_back_shows_the_same_pages(
    acme: Workspace, auditor: Access, limit: int, wanted: dict[str, str]
) -> None:
    for number in range(11):
        append_event(
            Event(EventKind.TAG_LOCKED, "acme", "acme/api", f"t{number}", digest=AA), actor=DANA
        )
    form = LogFilterForm({"kind": "tag.locked", **wanted})
    assert form.is_valid()
    pages = [find_events(auditor, form, "", limit)]
    while pages[-1].older_before:
        pages.append(find_events(auditor, form, pages[-1].older_before, limit))
    assert pages[0].newer_after == ""
    page = pages[-1]
    newer: list[str] = []
    while page.newer_after:
        assert len(newer) < 100, "the pages never end"
        page = find_events(auditor, form, limit=limit, after=page.newer_after)
        newer = [event.ref for event in page.events] + newer
        assert page.older_before
    newest_first = [event.ref for each in pages for event in each.events]
    assert len(newest_first) == 11
    before_the_last = newest_first[: -len(pages[-1].events)]
    assert newer == before_the_last


def test_after_the_newest_event_there_is_nothing(acme: Workspace, auditor: Access) -> None:
    write("acme", 3)
    form = LogFilterForm({})
    assert form.is_valid()
    newest = find_events(auditor, form).events[0]
    assert find_events(auditor, form, after=newest.ref).events == []
    write("acme", 2)
    page = find_events(auditor, form, after=newest.ref)
    assert [event.tag for event in page.events] == ["t1", "t0"]
    assert page.newer_after == ""


def test_what_is_written_meanwhile_does_not_shift_the_pages(
    acme: Workspace, auditor: Access
) -> None:
    write("acme", 10)
    form = LogFilterForm({})
    assert form.is_valid()
    first = find_events(auditor, form, "", 4)
    write("acme", 10)
    second = find_events(auditor, form, first.older_before, 4)
    tags = [event.tag for event in [*first.events, *second.events]]
    assert tags == [f"t{number}" for number in (9, 8, 7, 6, 5, 4, 3, 2)]


def test_filters_hold_on_every_page(acme: Workspace, auditor: Access) -> None:
    for number in range(12):
        kind = EventKind.TAG_LOCKED if number % 2 else EventKind.PUSH_REFUSED
        append_event(Event(kind, "acme", "acme/api", f"t{number}"), actor=DANA)
    pages = read_pages(auditor, 4, kind="tag.locked")
    assert [len(page) for page in pages] == [4, 2]


def test_a_full_last_page_has_no_next_one(acme: Workspace, auditor: Access) -> None:
    write("acme", 7)
    assert [len(page) for page in read_pages(auditor, 4)] == [4, 4]


def test_an_empty_log_has_one_empty_page(acme: Workspace, auditor: Access) -> None:
    with without_triggers():
        LockEvent.objects.all().delete()
    assert read_pages(auditor, 4) == [[]]


@pytest.mark.parametrize("before", ["NOSUCHREF000", "0"])
def test_an_unknown_place_shows_nothing(acme: Workspace, auditor: Access, before: str) -> None:
    write("acme", 3)
    form = LogFilterForm({})
    assert form.is_valid()
    assert find_events(auditor, form, before).events == []


def test_an_event_of_another_workspace_is_no_place_in_this_log(
    acme: Workspace, globex: Workspace, auditor: Access
) -> None:
    write("acme", 3)
    foreign = append_event(Event(EventKind.TAG_LOCKED, "globex"), actor=DANA)
    form = LogFilterForm({})
    assert form.is_valid()
    assert find_events(auditor, form, foreign.ref).events == []


@pytest.mark.parametrize(
    ("limit", "is_valid"), [("", True), ("1", True), ("200", True), ("0", False), ("201", False)]
)
def test_how_long_a_page_may_be(*, limit: str, is_valid: bool) -> None:
    assert LogListForm({"limit": limit}).is_valid() is is_valid


# Who sees what.


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize("role", list(Role))
def test_nobody_sees_events_of_another_workspace(
    acme: Workspace, globex: Workspace, role: Role
) -> None:
    assert {event.workspace for event in visible_events(access_of(acme, role))} == {"acme"}
    assert {event.workspace for event in visible_events(access_of(globex, role))} == {"globex"}
    assert "theirs" not in found(access_of(acme, role), digest=AA)


@pytest.mark.usefixtures("events")
def test_admins_and_auditors_see_everything_and_members_what_happened_to_tags(
    acme: Workspace,
) -> None:
    append_event(Event(EventKind.SETTINGS_CHANGED, "acme"), actor=SYSTEM)
    append_event(Event(EventKind.TOKEN_CREATED, "acme"), actor=SYSTEM)
    append_event(Event(EventKind.MEMBER_ADDED, "acme"), actor=SYSTEM)
    for role in (Role.ADMIN, Role.AUDITOR):
        assert found(access_of(acme, role)) == ["-", "-", "-", "v3", "v2", "v1", "-"]
    assert found(access_of(acme, Role.MEMBER)) == ["v3", "v2", "v1"]
    assert found(access_of(acme, Role.MEMBER), kind="settings.changed") == []


def test_what_a_member_may_not_see_is_no_place_in_their_log(acme: Workspace) -> None:
    write("acme", 3)
    hidden = append_event(Event(EventKind.SETTINGS_CHANGED, "acme"), actor=SYSTEM)
    form = LogFilterForm({})
    assert form.is_valid()
    assert find_events(access_of(acme, Role.MEMBER), form, hidden.ref).events == []


@pytest.mark.parametrize("scope", [Scope.PULL, Scope.PUSH, Scope.REGISTRY, Scope.ADMIN])
def test_a_token_without_the_scope_audit_reads_no_events(acme: Workspace, scope: Scope) -> None:
    token = Access(acme, Actor("ci", ActorKind.TOKEN), permissions_of_scopes([scope]))
    with pytest.raises(PermissionDenied):
        visible_events(token)


def test_a_token_with_the_scope_audit_reads_every_event(acme: Workspace) -> None:
    token = Access(acme, Actor("siem", ActorKind.TOKEN), permissions_of_scopes([Scope.AUDIT]))
    assert found(token) == ["-"]


# Searching.


def search_all(access: Access, text: str, *, limit: int = 2) -> tuple[list[str], int]:
    """Return the tags on all pages of a search, newest first, and how many pages there were."""
    form = LogFilterForm({"q": text})
    assert form.is_valid(), form.errors
    tags, before, pages = [], "", 0
    while True:
        page = find_events(access, form, before, limit)
        tags += [event.tag for event in page.events]
        pages += 1
        if not page.older_before:
            return tags, pages
        before = page.older_before


@pytest.fixture
def many(acme: Workspace) -> list[str]:
    """Twenty events, of which every fourth is of a release; their tags, newest first."""
    moment = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    tags = [f"{'release' if n % 4 == 0 else 'nightly'}-{n}" for n in range(20)]
    for number, tag in enumerate(tags):
        write_at(moment + timedelta(minutes=number // 3), tag=tag, actor=f"p{number % 2}")
    return tags[::-1]


@pytest.mark.parametrize("scanned", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize("text", ["RELEASE", "release", "e-", "api:r", "release p0"])
@pytest.mark.both_databases
def test_a_search_finds_everything_page_by_page(
    auditor: Access,
    many: list[str],
    monkeypatch: pytest.MonkeyPatch,
    scanned: int,
    text: str,
) -> None:
    monkeypatch.setattr(query, "MAX_SCANNED", scanned)
    expected = [tag for tag in many if tag.startswith("release")]
    assert search_all(auditor, text)[0] == expected


@pytest.mark.both_databases
def test_a_search_that_ends_early_says_so_unless_an_index_finds_the_rest(
    auditor: Access, many: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "MAX_SCANNED", 2)
    form = LogFilterForm({"q": "release-0"})
    assert form.is_valid()
    page = find_events(auditor, form)
    if is_postgresql():
        assert [event.tag for event in page.events] == ["release-0"]
        assert (page.is_whole, page.older_before) == (True, "")
    else:
        assert (page.events, page.is_whole) == ([], False)
        # The newest event is the making of the workspace.
        last = LockEvent.objects.get(tag=many[0])
        assert page.older_before == last.ref
    # Where the index finds too many, they are looked for page by page too.
    monkeypatch.setattr(query, "MAX_FOUND", 0)
    assert not find_events(auditor, form).is_whole
    assert search_all(auditor, "release-0") == (["release-0"], 11)


@pytest.mark.both_databases
def test_the_way_back_of_a_search_finds_what_the_way_there_did(
    auditor: Access, many: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "MAX_SCANNED", 3)
    monkeypatch.setattr(query, "MAX_FOUND", 0)
    form = LogFilterForm({"q": "release"})
    assert form.is_valid()
    tags: list[str] = []
    after = LockEvent.objects.get(tag=many[-1]).ref
    while after:
        page = find_events(auditor, form, limit=2, after=after)
        tags = [event.tag for event in page.events] + tags
        after = page.newer_after
    assert tags == [tag for tag in many if tag.startswith("release")][:-1]


@pytest.mark.both_databases
def test_a_search_finds_nothing_that_the_caller_may_not_read(acme: Workspace) -> None:
    write_at(timezone.now(), kind="settings.changed", repository="", tag="", actor="erin")
    write_at(timezone.now(), workspace="globex", actor="erin")
    write_at(timezone.now(), tag="ours", actor="erin")
    assert search_all(access_of(acme, Role.MEMBER), "erin")[0] == ["ours"]
    assert search_all(access_of(acme, Role.AUDITOR), "erin")[0] == ["ours", ""]

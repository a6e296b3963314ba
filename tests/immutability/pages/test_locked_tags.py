"""The page "Locked tags": what each role finds there, search, filters, paging."""

import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from containers.models import Tag as TagRecord
from immutability import locked_tags
from immutability.locked_tags import LOCKED_TAGS_PER_PAGE
from immutability.models import LockedTag
from immutability.policy.protection import LockState, Policy, PolicyRule, Protection
from tests.conftest import AA, BB, SEMVER
from tests.immutability.making import make_lock, put_in_flight
from tests.page import Browser, Page, read_errors
from workspaces.access import SYSTEM
from workspaces.models import User, Workspace

LOCKED_TAGS = "/acme/locked-tags/"


def tags_of(page: Page) -> list[str]:
    """Return the tags in the table, in its order."""
    return [row[0] for row in page.rows]


def make_locks(workspace: Workspace, count: int) -> None:
    """Lock the tags n0, n1, n2 and so on."""
    for number in range(count):
        make_lock(workspace, f"n{number}")


@pytest.fixture
def protected(acme: Workspace, protect: Callable[..., Policy]) -> Workspace:
    """A workspace that protects all tags."""
    protect(acme, Protection.ALL)
    return acme


@pytest.fixture
def every_state(protected: Workspace) -> Workspace:
    """A workspace with a lock in each state, its tag named after it."""
    for state in LockState:
        make_lock(protected, state.value, state)
    put_in_flight(LockedTag.objects.get(tag="claimed"), write_is_external=True)
    return protected


# The table.


def test_a_lock_is_shown_whole(
    acme: Workspace, member: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    make_lock(acme, "v1.0.0", digest=BB, rule_name=SEMVER.name)
    page = member.open(LOCKED_TAGS)
    locked_at = LockedTag.objects.get().locked_at
    assert page.rows == [
        [
            "acme/api:v1.0.0",
            "Locked",
            f"{BB} Copy the digest of v1.0.0",
            "dana",
            f"{locked_at:%Y-%m-%d} by Release versions",
            "Actions for acme/api:v1.0.0 History",
        ]
    ]
    assert page.find("caption").text == "1 tag, latest first"
    assert page.heading == "Locked tags"


def test_a_digest_is_shown_short_and_copied_whole(protected: Workspace, member: Browser) -> None:
    make_lock(protected, "v1")
    code = member.open(LOCKED_TAGS).find("code", class_="digest")
    assert code["title"] == code.text == AA
    assert code.find(class_="digest-rest").text == "a" * 52


def test_a_time_can_be_read_by_programs(protected: Workspace, member: Browser) -> None:
    make_lock(protected, "v1")
    time = member.open(LOCKED_TAGS).main.find("time")
    locked_at = LockedTag.objects.get().locked_at
    assert time["datetime"] == f"{locked_at:%Y-%m-%dT%H:%M:%SZ}"


def test_a_lock_that_no_rule_made_says_all_tags(protected: Workspace, member: Browser) -> None:
    make_lock(protected, "v1")
    assert member.open(LOCKED_TAGS).rows[0][4].endswith(" by All tags")


def test_an_adopted_tag_has_no_pusher(protected: Workspace, member: Browser) -> None:
    make_lock(protected, "v1", pushed_by="", pushed_by_kind="system")
    assert member.open(LOCKED_TAGS).rows[0][3] == "Not known"


def test_the_newest_lock_comes_first(protected: Workspace, member: Browser) -> None:
    make_lock(protected, "v2")
    make_lock(protected, "v1")
    make_lock(protected, "v3")
    page = member.open(LOCKED_TAGS)
    assert tags_of(page) == ["acme/api:v3", "acme/api:v1", "acme/api:v2"]
    assert page.find("caption").text == "3 tags, latest first"


def test_a_tag_leads_to_everything_that_happened_to_it(
    protected: Workspace, member: Browser
) -> None:
    make_lock(protected, "v1")
    make_lock(protected, "v2")
    member.open(LOCKED_TAGS)
    page = member.follow("acme/api:v1")
    assert page.heading == "acme/api:v1"


def test_each_state_is_said_in_words(every_state: Workspace, member: Browser) -> None:
    page = member.open(LOCKED_TAGS)
    states = {row[0].removeprefix("acme/api:"): row[1] for row in page.rows}
    assert states == {
        "locked": "Locked",
        "reserved": "Reserved",
        "claimed": "Claimed",
        "released": "Released",
        "deleting": "Deleting",
    }
    [reserved] = [row[4] for row in page.rows if row[1] == "Reserved"]
    assert re.fullmatch(r"Deleted 20[0-9-]{8} by alice", reserved)


def test_a_lock_that_the_settings_do_not_cover_is_suspended(
    acme: Workspace, member: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.ALL)
    make_lock(acme, "v1.0.0")
    make_lock(acme, "latest")
    protect(acme, Protection.SOME, SEMVER)
    page = member.open(LOCKED_TAGS)
    assert {row[0]: row[1] for row in page.rows} == {
        "acme/api:latest": "Suspended",
        "acme/api:v1.0.0": "Locked",
    }
    assert "every lock is suspended" not in page.main.text


def test_where_nothing_is_protected_the_page_says_that_every_lock_is_suspended(
    acme: Workspace, member: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.ALL)
    make_lock(acme, "v1")
    protect(acme, Protection.NONE)
    page = member.open(LOCKED_TAGS)
    assert "No tags are protected now: every lock is suspended." in page.main.text
    assert page.rows[0][1] == "Suspended"


def test_a_hostile_rule_name_is_shown_as_text(
    acme: Workspace, member: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, PolicyRule('<script>"&', "."))
    make_lock(acme, "v1", rule_name='<script>"&')
    page = member.open(LOCKED_TAGS)
    assert page.rows[0][4].endswith(' by <script>"&')
    assert page.main.find_all("script") == []


# Each role.


def test_admins_are_offered_what_each_state_allows(every_state: Workspace, admin: Browser) -> None:
    page = admin.open(LOCKED_TAGS)
    offered = {
        row.find("th").text.removeprefix("acme/api:"): [
            link.text.split(" acme/")[0]
            for link in row.find(class_="menu").find_all("a")
            if link.text != "History"
        ]
        for row in page.find("tbody").find_all("tr")
    }
    assert offered == {
        "locked": ["Release lock…", "Delete tag…"],
        "reserved": ["Free name…"],
        "released": ["Delete tag…"],
        "claimed": ["Drop claim…"],
        "deleting": [],
    }


def test_each_action_names_its_tag_for_who_cannot_see_the_row(
    protected: Workspace, admin: Browser
) -> None:
    make_lock(protected, "v1")
    links = admin.open(LOCKED_TAGS).main.find(class_="menu").find_all("a")
    assert [link.text for link in links] == [
        "History",
        "Release lock… acme/api:v1",
        "Delete tag… acme/api:v1",
    ]


@pytest.mark.parametrize("role", ["member", "auditor"])
def test_others_are_offered_nothing(
    request: pytest.FixtureRequest, every_state: Workspace, role: str
) -> None:
    browser: Browser = request.getfixturevalue(role)
    page = browser.open(LOCKED_TAGS)
    assert len(page.rows) == 5
    assert page.main.find_all(type="checkbox") == []
    assert page.main.find_all("form", method="post") == []
    assert [link for link in page.main.find_all("a") if "/delete/" in link["href"]] == []
    assert page.main.find_all("script") == []


def test_strangers_find_no_page(
    every_state: Workspace, mallory: User, sign_in: Callable[[User], Client]
) -> None:
    Browser(sign_in(mallory)).open(LOCKED_TAGS, status=404)


def test_the_locks_of_another_workspace_are_not_listed(
    protected: Workspace, globex: Workspace, member: Browser, protect: Callable[..., Policy]
) -> None:
    protect(globex, Protection.ALL)
    make_lock(globex, "v1")
    assert member.open(LOCKED_TAGS).find_all("table") == []


# Search and filters.


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("v1", ["v1.0.0"]),
        ("LATEST", ["latest"]),
        ("acme/api", ["latest", "v1.0.0"]),
        (" latest ", ["latest"]),
        ("%", []),
        ("_", []),
        ("nothing", []),
    ],
)
def test_search_finds_text_in_repository_and_tag(
    protected: Workspace, member: Browser, text: str, found: list[str]
) -> None:
    make_lock(protected, "v1.0.0")
    make_lock(protected, "latest")
    member.open(LOCKED_TAGS)
    page = member.press("Search", q=text)
    assert page.main.find(name="q")["value"] == text
    if found:
        assert tags_of(page) == [f"acme/api:{tag}" for tag in found]
    else:
        assert page.find(class_="empty").text == "No locked tag matches."


@pytest.mark.parametrize("state", ["locked", "reserved", "released", "claimed", "deleting"])
def test_each_state_can_be_filtered(every_state: Workspace, member: Browser, state: str) -> None:
    member.open(LOCKED_TAGS)
    page = member.follow(state.capitalize())
    assert tags_of(page) == [f"acme/api:{state}"]
    [current] = page.main.find_all(class_="chip", aria_current="true")
    assert current.text == state.capitalize()
    assert parse_qs(urlsplit(page.path).query) == {"state": [state]}


def test_suspended_can_be_filtered_and_is_no_other_state(
    every_state: Workspace, member: Browser, protect: Callable[..., Policy]
) -> None:
    protect(every_state, Protection.SOME, PolicyRule("Some", "^(locked|released)$"))
    page = member.open(f"{LOCKED_TAGS}?state=suspended")
    assert sorted(tags_of(page)) == [
        f"acme/api:{tag}" for tag in ("claimed", "deleting", "reserved")
    ]
    assert tags_of(member.open(f"{LOCKED_TAGS}?state=locked")) == ["acme/api:locked"]
    page = member.open(f"{LOCKED_TAGS}?state=reserved")
    assert page.find(class_="empty").text == "No locked tag matches."


def test_search_and_state_are_combined_and_can_be_cleared(
    every_state: Workspace, member: Browser
) -> None:
    member.open(LOCKED_TAGS)
    member.follow("Released")
    page = member.press("Search", q="ed")
    assert tags_of(page) == ["acme/api:released"]
    page = member.follow("Remove filter ed")
    assert tags_of(page) == ["acme/api:released"]
    page = member.follow("All")
    assert len(page.rows) == 5
    assert "Clear search" not in [link.text for link in page.find_all("a")]


def test_an_unknown_state_is_an_error(every_state: Workspace, member: Browser) -> None:
    page = member.open(f"{LOCKED_TAGS}?state=open")
    errors = read_errors(page)
    assert list(errors) == ["id_state"]
    assert "Must be one of: claimed, locked, " in errors["id_state"]


def test_a_search_that_is_too_long_is_an_error(protected: Workspace, member: Browser) -> None:
    page = member.open(f"{LOCKED_TAGS}?q={'x' * 1001}")
    assert list(read_errors(page)) == ["id_q"]


@pytest.mark.parametrize(
    "query",
    [
        "q=%00",
        "state=%00",
        "before=abc",
        "before=-1",
        "before=%C2%B2",
        "before=%00",
        "before=" + "9" * 30,
        "before=" + "9" * 5000,
        "q=%FF",
        "nonsense=1",
    ],
    ids=lambda query: query[:40],
)
def test_garbage_in_the_address_breaks_nothing(
    protected: Workspace, member: Browser, query: str
) -> None:
    make_lock(protected, "v1")
    member.client.raise_request_exception = False
    assert member.open(f"{LOCKED_TAGS}?{query}").heading == "Locked tags"


@pytest.mark.parametrize("text", ["acme/api:latest", "api:latest", f"acme/api@{BB}"])
def test_a_tag_without_a_lock_is_looked_for_in_its_repository(
    protected: Workspace, member: Browser, text: str
) -> None:
    make_lock(protected, "v1")
    TagRecord.objects.create(workspace=protected, repository="acme/api", name="latest", digest=BB)
    member.open(LOCKED_TAGS)
    page = member.press("Search", q=text)
    assert page.find(class_="empty").text.startswith("No locked tag matches.")
    page = member.follow("Search all tags of acme/api")
    assert page.heading == "acme/api"
    assert page.rows[0][0] == "latest"


def test_the_oldest_lock_can_come_first(protected: Workspace, member: Browser) -> None:
    make_locks(protected, 60)
    member.open(LOCKED_TAGS)
    page = member.press("Sort", sort="oldest")
    assert tags_of(page) == [f"acme/api:n{number}" for number in range(50)]
    page = member.follow("Newer locked tags")
    assert tags_of(page) == [f"acme/api:n{number}" for number in range(50, 60)]


def test_one_repository_alone_can_be_listed_and_is_a_chip(
    protected: Workspace, member: Browser
) -> None:
    make_lock(protected, "v1")
    make_lock(protected, "v2", repository="acme/apis")
    page = member.open(f"{LOCKED_TAGS}?repository=acme/api&q=v")
    assert tags_of(page) == ["acme/api:v1"]
    page = member.follow("Remove filter acme/api")
    assert tags_of(page) == ["acme/apis:v2", "acme/api:v1"]


# Nothing there.


def test_without_protection_the_empty_page_says_what_to_do_first(
    acme: Workspace, member: Browser
) -> None:
    page = member.open(LOCKED_TAGS)
    empty = page.find(class_="empty")
    assert empty.text.startswith("No tag is locked yet Choose what to protect in")
    link = empty.find("a")
    assert (link.text, link["href"]) == (
        "Container settings",
        "/acme/settings/packages/containers/",
    )


def test_with_protection_the_empty_page_shows_a_command_to_copy(
    protected: Workspace, member: Browser
) -> None:
    empty = member.open(LOCKED_TAGS).find(class_="empty")
    assert "The first push of a protected tag locks it." in empty.text
    command = empty.find("pre").text
    assert command.startswith("curl http://testserver/api/v1/check-push")
    assert '"repository": "acme/api"' in command


# Paging.


def test_many_locks_come_in_pages_that_miss_none(protected: Workspace, member: Browser) -> None:
    make_locks(protected, 2 * LOCKED_TAGS_PER_PAGE + 3)
    page = member.open(LOCKED_TAGS)
    assert page.find("caption").text == "50 tags, latest first, with more on the next page"
    seen = tags_of(page)
    assert tags_of(member.follow("Older locked tags"))[0] == "acme/api:n52"
    seen += tags_of(member.page)
    page = member.follow("Older locked tags")
    seen += tags_of(page)
    assert seen == [f"acme/api:n{number}" for number in reversed(range(103))]
    assert page.find_all("a", rel="next") == []


def test_exactly_one_page_has_no_next(protected: Workspace, member: Browser) -> None:
    make_locks(protected, LOCKED_TAGS_PER_PAGE)
    page = member.open(LOCKED_TAGS)
    assert len(page.rows) == LOCKED_TAGS_PER_PAGE
    assert page.find_all("a", rel="next") == []


def test_the_next_page_keeps_the_filters(protected: Workspace, member: Browser) -> None:
    make_locks(protected, 60)
    make_lock(protected, "other")
    member.open(f"{LOCKED_TAGS}?q=n&state=locked")
    page = member.follow("Older locked tags")
    query = parse_qs(urlsplit(page.path).query)
    assert (query["q"], query["state"]) == (["n"], ["locked"])
    assert tags_of(page) == [f"acme/api:n{number}" for number in reversed(range(10))]
    assert page.main.find(name="q")["value"] == "n"


def test_a_search_from_a_later_page_begins_at_the_first(
    protected: Workspace, member: Browser
) -> None:
    make_locks(protected, 60)
    member.open(LOCKED_TAGS)
    member.follow("Older locked tags")
    page = member.press("Search", q="n59")
    assert tags_of(page) == ["acme/api:n59"]


def test_behind_the_last_lock_there_is_nothing(protected: Workspace, member: Browser) -> None:
    make_lock(protected, "v1")
    page = member.open(f"{LOCKED_TAGS}?before={LockedTag.objects.get().id}")
    assert page.find(class_="empty").text == "No locked tag matches."


def test_a_lock_of_the_system_is_listed_too(protected: Workspace, member: Browser) -> None:
    make_lock(protected, "v1", pushed_by=SYSTEM.name, pushed_by_kind=SYSTEM.kind)
    assert member.open(LOCKED_TAGS).rows[0][3] == "Taglock"


# Where there are many.


def test_a_page_that_stops_early_says_so(
    protected: Workspace, member: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locked_tags, "MAX_SCANNED", 10)
    make_locks(protected, 25)
    page = member.open("/acme/locked-tags/?q=n2")
    assert page.find("caption").text == (
        "5 tags, latest first; the search continues on the next page"
    )
    page = member.open("/acme/locked-tags/?q=zz")
    assert page.find("p", class_="empty").text.startswith("No locked tag matches so far.")
    while page.find_all("a", rel="next"):
        page = member.follow("Older locked tags")
    assert page.find("p", class_="empty").text == "No locked tag matches."

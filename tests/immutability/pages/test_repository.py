"""A repository's page: its tags, their states, search, chips, paging, and who is offered what."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.utils import timezone

from containers.models import Manifest, Repository
from containers.models import Tag as TagRecord
from immutability import repository_tags
from immutability.models import LockedTag
from immutability.policy.protection import LockState, Policy, Protection
from immutability.repository_tags import TAGS_PER_PAGE
from tests.conftest import AA, BB, SEMVER
from tests.immutability.making import land, make_lock, put_in_flight
from tests.page import Browser, Page, read_errors
from workspaces.models import User, Workspace

PAGE = "/acme/repositories/acme/api/"


def show(workspace: Workspace, name: str, digest: str = AA, **fields: Any) -> TagRecord:
    """Let the registry have shown a tag that nothing has locked."""
    Repository.objects.get_or_create(workspace=workspace, name="acme/api")
    return TagRecord.objects.create(
        workspace=workspace, repository="acme/api", name=name, digest=digest, **fields
    )


def tags_of(page: Page) -> list[str]:
    """Return the tags in the table, in its order."""
    return [row.find("th").text for row in page.find("tbody").find_all("tr")]


def chips_of(page: Page) -> list[str]:
    return [chip.text for chip in page.main.find_all(class_="chip")]


@pytest.fixture
def every_state(acme: Workspace, protect: Callable[..., Policy], settings: Any) -> Workspace:
    """A repository with a tag of each state, named after it, before a registry."""
    settings.REGISTRY_URL = "http://registry.internal:5000"
    protect(acme, Protection.SOME, SEMVER)
    for number, state in enumerate(LockState):
        make_lock(acme, f"v1.0.{number}", state, rule_name=SEMVER.name)
    put_in_flight(LockedTag.objects.get(state="claimed"), write_is_external=True)
    make_lock(acme, "suspended")
    show(acme, "mutable")
    show(acme, "v9.0.0")
    return acme


# The table.


def test_a_tag_is_shown_whole(
    acme: Workspace, member: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    row = make_lock(acme, "v1.0.0", digest=BB, rule_name=SEMVER.name)
    push = land(acme, BB, "v1.0.0")
    Manifest.objects.create(workspace=acme, repository="acme/api", digest=BB, image_size=31_744_512)
    page = member.open(PAGE)
    assert page.heading == "acme/api"
    assert page.rows == [
        [
            "v1.0.0",
            "Locked",
            f"{BB} Copy the digest of v1.0.0",
            "30.3 MB",
            f"{push.at:%Y-%m-%d %H:%M} by dana",
            f"{row.locked_at:%Y-%m-%d} by Release versions",
            "Actions for acme/api:v1.0.0 History",
        ]
    ]


def test_each_state_is_said_in_words(every_state: Workspace, member: Browser) -> None:
    rows = {row[0]: (row[1], row[5]) for row in member.open(PAGE).rows}
    states = {tag: state for tag, (state, _) in rows.items()}
    assert states == {
        "v1.0.0": "Claimed",
        "v1.0.1": "Locked",
        "v1.0.2": "Reserved",
        "v1.0.3": "Released",
        "v1.0.4": "Deleting",
        "suspended": "Suspended",
        "mutable": "Mutable",
        "v9.0.0": "Covered",
    }
    assert re.fullmatch(r"Deleted 20[0-9-]{8} by alice", rows["v1.0.2"][1])
    assert rows["mutable"][1] == "–"
    assert rows["v9.0.0"][1] == "At its next push"


def test_a_reserved_name_has_no_digest(acme: Workspace, member: Browser) -> None:
    make_lock(acme, "v1", "reserved")
    assert member.open(PAGE).rows[0][2] == "None"


def test_the_last_push_comes_first_and_names_can_be_sorted(
    acme: Workspace, member: Browser
) -> None:
    now = timezone.now()
    for days, name in enumerate(("b", "c", "a")):
        show(acme, name, pushed_at=now - timedelta(days=days))
    show(acme, "never")
    page = member.open(PAGE)
    assert tags_of(page) == ["b", "c", "a", "never"]
    page = member.press("Sort", sort="name")
    assert tags_of(page) == ["a", "b", "c", "never"]
    assert page.main.find("option", selected=True)["value"] == "name"


def test_a_tag_leads_to_its_page_and_back(acme: Workspace, member: Browser) -> None:
    show(acme, "v1")
    member.open(PAGE)
    page = member.follow("v1")
    assert page.heading == "acme/api:v1"
    assert member.follow("acme/api").path == PAGE


def test_repositories_with_slashes_have_pages(acme: Workspace, member: Browser) -> None:
    for name in ("acme/team/api", "acme/team/visibility", "acme/team"):
        Repository.objects.create(workspace=acme, name=name)
        assert member.open(f"/acme/repositories/{name}/").heading == name


# Search.


def test_what_is_pasted_is_searched_and_marked(acme: Workspace, member: Browser) -> None:
    for name in ("v1.2.0", "v1.2.0-alpine", "v2"):
        show(acme, name)
    member.open(PAGE)
    page = member.press("Search", q="registry.example.com/acme/api:v1.2.0")
    assert sorted(tags_of(page)) == ["v1.2.0", "v1.2.0-alpine"]
    assert {mark.text for mark in page.main.find_all("mark")} == {"v1.2.0"}
    assert "Tags that begin with v1.2.0." in page.main.text
    page = member.follow("Clear search")
    assert len(tags_of(page)) == 3


def test_a_search_for_another_repository_leads_there(acme: Workspace, member: Browser) -> None:
    show(acme, "v1")
    member.open(PAGE)
    page = member.press("Search", q="acme/web:v1")
    assert "This search is for another repository." in page.find(class_="empty").text
    page = member.follow("Search all locked tags")
    assert page.main.find(name="q")["value"] == "acme/web:v1"


def test_nothing_found_is_said(acme: Workspace, member: Browser) -> None:
    show(acme, "v1")
    assert member.open(f"{PAGE}?q=zz").find(class_="empty").text == "No tag matches."


@pytest.mark.parametrize(
    ("query", "field"),
    [("q=" + "x" * 1001, "id_q"), ("state=open", "id_state"), ("sort=size", "id_sort")],
)
def test_a_bad_filter_is_an_error(acme: Workspace, member: Browser, query: str, field: str) -> None:
    show(acme, "v1")
    assert list(read_errors(member.open(f"{PAGE}?{query}"))) == [field]


@pytest.mark.parametrize(
    "query", ["after=x", "after=-", "after=%00", "after=" + "9" * 200, "nonsense=1", "q=%00"]
)
def test_garbage_in_the_address_breaks_nothing(
    acme: Workspace, member: Browser, query: str
) -> None:
    show(acme, "v1")
    member.client.raise_request_exception = False
    page = member.open(f"{PAGE}?{query}")
    assert page.heading == "acme/api"
    assert page.title.startswith("Error: ")


# Chips.


def test_chips_count_the_states_and_choose_one(every_state: Workspace, member: Browser) -> None:
    page = member.open(PAGE)
    assert chips_of(page) == [
        "All 8",
        *(f"{state} 1" for state in ("Locked", "Mutable", "Covered", "Suspended", "Released")),
        *(f"{state} 1" for state in ("Reserved", "Claimed", "Deleting")),
    ]
    page = member.follow("Mutable 1")
    assert tags_of(page) == ["mutable"]
    [current] = page.main.find_all(class_="chip", aria_current="true")
    assert current.text == "Mutable 1"
    page = member.press("Search", q="v1")
    assert page.find(class_="empty").text == "No tag matches."
    assert chips_of(page)[0] == "All 5"


def test_a_chip_keeps_the_search_and_begins_at_the_first_page(
    acme: Workspace, member: Browser
) -> None:
    for number in range(TAGS_PER_PAGE + 5):
        show(acme, f"v{number}")
    member.open(f"{PAGE}?q=v&sort=name")
    member.follow("More tags")
    page = member.follow(f"Mutable {TAGS_PER_PAGE + 5}")
    assert parse_qs(urlsplit(page.path).query) == {
        "q": ["v"],
        "sort": ["name"],
        "state": ["mutable"],
    }


def test_many_are_counted_as_at_least_so_many(
    acme: Workspace, member: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository_tags, "MAX_COUNTED", 3)
    for number in range(5):
        show(acme, f"v{number}")
    assert chips_of(member.open(PAGE))[:3] == [
        "All at least 3",
        "Locked at least 0",
        "Mutable at least 3",
    ]


# Paging.


@pytest.mark.parametrize("sort", ["", "name"])
def test_many_tags_come_in_pages_that_miss_none(
    acme: Workspace, member: Browser, sort: str
) -> None:
    now = timezone.now()
    for number in range(2 * TAGS_PER_PAGE + 3):
        show(acme, f"n{number:03}", pushed_at=now if number < 60 else None)
    page = member.open(f"{PAGE}?sort={sort}")
    seen = tags_of(page)
    assert len(seen) == TAGS_PER_PAGE
    while page.find_all("a", rel="next"):
        page = member.follow("More tags")
        seen += tags_of(page)
    assert sorted(seen) == [f"n{number:03}" for number in range(103)]
    assert tags_of(member.follow("First page")) == seen[:TAGS_PER_PAGE]


def test_a_page_that_stops_early_says_so(
    acme: Workspace, member: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository_tags, "MAX_SCANNED", 10)
    for number in range(25):
        show(acme, f"n{number}")
    page = member.open(f"{PAGE}?q=zz")
    assert page.find("p", class_="empty").text.startswith("No tag matches so far.")
    assert "This repository has very many tags." in page.main.text
    while page.find_all("a", rel="next"):
        page = member.follow("Look through more tags")
    assert page.find("p", class_="empty").text == "No tag matches."


def test_an_empty_repository_says_how_a_tag_appears(
    acme: Workspace, member: Browser, settings: Any
) -> None:
    settings.REGISTRY_URL = "http://registry.internal:5000"
    Repository.objects.create(workspace=acme, name="acme/api")
    empty = member.open(PAGE).find(class_="empty")
    assert "A tag appears with its first push." in empty.text
    assert empty.find("code").text == "docker push testserver/acme/api:v1.0.0"


# Who.


def offered(page: Page) -> dict[str, list[str]]:
    """Return what each row's menu offers beside the history."""
    return {
        row.find("th").text: [
            link.text.split(" acme/")[0]
            for link in row.find(class_="menu").find_all("a")
            if link.text != "History"
        ]
        for row in page.find("tbody").find_all("tr")
    }


def test_admins_are_offered_what_each_state_allows(every_state: Workspace, admin: Browser) -> None:
    assert offered(admin.open(PAGE)) == {
        "v1.0.0": ["Drop claim…"],
        "v1.0.1": ["Release lock…", "Delete tag…"],
        "v1.0.2": ["Free name…"],
        "v1.0.3": ["Delete tag…"],
        "v1.0.4": [],
        "suspended": ["Release lock…", "Delete tag…"],
        "mutable": ["Delete tag…"],
        "v9.0.0": ["Delete tag…"],
    }


def test_without_a_registry_an_unlocked_tag_cannot_be_deleted(
    acme: Workspace, admin: Browser
) -> None:
    show(acme, "v1")
    page = admin.open(PAGE)
    assert offered(page) == {"v1": []}
    assert "disabled" in page.main.find(type="checkbox").attributes


@pytest.mark.parametrize("role", ["member", "auditor"])
def test_others_are_offered_nothing(
    request: pytest.FixtureRequest, every_state: Workspace, role: str
) -> None:
    page = request.getfixturevalue(role).open(PAGE)
    assert set(map(tuple, offered(page).values())) == {()}
    assert page.main.find_all(type="checkbox") == []
    assert page.main.find_all("form", method="post") == []


@pytest.mark.parametrize(
    "path",
    [
        "/acme/repositories/acme/nowhere/",
        "/acme/repositories/globex/api/",
        "/acme/repositories/acme/",
        "/acme/repositories/acme/API/",
    ],
)
def test_what_is_no_repository_of_the_workspace_is_no_page(
    acme: Workspace, globex: Workspace, member: Browser, path: str
) -> None:
    make_lock(globex, "v1")
    show(acme, "v1")
    member.open(path, status=404)


def test_strangers_find_no_page(
    every_state: Workspace, mallory: User, sign_in: Callable[[User], Client]
) -> None:
    Browser(sign_in(mallory)).open(PAGE, status=404)

"""What moved while a change of settings was in force: the page, and the part of another one."""

from collections.abc import Callable
from typing import Any

import pytest

from immutability import moved
from immutability.policy.protection import Policy, Protection
from tests.conftest import AA, BB, SEMVER
from tests.immutability.making import land
from tests.page import Browser, Page, parse
from workspaces.log.models import LockEvent
from workspaces.models import Workspace


def save(acme: Workspace, protect: Callable[..., Policy], *tags: str) -> str:
    """Turn protection off, move some tags, and return the address of what moved."""
    protect(acme, Protection.SOME, SEMVER)
    for tag in tags:
        land(acme, AA, tag)
    protect(acme, Protection.NONE, SEMVER)
    for tag in tags:
        land(acme, BB, tag)
    ref = LockEvent.objects.filter(kind="settings.changed").latest("id").ref
    return f"/acme/lock-log/{ref}/moved/"


def open_part(browser: Browser, address: str) -> Page:
    """Open what a script puts into another page."""
    response = browser.client.get(address, headers={"HX-Request": "true"})
    assert response.status_code == 200
    return parse(response.content.decode())


@pytest.mark.parametrize("role", ["admin", "auditor"])
def test_each_tag_that_moved_is_named_with_both_images(
    request: pytest.FixtureRequest, acme: Workspace, protect: Callable[..., Policy], role: str
) -> None:
    browser: Browser = request.getfixturevalue(role)
    address = save(acme, protect, "v1.0.0", "v1.0.1")
    page = browser.open(address)
    assert page.heading == "What moved while this was in force"
    assert "Taglock turned protection off: Some tags → No tags." in page.main.text
    assert "until now" in page.main.text
    assert [row[:4] for row in page.rows] == [
        ["acme/api:v1.0.0", AA[7:19], BB[7:19], "dana"],
        ["acme/api:v1.0.1", AA[7:19], BB[7:19], "dana"],
    ]
    link = page.main.find("tbody").find_all("a")[0]
    assert link["href"] == "/acme/repositories/acme/api:v1.0.0/"


def test_an_event_of_settings_leads_to_it(
    acme: Workspace, auditor: Browser, protect: Callable[..., Policy]
) -> None:
    address = save(acme, protect, "v1.0.0")
    page = auditor.open(address.removesuffix("/moved/"))
    assert page.main.find(class_="moved-flush")["hx-get"] == address
    assert auditor.follow("Every tag that moved").path == address
    assert auditor.follow(address.split("/")[3]).path == address.removesuffix("/moved/")


def test_that_nothing_moved_is_said(
    acme: Workspace, auditor: Browser, protect: Callable[..., Policy]
) -> None:
    address = save(acme, protect)
    assert auditor.open(address).find(class_="empty").text == "No tag moved so far."
    protect(acme, Protection.ALL)
    page = auditor.open(address)
    assert page.find(class_="empty").text == "No tag moved."
    assert "when the settings were changed again" in page.main.text
    assert open_part(auditor, address).text == "No tag moved."


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (5, "Every tag that moved"),
        (7, "and 2 more: Every tag that moved"),
    ],
)
def test_the_part_of_another_page_has_the_first_ones(
    acme: Workspace, auditor: Browser, protect: Callable[..., Policy], count: int, said: str
) -> None:
    address = save(acme, protect, *(f"v1.0.{number}" for number in range(count)))
    part = open_part(auditor, address)
    assert len(part.find("tbody").find_all("tr")) == 5
    assert part.find_all("p")[-1].text == said
    assert part.find_all("h1") == []


def test_many_come_in_pages_that_miss_none(
    acme: Workspace,
    auditor: Browser,
    protect: Callable[..., Policy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(moved.find_moved, "__defaults__", (moved.Place(), 3))
    names = [f"v1.0.{number}" for number in range(8)]
    address = save(acme, protect, *names)
    page = auditor.open(address)
    seen = [row[0] for row in page.rows]
    while page.find_all("a", rel="next"):
        page = auditor.follow("Later ones")
        seen += [row[0] for row in page.rows]
    assert seen == [f"acme/api:{name}" for name in names]
    assert auditor.follow("The first ones").path == address


def test_where_a_page_looked_through_enough_the_next_one_looks_further(
    acme: Workspace,
    auditor: Browser,
    protect: Callable[..., Policy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(moved, "MAX_SCANNED", 2)
    address = save(acme, protect, "latest", "edge", "main", "v1.0.0")
    page = auditor.open(address)
    assert "There are more pushes to search." in page.find(class_="empty").text
    assert "Search further" in open_part(auditor, address).text
    assert auditor.follow("Search further").rows[0][0] == "acme/api:v1.0.0"


@pytest.mark.parametrize("query", ["push=x", "event=-1", "tga=1", "push=1&push=2"])
def test_a_place_that_cannot_be_read_is_said_to_be_so(
    acme: Workspace, auditor: Browser, protect: Callable[..., Policy], query: str
) -> None:
    address = save(acme, protect, "v1.0.0")
    page = auditor.open(f"{address}?{query}")
    assert page.title.startswith("Error: ")
    assert page.find(class_="summary")
    assert page.find_all("table") == []


def test_only_changes_of_settings_have_such_a_page(
    acme: Workspace, globex: Workspace, auditor: Browser, protect: Callable[..., Policy]
) -> None:
    protect(globex, Protection.ALL)
    others = LockEvent.objects.exclude(workspace="acme", kind="settings.changed")
    for ref in [*others.values_list("ref", flat=True), "0" * 12, "x", "%00" * 4]:
        auditor.open(f"/acme/lock-log/{ref}/moved/", 404)


def test_a_page_takes_as_many_queries_however_much_moved(
    acme: Workspace,
    auditor: Browser,
    protect: Callable[..., Policy],
    django_assert_num_queries: Callable[..., Any],
) -> None:
    address = save(acme, protect, *(f"v1.0.{number}" for number in range(30)))
    with django_assert_num_queries(9):
        auditor.open(address)

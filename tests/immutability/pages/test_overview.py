"""A workspace's start page."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.utils import timezone

from immutability.locked_tags import LockCount
from immutability.policy.protection import Policy, PolicyException, PolicyRule, Protection
from tests.conftest import CACHES, LATEST, SEMVER
from tests.immutability.making import make_lock
from tests.page import Browser, Page
from tests.workspaces.log.tampering import write_at
from workspaces.models import User, Workspace


def protection_of(page: Page) -> str:
    return page.facts["Protection"].removesuffix(" Container settings")


@pytest.mark.parametrize(
    ("protection", "rules", "said"),
    [
        (Protection.NONE, [], "No tags are protected"),
        (Protection.ALL, [SEMVER], "All tags are protected"),
        (Protection.SOME, [SEMVER], "Some tags are protected, by 1 rule"),
        (
            Protection.SOME,
            [SEMVER, PolicyRule("Production", "^prod$")],
            "Some tags are protected, by 2 rules",
        ),
    ],
)
def test_it_says_what_is_protected(
    acme: Workspace,
    member: Browser,
    protect: Callable[..., Policy],
    protection: Protection,
    rules: list[PolicyRule],
    said: str,
) -> None:
    protect(acme, protection, *rules)
    page = member.open("/acme/")
    assert protection_of(page) == said
    assert page.heading == "Acme"


@pytest.mark.parametrize(
    ("exceptions", "said"),
    [((LATEST,), "with 1 exception"), ((LATEST, CACHES), "with 2 exceptions")],
)
def test_it_says_that_all_has_exceptions(
    acme: Workspace,
    member: Browser,
    protect: Callable[..., Policy],
    exceptions: tuple[PolicyException, ...],
    said: str,
) -> None:
    protect(acme, Protection.ALL, exceptions=exceptions)
    assert protection_of(member.open("/acme/")) == f"All tags are protected, {said}"
    protect(acme, Protection.NONE, exceptions=exceptions)
    assert protection_of(member.open("/acme/")) == "No tags are protected"


def test_it_counts_the_locked_tags(
    acme: Workspace, member: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.ALL)
    for tag, state in (("v1", "locked"), ("v2", "locked"), ("v3", "reserved"), ("v4", "claimed")):
        make_lock(acme, tag, state)
    assert member.open("/acme/").facts["Locked tags"] == "2 Locked tags"


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (LockCount(10_000), "10,000"),
        (LockCount(10_000, is_exact=False), "more than 10,000"),
        (LockCount(1_200_000, is_exact=False, is_estimate=True), "about 1,200,000"),
    ],
    ids=str,
)
def test_a_number_that_is_not_exact_is_said_to_be(
    acme: Workspace, member: Browser, monkeypatch: pytest.MonkeyPatch, count: LockCount, said: str
) -> None:
    monkeypatch.setattr("immutability.pages.overview.count_locked", lambda _: count)
    assert member.open("/acme/").facts["Locked tags"] == f"{said} Locked tags"


def test_where_nothing_is_protected_admins_are_told_what_to_do_first(admin: Browser) -> None:
    page = admin.open("/acme/")
    empty = page.find("div", class_="empty")
    assert empty.text.startswith("No tags are protected, so anybody who may push can")
    assert empty.find("a")["href"] == "/acme/settings/packages/containers/"


@pytest.mark.parametrize("role", ["member", "auditor"])
def test_others_are_not_told_to_change_what_they_cannot(
    request: pytest.FixtureRequest, role: str
) -> None:
    browser: Browser = request.getfixturevalue(role)
    empty = browser.open("/acme/").find("div", class_="empty")
    assert empty.find_all("a") == []


def test_the_latest_five_events_are_shown_newest_first(
    acme: Workspace, member: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.ALL)
    for number in range(7):
        write_at(timezone.now(), tag=f"v{number}")
    page = member.open("/acme/")
    assert [row[2] for row in page.rows] == [f"acme/api:v{number}" for number in (6, 5, 4, 3, 2)]
    assert member.follow("The whole lock log").heading == "Lock log"


def test_members_see_the_events_of_tags_alone(acme: Workspace, member: Browser) -> None:
    page = member.open("/acme/")
    assert page.find_all("table") == []
    assert page.find("p", class_="empty").text == "Nothing has happened yet."


@pytest.mark.parametrize("role", ["admin", "auditor"])
def test_admins_and_auditors_see_every_event(
    request: pytest.FixtureRequest, acme: Workspace, role: str
) -> None:
    browser: Browser = request.getfixturevalue(role)
    kinds = [row[1] for row in browser.open("/acme/").rows]
    assert kinds == ["Member added", "Workspace created"]


def test_the_header_names_the_workspace_the_person_and_the_role(admin: Browser) -> None:
    page = admin.open("/acme/")
    assert page.find(class_="workspace-name").text == "Acme"
    here = page.find("nav", aria_label="Workspace").find("a", aria_current="page")
    assert here.text == "Overview"
    assert page.find(class_="who").text == "alice (admin)"


def test_strangers_find_no_page(
    acme: Workspace, mallory: User, sign_in: Callable[[User], Client]
) -> None:
    Browser(sign_in(mallory)).open("/acme/", status=404)


def test_who_is_not_signed_in_is_sent_to_sign_in_and_back(acme: Workspace) -> None:
    response = Client().get("/acme/")
    assert response.status_code == 302
    assert response.headers["Location"] == "/accounts/login/?next=/acme/"

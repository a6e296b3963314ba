"""The start page, and the way from it to the container settings."""

from collections.abc import Callable

import pytest
from django.test import Client

from tests.page import Browser
from workspaces.access import SYSTEM, Role
from workspaces.actions.members import add_member
from workspaces.models import User, Workspace


def test_somebody_in_no_workspace_is_told_what_to_do(
    db: None, sign_in: Callable[[User], Client]
) -> None:
    page = Browser(sign_in(User.objects.create_user("carol"))).open("/")
    assert page.heading == "Workspaces"
    assert "You are not in a workspace yet Ask an admin of one to invite you." in page.main.text
    assert "manage.py add_member acme carol --role admin" in page.find("pre").text


def test_somebody_in_one_workspace_is_led_straight_to_it(admin: Browser) -> None:
    page = admin.open("/")
    assert page.redirects == [("/acme/", 302)]
    assert page.heading == "Acme"


def test_somebody_in_several_workspaces_chooses(
    admin: Browser, alice: User, globex: Workspace
) -> None:
    add_member(globex, alice, Role.AUDITOR, actor=SYSTEM)
    page = admin.open("/")
    assert page.redirects == []
    assert [item.text for item in page.main.find_all("li")] == [
        "Acme acme Admin",
        "Globex globex Auditor",
    ]
    assert admin.follow("Globex").heading == "Globex"


def test_workspaces_of_others_are_not_listed(
    acme: Workspace, mallory: User, sign_in: Callable[[User], Client]
) -> None:
    assert Browser(sign_in(mallory)).open("/").heading == "Globex"


def test_a_hostile_workspace_name_is_shown_as_text(
    acme: Workspace, admin: Browser, alice: User, globex: Workspace
) -> None:
    add_member(globex, alice, Role.MEMBER, actor=SYSTEM)
    Workspace.objects.filter(slug="globex").update(name="<script>alert(1)</script>&amp;")
    page = admin.open("/")
    assert page.main.find_all("script") == []
    assert (
        admin.follow("<script>alert(1)</script>&amp;").heading == "<script>alert(1)</script>&amp;"
    )


@pytest.mark.parametrize("role", ["admin", "member", "auditor"])
def test_the_header_leads_to_the_container_settings(
    request: pytest.FixtureRequest, role: str
) -> None:
    browser: Browser = request.getfixturevalue(role)
    browser.open("/acme/")
    page = browser.follow("Settings")
    assert page.path == "/acme/settings/packages/containers/"
    assert page.heading == "Container settings"


@pytest.mark.parametrize("role", ["admin", "member", "auditor"])
def test_the_announced_way_leads_to_the_container_settings(
    request: pytest.FixtureRequest, role: str
) -> None:
    browser: Browser = request.getfixturevalue(role)
    browser.open("/acme/")
    browser.follow("Settings")
    assert browser.follow("Workspace settings").heading == "Workspace settings"
    assert browser.follow("Packages").heading == "Packages"
    link = browser.page.main.find("ul", class_="cards").find("a")
    assert link.text == "Container settings"
    page = browser.open(link["href"])
    assert page.path == "/acme/settings/packages/containers/"
    assert page.find("h2", id="immutable-tags").text == "Immutable tags"


@pytest.mark.parametrize(
    ("path", "here"),
    [
        ("/acme/settings/", "General"),
        ("/acme/settings/members/", "Members"),
        ("/acme/settings/packages/containers/", "Container settings"),
    ],
)
def test_the_settings_say_where_somebody_is(member: Browser, path: str, here: str) -> None:
    nav = member.open(path).find("nav", aria_label="Workspace settings")
    assert nav.find("a", aria_current="page").text == here


def test_the_workspaces_settings_show_what_it_is(acme: Workspace, member: Browser) -> None:
    facts = member.open("/acme/settings/").facts
    assert facts["Name"] == "Acme"
    assert facts["Slug"].startswith("acme ")
    assert facts["Created"] == f"{acme.created_at:%Y-%m-%d %H:%M} UTC"
    assert facts["Your role"] == "member"


def test_the_page_packages_says_where_somebody_is(member: Browser) -> None:
    crumbs = member.open("/acme/settings/packages/").find("nav", aria_label="Breadcrumb")
    assert [link.text for link in crumbs.find_all("a")] == ["Workspace settings", "Packages"]
    assert crumbs.find("a", aria_current="page").text == "Packages"


@pytest.mark.parametrize(
    ("path", "here"),
    [
        ("/acme/", "Overview"),
        ("/acme/repositories/", "Repositories"),
        ("/acme/locked-tags/", "Locked tags"),
        ("/acme/lock-log/", "Lock log"),
    ],
)
def test_the_header_says_where_somebody_is(member: Browser, path: str, here: str) -> None:
    nav = member.open(path).find("nav", aria_label="Workspace")
    assert [link.text for link in nav.find_all("a", aria_current=True)] == [here]


def test_a_tag_is_found_from_every_page(admin: Browser) -> None:
    admin.open("/acme/settings/")
    page = admin.press("Find", q="v1.0")
    assert (page.heading, page.path) == ("Locked tags", "/acme/locked-tags/?q=v1.0")
    assert page.main.find(name="q")["value"] == "v1.0"


def test_the_menu_leads_to_all_workspaces_and_to_the_api_reference(admin: Browser) -> None:
    admin.open("/acme/settings/")
    assert admin.follow("All workspaces").heading == "Acme"
    docs = admin.page.find("header").find_with_text("a", "API reference")
    assert admin.client.get(docs["href"]).status_code == 200


@pytest.mark.parametrize("path", ["/acme/settings/", "/acme/settings/packages/", "/acme/lock-log/"])
def test_strangers_find_no_page(
    acme: Workspace, mallory: User, sign_in: Callable[[User], Client], path: str
) -> None:
    Browser(sign_in(mallory)).open(path, 404)


def test_who_is_not_signed_in_is_sent_to_sign_in(db: None) -> None:
    page = Browser(Client()).open("/")
    assert page.redirects == [("/accounts/login/?next=/", 302)]
    assert page.heading == "Sign in"


def test_a_role_that_was_taken_away_counts_at_once(admin: Browser, alice: User) -> None:
    admin.open("/acme/")
    alice.memberships.all().delete()
    admin.open("/acme/", 404)
    assert admin.open("/").heading == "Workspaces"

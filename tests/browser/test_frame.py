"""The frame of every page in a real browser: header, menus, forced colours, narrow screens."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from workspaces.models import User, Workspace

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SETTINGS = "/acme/settings/packages/containers/"


@pytest.fixture
def page(acme: Workspace, alice: User, signed_in_page: Callable[..., Page]) -> Page:
    return signed_in_page(alice)


@pytest.mark.parametrize("options", [{}, {"java_script_enabled": False}])
def test_the_menu_of_the_account_closes_by_escape_and_by_a_click_outside(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page], options: dict[str, bool]
) -> None:
    page = signed_in_page(alice, **options)
    page.goto("/acme/")
    opener = page.get_by_role("button", name="alice")
    entry = page.get_by_role("link", name="Your account")
    expect(entry).to_be_hidden()
    opener.press("Enter")
    expect(entry).to_be_visible()
    page.keyboard.press("Escape")
    expect(entry).to_be_hidden()
    expect(opener).to_be_focused()
    opener.click()
    page.keyboard.press("Tab")
    expect(entry).to_be_focused()
    page.mouse.click(400, 700)
    expect(entry).to_be_hidden()


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_the_header_is_one_row_and_nothing_has_to_be_scrolled_sideways(
    page: Page, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(SETTINGS)
    header = page.locator("header").bounding_box()
    assert header is not None
    assert header["height"] <= 56
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.locator(".tabs ul").evaluate("tabs => tabs.scrollWidth - tabs.clientWidth") <= 0


def test_on_a_phone_everything_is_in_the_menu(page: Page) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    page.goto("/acme/")
    page.get_by_role("button", name="Menu").press("Enter")
    page.get_by_label("Find a tag or digest").fill("v1")
    page.get_by_role("button", name="alice").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.keyboard.press("Escape")
    page.get_by_role("navigation").get_by_role("link", name="Locked tags").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Locked tags")


def test_in_forced_colours_only_the_current_link_looks_current(page: Page) -> None:
    page.emulate_media(forced_colors="active")
    page.goto(SETTINGS)
    marked = page.evaluate(
        """() => [...document.querySelectorAll(".workspace-nav a, .settings-link, .tabs a")]
        .filter((link) => getComputedStyle(link, "::after").borderBottomStyle !== "none"
          || getComputedStyle(link).borderBottomStyle !== "none")
        .map((link) => link.textContent)"""
    )
    assert marked == ["Settings", "Container settings"]

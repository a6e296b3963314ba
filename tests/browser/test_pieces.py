"""The pieces of pages in a real browser: copying, menus, dialogs, long names, charts."""

import re
from collections.abc import Callable

import pytest
from django.template import Context, Template
from django.test import RequestFactory
from playwright.sync_api import Page, Route, expect

from workspaces.charts import make_bar_chart
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

MEMBERS = "/acme/settings/members/"
LONG = "n" * 128
LONG_NAME = f"{{% long_name '{LONG}' '/docs/' %}} {{% long_name '{LONG}' %}}"
CLIPBOARD = ["clipboard-read", "clipboard-write"]


@pytest.fixture
def page(acme: Workspace, alice: User, bob: User, signed_in_page: Callable[..., Page]) -> Page:
    return signed_in_page(alice)


def show(page: Page, template: str, **context: object) -> None:
    """Show a piece by itself, in the frame of a page."""
    page.goto("/docs/")
    context = {"request": RequestFactory().get("/docs/"), **context}
    html = Template(template).render(Context(context))
    page.evaluate("html => { document.querySelector('main').innerHTML = html; }", html)


def invite(page: Page) -> str:
    """Invite someone, and return the link that is shown."""
    page.goto(MEMBERS)
    page.get_by_label("Name or e-mail address").fill("dana")
    page.get_by_role("button", name="Invite", exact=True).click()
    return page.get_by_label("Invitation link").input_value()


def test_a_copy_button_copies_and_says_so(page: Page) -> None:
    page.context.grant_permissions(CLIPBOARD)
    link = invite(page)
    button = page.get_by_role("button", name="Copy the link")
    button.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Copied")).to_have_count(1)
    assert page.evaluate("navigator.clipboard.readText()") == link
    expect(button).to_be_focused()


def test_where_nothing_can_be_copied_the_text_is_selected(page: Page) -> None:
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    link = invite(page)
    page.get_by_role("button", name="Copy the link").click()
    expect(page.get_by_role("status").filter(has_text="Press Ctrl+C")).to_have_count(1)
    selected = page.get_by_label("Invitation link").evaluate(
        "field => field.value.slice(field.selectionStart, field.selectionEnd)"
    )
    assert selected == link


def test_what_is_copied_in_a_dialog_is_said_in_the_dialog(page: Page) -> None:
    page.context.grant_permissions(CLIPBOARD)
    show(page, "<dialog>{% command 'docker pull acme/api:v1' %}</dialog>")
    page.evaluate("document.querySelector('dialog').showModal()")
    page.get_by_role("button", name="Copy the command").click()
    said = page.get_by_role("dialog").get_by_role("status")
    expect(said).to_have_text("Copied")


def test_without_javascript_there_is_no_copy_button(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice, java_script_enabled=False)
    invite(page)
    expect(page.locator(".copy")).to_be_hidden()


def test_a_menu_closes_by_escape_and_by_a_click_outside_and_gives_the_focus_back(
    page: Page,
) -> None:
    page.goto(MEMBERS)
    opener = page.get_by_role("button", name="Actions for bob")
    entry = page.get_by_role("link", name="Change role…")
    opener.press("Enter")
    expect(entry).to_be_visible()
    page.keyboard.press("Tab")
    expect(entry).to_be_focused()
    page.keyboard.press("Escape")
    expect(entry).to_be_hidden()
    expect(opener).to_be_focused()
    opener.click()
    page.mouse.click(400, 800)
    expect(entry).to_be_hidden()


@pytest.mark.parametrize("close", ["Escape", "Cancel"])
def test_a_dialog_from_a_menu_gives_the_focus_back_to_the_menu(page: Page, close: str) -> None:
    page.goto(MEMBERS)
    opener = page.get_by_role("button", name="Actions for bob")
    opener.click()
    page.get_by_role("link", name="Change role…").click()
    dialog = page.get_by_role("dialog", name="Change the role of bob?")
    expect(dialog.get_by_label("Member")).to_be_focused()
    if close == "Escape":
        page.keyboard.press("Escape")
    else:
        dialog.get_by_role("link", name=close).click()
    expect(dialog).to_have_count(0)
    expect(opener).to_be_focused()


def test_a_dialog_comes_back_to_the_page_of_the_list_that_it_was_opened_from(page: Page) -> None:
    page.goto(f"{MEMBERS}?after=alice")
    page.get_by_role("button", name="Actions for bob").click()
    page.get_by_role("link", name="Remove…").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_role("status")).to_have_text("bob is no longer in Acme.")
    assert page.url.endswith(f"{MEMBERS}?after=alice")


def test_a_long_name_is_cut_until_it_has_the_focus(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 800})
    show(page, LONG_NAME)
    for name in (page.locator("a.clip"), page.locator("span.clip")):
        line = name.bounding_box()
        name.focus()
        whole = name.bounding_box()
        assert line is not None
        assert whole is not None
        assert line["height"] < 30 < whole["height"]
        assert whole["x"] + whole["width"] <= 360


def test_a_long_name_is_reached_with_the_keyboard_alone(page: Page) -> None:
    show(page, LONG_NAME)
    page.locator("main").focus()
    page.keyboard.press("Tab")
    expect(page.locator("a.clip")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("span.clip")).to_be_focused()


def test_a_chart_says_in_words_what_it_shows(page: Page) -> None:
    chart = make_bar_chart(["Refused pushes", "Changes"], [("Mon 23", (7, 2)), ("Tue 24", (4, 0))])
    show(page, "{% bar_chart chart %}", chart=chart)
    read = page.locator("main").aria_snapshot()
    for words in ("Refused pushes, 11", "Changes, 2", "Mon 23", "Refused pushes: 7", "Changes: 2"):
        assert words in read


@pytest.fixture
def old_page(page: Page) -> Page:
    """A page of a browser that knows no popovers: their attributes and selectors mean nothing."""
    page.route(re.compile(r"\.css$|/$"), _forget_popovers)
    return page


def _forget_popovers(route: Route) -> None:
    response = route.fetch()
    text = response.text().replace("@supports not selector(:popover-open)", "@media all")
    text = re.sub(r' popover>| popovertarget="[^"]*">', ">", text)
    # A rule with a selector that a browser does not know means nothing to it.
    route.fulfill(response=response, body=re.sub(r"[^{}]+:popover-open\)? \{[^}]*\}", "", text))


@pytest.mark.parametrize("width", [360, 1280])
def test_where_there_are_no_popovers_everything_is_on_the_page(old_page: Page, width: int) -> None:
    page = old_page
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(MEMBERS)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    for name in ("Lock log", "Your account", "Container settings"):
        expect(page.get_by_role("link", name=name, exact=True).first).to_be_visible()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.get_by_role("link", name="Change role…").first.click()
    expect(page.get_by_role("heading", name="Change your role?")).to_be_visible()

"""The pages about people in a real browser: the keyboard alone, no JavaScript."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.keyboard import choose, press, type_into
from workspaces.models import Membership, User, Workspace

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

MEMBERS = "/acme/settings/members/"
PASSWORD = "correct horse battery"


def test_somebody_is_invited_and_joins_with_the_keyboard_alone(
    acme: Workspace,
    alice: User,
    signed_in_page: Callable[..., Page],
    open_page: Callable[..., Page],
    live_server: Any,
) -> None:
    page = signed_in_page(alice)
    page.goto(MEMBERS)
    type_into(page.get_by_label("Name or e-mail address"), "dana")
    choose(page.get_by_label("Auditor"))
    page.keyboard.press("Enter")
    link = page.get_by_label("Invitation link")
    # The link has the focus, ready to be selected and copied.
    expect(link).to_be_focused()
    path = urlsplit(link.input_value()).path

    page = open_page(base_url=live_server.url)
    page.goto(path)
    type_into(page.get_by_label("User name"), "dana")
    type_into(page.get_by_label("Password", exact=True), PASSWORD)
    page.keyboard.press("Tab")
    page.keyboard.type("something else")
    # The browser says where this form comes from though the page hides its address.
    page.keyboard.press("Enter")
    expect(page.locator(".summary")).to_be_focused()
    expect(page).to_have_title("Error: Join Acme – Taglock")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Password again")).to_be_focused()
    for field in ("#id_password", "#id_repeated"):
        page.fill(field, PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("You are in Acme now, as auditor.")
    assert Membership.objects.get(user__username="dana").role == "auditor"


def test_a_role_is_changed_and_somebody_removed_with_the_keyboard_alone(
    acme: Workspace, alice: User, bob: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice)
    page.goto(MEMBERS)
    press(page.get_by_role("button", name="Actions for bob"))
    press(page.get_by_role("link", name="Change role…"))
    dialog = page.get_by_role("dialog", name="Change the role of bob?")
    expect(dialog.get_by_label("Member")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("bob is now auditor.")
    press(page.get_by_role("button", name="Actions for bob"))
    press(page.get_by_role("link", name="Remove…"))
    dialog = page.get_by_role("dialog", name="Remove bob from Acme?")
    expect(dialog.get_by_role("link", name="Cancel")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("bob is no longer in Acme.")
    assert not Membership.objects.filter(user=bob).exists()


def test_a_forgotten_password_is_set_anew_by_a_link_without_javascript(
    acme: Workspace,
    alice: User,
    bob: User,
    signed_in_page: Callable[..., Page],
    open_page: Callable[..., Page],
    live_server: Any,
) -> None:
    bobs_page = signed_in_page(bob)
    page = signed_in_page(alice, java_script_enabled=False)
    page.goto(MEMBERS)
    page.get_by_role("button", name="Actions for bob").click()
    page.get_by_role("link", name="Password link…").click()
    page.get_by_role("button", name="Make a password link").click()
    path = urlsplit(page.get_by_label("Password link", exact=True).input_value()).path

    page = open_page(base_url=live_server.url, java_script_enabled=False)
    page.goto(path)
    assert path not in page.url
    for field in ("#id_password", "#id_repeated"):
        page.fill(field, PASSWORD)
    page.get_by_role("button", name="Set the password").click()
    page.get_by_label("User name").fill("bob")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Acme")
    # Where bob was signed in before, he is not any more.
    bobs_page.goto("/acme/")
    expect(bobs_page.get_by_role("heading", level=1)).to_have_text("Sign in")

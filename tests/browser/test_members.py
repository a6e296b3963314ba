"""The pages about people in a real browser: the keyboard alone, no JavaScript, both schemes."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.looks import examine
from workspaces.access import SYSTEM, Actor, ActorKind, Role
from workspaces.actions.invitations import invite
from workspaces.actions.members import add_member
from workspaces.actions.passwords import make_password_link
from workspaces.mail import make_password_link_address
from workspaces.models import Membership, User, Workspace

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

MEMBERS = "/acme/settings/members/"
PASSWORD = "correct horse battery"
MAX_STOPS = 40


def tab_to(page: Page, text: str) -> None:
    """Press Tab until what has the focus is named `text`."""
    name = (
        "(document.activeElement.labels?.[0] ?? document.activeElement)"
        ".textContent.replace(/\\s+/g, ' ').trim()"
    )
    for _ in range(MAX_STOPS):
        page.keyboard.press("Tab")
        if page.evaluate(name) == text:
            return
    raise AssertionError(f"the keyboard does not reach {text!r}")


def test_somebody_is_invited_and_joins_with_the_keyboard_alone(
    acme: Workspace,
    alice: User,
    signed_in_page: Callable[..., Page],
    open_page: Callable[..., Page],
    live_server: Any,
) -> None:
    page = signed_in_page(alice)
    page.goto(MEMBERS)
    tab_to(page, "Name or e-mail address")
    page.keyboard.type("dana")
    tab_to(page, "Member")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    link = page.get_by_label("Link of the invitation")
    # The link has the focus, ready to be selected and copied.
    expect(link).to_be_focused()
    path = urlsplit(link.input_value()).path

    page = open_page(base_url=live_server.url)
    page.goto(path)
    tab_to(page, "User name")
    page.keyboard.type("dana")
    tab_to(page, "Password")
    page.keyboard.type(PASSWORD)
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
    tab_to(page, "Role of bob")
    page.keyboard.type("Aud")
    tab_to(page, "Change the role of bob")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("bob is auditor now.")
    tab_to(page, "Remove bob")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Remove bob from Acme?")
    tab_to(page, "Remove")
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
    page.get_by_role("link", name="Password link for bob").click()
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


def test_every_page_is_free_of_accessibility_faults(
    acme: Workspace,
    globex: Workspace,
    alice: User,
    bob: User,
    olga: User,
    signed_in_page: Callable[..., Page],
    open_page: Callable[..., Page],
    live_server: Any,
) -> None:
    add_member(globex, bob, Role.MEMBER, actor=SYSTEM)
    secret = invite(acme, "x" * 240, Role.AUDITOR, inviter=alice, actor=SYSTEM)
    elsewhere = Membership.objects.get(workspace=acme, user=bob).id
    here = Membership.objects.get(workspace=acme, user=olga).id
    actor = Actor("alice", ActorKind.PERSON)
    link = urlsplit(make_password_link_address(*make_password_link(acme, here, actor=actor))).path
    page = signed_in_page(alice)

    def check(address: str, press: str = "") -> None:
        page.goto(address)
        if press:
            page.get_by_role("button", name=press, exact=True).click()
        examine(page)

    check(MEMBERS)
    check(MEMBERS, "Invite")
    check(f"{MEMBERS}{elsewhere}/remove/")
    check(f"{MEMBERS}{elsewhere}/password-link/")
    check(f"{MEMBERS}{here}/password-link/")
    check(f"{MEMBERS}{here}/password-link/", "Make a password link")
    check("/accounts/")
    check("/accounts/", "Change password")
    check(f"/invitations/{secret}/")
    page = open_page(base_url=live_server.url)
    check(f"/invitations/{secret}/")
    check(f"/invitations/{secret}/", "Make an account and join")
    check("/invitations/x/")
    check("/accounts/login/")
    check("/accounts/forgot/")
    check(link, "Set the password")

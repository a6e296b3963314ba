"""The page of access tokens in a real browser: keyboard, focus, reload."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from workspaces.access_tokens import find_access_token
from workspaces.models import AccessToken, User, Workspace

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

URL = "/acme/settings/access-tokens/"
CREATE = "Create access token"


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the focus is on what has this accessible name."""
    wanted = page.get_by_label(name, exact=True).or_(
        page.get_by_role("button", name=name, exact=True).or_(
            page.get_by_role("link", name=name, exact=True)
        )
    )
    for _ in range(40):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"no number of tabs leads to {name}")


def test_a_token_is_created_and_revoked_with_the_keyboard_alone(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice)
    page.goto(URL)
    tab_to(page, "Name")
    page.keyboard.type("my ci")
    tab_to(page, "Push-only")
    page.keyboard.press("Space")
    tab_to(page, "Only these repositories")
    page.keyboard.type("api-*")
    page.keyboard.press("Enter")
    page.keyboard.type("team/**")
    tab_to(page, "In 90 days")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_label("In one year")).to_be_checked()
    page.keyboard.press("Enter")
    shown = page.get_by_label("Access token", exact=True)
    expect(shown).to_be_focused()
    # What Ctrl+A takes is the secret and nothing else.
    page.keyboard.press("Control+a")
    secret = shown.evaluate("field => field.value.slice(field.selectionStart, field.selectionEnd)")
    token = find_access_token(secret)
    assert token is not None
    assert (token.name, token.scopes) == ("my ci", ["push-only"])
    assert token.repositories == ["api-*", "team/**"]
    tab_to(page, "All access tokens")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{URL}")
    tab_to(page, "Revoke my ci")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Revoke this access token?")).to_be_visible()
    tab_to(page, "Revoke")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("my ci is revoked")
    assert find_access_token(secret) is None


def test_an_error_summary_takes_the_focus_and_leads_to_the_field(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice)
    page.goto(URL)
    page.get_by_role("button", name=CREATE).click()
    expect(page.locator(".summary")).to_be_focused()
    page.get_by_role("link", name="What it may do: Choose at least one scope.").click()
    expect(page.get_by_label("Pull", exact=True)).to_be_focused()


@pytest.mark.parametrize("has_javascript", [True, False])
def test_neither_reloading_nor_going_back_shows_a_secret_again(
    acme: Workspace,
    alice: User,
    signed_in_page: Callable[..., Page],
    *,
    has_javascript: bool,
) -> None:
    page = signed_in_page(alice, java_script_enabled=has_javascript)
    page.goto(URL)
    page.get_by_label("Name").fill("ci")
    page.get_by_label("Pull", exact=True).check()
    page.get_by_role("button", name=CREATE).click()
    secret = page.get_by_label("Access token", exact=True).input_value()
    assert find_access_token(secret) is not None
    page.reload()
    expect(page.locator(".summary")).to_contain_text("of this name already")
    assert secret not in page.content()
    page.go_back()
    assert secret not in page.content()
    assert AccessToken.objects.count() == 1

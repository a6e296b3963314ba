"""The page of access tokens in a real browser: focus, reload."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from workspaces.access_tokens import find_access_token
from workspaces.models import AccessToken, User, Workspace

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

URL = "/acme/settings/access-tokens/"
CREATE = "Create access token"


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

"""General, Packages and the error pages in a real browser: keyboard, no script."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.keyboard import press
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _registry(settings: Any) -> None:
    settings.REGISTRY_URL = "http://registry.internal:5000"


@pytest.mark.parametrize("has_javascript", [True, False])
def test_the_announced_way_leads_to_container_settings_by_keyboard(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page], *, has_javascript: bool
) -> None:
    page = signed_in_page(alice, java_script_enabled=has_javascript)
    page.goto("/acme/")
    for name in ("Settings", "Workspace settings", "Packages", "Container settings"):
        press(page.get_by_role("link", name=name, exact=True).first)
        page.wait_for_load_state()
    expect(page.get_by_role("heading", name="Immutable tags")).to_be_visible()


def test_an_error_leads_back_into_the_workspace_by_keyboard(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice)
    page.goto("/acme/nowhere/")
    press(page.get_by_role("link", name="Go to the overview of Acme"))
    page.wait_for_url("**/acme/")

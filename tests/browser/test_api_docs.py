"""The API reference and the guides in a real browser: without a script."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def page(live_server: Any, open_page: Callable[..., Page]) -> Page:
    return open_page(base_url=live_server.url, java_script_enabled=False)


def test_the_reference_shows_every_operation_without_a_script(page: Page) -> None:
    page.goto("/api/v1/docs")
    expect(page.get_by_role("heading", name="Check push")).to_be_visible()
    expect(page.get_by_text("/api/v1/check-push", exact=True).first).to_be_visible()
    page.get_by_role("navigation", name="On this page").get_by_text("List events").click()
    expect(page.get_by_role("heading", name="List events")).to_be_in_viewport()

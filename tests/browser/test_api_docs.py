"""The API's documentation page in a real browser, under the site's strict policy."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_the_documentation_page_shows_every_operation(
    live_server: Any, open_page: Callable[..., Page]
) -> None:
    page = open_page(base_url=live_server.url)
    page.goto("/api/v1/docs")
    expect(page.get_by_text("/api/v1/check-push", exact=True)).to_be_visible()
    expect(page.get_by_text("/api/v1/workspaces/{slug}/lock-log", exact=True)).to_be_visible()

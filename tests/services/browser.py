"""Debian's Chromium, driven by Playwright."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, Page, sync_playwright

from workspaces.models import User

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
]
# Scripts that run once are not worth compiling, and no one looks at what is drawn.
THRIFTY = [
    "--js-flags=--single-threaded --no-opt --no-maglev --min-semi-space-size=32",
    "--force-gpu-mem-available-mb=4",
    "--num-raster-threads=1",
]


# What the browser and htmx write of an answer that says no, that does not come, or that is given up
# for a newer request.
_MEANT = (
    "the server responded",
    "Response Status Error Code",
    "net::ERR_FAILED",
    "htmx:afterRequest",
    "htmx:sendAbort",
    "htmx:sendError",
)


@pytest.fixture(scope="session")
def _allow_queries_beside_playwright() -> Iterator[None]:
    """Playwright's synchronous API keeps an event loop in this thread; nothing here is async."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    yield
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(scope="session")
def browser(chromium: str, _allow_queries_beside_playwright: None) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = [*ARGUMENTS, *THRIFTY]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


def note_errors(page: Page, complaints: list[str]) -> None:
    """Add to `complaints` what goes wrong on a page, but not that it is answered with an error."""
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
    page.on(
        "console",
        lambda message: (
            complaints.append(f"{page.url}: {message.text}")
            if message.type == "error" and not any(each in message.text for each in _MEANT)
            else None
        ),
    )


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Return a function that opens a page; at the end, no page may have met an error."""
    contexts = []
    complaints: list[str] = []

    def open_page(**options: Any) -> Page:
        context = browser.new_context(**options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        note_errors(page, complaints)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def signed_in_page(open_page: Callable[..., Page], live_server: Any) -> Callable[..., Page]:
    """Return a function that opens an empty page of a browser in which someone is signed in."""

    def signed_in_page(user: User, **options: Any) -> Page:
        page = open_page(base_url=live_server.url, **options)
        client = Client()
        client.force_login(user)
        name = settings.SESSION_COOKIE_NAME
        value = client.cookies[name].value
        page.context.add_cookies([{"name": name, "value": value, "url": live_server.url}])
        return page

    return signed_in_page

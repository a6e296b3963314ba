"""Every page in every state: what axe finds in either theme and width, and what it weighs."""

import gzip
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.request import urlopen

import pytest
from django.test import TransactionTestCase
from playwright.sync_api import Browser, Page, Response
from pytest_django.live_server_helper import LiveServer

from tests.browser.looks import examine
from tests.browser.states import STATES, State
from tests.browser.visitors import Visitors
from tests.browser.world import make_world
from tests.services.tables import empty_tables

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

# As deploy/nginx/taglock.conf has it.
GZIP_LEVEL = 5
GZIP_FROM_BYTES = 1024


@pytest.fixture(scope="module")
def visitors(browser: Browser, django_db_setup: None, django_db_blocker: Any) -> Iterator[Visitors]:
    """The browsers of everybody, before a site that all tests of this file share."""
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patched:
        # Each test finds what the ones before it have left: nothing is emptied between them.
        patched.setattr(TransactionTestCase, "_fixture_teardown", lambda _: None)
        names = make_world()
        server = LiveServer("localhost")
        visitors = Visitors(browser, server.url, names)
        yield visitors
        visitors.close()
        server.stop()
        empty_tables()


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_everybody_can_use_a_page_and_it_is_light(visitors: Visitors, state: State) -> None:
    visitors.complaints.clear()
    with state.in_force():
        page, answer = visitors.open(state)
        weights = weigh(page, answer)
        examine(page)
    assert visitors.complaints == []
    assert sum(weights.values()) <= state.max_bytes, weights


def weigh(page: Page, answer: Response) -> dict[str, int]:
    """Return what comes over the wire at the first visit of a page: of each address its bytes."""
    loaded = page.evaluate(
        """() => [...performance.getEntriesByType("resource").map((entry) => entry.name),
        ...[...document.querySelectorAll("link[rel=icon]")].map((link) => link.href)]"""
    )
    files = {address.partition("#")[0] for address in loaded if "/static/" in address}
    weights = {address: _weigh_file(address) for address in files}
    return {page.url: len(_press(answer.body())), **weights}


@cache
def _weigh_file(address: str) -> int:
    with urlopen(address) as response:
        return len(_press(response.read()))


def _press(body: bytes) -> bytes:
    return gzip.compress(body, GZIP_LEVEL) if len(body) >= GZIP_FROM_BYTES else body

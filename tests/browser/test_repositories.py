"""Repositories in a real browser: the keyboard alone."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from containers.models import Repository as KnownRepository
from tests.browser.keyboard import choose, press
from tests.public import find_public
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

REPOSITORIES = "/acme/repositories/"
VISIBILITY = "/acme/repositories/acme/api/-/visibility/"


@pytest.mark.parametrize("java_script_enabled", [True, False])
def test_a_repository_is_made_public_with_the_keyboard_alone(
    acme: Workspace,
    alice: User,
    signed_in_page: Callable[..., Page],
    *,
    java_script_enabled: bool,
) -> None:
    KnownRepository.objects.create(workspace=acme, name="acme/api")
    page = signed_in_page(alice, java_script_enabled=java_script_enabled)
    page.goto("/acme/")
    press(page.get_by_role("link", name="Repositories", exact=True).first)
    page.wait_for_url(f"**{REPOSITORIES}")
    press(page.get_by_role("link", name="Change visibility acme/api"))
    page.wait_for_url(f"**{VISIBILITY}?next=*")
    choose(page.get_by_label("Public"))
    assert find_public(["acme/api"]) == set()
    press(page.get_by_role("button", name="Save"))
    page.wait_for_url(f"**{REPOSITORIES}")
    expect(page.get_by_role("status").first).to_contain_text("acme/api is public")
    assert find_public(["acme/api"]) == {"acme/api"}


def test_an_error_takes_the_focus_and_leads_to_the_choice(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    KnownRepository.objects.create(workspace=acme, name="acme/api")
    page = signed_in_page(alice)
    page.goto(VISIBILITY)
    page.evaluate("document.querySelector('input[type=radio]:checked').checked = false")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".summary")).to_be_focused()
    page.locator(".summary a").press("Enter")
    expect(page.get_by_label("Private")).to_be_focused()

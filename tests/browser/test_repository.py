"""A repository's tags in a real browser: many rows, menus, a selection by keyboard alone."""

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from containers.models import Tag as TagRecord
from immutability.models import LockedTag
from immutability.policy.protection import LockState, Policy, Protection
from tests.browser.keyboard import press, type_into
from tests.conftest import BB, SEMVER
from tests.immutability.making import land, make_lock, put_in_flight
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PAGE = "/acme/repositories/acme/api/"
# The longest tag that there can be.
LONG = "v1.0.9-" + "x" * 121


@pytest.fixture
def full(acme: Workspace, protect: Callable[..., Policy], settings: Any) -> Workspace:
    """A repository with a tag of each state and a page of others, before a registry."""
    settings.REGISTRY_URL = "http://127.0.0.1:1"
    protect(acme, Protection.SOME, SEMVER)
    for number, state in enumerate(LockState):
        make_lock(acme, f"v1.0.{number}", state, rule_name=SEMVER.name)
    put_in_flight(LockedTag.objects.get(state="claimed"), write_is_external=True)
    make_lock(acme, "suspended", rule_name="A rule that was there before")
    TagRecord.objects.bulk_create(
        TagRecord(
            workspace=acme,
            repository="acme/api",
            name=name,
            digest=BB,
            pushed_at=timezone.now(),
        )
        for name in ("latest", "v9.0.0", LONG, *(f"build-{number}" for number in range(50)))
    )
    land(acme, BB, LONG)
    return acme


def test_fifty_rows_are_low_and_long_names_take_no_room_from_others(
    full: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice, viewport={"width": 1280, "height": 900})

    def measure() -> tuple[float, list[float]]:
        height = page.locator("tbody").evaluate("body => body.offsetHeight / body.rows.length")
        widths = page.locator("thead th").evaluate_all("all => all.map(each => each.offsetWidth)")
        return height, widths

    page.goto(f"{PAGE}?q={LONG}")
    expect(page.locator("tbody tr")).to_have_count(1)
    height, widths = measure()
    assert height <= 30
    page.goto(PAGE)
    expect(page.locator("tbody tr")).to_have_count(50)
    assert measure() == (height, widths)
    # One screen and a half, and the head of the page.
    assert page.locator("table").evaluate("table => table.offsetHeight") <= 1500


def test_a_long_name_is_whole_once_it_has_the_focus(
    full: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice, viewport={"width": 1280, "height": 900})
    page.goto(f"{PAGE}?q={LONG}")
    name = page.get_by_role("link", name=LONG).first
    cut = "link => link.scrollWidth > link.clientWidth"
    assert name.evaluate(cut)
    name.focus()
    assert not name.evaluate(cut)


@pytest.mark.parametrize("java_script_enabled", [True, False])
def test_tags_are_chosen_and_released_with_the_keyboard_alone(
    full: Workspace,
    alice: User,
    signed_in_page: Callable[..., Page],
    settings: Any,
    *,
    java_script_enabled: bool,
) -> None:
    settings.REGISTRY_URL = ""
    make_lock(full, "v2.0.0")
    page = signed_in_page(alice, java_script_enabled=java_script_enabled)
    page.goto(f"{PAGE}?sort=name&q=v")
    expect(page.locator(".selection-bar")).to_be_hidden()
    for name in ("v1.0.1", "v2.0.0"):
        press(page.get_by_label(f"acme/api:{name}", exact=True), "Space")
    expect(page.locator(".picked-count")).to_be_visible()
    press(page.get_by_role("button", name="Release locks…"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Release 2 locks?")
    type_into(page.get_by_label("Reason (recorded in the lock log)"), "A fixed rebuild")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("2 tags were released")
    press(page.get_by_role("link", name="Back to the list"))
    page.wait_for_url(f"**{PAGE}?sort=name&q=v")
    assert LockedTag.objects.filter(state="released").count() == 3


def test_a_menu_opens_a_question_and_one_comes_back_with_the_filter(
    full: Workspace, alice: User, signed_in_page: Callable[..., Page], settings: Any
) -> None:
    settings.REGISTRY_URL = ""
    page = signed_in_page(alice)
    page.goto(f"{PAGE}?q=v1.0&state=locked")
    opener = page.get_by_role("button", name="Actions for acme/api:v1.0.1")
    opener.press("Enter")
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Delete tag… acme/api:v1.0.1")).to_be_hidden()
    expect(opener).to_be_focused()
    opener.press("Enter")
    page.get_by_role("link", name="Delete tag… acme/api:v1.0.1").press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Reserve it: only the same image can come back")).to_be_focused()
    dialog.get_by_label("Reason (recorded in the lock log)").fill("Wrong base image")
    dialog.get_by_role("button", name="Delete").click()
    page.wait_for_url(f"**{PAGE}?q=v1.0&state=locked")
    expect(page.locator(".banner")).to_contain_text("acme/api:v1.0.1 is deleted.")


def test_without_scripts_a_menu_leads_to_the_question_as_a_page(
    full: Workspace, alice: User, signed_in_page: Callable[..., Page], settings: Any
) -> None:
    settings.REGISTRY_URL = ""
    page = signed_in_page(alice, java_script_enabled=False)
    page.goto(f"{PAGE}?q=v1.0.1")
    page.get_by_role("button", name="Actions for acme/api:v1.0.1").click()
    expect(page.get_by_role("button", name="Copy pull command")).to_be_hidden()
    page.get_by_role("link", name="Release lock… acme/api:v1.0.1").click()
    page.get_by_label("Reason (recorded in the lock log)").fill("A fixed rebuild")
    page.get_by_role("button", name="Release").click()
    page.wait_for_url(f"**{PAGE}?q=v1.0.1")
    expect(page.locator(".banner")).to_contain_text("acme/api:v1.0.1 is released")

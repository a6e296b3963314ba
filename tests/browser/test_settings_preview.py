"""Container settings beside what they do, in a real browser: sight, bar, leaving, failing."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, Route, expect

from containers.models import Tag as TagRecord
from immutability.policy.protection import Policy, PolicyRule, Protection
from immutability.reading import read_policy
from tests.conftest import AA, BB, SEMVER, protect_workspace
from tests.immutability.making import land, make_lock
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SETTINGS = "/acme/settings/packages/containers/"
SEVEN = tuple(PolicyRule(f"Rule {number}", rf"^v{number}\.\d+$") for number in range(1, 8))


@pytest.fixture
def page(
    acme: Workspace,
    alice: User,
    protect: Callable[..., Policy],
    signed_in_page: Callable[..., Page],
) -> Page:
    """The page, where seven rules are saved and some tags are locked."""
    protect(acme, Protection.SOME, *SEVEN)
    for number in range(1, 4):
        make_lock(acme, f"v1.{number}")
    for digest in (AA, BB):
        land(acme, digest, "main", timezone.now() - timedelta(days=1))
    TagRecord.objects.create(
        workspace=acme, repository="acme/api", name="main", digest=BB, pushed_at=timezone.now()
    )
    page = signed_in_page(alice, viewport={"width": 1280, "height": 900})
    page.goto(SETTINGS)
    expect(page.locator("#preview-checked")).to_have_text("All 4 tags checked")
    return page


def _save(page: Page) -> None:
    page.get_by_role("button", name="Save", exact=True).last.click()


def test_a_rule_its_answer_and_save_are_in_sight_together(page: Page) -> None:
    page.get_by_label("Tags to try").fill("v7.1\nmain")
    answer = page.locator("#tried-locked li")
    expect(answer).to_contain_text("Rule 7: Rule 7")
    save = page.get_by_role("button", name="Save", exact=True).last
    for shown in (page.locator("#rule-pattern-7"), answer, save, page.locator("#preview-heading")):
        expect(shown).to_be_in_viewport(ratio=1)
    assert page.evaluate("scrollY") == 0


def test_each_panel_comes_under_what_it_belongs_to_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 800})
    tops = [
        page.locator(name).bounding_box()["y"]  # type: ignore[index]
        for name in ("#choices", "#try-tags", "#preview-panel", "#options")
    ]
    assert tops == sorted(tops)
    expect(page.get_by_role("button", name="Save", exact=True).last).to_be_in_viewport()


def test_what_saving_changes_follows_what_is_typed(acme: Workspace, page: Page) -> None:
    page.locator("#rule-pattern-1").fill("^main$")
    preview = page.locator("#preview")
    expect(preview).to_contain_text("tag becomes locked by Rule 1")
    expect(preview).to_contain_text("locks are suspended, no longer covered by Rule 1")
    expect(preview).to_contain_text("push of the last 30 days would have been refused")
    expect(page.locator("#rule-covers-1")).to_have_text("1 tag")
    expect(page.locator("#rule-change-1")).to_have_text("Edited")
    expect(page.locator("#unsaved")).to_contain_text("1 rule edited")
    page.get_by_label("No tags are protected").check()
    expect(preview).to_contain_text("3 locks are suspended")
    expect(preview).not_to_contain_text("becomes locked")
    page.locator("#preview summary").first.press("Enter")
    expect(page.get_by_role("link", name="acme/api:v1.1")).to_be_visible()
    assert read_policy(acme).rules == SEVEN


def test_the_newest_tags_are_tried_at_a_press(page: Page) -> None:
    page.get_by_role("button", name="Use newest tags").press("Enter")
    expect(page.get_by_label("Tags to try")).to_be_focused()
    expect(page.locator("#tester-result")).to_contain_text("3 of 4 would be locked")


@pytest.mark.parametrize("discards", [False, True])
def test_leaving_with_unsaved_changes_asks(page: Page, *, discards: bool) -> None:
    asked: list[str] = []

    def answer(dialog: object) -> None:
        asked.append("asked")
        dialog.accept()  # type: ignore[attr-defined]

    page.on("dialog", answer)
    page.get_by_label("Tags to try").click()
    page.keyboard.type("v1")
    page.get_by_role("link", name="Members").click()
    expect(page.get_by_role("heading", name="Members")).to_be_visible()
    assert asked == []
    page.goto(SETTINGS)
    page.locator("#rule-name-1").click()
    page.keyboard.type("x")
    if discards:
        page.get_by_role("link", name="Discard").click()
        expect(page.locator("#rule-name-1")).to_have_value("Rule 1")
        assert asked == []
    else:
        page.get_by_role("link", name="Members").click()
        expect(page.get_by_role("heading", name="Members")).to_be_visible()
        assert asked == ["asked"]


@pytest.mark.parametrize("status", [503, 0])
def test_a_save_that_fails_loses_nothing(acme: Workspace, page: Page, status: int) -> None:
    def fail(route: Route) -> None:
        if status:
            route.fulfill(status=status, body="gone")
        else:
            route.abort()

    page.locator("#rule-name-7").fill("Renamed")
    page.route(f"**{SETTINGS}", fail)
    _save(page)
    said = "Taglock answered with an error (503)" if status else "Taglock cannot be reached"
    expect(page.locator("#save-problem")).to_contain_text(said)
    expect(page.locator("#rule-name-7")).to_have_value("Renamed")
    page.unroute(f"**{SETTINGS}")
    _save(page)
    expect(page.locator(".banner")).to_contain_text("Saved")
    assert read_policy(acme).rules[6].name == "Renamed"


def test_a_session_that_is_over_loses_nothing(acme: Workspace, page: Page) -> None:
    page.context.clear_cookies(name="taglock_session")
    page.locator("#rule-name-7").fill("Renamed")
    for asks_by_itself in ("#preview", "#tester-result"):
        expect(page.locator(asks_by_itself)).to_contain_text("You are signed out")
    expect(page.locator("#unsaved")).to_have_text("Unsaved changes")
    _save(page)
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill("demo")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".banner")).to_contain_text("What you typed is still here")
    expect(page.locator("#rule-name-7")).to_have_value("Renamed")
    _save(page)
    expect(page.locator(".banner")).to_contain_text("Saved")
    assert read_policy(acme).rules[6].name == "Renamed"


def test_a_conflict_shows_both_versions(acme: Workspace, page: Page) -> None:
    protect_workspace(acme, Protection.SOME, *SEVEN[:6], SEMVER)
    page.locator("#rule-pattern-1").fill("^w")
    _save(page)
    table = page.locator(".conflict")
    expect(table).to_be_visible()
    expect(table.locator("tr.differs")).to_have_count(3)

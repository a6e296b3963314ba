"""The container settings page in a real browser: live tester, keyboard."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from immutability.policy.protection import Policy, PolicyRule, Protection
from immutability.reading import read_policy
from tests.conftest import CACHES, LATEST, SEMVER
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SETTINGS = "/acme/settings/packages/containers/"


def _insert(page: Page, what: str) -> None:
    """Add an example, such as "rule Production"."""
    kind = what.partition(" ")[0]
    page.get_by_role("button", name="Add a rule" if kind == "rule" else "Add an exception").click()
    page.get_by_role("button", name=f"Insert the {what}").click()


def test_the_tester_follows_what_is_typed_and_saves_nothing(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice)
    page.goto(SETTINGS)
    page.get_by_label("Some tags are protected").check()
    page.locator("#rule-name-1").fill("Production")
    page.locator("#rule-pattern-1").fill("prod")
    page.get_by_label("Tags to try").fill("nonprod-1\nfeature-x")
    result = page.locator("#tester-result")
    expect(page.locator("#tried-locked")).to_contain_text("nonprod-1")
    expect(result.locator("mark").first).to_have_text("prod")
    expect(result).to_contain_text("only the part “prod”")
    expect(page.locator("#tried-mutable")).to_contain_text("feature-x")
    page.locator("#rule-pattern-1").fill("^prod$")
    expect(page.locator("#tried-mutable")).to_contain_text("nonprod-1")
    page.locator("#rule-pattern-1").fill("(?=prod)")
    expect(result).to_contain_text("RE2 has no lookahead")
    assert read_policy(acme) == Policy()


def test_switching_an_option_is_tested_at_once(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice)
    page.goto(SETTINGS)
    page.get_by_label("All tags are protected").check()
    page.get_by_label("Tags to try").fill(f"latest\nsha256-{'0' * 64}.sig")
    expect(page.locator("#tried-locked")).to_contain_text("latest")
    expect(page.locator("#tried-mutable")).to_contain_text("Signature tag")
    page.get_by_label("Protect signature tags too").check()
    expect(page.locator("#tried-locked li")).to_have_count(2)


def test_the_tester_still_follows_after_rules_were_added_and_removed(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice)
    page.goto(SETTINGS)
    page.get_by_label("Some tags are protected").check()
    page.get_by_label("Tags to try").fill("prod")
    _insert(page, "rule Production")
    expect(page.locator("#tried-locked")).to_contain_text("prod")
    expect(page.locator("#rule-name-1")).to_be_focused()
    page.get_by_role("button", name="Remove rule 1").click()
    expect(page.locator("#tried-mutable")).to_contain_text("prod")
    expect(page.locator("#rules-heading")).to_be_focused()


def test_enter_in_the_tester_never_saves(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice)
    page.goto(SETTINGS)
    page.get_by_label("All tags are protected").check()
    page.get_by_label("Tags to try").click()
    page.keyboard.type("v1")
    page.keyboard.press("Enter")
    page.keyboard.type("v2")
    expect(page.locator("#tester-result li")).to_have_count(2)
    assert page.url.endswith(SETTINGS)
    assert read_policy(acme).version == 0


def test_an_error_summary_takes_the_focus_and_leads_to_the_field(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice)
    page.goto(SETTINGS)
    page.get_by_label("Some tags are protected").check()
    page.locator("#rule-name-1").fill("Broken")
    page.locator("#rule-pattern-1").fill("[v")
    page.get_by_role("button", name="Save", exact=True).last.click()
    expect(page.locator(".summary")).to_be_focused()
    page.locator(".summary a").click()
    expect(page.locator("#rule-pattern-1")).to_be_focused()
    expect(page.locator("#rule-pattern-1")).to_have_value("[v")


def test_everything_works_without_javascript(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice, java_script_enabled=False)
    page.goto(SETTINGS)
    page.get_by_label("Some tags are protected").check()
    _insert(page, "rule Release versions")
    expect(page.locator("#rule-pattern-1")).to_have_value(SEMVER.pattern)
    page.get_by_role("button", name="Add a rule").click()
    page.get_by_role("button", name="Empty rule").click()
    page.locator("#rule-name-2").fill("Production")
    page.locator("#rule-pattern-2").fill("^prod$")
    page.get_by_label("Tags to try").fill("prod\nv1.2.0\nfeature-x")
    page.get_by_role("button", name="Try", exact=True).click()
    expect(page.locator("#tried-locked li")).to_have_count(2)
    page.get_by_role("button", name="Move rule 2 up").click()
    expect(page.locator("#rule-name-1")).to_have_value("Production")
    page.get_by_role("button", name="Move rule 1 down").click()
    page.get_by_role("button", name="Check what saving changes").click()
    expect(page.locator("#preview-checked")).to_have_text("No tags yet")
    page.get_by_role("button", name="Remove rule 2").click()
    page.get_by_role("button", name="Save", exact=True).last.click()
    expect(page.get_by_role("status").first).to_contain_text("Saved")
    assert read_policy(acme).rules == (SEMVER,)


def test_a_suggestion_is_used_with_the_keyboard_alone(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice)
    page.goto(SETTINGS)
    page.get_by_label("Some tags are protected").check()
    page.locator("#rule-name-1").fill("Versions")
    page.locator("#rule-pattern-1").focus()
    page.keyboard.type("v1.*, v2.*")
    expect(page.locator("#tester-result .advice")).to_contain_text('a tag has no ","')
    page.keyboard.press("Enter")
    expect(page.locator(".summary")).to_be_focused()
    page.locator(".summary a").press("Enter")
    expect(page.locator("#rule-pattern-1")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Use ^(v1.*|v2.*)$ for rule 1")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#rule-pattern-1")).to_be_focused()
    expect(page.locator("#rule-pattern-1")).to_have_value("^(v1.*|v2.*)$")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("Saved")
    assert read_policy(acme).rules == (PolicyRule("Versions", "^(v1.*|v2.*)$"),)


# Exceptions.


def test_exceptions_are_tried_as_typed_and_saved(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice)
    page.goto(SETTINGS)
    page.get_by_label("All tags are protected").check()
    page.get_by_label("Tags to try").fill("latest\nv1")
    locked, mutable = page.locator("#tried-locked"), page.locator("#tried-mutable")
    expect(locked).to_contain_text("latest")
    _insert(page, "exception Moving latest")
    expect(page.locator("#exception-name-1")).to_be_focused()
    expect(mutable).to_contain_text("Exception 1: Moving latest")
    expect(mutable.locator("mark")).to_have_text("latest")
    page.locator("#exception-pattern-1").fill("^late$")
    expect(locked).to_contain_text("latest")
    page.locator("#exception-pattern-1").fill("^latest$")
    expect(mutable).to_contain_text("latest")
    expect(locked).to_contain_text("v1")
    assert read_policy(acme) == Policy()
    page.get_by_role("button", name="Save").last.click()
    expect(page.get_by_role("status").first).to_contain_text("Saved")
    assert read_policy(acme) == Policy(1, Protection.ALL, exceptions=(LATEST,))


def test_exceptions_are_added_and_removed_with_the_keyboard_alone(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice)
    page.goto(SETTINGS)
    page.locator("#protection-all").check()
    page.get_by_role("button", name="Add an exception").focus()
    page.keyboard.press("Enter")
    for _ in range(4):
        page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Empty exception")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#exception-name-1")).to_be_focused()
    page.keyboard.type("Moving latest")
    page.keyboard.press("Tab")
    page.keyboard.type("^latest$")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#exceptions-heading")).to_be_focused()
    expect(page.locator("#exception-name-1")).to_have_count(0)
    page.get_by_role("button", name="Add an exception").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#exception-name-1")).to_be_focused()
    # Enter in a field saves, as in any form.
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("Saved")
    assert read_policy(acme).exceptions == (CACHES,)

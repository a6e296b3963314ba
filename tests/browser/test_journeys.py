"""What people come for, from the page where they start to the end, with the keyboard alone."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect
from rest_framework.test import APIClient

from containers.models import Tag as TagRecord
from immutability.actions.save_settings import save_container_settings
from immutability.models import LockedTag
from immutability.policy.drafts import Draft
from immutability.policy.protection import Policy, PolicyRule, Protection
from immutability.reading import read_policy
from tests.browser.keyboard import choose, press, type_into
from tests.conftest import AA, BB, SEMVER, protect_workspace
from tests.immutability.core import ALICE, Core
from tests.immutability.making import land, make_lock
from tests.immutability.registry_double import RegistryDouble, image
from workspaces.access import Scope
from workspaces.access_tokens import find_access_token
from workspaces.models import User, Workspace

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

REASON = "Reason (recorded in the lock log)"
WITH_AND_WITHOUT_SCRIPTS = pytest.mark.parametrize(
    "has_scripts", [True, False], ids=["with scripts", "without scripts"]
)
MAX_CLICKS_TO_PROTECT = 5


def _button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True).last


def _link(page: Page, name: str) -> Locator:
    return page.get_by_role("link", name=name, exact=True).first


def _push(registry: APIClient, tag: str, digest: str) -> str:
    """Let the registry ask about a push of bob's; return what bob is told."""
    body = {"repository": "acme/api", "tag": tag, "digest": digest, "actor": "bob"}
    answer = registry.post("/api/v1/check-push", body, format="json")
    error = answer.json()["error"]
    return error["body"]["errors"][0]["message"] if error else ""


@WITH_AND_WITHOUT_SCRIPTS
@pytest.mark.parametrize("has_mouse", [True, False], ids=["mouse", "keyboard"])
def test_releases_are_protected_in_five_clicks(
    acme: Workspace,
    alice: User,
    registry: APIClient,
    signed_in_page: Callable[..., Page],
    *,
    has_mouse: bool,
    has_scripts: bool,
) -> None:
    page = signed_in_page(alice, java_script_enabled=has_scripts)
    page.goto("/acme/")
    steps: tuple[Callable[[], Locator], ...] = (
        lambda: page.get_by_role("main").get_by_role("link", name="Container settings").first,
        lambda: page.get_by_label("Some tags are protected"),
        lambda: _button(page, "Add a rule"),
        lambda: page.get_by_role("button", name="Insert the rule Release versions"),
        lambda: _save_button_with_rule(page),
    )
    assert len(steps) <= MAX_CLICKS_TO_PROTECT
    for find in steps:
        target = find()
        if has_mouse:
            target.click()
        elif target.get_attribute("type") == "radio":
            choose(target)
        else:
            press(target)
        # What one does next is there.
        page.wait_for_load_state("networkidle")
    expect(page.get_by_role("status").first).to_contain_text("Saved")
    assert read_policy(acme).rules == (SEMVER,)
    assert not _push(registry, "v1.2.0", AA)
    assert "is locked" in _push(registry, "v1.2.0", BB)


def _save_button_with_rule(page: Page) -> Locator:
    """Return Save, once the rule that was inserted is shown."""
    expect(page.locator("#rule-name-1")).to_have_value("Release versions")
    return _button(page, "Save")


@WITH_AND_WITHOUT_SCRIPTS
def test_a_refusal_in_the_terminal_leads_to_what_to_do(
    acme: Workspace,
    alice: User,
    bob: User,
    registry: APIClient,
    open_page: Callable[..., Page],
    live_server: object,
    *,
    has_scripts: bool,
) -> None:
    protect_workspace(acme, Protection.SOME, SEMVER)
    _push(registry, "v1.2.0", AA)
    said = _push(registry, "v1.2.0", BB)
    address = re.search(r"https?://[^/\s]+(/acme/lock-log/\w+)", said)
    assert address is not None, said
    # Signed out, as somebody is who comes from a terminal.
    page = open_page(base_url=str(live_server), java_script_enabled=has_scripts)
    page.goto(address[1])
    type_into(page.get_by_label("User name"), "bob")
    type_into(page.get_by_label("Password", exact=True), "demo")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{address[1]}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("push of acme/api:v1.2.0 was")
    todo = page.get_by_role("region", name="What to do")
    expect(todo).to_contain_text("docker push")
    expect(todo.get_by_role("list", name="Admins of Acme")).to_have_text("alice")
    press(_link(page, "Everything that happened to this tag"))
    expect(page.locator(".story-row")).to_have_count(2)


@WITH_AND_WITHOUT_SCRIPTS
def test_who_turned_it_off_and_what_moved_is_found_from_the_overview(
    acme: Workspace,
    alice: User,
    olga: User,
    protect: Callable[..., Policy],
    signed_in_page: Callable[..., Page],
    *,
    has_scripts: bool,
) -> None:
    core = Core(acme, RegistryDouble(), protect)
    core.protect(Protection.SOME, SEMVER)
    core.push("v1.0.0", "v1.0.1", image=image("one"))
    _turn_off(acme)
    core.push("v1.0.0", image=image("two"))
    core.protect(Protection.SOME, SEMVER)
    page = signed_in_page(olga, java_script_enabled=has_scripts)
    page.goto("/acme/")
    press(_link(page, "Open the lock log"))
    press(page.locator("a.chip[href*='group=settings']"))
    page.wait_for_url("**group=settings**")
    row = page.locator(".story-row").filter(has_text="turned protection off")
    expect(row).to_contain_text("alice turned protection off: Some tags → No tags")
    expect(row).to_contain_text("2 locks suspended")
    press(row.locator("summary"))
    if not has_scripts:
        press(row.get_by_role("link", name="Every tag that moved"))
        row = page.get_by_role("main")
    expect(row.locator("tbody tr")).to_have_count(1)
    expect(row.locator("tbody tr")).to_contain_text("acme/api:v1.0.0")
    expect(row.locator("tbody tr")).to_contain_text("dana")


def _turn_off(acme: Workspace) -> None:
    """Let alice turn protection off."""
    draft = Draft(Protection.NONE, (SEMVER,))
    version = read_policy(acme).version
    save_container_settings(
        acme, draft, expected_version=version, may_suspend_locks=True, actor=ALICE
    )


def test_a_tag_is_deleted_and_its_name_freed(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    protect_workspace(acme, Protection.SOME, SEMVER)
    make_lock(acme, "v1.2.0", rule_name=SEMVER.name)
    page = signed_in_page(alice)
    page.goto("/acme/")
    press(_link(page, "Locked tags"))
    opener = _button(page, "Actions for acme/api:v1.2.0")
    dialog = page.get_by_role("dialog")
    press(opener)
    press(_link(page, "Delete tag… acme/api:v1.2.0"))
    # What is asked can be left without an answer.
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    press(opener)
    press(_link(page, "Delete tag… acme/api:v1.2.0"))
    type_into(dialog.get_by_label(REASON), "Published by mistake")
    page.keyboard.press("Enter")
    expect(page.locator(".banner")).to_contain_text("acme/api:v1.2.0 is deleted.")
    assert LockedTag.objects.get().state == "reserved"
    press(opener)
    press(_link(page, "Free name… acme/api:v1.2.0"))
    type_into(dialog.get_by_label(REASON), "Never used")
    page.keyboard.press("Enter")
    expect(page.locator(".banner")).to_contain_text("is free: the next push can bring any image.")
    assert not LockedTag.objects.exists()


def test_a_token_that_only_pushes_is_made_and_revoked(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    page = signed_in_page(alice)
    page.goto("/acme/")
    press(_link(page, "Settings"))
    press(_link(page, "Access tokens"))
    type_into(page.get_by_label("Name", exact=True), "my ci")
    press(page.get_by_label("Push-only", exact=True), "Space")
    type_into(page.get_by_label("Only these repositories"), "api-*\nteam/**")
    choose(page.get_by_label("In one year"))
    page.keyboard.press("Enter")
    shown = page.get_by_label("Access token", exact=True)
    expect(shown).to_be_focused()
    # What Ctrl+A takes is the secret and nothing else.
    page.keyboard.press("Control+a")
    secret = shown.evaluate("field => field.value.slice(field.selectionStart, field.selectionEnd)")
    token = find_access_token(secret)
    assert token is not None
    assert (token.name, token.scopes) == ("my ci", [Scope.PUSH_ONLY])
    assert token.repositories == ["api-*", "team/**"]
    expect(page.get_by_role("region", name="GitHub Actions")).to_contain_text("acme+my ci")
    press(_link(page, "All access tokens"))
    press(_link(page, "Revoke my ci"))
    expect(page.get_by_role("heading", name="Revoke this access token?")).to_be_visible()
    press(page.get_by_role("dialog").get_by_role("button", name="Revoke"))
    expect(page.get_by_role("status").first).to_contain_text("my ci is revoked")
    assert find_access_token(secret) is None


def test_what_saving_changes_is_known_before_saving(
    acme: Workspace, alice: User, signed_in_page: Callable[..., Page]
) -> None:
    nightly = PolicyRule("Nightly builds", "^nightly-")
    protect_workspace(acme, Protection.SOME, SEMVER, nightly)
    for number in range(3):
        make_lock(acme, f"nightly-{number}", rule_name=nightly.name)
    for digest in (AA, BB):
        land(acme, digest, "main", timezone.now() - timedelta(days=1))
    TagRecord.objects.create(
        workspace=acme, repository="acme/api", name="main", digest=BB, pushed_at=timezone.now()
    )
    page = signed_in_page(alice)
    page.goto("/acme/settings/packages/containers/")
    pattern = page.get_by_label("RE2 pattern of rule 2")
    type_into(pattern, "^main$")
    preview = page.get_by_role("group", name="Effects")
    expect(preview).to_contain_text("locks are suspended, no longer covered by Nightly builds")
    expect(preview).to_contain_text("would have been refused")
    press(preview.locator("summary").filter(has_text="suspended"))
    expect(_link(page, "acme/api:nightly-0")).to_be_visible()
    press(_button(page, "Save"))
    question = page.locator(".question")
    expect(question).to_be_focused()
    expect(question).to_contain_text("Suspend 3 locks?")
    press(_button(page, "Cancel"))
    expect(question).to_have_count(0)
    expect(pattern).to_have_value("^main$")
    assert read_policy(acme).rules == (SEMVER, nightly)
    press(_button(page, "Save"))
    expect(question).to_be_focused()
    press(_button(page, "Suspend 3 locks and save"))
    expect(page.locator(".banner")).to_contain_text("1 rule edited. 3 locks")
    assert read_policy(acme).rules == (SEMVER, PolicyRule(nightly.name, "^main$"))

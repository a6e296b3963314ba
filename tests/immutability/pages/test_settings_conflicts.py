"""Saving over someone else's change, and saving what would suspend locks: the page asks first."""

import re
from collections.abc import Callable

import pytest
from django.test import Client

from immutability import preview
from immutability.actions import save_settings
from immutability.policy.protection import Policy, PolicyRule, Protection
from immutability.reading import read_policy
from immutability.reconcile.counts import run_counts
from tests.conftest import CACHES, SEMVER
from tests.immutability.making import make_lock, tag_events
from tests.page import Browser, Page
from tests.problems import nothing_written
from workspaces.access import SYSTEM, Role
from workspaces.actions.members import add_member
from workspaces.models import User, Workspace

SETTINGS = "/acme/settings/packages/containers/"
INSERT_LATEST = "Insert the exception Moving latest ^latest$ Only the tag latest"
INSERT_CACHES = (
    "Insert the exception Build caches ^buildcache Tags like buildcache or buildcache-arm64"
)


@pytest.fixture
def other_admin(acme: Workspace, sign_in: Callable[[User], Client]) -> Browser:
    """Carol's browser: she is an admin too."""
    carol = User.objects.create_user("carol", password="demo")
    add_member(acme, carol, Role.ADMIN, actor=SYSTEM)
    return Browser(sign_in(carol))


def compare(page: Page) -> dict[str, tuple[str, str, bool]]:
    """Return of each setting what is saved, what is typed, and whether that is marked."""
    rows = page.main.find("table", class_="conflict").find("tbody").find_all("tr")
    lines = {}
    for row in rows:
        saved, typed, said = (cell.text for cell in row.find_all("td"))
        assert bool(row.find_all("mark")) is bool(said), row.text
        lines[row.find("th").text] = saved, typed, bool(said)
    return lines


# Someone else saved meanwhile.


def test_a_save_over_somebody_elses_is_noticed_and_saves_nothing(
    acme: Workspace, admin: Browser, other_admin: Browser
) -> None:
    admin.open(SETTINGS)
    other_admin.open(SETTINGS)
    other_admin.press("Save", protection="all")
    with nothing_written():
        page = admin.press("Save", 409, protection="some", rule_name="A", rule_pattern="a")
    alert = page.main.find(role="alert")
    assert alert.find("h2").text == "Someone else saved these settings while you were editing"
    assert "carol saved version 1 at" in alert.text
    assert alert.find("time")["datetime"]
    assert compare(page) == {
        "Protection": ("All tags are protected", "Some tags are protected", True),
        "Rule “A”": ("none", "a", True),
        "Refuse identical pushes": ("no", "no", False),
        "Protect signature tags": ("no", "no", False),
        "Put locked tags back": ("no", "no", False),
    }
    assert page.focused_id == ""
    assert page.banners == []


def test_what_was_typed_is_kept_and_saving_again_replaces_the_other(
    acme: Workspace, admin: Browser, other_admin: Browser
) -> None:
    admin.open(SETTINGS)
    other_admin.open(SETTINGS)
    other_admin.press("Save", protection="all", rule_name="Carol's", rule_pattern="^c$")
    page = admin.press(
        "Save",
        409,
        protection="some",
        rule_name=[" Mine "],
        rule_pattern=[" |^m$"],
        protect_signature_tags="on",
        sample_tags="m",
    )
    assert compare(page)["Rule “Carol's”"] == ("^c$", "none", True)
    assert compare(page)["Rule “ Mine ”"] == ("none", "|^m$", True)
    form = page.read_form(page.by_id("settings-form"))
    assert (form["rule_name"], form["rule_pattern"]) == ([" Mine "], [" |^m$"])
    assert (form["protection"], form["sample_tags"]) == (["some"], ["m"])
    page = admin.press("Save")
    assert page.banners[0].startswith("Saved: Some tags are protected.")
    assert read_policy(acme) == Policy(
        2, Protection.SOME, (PolicyRule(" Mine ", " |^m$"),), protect_signature_tags=True
    )


def test_exceptions_are_shown_as_saved_and_kept_as_typed(
    acme: Workspace, admin: Browser, other_admin: Browser
) -> None:
    admin.open(SETTINGS)
    other_admin.open(SETTINGS)
    other_admin.press(INSERT_LATEST)
    other_admin.press("Save", protection="all")
    admin.press(INSERT_CACHES)
    page = admin.press("Save", 409, protection="all")
    assert compare(page)["Exception “Moving latest”"] == ("^latest$", "none", True)
    assert page.by_id("exception-pattern-1")["value"] == "^buildcache"
    admin.press("Save")
    assert read_policy(acme).exceptions == (CACHES,)


def test_a_third_save_in_between_is_noticed_again(admin: Browser, other_admin: Browser) -> None:
    admin.open(SETTINGS)
    other_admin.open(SETTINGS)
    other_admin.press("Save", protection="all")
    admin.press("Save", 409, protection="none", rule_name="A", rule_pattern="a")
    other_admin.press("Save", refuse_identical_pushes="on")
    page = admin.press("Save", 409)
    assert "carol saved version 2 at" in page.main.find(role="alert").text
    assert compare(page)["Refuse identical pushes"] == ("yes", "no", True)


def test_ones_own_change_can_be_discarded(admin: Browser, other_admin: Browser) -> None:
    admin.open(SETTINGS)
    other_admin.open(SETTINGS)
    other_admin.press("Save", protection="all")
    admin.press("Save", 409, protection="none", rule_name="A", rule_pattern="a")
    page = admin.follow("discard yours and load what is saved")
    assert page.find(type="radio", checked=True)["value"] == "all"
    assert page.by_id("rule-name-1")["value"] == ""


def test_adding_a_rule_does_not_hide_that_somebody_saved(
    admin: Browser, other_admin: Browser
) -> None:
    admin.open(SETTINGS)
    other_admin.open(SETTINGS)
    other_admin.press("Save", protection="all")
    admin.press("Empty rule", rule_name="A", rule_pattern="a")
    admin.press("Save", 409)


def test_errors_come_before_the_conflict(admin: Browser, other_admin: Browser) -> None:
    admin.open(SETTINGS)
    other_admin.open(SETTINGS)
    other_admin.press("Save", protection="all")
    page = admin.press("Save", 422, protection="some", rule_name="A", rule_pattern="[")
    assert len(page.find_all(role="alert")) == 1
    admin.press("Save", 409, rule_pattern="a")


def test_the_same_page_in_two_tabs_is_a_conflict_too(admin: Browser, alice: User) -> None:
    second_tab = Browser(admin.client)
    admin.open(SETTINGS)
    second_tab.open(SETTINGS)
    second_tab.press("Save", protection="all")
    page = admin.press("Save", 409, protection="none")
    assert "alice saved version 1" in page.main.find(role="alert").text


# Saving would suspend locks.


@pytest.fixture
def locked(acme: Workspace, protect: Callable[..., Policy]) -> Workspace:
    """A workspace in which three tags are locked, two of them by a rule."""
    protect(acme, Protection.ALL, SEMVER)
    for tag in ("v1.0.0", "v1.0.1", "latest"):
        make_lock(acme, tag)
    return acme


def test_saving_what_suspends_locks_asks_first_and_changes_nothing(
    locked: Workspace, admin: Browser
) -> None:
    admin.open(SETTINGS)
    with nothing_written():
        page = admin.press("Save", 409, protection="some")
    alert = page.main.find(role="alert")
    assert alert.find("h2").text == "Suspend 1 lock?"
    assert [item.text for item in alert.find_all("li")] == ["1 lock is suspended: acme/api:latest"]
    assert page.find(type="radio", checked=True)["value"] == "some"
    assert page.focused_id == ""


def test_every_lock_that_would_be_suspended_is_listed(locked: Workspace, admin: Browser) -> None:
    admin.open(SETTINGS)
    page = admin.press("Save", 409, protection="none")
    alert = page.main.find(role="alert")
    assert alert.find("h2").text == "Suspend 3 locks?"
    examples = [code.text for code in alert.find("li").find_all("code")]
    assert sorted(examples) == ["acme/api:latest", "acme/api:v1.0.0", "acme/api:v1.0.1"]


def test_of_many_locks_ten_are_listed_and_the_others_counted(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.ALL)
    for number in range(13):
        make_lock(acme, f"v{number}")
    admin.open(SETTINGS)
    page = admin.press("Save", 409, protection="none")
    item = page.main.find(role="alert").find("li")
    assert item.text.startswith("13 locks are suspended: ")
    assert item.text.endswith(" and 3 more")
    assert len(item.find_all("code")) == 10


@pytest.mark.parametrize(
    ("limit", "most", "heading"),
    [("MAX_NAMES", 2, "Suspend 1 locks or more?"), ("MAX_SECONDS", 0.0, "Suspend locks?")],
)
def test_where_there_are_too_many_tags_to_check_the_page_says_so(
    acme: Workspace,
    admin: Browser,
    protect: Callable[..., Policy],
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    most: float,
    heading: str,
) -> None:
    monkeypatch.setattr(save_settings, "MAX_COUNTED_AT_ONCE", 0)
    monkeypatch.setattr(preview, limit, most)
    protect(acme, Protection.ALL, SEMVER)
    for tag in ("first", "latest", "v1.0.1"):
        make_lock(acme, tag)
    admin.open(SETTINGS)
    with nothing_written():
        page = admin.press("Save", 409, protection="some")
    alert = page.main.find(role="alert")
    assert re.sub(r"\d", "1", alert.find("h2").text) == heading
    assert "There are too many tags to check all of them before you save" in alert.text
    page = admin.press("Suspend locks and save")
    assert "the locks that hold again: waiting for the worker." in page.main.text
    run_counts()
    assert "Taglock is counting" not in admin.open(SETTINGS).main.text


def test_of_more_locks_than_a_save_counts_the_page_asks_about_all(
    acme: Workspace,
    admin: Browser,
    protect: Callable[..., Policy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(save_settings, "MAX_COUNTED_AT_ONCE", 1)
    protect(acme, Protection.ALL, SEMVER)
    for tag in ("first", "latest", "v1.0.1"):
        make_lock(acme, tag)
    admin.open(SETTINGS)
    page = admin.press("Save", 409, protection="some")
    assert page.main.find(role="alert").find("h2").text == "Suspend 2 locks?"


def test_nothing_is_asked_where_no_lock_is_suspended(
    acme: Workspace,
    admin: Browser,
    protect: Callable[..., Policy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(save_settings, "MAX_COUNTED_AT_ONCE", 1)
    protect(acme, Protection.ALL, SEMVER)
    for tag in ("v1.0.0", "v1.0.1"):
        make_lock(acme, tag)
    admin.open(SETTINGS)
    page = admin.press("Save", protection="some")
    assert page.banners[0].startswith("Saved: Some tags are protected.")


def test_the_question_tells_the_locks_by_rule(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, SEMVER, PolicyRule("Production", "^prod"))
    for tag in ("v1.0.0", "v1.0.1", "prod"):
        make_lock(acme, tag)
    admin.open(SETTINGS)
    page = admin.press("Save", 409, rule_name="Other", rule_pattern="^x")
    said = [item.text.partition(":")[0] for item in page.main.find(role="alert").find_all("li")]
    assert said == [
        "2 locks are suspended, no longer covered by Release versions",
        "1 lock is suspended, no longer covered by Production",
    ]


def test_cancel_keeps_what_is_typed_and_asks_nothing_more(
    locked: Workspace, admin: Browser
) -> None:
    admin.open(SETTINGS)
    admin.press("Save", 409, protection="none")
    with nothing_written():
        page = admin.press("Cancel")
    assert page.main.find_all(role="alert") == []
    assert page.find(type="radio", checked=True)["value"] == "none"


def test_the_question_is_the_first_thing_on_the_page(locked: Workspace, admin: Browser) -> None:
    admin.open(SETTINGS)
    page = admin.press("Save", 409, protection="none")
    elements = list(page.main.walk())
    assert elements.index(page.main.find(role="alert")) < elements.index(page.main.find("h1"))


def test_save_and_suspend_saves(locked: Workspace, admin: Browser) -> None:
    admin.open(SETTINGS)
    admin.press("Save", 409, protection="none")
    page = admin.press("Suspend 3 locks and save")
    assert page.redirects == [(SETTINGS, 302)]
    assert page.banners[0].startswith("Saved: No tags are protected.")
    assert read_policy(locked) == Policy(2, Protection.NONE, (SEMVER,))
    assert tag_events(locked) == []


def test_plain_save_asks_again(locked: Workspace, admin: Browser) -> None:
    admin.open(SETTINGS)
    admin.press("Save", 409, protection="none")
    with nothing_written():
        admin.press("Save", 409)


def test_enter_never_suspends_locks(locked: Workspace, admin: Browser) -> None:
    admin.open(SETTINGS)
    page = admin.press("Save", 409, protection="none")
    form = page.by_id("settings-form")
    buttons = [button for button in page.main.find_all("button") if page.form_of(button) is form]
    assert buttons[0]["value"] == "save"


def test_somebody_who_thinks_again_saves_without_suspending(
    locked: Workspace, admin: Browser
) -> None:
    admin.open(SETTINGS)
    admin.press("Save", 409, protection="none")
    page = admin.press("Save", protection="all", refuse_identical_pushes="on")
    assert page.banners[0].startswith("Saved: All tags are protected.")


def test_a_conflict_comes_before_the_question(
    locked: Workspace, admin: Browser, other_admin: Browser
) -> None:
    admin.open(SETTINGS)
    other_admin.open(SETTINGS)
    other_admin.press("Save", refuse_identical_pushes="on")
    with nothing_written():
        page = admin.press("Save", 409, protection="none")
        assert "Someone else saved" in page.main.find(role="alert").text
        page = admin.press("Save", 409)
        assert "Suspend 3 locks?" in page.main.find(role="alert").text


def test_agreeing_to_suspend_does_not_override_somebody_elses_save(
    locked: Workspace, admin: Browser, other_admin: Browser
) -> None:
    admin.open(SETTINGS)
    admin.press("Save", 409, protection="none")
    other_admin.open(SETTINGS)
    other_admin.press("Save", refuse_identical_pushes="on")
    with nothing_written():
        page = admin.press("Suspend 3 locks and save", 409)
    assert "Someone else saved" in page.main.find(role="alert").text


def test_errors_come_before_the_question(locked: Workspace, admin: Browser) -> None:
    admin.open(SETTINGS)
    with nothing_written():
        page = admin.press("Save", 422, protection="some", rule_pattern="[")
    assert "suspend" not in page.main.find(role="alert").text


def test_a_hostile_rule_of_somebody_else_is_shown_as_text(
    acme: Workspace, admin: Browser, other_admin: Browser
) -> None:
    admin.open(SETTINGS)
    other_admin.open(SETTINGS)
    other_admin.press(
        "Save", protection="some", rule_name="<script>alert(1)</script>", rule_pattern="[&<>v]"
    )
    page = admin.press("Save", 409, protection="all")
    saved, typed, _ = compare(page)["Rule “<script>alert(1)</script>”"]
    assert (saved, typed) == ("[&<>v]", "none")
    assert page.main.find_all("script") == []

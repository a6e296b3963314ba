"""The pattern tester in its page: without JavaScript, who may try, the newest tags, limits."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from containers.models import Tag as TagRecord
from immutability.models import ContainerSettings
from tests.conftest import AA, SEMVER
from tests.immutability.pages.tester import SETTINGS, TEST, answers_of, send, send_rule
from tests.page import Browser
from tests.problems import nothing_written
from workspaces.models import CallCount, Membership, User, Workspace
from workspaces.throttles import TESTER_PER_CALLER

# Without JavaScript.


def test_without_javascript_the_page_shows_the_same(admin: Browser) -> None:
    rule = {"rule_name": "Mine", "rule_pattern": "prod"}
    tags = "nonprod-1\nx\n?"
    admin.open(SETTINGS)
    with nothing_written():
        page = admin.press("Try", protection="some", sample_tags=tags, **rule)
    shown = page.by_id("tester-result")
    assert send(admin, tags, **rule).text.startswith(shown.text)
    assert shown.find_all("mark")[0].text == "prod"
    assert answers_of(shown) == {"nonprod-1": "locked", "x": "mutable", "?": "no tag"}
    assert page.focused_id == "sample-tags"


def test_an_invalid_pattern_without_javascript_is_an_answer_too(admin: Browser) -> None:
    admin.open(SETTINGS)
    page = admin.press("Try", protection="some", rule_name="A", rule_pattern="[", sample_tags="v1")
    assert page.by_id("tester-result").find(class_="error").text.startswith("Rule 1: ")
    assert page.by_id("rule-pattern-1")["value"] == "["


def test_the_result_is_a_status_that_is_in_the_first_page(admin: Browser) -> None:
    page = admin.open(SETTINGS)
    tester = page.by_id("tester-result")
    assert tester.find_all(role="status")
    assert tester["hx-post"] == TEST
    assert tester["hx-sync"] == "this:replace"
    assert "input delay:300ms" in tester["hx-trigger"]


def test_no_button_of_the_tester_saves(admin: Browser) -> None:
    page = admin.open(SETTINGS)
    buttons = page.by_id("try-tags").find_all("button")
    assert [button["value"] for button in buttons] == ["use_newest_tags", "test"]


# Who may try.


@pytest.mark.parametrize("role", ["member", "auditor"])
def test_members_and_auditors_may_not_try_patterns(
    request: pytest.FixtureRequest, role: str
) -> None:
    browser: Browser = request.getfixturevalue(role)
    assert browser.client.post(TEST, {"sample_tags": "v1"}).status_code == 403


def test_only_post_is_answered(admin: Browser) -> None:
    assert admin.client.get(TEST).status_code == 405


def test_where_the_session_is_over_the_page_stays_with_what_was_typed(acme: Workspace) -> None:
    for address in (TEST, f"{SETTINGS}preview/"):
        response = Client().post(address, {"sample_tags": "v1"}, headers={"HX-Request": "true"})
        assert response.status_code == 401
        assert "HX-Redirect" not in response.headers
        assert response.content == b""


def test_without_htmx_a_session_that_is_over_is_redirected(acme: Workspace) -> None:
    response = Client().post(TEST, {"sample_tags": "v1"})
    assert response.status_code == 302
    assert response.headers["Location"].startswith("/accounts/login/?next=")


def test_somebody_who_lost_their_role_may_not_try(admin: Browser, alice: User) -> None:
    Membership.objects.filter(user=alice).update(role="member")
    assert admin.client.post(TEST, headers={"HX-Request": "true"}).status_code == 403


# The newest tags.


def test_the_newest_tags_of_the_registry_are_tried_at_a_press(
    acme: Workspace, admin: Browser
) -> None:
    for days, tag in enumerate(["v3.0.0", "main", "v2.0.0"]):
        at = timezone.now() - timedelta(days=days)
        TagRecord.objects.create(
            workspace=acme, repository="acme/api", name=tag, digest=AA, pushed_at=at
        )
    admin.open(SETTINGS)
    page = admin.press(
        "Use newest tags",
        protection="some",
        rule_name="Mine",
        rule_pattern=SEMVER.pattern,
        sample_tags="typed",
    )
    form = page.read_form(page.by_id("settings-form"))
    assert form["sample_tags"] == ["v3.0.0\nmain\nv2.0.0"]
    assert answers_of(page.by_id("tester-result")) == {
        "v3.0.0": "locked",
        "v2.0.0": "locked",
        "main": "mutable",
    }
    assert page.focused_id == "sample-tags"


# Limits.


@pytest.fixture
def twice(monkeypatch: pytest.MonkeyPatch, within_one_window: None) -> None:
    """Patterns may be tried twice."""
    limit = replace(TESTER_PER_CALLER, calls=2, seconds=3600)
    monkeypatch.setattr("immutability.pages.tester.TESTER_PER_CALLER", limit)


def test_too_many_tests_are_answered_with_a_line_in_place_of_results(
    admin: Browser, twice: None
) -> None:
    for _ in range(2):
        assert answers_of(send_rule(admin, "v1", "v1")) == {"v1": "locked"}
    fragment = send_rule(admin, "v1", "v1")
    assert answers_of(fragment) == {}
    assert fragment.find(class_="error").text.startswith(
        "Too many tests of patterns. Try again in "
    )


def test_too_many_tests_without_javascript_are_told_in_the_page(
    admin: Browser, twice: None
) -> None:
    admin.open(SETTINGS)
    for _ in range(2):
        page = admin.press("Try", protection="all", sample_tags="v1")
        assert answers_of(page.by_id("tester-result")) == {"v1": "locked"}
    page = admin.press("Try", protection="all", sample_tags="v1")
    assert page.by_id("tester-result").text.startswith("Too many tests of patterns.")
    admin.press("Save", protection="all")
    assert ContainerSettings.objects.get().protection == "all"


def test_a_page_or_a_tester_without_tags_counts_nothing(admin: Browser, twice: None) -> None:
    for _ in range(3):
        admin.open(SETTINGS)
        send_rule(admin, " \n", "v1")
    assert not CallCount.objects.exists()

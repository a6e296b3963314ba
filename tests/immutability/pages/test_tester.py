"""The pattern tester: its fragment, its place in the page, and that it decides as pushes do."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client

from containers.names import TagName
from immutability.models import ContainerSettings
from immutability.policy.patterns import PatternEvaluationError
from immutability.policy.protection import (
    Policy,
    PolicyException,
    PolicyRule,
    Protection,
    cover,
)
from immutability.policy.tester import MAX_SAMPLE_TAGS
from immutability.reading import read_policy
from tests.conftest import SEMVER
from tests.page import Browser, Element, Page, parse
from tests.problems import nothing_written
from workspaces.models import CallCount, Membership, User, Workspace
from workspaces.throttles import TESTER_PER_CALLER

SETTINGS = "/acme/settings/packages/containers/"
TEST = "/acme/settings/packages/containers/test/"
SIGNATURE_TAG = "sha256-" + "0" * 64 + ".sig"

Typed = str | list[str]


def send(browser: Browser, tags: str, protection: str = "some", /, **typed: Typed) -> Page:
    """Send what the page's script sends, and return the fragment that comes back."""
    sent = {"version": "0", "sample_tags": tags, "protection": protection, **typed}
    response = browser.client.post(TEST, sent, headers={"HX-Request": "true"})
    assert response.status_code == 200
    return parse(response.content.decode())


def send_rule(browser: Browser, tags: str, pattern: str, protection: str = "some") -> Page:
    """Try one rule."""
    return send(browser, tags, protection, rule_name="Mine", rule_pattern=pattern)


def answers_of(fragment: Element) -> list[str]:
    """Return the answer for each sample tag."""
    return [answer.text for answer in fragment.find_all(class_="state")]


def read_explanation(fragment: Element) -> str:
    """Return what is said of the only sample tag."""
    return fragment.find("li").find(class_="quiet").text


# The answers.


def test_each_sample_tag_is_answered_in_its_order(admin: Browser) -> None:
    fragment = send_rule(admin, "v1.0.0\nlatest\nv2.14.3\nnot a tag!", SEMVER.pattern)
    assert [item.find("code").text for item in fragment.find_all("li")] == [
        "v1.0.0",
        "latest",
        "v2.14.3",
        "not a tag!",
    ]
    assert answers_of(fragment) == [
        "Would be locked",
        "Not protected",
        "Would be locked",
        "Not a tag",
    ]


def test_it_is_a_fragment_and_no_page(admin: Browser) -> None:
    fragment = send_rule(admin, "v1.0.0", SEMVER.pattern)
    assert fragment.find_all("html") == fragment.find_all("form") == []


def test_blank_lines_and_spaces_around_are_no_part_of_a_tag(admin: Browser) -> None:
    fragment = send_rule(admin, "\n  v1.0.0  \r\n\r\n\t\nlatest\n", SEMVER.pattern)
    assert answers_of(fragment) == ["Would be locked", "Not protected"]


def test_under_all_every_tag_would_be_locked_but_signature_tags(admin: Browser) -> None:
    fragment = send(admin, f"latest\n{SIGNATURE_TAG}", "all")
    assert answers_of(fragment) == ["Would be locked", "Not protected: signature tag"]
    assert "All tags are protected." in fragment.text
    assert "Signing tools must be able to rewrite it." in fragment.text


def test_under_all_with_the_switch_signature_tags_would_be_locked_too(admin: Browser) -> None:
    fragment = send(admin, SIGNATURE_TAG, "all", protect_signature_tags="on")
    assert answers_of(fragment) == ["Would be locked"]


def test_under_none_nothing_would_be_locked_and_the_rules_are_explained(admin: Browser) -> None:
    fragment = send_rule(admin, "v1.0.0\nlatest", SEMVER.pattern, "none")
    assert answers_of(fragment) == ["Not protected", "Not protected"]
    first, second = (item.find(class_="quiet").text for item in fragment.find_all("li"))
    assert first == "No tags are protected; among some tags, “Mine” would match."
    assert second == "No tags are protected, and no rule matches."


def test_where_no_rule_matches_it_says_so(admin: Browser) -> None:
    assert read_explanation(send_rule(admin, "latest", SEMVER.pattern)) == "No rule matches."


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        ("-v1", '"-v1" is not a tag'),
        ("v1/2", '"v1/2" is not a tag'),
        ("ünï", "is not a tag"),
        ("1.0.0+5", "Helm writes + as _: try 1.0.0_5."),
        ("acme/api:v1", "Write the tag alone: try v1."),
    ],
)
def test_what_is_no_tag_is_told_why(admin: Browser, sample: str, reason: str) -> None:
    fragment = send_rule(admin, sample, ".*")
    assert answers_of(fragment) == ["Not a tag"]
    assert reason in read_explanation(fragment)


def test_without_sample_tags_it_says_what_to_type(admin: Browser) -> None:
    fragment = send_rule(admin, "  \n ", SEMVER.pattern)
    assert fragment.find_all("li") == []
    assert fragment.text.startswith("Type tags such as")


# Which part matches, and which rules.


@pytest.mark.parametrize(
    ("pattern", "tag", "matched"),
    [
        (SEMVER.pattern, "v1.0.0", "v1.0.0"),
        ("prod", "nonprod-1", "prod"),
        ("^prod", "prod-1", "prod"),
        ("o.*", "nonprod-1", "onprod-1"),
        (r"\d", "v12", "1"),
    ],
)
def test_the_matched_part_is_marked(admin: Browser, pattern: str, tag: str, matched: str) -> None:
    code = send_rule(admin, tag, pattern).find("li").find("code")
    assert code.text == tag
    assert code.find("mark").text == matched


@pytest.mark.parametrize("tag", ["latest", "no tag"])
def test_where_nothing_matches_nothing_is_marked(admin: Browser, tag: str) -> None:
    assert send_rule(admin, tag, SEMVER.pattern).find_all("mark") == []


def test_every_rule_that_matches_is_named(admin: Browser) -> None:
    fragment = send(
        admin,
        "v1.0.0",
        rule_name=["Versions", "Numbers", "Latest"],
        rule_pattern=["^v.*$", "^.*0$", "^latest$"],
    )
    assert read_explanation(fragment) == "Matched by “Versions” and “Numbers”."


def test_a_rule_without_a_name_is_named_by_its_pattern(admin: Browser) -> None:
    fragment = send(admin, "v1", rule_name="", rule_pattern="^v.*$")
    assert read_explanation(fragment) == "Matched by “^v.*$”."


def test_an_unanchored_pattern_that_matches_a_part_is_explained(admin: Browser) -> None:
    fragment = send_rule(admin, "nonprod-1", "prod")
    assert answers_of(fragment) == ["Would be locked"]
    assert read_explanation(fragment) == (
        "Matched by “Mine”. The pattern matches only the part “prod”: write ^ and $ around it to "
        "match whole tags."
    )


def test_a_pattern_that_matches_the_whole_tag_is_not_warned_about(admin: Browser) -> None:
    assert read_explanation(send_rule(admin, "prod", "prod")) == "Matched by “Mine”."


def test_a_pattern_that_matches_nothing_at_all_is_explained(admin: Browser) -> None:
    fragment = send_rule(admin, "feature", "x*")
    assert answers_of(fragment) == ["Would be locked"]
    # Not "write ^ and $ around it": ^x*$ would match nearly no tag.
    assert read_explanation(fragment) == (
        "Matched by “Mine”. The pattern can match an empty text, which is in every tag."
    )


# What cannot be tried.


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("[a-z", 'The bracket opened in "[a-z" is not closed.'),
        ("(?!x)", "RE2 has no lookahead or lookbehind"),
        ("", "Enter a pattern."),
        ("p" * 101, "The pattern has 101 characters; at most 100 are allowed."),
        ("v\x00", "Remove the character U+0000"),
    ],
)
def test_an_invalid_pattern_is_answered_with_the_reason(
    admin: Browser, pattern: str, reason: str
) -> None:
    fragment = send(admin, "v1", rule_name=["Good", "Bad"], rule_pattern=["^v", pattern])
    assert fragment.find(class_="error").text.startswith(f"Rule 2: {reason}")
    assert fragment.find_all("li") == []


def test_too_many_samples_are_refused_and_the_most_are_tried(admin: Browser) -> None:
    tags = [f"v{n}" for n in range(MAX_SAMPLE_TAGS + 1)]
    refused = send(admin, "\n".join(tags), "all")
    assert refused.find(class_="error").text == "Try at most 20 tags at once."
    assert refused.find_all("li") == []
    assert len(send(admin, "\n".join(tags[1:]), "all").find_all("li")) == MAX_SAMPLE_TAGS


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"sample_tags": "v1\n" + "x" * 129}, "Sample tag 2 has 129 characters"),
        ({"rule_name": ["R"] * 60, "rule_pattern": [r"(?i)\pL{900}"] * 60}, "remove 53."),
        ({"rule_name": "R", "rule_pattern": "x" * 101}, "at most 100 are allowed."),
    ],
)
def test_limits_come_before_anything_is_compiled(
    admin: Browser, monkeypatch: pytest.MonkeyPatch, typed: dict[str, Typed], words: str
) -> None:
    def fail(text: str) -> None:
        raise AssertionError(f"{text} was compiled")

    monkeypatch.setattr("immutability.policy.drafts.compile_pattern", fail)
    monkeypatch.setattr("immutability.policy.protection.compile_pattern", fail)
    sent = {"version": "0", "sample_tags": "v1", "protection": "some", **typed}
    for address, action in ((TEST, "test"), (SETTINGS, "test"), (SETTINGS, "add_rule")):
        response = admin.client.post(address, {**sent, "action": action})
        assert response.status_code == 200
        assert words in response.content.decode()
    response = admin.client.post(SETTINGS, {**sent, "action": "save", "sample_tags": ""})
    assert response.status_code == 422


def test_what_is_odd_about_a_rule_is_told_with_its_number(admin: Browser) -> None:
    fragment = send(admin, "", rule_name=["A", "", "B"], rule_pattern=["^v", "", "^prod$ "])
    advice = fragment.find(class_="advice")
    assert advice.text == (
        "Rule 3: This pattern matches no tag, so it protects nothing: a tag has no spaces. Did you "
        "mean “^prod$”?"
    )
    assert advice.find("code").text == "^prod$"
    assert send_rule(admin, "v1", SEMVER.pattern).find_all(class_="advice") == []


@pytest.mark.parametrize("protection", ["", "everything"])
def test_without_an_option_it_asks_for_one(admin: Browser, protection: str) -> None:
    fragment = send(admin, "v1", protection)
    assert fragment.find(class_="error").text == "Choose one of the three options first."


def test_a_matcher_that_fails_is_never_no_match(
    admin: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise PatternEvaluationError('The pattern "x" failed: out of memory')

    monkeypatch.setattr("immutability.policy.tester.match_patterns", fail)
    fragment = send_rule(admin, "v1", "x")
    assert fragment.find(class_="error").text == 'The pattern "x" failed: out of memory'
    assert answers_of(fragment) == []


def test_an_empty_request_breaks_nothing(admin: Browser) -> None:
    response = admin.client.post(TEST)
    assert response.status_code == 200


def test_hostile_tags_and_rules_are_shown_as_text(admin: Browser) -> None:
    fragment = send(
        admin,
        "<script>alert(1)</script>\nv1",
        rule_name="<img src=x onerror=alert(1)>",
        rule_pattern="^v1$",
    )
    assert fragment.find_all("script") == fragment.find_all("img") == []
    assert fragment.find_all("li")[0].find("code").text == "<script>alert(1)</script>"
    assert "“<img src=x onerror=alert(1)>”" in fragment.find_all("li")[1].text


# It tries what is typed, and changes nothing.


def test_unsaved_rules_are_tried_and_nothing_is_saved(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    with nothing_written():
        fragment = send_rule(admin, "v1.0.0\nprod", "^prod$")
    assert answers_of(fragment) == ["Not protected", "Would be locked"]


@pytest.mark.parametrize("version", ["0", "7", "abc", ""])
def test_the_version_is_of_no_matter(admin: Browser, version: str) -> None:
    response = admin.client.post(
        TEST, {"version": version, "sample_tags": "v1", "protection": "all"}
    )
    assert "Would be locked" in response.content.decode()


def test_patterns_are_tried_exactly_as_typed(admin: Browser) -> None:
    assert answers_of(send_rule(admin, "v1", " v1")) == ["Not protected"]


# Without JavaScript.


def test_without_javascript_the_page_shows_the_same(admin: Browser) -> None:
    rule = {"rule_name": "Mine", "rule_pattern": "prod"}
    tags = "nonprod-1\nx\n?"
    admin.open(SETTINGS)
    with nothing_written():
        page = admin.press("Test", protection="some", sample_tags=tags, **rule)
    shown = page.by_id("tester-result")
    assert shown.text == send(admin, tags, **rule).text
    assert shown.find_all("mark")[0].text == "prod"
    assert answers_of(shown) == ["Would be locked", "Not protected", "Not a tag"]
    assert page.focused_id == "sample-tags"


def test_an_invalid_pattern_without_javascript_is_an_answer_too(admin: Browser) -> None:
    admin.open(SETTINGS)
    page = admin.press("Test", protection="some", rule_name="A", rule_pattern="[", sample_tags="v1")
    assert page.by_id("tester-result").find(class_="error").text.startswith("Rule 1: ")
    assert page.by_id("rule-pattern-1")["value"] == "["


def test_the_result_is_a_status_that_is_in_the_first_page(admin: Browser) -> None:
    page = admin.open(SETTINGS)
    assert page.by_id("tester-result")["role"] == "status"
    tester = page.by_id("tester")
    assert tester["hx-post"] == TEST
    assert tester["hx-target"] == "#tester-result"
    assert tester["hx-sync"] == "this:replace"
    assert "input changed delay:300ms" in tester["hx-trigger"]


def test_no_button_of_the_tester_saves(admin: Browser) -> None:
    page = admin.open(SETTINGS)
    buttons = page.by_id("tester").find_all("button")
    assert [button["value"] for button in buttons] == ["test"]


# Who may try.


@pytest.mark.parametrize("role", ["member", "auditor"])
def test_members_and_auditors_may_not_try_patterns(
    request: pytest.FixtureRequest, role: str
) -> None:
    browser: Browser = request.getfixturevalue(role)
    assert browser.client.post(TEST, {"sample_tags": "v1"}).status_code == 403


def test_only_post_is_answered(admin: Browser) -> None:
    assert admin.client.get(TEST).status_code == 405


@pytest.mark.parametrize("path", [TEST, SETTINGS])
def test_where_the_session_is_over_htmx_sends_the_whole_page_to_sign_in(
    acme: Workspace, path: str
) -> None:
    response = Client().post(
        path,
        {"sample_tags": "v1", "action": "add_rule"},
        headers={"HX-Request": "true", "HX-Current-URL": f"http://testserver{SETTINGS}"},
    )
    assert response.status_code == 200
    assert response.headers["HX-Redirect"] == (
        "/accounts/login/?next=%2Facme%2Fsettings%2Fpackages%2Fcontainers%2F"
    )
    assert response.content == b""


@pytest.mark.parametrize("current", ["http://evil.example/x", "javascript:alert(1)", ""])
def test_sign_in_leads_back_to_this_site_alone(acme: Workspace, current: str) -> None:
    response = Client().post(TEST, headers={"HX-Request": "true", "HX-Current-URL": current})
    assert response.headers["HX-Redirect"] == "/accounts/login/?next=%2F"


def test_without_htmx_a_session_that_is_over_is_redirected(acme: Workspace) -> None:
    response = Client().post(TEST, {"sample_tags": "v1"})
    assert response.status_code == 302
    assert response.headers["Location"].startswith("/accounts/login/?next=")


def test_somebody_who_lost_their_role_may_not_try(admin: Browser, alice: User) -> None:
    Membership.objects.filter(user=alice).update(role="member")
    assert admin.client.post(TEST, headers={"HX-Request": "true"}).status_code == 403


# It decides as saving and pushing do.

PATTERNS = [
    SEMVER.pattern,
    "prod",
    "^prod$",
    "^(staging|prod)$",
    "^release-.*$",
    "[0-9]*",
    "(?i)^V",
    "a|^b$",
    ".",
    r"^\d+$",
    "x{3}",
    r"\Av1\z",
    " ",
    "^$",
    r"\.sig$",
]
TAGS = [
    "v1.0.0",
    "v1.0.0-rc1",
    "V1",
    "prod",
    "nonprod-1",
    "staging",
    "release-2026-04",
    "redis",
    "latest",
    "b",
    "ab",
    "xxx",
    "123",
    "_",
    SIGNATURE_TAG,
    SIGNATURE_TAG.removesuffix(".sig"),
    "sha256-short",
    "v" * 128,
]


@pytest.mark.parametrize("protection", Protection)
@pytest.mark.parametrize("switch", [{}, {"protect_signature_tags": "on"}], ids=["off", "on"])
def test_the_tester_decides_as_everything_else_does(
    admin: Browser, protection: Protection, switch: dict[str, Typed]
) -> None:
    expected, answered = {}, {}
    for pattern in PATTERNS:
        rule = PolicyRule("Mine", pattern)
        policy = Policy(0, protection, (rule,), protect_signature_tags=bool(switch))
        expected[pattern] = [tag for tag in TAGS if cover(policy, TagName(tag)).is_covered]
        fragment = send(
            admin,
            "\n".join(TAGS),
            protection,
            rule_name=rule.name,
            rule_pattern=rule.pattern,
            **switch,
        )
        tried = zip(TAGS, answers_of(fragment), strict=True)
        answered[pattern] = [tag for tag, answer in tried if answer == "Would be locked"]
    assert answered == expected


@pytest.mark.parametrize("pattern", ["prod", "^prod$", SEMVER.pattern, "[0-9]*"])
def test_what_was_tested_is_what_pushing_locks(
    acme: Workspace, admin: Browser, pattern: str
) -> None:
    admin.open(SETTINGS)
    page = admin.press(
        "Test",
        protection="some",
        rule_name="Mine",
        rule_pattern=pattern,
        sample_tags="\n".join(TAGS),
    )
    tested = [answer == "Would be locked" for answer in answers_of(page.by_id("tester-result"))]
    admin.press("Save")
    policy = read_policy(acme)
    assert [cover(policy, TagName(tag)).is_covered for tag in TAGS] == tested


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
        assert answers_of(send_rule(admin, "v1", "v1")) == ["Would be locked"]
    fragment = send_rule(admin, "v1", "v1")
    assert answers_of(fragment) == []
    assert fragment.find(class_="error").text.startswith(
        "Too many tests of patterns. Try again in "
    )


def test_too_many_tests_without_javascript_are_told_in_the_page(
    admin: Browser, twice: None
) -> None:
    admin.open(SETTINGS)
    for _ in range(2):
        page = admin.press("Test", protection="all", sample_tags="v1")
        assert answers_of(page.by_id("tester-result")) == ["Would be locked"]
    page = admin.press("Test", protection="all", sample_tags="v1")
    assert page.by_id("tester-result").text.startswith("Too many tests of patterns.")
    admin.press("Save", protection="all")
    assert ContainerSettings.objects.get().protection == "all"


def test_a_page_or_a_tester_without_tags_counts_nothing(admin: Browser, twice: None) -> None:
    for _ in range(3):
        admin.open(SETTINGS)
        send_rule(admin, " \n", "v1")
    assert not CallCount.objects.exists()


# Exceptions.


def send_exceptions(
    browser: Browser, tags: str, *patterns: str, protection: str = "all", **typed: str
) -> Page:
    """Try exceptions, named A, B and so on."""
    names = list("ABCDEFGH"[: len(patterns)])
    return send(
        browser, tags, protection, exception_name=names, exception_pattern=list(patterns), **typed
    )


def test_a_tag_that_an_exception_matches_stays_mutable(admin: Browser) -> None:
    fragment = send_exceptions(admin, "latest\nv1", "^latest$", "^cache")
    assert answers_of(fragment) == ["Not protected: exception", "Would be locked"]
    first, second = (item.find(class_="quiet").text for item in fragment.find_all("li"))
    assert (first, second) == ("Left mutable by “A”.", "All tags are protected.")
    assert [mark.text for mark in fragment.find_all("mark")] == ["latest"]


def test_every_exception_that_matches_is_named_and_a_part_is_explained(admin: Browser) -> None:
    fragment = send_exceptions(admin, "my-cache-1", "cache", "^my")
    assert read_explanation(fragment) == (
        "Left mutable by “A” and “B”. The pattern matches only the part “cache”: write ^ and $ "
        "around it to match whole tags."
    )


def test_rules_and_exceptions_are_tried_where_they_count(admin: Browser) -> None:
    rules = {"rule_name": "Mine", "rule_pattern": "^v"}
    under_all = send_exceptions(admin, "v1", "1", **rules)
    assert read_explanation(under_all).startswith("Left mutable by “A”.")
    assert under_all.find("mark").text == "1"
    under_some = send_exceptions(admin, "v1", "1", protection="some", **rules)
    assert answers_of(under_some) == ["Would be locked"]
    assert under_some.find("mark").text == "v"


@pytest.mark.parametrize("protection", ["none", "all", "some"])
def test_an_exception_that_cannot_be_tried_is_answered_with_the_reason(
    admin: Browser, protection: str
) -> None:
    fragment = send_exceptions(admin, "v1", "^v", "[a-z", protection=protection)
    assert fragment.find(class_="error").text.startswith("Exception 2: The bracket opened")


def test_too_many_exceptions_are_not_looked_at(admin: Browser) -> None:
    fragment = send_exceptions(admin, "v1", *["("] * 8)
    said = "A workspace has at most 7 exceptions; remove 1."
    assert fragment.find(class_="error").text == said


def test_advice_names_the_exception(admin: Browser) -> None:
    fragment = send_exceptions(admin, "v1", "^v", ".*", rule_name="R", rule_pattern="release-*")
    advice = [each.text for each in fragment.find_all(class_="advice")]
    assert advice[0].startswith("Rule 1: In RE2, * repeats")
    assert advice[1].startswith("Exception 2: This pattern matches every tag, so none")
    assert len(advice) == 2


@pytest.mark.parametrize("exceptions", [["^latest$"], ["^v", "late"], [".*"]])
@pytest.mark.parametrize("tag", ["latest", "v1", SIGNATURE_TAG])
def test_what_is_tried_with_exceptions_is_what_a_push_meets(
    admin: Browser, exceptions: list[str], tag: str
) -> None:
    fragment = send_exceptions(admin, tag, *exceptions)
    policy = Policy(
        protection=Protection.ALL,
        exceptions=tuple(PolicyException(text, text) for text in exceptions),
    )
    is_locked = answers_of(fragment) == ["Would be locked"]
    assert is_locked is cover(policy, TagName(tag)).is_covered

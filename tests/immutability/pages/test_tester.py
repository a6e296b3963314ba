"""The fragment of the pattern tester: its answers, and that it decides as pushes do."""

from collections.abc import Callable
from typing import Any

import pytest

from containers.names import TagName
from immutability.policy.patterns import PatternEvaluationError
from immutability.policy.protection import Policy, PolicyException, PolicyRule, Protection, cover
from immutability.policy.tester import MAX_SAMPLE_TAGS
from immutability.reading import read_policy
from tests.conftest import SEMVER
from tests.immutability.pages.tester import (
    SETTINGS,
    SIGNATURE_TAG,
    TEST,
    Typed,
    answers_of,
    read_hints,
    read_reason,
    read_reasons,
    send,
    send_rule,
)
from tests.page import Browser, Page, parse
from tests.problems import nothing_written
from workspaces.models import Workspace

# The answers.


def test_each_sample_tag_is_answered_in_a_column_and_in_order(admin: Browser) -> None:
    fragment = send_rule(admin, "v1.0.0\nlatest\nv2.14.3\nnot a tag!\nmain", SEMVER.pattern)
    assert list(answers_of(fragment).items()) == [
        ("v1.0.0", "locked"),
        ("v2.14.3", "locked"),
        ("latest", "mutable"),
        ("main", "mutable"),
        ("not a tag!", "no tag"),
    ]
    assert [each.text for each in fragment.find_all("h3")] == [
        "Locked · 2",
        "Stays mutable · 2",
        "Not tags · 1",
    ]


def test_a_summary_counts_them(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    fragment = send_rule(admin, "v1.0.0\nlatest\nno tag!", SEMVER.pattern)
    assert fragment.find(class_="answer").text == (
        "1 of 2 would be locked with these unsaved settings"
    )
    protect(acme, Protection.SOME, PolicyRule("Mine", SEMVER.pattern))
    fragment = send_rule(admin, "v1.0.0\nlatest", SEMVER.pattern)
    assert fragment.find(class_="answer").text == "1 of 2 would be locked with the saved settings"


def test_where_the_saved_settings_decide_otherwise_it_says_what_did(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, PolicyRule("A", "^x"), PolicyRule("B", "prod"))
    fragment = send_rule(admin, "nonprod-1\nprod\nmain", "^prod$")
    assert read_reasons(fragment) == {
        "prod": "Rule 1: Mine",
        "nonprod-1": "was Rule 2",
        "main": "",
    }
    protect(acme, Protection.ALL, exceptions=(PolicyException("Moving", "^latest$"),))
    fragment = send_rule(admin, "latest\nmain", "^latest$")
    assert read_reasons(fragment) == {
        "latest": "Rule 1: Mine, was Exception 1",
        "main": "was locked",
    }


def test_it_is_a_fragment_and_no_page(admin: Browser) -> None:
    fragment = send_rule(admin, "v1.0.0", SEMVER.pattern)
    assert fragment.find_all("html") == fragment.find_all("form") == []


def test_blank_lines_and_spaces_around_are_no_part_of_a_tag(admin: Browser) -> None:
    fragment = send_rule(admin, "\n  v1.0.0  \r\n\r\n\t\nlatest\n", SEMVER.pattern)
    assert answers_of(fragment) == {"v1.0.0": "locked", "latest": "mutable"}


def test_under_all_every_tag_would_be_locked_but_signature_tags(admin: Browser) -> None:
    fragment = send(admin, f"latest\n{SIGNATURE_TAG}", "all")
    assert answers_of(fragment) == {"latest": "locked", SIGNATURE_TAG: "mutable"}
    assert read_reasons(fragment)[SIGNATURE_TAG] == "Signature tag"


def test_under_all_with_the_switch_signature_tags_would_be_locked_too(admin: Browser) -> None:
    fragment = send(admin, SIGNATURE_TAG, "all", protect_signature_tags="on")
    assert answers_of(fragment) == {SIGNATURE_TAG: "locked"}


def test_under_none_nothing_would_be_locked_and_the_rules_are_explained(admin: Browser) -> None:
    fragment = send_rule(admin, "v1.0.0\nlatest", SEMVER.pattern, "none")
    assert answers_of(fragment) == {"v1.0.0": "mutable", "latest": "mutable"}
    assert read_reasons(fragment) == {"v1.0.0": "matches Rule 1: Mine", "latest": ""}


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
    assert answers_of(fragment) == {sample: "no tag"}
    assert reason in read_reason(fragment)


def test_without_sample_tags_it_says_what_to_type(admin: Browser) -> None:
    fragment = send_rule(admin, "  \n ", SEMVER.pattern)
    assert fragment.find_all("li") == []
    assert fragment.find(role="status").text.startswith("Type tags such as")


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
    assert read_reason(fragment) == "Rules 1 and 2: Versions, Numbers"


def test_a_rule_without_a_name_is_named_by_its_row(admin: Browser) -> None:
    fragment = send(admin, "v1", rule_name=["", ""], rule_pattern=["", "^v.*$"])
    assert read_reason(fragment) == "Rule 2"


def test_an_unanchored_pattern_that_matches_a_part_is_explained(admin: Browser) -> None:
    fragment = send_rule(admin, "nonprod-1", "prod")
    assert answers_of(fragment) == {"nonprod-1": "locked"}
    assert read_hints(fragment) == [
        "Rule 1 matches only the part “prod” of nonprod-1: write ^ and $ around the pattern to "
        "match whole tags."
    ]


def test_a_part_is_explained_once_for_each_rule(admin: Browser) -> None:
    fragment = send(admin, "v1\nv2\nv3", rule_name=["A", "B"], rule_pattern=["^v", r"\d"])
    parts = [hint for hint in read_hints(fragment) if "matches only the part" in hint]
    assert [hint[:6] for hint in parts] == ["Rule 1", "Rule 2"]


def test_a_pattern_that_matches_the_whole_tag_is_not_warned_about(admin: Browser) -> None:
    assert read_hints(send_rule(admin, "prod", "prod")) == []


def test_a_pattern_that_matches_nothing_at_all_is_explained(admin: Browser) -> None:
    fragment = send_rule(admin, "feature", "x*")
    assert answers_of(fragment) == {"feature": "locked"}
    # Not "write ^ and $ around it": ^x*$ would match nearly no tag.
    assert read_hints(fragment)[-1] == ("Rule 1 can match an empty text, which is in every tag.")


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
    assert answers_of(fragment) == {}


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
    assert answers_of(fragment)["<script>alert(1)</script>"] == "no tag"
    assert read_reasons(fragment)["v1"] == "Rule 1: <img src=x onerror=alert(1)>"


# It tries what is typed, and changes nothing.


def test_unsaved_rules_are_tried_and_nothing_is_saved(
    acme: Workspace, admin: Browser, protect: Callable[..., Policy]
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    with nothing_written():
        fragment = send_rule(admin, "v1.0.0\nprod", "^prod$")
    assert answers_of(fragment) == {"prod": "locked", "v1.0.0": "mutable"}


@pytest.mark.parametrize("version", ["0", "7", "abc", ""])
def test_the_version_is_of_no_matter(admin: Browser, version: str) -> None:
    response = admin.client.post(
        TEST, {"version": version, "sample_tags": "v1", "protection": "all"}
    )
    assert answers_of(parse(response.content.decode())) == {"v1": "locked"}


def test_patterns_are_tried_exactly_as_typed(admin: Browser) -> None:
    assert answers_of(send_rule(admin, "v1", " v1")) == {"v1": "mutable"}


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
        tried = answers_of(fragment)
        answered[pattern] = [tag for tag in TAGS if tried[tag] == "locked"]
    assert answered == expected


@pytest.mark.parametrize("pattern", ["prod", "^prod$", SEMVER.pattern, "[0-9]*"])
def test_what_was_tested_is_what_pushing_locks(
    acme: Workspace, admin: Browser, pattern: str
) -> None:
    admin.open(SETTINGS)
    page = admin.press(
        "Try",
        protection="some",
        rule_name="Mine",
        rule_pattern=pattern,
        sample_tags="\n".join(TAGS),
    )
    answers = answers_of(page.by_id("tester-result"))
    tested = [answers[tag] == "locked" for tag in TAGS]
    admin.press("Save")
    policy = read_policy(acme)
    assert [cover(policy, TagName(tag)).is_covered for tag in TAGS] == tested


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
    assert answers_of(fragment) == {"v1": "locked", "latest": "mutable"}
    assert read_reasons(fragment) == {"v1": "", "latest": "Exception 1: A"}
    assert [mark.text for mark in fragment.find_all("mark")] == ["latest"]


def test_every_exception_that_matches_is_named_and_a_part_is_explained(admin: Browser) -> None:
    fragment = send_exceptions(admin, "my-cache-1", "cache", "^my")
    assert read_reason(fragment) == "Exceptions 1 and 2: A, B"
    assert read_hints(fragment)[0] == (
        "Exception 1 matches only the part “cache” of my-cache-1: write ^ and $ around the pattern "
        "to match whole tags."
    )


def test_rules_and_exceptions_are_tried_where_they_count(admin: Browser) -> None:
    rules = {"rule_name": "Mine", "rule_pattern": "^v"}
    under_all = send_exceptions(admin, "v1", "1", **rules)
    assert read_reason(under_all) == "Exception 1: A"
    assert under_all.find("mark").text == "1"
    under_some = send_exceptions(admin, "v1", "1", protection="some", **rules)
    assert answers_of(under_some) == {"v1": "locked"}
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
    assert [each[:11] for each in advice[2:]] == ["Exception 1"]


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
    is_locked = answers_of(fragment) == {tag: "locked"}
    assert is_locked is cover(policy, TagName(tag)).is_covered

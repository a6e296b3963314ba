import time
from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from immutability.models import Rule, TagException
from immutability.policy.protection import Policy, PolicyException, PolicyRule, Protection
from tests.conftest import AA, LATEST, SEMVER, make_api_client
from tests.immutability.api.conftest import Ask
from tests.problems import nothing_written, read_problem
from workspaces.access import Scope
from workspaces.models import Workspace

Protect = Callable[..., Policy]

URL = "/api/v1/workspaces/acme/container-settings/test"
SIGNATURE_TAG = "sha256-" + "a" * 64 + ".sig"


@pytest.fixture(scope="module")
def kept_auditor(kept_acme: Workspace) -> APIClient:
    """A program that may read the settings of acme, which protects nothing yet."""
    return make_api_client(kept_acme, Scope.AUDIT)


@pytest.fixture
def auditor(db: None, kept_auditor: APIClient) -> APIClient:
    return kept_auditor


def rule(name: str, pattern: str) -> dict[str, str]:
    return {"name": name, "pattern": pattern}


def try_tags(client: APIClient, tags: list[str], **fields: Any) -> list[dict[str, Any]]:
    with nothing_written():
        response = client.post(URL, {"tags": tags, **fields}, format="json")
    assert response.status_code == 200, response.content
    results: list[dict[str, Any]] = response.json()["results"]
    return results


def test_unsaved_rules_are_tried_and_not_saved(auditor: APIClient) -> None:
    assert try_tags(auditor, ["v1.2.0", "latest"], rules=[rule("Versions", SEMVER.pattern)]) == [
        {
            "tag": "v1.2.0",
            "would_be_locked": True,
            "why": "rule",
            "exception": None,
            "problem": None,
            "matches": [
                {
                    "rule": "Versions",
                    "pattern": SEMVER.pattern,
                    "start": 0,
                    "end": 6,
                    "whole": True,
                }
            ],
            "exception_matches": [],
        },
        {
            "tag": "latest",
            "would_be_locked": False,
            "why": "no_rule",
            "exception": None,
            "problem": None,
            "matches": [],
            "exception_matches": [],
        },
    ]


def test_without_rules_the_saved_ones_are_tried(
    auditor: APIClient, acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.SOME, PolicyRule("Production", "^prod$"))
    found = try_tags(auditor, ["prod", "nonprod-1"])
    assert [each["would_be_locked"] for each in found] == [True, False]


def test_an_unanchored_pattern_shows_the_part_that_it_matches(auditor: APIClient) -> None:
    found = try_tags(auditor, ["nonprod-1"], rules=[rule("Production", "prod")])
    assert found[0]["would_be_locked"] is True
    assert found[0]["matches"] == [
        {"rule": "Production", "pattern": "prod", "start": 3, "end": 7, "whole": False}
    ]


def test_every_rule_that_matches_is_shown_in_order(auditor: APIClient) -> None:
    rules = [rule("B", "v"), rule("None", "x"), rule("A", "1")]
    found = try_tags(auditor, ["v1"], rules=rules)
    assert [match["rule"] for match in found[0]["matches"]] == ["B", "A"]


@pytest.mark.parametrize(
    ("fields", "tag", "is_locked", "why"),
    [
        ({"protection": "none"}, "v1", False, "no_protection"),
        ({"protection": "all"}, "v1", True, "all_tags"),
        ({"protection": "all"}, SIGNATURE_TAG, False, "signature_tag"),
        ({"protection": "all", "protect_signature_tags": True}, SIGNATURE_TAG, True, "all_tags"),
        ({"protection": "some"}, "v1", False, "no_rule"),
        ({"rules": []}, "v1", False, "no_rule"),
        ({}, "v1", False, "no_protection"),
    ],
)
def test_the_reason_is_told(
    auditor: APIClient, *, fields: dict[str, Any], tag: str, is_locked: bool, why: str
) -> None:
    found = try_tags(auditor, [tag], **fields)
    assert (found[0]["would_be_locked"], found[0]["why"]) == (is_locked, why)


def test_unsaved_exceptions_are_tried_under_all_and_not_saved(auditor: APIClient) -> None:
    exceptions = [rule("Moving latest", "^latest$"), rule("Late", "late")]
    latest, other = try_tags(auditor, ["latest", "v1"], exceptions=exceptions)
    assert latest == {
        "tag": "latest",
        "would_be_locked": False,
        "why": "exception",
        "exception": "Moving latest",
        "problem": None,
        "matches": [],
        "exception_matches": [
            {
                "exception": "Moving latest",
                "pattern": "^latest$",
                "start": 0,
                "end": 6,
                "whole": True,
            },
            {"exception": "Late", "pattern": "late", "start": 0, "end": 4, "whole": False},
        ],
    }
    assert (other["would_be_locked"], other["why"], other["exception"]) == (True, "all_tags", None)


def test_without_exceptions_the_saved_ones_are_tried(
    auditor: APIClient, acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL, exceptions=(LATEST,))
    assert try_tags(auditor, ["latest"])[0]["why"] == "exception"
    assert try_tags(auditor, ["latest"], exceptions=[])[0]["why"] == "all_tags"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"exceptions": [rule("L", "^latest$")]}, "exception"),
        ({"exceptions": [rule("L", "^latest$")], "rules": [rule("L", "latest")]}, "rule"),
        ({"exceptions": [rule("L", "^latest$")], "protection": "none"}, "no_protection"),
        ({"exceptions": []}, "all_tags"),
    ],
)
def test_which_protection_is_meant(auditor: APIClient, fields: dict[str, Any], why: str) -> None:
    assert try_tags(auditor, ["latest"], **fields)[0]["why"] == why


def test_a_saved_exception_that_cannot_be_evaluated_is_an_error_and_no_answer(
    auditor: APIClient, acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.ALL, exceptions=(LATEST,))
    TagException.objects.update(pattern="(")
    response = auditor.post(URL, {"tags": ["v1"]}, format="json")
    assert response.status_code in (400, 503)
    read_problem(response, response.status_code)


def test_what_is_tried_comes_with_warnings_about_exceptions(auditor: APIClient) -> None:
    for fields, expected in (
        ({"protection": "all"}, [("no_exceptions", None)]),
        ({"exceptions": [rule("Any", ".*")]}, [("matches_every_tag", "Any")]),
        ({"exceptions": [rule("Typo", "^v ")]}, [("matches_no_tag", "Typo")]),
    ):
        response = auditor.post(URL, {"tags": ["v1"], **fields}, format="json")
        warnings = response.json()["warnings"]
        assert [(each["code"], each["exception"]) for each in warnings] == expected


def test_a_pattern_is_tried_as_it_is_with_its_spaces(auditor: APIClient) -> None:
    assert try_tags(auditor, ["a"], rules=[rule("Odd", "  ^a$ ")])[0]["would_be_locked"] is False
    assert try_tags(auditor, ["a"], rules=[rule("Even", "^a$")])[0]["would_be_locked"] is True


@pytest.mark.parametrize("sample", ["", " v1", "v1 ", "a/b", "-x", "é", "v1:2"])
def test_a_sample_that_is_no_tag_is_told_so_and_not_matched(
    auditor: APIClient, sample: str
) -> None:
    found = try_tags(auditor, [sample, "v1"], protection="all")
    assert found[0]["tag"] == sample
    assert found[0]["problem"]
    assert (found[0]["would_be_locked"], found[0]["why"]) == (False, None)
    assert found[1]["would_be_locked"] is True


def test_twenty_samples_are_the_most(auditor: APIClient) -> None:
    assert len(try_tags(auditor, [f"v{number}" for number in range(20)])) == 20
    response = auditor.post(URL, {"tags": [f"v{number}" for number in range(21)]}, format="json")
    assert read_problem(response, 400)["errors"][0]["pointer"] == "#/tags"


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({}, "#/tags"),
        ({"tags": []}, "#/tags"),
        ({"tags": ["v1"], "rules": [rule("Bad", "(")]}, "#/rules/0/pattern"),
        ({"tags": ["v1"], "rules": [rule("Bad", "a" * 101)]}, "#/rules/0/pattern"),
        ({"tags": ["v1"], "rules": [rule("", "x")]}, "#/rules/0/name"),
        ({"tags": ["v1"], "rules": [rule(f"R{n}", "x") for n in range(8)]}, "#/rules"),
        ({"tags": ["v1"], "exceptions": [rule("Bad", "(")]}, "#/exceptions/0/pattern"),
        ({"tags": ["v1"], "suspend_locks": True}, "#/suspend_locks"),
    ],
)
def test_what_cannot_be_tried_is_refused(
    auditor: APIClient, fields: dict[str, Any], pointer: str
) -> None:
    response = auditor.post(URL, fields, format="json")
    assert read_problem(response, 400, "invalid")["errors"][0]["pointer"] == pointer


def test_a_saved_rule_that_cannot_be_evaluated_is_an_error_and_no_answer(
    auditor: APIClient, acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.SOME, SEMVER)
    Rule.objects.update(pattern="(")
    response = auditor.post(URL, {"tags": ["v1"]}, format="json")
    assert response.status_code in (400, 503)
    read_problem(response, response.status_code)


PATTERNS = ["prod", "^prod$", "v", r"\d", "(?i)PROD", "^v", "a|b", "."]
TAGS = ["prod", "nonprod-1", "v1", "_", "B"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_was_tested_with_an_exception_is_what_a_push_meets(
    auditor: APIClient, check_push: Ask, acme: Workspace, protect: Protect, pattern: str
) -> None:
    found = try_tags(auditor, TAGS, exceptions=[rule("Tried", pattern)])
    protect(acme, Protection.ALL, exceptions=(PolicyException("Tried", pattern),))
    assert push_all(check_push) == foreseen(found)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_was_tested_is_what_a_push_meets(
    auditor: APIClient, check_push: Ask, acme: Workspace, protect: Protect, pattern: str
) -> None:
    found = try_tags(auditor, TAGS, rules=[rule("Tried", pattern)])
    protect(acme, Protection.SOME, PolicyRule("Tried", pattern))
    assert push_all(check_push) == foreseen(found)


def push_all(check_push: Ask) -> dict[str, str]:
    """Return the outcome of a push to each of the tags."""
    return {tag: check_push(tag, AA)["outcome"] for tag in TAGS}


def foreseen(results: list[dict[str, Any]]) -> dict[str, str]:
    """Return the outcome that the test of each tag has promised."""
    return {
        each["tag"]: "locked_now" if each["would_be_locked"] else "unprotected" for each in results
    }


# Warnings.


def test_the_rules_that_are_tried_come_with_warnings(auditor: APIClient) -> None:
    rules = [rule("Fine", SEMVER.pattern), rule("Any", "v*.*"), rule("Typo", "^prod$ ")]
    response = auditor.post(URL, {"tags": ["v1.2.0"], "rules": rules}, format="json")
    assert response.json()["warnings"] == [
        {
            "code": "matches_every_tag",
            "rule": "Any",
            "exception": None,
            "position": 2,
            "message": "This pattern matches every tag. To protect them all, choose All tags are "
            "protected.",
            "suggestion": "^v",
        },
        {
            "code": "matches_signature_tags",
            "rule": "Any",
            "exception": None,
            "position": 2,
            "message": "This pattern also matches signature tags (sha256-….sig and the like). Once "
            "they are locked, an image cannot be signed again.",
            "suggestion": None,
        },
        {
            "code": "matches_no_tag",
            "rule": "Typo",
            "exception": None,
            "position": 3,
            "message": "This pattern matches no tag, so it protects nothing: a tag has no spaces.",
            "suggestion": "^prod$",
        },
    ]


def test_saved_rules_come_with_warnings_too(
    auditor: APIClient, acme: Workspace, protect: Protect
) -> None:
    protect(acme, Protection.SOME, PolicyRule("Globs", "release-*"))
    response = auditor.post(URL, {"tags": ["v1"]}, format="json")
    assert [each["code"] for each in response.json()["warnings"]] == ["looks_like_glob"]


def test_a_sample_with_a_plus_says_how_helm_writes_it(auditor: APIClient) -> None:
    [found] = try_tags(auditor, ["1.0.0+5"], protection="all")
    assert found["problem"].endswith("Helm writes + as _: try 1.0.0_5.")


# Limits come before any work.


@pytest.mark.parametrize(
    ("fields", "pointer", "words"),
    [
        ({"rules": [rule("R", r"(?i)\pL{900}")] * 60}, "#/rules", "remove 53."),
        ({"rules": [3] * 1_000}, "#/rules", "at most 7 rules"),
        ({"exceptions": [3] * 1_000}, "#/exceptions", "at most 7 exceptions"),
        ({"exceptions": [rule("R", "(?i)" + "x" * 97)]}, "#/exceptions/0/pattern", "at most 100"),
        ({"rules": [rule("R", "(?i)" + "x" * 97)]}, "#/rules/0/pattern", "at most 100"),
        ({"tags": ["v1"] * 1_000}, "#/tags", "at most 20 tags"),
        ({"tags": [3] * 21}, "#/tags", "at most 20 tags"),
        ({"tags": ["v1", "x" * 129]}, "#/tags/1", "Sample tag 2 has 129 characters"),
    ],
)
def test_what_is_over_a_limit_is_refused_before_anything_is_compiled(
    auditor: APIClient,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    pointer: str,
    words: str,
) -> None:
    def fail(text: str) -> None:
        raise AssertionError(f"{text} was compiled")

    monkeypatch.setattr("immutability.policy.drafts.compile_pattern", fail)
    monkeypatch.setattr("immutability.policy.protection.compile_pattern", fail)
    started = time.process_time()
    response = auditor.post(URL, {"tags": ["v1"], **fields}, format="json")
    assert time.process_time() - started < 1
    [error] = read_problem(response, 400, "invalid")["errors"]
    assert error["pointer"] == pointer
    assert words in error["detail"]


WORST = [
    r"(?:(?:(?:\w)?|(?:\w*)?)*){300},",
    r"(?:a?|(?:(?:(?:\+|/|.?)*){0,9}){33}|(?:(?:a|b) \+){99})!",
    "(?:.?){300} ",
    r"(?:\w*){300}^b\w+[ab]?(?:\pL\b)?$ ",
    r"(?:\pL.[^a])*(?:\pL|[^a]){300},$a?a?.?.?$ ",
    r"(?i)\pL{900}",
    "[ab].{100}x.{100}[^x]$",
]


def test_the_worst_rules_and_samples_cost_less_than_a_second(auditor: APIClient) -> None:
    rules = [rule(f"Rule {number}", pattern) for number, pattern in enumerate(WORST)]
    samples = [("ab0_-.k" * 18)[:126] + str(10 + number) for number in range(20)]
    for tried in (rules, [each for each in rules if r"\pL{900}" not in each["pattern"]]):
        started = time.process_time()
        auditor.post(URL, {"tags": samples, "rules": tried}, format="json")
        assert time.process_time() - started < 1

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from immutability.models import Rule
from immutability.protection import Policy, PolicyRule, Protection
from tests.conftest import AA, SEMVER
from tests.immutability.api.conftest import Ask
from tests.problems import nothing_written, read_problem
from workspaces.access import Scope
from workspaces.models import Workspace

Protect = Callable[..., Policy]

URL = "/api/v1/workspaces/acme/container-settings/test"
SIGNATURE_TAG = "sha256-" + "a" * 64 + ".sig"


@pytest.fixture
def auditor(acme: Workspace, api_as: Callable[..., APIClient]) -> APIClient:
    return api_as(acme, Scope.AUDIT)


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
        },
        {
            "tag": "latest",
            "would_be_locked": False,
            "why": "no_rule",
            "problem": None,
            "matches": [],
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


@pytest.mark.parametrize("pattern", ["prod", "^prod$", "v", r"\d", "(?i)PROD", "^v", "a|b", "."])
@pytest.mark.parametrize("tag", ["prod", "nonprod-1", "v1", "_", "B"])
def test_what_was_tested_is_what_a_push_meets(
    auditor: APIClient, check_push: Ask, acme: Workspace, protect: Protect, pattern: str, tag: str
) -> None:
    found = try_tags(auditor, [tag], rules=[rule("Tried", pattern)])
    protect(acme, Protection.SOME, PolicyRule("Tried", pattern))
    outcome = "locked_now" if found[0]["would_be_locked"] else "unprotected"
    assert check_push(tag, AA)["outcome"] == outcome

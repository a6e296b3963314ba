"""Which tags a policy covers, which outcomes are allowed, and what a broken rule does."""

import pytest

from containers.names import TagName
from immutability.policy import patterns
from immutability.policy.patterns import PatternError, PatternEvaluationError
from immutability.policy.protection import (
    Coverage,
    DeleteOutcome,
    Outcome,
    Policy,
    PolicyRule,
    Protection,
    Why,
    cover,
    match_patterns,
)
from tests.conftest import SEMVER

NONE = Policy(protection=Protection.NONE)
ALL = Policy(protection=Protection.ALL)
SOME = Policy(protection=Protection.SOME, rules=(SEMVER,))

SIGNATURE_TAGS = [
    *("sha256-" + "0" * 64 + suffix for suffix in ("", ".sig", ".att", ".sbom")),
    "sha512-" + "0" * 64,
]


@pytest.mark.parametrize(
    ("outcome", "is_allowed"),
    [
        (Outcome.UNPROTECTED, True),
        (Outcome.FREE, True),
        (Outcome.LOCKED_NOW, True),
        (Outcome.CLAIMED, True),
        (Outcome.UNCHANGED, True),
        (Outcome.LOCKED, False),
        (Outcome.RESERVED, False),
        (Outcome.CLAIM_PENDING, False),
    ],
)
def test_which_outcomes_of_a_push_are_allowed(*, outcome: Outcome, is_allowed: bool) -> None:
    assert outcome.is_allowed is is_allowed


@pytest.mark.parametrize(
    ("outcome", "is_allowed"),
    [
        (DeleteOutcome.NOT_LOCKED, True),
        (DeleteOutcome.SUSPENDED, True),
        (DeleteOutcome.DELETED, True),
        (DeleteOutcome.LOCKED, False),
        (DeleteOutcome.IN_USE, False),
        (DeleteOutcome.CLAIM_PENDING, False),
    ],
)
def test_which_outcomes_of_a_delete_are_allowed(
    *, outcome: DeleteOutcome, is_allowed: bool
) -> None:
    assert outcome.is_allowed is is_allowed


# Which tags a policy covers.


@pytest.mark.parametrize("tag", ["v1.2.0", "nightly", "latest", "_", "sha256-abc"])
def test_no_tags_are_protected(tag: str) -> None:
    policy = Policy(protection=Protection.NONE, rules=(PolicyRule("any", ""),))
    assert cover(policy, TagName(tag)) == Coverage(Why.NO_PROTECTION)


@pytest.mark.parametrize("tag", ["v1.2.0", "nightly", "latest", "_", "sha256-abc"])
def test_all_tags_are_protected(tag: str) -> None:
    assert cover(ALL, TagName(tag)) == Coverage(Why.ALL_TAGS)


def test_rules_play_no_part_while_all_tags_are_protected() -> None:
    policy = Policy(protection=Protection.ALL, rules=(SEMVER,))
    assert cover(policy, TagName("v1.2.0")).rule is None


def test_latest_is_like_any_other_tag() -> None:
    some = Policy(protection=Protection.SOME, rules=(PolicyRule("latest", "^latest$"),))
    for policy in (ALL, some):
        assert cover(policy, TagName("latest")).is_covered


@pytest.mark.parametrize("tag", SIGNATURE_TAGS)
def test_signature_tags_stay_free_while_all_tags_are_protected(tag: str) -> None:
    coverage = cover(ALL, TagName(tag))
    assert coverage == Coverage(Why.SIGNATURE_TAG)
    assert not coverage.is_covered


@pytest.mark.parametrize("tag", SIGNATURE_TAGS)
def test_the_switch_protects_signature_tags_too(tag: str) -> None:
    policy = Policy(protection=Protection.ALL, protect_signature_tags=True)
    assert cover(policy, TagName(tag)) == Coverage(Why.ALL_TAGS)


@pytest.mark.parametrize("switch", [False, True])
@pytest.mark.parametrize("tag", SIGNATURE_TAGS)
def test_some_covers_exactly_what_a_rule_matches_signature_tags_or_not(
    *, tag: str, switch: bool
) -> None:
    rule = PolicyRule("Signatures", "^sha(256|512)-")
    policy = Policy(protection=Protection.SOME, rules=(rule,), protect_signature_tags=switch)
    assert cover(policy, TagName(tag)) == Coverage(Why.RULE, rule)
    elsewhere = Policy(protection=Protection.SOME, rules=(SEMVER,), protect_signature_tags=switch)
    assert cover(elsewhere, TagName(tag)) == Coverage(Why.NO_RULE)


@pytest.mark.parametrize(
    "tag",
    [
        "sha256-" + "0" * 63,
        "sha256-" + "0" * 65,
        "sha256-" + "A" * 64,
        "sha512-" + "0" * 128,
        "sha512-" + "0" * 64 + ".sig",
        "release-" + "0" * 64,
        "sha256-" + "0" * 64 + ".txt",
        "sha256-" + "0" * 64 + ".sig.old",
        "x-sha256-" + "0" * 64,
    ],
)
def test_what_only_looks_like_a_signature_tag_is_protected(tag: str) -> None:
    assert cover(ALL, TagName(tag)) == Coverage(Why.ALL_TAGS)


def test_the_first_rule_that_matches_is_named() -> None:
    never, first, second = (
        PolicyRule("never", "^x$"),
        PolicyRule("first", "^v1"),
        PolicyRule("second", "^v"),
    )
    tag = TagName("v1.2.0")
    policy = Policy(protection=Protection.SOME, rules=(never, first, second))
    assert cover(policy, tag).rule is first
    turned = Policy(protection=Protection.SOME, rules=(second, first, never))
    assert cover(turned, tag).rule is second


def test_every_rule_that_matches_is_listed_in_order() -> None:
    rules = (PolicyRule("b", "2"), PolicyRule("a", "^v"), PolicyRule("c", "x"))
    found = match_patterns(rules, TagName("v1.2.0"))
    assert [(rule.name, match.start, match.end) for rule, match in found] == [
        ("b", 3, 4),
        ("a", 0, 1),
    ]


def test_some_without_a_rule_covers_nothing() -> None:
    assert cover(Policy(protection=Protection.SOME), TagName("v1.2.0")) == Coverage(Why.NO_RULE)


# A rule that cannot be evaluated.


class BrokenPattern:
    def find(self, tag: str) -> None:
        raise PatternEvaluationError(f"cannot search {tag}")


@pytest.fixture
def broken_rule(monkeypatch: pytest.MonkeyPatch) -> PolicyRule:
    """Return a rule whose evaluation fails; every other rule works."""
    compile_pattern = patterns.compile_pattern

    def compile_or_break(text: str) -> object:
        return BrokenPattern() if text == "broken" else compile_pattern(text)

    monkeypatch.setattr("immutability.policy.protection.compile_pattern", compile_or_break)
    return PolicyRule("Broken", "broken")


def test_a_rule_that_fails_to_evaluate_decides_nothing(broken_rule: PolicyRule) -> None:
    policy = Policy(protection=Protection.SOME, rules=(broken_rule,))
    with pytest.raises(PatternEvaluationError):
        cover(policy, TagName("v1.2.0"))


@pytest.mark.parametrize("is_last", [False, True])
def test_a_rule_that_fails_is_never_passed_over(*, broken_rule: PolicyRule, is_last: bool) -> None:
    rules = (SEMVER, broken_rule) if is_last else (broken_rule, SEMVER)
    policy = Policy(protection=Protection.SOME, rules=rules)
    with pytest.raises(PatternEvaluationError):
        cover(policy, TagName("nightly"))


def test_a_stored_pattern_that_does_not_compile_decides_nothing() -> None:
    policy = Policy(protection=Protection.SOME, rules=(PolicyRule("Old", "(?!x)"),))
    with pytest.raises(PatternError):
        cover(policy, TagName("v1.2.0"))


@pytest.mark.parametrize(
    ("protection", "label"),
    [
        (Protection.NONE, "No tags are protected"),
        (Protection.ALL, "All tags are protected"),
        (Protection.SOME, "Some tags are protected"),
    ],
)
def test_the_labels_are_those_of_the_announcement(protection: Protection, label: str) -> None:
    assert protection.label == label

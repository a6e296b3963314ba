"""Container settings as typed, and what is wrong with them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from containers.reference import Tag
from immutability.drafts import (
    Draft,
    DraftProblem,
    describe_bad_pattern,
    describe_bad_rule_name,
    describe_pattern_hint,
    find_draft_problems,
)
from immutability.protection import Policy, PolicyRule, Protection, cover
from tests.conftest import SEMVER
from workspaces.text import find_bad_character

HINT = (
    "This pattern also matches signature tags (sha256-….sig and the like). Once they are locked, "
    "an image cannot be signed again."
)


def rules(how_many: int) -> tuple[PolicyRule, ...]:
    return tuple(PolicyRule(f"Rule {number}", f"^{number}$") for number in range(how_many))


def problems_of(*rules: PolicyRule) -> list[DraftProblem]:
    return find_draft_problems(Draft(Protection.SOME, rules))


# What can be saved.


@pytest.mark.parametrize(
    "draft",
    [
        Draft(Protection.NONE),
        Draft(Protection.ALL),
        Draft(Protection.SOME, (SEMVER,)),
        Draft(Protection.SOME, rules(7)),
        Draft(Protection.NONE, rules(7)),
        Draft(Protection.ALL, rules(7), refuse_identical_pushes=True),
        Draft(Protection.SOME, (PolicyRule("n" * 64, "p" * 100),)),
        Draft(Protection.SOME, (PolicyRule(" name ", " pattern "),)),
        Draft(Protection.SOME, (PolicyRule("a", "^a"), PolicyRule("a ", "^b"))),
        Draft(Protection.SOME, (PolicyRule("a", "^a"), PolicyRule("b", "^a"))),
        Draft(Protection.SOME, (PolicyRule("Ünïcödé 日本語", "é"),)),
        Draft(Protection.SOME, (PolicyRule("A space", " "),)),
    ],
)
def test_what_can_be_saved(draft: Draft) -> None:
    assert find_draft_problems(draft) == []


def test_a_draft_becomes_the_policy_that_it_says() -> None:
    draft = Draft(Protection.ALL, (SEMVER,), True, True)
    assert draft.to_policy(7) == Policy(7, Protection.ALL, (SEMVER,), True, True)
    assert Draft(Protection.NONE).to_policy() == Policy()


# The whole.


def test_some_without_a_rule_is_refused() -> None:
    assert find_draft_problems(Draft(Protection.SOME)) == [
        DraftProblem("Add a rule, or choose No tags are protected.", "rules")
    ]


@pytest.mark.parametrize("protection", list(Protection))
@pytest.mark.parametrize(("how_many", "too_many"), [(8, 1), (10, 3)])
def test_more_than_seven_rules_are_refused(
    protection: Protection, how_many: int, too_many: int
) -> None:
    assert find_draft_problems(Draft(protection, rules(how_many))) == [
        DraftProblem(f"A workspace has at most 7 rules; remove {too_many}.", "rules")
    ]


@pytest.mark.parametrize("protection", list(Protection))
def test_rules_are_checked_whatever_is_protected(protection: Protection) -> None:
    [problem] = find_draft_problems(Draft(protection, (PolicyRule("Bad", "("),)))
    assert (problem.field, problem.rule) == ("pattern", 0)


# Names.


@pytest.mark.parametrize("name", ["", " ", "\u00a0", "\u3000 "])
def test_a_rule_needs_a_name(name: str) -> None:
    assert problems_of(PolicyRule(name, "^v")) == [
        DraftProblem("Enter a name for the rule.", "name", 0)
    ]


def test_a_name_can_be_too_long() -> None:
    assert describe_bad_rule_name("n" * 64) is None
    assert describe_bad_rule_name("n" * 65) == (
        "The name has 65 characters; at most 64 are allowed."
    )


@pytest.mark.parametrize(
    ("name", "character"),
    [("a\nb", "U+000A"), ("a\0", "U+0000"), ("a\ud800", "U+D800"), ("a\u202eb", "U+202E")],
)
def test_a_name_has_no_control_characters(name: str, character: str) -> None:
    assert describe_bad_rule_name(name) == (
        f"Remove the character {character}: control characters are not accepted."
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [("Prod", "Prod"), ("Prod", "PROD"), ("Straße", "STRASSE"), ("É", "é"), ("Σ", "ς")],
)
def test_two_rules_have_two_names_whatever_their_case(first: str, second: str) -> None:
    assert problems_of(PolicyRule(first, "^a"), SEMVER, PolicyRule(second, "^b")) == [
        DraftProblem(f'Two rules are named "{first}". Give each a name of its own.', "name", 0),
        DraftProblem(f'Two rules are named "{second}". Give each a name of its own.', "name", 2),
    ]


# Patterns.


def test_a_rule_needs_a_pattern() -> None:
    assert problems_of(PolicyRule("Empty", "")) == [DraftProblem("Enter a pattern.", "pattern", 0)]


def test_a_pattern_can_be_too_long() -> None:
    assert describe_bad_pattern("p" * 100) is None
    assert describe_bad_pattern("p" * 101) == (
        "The pattern has 101 characters; at most 100 are allowed."
    )
    # Characters count, not bytes.
    assert describe_bad_pattern("\U0001f600" * 100) is None


@pytest.mark.parametrize(
    ("pattern", "character"),
    [("^v1$\n", "U+000A"), ("\t", "U+0009"), ("a\0", "U+0000"), ("a\udc00", "U+DC00")],
)
def test_a_pattern_has_no_control_characters(pattern: str, character: str) -> None:
    assert describe_bad_pattern(pattern) == (
        f"Remove the character {character}: control characters are not accepted."
    )


def test_a_pattern_that_does_not_compile_says_why() -> None:
    assert describe_bad_pattern("^(?!latest)") == (
        'RE2 has no lookahead or lookbehind, so "(?!" cannot be used. Write what the tag must look '
        "like instead, or use two rules."
    )


@pytest.mark.parametrize("pattern", [" ^v1$", "^v1$ ", "  "])
def test_a_pattern_is_never_changed(pattern: str) -> None:
    draft = Draft(Protection.SOME, (PolicyRule("Spaces", pattern),))
    assert find_draft_problems(draft) == []
    assert draft.to_policy().rules[0].pattern == pattern


# All of them.


def test_everything_that_is_wrong_is_told_at_once() -> None:
    draft = Draft(
        Protection.SOME,
        (
            PolicyRule("", ""),
            PolicyRule("Twice", "("),
            PolicyRule("twice", "^fine$"),
            *rules(5),
        ),
    )
    found = [(each.field, each.rule) for each in find_draft_problems(draft)]
    assert found == [
        ("rules", None),
        ("name", 0),
        ("pattern", 0),
        ("name", 1),
        ("pattern", 1),
        ("name", 2),
    ]


TEXT = st.text(st.characters(categories=None), max_size=110)


@given(
    protection=st.sampled_from(Protection),
    rules=st.lists(st.builds(PolicyRule, TEXT, TEXT), max_size=9).map(tuple),
)
@settings(max_examples=200, deadline=None)
def test_any_draft_is_checked_and_what_passes_can_be_evaluated(
    protection: Protection, rules: tuple[PolicyRule, ...]
) -> None:
    draft = Draft(protection, rules)
    problems = find_draft_problems(draft)
    assert not [each for each in problems if find_bad_character(each.message)]
    if not problems:
        cover(draft.to_policy(), Tag("v1.2.0"))


# The hint.


@pytest.mark.parametrize("pattern", ["sha256-", ".*", "^[a-z0-9.-]+$", r"\.sbom$", "0", "$"])
def test_a_pattern_that_matches_signature_tags_gets_a_hint(pattern: str) -> None:
    assert describe_pattern_hint(pattern) == HINT


@pytest.mark.parametrize(
    "pattern", [SEMVER.pattern, "^prod$", "^release-.*$", "^(staging|prod)$", "^v"]
)
def test_other_patterns_get_none(pattern: str) -> None:
    assert describe_pattern_hint(pattern) == ""


@pytest.mark.parametrize("pattern", ["", "(", "a" * 101, "sha256\n"])
def test_a_pattern_that_cannot_be_saved_gets_no_hint(pattern: str) -> None:
    assert describe_pattern_hint(pattern) == ""


@pytest.mark.parametrize(
    "pattern", ["^sha256-[0-9a-f]{64}$", "^sha256-a", "[1-9a-f]{64}", "^sha512-", "[.]att"]
)
def test_a_pattern_that_matches_only_some_signature_tags_gets_a_hint_too(pattern: str) -> None:
    assert describe_pattern_hint(pattern) == HINT

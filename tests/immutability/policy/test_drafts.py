"""Container settings as typed, and what is wrong with them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from containers.names import TagName
from immutability.policy.drafts import (
    Draft,
    DraftProblem,
    ProblemCode,
    describe_bad_pattern,
    describe_bad_rule_name,
    find_advice,
    find_draft_problems,
)
from immutability.policy.protection import Policy, PolicyRule, Protection, cover
from tests.conftest import SEMVER
from workspaces.text import find_bad_character


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
        Draft(Protection.SOME, (PolicyRule(" name ", "[ p]attern"),)),
        Draft(Protection.SOME, (PolicyRule("a", "^a"), PolicyRule("a ", "^b"))),
        Draft(Protection.SOME, (PolicyRule("a", "^a"), PolicyRule("b", "^a"))),
        Draft(Protection.SOME, (PolicyRule("Ünïcödé 日本語", "[éa]"),)),
        Draft(Protection.SOME, (PolicyRule("Every tag", ".*"),)),
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
        DraftProblem(
            "Add a rule, or choose No tags are protected.", "rules", code=ProblemCode.NO_RULES
        )
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


def test_a_pattern_that_does_not_compile_says_why_and_what_was_probably_meant() -> None:
    assert describe_bad_pattern(r"^v1\Z") == (
        'RE2 has no "\\Z". Write $ or \\z for the end of the tag. Did you mean "^v1$"?'
    )


def test_a_pattern_that_matches_no_tag_is_refused_with_a_code_of_its_own() -> None:
    assert problems_of(SEMVER, PolicyRule("Production", "^prod$ ")) == [
        DraftProblem(
            "This pattern matches no tag, so it protects nothing: a tag has no spaces. Did you "
            'mean "^prod$"?',
            "pattern",
            1,
            ProblemCode.MATCHES_NO_TAG,
        )
    ]


def test_a_pattern_is_never_changed() -> None:
    draft = Draft(Protection.SOME, (PolicyRule("Spaces", "prod|staging "),))
    assert find_draft_problems(draft) == []
    assert draft.to_policy().rules[0].pattern == "prod|staging "


# Advice.


def test_advice_says_which_rule_it_is_about() -> None:
    rules = (SEMVER, PolicyRule("Broken", "("), PolicyRule("Any", "v*"))
    found = find_advice(rules)
    assert {(each.position, each.rule) for each in found} == {(3, rules[2])}
    assert found[0].advice.suggestion == "^v"


@pytest.mark.parametrize("pattern", ["", "(", "a" * 101, "sha256\n"])
def test_a_pattern_that_cannot_be_used_gets_no_advice(pattern: str) -> None:
    assert find_advice((PolicyRule("Bad", pattern),)) == []


# Limits come first.


@pytest.mark.parametrize(
    "draft",
    [
        Draft(Protection.SOME, tuple(PolicyRule(f"{n}", "^a") for n in range(60))),
        Draft(Protection.SOME, (PolicyRule("Long", "a" * 101),)),
        Draft(Protection.SOME, (PolicyRule("Control", "a\0"),)),
    ],
)
def test_nothing_is_compiled_that_is_over_a_limit(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("immutability.policy.drafts.compile_pattern", fail)
    monkeypatch.setattr("immutability.policy.drafts.advise", fail)
    monkeypatch.setattr("immutability.policy.drafts.find_no_tag", fail)
    assert len(find_draft_problems(draft)) == 1


def fail(text: str) -> None:
    raise AssertionError(f"{text} was looked at")


# All of them.


def test_everything_that_is_wrong_is_told_at_once() -> None:
    draft = Draft(
        Protection.SOME,
        (
            PolicyRule("", ""),
            PolicyRule("Twice", "("),
            PolicyRule("twice", "^fine$"),
            PolicyRule("Nothing", "a^"),
        ),
    )
    found = [(each.field, each.rule) for each in find_draft_problems(draft)]
    assert found == [
        ("name", 0),
        ("pattern", 0),
        ("name", 1),
        ("pattern", 1),
        ("name", 2),
        ("pattern", 3),
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
        cover(draft.to_policy(), TagName("v1.2.0"))

"""Container settings as typed, and what is wrong with them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from containers.names import TagName
from immutability.policy.advice import AdviceCode
from immutability.policy.drafts import (
    Draft,
    DraftProblem,
    ProblemCode,
    describe_bad_name,
    describe_bad_pattern,
    find_advice,
    find_draft_problems,
)
from immutability.policy.protection import (
    PatternKind,
    Policy,
    PolicyException,
    PolicyRule,
    Protection,
    cover,
)
from tests.conftest import LATEST, SEMVER
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
    assert (problem.field, problem.number) == ("pattern", 0)


# Names.


@pytest.mark.parametrize("name", ["", " ", "\u00a0", "\u3000 "])
def test_a_rule_needs_a_name(name: str) -> None:
    assert problems_of(PolicyRule(name, "^v")) == [
        DraftProblem("Enter a name for the rule.", "name", 0)
    ]


def test_a_name_can_be_too_long() -> None:
    assert describe_bad_name(PatternKind.RULE, "n" * 64) is None
    assert describe_bad_name(PatternKind.RULE, "n" * 65) == (
        "The name has 65 characters; at most 64 are allowed."
    )


@pytest.mark.parametrize(
    ("name", "character"),
    [("a\nb", "U+000A"), ("a\0", "U+0000"), ("a\ud800", "U+D800"), ("a\u202eb", "U+202E")],
)
def test_a_name_has_no_control_characters(name: str, character: str) -> None:
    assert describe_bad_name(PatternKind.RULE, name) == (
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
            code=ProblemCode.MATCHES_NO_TAG,
        )
    ]


def test_a_pattern_is_never_changed() -> None:
    draft = Draft(Protection.SOME, (PolicyRule("Spaces", "prod|staging "),))
    assert find_draft_problems(draft) == []
    assert draft.to_policy().rules[0].pattern == "prod|staging "


# Exceptions.


def exceptions(how_many: int) -> tuple[PolicyException, ...]:
    return tuple(PolicyException(f"Exception {n}", f"^{n}$") for n in range(how_many))


def exception_problems(*exceptions: PolicyException) -> list[DraftProblem]:
    return find_draft_problems(Draft(Protection.ALL, exceptions=exceptions))


@pytest.mark.parametrize("protection", [Protection.NONE, Protection.ALL])
def test_seven_exceptions_can_be_saved_beside_seven_rules(protection: Protection) -> None:
    draft = Draft(protection, rules(7), exceptions=exceptions(7))
    assert find_draft_problems(draft) == []
    assert draft.to_policy().exceptions == exceptions(7)


@pytest.mark.parametrize("protection", list(Protection))
def test_more_than_seven_exceptions_are_refused(protection: Protection) -> None:
    draft = Draft(protection, rules(8), exceptions=exceptions(9))
    assert find_draft_problems(draft) == [
        DraftProblem("A workspace has at most 7 rules; remove 1.", "rules"),
        DraftProblem(
            "A workspace has at most 7 exceptions; remove 2.",
            "exceptions",
            kind=PatternKind.EXCEPTION,
        ),
    ]


@pytest.mark.parametrize("protection", list(Protection))
def test_exceptions_are_checked_whatever_is_protected(protection: Protection) -> None:
    bad = PolicyException("Bad", "(")
    [problem] = find_draft_problems(Draft(protection, (SEMVER,), exceptions=(LATEST, bad)))
    assert (problem.kind, problem.field, problem.number) == (PatternKind.EXCEPTION, "pattern", 1)


def test_all_needs_no_exception_and_some_still_needs_a_rule() -> None:
    assert find_draft_problems(Draft(Protection.ALL)) == []
    problems = find_draft_problems(Draft(Protection.SOME, exceptions=(PolicyException("", "^v"),)))
    assert [(each.kind, each.code, each.field) for each in problems] == [
        (PatternKind.RULE, ProblemCode.NO_RULES, "rules"),
        (PatternKind.EXCEPTION, ProblemCode.INVALID, "name"),
    ]


def test_two_exceptions_have_two_names_whatever_their_case() -> None:
    said = 'Two exceptions are named "{}". Give each a name of its own.'
    found = exception_problems(PolicyException("Latest", "^a"), PolicyException("LATEST", "^b"))
    assert [each.message for each in found] == [said.format("Latest"), said.format("LATEST")]
    assert {each.kind for each in found} == {PatternKind.EXCEPTION}


def test_a_rule_and_an_exception_may_have_one_name_and_one_pattern() -> None:
    draft = Draft(Protection.ALL, (SEMVER,), exceptions=(PolicyException(**vars(SEMVER)),))
    assert find_draft_problems(draft) == []


def test_an_exception_needs_a_name_and_a_pattern() -> None:
    assert [each.message for each in exception_problems(PolicyException("", ""))] == [
        "Enter a name for the exception.",
        "Enter a pattern.",
    ]


def test_an_exception_that_matches_no_tag_is_refused_in_words_of_its_own() -> None:
    [problem] = exception_problems(PolicyException("Latest", "^latest$ "))
    assert problem.code is ProblemCode.MATCHES_NO_TAG
    assert problem.message == (
        "This pattern matches no tag, so it has no effect: a tag has no spaces. Did you mean "
        '"^latest$"?'
    )


# Advice.


def test_advice_says_which_rule_it_is_about() -> None:
    rules = (SEMVER, PolicyRule("Broken", "("), PolicyRule("Any", "v*"))
    found = find_advice(Policy(rules=rules))
    assert {(each.kind, each.position, each.named) for each in found} == {
        (PatternKind.RULE, 3, rules[2])
    }
    assert found[0].advice.suggestion == "^v"


@pytest.mark.parametrize("pattern", ["", "(", "a" * 101, "sha256\n"])
def test_a_pattern_that_cannot_be_used_gets_no_advice(pattern: str) -> None:
    assert find_advice(Policy(rules=(PolicyRule("Bad", pattern),))) == []


# Limits come first.


@pytest.mark.parametrize(
    "draft",
    [
        Draft(Protection.SOME, tuple(PolicyRule(f"{n}", "^a") for n in range(60))),
        Draft(Protection.SOME, (PolicyRule("Long", "a" * 101),)),
        Draft(Protection.SOME, (PolicyRule("Control", "a\0"),)),
        Draft(Protection.ALL, exceptions=(PolicyException("Long", "a" * 101),)),
        Draft(Protection.ALL, exceptions=tuple(PolicyException(f"{n}", "^a") for n in range(60))),
    ],
)
def test_nothing_is_compiled_that_is_over_a_limit(
    draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("immutability.policy.drafts.compile_pattern", fail)
    monkeypatch.setattr("immutability.policy.drafts.advise", fail)
    monkeypatch.setattr("immutability.policy.drafts.find_no_tag", fail)
    assert len(find_draft_problems(draft)) == 1


def test_all_without_an_exception_says_that_latest_is_locked_too() -> None:
    [said] = find_advice(Policy(protection=Protection.ALL))
    assert (said.kind, said.position, said.named) == (None, None, None)
    assert said.advice.code is AdviceCode.NO_EXCEPTIONS
    assert "latest is locked too" in said.advice.message


@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        Policy(protection=Protection.SOME, rules=(SEMVER,)),
        Policy(protection=Protection.ALL, exceptions=(PolicyException("Caches", "^cache"),)),
    ],
)
def test_nothing_is_said_of_exceptions_where_there_are_some_or_none_count(policy: Policy) -> None:
    assert find_advice(policy) == []


def test_advice_says_which_exception_it_is_about() -> None:
    every = PolicyException("Every", ".*")
    policy = Policy(protection=Protection.ALL, exceptions=(LATEST, every))
    [said] = find_advice(policy)
    assert (said.kind, said.position, said.named) == (PatternKind.EXCEPTION, 2, every)
    assert said.advice.code is AdviceCode.MATCHES_EVERY_TAG
    assert "so none would be protected" in said.advice.message


def fail(text: str, kind: object = None) -> None:
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
    found = [(each.field, each.number) for each in find_draft_problems(draft)]
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
    exceptions=st.lists(st.builds(PolicyException, TEXT, TEXT), max_size=9).map(tuple),
)
@settings(max_examples=200, deadline=None)
def test_any_draft_is_checked_and_what_passes_can_be_evaluated(
    protection: Protection,
    rules: tuple[PolicyRule, ...],
    exceptions: tuple[PolicyException, ...],
) -> None:
    draft = Draft(protection, rules, exceptions=exceptions)
    problems = find_draft_problems(draft)
    assert not [each for each in problems if find_bad_character(each.message)]
    if not problems:
        cover(draft.to_policy(), TagName("v1.2.0"))

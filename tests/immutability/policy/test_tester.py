"""The pattern tester: sample tags against rules, saved or not."""

import pytest

from containers.names import TagName
from immutability.policy.patterns import Match, PatternError
from immutability.policy.protection import (
    Coverage,
    Policy,
    PolicyException,
    PolicyRule,
    Protection,
    Why,
    cover,
)
from immutability.policy.tester import MAX_SAMPLE_TAGS, PatternMatch, SampleResult, try_samples
from tests.conftest import LATEST, SEMVER

PROD = PolicyRule("Prod", "prod")
SIGNATURE_TAG = "sha256-" + "0" * 64 + ".sig"


def try_one(policy: Policy, sample: str) -> SampleResult:
    [result] = try_samples(policy, [sample])
    return result


def test_a_sample_that_a_rule_matches_would_be_locked() -> None:
    result = try_one(Policy(protection=Protection.SOME, rules=(SEMVER,)), "v1.2.0")
    assert result == SampleResult(
        "v1.2.0",
        Coverage(Why.RULE, SEMVER),
        (PatternMatch(SEMVER, Match(0, 6), is_partial=False),),
    )
    assert result.would_be_locked


def test_a_sample_that_no_rule_matches_would_not_be_locked() -> None:
    result = try_one(Policy(protection=Protection.SOME, rules=(SEMVER,)), "nightly")
    assert result == SampleResult("nightly", Coverage(Why.NO_RULE))
    assert not result.would_be_locked


def test_a_match_of_a_part_is_marked() -> None:
    result = try_one(Policy(protection=Protection.SOME, rules=(PROD,)), "nonprod-1")
    assert result.would_be_locked
    assert result.rules == (PatternMatch(PROD, Match(3, 7), is_partial=True),)


def test_every_rule_that_matches_is_shown_and_the_first_decides() -> None:
    rules = (PolicyRule("Any v", "^v"), SEMVER, PROD)
    result = try_one(Policy(protection=Protection.SOME, rules=rules), "v1.2.0")
    assert [(each.named.name, each.is_partial) for each in result.rules] == [
        ("Any v", True),
        ("Release versions", False),
    ]
    assert result.coverage == Coverage(Why.RULE, rules[0])


def test_rules_are_tried_even_while_they_play_no_part() -> None:
    for protection, why in ((Protection.NONE, Why.NO_PROTECTION), (Protection.ALL, Why.ALL_TAGS)):
        result = try_one(Policy(protection=protection, rules=(SEMVER,)), "v1.2.0")
        assert result.coverage == Coverage(why)
        assert result.would_be_locked is (protection is Protection.ALL)
        assert [each.named for each in result.rules] == [SEMVER]


def test_a_sample_that_an_exception_matches_would_stay_mutable() -> None:
    late = PolicyException("Late", "late")
    policy = Policy(protection=Protection.ALL, rules=(SEMVER,), exceptions=(LATEST, late))
    result = try_one(policy, "latest")
    assert not result.would_be_locked
    assert result.coverage == Coverage(Why.EXCEPTION, exception=LATEST)
    assert result.rules == ()
    assert result.exceptions == (
        PatternMatch(LATEST, Match(0, 6), is_partial=False),
        PatternMatch(late, Match(0, 4), is_partial=True),
    )


def test_exceptions_are_tried_even_while_they_play_no_part() -> None:
    policy = Policy(protection=Protection.SOME, rules=(SEMVER,), exceptions=(LATEST,))
    result = try_one(policy, "latest")
    assert result.coverage == Coverage(Why.NO_RULE)
    assert [each.named for each in result.exceptions] == [LATEST]


def test_a_signature_tag_says_why_it_stays_free() -> None:
    result = try_one(Policy(protection=Protection.ALL), SIGNATURE_TAG)
    assert result.coverage == Coverage(Why.SIGNATURE_TAG)
    assert not result.would_be_locked


@pytest.mark.parametrize("sample", ["", "v1+2", " v1.2.0", "v1.2.0\n", "acme/api:v1"])
def test_what_is_no_tag_says_so_and_is_not_tried(sample: str) -> None:
    result = try_one(Policy(protection=Protection.ALL, rules=(PolicyRule("Any", ""),)), sample)
    assert result.sample == sample
    assert result.coverage is None
    assert result.rules == ()
    assert " tag" in result.problem
    assert not result.would_be_locked


def test_results_come_in_the_order_of_the_samples() -> None:
    samples = ["b", "a", "", "b"]
    results = try_samples(Policy(protection=Protection.ALL), samples)
    assert [result.sample for result in results] == samples


def test_no_samples_have_no_results() -> None:
    assert try_samples(Policy(), []) == []


@pytest.mark.parametrize("protection", list(Protection))
def test_a_pattern_that_does_not_compile_is_told(protection: Protection) -> None:
    for policy in (
        Policy(protection=protection, rules=(PolicyRule("Bad", "("),)),
        Policy(protection=protection, exceptions=(PolicyException("Bad", "("),)),
    ):
        with pytest.raises(PatternError):
            try_samples(policy, ["v1"])


@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        Policy(protection=Protection.ALL),
        Policy(protection=Protection.ALL, protect_signature_tags=True),
        Policy(protection=Protection.ALL, exceptions=(LATEST, PolicyException("a", "a"))),
        Policy(
            protection=Protection.ALL,
            exceptions=(PolicyException("Signatures", "^sha"),),
            protect_signature_tags=True,
        ),
        Policy(protection=Protection.SOME, rules=(SEMVER, PROD), exceptions=(LATEST,)),
        Policy(protection=Protection.SOME, rules=(PolicyRule("Empty", ""),)),
    ],
)
@pytest.mark.parametrize("tag", ["v1.2.0", "latest", "nonprod-1", "_", SIGNATURE_TAG])
def test_what_is_tested_is_what_is_enforced(policy: Policy, tag: str) -> None:
    assert try_one(policy, tag).coverage == cover(policy, TagName(tag))


def test_how_many_samples_there_may_be() -> None:
    assert MAX_SAMPLE_TAGS == 20

"""What saving a draft does to tags, by their names."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from containers.names import TagName
from immutability.policy.patterns import Pattern, PatternError, PatternEvaluationError
from immutability.policy.preview import Effect, NameCount, Preview, preview_change
from immutability.policy.protection import (
    Policy,
    PolicyException,
    PolicyRule,
    Protection,
    cover,
)
from immutability.policy.shift import count_shift

SIGNATURE = "sha256-" + "0" * 64 + ".sig"
NAMES = ["v1.0.0", "v1", "latest", "prod", "nonprod-1", SIGNATURE]
VERSIONS, PROD = PolicyRule("Versions", "^v"), PolicyRule("Production", "prod")
NOTHING, EVERYTHING = Policy(), Policy(protection=Protection.ALL)


def some(*rules: PolicyRule) -> Policy:
    return Policy(protection=Protection.SOME, rules=rules)


def known(*names: str, locks: int = 0, unlocked: int = 0) -> list[NameCount]:
    return [NameCount(name, locks, unlocked) for name in names]


def preview(before: Policy, after: Policy, *names: NameCount, max_examples: int = 10) -> Preview:
    return preview_change(before, after, names, max_examples=max_examples)


def said(found: Preview) -> list[tuple[str, str, int, tuple[str, ...]]]:
    """Return effect, rule, count and names of each group."""
    return [
        (group.effect.value, group.reason.name if group.reason else "", group.count, group.names)
        for group in found.groups
    ]


def test_tags_without_a_lock_become_locked_by_the_first_rule_that_matches() -> None:
    found = preview(
        NOTHING, some(VERSIONS, PROD), *known("v1", "prod", "nonprod", "main", unlocked=2)
    )
    assert said(found) == [
        ("locked", "Production", 4, ("prod", "nonprod")),
        ("locked", "Versions", 2, ("v1",)),
    ]


def test_locks_that_are_not_covered_any_more_are_told_by_the_rule_that_covered_them() -> None:
    found = preview(some(VERSIONS, PROD), some(VERSIONS), *known("v1", "prod", "x", locks=1))
    assert said(found) == [("suspended", "Production", 1, ("prod",))]


def test_locks_that_are_covered_again_hold_again() -> None:
    found = preview(some(VERSIONS), EVERYTHING, *known("v1", "prod", locks=1))
    assert said(found) == [("resumed", "", 1, ("prod",))]


def test_the_tags_of_one_name_may_have_locks_or_not() -> None:
    found = preview(NOTHING, EVERYTHING, NameCount("latest", 2, 3), NameCount(SIGNATURE, 1, 1))
    assert sorted(said(found)) == [
        ("locked", "", 3, ("latest",)),
        ("resumed", "", 2, ("latest",)),
    ]
    assert found.tags == 7


def test_exceptions_say_why_locks_are_suspended_and_hold_again() -> None:
    latest = PolicyException("Moving", "^latest$")
    without = Policy(protection=Protection.ALL, exceptions=(latest,))
    tags = [NameCount("latest", 1, 2), NameCount("v1", 1, 1)]
    assert said(preview(EVERYTHING, without, *tags)) == [("suspended", "Moving", 1, ("latest",))]
    assert said(preview(without, EVERYTHING, *tags)) == [
        ("locked", "Moving", 2, ("latest",)),
        ("resumed", "Moving", 1, ("latest",)),
    ]
    assert preview(EVERYTHING, without, *tags).exceptions[0].tags == 3


def test_the_order_of_rules_moves_nothing() -> None:
    found = preview(
        some(VERSIONS, PROD), some(PROD, VERSIONS), *known("v1-prod", locks=1, unlocked=1)
    )
    assert said(found) == []


def test_each_rule_counts_every_tag_that_it_matches() -> None:
    rules = (VERSIONS, PolicyRule("Also v", "v"), PolicyRule("Nothing", "^zz"))
    found = preview(NOTHING, some(*rules), *known("v1", "dev", unlocked=1), NameCount("v2", 1, 1))
    assert [(each.named.name, each.tags) for each in found.rules] == [
        ("Versions", 3),
        ("Also v", 4),
        ("Nothing", 0),
    ]


def test_rules_that_are_kept_and_not_in_force_are_counted_and_move_nothing() -> None:
    after = Policy(protection=Protection.NONE, rules=(VERSIONS,))
    found = preview(NOTHING, after, *known("v1", unlocked=1))
    assert (said(found), found.rules[0].tags) == ([], 1)


def test_saved_rules_that_are_not_in_force_are_not_even_compiled() -> None:
    before = Policy(protection=Protection.ALL, rules=(PolicyRule("Broken", "("),))
    assert said(preview(before, EVERYTHING, *known("v1", locks=1))) == []


def test_only_so_many_names_are_kept_and_all_are_counted() -> None:
    names = known(*(f"v{number}" for number in range(30)), unlocked=1)
    [group] = preview(NOTHING, EVERYTHING, *names, max_examples=4).groups
    assert (group.count, group.names) == (30, ("v0", "v1", "v2", "v3"))


def test_where_the_time_is_over_the_rest_is_not_looked_at() -> None:
    turns = iter([False, True])
    found = preview_change(
        NOTHING,
        EVERYTHING,
        known(*(f"v{number}" for number in range(200)), unlocked=1),
        max_examples=1,
        is_time_over=lambda: next(turns),
    )
    assert not found.is_exact
    assert 0 < found.count(Effect.LOCKED) < 200


def test_where_there_are_more_names_nothing_is_exact() -> None:
    assert not preview_change(
        NOTHING, EVERYTHING, known("v1"), max_examples=1, is_whole=False
    ).is_exact


@pytest.mark.parametrize("broken", [some(PolicyRule("Broken", "(")), some(VERSIONS)])
def test_a_rule_that_cannot_be_evaluated_is_an_error_and_not_no_match(
    monkeypatch: pytest.MonkeyPatch, broken: Policy
) -> None:
    def fail(*args: object) -> None:
        raise PatternEvaluationError("out of memory")

    monkeypatch.setattr(Pattern, "find", fail)
    monkeypatch.setattr("immutability.policy.patterns.MAX_SET_MEMORY_BYTES", 1)
    for before, after in ((NOTHING, broken), (broken, NOTHING)):
        with pytest.raises((PatternError, PatternEvaluationError)):
            preview(before, after, *known("v1", locks=1))


PATTERNS = st.sampled_from(["^v", "prod", r"^v\d+\.\d+\.\d+$", ".", "^latest$", "a*", "sha256"])
POLICIES = st.builds(
    Policy,
    protection=st.sampled_from(Protection),
    rules=st.lists(PATTERNS, max_size=4, unique=True).map(
        lambda patterns: tuple(PolicyRule(pattern, pattern) for pattern in patterns)
    ),
    protect_signature_tags=st.booleans(),
    exceptions=st.lists(PATTERNS, max_size=2, unique=True).map(
        lambda patterns: tuple(PolicyException(pattern, pattern) for pattern in patterns)
    ),
)
COUNTS = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(st.integers(0, 3), st.integers(0, 3))
).map(lambda counts: [NameCount(name, *each) for name, each in counts.items()])


@given(before=POLICIES, after=POLICIES, names=COUNTS)
@settings(max_examples=300, deadline=None)
def test_the_numbers_are_those_of_each_tag_decided_by_itself(
    before: Policy, after: Policy, names: list[NameCount]
) -> None:
    found = preview(before, after, *names)
    shift = count_shift(before, after, [each.name for each in names for _ in range(each.locks)])
    assert found.count(Effect.SUSPENDED) == shift.suspended
    assert found.count(Effect.RESUMED) == shift.resumed
    newly = [
        each
        for each in names
        if cover(after, TagName(each.name)).is_covered
        and not cover(before, TagName(each.name)).is_covered
    ]
    assert found.count(Effect.LOCKED) == sum(each.unlocked for each in newly)
    assert found.newly_covered == {each.name for each in newly}

"""What a change of settings does to locks, and what can be said of it without looking at them."""

import itertools
from dataclasses import replace
from functools import cache

import pytest

from containers.names import TagName
from immutability.policy.protection import Policy, PolicyException, PolicyRule, Protection, cover
from immutability.policy.shift import Shift, count_shift, covers_no_less, covers_the_same

SIGNATURE = "sha256-" + "0" * 64
TAGS = ["v1.0.0", "v1", "latest", "prod", SIGNATURE, f"{SIGNATURE}.sig"]
PATTERNS = ["^v", r"^v\d+\.\d+\.\d+$", "^prod$", "."]
POLICIES = [
    Policy(),
    Policy(protect_signature_tags=True),
    Policy(protection=Protection.ALL),
    Policy(protection=Protection.ALL, protect_signature_tags=True),
    Policy(protection=Protection.ALL, rules=(PolicyRule("x", "^v"),)),
    *(
        Policy(
            protection=Protection.ALL,
            exceptions=tuple(PolicyException(pattern, pattern) for pattern in patterns),
            protect_signature_tags=switch,
        )
        for switch in (False, True)
        for count in (1, 2)
        for patterns in itertools.permutations([*PATTERNS, "^sha256-"], count)
    ),
    Policy(exceptions=(PolicyException("x", "^v"),)),
    *(
        Policy(
            protection=Protection.SOME,
            rules=tuple(PolicyRule(pattern, pattern) for pattern in patterns),
        )
        for count in (1, 2)
        for patterns in itertools.permutations(PATTERNS, count)
    ),
]


@cache
def covered(policy: Policy) -> set[str]:
    return {tag for tag in TAGS if cover(policy, TagName(tag)).is_covered}


@pytest.mark.parametrize("before", POLICIES, ids=str)
def test_what_is_said_without_looking_is_what_is_found(before: Policy) -> None:
    for after in POLICIES:
        was, is_now = covered(before), covered(after)
        if covers_the_same(before, after):
            assert was == is_now, after
        if covers_no_less(before, after):
            assert was <= is_now, after
        assert count_shift(before, after, TAGS) == Shift(len(was - is_now), len(is_now - was))


ALL = Policy(protection=Protection.ALL)
BUT_LATEST = Policy(protection=Protection.ALL, exceptions=(PolicyException("a", "^latest$"),))


@pytest.mark.parametrize(
    ("before", "after", "is_sure"),
    [
        (Policy(), Policy(protection=Protection.SOME, rules=(PolicyRule("a", "^v"),)), True),
        (Policy(protection=Protection.SOME, rules=(PolicyRule("a", "^v"),)), ALL, True),
        # It matches signature tags, which "all" leaves out.
        (Policy(protection=Protection.SOME, rules=(PolicyRule("a", "."),)), ALL, False),
        (
            Policy(protection=Protection.SOME, rules=(PolicyRule("a", "^v"),)),
            Policy(
                protection=Protection.SOME, rules=(PolicyRule("c", "^x"), PolicyRule("b", "^v"))
            ),
            True,
        ),
        (ALL, Policy(protection=Protection.SOME, rules=(PolicyRule("a", "."),)), False),
        (ALL, Policy(), False),
        (ALL, BUT_LATEST, False),
        (BUT_LATEST, ALL, True),
        (BUT_LATEST, replace(BUT_LATEST, exceptions=(PolicyException("b", "^latest$"),)), True),
        (BUT_LATEST, replace(BUT_LATEST, exceptions=(PolicyException("a", "^late$"),)), False),
        (BUT_LATEST, replace(BUT_LATEST, protect_signature_tags=True), True),
        (replace(ALL, protect_signature_tags=True), BUT_LATEST, False),
        # An exception may match what the rule does.
        (Policy(protection=Protection.SOME, rules=(PolicyRule("a", "^v"),)), BUT_LATEST, False),
    ],
)
def test_only_what_is_sure_to_cover_no_less_does(
    before: Policy, after: Policy, *, is_sure: bool
) -> None:
    assert covers_no_less(before, after) is is_sure


def test_the_same_tag_in_several_repositories_counts_each_time() -> None:
    assert count_shift(ALL, Policy(), ["v1", "v1"]) == Shift(2, 0)


def test_exceptions_that_do_not_count_move_nothing() -> None:
    for protection in (Protection.NONE, Protection.SOME):
        before = Policy(protection=protection, rules=(PolicyRule("a", "^v"),))
        after = replace(before, exceptions=(PolicyException("a", "^v"),))
        assert covers_the_same(before, after)
        assert covers_no_less(before, after)

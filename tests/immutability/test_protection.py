"""The whole decision table of pushes and deletes."""

import pytest

from containers.reference import Digest, Tag
from immutability import patterns
from immutability.patterns import PatternError, PatternEvaluationError
from immutability.protection import (
    Coverage,
    DeleteOutcome,
    Lock,
    LockState,
    Outcome,
    Policy,
    PolicyRule,
    Protection,
    Step,
    Why,
    cover,
    decide_adoption,
    decide_delete,
    decide_push,
    match_rules,
)
from tests.conftest import AA, BB, SEMVER

NONE = Policy(protection=Protection.NONE)
ALL = Policy(protection=Protection.ALL)
SOME = Policy(protection=Protection.SOME, rules=(SEMVER,))

SAME = Digest(AA)
OTHER = Digest(BB)
NO_IMAGE = None

SIGNATURE_TAGS = [
    *("sha256-" + "0" * 64 + suffix for suffix in ("", ".sig", ".att", ".sbom")),
    "sha512-" + "0" * 64,
]


def lock_in(state: LockState | None) -> Lock | None:
    return Lock(state, SAME) if state else None


# A push of a covered tag.

PUSHES = [
    # state, digest of the push, outcome, step
    (None, SAME, Outcome.FREE, Step.CLAIM),
    (None, OTHER, Outcome.FREE, Step.CLAIM),
    (None, NO_IMAGE, Outcome.FREE, Step.CLAIM),
    (LockState.LOCKED, SAME, Outcome.UNCHANGED, Step.NOTHING),
    (LockState.LOCKED, OTHER, Outcome.LOCKED, Step.NOTHING),
    (LockState.LOCKED, NO_IMAGE, Outcome.LOCKED, Step.NOTHING),
    (LockState.CLAIMED, SAME, Outcome.FREE, Step.JOIN),
    (LockState.CLAIMED, OTHER, Outcome.CLAIM_PENDING, Step.NOTHING),
    (LockState.CLAIMED, NO_IMAGE, Outcome.CLAIM_PENDING, Step.NOTHING),
    (LockState.RESERVED, SAME, Outcome.FREE, Step.RECLAIM),
    (LockState.RESERVED, OTHER, Outcome.RESERVED, Step.NOTHING),
    (LockState.RESERVED, NO_IMAGE, Outcome.RESERVED, Step.NOTHING),
    (LockState.RELEASED, SAME, Outcome.FREE, Step.RECLAIM),
    (LockState.RELEASED, OTHER, Outcome.FREE, Step.RECLAIM),
    (LockState.RELEASED, NO_IMAGE, Outcome.FREE, Step.RECLAIM),
    (LockState.DELETING, SAME, Outcome.CLAIM_PENDING, Step.NOTHING),
    (LockState.DELETING, OTHER, Outcome.CLAIM_PENDING, Step.NOTHING),
    (LockState.DELETING, NO_IMAGE, Outcome.CLAIM_PENDING, Step.NOTHING),
]


def test_the_table_of_pushes_has_every_state() -> None:
    assert {state for state, *_ in PUSHES} == {None, *LockState}


@pytest.mark.parametrize(("state", "digest", "outcome", "step"), PUSHES)
@pytest.mark.parametrize("policy", [ALL, SOME], ids=["all", "some"])
def test_a_push_of_a_covered_tag(
    policy: Policy, state: LockState | None, digest: Digest | None, outcome: Outcome, step: Step
) -> None:
    decision = decide_push(policy, Tag("v1.2.0"), digest, lock_in(state))
    assert (decision.outcome, decision.step) == (outcome, step)
    assert decision.coverage.is_covered


@pytest.mark.parametrize(("state", "digest", "outcome", "step"), PUSHES)
@pytest.mark.parametrize("protection", [Protection.ALL, Protection.SOME])
def test_the_switch_refuses_identical_pushes_of_a_locked_tag_and_changes_nothing_else(
    protection: Protection,
    state: LockState | None,
    digest: Digest | None,
    outcome: Outcome,
    step: Step,
) -> None:
    policy = Policy(protection=protection, rules=(SEMVER,), refuse_identical_pushes=True)
    decision = decide_push(policy, Tag("v1.2.0"), digest, lock_in(state))
    if outcome is Outcome.UNCHANGED:
        outcome = Outcome.LOCKED
    assert (decision.outcome, decision.step) == (outcome, step)


# A push of a tag that the policy does not cover.


@pytest.mark.parametrize("refuses_identical", [False, True])
@pytest.mark.parametrize(
    ("protection", "why"),
    [(Protection.NONE, Why.NO_PROTECTION), (Protection.SOME, Why.NO_RULE)],
)
@pytest.mark.parametrize("state", [None, *LockState])
@pytest.mark.parametrize("digest", [SAME, OTHER])
def test_a_push_of_an_uncovered_tag_is_always_allowed(
    *,
    protection: Protection,
    why: Why,
    state: LockState | None,
    digest: Digest,
    refuses_identical: bool,
) -> None:
    policy = Policy(
        protection=protection, rules=(SEMVER,), refuse_identical_pushes=refuses_identical
    )
    decision = decide_push(policy, Tag("nightly"), digest, lock_in(state))
    assert decision.outcome is Outcome.UNPROTECTED
    assert decision.outcome.is_allowed
    assert decision.coverage == Coverage(why)


def test_an_unlocked_uncovered_tag_is_remembered() -> None:
    assert decide_push(NONE, Tag("v1.2.0"), SAME, None).step is Step.REMEMBER


def test_a_suspended_lock_stays_while_its_tag_stays_what_it_was() -> None:
    decision = decide_push(NONE, Tag("v1.2.0"), SAME, Lock(LockState.LOCKED, SAME))
    assert decision.step is Step.NOTHING


@pytest.mark.parametrize(
    "state", [LockState.LOCKED, LockState.RESERVED, LockState.RELEASED], ids=str
)
def test_a_suspended_lock_ends_when_another_image_lands(state: LockState) -> None:
    assert decide_push(NONE, Tag("v1.2.0"), OTHER, Lock(state, SAME)).step is Step.END_LOCK


# What the registry had already.


@pytest.mark.parametrize(
    ("digest", "refuses_identical", "outcome"),
    [
        (SAME, False, Outcome.UNCHANGED),
        (OTHER, False, Outcome.LOCKED),
        (NO_IMAGE, False, Outcome.LOCKED),
        (SAME, True, Outcome.LOCKED),
        (OTHER, True, Outcome.LOCKED),
        (NO_IMAGE, True, Outcome.LOCKED),
    ],
)
def test_an_existing_tag_accepts_only_the_image_that_it_has(
    *, digest: Digest | None, refuses_identical: bool, outcome: Outcome
) -> None:
    policy = Policy(protection=Protection.ALL, refuse_identical_pushes=refuses_identical)
    assert decide_adoption(policy, digest, SAME) is outcome


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


# A delete.

DELETES = [
    # state, covered for a member, covered for an admin, uncovered for either
    (None, DeleteOutcome.NOT_LOCKED, DeleteOutcome.NOT_LOCKED, DeleteOutcome.NOT_LOCKED),
    (LockState.LOCKED, DeleteOutcome.LOCKED, DeleteOutcome.DELETED, DeleteOutcome.SUSPENDED),
    (LockState.RELEASED, DeleteOutcome.LOCKED, DeleteOutcome.DELETED, DeleteOutcome.SUSPENDED),
    (
        LockState.RESERVED,
        DeleteOutcome.NOT_LOCKED,
        DeleteOutcome.NOT_LOCKED,
        DeleteOutcome.NOT_LOCKED,
    ),
    (
        LockState.CLAIMED,
        DeleteOutcome.CLAIM_PENDING,
        DeleteOutcome.CLAIM_PENDING,
        DeleteOutcome.CLAIM_PENDING,
    ),
    (
        LockState.DELETING,
        DeleteOutcome.CLAIM_PENDING,
        DeleteOutcome.CLAIM_PENDING,
        DeleteOutcome.CLAIM_PENDING,
    ),
]


def test_the_table_of_deletes_has_every_state() -> None:
    assert {state for state, *_ in DELETES} == {None, *LockState}


@pytest.mark.parametrize(("state", "member", "admin", "uncovered"), DELETES)
@pytest.mark.parametrize("policy", [ALL, SOME], ids=["all", "some"])
@pytest.mark.parametrize("is_admin", [False, True])
def test_a_delete_of_a_covered_tag(
    *,
    policy: Policy,
    is_admin: bool,
    state: LockState | None,
    member: DeleteOutcome,
    admin: DeleteOutcome,
    uncovered: DeleteOutcome,
) -> None:
    outcome = decide_delete(policy, Tag("v1.2.0"), lock_in(state), is_admin=is_admin)
    assert outcome is (admin if is_admin else member)


@pytest.mark.parametrize(("state", "member", "admin", "uncovered"), DELETES)
@pytest.mark.parametrize("policy", [NONE, SOME], ids=["none", "some"])
@pytest.mark.parametrize("is_admin", [False, True])
def test_a_delete_of_an_uncovered_tag(
    *,
    policy: Policy,
    is_admin: bool,
    state: LockState | None,
    member: DeleteOutcome,
    admin: DeleteOutcome,
    uncovered: DeleteOutcome,
) -> None:
    outcome = decide_delete(policy, Tag("nightly"), lock_in(state), is_admin=is_admin)
    assert outcome is uncovered


@pytest.mark.parametrize(
    ("outcome", "is_allowed"),
    [
        (DeleteOutcome.NOT_LOCKED, True),
        (DeleteOutcome.SUSPENDED, True),
        (DeleteOutcome.DELETED, True),
        (DeleteOutcome.LOCKED, False),
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
    assert cover(policy, Tag(tag)) == Coverage(Why.NO_PROTECTION)


@pytest.mark.parametrize("tag", ["v1.2.0", "nightly", "latest", "_", "sha256-abc"])
def test_all_tags_are_protected(tag: str) -> None:
    assert cover(ALL, Tag(tag)) == Coverage(Why.ALL_TAGS)


def test_rules_play_no_part_while_all_tags_are_protected() -> None:
    policy = Policy(protection=Protection.ALL, rules=(SEMVER,))
    assert cover(policy, Tag("v1.2.0")).rule is None


def test_latest_is_like_any_other_tag() -> None:
    lock = Lock(LockState.LOCKED, SAME)
    some = Policy(protection=Protection.SOME, rules=(PolicyRule("latest", "^latest$"),))
    for policy in (ALL, some):
        assert decide_push(policy, Tag("latest"), OTHER, lock).outcome is Outcome.LOCKED
        assert decide_delete(policy, Tag("latest"), lock, is_admin=False) is DeleteOutcome.LOCKED


@pytest.mark.parametrize("tag", SIGNATURE_TAGS)
def test_signature_tags_stay_free_while_all_tags_are_protected(tag: str) -> None:
    coverage = cover(ALL, Tag(tag))
    assert coverage == Coverage(Why.SIGNATURE_TAG)
    assert not coverage.is_covered


@pytest.mark.parametrize("tag", SIGNATURE_TAGS)
def test_the_switch_protects_signature_tags_too(tag: str) -> None:
    policy = Policy(protection=Protection.ALL, protect_signature_tags=True)
    assert cover(policy, Tag(tag)) == Coverage(Why.ALL_TAGS)


@pytest.mark.parametrize("switch", [False, True])
@pytest.mark.parametrize("tag", SIGNATURE_TAGS)
def test_some_covers_exactly_what_a_rule_matches_signature_tags_or_not(
    *, tag: str, switch: bool
) -> None:
    rule = PolicyRule("Signatures", "^sha(256|512)-")
    policy = Policy(protection=Protection.SOME, rules=(rule,), protect_signature_tags=switch)
    assert cover(policy, Tag(tag)) == Coverage(Why.RULE, rule)
    elsewhere = Policy(protection=Protection.SOME, rules=(SEMVER,), protect_signature_tags=switch)
    assert cover(elsewhere, Tag(tag)) == Coverage(Why.NO_RULE)


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
    assert cover(ALL, Tag(tag)) == Coverage(Why.ALL_TAGS)


def test_the_first_rule_that_matches_is_named() -> None:
    never, first, second = (
        PolicyRule("never", "^x$"),
        PolicyRule("first", "^v1"),
        PolicyRule("second", "^v"),
    )
    tag = Tag("v1.2.0")
    policy = Policy(protection=Protection.SOME, rules=(never, first, second))
    assert cover(policy, tag).rule is first
    turned = Policy(protection=Protection.SOME, rules=(second, first, never))
    assert cover(turned, tag).rule is second


def test_every_rule_that_matches_is_listed_in_order() -> None:
    rules = (PolicyRule("b", "2"), PolicyRule("a", "^v"), PolicyRule("c", "x"))
    found = match_rules(rules, Tag("v1.2.0"))
    assert [(rule.name, match.start, match.end) for rule, match in found] == [
        ("b", 3, 4),
        ("a", 0, 1),
    ]


def test_some_without_a_rule_covers_nothing() -> None:
    assert cover(Policy(protection=Protection.SOME), Tag("v1.2.0")) == Coverage(Why.NO_RULE)


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

    monkeypatch.setattr("immutability.protection.compile_pattern", compile_or_break)
    return PolicyRule("Broken", "broken")


def test_a_rule_that_fails_to_evaluate_decides_nothing(broken_rule: PolicyRule) -> None:
    policy = Policy(protection=Protection.SOME, rules=(broken_rule,))
    lock = Lock(LockState.LOCKED, SAME)
    with pytest.raises(PatternEvaluationError):
        decide_push(policy, Tag("v1.2.0"), SAME, None)
    with pytest.raises(PatternEvaluationError):
        decide_delete(policy, Tag("v1.2.0"), lock, is_admin=True)


@pytest.mark.parametrize("is_last", [False, True])
def test_a_rule_that_fails_is_never_passed_over(*, broken_rule: PolicyRule, is_last: bool) -> None:
    rules = (SEMVER, broken_rule) if is_last else (broken_rule, SEMVER)
    policy = Policy(protection=Protection.SOME, rules=rules)
    with pytest.raises(PatternEvaluationError):
        decide_push(policy, Tag("nightly"), SAME, None)


def test_a_stored_pattern_that_does_not_compile_decides_nothing() -> None:
    policy = Policy(protection=Protection.SOME, rules=(PolicyRule("Old", "(?!x)"),))
    with pytest.raises(PatternError):
        decide_push(policy, Tag("v1.2.0"), SAME, None)


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

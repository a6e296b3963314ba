"""Exceptions: which tags stay mutable while all tags are protected, and what a broken one does."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containers.names import Digest, TagName
from immutability.policy import patterns
from immutability.policy.decisions import (
    DeleteStep,
    Look,
    RecordFacts,
    Step,
    decide_delete,
    decide_push,
)
from immutability.policy.details import from_details, to_details
from immutability.policy.messages import LockFacts, describe_refused_push
from immutability.policy.patterns import PatternError, PatternEvaluationError
from immutability.policy.protection import (
    Coverage,
    Lock,
    LockState,
    NamedPattern,
    Outcome,
    PatternKind,
    Policy,
    PolicyException,
    PolicyRule,
    Protection,
    Why,
    cover,
)
from tests.conftest import AA, BB, CACHES, LATEST, SEMVER

ALL = Policy(protection=Protection.ALL, exceptions=(LATEST, CACHES))
SIGNATURE = "sha256-" + "0" * 64 + ".sig"
SIGNATURES = PolicyException("Signatures", "^sha256-")


@pytest.mark.parametrize(
    ("tag", "coverage"),
    [
        ("latest", Coverage(Why.EXCEPTION, exception=LATEST)),
        ("buildcache", Coverage(Why.EXCEPTION, exception=CACHES)),
        ("buildcache-arm64", Coverage(Why.EXCEPTION, exception=CACHES)),
        # Both are anchored.
        ("latest-1", Coverage(Why.ALL_TAGS)),
        ("old-buildcache", Coverage(Why.ALL_TAGS)),
        ("Latest", Coverage(Why.ALL_TAGS)),
        ("v1.2.0", Coverage(Why.ALL_TAGS)),
        (SIGNATURE, Coverage(Why.SIGNATURE_TAG)),
    ],
)
def test_all_tags_are_protected_but_those_that_an_exception_matches(
    tag: str, coverage: Coverage
) -> None:
    found = cover(ALL, TagName(tag))
    assert found == coverage
    assert found.is_covered is (coverage.why is Why.ALL_TAGS)


@pytest.mark.parametrize(
    ("switch", "exceptions", "why"),
    [
        (False, (), Why.SIGNATURE_TAG),
        (False, (SIGNATURES,), Why.SIGNATURE_TAG),
        (True, (), Why.ALL_TAGS),
        (True, (LATEST,), Why.ALL_TAGS),
        (True, (SIGNATURES,), Why.EXCEPTION),
    ],
)
def test_a_signature_tag_is_covered_by_the_switch_alone_and_not_where_an_exception_matches(
    *, switch: bool, exceptions: tuple[PolicyException, ...], why: Why
) -> None:
    policy = replace(ALL, protect_signature_tags=switch, exceptions=exceptions)
    assert cover(policy, TagName(SIGNATURE)).why is why


@pytest.mark.parametrize("protection", [Protection.NONE, Protection.SOME])
def test_exceptions_play_no_part_otherwise(protection: Protection) -> None:
    rule = PolicyRule("Latest", "^latest$")
    policy = Policy(protection=protection, rules=(rule,), exceptions=(LATEST,))
    expected = {
        Protection.NONE: Coverage(Why.NO_PROTECTION),
        Protection.SOME: Coverage(Why.RULE, rule),
    }
    assert cover(policy, TagName("latest")) == expected[protection]


def test_the_first_exception_that_matches_is_named() -> None:
    any_tag = PolicyException("Any", ".")
    for order, first in (((LATEST, any_tag), LATEST), ((any_tag, LATEST), any_tag)):
        assert cover(replace(ALL, exceptions=order), TagName("latest")).exception is first


def test_a_rule_is_no_exception_even_with_its_name_and_pattern() -> None:
    rule: NamedPattern = PolicyRule("a", "^a")
    assert rule != PolicyException("a", "^a")


def test_how_many_there_may_be() -> None:
    assert [kind.max_count for kind in PatternKind] == [7, 7]


# What is decided by it: each state of a tag, covered and left mutable.

COVERED, EXCEPTED = (cover(ALL, TagName(tag)) for tag in ("v1.2.0", "latest"))
HELD = Digest(AA)
SHOWN = RecordFacts(digest=HELD)
NOTHING = RecordFacts()


@pytest.mark.parametrize(
    ("record", "lock", "pushed", "covered", "excepted"),
    [
        (NOTHING, None, AA, Step.CLAIM, Step.SEND),
        (SHOWN, None, AA, Step.UNCHANGED, Step.SEND),
        (SHOWN, None, BB, Step.LOCKED, Step.SEND),
        (SHOWN, Lock(LockState.LOCKED, HELD), AA, Step.UNCHANGED, Step.SEND),
        (SHOWN, Lock(LockState.LOCKED, HELD), BB, Step.LOCKED, Step.SEND),
        (NOTHING, Lock(LockState.RESERVED, HELD), BB, Step.RESERVED, Step.SEND),
        (SHOWN, Lock(LockState.RELEASED, HELD), BB, Step.CLAIM, Step.SEND),
    ],
)
def test_a_push_under_an_exception_is_sent_whatever_lock_there_is(
    record: RecordFacts, lock: Lock | None, pushed: str, covered: Step, excepted: Step
) -> None:
    look = Look(record.digest)
    assert decide_push(COVERED, record, lock, Digest(pushed), look).step is covered
    decision = decide_push(EXCEPTED, record, lock, Digest(pushed), look)
    assert (decision.step, decision.coverage.exception) == (excepted, LATEST)


@pytest.mark.parametrize("is_admin", [False, True])
def test_a_delete_under_an_exception_is_sent_by_anyone(*, is_admin: bool) -> None:
    lock = Lock(LockState.LOCKED, HELD)
    decision = decide_delete(EXCEPTED, SHOWN, lock, Look(HELD), is_admin=is_admin)
    assert decision.step is DeleteStep.SEND


def test_a_refusal_under_all_names_no_exception() -> None:
    facts = LockFacts("acme", "acme/api", "v1.2.0", HELD, None, COVERED, "")
    said = describe_refused_push(Outcome.LOCKED, facts, Digest(BB))
    assert "because all tags are protected" in said
    assert LATEST.name not in said


# An exception that cannot be evaluated.


class BrokenPattern:
    def find(self, tag: str) -> None:
        raise PatternEvaluationError(f"cannot search {tag}")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> PolicyException:
    """Return an exception whose evaluation fails; every other one works."""
    compile_pattern = patterns.compile_pattern

    def compile_or_break(text: str) -> object:
        return BrokenPattern() if text == "broken" else compile_pattern(text)

    monkeypatch.setattr("immutability.policy.protection.compile_pattern", compile_or_break)
    return PolicyException("Broken", "broken")


@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize("tag", ["latest", "v1.2.0"])
def test_an_exception_that_fails_decides_nothing_and_is_never_passed_over(
    *, broken: PolicyException, tag: str, is_last: bool
) -> None:
    exceptions = (LATEST, broken) if is_last else (broken, LATEST)
    with pytest.raises(PatternEvaluationError):
        cover(replace(ALL, exceptions=exceptions), TagName(tag))


def test_a_stored_pattern_that_does_not_compile_decides_nothing() -> None:
    with pytest.raises(PatternError):
        cover(replace(ALL, exceptions=(PolicyException("Old", "(?!x)"),)), TagName("v1.2.0"))


def test_one_that_plays_no_part_breaks_nothing(broken: PolicyException) -> None:
    policy = Policy(protection=Protection.SOME, rules=(SEMVER,), exceptions=(broken,))
    assert cover(policy, TagName("v1.2.0")).is_covered


# As an event keeps it.


def test_an_event_keeps_exceptions_and_gives_them_back() -> None:
    policy = replace(ALL, version=3, rules=(SEMVER,))
    details = to_details(policy)
    assert details["exceptions"] == [vars(LATEST), vars(CACHES)]
    assert from_details(details) == policy


def test_an_event_from_before_there_were_exceptions_has_none() -> None:
    details = to_details(Policy(2, Protection.ALL))
    del details["exceptions"]
    assert from_details(details) == Policy(2, Protection.ALL)


# Against what it means.

PATTERNS = st.sampled_from(["^latest$", "^v", "cache$", ".", r"^\d+$", "^sha256-"])
TAGS = st.sampled_from(["latest", "v1", "v1-cache", "7", SIGNATURE, "prod"])


@given(
    texts=st.lists(PATTERNS, max_size=7, unique=True), tag=TAGS.map(TagName), switch=st.booleans()
)
def test_all_covers_what_is_no_signature_and_no_exception_matches(
    *, texts: list[str], tag: TagName, switch: bool
) -> None:
    exceptions = tuple(PolicyException(text, text) for text in texts)
    policy = Policy(protection=Protection.ALL, exceptions=exceptions, protect_signature_tags=switch)
    # Each exception means what a rule of the same pattern means.
    is_excepted = any(
        cover(Policy(protection=Protection.SOME, rules=(PolicyRule(text, text),)), tag).is_covered
        for text in texts
    )
    is_left_to_tools = tag.is_signature and not switch
    assert cover(policy, tag).is_covered is not (is_excepted or is_left_to_tools)

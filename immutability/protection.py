"""The decision: may this push, or this delete, go ahead? Pure: no Django, no database, no clock.

Gate, API and pages all decide here. An answer is a value; an exception means that the question
could not be answered, and whoever asked refuses.
"""

from dataclasses import dataclass
from enum import StrEnum

from containers.reference import Digest, Tag
from immutability.patterns import Match, compile_pattern

MAX_RULES_PER_WORKSPACE = 7
MAX_RULE_NAME_LENGTH = 64


class Protection(StrEnum):
    """What a workspace protects."""

    NONE = "none"
    ALL = "all"
    SOME = "some"

    @property
    def label(self) -> str:
        return {
            Protection.NONE: "No tags are protected",
            Protection.ALL: "All tags are protected",
            Protection.SOME: "Some tags are protected",
        }[self]


@dataclass(frozen=True)
class PolicyRule:
    """A rule: a name and an RE2 pattern."""

    name: str
    pattern: str


@dataclass(frozen=True)
class Policy:
    """A workspace's container settings at one version, as a value."""

    version: int = 0
    protection: Protection = Protection.NONE
    rules: tuple[PolicyRule, ...] = ()
    refuse_identical_pushes: bool = False
    protect_signature_tags: bool = False


class Why(StrEnum):
    """Why a policy covers a tag, or why not."""

    ALL_TAGS = "all_tags"
    RULE = "rule"
    NO_PROTECTION = "no_protection"
    NO_RULE = "no_rule"
    SIGNATURE_TAG = "signature_tag"


@dataclass(frozen=True)
class Coverage:
    """Whether a policy covers a tag, and why; `rule` is the first rule that matches it."""

    why: Why
    rule: PolicyRule | None = None

    @property
    def is_covered(self) -> bool:
        return self.why in (Why.ALL_TAGS, Why.RULE)


def cover(policy: Policy, tag: Tag) -> Coverage:
    """Say whether `policy` covers `tag`.

    Raises PatternError or PatternEvaluationError where a rule cannot be evaluated: that is not
    "no match", so nothing may be allowed on it.
    """
    matching = match_rules(policy.rules, tag) if policy.protection is Protection.SOME else []
    return cover_matched(policy, tag, matching)


def cover_matched(policy: Policy, tag: Tag, matching: list[tuple[PolicyRule, Match]]) -> Coverage:
    """Say whether `policy` covers `tag`, which the rules of `matching` match, in order."""
    if policy.protection is Protection.NONE:
        return Coverage(Why.NO_PROTECTION)
    if policy.protection is Protection.ALL:
        if tag.is_signature and not policy.protect_signature_tags:
            return Coverage(Why.SIGNATURE_TAG)
        return Coverage(Why.ALL_TAGS)
    return Coverage(Why.RULE, matching[0][0]) if matching else Coverage(Why.NO_RULE)


def match_rules(rules: tuple[PolicyRule, ...], tag: Tag) -> list[tuple[PolicyRule, Match]]:
    """Return the rules that match `tag`, in order, each with where it matches.

    Raises PatternError or PatternEvaluationError.
    """
    found = ((rule, compile_pattern(rule.pattern).find(tag.name)) for rule in rules)
    return [(rule, match) for rule, match in found if match is not None]


class LockState(StrEnum):
    """The states of a lock. Suspended is none of them: it follows from the policy."""

    CLAIMED = "claimed"
    LOCKED = "locked"
    RESERVED = "reserved"
    RELEASED = "released"
    DELETING = "deleting"


@dataclass(frozen=True)
class Lock:
    """What a decision needs to know of a lock."""

    state: LockState
    digest: Digest


class Outcome(StrEnum):
    """What becomes of a push, or would become of it."""

    UNPROTECTED = "unprotected"
    FREE = "free"
    LOCKED_NOW = "locked_now"
    CLAIMED = "claimed"
    UNCHANGED = "unchanged"
    LOCKED = "locked"
    RESERVED = "reserved"
    CLAIM_PENDING = "claim_pending"

    @property
    def is_allowed(self) -> bool:
        return self not in (Outcome.LOCKED, Outcome.RESERVED, Outcome.CLAIM_PENDING)


class Step(StrEnum):
    """What has to be written before a push may be allowed."""

    NOTHING = "nothing"
    REMEMBER = "remember what the unprotected tag points at"
    END_LOCK = "end the suspended lock"
    RESTORE = "lock the reserved tag again, whose image comes back"
    CLAIM = "claim the tag"
    RECLAIM = "claim the reserved or released tag"
    JOIN = "join the claim"


@dataclass(frozen=True)
class Decision:
    """The answer for one tag. A covered, new tag is FREE until its claim is won."""

    outcome: Outcome
    step: Step
    coverage: Coverage


def decide_push(policy: Policy, tag: Tag, digest: Digest | None, lock: Lock | None) -> Decision:
    """Decide a push of `digest` under `tag`.

    `digest` is None where somebody asks before there is an image: then no push is identical.
    `lock` is the tag's lock, or None.
    """
    coverage = cover(policy, tag)
    if not coverage.is_covered:
        return Decision(Outcome.UNPROTECTED, _step_of_uncovered(digest, lock), coverage)
    outcome, step = _decide_covered(policy, digest, lock)
    return Decision(outcome, step, coverage)


def _step_of_uncovered(digest: Digest | None, lock: Lock | None) -> Step:
    """A lock that the policy does not cover is suspended: it lasts until another image lands.

    A claim stays: whether its own write lands is not known yet.
    """
    if lock is None:
        return Step.REMEMBER
    if lock.state is LockState.RESERVED and lock.digest == digest:
        return Step.RESTORE
    if lock.digest == digest or lock.state in (LockState.CLAIMED, LockState.DELETING):
        return Step.NOTHING
    return Step.END_LOCK


def _decide_covered(
    policy: Policy, digest: Digest | None, lock: Lock | None
) -> tuple[Outcome, Step]:
    if lock is None:
        return Outcome.FREE, Step.CLAIM
    is_same = lock.digest == digest
    match lock.state:
        case LockState.LOCKED if is_same and not policy.refuse_identical_pushes:
            return Outcome.UNCHANGED, Step.NOTHING
        case LockState.LOCKED:
            return Outcome.LOCKED, Step.NOTHING
        case LockState.CLAIMED if is_same:
            return Outcome.FREE, Step.JOIN
        case LockState.RESERVED if is_same:
            return Outcome.FREE, Step.RECLAIM
        case LockState.RESERVED:
            return Outcome.RESERVED, Step.NOTHING
        case LockState.RELEASED:
            return Outcome.FREE, Step.RECLAIM
        case LockState.CLAIMED | LockState.DELETING:
            return Outcome.CLAIM_PENDING, Step.NOTHING


def decide_adoption(policy: Policy, digest: Digest | None, present: Digest) -> Outcome:
    """Decide a push of `digest` under a covered tag that the registry had already at `present`."""
    if digest == present and not policy.refuse_identical_pushes:
        return Outcome.UNCHANGED
    return Outcome.LOCKED


class DeleteOutcome(StrEnum):
    """What becomes of the delete of a tag."""

    NOT_LOCKED = "not_locked"
    SUSPENDED = "suspended"
    DELETED = "deleted"
    LOCKED = "locked"
    CLAIM_PENDING = "claim_pending"

    @property
    def is_allowed(self) -> bool:
        return self not in (DeleteOutcome.LOCKED, DeleteOutcome.CLAIM_PENDING)


def decide_delete(policy: Policy, tag: Tag, lock: Lock | None, *, is_admin: bool) -> DeleteOutcome:
    """Decide the delete of `tag`: what a lock in force holds is for admins alone.

    DELETED leaves the name reserved. SUSPENDED is allowed and ends the lock: the tag does not
    stay what it was. Raises PatternError or PatternEvaluationError.
    """
    if lock is None or lock.state is LockState.RESERVED:
        return DeleteOutcome.NOT_LOCKED
    if lock.state in (LockState.CLAIMED, LockState.DELETING):
        return DeleteOutcome.CLAIM_PENDING
    if not cover(policy, tag).is_covered:
        return DeleteOutcome.SUSPENDED
    return DeleteOutcome.DELETED if is_admin else DeleteOutcome.LOCKED

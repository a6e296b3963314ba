"""The decision: can this push, or this delete, go ahead? Pure: no Django, no database, no clock.

Gate, API and pages all decide here. An answer is a value; an exception means that the question
could not be answered, and the caller refuses.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from containers.names import Digest, TagName
from immutability.policy.patterns import Match, compile_pattern

MAX_RULES_PER_WORKSPACE = 7
MAX_EXCEPTIONS_PER_WORKSPACE = 7
# Of a rule or an exception.
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
class NamedPattern:
    """A name and an RE2 pattern."""

    name: str
    pattern: str


class PolicyRule(NamedPattern):
    """A rule: under "some", it covers the tags that it matches."""


class PolicyException(NamedPattern):
    """An exception: under "all", the tags that it matches stay mutable."""


class PatternKind(StrEnum):
    """The two lists of named patterns."""

    RULE = "rule"
    EXCEPTION = "exception"

    @staticmethod
    def of(named: NamedPattern) -> "PatternKind":
        """Return which list a rule or an exception belongs to."""
        return PatternKind.EXCEPTION if isinstance(named, PolicyException) else PatternKind.RULE

    @property
    def plural(self) -> str:
        return f"{self.value}s"

    @property
    def max_count(self) -> int:
        """How many of them a workspace may have."""
        is_rule = self is PatternKind.RULE
        return MAX_RULES_PER_WORKSPACE if is_rule else MAX_EXCEPTIONS_PER_WORKSPACE


@dataclass(frozen=True)
class Policy:
    """A workspace's container settings at one version, as a value.

    Rules count under "some" and exceptions under "all"; both are kept otherwise.
    """

    version: int = 0
    protection: Protection = Protection.NONE
    rules: tuple[PolicyRule, ...] = ()
    refuse_identical_pushes: bool = False
    protect_signature_tags: bool = False
    exceptions: tuple[PolicyException, ...] = ()
    repair_drift: bool = False

    def list_patterns(self, kind: PatternKind) -> tuple[NamedPattern, ...]:
        """Return the rules, or the exceptions."""
        return self.rules if kind is PatternKind.RULE else self.exceptions


class Why(StrEnum):
    """Why a policy covers a tag, or why not."""

    ALL_TAGS = "all_tags"
    RULE = "rule"
    NO_PROTECTION = "no_protection"
    NO_RULE = "no_rule"
    SIGNATURE_TAG = "signature_tag"
    EXCEPTION = "exception"


@dataclass(frozen=True)
class Coverage:
    """Whether a policy covers a tag, and why.

    `rule` is the first rule that covers it; `exception` is the first that leaves it mutable.
    """

    why: Why
    rule: PolicyRule | None = None
    exception: PolicyException | None = None

    @property
    def is_covered(self) -> bool:
        return self.why in (Why.ALL_TAGS, Why.RULE)


Named = TypeVar("Named", bound=NamedPattern)
Matching = list[tuple[Named, Match]]


def cover(policy: Policy, tag: TagName) -> Coverage:
    """Say whether `policy` covers `tag`.

    Raises PatternError or PatternEvaluationError if a rule or an exception cannot be evaluated:
    that is not "no match", so nothing may be allowed on it.
    """
    return cover_matched(
        policy,
        tag,
        match_patterns(policy.rules, tag) if policy.protection is Protection.SOME else [],
        match_patterns(policy.exceptions, tag) if policy.protection is Protection.ALL else [],
    )


def cover_matched(
    policy: Policy,
    tag: TagName,
    rules: Matching[PolicyRule],
    exceptions: Matching[PolicyException],
) -> Coverage:
    """Say whether `policy` covers `tag`, which these rules and exceptions match, in order."""
    if policy.protection is Protection.NONE:
        return Coverage(Why.NO_PROTECTION)
    if policy.protection is Protection.SOME:
        return Coverage(Why.RULE, rules[0][0]) if rules else Coverage(Why.NO_RULE)
    if tag.is_signature and not policy.protect_signature_tags:
        return Coverage(Why.SIGNATURE_TAG)
    if exceptions:
        return Coverage(Why.EXCEPTION, exception=exceptions[0][0])
    return Coverage(Why.ALL_TAGS)


def match_patterns(patterns: tuple[Named, ...], tag: TagName) -> Matching[Named]:
    """Return those of `patterns` that match `tag`, in order, each with where it matches.

    Raises PatternError or PatternEvaluationError.
    """
    found = ((each, compile_pattern(each.pattern).find(tag.name)) for each in patterns)
    return [(each, match) for each, match in found if match is not None]


class LockState(StrEnum):
    """The states of a lock. Suspended is none of them: it follows from the policy."""

    CLAIMED = "claimed"
    LOCKED = "locked"
    RESERVED = "reserved"
    RELEASED = "released"
    DELETING = "deleting"


@dataclass(frozen=True)
class Lock:
    """What a decision needs to know of a lock, and of what it goes back to."""

    state: LockState
    digest: Digest
    replaced_state: LockState | None = None
    replaced_digest: Digest | None = None


class Outcome(StrEnum):
    """What happens, or would happen, to a push."""

    UNPROTECTED = "unprotected"
    FREE = "free"
    LOCKED_NOW = "locked_now"
    CLAIMED = "claimed"
    UNCHANGED = "unchanged"
    LOCKED = "locked"
    RESERVED = "reserved"
    CLAIM_PENDING = "claim_pending"
    # The workspace is: of the tag nothing is said.
    ARCHIVED = "archived"

    @property
    def is_allowed(self) -> bool:
        return self not in (
            *(Outcome.LOCKED, Outcome.RESERVED),
            *(Outcome.CLAIM_PENDING, Outcome.ARCHIVED),
        )


class DeleteOutcome(StrEnum):
    """What happens to the delete of a tag."""

    NOT_LOCKED = "not_locked"
    SUSPENDED = "suspended"
    DELETED = "deleted"
    LOCKED = "locked"
    # A manifest that a locked index lists.
    IN_USE = "in_use"
    CLAIM_PENDING = "claim_pending"
    ARCHIVED = "archived"

    @property
    def is_allowed(self) -> bool:
        return self in (DeleteOutcome.NOT_LOCKED, DeleteOutcome.SUSPENDED, DeleteOutcome.DELETED)

"""Container settings as someone typed them, and what is wrong with them. No Django.

Form and API both check here, so a person reads the same words from either.
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from immutability.policy.advice import (
    NO_EXCEPTIONS,
    Advice,
    add_suggestion,
    advise,
    find_no_tag,
)
from immutability.policy.patterns import MAX_PATTERN_LENGTH, PatternError, compile_pattern
from immutability.policy.protection import (
    MAX_RULE_NAME_LENGTH,
    NamedPattern,
    PatternKind,
    Policy,
    PolicyException,
    PolicyRule,
    Protection,
)
from immutability.policy.suggestions import suggest_correction
from workspaces.text import describe_bad_character

NO_RULES = "Add a rule, or choose No tags are protected."


@dataclass(frozen=True)
class Draft:
    """Container settings that no one has checked or saved yet."""

    protection: Protection
    rules: tuple[PolicyRule, ...] = ()
    refuse_identical_pushes: bool = False
    protect_signature_tags: bool = False
    exceptions: tuple[PolicyException, ...] = ()
    repair_drift: bool = False

    def to_policy(self, version: int = 0) -> Policy:
        """Return the policy that these settings would be."""
        return Policy(
            version=version,
            protection=self.protection,
            rules=self.rules,
            refuse_identical_pushes=self.refuse_identical_pushes,
            protect_signature_tags=self.protect_signature_tags,
            exceptions=self.exceptions,
            repair_drift=self.repair_drift,
        )


class ProblemCode(StrEnum):
    """What kind of problem it is. Programs may rely on these."""

    INVALID = "invalid"
    NO_RULES = "no_rules"
    MATCHES_NO_TAG = "matches_no_tag"


# What only saving refuses: rules can be tested before they are useful.
NOT_YET_USEFUL = (ProblemCode.NO_RULES, ProblemCode.MATCHES_NO_TAG)


@dataclass(frozen=True)
class DraftProblem:
    """Something wrong with a draft.

    `field` is "protection", "rules", "exceptions", "name" or "pattern". The last two are of the
    rule or exception `number`, which counts from 0.
    """

    message: str
    field: str
    number: int | None = None
    kind: PatternKind = PatternKind.RULE
    code: ProblemCode = ProblemCode.INVALID


@dataclass(frozen=True)
class PlacedAdvice:
    """Something to know about settings: about the rule or exception at `position`, from 1.

    Without a position it is about all of them.
    """

    advice: Advice
    kind: PatternKind | None = None
    position: int | None = None
    named: NamedPattern | None = None


def find_draft_problems(draft: Draft) -> list[DraftProblem]:
    """Return everything that is wrong with `draft`; an empty list means that it can be saved.

    If there are too many rules or exceptions, none of them is looked at.
    """
    policy = draft.to_policy()
    too_many = [
        DraftProblem(message, kind.plural, kind=kind)
        for kind in PatternKind
        if (message := describe_too_many(kind, len(policy.list_patterns(kind))))
    ]
    if too_many:
        return too_many
    whole = []
    if draft.protection is Protection.SOME and not draft.rules:
        whole = [DraftProblem(NO_RULES, PatternKind.RULE.plural, code=ProblemCode.NO_RULES)]
    return whole + [
        problem
        for kind in PatternKind
        for problem in _find_pattern_problems(kind, policy.list_patterns(kind))
    ]


def _find_pattern_problems(
    kind: PatternKind, patterns: tuple[NamedPattern, ...]
) -> list[DraftProblem]:
    taken = Counter(_fold(each.name) for each in patterns)
    return [
        problem
        for number, each in enumerate(patterns)
        for problem in (
            _find_name_problem(kind, each.name, number, is_taken=taken[_fold(each.name)] > 1),
            _find_pattern_problem(kind, each.pattern, number),
        )
        if problem is not None
    ]


def find_advice(policy: Policy) -> list[PlacedAdvice]:
    """Return what there is to know about settings whose rules and exceptions are not too many."""
    whole = []
    if policy.protection is Protection.ALL and not policy.exceptions:
        whole = [PlacedAdvice(NO_EXCEPTIONS)]
    return whole + [
        PlacedAdvice(advice, kind, position, named)
        for kind in PatternKind
        for position, named in enumerate(policy.list_patterns(kind), start=1)
        for advice in advise_typed(named.pattern, kind)
    ]


def advise_typed(pattern: str, kind: PatternKind) -> tuple[Advice, ...]:
    """Return what there is to know about a pattern as typed; nothing if it cannot be used."""
    return () if not pattern or describe_bad_pattern(pattern) else advise(pattern, kind)


def suggest_pattern(pattern: str, kind: PatternKind) -> str:
    """Return what was probably meant by a pattern as typed, or ""."""
    if not pattern or _describe_unusable_text(pattern):
        return ""
    if describe_bad_pattern(pattern):
        return suggest_correction(pattern)
    return next((each.suggestion for each in advise(pattern, kind) if each.suggestion), "")


def describe_too_many(kind: PatternKind, count: int) -> str | None:
    """Return what is wrong with so many rules or exceptions, or None."""
    if count <= kind.max_count:
        return None
    return (
        f"A workspace has at most {kind.max_count} {kind.plural}; remove {count - kind.max_count}."
    )


def _fold(name: str) -> str:
    """Return what two names that are too much alike have in common."""
    return name[: MAX_RULE_NAME_LENGTH + 1].casefold()


def _find_name_problem(
    kind: PatternKind, name: str, number: int, *, is_taken: bool
) -> DraftProblem | None:
    message = describe_bad_name(kind, name)
    if message is None and is_taken:
        message = f'Two {kind.plural} are named "{name}". Give each a name of its own.'
    return DraftProblem(message, "name", number, kind) if message else None


def _find_pattern_problem(kind: PatternKind, pattern: str, number: int) -> DraftProblem | None:
    if message := describe_bad_pattern(pattern):
        return DraftProblem(message, "pattern", number, kind)
    if advice := find_no_tag(pattern, kind):
        code = ProblemCode.MATCHES_NO_TAG
        return DraftProblem(str(advice), "pattern", number, kind, code)
    return None


def describe_bad_name(kind: PatternKind, name: str) -> str | None:
    """Return what is wrong with the name of a rule or an exception, or None."""
    if not name.strip():
        return f"Enter a name for the {kind}."
    if len(name) > MAX_RULE_NAME_LENGTH:
        return f"The name has {len(name)} characters; at most {MAX_RULE_NAME_LENGTH} are allowed."
    return describe_bad_character(name)


def describe_bad_pattern(pattern: str) -> str | None:
    """Return what is wrong with a pattern, or None. The pattern is never changed."""
    if not pattern:
        return "Enter a pattern."
    if message := _describe_unusable_text(pattern):
        return message
    try:
        compile_pattern(pattern)
    except PatternError as error:
        return add_suggestion(str(error), suggest_correction(pattern))
    return None


def _describe_unusable_text(pattern: str) -> str | None:
    """Return what is wrong with a pattern before it is compiled, or None."""
    if len(pattern) > MAX_PATTERN_LENGTH:
        return (
            f"The pattern has {len(pattern)} characters; at most {MAX_PATTERN_LENGTH} are allowed."
        )
    return describe_bad_character(pattern)

"""Container settings as somebody typed them, and what is wrong with them. No Django.

Form and API both check here, so a person reads the same words from either.
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from immutability.policy.advice import Advice, add_suggestion, advise, find_no_tag
from immutability.policy.patterns import MAX_PATTERN_LENGTH, PatternError, compile_pattern
from immutability.policy.protection import (
    MAX_RULE_NAME_LENGTH,
    MAX_RULES_PER_WORKSPACE,
    Policy,
    PolicyRule,
    Protection,
)
from immutability.policy.suggestions import suggest_correction
from workspaces.text import describe_bad_character

NO_RULES = "Add a rule, or choose No tags are protected."


@dataclass(frozen=True)
class Draft:
    """Container settings that nobody has checked or saved yet."""

    protection: Protection
    rules: tuple[PolicyRule, ...] = ()
    refuse_identical_pushes: bool = False
    protect_signature_tags: bool = False

    def to_policy(self, version: int = 0) -> Policy:
        """Return the policy that these settings would be."""
        return Policy(
            version=version,
            protection=self.protection,
            rules=self.rules,
            refuse_identical_pushes=self.refuse_identical_pushes,
            protect_signature_tags=self.protect_signature_tags,
        )


class ProblemCode(StrEnum):
    """What kind of problem it is. Programs may rely on these."""

    INVALID = "invalid"
    NO_RULES = "no_rules"
    MATCHES_NO_TAG = "matches_no_tag"


# What only saving refuses: rules may be tried before they are of use.
NOT_YET_USEFUL = (ProblemCode.NO_RULES, ProblemCode.MATCHES_NO_TAG)


@dataclass(frozen=True)
class DraftProblem:
    """Something wrong with a draft.

    `rule` counts rules from 0, or is None for the whole; `field` is "protection", "rules", "name"
    or "pattern".
    """

    message: str
    field: str
    rule: int | None = None
    code: ProblemCode = ProblemCode.INVALID


@dataclass(frozen=True)
class RuleAdvice:
    """Something to know about the rule at `position`, which counts from 1."""

    position: int
    rule: PolicyRule
    advice: Advice


def find_draft_problems(draft: Draft) -> list[DraftProblem]:
    """Return everything that is wrong with `draft`; an empty list means that it can be saved.

    Where there are too many rules, none of them is looked at.
    """
    if too_many := describe_too_many_rules(len(draft.rules)):
        return [DraftProblem(too_many, "rules")]
    if draft.protection is Protection.SOME and not draft.rules:
        return [DraftProblem(NO_RULES, "rules", code=ProblemCode.NO_RULES)]
    taken = Counter(_fold(rule.name) for rule in draft.rules)
    return [
        problem
        for number, rule in enumerate(draft.rules)
        for problem in (
            _find_name_problem(rule.name, number, is_taken=taken[_fold(rule.name)] > 1),
            _find_pattern_problem(rule.pattern, number),
        )
        if problem is not None
    ]


def find_advice(rules: tuple[PolicyRule, ...]) -> list[RuleAdvice]:
    """Return what there is to know about `rules`, of which there are not too many."""
    return [
        RuleAdvice(position, rule, advice)
        for position, rule in enumerate(rules, start=1)
        for advice in advise_typed(rule.pattern)
    ]


def advise_typed(pattern: str) -> tuple[Advice, ...]:
    """Return what there is to know about a pattern as typed; nothing where it cannot be used."""
    return () if not pattern or describe_bad_pattern(pattern) else advise(pattern)


def suggest_pattern(pattern: str) -> str:
    """Return what was probably meant by a pattern as typed, or ""."""
    if not pattern or _describe_unusable_text(pattern):
        return ""
    if describe_bad_pattern(pattern):
        return suggest_correction(pattern)
    return next((each.suggestion for each in advise(pattern) if each.suggestion), "")


def describe_too_many_rules(count: int) -> str | None:
    """Return what is wrong with so many rules, or None."""
    if count <= MAX_RULES_PER_WORKSPACE:
        return None
    return (
        f"A workspace has at most {MAX_RULES_PER_WORKSPACE} rules; remove "
        f"{count - MAX_RULES_PER_WORKSPACE}."
    )


def _fold(name: str) -> str:
    """Return what two names that are too much alike have in common."""
    return name[: MAX_RULE_NAME_LENGTH + 1].casefold()


def _find_name_problem(name: str, number: int, *, is_taken: bool) -> DraftProblem | None:
    message = describe_bad_rule_name(name)
    if message is None and is_taken:
        message = f'Two rules are named "{name}". Give each a name of its own.'
    return DraftProblem(message, "name", number) if message else None


def _find_pattern_problem(pattern: str, number: int) -> DraftProblem | None:
    if message := describe_bad_pattern(pattern):
        return DraftProblem(message, "pattern", number)
    if advice := find_no_tag(pattern):
        return DraftProblem(str(advice), "pattern", number, ProblemCode.MATCHES_NO_TAG)
    return None


def describe_bad_rule_name(name: str) -> str | None:
    """Return what is wrong with a rule's name, or None."""
    if not name.strip():
        return "Enter a name for the rule."
    if len(name) > MAX_RULE_NAME_LENGTH:
        return f"The name has {len(name)} characters; at most {MAX_RULE_NAME_LENGTH} are allowed."
    return describe_bad_character(name)


def describe_bad_pattern(pattern: str) -> str | None:
    """Return what is wrong with a rule's pattern, or None. The pattern is never changed."""
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

"""Container settings as somebody typed them, and what is wrong with them. No Django.

Form and API both check here, so a person reads the same words from either.
"""

from collections import Counter
from dataclasses import dataclass

from containers.reference import Tag
from immutability.patterns import MAX_PATTERN_LENGTH, PatternError, compile_pattern
from immutability.protection import (
    MAX_RULE_NAME_LENGTH,
    MAX_RULES_PER_WORKSPACE,
    Policy,
    PolicyRule,
    Protection,
)
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


@dataclass(frozen=True)
class DraftProblem:
    """Something wrong with a draft.

    `rule` counts rules from 0, or is None for the whole; `field` is "protection", "rules", "name"
    or "pattern".
    """

    message: str
    field: str
    rule: int | None = None


def find_draft_problems(draft: Draft) -> list[DraftProblem]:
    """Return everything that is wrong with `draft`; an empty list means that it can be saved."""
    problems = []
    if draft.protection is Protection.SOME and not draft.rules:
        problems.append(DraftProblem(NO_RULES, "rules"))
    if len(draft.rules) > MAX_RULES_PER_WORKSPACE:
        problems.append(
            DraftProblem(
                f"A workspace has at most {MAX_RULES_PER_WORKSPACE} rules; remove "
                f"{len(draft.rules) - MAX_RULES_PER_WORKSPACE}.",
                "rules",
            )
        )
    taken = Counter(rule.name.casefold() for rule in draft.rules)
    for number, rule in enumerate(draft.rules):
        if message := describe_bad_rule_name(rule.name):
            problems.append(DraftProblem(message, "name", number))
        elif taken[rule.name.casefold()] > 1:
            problems.append(
                DraftProblem(
                    f'Two rules are named "{rule.name}". Give each a name of its own.',
                    "name",
                    number,
                )
            )
        if message := describe_bad_pattern(rule.pattern):
            problems.append(DraftProblem(message, "pattern", number))
    return problems


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
    if len(pattern) > MAX_PATTERN_LENGTH:
        return (
            f"The pattern has {len(pattern)} characters; at most {MAX_PATTERN_LENGTH} are allowed."
        )
    if message := describe_bad_character(pattern):
        return message
    try:
        compile_pattern(pattern)
    except PatternError as error:
        return str(error)
    return None


# One of each first digit: a pattern may ask for some digits only.
_SIGNATURE_TAGS = tuple(
    Tag(name)
    for digits in (64 * digit for digit in "0123456789abcdef")
    for name in (
        *(f"sha256-{digits}{suffix}" for suffix in ("", ".sig", ".att", ".sbom")),
        *(f"{algorithm}-{digits}" for algorithm in ("sha384", "sha512", "blake3")),
    )
)


def describe_pattern_hint(pattern: str) -> str:
    """Return what somebody might not expect of a pattern that can be saved; empty for nothing."""
    if not pattern or describe_bad_pattern(pattern):
        return ""
    compiled = compile_pattern(pattern)
    if any(compiled.find(tag.name) for tag in _SIGNATURE_TAGS):
        return (
            "This pattern also matches signature tags (sha256-….sig and the like). Once they are "
            "locked, an image cannot be signed again."
        )
    return ""

"""The pattern tester: what a policy, saved or not, would do with sample tags. No Django."""

from dataclasses import dataclass

from containers.reference import InvalidReferenceError, parse_tag
from immutability.patterns import Match
from immutability.protection import Coverage, Policy, PolicyRule, cover, match_rules

MAX_SAMPLE_TAGS = 20


@dataclass(frozen=True)
class RuleMatch:
    """A rule that matches a sample tag, and where."""

    rule: PolicyRule
    match: Match
    is_partial: bool


@dataclass(frozen=True)
class SampleResult:
    """What would become of one sample tag; `problem` says why it is no tag at all, else empty."""

    sample: str
    coverage: Coverage | None
    matches: tuple[RuleMatch, ...] = ()
    problem: str = ""

    @property
    def would_be_locked(self) -> bool:
        return self.coverage is not None and self.coverage.is_covered


def try_samples(policy: Policy, samples: list[str]) -> list[SampleResult]:
    """Say for each sample whether its first push would be locked, and which rules match.

    Raises PatternError or PatternEvaluationError where a rule cannot be evaluated.
    """
    return [_try_sample(policy, sample) for sample in samples]


def _try_sample(policy: Policy, sample: str) -> SampleResult:
    try:
        tag = parse_tag(sample)
    except InvalidReferenceError as error:
        return SampleResult(sample, None, problem=error.message)
    matches = tuple(
        RuleMatch(rule, match, is_partial=not match.is_whole(tag.name))
        for rule, match in match_rules(policy.rules, tag)
    )
    return SampleResult(sample, cover(policy, tag), matches)

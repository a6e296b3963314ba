"""The pattern tester: what a policy, saved or not, would do with sample tags. No Django."""

from dataclasses import dataclass

from containers.names import MAX_TAG_LENGTH, InvalidReferenceError, TagName, parse_tag
from immutability.policy.patterns import Match
from immutability.policy.protection import (
    Coverage,
    Matching,
    Named,
    NamedPattern,
    Policy,
    cover_matched,
    match_patterns,
)

MAX_SAMPLE_TAGS = 20


@dataclass(frozen=True)
class SampleProblem:
    """Why samples cannot be tried; `number` counts from 0, or is None for all together."""

    message: str
    number: int | None = None


def find_sample_problem(samples: list[str]) -> SampleProblem | None:
    """Return what is wrong with the number of `samples` or with the length of one, or None."""
    if len(samples) > MAX_SAMPLE_TAGS:
        return SampleProblem(f"Try at most {MAX_SAMPLE_TAGS} tags at once.")
    for number, sample in enumerate(samples):
        if len(sample) > MAX_TAG_LENGTH:
            return SampleProblem(
                f"Sample tag {number + 1} has {len(sample)} characters; a tag has at most "
                f"{MAX_TAG_LENGTH}.",
                number,
            )
    return None


@dataclass(frozen=True)
class PatternMatch:
    """A rule or an exception that matches a sample tag, and where."""

    named: NamedPattern
    match: Match
    is_partial: bool


@dataclass(frozen=True)
class SampleResult:
    """What would happen to one sample tag; `problem` says why it is not a valid tag, or is "".

    `rules` and `exceptions` are those that match, whether or not they count under the protection.
    """

    sample: str
    coverage: Coverage | None
    rules: tuple[PatternMatch, ...] = ()
    exceptions: tuple[PatternMatch, ...] = ()
    problem: str = ""

    @property
    def would_be_locked(self) -> bool:
        return self.coverage is not None and self.coverage.is_covered


def try_samples(policy: Policy, samples: list[str]) -> list[SampleResult]:
    """Say for each sample whether its first push would be locked, and what matches it.

    Raises PatternError or PatternEvaluationError if a rule or an exception cannot be evaluated.
    """
    return [_try_sample(policy, sample) for sample in samples]


def _try_sample(policy: Policy, sample: str) -> SampleResult:
    try:
        tag = parse_tag(sample)
    except InvalidReferenceError as error:
        return SampleResult(sample, None, problem=f"{error.message}{_suggest_tag(sample)}")
    rules = match_patterns(policy.rules, tag)
    exceptions = match_patterns(policy.exceptions, tag)
    return SampleResult(
        sample,
        cover_matched(policy, tag, rules, exceptions),
        _list_matches(rules, tag),
        _list_matches(exceptions, tag),
    )


def _list_matches(matching: Matching[Named], tag: TagName) -> tuple[PatternMatch, ...]:
    return tuple(
        PatternMatch(each, match, is_partial=not match.is_whole(tag.name))
        for each, match in matching
    )


def _suggest_tag(sample: str) -> str:
    """Return what to try instead of a sample that is not a tag, as a sentence, or ""."""
    if "+" in sample and _is_tag(as_tag := sample.replace("+", "_")):
        return f" Helm writes + as _: try {as_tag}."
    alone = sample[max(sample.rfind("/"), sample.rfind(":")) + 1 :]
    if alone != sample and _is_tag(alone):
        return f" Write the tag alone: try {alone}."
    return ""


def _is_tag(text: str) -> bool:
    try:
        parse_tag(text)
    except InvalidReferenceError:
        return False
    return True

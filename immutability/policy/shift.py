"""What a change of settings does to locks: suspends them, or lets them hold again. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from containers.names import TagName
from immutability.policy.advice import may_match_signature_tags
from immutability.policy.protection import NamedPattern, Policy, Protection, cover


@dataclass(frozen=True)
class Shift:
    """How many locks a change suspends, and how many hold again."""

    suspended: int = 0
    resumed: int = 0


def count_shift(before: Policy, after: Policy, tags: Iterable[str]) -> Shift:
    """Count the locks of these tags that `after` no longer covers, and those that it covers again.

    Raises PatternError or PatternEvaluationError.
    """
    suspended = resumed = 0
    for tag in tags:
        was, is_now = is_covered_by_both(before, after, tag)
        suspended += was and not is_now
        resumed += is_now and not was
    return Shift(suspended, resumed)


def is_covered_by_both(before: Policy, after: Policy, tag: str) -> tuple[bool, bool]:
    """Say whether `before` covers a tag, and whether `after` does. Raises as `count_shift` does."""
    name = TagName(tag)
    return cover(before, name).is_covered, cover(after, name).is_covered


def covers_the_same(before: Policy, after: Policy) -> bool:
    """Whether both certainly cover the same tags, judging only by the settings."""
    return _describe_coverage(before) == _describe_coverage(after)


def covers_no_less(before: Policy, after: Policy) -> bool:
    """Whether `after` is sure to cover every tag that `before` covers.

    False where that cannot be told without looking at tags.
    """
    if before.protection is Protection.NONE or covers_the_same(before, after):
        return True
    match after.protection:
        case Protection.ALL if before.protection is Protection.ALL:
            leaves_no_more = _patterns(after.exceptions) <= _patterns(before.exceptions)
            return leaves_no_more and (
                after.protect_signature_tags or not before.protect_signature_tags
            )
        case Protection.ALL:
            # An exception may match what a rule does.
            return not after.exceptions and (
                after.protect_signature_tags
                or not any(may_match_signature_tags(rule.pattern) for rule in before.rules)
            )
        case Protection.SOME if before.protection is Protection.SOME:
            return _patterns(before.rules) <= _patterns(after.rules)
    return False


def _describe_coverage(policy: Policy) -> tuple[object, ...]:
    match policy.protection:
        case Protection.SOME:
            return policy.protection, _patterns(policy.rules)
        case Protection.ALL:
            return policy.protection, policy.protect_signature_tags, _patterns(policy.exceptions)
    return (policy.protection,)


def _patterns(named: Iterable[NamedPattern]) -> frozenset[str]:
    return frozenset(each.pattern for each in named)

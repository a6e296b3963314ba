"""What saving a draft would do to the tags that are there. Pure: no Django, no database, no clock.

Tags are counted by name: a policy treats all tags of one name alike, whatever their repository.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from containers.names import TagName
from immutability.policy.patterns import PatternSet
from immutability.policy.protection import (
    Coverage,
    NamedPattern,
    PatternKind,
    Policy,
    Protection,
    cover,
)

MAX_NAMES = 100_000
# After so many names it is asked whether the time is over.
_NAMES_PER_TURN = 50


@dataclass(frozen=True)
class NameCount:
    """The known tags of one name: those with a lock, and those that have an image and no lock."""

    name: str
    locks: int
    unlocked: int


class Effect(StrEnum):
    """What saving does to a tag."""

    # The tag has an image and no lock yet.
    LOCKED = "locked"
    SUSPENDED = "suspended"
    RESUMED = "resumed"


@dataclass(frozen=True)
class Group:
    """The tags of one effect for one reason, a rule or an exception. None: neither of them.

    Of suspended locks it is the exception that leaves them mutable, or else the saved rule that
    covers them. Otherwise it is the rule that covers the tags, or else the saved exception that
    leaves them mutable. `names` are some of the tags' names.
    """

    effect: Effect
    reason: NamedPattern | None
    count: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class PatternCount:
    """How many known tags a rule or exception of the draft matches, whatever else matches them."""

    named: NamedPattern
    tags: int


@dataclass(frozen=True)
class Preview:
    """What saving would do; if `is_exact` is false, at least that.

    `newly_covered` are the names that the draft covers and the saved settings do not.
    """

    is_exact: bool
    tags: int
    groups: tuple[Group, ...]
    rules: tuple[PatternCount, ...]
    exceptions: tuple[PatternCount, ...]
    newly_covered: frozenset[str]

    def of(self, effect: Effect) -> tuple[Group, ...]:
        """Return the groups of one effect, the largest first."""
        return tuple(group for group in self.groups if group.effect is effect)

    def list_counts(self, kind: PatternKind) -> tuple[PatternCount, ...]:
        """Return the counts of the rules, or of the exceptions, in order."""
        return self.rules if kind is PatternKind.RULE else self.exceptions

    def count(self, effect: Effect) -> int:
        """Return how many tags have this effect."""
        return sum(group.count for group in self.of(effect))


def preview_change(
    before: Policy,
    after: Policy,
    names: Iterable[NameCount],
    *,
    max_examples: int,
    is_whole: bool = True,
    is_time_over: Callable[[], bool] = lambda: False,
) -> Preview:
    """Say what saving `after` instead of `before` does to these tags, each name once.

    `is_whole` says that there are no others. Stops when the time is up. Raises PatternError or
    PatternEvaluationError if a rule cannot be evaluated.
    """
    typed = (*after.rules, *after.exceptions)
    patterns = sorted({each.pattern for each in (*_list_in_force(before), *typed)})
    together = PatternSet(patterns)
    has_all = Protection.ALL in (before.protection, after.protection)
    buckets: dict[_Key, _Bucket] = {}
    for number, each in enumerate(names):
        if number % _NAMES_PER_TURN == 0 and is_time_over():
            is_whole = False
            break
        tag = TagName(each.name)
        # All that a decision on a tag depends on.
        key = together.find(each.name), has_all and tag.is_signature
        bucket = buckets.get(key)
        if bucket is None:
            bucket = buckets[key] = _Bucket(cover(before, tag), cover(after, tag))
        bucket.add(each)
    return _sum_up(after, patterns, buckets, max_examples=max_examples, is_exact=is_whole)


def _list_in_force(policy: Policy) -> tuple[NamedPattern, ...]:
    match policy.protection:
        case Protection.SOME:
            return policy.rules
        case Protection.ALL:
            return policy.exceptions
    return ()


# Which patterns match, by their indexes, and whether it is a signature tag.
_Key = tuple[tuple[int, ...], bool]


@dataclass
class _Bucket:
    """The tags that the same patterns match, and that both policies treat alike."""

    was: Coverage
    is_now: Coverage
    names: list[NameCount] = field(default_factory=list)
    tags: int = 0

    def add(self, each: NameCount) -> None:
        self.names.append(each)
        self.tags += each.locks + each.unlocked


def _sum_up(
    after: Policy,
    patterns: list[str],
    buckets: dict[_Key, _Bucket],
    *,
    max_examples: int,
    is_exact: bool,
) -> Preview:
    groups: dict[tuple[Effect, NamedPattern | None], _Group] = {}
    matched = dict.fromkeys(patterns, 0)
    newly_covered: set[str] = set()

    def note(effect: Effect, reason: NamedPattern | None, names: list[tuple[str, int]]) -> None:
        group = groups.setdefault((effect, reason), _Group())
        group.count += sum(count for _, count in names)
        room = max_examples - len(group.names)
        group.names += [name for name, count in names if count][: max(0, room)]

    for (matching, _), bucket in buckets.items():
        for index in matching:
            matched[patterns[index]] += bucket.tags
        if bucket.is_now.is_covered and not bucket.was.is_covered:
            reason = bucket.is_now.rule or bucket.was.exception
            note(Effect.LOCKED, reason, [(each.name, each.unlocked) for each in bucket.names])
            note(Effect.RESUMED, reason, [(each.name, each.locks) for each in bucket.names])
            newly_covered.update(each.name for each in bucket.names)
        elif bucket.was.is_covered and not bucket.is_now.is_covered:
            reason = bucket.is_now.exception or bucket.was.rule
            note(Effect.SUSPENDED, reason, [(each.name, each.locks) for each in bucket.names])
    found = [
        Group(effect, reason, group.count, tuple(group.names))
        for (effect, reason), group in groups.items()
        if group.count
    ]
    return Preview(
        is_exact,
        sum(bucket.tags for bucket in buckets.values()),
        tuple(sorted(found, key=lambda group: -group.count)),
        tuple(PatternCount(each, matched[each.pattern]) for each in after.rules),
        tuple(PatternCount(each, matched[each.pattern]) for each in after.exceptions),
        frozenset(newly_covered),
    )


@dataclass
class _Group:
    count: int = 0
    names: list[str] = field(default_factory=list)

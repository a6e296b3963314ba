"""What saving a draft would do: to the tags that are known, and to recent pushes.

Nothing is held and nothing is kept: each preview reads the tags of this moment.
"""

import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from containers.models import Push
from immutability import sql
from immutability.policy.drafts import Draft
from immutability.policy.preview import (
    MAX_NAMES,
    Effect,
    Group,
    NameCount,
    Preview,
    preview_change,
)
from immutability.policy.protection import Policy
from immutability.reading import read_policy_and_time
from workspaces.access import describe_actor
from workspaces.models import Workspace

PUSHES_OF_DAYS = 30
MAX_EXAMPLES = 10
# Of more tags, some are looked at.
MAX_TAGS = 1_000_000
# Of more pushes of newly covered tags, some are looked at.
MAX_PUSHES = 10_000
# Of processor time. Only patterns made to be slow come near it.
MAX_SECONDS = 2.0


@dataclass(frozen=True)
class TagPlace:
    """A tag of the workspace."""

    repository: str
    tag: str

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"


@dataclass(frozen=True)
class RefusedPushes:
    """Pushes of one tag by one actor that would have been refused; `at` is the latest."""

    place: TagPlace
    actor: str
    actor_kind: str
    count: int
    at: datetime

    @property
    def shown_actor(self) -> str:
        """Who pushed, as people are shown it."""
        return describe_actor(self.actor, self.actor_kind)


@dataclass(frozen=True)
class SettingsPreview:
    """What saving would do to the tags, with some of each group, and to the pushes since then.

    The pushes are those of newly covered tags; if `are_pushes_exact` is false, there may be
    more. They come in order of their number.
    """

    before: Policy
    after: Policy
    change: Preview
    examples: dict[Group, tuple[TagPlace, ...]]
    refused: tuple[RefusedPushes, ...]
    refused_count: int
    are_pushes_exact: bool
    since: datetime


def preview_settings(
    workspace: Workspace, draft: Draft, *, max_examples: int = MAX_EXAMPLES
) -> SettingsPreview:
    """Say what saving `draft`, in which nothing is wrong, would do at this moment.

    Raises PatternError or PatternEvaluationError if a rule cannot be evaluated.
    """
    before, now = read_policy_and_time(workspace)
    after = draft.to_policy(before.version)
    names, is_whole = _read_names(workspace)
    ends_at = time.thread_time() + MAX_SECONDS
    change = preview_change(
        before,
        after,
        names,
        max_examples=max_examples,
        is_whole=is_whole,
        is_time_over=lambda: time.thread_time() >= ends_at,
    )
    since = now - timedelta(days=PUSHES_OF_DAYS)
    pushes = _find_pushes(workspace, change, since)
    refused = _find_refused(pushes[:MAX_PUSHES], refuses_identical=after.refuse_identical_pushes)
    return SettingsPreview(
        before,
        after,
        change,
        _find_examples(workspace, change.groups, max_examples),
        tuple(refused),
        sum(each.count for each in refused),
        change.is_exact and len(pushes) <= MAX_PUSHES,
        since,
    )


def find_newest_tags(workspace: Workspace, count: int) -> list[str]:
    """Return the names of the tags that were pushed last, newest first, each once."""
    return sql.find_newest_names(workspace.pk, MAX_TAGS, count)


def _read_names(workspace: Workspace) -> tuple[list[NameCount], bool]:
    """Return the known tags by name, and whether these are all."""
    rows = sql.count_tags_by_name(workspace.pk, MAX_TAGS + 1, MAX_NAMES + 1)
    is_whole = len(rows) <= MAX_NAMES and sum(row[1] for row in rows) <= MAX_TAGS
    return [NameCount(name, locks, free) for name, _, locks, free in rows[:MAX_NAMES]], is_whole


def _find_examples(
    workspace: Workspace, groups: tuple[Group, ...], max_examples: int
) -> dict[Group, tuple[TagPlace, ...]]:
    """Return some tags of each group, in order of their names."""
    names = {name for group in groups for name in group.names}
    if not names:
        return {}
    found: dict[tuple[str, bool], list[TagPlace]] = {}
    for repository, name, is_locked in sql.find_tags_by_name(
        workspace.pk, sorted(names), MAX_TAGS, max_examples
    ):
        found.setdefault((name, is_locked), []).append(TagPlace(repository, name))
    return {
        group: tuple(
            place
            for name in group.names
            for place in found.get((name, group.effect is not Effect.LOCKED), ())
        )[:max_examples]
        for group in groups
    }


def _find_pushes(workspace: Workspace, change: Preview, since: datetime) -> list[sql.PastPush]:
    """Return pushes since then of newly covered tags: more than MAX_PUSHES say that some lack."""
    if not change.newly_covered:
        return []
    return sql.find_pushes_by_name(
        workspace.pk, change.newly_covered, since, _find_first_push(since), MAX_PUSHES + 1
    )


def _find_first_push(since: datetime) -> int:
    """Return about the id of the first push since then: ids follow time, and no index has it."""
    newest = Push.objects.order_by("-id").values_list("id", flat=True).first() or 0
    low, high = 0, newest
    while low < high:
        middle = (low + high) // 2
        at = Push.objects.filter(id__gt=middle).order_by("id").values_list("at", flat=True).first()
        if at is None or at >= since:
            high = middle
        else:
            low = middle + 1
    return low


def _find_refused(pushes: list[sql.PastPush], *, refuses_identical: bool) -> list[RefusedPushes]:
    """Return those that brought another image than the push before, by tag and actor."""
    counts: Counter[tuple[TagPlace, str, str]] = Counter()
    latest: dict[tuple[TagPlace, str, str], datetime] = {}
    for push in pushes:
        if push.before is None or (push.before == push.digest and not refuses_identical):
            continue
        key = TagPlace(push.repository, push.tag), push.actor, push.actor_kind
        counts[key] += 1
        latest[key] = max(push.at, latest.get(key, push.at))
    return [RefusedPushes(*key, count, latest[key]) for key, count in counts.most_common()]

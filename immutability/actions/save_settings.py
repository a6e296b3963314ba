"""Save container settings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from containers.connection import find_registry
from immutability.models import ContainerSettings, LockedTag, Rule, TagException
from immutability.policy.details import to_details
from immutability.policy.drafts import Draft, DraftProblem, find_draft_problems
from immutability.policy.protection import LockState, NamedPattern, PatternKind, Policy, Protection
from immutability.policy.shift import (
    covers_no_less,
    covers_the_same,
    is_covered_by_both,
)
from immutability.reading import read_policy
from immutability.reconcile.jobs import ask_for_counts, ask_for_inventory
from workspaces.access import Actor
from workspaces.authorization import require_admin
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace

Row = TypeVar("Row", Rule, TagException)


class InvalidDraftError(Exception):
    """The draft cannot be saved; `problems` says why."""

    def __init__(self, problems: list[DraftProblem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


class StaleSettingsError(Exception):
    """Someone else saved since; `current` is what they saved."""

    def __init__(self, current: Policy) -> None:
        super().__init__(f"the settings are now at version {current.version}")
        self.current = current


class LocksWouldSuspendError(Exception):
    """Saving would suspend locks, and no one has agreed to that yet.

    If `is_exact` is false, only the newest locks were looked at: at least `count` would be. That
    may be none: then some of the others might be.
    """

    def __init__(self, count: int, examples: list[str], *, is_exact: bool) -> None:
        super().__init__(f"{count} locks would be suspended")
        self.count = count
        self.examples = examples
        self.is_exact = is_exact

    @property
    def summary(self) -> str:
        """What saving would do, as a heading."""
        locks = f"{self.count} lock" if self.count == 1 else f"{self.count} locks"
        if self.is_exact:
            return f"Saving would suspend {locks}"
        return (
            f"Saving would suspend at least {locks}" if self.count else "Saving may suspend locks"
        )

    @property
    def more(self) -> int:
        """How many locks the examples leave out."""
        return self.count - len(self.examples)


MAX_EXAMPLES = 10
# The locks of a workspace that has more are counted after the save, in the background.
MAX_COUNTED_AT_ONCE = 1000


@dataclass(frozen=True)
class _Move:
    """How many locks a change of policy suspends and resumes; some names of the suspended tags.

    If `is_whole` is false, there are more locks than were looked at.
    """

    suspended: int = 0
    resumed: int = 0
    examples: tuple[str, ...] = ()
    is_whole: bool = True


def save_container_settings(
    workspace: Workspace,
    draft: Draft,
    *,
    expected_version: int,
    may_suspend_locks: bool,
    actor: Actor,
) -> Policy:
    """Replace the settings at `expected_version` with `draft`, and return the new policy.

    This takes effect for the next push. The locks that it suspends or resumes are counted before,
    by what is saved then; a lock that is made meanwhile counts as made before. If there are more
    than MAX_COUNTED_AT_ONCE, they are counted in the background, for an event of its own. A draft
    of what is saved already changes nothing: the policy keeps its version. Raises
    InvalidDraftError, StaleSettingsError, and LocksWouldSuspendError unless `may_suspend_locks`;
    each of them changes nothing.
    """
    before = read_policy(workspace)
    is_saved = draft.to_policy(before.version) == before
    problems = find_draft_problems(draft)
    if problems and not is_saved:
        raise InvalidDraftError(problems)
    if before.version != expected_version:
        raise StaleSettingsError(before)
    if is_saved:
        return before
    after = draft.to_policy(version=expected_version + 1)
    move = _compare(workspace, before, after, is_agreed=may_suspend_locks)
    may_suspend_more = not move.is_whole and not covers_no_less(before, after)
    if (move.suspended or may_suspend_more) and not may_suspend_locks:
        raise LocksWouldSuspendError(move.suspended, list(move.examples), is_exact=move.is_whole)
    try:
        with transaction.atomic():
            return _save(workspace, before, after, move, actor=actor)
    except IntegrityError as error:
        # Two first saves at once: the row of the faster one stands.
        current = read_policy(workspace)
        if current.version != expected_version:
            raise StaleSettingsError(current) from error
        for kind in PatternKind:
            if f"{kind}_name_once" in str(error):
                raise InvalidDraftError([_describe_same_names(kind)]) from error
        raise


def stop_repairs(*, actor: Actor) -> list[str]:
    """Switch off, in every workspace, that locked tags are put back; return whose it was on.

    The locks of a restored backup are older than what the registry has.
    """
    stopped = []
    for settings in ContainerSettings.objects.filter(repair_drift=True).select_related("workspace"):
        before = read_policy(settings.workspace)
        after = replace(before, version=before.version + 1, repair_drift=False)
        with transaction.atomic():
            _save(settings.workspace, before, after, _Move(), actor=actor)
        stopped.append(settings.workspace.slug)
    return stopped


def _describe_same_names(kind: PatternKind) -> DraftProblem:
    message = f"Two {kind.plural} have names that the database treats as the same. Change one."
    return DraftProblem(message, kind.plural, kind=kind)


def _save(
    workspace: Workspace, before: Policy, after: Policy, move: _Move, *, actor: Actor
) -> Policy:
    """Write settings, event and what is to be done: a few statements, however many locks."""
    settings = ContainerSettings.objects.select_for_update().filter(workspace=workspace).first()
    require_admin(workspace, actor)
    if (settings.version if settings else 0) != before.version:
        raise StaleSettingsError(read_policy(workspace))
    _write(settings or ContainerSettings(workspace=workspace), after, actor)
    counts: dict[str, object] = {"locks_counted_later": True}
    if move.is_whole:
        counts = {"locks_suspended": move.suspended, "locks_resumed": move.resumed}
    saved = append_event(
        Event(
            EventKind.SETTINGS_CHANGED,
            workspace.slug,
            settings_version=after.version,
            details={"before": to_details(before), "after": to_details(after), **counts},
        ),
        actor=actor,
    )
    if not move.is_whole:
        ask_for_counts(workspace, saved)
    if after.protection is not Protection.NONE and find_registry(workspace) is not None:
        ask_for_inventory(workspace)
    return after


def _write(settings: ContainerSettings, policy: Policy, actor: Actor) -> None:
    is_new = settings._state.adding
    settings.version = policy.version
    settings.protection = policy.protection
    settings.refuse_identical_pushes = policy.refuse_identical_pushes
    settings.protect_signature_tags = policy.protect_signature_tags
    settings.repair_drift = policy.repair_drift
    settings.saved_by = actor.shown_name
    settings.saved_at = Now()
    settings.save(force_insert=is_new)
    _write_patterns(settings, Rule, policy.rules)
    _write_patterns(settings, TagException, policy.exceptions)


def _write_patterns(
    settings: ContainerSettings,
    model: type[Row],
    patterns: Sequence[NamedPattern],
) -> None:
    model.objects.filter(settings=settings).delete()
    model.objects.bulk_create(
        model(settings=settings, position=position, name=each.name, pattern=each.pattern)
        for position, each in enumerate(patterns, start=1)
    )


def _compare(workspace: Workspace, before: Policy, after: Policy, *, is_agreed: bool) -> _Move:
    """Find the locks that `after` no longer covers, and those that it covers again.

    Of the newest locks, if there are too many; of none, if there is nothing to ask for then.
    No lock is held.
    """
    if covers_the_same(before, after):
        return _Move()
    newest = (
        LockedTag.objects.filter(workspace=workspace)
        .exclude(state=LockState.CLAIMED)
        .order_by("-id")
    )
    if is_agreed and newest[MAX_COUNTED_AT_ONCE:].exists():
        return _Move(is_whole=False)
    rows = list(newest.values_list("repository", "tag")[: MAX_COUNTED_AT_ONCE + 1])
    suspended: list[str] = []
    resumed = 0
    for repository, tag in rows[:MAX_COUNTED_AT_ONCE]:
        was, is_now = is_covered_by_both(before, after, tag)
        if was and not is_now:
            suspended.append(f"{repository}:{tag}")
        resumed += is_now and not was
    return _Move(
        len(suspended),
        resumed,
        tuple(sorted(suspended)[:MAX_EXAMPLES]),
        len(rows) <= MAX_COUNTED_AT_ONCE,
    )

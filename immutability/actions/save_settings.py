"""Save container settings."""

from dataclasses import asdict, dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from containers.connection import find_registry
from containers.reference import Tag
from immutability.actions.jobs import ask_for_adoption, call_off_adoption
from immutability.actions.read import read_policy
from immutability.drafts import Draft, DraftProblem, find_draft_problems
from immutability.models import ContainerSettings, LockedTag, Rule
from immutability.protection import LockState, Policy, Protection, cover
from workspaces.access import Actor
from workspaces.log.append import Event, append_event, append_events
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace


class InvalidDraftError(Exception):
    """The draft cannot be saved; `problems` says why."""

    def __init__(self, problems: list[DraftProblem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


class StaleSettingsError(Exception):
    """Somebody else saved since; `current` is what they saved."""

    def __init__(self, current: Policy) -> None:
        super().__init__(f"the settings are at version {current.version} by now")
        self.current = current


class LocksWouldSuspendError(Exception):
    """Saving would suspend locks, and nobody has agreed to that yet."""

    def __init__(self, count: int, examples: list[str]) -> None:
        super().__init__(f"{count} locks would be suspended")
        self.count = count
        self.examples = examples

    @property
    def more(self) -> int:
        """How many locks the examples leave out."""
        return self.count - len(self.examples)


MAX_EXAMPLES = 10


@dataclass(frozen=True)
class _Shift:
    """How a change of policy moves the locks that stand."""

    suspended: list[LockedTag]
    resumed: list[LockedTag]


def save_container_settings(
    workspace: Workspace,
    draft: Draft,
    *,
    expected_version: int,
    may_suspend_locks: bool,
    actor: Actor,
) -> Policy:
    """Save `draft` in place of the settings at `expected_version`, and return the new policy.

    In force for the very next push. A draft of what is saved already changes nothing: the policy
    keeps its version. Raises InvalidDraftError, StaleSettingsError, and LocksWouldSuspendError
    unless `may_suspend_locks`; each of them changes nothing.
    """
    problems = find_draft_problems(draft)
    if problems and not _is_saved(draft, read_policy(workspace)):
        raise InvalidDraftError(problems)
    try:
        with transaction.atomic():
            return _save(
                workspace, draft, expected_version, may_suspend=may_suspend_locks, actor=actor
            )
    except IntegrityError as error:
        # Two first saves at once: the row of the faster one stands.
        current = read_policy(workspace)
        if current.version != expected_version:
            raise StaleSettingsError(current) from error
        if "rule_name_once" not in str(error):
            raise
        problem = "Two rules have names that the database takes for the same. Change one."
        raise InvalidDraftError([DraftProblem(problem, "rules")]) from error


def _is_saved(draft: Draft, saved: Policy) -> bool:
    return draft.to_policy(saved.version) == saved


def _save(
    workspace: Workspace, draft: Draft, expected_version: int, *, may_suspend: bool, actor: Actor
) -> Policy:
    settings = ContainerSettings.objects.select_for_update().filter(workspace=workspace).first()
    before = read_policy(workspace)
    if before.version != expected_version:
        raise StaleSettingsError(before)
    if _is_saved(draft, before):
        return before
    after = draft.to_policy(version=expected_version + 1)
    shift = _compare(workspace, before, after)
    if shift.suspended and not may_suspend:
        examples = [f"{row.repository}:{row.tag}" for row in shift.suspended[:MAX_EXAMPLES]]
        raise LocksWouldSuspendError(len(shift.suspended), examples)
    _write(settings or ContainerSettings(workspace=workspace), after, actor)
    append_event(
        Event(
            EventKind.SETTINGS_CHANGED,
            workspace.slug,
            settings_version=after.version,
            details={
                "before": _to_details(before),
                "after": _to_details(after),
                "locks_suspended": len(shift.suspended),
                "locks_resumed": len(shift.resumed),
            },
        ),
        actor=actor,
    )
    for kind, rows in (
        (EventKind.LOCK_SUSPENDED, shift.suspended),
        (EventKind.LOCK_RESUMED, shift.resumed),
    ):
        append_events(
            [row.to_event(kind, workspace.slug, settings_version=after.version) for row in rows],
            actor=actor,
        )
    if after.protection is Protection.NONE:
        call_off_adoption(workspace)
    elif find_registry() is not None:
        ask_for_adoption(workspace)
    return after


def _to_details(policy: Policy) -> dict[str, Any]:
    """Return a policy as an event keeps it: as JSON has it, whose lists are lists."""
    return {**asdict(policy), "rules": [asdict(rule) for rule in policy.rules]}


def _write(settings: ContainerSettings, policy: Policy, actor: Actor) -> None:
    is_new = settings._state.adding
    settings.version = policy.version
    settings.protection = policy.protection
    settings.refuse_identical_pushes = policy.refuse_identical_pushes
    settings.protect_signature_tags = policy.protect_signature_tags
    settings.saved_by = actor.shown_name
    settings.saved_at = Now()
    settings.save(force_insert=is_new)
    settings.rules.all().delete()
    Rule.objects.bulk_create(
        Rule(settings=settings, position=position, name=rule.name, pattern=rule.pattern)
        for position, rule in enumerate(policy.rules, start=1)
    )


def _compare(workspace: Workspace, before: Policy, after: Policy) -> _Shift:
    """Find the locks that `after` no longer covers, and those that it covers again."""
    suspended = []
    resumed = []
    moved: dict[str, bool | None] = {}
    rows = LockedTag.objects.filter(workspace=workspace).exclude(state=LockState.CLAIMED)
    for row in rows.order_by("repository", "tag").iterator(chunk_size=2000):
        if row.tag not in moved:
            was, is_now = (cover(each, Tag(row.tag)).is_covered for each in (before, after))
            moved[row.tag] = None if was == is_now else is_now
        if moved[row.tag] is False:
            suspended.append(row)
        elif moved[row.tag]:
            resumed.append(row)
    return _Shift(suspended, resumed)

"""Save container settings."""

from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.db.models import Count
from django.db.models.functions import Now

from containers.connection import find_registry
from containers.names import TagName
from immutability.models import ContainerSettings, LockedTag, Rule
from immutability.policy.details import to_details
from immutability.policy.drafts import Draft, DraftProblem, find_draft_problems
from immutability.policy.protection import LockState, Policy, Protection, cover
from immutability.reading import read_policy
from immutability.reconcile.jobs import ask_for_inventory
from workspaces.access import Actor
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace
from workspaces.standing import require_admin


class InvalidDraftError(Exception):
    """The draft cannot be saved; `problems` says why."""

    def __init__(self, problems: list[DraftProblem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


class StaleSettingsError(Exception):
    """Somebody else saved since; `current` is what they saved."""

    def __init__(self, current: Policy) -> None:
        super().__init__(f"the settings are now at version {current.version}")
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
    """How many locks a change of policy suspends and resumes; some names of the suspended tags."""

    suspended: int
    resumed: int
    names: tuple[str, ...]


def save_container_settings(
    workspace: Workspace,
    draft: Draft,
    *,
    expected_version: int,
    may_suspend_locks: bool,
    actor: Actor,
) -> Policy:
    """Save `draft` in place of the settings at `expected_version`, and return the new policy.

    In force for the very next push. The locks that this suspends or resumes are counted before, by
    what is saved then; a lock that is made meanwhile counts as made before. A draft of what is
    saved already changes nothing: the policy keeps its version. Raises InvalidDraftError,
    StaleSettingsError, and LocksWouldSuspendError unless `may_suspend_locks`; each of them changes
    nothing.
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
    shift = _compare(workspace, before, after)
    if shift.suspended and not may_suspend_locks:
        raise LocksWouldSuspendError(shift.suspended, _find_examples(workspace, shift))
    try:
        with transaction.atomic():
            return _save(workspace, before, after, shift, actor=actor)
    except IntegrityError as error:
        # Two first saves at once: the row of the faster one stands.
        current = read_policy(workspace)
        if current.version != expected_version:
            raise StaleSettingsError(current) from error
        if "rule_name_once" not in str(error):
            raise
        problem = "Two rules have names that the database takes for the same. Change one."
        raise InvalidDraftError([DraftProblem(problem, "rules")]) from error


def _save(
    workspace: Workspace, before: Policy, after: Policy, shift: _Shift, *, actor: Actor
) -> Policy:
    """Write settings, event and order for the inventory: a few statements, however many locks."""
    require_admin(workspace, actor)
    settings = ContainerSettings.objects.select_for_update().filter(workspace=workspace).first()
    if (settings.version if settings else 0) != before.version:
        raise StaleSettingsError(read_policy(workspace))
    _write(settings or ContainerSettings(workspace=workspace), after, actor)
    append_event(
        Event(
            EventKind.SETTINGS_CHANGED,
            workspace.slug,
            settings_version=after.version,
            details={
                "before": to_details(before),
                "after": to_details(after),
                "locks_suspended": shift.suspended,
                "locks_resumed": shift.resumed,
            },
        ),
        actor=actor,
    )
    if after.protection is not Protection.NONE and find_registry() is not None:
        ask_for_inventory(workspace)
    return after


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
    """Count the locks that `after` no longer covers, and those that it covers again.

    Each name is evaluated once, and no lock is read or held.
    """
    suspended = resumed = 0
    names: list[str] = []
    counts = (
        LockedTag.objects.filter(workspace=workspace)
        .exclude(state=LockState.CLAIMED)
        .values_list("tag")
        .annotate(count=Count("id"))
        .order_by("tag")
    )
    for name, count in counts.iterator(chunk_size=2000):
        was, is_now = (cover(each, TagName(name)).is_covered for each in (before, after))
        if was and not is_now:
            suspended += count
            names += [name] if len(names) < MAX_EXAMPLES else []
        elif is_now and not was:
            resumed += count
    return _Shift(suspended, resumed, tuple(names))


def _find_examples(workspace: Workspace, shift: _Shift) -> list[str]:
    rows = (
        LockedTag.objects.filter(workspace=workspace, tag__in=shift.names)
        .exclude(state=LockState.CLAIMED)
        .order_by("repository", "tag")
    )
    return [f"{row.repository}:{row.tag}" for row in rows[:MAX_EXAMPLES]]

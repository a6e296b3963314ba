"""Look at the tags that a registry has reported: what it says decides nothing.

A report becomes a row, one for each tag, so that a flood of them costs one look. What Taglock has
written itself is reported, too; its record says the same already, and nothing is done.
"""

import logging
import time
from collections.abc import Iterable
from datetime import timedelta

from django.db.models.functions import Now

from containers.inventory import find_all_ancestors
from containers.models import Tag as TagRecord
from containers.models import WriteKind
from containers.names import Digest, RepositoryName, TagName
from containers.registries import filter_at
from containers.registry.client import RegistryClient, RegistryUnavailableError
from containers.registry.notifications import Report
from immutability.errors import TryAgainError, explain
from immutability.models import Hint, LockedTag
from immutability.policy.patterns import PatternError, PatternEvaluationError
from immutability.policy.protection import LockState
from immutability.reading import read_policy_and_time
from immutability.reconcile.drift import TagLook, check_lock
from immutability.reconcile.inventory import read_tags
from immutability.reconcile.jobs import ask_for_comparison
from workspaces.models import Workspace
from workspaces.pool import release_database

logger = logging.getLogger(__name__)

# Of more, all locks are compared instead.
MAX_HINTS_PER_WORKSPACE = 1000
# Distribution reports a push before it writes the tag. What was reported and is not shown yet is
# looked at again, each time later.
LOOK_AFTER = (timedelta(seconds=1), timedelta(seconds=5), timedelta(seconds=30))
# Longer than a look takes: only then does another worker look.
_LEASE = timedelta(minutes=2)
_MAX_HINTS_PER_RUN = 1000


def take_hints(workspace: Workspace, repository: RepositoryName, reports: Iterable[Report]) -> int:
    """Keep which tags of the workspace's repository are to be looked at; return how many."""
    tags: dict[TagName, str] = {}
    for report in reports:
        if report.is_delete and report.digest is not None:
            tags |= dict.fromkeys(_find_locked_to(workspace, repository, report.digest), "")
        if report.tag is not None:
            tags[report.tag] = "" if report.is_delete else str(report.digest or "")
    rows = [
        Hint(workspace=workspace, repository=repository.name, tag=tag.name, digest=digest)
        for tag, digest in sorted(_leave_out_known(workspace, repository, tags).items())
    ]
    if rows and _count(workspace) + len(rows) > MAX_HINTS_PER_WORKSPACE:
        ask_for_comparison(workspace, is_urgent=False)
        return 0
    if not rows:
        return 0
    _, now = read_policy_and_time(workspace)
    for row in rows:
        row.received_at, row.look_at = now, now + LOOK_AFTER[0]
    Hint.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["workspace", "repository", "tag"],
        update_fields=["digest", "received_at", "look_count"],
    )
    # One that waits longer does not any more. None whose time has come waits longer than it did.
    place = {"workspace": workspace, "repository": repository.name}
    Hint.objects.filter(
        **place, tag__in=[row.tag for row in rows], look_at__gt=now + LOOK_AFTER[0]
    ).update(look_at=now + LOOK_AFTER[0])
    return len(rows)


def _find_locked_to(
    workspace: Workspace, repository: RepositoryName, digest: Digest
) -> set[TagName]:
    """Return the tags whose locked image is this manifest, or lists it."""
    above = find_all_ancestors(workspace, repository, {digest.value})
    rows = LockedTag.objects.filter(
        workspace=workspace, repository=repository.name, digest__in={digest.value, *above}
    )
    # What the reconciler finishes, it looks at.
    held = rows.filter(state__in=[LockState.LOCKED, LockState.RELEASED])
    return {TagName(tag) for tag in held.values_list("tag", flat=True)[:MAX_HINTS_PER_WORKSPACE]}


def _leave_out_known(
    workspace: Workspace, repository: RepositoryName, tags: dict[TagName, str]
) -> dict[TagName, str]:
    """Return those of the tags that are not already, or about to be, as was reported."""
    records = TagRecord.objects.filter(
        workspace=workspace, repository=repository.name, name__in=[tag.name for tag in tags]
    )
    known = {TagName(row.name) for row in records if _is_known(row, tags[TagName(row.name)])}
    return {tag: digest for tag, digest in tags.items() if tag not in known}


def _is_known(record: TagRecord, digest: str) -> bool:
    """Whether the record says what was reported, or a write that does so is in flight.

    That write's end says what became of it.
    """
    if record.write_id is not None:
        is_push = record.write_kind == WriteKind.PUSH
        return record.write_digest == digest if is_push else not digest
    return record.shown_at is not None and record.digest == digest


def _count(workspace: Workspace) -> int:
    return Hint.objects.filter(workspace=workspace)[:MAX_HINTS_PER_WORKSPACE].count()


def follow_hints(
    registry: RegistryClient, seconds: float, *, registry_id: int | None = None
) -> int:
    """Look at the tags at a registry that are due, for about this long; return how many.

    A tag that is being written is looked at later, and so is one that the registry cannot show. A
    registry that gives no answer at all ends the run.
    """
    ends_at = time.monotonic() + seconds
    due = filter_at(Hint.objects.filter(look_at__lte=Now()), registry_id)
    due = due.select_related("workspace").order_by("look_at")
    looked_at = 0
    for hint in due[:_MAX_HINTS_PER_RUN]:
        if time.monotonic() >= ends_at:
            break
        if not _take(hint):
            continue
        try:
            look = _look(hint, registry)
        except (RegistryUnavailableError, TryAgainError) as error:
            logger.warning("%s: no answer (%s)", hint, explain(error))
            _look_again(hint)
            if not _is_answering(registry):
                # The others would get no answer, either.
                break
            continue
        except (PatternError, PatternEvaluationError):
            logger.exception("%s cannot be checked", hint)
            _look_again(hint)
            continue
        looked_at += look.is_done
        _finish(hint, look)
    return looked_at


def _is_answering(registry: RegistryClient) -> bool:
    release_database()
    try:
        registry.require_answer()
    except RegistryUnavailableError:
        return False
    return True


def _take(hint: Hint) -> bool:
    """Take a hint whose time has come; return False if another process took it first."""
    due = Hint.objects.filter(id=hint.id, look_at__lte=Now(), received_at=hint.received_at)
    return bool(due.update(look_at=Now() + _LEASE))


def _look(hint: Hint, registry: RegistryClient) -> TagLook:
    """Look at a tag: one without a lock is recorded, and locked if it is covered."""
    place = {"workspace": hint.workspace, "repository": hint.repository}
    lock = LockedTag.objects.filter(**place, tag=hint.tag).values_list("id", flat=True).first()
    if lock is not None:
        return check_lock(lock, registry, with_lists=not hint.digest)
    repository, tags = RepositoryName(hint.repository), [TagName(hint.tag)]
    reading = read_tags(hint.workspace, repository, tags, registry)
    record = TagRecord.objects.filter(**place, name=hint.tag).first()
    if record is None:
        # It belongs to another workspace now.
        return TagLook()
    # What is gone is left out for good.
    is_done = record.write_id is None or not reading.left_out_count
    return TagLook(record.digest, is_done=is_done)


def _finish(hint: Hint, look: TagLook) -> None:
    """Forget a hint, unless it was renewed meanwhile, or what it says is not shown yet."""
    may_come = look.digest != hint.digest and hint.look_count + 1 < len(LOOK_AFTER)
    same = Hint.objects.filter(id=hint.id, received_at=hint.received_at)
    if not look.is_done or may_come or not same.delete()[0]:
        _look_again(hint)


def _look_again(hint: Hint) -> None:
    """Postpone a hint, longer each time. A hint that was renewed meanwhile starts over."""
    wait = LOOK_AFTER[min(hint.look_count + 1, len(LOOK_AFTER) - 1)]
    same = Hint.objects.filter(id=hint.id, received_at=hint.received_at)
    if not same.update(look_at=Now() + wait, look_count=hint.look_count + 1):
        Hint.objects.filter(id=hint.id).update(look_at=Now() + LOOK_AFTER[0])

"""Drift: where the registry and the locks say different things, which no write of Taglock's does.

A restored backup, a write past the gate, a storage that was lost: this is how they are found.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from django.db import transaction
from django.db.models import QuerySet

from containers import writes
from containers.catalog import iterate_owned, iterate_tags, split
from containers.inventory import find_descendants
from containers.models import Tag as TagRecord
from containers.names import Digest, RepositoryName, TagName
from containers.registry.client import RegistryClient, RegistryUnavailableError
from immutability import drift
from immutability.drift import MOVED, Finding
from immutability.errors import TryAgainError
from immutability.look import head_manifest, learn_lists, look_at_tag
from immutability.models import Drift, LockedTag
from immutability.policy.protection import LockState, Policy, cover
from immutability.reading import read_policy, read_policy_and_time
from workspaces.access import SYSTEM
from workspaces.log.append import Event, append_repeatable_event
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace

_CHUNK = 500
# Manifests that were seen, by repository and digest: each is asked for once.
Seen = set[tuple[str, Digest]]
_STATES = (LockState.LOCKED, LockState.RESERVED)


@dataclass(frozen=True)
class TagLook:
    """What a look at a tag has shown; empty: nothing.

    `is_done` is false where the tag is being written, or was meanwhile: look at it later. `what` is
    what differs from the lock, in words.
    """

    digest: str = ""
    is_done: bool = True
    what: str = ""


@dataclass(frozen=True)
class Difference:
    """One difference, in words. `digest` is what the registry has, where nothing holds the tag.

    `gone` is the record of a tag without a lock that the registry has shown, and shows no more.
    """

    repository: str
    tag: str
    what: str
    digest: str = ""
    gone: TagRecord | None = None

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}: {self.what}"


def find_drift(workspace: Workspace, registry: RegistryClient) -> Iterator[Difference]:
    """Yield every difference between a workspace's locks in force and what the registry has.

    Each is recorded. A tag with a write in flight, or with one that may still land, is passed over:
    its end is not known yet. Raises TryAgainError where the registry does not say what it has.
    """
    policy = read_policy(workspace)
    yield from _find_in_locks(workspace, policy, registry)
    for found in chain(
        _find_without_lock(workspace, policy, registry), _find_gone(workspace, policy, registry)
    ):
        _record_without_lock(workspace, found)
        yield found


@transaction.atomic
def _record_without_lock(workspace: Workspace, found: Difference) -> None:
    """Record a difference of a tag without a lock, once an hour."""
    event = Event(
        EventKind.DRIFT_FOUND,
        workspace.slug,
        found.repository,
        found.tag,
        digest=found.gone.digest if found.gone else "",
        other_digest=found.digest,
        reason=found.what,
    )
    append_repeatable_event(event, actor=SYSTEM)


@transaction.atomic
def forget_gone(found: Difference) -> bool:
    """Forget what a tag pointed at that is gone for good; return whether it was forgotten.

    An operator has to say so: a registry that has lost its storage says the same of every tag.
    """
    if found.gone is None:
        return False
    record = writes.lock_record(found.gone.id)
    _, now = read_policy_and_time(record.workspace)
    is_locked = LockedTag.objects.filter(record=record).exists()
    if record.revision != found.gone.revision or is_locked:
        return False
    record.digest, record.shown_at = "", now
    writes.save_record(record, now)
    return True


def _settled(workspace: Workspace) -> QuerySet[TagRecord]:
    """Return the records that no write can change."""
    return TagRecord.objects.filter(
        workspace=workspace, write_id__isnull=True, stray_until__isnull=True
    )


# ---- locks -----------------------------------------------------------------------------------


def _find_in_locks(
    workspace: Workspace, policy: Policy, registry: RegistryClient
) -> Iterator[Difference]:
    last = 0
    rows = LockedTag.objects.filter(record__in=_settled(workspace), state__in=_STATES)
    seen: Seen = set()
    names = rows.order_by("id").values_list("id", "repository", "tag")
    while chunk := list(names.filter(id__gt=last)[:_CHUNK]):
        for last, repository, tag in chunk:
            if not cover(policy, TagName(tag)).is_covered:
                continue
            look = check_lock(last, registry, seen)
            if look.what:
                yield Difference(repository, tag, look.what)


def check_lock(
    lock_id: int, registry: RegistryClient, seen: Seen | None = None, *, with_lists: bool = True
) -> TagLook:
    """Look at a locked tag, and record what differs, or that it does no more.

    With what it lists, unless that is left out. Locks that are not in force are passed over. Raises
    TryAgainError if the registry does not say, PatternError and PatternEvaluationError.
    """
    row = LockedTag.objects.select_related("record", "workspace").filter(id=lock_id).first()
    if row is None:
        return TagLook()
    record = row.record
    if record.write_id is not None or record.stray_until is not None:
        return TagLook(record.digest, is_done=False)
    policy = read_policy(row.workspace)
    if row.state not in _STATES or not cover(policy, TagName(row.tag)).is_covered:
        return TagLook(record.digest)
    known = Drift.objects.filter(record=record).first()
    with_lists = with_lists or (known is not None and known.kind == Drift.Kind.INCOMPLETE)
    repository = RepositoryName(row.repository)
    shown = look_at_tag(repository, TagName(row.tag), registry).digest
    seen = set() if seen is None else seen
    finding = _judge(row, known, shown, registry, seen if with_lists else None)
    if finding is None and known is None and record.digest == str(shown or ""):
        return TagLook(record.digest)
    return _record(row, shown, finding)


def _judge(
    row: LockedTag,
    known: Drift | None,
    shown: Digest | None,
    registry: RegistryClient,
    seen: Seen | None,
) -> Finding | None:
    """Return what is wrong with a lock; None if nothing is."""
    repository, held = RepositoryName(row.repository), Digest(row.digest)
    if row.state == LockState.RESERVED:
        return Finding(Drift.Kind.RESERVED, shown) if shown else None
    if shown == held:
        if seen is None:
            return None
        missing = _find_missing(row.workspace, repository, held, registry, seen)
        return Finding(Drift.Kind.INCOMPLETE, shown, missing) if missing else None
    was_shown = row.record.digest == row.digest or (
        known is not None and known.digest == row.digest and known.kind in MOVED
    )
    kind = Drift.Kind.CHANGED if shown else Drift.Kind.MISSING
    return Finding(
        kind if was_shown else Drift.Kind.NOT_PUSHED,
        shown,
        is_gone=head_manifest(repository, held, registry) is None,
    )


def _find_missing(
    workspace: Workspace,
    repository: RepositoryName,
    digest: Digest,
    registry: RegistryClient,
    seen: Seen,
) -> tuple[Digest, ...]:
    """Return what an index lists, to any depth, and the registry does not have."""
    learn_lists(workspace, repository, {digest}, registry)
    missing = []
    for each in sorted(find_descendants(workspace, repository, {digest}) - {digest}):
        if (repository.name, each) in seen:
            continue
        if head_manifest(repository, each, registry) is None:
            missing.append(each)
        else:
            seen.add((repository.name, each))
    return tuple(missing)


@transaction.atomic
def _record(row: LockedTag, shown: Digest | None, finding: Finding | None) -> TagLook:
    """Record a look that still counts: the record says what is there, and the lock stands.

    One that shows an image whose delete is open waits for the end of that.
    """
    place = row.workspace, RepositoryName(row.repository)
    manifests = writes.hold_shown(*place, [shown] if shown else [])
    record = writes.lock_record(row.record_id)
    policy, now = read_policy_and_time(row.workspace)
    lock = LockedTag.objects.filter(id=row.id, state=row.state, digest=row.digest).first()
    is_stale = lock is None or record.revision != row.record.revision
    if is_stale or any(writes.has_open_delete(each, now) for each in manifests.values()):
        return TagLook(record.digest, is_done=False)
    digest = str(shown or "")
    if row.state == LockState.LOCKED and record.digest != digest:
        record.digest, record.shown_at = digest, now
        writes.save_record(record, now)
    if finding is None:
        is_there = row.state == LockState.LOCKED
        drift.end(record, row, reason=drift.SHOWN_AGAIN if is_there else drift.GONE_AGAIN)
        return TagLook(digest)
    drift.note(record, row, finding, policy.version)
    return TagLook(digest, what=finding.describe(Digest(row.digest)))


# ---- tags without a lock ---------------------------------------------------------------------


def _find_without_lock(
    workspace: Workspace, policy: Policy, registry: RegistryClient
) -> Iterator[Difference]:
    what = "protected, and not locked yet: sync_registry locks it"
    try:
        for repository in iterate_owned(registry, workspace):
            for tags in split(iterate_tags(registry, repository), _CHUNK):
                for tag in _filter_without_lock(workspace, policy, repository, tags):
                    shown = look_at_tag(repository, tag, registry).digest
                    if shown is not None:
                        yield Difference(repository.name, tag.name, what, shown.value)
    except RegistryUnavailableError as error:
        raise TryAgainError(f"the registry gave no answer ({error})") from error


def _filter_without_lock(
    workspace: Workspace, policy: Policy, repository: RepositoryName, tags: tuple[TagName, ...]
) -> list[TagName]:
    """Return the covered tags that have no lock, and no write that may still land."""
    covered = [tag for tag in tags if cover(policy, tag).is_covered]
    rows = TagRecord.objects.filter(
        workspace=workspace, repository=repository.name, name__in=[tag.name for tag in covered]
    )
    settled = rows.filter(lock__isnull=True, write_id__isnull=True, stray_until__isnull=True)
    passed = set(rows.exclude(pk__in=settled).values_list("name", flat=True))
    return [tag for tag in covered if tag.name not in passed]


def _find_gone(
    workspace: Workspace, policy: Policy, registry: RegistryClient
) -> Iterator[Difference]:
    """Yield the covered tags without a lock whose next push would be decided by what is gone."""
    last = 0
    rows = _settled(workspace).filter(lock__isnull=True).exclude(digest="").order_by("id")
    while chunk := list(rows.filter(id__gt=last)[:_CHUNK]):
        for row in chunk:
            last = row.id
            if not cover(policy, TagName(row.name)).is_covered:
                continue
            shown = look_at_tag(RepositoryName(row.repository), TagName(row.name), registry).digest
            if shown is None and _is_unchanged(row):
                what = (
                    f"was seen there with {Digest(row.digest).short}, and is gone: another image "
                    "is refused until it is forgotten"
                )
                yield Difference(row.repository, row.name, what, gone=row)


def _is_unchanged(record: TagRecord) -> bool:
    return TagRecord.objects.filter(pk=record.pk, revision=record.revision).exists()

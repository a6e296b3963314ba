"""Read what the registry has into records, and lock the covered tags among them.

For each tag: read its record, look, hold the record, and record what was shown if the look still
counts. Nothing here waits for a write in flight: such a tag is left to its next push.
"""

import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from containers import writes
from containers.catalog import parse_tags, split
from containers.inventory import find_all_ancestors, find_unknown
from containers.models import Manifest, ManifestReference
from containers.models import Repository as RepositoryRow
from containers.models import Tag as TagRecord
from containers.names import Digest, RepositoryName, TagName
from containers.registry.client import RegistryClient
from containers.sql import insert_repository
from containers.writes import RecordMovedError
from immutability import drift, locks
from immutability.errors import TryAgainError
from immutability.look import TakenLook, asking_registry, learn_lists, look_at_tag
from immutability.models import Drift, LockedTag
from immutability.policy.decisions import Look
from immutability.policy.protection import LockState, Policy, cover
from immutability.reading import read_policy, read_policy_and_time, record_facts
from immutability.reconcile.jobs import ask_to_list
from workspaces.models import Workspace
from workspaces.pool import release_database

# A request reads no more tags than this, and no longer.
MAX_TAGS_PER_REQUEST = 100
MAX_REQUEST_SECONDS = 10.0
TAGS_PER_BATCH = 20
# At the end of a repository, so many tags that are still unknown are looked at once more.
MAX_TAGS_TRIED_AGAIN = 100
# A write in flight ends within moments, most of the time.
_TRIES = 3
_TURN_SECONDS = 0.2


@dataclass(frozen=True)
class Reading:
    """The result of looking at some tags: how many were locked, how many looks did not count."""

    adopted_count: int = 0
    left_out_count: int = 0


def read_tags(
    workspace: Workspace,
    repository: RepositoryName,
    tags: Collection[TagName],
    registry: RegistryClient,
) -> Reading:
    """Look at these tags, record what the registry shows, and lock those that are covered.

    A tag with a write in flight, or that the registry cannot show, is left out. Raises
    RegistryUnavailableError where the registry does not answer at all, PatternError and
    PatternEvaluationError.
    """
    known = _read_records(workspace, repository, tags)
    looks = _look(workspace, repository, tags, known, registry)
    missing = [tag for tag in tags if tag not in known]
    reading = record_looks(workspace, repository, looks, registry, missing=missing)
    return replace(reading, left_out_count=reading.left_out_count + len(tags) - len(looks))


def record_looks(
    workspace: Workspace,
    repository: RepositoryName,
    looks: Mapping[TagName, TakenLook],
    registry: RegistryClient,
    *,
    missing: Collection[TagName] = (),
) -> Reading:
    """Record what looks have shown of tags, and lock those that are covered.

    `missing` are the tags that had no record. Raises PatternError and PatternEvaluationError.
    """
    try:
        recorded = _record(workspace, repository, missing, looks)
    except RecordMovedError:
        # It belongs to another workspace now.
        return Reading(left_out_count=len(looks))
    _learn(workspace, repository, recorded.covered, registry)
    return Reading(recorded.adopted_count, len(looks) - recorded.count)


def _read_records(
    workspace: Workspace, repository: RepositoryName, tags: Collection[TagName]
) -> dict[TagName, TagRecord]:
    rows = TagRecord.objects.filter(
        workspace=workspace, repository=repository.name, name__in=[tag.name for tag in tags]
    )
    return {TagName(row.name): row for row in rows}


def _look(
    workspace: Workspace,
    repository: RepositoryName,
    tags: Collection[TagName],
    known: Mapping[TagName, TagRecord],
    registry: RegistryClient,
) -> dict[TagName, TakenLook]:
    """Look at those without a write in flight, each with the revision from before the look."""
    looks = {}
    for tag in tags:
        record = known.get(tag)
        if record is not None and record.write_id is not None:
            continue
        try:
            look = look_at_tag(workspace, repository, tag, registry)
        except TryAgainError:
            release_database()
            registry.page_tags(repository)  # Whether it answers at all.
            continue
        looks[tag] = TakenLook(look, record.revision if record else 0)
    return looks


@dataclass(frozen=True)
class _Recorded:
    """How many looks counted, how many tags were locked, and the images of the covered ones."""

    count: int
    adopted_count: int
    covered: frozenset[Digest]


@transaction.atomic
def _record(
    workspace: Workspace,
    repository: RepositoryName,
    missing: Collection[TagName],
    looks: Mapping[TagName, TakenLook],
) -> _Recorded:
    """Hold the tags; record the looks that still count, and adopt what nothing holds.

    One that could not be looked at gets its record, too: it is known to be unknown. One whose image
    is being deleted is not adopted: it waits for the end of that, as for a stray.
    """
    shown_digests = {taken.look.digest for taken in looks.values() if taken.look.digest}
    inserted = writes.insert_missing(workspace, repository, missing, shown_digests)
    manifests = writes.lock_manifests(workspace, repository, shown_digests, inserted)
    records = writes.lock_records(workspace, repository, looks, inserted)
    policy, now = read_policy_and_time(workspace)
    rows = LockedTag.objects.filter(record__in=[record.id for record in records.values()])
    held = {row.record_id: row for row in rows}
    covered = set()
    count = adopted = 0
    for tag, record in records.items():
        taken = looks[tag]
        shown = taken.look.digest
        if record.write_id is not None or record.revision != taken.revision:
            continue
        record.workspace = workspace
        if shown is None and record.digest:
            # What is gone is for people to judge: a registry that has lost its storage says this
            # of every tag. `check_drift` names it.
            if record.unreadable_since != taken.look.unreadable_since:
                record.unreadable_since = taken.look.unreadable_since
                writes.save_record(record, now)
            continue
        row, manifest = held.get(record.id), manifests.get(shown) if shown else None
        if row is not None and manifest is not None and row.state == LockState.LOCKED:
            count += _record_locked(record, row, manifest, policy, now)
        else:
            count += 1
            adopted += _record_other(record, row, taken.look, manifest, policy, now)
        if shown is not None and cover(policy, tag).is_covered:
            covered.add(shown)
    return _Recorded(count, adopted, frozenset(covered))


def _record_other(
    record: TagRecord,
    row: LockedTag | None,
    look: Look,
    manifest: Manifest | None,
    policy: Policy,
    now: datetime,
) -> bool:
    """Record what a tag shows; lock a covered one that nothing holds, and return whether it was."""
    shown = look.digest
    has_changed = (
        record.digest != str(shown or "")
        or record.shown_at is None
        or record.unreadable_since != look.unreadable_since
    )
    if has_changed:
        writes.note_shown(record, shown, manifest, now)
        record.unreadable_since = look.unreadable_since
    coverage = cover(policy, TagName(record.name))
    stray = record_facts(record).stray
    is_adopted = (
        row is None
        and shown is not None
        and coverage.is_covered
        and (stray is None or stray.digest == shown)
    )
    if is_adopted and shown is not None:
        locks.adopt(record, shown, coverage, policy, now)
    if has_changed or is_adopted:
        writes.save_record(record, now)
    return is_adopted


def _record_locked(
    record: TagRecord, row: LockedTag, manifest: Manifest, policy: Policy, now: datetime
) -> bool:
    """Record the image that a locked tag shows; return whether the look counts.

    One that someone put there past Taglock is a drift, once nothing else can change the tag.
    """
    is_in_force = cover(policy, TagName(row.tag)).is_covered
    was_there = record.digest == row.digest or drift.was_shown(record)
    is_drift = is_in_force and was_there and manifest.digest != row.digest
    if is_drift and (record.stray_until is not None or writes.has_open_delete(manifest, now)):
        return False
    shown = Digest(manifest.digest)
    is_known = record.shown_at is not None and record.unreadable_since is None
    if record.digest != shown.value or not is_known:
        writes.note_shown(record, shown, manifest, now)
        writes.save_record(record, now)
    if is_drift:
        drift.note(record, row, drift.Finding(Drift.Kind.CHANGED, shown), policy.version)
    elif shown.value == row.digest:
        drift.end(record, row, reason=drift.SHOWN_AGAIN)
    return True


def _learn(
    workspace: Workspace,
    repository: RepositoryName,
    digests: Collection[Digest],
    registry: RegistryClient,
) -> None:
    """Read what these manifests list, where it is not known.

    Anything unreadable now is left to the deletes that need it: a registry that hangs takes half a
    minute for each.
    """
    if not find_unknown(workspace, repository, digests):
        return
    with suppress(TryAgainError):
        for digest in sorted(digests):
            learn_lists(workspace, repository, {digest}, registry)


def finish_repository(
    workspace: Workspace, repository: RepositoryName, registry: RegistryClient
) -> Reading:
    """Note that a repository was read wholly, once each of its tags has been.

    Tags that are still unknown are looked at once more, some at most. Where one stays unknown, the
    repository is not noted as read: its tag must not count as absent. Raises
    RegistryUnavailableError.
    """
    tags = _find_unknown_tags(workspace, repository, MAX_TAGS_TRIED_AGAIN)
    adopted = 0
    for turn in range(_TRIES):
        if not tags:
            break
        time.sleep(_TURN_SECONDS if turn else 0.0)
        adopted += read_tags(workspace, repository, tags, registry).adopted_count
        tags = _filter_unknown(workspace, repository, tags)
    if not _find_unknown_tags(workspace, repository, at_most=1):
        _note_listed(workspace, repository)
    return Reading(adopted)


def require_listed(
    workspace: Workspace, repository: RepositoryName, registry: RegistryClient
) -> None:
    """Return if the records have every tag that the registry has in a repository.

    Otherwise one page of the registry's tags is read. Raises TryAgainError if that is not all:
    the job reads the rest. What could not be read is looked at again: it may show an image now.
    """
    with asking_registry():
        _read_unreadable(workspace, repository, registry)
    is_listed = RepositoryRow.objects.filter(
        workspace=workspace, name=repository.name, listed_at__isnull=False
    )
    if is_listed.exists():
        return
    with asking_registry():
        names, has_more = registry.page_tags(repository)
        tags = parse_tags(names)
        has_more = has_more or len(tags) > MAX_TAGS_PER_REQUEST
        unknown = _read_within_request(workspace, repository, tags[:MAX_TAGS_PER_REQUEST], registry)
    if not has_more and not unknown:
        _note_listed(workspace, repository)
        return
    if has_more:
        ask_to_list(workspace, repository)
        raise TryAgainError(_describe_progress(workspace, repository))
    raise TryAgainError(
        f'Taglock does not know yet what tag "{unknown[0]}" of {repository} points at'
    )


def _read_unreadable(
    workspace: Workspace, repository: RepositoryName, registry: RegistryClient
) -> None:
    """Read the tags that the registry could not read, and that nothing is known of.

    Raises TryAgainError where it is not sure yet that one stays so, and RegistryUnavailableError.
    """
    rows = TagRecord.objects.filter(
        workspace=workspace,
        repository=repository.name,
        unreadable_since__isnull=False,
        digest="",
        lock__isnull=True,
        write_id__isnull=True,
    )
    tags = [TagName(name) for name in rows.order_by("name").values_list("name", flat=True)]
    ends_at = time.monotonic() + MAX_REQUEST_SECONDS
    for batch in split(tags, TAGS_PER_BATCH):
        reading = read_tags(workspace, repository, batch, registry)
        if reading.left_out_count or time.monotonic() >= ends_at:
            raise TryAgainError(
                f"Taglock does not know yet what some tags of {repository} point at, since the "
                "registry cannot read them"
            )


def _read_within_request(
    workspace: Workspace,
    repository: RepositoryName,
    tags: Collection[TagName],
    registry: RegistryClient,
) -> list[TagName]:
    """Read those of the tags that are unknown, while there is time; return those that stay so."""
    ends_at = time.monotonic() + MAX_REQUEST_SECONDS
    unknown = _filter_unknown(workspace, repository, tags)
    for batch in split(unknown, TAGS_PER_BATCH):
        if time.monotonic() >= ends_at:
            break
        read_tags(workspace, repository, batch, registry)
    return _filter_unknown(workspace, repository, unknown)


def _describe_progress(workspace: Workspace, repository: RepositoryName) -> str:
    known = TagRecord.objects.filter(
        workspace=workspace, repository=repository.name, shown_at__isnull=False
    ).count()
    return f"Taglock is still reading the tags of {repository} ({known} so far)"


def _find_unknown_tags(
    workspace: Workspace, repository: RepositoryName, at_most: int
) -> list[TagName]:
    """Return unknown tags: never shown, and nothing promised."""
    rows = TagRecord.objects.filter(
        workspace=workspace, repository=repository.name, shown_at__isnull=True, lock__isnull=True
    )
    return [
        TagName(name) for name in rows.order_by("name").values_list("name", flat=True)[:at_most]
    ]


def _filter_unknown(
    workspace: Workspace, repository: RepositoryName, tags: Collection[TagName]
) -> list[TagName]:
    """Return those of the tags that the registry has never shown, in order."""
    rows = TagRecord.objects.filter(
        workspace=workspace,
        repository=repository.name,
        name__in=[tag.name for tag in tags],
        shown_at__isnull=False,
    )
    known = set(rows.values_list("name", flat=True))
    return [tag for tag in tags if tag.name not in known]


def _note_listed(workspace: Workspace, repository: RepositoryName) -> None:
    insert_repository(workspace, repository)
    RepositoryRow.objects.filter(workspace=workspace, name=repository.name).update(listed_at=Now())


def find_unread_digests(workspace: Workspace, repository: RepositoryName) -> set[Digest]:
    """Return the manifests under covered tags, listed ones included, whose lists are not known.

    Raises PatternError or PatternEvaluationError.
    """
    place = {"workspace": workspace, "repository": repository.name}
    policy = read_policy(workspace)
    read = Manifest.objects.filter(**place, is_read=True)
    unread_children = ManifestReference.objects.filter(
        ~Exists(read.filter(digest=OuterRef("child"))), **place
    )
    children = set(unread_children.values_list("child", flat=True).distinct())
    above = find_all_ancestors(workspace, repository, children)
    tags = TagRecord.objects.filter(**place).exclude(digest="").values_list("name", "digest")
    locks_held = (
        LockedTag.objects.filter(**place)
        .exclude(state=LockState.RESERVED)
        .values_list("tag", "digest")
    )
    named: set[tuple[str, str]] = set()
    for rows in (tags, locks_held):
        # Of a large repository, only what is unread leaves the database.
        named.update(rows.filter(~Exists(read.filter(digest=OuterRef("digest")))))
        named.update(rows.filter(digest__in=above))
    roots = {Digest(digest) for name, digest in named if cover(policy, TagName(name)).is_covered}
    return find_unknown(workspace, repository, roots)

"""Settle writes by the registry's answers: only the write that a record names settles anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from containers import writes
from containers.models import ManifestReference
from containers.models import Tag as TagRecord
from containers.names import Digest, RepositoryName, TagName
from containers.writes import Result, Sent, Write
from immutability import drift, locks
from immutability.models import LockedTag
from immutability.policy.protection import LockState
from immutability.reading import read_policy_and_time
from immutability.sql import find_locks
from workspaces.access import SYSTEM, Actor, ActorKind
from workspaces.database import together
from workspaces.models import Workspace


@dataclass(frozen=True)
class Begun:
    """What a tag's write began with: the revision of the record, and the lock, if there is one."""

    revision: int
    lock: LockedTag | None


@transaction.atomic
def settle_push(
    write: Write,
    workspace: Workspace,
    repository: RepositoryName,
    results: Mapping[TagName, Sent],
    *,
    actor: Actor = SYSTEM,
    begun: Mapping[TagName, Begun] = {},
    is_known_there: bool = False,
    is_repair: bool = False,
) -> bool:
    """Record what happened to each tag's request; return whether all still belonged to this write.

    Landed: the claim, or the reserved name of this image, is locked. Refused or not sent: the claim
    goes back to what it replaced, unless a stray may still land: then what was not sent is sent
    again. No answer: the write is a stray. `begun` is what is remembered of when the write began.
    With `is_known_there` the manifest was recorded as there
    when the write began, and no delete of it has begun since. With `is_repair` it is no one's push:
    Taglock points a locked tag at its image again.
    """
    digest = Digest(str(write.digest))
    has_landed = any(sent.result is Result.LANDED for sent in results.values())
    if has_landed and not is_known_there:
        writes.note_there(workspace, repository, digest, write)
    records, now = writes.lock_records_of(workspace, write)
    records = [each for each in records if TagName(each.name) in results]
    if now is None or not records:
        return False
    rows = _find_locks(workspace, records, begun)
    with together():
        for record in records:
            row, sent, before = rows.get(record.id), results[TagName(record.name)], record.digest
            pusher = None if is_repair else _find_pusher(row, digest, actor)
            writes.end_write(record, sent, now, shown=digest, pusher=pusher)
            is_its_own = row is not None and row.digest == digest.value
            if row is not None:
                row.workspace = workspace
            if sent.result is Result.LANDED and row and is_its_own:
                _settle_landed(record, row, now, actor, has_changed=before != digest.value)
            elif sent.result in (Result.REFUSED, Result.NOT_SENT) and row and is_its_own:
                is_refused = sent.result is Result.REFUSED
                locks.come_to_nothing(row, record, now, is_refused=is_refused)
    return len(records) == len(results)


def _find_locks(
    workspace: Workspace, records: Sequence[TagRecord], begun: Mapping[TagName, Begun]
) -> dict[int, LockedTag]:
    """Return the locks of these records, which are held, by their ids.

    While a record has not changed since its write began, neither has the lock: what changes the
    lock of a tag with a write in flight ends the write first.
    """
    same: dict[int, LockedTag | None] = {}
    for record in records:
        before = begun.get(TagName(record.name))
        if before is not None and before.revision == record.revision:
            same[record.id] = before.lock
    changed = find_locks(workspace.pk, [record.id for record in records if record.id not in same])
    rows = {record_id: row for record_id, row in same.items() if row is not None}
    return rows | {row.record_id: row for row in changed}


def _settle_landed(
    record: TagRecord, row: LockedTag, now: datetime, actor: Actor, *, has_changed: bool
) -> None:
    """The image of the lock is there: a claim or a reserved name is locked, and a drift over."""
    if row.state in (LockState.CLAIMED, LockState.RESERVED):
        locks.confirm(row, now, origin=actor.origin)
    elif row.state == LockState.LOCKED and has_changed:
        drift.end(record, row, actor=actor)


def _find_pusher(row: LockedTag | None, digest: Digest, actor: Actor) -> Actor:
    """Return who began a push: the reconciler finishes what others began."""
    if row is not None and row.digest == digest.value and row.state == LockState.CLAIMED:
        return Actor(row.pushed_by, ActorKind(row.pushed_by_kind))
    return actor


@transaction.atomic
def settle_delete(
    write: Write,
    workspace: Workspace,
    repository: RepositoryName,
    sent: Sent,
    *,
    actor: Actor = SYSTEM,
) -> bool:
    """Record what happened to a delete; return whether the write was still in flight.

    Landed: the name that an admin deleted is reserved. Refused or not sent: the lock is what it was
    before, unless a stray may still land. No answer: the write is a stray. A delete by digest takes
    the tags that still point at the digest, and settles the manifest's row too.
    """
    by_digest = write.digest
    rows = {}
    if by_digest is not None:
        rows = writes.lock_manifests(workspace, repository, [by_digest])
    records, _ = writes.lock_records_of(workspace, write)
    _, now = read_policy_and_time(workspace)
    held = {
        row.record_id: row for row in find_locks(workspace.pk, [record.id for record in records])
    }
    for record in records:
        is_taken = by_digest is None or record.digest in ("", by_digest.value)
        writes.end_write(record, sent, now, shown=None if is_taken else Digest(record.digest))
        row = held.get(record.id)
        if row is None or row.state != LockState.DELETING:
            continue
        row.workspace = workspace
        if sent.result is Result.LANDED:
            locks.reserve(row, origin=actor.origin)
        elif sent.result is not Result.NO_ANSWER:
            is_refused = sent.result is Result.REFUSED
            locks.come_to_nothing(row, record, now, is_refused=is_refused)
    if by_digest is None:
        return bool(records)
    manifest = rows[by_digest]
    if manifest.delete_id != write.id:
        return False
    writes.end_delete(manifest, sent, now)
    if sent.result is Result.LANDED:
        ManifestReference.objects.filter(
            workspace=workspace, repository=repository.name, parent=by_digest.value
        ).delete()
        type(manifest).objects.filter(pk=manifest.pk).update(is_read=False)
    return True

"""Settle a delete by the registry's answer: only the write that a record names settles anything."""

from django.db import transaction

from containers import writes
from containers.models import ManifestReference
from containers.reference import Digest, Repository
from containers.writes import Result, Sent, Write
from immutability import locks
from immutability.models import LockedTag
from immutability.protection import LockState
from immutability.reading import read_policy_and_time
from workspaces.access import SYSTEM, Actor
from workspaces.models import Workspace


@transaction.atomic
def settle_delete(
    write: Write,
    workspace: Workspace,
    repository: Repository,
    sent: Sent,
    *,
    actor: Actor = SYSTEM,
) -> bool:
    """Write down what became of a delete; return whether the write was still in flight.

    Landed: the name that an admin deleted is reserved. Refused or not sent: the lock is what it was
    before, unless a stray may still land. No answer: the write is a stray. A delete by digest takes
    the tags that still point at the digest, and settles the manifest's row too.
    """
    by_digest = write.digest
    rows = {}
    if by_digest is not None:
        rows = writes.lock_manifests(workspace, repository, [by_digest])
    records, _ = writes.lock_records_of(write)
    _, now = read_policy_and_time(workspace)
    held = {row.record_id: row for row in LockedTag.objects.filter(record__in=records)}
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
            locks.come_to_nothing(row, record, now)
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

"""Settle a push by the registry's answers: only the write that a record names settles anything."""

from collections.abc import Mapping

from django.db import transaction

from containers import writes
from containers.models import Push
from containers.models import Tag as TagRecord
from containers.reference import Digest, Repository, Tag
from containers.writes import Result, Sent, Write
from immutability import locks
from immutability.models import LockedTag
from immutability.protection import LockState
from workspaces.access import SYSTEM, Actor, ActorKind
from workspaces.models import Workspace


@transaction.atomic
def settle_push(
    write: Write,
    workspace: Workspace,
    repository: Repository,
    results: Mapping[Tag, Sent],
    *,
    actor: Actor = SYSTEM,
) -> bool:
    """Write down what became of each tag's request; return whether all were this write's still.

    Landed: the claim, or the reserved name of this image, is locked. Refused or not sent: the claim
    goes back to what it replaced, unless a stray may still land. No answer: the write is a stray.
    """
    digest = Digest(str(write.digest))
    if any(sent.result is Result.LANDED for sent in results.values()):
        writes.note_there(workspace, repository, digest, write)
    records, now = writes.lock_records_of(write)
    records = [each for each in records if Tag(each.name) in results]
    if now is None or not records:
        return False
    rows = {row.record_id: row for row in LockedTag.objects.filter(record__in=records)}
    for record in records:
        row, sent = rows.get(record.id), results[Tag(record.name)]
        writes.end_write(record, sent, now, shown=digest)
        is_its_own = row is not None and row.digest == digest.value
        if row is not None:
            row.workspace = workspace
        if sent.result is Result.LANDED:
            _record_push(record, row, digest.value, actor)
            if row and is_its_own and row.state in (LockState.CLAIMED, LockState.RESERVED):
                locks.confirm(row, now, origin=actor.origin)
        elif sent.result is not Result.NO_ANSWER and row and is_its_own:
            locks.come_to_nothing(row, record, now)
    return len(records) == len(results)


def _record_push(record: TagRecord, row: LockedTag | None, digest: str, actor: Actor) -> None:
    """Keep that a push landed, and who began it: the reconciler finishes what others began."""
    name, kind = actor.name, actor.kind
    if row is not None and row.digest == digest and row.state == LockState.CLAIMED:
        name, kind = row.pushed_by, ActorKind(row.pushed_by_kind)
    Push.objects.create(
        workspace=record.workspace,
        repository=record.repository,
        tag=record.name,
        digest=digest,
        actor=name,
        actor_kind=kind,
    )

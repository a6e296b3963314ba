"""Finish what was left behind on one tag: an expired write, a stray, a claim, a delete.

The lock is the desired state and the record is what was observed. Each step holds the record,
decides by what it says in that moment, and commits before the registry is called.
"""

from collections.abc import Callable
from datetime import datetime

from django.db import transaction

from containers import writes
from containers.inventory import find_descendants
from containers.models import Tag as TagRecord
from containers.models import WriteKind
from containers.names import Digest, RepositoryName, TagName
from containers.registry.client import RegistryAnswer, RegistryClient
from containers.writes import RecordMovedError, Write
from immutability import drift, locks
from immutability.errors import TryAgainError
from immutability.look import TakenLook, fetch_manifest, judge_failure, learn, look_at_tag
from immutability.models import Drift, LockedTag
from immutability.policy.decisions import AfterStray, Look, decide_after_stray
from immutability.policy.patterns import PatternError, PatternEvaluationError
from immutability.policy.protection import LockState, Policy
from immutability.reading import read_policy_and_time, record_facts
from immutability.reconcile.inventory import record_looks
from immutability.settle import settle_delete, settle_push


def reconcile_record(record_id: int, registry: RegistryClient | None) -> bool:
    """Do what can be done now for one tag; return whether anything has changed.

    Without a registry there is nothing to look at: a stray just ends. A registry that gives no
    answer leaves all as it is.
    """
    with transaction.atomic():
        record = writes.lock_record(record_id)
        _, now = read_policy_and_time(record.workspace)
        has_changed = writes.expire_write(record, now)
        row = LockedTag.objects.filter(record=record).first()
    if record.write_id is not None:
        return has_changed
    try:
        if record.stray_until is not None and record.stray_until <= now:
            return _end_stray(record, registry) or has_changed
        if registry is None or (row is not None and row.refused_at and record.stray_until):
            return has_changed
        if row is not None and row.state == LockState.CLAIMED:
            return _point(record, row, registry) or has_changed
        if row is not None and row.state == LockState.DELETING:
            return _delete_again(record, row, registry) or has_changed
        if record.unreadable_since is not None:
            return _look_again(record, registry) or has_changed
    except (TryAgainError, RecordMovedError, PatternError, PatternEvaluationError):
        return has_changed
    return has_changed


def _end_stray(record: TagRecord, registry: RegistryClient | None) -> bool:
    """Look once the stray can no longer land: what the registry shows is the truth."""
    look = None
    if registry is not None:
        place = record.workspace, RepositoryName(record.repository), TagName(record.name)
        look = look_at_tag(*place, registry)
    shown = look.digest if look is not None else None
    with transaction.atomic():
        manifests = writes.hold_shown(
            record.workspace, RepositoryName(record.repository), [shown] if shown else []
        )
        held = writes.lock_record(record.id)
        if held.revision != record.revision or held.write_id is not None:
            return False
        policy, now = read_policy_and_time(held.workspace)
        row = LockedTag.objects.select_related("workspace").filter(record=held).first()
        facts = record_facts(held)
        held.stray_until, held.stray_digest = None, ""
        if shown is not None and writes.has_open_delete(manifests[shown], now):
            # It may take the tag still: the look after that decides.
            writes.note_shown(held, shown, manifests[shown], now)
        elif look is not None:
            apply_look(
                held,
                row,
                decide_after_stray(facts, row.to_lock() if row else None, look),
                look,
                policy.version,
                now,
            )
        elif row is not None and row.state == LockState.CLAIMED:
            # Nothing can point it.
            locks.take_back(row)
        writes.save_record(held, now)
    return True


def _look_again(record: TagRecord, registry: RegistryClient) -> bool:
    """Look at a tag that could not be read, and record what it shows if it can be read now."""
    place = record.workspace, RepositoryName(record.repository)
    tag = TagName(record.name)
    look = TakenLook(look_at_tag(*place, tag, registry), record.revision)
    record_looks(*place, {tag: look}, registry)
    return not TagRecord.objects.filter(id=record.id, revision=record.revision).exists()


def apply_look(
    record: TagRecord,
    row: LockedTag | None,
    decided: AfterStray,
    look: Look,
    version: int,
    now: datetime,
) -> None:
    """Write what a look decided about a held record and its lock. The caller saves the record."""
    before = record.digest
    writes.set_shown(record, str(look.digest or ""), now, look.unreadable_since)
    if row is None:
        return
    if decided is AfterStray.STANDS and row.state == LockState.LOCKED:
        _note_standing(record, row, look, before, version)
    match decided:
        case AfterStray.LOCKED:
            locks.confirm(row, now)
        case AfterStray.RESERVED:
            locks.reserve(row)
        case AfterStray.ENDS:
            reason = locks.SHOWS_ANOTHER if look.digest else locks.NOT_THERE
            locks.end(row, reason, version, other=look.digest)
        case AfterStray.STANDS if row.refused_at is not None:
            # What was refused while a stray was open is tried once more.
            row.refused_at = None
            row.save(update_fields=["refused_at"])


def _note_standing(
    record: TagRecord, row: LockedTag, look: Look, before: str, version: int
) -> None:
    """A locked tag stands whatever a look shows; what differs was changed past Taglock."""
    if look.digest == Digest(row.digest):
        drift.end(record, row, reason=drift.SHOWN_AGAIN)
    elif before == row.digest or drift.was_shown(record):
        kind = Drift.Kind.CHANGED if look.digest else Drift.Kind.MISSING
        drift.note(record, row, drift.Finding(kind, look.digest), version)


def _point(record: TagRecord, row: LockedTag, registry: RegistryClient) -> bool:
    """Point a claimed tag at its image: fetch the manifest by digest, send it under the tag."""
    repository, tag, digest = (
        RepositoryName(record.repository),
        TagName(record.name),
        Digest(row.digest),
    )
    try:
        manifest = fetch_manifest(repository, digest, registry)
    except TryAgainError as error:
        # An image that stays unreadable is as good as gone: only a push of it brings it back.
        judge_failure(record.workspace, repository, tag, error)
        manifest = None
    if manifest is None:
        return _give_up(record, row, registry)
    learn(record.workspace, repository, manifest)
    write = begin_again(record, row, WriteKind.PUSH)
    if write is None:
        return False
    body, media_type = manifest.body, manifest.descriptor.media_type

    def put() -> RegistryAnswer:
        return registry.put_manifest(repository, tag, body, media_type)

    sent = writes.send(write, put)
    return settle_push(write, record.workspace, repository, {tag: sent})


def _give_up(record: TagRecord, row: LockedTag, registry: RegistryClient) -> bool:
    """A claim whose manifest is gone goes back to what it replaced, once no stray may land.

    A 404 alone is weak: the tag, too, must not show the image.
    """
    repository, tag, digest = (
        RepositoryName(record.repository),
        TagName(record.name),
        Digest(row.digest),
    )
    if look_at_tag(record.workspace, repository, tag, registry).digest == digest:
        return False
    with transaction.atomic():
        writes.insert_missing(record.workspace, repository, (), [digest])
        manifest = writes.lock_manifests(record.workspace, repository, [digest])[digest]
        held, lock, now, _ = _hold_unchanged(record, row)
        if held is None or lock is None or writes.has_open_delete(manifest, now):
            return False
        if held.stray_until is not None:
            locks.come_to_nothing(lock, held, now)
            return False
        locks.take_back(lock)
        writes.save_record(held, now)
    return True


def _delete_again(record: TagRecord, row: LockedTag, registry: RegistryClient) -> bool:
    """Send an admin's delete again, by tag: by digest it would take other tags too."""
    repository, tag = RepositoryName(record.repository), TagName(record.name)
    write = begin_again(record, row, WriteKind.DELETE)
    if write is None:
        return False
    sent = writes.send(write, lambda: registry.delete_manifest(repository, tag))
    return settle_delete(write, record.workspace, repository, sent)


def begin_again(
    record: TagRecord,
    row: LockedTag,
    kind: WriteKind,
    *,
    confirm: Callable[[Policy], bool] = lambda _: True,
) -> Write | None:
    """Put the write in flight if the tag is still as it was read; None if it is not.

    `confirm` is asked within the hold.
    """
    repository, digest = RepositoryName(record.repository), Digest(row.digest)
    needed = sorted(find_descendants(record.workspace, repository, {digest}))
    write = writes.new_write(kind, digest if kind is WriteKind.PUSH else None)
    with transaction.atomic():
        manifests = {}
        if kind is WriteKind.PUSH:
            writes.insert_missing(record.workspace, repository, (), needed)
            manifests = writes.lock_manifests(record.workspace, repository, needed)
        held, lock, now, policy = _hold_unchanged(record, row)
        if held is None or lock is None or not confirm(policy):
            return None
        if any(writes.has_open_delete(each, now) for each in manifests.values()):
            return None
        writes.begin_write(write, [held], now)
    return write


def _hold_unchanged(
    record: TagRecord, row: LockedTag
) -> tuple[TagRecord | None, LockedTag | None, datetime, Policy]:
    """Hold the record and its lock; None for both where it has changed since it was read."""
    held = writes.lock_record(record.id)
    policy, now = read_policy_and_time(held.workspace)
    lock = (
        LockedTag.objects.select_related("workspace").filter(record=held, state=row.state).first()
    )
    if held.revision != record.revision or lock is None or lock.digest != row.digest:
        return None, None, now, policy
    return held, lock, now, policy

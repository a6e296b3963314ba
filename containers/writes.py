"""Hold a tag's record, begin a write, settle it: one write per tag at a time.

A hold is one short transaction: insert what is missing, lock the manifests, lock the records, then
read everything else that decides. No transaction is open while the registry is called. The
database's clock times leases; `sent_by` is this machine's clock that goes on while it is suspended.
"""

import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from containers import sql
from containers.models import Manifest, WriteKind
from containers.models import Tag as TagRecord
from containers.names import Digest, RepositoryName, TagName
from containers.registry.client import (
    UPSTREAM_DEADLINE_SECONDS,
    RegistryAnswer,
    RegistryUnavailableError,
)
from workspaces.access import Actor
from workspaces.current_request import current_request
from workspaces.models import Workspace
from workspaces.pool import release_database

# Longer than a sender can work on a write. After it, anyone may send it again.
WRITE_LEASE = timedelta(seconds=1.5 * UPSTREAM_DEADLINE_SECONDS)
# Longer than a write can linger between Taglock and the registry, counted from when it left.
STRAY_LIFE = timedelta(minutes=15)
# The same image, and a tag that nothing protects, wait no longer for a sender that may be dead.
TAKE_OVER_AFTER = timedelta(seconds=5)


class RecordMovedError(Exception):
    """What was read before the hold is gone: read again, decide again."""


@dataclass(frozen=True)
class Write:
    """A write in flight: its id on the records, and when it must have left at the latest."""

    id: uuid.UUID
    kind: WriteKind
    digest: Digest | None
    sent_by: float


class Result(StrEnum):
    """What happened to one request to the registry."""

    LANDED = "landed"
    REFUSED = "refused"
    # It never left, so it cannot land.
    NOT_SENT = "not sent"
    NO_ANSWER = "no answer"


@dataclass(frozen=True)
class Sent:
    """What happened to one request, with the registry's answer if it was complete."""

    result: Result
    answer: RegistryAnswer | None = None
    why: str = ""


def read_clock() -> float:
    """Return seconds of a clock that never jumps or stops, even while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


# ---- hold ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inserted:
    """The rows that a hold has just inserted: it already holds them."""

    manifests: Mapping[Digest, Manifest] = field(default_factory=dict)
    records: Mapping[TagName, TagRecord] = field(default_factory=dict)


def insert_missing(
    workspace: Workspace,
    repository: RepositoryName,
    tags: Collection[TagName],
    digests: Collection[Digest] = (),
    *,
    described: Manifest | None = None,
    is_repository_known: bool = False,
) -> Inserted:
    """Insert records and manifests that are missing, sorted, within the hold and before its locks.

    Others that insert the same wait for this transaction, while they hold nothing. `described` is
    what is known already of one of the manifests. A tag's first record makes its repository known.
    Raises RecordMovedError if the repository does not belong to the workspace at this moment.
    """
    manifests: list[Manifest] = []
    records: list[TagRecord] = []
    if digests:
        place = {"workspace": workspace, "repository": repository.name}
        rows = {digest.value: Manifest(**place, digest=digest.value) for digest in digests}
        if described is not None and described.digest in rows:
            rows[described.digest] = described
        manifests = sql.insert_manifests([rows[name] for name in sorted(rows)])
    if tags:
        if not is_repository_known:
            make_known(workspace, repository)
        names = sorted(tag.name for tag in tags)
        records = sql.insert_tags(workspace.pk, repository.name, names)
    return Inserted(
        {Digest(row.digest): row for row in manifests}, {TagName(row.name): row for row in records}
    )


def make_known(workspace: Workspace, repository: RepositoryName) -> None:
    """Make a repository known: from then on it is the workspace's.

    Raises RecordMovedError if it belongs to another one, or to none, at this moment.
    """
    if not sql.insert_repository(workspace, repository):
        raise RecordMovedError(f"{repository} does not belong to {workspace}")


def require_undescribed(read: Manifest | None, held: Manifest, inserted: Inserted) -> None:
    """Raise RecordMovedError if someone has told what a manifest lists since it was read."""
    is_new = Digest(held.digest) in inserted.manifests
    if not is_new and (read is None or held.is_read):
        raise RecordMovedError("the manifest has become known")


def lock_manifests(
    workspace: Workspace,
    repository: RepositoryName,
    digests: Collection[Digest],
    inserted: Inserted = Inserted(),
) -> dict[Digest, Manifest]:
    """Lock these manifests, in order, and return them. Raises RecordMovedError if one is gone.

    A push and a delete that need the same manifest follow one another.
    """
    held = {
        digest: inserted.manifests[digest] for digest in digests if digest in inserted.manifests
    }
    names = sorted(digest.value for digest in digests if digest not in held)
    if names:
        rows = sql.lock_manifests(workspace.pk, repository.name, names)
        held |= {Digest(row.digest): row for row in rows}
    if len(held) < len(set(digests)):
        raise RecordMovedError("a manifest has no row yet")
    return dict(sorted(held.items()))


def hold_shown(
    workspace: Workspace, repository: RepositoryName, digests: Collection[Digest]
) -> dict[Digest, Manifest]:
    """Hold the manifests that looks have shown, before the records that come to name them.

    A delete of one that is open began before its tag was known to be at it: it may take the tag.
    """
    inserted = insert_missing(workspace, repository, (), digests)
    return lock_manifests(workspace, repository, digests, inserted)


def lock_records(
    workspace: Workspace,
    repository: RepositoryName,
    tags: Collection[TagName],
    inserted: Inserted = Inserted(),
) -> dict[TagName, TagRecord]:
    """Lock the records of these tags, in order of their names, and return them.

    Raises RecordMovedError if one has no row yet.
    """
    held = {tag: inserted.records[tag] for tag in tags if tag in inserted.records}
    names = sorted(tag.name for tag in tags if tag not in held)
    if names:
        rows = sql.lock_tags(workspace.pk, repository.name, names)
        held |= {TagName(row.name): row for row in rows}
    if len(held) < len(set(tags)):
        raise RecordMovedError("a tag has no record yet")
    for record in held.values():
        record.workspace = workspace
    return dict(sorted(held.items()))


def lock_record(record_id: int) -> TagRecord:
    """Lock one record by its id, and return it as it is now."""
    return (
        TagRecord.objects.select_for_update(no_key=True, of=("self",))
        .select_related("workspace")
        .get(id=record_id)
    )


# ---- begin -----------------------------------------------------------------------------------


def new_write(kind: WriteKind, digest: Digest | None) -> Write:
    """Return a write that is about to begin; its time counts from now."""
    leaves_within = WRITE_LEASE.total_seconds() - UPSTREAM_DEADLINE_SECONDS
    return Write(uuid.uuid4(), kind, digest, read_clock() + leaves_within)


def begin_write(
    write: Write,
    records: Iterable[TagRecord],
    now: datetime,
    *,
    lasts: timedelta | None = None,
    is_external: bool = False,
) -> None:
    """Put the write in flight on these records, which are held and have none."""
    for record in records:
        if record.write_id is not None:
            raise AssertionError(f"{record} has a write in flight already")
        record.write_id = write.id
        record.write_kind = write.kind
        record.write_digest = write.digest.value if write.digest else ""
        record.write_begun_at = now
        record.write_expires_at = now + (lasts or WRITE_LEASE)
        record.write_is_external = is_external
        save_record(record, now)


def save_record(record: TagRecord, now: datetime, pusher: Actor | None = None) -> None:
    """Write a held record that has changed: its revision says so to everyone who has looked.

    With `pusher` what has changed it is their push, which has landed.
    """
    record.revision += 1
    record.changed_at = now
    if pusher is None:
        sql.update_tag(record)
    else:
        sql.update_pushed_tag(record, pusher.name, pusher.kind)


def begin_delete(write: Write, manifest: Manifest, now: datetime) -> None:
    """Put the delete of a manifest in flight on its row, which is held.

    From now on it isn't known to be there, whatever becomes of the delete.
    """
    manifest.is_there = False
    manifest.delete_id = write.id
    manifest.delete_expires_at = now + WRITE_LEASE
    manifest.revision += 1
    sql.update_manifest(manifest)


# ---- send ------------------------------------------------------------------------------------


def send(write: Write, call: Callable[[], RegistryAnswer]) -> Sent:
    """Call the registry once, if the write may still leave, and say what happened to it."""
    release_database()
    if read_clock() > write.sent_by:
        return Sent(Result.NOT_SENT, why="Taglock was delayed too long to send it")
    try:
        answer = call()
    except RegistryUnavailableError as error:
        result = Result.NO_ANSWER if error.was_sent else Result.NOT_SENT
        current_request().detail = str(error)
        return Sent(result, why=error.cause)
    if answer.is_success:
        # A registry need not name the digest.
        if write.kind == WriteKind.PUSH and answer.digest not in ("", str(write.digest)):
            return Sent(Result.NO_ANSWER, answer, "the registry named another digest")
        return Sent(Result.LANDED, answer)
    if write.kind == WriteKind.DELETE and answer.is_absent:
        return Sent(Result.LANDED, answer)
    if answer.is_refusal:
        return Sent(Result.REFUSED, answer, answer.reason)
    return Sent(Result.NO_ANSWER, answer, answer.reason)


# ---- settle ----------------------------------------------------------------------------------


def lock_records_of(workspace: Workspace, write: Write) -> tuple[list[TagRecord], datetime | None]:
    """Lock the records that still name this write, in order; no one else settles it.

    Returns them with the database's time, or None if there are none.
    """
    return sql.lock_tags_of_write(workspace.pk, write.id)


def end_write(
    record: TagRecord,
    sent: Sent,
    now: datetime,
    *,
    shown: Digest | None = None,
    pusher: Actor | None = None,
) -> None:
    """Settle the write in flight of a held record. The caller decides what it means for the lock.

    `shown` is what the tag points at if the write landed; it is recorded as a push of `pusher`, if
    there is one. A write without an answer becomes a stray; the caller sent it before `now`.
    """
    if sent.result is Result.LANDED:
        set_shown(record, str(shown or ""), now)
        if record.write_kind == WriteKind.PUSH:
            record.pushed_at = now
    elif sent.result is Result.NO_ANSWER:
        add_stray(record, record.write_digest if _is_push(record) else "", now + STRAY_LIFE)
    _clear_write(record)
    save_record(record, now, pusher if sent.result is Result.LANDED else None)


def add_stray(record: TagRecord, digest: str, until: datetime) -> None:
    """Note on a held record that a write of `digest` may land until then (empty: a delete).

    Of two, the later end counts; of different images, none in particular. The caller saves.
    """
    if record.stray_until is None:
        record.stray_digest, record.stray_until = digest, until
        return
    record.stray_until = max(record.stray_until, until)
    if record.stray_digest != digest:
        record.stray_digest = ""


def shown_waits_until(
    shown: Digest, manifests: Mapping[Digest, Manifest], now: datetime
) -> datetime | None:
    """Return until when an open delete may take a tag that a look has shown; None without one.

    Raises RecordMovedError if its manifest is not among the held ones.
    """
    if shown not in manifests:
        raise RecordMovedError("the manifest under the tag is not held")
    return open_delete_ends(manifests[shown], now)


def set_shown(
    record: TagRecord, digest: str, now: datetime, unreadable_since: datetime | None = None
) -> None:
    """Set on a held record what the registry shows under its tag (empty: nothing, or it cannot).

    The caller saves.
    """
    record.digest, record.shown_at, record.unreadable_since = digest, now, unreadable_since


def note_shown(
    record: TagRecord, shown: Digest | None, manifest: Manifest | None, now: datetime
) -> None:
    """Note on a held record what a look showed, whose manifest is held, too. The caller saves."""
    set_shown(record, str(shown or ""), now)
    until = open_delete_ends(manifest, now) if manifest is not None else None
    if until is not None:
        add_stray(record, "", until)


def is_late(
    record: TagRecord,
    now: datetime,
    *,
    same_image: Digest | None = None,
    is_protected: bool = True,
) -> bool:
    """Whether others need not wait any longer for the sender of a record's write in flight.

    A push of the same image waits less, since its own write cannot harm the first one. So does a
    push or delete of a tag that nothing protects.
    """
    if record.write_id is None or record.write_is_external or record.write_expires_at is None:
        return False
    if record.write_expires_at <= now:
        return True
    is_same = _is_push(record) and record.write_digest == str(same_image)
    begun_at = record.write_begun_at
    may_take_over = is_same or not is_protected
    return may_take_over and begun_at is not None and begun_at + TAKE_OVER_AFTER <= now


def expire_write(
    record: TagRecord,
    now: datetime,
    *,
    same_image: Digest | None = None,
    is_protected: bool = True,
) -> bool:
    """Make a stray of a held record's write where its sender is late; return whether it was."""
    if not is_late(record, now, same_image=same_image, is_protected=is_protected):
        return False
    make_stray(record)
    save_record(record, now)
    return True


def make_stray(record: TagRecord) -> None:
    """Turn the write in flight into a stray: it can be sent until it expires. The caller saves."""
    if record.write_expires_at is None:
        raise AssertionError(f"{record} has no write in flight")
    digest = record.write_digest if _is_push(record) else ""
    add_stray(record, digest, record.write_expires_at + STRAY_LIFE)
    _clear_write(record)


def _is_push(record: TagRecord) -> bool:
    return record.write_kind == WriteKind.PUSH


def _clear_write(record: TagRecord) -> None:
    record.write_id = None
    record.write_kind = record.write_digest = ""
    record.write_begun_at = record.write_expires_at = None
    record.write_is_external = False


# ---- manifests -------------------------------------------------------------------------------


def has_open_delete(manifest: Manifest, now: datetime) -> bool:
    """Whether a delete of this manifest is in flight, or may still land."""
    return open_delete_ends(manifest, now) is not None


def open_delete_ends(manifest: Manifest, now: datetime) -> datetime | None:
    """Return when the last open delete of this manifest is over; None if none is open."""
    ends = [manifest.stray_until] if manifest.stray_until else []
    if manifest.delete_id is not None and manifest.delete_expires_at is not None:
        ends.append(manifest.delete_expires_at + STRAY_LIFE)
    latest = max(ends, default=now)
    return latest if latest > now else None


def note_there(
    workspace: Workspace, repository: RepositoryName, digest: Digest, write: Write
) -> None:
    """Note that a manifest has landed with its tag, if no delete of it may still land.

    Before the records of its tags are locked. Only while one of them names the write: until then no
    delete of the manifest begins, and after it one may have landed.
    """
    sql.note_there(workspace.pk, repository.name, digest.value, write.id)


def end_delete(manifest: Manifest, sent: Sent, now: datetime) -> None:
    """Settle the delete of a held manifest; it stays open for STRAY_LIFE where no answer came."""
    manifest.delete_id = manifest.delete_expires_at = None
    if sent.result is Result.NO_ANSWER:
        until = now + STRAY_LIFE
        manifest.stray_until = max(until, manifest.stray_until or until)
    sql.update_manifest(manifest)


def add_stray_delete(manifest: Manifest, until: datetime) -> None:
    """Note that a delete of a held manifest, which Taglock does not see, may land until then."""
    manifest.revision += 1
    manifest.is_there = False
    manifest.stray_until = max(until, manifest.stray_until or until)
    sql.update_manifest(manifest)

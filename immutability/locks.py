"""Change a lock: each step within the hold of its tag's record, with the event that tells it.

Every function writes the lock and its event together. The record is the caller's to save.
"""

from datetime import datetime
from typing import Any

from django.utils.dateparse import parse_datetime

from containers.models import Push
from containers.models import Tag as TagRecord
from containers.names import Digest
from immutability import sql
from immutability.models import Drift, LockedTag
from immutability.policy.protection import Coverage, LockState, Policy
from workspaces.access import SYSTEM, Actor, ActorKind, Origin
from workspaces.log.append import Event, append_event
from workspaces.log.kinds import EventKind

# Why a lock ends, and why a name is locked again, as the lock log says it.
ANOTHER_IMAGE = "another image was pushed while the tag was not protected"
DELETED_UNPROTECTED = "the tag was deleted while it was not protected"
NOT_THERE = "the registry no longer has the tag"
SHOWS_ANOTHER = "the registry shows another image"
CAME_BACK = "the image of the reserved name came back"

# The columns of a lock that a claim or a delete keeps, to go back to.
_KEPT = (
    "state",
    "digest",
    "rule_name",
    "rule_pattern",
    "settings_version",
    "pushed_by",
    "pushed_by_kind",
    "locked_at",
    "deleted_by",
    "deleted_by_kind",
    "deleted_at",
)
# What changes of a claim, or of a reserved name, whose image is there.
_CONFIRMED = (
    "state",
    "replaced",
    "refused_at",
    "locked_at",
    "deleted_by",
    "deleted_by_kind",
    "deleted_at",
    "delete_reason",
)


def adopt(
    record: TagRecord, digest: Digest, coverage: Coverage, policy: Policy, now: datetime
) -> LockedTag:
    """Lock a tag to what the registry has had under it; return the lock.

    Who pushed it is told where a push of this image passed Taglock.
    """
    actor = _find_pusher(record, digest)
    row = _new(record, LockState.LOCKED, digest, coverage, policy, actor, now)
    sql.insert_lock(row)
    append_event(row.to_event(EventKind.TAG_ADOPTED, record.workspace.slug), actor=SYSTEM)
    return row


def claim(
    record: TagRecord,
    row: LockedTag | None,
    digest: Digest,
    coverage: Coverage,
    policy: Policy,
    now: datetime,
    *,
    actor: Actor,
) -> LockedTag:
    """Claim a tag for a first push; the lock goes back to what it was if the push is refused.

    No event: until the claim is pointed, nothing has happened.
    """
    fresh = _new(record, LockState.CLAIMED, digest, coverage, policy, actor, now)
    if row is not None:
        fresh.pk, fresh.replaced = row.pk, keep(row)
        sql.update_lock(fresh)
    else:
        sql.insert_lock(fresh)
    return fresh


def lock_at_once(
    record: TagRecord,
    row: LockedTag | None,
    digest: Digest,
    coverage: Coverage,
    policy: Policy,
    now: datetime,
    *,
    actor: Actor,
) -> LockedTag:
    """Lock a tag on the word of a one-call check; return the lock."""
    fresh = _new(record, LockState.LOCKED, digest, coverage, policy, actor, now)
    if row is not None:
        fresh.pk = row.pk
        sql.update_lock(fresh)
    else:
        sql.insert_lock(fresh)
    _record(EventKind.TAG_LOCKED, fresh, actor)
    return fresh


def confirm(row: LockedTag, now: datetime, *, origin: Origin = Origin(), reason: str = "") -> None:  # noqa: B008
    """The claimed image, or that of a reserved name, is there: the tag is locked to it."""
    was_reserved = row.state == LockState.RESERVED
    row.state = LockState.LOCKED
    row.replaced = row.refused_at = None
    row.locked_at = now
    row.deleted_by = row.deleted_by_kind = row.delete_reason = ""
    row.deleted_at = None
    sql.update_lock(row, _CONFIRMED)
    actor = Actor(row.pushed_by, ActorKind(row.pushed_by_kind), origin)
    if was_reserved and not reason:
        reason = CAME_BACK
    _record(EventKind.TAG_LOCKED, row, actor, reason=reason)


def come_to_nothing(
    row: LockedTag, record: TagRecord, now: datetime, *, is_refused: bool = True
) -> None:
    """The write of a claim, or of a delete, was refused or never sent: go back to what it replaced.

    Where another write may still land that has to end first. Of a delete, only another delete: a
    push of the locked image leaves the lock as it was. Until then what was refused is not sent
    again; what never left is, so that no one waits for the end of the other write.
    """
    if row.state not in (LockState.CLAIMED, LockState.DELETING):
        return
    is_own_push = row.state == LockState.DELETING and record.stray_digest == row.digest
    if record.stray_until is None or is_own_push:
        take_back(row)
    elif is_refused:
        row.refused_at = now
        sql.update_lock(row)


def take_back(row: LockedTag) -> LockedTag | None:
    """A claim, or a delete, failed: go back to the lock it replaced; return that."""
    if row.replaced is None:
        LockedTag.objects.filter(workspace=row.workspace_id, record=row.record_id).delete()
        return None
    for name, value in row.replaced.items():
        is_time = name in ("locked_at", "deleted_at") and value is not None
        setattr(row, name, parse_datetime(value) if is_time else value)
    row.replaced = row.refused_at = None
    row.delete_reason = ""
    sql.update_lock(row)
    return row


def begin_deleting(row: LockedTag, reason: str, now: datetime, *, actor: Actor) -> None:
    """An admin's delete of the tag is about to leave."""
    row.replaced = keep(row)
    row.state = LockState.DELETING
    row.deleted_by, row.deleted_by_kind, row.deleted_at = actor.name, actor.kind, now
    row.delete_reason = reason
    sql.update_lock(row)


def reserve(row: LockedTag, *, origin: Origin = Origin()) -> None:  # noqa: B008
    """An admin's delete has landed: only the same image may come back under the name."""
    reason, row.delete_reason = row.delete_reason, ""
    row.state = LockState.RESERVED
    row.replaced = row.refused_at = None
    sql.update_lock(row)
    _forget_drift(row)
    actor = Actor(row.deleted_by, ActorKind(row.deleted_by_kind), origin)
    _record(EventKind.TAG_DELETED, row, actor, reason=reason)


def release(row: LockedTag, record: TagRecord, shown: Digest, reason: str, *, actor: Actor) -> None:
    """An admin lets the tag be pushed once more, from what the registry has under it.

    That is another image than the lock's where a check locked the tag and its push never came.
    """
    promised = row.digest
    row.state = LockState.RELEASED
    if shown.value != promised:
        pusher = _find_pusher(record, shown)
        row.digest, row.pushed_by, row.pushed_by_kind = shown.value, pusher.name, pusher.kind
    sql.update_lock(row)
    _forget_drift(row)
    event = row.to_event(
        EventKind.LOCK_RELEASED,
        row.workspace.slug,
        other_digest=shown.value if shown.value != promised else "",
        reason=reason,
    )
    append_event(_with_digest(event, promised), actor=actor)


def free(row: LockedTag, reason: str, *, actor: Actor) -> None:
    """An admin gives the name up: nothing holds it."""
    _record(EventKind.LOCK_FREED, row, actor, reason=reason)
    _forget_drift(row)
    row.delete()


def end(
    row: LockedTag,
    reason: str,
    version: int,
    *,
    actor: Actor = SYSTEM,
    other: Digest | None = None,
) -> None:
    """The lock ends: its tag has changed, or is about to, while nothing protected it.

    The event names the digest that was promised last: of a claim or a delete, the one before it.
    """
    kept = row.replaced or {}
    held = kept.get("digest", row.digest)
    is_news = row.state != LockState.CLAIMED or bool(kept)
    row_event = row.to_event(
        EventKind.LOCK_ENDED,
        row.workspace.slug,
        other_digest=other.value if other else "",
        settings_version=version,
        reason=reason,
    )
    if is_news:
        append_event(_with_digest(row_event, held), actor=actor)
    _forget_drift(row)
    row.delete()


def keep(row: LockedTag) -> dict[str, Any]:
    """Return the columns that a claim or a delete goes back to, as JSON has them."""
    kept = {name: getattr(row, name) for name in _KEPT}
    for name in ("locked_at", "deleted_at"):
        kept[name] = kept[name].isoformat() if kept[name] else None
    return kept


def _forget_drift(row: LockedTag) -> None:
    """What differed from a promise that is over is no drift of the next one."""
    Drift.objects.filter(workspace=row.workspace_id, record=row.record_id).delete()


def _find_pusher(record: TagRecord, digest: Digest) -> Actor:
    """Return who pushed this image under the tag last; no one where none passed Taglock."""
    push = (
        Push.objects.filter(
            workspace=record.workspace_id,
            repository=record.repository,
            tag=record.name,
            digest=digest.value,
        )
        .order_by("-id")
        .first()
    )
    return Actor(push.actor, ActorKind(push.actor_kind)) if push else Actor("", ActorKind.SYSTEM)


def _with_digest(event: Event, digest: str) -> Event:
    return Event(**{**event.__dict__, "digest": digest})


def _new(
    record: TagRecord,
    state: LockState,
    digest: Digest,
    coverage: Coverage,
    policy: Policy,
    actor: Actor,
    now: datetime,
) -> LockedTag:
    rule = coverage.rule
    return LockedTag(
        record=record,
        workspace=record.workspace,
        repository=record.repository,
        tag=record.name,
        state=state,
        digest=digest.value,
        rule_name=rule.name if rule else "",
        rule_pattern=rule.pattern if rule else "",
        settings_version=policy.version,
        pushed_by=actor.name,
        pushed_by_kind=actor.kind,
        locked_at=now,
    )


def _record(kind: EventKind, row: LockedTag, actor: Actor, *, reason: str = "") -> None:
    append_event(row.to_event(kind, row.workspace.slug, reason=reason), actor=actor)

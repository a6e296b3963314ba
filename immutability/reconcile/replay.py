"""Bring locks to what a later export of the log knows, after an older backup was restored.

So no name is free that was locked or reserved since, and nothing holds what was freed.
"""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils.dateparse import parse_datetime

from containers import writes
from containers.models import Tag as TagRecord
from containers.names import RepositoryName, TagName
from containers.writes import RecordMovedError
from immutability.models import Drift, LockedTag
from immutability.policy.protection import LockState
from immutability.reading import read_policy_and_time
from workspaces.access import Actor, ActorKind
from workspaces.log.append import Event, append_event
from workspaces.log.exported import BadExportError, find_slug, read_later_events
from workspaces.log.kinds import EventKind
from workspaces.log.notes import VerifierKey
from workspaces.models import Workspace

# What a tag is after an event of this kind; None: nothing holds it.
_STATE_AFTER: dict[str, LockState | None] = {
    EventKind.TAG_LOCKED: LockState.LOCKED,
    EventKind.TAG_ADOPTED: LockState.LOCKED,
    EventKind.TAG_DELETED: LockState.RESERVED,
    EventKind.LOCK_RELEASED: LockState.RELEASED,
    EventKind.LOCK_ENDED: None,
    EventKind.LOCK_FREED: None,
}

Document = dict[str, Any]


@transaction.atomic
def replay_export(path: Path, keys: Collection[VerifierKey]) -> tuple[str, int]:
    """Bring the locks of a workspace to what an export of its log says last of each tag.

    Returns the workspace's slug, and how many tags differed. Each is an event as it was, with where
    it stood. What is like that already is left alone, so this can be done again. Raises
    BadExportError, and changes nothing then.
    """
    slug = find_slug(path)
    workspace = Workspace.objects.filter(slug=slug).first()
    if workspace is None:
        raise BadExportError(f"{path} is of the workspace {slug}, which the backup does not have")
    last = find_last(read_later_events(path, slug, keys))
    try:
        return slug, sum(_apply(workspace, event) for event in last)
    except RecordMovedError as error:
        raise BadExportError(f"{path}: {error}, by what the backup knows") from error


def find_last(events: Iterable[Document]) -> list[Document]:
    """Return the event that says last of each tag what holds it, in the order of the log."""
    last = {
        (event["repository"], event["tag"]): event
        for event in events
        if event["kind"] in _STATE_AFTER
    }
    return sorted(last.values(), key=lambda event: int(event["sequence"]))


def _apply(workspace: Workspace, event: Document) -> bool:
    """Bring one lock to what an event says; return whether it differed."""
    repository, tag = RepositoryName(event["repository"]), TagName(event["tag"])
    inserted = writes.insert_missing(workspace, repository, [tag])
    record = writes.lock_records(workspace, repository, [tag], inserted)[tag]
    row = LockedTag.objects.filter(record=record).first()
    state = _STATE_AFTER[event["kind"]]
    digest = event["digest"]
    if state is LockState.RELEASED:
        digest = event["other_digest"] or digest
    if (row.state, row.digest) == (state, digest) if row else state is None:
        return False
    if state is None:
        LockedTag.objects.filter(record=record).delete()
    else:
        _write(workspace, record, row, state, digest, event)
    Drift.objects.filter(record=record).delete()
    # What the backup saw under the tag is older than this.
    record.digest, record.shown_at, record.unreadable_since = "", None, None
    _, now = read_policy_and_time(workspace)
    writes.save_record(record, now)
    _record(event)
    return True


def _write(
    workspace: Workspace,
    record: TagRecord,
    row: LockedTag | None,
    state: LockState,
    digest: str,
    event: Document,
) -> None:
    is_reserved = state is LockState.RESERVED
    at = parse_datetime(event["at"])
    lock = row or LockedTag(
        record=record, workspace=workspace, repository=record.repository, tag=record.name
    )
    if row is None or not is_reserved:
        lock.locked_at = at  # type: ignore[assignment]
        lock.pushed_by = "" if is_reserved else event["actor"]
        lock.pushed_by_kind = ActorKind.SYSTEM if is_reserved else event["actor_kind"]
    lock.state, lock.digest = state, digest
    lock.rule_name, lock.rule_pattern = event["rule_name"], event["rule_pattern"]
    lock.settings_version = event["settings_version"] or 0
    lock.replaced = lock.refused_at = None
    lock.deleted_by = event["actor"] if is_reserved else ""
    lock.deleted_by_kind = event["actor_kind"] if is_reserved else ""
    lock.deleted_at = at if is_reserved else None
    lock.delete_reason = ""
    lock.save()


def _record(event: Document) -> None:
    """Record again what the log had: as it was, and where it stood."""
    where = {"event": event["ref"], "sequence": event["sequence"], "at": event["at"]}
    again = Event(
        EventKind(event["kind"]),
        event["workspace"],
        event["repository"],
        event["tag"],
        digest=event["digest"],
        other_digest=event["other_digest"],
        rule_name=event["rule_name"],
        rule_pattern=event["rule_pattern"],
        settings_version=event["settings_version"],
        reason=event["reason"],
        details={"replayed": where},
    )
    append_event(again, actor=Actor(event["actor"], ActorKind(event["actor_kind"])))

"""Locks in each state, made without a push; and what happened to them, as the log tells it."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DatabaseError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from containers.models import Push, Repository
from containers.models import Tag as TagRecord
from immutability.models import Drift, LockedTag
from immutability.policy.protection import LockState
from tests.conftest import AA, BB
from workspaces.access import SYSTEM
from workspaces.log import sql
from workspaces.log.append import append_event
from workspaces.log.kinds import EventKind
from workspaces.log.models import LockEvent
from workspaces.models import Workspace


def make_lock(
    workspace: Workspace,
    tag: str,
    state: str = "locked",
    digest: str = AA,
    *,
    repository: str = "",
    **fields: Any,
) -> LockedTag:
    """Make a lock of a tag in this state, as dana's push would have left it."""
    repository = repository or f"{workspace.slug}/api"
    Repository.objects.bulk_create(
        [Repository(workspace=workspace, name=repository)], ignore_conflicts=True
    )
    is_shown = state in (LockState.LOCKED, LockState.RELEASED, LockState.DELETING)
    [record] = TagRecord.objects.bulk_create(
        [
            TagRecord(
                workspace=workspace,
                repository=repository,
                name=tag,
                digest=digest if is_shown else "",
                shown_at=timezone.now(),
            )
        ],
        update_conflicts=True,
        unique_fields=["workspace", "repository", "name"],
        update_fields=["digest", "shown_at"],
    )
    if state in (LockState.RESERVED, LockState.DELETING):
        deleted = {"deleted_by": "alice", "deleted_by_kind": "person", "deleted_at": Now()}
        fields = {**deleted, **fields}
    row = LockedTag(
        **{
            "record": record,
            "workspace": workspace,
            "repository": repository,
            "tag": tag,
            "state": state,
            "digest": digest,
            "settings_version": 1,
            "pushed_by": "dana",
            "pushed_by_kind": "person",
            **fields,
        }
    )
    row.save(force_insert=True)
    return LockedTag.objects.get(id=row.id)


def make_locks(workspace: Workspace, first: int, end: int) -> None:
    """Lock the tags v0, v1 and so on."""
    place = {"workspace": workspace, "repository": "acme/api"}
    records = TagRecord.objects.bulk_create(
        TagRecord(**place, name=f"v{number}", digest=AA) for number in range(first, end)
    )
    LockedTag.objects.bulk_create(
        LockedTag(
            **place, record=record, tag=record.name, state="locked", digest=AA, settings_version=1
        )
        for record in records
    )


def set_record(row: LockedTag, **fields: Any) -> None:
    """Let the record of a lock say this."""
    TagRecord.objects.filter(id=row.record_id).update(**fields)


def put_in_flight(row: LockedTag, kind: str = "push", digest: str = AA, **fields: Any) -> None:
    """Put a write in flight on the tag of a lock."""
    set_record(
        row,
        write_id=uuid4(),
        write_kind=kind,
        write_digest=digest,
        write_begun_at=timezone.now(),
        write_expires_at=timezone.now() + timedelta(minutes=1),
        **fields,
    )


def put_stray(row: LockedTag, until: datetime, digest: str = "") -> None:
    """Leave a stray on the tag of a lock: of an image, or of a delete or several."""
    set_record(row, stray_until=until, stray_digest=digest)


def land(
    workspace: Workspace,
    digest: str = AA,
    tag: str = "v1",
    at: datetime | None = None,
    *,
    repository: str = "acme/api",
) -> Push:
    """Let a push of dana's have landed, as the gate records it."""
    Repository.objects.get_or_create(workspace=workspace, name=repository)
    return Push.objects.create(
        workspace=workspace,
        repository=repository,
        tag=tag,
        digest=digest,
        actor="dana",
        actor_kind="person",
        at=at or timezone.now(),
    )


def tag_events(workspace: Workspace) -> list[LockEvent]:
    """Return the events about tags, oldest first."""
    return list(LockEvent.objects.filter(workspace=workspace.slug).exclude(tag="").order_by("id"))


def tag_event_kinds(workspace: Workspace) -> list[str]:
    """Return the kinds of the events about tags, oldest first."""
    return [event.kind for event in tag_events(workspace)]


def break_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every write of events fail."""

    def fail(*_: Any, **__: Any) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr(sql, "insert_event", fail)
    monkeypatch.setattr(sql, "insert_events", fail)


def make_drift(lock: LockedTag, kind: str = "changed", found: str = BB, **fields: Any) -> Drift:
    """Let a lock differ from the registry, as a look has found it."""
    if kind in ("changed", "missing"):
        TagRecord.objects.filter(id=lock.record_id).update(digest=found)
    event = lock.to_event(EventKind.DRIFT_FOUND, lock.workspace.slug, other_digest=found)
    with transaction.atomic():
        told = append_event(event, actor=SYSTEM)
    return Drift.objects.create(
        record_id=lock.record_id,
        workspace=lock.workspace,
        kind=kind,
        digest=lock.digest,
        found=found,
        event=told.ref,
        **fields,
    )

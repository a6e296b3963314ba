"""Drop the claim of a two-phase check whose caller never says how its write ended."""

from datetime import UTC, datetime
from uuid import UUID

from django.db import transaction

from containers import writes
from containers.models import Tag as TagRecord
from immutability.errors import ConflictError
from immutability.models import Claim, LockedTag
from immutability.policy.protection import LockState
from immutability.reading import read_policy_and_time
from workspaces.access import Actor
from workspaces.log.append import append_event
from workspaces.log.kinds import EventKind
from workspaces.models import Workspace


@transaction.atomic
def drop_claim(workspace: Workspace, lock_id: int, reason: str, *, actor: Actor) -> None:
    """End the write in flight of a two-phase check, on all of its tags, because an admin says so.

    The write may still land: it becomes a stray, and its claims are decided once that is over.
    Raises LockedTag.DoesNotExist, and ConflictError if there is no such write or its caller may
    still begin to send it.
    """
    row = LockedTag.objects.select_related("record").get(workspace=workspace, id=lock_id)
    write_id = row.record.write_id
    records = _hold_write(write_id) if write_id is not None else []
    if write_id is None or row.record_id not in {record.id for record in records}:
        raise ConflictError(f"There is no claim on {row} to drop. Load the page again.")
    _, now = read_policy_and_time(workspace)
    _require_expired(records[0].write_expires_at, now)
    Claim.objects.filter(id=write_id).update(outcome=Claim.Outcome.DROPPED)
    for record in records:
        writes.make_stray(record)
        writes.save_record(record, now)
    dropped = LockedTag.objects.filter(record__in=records, state=LockState.CLAIMED)
    for each in dropped.order_by("tag"):
        event = each.to_event(EventKind.CLAIM_DROPPED, workspace.slug, reason=reason)
        append_event(event, actor=actor)


def _hold_write(write_id: UUID) -> list[TagRecord]:
    """Hold the records that the write of a two-phase check is in flight on."""
    records = TagRecord.objects.select_for_update(no_key=True)
    return list(records.filter(write_id=write_id, write_is_external=True).order_by("name"))


def _require_expired(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at > now:
        until = f"{expires_at.astimezone(UTC):%H:%M:%S} UTC"
        raise ConflictError(f"The registry may still write this tag. Drop its claim after {until}.")

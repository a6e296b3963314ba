"""Bring a restored backup to what the registry has: nothing that it says is in flight is sent.

A backup is older than the registry beside it. To send its writes again would overwrite what
followed them, so each tag is looked at instead, and what the registry shows is the truth.
"""

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from containers import writes
from containers.models import Repository as RepositoryRow
from containers.models import Tag as TagRecord
from containers.names import RepositoryName, TagName
from containers.registries import filter_at
from containers.registry.client import RegistryClient
from immutability import locks
from immutability.errors import TryAgainError, UnreadableTagError
from immutability.look import look_at_tag
from immutability.models import LockedTag
from immutability.policy.decisions import AfterStray, decide_after_stray
from immutability.policy.protection import LockState
from immutability.reading import read_policy_and_time, record_facts
from immutability.reconcile.jobs import ask_for_inventory
from immutability.reconcile.tag import apply_look
from workspaces.models import Workspace

_UNFINISHED = (LockState.CLAIMED, LockState.DELETING)


@transaction.atomic
def distrust_records() -> None:
    """Forget what the backup saw in the registry, and have all of it read again.

    Tags without a lock are looked at before their next push is decided; deletes by digest wait
    until their repository was read.
    """
    TagRecord.objects.filter(lock__isnull=True).exclude(digest="", shown_at=None).update(
        digest="", shown_at=None, revision=F("revision") + 1, changed_at=Now()
    )
    RepositoryRow.objects.update(listed_at=None)
    for workspace in Workspace.objects.all():
        ask_for_inventory(workspace)


def settle_restored(registry: RegistryClient, registry_id: int | None = None) -> int:
    """End what was in flight at a registry when the backup was made; return on how many tags.

    Raises TryAgainError if the registry does not say what it has: where it cannot read some tags,
    once the others are settled.
    """
    due = TagRecord.objects.filter(
        Q(write_id__isnull=False, write_is_external=False)
        | Q(stray_until__isnull=False)
        | Q(lock__state__in=_UNFINISHED, write_id__isnull=True)
    )
    ids = list(filter_at(due, registry_id).order_by("id").values_list("id", flat=True))
    settled, unreadable = 0, None
    for record_id in ids:
        try:
            settled += _settle(record_id, registry)
        except UnreadableTagError as error:
            unreadable = error
    if unreadable is not None:
        raise unreadable
    return settled


def _settle(record_id: int, registry: RegistryClient) -> bool:
    """Make a stray of a tag's write; once none is open, look, and take back what did not happen.

    A claim whose image is not there, and a delete whose tag still is, go back to what they
    replaced.
    """
    record = _end_write(record_id)
    if record is None:
        return False
    place = record.workspace, RepositoryName(record.repository), TagName(record.name)
    look = look_at_tag(*place, registry)
    with transaction.atomic():
        held = writes.lock_record(record_id)
        if held.revision != record.revision:
            raise TryAgainError("Taglock is at work: stop its processes first")
        policy, now = read_policy_and_time(held.workspace)
        row = LockedTag.objects.select_related("workspace").filter(record=held).first()
        decided = decide_after_stray(record_facts(held), row.to_lock() if row else None, look)
        held.stray_until, held.stray_digest = None, ""
        apply_look(held, row, decided, look, policy.version, now)
        if row is not None and decided is AfterStray.STANDS and row.state in _UNFINISHED:
            locks.take_back(row)
        writes.save_record(held, now)
    return True


@transaction.atomic
def _end_write(record_id: int) -> TagRecord | None:
    """Return the record without a write; None if a write of it may still land."""
    record = writes.lock_record(record_id)
    _, now = read_policy_and_time(record.workspace)
    if record.write_is_external:
        return None
    if record.write_id is not None:
        writes.make_stray(record)
        writes.save_record(record, now)
    is_open = record.stray_until is not None and record.stray_until > now
    return None if is_open else record

"""Put a locked tag back that was changed past Taglock: point it at its image again.

It is the write of a claim that was left: begun in a hold, sent once, settled by the answer. A
landing that comes late brings the locked image, and so does no harm.
"""

import logging
import time
from collections.abc import Callable
from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now

from containers import writes
from containers.models import WriteKind
from containers.names import Digest, RepositoryName, TagName
from containers.registries import filter_at
from containers.registry.client import RegistryClient
from containers.writes import RecordMovedError, Result
from immutability import drift
from immutability.errors import TryAgainError, explain
from immutability.look import fetch_manifest, learn
from immutability.models import Drift, LockedTag
from immutability.policy.patterns import PatternError, PatternEvaluationError
from immutability.policy.protection import LockState, Policy, cover
from immutability.reconcile.tag import begin_again
from immutability.settle import settle_push
from workspaces.access import SYSTEM, Actor
from workspaces.log.models import MAX_REASON_LENGTH
from workspaces.models import Workspace

logger = logging.getLogger(__name__)

RETRY_AFTER = timedelta(minutes=1)
_MAX_REPAIRS_PER_RUN = 1000


def repair_due(
    registry: RegistryClient,
    seconds: float,
    workspace: Workspace | None = None,
    *,
    registry_id: int | None = None,
) -> int:
    """Put back what the settings say is to be, for about this long; return how many tags are back.

    Of one workspace, or of all that are at this registry.
    What the registry does not take is tried again each minute.
    """
    ends_at = time.monotonic() + seconds
    due = Drift.objects.filter(
        repair_at__lte=Now(), workspace__container_settings__repair_drift=True
    )
    due = filter_at(due, registry_id) if workspace is None else due.filter(workspace=workspace)
    repaired = 0
    for each in due.order_by("repair_at")[:_MAX_REPAIRS_PER_RUN]:
        if time.monotonic() >= ends_at:
            break
        taken = Drift.objects.filter(id=each.id, repair_at__lte=Now())
        if not taken.update(repair_at=Now() + RETRY_AFTER):
            continue
        try:
            repaired += not repair(each, registry)
        except (TryAgainError, PatternError, PatternEvaluationError) as error:
            logger.warning("%s cannot be put back: %s", each, explain(error))
    return repaired


def repair(
    found: Drift,
    registry: RegistryClient,
    *,
    actor: Actor = SYSTEM,
    confirm: Callable[[], None] | None = None,
) -> str:
    """Point a tag at its locked image again; return "" if it is, or why it is not.

    `confirm` asks, within the hold, whether the actor may; without it, the settings have to say so.
    Raises TryAgainError if they do not, if something else has to end first or if the registry gives
    no answer, PatternError and PatternEvaluationError.
    """
    rows = LockedTag.objects.select_related("record", "workspace")
    row = rows.filter(record=found.record_id, state=LockState.LOCKED, digest=found.digest).first()
    if row is None or row.record.digest == row.digest:
        # The lock is now another one, or its image is there again.
        Drift.objects.filter(id=found.id).delete()
        return ""
    repository, tag = RepositoryName(row.repository), TagName(row.tag)
    manifest = fetch_manifest(repository, Digest(row.digest), registry)
    if manifest is None:
        return _note_gone(row)
    learn(row.workspace, repository, manifest)
    write = _begin(row, confirm)
    sent = writes.send(
        write,
        lambda: registry.put_manifest(
            repository, tag, manifest.body, manifest.descriptor.media_type
        ),
    )
    settle_push(write, row.workspace, repository, {tag: sent}, actor=actor, is_repair=True)
    if sent.result is Result.LANDED:
        return ""
    Drift.objects.filter(id=found.id).update(failure=sent.why[:MAX_REASON_LENGTH])
    return sent.why


def _begin(row: LockedTag, confirm: Callable[[], None] | None) -> writes.Write:
    """Put the write in flight, if someone or the settings want it at this moment.

    Raises TryAgainError if not, or if the tag is not free for it.
    """
    stray_digest = row.record.stray_digest if row.record.stray_until is not None else row.digest

    def may_begin(policy: Policy) -> bool:
        if confirm is not None:
            confirm()
        is_wanted = confirm is not None or policy.repair_drift
        return is_wanted and cover(policy, TagName(row.tag)).is_covered

    try:
        write = None
        if row.record.write_id is None and stray_digest == row.digest:
            write = begin_again(row.record, row, WriteKind.PUSH, confirm=may_begin)
    except RecordMovedError:
        write = None
    if write is None:
        raise TryAgainError("the tag is being written, or its lock or the settings have changed")
    return write


@transaction.atomic
def _note_gone(row: LockedTag) -> str:
    """Record that the registry has the locked image no more; return that in words."""
    record = writes.lock_record(row.record_id)
    known = Drift.objects.filter(record=record, digest=row.digest).first()
    if known is not None and record.revision == row.record.revision:
        found = Digest(known.found) if known.found else None
        finding = drift.Finding(Drift.Kind(known.kind), found, is_gone=True)
        drift.note(record, row, finding, row.settings_version)
    return "the locked image is gone from the registry"

"""Find the tags on which something was left behind, and finish it: the scheduler's part."""

import math
import random
import time
from collections.abc import Callable
from datetime import datetime

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from containers.models import Tag as TagRecord
from containers.registries import filter_at
from containers.registry.client import RegistryClient
from immutability.models import LockedTag
from immutability.policy.protection import LockState
from immutability.reconcile.tag import reconcile_record

# Other work has to have its turn: a registry that hangs takes half a minute for each call.
RECONCILE_SECONDS = 5.0
# So many of each kind are read at once.
MAX_RECORDS_PER_RUN = 1000
MAX_UNREADABLE_PER_RUN = 20

Reconcile = Callable[[int, RegistryClient | None], bool]


def reconcile_due(
    registry: RegistryClient | None, seconds: float = math.inf, *, registry_id: int | None = None
) -> int:
    """Reconcile the tags at a registry that need it; return on how many something has changed.

    Begins none after `seconds`. They come in no order, so that tags for which the registry gives no
    answer do not keep the others waiting forever.
    """
    ends_at = time.monotonic() + seconds
    due = find_due(registry, registry_id)
    random.shuffle(due)
    changed = 0
    for record_id in due:
        if time.monotonic() >= ends_at:
            break
        changed += reconcile_record(record_id, registry)
    return changed


def find_due(registry: RegistryClient | None, registry_id: int | None = None) -> list[int]:
    """Return records with something that can be done now: some of each kind, at most.

    An expired write, a stray that is over, a claim or a delete that no one is working on, a tag
    that the registry could not read when it was last looked at. Only of the workspaces that are at
    this registry.
    """
    records = [
        TagRecord.objects.filter(
            write_id__isnull=False, write_is_external=False, write_expires_at__lte=Now()
        ),
        TagRecord.objects.filter(write_id__isnull=True, stray_until__lte=Now()),
    ]
    due: set[int] = set()
    for rows in records:
        here = filter_at(rows, registry_id)
        due.update(here.values_list("id", flat=True)[:MAX_RECORDS_PER_RUN])
    if registry is not None:
        unfinished = filter_at(_unfinished_locks(), registry_id)
        due.update(unfinished.values_list("record_id", flat=True)[:MAX_RECORDS_PER_RUN])
        # These may stay so for good: each has its turn.
        unreadable = TagRecord.objects.filter(unreadable_since__isnull=False, write_id__isnull=True)
        here = filter_at(unreadable, registry_id).order_by("unreadable_at")
        due.update(here.values_list("id", flat=True)[:MAX_UNREADABLE_PER_RUN])
    return list(due)


def _unfinished_locks() -> QuerySet[LockedTag]:
    """Return claims and deletes without a write in flight.

    What the registry refused while another write may still land waits for the end of that.
    """
    # SQLite uses the index of rare states where the condition is that of the index, in its words.
    return LockedTag.objects.exclude(state=LockState.LOCKED).filter(
        Q(refused_at__isnull=True) | Q(record__stray_until__isnull=True),
        state__in=[LockState.CLAIMED, LockState.DELETING],
        record__write_id__isnull=True,
    )


def count_open() -> tuple[int, datetime | None]:
    """Return how many tags are not finished, and when the last of their open strays is over."""
    unfinished = TagRecord.objects.filter(
        Q(write_id__isnull=False, write_is_external=False)
        | Q(stray_until__isnull=False)
        | Q(lock__state__in=[LockState.CLAIMED, LockState.DELETING], write_id__isnull=True)
    )
    last = unfinished.filter(stray_until__gt=Now()).order_by("-stray_until").first()
    return unfinished.count(), last.stray_until if last else None

"""Delete what nothing needs any more: old pushes, the manifests that only they had, old claims.

Locks, records of tags and the lock log stay. It goes on where it stopped, a few hundred rows in a
transaction, so any number is got through, and nothing waits for it.
"""

import time
from collections import defaultdict
from collections.abc import Collection
from datetime import timedelta
from itertools import takewhile
from typing import Any

from django.db import connection, transaction
from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q
from django.db.models.functions import Now

from containers.models import Manifest, ManifestReference, Push
from containers.models import Tag as TagRecord
from immutability.models import Claim, LockedTag, Pruning
from immutability.policy.protection import LockState

RUN_SECONDS = 2.0
# From the end of one passage to the beginning of the next.
PASSES_EVERY = timedelta(days=1)
_BATCH = 500

Place = tuple[int, str]


def prune(days: int) -> int:
    """Delete what is older than so many days, for a few seconds; return how many pushes that was.

    Of each tag the last push from before stays: it says what the next one replaced, and who brought
    what is there. 0 days: nothing is deleted.
    """
    if not days:
        return 0
    ends_at, deleted = time.monotonic() + RUN_SECONDS, 0
    while True:
        count = _prune_some(timedelta(days=days))
        if count is None:
            return deleted
        deleted += count
        if time.monotonic() >= ends_at:
            return deleted


@transaction.atomic
def _prune_some(age: timedelta) -> int | None:
    """Take the next rows; return how many pushes are deleted, or None if nothing is to be done."""
    progress = _take_turn()
    if progress is None:
        return None
    rows = _read_next(progress.last_push_id, age)
    old = list(takewhile(lambda push: push.is_old, rows))
    doomed = [push for push in old if push.is_superseded]
    Push.objects.filter(id__in=[push.id for push in doomed]).delete()
    by_place: dict[Place, set[str]] = defaultdict(set)
    for push in doomed:
        by_place[push.workspace_id, push.repository].add(push.digest)
    for place in sorted(by_place):
        prune_manifests(place, by_place[place])
    if old:
        progress.last_push_id = old[-1].id
    elif _prune_claims(age) < _BATCH:
        progress.last_push_id, progress.rests_until = 0, Now() + PASSES_EVERY
    progress.save()
    return len(doomed)


def prune_manifests(place: Place, digests: Collection[str]) -> None:
    """Forget those of a repository's manifests that nothing names, and what only they list.

    They are as unknown then as before their first push. One that a delete was begun of stays: its
    revision says that what was seen before doesn't count. One that is held is left out.
    """
    of_place = {"workspace_id": place[0], "repository": place[1]}
    rows = Manifest.objects.filter(
        **of_place, digest__in=digests, revision=0, delete_id=None, stray_until=None
    )
    # A push that names one of them holds it first.
    held = rows.order_by("digest").select_for_update(skip_locked=_skips_locked())
    names = {row.digest for row in held}
    doomed = names - _find_named(place, names)
    if not doomed:
        return
    references = ManifestReference.objects.filter(**of_place, parent__in=doomed)
    children = set(references.values_list("child", flat=True))
    references.delete()
    Manifest.objects.filter(**of_place, digest__in=doomed).delete()
    if children:
        prune_manifests(place, children)


def _find_named(place: Place, digests: Collection[str]) -> set[str]:
    """Return those of the digests that a tag, a write, a lock or an index names."""
    of_place = {"workspace_id": place[0], "repository": place[1]}
    records = TagRecord.objects.filter(**of_place)
    locks = LockedTag.objects.filter(**of_place)
    found = (
        records.filter(digest__in=digests).values_list("digest", flat=True),
        records.filter(write_id__isnull=False, write_digest__in=digests).values_list(
            "write_digest", flat=True
        ),
        records.filter(stray_until__isnull=False, stray_digest__in=digests).values_list(
            "stray_digest", flat=True
        ),
        locks.filter(digest__in=digests).values_list("digest", flat=True),
        # What a claim or a delete goes back to.
        locks.exclude(state=LockState.LOCKED)
        .filter(replaced__isnull=False)
        .values_list("replaced__digest", flat=True),
        ManifestReference.objects.filter(**of_place, child__in=digests).values_list(
            "child", flat=True
        ),
    )
    return {digest for rows in found for digest in rows}


def _take_turn() -> Pruning | None:
    """Return the row that says how far it is, held; None while it rests or another one is at it."""
    Pruning.objects.get_or_create(id=1)
    rows = Pruning.objects.select_for_update(skip_locked=_skips_locked())
    return rows.filter(id=1, rests_until__lte=Now()).first()


def _read_next(after: int, age: timedelta) -> list[Any]:
    """Return the next pushes, each with whether it is old, and another old one is later."""
    later = Push.objects.filter(
        workspace=OuterRef("workspace"),
        repository=OuterRef("repository"),
        tag=OuterRef("tag"),
        id__gt=OuterRef("id"),
        at__lt=Now() - age,
    )
    rows = Push.objects.filter(id__gt=after).annotate(
        is_old=ExpressionWrapper(Q(at__lt=Now() - age), BooleanField()),
        is_superseded=Exists(later),
    )
    return list(rows.order_by("id")[:_BATCH])


def _prune_claims(age: timedelta) -> int:
    """Delete two-phase checks that ended long ago; return how many."""
    ended = Claim.objects.exclude(outcome=Claim.Outcome.OPEN).filter(begun_at__lt=Now() - age)
    ids = list(ended.values_list("id", flat=True)[:_BATCH])
    return Claim.objects.filter(id__in=ids).delete()[0]


def _skips_locked() -> bool:
    return bool(connection.features.has_select_for_update_skip_locked)

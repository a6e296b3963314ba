"""Erase where requests came from. The events keep a salted hash, which then says nothing."""

from collections.abc import Collection
from datetime import datetime

from workspaces.log.models import EventOrigin

_BATCH = 1000


def erase_origins(before: datetime, slugs: Collection[str] = ()) -> int:
    """Delete address, user agent and salt of the events before a moment; return how many.

    Of the workspaces `slugs`, or of all where none is named. Each batch is a transaction of its
    own.
    """
    rows = EventOrigin.objects.filter(event__at__lt=before)
    if slugs:
        rows = rows.filter(event__workspace__in=slugs)
    erased, last_id = 0, 0
    while ids := list(
        rows.filter(id__gt=last_id).order_by("id").values_list("id", flat=True)[:_BATCH]
    ):
        erased += EventOrigin.objects.filter(id__in=ids).delete()[0]
        last_id = ids[-1]
    return erased

"""When each registry that has a row last answered: a worker asks them now and then."""

import time
from contextlib import suppress
from datetime import timedelta

from django.db.models import Q
from django.db.models.functions import Now

from containers.connection import connect
from containers.registries import connect_row
from containers.registry.client import CallerRefusedError, RegistryUnavailableError
from workspaces.models import Registry
from workspaces.pool import release_database
from workspaces.transport import Deadline

SEEN_AGAIN_AFTER = timedelta(minutes=1)
# For all of them together: other work has to have its turn.
LOOK_SECONDS = 5.0


def look_at_registries() -> None:
    """Ask those that were not seen for a minute whether they answer, for about this long.

    In no order, so that those that hang do not always keep the same ones waiting.
    """
    ends_at = time.monotonic() + LOOK_SECONDS
    due = Q(seen_at=None) | Q(seen_at__lte=Now() - SEEN_AGAIN_AFTER)
    for row in Registry.objects.filter(due).defer("findings").order_by("?"):
        if time.monotonic() >= ends_at:
            break
        if _answers(row):
            Registry.objects.filter(pk=row.pk).update(seen_at=Now())


def _answers(row: Registry) -> bool:
    registry = connect(connect_row(row))
    release_database()
    try:
        with Deadline(LOOK_SECONDS), suppress(CallerRefusedError):
            return registry is not None and bool(registry.acting_for("").ask_version())
    except RegistryUnavailableError:
        return False
    # A refusal is an answer, too.
    return True

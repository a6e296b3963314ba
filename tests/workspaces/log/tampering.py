"""What an operator can do to the log who can write to the database, and a moment to write it at."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import F

from tests.conftest import is_postgresql
from tests.services.guards import without_guards
from workspaces.log.append import make_ref
from workspaces.log.canonical import FIRST_PREVIOUS_HASH, hash_document, to_document
from workspaces.log.checkpoints import checkpoint_path, make_checkpoint
from workspaces.log.models import Checkpoint, EventSeal, LockEvent


@contextmanager
def without_triggers() -> Iterator[None]:
    """Let the block change and delete what the database refuses to, as its owner can."""
    with connection.cursor() as cursor:
        if is_postgresql() and connection.in_atomic_block:
            # A table with rows whose references are still to be checked cannot be altered.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")
        with without_guards(cursor, is_postgresql=is_postgresql()):
            yield


def write_at(moment: datetime, **fields: Any) -> LockEvent:
    """Write an event of acme that says it happened at `moment`, past what the site writes with."""
    return LockEvent.objects.create(
        **{
            "ref": make_ref(),
            "workspace": "acme",
            "kind": "tag.locked",
            "repository": "acme/api",
            "tag": "v1",
            "actor": "dana",
            "actor_kind": "registry",
            **fields,
        },
        at=moment,
    )


def seal_anew(workspace: str = "acme", first: int = 1) -> None:
    """Compute the hashes of a chain again from a place on, in order, and let no place be missing.

    To be called within `without_triggers`.
    """
    seals = list(EventSeal.objects.filter(workspace=workspace).order_by("sequence", "id"))
    # Out of the way first: every place is taken once.
    EventSeal.objects.filter(workspace=workspace).update(sequence=F("sequence") + 1_000_000)
    previous = FIRST_PREVIOUS_HASH
    for sequence, seal in enumerate(seals, start=1):
        event = LockEvent.objects.get(id=seal.event_id)
        if sequence >= first:
            seal.hash = hash_document(previous, to_document(event, sequence))
        seal.sequence = sequence
        seal.save()
        previous = seal.hash


def note() -> str:
    """Make a checkpoint of acme, and return its note, for someone to keep."""
    checkpoint = make_checkpoint("acme")
    assert checkpoint is not None
    return checkpoint.note


def drop_checkpoints() -> None:
    """Remove every trace of them that the operator has."""
    for row in Checkpoint.objects.all():
        checkpoint_path(row).unlink()
    with without_triggers():
        Checkpoint.objects.all().delete()

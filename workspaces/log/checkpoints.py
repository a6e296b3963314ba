"""Checkpoints: signed statements of what a workspace's chain was at a moment.

A chain of hashes alone doesn't stop anyone who can write to the database. A checkpoint does, if
someone else keeps it: changes to what it covers can then be detected. The form is
that of https://c2sp.org/tlog-checkpoint; the hash is the one of the last seal.
"""

import base64
import binascii
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now, TruncDay

from workspaces.log.canonical import format_time
from workspaces.log.files import write_once
from workspaces.log.keys import require_signing_key, verifier_key
from workspaces.log.models import Checkpoint, EventSeal
from workspaces.log.notes import BadNoteError, VerifierKey, open_note
from workspaces.log.seal import count_unsealed, seal_for

__all__ = [
    "Statement",
    "checkpoint_path",
    "is_current",
    "latest_checkpoint",
    "make_checkpoint",
    "make_due_checkpoints",
    "parse_statement",
    "verifier_key",
    "write_missing_files",
]

logger = logging.getLogger(__name__)

# Files of older ones are no longer checked: verify_lock_log names what is missing.
FILES_TRIED_FOR = timedelta(days=31)
# So that asking again and again does not fill the disk.
REUSED_FOR = timedelta(minutes=1)
_BATCH = 500

_TIME = re.compile(r"time (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)")
_SEQUENCE = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class Statement:
    """What a checkpoint says: at `time`, the event `sequence` of the log `origin` had `hash`."""

    origin: str
    sequence: int
    hash: str
    time: datetime

    def to_text(self) -> str:
        """Return the text of the note: four lines."""
        hashed = base64.b64encode(bytes.fromhex(self.hash)).decode()
        return f"{self.origin}\n{self.sequence}\n{hashed}\ntime {format_time(self.time)}\n"


def parse_statement(text: str) -> Statement:
    """Read the text of a checkpoint's note, whose signature was verified. Raises BadNoteError."""
    lines = text.removesuffix("\n").split("\n")
    time = _TIME.fullmatch(lines[3]) if len(lines) == 4 else None
    if time is None or not lines[0] or not _SEQUENCE.fullmatch(lines[1]):
        raise BadNoteError("it is signed, but it is not a checkpoint of a lock log")
    try:
        hashed = base64.b64decode(lines[2], validate=True).hex()
        moment = datetime.fromisoformat(time[1])
    except (binascii.Error, ValueError) as error:
        raise BadNoteError(f"it is signed, but it is not a checkpoint: {error}") from error
    statement = Statement(lines[0], int(lines[1]), hashed, moment)
    if statement.to_text() != text:
        raise BadNoteError("it is signed, but it is not in the form of a checkpoint")
    return statement


def make_checkpoint(slug: str) -> Checkpoint | None:
    """Sign what the chain of a workspace is now; return the row, or None if nothing is sealed.

    Seals first, for a few seconds at most. The time that is signed is the database's, or that of
    the oldest event that is not sealed yet: up to then the chain is whole. A file that cannot be
    written is logged: the row is there, and the next run writes the file. Returns the latest one
    where it is younger than a minute, and says what a new one would. Raises KeyFileError.
    """
    key = require_signing_key()
    origin = f"{urlsplit(settings.PUBLIC_URL).netloc}/{slug}/lock-log"
    seal_for()
    young = _find_young(slug)
    if young is not None and is_current(young, key.verifier):
        return young
    with transaction.atomic():
        # In this order: what is sealed in between is in the chain, and the time only too early.
        unsealed_at = count_unsealed(slug).oldest_at
        head = (
            EventSeal.objects.filter(workspace=slug)
            .order_by("-sequence")
            .values_list("sequence", "hash", Now())
            .first()
        )
        if head is None:
            return None
        sequence, digest, now = head
        # What is never sealed, because it cannot be, puts the time back that is signed, and not
        # the moment that says when the next one is made.
        statement = Statement(origin, sequence, digest, min(now, unsealed_at or now))
        checkpoint = Checkpoint.objects.create(
            workspace=slug,
            sequence=statement.sequence,
            hash=statement.hash,
            note=key.sign(statement.to_text()),
            made_at=now,
        )
    _write_file(checkpoint)
    return checkpoint


def latest_checkpoint(slug: str) -> Checkpoint | None:
    """Return the newest checkpoint of a workspace, or None."""
    return Checkpoint.objects.filter(workspace=slug).order_by("-id").first()


def is_current(checkpoint: Checkpoint, key: VerifierKey) -> bool:
    """Return whether the chain has not moved since a checkpoint, and `key` has signed it."""
    later = EventSeal.objects.filter(
        workspace=checkpoint.workspace, sequence__gt=checkpoint.sequence
    )
    if later.exists():
        return False
    try:
        open_note(checkpoint.note, [key])
    except BadNoteError:
        return False
    return True


def make_due_checkpoints() -> int:
    """Make a checkpoint of every log that has none of today, in UTC; return how many were made.

    A log in which nothing happens gets one too: it says that nothing was added. Raises
    KeyFileError.
    """
    made = 0
    today = TruncDay(Now(), tzinfo=UTC)
    for slug in _iterate_sealed_slugs():
        if not Checkpoint.objects.filter(workspace=slug, made_at__gte=today).exists():
            made += make_checkpoint(slug) is not None
    return made


def write_missing_files(slug: str = "") -> int:
    """Write the files of checkpoints that have none, of a workspace or of all; return how many.

    Looks at those of the last FILES_TRIED_FOR. What cannot be written is logged.
    """
    rows = Checkpoint.objects.filter(made_at__gt=Now() - FILES_TRIED_FOR).order_by("id")
    if slug:
        rows = rows.filter(workspace=slug)
    written, last_id = 0, 0
    while batch := list(rows.filter(id__gt=last_id)[:_BATCH]):
        written += sum(_write_file(row) for row in batch if not checkpoint_path(row).exists())
        last_id = batch[-1].id
    return written


def checkpoint_path(checkpoint: Checkpoint) -> Path:
    """Return where the file of a checkpoint is, or is to be."""
    moment = checkpoint.made_at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    name = f"{checkpoint.sequence}-{moment}.note"
    return Path(settings.CHECKPOINT_DIR) / checkpoint.workspace / name


def _find_young(slug: str) -> Checkpoint | None:
    """Return the newest checkpoint, where it was made within the last minute."""
    young = Checkpoint.objects.filter(
        workspace=slug, made_at__gt=Now() - REUSED_FOR, made_at__lte=Now()
    )
    return young.order_by("-id").first()


def _write_file(checkpoint: Checkpoint) -> bool:
    path = checkpoint_path(checkpoint)
    try:
        return write_once(path, checkpoint.note, mode=0o644)
    except OSError as error:
        logger.error("checkpoint %s cannot be written: %s", path, error)
        return False


def _iterate_sealed_slugs() -> Iterator[str]:
    """Yield the workspaces that have seals, each found by one step along an index."""
    slugs = EventSeal.objects.order_by("workspace").values_list("workspace", flat=True)
    slug = slugs.first()
    while slug is not None:
        yield slug
        slug = slugs.filter(workspace__gt=slug).first()

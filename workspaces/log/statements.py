"""Gather the checkpoints of a log, wherever they are kept, and check who signed them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db.models.functions import Now

from workspaces.log.checkpoints import Statement, checkpoint_path, parse_statement
from workspaces.log.models import Checkpoint
from workspaces.log.notes import BadNoteError, VerifierKey, open_note

# A file may be on its way: the next run, within the hour, writes those that are missing.
FILE_MISSING_AFTER = timedelta(hours=2)
# Larger than any checkpoint with the signatures of witnesses.
MAX_NOTE_BYTES = 100_000
_BATCH = 500


@dataclass(frozen=True)
class Given:
    """A checkpoint that someone else kept: what it is called, and its text."""

    name: str
    note: str


@dataclass
class Gathered:
    """The checkpoints that known keys have signed, by sequence, and what is wrong with others.

    `sources` says, for each statement, where it was found first.
    """

    sources: dict[Statement, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def in_order(self) -> list[Statement]:
        return sorted(self.sources, key=lambda each: (each.sequence, each.time))


def gather_checkpoints(slug: str, keys: list[VerifierKey], given: list[Given]) -> Gathered:
    """Read the checkpoints of a workspace from the database, from their folder and from `given`.

    What grows with their number is kept in memory: some hundred bytes for each.
    """
    gathered = Gathered()
    for name, note in _iterate_rows(slug, gathered):
        _take(gathered, slug, keys, name, note)
    for name, note in _iterate_files(slug, gathered):
        _take(gathered, slug, keys, name, note)
    for each in given:
        _take(gathered, slug, keys, each.name, each.note)
    return gathered


def _take(gathered: Gathered, slug: str, keys: list[VerifierKey], name: str, note: str) -> None:
    try:
        statement = parse_statement(open_note(note, keys))
    except BadNoteError as error:
        gathered.problems.append(f"checkpoint {name}: {error}")
        return
    if not statement.origin.endswith(f"/{slug}/lock-log"):
        gathered.problems.append(f"checkpoint {name} is of another log: {statement.origin}")
        return
    gathered.sources.setdefault(statement, name)


def _iterate_rows(slug: str, gathered: Gathered) -> Iterator[tuple[str, str]]:
    """Yield the name and text of each row; note those that have no file, or another one."""
    rows = Checkpoint.objects.filter(workspace=slug).order_by("id")
    overdue = rows.filter(made_at__lt=Now() - FILE_MISSING_AFTER)
    last_overdue = overdue.order_by("-id").values_list("id", flat=True).first() or 0
    last_id = 0
    while batch := list(rows.filter(id__gt=last_id)[:_BATCH]):
        for row in batch:
            name = f"{row.sequence} of {row.made_at:%Y-%m-%d %H:%M} in the database"
            yield name, row.note
            gathered.problems += _compare_with_note(row, name)
            path = checkpoint_path(row)
            if not path.exists():
                if row.id <= last_overdue:
                    gathered.problems.append(f"checkpoint {name}: its file is missing: {path}")
            elif _read(path) != row.note:
                gathered.problems.append(f"checkpoint {name}: its file says something else: {path}")
        last_id = batch[-1].id


def _compare_with_note(row: Checkpoint, name: str) -> list[str]:
    """Return what the row says that its note does not. What the note is worth is another matter."""
    text, _, _ = row.note.rpartition("\n\n")
    try:
        statement = parse_statement(f"{text}\n")
    except BadNoteError:
        return []
    is_same = (statement.sequence, statement.hash) == (row.sequence, row.hash)
    # The time that is signed is earlier where an event was not sealed then.
    if is_same and statement.time <= row.made_at:
        return []
    return [f"checkpoint {name}: the row says something else than its note"]


def _iterate_files(slug: str, gathered: Gathered) -> Iterator[tuple[str, str]]:
    """Yield the path and text of every note in the folder of the workspace."""
    folder = Path(settings.CHECKPOINT_DIR) / slug
    for path in sorted(folder.glob("*.note")):
        note = _read(path)
        if note is None:
            gathered.problems.append(f"checkpoint {path} cannot be read")
        else:
            yield str(path), note


def _read(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return file.read(MAX_NOTE_BYTES)
    except (OSError, UnicodeDecodeError):
        return None

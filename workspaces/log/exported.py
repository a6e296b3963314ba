"""Read an export of a log again: whole, signed, and the continuation of what the database has."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from workspaces.log.canonical import NotCanonicalError, hash_document
from workspaces.log.checkpoints import parse_statement
from workspaces.log.models import EventSeal
from workspaces.log.notes import BadNoteError, VerifierKey, open_note

Document = dict[str, Any]


class BadExportError(Exception):
    """A file is no whole export of the log that this database has. One line says why."""


def read_later_events(path: Path, slug: str, keys: Collection[VerifierKey]) -> Iterator[Document]:
    """Yield the events of a JSONL export that are later than what the database has, in order.

    The memory that it takes does not grow with the file. Only once all are yielded it is known that
    the file is whole and signed by one of `keys`: change nothing before. Raises BadExportError.
    """
    head = EventSeal.objects.filter(workspace=slug).order_by("-sequence").first()
    last_sequence, last_hash = (head.sequence, head.hash) if head else (0, "0" * 64)
    before: Document | None = None
    for line in _read_lines(path):
        if "checkpoint" in line:
            _require_signed(path, slug, before, line, keys)
            return
        _require_next(path, slug, before, line)
        if line["sequence"] == last_sequence and line["hash"] != last_hash:
            raise BadExportError(f"{path} is of another log: event {last_sequence} differs")
        if line["sequence"] == last_sequence + 1 and line["previous_hash"] != last_hash:
            raise BadExportError(f"{path} does not continue the log after event {last_sequence}")
        if before is None and line["sequence"] > last_sequence + 1:
            raise BadExportError(
                f"{path} begins with event {line['sequence']}, and the log ends at "
                f"{last_sequence}: export all since then"
            )
        before = line
        if line["sequence"] > last_sequence:
            yield line
    raise BadExportError(f"{path} is not whole: its checkpoint is missing")


def find_slug(path: Path) -> str:
    """Return the workspace of an export's first event. Raises BadExportError."""
    for line in _read_lines(path):
        return str(line.get("workspace", ""))
    raise BadExportError(f"{path} has no events")


def _read_lines(path: Path) -> Iterator[Document]:
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                read = json.loads(line)
                if not isinstance(read, dict):
                    raise BadExportError(f"{path} is no export in JSONL")
                yield read
    except (OSError, ValueError) as error:
        raise BadExportError(f"{path} cannot be read as an export in JSONL: {error}") from error


def _require_next(path: Path, slug: str, before: Document | None, line: Document) -> None:
    """Raise BadExportError if an event is not what was sealed, or doesn't follow the last one."""
    document = {name: value for name, value in line.items() if name not in _SEAL}
    try:
        is_sealed = hash_document(line["previous_hash"], document) == line["hash"]
        is_ours = line["workspace"] == slug and isinstance(line["sequence"], int)
    except (KeyError, NotCanonicalError) as error:
        raise BadExportError(f"{path} has a line that is no event: {error}") from error
    if not (is_sealed and is_ours):
        raise BadExportError(f"{path}: event {line['sequence']} of {slug} was changed")
    if before is not None and (
        line["sequence"] != before["sequence"] + 1 or line["previous_hash"] != before["hash"]
    ):
        raise BadExportError(
            f"{path} leaves events out after {before['sequence']}: export without a filter"
        )


_SEAL = ("hash", "previous_hash")


def _require_signed(
    path: Path,
    slug: str,
    last: Document | None,
    end: Document,
    keys: Collection[VerifierKey],
) -> None:
    """Raise BadExportError if the checkpoint at the end is not of the last event."""
    try:
        statement = parse_statement(open_note(end["checkpoint"], list(keys)))
    except BadNoteError as error:
        raise BadExportError(f"{path}: its checkpoint: {error}") from error
    place = (last["sequence"], last["hash"]) if last else (0, "")
    is_ours = statement.origin.endswith(f"/{slug}/lock-log")
    if not is_ours or (statement.sequence, statement.hash) != place:
        raise BadExportError(f"{path} does not end where its checkpoint was made")

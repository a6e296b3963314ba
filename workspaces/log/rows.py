"""How an export writes an event: a line of JSON for programs, or a row of CSV for people."""

import csv
import io
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple

from workspaces.log.canonical import canonical_json


class ExportFormat(StrEnum):
    """What an export can be."""

    JSONL = "jsonl"
    CSV = "csv"

    @property
    def content_type(self) -> str:
        return _CONTENT_TYPES[self]


_CONTENT_TYPES = {
    ExportFormat.JSONL: "application/x-ndjson",
    ExportFormat.CSV: "text/csv; charset=utf-8; header=present",
}

CSV_COLUMNS = (
    "sequence",
    "at",
    "ref",
    "kind",
    "workspace",
    "repository",
    "tag",
    "digest",
    "other_digest",
    "actor",
    "actor_kind",
    "rule_name",
    "rule_pattern",
    "settings_version",
    "reason",
    "details",
    "origin_hash",
    "hash",
)

# A spreadsheet takes a cell that begins with one of these for a formula, and runs it. The last
# four are the wide forms of the first four.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

# One that splits at semicolons or tabs does not take our quotes for quotes: it makes a cell of what
# follows those, or an end of line, in the middle of a text.
_FORMULA_INSIDE = re.compile('([;\t\r\n]"*)(?=[-=+@＝＋－＠])')


class SealedEvent(NamedTuple):
    """An event as it was sealed: what was hashed, the hash, and the hash before it."""

    document: dict[str, Any]
    hash: str
    previous_hash: str


def begin_file(file_format: ExportFormat) -> str:
    """Return what stands before the first event."""
    return _to_csv([CSV_COLUMNS]) if file_format is ExportFormat.CSV else ""


def write_events(file_format: ExportFormat, events: Iterable[SealedEvent]) -> str:
    """Return the lines of these events."""
    if file_format is ExportFormat.CSV:
        return _to_csv(_to_row(event) for event in events)
    lines = (
        canonical_json({**event.document, "hash": event.hash, "previous_hash": event.previous_hash})
        for event in events
    )
    return "".join(f"{line}\n" for line in lines)


def end_file(file_format: ExportFormat, note: str, verifier_key: str) -> str:
    """Return what follows the last event: in JSONL, the checkpoint. A CSV has only rows."""
    if file_format is ExportFormat.CSV:
        return ""
    return canonical_json({"checkpoint": note, "verifier_key": verifier_key}) + "\n"


def _to_row(event: SealedEvent) -> list[str]:
    values = {**event.document, "hash": event.hash}
    return [_to_cell(values[name]) for name in CSV_COLUMNS]


def _to_cell(value: Any) -> str:
    """Return the text of a cell, which no spreadsheet takes for a formula."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else canonical_json(value)
    text = _FORMULA_INSIDE.sub(r"\1'", text)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _to_csv(rows: Iterable[Iterable[str]]) -> str:
    """Return rows as RFC 4180 has them, with quotes around every cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n", quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue()

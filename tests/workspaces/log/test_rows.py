"""How an export writes events: JSON lines that can be verified, and CSV that is safe to open."""

import csv
import io
import json
from typing import Any

import pytest

from workspaces.log.canonical import canonical_json
from workspaces.log.rows import (
    CSV_COLUMNS,
    ExportFormat,
    SealedEvent,
    begin_file,
    end_file,
    write_events,
)

DOCUMENT: dict[str, Any] = {
    **dict.fromkeys(CSV_COLUMNS, ""),
    "sequence": 7,
    "at": "2026-03-12T14:02:33.000120Z",
    "actor": "dana",
    "reason": "because",
    "settings_version": None,
    "details": None,
}
del DOCUMENT["hash"]


def sealed(**fields: Any) -> SealedEvent:
    return SealedEvent({**DOCUMENT, **fields}, "a" * 64, "b" * 64)


def read_csv(*events: SealedEvent) -> list[dict[str, str]]:
    text = begin_file(ExportFormat.CSV) + write_events(ExportFormat.CSV, events)
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_line_of_json_is_the_document_with_its_hashes_in_canonical_form() -> None:
    event = sealed(reason="Ümlaut €\n")
    line = write_events(ExportFormat.JSONL, [event])
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert json.loads(line) == {
        **event.document,
        "hash": "a" * 64,
        "previous_hash": "b" * 64,
    }
    assert line == canonical_json(json.loads(line)) + "\n"


def test_the_last_line_of_json_is_the_checkpoint_and_a_table_has_rows_alone() -> None:
    last = json.loads(end_file(ExportFormat.JSONL, "note\n", "key"))
    assert last == {"checkpoint": "note\n", "verifier_key": "key"}
    assert begin_file(ExportFormat.JSONL) == ""
    assert end_file(ExportFormat.CSV, "note\n", "key") == ""


def test_a_table_has_a_row_of_names_first_and_a_row_for_each_event() -> None:
    text = begin_file(ExportFormat.CSV) + write_events(ExportFormat.CSV, [sealed()] * 3)
    lines = text.split("\r\n")
    assert lines[0] == ",".join(CSV_COLUMNS)
    assert len(lines) == 5
    assert lines[-1] == ""


def test_every_field_of_an_event_is_a_column() -> None:
    (row,) = read_csv(sealed(details={"count": 3, "b": "ü"}, settings_version=12))
    assert row["details"] == '{"b": "ü", "count": 3}'
    assert row["settings_version"] == "12"
    assert row["sequence"] == "7"
    assert row["hash"] == "a" * 64
    assert row["at"] == DOCUMENT["at"]
    assert {*DOCUMENT, "hash"} == set(CSV_COLUMNS)


def test_what_has_commas_quotes_and_line_breaks_comes_back_as_it_was() -> None:
    reason = 'a, "quoted"\r\nsecond line, \x1f'
    (row,) = read_csv(sealed(reason=reason))
    assert row["reason"] == reason


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
@pytest.mark.parametrize("column", ["actor", "reason", "rule_pattern", "details"])
def test_no_cell_begins_as_a_formula(start: str, column: str) -> None:
    payload = f'{start}HYPERLINK("http://evil.example","x")'
    (row,) = read_csv(sealed(**{column: payload}))
    assert row[column] == f"'{payload}"


@pytest.mark.parametrize("text", ["a=1", "^-", " =1", "'=1", "", "{=}"])
def test_other_cells_are_as_they_are(text: str) -> None:
    (row,) = read_csv(sealed(reason=text))
    assert row["reason"] == text

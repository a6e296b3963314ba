"""Exports: what is in them, and how much memory and how many queries they take."""

import csv
import gc
import io
import json
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import StreamingHttpResponse
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.conftest import AA, BB
from tests.static.exports import SCRIPT
from tests.workspaces.log.conftest import Write
from tests.workspaces.log.exporting import access_of, ask, read, read_lines, take
from workspaces.access import Role
from workspaces.caller_access import Access
from workspaces.log.canonical import FIRST_PREVIOUS_HASH, hash_document
from workspaces.log.checkpoints import parse_statement
from workspaces.log.export import (
    EVENTS_PER_BATCH,
    ExportForm,
    begin_export,
    export_log,
)
from workspaces.log.keys import verifier_key
from workspaces.log.models import Checkpoint, EventSeal, LockEvent, LogExport
from workspaces.log.notes import open_note, parse_verifier_key
from workspaces.log.seal import seal_events
from workspaces.models import Workspace

pytestmark = pytest.mark.usefixtures("no_export_is_left")


# What is in the file.


def test_every_event_is_in_it_in_the_order_of_the_chain(write: Write, auditor: Access) -> None:
    write(5)
    events, _ = read_lines(auditor)
    assert [event["sequence"] for event in events] == [1, 2, 3, 4, 5, 6]
    in_order = LockEvent.objects.filter(workspace="acme").order_by("id")
    assert [event["ref"] for event in events] == [row.ref for row in in_order]


def test_whoever_has_the_file_can_compute_every_hash_and_verify_the_checkpoint(
    write: Write, auditor: Access
) -> None:
    write(5)
    events, last = read_lines(auditor)
    previous = FIRST_PREVIOUS_HASH
    for event in events:
        claimed, before = event.pop("hash"), event.pop("previous_hash")
        assert before == previous
        previous = hash_document(before, event)
        assert previous == claimed
    assert last["verifier_key"] == verifier_key()
    text = open_note(last["checkpoint"], [parse_verifier_key(last["verifier_key"])])
    statement = parse_statement(text)
    assert (statement.sequence, statement.hash) == (6, previous)


@pytest.mark.parametrize(
    ("wanted", "options"), [({}, []), ({"tag": "v1"}, ["--filtered"])], ids=["whole", "filtered"]
)
def test_the_script_for_auditors_verifies_it(
    write: Write, auditor: Access, tmp_path: Path, wanted: dict[str, str], options: list[str]
) -> None:
    write(5)
    file = tmp_path / "acme.jsonl"
    file.write_text(read(begin_export(auditor, ask(**wanted))))
    command = [sys.executable, str(SCRIPT), str(file), "--key", verifier_key(), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    file.write_text(file.read_text().replace('"v1"', '"v2"'))
    assert subprocess.run(command, capture_output=True).returncode == 1


def test_a_table_has_the_same_events(write: Write, auditor: Access) -> None:
    write(5)
    text = read(begin_export(auditor, ask("csv")))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    events, _ = read_lines(auditor)
    assert [row["hash"] for row in rows] == [event["hash"] for event in events]
    assert rows[-1]["details"] == '{"number":4,"text":"Ümlaut €"}'


@pytest.mark.parametrize(
    ("wanted", "tags"),
    [
        ({"tag": "v3"}, ["v3"]),
        ({"repository": "acme/api", "kind": "push.refused"}, ["v0", "v1", "v2", "v3"]),
        ({"digest": "bbbb"}, ["v0", "v1", "v2", "v3"]),
        ({"digest": AA}, ["v0", "v1", "v2", "v3"]),
        ({"rule": "Releases", "actor": "dana", "tag": "v1"}, ["v1"]),
        ({"until": "2020-01-01"}, []),
    ],
)
def test_filters_narrow_the_file_and_each_event_keeps_its_place_in_the_chain(
    write: Write, auditor: Access, wanted: dict[str, str], tags: list[str]
) -> None:
    write(4)
    events, last = read_lines(auditor, **wanted)
    assert [event["tag"] for event in events] == tags
    for event in events:
        before = EventSeal.objects.get(workspace="acme", sequence=event["sequence"] - 1)
        assert event["previous_hash"] == before.hash
    assert last["checkpoint"]


def test_what_was_just_recorded_is_sealed_first(write: Write, auditor: Access) -> None:
    write(3)
    assert not EventSeal.objects.exists()
    assert len(read_lines(auditor)[0]) == 4


def test_what_is_recorded_after_the_beginning_is_not_in_it(write: Write, auditor: Access) -> None:
    write(3)
    stream = begin_export(auditor, ask())
    write(3)
    seal_events()
    assert len(read(stream).splitlines()) == 4 + 1


def test_what_could_not_be_sealed_is_not_in_it_and_a_header_says_how_much(
    write: Write, auditor: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(2)
    seal_events()
    write(3)
    # Another process is at it.
    for name in ("current", "checkpoints"):
        monkeypatch.setattr(f"workspaces.log.{name}.seal_for", lambda *_: 0)
    response = export_log(auditor, ask())
    assert isinstance(response, StreamingHttpResponse)
    assert len(take(response).splitlines()) == 3 + 1
    assert response["Taglock-Unsealed-Events"] == "3"


def test_other_workspaces_are_not_in_it(write: Write, globex: Workspace, auditor: Access) -> None:
    write(2)
    write(2, "globex")
    assert {event["workspace"] for event in read_lines(auditor)[0]} == {"acme"}


def test_a_chain_that_has_not_moved_gets_no_further_checkpoint(
    write: Write, auditor: Access
) -> None:
    write(2)
    first, second = read_lines(auditor)[1], read_lines(auditor)[1]
    assert first == second
    write(1)
    assert read_lines(auditor)[1] != first
    assert Checkpoint.objects.count() == 2


def test_the_file_is_named_after_the_workspace_and_the_day(write: Write, auditor: Access) -> None:
    write(1)
    for file_format, content_type in (
        ("jsonl", "application/x-ndjson"),
        ("csv", "text/csv; charset=utf-8; header=present"),
    ):
        response = export_log(auditor, ask(file_format))
        today = f"{timezone.now():%Y-%m-%d}"
        name = f"acme-lock-log-{today}.{file_format}"
        assert response["Content-Disposition"] == f'attachment; filename="{name}"'
        assert response["Content-Type"] == content_type
        assert response["Cache-Control"] == "no-store"
        take(response)


def test_who_asks_for_the_head_alone_begins_no_export(write: Write, auditor: Access) -> None:
    write(1)
    response = export_log(auditor, ask(), is_head=True)
    assert "attachment" in response["Content-Disposition"]
    assert not LogExport.objects.exists()


def test_members_export_nothing(acme: Workspace) -> None:
    with pytest.raises(PermissionDenied):
        export_log(access_of(acme, Role.MEMBER), ask())


def test_without_a_format_there_is_no_export() -> None:
    assert "format" in ExportForm({}).errors
    assert "format" in ExportForm({"format": "xml"}).errors


# Memory and queries.


@pytest.mark.usefixtures("batches")
@pytest.mark.parametrize("wanted", [{}, {"kind": "push.refused"}])
def test_each_batch_is_one_query_and_each_fifth_reports(
    write: Write, auditor: Access, wanted: dict[str, str]
) -> None:
    def count_queries(events: int) -> int:
        write(events)
        seal_events()
        stream = begin_export(auditor, ask(**wanted))
        with CaptureQueriesContext(connection) as queries:
            read(stream)
        return len(queries)

    few = count_queries(95)
    assert count_queries(100) - few == 10 + 2


@pytest.mark.usefixtures("batches")
def test_a_narrow_export_looks_only_where_its_events_are(write: Write, auditor: Access) -> None:
    write(100)
    write(1)
    seal_events()
    with CaptureQueriesContext(connection) as queries:
        text = read(begin_export(auditor, ask(tag="v40")))
    assert json.loads(text.splitlines()[0])["sequence"] == 42
    (batch,) = (each["sql"] for each in queries if "previous_hash" in each["sql"])
    assert re.search(r'"sequence" > 41 AND .*"sequence" <= 42\b', batch), batch
    # How many there are, and where they begin and end, is one query.
    (counting,) = (
        each["sql"] for each in queries if "MIN(" in each["sql"] and "v40" in each["sql"]
    )
    assert "COUNT(" in counting
    assert "MAX(" in counting
    assert read(begin_export(auditor, ask(tag="none"))).count("\n") == 1


@pytest.mark.usefixtures("batches")
@pytest.mark.parametrize("count", [8, 9, 10, 18, 19, 20, 29])
def test_batches_of_any_number_give_each_event_once(
    write: Write, auditor: Access, count: int
) -> None:
    write(count)
    events, _ = read_lines(auditor)
    assert [event["sequence"] for event in events] == list(range(1, count + 2))


@pytest.mark.slow
def test_memory_stays_where_it_is_however_long_the_log(
    auditor: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 5_000
    # Straight into the tables: what is measured is the export alone.
    LockEvent.objects.bulk_create(
        LockEvent(
            ref=f"{number:012}",
            workspace="acme",
            kind="push.refused",
            repository="acme/api",
            tag=f"v{number}",
            digest=AA,
            other_digest=BB,
            actor="dana",
            actor_kind="registry",
            details={"number": number},
        )
        for number in range(count)
    )
    ids = LockEvent.objects.filter(workspace="acme").order_by("id").values_list("id", flat=True)
    EventSeal.objects.bulk_create(
        (
            EventSeal(workspace="acme", sequence=sequence, event_id=event_id, hash="0" * 64)
            for sequence, event_id in enumerate(ids, start=1)
        ),
        batch_size=5000,
    )
    stream = begin_export(auditor, ask())
    first = next(stream) + next(stream)
    lines = first.count(b"\n")
    gc.collect()
    tracemalloc.start()
    try:
        for chunk in stream:
            lines += chunk.count(b"\n")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        stream.close()
    assert lines == count + 1 + 1
    # A batch of a thousand events; all of them would be five times as much.
    assert peak < 8 * 1024 * 1024, f"{peak:,} bytes"
    assert EVENTS_PER_BATCH == 1000

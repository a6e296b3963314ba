"""What is said of an export while it is in progress, and how many may be."""

import gc
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db import DatabaseError
from django.utils import timezone

from containers.prefixes import create_workspace
from tests.workspaces.log.conftest import Write
from tests.workspaces.log.exporting import access_of, ask, read
from workspaces.access import SYSTEM, Role
from workspaces.caller_access import Access
from workspaces.log import export as export_module
from workspaces.log.export import (
    ExportStream,
    begin_export,
    export_log,
    forget_exports,
)
from workspaces.log.export_slots import MAX_EXPORTS_AT_ONCE, TooManyExportsError
from workspaces.log.models import LogExport
from workspaces.models import Workspace

pytestmark = pytest.mark.usefixtures("no_export_is_left")


def progress(row_id: UUID | None = None) -> tuple[str, int, int]:
    row = LogExport.objects.get(id=row_id) if row_id else LogExport.objects.get()
    return row.state, row.done, row.total


@pytest.mark.usefixtures("batches")
def test_an_export_says_how_far_it_is_and_when_it_is_done(write: Write, auditor: Access) -> None:
    write(99)
    export_id = uuid4()
    stream = begin_export(auditor, ask(export=str(export_id)))
    assert progress(export_id) == ("running", 0, 100)
    for _ in range(1 + 5 + 1):
        next(stream)
    assert progress(export_id) == ("running", 50, 100)
    read(stream)
    assert progress(export_id) == ("done", 100, 100)
    assert LogExport.objects.get().actor == "olga"


def test_the_total_is_of_what_matches(write: Write, auditor: Access) -> None:
    write(9)
    read(begin_export(auditor, ask(tag="v1")))
    assert progress() == ("done", 1, 1)


@pytest.mark.usefixtures("batches")
def test_a_download_that_is_given_up_is_stopped(write: Write, auditor: Access) -> None:
    write(99)
    stream = begin_export(auditor, ask())
    for _ in range(3):
        next(stream)
    stream.close()
    stream.close()
    assert progress() == ("stopped", 20, 100)
    assert list(stream) == []


def test_a_download_that_is_given_up_before_its_first_byte_is_stopped(
    write: Write, auditor: Access
) -> None:
    write(9)
    begin_export(auditor, ask()).close()
    assert progress() == ("stopped", 0, 10)


def test_an_export_whose_database_goes_away_ends_and_gives_its_place_back(
    write: Write, auditor: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(9)
    stream = begin_export(auditor, ask())

    def fail(*_: object) -> None:
        raise DatabaseError("gone")

    next(stream)
    monkeypatch.setattr(ExportStream, "_report", fail)
    monkeypatch.setattr(ExportStream, "_write_batch", fail)
    with pytest.raises(DatabaseError):
        next(stream)
    stream.close()


def test_the_same_id_begins_anew_and_that_of_somebody_else_does_not(
    write: Write, auditor: Access, globex: Workspace
) -> None:
    write(9)
    export_id = uuid4()
    for _ in range(2):
        read(begin_export(auditor, ask(export=str(export_id))))
    assert progress(export_id) == ("done", 10, 10)
    theirs = LogExport.objects.create(workspace="globex", actor="mallory", total=77)
    read(begin_export(auditor, ask(export=str(theirs.id))))
    assert progress(theirs.id) == ("running", 0, 77)
    assert LogExport.objects.filter(workspace="acme").count() == 2


# How many at once.


def test_one_workspace_takes_one_place_and_leaves_the_other_to_others(
    write: Write, auditor: Access, globex: Workspace
) -> None:
    initech = create_workspace("initech", "Initech", actor=SYSTEM)
    write(1)
    write(1, "globex")
    write(1, "initech")
    theirs, third = access_of(globex, Role.AUDITOR), access_of(initech, Role.AUDITOR)
    stream = begin_export(auditor, ask())
    with pytest.raises(TooManyExportsError, match="An export of this log is already running"):
        begin_export(auditor, ask())
    other = begin_export(theirs, ask())
    with pytest.raises(TooManyExportsError, match="2 exports are already running"):
        begin_export(third, ask())
    assert LogExport.objects.count() == 2
    stream.close()
    read(begin_export(third, ask()))
    read(begin_export(auditor, ask()))
    other.close()


def test_an_answer_that_comes_to_nothing_before_it_is_sent_keeps_no_place(
    write: Write, auditor: Access
) -> None:
    write(1)
    for _ in range(MAX_EXPORTS_AT_ONCE + 1):
        # A middleware failed, and nobody closed what was to be streamed.
        export_log(auditor, ask())
        gc.collect()
    stream = begin_export(auditor, ask())
    next(stream)
    del stream
    gc.collect()
    read(begin_export(auditor, ask()))


@pytest.mark.parametrize("broken", ["count_unsealed", "_name"])
def test_an_answer_that_cannot_be_made_stops_its_export(
    write: Write, auditor: Access, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    write(1)

    def fail(*_: object) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(export_module, broken, fail)
    failures = []
    for _ in range(MAX_EXPORTS_AT_ONCE + 1):
        # Kept, and what was in progress when it failed with it.
        with pytest.raises(DatabaseError) as failure:
            export_log(auditor, ask())
        failures.append(failure)
    assert {row.state for row in LogExport.objects.all()} == {"stopped"}


@pytest.mark.parametrize("broken", ["current_checkpoint", "_begin_row"])
def test_an_export_that_cannot_begin_takes_no_place(
    write: Write, auditor: Access, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    write(1)

    def fail(*_: object) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(export_module, broken, fail)
    for _ in range(MAX_EXPORTS_AT_ONCE + 1):
        with pytest.raises(DatabaseError):
            begin_export(auditor, ask())


def test_what_is_kept_of_an_export_is_forgotten_after_a_day(acme: Workspace) -> None:
    for age in (timedelta(hours=23), timedelta(hours=25), timedelta(days=9)):
        LogExport.objects.create(
            workspace="acme", actor="olga", total=1, started_at=timezone.now() - age
        )
    assert forget_exports() == 2
    assert LogExport.objects.count() == 1

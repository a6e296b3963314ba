"""What is said of an export while it is under way, and how many may be."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db import DatabaseError
from django.utils import timezone

from tests.workspaces.log.conftest import Write
from tests.workspaces.log.exporting import ask, read
from workspaces.callers import Access
from workspaces.log import export as export_module
from workspaces.log.export import (
    MAX_EXPORTS_AT_ONCE,
    ExportStream,
    TooManyExportsError,
    begin_export,
    forget_exports,
)
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


def test_a_third_export_at_once_is_told_to_wait(write: Write, auditor: Access) -> None:
    write(1)
    streams = [begin_export(auditor, ask()) for _ in range(MAX_EXPORTS_AT_ONCE)]
    with pytest.raises(TooManyExportsError, match="2 exports are under way already"):
        begin_export(auditor, ask())
    assert LogExport.objects.count() == 2
    streams[0].close()
    read(begin_export(auditor, ask()))
    streams[1].close()


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

"""Export the log: the sealed events up to a checkpoint, as a stream, in constant memory."""

import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django import forms
from django.db import DatabaseError
from django.db.models import F, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Now
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils import timezone

from workspaces.access import Permission
from workspaces.callers import Access
from workspaces.log.canonical import FIRST_PREVIOUS_HASH, to_document
from workspaces.log.current import current_checkpoint
from workspaces.log.keys import verifier_key
from workspaces.log.models import Checkpoint, EventSeal, LockEvent, LogExport
from workspaces.log.query import LogFilterForm
from workspaces.log.rows import ExportFormat, SealedEvent, begin_file, end_file, write_events
from workspaces.log.seal import count_unsealed

EVENTS_PER_BATCH = 1000
BATCHES_PER_REPORT = 5
MAX_EXPORTS_AT_ONCE = 2
RETRY_AFTER_SECONDS = 30
KEPT_FOR = timedelta(days=1)

_places = threading.BoundedSemaphore(MAX_EXPORTS_AT_ONCE)


class TooManyExportsError(Exception):
    """This process writes as many exports as it may. The message says what to do."""

    def __init__(self) -> None:
        super().__init__(
            f"{MAX_EXPORTS_AT_ONCE} exports are under way already. Try again when one has ended."
        )


class ExportForm(LogFilterForm):
    """The filters of the list, the format, and under which id the page asks for the progress."""

    format = forms.ChoiceField(
        choices=[
            (ExportFormat.JSONL.value, "JSON lines: every event as it was sealed, to be verified"),
            (ExportFormat.CSV.value, "CSV: a table for a spreadsheet"),
        ],
        widget=forms.RadioSelect,
        initial=ExportFormat.JSONL.value,
        error_messages={"required": "Choose a format: csv or jsonl."},
    )
    export = forms.UUIDField(required=False, widget=forms.HiddenInput)


class ExportStream:
    """The bytes of one export. Whoever takes them closes it, whether or not all were taken."""

    def __init__(
        self,
        row: LogExport,
        events: QuerySet[Any],
        checkpoint: Checkpoint,
        file_format: ExportFormat,
    ) -> None:
        self._row = row
        self._events = events
        self._checkpoint = checkpoint
        self._format = file_format
        self._done = 0
        self._is_whole = False
        self._is_closed = False
        self._chunks = self._write()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        """Give the place back, and say how the export ended. Closing it again does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._chunks.close()
        _places.release()
        # Where the database is away, the export is, too; nothing more is to be said of it.
        with suppress(DatabaseError):
            self._report(LogExport.State.DONE if self._is_whole else LogExport.State.STOPPED)

    def _write(self) -> Generator[bytes, None, None]:
        yield begin_file(self._format).encode()
        last: int | None = 0
        batches = 0
        while last is not None:
            text, last = self._write_batch(last)
            yield text
            batches += 1
            if batches % BATCHES_PER_REPORT == 0:
                self._report(LogExport.State.RUNNING)
        yield end_file(self._format, self._checkpoint.note, verifier_key()).encode()
        self._is_whole = True

    def _write_batch(self, after: int) -> tuple[bytes, int | None]:
        """Return the lines of the next events after a sequence, and the sequence of the last one.

        None in its place: no more will follow. Each batch is a query of its own, in no transaction.
        """
        events = [
            SealedEvent(to_document(event, event.sequence), event.hash, event.previous_hash)
            for event in self._events.filter(seal__sequence__gt=after)[:EVENTS_PER_BATCH]
        ]
        self._done += len(events)
        is_full = len(events) == EVENTS_PER_BATCH
        last = events[-1].document["sequence"] if is_full else None
        return write_events(self._format, events).encode(), last

    def _report(self, state: LogExport.State) -> None:
        LogExport.objects.filter(id=self._row.id).update(
            done=self._done, state=state, moved_at=Now()
        )


def export_log(access: Access, form: ExportForm, *, is_head: bool = False) -> HttpResponseBase:
    """Return the answer that streams what matches a valid `form`, up to a checkpoint made now.

    Events that cannot be sealed yet are left out; a header says how many. With `is_head`, nothing
    is exported. Raises PermissionDenied, TooManyExportsError, NothingSealedError and KeyFileError.
    """
    access.require(Permission.VIEW_ALL_EVENTS)
    file_format = ExportFormat(form.cleaned_data["format"])
    slug = access.workspace.slug
    response: HttpResponseBase
    if is_head:
        response = HttpResponse(content_type=file_format.content_type)
    else:
        response = StreamingHttpResponse(
            begin_export(access, form), content_type=file_format.content_type
        )
        response["Taglock-Unsealed-Events"] = str(count_unsealed(slug).count)
    name = f"{slug}-lock-log-{timezone.now():%Y-%m-%d}.{file_format}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response


def begin_export(access: Access, form: ExportForm) -> ExportStream:
    """Seal, make a checkpoint, and return the stream.

    Raises TooManyExportsError, NothingSealedError and KeyFileError.
    """
    if not _places.acquire(blocking=False):
        raise TooManyExportsError
    try:
        slug = access.workspace.slug
        checkpoint = current_checkpoint(slug)
        events = _find_sealed(slug, checkpoint, form)
        total = events.count() if form.is_narrowing else checkpoint.sequence
        row = _begin_row(access, form.cleaned_data["export"], total)
        return ExportStream(row, events, checkpoint, ExportFormat(form.cleaned_data["format"]))
    except BaseException:
        _places.release()
        raise


def forget_exports() -> int:
    """Delete what is kept of exports that began more than a day ago; return how many."""
    return LogExport.objects.filter(started_at__lt=Now() - KEPT_FOR).delete()[0]


def _find_sealed(slug: str, checkpoint: Checkpoint, form: LogFilterForm) -> QuerySet[Any]:
    """Return the events that match, in the order of the chain, each with its place in it.

    Events that bear what is of their seals: objects that knew each other would be kept until the
    garbage is collected.
    """
    previous = EventSeal.objects.filter(workspace=slug, sequence=OuterRef("seal__sequence") - 1)
    return (
        LockEvent.objects.filter(
            form.to_condition(),
            workspace=slug,
            seal__workspace=slug,
            seal__sequence__lte=checkpoint.sequence,
        )
        .annotate(
            sequence=F("seal__sequence"),
            hash=F("seal__hash"),
            previous_hash=Coalesce(
                Subquery(previous.values("hash")[:1]), Value(FIRST_PREVIOUS_HASH)
            ),
        )
        .order_by("seal__sequence")
    )


def _begin_row(access: Access, export_id: UUID | None, total: int) -> LogExport:
    """Return the row that the page asks for; an id that is somebody else's gets a new one."""
    slug, actor = access.workspace.slug, access.actor.name
    if export_id is not None:
        same = LogExport.objects.filter(id=export_id)
        if same.filter(workspace=slug, actor=actor).update(
            total=total, done=0, state=LogExport.State.RUNNING, moved_at=Now()
        ):
            return same.get()
        if same.exists():
            export_id = None
    return LogExport.objects.create(
        id=export_id or uuid4(), workspace=slug, actor=actor, total=total
    )

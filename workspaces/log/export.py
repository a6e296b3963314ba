"""Export the log: the sealed events up to a checkpoint, as a stream, in constant memory."""

from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django import forms
from django.db import DatabaseError
from django.db.models import Count, F, Max, Min, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Now
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils import timezone

from workspaces.access import Permission
from workspaces.caller_access import Access
from workspaces.log.canonical import FIRST_PREVIOUS_HASH, to_document
from workspaces.log.current import current_checkpoint
from workspaces.log.export_slots import ExportSlot, ExportSlots
from workspaces.log.keys import verifier_key
from workspaces.log.models import Checkpoint, EventSeal, LockEvent, LogExport
from workspaces.log.query import LogFilterForm
from workspaces.log.rows import ExportFormat, SealedEvent, begin_file, end_file, write_events
from workspaces.log.seal import count_unsealed

EVENTS_PER_BATCH = 1000
BATCHES_PER_REPORT = 5
RETRY_AFTER_SECONDS = 30
KEPT_FOR = timedelta(days=1)

_slots = ExportSlots()


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


@dataclass(frozen=True)
class Matches:
    """The sealed events to be exported: how many, and from where to where in the chain.

    A database that goes through the chain to find a batch begins where the first one is, and ends
    where the last one is, however few there are in between.
    """

    slug: str
    sealed: QuerySet[LockEvent]
    count: int
    first: int
    last: int

    def after(self, sequence: int) -> QuerySet[Any]:
        """Return those behind a place of the chain, in its order, each with its own place in it.

        Events that bear what is of their seals: objects that knew each other would be kept until
        the garbage is collected.
        """
        previous = EventSeal.objects.filter(
            workspace=self.slug, sequence=OuterRef("seal__sequence") - 1
        )
        return (
            self.sealed.filter(seal__sequence__gt=sequence, seal__sequence__lte=self.last)
            .annotate(
                sequence=F("seal__sequence"),
                hash=F("seal__hash"),
                previous_hash=Coalesce(
                    Subquery(previous.values("hash")[:1]), Value(FIRST_PREVIOUS_HASH)
                ),
            )
            .order_by("seal__sequence")
        )


class ExportStream:
    """The bytes of one export. The consumer closes it, whether or not it took them all."""

    def __init__(
        self,
        slot: ExportSlot,
        row: LogExport,
        matches: Matches,
        checkpoint: Checkpoint,
        file_format: ExportFormat,
    ) -> None:
        self._slot = slot
        self._row = row
        self._matches = matches
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
        """Give the slot back, and say how the export ended. Closing it again does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._chunks.close()
        _slots.give_back(self._slot)
        # Where the database is away, the export is, too; nothing more is to be said of it.
        with suppress(DatabaseError):
            self._report(LogExport.State.DONE if self._is_whole else LogExport.State.STOPPED)

    def _write(self) -> Generator[bytes, None, None]:
        yield begin_file(self._format).encode()
        last: int | None = self._matches.first - 1
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
            for event in self._matches.after(after)[:EVENTS_PER_BATCH]
        ]
        self._done += len(events)
        last = events[-1].document["sequence"] if len(events) == EVENTS_PER_BATCH else None
        is_last = last is None or last >= self._matches.last
        return write_events(self._format, events).encode(), None if is_last else last

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
    if is_head:
        return _name(HttpResponse(content_type=file_format.content_type), slug, file_format)
    stream = begin_export(access, form)
    try:
        response = StreamingHttpResponse(stream, content_type=file_format.content_type)
        response["Taglock-Unsealed-Events"] = str(count_unsealed(slug).count)
        return _name(response, slug, file_format)
    except BaseException:
        stream.close()
        raise


def _name(response: HttpResponseBase, slug: str, file_format: ExportFormat) -> HttpResponseBase:
    """Let an answer be kept as a file."""
    name = f"{slug}-lock-log-{timezone.now():%Y-%m-%d}.{file_format}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    return response


def begin_export(access: Access, form: ExportForm) -> ExportStream:
    """Seal, make a checkpoint, and return the stream.

    Raises TooManyExportsError, NothingSealedError and KeyFileError.
    """
    slug = access.workspace.slug
    slot = _slots.take(slug)
    try:
        checkpoint = current_checkpoint(slug)
        matches = _find_matches(slug, checkpoint, form)
        row = _begin_row(access, form.cleaned_data["export"], matches.count)
        file_format = ExportFormat(form.cleaned_data["format"])
        return ExportStream(slot, row, matches, checkpoint, file_format)
    except BaseException:
        _slots.give_back(slot)
        raise


def forget_exports() -> int:
    """Delete what is kept of exports that began more than a day ago; return how many."""
    return LogExport.objects.filter(started_at__lt=Now() - KEPT_FOR).delete()[0]


def _find_matches(slug: str, checkpoint: Checkpoint, form: LogFilterForm) -> Matches:
    """Return what matches a valid `form`, up to a checkpoint."""
    sealed = LockEvent.objects.filter(
        form.to_whole_condition(slug),
        workspace=slug,
        seal__workspace=slug,
        seal__sequence__lte=checkpoint.sequence,
    )
    if not form.is_narrowing:
        return Matches(slug, sealed, checkpoint.sequence, 1, checkpoint.sequence)
    found = sealed.aggregate(
        count=Count("id"), first=Min("seal__sequence"), last=Max("seal__sequence")
    )
    return Matches(slug, sealed, found["count"], found["first"] or 1, found["last"] or 0)


def _begin_row(access: Access, export_id: UUID | None, total: int) -> LogExport:
    """Return the row that the page asks for; an id that is someone else's gets a new one."""
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

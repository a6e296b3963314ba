"""The page that exports the lock log, and the progress of an export."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils import timezone

from workspaces.access import Permission
from workspaces.caller_access import Access
from workspaces.log.current import NothingSealedError
from workspaces.log.export import (
    RETRY_AFTER_SECONDS,
    ExportForm,
    export_log,
)
from workspaces.log.export_slots import TooManyExportsError
from workspaces.log.keys import KeyFileError
from workspaces.log.models import LogExport
from workspaces.log.rows import ExportFormat
from workspaces.log.seal import count_unsealed
from workspaces.pages.access import HtmxRequest, workspace_page

# An export that no one reads, or whose process was killed, reports nothing more.
_SILENT_AFTER = timedelta(minutes=2)


@workspace_page(Permission.VIEW_ALL_EVENTS)
def export_page(request: HtmxRequest, access: Access) -> HttpResponse:
    """Ask what to export, beginning with the filters in the address."""
    if not request.GET:
        return _ask(request, access, ExportForm())
    typed = request.GET.copy()
    typed.setdefault("format", ExportFormat.JSONL.value)
    form = ExportForm(typed)
    form.is_valid()
    return _ask(request, access, form)


@workspace_page(Permission.VIEW_ALL_EVENTS)
def download_export(request: HtmxRequest, access: Access) -> HttpResponseBase:
    """Export what was asked for. What cannot be exported is said on a page."""
    form = ExportForm(request.GET)
    if not form.is_valid():
        return _ask(request, access, form, status=422)
    try:
        return export_log(access, form, is_head=request.method == "HEAD")
    except (TooManyExportsError, NothingSealedError) as error:
        detail = str(error)
    except KeyFileError:
        detail = "The lock log's key cannot be read, so nothing can be signed. Tell an operator."
    context = {
        "access": access,
        "can_retry": True,
        "heading": "Nothing was exported",
        "detail": detail,
    }
    response = render(request, "errors/error.html", context, status=503)
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


@workspace_page(Permission.VIEW_ALL_EVENTS)
def export_progress(request: HtmxRequest, access: Access, export_id: UUID) -> HttpResponse:
    """Say how far an export is: a part of the page, which asks for it every second."""
    row = LogExport.objects.filter(id=export_id, workspace=access.workspace.slug).first()
    is_running = row is not None and row.state == LogExport.State.RUNNING
    is_silent = is_running and row is not None and row.moved_at < timezone.now() - _SILENT_AFTER
    context: dict[str, Any] = {
        "access": access,
        "export_id": export_id,
        "row": row,
        "is_silent": is_silent,
        "goes_on": row is None or (is_running and not is_silent),
    }
    return render(request, "workspaces/export_progress.html", context)


def _ask(request: HtmxRequest, access: Access, form: ExportForm, status: int = 200) -> HttpResponse:
    typed_id = form.cleaned_data.get("export") if form.is_bound else None
    context = {
        "access": access,
        "here": "export",
        "form": form,
        "export_id": typed_id or uuid4(),
        "unsealed": count_unsealed(access.workspace.slug),
    }
    return render(request, "workspaces/export.html", context, status=status)

"""The lock log's pages."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import render

from workspaces.access import Permission
from workspaces.callers import Access
from workspaces.log.kinds import TAG_EVENT_KINDS, EventKind
from workspaces.log.models import LockEvent
from workspaces.log.query import LogFilterForm, find_events, visible_events
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.text import find_bad_character


@workspace_page(Permission.VIEW_TAG_EVENTS)
def lock_log(request: HtmxRequest, access: Access) -> HttpResponse:
    """List events, newest first, by the filters in the address."""
    form = LogFilterForm(request.GET)
    if not access.may(Permission.VIEW_ALL_EVENTS):
        form.fields["kind"].choices = [  # type: ignore[attr-defined]
            ("", "Any event"),
            *((kind.value, kind.label) for kind in EventKind if kind in TAG_EVENT_KINDS),
        ]
    context: dict[str, Any] = {
        "access": access,
        "form": form,
        "is_filtered": any(request.GET.values()),
    }
    if form.is_valid():
        page = find_events(access, form, request.GET.get("before", "")[:12])
        query = request.GET.copy()
        query["before"] = page.next_before
        context |= {"page": page, "next_query": query.urlencode() if page.next_before else ""}
    return render(request, "workspaces/lock_log.html", context)


@workspace_page(Permission.VIEW_TAG_EVENTS)
def lock_event(request: HtmxRequest, access: Access, ref: str) -> HttpResponse:
    """Show one event whole. The link in a refusal leads here."""
    if find_bad_character(ref):
        raise Http404
    event = visible_events(access).select_related("origin").filter(ref=ref.upper()).first()
    if event is None:
        if LockEvent.objects.filter(workspace=access.workspace.slug, ref=ref.upper()).exists():
            raise PermissionDenied("Events of settings and people are for admins and auditors.")
        raise Http404
    repeats = sum(event.repeats.values_list("count", flat=True))
    return render(
        request,
        "workspaces/lock_event.html",
        {
            "access": access,
            "event": event,
            "kind": EventKind(event.kind),
            "repeats": repeats,
            "changes": _list_changes(event),
            "details": _list_details(event),
        },
    )


def _list_changes(event: LockEvent) -> list[tuple[str, Any, Any]]:
    """Return what a settings event changed: name, before, after."""
    details = event.details or {}
    before, after = details.get("before"), details.get("after")
    if not isinstance(before, dict) or not isinstance(after, dict):
        return []
    return [
        (_label(name), _show(before.get(name)), _show(value))
        for name, value in after.items()
        if before.get(name) != value
    ]


def _list_details(event: LockEvent) -> list[tuple[str, Any]]:
    """Return the details of an event other than settings before and after."""
    return [
        (_label(name), _show(value))
        for name, value in (event.details or {}).items()
        if not isinstance(value, dict)
    ]


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _show(value: Any) -> Any:
    match value:
        case bool():
            return "yes" if value else "no"
        case None | []:
            return "none"
        case [str(), *_]:
            return ", ".join(value)
        case _:
            return value

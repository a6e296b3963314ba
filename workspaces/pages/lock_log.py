"""The lock log's pages: the list, and one event."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import render

from workspaces.access import Permission
from workspaces.callers import Access
from workspaces.log.changes import describe_value, list_changes, list_pattern_changes
from workspaces.log.checkpoints import latest_checkpoint
from workspaces.log.kinds import EventKind
from workspaces.log.models import REF_LENGTH, LockEvent
from workspaces.log.query import LogPageForm, find_events, visible_events
from workspaces.log.seal import count_unsealed
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.text import find_bad_character


@workspace_page(Permission.VIEW_TAG_EVENTS)
def lock_log(request: HtmxRequest, access: Access) -> HttpResponse:
    """List events, newest first, by the filters in the address; say how far the log is sealed."""
    form = LogPageForm.for_access(access, request.GET)
    context: dict[str, Any] = {
        "access": access,
        "form": form,
        "is_filtered": any(request.GET.values()),
        "is_newest": not (request.GET.get("before") or request.GET.get("after")),
        "unsealed": count_unsealed(access.workspace.slug),
        "checkpoint": latest_checkpoint(access.workspace.slug),
    }
    if form.is_valid():
        place = form.cleaned_data
        page = find_events(access, form, place["before"], after=place["after"])
        context |= {
            "page": page,
            "older_query": _query_of(request, before=page.older_before),
            "newer_query": _query_of(request, after=page.newer_after),
            "filter_query": _query_of(request),
        }
    return render(request, "workspaces/lock_log.html", context)


def _query_of(request: HtmxRequest, **place: str) -> str:
    """Return the filters in the address, with another place in the list."""
    query = request.GET.copy()
    for name in ("before", "after"):
        query.pop(name, None)
    query.update(place)
    return query.urlencode()


@workspace_page(Permission.VIEW_TAG_EVENTS)
def lock_event(request: HtmxRequest, access: Access, ref: str) -> HttpResponse:
    """Show one event whole. The link in a refusal leads here."""
    if len(ref) != REF_LENGTH or find_bad_character(ref):
        raise Http404
    found = visible_events(access).select_related("origin", "seal")
    event = found.filter(ref=ref.upper()).first()
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
            "changes": list_changes(event.details),
            "rule_changes": list_pattern_changes(event.details, "rules"),
            "exception_changes": list_pattern_changes(event.details, "exceptions"),
            "details": _list_details(event),
            "about": _find_ref(event.details),
            "is_counted_later": _is_counted_later(event),
            "counted": _find_counts(event) if _is_counted_later(event) else None,
        },
    )


def _is_counted_later(event: LockEvent) -> bool:
    """Whether the locks that a save moved were too many to count before it was recorded."""
    return bool((event.details or {}).get(_COUNTED_LATER))


def _find_counts(event: LockEvent) -> LockEvent | None:
    """Return the event that says how many locks a save moved, or None while they are counted."""
    return LockEvent.objects.filter(
        workspace=event.workspace,
        kind=EventKind.SETTINGS_COUNTED,
        settings_version=event.settings_version,
    ).first()


def _find_ref(details: Mapping[str, Any] | None) -> str:
    """Return the ref of the event that another one is about, or nothing."""
    ref = (details or {}).get("event")
    return ref if isinstance(ref, str) and len(ref) == REF_LENGTH else ""


_COUNTED_LATER = "locks_counted_later"


def _list_details(event: LockEvent) -> list[tuple[str, str]]:
    """Return the details of an event other than settings before and after, and other events."""
    about = {"event"} if _find_ref(event.details) else set()
    return [
        (name.replace("_", " ").capitalize(), describe_value(value))
        for name, value in (event.details or {}).items()
        if not isinstance(value, dict) and name not in {_COUNTED_LATER, *about}
    ]

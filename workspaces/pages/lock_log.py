"""The lock log's pages: the story, and one event."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from workspaces.access import Permission, Role
from workspaces.caller_access import Access
from workspaces.log.changes import describe_value, list_changes, list_pattern_changes
from workspaces.log.checkpoints import latest_checkpoint
from workspaces.log.figures import (
    DAYS_SHOWN,
    count_groups,
    count_sealed,
    find_most_refused,
)
from workspaces.log.kinds import EventKind
from workspaces.log.models import REF_LENGTH, LockEvent
from workspaces.log.query import (
    LogFilterForm,
    LogPageForm,
    find_events,
    visible_events,
    visible_groups,
)
from workspaces.log.seal import count_unsealed
from workspaces.log.sentences.tell import tell
from workspaces.log.story import get_look, tell_story
from workspaces.models import Workspace
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.registry_host import find_registry_host
from workspaces.text import find_bad_character

# How many admins a refusal names.
MAX_ADMINS_NAMED = 10
# What a chip shows, and takes away. The search has its box, and the groups their own chips.
_CHIP_FIELDS = ("repository", "tag", "kind", "actor", "rule", "digest", "ref", "since", "until")


@dataclass(frozen=True)
class Chip:
    """A filter that a click sets, or takes away: where it leads, and how many events it leaves."""

    text: str
    url: str
    is_current: bool = False
    count: str = ""


@workspace_page(Permission.VIEW_TAG_EVENTS)
def lock_log(request: HtmxRequest, access: Access) -> HttpResponse:
    """Tell what happened, newest first, by the filters in the address; and how far it is sealed."""
    slug = access.workspace.slug
    form = LogPageForm.for_access(access, request.GET)
    is_valid = form.is_valid()
    context: dict[str, Any] = {
        "access": access,
        "form": form,
        "is_filtered": any(request.GET.values()),
        "has_filter_errors": any(name in form.errors for name in _CHIP_FIELDS),
        "is_newest": not (request.GET.get("before") or request.GET.get("after")),
        "unsealed": count_unsealed(slug),
        "sealed_count": count_sealed(slug),
        "checkpoint": latest_checkpoint(slug),
        "most_refused": find_most_refused(slug, timezone.now()),
        "days_shown": DAYS_SHOWN,
    }
    if is_valid:
        place = form.cleaned_data
        page = find_events(access, form, place["before"], after=place["after"])
        context |= {
            "page": page,
            "days": tell_story(page.events, timezone.now().date()),
            "group_chips": _list_group_chips(request, access, form),
            "filter_chips": _list_filter_chips(request, form),
            "older_query": _query_of(request, before=page.older_before),
            "newer_query": _query_of(request, after=page.newer_after),
            "filter_query": _query_of(request),
            "search_clear_url": f"?{_query_of(request, q='')}" if place["q"] else "",
        }
    return render(request, "workspaces/lock_log.html", context)


def _list_group_chips(request: HtmxRequest, access: Access, form: LogFilterForm) -> list[Chip]:
    """Return a chip for everything and one for each group of kinds.

    They are counted where nothing but a period narrows the log: other counts have no bound.
    """
    groups = visible_groups(access)
    wanted = {name: value for name, value in form.cleaned_data.items() if value}
    since, until = wanted.get("since"), wanted.get("until")
    is_counted = not wanted.keys() - {"group", "since", "until", "before", "after"}
    slug = access.workspace.slug
    counts = count_groups(slug, groups, since, until) if is_counted else {}
    chosen = wanted.get("group", "")
    # An event's kind and a group of kinds at once would mostly find nothing.
    everything = Chip("Everything", f"?{_query_of(request, group='', kind='')}", not chosen)
    return [
        everything,
        *(
            Chip(
                group.label,
                f"?{_query_of(request, group=group.value, kind='')}",
                group == chosen,
                str(counts.get(group, "")),
            )
            for group in groups
        ),
    ]


def _list_filter_chips(request: HtmxRequest, form: LogFilterForm) -> list[Chip]:
    """Return a chip for each filter in the address, which takes it away."""
    return [
        Chip(
            f"{form.fields[name].label or name.capitalize()}: {_describe(form, name)}",
            f"?{_query_of(request, **{name: ''})}",
        )
        for name in _CHIP_FIELDS
        if form.cleaned_data.get(name)
    ]


def _describe(form: LogFilterForm, name: str) -> str:
    value = form.cleaned_data[name]
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    return EventKind(value).label if name == "kind" else str(value)


def _query_of(request: HtmxRequest, **changed: str) -> str:
    """Return the filters in the address, some of them changed, from the first page on."""
    query = request.GET.dict() | {"before": "", "after": ""} | changed
    return urlencode({name: value for name, value in query.items() if value})


@workspace_page(Permission.VIEW_TAG_EVENTS)
def lock_event(request: HtmxRequest, access: Access, ref: str) -> HttpResponse:
    """Show one event whole. The link in a refusal leads here."""
    event = find_event(access, ref)
    is_refusal = event.kind in (EventKind.PUSH_REFUSED, EventKind.DELETE_REFUSED)
    icon, tone = get_look(event)
    return render(
        request,
        "workspaces/lock_event.html",
        {
            "access": access,
            "event": event,
            "kind": EventKind(event.kind),
            "sentence": tell(event),
            "icon_name": icon,
            "tone": tone,
            "repeats": sum(event.repeats.values_list("count", flat=True)),
            "changes": list_changes(event.details),
            "rule_changes": list_pattern_changes(event.details, "rules"),
            "exception_changes": list_pattern_changes(event.details, "exceptions"),
            "details": _list_details(event),
            "about": _find_ref(event.details),
            "is_counted_later": _is_counted_later(event),
            "counted": _find_counts(event) if _is_counted_later(event) else None,
            "page_url": request.build_absolute_uri(request.path),
            "admins": list_admins(access) if is_refusal else None,
            **(_list_commands(event, access) if event.kind == EventKind.PUSH_REFUSED else {}),
        },
    )


def _list_commands(event: LockEvent, access: Access) -> dict[str, str]:
    """Return what someone types to push what was refused under another tag."""
    host = find_registry_host(access.workspace)
    image = f"{host}/{event.repository}"
    new = f"{image}:{suggest_tag(event.tag)}"
    return {"push_command": f"docker tag {image}:{event.tag} {new}\ndocker push {new}"}


def suggest_tag(tag: str) -> str:
    """Return the tag that comes after `tag`: with its last number raised, or with a 2."""
    numbers = list(re.finditer(r"[0-9]+", tag))
    if not numbers or len(numbers[-1][0]) > _MAX_DIGITS:
        return f"{tag[: _MAX_TAG_LENGTH - 2]}-2"
    last = numbers[-1]
    number = str(int(last[0]) + 1).zfill(len(last[0]))
    return f"{tag[: last.start()]}{number}{tag[last.end() :]}"


# Longer ones are dates with times, or no numbers that anyone counts.
_MAX_DIGITS = 8
_MAX_TAG_LENGTH = 128


def find_event(access: Access, ref: str) -> LockEvent:
    """Return an event that the caller may read. Raises Http404 and PermissionDenied."""
    if len(ref) != REF_LENGTH or find_bad_character(ref):
        raise Http404
    found = visible_events(access).select_related("origin", "seal")
    event = found.filter(ref=ref.upper()).first()
    if event is None:
        if LockEvent.objects.filter(workspace=access.workspace.slug, ref=ref.upper()).exists():
            raise PermissionDenied("Events of settings and people are for admins and auditors.")
        raise Http404
    return event


@dataclass(frozen=True)
class Admins:
    """The first admins of a workspace, by user name, and whether there are more."""

    names: tuple[str, ...]
    has_more: bool


def list_admins(access: Access) -> Admins | None:
    """Return whom to ask, or None for a caller who may not see members."""
    if not access.may(Permission.VIEW_PEOPLE):
        return None
    names = _list_admin_names(access.workspace)
    return Admins(names[:MAX_ADMINS_NAMED], len(names) > MAX_ADMINS_NAMED)


def _list_admin_names(workspace: Workspace) -> tuple[str, ...]:
    admins = workspace.memberships.filter(role=Role.ADMIN.value, user__is_active=True)
    names = admins.order_by("user__username").values_list("user__username", flat=True)
    return tuple(names[: MAX_ADMINS_NAMED + 1])


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

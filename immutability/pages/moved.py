"""What moved while a change of settings was in force: a page, and a part of the event's own."""

from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpResponse
from django.shortcuts import render

from immutability.moved import Place, find_moved
from workspaces.access import Permission
from workspaces.caller_access import Access
from workspaces.log.kinds import EventKind
from workspaces.log.models import REF_LENGTH, LockEvent
from workspaces.log.sentences.tell import tell
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.queries import FilterForm, IdField
from workspaces.text import find_bad_character

# How many moves the part of another page shows.
MOVES_IN_PART = 5


class MovedForm(FilterForm):
    """The place in the list."""

    push = IdField()
    event = IdField()


@workspace_page(Permission.VIEW_ALL_EVENTS)
def moved(request: HtmxRequest, access: Access, save_ref: str) -> HttpResponse:
    """List what moved from a change of settings to the next one, oldest first."""
    saved = _find_save(access, save_ref)
    form = MovedForm(request.GET)
    context: dict[str, Any] = {
        "access": access,
        "event": saved,
        "sentence": tell(saved),
        "form": form,
    }
    context["query_problems"] = form.list_problems()
    if form.is_valid():
        place = Place(form.cleaned_data["push"], form.cleaned_data["event"])
        page = find_moved(access.workspace, saved, place)
        context |= {"page": page, "is_first": place == Place()}
        if page.following:
            following = {"push": page.following.push_id, "event": page.following.event_id}
            context["following_query"] = urlencode(following)
    if not request.htmx:
        return render(request, "immutability/moved.html", context)
    moves = context["page"].moves if form.is_valid() else []
    context |= {"moves": moves[:MOVES_IN_PART], "more": max(0, len(moves) - MOVES_IN_PART)}
    return render(request, "immutability/moved_part.html", context)


def _find_save(access: Access, ref: str) -> LockEvent:
    """Return the event of a change of settings. Raises Http404."""
    if len(ref) != REF_LENGTH or find_bad_character(ref):
        raise Http404
    saves = LockEvent.objects.filter(
        workspace=access.workspace.slug, kind=EventKind.SETTINGS_CHANGED
    )
    saved = saves.filter(ref=ref.upper()).first()
    if saved is None:
        raise Http404
    return saved

"""Change several tags at once: ask, change each by itself, and report on each."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from containers.connection import find_registry
from containers.names import InvalidReferenceError
from immutability.actions.delete_tag import NameAfter
from immutability.actions.tags import (
    MAX_TAGS_AT_ONCE,
    ChosenTag,
    TagAction,
    TagsChange,
    change_tags,
    find_actions,
    parse_chosen,
)
from immutability.locked_tags import SUSPENDED
from immutability.pages.lock_questions import DeleteForm
from immutability.reading import read_policy
from immutability.repository_tags import MUTABLE, ListedTag, find_tags_named
from workspaces.access import Permission
from workspaces.caller_access import Access
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.pages.back import read_next
from workspaces.pages.forms import ReasonForm

# Only these are offered for a selection: a claim is dropped with a look at it.
ACTIONS = (TagAction.RELEASE, TagAction.DELETE, TagAction.FREE)


@workspace_page(Permission.MANAGE_LOCKED_TAGS, "GET", "HEAD", "POST")
def change_tags_page(request: HtmxRequest, access: Access) -> HttpResponse:
    """Ask about the tags that were chosen; once a reason is given, change each of them."""
    back = read_next(request, reverse("locked-tags", args=[access.workspace.slug]))
    if request.method != "POST":
        # A selection is sent, and is in no address.
        return redirect(back)
    action, chosen = _read(request)
    if not chosen or len(chosen) > MAX_TAGS_AT_ONCE:
        problem = "Choose at least one tag." if not chosen else _TOO_MANY
        messages.error(request, problem)
        return redirect(back)
    found = find_tags_named(
        access.workspace,
        [(each.repository, each.tag) for each in chosen],
        read_policy(access.workspace),
    )
    registry = find_registry(access.workspace)
    shown = _Shown(action, chosen, found, has_registry=registry is not None)
    is_answered = "confirmed" in request.POST
    form = (DeleteForm if shown.has_choice else ReasonForm)(request.POST if is_answered else None)
    if form.is_valid() and shown.changed:
        change = TagsChange(
            access.workspace,
            action,
            form.cleaned_data["reason"],
            access.actor,
            NameAfter(form.cleaned_data.get("name_after", NameAfter.FREE)),
        )
        results = change_tags(change, chosen, registry)
        done = [each for each in results if each.is_done]
        context: dict[str, Any] = {
            "access": access,
            "action": action.value,
            "heading": _describe(action, len(done), len(results)),
            "done": done,
            "left": [each for each in results if not each.is_done],
            "next": back,
        }
        return render(request, "immutability/changed_tags.html", context)
    context = {"access": access, "form": form, "shown": shown, "next": back}
    status = 422 if form.is_bound else 200
    return render(request, "immutability/change_tags.html", context, status=status)


_PAST = {
    TagAction.RELEASE: "released",
    TagAction.DELETE: "deleted",
    TagAction.FREE: "freed",
}


def _describe(action: TagAction, done: int, total: int) -> str:
    """Return the heading of what was done: "2 of 3 tags were deleted"."""
    noun = "name" if action is TagAction.FREE else "tag"
    if not done:
        return f"No {noun} was {_PAST[action]}"
    subject = f"{done}" if done == total else f"{done} of {total}"
    many = f"{noun}{'' if total == 1 else 's'}"
    return f"{subject} {many} {'was' if total == 1 else 'were'} {_PAST[action]}"


_TOO_MANY = f"Choose at most {MAX_TAGS_AT_ONCE} tags at once."


def _read(request: HtmxRequest) -> tuple[TagAction, list[ChosenTag]]:
    """Return what was chosen. Raises BadRequest for what no page sends."""
    keys = list(dict.fromkeys(request.POST.getlist("tag")))
    try:
        action = TagAction(request.POST.get("action", ""))
        # More than may be chosen are not read.
        chosen = [parse_chosen(key) for key in keys[: MAX_TAGS_AT_ONCE + 1]]
    except (ValueError, InvalidReferenceError) as error:
        raise BadRequest("This is not a selection of tags.") from error
    if action not in ACTIONS:
        raise BadRequest("This cannot be done to several tags.")
    return action, chosen


class _Shown:
    """The chosen tags, as the question shows them."""

    def __init__(
        self,
        action: TagAction,
        chosen: list[ChosenTag],
        found: dict[Any, ListedTag],
        *,
        has_registry: bool,
    ) -> None:
        self.action = action.value
        self.keys = [each.key for each in chosen]
        self.has_registry = has_registry
        self.changed: list[ListedTag] = []
        self.left: list[tuple[ChosenTag, str]] = []
        for each in chosen:
            tag = found.get((each.repository, each.tag))
            if tag is None:
                self.left.append((each, "gone"))
            elif tag.status != each.status or action not in find_actions(
                tag, has_registry=has_registry
            ):
                self.left.append((each, tag.status))
            else:
                self.changed.append(tag)
        statuses = {tag.status for tag in self.changed}
        self.has_suspended = SUSPENDED in statuses
        self.has_mutable = MUTABLE in statuses
        # Nothing reserves a name that the settings do not cover.
        self.has_choice = action is TagAction.DELETE and bool(statuses - {SUSPENDED, MUTABLE})

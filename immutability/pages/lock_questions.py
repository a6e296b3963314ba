"""What an admin is asked before a lock is released, or a tag deleted or its name freed."""

from collections.abc import Callable
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.forms.boundfield import BoundWidget
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from containers.connection import find_registry
from containers.names import InvalidReferenceError, RepositoryName, TagName
from immutability.actions.delete_tag import NameAfter, delete_locked_tag
from immutability.actions.hold import LockChange
from immutability.actions.release import release_locked_tag
from immutability.actions.tags import (
    DELETED_AND_FREE,
    DROPPED,
    FREED,
    GONE,
    NOTHING_TO_RELEASE,
    RELEASED,
    RESERVED,
    ChosenTag,
    TagAction,
    TagsChange,
    change_tag,
    parse_chosen,
    to_chosen,
)
from immutability.errors import ConflictError, PermissionRevokedError, TryAgainError
from immutability.locked_tags import SUSPENDED, get_lock_status
from immutability.models import LockedTag
from immutability.pages.places import parse_tag_place
from immutability.policy.protection import LockState
from immutability.reading import read_policy
from immutability.repository_tags import COVERED, MUTABLE, find_sharing, find_tag
from workspaces.access import Permission
from workspaces.caller_access import Access
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.pages.back import read_next
from workspaces.pages.forms import ReasonForm
from workspaces.text import to_sentence


class DeleteForm(ReasonForm):
    """What happens to the name."""

    name_after = forms.ChoiceField(
        label="What happens to the name?",
        widget=forms.RadioSelect,
        choices=[
            (NameAfter.RESERVE.value, "Reserve it: only the same image can come back"),
            (NameAfter.FREE.value, "Free it: the next push can bring any image"),
        ],
        initial=NameAfter.RESERVE.value,
        error_messages={
            "required": "Choose what happens to the name.",
            "invalid_choice": "Choose what happens to the name.",
        },
    )
    field_order = ["name_after", "reason"]

    @property
    def name_choices(self) -> list[tuple[BoundWidget, str]]:
        """Return each choice with what follows from it."""
        return [(radio, _AFTERWARDS[radio.data["value"]]) for radio in self["name_after"]]


_AFTERWARDS = {
    NameAfter.RESERVE.value: "An admin can free the name later.",
    NameAfter.FREE.value: "Anything that pulls this tag can then get another image.",
}


class EmptyForm(forms.Form):
    """Nothing to say."""


@workspace_page(Permission.MANAGE_LOCKED_TAGS, "GET", "HEAD", "POST")
def delete_page(request: HtmxRequest, access: Access, lock_id: int) -> HttpResponse:
    """Ask what happens to the name, and why; then delete, free, or drop a claim."""
    found = _find(access, lock_id)
    if found is None:
        return _say_gone(request, access)
    row, status = found
    # What someone agreed to was worded for the state that they were shown.
    shown_state = request.POST.get("state", row.state)
    if shown_state != row.state:
        messages.error(request, f"This lock is now {row.state}; nothing was changed.")
        here = reverse("delete-locked-tag", args=[access.workspace.slug, lock_id])
        return redirect(f"{here}?{urlencode({'next': _read_next(request, access)})}")
    # Nothing reserves a name that the settings do not cover.
    has_choice = row.state not in (LockState.RESERVED, LockState.CLAIMED) and status != SUSPENDED
    form = (DeleteForm if has_choice else ReasonForm)(request.POST or None)
    if form.is_valid():
        name_after = NameAfter(form.cleaned_data.get("name_after", NameAfter.FREE))
        change = _to_change(access, row, form)

        def delete() -> str:
            delete_locked_tag(change, name_after, find_registry(access.workspace))
            return f"{row.repository}:{row.tag} {_DONE.get(row.state, _DONE[name_after.value])}"

        return _change(request, access, delete)
    return _ask(request, access, "immutability/delete_locked_tag.html", form, row, status)


_DONE = {
    LockState.RESERVED.value: FREED,
    LockState.CLAIMED.value: DROPPED,
    NameAfter.RESERVE.value: RESERVED,
    NameAfter.FREE.value: DELETED_AND_FREE,
}


@workspace_page(Permission.MANAGE_LOCKED_TAGS, "GET", "HEAD", "POST")
def release_page(request: HtmxRequest, access: Access, lock_id: int) -> HttpResponse:
    """Ask why; then let the tag be pushed once more."""
    found = _find(access, lock_id)
    if found is None:
        return _say_gone(request, access)
    row, status = found
    form = ReasonForm(request.POST or None)
    if form.is_valid():
        change = _to_change(access, row, form)

        def release() -> str:
            left = release_locked_tag(change, find_registry(access.workspace))
            done = RELEASED if left else NOTHING_TO_RELEASE
            return f"{row.repository}:{row.tag} {done}"

        return _change(request, access, release)
    return _ask(request, access, "immutability/release_locked_tag.html", form, row, status)


@workspace_page(Permission.MANAGE_LOCKED_TAGS, "GET", "HEAD", "POST")
def delete_unlocked_page(
    request: HtmxRequest, access: Access, repository: str, tag: str
) -> HttpResponse:
    """Ask whether to delete a tag without a lock; one that has a lock has its own page."""
    place = parse_tag_place(access, repository, tag)
    found = find_tag(access.workspace, *place, read_policy(access.workspace))
    if found is None:
        return _say_gone(request, access, "This tag is already gone.")
    if found.lock is not None and request.method != "POST":
        there = reverse("delete-locked-tag", args=[access.workspace.slug, found.lock.id])
        return redirect(f"{there}?{urlencode({'next': _read_next(request, access)})}")
    # What someone agreed to was worded for the tag that they were shown.
    chosen = to_chosen(found) if request.method != "POST" else _read_chosen(request, place)
    # Only the delete of a protected tag is recorded.
    form = (ReasonForm if chosen.status == COVERED else EmptyForm)(
        request.POST if request.method == "POST" else None
    )
    if form.is_valid():
        change = TagsChange(
            access.workspace,
            TagAction.DELETE,
            form.cleaned_data.get("reason", ""),
            access.actor,
        )
        return _change(
            request,
            access,
            lambda: f"{chosen} {change_tag(change, chosen, find_registry(access.workspace))}",
        )
    context = {
        "access": access,
        "form": form,
        "tag": found,
        "chosen": chosen,
        "sharing": find_sharing(access.workspace, found),
        "has_registry": find_registry(access.workspace) is not None,
        "next": _read_next(request, access),
    }
    status = 422 if form.is_bound else 200
    return render(request, "immutability/delete_unlocked_tag.html", context, status=status)


def _read_chosen(request: HtmxRequest, place: tuple[RepositoryName, TagName]) -> ChosenTag:
    """Return the tag as the admin was shown it. Raises BadRequest for what no page sends."""
    try:
        chosen = parse_chosen(request.POST.get("chosen", ""))
    except InvalidReferenceError as error:
        raise BadRequest("This is not a tag.") from error
    # A tag with a lock has a question of its own, with a reason.
    if (chosen.repository, chosen.tag) != place or chosen.status not in (MUTABLE, COVERED):
        raise BadRequest("This is not the tag of this page.")
    return chosen


def _say_gone(request: HtmxRequest, access: Access, detail: str = GONE) -> HttpResponse:
    if request.method != "POST":
        raise Http404
    context = {
        "access": access,
        "status": 404,
        "heading": "Nothing was changed",
        "detail": detail,
    }
    return render(request, "errors/error.html", context, status=404)


def _find(access: Access, lock_id: int) -> tuple[LockedTag, str] | None:
    row = (
        LockedTag.objects.select_related("record")
        .filter(workspace=access.workspace, id=lock_id)
        .first()
    )
    if row is None:
        return None
    return row, get_lock_status(row, read_policy(access.workspace))


def _to_change(access: Access, row: LockedTag, form: forms.Form) -> LockChange:
    reason = form.cleaned_data["reason"]
    return LockChange(access.workspace, row.id, reason, access.actor, expected_state=row.state)


def _read_next(request: HtmxRequest, access: Access) -> str:
    return read_next(request, reverse("locked-tags", args=[access.workspace.slug]))


def _ask(
    request: HtmxRequest,
    access: Access,
    template: str,
    form: forms.Form,
    row: LockedTag,
    status: str,
) -> HttpResponse:
    place = parse_tag_place(access, row.repository, row.tag)
    found = find_tag(access.workspace, *place, read_policy(access.workspace))
    return render(
        request,
        template,
        {
            "access": access,
            "form": form,
            "lock": row,
            "status": status,
            "sharing": find_sharing(access.workspace, found) if found else [],
            "has_registry": find_registry(access.workspace) is not None,
            "next": _read_next(request, access),
        },
        status=422 if form.is_bound else 200,
    )


def _change(request: HtmxRequest, access: Access, change: Callable[[], str]) -> HttpResponse:
    """Change a tag; show what was done, or what kept it from being done, where one came from."""
    try:
        messages.success(request, change())
    except LockedTag.DoesNotExist:
        messages.error(request, GONE)
    except ConflictError as error:
        messages.error(request, to_sentence(str(error)))
    except TryAgainError as error:
        messages.error(request, f"Not done yet. {to_sentence(str(error))}")
    except PermissionRevokedError as error:
        raise PermissionDenied(str(error)) from error
    return redirect(_read_next(request, access))

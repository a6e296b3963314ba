"""The page "Locked tags", and what an admin does to a lock."""

from collections.abc import Callable

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render

from containers.connection import find_registry
from containers.names import MAX_REPOSITORY_LENGTH
from immutability.actions.delete_tag import NameAfter, delete_locked_tag
from immutability.actions.hold import LockChange
from immutability.actions.release import release_locked_tag
from immutability.errors import ConflictError, PermissionRevokedError, TryAgainError
from immutability.locked_tags import (
    LOCK_STATUSES,
    SUSPENDED,
    LockedTagQuery,
    find_locked_tags,
    get_lock_status,
)
from immutability.models import LockedTag
from immutability.policy.protection import LockState
from immutability.reading import read_policy
from workspaces.access import Permission
from workspaces.callers import Access
from workspaces.log.models import MAX_REASON_LENGTH
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.queries import FilterForm, IdField
from workspaces.text import describe_bad_character, to_sentence


class LockedTagFilterForm(FilterForm):
    """What to look for, and the place in the list."""

    q = forms.CharField(label="Repository or tag", required=False, max_length=MAX_REPOSITORY_LENGTH)
    state = forms.ChoiceField(
        label="Lock status",
        required=False,
        choices=[("", "Any status"), *((each, each.capitalize()) for each in LOCK_STATUSES)],
        error_messages={"invalid_choice": f"Must be one of: {', '.join(LOCK_STATUSES)}."},
    )
    before = IdField()

    @property
    def is_narrowing(self) -> bool:
        """Whether a valid form leaves any lock out."""
        return any(self.cleaned_data.values())


class ReasonForm(forms.Form):
    """Why an admin does this."""

    reason = forms.CharField(
        label="Reason (recorded in the lock log)",
        max_length=MAX_REASON_LENGTH,
        error_messages={"required": "Enter a reason."},
    )

    def clean_reason(self) -> str:
        """Refuse control characters."""
        reason: str = self.cleaned_data["reason"]
        if message := describe_bad_character(reason):
            raise forms.ValidationError(message)
        return reason


class DeleteForm(ReasonForm):
    """What becomes of the name."""

    name_after = forms.ChoiceField(
        label="What becomes of the name?",
        widget=forms.RadioSelect,
        choices=[
            (NameAfter.RESERVE.value, "Reserve it: only the same image can come back"),
            (NameAfter.FREE.value, "Free it: the next push can bring any image"),
        ],
        initial=NameAfter.RESERVE.value,
        error_messages={
            "required": "Choose what becomes of the name.",
            "invalid_choice": "Choose what becomes of the name.",
        },
    )
    field_order = ["name_after", "reason"]


@workspace_page(Permission.VIEW_LOCKED_TAGS)
def locked_tags(request: HtmxRequest, access: Access) -> HttpResponse:
    """List locks, newest first, by the filters in the address."""
    form = LockedTagFilterForm(request.GET)
    policy = read_policy(access.workspace)
    context = {"access": access, "form": form, "policy": policy, "is_filtered": bool(request.GET)}
    if form.is_valid():
        wanted = form.cleaned_data
        query = LockedTagQuery(wanted["q"], status=wanted["state"])
        page = find_locked_tags(access.workspace, policy, query, before=wanted["before"])
        following = request.GET.copy()
        following["before"] = str(page.next_before)
        context |= {
            "page": page,
            "is_filtered": form.is_narrowing,
            "next_query": following.urlencode() if page.next_before else "",
        }
    return render(request, "immutability/locked_tags.html", context)


@workspace_page(Permission.MANAGE_LOCKED_TAGS, "GET", "HEAD", "POST")
def delete_page(request: HtmxRequest, access: Access, lock_id: int) -> HttpResponse:
    """Ask what becomes of the name, and why; then delete, free, or drop a claim."""
    found = _find(access, lock_id)
    if found is None:
        return _say_gone(request, access)
    row, status = found
    # What somebody agreed to was worded for the state that they were shown.
    shown_state = request.POST.get("state", row.state)
    if shown_state != row.state:
        messages.error(request, f"This lock is now {row.state}; nothing was changed.")
        return redirect("delete-locked-tag", access.workspace.slug, lock_id)
    # Nothing reserves a name that the settings do not cover.
    has_choice = row.state not in (LockState.RESERVED, LockState.CLAIMED) and status != SUSPENDED
    form = (DeleteForm if has_choice else ReasonForm)(request.POST or None)
    if form.is_valid():
        name_after = NameAfter(form.cleaned_data.get("name_after", NameAfter.FREE))
        change = _to_change(access, row, form)

        def delete() -> str:
            delete_locked_tag(change, name_after, find_registry())
            return f"{row.repository}:{row.tag} {_DONE.get(row.state, _DONE[name_after.value])}"

        return _change(request, access, delete)
    return _ask(request, access, "immutability/delete_locked_tag.html", form, row, status)


_DONE = {
    LockState.RESERVED.value: "is free: the next push can bring any image.",
    LockState.CLAIMED.value: "stays claimed until the dropped push can no longer land.",
    NameAfter.RESERVE.value: "is deleted. Its name is reserved for the same image.",
    NameAfter.FREE.value: "is deleted, and its name is free.",
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
            left = release_locked_tag(change, find_registry())
            done = _RELEASED if left else _NOTHING_TO_RELEASE
            return f"{row.repository}:{row.tag} {done}"

        return _change(request, access, release)
    return _ask(request, access, "immutability/release_locked_tag.html", form, row, status)


_RELEASED = "is released: its next push can bring any image, and locks it again."
_NOTHING_TO_RELEASE = (
    "is free: the registry does not have the tag, so there was no image to release it from."
)


def _say_gone(request: HtmxRequest, access: Access) -> HttpResponse:
    if request.method != "POST":
        raise Http404
    context = {
        "access": access,
        "status": 404,
        "heading": "Nothing was changed",
        "detail": _GONE,
    }
    return render(request, "errors/error.html", context, status=404)


_GONE = "This lock has ended in the meantime."


def _find(access: Access, lock_id: int) -> tuple[LockedTag, str] | None:
    row = LockedTag.objects.filter(workspace=access.workspace, id=lock_id).first()
    if row is None:
        return None
    return row, get_lock_status(row, read_policy(access.workspace))


def _to_change(access: Access, row: LockedTag, form: forms.Form) -> LockChange:
    reason = form.cleaned_data["reason"]
    return LockChange(access.workspace, row.id, reason, access.actor, expected_state=row.state)


def _ask(
    request: HtmxRequest,
    access: Access,
    template: str,
    form: forms.Form,
    row: LockedTag,
    status: str,
) -> HttpResponse:
    return render(
        request,
        template,
        {
            "access": access,
            "form": form,
            "lock": row,
            "status": status,
            "has_registry": find_registry() is not None,
        },
        status=422 if form.is_bound else 200,
    )


def _change(request: HtmxRequest, access: Access, change: Callable[[], str]) -> HttpResponse:
    """Change a lock, and show what was done, or what kept it from being done, on the list."""
    try:
        messages.success(request, change())
    except LockedTag.DoesNotExist:
        messages.error(request, _GONE)
    except ConflictError as error:
        messages.error(request, to_sentence(str(error)))
    except TryAgainError as error:
        messages.error(request, f"Not done yet. {to_sentence(str(error))}")
    except PermissionRevokedError as error:
        raise PermissionDenied(str(error)) from error
    return redirect("locked-tags", access.workspace.slug)

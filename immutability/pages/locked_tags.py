"""The page "Locked tags", and what an admin does to a lock."""

from collections.abc import Callable

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render

from containers.connection import find_registry
from containers.reference import MAX_REPOSITORY_LENGTH
from immutability.actions.manage import (
    NameAfter,
    WrongStateError,
    delete_locked_tag,
    release_locked_tag,
)
from immutability.actions.read import UndecidedError, read_policy
from immutability.locked_tags import (
    STANDINGS,
    LockedTagQuery,
    find_locked_tags,
    get_standing,
)
from immutability.models import LockedTag
from immutability.protection import LockState
from workspaces.access import Permission
from workspaces.callers import Access
from workspaces.log.models import MAX_REASON_LENGTH
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.queries import FilterForm, IdField
from workspaces.text import describe_bad_character


class LockedTagFilterForm(FilterForm):
    """What to look for, and the place in the list."""

    q = forms.CharField(label="Repository or tag", required=False, max_length=MAX_REPOSITORY_LENGTH)
    state = forms.ChoiceField(
        required=False,
        choices=[("", "Any state"), *((each, each.capitalize()) for each in STANDINGS)],
        error_messages={"invalid_choice": f"Must be one of: {', '.join(STANDINGS)}."},
    )
    before = IdField()

    @property
    def is_narrowing(self) -> bool:
        """Whether a valid form leaves any lock out."""
        return any(self.cleaned_data.values())


class ReasonForm(forms.Form):
    """Why somebody does this."""

    reason = forms.CharField(
        max_length=MAX_REASON_LENGTH,
        help_text="Kept in the lock log for good.",
        error_messages={"required": "Say why: auditors will ask."},
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
            (NameAfter.RESERVE.value, "Keep it reserved: only the same image may come back"),
            (NameAfter.FREE.value, "Free it: the next push may bring any image"),
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
        query = LockedTagQuery(wanted["q"], standing=wanted["state"])
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
    row, standing = found
    # What somebody agreed to was worded for the state that they were shown.
    shown_state = request.POST.get("state", row.state)
    if shown_state != row.state:
        messages.error(request, f"This lock is {row.state} by now; nothing was changed.")
        return redirect("delete-locked-tag", access.workspace.slug, lock_id)
    needs_choice = row.state not in (LockState.RESERVED, LockState.CLAIMED)
    form_class = DeleteForm if needs_choice else ReasonForm
    form = form_class(request.POST or None)
    if form.is_valid():
        name_after = NameAfter(form.cleaned_data.get("name_after", NameAfter.FREE))
        reason = form.cleaned_data["reason"]
        done = _DONE[row.state if not needs_choice else name_after.value]
        return _change(
            request,
            access,
            lambda: delete_locked_tag(
                access.workspace,
                lock_id,
                name_after,
                reason,
                actor=access.actor,
                expected_state=shown_state,
                registry=find_registry(),
            ),
            f"{row.repository}:{row.tag} {done}",
        )
    return _ask(request, access, "immutability/delete_locked_tag.html", form, row, standing)


_DONE = {
    LockState.RESERVED.value: "is free: the next push may bring any image.",
    LockState.CLAIMED.value: "is no longer claimed.",
    NameAfter.RESERVE.value: "is deleted. Its name is reserved for the same image.",
    NameAfter.FREE.value: "is deleted, and its name is free.",
}


@workspace_page(Permission.MANAGE_LOCKED_TAGS, "GET", "HEAD", "POST")
def release_page(request: HtmxRequest, access: Access, lock_id: int) -> HttpResponse:
    """Ask why; then let the tag be pushed once more."""
    found = _find(access, lock_id)
    if found is None:
        return _say_gone(request, access)
    row, standing = found
    form = ReasonForm(request.POST or None)
    if form.is_valid():
        reason = form.cleaned_data["reason"]
        return _change(
            request,
            access,
            lambda: release_locked_tag(access.workspace, lock_id, reason, actor=access.actor),
            f"{row.repository}:{row.tag} is released: its next push locks it anew.",
        )
    return _ask(request, access, "immutability/release_locked_tag.html", form, row, standing)


def _say_gone(request: HtmxRequest, access: Access) -> HttpResponse:
    if request.method != "POST":
        raise Http404
    context = {
        "access": access,
        "heading": "Nothing was changed",
        "detail": "Somebody else has ended this lock in the meantime.",
    }
    return render(request, "errors/error.html", context, status=404)


def _find(access: Access, lock_id: int) -> tuple[LockedTag, str] | None:
    row = LockedTag.objects.filter(workspace=access.workspace, id=lock_id).first()
    if row is None:
        return None
    return row, get_standing(row, read_policy(access.workspace))


def _ask(
    request: HtmxRequest,
    access: Access,
    template: str,
    form: forms.Form,
    row: LockedTag,
    standing: str,
) -> HttpResponse:
    return render(
        request,
        template,
        {
            "access": access,
            "form": form,
            "lock": row,
            "standing": standing,
            "has_registry": find_registry() is not None,
        },
        status=422 if form.is_bound else 200,
    )


def _change(
    request: HtmxRequest, access: Access, change: Callable[[], object], done: str
) -> HttpResponse:
    try:
        change()
    except LockedTag.DoesNotExist:
        messages.error(request, "Somebody else has ended this lock in the meantime.")
    except WrongStateError as error:
        messages.error(request, str(error))
    except UndecidedError as error:
        messages.error(
            request, f"Not known yet: {error}. Taglock tries again; look again in a minute."
        )
    else:
        messages.success(request, done)
    return redirect("locked-tags", access.workspace.slug)

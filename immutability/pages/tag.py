"""A tag's page: its lock now, what it pointed at on a day, and everything that happened to it."""

from datetime import UTC, date, datetime, time
from urllib.parse import urlencode

from django import forms
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from containers.reference import (
    InvalidReferenceError,
    Repository,
    Tag,
    parse_repository,
    parse_tag,
)
from immutability.history import Place, find_history, find_pointed
from immutability.locked_tags import get_lock_status
from immutability.models import LockedTag
from immutability.protection import cover
from immutability.reading import read_policy
from workspaces.access import Permission
from workspaces.callers import Access
from workspaces.log.models import REF_LENGTH
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.text import find_bad_character, read_number


class MomentForm(forms.Form):
    """A day, or a moment of it: what did the tag point at then?"""

    on = forms.DateField(
        label="On (UTC)",
        widget=forms.DateInput({"type": "date"}),
        help_text="End of the day",
        error_messages={"required": "Choose a day."},
    )
    time = forms.TimeField(
        required=False, widget=forms.TimeInput({"type": "time", "step": "1"}), help_text="or at"
    )

    def clean(self) -> None:
        """Refuse a day that has not come yet."""
        if not self.errors and self.cleaned_data["on"] > timezone.now().date():
            self.add_error("on", "That day has not come yet.")

    def to_moment(self) -> datetime:
        """Return the moment that a valid form asks about; of what is not over yet, this one."""
        return min(self._end(), timezone.now())

    def _end(self) -> datetime:
        """Return the end of the day, or of the minute or second, that was typed.

        What happened within it counts: pages show times to the minute.
        """
        on: date = self.cleaned_data["on"]
        at: time | None = self.cleaned_data["time"]
        if at is None:
            return datetime.combine(on, time.max, UTC)
        last_second = at.second if at.second or at.microsecond else 59
        return datetime.combine(on, at.replace(second=last_second, microsecond=999_999), UTC)


@workspace_page(Permission.VIEW_TAG_EVENTS)
def tag_page(request: HtmxRequest, access: Access, repository: str, tag: str) -> HttpResponse:
    """Tell the whole story of a tag. One that nothing is known of is a page too, that says so."""
    where, name = _parse(access, repository, tag)
    lock = LockedTag.objects.filter(
        workspace=access.workspace, repository=where.name, tag=name.name
    ).first()
    policy = read_policy(access.workspace)
    form = MomentForm(request.GET if request.GET.get("on") or request.GET.get("time") else None)
    context = {
        "access": access,
        "repository": where.name,
        "tag": name.name,
        "lock": lock,
        "status": get_lock_status(lock, policy) if lock else "",
        "coverage": cover(policy, name),
        "form": form,
    }
    if form.is_valid():
        moment = form.to_moment()
        pointed = find_pointed(access.workspace, where, name, moment)
        context |= {"moment": moment, "pointed": pointed}
    page = find_history(access.workspace, where, name, _read_place(request))
    if page.older:
        older = {"before": page.older.ref, "push": str(page.older.push_id)}
        context["older_query"] = urlencode(older)
    return render(request, "immutability/tag.html", {**context, "page": page})


def _parse(access: Access, repository: str, tag: str) -> tuple[Repository, Tag]:
    """Return what the address names. Raises Http404 where it is nothing of the workspace."""
    try:
        where, name = parse_repository(repository), parse_tag(tag)
    except InvalidReferenceError as error:
        raise Http404 from error
    if where.workspace != access.workspace.slug:
        raise Http404
    return where, name


def _read_place(request: HtmxRequest) -> Place:
    ref = request.GET.get("before", "")[:REF_LENGTH]
    return Place("" if find_bad_character(ref) else ref, read_number(request.GET.get("push", "")))

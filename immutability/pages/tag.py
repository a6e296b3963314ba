"""A tag's page: its lock now, what it pointed at on a day, and everything that happened to it."""

from datetime import UTC, date, datetime, time
from urllib.parse import urlencode

from django import forms
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from containers.connection import find_registry
from containers.names import Digest
from immutability import drift
from immutability.actions.tags import find_actions
from immutability.history import Place, find_history, find_pointed
from immutability.pages.places import parse_tag_place
from immutability.pages.tag_rows import make_pull_command
from immutability.policy.protection import cover
from immutability.reading import read_policy
from immutability.repository_tags import ListedTag, find_sharing, find_tag
from workspaces.access import Permission
from workspaces.caller_access import Access
from workspaces.log.query import RefField
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.queries import FilterForm, IdField
from workspaces.registry_host import find_registry_host
from workspaces.text import to_sentence


class MomentForm(FilterForm):
    """A day, or a moment of it: what did the tag point at then? And the place in its history."""

    on = forms.DateField(
        label="Day (UTC)",
        required=False,
        input_formats=["%Y-%m-%d"],
        widget=forms.DateInput({"type": "date"}),
        error_messages={"invalid": "Enter a day like 2026-05-01."},
    )
    time = forms.TimeField(
        required=False,
        widget=forms.TimeInput({"type": "time", "step": "1"}),
        help_text="or the end of the day",
    )

    before = RefField(widget=forms.HiddenInput)
    push = IdField()

    def clean(self) -> None:
        """Refuse a day in the future, and a time without a day."""
        on = self.cleaned_data.get("on")
        if on and on > timezone.now().date():
            self.add_error("on", "That day is in the future.")
        if self.cleaned_data.get("time") and not on and not self.has_error("on"):
            self.add_error("on", "Choose a day.")

    def to_place(self) -> Place:
        """Return the place that a valid form asks for."""
        return Place(self.cleaned_data["before"], self.cleaned_data["push"])

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
    """Tell the whole story of a tag. An unknown tag has a page, too, that says so."""
    where, name = parse_tag_place(access, repository, tag)
    policy = read_policy(access.workspace)
    found = find_tag(access.workspace, where, name, policy)
    has_registry = find_registry(access.workspace) is not None
    form = MomentForm(request.GET or None)
    context = {
        "access": access,
        "repository": where.name,
        "tag": name.name,
        "reference": f"{where}:{name}",
        "found": found,
        "lock": found.lock if found else None,
        "status": found.status if found else "",
        "coverage": cover(policy, name),
        "form": form,
    }
    if found is not None:
        if access.can_manage_locked_tags:
            actions = find_actions(found, has_registry=has_registry)
            context["actions"] = [each.value for each in actions]
        context["differs"] = _describe_drift(access, found)
        context["sharing"] = find_sharing(access.workspace, found)
        if has_registry and found.record.digest:
            host = find_registry_host(access.workspace, request.get_host())
            context["pull_by_tag"] = make_pull_command(host, found)
            context["pull_by_digest"] = make_pull_command(host, found, by_digest=True)
    if form.is_valid() and form.cleaned_data["on"]:
        moment = form.to_moment()
        pointed = find_pointed(access.workspace, where, name, moment)
        context |= {"moment": moment, "pointed": pointed}
    place = form.to_place() if form.is_valid() else Place()
    page = find_history(access.workspace, where, name, place)
    if page.older:
        older = {"before": page.older.ref, "push": str(page.older.push_id)}
        context["older_query"] = urlencode(older)
    return render(request, "immutability/tag.html", {**context, "page": page})


def _describe_drift(access: Access, found: ListedTag) -> str:
    """Return what the registry has instead of the tag's locked image; "" where it does not."""
    known = drift.find_drifts(access.workspace).filter(record=found.record).first()
    if known is None or not found.coverage.is_covered:
        return ""
    return to_sentence(drift.read(known).describe(Digest(known.digest)))

"""Questions of site administrators about a workspace: archive it, or hand it over?"""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from workspaces.access import Actor, Role
from workspaces.actions.archive import (
    InactivePersonError,
    archive_workspace,
    hand_over_workspace,
    unarchive_workspace,
)
from workspaces.models import Workspace
from workspaces.pages.access import HtmxRequest, site_page
from workspaces.pages.back import read_next
from workspaces.pages.forms import PersonField, ReasonForm, render_form


class HandOverForm(ReasonForm):
    """Who becomes an admin, and why."""

    field_order = ("username", "reason")

    username = PersonField(label="New admin", help_text="A user name.")


@site_page("GET", "HEAD", "POST")
def archive_page(request: HtmxRequest, actor: Actor, workspace_id: int) -> HttpResponse:
    """Ask whether and why; then archive the workspace."""
    workspace, form = _find(workspace_id), _bind(request, ReasonForm)
    if form.is_valid():
        archive_workspace(workspace, actor=actor, reason=form.cleaned_data["reason"])
        return _done(request, f"{workspace} is archived: nothing in it changes any more.")
    return _ask(request, "archive_workspace", workspace, form)


@site_page("GET", "HEAD", "POST")
def unarchive_page(request: HtmxRequest, actor: Actor, workspace_id: int) -> HttpResponse:
    """Ask whether and why; then let the workspace be changed again."""
    workspace, form = _find(workspace_id), _bind(request, ReasonForm)
    if form.is_valid():
        unarchive_workspace(workspace, actor=actor, reason=form.cleaned_data["reason"])
        return _done(request, f"{workspace} can be changed again.")
    return _ask(request, "unarchive_workspace", workspace, form)


@site_page("GET", "HEAD", "POST")
def hand_over_page(request: HtmxRequest, actor: Actor, workspace_id: int) -> HttpResponse:
    """Ask to whom and why; then make that person an admin of the workspace."""
    workspace, form = _find(workspace_id), _bind(request, HandOverForm)
    if form.is_valid():
        user = form.cleaned_data["username"]
        try:
            hand_over_workspace(workspace, user, actor=actor, reason=form.cleaned_data["reason"])
        except InactivePersonError as error:
            form.add_error("username", str(error))
        else:
            return _done(request, f"{user.username} is admin of {workspace}.")
    admins = workspace.memberships.filter(role=Role.ADMIN.value).select_related("user")
    more = {"admins": [each.user for each in admins.order_by("user__username")[:20]]}
    return _ask(request, "hand_over_workspace", workspace, form, more)


def _find(workspace_id: int) -> Workspace:
    workspace = Workspace.objects.filter(id=workspace_id).first()
    if workspace is None:
        raise Http404
    return workspace


def _bind(request: HtmxRequest, form_class: type[ReasonForm]) -> ReasonForm:
    return form_class(request.POST if request.method == "POST" else None)


def _ask(
    request: HtmxRequest,
    question: str,
    workspace: Workspace,
    form: ReasonForm,
    more: dict[str, Any] | None = None,
) -> HttpResponse:
    context = {"workspace": workspace, "form": form, "next": _back(request), **(more or {})}
    return render_form(request, f"workspaces/{question}.html", context)


def _done(request: HtmxRequest, message: str) -> HttpResponse:
    messages.success(request, message)
    return redirect(_back(request))


def _back(request: HtmxRequest) -> str:
    return read_next(request, reverse("site-workspaces"))

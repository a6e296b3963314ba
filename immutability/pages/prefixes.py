"""The page "Prefixes": which workspaces get repositories by what their names begin with."""

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from containers.models import RepositoryPrefix
from containers.names import MAX_REPOSITORY_LENGTH
from containers.prefixes import find_prefixes
from immutability.actions.map_repositories import map_repositories, unmap_repositories
from workspaces.access import Actor
from workspaces.models import Workspace
from workspaces.pages.access import HtmxRequest, site_page
from workspaces.pages.forms import WorkspaceField, render_form


class PrefixForm(forms.Form):
    """A prefix, and the workspace that gets what is under it."""

    name_prefix = forms.CharField(
        label="Prefix",
        max_length=MAX_REPOSITORY_LENGTH,
        help_text="Whole parts of names: team is a prefix of team/app, but not of teams/app.",
        error_messages={"required": "Enter what the names begin with."},
    )
    workspace = WorkspaceField(help_text="Its slug.")


@site_page("GET", "HEAD", "POST")
def prefixes_page(request: HtmxRequest, actor: Actor) -> HttpResponse:
    """List prefixes, and add one."""
    form = PrefixForm(request.POST if request.method == "POST" else None)
    if form.is_valid() and _add(request, form, actor):
        return redirect("site-prefixes")
    others = Workspace.objects.filter(slug=settings.REGISTRY_WORKSPACE).first()
    context = {
        "here": "prefixes",
        "form": form,
        "prefixes": find_prefixes(),
        "others": others,
        "missing": settings.REGISTRY_WORKSPACE if others is None else "",
    }
    return render_form(request, "immutability/prefixes.html", context)


@site_page("GET", "HEAD", "POST")
def remove_prefix_page(request: HtmxRequest, actor: Actor, prefix_id: int) -> HttpResponse:
    """Ask whether it is meant; then take the prefix from its workspace."""
    row = RepositoryPrefix.objects.select_related("workspace").filter(id=prefix_id).first()
    if row is None:
        raise Http404
    if request.method == "POST":
        unmap_repositories(row.prefix, actor=actor)
        messages.success(request, f"{row.workspace} gets no new repositories under {row.prefix}.")
        return redirect("site-prefixes")
    context = {"row": row, "form": None, "next": reverse("site-prefixes")}
    return render(request, "immutability/remove_prefix.html", context)


def _add(request: HtmxRequest, form: PrefixForm, actor: Actor) -> bool:
    """Add the prefix of a valid form; return whether it is there, or say in the form why not."""
    prefix, workspace = form.cleaned_data["name_prefix"], form.cleaned_data["workspace"]
    try:
        has_changed = map_repositories(workspace, prefix, actor=actor)
    except ValidationError as error:
        form.add_error("name_prefix", error.messages[0])
        return False
    done = "belong" if has_changed else "already belong"
    messages.success(request, f"Repositories under {prefix} {done} to {workspace}.")
    return True

"""The page "Single sign-on" of site administrators: the provider, and what its groups give."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from workspaces.access import Actor, Role
from workspaces.models import GroupRole
from workspaces.pages.access import HtmxRequest, site_page
from workspaces.pages.forms import WorkspaceField, render_form
from workspaces.single_sign_on.groups import (
    delete_group_role,
    list_group_roles,
    save_group_role,
)
from workspaces.single_sign_on.models import MAX_GROUP_LENGTH
from workspaces.text import describe_bad_character

_SITE_ADMIN = "site-admin"


class GroupRoleForm(forms.Form):
    """A group, and what it gives."""

    group = forms.CharField(
        max_length=MAX_GROUP_LENGTH,
        help_text="As the provider names it in the groups claim: a name, a path or an id.",
        error_messages={"required": "Enter the name of a group."},
    )
    role = forms.ChoiceField(
        label="What it gives",
        widget=forms.RadioSelect,
        choices=[
            *((role.value, f"{role.label} of a workspace") for role in Role),
            (_SITE_ADMIN, "Site administration"),
        ],
        initial=Role.MEMBER.value,
        error_messages={
            "required": "Choose what it gives.",
            "invalid_choice": "Choose what it gives.",
        },
    )
    workspace = WorkspaceField(required=False, help_text="Its slug. Not for site administration.")

    def list_roles(self) -> list[tuple[Any, str]]:
        """Return the radio buttons, as a template wants them."""
        return [(radio, "") for radio in self["role"]]

    def clean_group(self) -> str:
        """Refuse what no claim would name."""
        group: str = self.cleaned_data["group"]
        if problem := describe_bad_character(group):
            raise ValidationError(problem)
        return group

    def clean(self) -> None:
        """Require a workspace for a role, and only there."""
        role, workspace = self.cleaned_data.get("role"), self.cleaned_data.get("workspace")
        if role is None or "workspace" in self.errors:
            return
        if role == _SITE_ADMIN and workspace:
            self.add_error("workspace", "Remove the workspace: the site is administered whole.")
        elif role != _SITE_ADMIN and not workspace:
            self.add_error("workspace", "Enter the slug of a workspace.")

    def save(self, actor: Actor) -> GroupRole:
        """Save what a valid form says."""
        group, role = self.cleaned_data["group"], self.cleaned_data["role"]
        if role == _SITE_ADMIN:
            return save_group_role(group, None, None, actor=actor)
        return save_group_role(group, self.cleaned_data["workspace"], Role(role), actor=actor)


@site_page("GET", "HEAD", "POST")
def group_roles(request: HtmxRequest, actor: Actor) -> HttpResponse:
    """List what groups give, and add or replace it."""
    provider = settings.PROVIDER_SECRET
    form = GroupRoleForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            row = form.save(actor)
        except ValidationError as error:
            form.add_error(None, error.messages[0])
        else:
            messages.success(request, f"People in {row.group} get it within minutes.")
            return redirect("site-single-sign-on")
    context = {
        "here": "single-sign-on",
        "form": form,
        "provider": provider,
        "rows": list_group_roles(),
        "addresses": [
            ("Redirect address", f"{settings.PUBLIC_URL}{reverse('finish-sign-on')}"),
            ("Back-channel logout address", f"{settings.PUBLIC_URL}{reverse('end-sign-on')}"),
        ],
        "has_passwords": settings.LOCAL_PASSWORDS,
    }
    return render_form(request, "workspaces/group_roles.html", context)


@site_page("GET", "HEAD", "POST")
def remove_group_role(request: HtmxRequest, actor: Actor, row_id: int) -> HttpResponse:
    """Ask whether it is meant; then let the group no longer give it."""
    row = GroupRole.objects.select_related("workspace").filter(id=row_id).first()
    if row is None:
        raise Http404
    if request.method == "POST":
        delete_group_role(row, actor=actor)
        messages.success(request, f"{row.group} no longer gives it.")
        return redirect("site-single-sign-on")
    context = {"row": row, "form": None, "next": reverse("site-single-sign-on")}
    return render(request, "workspaces/remove_group_role.html", context)

"""The page "Repositories", and who may pull from one."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from containers.connection import find_registry
from containers.names import (
    MAX_REPOSITORY_LENGTH,
    InvalidReferenceError,
    parse_repository,
)
from containers.repositories import (
    ListedRepository,
    RepositoryQuery,
    find_repositories,
    find_repository,
)
from containers.visibility import set_public
from workspaces.access import Permission
from workspaces.caller_access import Access
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.pages.back import read_next
from workspaces.pages.forms import render_form
from workspaces.queries import FilterForm
from workspaces.registry_host import find_registry_host

PUBLIC, PRIVATE = "public", "private"


class RepositoryFilterForm(FilterForm):
    """What to look for, and the place in the list."""

    q = forms.CharField(label="Name", required=False, max_length=MAX_REPOSITORY_LENGTH)
    visibility = forms.ChoiceField(
        required=False,
        choices=[("", "Public or private"), (PUBLIC, "Public"), (PRIVATE, "Private")],
        error_messages={"invalid_choice": f"Must be one of: {PUBLIC}, {PRIVATE}."},
    )
    after = forms.CharField(
        required=False, max_length=MAX_REPOSITORY_LENGTH, widget=forms.HiddenInput
    )

    def clean_after(self) -> str:
        """Return the name that a page starts behind, or nothing for the first page."""
        after: str = self.cleaned_data["after"]
        try:
            return parse_repository(after).name if after else ""
        except InvalidReferenceError as error:
            raise forms.ValidationError(error.message) from error

    def to_query(self) -> RepositoryQuery:
        """Return what a valid form asks for."""
        visibility = self.cleaned_data["visibility"]
        return RepositoryQuery(self.cleaned_data["q"], visibility == PUBLIC if visibility else None)


class VisibilityForm(forms.Form):
    """Who may pull."""

    visibility = forms.ChoiceField(
        label="Who may pull",
        widget=forms.RadioSelect,
        choices=[(PRIVATE, "Private"), (PUBLIC, "Public")],
        error_messages={
            "required": "Choose private or public.",
            "invalid_choice": "Choose private or public.",
        },
    )


@workspace_page(Permission.VIEW_REPOSITORIES)
def repositories(request: HtmxRequest, access: Access) -> HttpResponse:
    """List repositories by name, by the filters in the address."""
    form = RepositoryFilterForm(request.GET)
    context: dict[str, Any] = {
        "access": access,
        "form": form,
        "is_filtered": True,
        "shows_visibility": not access.workspace.registry_keeps_accounts,
    }
    if form.is_valid():
        query, after = form.to_query(), form.cleaned_data["after"]
        page = find_repositories(access.workspace, query, after=after)
        following = request.GET.copy()
        following["after"] = page.next_after
        context |= {
            "page": page,
            "is_filtered": query != RepositoryQuery() or bool(after),
            "next_query": following.urlencode() if page.next_after else "",
            "host": find_registry_host(access.workspace, request.get_host()),
            "has_registry": find_registry(access.workspace) is not None,
        }
    return render(request, "containers/repositories.html", context)


@workspace_page(Permission.MANAGE_REPOSITORIES, "GET", "HEAD", "POST")
def visibility(request: HtmxRequest, access: Access, repository: str) -> HttpResponse:
    """Say what public means, and let an admin choose."""
    found = _find(access, repository)
    back = read_next(request, reverse("repositories", args=[access.workspace.slug]))
    shown = {"visibility": PUBLIC if found.is_public else PRIVATE}
    form = VisibilityForm(request.POST if request.method == "POST" else None, initial=shown)
    if form.is_valid():
        is_public = form.cleaned_data["visibility"] == PUBLIC
        has_changed = set_public(
            access.workspace,
            parse_repository(found.name),
            is_public=is_public,
            actor=access.actor,
        )
        messages.success(request, f"{found.name} {_DONE[is_public, has_changed]}")
        return redirect(back)
    context = {"access": access, "form": form, "repository": found, "next": back}
    return render_form(request, "containers/visibility.html", context)


_DONE = {
    (True, True): "is public: anyone can pull from it without signing in.",
    (False, True): "is private: only people and access tokens of the workspace can pull from it.",
    (True, False): "is already public. Nothing was changed.",
    (False, False): "is already private. Nothing was changed.",
}


def _find(access: Access, name: str) -> ListedRepository:
    """Return the repository, of the caller's workspace, that an address names."""
    try:
        found = find_repository(access.workspace, parse_repository(name))
    except InvalidReferenceError as error:
        raise Http404 from error
    if found is None:
        raise Http404
    return found

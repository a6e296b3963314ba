"""A repository's page: all of its tags, and what an admin can do with them."""

from typing import Any

from django import forms
from django.contrib.humanize.templatetags.humanize import intcomma
from django.http import Http404, HttpResponse
from django.shortcuts import render

from containers.connection import find_registry
from containers.names import RepositoryName
from containers.repositories import find_repository
from immutability.actions.tags import MAX_TAGS_AT_ONCE
from immutability.pages.places import parse_repository_place
from immutability.pages.tag_rows import Chip, make_chips, make_rows, without
from immutability.policy.protection import Policy
from immutability.reading import read_policy
from immutability.repository_tags import (
    TAG_STATUSES,
    Place,
    TagQuery,
    TagSort,
    count_tags,
    find_tags,
    is_of_repository,
    parse_place,
)
from workspaces.access import Permission
from workspaces.caller_access import Access
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.queries import FilterForm
from workspaces.registry_host import find_registry_host
from workspaces.search import MAX_SEARCH_LENGTH, parse_search


class TagFilterForm(FilterForm):
    """What to look for, and the place in the list."""

    q = forms.CharField(label="Tag or digest", required=False, max_length=MAX_SEARCH_LENGTH)
    state = forms.ChoiceField(
        required=False,
        choices=[("", "Any state"), *((each, each.capitalize()) for each in TAG_STATUSES)],
        error_messages={"invalid_choice": f"Must be one of: {', '.join(TAG_STATUSES)}."},
    )
    sort = forms.ChoiceField(
        label="Sort by",
        required=False,
        choices=[("", "Last push"), (TagSort.NAME.value, "Name")],
        error_messages={"invalid_choice": f"Must be one of: {', '.join(TagSort)}."},
    )
    after = forms.CharField(required=False, max_length=128, widget=forms.HiddenInput)

    def clean_sort(self) -> TagSort:
        """Return the order: by push unless another was chosen."""
        return TagSort(self.cleaned_data["sort"] or TagSort.PUSHED)

    def clean_after(self) -> Place | None:
        """Return the place that the page begins behind."""
        sort = self.cleaned_data.get("sort", TagSort.PUSHED)
        try:
            return parse_place(self.cleaned_data["after"], sort)
        except ValueError as error:
            raise forms.ValidationError("This is not a position in the list.") from error

    def to_query(self) -> TagQuery:
        """Return what a valid form asks for."""
        wanted = self.cleaned_data
        return TagQuery(parse_search(wanted["q"]), wanted["state"], wanted["sort"])


@workspace_page(Permission.VIEW_REPOSITORIES)
def repository_page(request: HtmxRequest, access: Access, repository: str) -> HttpResponse:
    """List the tags of a repository by the filters in the address."""
    place = parse_repository_place(access, repository)
    found = find_repository(access.workspace, place)
    if found is None:
        raise Http404
    form = TagFilterForm(request.GET)
    host = find_registry_host(access.workspace, request.get_host())
    context: dict[str, Any] = {
        "access": access,
        "form": form,
        "repository": found,
        "has_registry": find_registry(access.workspace) is not None,
        "max_tags": MAX_TAGS_AT_ONCE,
        "clear_url": without(request, "q", "after") if request.GET.get("q") else "",
        "first_url": without(request, "after"),
        "push_command": f"docker push {host}/{found.name}:v1.0.0",
        "caption": f"Tags of {found.name}",
    }
    if form.is_valid():
        context |= _list(request, access, place, form)
    return render(request, "immutability/repository.html", context)


def _list(
    request: HtmxRequest, access: Access, place: RepositoryName, form: TagFilterForm
) -> dict[str, Any]:
    policy, query = read_policy(access.workspace), form.to_query()
    after = form.cleaned_data["after"]
    page = find_tags(access.workspace, place, policy, query, after=after)
    following = request.GET.copy()
    if page.next_place is not None:
        following["after"] = page.next_place.to_text(query.sort)
    return {
        "page": page,
        "rows": make_rows(request, access, page.tags),
        "search": query.search,
        "needle": query.search.tag_start if ":" in query.search.name else query.search.name,
        "is_foreign": not is_of_repository(query.search, place),
        "is_filtered": bool(form.cleaned_data["q"] or query.status),
        "is_later": after is not None,
        "status": query.status,
        "next_query": following.urlencode() if page.next_place else "",
        "chips": _make_chips(request, access, place, policy, query),
    }


def _make_chips(
    request: HtmxRequest, access: Access, place: RepositoryName, policy: Policy, query: TagQuery
) -> list[Chip]:
    """Return a chip for each status that there is, with how many tags have it."""
    counts = count_tags(access.workspace, place, policy, query.search)

    def tell(number: int) -> str:
        return f"{'' if counts.is_exact else 'at least '}{intcomma(number)}"

    choices = [("", "All", tell(counts.total))]
    for status, number in counts.by_status.items():
        if number or status == query.status or not counts.is_exact:
            choices.append((status, status.capitalize(), tell(number)))
    return make_chips(request, "state", choices, query.status)

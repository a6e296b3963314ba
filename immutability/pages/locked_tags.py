"""The page "Locked tags": the locks of a workspace."""

from contextlib import suppress
from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import render

from containers.connection import find_registry
from containers.names import (
    MAX_REPOSITORY_LENGTH,
    InvalidReferenceError,
    RepositoryName,
    TagName,
    parse_repository,
)
from containers.repositories import ListedRepository, find_repository
from immutability.actions.tags import MAX_TAGS_AT_ONCE
from immutability.locked_tags import (
    LOCK_STATUSES,
    SUSPENDED,
    LockedTagPage,
    LockedTagQuery,
    LockSort,
    count_locked,
    find_locked_tags,
)
from immutability.pages.tag_rows import make_chips, make_rows, without
from immutability.policy.protection import Protection, cover
from immutability.reading import read_policy
from immutability.repository_tags import TAG_STATUSES, ListedTag
from workspaces.access import Permission
from workspaces.caller_access import Access
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.queries import FilterForm, IdField
from workspaces.search import MAX_SEARCH_LENGTH, TagSearch, parse_search


class LockedTagFilterForm(FilterForm):
    """What to look for, and the place in the list."""

    q = forms.CharField(
        label="Tag, repository or digest", required=False, max_length=MAX_SEARCH_LENGTH
    )
    state = forms.ChoiceField(
        label="Lock status",
        required=False,
        choices=[("", "Any status"), *((each, each.capitalize()) for each in LOCK_STATUSES)],
        error_messages={"invalid_choice": f"Must be one of: {', '.join(LOCK_STATUSES)}."},
    )
    repository = forms.CharField(
        required=False, max_length=MAX_REPOSITORY_LENGTH, widget=forms.HiddenInput
    )
    sort = forms.ChoiceField(
        label="Sort by",
        required=False,
        choices=[("", "Newest lock"), (LockSort.OLDEST.value, "Oldest lock")],
        error_messages={"invalid_choice": f"Must be one of: {', '.join(LockSort)}."},
    )
    before = IdField()

    def clean_repository(self) -> RepositoryName | None:
        """Return the repository, if there is to be only one."""
        name: str = self.cleaned_data["repository"]
        try:
            return parse_repository(name) if name else None
        except InvalidReferenceError as error:
            raise forms.ValidationError(error.message) from error

    def clean_sort(self) -> LockSort:
        """Return the order: the newest first unless another was chosen."""
        return LockSort(self.cleaned_data["sort"] or LockSort.NEWEST)

    @property
    def is_narrowing(self) -> bool:
        """Whether a valid form leaves any lock out."""
        return any(value for name, value in self.cleaned_data.items() if name != "sort")

    def to_query(self) -> LockedTagQuery:
        """Return what a valid form asks for."""
        wanted = self.cleaned_data
        return LockedTagQuery(
            parse_search(wanted["q"]),
            wanted["repository"],
            status=wanted["state"],
            sort=wanted["sort"],
        )


@workspace_page(Permission.VIEW_LOCKED_TAGS)
def locked_tags(request: HtmxRequest, access: Access) -> HttpResponse:
    """List locks, newest first, by the filters in the address."""
    form = LockedTagFilterForm(request.GET)
    policy = read_policy(access.workspace)
    context: dict[str, Any] = {
        "access": access,
        "form": form,
        "policy": policy,
        "is_filtered": bool(request.GET),
        "has_registry": find_registry(access.workspace) is not None,
        "max_tags": MAX_TAGS_AT_ONCE,
        "clear_url": without(request, "q", "before") if request.GET.get("q") else "",
    }
    if form.is_valid():
        query = form.to_query()
        page = find_locked_tags(access.workspace, policy, query, before=form.cleaned_data["before"])
        following = request.GET.copy()
        following["before"] = str(page.next_before)
        tags = [
            ListedTag(row.record, row, cover(policy, TagName(row.tag))) for row, _ in page.locks
        ]
        statuses = _SHOWN if policy.protection is not Protection.NONE else (SUSPENDED,)
        shown = [(each, each.capitalize(), "") for each in statuses]
        context |= {
            "page": page,
            "rows": make_rows(request, access, tags),
            "search": query.search,
            "needle": query.search.name,
            "caption": _describe(page, query.sort),
            "count": count_locked(access.workspace),
            "chips": make_chips(request, "state", [("", "All", ""), *shown], query.status),
            "is_filtered": form.is_narrowing,
            "repository": None if tags else _find_named(access, query.search),
            "next_query": following.urlencode() if page.next_before else "",
        }
    return render(request, "immutability/locked_tags.html", context)


def _find_named(access: Access, search: TagSearch) -> ListedRepository | None:
    """Return the repository that a search names, whose tags may have no lock."""
    name = search.repository_end or search.name
    for full_name in (name, f"{access.workspace.slug}/{name}"):
        with suppress(InvalidReferenceError):
            if found := find_repository(access.workspace, parse_repository(full_name)):
                return found
    return None


# The usual ones first.
_SHOWN = tuple(status for status in TAG_STATUSES if status in LOCK_STATUSES)


def _describe(page: LockedTagPage, sort: LockSort) -> str:
    """Return the caption of a page."""
    count = len(page.locks)
    order = "latest first" if sort is LockSort.NEWEST else "oldest first"
    shown = f"{count} tag{'' if count == 1 else 's'}, {order}"
    if not page.is_whole:
        return f"{shown}; the search continues on the next page"
    return f"{shown}, with more on the next page" if page.next_before else shown

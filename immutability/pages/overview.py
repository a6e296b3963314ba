"""A workspace's start page: what is protected, what is locked, what to do first."""

from django.http import HttpResponse
from django.shortcuts import render

from immutability.locked_tags import count_locked
from immutability.reading import read_policy
from workspaces.access import Permission
from workspaces.callers import Access
from workspaces.log.query import visible_events
from workspaces.pages.access import HtmxRequest, workspace_page

_RECENT_EVENTS = 5


@workspace_page(Permission.VIEW_SETTINGS)
def overview(request: HtmxRequest, access: Access) -> HttpResponse:
    """Show the protection, the number of locked tags and the latest events."""
    return render(
        request,
        "immutability/overview.html",
        {
            "access": access,
            "policy": read_policy(access.workspace),
            "lock_count": count_locked(access.workspace),
            "events": visible_events(access).order_by("-at", "-id")[:_RECENT_EVENTS],
        },
    )

"""A workspace's start page: what is protected, what is locked, what to do first."""

from django.http import HttpResponse
from django.shortcuts import render

from immutability.models import LockedTag
from immutability.policy.protection import LockState
from immutability.reading import read_policy
from workspaces.access import Permission
from workspaces.callers import Access
from workspaces.log.query import visible_events
from workspaces.pages.access import HtmxRequest, workspace_page

_RECENT_EVENTS = 5


@workspace_page(Permission.VIEW_SETTINGS)
def overview(request: HtmxRequest, access: Access) -> HttpResponse:
    """Show the protection, the number of locked tags and the latest events."""
    locks = LockedTag.objects.filter(workspace=access.workspace, state=LockState.LOCKED)
    return render(
        request,
        "immutability/overview.html",
        {
            "access": access,
            "policy": read_policy(access.workspace),
            "lock_count": locks.count(),
            "events": visible_events(access).order_by("-at", "-id")[:_RECENT_EVENTS],
        },
    )

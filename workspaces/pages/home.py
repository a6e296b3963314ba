"""The start page, and a workspace's own: overview and settings."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from workspaces.access import Permission
from workspaces.callers import Access
from workspaces.models import Membership
from workspaces.pages.access import HtmxRequest, workspace_page


@require_safe
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """List the workspaces of the person, or go straight to the only one."""
    memberships = list(
        Membership.objects.filter(user_id=request.user.pk or 0)
        .select_related("workspace")
        .order_by("workspace__slug")
    )
    if len(memberships) == 1:
        return redirect("overview", memberships[0].workspace.slug)
    return render(request, "workspaces/home.html", {"memberships": memberships})


@workspace_page(Permission.VIEW_SETTINGS)
def workspace_settings(request: HtmxRequest, access: Access) -> HttpResponse:
    """Show what can be set in the workspace."""
    return render(request, "workspaces/settings.html", {"access": access, "here": "workspace"})


@workspace_page(Permission.VIEW_SETTINGS)
def packages_settings(request: HtmxRequest, access: Access) -> HttpResponse:
    """Show the kinds of packages that have settings."""
    return render(request, "workspaces/packages.html", {"access": access, "here": "packages"})

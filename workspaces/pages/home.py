"""The start page."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from workspaces.models import Membership


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

"""A workspace's start page: what is protected, what happened, and what needs attention."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from containers.models import Repository
from containers.names import TagName
from immutability.attention import find_attention, find_first_steps
from immutability.figures import count_suspended
from immutability.locked_tags import MAX_COUNTED, LockCount, count_locked
from immutability.policy.protection import Policy, cover
from immutability.reading import read_policy
from immutability.reconcile.jobs import find_inventory
from workspaces.access import Permission
from workspaces.caller_access import Access
from workspaces.charts import BarChart, make_bar_chart
from workspaces.log.figures import Week, count_week
from workspaces.log.kinds import TAG_EVENT_KINDS, EventKind
from workspaces.log.query import visible_events
from workspaces.log.seal import count_unsealed
from workspaces.log.story import tell_rows
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.registry_host import find_registry_host

_RECENT_EVENTS = 6
_SAMPLE_TAGS = ("v1.0.0", "1.0.0", "release-1", "prod", "latest")


@workspace_page(Permission.VIEW_SETTINGS)
def overview(request: HtmxRequest, access: Access) -> HttpResponse:
    """Show the protection, numbers, the last days, the latest events, and what needs attention."""
    workspace, now = access.workspace, timezone.now()
    policy = read_policy(workspace)
    may_view_all = access.may(Permission.VIEW_ALL_EVENTS)
    kinds = frozenset(EventKind) if may_view_all else TAG_EVENT_KINDS
    week = count_week(workspace.slug, now.date(), kinds)
    context: dict[str, Any] = {
        "access": access,
        "policy": policy,
        "lock_count": count_locked(workspace),
        "suspended_count": count_suspended(workspace, policy),
        "repository_count": _count_repositories(access),
        "week": week,
        "chart": _draw(week),
        "rows": tell_rows(list(visible_events(access).order_by("-at", "-id")[:_RECENT_EVENTS])),
        "today": now.date(),
        "attention": find_attention(workspace, policy, count_unsealed(workspace.slug), now),
        "inventory": find_inventory(workspace),
    }
    if access.may(Permission.PUSH):
        context |= _list_first_steps(access, policy)
    return render(request, "immutability/overview.html", context)


def _count_repositories(access: Access) -> LockCount:
    repositories = Repository.objects.filter(workspace=access.workspace)
    count = repositories[: MAX_COUNTED + 1].count()
    return LockCount(min(count, MAX_COUNTED), is_exact=count <= MAX_COUNTED)


def _draw(week: Week) -> BarChart:
    counts = [(f"{day.day:%a} {day.day.day}", (day.refusals, day.changes)) for day in week.days]
    return make_bar_chart(("Refused", "Changes to locks and settings"), counts)


def _list_first_steps(access: Access, policy: Policy) -> dict[str, Any]:
    """Return the first steps, and commands to take them with."""
    steps = find_first_steps(access.workspace, policy)
    covered = (tag for tag in _SAMPLE_TAGS if cover(policy, TagName(tag)).is_covered)
    host = find_registry_host(access.workspace)
    image = f"{host}/{access.workspace.slug}/hello:{next(covered, _SAMPLE_TAGS[0])}"
    return {
        "steps": steps,
        "registry_setting": "REGISTRY_URL=http://registry:5000",
        "push_command": f"docker login {host}\n{_push('alpine:3.22', image)}",
        "refused_command": _push("alpine:3.21", image),
    }


def _push(source: str, image: str) -> str:
    return f"docker pull {source}\ndocker tag {source} {image}\ndocker push {image}"

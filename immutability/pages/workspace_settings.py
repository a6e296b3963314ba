"""The settings pages "General" and "Packages": what the workspace is, and how to connect to it."""

import shlex

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render

from containers.connection import find_registry
from containers.prefixes import find_prefixes
from immutability.reading import read_policy
from workspaces.access import Permission
from workspaces.caller_access import Access
from workspaces.models import Membership
from workspaces.pages.access import HtmxRequest, workspace_page
from workspaces.registry_host import find_registry_host


@workspace_page(Permission.VIEW_SETTINGS)
def workspace_settings(request: HtmxRequest, access: Access) -> HttpResponse:
    """Show the workspace's name and slug, its registry, and who is in it."""
    host = find_registry_host(access.workspace)
    context = {
        "access": access,
        "here": "workspace",
        "policy": read_policy(access.workspace),
        "member_count": Membership.objects.filter(workspace=access.workspace).count(),
        "has_registry": find_registry(access.workspace) is not None,
        "prefix": f"{host}/{access.workspace.slug}/",
        "other_prefixes": list(find_prefixes(access.workspace)),
        "gets_all_others": access.workspace.slug == settings.REGISTRY_WORKSPACE,
        "registry_login": f"docker login {host}",
        "login": f"docker login {host} --username {shlex.quote(access.actor.name)}",
    }
    return render(request, "immutability/workspace_settings.html", context)


@workspace_page(Permission.VIEW_SETTINGS)
def packages_settings(request: HtmxRequest, access: Access) -> HttpResponse:
    """Show what is protected of each kind of package: there is one, container images."""
    context = {
        "access": access,
        "here": "packages",
        "policy": read_policy(access.workspace),
    }
    return render(request, "immutability/packages_settings.html", context)

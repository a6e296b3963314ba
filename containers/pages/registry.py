"""The page "Registries": what the first is connected by, whether that works, and the others."""

from django.http import HttpResponse
from django.shortcuts import render

from containers.connection import check_connection
from containers.registries import first_connection
from containers.registry.checkup import summarize
from containers.registry_changes import find_outcome
from workspaces.access import Actor
from workspaces.models import Registry
from workspaces.pages.access import HtmxRequest, site_page


@site_page("GET", "HEAD", "POST")
def registry_page(request: HtmxRequest, actor: Actor) -> HttpResponse:
    """Show the settings of the registry, without secrets; check the connection where asked."""
    connection = first_connection()
    findings = check_connection(connection) if request.method == "POST" else None
    context = {
        "here": "registry",
        "url": connection.url,
        "ca_file": connection.ca_file,
        "username": connection.login.username,
        "keeps_accounts": connection.keeps_accounts,
        "findings": findings,
        "others": [(row, find_outcome(row)) for row in Registry.objects.order_by("name")],
        "verdict": summarize(findings) if findings else "",
    }
    return render(request, "containers/registry.html", context)

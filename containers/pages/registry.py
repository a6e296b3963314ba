"""The page "Registry": what it is connected by, and whether that works."""

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render

from containers.connection import check_registry, registry_keeps_accounts
from containers.registry.checkup import summarize
from workspaces.access import Actor
from workspaces.pages.access import HtmxRequest, site_page


@site_page("GET", "HEAD", "POST")
def registry_page(request: HtmxRequest, actor: Actor) -> HttpResponse:
    """Show the settings of the registry, without secrets; check the connection where asked."""
    findings = check_registry() if request.method == "POST" else None
    context = {
        "here": "registry",
        "url": settings.REGISTRY_URL,
        "ca_file": settings.REGISTRY_CA_FILE,
        "username": settings.REGISTRY_LOGIN_SECRET.username,
        "keeps_accounts": registry_keeps_accounts(),
        "findings": findings,
        "verdict": summarize(findings) if findings else "",
    }
    return render(request, "containers/registry.html", context)

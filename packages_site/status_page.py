"""/statusz: the page "Status" of site administrators, and the same as JSON for programs."""

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render

from containers.registry.checkup import Finding, Outcome
from packages_site.metrics import sends_metrics_token
from packages_site.status import read_status
from workspaces.access import Actor
from workspaces.json_response import UTF8JsonResponse
from workspaces.pages.access import HtmxRequest, site_page


def statusz(request: HttpRequest) -> HttpResponseBase:
    """Answer programs that send METRICS_TOKEN in JSON, and everyone else with the page."""
    if request.method in ("GET", "HEAD") and sends_metrics_token(request):
        return _answer_program(read_status())
    return _status_page(request)


@site_page()
def _status_page(request: HtmxRequest, actor: Actor) -> HttpResponse:
    findings = read_status()
    context = {"here": "status", "findings": findings, "verdict": _summarize(findings)}
    return render(request, "status.html", context)


def _answer_program(findings: list[Finding]) -> HttpResponse:
    parts = [
        {
            "part": each.step,
            "outcome": each.outcome.value,
            "found": each.what,
            "advice": each.advice,
        }
        for each in findings
    ]
    return UTF8JsonResponse({"summary": _summarize(findings), "parts": parts})


def _summarize(findings: list[Finding]) -> str:
    outcomes = {each.outcome for each in findings}
    if Outcome.FAILED in outcomes:
        return "Something doesn't work."
    if Outcome.WARNING in outcomes:
        return "Everything works. Read the warnings."
    return "Everything works."

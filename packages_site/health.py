"""Is the process alive, and can it work? For load balancers and process managers."""

from collections.abc import Callable

from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from containers.connection import describe_unusable_keys
from packages_site.metrics import metrics
from packages_site.shared_keys import describe_other_keys


def answer_probes(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware that answers probes first: they come by bare address and without TLS."""

    def middleware(request: HttpRequest) -> HttpResponse:
        probe = _PROBES.get(request.path_info)
        return probe(request) if probe else get_response(request)

    return middleware


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer 200 while the process answers at all."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Answer 200 while the database can be used, 503 otherwise.

    503 with another SECRET_KEY than the other nodes too, and without token keys where a registry
    trusts Taglock's tokens. Another key of the lock log is only told: all but signing works.
    """
    try:
        other, unusable = describe_other_keys(), describe_unusable_keys()
    except Error:
        return HttpResponse("the database cannot be used\n", "text/plain", status=503)
    if other.secret_key:
        return HttpResponse(f"{other.secret_key}\n", "text/plain", status=503)
    if unusable:
        return HttpResponse(f"no token can be used: {unusable}\n", "text/plain", status=503)
    return HttpResponse(f"{other.log_key or 'ok'}\n", content_type="text/plain")


_PROBES = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}

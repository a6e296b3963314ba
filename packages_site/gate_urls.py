"""The gate's addresses, for processes that only run the gate."""

from django.http import HttpRequest, HttpResponse
from django.urls import path, re_path

from containers.tokens.edge import answer_edge
from immutability.gate.answers import error_answer
from immutability.gate.views import gate
from packages_site import health

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("edge-access", answer_edge, name="edge-access"),
    # Everything that follows, even if it is nothing or a line feed.
    re_path(r"\Av2/(?P<path>[\s\S]*)\Z", gate, name="gate"),
]


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that Django refused before the gate saw it."""
    return error_answer(400, "UNSUPPORTED", "The request could not be understood.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an address that is not the gate's."""
    return error_answer(404, "UNSUPPORTED", "The gate has nothing here.")


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a bug."""
    return error_answer(500, "UNKNOWN", "Something went wrong. Tell your operator.")


handler400 = "packages_site.gate_urls.bad_request"
handler404 = "packages_site.gate_urls.not_found"
handler500 = "packages_site.gate_urls.server_error"

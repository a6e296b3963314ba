"""The short way to what registries ask before each push and delete: past what only pages need."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.middleware.common import CommonMiddleware

from immutability.api.checks import CheckDeleteView, CheckPushView
from packages_site.request_limits import refuse_oversized_requests

_VIEWS = {
    "/api/v1/check-push": CheckPushView.as_view(),
    "/api/v1/check-delete": CheckDeleteView.as_view(),
}


def answer_checks(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware that answers the checks of programs, who read no page and have no session.

    A check without a bearer token may be a signed-in person's: it goes the long way.
    """
    answer: Any = CommonMiddleware(refuse_oversized_requests(_answer))

    def middleware(request: HttpRequest) -> HttpResponse:
        is_check = request.path_info in _VIEWS and _has_bearer_token(request)
        response: HttpResponse = answer(request) if is_check else get_response(request)
        return response

    return middleware


def _has_bearer_token(request: HttpRequest) -> bool:
    scheme, _, _ = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return bool(scheme.lower() == "bearer")


def _answer(request: HttpRequest) -> HttpResponse:
    response: HttpResponse = _VIEWS[request.path_info](request).render()
    return response

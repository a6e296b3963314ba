"""What may be cached of answers."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


def keep_answers_private(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware that lets only the browser cache an answer, and only with revalidation.

    Answers that say themselves how they may be kept stay as they are. Static files never get here.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Cache-Control", "private, no-cache")
        return response

    return middleware

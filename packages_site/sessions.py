"""Session cookies that cannot be valid."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

# Of the column that keeps it.
MAX_SESSION_KEY_LENGTH = 40


def drop_odd_session_cookies(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware that ignores a session cookie that is longer, or of other characters, than a key.

    A database may not even be able to look for it.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        key = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
        if len(key) > MAX_SESSION_KEY_LENGTH or not (key.isascii() and key.isalnum()):
            request.COOKIES.pop(settings.SESSION_COOKIE_NAME, None)
        return get_response(request)

    return middleware
